/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a connection does next, and when: the one decision that both sending and sleeping use.
 * tcp_next() changes nothing; tcp_output() carries out, tcp_rearm() sleeps.
 *
 * RFC 9293 §3.8.4 and §3.8.6.2.1 (Nagle, silly window avoidance of the sender), RFC 5681 §3.1
 * (cwnd), RFC 3042 (limited transmit), Minshall's variant of Nagle as in Linux.
 */
#include "board.h"

/* ---- how much may go ---- */

/* May a segment that is shorter than the MSS, but all there is, be sent now? */
static bool short_segment_allowed(const struct tcb *t)
{
	if (t->flags & TCB_F_URG_SND) /* as Linux: urgent mode waits for nothing */
		return true;
	if (t->sockopt & TCB_CORK || t->flags & TCB_F_MORE)
		return false;
	if (t->sockopt & TCB_NODELAY)
		return true;
	return !(seq_gt(t->snd_sml, t->snd_una) && seq_le(t->snd_sml, t->snd_nxt));
}

/* RFC 3042: a new segment for each of the first two duplicate ACKs. */
static uint32_t limited_transmit(const struct tcb *t)
{
	if (t->cc_state != CC_OPEN || t->dupacks > 2 || t->snd_nxt != t->snd_max)
		return 0;
	return t->dupacks * tcp_eff_mss(t);
}

/* Payload of one packet at most: a segment, or a large one for segmentation by the device. */
static uint32_t packet_max(const struct stack *s, const struct tcb *t, uint32_t mss)
{
	uint32_t gso = t->flags & TCB_F_URG_SND ? 0 : tcp_min(s->cfg.gso_max, 65535);
	const uint32_t hdrs = ETH_HLEN_ + IP6_HLEN + TCP_HLEN + 40;

	return gso > hdrs + 2 * mss ? (gso - hdrs) / mss * mss : mss;
}

/*
 * @len bytes may be sent as far as windows go. How many of them are worth a packet: whole
 * segments, or the rest of the queue, or half of the largest window the peer ever had.
 */
static uint32_t worth_sending(const struct tcb *t, uint32_t len, uint32_t avail, bool wnd_limited)
{
	uint32_t mss = tcp_eff_mss(t), tail = len < mss ? len : len % mss;
	bool again = seq_lt(t->snd_nxt, t->snd_max);

	if (!tail)
		return len;
	if (len == avail && (again || short_segment_allowed(t)))
		return len;
	if (len > tail)
		return len - tail;
	return wnd_limited && tail >= t->max_window / 2 ? len : 0;
}

static bool next_data(const struct stack *s, const struct tcb *t, const struct board *b,
		      struct tcp_next *n)
{
	uint32_t end = tcp_queue_end(t), flight = t->snd_nxt - t->snd_una;
	uint32_t mss = tcp_eff_mss(t), avail, wnd, cwnd, len;
	bool fin = t->flags & TCB_F_FIN_QUEUED;

	if (tcp_fin_acked(t) || seq_gt(t->snd_nxt, end))
		return false;
	avail = end - t->snd_nxt;
	if (!avail && !fin)
		return false;
	wnd = t->snd_wnd > flight ? t->snd_wnd - flight : 0;
	cwnd = t->cwnd;
	if (b)
		flight = board_pipe(t, b);
	else if (reno_frto(t, FRTO_NEW_DATA)) /* RFC 5682 §2.1, step 2b: up to two segments */
		cwnd = t->recover - t->snd_una + 2 * mss;
	else
		cwnd += limited_transmit(t);
	cwnd = cwnd > flight ? cwnd - flight : 0;
	len = tcp_min(avail, tcp_min(wnd, cwnd));
	n->cwnd_limited = len == cwnd && len < avail;
	/* The FIN pushes all before it, and needs room in the peer's window only. */
	fin = fin && len == avail && wnd > len;
	if (!fin)
		len = worth_sending(t, len, avail, wnd <= cwnd);
	if (len > mss) {
		len = tcp_min(len, packet_max(s, t, mss));
		if (tcp_paced(t))
			len = tcp_min(len, tcp_pace_burst(t, mss));
	}
	n->len = len;
	n->fin = fin && n->len == avail;
	return n->len || n->fin;
}

