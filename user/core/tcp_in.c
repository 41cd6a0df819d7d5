/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Segments on their way in: to whom (tcp_input), then segment arrival as RFC 9293 §3.10.7 has it,
 * in its order: check sequence number, RST, SYN, ACK, URG, text, FIN; SYN-SENT apart (§3.10.7.3).
 * Before that a short way for what nearly all segments are: in order, and an ACK.
 *
 * RFC 5961 (challenge ACKs), RFC 7323 §5 (PAWS). A step that ends the processing returns false and
 * leaves the reason; after it the TCB may be gone.
 */
#include "board.h"

#define PAWS_IDLE_MS (24u * 24 * 3600 * 1000) /* RFC 7323 §5.5 */
#define OOW_REPLY_MS 100u

/* ---- answers ---- */

/* RFC 5961 §7: the answers to what may be forged are limited, for the whole stack. */
static enum drop challenge(struct stack *s, struct tcb *t, enum drop why, struct mtime now)
{
	uint32_t limit = s->cfg.limits.tcp_challenge_ack_limit;

	if (!token_take(&s->challenge_tokens, limit, limit, now))
		return DROP_RATE_LIMIT;
	MIB(s, TcpExt_TCPChallengeACK);
	tcp_ack_now(t);
	return why;
}

/*
 * RFC 9293 §3.10.7.4, first: what is not acceptable gets an ACK. Two ends that disagree must not
 * do so for ever: of segments without text only one in 100 ms is answered.
 */
static void answer_unacceptable(struct stack *s, struct tcb *t, const struct tcp_seg *g,
				struct mtime now)
{
	uint16_t ms = (uint16_t)(now.ns / NS_PER_MS);

	if (!tcp_seg_space(g)) {
		if (t->oow_ms && (uint16_t)(ms - t->oow_ms) < OOW_REPLY_MS) {
			MIB(s, TcpExt_TCPACKSkippedSeq);
			return;
		}
		t->oow_ms = ms ? ms : 1;
	}
	tcp_ack_now(t);
}

/* ---- first: sequence number ---- */

/* RFC 7323 §5.3, R1. Timestamps older than 24 days prove nothing (§5.5). */
static bool paws_reject(const struct stack *s, const struct tcb *t, const struct tcp_seg *g,
			struct mtime now)
{
	return t->opt & TCB_OPT_TS && g->o.has_ts && seq_lt(g->o.ts_val, t->ts_recent) &&
	       tcp_ts_now(s, now) - t->ts_recent_ms < PAWS_IDLE_MS;
}

/* RFC 7323 §4.3: the timestamp to echo is that of the segment at the left edge. */
static void ts_recent_update(const struct stack *s, struct tcb *t, const struct tcp_seg *g,
			     struct mtime now)
{
	if (!(t->opt & TCB_OPT_TS) || !g->o.has_ts || seq_gt(g->seq, t->last_ack_sent))
		return;
	t->ts_recent = g->o.ts_val;
	t->ts_recent_ms = tcp_ts_now(s, now);
}

/*
 * Any new byte in the window; an empty segment also at the right edge, so that the ACKs of a peer
 * that has filled our window count (its text, if any, is cut later).
 */
static bool acceptable(const struct tcb *t, const struct tcp_seg *g)
{
	uint32_t end = g->seq + tcp_seg_space(g);

	if (seq_gt(g->seq, t->rcv_adv))
		return false;
	return g->seq == end ? seq_ge(end, t->rcv_nxt) : seq_gt(end, t->rcv_nxt);
}

static bool check_sequence(struct stack *s, struct tcb *t, struct tcp_seg *g, enum drop *d,
			   struct mtime now)
{
	bool rst = g->flags & TH_RST;

