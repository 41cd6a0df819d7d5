// SPDX-License-Identifier: BSD-2-Clause
#include "lib_stack.h"

/* A UDP datagram to a closed port shows that a packet came through: it is answered. */
#define GOOD UDP_PKT, .sport = 9, .dport = 99, .data = "abc", .len = 3

static void open_with_peer(struct tstack *t, const struct stack_cfg *c)
{
	ts_open(t, c);
	ts_neigh(t, PEER_IP, peer_mac);
	ts_neigh(t, GW_IP, gw_mac);
}

static void test_ip_good_packet_is_delivered(void **state)
{
	struct tstack t;
	struct out o;

	(void)state;
	open_with_peer(&t, NULL);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD}), DROP_NO_SOCKET);
	ts_expect(&t, &o);
	assert_int_equal(o.proto, PROTO_ICMP);
	assert_int_equal(ts_mib(&t, MIB_Ip_InReceives), 1);
	assert_int_equal(ts_mib(&t, MIB_Ip_InDelivers), 1);
	ts_close(&t);
}

/* Each packet counts once: what an application has passed on it has counted, and a bad checksum is seen late. */
static void test_ip_packets_count_once(void **state)
{
	struct spec syn = {TCP_PKT, .sport = 4000, .dport = 81, .flags = TH_SYN};
	struct tstack t;
	struct out o;

	(void)state;
	open_with_peer(&t, NULL);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .bad_ip_csum = true}), DROP_BAD_IP_CSUM);
	assert_int_equal(ts_mib(&t, MIB_IpExt_InNoECTPkts), 1);
	assert_int_equal(ts_rx(&t, &syn), DROP_NO_SOCKET);
	ts_expect(&t, &o);
	t.injected = true;
	assert_int_equal(ts_rx(&t, &syn), DROP_NO_SOCKET);
	ts_expect(&t, &o);
	assert_int_equal(ts_mib(&t, MIB_Ip_InReceives), 2);
	assert_int_equal(ts_mib(&t, MIB_IpExt_InNoECTPkts), 2);
	assert_int_equal(ts_mib(&t, MIB_Ip_InDelivers), 1);
	assert_int_equal(ts_mib(&t, MIB_Tcp_InSegs), 1);
	assert_int_equal(ts_mib(&t, MIB_Tcp_OutRsts), 2);
	ts_close(&t);
}

/* RFC 1122 §3.2.1.1/1 */
static void test_ip_malformed_header_is_dropped(void **state)
{
	static const struct {
		uint8_t at, value; /* in the IP header, checksum put right */
		enum drop want;
		enum mib counted;
	} v[] = {
		{0, 0x55, DROP_BAD_IP, MIB_Ip_InHdrErrors}, /* version 5 */
		{0, 0x65, DROP_BAD_IP, MIB_Ip_InHdrErrors}, /* version 6 under the other type */
		{0, 0x44, DROP_BAD_IP, MIB_Ip_InHdrErrors}, /* header of 16 bytes */
		{0, 0x4f, DROP_BAD_IP, MIB_Ip_InHdrErrors}, /* header beyond the packet */
		{3, 19, DROP_BAD_IP, MIB_Ip_InHdrErrors},   /* total length less than the header */
		{3, 32, DROP_BAD_IP, MIB_IpExt_InTruncatedPkts}, /* more than the frame */
		{2, 1, DROP_BAD_IP, MIB_IpExt_InTruncatedPkts},
		{8, 0, DROP_TTL, MIB_Ip_InHdrErrors},
	};
	uint64_t counted[MIB_MAX] = {0};
	uint8_t b[100];
	struct tstack t;

	(void)state;
	open_with_peer(&t, NULL);
	for (uint32_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		uint32_t len = ts_build(b, &(struct spec){GOOD});
		uint16_t c = 0;

		b[14 + v[i].at] = v[i].value;
		memcpy(b + 24, &c, 2);
		c = csum_fold(csum_partial(b + 14, 20, 0));
		memcpy(b + 24, &c, 2);
		assert_int_equal(ts_rx_raw(&t, b, len, 0, 0, PKT_CSUM_VERIFY), v[i].want);
		assert_int_equal(ts_mib(&t, v[i].counted), counted[v[i].counted] + 1);
		counted[v[i].counted]++;
	}
	ts_expect_none(&t);
	ts_close(&t);
}

