/* SPDX-License-Identifier: BSD-2-Clause */
/* synreq.c: half-open connections, from the SYN to the third ACK or their end. */
#include "lib_tcp.h"

static struct conv c;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	return 0;
}

static void open_listener(const struct stack_cfg *cfg, uint32_t backlog)
{
	tc_open(&c, cfg);
	tc_listen(&c, backlog);
}

static void half_open(void)
{
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_NONE);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
}

static void accept_it(void)
{
	assert_int_equal(tcp_accept(c.t.s, c.listener, &c.conn), 0);
	tc_state(&c, TCP_ESTABLISHED);
}

/* ---- SYN ---- */

/* RFC 9293 MUST-14 */
static void test_tcp_syn_answered_with_options(void **state)
{
	(void)state;
	c.ts = true;
	c.wscale = 1 + 14;
	open_listener(NULL, 8);
	half_open();
	assert_int_equal(c.last.wnd, 65535);
	assert_int_equal(c.opt.mss, 1460);
	assert_true(c.opt.has_wscale && c.opt.has_ts && !c.opt.sack_ok);
	assert_int_equal(c.opt.wscale, 10);
	assert_int_equal(c.opt.ts_ecr, 5000);
	ts_advance(&c.t, 25);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = 2), DROP_NONE);
	accept_it();
	assert_int_equal(tc_tcb(&c)->snd_wscale, 14);
	assert_int_equal(tc_tcb(&c)->snd_wnd, 2u << 14);
	assert_int_equal(tc_tcb(&c)->srtt, 25000);
	assert_int_equal(tc_tcb(&c)->queue, 3); /* answers leave where the SYN came in */
	assert_int_equal(ts_mib(&c.t, MIB_Tcp_PassiveOpens), 1);
	tc_close(&c);
}

/* RFC 7323 §2.2/1 */
static void test_tcp_syn_without_options(void **state)
{
	(void)state;
	c.mss = 1;
	open_listener(NULL, 8);
	half_open();
	assert_true(!c.opt.has_wscale && !c.opt.has_ts);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_NONE);
	accept_it();
	assert_int_equal(tc_tcb(&c)->opt, 0);
	assert_int_equal(tc_tcb(&c)->rcv_wscale, 0);
	assert_int_equal(tc_tcb(&c)->mss, TCP_MSS_MIN);
	tc_close(&c);
}

static void test_tcp_syn_options_switched_off(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.limits.tcp_timestamps = 0;
	cfg.limits.tcp_window_scaling = 0;
	c.ts = true;
	c.wscale = 5;
	open_listener(&cfg, 8);
	half_open();
	assert_true(!c.opt.has_wscale && !c.opt.has_ts);
	tc_close(&c);
}

static void test_tcp_syn_timestamps_are_offset_per_pair(void **state)
{
	uint32_t first;

	(void)state;
	c.ts = true;
	open_listener(NULL, 8);
	half_open();
	first = c.opt.ts_val;
	c.rport++;
	half_open();
	assert_int_not_equal(first, c.opt.ts_val);
	tc_close(&c);
}

static void test_tcp_listen_not_a_syn(void **state)
{
	(void)state;
	open_listener(NULL, 8);
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 1), DROP_BAD_STATE);
	assert_int_equal(RX(&c, .flags = 0, .seq = 1), DROP_BAD_STATE);
	assert_int_equal(RX(&c, .flags = TH_FIN, .seq = 1), DROP_BAD_STATE);
	assert_int_equal(RX(&c, .flags = TH_SYN | TH_FIN), DROP_BAD_STATE);
	tc_tx_none(&c);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 7), DROP_BAD_ACK);
	TX(&c, .flags = TH_RST, .seq = 7);
	assert_int_equal(RX(&c, .flags = TH_SYN | TH_ACK, .ack = 7), DROP_BAD_ACK);
	TX(&c, .flags = TH_RST, .seq = 7);
	assert_int_equal(tc_usage(&c).synreqs, 0);
	tc_close(&c);
}

