// SPDX-License-Identifier: BSD-2-Clause
/* Datagram sockets: bounds, truncation, names, errors, options, ancillary data, both kinds of
 * peers. */
#include <netinet/udp.h>
#include "app.h"

#define CLOSED_PORT 7099
#define OWN_PORT 7801

static char buf[70000];

static int udp(void)
{
	return socket(AF_INET, SOCK_DGRAM, 0);
}

/* The address and port, where it is not one that was picked. */
static void name(const char *what, const struct sockaddr_in *sin, socklen_t len)
{
	int port = ntohs(sin->sin_port);

	printf("%s: length %u", what, len);
	if (len)
		printf(" family %d %s:%s", sin->sin_family, inet_ntoa(sin->sin_addr),
		       port == PEER_PORT || port == OWN_PORT || !port ? (port ? "known" : "0")
								      : "picked");
	printf("\n");
}

static void names_of(int fd)
{
	struct sockaddr_in sin = {0};
	socklen_t len = sizeof(sin);

	if (!T(getsockname(fd, (struct sockaddr *)&sin, &len)))
		name("own", &sin, len);
	len = sizeof(sin);
	if (!T(getpeername(fd, (struct sockaddr *)&sin, &len)))
		name("peer", &sin, len);
}

static void bounds(void)
{
	struct sockaddr_in to = sin_of(peer_addr, PEER_PORT), from = {0};
	static const int sizes[] = {0, 1, 63, 1471, 1472, 1473, 3000, 9000, 60000, 65507};
	socklen_t len = sizeof(from);
	int fd = udp(), n;

	TITLE("bounds");
	names_of(fd);
	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		memset(buf, 'a' + (int)i, sizeof(buf));
		T(sendto(fd, buf, (size_t)sizes[i], 0, SA(to)));
		memset(buf, 0, sizeof(buf));
		ready(fd, POLLIN);
		T(ioctl(fd, FIONREAD, &n));
		printf("FIONREAD %d\n", n);
		T(recvfrom(fd, buf, sizeof(buf), 0, (struct sockaddr *)&from, &len));
		name("from", &from, len);
		printf("%c%c\n", sizes[i] ? buf[0] : '-', sizes[i] ? buf[sizes[i] - 1] : '-');
	}
	T(sendto(fd, buf, 65508, 0, SA(to)));
	T(recv(fd, buf, 10, MSG_DONTWAIT));
	names_of(fd);
	T(close(fd));
}

static void truncation(void)
{
	struct sockaddr_in to = sin_of(peer_addr, PEER_PORT), from;
	struct iovec iov[2] = {{buf, 3}, {buf + 10, 4}};
	struct msghdr m = {
		.msg_iov = iov, .msg_iovlen = 2, .msg_name = &from, .msg_namelen = sizeof(from)};
	socklen_t len = 4;
	int fd = udp();

	TITLE("truncation");
	T(sendto(fd, "0123456789", 10, 0, SA(to)));
	ready(fd, POLLIN);
	T(recv(fd, buf, 4, MSG_PEEK));
	T(recv(fd, buf, 4, MSG_PEEK | MSG_TRUNC));
	T(recv(fd, NULL, 0, MSG_PEEK));
	T(recv(fd, buf, 4, 0));
	printf("%.4s\n", buf);
	T(recv(fd, buf, 4, MSG_DONTWAIT));
	T(sendto(fd, "0123456789", 10, 0, SA(to)));
	ready(fd, POLLIN);
	T(recvmsg(fd, &m, MSG_PEEK));
	printf("flags %x name %u\n", (unsigned)m.msg_flags, m.msg_namelen);
	T(recvmsg(fd, &m, MSG_TRUNC));
	printf("%.3s|%.4s flags %x name %u\n", buf, buf + 10, (unsigned)m.msg_flags, m.msg_namelen);
	T(sendto(fd, "abc", 3, 0, SA(to)));
	ready(fd, POLLIN);
	T(recvfrom(fd, buf, 100, MSG_WAITALL, (struct sockaddr *)&from, &len));
	printf("length of the address %u\n", len);
	T(sendto(fd, "", 0, 0, SA(to)));
	ready(fd, POLLIN);
	T(recv(fd, buf, 100, 0));
	T(close(fd));
}

