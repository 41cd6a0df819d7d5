/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Text and FIN of received segments, and what to acknowledge when (RFC 9293 §3.10.7.4, seventh and
 * eighth; RFC 5681 §4.2; delayed ACKs of RFC 1122 §4.2.3.2). Also the growth of the receive
 * buffer with what the program reads.
 */
#include "tcp.h"

/* ---- acknowledging ---- */

void tcp_ack_now(struct tcb *t)
{
	t->flags |= TCB_F_ACK_NOW;
}

/* Out of order, or filling a hole: each such segment gets an ACK of its own, also in a batch. */
static void ack_each(struct tcb *t)
{
	if (t->flags & TCB_F_ACK_NOW && t->ack_owed < UINT8_MAX)
		t->ack_owed++;
	tcp_ack_now(t);
}

/* The largest segment seen, as far as our own MTU lets us believe it. */
static void rcv_mss_learn(const struct stack *s, struct tcb *t, uint32_t len)
{
	if (len > t->rcv_mss)
		t->rcv_mss =
			(uint16_t)tcp_min(len, tcp_mtu_mss(s->netifs[t->netif].mtu, &t->remote));
}

void tcp_quick_acks(struct tcb *t)
{
	t->quick = (uint8_t)tcp_max(t->quick, QUICK_ACKS);
}

/* Text once more that we have: waiting for company has made our ACK late, or it was lost. */
void tcp_duplicate_received(struct stack *s, struct tcb *t)
{
	MIB(s, TcpExt_DelayedACKLost);
	t->flags &= ~TCB_F_PINGPONG;
	tcp_quick_acks(t);
}

/*
 * As Linux's ato: half of it and the gap between segments, so that it settles at twice the gap. It
 * is kept coarsely, as what it takes beyond the least.
 */
#define ATO_STEP_MS 11u

static uint32_t ato_get(const struct tcb *t)
{
	return tcp_min(TCP_DELACK_MS + t->ato * ATO_STEP_MS, TCP_DELACK_MAX_MS);
}

static void ato_set(struct tcb *t, uint32_t ms)
{
	ms = tcp_min(tcp_min(ms, t->rto / MS_TO_US), TCP_DELACK_MAX_MS);
	t->ato = ms > TCP_DELACK_MS ? (ms - TCP_DELACK_MS) / ATO_STEP_MS & 15 : 0;
}

/*
 * Longer than a round trip would only make the peer's timers expire: a loss probe's is two and a
 * little (RFC 8985 §7.2). Of who has only received since a SYN cookie it is not known.
 */
uint32_t tcp_delack_ms(const struct tcb *t)
{
	return tcp_min(ato_get(t), tcp_max(t->srtt / MS_TO_US, TCP_DELACK_MS));
}

void tcp_delack_learn(struct tcb *t, uint32_t ms)
{
	uint32_t ato = ato_get(t);

	if (ms <= TCP_DELACK_MS / 2)
		ato_set(t, ato / 2 + TCP_DELACK_MS / 2);
	else if (ms < ato)
		ato_set(t, ato / 2 + ms);
	else if (ms > t->rto / MS_TO_US) /* it begins again: slowly, and waits for our ACKs */
		tcp_quick_acks(t);
}

/* The program did not answer in time: not a dialogue. Without one, more company may come later. */
void tcp_delack_missed(struct tcb *t)
{
	ato_set(t, t->flags & TCB_F_PINGPONG ? TCP_DELACK_MS : 2 * ato_get(t));
	t->flags &= ~TCB_F_PINGPONG;
}

/* @t->t_delack as it is or, where that is earlier, by what is known now; soon means now. */
static void ack_wait(struct tcb *t, struct mtime now)
{
	uint32_t ms = tcp_delack_ms(t);
	uint64_t due = mtime_add_ms(now, ms).ns, had = ms_time(t->t_delack, now).ns;

	if (t->flags & TCB_F_ACK_DELAYED && had <= mtime_add_ms(now, ms / 4).ns)
		tcp_ack_now(t);
	else if (!(t->flags & TCB_F_ACK_DELAYED) || due < had)
		t->t_delack = ms_stamp((struct mtime){due});
	t->flags |= TCB_F_ACK_DELAYED;
}

/*
 * At once: more than one full segment, the first segments of a connection (its peer is in slow
 * start), unless answers carry the ACKs anyway. Else it waits for company.
 */
