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

/* ---- a listener under a SYN flood ---- */

static const uint8_t all_options[20] = {2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0x12, 0x34, 0, 0, 0, 0,
					1, 3, 3, 9};

static struct wire_tcp *tcp_of(struct packet *p)
{
	return (void *)(p->b + p->l4);
}

/* A SYN of @n bytes of options at @o, with all in order. */
static void build_syn_with(struct packet *p, uint16_t port, const uint8_t *o, uint32_t n)
{
	struct wire_tcp *tcp;

	pkt_eth(p, mac_us, ETH_IPV4);
	pkt_ipv4(p, PEER4, US4, PROTO_TCP, 0);
	tcp = pkt_tcp(p, port, FLOODED_PORT, TCP_SYN, n);
	memcpy(tcp + 1, o, n);
	tcp->off = (uint8_t)((20 + n) / 4 << 4);
	tcp->seq = htonl(0x01020304u + port);
	tcp->ack = 0;
	pkt_done(p);
}

static void build_syn(struct packet *p, uint16_t port)
{
	build_syn_with(p, port, all_options, sizeof(all_options));
}

static void build_ack(struct packet *p, uint16_t port, uint32_t seq, uint32_t ack)
{
	struct wire_tcp *tcp;

	pkt_eth(p, mac_us, ETH_IPV4);
	pkt_ipv4(p, PEER4, US4, PROTO_TCP, 0);
	tcp = pkt_tcp(p, port, FLOODED_PORT, TCP_ACK, 0);
	tcp->seq = htonl(seq);
	tcp->ack = htonl(ack);
	pkt_done(p);
}

/* The answer of @r as a packet whose checksums can be looked at. */
static struct packet answer_of(const struct result *r)
{
	struct packet a = {.len = r->answer_len, .l3 = r->p.l3_off, .l4 = r->p.l3_off + 20,
			   .proto = PROTO_TCP};

	memcpy(a.b, r->answer, r->answer_len);
	return a;
}

static void check_answer(const struct packet *p, const struct result *r, const uint8_t *options,
			 uint32_t n)
{
	struct packet a = answer_of(r), syn = *p;
	const struct wire_tcp *tcp = tcp_of(&a);
	const struct wire_ipv4 *ip = (const void *)(a.b + a.l3);

	assert_int_equal(r->reason, XR_SYN_COOKIE);
	assert_true(r->replied);
	assert_int_equal(a.len, a.l4 + 20 + n);
	assert_memory_equal(a.b, mac_peer, 6);
	assert_memory_equal(a.b + 6, mac_us, 6);
	assert_int_equal(csum_fold(csum_partial(ip, 20, 0)), 0);
	assert_int_equal(ntohs(ip->len), 40 + n);
	assert_memory_equal(&ip->src, p->b + p->l3 + 16, 4);
	assert_memory_equal(&ip->dst, p->b + p->l3 + 12, 4);
	assert_int_equal(ip->ttl, 64);
	assert_int_equal(pkt_l4_sum(&a), 0);
	assert_int_equal(tcp->src, tcp_of(&syn)->dst);
	assert_int_equal(tcp->dst, tcp_of(&syn)->src);
	assert_int_equal(ntohl(tcp->ack), ntohl(tcp_of(&syn)->seq) + 1);
	assert_int_equal(tcp->flags, TCP_SYN | TCP_ACK);
	assert_int_equal(ntohs(tcp->window), 0x1234);
	assert_int_equal(tcp->off >> 4, 5 + n / 4);
	assert_memory_equal(tcp + 1, options, n);
}

static uint32_t pair_offset(const struct result *r)
{
	return (uint32_t)(syncookie_pair_hash(world.secrets.pair_key, &r->key.local, &r->key.remote,
					      r->key.local_port, r->key.remote_port) >>
			  32);
}

static void test_decide_flooded_syn_gets_cookie(void **state)
{
	uint8_t want[20] = {2, 4, 5, 0xb4, 4, 2, 8, 10, 0, 0, 0, 0, 0, 0, 0x12, 0x34, 1, 3, 3, 7};
	struct packet p;
	struct result r;
	uint32_t ts;

	(void)state;
	world.now = 5000000000ull;
	memcpy(want + 12, all_options + 8, 4);
	build_syn(&p, 999);
	r = decide_packet(&p);
	/* 4999: the clock is 5000, with 9 | 16 in its lowest six bits never later than that */
	ts = htonl(syncookie_ts(5000, 9 | SYNCOOKIE_TS_SACK) + pair_offset(&r));
	memcpy(want + 8, &ts, 4);
	check_answer(&p, &r, want, sizeof(want));
	/* Options of ours that are off */
	world.flooded.cookies.options = PORT_COOKIES_TS;
	r = decide_packet(&p);
	want[4] = want[5] = 1;
	check_answer(&p, &r, want, 16);
	world.flooded.cookies.options = PORT_COOKIES_SACK | PORT_COOKIES_WSCALE;
	r = decide_packet(&p);
	check_answer(&p, &r, want, 4);
}

