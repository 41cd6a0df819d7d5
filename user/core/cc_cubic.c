/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CUBIC (RFC 9438): after a loss the window returns to where that happened along a cubic curve in
 * time, so that growth does not depend on the round trip. Windows are in bytes, times in ms.
 *
 * The initial slow start ends with HyStart++ (RFC 9406), when round trips become longer rather than
 * when the queue overflows: first growth slows down for some rounds, to be sure. Its L is without
 * limit (§4.3), as receivers merge segments, and what goes out is one packet to the device.
 */
#include "cc.h"

#define BETA_NUM 7u /* §4.6: beta is 0.7 */
#define BETA_DEN 10u
#define T_MAX_MS 1000000 /* bounds the cube; far beyond any epoch that matters */

/* RFC 9406 §4.3 */
#define MIN_RTT_THRESH_US 4000u
#define MAX_RTT_THRESH_US 16000u
#define MIN_RTT_DIVISOR 8u
#define N_RTT_SAMPLE 8u
#define CSS_GROWTH_DIVISOR 4u
#define CSS_ROUNDS 5u

static void cubic_init(struct tcb *t, struct mtime now)
{
	(void)now;
	CC_FORGET(t);
}

/* ---- HyStart++ ---- */

static void round_begin(struct hystart *h, const struct tcb *t)
{
	h->begun = true;
	h->window_end = t->snd_nxt;
	h->last_min = h->cur_min;
	h->cur_min = 0;
	h->samples = 0;
}

/* Have round trips grown by more than noise? */
static bool delay_has_grown(const struct hystart *h)
{
	uint32_t thresh = h->last_min / MIN_RTT_DIVISOR;

	if (h->samples < N_RTT_SAMPLE || !h->last_min)
		return false;
	thresh = thresh < MIN_RTT_THRESH_US ? MIN_RTT_THRESH_US : thresh;
	thresh = thresh > MAX_RTT_THRESH_US ? MAX_RTT_THRESH_US : thresh;
	return h->cur_min >= h->last_min + thresh;
}

/* RFC 9406 §4.2, after cwnd was updated. @t->snd_una is the number just acknowledged. */
static void hystart_ack(struct tcb *t, struct hystart *h, uint32_t rtt_us)
{
	if (!h->begun)
		round_begin(h, t);
	if (rtt_us) {
		h->cur_min = h->cur_min && h->cur_min < rtt_us ? h->cur_min : rtt_us;
		h->samples += h->samples < UINT16_MAX;
	}
	if (!h->css_base && delay_has_grown(h)) {
		h->css_base = h->cur_min;
		h->css_rounds = 0;
	} else if (h->css_base && h->samples >= N_RTT_SAMPLE && h->cur_min < h->css_base) {
		h->css_base = 0; /* it was jitter */
	}
	if (seq_lt(t->snd_una, h->window_end))
		return;
	if (h->css_base && ++h->css_rounds >= CSS_ROUNDS) {
		t->ssthresh = t->cwnd;
		CC_FORGET(t);
		return;
	}
	round_begin(h, t);
}

/* False: there is something of @acked left for congestion avoidance. */
static bool slow_start(struct tcb *t, struct cubic *c, uint32_t *acked, uint32_t rtt_us)
{
	if (t->ssthresh == CC_SSTHRESH_INIT) {
		cc_slow_start(t, c->hystart.css_base ? *acked / CSS_GROWTH_DIVISOR : *acked);
		hystart_ack(t, &c->hystart, rtt_us);
		return true;
	}
	*acked = cc_slow_start(t, *acked);
	return !*acked;
}

/* ---- the curve ---- */

