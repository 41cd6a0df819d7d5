/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Explicit congestion notification (RFC 3168), with the rules that Linux has for tcp_ecn: who
 * offers it and who agrees, what carries ECT, and what is told with ECE and CWR. An algorithm that
 * needs it (DCTCP, RFC 8257) is told exactly which segments were marked, and has ECT on all that it
 * sends.
 *
 * TCB_F_ECE: ACKs carry ECE. Until the peer's CWR, or for RFC 8257 as long as segments are marked.
 * TCB_F_CWR: the next new data carries CWR. TCB_OPT_ECN: both ends have agreed (offered, in
 * SYN-SENT).
 */
#include "tcp.h"

static bool needs_ecn(uint8_t cc)
{
	return cc_get(cc)->needs_ecn;
}

/* ---- opening ---- */

uint8_t tcp_ecn_syn(const struct stack *s, struct tcb *t, bool again)
{
	if (t->state != TCP_SYN_SENT) /* a SYN-ACK of a simultaneous open */
		return t->opt & TCB_OPT_ECN ? TH_ECE : 0;
	/* tcp_ecn_fallback: there are still boxes on the way that drop such SYNs */
	if (again)
		return 0;
	if (s->cfg.limits.tcp_ecn != 1 && !needs_ecn(t->cc)) {
		t->opt &= (uint8_t)~TCB_OPT_ECN;
		return 0;
	}
	t->opt |= TCB_OPT_ECN;
	return TH_ECE | TH_CWR;
}

void tcp_ecn_agreed(struct tcb *t, const struct tcp_seg *g)
{
	const uint8_t both = TH_ECE | TH_CWR, want = g->flags & TH_ACK ? TH_ECE : both;

	if ((g->flags & both) != want)
		t->opt &= (uint8_t)~TCB_OPT_ECN;
}

bool tcp_ecn_accept(const struct stack *s, uint8_t cc, const struct tcp_seg *g)
{
	if ((g->flags & (TH_ECE | TH_CWR)) != (TH_ECE | TH_CWR))
		return false;
	if (needs_ecn(cc))
		return true;
	/* RFC 3168 §6.1.1: a SYN is not ECT; who sends such does something that we do not. */
	return s->cfg.limits.tcp_ecn && !(g->ip->tos & ECN_MASK);
}

/* ---- sending ---- */

/* RFC 3168 §6.1.4, §6.1.5: neither retransmissions nor what has no text is ECT. */
uint8_t tcp_ecn_out(const struct tcb *t, uint32_t seq, uint32_t len, uint8_t *flags)
{
	bool fresh = len && !seq_lt(seq, t->snd_max);

	if (needs_ecn(t->cc) && (*flags & TH_SYN || t->opt & TCB_OPT_ECN)) {
		if (*flags & TH_RST)
			return ECN_ECT0;
	} else if (!(t->opt & TCB_OPT_ECN) || *flags & (TH_SYN | TH_RST)) {
		return 0;
	}
	if (*flags & TH_SYN)
		return ECN_ECT0;
	if (t->flags & TCB_F_ECE)
		*flags |= TH_ECE;
	if (t->flags & TCB_F_CWR && fresh)
		*flags |= TH_CWR;
	return fresh || needs_ecn(t->cc) ? ECN_ECT0 : 0;
}

/* ---- receiving ---- */

/* RFC 8257 §3.2: what was not acknowledged yet had the other state: that is said first. */
static void mark_changed(struct stack *s, struct tcb *t, struct mtime now)
{
	struct tcp_addr_pair a = tcb_pair(t);
	struct tcp_options o = {
		.has_ts = t->opt & TCB_OPT_TS,
		.ts_val = tcp_ts_now(s, now) + t->ts_offset,
		.ts_ecr = t->ts_recent,
	};

	if (t->flags & TCB_F_ACK_DELAYED && t->rcv_nxt != t->last_ack_sent)
		tcp_send_bare(s, &a, t->snd_max, t->rcv_nxt,
			      TH_ECT | TH_ACK | (t->flags & TCB_F_ECE ? TH_ECE : 0),
			      (uint16_t)(tcp_rcv_wnd(t) >> t->rcv_wscale), &o, t->queue, now);
	t->flags ^= TCB_F_ECE;
	tcp_ack_now(t);
}

void tcp_ecn_in(struct stack *s, struct tcb *t, const struct tcp_seg *g, struct mtime now)
{
	bool marked = (g->ip->tos & ECN_MASK) == ECN_CE;

	if (!(t->opt & TCB_OPT_ECN))
		return;
	if (needs_ecn(t->cc)) {
		if (marked != !!(t->flags & TCB_F_ECE))
			mark_changed(s, t, now);
		return;
	}
	/* The peer's window may be a single segment now: it should not wait (as Linux). */
	if (g->flags & TH_CWR) {
		t->flags &= ~TCB_F_ECE;
		tcp_ack_now(t);
	}
	if (marked && !(t->flags & TCB_F_ECE)) {
		t->flags |= TCB_F_ECE;
		tcp_ack_now(t);
	}
}

bool tcp_ecn_echo(struct stack *s, struct tcb *t, const struct tcp_seg *g, uint32_t acked,
		  struct mtime now)
{
	const struct cc_ops *cc = cc_of(s, t);
	bool reducing = tcp_rack_reducing(s, t),
	     ece = g->flags & TH_ECE && !(g->flags & TH_SYN) && t->opt & TCB_OPT_ECN;
	uint32_t mss = tcp_eff_mss(t), flight = t->snd_max - t->snd_una + acked;

	if (ece && acked) {
		stack_count(s, MIB_TcpExt_TCPDeliveredCE, (acked + mss - 1) / mss);
		tcb_rare(s, t)->delivered_ce += (acked + mss - 1) / mss;
	}
	if (cc->marks)
		cc->marks(t, acked, ece);
	if (!ece || t->cc_state != CC_OPEN)
		return ece;
	/*
	 * Once for each window, and not for one that has paid for a loss (RFC 3168 §6.1.2). What
	 * was sent during a reduction has met the queue of before, so its marks are answered only;
	 * while the first answer is on its way there is no second one.
	 */
	if (!reducing || seq_gt(t->snd_una, t->recover))
		t->flags |= TCB_F_CWR;
	if (reducing || seq_le(t->snd_una, t->recover))
		return true;
	if (cc->control)
		return true;
	(cc->ecn ? cc->ecn : cc->loss)(t, tcp_min(flight, t->cwnd), now);
	t->recover = t->snd_max;
	if (!tcp_rack_reduce(s, t, flight))
		t->cwnd = tcp_max(tcp_min(t->cwnd, t->ssthresh), mss);
	return true;
}
