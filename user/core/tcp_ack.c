/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What an acknowledgement does: round-trip times, the send queue, loss recovery, the peer's
 * window. Loss recovery here is New Reno, for peers without SACK (else tcp_rack.c); what it decides
 * (retransmit, cwnd during recovery) is here, how cwnd grows and shrinks is the congestion
 * control's (cc.c).
 *
 * RFC 6298 (RTO), RFC 7323 §4 (RTT from timestamps), RFC 5681 and RFC 6582 (fast retransmit and
 * recovery), RFC 9293 §3.10.7.4 (window update). t->recover is one beyond the highest number sent
 * when recovery began, where RFC 6582's "recover" is that number itself.
 */
#include "board.h"

/* ---- round trips ---- */

/*
 * RFC 6298 §2. As Linux, the variance counts for at least the minimal RTO, so that the peer's
 * delayed ACK does not cause a retransmission.
 */
void tcp_rtt_sample(struct tcb *t, uint32_t us, struct mtime now)
{
	uint32_t var;

	us = tcp_min(tcp_max(us, 1), TCP_RTO_MAX_US);
	tcp_rtt_least(t, us, now);
	if (!t->srtt) {
		t->srtt = us;
		t->rttvar = us / 2;
	} else {
		uint32_t delta = us > t->srtt ? us - t->srtt : t->srtt - us;

		t->rttvar = t->rttvar - t->rttvar / 4 + delta / 4;
		t->srtt = tcp_max(t->srtt - t->srtt / 8 + us / 8, 1);
	}
	var = tcp_max(4 * tcp_min(t->rttvar, TCP_RTO_MAX_US / 4), TCP_RTO_MIN_US);
	t->rto = tcp_min(t->srtt + var, TCP_RTO_MAX_US);
}

/*
 * The round trip that this ACK shows, in µs; 0: none. A segment that we timed ourselves is the most
 * precise; after a retransmission only timestamps tell which copy is acknowledged (Karn).
 */
static uint32_t ack_rtt(const struct stack *s, struct tcb *t, const struct tcp_seg *g,
			struct mtime now)
{
	uint32_t ms;

	if (t->flags & TCB_F_RTT_VALID) {
		if (seq_lt(g->ack, tcb_work(t)->rtt_seq))
			return 0;
		t->flags &= ~TCB_F_RTT_VALID;
		return tcp_max(us_stamp(now) - tcb_work(t)->rtt_time, 1);
	}
	if (!(t->opt & TCB_OPT_TS) || !g->o.has_ts || !g->o.ts_ecr)
		return 0;
	ms = tcp_ts_now(s, now) + t->ts_offset - g->o.ts_ecr;
	if (ms > TCP_RTO_MAX_US / MS_TO_US) /* not one of ours, or from before a wrap */
		return 0;
	return tcp_max(ms, 1) * MS_TO_US;
}

/* ---- recovery ---- */

static void recovery_enter(struct stack *s, struct tcb *t, struct mtime now)
{
	uint32_t mss = tcp_eff_mss(t);

	MIB(s, TcpExt_TCPRenoRecovery);
	reno_undo_begin(s, t, now);
	/* What limited transmit has sent beyond cwnd does not count (RFC 5681 §3.2, step 2). */
	cc_of(s, t)->loss(t, tcp_min(t->snd_nxt - t->snd_una, t->cwnd), now);
	t->recover = t->snd_max;
	t->cwnd = t->ssthresh + 3 * mss;
	t->cc_state = CC_RECOVERY;
	t->flags |= TCB_F_RTX;
	t->flags &= ~TCB_F_RTT_VALID;
}

/*
 * RFC 6582 §3.2, step 3. The timer restarts with each partial ACK ("slow but steady"): several
 * losses in a window then cost a round trip each rather than an RTO.
 */
static void recovery_ack(struct tcb *t, uint32_t acked)
{
	uint32_t mss = tcp_eff_mss(t), flight = t->snd_nxt - t->snd_una;

	if (seq_ge(t->snd_una, t->recover)) {
		t->cwnd = tcp_min(t->ssthresh, tcp_max(flight, mss) + mss);
		t->cc_state = CC_OPEN;
		t->flags &= ~TCB_F_RTX;
		return;
	}
	t->cwnd = t->cwnd > acked + mss ? t->cwnd - acked : mss;
	if (acked >= mss)
		t->cwnd += mss;
	t->flags |= TCB_F_RTX;
}

