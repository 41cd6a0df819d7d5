// SPDX-License-Identifier: BSD-2-Clause
/*
 * The error queue of datagram sockets (ip(7), IP_RECVERR): closed ports and datagrams
 * that are too long, connected and not, with and without other ancillary data, IPv4 and mapped.
 */
#include <netinet/udp.h>
#include <linux/errqueue.h>
#include "app6.h"

#define CLOSED_PORT 7097
#define OTHER_PORT 7096
#define OWN_PORT 7821

static char buf[4096];

static int udp(bool recverr)
{
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	T(set(fd, IPPROTO_IP, IP_RECVERR, recverr));
	return fd;
}

/* An instance that tells of each error once: one may lie there already. */
static int news_of(int fd)
{
	struct epoll_event ev = {.events = EPOLLET};
	int ep = epoll_create1(0);

	epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
	return ep;
}

static bool told(int ep, int ms)
{
	struct epoll_event ev;

	return epoll_wait(ep, &ev, 1, ms) == 1;
}

/* A call after which an error comes. */
#define TOLD(ep, call)                                                                             \
	do {                                                                                       \
		told(ep, 0);                                                                       \
		T(call);                                                                           \
		told(ep, 5000);                                                                    \
	} while (0)

static void show_name(const char *what, const void *name)
{
	struct sockaddr_in sin;
	struct sockaddr_in6 sin6;

	memcpy(&sin, name, sizeof(sin));
	memcpy(&sin6, name, sizeof(sin6));
	if (sin.sin_family == AF_INET6)
		show_addr(what, &sin6, sizeof(sin6), true);
	else
		printf("%s: family %d %s:%d\n", what, sin.sin_family, inet_ntoa(sin.sin_addr),
		       ntohs(sin.sin_port));
}

static void show_record(const struct cmsghdr *c)
{
	uint8_t b[64] = {0};
	struct sock_extended_err e;

	memcpy(b, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
	memcpy(&e, b, sizeof(e));
	printf("%s origin %d type %d code %d pad %d info %u data %u\n",
	       strerrorname_np((int)e.ee_errno), e.ee_origin, e.ee_type, e.ee_code, e.ee_pad,
	       e.ee_info, e.ee_data);
	show_name("offender", b + sizeof(e));
}

static void show_cmsg(const struct cmsghdr *c)
{
	struct in_pktinfo pi;
	struct in6_pktinfo pi6;
	char text[INET6_ADDRSTRLEN];
	struct timeval tv;
	int v = 0;

	printf("cmsg %d %d length %zu\n", c->cmsg_level, c->cmsg_type, (size_t)c->cmsg_len);
	if ((c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_RECVERR) ||
	    (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_RECVERR)) {
		show_record(c);
	} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
		memcpy(&pi, CMSG_DATA(c), sizeof(pi));
		printf("interface known %d, to %s", pi.ipi_ifindex > 0, inet_ntoa(pi.ipi_addr));
		printf(", source %s\n", inet_ntoa(pi.ipi_spec_dst));
	} else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
		memcpy(&pi6, CMSG_DATA(c), sizeof(pi6));
		printf("interface known %d, to %s\n", pi6.ipi6_ifindex > 0,
		       inet_ntop(AF_INET6, &pi6.ipi6_addr, text, sizeof(text)));
	} else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMP) {
		memcpy(&tv, CMSG_DATA(c), sizeof(tv));
		printf("now %d\n", llabs((long long)time(NULL) - tv.tv_sec) < 5);
	} else if (c->cmsg_level == IPPROTO_IP) {
		memcpy(&v, CMSG_DATA(c), c->cmsg_len - CMSG_LEN(0));
		printf("value %d\n", v);
	}
}

