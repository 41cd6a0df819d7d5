// SPDX-License-Identifier: BSD-2-Clause
#include "lib_stack.h"

static void open_with_peer(struct tstack *t, const struct stack_cfg *c)
{
	ts_open(t, c);
	ts_neigh(t, PEER_IP, peer_mac);
	ts_neigh(t, GW_IP, gw_mac);
}

/* RFC 1122 §3.2.2.6/1 */
static void test_icmp_echo_is_answered(void **state)
{
	struct tstack t;
	struct out o;

	(void)state;
	open_with_peer(&t, NULL);
	assert_int_equal(ts_rx(&t, &(struct spec){ICMP_PKT, .type = 8, .rest = 0x12340007,
						  .tos = 0x28, .data = "ping!", .len = 5}),
			 DROP_NONE);
	ts_expect(&t, &o);
	assert_ip(o.src, OUR_IP);
	assert_ip(o.dst, PEER_IP);
	assert_int_equal(o.queue, 3);
	assert_int_equal(o.tos, 0x28);
	assert_int_equal(o.l4_len, 13);
	assert_int_equal(o.l4[0], 0);
	assert_int_equal(get_be32(o.l4 + 4), 0x12340007);
	assert_memory_equal(o.l4 + 8, "ping!", 5);
	/* Nothing but zeroes behind the type: a checksum of 0 would be wrong (RFC 1624 §3). */
	assert_int_equal(ts_rx(&t, &(struct spec){ICMP_PKT, .type = 8}), DROP_NONE);
	ts_expect(&t, &o);
	assert_int_equal(get_be16(o.l4 + 2), 0xffff);
	assert_int_equal(ts_mib(&t, MIB_Icmp_InEchos), 2);
	assert_int_equal(ts_mib(&t, MIB_Icmp_OutEchoReps), 2);
	ts_close(&t);
}

/* Larger than a pool packet and the MTU: the reply goes in fragments, with the same bytes. */
/* RFC 1122 §3.2.2.6/1 */
static void test_icmp_large_echo_is_answered_in_fragments(void **state)
{
	static uint8_t data[20000], got[20008], b[21000];
	struct spec x = {ICMP_PKT, .type = 8, .data = data, .len = sizeof(data)};
	struct tstack t;
	struct out o;
	uint32_t len, n = 0;

	(void)state;
	open_with_peer(&t, NULL);
	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 31 + i / 256);
	len = ts_build(b, &x);
	assert_int_equal(ts_rx_raw(&t, b, len, 3000, 4000, PKT_CSUM_PARTIAL), DROP_NONE);
	while (ts_tx(&t, &o)) {
		memcpy(got + (o.frag & 0x1fff) * 8, o.l4, o.l4_len);
		n++;
	}
	assert_int_equal(n, (20008 + 1479) / 1480);
	assert_int_equal(csum_fold(csum_partial(got, sizeof(got), 0)), 0);
	assert_int_equal(got[0], 0);
	assert_memory_equal(got + 8, data, sizeof(data));
	ts_close(&t);
}

static void test_icmp_broadcast_echo_is_not_answered(void **state)
{
	struct tstack t;

	(void)state;
	open_with_peer(&t, NULL);
	assert_int_equal(ts_rx(&t, &(struct spec){ICMP_PKT, .type = 8, .dst = "10.0.0.255"}),
			 DROP_NO_SOCKET);
	ts_expect_none(&t);
	ts_close(&t);
}

