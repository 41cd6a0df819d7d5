/* SPDX-License-Identifier: BSD-2-Clause */
/* tcp_rack.c, board.c: the sender's side of SACK, by the clauses of RFC 8985, 6937, 2018, 2883. */
#include "lib_tcp.h"
#include "user/core/board.h"

static struct conv c;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	c.sack = true;
	return 0;
}

#define AT(i) (1 + 1460 * (i))
#define ACK(n) RX(&c, .flags = TH_ACK, .seq = 1, .ack = (n))
#define SACK(n, from, to) RX(&c, .flags = TH_ACK, .seq = 1, .ack = (n), .sack = {{(from), (to)}})
#define SEG(i) TX(&c, .flags = TH_ACK, .seq = AT(i), .ack = 1, .len = 1460)
#define LAST(i) TX(&c, .flags = TH_ACK | TH_PSH, .seq = AT(i), .ack = 1, .len = 1460)

static struct board *board(void)
{
	struct board *b = tcp_board(c.t.s, tc_tcb(&c));

	assert_non_null(b);
	return b;
}

/* A connection with a round trip of 20 ms; @n segments to send, @n <= 10 are. */
static void start(uint32_t n)
{
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_SNDBUF, 200000, c.t.now);
	tc_tcb(&c)->srtt = 20000;
	tc_send(&c, n * 1460);
	assert_int_equal(tc_tx_all(&c), n < 10 ? n : 10);
	ts_advance(&c.t, 20);
}

static void test_tcp_board_only_while_outstanding(void **state)
{
	(void)state;
	start(2);
	assert_int_equal(board()->n, 1); /* sent at one moment */
	ACK(AT(2));
	assert_int_equal(tcb_work_get(c.t.s, tc_tcb(&c))->seg_head, SHM_NIL);
	assert_int_equal(tc_tcb(&c)->n_chunks, 0);
	tc_close(&c);
}

/* RFC 8985 §6.2: with more than two segments above it, no reordering seen: lost at once */
/* RFC 6937 §3/1 */
static void test_tcp_rack_hole_is_sent_again(void **state)
{
	const struct tcb *t;

	(void)state;
	start(10);
	t = tc_tcb(&c);
	SACK(1, AT(1), AT(2));
	SACK(1, AT(1), AT(3));
	tc_tx_none(&c);
	SACK(1, AT(1), AT(4));
	SEG(0);
	assert_int_equal(t->cc_state, CC_RECOVERY);
	assert_int_equal(t->ssthresh, 5 * 1460);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPSackRecovery), 1);
	ts_advance(&c.t, 20);
	ACK(AT(10));
	assert_int_equal(t->cc_state, CC_OPEN);
	assert_int_equal(t->cwnd, 5 * 1460); /* RFC 6937 §3: ssthresh at the end */
	tc_close(&c);
}

static void test_tcp_rack_several_holes_in_order_one_round_trip(void **state)
{
	(void)state;
	start(10);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = AT(1),
	   .sack = {{AT(7), AT(10)}, {AT(4), AT(6)}, {AT(2), AT(3)}});
	SEG(1), SEG(3), SEG(6);
	tc_tx_none(&c);
	ts_advance(&c.t, 20);
	ACK(AT(10));
	assert_int_equal(tc_tcb(&c)->cc_state, CC_OPEN);
	assert_int_equal(ts_mib(&c.t, MIB_Tcp_RetransSegs), 3);
	tc_close(&c);
}

/* §6.2, step 5: what is only late waits for the reordering window, min_RTT / 4 */
/* RFC 8985 §6.2/2 */
static void test_tcp_rack_reordering_window(void **state)
{
	(void)state;
	start(10);
	SACK(1, AT(1), AT(2));
	tc_tx_none(&c);
	ts_advance(&c.t, 4);
	tc_tx_none(&c);
	ts_advance(&c.t, 2);
	SEG(0);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_RECOVERY);
	tc_close(&c);
}

