// SPDX-License-Identifier: BSD-2-Clause
/*
 * The XDP program's decision logic, compiled natively: maps are small tables here. Chosen packets
 * give the reason that they should; then random mutations and truncations of valid packets (seeded:
 * TANDEM_SEED, TANDEM_RUNS) must give a sane one, whether they are read in place or from a
 * copy, without a look beyond their end (each is in a heap block of its own, for ASan to see).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>

#define WORLD_CHECK(condition) assert_true(condition)
#include "decide_world.h"

static int setup(void **state)
{
	(void)state;
	world_init();
	return 0;
}

static struct result decide_packet(struct packet *p)
{
	world.frame_len = p->len;
	return decide_on(p->b, p->len, false);
}

/* ---- chosen packets ---- */

static void test_decide_flow_established_gives_slot(void **state)
{
	struct packet p;
	struct result r;

	(void)state;
	pkt_tcp4(&p, FLOW_PORT, LISTEN_PORT, 0x10);
	r = decide_packet(&p);
	assert_int_equal(r.reason, XR_FLOW_DIRECT);
	assert_int_equal(r.v.slot, 3);
	assert_int_equal(r.v.conn, 70);
	assert_int_equal(r.v.generation, 4);
	assert_int_equal(r.v.flags, PKT_META_FLOW);
	assert_int_equal(r.p.l3_off, 14);
	assert_int_equal(r.p.l4_off, 34);
	assert_int_equal(world.flows[0].packets, 1);
	assert_int_equal(world.flows[0].bytes, p.len);
	assert_int_equal(world.flows[0].last_seen, world.now);
	pkt_tcp6(&p, FLOW_PORT, LISTEN_PORT, 0x10);
	r = decide_packet(&p);
	assert_int_equal(r.reason, XR_FLOW_DIRECT);
	assert_int_equal(r.v.conn, 72);
	assert_int_equal(r.p.l4_off, 54);
}

/* Addresses that tandem has no more are nobody's: only a flow's own entry outlives them. */
static void test_decide_foreign_address_passes(void **state)
{
	struct packet p;

	(void)state;
	memset(world.local, 0, sizeof(world.local));
	world.settings.claim_all = 1;
	pkt_udp4(&p, 9, UDP_PORT);
	assert_int_equal(decide_packet(&p).reason, XR_PASS_NOT_LOCAL);
	pkt_arp_request(&p, PEER4, US4);
	assert_int_equal(decide_packet(&p).reason, XR_PASS_NOT_LOCAL);
}

static void test_decide_denied_flow_drops(void **state)
{
	struct packet p;

	(void)state;
	world.denied = addr_of(PEER4);
	pkt_tcp4(&p, FLOW_PORT, LISTEN_PORT, 0x10);
	assert_int_equal(decide_packet(&p).reason, XR_DROP_DENY);
	assert_int_equal(world.deny.packets, 1);
	assert_int_equal(world.flows[0].packets, 0);
}

/* A segment by broadcast is never for a connection (RFC 9293 §3.9.2.3). */
static void test_decide_group_mac_tcp_passes(void **state)
{
	struct packet p;

	(void)state;
	pkt_tcp4(&p, FLOW_PORT, LISTEN_PORT, 0x10);
	memcpy(p.b, mac_all, 6);
	assert_int_equal(decide_packet(&p).reason, XR_PASS_NOT_LOCAL);
	pkt_echo4(&p, 8);
	memcpy(p.b, mac_all, 6);
	assert_int_equal(decide_packet(&p).reason, XR_PASS_NOT_LOCAL);
	pkt_udp4(&p, 9, UDP_PORT);
	memcpy(p.b, mac_all, 6);
	assert_int_equal(decide_packet(&p).reason, XR_PORT_DIRECT);
}

static void test_decide_fragment_expires(void **state)
{
	struct packet first, later;

	(void)state;
	pkt_frag4(&first, 7, 0, true, 9, UDP_PORT);
	pkt_frag4(&later, 7, 64, false, 0, 0);
	assert_int_equal(decide_packet(&later).reason, XR_PASS_UNCLAIMED);
	assert_int_equal(decide_packet(&first).reason, XR_FRAGMENT);
	assert_int_equal(decide_packet(&later).reason, XR_FRAGMENT);
	world.now += FRAG_NS;
	assert_int_equal(decide_packet(&later).reason, XR_PASS_UNCLAIMED);
}

/* The same identification, used by a datagram that is not ours, is forgotten. */
static void test_decide_fragment_id_reused_passes(void **state)
{
	struct packet p;

	(void)state;
	pkt_frag4(&p, 7, 0, true, 9, UDP_PORT);
	assert_int_equal(decide_packet(&p).reason, XR_FRAGMENT);
	pkt_frag4(&p, 7, 0, true, 9, UDP_PORT + 1);
	assert_int_equal(decide_packet(&p).reason, XR_PASS_UNCLAIMED);
	pkt_frag4(&p, 7, 64, false, 0, 0);
	assert_int_equal(decide_packet(&p).reason, XR_PASS_UNCLAIMED);
}

