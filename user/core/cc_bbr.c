/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * BBR, version 1 as the kernel's "bbr" (draft-cardwell-iccrg-bbr-congestion-control-00): a model of
 * the path, the largest rate of delivery of the last ten round trips and the least round trip of
 * the last ten seconds, sets the pace and bounds what is in flight. Loss as such does not slow it.
 *
 * STARTUP grows by 2/ln(2) in each round trip until the rate does not follow, DRAIN empties the
 * queue that made, PROBE_BW tries a quarter more in one of eight phases, PROBE_RTT lets the queue
 * run empty when the least round trip has not been seen for ten seconds.
 *
 * A policer (a token bucket that drops what is too much) lets bursts through, which look like the
 * path's rate. Where a fifth is lost over several round trips, and twice in a row the rate over
 * these is the same, it is what counts for the next 48 round trips.
 */
#include "board.h"
#include "cc.h"

enum bbr_mode { STARTUP, DRAIN, PROBE_BW, PROBE_RTT };

struct bbr {
	/* windowed maximum of the rate of delivery, best first, and the rounds they are from */
	uint32_t bw[3]; /* in units of 2^BW_SHIFT bytes/s, like .pacing and .full_bw */
	uint16_t bw_round[3];
	uint16_t round;		 /* round trips so far */
	uint32_t next_delivered; /* the round ends when what is sent from here on is acknowledged */
	uint32_t min_rtt;	 /* µs, 0: none yet */
	uint32_t min_rtt_ms;	 /* when it was seen */
	/* PROBE_BW: when the phase began, in µs. PROBE_RTT: when it may end, in ms; 0: not low yet
	 */
	uint32_t stamp;
	uint32_t pacing;
	uint32_t full_bw;    /* the rate that STARTUP has to beat */
	uint32_t lt_bw;	     /* over several round trips with much loss; 0: none was seen */
	uint32_t prior_cwnd; /* to return to after recovery and PROBE_RTT */
	uint32_t mode : 2;
	uint32_t prev_state : 2; /* enum cc_state */
	uint32_t conserve : 1;	 /* the first round of recovery: out only what comes in */
	uint32_t round_start : 1;
	uint32_t idle_restart : 1;
	uint32_t probe_rtt_round : 1; /* a whole round of PROBE_RTT has passed */
	uint32_t has_rtt : 1;	      /* .pacing follows from a round trip */
	uint32_t full : 1;	      /* the pipe has been full: STARTUP is over */
	uint32_t full_count : 2;
	uint32_t phase : 3;
	uint32_t extra_rounds : 5, extra_idx : 1;
	uint32_t lt_use : 1; /* .lt_bw is the path's rate: a policer's */
	uint16_t extra[2];   /* segments acknowledged beyond the expected, of two windows */
};

#define BW_SHIFT 4
#define BW_ROUNDS 10u
#define HIGH_GAIN 2885u /* 2/ln(2), gains are in 1/1000 */
#define DRAIN_GAIN 347u
#define CWND_GAIN 2000u
#define MIN_RTT_WIN_MS 10000u
#define PROBE_RTT_MS 200u
#define MIN_SEGMENTS 4u
#define MARGIN 99u /* percent of the rate, so that queues shrink */
#define FULL_ROUNDS 3u
#define EXTRA_ROUNDS 5u
#define EXTRA_MAX_US 100000u
#define EXTRA_RESET (1u << 30) /* bytes */
#define MAX_FLIGHT (1u << 30)
#define SLOW_BYTES_S 150000u
#define PHASES 8u
#define LT_ROUNDS 4u	     /* a sample takes so many, four times as many at most */
#define LT_LOSS 50u	     /* of 256 */
#define LT_RATIO 8u	     /* two samples are the same within an eighth */
#define LT_DIFF_BYTES_S 500u /* ... or so much */
#define LT_USE_ROUNDS 48u

static const uint16_t phase_gain[PHASES] = {1250, 750, 1000, 1000, 1000, 1000, 1000, 1000};

/* ---- the model ---- */

static uint32_t max_bw(const struct bbr *b)
{
	return b->bw[0];
}

static uint32_t path_bw(const struct bbr *b)
{
	return b->lt_use ? b->lt_bw : max_bw(b);
}