	/* Simultaneous open: the peer's SYN-ACK repeats its SYN; only the ACK is new. */
	if (t->state == TCP_SYN_RECEIVED && g->seq == t->irs &&
	    (g->flags & (TH_SYN | TH_ACK | TH_RST)) == (TH_SYN | TH_ACK)) {
		g->flags &= (uint8_t)~TH_SYN;
		g->seq++;
		g->wnd = (uint16_t)(g->wnd >> t->snd_wscale); /* a SYN's is not scaled */
	}
	if ((!rst || t->state == TCP_TIME_WAIT) && paws_reject(s, t, g, now)) {
		if (t->state == TCP_TIME_WAIT)
			MIB(s, TcpExt_PAWSTimewait);
		else if (g->flags & TH_ACK && !tcp_seg_space(g) && seq_lt(g->seq, t->rcv_nxt))
			MIB(s, TcpExt_PAWSOldAck); /* overtaken on its way, which is nothing bad */
		else
			MIB(s, TcpExt_PAWSEstab);
		if (!rst && tcp_seg_space(g)) /* a reordered ACK needs no answer */
			tcp_ack_now(t);
		*d = DROP_PAWS;
		return false;
	}
	if (!acceptable(t, g)) {
		*d = DROP_OUT_OF_WINDOW;
		if (!rst && g->flags & TH_SYN)
			*d = challenge(s, t, *d, now); /* RFC 5961 §4.2 */
		else if (!rst)
			answer_unacceptable(s, t, g, now);
		if (!rst && g->len && seq_le(g->seq + g->len, t->rcv_nxt)) {
			tcp_dsack(s, t, g->seq, g->seq + g->len);
			tcp_duplicate_received(s, t);
		}
		/* Our ACK of its FIN was lost: wait 2 MSL again. */
		if (t->state == TCP_TIME_WAIT && g->flags & TH_FIN)
			t->t_keep = ms_stamp(mtime_add_ms(now, TCP_TIMEWAIT_S * 1000));
		return false;
	}
	ts_recent_update(s, t, g, now);
	return true;
}

/* ---- second and fourth: RST, SYN ---- */

static void reset_received(struct stack *s, struct tcb *t, struct mtime now)
{
	int err = E_CONNRESET;

	if (t->state == TCP_SYN_RECEIVED || t->opt & TCB_OPT_SYNACK)
		err = E_CONNREFUSED;
	else if (t->state == TCP_CLOSE_WAIT)
		err = E_PIPE;
	else if (t->state == TCP_CLOSING || t->state == TCP_LAST_ACK)
		err = 0;
	tcp_conn_drop(s, t, err, now);
}

static bool check_rst(struct stack *s, struct tcb *t, struct tcp_seg *g, enum drop *d,
		      struct mtime now)
{
	if (!(g->flags & TH_RST))
		return true;
	*d = DROP_BAD_STATE;
	if (t->state == TCP_TIME_WAIT) {
		/* As with a record (tcp_timewait.c): the program finds what it would after 2 MSL. */
		if (g->seq != t->rcv_nxt || g->flags & TH_SYN || s->cfg.limits.tcp_rfc1337)
			return false;
		*d = DROP_NONE;
		tcp_conn_drop(s, t, 0, now);
		return false;
	}
	if (g->seq == t->rcv_nxt) { /* RFC 5961 §3.2 */
		*d = DROP_NONE;
		reset_received(s, t, now);
	} else {
		*d = challenge(s, t, *d, now);
	}
	return false;
}

static bool check_syn(struct stack *s, struct tcb *t, struct tcp_seg *g, enum drop *d,
		      struct mtime now)
{
	if (!(g->flags & TH_SYN))
		return true;
	MIB(s, TcpExt_TCPSYNChallenge);
	*d = challenge(s, t, DROP_BAD_STATE, now); /* RFC 5961 §4.2 */
	return false;
}

/* ---- fifth: ACK ---- */

/* Our FIN has just been acknowledged. @t may be gone after it. */
static void fin_acked(struct stack *s, struct tcb *t, struct mtime now)
{
	switch (t->state) {
	case TCP_FIN_WAIT_1:
		tcp_set_state(s, t, TCP_FIN_WAIT_2, now);
		tcp_event(s, t, EV_WRITABLE);
		if (t->flags & TCB_F_CLOSED && t->linger2 == LINGER2_NONE) {
			MIB(s, TcpExt_TCPAbortOnData);
			tcp_conn_drop(s, t, 0, now);
		}
		break;
	case TCP_CLOSING:
		tcp_time_wait(s, t, now);
		break;
	case TCP_LAST_ACK:
		tcp_conn_drop(s, t, 0, now);
		break;
	default:
		break;
	}
}

