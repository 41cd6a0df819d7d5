/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A host: one stack, or a daemon's stack and an application's with connections that change hands
 * between them while packets are in flight. It does what the XDP program, tandemd and libtandem do
 * around the core: the flows map, forwarding of packets that come to the wrong one of the two, the
 * messages of a hand-over (each with a delay), the end of an application.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include "user/core/neigh_entry.h"
#include "sim.h"

#define N_TCBS 64u
#define N_PKTS 64u
#define PKT_ROOM 3840u	    /* a UMEM frame less its headroom */
#define MSG_DELAY_MAX 3000u /* us */
#define N_NEIGHS 16u
#define GSO_MAX 61440u
#define MAX_FORGETS 100u
#define MAX_TRIES 20u
#define ENOBUFS_ 105

struct ip_addr host_addr(uint32_t idx)
{
	return ip_addr_v4(__builtin_bswap32(0x0a000001u + idx)); /* 10.0.0.1, .2 */
}

static void host_mac(uint32_t idx, uint8_t mac[6])
{
	memcpy(mac, (const uint8_t[]){2, 0, 0, 0, 0, 1}, 6);
	mac[5] = (uint8_t)(1 + idx);
}

/* ---- memory ---- */

static void *zeroed(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		abort();
	return p;
}

static void arena_carve(struct node *n, uint32_t n_chunks)
{
	size_t tcbs = N_TCBS * TCB_ROOM, neighs = N_NEIGHS * sizeof(struct neigh),
	       mib = MIB_MAX * sizeof(uint64_t),
	       hdrs = (n_chunks * sizeof(struct chunk_hdr) + 63) / 64 * 64;
	uint8_t *p;

	n->arena_len = tcbs + neighs + mib + hdrs + (size_t)n_chunks * CHUNK_SIZE;
	n->arena = p = zeroed(n->arena_len);
	n->view = (struct arena_view){.n_tcbs = N_TCBS, .n_chunks = n_chunks, .n_neighs = N_NEIGHS};
	n->view.tcbs = (struct tcb *)p;
	n->view.neighs = (struct neigh *)(p += tcbs);
	n->view.mib = (uint64_t *)(p += neighs);
	n->view.chunk_hdrs = (struct chunk_hdr *)(p += mib);
	n->view.chunks = p + hdrs;
}

static void pool_init(struct node *n)
{
	n->pkts = calloc(N_PKTS, sizeof(*n->pkts));
	n->bufs = malloc((size_t)N_PKTS * PKT_ROOM);
	if (!n->pkts || !n->bufs)
		abort();
	n->pool = (struct pkt_pool){0};
	for (uint32_t i = 0; i < N_PKTS; i++) {
		n->pkts[i].frag[0].p = n->bufs + (size_t)i * PKT_ROOM;
		n->pkts[i].room = PKT_ROOM;
		pkt_free(&n->pool, &n->pkts[i]);
	}
}

/* ---- stacks ---- */

static void net_event(struct node *n, struct net_event ev)
{
	if (stack_event(n->s, &ev, n->w->now))
		world_fail(n->w, "%s: stack_event(%d) failed", n->name, ev.kind);
}

static void node_init(struct node *n, struct host *h, enum stack_role role, const char *name)
{
	const struct host_cfg *c = h->cfg;
	struct stack_cfg cfg = {
		.role = role,
		.slot = role == STACK_APP,
		.limits = c->limits,
		.n_listeners = 4,
		.n_synreqs = role == STACK_FULL ? 64 : 0,
		.n_udp = role == STACK_FULL ? 2 * SIM_MAX_UDP : 0,
		.n_tw = role == STACK_FULL ? 64 : 0,
		.n_routes = 8,
		.n_pending = 32,
		.gso_max = c->gso ? GSO_MAX : 0,
		.csum_offload = c->csum_offload,
		.cc = c->cc,
	};
	struct net_event up = {
		.kind = NET_LINK_UP, .mtu = h->w->sc->mtu, .partial_csum = c->merged};

	*n = (struct node){.w = h->w, .host = h, .role = role, .name = name};
	cfg.key[0] = rng_u64(&h->w->rng);
	cfg.key[1] = rng_u64(&h->w->rng);
	arena_carve(n, c->n_chunks);
	pool_init(n);
	if (role == STACK_APP)
		n->view.neighs = h->full.view.neighs;
	n->mem_len = stack_mem_size(&cfg, &n->view);
	n->mem = zeroed(n->mem_len);
	n->s = stack_init(n->mem, &cfg, &n->view, &n->pool, h->w->now);
	host_mac(h->idx, up.mac);
	net_event(n, up);
	if (role == STACK_FULL) {
		net_event(n, (struct net_event){
				     .kind = NET_ADDR_ADD, .addr = host_addr(h->idx), .plen = 24});
		net_event(n, (struct net_event){.kind = NET_ROUTE_ADD,
						.addr = ip_addr_v4(__builtin_bswap32(0x0a000000u)),
						.plen = 24});
	}
}

