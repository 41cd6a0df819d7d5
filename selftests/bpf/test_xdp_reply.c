// SPDX-License-Identifier: BSD-2-Clause
/*
 * The XDP program's replies to ARP, neighbour solicitation and echo, byte by byte, and what it
 * leaves to others. By BPF_PROG_TEST_RUN. Needs root, says so without it.
 */
#include "xdp_world.h"

static void test_xdp_arp_request_is_answered(void **state)
{
	struct packet p, want;
	struct wire_arp *arp;
	struct result r;

	(void)state;
	pkt_arp_request(&p, PEER4, US4);
	pkt_put(&p, 18); /* a frame's minimum */
	r = expect(&p, XR_ARP_REPLY);
	pkt_eth(&want, mac_peer, ETH_ARP);
	memcpy(want.b + 6, mac_us, 6);
	arp = pkt_arp(&want, ARP_REPLY, US4, PEER4);
	wire_mac_set(&arp->sha, mac_us);
	wire_mac_set(&arp->tha, mac_peer);
	pkt_put(&want, 18);
	assert_int_equal(r.len, want.len);
	assert_memory_equal(r.b, want.b, want.len);
	pkt_arp_request(&p, "0.0.0.0", US4); /* address conflict detection (RFC 5227) */
	r = expect(&p, XR_ARP_REPLY);
	assert_memory_equal(r.b + 38, "\0\0\0\0", 4);
}

static void test_xdp_arp_otherwise_passes(void **state)
{
	struct packet p;

	(void)state;
	pkt_arp_request(&p, PEER4, "10.9.0.200");
	expect(&p, XR_PASS_NOT_LOCAL);
	pkt_arp_request(&p, US4, US4); /* a conflict */
	expect(&p, XR_PASS_ARP);
	pkt_eth(&p, mac_us, ETH_ARP);
	pkt_arp(&p, ARP_REPLY, PEER4, US4);
	expect(&p, XR_PASS_ARP);
	pkt_arp_request(&p, PEER4, US4);
	p.b[19] = 8; /* another length of addresses */
	expect(&p, XR_PASS_ARP);
	pkt_arp_request(&p, PEER4, US4);
	settings(1, XDP_REPLY_NONE);
	expect(&p, XR_PASS_ARP);
	env.settings.answer_arp = 0;
	settings(1, XDP_REPLY_TX);
	expect(&p, XR_PASS_ARP);
}

static void test_xdp_solicitation_is_answered(void **state)
{
	struct packet p, want;
	struct wire_nd *nd;
	struct result r;

	(void)state;
	pkt_nd(&p);
	r = expect(&p, XR_ND_REPLY);
	pkt_eth(&want, mac_peer, ETH_IPV6);
	memcpy(want.b + 6, mac_us, 6);
	pkt_ipv6(&want, US6, PEER6, PROTO_ICMP6)->hops = 255;
	nd = pkt_solicit(&want, US6);
	nd->icmp.type_code = ICMP_TYPE_CODE(ICMP6_ADVERT, 0);
	nd->icmp.rest = htonl(0x60000000);
	nd->opt_type = 2;
	wire_mac_set(&nd->mac, mac_us);
	pkt_done(&want);
	assert_int_equal(r.len, want.len);
	assert_memory_equal(r.b, want.b, want.len);
}

static void test_xdp_neighbour_discovery_otherwise_passes(void **state)
{
	struct packet p;

	(void)state;
	settings(1, XDP_REPLY_TX);
	pkt_nd(&p);
	p.b[14 + 7] = 254; /* it came over a router */
	expect(&p, XR_PASS_ARP);
	pkt_nd(&p);
	p.b[14 + 40 + 2] ^= 1; /* checksum */
	expect(&p, XR_PASS_ARP);
	pkt_nd(&p);
	p.b[14 + 40 + 24] = 14; /* a nonce */
	expect(&p, XR_PASS_ARP);
	pkt_eth(&p, mac_us, ETH_IPV6);
	pkt_ipv6(&p, PEER6, US6, PROTO_ICMP6)->hops = 255;
	pkt_icmp(&p, ICMP6_ADVERT, 0, 24);
	pkt_done(&p);
	expect(&p, XR_PASS_ARP);
	pkt_nd(&p);
	env.settings.answer_arp = 0;
	settings(1, XDP_REPLY_TX);
	expect(&p, XR_PASS_ARP);
}