static void cwnd_ack(struct stack *s, struct tcb *t, const struct tcp_seg *g,
		     const struct cc_ack *a, struct mtime now)
{
	if (!reno_undo_ack(s, t, g, now) && t->cc_state == CC_RECOVERY) {
		recovery_ack(t, a->acked);
		return;
	}
	if (t->cc_state == CC_LOSS && seq_ge(t->snd_una, t->recover))
		t->cc_state = CC_OPEN;
	/* An old mark is drawn along: 2 GB further on it would look like a new one. */
	if (seq_gt(t->snd_una, t->recover))
		t->recover = t->snd_una - 1;
	cc_of(s, t)->ack(t, a, now);
}

/* What it was that has not helped, as Linux tells them apart. */
static void count_failure(struct stack *s, const struct tcb *t, const struct board *b)
{
	bool sack = t->opt & TCB_OPT_SACK;

	if (t->cc_state == CC_RECOVERY)
		mib_inc(s, sack ? MIB_TcpExt_TCPSackRecoveryFail : MIB_TcpExt_TCPRenoRecoveryFail);
	else if (t->cc_state == CC_LOSS)
		MIB(s, TcpExt_TCPLossFailures);
	else if (b ? b->sacked : t->dupacks)
		mib_inc(s, sack ? MIB_TcpExt_TCPSackFailures : MIB_TcpExt_TCPRenoFailures);
}

static void count_rto(struct stack *s, struct tcb *t, const struct board *b)
{
	struct tcb_rare *r = tcb_rare(s, t);

	if (!t->rtx_first)
		count_failure(s, t, b);
	r->rtos += r->rtos < UINT16_MAX;
	r->rto_recoveries += !t->rtx_first && r->rto_recoveries < UINT16_MAX;
}

/*
 * The way may have changed (RFC 1122 §3.3.1.4): it is looked up again at each timeout, and from R1
 * on the neighbour is asked, too. An application has who knows about both do that (tcp_set_way()).
 */
static void way_doubted(struct stack *s, struct tcb *t, struct mtime now)
{
	bool r1 = tcp_timer_way_doubted(s, t, now);

	if (s->cfg.role == STACK_FULL) {
		if (r1 && t->neigh < s->a.n_neighs &&
		    s->a.neighs[t->neigh].generation == t->neigh_gen)
			neigh_doubt(s, t->neigh, now);
		if (tcp_way_again(s, t, now))
			tcp_way_moved(s, t);
	} else if (r1) {
		tcp_event(s, t, EV_WAY);
	}
}

void tcp_rto_expired(struct stack *s, struct tcb *t, struct mtime now)
{
	struct board *b = tcp_board(s, t);

	uint8_t was = t->cc_state;

	MIB(s, TcpExt_TCPTimeouts);
	count_rto(s, t, b);
	if (b) {
		frto_begin(t, b, was);
		if (!t->rtx_first && was != CC_RECOVERY)
			undo_begin(s, t, b);
		tcp_rack_rto(s, t, b, now);
	} else {
		reno_frto_begin(t, was);
		if (!t->rtx_first && was != CC_RECOVERY)
			reno_undo_begin(s, t, now);
		t->snd_nxt = t->snd_una;
	}
	/*
	 * RFC 5681 §3.1: of the same segment's further timeouts only the first lowers ssthresh. As
	 * in Linux neither does one during fast recovery, which has lowered it for this window.
	 */
	if (!t->rtx_first) {
		if (was != CC_RECOVERY || cc_get(t->cc)->control)
			cc_of(s, t)->timeout(t, tcp_min(t->snd_max - t->snd_una, t->cwnd), now);
		t->rtx_first = ms_stamp(now);
	}
	/* One segment more than what is not lost (RFC 5681 §3.1, as in Linux). */
	t->cwnd = tcp_eff_mss(t) + (b ? board_pipe(t, b) : 0);
	t->cc_state = CC_LOSS;
	t->recover = t->snd_max;
	t->dupacks = 0;
	t->flags &= ~(TCB_F_RTX | TCB_F_RTT_VALID);
	t->backoff += tcp_rto_us(t) < TCP_RTO_MAX_US;
	t->t_rtx = tcp_timer_clamp_user(t, mtime_add_us(now, tcp_rto_us(t)).ns, now);
	way_doubted(s, t, now);
}

