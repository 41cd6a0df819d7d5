/* SPDX-License-Identifier: BSD-2-Clause */
/* tcp_undo.c: recovery that was for nothing, by RFC 3522, 4015, 3708, 5682. */
#include "lib_tcp.h"
#include "user/core/board.h"

static struct conv c;
static uint32_t mss;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	c.sack = true;
	mss = 1460;
	return 0;
}

static int setup_ts(void **state)
{
	setup(state);
	c.ts = true;
	mss = 1448;
	return 0;
}

static int setup_reno(void **state)
{
	setup(state);
	c.sack = false;
	return 0;
}

static int setup_reno_ts(void **state)
{
	setup_ts(state);
	c.sack = false;
	return 0;
}

#define AT(i) (1 + mss * (i))
#define ACK(n, ...) RX(&c, .flags = TH_ACK, .seq = 1, .ack = (n), ##__VA_ARGS__)
#define SACK(n, from, to) ACK(n, .sack = {{(from), (to)}})
#define SEG(i) TX(&c, .flags = TH_ACK, .seq = AT(i), .ack = 1, .len = mss)
#define LAST(i) TX(&c, .flags = TH_ACK | TH_PSH, .seq = AT(i), .ack = 1, .len = mss)

static struct board *board(void)
{
	struct board *b = tcp_board(c.t.s, tc_tcb(&c));

	assert_non_null(b);
	return b;
}

/*
 * A round trip of 20 ms; @n segments to send, @n <= 10 are. Returns the timestamp they carry.
 * cwnd is what it was before any loss.
 */
static uint32_t start(uint32_t n)
{
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_SNDBUF, 200000, c.t.now);
	tc_tcb(&c)->srtt = 20000;
	tc_send(&c, n * mss);
	assert_int_equal(tc_tx_all(&c), n < 10 ? n : 10);
	assert_true(tc_tcb(&c)->cwnd >= 10 * mss);
	ts_advance(&c.t, 20);
	return c.ts_ecr;
}

/* The first segment seems lost, and is sent again; cwnd is reduced. */
static void fast_retransmit(void)
{
	SACK(1, AT(1), AT(4));
	SEG(0);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_RECOVERY);
	assert_true(tc_tcb(&c)->ssthresh < 10 * mss);
	if (tc_tcb(&c)->tx_bytes > 10 * mss)
		SEG(10); /* three have arrived, half of that may go: one and a half count as two */
	tc_tx_none(&c);
	ts_advance(&c.t, 5);
}

/* The timer expires, the first segment is sent again. */
static void timeout(void)
{
	if (c.sack)
		board()->t_pto = 0; /* no loss probe before it */
	ts_advance(&c.t, tc_tcb(&c)->rto / 1000 + 1);
	SEG(0);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_LOSS);
	assert_int_equal(tc_tcb(&c)->cwnd, mss);
	tc_tx_none(&c);
	ts_advance(&c.t, 5);
}

static void restored(enum mib why)
{
	assert_int_equal(ts_mib(&c.t, why), 1);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_OPEN);
	assert_true(tc_tcb(&c)->cwnd >= 10 * mss);
	assert_true(tc_tcb(&c)->ssthresh >= 10 * mss);
}

/* All has been acknowledged, and the scoreboard is gone, when the duplicate is reported. */
static void test_tcp_undo_dsack_after_all_is_acked(void **state)
{
	(void)state;
	start(10);
	fast_retransmit();
	ACK(AT(10));
	assert_null(tcp_board(c.t.s, tc_tcb(&c)));
	assert_true(tc_tcb(&c)->cwnd < 10 * mss);
	ACK(AT(10), .sack = {{AT(0), AT(1)}});
	restored(MIB_TcpExt_TCPDSACKUndo);
	tc_close(&c);
}

/* ... and new data is out by then. */
static void test_tcp_undo_dsack_after_more_is_sent(void **state)
{
	(void)state;
	start(10);
	fast_retransmit();
	ACK(AT(10));
	assert_true(tc_tcb(&c)->cwnd < 10 * mss);
	tc_send(&c, mss);
	assert_int_equal(tc_tx_all(&c), 1);
	ACK(AT(10), .sack = {{AT(0), AT(1)}});
	restored(MIB_TcpExt_TCPDSACKUndo);
	tc_close(&c);
}