static void test_ip_cut_short_is_dropped(void **state)
{
	uint8_t b[100];
	struct tstack t;
	uint32_t len;

	(void)state;
	open_with_peer(&t, NULL);
	len = ts_build(b, &(struct spec){GOOD});
	for (uint32_t n = 0; n < len; n++)
		assert_true(ts_rx_raw(&t, b, n, 0, 0, PKT_CSUM_VERIFY) != DROP_NO_SOCKET);
	ts_expect_none(&t);
	ts_close(&t);
}

/* RFC 1122 §3.2.1.2/1 */
static void test_ip_bad_header_checksum_is_dropped(void **state)
{
	struct tstack t;

	(void)state;
	open_with_peer(&t, NULL);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .bad_ip_csum = true}), DROP_BAD_IP_CSUM);
	assert_int_equal(ts_mib(&t, MIB_Ip_InHdrErrors), 1);
	assert_int_equal(ts_mib(&t, MIB_IpExt_InCsumErrors), 1);
	ts_expect_none(&t);
	ts_close(&t);
}

/* Ethernet pads short frames: what is behind the total length is not data. */
static void test_ip_padding_is_trimmed(void **state)
{
	uint8_t b[60] = {0};
	struct tstack t;
	struct out o;

	(void)state;
	open_with_peer(&t, NULL);
	memset(b, 0xff, sizeof(b));
	ts_build(b, &(struct spec){GOOD});
	assert_int_equal(ts_rx_raw(&t, b, 60, 0, 0, PKT_CSUM_VERIFY), DROP_NO_SOCKET);
	ts_expect(&t, &o);
	assert_int_equal(o.l4_len, 8 + 20 + 8 + 3);
	ts_close(&t);
}

/* RFC 9293 MUST-63; RFC 1122 §3.2.1.3/2 */
static void test_ip_martian_sources_are_dropped(void **state)
{
	static const char *const src[] = {"0.0.0.0",	"255.255.255.255", "224.0.0.1",
					  "10.0.0.255", "127.0.0.1",	   OUR_IP};
	struct tstack t;

	(void)state;
	open_with_peer(&t, NULL);
	for (uint32_t i = 0; i < 6; i++) {
		assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .src = src[i]}), DROP_MARTIAN);
		assert_int_equal(ts_mib(&t, MIB_Ip_InAddrErrors), i + 1);
	}
	ts_expect_none(&t);
	ts_close(&t);
}

/* RFC 1122 §3.2.1.3/1 */
static void test_ip_other_destinations_are_not_ours(void **state)
{
	struct tstack t;

	(void)state;
	open_with_peer(&t, NULL);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .dst = "10.0.0.9"}), DROP_NOT_FOR_US);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .dst = "224.0.0.5"}), DROP_NOT_FOR_US);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .dst = "0.0.0.0"}), DROP_NOT_FOR_US);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .dst = "127.0.0.1"}), DROP_MARTIAN);
	assert_int_equal(ts_mib(&t, MIB_Ip_InAddrErrors), 4);
	ts_expect_none(&t);
	ts_close(&t);
}