static void test_tcp_rack_reordered_segment_not_sent_again(void **state)
{
	(void)state;
	start(10);
	SACK(1, AT(1), AT(2));
	ts_advance(&c.t, 2);
	ACK(AT(2));
	assert_true(tc_tcb(&c)->flags & TCB_F_REORDER);
	tc_tx_none(&c);
	/* having seen it, three segments above a hole do not hurry any more (step 4) */
	SACK(AT(2), AT(3), AT(7));
	tc_tx_none(&c);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_OPEN);
	tc_close(&c);
}

/* §3.3.2: a retransmission that is lost is found by what was sent after it */
static void test_tcp_rack_lost_retransmission(void **state)
{
	(void)state;
	start(14);
	SACK(1, AT(1), AT(10));
	SEG(0);
	tc_tx_all(&c);
	ts_advance(&c.t, 20);
	tc_tx_all(&c);
	SACK(1, AT(1), AT(11));
	ts_advance(&c.t, 6);
	SACK(1, AT(1), AT(12));
	assert_int_equal(tc_tx_all(&c) > 0, 1);
	assert_true(ts_mib(&c.t, MIB_TcpExt_TCPFastRetrans) >= 2);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPLostRetransmit), 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPTimeouts), 0);
	tc_close(&c);
}

static void test_tcp_rack_timeout_in_recovery_is_counted(void **state)
{
	(void)state;
	start(10);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = AT(0), .sack = {{AT(1), AT(5)}});
	while (!ts_mib(&c.t, MIB_TcpExt_TCPTimeouts)) {
		ts_advance(&c.t, 10);
		tc_tx_all(&c);
	}
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPSackRecovery), 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPSackRecoveryFail), 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPSackFailures), 0);
	tc_close(&c);
}

/* What is missing has not had time to be held for lost, when the timer expires. */
static void test_tcp_rack_timeout_in_spite_of_sack_is_counted(void **state)
{
	(void)state;
	start(4);
	while (!tc_tcb(&c)->t_rtx || tc_tcb(&c)->t_rtx > mtime_add_ms(c.t.now, 2).ns) {
		ts_advance(&c.t, 1);
		tc_tx_all(&c);
	}
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPLossProbes), 1);
	SACK(1, AT(1), AT(2));
	ts_advance(&c.t, 3);
	tc_tx_all(&c);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPTimeouts), 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPSackFailures), 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPSackRecoveryFail), 0);
	tc_close(&c);
}

/* §6.2, step 4: a DSACK widens the window, no more than once a round trip */
static void test_tcp_rack_dsack_widens(void **state)
{
	(void)state;
	start(10);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = AT(2), .sack = {{AT(0), AT(1)}});
	assert_int_equal(tc_tcb(&c)->reo_mult, 1);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = AT(2), .sack = {{AT(1), AT(2)}});
	assert_int_equal(tc_tcb(&c)->reo_mult, 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPDSACKRecv), 2);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPDSACKRecvSegs), 2);
	tc_close(&c);
}

/* §7.2, §7.3: two round trips of silence, then the last segment once more; no RTO */
/* RFC 8985 §7.2/1, §7.3/1 */
static void test_tcp_tlp_last_segment(void **state)
{
	(void)state;
	start(4);
	ts_advance(&c.t, 19);
	tc_tx_none(&c);
	ts_advance(&c.t, 2);
	LAST(3);
	tc_tx_none(&c);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPLossProbes), 1);
	ts_advance(&c.t, 20);
	SACK(AT(2), AT(3), AT(4)); /* the third was lost */
	ts_advance(&c.t, 6);
	SEG(2);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPTimeouts), 0);
	/* What has been reduced for is not reduced for again (§7.4.2). */
	ACK(AT(4));
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPLossProbeRecovery), 0);
	tc_close(&c);
}

