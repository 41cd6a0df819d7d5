// SPDX-License-Identifier: BSD-2-Clause
#include "lib_stack.h"

static void test_pool_free_list_gives_out_returned_items_first(void **state)
{
	uint32_t next[4] = {0};
	struct free_list f = {.size = 4, .next = next};

	(void)state;
	assert_int_equal(free_list_get(&f), 0);
	assert_int_equal(free_list_get(&f), 1);
	assert_int_equal(free_list_get(&f), 2);
	free_list_put(&f, 0);
	free_list_put(&f, 1);
	assert_int_equal(free_list_in_use(&f), 1);
	assert_int_equal(free_list_get(&f), 1);
	assert_int_equal(free_list_get(&f), 0);
	assert_int_equal(free_list_get(&f), 3);
	assert_int_equal(free_list_get(&f), SHM_NIL);
	assert_int_equal(free_list_in_use(&f), 4);
}

/* What was never used costs no memory: its bytes are still what they were. */
static void test_pool_unused_items_are_not_touched(void **state)
{
	struct tstack t;

	(void)state;
	ts_open_bare(&t, NULL);
	memset(&t.a.tcbs[2], 0xa5, 62 * sizeof(struct tcb));
	memset(&t.a.chunk_hdrs[2], 0xa5, 510 * sizeof(struct chunk_hdr));
	memset(t.s->tcb_free.next, 0xa5, 64 * sizeof(uint32_t));
	for (int i = 0; i < 100; i++) {
		uint32_t a = tcb_alloc(t.s), b = tcb_alloc(t.s), c = chunk_alloc(t.s);

		tcb_release(t.s, a);
		tcb_release(t.s, b);
		chunk_free(t.s, c);
	}
	for (uint32_t i = 2 * sizeof(struct tcb); i < 64 * sizeof(struct tcb); i++)
		assert_int_equal(((uint8_t *)t.a.tcbs)[i], 0xa5);
	for (uint32_t i = 2; i < 512; i++)
		assert_int_equal(t.a.chunk_hdrs[i].next, 0xa5a5a5a5);
	for (uint32_t i = 2; i < 64; i++)
		assert_int_equal(t.s->tcb_free.next[i], 0xa5a5a5a5);
	ts_close(&t);
}

/* Chunks that were needed for a moment only are given up, and used again last. */
static void test_pool_trim_gives_up_what_was_not_needed_since_the_last_time(void **state)
{
	uint32_t taken[300], v[300], seen[512] = {0};
	struct tstack t;

	(void)state;
	ts_open_bare(&t, NULL);
	for (int i = 0; i < 300; i++)
		taken[i] = chunk_alloc(t.s);
	assert_false(stack_trimmable(t.s));
	for (int i = 0; i < 300; i++)
		chunk_free(t.s, taken[i]);
	assert_true(stack_trimmable(t.s));
	/* They were needed just now. */
	assert_int_equal(stack_trim(t.s, v, 300), 0);
	taken[0] = chunk_alloc(t.s);
	assert_int_equal(taken[0], 299);
	/* 64 stay, and what was in use meanwhile; in two pieces */
	assert_int_equal(stack_trim(t.s, v, 200), 200);
	assert_int_equal(stack_trim(t.s, v + 200, 100), 300 - 1 - 64 - 200);
	assert_false(stack_trimmable(t.s));
	assert_int_equal(stack_trim(t.s, v, 0), 0);
	for (int i = 0; i < 235; i++) {
		assert_int_equal(seen[v[i]]++, 0);
		assert_int_not_equal(v[i], taken[0]);
	}
	/* The next ones are warm, then those come that were given up, before any new one. */
	for (int i = 0; i < 64; i++)
		assert_int_equal(seen[taken[i + 1] = chunk_alloc(t.s)], 0);
	for (int i = 0; i < 235; i++)
		assert_int_equal(seen[taken[i + 65] = chunk_alloc(t.s)], 1);
	assert_int_equal(chunk_alloc(t.s), 300);
	chunk_free(t.s, 300);
	for (int i = 0; i < 300; i++)
		chunk_free(t.s, taken[i]);
	ts_close(&t);
}

