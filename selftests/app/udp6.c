// SPDX-License-Identifier: BSD-2-Clause
/*
 * AF_INET6 datagram sockets that take IPv4 too: names, destinations and sources of both kinds,
 * errors, ancillary data, readiness. IPv6 comes from this host (::1, which app.sh has on lo), IPv4
 * from the peer, so that on tandem one descriptor has both stacks behind it.
 */
#include "app6.h"

#define OWN_PORT 7811
#define CLOSED_PORT 7098

static char buf[4096];

static int udp6(void)
{
	return socket(AF_INET6, SOCK_DGRAM, 0);
}

static int bound(const char *addr, int port)
{
	struct sockaddr_in6 a = sin6_of(addr, port);
	int fd = udp6();

	T(bind(fd, SA(a)));
	return fd;
}

/* The next datagram and where it came from: the peer's port, and our own, are known. */
static void take(int fd)
{
	struct sockaddr_in6 from;
	socklen_t len = sizeof(from);
	int port;
	long n;

	memset(&from, 0, sizeof(from));
	memset(buf, 0, sizeof(buf));
	printf("ready %x\n", ready(fd, POLLIN));
	n = T(recvfrom(fd, buf, 100, MSG_DONTWAIT, (struct sockaddr *)&from, &len));
	if (n < 0)
		return;
	port = ntohs(from.sin6_port);
	show_addr("from", &from, len, port == PEER_PORT || port == OWN_PORT);
	printf("%s\n", buf);
}

/* A socket of this host that sends @text to @addr, OWN_PORT. */
static void from_here(const char *addr, const char *text)
{
	struct sockaddr_in6 to = sin6_of(addr, OWN_PORT);
	int fd = udp6();

	T(sendto(fd, text, strlen(text), 0, SA(to)));
	close(fd);
}

static void from_peer(int n)
{
	char what[64];
	int ask;

	snprintf(what, sizeof(what), "udp %d %d text", OWN_PORT, n);
	ask = peer(what);
	slurp(ask, buf, 4);
	close(ask);
}

static void fresh(void)
{
	static const struct {
		int level, name;
	} opts[] = {
		{SOL_SOCKET, SO_TYPE},	       {SOL_SOCKET, SO_PROTOCOL},
		{SOL_SOCKET, SO_DOMAIN},       {IPPROTO_IPV6, IPV6_V6ONLY},
		{IPPROTO_IPV6, IPV6_TCLASS},   {IPPROTO_IPV6, IPV6_UNICAST_HOPS},
		{IPPROTO_IP, IP_TTL},	       {IPPROTO_IP, IP_TOS},
		{IPPROTO_IP, IP_MTU_DISCOVER}, {IPPROTO_IPV6, IPV6_MTU_DISCOVER},
		{IPPROTO_IPV6, IPV6_MTU},
	};
	int fd = udp6(), any;

	TITLE("a fresh socket, then one with a port");
	for (int i = 0; i < 2; i++) {
		names(fd, true);
		for (size_t o = 0; o < sizeof(opts) / sizeof(opts[0]); o++)
			option(fd, "option", opts[o].level, opts[o].name);
		T(set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0));
		T(set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 33));
		T(set(fd, IPPROTO_IP, IP_TTL, 44));
		T(set(fd, IPPROTO_IP, IP_TTL, 444));
		T(set(fd, IPPROTO_IPV6, 9999, 1));
		close(fd);
		fd = bound("::", OWN_PORT);
	}
	any = bound("::", OWN_PORT);
	close(any);
	T(close(fd));
	T(socket(AF_INET6, SOCK_DGRAM, IPPROTO_TCP));
}

/* From one socket to each kind of destination, and back. */
static void destinations(void)
{
	struct sockaddr_in6 m = sin6_of(mapped(peer_addr), PEER_PORT),
			    lo = sin6_of("::1", OWN_PORT);
	struct sockaddr_in6 far = sin6_of("2001:db8::77", 9);
	struct sockaddr_in v4 = sin_of(peer_addr, PEER_PORT);
	int fd = udp6(), here = bound("::1", OWN_PORT);

	TITLE("to both kinds");
	T(sendto(fd, "mapped", 6, 0, SA(m)));
	take(fd);
	T(sendto(fd, "to ::1", 6, 0, SA(lo)));
	take(here);
	T(sendto(fd, "AF_INET", 7, 0, SA(v4)));
	take(fd);
	T(sendto(fd, "short", 5, 0, (struct sockaddr *)&m, 24));
	take(fd);
	T(sendto(fd, "size 3000", 9, 0, SA(m)));
	ready(fd, POLLIN);
	T(recv(fd, buf, 100, MSG_PEEK | MSG_TRUNC));
	T(recv(fd, buf, sizeof(buf), 0));
	T(sendto(fd, "nowhere", 7, 0, SA(far)));
	T(recv(fd, buf, 100, MSG_DONTWAIT));
	T(close(here));
	T(close(fd));
}