static void ack_schedule(const struct stack *s, struct tcb *t, uint32_t len, struct mtime now)
{
	rcv_mss_learn(s, t, len);
	if (t->flags & TCB_F_ACK_NOW)
		return;
	if (t->rcv_nxt - t->last_ack_sent > t->rcv_mss) {
		tcp_ack_now(t);
	} else if (t->quick && !(t->flags & TCB_F_PINGPONG)) {
		t->quick--;
		tcp_ack_now(t);
	} else {
		ack_wait(t, now);
	}
}

/* ---- receive buffer auto-tuning ---- */

/*
 * As Linux's: the window is to be ahead of what the program reads in a round trip. A peer in slow
 * start sends twice as much in the next one, and hears of a larger window another half later, so it
 * is four times that. Text behind a hole cannot be read, but goes on to come: where SACK lets
 * the peer send it, what there is of it is added.
 *
 * Growth stops at tcp_rmem[2], at what the window scale can express, and under memory pressure.
 */
#define AUTOTUNE_MIN_MS 10u
#define RCV_RTT_MAX_MS 4095u

static uint32_t rcvbuf_max(const struct stack *s, const struct tcb *t)
{
	return tcp_min(s->cfg.limits.tcp_rmem[2], 2 * (65535u << t->rcv_wscale));
}

static bool rcvbuf_may_grow(const struct stack *s, const struct tcb *t)
{
	return !(t->sockopt & TCB_RCVBUF_LOCK) && !s->mem_pressure && t->rcvbuf < rcvbuf_max(s, t);
}

static void rcvbuf_grow(const struct stack *s, struct tcb *t, uint64_t wnd)
{
	uint32_t max = rcvbuf_max(s, t), want = wnd < max / 2 ? 2 * (uint32_t)wnd : max;

	t->rcvbuf = tcp_max(t->rcvbuf, want);
}

static uint32_t rcv_rtt_ms(const struct tcb *t)
{
	if (t->rcv_rtt || !t->srtt)
		return t->rcv_rtt;
	return tcp_min(tcp_max(t->srtt / MS_TO_US, 1), RCV_RTT_MAX_MS);
}

/*
 * The peer echoes the time of our last ACK that it had: a full segment that comes soon is a round
 * trip behind it. The least counts at once, more once a round, as the peer may have waited for
 * something else.
 */
static void rcv_rtt_learn(const struct stack *s, struct tcb *t, const struct tcp_seg *g,
			  struct mtime now)
{
	uint32_t ms, had = rcv_rtt_ms(t);

	if (g->len < t->rcv_mss || !(t->opt & TCB_OPT_TS) || !g->o.ts_ecr || !rcvbuf_may_grow(s, t))
		return;
	ms = tcp_ts_now(s, now) + t->ts_offset - g->o.ts_ecr;
	if (ms > RCV_RTT_MAX_MS)
		return;
	ms = tcp_max(ms, 1);
	if (!had || ms < had)
		t->rcv_rtt = ms & RCV_RTT_MAX_MS;
	else if ((uint16_t)((uint16_t)(now.ns / NS_PER_MS) - t->rd_ms) >= had)
		t->rcv_rtt = (had + (ms - had + 7) / 8) & RCV_RTT_MAX_MS;
}

/* The program has read @n bytes. */
static void rcvbuf_read(const struct stack *s, struct tcb *t, uint32_t n, struct mtime now)
{
	uint32_t rtt = rcv_rtt_ms(t);
	uint16_t ms = (uint16_t)(now.ns / NS_PER_MS), took;

	if (!rcvbuf_may_grow(s, t))
		return;
	if (!t->rd_bytes)
		t->rd_ms = ms;
	took = (uint16_t)(ms - t->rd_ms);
	t->rd_bytes += n;
	if (!rtt) { /* nothing tells but how long a whole window takes */
		if (t->rd_bytes < t->rcvbuf / 2)
			return;
		t->rcv_rtt = tcp_min(tcp_max(took, 1), RCV_RTT_MAX_MS) & RCV_RTT_MAX_MS;
	}
	if (rtt && took > tcp_max(rtt, AUTOTUNE_MIN_MS)) {
		t->rd_ms = ms;
		t->rd_bytes = 0;
		return;
	}
	rcvbuf_grow(s, t, 4ull * t->rd_bytes);
}

