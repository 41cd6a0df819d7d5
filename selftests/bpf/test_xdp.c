// SPDX-License-Identifier: BSD-2-Clause
/*
 * The XDP program in the kernel, by BPF_PROG_TEST_RUN: every reason and its verdict, the metadata,
 * malformed, truncated and split packets. At the end the program's own counters must show that
 * no reason was left out. Needs root, says so without it.
 */
#include "xdp_world.h"
#include "common/syncookie.h"

/* ---- flows ---- */

static void test_xdp_flow_established_goes_direct(void **state)
{
	struct flow_key k = env_flow_key(PEER4, FLOW, US4, LISTEN, PROTO_TCP);
	struct flow_val before, after;
	int fd = bpf_map__fd(env.skel->maps.flows);
	struct packet p;
	struct result r;

	(void)state;
	assert_int_equal(bpf_map_lookup_elem(fd, &k, &before), 0);
	pkt_tcp4(&p, FLOW, LISTEN, 0x10);
	r = expect(&p, XR_FLOW_DIRECT);
	expect_meta(&r, PKT_META_FLOW, 14, 34, 77, 5);
	assert_int_equal(r.len, p.len);
	assert_memory_equal(r.b, p.b, p.len);
	assert_int_equal(bpf_map_lookup_elem(fd, &k, &after), 0);
	assert_int_equal(after.packets, before.packets + 1);
	assert_int_equal(after.bytes, before.bytes + p.len);
	assert_true(after.last_seen > before.last_seen);
	pkt_tcp4(&p, FLOW, LISTEN, 0x11); /* FIN is data like any other */
	expect(&p, XR_FLOW_DIRECT);
	pkt_tcp6(&p, FLOW, LISTEN, 0x18);
	r = expect(&p, XR_FLOW_DIRECT);
	expect_meta(&r, PKT_META_FLOW | PKT_META_IPV6, 14, 54, 77, 5);
}

static void test_xdp_flow_control_goes_slow(void **state)
{
	struct packet p;
	struct result r;

	(void)state;
	pkt_tcp4(&p, FLOW, LISTEN, TCP_RST | 0x10);
	r = expect(&p, XR_FLOW_CONTROL);
	expect_meta(&r, PKT_META_FLOW, 14, 34, 77, 5);
	pkt_tcp6(&p, FLOW, LISTEN, TCP_SYN);
	expect(&p, XR_FLOW_CONTROL);
}

static void test_xdp_flow_of_slow_path_goes_slow(void **state)
{
	struct packet p;
	struct result r;

	(void)state;
	pkt_tcp4(&p, FLOW_OPENING_PORT, LISTEN, TCP_SYN | 0x10);
	r = expect(&p, XR_FLOW_SLOW);
	expect_meta(&r, PKT_META_FLOW, 14, 34, 77, 5);
	pkt_tcp4(&p, FLOW_CLOSING_PORT, LISTEN, 0x10);
	expect(&p, XR_FLOW_SLOW);
	pkt_tcp4(&p, FLOW_DAEMON, LISTEN, 0x10);
	expect(&p, XR_FLOW_SLOW);
}

static void test_xdp_flow_without_socket_goes_slow_else_drops(void **state)
{
	struct packet p;
	struct result r;

	(void)state;
	pkt_tcp4(&p, FLOW_LONELY, LISTEN, 0x10);
	r = expect(&p, XR_FLOW_NO_SOCKET);
	expect_meta(&r, PKT_META_FLOW, 14, 34, 77, 5);
	pkt_tcp4(&p, FLOW_BAD_SLOT, LISTEN, 0x10);
	expect(&p, XR_FLOW_NO_SOCKET);
	assert_int_equal(env_set_xsk(&env, TD_SLOT_DAEMON, false), 0);
	expect(&p, XR_DROP_NO_SLOW_PATH);
	pkt_tcp4(&p, FLOW_LONELY, LISTEN, 0x10);
	expect(&p, XR_DROP_NO_SLOW_PATH);
	pkt_tcp4(&p, 9, LISTEN, TCP_SYN);
	expect(&p, XR_DROP_NO_SLOW_PATH);
	pkt_tcp4(&p, FLOW, LISTEN, 0x10); /* needs no slow path */
	expect(&p, XR_FLOW_DIRECT);
}

/* ---- ports and claiming ---- */