static uint32_t pacing_gain(const struct bbr *b)
{
	switch (b->mode) {
	case STARTUP:
		return HIGH_GAIN;
	case DRAIN:
		return DRAIN_GAIN;
	case PROBE_BW:
		return b->lt_use ? 1000 : phase_gain[b->phase];
	default:
		return 1000;
	}
}

static uint32_t cwnd_gain(const struct bbr *b)
{
	return b->mode == PROBE_BW ? CWND_GAIN : b->mode == PROBE_RTT ? 1000 : HIGH_GAIN;
}

/* Kathleen Nichols' windowed maximum: the best, and the best of what came after each. */
static void bw_update(struct bbr *b, uint32_t bw)
{
	uint16_t now = b->round, age;

	if (bw >= b->bw[0] || (uint16_t)(now - b->bw_round[2]) > BW_ROUNDS) {
		for (int i = 0; i < 3; i++) {
			b->bw[i] = bw;
			b->bw_round[i] = now;
		}
		return;
	}
	if (bw >= b->bw[1]) {
		b->bw[1] = b->bw[2] = bw;
		b->bw_round[1] = b->bw_round[2] = now;
	} else if (bw >= b->bw[2]) {
		b->bw[2] = bw;
		b->bw_round[2] = now;
	}
	age = (uint16_t)(now - b->bw_round[0]);
	if (age > BW_ROUNDS) {
		for (int n = 0; n < 2 && (uint16_t)(now - b->bw_round[0]) > BW_ROUNDS; n++) {
			b->bw[0] = b->bw[1];
			b->bw_round[0] = b->bw_round[1];
			b->bw[1] = b->bw[2];
			b->bw_round[1] = b->bw_round[2];
			b->bw[2] = bw;
			b->bw_round[2] = now;
		}
	} else if (b->bw_round[1] == b->bw_round[0] && age > BW_ROUNDS / 4) {
		b->bw[1] = b->bw[2] = bw; /* a quarter has passed without a second best */
		b->bw_round[1] = b->bw_round[2] = now;
	} else if (b->bw_round[2] == b->bw_round[1] && age > BW_ROUNDS / 2) {
		b->bw[2] = bw;
		b->bw_round[2] = now;
	}
}

static void round_update(struct bbr *b, const struct cc_ack *a)
{
	b->round_start = 0;
	if (!a->sample_us)
		return;
	if (seq_ge(a->prior_delivered, b->next_delivered)) {
		b->next_delivered = a->delivered_seq;
		b->round++;
		b->round_start = 1;
		b->conserve = 0;
	}
}

static void model_bw(struct bbr *b, const struct cc_ack *a)
{
	uint64_t bw;

	if (!a->sample_us || !a->sample_bytes)
		return;
	bw = ((uint64_t)a->sample_bytes * 1000000 / a->sample_us) >> BW_SHIFT;
	bw = bw < UINT32_MAX ? bw : UINT32_MAX;
	/* Where the program sets the rate the path may do more; never less. */
	if (!a->app_limited || bw >= max_bw(b))
		bw_update(b, (uint32_t)bw);
}

/* ---- policers ---- */

static void lt_begin(struct rate *r, const struct cc_ack *a, struct mtime now)
{
	r->lt_us = cc_us(now);
	r->lt_delivered = a->delivered_seq;
	r->lt_lost = r->lost;
	r->lt_rounds = 0;
}

static void lt_forget(struct bbr *b, struct rate *r)
{
	b->lt_bw = b->lt_use = 0;
	if (r)
		r->lt_on = false;
}

/* One sample is there: is it what the one before was? */
static void lt_sampled(struct bbr *b, struct rate *r, const struct cc_ack *a, uint32_t bw,
		       struct mtime now)
{
	uint32_t diff = bw > b->lt_bw ? bw - b->lt_bw : b->lt_bw - bw;

	if (b->lt_bw &&
	    (diff <= b->lt_bw / LT_RATIO || (uint64_t)diff << BW_SHIFT <= LT_DIFF_BYTES_S)) {
		b->lt_bw = (uint32_t)(((uint64_t)b->lt_bw + bw) / 2);
		b->lt_use = 1;
		r->lt_rounds = 0;
		return;
	}
	b->lt_bw = bw;
	lt_begin(r, a, now);
}

