/* SPDX-License-Identifier: BSD-2-Clause */
/* tcp_data.c: text in and out of order, when to acknowledge, FIN, window updates, auto-tuning. */
#include "lib_tcp.h"

static struct conv c;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	return 0;
}

#define DATA(s, n) RX(&c, .flags = TH_ACK, .seq = (s), .ack = 1, .len = (n))
#define ACKED(n) TX(&c, .flags = TH_ACK, .seq = 1, .ack = (n))

/* The first segments of a connection are acknowledged at once: get over that. */
static uint32_t past_quick_acks(void)
{
	uint32_t seq = 1;

	for (int i = 0; i < 16; i++, seq += 10) {
		DATA(seq, 10);
		ACKED(seq + 10);
	}
	return seq;
}

/* ---- acknowledging ---- */

/* RFC 9293 MUST-40; RFC 5681 §4.2/2 */
static void test_tcp_delayed_ack_after_40_ms(void **state)
{
	uint32_t seq;

	(void)state;
	tc_accept(&c, NULL);
	seq = past_quick_acks();
	DATA(seq, 10);
	tc_tx_none(&c);
	ts_advance(&c.t, 39);
	tc_tx_none(&c);
	ts_advance(&c.t, 2);
	ACKED(seq + 10);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_DelayedACKs), 1);
	ts_advance(&c.t, 1000);
	tc_tx_none(&c);
	tc_close(&c);
}

/* Segments that come slowly: an ACK may wait for the next one, but not longer than a round trip. */
static void test_tcp_delayed_ack_follows_the_gaps(void **state)
{
	uint32_t seq;

	(void)state;
	tc_accept(&c, NULL);
	tc_tcb(&c)->srtt = 150000;
	tc_tcb(&c)->rto = 400000;
	seq = past_quick_acks();
	assert_int_equal(tcp_delack_ms(tc_tcb(&c)), 40);
	for (int i = 0; i < 8; i++, seq += 10) { /* first it is later than the timer each time */
		DATA(seq, 10);
		ts_advance(&c.t, 60);
		tc_tx_all(&c);
	}
	assert_in_range(tcp_delack_ms(tc_tcb(&c)), 100, 130);
	ts_advance(&c.t, 200);
	tc_tx_all(&c);
	DATA(seq, 10);
	ts_advance(&c.t, 140); /* twice what it was, but not more than a round trip */
	tc_tx_none(&c);
	ts_advance(&c.t, 15);
	ACKED(seq + 10);
	tc_tcb(&c)->srtt = 70000;
	assert_int_equal(tcp_delack_ms(tc_tcb(&c)), 70);
	for (int i = 0; i < 8; i++) {
		seq += 10;
		DATA(seq, 10);
		ts_advance(&c.t, 5);
	}
	assert_int_equal(tcp_delack_ms(tc_tcb(&c)), 40);
	tc_tx_all(&c);
	tc_close(&c);
}

/* RFC 9293 MUST-58 */
static void test_tcp_every_second_full_segment_acked(void **state)
{
	uint32_t seq;

	(void)state;
	tc_accept(&c, NULL);
	seq = past_quick_acks();
	DATA(seq, 1460);
	DATA(seq + 1460, 1460);
	ACKED(seq + 2920);
	DATA(seq + 2920, 1460);
	tc_tx_none(&c);
	DATA(seq + 4380, 1460);
	ACKED(seq + 5840);
	DATA(seq + 5840, 8000); /* merged by the peer's device */
	ACKED(seq + 13840);
	tc_tx_none(&c);
	tc_close(&c);
}

/* As Linux: one full segment and some more need not wait either. */
static void test_tcp_more_than_a_full_segment_acked(void **state)
{
	uint32_t seq;

	(void)state;
	tc_accept(&c, NULL);
	seq = past_quick_acks();
	DATA(seq, 1460);
	tc_tx_none(&c);
	DATA(seq + 1460, 10);
	ACKED(seq + 1470);
	DATA(seq + 1470, 10);
	tc_tx_none(&c);
	tc_close(&c);
}

