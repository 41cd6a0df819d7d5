// SPDX-License-Identifier: BSD-2-Clause
/*
 * The interface: finding out what it can do, packet memory, AF_XDP sockets, the XDP program,
 * the stack on top, and following what rtnetlink says of it. Opened in this order, closed in the
 * reverse; a failure in between leaves nothing.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include "user/core/neigh_entry.h"
#include "daemon.h"

#define NETIF 0
#define GSO_MAX 65000u /* as an application's: 64 KB less the largest headers */
#define N_ROUTES 16384u
#define N_LISTENERS 65536u
#define N_SYNREQS 262144u
#define N_PENDING 32u	    /* half of the packets that the port has for building */
#define DAEMON_FRAMES 1024u /* its cache, and what it sends */
#define APP_FRAMES 512u	    /* an application's cache */

/* ---- sizes ---- */

static uint32_t pow2_at_least(uint32_t n)
{
	uint32_t p = 1;

	while (p < n)
		p *= 2;
	return p;
}

uint32_t iface_frames_for(const struct daemon *d, uint32_t n_apps)
{
	return d->n_queues * d->fill_target + DAEMON_FRAMES +
	       n_apps * (d->cfg.rx_ring * d->n_queues + APP_FRAMES);
}

static int choose_sizes(struct daemon *d, char *why, size_t len)
{
	uint32_t fill, need;

	d->n_queues = d->probe.n_queues;
	if (!d->n_queues || d->n_queues > TD_MAX_QUEUES) {
		snprintf(why, len, "%s has %u receive queues; 1 to %u can be served (ethtool -L)",
			 d->opt.ifname, d->n_queues, TD_MAX_QUEUES);
		return -EINVAL;
	}
	fill = pow2_at_least(2 *
			     (d->cfg.rx_ring > d->cfg.tx_ring ? d->cfg.rx_ring : d->cfg.tx_ring));
	d->fill_target = fill < d->cfg.umem_frames / 4 / d->n_queues
				 ? fill
				 : d->cfg.umem_frames / 4 / d->n_queues;
	need = iface_frames_for(d, 1);
	if (need > d->cfg.umem_frames || d->fill_target < 64) {
		snprintf(why, len,
			 "umem_frames = %u is too few for %u queue(s) with rx_ring = %u: %u would do",
			 d->cfg.umem_frames, d->n_queues, d->cfg.rx_ring, pow2_at_least(2 * need));
		return -EINVAL;
	}
	d->xsk_opts = (struct xsk_opts){
		.ifindex = d->link.ifindex,
		.rx_size = d->cfg.rx_ring,
		.tx_size = d->cfg.tx_ring,
		.fill_size = fill,
		.comp_size = fill,
		.zerocopy = d->probe.zerocopy_ok && d->probe.mode == XDP_MODE_NATIVE,
		.sg = d->probe.sg_ok,
		.tx_csum = d->probe.tx_csum_ok,
	};
	return 0;
}

/* ---- packet memory and sockets ---- */

static int open_sockets(struct daemon *d, char *why, size_t len)
{
	int err = umem_create(&d->umem, d->cfg.umem_frames);

	if (err) {
		snprintf(why, len, "no packet memory of %u frames: %s", d->cfg.umem_frames,
			 strerror(-err));
		return err;
	}
	d->xsks = calloc(d->n_queues, sizeof(*d->xsks));
	d->uqs = calloc(d->n_queues, sizeof(*d->uqs));
	if (!d->xsks || !d->uqs)
		return -ENOMEM;
	while (d->n_xsks < d->n_queues) {
		uint32_t q = d->n_xsks;

		d->xsk_opts.queue = q;
		err = xsk_create(&d->xsks[q], &d->umem, &d->xsk_opts, q ? &d->xsks[0] : NULL,
				 &d->uqs[q]);
		if (err) {
			snprintf(why, len, "queue %u of %s: no AF_XDP socket: %s%s", q,
				 d->opt.ifname, strerror(-err),
				 err == -EBUSY ? "; another program has one there" : "");
			return err;
		}
		d->n_xsks++;
	}
	d->tx_csum = d->xsk_opts.tx_csum;
	umem_set_queues(&d->umem, d->uqs, d->n_queues);
	return 0;
}

