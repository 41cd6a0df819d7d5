/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Half-open connections: compact records from the SYN to the third ACK (RFC 9293 §3.10.7.2 and
 * the part of §3.10.7.4 that concerns SYN-RECEIVED). Owns s->synreqs, its hash by pair, and each
 * listener's list of them. No TCB exists until the handshake is complete.
 *
 * Where the SYN queue is full, the answer carries a cookie instead (RFC 4987 §3.6): the request
 * that the third ACK brings back exists only while that is dealt with.
 *
 * Invariants: a request is in the hash and in its listener's list, its timer runs; its pair is
 * in no other table. Limits, counters and the order of the checks are Linux's.
 */
#include "tcp.h"

static uint32_t *synreq_bucket(const struct stack *s, const struct tcp_addr_pair *a)
{
	uint32_t h = conn_hash(s, &a->local, a->local_port, &a->remote, a->remote_port);

	return &s->synreq_buckets[h & s->synreq_mask];
}

uint32_t synreq_lookup(const struct stack *s, const struct tcp_addr_pair *a)
{
	for (uint32_t i = *synreq_bucket(s, a); i; i = s->synreqs[i - 1].hash_next)
		if (tcp_pair_eq(&s->synreqs[i - 1].a, a))
			return i - 1;
	return SHM_NIL;
}

static void synreq_add(struct stack *s, uint32_t i)
{
	struct synreq *r = &s->synreqs[i];
	struct listener *l = &s->listeners[r->listener];
	uint32_t *bucket = synreq_bucket(s, &r->a);

	r->used = true;
	r->hash_next = *bucket;
	*bucket = i + 1;
	r->list_prev = SHM_NIL;
	r->list_next = l->syn_head;
	if (l->syn_head != SHM_NIL)
		s->synreqs[l->syn_head].list_prev = i;
	l->syn_head = i;
	l->syn_len++;
	if (s->a.synreqs_used)
		WRITE_ONCE(*s->a.synreqs_used, s->synreq_free.used);
}

void synreq_drop(struct stack *s, uint32_t i)
{
	struct synreq *r = &s->synreqs[i];
	struct listener *l = &s->listeners[r->listener];
	uint32_t *link = synreq_bucket(s, &r->a);

	wheel_del(s, TIMER_ID(TK_SYNREQ, i));
	while (*link != i + 1)
		link = &s->synreqs[*link - 1].hash_next;
	*link = r->hash_next;
	if (r->list_prev == SHM_NIL)
		l->syn_head = r->list_next;
	else
		s->synreqs[r->list_prev].list_next = r->list_next;
	if (r->list_next != SHM_NIL)
		s->synreqs[r->list_next].list_prev = r->list_prev;
	l->syn_len--;
	r->used = false;
	free_list_put(&s->synreq_free, i);
}

/* ---- SYN-ACK ---- */

/* Our timestamp in what we send for @r. */
static uint32_t synreq_ts(const struct stack *s, const struct synreq *r, struct mtime now)
{
	return tcp_ts_now(s, now) + r->ts_offset;
}

uint8_t listener_cc(const struct stack *s, const struct listener *l)
{
	return l->cc ? (uint8_t)(l->cc - 1) : cc_default(s);
}

/* @fo: a cookie for the client, or NULL */
static void synack_send(struct stack *s, const struct synreq *r, uint16_t mss, uint32_t ts,
			const struct tcp_options *fo, struct mtime now)
{
	struct tcp_options o = {
		.mss = mss,
		.has_wscale = r->opt & TCB_OPT_WSCALE,
		.wscale = r->rcv_wscale,
		.has_ts = r->opt & TCB_OPT_TS,
		.sack_ok = r->opt & TCB_OPT_SACK,
		.ts_val = ts,
		.ts_ecr = r->ts_recent,
	};
	uint32_t flags = TH_SYN | TH_ACK;

	if (fo && fo->fo) {
		o.fo = fo->fo;
		o.fo_exp = fo->fo_exp;
		memcpy(o.fo_cookie, fo->fo_cookie, sizeof(o.fo_cookie));
	}
	if (r->opt & TCB_OPT_ECN)
		flags |= TH_ECE;
	if (cc_get(listener_cc(s, &s->listeners[r->listener]))->needs_ecn)
		flags |= TH_ECT;
	tcp_send_bare(s, &r->a, r->iss, r->irs + 1, flags, r->wnd, &o, r->queue, now);
}

