/* SPDX-License-Identifier: BSD-2-Clause */
/* tcp_timer.c: retransmission limits, user timeout, keepalive, orphans. */
#include "lib_tcp.h"

static struct conv c;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	return 0;
}

#define DATA_OUT TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 10)

/* Lets time pass, a second at a time, taking what is sent; returns seconds until CLOSED. */
static uint32_t seconds_until_closed(uint32_t max)
{
	for (uint32_t s = 0; s < max; s++) {
		ts_advance(&c.t, 1000);
		tc_tx_all(&c);
		if (tc_tcb(&c)->owner != TCB_MINE || tc_tcb(&c)->state == TCP_CLOSED)
			return s;
	}
	return max;
}

/* ---- retransmission ---- */

/* RFC 9293 MUST-19; RFC 6298 §5/1, §5/2 */
static void test_tcp_rto_backs_off(void **state)
{
	uint64_t ms;

	(void)state;
	tc_connect(&c, NULL, 100);
	ms = tc_tcb(&c)->rto / 1000;
	assert_int_equal(ms, 300);
	tc_send(&c, 10);
	DATA_OUT;
	for (int i = 0; i < 8; i++, ms *= 2) {
		ts_advance(&c.t, ms - 1);
		tc_tx_none(&c);
		ts_advance(&c.t, 2);
		DATA_OUT;
	}
	assert_int_equal(tc_tcb(&c)->total_retrans, 8);
	tc_close(&c);
}

/* It is not permanent any more, but REACHABLE for 15 s. */
static void neighbour_answers(void)
{
	struct net_event ev = {.kind = NET_NEIGH_SET, .addr = ip(PEER_IP)};

	memcpy(ev.mac, peer_mac, 6);
	assert_int_equal(ts_event(&c.t, ev), 0);
	assert_int_equal(ts_rx_arp(&c.t, 2, peer_mac, PEER_IP, OUR_IP, our_mac), DROP_NONE);
}

/* Retransmits until the neighbour is asked; returns how long that took, in ms. */
static uint32_t ms_until_neighbour_is_asked(uint32_t max)
{
	struct out o;

	for (uint32_t ms = 0; ms < max; ms += 10) {
		ts_advance(&c.t, 10);
		while (ts_tx(&c.t, &o)) {
			if (o.ethertype == ETHERTYPE_IP4)
				continue;
			assert_int_equal(o.op, 1);
			assert_ip(o.tip, PEER_IP);
			assert_memory_equal(o.dmac, peer_mac, 6);
			return ms;
		}
	}
	return max;
}

/* RFC 9293 MUST-20; RFC 1122 §3.3.1.4/1 */
static void test_tcp_retries1_asks_the_neighbour(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	tc_connect(&c, NULL, 1);
	neighbour_answers();
	ts_advance(&c.t, 6000);
	tc_send(&c, 10);
	DATA_OUT;
	assert_in_range(ms_until_neighbour_is_asked(20000), 3000, 6600);
	tc_close(&c);

	memset(&c, 0, sizeof(c));
	cfg.limits.tcp_retries1 = 1;
	tc_connect(&c, &cfg, 1);
	neighbour_answers();
	ts_advance(&c.t, 6000);
	tc_send(&c, 10);
	DATA_OUT;
	assert_in_range(ms_until_neighbour_is_asked(20000), 600, 1500);
	tc_close(&c);
}

/* RFC 9293 MUST-20 */
static void test_tcp_retries2_gives_up_after_924_s(void **state)
{
	uint32_t s;

	(void)state;
	tc_connect(&c, NULL, 1);
	tc_send(&c, 10);
	DATA_OUT;
	s = seconds_until_closed(2000);
	assert_in_range(s, 924, 924 + 121);
	assert_int_equal(tcp_error(c.t.s, c.conn), E_TIMEDOUT);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPAbortOnTimeout), 1);
	tc_close(&c);
}