/* Broadcasts are looked at, but never answered: neither by address nor by MAC. */
/* RFC 9293 MUST-57 */
static void test_ip_broadcast_is_not_answered(void **state)
{
	struct tstack t;

	(void)state;
	open_with_peer(&t, NULL);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .dst = "10.0.0.255", .dmac = bcast_mac}),
			 DROP_NO_SOCKET);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .dst = "255.255.255.255"}), DROP_NO_SOCKET);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .dmac = bcast_mac}), DROP_NO_SOCKET);
	assert_int_equal(ts_rx(&t, &(struct spec){TCP_PKT, .sport = 9, .dport = 80, .dmac = bcast_mac,
						  .flags = TH_SYN}),
			 DROP_NO_SOCKET);
	ts_expect_none(&t);
	ts_close(&t);
}

/* On lo our own addresses and 127/8 talk to us. */
static void test_ip_loopback_interface_accepts_own_addresses(void **state)
{
	static const uint8_t zero[6];
	struct net_event lo = {.kind = NET_LINK_UP, .mtu = 65536};
	struct net_event a = {.kind = NET_ADDR_ADD, .addr = ip("127.0.0.1"), .plen = 8};
	struct tstack t;
	struct out o;

	(void)state;
	ts_open_bare(&t, NULL);
	assert_int_equal(ts_event(&t, lo), 0);
	assert_int_equal(ts_event(&t, a), 0);
	a.addr = ip(OUR_IP);
	assert_int_equal(ts_event(&t, a), 0);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .src = OUR_IP, .dmac = zero, .smac = zero}),
			 DROP_NO_SOCKET);
	ts_expect(&t, &o);
	assert_ip(o.dst, OUR_IP);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .src = "127.0.0.1", .dst = "127.8.9.10",
						  .dmac = zero, .smac = zero}),
			 DROP_NO_SOCKET);
	ts_expect(&t, &o);
	assert_ip(o.src, "127.8.9.10");
	ts_close(&t);
}

/* RFC 9293 MUST-50 */
static void test_ip_options_are_skipped_source_routes_refused(void **state)
{
	static const uint8_t nops[8] = {1, 1, 1, 1, 7, 3, 4, 0}, rr[8] = {7, 7, 4, 0, 0, 0, 0, 0};
	static const uint8_t lsrr[8] = {1, 131, 7, 4, 9, 9, 9, 9}, ssrr[4] = {137, 3, 4, 0};
	struct tstack t;
	struct out o;

	(void)state;
	open_with_peer(&t, NULL);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .opts = nops, .opt_len = 8}), DROP_NO_SOCKET);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .opts = rr, .opt_len = 8}), DROP_NO_SOCKET);
	ts_expect(&t, &o);
	ts_expect(&t, &o);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .opts = lsrr, .opt_len = 8}), DROP_BAD_IP);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .opts = ssrr, .opt_len = 4}), DROP_BAD_IP);
	ts_expect_none(&t);
	ts_close(&t);
}

static void test_ip_malformed_options_give_parameter_problem(void **state)
{
	static const uint8_t bad[3][4] = {{7, 1, 0, 0}, {1, 1, 1, 7}, {1, 7, 4, 0}};
	static const uint8_t at[3] = {20, 23, 21};
	struct tstack t;
	struct out o;

	(void)state;
	open_with_peer(&t, NULL);
	for (uint32_t i = 0; i < 3; i++) {
		assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .opts = bad[i], .opt_len = 4}),
				 DROP_BAD_IP);
		ts_expect(&t, &o);
		assert_int_equal(o.l4[0], 12);
		assert_int_equal(o.l4[4], at[i]);
	}
	ts_close(&t);
}

/* RFC 1122 §3.2.2.1/1 */
static void test_ip_unknown_protocol_gives_unreachable(void **state)
{
	struct tstack t;
	struct out o;

	(void)state;
	open_with_peer(&t, NULL);
	assert_int_equal(ts_rx(&t, &(struct spec){IP_PKT, .proto = 132, .len = 9}), DROP_PROTO);
	ts_expect(&t, &o);
	assert_int_equal(o.l4[0], 3);
	assert_int_equal(o.l4[1], 2);
	assert_int_equal(ts_mib(&t, MIB_Ip_InUnknownProtos), 1);
	ts_close(&t);
}

