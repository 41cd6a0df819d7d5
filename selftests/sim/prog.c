/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The programs at both ends: they send a known pattern, rest, read, compare, half-close, close or
 * abort as planned, driven by the stack's events alone, so that a missing event shows as a run
 * that never ends.
 */
#include <string.h>
#include "sim.h"

#define KEEP_IDLE 5u /* s */
#define KEEP_INTVL 2u
#define KEEP_PROBES 9u
#define R2_S 924u /* what 15 retries of 200 ms at first take */

#define PARTING_MS 200u /* as libtandem */
#define ENOENT_ 2
#define EAGAIN_ 11
#define EINVAL_ 22
#define EPIPE_ 32
#define ECONNRESET_ 104
#define ETIMEDOUT_ 110
#define ECONNREFUSED_ 111
#define EADDRNOTAVAIL_ 99
#define ENOBUFS_ 105
#define PORT(p) __builtin_bswap16((uint16_t)(p))

static const struct side_plan *plan_of(const struct sock *k)
{
	return &k->host->w->sc->conn[k->plan].side[k->side];
}

/* The bytes of a stream from @pos on; at most 65536 of them. */
static const uint8_t *pattern(const struct world *w, const struct sock *k, uint32_t pos)
{
	uint32_t salt = (k->plan * 2 + k->side) * 7919 + 13;

	return w->pattern + (pos + salt) % PATTERN_PRIME;
}

static struct sock *peer_of(struct world *w, const struct sock *k)
{
	return &w->socks[2 * k->plan + !k->side];
}

static uint64_t cookie_of(const struct sock *k)
{
	return (uint64_t)(k - k->host->w->socks) + 1;
}

/* ---- end ---- */

void prog_confirmed(struct sock *k)
{
	if (k->unconfirmed)
		tcp_fastopen_done(k->host->full.s, k->host->listener);
	k->unconfirmed = false;
}

static void prog_close(struct sock *k, bool abort)
{
	struct node *n = k->node;
	struct stack *s = n->s;
	const struct tcb *t;

	k->open = false;
	k->closed = true;
	prog_confirmed(k);
	world_log(n->w, "conn %u side %u: %s, %u sent, %u received", k->plan, k->side,
		  abort ? "aborts" : "closes", k->sent, k->rcvd);
	if (abort)
		tcp_abort(s, k->conn, n->w->now);
	else
		tcp_close(s, k->conn, n->w->now);
	if (n->role == STACK_FULL)
		return;
	/* As libtandem: what can go goes, the rest is the daemon's. */
	node_output(n);
	t = tcp_get(s, k->conn);
	if (!t || t->generation != k->generation)
		return;
	k->close_after = true;
	if (t->flags & TCB_F_FIN_SENT && t->state != TCP_TIME_WAIT)
		world_at(n->w, n->w->now.ns + PARTING_MS * NS_PER_MS,
			 (struct sim_ev){.kind = SEV_PARTING,
					 .sock = k,
					 .n = k->conn,
					 .generation = k->generation});
	else
		sock_move(k); /* or as soon as its last move is through */
}

/* It has not ended by itself in time. */
void prog_parting(struct sock *k, uint32_t conn, uint32_t generation)
{
	const struct tcb *t;

	if (!k->node || !k->node->s || k->node->role != STACK_APP || k->conn != conn ||
	    k->generation != generation)
		return;
	t = tcp_get(k->node->s, conn);
	if (t && t->generation == generation)
		sock_move(k);
}

/*
 * A link that is silent for long enough ends a connection (RFC 9293 §3.8.3: R2; RFC 1122
 * §4.2.3.6): was it?
 */
static bool silent_for(const struct sock *k)
{
	uint64_t after = (k->keeps ? KEEP_IDLE + KEEP_PROBES * KEEP_INTVL : R2_S) * NS_PER_S;
	struct world *w = k->host->w;

	/* The stack counts in milliseconds. */
	return wire_excuses_timeout(w, &k->pair, w->now.ns, after - 10 * NS_PER_MS);
}

