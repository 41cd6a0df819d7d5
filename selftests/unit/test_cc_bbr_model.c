/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * cc_bbr.c alone: what it makes of samples of the rate of delivery, one to a round trip. What it
 * makes of a path is in test_cc_bbr.c. The numbers are those of BBRv1 as Linux has it (tcp_bbr.c).
 */
#include "lib_tcp.h"
#include "user/core/board.h"
#include "user/core/cc.h"

#define MSS 1000u
#define RTT_US 20000u

static struct tcb_copy tc; /* its record of work stands behind it */
#define t tc.t
static struct mtime now;
static struct rate r;

static int setup(void **state)
{
	(void)state;
	now.ns = 1000 * NS_PER_S;
	r = (struct rate){.epoch_us = cc_us(now)};
	tc = (struct tcb_copy){0};
	t = (struct tcb){.work = sizeof(struct tcb) / 8,
			 .mss = MSS,
			 .cwnd = 10 * MSS,
			 .ssthresh = INT32_MAX,
			 .srtt = RTT_US};
	cc_bbr.init(&t, now);
	return 0;
}

struct round {
	uint32_t rate; /* bytes/s that were delivered */
	uint32_t pipe, lost, rtt_us;
	bool app_limited;
};

/* All that was sent is acknowledged in one go, after a round trip. */
static void round_trip(const struct round *x)
{
	uint32_t us = x->rtt_us ? x->rtt_us : RTT_US;
	uint32_t bytes = (uint32_t)((uint64_t)x->rate * us / 1000000);
	struct cc_ack a = {.delivered = bytes,
			   .lost = x->lost,
			   .pipe = x->pipe,
			   .in_flight = x->pipe + bytes,
			   .rtt_us = us,
			   .sample_bytes = bytes,
			   .sample_us = us,
			   .prior_delivered = t.snd_una,
			   .app_limited = x->app_limited,
			   .rate = &r};

	now = mtime_add_us(now, us);
	t.snd_una += bytes;
	t.snd_nxt = t.snd_max = t.snd_una + x->pipe;
	a.delivered_seq = t.snd_una;
	cc_bbr.control(&t, &a, now);
}

#define ROUND(...) round_trip(&(struct round){__VA_ARGS__})

/* Pacing as a share of @rate, in thousandths; a hundredth is left of what the model says. */
static uint32_t gain(uint32_t rate)
{
	return (uint32_t)((cc_bbr.pacing_rate(&t) * 1000 / rate * 100 + 50) / 99);
}

static void assert_gain(uint32_t rate, uint32_t want)
{
	assert_in_range(gain(rate), want - want / 50, want + want / 50);
}

/* To PROBE_BW at @rate, with as little in flight as ends DRAIN. */
static void to_probe_bw(uint32_t rate)
{
	for (int i = 0; i < 8; i++)
		ROUND(.rate = rate, .pipe = MSS);
	assert_true(gain(rate) < 1300);
}

/* The pipe is full when three rounds have not brought a quarter more; then the queue is drained. */
static void test_bbr_startup_ends_when_rates_do_not_grow(void **state)
{
	uint32_t rate = 1000000;

	(void)state;
	for (int i = 0; i < 5; i++, rate = rate * 13 / 10) {
		ROUND(.rate = rate, .pipe = 500 * MSS);
		assert_gain(rate, 2885);
	}
	rate = 4000000;
	ROUND(.rate = rate, .pipe = 500 * MSS); /* what it has to grow by a quarter from now on */
	ROUND(.rate = rate * 12 / 10, .pipe = 500 * MSS);
	assert_gain(rate * 12 / 10, 2885);
	ROUND(.rate = rate, .pipe = 500 * MSS);
	assert_gain(rate * 12 / 10, 2885);
	assert_true(t.ssthresh == INT32_MAX);
	ROUND(.rate = rate, .pipe = 500 * MSS);
	assert_gain(rate * 12 / 10, 1000 * 1000 / 2885);
	assert_true(t.ssthresh < INT32_MAX);
	ROUND(.rate = rate, .pipe = 500 * MSS); /* not empty yet */
	assert_gain(rate * 12 / 10, 1000 * 1000 / 2885);
	ROUND(.rate = rate, .pipe = 10 * MSS);
	assert_true(gain(rate * 12 / 10) >= 950);
}