static void node_free(struct node *n)
{
	if (!n->s)
		return;
	munmap(n->mem, n->mem_len);
	munmap(n->arena, n->arena_len);
	free(n->pkts);
	free(n->bufs);
	n->s = NULL;
}

int host_init(struct host *h)
{
	struct ip_addr addr = host_addr(h->idx);
	int err;

	node_init(&h->full, h, STACK_FULL, h->idx ? "host1" : "host0");
	if (h->cfg->pair)
		node_init(&h->app, h, STACK_APP, h->idx ? "app1" : "app0");
	err = tcp_listen(h->full.s, &addr, __builtin_bswap16(80), h->w->sc->backlog, 0,
			 &h->listener);
	if (!err && h->cfg->rcvbuf)
		err = tcp_listen_opt(h->full.s, h->listener, TOPT_RCVBUF, h->cfg->rcvbuf);
	if (!err && h->cfg->defer_accept)
		err = tcp_listen_opt(h->full.s, h->listener, TOPT_DEFER_ACCEPT,
				     h->cfg->defer_accept);
	if (!err && h->cfg->fastopen)
		err = tcp_listen_opt(h->full.s, h->listener, TOPT_FASTOPEN, h->cfg->fastopen);
	h->listening = !err;
	return err;
}

void host_forget(struct host *h)
{
	struct net_event ev = {.kind = NET_NEIGH_DEL, .addr = host_addr(!h->idx)};
	struct world *w = h->w;
	char why[8];

	stack_event(h->full.s, &ev, w->now); /* it may not be there */
	if (h->forgets++ < MAX_FORGETS && !prog_done(w, why, sizeof(why)))
		world_at(w, w->now.ns + rng_range(&w->rng, 1, h->cfg->forget) * NS_PER_MS,
			 (struct sim_ev){.kind = SEV_FORGET, .host = h});
}

void host_free(struct host *h)
{
	node_free(&h->full);
	node_free(&h->app);
}

uint64_t host_mib(const struct host *h, enum mib m)
{
	return h->full.view.mib[m] + (h->app.s ? h->app.view.mib[m] : 0);
}

/* ---- the flows map ---- */

struct flow *flow_find(struct host *h, const struct tcp_addr_pair *a)
{
	for (uint32_t i = 0; i < h->n_flows; i++)
		if (!memcmp(&h->flows[i].pair, a, sizeof(*a)))
			return &h->flows[i];
	return NULL;
}

void flow_set(struct sock *k, struct node *n, uint32_t conn)
{
	struct host *h = k->host;
	struct flow *f = flow_find(h, &k->pair);

	if (!f) {
		if (h->n_flows == SIM_MAX_FLOWS) {
			world_fail(h->w, "flows are never deleted");
			return;
		}
		f = &h->flows[h->n_flows++];
	}
	*f = (struct flow){.pair = k->pair,
			   .node = n,
			   .sock = k,
			   .conn = conn,
			   .generation = tcp_get(n->s, conn)->generation};
}

void flow_del(struct host *h, const struct tcp_addr_pair *a)
{
	struct flow *f = flow_find(h, a);

	if (f)
		*f = h->flows[--h->n_flows];
}

/* ---- packets in ---- */

static bool frame_pair(const struct frame *f, struct tcp_addr_pair *a)
{
	uint32_t be;

	if (f->len < 38 || f->data[12] != 8 || f->data[13] || f->data[14] != 0x45 ||
	    f->data[23] != 6)
		return false;
	memset(a, 0, sizeof(*a));
	memcpy(&be, f->data + 26, 4);
	a->remote = ip_addr_v4(be);
	memcpy(&be, f->data + 30, 4);
	a->local = ip_addr_v4(be);
	memcpy(&a->remote_port, f->data + 34, 2);
	memcpy(&a->local_port, f->data + 36, 2);
	return true;
}

/* The frame as AF_XDP gives it: in pieces of at most one UMEM frame. */
static enum drop input(struct node *n, struct frame *f, uint32_t conn, uint32_t generation)
{
	struct pkt p = {.nfrags = 0, .len = f->len, .conn = conn, .generation = generation};