/* RFC 9293 MUST-21 */
static void test_tcp_user_timeout_gives_up_in_time(void **state)
{
	(void)state;
	tc_connect(&c, NULL, 1);
	tcp_setopt(c.t.s, c.conn, TOPT_USER_TIMEOUT, 5000, c.t.now);
	tc_send(&c, 10);
	DATA_OUT;
	assert_in_range(seconds_until_closed(100), 4, 6);
	assert_int_equal(tcp_error(c.t.s, c.conn), E_TIMEDOUT);
	tc_close(&c);
}

static void test_tcp_user_timeout_limits_window_probes(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_USER_TIMEOUT, 10000, c.t.now);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = ZERO_WND);
	tc_send(&c, 10);
	assert_in_range(seconds_until_closed(100), 9, 12);
	tc_close(&c);
}

static void test_tcp_unanswered_probes_give_up(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = ZERO_WND);
	tc_send(&c, 10);
	assert_in_range(seconds_until_closed(4000), 800, 1600);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPWinProbe), 15);
	tc_close(&c);
}

/* ---- keepalive (RFC 1122 §4.2.3.6) ---- */

static void keepalive_on(void)
{
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_KEEPIDLE, 60, c.t.now);
	tcp_setopt(c.t.s, c.conn, TOPT_KEEPINTVL, 10, c.t.now);
	tcp_setopt(c.t.s, c.conn, TOPT_KEEPCNT, 3, c.t.now);
	tcp_setopt(c.t.s, c.conn, TOPT_KEEPALIVE, 1, c.t.now);
	ts_check(&c.t);
}

/* RFC 9293 MUST-24 */
static void test_tcp_keepalive_answered_stays(void **state)
{
	(void)state;
	keepalive_on();
	for (int i = 0; i < 5; i++) {
		ts_advance(&c.t, 59990);
		tc_tx_none(&c);
		ts_advance(&c.t, 20);
		TX(&c, .flags = TH_ACK, .seq = 0, .ack = 1);
		RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	}
	tc_state(&c, TCP_ESTABLISHED);
	tc_close(&c);
}

/* RFC 9293 MUST-26 */
static void test_tcp_keepalive_traffic_postpones(void **state)
{
	(void)state;
	keepalive_on();
	ts_advance(&c.t, 50000);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 1);
	tc_tx_all(&c);
	ts_advance(&c.t, 59000);
	tc_tx_none(&c);
	ts_advance(&c.t, 1100);
	TX(&c, .flags = TH_ACK, .seq = 0, .ack = 2);
	tc_close(&c);
}

/* RFC 9293 MUST-29 */
static void test_tcp_keepalive_unanswered_times_out(void **state)
{
	(void)state;
	keepalive_on();
	ts_advance(&c.t, 60001);
	TX(&c, .flags = TH_ACK, .seq = 0, .ack = 1);
	for (int i = 0; i < 2; i++) {
		ts_advance(&c.t, 10001);
		TX(&c, .flags = TH_ACK, .seq = 0, .ack = 1);
	}
	ts_advance(&c.t, 10001);
	TX(&c, .flags = TH_RST | TH_ACK, .seq = 1, .ack = 1);
	tc_state(&c, TCP_CLOSED);
	assert_int_equal(tcp_error(c.t.s, c.conn), E_TIMEDOUT);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPKeepAlive), 3);
	tc_close(&c);
}

/* As Linux: with a user timeout that decides, however many probes there were. */
static void test_tcp_keepalive_user_timeout_decides(void **state)
{
	(void)state;
	keepalive_on();
	tcp_setopt(c.t.s, c.conn, TOPT_USER_TIMEOUT, 65000, c.t.now);
	ts_advance(&c.t, 60001);
	TX(&c, .flags = TH_ACK, .seq = 0, .ack = 1);
	ts_advance(&c.t, 10001); /* 70 s of silence */
	TX(&c, .flags = TH_RST | TH_ACK, .seq = 1, .ack = 1);
	assert_int_equal(tcp_error(c.t.s, c.conn), E_TIMEDOUT);
	tc_close(&c);

	keepalive_on();
	tcp_setopt(c.t.s, c.conn, TOPT_USER_TIMEOUT, 300000, c.t.now);
	ts_advance(&c.t, 60001);
	for (int i = 0; i < 20; i++) { /* more than three */
		TX(&c, .flags = TH_ACK, .seq = 0, .ack = 1);
		ts_advance(&c.t, 10001);
	}
	tc_state(&c, TCP_ESTABLISHED);
	tc_close(&c);
}

