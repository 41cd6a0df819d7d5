/* SPDX-License-Identifier: BSD-2-Clause */
/* tcp_sack.c: what a receiver tells, by the clauses of RFC 2018 and RFC 2883; negotiation. */
#include "lib_tcp.h"

static struct conv c;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	c.sack = true;
	return 0;
}

#define DATA(from, n) RX(&c, .flags = TH_ACK, .seq = (from), .ack = 1, .len = (n))
#define ACKS(n) TX(&c, .flags = TH_ACK, .seq = 1, .ack = (n))

static void block(uint32_t i, uint32_t start, uint32_t end)
{
	assert_true(i < c.opt.n_sack);
	assert_int_equal(c.opt.sack[i].start - PEER_ISS, start);
	assert_int_equal(c.opt.sack[i].end - PEER_ISS, end);
}

/* RFC 2018 §2 */
static void test_tcp_sack_negotiated_passive(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	assert_true(tc_tcb(&c)->opt & TCB_OPT_SACK);
	tc_close(&c);
}

static void test_tcp_sack_negotiated_active(void **state)
{
	(void)state;
	tc_connect_syn(&c, NULL);
	assert_true(c.opt.sack_ok);
	RX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	ACKS(1);
	assert_true(tc_tcb(&c)->opt & TCB_OPT_SACK);
	tc_close(&c);
}

/* RFC 2018 §3/1 */
static void test_tcp_sack_not_offered_by_peer_none_sent(void **state)
{
	(void)state;
	c.sack = false;
	tc_accept(&c, NULL);
	assert_false(tc_tcb(&c)->opt & TCB_OPT_SACK);
	DATA(101, 100);
	ACKS(1);
	assert_int_equal(c.opt.n_sack, 0);
	tc_close(&c);
}

/* RFC 2018 §4: the first block holds the segment that caused the ACK, then the latest ones */
/* RFC 2018 §4/1 */
static void test_tcp_sack_latest_block_first(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	DATA(101, 100);
	ACKS(1);
	assert_int_equal(c.opt.n_sack, 1);
	block(0, 101, 201);
	DATA(501, 100);
	ACKS(1);
	block(0, 501, 601), block(1, 101, 201);
	DATA(301, 100);
	ACKS(1);
	block(0, 301, 401), block(1, 501, 601), block(2, 101, 201);
	DATA(201, 100); /* joins two */
	ACKS(1);
	assert_int_equal(c.opt.n_sack, 2);
	block(0, 101, 401), block(1, 501, 601);
	DATA(1, 100);
	ACKS(401);
	assert_int_equal(c.opt.n_sack, 1);
	block(0, 501, 601);
	DATA(401, 100);
	ACKS(601);
	assert_int_equal(c.opt.n_sack, 0);
	tc_recv(&c, 600);
	tc_close(&c);
}

/* RFC 2018 §3/2 */
static void test_tcp_sack_three_blocks_beside_timestamps(void **state)
{
	(void)state;
	c.ts = true;
	tc_accept(&c, NULL);
	for (uint32_t i = 0; i < 5; i++) {
		DATA(101 + 200 * i, 100);
		ACKS(1);
	}
	assert_int_equal(c.opt.n_sack, 3);
	block(0, 901, 1001), block(1, 701, 801), block(2, 501, 601);
	tc_close(&c);
}

/* RFC 2883 §4.1: a whole segment that was acknowledged already; reported once */
/* RFC 2883 §4/1 */
static void test_tcp_dsack_old_segment(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	DATA(1, 100);
	ACKS(101);
	tc_recv(&c, 100);
	DATA(1, 100);
	ACKS(101);
	assert_int_equal(c.opt.n_sack, 1);
	block(0, 1, 101);
	DATA(201, 100);
	ACKS(101);
	assert_int_equal(c.opt.n_sack, 1);
	block(0, 201, 301);
	tc_close(&c);
}