static void check_echo_reply(const struct packet *p, const struct result *r)
{
	struct packet got = *p;
	bool v6 = p->proto == PROTO_ICMP6;

	assert_int_equal(r->len, p->len);
	memcpy(got.b, r->b, r->len);
	assert_memory_equal(got.b, mac_peer, 6);
	assert_memory_equal(got.b + 6, mac_us, 6);
	assert_int_equal(pkt_l4_sum(&got), 0);
	assert_int_equal(got.b[got.l4], v6 ? 129 : 0);
	assert_memory_equal(got.b + got.l4 + 4, p->b + p->l4 + 4, p->len - p->l4 - 4);
	if (v6) {
		assert_int_equal(got.b[got.l3 + 7], 64);
		assert_memory_equal(got.b + got.l3 + 8, p->b + p->l3 + 24, 16);
		assert_memory_equal(got.b + got.l3 + 24, p->b + p->l3 + 8, 16);
		return;
	}
	assert_int_equal(got.b[got.l3 + 8], 64);
	assert_int_equal(csum_fold(csum_partial(got.b + got.l3, 20, 0)), 0);
	assert_memory_equal(got.b + got.l3 + 12, p->b + p->l3 + 16, 4);
	assert_memory_equal(got.b + got.l3 + 16, p->b + p->l3 + 12, 4);
}

static void test_xdp_echo_is_answered(void **state)
{
	struct packet p;
	struct result r;

	(void)state;
	for (uint32_t payload = 0; payload < 70; payload += 7) {
		pkt_echo4(&p, payload);
		r = expect(&p, XR_ECHO_REPLY);
		check_echo_reply(&p, &r);
		pkt_echo6(&p, payload);
		r = expect(&p, XR_ECHO_REPLY);
		check_echo_reply(&p, &r);
	}
	/* Nothing but zeros: the checksum has two forms there, and only one is right. */
	pkt_echo4(&p, 8);
	memset(p.b + p.l4, 0, p.len - p.l4);
	p.b[p.l4] = 8;
	p.b[p.l4 + 2] = 0xf7;
	p.b[p.l4 + 3] = 0xff;
	r = expect(&p, XR_ECHO_REPLY);
	check_echo_reply(&p, &r);
}

/* Each byte counts, at any length; what is behind the packet in its frame does not. */
static void test_xdp_echo_with_wrong_checksum_is_dropped(void **state)
{
	static const uint32_t payloads[] = {0,	1,  2,	3,  23, 24,  25,  30,
					    31, 32, 55, 56, 57, 700, 1472};
	struct packet p;
	uint32_t at;

	(void)state;
	for (unsigned i = 0; i < sizeof(payloads) / sizeof(payloads[0]); i++) {
		bool large = payloads[i] > 100;

		pkt_echo4(&p, payloads[i]);
		for (at = p.l4 + 2; at < p.len; at += large ? 61 : 1) {
			p.b[at] ^= 0x40;
			expect(&p, XR_DROP_ICMP_CSUM);
			p.b[at] ^= 0x40;
		}
		p.b[p.len - 1] ^= 1;
		expect(&p, XR_DROP_ICMP_CSUM);
		p.b[p.len - 1] ^= 1;
		memset(pkt_put(&p, 7), 0xa5, 7);
		expect(&p, XR_ECHO_REPLY);

		if (payloads[i] > 1500 - 48)
			continue;
		pkt_echo6(&p, payloads[i]);
		for (at = p.l4 + 2; at < p.len; at += large ? 61 : 1) {
			p.b[at] ^= 0x40;
			expect(&p, XR_DROP_MALFORMED);
			p.b[at] ^= 0x40;
		}
	}
	pkt_echo4(&p, 8);
	for (at = p.l3 + 4; at < p.l3 + 12; at++) {
		if (at == p.l3 + 6 || at == p.l3 + 9) /* fragment, protocol */
			continue;
		p.b[at] ^= 0x10;
		expect(&p, at == p.l3 + 7 ? XR_PASS_UNCLAIMED : XR_DROP_IP_CSUM);
		p.b[at] ^= 0x10;
	}
	expect(&p, XR_ECHO_REPLY);
}

