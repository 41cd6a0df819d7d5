/* SPDX-License-Identifier: BSD-2-Clause */
/* cc.c, cc_reno.c, cc_cubic.c: growth and reduction in numbers. */
#include "lib_tcp.h"
#include "user/core/cc.h"

#define MSS 1000u

static struct tcb_copy tc; /* its record of work stands behind it */
#define t tc.t
static struct mtime now;

static int setup(void **state)
{
	(void)state;
	now.ns = 1000 * NS_PER_S;
	tc = (struct tcb_copy){0};
	t = (struct tcb){.work = sizeof(struct tcb) / 8,
			 .mss = MSS,
			 .cwnd = 10 * MSS,
			 .ssthresh = INT32_MAX,
			 .srtt = 100000};
	return 0;
}

static void ack(const struct cc_ops *cc, uint32_t n, bool limited)
{
	cc->ack(&t, &(struct cc_ack){.acked = n, .in_flight = t.cwnd, .cwnd_limited = limited},
		now);
}

/* One window acknowledged in one round trip, segment by segment. */
static void round_trip(const struct cc_ops *cc)
{
	for (uint32_t n = t.cwnd / MSS; n; n--)
		ack(cc, MSS, true);
	now = mtime_add_us(now, t.srtt);
}

static void test_cc_names(void **state)
{
	(void)state;
	assert_string_equal(cc_get((uint8_t)cc_find("reno"))->name, "reno");
	assert_string_equal(cc_get((uint8_t)cc_find("cubic"))->name, "cubic");
	assert_int_equal(cc_find("ren"), -E_NOENT);
	assert_int_equal(cc_find("renoo"), -E_NOENT);
	assert_string_equal(cc_get(200)->name, "reno");
	for (uint32_t i = 0; cc_name(i); i++)
		assert_int_equal(cc_find(cc_name(i)), i);
	assert_null(cc_name(200));
}

/* RFC 6928 §2/1 */
static void test_cc_initial_window_rfc6928(void **state)
{
	(void)state;
	assert_int_equal(cc_initial_window(1460), 14600);
	assert_int_equal(cc_initial_window(536), 5360);
	assert_int_equal(cc_initial_window(2000), 14600);
	assert_int_equal(cc_initial_window(9000), 18000);
}

static void test_reno_slow_start_doubles(void **state)
{
	(void)state;
	cc_reno.init(&t, now);
	round_trip(&cc_reno);
	assert_int_equal(t.cwnd, 20 * MSS);
	ack(&cc_reno, 20 * MSS, true); /* a stretch ACK counts in full */
	assert_int_equal(t.cwnd, 40 * MSS);
	ack(&cc_reno, MSS, false);
	assert_int_equal(t.cwnd, 40 * MSS);
}

/* RFC 9293 MUST-19; RFC 5681 §3.1/1 */
static void test_reno_avoidance_adds_a_segment_per_round_trip(void **state)
{
	(void)state;
	cc_reno.init(&t, now);
	t.ssthresh = 10 * MSS;
	for (uint32_t i = 0; i < 20; i++)
		round_trip(&cc_reno);
	assert_in_range(t.cwnd, 29 * MSS, 30 * MSS);
}

/* A part of a segment that halving leaves cannot be sent, and need not be acknowledged. */
static void test_reno_half_a_segment_does_not_slow_growth(void **state)
{
	(void)state;
	cc_reno.init(&t, now);
	t.cwnd = t.ssthresh = 5 * MSS / 2;
	for (uint32_t i = 1; i <= 10; i++) {
		round_trip(&cc_reno);
		assert_int_equal(t.cwnd, 5 * MSS / 2 + i * MSS);
	}
	t.cwnd = 10 * MSS;
	ack(&cc_reno, 21 * MSS, true); /* two windows at once: ten and eleven segments */
	assert_int_equal(t.cwnd, 12 * MSS);
	t.cwnd = t.ssthresh = MSS / 2; /* after the MSS has grown */
	ack(&cc_reno, MSS, true);
	assert_int_equal(t.cwnd, 3 * MSS / 2);
}

static void test_reno_slow_start_ends_at_ssthresh(void **state)
{
	(void)state;
	cc_reno.init(&t, now);
	t.ssthresh = 12 * MSS;
	ack(&cc_reno, 10 * MSS, true); /* two for slow start, eight towards the next segment */
	assert_int_equal(t.cwnd, 12 * MSS);
	ack(&cc_reno, 4 * MSS, true);
	assert_int_equal(t.cwnd, 13 * MSS);
}