/* One record, into @room bytes in two pieces, and @croom bytes of ancillary data. */
static long take(int fd, size_t room, size_t croom, int flags)
{
	char cbuf[512], name[128] = {0};
	struct iovec iov[2] = {{buf, room / 2}, {buf + room / 2, room - room / 2}};
	struct msghdr m = {.msg_iov = iov,
			   .msg_iovlen = 2,
			   .msg_name = name,
			   .msg_namelen = sizeof(name),
			   .msg_control = cbuf,
			   .msg_controllen = croom};
	long n;

	memset(buf, 0, sizeof(buf));
	n = T(recvmsg(fd, &m, MSG_ERRQUEUE | flags));
	if (n < 0)
		return n;
	printf("flags %x name %u control %zu bytes '%.*s'\n", (unsigned)m.msg_flags, m.msg_namelen,
	       (size_t)m.msg_controllen, (int)n, buf);
	show_name("failed", name);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		show_cmsg(c);
	return n;
}

static void events(int fd)
{
	struct pollfd p = {.fd = fd, .events = POLLIN | POLLPRI};

	T(poll(&p, 1, 0));
	printf("events %x\n", (unsigned)p.revents);
}

static void so_error(int fd)
{
	int e = -1;
	socklen_t len = sizeof(e);

	T(getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len));
	printf("SO_ERROR %d %s\n", e, e > 0 ? strerrorname_np(e) : "");
}

static void connected(void)
{
	struct sockaddr_in to = sin_of(peer_addr, CLOSED_PORT);
	int fd = udp(true), news = news_of(fd);

	TITLE("connected");
	T(connect(fd, SA(to)));
	take(fd, 100, 512, 0);
	T(send(fd, "first", 5, 0));
	printf("ready %x\n", ready(fd, POLLIN));
	take(fd, 100, 512, 0);
	events(fd);
	take(fd, 100, 512, 0);
	T(recv(fd, buf, 100, MSG_DONTWAIT));
	so_error(fd);
	/* The error first: its record stays, and with it the event. */
	T(send(fd, "second", 6, 0));
	ready(fd, POLLIN);
	T(recv(fd, buf, 100, 0));
	T(recv(fd, buf, 100, MSG_DONTWAIT));
	events(fd);
	so_error(fd);
	TOLD(news, send(fd, "", 0, 0));
	T(send(fd, "x", 1, 0));
	take(fd, 100, 512, 0);
	events(fd);
	take(fd, 100, 512, 0);
	events(fd);
	close(news);
	T(close(fd));
}

/* Two at once, each with its own destination; the second's error follows the first's. */
static void unconnected(void)
{
	struct sockaddr_in one = sin_of(peer_addr, CLOSED_PORT),
			   two = sin_of(peer_addr, OTHER_PORT), good = sin_of(peer_addr, PEER_PORT);
	int fd = udp(true), news = news_of(fd);

	TITLE("not connected");
	T(sendto(fd, "to one", 6, 0, SA(one)));
	printf("ready %x\n", ready(fd, POLLIN));
	so_error(fd);
	TOLD(news, sendto(fd, "to another", 10, 0, SA(two)));
	events(fd);
	take(fd, 100, 512, MSG_PEEK);
	events(fd);
	T(sendto(fd, "x", 1, 0, SA(good)));
	take(fd, 100, 512, 0);
	events(fd);
	T(sendto(fd, "x", 1, 0, SA(good)));
	ready(fd, POLLIN);
	T(recv(fd, buf, 100, 0));
	take(fd, 100, 512, 0);
	/* Nobody asks in between. */
	TOLD(news, sendto(fd, "to one", 6, 0, SA(one)));
	T(sendto(fd, "x", 1, 0, SA(good)));
	TOLD(news, sendto(fd, "to one", 6, 0, SA(one)));
	so_error(fd);
	take(fd, 100, 512, 0);
	take(fd, 100, 512, 0);
	close(news);
	T(close(fd));
}

