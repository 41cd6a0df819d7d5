/* SPDX-License-Identifier: BSD-2-Clause */
/* tcp_parse.c: headers and options, well-formed and not. */
#include "lib_tcp.h"

static struct tstack t;

static int setup(void **state)
{
	(void)state;
	ts_open(&t, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	ts_close(&t);
	return 0;
}

/* A header of @hlen bytes (options from @opt) and @len of text, in a packet of one fragment. */
static enum drop parse(uint8_t flags, const void *opt, uint32_t opt_len, uint32_t len,
		       struct tcp_seg *g)
{
	static uint8_t b[200];
	struct pkt p = {.nfrags = 1, .csum = PKT_CSUM_GOOD};
	struct ip_info ii = {.l4_off = 34, .l4_len = 20 + opt_len + len};

	memset(b, 0, sizeof(b));
	put_be16(b + 34, 1);
	put_be16(b + 36, 2);
	put_be32(b + 38, 0x01020304);
	put_be32(b + 42, 0x05060708);
	b[46] = (uint8_t)((20 + opt_len) / 4 << 4);
	b[47] = flags;
	put_be16(b + 48, 0x1234);
	if (opt_len)
		memcpy(b + 54, opt, opt_len);
	p.frag[0] = (struct pkt_frag){.p = b, .len = 34 + 20 + opt_len + len};
	p.len = p.frag[0].len;
	return tcp_parse(t.s, &p, &ii, g);
}

static void test_tcp_parse_header_fields(void **state)
{
	struct tcp_seg g;

	(void)state;
	assert_int_equal(parse(TH_ACK | TH_PSH, NULL, 0, 7, &g), DROP_NONE);
	assert_int_equal(g.seq, 0x01020304);
	assert_int_equal(g.ack, 0x05060708);
	assert_int_equal(g.wnd, 0x1234);
	assert_int_equal(g.len, 7);
	assert_int_equal(g.data_off, 54);
	assert_int_equal(g.flags, TH_ACK | TH_PSH);
	assert_int_equal(g.sport, __builtin_bswap16(1));
	assert_int_equal(tcp_seg_space(&g), 7);
}

/* RFC 9293 MUST-5; RFC 7323 §2.3/1 */
static void test_tcp_parse_syn_options(void **state)
{
	static const uint8_t o[] = {2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2,
				    3, 4, 5, 6,	   7, 8, 1, 3,	3, 200};
	struct tcp_seg g;

	(void)state;
	assert_int_equal(parse(TH_SYN, o, sizeof(o), 0, &g), DROP_NONE);
	assert_int_equal(g.o.mss, 1460);
	assert_true(g.o.sack_ok && g.o.has_ts && g.o.has_wscale);
	assert_int_equal(g.o.ts_val, 0x01020304);
	assert_int_equal(g.o.ts_ecr, 0x05060708);
	assert_int_equal(g.o.wscale, 14); /* no more is believed */
	/* without SYN they say nothing, but for timestamps */
	assert_int_equal(parse(TH_ACK, o, sizeof(o), 0, &g), DROP_NONE);
	assert_int_equal(g.o.mss, 0);
	assert_false(g.o.sack_ok || g.o.has_wscale);
	assert_true(g.o.has_ts);
}

/* RFC 9293 MUST-4, MUST-6, MUST-64 */
static void test_tcp_parse_unknown_options_skipped(void **state)
{
	static const uint8_t o[] = {253, 5, 2, 4,  9, 30, 2, 1, 2, 4, 5, 0xb4, 255, 4,
				    0,	 0, 8, 10, 0, 0,  0, 7, 0, 0, 0, 8,    0,   2};
	struct tcp_seg g;

	(void)state;
	assert_int_equal(parse(TH_SYN, o, sizeof(o), 0, &g), DROP_NONE);
	assert_int_equal(g.o.mss, 1460); /* not what stands within an option, nor behind the end */
	assert_true(g.o.has_ts);
	assert_int_equal(g.o.ts_val, 7);
	assert_int_equal(g.o.ts_ecr, 8);
}

static void test_tcp_parse_sack_blocks(void **state)
{
	static const uint8_t o[] = {1, 1, 5, 18, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4};
	static const uint8_t bad[] = {1, 1, 5, 17, 0, 0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0, 4};
	struct tcp_seg g;

	(void)state;
	assert_int_equal(parse(TH_ACK, o, sizeof(o), 0, &g), DROP_NONE);
	assert_int_equal(g.o.n_sack, 2);
	assert_int_equal(g.o.sack[1].start, 3);
	assert_int_equal(g.o.sack[1].end, 4);
	assert_int_equal(parse(TH_ACK, bad, sizeof(bad), 0, &g), DROP_NONE);
	assert_int_equal(g.o.n_sack, 0);
}

/* RFC 9293 MUST-7 */
static void test_tcp_parse_cut_options_end_the_list(void **state)
{
	static const uint8_t cut[] = {2, 4, 5, 0xb4, 8, 10, 1, 2};
	static const uint8_t zero[] = {2, 0, 5, 0xb4, 2, 4, 5, 0xb4};
	static const uint8_t end[] = {0, 0, 0, 0, 2, 4, 5, 0xb4};
	static const uint8_t last[] = {1, 1, 1, 2};
	struct tcp_seg g;

	(void)state;
	assert_int_equal(parse(TH_SYN, cut, 8, 0, &g), DROP_NONE);
	assert_int_equal(g.o.mss, 1460);
	assert_false(g.o.has_ts);
	assert_int_equal(parse(TH_SYN, zero, 8, 0, &g), DROP_NONE);
	assert_int_equal(g.o.mss, 0);
	assert_int_equal(parse(TH_SYN, end, 8, 0, &g), DROP_NONE);
	assert_int_equal(g.o.mss, 0);
	assert_int_equal(parse(TH_SYN, last, 4, 0, &g), DROP_NONE);
	assert_int_equal(g.o.mss, 0);
}

static void test_tcp_parse_bad_lengths_dropped(void **state)
{
	uint8_t b[60] = {0};
	struct pkt p = {
		.nfrags = 1, .csum = PKT_CSUM_GOOD, .frag = {{.p = b, .len = 60}}, .len = 60};
	struct ip_info ii = {.l4_off = 34, .l4_len = 19};
	struct tcp_seg g;

	(void)state;
	b[35] = b[37] = 1;
	assert_int_equal(tcp_parse(t.s, &p, &ii, &g), DROP_BAD_TCP);
	ii.l4_len = 26;
	b[46] = 4 << 4;
	assert_int_equal(tcp_parse(t.s, &p, &ii, &g), DROP_BAD_TCP);
	b[46] = 7 << 4; /* more than the IP length has */
	assert_int_equal(tcp_parse(t.s, &p, &ii, &g), DROP_BAD_TCP);
	b[46] = 6 << 4;
	assert_int_equal(tcp_parse(t.s, &p, &ii, &g), DROP_NONE);
	p.frag[0].len = 56; /* header not in the first fragment */
	assert_int_equal(tcp_parse(t.s, &p, &ii, &g), DROP_BAD_TCP);
	p.frag[0].len = 60;
	b[35] = 0; /* port 0 */
	assert_int_equal(tcp_parse(t.s, &p, &ii, &g), DROP_BAD_TCP);
	/* What is cut short Linux does not count as an error. */
	assert_int_equal(ts_mib(&t, MIB_Tcp_InErrs), 2);
}

/* RFC 9293 MUST-3 */
static void test_tcp_parse_bad_checksum_counted(void **state)
{
	(void)state;
	assert_int_equal(ts_rx(&t, &(struct spec){TCP_PKT, .sport = 1, .dport = 2, .flags = TH_SYN,
						  .bad_csum = true}),
			 DROP_BAD_CSUM);
	assert_int_equal(ts_mib(&t, MIB_Tcp_InCsumErrors), 1);
}

/* RFC 9293 MUST-65, MUST-68, MUST-69; RFC 2018 §2/1; RFC 7323 §2.2/1 */
static void test_tcp_put_options_round_trip(void **state)
{
	const struct tcp_options all = {.mss = 1234,
					.has_wscale = true,
					.wscale = 5,
					.has_ts = true,
					.sack_ok = true,
					.ts_val = 77,
					.ts_ecr = 88,
					.n_sack = 2,
					.sack = {{1, 2}, {3, 4}}};
	struct tcp_seg g;
	uint8_t b[40];

	(void)state;
	for (uint32_t i = 0; i < 32; i++) {
		struct tcp_options o = all;
		bool syn = i & 16;
		uint32_t n;

		o.mss = i & 1 ? o.mss : 0;
		o.has_wscale = i & 2;
		o.has_ts = i & 4;
		o.sack_ok = i & 8;
		n = tcp_put_options(b, &o, syn);
		assert_true(n <= 40 && n % 4 == 0);
		assert_int_equal(parse(syn ? TH_SYN : TH_ACK, b, n, 3, &g), DROP_NONE);
		assert_int_equal(g.o.mss, syn ? o.mss : 0);
		assert_int_equal(g.o.has_wscale, syn && o.has_wscale);
		assert_int_equal(g.o.sack_ok, syn && o.sack_ok);
		assert_int_equal(g.o.has_ts, o.has_ts);
		assert_int_equal(g.o.n_sack, syn ? 0 : 2);
		assert_int_equal(g.len, 3);
	}
}

/* RFC 7413 §4.1.1, and §4.1.1 of RFC 6994 for who sends it as an experiment: as on the wire */
static void test_tcp_fastopen_option_on_the_wire(void **state)
{
	static const struct {
		uint8_t fo;
		bool exp;
		uint8_t len, b[24];
	} v[] = {
		{1, false, 4, {34, 2, 1, 1}},
		{5, false, 8, {34, 6, 'a', 'b', 'c', 'd', 1, 1}},
		{17, false, 20,
		 "\x22\x12"
		 "abcdefghijklmnop\x01\x01"},
		{1, true, 4, {254, 4, 0xf9, 0x89}},
		{9, true, 12,
		 "\xfe\x0c\xf9\x89"
		 "abcdefgh"},
	};
	/* 2, 3, 5 and 18 bytes are no cookies; another experiment is none of ours */
	static const uint8_t no[][20] = {{34, 4, 'a', 'b'},
					 {34, 5, 'a', 'b', 'c'},
					 {34, 7, 'a', 'b', 'c', 'd', 'e'},
					 "\x22\x14"
					 "abcdefghijklmnopqr",
					 {254, 4, 0xf9, 0x88}};
	struct tcp_seg g;
	uint8_t b[40];

	(void)state;
	for (uint32_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		struct tcp_options o = {
			.fo = v[i].fo, .fo_exp = v[i].exp, .fo_cookie = "abcdefghijklmnop"};

		assert_int_equal(tcp_put_options(b, &o, true), v[i].len);
		assert_memory_equal(b, v[i].b, v[i].len);
		assert_int_equal(tcp_put_options(b, &o, false), 0);
		assert_int_equal(parse(TH_SYN, v[i].b, v[i].len, 0, &g), DROP_NONE);
		assert_int_equal(g.o.fo, v[i].fo);
		assert_int_equal(g.o.fo_exp, v[i].exp);
		assert_memory_equal(g.o.fo_cookie, o.fo_cookie, v[i].fo - 1u);
		assert_int_equal(parse(TH_ACK, v[i].b, v[i].len, 0, &g), DROP_NONE);
		assert_int_equal(g.o.fo, 0);
	}
	for (uint32_t i = 0; i < sizeof(no) / sizeof(no[0]); i++) {
		assert_int_equal(parse(TH_SYN, no[i], sizeof(no[i]), 0, &g), DROP_NONE);
		assert_int_equal(g.o.fo, 0);
	}
}

/* What others have to understand: kinds, lengths, order and padding (RFC 9293 §3.2) */
static void test_tcp_put_options_on_the_wire(void **state)
{
	static const uint8_t syn[] = {2, 4,  4, 210, 4, 2,  8, 10, 0, 0,
				      0, 77, 0, 0,   0, 88, 1, 3,  3, 5};
	static const uint8_t plain[] = {1, 1, 4, 2};
	static const uint8_t ack[] = {1, 1, 8, 10, 0, 0, 0, 77, 0, 0, 0, 88,
				      1, 1, 5, 10, 0, 0, 0, 1,	0, 0, 0, 2};
	struct tcp_options o = {.mss = 1234,
				.has_wscale = true,
				.wscale = 5,
				.has_ts = true,
				.sack_ok = true,
				.ts_val = 77,
				.ts_ecr = 88,
				.n_sack = 1,
				.sack = {{1, 2}}};
	uint8_t b[40];

	(void)state;
	assert_int_equal(tcp_put_options(b, &o, true), sizeof(syn));
	assert_memory_equal(b, syn, sizeof(syn));
	assert_int_equal(tcp_put_options(b, &o, false), sizeof(ack));
	assert_memory_equal(b, ack, sizeof(ack));
	o.mss = 0;
	o.has_wscale = o.has_ts = false;
	assert_int_equal(tcp_put_options(b, &o, true), sizeof(plain));
	assert_memory_equal(b, plain, sizeof(plain));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_tcp_parse_header_fields, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tcp_parse_syn_options, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tcp_parse_unknown_options_skipped, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_tcp_parse_sack_blocks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tcp_parse_cut_options_end_the_list, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_tcp_parse_bad_lengths_dropped, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_tcp_parse_bad_checksum_counted, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_tcp_put_options_round_trip, setup, teardown),
		cmocka_unit_test_setup_teardown(test_tcp_fastopen_option_on_the_wire, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_tcp_put_options_on_the_wire, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
