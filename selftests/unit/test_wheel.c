// SPDX-License-Identifier: BSD-2-Clause
#include "lib_stack.h"

#define TICK (1ull << WHEEL_SHIFT)
#define N 64u

static void open_at(struct tstack *t, uint64_t ns)
{
	ts_open_bare(t, NULL);
	t->now.ns = ns;
	wheel_init(&t->s->wheel, t->now);
	for (uint32_t i = 0; i < N; i++)
		t->a.tcbs[i].timer = (struct wheel_node){SHM_NIL, SHM_NIL, SHM_NIL};
}

static void check(const struct tstack *t)
{
	char why[100];

	if (wheel_check(t->s, why, sizeof(why)))
		fail_msg("%s", why);
}

/* As a driver would: sleeps until wheel_next(), again and again, until a timer is given out. */
static uint32_t next_expiry(struct tstack *t)
{
	uint32_t id;

	for (int wakeups = 0; !wheel_expired(t->s, t->now, &id); wakeups++) {
		struct mtime d = wheel_next(t->s);

		check(t);
		assert_false(mtime_is_never(d));
		assert_true(d.ns > t->now.ns); /* else it would spin */
		assert_true(wakeups < 2 * WHEEL_LEVELS);
		t->now = d;
	}
	check(t);
	return TIMER_IDX(id);
}

static uint64_t rnd(uint64_t *x)
{
	*x = *x * 6364136223846793005ull + 1442695040888963407ull;
	return *x >> 11;
}

static void expires_within(uint64_t start, uint64_t horizon, uint64_t slack)
{
	struct tstack t;
	uint64_t when[N], x = start + horizon;

	open_at(&t, start);
	for (uint32_t i = 0; i < N; i++) {
		when[i] = start + TICK + rnd(&x) % horizon;
		wheel_set(t.s, TIMER_ID(TK_CONN, i), (struct mtime){when[i]});
	}
	check(&t);
	for (uint32_t n = 0; n < 20 * N; n++) {
		uint32_t i = next_expiry(&t);

		assert_true(t.now.ns >= when[i]);
		assert_true(t.now.ns <= when[i] + slack);
		when[i] = t.now.ns + TICK + rnd(&x) % horizon;
		wheel_set(t.s, TIMER_ID(TK_CONN, i), (struct mtime){when[i]});
	}
	assert_int_equal(t.s->wheel.n, N);
	for (uint32_t i = 0; i < N; i++)
		wheel_del(t.s, TIMER_ID(TK_CONN, i));
	ts_close(&t);
}

static void test_wheel_near_timers_not_early_at_most_a_tick_late(void **state)
{
	(void)state;
	expires_within(1000 * NS_PER_S, 50 * NS_PER_MS, TICK);
	expires_within(1000 * NS_PER_S + 77, 3 * NS_PER_S, TICK);
	expires_within(123456789012345ull, 500 * NS_PER_S, TICK);
}

static void test_wheel_far_timers_not_early_little_late(void **state)
{
	(void)state;
	expires_within(5, 30 * 3600 * NS_PER_S, 257 * TICK);
	expires_within(99, 90 * 86400 * NS_PER_S, 257 * TICK);
}

/* The top level comes round after 2^53 ns (104 days): nothing may be lost or early there. */
static void test_wheel_top_level_comes_round(void **state)
{
	(void)state;
	expires_within((1ull << 53) - NS_PER_S, 4 * NS_PER_S, TICK);
	expires_within((1ull << 53) - 40 * 86400 * NS_PER_S, 80 * 86400 * NS_PER_S, 257 * TICK);
}

static void test_wheel_past_expires_at_the_next_tick(void **state)
{
	struct tstack t;
	uint32_t id;

	(void)state;
	open_at(&t, 1000 * NS_PER_S);
	wheel_set(t.s, TIMER_ID(TK_CONN, 3), (struct mtime){5});
	assert_false(wheel_expired(t.s, t.now, &id));
	assert_int_equal(next_expiry(&t), 3);
	assert_true(t.now.ns <= 1000 * NS_PER_S + TICK);
	assert_int_equal(t.a.tcbs[3].timer.slot, SHM_NIL);
	ts_close(&t);
}