static void test_tcp_syn_repeated_answered_again(void **state)
{
	uint32_t iss;

	(void)state;
	open_listener(NULL, 8);
	half_open();
	iss = c.iss;
	ts_advance(&c.t, 700);
	half_open();
	assert_int_equal(c.iss, iss);
	assert_int_equal(tc_usage(&c).synreqs, 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPSynRetrans), 1);
	/* the timer starts again with it */
	ts_advance(&c.t, 990);
	tc_tx_none(&c);
	ts_advance(&c.t, 20);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	/* Karn: nobody knows which one is acknowledged */
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_NONE);
	accept_it();
	assert_int_equal(tc_tcb(&c)->srtt, 0);
	tc_close(&c);
}

static void test_tcp_synack_retransmitted_then_given_up(void **state)
{
	(void)state;
	open_listener(NULL, 8);
	half_open();
	for (uint64_t s = 1; s <= 16; s *= 2) {
		ts_advance(&c.t, s * 1000 - 20);
		tc_tx_none(&c);
		ts_advance(&c.t, 21);
		TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	}
	ts_advance(&c.t, 31900);
	assert_int_equal(tc_usage(&c).synreqs, 1);
	ts_advance(&c.t, 200);
	tc_tx_none(&c);
	assert_int_equal(tc_usage(&c).synreqs, 0);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPSynRetrans), 5);
	assert_int_equal(ts_mib(&c.t, MIB_Tcp_RetransSegs), 5);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPTimeouts), 6);
	tc_close(&c);
}

/* ---- limits ---- */

static void syn_queue_bound(const struct stack_cfg *cfg, uint32_t backlog, uint32_t bound)
{
	open_listener(cfg, backlog);
	for (uint32_t i = 0; i < bound; i++, c.rport++)
		half_open();
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_QUEUE_FULL);
	tc_tx_none(&c);
	assert_int_equal(tc_usage(&c).synreqs, bound);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPReqQFullDrop), 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_ListenDrops), 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_ListenOverflows), 0);
	/* one that ends makes room */
	c.rport--;
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 1), DROP_NONE);
	half_open();
	tc_close(&c);
	setup(NULL);
}

static void test_tcp_syn_queue_bounds(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.limits.tcp_syncookies = 0; /* with cookies nothing is dropped: test_syncookie.c */
	syn_queue_bound(&cfg, 3, 3);
	syn_queue_bound(&cfg, 0, 1);
	cfg.limits.tcp_max_syn_backlog = 5;
	syn_queue_bound(&cfg, 30, 5);
	cfg.limits.somaxconn = 4;
	syn_queue_bound(&cfg, 30, 4);
}

static void test_tcp_syn_pool_exhausted_drops(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.n_synreqs = 2;
	cfg.limits.tcp_syncookies = 0;
	open_listener(&cfg, 30);
	half_open();
	c.rport++;
	half_open();
	c.rport++;
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_QUEUE_FULL);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPReqQFullDrop), 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_ListenDrops), 1);
	tc_close(&c);
}

static void test_tcp_third_ack_no_tcb_request_stays(void **state)
{
	struct tcp_addr_pair a = {.remote = ip(PEER_IP), .remote_port = 9};
	uint32_t conn;

	(void)state;
	open_listener(NULL, 8);
	half_open();
	while (!tcp_connect(c.t.s, &a, 0, c.t.now, &conn))
		;
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_NO_MEMORY);
	assert_int_equal(tc_usage(&c).synreqs, 1);
	tcp_abort(c.t.s, 0, c.t.now);
	/* aborted before its SYN went out; the reports are taken so that its place is free */
	tc_events(&c);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_NONE);
	assert_int_equal(tc_usage(&c).synreqs, 0);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &c.conn), 0);
	for (uint32_t i = 0; i < c.t.a.n_tcbs; i++)
		tcp_abort(c.t.s, i, c.t.now);
	tc_close(&c);
}

/* ---- third ACK ---- */

static void test_tcp_third_ack_with_data_and_fin_delivers(void **state)
{
	(void)state;
	open_listener(NULL, 8);
	half_open();
	assert_int_equal(RX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 1, .len = 500),
			 DROP_NONE);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &c.conn), 0);
	tc_state(&c, TCP_CLOSE_WAIT);
	tc_recv(&c, 500);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 502);
	tc_close(&c);
}

static void test_tcp_third_ack_lost_data_establishes(void **state)
{
	(void)state;
	open_listener(NULL, 8);
	half_open();
	/* the first segment is late, too */
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 101, .ack = 1, .len = 50), DROP_NONE);
	accept_it();
	assert_int_equal(tcp_readable_bytes(c.t.s, c.conn), 0);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 100), DROP_NONE);
	tc_recv(&c, 150);
	tc_tx_all(&c);
	tc_close(&c);
}