static bool ack_of_syn(struct stack *s, struct tcb *t, struct tcp_seg *g, enum drop *d,
		       struct mtime now)
{
	if (g->ack != t->iss + 1 || t->snd_max == t->iss) {
		tcp_send_reset(s, g, now);
		*d = DROP_BAD_ACK;
		return false;
	}
	tcp_established(s, t, g, now);
	return true;
}

/* Fast open: the handshake is complete. */
static void synack_acked(struct stack *s, struct tcb *t, struct mtime now)
{
	t->opt &= (uint8_t)~(TCB_OPT_SYNACK | TCB_OPT_FASTOPEN);
	if (t->flags & TCB_F_RTT_VALID && tcb_work(t)->rtt_seq == t->iss + 1) {
		tcp_rtt_sample(t, us_stamp(now) - tcb_work(t)->rtt_time, now);
		t->flags &= ~TCB_F_RTT_VALID;
	}
	t->rtx_first = 0;
	t->backoff = 0;
	t->t_rtx = t->snd_una == t->snd_max ? 0 : mtime_add_us(now, tcp_rto_us(t)).ns;
	if (t->flags & TCB_F_ACCEPT_QUEUED)
		tcp_fastopen_done(s, t->listener);
	tcp_event(s, t, EV_CONFIRMED);
}

static bool check_ack(struct stack *s, struct tcb *t, struct tcp_seg *g, enum drop *d,
		      struct mtime now)
{
	uint32_t generation = t->generation;

	if (!(g->flags & TH_ACK)) {
		*d = DROP_BAD_STATE;
		return false;
	}
	if (t->state == TCP_SYN_RECEIVED)
		return ack_of_syn(s, t, g, d, now);
	/* RFC 5961 §5.2 */
	if (seq_gt(g->ack, t->snd_max) || seq_lt(g->ack, t->snd_una - t->max_window)) {
		*d = challenge(s, t, DROP_BAD_ACK, now);
		return false;
	}
	if (t->opt & TCB_OPT_SYNACK && seq_ge(g->ack, t->snd_una))
		synack_acked(s, t, now);
	if (seq_gt(g->ack, t->snd_una)) {
		tcp_ack_new(s, t, g, now);
		tcp_window_update(t, g);
		if (tcp_fin_acked(t))
			fin_acked(s, t, now);
	} else {
		tcp_ack_duplicate(s, t, g, now);
		tcp_window_update(t, g);
	}
	return tcb_alive(t, generation) && t->state != TCP_CLOSED;
}

/* ---- segment arrives ---- */

/* The peer lives. One that begins again after an RTO starts slowly, and waits for our ACKs. */
static void heard(struct tcb *t, const struct tcp_seg *g, struct mtime now)
{
	if (g->len)
		tcp_delack_learn(t, ms_ago(t->last_rcv, now));
	t->last_rcv = ms_stamp(now);
	if (g->len)
		t->last_data = t->last_rcv;
	t->probes = 0;
}

static enum drop input_synchronised(struct stack *s, struct tcb *t, struct tcp_seg *g,
				    struct mtime now)
{
	enum drop d = DROP_NONE;

	if (t->opt & TCB_OPT_SYNACK && g->seq == t->irs &&
	    (g->flags & (TH_SYN | TH_ACK | TH_RST | TH_FIN)) == TH_SYN) {
		t->rtx_first = 0; /* our SYN-ACK was lost: it goes once more, and does not count */
		t->t_rtx = now.ns;
		return DROP_NONE;
	}
	if (!check_sequence(s, t, g, &d, now) || !check_rst(s, t, g, &d, now) ||
	    !check_syn(s, t, g, &d, now) || !check_ack(s, t, g, &d, now))
		return d;
	heard(t, g, now);
	if (g->flags & TH_URG || t->flags & TCB_F_URG)
		tcp_urgent(s, t, g);
	return tcp_segment_text(s, t, g, now);
}

