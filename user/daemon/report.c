// SPDX-License-Identifier: BSD-2-Clause
/*
 * report.h: status, counters, connections. TCBs and counters of applications are read once, as
 * copies: their owners go on meanwhile, and may write anything there.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <sys/resource.h>
#include "user/io/sockdiag.h"
#include "daemon.h"
#include "report.h"
#include "xdp_mib.h"

/* ---- status ---- */

static void put_lines(struct jbuf *j, const char *key, const char *text)
{
	char line[256];

	jb_open(j, key, '[');
	while (*text) {
		size_t n = strcspn(text, "\n");

		snprintf(line, sizeof(line), "%.*s", (int)n, text);
		if (n)
			jb_str(j, NULL, line);
		text += n + (text[n] == '\n');
	}
	jb_close(j, ']');
}

static uint64_t cpu_ms(void)
{
	struct rusage ru;

	if (getrusage(RUSAGE_SELF, &ru))
		return 0;
	return (uint64_t)(ru.ru_utime.tv_sec + ru.ru_stime.tv_sec) * 1000 +
	       (uint64_t)(ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1000;
}

static void put_interface(const struct iface *f, struct jbuf *j)
{
	static const char *const replies[] = {"tx", "redirect", "none"};
	const uint8_t *m = f->settings.mac;
	char mac[18];

	snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4],
		 m[5]);
	jb_open(j, f->name, '{');
	jb_u64(j, "ifindex", (uint64_t)f->link.ifindex);
	jb_str(j, "mode", xdp_mode_name(f->probe.mode));
	jb_str(j, "driver", f->probe.driver);
	jb_str(j, "claim", f->settings.claim_all ? "all" : "bound");
	jb_str(j, "reply_mode",
	       (unsigned)f->probe.reply_mode < 3 ? replies[f->probe.reply_mode] : "?");
	jb_u64(j, "queues", f->n_queues);
	jb_u64(j, "mtu", f->settings.mtu);
	jb_str(j, "mac", mac);
	jb_bool(j, "zerocopy", f->xsk_opts.zerocopy);
	jb_bool(j, "multi_buffer", f->xsk_opts.sg);
	jb_bool(j, "tx_checksum_offload", f->xsk_opts.tx_csum);
	jb_bool(j, "partial_checksums", f->probe.partial_csum);
	jb_bool(j, "segmentation_offload", f->gso_fd >= 0);
	put_lines(j, "choices", f->probe.reason);
	jb_close(j, '}');
}

static void put_attachment(struct daemon *d, struct jbuf *j)
{
	char text[INET6_ADDRSTRLEN];

	jb_str(j, "name", d->opt.name);
	jb_str(j, "netns", d->opt.netns);
	jb_u64(j, "netns_inode", d->netns_ino);
	jb_u64(j, "pid", (uint64_t)getpid());
	jb_str(j, "version", TANDEM_VERSION);
	jb_u64(j, "uptime_s", mtime_diff_ns(d->now, d->started) / NS_PER_S);
	jb_u64(j, "cpu_ms", cpu_ms());
	jb_open(j, "interfaces", '{');
	for (uint32_t i = 0; i < d->n_ifs; i++)
		put_interface(&d->ifs[i], j);
	jb_close(j, '}');
	jb_open(j, "addresses", '[');
	for (uint32_t i = 0; i < d->n_addrs; i++) {
		const struct ip_addr *a = &d->addrs[i].addr;

		if (ip_addr_is_v4(a)) /* the others are the kernel's */
			jb_str(j, NULL, inet_ntop(AF_INET, &a->w[3], text, sizeof(text)));
	}
	jb_close(j, ']');
}

static void put_apps(struct daemon *d, struct jbuf *j)
{
	jb_open(j, "applications", '[');
	for (uint32_t s = 1; s < d->slots; s++) {
		const struct app *a = d->apps[s];

		if (!a || a->stage != APP_ALIVE)
			continue;
		jb_open(j, NULL, '{');
		jb_u64(j, "slot", s);
		jb_u64(j, "pid", (uint64_t)a->pid);
		jb_str(j, "comm", a->comm);
		jb_u64(j, "uid", a->uid);
		jb_u64(j, "connections", a->n_conns);
		jb_u64(j, "listeners", a->n_listening);
		jb_u64(j, "frames", umem_count_slot(&d->umem, a->slot));
		jb_bool(j, "mem_pressure", READ_ONCE(a->view.mib[MIB_Td_MemoryPressure]));
		jb_u64(j, "keeper_runs",
		       READ_ONCE(((const struct arena_hdr *)(const void *)a->arena.base)
					 ->keeper_runs));
		jb_close(j, '}');
	}
	jb_close(j, ']');
}