/* RFC 8985 §7.4.2/1: §7.4.2: an ACK beyond the probe, and no DSACK: it has repaired a loss */
static void test_tcp_tlp_repair_counts_as_loss(void **state)
{
	uint32_t cwnd;

	(void)state;
	start(4);
	ts_advance(&c.t, 21);
	LAST(3);
	ACK(AT(4));
	cwnd = tc_tcb(&c)->cwnd;
	tc_send(&c, 1460);
	LAST(4);
	ts_advance(&c.t, 20);
	ACK(AT(5));
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPLossProbeRecovery), 1);
	assert_true(tc_tcb(&c)->cwnd < cwnd);
	tc_close(&c);
}

static void test_tcp_tlp_dsack_no_loss(void **state)
{
	(void)state;
	start(4);
	ts_advance(&c.t, 21);
	LAST(3);
	ACK(AT(4));
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = AT(4), .sack = {{AT(3), AT(4)}});
	assert_false(tc_tcb(&c)->flags & TCB_F_TLP);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPLossProbeRecovery), 0);
	tc_close(&c);
}

/* RFC 6298 §5.4, RFC 2018 §5: after a timeout what the peer has is not sent again */
static void test_tcp_rto_skips_what_was_sacked(void **state)
{
	(void)state;
	start(3);
	SACK(1, AT(1), AT(2));
	tc_tcb(&c)->flags |= TCB_F_REORDER;
	board()->rack_xmit = 0; /* as if RACK had seen nothing */
	board()->t_reo = 0;
	ts_advance(&c.t, 1000);
	SEG(0);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_LOSS);
	ts_advance(&c.t, 20);
	ACK(AT(2));
	LAST(2);
	tc_tx_none(&c);
	tc_close(&c);
}

/* RFC 8985 §6.3/1: what was sent a moment ago is not lost because the timer of something older ends */
static void test_tcp_rto_leaves_what_was_just_sent(void **state)
{
	const struct tcb *t;

	(void)state;
	start(5);
	t = tc_tcb(&c);
	ACK(AT(1));
	ts_advance(&c.t, 60);
	LAST(4); /* the probe */
	ts_advance(&c.t, (uint32_t)((t->t_rtx - c.t.now.ns) / 1000000 - 5));
	tc_send(&c, 1460);
	LAST(5);
	ts_advance(&c.t, 12);
	SEG(1);
	assert_int_equal(t->cc_state, CC_LOSS);
	assert_int_equal(board()->lost, 3 * 1460);
	tc_tx_none(&c); /* cwnd is what is on its way and one segment */
	ts_advance(&c.t, 14);
	SACK(AT(1), AT(5), AT(6));
	ts_advance(&c.t, 6);
	ACK(AT(2));
	SEG(2), SEG(3);
	ACK(AT(4));
	SEG(4);
	tc_tx_none(&c);
	ACK(AT(6));
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPTimeouts), 1);
	tc_tx_none(&c);
	tc_close(&c);
}

/* RFC 2018 §8: a peer that has thrown away what it had acknowledged selectively */
/* RFC 2018 §5.1/1, §8/1 */
static void test_tcp_sack_reneging(void **state)
{
	(void)state;
	start(10);
	SACK(1, AT(1), AT(10));
	SEG(0);
	ts_advance(&c.t, 20);
	ACK(AT(1)); /* and nothing more, though it had all */
	tc_tx_none(&c);
	ts_advance(&c.t, 11); /* it gets half a round trip to say more */
	SEG(1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPSACKReneging), 1);
	assert_int_equal(board()->sacked, 0);
	ACK(AT(2));
	SEG(2), SEG(3);
	tc_close(&c);
}

/* Blocks that cannot be: ignored (RFC 2018 §5 has nothing to be gained by them) */
static void test_tcp_sack_nonsense_ignored(void **state)
{
	(void)state;
	start(10);
	SACK(1, AT(20), AT(30));
	SACK(1, AT(3), AT(2));
	SACK(1, AT(9), AT(11));
	assert_int_equal(board()->sacked, 0);
	tc_tx_none(&c);
	tc_close(&c);
}

