/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A daemon without interface, root and files: its real loop, control socket, records, stack, port
 * and packet memory; in place of AF_XDP sockets rings on the heap, in place of the XDP program a
 * table of flow entries, which must be empty at the end. Time is virtual. Include it in one file of
 * a program: it defines what user/io/xsk.c and xdp_prog.c do.
 */
#ifndef TANDEM_FUZZ_DAEMON_WORLD_H
#define TANDEM_FUZZ_DAEMON_WORLD_H

#include <fcntl.h>
#include <sched.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <linux/if_xdp.h>
#include "common/reasons.h"
#include "lib_host.h"
#include "user/daemon/daemon.h"
#include "user/io/sockdiag.h"

#define DW_RING 64u
#define DW_TCBS 64u
#define DW_CHUNKS 64u

static struct daemon dw;
static struct xsk *dw_xsk; /* slot 0's */
static uint64_t dw_fill_ring[DW_RING], dw_comp_ring[DW_RING];
static uint32_t dw_fill_idx[3], dw_comp_idx[3];
static uint32_t dw_flows; /* entries in the maps */
static uint32_t dw_ports;

/* What the daemon has sent last of a handshake, for the peer's answer. */
static struct dw_syn {
	struct tcp_addr_pair a;
	uint32_t seq, ack;
	uint8_t flags;
} dw_syns[4];
static uint32_t dw_n_syns;

/* ---- in place of xdp_prog.c, probe.c and main.c ---- */

const char *xdp_mode_name(enum xdp_mode m)
{
	return m == XDP_MODE_NATIVE ? "native" : "generic";
}

int xdp_prog_attach(struct xdp_prog **out, const struct xdp_prog_opts *o, char *why, size_t len)
{
	(void)out, (void)o, (void)why, (void)len;
	return -EPERM;
}

int xdp_prog_add(struct xdp_prog *p, const struct xdp_prog_opts *o, char *why, size_t len)
{
	(void)p, (void)o, (void)why, (void)len;
	return -EPERM;
}

int xdp_prog_remove_pins(const char *name)
{
	(void)name;
	return 0;
}

void xdp_prog_detach(struct xdp_prog *p)
{
	(void)p;
}

int xdp_probe(const char *ifname, enum xdp_mode wanted, struct xdp_probe *out, char *why,
	      size_t len)
{
	(void)ifname, (void)wanted, (void)out, (void)why, (void)len;
	return -EPERM;
}

int xdp_bpffs_ensure(char *why, size_t len)
{
	(void)why, (void)len;
	return -EPERM;
}

static struct {
	struct flow_key k;
	struct flow_val v;
} dw_flow[256];

static uint32_t dw_find(const struct flow_key *k)
{
	uint32_t i = 0;

	while (i < dw_flows && memcmp(&dw_flow[i].k, k, sizeof(*k)))
		i++;
	return i;
}

int xdp_flow_set(struct xdp_prog *p, const struct flow_key *k, const struct flow_val *v)
{
	uint32_t i = dw_find(k);

	(void)p;
	if (i == 256)
		return -ENOSPC;
	dw_flows += i == dw_flows;
	dw_flow[i].k = *k;
	dw_flow[i].v = *v;
	return 0;
}

int xdp_flow_del(struct xdp_prog *p, const struct flow_key *k)
{
	uint32_t i = dw_find(k);

	(void)p;
	FZ_CHECK(i < dw_flows, "no such flow entry");
	dw_flow[i] = dw_flow[--dw_flows];
	return 0;
}

static struct port_key dw_port[256];

static uint32_t dw_port_find(const struct port_key *k)
{
	uint32_t i = 0;

	while (i < dw_ports && memcmp(&dw_port[i], k, sizeof(*k)))
		i++;
	return i;
}

int xdp_port_set(struct xdp_prog *p, const struct port_key *k, const struct port_val *v)
{
	uint32_t i = dw_port_find(k);

	(void)p, (void)v;
	if (i == sizeof(dw_port) / sizeof(dw_port[0]))
		return -E2BIG;
	dw_port[i] = *k;
	dw_ports += i == dw_ports;
	return 0;
}