static void server(void)
{
	int fd = bound("::", OWN_PORT), copy;

	TITLE("a server on ::");
	names(fd, true);
	from_peer(2);
	take(fd);
	take(fd);
	from_here("::1", "by IPv6");
	take(fd);
	from_here("::ffff:127.0.0.1", "by IPv4");
	take(fd);
	copy = dup(fd);
	T(close(fd));
	from_peer(1);
	take(copy);
	T(close(copy));
	TITLE("on a mapped address");
	fd = bound(mapped(own_addr), OWN_PORT);
	names(fd, true);
	from_peer(2);
	take(fd);
	take(fd);
	T(close(fd));
	fd = bound("::ffff:127.0.0.1", OWN_PORT);
	from_here("::ffff:127.0.0.1", "loopback");
	take(fd);
	T(close(fd));
	T(close(bound("::ffff:203.0.113.9", OWN_PORT)));
	T(close(bound("2001:db8::77", OWN_PORT)));
}

/* Whoever has a port of :: has it of both families. */
static void ports(void)
{
	struct sockaddr_in6 a;
	struct sockaddr_in v4;
	socklen_t len = sizeof(a);
	int fd = bound("::", 0), four = socket(AF_INET, SOCK_DGRAM, 0), six = udp6();

	TITLE("a port that was picked");
	T(getsockname(fd, (struct sockaddr *)&a, &len));
	printf("a port: %d\n", a.sin6_port != 0);
	v4 = sin_of("0.0.0.0", ntohs(a.sin6_port));
	T(bind(four, SA(v4)));
	T(set(six, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	T(bind(six, SA(a)));
	T(close(fd));
	T(bind(four, SA(v4)));
	T(bind(six, SA(a)));
	T(close(four));
	T(close(six));
}

/* IPv4's datagrams are the AF_INET socket's, whichever was bound last. */
static void beside_ipv4(int opt)
{
	struct sockaddr_in v4 = sin_of("0.0.0.0", OWN_PORT);
	struct sockaddr_in6 v6 = sin6_of("::", OWN_PORT);
	int four = -1, six = -1;

	TITLE("beside a socket of AF_INET");
	for (int first = 0; first < 2; first++) {
		for (int i = 0; i < 2; i++) {
			int fd = socket(i == first ? AF_INET : AF_INET6, SOCK_DGRAM, 0);

			T(set(fd, SOL_SOCKET, opt, 1));
			if (i == first) {
				four = fd;
				T(bind(fd, SA(v4)));
			} else {
				six = fd;
				T(bind(fd, SA(v6)));
			}
		}
		from_peer(1);
		T(recv(four, buf, 100, 0));
		T(recv(six, buf, 100, MSG_DONTWAIT));
		from_here("::1", "by IPv6");
		T(recv(six, buf, 100, 0));
		T(close(four));
		from_peer(1);
		T(recv(six, buf, 100, 0));
		T(close(six));
	}
}

static void connected(void)
{
	struct sockaddr_in6 m = sin6_of(mapped(peer_addr), PEER_PORT),
			    lo = sin6_of("::1", OWN_PORT);
	struct sockaddr_in6 far = sin6_of("2001:db8::77", 9);
	struct sockaddr none = {.sa_family = AF_UNSPEC};
	struct sockaddr_in v4 = sin_of(peer_addr, PEER_PORT);
	int fd = udp6(), here = bound("::1", OWN_PORT);

	TITLE("connected");
	T(send(fd, "x", 1, 0));
	T(connect(fd, (struct sockaddr *)&m, 20));
	T(connect(fd, SA(m)));
	names(fd, false);
	T(send(fd, "twice", 5, 0));
	take(fd);
	take(fd);
	T(sendto(fd, "named", 5, 0, SA(m)));
	take(fd);
	T(sendto(fd, "other kind", 10, 0, SA(lo)));
	T(recv(here, buf, 100, MSG_DONTWAIT));
	T(connect(fd, SA(lo)));
	names(fd, false);
	T(connect(fd, &none, sizeof(none)));
	names(fd, false);
	T(send(fd, "x", 1, 0));
	T(connect(fd, SA(v4)));
	names(fd, false);
	T(send(fd, "again", 5, 0));
	take(fd);
	T(connect(fd, SA(far)));
	T(close(fd));
	fd = udp6();
	T(connect(fd, SA(lo)));
	names(fd, false);
	T(send(fd, "by IPv6", 7, 0));
	take(here);
	T(sendto(fd, "other kind", 10, 0, SA(m)));
	T(recv(fd, buf, 100, MSG_DONTWAIT));
	T(connect(fd, &none, sizeof(none)));
	names(fd, false);
	T(sendto(fd, "again", 5, 0, SA(m)));
	take(fd);
	T(close(fd));
	T(close(here));
}

static void refused(void)
{
	struct sockaddr_in6 closed[] = {sin6_of(mapped(peer_addr), CLOSED_PORT),
					sin6_of("::1", CLOSED_PORT)};
	struct sockaddr_in6 good = sin6_of(mapped(peer_addr), PEER_PORT);
	int fd;

	TITLE("refused");
	for (int i = 0; i < 2; i++) {
		fd = udp6();
		T(connect(fd, SA(closed[i])));
		T(send(fd, "x", 1, 0));
		take(fd);
		T(recv(fd, buf, 10, MSG_DONTWAIT));
		T(send(fd, "x", 1, 0));
		ready(fd, POLLIN);
		T(send(fd, "x", 1, 0));
		T(send(fd, "x", 1, 0));
		ready(fd, POLLIN);
		option(fd, "SO_ERROR", SOL_SOCKET, SO_ERROR);
		T(close(fd));
		/* Who is not connected hears nothing of it. */
		fd = udp6();
		T(sendto(fd, "x", 1, 0, SA(closed[i])));
		T(sendto(fd, "y", 1, 0, SA(good)));
		take(fd);
		T(recv(fd, buf, 10, MSG_DONTWAIT));
		T(close(fd));
	}
}

static void errors(void)
{
	struct sockaddr_in6 m = sin6_of(mapped(peer_addr), PEER_PORT), zero = m, odd = m;
	struct sockaddr_in v4 = sin_of(peer_addr, PEER_PORT);
	int fd = udp6();

	TITLE("errors");
	zero.sin6_port = 0;
	odd.sin6_family = AF_UNIX;
	T(sendto(fd, "x", 1, 0, (struct sockaddr *)&m, 20));
	T(sendto(fd, "x", 1, 0, (struct sockaddr *)&m, 1));
	T(sendto(fd, "x", 1, 0, SA(zero)));
	T(sendto(fd, "x", 1, 0, SA(odd)));
	T(sendto(fd, "x", 1, MSG_OOB, SA(m)));
	T(bind(fd, (struct sockaddr *)&m, 20));
	T(bind(fd, SA(v4)));
	T(bind(fd, (struct sockaddr *)&v4, sizeof(m)));
	T(bind(fd, SA(m)));
	T(listen(fd, 5));
	T(close(fd));
	TITLE("IPV6_V6ONLY");
	fd = udp6();
	T(set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	T(sendto(fd, "x", 1, 0, SA(m)));
	T(sendto(fd, "x", 1, 0, SA(v4)));
	T(connect(fd, SA(m)));
	T(close(fd));
	fd = udp6();
	T(set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	m = sin6_of(mapped(own_addr), OWN_PORT);
	T(bind(fd, SA(m)));
	m = sin6_of("::", OWN_PORT);
	T(bind(fd, SA(m)));
	T(set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 0));
	from_here("::1", "six");
	from_here("::ffff:127.0.0.1", "four");
	from_peer(1);
	take(fd);
	T(recv(fd, buf, 10, MSG_DONTWAIT));
	T(close(fd));
}

static void show_cmsg(const struct cmsghdr *c)
{
	char text[INET6_ADDRSTRLEN];
	struct in6_pktinfo six;
	struct in_pktinfo four;
	int v = 0;

	printf("cmsg %d %d length %zu", c->cmsg_level, c->cmsg_type, (size_t)c->cmsg_len);
	if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
		memcpy(&six, CMSG_DATA(c), sizeof(six));
		printf(" %s interface known %d",
		       inet_ntop(AF_INET6, &six.ipi6_addr, text, sizeof(text)),
		       six.ipi6_ifindex > 0);
	} else if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
		memcpy(&four, CMSG_DATA(c), sizeof(four));
		printf(" %s interface known %d", inet_ntoa(four.ipi_addr), four.ipi_ifindex > 0);
	} else if (c->cmsg_len == CMSG_LEN(sizeof(v))) {
		memcpy(&v, CMSG_DATA(c), sizeof(v));
		printf(" %d", v);
	}
	printf("\n");
}

/* With @room for control messages. */
static void take_msg(int fd, size_t room, int flags)
{
	union {
		char b[512];
		struct cmsghdr align;
	} ctl;
	struct sockaddr_in6 from = {0};
	struct iovec iov = {buf, 100};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_name = &from,
			   .msg_namelen = sizeof(from),
			   .msg_control = ctl.b,
			   .msg_controllen = room};

	ready(fd, POLLIN);
	T(recvmsg(fd, &m, flags));
	show_addr("from", &from, m.msg_namelen, false);
	printf("flags %x control %zu\n", (unsigned)m.msg_flags, (size_t)m.msg_controllen);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
		show_cmsg(c);
}