static void connected(void)
{
	struct sockaddr_in to = sin_of(peer_addr, PEER_PORT), none = {.sin_family = AF_UNSPEC};
	struct sockaddr_in lo = sin_of("127.0.0.1", PEER_PORT);
	int fd = udp(), fd2 = udp();

	TITLE("connected");
	T(send(fd, "x", 1, 0));
	T(write(fd, "x", 1));
	T(connect(fd, (struct sockaddr *)&to, 4));
	T(connect(fd, SA(to)));
	names_of(fd);
	T(write(fd, "hello", 5));
	ready(fd, POLLIN);
	T(read(fd, buf, 100));
	T(send(fd, "twice", 5, 0));
	ready(fd, POLLIN);
	T(recv(fd, buf, 100, 0));
	ready(fd, POLLIN);
	T(recv(fd, buf, 100, 0));
	T(sendto(fd, "named too", 9, 0, SA(to)));
	ready(fd, POLLIN);
	T(recv(fd, buf, 100, 0));
	T(connect(fd, SA(none)));
	names_of(fd);
	T(send(fd, "x", 1, 0));
	T(connect(fd, SA(lo)));
	names_of(fd);
	T(connect(fd, SA(to)));
	names_of(fd);
	T(send(fd, "again", 5, 0));
	ready(fd, POLLIN);
	T(recv(fd, buf, 100, 0));
	/* A connected socket takes nothing from others. */
	T(bind(fd2, SA(lo)));
	T(sendto(fd2, "x", 1, 0, SA(to)));
	T(recv(fd, buf, 100, MSG_DONTWAIT));
	T(close(fd));
	T(close(fd2));
}

static void refused(void)
{
	struct sockaddr_in to = sin_of(peer_addr, CLOSED_PORT), good = sin_of(peer_addr, PEER_PORT);
	int fd = udp(), e;
	socklen_t len = sizeof(e);

	TITLE("refused");
	T(connect(fd, SA(to)));
	T(send(fd, "x", 1, 0));
	printf("ready %x\n", ready(fd, POLLIN));
	T(recv(fd, buf, 10, 0));
	T(recv(fd, buf, 10, MSG_DONTWAIT));
	T(send(fd, "x", 1, 0));
	ready(fd, POLLIN);
	T(send(fd, "x", 1, 0));
	T(send(fd, "x", 1, 0));
	ready(fd, POLLIN);
	T(getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len));
	printf("SO_ERROR %s\n", strerrorname_np(e));
	T(close(fd));
	/* Who is not connected hears nothing of it. */
	fd = udp();
	T(sendto(fd, "x", 1, 0, SA(to)));
	T(sendto(fd, "y", 1, 0, SA(good)));
	ready(fd, POLLIN);
	T(recv(fd, buf, 10, 0));
	T(recv(fd, buf, 10, MSG_DONTWAIT));
	T(close(fd));
}

static void errors(void)
{
	struct sockaddr_in to = sin_of(peer_addr, PEER_PORT), bc = sin_of("10.77.0.255", 7);
	struct sockaddr_in six = to, zero = sin_of(peer_addr, 0),
			   foreign = sin_of("203.0.113.9", 0);
	struct sockaddr_in own = sin_of(own_addr, OWN_PORT), any = sin_of("0.0.0.0", OWN_PORT);
	int fd = udp(), fd2 = udp(), one = 1, accepted;

	TITLE("errors");
	six.sin_family = AF_INET6;
	T(sendto(fd, "x", 1, 0, SA(six)));
	T(sendto(fd, "x", 1, 0, SA(zero)));
	T(sendto(fd, "x", 1, 0, (struct sockaddr *)&to, 8));
	T(sendto(fd, "x", 1, 0, NULL, 0));
	T(sendto(fd, "x", 1, MSG_OOB, SA(to)));
	T(sendto(fd, "x", 1, 0, SA(bc)));
	T(setsockopt(fd, SOL_SOCKET, SO_BROADCAST, &one, sizeof(one)));
	T(sendto(fd, "x", 1, 0, SA(bc)));
	T(listen(fd, 5));
	accepted = accept(fd, NULL, NULL);
	show("accept", accepted);
	T(shutdown(fd, SHUT_RD));
	T(shutdown(fd, 7));
	T(bind(fd2, SA(foreign)));
	T(bind(fd2, (struct sockaddr *)&own, 4));
	T(bind(fd2, SA(own)));
	T(bind(fd2, SA(any)));
	names_of(fd2);
	T(close(fd));
	fd = udp();
	T(bind(fd, SA(own)));
	T(bind(fd, SA(any)));
	T(setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one)));
	T(bind(fd, SA(own)));
	T(close(fd2));
	T(bind(fd, SA(own)));
	T(close(fd));
	T(socket(AF_INET, SOCK_DGRAM, IPPROTO_TCP));
}

