/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Life and death of a TCB: the one setter of its state (RFC 9293 §3.3.2, figure 5), creation, and
 * the ways it ends. A CLOSED TCB is in no table and has no timer; it stays while a program
 * holds it, for its error and unread data.
 */
#include "tcp.h"

#define BIT(st) (1u << TCP_##st)

/* Legal successors of each state. Any may end at once: RST, timeout, abort. */
static const uint16_t state_edges[TCP_STATE_MAX] = {
	[TCP_CLOSED] = BIT(SYN_SENT) | BIT(SYN_RECEIVED),
	[TCP_SYN_SENT] = BIT(CLOSED) | BIT(SYN_RECEIVED) | BIT(ESTABLISHED),
	[TCP_SYN_RECEIVED] = BIT(CLOSED) | BIT(ESTABLISHED),
	[TCP_ESTABLISHED] = BIT(CLOSED) | BIT(FIN_WAIT_1) | BIT(CLOSE_WAIT),
	[TCP_FIN_WAIT_1] = BIT(CLOSED) | BIT(FIN_WAIT_2) | BIT(CLOSING),
	[TCP_FIN_WAIT_2] = BIT(CLOSED) | BIT(TIME_WAIT),
	[TCP_CLOSE_WAIT] = BIT(CLOSED) | BIT(LAST_ACK),
	[TCP_CLOSING] = BIT(CLOSED) | BIT(TIME_WAIT),
	[TCP_LAST_ACK] = BIT(CLOSED),
	[TCP_TIME_WAIT] = BIT(CLOSED),
};

void tcp_curr_estab(struct stack *s, enum tcp_state from, enum tcp_state to)
{
	uint64_t was = from == TCP_ESTABLISHED || from == TCP_CLOSE_WAIT;
	uint64_t is = to == TCP_ESTABLISHED || to == TCP_CLOSE_WAIT;

	s->a.mib[MIB_Tcp_CurrEstab] += is - was;
}

static void count_edge(struct stack *s, const struct tcb *t, enum tcp_state from, enum tcp_state to)
{
	tcp_curr_estab(s, from, to);
	if (to == TCP_SYN_SENT)
		MIB(s, Tcp_ActiveOpens);
	else if (to == TCP_SYN_RECEIVED && t->flags & TCB_F_PASSIVE)
		MIB(s, Tcp_PassiveOpens);
	else if (to == TCP_CLOSED && (from == TCP_SYN_SENT || from == TCP_SYN_RECEIVED))
		MIB(s, Tcp_AttemptFails);
	else if (to == TCP_CLOSED && (from == TCP_ESTABLISHED || from == TCP_CLOSE_WAIT))
		MIB(s, Tcp_EstabResets);
}

static void timers_off(struct stack *s, struct tcb *t)
{
	t->t_rtx = t->t_delack = t->t_keep = 0;
	t->flags &=
		~(TCB_F_ACK_NOW | TCB_F_ACK_DELAYED | TCB_F_PROBING | TCB_F_RTX | TCB_F_RTT_VALID);
	wheel_del(s, TIMER_ID(TK_CONN, tcb_index(s, t)));
}

void tcp_set_state(struct stack *s, struct tcb *t, enum tcp_state to, struct mtime now)
{
	enum tcp_state from = t->state;

	tcp_assert(from < TCP_STATE_MAX && state_edges[from] & 1u << to);
	t->state = (uint8_t)to;
	count_edge(s, t, from, to);
	switch (to) {
	case TCP_ESTABLISHED:
		t->last_rcv = t->last_data = ms_stamp(now);
		break;
	case TCP_FIN_WAIT_2:
		if (t->flags & TCB_F_CLOSED)
			tcp_timer_fin_wait_begin(s, t, now);
		break;
	case TCP_TIME_WAIT:
		t->t_rtx = 0;
		t->t_keep = ms_stamp(mtime_add_ms(now, TCP_TIMEWAIT_S * 1000));
		break;
	case TCP_CLOSED:
		timers_off(s, t);
		conn_table_del(s, tcb_index(s, t));
		break;
	default:
		break;
	}
	if (s->trace)
		s->trace(s->trace_ctx, t, from, to);
}

/* ---- beginning ---- */

void tcp_set_iss(struct tcb *t, uint32_t iss)
{
	t->iss = iss;
	t->snd_una = t->snd_nxt = t->snd_max = t->snd_sml = t->recover = iss;
}

static void tcb_init(struct stack *s, struct tcb *t, const struct tcp_addr_pair *a,
		     struct mtime now)
{
	const struct stack_limits *l = &s->cfg.limits;