/* RFC 1122 §4.1.3.4/1 */
static void test_ip_udp_is_validated(void **state)
{
	static const uint8_t len_at = 14 + 20 + 4;
	uint8_t b[100];
	struct tstack t;
	struct out o;
	uint32_t len;

	(void)state;
	open_with_peer(&t, NULL);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .bad_csum = true}), DROP_BAD_CSUM);
	len = ts_build(b, &(struct spec){GOOD});
	put_be16(b + len_at, 7);
	assert_int_equal(ts_rx_raw(&t, b, len, 0, 0, PKT_CSUM_VERIFY), DROP_BAD_UDP);
	put_be16(b + len_at, 12);
	assert_int_equal(ts_rx_raw(&t, b, len, 0, 0, PKT_CSUM_VERIFY), DROP_BAD_UDP);
	assert_int_equal(ts_rx(&t, &(struct spec){IP_PKT, .proto = PROTO_UDP, .len = 7}),
			 DROP_BAD_UDP);
	ts_expect_none(&t);
	/* No checksum is right, too. */
	len = ts_build(b, &(struct spec){GOOD});
	memset(b + len_at + 2, 0, 2);
	assert_int_equal(ts_rx_raw(&t, b, len, 0, 0, PKT_CSUM_VERIFY), DROP_NO_SOCKET);
	ts_expect(&t, &o);
	ts_close(&t);
}

/* FACTS of veth: with PARTIAL the field may hold the pseudo-header's sum, or be right; no else. */
static void test_ip_partial_checksums(void **state)
{
	static const struct {
		struct spec x;
		enum pkt_csum csum;
		enum drop want;
	} v[] = {
		{{GOOD}, PKT_CSUM_PARTIAL, DROP_NO_SOCKET},
		{{GOOD, .partial_csum = true}, PKT_CSUM_PARTIAL, DROP_NO_SOCKET},
		{{GOOD, .partial_csum = true, .bad_csum = true}, PKT_CSUM_PARTIAL, DROP_BAD_CSUM},
		{{GOOD, .bad_csum = true}, PKT_CSUM_PARTIAL, DROP_BAD_CSUM},
		{{GOOD, .partial_csum = true}, PKT_CSUM_VERIFY, DROP_BAD_CSUM},
		{{GOOD, .bad_csum = true}, PKT_CSUM_GOOD, DROP_NO_SOCKET},
	};
	uint8_t b[100];
	struct tstack t;

	(void)state;
	open_with_peer(&t, NULL);
	for (uint32_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		uint32_t len = ts_build(b, &v[i].x);

		assert_int_equal(ts_rx_raw(&t, b, len, 0, 0, v[i].csum), v[i].want);
	}
	ts_close(&t);
}

/* Payload over several pieces, also of odd length; headers only in the first one. */
static void test_ip_checksum_over_fragments_of_any_length(void **state)
{
	static uint8_t data[3000], b[4000];
	struct tstack t;
	uint32_t len;

	(void)state;
	open_with_peer(&t, NULL);
	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + 3);
	for (uint32_t n = 2990; n < 3000; n++) {
		struct spec x = {UDP_PKT, .sport = 9, .dport = 99, .data = data, .len = n};

		for (uint32_t split = 42; split < 60; split++) {
			len = ts_build(b, &x);
			assert_int_equal(ts_rx_raw(&t, b, len, split, 401, PKT_CSUM_VERIFY),
					 DROP_NO_SOCKET);
			b[len - 1] ^= 1;
			assert_int_equal(ts_rx_raw(&t, b, len, split, 401, PKT_CSUM_VERIFY),
					 DROP_BAD_CSUM);
		}
	}
	len = ts_build(b, &(struct spec){GOOD});
	assert_int_equal(ts_rx_raw(&t, b, len, 20, 0, PKT_CSUM_VERIFY), DROP_BAD_FRAME);
	assert_int_equal(ts_rx_raw(&t, b, len, 36, 0, PKT_CSUM_VERIFY), DROP_BAD_UDP);
	ts_close(&t);
}