static uint64_t cube_root(uint64_t a)
{
	uint64_t lo = 0, hi = 1u << 21;

	while (lo + 1 < hi) {
		uint64_t mid = (lo + hi) / 2;

		if (mid * mid * mid <= a)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

/* §4.2, figures 1 and 2: W(t) = C * (t - K)^3 + W_max with C = 0.4 segments/s^3 */
static uint32_t w_cubic(const struct tcb *t, const struct cubic *c, uint64_t ms)
{
	int64_t d = (int64_t)ms - (int64_t)c->k, mss = (int64_t)tcp_eff_mss(t), w;

	if (d > T_MAX_MS)
		d = T_MAX_MS;
	if (d < -T_MAX_MS)
		d = -T_MAX_MS;
	w = (int64_t)c->w_max + d * d * d / 2500000000 * mss +
	    d * d * d % 2500000000 * mss / 2500000000;
	if (w < 0)
		return 0;
	return w > CC_CWND_MAX ? CC_CWND_MAX : (uint32_t)w;
}

static void epoch_start(struct tcb *t, struct cubic *c, struct mtime now)
{
	uint64_t diff;

	c->epoch = cc_ms(now);
	if (c->w_max < t->cwnd)
		c->w_max = t->cwnd;
	diff = c->w_max - t->cwnd;
	if (diff > CC_CWND_MAX)
		diff = CC_CWND_MAX;
	c->k = (uint32_t)cube_root(diff * 2500000000 / tcp_eff_mss(t));
	c->w_est = (uint64_t)t->cwnd << 10;
	c->credit = 0;
	c->rest = 0;
}

/* §4.3: alpha is 3 * (1 - beta) / (1 + beta) = 9/17 until Reno would be back at w_max, then 1 */
static uint32_t reno_estimate(struct tcb *t, struct cubic *c, uint32_t acked)
{
	uint64_t grow = (((uint64_t)acked * tcp_eff_mss(t)) << 10) / t->cwnd;

	if (c->w_est >> 10 < c->w_max)
		grow = grow * 9 / 17;
	c->w_est += grow;
	if (c->w_est > (uint64_t)CC_CWND_MAX << 10)
		c->w_est = (uint64_t)CC_CWND_MAX << 10;
	return (uint32_t)(c->w_est >> 10);
}

static void avoidance(struct tcb *t, struct cubic *c, uint32_t acked, struct mtime now)
{
	uint32_t est, target, ms;

	if (!c->epoch)
		epoch_start(t, c, now);
	if (c->rest) { /* §5.8: time in which the program set the rate does not count */
		c->epoch += cc_ms(now) - c->rest;
		c->rest = 0;
	}
	ms = cc_ms(now) - c->epoch;
	est = reno_estimate(t, c, acked);
	if (w_cubic(t, c, ms) < est) {
		if (t->cwnd < est)
			t->cwnd = est;
		return;
	}
	/* §4.4: towards the curve's value one round trip from now, by at most half a window */
	target = w_cubic(t, c, (uint64_t)ms + t->srtt / 1000);
	if (target > t->cwnd + t->cwnd / 2)
		target = t->cwnd + t->cwnd / 2;
	if (target <= t->cwnd)
		return;
	c->credit += (uint32_t)((uint64_t)acked * (target - t->cwnd) / t->cwnd);
	if (c->credit >= tcp_eff_mss(t) && t->cwnd < CC_CWND_MAX) {
		t->cwnd += c->credit;
		c->credit = 0;
	}
}

static void cubic_ack(struct tcb *t, const struct cc_ack *a, struct mtime now)
{
	struct cubic *c = CC_PRIV(t, struct cubic);
	uint32_t acked = a->acked;

	if (!a->cwnd_limited) {
		if (t->cwnd >= t->ssthresh && c->epoch && !c->rest)
			c->rest = cc_ms(now);
		return;
	}
	if (t->cwnd < t->ssthresh && slow_start(t, c, &acked, a->rtt_us))
		return;
	avoidance(t, c, acked, now);
}

/* ---- losses ---- */

/* §4.6, §4.7 (fast convergence) */
static void cubic_loss(struct tcb *t, uint32_t in_flight, struct mtime now)
{
	struct cubic *c = CC_PRIV(t, struct cubic);
	uint32_t floor = 2 * tcp_eff_mss(t);

	(void)now;
	if (t->ssthresh == CC_SSTHRESH_INIT) /* what the union holds is no epoch */
		CC_FORGET(t);
	c->prior_w_max = c->w_max;
	c->prior_epoch = c->epoch;
	c->prior_k = c->k;
	c->prior_w_est = (uint32_t)(c->w_est >> 10);
	if (t->cwnd < c->w_max)
		c->w_max = (uint32_t)((uint64_t)t->cwnd * (BETA_DEN + BETA_NUM) / (2 * BETA_DEN));
	else
		c->w_max = t->cwnd;
	t->ssthresh = (uint32_t)((uint64_t)in_flight * BETA_NUM / BETA_DEN);
	if (t->ssthresh < floor)
		t->ssthresh = floor;
	c->epoch = c->rest = 0;
}

/* §4.9 */
static void cubic_undo(struct tcb *t, uint32_t prior_cwnd, uint32_t prior_ssthresh,
		       struct mtime now)
{
	struct cubic *c = CC_PRIV(t, struct cubic);

	cc_undo(t, prior_cwnd, prior_ssthresh, now);
	if (t->ssthresh == CC_SSTHRESH_INIT) {
		CC_FORGET(t);
		return;
	}
	c->w_max = c->prior_w_max;
	c->epoch = c->prior_epoch;
	c->k = c->prior_k;
	c->w_est = (uint64_t)c->prior_w_est << 10;
	c->credit = c->rest = 0;
}

/* §5.8: time in which nothing was sent does not count */
static void cubic_idle(struct tcb *t, struct mtime now)
{
	struct cubic *c = CC_PRIV(t, struct cubic);

	cc_restart_window(t, now);
	if (t->ssthresh != CC_SSTHRESH_INIT)
		c->epoch = c->rest = 0;
}

/*
 * Rounds of HyStart end with what is outstanding. What is known of the last reduction stays while
 * cwnd is what has been measured with it; after a pause the curve begins with the cwnd that
 * there is then.
 */
static bool cubic_rests(const struct tcb *t)
{
	const struct cubic *c = CC_PRIV(t, struct cubic);

	return t->ssthresh == CC_SSTHRESH_INIT || (!c->w_max && !c->epoch);
}

const struct cc_ops cc_cubic = {
	.name = "cubic",
	.init = cubic_init,
	.ack = cubic_ack,
	.loss = cubic_loss,
	.timeout = cubic_loss,
	.idle = cubic_idle,
	.undo = cubic_undo,
	.rests = cubic_rests,
};