/* RFC 5681 §3.1/3 */
static void test_reno_loss_halves_with_floor(void **state)
{
	(void)state;
	cc_reno.loss(&t, 10 * MSS, now);
	assert_int_equal(t.ssthresh, 5 * MSS);
	cc_reno.timeout(&t, 3 * MSS, now);
	assert_int_equal(t.ssthresh, 2 * MSS);
}

/* RFC 8257 §3.3: a round trip's marks count when it is over; §3.4: and leave two segments. */
static void test_dctcp_counts_by_round_trips(void **state)
{
	const struct dctcp *d = CC_PRIV(&t, struct dctcp);

	(void)state;
	t.snd_nxt = 5000;
	t.snd_una = 1000;
	cc_dctcp.init(&t, now);
	t.snd_una = 4000;
	t.snd_nxt = 9000;
	cc_dctcp.marks(&t, 3000, true);
	assert_int_equal(d->alpha, 1024);
	t.snd_una = 5000;
	cc_dctcp.marks(&t, 1000, false);
	assert_int_equal(d->alpha, 1024 - 64 + 64 * 3 / 4);
	t.snd_una = 8999;
	cc_dctcp.marks(&t, 3999, false);
	assert_int_equal(d->alpha, 1008);
	t.snd_una = 9000;
	cc_dctcp.marks(&t, 1, false);
	assert_int_equal(d->alpha, 1008 - 63);
	t.cwnd = 8 * MSS;
	cc_dctcp.ecn(&t, t.cwnd, now);
	assert_int_equal(t.ssthresh, 8 * MSS - 8 * MSS * 945 / 2048);
	t.cwnd = 3 * MSS;
	cc_dctcp.ecn(&t, t.cwnd, now);
	assert_int_equal(t.ssthresh, 2 * MSS);
}

/* What counts towards the next segment ends with a loss; it is not what others have left. */
static void test_reno_begins_each_window_anew(void **state)
{
	(void)state;
	cc_reno.init(&t, now);
	t.ssthresh = t.cwnd;
	ack(&cc_reno, 9 * MSS, true);
	cc_reno.loss(&t, 10 * MSS, now);
	t.cwnd = t.ssthresh;
	ack(&cc_reno, 4 * MSS, true);
	assert_int_equal(t.cwnd, 5 * MSS);
	tcb_work(&t)->cc_priv[0] = 100 * MSS; /* another algorithm's */
	cc_reno.init(&t, now);
	ack(&cc_reno, 4 * MSS, true);
	assert_int_equal(t.cwnd, 5 * MSS);
	ack(&cc_reno, MSS, true);
	assert_int_equal(t.cwnd, 6 * MSS);
	t.cwnd = t.ssthresh = CC_CWND_MAX; /* and there is an end */
	ack(&cc_reno, CC_CWND_MAX, true);
	assert_int_equal(t.cwnd, CC_CWND_MAX);
}

/* RFC 9438 §4.6/1 */
static void test_cubic_loss_to_seven_tenths(void **state)
{
	(void)state;
	cc_cubic.init(&t, now);
	t.cwnd = 100 * MSS;
	cc_cubic.loss(&t, 100 * MSS, now);
	assert_int_equal(t.ssthresh, 70 * MSS);
	assert_int_equal(CC_PRIV(&t, struct cubic)->w_max, 100 * MSS);
	/* fast convergence: the next loss comes at less than the last one */
	t.cwnd = 80 * MSS;
	cc_cubic.loss(&t, 80 * MSS, now);
	assert_int_equal(t.ssthresh, 56 * MSS);
	assert_int_equal(CC_PRIV(&t, struct cubic)->w_max, 68 * MSS);
}

/* RFC 9438 §4.2: back at w_max after K seconds, flat there, then faster and faster. */
/* RFC 9438 §4.2/1 */
static void test_cubic_returns_to_w_max_after_k(void **state)
{
	uint32_t ms = 0, before, at_k = 0;

	(void)state;
	cc_cubic.init(&t, now);
	t.cwnd = 1000 * MSS;
	cc_cubic.loss(&t, t.cwnd, now);
	t.cwnd = t.ssthresh;
	round_trip(&cc_cubic);
	assert_in_range(CC_PRIV(&t, struct cubic)->k, 9060, 9090); /* cbrt(300 / 0.4) s */
	for (; ms < 9000; ms += 100)
		round_trip(&cc_cubic);
	at_k = t.cwnd;
	assert_in_range(at_k, 980 * MSS, 1002 * MSS);
	for (before = t.cwnd; ms < 12000; ms += 100)
		round_trip(&cc_cubic);
	assert_in_range(t.cwnd - before, 5 * MSS, 20 * MSS); /* 0.4 * 3^3 */
	for (before = t.cwnd; ms < 20000; ms += 100)
		round_trip(&cc_cubic);
	assert_true(t.cwnd - before > 300 * MSS);
}

