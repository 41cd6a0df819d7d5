/* SPDX-License-Identifier: BSD-2-Clause */
/* tcp_ack.c: round trips, RTO, fast retransmit, New Reno, the peer's window. */
#include "lib_tcp.h"

static struct conv c;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	return 0;
}

#define ACK(n) RX(&c, .flags = TH_ACK, .seq = 1, .ack = (n))
/* A segment of ours: number @i (from 0) of 1460 bytes. */
#define SEG(i) TX(&c, .flags = TH_ACK, .seq = 1 + 1460 * (i), .ack = 1, .len = 1460)
#define LAST(i) TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1 + 1460 * (i), .ack = 1, .len = 1460)
#define END(i) (1 + 1460 * (i))

/* Accepts, with room for @n segments in the send buffer, and sends them as far as cwnd allows. */
static void start(uint32_t n)
{
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_SNDBUF, 200000, c.t.now);
	tc_send(&c, n * 1460);
}

/* ---- round trips (RFC 6298) ---- */

/* RFC 6298 §2/1 */
static void test_tcp_rtt_samples_give_rto(void **state)
{
	struct tcb *t;

	(void)state;
	start(1);
	t = tc_tcb(&c);
	t->srtt = 0;
	LAST(0);
	ts_advance(&c.t, 100);
	ACK(END(1));
	assert_int_equal(t->srtt, 100000);
	assert_int_equal(t->rttvar, 50000);
	assert_int_equal(t->rto, 300000); /* 100 + max(4 * 50, 200) */
	tcp_rtt_sample(t, 500000, c.t.now);
	assert_int_equal(t->rttvar, 50000 - 12500 + 100000);
	assert_int_equal(t->srtt, 100000 - 12500 + 62500);
	assert_int_equal(t->rto, 150000 + 4 * 137500);
	tc_close(&c);
}

/* RFC 9293 MUST-18; RFC 6298 §3/1 */
static void test_tcp_rtt_not_sampled_from_retransmission(void **state)
{
	(void)state;
	start(1);
	LAST(0);
	ts_advance(&c.t, 300);
	LAST(0);
	ts_advance(&c.t, 5);
	tc_tcb(&c)->srtt = 0;
	ACK(END(1));
	assert_int_equal(tc_tcb(&c)->srtt, 0); /* Karn */
	assert_int_equal(tc_tcb(&c)->backoff, 1);
	tc_close(&c);
}

static void test_tcp_rtt_from_timestamp_after_retransmission(void **state)
{
	uint32_t first;

	(void)state;
	c.ts = true;
	tc_accept(&c, NULL);
	tc_send(&c, 100);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 100);
	first = c.ts_ecr;
	ts_advance(&c.t, 500);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 100);
	tc_tcb(&c)->srtt = 0;
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 101, .ts_ecr = first);
	assert_int_equal(tc_tcb(&c)->srtt, 500000); /* the original was only late */
	assert_int_equal(tc_tcb(&c)->backoff, 0);
	tc_close(&c);
}

/* ---- RTO ---- */

static void time_out(void)
{
	uint64_t n = ts_mib(&c.t, MIB_TcpExt_TCPTimeouts);

	while (ts_mib(&c.t, MIB_TcpExt_TCPTimeouts) == n) {
		ts_advance(&c.t, 10);
		tc_tx_all(&c);
	}
}

static void test_tcp_rto_counts_what_has_failed(void **state)
{
	(void)state;
	start(4);
	tc_tx_all(&c);
	ACK(1);
	time_out();
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPRenoFailures), 1);
	ACK(END(1));
	tc_tx_all(&c);
	time_out();
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPLossFailures), 1);
	time_out(); /* of the same segment */
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPLossFailures), 1);
	tc_close(&c);

	memset(&c, 0, sizeof(c));
	start(6);
	tc_tx_all(&c);
	ACK(1), ACK(1), ACK(1);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_RECOVERY);
	time_out();
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPRenoRecoveryFail), 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPRenoFailures), 0);
	tc_close(&c);
}

/* RFC 5681 §3.1/4 */
static void test_tcp_rto_goes_back_and_slow_starts(void **state)
{
	(void)state;
	start(4);
	SEG(0), SEG(1), SEG(2), LAST(3);
	tc_tx_none(&c);
	ts_advance(&c.t, tc_tcb(&c)->rto / 1000 + 1);
	SEG(0);
	tc_tx_none(&c); /* cwnd is one segment */
	assert_int_equal(tc_tcb(&c)->cc_state, CC_LOSS);
	assert_int_equal(tc_tcb(&c)->ssthresh, 2 * 1460);
	ACK(END(1));
	SEG(1), SEG(2);
	tc_tx_none(&c);
	ACK(END(4)); /* the peer had the rest */
	tc_tx_none(&c);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_OPEN);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPTimeouts), 1);
	assert_int_equal(ts_mib(&c.t, MIB_Tcp_RetransSegs), 3);
	tc_close(&c);
}

