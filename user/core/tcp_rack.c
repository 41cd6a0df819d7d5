/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Loss recovery with a scoreboard: what is lost (RACK, by time rather than by counting duplicates),
 * when to probe for lost tails (TLP), and how much may be sent meanwhile (PRR). Retransmissions
 * are chosen by tcp_next().
 *
 * RFC 8985 (RACK-TLP), RFC 6937 (PRR-SSRB), RFC 2018 §5, §8 and RFC 2883 (the sender's side).
 */
#include "board.h"

#define PTO_MIN_US 4000u
#define MAX_ACK_DELAY_US 50000u /* TLP.max_ack_delay: peers delay by 40 ms, as we do */
#define REO_PERSIST 16u

static bool sent_after(uint64_t t1, uint32_t end1, uint64_t t2, uint32_t end2)
{
	return t1 > t2 || (t1 == t2 && seq_gt(end1, end2));
}

static uint32_t us_since(uint64_t ns, struct mtime now)
{
	uint64_t us = now.ns > ns ? (now.ns - ns) / 1000 : 0;

	return us > TCP_RTO_MAX_US ? TCP_RTO_MAX_US : us ? (uint32_t)us : 1;
}

/* ---- the scoreboard's life ---- */

struct board *tcp_rack_board(struct stack *s, struct tcb *t, struct mtime now)
{
	struct board *b = tcp_board(s, t);

	/* New Reno goes back by snd_nxt: not before it is through with that. */
	if (b || t->snd_una == t->snd_max || t->snd_nxt != t->snd_max || !tcp_synchronised(t))
		return b;
	b = board_open(s, t, now);
	if (!b)
		return NULL;
	t->dupacks = 0;
	b->recover_fs = t->snd_max - t->snd_una;
	if (t->cc_state == CC_LOSS) /* came over in the midst of it: what a timeout said */
		board_all_lost(s, b);
	return b;
}

void tcp_rack_sent(struct stack *s, struct tcb *t, uint32_t seq, uint32_t end, bool again,
		   struct mtime now)
{
	struct board *b = tcp_board(s, t);

	if (!b && t->snd_una != t->snd_max)
		b = tcp_rack_board(s, t, now);
	else if (!b && !again)
		b = board_open(s, t, now);
	if (!b)
		return;
	if (cc_get(t->cc)->control)
		rate_sent(s, t, b, now);
	if (b->n) {
		board_sent(s, t, b, seq, end, now);
	} else { /* it is new */
		b->n = 1;
		b->end = end;
		b->r[0] = (struct seg_run){.xmit = now.ns, .seq = seq};
	}
	if (again)
		undo_sent_again(s, t, b, end - seq, now);
	if (t->cc_state == CC_RECOVERY || b->cwr)
		b->prr_out += end - seq;
}

/* ---- what has arrived (RFC 8985 §6.2, steps 1 to 3) ---- */

/* May this be the ACK of an earlier copy? Then it says nothing about the last one. */
static bool ambiguous(const struct board_ack *a, const struct seg_run *r, uint32_t rtt)
{
	const struct tcp_options *o = &a->g->o;

	if (!(r->flags & SEG_AGAIN))
		return false;
	if (a->t->opt & TCB_OPT_TS && o->has_ts && o->ts_ecr)
		return seq_lt(o->ts_ecr,
			      tcp_ts_now(a->s, (struct mtime){r->xmit}) + a->t->ts_offset);
	return rtt < a->b->min_rtt;
}

static void heard_once(struct tcb *t, struct board *b, uint32_t rtt, struct mtime now)
{
	b->min_rtt = tcp_min(b->min_rtt, rtt);
	tcp_rtt_least(t, rtt, now);
}

void rack_heard(struct board_ack *a, const struct seg_run *r, uint32_t end)
{
	uint32_t rtt = us_since(r->xmit, a->now);
	struct board *b = a->b;

	if (!(r->flags & SEG_AGAIN)) {
		if (!(r->flags & SEG_MERGED))
			heard_once(a->t, b, rtt, a->now);
		if (seq_lt(end, b->fack)) {
			if (!(a->t->flags & TCB_F_REORDER))
				MIB(a->s, TcpExt_TCPSACKReorder);
			a->t->flags |= TCB_F_REORDER;
			if (!a->late) /* one event, as Linux counts it */
				tcb_rare(a->s, a->t)->reord_seen++;
			a->late = true;
		}
	}
	b->fack = seq_max(b->fack, end);
	if (!ambiguous(a, r, rtt) && sent_after(r->xmit, end, b->rack_xmit, b->rack_end)) {
		b->rack_xmit = r->xmit;
		b->rack_end = end;
		b->rack_rtt = rtt;
	}
}

/* ---- what is lost (steps 4 and 5) ---- */

/* The scoreboard has as much as three duplicate ACKs would say (RFC 6675 §2, DupThresh). */
static bool three_segments_sacked(const struct tcb *t, const struct board *b)
{
	return b->sacked > 2 * tcp_eff_mss(t);
}

static uint32_t reo_wnd(const struct tcb *t, const struct board *b)
{
	uint64_t us = (t->reo_mult + 1ull) * b->min_rtt / 4;

	if (!(t->flags & TCB_F_REORDER) && (t->cc_state != CC_OPEN || three_segments_sacked(t, b)))
		return 0;
	return us < t->srtt ? (uint32_t)us : t->srtt;
}

/* Has something been lost that was not known to be? Sets the timer for what may be late only. */
static bool detect_loss(struct stack *s, struct tcb *t, struct board *b, struct mtime now)
{
	uint64_t wait = (uint64_t)(b->rack_rtt + reo_wnd(t, b)) * 1000, live = now.ns;
	bool lost = false;

	if (!b->rack_xmit) {
		b->t_reo = 0;
		return false;
	}
	/* Mostly nothing is late, which needs no look at each run of a window with many holes. */
	if (b->live_xmit + wait > now.ns) {
		if (b->t_reo <= now.ns)
			b->t_reo = 0;
		if (!b->t_reo && b->live_xmit <= b->rack_xmit)
			b->t_reo = b->live_xmit + wait;
		return false;
	}
	b->t_reo = 0;
	for (uint32_t i = b->first; i < b->first + b->n; i++) {
		const struct seg_run *r = board_run(s, b, i);
		bool passed;

		if (r->flags & (SEG_SACKED | SEG_LOST))
			continue;
		passed = sent_after(b->rack_xmit, b->rack_end, r->xmit, board_run_end(s, b, i));
		if (passed && r->xmit + wait <= now.ns) {
			if (r->flags & SEG_AGAIN)
				MIB(s, TcpExt_TCPLostRetransmit);
			board_lose(s, b, i);
			lost = true;
			continue;
		}
		live = r->xmit < live ? r->xmit : live;
		if (passed && r->xmit + wait > b->t_reo)
			b->t_reo = r->xmit + wait;
	}
	b->live_xmit = live;
	return lost;
}

/* ---- how much may be sent meanwhile ---- */

/* RFC 6937 §3, with the slow start reduction bound */
static void prr(struct tcb *t, struct board *b, uint32_t delivered)
{
	uint32_t mss = tcp_eff_mss(t), pipe = board_pipe(t, b), snd = 0;

	b->prr_delivered += delivered;
	if (pipe > t->ssthresh) {
		uint64_t target = ((uint64_t)b->prr_delivered * t->ssthresh + b->recover_fs - 1) /
				  b->recover_fs;

		if (target > b->prr_out) /* what is less than a segment would wait for ever */
			snd = ((uint32_t)(target - b->prr_out) + mss - 1) / mss * mss;
	} else {
		uint32_t limit = b->prr_delivered > b->prr_out ? b->prr_delivered - b->prr_out : 0;

		snd = tcp_min(t->ssthresh - pipe, tcp_max(limit, delivered) + mss);
	}
	if (!b->prr_out) /* the fast retransmission goes in any case */
		snd = tcp_max(snd, mss);
	t->cwnd = tcp_max(pipe + snd, mss);
}

/* RFC 3168 §6.1.2, as in Linux by RFC 6937, too: what is sent becomes less, but does not stop. */
bool tcp_rack_reduce(struct stack *s, struct tcb *t, uint32_t flight)
{
	struct board *b = tcp_board(s, t);

	if (!b || t->snd_una == t->snd_max)
		return false;
	b->cwr = true;
	b->prr_delivered = b->prr_out = 0;
	b->recover_fs = flight;
	undo_forget(b); /* a mark is no mistake */
	return true;
}

bool tcp_rack_reducing(const struct stack *s, const struct tcb *t)
{
	const struct board *b = tcp_board(s, t);

	return b && b->cwr;
}

/* It is over where our CWR has arrived, or something was lost. */
static void reduce_end(struct tcb *t, struct board *b)
{
	bool over = seq_gt(t->snd_una, t->recover) || t->snd_una == t->snd_max;

	if (!b->cwr || (t->cc_state == CC_OPEN && !over))
		return;
	b->cwr = false;
	if (t->cc_state != CC_OPEN)
		return;
	t->cwnd = tcp_max(t->ssthresh, tcp_eff_mss(t));
	t->recover = t->snd_max;
}

static void recovery_begin(struct stack *s, struct tcb *t, struct board *b, struct mtime now)
{
	MIB(s, TcpExt_TCPSackRecovery);
	/* Once for each window: not for what is left of one that was reduced for already. */
	if (seq_ge(t->snd_una, t->recover)) {
		undo_begin(s, t, b);
		cc_of(s, t)->loss(t, tcp_min(t->snd_max - t->snd_una, t->cwnd), now);
		t->recover = t->snd_max;
	}
	t->cc_state = CC_RECOVERY;
	t->flags &= ~(TCB_F_RTT_VALID | TCB_F_TLP);
	b->prr_delivered = b->prr_out = 0;
	b->recover_fs = t->snd_max - t->snd_una;
	b->t_pto = 0;
}

static void recovery_end(struct tcb *t, struct board *b)
{
	if (t->cc_state == CC_RECOVERY && !cc_get(t->cc)->control)
		t->cwnd = tcp_max(t->ssthresh, tcp_eff_mss(t));
	t->cc_state = CC_OPEN;
	b->frto = FRTO_NONE;
	t->flags &= ~TCB_F_RTX;
	/* RFC 8985 §6.2, step 4: what DSACKs have widened narrows after a while */
	if (t->reo_persist && !--t->reo_persist)
		t->reo_mult = 0;
}

#define RENEGING_MIN_US 10000u

/*
 * RFC 2018 §8: the peer waits for what it said it had. Perhaps an ACK of it is on its way; else, as
 * Linux, the timer expires soon.
 */
static void reneging_check(const struct stack *s, struct tcb *t, struct board *b, struct mtime now)
{
	uint64_t soon = mtime_add_us(now, tcp_max(t->srtt / 2, RENEGING_MIN_US)).ns;

	if (board_run(s, b, b->first)->flags & SEG_SACKED && t->t_rtx > soon)
		t->t_rtx = soon;
}

/*
 * The most frequent ACK: in order, of what was sent only once, while nothing is known of losses or
 * to be taken back. What is done is what the long way would do.
 */
static bool ack_in_order(struct stack *s, struct tcb *t, struct board *b, const struct tcp_seg *g,
			 const struct cc_ack *ca, struct mtime now)
{
	const struct cc_ops *cc = cc_get(t->cc);
	uint32_t una = t->snd_una, i = b->first, from, end;
	struct cc_ack c;
	uint64_t xmit;

	if (t->cc_state != CC_OPEN || b->sacked || b->lost || b->undo.cwnd || b->cwr || b->frto ||
	    g->o.n_sack || cc->control || !ca->acked || seq_gt(b->fack, una) || b->n_more)
		return false;
	from = b->r[i].seq;
	for (;; i++) {
		if (b->r[i].flags)
			return false;
		end = board_run_end(s, b, i);
		if (!seq_lt(end, una))
			break;
	}
	/* The last of them was sent last, so it has the shortest round trip. */
	xmit = b->r[i].xmit;
	c = *ca;
	c.rtt_us = us_since(xmit, now);
	c.delivered_seq = una;
	c.acked = c.delivered = una - from;
	c.pipe = t->snd_max - una;
	if (seq_gt(una, t->recover))
		t->recover = una - 1; /* an old mark is drawn along */
	if (una == t->snd_max) {
		cc->ack(t, &c, now);
		board_close(s, t);
		return true;
	}
	b->r[i].seq = una;
	i += end == una;
	b->n -= i - b->first;
	b->first = i;
	b->fack = b->lost_from = una;
	b->min_rtt = tcp_min(b->min_rtt, c.rtt_us);
	if (sent_after(xmit, una, b->rack_xmit, b->rack_end)) {
		b->rack_xmit = xmit;
		b->rack_end = una;
		b->rack_rtt = c.rtt_us;
	}
	b->t_reo = 0;
	cc->ack(t, &c, now);
	tcp_rack_arm_probe(s, t, now);
	return true;
}

void tcp_rack_ack(struct stack *s, struct tcb *t, const struct tcp_seg *g, const struct cc_ack *ca,
		  struct mtime now)
{
	struct board *b = tcp_board(s, t);
	struct board_ack a = {.s = s, .t = t, .b = b, .g = g, .now = now};
	const struct cc_ops *cc = cc_of(s, t);
	struct cc_ack c = *ca;
	uint32_t known_lost;
	bool lost = false, recovered;

	if (ack_in_order(s, t, b, g, ca, now))
		return;
	board_ack(&a);
	if (cc->control)
		rate_ack(&a, &c);
	recovered = t->cc_state != CC_OPEN && seq_ge(t->snd_una, t->recover);
	if (!undo_try(&a, ca->acked, recovered) && b->frto)
		frto_ack(&a, ca->acked);
	if (recovered && t->cc_state != CC_OPEN) {
		recovery_end(t, b);
		/*
		 * What was lost meanwhile begins the next one, for a model of the path that goes by
		 * its rounds. For windows it counts with what is lost next, as one reduction.
		 */
		lost = cc->control && (b->lost || b->again);
	}
	known_lost = b->lost;
	if (b->sacked || t->cc_state != CC_OPEN)
		lost |= detect_loss(s, t, b, now);
	else
		b->t_reo = 0;
	if (lost && t->cc_state == CC_OPEN)
		recovery_begin(s, t, b, now);
	reduce_end(t, b);
	if (t->cc_state != CC_RECOVERY && seq_gt(t->snd_una, t->recover))
		t->recover = t->snd_una - 1; /* an old mark is drawn along */
	/* Each ACK's own: timestamps would say milliseconds. */
	c.rtt_us = a.newest_rtt;
	c.delivered_seq = t->snd_una + b->sacked;
	c.acked = c.delivered = a.delivered;
	c.lost = b->lost - known_lost;
	c.pipe = board_pipe(t, b);
	if (cc->control)
		cc->control(t, &c, now);
	else if (t->cc_state == CC_RECOVERY || b->cwr)
		prr(t, b, a.delivered);
	else if (ca->acked)
		cc->ack(t, &c, now);
	if (t->snd_una == t->snd_max) {
		undo_keep(t, b);
		board_close(s, t);
		return;
	}
	if (ca->acked || a.delivered)
		tcp_rack_arm_probe(s, t, now);
	if (ca->acked)
		reneging_check(s, t, b, now);
}

void tcp_rack_timer(struct stack *s, struct tcb *t, struct mtime now)
{
	struct board *b = tcp_board(s, t);

	if (!detect_loss(s, t, b, now))
		return;
	if (t->cc_state == CC_OPEN)
		recovery_begin(s, t, b, now);
	if (t->cc_state == CC_RECOVERY && !cc_get(t->cc)->control)
		prr(t, b, 0);
}

/*
 * RFC 8985 §6.3: what the timer was for is lost, and what was sent so long ago that it would have been
 * answered; the rest is still on its way. All is, but what the peer has, where it cannot be trusted
 * (RFC 2018 §8): it said that it has the very segment that it waits for, which is where snd_una
 * comes to by each byte that it has thrown away.
 */
void tcp_rack_rto(struct stack *s, struct tcb *t, struct board *b, struct mtime now)
{
	uint64_t wait = (uint64_t)(b->rack_rtt + reo_wnd(t, b)) * 1000;

	if (board_run(s, b, b->first)->flags & SEG_SACKED) {
		MIB(s, TcpExt_TCPSACKReneging);
		board_forget_sacks(s, b);
		board_all_lost(s, b);
	} else {
		for (uint32_t i = b->first; i < b->first + b->n; i++) {
			const struct seg_run *r = board_run(s, b, i);

			if (!(r->flags & (SEG_SACKED | SEG_LOST)) &&
			    (i == b->first || r->xmit + wait <= now.ns))
				board_lose(s, b, i);
		}
	}
	b->t_reo = b->t_pto = 0;
	t->flags &= ~TCB_F_TLP;
}

/* ---- tail loss probe ---- */

/* RFC 8985 §7.2 */
void tcp_rack_arm_probe(const struct stack *s, struct tcb *t, struct mtime now)
{
	struct board *b = tcp_board(s, t);
	uint32_t us = 2 * t->srtt;

	if (!b)
		return;
	b->t_pto = 0;
	if (t->cc_state != CC_OPEN || b->sacked || b->lost || t->flags & TCB_F_TLP ||
	    t->opt & TCB_OPT_SYNACK || t->snd_una == t->snd_max)
		return;
	if (!t->srtt)
		us = TCP_RTO_INIT_US;
	else if (t->snd_max - t->snd_una <
		 3 * tcp_eff_mss(t)) /* two merged may look short of two */
		us += MAX_ACK_DELAY_US;
	b->t_pto = mtime_add_us(now, tcp_max(us, PTO_MIN_US)).ns;
	if (b->t_pto > t->t_rtx)
		b->t_pto = t->t_rtx;
}

/* §7.4.2: the probe has repaired a loss that nobody else noticed; it counts like any other. */
static void probe_repaired(struct stack *s, struct tcb *t, struct mtime now)
{
	struct board *b = tcp_board(s, t);

	MIB(s, TcpExt_TCPLossProbeRecovery);
	if (t->cc_state != CC_OPEN)
		return;
	if (b)
		undo_forget(b);
	t->flags &= ~TCB_F_UNDO;
	cc_of(s, t)->loss(t, t->cwnd, now);
	t->cwnd = tcp_min(t->cwnd, t->ssthresh);
	t->recover = t->snd_max;
}

/* Is the first block about text that the peer had already (RFC 2883 §4)? */
static bool dsack_first(struct stack *s, const struct tcp_seg *g)
{
	const struct tcp_sack_block *k = g->o.sack;

	if (!g->o.n_sack || !seq_lt(k[0].start, k[0].end))
		return false;
	if (seq_le(k[0].end, g->ack)) {
		MIB(s, TcpExt_TCPDSACKRecv);
		return true;
	}
	if (g->o.n_sack < 2 || seq_lt(k[0].start, k[1].start) || seq_gt(k[0].end, k[1].end))
		return false;
	MIB(s, TcpExt_TCPDSACKOfoRecv);
	return true;
}

/* RFC 8985 §6.2, step 4: a retransmission too many, so wait longer, once a round trip. */
static void reo_widen(struct tcb *t, struct board *b)
{
	if (b) {
		if (b->dsack_seen && seq_lt(t->snd_una, b->dsack_round))
			return;
		b->dsack_seen = true;
		b->dsack_round = t->snd_nxt;
	}
	t->reo_mult += t->reo_mult < UINT8_MAX;
	t->reo_persist = REO_PERSIST;
}

void tcp_sack_ack(struct stack *s, struct tcb *t, const struct tcp_seg *g, uint32_t acked,
		  struct mtime now)
{
	struct board *b = tcp_board(s, t);
	bool dsack = dsack_first(s, g);

	if (dsack) {
		uint32_t mss = tcp_eff_mss(t), len = g->o.sack[0].end - g->o.sack[0].start;
		uint32_t segs = len > mss ? (len + mss - 1) / mss : 1;

		tcb_rare(s, t)->dsack_dups += segs;
		stack_count(s, MIB_TcpExt_TCPDSACKRecvSegs, segs);
		reo_widen(t, b);
		if (b)
			undo_dsack(t, b, &g->o.sack[0]);
		else
			undo_kept_dsack(s, t, &g->o.sack[0], now);
	}
	/* §7.4.2 */
	if (!(t->flags & TCB_F_TLP) || seq_lt(g->ack, tcb_work(t)->tlp_end))
		return;
	if (!(t->flags & TCB_F_TLP_RTX) ||
	    (dsack && seq_ge(g->o.sack[0].end, tcb_work(t)->tlp_end))) {
		t->flags &= ~TCB_F_TLP;
	} else if (seq_gt(g->ack, tcb_work(t)->tlp_end)) {
		t->flags &= ~TCB_F_TLP;
		probe_repaired(s, t, now);
	} else if (!acked && !g->len && !g->o.n_sack) {
		t->flags &= ~TCB_F_TLP; /* both copies have arrived */
	}
}
