// SPDX-License-Identifier: BSD-2-Clause
/* Bytes through the socket calls: flags, blocking, time limits, signals, shutdown, resets. */
#include "lib_sock.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include <linux/sockios.h>

static void fill(uint8_t *b, size_t n, uint32_t seed)
{
	for (size_t i = 0; i < n; i++)
		b[i] = (uint8_t)((i + seed) * 2654435761u >> 13);
}

/* Sends all of a file's worth to the echo, and reads it back, without blocking. */
static void echo_all(int fd, size_t total)
{
	uint8_t *out = malloc(total), *in = malloc(total);
	size_t sent = 0, got = 0;

	fill(out, total, 1);
	while (got < total) {
		struct pollfd p = {.fd = fd,
				   .events = (short)(sent < total ? POLLIN | POLLOUT : POLLIN)};
		ssize_t n;

		assert_int_equal(tandem_poll(&p, 1, 5000), 1);
		assert_int_equal(p.revents & ~(POLLIN | POLLOUT), 0);
		if (p.revents & POLLOUT) {
			n = tandem_send(fd, out + sent, total - sent, 0);
			assert_true(n > 0);
			sent += (size_t)n;
		}
		if (p.revents & POLLIN) {
			n = tandem_recv(fd, in + got, total - got, 0);
			assert_true(n > 0);
			got += (size_t)n;
		}
	}
	assert_memory_equal(in, out, total);
	free(in);
	free(out);
}

static void test_bulk_both_ways(void **state)
{
	int fd = connected_to(PEER_ECHO_PORT);

	(void)state;
	tandem_fcntl(fd, F_SETFL, O_NONBLOCK);
	echo_all(fd, 8 << 20);
	tandem_close(fd);
	world_until(all_taken, NULL);
}

static void test_bulk_with_loss(void **state)
{
	int fd = connected_to(PEER_ECHO_PORT);

	(void)state;
	world.drop_every = 97;
	tandem_fcntl(fd, F_SETFL, O_NONBLOCK);
	echo_all(fd, 256 << 10);
	world.drop_every = 0;
	tandem_close(fd);
	world_until(all_taken, NULL);
}

static void test_send_blocking_takes_all(void **state)
{
	size_t total = 4 << 20;
	uint8_t *out = calloc(1, total);
	int fd = connected_to(PEER_DISCARD_PORT), unsent;

	(void)state;
	assert_int_equal(tandem_send(fd, out, total, 0), total);
	assert_int_equal(tandem_ioctl(fd, SIOCOUTQ, &unsent), 0);
	assert_true(unsent >= 0);
	free(out);
	tandem_close(fd);
	world_until(all_taken, NULL);
}

static void test_send_timeout(void **state)
{
	struct timeval tv = {.tv_usec = 20000};
	size_t total = 16 << 20;
	uint8_t *out = calloc(1, total);
	int fd = connected_to(PEER_MUTE_PORT);
	ssize_t n;

	(void)state;
	assert_int_equal(tandem_setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv)), 0);
	n = tandem_send(fd, out, total, 0);
	assert_true(n > 0 && (size_t)n < total);
	/* Less than what makes it writable (a third of the buffer) may still be free. */
	while (tandem_send(fd, out, total, MSG_DONTWAIT) > 0)
		;
	assert_fails(tandem_send(fd, out, 1, MSG_DONTWAIT), EAGAIN);
	assert_fails(tandem_send(fd, out, 1, 0), EAGAIN);
	free(out);
	tandem_close(fd);
}