/* RFC 5681 §3.1/5 */
static void test_tcp_rto_twice_keeps_ssthresh(void **state)
{
	(void)state;
	start(10);
	tc_tx_all(&c);
	ts_advance(&c.t, 1100);
	SEG(0);
	assert_int_equal(tc_tcb(&c)->ssthresh, 5 * 1460);
	ts_advance(&c.t, 2100);
	SEG(0);
	assert_int_equal(tc_tcb(&c)->ssthresh, 5 * 1460);
	tc_close(&c);
}

/* RFC 6582 §4/1 */
static void test_tcp_rto_then_duplicates_no_fast_retransmit(void **state)
{
	(void)state;
	start(10);
	tc_tx_all(&c);
	ts_advance(&c.t, 1100);
	SEG(0);
	ACK(END(2));
	SEG(2), SEG(3), SEG(4); /* snd_nxt has moved on with the ACK */
	for (int i = 0; i < 5; i++)
		ACK(END(2));
	tc_tx_none(&c);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_LOSS);
	tc_close(&c);
}

/* ---- fast retransmit, New Reno ---- */

/* RFC 5681 §3.2/1 */
static void test_tcp_limited_transmit_on_first_duplicates(void **state)
{
	(void)state;
	start(20);
	assert_int_equal(tc_tx_all(&c), 10);
	ACK(1);
	SEG(10);
	tc_tx_none(&c);
	ACK(1);
	SEG(11);
	tc_tx_none(&c);
	tc_close(&c);
}

/* RFC 5681 §3.2/2, §3.2/3 */
static void test_tcp_three_duplicates_retransmit_full_ack_ends(void **state)
{
	const struct tcb *t = tc_tcb(&c);

	(void)state;
	start(10);
	t = tc_tcb(&c);
	tc_tx_all(&c);
	ACK(1), ACK(1);
	tc_tx_none(&c);
	ACK(1);
	SEG(0);
	tc_tx_none(&c);
	assert_int_equal(t->cc_state, CC_RECOVERY);
	assert_int_equal(t->ssthresh, 5 * 1460);
	assert_int_equal(t->cwnd, 8 * 1460);
	ACK(1);
	assert_int_equal(t->cwnd, 9 * 1460);
	ACK(END(10));
	assert_int_equal(t->cc_state, CC_OPEN);
	assert_int_equal(t->cwnd, 2 * 1460); /* min(ssthresh, max(0, SMSS) + SMSS) */
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPFastRetrans), 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPTimeouts), 0);
	tc_close(&c);
}

/* RFC 6582 §3.2/1 */
static void test_tcp_recovery_partial_ack_retransmits_next_hole(void **state)
{
	(void)state;
	start(10);
	tc_tx_all(&c);
	for (int i = 0; i < 3; i++)
		ACK(1);
	SEG(0);
	for (int i = 0; i < 4; i++)
		ACK(1);
	ACK(END(4)); /* 4 was lost, too */
	SEG(4);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_RECOVERY);
	ACK(END(10));
	assert_int_equal(tc_tcb(&c)->cc_state, CC_OPEN);
	tc_tx_none(&c);
	tc_close(&c);
}

static void test_tcp_recovery_inflated_window_sends_new(void **state)
{
	(void)state;
	start(20);
	assert_int_equal(tc_tx_all(&c), 10);
	for (int i = 0; i < 3; i++)
		ACK(1);
	SEG(0); /* cwnd 5 + 3, flight 10 */
	ACK(1), ACK(1);
	tc_tx_none(&c);
	ACK(1);
	SEG(10);
	tc_tx_none(&c);
	tc_close(&c);
}

static void test_tcp_fast_retransmit_works_after_gigabytes(void **state)
{
	struct tcb *t;

	(void)state;
	start(11);
	t = tc_tcb(&c);
	tc_tx_all(&c);
	/* many segments later: what was the mark of the last recovery is not half a circle behind
	 */
	ACK(END(1));
	tc_tx_all(&c);
	assert_int_equal(t->recover, t->snd_una - 1);
	for (int i = 0; i < 3; i++)
		ACK(END(1));
	SEG(1);
	assert_int_equal(t->cc_state, CC_RECOVERY);
	tc_close(&c);
}