	p.csum = n->host->cfg->merged ? PKT_CSUM_PARTIAL : PKT_CSUM_VERIFY;
	for (uint32_t off = 0; off < f->len; off += PKT_ROOM) {
		uint32_t len = f->len - off < PKT_ROOM ? f->len - off : PKT_ROOM;

		p.frag[p.nfrags++] = (struct pkt_frag){.p = f->data + off, .len = len};
	}
	return stack_input(n->s, &p, n->w->now);
}

/* Forwards to the sibling, behind the connection itself if that is still on its way. */
static void forward(struct node *from, struct frame *f, const struct flow *fl)
{
	struct world *w = from->w;
	struct node *to = fl && fl->transit	      ? fl->transit
			  : from == &from->host->full ? &from->host->app
						      : &from->host->full;
	uint64_t at = w->now.ns + rng_range(&w->rng, 0, MSG_DELAY_MAX) * NS_PER_US / 8;

	if (fl && fl->transit && at < fl->import_at)
		at = fl->import_at;
	else if (at < to->forwarded_at) /* the ring keeps the order */
		at = to->forwarded_at;
	else
		to->forwarded_at = at;
	world_at(w, at, (struct sim_ev){.kind = SEV_INJECT, .node = to, .frame = f});
}

void host_frame(struct host *h, struct frame *f)
{
	struct tcp_addr_pair a;
	struct flow *fl = frame_pair(f, &a) ? flow_find(h, &a) : NULL;
	struct node *n = fl ? fl->node : &h->full;
	bool hint = fl && (n == &h->app || h->cfg->hints);

	/* The daemon knows what it has handed out; an application's stack says so itself. */
	if (fl && fl->transit && n == &h->full)
		forward(n, f, fl);
	else if (input(n, f, hint ? fl->conn : TD_NO_CONN, hint ? fl->generation : 0) ==
			 DROP_STALE_FLOW &&
		 n == &h->app)
		forward(n, f, fl);
	else
		free(f);
}

void host_inject(struct node *n, struct frame *f)
{
	struct tcp_addr_pair a;
	struct flow *fl = frame_pair(f, &a) ? flow_find(n->host, &a) : NULL;

	if (!n->s)
		free(f);
	else if (fl && fl->transit == n && n->w->now.ns < fl->import_at) /* no memory yet */
		world_at(n->w, fl->import_at,
			 (struct sim_ev){.kind = SEV_INJECT, .node = n, .frame = f});
	else if (fl && (fl->transit ? fl->transit : fl->node) != n)
		forward(n, f, fl); /* it has moved on since */
	else if (input(n, f, TD_NO_CONN, 0) == DROP_STALE_FLOW && fl)
		forward(n, f, fl);
	else
		free(f);
}

/* ---- running ---- */

bool node_output(struct node *n)
{
	bool any = false;
	struct pkt *p;

	while ((p = stack_output(n->s, n->w->now))) {
		any = true;
		link_send_pkt(n->w, n->host->idx, p);
		pkt_free(&n->pool, p);
	}
	return any;
}

static bool node_run(struct node *n)
{
	struct world *w = n->w;
	struct stack_ev ev;
	bool busy = false;

	if (!n->s)
		return false;
	stack_tick(n->s, w->now);
	while (stack_event_next(n->s, &ev)) {
		busy = true;
		prog_event(n, &ev);
	}
	return node_output(n) || busy;
}

void host_run(struct host *h)
{
	for (uint32_t i = 0; node_run(&h->full) | node_run(&h->app); i++) {
		if (i == 10000) {
			world_fail(h->w, "host%u never comes to rest", h->idx);
			return;
		}
	}
}

uint64_t host_deadline(const struct host *h)
{
	uint64_t t = stack_deadline(h->full.s).ns;

	return h->app.s ? mtime_min((struct mtime){t}, stack_deadline(h->app.s)).ns : t;
}

static void node_check(struct node *n)
{
	char why[128];

	if (!n->s)
		return;
	if (stack_check(n->s, why, sizeof(why)))
		world_fail(n->w, "%s: stack_check: %s", n->name, why);
	if (n->pool.n + 0u > N_PKTS)
		world_fail(n->w, "%s: packet pool has grown", n->name);
}

void host_check(struct host *h)
{
	node_check(&h->full);
	node_check(&h->app);
}