/* @m: one process's part in it; NULL: of those that have it none has used it. */
static void put_listener(struct jbuf *j, const struct group *g, const struct member *m,
			 uint32_t backlog)
{
	char text[INET6_ADDRSTRLEN];

	jb_open(j, NULL, '{');
	jb_str(j, "address",
	       ip_addr_is_any(&g->addr) ? "*"
					: inet_ntop(AF_INET, &g->addr.w[3], text, sizeof(text)));
	jb_u64(j, "port", ntohs(g->port));
	jb_u64(j, "slot", m ? m->app->slot : 0);
	jb_str(j, "comm", m ? m->app->comm : "");
	jb_u64(j, "backlog", backlog);
	jb_bool(j, "answers_syns", m && m->front);
	jb_u64(j, "handed_over", m ? m->handed : 0);
	jb_u64(j, "not_accepted", g->outside);
	jb_bool(j, "syn_flood", g->flooded);
	jb_close(j, '}');
}

static void put_listeners(struct daemon *d, struct jbuf *j)
{
	jb_open(j, "listeners", '[');
	for (const struct group *g = d->groups; g; g = g->next) {
		for (const struct member *m = g->members; m; m = m->next)
			if (m->listening)
				put_listener(j, g, m, m->backlog);
		for (const struct share *sh = g->shares; sh; sh = sh->next) {
			const struct member *m = g->members;

			while (m && m->share != sh)
				m = m->next;
			if (!m)
				put_listener(j, g, NULL, sh->backlog);
		}
	}
	jb_close(j, ']');
}

/* ---- listeners of the kernel on the same ports ---- */

struct warnings {
	struct daemon *d;
	struct jbuf *j;
};

static bool has_loopback(const struct daemon *d)
{
	for (uint32_t i = 0; i < d->n_ifs; i++)
		if (d->ifs[i].loopback)
			return true;
	return false;
}

/* Would both take the same connections? */
static bool collides(const struct daemon *d, const struct group *g, const struct kernel_listener *l)
{
	bool any = ip_addr_is_any(&l->addr) || !ip_addr_to_v4(&l->addr);

	struct stat st;

	if (!g->n_listening || g->port != l->port)
		return false;
	if (g->n_twins && !fstat(g->kernel_fd, &st) && (uint32_t)st.st_ino == l->ino)
		return false; /* ours (twin.c) */
	if (any || ip_addr_eq(&g->addr, &l->addr))
		return true;
	return ip_addr_is_any(&g->addr) && (l->addr.b[12] != 127 || has_loopback(d));
}

static bool warn_of(void *ctx, const struct kernel_listener *l)
{
	struct warnings *w = ctx;
	char text[256], where[INET6_ADDRSTRLEN] = "all addresses";

	for (const struct group *g = w->d->groups; g; g = g->next) {
		if (!collides(w->d, g, l))
			continue;
		if (!ip_addr_is_any(&l->addr) && ip_addr_to_v4(&l->addr))
			inet_ntop(AF_INET, &l->addr.w[3], where, sizeof(where));
		snprintf(text, sizeof(text),
			 "port %u: a program of user %u listens with a socket of the kernel, too, "
			 "at %s; connections over tandem's interfaces do not reach it",
			 ntohs(l->port), l->uid, where);
		jb_str(w->j, NULL, text);
		break;
	}
	return true;
}

static void put_warnings(struct daemon *d, struct jbuf *j)
{
	struct warnings w = {d, j};
	int err;

	jb_open(j, "warnings", '[');
	err = d->groups ? sockdiag_listeners(warn_of, &w) : 0;
	if (err)
		log_warn("cannot ask the kernel for its listeners: %s", strerror(-err));
	jb_close(j, ']');
}

/* Frames that were sent stand in the completion rings until somebody needs them. */
static void reap_completions(struct daemon *d)
{
	struct frame_cache c = {0};

	for (uint32_t q = 0; q < d->n_queues; q++)
		umem_balance(&d->umem, &d->uqs[q], &c, d->fill_target, 0, 0);
	umem_flush_cache(&d->umem, &c);
}