	t->local = a->local;
	t->remote = a->remote;
	t->local_port = a->local_port;
	t->remote_port = a->remote_port;
	t->state = TCP_CLOSED;
	tcp_set_iss(t, tcp_isn(s, a, now));
	t->ts_offset = tcp_ts_offset(s, a);
	t->rto = TCP_RTO_INIT_US;
	t->ttl = (uint8_t)l->ip_default_ttl;
	t->sndbuf = l->tcp_wmem[1];
	t->rcvbuf = l->tcp_rmem[1];
	t->rcvlowat = 1;
	t->rcv_wscale = tcp_offer_wscale(s, t->rcvbuf);
	t->opt = (l->tcp_window_scaling ? TCB_OPT_WSCALE : 0) |
		 (l->tcp_timestamps ? TCB_OPT_TS : 0) | (l->tcp_sack ? TCB_OPT_SACK : 0);
	t->keep_idle = (uint16_t)tcp_min(l->tcp_keepalive_time, UINT16_MAX);
	t->keep_intvl = (uint16_t)tcp_min(l->tcp_keepalive_intvl, UINT16_MAX);
	t->keep_cnt = (uint8_t)tcp_min(l->tcp_keepalive_probes, UINT8_MAX);
	t->cc = cc_default(s);
	t->cwnd = cc_initial_window(TCP_MSS_DEFAULT);
	t->ssthresh = INT32_MAX;
	t->last_rcv = t->last_data = ms_stamp(now);
}

uint32_t tcp_conn_create(struct stack *s, const struct tcp_addr_pair *a, struct mtime now)
{
	struct ip_way way = {.neigh = SHM_NIL};
	struct route_result rr;
	struct tcb *t;
	uint32_t i;

	if (route_back(s, a, &rr, &way))
		return SHM_NIL;
	i = tcb_alloc(s);
	if (i == SHM_NIL)
		return SHM_NIL;
	t = tcb_at(s, i);
	tcb_init(s, t, a, now);
	t->netif = (uint8_t)rr.netif;
	t->neigh = way.neigh;
	t->neigh_gen = way.neigh_gen;
	if (s->cfg.role == STACK_APP)
		t->sockopt |= TCB_BORN_HERE | TCB_BORN_UNTOLD;
	t->mss = (uint16_t)tcp_min(tcp_mtu_mss(rr.mtu, &a->remote), TCP_MSS_ROOM);
	t->rcv_mss = (uint16_t)tcp_min(t->mss, TCP_MSS_DEFAULT);
	conn_table_add(s, i);
	return i;
}

/* RFC 9293 §3.7.1: what a peer that says nothing can take. */
static uint32_t default_mss(const struct tcb *t)
{
	return ip_addr_is_v4(&t->remote) ? TCP_MSS_DEFAULT : 1220;
}

void tcp_syn_received(struct stack *s, struct tcb *t, uint32_t irs, const struct tcp_options *o,
		      struct mtime now)
{
	uint32_t mss = o->mss ? o->mss : default_mss(t);

	if (t->user_mss)
		mss = tcp_min(mss, t->user_mss);
	mss = tcp_max(mss, TCP_MSS_MIN);
	t->mss_clamp = (uint16_t)tcp_min(mss, TCP_MSS_ROOM);
	t->mss = (uint16_t)tcp_max(tcp_min(mss, t->mss), TCP_MSS_MIN);

	t->irs = irs;
	t->rcv_nxt = t->last_ack_sent = irs + 1;
	t->rcv_adv = t->rcv_nxt + tcp_syn_window(t->rcvbuf);
	if (o->has_ts && t->opt & TCB_OPT_TS) {
		t->ts_recent = o->ts_val;
		t->ts_recent_ms = tcp_ts_now(s, now);
	} else {
		t->opt &= (uint8_t)~TCB_OPT_TS;
	}
	if (!o->sack_ok)
		t->opt &= (uint8_t)~TCB_OPT_SACK;
	if (o->has_wscale && t->opt & TCB_OPT_WSCALE) {
		t->snd_wscale = o->wscale & 15;
	} else {
		t->opt &= (uint8_t)~TCB_OPT_WSCALE;
		t->rcv_wscale = 0;
	}
	t->rcv_mss = (uint16_t)tcp_min(t->mss, TCP_MSS_DEFAULT);
	t->cwnd = cc_initial_window(tcp_eff_mss(t));
}