static void test_recv_flags(void **state)
{
	char a[4], b[8], buf[16];
	struct iovec iov[2] = {{a, sizeof(a)}, {b, sizeof(b)}};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 2};
	int fd = connected_to(PEER_MUTE_PORT), n;
	struct pollfd p = {.fd = fd, .events = POLLIN};

	(void)state;
	peer_send(peer_accepted(), "0123456789", 10);
	assert_int_equal(tandem_poll(&p, 1, 5000), 1);
	assert_int_equal(tandem_ioctl(fd, FIONREAD, &n), 0);
	assert_int_equal(n, 10);
	assert_int_equal(tandem_recvmsg(fd, &m, MSG_PEEK), 10);
	assert_memory_equal(a, "0123", 4);
	assert_memory_equal(b, "456789", 6);
	assert_int_equal(tandem_recv(fd, buf, 2, MSG_PEEK), 2);
	assert_int_equal(tandem_recv(fd, NULL, 3, MSG_TRUNC), 3);
	assert_int_equal(tandem_readv(fd, iov, 2), 7);
	assert_memory_equal(a, "3456", 4);
	assert_memory_equal(b, "789", 3);
	assert_fails(tandem_recv(fd, buf, 1, MSG_DONTWAIT), EAGAIN);
	assert_fails(tandem_recv(fd, buf, 1, MSG_OOB), EINVAL);
	peer_send(peer_accepted(), "ab", 2);
	peer_close(peer_accepted());
	assert_int_equal(tandem_recv(fd, buf, sizeof(buf), MSG_WAITALL), 2);
	assert_int_equal(tandem_recv(fd, buf, sizeof(buf), 0), 0);
	assert_int_equal(tandem_recv(fd, buf, sizeof(buf), 0), 0);
	tandem_close(fd);
	world_until(all_taken, NULL);
}

static bool peer_saw_fin(void *arg)
{
	return peer_state(*(uint32_t *)arg) == TCP_CLOSE_WAIT;
}