static void prog_failed(struct sock *k, int err)
{
	k->failed = true;
	k->err = err;
	k->silence = err == ETIMEDOUT_ && silent_for(k);
	world_log(k->host->w, "conn %u side %u: error %d", k->plan, k->side, err);
	prog_close(k, false);
}

/* ---- beginning ---- */

static void sock_open(struct sock *k, struct node *n, uint32_t conn)
{
	const struct side_plan *p = plan_of(k), *peer = &n->w->sc->conn[k->plan].side[!k->side];
	const struct tcb *t = tcp_get(n->s, conn);
	const struct host_cfg *far = n->w->host[!k->host->idx].cfg;
	struct mtime now = n->w->now;

	k->used = k->open = true;
	k->node = n;
	k->conn = conn;
	k->generation = t->generation;
	k->pair = (struct tcp_addr_pair){t->local, t->remote, t->local_port, t->remote_port};
	tcp_set_cookie(n->s, conn, cookie_of(k));
	flow_set(k, n, conn);
	k->iss = t->iss;
	k->unconfirmed = t->opt & TCB_OPT_SYNACK;
	k->start_at = now.ns;
	if (p->nodelay)
		tcp_setopt(n->s, conn, TOPT_NODELAY, 1, now);
	if (p->oob_inline)
		tcp_setopt(n->s, conn, TOPT_OOBINLINE, 1, now);
	/* The one reset of a peer that gives up may be lost: only asking tells then. */
	if (p->keepalive || peer->end != END_CLEAN || n->w->sc->unlisten_early || far->crash ||
	    far->limits.tcp_mem[2] || far->n_chunks < 2048) {
		k->keeps = true;
		tcp_setopt(n->s, conn, TOPT_KEEPIDLE, KEEP_IDLE, now);
		tcp_setopt(n->s, conn, TOPT_KEEPINTVL, KEEP_INTVL, now);
		tcp_setopt(n->s, conn, TOPT_KEEPALIVE, 1, now);
	}
}

void prog_init(struct world *w)
{
	const struct scenario *sc = w->sc;

	for (uint32_t i = 0; i < sc->n_conns; i++) {
		const struct conn_plan *p = &sc->conn[i];

		for (uint32_t side = 0; side < 2; side++) {
			struct sock *k = &w->socks[2 * i + side];
			uint64_t at = w->now.ns + p->start * NS_PER_US;

			*k = (struct sock){
				.host = &w->host[p->client ^ side], .plan = i, .side = side};
			if (side && !p->simultaneous)
				continue;
			if (side)
				at += rng_range(&w->rng, 0, 2 * sc->link[0].delay + 1) * NS_PER_US;
			world_at(w, at, (struct sim_ev){.kind = SEV_START, .sock = k});
		}
	}
}

/*
 * Initial sequence numbers follow the clock (RFC 6528): finds out when this pair's will be just
 * below 2^32, so that the connection can begin then.
 */
static bool wait_for_wrap(struct sock *k, uint32_t conn)
{
	struct world *w = k->host->w;
	struct stack *s = k->host->full.s;
	uint32_t target = (uint32_t)-rng_range(&w->rng, 1, 40000);
	uint32_t ticks = target - tcp_get(s, conn)->iss;

	if (k->probed || !w->sc->conn[k->plan].wrap)
		return false;
	k->probed = true;
	tcp_abort(s, conn, w->now);
	world_at(w, w->now.ns + (uint64_t)ticks * 4000,
		 (struct sim_ev){.kind = SEV_START, .sock = k});
	return true;
}

static uint32_t first_write(const struct sock *k)
{
	const struct side_plan *p = plan_of(k);

	return p->total < p->write_max ? p->total : p->write_max;
}