/* True: the policer may be gone, the path is to be tried out again. */
static bool model_policer(struct bbr *b, const struct cc_ack *a, struct mtime now)
{
	struct rate *r = a->rate;
	uint32_t delivered, us;
	uint64_t bw;

	if (!r)
		return false;
	r->lost += a->lost;
	if (!a->sample_us)
		return false;
	if (b->lt_use) {
		r->lt_rounds += b->mode == PROBE_BW && b->round_start;
		if (r->lt_rounds < LT_USE_ROUNDS)
			return false;
		lt_forget(b, r);
		return true;
	}
	if (!r->lt_on) { /* it begins with a loss, to leave out what the bucket held */
		if (!a->lost)
			return false;
		lt_begin(r, a, now);
		r->lt_on = true;
	}
	r->lt_rounds += b->round_start;
	if (a->app_limited || r->lt_rounds > 4 * LT_ROUNDS) {
		lt_forget(b, r);
		return false;
	}
	delivered = a->delivered_seq - r->lt_delivered;
	us = cc_us(now) - r->lt_us;
	if (r->lt_rounds < LT_ROUNDS || !a->lost || us < 1000 ||
	    (uint64_t)(r->lost - r->lt_lost) * 256 < (uint64_t)delivered * LT_LOSS)
		return false;
	bw = ((uint64_t)delivered * 1000000 / us) >> BW_SHIFT;
	if (bw)
		lt_sampled(b, r, a, bw < UINT32_MAX ? (uint32_t)bw : UINT32_MAX, now);
	return false;
}

/* ---- the model, as what it allows ---- */

static uint32_t segment_goal(const struct tcb *t, const struct bbr *b)
{
	uint64_t bytes = ((uint64_t)b->pacing << BW_SHIFT) / 1024;
	uint32_t least = (uint64_t)b->pacing << BW_SHIFT < SLOW_BYTES_S ? 1 : 2;
	uint32_t n = (uint32_t)(bytes < 65536 ? bytes : 65536) / tcp_eff_mss(t);

	n = n > least ? n : least;
	return n < 127 ? n : 127;
}

static uint32_t bdp(const struct tcb *t, const struct bbr *b, uint32_t gain)
{
	uint64_t bytes;

	if (!b->min_rtt) /* no round trip has been seen */
		return cc_initial_window(tcp_eff_mss(t));
	bytes = ((uint64_t)path_bw(b) << BW_SHIFT) * b->min_rtt / 1000000;
	if (bytes > MAX_FLIGHT)
		return MAX_FLIGHT;
	bytes = bytes * gain / 1000 + tcp_eff_mss(t) - 1;
	bytes -= bytes % tcp_eff_mss(t);
	return bytes < MAX_FLIGHT ? (uint32_t)bytes : MAX_FLIGHT;
}

/* What may be in flight so that sending in bursts, and delayed ACKs, leave no gap. */
static uint32_t inflight(const struct tcb *t, const struct bbr *b, uint32_t gain)
{
	uint32_t mss = tcp_eff_mss(t), segs = bdp(t, b, gain) / mss + 3 * segment_goal(t, b);

	segs = (segs + 1) & ~1u;
	if (b->mode == PROBE_BW && b->phase == 0)
		segs += 2;
	return segs < MAX_FLIGHT / mss ? segs * mss : MAX_FLIGHT;
}

/* ACKs that come merged make flights look larger than they are: what came beyond the rate. */
static void model_extra(struct tcb *t, struct bbr *b, const struct cc_ack *a, struct mtime now)
{
	uint32_t mss = tcp_eff_mss(t), us, extra;
	struct rate *r = a->rate;
	uint64_t expected;

	if (!r || !a->delivered || !a->sample_us)
		return;
	if (b->round_start) {
		b->extra_rounds += b->extra_rounds < 31;
		if (b->extra_rounds >= EXTRA_ROUNDS) {
			b->extra_rounds = 0;
			b->extra_idx ^= 1;
			b->extra[b->extra_idx] = 0;
		}
	}
	us = cc_us(now) - r->epoch_us;
	expected = ((uint64_t)path_bw(b) << BW_SHIFT) * us / 1000000;
	if (r->epoch_bytes <= expected || r->epoch_bytes + a->delivered >= EXTRA_RESET) {
		r->epoch_us = cc_us(now);
		r->epoch_bytes = 0;
		expected = 0;
	}
	r->epoch_bytes += a->delivered;
	extra = r->epoch_bytes > expected ? r->epoch_bytes - (uint32_t)expected : 0;
	extra = (extra < t->cwnd ? extra : t->cwnd) / mss;
	if (extra > b->extra[b->extra_idx])
		b->extra[b->extra_idx] = (uint16_t)(extra < UINT16_MAX ? extra : UINT16_MAX);
}

