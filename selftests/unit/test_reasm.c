// SPDX-License-Identifier: BSD-2-Clause
#include "lib_stack.h"

static uint8_t data[65535];

static void open_with_peer(struct tstack *t, const struct stack_cfg *c)
{
	ts_open(t, c);
	ts_neigh(t, PEER_IP, peer_mac);
	for (uint32_t i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 13 + i / 251);
}

/* A UDP datagram of @len bytes: whole, it is answered with port unreachable. */
static struct spec datagram(uint32_t len, uint16_t id)
{
	return (struct spec){UDP_PKT,	   .sport = 9,	   .dport = 99,
			     .data = data, .len = len - 8, .id = id};
}

static enum drop rx_part(struct tstack *t, const struct spec *x, uint32_t off, uint32_t len)
{
	struct spec f = *x;

	f.frag_off = off;
	f.frag_len = len;
	return ts_rx(t, &f);
}

static uint32_t entries(const struct tstack *t)
{
	return free_list_in_use(&t->s->reasm_free);
}

static void expect_unreachable(struct tstack *t)
{
	struct out o;

	ts_expect(t, &o);
	assert_int_equal(o.l4[0], 3);
	assert_int_equal(entries(t), 0);
	assert_int_equal(t->s->reasm_chunks, 0);
	assert_int_equal(free_list_in_use(&t->s->chunk_free), 0);
}

/* RFC 1122 §3.3.2/1 */
static void test_reasm_in_any_order(void **state)
{
	static const uint8_t orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2},
					     {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
	struct spec x = datagram(3001, 7);
	struct tstack t;

	(void)state;
	open_with_peer(&t, NULL);
	for (uint32_t i = 0; i < 6; i++) {
		for (uint32_t n = 0; n < 3; n++) {
			uint32_t off = orders[i][n] * 1480u;

			assert_int_equal(rx_part(&t, &x, off, off < 2960 ? 1480 : 41),
					 n < 2 ? DROP_NONE : DROP_NO_SOCKET);
		}
		expect_unreachable(&t); /* the checksum over all was right */
	}
	assert_int_equal(ts_mib(&t, MIB_Ip_ReasmReqds), 18);
	assert_int_equal(ts_mib(&t, MIB_Ip_ReasmOKs), 6);
	assert_int_equal(ts_mib(&t, MIB_Ip_ReasmFails), 0);
	ts_close(&t);
}

static void test_reasm_wrong_checksum_of_the_whole(void **state)
{
	struct spec x = datagram(2000, 7);
	struct tstack t;

	(void)state;
	open_with_peer(&t, NULL);
	x.bad_csum = true;
	rx_part(&t, &x, 0, 1480);
	assert_int_equal(rx_part(&t, &x, 1480, 520), DROP_BAD_CSUM);
	assert_int_equal(entries(&t), 0);
	ts_close(&t);
}

/* Datagrams are told apart by source, destination, protocol and identification. */
static void test_reasm_keys_are_kept_apart(void **state)
{
	struct spec x = datagram(2000, 7), y = datagram(2000, 8), z = datagram(2000, 7);
	struct tstack t;

	(void)state;
	open_with_peer(&t, NULL);
	z.src = "10.0.0.3";
	ts_neigh(&t, "10.0.0.3", peer_mac);
	rx_part(&t, &x, 0, 1000);
	rx_part(&t, &y, 1000, 1000);
	rx_part(&t, &z, 1000, 1000);
	assert_int_equal(entries(&t), 3);
	assert_int_equal(rx_part(&t, &x, 1000, 1000), DROP_NO_SOCKET);
	assert_int_equal(rx_part(&t, &y, 0, 1000), DROP_NO_SOCKET);
	assert_int_equal(rx_part(&t, &z, 0, 1000), DROP_NO_SOCKET);
	assert_int_equal(entries(&t), 0);
	ts_close(&t);
}

static void test_reasm_largest_datagram(void **state)
{
	struct spec x = {ICMP_PKT, .type = 8, .data = data, .len = 65507, .id = 5};
	struct tstack t;
	struct out o;
	uint32_t n = 0;

	(void)state;
	open_with_peer(&t, NULL);
	for (uint32_t off = 0; off < 65515; off += 1480)
		assert_int_equal(rx_part(&t, &x, off, off + 1480 < 65515 ? 1480 : 65515 - off),
				 DROP_NONE);
	while (ts_tx(&t, &o)) {
		if (!n)
			assert_int_equal(o.l4[0], 0);
		else
			assert_memory_equal(o.l4, data + (o.frag & 0x1fff) * 8 - 8, o.l4_len);
		n++;
	}
	assert_int_equal(n, 45);
	ts_close(&t);
}

