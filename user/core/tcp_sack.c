/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a receiver tells about text out of order: SACK blocks from the out-of-order queue (RFC 2018
 * §4), text that came twice first (RFC 2883 §4). The order of the blocks follows from the stamps
 * that arrivals leave in the queue's chunks.
 */
#include "tcp.h"

void tcp_dsack(struct stack *s, struct tcb *t, uint32_t start, uint32_t end)
{
	struct tcb_work *w;

	if (!(t->opt & TCB_OPT_SACK) || !seq_lt(start, end))
		return;
	w = tcb_work_get(s, t);
	if (w->dsack_start != w->dsack_end && w->dsack_end == start) {
		w->dsack_end = end; /* goes on where the last one ended */
		return;
	}
	w->dsack_start = start;
	w->dsack_end = end;
}

struct stamped {
	struct tcp_sack_block b;
	uint32_t stamp;
};

/* Puts @x among the @max most recent ones of @v, which has @n. */
static uint32_t keep_recent(struct stamped *v, uint32_t n, uint32_t max, const struct stamped *x)
{
	uint32_t i = n;

	while (i && seq_lt(v[i - 1].stamp, x->stamp))
		i--;
	if (i >= max)
		return n;
	n += n < max;
	for (uint32_t k = n - 1; k > i; k--)
		v[k] = v[k - 1];
	v[i] = *x;
	return n;
}

/* The @n ones by sequence number. */
static void sort(struct stamped *v, uint32_t n)
{
	for (uint32_t i = 1; i < n; i++) {
		const struct stamped x = v[i];
		uint32_t k = i;

		for (; k && seq_lt(x.b.start, v[k - 1].b.start); k--)
			v[k] = v[k - 1];
		v[k] = x;
	}
}

/*
 * RFC 2018 §4: the most recent one first. Where several ACKs are owed to what came in one batch, all
 * that it has brought is told before, from the lowest number on, each ACK beginning one block later
 * than the one before: as if the batch had come in this order, with an ACK for each segment.
 * One ACK has no room for them, and a block that is told behind a higher one looks like reordering.
 * Returns the first to report of @v, which are @n, by stamps.
 */
static uint32_t spread(struct tcb_work *w, struct stamped *v, uint32_t n, uint32_t max,
		       uint32_t owed)
{
	uint32_t fresh = 0;

	while (fresh < n && seq_gt(v[fresh].stamp, w->sack_stamp))
		fresh++;
	if (fresh <= max)
		return 0;
	sort(v, fresh);
	return fresh - max > owed - 1 ? fresh - max - (owed - 1) : 0;
}

/*
 * The block that begins with chunk @first, and the chunk behind it. Its first chunk keeps what is found, so that the next ACK
 * does not walk through it all; what filled a hole is between two that know their ends.
 */
static struct stamped block_at(struct stack *s, uint32_t first, uint32_t *next)
{
	struct chunk_hdr *head = &s->a.chunk_hdrs[first], *h = head;
	struct stamped x = {{head->seq, 0}, head->stamp};
	uint32_t c = first;

	for (;;) {
		if (h->skip != SHM_NIL) {
			c = h->skip;
			h = &s->a.chunk_hdrs[c];
			x.stamp = seq_max(x.stamp, h->stamp);
		}
		x.b.end = h->seq + h->len;
		*next = h->next;
		if (h->next == SHM_NIL || s->a.chunk_hdrs[h->next].seq != x.b.end)
			break;
		c = h->next;
		h = &s->a.chunk_hdrs[c];
		x.stamp = seq_max(x.stamp, h->stamp);
	}
	if (c != first)
		head->skip = c;
	head->stamp = x.stamp;
	return x;
}

/* Blocks beyond the room of one ACK that are remembered for those that follow. */
#define SPREAD_MAX 12u

void tcp_sack_fill(struct stack *s, struct tcb *t, struct tcp_options *o)
{
	uint32_t max = o->has_ts ? 3 : 4, n = 0, c = t->ooo_head, i = 0, keep;
	struct tcb_work *w = t->work || c != SHM_NIL ? tcb_work_get(s, t) : NULL;
	struct stamped v[4 + SPREAD_MAX] = {0};
	struct tcp_sack_block dup = {0};

	o->n_sack = 0;
	if (w && w->dsack_start != w->dsack_end) {
		dup = (struct tcp_sack_block){w->dsack_start, w->dsack_end};
		if (seq_le(w->dsack_end, t->rcv_nxt))
			MIB(s, TcpExt_TCPDSACKOldSent);
		else
			MIB(s, TcpExt_TCPDSACKOfoSent);
		o->sack[o->n_sack++] = dup;
		w->dsack_start = w->dsack_end = 0;
		max--;
	}
	keep = t->ack_owed ? max + SPREAD_MAX : max;
	while (c != SHM_NIL) {
		struct chunk_hdr *head = &s->a.chunk_hdrs[c];
		struct stamped x = block_at(s, c, &c);

		if (dup.start != dup.end && seq_le(x.b.start, dup.start) &&
		    seq_lt(dup.start, x.b.end))
			x.stamp = head->stamp = t->segs_in; /* RFC 2883 §4 (3) */
		n = keep_recent(v, n, keep, &x);
	}
	if (n && t->ack_owed)
		i = spread(w, v, n, max, t->ack_owed);
	else if (n)
		w->sack_stamp = t->segs_in;
	for (n = tcp_min(n, i + max); i < n; i++)
		o->sack[o->n_sack++] = v[i].b;
}