static void test_decide_too_many_extension_headers_are_unmatched(void **state)
{
	struct packet p;
	uint8_t *ext;

	(void)state;
	pkt_eth(&p, mac_us, ETH_IPV6);
	pkt_ipv6(&p, PEER6, US6, PROTO_TCP);
	for (int i = 0; i <= IPV6_EXT_MAX; i++) {
		ext = pkt_ipv6_ext(&p, PROTO_DSTOPTS);
		ext[0] = i == IPV6_EXT_MAX ? PROTO_TCP : PROTO_DSTOPTS;
	}
	pkt_tcp(&p, FLOW_PORT, LISTEN_PORT, 0x10, 0);
	pkt_done(&p);
	assert_int_equal(decide_packet(&p).reason, XR_PASS_UNCLAIMED);
	world.settings.claim_all = 1;
	assert_int_equal(decide_packet(&p).reason, XR_CLAIMED);
}

/* ---- any bytes ---- */

static uint64_t rng;
static uint32_t run_seed; /* of the random run that is going on */

static uint32_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 32);
}

static void build_any(struct packet *p)
{
	uint16_t port = rnd() & 1 ? FLOW_PORT : OPENING_PORT;

	switch (rnd() % 14) {
	case 0: pkt_tcp4(p, port, LISTEN_PORT, (uint8_t)rnd()); break;
	case 1: pkt_tcp6(p, port, LISTEN_PORT, (uint8_t)rnd()); break;
	case 2: pkt_udp4(p, 9, UDP_PORT); break;
	case 3: pkt_echo4(p, rnd() % 64); break;
	case 4: pkt_echo6(p, rnd() % 64); break;
	case 5: pkt_arp_request(p, PEER4, US4); break;
	case 6: pkt_nd(p); break;
	case 7: pkt_error4(p, 3, PEER4, LISTEN_PORT, port); break;
	case 8: pkt_error6(p, 2, PEER6, LISTEN_PORT, port); break;
	case 9: pkt_frag4(p, rnd() & 3, rnd() & 1 ? 0 : 64, rnd() & 1, 9, UDP_PORT); break;
	case 10: pkt_frag6(p, rnd() & 3, rnd() & 1 ? 0 : 64, rnd() & 1, 9, UDP_PORT); break;
	case 11:
		pkt_eth(p, mac_us, ETH_IPV4);
		pkt_vlan(p, ETH_QINQ, 0);
		pkt_vlan(p, ETH_VLAN, 0xe000);
		pkt_ipv4(p, PEER4, US4, PROTO_TCP, rnd() % 11 * 4);
		pkt_tcp(p, port, LISTEN_PORT, 0x10, 10);
		pkt_done(p);
		break;
	case 12:
		pkt_eth(p, mac_us, ETH_IPV6);
		pkt_ipv6(p, PEER6, US6, PROTO_TCP);
		*(uint8_t *)pkt_ipv6_ext(p, PROTO_HOPOPTS) = PROTO_TCP;
		pkt_tcp(p, port, LISTEN_PORT, 0x10, 10);
		pkt_done(p);
		break;
	default:
		p->len = rnd() % 200;
		for (uint32_t i = 0; i < p->len; i++)
			p->b[i] = (uint8_t)rnd();
	}
}

static uint32_t env_number(const char *name, uint32_t otherwise)
{
	const char *text = getenv(name);

	return text ? (uint32_t)strtoul(text, NULL, 0) : otherwise;
}

static void test_decide_any_bytes_are_survived(void **state)
{
	uint32_t runs = env_number("TANDEM_RUNS", 300000), seed = env_number("TANDEM_SEED", 1);
	struct packet p;

	(void)state;
	for (uint32_t i = 0; i < runs; i++) {
		/* Each run from a seed of its own, so that one alone can be replayed. */
		run_seed = seed + i;
		rng = run_seed * 0x9e3779b97f4a7c15ull | 1;
		rnd();
		build_any(&p);
		world.settings.claim_all = rnd() & 1;
		world.settings.reply_mode = rnd() % 3;
		for (uint32_t n = rnd() % 4; n && p.len; n--)
			p.b[rnd() % p.len] = (uint8_t)rnd();
		if (rnd() % 4 == 0)
			p.len = rnd() % (p.len + 1);
		try_bytes(p.b, p.len, rnd() % 4 == 0 ? rnd() % 2000 : 0);
	}
	run_seed = 0;
}

static void test_decide_truncated_anywhere_is_survived(void **state)
{
	struct packet p;

	(void)state;
	rng = 42;
	for (int i = 0; i < 200; i++) {
		build_any(&p);
		for (uint32_t len = 0; len <= p.len; len++)
			try_bytes(p.b, len, 0);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_decide_flow_established_gives_slot, setup),
		cmocka_unit_test_setup(test_decide_foreign_address_passes, setup),
		cmocka_unit_test_setup(test_decide_denied_flow_drops, setup),
		cmocka_unit_test_setup(test_decide_group_mac_tcp_passes, setup),
		cmocka_unit_test_setup(test_decide_fragment_expires, setup),
		cmocka_unit_test_setup(test_decide_fragment_id_reused_passes, setup),
		cmocka_unit_test_setup(test_decide_too_many_extension_headers_are_unmatched, setup),
		cmocka_unit_test_setup(test_decide_any_bytes_are_survived, setup),
		cmocka_unit_test_setup(test_decide_truncated_anywhere_is_survived, setup),
	};

	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	if (failed && run_seed)
		fprintf(stderr, "replay with TANDEM_SEED=%u TANDEM_RUNS=1\n", run_seed);
	return failed;
}
