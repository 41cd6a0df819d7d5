/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A world around the library, in one process and without privileges: the daemon's stack, a
 * peer's stack on the other end of the wire, and, in place of the AF_XDP sockets, a port of
 * our own that carries packets between them. The daemon's half of the hand-over is played
 * here, too. Everything happens within the library's own engine runs; time is real.
 *
 * One test program includes this once: it defines port_*(), so that those of user/io/ stay out.
 */
#ifndef TANDEM_UNIT_LIB_WORLD_H
#define TANDEM_UNIT_LIB_WORLD_H

#include "lib_hosts.h"

/* ---- in place of user/io/port_*.c ---- */

struct port {
	uint64_t *kicks;
};

uint32_t port_rx(struct port *p, struct stack *s, uint32_t budget, struct mtime *now,
		 port_stale_fn stale, void *ctx)
{
	uint32_t n = 0;
	struct frame *f;

	(void)p;
	(void)now;
	pump();
	while (n < budget && (f = queue_get(&w.to_app))) {
		input(s, f->b, f->len, f->conn, f->generation, stale, ctx);
		free(f);
		n++;
	}
	return n;
}

bool port_rx_pending(const struct port *p)
{
	(void)p;
	return w.to_app.n || !mtime_before(clock_now(), world_deadline()) ||
	       (!world.daemon_stuck && shm_ring_avail(&eng.to_daemon->hdr, SHM_MSG_RING));
}

uint32_t port_tx(struct port *p, struct stack *s, struct mtime now)
{
	(void)now;
	if (p->kicks)
		*p->kicks |= 1;
	return output(s, &w.app_pool, to_peer);
}

bool port_tx_pending(const struct port *p)
{
	(void)p;
	return false;
}

void port_kick_later(struct port *p, uint64_t *kicks)
{
	p->kicks = kicks;
}

int port_kick(struct port *p, uint64_t kicks)
{
	(void)p;
	assert_int_equal(kicks, 1);
	if (world.on_kick)
		world.on_kick();
	return world.kick_fails ? -EAGAIN : 0;
}

void port_kick_left(struct port *p, uint64_t kicks)
{
	(void)p;
	assert_int_equal(kicks, 1);
	world.n_kicks_left++;
}

bool port_inject(struct port *p, struct pkt *pk, struct shm_pkt_ring *ring, uint16_t slot)
{
	uint8_t copy[PKT_ROOM];

	(void)p;
	(void)ring;
	assert_int_equal(slot, TD_SLOT_DAEMON);
	world.n_stale++;
	memcpy(copy, pk->frag[0].p, pk->len);
	input(w.dmn.stack, copy, pk->len, TD_NO_CONN, 0, NULL, NULL);
	return true;
}

uint32_t port_fds(const struct port *p, int *fds, uint32_t max)
{
	(void)p;
	assert_true(max > 0);
	fds[0] = w.timer_fd;
	return 1;
}

int port_open(struct port **out, const struct port_cfg *cfg)
{
	(void)cfg;
	*out = calloc(1, sizeof(**out));
	return *out ? 0 : -ENOMEM;
}

int port_cut(struct port *p)
{
	(void)p;
	world.cut_owing = eng.kicks; /* will never be sent */
	return 0;
}

void port_close(struct port *p)
{
	free(p);
}

void port_rest(struct port *p)
{
	(void)p;
}

int port_confine(struct port *p, unsigned forbidden)
{
	(void)p;
	(void)forbidden;
	return 0;
}

struct pkt_pool *port_pool(struct port *p)
{
	(void)p;
	return &w.app_pool;
}

/* ---- the control socket, served by a thread ---- */

