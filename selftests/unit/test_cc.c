/* SPDX-License-Identifier: BSD-2-Clause */
/* cc.c, cc_reno.c, cc_cubic.c: growth and reduction in numbers. */
#include "lib_tcp.h"
#include "user/core/cc.h"

#define MSS 1000u

static struct tcb t;
static struct mtime now;

static int setup(void **state)
{
	(void)state;
	now.ns = 1000 * NS_PER_S;
	t = (struct tcb){.mss = MSS, .cwnd = 10 * MSS, .ssthresh = INT32_MAX, .srtt = 100000};
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
}

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

static void test_reno_avoidance_adds_a_segment_per_round_trip(void **state)
{
	(void)state;
	cc_reno.init(&t, now);
	t.ssthresh = 10 * MSS;
	for (uint32_t i = 0; i < 20; i++)
		round_trip(&cc_reno);
	assert_in_range(t.cwnd, 29 * MSS, 30 * MSS);
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

static void test_reno_loss_halves_with_floor(void **state)
{
	(void)state;
	cc_reno.loss(&t, 10 * MSS, now);
	assert_int_equal(t.ssthresh, 5 * MSS);
	cc_reno.timeout(&t, 3 * MSS, now);
	assert_int_equal(t.ssthresh, 2 * MSS);
}

static void test_cubic_loss_to_seven_tenths(void **state)
{
	(void)state;
	cc_cubic.init(&t, now);
	t.cwnd = 100 * MSS;
	cc_cubic.loss(&t, 100 * MSS, now);
	assert_int_equal(t.ssthresh, 70 * MSS);
	assert_int_equal(t.cc_priv[1], 100 * MSS);
	/* fast convergence: the next loss comes at less than the last one */
	t.cwnd = 80 * MSS;
	cc_cubic.loss(&t, 80 * MSS, now);
	assert_int_equal(t.ssthresh, 56 * MSS);
	assert_int_equal(t.cc_priv[1], 68 * MSS);
}

/* RFC 9438 §4.2: back at w_max after K seconds, flat there, then faster and faster. */
static void test_cubic_returns_to_w_max_after_k(void **state)
{
	uint32_t ms = 0, before, at_k = 0;

	(void)state;
	cc_cubic.init(&t, now);
	t.cwnd = 1000 * MSS;
	cc_cubic.loss(&t, t.cwnd, now);
	t.cwnd = t.ssthresh;
	round_trip(&cc_cubic);
	assert_in_range(t.cc_priv[2], 9060, 9090); /* cbrt(300 / 0.4) s */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_cc_names, setup),
		cmocka_unit_test_setup(test_cc_initial_window_rfc6928, setup),
		cmocka_unit_test_setup(test_reno_slow_start_doubles, setup),
		cmocka_unit_test_setup(test_reno_avoidance_adds_a_segment_per_round_trip, setup),
		cmocka_unit_test_setup(test_reno_slow_start_ends_at_ssthresh, setup),
		cmocka_unit_test_setup(test_reno_loss_halves_with_floor, setup),
		cmocka_unit_test_setup(test_cubic_loss_to_seven_tenths, setup),
		cmocka_unit_test_setup(test_cubic_returns_to_w_max_after_k, setup),
		cmocka_unit_test_setup(test_cubic_on_short_paths_is_not_slower_than_reno, setup),
		cmocka_unit_test_setup(test_cc_idle_back_to_initial_window, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