/* RFC 9438 §4.3/1 */
static void test_cubic_on_short_paths_is_not_slower_than_reno(void **state)
{
	(void)state;
	cc_cubic.init(&t, now);
	t.srtt = 1000;
	t.cwnd = 20 * MSS;
	cc_cubic.loss(&t, t.cwnd, now);
	t.cwnd = t.ssthresh; /* 14 */
	for (int i = 0; i < 40; i++)
		round_trip(&cc_cubic);
	assert_true(t.cwnd > 30 * MSS); /* 14 + 40 * 9/17, and one per round trip from w_max on */
}

/* ACKs of @us round trip each, all that cwnd allows being sent, until HyStart++'s round ends. */
static void hystart_round(uint32_t us)
{
	const struct hystart *h = &CC_PRIV(&t, struct cubic)->hystart;
	uint32_t end;

	do {
		end = h->window_end;
		t.snd_nxt = t.snd_una + t.cwnd;
		t.snd_una += MSS;
		cc_cubic.ack(&t,
			     &(struct cc_ack){.acked = MSS,
					      .rtt_us = us,
					      .in_flight = t.cwnd,
					      .cwnd_limited = true},
			     now);
		now = mtime_add_us(now, 10);
	} while (!end || end == h->window_end);
}

/* RFC 9406: after a round of longer round trips growth is a quarter, after five of these it ends.
 */
static void test_cubic_hystart_leaves_slow_start_by_delay(void **state)
{
	uint32_t before;

	(void)state;
	t.snd_una = 0x90000000; /* any number may be the first */
	cc_cubic.init(&t, now);
	hystart_round(20000);
	hystart_round(20000);
	before = t.cwnd;
	assert_in_range(before, 36 * MSS, 41 * MSS);
	hystart_round(24000); /* 20 ms and the 4 ms of MIN_RTT_THRESH */
	assert_in_range(t.cwnd, before + 7 * MSS + 27 * MSS / 4, before + 9 * MSS + 32 * MSS / 4);
	assert_int_equal(t.ssthresh, CC_SSTHRESH_INIT);
	for (int i = 0; i < 3; i++)
		hystart_round(24200);
	assert_int_equal(t.ssthresh, CC_SSTHRESH_INIT);
	before = t.cwnd;
	hystart_round(24200);
	assert_int_equal(t.ssthresh, t.cwnd);
	assert_in_range(t.cwnd, before * 5 / 4 - 2 * MSS, before * 5 / 4 + 2 * MSS);
}

/* … and goes on where that was jitter only, or was less than the threshold. */
static void test_cubic_hystart_resumes_after_jitter(void **state)
{
	const struct hystart *h = &CC_PRIV(&t, struct cubic)->hystart;
	uint32_t before;

	(void)state;
	cc_cubic.init(&t, now);
	hystart_round(20000);
	hystart_round(23900);
	assert_in_range(t.cwnd, 36 * MSS, 41 * MSS);
	hystart_round(20000);
	hystart_round(30000);
	assert_true(h->css_base);
	hystart_round(20000);
	assert_false(h->css_base);
	before = t.cwnd;
	hystart_round(20000);
	assert_in_range(t.cwnd, 2 * before - 2 * MSS, 2 * before + 2 * MSS);
}

/* RFC 9438 §4.9/1 */
static void test_undo_restores_window_threshold_and_curve(void **state)
{
	uint32_t prior_ssthresh, w_max, k;

	(void)state;
	cc_reno.init(&t, now);
	cc_reno.loss(&t, t.cwnd, now);
	t.cwnd = t.ssthresh;
	cc_reno.undo(&t, 10 * MSS, INT32_MAX, now);
	assert_int_equal(t.cwnd, 10 * MSS);
	assert_int_equal(t.ssthresh, INT32_MAX);
	t.cwnd = 12 * MSS;
	cc_reno.undo(&t, 10 * MSS, INT32_MAX, now);
	assert_int_equal(t.cwnd, 12 * MSS);

	cc_cubic.init(&t, now);
	t.cwnd = 100 * MSS;
	cc_cubic.loss(&t, t.cwnd, now);
	t.cwnd = t.ssthresh;
	for (int i = 0; i < 20; i++)
		round_trip(&cc_cubic);
	prior_ssthresh = t.ssthresh;
	w_max = CC_PRIV(&t, struct cubic)->w_max;
	k = CC_PRIV(&t, struct cubic)->k;
	assert_true(k > 0);
	cc_cubic.loss(&t, t.cwnd, now);
	assert_int_equal(CC_PRIV(&t, struct cubic)->epoch, 0);
	cc_cubic.undo(&t, 90 * MSS, prior_ssthresh, now);
	assert_true(CC_PRIV(&t, struct cubic)->epoch);
	assert_int_equal(CC_PRIV(&t, struct cubic)->w_max, w_max);
	assert_int_equal(CC_PRIV(&t, struct cubic)->k, k);
	/* the first loss of all: the initial slow start goes on */
	cc_cubic.init(&t, now);
	t.ssthresh = CC_SSTHRESH_INIT;
	cc_cubic.loss(&t, t.cwnd, now);
	cc_cubic.undo(&t, t.cwnd, CC_SSTHRESH_INIT, now);
	assert_int_equal(t.ssthresh, CC_SSTHRESH_INIT);
	assert_int_equal(CC_PRIV(&t, struct cubic)->w_max, 0);
}