static void shut(void)
{
	struct sockaddr_in to = sin_of(peer_addr, PEER_PORT);
	int fd = udp();

	TITLE("shutdown");
	T(connect(fd, SA(to)));
	T(shutdown(fd, SHUT_WR));
	T(send(fd, "x", 1, 0));
	printf("ready %x\n", ready(fd, POLLOUT));
	T(shutdown(fd, SHUT_RD));
	printf("ready %x\n", ready(fd, POLLIN | POLLRDHUP));
	T(recv(fd, buf, 10, 0));
	T(close(fd));
}

static void options(void)
{
	static const struct {
		int level, name;
	} opts[] = {
		{SOL_SOCKET, SO_TYPE},	    {SOL_SOCKET, SO_PROTOCOL},	   {SOL_SOCKET, SO_DOMAIN},
		{SOL_SOCKET, SO_BROADCAST}, {SOL_SOCKET, SO_RCVBUF},	   {SOL_SOCKET, SO_SNDBUF},
		{SOL_SOCKET, SO_REUSEADDR}, {SOL_SOCKET, SO_ACCEPTCONN},   {IPPROTO_IP, IP_TTL},
		{IPPROTO_IP, IP_TOS},	    {IPPROTO_IP, IP_MTU_DISCOVER}, {IPPROTO_IP, IP_PKTINFO},
		{IPPROTO_TCP, TCP_NODELAY}, {IPPROTO_UDP, UDP_CORK},
	};
	int fd = udp(), v;
	socklen_t len;

	TITLE("options");
	for (size_t i = 0; i < sizeof(opts) / sizeof(opts[0]); i++) {
		len = sizeof(v);
		v = -1;
		T(getsockopt(fd, opts[i].level, opts[i].name, &v, &len));
		printf("option %zu is %d\n", i, v);
	}
	v = 40000;
	T(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &v, sizeof(v)));
	T(getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &v, &len));
	printf("SO_RCVBUF %d\n", v);
	v = 1;
	T(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &v, sizeof(v)));
	T(setsockopt(fd, IPPROTO_IP, 222, &v, sizeof(v)));
	T(fcntl(fd, F_GETFL));
	T(fcntl(fd, F_SETFL, O_NONBLOCK));
	T(fcntl(fd, F_GETFL));
	T(recv(fd, buf, 10, 0));
	T(close(fd));
}

/* IP_PKTINFO, TTL and TOS as they come in. */
static void ancillary_in(int fd, struct in_pktinfo *pi)
{
	struct sockaddr_in from;
	char cbuf[256];
	struct iovec iov = {buf, 100};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_name = &from,
			   .msg_namelen = sizeof(from),
			   .msg_control = cbuf,
			   .msg_controllen = sizeof(cbuf)};
	struct cmsghdr *c;
	int v;

	for (int i = 0; i < 2; i++) {
		m.msg_controllen = i ? 28 : sizeof(cbuf); /* the second time: cut */
		T(recvmsg(fd, &m, i ? 0 : MSG_PEEK));
		printf("flags %x control %zu\n", (unsigned)m.msg_flags, (size_t)m.msg_controllen);
		for (c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c)) {
			printf("cmsg %d %d length %zu\n", c->cmsg_level, c->cmsg_type,
			       (size_t)c->cmsg_len);
			if (c->cmsg_type == IP_PKTINFO && c->cmsg_len == CMSG_LEN(sizeof(*pi))) {
				memcpy(pi, CMSG_DATA(c), sizeof(*pi));
				printf("to %s, interface known %d\n", inet_ntoa(pi->ipi_addr),
				       pi->ipi_ifindex > 0);
			} else if (c->cmsg_type == IP_TTL) {
				memcpy(&v, CMSG_DATA(c), sizeof(v));
				printf("ttl %d\n", v);
			}
		}
	}
}