/* A super-frame, as veth delivers it: 60 KB, pseudo-header over the whole length. */
static void test_ip_super_frame_with_partial_checksum(void **state)
{
	struct spec x = {UDP_PKT, .len = 60000, .partial_csum = true};
	uint8_t *b = malloc(70000);
	struct tstack t;
	uint32_t len;

	(void)state;
	open_with_peer(&t, NULL);
	len = ts_build(b, &x);
	assert_int_equal(ts_rx_raw(&t, b, len, 3800, 4096, PKT_CSUM_PARTIAL), DROP_NO_SOCKET);
	b[14 + 20 + 7] ^= 1;
	assert_int_equal(ts_rx_raw(&t, b, len, 3800, 4096, PKT_CSUM_PARTIAL), DROP_BAD_CSUM);
	free(b);
	ts_close(&t);
}

static int send_bytes(struct tstack *t, const char *dst, uint32_t len, bool df)
{
	struct ip_out o = {.src = ip(OUR_IP), .dst = ip(dst), .proto = 99, .df = df, .tos = 0x10};
	struct pkt *p = ip_pkt_alloc(t->s, false);
	uint8_t *b = ip_payload(p);
	int rc;

	for (uint32_t i = 0; i < len && i < 3000; i++)
		b[i] = (uint8_t)(i / 8);
	rc = ip_send(t->s, p, len, &o, t->now);
	ts_check(t);
	return rc;
}

static void test_ip_send_header(void **state)
{
	struct tstack t;
	struct out o;
	uint16_t id;

	(void)state;
	open_with_peer(&t, NULL);
	assert_int_equal(send_bytes(&t, FAR_IP, 1480, true), 0);
	ts_expect(&t, &o);
	assert_ip(o.src, OUR_IP);
	assert_ip(o.dst, FAR_IP);
	assert_memory_equal(o.dmac, gw_mac, 6);
	assert_int_equal(o.ttl, 64);
	assert_int_equal(o.tos, 0x10);
	assert_int_equal(o.proto, 99);
	assert_int_equal(o.frag, 0x4000);
	assert_int_equal(o.l4_len, 1480);
	/* What may be fragmented on the way needs an identification of its own. */
	assert_int_equal(send_bytes(&t, FAR_IP, 100, false), 0);
	ts_expect(&t, &o);
	id = o.id;
	assert_int_equal(o.frag, 0);
	assert_int_equal(send_bytes(&t, FAR_IP, 100, false), 0);
	ts_expect(&t, &o);
	assert_int_not_equal(o.id, id);
	assert_int_equal(ts_mib(&t, MIB_Ip_OutRequests), 3);
	ts_close(&t);
}

static void test_ip_send_fragments_what_is_too_long(void **state)
{
	static uint8_t got[3000];
	struct tstack t;
	struct out o;
	uint16_t id = 0;

	(void)state;
	open_with_peer(&t, NULL);
	assert_int_equal(send_bytes(&t, PEER_IP, 3000, false), 0);
	for (uint32_t i = 0; i < 3; i++) {
		uint32_t off;

		ts_expect(&t, &o);
		off = (o.frag & 0x1fff) * 8u;
		assert_int_equal(off, i * 1480);
		assert_int_equal(!!(o.frag & 0x2000), i < 2);
		assert_true(o.len <= 1514);
		memcpy(got + off, o.l4, o.l4_len);
		if (i)
			assert_int_equal(o.id, id);
		id = o.id;
	}
	ts_expect_none(&t);
	for (uint32_t i = 0; i < 3000; i++)
		assert_int_equal(got[i], (uint8_t)(i / 8));
	assert_int_equal(ts_mib(&t, MIB_Ip_FragCreates), 3);
	ts_close(&t);
}