/* What was sent again long ago is not asked for any more. */
static void test_tcp_undo_dsack_too_late(void **state)
{
	(void)state;
	start(10);
	fast_retransmit();
	ACK(AT(10));
	ts_advance(&c.t, 5000);
	ACK(AT(10), .sack = {{AT(0), AT(1)}});
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPDSACKUndo), 0);
	tc_close(&c);
}

/* ---- by timestamps ---- */

static void test_tcp_undo_original_acked_all(void **state)
{
	uint32_t first;

	(void)state;
	first = start(10);
	fast_retransmit();
	ACK(AT(10), .ts_ecr = first);
	restored(MIB_TcpExt_TCPFullUndo);
	tc_close(&c);
}

static void test_tcp_undo_original_acked_some(void **state)
{
	uint32_t first;

	(void)state;
	first = start(10);
	fast_retransmit();
	ACK(AT(4), .ts_ecr = first);
	restored(MIB_TcpExt_TCPPartialUndo);
	assert_true(tc_tcb(&c)->flags & TCB_F_REORDER);
	tc_tx_none(&c);
	/* the next loss reduces again */
	SACK(AT(4), AT(5), AT(9));
	ts_advance(&c.t, 30);
	SEG(4);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_RECOVERY);
	assert_true(tc_tcb(&c)->ssthresh < 10 * mss);
	tc_close(&c);
}

static void test_tcp_undo_not_when_retransmission_acked(void **state)
{
	(void)state;
	start(10);
	fast_retransmit();
	ACK(AT(10)); /* echoes the retransmission */
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPFullUndo), 0);
	assert_true(tc_tcb(&c)->cwnd < 10 * mss);
	tc_close(&c);
}

static void test_tcp_undo_timeout_original_acked(void **state)
{
	uint32_t first;

	(void)state;
	first = start(10);
	timeout();
	ACK(AT(1), .ts_ecr = first);
	restored(MIB_TcpExt_TCPLossUndo);
	if (c.sack)
		assert_int_equal(board()->lost, 0);
	tc_tx_none(&c);
	tc_close(&c);
}

/* A loss probe repaired it; the timer expired too early. The probe's time counts, not the timer's.
 */
static void test_tcp_undo_not_when_probe_acked(void **state)
{
	uint32_t probe;

	(void)state;
	start(1);
	ts_advance(&c.t, 100);
	LAST(0);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPLossProbes), 1);
	probe = c.ts_ecr;
	ts_advance(&c.t, tc_tcb(&c)->rto / 1000 + 1);
	LAST(0);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_LOSS);
	ACK(AT(1), .ts_ecr = probe);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPLossUndo), 0);
	tc_close(&c);
}

/* ---- by DSACK ---- */

static void test_tcp_undo_dsack_after_recovery(void **state)
{
	(void)state;
	start(20);
	fast_retransmit();
	SACK(1, AT(1), AT(10)); /* lets new data go */
	assert_true(tc_tx_all(&c) > 0);
	ACK(AT(10));
	assert_int_equal(tc_tcb(&c)->cc_state, CC_OPEN);
	assert_true(tc_tcb(&c)->cwnd < 10 * mss);
	tc_tx_all(&c);
	SACK(AT(10), AT(0), AT(1));
	restored(MIB_TcpExt_TCPDSACKUndo);
	tc_close(&c);
}

/* Each of them has to be reported. */
static void test_tcp_undo_dsack_of_all_only(void **state)
{
	(void)state;
	start(20);
	SACK(1, AT(2), AT(5));
	SEG(0);
	SACK(1, AT(2), AT(10));
	SEG(1);
	assert_true(tc_tx_all(&c) > 0);
	ts_advance(&c.t, 5);
	ACK(AT(10));
	tc_tx_all(&c);
	SACK(AT(10), AT(0), AT(1));
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPDSACKUndo), 0);
	assert_true(tc_tcb(&c)->cwnd < 10 * mss);
	SACK(AT(10), AT(1), AT(2));
	restored(MIB_TcpExt_TCPDSACKUndo);
	tc_close(&c);
}

