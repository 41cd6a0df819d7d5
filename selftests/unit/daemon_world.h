/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A world around the daemon's code, in one process and without privileges: its stack on
 * virtual time (lib_stack.h), the XDP program's maps as arrays, a port that counts, and
 * applications with an arena and a stack of their own but no sockets.
 *
 * One test program includes this once: it defines xdp_*() and port_*(), so that those of user/io/
 * stay out.
 */
#ifndef TANDEM_UNIT_DAEMON_WORLD_H
#define TANDEM_UNIT_DAEMON_WORLD_H

#include "lib_stack.h"
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <unistd.h>
#include "user/daemon/daemon.h"

#define W_FLOWS 4096u
#define W_PORTS 64u
#define W_APPS 5u
#define W_TCBS 256u
#define W_TWS 32u
#define W_SYNREQS 64u
#define W_CHUNKS 512u

static struct {
	struct tstack t;
	struct daemon d;
	struct {
		struct flow_key k;
		struct flow_val v;
	} flows[W_FLOWS];
	struct {
		struct port_key k;
		struct port_val v;
	} ports[W_PORTS];
	uint32_t n_flows, n_ports;
	struct spread spreads[TD_SPREADS];
	struct syncookie_secrets secrets;
	bool has_secrets;
	uint64_t n_syn_cookies, syn_cookies_per_s; /* that the program has counted */
	struct {				   /* an application's side */
		struct stack *s;
		void *mem;
		size_t mem_len;
		struct pkt pkts[16];
		uint8_t bufs[16][TS_ROOM];
		struct pkt_pool pool;
	} apps[W_APPS];
	uint32_t n_injected, injected_slot;
	bool inject_full;
	bool again; /* the application has got it from the daemon */
	uint32_t held[4], n_held; /* frames that the port has */
	uint32_t n_rst, n_fin, n_syn, n_out; /* what the stack has sent */
	struct out last;		     /* the last TCP segment of that */
} w;

/* ---- the XDP program's maps ---- */

static uint32_t w_flow(const struct flow_key *k)
{
	for (uint32_t i = 0; i < w.n_flows; i++)
		if (!memcmp(&w.flows[i].k, k, sizeof(*k)))
			return i;
	return SHM_NIL;
}

int xdp_flow_set(struct xdp_prog *p, const struct flow_key *k, const struct flow_val *v)
{
	uint32_t i = w_flow(k);

	(void)p;
	if (i == SHM_NIL) {
		if (w.n_flows == W_FLOWS)
			return -E2BIG;
		i = w.n_flows++;
	}
	w.flows[i].k = *k;
	w.flows[i].v = *v;
	return 0;
}

int xdp_flow_del(struct xdp_prog *p, const struct flow_key *k)
{
	uint32_t i = w_flow(k);

	(void)p;
	assert_int_not_equal(i, SHM_NIL);
	w.flows[i] = w.flows[--w.n_flows];
	return 0;
}

int xdp_port_set(struct xdp_prog *p, const struct port_key *k, const struct port_val *v)
{
	uint32_t i = 0;

	(void)p;
	while (i < w.n_ports && memcmp(&w.ports[i].k, k, sizeof(*k)))
		i++;
	assert_true(i < W_PORTS);
	w.n_ports += i == w.n_ports;
	w.ports[i].k = *k;
	w.ports[i].v = *v;
	return 0;
}

int xdp_spread_set(struct xdp_prog *p, uint32_t i, const struct spread *s)
{
	(void)p;
	w.spreads[i] = *s;
	return 0;
}

int xdp_port_del(struct xdp_prog *p, const struct port_key *k)
{
	uint32_t i = 0;

	(void)p;
	while (i < w.n_ports && memcmp(&w.ports[i].k, k, sizeof(*k)))
		i++;
	assert_true(i < w.n_ports);
	w.ports[i] = w.ports[--w.n_ports];
	return 0;
}

int xdp_syncookies_set(struct xdp_prog *p, const struct syncookie_secrets *c)
{
	(void)p;
	w.has_secrets = c;
	if (c)
		w.secrets = *c;
	return 0;
}

