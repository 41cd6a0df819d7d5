// SPDX-License-Identifier: BSD-2-Clause
/*
 * The ends of sockets: who sees a connection through, full rings, a daemon that is lost, threads
 * that wait meanwhile.
 */
#include "lib_sock.h"
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <linux/tcp.h>

static bool none_parts(void *arg)
{
	(void)arg;
	return !eng.parting.len && all_taken(NULL);
}

/* The peer that closes first sees us through: the daemon has nothing to finish. */
static void test_close_after_the_peer_needs_no_daemon(void **state)
{
	int ls = listening_on(8000, 0), fd;
	uint32_t conn = peer_connect(8000);
	char c;

	(void)state;
	fd = tandem_accept(ls, NULL, NULL);
	assert_true(fd >= 0);
	peer_close(conn);
	assert_int_equal(tandem_recv(fd, &c, 1, 0), 0);
	tandem_close(fd);
	world_until(none_parts, NULL);
	assert_int_equal(world.n_given, 0);
	assert_int_equal(world.n_gone, 1);
	tandem_close(ls);
}

/* One that does not close in time is the daemon's, in FIN_WAIT_2. */
static void test_peer_that_does_not_close_is_left_to_the_daemon(void **state)
{
	struct mtime t0 = clock_now();
	int fd = connected_to(PEER_MUTE_PORT);

	(void)state;
	peer_accepted();
	tandem_close(fd);
	assert_int_equal(world.n_given, 0);
	world_until(none_parts, NULL);
	assert_int_equal(world.n_given, 1);
	assert_true(mtime_diff_us(clock_now(), t0) >= 150000);
}

/* At exit nothing is left behind in a process that ends. */
static void test_exit_gives_what_has_not_parted(void **state)
{
	int fd = connected_to(PEER_MUTE_PORT);

	(void)state;
	peer_accepted();
	tandem_close(fd);
	assert_int_equal(world.n_given, 0);
	tandem_exit();
	assert_int_equal(world.n_given, 1);
}

/* ---- hand-over under stress ---- */

enum { N_FULL = 1500 };

static bool ring_is_full(void *arg)
{
	(void)arg;
	return eng.out.len >= N_FULL - SHM_MSG_RING;
}

static void test_full_ring_loses_nothing(void **state)
{
	enum { N = N_FULL };
	int fd[N];

	(void)state;
	for (int i = 0; i < N; i++)
		fd[i] = connected_to(PEER_DISCARD_PORT);
	world.daemon_stuck = true;
	for (int i = 0; i < N; i++)
		tandem_close(fd[i]);
	world_until(ring_is_full, NULL); /* of those that have come to TIME_WAIT */
	world.daemon_stuck = false;
	world_until(all_taken, NULL);
	assert_int_equal(world.n_given, N);
}

static void test_daemon_lost(void **state)
{
	int fd = connected_to(PEER_ECHO_PORT), waiting = sock_open(SOCK_NONBLOCK), ls;
	struct sockaddr_in sin = addr_of("0.0.0.0", 8000);
	char buf[8];

	(void)state;
	world.daemon_stuck = true;
	assert_fails(do_connect_to(waiting, PEER_ECHO_PORT), EINPROGRESS);
	shutdown(eng.ctl_fd, SHUT_RDWR);
	ls = sock_open(0);
	assert_fails(tandem_bind(ls, (struct sockaddr *)&sin, sizeof(sin)), ENETDOWN);
	assert_int_equal(get_int(waiting, SOL_SOCKET, SO_ERROR), ENETDOWN);
	assert_fails(do_connect_to(ls, PEER_ECHO_PORT), ENETDOWN);
	assert_int_equal(tandem_send(fd, "alive", 5, 0), 5);
	assert_int_equal(tandem_recv(fd, buf, 5, MSG_WAITALL), 5);
	assert_memory_equal(buf, "alive", 5);
	tandem_close(fd);
	tandem_close(waiting);
	tandem_close(ls);
}

static bool is_cut(void *ctx)
{
	(void)ctx;
	return eng.cut;
}

static bool is_attached(void *ctx)
{
	(void)ctx;
	return !eng.daemon_gone;
}