/* ... and [rcv_nxt, @end) waits for what is missing of it. */
static void rcvbuf_hole(const struct stack *s, struct tcb *t, uint32_t end)
{
	/* Without SACK an ACK that changes the window is not a duplicate (RFC 5681 §2). */
	if (t->opt & TCB_OPT_SACK && rcvbuf_may_grow(s, t))
		rcvbuf_grow(s, t, t->rcvbuf / 4 + (end - t->rcv_nxt));
}

/* ---- text ---- */

/* As Linux's tcp_prune_queue(): what was not acknowledged makes room, from @seq on. */
static bool prune(struct stack *s, struct tcb *t, uint32_t seq)
{
	MIB(s, TcpExt_PruneCalled);
	if (!tcp_buf_prune_ooo(s, t, seq))
		return false;
	MIB(s, TcpExt_OfoPruned);
	return true;
}

/* Queues what it can of @g; where memory is short, at the cost of what is not in order. */
static uint32_t queue_in_order(struct stack *s, struct tcb *t, const struct tcp_seg *g)
{
	uint32_t n = 0;

	if (!s->mem_pressure && g->len <= CHUNK_SIZE) { /* it needs two chunks at most */
		n = rxq_append(s, t, g->p, g->data_off, g->len);
		if (n == g->len)
			return n;
	}
	do {
		uint32_t len = tcp_min(g->len - n, tcp_mem_in_order(s, t));

		n += rxq_append(s, t, g->p, g->data_off + n, len);
		if (n == g->len)
			return n;
	} while (prune(s, t, t->rcv_nxt));
	MIB(s, TcpExt_RcvPruned);
	return n;
}

/*
 * For what was promised there is no memory. As Linux, at the cost of SHLD-14: a window of 0 keeps the
 * peer from sending again and again in vain, and is opened when something is read; of a promise kept
 * there would be nothing to tell then, and the peer's timeouts double.
 */
static void shut(struct tcb *t)
{
	if (t->ooo_head == SHM_NIL)
		t->rcv_adv = t->rcv_nxt;
}

void tcp_data_in_order(struct stack *s, struct tcb *t, const struct tcp_seg *g, struct mtime now)
{
	bool hole = t->ooo_head != SHM_NIL;
	uint32_t before = t->rx_bytes, n;

	if (t->opt & TCB_OPT_ECN)
		tcp_ecn_in(s, t, g, now);
	rcv_rtt_learn(s, t, g, now);
	n = queue_in_order(s, t, g);
	t->rcv_nxt += n;
	if (n < g->len) {
		MIB(s, TcpExt_TCPRcvQDrop);
		tcp_ack_now(t);
		shut(t);
	}
	if (hole) {
		ooo_merge(s, t);
		tcp_ack_now(t); /* RFC 5681 §4.2 */
	}
	t->bytes_received += t->rx_bytes - before;
	ack_schedule(s, t, g->len, now);
	if (tcp_urg_readable(t) >= t->rcvlowat)
		tcp_event(s, t, EV_READABLE);
}

static void data_out_of_order(struct stack *s, struct tcb *t, const struct tcp_seg *g,
			      struct mtime now)
{
	uint32_t had;

	tcp_ecn_in(s, t, g, now);
	rcv_mss_learn(s, t, g->len);
	if (s->mem_pressure && !tcp_mem_out_of_order(s, t) && !prune(s, t, g->seq + g->len - 1))
		MIB(s, TcpExt_RcvPruned);
	had = t->ooo_bytes;
	if (ooo_insert(s, t, g->seq, g->p, g->data_off, g->len)) {
		MIB(s, TcpExt_TCPOFOQueue);
		tcb_rare(s, t)->rcv_ooopack++;
		if (t->ooo_bytes != had)
			rcvbuf_hole(s, t, g->seq + g->len);
		else
			MIB(s, TcpExt_TCPOFOMerge); /* all of it was there */
	} else {
		MIB(s, TcpExt_TCPOFODrop);
	}
	ack_each(t);
}

/* Cuts @g to what is new and in the window. False: nothing is left of it. */
static bool trim(struct stack *s, struct tcb *t, struct tcp_seg *g)
{
	uint32_t old, over;

	if (seq_lt(g->seq, t->rcv_nxt)) {
		old = tcp_min(t->rcv_nxt - g->seq, g->len);
		tcp_dsack(s, t, g->seq, g->seq + old);
		g->seq += old;
		g->data_off += old;
		g->len -= old;
		tcp_ack_now(t); /* a retransmission: our ACK may have been lost */
	}
	over = seq_gt(g->seq + g->len, t->rcv_adv) ? g->seq + g->len - t->rcv_adv : 0;
	if (over) {
		if (over == g->len && t->rcv_adv == t->rcv_nxt)
			MIB(s, TcpExt_TCPZeroWindowDrop);
		g->len -= tcp_min(over, g->len);
		g->flags &= (uint8_t)~TH_FIN;
		if (!g->len || g->seq == t->rcv_nxt) /* behind a hole it gets one anyway */
			tcp_ack_now(t);
	}
	return g->len || g->flags & TH_FIN;
}