/* As many pieces as a peer likes: the scoreboard stays in its bounds and right. */
static void test_tcp_board_bounded(void **state)
{
	(void)state;
	start(10);
	for (uint32_t i = 0; i < 1000; i++) {
		uint32_t at = 11 + 10 * ((i * 7919) % 1000);

		SACK(1, at, at + 4);
		tc_tx_all(&c);
		assert_in_range(board()->n, 1, BOARD_MAX);
	}
	ACK(AT(10));
	assert_int_equal(tc_tcb(&c)->n_chunks, 0);
	tc_close(&c);
}

/* RFC 6937 §3: each recovery counts for itself what has arrived and what was sent. */
/* RFC 6937 §3/2 */
static void test_tcp_prr_begins_anew(void **state)
{
	(void)state;
	start(40);
	SACK(1, AT(1), AT(4));
	tc_tx_all(&c);
	ts_advance(&c.t, 20);
	ACK(AT(10));
	assert_int_equal(tc_tcb(&c)->cc_state, CC_OPEN);
	assert_true(board()->prr_delivered > 0);
	tc_tx_all(&c);
	ts_advance(&c.t, 20);
	SACK(AT(10), AT(11), AT(14));
	assert_int_equal(tc_tcb(&c)->cc_state, CC_RECOVERY);
	assert_true(board()->prr_delivered <= 3 * 1460);
	tc_tx_all(&c);
	tc_close(&c);
}

/* RFC 5681 §3.1: after a timeout cwnd grows from one segment on; that all is acknowledged is no
 * reason to jump to ssthresh, as at the end of fast recovery. */
static void test_tcp_end_of_loss_is_no_end_of_recovery(void **state)
{
	(void)state;
	start(10);
	SACK(1, AT(3), AT(10));
	tc_tx_all(&c);
	ts_advance(&c.t, 3000);
	assert_true(tc_take(&c));
	assert_int_equal(tc_tcb(&c)->cc_state, CC_LOSS);
	assert_int_equal(tc_tcb(&c)->ssthresh, 5 * 1460);
	ACK(AT(10));
	assert_int_equal(tc_tcb(&c)->cc_state, CC_OPEN);
	assert_true(tc_tcb(&c)->cwnd < 5 * 1460);
	tc_close(&c);
}

/* What was lost in recovery, of what was sent in it: for BBR that goes on, it has its rounds. */
static void test_tcp_recovery_of_bbr_goes_on_for_what_it_lost(void **state)
{
	static const char *const names[] = {"bbr", "reno"};
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	for (uint32_t i = 0; i < 2; i++) {
		const struct tcb *t;

		cfg.cc = names[i];
		tc_accept(&c, &cfg);
		tcp_setopt(c.t.s, c.conn, TOPT_SNDBUF, 200000, c.t.now);
		tc_tcb(&c)->srtt = 20000;
		tc_send(&c, 20 * 1460);
		for (t = tc_tcb(&c); t->snd_max - t->iss < AT(10); ts_advance(&c.t, 1))
			tc_tx_all(&c);
		ts_advance(&c.t, 20);
		SACK(1, AT(1), AT(10));
		for (uint32_t ms = 0; ms < 20 && t->snd_max - t->iss < AT(13); ms++) {
			tc_tx_all(&c);
			ts_advance(&c.t, 1);
		}
		assert_int_equal(t->cc_state, CC_RECOVERY);
		assert_true(t->snd_max - t->iss >= AT(13));
		ts_advance(&c.t, 20);
		RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1,
		   .sack = {{AT(11), AT(13)}, {AT(1), AT(10)}});
		for (uint32_t ms = 0; ms < 5; ms++, ts_advance(&c.t, 1))
			tc_tx_all(&c); /* the tenth once more */
		RX(&c, .flags = TH_ACK, .seq = 1, .ack = AT(10), .sack = {{AT(11), AT(13)}});
		assert_int_equal(t->cc_state, i ? CC_OPEN : CC_RECOVERY);
		tc_tx_all(&c);
		ts_advance(&c.t, 20);
		ACK(t->snd_max - t->iss);
		assert_int_equal(t->cc_state, CC_OPEN);
		tc_close(&c);
	}
}

