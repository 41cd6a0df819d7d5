/* SPDX-License-Identifier: BSD-2-Clause */
/* tcp_in.c: segment arrival in the order of RFC 9293 §3.10.7.4, RFC 5961, PAWS, demultiplexing. */
#include "lib_tcp.h"

static struct conv c;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	return 0;
}

/* ---- sequence number ---- */

static void test_tcp_established_old_data_acked(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 100);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 101);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 100),
			 DROP_OUT_OF_WINDOW);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 101);
	/* half old: the new half is taken */
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 51, .ack = 1, .len = 100), DROP_NONE);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 151);
	tc_recv(&c, 150);
	tc_close(&c);
}

static void test_tcp_established_beyond_window_cut(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.limits.tcp_rmem[1] = cfg.limits.tcp_rmem[2] = 4000; /* a window of 2000 */
	tc_accept(&c, &cfg);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 2002, .ack = 1, .len = 10),
			 DROP_OUT_OF_WINDOW);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	assert_int_equal(RX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 1, .len = 2500),
			 DROP_NONE);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 2001, .wnd = ZERO_WND);
	tc_state(&c, TCP_ESTABLISHED); /* the FIN was outside */
	tc_recv(&c, 2000);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 2001, .wnd = 2000);
	tc_close(&c);
}

static void test_tcp_established_keepalive_answered_rate_limited(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	for (int i = 0; i < 5; i++)
		assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 0, .ack = 1), DROP_OUT_OF_WINDOW);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	tc_tx_none(&c);
	RX(&c, .flags = TH_ACK, .seq = 0, .ack = 1);
	tc_tx_none(&c);
	ts_advance(&c.t, 200);
	RX(&c, .flags = TH_ACK, .seq = 0, .ack = 1);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	tc_close(&c);
}

/* ---- RST, SYN, ACK (RFC 5961) ---- */

/* RFC 5961 §3.2/1, §3.2/3 */
static void test_tcp_established_rst_in_window_challenged(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 2), DROP_BAD_STATE);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 100000), DROP_OUT_OF_WINDOW);
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 0), DROP_OUT_OF_WINDOW);
	tc_tx_none(&c);
	tc_state(&c, TCP_ESTABLISHED);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPChallengeACK), 1);
	tc_close(&c);
}

/* RFC 5961 §4.2/1 */
static void test_tcp_established_syn_challenged(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_SYN, .seq = 1);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	RX(&c, .flags = TH_SYN, .seq = 1000000);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	tc_state(&c, TCP_ESTABLISHED);
	tc_close(&c);
}

/* RFC 5961 §5.2/1 */
static void test_tcp_established_ack_out_of_range_challenged(void **state)
{
	(void)state;
	c.wnd = 1000;
	tc_accept(&c, NULL);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 2), DROP_BAD_ACK);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1u - 1001, .len = 5),
			 DROP_BAD_ACK);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	/* an old one: its text counts */
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1u - 900, .len = 5), DROP_NONE);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 6);
	assert_int_equal(RX(&c, .flags = TH_PSH, .seq = 6, .len = 5), DROP_BAD_STATE);
	tc_recv(&c, 5);
	tc_close(&c);
}

/* RFC 5961 §7/1 */
static void test_tcp_challenge_acks_are_limited(void **state)
{
	struct stack_cfg cfg = ts_cfg();
	uint32_t n = 0;

	(void)state;
	cfg.limits.tcp_challenge_ack_limit = 3;
	tc_accept(&c, &cfg);
	for (int i = 0; i < 10; i++) {
		n += RX(&c, .flags = TH_SYN, .seq = 1) == DROP_RATE_LIMIT;
		tc_tx_all(&c);
	}
	assert_int_equal(n, 7);
	tc_close(&c);
}

static void test_tcp_established_out_of_window_ack_is_answered_at_times(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	for (int i = 0; i < 3; i++)
		RX(&c, .flags = TH_ACK, .seq = 1000000, .ack = 1);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	tc_tx_none(&c);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPACKSkippedSeq), 2);
	tc_close(&c);
}

/* ---- timestamps (RFC 7323) ---- */

/* RFC 7323 §5.3/1, §5.3/2 */
static void test_tcp_established_old_timestamp_rejected(void **state)
{
	(void)state;
	c.ts = true;
	tc_accept(&c, NULL);
	c.ts_val = 6000;
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 10);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 11);
	assert_int_equal(c.opt.ts_ecr, 6000);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 11, .ack = 1, .len = 10, .ts_val = 5999),
			 DROP_PAWS);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 11);
	/* reordered pure ACK: no answer */
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 11, .ack = 1, .ts_val = 5999), DROP_PAWS);
	tc_tx_none(&c);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_PAWSEstab), 2);
	/* Linux tells those apart that text has overtaken. */
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .ts_val = 5999), DROP_PAWS);
	tc_tx_none(&c);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_PAWSEstab), 2);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_PAWSOldAck), 1);
	/* RST is not subject to it */
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 11, .ts_val = 5999), DROP_NONE);
	tc_state(&c, TCP_CLOSED);
	tc_close(&c);
}

