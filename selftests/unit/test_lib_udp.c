// SPDX-License-Identifier: BSD-2-Clause
/*
 * UDP sockets of the library, against the world of lib_world.h and this host's loopback: a socket
 * receives from its stack and from the kernel's socket beside it, and sends by either.
 */
#include "lib_sock.h"
#include <dirent.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/time.h>
#include "user/lib/shim.h"
#include "user/lib/udp.h"

#define PEER_UDP 4444

static uint32_t peer_id;

static int setup(void **state)
{
	struct tcp_addr_pair a = {.local_port = htons(PEER_UDP)};

	if (world_setup(state))
		return -1;
	assert_int_equal(udp_open(w.peer.stack, 1, &peer_id), 0);
	udp_bind(w.peer.stack, peer_id, &a, 0);
	return 0;
}

static int teardown(void **state)
{
	struct stack_usage u;

	stack_usage(eng.stack, &u);
	assert_int_equal(u.udp, 0);
	udp_close(w.peer.stack, peer_id);
	return world_teardown(state);
}

/* The kernel's table does not know this network: what it would say is put into the cache. */
static void know_the_way(void)
{
	struct sockaddr_in sin = addr_of(PEER_ADDR, 0);
	struct ip_addr hop = ip_addr_v4(sin.sin_addr.s_addr);
	struct dest *d = dest_get(sin.sin_addr.s_addr, clock_now());

	inet_pton(AF_INET, WORLD_ADDR, &d->src);
	d->ours = true;
	d->nexthop = d->addr;
	d->way.mtu = 1500;
	d->checked = mtime_add_ns(clock_now(), 0);
	assert_true(ip_way_find(eng.stack, 0, &hop, &d->way, clock_now()));
}

static void peer_says(uint16_t port, const void *buf, size_t len)
{
	struct udp_dest to = {.port = port};
	struct sockaddr_in sin = addr_of(WORLD_ADDR, 0);

	to.addr = ip_addr_v4(sin.sin_addr.s_addr);
	assert_int_equal(udp_send(w.peer.stack, peer_id, &to, buf, len, clock_now()), len);
	pump();
}