static void put_memory(struct daemon *d, struct jbuf *j)
{
	struct umem_usage u;
	struct stack_usage s;

	reap_completions(d);
	umem_usage(&d->umem, &u);
	jb_open(j, "frames", '{');
	jb_u64(j, "total", d->umem.n_frames);
	jb_u64(j, "pool", u.pool);
	jb_u64(j, "fill", u.fill);
	jb_u64(j, "tx", u.tx);
	jb_u64(j, "owned", u.owned);
	jb_u64(j, "owned_by_daemon", u.owned_by_daemon);
	jb_u64(j, "cached_by_daemon", port_frames(d->port));
	jb_u64(j, "injected", u.injected);
	jb_u64(j, "bad", u.bad);
	jb_u64(j, "completions_ignored", u.comp_ignored);
	jb_u64(j, "recoveries", u.recoveries);
	jb_u64(j, "lost_and_found", d->frames_found);
	jb_close(j, '}');
	stack_usage(d->stack, &s);
	jb_open(j, "slow_path", '{');
	jb_u64(j, "records", d->recs.n);
	jb_u64(j, "connections", s.tcbs);
	jb_u64(j, "offered", s.tcbs_exported);
	jb_u64(j, "orphans", s.orphans);
	jb_u64(j, "half_open", s.synreqs);
	jb_u64(j, "time_wait", s.timewaits);
	jb_u64(j, "chunks", s.chunks);
	jb_bool(j, "mem_pressure", s.mem_pressure);
	jb_u64(j, "neighbours", s.neighs);
	jb_u64(j, "routes", s.routes);
	jb_u64(j, "waiting_packets", s.pending);
	jb_close(j, '}');
}

static void fill_status(struct daemon *d, struct jbuf *j)
{
	jb_open(j, NULL, '{');
	put_attachment(d, j);
	put_apps(d, j);
	put_listeners(d, j);
	udp_report(d, j);
	put_warnings(d, j);
	put_memory(d, j);
	jb_close(j, '}');
}

/* ---- counters ---- */

static void fill_stat(struct daemon *d, struct jbuf *j)
{
	static const char *const names[MIB_MAX] = {
#define X(group, name) #group #name,
		MIB_COUNTERS(X)
#undef X
	};
	const struct port_stats *p = port_stats(d->port);

	uint64_t xdp[XS_MAX] = {0};

	xdp_read_stats(d->opt.name, xdp);
	jb_open(j, NULL, '{');
	jb_open(j, "counters", '{');
	for (int m = 0; m < MIB_MAX; m++) {
		uint64_t n = d->mib_ended[m] + d->view.mib[m] + xdp_mib(xdp, m);

		for (uint32_t s = 1; s < d->slots; s++)
			if (d->apps[s] && d->apps[s]->stage == APP_ALIVE)
				n += READ_ONCE(d->apps[s]->view.mib[m]);
		jb_u64(j, names[m], n);
	}
	jb_close(j, '}');
	jb_open(j, "slow_path_drops", '{');
	for (int i = 1; i < DROP_MAX; i++)
		jb_u64(j, drop_name((enum drop)i), stack_drops(d->stack, (enum drop)i));
	jb_close(j, '}');
	jb_open(j, "slow_path_port", '{');
	jb_u64(j, "rx_packets", p->rx_packets);
	jb_u64(j, "rx_bytes", p->rx_bytes);
	jb_u64(j, "tx_packets", p->tx_packets);
	jb_u64(j, "tx_bytes", p->tx_bytes);
	jb_u64(j, "tx_full", p->tx_full);
	jb_u64(j, "tx_drops", p->tx_drops);
	jb_u64(j, "gso_packets", p->gso_packets);
	jb_u64(j, "gso_drops", p->gso_drops);
	jb_u64(j, "bad_descriptors", p->bad_desc);
	jb_u64(j, "injected_in", p->injected_in);
	jb_u64(j, "injected_out", p->injected_out);
	jb_u64(j, "kicks", p->kicks);
	jb_close(j, '}');
	jb_close(j, '}');
}

void report_fill(struct daemon *d, struct report *r)
{
	if (r->done)
		return;
	switch (r->type) {
	case CTL_STATUS:
		fill_status(d, &r->j);
		r->done = true;
		break;
	case CTL_STAT:
		fill_stat(d, &r->j);
		r->done = true;
		break;
	default:
		report_ss(d, r);
	}
}
