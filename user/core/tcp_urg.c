/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Urgent data as Linux delivers it: one byte, the last of what was sent with MSG_OOB. The pointer
 * names the byte behind it (RFC 9293 §3.8.5, RFC 6093 §3.1: what all stacks do). The receiver
 * takes it with MSG_OOB, or in line with SO_OOBINLINE; a read never crosses it in one go.
 *
 * Invariants (tcp_check.c): while TCB_F_URG, the program has not read past urg_seq; TCB_F_URG_VALID
 * and _READ are only set with it. While TCB_F_URG_SND, snd_una < snd_up <= end of the send queue.
 */
#include "tcp.h"

/* The number of the next byte that the program reads. */
uint32_t tcp_copied_seq(const struct tcb *t)
{
	return t->rcv_nxt - !!(t->flags & TCB_F_FIN_RCVD) - t->rx_bytes;
}

static bool out_of_band(const struct tcb *t)
{
	return t->flags & TCB_F_URG && !(t->sockopt & TCB_OOBINLINE);
}

/* ---- receiving ---- */

static void announced(struct stack *s, struct tcb *t, uint32_t seq)
{
	uint32_t copied = tcp_copied_seq(t);

	/* As Linux: what has arrived is not made urgent any more. */
	if (seq_lt(seq, t->rcv_nxt) || (t->flags & TCB_F_URG && !seq_gt(seq, tcb_work(t)->urg_seq)))
		return;
	/* The one before it is next to be read, out of band: it is not to appear in the stream now.
	 */
	if (out_of_band(t) && tcb_work(t)->urg_seq == copied && t->rx_bytes)
		rxq_read(s, t, NULL, 1);
	tcb_work_get(s, t)->urg_seq = seq;
	t->flags = (t->flags & ~(TCB_F_URG_VALID | TCB_F_URG_READ)) | TCB_F_URG;
	tcp_event(s, t, EV_URGENT);
}

/* RFC 9293 §3.10.7.4, sixth. Before the text, whose place in the packet changes. */
void tcp_urgent(struct stack *s, struct tcb *t, const struct tcp_seg *g)
{
	uint32_t off;

	if (!tcp_can_receive(t))
		return;
	if (g->flags & TH_URG)
		announced(s, t, g->seq + g->up - !!g->up);
	if ((t->flags & (TCB_F_URG | TCB_F_URG_VALID)) != TCB_F_URG)
		return;
	off = tcb_work(t)->urg_seq - g->seq;
	if (off >= g->len)
		return;
	pkt_copy(g->p, g->data_off + off, &tcb_work(t)->urg_byte, 1);
	t->flags |= TCB_F_URG_VALID;
	tcp_event(s, t, EV_PRI);
}

/* ---- the program reads ---- */

/*
 * While TCB_F_URG: how much of @len a read may take, and in *@skip whether the urgent byte in front
 * is passed over.
 * What lies behind that byte is for the next read, unless this one begins with it.
 */
uint32_t tcp_urg_read(const struct tcb *t, uint32_t len, bool *skip)
{
	uint32_t off = tcb_work(t)->urg_seq - tcp_copied_seq(t);

	if (off)
		return tcp_min(len, off);
	*skip = out_of_band(t) && t->rx_bytes;
	return len;
}

/* The same: the program has read something. */
void tcp_urg_passed(struct tcb *t)
{
	if (seq_gt(tcp_copied_seq(t), tcb_work(t)->urg_seq))
		t->flags &= ~(TCB_F_URG | TCB_F_URG_VALID | TCB_F_URG_READ);
}

/* The urgent byte is next, and not for ordinary reads. */
bool tcp_urg_hidden(const struct tcb *t)
{
	return out_of_band(t) && t->rx_bytes && tcb_work(t)->urg_seq == tcp_copied_seq(t);
}

bool tcp_urg_pending(const struct tcb *t)
{
	return (t->flags & (TCB_F_URG_VALID | TCB_F_URG_READ)) == TCB_F_URG_VALID;
}

int tcp_recv_oob(struct stack *s, uint32_t conn, uint8_t *byte, bool peek)
{
	struct tcb *t = tcp_user_tcb(s, conn);

	if (!t)
		return -E_BADF;
	if (!out_of_band(t) || t->flags & TCB_F_URG_READ)
		return -E_INVAL;
	if (t->flags & TCB_F_URG_VALID) {
		*byte = tcb_work(t)->urg_byte;
		if (!peek)
			t->flags |= TCB_F_URG_READ;
		return 1;
	}
	if (t->state == TCP_CLOSED || t->flags & (TCB_F_FIN_RCVD | TCB_F_RD_SHUT))
		return 0;
	return -E_AGAIN;
}

bool tcp_at_mark(const struct stack *s, uint32_t conn)
{
	const struct tcb *t = tcp_user_tcb(s, conn);

	return t && t->flags & TCB_F_URG && tcb_work(t)->urg_seq == tcp_copied_seq(t);
}

uint32_t tcp_inq(const struct stack *s, uint32_t conn)
{
	const struct tcb *t = tcp_user_tcb(s, conn);

	if (!t)
		return 0;
	if (!out_of_band(t))
		return t->rx_bytes;
	return tcp_min(t->rx_bytes, tcb_work(t)->urg_seq - tcp_copied_seq(t));
}

/* ---- sending ---- */

/* What is queued up to here is urgent. */
void tcp_urg_queued(struct stack *s, struct tcb *t)
{
	tcb_work_get(s, t)->snd_up = tcp_queue_end(t);
	t->flags |= TCB_F_URG_SND;
}

/* The pointer for a segment that begins at @seq; 0: none. One too far off is 65535 at first. */
uint16_t tcp_urg_pointer(const struct tcb *t, uint32_t seq)
{
	if (!(t->flags & TCB_F_URG_SND) || !seq_lt(seq, tcb_work(t)->snd_up))
		return 0;
	return (uint16_t)tcp_min(tcb_work(t)->snd_up - seq, 0xffff);
}

/* ---- hand-over ---- */

void tcp_urg_settle(struct tcb *t)
{
	if (!(t->flags & TCB_F_URG) || tcb_work(t)->urg_seq - tcp_copied_seq(t) > INT32_MAX)
		t->flags &= ~(TCB_F_URG | TCB_F_URG_VALID | TCB_F_URG_READ);
	if (t->flags & TCB_F_URG_SND && (!seq_gt(tcb_work(t)->snd_up, t->snd_una) ||
					 seq_gt(tcb_work(t)->snd_up, tcp_queue_end(t))))
		t->flags &= ~TCB_F_URG_SND;
}
