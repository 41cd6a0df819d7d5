/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * DCTCP (RFC 8257): the share of bytes that were marked, smoothed over round trips, says by how
 * much cwnd is cut, so that queues stay at the switches' marking threshold. Else it is Reno:
 * growth, and what follows from a loss (§3.5). Where the peer does not do ECN nothing is ever
 * marked.
 */
#include "cc.h"

#define ALPHA_MAX 1024u
#define SHIFT_G 4u /* §3.3: g is 1/16 */

static void dctcp_init(struct tcb *t, struct mtime now)
{
	struct dctcp *d = CC_PRIV(t, struct dctcp);

	(void)now;
	CC_FORGET(t);
	d->alpha = ALPHA_MAX; /* §4.2: the first mark halves, as in RFC 3168 */
	d->round_end = t->snd_nxt;
}

/* §3.3; @t->snd_una is the number just acknowledged. */
static void dctcp_marks(struct tcb *t, uint32_t acked, bool ece)
{
	struct dctcp *d = CC_PRIV(t, struct dctcp);
	uint32_t alpha = d->alpha, fade = alpha >> SHIFT_G;

	d->acked += acked;
	d->marked += ece ? acked : 0;
	if (seq_lt(t->snd_una, d->round_end))
		return;
	alpha -= fade ? fade : alpha;
	if (d->marked)
		alpha += (uint32_t)(((uint64_t)d->marked << (10 - SHIFT_G)) / d->acked);
	d->alpha = alpha < ALPHA_MAX ? alpha : ALPHA_MAX;
	d->acked = d->marked = 0;
	d->round_end = t->snd_nxt;
}

/* §3.4 */
static void dctcp_ecn(struct tcb *t, uint32_t in_flight, struct mtime now)
{
	uint32_t floor = 2 * tcp_eff_mss(t), alpha = CC_PRIV(t, struct dctcp)->alpha;

	(void)in_flight;
	(void)now;
	t->ssthresh = t->cwnd - (uint32_t)((uint64_t)t->cwnd * alpha / (2 * ALPHA_MAX));
	if (t->ssthresh < floor)
		t->ssthresh = floor;
	CC_PRIV(t, struct dctcp)->reno = 0;
}

const struct cc_ops cc_dctcp = {
	.name = "dctcp",
	.needs_ecn = true,
	.init = dctcp_init,
	.ack = cc_reno_ack,
	.loss = cc_reno_loss,
	.timeout = cc_reno_loss,
	.idle = cc_restart_window,
	.undo = cc_undo,
	.ecn = dctcp_ecn,
	.marks = dctcp_marks,
};