/*
 * Header prediction: established, in sequence, no surprises in flags, timestamp, ACK or loss
 * recovery. What is done then is what the long way would do.
 */
static bool input_predicted(struct stack *s, struct tcb *t, struct tcp_seg *g, struct mtime now)
{
	if (t->state != TCP_ESTABLISHED || (g->flags & ~(TH_PSH | TH_ECE | TH_CWR)) != TH_ACK ||
	    g->seq != t->rcv_nxt || g->len > tcp_rcv_wnd(t) || t->ooo_head != SHM_NIL ||
	    t->flags & (TCB_F_FIN_OOO | TCB_F_URG) || t->opt & TCB_OPT_SYNACK ||
	    t->cc_state != CC_OPEN || g->ack - t->snd_una > t->snd_max - t->snd_una ||
	    (g->ack == t->snd_una && (!g->len || g->o.n_sack)) || paws_reject(s, t, g, now))
		return false;
	ts_recent_update(s, t, g, now);
	heard(t, g, now);
	if (g->ack != t->snd_una)
		tcp_ack_new(s, t, g, now);
	tcp_window_update(t, g);
	if (g->len) {
		MIB(s, TcpExt_TCPHPHits);
		tcp_data_in_order(s, t, g, now);
	} else {
		MIB(s, TcpExt_TCPPureAcks);
	}
	return true;
}

/* ---- SYN-SENT (§3.10.7.3) ---- */

static enum drop input_syn_sent(struct stack *s, struct tcb *t, struct tcp_seg *g, struct mtime now)
{
	bool ack = g->flags & TH_ACK;

	if (ack && (!seq_gt(g->ack, t->iss) || seq_gt(g->ack, t->snd_max))) {
		tcp_send_reset(s, g, now);
		return DROP_BAD_ACK;
	}
	if (g->flags & TH_RST) {
		if (!ack)
			return DROP_BAD_STATE;
		tcp_conn_drop(s, t, E_CONNREFUSED, now);
		return DROP_NONE;
	}
	if (!(g->flags & TH_SYN))
		return DROP_BAD_STATE;

	t->queue = g->p->queue;
	tcp_ecn_agreed(t, g);
	tcp_syn_received(s, t, g->seq, &g->o, now);
	if (!ack) { /* simultaneous open: our SYN once more, now with an ACK */
		tcp_set_state(s, t, TCP_SYN_RECEIVED, now);
		t->snd_nxt = t->iss;
		return DROP_NONE;
	}
	tcp_established(s, t, g, now);
	tcp_ack_now(t);
	g->seq++; /* what comes with the SYN stands behind it */
	if (g->flags & TH_URG)
		tcp_urgent(s, t, g);
	return tcp_segment_text(s, t, g, now);
}

enum drop tcp_conn_input(struct stack *s, struct tcb *t, struct tcp_seg *g, struct mtime now)
{
	uint32_t generation = t->generation;
	enum drop d = DROP_NONE;

	t->segs_in++;
	t->data_segs_in += !!g->len;
	if (t->state == TCP_SYN_SENT)
		d = input_syn_sent(s, t, g, now);
	else if (!input_predicted(s, t, g, now))
		d = input_synchronised(s, t, g, now);
	if (tcb_alive(t, generation))
		tcp_kick(s, t, now);
	return d;
}

/* ---- to whom ---- */

/* The XDP program's hint, if it names a live connection with this very pair. */
static uint32_t hinted(const struct stack *s, const struct tcp_seg *g)
{
	const struct pkt *p = g->p;
	const struct tcb *t;

	if (p->conn >= s->a.n_tcbs)
		return SHM_NIL;
	t = &s->a.tcbs[p->conn];
	if (t->owner != TCB_MINE || t->generation != p->generation || t->state == TCP_CLOSED ||
	    t->local_port != g->dport || t->remote_port != g->sport ||
	    !ip_addr_eq(&t->local, &g->ip->dst) || !ip_addr_eq(&t->remote, &g->ip->src))
		return SHM_NIL;
	return p->conn;
}

static bool time_wait_recycle(struct stack *s, struct tcb *t, struct tcp_seg *g, struct mtime now);