static void test_xdp_port_goes_to_its_slot(void **state)
{
	struct packet p;
	struct result r;

	(void)state;
	pkt_tcp4(&p, 4711, LISTEN, TCP_SYN);
	r = expect(&p, XR_PORT_SLOW);
	expect_meta(&r, PKT_META_PORT, 14, 34, 9, 0);
	pkt_tcp6(&p, 4711, LISTEN, TCP_SYN);
	r = expect(&p, XR_PORT_SLOW);
	expect_meta(&r, PKT_META_PORT | PKT_META_IPV6, 14, 54, 9, 0);
	pkt_udp4(&p, 4711, UDP_SLOW);
	expect(&p, XR_PORT_SLOW);
	pkt_udp4(&p, 4711, UDP_DIRECT);
	r = expect(&p, XR_PORT_DIRECT);
	expect_meta(&r, PKT_META_PORT, 14, 34, 9, 0);
	assert_int_equal(env_set_xsk(&env, APP_SLOT, false), 0);
	expect(&p, XR_FLOW_NO_SOCKET);
}

/* A port of several sockets: which slot a pair goes to is what user space computes, too. */
static void test_xdp_port_of_several_sockets(void **state)
{
	struct spread s = {.salt = 0x1234567890abcdefull};
	int fd = bpf_map__fd(env.skel->maps.spreads);
	uint32_t i = 5, n = 0;
	struct packet p;

	(void)state;
	for (uint32_t place = 0; place < TD_SPREAD_PLACES; place++)
		s.slot[place] = place & 1 ? APP_SLOT : TD_SLOT_DAEMON;
	assert_int_equal(bpf_map_update_elem(fd, &i, &s, 0), 0);
	assert_int_equal(env_set_port(&env, "::", LISTEN, PROTO_TCP, TD_SLOT_SPREAD(i)), 0);
	for (uint16_t port = 4000; port < 4200; port++) {
		struct flow_key k = env_flow_key(PEER4, port, US4, LISTEN, PROTO_TCP);
		bool app = spread_place(&k, s.salt) & 1;

		n += app;
		pkt_tcp4(&p, port, LISTEN, TCP_SYN);
		expect(&p, app ? XR_PORT_DIRECT : XR_PORT_SLOW);
		pkt_tcp4(&p, port, LISTEN, 0x10);
		expect(&p, app ? XR_PORT_DIRECT : XR_PORT_SLOW);
	}
	assert_in_range(n, 70, 130);
	/* No such table. */
	assert_int_equal(env_set_port(&env, "::", LISTEN, PROTO_TCP, TD_SLOT_SPREAD(TD_SPREADS)),
			 0);
	pkt_tcp4(&p, 4711, LISTEN, TCP_SYN);
	expect(&p, XR_PORT_SLOW);
}

static void test_xdp_port_of_one_address(void **state)
{
	struct packet p;

	(void)state;
	pkt_udp4(&p, 4711, UDP_ONE_ADDR);
	expect(&p, XR_PASS_UNCLAIMED);
	pkt_eth(&p, mac_us, ETH_IPV4);
	pkt_ipv4(&p, PEER4, US4_2, PROTO_UDP, 0);
	pkt_udp(&p, 4711, UDP_ONE_ADDR, 0);
	pkt_done(&p);
	expect(&p, XR_PORT_DIRECT);
}

static void test_xdp_unmatched_passes_when_bound(void **state)
{
	struct packet p;

	(void)state;
	pkt_tcp4(&p, 4711, 22, TCP_SYN);
	expect(&p, XR_PASS_UNCLAIMED);
	pkt_tcp6(&p, 4711, 22, TCP_SYN);
	expect(&p, XR_PASS_UNCLAIMED);
	pkt_eth(&p, mac_us, ETH_IPV4);
	pkt_ipv4(&p, PEER4, US4, 132, 0); /* SCTP */
	pkt_put(&p, 12);
	pkt_done(&p);
	expect(&p, XR_PASS_UNCLAIMED);
}

static void test_xdp_unmatched_is_claimed_when_all(void **state)
{
	struct packet p;
	struct result r;

	(void)state;
	settings(1, XDP_REPLY_TX);
	pkt_tcp4(&p, 4711, 22, TCP_SYN);
	r = expect(&p, XR_CLAIMED);
	expect_meta(&r, 0, 14, 34, TD_NO_CONN, 0);
	pkt_eth(&p, mac_us, ETH_IPV4);
	pkt_ipv4(&p, PEER4, US4, 132, 0);
	pkt_put(&p, 12);
	pkt_done(&p);
	r = expect(&p, XR_CLAIMED);
	expect_meta(&r, 0, 14, 0, TD_NO_CONN, 0);
}