/* The peer has sent again what we had: ACKs do not wait for a while. */
static void test_tcp_quick_acks_after_duplicate(void **state)
{
	uint32_t seq;

	(void)state;
	tc_accept(&c, NULL);
	seq = past_quick_acks();
	DATA(seq, 10);
	ts_advance(&c.t, 50);
	ACKED(seq + 10);
	DATA(seq, 10);
	ACKED(seq + 10);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_DelayedACKLost), 1);
	for (int i = 1; i <= 16; i++) {
		DATA(seq + 10 * i, 10);
		ACKED(seq + 10 * i + 10);
	}
	DATA(seq + 170, 10);
	tc_tx_none(&c);
	tc_close(&c);
}

/* A peer that was silent for longer than an RTO is in slow start again. */
static void test_tcp_quick_acks_after_silence(void **state)
{
	uint32_t seq;

	(void)state;
	tc_accept(&c, NULL);
	seq = past_quick_acks();
	ts_advance(&c.t, tc_tcb(&c)->rto / 1000 - 10);
	DATA(seq, 10);
	tc_tx_none(&c);
	ts_advance(&c.t, tc_tcb(&c)->rto / 1000 + 10);
	ACKED(seq + 10);
	DATA(seq + 10, 10);
	ACKED(seq + 20);
	tc_close(&c);
}

static void test_tcp_ack_rides_on_answer(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	DATA(1, 10);
	tc_send(&c, 20); /* at once, with the ACK */
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 11, .len = 20);
	tc_tx_none(&c);
	/* a dialogue: from now on ACKs wait for the answer */
	RX(&c, .flags = TH_ACK, .seq = 11, .ack = 21, .len = 10);
	tc_tx_none(&c);
	tc_send(&c, 20);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 21, .ack = 21, .len = 20);
	tc_close(&c);
}

static void test_tcp_quickack_option_acks_at_once(void **state)
{
	uint32_t seq;
	int64_t v;

	(void)state;
	tc_accept(&c, NULL);
	seq = past_quick_acks();
	DATA(seq, 10);
	tc_tx_none(&c);
	tcp_setopt(c.t.s, c.conn, TOPT_QUICKACK, 1, c.t.now);
	ACKED(seq + 10);
	DATA(seq + 10, 10);
	ACKED(seq + 20);
	tcp_setopt(c.t.s, c.conn, TOPT_QUICKACK, 0, c.t.now);
	tcp_getopt(c.t.s, c.conn, TOPT_QUICKACK, &v);
	assert_int_equal(v, 0);
	DATA(seq + 20, 10);
	tc_tx_none(&c);
	tc_close(&c);
}

/* ---- out of order ---- */

static void test_tcp_hole_each_segment_duplicates_ack(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	/* in one batch: still an ACK for each */
	DATA(101, 100), DATA(201, 100), DATA(401, 100);
	ACKED(1), ACKED(1), ACKED(1);
	tc_tx_none(&c);
	assert_int_equal(tcp_poll(c.t.s, c.conn) & EV_READABLE, 0);
	DATA(1, 100);
	ACKED(301);
	DATA(301, 100);
	ACKED(501);
	assert_int_equal(tc_tcb(&c)->ooo_bytes, 0);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPOFOQueue), 3);
	tc_recv(&c, 500);
	tc_close(&c);
}

static void test_tcp_hole_overlaps_taken_once(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	DATA(101, 100), DATA(151, 100), DATA(51, 300), DATA(301, 10), DATA(101, 20);
	assert_int_equal(tc_tcb(&c)->ooo_bytes, 300);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPOFOQueue), 5);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPOFOMerge), 2);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPOFODrop), 0);
	tc_tx_all(&c);
	DATA(1, 60);
	ACKED(351);
	tc_recv(&c, 350);
	tc_close(&c);
}

