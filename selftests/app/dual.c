// SPDX-License-Identifier: BSD-2-Clause
/*
 * AF_INET6 sockets that take IPv4 too. IPv6 comes from this host (::1, which app.sh has on lo),
 * IPv4 from the peer, so that on tandem one descriptor has both stacks behind it.
 */
#include "app6.h"

static char buf[4096];

static void fresh(void)
{
	struct sockaddr_in6 a = sin6_of("::", 7400);
	struct sockaddr_in v4 = sin_of(own_addr, 7400);
	int fd = socket(AF_INET6, SOCK_STREAM, 0);

	TITLE("a fresh socket");
	names(fd, true);
	option(fd, "SO_DOMAIN", SOL_SOCKET, SO_DOMAIN);
	option(fd, "SO_TYPE", SOL_SOCKET, SO_TYPE);
	option(fd, "IPV6_V6ONLY", IPPROTO_IPV6, IPV6_V6ONLY);
	option(fd, "IPV6_UNICAST_HOPS", IPPROTO_IPV6, IPV6_UNICAST_HOPS);
	T(set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 33));
	T(set(fd, IPPROTO_IPV6, IPV6_UNICAST_HOPS, 333));
	option(fd, "IPV6_UNICAST_HOPS", IPPROTO_IPV6, IPV6_UNICAST_HOPS);
	T(set(fd, IPPROTO_IPV6, IPV6_TCLASS, 16));
	option(fd, "IPV6_TCLASS", IPPROTO_IPV6, IPV6_TCLASS);
	T(set(fd, IPPROTO_IPV6, 9999, 1));
	T(bind(fd, SA(v4)));
	T(bind(fd, (struct sockaddr *)&a, 20));
	T(bind(fd, (struct sockaddr *)&v4, sizeof(a)));
	T(connect(fd, (struct sockaddr *)&a, 20));
	T(close(fd));
	T(socket(AF_INET6, SOCK_STREAM, IPPROTO_UDP));
}

/* What came to the listener, as a server sees it. */
static void accept_one(int l)
{
	struct sockaddr_in6 a;
	socklen_t len = sizeof(a);
	int fd;

	memset(&a, 0, sizeof(a));
	fd = accept4(l, (struct sockaddr *)&a, &len, SOCK_CLOEXEC);
	OK(fd);
	show_addr("from", &a, len, false);
	names(fd, true);
	T(fcntl(fd, F_GETFD));
	T(fcntl(fd, F_GETFL) & O_NONBLOCK);
	option(fd, "SO_DOMAIN", SOL_SOCKET, SO_DOMAIN);
	T(write(fd, "pong", 4));
	T(close(fd));
}

static int from_v6(int port)
{
	struct sockaddr_in6 a = sin6_of("::1", port);
	int fd = socket(AF_INET6, SOCK_STREAM, 0);

	T(connect(fd, SA(a)));
	return fd;
}

static int from_v4(int port)
{
	char text[64];
	int fd;

	snprintf(text, sizeof(text), "connect %d 1 echo", port);
	fd = peer(text);
	T(read(fd, buf, 4));
	return fd;
}

static int listen6(const char *addr, int port, int backlog)
{
	struct sockaddr_in6 a = sin6_of(addr, port);
	int fd = socket(AF_INET6, SOCK_STREAM, 0);

	T(set(fd, SOL_SOCKET, SO_REUSEADDR, 1));
	T(bind(fd, SA(a)));
	T(listen(fd, backlog));
	return fd;
}