/* What we announce: by the route back (@w), and TCP_MAXSEG. False: there is no way back. */
static bool synack_mss(const struct stack *s, const struct listener *l,
		       const struct tcp_addr_pair *a, uint16_t *mss, struct ip_way *w)
{
	struct route_result rr;

	*w = (struct ip_way){.neigh = SHM_NIL};
	if (route_back(s, a, &rr, w))
		return false;
	*mss = tcp_mtu_mss(rr.mtu, &a->remote);
	if (l->user_mss && l->user_mss < *mss)
		*mss = l->user_mss;
	return true;
}

static void synreq_route(const struct stack *s, struct synreq *r, const struct ip_way *w)
{
	if (s->cfg.role != STACK_APP)
		return;
	r->netif = w->netif;
	r->neigh = w->neigh;
	r->neigh_gen = w->neigh_gen;
}

static void synack_again(struct stack *s, struct synreq *r, struct mtime now)
{
	struct ip_way w;
	uint16_t mss;

	r->sent = 0;
	if (s->listeners[r->listener].quiet ||
	    !synack_mss(s, &s->listeners[r->listener], &r->a, &mss, &w))
		return;
	synreq_route(s, r, &w);
	MIB(s, Tcp_RetransSegs);
	MIB(s, TcpExt_TCPSynRetrans);
	synack_send(s, r, mss, synreq_ts(s, r, now), NULL, now);
}

/* 1, 2, 4, … s after the n-th transmission. */
static void synreq_arm(struct stack *s, uint32_t i, struct mtime now)
{
	uint64_t us = (uint64_t)TCP_RTO_INIT_US << (s->synreqs[i].retries & 15);

	if (us > TCP_RTO_MAX_US)
		us = TCP_RTO_MAX_US;
	wheel_set(s, TIMER_ID(TK_SYNREQ, i), mtime_add_us(now, us));
}

/* TCP_DEFER_ACCEPT's seconds as a number of SYN-ACK retransmissions that cover them. */
static uint32_t defer_retries(uint32_t seconds)
{
	uint32_t n = 1, period = 1, timeout = 1;

	if (!seconds)
		return 0;
	while (seconds > period && n < 255) {
		n++;
		timeout = timeout < 60 ? timeout * 2 : 120;
		period += timeout;
	}
	return n;
}

void synreq_timer(struct stack *s, uint32_t i, struct mtime now)
{
	struct synreq *r = &s->synreqs[i];
	uint32_t defer = defer_retries(s->listeners[r->listener].defer_accept);

	MIB(s, TcpExt_TCPTimeouts);
	if (r->retries >= s->cfg.limits.tcp_synack_retries && (!r->acked || r->retries >= defer)) {
		synreq_drop(s, i);
		return;
	}
	/* While data is awaited the peer need not be asked again, until the time is nearly up. */
	if (!defer || !r->acked || r->retries + 1u >= defer)
		synack_again(s, r, now);
	r->retries++;
	synreq_arm(s, i, now);
}

/* ---- SYN ---- */

/* Half-open requests that a listener may have; also with backlog 0 one gets through. */
uint32_t syn_queue_max(const struct stack *s, const struct listener *l)
{
	uint32_t max = l->backlog;

	if (max > s->cfg.limits.somaxconn)
		max = s->cfg.limits.somaxconn;
	if (max > s->cfg.limits.tcp_max_syn_backlog)
		max = s->cfg.limits.tcp_max_syn_backlog;
	return max ? max : 1;
}

static enum drop listen_drop(struct stack *s, enum drop why)
{
	MIB(s, TcpExt_ListenDrops);
	return why;
}

