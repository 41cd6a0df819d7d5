/* SPDX-License-Identifier: BSD-2-Clause */
/* tcp_next.c: Nagle, cork, silly windows, window probes; sending and sleeping agree. */
#include "lib_tcp.h"

static struct conv c;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	return 0;
}

#define ACK(n) RX(&c, .flags = TH_ACK, .seq = 1, .ack = (n))
#define OUT(s, n) TX(&c, .flags = TH_ACK | TH_PSH, .seq = (s), .ack = 1, .len = (n))
#define FULL(s) TX(&c, .flags = TH_ACK, .seq = (s), .ack = 1, .len = 1460)

/* ---- Nagle, TCP_NODELAY, TCP_CORK, MSG_MORE ---- */

static void test_tcp_nagle_holds_second_short_segment(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tc_send(&c, 100);
	OUT(1, 100);
	tc_send(&c, 100);
	tc_send(&c, 100);
	tc_tx_none(&c);
	ACK(101);
	OUT(101, 200); /* in one */
	tc_close(&c);
}

/* RFC 9293 MUST-61 */
static void test_tcp_nagle_lets_tail_follow_full_segments(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tc_send(&c, 1460 + 50);
	FULL(1);
	OUT(1461, 50); /* Minshall: no short one is outstanding */
	tc_send(&c, 10);
	tc_tx_none(&c);
	tc_close(&c);
}

/* RFC 9293 MUST-17 */
static void test_tcp_nodelay_sends_at_once(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tc_send(&c, 10);
	OUT(1, 10);
	tc_send(&c, 10);
	tc_tx_none(&c);
	tcp_setopt(c.t.s, c.conn, TOPT_NODELAY, 1, c.t.now);
	OUT(11, 10);
	tc_send(&c, 10);
	OUT(21, 10);
	tc_close(&c);
}

static void test_tcp_cork_holds_for_200_ms(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_NODELAY, 1, c.t.now);
	tcp_setopt(c.t.s, c.conn, TOPT_CORK, 1, c.t.now);
	tc_send(&c, 1460 + 10);
	FULL(1);
	tc_tx_none(&c);
	tcp_setopt(c.t.s, c.conn, TOPT_CORK, 0, c.t.now);
	OUT(1461, 10);
	ACK(1471);
	tcp_setopt(c.t.s, c.conn, TOPT_CORK, 1, c.t.now);
	tc_send(&c, 10);
	tc_tx_none(&c);
	ts_advance(&c.t, 199);
	tc_tx_none(&c);
	ts_advance(&c.t, 12); /* 200 ms and the round trip */
	OUT(1471, 10);
	tc_close(&c);
}

static void test_tcp_msg_more_holds_until_next_send(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	assert_int_equal(tcp_send(c.t.s, c.conn, "\7\16\25", 3, TCP_MSG_MORE, c.t.now), 3);
	ts_check(&c.t);
	tc_tx_none(&c);
	tc_send(&c, 7);
	OUT(1, 10);
	tc_close(&c);
}

static void test_tcp_cork_close_pushes_with_fin(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_CORK, 1, c.t.now);
	tc_send(&c, 10);
	tc_tx_none(&c);
	tcp_close(c.t.s, c.conn, c.t.now);
	TX(&c, .flags = TH_ACK | TH_PSH | TH_FIN, .seq = 1, .ack = 1, .len = 10);
	tc_close(&c);
}

/* ---- windows ---- */

/* RFC 9293 MUST-38 */
static void test_tcp_silly_window_not_used(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = 2000);
	tc_send(&c, 4000);
	FULL(1);
	tc_tx_none(&c); /* 540 are left of the window */
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1461, .wnd = 2000);
	FULL(1461);
	tc_close(&c);
}

static void test_tcp_half_of_largest_window_is_sent(void **state)
{
	(void)state;
	c.wnd = 1000; /* the peer's buffer is less than a segment */
	tc_accept(&c, NULL);
	tc_send(&c, 4000);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 1000);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1001, .wnd = 400);
	tc_tx_none(&c);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1001, .wnd = 500);
	TX(&c, .flags = TH_ACK, .seq = 1001, .ack = 1, .len = 500);
	tc_close(&c);
}