static int world_listen(const struct ctl_listen *req, struct ctl_listen_reply *r)
{
	uint32_t id;
	int err;

	r->addr = req->addr;
	r->port = req->port ? req->port : htons(40000);
	r->index = SHM_NIL;
	r->id = 1000;
	if (world.refused_port && ntohs(req->port) == world.refused_port)
		r->hdr.error = -EADDRINUSE;
	world.n_binds += req->hdr.type == CTL_BIND;
	world.n_listens += req->hdr.type == CTL_LISTEN;
	if (r->hdr.error)
		return r->hdr.error;
	if (req->hdr.type == CTL_BIND)
		return ntohs(req->port) == 666 ? -EACCES : 0;
	if (req->hdr.type == CTL_BACKLOG)
		return tcp_listen_backlog(w.dmn.stack, req->id - 1, req->backlog);
	if (req->hdr.type == CTL_UNBIND)
		return 0;
	if (req->hdr.type == CTL_UNLISTEN) {
		tcp_unlisten(w.dmn.stack, req->id - 1, clock_now());
		return 0;
	}
	world.last_fastopen = req->fastopen;
	err = tcp_listen(w.dmn.stack, &req->addr, r->port, req->backlog, 0, &id);
	r->id = id + 1;
	r->index = id;
	return err;
}

static void *ctl_main(void *arg)
{
	struct ctl_listen req;

	while (recv(w.ctl_fd, &req, sizeof(req), 0) == (ssize_t)sizeof(req)) {
		struct ctl_listen_reply r = {0};
		uint32_t len = req.hdr.type == CTL_LISTEN || req.hdr.type == CTL_BIND
				       ? sizeof(r)
				       : sizeof(r.hdr);

		int err = world_listen(&req, &r);

		r.hdr = (struct ctl_hdr){CTL_MAGIC, CTL_VERSION, req.hdr.type, err, len};
		send(w.ctl_fd, &r, len, MSG_NOSIGNAL);
	}
	return arg;
}

/* ---- set up, take down ---- */

static void app_init(void)
{
	struct stack_cfg cfg = cfg_of(STACK_APP);
	struct port_cfg pc = {0};
	struct arena_layout lay;
	struct arena_view v;

	cfg.n_listeners = 4;
	cfg.n_synreqs = N_SYNREQS;
	arena_layout_make(&lay, N_TCBS, N_CHUNKS, N_NEIGHS, 0, N_SYNREQS);
	assert_int_equal(arena_create(&eng.own, &lay, 1), 0);
	eng.daemon_view = arena_view(&w.dmn.arena);
	eng.to_daemon = arena_ring_to_daemon(&eng.own);
	eng.to_app = arena_ring_to_app(&eng.own);
	eng.pkts_to_daemon = arena_pkts_to_daemon(&eng.own);
	eng.pkts_to_app = arena_pkts_to_app(&eng.own);
	eng.shm_listeners = arena_listeners(&eng.own);
	eng.bell_daemon = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	eng.bell_app = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	eng.limits = cfg.limits;
	strcpy(eng.cc, "reno");
	v = arena_view(&eng.own);
	v.neighs = eng.daemon_view.neighs;
	v.n_neighs = eng.daemon_view.n_neighs;
	port_open(&eng.port, &pc);
	eng.stack_mem_len = stack_mem_size(&cfg, &v);
	eng.stack_mem = mmap(NULL, eng.stack_mem_len, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	eng.stack = stack_init(eng.stack_mem, &cfg, &v, &w.app_pool, clock_now());
	assert_non_null(eng.stack);
	event(eng.stack, NET_LINK_UP, WORLD_ADDR, 0, 1);
	eng.busy_poll_us = 50;
	eng.daemon_gone = eng.cut = false;
	eng.pid = getpid();
	eng.state = ENGINE_UP;
}

static void ctl_start(void)
{
	int sv[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sv), 0);
	w.ctl_fd = sv[1];
	eng.ctl_fd = sv[0];
	assert_int_equal(pthread_create(&w.ctl, NULL, ctl_main, NULL), 0);
}

static inline int world_setup(void **state)
{
	static const uint16_t ports[] = {PEER_ECHO_PORT, PEER_DISCARD_PORT, PEER_MUTE_PORT};
	struct ip_addr any = {0};
	uint32_t id;

	(void)state;
	memset(&w, 0, sizeof(w));
	memset(&world, 0, sizeof(world));
	w.to_app.tail = &w.to_app.head;
	w.timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	host_init(&w.dmn, WORLD_ADDR, 1, PEER_ADDR);
	host_init(&w.peer, PEER_ADDR, 2, WORLD_ADDR);
	for (size_t i = 0; i < ARRAY_SIZE(ports); i++)
		assert_int_equal(tcp_listen(w.peer.stack, &any, htons(ports[i]), 1024, 0, &id), 0);
	w.app_bufs = calloc(N_PKTS, PKT_ROOM);
	pool_init(&w.app_pool, w.app_pkts, w.app_bufs);
	ctl_start();
	app_init();
	return 0;
}