static uint32_t extra_cwnd(const struct tcb *t, const struct bbr *b)
{
	uint32_t segs = b->extra[0] > b->extra[1] ? b->extra[0] : b->extra[1];
	uint64_t most = ((uint64_t)path_bw(b) << BW_SHIFT) * EXTRA_MAX_US / 1000000;
	uint64_t bytes = (uint64_t)segs * tcp_eff_mss(t);

	if (!b->full)
		return 0;
	bytes = bytes < most ? bytes : most;
	return bytes < MAX_FLIGHT ? (uint32_t)bytes : MAX_FLIGHT;
}

/* ---- pace ---- */

static uint64_t bbr_pacing_rate(const struct tcb *t)
{
	return t->work ? (uint64_t)CC_PRIV(t, struct bbr)->pacing << BW_SHIFT : 0;
}

static uint32_t rate_of(uint32_t bw, uint32_t gain)
{
	uint64_t r = (uint64_t)bw * gain / 1000 * MARGIN / 100;

	return r < UINT32_MAX ? (uint32_t)r : UINT32_MAX;
}

/* From cwnd and the first round trip, 1 ms as long as there is none. */
static void pacing_init(struct tcb *t, struct bbr *b)
{
	uint32_t us = t->srtt ? t->srtt : 1000;
	uint64_t bw = ((uint64_t)t->cwnd * 1000000 / us) >> BW_SHIFT;

	b->has_rtt = t->srtt != 0;
	b->pacing = rate_of(bw < UINT32_MAX ? (uint32_t)bw : UINT32_MAX, HIGH_GAIN);
	b->pacing += !b->pacing;
}

static void pacing_update(struct tcb *t, struct bbr *b, uint32_t gain)
{
	uint32_t rate = rate_of(path_bw(b), gain);

	if (!b->has_rtt && t->srtt)
		pacing_init(t, b);
	if (rate && (b->full || rate > b->pacing))
		b->pacing = rate;
}

/* ---- modes ---- */

static void save_cwnd(const struct tcb *t, struct bbr *b)
{
	bool whole = b->prev_state == CC_OPEN && b->mode != PROBE_RTT;

	if (whole || t->cwnd > b->prior_cwnd)
		b->prior_cwnd = t->cwnd;
}

static void enter_probe_bw(const struct tcb *t, struct bbr *b, struct mtime now)
{
	b->mode = PROBE_BW;
	/* Any phase but the one that drains: flows do not probe in step. */
	b->phase = (2 + ((t->iss ^ cc_us(now)) * 0x9e3779b1u >> 16) % (PHASES - 1)) % PHASES;
	b->stamp = cc_us(now);
}

static bool phase_over(const struct tcb *t, const struct bbr *b, const struct cc_ack *a,
		       struct mtime now)
{
	uint32_t gain = pacing_gain(b);
	bool full = cc_us(now) - b->stamp > b->min_rtt;

	if (gain > 1000) /* until as much is in flight as it asks for, or it was too much */
		return full && (a->lost || a->in_flight >= inflight(t, b, gain));
	if (gain < 1000) /* until the queue of the phase before is gone */
		return full || a->in_flight <= inflight(t, b, 1000);
	return full;
}

static void check_full(struct bbr *b, const struct cc_ack *a)
{
	if (b->full || !b->round_start || a->app_limited)
		return;
	if (max_bw(b) >= (uint64_t)b->full_bw * 5 / 4) {
		b->full_bw = max_bw(b);
		b->full_count = 0;
		return;
	}
	b->full_count += b->full_count < FULL_ROUNDS;
	b->full = b->full_count >= FULL_ROUNDS;
}

