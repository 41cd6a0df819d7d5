/* SPDX-License-Identifier: BSD-2-Clause */
/* tcp_connect.c: choice of address and port, initial sequence numbers, what a SYN offers. */
#include "lib_tcp.h"

#define PORT(p) __builtin_bswap16((uint16_t)(p))

static struct conv c;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	return 0;
}

static int do_connect(const char *local, uint16_t lport, const char *remote, uint16_t rport,
		      uint32_t *conn)
{
	struct tcp_addr_pair a = {.local = ip(local),
				  .remote = ip(remote),
				  .local_port = PORT(lport),
				  .remote_port = PORT(rport)};
	int err = tcp_connect(c.t.s, &a, 1, c.t.now, conn);

	ts_check(&c.t);
	return err;
}

static uint16_t port_of(uint32_t conn)
{
	return PORT(tcp_get(c.t.s, conn)->local_port);
}

/* Aborts all, so that nothing is left. */
static void close_all(void)
{
	for (uint32_t i = 0; i < c.t.a.n_tcbs; i++)
		tcp_abort(c.t.s, i, c.t.now);
	tc_close(&c);
}

/* RFC 9293 MUST-44 */
static void test_tcp_connect_fills_in_address_and_port(void **state)
{
	const struct tcb *t;

	(void)state;
	tc_open(&c, NULL);
	assert_int_equal(do_connect(NULL, 0, PEER_IP, 80, &c.conn), 0);
	t = tc_tcb(&c);
	assert_ip(t->local, OUR_IP);
	assert_in_range(port_of(c.conn), 32768, 60999);
	assert_int_equal(t->state, TCP_SYN_SENT);
	assert_int_equal(t->cookie, 1);
	assert_int_equal(t->mss, 1460);
	assert_int_equal(
		t->ts_offset,
		tcp_ts_offset(c.t.s, &(struct tcp_addr_pair){t->local, t->remote, t->local_port,
							     t->remote_port}));
	assert_int_equal(ts_mib(&c.t, MIB_Tcp_ActiveOpens), 1);
	close_all();
}

/* RFC 9293 MUST-46 */
static void test_tcp_connect_bad_addresses(void **state)
{
	uint32_t conn;

	(void)state;
	tc_open(&c, NULL);
	assert_int_equal(do_connect("10.0.0.77", 0, PEER_IP, 80, &conn), -E_ADDRNOTAVAIL);
	assert_int_equal(do_connect(NULL, 0, "10.0.0.255", 80, &conn), -E_NETUNREACH);
	assert_int_equal(do_connect(NULL, 0, "224.0.0.1", 80, &conn), -E_NETUNREACH);
	assert_int_equal(ts_event(&c.t, (struct net_event){.kind = NET_ROUTE_DEL,
							   .addr = ip("0.0.0.0"),
							   .gw = ip(GW_IP)}),
			 0);
	assert_int_equal(do_connect(NULL, 0, FAR_IP, 80, &conn), -E_NETUNREACH);
	tc_close(&c);
}

/* RFC 6056 §3.3/1 */
static void test_tcp_connect_ports_differ(void **state)
{
	uint16_t last = 0;
	uint32_t conn, neighbours = 0;

	(void)state;
	tc_open(&c, NULL);
	/* to one destination they follow each other, to others they start elsewhere */
	for (uint32_t i = 0; i < 20; i++) {
		assert_int_equal(do_connect(NULL, 0, PEER_IP, (uint16_t)(80 + i), &conn), 0);
		neighbours += port_of(conn) == last + 1;
		last = port_of(conn);
	}
	assert_true(neighbours < 3);
	for (uint32_t i = 0; i < 5; i++) {
		last = port_of(conn);
		assert_int_equal(do_connect(NULL, 0, PEER_IP, 99, &conn), 0);
		assert_int_equal(port_of(conn), last == 60999 ? 32768 : last + 1);
	}
	close_all();
}

static void test_tcp_connect_port_serves_many_destinations(void **state)
{
	struct stack_cfg cfg = ts_cfg();
	uint32_t conn;

	(void)state;
	cfg.limits.port_lo = cfg.limits.port_hi = 40000;
	tc_open(&c, &cfg);
	assert_int_equal(do_connect(NULL, 0, PEER_IP, 80, &conn), 0);
	assert_int_equal(do_connect(NULL, 0, PEER_IP, 81, &conn), 0);
	assert_int_equal(do_connect(NULL, 0, FAR_IP, 80, &conn), 0);
	assert_int_equal(port_of(conn), 40000);
	assert_int_equal(do_connect(NULL, 0, PEER_IP, 80, &conn), -E_ADDRNOTAVAIL);
	close_all();
}

/* RFC 6056 §3.2/1 */
static void test_tcp_connect_all_ports_of_a_range_are_used(void **state)
{
	struct stack_cfg cfg = ts_cfg();
	uint32_t seen = 0, conn, id;

	(void)state;
	cfg.limits.port_lo = 40000;
	cfg.limits.port_hi = 40007;
	tc_open(&c, &cfg);
	/* not a listener's */
	assert_int_equal(tcp_listen(c.t.s, &(struct ip_addr){0}, PORT(40003), 1, 0, &id), 0);
	while (!do_connect(NULL, 0, PEER_IP, 80, &conn))
		seen |= 1u << (port_of(conn) - 40000);
	assert_int_equal(seen, 0xf7);
	assert_int_equal(do_connect(NULL, 0, PEER_IP, 80, &conn), -E_ADDRNOTAVAIL);
	close_all();
}