static void test_tcp_third_ack_bad_ack_resets(void **state)
{
	(void)state;
	open_listener(NULL, 8);
	half_open();
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 2), DROP_BAD_ACK);
	TX(&c, .flags = TH_RST, .seq = 2);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 0), DROP_BAD_ACK);
	TX(&c, .flags = TH_RST, .seq = 0);
	assert_int_equal(RX(&c, .flags = TH_PSH, .seq = 1, .len = 5), DROP_BAD_STATE);
	assert_int_equal(tc_usage(&c).synreqs, 1);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_NONE);
	tc_close(&c);
}

static void test_tcp_synreq_out_of_window_is_told_where_we_are(void **state)
{
	(void)state;
	open_listener(NULL, 8);
	half_open();
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 70000, .ack = 1, .len = 5),
			 DROP_OUT_OF_WINDOW);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 0, .ack = 1), DROP_OUT_OF_WINDOW);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	assert_int_equal(tc_usage(&c).synreqs, 1);
	tc_close(&c);
}

static void test_tcp_synreq_rst(void **state)
{
	(void)state;
	open_listener(NULL, 8);
	half_open();
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 70000), DROP_OUT_OF_WINDOW);
	tc_tx_none(&c);
	/* RFC 5961 §3.2: in the window is not enough */
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 100), DROP_BAD_STATE);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	assert_int_equal(tc_usage(&c).synreqs, 1);
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 1), DROP_NONE);
	assert_int_equal(tc_usage(&c).synreqs, 0);
	assert_int_equal(ts_mib(&c.t, MIB_Tcp_AttemptFails), 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_EmbryonicRsts), 1);
	tc_close(&c);
}

static void test_tcp_synreq_other_syn_challenged(void **state)
{
	(void)state;
	open_listener(NULL, 8);
	half_open();
	/* the peer has restarted and uses the same port */
	assert_int_equal(RX(&c, .flags = TH_SYN, .seq = 5000), DROP_BAD_STATE);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	assert_int_equal(RX(&c, .flags = TH_SYN, .seq = 0x40000000), DROP_OUT_OF_WINDOW);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 1), DROP_NONE);
	assert_int_equal(RX(&c, .flags = TH_SYN, .seq = 5000), DROP_NONE);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 5001);
	tc_close(&c);
}

static void test_tcp_synreq_paws(void **state)
{
	(void)state;
	c.ts = true;
	open_listener(NULL, 8);
	half_open();
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .ts_val = 4999), DROP_PAWS);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	assert_int_equal(RX(&c, .flags = TH_SYN, .ts_val = 4999), DROP_PAWS);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_PAWSEstab), 2);
	assert_int_equal(tc_usage(&c).synreqs, 1);
	tc_close(&c);
}

static void test_tcp_synreq_challenges_are_limited(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.limits.tcp_challenge_ack_limit = 2;
	open_listener(&cfg, 8);
	half_open();
	for (uint32_t i = 0; i < 2; i++) {
		assert_int_equal(RX(&c, .flags = TH_RST, .seq = 100), DROP_BAD_STATE);
		TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	}
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 100), DROP_RATE_LIMIT);
	tc_tx_none(&c);
	tc_close(&c);
}

/* ---- TCP_DEFER_ACCEPT ---- */

static void test_tcp_defer_accept_waits_for_data(void **state)
{
	(void)state;
	open_listener(NULL, 8);
	assert_int_equal(tcp_listen_opt(c.t.s, c.listener, TOPT_DEFER_ACCEPT, 5), 0);
	half_open();
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_NONE);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &c.conn), -E_AGAIN);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPDeferAcceptDrop), 1);
	/* it has answered: nothing is sent again while data is awaited */
	ts_advance(&c.t, 2500);
	tc_tx_none(&c);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 10), DROP_NONE);
	accept_it();
	tc_recv(&c, 10);
	tc_tx_all(&c);
	tc_close(&c);
}

static void test_tcp_defer_accept_time_over_ack_establishes(void **state)
{
	(void)state;
	open_listener(NULL, 8);
	assert_int_equal(tcp_listen_opt(c.t.s, c.listener, TOPT_DEFER_ACCEPT, 5), 0);
	half_open();
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_NONE);
	/* 5 s are covered by 3 timeouts (1 + 2 + 4): the last one asks the peer again */
	ts_advance(&c.t, 6900);
	tc_tx_none(&c);
	ts_advance(&c.t, 200);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_NONE);
	accept_it();
	tc_close(&c);
}