static void check_drain(struct tcb *t, struct bbr *b, const struct cc_ack *a, struct mtime now)
{
	if (b->mode == STARTUP && b->full) {
		b->mode = DRAIN;
		t->ssthresh = inflight(t, b, 1000);
	}
	if (b->mode == DRAIN && a->pipe <= inflight(t, b, 1000))
		enter_probe_bw(t, b, now);
}

static void probe_rtt_done(struct tcb *t, struct bbr *b, struct mtime now)
{
	if (!b->stamp || (int32_t)(cc_ms(now) - b->stamp) <= 0)
		return;
	b->min_rtt_ms = cc_ms(now);
	if (t->cwnd < b->prior_cwnd)
		t->cwnd = b->prior_cwnd;
	if (b->full)
		enter_probe_bw(t, b, now);
	else
		b->mode = STARTUP;
}

static void probe_rtt(struct tcb *t, struct bbr *b, const struct cc_ack *a, struct mtime now)
{
	/* Rates of this time say nothing. */
	t->flags |= TCB_F_APP_LIMITED;
	if (a->rate)
		a->rate->limited_until = t->snd_max;
	if (!b->stamp && a->pipe <= MIN_SEGMENTS * tcp_eff_mss(t)) {
		b->stamp = cc_ms(now) + PROBE_RTT_MS;
		b->stamp += !b->stamp;
		b->probe_rtt_round = 0;
		b->next_delivered = a->delivered_seq;
	} else if (b->stamp) {
		b->probe_rtt_round |= b->round_start;
		if (b->probe_rtt_round)
			probe_rtt_done(t, b, now);
	}
}

static void model_rtt(struct tcb *t, struct bbr *b, const struct cc_ack *a, struct mtime now)
{
	bool expired = cc_ms(now) - b->min_rtt_ms > MIN_RTT_WIN_MS;

	if (a->rtt_us && (!b->min_rtt || a->rtt_us < b->min_rtt || expired)) {
		b->min_rtt = a->rtt_us;
		b->min_rtt_ms = cc_ms(now);
	}
	if (expired && !b->idle_restart && b->mode != PROBE_RTT) {
		save_cwnd(t, b);
		b->mode = PROBE_RTT;
		b->stamp = 0;
	}
	if (b->mode == PROBE_RTT)
		probe_rtt(t, b, a, now);
	if (a->sample_bytes)
		b->idle_restart = 0;
}

/* ---- cwnd ---- */

/* The first round of recovery conserves packets, its end restores what was before. */
static bool cwnd_in_recovery(struct tcb *t, struct bbr *b, const struct cc_ack *a)
{
	uint32_t mss = tcp_eff_mss(t);

	if (a->lost)
		t->cwnd = t->cwnd > a->lost + mss ? t->cwnd - a->lost : mss;
	if (t->cc_state == CC_RECOVERY && b->prev_state == CC_OPEN) {
		b->conserve = 1;
		b->next_delivered = a->delivered_seq;
		t->cwnd = a->pipe + a->delivered;
	} else if (t->cc_state == CC_OPEN && b->prev_state != CC_OPEN) {
		b->conserve = 0;
		if (t->cwnd < b->prior_cwnd)
			t->cwnd = b->prior_cwnd;
	}
	b->prev_state = t->cc_state;
	if (b->conserve && t->cwnd < a->pipe + a->delivered)
		t->cwnd = a->pipe + a->delivered;
	return b->conserve;
}

static void cwnd_update(struct tcb *t, struct bbr *b, const struct cc_ack *a)
{
	uint32_t least = MIN_SEGMENTS * tcp_eff_mss(t), target;

	if (a->delivered && !cwnd_in_recovery(t, b, a)) {
		target = inflight(t, b, cwnd_gain(b)) + extra_cwnd(t, b);
		if (b->full)
			t->cwnd = t->cwnd + a->delivered < target ? t->cwnd + a->delivered : target;
		else if (t->cwnd < target ||
			 t->snd_una - t->iss < cc_initial_window(tcp_eff_mss(t)))
			t->cwnd += a->delivered;
		t->cwnd = t->cwnd > least ? t->cwnd : least;
	}
	if (b->mode == PROBE_RTT && t->cwnd > least)
		t->cwnd = least;
	if (t->cwnd < tcp_eff_mss(t)) /* little was in flight when recovery began */
		t->cwnd = tcp_eff_mss(t);
	if (t->cwnd > CC_CWND_MAX)
		t->cwnd = CC_CWND_MAX;
}

