// SPDX-License-Identifier: BSD-2-Clause
/* Each call with the errors that can be had without much ado, and its plain success. */
#include "app.h"

static char buf[65536];

static void sockets(void)
{
	TITLE("socket");
	T(close(socket(AF_INET, SOCK_STREAM, 0)));
	T(close(socket(AF_INET, SOCK_STREAM, IPPROTO_TCP)));
	T(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP));
	T(socket(AF_INET, 77, 0));
	T(socket(12345, SOCK_STREAM, 0));
	OK(socket(AF_INET, SOCK_DGRAM, 0));
	OK(socket(AF_UNIX, SOCK_STREAM, 0));
	T(close(-1));
	T(close(12345));
}

static void unconnected(void)
{
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);
	struct iovec iov = {buf, 10};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	int fd = socket(AF_INET, SOCK_STREAM, 0), v = -1;

	TITLE("a fresh socket");
	signal(SIGPIPE, SIG_IGN);
	T(read(fd, buf, 10));
	T(recv(fd, buf, 10, 0));
	T(recv(fd, buf, 10, MSG_PEEK | MSG_DONTWAIT));
	T(recvmsg(fd, &m, 0));
	T(write(fd, buf, 10));
	T(send(fd, buf, 10, MSG_NOSIGNAL));
	T(sendmsg(fd, &m, MSG_NOSIGNAL));
	T(shutdown(fd, SHUT_RD));
	T(shutdown(fd, 77));
	T(getpeername(fd, (struct sockaddr *)&sin, &len));
	T(getsockname(fd, (struct sockaddr *)&sin, &len));
	printf("%u %s %d %d\n", len, inet_ntoa(sin.sin_addr), sin.sin_port, sin.sin_family);
	T(accept(fd, NULL, NULL));
	T(lseek(fd, 0, SEEK_SET));
	T(pread(fd, buf, 10, 0));
	T(fsync(fd));
	T(ftruncate(fd, 0));
	T(ioctl(fd, FIONREAD, &v));
	printf("FIONREAD %d\n", v);
	T(close(fd));
	T(read(fd, buf, 10));
	T(send(fd, buf, 10, 0));
	T(listen(fd, 1));
	T(shutdown(fd, SHUT_RD));
	T(fcntl(fd, F_GETFL));
}

static void binding(void)
{
	struct sockaddr_in sin = sin_of(own_addr, 7100), got;
	struct sockaddr_in6 six = {.sin6_family = AF_INET6};
	socklen_t len = sizeof(got);
	int a = socket(AF_INET, SOCK_STREAM, 0), b = socket(AF_INET, SOCK_STREAM, 0);

	TITLE("bind and listen");
	T(bind(a, (struct sockaddr *)&sin, 4));
	T(bind(a, SA(six)));
	sin.sin_addr.s_addr = inet_addr("192.0.2.1");
	T(bind(a, SA(sin)));
	sin = sin_of(own_addr, 7100);
	a = socket(AF_INET, SOCK_STREAM, 0);
	T(bind(a, SA(sin)));
	T(bind(a, SA(sin)));
	T(bind(b, SA(sin)));
	T(listen(a, 5));
	T(listen(a, 6));
	T(bind(b, SA(sin)));
	T(connect(a, SA(sin)));
	T(getsockname(a, (struct sockaddr *)&got, &len));
	printf("%s %d\n", inet_ntoa(got.sin_addr), ntohs(got.sin_port));
	T(getpeername(a, (struct sockaddr *)&got, &len));
	T(read(a, buf, 10));
	T(write(a, buf, 10));
	T(close(a));
	sin.sin_port = 0;
	T(bind(b, SA(sin)));
	T(getsockname(b, (struct sockaddr *)&got, &len));
	printf("a port was picked: %d\n", got.sin_port != 0);
	T(close(b));
	b = socket(AF_INET, SOCK_STREAM, 0);
	T(listen(b, 1)); /* not bound: a port is picked */
	T(getsockname(b, (struct sockaddr *)&got, &len));
	printf("a port was picked: %d\n", got.sin_port != 0);
	T(accept4(b, NULL, NULL, 0x12345));
	T(fcntl(b, F_SETFL, O_NONBLOCK));
	T(accept(b, NULL, NULL));
	T(close(b));
}