/* RFC 7323 §4.3/1 */
static void test_tcp_established_timestamp_of_left_edge_echoed(void **state)
{
	(void)state;
	c.ts = true;
	tc_accept(&c, NULL);
	c.ts_val = 6000;
	RX(&c, .flags = TH_ACK, .seq = 11, .ack = 1, .len = 10); /* beyond a hole */
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	assert_int_equal(c.opt.ts_ecr, 5000);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 10, .ts_val = 5500);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 21);
	assert_int_equal(c.opt.ts_ecr, 5500);
	tc_close(&c);
}

/* RFC 7323 §5.5/1 */
static void test_tcp_established_ancient_timestamp_accepted(void **state)
{
	(void)state;
	c.ts = true;
	tc_accept(&c, NULL);
	c.t.now.ns += 24ull * 24 * 3600 * NS_PER_S - NS_PER_MS;
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 10, .ts_val = 4000),
			 DROP_PAWS);
	tc_tx_all(&c);
	c.t.now.ns += NS_PER_MS;
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 10, .ts_val = 4000),
			 DROP_NONE);
	tc_recv(&c, 10);
	tc_close(&c);
}

/* ---- header prediction ---- */

static void test_tcp_established_in_order_predicted(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 100);
	RX(&c, .flags = TH_ACK, .seq = 101, .ack = 1, .len = 100);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPHPHits), 2);
	tc_tx_all(&c);
	tc_send(&c, 50);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 201, .len = 50);
	RX(&c, .flags = TH_ACK, .seq = 201, .ack = 51);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPPureAcks), 1);
	assert_int_equal(tcp_unsent_bytes(c.t.s, c.conn), 0);
	tc_close(&c);
}

/* ---- to whom ---- */

static void test_tcp_no_socket_reset(void **state)
{
	(void)state;
	tc_open(&c, NULL);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 5, .ack = 77), DROP_NO_SOCKET);
	TX(&c, .flags = TH_RST, .seq = 77);
	assert_int_equal(RX(&c, .flags = TH_SYN | TH_FIN, .seq = 5, .len = 3), DROP_NO_SOCKET);
	TX(&c, .flags = TH_RST | TH_ACK, .ack = 10);
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 5), DROP_NO_SOCKET);
	tc_tx_none(&c);
	assert_int_equal(ts_mib(&c.t, MIB_Tcp_OutRsts), 2);
	tc_close(&c);
}

static void test_tcp_app_unknown_is_stale_and_silent(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.role = STACK_APP;
	ts_open(&c.t, &cfg);
	c.lport = OUR_PORT;
	c.rport = PEER_PORT;
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 5, .ack = 77), DROP_STALE_FLOW);
	tc_tx_none(&c);
	tc_close(&c);
}

/* ---- ICMP ---- */

static struct tcp_addr_pair pair(void)
{
	return tcb_pair(tc_tcb(&c));
}

static void test_tcp_icmp_fragmentation_needed_lowers_mss(void **state)
{
	struct tcp_addr_pair a;

	(void)state;
	tc_accept(&c, NULL);
	a = pair();
	tc_send(&c, 1460);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 1460);
	tcp_icmp(c.t.s, &a, c.iss + 5000, E_MSGSIZE, 1000, c.t.now);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_OutOfWindowIcmps), 1);
	tc_tx_none(&c);
	tcp_icmp(c.t.s, &a, c.iss + 1, E_MSGSIZE, 1000, c.t.now);
	ts_check(&c.t);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 960);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 961, .ack = 1, .len = 500);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_OPEN);
	tc_close(&c);
}