static void test_icmp_malformed_is_dropped(void **state)
{
	struct tstack t;

	(void)state;
	open_with_peer(&t, NULL);
	assert_int_equal(ts_rx(&t, &(struct spec){ICMP_PKT, .type = 8, .bad_csum = true}),
			 DROP_BAD_CSUM);
	assert_int_equal(ts_mib(&t, MIB_Icmp_InCsumErrors), 1);
	assert_int_equal(ts_rx(&t, &(struct spec){IP_PKT, .proto = PROTO_ICMP, .len = 7,
						  .data = "\0\0\xff\xff\0\0\0"}),
			 DROP_BAD_ICMP);
	assert_int_equal(ts_mib(&t, MIB_Icmp_InErrors), 2);
	assert_int_equal(ts_rx(&t, &(struct spec){ICMP_PKT, .type = 5}), DROP_NO_SOCKET);
	assert_int_equal(ts_rx(&t, &(struct spec){ICMP_PKT, .type = 77}), DROP_NO_SOCKET);
	assert_int_equal(ts_mib(&t, MIB_Icmp_InErrors), 3);
	ts_expect_none(&t);
	ts_close(&t);
}

/* ---- errors about our own segments ---- */

/* A connection in SYN_SENT to the peer's port 80; its SYN. */
static uint32_t connecting(struct tstack *t, struct out *syn)
{
	struct tcp_addr_pair a = {.remote = ip(PEER_IP), .remote_port = htobe16(80)};
	uint32_t conn;

	assert_int_equal(tcp_connect(t->s, &a, 0, t->now, &conn), 0);
	ts_expect(t, syn);
	assert_int_equal(syn->proto, PROTO_TCP);
	return conn;
}

/* The error quotes what we sent: header and 8 bytes of transport, or as much as @quote says. */
static enum drop error_about(struct tstack *t, const struct out *sent, uint8_t type, uint8_t code,
			     uint32_t rest, uint32_t quote)
{
	return ts_rx(t, &(struct spec){ICMP_PKT, .src = GW_IP, .smac = gw_mac, .type = type,
				       .code = code, .rest = rest, .data = sent->ip, .len = quote});
}

/* RFC 9293 MUST-54 */
static void test_icmp_hard_errors_end_connect(void **state)
{
	static const struct {
		uint8_t type, code;
		int err;
	} v[] = {{3, 2, E_NOPROTOOPT},
		 {3, 3, E_CONNREFUSED},
		 {3, 9, E_NETUNREACH},
		 {3, 10, E_HOSTUNREACH},
		 {3, 13, E_HOSTUNREACH},
		 {12, 0, E_PROTO},
		 /* soft ones: as Linux also these, before there is a connection */
		 {3, 0, E_NETUNREACH},
		 {3, 1, E_HOSTUNREACH},
		 {11, 0, E_HOSTUNREACH}};

	(void)state;
	for (uint32_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		struct tstack t;
		struct out syn;
		uint32_t conn;

		open_with_peer(&t, NULL);
		conn = connecting(&t, &syn);
		assert_int_equal(error_about(&t, &syn, v[i].type, v[i].code, 0, 28), DROP_NONE);
		assert_int_equal(tcp_error(t.s, conn), v[i].err);
		tcp_close(t.s, conn, t.now);
		ts_close(&t);
	}
}

/* Whoever does not know the sequence number, the ports or the address does no harm. */
/* RFC 5927 §4/1 */
static void test_icmp_forged_errors_are_ignored(void **state)
{
	static const struct {
		uint8_t at, flip;
		enum drop want;
	} v[] = {
		{24, 0x40, DROP_NONE},	     /* sequence number */
		{20, 1, DROP_NO_SOCKET},     /* our port */
		{22, 1, DROP_NO_SOCKET},     /* its port */
		{15, 1, DROP_NO_SOCKET},     /* quoted source is not us */
		{19, 1, DROP_NO_SOCKET},     /* other peer */
		{9, 17 ^ 6, DROP_NO_SOCKET}, /* UDP */
		{7, 1, DROP_NO_SOCKET},	     /* not a first fragment */
		{0, 0x20, DROP_NO_SOCKET},   /* version */
		{0, 0x06, DROP_NO_SOCKET},   /* header length 12 */
		{0, 0x0a, DROP_NO_SOCKET},   /* header length 60: cut short */
	};
	struct tstack t;
	struct out syn;
	uint32_t conn;

	(void)state;
	open_with_peer(&t, NULL);
	conn = connecting(&t, &syn);
	for (uint32_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		struct out forged = syn;

		forged.ip = forged.b + 14;
		forged.b[14 + v[i].at] ^= v[i].flip;
		assert_int_equal(error_about(&t, &forged, 3, 3, 0, 28), v[i].want);
		assert_int_equal(tcp_error(t.s, conn), 0);
	}
	for (uint32_t n = 0; n < 28; n++)
		assert_int_equal(error_about(&t, &syn, 3, 3, 0, n), DROP_NO_SOCKET);
	assert_int_equal(error_about(&t, &syn, 3, 16, 0, 28), DROP_NO_SOCKET); /* no such code */
	assert_int_equal(tcp_error(t.s, conn), 0);
	assert_int_equal(tcp_get(t.s, conn)->state, TCP_SYN_SENT);
	tcp_close(t.s, conn, t.now);
	ts_close(&t);
}