/* In place of eng_attach_again(). */
static inline int world_attach_again(void (*leave)(void))
{
	struct frame *f;

	if (++world.n_attempts < 3)
		return -ENODEV;
	leave();
	pthread_join(w.ctl, NULL);
	close(w.ctl_fd);
	while ((f = queue_get(&w.to_app)))
		free(f);
	eng_detach();
	host_free(&w.dmn);
	host_init(&w.dmn, WORLD_ADDR, 1, PEER_ADDR);
	memset(w.flow, 0, sizeof(w.flow));
	ctl_start();
	app_init();
	eng.n_attached++;
	return 0;
}

/* The daemon is lost: the third time that the library looks there is another, without @port. */
static inline void world_replace_daemon(uint16_t port)
{
	world.refused_port = port;
	world.n_attempts = world.n_listens = world.n_binds = world.last_fastopen = 0;
	attach_again = world_attach_again;
}

static inline int world_teardown(void **state)
{
	struct frame *f;

	(void)state;
	world.daemon_stuck = false;
	world.drop_every = 0;
	tandem_exit();
	attach_again = eng_attach_again;
	pthread_join(w.ctl, NULL);
	close(w.ctl_fd);
	close(w.timer_fd);
	while ((f = queue_get(&w.to_app)))
		free(f);
	host_free(&w.dmn);
	host_free(&w.peer);
	free(w.app_bufs);
	return 0;
}

/* ---- for the tests ---- */

static inline uint32_t peer_connect(uint16_t port)
{
	struct tcp_addr_pair a = {.remote_port = htons(port)};
	struct in_addr to;
	uint32_t conn;

	inet_pton(AF_INET, WORLD_ADDR, &to);
	a.remote = ip_addr_v4(to.s_addr);
	assert_int_equal(tcp_connect(w.peer.stack, &a, 0, clock_now(), &conn), 0);
	return conn;
}

static inline void peer_send(uint32_t conn, const void *buf, size_t len)
{
	assert_int_equal(tcp_send(w.peer.stack, conn, buf, len, 0, clock_now()), (int64_t)len);
}

static inline void peer_close(uint32_t conn)
{
	tcp_close(w.peer.stack, conn, clock_now());
}

static inline void peer_reset(uint32_t conn)
{
	tcp_abort(w.peer.stack, conn, clock_now());
}

/* The last connection that the peer accepted on PEER_MUTE_PORT. */
static inline uint32_t peer_accepted(void)
{
	/* The last ACK of the handshake may have just been sent. */
	pthread_mutex_lock(&eng.lock);
	eng_run(clock_now());
	pthread_mutex_unlock(&eng.lock);
	return w.accepted;
}

static inline int64_t peer_recv(uint32_t conn, void *buf, size_t len)
{
	return tcp_recv(w.peer.stack, conn, buf, len, 0, clock_now());
}

static inline enum tcp_state peer_state(uint32_t conn)
{
	const struct tcb *t = tcp_get(w.peer.stack, conn);

	return t ? (enum tcp_state)t->state : TCP_CLOSED;
}

/* Runs the engine until @done() or for five seconds, which fails the test. */
static inline void world_until(bool (*done)(void *), void *arg)
{
	struct mtime until = mtime_add_ms(clock_now(), 5000);
	struct waiter wait = WAITER_INIT;

	pthread_mutex_lock(&eng.lock);
	wait.any_packet = true;
	while (!done(arg)) {
		struct mtime soon = mtime_add_ms(clock_now(), 5);

		if (!mtime_before(clock_now(), until))
			fail_msg("nothing came of it");
		wait.woken = false;
		waiter_sleep(&wait, soon, NULL, 0);
	}
	pthread_mutex_unlock(&eng.lock);
}

/* TCBs of the library that are in use, frozen ones included. */
static inline uint32_t world_tcbs_in_use(void)
{
	struct stack_usage u;

	stack_usage(eng.stack, &u);
	return u.tcbs;
}

#endif