/* ---- FIN ---- */

/* The peer's FIN is next in sequence. @t may be gone after it. */
static void fin_received(struct stack *s, struct tcb *t, struct mtime now)
{
	t->rcv_nxt++;
	t->rcv_adv = seq_max(t->rcv_adv, t->rcv_nxt);
	t->flags = (t->flags & ~TCB_F_FIN_OOO) | TCB_F_FIN_RCVD;
	tcp_buf_release_ooo(s, t);
	tcp_ack_now(t);
	tcp_event(s, t, EV_READABLE | EV_RDHUP);
	switch (t->state) {
	case TCP_ESTABLISHED:
		tcp_set_state(s, t, TCP_CLOSE_WAIT, now);
		break;
	case TCP_FIN_WAIT_1:
		tcp_set_state(s, t, TCP_CLOSING, now);
		break;
	default: /* FIN_WAIT_2, by tcp_can_receive() */
		tcp_time_wait(s, t, now);
		break;
	}
}

/* Remembers a FIN that came before the data in front of it; the lowest one counts. */
static void fin_out_of_order(struct stack *s, struct tcb *t, const struct tcp_seg *g)
{
	uint32_t seq = g->seq + g->len;

	if (!(t->flags & TCB_F_FIN_OOO) || seq_lt(seq, tcb_work(t)->fin_seq))
		tcb_work_get(s, t)->fin_seq = seq;
	t->flags |= TCB_F_FIN_OOO;
	if (!g->len) /* else its text has asked: not two for one segment (RFC 5681 §4.2) */
		ack_each(t);
}

/*
 * Data for a program that is gone: what it says nobody will ever read (RFC 9293 §3.6.1, RFC 2525
 * §2.17). Also where only both directions were shut down, as Linux does.
 */
static bool nobody_reads(const struct tcb *t, const struct tcp_seg *g)
{
	return g->len && seq_gt(g->seq + g->len, t->rcv_nxt) &&
	       (t->flags & TCB_F_CLOSED ||
		(t->flags & TCB_F_RD_SHUT && t->state != TCP_ESTABLISHED));
}

enum drop tcp_segment_text(struct stack *s, struct tcb *t, struct tcp_seg *g, struct mtime now)
{
	uint32_t end;

	if (!tcp_can_receive(t) || !(g->len || g->flags & TH_FIN))
		return DROP_NONE;
	if (nobody_reads(t, g)) {
		tcp_abort_on_data(s, t, now);
		return DROP_BAD_STATE;
	}
	if (!trim(s, t, g))
		return DROP_OUT_OF_WINDOW;
	if (g->len && g->seq == t->rcv_nxt)
		tcp_data_in_order(s, t, g, now);
	else if (g->len)
		data_out_of_order(s, t, g, now);
	end = g->seq + g->len;
	if (g->flags & TH_FIN && seq_gt(end, t->rcv_nxt))
		fin_out_of_order(s, t, g);
	if ((g->flags & TH_FIN && end == t->rcv_nxt) ||
	    (t->flags & TCB_F_FIN_OOO && tcb_work(t)->fin_seq == t->rcv_nxt))
		fin_received(s, t, now);
	return DROP_NONE;
}

/* ---- the program reads ---- */

void tcp_data_read(struct stack *s, struct tcb *t, uint32_t n, struct mtime now)
{
	uint32_t cur = tcp_rcv_wnd(t), buf, space;

	rcvbuf_read(s, t, n, now);
	buf = t->rcvbuf / 2;
	space = tcp_mem_window(s, t, buf > t->rx_bytes ? buf - t->rx_bytes : 0);
	if (!tcp_can_receive(t) || space < 2 * cur ||
	    space - cur < tcp_min(buf / 2, 2u * t->rcv_mss))
		return;
	/* The window would double: worth an ACK of its own. */
	tcp_ack_now(t);
	tcp_kick(s, t, now);
}
