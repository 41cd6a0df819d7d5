/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the RFCs demand and no other test shows. Each test names its clauses; docs/RFC.md is made
 * of these comments (tools/rfc-table.sh).
 */
#include "lib_tcp.h"
#include "user/core/cc.h"
#include "user/core/board.h"

static struct conv c;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	return 0;
}

static uint16_t be(uint16_t port)
{
	return __builtin_bswap16(port);
}

/* ---- opening ---- */

/* RFC 9293 MUST-23: R2 of a SYN can be three minutes and more */
static void test_rfc_syn_may_be_repeated_for_three_minutes(void **state)
{
	struct stack_cfg cfg = ts_cfg();
	uint32_t s = 0;

	(void)state;
	cfg.limits.tcp_syn_retries = 7;
	tc_connect_syn(&c, &cfg);
	for (; tc_tcb(&c)->state == TCP_SYN_SENT; s++) {
		ts_advance(&c.t, 1000);
		tc_tx_all(&c);
	}
	assert_in_range(s, 180, 300);
	tc_close(&c);
}

/* RFC 5681 §3.1/2; RFC 6298 §5/3: after lost SYNs, one segment, and 3 s for it */
static void test_rfc_lost_syn_begins_carefully(void **state)
{
	(void)state;
	tc_connect_syn(&c, NULL);
	ts_advance(&c.t, 1001);
	TX(&c, .flags = TH_SYN);
	ts_advance(&c.t, 2001);
	TX(&c, .flags = TH_SYN);
	RX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	tc_send(&c, 3000);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 1460);
	tc_tx_none(&c);
	ts_advance(&c.t, 2990);
	tc_tx_none(&c);
	ts_advance(&c.t, 20);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 1460);
	tc_close(&c);
}

/* RFC 6928 §2/2; RFC 6298 §5/3: one lost SYN may be chance, or an RTO that was too short */
static void test_rfc_one_lost_syn_leaves_the_window(void **state)
{
	(void)state;
	tc_connect_syn(&c, NULL);
	ts_advance(&c.t, 1001);
	TX(&c, .flags = TH_SYN);
	RX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	assert_int_equal(tc_tcb(&c)->cwnd, cc_initial_window(1460));
	assert_int_equal(tc_tcb(&c)->rto, 3000000);
	tc_close(&c);
}

/* RFC 9293 MUST-41, MUST-42: LISTEN while connections of that port are open and being opened */
static void test_rfc_listen_on_port_in_use(void **state)
{
	struct tcp_addr_pair a = {
		.remote = ip(FAR_IP), .remote_port = be(9), .local_port = be(OUR_PORT)};
	uint32_t opening;

	(void)state;
	tc_accept(&c, NULL);
	tcp_unlisten(c.t.s, c.listener, c.t.now);
	assert_int_equal(tcp_connect(c.t.s, &a, 0, c.t.now, &opening), 0);
	assert_int_equal(tcp_get(c.t.s, opening)->state, TCP_SYN_SENT);
	tc_listen(&c, 8);
	assert_int_equal(tcp_get(c.t.s, opening)->state, TCP_SYN_SENT);
	while (ts_tx(&c.t, &c.o)) /* the SYN waits for an ARP reply */
		;
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 10);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 11);
	tc_recv(&c, 10);
	c.rport++;
	RX(&c, .flags = TH_SYN);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	tcp_close(c.t.s, opening, c.t.now);
	tc_close(&c);
}

/* RFC 9293 MUST-45: the source of the first SYN is that of all further segments */
static void test_rfc_source_address_stays(void **state)
{
	(void)state;
	tc_connect(&c, NULL, 1);
	assert_int_equal(ts_event(&c.t, (struct net_event){.kind = NET_ADDR_ADD,
							   .addr = ip("10.0.0.9"),
							   .plen = 24}),
			 0);
	while (ts_tx(&c.t, &c.o)) /* it is announced */
		;
	tc_send(&c, 10);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 10);
	assert_ip(c.o.src, OUR_IP);
	tc_close(&c);
}

/* RFC 9293 MUST-57: not even a RST */
static void test_rfc_syn_to_many_is_silent(void **state)
{
	static const char *const dst[] = {"10.0.0.255", "255.255.255.255", "224.0.0.1"};

	(void)state;
	tc_open(&c, NULL);
	tc_listen(&c, 8);
	for (uint32_t i = 0; i < 6; i++) {
		struct spec x = {TCP_PKT, .dst = dst[i % 3], .sport = PEER_PORT,
				 .dport = i < 3 ? OUR_PORT : 81, .flags = TH_SYN};

		assert_int_not_equal(ts_rx(&c.t, &x), DROP_NONE);
	}
	ts_expect_none(&c.t);
	tc_close(&c);
}