/* ---- acknowledgements ---- */

/* A writer waits, and with all that it has written cwnd would not be filled. */
static bool held_by_buffer(const struct stack *s, const struct tcb *t)
{
	const struct board *b;
	uint32_t out;

	if (!(t->flags & TCB_F_TX_FULL))
		return false;
	b = tcp_board(s, t);
	out = b ? board_pipe(t, b) : t->snd_max - t->snd_una;
	return (uint64_t)out + tcp_queue_end(t) - t->snd_nxt < t->cwnd;
}

/*
 * As cwnd grows, unless memory is short. What is lost twice holds back all that was sent after it, so
 * that the queue may need some windows of sent text: as many as Linux comes to, where it is two
 * windows, or three with BBR, of segments that count for three times what they carry. A model of the
 * path sends on at its rate while that is repaired; others often have no need of more than three.
 */
void tcp_sndbuf_tune(const struct stack *s, struct tcb *t)
{
	uint32_t windows = cc_get(t->cc)->control ? 9 : held_by_buffer(s, t) ? 6 : 3;
	uint64_t want = (uint64_t)t->cwnd * windows;

	if (want <= t->sndbuf || t->sockopt & TCB_SNDBUF_LOCK || s->mem_pressure)
		return;
	want = want < UINT32_MAX ? want : UINT32_MAX;
	t->sndbuf = tcp_max(t->sndbuf, tcp_min((uint32_t)want, s->cfg.limits.tcp_wmem[2]));
}

/*
 * As Linux: a third of the buffer free, so that a writer is not woken for each ACK. Less will do where
 * the buffer is full of what the peer has, but for a hole, and nothing is left to be sent: the
 * path would run empty, and with nothing sent after it what is lost again is found by a timeout.
 */
bool tcp_writable(const struct stack *s, const struct tcb *t)
{
	const struct board *b = tcp_board(s, t);
	uint32_t buf = tcp_mem_sndbuf(s, t);

	if (t->tx_bytes <= buf / 3 * 2)
		return true;
	return b && b->sacked && t->tx_bytes <= buf / 8 * 7 && board_pipe(t, b) < t->cwnd / 2 &&
	       tcp_queue_end(t) - t->snd_nxt < tcp_eff_mss(t);
}

void tcp_writable_check(struct stack *s, struct tcb *t)
{
	if (!(t->flags & TCB_F_TX_FULL) || !tcp_writable(s, t) || !tcp_mem_snd_room(s, t))
		return;
	t->flags &= ~TCB_F_TX_FULL;
	if (cc_get(t->cc)->control)
		rate_room(s, t);
	tcp_event(s, t, EV_WRITABLE);
}