/* Two before the ACK leaves: both, if the one goes on where the other ends, else the last. */
static void test_tcp_dsack_two_for_one_ack(void **state)
{
	static const uint32_t v[][4] = {
		{1, 101, 1, 201}, {101, 201, 101, 301}, {1, 201, 201, 301}, {201, 1, 1, 101}};

	(void)state;
	tc_accept(&c, NULL);
	DATA(1, 300);
	tc_tx_all(&c);
	for (uint32_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		DATA(v[i][0], 100);
		DATA(v[i][1], 100);
		ACKS(301);
		assert_int_equal(c.opt.n_sack, 1);
		block(0, v[i][2], v[i][3]);
	}
	tc_close(&c);
}

/* RFC 2883 §4.2.1: a duplicate within the out-of-order queue, its block second */
/* RFC 2883 §4/1 */
static void test_tcp_dsack_out_of_order_segment(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	DATA(201, 200);
	ACKS(1);
	DATA(601, 100);
	ACKS(1);
	DATA(301, 100);
	ACKS(1);
	assert_int_equal(c.opt.n_sack, 3);
	block(0, 301, 401), block(1, 201, 401), block(2, 601, 701);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPDSACKOfoSent), 1);
	tc_close(&c);
}

/*
 * A batch that leaves more holes than one ACK can tell of: its ACKs tell of all of them, none behind
 * a higher one, which would look like reordering; the last one begins with what came last.
 */
static void test_tcp_sack_of_a_batch_tells_all_in_order(void **state)
{
	uint32_t told = 0, highest = 0;

	(void)state;
	tc_accept(&c, NULL);
	DATA(101, 100);
	ACKS(1);
	for (uint32_t k = 1; k <= 9; k++)
		DATA(101 + 300 * k, 100);
	DATA(501, 100); /* makes the first of these longer, and the latest */
	for (uint32_t acks = 10; acks; acks--) {
		ACKS(1);
		for (uint32_t i = 0; i < c.opt.n_sack; i++) {
			uint32_t k = (c.opt.sack[i].start - PEER_ISS - 101) / 300;

			block(i, 101 + 300 * k, k == 1 ? 601 : 201 + 300 * k);
			assert_true(told & 1u << k || k > highest || acks == 1);
			told |= 1u << k;
			highest = tcp_max(highest, k);
		}
		if (acks == 2) /* all of the batch, but for the last ACK */
			assert_int_equal(told | 1, 0x3ff);
	}
	assert_int_equal(c.opt.n_sack, 4);
	block(0, 401, 601);
	block(1, 2801, 2901);
	block(2, 2501, 2601);
	block(3, 2201, 2301);
	tc_tx_none(&c);
	/* what was told already does not go before what is new */
	DATA(3101, 100);
	DATA(3401, 100);
	for (uint32_t acks = 2; acks; acks--) {
		ACKS(1);
		block(0, 3401, 3501);
		block(1, 3101, 3201);
		block(2, 401, 601);
	}
	RX(&c, .flags = TH_RST, .seq = 1);
	tc_close(&c);
}

/* ---- against a model: when each byte of the window has come last ---- */

#define MODEL_LEN 60000u
static uint32_t came[MODEL_LEN]; /* 0: it has not */

struct told {
	uint32_t start, end, stamp;
};

/* The @max blocks that came last, that first. */
static uint32_t model_blocks(struct told *v, uint32_t max)
{
	uint32_t n = 0;

	for (uint32_t i = 1; i < MODEL_LEN; i++) {
		struct told x = {i, i, 0};

		for (; i < MODEL_LEN && came[i]; i++)
			x.stamp = tcp_max(x.stamp, came[i]);
		if (i == x.start)
			continue;
		x.end = i;
		for (uint32_t k = 0; k < n; k++)
			if (v[k].stamp < x.stamp) {
				const struct told y = v[k];

				v[k] = x;
				x = y;
			}
		if (n < max)
			v[n++] = x;
	}
	return n;
}

