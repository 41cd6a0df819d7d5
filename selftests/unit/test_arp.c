// SPDX-License-Identifier: BSD-2-Clause
#include "lib_stack.h"

static uint32_t entries(const struct tstack *t)
{
	return free_list_in_use(&t->s->neigh_free);
}

static enum nud_state first_state(const struct tstack *t)
{
	return neigh_state_of(t->a.neighs[0].mac_state);
}

static void test_arp_request_for_us_is_answered_and_learned(void **state)
{
	struct tstack t;
	struct out o;

	(void)state;
	ts_open(&t, NULL);
	assert_int_equal(ts_rx_arp(&t, 1, peer_mac, PEER_IP, OUR_IP, NULL), DROP_NONE);
	ts_expect(&t, &o);
	assert_int_equal(o.ethertype, ETHERTYPE_ARP);
	assert_int_equal(o.op, 2);
	assert_ip(o.sip, OUR_IP);
	assert_ip(o.tip, PEER_IP);
	assert_memory_equal(o.dmac, peer_mac, 6);
	assert_memory_equal(o.smac, our_mac, 6);
	assert_memory_equal(o.b + 32, peer_mac, 6);
	assert_int_equal(o.len, 42);
	assert_int_equal(entries(&t), 1);
	assert_int_equal(first_state(&t), NUD_STALE);
	ts_close(&t);
}

static void test_arp_request_for_others_only_refreshes(void **state)
{
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	assert_int_equal(ts_rx_arp(&t, 1, peer_mac, PEER_IP, "10.0.0.9", NULL), DROP_NOT_FOR_US);
	ts_expect_none(&t);
	assert_int_equal(entries(&t), 0);
	ts_close(&t);
}

static void test_arp_unasked_reply_is_not_learned(void **state)
{
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	assert_int_equal(ts_rx_arp(&t, 2, peer_mac, PEER_IP, OUR_IP, our_mac), DROP_NONE);
	assert_int_equal(entries(&t), 0);
	ts_close(&t);
}

/* Gratuitous ARP changes a known MAC at once; a broadcast reply does not prove reachability. */
static void test_arp_gratuitous_updates_what_is_known(void **state)
{
	struct tstack t;
	uint8_t mac[6];

	(void)state;
	ts_open(&t, NULL);
	assert_int_equal(ts_rx_arp(&t, 1, peer_mac, PEER_IP, OUR_IP, NULL), DROP_NONE);
	assert_int_equal(ts_rx_arp(&t, 2, gw_mac, PEER_IP, PEER_IP, NULL), DROP_NONE);
	neigh_mac_of(t.a.neighs[0].mac_state, mac);
	assert_memory_equal(mac, gw_mac, 6);
	assert_int_equal(first_state(&t), NUD_STALE);
	ts_close(&t);
}

/* RFC 5227 §2.1.1: who looks whether the address is free has none itself. */
static void test_arp_probe_is_answered_but_not_learned(void **state)
{
	struct tstack t;
	struct out o;

	(void)state;
	ts_open(&t, NULL);
	assert_int_equal(ts_rx_arp(&t, 1, peer_mac, "0.0.0.0", OUR_IP, NULL), DROP_NONE);
	ts_expect(&t, &o);
	assert_int_equal(o.op, 2);
	assert_memory_equal(o.dmac, peer_mac, 6);
	assert_int_equal(entries(&t), 0);
	ts_close(&t);
}

static void test_arp_conflict_is_counted_and_not_learned(void **state)
{
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	assert_int_equal(ts_rx_arp(&t, 1, peer_mac, OUR_IP, "10.0.0.9", NULL), DROP_MARTIAN);
	assert_int_equal(ts_rx_arp(&t, 2, peer_mac, OUR_IP, OUR_IP, NULL), DROP_MARTIAN);
	assert_int_equal(ts_mib(&t, MIB_Td_NeighConflict), 2);
	/* Our own announcement, seen again, is none. */
	assert_int_equal(ts_rx_arp(&t, 1, our_mac, OUR_IP, OUR_IP, NULL), DROP_NOT_FOR_US);
	assert_int_equal(ts_mib(&t, MIB_Td_NeighConflict), 2);
	assert_int_equal(entries(&t), 0);
	ts_expect_none(&t);
	ts_close(&t);
}