static void cut(void)
{
	struct sockaddr_in to = sin_of(peer_addr, CLOSED_PORT);
	static const size_t rooms[][2] = {{4, 512},  {0, 512},	{100, 0},   {100, 16},
					  {100, 40}, {100, 48}, {2000, 512}};
	int fd = udp(true);

	TITLE("cut");
	T(connect(fd, SA(to)));
	for (size_t i = 0; i < sizeof(rooms) / sizeof(rooms[0]); i++) {
		T(send(fd, "0123456789", 10, 0));
		ready(fd, POLLIN);
		take(fd, rooms[i][0], rooms[i][1], i & 1 ? MSG_TRUNC : 0);
	}
	/* What is long is quoted in part. */
	memset(buf, 'q', 1400);
	T(send(fd, buf, 1400, 0));
	ready(fd, POLLIN);
	take(fd, 2000, 512, 0);
	T(send(fd, "by recv", 7, 0));
	ready(fd, POLLIN);
	T(recv(fd, buf, 100, MSG_ERRQUEUE));
	printf("%.7s\n", buf);
	T(recv(fd, buf, 100, MSG_ERRQUEUE));
	T(close(fd));
}

static void too_long(void)
{
	struct sockaddr_in to = sin_of(peer_addr, PEER_PORT);
	static const int how[] = {IP_PMTUDISC_DO, IP_PMTUDISC_PROBE, IP_PMTUDISC_INTERFACE};
	int fd = udp(true), news = news_of(fd);

	TITLE("too long");
	for (int c = 0; c < 2; c++) {
		for (int i = 0; i < 3; i++) {
			T(set(fd, IPPROTO_IP, IP_MTU_DISCOVER, how[i]));
			T(sendto(fd, buf, 1473, 0, SA(to)));
			events(fd);
			T(recv(fd, buf, 100, MSG_DONTWAIT));
			so_error(fd);
			take(fd, 100, 512, 0);
			events(fd);
			take(fd, 100, 512, 0);
		}
		T(sendto(fd, buf, 1472, 0, SA(to)));
		ready(fd, POLLIN);
		T(recv(fd, buf, 1500, 0));
		T(set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_OMIT));
		T(sendto(fd, buf, 1473, 0, SA(to)));
		ready(fd, POLLIN);
		T(recv(fd, buf, 1500, 0));
		take(fd, 100, 512, 0);
		T(sendto(fd, buf, 65508, 0, SA(to)));
		take(fd, 100, 512, 0);
		T(connect(fd, SA(to)));
	}
	/* A local record is no error of the socket, and takes none away. */
	T(set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO));
	to = sin_of(peer_addr, CLOSED_PORT);
	T(connect(fd, SA(to)));
	T(send(fd, buf, 2000, 0));
	TOLD(news, send(fd, "closed", 6, 0));
	take(fd, 100, 512, 0);
	events(fd);
	so_error(fd);
	T(send(fd, buf, 2000, 0));
	take(fd, 100, 512, 0);
	so_error(fd);
	take(fd, 100, 512, 0);
	T(set(fd, IPPROTO_IP, IP_RECVERR, 0));
	T(send(fd, buf, 2000, 0));
	take(fd, 100, 512, 0);
	T(set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_WANT));
	close(news);
	T(close(fd));
}

static void with_others(void)
{
	struct sockaddr_in to = sin_of(peer_addr, CLOSED_PORT);
	int fd = udp(true);

	TITLE("with other ancillary data");
	T(set(fd, SOL_SOCKET, SO_TIMESTAMP, 1));
	T(set(fd, IPPROTO_IP, IP_PKTINFO, 1));
	T(set(fd, IPPROTO_IP, IP_RECVTTL, 1));
	T(set(fd, IPPROTO_IP, IP_RECVTOS, 1));
	T(set(fd, SOL_SOCKET, SO_SELECT_ERR_QUEUE, 1));
	T(connect(fd, SA(to)));
	T(send(fd, "abc", 3, 0));
	printf("ready %x\n", ready(fd, POLLIN | POLLPRI));
	events(fd);
	take(fd, 100, 512, 0);
	events(fd);
	T(set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO));
	T(send(fd, buf, 2000, 0));
	take(fd, 100, 512, 0);
	T(close(fd));
}