static void ancillary_in(void)
{
	static const struct {
		int level, name;
	} opts[] = {
		{IPPROTO_IPV6, IPV6_RECVPKTINFO},  {IPPROTO_IPV6, IPV6_RECVTCLASS},
		{IPPROTO_IPV6, IPV6_RECVHOPLIMIT}, {IPPROTO_IP, IP_PKTINFO},
		{IPPROTO_IP, IP_RECVTOS},	   {IPPROTO_IP, IP_RECVTTL},
		{IPPROTO_IP, IP_RECVORIGDSTADDR},
	};
	int fd = bound("::", OWN_PORT);

	TITLE("ancillary data that comes in");
	for (size_t i = 0; i < sizeof(opts) / sizeof(opts[0]); i++) {
		T(set(fd, opts[i].level, opts[i].name, 1));
		from_peer(1);
		take_msg(fd, 512, 0);
		from_here("::1", "six");
		take_msg(fd, 512, 0);
	}
	from_peer(1);
	take_msg(fd, 44, MSG_PEEK);
	take_msg(fd, 0, MSG_PEEK);
	T(set(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, 0));
	take_msg(fd, 512, 0);
	T(close(fd));
}

/* Sends "hello" to the peer with one control message of @len bytes. */
static long send_with(int fd, int level, int type, const void *data, size_t len)
{
	struct sockaddr_in6 to = sin6_of(mapped(peer_addr), PEER_PORT);
	union {
		char b[CMSG_SPACE(sizeof(struct in6_pktinfo))];
		struct cmsghdr c;
	} ctl = {.c = {.cmsg_len = CMSG_LEN(len), .cmsg_level = level, .cmsg_type = type}};
	struct iovec iov = {(char *)"hello", 5};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_name = &to,
			   .msg_namelen = sizeof(to),
			   .msg_control = ctl.b,
			   .msg_controllen = CMSG_SPACE(len)};
	long r;

	memcpy(CMSG_DATA(&ctl.c), data, len);
	r = sendmsg(fd, &m, 0);
	show("sendmsg", r);
	if (r > 0)
		take(fd);
	return r;
}

