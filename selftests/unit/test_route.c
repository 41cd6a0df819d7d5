// SPDX-License-Identifier: BSD-2-Clause
#include "lib_stack.h"

static struct net_event route(enum net_event_kind kind, const char *dst, uint8_t plen,
			      const char *gw, uint32_t metric)
{
	return (struct net_event){
		.kind = kind, .addr = ip(dst), .plen = plen, .gw = ip(gw), .metric = metric};
}

/* The next hop towards @dst, or the error. */
static int way(struct tstack *t, const char *dst, struct route_result *r)
{
	struct ip_addr d = ip(dst);

	return route_lookup(t->s, &d, NULL, r);
}

static void expect_hop(struct tstack *t, const char *dst, const char *hop)
{
	struct route_result r;

	assert_int_equal(way(t, dst, &r), 0);
	assert_ip(r.nexthop, hop);
}

static void test_route_longest_prefix_wins(void **state)
{
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	assert_int_equal(ts_event(&t, route(NET_ROUTE_ADD, "172.16.0.0", 12, "10.0.0.11", 0)), 0);
	assert_int_equal(ts_event(&t, route(NET_ROUTE_ADD, "172.16.5.0", 24, "10.0.0.12", 9)), 0);
	assert_int_equal(ts_event(&t, route(NET_ROUTE_ADD, "172.16.5.7", 32, "10.0.0.13", 99)), 0);
	expect_hop(&t, "172.31.255.255", "10.0.0.11");
	expect_hop(&t, "172.32.0.0", GW_IP);
	expect_hop(&t, "172.16.5.8", "10.0.0.12");
	expect_hop(&t, "172.16.5.7", "10.0.0.13");
	expect_hop(&t, "10.0.0.77", "10.0.0.77"); /* on-link: itself */
	ts_close(&t);
}

/* Host bits in a route's destination do not count. */
static void test_route_destination_is_masked(void **state)
{
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	assert_int_equal(ts_event(&t, route(NET_ROUTE_ADD, "172.16.5.99", 20, "10.0.0.11", 0)), 0);
	expect_hop(&t, "172.16.15.1", "10.0.0.11");
	assert_int_equal(ts_event(&t, route(NET_ROUTE_DEL, "172.16.0.0", 20, "10.0.0.11", 0)), 0);
	expect_hop(&t, "172.16.15.1", GW_IP);
	ts_close(&t);
}

static void test_route_smaller_metric_wins_and_delete_falls_back(void **state)
{
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	assert_int_equal(ts_event(&t, route(NET_ROUTE_ADD, "172.16.0.0", 12, "10.0.0.20", 20)), 0);
	assert_int_equal(ts_event(&t, route(NET_ROUTE_ADD, "172.16.0.0", 12, "10.0.0.10", 10)), 0);
	assert_int_equal(ts_event(&t, route(NET_ROUTE_ADD, "172.16.0.0", 12, "10.0.0.30", 30)), 0);
	expect_hop(&t, "172.16.1.1", "10.0.0.10");
	assert_int_equal(ts_event(&t, route(NET_ROUTE_DEL, "172.16.0.0", 12, "10.0.0.10", 10)), 0);
	expect_hop(&t, "172.16.1.1", "10.0.0.20");
	assert_int_equal(ts_event(&t, route(NET_ROUTE_DEL, "172.16.0.0", 12, "10.0.0.10", 10)),
			 -E_NOENT);
	assert_int_equal(ts_event(&t, route(NET_ROUTE_DEL, "172.16.0.0", 12, "10.0.0.20", 20)), 0);
	assert_int_equal(ts_event(&t, route(NET_ROUTE_DEL, "172.16.0.0", 12, "10.0.0.30", 30)), 0);
	expect_hop(&t, "172.16.1.1", GW_IP);
	ts_close(&t);
}