static void switched_off(void)
{
	struct sockaddr_in to = sin_of(peer_addr, CLOSED_PORT);
	int fd = udp(true);

	TITLE("switched off");
	T(connect(fd, SA(to)));
	T(send(fd, "abc", 3, 0));
	ready(fd, POLLIN);
	T(set(fd, IPPROTO_IP, IP_RECVERR, 0));
	events(fd);
	take(fd, 100, 512, 0);
	so_error(fd);
	events(fd);
	T(send(fd, "def", 3, 0));
	ready(fd, POLLIN);
	take(fd, 100, 512, 0);
	events(fd);
	T(recv(fd, buf, 100, 0));
	events(fd);
	T(close(fd));
}

/* Errors of loopback and of the network in one socket. */
static void both_worlds(void)
{
	struct sockaddr_in lo = sin_of("127.0.0.1", CLOSED_PORT),
			   to = sin_of(peer_addr, CLOSED_PORT), any = sin_of("0.0.0.0", OWN_PORT);
	int fd = udp(true);

	TITLE("both worlds");
	T(bind(fd, SA(any)));
	T(sendto(fd, "by loopback", 11, 0, SA(lo)));
	ready(fd, POLLIN);
	so_error(fd);
	take(fd, 100, 512, 0);
	T(sendto(fd, "by network", 10, 0, SA(to)));
	ready(fd, POLLIN);
	so_error(fd);
	take(fd, 100, 512, 0);
	take(fd, 100, 512, 0);
	T(close(fd));
}

