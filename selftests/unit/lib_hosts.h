/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What there is around the library in lib_world.h, which includes this: the daemon's stack and a peer's, the wire
 * between them, the peer's programs, and the daemon's half of the hand-over.
 */
#ifndef TANDEM_UNIT_LIB_HOSTS_H
#define TANDEM_UNIT_LIB_HOSTS_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include <arpa/inet.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/timerfd.h>
#include "user/lib/engine.h"

#define N_TCBS 4096u
#define N_CHUNKS 8192u
#define N_NEIGHS 16u
#define N_SYNREQS 1024u
#define N_PKTS 64u
#define PKT_ROOM 2048u
#define WIRE_MAX 8192u

#define WORLD_ADDR "10.9.0.1"
#define PEER_ADDR "10.9.0.2"
#define PEER_ECHO_PORT 7    /* sends back what comes */
#define PEER_DISCARD_PORT 9 /* reads and forgets */
#define PEER_MUTE_PORT 10   /* accepts, but never reads or writes by itself */

/* What tests set to make things hard, and read to see what was done. */
static struct {
	bool daemon_stuck;   /* it handles no message */
	uint32_t drop_every; /* each n-th packet between the stacks is lost; 0: none */
	uint32_t n_given, n_gone, n_acked, n_refused, n_cancelled;
	uint32_t n_uses, used_flags; /* SHM_LISTEN_USE */
	const char *greeting; /* the peer says it when it is connected */
	uint32_t n_stale; /* packets that the library passed on to the daemon */
	void (*on_kick)(void);
	bool kick_fails;
	uint32_t n_kicks_left;
	uint64_t cut_owing;
	/* of a daemon that is replaced (world_replace_daemon()) */
	uint16_t refused_port;
	uint32_t n_attempts, n_listens, n_binds, last_fastopen;
} world;

struct frame {
	struct frame *next;
	uint32_t conn, generation; /* as the XDP program would have found */
	uint32_t len;
	uint8_t b[PKT_ROOM];
};

struct queue {
	struct frame *head, **tail;
	uint32_t n;
};

struct host {
	struct arena arena;
	struct stack *stack;
	void *mem;
	size_t mem_len;
	struct pkt_pool pool;
	struct pkt pkts[N_PKTS];
	uint8_t (*bufs)[PKT_ROOM];
};

static struct {
	struct host dmn, peer;
	struct pkt app_pkts[N_PKTS];
	uint8_t (*app_bufs)[PKT_ROOM];
	struct pkt_pool app_pool;
	struct queue to_app;
	int timer_fd, ctl_fd;
	pthread_t ctl;
	bool ctl_stop;
	uint32_t listeners[64]; /* library's listener id is the daemon's + 1 */
	uint32_t accepted;	/* the peer's last on PEER_MUTE_PORT */
	uint32_t lost_count;
	uint64_t flow[65536]; /* by the peer's port: 1 + conn << 32 | generation */
} w;

/* ---- hosts ---- */

static void pool_init(struct pkt_pool *pool, struct pkt *pkts, uint8_t (*bufs)[PKT_ROOM])
{
	for (uint32_t i = 0; i < N_PKTS; i++) {
		pkts[i].frag[0].p = bufs[i];
		pkts[i].room = PKT_ROOM;
		pkt_free(pool, &pkts[i]);
	}
}

static void event(struct stack *s, enum net_event_kind kind, const char *addr, uint8_t plen,
		  uint8_t mac)
{
	struct net_event ev = {.kind = kind, .plen = plen, .mtu = 1500, .permanent = true};
	struct in_addr a;

	assert_int_equal(inet_pton(AF_INET, addr, &a), 1);
	ev.addr = ip_addr_v4(a.s_addr);
	ev.mac[0] = 2;
	ev.mac[5] = mac;
	assert_int_equal(stack_event(s, &ev, clock_now()), 0);
}

static struct stack_cfg cfg_of(enum stack_role role)
{
	struct stack_cfg c = {
		.role = role, .key = {1, 2}, .n_pending = 64, .n_udp = 8, .cc = "reno"};