static void test_xdp_not_ours_passes(void **state)
{
	static const uint8_t other[6] = {2, 0, 0, 0, 0, 3};
	struct packet p;

	(void)state;
	settings(1, XDP_REPLY_TX);
	pkt_eth(&p, mac_us, ETH_IPV4);
	pkt_ipv4(&p, PEER4, "10.9.0.200", PROTO_TCP, 0);
	pkt_tcp(&p, 1, LISTEN, TCP_SYN, 0);
	pkt_done(&p);
	expect(&p, XR_PASS_NOT_LOCAL);
	pkt_tcp4(&p, FLOW, LISTEN, 0x10);
	memcpy(p.b, other, 6);
	expect(&p, XR_PASS_NOT_LOCAL);
	memcpy(p.b, mac_all, 6);
	expect(&p, XR_PASS_NOT_LOCAL);
	pkt_eth(&p, mac_us, 0x88cc); /* LLDP */
	pkt_put(&p, 46);
	expect(&p, XR_PASS_NOT_IP);
}

static void test_xdp_deny_list_drops_prefix(void **state)
{
	struct deny_key k = {.prefixlen = 96 + 24, .addr = addr_of("10.9.66.0")};
	struct deny_key k6 = {.prefixlen = 48, .addr = addr_of("fd00:bad::")};
	struct deny_val v = {0};
	int fd = bpf_map__fd(env.skel->maps.deny);
	struct packet p;

	(void)state;
	assert_int_equal(bpf_map_update_elem(fd, &k, &v, 0), 0);
	assert_int_equal(bpf_map_update_elem(fd, &k6, &v, 0), 0);
	pkt_eth(&p, mac_us, ETH_IPV4);
	pkt_ipv4(&p, "10.9.66.7", US4, PROTO_TCP, 0);
	pkt_tcp(&p, 1, LISTEN, TCP_SYN, 0);
	pkt_done(&p);
	expect(&p, XR_DROP_DENY);
	pkt_arp_request(&p, "10.9.66.7", US4);
	expect(&p, XR_DROP_DENY);
	pkt_eth(&p, mac_us, ETH_IPV6);
	pkt_ipv6(&p, "fd00:bad::1", US6, PROTO_TCP);
	pkt_tcp(&p, 1, LISTEN, TCP_SYN, 0);
	pkt_done(&p);
	expect(&p, XR_DROP_DENY);
	assert_int_equal(bpf_map_lookup_elem(fd, &k, &v), 0);
	assert_int_equal(v.packets, 2);
	pkt_tcp4(&p, FLOW, LISTEN, 0x10);
	expect(&p, XR_FLOW_DIRECT);
	/* A flow does not shield from the list. */
	k = (struct deny_key){.prefixlen = 128, .addr = addr_of(PEER4)};
	assert_int_equal(bpf_map_update_elem(fd, &k, &v, 0), 0);
	expect(&p, XR_DROP_DENY);
	assert_int_equal(bpf_map_delete_elem(fd, &k), 0);
	assert_int_equal(bpf_map_delete_elem(fd, &k6), 0);
}

/* ---- ICMP errors ---- */

static void test_xdp_icmp_error_about_flow(void **state)
{
	static const uint8_t types4[] = {3, 11, 12}, types6[] = {1, 2, 3, 4};
	struct packet p;
	struct result r;

	(void)state;
	for (unsigned i = 0; i < sizeof(types4); i++) {
		pkt_error4(&p, types4[i], "10.9.0.254", LISTEN, FLOW);
		r = expect(&p, XR_ICMP_ERROR);
		expect_meta(&r, PKT_META_FLOW, 14, 34, 77, 5);
	}
	for (unsigned i = 0; i < sizeof(types6); i++) {
		pkt_error6(&p, types6[i], "fd00:9::fe", LISTEN, FLOW);
		r = expect(&p, XR_ICMP_ERROR);
		expect_meta(&r, PKT_META_FLOW | PKT_META_IPV6, 14, 54, 77, 5);
	}
	/* A SYN-ACK's: no flow yet, but a port of ours. */
	pkt_error4(&p, 3, PEER4, LISTEN, 4711);
	r = expect(&p, XR_ICMP_ERROR);
	expect_meta(&r, PKT_META_PORT, 14, 34, 9, 0);
}