/* "Ping of death": an end beyond 65,535 bytes. */
static void test_reasm_too_long_is_dropped(void **state)
{
	uint8_t b[2000];
	struct spec x = datagram(1000, 7);
	struct tstack t;
	uint32_t len;
	uint16_t c = 0;

	(void)state;
	open_with_peer(&t, NULL);
	len = ts_build(b, &x);
	put_be16(b + 20, 0x1fff);
	memcpy(b + 24, &c, 2);
	c = csum_fold(csum_partial(b + 14, 20, 0));
	memcpy(b + 24, &c, 2);
	assert_int_equal(ts_rx_raw(&t, b, len, 0, 0, PKT_CSUM_VERIFY), DROP_BAD_IP);
	assert_int_equal(ts_mib(&t, MIB_Ip_ReasmFails), 1);
	assert_int_equal(entries(&t), 0);
	ts_close(&t);
}

static void test_reasm_header_options_count_for_the_length(void **state)
{
	static const uint8_t nops[40] = {[0 ... 39] = 1};
	struct spec x = {ICMP_PKT, .type = 8, .len = 65507, .id = 5, .opts = nops, .opt_len = 40};
	struct tstack t;

	(void)state;
	open_with_peer(&t, NULL);
	rx_part(&t, &x, 0, 32752);
	assert_int_equal(rx_part(&t, &x, 32752, 65515 - 32752), DROP_BAD_IP);
	assert_int_equal(t.s->reasm_chunks, 0);
	ts_expect_none(&t);
	x.len = 65467;
	x.id = 6;
	rx_part(&t, &x, 0, 32752);
	assert_int_equal(rx_part(&t, &x, 32752, 65475 - 32752), DROP_NONE);
	ts_close(&t);
}

/* RFC 5722: an overlap ends the datagram, with all that is still to come of it. */
static void test_reasm_overlap_drops_the_datagram(void **state)
{
	struct spec x = datagram(3000, 7);
	struct tstack t;

	(void)state;
	open_with_peer(&t, NULL);
	rx_part(&t, &x, 0, 1480);
	assert_int_equal(rx_part(&t, &x, 1472, 1480), DROP_FRAGMENT);
	assert_int_equal(ts_mib(&t, MIB_Ip_ReasmFails), 1);
	assert_int_equal(t.s->reasm_chunks, 0);
	assert_int_equal(rx_part(&t, &x, 0, 1480), DROP_FRAGMENT);
	assert_int_equal(rx_part(&t, &x, 1480, 1520), DROP_FRAGMENT);
	ts_expect_none(&t);
	/* Its time over, the identification is free again; there is no ICMP about it. */
	ts_advance(&t, 30001);
	ts_expect_none(&t);
	assert_int_equal(entries(&t), 0);
	assert_int_equal(ts_mib(&t, MIB_Ip_ReasmTimeout), 0);
	rx_part(&t, &x, 0, 1480);
	assert_int_equal(rx_part(&t, &x, 1480, 1520), DROP_NO_SOCKET);
	ts_close(&t);
}

static void test_reasm_repeated_fragment_is_ignored(void **state)
{
	struct spec x = datagram(3000, 7), evil = x;
	static uint8_t other[3000];
	struct tstack t;

	(void)state;
	open_with_peer(&t, NULL);
	evil.data = other;
	rx_part(&t, &x, 0, 1480);
	assert_int_equal(rx_part(&t, &evil, 0, 1480), DROP_FRAGMENT);
	assert_int_equal(rx_part(&t, &evil, 8, 800), DROP_FRAGMENT); /* within what is there */
	assert_int_equal(rx_part(&t, &x, 1480, 1520), DROP_NO_SOCKET);
	expect_unreachable(&t);
	ts_close(&t);
}

static void test_reasm_contradicting_ends_drop_the_datagram(void **state)
{
	struct spec x = datagram(3000, 7), y = datagram(2000, 7);
	struct tstack t;

	(void)state;
	open_with_peer(&t, NULL);
	rx_part(&t, &x, 1480, 1520);				      /* ends at 3000 */
	assert_int_equal(rx_part(&t, &y, 1000, 1000), DROP_FRAGMENT); /* ends at 2000 */
	assert_int_equal(ts_mib(&t, MIB_Ip_ReasmFails), 1);
	x.id = y.id = 8;
	rx_part(&t, &y, 1000, 1000);
	assert_int_equal(rx_part(&t, &x, 1992, 800), DROP_FRAGMENT); /* goes on behind the end */
	x.id = y.id = 9;
	rx_part(&t, &x, 1992, 800);
	assert_int_equal(rx_part(&t, &y, 1000, 1000),
			 DROP_FRAGMENT); /* ends before what is there */
	assert_int_equal(ts_mib(&t, MIB_Ip_ReasmFails), 3);
	ts_close(&t);
}