static void test_tcp_hole_memory_is_limited(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.limits.tcp_rmem[1] = cfg.limits.tcp_rmem[2] = 65536;
	tc_accept(&c, &cfg);
	for (uint32_t seq = 3; seq < 30000; seq += 100) /* a chunk each, if all were kept */
		DATA(seq, 1);
	assert_true(tc_tcb(&c)->n_chunks <= 65536 / CHUNK_SIZE + 4);
	assert_true(ts_mib(&c.t, MIB_TcpExt_TCPOFODrop) > 0);
	tc_tx_all(&c);
	DATA(1, 1460);
	tc_tx_all(&c);
	tc_recv(&c, 1460);
	tc_close(&c);
}

static void test_tcp_small_segments_share_chunks(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	for (uint32_t i = 0; i < 1000; i++)
		DATA(1 + 8 * i, 8);
	assert_int_equal(tc_tcb(&c)->n_chunks, 2);
	tc_recv(&c, 8000);
	assert_int_equal(tc_tcb(&c)->n_chunks, 0);
	tc_tx_all(&c);
	tc_close(&c);
}

/* ---- FIN ---- */

/* RFC 5681 §4.2/1 */
static void test_tcp_fin_before_its_data_waits(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK | TH_FIN, .seq = 101, .ack = 1, .len = 50);
	ACKED(1); /* one, though text and FIN are both out of order (RFC 5681 §4.2) */
	tc_tx_none(&c);
	tc_state(&c, TCP_ESTABLISHED);
	DATA(1, 100);
	tc_state(&c, TCP_CLOSE_WAIT);
	ACKED(152);
	tc_tx_none(&c);
	tc_recv(&c, 150);
	tc_recv(&c, 0);
	tc_close(&c);
}

static void test_tcp_close_wait_data_after_fin_ignored(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 1);
	ACKED(2);
	DATA(2, 10);
	tc_recv(&c, 0);
	tc_close(&c);
}

static void test_tcp_fin_wait_2_data_for_orphan_resets(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tcp_close(c.t.s, c.conn, c.t.now);
	TX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 1);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 2);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 2, .len = 10);
	TX(&c, .flags = TH_RST | TH_ACK, .seq = 2, .ack = 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPAbortOnData), 1);
	assert_int_equal(tc_events(&c), EV_FREED);
	tc_close(&c);
}

static void test_tcp_fin_wait_2_data_after_shutdown_both_resets(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tcp_shutdown(c.t.s, c.conn, true, true, c.t.now);
	TX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 1);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 2, .len = 10);
	TX(&c, .flags = TH_RST | TH_ACK, .seq = 2, .ack = 1);
	tc_state(&c, TCP_CLOSED);
	assert_int_equal(tcp_error(c.t.s, c.conn), E_CONNRESET);
	tc_close(&c);
}

/* ---- window and buffer ---- */

/* RFC 9293 MUST-39 */
static void test_tcp_window_closes_and_reader_opens_it(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.limits.tcp_rmem[1] = cfg.limits.tcp_rmem[2] = 20000;
	tc_accept(&c, &cfg);
	DATA(1, 1460);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1461, .wnd = 10000 - 1460);
	for (uint32_t seq = 1461; seq < 10001; seq += 1220)
		DATA(seq, 1220);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 10001, .wnd = ZERO_WND);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPToZeroWindowAdv), 1);
	/* too little to be worth a segment */
	tc_recv(&c, 1000);
	tc_tx_none(&c);
	tc_recv(&c, 3000);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 10001, .wnd = 4000);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPFromZeroWindowAdv), 1);
	tc_close(&c);
}