static void synreq_init(struct stack *s, struct synreq *r, uint32_t listener,
			const struct tcp_seg *g, struct mtime now)
{
	const struct listener *l = &s->listeners[listener];
	const struct stack_limits *lim = &s->cfg.limits;
	uint32_t rcvbuf = l->rcvbuf ? l->rcvbuf : lim->tcp_rmem[1];

	*r = (struct synreq){
		.a = tcp_seg_pair(g),
		.listener = listener,
		.irs = g->seq,
		.mss = g->o.mss ? g->o.mss : TCP_MSS_DEFAULT,
		.queue = g->p->queue,
		.netif = g->ip->netif,
		.wnd = tcp_syn_window(rcvbuf),
		.sent = now.ns,
		.timer.slot = SHM_NIL,
	};
	r->iss = tcp_isn(s, &r->a, now);
	/* The predecessor's sequence numbers are not used again (RFC 9293 §3.4.3). */
	if (g->tw_iss && seq_lt(r->iss, g->tw_iss))
		r->iss = g->tw_iss;
	if (g->o.has_ts && lim->tcp_timestamps) {
		r->opt |= TCB_OPT_TS;
		r->ts_recent = g->o.ts_val;
		r->ts_offset =
			l->in_app ? tcp_ts_offset_app(s, &r->a) : tcp_ts_offset(s, &r->a);
	}
	if (g->o.sack_ok && lim->tcp_sack)
		r->opt |= TCB_OPT_SACK;
	if (tcp_ecn_accept(s, listener_cc(s, l), g))
		r->opt |= TCB_OPT_ECN;
	if (g->o.has_wscale && lim->tcp_window_scaling) {
		r->opt |= TCB_OPT_WSCALE;
		r->snd_wscale = g->o.wscale < TCP_WSCALE_MAX ? g->o.wscale : TCP_WSCALE_MAX;
		r->rcv_wscale = tcp_offer_wscale(s, rcvbuf);
	}
}

static bool syn_queue_full(const struct stack *s, const struct listener *l)
{
	return l->syn_len >= syn_queue_max(s, l) ||
	       free_list_in_use(&s->synreq_free) == s->synreq_free.size;
}

/* Answers a SYN without keeping anything of it. */
static enum drop cookie_answer(struct stack *s, uint32_t listener, const struct tcp_seg *g,
			       uint16_t mss, struct mtime now)
{
	struct tcp_seg syn = *g;
	struct synreq r;

	/* Options other than the MSS have room in the timestamp only. */
	if (!g->o.has_ts || !s->cfg.limits.tcp_timestamps)
		syn.o = (struct tcp_options){.mss = g->o.mss};
	synreq_init(s, &r, listener, &syn, now);
	if (!syn.o.has_ts)
		r.opt &= (uint8_t)~TCB_OPT_ECN;
	r.iss = cookie_isn(s, &syn, now);
	MIB(s, TcpExt_SyncookiesSent);
	s->listeners[listener].cookie_sent = now.ns;
	if (s->listeners[listener].cookie_watch) {
		s->listeners[listener].cookie_watch = false;
		s->listeners[listener].ev_cookies = true;
		listener_event(s, listener);
	}
	synack_send(s, &r, mss,
		    cookie_ts(tcp_ts_now(s, now), &syn.o, r.opt & TCB_OPT_ECN) + r.ts_offset, NULL,
		    now);
	return DROP_NONE;
}

static void conn_inherit(struct stack *s, struct tcb *t, const struct listener *l)
{
	t->sockopt |= l->sockopt;
	t->user_mss = l->user_mss;
	t->user_timeout = l->user_timeout;
	t->linger = l->linger;
	t->linger2 = l->linger2;
	t->tos = l->tos;
	if (l->rcvbuf) {
		t->rcvbuf = l->rcvbuf;
		t->sockopt |= TCB_RCVBUF_LOCK;
	}
	if (l->sndbuf) {
		t->sndbuf = l->sndbuf;
		t->sockopt |= TCB_SNDBUF_LOCK;
	}
	if (l->rcvlowat)
		t->rcvlowat = l->rcvlowat;
	if (l->keep_idle)
		t->keep_idle = l->keep_idle;
	if (l->keep_intvl)
		t->keep_intvl = l->keep_intvl;
	if (l->keep_cnt)
		t->keep_cnt = l->keep_cnt;
	if (l->ttl)
		t->ttl = l->ttl;
	if (l->max_pacing)
		tcb_work_get(s, t)->max_pacing = l->max_pacing;
	if (l->cc)
		t->cc = (uint8_t)(l->cc - 1);
}

