// SPDX-License-Identifier: BSD-2-Clause
/* hold.c: what is sent in a row leaves together, and none of it is forgotten. */
#include "lib_sock.h"
#include <linux/tcp.h>

static int fd;
static uint32_t conn;

static int setup_alone(void **state)
{
	int r = world_setup(state), one = 1;

	fd = connected_to(PEER_MUTE_PORT);
	assert_int_equal(tandem_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
	conn = peer_accepted();
	return r;
}

static int setup_kept(void **state)
{
	int r = setup_alone(state);

	pthread_mutex_lock(&eng.lock);
	r = r ? r : keeper_start();
	pthread_mutex_unlock(&eng.lock);
	return r;
}

static int hold_teardown(void **state)
{
	tandem_close(fd);
	return world_teardown(state);
}

static void send_byte(void)
{
	assert_int_equal(tandem_send(fd, "x", 1, 0), 1);
}

static uint64_t segments(void)
{
	return arena_view(&eng.own).mib[MIB_Tcp_OutSegs];
}

/* Runs the engine, and takes away what the peer has got. */
static uint32_t come_to_wait(void)
{
	static char buf[65536];
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int64_t n;

	assert_int_equal(tandem_poll(&p, 1, 0), 0);
	pthread_mutex_lock(&eng.lock);
	n = peer_recv(conn, buf, sizeof(buf));
	pthread_mutex_unlock(&eng.lock);
	return n > 0 ? (uint32_t)n : 0;
}

static bool watched(void)
{
	bool r;

	pthread_mutex_lock(&eng.lock);
	r = eng.hold.watched;
	pthread_mutex_unlock(&eng.lock);
	return r;
}

/* Sends in pairs until the keeper has come to look after it. */
static void get_watched(void)
{
	struct mtime until = mtime_add_ms(clock_now(), 5000);

	while (!watched()) {
		assert_true(mtime_before(clock_now(), until));
		send_byte();
		send_byte();
		come_to_wait();
	}
}

/* Tried until nobody has looked in between, as on a busy CPU. */
static void pair_leaves_as_one(bool with_look)
{
	bool one = false;
	char c;

	for (int i = 0; i < 1000 && !one; i++) {
		uint64_t before;

		get_watched();
		before = segments();
		send_byte();
		if (with_look)
			assert_int_equal(tandem_recv(fd, &c, 1, MSG_DONTWAIT), -1);
		send_byte();
		assert_int_equal(come_to_wait(), 2);
		one = segments() == before + 1;
	}
	assert_true(one);
}

static void test_pair_leaves_as_one(void **state)
{
	(void)state;
	pair_leaves_as_one(false);
}

/* To look whether something has come, as servers do after each answer, is no wait. */
static void test_look_lets_nothing_go(void **state)
{
	(void)state;
	pair_leaves_as_one(true);
}

/* Who looks again and again waits, without sleeping. */
static void test_looks_let_it_go(void **state)
{
	uint64_t before;
	char c;

	(void)state;
	get_watched();
	before = segments();
	send_byte();
	for (int i = 0; i < 2; i++)
		assert_int_equal(tandem_recv(fd, &c, 1, MSG_DONTWAIT), -1);
	assert_int_equal(segments(), before + 1);
	for (int i = 0; i < 1000; i++) {
		send_byte();
		while (READ_ONCE(eng.hold.n))
			assert_int_equal(tandem_recv(fd, &c, 1, MSG_DONTWAIT), -1);
	}
	come_to_wait();
}

/* The end goes with what comes before it, and makes a row of the two. */
static void end_leaves_as_one(void (*end)(int fd))
{
	struct mtime until = mtime_add_ms(clock_now(), 5000);
	bool one = false;

	while (!one) {
		int other = connected_to(PEER_MUTE_PORT);
		uint32_t c = peer_accepted();
		uint64_t before;
		bool was;
		char buf[8];

		assert_true(mtime_before(clock_now(), until));
		was = watched();
		before = segments();
		assert_int_equal(tandem_send(other, "x", 1, 0), 1);
		end(other);
		come_to_wait();
		one = was && segments() == before + 1;
		pthread_mutex_lock(&eng.lock);
		assert_int_equal(peer_recv(c, buf, sizeof(buf)), 1);
		assert_int_equal(peer_recv(c, buf, sizeof(buf)), 0);
		peer_close(c);
		pthread_mutex_unlock(&eng.lock);
		come_to_wait();
	}
}

static void by_close(int other)
{
	tandem_close(other);
}

static void by_shutdown(int other)
{
	assert_int_equal(tandem_shutdown(other, SHUT_WR), 0);
	tandem_close(other);
}

static void test_end_leaves_as_one(void **state)
{
	(void)state;
	end_leaves_as_one(by_close);
	end_leaves_as_one(by_shutdown);
}

static void test_one_by_one_leaves_at_once(void **state)
{
	(void)state;
	for (int i = 0; i < 1000; i++) {
		uint64_t before = segments();

		send_byte();
		assert_int_equal(segments(), before + 1);
		come_to_wait();
		assert_false(eng.hold.wanted);
	}
	assert_false(watched());
}

static void test_no_more_than_so_many(void **state)
{
	(void)state;
	get_watched();
	for (int i = 0; i < 1000; i++) {
		send_byte();
		assert_in_range(READ_ONCE(eng.hold.n), 0, 15);
	}
	assert_true(come_to_wait() > 0);
}

static void test_much_leaves_at_once(void **state)
{
	static char much[20000];

	(void)state;
	get_watched();
	assert_int_equal(tandem_send(fd, much, sizeof(much), 0), sizeof(much));
	assert_int_equal(READ_ONCE(eng.hold.n), 0);
}

/* A program that does not come back: the keeper sends, and nothing is held for a while. */
static void test_forgotten_is_sent(void **state)
{
	uint32_t misses = 0;

	(void)state;
	for (int i = 0; i < 3; i++) {
		struct mtime until = mtime_add_ms(clock_now(), 5000);
		uint32_t got = 0;

		get_watched();
		send_byte();
		/* All that this test does here it does without a call. */
		while (!got) {
			char buf[64];
			int64_t n;

			assert_true(mtime_before(clock_now(), until));
			pthread_mutex_lock(&eng.lock);
			n = peer_recv(conn, buf, sizeof(buf));
			got = n > 0 && !eng.hold.n;
			misses = eng.hold.misses;
			pthread_mutex_unlock(&eng.lock);
			sched_yield();
		}
	}
	assert_in_range(misses, 1, 3);
	assert_false(mtime_before(eng.hold.not_before, eng.hold.since));
}

/* One that has been late often is not held up again soon, and later it is given another chance. */
static void test_late_ones_are_left_alone(void **state)
{
	(void)state;
	eng.hold.not_before = mtime_add_ms(clock_now(), 100);
	for (int i = 0; i < 100; i++) {
		send_byte();
		send_byte();
		come_to_wait();
	}
	if (mtime_before(clock_now(), eng.hold.not_before))
		assert_false(watched());
	get_watched();
	assert_false(mtime_before(clock_now(), eng.hold.not_before));
}

static void peer_says(void)
{
	pthread_mutex_lock(&eng.lock);
	peer_send(conn, "a", 1);
	fd_signal(eng.bell_app);
	pthread_mutex_unlock(&eng.lock);
}

static void *read_one(void *arg)
{
	char c;

	(void)arg;
	return (void *)(intptr_t)tandem_recv(fd, &c, 1, 0);
}

static void wait_for_leader(void)
{
	bool led = false;

	while (!led) {
		pthread_mutex_lock(&eng.lock);
		led = eng.leader && eng.leader->asleep;
		pthread_mutex_unlock(&eng.lock);
		sched_yield();
	}
}

/* Where another thread leads, whoever goes to sleep behind it leaves nothing held. */
static void test_follower_lets_go(void **state)
{
	const struct timeval soon = {.tv_usec = 20000};
	int other = connected_to(PEER_MUTE_PORT);
	uint64_t before;
	pthread_t t;
	char c;

	(void)state;
	assert_int_equal(tandem_setsockopt(other, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon)), 0);
	pthread_create(&t, NULL, read_one, NULL);
	wait_for_leader();
	eng.hold.watched = true; /* as the keeper would say, that is not here to help */
	before = segments();
	send_byte();
	assert_int_equal(segments(), before);
	assert_int_equal(tandem_recv(other, &c, 1, 0), -1);
	assert_int_equal(segments(), before + 1);
	peer_says();
	pthread_join(t, NULL);
	tandem_close(other);
}

int main(void)
{
#define HOLD_TEST(f) cmocka_unit_test_setup_teardown(f, setup_kept, hold_teardown)
	const struct CMUnitTest tests[] = {
		HOLD_TEST(test_pair_leaves_as_one),
		HOLD_TEST(test_look_lets_nothing_go),
		HOLD_TEST(test_looks_let_it_go),
		HOLD_TEST(test_end_leaves_as_one),
		HOLD_TEST(test_one_by_one_leaves_at_once),
		HOLD_TEST(test_no_more_than_so_many),
		HOLD_TEST(test_much_leaves_at_once),
		HOLD_TEST(test_forgotten_is_sent),
		HOLD_TEST(test_late_ones_are_left_alone),
		cmocka_unit_test_setup_teardown(test_follower_lets_go, setup_alone, hold_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