/* ---- orphans ---- */

static void test_tcp_fin_wait_2_orphan_ends_after_fin_timeout(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tcp_close(c.t.s, c.conn, c.t.now);
	TX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 1);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 2);
	ts_advance(&c.t, 900);
	tc_tx_none(&c);
	assert_int_equal(tc_usage(&c).tcbs, 1);
	/* The rest of the time a record waits (test_tcp_timewait.c). */
	ts_advance(&c.t, 200);
	tc_tx_none(&c);
	assert_int_equal(tc_usage(&c).tcbs, 0);
	assert_int_equal(tc_events(&c), EV_TIMEWAIT | EV_FIN_WAIT2);
	ts_advance(&c.t, 58800);
	assert_int_equal(tc_usage(&c).timewaits, 1);
	ts_advance(&c.t, 400);
	tc_tx_none(&c);
	assert_int_equal(tc_usage(&c).timewaits, 0);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TW), 1);
	tc_close(&c);
}

static void test_tcp_fin_wait_2_held_has_no_timeout(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tcp_shutdown(c.t.s, c.conn, false, true, c.t.now);
	tc_events(&c);
	TX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 1);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 2);
	assert_int_equal(tc_events(&c), EV_WRITABLE); /* all has arrived: who lingers is woken */
	ts_advance(&c.t, 1000000);
	tc_tx_none(&c);
	tc_state(&c, TCP_FIN_WAIT_2);
	tcp_close(c.t.s, c.conn, c.t.now); /* now it has */
	ts_advance(&c.t, 61000);
	tc_tx_none(&c);
	assert_int_equal(tc_usage(&c).tcbs, 0);
	tc_close(&c);
}

static void test_tcp_orphan_gives_up_sooner(void **state)
{
	(void)state;
	tc_connect(&c, NULL, 1);
	tc_send(&c, 10);
	DATA_OUT;
	tcp_close(c.t.s, c.conn, c.t.now);
	assert_in_range(seconds_until_closed(1000), 100, 210); /* 8 retries */
	assert_int_equal(tc_usage(&c).tcbs, 0);
	tc_close(&c);
}

static void test_tcp_orphan_zero_window_gives_up(void **state)
{
	uint32_t s;

	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = ZERO_WND);
	tc_send(&c, 10);
	tcp_close(c.t.s, c.conn, c.t.now);
	for (s = 0; s < 3000 && tc_usage(&c).tcbs; s++) { /* although the peer answers */
		ts_advance(&c.t, 1000);
		if (tc_tx_all(&c), tc_usage(&c).tcbs)
			RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = ZERO_WND);
	}
	assert_in_range(s, 100, 1000);
	tc_close(&c);
}

static void test_tcp_too_many_orphans_reset(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.limits.tcp_max_orphans = 0;
	tc_accept(&c, &cfg);
	tcp_close(c.t.s, c.conn, c.t.now);
	TX(&c, .flags = TH_RST | TH_ACK, .seq = 1, .ack = 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPAbortOnMemory), 1);
	tc_close(&c);
}

/* TCP_LINGER2: another time in FIN-WAIT-2, or none at all */
static void test_tcp_linger2_ends_fin_wait_2(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_LINGER2, 5, c.t.now);
	tcp_close(c.t.s, c.conn, c.t.now);
	TX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 1);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 2);
	ts_advance(&c.t, 1001);
	tc_tx_none(&c);
	ts_advance(&c.t, 3899);
	assert_int_equal(tc_usage(&c).timewaits, 1);
	ts_advance(&c.t, 200);
	assert_int_equal(tc_usage(&c).timewaits, 0);
	tc_close(&c);
}