static void test_route_types_give_their_errors(void **state)
{
	static const struct {
		enum net_route_type type;
		int err;
	} v[] = {{NET_RT_BLACKHOLE, -E_INVAL},
		 {NET_RT_UNREACHABLE, -E_HOSTUNREACH},
		 {NET_RT_PROHIBIT, -E_ACCES}};
	struct route_result r;
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	for (uint32_t i = 0; i < 3; i++) {
		struct net_event ev = route(NET_ROUTE_ADD, "203.0.113.0", 24, NULL, 0);

		ev.route_type = v[i].type;
		assert_int_equal(ts_event(&t, ev), 0);
		assert_int_equal(way(&t, "203.0.113.5", &r), v[i].err);
		ev.kind = NET_ROUTE_DEL;
		assert_int_equal(ts_event(&t, ev), 0);
	}
	expect_hop(&t, "203.0.113.5", GW_IP);
	assert_int_equal(ts_event(&t, route(NET_ROUTE_DEL, "0.0.0.0", 0, GW_IP, 0)), 0);
	assert_int_equal(way(&t, "203.0.113.5", &r), -E_NETUNREACH);
	ts_close(&t);
}

static void test_route_source_address(void **state)
{
	struct ip_addr dst = ip("172.16.0.9"), wish = ip("10.9.9.9");
	struct net_event ev = {.kind = NET_ADDR_ADD, .addr = ip("172.16.0.1"), .plen = 16};
	struct route_result r;
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	assert_int_equal(ts_event(&t, ev), 0);
	assert_int_equal(way(&t, FAR_IP, &r), 0);
	assert_ip(r.src, OUR_IP); /* the gateway's subnet */
	assert_int_equal(r.mtu, 1500);
	assert_int_equal(ts_event(&t, route(NET_ROUTE_ADD, "172.16.0.0", 16, NULL, 0)), 0);
	assert_int_equal(way(&t, "172.16.0.9", &r), 0);
	assert_ip(r.src, "172.16.0.1"); /* the subnet that fits best */
	ev = route(NET_ROUTE_ADD, "172.16.0.0", 16, NULL, 0);
	ev.prefsrc = ip("10.0.0.1");
	assert_int_equal(ts_event(&t, ev), 0); /* the same route again: it is replaced */
	assert_int_equal(way(&t, "172.16.0.9", &r), 0);
	assert_ip(r.src, "10.0.0.1");
	assert_int_equal(t.s->n_routes, 3);
	assert_int_equal(route_lookup(t.s, &dst, &wish, &r), 0);
	assert_ip(r.src, "10.9.9.9"); /* what the caller is bound to */
	ts_close(&t);
}

/* An interface without an address borrows one. */
static void test_route_source_of_another_interface(void **state)
{
	struct net_event up = {.kind = NET_LINK_UP, .netif = 1, .mtu = 9000, .mac = {2, 9}};
	struct net_event ev = route(NET_ROUTE_ADD, "172.16.0.0", 16, NULL, 0);
	struct route_result r;
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	ev.netif = 1;
	assert_int_equal(ts_event(&t, ev), 0);
	expect_hop(&t, "172.16.0.9", GW_IP); /* that interface is not up */
	assert_int_equal(ts_event(&t, up), 0);
	assert_int_equal(way(&t, "172.16.0.9", &r), 0);
	assert_int_equal(r.netif, 1);
	assert_int_equal(r.mtu, 9000);
	assert_ip(r.src, OUR_IP);
	assert_int_equal(ts_event(&t, (struct net_event){.kind = NET_ADDR_ADD,
							 .netif = 1,
							 .addr = ip("192.168.1.1"),
							 .plen = 24}),
			 0);
	assert_int_equal(way(&t, "172.16.0.9", &r), 0);
	assert_ip(r.src, "192.168.1.1"); /* it has one of its own now */
	up.kind = NET_LINK_DOWN;
	assert_int_equal(ts_event(&t, up), 0);
	expect_hop(&t, "172.16.0.9", GW_IP);
	ts_close(&t);
}