/* A duplicate that was duplicated before the reduction says nothing about it. */
static void test_tcp_undo_old_dsack_is_none(void **state)
{
	(void)state;
	start(20);
	ACK(AT(1));
	tc_tx_all(&c);
	SACK(AT(1), AT(2), AT(6));
	SEG(1);
	SACK(AT(1), AT(0), AT(1));
	tc_tx_all(&c);
	ACK(AT(10));
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPDSACKUndo), 0);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPFullUndo), 0);
	tc_close(&c);
}

/* RFC 2883 §4.2: also of text that is above the cumulative ACK */
static void test_tcp_undo_dsack_out_of_order_counted(void **state)
{
	(void)state;
	start(10);
	ACK(1, .sack = {{AT(2), AT(3)}, {AT(1), AT(4)}});
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPDSACKOfoRecv), 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPDSACKRecv), 0);
	tc_close(&c);
}

/* ---- F-RTO ---- */

/* The first segment is acknowledged after a timeout: two new ones go. */
static void new_data_first(void)
{
	ACK(AT(1));
	if (c.sack)
		assert_int_equal(board()->frto, FRTO_NEW_DATA);
	SEG(10);
	SEG(11);
}

/* RFC 5682 §2.1/1: RFC 5682 §2.1, §3.1: first new data, then an ACK of what was sent once */
static void test_tcp_frto_spurious(void **state)
{
	(void)state;
	start(20);
	timeout();
	new_data_first(); /* the ACK is of the original or of the retransmission */
	tc_tx_none(&c);
	ACK(AT(2));
	restored(MIB_TcpExt_TCPSpuriousRTOs);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPLossUndo), 1);
	tc_tx_all(&c);
	ACK(AT(12));
	assert_int_equal(tc_tcb(&c)->total_retrans, 1);
	tc_close(&c);
}

/* RFC 5682 §3.1/1 */
static void test_tcp_frto_loss_was_real(void **state)
{
	(void)state;
	start(20);
	timeout();
	new_data_first();
	SACK(AT(1), AT(10), AT(11));
	SEG(1);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_LOSS);
	assert_int_equal(board()->frto, FRTO_NONE);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPSpuriousRTOs), 0);
	tc_close(&c);
}

/* RFC 5682 §2.1/2 */
static void test_tcp_frto_without_new_data(void **state)
{
	(void)state;
	start(10);
	timeout();
	ACK(AT(1));
	SEG(1);
	SEG(2);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_LOSS);
	tc_close(&c);
}

/* RFC 5682 §2.1/2: New data that the window has no room for: neither. */
static void test_tcp_frto_window_shut(void **state)
{
	(void)state;
	start(20);
	timeout();
	ACK(AT(1), .wnd = 9 * mss);
	SEG(1);
	SEG(2);
	tc_close(&c);
}

/* RFC 5682 §2.1/3: What follows is that of a timeout: also the new data may be lost. */
static void test_tcp_frto_second_timeout(void **state)
{
	(void)state;
	start(20);
	timeout();
	new_data_first();
	ts_advance(&c.t, tc_tcb(&c)->rto * 2 / 1000 + 1);
	SEG(1);
	ACK(AT(2));
	SEG(2);
	SEG(3);
	tc_close(&c);
}

/* ---- without SACK ---- */

static void test_tcp_reno_undo_original_acked(void **state)
{
	uint32_t first;

	(void)state;
	first = start(10);
	ACK(1), ACK(1), ACK(1);
	SEG(0);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_RECOVERY);
	ts_advance(&c.t, 5);
	ACK(AT(1), .ts_ecr = first);
	restored(MIB_TcpExt_TCPPartialUndo);
	tc_tx_none(&c);
	ACK(AT(10));
	assert_int_equal(tc_tcb(&c)->total_retrans, 1);
	tc_close(&c);
}