/* ---- keepalive ---- */

/* RFC 9293 MUST-25, MUST-28 */
static void test_rfc_keepalive_off_and_two_hours(void **state)
{
	int64_t v;

	(void)state;
	tc_accept(&c, NULL);
	ts_advance(&c.t, 5ull * 3600 * 1000);
	tc_tx_none(&c);
	assert_int_equal(tcp_getopt(c.t.s, c.conn, TOPT_KEEPIDLE, &v), 0);
	assert_true(v >= 7200);
	tcp_setopt(c.t.s, c.conn, TOPT_KEEPALIVE, 1, c.t.now);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 1);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 2);
	ts_advance(&c.t, 7199ull * 1000);
	tc_tx_none(&c);
	ts_advance(&c.t, 1100);
	TX(&c, .flags = TH_ACK, .seq = 0, .ack = 2);
	tc_close(&c);
}

/* ---- acknowledging ---- */

/* RFC 9293 MUST-58, MUST-59: what has arrived together is acknowledged together */
static void test_rfc_batch_gets_one_ack(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	for (uint32_t seq = 1; seq < 1 + 8 * 1460; seq += 1460)
		RX(&c, .flags = TH_ACK, .seq = seq, .ack = 1, .len = 1460);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1 + 8 * 1460);
	tc_tx_none(&c);
	tc_close(&c);
}

/* RFC 9293 MUST-60: without PSH it can be read at once, too */
static void test_rfc_data_without_push_is_delivered(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 1);
	assert_true(tc_events(&c) & EV_READABLE);
	tc_recv(&c, 1);
	tc_send(&c, 1); /* nor is there a call to push */
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 2, .len = 1);
	tc_close(&c);
}

/* RFC 9293 MUST-66: with our window shut RST and ACK count */
static void test_rfc_zero_window_takes_ack_and_rst(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.limits.tcp_rmem[1] = cfg.limits.tcp_rmem[2] = 4000;
	tc_accept(&c, &cfg);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 2000);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 2001, .wnd = ZERO_WND);
	tc_send(&c, 10);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 2001, .len = 10);
	RX(&c, .flags = TH_ACK, .seq = 2001, .ack = 11);
	assert_int_equal(tcp_unsent_bytes(c.t.s, c.conn), 0);
	RX(&c, .flags = TH_RST, .seq = 2001);
	tc_state(&c, TCP_CLOSED);
	tc_close(&c);
}

/* ---- ICMP ---- */

static enum drop icmp_about_last(uint8_t type, uint8_t code)
{
	return ts_rx(&c.t, &(struct spec){ICMP_PKT, .src = GW_IP, .smac = gw_mac, .type = type,
					  .code = code, .data = c.o.ip, .len = 28});
}

/* RFC 9293 MUST-55, MUST-56 */
static void test_rfc_soft_errors_do_not_abort(void **state)
{
	static const struct {
		uint8_t type, code;
	} v[] = {{3, 0}, {3, 1}, {3, 5}, {4, 0}, {11, 0}, {11, 1}, {12, 0}};
	uint32_t cwnd;

	(void)state;
	tc_accept(&c, NULL);
	tc_send(&c, 10);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 10);
	cwnd = tc_tcb(&c)->cwnd;
	for (uint32_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		icmp_about_last(v[i].type, v[i].code);
		tc_state(&c, TCP_ESTABLISHED);
		assert_int_equal(tc_tcb(&c)->cwnd, cwnd);
		assert_int_equal(tcp_error(c.t.s, c.conn), 0);
	}
	tc_close(&c);
}

/* ---- options ---- */

/* RFC 7323 §3.2/1: in each segment that is not a RST */
static void test_rfc_timestamps_in_each_segment(void **state)
{
	(void)state;
	c.ts = true;
	tc_accept(&c, NULL);
	tc_send(&c, 10);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 10);
	assert_true(c.opt.has_ts);
	RX(&c, .flags = TH_ACK, .seq = 101, .ack = 11, .len = 10);
	TX(&c, .flags = TH_ACK, .seq = 11, .ack = 1);
	assert_true(c.opt.has_ts);
	ts_advance(&c.t, 1);
	tcp_shutdown(c.t.s, c.conn, false, true, c.t.now);
	TX(&c, .flags = TH_ACK | TH_FIN, .seq = 11, .ack = 1);
	assert_true(c.opt.has_ts);
	ts_advance(&c.t, 3000);
	while (tc_take(&c)) /* retransmissions, too */
		assert_true(c.opt.has_ts);
	tc_close(&c);
}