static void test_arp_malformed_is_dropped(void **state)
{
	static const uint8_t group[6] = {3, 0, 0, 0, 0, 2}, zero[6];
	static const struct {
		uint8_t at, value; /* in the ARP part */
	} v[] = {{1, 6}, {2, 9}, {4, 8}, {5, 16}, {7, 0}, {7, 3}};
	uint8_t b[60];
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	assert_int_equal(ts_rx_arp(&t, 1, group, PEER_IP, OUR_IP, NULL), DROP_BAD_FRAME);
	assert_int_equal(ts_rx_arp(&t, 1, zero, PEER_IP, OUR_IP, NULL), DROP_BAD_ARP);
	assert_int_equal(ts_rx_arp(&t, 1, peer_mac, "10.0.0.255", OUR_IP, NULL), DROP_BAD_ARP);
	assert_int_equal(ts_rx_arp(&t, 1, peer_mac, "224.0.0.1", OUR_IP, NULL), DROP_BAD_ARP);
	assert_int_equal(ts_rx_arp(&t, 1, peer_mac, "127.0.0.1", OUR_IP, NULL), DROP_BAD_ARP);
	for (uint32_t i = 0; i <= sizeof(v) / sizeof(v[0]); i++) {
		memset(b, 0, sizeof(b));
		memcpy(b, bcast_mac, 6);
		memcpy(b + 6, peer_mac, 6);
		memcpy(b + 12, "\10\6\0\1\10\0\6\4\0\1\2\0\0\0\0\2\12\0\0\2\0\0\0\0\0\0\12\0\0\1",
		       30);
		if (i < sizeof(v) / sizeof(v[0])) {
			b[14 + v[i].at] = v[i].value;
			assert_int_equal(ts_rx_raw(&t, b, 60, 0, 0, PKT_CSUM_VERIFY), DROP_BAD_ARP);
		} else { /* right, but one byte too short */
			assert_int_equal(ts_rx_raw(&t, b, 41, 0, 0, PKT_CSUM_VERIFY), DROP_BAD_ARP);
			assert_int_equal(ts_rx_raw(&t, b, 60, 30, 0, PKT_CSUM_VERIFY),
					 DROP_BAD_ARP);
		}
	}
	ts_expect_none(&t);
	ts_close(&t);
}

static void test_arp_new_address_is_announced(void **state)
{
	struct net_event ev = {.kind = NET_ADDR_ADD, .addr = ip("10.0.0.7"), .plen = 24};
	struct net_event up = {.kind = NET_LINK_UP, .mtu = 1500, .mac = {2, 0, 0, 0, 0, 9}};
	struct tstack t;
	struct out o;

	(void)state;
	ts_open(&t, NULL);
	assert_int_equal(ts_event(&t, ev), 0);
	ts_expect(&t, &o);
	assert_int_equal(o.op, 1);
	assert_ip(o.sip, "10.0.0.7");
	assert_ip(o.tip, "10.0.0.7");
	assert_memory_equal(o.dmac, bcast_mac, 6);
	assert_int_equal(ts_event(&t, ev), 0); /* nothing new */
	ts_expect_none(&t);
	assert_int_equal(ts_event(&t, up), 0); /* a new MAC: all of them */
	ts_expect(&t, &o);
	assert_ip(o.sip, OUR_IP);
	assert_int_equal(o.smac[5], 9);
	ts_expect(&t, &o);
	assert_ip(o.sip, "10.0.0.7");
	ts_expect_none(&t);
	ts_close(&t);
}

