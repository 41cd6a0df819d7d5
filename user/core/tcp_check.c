/* SPDX-License-Identifier: BSD-2-Clause */
/* The invariants of one connection, all of them, for tests: see tcb.h and the files they name. */
#include "board.h"

#define FAIL(text) return check_fail(why, len, "tcp: " text ", conn", tcb_index(s, t))

/* Sums of a queue's chunks. */
struct queue {
	uint32_t bytes, chunks, last;
	bool broken;
};

static struct queue walk(const struct stack *s, uint32_t head)
{
	struct queue q = {.last = SHM_NIL};

	for (uint32_t c = head; c != SHM_NIL; c = s->a.chunk_hdrs[c].next) {
		const struct chunk_hdr *h = &s->a.chunk_hdrs[c];

		if (c >= s->a.n_chunks || q.chunks++ > s->a.n_chunks || !h->len ||
		    (uint32_t)h->off + h->len > CHUNK_SIZE) {
			q.broken = true;
			break;
		}
		q.bytes += h->len;
		q.last = c;
	}
	return q;
}

static bool tx_contiguous(const struct stack *s, const struct tcb *t)
{
	uint32_t seq = tcp_queue_end(t) - t->tx_bytes;

	for (uint32_t c = t->tx_head; c != SHM_NIL; c = s->a.chunk_hdrs[c].next) {
		if (s->a.chunk_hdrs[c].seq != seq)
			return false;
		seq += s->a.chunk_hdrs[c].len;
	}
	return true;
}

static bool ooo_sorted(const struct stack *s, const struct tcb *t)
{
	uint32_t last = t->rcv_nxt + 1;

	for (uint32_t c = t->ooo_head; c != SHM_NIL; c = s->a.chunk_hdrs[c].next) {
		const struct chunk_hdr *h = &s->a.chunk_hdrs[c];

		if (seq_lt(h->seq, last) || seq_gt(h->seq + h->len, t->rcv_adv))
			return false;
		last = h->seq + h->len;
	}
	return true;
}

/* Up to what a chunk of the out-of-order queue remembers there is no hole. */
static bool ooo_skip_valid(const struct stack *s, const struct tcb *t)
{
	for (uint32_t c = t->ooo_head; c != SHM_NIL; c = s->a.chunk_hdrs[c].next) {
		const struct chunk_hdr *h = &s->a.chunk_hdrs[c];
		uint32_t skip = h->skip, at = c, end;

		while (skip != SHM_NIL && at != skip) {
			end = h->seq + h->len;
			at = h->next;
			if (at == SHM_NIL || s->a.chunk_hdrs[at].seq != end)
				return false;
			h = &s->a.chunk_hdrs[at];
		}
	}
	return true;
}

/* What is remembered of the out-of-order queue is in it. */
static bool ooo_cur_valid(const struct stack *s, const struct tcb *t)
{
	uint32_t cur = t->work ? tcb_work(t)->ooo_cur : SHM_NIL, c = t->ooo_head;

	while (c != cur && c != SHM_NIL)
		c = s->a.chunk_hdrs[c].next;
	return cur == SHM_NIL || c == cur;
}

static int check_queues(const struct stack *s, const struct tcb *t, char *why, size_t len)
{
	struct board *b = tcp_board(s, t);
	struct queue tx = walk(s, t->tx_head), rx = walk(s, t->rx_head), ooo = walk(s, t->ooo_head);

	if (tx.broken || rx.broken || ooo.broken)
		FAIL("queue with a bad chunk");
	if (tx.bytes != t->tx_bytes || rx.bytes != t->rx_bytes || ooo.bytes != t->ooo_bytes)
		FAIL("queue's bytes are not the sum of its chunks");
	if (tx.last != (t->work ? tcb_work(t)->tx_tail : SHM_NIL) || rx.last != rxq_tail(s, t))
		FAIL("queue's tail is not its last chunk");
	if (tx.chunks + rx.chunks + ooo.chunks + board_chunks(b) != t->n_chunks)
		FAIL("n_chunks is not the number of chunks");
	if (t->state == TCP_CLOSED && (tx.chunks || ooo.chunks))
		FAIL("closed, but holds what nobody can use");
	if (!tx_contiguous(s, t))
		FAIL("hole in the send queue");
	if (!ooo_sorted(s, t))
		FAIL("out-of-order queue not sorted, or not beyond rcv_nxt and within rcv_adv");
	if (!ooo_skip_valid(s, t))
		FAIL("out-of-order queue: a hole, or its end, where a chunk remembers none");
	if (!ooo_cur_valid(s, t))
		FAIL("out-of-order queue: what was written last is not in it");
	return 0;
}