/* A call that waits is ended by an error, not by a record that lies there. */
static void waiting(void)
{
	struct sockaddr_in to = sin_of(peer_addr, CLOSED_PORT), good = sin_of(peer_addr, PEER_PORT);
	struct timeval tv = {0, 100000};
	int fd = udp(true);

	TITLE("waiting");
	T(sendto(fd, "abc", 3, 0, SA(to)));
	T(recv(fd, buf, 100, 0));
	T(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	T(recv(fd, buf, 100, 0));
	tv = (struct timeval){5, 0};
	T(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	T(sendto(fd, "0123456789", 10, 0, SA(good)));
	T(recv(fd, buf, 100, 0));
	take(fd, 100, 512, 0);
	take(fd, 100, 512, 0);
	T(close(fd));
}

/* Neither does one of loopback, which the kernel has, make it look again and again. */
static void *by_loopback(void *arg)
{
	struct sockaddr_in own = sin_of("127.0.0.1", OWN_PORT);
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	usleep(200000); /* while the other one waits */
	sendto(fd, arg, strlen(arg), 0, SA(own));
	close(fd);
	return NULL;
}

static void idle(void)
{
	struct sockaddr_in lo = sin_of("127.0.0.1", CLOSED_PORT),
			   good = sin_of(peer_addr, PEER_PORT), any = sin_of("0.0.0.0", OWN_PORT);
	struct timeval tv = {0, 600000};
	int fd = udp(true);
	clock_t used;
	pthread_t t;

	TITLE("idle");
	T(bind(fd, SA(any)));
	T(sendto(fd, "to us", 5, 0, SA(good)));
	T(recv(fd, buf, 100, 0));
	T(sendto(fd, "by loopback", 11, 0, SA(lo)));
	ready(fd, POLLIN);
	so_error(fd);
	T(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	used = clock();
	T(recv(fd, buf, 100, 0));
	printf("it slept %d\n", clock() - used < CLOCKS_PER_SEC / 20);
	/* What comes then is seen, by either way. */
	tv.tv_sec = 5;
	T(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	pthread_create(&t, NULL, by_loopback, (void *)"news");
	T(recv(fd, buf, 100, 0));
	pthread_join(t, NULL);
	T(sendto(fd, "to us", 5, 0, SA(good)));
	T(recv(fd, buf, 100, 0));
	T(sendto(fd, "by loopback", 11, 0, SA(lo)));
	T(recv(fd, buf, 100, 0));
	take(fd, 100, 512, 0);
	take(fd, 100, 512, 0);
	T(close(fd));
}

static void by_select(void)
{
	struct sockaddr_in to = sin_of(peer_addr, CLOSED_PORT);
	fd_set r, x;
	int fd = udp(true);

	TITLE("select");
	for (int on = 0; on < 2; on++) {
		struct timeval tv = {on ? 5 : 0, 200000};

		T(set(fd, SOL_SOCKET, SO_SELECT_ERR_QUEUE, on));
		T(sendto(fd, "abc", 3, 0, SA(to)));
		FD_ZERO(&x);
		FD_SET(fd, &x);
		T(select(fd + 1, NULL, NULL, &x, &tv));
		FD_ZERO(&r);
		FD_SET(fd, &r);
		T(select(fd + 1, &r, NULL, &x, &tv));
		printf("readable %d, exception %d\n", FD_ISSET(fd, &r) != 0, FD_ISSET(fd, &x) != 0);
		take(fd, 100, 512, 0);
	}
	T(close(fd));
}

/* Edge-triggered: each record is told. */
static void by_epoll(void)
{
	struct sockaddr_in to = sin_of(peer_addr, CLOSED_PORT);
	struct epoll_event ev = {.events = EPOLLIN | EPOLLET}, got[4];
	int fd = udp(true), ep = epoll_create1(0);

	TITLE("epoll");
	T(connect(fd, SA(to)));
	T(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	for (int i = 0; i < 2; i++) {
		T(send(fd, "abc", 3, 0));
		T(epoll_wait(ep, got, 4, 5000));
		printf("events %x\n", got[0].events);
		so_error(fd);
		T(epoll_wait(ep, got, 4, 0));
	}
	take(fd, 100, 512, 0);
	T(epoll_wait(ep, got, 4, 0));
	printf("events %x\n", got[0].events);
	take(fd, 100, 512, 0);
	T(epoll_wait(ep, got, 4, 0));
	T(close(ep));
	T(close(fd));
}

/* A socket of AF_INET6: IP_RECVERR is what counts for a datagram of IPv4. */
static void mapped_ones(void)
{
	struct sockaddr_in6 to = sin6_of(mapped(peer_addr), CLOSED_PORT);

	TITLE("mapped");
	for (int i = 0; i < 4; i++) {
		int fd = socket(AF_INET6, SOCK_DGRAM, 0), news = news_of(fd);

		T(set(fd, IPPROTO_IP, IP_RECVERR, i & 1));
		T(set(fd, IPPROTO_IPV6, IPV6_RECVERR, i >> 1));
		T(set(fd, IPPROTO_IP, IP_RECVTTL, i & 1));
		T(set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, i & 1));
		if (i & 2)
			T(connect(fd, SA(to)));
		told(news, 0);
		T(sendto(fd, "mapped", 6, 0, SA(to)));
		printf("told %d\n", told(news, i ? 5000 : 200));
		events(fd);
		take(fd, 100, 512, 0);
		events(fd);
		so_error(fd);
		T(set(fd, IPPROTO_IP, IP_MTU_DISCOVER, IP_PMTUDISC_DO));
		T(sendto(fd, buf, 2000, 0, SA(to)));
		take(fd, 100, 512, 0);
		told(news, 0);
		T(sendto(fd, "purged", 6, 0, SA(to)));
		printf("told %d\n", told(news, i ? 5000 : 200));
		so_error(fd);
		T(set(fd, IPPROTO_IPV6, IPV6_RECVERR, 0));
		take(fd, 100, 512, 0);
		close(news);
		T(close(fd));
	}
}

void run(void)
{
	/* The first datagram to a neighbour that nobody knows takes its time: not in what follows.
	 */
	close(peer("hello"));
	connected();
	unconnected();
	cut();
	too_long();
	with_others();
	switched_off();
	both_worlds();
	waiting();
	idle();
	by_select();
	by_epoll();
	mapped_ones();
}