/* A flood of strangers' requests fills free places only: what we asked for stays. */
static void test_arp_requests_do_not_displace_entries(void **state)
{
	struct stack_cfg c = ts_cfg();
	struct tstack t;
	struct out o;
	char a[32];

	(void)state;
	c.limits.gc_thresh3 = 4;
	ts_open(&t, &c);
	assert_int_equal(ts_rx_arp(&t, 1, peer_mac, PEER_IP, OUR_IP, NULL), DROP_NONE);
	for (unsigned i = 10; i < 60; i++) {
		snprintf(a, sizeof(a), "10.0.0.%u", i);
		assert_int_equal(ts_rx_arp(&t, 1, gw_mac, a, OUR_IP, NULL), DROP_NONE);
		ts_expect(&t, &o); /* answered all the same */
	}
	assert_int_equal(entries(&t), 4);
	assert_ip(t.a.neighs[0].addr, PEER_IP);
	ts_close(&t);
}

/* RFC 5227 §2.3 is for who may speak on a link: an application's stack may not, nor is lo one. */
static void test_arp_no_announcement_where_nobody_listens(void **state)
{
	struct net_event up = {.kind = NET_LINK_UP, .netif = 1, .mtu = 1500, .mac = {2, 9}};
	struct net_event add = {
		.kind = NET_ADDR_ADD, .netif = 1, .addr = ip("10.7.0.1"), .plen = 24};
	struct stack_cfg c = ts_cfg();
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	assert_int_equal(ts_event(&t, add), 0); /* no such interface yet */
	ts_expect_none(&t);
	assert_int_equal(ts_event(&t, up), 0);
	ts_expect_arp(&t, "10.7.0.1", bcast_mac);
	up.kind = NET_LINK_DOWN;
	assert_int_equal(ts_event(&t, up), 0);
	add.addr = ip("10.7.0.2");
	assert_int_equal(ts_event(&t, add), 0);
	ts_expect_none(&t);
	/* When it is up again others may have forgotten them; after that it is no news. */
	up.kind = NET_LINK_UP;
	assert_int_equal(ts_event(&t, up), 0);
	ts_expect_arp(&t, "10.7.0.1", bcast_mac);
	ts_expect_arp(&t, "10.7.0.2", bcast_mac);
	assert_int_equal(ts_event(&t, up), 0);
	ts_expect_none(&t);
	up = (struct net_event){.kind = NET_LINK_UP, .netif = 2, .mtu = 65536};
	assert_int_equal(ts_event(&t, up), 0);
	add = (struct net_event){
		.kind = NET_ADDR_ADD, .netif = 2, .addr = ip("10.7.0.3"), .plen = 32};
	assert_int_equal(ts_event(&t, add), 0);
	add.addr = ip("127.0.0.1");
	add.netif = 0;
	assert_int_equal(ts_event(&t, add), 0);
	ts_expect_none(&t);
	ts_close(&t);

	c.role = STACK_APP;
	ts_open_bare(&t, &c);
	up = (struct net_event){.kind = NET_LINK_UP, .mtu = 1500, .mac = {2, 9}};
	assert_int_equal(ts_event(&t, up), 0);
	add = (struct net_event){.kind = NET_ADDR_ADD, .addr = ip("10.7.0.1"), .plen = 24};
	assert_int_equal(ts_event(&t, add), 0);
	ts_expect_none(&t);
	ts_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arp_request_for_us_is_answered_and_learned),
		cmocka_unit_test(test_arp_request_for_others_only_refreshes),
		cmocka_unit_test(test_arp_unasked_reply_is_not_learned),
		cmocka_unit_test(test_arp_gratuitous_updates_what_is_known),
		cmocka_unit_test(test_arp_probe_is_answered_but_not_learned),
		cmocka_unit_test(test_arp_conflict_is_counted_and_not_learned),
		cmocka_unit_test(test_arp_malformed_is_dropped),
		cmocka_unit_test(test_arp_new_address_is_announced),
		cmocka_unit_test(test_arp_requests_do_not_displace_entries),
		cmocka_unit_test(test_arp_no_announcement_where_nobody_listens),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
