/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Reno: slow start and additive increase, halving on loss (RFC 5681 §3.1), counted in bytes
 * (RFC 3465 §2.1). cc_priv[0]: bytes acknowledged towards the next increase.
 */
#include "cc.h"

static void reno_init(struct tcb *t, struct mtime now)
{
	(void)now;
	tcb_work(t)->cc_priv[0] = 0;
}

/* A window's worth is what can be sent of it: halving leaves parts of segments. */
static uint32_t whole_segments(const struct tcb *t)
{
	uint32_t mss = tcp_eff_mss(t);

	return t->cwnd < mss ? mss : t->cwnd - t->cwnd % mss;
}

void cc_reno_ack(struct tcb *t, const struct cc_ack *a, struct mtime now)
{
	uint32_t acked = a->acked, window;

	(void)now;
	if (!a->cwnd_limited) /* RFC 9293 §3.8.2, RFC 7661: no growth that was not used */
		return;
	if (t->cwnd < t->ssthresh)
		acked = cc_slow_start(t, acked);
	tcb_work(t)->cc_priv[0] += acked;
	for (window = whole_segments(t);
	     tcb_work(t)->cc_priv[0] >= window && t->cwnd < CC_CWND_MAX; window += tcp_eff_mss(t)) {
		tcb_work(t)->cc_priv[0] -= window;
		t->cwnd += tcp_eff_mss(t);
	}
}

void cc_reno_loss(struct tcb *t, uint32_t in_flight, struct mtime now)
{
	(void)now;
	t->ssthresh = cc_half_flight(t, in_flight);
	tcb_work(t)->cc_priv[0] = 0;
}

static bool reno_rests(const struct tcb *t)
{
	return !tcb_work(t)->cc_priv[0];
}

const struct cc_ops cc_reno = {
	.name = "reno",
	.init = reno_init,
	.ack = cc_reno_ack,
	.loss = cc_reno_loss,
	.timeout = cc_reno_loss,
	.idle = cc_restart_window,
	.undo = cc_undo,
	.rests = reno_rests,
};