static void test_tcp_reno_no_undo_after_repair(void **state)
{
	(void)state;
	start(10);
	ACK(1), ACK(1), ACK(1);
	SEG(0);
	ts_advance(&c.t, 5);
	ACK(AT(10));
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPFullUndo), 0);
	assert_true(tc_tcb(&c)->cwnd < 10 * mss);
	assert_false(tc_tcb(&c)->flags & TCB_F_UNDO);
	tc_close(&c);
}

static void test_tcp_reno_frto_loss_was_real(void **state)
{
	(void)state;
	start(20);
	timeout();
	new_data_first();
	ACK(AT(1));
	SEG(1);
	SEG(2);
	tc_tx_none(&c);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_LOSS);
	tc_close(&c);
}

/* ---- ssthresh ---- */

/* Recovery has lowered it for this window; the timer does not again. */
static void test_tcp_rto_in_recovery_lowers_ssthresh_once(void **state)
{
	uint32_t ssthresh;

	(void)state;
	start(10);
	fast_retransmit();
	ssthresh = tc_tcb(&c)->ssthresh;
	ts_advance(&c.t, tc_tcb(&c)->rto / 1000 + 1);
	SEG(0);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_LOSS);
	assert_int_equal(tc_tcb(&c)->ssthresh, ssthresh);
	tc_close(&c);
}

/* What the former congestion control had is not the new one's. */
static void test_tcp_undo_not_of_another_congestion_control(void **state)
{
	(void)state;
	start(10);
	fast_retransmit();
	assert_int_equal(tcp_setopt(c.t.s, c.conn, TOPT_CONGESTION, 1, c.t.now), 0);
	tc_tx_all(&c);
	ACK(AT(10));
	ACK(AT(10), .sack = {{AT(0), AT(1)}});
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPDSACKUndo), 0);
	assert_true(tc_tcb(&c)->cwnd < 10 * mss);
	tc_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_tcp_undo_dsack_after_all_is_acked, setup),
		cmocka_unit_test_setup(test_tcp_undo_dsack_after_more_is_sent, setup),
		cmocka_unit_test_setup(test_tcp_undo_dsack_too_late, setup),
		cmocka_unit_test_setup(test_tcp_undo_original_acked_all, setup_ts),
		cmocka_unit_test_setup(test_tcp_undo_original_acked_some, setup_ts),
		cmocka_unit_test_setup(test_tcp_undo_not_when_retransmission_acked, setup_ts),
		cmocka_unit_test_setup(test_tcp_undo_timeout_original_acked, setup_ts),
		cmocka_unit_test_setup(test_tcp_undo_not_when_probe_acked, setup_ts),
		cmocka_unit_test_setup(test_tcp_undo_dsack_after_recovery, setup),
		cmocka_unit_test_setup(test_tcp_undo_dsack_of_all_only, setup),
		cmocka_unit_test_setup(test_tcp_undo_old_dsack_is_none, setup),
		cmocka_unit_test_setup(test_tcp_undo_dsack_out_of_order_counted, setup),
		cmocka_unit_test_setup(test_tcp_frto_spurious, setup),
		cmocka_unit_test_setup(test_tcp_frto_loss_was_real, setup),
		cmocka_unit_test_setup(test_tcp_frto_without_new_data, setup),
		cmocka_unit_test_setup(test_tcp_frto_window_shut, setup),
		cmocka_unit_test_setup(test_tcp_frto_second_timeout, setup),
		cmocka_unit_test_setup(test_tcp_reno_undo_original_acked, setup_reno_ts),
		cmocka_unit_test_setup(test_tcp_reno_no_undo_after_repair, setup_reno_ts),
		cmocka_unit_test_setup(test_tcp_undo_timeout_original_acked, setup_reno_ts),
		cmocka_unit_test_setup(test_tcp_frto_spurious, setup_reno),
		cmocka_unit_test_setup(test_tcp_reno_frto_loss_was_real, setup_reno),
		cmocka_unit_test_setup(test_tcp_rto_in_recovery_lowers_ssthresh_once, setup),
		cmocka_unit_test_setup(test_tcp_undo_not_of_another_congestion_control, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