/* RFC 9293 MUST-43 */
static void test_tcp_connect_given_port(void **state)
{
	uint32_t conn, id;

	(void)state;
	tc_open(&c, NULL);
	assert_int_equal(do_connect(OUR_IP, 7, PEER_IP, 80, &conn), 0);
	assert_int_equal(port_of(conn), 7);
	assert_int_equal(do_connect(OUR_IP, 7, PEER_IP, 80, &conn), -E_ADDRNOTAVAIL);
	assert_int_equal(do_connect(OUR_IP, 7, PEER_IP, 81, &conn), 0);
	assert_int_equal(tcp_listen(c.t.s, &(struct ip_addr){0}, PORT(8), 1, 0, &id), 0);
	assert_int_equal(do_connect(OUR_IP, 8, PEER_IP, 80, &conn), -E_ADDRINUSE);
	close_all();
}

static void test_tcp_connect_no_tcb_no_buffers(void **state)
{
	uint32_t conn;

	(void)state;
	tc_open(&c, NULL);
	for (uint32_t i = 0; i < c.t.a.n_tcbs; i++)
		assert_int_equal(do_connect(NULL, 0, PEER_IP, 80, &conn), 0);
	assert_int_equal(do_connect(NULL, 0, PEER_IP, 80, &conn), -E_NOBUFS);
	close_all();
}

static void test_tcp_pick_port_gives_others(void **state)
{
	struct tcp_addr_pair a = {.remote = ip(PEER_IP), .remote_port = PORT(80)};
	struct stack_cfg cfg = ts_cfg();
	uint32_t seen = 0;
	uint16_t port;

	(void)state;
	cfg.limits.port_lo = 40000;
	cfg.limits.port_hi = 40007;
	tc_open(&c, &cfg);
	for (uint32_t i = 0; i < 8; i++) {
		assert_int_equal(tcp_pick_port(c.t.s, &a, i, &port), 0);
		seen |= 1u << (PORT(port) - 40000);
	}
	assert_int_equal(seen, 0xff);
	assert_int_equal(tcp_pick_port(c.t.s, &a, 8, &port), -E_ADDRNOTAVAIL);
	a.remote = ip("2001:db8::1");
	assert_true(tcp_pick_port(c.t.s, &a, 0, &port) < 0);
	tc_close(&c);
}

/* ---- TIME_WAIT of the same pair ---- */

static void close_into_time_wait(const struct stack_cfg *cfg)
{
	tc_connect(&c, cfg, 10);
	tcp_close(c.t.s, c.conn, c.t.now);
	TX(&c, .flags = TH_FIN | TH_ACK, .seq = 1, .ack = 1);
	RX(&c, .flags = TH_FIN | TH_ACK, .seq = 1, .ack = 2);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 2);
}

static void test_tcp_connect_pair_in_time_wait(void **state)
{
	uint32_t conn;

	(void)state;
	c.ts = true;
	close_into_time_wait(NULL);
	assert_int_equal(do_connect(NULL, c.lport, PEER_IP, OUR_PORT, &conn), -E_ADDRNOTAVAIL);
	ts_advance(&c.t, 61000);
	assert_int_equal(do_connect(NULL, c.lport, PEER_IP, OUR_PORT, &conn), 0);
	close_all();
}

static void test_tcp_connect_tw_reuse_by_timestamps(void **state)
{
	struct stack_cfg cfg = ts_cfg();
	uint32_t old;

	(void)state;
	cfg.limits.tcp_tw_reuse = 1;
	c.ts = true;
	close_into_time_wait(&cfg);
	old = c.iss;
	tc_events(&c);
	assert_int_equal(do_connect(NULL, c.lport, PEER_IP, OUR_PORT, &c.conn), 0);
	assert_int_equal(tc_tcb(&c)->iss, old + 2 + 65537);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TWRecycled), 1);
	TX(&c, .flags = TH_SYN);
	close_all();
}

static void test_tcp_connect_tw_reuse_not_without_timestamps(void **state)
{
	struct stack_cfg cfg = ts_cfg();
	uint32_t conn;

	(void)state;
	cfg.limits.tcp_tw_reuse = 1;
	close_into_time_wait(&cfg);
	assert_int_equal(do_connect(NULL, c.lport, PEER_IP, OUR_PORT, &conn), -E_ADDRNOTAVAIL);
	tc_close(&c);
}

/* ---- numbers ---- */

