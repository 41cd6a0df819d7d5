/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TIME_WAIT of connections that no program holds any more, in records of 64 bytes; also FIN-WAIT-2
 * of those, once it has lasted a second (tcp_timer.c). Owns s->tws and its hash by pair.
 *
 * Invariants: a used record is in the hash, its timer runs, and its pair is in no other table;
 * there are at most tcp_max_tw_buckets. Follows RFC 9293 §3.10.7.4 for this state (a RST at the
 * next number ends it), RFC 1337 (with tcp_rfc1337 it does not), RFC 6191 (a SYN with a newer
 * timestamp or sequence number does).
 */
#include "tcp.h"

static uint32_t timewait_bucket(const struct stack *s, const struct tcp_addr_pair *a)
{
	return conn_hash(s, &a->local, a->local_port, &a->remote, a->remote_port) & s->tw_mask;
}

uint32_t timewait_lookup(const struct stack *s, const struct tcp_addr_pair *a)
{
	uint32_t i = s->tw_buckets[timewait_bucket(s, a)];

	while (i) {
		if (tcp_pair_eq(&s->tws[i - 1].a, a))
			return i - 1;
		i = s->tws[i - 1].hash_next;
	}
	return SHM_NIL;
}

/* Puts @r, of which the pair and the numbers are filled in, in a free place. SHM_NIL: none. */
static uint32_t timewait_put(struct stack *s, const struct timewait *r)
{
	uint32_t i = SHM_NIL, b = timewait_bucket(s, &r->a);

	if (free_list_in_use(&s->tw_free) < s->cfg.limits.tcp_max_tw_buckets)
		i = free_list_get(&s->tw_free);
	if (i == SHM_NIL) {
		MIB(s, TcpExt_TCPTimeWaitOverflow);
		return SHM_NIL;
	}
	s->tws[i] = *r;
	s->tws[i].timer.slot = SHM_NIL;
	s->tws[i].hash_next = s->tw_buckets[b] & 0x7ffffffu;
	s->tws[i].used = 1;
	s->tw_buckets[b] = i + 1;
	if (s->a.tws_used)
		WRITE_ONCE(*s->a.tws_used, s->tw_free.used);
	return i;
}

static void timewait_arm(struct stack *s, uint32_t i, struct mtime now)
{
	wheel_set(s, TIMER_ID(TK_TIMEWAIT, i), mtime_add_ns(now, TCP_TIMEWAIT_S * NS_PER_S));
}

void timewait_enter(struct stack *s, struct tcb *t, struct mtime now)
{
	bool fin_wait2 = t->state == TCP_FIN_WAIT_2;
	uint64_t left = tcp_timer_fin_wait_record(s, t);
	bool full = s->cfg.role == STACK_FULL;
	bool tells = full || !(t->sockopt & TCB_BORN_UNTOLD);
	struct stack_ev ev = {
		.mask = full ? EV_TIMEWAIT : EV_FREED,
		.conn = tcb_index(s, t),
		.generation = t->generation,
		.listener = SHM_NIL,
		.cookie = tcb_cookie(t),
		.pair = {t->local, t->remote, t->local_port, t->remote_port},
	};
	struct timewait r = {
		.a = ev.pair,
		.snd_nxt = t->snd_max,
		.rcv_nxt = t->rcv_nxt,
		.ts_recent = t->ts_recent,
		.has_ts = !!(t->opt & TCB_OPT_TS),
		.born_app = t->opt & TCB_OPT_TS && t->ts_offset == tcp_ts_offset_app(s, &ev.pair),
		.fin_wait2 = fin_wait2,
	};
	uint32_t i;

	if (fin_wait2) {
		ev.mask |= EV_FIN_WAIT2;
		tcp_set_state(s, t, TCP_TIME_WAIT, now);
	}
	i = timewait_put(s, &r);
	if (i == SHM_NIL) {
		ev.mask = EV_FREED;
		if (tells)
			stack_report(s, &ev);
		tcp_conn_free(s, t, now);
		return;
	}
	if (fin_wait2)
		wheel_set(s, TIMER_ID(TK_TIMEWAIT, i), mtime_add_ns(now, left));
	else
		timewait_arm(s, i, now);
	if (tells)
		stack_report(s, &ev);
	/* In state TIME_WAIT it goes without an EV_FREED. */
	tcp_conn_free(s, t, now);
}