/*
 * What is lost goes before new data, in order, as far as cwnd and the peer's window let it. A
 * segment that does not fit waits for ACKs, or for the timer.
 */
static bool next_resend(const struct stack *s, const struct tcb *t, struct board *b,
			struct tcp_next *n)
{
	uint32_t i = b ? board_first_lost(s, b) : BOARD_MAX;
	uint32_t end, pipe, queue_end = tcp_queue_end(t), stop;

	if (i == BOARD_MAX)
		return false;
	n->seq = board_run(s, b, i)->seq;
	stop = board_run_end(s, b, i);
	end = seq_min(stop, queue_end);
	n->len = seq_lt(n->seq, end) ? tcp_min(end - n->seq, tcp_eff_mss(t)) : 0;
	n->fin = seq_gt(stop, queue_end) && n->seq + n->len == queue_end;
	pipe = board_pipe(t, b);
	if (pipe && (t->cwnd < pipe || t->cwnd - pipe < n->len)) {
		n->cwnd_limited = true;
		return false;
	}
	return n->seq + n->len + n->fin - t->snd_una <= t->snd_wnd;
}

/* New data is out that will tell whether the timeout was for nothing. */
static bool frto_waits(const struct tcb *t, const struct board *b)
{
	return b && b->frto == FRTO_NEW_DATA && t->snd_max != t->recover;
}

/* What windows let go; where it has to wait for its time, when that is. */
static enum tcp_action next_text(const struct stack *s, const struct tcb *t, struct board *b,
				 struct tcp_next *n, struct mtime now)
{
	enum tcp_action act = TCP_ACT_NONE;
	uint32_t wait;

	/* RFC 5682 §3.1, step 2b: new data first, and then what its ACKs say */
	if (b && b->frto == FRTO_NEW_DATA && next_data(s, t, b, n))
		act = TCP_ACT_DATA;
	else if (!frto_waits(t, b) && next_resend(s, t, b, n))
		act = TCP_ACT_RESEND;
	else if (next_data(s, t, b, n))
		act = TCP_ACT_DATA;
	if (act == TCP_ACT_NONE || !(t->flags & TCB_F_PACED))
		return act;
	wait = tcp_pace_wait_us(t, now);
	if (!wait)
		return act;
	n->paced = true;
	n->when = mtime_min(n->when, mtime_add_us(now, wait));
	return TCP_ACT_NONE;
}

/* ---- what is due ---- */

static bool due(uint64_t deadline, struct mtime now)
{
	return deadline && deadline <= now.ns;
}

static void sleep_until(struct tcp_next *n, uint64_t deadline)
{
	if (deadline)
		n->when = mtime_min(n->when, (struct mtime){deadline});
}

static enum tcp_action next_opening(const struct stack *s, const struct tcb *t, struct mtime now)
{
	if (due(t->t_rtx, now))
		return tcp_timer_syn_over(s, t, now) ? TCP_ACT_TIMEOUT : TCP_ACT_SYN;
	if (t->snd_nxt == t->iss)
		return TCP_ACT_SYN;
	return t->flags & TCB_F_ACK_NOW && t->state == TCP_SYN_RECEIVED ? TCP_ACT_ACK
									: TCP_ACT_NONE;
}

/* Of what is due, what comes first; by first_deadline() something is. */
static enum tcp_action next_timed(const struct stack *s, const struct tcb *t, const struct board *b,
				  struct mtime now)
{
	/* Nothing that follows counts before our SYN-ACK has come through. */
	if (t->opt & TCB_OPT_SYNACK && due(t->t_rtx, now))
		return tcp_timer_syn_over(s, t, now) ? TCP_ACT_TIMEOUT : TCP_ACT_SYN;
	if (b && due(b->t_reo, now))
		return TCP_ACT_REORDER;
	if (b && due(b->t_pto, now))
		return TCP_ACT_LOSS_PROBE;
	if (due(t->t_rtx, now)) {
		if (t->flags & TCB_F_PROBING)
			return tcp_timer_probe_over(s, t, now) ? TCP_ACT_TIMEOUT : TCP_ACT_PROBE;
		return tcp_timer_rtx_over(s, t, now) ? TCP_ACT_TIMEOUT : TCP_ACT_RETRANS;
	}
	if (due(tcp_timer_keep(t, now), now))
		return tcp_timer_keep_over(t, now) ? TCP_ACT_TIMEOUT : TCP_ACT_KEEPALIVE;
	return TCP_ACT_NONE;
}