void prog_start(struct sock *k)
{
	const struct conn_plan *p = &k->host->w->sc->conn[k->plan];
	struct world *w = k->host->w;
	struct tcp_addr_pair a = {
		.remote = host_addr(!k->host->idx),
		.remote_port = PORT(80),
	};
	struct flow *f;
	uint32_t conn;
	int err;

	if (p->port || p->wrap || p->simultaneous)
		a.local_port = PORT(p->port ? p->port : (k->side ? 21000 : 20000) + k->plan);
	if (p->simultaneous)
		a.remote_port = PORT((k->side ? 20000 : 21000) + k->plan);
	a.local = host_addr(k->host->idx);
	/* As the daemon: its own records come first, the application may still have the pair. */
	f = flow_find(k->host, &a);
	err = f && f->conn != TD_NO_CONN
		      ? -EADDRNOTAVAIL_
		      : tcp_connect(k->host->full.s, &a, cookie_of(k), w->now, &conn);
	if ((err == -EADDRNOTAVAIL_ && p->port) || /* its last user, or that one's TIME_WAIT */
	    err == -ENOBUFS_) {			   /* memory is short */
		world_at(w, w->now.ns + rng_range(&w->rng, 1, 20 * NS_PER_S),
			 (struct sim_ev){.kind = SEV_START, .sock = k});
		return;
	}
	if (err) {
		world_fail(w, "conn %u: tcp_connect: %d", k->plan, err);
		return;
	}
	if (wait_for_wrap(k, conn))
		return;
	sock_open(k, &k->host->full, conn);
	if (p->fastopen)
		k->sent = tcp_fastopen(k->host->full.s, conn, pattern(w, k, 0), first_write(k));
	if (k->host->w->sc->conn[k->plan].side[k->side].end == END_ABORT &&
	    rng_ppm(&w->rng, 20 * PERCENT))
		prog_close(k, true);
}

/* ---- urgent data ---- */

/* The place in the stream of the byte that is read next. */
static uint32_t read_place(const struct sock *k)
{
	const struct tcb *t = tcp_get(k->node->s, k->conn);

	return t->rcv_nxt - !!(t->flags & TCB_F_FIN_RCVD) - t->rx_bytes - t->irs - 1;
}

static bool is_mark(const struct sock *peer, uint32_t place)
{
	for (uint32_t i = 0; i < peer->n_marks; i++)
		if (peer->marks[i] == place)
			return true;
	return false;
}

/* What a dying host has scribbled over may be its bytes, too. */
static bool scribbled(const struct sock *peer)
{
	return peer->host->crashed && peer->host->cfg->hostile;
}

/*
 * The program has not been given what is up to @place: urgent bytes, out of band. One whose mark
 * another one takes before the program comes there is in the stream, but not if it would have been
 * next.
 */
static bool passed_over(struct sock *k, const struct sock *peer, uint32_t place, bool in_line)
{
	while (k->rcvd < place && !in_line && is_mark(peer, k->rcvd))
		k->passed = ++k->rcvd;
	if (k->rcvd == place)
		return true;
	world_fail(k->host->w, "conn %u side %u: bytes from %u to %u are not given", k->plan,
		   k->side, k->rcvd, place);
	return false;
}

/* The server's end of the connection that @t is; of two clients with the same ISN the live one's.
 */
static struct sock *server_sock(struct host *h, const struct tcb *t)
{
	struct world *w = h->w;
	struct sock *found = NULL;

	for (uint32_t i = 0; i < w->sc->n_conns; i++) {
		struct sock *c = &w->socks[2 * i];

		if (c->used && c->host != h && !w->sc->conn[i].simultaneous && !c[1].used &&
		    c->pair.local_port == t->remote_port && c->iss == t->irs && (!found || c->open))
			found = c + 1;
	}
	return found;
}

/*
 * With SYN cookies nothing is known of a handshake but what its third ACK says: one that comes
 * twice makes a connection that nobody opened, and what overtakes it is answered with a reset.
 */
static bool cookies_sent(const struct host *h)
{
	return host_mib(h, MIB_TcpExt_SyncookiesSent) != 0;
}

void prog_accept(struct host *h)
{
	struct stack *s = h->full.s;
	uint32_t conn;

	h->accept_scheduled = false;
	while (h->listening && !tcp_accept(s, h->listener, &conn)) {
		struct sock *k = server_sock(h, tcp_get(s, conn));

		if (!k && !cookies_sent(h) && !host_mib(h, MIB_TcpExt_TCPFastOpenPassive)) {
			world_fail(h->w, "host%u accepts a connection that nobody opened", h->idx);
			return;
		}
		if (!k) {
			tcp_abort(s, conn, h->w->now);
			continue;
		}
		sock_open(k, &h->full, conn);
		k->connected = true;
		/* SO_OOBINLINE comes too late for what came before. */
		passed_over(k, peer_of(h->w, k), read_place(k), false);
		prog_step(k);
	}
}