/* A directory with a file in the control socket's place, which the engine takes for its own. */
static void run_dir_make(char *dir)
{
	struct stat st;

	assert_non_null(mkdtemp(dir));
	eng.run_dir = open(dir, O_PATH | O_DIRECTORY);
	close(openat(eng.run_dir, CTL_SOCKET_NAME, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(fstatat(eng.run_dir, CTL_SOCKET_NAME, &st, 0), 0);
	eng.ctl_ino = st.st_ino;
}

/* What a dead daemon had left is cleared away: connections end, listeners have nobody. */
static void test_daemon_lost_and_cleared_away(void **state)
{
	int fd = connected_to(PEER_ECHO_PORT), rest = connected_to(PEER_ECHO_PORT), ls;
	int late = sock_open(0);
	struct sockaddr_in sin = addr_of("0.0.0.0", 8001);
	char dir[] = "/tmp/td-XXXXXX", buf[8];
	struct epoll_event ev = {.events = EPOLLIN}, got;
	int ep = tandem_epoll_create();

	(void)state;
	ls = listening_on(8000, SOCK_NONBLOCK);
	assert_int_equal(tandem_epoll_ctl(ep, EPOLL_CTL_ADD, ls, &ev), 0);
	run_dir_make(dir);
	assert_int_equal(tandem_send(rest, "unread", 6, 0), 6);
	world.daemon_stuck = true;
	shutdown(eng.ctl_fd, SHUT_RDWR);
	assert_fails(tandem_bind(late, (struct sockaddr *)&sin, sizeof(sin)), ENETDOWN);
	assert_int_equal(tandem_send(fd, "alive", 5, 0), 5);
	assert_int_equal(tandem_recv(fd, buf, 5, MSG_WAITALL), 5);
	assert_false(eng.cut);
	assert_int_equal(unlinkat(eng.run_dir, CTL_SOCKET_NAME, 0), 0);
	world_until(is_cut, NULL);
	assert_fails((int)tandem_recv(fd, buf, 5, 0), ECONNRESET);
	assert_int_equal(tandem_recv(fd, buf, 5, 0), 0);
	assert_fails((int)tandem_send(fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	assert_int_equal(get_int(rest, SOL_SOCKET, SO_ERROR), ECONNRESET);
	assert_fails(tandem_accept(ls, NULL, NULL), EAGAIN);
	assert_int_equal(tandem_epoll_wait(ep, &got, 1, 0), 0);
	assert_fails(do_connect_to(late, PEER_ECHO_PORT), ENETDOWN);
	tandem_close(late);
	tandem_close(fd);
	tandem_close(rest);
	tandem_close(ls);
	tandem_close(ep);
	close(eng.run_dir);
	eng.run_dir = -1;
	rmdir(dir);
}

/* Then there is a new one: listeners listen there, with what they had; new sockets work. */
static void test_daemon_replaced(void **state)
{
	int fd = connected_to(PEER_ECHO_PORT), quiet = connected_to(PEER_ECHO_PORT);
	int bound = sock_open(0), refused = sock_open(SOCK_NONBLOCK), ls, new;
	struct sockaddr_in sin = addr_of("0.0.0.0", 8001), bad = addr_of("0.0.0.0", 668);
	struct epoll_event ev = {.events = EPOLLIN}, got;
	char dir[] = "/tmp/td-XXXXXX", c;
	int ep = tandem_epoll_create(), queue = 3;

	(void)state;
	ls = listening_on(8000, SOCK_NONBLOCK);
	assert_int_equal(tandem_epoll_ctl(ep, EPOLL_CTL_ADD, ls, &ev), 0);
	assert_int_equal(tandem_setsockopt(ls, IPPROTO_TCP, TCP_FASTOPEN, &queue, sizeof(queue)), 0);
	assert_int_equal(tandem_bind(bound, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(tandem_bind(refused, (struct sockaddr *)&bad, sizeof(bad)), 0);
	assert_int_equal(tandem_listen(refused, 5), 0);
	run_dir_make(dir);
	shutdown(eng.ctl_fd, SHUT_RDWR);
	eng.crowded = 1000000;
	assert_int_equal(unlinkat(eng.run_dir, CTL_SOCKET_NAME, 0), 0);
	world_until(is_cut, NULL);
	eng.crowded = 0;
	assert_true(world.n_kicks_left > 0);
	assert_int_equal(world.cut_owing, 0);
	assert_fails((int)tandem_recv(fd, &c, 1, 0), ECONNRESET);
	/* Not at each look is one there. */
	world_replace_daemon(668);
	world_until(is_attached, NULL);
	assert_int_equal(world.n_attempts, 3);
	assert_fails((int)tandem_recv(quiet, &c, 1, 0), ECONNRESET);
	assert_int_equal(tandem_recv(quiet, &c, 1, 0), 0);
	assert_int_equal(tandem_recv(fd, &c, 1, 0), 0);
	assert_int_equal(world.n_listens, 2);
	assert_int_equal(world.last_fastopen, 3);
	assert_int_equal(world.n_binds, 1);
	assert_fails(tandem_accept(refused, NULL, NULL), EADDRINUSE);
	assert_fails(tandem_accept(refused, NULL, NULL), EINVAL);
	assert_int_equal(tandem_epoll_wait(ep, &got, 1, 0), 0);
	peer_connect(8000);
	assert_int_equal(tandem_epoll_wait(ep, &got, 1, 5000), 1);
	assert_int_equal(got.events, EPOLLIN);
	new = tandem_accept(ls, NULL, NULL);
	assert_true(new >= 0);
	tandem_close(new);
	new = connected_to(PEER_ECHO_PORT);
	assert_int_equal(tandem_send(new, "x", 1, 0), 1);
	assert_int_equal(tandem_recv(new, &c, 1, 0), 1);
	tandem_close(new);
	tandem_close(refused);
	tandem_close(bound);
	tandem_close(quiet);
	tandem_close(fd);
	tandem_close(ls);
	tandem_close(ep);
	rmdir(dir);
}

static void *read_one(void *arg)
{
	char c = 0;

	assert_int_equal(tandem_recv(*(int *)arg, &c, 1, 0), 1);
	return (void *)(uintptr_t)(uint8_t)c;
}

static bool two_wait(void *arg)
{
	uint32_t n = 0;

	(void)arg;
	for (struct waiter *wt = eng.waiters; wt; wt = wt->next)
		n += !wt->any_packet;
	return n == 2;
}

static void test_threads_leader_and_follower(void **state)
{
	int fd[2] = {connected_to(PEER_ECHO_PORT), connected_to(PEER_ECHO_PORT)};
	pthread_t t[2];
	void *r;

	(void)state;
	for (int round = 0; round < 50; round++) {
		for (int i = 0; i < 2; i++)
			pthread_create(&t[i], NULL, read_one, &fd[i]);
		world_until(two_wait, NULL);
		for (int i = 1; i >= 0; i--)
			assert_int_equal(tandem_send(fd[i], i ? "B" : "A", 1, 0), 1);
		for (int i = 0; i < 2; i++) {
			pthread_join(t[i], &r);
			assert_int_equal((uintptr_t)r, 'A' + i);
		}
	}
	tandem_close(fd[0]);
	tandem_close(fd[1]);
	world_until(all_taken, NULL);
}

static void *blocked_reader(void *arg)
{
	char c;
	ssize_t n = tandem_recv(*(int *)arg, &c, 1, 0);

	return (void *)(uintptr_t)(n < 0 ? errno : 0);
}

static bool one_waits(void *arg)
{
	(void)arg;
	return eng.waiters && (eng.waiters->next || !eng.waiters->any_packet);
}

static void test_close_wakes_blocked_thread(void **state)
{
	int fd = connected_to(PEER_MUTE_PORT);
	pthread_t t;
	void *r;

	(void)state;
	pthread_create(&t, NULL, blocked_reader, &fd);
	world_until(one_waits, NULL);
	tandem_close(fd);
	pthread_join(t, &r);
	assert_int_equal((uintptr_t)r, EBADF);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(test_close_after_the_peer_needs_no_daemon),
		WORLD_TEST(test_peer_that_does_not_close_is_left_to_the_daemon),
		WORLD_TEST(test_exit_gives_what_has_not_parted),
		WORLD_TEST(test_full_ring_loses_nothing),
		WORLD_TEST(test_daemon_lost),
		WORLD_TEST(test_daemon_lost_and_cleared_away),
		WORLD_TEST(test_daemon_replaced),
		WORLD_TEST(test_threads_leader_and_follower),
		WORLD_TEST(test_close_wakes_blocked_thread),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