int stack_rescue_timewait(struct stack *s, const struct timewait *r, struct mtime now)
{
	uint32_t i;

	if (!addr_is_local(s, &r->a.local) || ip_addr_is_any(&r->a.remote) ||
	    ip_addr_is_v4(&r->a.local) != ip_addr_is_v4(&r->a.remote) || !r->a.local_port ||
	    !r->a.remote_port)
		return -E_BADMSG;
	if (stack_knows_pair(s, &r->a))
		return -E_ADDRINUSE;
	i = timewait_put(s, r);
	if (i == SHM_NIL)
		return -E_NOSPC;
	if (r->fin_wait2)
		wheel_set(s, TIMER_ID(TK_TIMEWAIT, i),
			  mtime_add_ns(now, s->cfg.limits.tcp_fin_timeout * NS_PER_S));
	else
		timewait_arm(s, i, now);
	return 0;
}

/* The end of the pair's last trace. */
void timewait_free(struct stack *s, uint32_t i)
{
	struct timewait *w = &s->tws[i];
	struct stack_ev ev = {
		.mask = EV_FREED, .conn = TD_NO_CONN, .listener = SHM_NIL, .pair = w->a};
	uint32_t b = timewait_bucket(s, &w->a);

	if (s->tw_buckets[b] == i + 1) {
		s->tw_buckets[b] = w->hash_next;
	} else {
		uint32_t prev = s->tw_buckets[b];

		while (s->tws[prev - 1].hash_next != i + 1)
			prev = s->tws[prev - 1].hash_next;
		s->tws[prev - 1].hash_next = w->hash_next;
	}
	wheel_del(s, TIMER_ID(TK_TIMEWAIT, i));
	w->used = 0;
	free_list_put(&s->tw_free, i);
	if (s->cfg.role == STACK_FULL)
		stack_report(s, &ev);
}

void timewait_timer(struct stack *s, uint32_t i, struct mtime now)
{
	(void)now;
	MIB(s, TcpExt_TW);
	timewait_free(s, i);
}

static void send_ack(struct stack *s, const struct timewait *w, const struct tcp_seg *g,
		     struct mtime now)
{
	struct tcp_options o = {
		.has_ts = w->has_ts,
		.ts_val = tcp_ts_now(s, now) +
			  (w->born_app ? tcp_ts_offset_app(s, &w->a) : tcp_ts_offset(s, &w->a)),
		.ts_ecr = w->ts_recent,
	};

	/*
	 * While the peer may send, it is not told of a window smaller than it had, which is not
	 * kept. What it sends is not taken, wherever it stands.
	 */
	tcp_send_bare(s, &w->a, w->snd_nxt, w->rcv_nxt, TH_ACK, w->fin_wait2 ? 0xffff : 0, &o,
		      g->p->queue, now);
}

static enum drop timewait_ack(struct stack *s, const struct timewait *w, const struct tcp_seg *g,
			      enum drop why, struct mtime now)
{
	uint32_t limit = s->cfg.limits.tcp_challenge_ack_limit;

	if (!token_take(&s->challenge_tokens, limit, limit, now))
		return DROP_RATE_LIMIT;
	send_ack(s, w, g, now);
	return why;
}

/*
 * The peer has closed, too: who keeps something for the pair need not any more. It is told as long as the
 * ends of TCBs and records have their half of the reports; else it keeps that until the end.
 */