/* Without a timestamp there is room for the MSS only. */
static void test_decide_flooded_syn_without_options_gets_mss(void **state)
{
	struct packet p;
	struct result r;

	(void)state;
	build_syn_with(&p, 999, all_options, 0);
	r = decide_packet(&p);
	check_answer(&p, &r, all_options, 4);
	build_syn_with(&p, 999, all_options + 16, 4); /* window scale */
	r = decide_packet(&p);
	check_answer(&p, &r, all_options, 4);
}

static void test_decide_flooded_ack_needs_cookie(void **state)
{
	struct packet p, ack;
	struct result r;
	uint32_t iss;

	(void)state;
	build_syn(&p, 999);
	r = decide_packet(&p);
	iss = r.synack.iss;
	build_ack(&ack, 999, 0x01020304u + 999 + 1, iss + 1);
	ack.b[ack.l4 + 13] |= 8; /* PSH */
	assert_int_equal(decide_packet(&ack).reason, XR_COOKIE_ACK);
	/* What follows on the same connection, also from another one's view */
	build_ack(&ack, 999, 0x01020304u + 999 + 1001, iss + 1);
	assert_int_equal(decide_packet(&ack).reason, XR_PORT_SLOW);
	build_ack(&ack, 998, 0x01020304u + 999 + 1001, iss + 1);
	assert_int_equal(decide_packet(&ack).reason, XR_DROP_COOKIE);
	build_ack(&ack, 998, 0x01020304u + 999 + 1, iss + 1);
	assert_int_equal(decide_packet(&ack).reason, XR_DROP_COOKIE);
	/* Few of what nobody can judge here */
	world.cookie_spare = 2;
	assert_int_equal(decide_packet(&ack).reason, XR_PORT_SLOW);
	pkt_tcp4(&ack, 998, FLOODED_PORT, TCP_RST);
	assert_int_equal(decide_packet(&ack).reason, XR_PORT_SLOW);
	assert_int_equal(decide_packet(&ack).reason, XR_DROP_COOKIE);
	/* The daemon is gone */
	world.now = 1002 * SYNCOOKIE_PERIOD_NS + 1;
	assert_int_equal(decide_packet(&ack).reason, XR_PORT_SLOW);
	world.now = 1002 * SYNCOOKIE_PERIOD_NS;
	assert_int_equal(decide_packet(&ack).reason, XR_DROP_COOKIE);
	/* Two periods later */
	memset(&world.cookie_pair, 0, sizeof(world.cookie_pair));
	world.secrets.keys.period++;
	build_ack(&ack, 999, 0x01020304u + 999 + 1, iss + 1);
	assert_int_equal(decide_packet(&ack).reason, XR_COOKIE_ACK);
	memset(&world.cookie_pair, 0, sizeof(world.cookie_pair));
	world.secrets.keys.period++;
	assert_int_equal(decide_packet(&ack).reason, XR_DROP_COOKIE);
}

/* A request that the slow path took before: its ISN is that of RFC 6528. */
static void test_decide_flooded_ack_of_request_passes(void **state)
{
	uint64_t start = 7ull << 32;
	struct packet ack;
	struct result r;
	uint32_t isn;

	(void)state;
	world.now = start;
	build_ack(&ack, 999, 1, 1);
	r = decide_packet(&ack);
	isn = (uint32_t)syncookie_pair_hash(world.secrets.pair_key, &r.key.local, &r.key.remote,
					    r.key.local_port, r.key.remote_port) +
	      syncookie_isn_clock(start);
	build_ack(&ack, 999, 77, isn + 1);
	assert_int_equal(decide_packet(&ack).reason, XR_PORT_SLOW);
	world.now = start + SYNCOOKIE_VALID_NS;
	assert_int_equal(decide_packet(&ack).reason, XR_PORT_SLOW);
	world.now = start + SYNCOOKIE_VALID_NS + 200000000;
	assert_int_equal(decide_packet(&ack).reason, XR_DROP_COOKIE);
	world.now = start - 50000000; /* read on another CPU, a tick ago */
	assert_int_equal(decide_packet(&ack).reason, XR_PORT_SLOW);
	world.now = start - 200000000;
	assert_int_equal(decide_packet(&ack).reason, XR_DROP_COOKIE);
	/* Another pair's */
	build_ack(&ack, 998, 77, isn + 1);
	world.now = start;
	assert_int_equal(decide_packet(&ack).reason, XR_DROP_COOKIE);
}