/* RFC 9293 MUST-8, MUST-9; RFC 6528 §3/1 */
static void test_tcp_isn_follows_clock_and_pair(void **state)
{
	struct tcp_addr_pair a = {.local = ip(OUR_IP),
				  .remote = ip(PEER_IP),
				  .local_port = PORT(1),
				  .remote_port = PORT(2)},
			     b = a;
	struct stack_cfg cfg = ts_cfg();
	uint32_t isn;

	(void)state;
	b.remote_port = PORT(3);
	tc_open(&c, NULL);
	isn = tcp_isn(c.t.s, &a, c.t.now);
	assert_int_equal(tcp_isn(c.t.s, &a, c.t.now), isn);
	assert_int_equal(tcp_isn(c.t.s, &a, mtime_add_us(c.t.now, 4000)), isn + 1000);
	assert_int_not_equal(tcp_isn(c.t.s, &b, c.t.now), isn);
	assert_int_not_equal(tcp_ts_offset(c.t.s, &a), tcp_ts_offset(c.t.s, &b));
	tc_close(&c);
	/* another key, other numbers */
	cfg.key[0]++;
	tc_open(&c, &cfg);
	assert_int_not_equal(tcp_isn(c.t.s, &a, c.t.now), isn);
	tc_close(&c);
}

/* RFC 9293 MUST-67 */
static void test_tcp_mtu_mss(void **state)
{
	struct ip_addr v4 = ip(PEER_IP), v6 = ip("2001:db8::1");

	(void)state;
	assert_int_equal(tcp_mtu_mss(1500, &v4), 1460);
	assert_int_equal(tcp_mtu_mss(1500, &v6), 1440);
	assert_int_equal(tcp_mtu_mss(68, &v4), TCP_MSS_MIN);
	assert_int_equal(tcp_mtu_mss(0, &v4), TCP_MSS_MIN);
	assert_int_equal(tcp_mtu_mss(65536, &v4),
			 65495); /* of lo: a packet has at most 65535 bytes */
}

static void test_tcp_offer_wscale(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	tc_open(&c, &cfg);
	assert_int_equal(tcp_offer_wscale(c.t.s, 131072), 10); /* tcp_rmem[2] is 32 MiB */
	assert_int_equal(tcp_offer_wscale(c.t.s, 1u << 31), TCP_WSCALE_MAX);
	tc_close(&c);
	cfg.limits.tcp_rmem[2] = 60000;
	tc_open(&c, &cfg);
	assert_int_equal(tcp_offer_wscale(c.t.s, 4096), 0);
	assert_int_equal(tcp_offer_wscale(c.t.s, 65536), 1);
	tc_close(&c);
	cfg.limits.tcp_window_scaling = 0;
	tc_open(&c, &cfg);
	assert_int_equal(tcp_offer_wscale(c.t.s, 1u << 31), 0);
	tc_close(&c);
}

/* Who asks for a port before it asks for the connection is told of one that is free to that peer.
 */
static void test_tcp_pick_port_knows_what_is_taken(void **state)
{
	struct tcp_addr_pair a = {.remote = ip(PEER_IP), .remote_port = PORT(80)};
	struct stack_cfg cfg = ts_cfg();
	uint32_t conn;
	uint16_t port;

	(void)state;
	cfg.limits.port_lo = 40000;
	cfg.limits.port_hi = 40001;
	tc_open(&c, &cfg);
	assert_int_equal(do_connect(NULL, 40000, PEER_IP, 80, &conn), 0);
	for (uint32_t i = 0; i < 8; i++) {
		assert_int_equal(tcp_pick_port(c.t.s, &a, 0, &port), 0);
		assert_int_equal(port, PORT(40001));
	}
	assert_int_equal(do_connect(NULL, 40001, PEER_IP, 80, &conn), 0);
	assert_int_equal(tcp_pick_port(c.t.s, &a, 0, &port), -E_ADDRNOTAVAIL);
	a.remote_port = PORT(81); /* to another port both are free */
	assert_int_equal(tcp_pick_port(c.t.s, &a, 0, &port), 0);
	close_all();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_tcp_connect_fills_in_address_and_port, setup),
		cmocka_unit_test_setup(test_tcp_connect_bad_addresses, setup),
		cmocka_unit_test_setup(test_tcp_connect_ports_differ, setup),
		cmocka_unit_test_setup(test_tcp_connect_port_serves_many_destinations, setup),
		cmocka_unit_test_setup(test_tcp_connect_all_ports_of_a_range_are_used, setup),
		cmocka_unit_test_setup(test_tcp_connect_given_port, setup),
		cmocka_unit_test_setup(test_tcp_connect_no_tcb_no_buffers, setup),
		cmocka_unit_test_setup(test_tcp_pick_port_gives_others, setup),
		cmocka_unit_test_setup(test_tcp_connect_pair_in_time_wait, setup),
		cmocka_unit_test_setup(test_tcp_connect_tw_reuse_by_timestamps, setup),
		cmocka_unit_test_setup(test_tcp_connect_tw_reuse_not_without_timestamps, setup),
		cmocka_unit_test_setup(test_tcp_isn_follows_clock_and_pair, setup),
		cmocka_unit_test_setup(test_tcp_mtu_mss, setup),
		cmocka_unit_test_setup(test_tcp_offer_wscale, setup),
		cmocka_unit_test_setup(test_tcp_pick_port_knows_what_is_taken, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