	stack_limits_default(&c.limits);
	if (role == STACK_FULL) {
		c.n_listeners = 64;
		c.n_synreqs = 1024;
		c.n_tw = 4096;
		c.n_routes = 16;
	}
	return c;
}

static void host_init(struct host *h, const char *addr, uint8_t mac, const char *other)
{
	struct stack_cfg cfg = cfg_of(STACK_FULL);
	struct arena_layout lay;
	struct arena_view v;

	arena_layout_make(&lay, N_TCBS, N_CHUNKS, N_NEIGHS, 0, N_SYNREQS);
	assert_int_equal(arena_create(&h->arena, &lay, 0), 0);
	v = arena_view(&h->arena);
	h->bufs = calloc(N_PKTS, PKT_ROOM);
	pool_init(&h->pool, h->pkts, h->bufs);
	h->mem_len = stack_mem_size(&cfg, &v);
	h->mem = mmap(NULL, h->mem_len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(h->mem != MAP_FAILED);
	h->stack = stack_init(h->mem, &cfg, &v, &h->pool, clock_now());
	assert_non_null(h->stack);
	event(h->stack, NET_LINK_UP, addr, 0, mac);
	event(h->stack, NET_ADDR_ADD, addr, 24, mac);
	event(h->stack, NET_ROUTE_ADD, "10.9.0.0", 24, mac);
	event(h->stack, NET_NEIGH_SET, other, 32, mac == 1 ? 2 : 1);
}

static void host_free(struct host *h)
{
	munmap(h->mem, h->mem_len);
	arena_close(&h->arena);
	free(h->bufs);
	memset(h, 0, sizeof(*h));
}

/* ---- the wire ---- */

static bool lost(void)
{
	return world.drop_every && ++w.lost_count % world.drop_every == 0;
}

static void input(struct stack *s, uint8_t *b, uint32_t len, uint32_t conn, uint32_t generation,
		  port_stale_fn stale, void *ctx)
{
	struct pkt p = {.nfrags = 1, .len = len, .conn = conn, .generation = generation};

	p.frag[0] = (struct pkt_frag){.p = b, .len = len};
	if (stack_input(s, &p, clock_now()) == DROP_STALE_FLOW && stale)
		stale(ctx, &p);
}

static void queue_put(struct queue *q, const struct pkt *p, uint64_t flow)
{
	struct frame *f = malloc(sizeof(*f));
	uint32_t at = 0;

	assert_true(q->n < WIRE_MAX);
	*f = (struct frame){
		.len = p->len, .conn = (uint32_t)(flow >> 32) - 1, .generation = (uint32_t)flow};
	for (uint32_t i = 0; i < p->nfrags; i++) {
		memcpy(f->b + at, p->frag[i].p, p->frag[i].len);
		at += p->frag[i].len;
	}
	*q->tail = f;
	q->tail = &f->next;
	q->n++;
}

static struct frame *queue_get(struct queue *q)
{
	struct frame *f = q->head;

	if (!f)
		return NULL;
	q->head = f->next;
	if (!q->head)
		q->tail = &q->head;
	q->n--;
	return f;
}

static uint16_t port_at(const struct pkt *p, uint32_t off)
{
	uint16_t port;

	memcpy(&port, p->frag[0].p + off, sizeof(port));
	return port;
}

/* From the peer: as the XDP program would, to the application for a known flow. */
static void from_peer(struct pkt *p)
{
	bool control = p->frag[0].p[14 + 20 + 13] & 6; /* SYN or RST */
	uint64_t flow = w.flow[port_at(p, 34)];
	uint8_t copy[PKT_ROOM];

	if (lost())
		return;
	if (p->frag[0].p[23] == IPPROTO_UDP) { /* there every port is the application's */
		queue_put(&w.to_app, p, 0);
		return;
	}
	if (flow && !control) {
		queue_put(&w.to_app, p, flow);
		return;
	}
	memcpy(copy, p->frag[0].p, p->len);
	if (flow) /* the daemon passes what it has checked on, without the index */
		queue_put(&w.to_app, p, 0);
	else
		input(w.dmn.stack, copy, p->len, TD_NO_CONN, 0, NULL, NULL);
}

static void to_peer(struct pkt *p)
{
	uint8_t copy[PKT_ROOM];
	uint32_t at = 0;

	if (lost())
		return;
	for (uint32_t i = 0; i < p->nfrags; i++) {
		memcpy(copy + at, p->frag[i].p, p->frag[i].len);
		at += p->frag[i].len;
	}
	input(w.peer.stack, copy, p->len, TD_NO_CONN, 0, NULL, NULL);
}

static bool output(struct stack *s, struct pkt_pool *pool, void (*send)(struct pkt *))
{
	struct pkt *p;
	bool any = false;

	while ((p = stack_output(s, clock_now()))) {
		uint8_t *mem = p->frag[0].p;

		send(p);
		p->frag[0].p = mem;
		pkt_free(pool, p);
		any = true;
	}
	return any;
}

/* ---- the peer's programs ---- */

static struct tcp_addr_pair pair_of_tcb(const struct tcb *t)
{
	return (struct tcp_addr_pair){t->local, t->remote, t->local_port, t->remote_port};
}

/* What is echoed leaves the receive queue only when it fits into the other. */
static void peer_serve(uint32_t conn, uint16_t port)
{
	struct stack *s = w.peer.stack;
	struct mtime now = clock_now();
	uint8_t buf[16384];
	int64_t n;

	if (port != PEER_ECHO_PORT && port != PEER_DISCARD_PORT)
		return;
	while ((n = tcp_recv(s, conn, buf, sizeof(buf), TCP_MSG_PEEK, now)) > 0) {
		if (port == PEER_ECHO_PORT)
			n = tcp_send(s, conn, buf, (size_t)n, 0, now);
		if (n <= 0)
			break;
		tcp_recv(s, conn, NULL, (size_t)n, TCP_MSG_TRUNC, now);
	}
	if (n != -EAGAIN)
		tcp_close(s, conn, now);
}

static void peer_event(const struct stack_ev *ev)
{
	struct stack *s = w.peer.stack;
	uint32_t conn;

	if (ev->mask & EV_ACCEPT) {
		while (!tcp_accept(s, ev->listener, &conn)) {
			uint16_t port = ntohs(tcp_get(s, conn)->local_port);

			tcp_set_cookie(s, conn, port);
			if (port == PEER_MUTE_PORT)
				w.accepted = conn;
			peer_serve(conn, port); /* data may have come with the third ACK */
		}
	} else if (!(ev->mask & EV_FREED)) {
		if (ev->mask & EV_CONNECTED && world.greeting)
			tcp_send(s, ev->conn, world.greeting, strlen(world.greeting), 0,
				 clock_now());
		peer_serve(ev->conn, (uint16_t)ev->cookie);
	}
}

/* ---- the daemon's half of the hand-over ---- */

static void offer(uint32_t conn, enum shm_op op, uint64_t cookie, uint32_t listener)
{
	const struct tcb *t = tcp_get(w.dmn.stack, conn);
	struct shm_msg m = {.op = op,
			    .conn = conn,
			    .generation = t->generation,
			    .cookie = cookie,
			    .listener = listener};

	assert_int_equal(stack_export(w.dmn.stack, conn), 0);
	assert_true(shm_msg_push(eng.to_app, &m));
	w.flow[t->remote_port] = 1; /* of TD_NO_CONN */
}

static void dmn_event(const struct stack_ev *ev)
{
	struct shm_msg m = {.op = SHM_CONN_FAILED, .cookie = ev->cookie};
	uint32_t conn;

	if (ev->mask & EV_ACCEPT)
		while (!tcp_accept(w.dmn.stack, ev->listener, &conn))
			offer(conn, SHM_CONN_NEW, 0, ev->listener + 1);
	else if (ev->cookie && ev->mask & EV_CONNECTED)
		offer(ev->conn, SHM_CONN_OPENED, ev->cookie, 0);
	else if (ev->cookie && ev->mask & EV_ERROR) {
		m.error = tcp_error(w.dmn.stack, ev->conn);
		assert_true(shm_msg_push(eng.to_app, &m));
		tcp_set_cookie(w.dmn.stack, ev->conn, 0);
		tcp_close(w.dmn.stack, ev->conn, clock_now());
	}
}

static void dmn_connect(const struct shm_msg *m)
{
	struct tcp_addr_pair a = {m->local, m->remote, m->local_port, m->remote_port};
	struct shm_msg failed = {.op = SHM_CONN_FAILED, .cookie = m->cookie};
	uint32_t conn;
	int err = tcp_connect(w.dmn.stack, &a, m->cookie, clock_now(), &conn);

	if (!err)
		return;
	failed.error = -err;
	assert_true(shm_msg_push(eng.to_app, &failed));
}

static void dmn_message(const struct shm_msg *m)
{
	struct shm_msg taken = {.op = SHM_CONN_TAKEN, .conn = m->conn, .generation = m->generation};
	struct arena_view from = arena_view(&eng.own);
	const struct tcb *t = &arena_view(&w.dmn.arena).tcbs[m->conn];
	struct mtime now = clock_now();
	struct tcp_addr_pair a;
	uint32_t conn;

	switch (m->op) {
	case SHM_CONNECT:
		dmn_connect(m);
		break;
	case SHM_CONNECT_CANCEL:
		world.n_cancelled++;
		break;
	case SHM_CONN_ACK:
		if (m->error) {
			world.n_refused++;
			a = pair_of_tcb(t);
			stack_reset_flow(w.dmn.stack, &a, t->snd_nxt, t->rcv_nxt, now);
		} else {
			world.n_acked++;
			w.flow[t->remote_port] =
				(uint64_t)(m->new_conn + 1) << 32 | m->new_generation;
		}
		assert_int_equal(stack_export_done(w.dmn.stack, m->conn, m->generation), 0);
		break;
	case SHM_CONN_GIVE:
		world.n_given++;
		assert_int_equal(
			stack_import(w.dmn.stack, &from, m->conn, m->generation, 0, now, &conn), 0);
		w.flow[tcp_get(w.dmn.stack, conn)->remote_port] = 0;
		tcp_close(w.dmn.stack, conn, now);
		assert_true(shm_msg_push(eng.to_app, &taken));
		break;
	case SHM_LISTEN_USE:
		world.n_uses++;
		world.used_flags = m->flags;
		break;
	case SHM_CONN_GONE:
		world.n_gone++;
		w.flow[m->remote_port] = 0;
		break;
	default:
		fail_msg("message %u", m->op);
	}
}

/* ---- everything goes on until nothing moves ---- */

static bool step(void)
{
	struct mtime now = clock_now();
	struct stack_ev ev;
	struct shm_msg m;
	bool any = false;

	stack_tick(w.dmn.stack, now);
	stack_tick(w.peer.stack, now);
	while (!world.daemon_stuck && shm_ring_room(&eng.to_app->hdr, SHM_MSG_RING) > 1 &&
	       shm_msg_pop(eng.to_daemon, &m)) {
		dmn_message(&m);
		any = true;
	}
	while (stack_event_next(w.dmn.stack, &ev))
		dmn_event(&ev);
	while (stack_event_next(w.peer.stack, &ev))
		peer_event(&ev);
	any |= output(w.dmn.stack, &w.dmn.pool, to_peer);
	any |= output(w.peer.stack, &w.peer.pool, from_peer);
	return any;
}

static struct mtime world_deadline(void)
{
	return mtime_min(stack_deadline(w.dmn.stack), stack_deadline(w.peer.stack));
}

static void pump(void)
{
	struct itimerspec it = {0};
	struct mtime d;

	while (step())
		;
	d = world_deadline();
	if (!mtime_is_never(d)) {
		it.it_value.tv_sec = (time_t)(d.ns / NS_PER_S);
		it.it_value.tv_nsec = (long)(d.ns % NS_PER_S) + 1;
	}
	timerfd_settime(w.timer_fd, TFD_TIMER_ABSTIME, &it, NULL);
}

#endif