int xdp_spread_set(struct xdp_prog *p, uint32_t i, const struct spread *s)
{
	(void)p, (void)i, (void)s;
	return 0;
}

int xdp_port_del(struct xdp_prog *p, const struct port_key *k)
{
	uint32_t i = dw_port_find(k);

	(void)p;
	FZ_CHECK(i < dw_ports, "no such entry in ports");
	dw_port[i] = dw_port[--dw_ports];
	return 0;
}

int xdp_syncookies_set(struct xdp_prog *p, const struct syncookie_secrets *c)
{
	(void)p, (void)c;
	return 0;
}

int xdp_read_stats(const char *name, uint64_t out[XS_MAX])
{
	(void)name;
	memset(out, 0, XS_MAX * sizeof(*out));
	return 0;
}

int xdp_addr_set(struct xdp_prog *p, const struct ip_addr *a)
{
	(void)p, (void)a;
	return 0;
}

int xdp_addr_del(struct xdp_prog *p, const struct ip_addr *a)
{
	(void)p, (void)a;
	return 0;
}

int xdp_xsk_set(struct xdp_prog *p, uint32_t slot, uint32_t queue, int xsk_fd)
{
	(void)p;
	FZ_CHECK(slot < TD_MAX_SLOTS && queue < TD_MAX_QUEUES && xsk_fd >= 0);
	return 0;
}

int xdp_xsk_del(struct xdp_prog *p, uint32_t slot, uint32_t queue)
{
	(void)p, (void)slot, (void)queue;
	return 0;
}

int xdp_settings_set(struct xdp_prog *p, uint32_t netif, const struct xdp_settings *s)
{
	(void)p, (void)netif, (void)s;
	return 0;
}

int sockdiag_listeners(sockdiag_fn fn, void *ctx)
{
	(void)fn, (void)ctx;
	return 0;
}

void say(const struct daemon *d, const char *fmt, ...)
{
	(void)d, (void)fmt;
}

int reload_config(struct daemon *d)
{
	(void)d;
	return 0;
}

/* ---- in place of xsk.c ---- */

struct dw_rings {
	uint32_t rx_idx[3], tx_idx[3]; /* producer, consumer, flags */
	struct xdp_desc rx[DW_RING], tx[DW_RING];
};

int xsk_create(struct xsk *x, struct umem *u, struct xsk_opts *o, const struct xsk *share,
	       struct umem_queue *uq)
{
	struct dw_rings *r = calloc(1, sizeof(*r));

	(void)u, (void)share, (void)uq;
	FZ_CHECK(r);
	*x = (struct xsk){.fd = open("/dev/null", O_RDWR | O_CLOEXEC), .queue = o->queue};
	FZ_CHECK(x->fd >= 0);
	x->rx_map = r;
	x->rx = (struct xsk_ring_cons){.mask = DW_RING - 1,
				       .size = DW_RING,
				       .producer = &r->rx_idx[0],
				       .consumer = &r->rx_idx[1],
				       .ring = r->rx,
				       .flags = &r->rx_idx[2]};
	x->tx = (struct xsk_ring_prod){.cached_cons = DW_RING,
				       .mask = DW_RING - 1,
				       .size = DW_RING,
				       .producer = &r->tx_idx[0],
				       .consumer = &r->tx_idx[1],
				       .ring = r->tx,
				       .flags = &r->tx_idx[2]};
	return 0;
}

void xsk_close(struct xsk *x)
{
	free(x->rx_map);
	x->rx_map = NULL;
	close(x->fd);
}

int xsk_cut(struct xsk *x, struct umem_queue *uq)
{
	(void)x, (void)uq;
	return 0;
}

void umem_queue_unmap(struct umem_queue *uq)
{
	(void)uq;
}

uint32_t xsk_unread_frames(const struct xsk *x, const struct umem *u, uint32_t *out, uint32_t max)
{
	(void)x, (void)u, (void)out, (void)max;
	return 0;
}