/* @g acknowledges something new: snd_una < ack <= snd_max. */
void tcp_ack_new(struct stack *s, struct tcb *t, const struct tcp_seg *g, struct mtime now)
{
	struct board *b = tcp_board(s, t);
	uint32_t acked = g->ack - t->snd_una, flight, data, rtt;
	struct cc_ack a = {.acked = 0};

	if (!b && t->opt & TCB_OPT_SACK)
		b = tcp_rack_board(s, t, now);
	flight = b ? board_pipe(t, b) : t->snd_nxt - t->snd_una;
	data = acked - (t->flags & TCB_F_FIN_SENT && g->ack == t->snd_max);
	rtt = ack_rtt(s, t, g, now);
	a.acked = data;
	a.rtt_us = rtt;
	a.in_flight = flight;
	/* In slow start twice what is in use is not too much, as in Linux. */
	a.cwnd_limited =
		t->flags & TCB_F_CWND_LIMITED || (t->cwnd < t->ssthresh && t->cwnd < 2 * flight);

	txq_acked(s, t, data);
	t->bytes_acked += data;
	t->snd_una = g->ack;
	if (t->flags & TCB_F_URG_SND && seq_ge(t->snd_una, tcb_work(t)->snd_up))
		t->flags &= ~TCB_F_URG_SND;
	t->snd_nxt = seq_max(t->snd_nxt, t->snd_una);
	t->dupacks = 0;
	if (rtt) {
		tcp_rtt_sample(t, rtt, now);
		t->backoff = 0; /* RFC 6298 §5.7; without a sample it stays (Karn) */
	}
	if (t->rtx_first && t->cc_state == CC_LOSS)
		tcb_rare(s, t)->rto_ms += ms_ago(t->rtx_first, now);
	tcp_timer_data_acked(t, now);
	if ((t->opt & TCB_OPT_ECN || cc_get(t->cc)->marks) && tcp_ecn_echo(s, t, g, acked, now))
		a.cwnd_limited = false; /* no growth by an ACK that says so */
	if (t->opt & TCB_OPT_SACK && (g->o.n_sack || t->flags & TCB_F_TLP))
		tcp_sack_ack(s, t, g, acked, now);
	if (b)
		tcp_rack_ack(s, t, g, &a, now);
	else
		cwnd_ack(s, t, g, &a, now);
	tcp_sndbuf_tune(s, t);
	if (s->cfg.role == STACK_FULL)
		neigh_confirm(s, t->neigh, now);
	if (t->flags & TCB_F_TX_FULL)
		tcp_writable_check(s, t);
}

/* An ACK of nothing new. Is it a duplicate in the sense of RFC 5681 §2, and what follows? */
void tcp_ack_duplicate(struct stack *s, struct tcb *t, const struct tcp_seg *g, struct mtime now)
{
	if (!t->snd_wnd && t->rtx_first && !(t->flags & TCB_F_PROBING))
		t->rtx_first = 0; /* the window was shut on data in flight; the peer is alive */
	if (g->ack != t->snd_una)
		return;
	if (t->snd_una != t->snd_max)
		tcp_ecn_echo(s, t, g, 0, now);
	if (t->opt & TCB_OPT_SACK) {
		const struct board *b = tcp_board(s, t);
		struct cc_ack a = {.in_flight = b ? board_pipe(t, b) : t->snd_max - t->snd_una};

		tcp_sack_ack(s, t, g, 0, now);
		if (tcp_rack_board(s, t, now)) {
			tcp_rack_ack(s, t, g, &a, now);
			if (t->flags & TCB_F_TX_FULL)
				tcp_writable_check(s, t);
			return;
		}
	}
	if (g->len || g->flags & (TH_SYN | TH_FIN) || t->snd_una == t->snd_max ||
	    (uint32_t)g->wnd << t->snd_wscale != t->snd_wnd)
		return;
	t->dupacks += t->dupacks < UINT8_MAX;
	reno_frto_duplicate(t);
	if (t->cc_state == CC_RECOVERY) {
		t->cwnd = tcp_min(t->cwnd + tcp_eff_mss(t), INT32_MAX);
		return;
	}
	/* RFC 6582 §3.2 step 2: not for segments that a timeout has sent again already */
	if (t->dupacks == 3 && t->cc_state == CC_OPEN && seq_gt(t->snd_una, t->recover))
		recovery_enter(s, t, now);
}

/*
 * RFC 9293 §3.10.7.4, fifth: a segment that is not older than the last one to tell a window. One
 * that acknowledges more is newer whatever its sequence number: a retransmission has a lower one,
 * and the old window from the new snd_una on would reach beyond what the peer has allowed.
 */
void tcp_window_update(struct tcb *t, const struct tcp_seg *g)
{
	if (seq_lt(g->ack, t->snd_una))
		return;
	if (!seq_gt(g->ack, t->snd_wl2) && !seq_lt(t->snd_wl1, g->seq) &&
	    !(t->snd_wl1 == g->seq && t->snd_wl2 == g->ack))
		return;
	t->snd_wnd = (uint32_t)g->wnd << t->snd_wscale;
	t->snd_wl1 = g->seq;
	t->snd_wl2 = g->ack;
	t->max_window = tcp_max(t->max_window, t->snd_wnd);
	if (t->snd_wnd && t->flags & TCB_F_PROBING)
		tcp_timer_window_opened(t);
}