/* The interface itself takes less, as of now: nobody will say that what is under way was too long. */
static void test_tcp_link_mtu_lowered(void **state)
{
	struct net_event link = {.kind = NET_LINK_UP, .mtu = 1000};

	(void)state;
	for (int outstanding = 0; outstanding < 2; outstanding++) {
		setup(NULL);
		tc_accept(&c, NULL);
		if (outstanding) {
			tc_send(&c, 1460);
			TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 1460);
		}
		memcpy(link.mac, our_mac, 6);
		link.netif = 1; /* not its own */
		link.mtu = 1000;
		assert_int_equal(ts_event(&c.t, link), 0);
		link.mtu = 600;
		assert_int_equal(ts_event(&c.t, link), 0);
		assert_int_equal(tc_tcb(&c)->mss, 1460);
		tc_tx_none(&c);
		link.netif = 0;
		link.mtu = 1000;
		assert_int_equal(ts_event(&c.t, link), 0);
		assert_int_equal(tc_tcb(&c)->mss, 960);
		if (!outstanding) {
			assert_int_equal(tc_tcb(&c)->work, 0); /* not touched for that */
			tc_tx_none(&c);
			tc_send(&c, 1460);
		}
		TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 960);
		TX(&c, .flags = TH_ACK | TH_PSH, .seq = 961, .ack = 1, .len = 500);
		assert_int_equal(tc_tcb(&c)->cc_state, CC_OPEN);
		/* More again: what is known of paths stays. */
		link.mtu = 1500;
		assert_int_equal(ts_event(&c.t, link), 0);
		assert_int_equal(tc_tcb(&c)->mss, 960);
		tc_close(&c);
	}
}

static uint32_t mss_after_rto(const uint8_t *dmac)
{
	ts_advance(&c.t, (tc_tcb(&c)->rto << tc_tcb(&c)->backoff) / 1000 + 10);
	assert_true(tc_take(&c));
	assert_memory_equal(c.o.dmac, dmac, 6);
	while (tc_take(&c))
		assert_true(c.o.len <= tc_tcb(&c)->mss);
	ts_check(&c.t);
	return tc_tcb(&c)->mss;
}

/* As Linux, where what a router said is kept with the way, and the MSS follows the one in use. */
static void test_tcp_another_way_has_an_mtu_of_its_own(void **state)
{
	static const uint8_t hop_mac[6] = {2, 0, 0, 0, 0, 77}, far_mac[6] = {2, 0, 0, 0, 0, 78};
	struct net_event route = {.kind = NET_ROUTE_ADD, .addr = ip(PEER_IP), .plen = 32};
	struct net_event link = {.kind = NET_LINK_UP, .netif = 1, .mtu = 600, .mac = {2, 9}};
	struct net_event far = {.kind = NET_NEIGH_SET, .netif = 1, .addr = ip(PEER_IP)};
	struct tcp_addr_pair a;

	(void)state;
	tc_accept(&c, NULL);
	a = pair();
	tc_send(&c, 3000);
	while (tc_take(&c))
		;
	tcp_icmp(c.t.s, &a, c.iss + 1, E_MSGSIZE, 1000, c.t.now);
	while (tc_take(&c))
		;
	assert_int_equal(mss_after_rto(peer_mac), 960);
	route.gw = ip("10.0.0.77");
	assert_int_equal(ts_event(&c.t, route), 0);
	ts_neigh(&c.t, "10.0.0.77", hop_mac);
	assert_int_equal(mss_after_rto(hop_mac), 1460);
	tcp_icmp(c.t.s, &a, c.iss + 1, E_MSGSIZE, 1000, c.t.now);
	while (tc_take(&c))
		;
	assert_int_equal(mss_after_rto(hop_mac), 960);

	assert_int_equal(ts_event(&c.t, link), 0);
	route.kind = NET_ROUTE_DEL;
	assert_int_equal(ts_event(&c.t, route), 0);
	route = (struct net_event){
		.kind = NET_ROUTE_ADD, .netif = 1, .addr = ip(PEER_IP), .plen = 32};
	assert_int_equal(ts_event(&c.t, route), 0);
	memcpy(far.mac, far_mac, 6);
	far.permanent = true;
	assert_int_equal(ts_event(&c.t, far), 0);
	assert_int_equal(mss_after_rto(far_mac), 560);
	route.kind = NET_ROUTE_DEL;
	assert_int_equal(ts_event(&c.t, route), 0);
	assert_int_equal(mss_after_rto(peer_mac), 1460);
	tc_close(&c);
}

/* A timeout onto a way that takes less, with nobody there yet: nothing more is to be done at once.
 */
static void test_tcp_another_way_is_waited_for(void **state)
{
	struct net_event link = {.kind = NET_LINK_UP, .netif = 1, .mtu = 600, .mac = {2, 9}};
	struct net_event route = {
		.kind = NET_ROUTE_ADD, .netif = 1, .addr = ip(PEER_IP), .plen = 32};
	struct out o;

	(void)state;
	tc_accept(&c, NULL);
	tc_send(&c, 1460);
	assert_true(tc_take(&c));
	assert_int_equal(ts_event(&c.t, link), 0);
	assert_int_equal(ts_event(&c.t, route), 0);
	stack_resolve(c.t.s, &route.addr, c.t.now); /* it has been asked already */
	while (ts_tx(&c.t, &o))
		;
	tc_events(&c);
	ts_advance(&c.t, tc_tcb(&c)->rto / 1000 + 10);
	while (ts_tx(&c.t, &o))
		;
	assert_int_equal(tc_tcb(&c)->mss, 560);
	assert_true(mtime_before(c.t.now, stack_deadline(c.t.s)));
	tc_close(&c);
}