static void test_xdp_icmp_error_about_others(void **state)
{
	struct packet p;

	(void)state;
	pkt_error4(&p, 3, PEER4, 22, FLOW);
	expect(&p, XR_PASS_UNCLAIMED);
	pkt_error4(&p, 5, PEER4, LISTEN, FLOW); /* a redirect is about the kernel's routes */
	expect(&p, XR_PASS_UNCLAIMED);
	pkt_error4(&p, 3, PEER4, LISTEN, FLOW);
	p.b[14 + 20 + 8 + 15] ^= 1; /* the quoted packet is from another host */
	expect(&p, XR_PASS_UNCLAIMED);
	settings(1, XDP_REPLY_TX);
	expect(&p, XR_CLAIMED);
}

/* ---- fragments, options, VLANs ---- */

static void test_xdp_fragments_follow_the_first(void **state)
{
	struct packet p;
	struct result r;

	(void)state;
	pkt_frag4(&p, 1, 64, true, 0, 0);
	expect(&p, XR_PASS_UNCLAIMED);
	pkt_frag4(&p, 1, 0, true, 4711, UDP_DIRECT);
	r = expect(&p, XR_FRAGMENT);
	expect_meta(&r, PKT_META_PORT, 14, 0, 9, 0);
	pkt_frag4(&p, 1, 64, false, 0, 0);
	r = expect(&p, XR_FRAGMENT);
	expect_meta(&r, 0, 14, 0, TD_NO_CONN, 0);
	pkt_frag4(&p, 2, 64, false, 0, 0);
	expect(&p, XR_PASS_UNCLAIMED);
	pkt_frag4(&p, 3, 0, true, 4711, 99); /* somebody else's port */
	expect(&p, XR_PASS_UNCLAIMED);
	pkt_frag6(&p, 70000, 0, true, 4711, UDP_DIRECT);
	r = expect(&p, XR_FRAGMENT);
	expect_meta(&r, PKT_META_PORT | PKT_META_IPV6, 14, 0, 9, 0);
	pkt_frag6(&p, 70000, 64, false, 0, 0);
	expect(&p, XR_FRAGMENT);
	pkt_frag6(&p, 70001, 64, false, 0, 0);
	expect(&p, XR_PASS_UNCLAIMED);
	settings(1, XDP_REPLY_TX);
	expect(&p, XR_FRAGMENT);
}

static void test_xdp_options_go_slow(void **state)
{
	struct packet p;
	struct result r;

	(void)state;
	pkt_eth(&p, mac_us, ETH_IPV4);
	pkt_ipv4(&p, PEER4, US4, PROTO_TCP, 40);
	pkt_tcp(&p, FLOW, LISTEN, 0x10, 4);
	pkt_done(&p);
	r = expect(&p, XR_IP_OPTIONS);
	expect_meta(&r, PKT_META_FLOW, 14, 74, 77, 5);
	pkt_eth(&p, mac_us, ETH_IPV6);
	pkt_ipv6(&p, PEER6, US6, PROTO_TCP);
	*(uint8_t *)pkt_ipv6_ext(&p, PROTO_HOPOPTS) = PROTO_DSTOPTS;
	*(uint8_t *)pkt_ipv6_ext(&p, PROTO_DSTOPTS) = PROTO_TCP;
	((struct wire_ipv6 *)(p.b + p.l3))->next = PROTO_HOPOPTS;
	pkt_tcp(&p, 4711, LISTEN, TCP_SYN, 0);
	pkt_done(&p);
	r = expect(&p, XR_IP_OPTIONS);
	expect_meta(&r, PKT_META_PORT | PKT_META_IPV6, 14, 70, 9, 0);
	pkt_eth(&p, mac_us, ETH_IPV4);
	pkt_ipv4(&p, PEER4, US4, PROTO_TCP, 4);
	pkt_tcp(&p, 4711, 22, TCP_SYN, 0);
	pkt_done(&p);
	expect(&p, XR_PASS_UNCLAIMED);
}

static void build_tagged(struct packet *p, uint16_t outer_tci, int inner_tci)
{
	pkt_eth(p, mac_us, ETH_IPV4);
	pkt_vlan(p, inner_tci < 0 ? ETH_VLAN : ETH_QINQ, outer_tci);
	if (inner_tci >= 0)
		pkt_vlan(p, ETH_VLAN, (uint16_t)inner_tci);
	pkt_ipv4(p, PEER4, US4, PROTO_TCP, 0);
	pkt_tcp(p, FLOW, LISTEN, 0x10, 0);
	pkt_done(p);
}

