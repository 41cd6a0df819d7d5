// SPDX-License-Identifier: BSD-2-Clause
/* epoll.c and poll.c: triggering, lists, both kinds of descriptors, threads. */
#include "lib_sock.h"
#include <fcntl.h>

static int ctl(int ep, int op, int fd, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.fd = fd};

	return tandem_epoll_ctl(ep, op, fd, &ev);
}

/* epoll_wait() for at most one event: its mask, or 0. */
static uint32_t next_event(int ep, int timeout, int *fd)
{
	struct epoll_event ev;
	int n = tandem_epoll_wait(ep, &ev, 1, timeout);

	assert_in_range(n, 0, 1);
	if (!n)
		return 0;
	if (fd)
		*fd = ev.data.fd;
	return ev.events;
}

static void test_epoll_level(void **state)
{
	int ep = tandem_epoll_create(), fd = connected_to(PEER_MUTE_PORT), got;
	char buf[8];

	(void)state;
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, fd, EPOLLIN), 0);
	assert_int_equal(next_event(ep, 0, NULL), 0);
	peer_send(peer_accepted(), "ab", 2);
	assert_int_equal(next_event(ep, 5000, &got), EPOLLIN);
	assert_int_equal(got, fd);
	assert_int_equal(tandem_recv(fd, buf, 1, 0), 1);
	assert_int_equal(next_event(ep, 0, NULL), EPOLLIN);
	assert_int_equal(tandem_recv(fd, buf, 1, 0), 1);
	assert_int_equal(next_event(ep, 0, NULL), 0);
	assert_int_equal(ctl(ep, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLOUT), 0);
	assert_int_equal(next_event(ep, 0, NULL), EPOLLOUT);
	tandem_close(fd);
	assert_int_equal(next_event(ep, 0, NULL), 0);
	tandem_close(ep);
}

static void test_epoll_edge(void **state)
{
	int ep = tandem_epoll_create(), fd = connected_to(PEER_MUTE_PORT);
	char buf[8];

	(void)state;
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLET), 0);
	peer_send(peer_accepted(), "ab", 2);
	assert_int_equal(next_event(ep, 5000, NULL), EPOLLIN);
	assert_int_equal(next_event(ep, 0, NULL), 0);
	assert_int_equal(tandem_recv(fd, buf, 1, 0), 1);
	assert_int_equal(next_event(ep, 0, NULL), 0);
	/* More data are a new edge, though the old were not all read. */
	peer_send(peer_accepted(), "c", 1);
	assert_int_equal(next_event(ep, 5000, NULL), EPOLLIN);
	assert_int_equal(next_event(ep, 0, NULL), 0);
	peer_close(peer_accepted());
	assert_int_equal(next_event(ep, 5000, NULL), EPOLLIN);
	tandem_close(fd);
	tandem_close(ep);
}

static void test_epoll_oneshot(void **state)
{
	int ep = tandem_epoll_create(), fd = connected_to(PEER_MUTE_PORT);

	(void)state;
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLONESHOT), 0);
	peer_send(peer_accepted(), "a", 1);
	assert_int_equal(next_event(ep, 5000, NULL), EPOLLIN);
	peer_send(peer_accepted(), "b", 1);
	assert_int_equal(next_event(ep, 20, NULL), 0);
	assert_int_equal(ctl(ep, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLONESHOT), 0);
	assert_int_equal(next_event(ep, 0, NULL), EPOLLIN);
	assert_int_equal(next_event(ep, 0, NULL), 0);
	tandem_close(fd);
	tandem_close(ep);
}

/* A buffer that is nearly full, with no call that found no room: becoming writable is an event. */
static void test_epoll_writable_after_nearly_full(void **state)
{
	int ep = tandem_epoll_create(), fd = connected_to(PEER_DISCARD_PORT), room;
	socklen_t len = sizeof(room);
	char *buf;

	(void)state;
	assert_int_equal(tandem_getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &room, &len), 0);
	buf = calloc(1, (size_t)room);
	assert_int_equal(tandem_send(fd, buf, (size_t)room - 1000, 0), room - 1000);
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, fd, EPOLLOUT), 0);
	assert_int_equal(next_event(ep, 5000, NULL), EPOLLOUT);
	free(buf);
	tandem_close(fd);
	tandem_close(ep);
}