static bool ack_due(const struct tcb *t, struct mtime now)
{
	return t->flags & TCB_F_ACK_NOW ||
	       (t->flags & TCB_F_ACK_DELAYED && ms_time(t->t_delack, now).ns <= now.ns);
}

static void earlier(uint64_t *when, uint64_t deadline)
{
	if (deadline && deadline < *when)
		*when = deadline;
}

/* Before it passes no timer has anything to say. */
static struct mtime first_deadline(const struct tcb *t, const struct board *b, struct mtime now)
{
	uint64_t when = MTIME_NEVER.ns;

	earlier(&when, t->t_rtx);
	if (b) {
		earlier(&when, b->t_reo);
		earlier(&when, b->t_pto);
	}
	if (t->flags & TCB_F_ACK_DELAYED)
		earlier(&when, ms_time(t->t_delack, now).ns);
	if (tcp_timer_kept(t))
		earlier(&when, tcp_timer_keep(t, now));
	return (struct mtime){when};
}

#define MEMORY_RETRY_MS 10u

/* What a connection that is open has to do apart from ACKs. */
static enum tcp_action next_open(const struct stack *s, const struct tcb *t, struct board *b,
				 struct tcp_next *n, struct mtime now)
{
	enum tcp_action act = TCP_ACT_NONE;

	if (n->when.ns <= now.ns)
		act = next_timed(s, t, b, now);
	if (act != TCP_ACT_NONE)
		return act;
	if (t->flags & TCB_F_RTX)
		return TCP_ACT_RETRANS;
	if (tcp_unsent(t) || (b && b->lost))
		return next_text(s, t, b, n, now);
	return TCP_ACT_NONE;
}

struct tcp_next tcp_next(const struct stack *s, const struct tcb *t, struct mtime now)
{
	struct tcp_next n = {.act = TCP_ACT_NONE, .when = MTIME_NEVER};
	struct board *b = tcp_board(s, t);

	if (t->flags & TCB_F_RST_SEND) {
		n.act = TCP_ACT_RST;
		return n;
	}
	if (t->state == TCP_CLOSED)
		return n;
	n.when = first_deadline(t, b, now);
	if (!tcp_synchronised(t)) {
		n.act = next_opening(s, t, now);
		return n;
	}
	n.act = next_open(s, t, b, &n, now);
	if (n.act != TCP_ACT_NONE)
		return n;
	if (ack_due(t, now))
		n.act = TCP_ACT_ACK;
	else if (tcp_mem_waits(s, t))
		n.when = mtime_min(n.when, mtime_add_ms(now, MEMORY_RETRY_MS));
	return n;
}

/* ---- sleeping ---- */

/* Data or FIN that cannot go, and nothing outstanding whose ACK would change that. */
static bool blocked(const struct tcb *t)
{
	return tcp_synchronised(t) && !t->t_rtx && t->snd_una == t->snd_max && !tcp_fin_acked(t) &&
	       (t->tx_bytes || t->flags & TCB_F_FIN_QUEUED);
}

void tcp_arm(struct stack *s, struct tcb *t, struct mtime when)
{
	uint32_t tick;

	if (mtime_is_never(when))
		return;
	/* Firing early costs less than moving the timer with each packet. */
	tick = (uint32_t)(when.ns >> WHEEL_SHIFT);
	if (t->timer.slot != SHM_NIL && (int32_t)(t->t_armed - tick) <= 0)
		return;
	t->t_armed = tick;
	wheel_set(s, TIMER_ID(TK_CONN, tcb_index(s, t)), when);
}

/*
 * What sending waits for, as Linux tells it in TCP_INFO; tcp_sleeping() lets none pass by here for
 * whom it may have changed.
 */
static enum chrono chrono_of(const struct tcb *t, const struct tcp_next *n)
{
	uint32_t flight = t->snd_max - t->snd_una, room, unsent;