static void test_xdp_vlan_tags(void **state)
{
	struct packet p;
	struct result r;

	(void)state;
	build_tagged(&p, 0xa000, -1); /* priority only */
	r = expect(&p, XR_FLOW_DIRECT);
	expect_meta(&r, PKT_META_FLOW | PKT_META_VLAN, 18, 38, 77, 5);
	build_tagged(&p, 0, 0x2000);
	r = expect(&p, XR_FLOW_DIRECT);
	expect_meta(&r, PKT_META_FLOW | PKT_META_VLAN, 22, 42, 77, 5);
	build_tagged(&p, 12, -1);
	expect(&p, XR_PASS_VLAN);
	build_tagged(&p, 0, 12);
	expect(&p, XR_PASS_VLAN);
	pkt_eth(&p, mac_us, ETH_IPV4);
	for (int i = 0; i < 3; i++)
		pkt_vlan(&p, ETH_VLAN, 0);
	expect(&p, XR_PASS_VLAN);
}

/* ---- malformed ---- */

struct damage {
	const char *what;
	uint32_t at; /* of the byte, from the IP header */
	uint8_t value;
	enum xdp_reason bound, all;
};

static void run_damages(void (*build)(struct packet *p), const struct damage *d, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		struct packet p;

		print_message("%s\n", d[i].what);
		build(&p);
		p.b[14 + d[i].at] = d[i].value;
		settings(0, XDP_REPLY_TX);
		expect(&p, d[i].bound);
		settings(1, XDP_REPLY_TX);
		expect(&p, d[i].all);
	}
}

static void build_flow4(struct packet *p)
{
	pkt_tcp4(p, FLOW, LISTEN, 0x10);
}

static void build_flow6(struct packet *p)
{
	pkt_tcp6(p, FLOW, LISTEN, 0x10);
}

static void build_port(struct packet *p)
{
	pkt_udp4(p, 4711, UDP_DIRECT);
}

static void build_unclaimed(struct packet *p)
{
	pkt_udp4(p, 4711, 99);
}

static void build_echo4(struct packet *p)
{
	pkt_echo4(p, 20);
}

static void test_xdp_malformed(void **state)
{
	static const struct damage
		flow4[] =
			{
				{"IPv4 version", 0, 0x55, XR_PASS_MALFORMED, XR_DROP_IP_HEADER},
				{"IPv4 header length below 20", 0, 0x44, XR_PASS_MALFORMED,
				 XR_DROP_IP_HEADER},
				{"IPv4 length above the frame's", 2, 0x10, XR_PASS_MALFORMED,
				 XR_DROP_IP_CUT},
				{"IPv4 total length below its header", 3, 19, XR_PASS_MALFORMED,
				 XR_DROP_IP_HEADER},
				{"IPv4 total length without ports", 3, 23, XR_PASS_MALFORMED,
				 XR_DROP_TCP_CUT},
				{"TCP header cut short", 3, 39, XR_DROP_TCP_CUT, XR_DROP_TCP_CUT},
				{"TCP data offset below 5", 32, 0x40, XR_DROP_TCP_HEADER,
				 XR_DROP_TCP_HEADER},
			},
		flow6[] =
			{
				{"IPv6 version", 0, 0x40, XR_PASS_MALFORMED, XR_DROP_MALFORMED},
				{"IPv6 length above the frame's", 4, 0x10, XR_PASS_MALFORMED,
				 XR_DROP_MALFORMED},
				{"IPv6 payload without ports", 5, 3, XR_PASS_MALFORMED,
				 XR_DROP_MALFORMED},
				{"TCP header cut short", 5, 19, XR_DROP_MALFORMED,
				 XR_DROP_MALFORMED},
				{"TCP header of 60 bytes, all there", 52, 0xf0, XR_FLOW_DIRECT,
				 XR_FLOW_DIRECT},
			},
		port[] =
			{
				{"UDP header cut short", 3, 27, XR_DROP_UDP_HEADER,
				 XR_DROP_UDP_HEADER},
				{"UDP length below 8", 25, 7, XR_DROP_UDP_HEADER,
				 XR_DROP_UDP_HEADER},
				{"UDP length above the packet's", 25, 41, XR_DROP_UDP_HEADER,
				 XR_DROP_UDP_HEADER},
			},
		unclaimed[] =
			{
				{"UDP length above the packet's, port not ours", 25, 41,
				 XR_PASS_MALFORMED, XR_DROP_UDP_HEADER},
				{"UDP without ports", 3, 23, XR_PASS_MALFORMED, XR_DROP_UDP_HEADER},
			},
		echo4[] = {
			{"ICMP header cut short", 3, 27, XR_PASS_MALFORMED, XR_DROP_ICMP_CUT},
			{"IPv4 checksum", 10, 0x12, XR_DROP_IP_CSUM, XR_DROP_IP_CSUM},
			{"ICMP checksum", 22, 0x12, XR_DROP_ICMP_CSUM, XR_DROP_ICMP_CSUM},
		};

	(void)state;
	run_damages(build_flow4, flow4, sizeof(flow4) / sizeof(flow4[0]));
	run_damages(build_flow6, flow6, sizeof(flow6) / sizeof(flow6[0]));
	run_damages(build_port, port, sizeof(port) / sizeof(port[0]));
	run_damages(build_unclaimed, unclaimed, sizeof(unclaimed) / sizeof(unclaimed[0]));
	run_damages(build_echo4, echo4, sizeof(echo4) / sizeof(echo4[0]));
}