static void test_tcp_syn_sent_icmp_error_fails(void **state)
{
	struct tcp_addr_pair a;

	(void)state;
	tc_connect_syn(&c, NULL);
	a = pair();
	tcp_icmp(c.t.s, &a, c.iss + 1, E_CONNREFUSED, 0, c.t.now); /* not what was sent */
	tc_state(&c, TCP_SYN_SENT);
	tcp_icmp(c.t.s, &a, c.iss, E_CONNREFUSED, 0, c.t.now);
	tc_state(&c, TCP_CLOSED);
	assert_int_equal(tcp_error(c.t.s, c.conn), E_CONNREFUSED);
	tc_close(&c);
}

/* RFC 9293 MUST-56 */
static void test_tcp_established_icmp_hard_error_ignored(void **state)
{
	struct tcp_addr_pair a;

	(void)state;
	tc_accept(&c, NULL);
	a = pair();
	tc_send(&c, 10);
	tc_tx_all(&c);
	tcp_icmp(c.t.s, &a, c.iss + 1, E_CONNREFUSED, 0, c.t.now);
	tc_state(&c, TCP_ESTABLISHED);
	tc_close(&c);
}

/* RFC 5927 §7.2: a path that carries less is believed down to 552 bytes, Linux's min_pmtu. */
static void test_tcp_icmp_mtu_has_a_least(void **state)
{
	static const struct {
		uint32_t told, mss;
	} v[] = {{9000, 1460}, {1500, 1460}, {1000, 960}, {1400, 960}, {552, 512}, {68, 512}};
	struct tcp_addr_pair a;

	(void)state;
	tc_accept(&c, NULL);
	a = (struct tcp_addr_pair){tc_tcb(&c)->local, tc_tcb(&c)->remote, tc_tcb(&c)->local_port,
				   tc_tcb(&c)->remote_port};
	tc_send(&c, 1460);
	tc_tx_all(&c);
	for (uint32_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		tcp_icmp(c.t.s, &a, c.iss + 1, E_MSGSIZE, v[i].told, c.t.now);
		ts_check(&c.t);
		assert_int_equal(tc_tcb(&c)->mss, v[i].mss);
		tc_tx_all(&c);
	}
	tc_state(&c, TCP_ESTABLISHED);
	tc_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_tcp_established_old_data_acked, setup),
		cmocka_unit_test_setup(test_tcp_established_beyond_window_cut, setup),
		cmocka_unit_test_setup(test_tcp_established_keepalive_answered_rate_limited, setup),
		cmocka_unit_test_setup(test_tcp_established_rst_in_window_challenged, setup),
		cmocka_unit_test_setup(test_tcp_established_syn_challenged, setup),
		cmocka_unit_test_setup(test_tcp_established_ack_out_of_range_challenged, setup),
		cmocka_unit_test_setup(test_tcp_challenge_acks_are_limited, setup),
		cmocka_unit_test_setup(test_tcp_established_old_timestamp_rejected, setup),
		cmocka_unit_test_setup(test_tcp_established_timestamp_of_left_edge_echoed, setup),
		cmocka_unit_test_setup(test_tcp_established_ancient_timestamp_accepted, setup),
		cmocka_unit_test_setup(test_tcp_established_in_order_predicted, setup),
		cmocka_unit_test_setup(test_tcp_no_socket_reset, setup),
		cmocka_unit_test_setup(test_tcp_app_unknown_is_stale_and_silent, setup),
		cmocka_unit_test_setup(test_tcp_established_out_of_window_ack_is_answered_at_times,
				       setup),
		cmocka_unit_test_setup(test_tcp_link_mtu_lowered, setup),
		cmocka_unit_test_setup(test_tcp_icmp_fragmentation_needed_lowers_mss, setup),
		cmocka_unit_test_setup(test_tcp_another_way_has_an_mtu_of_its_own, setup),
		cmocka_unit_test_setup(test_tcp_another_way_is_waited_for, setup),
		cmocka_unit_test_setup(test_tcp_syn_sent_icmp_error_fails, setup),
		cmocka_unit_test_setup(test_tcp_established_icmp_hard_error_ignored, setup),
		cmocka_unit_test_setup(test_tcp_icmp_mtu_has_a_least, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