/*
 * An application's listener takes what it can do alone. All else is the daemon's, which has the
 * same listener: cookies, fast open, resets, and peers to whom only it knows the way.
 */
static enum drop input_listener(struct stack *s, struct tcp_seg *g, struct mtime now)
{
	struct tcp_addr_pair a = tcp_seg_pair(g);
	enum drop d = DROP_STALE_FLOW;
	uint32_t i;

	if (!free_list_in_use(&s->listener_free) || netif_is_loopback(&s->netifs[g->ip->netif]))
		goto out;
	/*
	 * A SYN that the daemon passes on is of a connection that it still had a record of. That has
	 * gone meanwhile, or is on its way there: the answer has to be the daemon's, which will know.
	 */
	if (g->flags & TH_SYN && g->p->injected && !g->p->yours)
		goto out;
	i = synreq_lookup(s, &a);
	if (i != SHM_NIL) {
		d = synreq_input(s, i, g, now);
		goto out;
	}
	i = timewait_lookup(s, &a);
	if (i != SHM_NIL) {
		d = timewait_input(s, i, g, now);
		if (d != DROP_BAD_STATE)
			return d;
		d = DROP_STALE_FLOW;
	}
	i = listener_lookup(s, &a.local, a.local_port);
	if (i != SHM_NIL && (g->flags & (TH_SYN | TH_ACK | TH_RST | TH_FIN)) == TH_SYN)
		d = listen_input(s, i, g, now);
out:
	if (d == DROP_STALE_FLOW)
		MIB(s, Td_StaleFlow);
	return d;
}

static enum drop input_app(struct stack *s, struct tcp_seg *g, struct mtime now)
{
	uint32_t i = hinted(s, g);

	if (i == SHM_NIL)
		i = conn_lookup(s, &g->ip->dst, g->dport, &g->ip->src, g->sport);
	if (i == SHM_NIL ||
	    (tcb_at(s, i)->sockopt & TCB_BORN_UNTOLD && time_wait_recycle(s, tcb_at(s, i), g, now)))
		return input_listener(s, g, now);
	/* Who talks over lo is on this host: what comes from elsewhere is forged (RFC 1122
	 * §3.2.1.3). */
	if (netif_is_loopback(&s->netifs[g->ip->netif]) !=
	    netif_is_loopback(&s->netifs[tcb_at(s, i)->netif])) {
		MIB(s, Ip_InAddrErrors);
		return DROP_MARTIAN;
	}
	return tcp_conn_input(s, tcb_at(s, i), g, now);
}

/*
 * A SYN that may begin the pair's next incarnation while a program still holds the old one in
 * TIME_WAIT (RFC 6191): that socket is closed for good, what it has received can still be read.
 */
static bool time_wait_recycle(struct stack *s, struct tcb *t, struct tcp_seg *g, struct mtime now)
{
	if (t->state != TCP_TIME_WAIT ||
	    (g->flags & (TH_SYN | TH_ACK | TH_RST | TH_FIN)) != TH_SYN ||
	    paws_reject(s, t, g, now) ||
	    !(seq_gt(g->seq, t->rcv_nxt) ||
	      (t->opt & TCB_OPT_TS && g->o.has_ts && seq_gt(g->o.ts_val, t->ts_recent))))
		return false;
	g->tw_iss = t->snd_max + 65537u;
	g->tw_iss += !g->tw_iss;
	MIB(s, TcpExt_TWRecycled);
	tcp_conn_drop(s, t, 0, now);
	return true;
}

static enum drop input_full(struct stack *s, struct tcp_seg *g, struct mtime now)
{
	struct tcp_addr_pair a = tcp_seg_pair(g);
	enum drop d;
	uint32_t i;