static void build_error4(struct packet *p) { pkt_error4(p, 3, PEER4, LISTEN, FLOW); }
static void build_error6(struct packet *p) { pkt_error6(p, 1, PEER6, LISTEN, FLOW); }
static void build_echo6(struct packet *p) { pkt_echo6(p, 20); }
static void build_arp(struct packet *p) { pkt_arp_request(p, PEER4, US4); }
static void build_nd(struct packet *p) { pkt_nd(p); }
static void build_frag4(struct packet *p) { pkt_frag4(p, 50, 0, true, 4711, UDP_DIRECT); }
static void build_frag6(struct packet *p) { pkt_frag6(p, 50, 0, true, 4711, UDP_DIRECT); }
static void build_vlan(struct packet *p) { build_tagged(p, 0, 0); }

static void (*const builders[])(struct packet *p) = {
	build_flow4, build_flow6, build_port,  build_unclaimed, build_error4, build_error6,
	build_echo4, build_echo6, build_arp,   build_nd,	build_frag4,  build_frag6,
	build_vlan,
};

/* The verdict is its reason's, whatever is missing; what is cut short is never redirected whole. */
static void test_xdp_truncated_anywhere(void **state)
{
	static struct result r;
	struct packet p;

	(void)state;
	for (uint32_t claim_all = 0; claim_all < 2; claim_all++) {
		settings(claim_all, XDP_REPLY_TX);
		for (unsigned i = 0; i < sizeof(builders) / sizeof(builders[0]); i++) {
			builders[i](&p);
			for (uint32_t len = 14; len < p.len; len++) {
				assert_int_equal(run_bytes(p.b, len, len, &r), 0);
				assert_int_equal(r.action, action_of(r.reason));
				assert_int_not_equal(r.action, XDP_REDIRECT);
				assert_int_not_equal(r.action, XDP_TX);
			}
		}
	}
}

/*
 * Multi-buffer frames whose linear part ends anywhere get the verdict of the whole. Echo alone
 * is left to the slow path there, and neighbour discovery to the kernel: replies are made in place.
 */
static void test_xdp_multi_buffer_split_anywhere(void **state)
{
	static struct result whole, r;
	struct packet p;
	int err;

	(void)state;
	for (unsigned i = 0; i < sizeof(builders) / sizeof(builders[0]); i++) {
		builders[i](&p);
		assert_int_equal(run_bytes(p.b, p.len, p.len, &whole), 0);
		for (uint32_t linear = 14; linear < p.len; linear++) {
			err = run_bytes(p.b, p.len, linear, &r);
			if (err == -EINVAL && !i && linear == 14) {
				print_message("skipped: this kernel cannot split test frames\n");
				skip();
			}
			assert_int_equal(err, 0);
			assert_int_equal(r.action, action_of(r.reason));
			if (whole.reason == XR_ECHO_REPLY)
				assert_int_equal(r.reason, XR_ECHO_SLOW);
			else if (whole.action == XDP_TX)
				assert_int_equal(r.reason, XR_PASS_ARP);
			else
				assert_int_equal(r.reason, whole.reason);
			if (r.action == XDP_REDIRECT && whole.has_meta)
				assert_memory_equal(&r.meta, &whole.meta, sizeof(r.meta));
		}
	}
}

/* A whole super-frame: more than a page, one packet. */
static void test_xdp_multi_buffer_large(void **state)
{
	static uint8_t big[40000], out[sizeof(big) + 64];
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = big, .data_size_in = sizeof(big),
		    .data_out = out, .data_size_out = sizeof(out), .repeat = 1);
	uint16_t len = htons(sizeof(big) - 14);
	uint64_t before[XR_MAX];
	struct packet p;

	(void)state;
	pkt_tcp4(&p, FLOW, LISTEN, 0x10);
	memcpy(big, p.b, p.len);
	memcpy(big + 16, &len, 2);
	read_stats(before);
	assert_int_equal(bpf_prog_test_run_opts(env.prog_fd, &o), 0);
	assert_int_equal(o.retval, XDP_REDIRECT);
	assert_int_equal(reason_since(before), XR_FLOW_DIRECT);
}