/* Brings a new TCB to where the request stands: our SYN-ACK sent, the third ACK about to come. */
static void conn_fill(struct stack *s, struct tcb *t, const struct synreq *r, struct mtime now)
{
	struct tcp_options o = {
		.mss = r->mss,
		.has_wscale = r->opt & TCB_OPT_WSCALE,
		.wscale = r->snd_wscale,
		.has_ts = r->opt & TCB_OPT_TS,
		.ts_val = r->ts_recent,
		.sack_ok = r->opt & TCB_OPT_SACK,
	};

	conn_inherit(s, t, &s->listeners[r->listener]);
	t->flags |= TCB_F_PASSIVE;
	t->netif = (uint8_t)r->netif;
	t->queue = r->queue;
	t->opt = r->opt;
	tcp_set_iss(t, r->iss);
	t->ts_offset = r->ts_offset;
	t->rcv_wscale = r->rcv_wscale;
	tcp_syn_received(s, t, r->irs, &o, now);
	/* The listener's options may have changed since: the SYN-ACK's promise counts. */
	t->rcv_adv = t->rcv_nxt + r->wnd;
	tcp_set_state(s, t, TCP_SYN_RECEIVED, now);
	t->snd_nxt = t->snd_max = r->iss + 1;
	t->syn_retries = r->retries;
	if (r->sent) { /* the SYN-ACK's round trip is the first sample (Karn: if sent once) */
		t->flags |= TCB_F_RTT_VALID;
		tcb_work_get(s, t)->rtt_time = us_stamp((struct mtime){r->sent});
	}
}

/*
 * Fast open: a connection at once, with what text came along, on the accept queue before the peer
 * has heard of it. Its SYN-ACK is sent as the TCB's first segment, and again until it is
 * acknowledged. False: no memory.
 */
static bool fastopen_open(struct stack *s, uint32_t listener, struct tcp_seg *g,
			  const struct tcp_options *fo, struct mtime now)
{
	struct tcp_seg ack = *g;
	struct synreq r;
	uint32_t conn;
	struct tcb *t;

	synreq_init(s, &r, listener, g, now);
	r.sent = 0;
	conn = tcp_conn_create(s, &r.a, now);
	if (conn == SHM_NIL)
		return false;
	t = tcb_at(s, conn);
	conn_fill(s, t, &r, now);
	ack.ack = r.iss + 1;
	tcp_established(s, t, &ack, now); /* with the SYN's window, which is not scaled */
	t->opt |= TCB_OPT_SYNACK;
	if (fo->fo && !fo->fo_exp) {
		t->opt |= TCB_OPT_FASTOPEN;
		memcpy(tcb_rare(s, t)->fo_cookie, fo->fo_cookie, sizeof(tcb_rare(s, t)->fo_cookie));
	}
	t->t_rtx = now.ns;
	accept_queue_add(s, listener, t);
	s->listeners[listener].fo_len++;
	MIB(s, TcpExt_TCPFastOpenPassive);

	if (g->len)
		t->opt |= TCB_OPT_SYN_DATA;
	g->seq++;
	g->flags &= (uint8_t)~TH_SYN;
	if (g->flags & TH_URG)
		tcp_urgent(s, t, g);
	tcp_segment_text(s, t, g, now);
	t->flags &= ~(TCB_F_ACK_NOW | TCB_F_ACK_DELAYED); /* the SYN-ACK says it */
	t->ack_owed = 0;
	t->t_delack = 0;
	tcp_kick(s, t, now);
	return true;
}

static enum drop syn_input(struct stack *s, uint32_t listener, struct tcp_seg *g, struct mtime now)
{
	struct listener *l = &s->listeners[listener];
	uint32_t cookies = s->cfg.limits.tcp_syncookies, i;
	struct tcp_addr_pair a = tcp_seg_pair(g);
	/* A pair that comes out of TIME_WAIT is a peer that exists: no limit, as in Linux. */
	bool full = (cookies == 2 || syn_queue_full(s, l)) && !g->tw_iss;
	bool app = s->cfg.role == STACK_APP;
	struct tcp_options fo = {0};
	struct ip_way way;
	uint16_t mss;

