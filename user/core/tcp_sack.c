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

void tcp_sack_fill(struct stack *s, struct tcb *t, struct tcp_options *o)
{
	uint32_t max = o->has_ts ? 3 : 4, n = 0, c = t->ooo_head;
	struct tcb_work *w = t->work ? tcb_work(t) : NULL;
	struct stamped v[4] = {0};

	o->n_sack = 0;
	if (w && w->dsack_start != w->dsack_end) {
		if (seq_le(w->dsack_end, t->rcv_nxt))
			MIB(s, TcpExt_TCPDSACKOldSent);
		else
			MIB(s, TcpExt_TCPDSACKOfoSent);
		o->sack[o->n_sack++] = (struct tcp_sack_block){w->dsack_start, w->dsack_end};
		w->dsack_start = w->dsack_end = 0;
		max--;
	}
	while (c != SHM_NIL) {
		const struct chunk_hdr *h = &s->a.chunk_hdrs[c];
		struct stamped x = {{h->seq, h->seq + h->len}, h->stamp};

		for (c = h->next; c != SHM_NIL; c = h->next) {
			h = &s->a.chunk_hdrs[c];
			if (h->seq != x.b.end)
				break;
			x.b.end += h->len;
			x.stamp = seq_max(x.stamp, h->stamp);
		}
		n = keep_recent(v, n, max, &x);
	}
	for (uint32_t i = 0; i < n; i++)
		o->sack[o->n_sack++] = v[i].b;
}