/* A bound socket, and its port. */
static int bound(uint16_t *port)
{
	struct sockaddr_in sin = addr_of("0.0.0.0", 0);
	socklen_t len = sizeof(sin);
	int fd = tandem_socket(AF_INET, SOCK_DGRAM, 0);

	assert_true(fd >= TANDEM_FD_BASE);
	assert_int_equal(tandem_bind(fd, (struct sockaddr *)&sin, len), 0);
	assert_int_equal(tandem_getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	assert_int_not_equal(sin.sin_port, 0);
	*port = sin.sin_port;
	return fd;
}

static int local_socket(uint16_t port)
{
	struct sockaddr_in sin = addr_of("127.0.0.1", ntohs(port));
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_int_equal(connect(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	return fd;
}

static void test_udp_receives_from_both(void **state)
{
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	uint16_t port;
	int fd = bound(&port), k = local_socket(port), n;
	struct pollfd p = {.fd = fd, .events = POLLIN};
	char b[16];

	(void)state;
	assert_int_equal(tandem_poll(&p, 1, 0), 0);
	assert_int_equal(tandem_recv(fd, b, sizeof(b), MSG_DONTWAIT), -1);
	assert_int_equal(errno, EAGAIN);
	peer_says(port, "stack", 5);
	assert_int_equal(tandem_poll(&p, 1, 1000), 1);
	assert_int_equal(p.revents, POLLIN);
	assert_int_equal(tandem_ioctl(fd, FIONREAD, &n), 0);
	assert_int_equal(n, 5);
	assert_int_equal(tandem_recv(fd, b, 2, MSG_PEEK | MSG_TRUNC), 5);
	assert_int_equal(tandem_recvfrom(fd, b, sizeof(b), 0, (struct sockaddr *)&from, &len), 5);
	assert_memory_equal(b, "stack", 5);
	assert_string_equal(inet_ntoa(from.sin_addr), PEER_ADDR);
	assert_int_equal(ntohs(from.sin_port), PEER_UDP);
	assert_int_equal(send(k, "kernel", 6, 0), 6);
	assert_int_equal(tandem_poll(&p, 1, 1000), 1);
	assert_int_equal(tandem_recvfrom(fd, b, sizeof(b), 0, (struct sockaddr *)&from, &len), 6);
	assert_string_equal(inet_ntoa(from.sin_addr), "127.0.0.1");
	/* And answers where that came from. */
	assert_int_equal(tandem_sendto(fd, "back", 4, 0, (struct sockaddr *)&from, len), 4);
	assert_int_equal(recv(k, b, sizeof(b), 0), 4);
	close(k);
	assert_int_equal(tandem_close(fd), 0);
}

/* Busy with its stack's datagrams, it still sees the kernel's. */
static void test_udp_neither_starves(void **state)
{
	uint16_t port;
	int fd = bound(&port), k = local_socket(port), n = 0;
	char b[16];

	(void)state;
	assert_int_equal(send(k, "kernel", 6, 0), 6);
	do {
		peer_says(port, "s", 1);
		assert_true(++n < 40);
	} while (tandem_recv(fd, b, sizeof(b), MSG_DONTWAIT) != 6);
	close(k);
	assert_int_equal(tandem_close(fd), 0);
}

static void test_udp_sends_by_its_stack(void **state)
{
	struct sockaddr_in to = addr_of(PEER_ADDR, PEER_UDP);
	struct iovec iov[3] = {{"ab", 2}, {"", 0}, {"cde", 3}};
	struct msghdr m = {
		.msg_name = &to, .msg_namelen = sizeof(to), .msg_iov = iov, .msg_iovlen = 3};
	struct mmsghdr mm[3] = {{.msg_hdr = m}, {.msg_hdr = m}, {.msg_hdr = m}};
	struct udp_info in;
	uint16_t port;
	int fd = bound(&port);
	char b[16];

	(void)state;
	know_the_way();
	assert_int_equal(tandem_sendmsg(fd, &m, 0), 5);
	pump();
	assert_int_equal(udp_recv(w.peer.stack, peer_id, b, sizeof(b), &in, false), 5);
	assert_memory_equal(b, "abcde", 5);
	assert_int_equal(in.sport, port);
	know_the_way();
	assert_int_equal(tandem_sendmmsg(fd, mm, 3, 0), 3);
	pump();
	for (int i = 0; i < 3; i++)
		assert_int_equal(udp_recv(w.peer.stack, peer_id, b, sizeof(b), &in, false), 5);
	assert_int_equal(udp_recv(w.peer.stack, peer_id, b, sizeof(b), &in, false), -EAGAIN);
	for (int i = 0; i < 3; i++) {
		peer_says(port, b, (size_t)i);
		iov[i] = (struct iovec){b + i, 1};
	}
	assert_int_equal(tandem_recvmmsg(fd, mm, 2, 0, NULL), 2);
	assert_int_equal(mm[0].msg_len, 0);
	assert_int_equal(mm[1].msg_len, 1);
	assert_int_equal(tandem_recvmmsg(fd, mm, 3, MSG_WAITFORONE, NULL), 1);
	assert_int_equal(tandem_close(fd), 0);
}

static void test_udp_epoll_tells_of_both(void **state)
{
	uint16_t port;
	int fd = bound(&port), k = local_socket(port), ep = tandem_epoll_create(), n;
	struct epoll_event ev = {.events = EPOLLIN, .data.u32 = 7}, got[4];
	char b[16];

	(void)state;
	assert_int_equal(tandem_epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev), 0);
	assert_int_equal(tandem_epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev), -1);
	assert_int_equal(errno, EEXIST);
	assert_int_equal(tandem_epoll_wait(ep, got, 4, 0), 0);
	peer_says(port, "s", 1);
	assert_int_equal(tandem_epoll_wait(ep, got, 4, 1000), 1);
	assert_int_equal(got[0].data.u32, 7);
	assert_int_equal(tandem_recv(fd, b, 16, 0), 1);
	assert_int_equal(send(k, "k", 1, 0), 1);
	assert_int_equal(tandem_epoll_wait(ep, got, 4, 1000), 1);
	assert_int_equal(got[0].events, EPOLLIN);
	assert_int_equal(tandem_recv(fd, b, 16, 0), 1);
	/* That it can be sent to is told once, not by both. */
	ev.events = EPOLLOUT;
	assert_int_equal(tandem_epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev), 0);
	n = tandem_epoll_wait(ep, got, 4, 1000);
	assert_int_equal(n, 1);
	assert_int_equal(got[0].events, EPOLLOUT);
	/* Closed: gone from the set, the kernel's half too, which others may still hold open. */
	assert_int_equal(tandem_close(fd), 0);
	send(k, "k", 1, 0);
	assert_int_equal(tandem_epoll_wait(ep, got, 4, 0), 0);
	close(k);
	assert_int_equal(tandem_close(ep), 0);
}

