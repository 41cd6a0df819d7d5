// SPDX-License-Identifier: BSD-2-Clause
/* The socket calls, against the world of lib_world.h: results, errno, blocking, hand-over. */
#include "lib_world.h"
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <linux/tcp.h>
#include <sys/ioctl.h>
#include <linux/sockios.h>

static struct sockaddr_in addr_of(const char *ip, uint16_t port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(port)};

	inet_pton(AF_INET, ip, &sin.sin_addr);
	return sin;
}

#define assert_fails(call, err)                                                                    \
	do {                                                                                       \
		errno = 0;                                                                         \
		assert_int_equal((call), -1);                                                      \
		assert_int_equal(errno, (err));                                                    \
	} while (0)

static int sock_open(int flags)
{
	int fd = tandem_socket(AF_INET, SOCK_STREAM | flags, 0);

	assert_true(fd >= TANDEM_FD_BASE);
	return fd;
}

static int do_connect_to(int fd, uint16_t port)
{
	struct sockaddr_in sin = addr_of(PEER_ADDR, port);

	return tandem_connect(fd, (struct sockaddr *)&sin, sizeof(sin));
}

static int connected_to(uint16_t port)
{
	int fd = sock_open(0);

	assert_int_equal(do_connect_to(fd, port), 0);
	return fd;
}