/* Rounds that the program left unfilled say nothing of how much the path carries. */
static void test_bbr_startup_goes_on_while_the_program_is_the_limit(void **state)
{
	(void)state;
	ROUND(.rate = 1000000, .pipe = 500 * MSS);
	for (int i = 0; i < 20; i++)
		ROUND(.rate = 500000, .pipe = 500 * MSS, .app_limited = true);
	assert_gain(1000000, 2885);
}

/* Of eight round trips one asks for a quarter more, the next makes up for it. */
static void test_bbr_probe_bw_goes_through_its_phases(void **state)
{
	uint32_t up = 0, down = 0, even = 0, last = 0;

	(void)state;
	to_probe_bw(1000000);
	for (int i = 0; i < 32; i++) {
		uint32_t g;

		/* as much in flight as the phase asks for, so that it ends */
		ROUND(.rate = 1000000, .pipe = 60 * MSS, .rtt_us = RTT_US + 1);
		g = gain(1000000);
		if (g > 1100)
			up++;
		else if (g < 900)
			down++, assert_true(last > 1100);
		else
			even++;
		last = g;
	}
	assert_in_range(up, 3, 5);
	assert_in_range(down, 3, 5);
	assert_in_range(even, 22, 26);
	/* two BDP of 20 segments, three bursts of two, and for ACKs that come all at once one BDP
	 */
	assert_in_range(t.cwnd, 62 * MSS, 70 * MSS);
}

/* A phase of more lasts until that much is in flight, or something was lost. */
static void test_bbr_probe_bw_up_until_it_is_filled(void **state)
{
	(void)state;
	for (int lossy = 0; lossy < 2; lossy++) {
		setup(state);
		to_probe_bw(1000000);
		for (int i = 0; i < 16 && gain(1000000) < 1100; i++)
			ROUND(.rate = 1000000, .pipe = MSS, .rtt_us = RTT_US + 1);
		for (int i = 0; i < 5; i++) {
			assert_gain(1000000, 1250);
			ROUND(.rate = 1000000, .pipe = MSS, .rtt_us = RTT_US + 1);
		}
		ROUND(.rate = 1000000, .pipe = lossy ? MSS : 100 * MSS, .lost = lossy ? MSS : 0,
		      .rtt_us = RTT_US + 1);
		assert_gain(1000000, 750);
	}
}

/* The best of ten rounds; what the program limits counts where it is more. */
static void test_bbr_rate_is_the_best_of_ten_rounds(void **state)
{
	int n;

	(void)state;
	to_probe_bw(1000000);
	ROUND(.rate = 1000000, .pipe = MSS);
	for (n = 0; n < 20 && gain(500000) > 1400; n++)
		ROUND(.rate = 500000, .pipe = MSS);
	assert_in_range(n, 10, 12);
	ROUND(.rate = 400000, .pipe = MSS, .app_limited = true);
	assert_true(gain(500000) > 700);
	ROUND(.rate = 800000, .pipe = MSS, .app_limited = true);
	assert_true(gain(800000) > 700);
}

/* Of what came later the second best takes its place, not the last. */
static void test_bbr_second_best_rate_follows(void **state)
{
	(void)state;
	to_probe_bw(1000000);
	ROUND(.rate = 1000000, .pipe = MSS);
	for (int i = 0; i < 4; i++)
		ROUND(.rate = 600000, .pipe = MSS);
	ROUND(.rate = 800000, .pipe = MSS);
	for (int i = 0; i < 7; i++)
		ROUND(.rate = 600000, .pipe = MSS);
	assert_in_range(gain(800000), 700, 1300);
	for (int i = 0; i < 7; i++)
		ROUND(.rate = 600000, .pipe = MSS);
	assert_in_range(gain(600000), 700, 1300);
}