/* TCBs that were needed for a moment only: their memory may be cleared, and no use of an index is
 * mistaken. */
static void test_pool_shrink_cuts_off_what_is_free_at_the_end(void **state)
{
	const struct stack_cfg cfg = {.role = STACK_APP};
	static uint32_t taken[2000];
	struct mem_range r[STACK_SHRINK_RANGES];
	static uint64_t mib[MIB_MAX];
	struct pkt_pool pool = {0};
	struct arena_view v = {.tcbs = calloc(2000, TCB_ROOM), .n_tcbs = 2000, .mib = mib};
	struct stack *s;
	char why[128];

	(void)state;
	s = stack_init(calloc(1, stack_mem_size(&cfg, &v)), &cfg, &v, &pool,
		       (struct mtime){NS_PER_S});
	for (uint32_t i = 0; i < 2000; i++) {
		taken[i] = tcb_alloc(s);
		tcb_work_make(s, tcb_at(s, taken[i]));
	}
	tcb_at(s, 1999)->generation = 70;
	assert_false(stack_shrinkable(s));
	/* In any order; 700 stays in use. */
	for (uint32_t i = 0; i < 2000; i++)
		if (taken[(i * 7) % 2000] != 700)
			tcb_release(s, taken[(i * 7) % 2000]);
	assert_true(stack_shrinkable(s));
	assert_int_equal(stack_shrink(s, r), 0); /* they were needed just now */
	assert_true(stack_shrinkable(s));
	assert_int_equal(stack_shrink(s, r), 2);
	assert_ptr_equal(r[0].at, &v.tcbs[701]);
	assert_int_equal(r[0].len, 1299 * sizeof(struct tcb));
	assert_int_equal(r[1].len, 1299 * sizeof(struct tcb_work));
	assert_int_equal(s->tcb_free.used, 701);
	assert_int_equal(pool_check(s, why, sizeof(why)), 0);
	for (uint32_t k = 0; k < 2; k++)
		memset(r[k].at, 0, r[k].len);
	/* The one in the way stays there: nobody looks in vain time and again. */
	assert_int_equal(stack_shrink(s, r), 0);
	assert_false(stack_shrinkable(s));
	/* All the others come again, each once, with a generation that none has had. */
	for (uint32_t i = 0; i < 1999; i++) {
		uint32_t t = tcb_alloc(s);

		assert_true(t != SHM_NIL && t != 700);
		assert_true(v.tcbs[t].generation == (t < 700 ? 2 : 71));
	}
	assert_int_equal(tcb_alloc(s), SHM_NIL);
	for (uint32_t i = 0; i < 2000; i++)
		tcb_release(s, i);
	free(s);
	free(v.tcbs);
}

static void test_pool_tcb_is_clean_and_generation_counts_uses(void **state)
{
	struct tstack t;
	struct tcb *c;
	uint32_t i;

	(void)state;
	ts_open_bare(&t, NULL);
	i = tcb_alloc(t.s);
	c = tcb_at(t.s, i);
	assert_int_equal(c->generation, 1);
	assert_int_equal(c->owner, TCB_MINE);
	memset((uint8_t *)c + offsetof(struct tcb, cookie), 0x11, 64);
	c->work = 0;
	c->cwnd = 5;
	c->timer.slot = SHM_NIL;
	tcb_release(t.s, i);
	assert_int_equal(c->owner, TCB_FREE);
	assert_int_equal(tcb_alloc(t.s), i);
	assert_int_equal(c->generation, 2);
	assert_int_equal(c->cwnd, 0);
	assert_int_equal(c->cookie, 0);
	assert_int_equal(c->tx_head, SHM_NIL);
	assert_int_equal(c->timer.slot, SHM_NIL);
	tcb_release(t.s, i);
	/* 0 is no generation. */
	c->generation = UINT32_MAX;
	assert_int_equal(tcb_alloc(t.s), i);
	assert_int_equal(c->generation, 1);
	tcb_release(t.s, i);
	ts_close(&t);
}