/* A reply from the address that was asked, with a TTL of its own. */
static void ancillary_out(int fd, struct in_pktinfo pi)
{
	struct sockaddr_in to = sin_of(peer_addr, PEER_PORT);
	char out[CMSG_SPACE(sizeof(pi)) + CMSG_SPACE(sizeof(int))] = {0};
	struct iovec iov = {buf, 7};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_name = &to,
			   .msg_namelen = sizeof(to),
			   .msg_control = out,
			   .msg_controllen = sizeof(out)};
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);
	int v = 9;

	*c = (struct cmsghdr){.cmsg_len = CMSG_LEN(sizeof(pi)),
			      .cmsg_level = IPPROTO_IP,
			      .cmsg_type = IP_PKTINFO};
	pi.ipi_ifindex = 0;
	memcpy(CMSG_DATA(c), &pi, sizeof(pi));
	c = CMSG_NXTHDR(&m, c);
	*c = (struct cmsghdr){
		.cmsg_len = CMSG_LEN(sizeof(int)), .cmsg_level = IPPROTO_IP, .cmsg_type = IP_TTL};
	memcpy(CMSG_DATA(c), &v, sizeof(v));
	memcpy(buf, "replied", 7);
	T(sendmsg(fd, &m, 0));
	ready(fd, POLLIN);
	T(recv(fd, buf, 100, 0));
	v = 0;
	memcpy(CMSG_DATA(c), &v, sizeof(v));
	T(sendmsg(fd, &m, 0));
}

static void ancillary(void)
{
	struct sockaddr_in own = sin_of("0.0.0.0", OWN_PORT), to = sin_of(peer_addr, PEER_PORT);
	struct in_pktinfo pi = {0};
	int fd = udp(), one = 1;

	TITLE("ancillary data");
	T(bind(fd, SA(own)));
	T(setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &one, sizeof(one)));
	T(setsockopt(fd, IPPROTO_IP, IP_RECVTTL, &one, sizeof(one)));
	T(setsockopt(fd, IPPROTO_IP, IP_RECVTOS, &one, sizeof(one)));
	T(sendto(fd, "back", 4, 0, SA(to)));
	ready(fd, POLLIN);
	ancillary_in(fd, &pi);
	ancillary_out(fd, pi);
	T(close(fd));
}

static void several(void)
{
	struct sockaddr_in to = sin_of(peer_addr, PEER_PORT);
	static char in[8][16];
	struct iovec out[3] = {{(char *)"one", 3}, {(char *)"twice", 5}, {(char *)"x", 1}};
	struct iovec iin[8];
	struct mmsghdr o[3] = {0}, mm[8] = {0};
	struct timespec ts = {2, 0};
	int fd = udp();

	TITLE("several at once");
	for (int i = 0; i < 3; i++)
		o[i].msg_hdr = (struct msghdr){.msg_iov = &out[i],
					       .msg_iovlen = 1,
					       .msg_name = &to,
					       .msg_namelen = sizeof(to)};
	for (int i = 0; i < 8; i++) {
		iin[i] = (struct iovec){in[i], sizeof(in[i])};
		mm[i].msg_hdr = (struct msghdr){.msg_iov = &iin[i], .msg_iovlen = 1};
	}
	/* The neighbour is known, so that nothing overtakes. */
	T(sendto(fd, "0", 1, 0, SA(to)));
	ready(fd, POLLIN);
	T(recv(fd, buf, 10, 0));
	T(sendmmsg(fd, o, 3, 0));
	printf("%u %u %u\n", o[0].msg_len, o[1].msg_len, o[2].msg_len);
	T(recvmmsg(fd, mm, 4, 0, &ts));
	for (int i = 0; i < 4; i++)
		printf("%u %.*s\n", mm[i].msg_len, (int)mm[i].msg_len, in[i]);
	T(recvmmsg(fd, mm, 8, MSG_DONTWAIT, NULL));
	T(sendto(fd, "last", 4, 0, SA(to)));
	T(recvmmsg(fd, mm, 8, MSG_WAITFORONE, NULL));
	T(close(fd));
}