/* RFC 7323 §3.2/2: not agreed on, so they mean nothing */
static void test_rfc_timestamps_not_agreed_on_ignored(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	c.ts = true;
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 10, .ts_val = 5000);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 11);
	assert_false(c.opt.has_ts);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 11, .ack = 1, .len = 10, .ts_val = 1),
			 DROP_NONE);
	tc_recv(&c, 20);
	tc_close(&c);
}

/* RFC 7323 §4.1/1: a duplicate ACK echoes an old number, and is no sample */
static void test_rfc_duplicate_gives_no_round_trip(void **state)
{
	uint32_t srtt, echo;

	(void)state;
	c.ts = true;
	tc_connect(&c, NULL, 10);
	srtt = tc_tcb(&c)->srtt;
	assert_int_equal(srtt, 10000);
	echo = c.ts_ecr;
	tc_send(&c, 10);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 10);
	ts_advance(&c.t, 100);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .ts_ecr = echo);
	assert_int_equal(tc_tcb(&c)->srtt, srtt);
	tc_close(&c);
}

/* ---- loss recovery ---- */

#define AT(i) (1u + (i)*1460u)
#define SACKED(from, to) RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .sack = {{AT(from), AT(to)}})

/* RFC 8985 §6.2/1: an ACK of a retransmission that came sooner than any could is of the first copy
 */
static void test_rfc_rack_early_ack_is_ambiguous(void **state)
{
	uint64_t first;

	(void)state;
	c.sack = true;
	tc_connect(&c, NULL, 20);
	tc_send(&c, 10 * 1460);
	assert_int_equal(tc_tx_all(&c), 10);
	first = c.t.now.ns;
	ts_advance(&c.t, 20);
	SACKED(1, 4);
	assert_int_equal(tc_tx_all(&c), 1);
	ts_advance(&c.t, 1);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = AT(1));
	assert_int_equal(tcp_board(c.t.s, tc_tcb(&c))->rack_xmit, first);
	tc_close(&c);
}

/* RFC 8985 §7.3/2: recovery does without a probe */
static void test_rfc_no_loss_probe_in_recovery(void **state)
{
	(void)state;
	c.sack = true;
	tc_connect(&c, NULL, 20);
	tc_send(&c, 10 * 1460);
	tc_tx_all(&c);
	assert_true(tcp_board(c.t.s, tc_tcb(&c))->t_pto);
	ts_advance(&c.t, 20);
	SACKED(1, 4);
	tc_tx_all(&c);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_RECOVERY);
	assert_int_equal(tcp_board(c.t.s, tc_tcb(&c))->t_pto, 0);
	tc_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_rfc_syn_may_be_repeated_for_three_minutes, setup),
		cmocka_unit_test_setup(test_rfc_lost_syn_begins_carefully, setup),
		cmocka_unit_test_setup(test_rfc_one_lost_syn_leaves_the_window, setup),
		cmocka_unit_test_setup(test_rfc_listen_on_port_in_use, setup),
		cmocka_unit_test_setup(test_rfc_source_address_stays, setup),
		cmocka_unit_test_setup(test_rfc_syn_to_many_is_silent, setup),
		cmocka_unit_test_setup(test_rfc_keepalive_off_and_two_hours, setup),
		cmocka_unit_test_setup(test_rfc_batch_gets_one_ack, setup),
		cmocka_unit_test_setup(test_rfc_data_without_push_is_delivered, setup),
		cmocka_unit_test_setup(test_rfc_zero_window_takes_ack_and_rst, setup),
		cmocka_unit_test_setup(test_rfc_soft_errors_do_not_abort, setup),
		cmocka_unit_test_setup(test_rfc_timestamps_in_each_segment, setup),
		cmocka_unit_test_setup(test_rfc_timestamps_not_agreed_on_ignored, setup),
		cmocka_unit_test_setup(test_rfc_duplicate_gives_no_round_trip, setup),
		cmocka_unit_test_setup(test_rfc_rack_early_ack_is_ambiguous, setup),
		cmocka_unit_test_setup(test_rfc_no_loss_probe_in_recovery, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