	if (app && (tcp_mem_high(s) || full || l->quiet))
		return DROP_STALE_FLOW;
	if (tcp_mem_high(s))
		return listen_drop(s, DROP_NO_MEMORY);
	if (full && !cookies) {
		MIB(s, TcpExt_TCPReqQFullDrop);
		return listen_drop(s, DROP_QUEUE_FULL);
	}
	if (full)
		MIB(s, TcpExt_TCPReqQFullDoCookies);
	if (accept_queue_full(s, l)) {
		MIB(s, TcpExt_ListenOverflows);
		return listen_drop(s, DROP_QUEUE_FULL);
	}
	if (!synack_mss(s, l, &a, &mss, &way))
		return app ? DROP_STALE_FLOW : listen_drop(s, DROP_MARTIAN);
	if (full)
		return cookie_answer(s, listener, g, mss, now);
	if (!app && fastopen_syn(s, l, g, &fo)) {
		if (fastopen_open(s, listener, g, &fo, now))
			return DROP_NONE;
		MIB(s, TcpExt_TCPFastOpenPassiveFail);
	}
	i = free_list_get(&s->synreq_free);
	if (i == SHM_NIL)
		return app ? DROP_STALE_FLOW : listen_drop(s, DROP_NO_MEMORY);
	synreq_init(s, &s->synreqs[i], listener, g, now);
	synreq_route(s, &s->synreqs[i], &way);
	synreq_add(s, i);
	synreq_arm(s, i, now);
	synack_send(s, &s->synreqs[i], mss, synreq_ts(s, &s->synreqs[i], now), &fo, now);
	return DROP_NONE;
}

/* ---- third ACK ---- */

/* The peer's ACK cannot be honoured now. */
static enum drop establish_refuse(struct stack *s, const struct tcp_seg *g, enum drop why,
				  struct mtime now)
{
	if (why == DROP_QUEUE_FULL)
		MIB(s, TcpExt_ListenOverflows);
	listen_drop(s, why);
	if (!s->cfg.limits.tcp_abort_on_overflow)
		return why;
	if (s->cfg.role == STACK_APP)
		return DROP_STALE_FLOW; /* resets are the daemon's */
	tcp_send_reset(s, g, now);
	return why;
}

/* Makes the connection of @r. DROP_NONE: it is @t, and @g is still to be given to it. */
static enum drop establish(struct stack *s, const struct synreq *r, const struct tcp_seg *g,
			   struct tcb **t, struct mtime now)
{
	uint32_t conn;

	if (accept_queue_full(s, &s->listeners[r->listener]))
		return establish_refuse(s, g, DROP_QUEUE_FULL, now);
	conn = tcp_conn_create(s, &r->a, now);
	if (conn == SHM_NIL)
		return establish_refuse(s, g, DROP_NO_MEMORY, now);
	*t = tcb_at(s, conn);
	conn_fill(s, *t, r, now);
	accept_queue_add(s, r->listener, *t);
	return DROP_NONE;
}

/* What is refused stays a request, unless it was reset: the next ACK or data tries again. */
static enum drop synreq_establish(struct stack *s, uint32_t i, struct tcp_seg *g, struct mtime now)
{
	struct tcb *t;
	enum drop d = establish(s, &s->synreqs[i], g, &t, now);

	if (d == DROP_NONE || s->cfg.limits.tcp_abort_on_overflow)
		synreq_drop(s, i);
	else
		s->synreqs[i].acked = true;
	/* Makes it ESTABLISHED, and takes data and FIN that came with the ACK. */
	return d == DROP_NONE ? tcp_conn_input(s, t, g, now) : d;
}

/* May @g return a cookie? Without any out there, ACKs cost no more than a reset. */
static bool cookies_out(const struct stack *s, uint32_t listener, const struct tcp_seg *g,
			struct mtime now)
{
	uint64_t sent = s->listeners[listener].cookie_sent;

	return (g->flags & (TH_SYN | TH_ACK | TH_RST)) == TH_ACK && s->cfg.limits.tcp_syncookies &&
	       sent && now.ns - sent <= SYNCOOKIE_VALID_NS;
}

bool cookie_returned(struct stack *s, const struct tcp_seg *g, struct mtime now)
{
	uint32_t listener = listener_lookup(s, &g->ip->dst, g->dport);
	struct tcp_seg syn;

	return listener != SHM_NIL && cookies_out(s, listener, g, now) &&
	       cookie_syn(s, g, &syn, now);
}