static void test_wheel_rearmed_timer_expires_once_at_the_new_time(void **state)
{
	struct tstack t;
	uint32_t id;

	(void)state;
	open_at(&t, 1000 * NS_PER_S);
	wheel_set(t.s, TIMER_ID(TK_CONN, 1), mtime_add_ms(t.now, 10));
	wheel_set(t.s, TIMER_ID(TK_CONN, 1), mtime_add_ms(t.now, 700));
	assert_int_equal(t.s->wheel.n, 1);
	t.now = mtime_add_ms(t.now, 699);
	assert_false(wheel_expired(t.s, t.now, &id));
	t.now = mtime_add_ms(t.now, 2);
	assert_true(wheel_expired(t.s, t.now, &id));
	assert_false(wheel_expired(t.s, t.now, &id));
	ts_close(&t);
}

static void test_wheel_deleted_and_never_do_not_expire(void **state)
{
	struct tstack t;
	uint32_t id;

	(void)state;
	open_at(&t, 1000 * NS_PER_S);
	/* Three in one slot: first, middle and last leave. */
	for (uint32_t i = 0; i < 5; i++)
		wheel_set(t.s, TIMER_ID(TK_CONN, i), mtime_add_ms(t.now, 10));
	wheel_del(t.s, TIMER_ID(TK_CONN, 4));
	wheel_del(t.s, TIMER_ID(TK_CONN, 0));
	wheel_set(t.s, TIMER_ID(TK_CONN, 2), MTIME_NEVER);
	wheel_del(t.s, TIMER_ID(TK_CONN, 2)); /* twice: nothing */
	check(&t);
	assert_int_equal(next_expiry(&t) + next_expiry(&t), 1 + 3);
	assert_true(mtime_is_never(wheel_next(t.s)));
	assert_false(wheel_expired(t.s, mtime_add_ms(t.now, 1000), &id));
	ts_close(&t);
}

/* An expired timer that was not taken yet can be deleted, and is due at once. */
static void test_wheel_expired_but_not_taken(void **state)
{
	struct tstack t;
	uint32_t id;

	(void)state;
	open_at(&t, 1000 * NS_PER_S);
	for (uint32_t i = 0; i < 3; i++)
		wheel_set(t.s, TIMER_ID(TK_CONN, i), mtime_add_ms(t.now, 10));
	t.now = mtime_add_ms(t.now, 20);
	assert_true(wheel_expired(t.s, t.now, &id));
	assert_false(mtime_before(t.now, wheel_next(t.s)));
	wheel_del(t.s, TIMER_ID(TK_CONN, TIMER_IDX(id) == 0 ? 1 : 0));
	assert_true(wheel_expired(t.s, t.now, &id));
	assert_false(wheel_expired(t.s, t.now, &id));
	ts_close(&t);
}

static void test_wheel_check_finds_damage(void **state)
{
	struct tstack t;
	char why[100];

	(void)state;
	open_at(&t, 1000 * NS_PER_S);
	wheel_set(t.s, TIMER_ID(TK_CONN, 1), mtime_add_ms(t.now, 10));
	t.s->wheel.n++;
	assert_int_equal(wheel_check(t.s, why, sizeof(why)), -E_UCLEAN);
	t.s->wheel.n--;
	t.a.tcbs[1].timer.prev = 7;
	assert_int_equal(wheel_check(t.s, why, sizeof(why)), -E_UCLEAN);
	t.a.tcbs[1].timer.prev = SHM_NIL;
	wheel_del(t.s, TIMER_ID(TK_CONN, 1));
	t.s->wheel.bitmap[2] = 1;
	assert_int_equal(wheel_check(t.s, why, sizeof(why)), -E_UCLEAN);
	assert_string_equal(why, "wheel: bitmap is wrong for slot 128");
	t.s->wheel.bitmap[2] = 0;
	ts_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_wheel_near_timers_not_early_at_most_a_tick_late),
		cmocka_unit_test(test_wheel_far_timers_not_early_little_late),
		cmocka_unit_test(test_wheel_top_level_comes_round),
		cmocka_unit_test(test_wheel_past_expires_at_the_next_tick),
		cmocka_unit_test(test_wheel_rearmed_timer_expires_once_at_the_new_time),
		cmocka_unit_test(test_wheel_deleted_and_never_do_not_expire),
		cmocka_unit_test(test_wheel_expired_but_not_taken),
		cmocka_unit_test(test_wheel_check_finds_damage),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
