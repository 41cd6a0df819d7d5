// SPDX-License-Identifier: BSD-2-Clause
/* The socket calls, against the world of lib_world.h: connect, accept, options; results, errno. */
#include "lib_sock.h"
#include <fcntl.h>
#include <sys/time.h>
#include <linux/tcp.h>

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

/*
 * The handshake, what the daemon says of it and the peer's first bytes all come while the library
 * takes packets from its rings: it must not mistake those for a stranger's.
 */
static void test_first_bytes_as_early_as_the_message(void **state)
{
	struct timeval tv = {.tv_sec = 5};
	char buf[16];
	int ls = listening_on(8000, 0), fd;

	(void)state;
	world.greeting = "hello";
	peer_connect(8000);
	fd = tandem_accept(ls, NULL, NULL);
	assert_true(fd >= 0);
	assert_int_equal(tandem_setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
	assert_int_equal(tandem_recv(fd, buf, sizeof(buf), 0), 5);
	world.greeting = NULL;
	tandem_close(ls);
	tandem_close(fd);
	world_until(all_taken, NULL);
	assert_int_equal(world.n_stale, 0);
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

/* ---- a listener of several processes ---- */

/* As after a fork, which does not come here: the daemon has a member of it for us. */
static struct sock *shared_listener(int ls)
{
	struct sock *sk = container_of(file_get(ls), struct sock, f);

	sk->shared = true;
	eng.n_shared_l++;
	return sk;
}

static void close_shared(struct sock *sk)
{
	sk->shared = false;
	eng.n_shared_l--;
	tandem_close(sk->f.handle);
}

static bool has_used(void *arg)
{
	(void)arg;
	return world.n_uses > 0;
}

static void test_shared_listener_is_used_when_somebody_wants_it(void **state)
{
	int ls = listening_on(8000, SOCK_NONBLOCK);
	struct sock *sk = shared_listener(ls);
	struct pollfd p = {.fd = ls, .events = POLLIN};

	(void)state;
	listeners_want();
	assert_false(sk->extra->l.used);
	assert_int_equal(tandem_poll(&p, 1, 0), 0);
	world_until(has_used, NULL);
	assert_int_equal(world.used_flags, SHM_USE_LOCAL);
	/* That is said once. */
	assert_fails(tandem_accept(ls, NULL, NULL), EAGAIN);
	assert_int_equal(tandem_poll(&p, 1, 0), 0);
	assert_int_equal(world.n_uses, 1);
	close_shared(sk);
}

/* One that we have got is in our stack from then on. */
static void test_shared_listener_comes_into_the_stack(void **state)
{
	int ls = listening_on(8000, SOCK_NONBLOCK);
	struct sock *sk = shared_listener(ls);

	(void)state;
	listen_end(sk);
	assert_int_equal(sk->extra->l.core_id, SHM_NIL);
	assert_int_equal(listen_join(sk), CTL_LISTEN_LOCAL);
	assert_int_not_equal(sk->extra->l.core_id, SHM_NIL);
	assert_false(sk->extra->l.front);
	close_shared(sk);
}

static bool queue_is_empty(void *arg)
{
	return !has_conn(arg);
}

/* Who has it alone may take its time; else what waits for long is for others. */
static void test_shared_listener_keeps_its_queue_while_it_is_alone(void **state)
{
	int ls = listening_on(8000, 0);
	struct sock *sk = shared_listener(ls);

	(void)state;
	listen_front(sk->extra->l.id, SHM_FRONT_SYNS | SHM_FRONT_ALONE);
	assert_true(sk->extra->l.front);
	peer_connect(8000);
	world_until(has_conn, &ls);
	assert_true(mtime_is_never(listeners_stale(mtime_add_ms(clock_now(), 1000))));
	assert_true(has_conn(&ls));
	listen_front(sk->extra->l.id, 0);
	world_until(queue_is_empty, &ls);
	close_shared(sk);
	world_until(all_taken, NULL);
	assert_int_equal(world.n_given, 1);
}

static bool has_used_again(void *arg)
{
	return world.n_uses > *(uint32_t *)arg;
}

/* Of several who wait for events each has a part, until one waits otherwise. */
static void test_shared_listener_and_who_waits_how(void **state)
{
	int ls = listening_on(8000, SOCK_NONBLOCK), ep = tandem_epoll_create();
	struct epoll_event ev = {.events = EPOLLIN};
	struct sock *sk = shared_listener(ls);
	struct pollfd p = {.fd = ls, .events = POLLIN};
	uint32_t n = 0;

	(void)state;
	assert_int_equal(tandem_epoll_ctl(ep, EPOLL_CTL_ADD, ls, &ev), 0);
	assert_int_equal(tandem_epoll_wait(ep, &ev, 1, 0), 0);
	world_until(has_used_again, &n);
	assert_int_equal(world.used_flags, SHM_USE_LOCAL | SHM_USE_EVENTS);
	assert_fails(tandem_accept(ls, NULL, NULL), EAGAIN);
	assert_int_equal(tandem_epoll_wait(ep, &ev, 1, 1), 0);
	assert_int_equal(world.n_uses, 1);
	n = world.n_uses;
	assert_int_equal(tandem_poll(&p, 1, 1), 0);
	world_until(has_used_again, &n);
	assert_int_equal(world.used_flags, SHM_USE_LOCAL);
	/* It may do so again. */
	assert_int_equal(tandem_epoll_wait(ep, &ev, 1, 1), 0);
	assert_int_equal(world.n_uses, 2);
	tandem_close(ep);
	close_shared(sk);
}

/* What it does not accept in time is for the others, and it has no part for some time. */
static void test_shared_listener_is_busy(void **state)
{
	int ls = listening_on(8000, SOCK_NONBLOCK), ep = tandem_epoll_create();
	struct epoll_event ev = {.events = EPOLLIN};
	struct sock *sk = shared_listener(ls);
	uint32_t n = 0;

	(void)state;
	assert_int_equal(tandem_epoll_ctl(ep, EPOLL_CTL_ADD, ls, &ev), 0);
	assert_int_equal(tandem_epoll_wait(ep, &ev, 1, 0), 0);
	world_until(has_used_again, &n);
	listen_front(sk->extra->l.id, SHM_FRONT_SYNS | SHM_FRONT_SHARED);
	/* Once or twice, that may be for want of CPU. */
	n = world.n_uses;
	for (int i = 0; i < 3; i++) {
		assert_int_equal(world.n_uses, n);
		peer_connect(8000);
		world_until(has_conn, &ls);
		world_until(queue_is_empty, &ls);
	}
	world_until(has_used_again, &n);
	assert_int_equal(world.used_flags, SHM_USE_LOCAL);
	listen_front(sk->extra->l.id, 0);
	n = world.n_uses;
	assert_int_equal(tandem_epoll_wait(ep, &ev, 1, 1), 0);
	assert_int_equal(world.n_uses, n);
	sk->extra->l.busy_until = clock_now();
	assert_int_equal(tandem_epoll_wait(ep, &ev, 1, 1), 0);
	world_until(has_used_again, &n);
	assert_int_equal(world.used_flags, SHM_USE_LOCAL | SHM_USE_EVENTS);
	tandem_close(ep);
	close_shared(sk);
	world_until(all_taken, NULL);
	assert_int_equal(world.n_given, 3);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(test_connect_echo_close),
		WORLD_TEST(test_connect_nonblocking),
		WORLD_TEST(test_connect_refused),
		WORLD_TEST(test_connect_closed_before_it_opens),
		WORLD_TEST(test_connect_addresses),
		WORLD_TEST(test_accept),
		WORLD_TEST(test_first_bytes_as_early_as_the_message),
		WORLD_TEST(test_accept_queue_reset_at_close),
		WORLD_TEST(test_shared_listener_is_used_when_somebody_wants_it),
		WORLD_TEST(test_shared_listener_and_who_waits_how),
		WORLD_TEST(test_shared_listener_is_busy),
		WORLD_TEST(test_shared_listener_comes_into_the_stack),
		WORLD_TEST(test_shared_listener_keeps_its_queue_while_it_is_alone),
		WORLD_TEST(test_options),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