static int check_numbers(const struct stack *s, const struct tcb *t, char *why, size_t len)
{
	uint32_t sent = t->snd_max - t->snd_una, all = t->tx_bytes;

	if (seq_lt(t->snd_nxt, t->snd_una) || seq_lt(t->snd_max, t->snd_nxt))
		FAIL("not snd_una <= snd_nxt <= snd_max");
	if (t->state == TCP_CLOSED)
		return 0;
	if (tcp_synchronised(t)) {
		if (t->flags & TCB_F_FIN_SENT && !(t->flags & TCB_F_FIN_QUEUED))
			FAIL("FIN sent that nobody asked for");
		if (t->flags & TCB_F_FIN_SENT ? sent && sent != all + 1 : sent > all)
			FAIL("more sent than there is");
		if (tcp_fin_acked(t) && t->tx_bytes)
			FAIL("FIN acknowledged before the data");
	}
	if (t->state != TCP_SYN_SENT && seq_lt(t->rcv_adv, t->rcv_nxt))
		FAIL("rcv_adv behind rcv_nxt");
	if (t->mss < TCP_MSS_MIN || !t->rcv_mss)
		FAIL("MSS too small");
	if (tcp_synchronised(t) && t->mss > t->mss_clamp)
		FAIL("MSS above the peer's");
	if (t->cwnd < tcp_eff_mss(t) && t->state != TCP_SYN_SENT)
		FAIL("cwnd below a segment");
	if (t->rto < TCP_RTO_MIN_US || t->rto > TCP_RTO_MAX_US)
		FAIL("RTO out of its bounds");
	return 0;
}

static int check_state(const struct stack *s, const struct tcb *t, char *why, size_t len)
{
	bool fin_rcvd = t->state == TCP_CLOSE_WAIT || t->state == TCP_CLOSING ||
			t->state == TCP_LAST_ACK || t->state == TCP_TIME_WAIT;
	bool fin_queued =
		tcp_synchronised(t) && t->state != TCP_ESTABLISHED && t->state != TCP_CLOSE_WAIT;
	bool fin_acked = t->state == TCP_FIN_WAIT_2 || t->state == TCP_TIME_WAIT;

	if (t->state >= TCP_STATE_MAX || t->state == TCP_LISTEN)
		FAIL("no such state");
	if (!tcp_synchronised(t))
		return 0;
	if (!!(t->flags & TCB_F_FIN_RCVD) != fin_rcvd)
		FAIL("state and the peer's FIN disagree");
	if (!!(t->flags & TCB_F_FIN_QUEUED) != fin_queued)
		FAIL("state and our FIN disagree");
	if (tcp_fin_acked(t) != fin_acked)
		FAIL("state and the ACK of our FIN disagree");
	if (s->cfg.role == STACK_FULL && t->state == TCP_TIME_WAIT && t->flags & TCB_F_CLOSED)
		FAIL("orphan in TIME_WAIT that is not a record");
	return 0;
}

static int check_urgent(const struct stack *s, const struct tcb *t, char *why, size_t len)
{
	uint32_t end = tcp_queue_end(t);

	if (t->flags & (TCB_F_URG_VALID | TCB_F_URG_READ) && !(t->flags & TCB_F_URG))
		FAIL("urgent byte that nobody announced");
	if (t->flags & TCB_F_URG && (!t->work || seq_lt(tcb_work(t)->urg_seq, tcp_copied_seq(t))))
		FAIL("urgent byte that was read past");
	if (t->state != TCP_CLOSED && t->flags & TCB_F_URG_SND &&
	    (!t->work || !seq_gt(tcb_work(t)->snd_up, t->snd_una) ||
	     seq_gt(tcb_work(t)->snd_up, end)))
		FAIL("not snd_una < snd_up <= end of the send queue");
	return 0;
}