	if (!flight && !t->tx_bytes)
		return CHRONO_NONE;
	if (n->cwnd_limited || n->paced)
		return CHRONO_BUSY;
	if (t->tx_bytes <= flight)
		return t->flags & TCB_F_TX_FULL && !(t->flags & TCB_F_CWND_LIMITED)
			       ? CHRONO_SNDBUF
			       : CHRONO_BUSY;
	unsent = t->tx_bytes - flight;
	room = t->snd_wnd > flight ? t->snd_wnd - flight : 0;
	return room < tcp_min(unsent, tcp_eff_mss(t)) ? CHRONO_RWND : CHRONO_BUSY;
}

static void chrono_set(struct stack *s, struct tcb *t, enum chrono c, struct mtime now)
{
	struct tcb_work *w = tcb_work(t);
	uint32_t ms = ms_ago(w->chrono_ms, now);

	if (w->chrono && ms) {
		t->busy_ms += ms;
		if (w->chrono == CHRONO_RWND)
			tcb_rare(s, t)->rwnd_ms += ms;
		else if (w->chrono == CHRONO_SNDBUF)
			tcb_rare(s, t)->sndbuf_ms += ms;
	}
	w->chrono = (uint8_t)c;
	w->chrono_ms = ms_stamp(now);
}

void tcp_chrono_stop(struct stack *s, struct tcb *t, struct mtime now)
{
	if (t->work && tcb_work(t)->chrono)
		chrono_set(s, t, CHRONO_NONE, now);
}

void tcp_sleep(struct stack *s, struct tcb *t, struct tcp_next n, struct mtime now)
{
	if (t->work) {
		enum chrono c = chrono_of(t, &n);

		if (c != tcb_work(t)->chrono)
			chrono_set(s, t, c, now);
	}
	if (n.act == TCP_ACT_NONE && !n.paced && blocked(t)) {
		/* RFC 9293 §3.8.6.1: probe the window from now on */
		t->flags |= TCB_F_PROBING;
		t->rtx_first = ms_stamp(now);
		t->t_rtx = mtime_add_us(now, tcp_rto_us(t)).ns;
		sleep_until(&n, t->t_rtx);
	}
	if (n.act == TCP_ACT_NONE && t->snd_una == t->snd_max && !(t->flags & TCB_F_WORK_NOW))
		n.when = mtime_min(n.when, tcb_work_put(s, t, now));
	tcp_arm(s, t, n.act == TCP_ACT_NONE ? n.when : now);
}

void tcp_rearm(struct stack *s, struct tcb *t, struct mtime now)
{
	tcp_sleep(s, t, tcp_next(s, t, now), now);
}

/*
 * What most calls find: nothing to do, and the timer fires soon enough for all that there is to
 * wait for. Where this says so, tcp_next() and tcp_sleep() would change nothing more.
 */
bool tcp_sleeping(struct stack *s, struct tcb *t, struct mtime now)
{
	const uint32_t busy = TCB_F_ACK_NOW | TCB_F_RTX | TCB_F_RST_SEND | TCB_F_TX_FULL;
	const struct board *b = tcp_board(s, t);
	struct mtime when;
	enum chrono c;

	if (t->state != TCP_ESTABLISHED || t->flags & busy || tcp_unsent(t) || (b && b->lost) ||
	    t->timer.slot == SHM_NIL)
		return false;
	if (t->work && t->snd_una == t->snd_max && !(t->flags & TCB_F_WORK_NOW))
		return false; /* it may not need that any longer */
	when = first_deadline(t, b, now);
	c = t->tx_bytes ? CHRONO_BUSY : CHRONO_NONE; /* nothing is unsent */
	if (t->work && tcb_work(t)->chrono != c)
		chrono_set(s, t, c, now);
	return when.ns > now.ns &&
	       (mtime_is_never(when) ||
		(int32_t)(t->t_armed - (uint32_t)(when.ns >> WHEEL_SHIFT)) <= 0);
}

void tcp_kick(struct stack *s, struct tcb *t, struct mtime now)
{
	struct tcp_next n;

	if (tcp_sleeping(s, t, now))
		return;
	n = tcp_next(s, t, now);
	if (n.act != TCP_ACT_NONE)
		tcp_want_output(s, t);
	else
		tcp_sleep(s, t, n, now);
}
