/* SPDX-License-Identifier: BSD-2-Clause */
/* tcp_out.c: headers, large packets for the device to cut, packet pool, next hop, resets. */
#include "lib_tcp.h"

static struct conv c;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	return 0;
}

/* RFC 9293 MUST-2, MUST-16, MUST-48, MUST-49 */
static void test_tcp_segment_carries_options_tos_ttl_df(void **state)
{
	(void)state;
	c.ts = true;
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_TTL, 3, c.t.now);
	tcp_setopt(c.t.s, c.conn, TOPT_TOS, 0x10, c.t.now);
	tc_send(&c, 1448 + 1);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 1448); /* MSS less timestamps */
	assert_true(c.opt.has_ts);
	assert_int_equal(c.o.ttl, 3);
	assert_int_equal(c.o.tos, 0x10);
	assert_int_equal(c.o.frag, 0x4000);
	assert_int_equal(c.o.queue, 3); /* where the peer's segments arrive */
	assert_memory_equal(c.o.dmac, peer_mac, 6);
	tc_close(&c);
}

/* ---- segmentation offload ---- */

static void open_gso(uint32_t gso_max)
{
	struct stack_cfg cfg = ts_cfg();

	cfg.gso_max = gso_max;
	cfg.csum_offload = true;
	cfg.limits.tcp_wmem[1] = 1 << 20;
	tc_accept(&c, &cfg);
	tc_tcb(&c)->cwnd = 200 * 1460;
}

static void test_tcp_gso_one_packet_for_many_segments(void **state)
{
	struct pkt *p;

	(void)state;
	open_gso(65536);
	tc_send(&c, 60000);
	p = stack_output(c.t.s, c.t.now);
	assert_non_null(p);
	assert_int_equal(p->gso_size, 1460);
	assert_int_equal(p->hdr_len, 54);
	assert_int_equal(p->frag[0].len, 54);
	assert_int_equal(p->len, 54 + 60000); /* the last segment may be short */
	assert_int_equal(p->csum, PKT_CSUM_PARTIAL);
	assert_int_equal(p->frag[1].frame, SHM_NIL);
	pkt_free(&c.t.pool, p);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPOrigDataSent), 42);
	tc_close(&c);
}

static void test_tcp_gso_bytes_are_the_streams(void **state)
{
	(void)state;
	open_gso(65536);
	tc_send(&c, 300000);
	while (ts_tx(&c.t, &c.o))
		assert_true(c.o.len <= 65536);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1 + 3 * 1460 + 77);
	assert_true(tc_tx_all(&c) > 0); /* compares, from the middle of a chunk on */
	tc_close(&c);
}

static void test_tcp_gso_retransmits_one_segment(void **state)
{
	(void)state;
	open_gso(65536);
	tc_send(&c, 14600);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 14600);
	for (int i = 0; i < 3; i++)
		RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 1460);
	tc_tx_none(&c);
	tc_close(&c);
}

/* From now on the peer is behind a gateway that has not been heard of yet. */
static void move_behind(const char *gw)
{
	ts_event(&c.t,
		 (struct net_event){.kind = NET_ROUTE_DEL, .addr = ip("0.0.0.0"), .gw = ip(GW_IP)});
	ts_event(&c.t,
		 (struct net_event){
			 .kind = NET_ROUTE_ADD, .addr = ip(PEER_IP), .plen = 32, .gw = ip(gw)});
	tc_tcb(&c)->neigh = SHM_NIL;
}

static void test_tcp_gso_waits_for_neighbour_in_segments(void **state)
{
	(void)state;
	open_gso(65536);
	move_behind("10.0.0.9");
	tc_send(&c, 5 * 1460);
	ts_expect_arp(&c.t, "10.0.0.9", bcast_mac);
	ts_neigh(&c.t, "10.0.0.9", gw_mac);
	for (uint32_t i = 0; i < 4; i++)
		TX(&c, .flags = TH_ACK, .seq = 1 + 1460 * i, .ack = 1, .len = 1460);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 5841, .ack = 1, .len = 1460);
	assert_memory_equal(c.o.dmac, gw_mac, 6);
	tc_close(&c);
}

/* ---- pool ---- */

static void test_tcp_empty_pool_only_delays(void **state)
{
	struct pkt *all;

	(void)state;
	tc_accept(&c, NULL);
	tc_send(&c, 100);
	all = c.t.pool.free;
	c.t.pool.free = NULL;
	assert_null(stack_output(c.t.s, c.t.now));
	assert_true(stack_wants_output(c.t.s));
	ts_check(&c.t);
	tcp_abort(c.t.s, c.conn, c.t.now);
	assert_null(stack_output(c.t.s, c.t.now));
	ts_check(&c.t);
	c.t.pool.free = all;
	TX(&c, .flags = TH_RST | TH_ACK, .seq = 1, .ack = 1);
	tc_close(&c);
}

/* ---- next hop ---- */

static void test_tcp_neighbour_moves_segments_follow(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	ts_neigh(&c.t, PEER_IP, gw_mac);
	tc_send(&c, 10);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 10);
	assert_memory_equal(c.o.dmac, gw_mac, 6);
	tc_close(&c);
}