/* A timeout's retransmission may be lost, too: that says nothing against what was SACKed. */
static void test_tcp_second_timeout_keeps_sacks(void **state)
{
	(void)state;
	start(10);
	SACK(1, AT(1), AT(10));
	SEG(0);
	ts_advance(&c.t, 1000);
	SEG(0);
	ts_advance(&c.t, 2000);
	SEG(0);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_LOSS);
	assert_int_equal(board()->sacked, 9 * 1460);
	ACK(AT(10));
	tc_tx_none(&c);
	tc_close(&c);
}

/* The buffer is full of what the peer has, but for a hole, and the path runs empty: write more. */
static void test_tcp_hole_does_not_keep_the_writer(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_SNDBUF, 16 * 1460, c.t.now);
	tc_tcb(&c)->srtt = 20000;
	tc_tcb(&c)->cwnd = 18 * 1460;
	tc_send(&c, 16 * 1460);
	assert_int_equal(tcp_send(c.t.s, c.conn, "x", 1, 0, c.t.now), -E_AGAIN);
	assert_int_equal(tc_tx_all(&c), 16);
	tc_events(&c);
	ts_advance(&c.t, 20);
	ACK(AT(3)); /* less than a third */
	assert_false(tcp_poll(c.t.s, c.conn) & EV_WRITABLE);
	SACK(AT(3), AT(4), AT(6)); /* much is still on its way */
	assert_int_equal(tc_events(&c) & EV_WRITABLE, 0);
	SACK(AT(3), AT(4), AT(16));
	assert_int_equal(tc_events(&c) & EV_WRITABLE, EV_WRITABLE);
	assert_true(tcp_poll(c.t.s, c.conn) & EV_WRITABLE);
	tc_send(&c, 3 * 1460);
	assert_false(tcp_poll(c.t.s, c.conn) & EV_WRITABLE);
	tc_tx_all(&c);
	tc_close(&c);
}

/* RFC 8985 §6.2, step 4: 16 recoveries without a DSACK narrow the window again. */
static void test_tcp_rack_window_narrows(void **state)
{
	(void)state;
	for (uint8_t left = 0; left < 2; left++) {
		start(10);
		RX(&c, .flags = TH_ACK, .seq = 1, .ack = AT(2), .sack = {{AT(0), AT(1)}});
		assert_int_equal(tc_tcb(&c)->reo_mult, 1);
		assert_int_equal(tc_tcb(&c)->reo_persist, 16);
		tc_tcb(&c)->reo_persist = left + 1;
		SACK(AT(2), AT(3), AT(9));
		ts_advance(&c.t, 20);
		SEG(2);
		assert_int_equal(tc_tcb(&c)->cc_state, CC_RECOVERY);
		ACK(AT(10));
		assert_int_equal(tc_tcb(&c)->cc_state, CC_OPEN);
		assert_int_equal(tc_tcb(&c)->reo_persist, left);
		assert_int_equal(tc_tcb(&c)->reo_mult, left);
		tc_close(&c);
	}
}

/* RFC 5681 §3.1 with SACK: in order and without loss cwnd grows by what is acknowledged. */
static void test_tcp_slow_start_with_scoreboard(void **state)
{
	(void)state;
	start(40);
	ACK(AT(2));
	assert_int_equal(tc_tcb(&c)->cwnd, 12 * 1460);
	assert_int_equal(tc_tx_all(&c), 4);
	ACK(AT(5));
	assert_int_equal(tc_tcb(&c)->cwnd, 15 * 1460);
	assert_int_equal(tc_tcb(&c)->bytes_acked, 5 * 1460);
	tc_tx_all(&c);
	ACK(tc_tcb(&c)->snd_max - c.iss); /* all of it: the scoreboard goes */
	assert_null(tcp_board(c.t.s, tc_tcb(&c)));
	assert_int_equal(tc_tcb(&c)->cwnd, 30 * 1460);
	tc_tx_all(&c);
	tc_close(&c);
}