/* ---- reading and writing ---- */

static bool rest(struct sock *k, uint32_t ppm, uint64_t *until)
{
	struct world *w = k->host->w;

	if (!rng_ppm(&w->rng, ppm))
		return false;
	*until = w->now.ns + rng_range(&w->rng, 1, plan_of(k)->pause_max) * NS_PER_US;
	world_at(w, *until, (struct sim_ev){.kind = SEV_PROG, .sock = k});
	return true;
}

static void prog_eof(struct sock *k)
{
	struct world *w = k->host->w;

	k->eof_at = w->now.ns;
	if (!w->result || !k->side || w->result->bytes[k->plan])
		return;
	for (uint32_t i = 0; i < w->sc->n_conns; i++)
		w->result->bytes[i] = w->socks[2 * i + 1].rcvd;
}

/* False: the connection is gone. */
static bool prog_write(struct sock *k)
{
	const struct side_plan *p = plan_of(k);
	struct world *w = k->host->w;

	while (k->sent < p->total && w->now.ns >= k->write_at) {
		uint32_t len = (uint32_t)rng_range(&w->rng, 1, p->write_max);
		unsigned flags = 0;
		int64_t n;

		if (len > p->total - k->sent)
			len = p->total - k->sent;
		if (p->more && len < p->total - k->sent)
			flags = TCP_MSG_MORE;
		if (k->n_marks < SIM_MAX_MARKS && rng_ppm(&w->rng, p->oob))
			flags |= TCP_MSG_OOB;
		n = tcp_send(k->node->s, k->conn, pattern(w, k, k->sent), len, flags, w->now);
		if (n == -EAGAIN_)
			return true;
		if (n <= 0 || n > len) {
			prog_failed(k, (int)-n);
			return false;
		}
		k->sent += (uint32_t)n;
		if (flags & TCP_MSG_OOB)
			k->marks[k->n_marks++] = k->sent - 1;
		if (rest(k, p->write_pause, &k->write_at))
			return true;
	}
	if (k->sent == p->total && !k->wr_shut && p->end == END_CLEAN) {
		k->wr_shut = true;
		tcp_shutdown(k->node->s, k->conn, false, true, w->now);
	}
	return true;
}

/* The one that was sent last nothing can have taken the mark from. */
static bool mark_is_right(const struct sock *k, const struct sock *peer)
{
	bool there = tcp_readable_bytes(k->node->s, k->conn) != 0;
	bool at = there && tcp_at_mark(k->node->s, k->conn);
	bool last = there && peer->n_marks && peer->marks[peer->n_marks - 1] == k->rcvd;

	if ((!at || is_mark(peer, k->rcvd)) && (!last || at))
		return true;
	world_fail(k->host->w, "conn %u side %u: %s mark at %u", k->plan, k->side,
		   at ? "a wrong" : "no", k->rcvd);
	return false;
}

static bool oob_read(struct sock *k, const struct sock *peer)
{
	struct world *w = k->host->w;
	uint8_t byte = 0;
	int n;

	if (!peer->n_marks || !rng_ppm(&w->rng, 30 * PERCENT))
		return true;
	n = tcp_recv_oob(k->node->s, k->conn, &byte, rng_ppm(&w->rng, 30 * PERCENT));
	for (uint32_t i = 0; n == 1 && i < peer->n_marks; i++)
		if (peer->marks[i] >= k->rcvd && *pattern(w, peer, peer->marks[i]) == byte)
			return true;
	if (n != 1 && (!plan_of(k)->oob_inline || n == -EINVAL_))
		return true;
	world_fail(w, "conn %u side %u: urgent byte %02x at %u: %d", k->plan, k->side, byte,
		   k->rcvd, n);
	return false;
}