/* From where no route leads back nothing is kept, either. */
static void test_tcp_syn_without_a_way_back_is_dropped(void **state)
{
	struct spec x = {TCP_PKT, .src = FAR_IP, .sport = PEER_PORT, .dport = OUR_PORT,
			 .flags = TH_SYN};

	(void)state;
	open_listener(NULL, 8);
	assert_int_equal(ts_event(&c.t, (struct net_event){.kind = NET_ROUTE_DEL,
							   .addr = ip("0.0.0.0"),
							   .gw = ip(GW_IP)}),
			 0);
	assert_int_not_equal(ts_rx(&c.t, &x), DROP_NONE);
	assert_int_equal(tc_usage(&c).synreqs, 0);
	ts_expect_none(&c.t);
	tc_close(&c);
}

/* ---- from another stack ---- */

static void test_tcp_rescued_request_completes(void **state)
{
	struct synreq r;

	(void)state;
	c.ts = true;
	open_listener(NULL, 1);
	half_open();
	r = c.t.s->synreqs[0];
	assert_int_equal(stack_rescue_synreq(c.t.s, c.listener, &r, c.t.now), -E_ADDRINUSE);
	synreq_drop(c.t.s, 0);
	assert_int_equal(stack_rescue_synreq(c.t.s, c.listener + 1, &r, c.t.now), -E_BADMSG);
	assert_int_equal(stack_rescue_synreq(c.t.s, c.listener, &r, c.t.now), 0);
	ts_check(&c.t);
	assert_int_equal(c.t.s->synreqs[0].sent, 0);
	r.a.remote_port++;
	assert_int_equal(stack_rescue_synreq(c.t.s, c.listener, &r, c.t.now), -E_NOSPC);
	/* The SYN-ACK again, which is the other stack's but for the time; then the third ACK. */
	ts_advance(&c.t, 1001);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_NONE);
	accept_it();
	assert_int_equal(tc_tcb(&c)->ts_offset, r.ts_offset);
	assert_int_equal(tc_tcb(&c)->srtt, 0);
	tc_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_tcp_syn_answered_with_options, setup),
		cmocka_unit_test_setup(test_tcp_syn_without_options, setup),
		cmocka_unit_test_setup(test_tcp_syn_options_switched_off, setup),
		cmocka_unit_test_setup(test_tcp_syn_timestamps_are_offset_per_pair, setup),
		cmocka_unit_test_setup(test_tcp_listen_not_a_syn, setup),
		cmocka_unit_test_setup(test_tcp_syn_repeated_answered_again, setup),
		cmocka_unit_test_setup(test_tcp_synack_retransmitted_then_given_up, setup),
		cmocka_unit_test_setup(test_tcp_syn_queue_bounds, setup),
		cmocka_unit_test_setup(test_tcp_syn_pool_exhausted_drops, setup),
		cmocka_unit_test_setup(test_tcp_third_ack_no_tcb_request_stays, setup),
		cmocka_unit_test_setup(test_tcp_third_ack_with_data_and_fin_delivers, setup),
		cmocka_unit_test_setup(test_tcp_third_ack_lost_data_establishes, setup),
		cmocka_unit_test_setup(test_tcp_third_ack_bad_ack_resets, setup),
		cmocka_unit_test_setup(test_tcp_synreq_out_of_window_is_told_where_we_are, setup),
		cmocka_unit_test_setup(test_tcp_synreq_rst, setup),
		cmocka_unit_test_setup(test_tcp_synreq_other_syn_challenged, setup),
		cmocka_unit_test_setup(test_tcp_synreq_paws, setup),
		cmocka_unit_test_setup(test_tcp_synreq_challenges_are_limited, setup),
		cmocka_unit_test_setup(test_tcp_defer_accept_waits_for_data, setup),
		cmocka_unit_test_setup(test_tcp_defer_accept_time_over_ack_establishes, setup),
		cmocka_unit_test_setup(test_tcp_syn_without_a_way_back_is_dropped, setup),
		cmocka_unit_test_setup(test_tcp_rescued_request_completes, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