static void test_tcp_duplicate_needs_same_window_and_no_data(void **state)
{
	(void)state;
	start(10);
	tc_tx_all(&c);
	for (uint32_t i = 0; i < 3; i++) /* window updates */
		RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = 60000 + i);
	assert_int_equal(tc_tcb(&c)->dupacks, 0);
	for (uint32_t i = 0; i < 3; i++) /* text */
		RX(&c, .flags = TH_ACK, .seq = 1 + i, .ack = 1, .len = 1, .wnd = 60002);
	assert_int_equal(tc_tcb(&c)->dupacks, 0);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_OPEN);
	tc_close(&c);
}

/* ---- window ---- */

static void test_tcp_window_update_only_from_newer_segment(void **state)
{
	(void)state;
	start(1);
	LAST(0);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = END(1), .wnd = 5000);
	assert_int_equal(tc_tcb(&c)->snd_wnd, 5000);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = 9000); /* reordered */
	assert_int_equal(tc_tcb(&c)->snd_wnd, 5000);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = END(1), .wnd = 9000);
	assert_int_equal(tc_tcb(&c)->snd_wnd, 9000);
	RX(&c, .flags = TH_ACK, .seq = 11, .ack = END(1), .wnd = 8000, .len = 10);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = END(1), .wnd = 7000, .len = 10); /* sent before */
	assert_int_equal(tc_tcb(&c)->snd_wnd, 8000);
	tc_tx_all(&c);
	tc_close(&c);
}

/* The peer's text was retransmitted meanwhile: a lower sequence number, but a newer window. */
static void test_tcp_window_of_newer_ack_in_retransmission_counts(void **state)
{
	(void)state;
	start(1);
	LAST(0);
	RX(&c, .flags = TH_ACK, .seq = 501, .ack = 1, .len = 100, .wnd = 9000); /* out of order */
	assert_int_equal(tc_tcb(&c)->snd_wnd, 9000);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = END(1), .len = 500, .wnd = 4000);
	assert_int_equal(tc_tcb(&c)->snd_wnd, 4000);
	tc_close(&c);
}

/* RFC 9293 MUST-19; RFC 5681 §3.1/1 */
static void test_tcp_slow_start_doubles_each_round_trip(void **state)
{
	(void)state;
	start(60);
	assert_int_equal(tc_tx_all(&c), 10);
	for (uint32_t i = 2; i <= 10; i += 2)
		ACK(END(i));
	assert_int_equal(tc_tcb(&c)->cwnd, 20 * 1460);
	assert_int_equal(tc_tx_all(&c), 20);
	tc_close(&c);
}

static void test_tcp_cwnd_does_not_grow_unused(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	for (uint32_t i = 0; i < 50; i++) {
		tc_send(&c, 100);
		tc_tx_all(&c);
		ACK(1 + 100 * (i + 1));
	}
	assert_int_equal(tc_tcb(&c)->cwnd, 10 * 1460);
	tc_close(&c);
}

static void test_tcp_idle_restarts_with_initial_window(void **state)
{
	(void)state;
	start(30);
	tc_tx_all(&c);
	ACK(END(10));
	tc_tx_all(&c);
	ACK(END(30));
	assert_int_equal(tc_tcb(&c)->cwnd, 40 * 1460);
	ts_advance(&c.t, 5000);
	tc_send(&c, 40 * 1460);
	assert_int_equal(tc_tx_all(&c), 10);
	tc_close(&c);
}

/* What is under way costs memory, an idle connection does not. */
static void test_tcp_idle_connection_has_no_work(void **state)
{
	(void)state;
	start(30);
	assert_true(tc_tcb(&c)->work != 0);
	tc_tx_all(&c);
	ACK(END(10));
	tc_tx_all(&c);
	ACK(END(30));
	tc_events(&c);
	assert_int_equal(tc_tcb(&c)->work, 0);
	assert_int_equal(free_list_in_use(&c.t.s->work_free), 0);
	/* Again, with a loss: CUBIC remembers for an RTO. */
	tc_send(&c, 4 * 1460);
	tc_tx_all(&c);
	ts_advance(&c.t, 500);
	tc_tx_all(&c);
	ACK(END(34));
	tc_events(&c);
	assert_true(tc_tcb(&c)->ssthresh < INT32_MAX);
	assert_true(tc_tcb(&c)->work != 0);
	ts_advance(&c.t, 2000);
	tc_tx_all(&c);
	assert_int_equal(tc_tcb(&c)->work, 0);
	assert_int_equal(tc_tcb(&c)->timer.slot, SHM_NIL);
	tc_close(&c);
}