/* RFC 9293 MUST-35, MUST-36 */
static void test_tcp_zero_window_probed_with_backoff(void **state)
{
	uint64_t ms;

	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = ZERO_WND);
	tc_send(&c, 10);
	tc_tx_none(&c);
	ms = tc_tcb(&c)->rto / 1000;
	for (int i = 0; i < 6; i++, ms *= 2) {
		ts_advance(&c.t, ms - 1);
		tc_tx_none(&c);
		ts_advance(&c.t, 3);
		TX(&c, .flags = TH_ACK, .seq = 0, .ack = 1); /* an old number */
		RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = ZERO_WND);
		tc_tx_none(&c);
	}
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPWinProbe), 6);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = 5000);
	OUT(1, 10);
	tc_close(&c);
}

/* RFC 9293 MUST-37 */
static void test_tcp_zero_window_answered_for_days_stays(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = ZERO_WND);
	tc_send(&c, 10);
	for (int i = 0; i < 100; i++) {
		ts_advance(&c.t, 121000);
		tc_tx_all(&c);
		RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = ZERO_WND);
	}
	tc_state(&c, TCP_ESTABLISHED);
	tc_close(&c);
}

static void test_tcp_small_window_overridden_by_timer(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = 100);
	tc_send(&c, 1000);
	tc_tx_none(&c);
	ts_advance(&c.t, tc_tcb(&c)->rto / 1000 + 2);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 100);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 101, .wnd = 2000);
	OUT(101, 900);
	tc_close(&c);
}

/* RFC 9293 MUST-34 */
static void test_tcp_window_shut_on_data_in_flight(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tc_send(&c, 2920);
	tc_tx_all(&c);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = ZERO_WND);
	for (int i = 0; i < 40; i++) { /* the peer answers: never given up */
		ts_advance(&c.t, 121000);
		FULL(1);
		RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = ZERO_WND);
		tc_tx_all(&c);
	}
	tc_state(&c, TCP_ESTABLISHED);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1461, .wnd = 5000);
	OUT(1461, 1460);
	tc_close(&c);
}

static void test_tcp_fin_needs_window(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = 10);
	tcp_setopt(c.t.s, c.conn, TOPT_NODELAY, 1, c.t.now);
	tc_send(&c, 10);
	OUT(1, 10);
	tcp_close(c.t.s, c.conn, c.t.now);
	tc_tx_none(&c);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 11, .wnd = ZERO_WND);
	tc_tx_none(&c);
	ts_advance(&c.t, 2000);
	TX(&c, .flags = TH_ACK, .seq = 10, .ack = 1); /* probes for it */
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 11, .wnd = 100);
	TX(&c, .flags = TH_ACK | TH_FIN, .seq = 11, .ack = 1);
	tc_close(&c);
}

static void test_tcp_fin_ignores_cwnd(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tc_send(&c, 14600);
	assert_int_equal(tc_tx_all(&c), 10);
	tcp_close(c.t.s, c.conn, c.t.now);
	TX(&c, .flags = TH_ACK | TH_FIN, .seq = 14601, .ack = 1);
	tc_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_tcp_nagle_holds_second_short_segment, setup),
		cmocka_unit_test_setup(test_tcp_nagle_lets_tail_follow_full_segments, setup),
		cmocka_unit_test_setup(test_tcp_nodelay_sends_at_once, setup),
		cmocka_unit_test_setup(test_tcp_cork_holds_for_200_ms, setup),
		cmocka_unit_test_setup(test_tcp_msg_more_holds_until_next_send, setup),
		cmocka_unit_test_setup(test_tcp_cork_close_pushes_with_fin, setup),
		cmocka_unit_test_setup(test_tcp_silly_window_not_used, setup),
		cmocka_unit_test_setup(test_tcp_half_of_largest_window_is_sent, setup),
		cmocka_unit_test_setup(test_tcp_zero_window_probed_with_backoff, setup),
		cmocka_unit_test_setup(test_tcp_zero_window_answered_for_days_stays, setup),
		cmocka_unit_test_setup(test_tcp_small_window_overridden_by_timer, setup),
		cmocka_unit_test_setup(test_tcp_window_shut_on_data_in_flight, setup),
		cmocka_unit_test_setup(test_tcp_fin_needs_window, setup),
		cmocka_unit_test_setup(test_tcp_fin_ignores_cwnd, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