static int check_work(const struct stack *s, const struct tcb *t, char *why, size_t len)
{
	const uint8_t *w, *first = (const uint8_t *)(s->a.tcbs + s->a.n_tcbs);

	if (!t->work) {
		if (t->tx_bytes || t->flags & TCB_F_WORK)
			FAIL("work without its record");
		return 0;
	}
	w = (const uint8_t *)tcb_work(t);
	if (w < first || (size_t)(w - first) % sizeof(struct tcb_work) ||
	    (size_t)(w - first) / sizeof(struct tcb_work) >= s->work_free.used)
		FAIL("record of work that is none");
	return 0;
}

static int check_undo(const struct stack *s, const struct tcb *t, char *why, size_t len)
{
	if (t->flags & TCB_F_UNDO && t->opt & TCB_OPT_SACK && tcp_board(s, t))
		FAIL("two places for what may be taken back");
	if (reno_frto(t, FRTO_NEW_DATA) && t->snd_nxt != t->snd_max)
		FAIL("F-RTO goes back before it knows");
	return 0;
}

static int check_board(const struct stack *s, const struct tcb *t, char *why, size_t len)
{
	struct board *b = tcp_board(s, t);

	if (!b)
		return 0;
	if (!(t->opt & TCB_OPT_SACK) || !tcp_synchronised(t) || t->snd_una == t->snd_max)
		FAIL("scoreboard for nothing");
	if (!board_sane(s, t, b))
		FAIL("scoreboard does not say what is outstanding");
	if (b->frto != FRTO_NONE && t->cc_state != CC_LOSS)
		FAIL("F-RTO without a timeout");
	if (b->t_pto > t->t_rtx)
		FAIL("loss probe after the retransmission timer");
	return 0;
}

/* Nothing may wait for something that never comes. */
static int check_deadlines(const struct stack *s, const struct tcb *t, char *why, size_t len)
{
	bool queued = t->flags & TCB_F_OUT_QUEUED;
	bool blocked = tcp_synchronised(t) && !tcp_fin_acked(t) &&
		       (t->tx_bytes || t->flags & TCB_F_FIN_QUEUED);

	if (t->state == TCP_CLOSED) {
		if (t->t_rtx || t->t_delack || t->t_keep || t->timer.slot != SHM_NIL)
			FAIL("closed, but a timer runs");
		if (t->flags & TCB_F_CLOSED && !(t->flags & TCB_F_RST_SEND && queued))
			FAIL("closed orphan that is not freed");
		return 0;
	}
	if (t->snd_una != t->snd_max && !t->t_rtx)
		FAIL("outstanding, but no retransmission timer");
	if (t->opt & TCB_OPT_SYNACK && (!t->t_rtx || t->flags & TCB_F_PROBING))
		FAIL("SYN-ACK not acknowledged, and no timer for it");
	if (t->flags & TCB_F_RTX && t->snd_una == t->snd_max)
		FAIL("retransmission of what is acknowledged");
	if (t->flags & TCB_F_PROBING && (!t->t_rtx || t->snd_una != t->snd_max))
		FAIL("probing with data outstanding, or without timer");
	if (t->flags & TCB_F_ACK_DELAYED && !t->t_delack)
		FAIL("delayed ACK without timer");
	if (queued || t->timer.slot != SHM_NIL)
		return 0;
	if (t->flags & (TCB_F_ACK_NOW | TCB_F_RTX) || blocked)
		FAIL("something to send, but neither output nor timer is to come");
	if (t->t_rtx || t->flags & TCB_F_ACK_DELAYED || tcp_timer_keep(t, s->now))
		FAIL("a deadline, but not in the wheel");
	return 0;
}

int tcp_check(const struct stack *s, const struct tcb *t, char *why, size_t len)
{
	int err = check_work(s, t, why, len);

	if (!err)
		err = check_state(s, t, why, len);

	if (!err)
		err = check_numbers(s, t, why, len);
	if (!err)
		err = check_queues(s, t, why, len);
	if (!err)
		err = check_urgent(s, t, why, len);
	if (!err)
		err = check_board(s, t, why, len);
	if (!err)
		err = check_undo(s, t, why, len);
	if (!err)
		err = check_deadlines(s, t, why, len);
	return err;
}