static void test_epoll_hangup_always_told(void **state)
{
	int ep = tandem_epoll_create(), fd = connected_to(PEER_MUTE_PORT);

	(void)state;
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, fd, 0), 0);
	peer_reset(peer_accepted());
	assert_int_equal(next_event(ep, 5000, NULL), EPOLLERR | EPOLLHUP);
	tandem_close(fd);
	tandem_close(ep);
}

static void test_epoll_rdhup(void **state)
{
	int ep = tandem_epoll_create(), fd = connected_to(PEER_MUTE_PORT);

	(void)state;
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, fd, EPOLLRDHUP), 0);
	peer_close(peer_accepted());
	assert_int_equal(next_event(ep, 5000, NULL), EPOLLRDHUP);
	tandem_close(fd);
	tandem_close(ep);
}

static void test_epoll_ctl_errors(void **state)
{
	int ep = tandem_epoll_create(), fd = connected_to(PEER_MUTE_PORT);
	struct epoll_event ev;

	(void)state;
	assert_int_equal(ctl(ep, EPOLL_CTL_MOD, fd, EPOLLIN), -1);
	assert_int_equal(errno, ENOENT);
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, fd, EPOLLIN), 0);
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, fd, EPOLLIN), -1);
	assert_int_equal(errno, EEXIST);
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, ep, EPOLLIN), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(ctl(fd, EPOLL_CTL_ADD, fd, EPOLLIN), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, TANDEM_FD_BASE + 500, EPOLLIN), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(tandem_epoll_ctl(ep, EPOLL_CTL_MOD, fd, NULL), -1);
	assert_int_equal(errno, EFAULT);
	assert_int_equal(tandem_epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL), 0);
	assert_int_equal(tandem_epoll_wait(ep, &ev, 0, 0), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(tandem_recv(ep, &ev, 1, 0), -1);
	assert_int_equal(errno, ENOTSOCK);
	tandem_close(fd);
	tandem_close(ep);
}

static void test_epoll_mixed_with_kernel(void **state)
{
	int ep = tandem_epoll_create(), fd = connected_to(PEER_MUTE_PORT), got;
	int efd = eventfd(0, EFD_NONBLOCK);

	(void)state;
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, fd, EPOLLIN), 0);
	assert_int_equal(ctl(ep, EPOLL_CTL_ADD, efd, EPOLLIN), 0);
	assert_int_equal(next_event(ep, 20, NULL), 0);
	fd_signal(efd);
	assert_int_equal(next_event(ep, 5000, &got), EPOLLIN);
	assert_int_equal(got, efd);
	/* Neither kind starves the other. */
	peer_send(peer_accepted(), "a", 1);
	for (int i = 0, seen = 0; seen != 3; i++) {
		assert_true(i < 40);
		assert_int_equal(next_event(ep, 5000, &got), EPOLLIN);
		seen |= got == fd ? 1 : 2;
	}
	tandem_close(fd);
	tandem_close(ep);
	close(efd);
}

#define MANY 500

static void test_epoll_many_are_fair(void **state)
{
	int ep = tandem_epoll_create(), fd[MANY], seen[MANY] = {0}, n;
	struct epoll_event ev[8];

	(void)state;
	for (int i = 0; i < MANY; i++) {
		fd[i] = connected_to(PEER_MUTE_PORT);
		assert_int_equal(ctl(ep, EPOLL_CTL_ADD, fd[i], EPOLLOUT), 0);
	}
	/* All are always ready: eight at a time, each has its turn before any has its second. */
	for (int done = 0; done < MANY; done += n) {
		n = tandem_epoll_wait(ep, ev, 8, 0);
		assert_true(n > 0);
		for (int i = 0; i < n; i++)
			for (int j = 0; j < MANY; j++)
				seen[j] += fd[j] == ev[i].data.fd;
	}
	for (int j = 0; j < MANY; j++) {
		assert_in_range(seen[j], 1, 2);
		tandem_close(fd[j]);
	}
	tandem_close(ep);
}