static void test_route_table_full(void **state)
{
	struct tstack t;
	char dst[32];

	(void)state;
	ts_open(&t, NULL);
	for (unsigned i = 0; i < 14; i++) {
		snprintf(dst, sizeof(dst), "172.16.%u.0", i);
		assert_int_equal(ts_event(&t, route(NET_ROUTE_ADD, dst, 24, NULL, 0)), 0);
	}
	assert_int_equal(ts_event(&t, route(NET_ROUTE_ADD, "172.17.0.0", 16, NULL, 0)), -E_NOSPC);
	assert_int_equal(ts_event(&t, route(NET_ROUTE_ADD, "172.16.3.0", 24, NULL, 0)), 0);
	assert_int_equal(ts_event(&t, route(NET_ROUTE_ADD, "1.0.0.0", 33, NULL, 0)), -E_INVAL);
	ts_close(&t);
}

/* Our own addresses are reached over lo where the stack has it, and nowhere else. */
static void test_route_own_address_over_lo(void **state)
{
	struct net_event lo = {.kind = NET_LINK_UP, .netif = 1, .mtu = 65536};
	struct route_result r;
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	assert_int_equal(way(&t, OUR_IP, &r), -E_NETUNREACH);
	assert_int_equal(ts_event(&t, lo), 0);
	assert_int_equal(way(&t, OUR_IP, &r), 0);
	assert_int_equal(r.netif, 1);
	assert_ip(r.src, OUR_IP);
	ts_close(&t);
}

static void test_route_ipv6(void **state)
{
	struct net_event ev = {.kind = NET_ADDR_ADD, .addr = ip("2001:db8::1"), .plen = 64};
	struct route_result r;
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	assert_int_equal(way(&t, "2001:db8::9", &r), -E_NETUNREACH); /* 0.0.0.0/0 is not ::/0 */
	assert_int_equal(ts_event(&t, ev), 0);
	assert_int_equal(ts_event(&t, route(NET_ROUTE_ADD, "2001:db8::", 64, NULL, 0)), 0);
	assert_int_equal(ts_event(&t, route(NET_ROUTE_ADD, "::", 0, "2001:db8::fe", 0)), 0);
	expect_hop(&t, "2001:db8::9", "2001:db8::9");
	assert_int_equal(way(&t, "2001:db9::9", &r), 0);
	assert_ip(r.nexthop, "2001:db8::fe");
	assert_ip(r.src, "2001:db8::1");
	ts_close(&t);
}

static void test_route_what_is_unicast_and_ours(void **state)
{
	static const struct {
		const char *a;
		bool unicast, local;
	} v[] = {
		{OUR_IP, true, true},
		{PEER_IP, true, false},
		{"10.0.0.255", false, false},
		{"255.255.255.255", false, false},
		{"224.0.0.1", false, false},
		{"239.9.9.9", false, false},
		{"0.0.0.0", false, false},
		{"10.0.1.255", true, false},
		{"10.5.0.1", true, true},
		{"10.5.0.0", true, false},
		{"127.0.0.1", true, false},
		{"ff02::1", false, false},
		{"10.255.255.255", true, false},
	};
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	/* A /31 has no broadcast address (RFC 3021). */
	assert_int_equal(ts_event(&t, (struct net_event){.kind = NET_ADDR_ADD,
							 .addr = ip("10.5.0.1"),
							 .plen = 31}),
			 0);
	/* An IPv6 prefix says nothing of IPv4 addresses. */
	assert_int_equal(ts_event(&t, (struct net_event){.kind = NET_ADDR_ADD,
							 .addr = ip("fd00::1"),
							 .plen = 8}),
			 0);
	for (uint32_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		struct ip_addr a = ip(v[i].a);

		if (addr_is_unicast(t.s, &a) != v[i].unicast ||
		    addr_is_local(t.s, &a) != v[i].local)
			fail_msg("%s", v[i].a);
	}
	ts_close(&t);
}