static void test_ip_send_errors_free_the_packet(void **state)
{
	struct tstack t;

	(void)state;
	open_with_peer(&t, NULL);
	assert_int_equal(send_bytes(&t, PEER_IP, 1481, true), -E_MSGSIZE);
	assert_int_equal(send_bytes(&t, PEER_IP, TS_ROOM, false), -E_MSGSIZE);
	assert_int_equal(send_bytes(&t, "224.0.0.1", 10, false), -E_INVAL);
	assert_int_equal(send_bytes(&t, "10.0.0.255", 10, false), -E_INVAL);
	assert_int_equal(ts_event(&t, (struct net_event){.kind = NET_ROUTE_DEL,
							 .addr = ip("0.0.0.0"),
							 .gw = ip(GW_IP)}),
			 0);
	assert_int_equal(send_bytes(&t, FAR_IP, 10, false), -E_NETUNREACH);
	assert_int_equal(ts_mib(&t, MIB_Ip_OutNoRoutes), 3);
	assert_int_equal(t.pool.n, TS_PKTS);
	ts_expect_none(&t);
	ts_close(&t);
}

/* Fragments leave all or not at all. */
static void test_ip_send_fragments_need_room_for_all(void **state)
{
	struct tstack t;
	struct pkt *kept = NULL, *p;

	(void)state;
	open_with_peer(&t, NULL);
	while (t.pool.n > 3) {
		p = pkt_alloc(&t.pool);
		p->next = kept;
		kept = p;
	}
	/* One for the whole, two left: three fragments do not fit. */
	assert_int_equal(send_bytes(&t, PEER_IP, 3000, false), -E_NOBUFS);
	assert_int_equal(t.pool.n, 3);
	ts_expect_none(&t);
	while (kept) {
		p = kept;
		kept = p->next;
		pkt_free(&t.pool, p);
	}
	ts_close(&t);
}

static void test_ip_transport_checksum_is_left_to_offload(void **state)
{
	struct stack_cfg c = ts_cfg();
	struct tcp_addr_pair a = {.remote = ip(PEER_IP), .remote_port = 80};
	struct tstack t;
	struct out o;
	uint32_t conn;

	(void)state;
	for (int i = 0; i < 2; i++) {
		c.csum_offload = i;
		open_with_peer(&t, &c);
		assert_int_equal(tcp_connect(t.s, &a, 0, t.now, &conn), 0);
		ts_expect(&t, &o); /* lib_stack.c has checked the sum, partial or complete */
		assert_int_equal(o.proto, PROTO_TCP);
		ts_close(&t);
	}
}

static void test_ip_application_takes_tcp_only_and_answers_nothing(void **state)
{
	struct net_event up = {.kind = NET_LINK_UP, .mtu = 1500, .mac = {2, 0, 0, 0, 0, 1}};
	struct stack_cfg c = ts_cfg();
	struct tstack t;

	(void)state;
	c.role = STACK_APP;
	ts_open_bare(&t, &c);
	assert_int_equal(ts_event(&t, up), 0);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD}), DROP_NO_SOCKET);
	assert_int_equal(ts_rx(&t, &(struct spec){ICMP_PKT, .type = 8}), DROP_NO_SOCKET);
	assert_int_equal(ts_rx_arp(&t, 1, peer_mac, PEER_IP, OUR_IP, NULL), DROP_NOT_FOR_US);
	/* Without an address of its own: the connection table decides. */
	assert_true(ts_rx(&t, &(struct spec){TCP_PKT, .flags = TH_ACK}) != DROP_NOT_FOR_US);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .frag_len = 8}), DROP_FRAGMENT);
	ts_expect_none(&t);
	ts_close(&t);
}