static void test_reasm_malformed_fragments(void **state)
{
	struct spec x = datagram(3000, 7);
	uint8_t b[4000];
	struct tstack t;
	uint16_t c = 0;

	(void)state;
	open_with_peer(&t, NULL);
	assert_int_equal(rx_part(&t, &x, 0, 1001), DROP_BAD_IP); /* not a multiple of 8 */
	ts_build(b, &x);					 /* empty, but with more to come */
	put_be16(b + 16, 20);
	put_be16(b + 20, 0x2000);
	memcpy(b + 24, &c, 2);
	c = csum_fold(csum_partial(b + 14, 20, 0));
	memcpy(b + 24, &c, 2);
	assert_int_equal(ts_rx_raw(&t, b, 34, 0, 0, PKT_CSUM_VERIFY), DROP_BAD_IP);
	assert_int_equal(entries(&t), 0);
	ts_close(&t);
}

/* RFC 1122 §3.3.2/2: RFC 792: time exceeded, code 1, if the first fragment is there. */
static void test_reasm_timeout(void **state)
{
	struct spec x = datagram(3000, 7);
	struct tstack t;
	struct out o;
	uint8_t b[4000];

	(void)state;
	open_with_peer(&t, NULL);
	rx_part(&t, &x, 0, 1480);
	ts_advance(&t, 29900);
	assert_int_equal(entries(&t), 1);
	ts_expect_none(&t);
	ts_advance(&t, 101);
	assert_int_equal(entries(&t), 0);
	ts_expect(&t, &o);
	assert_int_equal(o.l4[0], 11);
	assert_int_equal(o.l4[1], 1);
	x.frag_len = 1480;
	ts_build_ip(b, &x);
	assert_memory_equal(o.l4 + 8, b, 548); /* as it came */
	assert_int_equal(ts_mib(&t, MIB_Ip_ReasmTimeout), 1);
	assert_int_equal(ts_mib(&t, MIB_Ip_ReasmFails), 1);
	assert_int_equal(free_list_in_use(&t.s->chunk_free), 0);
	x.frag_len = 0;
	rx_part(&t, &x, 1480, 1520);
	ts_advance(&t, 30001);
	assert_int_equal(entries(&t), 0);
	ts_expect_none(&t);
	ts_close(&t);
}

/* The oldest makes room, whoever sent it; what is complete in time gets through. */
static void test_reasm_memory_is_bounded(void **state)
{
	struct stack_cfg c = ts_cfg();
	struct spec x = datagram(2000, 0);
	struct tstack t;
	char src[32];

	(void)state;
	c.limits.ipfrag_high_thresh = 8 * CHUNK_SIZE;
	open_with_peer(&t, &c);
	for (unsigned i = 0; i < 100; i++) {
		snprintf(src, sizeof(src), "10.0.0.%u", 10 + i);
		x.src = src;
		rx_part(&t, &x, 0, 1000);
		assert_true(t.s->reasm_chunks <= 8);
	}
	assert_int_equal(entries(&t), 8);
	assert_int_equal(ts_mib(&t, MIB_Ip_ReasmFails), 92);
	assert_int_equal(rx_part(&t, &x, 1000, 1000), DROP_NO_SOCKET); /* the newest */
	x.src = "10.0.0.10";
	assert_int_equal(rx_part(&t, &x, 1000, 1000), DROP_NONE); /* the oldest is gone */
	/* A datagram larger than all of it: given up, not one of others' after the other. */
	x = datagram(60000, 9);
	for (uint32_t off = 0; off < 36000; off += 1200)
		rx_part(&t, &x, off, 1200);
	assert_int_equal(t.s->reasm_chunks, 0);
	ts_close(&t);
}

static void test_reasm_one_source_has_a_limit(void **state)
{
	struct spec x = datagram(2000, 0), other = datagram(2000, 1);
	struct tstack t;

	(void)state;
	open_with_peer(&t, NULL);
	other.src = "10.0.0.3";
	rx_part(&t, &other, 0, 1000);
	for (x.id = 0; x.id < 200; x.id++)
		rx_part(&t, &x, 0, 1000);
	assert_int_equal(entries(&t), 65);
	assert_int_equal(rx_part(&t, &other, 1000, 1000), DROP_NO_SOCKET);
	x.id = 199;
	assert_int_equal(rx_part(&t, &x, 1000, 1000), DROP_NO_SOCKET);
	x.id = 136; /* the oldest of the 64 */
	assert_int_equal(rx_part(&t, &x, 1000, 1000), DROP_NO_SOCKET);
	x.id = 135;
	assert_int_equal(rx_part(&t, &x, 1000, 1000), DROP_NONE);
	ts_close(&t);
}