static bool urgent_before(struct sock *k, const struct sock *peer)
{
	return passed_over(k, peer, read_place(k), plan_of(k)->oob_inline) &&
	       mark_is_right(k, peer) && oob_read(k, peer);
}

/* The last urgent byte is not in the stream. */
static bool urgent_at_eof(const struct sock *k, const struct sock *peer)
{
	if (!peer->n_marks || plan_of(k)->oob_inline || peer->host->crashed ||
	    k->passed == peer->marks[peer->n_marks - 1] + 1)
		return true;
	world_fail(k->host->w, "conn %u side %u: the urgent byte at %u was in the stream", k->plan,
		   k->side, peer->marks[peer->n_marks - 1]);
	return false;
}

/* What was read stands at @at in the peer's stream. */
static bool bytes_right(struct sock *k, const struct sock *peer, const uint8_t *buf, uint32_t n,
			uint32_t at)
{
	struct world *w = k->host->w;

	if (scribbled(peer) || (!memcmp(buf, pattern(w, peer, at), n) && at + n <= peer->sent))
		return true;
	world_fail(w, "conn %u side %u: wrong bytes at %u", k->plan, k->side, at);
	return false;
}

static bool at_eof(struct sock *k, const struct sock *peer)
{
	k->eof = true;
	if (!scribbled(peer) && !(passed_over(k, peer, read_place(k), plan_of(k)->oob_inline) &&
				  urgent_at_eof(k, peer)))
		return false;
	prog_eof(k);
	return true;
}

static bool prog_read(struct sock *k)
{
	const struct side_plan *p = plan_of(k);
	struct world *w = k->host->w;
	const struct sock *peer = peer_of(w, k);
	static uint8_t buf[65536];

	while (!k->eof && w->now.ns >= k->read_at) {
		uint32_t len = (uint32_t)rng_range(&w->rng, 1, p->read_max), skip;
		bool peek = rng_ppm(&w->rng, 3 * PERCENT);
		int64_t n;

		if (!scribbled(peer) && !urgent_before(k, peer))
			return false;
		skip = tcp_at_mark(k->node->s, k->conn) && !p->oob_inline;
		n = tcp_recv(k->node->s, k->conn, buf, len, peek ? TCP_MSG_PEEK : 0, w->now);
		if (n == -EAGAIN_)
			return true;
		if (n < 0) {
			prog_failed(k, (int)-n);
			return false;
		}
		if (n == 0 && peek) /* it passes nothing over */
			continue;
		if (n == 0)
			return at_eof(k, peer);
		if (n > len || !bytes_right(k, peer, buf, (uint32_t)n, k->rcvd + skip))
			return false;
		if (peek)
			continue;
		if (skip && !scribbled(peer) && !passed_over(k, peer, k->rcvd + skip, false))
			return false;
		k->rcvd += (scribbled(peer) ? skip : 0) + (uint32_t)n;
		if (rest(k, p->read_pause, &k->read_at))
			return true;
	}
	return true;
}

/* Options that may change what is sent when, but not whether it arrives. */
static void flip_options(struct sock *k)
{
	static const enum tcp_opt opts[] = {TOPT_NODELAY, TOPT_CORK, TOPT_QUICKACK, TOPT_RCVBUF,
					    TOPT_SNDBUF};
	struct world *w = k->host->w;
	enum tcp_opt o = opts[rng_range(&w->rng, 0, sizeof(opts) / sizeof(opts[0]) - 1)];
	int64_t v = rng_range(&w->rng, 0, 1);

	if (o == TOPT_RCVBUF || o == TOPT_SNDBUF)
		v = (int64_t)rng_range(&w->rng, 2000, 100000);
	/* Whoever waits for the rest must not have been corked. */
	if (o == TOPT_CORK && k->sent == plan_of(k)->total)
		v = 0;
	tcp_setopt(k->node->s, k->conn, o, v, w->now);
}