/* What a report was the last to need goes as well, though nothing more happens. */
static void test_tcp_taken_event_leaves_no_work(void **state)
{
	(void)state;
	c.sack = true;
	start(5);
	tc_tx_all(&c);
	ts_advance(&c.t, 5);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .sack = {{END(1), END(5)}});
	assert_int_equal(tc_tx_all(&c), 1); /* a loss, which CUBIC remembers for an RTO */
	ts_advance(&c.t, 5);
	ACK(END(5));
	tc_events(&c);
	tc_send(&c, 1460);
	tc_tx_all(&c);
	ts_advance(&c.t, 5);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = END(6), .len = 1460);
	RX(&c, .flags = TH_ACK, .seq = 1461, .ack = END(6), .len = 1460);
	tc_tx_all(&c);
	/* Before anybody looks the loss probe's time passes in vain. */
	for (int i = 0; i < 1000 && tc_tcb(&c)->timer.slot != SHM_NIL; i++)
		ts_advance(&c.t, 1);
	assert_int_equal(tc_tcb(&c)->timer.slot, SHM_NIL);
	assert_true(tc_events(&c) & EV_READABLE);
	assert_true(tc_tcb(&c)->work != 0);
	ts_advance(&c.t, 2000);
	assert_int_equal(tc_tcb(&c)->work, 0);
	tc_close(&c);
}

static void test_tcp_writable_after_a_third_is_free(void **state)
{
	uint8_t b[9000] = {0};

	(void)state;
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_SNDBUF, 6000, c.t.now);
	assert_int_equal(tcp_send(c.t.s, c.conn, b, sizeof(b), 0, c.t.now), 6000);
	assert_int_equal(tcp_send(c.t.s, c.conn, b, 1, 0, c.t.now), -E_AGAIN);
	assert_false(tcp_poll(c.t.s, c.conn) & EV_WRITABLE);
	while (ts_tx(&c.t, &c.o))
		;
	ACK(END(1));
	assert_int_equal(tc_events(&c), 0);
	ACK(END(2));
	assert_int_equal(tc_events(&c), EV_WRITABLE);
	assert_true(tcp_poll(c.t.s, c.conn) & EV_WRITABLE);
	tc_close(&c);
}

/* RFC 6582 §3.2, step 3: less by what is acknowledged, more by one SMSS if that much was. */
/* RFC 6582 §3.2/2 */
static void test_tcp_recovery_partial_ack_deflates(void **state)
{
	uint32_t cwnd;

	(void)state;
	start(10);
	tc_tx_all(&c);
	for (int i = 0; i < 7; i++)
		ACK(1);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_RECOVERY);
	cwnd = tc_tcb(&c)->cwnd;
	ACK(101);
	assert_int_equal(tc_tcb(&c)->cwnd, cwnd - 100);
	ACK(101 + 1460);
	assert_int_equal(tc_tcb(&c)->cwnd, cwnd - 100);
	ACK(101 + 4 * 1460);
	assert_int_equal(tc_tcb(&c)->cwnd, cwnd - 100 - 2 * 1460);
	tc_tx_all(&c);
	tc_close(&c);
}

/* RFC 6298 §3: the time is that of a whole segment; an ACK of a part of it says nothing. */
static void test_tcp_rtt_of_a_whole_segment(void **state)
{
	(void)state;
	start(2);
	SEG(0), LAST(1);
	tc_tcb(&c)->srtt = 0;
	ts_advance(&c.t, 20);
	ACK(101);
	assert_int_equal(tc_tcb(&c)->srtt, 0);
	ts_advance(&c.t, 30);
	ACK(END(1));
	assert_int_equal(tc_tcb(&c)->srtt, 50000);
	tc_close(&c);
}

/* RFC 7661 §4.3: what the peer's window holds back says nothing of the path. */
static void test_tcp_cwnd_does_not_grow_by_the_peers_window(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_SNDBUF, 200000, c.t.now);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = 2 * 1460);
	tc_send(&c, 30 * 1460);
	for (uint32_t i = 0; i < 10; i++) {
		SEG(2 * i), SEG(2 * i + 1);
		tc_tx_none(&c);
		ts_advance(&c.t, 20);
		RX(&c, .flags = TH_ACK, .seq = 1, .ack = END(2 * i + 2), .wnd = 2 * 1460);
	}
	assert_int_equal(tc_tcb(&c)->cwnd, 10 * 1460);
	tc_tx_all(&c);
	tc_close(&c);
}