static void *wait_once(void *arg)
{
	return (void *)(uintptr_t)next_event(*(int *)arg, 5000, NULL);
}

static bool both_wait(void *arg)
{
	uint32_t n = 0;

	(void)arg;
	for (struct waiter *wt = eng.waiters; wt; wt = wt->next)
		n += !wt->any_packet;
	return n == 2;
}

static void test_epoll_two_threads_two_events(void **state)
{
	int ep = tandem_epoll_create(), fd[2] = {connected_to(PEER_MUTE_PORT), 0};
	uint32_t conn[2] = {peer_accepted(), 0};
	pthread_t t[2];
	void *r;

	(void)state;
	fd[1] = connected_to(PEER_MUTE_PORT);
	conn[1] = peer_accepted();
	for (int i = 0; i < 2; i++) {
		assert_int_equal(ctl(ep, EPOLL_CTL_ADD, fd[i], EPOLLIN | EPOLLET), 0);
		pthread_create(&t[i], NULL, wait_once, &ep);
	}
	world_until(both_wait, NULL);
	pthread_mutex_lock(&eng.lock);
	peer_send(conn[0], "a", 1);
	peer_send(conn[1], "b", 1);
	eng_run(clock_now());
	pthread_mutex_unlock(&eng.lock);
	for (int i = 0; i < 2; i++) {
		pthread_join(t[i], &r);
		assert_int_equal((uintptr_t)r, EPOLLIN);
		tandem_close(fd[i]);
	}
	tandem_close(ep);
}

static void test_poll_mixed(void **state)
{
	int fd = connected_to(PEER_MUTE_PORT), efd = eventfd(0, EFD_NONBLOCK);
	struct pollfd p[4] = {
		{.fd = fd, .events = POLLIN},
		{.fd = efd, .events = POLLIN},
		{.fd = -1, .events = POLLIN},
		{.fd = TANDEM_FD_BASE + 77, .events = POLLIN},
	};

	(void)state;
	assert_int_equal(tandem_poll(p, 3, 10), 0);
	assert_int_equal(tandem_poll(p, 4, -1), 1);
	assert_int_equal(p[3].revents, POLLNVAL);
	fd_signal(efd);
	assert_int_equal(tandem_poll(p, 3, -1), 1);
	assert_int_equal(p[1].revents, POLLIN);
	peer_send(peer_accepted(), "a", 1);
	p[1].events = 0;
	assert_int_equal(tandem_poll(p, 3, 5000), 1);
	assert_int_equal(p[0].revents, POLLIN);
	p[1].events = POLLIN;
	assert_int_equal(tandem_poll(p, 3, -1), 2);
	tandem_close(fd);
	close(efd);
}

static void test_poll_states(void **state)
{
	int fd = tandem_socket(AF_INET, SOCK_STREAM, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLOUT};

	(void)state;
	/* Linux: an unconnected socket hangs. */
	assert_int_equal(tandem_poll(&p, 1, 0), 1);
	assert_int_equal(p.revents, POLLOUT | POLLHUP);
	assert_int_equal(tandem_listen(fd, 5), 0);
	assert_int_equal(tandem_poll(&p, 1, 0), 0);
	tandem_close(fd);
	assert_int_equal(tandem_poll(&p, 1, 0), 1);
	assert_int_equal(p.revents, POLLNVAL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(test_epoll_level),
		WORLD_TEST(test_epoll_edge),
		WORLD_TEST(test_epoll_oneshot),
		WORLD_TEST(test_epoll_writable_after_nearly_full),
		WORLD_TEST(test_epoll_hangup_always_told),
		WORLD_TEST(test_epoll_rdhup),
		WORLD_TEST(test_epoll_ctl_errors),
		WORLD_TEST(test_epoll_mixed_with_kernel),
		WORLD_TEST(test_epoll_many_are_fair),
		WORLD_TEST(test_epoll_two_threads_two_events),
		WORLD_TEST(test_poll_mixed),
		WORLD_TEST(test_poll_states),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