/* An ACK that belongs to nothing we know of: it may return a cookie. */
static enum drop cookie_ack(struct stack *s, uint32_t listener, struct tcp_seg *g, struct mtime now)
{
	struct tcp_seg syn;
	struct synreq r;
	struct tcb *t;
	enum drop d;

	if (!cookies_out(s, listener, g, now))
		goto reset;
	if (!cookie_syn(s, g, &syn, now)) {
		MIB(s, TcpExt_SyncookiesFailed);
		goto reset;
	}
	MIB(s, TcpExt_SyncookiesRecv);
	synreq_init(s, &r, listener, &syn, now);
	r.iss = g->ack - 1;
	r.sent = 0; /* nobody knows when */
	d = establish(s, &r, g, &t, now);
	return d == DROP_NONE ? tcp_conn_input(s, t, g, now) : d;
reset:
	tcp_send_reset(s, g, now);
	return DROP_BAD_ACK;
}

/* RFC 9293 §3.10.7.2, first to fourth */
enum drop listen_input(struct stack *s, uint32_t listener, struct tcp_seg *g, struct mtime now)
{
	if (g->flags & TH_RST)
		return DROP_BAD_STATE;
	if (g->flags & TH_ACK)
		return cookie_ack(s, listener, g, now);
	if (!(g->flags & TH_SYN) || g->flags & TH_FIN)
		return DROP_BAD_STATE;
	if (g->ip->bcast)
		return listen_drop(s, DROP_MARTIAN);
	return syn_input(s, listener, g, now);
}

/* An ACK that tells the peer where we stand (RFC 9293 §3.10.7.4, RFC 5961 §3.2, §4.2). */
static enum drop synreq_challenge(struct stack *s, const struct synreq *r, enum drop why,
				  struct mtime now)
{
	struct tcp_options o = {
		.has_ts = r->opt & TCB_OPT_TS,
		.ts_val = synreq_ts(s, r, now),
		.ts_ecr = r->ts_recent,
	};
	uint32_t limit = s->cfg.limits.tcp_challenge_ack_limit;

	if (!token_take(&s->challenge_tokens, limit, limit, now))
		return DROP_RATE_LIMIT;
	MIB(s, TcpExt_TCPChallengeACK);
	tcp_send_bare(s, &r->a, r->iss + 1, r->irs + 1, TH_ACK, (uint16_t)(r->wnd >> r->rcv_wscale),
		      &o, r->queue, now);
	return why;
}

/* RFC 9293 §3.10.7.4, first: any byte of it in the window, or an empty one at its left edge. */
static bool synreq_in_window(const struct synreq *r, const struct tcp_seg *g)
{
	uint32_t nxt = r->irs + 1, end = g->seq + tcp_seg_space(g);

	return seq_lt(g->seq, nxt + r->wnd) && (seq_gt(end, nxt) || (end == nxt && g->seq == nxt));
}

static enum drop synreq_ack(struct stack *s, uint32_t i, struct tcp_seg *g, struct mtime now)
{
	struct synreq *r = &s->synreqs[i];

	if (g->ack != r->iss + 1) {
		/* It may answer a SYN-ACK of the daemon's, to which we gave an earlier SYN. */
		if (s->cfg.role == STACK_APP)
			return DROP_STALE_FLOW;
		tcp_send_reset(s, g, now);
		return DROP_BAD_ACK;
	}
	if (r->opt & TCB_OPT_TS && g->o.has_ts && seq_le(g->seq, r->irs + 1))
		r->ts_recent = g->o.ts_val;
	/* TCP_DEFER_ACCEPT: bare ACKs are noted only, until the time is up. */
	if (r->retries < defer_retries(s->listeners[r->listener].defer_accept) && !g->len &&
	    !(g->flags & TH_FIN)) {
		r->acked = true;
		MIB(s, TcpExt_TCPDeferAcceptDrop);
		return DROP_NONE;
	}
	return synreq_establish(s, i, g, now);
}