static void ancillary_out(void)
{
	struct in6_pktinfo pi = {.ipi6_addr = sin6_of(mapped(own_addr), 0).sin6_addr};
	struct in_pktinfo p4 = {.ipi_spec_dst = sin_of(own_addr, 0).sin_addr};
	int fd = bound("::", OWN_PORT), v = 2;

	TITLE("ancillary data that goes out");
	send_with(fd, IPPROTO_IPV6, IPV6_PKTINFO, &pi, sizeof(pi));
	pi.ipi6_addr = sin6_of("::1", 0).sin6_addr;
	send_with(fd, IPPROTO_IPV6, IPV6_PKTINFO, &pi, sizeof(pi));
	pi.ipi6_addr = sin6_of("::", 0).sin6_addr;
	send_with(fd, IPPROTO_IPV6, IPV6_PKTINFO, &pi, sizeof(pi));
	send_with(fd, IPPROTO_IPV6, IPV6_PKTINFO, &pi, 4);
	send_with(fd, IPPROTO_IP, IP_PKTINFO, &p4, sizeof(p4));
	send_with(fd, IPPROTO_IPV6, IPV6_TCLASS, &v, sizeof(v));
	send_with(fd, IPPROTO_IPV6, IPV6_HOPLIMIT, &v, sizeof(v));
	send_with(fd, IPPROTO_IP, IP_TOS, &v, sizeof(v));
	send_with(fd, IPPROTO_IP, IP_TTL, &v, sizeof(v));
	v = 300;
	send_with(fd, IPPROTO_IP, IP_TTL, &v, sizeof(v));
	send_with(fd, IPPROTO_IPV6, IPV6_TCLASS, &v, sizeof(v));
	T(close(fd));
}