/* Random cuts in random order, repetitions among them: the bytes come out as they went in. */
static void test_reasm_random(void **state)
{
	struct stack_cfg c = ts_cfg();
	uint64_t seed = 42;
	struct tstack t;

	(void)state;
	c.limits.icmp_ratelimit = c.limits.icmp_msgs_per_sec = 0; /* an answer for each */
	open_with_peer(&t, &c);
	for (uint16_t id = 0; id < 200; id++) {
		uint32_t len = 1000 + (uint32_t)(seed >> 33) % 9000, n = 0, off[2000], part[2000];
		struct spec x = datagram(len, id);
		enum drop d = DROP_NONE;

		for (uint32_t at = 0; at < len; at += part[n++]) {
			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			off[n] = at;
			part[n] = 8 + (uint32_t)(seed >> 40) % 200 * 8;
			if (part[n] > len - at)
				part[n] = len - at;
		}
		for (uint32_t left = n; left; left--) {
			uint32_t i;

			seed = seed * 6364136223846793005ull + 1442695040888963407ull;
			i = (uint32_t)(seed >> 40) % left;
			d = rx_part(&t, &x, off[i], part[i]);
			if (left > 1) {
				assert_int_equal(d, DROP_NONE);
				assert_int_equal(rx_part(&t, &x, off[i], part[i]), DROP_FRAGMENT);
			}
			off[i] = off[left - 1];
			part[i] = part[left - 1];
		}
		assert_int_equal(d, DROP_NO_SOCKET); /* not DROP_BAD_CSUM */
		ts_advance(&t, 10);
		expect_unreachable(&t);
	}
	ts_close(&t);
}

static void test_reasm_switched_off(void **state)
{
	struct stack_cfg c = ts_cfg();
	struct spec x = datagram(2000, 0);
	struct tstack t;

	(void)state;
	c.limits.ipfrag_high_thresh = 0;
	open_with_peer(&t, &c);
	assert_int_equal(rx_part(&t, &x, 0, 1000), DROP_FRAGMENT);
	ts_close(&t);
}

static bool take_header(void *ctx, const struct pkt *p)
{
	memcpy(ctx, p->frag[0].p + p->l3_off, IP4_HLEN);
	return true;
}

/* Who is given the whole (an application, as if it had come so) finds a header that is right. */
static void test_reasm_header_of_the_whole(void **state)
{
	struct spec x = {TCP_PKT, .flags = TH_ACK, .data = data, .len = 2000, .id = 7};
	uint8_t h[IP4_HLEN] = {0};
	struct tstack t;

	(void)state;
	open_with_peer(&t, NULL);
	stack_set_taps(t.s, NULL, take_header, h);
	rx_part(&t, &x, 0, 1480);
	assert_int_equal(rx_part(&t, &x, 1480, 540), DROP_NONE);
	assert_int_equal(get_be16(h + 2), 20 + 20 + 2000);
	assert_int_equal(get_be16(h + 6), 0);
	assert_int_equal(csum_fold(csum_partial(h, sizeof(h), 0)), 0);
	ts_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_reasm_in_any_order),
		cmocka_unit_test(test_reasm_wrong_checksum_of_the_whole),
		cmocka_unit_test(test_reasm_keys_are_kept_apart),
		cmocka_unit_test(test_reasm_largest_datagram),
		cmocka_unit_test(test_reasm_too_long_is_dropped),
		cmocka_unit_test(test_reasm_header_options_count_for_the_length),
		cmocka_unit_test(test_reasm_overlap_drops_the_datagram),
		cmocka_unit_test(test_reasm_repeated_fragment_is_ignored),
		cmocka_unit_test(test_reasm_contradicting_ends_drop_the_datagram),
		cmocka_unit_test(test_reasm_malformed_fragments),
		cmocka_unit_test(test_reasm_timeout),
		cmocka_unit_test(test_reasm_memory_is_bounded),
		cmocka_unit_test(test_reasm_one_source_has_a_limit),
		cmocka_unit_test(test_reasm_random),
		cmocka_unit_test(test_reasm_switched_off),
		cmocka_unit_test(test_reasm_header_of_the_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