static bool node_idle(const struct node *n, char *why, size_t len)
{
	struct stack_usage u;

	if (!n->s)
		return true;
	stack_usage(n->s, &u);
	if (!(u.tcbs | u.tcbs_exported | u.chunks | u.listeners | u.synreqs | u.timewaits |
	      u.orphans | u.pending | u.udp) &&
	    n->pool.n == N_PKTS)
		return true;
	snprintf(why, len,
		 "%s: %u TCBs (%u exported, %u orphans), %u chunks, %u listeners, %u requests, "
		 "%u TIME_WAIT, %u UDP sockets, %u packets waiting, %u of %u in the pool",
		 n->name, u.tcbs, u.tcbs_exported, u.orphans, u.chunks, u.listeners, u.synreqs,
		 u.timewaits, u.udp, u.pending, n->pool.n, N_PKTS);
	return false;
}

bool host_idle(const struct host *h, char *why, size_t len)
{
	if (!node_idle(&h->full, why, len) || !node_idle(&h->app, why, len))
		return false;
	if (!h->n_flows)
		return true;
	snprintf(why, len, "host%u: %u flow entries are left", h->idx, h->n_flows);
	return false;
}

/* ---- hand-over ---- */

void sock_move(struct sock *k)
{
	struct node *from = k->node, *to = from == &k->host->full ? &k->host->app : &k->host->full;
	struct world *w = from->w;
	struct flow *f = flow_find(k->host, &k->pair);

	if (!f || f->sock != k || f->transit || stack_export(from->s, k->conn))
		return;
	k->from = from;
	k->to = to;
	k->from_conn = k->conn;
	k->from_generation = k->generation;
	k->node = NULL;
	k->tries = 0;
	f->transit = to;
	f->import_at = w->now.ns + rng_range(&w->rng, 0, MSG_DELAY_MAX) * NS_PER_US;
	world_log(w, "conn %u side %u: %s -> %s", k->plan, k->side, from->name, to->name);
	world_at(w, f->import_at, (struct sim_ev){.kind = SEV_IMPORT, .sock = k});
}

/* The other side has no memory for it; its peer may be waiting for ours in turn. */
static void take_back(struct sock *k)
{
	struct world *w = k->host->w;
	struct flow *f = flow_find(k->host, &k->pair);

	if (stack_export_cancel(k->from->s, k->from_conn, k->from_generation, w->now))
		world_fail(w, "%s: stack_export_cancel", k->from->name);
	if (f && f->sock == k)
		f->transit = NULL;
	k->node = k->from;
	k->conn = k->from_conn;
	k->from = k->to = NULL;
	world_log(w, "conn %u side %u: back to %s", k->plan, k->side, k->node->name);
	if (k->close_after)
		tcp_close(k->node->s, k->conn, w->now);
	else
		prog_step(k);
}

void sock_import(struct sock *k)
{
	struct world *w = k->host->w;
	struct flow *f = flow_find(k->host, &k->pair);
	uint64_t later = w->now.ns + rng_range(&w->rng, 0, MSG_DELAY_MAX) * NS_PER_US;
	int err;

	if (!k->to) /* the application that had it, or was to get it, has died */
		return;
	err = stack_import(k->to->s, &k->from->view, k->from_conn, k->from_generation,
			   (uint64_t)(k - w->socks) + 1, w->now, &k->conn);
	if (err == -ENOBUFS_ && k->tries++ < MAX_TRIES) {
		if (f)
			f->import_at = later;
		world_at(w, later, (struct sim_ev){.kind = SEV_IMPORT, .sock = k});
		return;
	}
	if (err == -ENOBUFS_) {
		take_back(k);
		return;
	}
	if (err) {
		world_fail(w, "%s: stack_import: %d", k->to->name, err);
		return;
	}
	w->moves++;
	k->node = k->to;
	k->generation = tcp_get(k->node->s, k->conn)->generation;
	world_at(w, later,
		 (struct sim_ev){.kind = SEV_DONE,
				 .sock = k,
				 .node = k->from,
				 .n = k->from_conn,
				 .generation = k->from_generation});
	k->from = k->to = NULL;
	if (k->close_after)
		tcp_close(k->node->s, k->conn, w->now);
	else
		prog_step(k);
}

void node_export_done(struct node *n, uint32_t conn, uint32_t generation)
{
	struct host *h = n->host;

	if (!n->s)
		return;
	if (stack_export_done(n->s, conn, generation))
		world_fail(n->w, "%s: stack_export_done(%u)", n->name, conn);
	for (uint32_t i = 0; i < h->n_flows; i++) {
		struct flow *f = &h->flows[i];

		if (f->node != n || f->conn != conn || f->generation != generation || !f->transit)
			continue;
		f->node = f->transit;
		f->transit = NULL;
		f->conn = f->sock->conn;
		f->generation = f->sock->generation;
		if (f->sock->close_after && f->node == &h->app)
			sock_move(f->sock);
		return;
	}
}