void xsk_spare(const struct xsk *x, struct frame_set *s)
{
	const struct dw_rings *r = x->rx_map;

	for (uint32_t i = r->rx_idx[1]; i != r->rx_idx[0]; i++)
		frame_set_del(s, r->rx[i % DW_RING].addr);
}

/* Remembers what asks for an answer. */
static void dw_sent(const uint8_t *b, uint32_t len)
{
	const uint8_t *tcp = b + ETH_HLEN_ + IP4_HLEN;
	struct dw_syn *s = &dw_syns[dw_n_syns % 4];

	if (len < ETH_HLEN_ + IP4_HLEN + TCP_HLEN || get_be16(b + 12) != ETHERTYPE_IP4 ||
	    b[ETH_HLEN_ + 9] != PROTO_TCP || !(tcp[13] & TH_SYN))
		return;
	dw_n_syns++;
	s->a.local = fz_ip(get_be32(b + ETH_HLEN_ + 12));
	s->a.remote = fz_ip(get_be32(b + ETH_HLEN_ + 16));
	memcpy(&s->a.local_port, tcp, 2);
	memcpy(&s->a.remote_port, tcp + 2, 2);
	s->seq = get_be32(tcp + 4);
	s->ack = get_be32(tcp + 8);
	s->flags = tcp[13];
}

/* The kernel sends at once. */
int xsk_by_write(struct xsk *x)
{
	(void)x;
	return 0;
}

uint32_t xsk_unsent(const struct xsk *x)
{
	const struct dw_rings *r = x->rx_map;

	return r->tx_idx[0] - r->tx_idx[1];
}

/* The daemon kicks at once. */
int xsk_push(const struct xsk *x)
{
	(void)x;
	abort();
}

int xsk_kick(struct xsk *x)
{
	struct dw_rings *r = x->rx_map;

	while (r->tx_idx[1] != r->tx_idx[0] && dw_comp_idx[0] - dw_comp_idx[1] < DW_RING) {
		struct xdp_desc d = r->tx[r->tx_idx[1]++ % DW_RING];

		FZ_CHECK(umem_valid(&dw.umem, d.addr, d.len));
		dw_sent(umem_ptr(&dw.umem, d.addr), d.len);
		dw_comp_ring[dw_comp_idx[0]++ % DW_RING] = d.addr;
	}
	x->tx_outstanding = r->tx_idx[0] - r->tx_idx[1];
	return x->tx_outstanding ? -EAGAIN : 0;
}

/* One frame from the wire, by slot 0's socket. */
static void dw_receive(const uint8_t *b, uint32_t len)
{
	struct dw_rings *r = dw_xsk->rx_map;
	uint64_t addr = dw_fill_ring[dw_fill_idx[1] % DW_RING] + UMEM_HEADROOM;

	if (dw_fill_idx[0] == dw_fill_idx[1] || r->rx_idx[0] - r->rx_idx[1] >= DW_RING ||
	    len > UMEM_FRAME_SIZE - UMEM_HEADROOM)
		return;
	dw_fill_idx[1]++;
	memset(umem_ptr(&dw.umem, addr) - 16, 0, 16);
	memcpy(umem_ptr(&dw.umem, addr), b, len);
	r->rx[r->rx_idx[0]++ % DW_RING] = (struct xdp_desc){.addr = addr, .len = len};
}

/* ---- the daemon ---- */

static void dw_net_event(enum net_event_kind kind, uint32_t addr, uint8_t plen)
{
	struct net_event ev = {
		.kind = kind, .plen = plen, .mtu = 1500, .addr = fz_ip(addr), .permanent = true};

	memcpy(ev.mac, kind == NET_NEIGH_SET ? fz_peer_mac : fz_our_mac, 6);
	stack_event(dw.stack, &ev, dw.now);
}