/* ---- no room for metadata ---- */

#define INSN(c, d, s, o, i)                                                                        \
	((struct bpf_insn){.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i)})
#define SQUEEZE 208 /* of 256 bytes of headroom: the kernel keeps the rest for itself */
#define MOVED 112

/*
 * Runs our program on a frame without headroom: a program before it moves the frame to where
 * the headroom begins, and calls ours as its tail.
 */
static int load_squeezer(int tail_map)
{
	LIBBPF_OPTS(bpf_prog_load_opts, o, .prog_flags = BPF_F_XDP_HAS_FRAGS,
		    .expected_attach_type = BPF_XDP);
	struct bpf_insn code[64];
	unsigned n = 0, check;

	code[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_X, 6, 1, 0, 0);
	code[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_K, 2, 0, 0, -SQUEEZE);
	code[n++] = INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_xdp_adjust_head);
	code[n++] = INSN(BPF_LDX | BPF_MEM | BPF_W, 7, 6, 0, 0); /* data */
	code[n++] = INSN(BPF_LDX | BPF_MEM | BPF_W, 8, 6, 4, 0); /* data_end */
	code[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_X, 1, 7, 0, 0);
	code[n++] = INSN(BPF_ALU64 | BPF_ADD | BPF_K, 1, 0, 0, SQUEEZE + MOVED);
	check = n;
	code[n++] = INSN(BPF_JMP | BPF_JGT | BPF_X, 1, 8, 0, 0);
	for (int16_t i = 0; i < MOVED; i += 8) {
		code[n++] = INSN(BPF_LDX | BPF_MEM | BPF_DW, 1, 7, SQUEEZE + i, 0);
		code[n++] = INSN(BPF_STX | BPF_MEM | BPF_DW, 7, 1, i, 0);
	}
	code[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_X, 1, 6, 0, 0);
	code[n++] = INSN(BPF_LD | BPF_IMM | BPF_DW, 2, BPF_PSEUDO_MAP_FD, 0, tail_map);
	code[n++] = INSN(0, 0, 0, 0, 0);
	code[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_K, 3, 0, 0, 0);
	code[n++] = INSN(BPF_JMP | BPF_CALL, 0, 0, 0, BPF_FUNC_tail_call);
	code[check].off = (int16_t)(n - check - 1);
	code[n++] = INSN(BPF_ALU64 | BPF_MOV | BPF_K, 0, 0, 0, XDP_ABORTED);
	code[n++] = INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
	return bpf_prog_load(BPF_PROG_TYPE_XDP, "squeezer", "GPL", code, n, &o);
}

static void test_xdp_no_room_for_metadata_drops(void **state)
{
	uint32_t zero = 0;
	uint8_t out[PKT_MAX];
	struct packet p;
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = p.b, .data_out = out,
		    .data_size_out = sizeof(out), .repeat = 1);
	uint64_t before[XR_MAX];
	int map, prog;

	(void)state;
	map = bpf_map_create(BPF_MAP_TYPE_PROG_ARRAY, "tail", 4, 4, 1, NULL);
	assert_true(map >= 0);
	assert_int_equal(bpf_map_update_elem(map, &zero, &env.prog_fd, 0), 0);
	prog = load_squeezer(map);
	assert_true(prog >= 0);
	pkt_tcp4(&p, FLOW, LISTEN, 0x10);
	o.data_size_in = p.len;
	read_stats(before);
	assert_int_equal(bpf_prog_test_run_opts(prog, &o), 0);
	assert_int_equal(reason_since(before), XR_DROP_NO_ROOM);
	assert_int_equal(o.retval, XDP_DROP);
	close(prog);
	close(map);
}