/* What an application sends besides its connections' segments takes the connection's way. */
static void test_ip_application_sends_by_its_connection(void **state)
{
	struct net_event up = {.kind = NET_LINK_UP, .mtu = 1500, .mac = {2, 0, 0, 0, 0, 1}};
	struct tcp_addr_pair a = {.local = ip(OUR_IP),
				  .remote = ip(FAR_IP),
				  .local_port = htobe16(80),
				  .remote_port = htobe16(999)};
	struct tcp_options none = {0};
	struct stack_cfg c = ts_cfg();
	struct tstack t;
	struct tcb *conn;
	struct out o;

	(void)state;
	c.role = STACK_APP;
	ts_open_bare(&t, &c);
	assert_int_equal(ts_event(&t, up), 0);
	t.a.neighs[3] = (struct neigh){.addr = ip(GW_IP), .generation = 5};
	for (int i = 0; i < 6; i++)
		t.a.neighs[3].mac_state |= (uint64_t)gw_mac[i] << (40 - 8 * i);
	/* FAILED: the daemon will see to it; the last known MAC is the best that there is. */
	t.a.neighs[3].mac_state |= (uint64_t)NUD_FAILED << 48;
	tcp_send_bare(t.s, &a, 1, 2, TH_ACK, 9, &none, 0, t.now);
	assert_null(stack_output(t.s, t.now)); /* no such connection */
	conn = tcb_at(t.s, tcb_alloc(t.s));
	conn->local = a.local;
	conn->remote = a.remote;
	conn->local_port = a.local_port;
	conn->remote_port = a.remote_port;
	conn->neigh = 3;
	conn->neigh_gen = 5;
	conn_table_add(t.s, 0);
	tcp_send_bare(t.s, &a, 1, 2, TH_ACK, 9, &none, 0, t.now);
	conn->neigh_gen = 4; /* the entry is another one's by now */
	tcp_send_bare(t.s, &a, 1, 2, TH_ACK, 9, &none, 0, t.now);
	conn_table_del(t.s, 0);
	tcb_release(t.s, 0);
	ts_expect(&t, &o);
	assert_memory_equal(o.dmac, gw_mac, 6);
	assert_ip(o.dst, FAR_IP);
	ts_expect_none(&t);
	assert_int_equal(t.pool.n, TS_PKTS);
	ts_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ip_good_packet_is_delivered),
		cmocka_unit_test(test_ip_packets_count_once),
		cmocka_unit_test(test_ip_malformed_header_is_dropped),
		cmocka_unit_test(test_ip_cut_short_is_dropped),
		cmocka_unit_test(test_ip_bad_header_checksum_is_dropped),
		cmocka_unit_test(test_ip_padding_is_trimmed),
		cmocka_unit_test(test_ip_martian_sources_are_dropped),
		cmocka_unit_test(test_ip_other_destinations_are_not_ours),
		cmocka_unit_test(test_ip_broadcast_is_not_answered),
		cmocka_unit_test(test_ip_loopback_interface_accepts_own_addresses),
		cmocka_unit_test(test_ip_options_are_skipped_source_routes_refused),
		cmocka_unit_test(test_ip_malformed_options_give_parameter_problem),
		cmocka_unit_test(test_ip_unknown_protocol_gives_unreachable),
		cmocka_unit_test(test_ip_udp_is_validated),
		cmocka_unit_test(test_ip_partial_checksums),
		cmocka_unit_test(test_ip_checksum_over_fragments_of_any_length),
		cmocka_unit_test(test_ip_super_frame_with_partial_checksum),
		cmocka_unit_test(test_ip_send_header),
		cmocka_unit_test(test_ip_send_fragments_what_is_too_long),
		cmocka_unit_test(test_ip_send_errors_free_the_packet),
		cmocka_unit_test(test_ip_send_fragments_need_room_for_all),
		cmocka_unit_test(test_ip_transport_checksum_is_left_to_offload),
		cmocka_unit_test(test_ip_application_takes_tcp_only_and_answers_nothing),
		cmocka_unit_test(test_ip_application_sends_by_its_connection),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
