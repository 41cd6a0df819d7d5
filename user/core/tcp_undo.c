/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Recovery that was for nothing is taken back: cwnd and ssthresh as they were. Three signs tell:
 * an ACK that echoes a time before the first retransmission was caused by the original (Eifel
 * detection); each byte that was sent again is reported as a duplicate (DSACK); after a timeout
 * text arrives that was sent only once (F-RTO with SACK).
 *
 * RFC 3522, RFC 4015 §3.2 (without the change to the RTO), RFC 3708 (DSACK), RFC 5682 §3.1. When
 * each sign counts, and how, is as in Linux.
 */
#include "board.h"

/* What is longer ago belongs to other text with the same numbers. */
#define UNDO_SPAN (1u << 30)

/* Bytes of which copies may be on their way, also where we think that these are lost. */
static uint32_t copies_out(const struct stack *s, struct board *b)
{
	uint32_t n = 0;

	for (uint32_t i = b->first; i < b->first + b->n; i++) {
		const struct seg_run *r = board_run(s, b, i);

		if ((r->flags & (SEG_AGAIN | SEG_SACKED)) == SEG_AGAIN)
			n += board_run_end(s, b, i) - r->seq;
	}
	return n;
}

void undo_begin(const struct stack *s, struct tcb *t, struct board *b)
{
	struct undo *u = &b->undo;

	u->cwnd = t->cwnd;
	u->ssthresh = t->ssthresh;
	u->una = t->snd_una;
	u->again = copies_out(s, b);
	u->sent = u->sent && u->again;
}

void undo_forget(struct board *b)
{
	b->undo.cwnd = 0;
}

void undo_sent_again(struct stack *s, struct tcb *t, struct board *b, uint32_t len,
		     struct mtime now)
{
	struct undo *u = &b->undo;

	if (!u->sent) {
		u->sent = true;
		u->ts = tcp_ts_now(s, now) + t->ts_offset;
	}
	u->again += len;
}

void undo_dsack(const struct tcb *t, struct board *b, const struct tcp_sack_block *k)
{
	struct undo *u = &b->undo;

	if (seq_le(k->end, u->una) || seq_gt(k->end, t->snd_max) || t->snd_max - u->una > UNDO_SPAN)
		return;
	u->again -= tcp_min(u->again, k->end - k->start);
}

/* A scoreboard lives only while something is outstanding, reports come a round trip later. */
void undo_keep(struct tcb *t, const struct board *b)
{
	const struct undo *u = &b->undo;
	struct tcb_work *w = tcb_work(t);

	if (!u->cwnd || !u->sent || !u->again)
		return;
	w->kept_cwnd = u->cwnd;
	w->kept_ssthresh = u->ssthresh;
	w->kept_again = u->again;
	t->flags |= TCB_F_UNDO;
}

void undo_kept(struct tcb *t, struct board *b)
{
	const struct tcb_work *w = tcb_work(t);

	if (!(t->flags & TCB_F_UNDO))
		return;
	t->flags &= ~TCB_F_UNDO;
	b->undo = (struct undo){.cwnd = w->kept_cwnd,
				.ssthresh = w->kept_ssthresh,
				.una = t->snd_una - UNDO_SPAN / 2,
				.again = w->kept_again,
				.sent = true};
}

void undo_kept_dsack(struct stack *s, struct tcb *t, const struct tcp_sack_block *k,
		     struct mtime now)
{
	struct tcb_work *w;

	if (!(t->flags & TCB_F_UNDO) || seq_gt(k->end, t->snd_una) ||
	    t->snd_una - k->start > UNDO_SPAN)
		return;
	w = tcb_work(t);
	w->kept_again -= tcp_min(w->kept_again, k->end - k->start);
	if (w->kept_again)
		return;
	t->flags &= ~TCB_F_UNDO;
	MIB(s, TcpExt_TCPDSACKUndo);
	cc_of(s, t)->undo(t, w->kept_cwnd, w->kept_ssthresh, now);
}

static void take_back(struct board_ack *a, enum mib why)
{
	struct undo *u = &a->b->undo;
	struct tcb *t = a->t;

	mib_inc(a->s, why);
	cc_of(a->s, t)->undo(t, u->cwnd, u->ssthresh, a->now);
	u->cwnd = 0;
	if (t->cc_state == CC_OPEN)
		return;
	/* What is missing nevertheless RACK will find again. */
	board_none_lost(a->s, a->b);
	a->b->frto = FRTO_NONE;
	t->cc_state = CC_OPEN;
	t->recover = t->snd_una - 1; /* the next loss reduces again */
	t->rtx_first = 0;
	t->flags &= ~TCB_F_RTX;
}

/* RFC 3522 §3.2, step 5 */
static bool echoes_the_original(const struct board_ack *a)
{
	const struct tcp_options *o = &a->g->o;

	return a->b->undo.sent && a->t->opt & TCB_OPT_TS && o->has_ts && o->ts_ecr &&
	       seq_lt(o->ts_ecr, a->b->undo.ts);
}