static void test_tcp_zero_window_probe_with_data_answered(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.limits.tcp_rmem[1] = cfg.limits.tcp_rmem[2] = 4000;
	tc_accept(&c, &cfg);
	DATA(1, 2000);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 2001, .wnd = ZERO_WND);
	tc_send(&c, 10);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 2001, .len = 10);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 2001, .ack = 11, .len = 1),
			 DROP_OUT_OF_WINDOW);
	TX(&c, .flags = TH_ACK, .seq = 11, .ack = 2001, .wnd = ZERO_WND);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPZeroWindowDrop), 1);
	assert_int_equal(tcp_unsent_bytes(c.t.s, c.conn), 0); /* its ACK counts */
	tc_close(&c);
}

static void test_tcp_right_edge_never_moves_left(void **state)
{
	uint32_t edge = 0, seq = 1;

	(void)state;
	c.wscale = 1 + 7;
	tc_accept(&c, NULL);
	for (int i = 0; i < 400; i++) {
		uint32_t n = 1 + (uint32_t)i * 37 % 997, adv;

		if (n > tcp_rcv_wnd(tc_tcb(&c)))
			n = tcp_rcv_wnd(tc_tcb(&c));
		DATA(seq, n);
		seq += n;
		if (i % 3 == 0)
			tc_recv(&c, tcp_readable_bytes(c.t.s, c.conn) / 3);
		while (ts_tx(&c.t, &c.o)) {
			adv = get_be32(c.o.l4 + 8) - PEER_ISS +
			      ((uint32_t)get_be16(c.o.l4 + 14) << 7);
			assert_true(!seq_lt(adv, edge));
			edge = adv;
		}
	}
	tc_close(&c);
}

static void test_tcp_rcvbuf_grows_with_fast_reader(void **state)
{
	uint32_t seq = 1, before;

	(void)state;
	c.wscale = 1;
	tc_accept(&c, NULL);
	before = tc_tcb(&c)->rcvbuf;
	for (int i = 0; i < 200; i++, seq += 1460) {
		DATA(seq, 1460);
		tc_recv(&c, 1460);
		tc_tx_all(&c);
	}
	assert_true(tc_tcb(&c)->rcvbuf > before);
	assert_true(tcp_rcv_wnd(tc_tcb(&c)) > before / 2);
	tc_close(&c);
}

/* The window is ahead of a peer that doubles what it sends in each round trip. */
static void test_tcp_rcvbuf_ahead_of_slow_start(void **state)
{
	uint32_t seq = 1, burst = 14600;

	(void)state;
	c.wscale = 1;
	tc_accept(&c, NULL);
	tc_tcb(&c)->srtt = 100000;
	for (; burst <= 1000000; burst *= 2) {
		assert_true(tcp_rcv_wnd(tc_tcb(&c)) >= burst);
		for (uint32_t n = 0; n + 1460 <= burst; n += 1460, seq += 1460) {
			DATA(seq, 1460);
			tc_recv(&c, 1460);
			tc_tx_all(&c);
		}
		ts_advance(&c.t, 100);
		tc_tx_all(&c);
	}
	tc_close(&c);
}

/* What stands behind a hole cannot be read, but the peer goes on sending. */
static void test_tcp_rcvbuf_grows_behind_a_hole(void **state)
{
	(void)state;
	for (int sack = 0; sack < 2; sack++) {
		uint32_t before;

		setup(state);
		c.wscale = 1 + 7;
		c.sack = sack;
		tc_accept(&c, NULL);
		before = tc_tcb(&c)->rcvbuf;
		for (uint32_t seq = 1461; seq + 1460 < before / 2; seq += 1460)
			DATA(seq, 1460);
		tc_tx_all(&c);
		if (sack)
			assert_true(tcp_rcv_wnd(tc_tcb(&c)) > before * 5 / 8);
		else /* duplicates are to be known by the window that they repeat */
			assert_int_equal(tc_tcb(&c)->rcvbuf, before);
		tc_close(&c);
	}
}