static void connecting(void)
{
	struct sockaddr_in sin = sin_of(peer_addr, 9), good = sin_of(peer_addr, PEER_PORT);
	struct sockaddr_in local = sin_of("127.0.0.1", 9);
	int fd = socket(AF_INET, SOCK_STREAM, 0), e = -1;
	socklen_t len = sizeof(e);

	TITLE("connect");
	T(connect(fd, (struct sockaddr *)&sin, 4));
	T(connect(fd, SA(sin))); /* refused */
	T(connect(fd, SA(sin))); /* and again */
	T(getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len));
	printf("SO_ERROR %d\n", e);
	T(close(fd));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	T(connect(fd, SA(local))); /* the kernel's */
	T(close(fd));
	fd = socket(AF_INET, SOCK_STREAM, 0);
	T(connect(fd, SA(good)));
	T(connect(fd, SA(good)));
	T(getpeername(fd, (struct sockaddr *)&sin, &len));
	T(listen(fd, 1));
	sin = sin_of(own_addr, 0);
	T(bind(fd, SA(sin)));
	sin = sin_of(peer_addr, 0); /* not ours: that is looked at first */
	T(bind(fd, SA(sin)));
	T(accept(fd, NULL, NULL));
	T(close(fd));
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	T(connect(fd, SA(good)));
	printf("ready %x\n", ready(fd, POLLOUT));
	T(getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len));
	printf("SO_ERROR %d\n", e);
	T(connect(fd, SA(good)));
	T(read(fd, buf, 10));
	T(close(fd));
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	sin = sin_of(peer_addr, 9);
	T(connect(fd, SA(sin)));
	printf("ready %x\n", ready(fd, POLLOUT));
	T(getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len));
	printf("SO_ERROR %s\n", strerrorname_np(e));
	T(close(fd));
}

static void one_option(int fd, const char *name, int level, int opt, int set)
{
	int v = -1, r;
	socklen_t len = sizeof(v);

	r = getsockopt(fd, level, opt, &v, &len);
	printf("%s: get %d %d (%u)", name, r, r ? errno : v, len);
	r = setsockopt(fd, level, opt, &set, sizeof(set));
	printf(", set %d: %d", set, r ? -errno : 0);
	r = getsockopt(fd, level, opt, &v, &len);
	printf(", get %d %d\n", r, r ? errno : v);
}

#define OPT_ON(fd, level, opt, set) one_option(fd, #opt, level, opt, set)
#define OPT(level, opt, set) OPT_ON(fd, level, opt, set)

/* A port of its own for bind(), or only when it is connected; one port for several peers. */
/* One key or two, and what comes back; a socket without its own has the namespace's. */
static void fastopen_keys(int fd)
{
	uint8_t key[48], got[48];
	socklen_t len = sizeof(got);

	for (size_t i = 0; i < sizeof(key); i++)
		key[i] = (uint8_t)(i * 37);
	T(setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_KEY, key, 15));
	T(setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_KEY, key, 48));
	T(setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_KEY, key, 16));
	T(getsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_KEY, got, &len));
	printf("%d bytes, %s\n", (int)len, memcmp(got, key, 16) ? "others" : "the same");
	T(setsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_KEY, key, 32));
	len = sizeof(got);
	T(getsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_KEY, got, &len));
	printf("%d bytes, %s\n", (int)len, memcmp(got, key, 32) ? "others" : "the same");
	len = 20;
	T(getsockopt(fd, IPPROTO_TCP, TCP_FASTOPEN_KEY, got, &len));
	printf("%d bytes\n", (int)len);
}

static void local_ports(void)
{
	struct sockaddr_in own = sin_of(own_addr, 0), good = sin_of(peer_addr, PEER_PORT), got;
	socklen_t len = sizeof(got);
	int one = 1, a, b;

	TITLE("local ports");
	a = socket(AF_INET, SOCK_STREAM, 0);
	T(bind(a, SA(own)));
	T(getsockname(a, (struct sockaddr *)&own, &len));
	T(connect(a, SA(good)));
	T(getsockname(a, (struct sockaddr *)&got, &len));
	printf("the port stays: %d\n", got.sin_port == own.sin_port);
	b = socket(AF_INET, SOCK_STREAM, 0);
	T(bind(b, SA(own)));
	T(close(a));
	T(close(b));
	a = socket(AF_INET, SOCK_STREAM, 0);
	own.sin_port = 0;
	T(setsockopt(a, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)));
	T(bind(a, SA(own)));
	T(bind(a, SA(own)));
	T(getsockname(a, (struct sockaddr *)&got, &len));
	printf("no port yet: %d\n", got.sin_port == 0);
	T(connect(a, SA(good)));
	T(getsockname(a, (struct sockaddr *)&got, &len));
	printf("%s, a port: %d\n", inet_ntoa(got.sin_addr), got.sin_port != 0);
	T(close(a));
	a = socket(AF_INET, SOCK_STREAM, 0);
	own = sin_of(peer_addr, 0);
	T(setsockopt(a, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one)));
	T(bind(a, SA(own)));
	T(close(a));
	a = socket(AF_INET, SOCK_STREAM, 0);
	T(listen(a, 1));
	OPT_ON(a, IPPROTO_TCP, TCP_DEFER_ACCEPT, 5);
	OPT_ON(a, IPPROTO_TCP, TCP_DEFER_ACCEPT, -1);
	OPT_ON(a, IPPROTO_TCP, TCP_DEFER_ACCEPT, 200);
	OPT_ON(a, IPPROTO_TCP, TCP_FASTOPEN, 5);
	OPT_ON(a, IPPROTO_TCP, TCP_FASTOPEN, -1);
	OPT_ON(a, IPPROTO_TCP, TCP_FASTOPEN, 0);
	fastopen_keys(a);
	T(close(a));
}