bool undo_try(struct board_ack *a, bool acked, bool recovered)
{
	const struct undo *u = &a->b->undo;
	struct tcb *t = a->t;
	bool dup = u->sent && !u->again, early = acked && echoes_the_original(a);

	if (!u->cwnd || !(dup || early))
		return false;
	if (t->cc_state == CC_LOSS) {
		take_back(a, MIB_TcpExt_TCPLossUndo);
	} else if (t->cc_state == CC_RECOVERY && recovered) {
		take_back(a, MIB_TcpExt_TCPFullUndo);
	} else if (dup) {
		take_back(a, MIB_TcpExt_TCPDSACKUndo);
	} else if (t->cc_state == CC_RECOVERY && !copies_out(a->s, a->b)) {
		t->flags |= TCB_F_REORDER; /* the hole was only late */
		tcb_rare(a->s, t)->reord_seen++;
		take_back(a, MIB_TcpExt_TCPPartialUndo);
	} else {
		return false;
	}
	return true;
}

/* ---- F-RTO ---- */

void frto_begin(struct tcb *t, struct board *b, uint8_t was)
{
	/* not while an earlier timeout is being repaired; again where that brought nothing */
	b->frto = was == CC_OPEN || t->rtx_first ? FRTO_BEGUN : FRTO_NONE;
}

static bool new_data_may_go(const struct tcb *t)
{
	return seq_lt(t->snd_nxt, tcp_queue_end(t)) && t->snd_wnd > t->snd_nxt - t->snd_una;
}

/* RFC 5682 §3.1, steps 2 and 3; also in step 2, as Linux, text sent once settles it. */
void frto_ack(struct board_ack *a, bool acked)
{
	struct tcb *t = a->t;
	struct board *b = a->b;

	if (a->original && b->undo.cwnd) {
		MIB(a->s, TcpExt_TCPSpuriousRTOs);
		take_back(a, MIB_TcpExt_TCPLossUndo);
	} else if (t->snd_max != t->recover) {
		if (acked || a->sacked)
			b->frto = FRTO_NONE; /* step 3a: the loss was real */
	} else if (acked && seq_lt(t->snd_una, t->recover)) {
		b->frto = new_data_may_go(t) ? FRTO_NEW_DATA : FRTO_NONE;
	}
}

/* ---- without SACK: timestamps, and F-RTO as in RFC 5682 §2.1 ---- */

/* What is sent again goes at once. */
void reno_undo_begin(struct stack *s, struct tcb *t, struct mtime now)
{
	if (t->opt & TCB_OPT_SACK) { /* it is in use, but there was no memory for a scoreboard */
		t->flags &= ~TCB_F_UNDO;
		return;
	}
	t->flags |= TCB_F_UNDO;
	tcb_work_get(s, t)->undo_cwnd = t->cwnd;
	tcb_work(t)->undo_ssthresh = t->ssthresh;
	tcb_work(t)->undo_ts = tcp_ts_now(s, now) + t->ts_offset;
}

void reno_frto_begin(struct tcb *t, uint8_t was)
{
	if (!(t->opt & TCB_OPT_SACK))
		t->frto = was == CC_OPEN || t->rtx_first ? FRTO_BEGUN : FRTO_NONE;
}

static void reno_take_back(struct stack *s, struct tcb *t, enum mib why, struct mtime now)
{
	mib_inc(s, why);
	cc_of(s, t)->undo(t, tcb_work(t)->undo_cwnd, tcb_work(t)->undo_ssthresh, now);
	t->flags &= ~(TCB_F_UNDO | TCB_F_RTX);
	t->frto = FRTO_NONE;
	t->cc_state = CC_OPEN;
	t->recover = t->snd_una - 1;
	t->snd_nxt = t->snd_max;
}

static bool reno_early(const struct tcb *t, const struct tcp_seg *g)
{
	return t->opt & TCB_OPT_TS && g->o.has_ts && g->o.ts_ecr &&
	       seq_lt(g->o.ts_ecr, tcb_work(t)->undo_ts);
}

bool reno_undo_ack(struct stack *s, struct tcb *t, const struct tcp_seg *g, struct mtime now)
{
	bool all = seq_ge(t->snd_una, t->recover), loss = t->cc_state == CC_LOSS;
	uint32_t mss = tcp_eff_mss(t);

	if (!(t->flags & TCB_F_UNDO) || t->opt & TCB_OPT_SACK || t->cc_state == CC_OPEN)
		return false;
	if (reno_early(t, g)) {
		reno_take_back(s, t,
			       loss  ? MIB_TcpExt_TCPLossUndo
			       : all ? MIB_TcpExt_TCPFullUndo
				     : MIB_TcpExt_TCPPartialUndo,
			       now);
		return true;
	}
	if (loss && t->frto == FRTO_NEW_DATA) { /* step 3b: nothing of it was sent again */
		MIB(s, TcpExt_TCPSpuriousRTOs);
		reno_take_back(s, t, MIB_TcpExt_TCPLossUndo, now);
		return true;
	}
	if (all)
		t->flags &= ~TCB_F_UNDO;
	if (!loss || t->frto == FRTO_NONE)
		return false;
	/* step 2b: a whole segment, so that it goes for sure */
	if (!all && tcp_queue_end(t) - t->snd_max >= mss &&
	    t->snd_wnd >= t->snd_max - t->snd_una + mss) {
		t->frto = FRTO_NEW_DATA;
		t->snd_nxt = t->snd_max;
	} else {
		t->frto = FRTO_NONE;
	}
	return false;
}

/* Step 3a: the loss was real. */
void reno_frto_duplicate(struct tcb *t)
{
	if (!reno_frto(t, FRTO_NEW_DATA))
		return;
	t->frto = FRTO_NONE;
	t->snd_nxt = t->snd_una;
}