/* What the queue has after it was cut; what is left of a block is as recent as it was. */
static void model_cut(uint32_t seq)
{
	const struct tcb *t = tc_tcb(&c);
	uint32_t end = 1, last = 0;

	tcp_buf_prune_ooo(c.t.s, tc_tcb(&c), PEER_ISS + seq);
	for (uint32_t k = t->ooo_head; k != SHM_NIL; k = c.t.s->a.chunk_hdrs[k].next)
		end = c.t.s->a.chunk_hdrs[k].seq + c.t.s->a.chunk_hdrs[k].len - PEER_ISS;
	for (uint32_t i = end; i < MODEL_LEN && came[i]; i++)
		last = tcp_max(last, came[i]);
	for (uint32_t i = end; i && came[i - 1]; i--)
		last = tcp_max(last, came[i - 1]);
	for (uint32_t i = end; i && came[i - 1]; i--)
		came[i - 1] = last;
	memset(came + end, 0, (MODEL_LEN - end) * sizeof(came[0]));
}

static uint32_t rnd_state;

static uint32_t rnd(uint32_t n)
{
	rnd_state = rnd_state * 1664525u + 1013904223u;
	return (uint32_t)((uint64_t)(rnd_state >> 8) * n >> 24);
}

/* Blocks of many chunks that grow at both ends, join, come again and are cut. */
static void test_tcp_sack_random_segments_against_a_model(void **state)
{
	char why[80];

	(void)state;
	for (uint32_t seed = 1; seed <= 12; seed++) {
		uint32_t longest;

		rnd_state = seed;
		longest = 1 + rnd(1400);

		setup(state);
		memset(came, 0, sizeof(came));
		tc_accept(&c, NULL);
		tc_tcb(&c)->rcvbuf = 40 * MODEL_LEN;
		tc_tcb(&c)->rcv_adv = PEER_ISS + MODEL_LEN;
		for (uint32_t i = 1; i < 400; i++) {
			uint32_t from = 2 + rnd(MODEL_LEN - 2), len = 1 + rnd(longest), at = 0, n;
			struct told v[4];
			bool dup = false;

			if (rnd(2)) /* right behind a block */
				for (; from < MODEL_LEN - 1 && came[from]; from++)
					;
			len = tcp_min(len, MODEL_LEN - from);
			for (uint32_t k = from; k < from + len; k++) {
				dup |= came[k];
				came[k] = i;
			}
			DATA(from, len);
			ACKS(1);
			n = model_blocks(v, 4 - dup);
			if (dup) {
				at = 1;
				assert_true(c.opt.sack[0].start - PEER_ISS >= from);
				assert_true(c.opt.sack[0].end - PEER_ISS <= from + len);
			}
			if (c.opt.n_sack != n + dup)
				print_error("seed %u, segment %u\n", seed, i);
			assert_int_equal(c.opt.n_sack, n + dup);
			for (uint32_t k = 0; k < n; k++)
				block(at + k, v[k].start, v[k].end);
			assert_int_equal(tcp_check(c.t.s, tc_tcb(&c), why, sizeof(why)), 0);
			if (!rnd(50))
				model_cut(2 + rnd(MODEL_LEN - 2));
		}
		RX(&c, .flags = TH_RST, .seq = 1);
		tc_close(&c);
	}
}

/* Data of ours does not use up the ACK that blocks are to go with. */
static void test_tcp_sack_not_swallowed_by_data(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	DATA(101, 100);
	tc_send(&c, 50);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 50);
	TX(&c, .flags = TH_ACK, .seq = 51, .ack = 1);
	block(0, 101, 201);
	tc_tx_none(&c);
	tc_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_tcp_sack_negotiated_passive, setup),
		cmocka_unit_test_setup(test_tcp_sack_negotiated_active, setup),
		cmocka_unit_test_setup(test_tcp_sack_not_offered_by_peer_none_sent, setup),
		cmocka_unit_test_setup(test_tcp_sack_latest_block_first, setup),
		cmocka_unit_test_setup(test_tcp_sack_three_blocks_beside_timestamps, setup),
		cmocka_unit_test_setup(test_tcp_dsack_old_segment, setup),
		cmocka_unit_test_setup(test_tcp_dsack_two_for_one_ack, setup),
		cmocka_unit_test_setup(test_tcp_dsack_out_of_order_segment, setup),
		cmocka_unit_test_setup(test_tcp_sack_of_a_batch_tells_all_in_order, setup),
		cmocka_unit_test_setup(test_tcp_sack_random_segments_against_a_model, setup),
		cmocka_unit_test_setup(test_tcp_sack_not_swallowed_by_data, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
