// SPDX-License-Identifier: BSD-2-Clause
/*
 * The interfaces: finding out what they can do, packet memory, AF_XDP sockets, the XDP program,
 * the stack on top, and following what rtnetlink says of them. Opened in this order, closed in the
 * reverse; a failure in between leaves nothing. All interfaces use the same frames, each with
 * a registration of its own, so that one may do zero-copy where another cannot.
 *
 * lo is one of them where it was asked for. What is ours on the host then reaches what is the
 * kernel's and the other way round; the kernel takes our packets there once it has been told to
 * accept its own addresses as their source (lo.h).
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
#include "user/io/lo.h"
#include "daemon.h"

_Static_assert(TD_MAX_NETIFS <= STACK_MAX_NETIFS, "the stack has room for them");
#define HEIR_WAIT_NS (15 * NS_PER_S)
#define QUEUE_WAIT_NS (6 * NS_PER_S)
#define GSO_MAX 65000u /* as an application's: 64 KB less the largest headers */
#define N_ROUTES 16384u
#define N_LISTENERS 65536u
#define N_SYNREQS 262144u
#define N_PENDING 48u	    /* of the 64 packets that the port has for building */
#define DAEMON_FRAMES 1024u /* its cache, and what it sends */
#define APP_FRAMES 192u	    /* an application's: cache (PORT_CACHE_SCARCE), packets being built */
/* Receive rings that are full at one time, of applications that are stopped: there is room for these. */
#define FULL_RINGS 12u

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
	uint32_t rings = n_apps * d->n_queues;

	return d->n_queues * d->fill_target + DAEMON_FRAMES + n_apps * APP_FRAMES +
	       (rings < FULL_RINGS ? rings : FULL_RINGS) * d->cfg.rx_ring;
}

static int count_queues(struct daemon *d, char *why, size_t len)
{
	d->n_queues = 0;
	for (uint32_t i = 0; i < d->n_ifs; i++) {
		struct iface *f = &d->ifs[i];

		f->first = d->n_queues;
		f->n_queues = f->probe.n_queues;
		if (!f->n_queues || f->n_queues > TD_MAX_QUEUES - d->n_queues) {
			snprintf(why, len,
				 "%s has %u receive queues; 1 to %u can be served (ethtool -L)",
				 f->name, f->n_queues, TD_MAX_QUEUES - d->n_queues);
			return -EINVAL;
		}
		d->n_queues += f->n_queues;
	}
	return 0;
}

static int choose_sizes(struct daemon *d, char *why, size_t len)
{
	uint32_t need;
	int err = count_queues(d, why, len);

	if (err)
		return err;
	d->ring_size = pow2_at_least(
		2 * (d->cfg.rx_ring > d->cfg.tx_ring ? d->cfg.rx_ring : d->cfg.tx_ring));
	d->fill_target = d->cfg.umem_frames / 4 / d->n_queues;
	if (d->fill_target > d->ring_size)
		d->fill_target = d->ring_size;
	need = iface_frames_for(d, 1);
	if (need > d->cfg.umem_frames || d->fill_target < 64) {
		snprintf(why, len,
			 "umem_frames = %u is too few for %u queue(s) with rx_ring = %u: %u would "
			 "do",
			 d->cfg.umem_frames, d->n_queues, d->cfg.rx_ring, pow2_at_least(2 * need));
		return -EINVAL;
	}
	return 0;
}

uint32_t iface_mtu(const struct iface *f, uint32_t mtu)
{
	return f->loopback && mtu > GSO_MAX ? GSO_MAX : mtu;
}

struct iface *iface_of_queue(struct daemon *d, uint32_t q)
{
	uint32_t i = 0;

	while (q - d->ifs[i].first >= d->ifs[i].n_queues)
		i++;
	return &d->ifs[i];
}

/* ---- packet memory and sockets ---- */

static int open_queues(struct daemon *d, struct iface *f, char *why, size_t len)
{
	f->xsk_opts = (struct xsk_opts){
		.ifindex = f->link.ifindex,
		.rx_size = d->cfg.rx_ring,
		.tx_size = d->cfg.tx_ring,
		.fill_size = d->ring_size,
		.comp_size = d->ring_size,
		.zerocopy = f->probe.zerocopy_ok && f->probe.mode == XDP_MODE_NATIVE,
		.sg = f->probe.sg_ok,
		.tx_csum = f->probe.tx_csum_ok,
	};
	for (uint32_t q = 0; q < f->n_queues; q++) {
		uint32_t i = d->n_xsks;
		int err;

		f->xsk_opts.queue = q;
		err = xsk_create(&d->xsks[i], &d->umem, &f->xsk_opts, q ? &d->xsks[f->first] : NULL,
				 &d->uqs[i]);
		if (err) {
			snprintf(why, len, "queue %u of %s: no AF_XDP socket: %s%s", q, f->name,
				 strerror(-err),
				 err == -EBUSY ? "; another program has one there" : "");
			return err;
		}
		d->uqs[i].index = i;
		d->n_xsks++;
	}
	return 0;
}

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
	for (uint32_t i = 0; !err && i < d->n_ifs; i++)
		err = open_queues(d, &d->ifs[i], why, len);
	if (!err)
		umem_set_queues(&d->umem, d->uqs, d->n_queues);
	return err;
}