static void test_shutdown_half(void **state)
{
	struct pollfd p;
	char buf[16];
	int fd = connected_to(PEER_MUTE_PORT);
	uint32_t conn = peer_accepted();

	(void)state;
	p = (struct pollfd){.fd = fd, .events = POLLIN | POLLRDHUP};
	assert_int_equal(tandem_send(fd, "ask", 3, 0), 3);
	assert_int_equal(tandem_shutdown(fd, SHUT_WR), 0);
	assert_fails(tandem_send(fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	assert_fails(tandem_shutdown(fd, 7), EINVAL);
	world_until(peer_saw_fin, &conn);
	assert_int_equal(peer_recv(conn, buf, sizeof(buf)), 3);
	assert_int_equal(peer_recv(conn, buf, sizeof(buf)), 0);
	peer_send(conn, "answer", 6);
	peer_close(conn);
	assert_int_equal(tandem_recv(fd, buf, sizeof(buf), 0), 6);
	assert_int_equal(tandem_poll(&p, 1, 5000), 1);
	assert_true(p.revents & POLLRDHUP);
	assert_int_equal(tandem_recv(fd, buf, sizeof(buf), 0), 0);
	/* In TIME_WAIT here, which the daemon takes over. */
	tandem_close(fd);
	world_until(all_taken, NULL);
}

static bool has_ended(void *arg)
{
	struct file *f = file_get(*(int *)arg);

	return sock_poll(container_of(f, struct sock, f)) & EPOLLHUP;
}

static void test_reset_by_peer(void **state)
{
	struct pollfd p;
	char c;
	int fd = connected_to(PEER_MUTE_PORT);

	(void)state;
	p = (struct pollfd){.fd = fd, .events = POLLIN | POLLOUT};
	peer_reset(peer_accepted());
	world_until(has_ended, &fd);
	assert_int_equal(tandem_poll(&p, 1, 0), 1);
	assert_int_equal(p.revents, POLLIN | POLLOUT | POLLERR | POLLHUP);
	assert_fails(tandem_recv(fd, &c, 1, 0), ECONNRESET);
	assert_int_equal(tandem_recv(fd, &c, 1, 0), 0);
	assert_fails(tandem_send(fd, &c, 1, MSG_NOSIGNAL), EPIPE);
	assert_fails(tandem_getpeername(fd, NULL, NULL), ENOTCONN);
	assert_int_equal(world.n_gone, 1);
	tandem_close(fd);
	world_until(all_taken, NULL);
	assert_int_equal(world.n_given, 0);
}

static volatile sig_atomic_t pipes;

static void on_pipe(int sig)
{
	(void)sig;
	pipes++;
}

static void test_sigpipe(void **state)
{
	struct sigaction sa = {.sa_handler = on_pipe}, old;
	int fd = sock_open(0);

	(void)state;
	sigaction(SIGPIPE, &sa, &old);
	assert_fails(tandem_send(fd, "x", 1, MSG_NOSIGNAL), EPIPE);
	assert_int_equal(pipes, 0);
	assert_fails(tandem_write(fd, "x", 1), EPIPE);
	assert_int_equal(pipes, 1);
	sigaction(SIGPIPE, &old, NULL);
	tandem_close(fd);
}

static void test_interrupted(void **state)
{
	struct sigaction sa = {.sa_handler = on_pipe}, old;
	struct itimerval it = {.it_value.tv_usec = 20000};
	struct timeval tv = {.tv_usec = 100000};
	int fd = connected_to(PEER_MUTE_PORT);
	char c;

	(void)state;
	sigaction(SIGALRM, &sa, &old);
	setitimer(ITIMER_REAL, &it, NULL);
	assert_fails(tandem_recv(fd, &c, 1, 0), EINTR);
	/* signal(7): with a timeout set, SA_RESTART changes nothing. */
	sa.sa_flags = SA_RESTART;
	sigaction(SIGALRM, &sa, NULL);
	tandem_setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setitimer(ITIMER_REAL, &it, NULL);
	assert_fails(tandem_recv(fd, &c, 1, 0), EINTR);
	sigaction(SIGALRM, &old, NULL);
	tandem_close(fd);
}

static void test_close_with_unread_data_resets(void **state)
{
	uint32_t conn;
	int fd = connected_to(PEER_MUTE_PORT);
	struct pollfd p = {.fd = fd, .events = POLLIN};

	(void)state;
	conn = peer_accepted();
	peer_send(conn, "unread", 6);
	assert_int_equal(tandem_poll(&p, 1, 5000), 1);
	tandem_close(fd);
	world_until(peer_is_closed, &conn);
	world_until(all_taken, NULL);
	assert_int_equal(world.n_given, 0);
}

static void test_linger(void **state)
{
	struct linger l = {.l_onoff = 1, .l_linger = 0}, out;
	socklen_t len = sizeof(out);
	uint32_t conn;
	int fd = connected_to(PEER_MUTE_PORT);

	(void)state;
	conn = peer_accepted();
	assert_int_equal(tandem_setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)), 0);
	tandem_close(fd);
	world_until(peer_is_closed, &conn);

	fd = connected_to(PEER_DISCARD_PORT);
	l.l_linger = 5;
	assert_int_equal(tandem_setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)), 0);
	assert_int_equal(tandem_getsockopt(fd, SOL_SOCKET, SO_LINGER, &out, &len), 0);
	assert_int_equal(out.l_linger, 5);
	assert_int_equal(tandem_send(fd, "last words", 10, 0), 10);
	tandem_close(fd);
	world_until(all_taken, NULL);
	assert_int_equal(world.n_given, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(test_bulk_both_ways),
		WORLD_TEST(test_bulk_with_loss),
		WORLD_TEST(test_send_blocking_takes_all),
		WORLD_TEST(test_send_timeout),
		WORLD_TEST(test_recv_flags),
		WORLD_TEST(test_shutdown_half),
		WORLD_TEST(test_reset_by_peer),
		WORLD_TEST(test_sigpipe),
		WORLD_TEST(test_interrupted),
		WORLD_TEST(test_close_with_unread_data_resets),
		WORLD_TEST(test_linger),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