int xdp_read_stats(const char *name, uint64_t out[XS_MAX])
{
	(void)name;
	memset(out, 0, XS_MAX * sizeof(*out));
	out[XR_SYN_COOKIE] = w.n_syn_cookies;
	return 0;
}

#define W_UNUSED(ret, name, ...)                                                                   \
	ret name(__VA_ARGS__)                                                                      \
	{                                                                                          \
		fail_msg(#name " is not of this world");                                           \
		return (ret)0;                                                                     \
	}
int xdp_xsk_del(struct xdp_prog *p, uint32_t slot, uint32_t queue)
{
	(void)p;
	(void)slot;
	(void)queue;
	return 0;
}
const char *xdp_mode_name(enum xdp_mode m)
{
	(void)m;
	return "generic";
}
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wunused-parameter"
W_UNUSED(int, xdp_xsk_set, struct xdp_prog *p, uint32_t slot, uint32_t queue, int fd)
W_UNUSED(int, xdp_addr_set, struct xdp_prog *p, const struct ip_addr *a)
W_UNUSED(int, xdp_addr_del, struct xdp_prog *p, const struct ip_addr *a)
W_UNUSED(int, xdp_settings_set, struct xdp_prog *p, uint32_t netif, const struct xdp_settings *s)
W_UNUSED(int, xdp_prog_attach, struct xdp_prog **out, const struct xdp_prog_opts *o, char *why,
	 size_t len)
W_UNUSED(int, xdp_prog_add, struct xdp_prog *p, const struct xdp_prog_opts *o, char *why,
	 size_t len)
void xdp_prog_detach(struct xdp_prog *p)
{
}
W_UNUSED(int, xdp_prog_remove_pins, const char *name)
W_UNUSED(int, xdp_bpffs_ensure, char *why, size_t len)
W_UNUSED(int, xdp_probe, const char *ifname, enum xdp_mode wanted, struct xdp_probe *out, char *why,
	 size_t len)

/* ---- the port ---- */

bool port_inject(struct port *p, struct pkt *pk, struct shm_pkt_ring *ring, uint16_t slot)
{
	if (w.inject_full)
		return false;
	w.n_injected++;
	w.injected_slot = slot;
	pk->nfrags = 0;
	return true;
}

uint32_t port_tx(struct port *p, struct stack *s, struct mtime now)
{
	uint32_t n = 0;
	struct out o;

	for (; ts_tx(&w.t, &o); n++) {
		w.n_out++;
		if (o.ethertype != ETHERTYPE_IP4 || o.proto != PROTO_TCP)
			continue;
		w.n_syn += !!(o.l4[13] & TH_SYN);
		w.n_rst += !!(o.l4[13] & TH_RST);
		w.n_fin += !!(o.l4[13] & TH_FIN);
		memcpy(&w.last, &o, sizeof(o));
		w.last.l4 = w.last.b + (o.l4 - o.b);
		w.last.ip = w.last.b + (o.ip - o.b);
	}
	return n;
}

void port_tx_replies(struct port *p, struct stack *s)
{
	port_tx(p, s, w.t.now);
}

const struct port_stats *port_stats(const struct port *p)
{
	static const struct port_stats none;

	return &none;
}

uint32_t port_frames(const struct port *p)
{
	return 0;
}
void port_rescue_ring(struct port *p, struct shm_pkt_ring *ring)
{
}
void port_spare(const struct port *p, struct frame_set *s)
{
	for (uint32_t i = 0; i < w.n_held; i++)
		frame_set_del(s, (uint64_t)w.held[i] * UMEM_FRAME_SIZE);
}
void port_set_filter(struct port *p, port_filter_fn fn, void *ctx)
{
}
void port_close(struct port *p)
{
}
bool port_inject_copy(struct port *p, const struct pkt *pk, const uint8_t *eth,
		      struct shm_pkt_ring *ring, uint16_t slot)
{
	w.n_injected++;
	w.injected_slot = slot;
	return true;
}
W_UNUSED(int, port_open, struct port **out, const struct port_cfg *cfg)
W_UNUSED(struct pkt_pool *, port_pool, struct port *p)
W_UNUSED(int, port_gso_open, int ifindex)
W_UNUSED(bool, port_tx_pending, const struct port *p)
W_UNUSED(uint32_t, port_rx, struct port *p, struct stack *s, uint32_t budget, struct mtime *now,
	 port_stale_fn stale, void *ctx)
uint32_t port_rx_ring(struct port *p, struct shm_pkt_ring *ring, struct stack *s, uint32_t budget,
		      struct mtime *now, port_stale_fn stale, void *ctx)
{
	return 0;
}
#pragma GCC diagnostic pop

/* ---- what main.c has ---- */

void say(const struct daemon *d, const char *fmt, ...)
{
	(void)d;
	(void)fmt;
}

int reload_config(struct daemon *d)
{
	(void)d;
	return 0;
}

/* ---- opening and closing ---- */

static void w_open(void)
{
	struct daemon *d = &w.d;
	struct stack_cfg sc = ts_cfg();
	uint64_t key[2] = {3, 4};

	memset(&w, 0, sizeof(w));
	/* The kernel is asked about ports: ones that it uses little. */
	sc.limits.port_lo = 20000;
	sc.limits.port_hi = 29999;
	ts_open(&w.t, &sc);
	ts_neigh(&w.t, PEER_IP, peer_mac);
	config_default(&d->cfg);
	d->cfg.max_connections = W_TCBS;
	d->stack = w.t.s;
	d->view = w.t.a;
	d->now = w.t.now;
	d->epfd = epoll_create1(EPOLL_CLOEXEC);
	d->lock_fd = d->spare_fd = -1;
	d->sig.fd = d->ctl.fd = -1;
	d->n_ifs = 1;
	d->ifs[0] = (struct iface){.name = "eth0", .n_queues = 1, .gso_fd = -1};
	d->ifs[0].arp.fd = d->ifs[0].nl_watch.fd = -1;
	d->inject_from = TD_SLOT_NONE;
	d->slots = 1;
	d->n_core_listeners = sc.n_listeners;
	d->by_core = calloc(sc.n_listeners, sizeof(struct group *));
	d->addrs = malloc(sizeof(*d->addrs));
	d->addrs[0] = (struct own_addr){.addr = ip(OUR_IP), .n = 1};
	d->n_addrs = 1;
	assert_int_equal(recs_init(&d->recs, 1024, key), 0);
	log_set_level(-1);
}

static struct app *w_app(uint16_t slot)
{
	struct stack_cfg sc = ts_cfg();
	struct app *a = calloc(1, sizeof(*a));
	struct arena_layout l;
	struct net_event up = {.kind = NET_LINK_UP, .mtu = 1500};
	struct arena_view v;

	arena_layout_make(&l, W_TCBS, W_CHUNKS, 0, W_TWS, W_SYNREQS);
	assert_int_equal(arena_create(&a->arena, &l, slot), 0);
	a->slot = slot;
	a->view = arena_view(&a->arena);
	a->to_daemon = arena_ring_to_daemon(&a->arena);
	a->to_app = arena_ring_to_app(&a->arena);
	a->pkts_to_daemon = arena_pkts_to_daemon(&a->arena);
	a->pkts_to_app = arena_pkts_to_app(&a->arena);
	a->opening = a->ready = a->handed = SHM_NIL;
	a->bell.fd = a->bell_app = a->gso_fd[0] = -1;
	strcpy(a->comm, "test");
	w.d.apps[slot] = a;
	if (slot >= w.d.slots)
		w.d.slots = slot + 1u;

	for (int i = 0; i < 16; i++) {
		w.apps[slot].pkts[i].frag[0].p = w.apps[slot].bufs[i];
		w.apps[slot].pkts[i].room = TS_ROOM;
		pkt_free(&w.apps[slot].pool, &w.apps[slot].pkts[i]);
	}
	v = a->view;
	v.neighs = w.t.a.neighs;
	v.n_neighs = w.t.a.n_neighs;
	sc.role = STACK_APP;
	sc.slot = slot;
	w.apps[slot].mem_len = stack_mem_size(&sc, &v);
	w.apps[slot].mem = mmap(NULL, w.apps[slot].mem_len, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	w.apps[slot].s = stack_init(w.apps[slot].mem, &sc, &v, &w.apps[slot].pool, w.t.now);
	assert_non_null(w.apps[slot].s);
	memcpy(up.mac, our_mac, 6);
	assert_int_equal(stack_event(w.apps[slot].s, &up, w.t.now), 0);
	return a;
}

/* Not every program uses all of these. */
#define W_HELPER static __attribute__((unused))
#define CLIENT_ISS 1000u

static uint16_t listen_port; /* host order */

/* ---- packets, and an application that plays its part ---- */

/* What the loop does in a round, but for packets. */
W_HELPER void w_round(void)
{
	w.d.now = w.t.now;
	dispatch_refresh(&w.d);
	loop_events(&w.d);
	for (uint32_t s = 1; s < w.d.slots; s++)
		if (w.d.apps[s] && w.d.apps[s]->stage == APP_ALIVE)
			app_run(&w.d, w.d.apps[s]);
	loop_events(&w.d);
	loop_output(&w.d);
	ts_check(&w.t);
}

/* A packet as the port gives it: to the filter, then to the stack. */
W_HELPER enum port_verdict w_packet(const struct spec *x)
{
	static uint8_t b[70000];
	enum port_verdict v;
	struct pkt p = {.nfrags = 1, .len = ts_build(b, x), .conn = TD_NO_CONN};

	p.frag[0] = (struct pkt_frag){.p = b, .len = p.len, .frame = SHM_NIL};
	if (w.d.inject_from != TD_SLOT_NONE)
		p.injected = w.again ? 2 : 1;
	w.d.now = w.t.now;
	v = filter_packet(&w.d, &p);
	if (v == PORT_TO_STACK && stack_input(w.t.s, &p, w.t.now) == DROP_STALE_FLOW &&
	    filter_yielded(&w.d, &p))
		v = PORT_TAKEN;
	return v;
}

/* One that is alone in its batch. */
W_HELPER enum port_verdict w_rx(const struct spec *x)
{
	enum port_verdict v = w_packet(x);

	w_round();
	return v;
}

/* @a listens on any free port of any address. */
W_HELPER struct ctl_listen_reply start_listener(struct app *a, uint32_t flags, uint16_t port)
{
	struct ctl_listen req = {
		.port = port, .proto = IPPROTO_TCP, .backlog = 64, .id = SHM_NIL, .flags = flags};
	struct ctl_listen_reply r;

	assert_int_equal(listener_listen(&w.d, a, &req, -1, &r), 0);
	listen_port = ntohs(r.port);
	return r;
}

/* The peer opens a connection from @sport; its handshake is complete after this. */
W_HELPER void client_connects(uint16_t sport)
{
	struct spec syn = {TCP_PKT,	      .sport = sport,  .dport = listen_port,
			   .seq = CLIENT_ISS, .flags = TH_SYN, .wnd = 65535};
	struct spec ack = {
		TCP_PKT,	 .sport = sport, .dport = listen_port, .seq = CLIENT_ISS + 1,
		.flags = TH_ACK, .wnd = 65535};

	w_rx(&syn);
	assert_int_equal(w.last.l4[13], TH_SYN | TH_ACK);
	ack.ack = get_be32(w.last.l4 + 4) + 1;
	w_rx(&ack);
}

/* The client of handed_over() answers our FIN, number @fin. */
W_HELPER void client_answers_fin(uint16_t sport, uint32_t fin, uint8_t flags)
{
	w_rx(&(struct spec){TCP_PKT, .sport = sport, .dport = listen_port, .seq = CLIENT_ISS + 1,
			    .ack = fin + 1, .flags = flags, .wnd = 65535});
}

W_HELPER struct flow_key client_key(uint16_t sport)
{
	struct tcp_addr_pair p = {ip(OUR_IP), ip(PEER_IP), htons(listen_port), htons(sport)};

	return flow_key_of(&p);
}

W_HELPER struct rec *record(uint16_t sport)
{
	struct flow_key k = client_key(sport);
	uint32_t i = recs_find(&w.d.recs, &k);

	return i == SHM_NIL ? NULL : rec_at(&w.d, i);
}

W_HELPER const struct flow_val *flow(uint16_t sport)
{
	struct flow_key k = client_key(sport);
	uint32_t i = w_flow(&k);

	return i == SHM_NIL ? NULL : &w.flows[i].v;
}

W_HELPER struct shm_msg next_msg(struct app *a, uint32_t op)
{
	struct shm_msg m;

	assert_true(shm_msg_pop(a->to_app, &m));
	assert_int_equal(m.op, op);
	return m;
}

W_HELPER void no_msg(struct app *a)
{
	assert_int_equal(shm_ring_avail(&a->to_app->hdr, SHM_MSG_RING), 0);
}

/* The application imports what @m offers and says so. Returns the connection in its stack. */
W_HELPER uint32_t app_takes(struct app *a, const struct shm_msg *m)
{
	struct stack *s = w.apps[a->slot].s;
	struct shm_msg ack = {.op = SHM_CONN_ACK, .conn = m->conn, .generation = m->generation};
	uint32_t conn;

	assert_int_equal(stack_import(s, &w.t.a, m->conn, m->generation, 0, w.t.now, &conn), 0);
	ack.new_conn = conn;
	ack.new_generation = tcp_get(s, conn)->generation;
	assert_true(shm_msg_push(a->to_daemon, &ack));
	w_round();
	return conn;
}

/* A connection from @sport that is the application's. */
W_HELPER uint32_t handed_over(struct app *a, uint16_t sport)
{
	struct shm_msg m;

	client_connects(sport);
	m = next_msg(a, SHM_CONN_NEW);
	return app_takes(a, &m);
}

W_HELPER void app_gives(struct app *a, uint32_t conn)
{
	struct stack *s = w.apps[a->slot].s;
	struct shm_msg m = {
		.op = SHM_CONN_GIVE, .conn = conn, .generation = tcp_get(s, conn)->generation};

	tcp_close(s, conn, w.t.now);
	assert_int_equal(stack_export(s, conn), 0);
	assert_true(shm_msg_push(a->to_daemon, &m));
	w_round();
}

/* Its control connection ends; its connections are dealt with. */
W_HELPER void app_ends(struct app *a)
{
	app_gone(&w.d, a);
	while (a->stage == APP_ENDING)
		app_removals(&w.d);
}

static void w_close(void)
{
	struct daemon *d = &w.d;

	handover_reset_all(d);
	assert_int_equal(d->recs.n, 0);
	assert_int_equal(w.n_flows, 0);
	app_free_all(d);
	udp_end(d);
	assert_int_equal(w.n_ports, 0);
	assert_null(d->groups);
	for (uint32_t s = 0; s < W_APPS; s++)
		if (w.apps[s].mem)
			munmap(w.apps[s].mem, w.apps[s].mem_len);
	recs_free(&d->recs);
	free(d->by_core);
	free(d->addrs);
	close(d->epfd);
	ts_close(&w.t);
}

/* ---- sockets of several processes ---- */

/* What @a, which gets the listener with @fd, calls it. */
W_HELPER struct ctl_take_reply share_joins(struct app *a, int fd)
{
	struct ctl_take_reply r = {0};

	assert_int_equal(share_take(&w.d, a, fd, 0, &r), 0);
	assert_int_equal(r.kind, CTL_SHARE_LISTENER);
	return r;
}

/* The last one who has it closes it; the loop is told. */
W_HELPER void share_closes(int fd)
{
	struct epoll_event ev[8];
	int n;

	close(fd);
	while ((n = epoll_wait(w.d.epfd, ev, 8, 0)) > 0)
		for (int i = 0; i < n; i++) {
			struct watch *x = ev[i].data.ptr;

			x->fn(&w.d, x, ev[i].events);
		}
	w_round();
}

#endif