/* In recovery for a round only what has left may come; its end brings back what was. */
static void test_bbr_recovery_conserves_for_a_round(void **state)
{
	uint32_t before, una;
	struct cc_ack a = {.delivered = MSS, .pipe = 5 * MSS, .rtt_us = RTT_US, .rate = &r};

	(void)state;
	to_probe_bw(1000000);
	for (int i = 0; i < 4; i++)
		ROUND(.rate = 1000000, .pipe = 30 * MSS);
	before = t.cwnd;
	assert_true(before > 30 * MSS);
	cc_bbr.loss(&t, t.cwnd, now);
	assert_int_equal(t.ssthresh, before);
	t.cc_state = CC_RECOVERY;
	una = t.snd_una;
	for (uint32_t i = 1; i <= 3; i++) {
		t.snd_una = una + i * MSS;
		a.delivered_seq = t.snd_una;
		a.prior_delivered = una - 10 * MSS; /* sent before */
		a.sample_bytes = 20 * MSS;
		a.sample_us = RTT_US;
		cc_bbr.control(&t, &a, now);
		assert_int_equal(t.cwnd, 6 * MSS);
	}
	/* one round later it may grow again */
	a.prior_delivered = t.snd_una;
	cc_bbr.control(&t, &a, now);
	assert_int_equal(t.cwnd, 7 * MSS);
	a.lost = 2 * MSS;
	cc_bbr.control(&t, &a, now);
	assert_int_equal(t.cwnd, 6 * MSS); /* less what is lost, more what has arrived */
	a.lost = 0;
	t.cc_state = CC_OPEN;
	cc_bbr.control(&t, &a, now);
	assert_true(t.cwnd >= before);
}

/* Whatever is lost, one segment may be out; in peace it is four. */
static void test_bbr_least_windows(void **state)
{
	struct cc_ack a = {.delivered = MSS, .rtt_us = RTT_US, .rate = &r};

	(void)state;
	to_probe_bw(1000000);
	t.cc_state = CC_RECOVERY;
	a.lost = 500 * MSS;
	a.delivered = 100;
	cc_bbr.control(&t, &a, now);
	assert_int_equal(t.cwnd, MSS);
	t.cc_state = CC_OPEN;
	cc_bbr.control(&t, &a, now);
	assert_true(t.cwnd >= 4 * MSS);
}

/* After a timeout the pipe counts as not full until rates say so again. */
static void test_bbr_timeout_and_undo_try_startup_again(void **state)
{
	(void)state;
	for (int undo = 0; undo < 2; undo++) {
		setup(state);
		for (int i = 0; i < 3; i++)
			ROUND(.rate = 1000000, .pipe = 500 * MSS);
		if (undo)
			cc_bbr.undo(&t, t.cwnd, t.ssthresh, now);
		else
			cc_bbr.timeout(&t, t.cwnd, now);
		t.cc_state = CC_OPEN;
		ROUND(.rate = 1000000, .pipe = 500 * MSS);
		assert_gain(1000000, 2885);
		ROUND(.rate = 1000000, .pipe = 500 * MSS);
		assert_gain(1000000, 2885);
	}
}

/* Ten seconds without a shorter round trip: 200 ms with four segments, then what was before. */
static void test_bbr_probe_rtt(void **state)
{
	uint32_t before, ms = 0;

	(void)state;
	to_probe_bw(1000000);
	for (int i = 0; i < 6; i++)
		ROUND(.rate = 1000000, .pipe = 30 * MSS);
	before = t.cwnd;
	while (t.cwnd > 4 * MSS) {
		ROUND(.rate = 1000000, .pipe = 30 * MSS, .rtt_us = RTT_US + 100);
		ms += 20;
		assert_true(ms < 11000);
	}
	assert_in_range(ms, 9500, 10500);
	assert_gain(1000000, 1000);
	/* It begins where as little is in flight. */
	for (int i = 0; i < 20; i++)
		ROUND(.rate = 1000000, .pipe = 10 * MSS, .rtt_us = RTT_US + 100);
	assert_int_equal(t.cwnd, 4 * MSS);
	ms = 0;
	while (t.cwnd <= 4 * MSS) {
		ROUND(.rate = 200000, .pipe = 4 * MSS, .rtt_us = RTT_US + 100, .app_limited = true);
		ms += 20;
		assert_true(ms < 1000);
	}
	assert_in_range(ms, 200, 260);
	assert_in_range(t.cwnd, 40 * MSS, before);
	assert_true(t.flags & TCB_F_APP_LIMITED); /* rates of that time say nothing */
	assert_int_equal(r.limited_until, t.snd_max);
}