static void options(int fd)
{
	struct timeval tv = {1, 500000};
	struct linger l = {1, 3};
	socklen_t len = sizeof(tv);
	char one = 1;

	OPT(SOL_SOCKET, SO_REUSEADDR, 1);
	OPT(SOL_SOCKET, SO_REUSEADDR, 17);
	OPT(SOL_SOCKET, SO_REUSEPORT, 1);
	OPT(SOL_SOCKET, SO_KEEPALIVE, 5);
	OPT(SOL_SOCKET, SO_OOBINLINE, 1);
	OPT(SOL_SOCKET, SO_RCVLOWAT, 1);
	OPT(SOL_SOCKET, SO_TYPE, 1);
	OPT(SOL_SOCKET, SO_DOMAIN, 1);
	OPT(SOL_SOCKET, SO_PROTOCOL, 1);
	OPT(SOL_SOCKET, SO_ACCEPTCONN, 1);
	OPT(SOL_SOCKET, SO_ERROR, 1);
	OPT(IPPROTO_TCP, TCP_NODELAY, 1);
	OPT(IPPROTO_TCP, TCP_CORK, 1);
	OPT(IPPROTO_TCP, TCP_CORK, 0);
	OPT(IPPROTO_TCP, TCP_KEEPIDLE, 100);
	OPT(IPPROTO_TCP, TCP_KEEPIDLE, 0);
	OPT(IPPROTO_TCP, TCP_KEEPINTVL, 10);
	OPT(IPPROTO_TCP, TCP_KEEPCNT, 200);
	OPT(IPPROTO_TCP, TCP_KEEPCNT, 5);
	OPT(IPPROTO_TCP, TCP_USER_TIMEOUT, 5000);
	OPT(IPPROTO_TCP, TCP_USER_TIMEOUT, -1);
	OPT(IPPROTO_TCP, TCP_SYNCNT, 3);
	OPT(IPPROTO_TCP, TCP_SYNCNT, 0);
	OPT(IPPROTO_TCP, TCP_SYNCNT, 128);
	OPT(IPPROTO_TCP, TCP_LINGER2, 5);
	OPT(IPPROTO_TCP, TCP_LINGER2, 1000);
	OPT(IPPROTO_TCP, TCP_LINGER2, -7);
	OPT(IPPROTO_TCP, TCP_LINGER2, 0);
	OPT(IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, 0);
	OPT(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 0);
	OPT(IPPROTO_TCP, TCP_FASTOPEN_CONNECT, 2);
	OPT(IPPROTO_IP, IP_TOS, 0x10);
	OPT(IPPROTO_IP, IP_TTL, 33);
	OPT(IPPROTO_IP, IP_TTL, 300);
	OPT(SOL_SOCKET, 9999, 1);
	OPT(IPPROTO_TCP, 9999, 1);
	OPT(9999, 1, 1);
	T(setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &one, 1));
	T(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	memset(&tv, 0, sizeof(tv));
	T(getsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, &len));
	printf("%ld.%06ld\n", (long)tv.tv_sec, (long)tv.tv_usec);
	tv.tv_usec = 1000000;
	T(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	T(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
	T(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, 2));
	memset(&l, 0, sizeof(l));
	len = sizeof(l);
	T(getsockopt(fd, SOL_SOCKET, SO_LINGER, &l, &len));
	printf("linger %d %d\n", l.l_onoff, l.l_linger);
}

void run(void)
{
	int fd;

	sockets();
	unconnected();
	binding();
	connecting();
	local_ports();
	TITLE("options of a fresh socket");
	fd = socket(AF_INET, SOCK_STREAM, 0);
	options(fd);
	close(fd);
	TITLE("options of a connected one");
	fd = peer("hello");
	ready(fd, POLLIN);
	options(fd);
	close(fd);
}