static void close_sockets(struct daemon *d)
{
	while (d->n_xsks) {
		d->n_xsks--;
		xsk_close(&d->xsks[d->n_xsks]);
		umem_queue_unmap(&d->uqs[d->n_xsks]);
	}
	free(d->xsks);
	free(d->uqs);
	d->xsks = NULL;
	d->uqs = NULL;
	if (d->umem.base)
		umem_close(&d->umem);
	d->umem.base = NULL;
}

/* ---- the XDP program ---- */

static int open_prog(struct daemon *d, char *why, size_t len)
{
	struct xdp_prog_opts o = {
		.name = d->opt.name,
		.ifindex = d->link.ifindex,
		.mode = d->probe.mode,
		.max_flows = d->cfg.max_flows,
	};
	int err;

	d->settings = (struct xdp_settings){
		.claim_all = d->cfg.claim_all,
		.reply_mode = d->probe.reply_mode,
		.answer_arp = 1,
		.answer_echo = 1,
		.mtu = d->link.mtu,
		.n_queues = d->n_queues,
	};
	memcpy(d->settings.mac, d->link.mac, sizeof(d->settings.mac));
	o.settings = d->settings;
	err = xdp_prog_attach(&d->prog, &o, why, len);
	if (err)
		return err;
	for (uint32_t q = 0; !err && q < d->n_queues; q++)
		err = xdp_xsk_set(d->prog, TD_SLOT_DAEMON, q, d->xsks[q].fd);
	if (err)
		snprintf(why, len, "cannot enter a socket in the xsks map: %s", strerror(-err));
	return err;
}

/* ---- the stack ---- */

static int open_arena(struct daemon *d)
{
	struct arena_layout l;
	char path[64];
	int err;

	arena_layout_make(&l, d->cfg.max_connections, d->cfg.buffer_chunks,
			  d->cfg.limits.gc_thresh3);
	err = arena_create(&d->arena, &l, TD_SLOT_DAEMON);
	if (err)
		return err;
	d->view = arena_view(&d->arena);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", d->arena.fd);
	d->arena_ro_fd = open(path, O_RDONLY | O_CLOEXEC);
	return d->arena_ro_fd < 0 ? -errno : 0;
}

static int open_stack(struct daemon *d)
{
	struct port_cfg pc = {
		.umem = &d->umem,
		.xsks = d->xsks,
		.uqs = d->uqs,
		.n_queues = d->n_queues,
		.fill_target = d->fill_target,
		.netif = NETIF,
		.partial_csum = d->probe.partial_csum,
		.tx_csum = d->tx_csum,
		.gso_fd = d->gso_fd,
	};
	struct stack_cfg sc = {
		.role = STACK_FULL,
		.slot = TD_SLOT_DAEMON,
		.limits = d->cfg.limits,
		.n_listeners = N_LISTENERS,
		.n_synreqs = N_SYNREQS,
		.n_tw = d->cfg.limits.tcp_max_tw_buckets,
		.n_routes = N_ROUTES,
		.n_pending = N_PENDING,
		.gso_max = d->gso_fd >= 0 ? GSO_MAX : 0,
		.csum_offload = d->tx_csum,
		.cc = d->cfg.cc,
	};
	int err = port_open(&d->port, &pc);

	if (err)
		return err;
	port_set_filter(d->port, filter_packet, d);
	if (getrandom(sc.key, sizeof(sc.key), 0) != sizeof(sc.key))
		return -EIO;
	d->stack_mem_len = stack_mem_size(&sc, &d->view);
	d->stack_mem = mmap(NULL, d->stack_mem_len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (d->stack_mem == MAP_FAILED) {
		d->stack_mem = NULL;
		return -ENOMEM;
	}
	d->stack = stack_init(d->stack_mem, &sc, &d->view, port_pool(d->port), d->now);
	d->n_core_listeners = N_LISTENERS;
	d->by_core = calloc(N_LISTENERS, sizeof(struct group *));
	return d->stack && d->by_core ? 0 : -ENOMEM;
}

static void close_stack(struct daemon *d)
{
	if (d->port)
		port_close(d->port);
	d->port = NULL;
	if (d->stack_mem)
		munmap(d->stack_mem, d->stack_mem_len);
	d->stack_mem = NULL;
	d->stack = NULL;
	free(d->by_core);
	d->by_core = NULL;
	if (d->arena_ro_fd >= 0)
		close(d->arena_ro_fd);
	if (d->arena.base)
		arena_close(&d->arena);
	d->arena_ro_fd = -1;
	d->arena.base = NULL;
}

static void open_gso(struct daemon *d)
{
	d->gso_fd = -1;
	if (!d->cfg.gso)
		return;
	d->gso_fd = port_gso_open(d->link.ifindex);
	if (d->gso_fd < 0)
		say(d, "no segmentation offload: packet socket: %s", strerror(-d->gso_fd));
}

/* ---- ARP ---- */

/* The kernel gets them and shares our addresses; so do we, by a packet socket. */
static void on_arp(struct daemon *d, struct watch *w, uint32_t events)
{
	uint8_t buf[128];
	ssize_t n;

	(void)events;
	while ((n = recv(w->fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		struct pkt p = {.nfrags = 1,
				.len = (uint32_t)n,
				.netif = NETIF,
				.conn = TD_NO_CONN,
				.reason = XR_PASS_ARP};

		p.frag[0] = (struct pkt_frag){.p = buf, .len = (uint32_t)n, .frame = SHM_NIL};
		stack_input(d->stack, &p, d->now);
	}
}

static int open_arp(struct daemon *d)
{
	/* The operation, at 6 in the ARP packet, is 2: reply. */
	struct sock_filter replies[] = {
		BPF_STMT(BPF_LD | BPF_H | BPF_ABS, ETH_HLEN + 6),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 2, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 128),
		BPF_STMT(BPF_RET | BPF_K, 0),
	};
	struct sock_fprog prog = {.len = 4, .filter = replies};
	struct sockaddr_ll sa = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_ARP),
				 .sll_ifindex = d->link.ifindex};
	int one = 1;

	d->arp.fn = on_arp;
	if (!strcmp(d->link.kind, "loopback"))
		return 0;
	/* Protocol 0 at first: nothing is queued before the filter stands. */
	d->arp.fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (d->arp.fd < 0)
		return -errno;
	setsockopt(d->arp.fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one));
	if (setsockopt(d->arp.fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) ||
	    bind(d->arp.fd, (struct sockaddr *)&sa, sizeof(sa)))
		return -errno;
	return watch_add(d, &d->arp, EPOLLIN);
}