static void test_udp_timeouts_and_shutdown(void **state)
{
	struct timeval tv = {.tv_usec = 20000};
	uint16_t port;
	int fd = bound(&port);
	char b[4];

	(void)state;
	assert_int_equal(tandem_setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)), 0);
	assert_int_equal(tandem_recv(fd, b, 4, 0), -1);
	assert_int_equal(errno, EAGAIN);
	assert_int_equal(tandem_listen(fd, 1), -1);
	assert_int_equal(errno, EOPNOTSUPP);
	assert_int_equal(tandem_accept(fd, NULL, NULL), -1);
	assert_int_equal(errno, EOPNOTSUPP);
	assert_int_equal(tandem_send(fd, "x", 1, 0), -1);
	assert_int_equal(errno, EDESTADDRREQ);
	assert_int_equal(tandem_shutdown(fd, SHUT_RD), -1);
	assert_int_equal(errno, ENOTCONN);
	assert_int_equal(tandem_recv(fd, b, 4, 0), 0);
	assert_int_equal(tandem_close(fd), 0);
}

/* recvmsg() into @room bytes, in two pieces: what came, and as segments of which size (0: one). */
static int64_t recv_row(int fd, uint8_t *b, size_t room, int flags, int *size)
{
	union {
		char b[64];
		struct cmsghdr c;
	} ctl;
	struct iovec iov[2] = {{b, 3}, {b + 3, room - 3}};
	struct msghdr m = {.msg_iov = iov,
			   .msg_iovlen = 2,
			   .msg_control = ctl.b,
			   .msg_controllen = sizeof(ctl.b)};
	int64_t n = tandem_recvmsg(fd, &m, flags | MSG_DONTWAIT);

	*size = 0;
	assert_int_equal(m.msg_flags, 0);
	if (n < 0 || !m.msg_controllen)
		return n;
	assert_int_equal(ctl.c.cmsg_level, IPPROTO_UDP);
	assert_int_equal(ctl.c.cmsg_type, UDP_GRO);
	assert_int_equal(ctl.c.cmsg_len, CMSG_LEN(sizeof(int)));
	memcpy(size, CMSG_DATA(&ctl.c), sizeof(*size));
	return n;
}

static void test_udp_gro_receives_rows(void **state)
{
	static uint8_t b[2000];
	uint16_t port;
	int fd = bound(&port), one = 1, size;

	(void)state;
	assert_int_equal(tandem_setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(one)), 0);
	for (int i = 0; i < 3; i++)
		peer_says(port, "first ", 6);
	peer_says(port, "end", 3);
	peer_says(port, "again ", 6);
	peer_says(port, "longer row", 10);
	assert_int_equal(recv_row(fd, b, 100, MSG_PEEK, &size), 6);
	assert_int_equal(recv_row(fd, b, 100, MSG_TRUNC, &size), 21);
	assert_int_equal(size, 6);
	assert_memory_equal(b, "first first first end", 21);
	/* One that is alone says no size. */
	assert_int_equal(recv_row(fd, b, 100, 0, &size), 6);
	assert_int_equal(size, 0);
	assert_int_equal(recv_row(fd, b, 100, 0, &size), 10);
	/* What does not fit waits. */
	for (int i = 0; i < 100; i++)
		peer_says(port, "0123456789", 10);
	for (int i = 0; i < 2; i++)
		eng_run(clock_now());
	assert_int_equal(recv_row(fd, b, 39, 0, &size), 30);
	assert_int_equal(recv_row(fd, b, sizeof(b), 0, &size), 640);
	assert_int_equal(recv_row(fd, b, sizeof(b), 0, &size), 330);
	assert_int_equal(size, 10);
	assert_int_equal(tandem_close(fd), 0);
}