/* @p is @x, built at @b, and of nobody whom the stack knows. */
static void given(struct tstack *t, uint8_t *b, struct pkt *p, const struct spec *x)
{
	*p = (struct pkt){.nfrags = 1, .len = ts_build(b, x)};
	p->frag[0] = (struct pkt_frag){.p = b, .len = p->len};
	stack_input(t->s, p, t->now);
}

/* An error about a connection that another stack has: its owner is told who and what. */
static void test_icmp_quote_for_the_switchboard(void **state)
{
	static const struct {
		uint16_t told, total;
		uint32_t mtu;
	} v[] = {
		{1400, 1500, 1400},
		{68, 1500, 68},
		/* no MTU that can be: the plateaus of RFC 1191 §7.1 */
		{0, 65535, 32000},
		{0, 32000, 17914},
		{0, 17914, 8166},
		{0, 8166, 4352},
		{0, 4352, 2002},
		{0, 2002, 1492},
		{0, 1500, 1492},
		{67, 1492, 1006},
		{0, 1006, 508},
		{0, 508, 296},
		{0, 296, 68},
		{0, 68, 68},
	};
	static const uint8_t others[] = {0, 4, 5, 8, 13}; /* RFC 6633, RFC 1812 §5.2.7.2 */
	struct spec seg = {TCP_PKT,	  .src = OUR_IP,     .dst = FAR_IP,  .sport = 80,
			   .dport = 5555, .seq = 0x01020304, .flags = TH_ACK};
	uint8_t quoted[100], b[200];
	struct icmp_quote q;
	struct tstack t;
	struct pkt p;

	(void)state;
	open_with_peer(&t, NULL);
	ts_build_ip(quoted, &seg);
	for (uint32_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		struct spec x = {ICMP_PKT,	    .type = 3,	    .code = 4,
				 .rest = v[i].told, .data = quoted, .len = 28};

		put_be16(quoted + 2, v[i].total);
		given(&t, b, &p, &x);
		assert_true(stack_icmp_quote(&p, &q));
		assert_ip(q.pair.local, OUR_IP);
		assert_ip(q.pair.remote, FAR_IP);
		assert_int_equal(be16toh(q.pair.local_port), 80);
		assert_int_equal(be16toh(q.pair.remote_port), 5555);
		assert_int_equal(q.seq, 0x01020304);
		assert_int_equal(q.err, E_MSGSIZE);
		assert_int_equal(q.mtu, v[i].mtu);
	}
	/* What is no such error says so. */
	for (uint32_t i = 0; i < sizeof(others); i++) {
		given(&t, b, &p,
		      &(struct spec){ICMP_PKT, .type = others[i], .data = quoted, .len = 28});
		assert_false(stack_icmp_quote(&p, &q));
	}
	given(&t, b, &p, &(struct spec){TCP_PKT, .flags = TH_RST});
	assert_false(stack_icmp_quote(&p, &q));
	ts_close(&t);
}

/* ---- errors that we send ---- */