/* Of several subnets that a destination is in the narrowest says whom to speak as, in any order. */
static void test_route_source_of_the_narrowest_subnet(void **state)
{
	static const struct {
		const char *addr;
		uint8_t plen;
	} v[] = {{"10.0.0.3", 25}, {"10.0.0.65", 26}, {"10.0.0.4", 25}};
	struct route_result r;
	struct tstack t;

	(void)state;
	ts_open(&t, NULL); /* 10.0.0.1/24 */
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(ts_event(&t, (struct net_event){.kind = NET_ADDR_ADD,
								 .addr = ip(v[i].addr),
								 .plen = v[i].plen}),
				 0);
	assert_int_equal(way(&t, "10.0.0.70", &r), 0);
	assert_ip(r.src, "10.0.0.65");
	assert_int_equal(way(&t, "10.0.0.5", &r), 0);
	assert_ip(r.src, "10.0.0.3"); /* of equals the first: it is the primary one */
	assert_int_equal(way(&t, "10.0.0.200", &r), 0);
	assert_ip(r.src, OUR_IP);
	ts_close(&t);
}

/* As in Linux routes to the same are told apart by their gateway and interface, too. */
static void test_route_same_destination_other_way(void **state)
{
	struct net_event ev[] = {
		route(NET_ROUTE_ADD, "172.16.0.0", 12, "10.0.0.11", 0),
		route(NET_ROUTE_ADD, "172.16.0.0", 12, "10.0.0.12", 0),
		route(NET_ROUTE_ADD, "172.16.0.0", 12, NULL, 0),
		route(NET_ROUTE_ADD, "172.16.0.0", 12, "10.0.0.11", 0),
	};
	struct net_event up = {.kind = NET_LINK_UP, .netif = 1, .mtu = 1500, .mac = {2, 9}};
	static const char *const hop[] = {"10.0.0.11", "10.0.0.12", "172.16.1.1", "10.0.0.11"};
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	assert_int_equal(ts_event(&t, up), 0);
	ev[3].netif = 1;
	for (uint32_t i = 0; i < 4; i++)
		assert_int_equal(ts_event(&t, ev[i]), 0);
	assert_int_equal(t.s->n_routes, 2 + 4);
	for (uint32_t i = 0; i < 4; i++) {
		expect_hop(&t, "172.16.1.1", hop[i]); /* the oldest of those that are left */
		ev[i].kind = NET_ROUTE_DEL;
		assert_int_equal(ts_event(&t, ev[i]), 0);
		assert_int_equal(ts_event(&t, ev[i]), -E_NOENT);
	}
	expect_hop(&t, "172.16.1.1", GW_IP);
	ts_close(&t);
}

/* A route that leads nowhere has neither. */
static void test_route_to_nowhere_is_one_route(void **state)
{
	struct net_event ev = route(NET_ROUTE_ADD, "172.16.0.0", 12, NULL, 0);
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	ev.route_type = NET_RT_BLACKHOLE;
	assert_int_equal(ts_event(&t, ev), 0);
	ev.netif = 1;
	assert_int_equal(ts_event(&t, ev), 0);
	assert_int_equal(t.s->n_routes, 2 + 1);
	ev.kind = NET_ROUTE_DEL;
	ev.netif = 0;
	assert_int_equal(ts_event(&t, ev), 0);
	expect_hop(&t, "172.16.1.1", GW_IP);
	ts_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_route_longest_prefix_wins),
		cmocka_unit_test(test_route_destination_is_masked),
		cmocka_unit_test(test_route_smaller_metric_wins_and_delete_falls_back),
		cmocka_unit_test(test_route_types_give_their_errors),
		cmocka_unit_test(test_route_source_address),
		cmocka_unit_test(test_route_source_of_another_interface),
		cmocka_unit_test(test_route_table_full),
		cmocka_unit_test(test_route_own_address_over_lo),
		cmocka_unit_test(test_route_ipv6),
		cmocka_unit_test(test_route_what_is_unicast_and_ours),
		cmocka_unit_test(test_route_source_of_the_narrowest_subnet),
		cmocka_unit_test(test_route_same_destination_other_way),
		cmocka_unit_test(test_route_to_nowhere_is_one_route),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