static void both(void)
{
	struct sockaddr_in6 a = sin6_of("::", 7401);
	struct sockaddr_in v4 = sin_of("0.0.0.0", 7401);
	int l = listen6("::", 7401, 8), six, four, other;
	struct pollfd p = {.fd = l, .events = POLLIN};
	fd_set set_in;

	TITLE("a listener at ::");
	names(l, true);
	option(l, "IPV6_V6ONLY", IPPROTO_IPV6, IPV6_V6ONLY);
	T(set(l, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	T(bind(l, SA(a)));
	T(listen(l, 16));
	T(poll(&p, 1, 0));
	TITLE("IPv6");
	six = from_v6(7401);
	T(poll(&p, 1, 5000));
	T(p.revents);
	accept_one(l);
	T(slurp(six, buf, 4));
	T(close(six));
	T(poll(&p, 1, 0));
	TITLE("IPv4");
	four = from_v4(7401);
	T(poll(&p, 1, 5000));
	FD_ZERO(&set_in);
	FD_SET(l, &set_in);
	T(select(l + 1, &set_in, NULL, NULL, NULL));
	T(FD_ISSET(l, &set_in));
	accept_one(l);
	T(close(four));
	T(poll(&p, 1, 0));
	TITLE("both wait, accept blocks");
	six = from_v6(7401);
	four = from_v4(7401);
	T(close(accept(l, NULL, NULL)) < 0);
	T(close(accept(l, NULL, NULL)) < 0);
	T(fcntl(l, F_SETFL, O_NONBLOCK));
	T(accept(l, NULL, NULL));
	T(close(six));
	T(close(four));
	TITLE("the port is taken, for either");
	other = socket(AF_INET6, SOCK_STREAM, 0);
	T(bind(other, SA(a)));
	T(set(other, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	T(bind(other, SA(a)));
	T(close(other));
	other = socket(AF_INET, SOCK_STREAM, 0);
	T(bind(other, SA(v4)));
	T(close(other));
	T(close(l));
	other = socket(AF_INET6, SOCK_STREAM, 0);
	T(set(other, SOL_SOCKET, SO_REUSEADDR, 1));
	T(bind(other, SA(a)));
	T(close(other));
}

static void *connect_later(void *arg)
{
	struct timespec ts = {.tv_nsec = 100000000};

	(void)arg;
	nanosleep(&ts, NULL);
	return (void *)(intptr_t)from_v6(7402);
}

static void blocked(void)
{
	int l = listen6("::", 7402, 8), fd;
	pthread_t t;
	void *six;

	TITLE("blocked in accept(), IPv6 comes");
	pthread_create(&t, NULL, connect_later, NULL);
	fd = accept(l, NULL, NULL);
	pthread_join(t, &six);
	OK(fd);
	T(write(fd, "x", 1));
	T(read((int)(intptr_t)six, buf, 1));
	T(close(fd));
	T(close((int)(intptr_t)six));
	T(close(l));
}

static void epolls(void)
{
	struct sockaddr_in6 a = sin6_of("::", 7403);
	struct epoll_event ev = {.events = EPOLLIN, .data.u32 = 77}, got[4];
	int ep = epoll_create1(0), before, after, six, four;

	TITLE("epoll: registered before listen()");
	before = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
	T(set(before, SOL_SOCKET, SO_REUSEADDR, 1));
	T(bind(before, SA(a)));
	T(epoll_ctl(ep, EPOLL_CTL_ADD, before, &ev));
	T(listen(before, 8));
	T(epoll_wait(ep, got, 4, 0));
	six = from_v6(7403);
	T(epoll_wait(ep, got, 4, 5000));
	T(got[0].data.u32);
	T(got[0].events);
	accept_one(before);
	T(epoll_wait(ep, got, 4, 0));
	four = from_v4(7403);
	T(epoll_wait(ep, got, 4, 5000));
	accept_one(before);
	T(epoll_wait(ep, got, 4, 0));
	ev.events = EPOLLOUT;
	T(epoll_ctl(ep, EPOLL_CTL_MOD, before, &ev));
	T(close(six));
	T(close(four));
	six = from_v6(7403);
	four = from_v4(7403);
	T(epoll_wait(ep, got, 4, 0));
	T(epoll_ctl(ep, EPOLL_CTL_DEL, before, NULL));
	T(epoll_ctl(ep, EPOLL_CTL_DEL, before, NULL));
	T(close(before));
	T(close(six));
	T(close(four));

	TITLE("epoll: registered after it, edge-triggered");
	after = listen6("::", 7404, 8);
	T(fcntl(after, F_SETFL, O_NONBLOCK));
	ev = (struct epoll_event){.events = EPOLLIN | EPOLLET, .data.u32 = 78};
	T(epoll_ctl(ep, EPOLL_CTL_ADD, after, &ev));
	six = from_v6(7404);
	T(epoll_wait(ep, got, 4, 5000));
	T(got[0].data.u32);
	T(epoll_wait(ep, got, 4, 0));
	accept_one(after);
	four = from_v4(7404);
	T(epoll_wait(ep, got, 4, 5000));
	T(epoll_wait(ep, got, 4, 0));
	accept_one(after);
	T(close(after));
	T(close(six));
	T(close(four));
	T(epoll_wait(ep, got, 4, 0));
	T(close(ep));
}

static void only(void)
{
	struct sockaddr_in6 a = sin6_of("::", 7405), m = sin6_of(mapped(peer_addr), PEER_PORT);
	int fd = socket(AF_INET6, SOCK_STREAM, 0), six, l4;

	TITLE("IPV6_V6ONLY");
	T(set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	option(fd, "IPV6_V6ONLY", IPPROTO_IPV6, IPV6_V6ONLY);
	T(set(fd, SOL_SOCKET, SO_REUSEADDR, 1));
	T(bind(fd, SA(a)));
	T(listen(fd, 4));
	names(fd, true);
	l4 = listener(7405, 0); /* the port of IPv4 is free */
	six = from_v6(7405);
	accept_one(fd);
	T(close(six));
	T(close(fd));
	T(close(l4));
	fd = socket(AF_INET6, SOCK_STREAM, 0);
	T(set(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1));
	T(connect(fd, SA(m)));
	T(close(fd));
}

static void unbound(void)
{
	struct sockaddr_in6 a;
	socklen_t len = sizeof(a);
	int l = socket(AF_INET6, SOCK_STREAM, 0), six, four, port;

	TITLE("listen() without bind()");
	T(listen(l, 4));
	T(getsockname(l, (struct sockaddr *)&a, &len));
	port = ntohs(a.sin6_port);
	a.sin6_port = 0;
	show_addr("own", &a, len, true);
	six = socket(AF_INET6, SOCK_STREAM, 0);
	a = sin6_of("::1", port);
	T(connect(six, SA(a)));
	T(close(accept(l, NULL, NULL)) < 0);
	four = from_v4(port);
	T(close(accept(l, NULL, NULL)) < 0);
	T(close(six));
	T(close(four));
	T(close(l));
}

static void clients(void)
{
	struct sockaddr_in6 m = sin6_of(mapped(peer_addr), PEER_PORT), b, none = sin6_of("::1", 9);
	struct sockaddr_in6 lo = sin6_of("::ffff:127.0.0.1", 9);
	struct sockaddr unspec = {.sa_family = AF_UNSPEC};
	struct pollfd p = {.events = POLLOUT};
	int fd = socket(AF_INET6, SOCK_STREAM, 0);

	TITLE("to a mapped address");
	T(connect(fd, SA(m)));
	T(connect(fd, SA(m)));
	T(connect(fd, SA(none)));
	names(fd, false);
	T(write(fd, "hello\n", 6));
	T(read(fd, buf, 5));
	T(shutdown(fd, SHUT_WR));
	T(read(fd, buf, 5));
	T(close(fd));
	fd = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK, 0);
	T(connect(fd, SA(m)));
	p.fd = fd;
	T(poll(&p, 1, 5000));
	option(fd, "SO_ERROR", SOL_SOCKET, SO_ERROR);
	T(connect(fd, SA(m)));
	T(close(fd));
	TITLE("bound before");
	fd = socket(AF_INET6, SOCK_STREAM, 0);
	b = sin6_of(mapped(own_addr), 7406);
	T(set(fd, SOL_SOCKET, SO_REUSEADDR, 1));
	T(bind(fd, SA(b)));
	T(bind(fd, SA(b)));
	names(fd, true);
	T(connect(fd, SA(m)));
	names(fd, true);
	T(connect(fd, &unspec, sizeof(unspec)));
	T(close(fd));
	fd = socket(AF_INET6, SOCK_STREAM, 0);
	b = sin6_of("::", 7407);
	T(set(fd, SOL_SOCKET, SO_REUSEADDR, 1));
	T(bind(fd, SA(b)));
	T(connect(fd, SA(m)));
	names(fd, true);
	T(close(fd));
	TITLE("nobody listens there");
	fd = socket(AF_INET6, SOCK_STREAM, 0);
	T(connect(fd, SA(none)));
	T(close(fd));
	fd = socket(AF_INET6, SOCK_STREAM, 0);
	T(connect(fd, SA(lo)));
	T(close(fd));
	fd = socket(AF_INET6, SOCK_STREAM, 0);
	T(bind(fd, SA(b)));
	T(connect(fd, SA(none)));
	T(close(fd));
	fd = socket(AF_INET6, SOCK_STREAM, 0);
	b = sin6_of("2001:db8::77", 7408);
	T(bind(fd, SA(b)));
	T(close(fd));
}

/* A prefork server's child: it has the listener, of both families. */
static void child(void)
{
	int l = listen6("::", 7409, 8), six, four, st = -1;
	pid_t pid;

	TITLE("a child accepts");
	fflush(stdout);
	pid = fork();
	if (!pid) {
		for (int i = 0; i < 2; i++) {
			int fd = accept(l, NULL, NULL);

			if (fd < 0 || write(fd, "pong", 4) != 4 || close(fd))
				_exit(1);
		}
		_exit(0);
	}
	T(close(l));
	six = from_v6(7409);
	T(slurp(six, buf, 4));
	four = from_v4(7409);
	T(waitpid(pid, &st, 0) == pid);
	printf("status %x\n", (unsigned)st);
	T(close(six));
	T(close(four));
}

void run(void)
{
	signal(SIGPIPE, SIG_IGN);
	fresh();
	both();
	blocked();
	epolls();
	only();
	unbound();
	clients();
	child();
}