static void close_sockets(struct daemon *d)
{
	sweep_close(d);
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

static int attach_prog(struct daemon *d, struct iface *f, char *why, size_t len)
{
	struct xdp_prog_opts o = {
		.name = d->opt.name,
		.ifindex = f->link.ifindex,
		.mode = f->probe.mode,
		.max_flows = d->cfg.max_flows,
	};

	/* What lo carries is the kernel's, too: only what is known to be ours is taken there. */
	f->settings = (struct xdp_settings){
		.claim_all = d->cfg.claim_all && !f->loopback,
		.reply_mode = f->probe.reply_mode,
		.answer_arp = !f->loopback,
		.answer_echo = !f->loopback,
		.mtu = f->link.mtu,
		.n_queues = f->n_queues,
		.queue_base = (uint16_t)f->first,
		.partial_replies = f->probe.mode == XDP_MODE_GENERIC,
	};
	memcpy(f->settings.mac, f->link.mac, sizeof(f->settings.mac));
	o.settings = f->settings;
	return f->netif ? xdp_prog_add(d->prog, &o, why, len)
			: xdp_prog_attach(&d->prog, &o, why, len);
}

static int open_prog(struct daemon *d, char *why, size_t len)
{
	int err = 0;

	for (uint32_t i = 0; !err && i < d->n_ifs; i++)
		err = attach_prog(d, &d->ifs[i], why, len);
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
	int err;

	arena_layout_make(&l, d->cfg.max_connections, d->cfg.buffer_chunks,
			  d->cfg.limits.gc_thresh3, 0, 0);
	err = arena_create(&d->arena, &l, TD_SLOT_DAEMON);
	if (err)
		return err;
	d->view = arena_view(&d->arena);
	if (d->arena.keeps_pages)
		log_warn("no mount namespace: memory of the slow path is not given back");
	return 0;
}

static int open_stack(struct daemon *d)
{
	struct port_cfg pc = {
		.umem = &d->umem,
		.xsks = d->xsks,
		.uqs = d->uqs,
		.fill_target = d->fill_target,
		.n_ifs = d->n_ifs,
		.clock = clock_now,
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
		.csum_offload = true, /* the port completes what the kernel does not */
		.cc = d->cfg.cc,
	};
	int err;

	for (uint32_t i = 0; i < d->n_ifs; i++) {
		const struct iface *f = &d->ifs[i];

		pc.ifs[i] = (struct port_if){.n_queues = f->n_queues,
					     .partial_csum = f->probe.partial_csum,
					     .tx_csum = f->xsk_opts.tx_csum,
					     .gso_fd = f->gso_fd};
		if (f->gso_fd >= 0)
			sc.gso_max = GSO_MAX;
	}
	err = port_open(&d->port, &pc);
	if (err)
		return err;
	port_set_filter(d->port, filter_packet, d);
	if (getrandom(sc.key, sizeof(sc.key), 0) != sizeof(sc.key) ||
	    getrandom(sc.ts_key, sizeof(sc.ts_key), 0) != sizeof(sc.ts_key))
		return -EIO;
	memcpy(d->ts_key, sc.ts_key, sizeof(d->ts_key));
	d->stack_mem_len = stack_mem_size(&sc, &d->view);
	d->stack_mem = mmap(NULL, d->stack_mem_len, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (d->stack_mem == MAP_FAILED) {
		d->stack_mem = NULL;
		return -ENOMEM;
	}
	d->stack = stack_init(d->stack_mem, &sc, &d->view, port_pool(d->port), d->now);
	if (d->stack)
		fo_keys_refresh(d);
	udp_begin(d);
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
	if (d->arena.base)
		arena_close(&d->arena);
	d->arena.base = NULL;
}

static void open_gso(struct daemon *d, struct iface *f)
{
	if (!d->cfg.gso)
		return;
	f->gso_fd = port_gso_open(f->link.ifindex);
	if (f->gso_fd < 0)
		say(d, "%s: no segmentation offload: packet socket: %s", f->name,
		    strerror(-f->gso_fd));
}

/* ---- ARP ---- */

/* The interface whose watch, at @at in it, this is. */
static struct iface *iface_of(struct watch *w, size_t at)
{
	return (struct iface *)(void *)((char *)w - at);
}

/* The kernel gets them and shares our addresses; so do we, by a packet socket. */
static void on_arp(struct daemon *d, struct watch *w, uint32_t events)
{
	uint8_t buf[128];
	ssize_t n;

	(void)events;
	while ((n = recv(w->fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		struct pkt p = {.nfrags = 1,
				.len = (uint32_t)n,
				.netif = iface_of(w, offsetof(struct iface, arp))->netif,
				.conn = TD_NO_CONN,
				.reason = XR_PASS_ARP};

		p.frag[0] = (struct pkt_frag){.p = buf, .len = (uint32_t)n, .frame = SHM_NIL};
		stack_input(d->stack, &p, d->now);
	}
}

static int open_arp(struct daemon *d, struct iface *f)
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
				 .sll_ifindex = f->link.ifindex};
	int one = 1;

	f->arp.fn = on_arp;
	if (f->loopback)
		return 0;
	/* Protocol 0 at first: nothing is queued before the filter stands. */
	f->arp.fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (f->arp.fd < 0)
		return -errno;
	setsockopt(f->arp.fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof(one));
	if (setsockopt(f->arp.fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) ||
	    bind(f->arp.fd, (struct sockaddr *)&sa, sizeof(sa)))
		return -errno;
	return watch_add(d, &f->arp, EPOLLIN);
}

/* ---- what rtnetlink says ---- */

static struct own_addr *find_addr(const struct daemon *d, const struct ip_addr *a)
{
	for (uint32_t i = 0; i < d->n_addrs; i++)
		if (ip_addr_eq(&d->addrs[i].addr, a))
			return &d->addrs[i];
	return NULL;
}

bool iface_has_addr(const struct daemon *d, const struct ip_addr *a)
{
	return find_addr(d, a);
}

static void addr_added(struct daemon *d, const struct ip_addr *a)
{
	struct own_addr *o = find_addr(d, a), *list;
	int err;

	if (o) {
		o->n++;
		return;
	}
	list = realloc(d->addrs, (d->n_addrs + 1) * sizeof(*list));
	if (!list)
		return;
	d->addrs = list;
	d->addrs[d->n_addrs++] = (struct own_addr){.addr = *a, .n = 1};
	/* The slow path has no IPv6 yet: what XDP took the kernel could not answer any more. */
	err = ip_addr_is_v4(a) ? xdp_addr_set(d->prog, a) : 0;
	if (err)
		log_err("cannot claim an address: %s", strerror(-err));
}

static void addr_removed(struct daemon *d, const struct ip_addr *a)
{
	struct own_addr *o = find_addr(d, a);

	if (!o || --o->n)
		return;
	*o = d->addrs[--d->n_addrs];
	if (ip_addr_is_v4(a))
		xdp_addr_del(d->prog, a);
}

static void link_changed(struct daemon *d, struct iface *f, const struct net_event *ev)
{
	if (!memcmp(f->settings.mac, ev->mac, sizeof(ev->mac)) && f->settings.mtu == ev->mtu)
		return;
	memcpy(f->settings.mac, ev->mac, sizeof(ev->mac));
	memcpy(f->link.mac, ev->mac, sizeof(ev->mac));
	f->settings.mtu = f->link.mtu = ev->mtu;
	xdp_settings_set(d->prog, f->netif, &f->settings);
	for (uint32_t s = 1; s < d->slots; s++)
		if (d->apps[s])
			d->apps[s]->links_changed |= 1u << f->netif;
	log_info("%s: MAC address or MTU has changed; MTU is %u", f->name, ev->mtu);
}

static int tell_stack(struct daemon *d, const struct iface *f, const struct net_event *ev)
{
	struct net_event e = *ev;

	if (e.kind == NET_LINK_UP)
		e.mtu = iface_mtu(f, e.mtu);
	return stack_event(d->stack, &e, d->now);
}

static void routes_changed(struct daemon *d)
{
	struct arena_hdr *h = (struct arena_hdr *)(void *)d->arena.base;

	store_release(&h->routes_seq, h->routes_seq + 1);
}

static void on_net_event(void *ctx, const struct net_event *ev)
{
	struct daemon *d = ctx;
	struct iface *f = &d->ifs[ev->netif];
	int err = tell_stack(d, f, ev);

	if (err && err != -ENOENT)
		log_warn("the stack cannot take a change of %s (kind %d): %s", f->name, ev->kind,
			 strerror(-err));
	if (ev->kind != NET_NEIGH_SET && ev->kind != NET_NEIGH_DEL)
		routes_changed(d);
	switch (ev->kind) {
	case NET_LINK_UP:
		link_changed(d, f, ev);
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
	struct iface *f = iface_of(w, offsetof(struct iface, nl_watch));
	int err = nl_mirror_read(f->nl);

	(void)events;
	if (nl_mirror_gone(f->nl))
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

static int follow(struct daemon *d, struct iface *f)
{
	int err = nl_mirror_open(&f->nl, f->link.ifindex, f->netif, on_net_event, d);

	if (err)
		return err;
	f->nl_watch = (struct watch){.fd = nl_mirror_fd(f->nl), .fn = on_netlink};
	return watch_add(d, &f->nl_watch, EPOLLIN);
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
	for (uint32_t i = 0; !err && i < d->n_ifs; i++) {
		err = follow(d, &d->ifs[i]);
		if (err)
			snprintf(why, len, "cannot follow %s by rtnetlink: %s", d->ifs[i].name,
				 strerror(-err));
	}
	return err;
}

/* ---- all of it ---- */

static void say_lines(const struct daemon *d, const struct iface *f, const char *text)
{
	while (*text) {
		int n = (int)strcspn(text, "\n");

		if (n && d->n_ifs > 1)
			say(d, "%s: %.*s", f->name, n, text);
		else if (n)
			say(d, "%.*s", n, text);
		text += n + (text[n] == '\n');
	}
}

/* Programs of a daemon that died have to see that we take its place before they let go of it. */
static int probe(const struct daemon *d, struct iface *f, char *why, size_t len)
{
	struct mtime end = mtime_add_ns(clock_now(), d->patient ? HEIR_WAIT_NS : QUEUE_WAIT_NS);
	int err;

	do /* each waits for a while */
		err = xdp_probe(f->name, f->loopback ? XDP_MODE_AUTO : d->opt.mode, &f->probe, why,
				len);
	while (err == -EBUSY && mtime_before(clock_now(), end));
	if (err == -EBUSY && d->patient)
		snprintf(why, len,
			 "%s: a program of the daemon that died still has its AF_XDP socket and "
			 "does not let go: is it stopped? End it, or let it run",
			 f->name);
	return err;
}

static int look(struct daemon *d, struct iface *f, char *why, size_t len)
{
	int err = nl_link_get(f->name, &f->link);

	if (err == -ENODEV)
		snprintf(why, len, "there is no interface '%s' in %s%s", f->name,
			 d->opt.netns ? "network namespace " : "this network namespace",
			 d->opt.netns ? d->opt.netns : "");
	else if (err)
		snprintf(why, len, "%s: %s", f->name, strerror(-err));
	if (err)
		return err;
	f->loopback = !strcmp(f->link.kind, "loopback");
	/* lo knows no native mode: what is asked for is meant for the others. */
	err = probe(d, f, why, len);
	if (!err)
		say_lines(d, f, f->probe.reason);
	return err;
}

static int look_at_all(struct daemon *d, char *why, size_t len)
{
	int err = xdp_bpffs_ensure(why, len);

	for (uint32_t i = 0; i < d->opt.n_ifs; i++) {
		struct iface *f = &d->ifs[d->n_ifs++];

		*f = (struct iface){.name = d->opt.ifnames[i], .netif = (uint16_t)i, .gso_fd = -1};
		f->arp.fd = f->nl_watch.fd = -1;
	}
	for (uint32_t i = 0; !err && i < d->n_ifs; i++)
		err = look(d, &d->ifs[i], why, len);
	return err ? err : choose_sizes(d, why, len);
}

/* What concerns one interface, once the stack is there. */
static int open_rest(struct daemon *d, struct iface *f, char *why, size_t len)
{
	int err = open_arp(d, f);

	if (err)
		snprintf(why, len, "%s: no packet socket for ARP: %s", f->name, strerror(-err));
	else if (f->loopback)
		err = lo_accept_local(d->run_dir, why, len);
	return err;
}

int iface_open(struct daemon *d, char *why, size_t len)
{
	int err = look_at_all(d, why, len);

	if (err)
		return err;
	for (uint32_t i = 0; i < d->n_ifs; i++)
		open_gso(d, &d->ifs[i]);
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
	for (uint32_t i = 0; !err && i < d->n_ifs; i++)
		err = open_rest(d, &d->ifs[i], why, len);
	return err;
}

static void close_one(struct daemon *d, struct iface *f)
{
	if (f->nl)
		nl_mirror_close(f->nl);
	f->nl = NULL;
	watch_del(d, &f->arp);
	if (f->gso_fd >= 0)
		close(f->gso_fd);
	f->gso_fd = -1;
	if (f->loopback)
		lo_restore(d->run_dir);
}

/* Takes what there is, so that it also serves a start that failed half-way. */
void iface_close(struct daemon *d)
{
	if (d->prog)
		xdp_prog_detach(d->prog);
	d->prog = NULL;
	for (uint32_t i = 0; i < d->n_ifs; i++)
		close_one(d, &d->ifs[i]);
	close_stack(d);
	close_sockets(d);
	free(d->xsk_watch);
	free(d->addrs);
	d->xsk_watch = NULL;
	d->addrs = NULL;
	d->n_ifs = 0;
}