static void dw_open_stack(void)
{
	struct stack_cfg sc = fz_cfg(STACK_FULL);
	struct arena_layout l;

	sc.n_listeners = 16;
	sc.n_synreqs = 16;
	sc.n_tw = 8;
	sc.n_pending = 32;
	arena_layout_make(&l, DW_TCBS, DW_CHUNKS, 16, 64, 32);
	FZ_CHECK(!arena_create(&dw.arena, &l, TD_SLOT_DAEMON));
	dw.view = arena_view(&dw.arena);
	dw.stack_mem_len = stack_mem_size(&sc, &dw.view);
	FZ_CHECK(!posix_memalign(&dw.stack_mem, 64, dw.stack_mem_len));
	memset(dw.stack_mem, 0, dw.stack_mem_len);
	dw.stack = stack_init(dw.stack_mem, &sc, &dw.view, port_pool(dw.port), dw.now);
	dw.n_core_listeners = sc.n_listeners;
	dw.by_core = calloc(sc.n_listeners, sizeof(struct group *));
	dw_net_event(NET_LINK_UP, 0, 0);
	dw_net_event(NET_ADDR_ADD, FZ_OUR_IP, 24);
	dw_net_event(NET_ROUTE_ADD, FZ_OUR_IP & 0xffffff00u, 24);
	dw_net_event(NET_NEIGH_SET, FZ_PEER_IP, 32);
}

static struct mtime dw_clock(void)
{
	return dw.now;
}

static void dw_open(void)
{
	static const uint64_t key[2] = {3, 4};
	struct port_cfg pc = {.umem = &dw.umem,
			      .fill_target = 32,
			      .ifs = {{.n_queues = 1, .partial_csum = true, .gso_fd = -1}},
			      .n_ifs = 1,
			      .clock = dw_clock};

	dw.now = dw.started = (struct mtime){1000 * NS_PER_S};
	dw.epfd = epoll_create1(EPOLL_CLOEXEC);
	FZ_CHECK(dw.epfd >= 0);
	dw.inject_from = TD_SLOT_NONE;
	dw.slots = 1;
	dw.stop = false;
	dw.control_filled = dw.now;
	dw.control_tokens = 100;
	FZ_CHECK(!recs_init(&dw.recs, 64, key));
	dw.xsks = calloc(1, sizeof(*dw.xsks));
	xsk_create(dw.xsks, &dw.umem, &dw.ifs[0].xsk_opts, NULL, NULL);
	dw_xsk = dw.xsks;
	dw.n_xsks = 1;
	pc.xsks = dw.xsks;
	pc.uqs = dw.uqs;
	FZ_CHECK(!port_open(&dw.port, &pc));
	port_set_filter(dw.port, filter_packet, &dw);
	dw_open_stack();
	udp_begin(&dw);
	dw_n_syns = 0;
}

/* All that a client or an application left must go away by itself. */
static void dw_close(void)
{
	char why[128] = "";

	FZ_CHECK(!stack_check(dw.stack, why, sizeof(why)), "%s", why);
	for (uint32_t i = 0; i < 4; i++) {
		ctl_reap(&dw);
		app_removals(&dw);
		dw.now = mtime_add_ns(dw.now, 2 * NS_PER_S);
		loop_round(&dw);
	}
	FZ_CHECK(!dw.clients && dw.slots == 1, "clients or applications are left");
	FZ_CHECK(!dw.groups && !dw_ports, "listeners are left");
	for (uint32_t i = 0; i < dw.recs.used; i++)
		FZ_CHECK(dw.recs.r[i].state == REC_FREE || dw.recs.r[i].state == REC_ORPHAN ||
			 dw.recs.r[i].state == REC_TIMEWAIT);
	handover_reset_all(&dw);
	FZ_CHECK(!dw.recs.n && !dw_flows, "%u records, %u flow entries are left", dw.recs.n,
		 dw_flows);
	FZ_CHECK(!dw.n_shares, "shared sockets are left");
	share_free_all(&dw);
	udp_end(&dw);
	free(dw.by_core);
	free(dw.stack_mem);
	arena_close(&dw.arena);
	port_close(dw.port);
	dw.port = NULL;
	xsk_close(dw.xsks);
	free(dw.xsks);
	dw.n_xsks = 0;
	recs_free(&dw.recs);
	close(dw.epfd);
}