enum drop synreq_input(struct stack *s, uint32_t i, struct tcp_seg *g, struct mtime now)
{
	struct synreq *r = &s->synreqs[i];
	bool paws = r->opt & TCB_OPT_TS && g->o.has_ts && seq_lt(g->o.ts_val, r->ts_recent);

	if ((g->flags & (TH_SYN | TH_ACK | TH_RST | TH_FIN)) == TH_SYN && g->seq == r->irs &&
	    !paws) {
		synack_again(s, r, now);
		synreq_arm(s, i, now);
		return DROP_NONE;
	}
	/*
	 * The peer has sent another SYN, or this one again, and who knows of no requests has
	 * answered it with a cookie (tcp_listen_cookies()): that handshake is complete, ours never
	 * will be.
	 */
	if (g->flags & TH_ACK && g->ack != r->iss + 1 && cookie_returned(s, g, now)) {
		uint32_t listener = r->listener;

		synreq_drop(s, i);
		return cookie_ack(s, listener, g, now);
	}
	if (g->flags & TH_RST) {
		if (g->seq == r->irs + 1) {
			MIB(s, Tcp_AttemptFails);
			MIB(s, TcpExt_EmbryonicRsts);
			synreq_drop(s, i);
			return DROP_NONE;
		}
		return synreq_in_window(r, g) ? synreq_challenge(s, r, DROP_BAD_STATE, now)
					      : DROP_OUT_OF_WINDOW;
	}
	if (paws) {
		MIB(s, TcpExt_PAWSEstab);
		return synreq_challenge(s, r, DROP_PAWS, now);
	}
	if (!synreq_in_window(r, g))
		return synreq_challenge(s, r, DROP_OUT_OF_WINDOW, now);
	if (g->flags & TH_SYN) {
		MIB(s, TcpExt_TCPSYNChallenge);
		return synreq_challenge(s, r, DROP_BAD_STATE, now);
	}
	if (!(g->flags & TH_ACK))
		return DROP_BAD_STATE;
	return synreq_ack(s, i, g, now);
}

/* ---- from another stack ---- */

static bool rescue_ok(const struct stack *s, const struct listener *l, const struct synreq *r)
{
	return r->used && addr_is_local(s, &r->a.local) &&
	       (l->any || ip_addr_eq(&l->addr, &r->a.local)) &&
	       l->port == r->a.local_port && r->a.remote_port && !ip_addr_is_any(&r->a.remote) &&
	       ip_addr_is_v4(&r->a.local) == ip_addr_is_v4(&r->a.remote) &&
	       r->mss >= TCP_MSS_MIN && r->snd_wscale <= TCP_WSCALE_MAX &&
	       r->rcv_wscale <= TCP_WSCALE_MAX && r->netif < STACK_MAX_NETIFS &&
	       r->queue < TD_MAX_QUEUES;
}

int stack_rescue_synreq(struct stack *s, uint32_t listener, const struct synreq *from,
			struct mtime now)
{
	struct listener *l = listener_at(s, listener);
	struct synreq *r;
	uint32_t i;

	if (!l || !rescue_ok(s, l, from))
		return -E_BADMSG;
	if (stack_knows_pair(s, &from->a))
		return -E_ADDRINUSE;
	i = syn_queue_full(s, l) ? SHM_NIL : free_list_get(&s->synreq_free);
	if (i == SHM_NIL)
		return -E_NOSPC;
	r = &s->synreqs[i];
	*r = *from;
	r->listener = listener;
	r->opt &= TCB_OPT_WSCALE | TCB_OPT_TS | TCB_OPT_SACK | TCB_OPT_ECN;
	r->acked = !!r->acked;
	r->sent = 0; /* when, nobody need believe */
	r->neigh = SHM_NIL;
	r->timer.slot = SHM_NIL;
	synreq_add(s, i);
	synreq_arm(s, i, now);
	return 0;
}

bool stack_next_half_open(const struct stack *s, uint32_t *it, struct tcp_addr_pair *a,
			  uint32_t *retries)
{
	while (*it < s->synreq_free.used) {
		uint32_t i = (*it)++;
		const struct synreq *r = &s->synreqs[i];

		if (synreq_lookup(s, &r->a) == i) {
			*a = r->a;
			*retries = r->retries;
			return true;
		}
	}
	return false;
}