static void report_closed(struct stack *s, const struct timewait *w)
{
	if (s->cfg.role == STACK_FULL && stack_reports_pending(s) < s->freed_size / 2)
		stack_report(s, &(struct stack_ev){.mask = EV_TIMEWAIT,
						   .conn = TD_NO_CONN,
						   .listener = SHM_NIL,
						   .pair = w->a});
}

/*
 * What the peer may still have sent beyond rcv_nxt: the window that it was given is not kept. What
 * a peer really sends begins at rcv_nxt.
 */
#define FIN_WAIT2_WINDOW 65536u

/*
 * RFC 9293 §3.10.7.4 in FIN-WAIT-2, without a program that could take text (RFC 1122 §4.2.2.13: it
 * is reset then, as Linux does).
 */
static enum drop fin_wait2_input(struct stack *s, uint32_t i, struct tcp_seg *g, struct mtime now)
{
	struct timewait *w = &s->tws[i];
	uint32_t end = g->seq + tcp_seg_space(g);

	if (w->has_ts && g->o.has_ts && seq_lt(g->o.ts_val, w->ts_recent)) {
		if (g->flags & TH_RST)
			return DROP_PAWS;
		MIB(s, TcpExt_PAWSEstab);
		return timewait_ack(s, w, g, DROP_PAWS, now);
	}
	if (g->flags & TH_RST && g->seq == w->rcv_nxt) {
		timewait_free(s, i);
		return DROP_NONE;
	}
	/* RFC 5961 §3.2, §4.2, §5.2 */
	if (g->flags & (TH_RST | TH_SYN) ||
	    g->seq - w->rcv_nxt + FIN_WAIT2_WINDOW > 2 * FIN_WAIT2_WINDOW)
		return timewait_ack(s, w, g, DROP_OUT_OF_WINDOW, now);
	if (!(g->flags & TH_ACK))
		return DROP_OUT_OF_WINDOW;
	if (seq_gt(g->ack, w->snd_nxt))
		return timewait_ack(s, w, g, DROP_BAD_ACK, now);
	if (g->seq == w->rcv_nxt && w->has_ts && g->o.has_ts)
		w->ts_recent = g->o.ts_val;
	if (!seq_gt(end, w->rcv_nxt)) /* a keepalive probe, what is known already, or just an ACK */
		return g->seq == w->rcv_nxt ? DROP_NONE : timewait_ack(s, w, g, DROP_NONE, now);
	if (g->flags & TH_FIN && end == w->rcv_nxt + 1) {
		w->rcv_nxt = end;
		w->fin_wait2 = 0;
		timewait_arm(s, i, now);
		report_closed(s, w);
		send_ack(s, w, g, now);
		return DROP_NONE;
	}
	MIB(s, TcpExt_TCPAbortOnData);
	tcp_send_reset(s, g, now);
	timewait_free(s, i);
	return DROP_NO_SOCKET;
}

/* RFC 6191 §2 and RFC 9293 §3.10.7.4: may this SYN begin the pair's next incarnation? */
static bool timewait_may_reuse(const struct timewait *w, const struct tcp_seg *g)
{
	if ((g->flags & (TH_SYN | TH_ACK | TH_RST | TH_FIN)) != TH_SYN)
		return false;
	return seq_gt(g->seq, w->rcv_nxt) ||
	       (w->has_ts && g->o.has_ts && seq_gt(g->o.ts_val, w->ts_recent));
}

/* Only a RST that the peer may really have sent ends it, and with RFC 1337 §3 not even that. */
static enum drop timewait_rst(struct stack *s, uint32_t i, const struct tcp_seg *g, bool paws)
{
	if (paws) {
		MIB(s, TcpExt_PAWSTimewait);
		return DROP_PAWS;
	}
	if (g->seq != s->tws[i].rcv_nxt || g->flags & TH_SYN || s->cfg.limits.tcp_rfc1337)
		return DROP_OUT_OF_WINDOW;
	timewait_free(s, i);
	return DROP_NONE;
}