void tcp_established(struct stack *s, struct tcb *t, const struct tcp_seg *g, struct mtime now)
{
	if (t->flags & TCB_F_RTT_VALID)
		tcp_rtt_sample(t, us_stamp(now) - tcb_work(t)->rtt_time, now);
	if (t->syn_retries && !t->srtt) /* RFC 6298 §5.7 */
		t->rto = TCP_RTO_FALLBACK_US;
	/* RFC 5681 §3.1, but RFC 6928 §2: once may have been too early, or chance */
	if (t->syn_retries > 1)
		t->cwnd = tcp_eff_mss(t);
	t->flags &= ~TCB_F_RTT_VALID;
	fastopen_synack(s, t, g, now);
	t->t_rtx = t->rtx_first = 0;
	t->backoff = 0;
	t->quick = QUICK_ACKS; /* until the peer's slow start is under way */
	t->snd_una = g->ack;
	t->snd_nxt = seq_max(t->snd_nxt, t->snd_una);
	cc_of(s, t)->init(t, now);
	/* RFC 7323 §2.2: the window field of a SYN is not scaled */
	t->snd_wnd = g->flags & TH_SYN ? g->wnd : (uint32_t)g->wnd << t->snd_wscale;
	t->max_window = t->snd_wnd;
	t->snd_wl1 = g->seq;
	t->snd_wl2 = g->ack;
	tcp_set_state(s, t, TCP_ESTABLISHED, now);
	tcp_sndbuf_tune(s, t);
	tcp_event(s, t, EV_WRITABLE | (t->flags & TCB_F_PASSIVE ? 0 : EV_CONNECTED));
	/* close() or shutdown() came before: now the FIN may go. */
	if (t->flags & TCB_F_FIN_QUEUED)
		tcp_set_state(s, t, TCP_FIN_WAIT_1, now);
}

/* ---- end ---- */

/* Takes @conn out of a list that is linked through the records of work. */
static void unlink_from(struct stack *s, uint32_t *head, uint32_t *tail, uint32_t conn, size_t link)
{
	uint32_t prev = SHM_NIL, i = *head, *next;

	while (i != SHM_NIL && i != conn) {
		prev = i;
		i = *(uint32_t *)((uint8_t *)tcb_work(tcb_at(s, i)) + link);
	}
	tcp_assert(i == conn);
	next = (uint32_t *)((uint8_t *)tcb_work(tcb_at(s, conn)) + link);
	if (prev == SHM_NIL)
		*head = *next;
	else
		*(uint32_t *)((uint8_t *)tcb_work(tcb_at(s, prev)) + link) = *next;
	if (*tail == conn)
		*tail = prev;
	*next = SHM_NIL;
}

void tcp_unlink(struct stack *s, struct tcb *t)
{
	uint32_t i = tcb_index(s, t);

	conn_table_del(s, i);
	wheel_del(s, TIMER_ID(TK_CONN, i));
	if (t->flags & TCB_F_OUT_QUEUED)
		unlink_from(s, &s->out_head, &s->out_tail, i, offsetof(struct tcb_work, out_next));
	if (t->flags & TCB_F_EV_QUEUED)
		unlink_from(s, &s->ev_head, &s->ev_tail, i, offsetof(struct tcb_work, ev_next));
	if (t->flags & TCB_F_ACCEPT_QUEUED)
		accept_queue_remove(s, t);
	t->flags &= ~(TCB_F_OUT_QUEUED | TCB_F_EV_QUEUED);
}

void tcp_conn_free(struct stack *s, struct tcb *t, struct mtime now)
{
	bool time_wait = t->state == TCP_TIME_WAIT, orphan = t->flags & TCB_F_CLOSED;
	struct stack_ev ev = {
		.mask = EV_FREED | (t->sockopt & TCB_BORN_UNTOLD ? EV_LOCAL : 0),
		.conn = tcb_index(s, t),
		.generation = t->generation,
		.listener = SHM_NIL,
		.cookie = tcb_cookie(t),
		.pair = tcb_pair(t),
	};

	if (t->state != TCP_CLOSED)
		tcp_set_state(s, t, TCP_CLOSED, now);
	tcp_unlink(s, t);
	tcp_buf_release(s, t);
	tcb_release(s, ev.conn);
	if (!orphan)
		return;
	s->n_orphans--;
	if (!time_wait) /* its record reports the end */
		stack_report(s, &ev);
}

void tcp_conn_drop(struct stack *s, struct tcb *t, int err, struct mtime now)
{
	uint32_t ev = EV_READABLE | EV_WRITABLE | EV_HUP | EV_RDHUP;

	if (t->state != TCP_CLOSED)
		tcp_set_state(s, t, TCP_CLOSED, now);
	/* One that waits to be accepted goes on waiting: accept(2) returns it, as Linux does. */
	if (t->flags & TCB_F_CLOSED) {
		tcp_conn_free(s, t, now);
		return;
	}
	if (t->flags & TCB_F_ACCEPT_QUEUED && t->opt & TCB_OPT_SYNACK) {
		t->opt &= (uint8_t)~(TCB_OPT_SYNACK | TCB_OPT_FASTOPEN);
		tcp_fastopen_done(s, t->listener);
	}
	if (err) {
		t->err = (uint8_t)err;
		ev |= EV_ERROR;
	}
	tcp_buf_release_unread(s, t);
	tcp_event(s, t, ev);
}