static void test_decide_flooded_syn_damaged_is_dropped(void **state)
{
	struct packet p;

	(void)state;
	build_syn(&p, 999);
	p.b[p.l4 + 4] ^= 1;
	assert_int_equal(decide_packet(&p).reason, XR_DROP_COOKIE_SYN);
	pkt_eth(&p, mac_us, ETH_IPV4);
	pkt_ipv4(&p, PEER4, US4, PROTO_TCP, 0);
	pkt_tcp(&p, 999, FLOODED_PORT, TCP_SYN, 8); /* data */
	pkt_done(&p);
	assert_int_equal(decide_packet(&p).reason, XR_DROP_COOKIE_SYN);
}

/* A veth's peer leaves the checksum to a device that there is not: so do we, where it is asked. */
static void test_decide_flooded_syn_partial_checksum(void **state)
{
	uint16_t pseudo;
	struct packet p, a;
	struct ip_addr us = addr_of(US4), peer = addr_of(PEER4);
	struct result r;

	(void)state;
	build_syn(&p, 999);
	pseudo = (uint16_t)~csum_fold(csum_pseudo(&peer, &us, PROTO_TCP, 40));
	tcp_of(&p)->check = pseudo;
	r = decide_packet(&p);
	assert_int_equal(r.reason, XR_SYN_COOKIE);
	a = answer_of(&r);
	assert_int_equal(pkt_l4_sum(&a), 0);
	world.settings.partial_replies = 1;
	r = decide_packet(&p);
	a = answer_of(&r);
	assert_int_equal(tcp_of(&a)->check, pseudo);
	build_syn(&p, 999);
	r = decide_packet(&p);
	a = answer_of(&r);
	assert_int_equal(pkt_l4_sum(&a), 0);
}

static void test_decide_flooded_left_to_slow_path(void **state)
{
	struct packet p;

	(void)state;
	build_syn(&p, 999);
	world.settings.reply_mode = XDP_REPLY_NONE;
	assert_int_equal(decide_packet(&p).reason, XR_PORT_SLOW);
	world.settings.reply_mode = XDP_REPLY_TX;
	world.cookies_on = false;
	assert_int_equal(decide_packet(&p).reason, XR_PORT_SLOW);
	world.cookies_on = true;
	world.flooded.cookies.on = 0;
	assert_int_equal(decide_packet(&p).reason, XR_PORT_SLOW);
	world.flooded.cookies.on = 1;
	pkt_tcp6(&p, 999, FLOODED_PORT, TCP_SYN);
	assert_int_equal(decide_packet(&p).reason, XR_PORT_SLOW);
	world.cookie_spare = 1;
	pkt_eth(&p, mac_us, ETH_IPV4);
	pkt_ipv4(&p, PEER4, US4, PROTO_TCP, 8);
	pkt_tcp(&p, 999, FLOODED_PORT, TCP_SYN, 0);
	pkt_done(&p);
	assert_int_equal(decide_packet(&p).reason, XR_IP_OPTIONS);
	assert_int_equal(decide_packet(&p).reason, XR_DROP_COOKIE);
	build_syn(&p, 999);
	assert_int_equal(decide_packet(&p).reason, XR_SYN_COOKIE);
	memcpy(p.b + 14 + 12, "\xe0\0\0\1", 4); /* from a group: nobody to answer */
	assert_int_not_equal(decide_packet(&p).reason, XR_SYN_COOKIE);
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

	switch (rnd() % 16) {
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
	case 13: build_syn(p, (uint16_t)rnd()); break;
	case 14: build_ack(p, (uint16_t)rnd(), rnd(), rnd()); break;
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
		cmocka_unit_test_setup(test_decide_flooded_syn_gets_cookie, setup),
		cmocka_unit_test_setup(test_decide_flooded_syn_without_options_gets_mss, setup),
		cmocka_unit_test_setup(test_decide_flooded_ack_needs_cookie, setup),
		cmocka_unit_test_setup(test_decide_flooded_ack_of_request_passes, setup),
		cmocka_unit_test_setup(test_decide_flooded_syn_damaged_is_dropped, setup),
		cmocka_unit_test_setup(test_decide_flooded_syn_partial_checksum, setup),
		cmocka_unit_test_setup(test_decide_flooded_left_to_slow_path, setup),
		cmocka_unit_test_setup(test_decide_any_bytes_are_survived, setup),
		cmocka_unit_test_setup(test_decide_truncated_anywhere_is_survived, setup),
	};

	int failed = cmocka_run_group_tests(tests, NULL, NULL);

	if (failed && run_seed)
		fprintf(stderr, "replay with TANDEM_SEED=%u TANDEM_RUNS=1\n", run_seed);
	return failed;
}
