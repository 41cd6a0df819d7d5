// SPDX-License-Identifier: BSD-2-Clause
#include "lib_stack.h"

/* The reference implementation's vectors: key 00…0f, message 00, 01, … */
static void test_conn_table_siphash_reference_vectors(void **state)
{
	static const struct {
		uint32_t len;
		uint64_t want;
	} v[] = {
		{0, 0x726fdb47dd0e0e31ull}, {1, 0x74f839c593dc67fdull},	 {7, 0xab0200f58b01d137ull},
		{8, 0x93f5f5799a932462ull}, {15, 0xa129ca6149be45e5ull},
	};
	const uint64_t key[2] = {0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull};
	uint8_t m[16];

	(void)state;
	for (uint8_t i = 0; i < 16; i++)
		m[i] = i;
	for (uint32_t i = 0; i < sizeof(v) / sizeof(v[0]); i++)
		assert_true(siphash_24(key, m, v[i].len) == v[i].want);
}

static uint32_t add(struct tstack *t, const char *remote, uint16_t rport, uint16_t lport)
{
	uint32_t i = tcb_alloc(t->s);
	struct tcb *c = tcb_at(t->s, i);

	c->local = ip(OUR_IP);
	c->remote = ip(remote);
	c->remote_port = rport;
	c->local_port = lport;
	conn_table_add(t->s, i);
	return i;
}

static uint32_t lookup(struct tstack *t, const char *remote, uint16_t rport, uint16_t lport)
{
	struct ip_addr l = ip(OUR_IP), r = ip(remote);

	return conn_lookup(t->s, &l, lport, &r, rport);
}

static void check(const struct tstack *t)
{
	char why[100];

	if (conn_table_check(t->s, why, sizeof(why)))
		fail_msg("%s", why);
}

static void test_conn_table_finds_by_all_four(void **state)
{
	struct tstack t;
	uint32_t a, b, c, d;
	struct ip_addr other = ip("10.0.0.9"), r = ip("10.0.0.2");

	(void)state;
	ts_open_bare(&t, NULL);
	a = add(&t, "10.0.0.2", 1000, 80);
	b = add(&t, "10.0.0.2", 1001, 80);
	c = add(&t, "10.0.0.2", 1000, 81);
	d = add(&t, "10.0.0.3", 1000, 80);
	check(&t);
	assert_int_equal(lookup(&t, "10.0.0.2", 1000, 80), a);
	assert_int_equal(lookup(&t, "10.0.0.2", 1001, 80), b);
	assert_int_equal(lookup(&t, "10.0.0.2", 1000, 81), c);
	assert_int_equal(lookup(&t, "10.0.0.3", 1000, 80), d);
	assert_int_equal(lookup(&t, "10.0.0.2", 80, 1000), SHM_NIL);
	assert_int_equal(conn_lookup(t.s, &other, 80, &r, 1000), SHM_NIL);
	for (uint32_t i = 0; i < 4; i++) {
		conn_table_del(t.s, i);
		tcb_release(t.s, i);
	}
	ts_close(&t);
}

/* More connections than buckets could keep apart: chains of any length, deleted in any order. */
static void test_conn_table_chains(void **state)
{
	struct tstack t;

	(void)state;
	ts_open_bare(&t, NULL);
	t.s->conn_max_buckets = t.s->conn_hash.n = t.s->conn_hash.half = 2;
	for (uint16_t i = 0; i < 64; i++)
		assert_int_equal(add(&t, "10.0.0.2", i, 80), i);
	check(&t);
	for (uint32_t n = 0; n < 64; n++) {
		uint32_t i = n * 37 % 64;

		assert_int_equal(lookup(&t, "10.0.0.2", (uint16_t)i, 80), i);
		conn_table_del(t.s, i);
		assert_int_equal(lookup(&t, "10.0.0.2", (uint16_t)i, 80), SHM_NIL);
		conn_table_del(t.s, i); /* not there: nothing */
		tcb_release(t.s, i);
		check(&t);
	}
	ts_close(&t);
}

/* Buckets come one by one with the connections, and none is lost on the way. */
static void test_conn_table_grows(void **state)
{
	struct tstack t;

	(void)state;
	ts_open_bare(&t, NULL);
	assert_int_equal(t.s->conn_hash.n, 16);
	for (uint16_t i = 0; i < 64; i++) {
		assert_int_equal(add(&t, "10.0.0.2", i, 80), i);
		assert_int_equal(t.s->conn_hash.n, i < 16 ? 16 : i + 1u);
		for (uint16_t j = 0; j <= i; j++)
			assert_int_equal(lookup(&t, "10.0.0.2", j, 80), j);
		check(&t);
	}
	for (uint32_t i = 0; i < 64; i++) {
		conn_table_del(t.s, i);
		tcb_release(t.s, i);
	}
	assert_int_equal(t.s->conn_n, 0);
	ts_close(&t);
}

static void test_conn_table_hash_depends_on_the_key(void **state)
{
	struct stack_cfg c = ts_cfg();
	struct ip_addr l = ip(OUR_IP), r = ip(PEER_IP);
	struct tstack t, u;
	uint32_t same = 0;

	(void)state;
	c.key[0] ^= 1;
	ts_open_bare(&t, NULL);
	ts_open_bare(&u, &c);
	for (uint16_t i = 0; i < 1000; i++)
		same += conn_hash(t.s, &l, 80, &r, i) % 64 == conn_hash(u.s, &l, 80, &r, i) % 64;
	assert_true(same < 50);
	ts_close(&t);
	ts_close(&u);
}

static void test_conn_table_check_finds_damage(void **state)
{
	struct tstack t;
	char why[100];
	uint32_t a;

	(void)state;
	ts_open_bare(&t, NULL);
	a = add(&t, "10.0.0.2", 1000, 80);
	tcb_at(t.s, a)->remote_port = 1002;
	assert_int_equal(conn_table_check(t.s, why, sizeof(why)), -E_UCLEAN);
	tcb_at(t.s, a)->remote_port = 1000;
	add(&t, "10.0.0.2", 1000, 80);
	assert_int_equal(conn_table_check(t.s, why, sizeof(why)), -E_UCLEAN);
	conn_table_del(t.s, 1);
	conn_table_del(t.s, 0);
	tcb_release(t.s, 0);
	tcb_release(t.s, 1);
	ts_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_conn_table_siphash_reference_vectors),
		cmocka_unit_test(test_conn_table_finds_by_all_four),
		cmocka_unit_test(test_conn_table_chains),
		cmocka_unit_test(test_conn_table_grows),
		cmocka_unit_test(test_conn_table_hash_depends_on_the_key),
		cmocka_unit_test(test_conn_table_check_finds_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