void prog_step(struct sock *k)
{
	const struct side_plan *p = plan_of(k);
	struct world *w = k->host->w;

	if (!k->open || !k->node || !k->connected || w->failed)
		return;
	if (k->host->app.s && rng_ppm(&w->rng, k->host->cfg->move)) {
		sock_move(k);
		if (!k->node)
			return;
	}
	if (p->flip)
		flip_options(k);
	if (!prog_write(k) || !prog_read(k))
		return;
	if (p->end == END_CLEAN) {
		if (k->eof && k->wr_shut)
			prog_close(k, false);
	} else if (k->sent + k->rcvd >= p->end_after || (k->eof && k->sent == p->total)) {
		prog_close(k, p->end == END_ABORT);
	}
}

/* ---- events ---- */

static void accept_soon(struct host *h)
{
	struct world *w = h->w;

	if (!w->sc->slow_accept) {
		prog_accept(h);
	} else if (!h->accept_scheduled) {
		h->accept_scheduled = true;
		world_at(w, w->now.ns + rng_range(&w->rng, 0, w->sc->accept_pause) * NS_PER_US,
			 (struct sim_ev){.kind = SEV_ACCEPT, .host = h});
	}
}

/* As libtandem: the program may read on, but the pair is free for its next user. */
static void prog_ended(const struct sock *k)
{
	const struct flow *f = flow_find(k->host, &k->pair);

	if (f && f->sock == k && !f->transit && tcp_get(k->node->s, k->conn)->state == TCP_CLOSED)
		flow_del(k->host, &k->pair);
}

void prog_event(struct node *n, const struct stack_ev *ev)
{
	struct world *w = n->w;
	struct flow *f;
	struct sock *k;

	if (ev->mask & (EV_FREED | EV_TIMEWAIT)) {
		f = flow_find(n->host, &ev->pair);
		if (ev->mask & EV_TIMEWAIT && n->role == STACK_APP) {
			if (f)
				prog_parting(f->sock, ev->conn, ev->generation);
			return;
		}
		/* The pair may have its next user already. */
		if (!f || (f->transit ? f->transit : f->node) != n ||
		    (f->conn != ev->conn && !f->transit) ||
		    (f->conn != TD_NO_CONN && f->generation != ev->generation && !f->transit))
			return;
		if (ev->mask & EV_FREED) {
			flow_del(n->host, &ev->pair);
		} else {
			f->node = n;
			f->transit = NULL;
			f->conn = TD_NO_CONN;
		}
		return;
	}
	if (ev->mask & EV_ACCEPT) {
		accept_soon(n->host);
		return;
	}
	if (ev->cookie >= UDP_COOKIE) {
		udp_event_came(w, ev);
		return;
	}
	if (!ev->cookie || ev->cookie > 2 * SIM_MAX_CONNS)
		return;
	k = &w->socks[ev->cookie - 1];
	if (k->node != n || k->conn != ev->conn || k->generation != ev->generation || !k->open)
		return;
	if (ev->mask & EV_CONFIRMED)
		prog_confirmed(k);
	if (ev->mask & (EV_ERROR | EV_HUP))
		prog_ended(k);
	if (ev->mask & EV_CONNECTED) {
		k->connected = true;
		k->connect_at = w->now.ns;
	}
	if (ev->mask & EV_ERROR) {
		prog_failed(k, tcp_error(n->s, k->conn));
		return;
	}
	prog_step(k);
}

/* ---- the end of a run ---- */

bool prog_done(const struct world *w, char *why, size_t len)
{
	for (uint32_t i = 0; i < 2 * w->sc->n_conns; i++) {
		const struct sock *k = &w->socks[i];

		if (k->closed || (k->side && !k->used && !w->sc->conn[i / 2].simultaneous))
			continue;
		snprintf(why, len,
			 "conn %u side %u is not through: %s%s%s%u of %u sent, %u of %u received",
			 k->plan, k->side, k->used ? "" : "never began, ",
			 k->node ? "" : "between two stacks, ", k->connected ? "" : "connecting, ",
			 k->sent, plan_of(k)->total, k->rcvd,
			 w->sc->conn[k->plan].side[!k->side].total);
		return false;
	}
	return true;
}

static bool memory_aborts(struct world *w)
{
	return host_mib(&w->host[0], MIB_TcpExt_TCPAbortOnMemory) +
	       host_mib(&w->host[1], MIB_TcpExt_TCPAbortOnMemory);
}