/* In slow start twice what is in use is not too much, as in Linux; more is not asked for. */
static void test_tcp_slow_start_grows_while_half_is_used(void **state)
{
	(void)state;
	for (uint32_t n = 5; n < 7; n++) {
		start(n);
		assert_int_equal(tc_tx_all(&c), n);
		ts_advance(&c.t, 20);
		ACK(END(1));
		assert_int_equal(tc_tcb(&c)->cwnd, (n == 5 ? 10 : 11) * 1460);
		tc_close(&c);
	}
}

/* Three windows, and as many as Linux comes to where a hole lets cwnd go unused for want of text. */
static void test_tcp_sndbuf_follows_the_window(void **state)
{
	static const char *const names[] = {"reno", "bbr"};
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t least = i ? 9 : 3;
		struct tcb *t;

		cfg.cc = names[i];
		tc_accept(&c, &cfg);
		t = tc_tcb(&c);
		assert_int_equal(t->sndbuf, least * t->cwnd);
		tc_send(&c, t->sndbuf);
		tcp_sndbuf_tune(c.t.s, t);
		assert_int_equal(t->sndbuf, least * t->cwnd);
		assert_int_equal(tcp_send(c.t.s, c.conn, "x", 1, 0, c.t.now), -E_AGAIN);
		tcp_sndbuf_tune(c.t.s, t); /* it waits, but cwnd can be filled */
		assert_int_equal(t->sndbuf, least * t->cwnd);
		t->cwnd *= 4;
		tcp_sndbuf_tune(c.t.s, t);
		assert_int_equal(t->sndbuf, (i ? 9 : 6) * t->cwnd);
		t->cwnd = 1 << 30;
		tcp_sndbuf_tune(c.t.s, t);
		assert_int_equal(t->sndbuf, 4194304);
		tcp_abort(c.t.s, c.conn, c.t.now);
		tc_tx_all(&c);
		tc_close(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_tcp_rtt_samples_give_rto, setup),
		cmocka_unit_test_setup(test_tcp_rtt_not_sampled_from_retransmission, setup),
		cmocka_unit_test_setup(test_tcp_rtt_from_timestamp_after_retransmission, setup),
		cmocka_unit_test_setup(test_tcp_rto_counts_what_has_failed, setup),
		cmocka_unit_test_setup(test_tcp_rto_goes_back_and_slow_starts, setup),
		cmocka_unit_test_setup(test_tcp_rto_twice_keeps_ssthresh, setup),
		cmocka_unit_test_setup(test_tcp_rto_then_duplicates_no_fast_retransmit, setup),
		cmocka_unit_test_setup(test_tcp_limited_transmit_on_first_duplicates, setup),
		cmocka_unit_test_setup(test_tcp_three_duplicates_retransmit_full_ack_ends, setup),
		cmocka_unit_test_setup(test_tcp_recovery_partial_ack_retransmits_next_hole, setup),
		cmocka_unit_test_setup(test_tcp_recovery_inflated_window_sends_new, setup),
		cmocka_unit_test_setup(test_tcp_fast_retransmit_works_after_gigabytes, setup),
		cmocka_unit_test_setup(test_tcp_duplicate_needs_same_window_and_no_data, setup),
		cmocka_unit_test_setup(test_tcp_window_update_only_from_newer_segment, setup),
		cmocka_unit_test_setup(test_tcp_window_of_newer_ack_in_retransmission_counts,
				       setup),
		cmocka_unit_test_setup(test_tcp_slow_start_doubles_each_round_trip, setup),
		cmocka_unit_test_setup(test_tcp_cwnd_does_not_grow_unused, setup),
		cmocka_unit_test_setup(test_tcp_idle_restarts_with_initial_window, setup),
		cmocka_unit_test_setup(test_tcp_sndbuf_follows_the_window, setup),
		cmocka_unit_test_setup(test_tcp_idle_connection_has_no_work, setup),
		cmocka_unit_test_setup(test_tcp_taken_event_leaves_no_work, setup),
		cmocka_unit_test_setup(test_tcp_writable_after_a_third_is_free, setup),
		cmocka_unit_test_setup(test_tcp_recovery_partial_ack_deflates, setup),
		cmocka_unit_test_setup(test_tcp_rtt_of_a_whole_segment, setup),
		cmocka_unit_test_setup(test_tcp_cwnd_does_not_grow_by_the_peers_window, setup),
		cmocka_unit_test_setup(test_tcp_slow_start_grows_while_half_is_used, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