/* ---- what rtnetlink says ---- */

bool iface_has_addr(const struct daemon *d, const struct ip_addr *a)
{
	for (uint32_t i = 0; i < d->n_addrs; i++)
		if (ip_addr_eq(&d->addrs[i], a))
			return true;
	return false;
}

static void addr_added(struct daemon *d, const struct ip_addr *a)
{
	struct ip_addr *list;
	int err;

	if (iface_has_addr(d, a))
		return;
	list = realloc(d->addrs, (d->n_addrs + 1) * sizeof(*list));
	if (!list)
		return;
	d->addrs = list;
	d->addrs[d->n_addrs++] = *a;
	/* The slow path has no IPv6 yet: what XDP took the kernel could not answer any more. */
	err = ip_addr_is_v4(a) ? xdp_addr_set(d->prog, a) : 0;
	if (err)
		log_err("cannot claim an address: %s", strerror(-err));
}

static void addr_removed(struct daemon *d, const struct ip_addr *a)
{
	for (uint32_t i = 0; i < d->n_addrs; i++) {
		if (!ip_addr_eq(&d->addrs[i], a))
			continue;
		d->addrs[i] = d->addrs[--d->n_addrs];
		if (ip_addr_is_v4(a))
			xdp_addr_del(d->prog, a);
		return;
	}
}

static void link_changed(struct daemon *d, const struct net_event *ev)
{
	if (!memcmp(d->settings.mac, ev->mac, sizeof(ev->mac)) && d->settings.mtu == ev->mtu)
		return;
	memcpy(d->settings.mac, ev->mac, sizeof(ev->mac));
	memcpy(d->link.mac, ev->mac, sizeof(ev->mac));
	d->settings.mtu = d->link.mtu = ev->mtu;
	xdp_settings_set(d->prog, &d->settings);
	for (uint32_t s = 1; s < d->slots; s++)
		if (d->apps[s])
			d->apps[s]->link_changed = true;
	log_info("%s: MAC address or MTU has changed; MTU is %u", d->opt.ifname, ev->mtu);
}