/* … 3.5 RTO it is at least: the peer's FIN may be under way. */
static void test_tcp_linger2_not_below_the_round_trip(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_LINGER2, 1, c.t.now);
	tcp_close(c.t.s, c.conn, c.t.now);
	TX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 1);
	tc_tcb(&c)->rto = 2000000;
	tc_tcb(&c)->flags &= ~TCB_F_RTT_VALID;
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 2);
	ts_advance(&c.t, 1001);
	tc_tx_none(&c);
	ts_advance(&c.t, 5899);
	assert_int_equal(tc_usage(&c).timewaits, 1); /* a record waits for the rest of it */
	ts_advance(&c.t, 200);
	assert_int_equal(tc_usage(&c).timewaits, 0);
	tc_close(&c);
}

static void test_tcp_linger2_negative_no_fin_wait_2(void **state)
{
	int64_t v;

	(void)state;
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_LINGER2, -1, c.t.now);
	assert_int_equal(tcp_getopt(c.t.s, c.conn, TOPT_LINGER2, &v), 0);
	assert_int_equal(v, -1);
	tcp_close(c.t.s, c.conn, c.t.now); /* an orphan: it ends without a word */
	TX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 1);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 2);
	tc_tx_none(&c);
	assert_int_equal(tc_usage(&c).tcbs, 0);
	tc_close(&c);

	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_LINGER2, -1, c.t.now);
	tcp_shutdown(c.t.s, c.conn, false, true, c.t.now);
	TX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 1);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 2);
	tc_state(&c, TCP_FIN_WAIT_2); /* while it is held nothing ends it; close() resets */
	tcp_close(c.t.s, c.conn, c.t.now);
	TX(&c, .flags = TH_ACK | TH_RST, .seq = 2, .ack = 1);
	assert_int_equal(tc_usage(&c).tcbs, 0);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPAbortOnLinger), 1);
	tc_close(&c);
}

/* TCP_SYNCNT, and TCP_USER_TIMEOUT, which cuts the last wait short */
static void test_tcp_syn_limits_of_the_socket(void **state)
{
	(void)state;
	tc_connect_syn(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_SYNCNT, 2, c.t.now);
	assert_in_range(seconds_until_closed(100), 6, 8);
	assert_int_equal(tcp_error(c.t.s, c.conn), E_TIMEDOUT);
	tc_close(&c);

	tc_connect_syn(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_USER_TIMEOUT, 1900, c.t.now);
	ts_advance(&c.t, 1001);
	TX(&c, .flags = TH_SYN);
	ts_advance(&c.t, 895);
	assert_int_equal(tc_tx_all(&c), 0);
	tc_state(&c, TCP_SYN_SENT);
	ts_advance(&c.t, 10);
	tc_tx_none(&c);
	tc_state(&c, TCP_CLOSED);
	tc_close(&c);
}

/* An orphan's data have the timers of any data: a keepalive probe sent long before ends nothing. */
static void test_tcp_keepalive_probes_do_not_end_an_orphan(void **state)
{
	uint32_t sent = 0;

	(void)state;
	keepalive_on();
	ts_advance(&c.t, 60010);
	TX(&c, .flags = TH_ACK, .seq = 0, .ack = 1);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	tc_send(&c, 100);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 100);
	tcp_close(c.t.s, c.conn, c.t.now);
	TX(&c, .flags = TH_ACK | TH_FIN, .seq = 101, .ack = 1);
	for (int i = 0; i < 15; i++) { /* seconds: beyond the interval of the probes */
		ts_advance(&c.t, 1000);
		sent += tc_tx_all(&c);
	}
	assert_in_range(sent, 3, 10);
	tc_state(&c, TCP_FIN_WAIT_1);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 102);
	tc_state(&c, TCP_FIN_WAIT_2);
	tc_close(&c);
}

/* RFC 9293 §3.8.6.1: how often the window was asked for says nothing of what is lost later. */
static void test_tcp_window_opened_after_probes_begins_anew(void **state)
{
	uint32_t rto;

	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = ZERO_WND);
	tc_send(&c, 10);
	seconds_until_closed(10);
	assert_true(tc_tcb(&c)->backoff > 1 && tc_tcb(&c)->probes > 1);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	DATA_OUT;
	rto = tc_tcb(&c)->rto / 1000;
	ts_advance(&c.t, rto - 2);
	tc_tx_none(&c);
	ts_advance(&c.t, 4);
	DATA_OUT;
	tc_close(&c);
}