/* The receiver's round trip: from what the peer echoes, not from what we once sent. */
static void test_tcp_rcv_rtt_from_timestamps(void **state)
{
	uint32_t seq = 1;

	(void)state;
	c.ts = true;
	c.wscale = 1 + 7;
	tc_accept(&c, NULL);
	tc_tcb(&c)->srtt = 1000;
	for (int i = 0; i < 30; i++) { /* the path has become longer since */
		ts_advance(&c.t, 100);
		DATA(seq, 1448);
		DATA(seq + 1448, 1448);
		seq += 2896;
		tc_recv(&c, 2896);
		assert_true(tc_take(&c));
		tc_tx_all(&c);
	}
	assert_in_range(tc_tcb(&c)->rcv_rtt, 90, 101);
	ts_advance(&c.t, 20);
	DATA(seq, 1448);
	assert_int_equal(tc_tcb(&c)->rcv_rtt, 20);
	tc_tx_all(&c);
	tc_close(&c);
}

/* No timestamps, and a handshake (by cookie) that tells nothing: a window takes a round trip. */
static void test_tcp_rcv_rtt_from_windows(void **state)
{
	uint32_t seq = 1;

	(void)state;
	c.wscale = 1 + 7;
	tc_accept(&c, NULL);
	tc_tcb(&c)->srtt = 0;
	for (int i = 0; i < 60; i++, seq += 1460) {
		ts_advance(&c.t, 1);
		DATA(seq, 1460);
		tc_recv(&c, 1460);
		tc_tx_all(&c);
	}
	assert_in_range(tc_tcb(&c)->rcv_rtt, 40, 50);
	assert_true(tcp_rcv_wnd(tc_tcb(&c)) > 200000);
	tc_close(&c);
}

static void test_tcp_rcvbuf_locked_does_not_grow(void **state)
{
	uint32_t seq = 1;

	(void)state;
	c.wscale = 1;
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_RCVBUF, 131072, c.t.now);
	for (int i = 0; i < 200; i++, seq += 1460) {
		DATA(seq, 1460);
		tc_recv(&c, 1460);
		tc_tx_all(&c);
	}
	assert_int_equal(tc_tcb(&c)->rcvbuf, 131072);
	tc_close(&c);
}

static void test_tcp_no_memory_takes_what_fits(void **state)
{
	struct stack_cfg cfg = ts_cfg();
	uint32_t seq = 1, room;

	(void)state;
	cfg.limits.tcp_rmem[1] = cfg.limits.tcp_rmem[2] = 8u << 20;
	c.wscale = 1;
	tc_accept(&c, &cfg);
	while (!ts_mib(&c.t, MIB_TcpExt_TCPRcvQDrop)) {
		DATA(seq, 1400);
		seq += 1400;
		tc_tx_all(&c);
	}
	/* tcp_mem[2] is 3/4 of the pool; half of the rest is for those whose queue is empty */
	room = c.t.a.n_chunks / 8 * 7 * CHUNK_SIZE;
	assert_int_equal(tcp_readable_bytes(c.t.s, c.conn), room);
	assert_int_equal(c.last.ack, 1 + room);
	/* what has no room, out of order, is not kept at the cost of what is */
	DATA(seq + 1400, 1400);
	ACKED(1 + room);
	tc_recv(&c, 100000);
	tc_tx_all(&c);
	DATA(1 + room, 1400);
	ts_advance(&c.t, 41);
	ACKED(1 + room + 1400);
	tc_recv(&c, room - 100000 + 1400);
	tc_tx_all(&c);
	tc_close(&c);
}

