/* SPDX-License-Identifier: BSD-2-Clause */
/* rate.c: which acknowledgement makes a sample, and when the program is the limit. */
#include "lib_tcp.h"
#include "user/core/board.h"
#include "user/core/cc.h"

static struct conv c;
static struct tcb *t;
static struct rate *r;
static struct cc_ack got;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	memset(&got, 0, sizeof(got));
	c.sack = true;
	return 0;
}

/* Three segments under way, each of its own millisecond, under an algorithm that asks for rates. */
static void start(void)
{
	struct stack_cfg cfg = ts_cfg();

	cfg.cc = "bbr";
	tc_accept(&c, &cfg);
	for (uint32_t i = 0; i < 3; i++) {
		tc_send(&c, 1460);
		assert_int_equal(tc_tx_all(&c), 1);
		ts_advance(&c.t, 1);
	}
	t = tc_tcb(&c);
	r = rate_get(c.t.s, tcp_board(c.t.s, t));
	assert_non_null(r);
	assert_int_equal(r->n, 3);
}

/* @n bytes have arrived, the last of them sent with mark @mark (-1: not known), @ms later. */
static void acked(int mark, uint32_t n, bool unsure, uint32_t us)
{
	struct board_ack a = {.s = c.t.s, .t = t, .b = tcp_board(c.t.s, t), .delivered = n};
	uint64_t sent = c.t.now.ns;

	if (mark >= 0) {
		uint32_t ago = cc_us(c.t.now) - r->m[mark].us;

		a.sent_last = sent -= (uint64_t)ago * 1000;
	}
	a.sent_unsure = unsure;
	a.now = mtime_add_us((struct mtime){sent}, us);
	a.b->sacked += n;
	memset(&got, 0, sizeof(got));
	rate_ack(&a, &got);
	a.b->sacked -= n;
}

static void test_rate_sample(void **state)
{
	(void)state;
	start();
	assert_int_equal(rate_last(c.t.s, tcp_board(c.t.s, t)), 0);
	acked(0, 1460, false, 10000); /* 1460 bytes in 10 ms */
	assert_int_equal(got.sample_bytes, 1460);
	assert_int_equal(got.sample_us, 10000);
	assert_int_equal(rate_last(c.t.s, tcp_board(c.t.s, t)), 146000);
	/* What is sent at one time has one mark. */
	tc_send(&c, 2 * 1460);
	assert_int_equal(tc_tx_all(&c), 2);
	assert_int_equal(r->n, 4);
	tc_close(&c);
}

/* What came so soon may be another copy's: only where it is sure, or a round trip has passed. */
static void test_rate_no_sample(void **state)
{
	(void)state;
	start();
	tcp_board(c.t.s, t)->min_rtt = 10000;
	r->m[0].us ^= 1u << 31; /* 0 is no time that one would be found for */
	acked(-1, 1460, false, 10000);
	assert_int_equal(got.sample_us, 0);
	r->m[0].us ^= 1u << 31;
	acked(0, 0, false, 10000);
	assert_int_equal(got.sample_us, 0);
	acked(0, 1460, true, 9999);
	assert_int_equal(got.sample_us, 0);
	acked(0, 1460, true, 10000);
	assert_int_not_equal(got.sample_us, 0);
	acked(0, 1460, false, 9999);
	assert_int_not_equal(got.sample_us, 0);
	tc_close(&c);
}

/* The program is the limit until what it had sent by then has arrived, and a byte more. */
static void test_rate_app_limited_ends(void **state)
{
	(void)state;
	start();
	t->flags |= TCB_F_APP_LIMITED;
	r->limited_until = t->snd_una + 1460;
	acked(0, 1460, false, 10000);
	assert_true(t->flags & TCB_F_APP_LIMITED);
	acked(0, 1461, false, 10000);
	assert_false(t->flags & TCB_F_APP_LIMITED);
	tc_close(&c);
}

static bool limited(void)
{
	t->flags &= ~TCB_F_APP_LIMITED;
	rate_app_limited(c.t.s, t, c.t.now);
	return t->flags & TCB_F_APP_LIMITED;
}

/* It is not where a segment waits, cwnd is used up, or something is to be sent again. */
static void test_rate_app_limited_begins(void **state)
{
	uint32_t pipe = 3 * 1460, cwnd;

	(void)state;
	start();
	assert_true(limited());
	assert_int_equal(r->limited_until, t->snd_una + pipe);
	cwnd = t->cwnd;
	t->cwnd = pipe;
	assert_false(limited());
	t->cwnd = pipe + 1;
	assert_true(limited());
	t->cwnd = cwnd;
	tcp_board(c.t.s, t)->lost = 1;
	assert_false(limited());
	tcp_board(c.t.s, t)->lost = 0;
	tc_send(&c, 1459);
	assert_true(limited());
	tc_send(&c, 1);
	assert_false(limited());
	tc_tx_all(&c);
	tc_close(&c);
}

/* Who had to wait for room and fills it within 10 ms is not slow: the buffer was. */
static void test_rate_app_limited_not_by_the_buffer(void **state)
{
	(void)state;
	start();
	rate_room(c.t.s, t);
	assert_false(limited()); /* it begins to write */
	ts_advance(&c.t, 10);
	assert_false(limited());
	ts_advance(&c.t, 1);
	assert_true(limited());
	assert_true(limited());
	t->flags |= TCB_F_TX_FULL;
	assert_false(limited());
	t->flags &= ~TCB_F_TX_FULL;
	/* With nothing under way there was nothing to wait for. */
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1 + 3 * 1460);
	rate_room(c.t.s, t);
	assert_true(limited());
	tc_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_rate_sample, setup),
		cmocka_unit_test_setup(test_rate_no_sample, setup),
		cmocka_unit_test_setup(test_rate_app_limited_ends, setup),
		cmocka_unit_test_setup(test_rate_app_limited_begins, setup),
		cmocka_unit_test_setup(test_rate_app_limited_not_by_the_buffer, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