static void several(void)
{
	struct sockaddr_in6 to[2] = {sin6_of(mapped(peer_addr), PEER_PORT),
				     sin6_of("::1", OWN_PORT)};
	static char in[4][16];
	struct sockaddr_in6 from[4];
	struct iovec out = {(char *)"abc", 3}, iin[4];
	struct mmsghdr o[4] = {0}, mm[4] = {0};
	int fd = udp6(), here = bound("::1", OWN_PORT);

	TITLE("several at once");
	for (int i = 0; i < 4; i++) {
		iin[i] = (struct iovec){in[i], sizeof(in[i])};
		o[i].msg_hdr = (struct msghdr){.msg_iov = &out,
					       .msg_iovlen = 1,
					       .msg_name = &to[i % 2],
					       .msg_namelen = sizeof(to[0])};
		mm[i].msg_hdr = (struct msghdr){.msg_iov = &iin[i],
						.msg_iovlen = 1,
						.msg_name = &from[i],
						.msg_namelen = sizeof(from[0])};
	}
	T(sendmmsg(fd, o, 4, 0));
	T(recvmmsg(here, mm, 2, 0, NULL));
	T(recvmmsg(here, mm, 4, MSG_DONTWAIT, NULL));
	T(recvmmsg(fd, mm, 2, 0, NULL));
	for (int i = 0; i < 2; i++)
		show_addr("from", &from[i], mm[i].msg_hdr.msg_namelen, true);
	T(close(here));
	T(close(fd));
}

static void readiness(void)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u32 = 7}, got[4];
	struct timeval tv = {5, 0};
	int fd = bound("::", OWN_PORT), ep = epoll_create1(0);
	fd_set set;

	TITLE("epoll, select");
	T(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	T(epoll_wait(ep, got, 4, 0));
	from_peer(1);
	T(epoll_wait(ep, got, 4, 5000));
	take(fd);
	T(epoll_wait(ep, got, 4, 0));
	from_here("::1", "six");
	T(epoll_wait(ep, got, 4, 5000));
	printf("events %x data %u\n", got[0].events, got[0].data.u32);
	take(fd);
	T(epoll_wait(ep, got, 4, 0));
	ev.events = EPOLLIN | EPOLLET;
	T(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev));
	from_here("::1", "six");
	T(epoll_wait(ep, got, 4, 5000));
	T(epoll_wait(ep, got, 4, 0));
	from_peer(1);
	T(epoll_wait(ep, got, 4, 5000));
	T(epoll_wait(ep, got, 4, 0));
	for (int i = 0; i < 2; i++) {
		FD_ZERO(&set);
		FD_SET(fd, &set);
		T(select(fd + 1, &set, NULL, NULL, &tv));
		T(recv(fd, buf, 100, 0) > 0);
	}
	T(recv(fd, buf, 100, MSG_DONTWAIT));
	T(close(ep));
	T(close(fd));
}

/* It answers what comes by IPv4, then by IPv6, after its parent has let go of the socket. */
static void child(void)
{
	struct sockaddr_in6 a = sin6_of("::1", OWN_PORT);
	int fd = bound("::", OWN_PORT), six = udp6(), st = -1, gate[2];
	pid_t pid;

	TITLE("a child answers");
	T(pipe(gate));
	fflush(stdout);
	pid = fork();
	if (!pid) {
		struct sockaddr_in6 from;
		socklen_t len = sizeof(from);

		if (read(gate[0], buf, 1) != 1)
			_exit(1);
		for (int i = 0; i < 2; i++)
			if (recvfrom(fd, buf, 100, 0, (struct sockaddr *)&from, &len) < 0 ||
			    sendto(fd, "pong", 4, 0, (struct sockaddr *)&from, len) != 4)
				_exit(2);
		_exit(0);
	}
	T(close(fd));
	T(write(gate[1], "g", 1));
	from_peer(1);
	T(sendto(six, "ping", 4, 0, SA(a)));
	take(six);
	T(waitpid(pid, &st, 0) == pid);
	printf("status %x\n", (unsigned)st);
	T(close(six));
}

void run(void)
{
	/* The peer is a known neighbour by this: the first datagram to one takes its time. */
	close(peer("hello"));
	fresh();
	destinations();
	server();
	ports();
	beside_ipv4(SO_REUSEADDR);
	beside_ipv4(SO_REUSEPORT);
	connected();
	refused();
	errors();
	ancillary_in();
	ancillary_out();
	several();
	readiness();
	child();
}