static void test_tcp_no_route_loses_segment(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	ts_event(&c.t, (struct net_event){.kind = NET_NEIGH_DEL, .addr = ip(PEER_IP)});
	ts_event(&c.t,
		 (struct net_event){.kind = NET_ROUTE_DEL, .addr = ip("10.0.0.0"), .plen = 24});
	ts_event(&c.t,
		 (struct net_event){.kind = NET_ROUTE_DEL, .addr = ip("0.0.0.0"), .gw = ip(GW_IP)});
	tc_tcb(&c)->neigh = SHM_NIL;
	tc_send(&c, 10);
	tc_tx_none(&c);
	assert_true(ts_mib(&c.t, MIB_Ip_OutNoRoutes) > 0);
	ts_event(&c.t,
		 (struct net_event){.kind = NET_ROUTE_ADD, .addr = ip("10.0.0.0"), .plen = 24});
	ts_neigh(&c.t, PEER_IP, peer_mac);
	ts_advance(&c.t, 1001);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 10);
	tc_close(&c);
}

/* ---- resets ---- */

static void test_tcp_resets_are_rate_limited(void **state)
{
	uint32_t n = 0;

	(void)state;
	tc_open(&c, NULL);
	for (int i = 0; i < 3000; i++) {
		RX(&c, .flags = TH_ACK, .seq = 5, .ack = 77);
		while (ts_tx(&c.t, &c.o))
			n++;
	}
	assert_int_equal(n, 1000);
	tc_close(&c);
}

/* RFC 4022 tcpOutSegs, tcpRetransSegs; Linux's TCPOrigDataSent: as many as there are on the wire */
static void test_tcp_segments_out_are_counted(void **state)
{
	(void)state;
	open_gso(65536);
	ts_check(&c.t);
	tc_send(&c, 3 * 1460); /* one packet, exactly three segments */
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 3 * 1460);
	assert_int_equal(ts_mib(&c.t, MIB_Tcp_OutSegs), 1 + 3); /* and a SYN-ACK */
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1 + 3 * 1460);
	tc_send(&c, 1461);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 4381, .ack = 1, .len = 1461);
	assert_int_equal(ts_mib(&c.t, MIB_Tcp_OutSegs), 1 + 3 + 2);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPOrigDataSent), 3 + 2);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1 + 3 * 1460 + 1461);
	tcp_shutdown(c.t.s, c.conn, false, true, c.t.now);
	TX(&c, .flags = TH_ACK | TH_FIN, .seq = 5842, .ack = 1);
	assert_int_equal(ts_mib(&c.t, MIB_Tcp_OutSegs), 1 + 3 + 2 + 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPOrigDataSent), 3 + 2 + 1);
	assert_int_equal(ts_mib(&c.t, MIB_Tcp_RetransSegs), 0);
	ts_advance(&c.t, 1100);
	TX(&c, .flags = TH_ACK | TH_FIN, .seq = 5842, .ack = 1);
	assert_int_equal(ts_mib(&c.t, MIB_Tcp_RetransSegs), 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPOrigDataSent), 3 + 2 + 1);
	assert_int_equal(tc_tcb(&c)->segs_out, 3 + 2 + 1 + 1);
	assert_int_equal(tc_tcb(&c)->total_retrans, 1);
	tc_close(&c);

	tc_connect_syn(&c, NULL);
	assert_int_equal(ts_mib(&c.t, MIB_Tcp_OutSegs), 1);
	ts_advance(&c.t, 1001);
	TX(&c, .flags = TH_SYN);
	assert_int_equal(ts_mib(&c.t, MIB_Tcp_OutSegs), 1);
	assert_int_equal(ts_mib(&c.t, MIB_Tcp_RetransSegs), 1);
	tc_close(&c);
}

/* RFC 7323 §2.2: without the option the window is 16 bits, however large the buffer is. */
static void test_tcp_window_without_scale_is_cut(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.limits.tcp_rmem[1] = cfg.limits.tcp_rmem[2] = 4 << 20;
	tc_accept(&c, &cfg);
	assert_int_equal(tc_tcb(&c)->rcv_wscale, 0);
	for (uint32_t i = 0; i < 2; i++) {
		RX(&c, .flags = TH_ACK | TH_PSH, .seq = 1 + i, .ack = 1, .len = 1);
		tc_recv(&c, 1);
		ts_advance(&c.t, 300);
		TX(&c, .flags = TH_ACK, .seq = 1, .ack = 2 + i, .wnd = 65535);
	}
	tc_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_tcp_segment_carries_options_tos_ttl_df, setup),
		cmocka_unit_test_setup(test_tcp_gso_one_packet_for_many_segments, setup),
		cmocka_unit_test_setup(test_tcp_gso_bytes_are_the_streams, setup),
		cmocka_unit_test_setup(test_tcp_gso_retransmits_one_segment, setup),
		cmocka_unit_test_setup(test_tcp_gso_waits_for_neighbour_in_segments, setup),
		cmocka_unit_test_setup(test_tcp_empty_pool_only_delays, setup),
		cmocka_unit_test_setup(test_tcp_neighbour_moves_segments_follow, setup),
		cmocka_unit_test_setup(test_tcp_no_route_loses_segment, setup),
		cmocka_unit_test_setup(test_tcp_resets_are_rate_limited, setup),
		cmocka_unit_test_setup(test_tcp_segments_out_are_counted, setup),
		cmocka_unit_test_setup(test_tcp_window_without_scale_is_cut, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