/* RFC 9438 §5.8: ten seconds in which the program sends little are none for the curve. */
/* RFC 9438 §5.8/1 */
static void test_cubic_time_without_use_does_not_count(void **state)
{
	uint32_t before;

	(void)state;
	cc_cubic.init(&t, now);
	t.cwnd = 1000 * MSS;
	cc_cubic.loss(&t, t.cwnd, now);
	t.cwnd = t.ssthresh;
	for (uint32_t ms = 0; ms < 9000; ms += 100)
		round_trip(&cc_cubic);
	before = t.cwnd;
	for (int i = 0; i < 100; i++) {
		ack(&cc_cubic, MSS, false);
		now = mtime_add_ms(now, 100);
	}
	round_trip(&cc_cubic);
	assert_in_range(t.cwnd, before, before + 5 * MSS);
}

static void test_cc_idle_back_to_initial_window(void **state)
{
	(void)state;
	t.cwnd = 100 * MSS;
	cc_cubic.idle(&t, now);
	assert_int_equal(t.cwnd, 10 * MSS);
	t.cwnd = 3 * MSS;
	cc_reno.idle(&t, now);
	assert_int_equal(t.cwnd, 3 * MSS);
}

/* RFC 9406 §4.2: N_RTT_SAMPLE is 8: fewer samples of a round say nothing. */
static void test_cubic_hystart_wants_eight_samples(void **state)
{
	const struct hystart *h = &CC_PRIV(&t, struct cubic)->hystart;

	(void)state;
	cc_cubic.init(&t, now);
	hystart_round(20000);
	for (int i = 0; i < 8; i++) {
		assert_false(h->css_base);
		t.snd_una += 100;
		cc_cubic.ack(&t,
			     &(struct cc_ack){.acked = 100,
					      .rtt_us = 30000,
					      .in_flight = t.cwnd,
					      .cwnd_limited = true},
			     now);
	}
	assert_true(h->css_base);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_cc_names, setup),
		cmocka_unit_test_setup(test_cc_initial_window_rfc6928, setup),
		cmocka_unit_test_setup(test_reno_slow_start_doubles, setup),
		cmocka_unit_test_setup(test_reno_avoidance_adds_a_segment_per_round_trip, setup),
		cmocka_unit_test_setup(test_reno_half_a_segment_does_not_slow_growth, setup),
		cmocka_unit_test_setup(test_reno_slow_start_ends_at_ssthresh, setup),
		cmocka_unit_test_setup(test_reno_loss_halves_with_floor, setup),
		cmocka_unit_test_setup(test_reno_begins_each_window_anew, setup),
		cmocka_unit_test_setup(test_dctcp_counts_by_round_trips, setup),
		cmocka_unit_test_setup(test_cubic_loss_to_seven_tenths, setup),
		cmocka_unit_test_setup(test_cubic_returns_to_w_max_after_k, setup),
		cmocka_unit_test_setup(test_cubic_on_short_paths_is_not_slower_than_reno, setup),
		cmocka_unit_test_setup(test_cubic_hystart_leaves_slow_start_by_delay, setup),
		cmocka_unit_test_setup(test_cubic_hystart_resumes_after_jitter, setup),
		cmocka_unit_test_setup(test_undo_restores_window_threshold_and_curve, setup),
		cmocka_unit_test_setup(test_cubic_time_without_use_does_not_count, setup),
		cmocka_unit_test_setup(test_cc_idle_back_to_initial_window, setup),
		cmocka_unit_test_setup(test_cubic_hystart_wants_eight_samples, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
