// SPDX-License-Identifier: BSD-2-Clause
/* keeper.c, and what fork() and exit() do: the engine with nobody, or the wrong process, calling.
 */
#include "lib_sock.h"
#include <sys/wait.h>

static uint64_t keeper_runs(void)
{
	return ((struct arena_hdr *)(void *)eng.own.base)->keeper_runs;
}

/* Without a call into the library: @done() is asked under the lock until it holds. */
static void wait_idle(bool (*done)(void *), void *arg)
{
	struct mtime until = mtime_add_ms(clock_now(), 5000);
	bool ok = false;

	while (!ok) {
		if (!mtime_before(clock_now(), until))
			fail_msg("nothing came of it");
		pthread_mutex_lock(&eng.lock);
		ok = done(arg);
		pthread_mutex_unlock(&eng.lock);
		sched_yield();
	}
}

static bool keeper_sleeps_for_us(void *arg)
{
	(void)arg;
	return eng.keeper_on && eng.keeper_w.asleep;
}

static bool all_acked(void *arg)
{
	return tcp_unsent_bytes(w.peer.stack, *(uint32_t *)arg) == 0;
}

static int keeper_setup(void **state)
{
	int r = world_setup(state);

	pthread_mutex_lock(&eng.lock);
	r = r ? r : keeper_start();
	pthread_mutex_unlock(&eng.lock);
	return r;
}

static void test_keeper_acknowledges_for_absent_program(void **state)
{
	int fd = connected_to(PEER_MUTE_PORT);
	uint32_t conn = peer_accepted();
	char buf[16];

	(void)state;
	wait_idle(keeper_sleeps_for_us, NULL);
	for (int i = 0; i < 3; i++) {
		uint64_t before;

		pthread_mutex_lock(&eng.lock);
		before = keeper_runs();
		peer_send(conn, "abcd", 4);
		fd_signal(eng.bell_app); /* as if it had arrived */
		pthread_mutex_unlock(&eng.lock);
		wait_idle(all_acked, &conn);
		assert_true(keeper_runs() > before);
	}
	assert_int_equal(tandem_recv(fd, buf, sizeof(buf), MSG_WAITALL | MSG_DONTWAIT), 12);
	tandem_close(fd);
}

static void test_keeper_leaves_when_program_returns(void **state)
{
	int fd = connected_to(PEER_ECHO_PORT);
	struct mtime start;
	uint64_t runs, ms;
	char c;

	(void)state;
	wait_idle(keeper_sleeps_for_us, NULL);
	runs = keeper_runs();
	start = clock_now();
	/* While the program calls, the keeper does nothing, but where we did not get the CPU. */
	for (int i = 0; i < 5000; i++) {
		assert_int_equal(tandem_send(fd, "x", 1, 0), 1);
		assert_int_equal(tandem_recv(fd, &c, 1, 0), 1);
	}
	ms = mtime_diff_ns(clock_now(), start) / NS_PER_MS;
	assert_in_range(keeper_runs() - runs, 0, ms / 20 + 1);
	tandem_close(fd);
}

static void *read_one(void *arg)
{
	char c = 0;

	return (void *)(intptr_t)tandem_recv(*(int *)arg, &c, 1, 0);
}

static bool keeper_is_parked(void *arg)
{
	(void)arg;
	return eng.keeper_parked && eng.leader && eng.leader->asleep;
}

static bool keeper_is_back(void *arg)
{
	(void)arg;
	return !eng.keeper_parked;
}

static void test_keeper_parks_while_program_waits(void **state)
{
	int fd = connected_to(PEER_MUTE_PORT);
	uint32_t conn = peer_accepted();
	pthread_t t;
	void *r;

	(void)state;
	pthread_create(&t, NULL, read_one, &fd);
	wait_idle(keeper_is_parked, NULL);
	pthread_mutex_lock(&eng.lock);
	peer_send(conn, "a", 1);
	fd_signal(eng.bell_app);
	pthread_mutex_unlock(&eng.lock);
	pthread_join(t, &r);
	assert_int_equal((intptr_t)r, 1);
	wait_idle(keeper_is_back, NULL);
	tandem_close(fd);
}

static void test_fork_child_has_no_sockets(void **state)
{
	int fd = connected_to(PEER_ECHO_PORT), status;
	char c;
	pid_t pid;

	(void)state;
	pthread_atfork(NULL, NULL, eng_atfork_child);
	pid = fork();
	if (!pid) {
		bool ok = tandem_send(fd, "x", 1, MSG_NOSIGNAL) < 0 && errno == EBADF &&
			  tandem_socket(AF_INET, SOCK_STREAM, 0) < 0 && errno == EBADF &&
			  eng.ctl_fd == -1;

		tandem_exit();
		_exit(ok ? 0 : 1);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_equal(tandem_send(fd, "x", 1, 0), 1);
	assert_int_equal(tandem_recv(fd, &c, 1, 0), 1);
	tandem_close(fd);
}

static bool given(void *arg)
{
	return world.n_given == *(uint32_t *)arg;
}

static void test_exit_gives_all_back(void **state)
{
	uint32_t want = 20;

	(void)state;
	for (uint32_t i = 0; i < want; i++)
		connected_to(PEER_DISCARD_PORT);
	tandem_exit();
	assert_true(given(&want));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_keeper_acknowledges_for_absent_program,
						keeper_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_keeper_leaves_when_program_returns,
						keeper_setup, world_teardown),
		cmocka_unit_test_setup_teardown(test_keeper_parks_while_program_waits, keeper_setup,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_fork_child_has_no_sockets, world_setup,
						world_teardown),
		cmocka_unit_test_setup_teardown(test_exit_gives_all_back, keeper_setup,
						world_teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