/* The other end finds the reset of one that had to give up, or gives up too. */
static bool silence_ended(const struct sock *k, const struct sock *other)
{
	return k->failed && k->silence &&
	       (!other->failed || other->err == ECONNRESET_ || other->err == EPIPE_ ||
		other->silence);
}

/* If it failed at all, a reset did that: all that forgotten handshakes can do to the other end. */
static bool reset_ended(const struct sock *k)
{
	return !k->failed || k->err == ECONNRESET_ || k->err == EPIPE_ || k->err == ECONNREFUSED_ ||
	       k->silence;
}

/* Whoever has a cookie, and a server that takes it, sends text in the SYN. */
static void judge_fastopen(struct world *w, uint32_t client)
{
	const struct host *h = &w->host[client], *server = &w->host[!client];
	uint64_t known = UINT64_MAX, want = 0;
	uint32_t has = h->cfg->limits.tcp_fastopen, takes = server->cfg->limits.tcp_fastopen;

	/* A server that asks for no cookies gives none; a client that needs none asks for none. */
	if (!(has & 1) || !(takes & 2) || !(takes & 0x200) != !(has & 4) ||
	    server->cfg->fastopen < SIM_MAX_CONNS || cookies_sent(server) || memory_aborts(w) ||
	    w->link[0].lost + w->link[1].lost + w->link[0].corrupted + w->link[1].corrupted ||
	    host_mib(h, MIB_TcpExt_TCPTimeouts) || host_mib(server, MIB_TcpExt_ListenDrops) ||
	    host_mib(server, MIB_Td_NoBuffer) || host_mib(h, MIB_Td_NoBuffer))
		return;
	for (uint32_t i = 0; i < w->sc->n_conns; i++) {
		const struct sock *k = &w->socks[2 * i];

		if (k->host == h && w->sc->conn[i].fastopen && k->connect_at &&
		    k->connect_at < known)
			known = k->connect_at;
	}
	for (uint32_t i = 0; i < w->sc->n_conns; i++) {
		const struct sock *k = &w->socks[2 * i];

		want += k->host == h && w->sc->conn[i].fastopen && k->start_at > known &&
			k->connect_at && w->sc->conn[i].side[0].total;
	}
	if (host_mib(h, MIB_TcpExt_TCPFastOpenActive) < want)
		world_fail(w, "host%u: text in %lu SYNs was taken, not in %lu", client,
			   host_mib(h, MIB_TcpExt_TCPFastOpenActive), want);
}

void prog_judge(struct world *w)
{
	const struct scenario *sc = w->sc;

	judge_fastopen(w, 0);
	judge_fastopen(w, 1);

	for (uint32_t i = 0; i < sc->n_conns && !w->failed; i++) {
		const struct sock *c = &w->socks[2 * i], *s = c + 1;
		const struct conn_plan *p = &sc->conn[i];

		if (p->side[0].end != END_CLEAN || p->side[1].end != END_CLEAN ||
		    w->host[0].crashed || w->host[1].crashed)
			continue;
		/* Only a handshake may fail, and only if something explains it. */
		if (c->failed && !sc->calm && (!s->used || p->simultaneous || p->fastopen))
			continue;
		/* An orphan with much to send, when memory has run out. */
		if ((c->failed || s->failed) && memory_aborts(w))
			continue;
		if (!sc->calm && cookies_sent(s->host) && reset_ended(c) && reset_ended(s) &&
		    (c->failed || s->failed))
			continue;
		if (silence_ended(c, s) || silence_ended(s, c))
			continue;
		if (c->failed || s->failed || !s->used)
			world_fail(w, "conn %u: failed: client %d, server %s%d", i, c->err,
				   s->used ? "" : "never accepted ", s->err);
		else if (s->rcvd != p->side[0].total || c->rcvd != p->side[1].total)
			world_fail(w, "conn %u: %u of %u and %u of %u bytes arrived", i, s->rcvd,
				   p->side[0].total, c->rcvd, p->side[1].total);
	}
}
