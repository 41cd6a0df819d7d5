/* SPDX-License-Identifier: BSD-2-Clause */
/* tcp_buf.c: the three queues, against plain arrays. */
#include "lib_tcp.h"

static struct conv c;
static struct tcb *t;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	tc_accept(&c, NULL);
	t = tc_tcb(&c);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	tcp_buf_release(c.t.s, t);
	t->rcv_nxt = t->last_ack_sent;
	assert_int_equal(t->n_chunks, 0);
	tc_close(&c);
	return 0;
}

static uint32_t seed = 1;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 1664525 + 1013904223;
	return (seed >> 8) % n;
}

/* A packet of three fragments with bytes that follow from their place in the stream. */
static struct pkt *packet(uint32_t from, uint32_t len)
{
	static uint8_t b[20000];
	static struct pkt p;
	uint32_t a = len / 3, d = len / 2;

	for (uint32_t i = 0; i < len; i++)
		b[i] = (uint8_t)((from + i) * 31 + ((from + i) >> 8));
	p = (struct pkt){.nfrags = 3, .len = len};
	p.frag[0] = (struct pkt_frag){.p = b, .len = a};
	p.frag[1] = (struct pkt_frag){.p = b + a, .len = d - a};
	p.frag[2] = (struct pkt_frag){.p = b + d, .len = len - d};
	return &p;
}

static void compare(const uint8_t *b, uint32_t from, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		assert_int_equal(b[i], (uint8_t)((from + i) * 31 + ((from + i) >> 8)));
}

static void test_pkt_copy_crosses_fragments(void **state)
{
	uint8_t out[100];

	(void)state;
	for (uint32_t off = 0; off < 100; off++) {
		pkt_copy(packet(0, 100), off, out, 100 - off);
		compare(out, off, 100 - off);
	}
}

static void test_rxq_append_read_random_sizes(void **state)
{
	static uint8_t b[20000];
	uint32_t in = 0, out = 0;

	(void)state;
	for (int i = 0; i < 3000; i++) {
		uint32_t n = rnd(6000), m = rnd(7000);

		if (in - out < 100000) {
			assert_int_equal(rxq_append(c.t.s, t, packet(in, n), 0, n), n);
			in += n;
		}
		assert_int_equal(rxq_peek(c.t.s, t, 0, b, m), tcp_min(m, in - out));
		compare(b, out, tcp_min(m, in - out));
		m = rxq_read(c.t.s, t, b, m);
		compare(b, out, m);
		out += m;
		assert_int_equal(t->rx_bytes, in - out);
		assert_true(t->n_chunks <= (in - out) / CHUNK_SIZE + 2);
	}
}

static void test_ooo_random_segments_come_out_in_order(void **state)
{
	enum { TOTAL = 60000 };
	static uint8_t b[TOTAL];

	(void)state;
	t->rcvbuf = 4 * TOTAL;
	for (int round = 0; round < 60; round++) {
		uint32_t base = t->rcv_nxt, n;

		t->rcv_adv = base + TOTAL;
		for (int i = 0; i < 400; i++) {
			uint32_t from = 1 + rnd(TOTAL - 1), len = 1 + rnd(round % 2 ? 60 : 9000);

			len = tcp_min(len, TOTAL - from);
			ooo_insert(c.t.s, t, base + from, packet(from, len), 0, len);
		}
		assert_int_equal(tcp_check(c.t.s, t, (char[80]){0}, 80), 0);
		/* fill the holes */
		for (uint32_t from = 0; from < TOTAL; from = t->rcv_nxt - base) {
			n = tcp_min(1 + rnd(5000), TOTAL - from);
			assert_int_equal(rxq_append(c.t.s, t, packet(from, n), 0, n), n);
			t->rcv_nxt += n;
			ooo_merge(c.t.s, t);
		}
		assert_int_equal(t->ooo_bytes, 0);
		assert_int_equal(rxq_read(c.t.s, t, b, TOTAL), TOTAL);
		compare(b, 0, TOTAL);
		assert_int_equal(t->n_chunks, 0);
	}
	t->last_ack_sent = t->rcv_nxt;
}

static void test_ooo_merge_packs_small_chunks(void **state)
{
	uint32_t base = t->rcv_nxt;

	(void)state;
	/* every second 10 bytes, backwards: a chunk for each */
	for (uint32_t k = 10, i = 19; k > 0; k--, i -= 2)
		assert_int_equal(ooo_insert(c.t.s, t, base + 10 * i, packet(10 * i, 10), 0, 10),
				 10);
	assert_int_equal(t->n_chunks, 10);
	for (uint32_t i = 0; i < 20; i += 2) {
		assert_int_equal(rxq_append(c.t.s, t, packet(10 * i, 10), 0, 10), 10);
		t->rcv_nxt += 10;
		ooo_merge(c.t.s, t);
	}
	assert_int_equal(t->rx_bytes, 200);
	assert_int_equal(t->n_chunks, 1);
	t->last_ack_sent = t->rcv_nxt;
}

static void test_txq_copy_frags_acked_random_sizes(void **state)
{
	static uint8_t b[80000];
	struct pkt_frag fr[17];
	uint32_t in = 0, una = 0, got;

	(void)state;
	for (int i = 0; i < 3000; i++) {
		uint32_t n = rnd(6000), off, len, n_fr;

		pkt_copy(packet(in, n), 0, b, n);
		if (t->tx_bytes < 200000) {
			assert_int_equal(txq_append(c.t.s, t, b, n), n);
			in += n;
		}
		if (!t->tx_bytes)
			continue;
		off = rnd(t->tx_bytes);
		len = tcp_min(1 + rnd(65000), t->tx_bytes - off);
		txq_copy(c.t.s, t, t->snd_una + off, b, len);
		compare(b, una + off, len);
		n_fr = txq_frags(c.t.s, t, t->snd_una + off, len, fr, 17, &got);
		assert_int_equal(got, len);
		for (uint32_t k = 0, at = una + off; k < n_fr; at += fr[k++].len)
			compare(fr[k].p, at, fr[k].len);
		n = rnd(tcp_min(t->tx_bytes, 5000) + 1);
		txq_acked(c.t.s, t, n);
		t->snd_una += n;
		una += n;
		t->snd_nxt = t->snd_max = t->snd_una;
		assert_true(t->n_chunks <= t->tx_bytes / CHUNK_SIZE + 2);
	}
}

static void test_txq_frags_stops_at_its_limit(void **state)
{
	static uint8_t b[5 * CHUNK_SIZE];
	struct pkt_frag fr[2];
	uint32_t got;

	(void)state;
	assert_int_equal(txq_append(c.t.s, t, b, sizeof(b)), sizeof(b));
	assert_int_equal(txq_frags(c.t.s, t, t->snd_una + 100, 20000, fr, 2, &got), 2);
	assert_int_equal(got, 2 * CHUNK_SIZE - 100);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_pkt_copy_crosses_fragments, setup, teardown),
		cmocka_unit_test_setup_teardown(test_rxq_append_read_random_sizes, setup, teardown),
		cmocka_unit_test_setup_teardown(test_ooo_random_segments_come_out_in_order, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_ooo_merge_packs_small_chunks, setup, teardown),
		cmocka_unit_test_setup_teardown(test_txq_copy_frags_acked_random_sizes, setup,
						teardown),
		cmocka_unit_test_setup_teardown(test_txq_frags_stops_at_its_limit, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