static void bbr_control(struct tcb *t, const struct cc_ack *a, struct mtime now)
{
	struct bbr *b = CC_PRIV(t, struct bbr);

	round_update(b, a);
	if (model_policer(b, a, now) && b->mode == PROBE_BW)
		enter_probe_bw(t, b, now);
	model_bw(b, a);
	model_extra(t, b, a, now);
	if (b->mode == PROBE_BW && phase_over(t, b, a, now)) {
		b->phase = (b->phase + 1) % PHASES;
		b->stamp = cc_us(now);
	}
	check_full(b, a);
	check_drain(t, b, a, now);
	model_rtt(t, b, a, now);
	pacing_update(t, b, pacing_gain(b));
	cwnd_update(t, b, a);
}

/* Without a scoreboard: what was in flight has taken this round trip to be delivered. */
static void bbr_ack(struct tcb *t, const struct cc_ack *a, struct mtime now)
{
	struct cc_ack c = *a;

	c.delivered = a->acked;
	c.delivered_seq = t->snd_una;
	c.pipe = t->snd_max - t->snd_una;
	c.prior_delivered = t->snd_una - a->in_flight;
	c.sample_bytes = a->rtt_us ? a->in_flight : 0;
	c.sample_us = a->rtt_us;
	c.app_limited = !a->cwnd_limited;
	bbr_control(t, &c, now);
}

/* ---- other events ---- */

static void bbr_init(struct tcb *t, struct mtime now)
{
	struct bbr *b = CC_PRIV(t, struct bbr);

	CC_FORGET(t);
	b->next_delivered = t->snd_una;
	b->min_rtt_ms = cc_ms(now);
	pacing_init(t, b);
}

/* ssthresh bounds nothing here; without a scoreboard New Reno takes cwnd from it. */
static void bbr_loss(struct tcb *t, uint32_t in_flight, struct mtime now)
{
	(void)in_flight;
	(void)now;
	save_cwnd(t, CC_PRIV(t, struct bbr));
	t->ssthresh = t->cwnd > 2 * tcp_eff_mss(t) ? t->cwnd : 2 * tcp_eff_mss(t);
}

static void bbr_timeout(struct tcb *t, uint32_t in_flight, struct mtime now)
{
	struct bbr *b = CC_PRIV(t, struct bbr);

	bbr_loss(t, in_flight, now);
	b->prev_state = CC_LOSS;
	b->full_bw = 0;
	b->round_start = 1;
}

static void bbr_undo(struct tcb *t, uint32_t prior_cwnd, uint32_t prior_ssthresh, struct mtime now)
{
	struct bbr *b = CC_PRIV(t, struct bbr);

	cc_undo(t, prior_cwnd, prior_ssthresh, now);
	lt_forget(b, NULL);
	b->full_bw = 0; /* the slump was not the path's */
	b->full_count = 0;
}

static void bbr_start(struct tcb *t, struct mtime now)
{
	struct bbr *b = CC_PRIV(t, struct bbr);

	if (!(t->flags & TCB_F_APP_LIMITED))
		return;
	b->idle_restart = 1;
	/* What is left of the burst that cwnd would allow after a rest. */
	if (b->mode == PROBE_BW)
		pacing_update(t, b, 1000);
	else if (b->mode == PROBE_RTT)
		probe_rtt_done(t, b, now);
}

/* The model outlives a rest (RFC 5681 §4.1 is about windows that go by losses). */
static void bbr_idle(struct tcb *t, struct mtime now)
{
	(void)t;
	(void)now;
}

const struct cc_ops cc_bbr = {
	.name = "bbr",
	.init = bbr_init,
	.ack = bbr_ack,
	.control = bbr_control,
	.loss = bbr_loss,
	.timeout = bbr_timeout,
	.idle = bbr_idle,
	.undo = bbr_undo,
	.start = bbr_start,
	.pacing_rate = bbr_pacing_rate,
};