	i = conn_lookup(s, &a.local, a.local_port, &a.remote, a.remote_port);
	if (i != SHM_NIL && !time_wait_recycle(s, tcb_at(s, i), g, now))
		return tcp_conn_input(s, tcb_at(s, i), g, now);
	i = synreq_lookup(s, &a);
	if (i != SHM_NIL)
		return synreq_input(s, i, g, now);
	i = timewait_lookup(s, &a);
	if (i != SHM_NIL) {
		d = timewait_input(s, i, g, now);
		if (d != DROP_BAD_STATE)
			return d;
	}
	i = listener_lookup(s, &a.local, a.local_port);
	if (i != SHM_NIL && s->listeners[i].in_app && g->tw_ts)
		return DROP_STALE_FLOW;
	if (i != SHM_NIL)
		return listen_input(s, i, g, now);
	MIB(s, Td_NoConnection);
	tcp_send_reset(s, g, now);
	return DROP_NO_SOCKET;
}

enum drop tcp_input(struct stack *s, struct pkt *p, const struct ip_info *ip, struct mtime now)
{
	struct tcp_seg g;
	enum drop d = tcp_parse(s, p, ip, &g);

	if (d != DROP_NONE)
		return d;
	return s->cfg.role == STACK_APP ? input_app(s, &g, now) : input_full(s, &g, now);
}

/* ---- ICMP errors (RFC 5927, RFC 1122 §4.2.3.9) ---- */

/* The path takes less: send from snd_una on in smaller segments; no sign of congestion. */
static void mss_lower(struct stack *s, struct tcb *t, uint16_t mss)
{
	t->mss = mss;
	t->cwnd = tcp_max(t->cwnd, tcp_eff_mss(t));
	reno_frto_duplicate(t); /* all goes again in any case */
	if (!tcp_board(s, t))
		t->snd_nxt = t->snd_una;
	else
		board_all_lost(s, tcp_board(s, t));
	t->flags &= ~TCB_F_RTT_VALID;
}

static void mtu_lowered(struct stack *s, struct tcb *t, uint32_t mtu, struct mtime now)
{
	uint16_t mss = tcp_mtu_mss(tcp_max(mtu, 552), &t->remote); /* ip_rt_min_pmtu */

	if (!tcp_synchronised(t) || mss >= t->mss)
		return;
	mss_lower(s, t, mss);
	tcp_kick(s, t, now);
}

/* What is under way is too long, perhaps, and lost without a word; what is not, is cut anew only. */
void tcp_link_mtu_lowered(struct stack *s, uint32_t netif, struct mtime now)
{
	uint32_t mtu = s->netifs[netif].mtu;

	for (uint32_t i = 0; i < s->tcb_free.used; i++) {
		struct tcb *t = &s->a.tcbs[i];

		if (t->owner != TCB_MINE || t->netif != netif || !tcp_synchronised(t))
			continue;
		if (t->snd_una != t->snd_max)
			mtu_lowered(s, t, mtu, now);
		else
			t->mss = (uint16_t)tcp_min(t->mss, tcp_mtu_mss(mtu, &t->remote));
	}
}

void tcp_way_moved(struct stack *s, struct tcb *t)
{
	uint32_t mss = tcp_mtu_mss(s->netifs[t->netif].mtu, &t->remote);

	mss = tcp_max(tcp_min(mss, t->mss_clamp), TCP_MSS_MIN);
	if (!tcp_synchronised(t) || mss == t->mss)
		return;
	if (mss < t->mss) {
		mss_lower(s, t, (uint16_t)mss);
		return;
	}
	t->mss = (uint16_t)mss;
	t->cwnd = tcp_max(t->cwnd, tcp_eff_mss(t));
}

void tcp_icmp(struct stack *s, const struct tcp_addr_pair *a, uint32_t seq, int err, uint32_t mtu,
	      struct mtime now)
{
	uint32_t i = conn_lookup(s, &a->local, a->local_port, &a->remote, a->remote_port);
	struct tcb *t;

	if (i == SHM_NIL)
		return;
	t = tcb_at(s, i);
	/* RFC 5927 §4: only about what is outstanding */
	if (!seq_in(seq, t->snd_una, t->snd_max)) {
		MIB(s, TcpExt_OutOfWindowIcmps);
		return;
	}
	if (mtu)
		mtu_lowered(s, t, mtu, now);
	else if (t->state == TCP_SYN_SENT) /* as Linux; RFC 5927 §5.2: later it is a hint only */
		tcp_conn_drop(s, t, err, now);
}