/* After a rest the queue is empty: nothing is to be drained, nor tried out at once. */
static void test_bbr_rest_begins_at_the_rate(void **state)
{
	(void)state;
	to_probe_bw(1000000);
	for (int i = 0; i < 16 && gain(1000000) < 1100; i++)
		ROUND(.rate = 1000000, .pipe = MSS, .rtt_us = RTT_US + 1);
	assert_gain(1000000, 1250);
	cc_bbr.start(&t, now);
	assert_gain(1000000, 1250); /* there was no rest */
	t.flags |= TCB_F_APP_LIMITED;
	cc_bbr.start(&t, now);
	assert_gain(1000000, 1000);
	/* A round trip of long ago is no reason for probing it. */
	now = mtime_add_ms(now, 20000);
	cc_bbr.start(&t, now);
	ROUND(.rate = 1000000, .pipe = MSS);
	assert_true(t.cwnd > 4 * MSS);
}

/* A policer: much is lost, and two samples are the same: that rate, without trying for more. */
static void test_bbr_policer_is_found_and_given_up(void **state)
{
	uint32_t n;

	(void)state;
	to_probe_bw(2000000);
	/* a fifth of what is sent is lost, of 1 MB/s */
	for (n = 0; n < 40 && gain(1000000) != 1000; n++)
		ROUND(.rate = 1000000, .pipe = 30 * MSS, .lost = 6 * MSS);
	assert_in_range(n, 8, 14); /* two samples of four rounds */
	for (n = 0; n < 60 && gain(1000000) <= 1020; n++)
		ROUND(.rate = 1000000, .pipe = 30 * MSS);
	assert_in_range(n, 40, 60);
}

/* The second sample may be an eighth more or less than the first; the mean of both counts. */
static void test_bbr_policer_samples_are_about_the_same(void **state)
{
	static const uint32_t second[] = {900000, 1100000};

	(void)state;
	for (uint32_t k = 0; k < 2; k++) {
		uint32_t steady = 0;

		setup(state);
		to_probe_bw(2000000);
		for (uint32_t i = 0; i < 5; i++)
			ROUND(.rate = 1000000, .pipe = 30 * MSS, .lost = 6 * MSS);
		for (uint32_t i = 0; i < 12; i++) {
			ROUND(.rate = second[k], .pipe = 30 * MSS, .lost = 6 * MSS);
			steady += gain((1000000 + second[k]) / 2) - 970 < 60;
		}
		assert_true(steady >= 6);
	}
}

/* Few losses, rates that differ, or a program that sends too little are none. */
static void test_bbr_no_policer(void **state)
{
	static const struct {
		uint32_t rate[2], lost, app_limited;
	} v[] = {{{1000000, 1000000}, 3 * MSS, 100},
		 {{500000, 1200000}, 8 * MSS, 100},
		 {{1000000, 1000000}, 6 * MSS, 3}};

	(void)state;
	for (uint32_t k = 0; k < sizeof(v) / sizeof(v[0]); k++) {
		uint32_t above = 0;

		setup(state);
		to_probe_bw(2000000);
		for (uint32_t i = 0; i < 40; i++) {
			ROUND(.rate = v[k].rate[i / 4 % 2], .pipe = 60 * MSS, .lost = v[k].lost,
			      .rtt_us = RTT_US + 1, .app_limited = i % v[k].app_limited == 2);
			above += i > 12 && cc_bbr.pacing_rate(&t) > 1220000;
		}
		assert_true(above > 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_bbr_startup_ends_when_rates_do_not_grow, setup),
		cmocka_unit_test_setup(test_bbr_startup_goes_on_while_the_program_is_the_limit,
				       setup),
		cmocka_unit_test_setup(test_bbr_probe_bw_goes_through_its_phases, setup),
		cmocka_unit_test_setup(test_bbr_probe_bw_up_until_it_is_filled, setup),
		cmocka_unit_test_setup(test_bbr_rate_is_the_best_of_ten_rounds, setup),
		cmocka_unit_test_setup(test_bbr_second_best_rate_follows, setup),
		cmocka_unit_test_setup(test_bbr_recovery_conserves_for_a_round, setup),
		cmocka_unit_test_setup(test_bbr_least_windows, setup),
		cmocka_unit_test_setup(test_bbr_timeout_and_undo_try_startup_again, setup),
		cmocka_unit_test_setup(test_bbr_probe_rtt, setup),
		cmocka_unit_test_setup(test_bbr_rest_begins_at_the_rate, setup),
		cmocka_unit_test_setup(test_bbr_policer_is_found_and_given_up, setup),
		cmocka_unit_test_setup(test_bbr_policer_samples_are_about_the_same, setup),
		cmocka_unit_test_setup(test_bbr_no_policer, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