static void on_net_event(void *ctx, const struct net_event *ev)
{
	struct daemon *d = ctx;
	int err = stack_event(d->stack, ev, d->now);

	if (err && err != -ENOENT)
		log_warn("the stack cannot take a change of %s (kind %d): %s", d->opt.ifname,
			 ev->kind, strerror(-err));
	switch (ev->kind) {
	case NET_LINK_UP:
		link_changed(d, ev);
		break;
	case NET_ADDR_ADD:
		addr_added(d, &ev->addr);
		break;
	case NET_ADDR_DEL:
		addr_removed(d, &ev->addr);
		break;
	default:
		break;
	}
}

static void on_netlink(struct daemon *d, struct watch *w, uint32_t events)
{
	int err = nl_mirror_read(d->nl);

	(void)w;
	(void)events;
	if (nl_mirror_gone(d->nl))
		loop_stop(d, "the interface has gone away");
	else if (err)
		loop_stop(d, "rtnetlink cannot be read any more");
}

/* An AF_XDP socket is read by the loop itself, which it wakes. */
static void on_xsk(struct daemon *d, struct watch *w, uint32_t events)
{
	(void)d;
	(void)w;
	(void)events;
}

int iface_watch(struct daemon *d, char *why, size_t len)
{
	int err = 0;

	d->xsk_watch = calloc(d->n_queues, sizeof(*d->xsk_watch));
	if (!d->xsk_watch)
		return -ENOMEM;
	for (uint32_t q = 0; !err && q < d->n_queues; q++) {
		d->xsk_watch[q] = (struct watch){.fd = d->xsks[q].fd, .fn = on_xsk};
		err = watch_add(d, &d->xsk_watch[q], EPOLLIN);
	}
	if (!err)
		err = nl_mirror_open(&d->nl, d->link.ifindex, NETIF, on_net_event, d);
	if (!err) {
		d->nl_watch = (struct watch){.fd = nl_mirror_fd(d->nl), .fn = on_netlink};
		err = watch_add(d, &d->nl_watch, EPOLLIN);
	}
	if (err)
		snprintf(why, len, "cannot follow %s by rtnetlink: %s", d->opt.ifname,
			 strerror(-err));
	return err;
}

/* ---- all of it ---- */

static void say_lines(const struct daemon *d, const char *text)
{
	while (*text) {
		int n = (int)strcspn(text, "\n");

		if (n)
			say(d, "%.*s", n, text);
		text += n + (text[n] == '\n');
	}
}

static int look(struct daemon *d, char *why, size_t len)
{
	int err = nl_link_get(d->opt.ifname, &d->link);

	if (err) {
		if (err == -ENODEV)
			snprintf(why, len, "there is no interface '%s' in %s%s", d->opt.ifname,
				 d->opt.netns ? "network namespace " : "this network namespace",
				 d->opt.netns ? d->opt.netns : "");
		else
			snprintf(why, len, "%s: %s", d->opt.ifname, strerror(-err));
		return err;
	}
	err = xdp_bpffs_ensure(why, len);
	if (!err)
		err = xdp_probe(d->opt.ifname, d->opt.mode, &d->probe, why, len);
	if (!err)
		err = choose_sizes(d, why, len);
	if (!err)
		say_lines(d, d->probe.reason);
	return err;
}

int iface_open(struct daemon *d, char *why, size_t len)
{
	int err = look(d, why, len);

	if (err)
		return err;
	open_gso(d);
	err = open_sockets(d, why, len);
	if (!err)
		err = open_prog(d, why, len);
	if (err)
		return err;
	err = open_arena(d);
	if (!err)
		err = open_stack(d);
	if (err)
		snprintf(why, len, "no memory for the stack: %s", strerror(-err));
	if (!err) {
		err = open_arp(d);
		if (err)
			snprintf(why, len, "no packet socket for ARP: %s", strerror(-err));
	}
	return err;
}

/* Takes what there is, so that it also serves a start that failed half-way. */
void iface_close(struct daemon *d)
{
	if (d->prog)
		xdp_prog_detach(d->prog);
	d->prog = NULL;
	if (d->nl)
		nl_mirror_close(d->nl);
	d->nl = NULL;
	watch_del(d, &d->arp);
	close_stack(d);
	close_sockets(d);
	if (d->gso_fd >= 0)
		close(d->gso_fd);
	d->gso_fd = -1;
	free(d->xsk_watch);
	free(d->addrs);
	d->xsk_watch = NULL;
	d->addrs = NULL;
}