/* RFC 8985 §7.3: a probe is for the end of what was sent, not for when recovery is under way. */
static void test_tcp_tlp_not_in_recovery(void **state)
{
	(void)state;
	start(10);
	SACK(1, AT(1), AT(9));
	SEG(0);
	tc_tx_all(&c);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_RECOVERY);
	ts_advance(&c.t, 100);
	tc_tx_none(&c);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPLossProbes), 0);
	tc_close(&c);
}

/* RFC 8985 §7.3: new data probe as well, one segment beyond cwnd; nothing was lost by that. */
static void test_tcp_tlp_sends_new_data(void **state)
{
	uint32_t cwnd;

	(void)state;
	start(14);
	cwnd = tc_tcb(&c)->cwnd;
	ts_advance(&c.t, 21);
	SEG(10);
	tc_tx_none(&c);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPLossProbes), 1);
	assert_int_equal(tcb_work(tc_tcb(&c))->tlp_end, c.iss + AT(11));
	ACK(AT(5));
	assert_true(tc_tcb(&c)->flags & TCB_F_TLP);
	tc_tx_all(&c);
	ACK(AT(11));
	assert_false(tc_tcb(&c)->flags & TCB_F_TLP);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPLossProbeRecovery), 0);
	assert_true(tc_tcb(&c)->cwnd >= cwnd);
	tc_tx_all(&c);
	tc_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_tcp_board_only_while_outstanding, setup),
		cmocka_unit_test_setup(test_tcp_hole_does_not_keep_the_writer, setup),
		cmocka_unit_test_setup(test_tcp_recovery_of_bbr_goes_on_for_what_it_lost, setup),
		cmocka_unit_test_setup(test_tcp_second_timeout_keeps_sacks, setup),
		cmocka_unit_test_setup(test_tcp_rack_hole_is_sent_again, setup),
		cmocka_unit_test_setup(test_tcp_rack_several_holes_in_order_one_round_trip, setup),
		cmocka_unit_test_setup(test_tcp_rack_reordering_window, setup),
		cmocka_unit_test_setup(test_tcp_rack_reordered_segment_not_sent_again, setup),
		cmocka_unit_test_setup(test_tcp_rack_lost_retransmission, setup),
		cmocka_unit_test_setup(test_tcp_rack_timeout_in_recovery_is_counted, setup),
		cmocka_unit_test_setup(test_tcp_rack_timeout_in_spite_of_sack_is_counted, setup),
		cmocka_unit_test_setup(test_tcp_rack_dsack_widens, setup),
		cmocka_unit_test_setup(test_tcp_tlp_last_segment, setup),
		cmocka_unit_test_setup(test_tcp_tlp_repair_counts_as_loss, setup),
		cmocka_unit_test_setup(test_tcp_tlp_dsack_no_loss, setup),
		cmocka_unit_test_setup(test_tcp_rto_skips_what_was_sacked, setup),
		cmocka_unit_test_setup(test_tcp_rto_leaves_what_was_just_sent, setup),
		cmocka_unit_test_setup(test_tcp_sack_reneging, setup),
		cmocka_unit_test_setup(test_tcp_sack_nonsense_ignored, setup),
		cmocka_unit_test_setup(test_tcp_board_bounded, setup),
		cmocka_unit_test_setup(test_tcp_prr_begins_anew, setup),
		cmocka_unit_test_setup(test_tcp_end_of_loss_is_no_end_of_recovery, setup),
		cmocka_unit_test_setup(test_tcp_rack_window_narrows, setup),
		cmocka_unit_test_setup(test_tcp_slow_start_with_scoreboard, setup),
		cmocka_unit_test_setup(test_tcp_tlp_not_in_recovery, setup),
		cmocka_unit_test_setup(test_tcp_tlp_sends_new_data, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