static void timeouts(void)
{
	struct sockaddr_in own = sin_of(own_addr, OWN_PORT), to = sin_of(peer_addr, PEER_PORT);
	struct timeval tv = {0, 50000};
	int fd = udp();
	long long t;

	TITLE("timeouts");
	T(bind(fd, SA(own)));
	T(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	t = now_ms();
	T(recv(fd, buf, 10, 0));
	printf("waited %d\n", now_ms() - t >= 45);
	tv = (struct timeval){5, 0};
	T(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	T(sendto(fd, "in time", 7, 0, SA(to)));
	T(recv(fd, buf, 10, 0));
	T(close(fd));
}

/* One socket speaks to tandem's network and to this host; readiness is told for both. */
static void both_worlds(void)
{
	struct sockaddr_in any = sin_of("0.0.0.0", OWN_PORT), lo = sin_of("127.0.0.1", OWN_PORT);
	struct sockaddr_in to = sin_of(peer_addr, PEER_PORT), from;
	struct epoll_event ev = {.events = EPOLLIN, .data.u32 = 77}, got[4];
	socklen_t len = sizeof(from);
	int fd = udp(), local = udp(), ep = epoll_create1(0), lfd = udp();

	TITLE("both worlds");
	T(bind(fd, SA(any)));
	T(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	T(epoll_wait(ep, got, 4, 0));
	T(sendto(local, "local", 5, 0, SA(lo)));
	T(epoll_wait(ep, got, 4, 5000) > 0);
	printf("events %x data %u\n", got[0].events, got[0].data.u32);
	T(recvfrom(fd, buf, 100, 0, (struct sockaddr *)&from, &len));
	printf("%.5s from %s\n", buf, inet_ntoa(from.sin_addr));
	T(sendto(fd, "answer", 6, 0, SA(from)));
	T(recv(local, buf, 100, 0));
	T(sendto(fd, "remote", 6, 0, SA(to)));
	T(epoll_wait(ep, got, 4, 5000) > 0);
	printf("events %x data %u\n", got[0].events, got[0].data.u32);
	T(recvfrom(fd, buf, 100, 0, (struct sockaddr *)&from, &len));
	printf("%.6s from %s\n", buf, inet_ntoa(from.sin_addr));
	T(epoll_wait(ep, got, 4, 0));
	ev.events = EPOLLIN | EPOLLOUT | EPOLLET;
	T(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev));
	T(epoll_wait(ep, got, 4, 0));
	printf("events %x\n", got[0].events);
	T(epoll_wait(ep, got, 4, 0));
	T(epoll_ctl(ep, EPOLL_CTL_DEL, fd, NULL));
	T(sendto(local, "unseen", 6, 0, SA(lo)));
	T(epoll_wait(ep, got, 4, 0));
	T(recv(fd, buf, 100, 0));
	/* Wholly on this host. */
	T(connect(lfd, SA(lo)));
	T(send(lfd, "lo", 2, 0));
	T(recv(fd, buf, 100, 0));
	T(close(ep));
	T(close(fd));
	T(close(local));
	T(close(lfd));
}

static void server(void)
{
	struct sockaddr_in own = sin_of(own_addr, OWN_PORT), from;
	socklen_t len = sizeof(from);
	int fd = udp(), ask, d;

	TITLE("server");
	T(bind(fd, SA(own)));
	ask = peer("udp 7801 3 text");
	for (int i = 0; i < 3; i++) {
		T(recvfrom(fd, buf, 100, 0, (struct sockaddr *)&from, &len));
		printf("%.5s from %s\n", buf, inet_ntoa(from.sin_addr));
	}
	T(read(ask, buf, 10));
	/* Numbers: dup() shares, close() of one leaves the other. */
	d = dup(fd);
	T(close(fd));
	ask = (close(ask), peer("udp 7801 1 dup"));
	T(recv(d, buf, 100, 0));
	T(close(ask));
	T(close(d));
}

void run(void)
{
	/* The first datagram to a neighbour that nobody knows takes its time: not in what follows.
	 */
	close(peer("hello"));
	bounds();
	truncation();
	connected();
	refused();
	errors();
	shut();
	options();
	ancillary();
	several();
	timeouts();
	both_worlds();
	server();
}