/* As Linux: tcp_retries2 = 15 means 924.6 s, 8 retries of an orphan 102.2 s. */
static void test_tcp_retries_are_a_time(void **state)
{
	static const struct {
		uint32_t retries, ms;
	} v[] = {{0, 200}, {8, 102200}, {9, 204600}, {10, 324600}, {15, 924600}};
	struct mtime now;
	struct tcb *t;

	(void)state;
	tc_connect(&c, NULL, 1);
	t = tc_tcb(&c);
	now = c.t.now;
	t->rtx_first = ms_stamp(now);
	for (uint32_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		c.t.s->cfg.limits.tcp_retries2 = v[i].retries;
		assert_false(tcp_timer_rtx_over(c.t.s, t, mtime_add_ms(now, v[i].ms - 1)));
		assert_true(tcp_timer_rtx_over(c.t.s, t, mtime_add_ms(now, v[i].ms)));
	}
	t->flags |= TCB_F_CLOSED;
	assert_false(tcp_timer_rtx_over(c.t.s, t, mtime_add_ms(now, 102199)));
	assert_true(tcp_timer_rtx_over(c.t.s, t, mtime_add_ms(now, 102200)));
	t->flags &= ~TCB_F_CLOSED;
	t->rtx_first = 0;
	tc_close(&c);
}

/* RFC 9293 MUST-26: what is outstanding, or waits for a window, is not probed for life as well. */
static void test_tcp_keepalive_not_while_data_waits(void **state)
{
	(void)state;
	for (int shut = 0; shut < 2; shut++) {
		keepalive_on();
		tcp_setopt(c.t.s, c.conn, TOPT_KEEPIDLE, 2, c.t.now);
		if (shut)
			RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = ZERO_WND);
		tc_send(&c, 10);
		assert_int_equal(seconds_until_closed(60), 60);
		assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPKeepAlive), 0);
		tc_close(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_tcp_rto_backs_off, setup),
		cmocka_unit_test_setup(test_tcp_retries1_asks_the_neighbour, setup),
		cmocka_unit_test_setup(test_tcp_retries2_gives_up_after_924_s, setup),
		cmocka_unit_test_setup(test_tcp_user_timeout_gives_up_in_time, setup),
		cmocka_unit_test_setup(test_tcp_user_timeout_limits_window_probes, setup),
		cmocka_unit_test_setup(test_tcp_unanswered_probes_give_up, setup),
		cmocka_unit_test_setup(test_tcp_keepalive_answered_stays, setup),
		cmocka_unit_test_setup(test_tcp_keepalive_traffic_postpones, setup),
		cmocka_unit_test_setup(test_tcp_keepalive_unanswered_times_out, setup),
		cmocka_unit_test_setup(test_tcp_keepalive_user_timeout_decides, setup),
		cmocka_unit_test_setup(test_tcp_fin_wait_2_orphan_ends_after_fin_timeout, setup),
		cmocka_unit_test_setup(test_tcp_fin_wait_2_held_has_no_timeout, setup),
		cmocka_unit_test_setup(test_tcp_orphan_gives_up_sooner, setup),
		cmocka_unit_test_setup(test_tcp_orphan_zero_window_gives_up, setup),
		cmocka_unit_test_setup(test_tcp_too_many_orphans_reset, setup),
		cmocka_unit_test_setup(test_tcp_linger2_ends_fin_wait_2, setup),
		cmocka_unit_test_setup(test_tcp_linger2_not_below_the_round_trip, setup),
		cmocka_unit_test_setup(test_tcp_linger2_negative_no_fin_wait_2, setup),
		cmocka_unit_test_setup(test_tcp_syn_limits_of_the_socket, setup),
		cmocka_unit_test_setup(test_tcp_keepalive_probes_do_not_end_an_orphan, setup),
		cmocka_unit_test_setup(test_tcp_window_opened_after_probes_begins_anew, setup),
		cmocka_unit_test_setup(test_tcp_retries_are_a_time, setup),
		cmocka_unit_test_setup(test_tcp_keepalive_not_while_data_waits, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