/* RFC 1122 §3.2.2.1/1 */
static void test_icmp_port_unreachable_quotes_the_packet(void **state)
{
	static uint8_t data[1000];
	uint8_t b[1100];
	struct spec x = {UDP_PKT, .sport = 5, .dport = 6, .data = data, .len = 10, .src = FAR_IP};
	struct tstack t;
	struct out o;
	uint32_t len;

	(void)state;
	open_with_peer(&t, NULL);
	assert_int_equal(ts_rx(&t, &x), DROP_NO_SOCKET);
	ts_expect(&t, &o);
	assert_ip(o.dst, FAR_IP);
	assert_memory_equal(o.dmac, gw_mac, 6);
	assert_int_equal(o.tos, 0xc0);
	assert_int_equal(o.l4[0], 3);
	assert_int_equal(o.l4[1], 3);
	len = ts_build_ip(b, &x);
	assert_int_equal(o.l4_len, 8 + len);
	assert_memory_equal(o.l4 + 8, b, len);
	/* RFC 1812: no more than 576 bytes in all. */
	x.len = sizeof(data);
	ts_build_ip(b, &x);
	assert_int_equal(ts_rx(&t, &x), DROP_NO_SOCKET);
	ts_expect(&t, &o);
	assert_int_equal(o.len, 14 + 576);
	assert_memory_equal(o.l4 + 8, b, 576 - 28);
	assert_int_equal(ts_mib(&t, MIB_Icmp_OutDestUnreachs), 2);
	assert_int_equal(ts_mib(&t, MIB_Icmp_OutMsgs), 2);
	ts_close(&t);
}

/* RFC 1122 §3.2.2: no error about an ICMP error, nor about what is no first fragment. */
/* RFC 1122 §3.2.2/1 */
static void test_icmp_no_error_about_errors(void **state)
{
	static const uint8_t bad_opt[4] = {7, 1, 0, 0};
	static const uint8_t types[] = {3, 4, 5, 11, 12, 99};
	struct tstack t;
	struct out o;

	(void)state;
	open_with_peer(&t, NULL);
	for (uint32_t i = 0; i < sizeof(types); i++)
		assert_int_equal(ts_rx(&t, &(struct spec){ICMP_PKT, .type = types[i],
							  .opts = bad_opt, .opt_len = 4}),
				 DROP_BAD_IP);
	assert_int_equal(ts_rx(&t, &(struct spec){UDP_PKT, .len = 100, .opts = bad_opt,
						  .opt_len = 4, .frag_off = 8, .frag_len = 8}),
			 DROP_BAD_IP);
	ts_expect_none(&t);
	assert_int_equal(
		ts_rx(&t, &(struct spec){ICMP_PKT, .type = 8, .opts = bad_opt, .opt_len = 4}),
		DROP_BAD_IP);
	ts_expect(&t, &o);
	assert_int_equal(o.l4[0], 12);
	ts_close(&t);
}

static uint32_t errors_out(struct tstack *t)
{
	struct out o;
	uint32_t n = 0;

	while (ts_tx(t, &o))
		n++;
	return n;
}

static void test_icmp_errors_to_one_host_are_limited(void **state)
{
	struct tstack t;

	(void)state;
	open_with_peer(&t, NULL);
	for (int i = 0; i < 20; i++)
		ts_rx(&t, &(struct spec){UDP_PKT, .dport = 6});
	assert_int_equal(errors_out(&t), 6);
	assert_int_equal(ts_mib(&t, MIB_Icmp_OutRateLimitHost), 14);
	ts_advance(&t, 2000);
	for (int i = 0; i < 20; i++)
		ts_rx(&t, &(struct spec){UDP_PKT, .dport = 6});
	assert_int_equal(errors_out(&t), 2); /* one each second */
	ts_close(&t);
}