/* The last ACK of an orphan's connection, whose TCB gives way to a record. */
static void time_wait_ack(struct stack *s, struct tcb *t, struct mtime now)
{
	struct tcp_addr_pair a = tcb_pair(t);
	struct tcp_options o = {
		.has_ts = t->opt & TCB_OPT_TS,
		.ts_val = tcp_ts_now(s, now) + t->ts_offset,
		.ts_ecr = t->ts_recent,
	};

	tcp_send_bare(s, &a, t->snd_max, t->rcv_nxt, TH_ACK,
		      (uint16_t)(tcp_rcv_wnd(t) >> t->rcv_wscale), &o, t->queue, now);
}

/* STACK_APP: has what enters TIME_WAIT its record here, or is it handed over? */
static bool record_here(const struct stack *s, const struct tcb *t)
{
	struct tcp_addr_pair a = tcb_pair(t);
	uint32_t i;

	if (t->sockopt & TCB_BORN_UNTOLD)
		return true;
	i = listener_lookup(s, &t->local, t->local_port);
	return i != SHM_NIL && s->listeners[i].keeps &&
	       (!(t->opt & TCB_OPT_TS) || t->ts_offset == tcp_ts_offset_app(s, &a));
}

void tcp_time_wait(struct stack *s, struct tcb *t, struct mtime now)
{
	bool entered = t->state != TCP_TIME_WAIT;

	if (entered)
		tcp_set_state(s, t, TCP_TIME_WAIT, now);
	if (!(t->flags & TCB_F_CLOSED)) {
		tcp_event(s, t, EV_HUP);
		return;
	}
	if (s->cfg.role != STACK_FULL && !record_here(s, t)) {
		if (entered)
			stack_report(s, &(struct stack_ev){.mask = EV_TIMEWAIT,
							   .conn = tcb_index(s, t),
							   .generation = t->generation,
							   .listener = SHM_NIL,
							   .cookie = tcb_cookie(t),
							   .pair = tcb_pair(t)});
		return;
	}
	if (t->flags & (TCB_F_ACK_NOW | TCB_F_ACK_DELAYED))
		time_wait_ack(s, t, now);
	timewait_enter(s, t, now);
}

void tcp_told(struct stack *s, uint32_t conn, bool counted)
{
	if (tcp_get(s, conn))
		tcb_at(s, conn)->sockopt &=
			(uint16_t) ~(TCB_BORN_UNTOLD | (counted ? TCB_BORN_HERE : 0));
}

void tcp_abort_on_data(struct stack *s, struct tcb *t, struct mtime now)
{
	struct tcp_addr_pair a = tcb_pair(t);
	struct tcp_options none = {0};

	MIB(s, TcpExt_TCPAbortOnData);
	if (t->flags & TCB_F_CLOSED) {
		tcp_reset_orphan(s, t, now);
		return;
	}
	MIB(s, Tcp_OutRsts);
	tcp_send_bare(s, &a, t->snd_max, t->rcv_nxt, TH_RST | TH_ACK, 0, &none, t->queue, now);
	tcp_conn_drop(s, t, E_CONNRESET, now);
}

void tcp_reset_orphan(struct stack *s, struct tcb *t, struct mtime now)
{
	if (t->state == TCP_CLOSED || t->state == TCP_SYN_SENT || t->state == TCP_TIME_WAIT) {
		tcp_conn_free(s, t, now);
		return;
	}
	tcp_set_state(s, t, TCP_CLOSED, now);
	tcp_buf_release(s, t);
	t->flags |= TCB_F_RST_SEND;
	tcp_want_output(s, t);
}

void tcp_event(struct stack *s, struct tcb *t, uint32_t mask)
{
	uint32_t i = tcb_index(s, t);

	if (t->flags & TCB_F_CLOSED)
		return;
	t->ev_mask |= mask;
	if (t->flags & TCB_F_EV_QUEUED)
		return;
	t->flags |= TCB_F_EV_QUEUED;
	tcb_work_get(s, t)->ev_next = SHM_NIL;
	if (s->ev_tail == SHM_NIL)
		s->ev_head = i;
	else
		tcb_work(tcb_at(s, s->ev_tail))->ev_next = i;
	s->ev_tail = i;
}