/*
 * Every frame is the pool's, the fill ring's, or unread in slot 0's ring. What an application has
 * said that it passes on, and put in no ring, the daemon has found.
 */
static void dw_check_frames(void)
{
	struct frame_cache c = {0};
	struct umem_usage us;

	dw.slots = 2; /* as it was: somebody has been there */
	sweep_run(&dw);
	dw.slots = 1;
	while (!mtime_is_never(sweep_run(&dw)))
		dw.now = mtime_add_ns(dw.now, 20 * NS_PER_S);
	sweep_close(&dw);
	umem_balance(&dw.umem, dw.uqs, &c, 0, 0, 0);
	umem_flush_cache(&dw.umem, &c);
	umem_usage(&dw.umem, &us);
	FZ_CHECK(us.pool + us.fill == dw.umem.n_frames, "%u owned, %u sent, %u injected", us.owned,
		 us.tx, us.injected);
	/* What was not read is lost with the rings. */
	while (us.fill && us.fill > dw_fill_idx[0] - dw_fill_idx[1]) {
		for (uint32_t f = 0; f < dw.umem.n_frames; f++)
			if (FRAME_STATE(umem_owner(&dw.umem, f)) == FRAME_FILL)
				umem_reclaim(&dw.umem, 999, &f, 1, true);
		dw_fill_idx[1] = dw_fill_idx[0];
		us.fill = 0;
	}
}

/* Once: what does not depend on the input. Applications bind ports of the kernel: not of the
 * host's. */
static void dw_init(void)
{
	if (unshare(CLONE_NEWNET) && unshare(CLONE_NEWUSER | CLONE_NEWNET)) {
		perror("a network namespace is needed");
		_Exit(4);
	}
	log_set_level(LOG_CRIT);
	config_default(&dw.cfg);
	dw.cfg.max_connections = 16;
	dw.cfg.buffer_chunks = 16;
	dw.cfg.umem_frames = 4096;
	dw.cfg.rx_ring = dw.cfg.tx_ring = DW_RING;
	dw.cfg.max_flows = 64;
	dw.lock_fd = dw.spare_fd = -1;
	dw.sig.fd = dw.ctl.fd = -1;
	dw.opt.name = "fuzz";
	dw.ifs[0].name = "fuzz0";
	dw.ifs[0].n_queues = 1;
	dw.ifs[0].gso_fd = dw.ifs[0].arp.fd = dw.ifs[0].nl_watch.fd = -1;
	dw.ifs[0].xsk_opts = (struct xsk_opts){.rx_size = DW_RING, .tx_size = DW_RING};
	dw.n_ifs = 1;
	dw.ring_size = DW_RING;
	dw.n_queues = 1;
	dw.fill_target = 32;
	FZ_CHECK(!umem_create(&dw.umem, dw.cfg.umem_frames));
	dw.uqs = calloc(1, sizeof(*dw.uqs));
	dw.uqs->fill = (struct xsk_ring_prod){.cached_cons = DW_RING,
					      .mask = DW_RING - 1,
					      .size = DW_RING,
					      .producer = &dw_fill_idx[0],
					      .consumer = &dw_fill_idx[1],
					      .ring = dw_fill_ring,
					      .flags = &dw_fill_idx[2]};
	dw.uqs->comp = (struct xsk_ring_cons){.mask = DW_RING - 1,
					      .size = DW_RING,
					      .producer = &dw_comp_idx[0],
					      .consumer = &dw_comp_idx[1],
					      .ring = dw_comp_ring,
					      .flags = &dw_comp_idx[2]};
	umem_set_queues(&dw.umem, dw.uqs, 1);
	dw.addrs = malloc(sizeof(*dw.addrs));
	dw.addrs[0] = (struct own_addr){.addr = fz_ip(FZ_OUR_IP), .n = 1};
	dw.n_addrs = 1;
}

#endif