/* Metadata of somebody before us gives way to ours. */
static void test_xdp_metadata_replaces_other(void **state)
{
	struct xdp_md in = {.data = 32}, out_ctx = {0};
	uint8_t b[PKT_MAX + 32] = {0}, out[PKT_MAX + 64];
	struct packet p;
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = b, .data_out = out,
		    .data_size_out = sizeof(out), .ctx_in = &in, .ctx_size_in = sizeof(in),
		    .ctx_out = &out_ctx, .ctx_size_out = sizeof(out_ctx), .repeat = 1);

	(void)state;
	pkt_tcp4(&p, FLOW, LISTEN, 0x10);
	memcpy(b + 32, p.b, p.len);
	o.data_size_in = in.data_end = p.len + 32;
	assert_int_equal(bpf_prog_test_run_opts(env.prog_fd, &o), 0);
	assert_int_equal(o.retval, XDP_REDIRECT);
	assert_int_equal(out_ctx.data - out_ctx.data_meta, sizeof(struct pkt_meta));
	assert_int_equal(((struct pkt_meta *)out)->magic, PKT_META_MAGIC);
	assert_memory_equal(out + sizeof(struct pkt_meta), p.b, p.len);
}

/* A listener under a SYN flood: in full in test_xdp_cookie.c. */
static void test_xdp_flooded_listener(void **state)
{
	struct syncookie_secrets c = {.keys.period = UINT32_MAX, .pair_key = {5, 6}};
	struct port_key k = {.port = htons(8080), .proto = PROTO_TCP};
	struct port_val v = {.cookies = {.on = 1, .mss = 1460}};
	uint32_t zero = 0, ack;
	struct wire_tcp *tcp;
	struct packet p;
	struct result r;

	(void)state;
	assert_int_equal(
		bpf_map_update_elem(bpf_map__fd(env.skel->maps.syncookies), &zero, &c, 0), 0);
	assert_int_equal(bpf_map_update_elem(bpf_map__fd(env.skel->maps.ports), &k, &v, 0), 0);
	pkt_tcp4(&p, 4000, 8080, TCP_SYN); /* with data */
	expect(&p, XR_DROP_COOKIE_SYN);
	pkt_eth(&p, mac_us, ETH_IPV4);
	pkt_ipv4(&p, PEER4, US4, PROTO_TCP, 0);
	tcp = pkt_tcp(&p, 4000, 8080, TCP_SYN, 0);
	tcp->seq = htonl(77);
	pkt_done(&p);
	r = expect(&p, XR_SYN_COOKIE);
	memcpy(&ack, r.b + 38, 4);
	tcp->seq = htonl(78);
	tcp->ack = htonl(ntohl(ack) + 1);
	tcp->flags = TCP_ACK;
	pkt_done(&p);
	expect(&p, XR_COOKIE_ACK);
	pkt_tcp4(&p, 4001, 8080, TCP_RST);
	for (int i = 0; i < 1000 && run(&p).reason != XR_DROP_COOKIE; i++)
		;
}

/* The last test: nothing was left out. */
static void test_xdp_every_reason_was_seen(void **state)
{
	static const char *const names[] = {
#define X(name, verdict, text) #name,
		XDP_REASONS(X)
#undef X
	};
	uint64_t seen[XR_MAX];
	int missing = 0;

	(void)state;
	read_stats(seen);
	for (int r = 0; r < XR_MAX; r++) {
		if (!seen[r]) {
			print_error("no test gave %s\n", names[r]);
			missing++;
		}
	}
	assert_int_equal(missing, 0);
}

#define T(name) cmocka_unit_test_setup(name, reset)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_xdp_flow_established_goes_direct),
		T(test_xdp_flow_control_goes_slow),
		T(test_xdp_flow_of_slow_path_goes_slow),
		T(test_xdp_flow_without_socket_goes_slow_else_drops),
		T(test_xdp_port_goes_to_its_slot),
		T(test_xdp_port_of_several_sockets),
		T(test_xdp_port_of_one_address),
		T(test_xdp_unmatched_passes_when_bound),
		T(test_xdp_unmatched_is_claimed_when_all),
		T(test_xdp_not_ours_passes),
		T(test_xdp_deny_list_drops_prefix),
		T(test_xdp_icmp_error_about_flow),
		T(test_xdp_icmp_error_about_others),
		T(test_xdp_fragments_follow_the_first),
		T(test_xdp_options_go_slow),
		T(test_xdp_vlan_tags),
		T(test_xdp_malformed),
		T(test_xdp_truncated_anywhere),
		T(test_xdp_multi_buffer_split_anywhere),
		T(test_xdp_multi_buffer_large),
		T(test_xdp_no_room_for_metadata_drops),
		T(test_xdp_metadata_replaces_other),
		T(test_xdp_flooded_listener),
		T(test_xdp_every_reason_was_seen),
	};

	if (geteuid() != 0) {
		printf("test_xdp: SKIPPED: loading XDP programs needs root\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, open_world, close_world);
}