static int listening_on(uint16_t port, int flags)
{
	struct sockaddr_in sin = addr_of("0.0.0.0", port);
	int fd = sock_open(flags);

	assert_int_equal(tandem_bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(tandem_listen(fd, 128), 0);
	return fd;
}

static int get_int(int fd, int level, int name)
{
	socklen_t len = sizeof(int);
	int v = -1;

	assert_int_equal(tandem_getsockopt(fd, level, name, &v, &len), 0);
	assert_int_equal(len, sizeof(int));
	return v;
}

static bool all_taken(void *arg)
{
	(void)arg;
	return world_tcbs_in_use() == 0 && !eng.out.len &&
	       !shm_ring_avail(&eng.to_daemon->hdr, SHM_MSG_RING);
}

static void test_connect_echo_close(void **state)
{
	struct sockaddr_in name, peer;
	socklen_t len = sizeof(name), plen = sizeof(peer);
	char buf[64];
	int fd = connected_to(PEER_ECHO_PORT);

	(void)state;
	assert_int_equal(tandem_getsockname(fd, (struct sockaddr *)&name, &len), 0);
	assert_int_equal(name.sin_addr.s_addr, inet_addr(WORLD_ADDR));
	assert_true(name.sin_port != 0);
	assert_int_equal(tandem_getpeername(fd, (struct sockaddr *)&peer, &plen), 0);
	assert_int_equal(peer.sin_port, htons(PEER_ECHO_PORT));
	assert_fails(do_connect_to(fd, PEER_ECHO_PORT), EISCONN);
	for (int i = 0; i < 100; i++) {
		memset(buf, i, sizeof(buf));
		assert_int_equal(tandem_send(fd, buf, 40, 0), 40);
		memset(buf, 0xff, sizeof(buf));
		assert_int_equal(tandem_recv(fd, buf, 40, MSG_WAITALL), 40);
		assert_int_equal(buf[39], i);
	}
	assert_int_equal(tandem_close(fd), 0);
	assert_fails(tandem_close(fd), EBADF);
	world_until(all_taken, NULL);
	assert_int_equal(world.n_given, 1);
	assert_int_equal(world.n_acked, 1);
}

static void test_connect_nonblocking(void **state)
{
	struct pollfd p;
	int fd = sock_open(SOCK_NONBLOCK);

	(void)state;
	p = (struct pollfd){.fd = fd, .events = POLLOUT};
	world.daemon_stuck = true;
	assert_fails(do_connect_to(fd, PEER_ECHO_PORT), EINPROGRESS);
	assert_fails(do_connect_to(fd, PEER_ECHO_PORT), EALREADY);
	assert_int_equal(tandem_poll(&p, 1, 0), 0);
	assert_fails(tandem_send(fd, "x", 1, 0), EAGAIN);
	assert_fails(tandem_recv(fd, &p, 1, 0), EAGAIN);
	world.daemon_stuck = false;
	assert_int_equal(tandem_poll(&p, 1, 5000), 1);
	assert_int_equal(p.revents, POLLOUT);
	assert_int_equal(get_int(fd, SOL_SOCKET, SO_ERROR), 0);
	assert_int_equal(do_connect_to(fd, PEER_ECHO_PORT), 0);
	assert_fails(do_connect_to(fd, PEER_ECHO_PORT), EISCONN);
	tandem_close(fd);
}

static void test_connect_refused(void **state)
{
	struct pollfd p;
	char c;
	int fd = sock_open(0);

	(void)state;
	assert_fails(do_connect_to(fd, 4242), ECONNREFUSED);
	assert_fails(tandem_recv(fd, &c, 1, 0), ENOTCONN);
	/* Linux lets the same socket try again. */
	assert_int_equal(do_connect_to(fd, PEER_ECHO_PORT), 0);
	tandem_close(fd);

	fd = sock_open(SOCK_NONBLOCK);
	p = (struct pollfd){.fd = fd, .events = POLLIN | POLLOUT};
	if (do_connect_to(fd, 4242) == 0)
		fail();
	if (errno == EINPROGRESS) {
		assert_int_equal(tandem_poll(&p, 1, 5000), 1);
		assert_int_equal(p.revents, POLLIN | POLLOUT | POLLERR | POLLHUP);
		assert_int_equal(get_int(fd, SOL_SOCKET, SO_ERROR), ECONNREFUSED);
		assert_int_equal(get_int(fd, SOL_SOCKET, SO_ERROR), 0);
	} else {
		assert_int_equal(errno, ECONNREFUSED);
	}
	tandem_close(fd);
}

static void test_connect_closed_before_it_opens(void **state)
{
	int fd = sock_open(SOCK_NONBLOCK);

	(void)state;
	world.daemon_stuck = true;
	assert_fails(do_connect_to(fd, PEER_ECHO_PORT), EINPROGRESS);
	tandem_close(fd);
	world.daemon_stuck = false;
	/* The cancel has crossed nothing here, the connection opens, and is refused. */
	fd = connected_to(PEER_ECHO_PORT);
	assert_int_equal(world.n_cancelled, 1);
	assert_int_equal(world.n_refused, 1);
	tandem_close(fd);
	world_until(all_taken, NULL);
}

static void test_connect_addresses(void **state)
{
	struct sockaddr_in sin = addr_of(PEER_ADDR, PEER_ECHO_PORT);
	int fd = sock_open(0);

	(void)state;
	assert_fails(tandem_connect(fd, (struct sockaddr *)&sin, 3), EINVAL);
	sin.sin_family = AF_INET6;
	assert_fails(tandem_connect(fd, (struct sockaddr *)&sin, sizeof(sin)), EAFNOSUPPORT);
	assert_fails(tandem_bind(fd, (struct sockaddr *)&sin, sizeof(sin)), EAFNOSUPPORT);
	sin = addr_of("0.0.0.0", 666);
	assert_fails(tandem_bind(fd, (struct sockaddr *)&sin, sizeof(sin)), EACCES);
	sin = addr_of("0.0.0.0", 0);
	assert_int_equal(tandem_bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_fails(tandem_bind(fd, (struct sockaddr *)&sin, sizeof(sin)), EINVAL);
	tandem_close(fd);
}

/* ---- listening ---- */

static bool has_conn(void *arg)
{
	struct file *f = file_get(*(int *)arg);

	return container_of(f, struct sock, f)->extra->l.aq_len > 0;
}

static bool has_three(void *arg)
{
	struct file *f = file_get(*(int *)arg);

	return container_of(f, struct sock, f)->extra->l.aq_len == 3;
}

static void test_accept(void **state)
{
	struct timeval tv = {.tv_usec = 1000};
	struct sockaddr_in peer;
	socklen_t len = sizeof(peer);
	uint32_t conn;
	char buf[16];
	int ls = listening_on(8000, 0), one = 1, fd;

	(void)state;
	assert_int_equal(get_int(ls, SOL_SOCKET, SO_ACCEPTCONN), 1);
	assert_fails(do_connect_to(ls, 1), EISCONN);
	assert_fails(tandem_recv(ls, buf, 1, 0), ENOTCONN);
	assert_int_equal(tandem_setsockopt(ls, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
	assert_fails(tandem_accept(ls, NULL, NULL), EAGAIN);
	assert_int_equal(tandem_setsockopt(ls, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one)), 0);
	conn = peer_connect(8000);
	world_until(has_conn, &ls);
	peer_send(conn, "hello", 5);
	fd = tandem_accept4(ls, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK);
	assert_true(fd >= 0);
	assert_int_equal(peer.sin_addr.s_addr, inet_addr(PEER_ADDR));
	assert_int_equal(tandem_fcntl(fd, F_GETFL, 0), O_RDWR | O_NONBLOCK);
	assert_int_equal(get_int(fd, IPPROTO_TCP, TCP_NODELAY), 1);
	assert_int_equal(tandem_recv(fd, buf, sizeof(buf), 0), 5);
	assert_memory_equal(buf, "hello", 5);
	assert_fails(tandem_recv(fd, buf, sizeof(buf), 0), EAGAIN);
	assert_fails(tandem_listen(fd, 1), EINVAL);
	assert_int_equal(eng.shm_listeners[0].accepted, 1);
	tandem_fcntl(ls, F_SETFL, O_NONBLOCK);
	assert_fails(tandem_accept(ls, NULL, NULL), EAGAIN);
	assert_fails(tandem_accept4(ls, NULL, NULL, 1), EINVAL);
	assert_fails(tandem_accept(fd, NULL, NULL), EINVAL);
	assert_int_equal(tandem_shutdown(ls, SHUT_RD), 0);
	assert_fails(tandem_accept(ls, NULL, NULL), EINVAL);
	tandem_close(ls);
	tandem_close(fd);
	world_until(all_taken, NULL);
}

static bool peer_is_closed(void *arg)
{
	return peer_state(*(uint32_t *)arg) == TCP_CLOSED;
}

static void test_accept_queue_reset_at_close(void **state)
{
	uint32_t conn[3];
	int ls = listening_on(8000, 0);

	(void)state;
	for (int i = 0; i < 3; i++)
		conn[i] = peer_connect(8000);
	world_until(has_three, &ls);
	tandem_close(ls);
	for (int i = 0; i < 3; i++)
		world_until(peer_is_closed, &conn[i]);
	world_until(all_taken, NULL);
	assert_int_equal(world.n_gone, 3);
}

/* ---- moving bytes ---- */

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

/* ---- the end of a connection ---- */

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

/* What a dead daemon had left is cleared away: all of that ends, and everybody is told. */
static void test_daemon_lost_and_replaced(void **state)
{
	int fd = connected_to(PEER_ECHO_PORT), rest = connected_to(PEER_ECHO_PORT), ls;
	int late = sock_open(0);
	struct sockaddr_in sin = addr_of("0.0.0.0", 8001);
	char dir[] = "/tmp/td-XXXXXX", buf[8];
	struct epoll_event ev = {.events = EPOLLIN}, got;
	int ep = tandem_epoll_create();
	struct stat st;

	(void)state;
	ls = listening_on(8000, SOCK_NONBLOCK);
	assert_int_equal(tandem_epoll_ctl(ep, EPOLL_CTL_ADD, ls, &ev), 0);
	assert_non_null(mkdtemp(dir));
	eng.run_dir = open(dir, O_PATH | O_DIRECTORY);
	close(openat(eng.run_dir, CTL_SOCKET_NAME, O_CREAT | O_WRONLY, 0600));
	assert_int_equal(fstatat(eng.run_dir, CTL_SOCKET_NAME, &st, 0), 0);
	eng.ctl_ino = st.st_ino;
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
	assert_fails(tandem_accept(ls, NULL, NULL), ENETDOWN);
	assert_int_equal(tandem_epoll_wait(ep, &got, 1, 1000), 1);
	assert_true(got.events & EPOLLERR);
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

/* ---- options ---- */

static void test_options(void **state)
{
	struct tcp_info info;
	socklen_t len = sizeof(info);
	int fd = connected_to(PEER_ECHO_PORT), v;
	char cc[16];

	(void)state;
	assert_int_equal(get_int(fd, SOL_SOCKET, SO_TYPE), SOCK_STREAM);
	assert_int_equal(get_int(fd, SOL_SOCKET, SO_DOMAIN), AF_INET);
	assert_int_equal(get_int(fd, SOL_SOCKET, SO_PROTOCOL), IPPROTO_TCP);
	v = 10000;
	assert_int_equal(tandem_setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &v, sizeof(v)), 0);
	assert_int_equal(get_int(fd, SOL_SOCKET, SO_RCVBUF), 20000);
	v = 30;
	assert_int_equal(tandem_setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &v, sizeof(v)), 0);
	assert_int_equal(get_int(fd, IPPROTO_TCP, TCP_KEEPIDLE), 30);
	v = 0;
	assert_fails(tandem_setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &v, sizeof(v)), EINVAL);
	assert_fails(tandem_setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &v, 2), EINVAL);
	assert_fails(tandem_setsockopt(fd, IPPROTO_TCP, 9999, &v, sizeof(v)), ENOPROTOOPT);
	v = 0xff;
	assert_int_equal(tandem_setsockopt(fd, IPPROTO_IP, IP_TOS, &v, 1), 0);
	assert_int_equal(get_int(fd, IPPROTO_IP, IP_TOS), 0xfc);
	assert_int_equal(tandem_getsockopt(fd, IPPROTO_TCP, TCP_INFO, &info, &len), 0);
	assert_int_equal(info.tcpi_state, 1);
	assert_true(info.tcpi_snd_mss > 500);
	len = sizeof(cc);
	assert_int_equal(tandem_getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, cc, &len), 0);
	assert_string_equal(cc, "reno");
	assert_fails(tandem_setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "none", 4), ENOENT);
	assert_fails(tandem_setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "", 0), EINVAL);
	assert_int_equal(tandem_setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, "cubic", 5), 0);
	len = sizeof(cc);
	assert_int_equal(tandem_getsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, cc, &len), 0);
	assert_string_equal(cc, "cubic");
	tandem_close(fd);
}

#define T(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_connect_echo_close),
		T(test_connect_nonblocking),
		T(test_connect_refused),
		T(test_connect_closed_before_it_opens),
		T(test_connect_addresses),
		T(test_accept),
		T(test_accept_queue_reset_at_close),
		T(test_bulk_both_ways),
		T(test_bulk_with_loss),
		T(test_send_blocking_takes_all),
		T(test_send_timeout),
		T(test_recv_flags),
		T(test_shutdown_half),
		T(test_reset_by_peer),
		T(test_sigpipe),
		T(test_interrupted),
		T(test_close_with_unread_data_resets),
		T(test_linger),
		T(test_close_after_the_peer_needs_no_daemon),
		T(test_peer_that_does_not_close_is_left_to_the_daemon),
		T(test_exit_gives_what_has_not_parted),
		T(test_full_ring_loses_nothing),
		T(test_daemon_lost),
		T(test_daemon_lost_and_replaced),
		T(test_threads_leader_and_follower),
		T(test_close_wakes_blocked_thread),
		T(test_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