static void test_pool_exhausted_gives_nil(void **state)
{
	struct tstack t;

	(void)state;
	ts_open_bare(&t, NULL);
	for (uint32_t i = 0; i < t.a.n_tcbs; i++)
		assert_int_equal(tcb_alloc(t.s), i);
	assert_int_equal(tcb_alloc(t.s), SHM_NIL);
	tcb_release(t.s, 9);
	assert_int_equal(tcb_alloc(t.s), 9);
	for (uint32_t i = 0; i < t.a.n_chunks; i++)
		assert_int_equal(chunk_alloc(t.s), i);
	assert_int_equal(chunk_alloc(t.s), SHM_NIL);
	for (uint32_t i = 0; i < t.a.n_chunks; i++)
		chunk_free(t.s, i);
	for (uint32_t i = 0; i < t.a.n_tcbs; i++)
		tcb_release(t.s, i);
	ts_close(&t);
}

static void test_pool_chunk_list_is_freed_whole(void **state)
{
	struct tstack t;
	uint32_t a, b, c;

	(void)state;
	ts_open_bare(&t, NULL);
	a = chunk_alloc(t.s);
	b = chunk_alloc(t.s);
	c = chunk_alloc(t.s);
	t.a.chunk_hdrs[a].next = c;
	t.a.chunk_hdrs[c].next = b;
	assert_int_equal(t.a.chunk_hdrs[b].next, SHM_NIL);
	chunk_free_list(t.s, a);
	chunk_free_list(t.s, SHM_NIL);
	assert_int_equal(free_list_in_use(&t.s->chunk_free), 0);
	ts_close(&t);
}

/* Reports are not lost: while half the ring waits, there are no new connections. */
static void test_pool_no_tcb_while_reports_wait(void **state)
{
	const struct stack_ev ev = {.mask = EV_FREED};
	struct tstack t;
	struct stack_ev got;
	uint32_t half;

	(void)state;
	ts_open_bare(&t, NULL);
	half = t.s->freed_size / 2;
	assert_true(half >= 2 * t.a.n_tcbs + t.s->cfg.n_tw);
	for (uint32_t i = 0; i + 1 < half; i++)
		stack_report(t.s, &ev);
	assert_int_equal(tcb_alloc(t.s), 0);
	stack_report(t.s, &ev);
	assert_int_equal(tcb_alloc(t.s), SHM_NIL);
	assert_true(stack_event_next(t.s, &got));
	assert_int_equal(tcb_alloc(t.s), 1);
	tcb_release(t.s, 0);
	tcb_release(t.s, 1);
	ts_close(&t);
}

static void test_pool_check_finds_leaks(void **state)
{
	struct tstack t;
	char why[100];
	uint32_t c, i;

	(void)state;
	ts_open_bare(&t, NULL);
	c = chunk_alloc(t.s);
	assert_int_equal(pool_check(t.s, why, sizeof(why)), -E_UCLEAN);
	chunk_free(t.s, c);
	assert_int_equal(pool_check(t.s, why, sizeof(why)), 0);
	i = tcb_alloc(t.s);
	tcb_at(t.s, i)->owner = TCB_FREE;
	assert_int_equal(pool_check(t.s, why, sizeof(why)), -E_UCLEAN);
	tcb_at(t.s, i)->owner = TCB_MINE;
	tcb_release(t.s, i);
	t.s->n_pending = 1;
	assert_int_equal(pool_check(t.s, why, sizeof(why)), -E_UCLEAN);
	t.s->n_pending = 0;
	ts_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pool_free_list_gives_out_returned_items_first),
		cmocka_unit_test(test_pool_unused_items_are_not_touched),
		cmocka_unit_test(test_pool_trim_gives_up_what_was_not_needed_since_the_last_time),
		cmocka_unit_test(test_pool_shrink_cuts_off_what_is_free_at_the_end),
		cmocka_unit_test(test_pool_tcb_is_clean_and_generation_counts_uses),
		cmocka_unit_test(test_pool_exhausted_gives_nil),
		cmocka_unit_test(test_pool_chunk_list_is_freed_whole),
		cmocka_unit_test(test_pool_no_tcb_while_reports_wait),
		cmocka_unit_test(test_pool_check_finds_leaks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