/* ---- the application dies ---- */

static void scribble(struct node *n)
{
	struct rng *r = &n->w->rng;

	for (uint32_t i = 0; i < 24; i++) {
		struct tcb *t = &n->view.tcbs[rng_range(r, 0, 7)];
		uint8_t *p = i % 3 ? (uint8_t *)t + rng_range(r, 40, sizeof(*t) - 1)
				   : (uint8_t *)&n->view.chunk_hdrs[rng_range(r, 0, 31)] +
					     rng_range(r, 0, sizeof(struct chunk_hdr) - 1);

		*p = rng_ppm(r, 50 * PERCENT) ? (uint8_t)rng_u64(r)
					      : (uint8_t)(*p ^ 1u << rng_range(r, 0, 7));
	}
}

/* The end that a dead program's connection comes to; only for the pair that we handed out. */
static void finish(struct host *h, struct sock *k, uint32_t conn)
{
	const struct tcb *t = tcp_get(h->full.s, conn);
	struct tcp_addr_pair a = {t->local, t->remote, t->local_port, t->remote_port};

	if (memcmp(&a, &k->pair, sizeof(a))) {
		tcp_abort(h->full.s, conn, h->w->now);
		flow_del(h, &k->pair);
		return;
	}
	flow_set(k, &h->full, conn);
	k->conn = conn;
	tcp_close(h->full.s, conn, h->w->now);
}

static void dies(struct sock *k)
{
	k->from = k->to = k->node = NULL;
	k->open = false;
	k->closed = true;
	prog_confirmed(k);
}

/* The daemon takes a connection back as far as it makes sense, and ends it as the kernel would. */
static void rescue(struct host *h, struct sock *k)
{
	struct world *w = h->w;
	bool left = k->from == &h->app; /* in the dead one's arena it is frozen */
	bool owned = k->node == &h->app;
	uint32_t conn = left || !owned ? k->from_conn : k->conn;
	uint32_t generation = left || !owned ? k->from_generation : k->generation;
	const struct tcb *t = owned ? tcp_get(h->app.s, conn) : NULL;
	bool alive = !h->cfg->hostile && (left || (t && t->state >= TCP_ESTABLISHED));
	const struct flow *f = flow_find(h, &k->pair);
	int err;

	if (owned && (!f || f->sock != k)) { /* it had ended, and the pair may be another's */
		dies(k);
		return;
	}
	if (left || owned) {
		err = stack_rescue(h->full.s, &h->app.view, conn, generation, w->now, &conn);
		if (err && err != -ENOBUFS_ && alive)
			world_fail(w, "host%u: stack_rescue: %d", h->idx, err);
		if (err)
			stack_reset_flow(h->full.s, &k->pair, (uint32_t)rng_u64(&w->rng), 0,
					 w->now);
	} else { /* on its way to the dead one */
		err = stack_export_cancel(h->full.s, conn, generation, w->now);
		if (err)
			world_fail(w, "host%u: stack_export_cancel: %d", h->idx, err);
	}
	if (err)
		flow_del(h, &k->pair);
	else
		finish(h, k, conn);
	dies(k);
}

/* Closed, but its last words are not through: the application has it still. */
static bool parting(const struct sock *k)
{
	const struct tcb *t = tcp_get(k->host->app.s, k->conn);
	struct flow *f = flow_find(k->host, &k->pair);

	return k->close_after && t && t->generation == k->generation && f && f->sock == k;
}

void host_crash(struct host *h)
{
	struct world *w = h->w;

	if (!h->app.s)
		return;
	h->crashed = true;
	if (h->cfg->hostile)
		scribble(&h->app);
	for (uint32_t i = 0; i < 2 * SIM_MAX_CONNS; i++) {
		struct sock *k = &w->socks[i];

		if (k->used && k->host == h &&
		    ((k->node == &h->app && (k->open || parting(k))) || k->from == &h->app ||
		     k->to == &h->app))
			rescue(h, k);
	}
	/* What it had closed but not yet handed back. */
	for (uint32_t i = 0; i < h->n_flows; i++)
		if (h->flows[i].node == &h->app || h->flows[i].transit == &h->app) {
			stack_reset_flow(h->full.s, &h->flows[i].pair, 0, 0, w->now);
			h->flows[i--] = h->flows[--h->n_flows];
		}
	world_log(w, "%s dies", h->app.name);
	node_free(&h->app);
}
