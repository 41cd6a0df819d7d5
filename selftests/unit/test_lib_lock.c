// SPDX-License-Identifier: BSD-2-Clause
/* lock.c: what is done when the lock is free, where many want it. */
#include "lib_sock.h"

#define WAIT_MS 5000

static int fd;
static unsigned n_kicks, n_free;

static int crowd_setup(void **state)
{
	int r = world_setup(state);

	fd = connected_to(PEER_DISCARD_PORT);
	n_kicks = n_free = 0;
	return r;
}

static int crowd_teardown(void **state)
{
	world.on_kick = NULL;
	tandem_close(fd);
	return world_teardown(state);
}

static void is_lock_free(void)
{
	n_kicks++;
	if (pthread_mutex_trylock(&eng.lock))
		return;
	n_free++;
	pthread_mutex_unlock(&eng.lock);
}

static void test_lock_alone_sends_at_once(void **state)
{
	(void)state;
	world.on_kick = is_lock_free;
	eng.crowded = 0;
	assert_int_equal(tandem_send(fd, "x", 1, 0), 1);
	assert_int_equal(n_kicks, 0);
	assert_int_equal(eng.outside, 0);
}

static void test_lock_crowd_sends_when_it_is_free(void **state)
{
	(void)state;
	world.on_kick = is_lock_free;
	eng.crowded = 10;
	assert_int_equal(tandem_send(fd, "x", 1, 0), 1);
	assert_int_equal(n_kicks, 1);
	assert_int_equal(n_free, 1);
	assert_true(eng.crowded < 10); /* and it is forgotten */
	assert_int_equal(eng.outside, 0);
	assert_int_equal(eng.kicks, 0);
}

static void test_lock_what_was_not_sent_is_tried_again(void **state)
{
	(void)state;
	world.kick_fails = true;
	eng.crowded = 10;
	assert_int_equal(tandem_send(fd, "x", 1, 0), 1);
	assert_int_equal(world.n_kicks_left, 1);
	/* Of a stack that is not there any more, nothing. */
	eng_lock();
	eng.kicks = 1;
	eng.state = ENGINE_DEAD;
	eng_unlock();
	eng.state = ENGINE_UP;
	assert_int_equal(world.n_kicks_left, 1);
}

static bool is_ready(int efd)
{
	struct pollfd p = {.fd = efd, .events = POLLIN};

	return poll(&p, 1, 0) == 1;
}

static void test_lock_crowd_wakes_when_it_is_free(void **state)
{
	int efds[ARRAY_SIZE(eng.wake) + 1];

	(void)state;
	for (unsigned i = 0; i < ARRAY_SIZE(efds); i++)
		assert_true((efds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) >= 0);
	eng_lock();
	eng.crowded = 0;
	eng_wake_fd(efds[0]);
	assert_true(is_ready(efds[0]));
	fd_drain(efds[0]);
	eng.crowded = 10;
	for (unsigned i = 0; i < ARRAY_SIZE(efds); i++)
		eng_wake_fd(efds[i]);
	for (unsigned i = 0; i < ARRAY_SIZE(eng.wake); i++)
		assert_false(is_ready(efds[i]));
	assert_true(is_ready(efds[ARRAY_SIZE(eng.wake)])); /* no room to remember it */
	eng_unlock();
	for (unsigned i = 0; i < ARRAY_SIZE(efds); i++) {
		assert_true(is_ready(efds[i]));
		close(efds[i]);
	}
}

static uint32_t at_gate; /* atomic: 1 a thread is in its call, 2 it may go on */

static void stay(void)
{
	__atomic_store_n(&at_gate, 1, __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&at_gate, __ATOMIC_SEQ_CST) == 1)
		usleep(100);
}

static void *send_one(void *arg)
{
	(void)arg;
	assert_int_equal(tandem_send(fd, "x", 1, 0), 1);
	return NULL;
}

static void *quiesce(void *arg)
{
	eng_lock();
	eng_quiesce();
	__atomic_store_n((uint32_t *)arg, 1, __ATOMIC_SEQ_CST);
	eng_unlock();
	return NULL;
}

/* Others can have the lock meanwhile, but what the call needs does not go away. */
static void test_lock_quiesce_waits_for_who_is_outside(void **state)
{
	struct mtime until = mtime_add_ms(clock_now(), WAIT_MS);
	uint32_t quiet = 0;
	pthread_t a, b;

	(void)state;
	at_gate = 0;
	world.on_kick = stay;
	eng.crowded = 1000;
	pthread_create(&a, NULL, send_one, NULL);
	while (__atomic_load_n(&at_gate, __ATOMIC_SEQ_CST) != 1)
		assert_true(mtime_before(clock_now(), until));
	eng_lock();
	assert_int_equal(eng.outside, 1);
	eng_unlock();
	pthread_create(&b, NULL, quiesce, &quiet);
	while (!pthread_mutex_trylock(&eng.lock)) { /* until it has it */
		pthread_mutex_unlock(&eng.lock);
		assert_true(mtime_before(clock_now(), until));
	}
	assert_int_equal(__atomic_load_n(&quiet, __ATOMIC_SEQ_CST), 0);
	__atomic_store_n(&at_gate, 2, __ATOMIC_SEQ_CST);
	pthread_join(a, NULL);
	pthread_join(b, NULL);
	assert_int_equal(quiet, 1);
}

static void *meet(void *arg)
{
	(void)arg;
	eng_lock();
	eng_unlock();
	return NULL;
}

static void test_lock_threads_that_meet_are_a_crowd(void **state)
{
	struct mtime until = mtime_add_ms(clock_now(), WAIT_MS);
	bool met = false;

	(void)state;
	while (!met) {
		pthread_t t;

		assert_true(mtime_before(clock_now(), until));
		eng_lock();
		eng.crowded = 0;
		pthread_create(&t, NULL, meet, NULL);
		usleep(1000);
		eng_unlock();
		pthread_join(t, NULL);
		eng_lock();
		met = eng.crowded;
		eng_unlock();
	}
}

int main(void)
{
#define LOCK_TEST(f) cmocka_unit_test_setup_teardown(f, crowd_setup, crowd_teardown)
	const struct CMUnitTest tests[] = {
		LOCK_TEST(test_lock_alone_sends_at_once),
		LOCK_TEST(test_lock_crowd_sends_when_it_is_free),
		LOCK_TEST(test_lock_what_was_not_sent_is_tried_again),
		LOCK_TEST(test_lock_crowd_wakes_when_it_is_free),
		LOCK_TEST(test_lock_quiesce_waits_for_who_is_outside),
		LOCK_TEST(test_lock_threads_that_meet_are_a_crowd),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