/* UDP_SEGMENT: datagrams that the peer sees, and what Linux refuses. */
static void test_udp_segments(void **state)
{
	struct sockaddr_in to = addr_of(PEER_ADDR, PEER_UDP);
	static uint8_t b[70000];
	struct udp_info in;
	uint16_t port;
	int fd = bound(&port), size = 1000, one = 1;

	(void)state;
	know_the_way();
	assert_int_equal(tandem_setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(int)), 0);
	know_the_way();
	assert_int_equal(tandem_sendto(fd, b, 2500, 0, (struct sockaddr *)&to, sizeof(to)), 2500);
	pump();
	for (int i = 0; i < 3; i++)
		assert_int_equal(udp_recv(w.peer.stack, peer_id, b, sizeof(b), &in, false),
				 i < 2 ? 1000 : 500);
	size = 1473;
	tandem_setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(int));
	know_the_way();
	assert_int_equal(tandem_sendto(fd, b, 1472, 0, (struct sockaddr *)&to, sizeof(to)), 1472);
	assert_int_equal(tandem_sendto(fd, b, 1473, 0, (struct sockaddr *)&to, sizeof(to)), -1);
	assert_int_equal(errno, EMSGSIZE);
	size = 10;
	tandem_setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(int));
	know_the_way();
	assert_int_equal(tandem_sendto(fd, b, 1281, 0, (struct sockaddr *)&to, sizeof(to)), -1);
	assert_int_equal(errno, EINVAL);
	tandem_setsockopt(fd, SOL_SOCKET, SO_NO_CHECK, &one, sizeof(one));
	know_the_way();
	assert_int_equal(tandem_sendto(fd, b, 5, 0, (struct sockaddr *)&to, sizeof(to)), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(tandem_close(fd), 0);
}

static struct sockaddr_in6 addr6_of(const char *addr, uint16_t port)
{
	struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_port = htons(port)};

	inet_pton(AF_INET6, addr, &sin6.sin6_addr);
	return sin6;
}

/* Of AF_INET6 and bound to ::, its stack speaks IPv4 for it, under mapped addresses. */
static void test_udp_of_ipv6_has_ipv4_by_its_stack(void **state)
{
	struct sockaddr_in6 any = addr6_of("::", 0), peer = addr6_of("::ffff:" PEER_ADDR, PEER_UDP);
	struct sockaddr_in6 from, own;
	struct sockaddr_in v4 = addr_of(PEER_ADDR, PEER_UDP);
	socklen_t len = sizeof(from);
	int k = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), fd;
	struct udp_info in;
	char b[16];

	(void)state;
	if (k < 0)
		skip();
	fd = lib_udp_adopt(k);
	assert_true(fd >= TANDEM_FD_BASE);
	assert_int_equal(tandem_bind(fd, (struct sockaddr *)&any, sizeof(any)), 0);
	assert_int_equal(tandem_getsockname(fd, (struct sockaddr *)&own, &len), 0);
	assert_int_equal(own.sin6_family, AF_INET6);
	peer_says(own.sin6_port, "stack", 5);
	assert_int_equal(tandem_recvfrom(fd, b, sizeof(b), 0, (struct sockaddr *)&from, &len), 5);
	assert_int_equal(len, sizeof(from));
	assert_memory_equal(&from, &peer, sizeof(from));
	for (int i = 0; i < 2; i++) {
		know_the_way();
		assert_int_equal(tandem_sendto(fd, "ab", 2, 0, i ? (void *)&v4 : (void *)&peer,
					       i ? sizeof(v4) : sizeof(peer)),
				 2);
		pump();
		assert_int_equal(udp_recv(w.peer.stack, peer_id, b, sizeof(b), &in, false), 2);
		assert_int_equal(in.sport, own.sin6_port);
	}
	/* The kernel's half has the same port. */
	v4 = addr_of("127.0.0.1", ntohs(own.sin6_port));
	assert_int_equal(sendto(k, "kernel", 6, 0, (struct sockaddr *)&v4, sizeof(v4)), 6);
	assert_int_equal(tandem_recvfrom(fd, b, sizeof(b), 0, (struct sockaddr *)&from, &len), 6);
	assert_true(IN6_IS_ADDR_V4MAPPED(&from.sin6_addr));
	assert_int_equal(tandem_close(fd), 0);
	close(k);
}

static uint32_t open_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	uint32_t n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void test_udp_sockets_leave_nothing(void **state)
{
	uint32_t before = open_fds();
	uint16_t port;

	(void)state;
	for (int i = 0; i < 200; i++) {
		int fd = bound(&port);

		peer_says(port, "unread", 6);
		eng_run(clock_now());
		assert_int_equal(tandem_close(fd), 0);
	}
	assert_int_equal(open_fds(), before);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(test_udp_receives_from_both),
		T(test_udp_neither_starves),
		T(test_udp_sends_by_its_stack),
		T(test_udp_epoll_tells_of_both),
		T(test_udp_timeouts_and_shutdown),
		T(test_udp_sockets_leave_nothing),
		T(test_udp_of_ipv6_has_ipv4_by_its_stack),
		T(test_udp_gro_receives_rows),
		T(test_udp_segments),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