/* A priority tag stays. */
static void test_xdp_echo_tagged_is_answered(void **state)
{
	struct packet p;
	struct result r;

	(void)state;
	pkt_eth(&p, mac_us, ETH_IPV4);
	pkt_vlan(&p, ETH_VLAN, 0);
	pkt_ipv4(&p, PEER4, US4, PROTO_ICMP, 0);
	pkt_icmp(&p, ICMP4_ECHO, 0, 8);
	pkt_done(&p);
	r = expect(&p, XR_ECHO_REPLY);
	check_echo_reply(&p, &r);
	assert_memory_equal(r.b + 12, p.b + 12, 6);
}

static void test_xdp_echo_by_redirect(void **state)
{
	struct packet p;
	struct result r;

	(void)state;
	settings(0, XDP_REPLY_REDIRECT);
	pkt_echo4(&p, 8);
	r = run(&p);
	assert_int_equal(r.reason, XR_ECHO_REPLY);
	assert_int_equal(r.action, XDP_REDIRECT);
	check_echo_reply(&p, &r);
}

static void test_xdp_echo_left_to_slow_path(void **state)
{
	struct packet p;

	(void)state;
	pkt_eth(&p, mac_us, ETH_IPV4);
	pkt_ipv4(&p, PEER4, US4, PROTO_ICMP, 8);
	pkt_icmp(&p, ICMP4_ECHO, 0, 8);
	pkt_done(&p);
	expect(&p, XR_ECHO_SLOW);
	pkt_echo4(&p, 1500 - 28 + 1); /* above the MTU */
	expect(&p, XR_ECHO_SLOW);
	pkt_echo4(&p, 1500 - 28);
	expect(&p, XR_ECHO_REPLY);
	env.settings.mtu = 9000; /* verified up to some length only */
	settings(0, XDP_REPLY_TX);
	pkt_echo4(&p, 2047 - 28);
	expect(&p, XR_ECHO_REPLY);
	pkt_echo4(&p, 2048 - 28);
	expect(&p, XR_ECHO_SLOW);
	pkt_eth(&p, mac_us, ETH_IPV4);
	pkt_ipv4(&p, "224.0.0.5", US4, PROTO_ICMP, 0);
	pkt_icmp(&p, ICMP4_ECHO, 0, 8);
	pkt_done(&p);
	expect(&p, XR_ECHO_SLOW);
	settings(0, XDP_REPLY_NONE);
	pkt_echo6(&p, 8);
	expect(&p, XR_ECHO_SLOW);
	env.settings.answer_echo = 0;
	settings(0, XDP_REPLY_TX);
	expect(&p, XR_PASS_UNCLAIMED);
	settings(1, XDP_REPLY_TX);
	expect(&p, XR_ECHO_SLOW);
}

#define T(name) cmocka_unit_test_setup(name, reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_xdp_arp_request_is_answered),
		T(test_xdp_arp_otherwise_passes),
		T(test_xdp_solicitation_is_answered),
		T(test_xdp_neighbour_discovery_otherwise_passes),
		T(test_xdp_echo_is_answered),
		T(test_xdp_echo_with_wrong_checksum_is_dropped),
		T(test_xdp_echo_tagged_is_answered),
		T(test_xdp_echo_by_redirect),
		T(test_xdp_echo_left_to_slow_path),
	};

	if (geteuid() != 0) {
		printf("test_xdp_reply: SKIPPED: loading XDP programs needs root\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, open_world, close_world);
}
