/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CUBIC (RFC 9438): after a loss the window returns to where that happened along a cubic curve in
 * time, so that growth does not depend on the round trip. Windows are in bytes, times in ms.
 */
#include "cc.h"

/* cc_priv */
enum {
	P_EPOCH, /* ns when congestion avoidance began; 0: not in it */
	P_W_MAX, /* cwnd before the last reduction */
	P_K,	 /* ms from the epoch until the curve is back at w_max */
	P_W_EST, /* what Reno would have, in 1/1024 byte (§4.3) */
	P_CREDIT /* growth not yet a whole segment, in bytes */
};

#define BETA_NUM 7u /* §4.6: beta is 0.7 */
#define BETA_DEN 10u
#define T_MAX_MS 1000000 /* bounds the cube; far beyond any epoch that matters */

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

static void cubic_init(struct tcb *t, struct mtime now)
{
	(void)now;
	memset(t->cc_priv, 0, sizeof(t->cc_priv));
}

/* §4.2, figures 1 and 2: W(t) = C * (t - K)^3 + W_max with C = 0.4 segments/s^3 */
static uint32_t w_cubic(const struct tcb *t, uint64_t ms)
{
	int64_t d = (int64_t)ms - (int64_t)t->cc_priv[P_K], w;

	if (d > T_MAX_MS)
		d = T_MAX_MS;
	if (d < -T_MAX_MS)
		d = -T_MAX_MS;
	w = (int64_t)t->cc_priv[P_W_MAX] + d * d * d / 2500000000 * (int64_t)tcp_eff_mss(t) +
	    d * d * d % 2500000000 * (int64_t)tcp_eff_mss(t) / 2500000000;
	if (w < 0)
		return 0;
	return w > CC_CWND_MAX ? CC_CWND_MAX : (uint32_t)w;
}

static void epoch_start(struct tcb *t, struct mtime now)
{
	uint64_t diff;

	t->cc_priv[P_EPOCH] = now.ns;
	if (t->cc_priv[P_W_MAX] < t->cwnd)
		t->cc_priv[P_W_MAX] = t->cwnd;
	diff = t->cc_priv[P_W_MAX] - t->cwnd;
	if (diff > CC_CWND_MAX)
		diff = CC_CWND_MAX;
	t->cc_priv[P_K] = cube_root(diff * 2500000000 / tcp_eff_mss(t));
	t->cc_priv[P_W_EST] = (uint64_t)t->cwnd << 10;
	t->cc_priv[P_CREDIT] = 0;
}

/* §4.3: alpha is 3 * (1 - beta) / (1 + beta) = 9/17 until Reno would be back at w_max, then 1 */
static uint32_t reno_estimate(struct tcb *t, uint32_t acked)
{
	uint64_t grow = (((uint64_t)acked * tcp_eff_mss(t)) << 10) / t->cwnd;

	if (t->cc_priv[P_W_EST] >> 10 < t->cc_priv[P_W_MAX])
		grow = grow * 9 / 17;
	t->cc_priv[P_W_EST] += grow;
	if (t->cc_priv[P_W_EST] > (uint64_t)CC_CWND_MAX << 10)
		t->cc_priv[P_W_EST] = (uint64_t)CC_CWND_MAX << 10;
	return (uint32_t)(t->cc_priv[P_W_EST] >> 10);
}

static void cubic_ack(struct tcb *t, const struct cc_ack *a, struct mtime now)
{
	uint32_t acked = a->acked, est, target;
	uint64_t ms;

	if (!a->cwnd_limited)
		return;
	if (t->cwnd < t->ssthresh) {
		acked = cc_slow_start(t, acked);
		if (!acked)
			return;
	}
	if (!t->cc_priv[P_EPOCH])
		epoch_start(t, now);
	ms = mtime_diff_ns(now, (struct mtime){t->cc_priv[P_EPOCH]}) / NS_PER_MS;
	est = reno_estimate(t, acked);
	if (w_cubic(t, ms) < est) {
		if (t->cwnd < est)
			t->cwnd = est;
		return;
	}
	/* §4.4: towards the curve's value one round trip from now, by at most half a window */
	target = w_cubic(t, ms + t->srtt / 1000);
	if (target > t->cwnd + t->cwnd / 2)
		target = t->cwnd + t->cwnd / 2;
	if (target <= t->cwnd)
		return;
	t->cc_priv[P_CREDIT] += (uint64_t)acked * (target - t->cwnd) / t->cwnd;
	if (t->cc_priv[P_CREDIT] >= tcp_eff_mss(t) && t->cwnd < CC_CWND_MAX) {
		t->cwnd += (uint32_t)t->cc_priv[P_CREDIT];
		t->cc_priv[P_CREDIT] = 0;
	}
}

/* §4.6, §4.7 (fast convergence) */
static void cubic_loss(struct tcb *t, uint32_t in_flight, struct mtime now)
{
	uint32_t floor = 2 * tcp_eff_mss(t);

	(void)now;
	if (t->cwnd < t->cc_priv[P_W_MAX])
		t->cc_priv[P_W_MAX] = (uint64_t)t->cwnd * (BETA_DEN + BETA_NUM) / (2 * BETA_DEN);
	else
		t->cc_priv[P_W_MAX] = t->cwnd;
	t->ssthresh = (uint32_t)((uint64_t)in_flight * BETA_NUM / BETA_DEN);
	if (t->ssthresh < floor)
		t->ssthresh = floor;
	t->cc_priv[P_EPOCH] = 0;
}

/* §5.8: time in which nothing was sent does not count */
static void cubic_idle(struct tcb *t, struct mtime now)
{
	cc_restart_window(t, now);
	t->cc_priv[P_EPOCH] = 0;
}

const struct cc_ops cc_cubic = {
	.name = "cubic",
	.init = cubic_init,
	.ack = cubic_ack,
	.loss = cubic_loss,
	.timeout = cubic_loss,
	.idle = cubic_idle,
};