static void test_icmp_errors_to_all_hosts_are_limited(void **state)
{
	struct stack_cfg c = ts_cfg();
	struct tstack t;

	(void)state;
	c.limits.icmp_ratelimit = 0;
	c.limits.icmp_msgs_per_sec = 100;
	open_with_peer(&t, &c);
	for (int i = 0; i < 200; i++)
		ts_rx(&t, &(struct spec){UDP_PKT, .dport = 6});
	assert_int_equal(errors_out(&t), 50); /* the burst */
	assert_int_equal(ts_mib(&t, MIB_Icmp_OutRateLimitGlobal), 150);
	ts_advance(&t, 100);
	for (int i = 0; i < 50; i++)
		ts_rx(&t, &(struct spec){UDP_PKT, .dport = 6});
	assert_int_equal(errors_out(&t), 10);
	ts_close(&t);
}

static void test_icmp_token_bucket(void **state)
{
	struct token_bucket b = {0};
	struct mtime now = {5};
	uint32_t n = 0;

	(void)state;
	for (int i = 0; i < 10; i++)
		n += token_take(&b, 1000, 4, now);
	assert_int_equal(n, 4);
	/* Over a second, asked each 100 µs: the rate, and no rounding loss. */
	for (n = 0; now.ns < NS_PER_S; now = mtime_add_us(now, 100))
		n += token_take(&b, 1000, 4, now);
	assert_in_range(n, 998, 1000);
	assert_true(token_take(&b, 0, 0, now)); /* no limit */
	for (n = 0; n < 4 && token_take(&b, 1, 4, mtime_add_ms(now, 3600000)); n++)
		;
	assert_int_equal(n, 4); /* never more than the burst */
	assert_false(token_take(&b, 1, 4, mtime_add_ms(now, 3600000)));
}

/* The quoted header may have all the options there can be. */
static void test_icmp_quote_with_ip_options(void **state)
{
	static const uint8_t nops[40] = {[0 ... 39] = 1};
	struct spec seg = {TCP_PKT,	  .src = OUR_IP,     .dst = FAR_IP, .sport = 80,
			   .dport = 5555, .seq = 0x01020304, .opts = nops,  .opt_len = 40};
	uint8_t quoted[200], b[200];
	struct icmp_quote q;
	struct tstack t;
	struct pkt p;

	(void)state;
	open_with_peer(&t, NULL);
	ts_build_ip(quoted, &seg);
	given(&t, b, &p, &(struct spec){ICMP_PKT, .type = 3, .code = 1, .data = quoted, .len = 68});
	assert_true(stack_icmp_quote(&p, &q));
	assert_int_equal(q.err, E_HOSTUNREACH);
	assert_int_equal(q.seq, 0x01020304);
	given(&t, b, &p, &(struct spec){ICMP_PKT, .type = 3, .code = 1, .data = quoted, .len = 67});
	assert_false(stack_icmp_quote(&p, &q));
	given(&t, b, &p, &(struct spec){ICMP_PKT, .type = 3, .code = 1, .data = quoted, .len = 27});
	assert_false(stack_icmp_quote(&p, &q));
	ts_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_icmp_echo_is_answered),
		cmocka_unit_test(test_icmp_large_echo_is_answered_in_fragments),
		cmocka_unit_test(test_icmp_broadcast_echo_is_not_answered),
		cmocka_unit_test(test_icmp_malformed_is_dropped),
		cmocka_unit_test(test_icmp_hard_errors_end_connect),
		cmocka_unit_test(test_icmp_forged_errors_are_ignored),
		cmocka_unit_test(test_icmp_quote_for_the_switchboard),
		cmocka_unit_test(test_icmp_port_unreachable_quotes_the_packet),
		cmocka_unit_test(test_icmp_no_error_about_errors),
		cmocka_unit_test(test_icmp_errors_to_one_host_are_limited),
		cmocka_unit_test(test_icmp_errors_to_all_hosts_are_limited),
		cmocka_unit_test(test_icmp_token_bucket),
		cmocka_unit_test(test_icmp_quote_with_ip_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