/* As Linux's ato: it settles at twice the gap between segments, in steps of 11 ms from 40 on. */
static void test_tcp_delayed_ack_learns_the_gap(void **state)
{
	static const struct {
		uint32_t gap, ms;
	} v[] = {{10, 40},  {35, 51}, {45, 62}, {50, 73}, {60, 95},
		 {500, 95}, {5, 62},  {20, 51}, {1, 40}};
	struct tcb *t;

	(void)state;
	tc_accept(&c, NULL);
	t = tc_tcb(&c);
	t->srtt = 1000000;
	t->rto = 1200000;
	t->quick = 0;
	for (uint32_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		tcp_delack_learn(t, v[i].gap);
		assert_int_equal(tcp_delack_ms(t), v[i].ms);
		assert_int_equal(t->quick, 0);
	}
	/* A program that does not answer in time: twice as long, but not where it used to answer.
	 */
	tcp_delack_missed(t);
	assert_int_equal(tcp_delack_ms(t), 73);
	t->flags |= TCB_F_PINGPONG;
	tcp_delack_missed(t);
	assert_int_equal(tcp_delack_ms(t), 40);
	assert_false(t->flags & TCB_F_PINGPONG);
	/* Silence of more than an RTO: the peer starts slowly, and waits for ACKs. */
	tcp_delack_learn(t, 1201);
	assert_true(t->quick > 0);
	/* No longer than a round trip, nor than the RTO. */
	t->ato = 15;
	t->srtt = 50000;
	assert_int_equal(tcp_delack_ms(t), 50);
	/* Who has sent nothing since a SYN cookie knows none. */
	t->srtt = 0;
	assert_int_equal(tcp_delack_ms(t), 40);
	tc_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_tcp_delayed_ack_after_40_ms, setup),
		cmocka_unit_test_setup(test_tcp_delayed_ack_follows_the_gaps, setup),
		cmocka_unit_test_setup(test_tcp_every_second_full_segment_acked, setup),
		cmocka_unit_test_setup(test_tcp_quick_acks_after_silence, setup),
		cmocka_unit_test_setup(test_tcp_quick_acks_after_duplicate, setup),
		cmocka_unit_test_setup(test_tcp_more_than_a_full_segment_acked, setup),
		cmocka_unit_test_setup(test_tcp_ack_rides_on_answer, setup),
		cmocka_unit_test_setup(test_tcp_quickack_option_acks_at_once, setup),
		cmocka_unit_test_setup(test_tcp_hole_each_segment_duplicates_ack, setup),
		cmocka_unit_test_setup(test_tcp_hole_overlaps_taken_once, setup),
		cmocka_unit_test_setup(test_tcp_hole_memory_is_limited, setup),
		cmocka_unit_test_setup(test_tcp_small_segments_share_chunks, setup),
		cmocka_unit_test_setup(test_tcp_fin_before_its_data_waits, setup),
		cmocka_unit_test_setup(test_tcp_close_wait_data_after_fin_ignored, setup),
		cmocka_unit_test_setup(test_tcp_fin_wait_2_data_for_orphan_resets, setup),
		cmocka_unit_test_setup(test_tcp_fin_wait_2_data_after_shutdown_both_resets, setup),
		cmocka_unit_test_setup(test_tcp_window_closes_and_reader_opens_it, setup),
		cmocka_unit_test_setup(test_tcp_zero_window_probe_with_data_answered, setup),
		cmocka_unit_test_setup(test_tcp_right_edge_never_moves_left, setup),
		cmocka_unit_test_setup(test_tcp_rcvbuf_grows_with_fast_reader, setup),
		cmocka_unit_test_setup(test_tcp_rcvbuf_ahead_of_slow_start, setup),
		cmocka_unit_test_setup(test_tcp_rcvbuf_grows_behind_a_hole, setup),
		cmocka_unit_test_setup(test_tcp_rcv_rtt_from_timestamps, setup),
		cmocka_unit_test_setup(test_tcp_rcv_rtt_from_windows, setup),
		cmocka_unit_test_setup(test_tcp_rcvbuf_locked_does_not_grow, setup),
		cmocka_unit_test_setup(test_tcp_no_memory_takes_what_fits, setup),
		cmocka_unit_test_setup(test_tcp_delayed_ack_learns_the_gap, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