enum drop timewait_input(struct stack *s, uint32_t i, struct tcp_seg *g, struct mtime now)
{
	struct timewait *w = &s->tws[i];
	bool paws = w->has_ts && g->o.has_ts && seq_lt(g->o.ts_val, w->ts_recent);

	if (w->fin_wait2)
		return fin_wait2_input(s, i, g, now);
	if (g->flags & TH_RST)
		return timewait_rst(s, i, g, paws);
	if (!paws && timewait_may_reuse(w, g)) {
		/* Never 0: that says that there was none. */
		g->tw_iss = w->snd_nxt + 65537u;
		g->tw_iss += !g->tw_iss;
		g->tw_ts = w->has_ts && g->o.has_ts && seq_gt(g->o.ts_val, w->ts_recent);
		MIB(s, TcpExt_TWRecycled);
		timewait_free(s, i);
		return DROP_BAD_STATE;
	}
	/* Its SYN was answered with a cookie by who knows of no pairs (tcp_listen_cookies()). */
	if (!paws && g->ack != w->snd_nxt && cookie_returned(s, g, now)) {
		MIB(s, TcpExt_TWRecycled);
		timewait_free(s, i);
		return DROP_BAD_STATE;
	}
	if (paws) {
		MIB(s, TcpExt_PAWSTimewait);
		return timewait_ack(s, w, g, DROP_PAWS, now);
	}
	if (!(g->flags & TH_ACK))
		return g->flags & TH_SYN ? timewait_ack(s, w, g, DROP_OUT_OF_WINDOW, now)
					 : DROP_OUT_OF_WINDOW;
	/* A repeated FIN means that our ACK of it was lost: say it again, wait 2 MSL again. */
	timewait_arm(s, i, now);
	if (g->seq == w->rcv_nxt && !tcp_seg_space(g)) {
		if (w->has_ts && g->o.has_ts)
			w->ts_recent = g->o.ts_val;
		return DROP_NONE;
	}
	return timewait_ack(s, w, g, DROP_NONE, now);
}

bool stack_next_timewait(const struct stack *s, uint32_t *it, struct tcp_addr_pair *a,
			 enum tcp_state *state)
{
	while (*it < s->tw_free.used) {
		const struct timewait *w = &s->tws[(*it)++];

		if (w->used) {
			*a = w->a;
			*state = w->fin_wait2 ? TCP_FIN_WAIT_2 : TCP_TIME_WAIT;
			return true;
		}
	}
	return false;
}

/* Records on the buckets' lists; @n + 1: one that has no business there. */
static uint32_t listed(const struct stack *s, uint32_t n)
{
	uint32_t k = 0;

	for (uint32_t b = 0; b <= s->tw_mask; b++) {
		for (uint32_t i = s->tw_buckets[b]; i; i = s->tws[i - 1].hash_next) {
			const struct timewait *w = &s->tws[i - 1];

			if (!w->used || timewait_bucket(s, &w->a) != b || ++k > n)
				return n + 1;
		}
	}
	return k;
}

int timewait_check(const struct stack *s, char *why, size_t len)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->tw_free.used; i++) {
		const struct timewait *w = &s->tws[i];

		if (!w->used)
			continue;
		n++;
		if (timewait_lookup(s, &w->a) != i)
			return check_fail(why, len, "TIME_WAIT record not found by its pair", i);
		if (w->timer.slot == SHM_NIL)
			return check_fail(why, len, "TIME_WAIT record without timer", i);
		if (conn_lookup(s, &w->a.local, w->a.local_port, &w->a.remote, w->a.remote_port) !=
			    SHM_NIL ||
		    synreq_lookup(s, &w->a) != SHM_NIL)
			return check_fail(why, len, "pair in TIME_WAIT and alive", i);
	}
	if (n != free_list_in_use(&s->tw_free))
		return check_fail(why, len, "TIME_WAIT records lost", n);
	if (s->tws && listed(s, n) != n)
		return check_fail(why, len, "TIME_WAIT records in buckets, other than used", n);
	return 0;
}
