// SPDX-License-Identifier: BSD-2-Clause
/* poll, select and epoll, over sockets and other descriptors in one set. */
#include "app.h"

static char buf[4096];

/* In an order that does not depend on chance. */
static int by_data(const void *a, const void *b)
{
	const struct epoll_event *x = a, *y = b;

	return x->data.u64 < y->data.u64 ? -1 : x->data.u64 > y->data.u64;
}

/* An epoll_wait() that does not wait adds what it finds to the @n events there are. */
static int more(int ep, struct epoll_event *ev, int n)
{
	struct epoll_event got[16];
	int k = epoll_wait(ep, got, 16, 0);

	for (int i = 0; i < k; i++) {
		int at = 0;

		while (at < n && ev[at].data.u64 != got[i].data.u64)
			at++;
		if (at == n)
			ev[n++] = got[i];
	}
	return n;
}

/*
 * What epoll_wait() finds. With @all, of a set that has several kinds of descriptors ready: not all
 * kinds need to be reported at once.
 */
static int wait_for(int ep, int max, int timeout, bool all)
{
	struct epoll_event ev[64];
	int n = epoll_wait(ep, ev, max, timeout);

	if (n < 0)
		printf("epoll_wait = %d %s", n, strerrorname_np(errno));
	for (int i = 0; i < 40 && all && n > 0 && n < 16; i++)
		n = more(ep, ev, n);
	qsort(ev, n > 0 ? (size_t)n : 0, sizeof(ev[0]), by_data);
	if (n >= 0)
		printf("epoll_wait = %d", n);
	for (int i = 0; i < n; i++)
		printf(" [%llu: %x]", (unsigned long long)ev[i].data.u64, ev[i].events);
	printf("\n");
	return n;
}

static int wait_show(int ep, int max, int timeout)
{
	return wait_for(ep, max, timeout, false);
}

static int add(int ep, int op, int fd, uint32_t events, uint64_t data)
{
	struct epoll_event ev = {.events = events, .data.u64 = data};

	return epoll_ctl(ep, op, fd, &ev);
}

/* Until the peer's echo of it is here. */
static void ping(int fd, const char *s)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	if (write(fd, s, strlen(s)) < 0 || poll(&p, 1, 5000) != 1)
		printf("no echo\n");
}

static void polls(void)
{
	int fd = peer("echo"), fresh = socket(AF_INET, SOCK_STREAM, 0), pipes[2], l, ctl;
	struct pollfd p[5];

	TITLE("poll");
	T(pipe(pipes));
	l = listener(7400, 0);
	p[0] = (struct pollfd){fd, POLLIN | POLLOUT, 0};
	p[1] = (struct pollfd){fresh, POLLIN | POLLOUT, 0};
	p[2] = (struct pollfd){pipes[0], POLLIN, 0};
	p[3] = (struct pollfd){-1, POLLIN, 0x55};
	p[4] = (struct pollfd){l, POLLIN, 0};
#define SHOW()                                                                                     \
	printf("%x %x %x %x %x\n", p[0].revents, p[1].revents, p[2].revents, p[3].revents,         \
	       p[4].revents)
	T(poll(p, 5, 0));
	SHOW();
	ping(fd, "x");
	T(write(pipes[1], "y", 1));
	ctl = peer("connect 7400 1 hello");
	ready(l, POLLIN);
	T(poll(p, 5, -1));
	SHOW();
	p[0].events = POLLIN | POLLRDHUP;
	T(shutdown(fd, SHUT_WR));
	T(read(fd, buf, 10));
	T(poll(p, 1, 5000));
	SHOW();
	p[1].fd = 12345;
	T(poll(p, 5, 1000));
	SHOW();
	T(poll(p + 3, 1, 10));
	close(fd);
	T(poll(p, 1, 0));
	SHOW();
	close(ctl);
	close(l);
	close(fresh);
	close(pipes[0]);
	close(pipes[1]);
}

static void selects(void)
{
	int fd = peer("echo"), pipes[2];
	struct timeval tv = {0, 50000};
	fd_set in, out;

	TITLE("select");
	T(pipe(pipes));
	FD_ZERO(&in);
	FD_ZERO(&out);
	FD_SET(fd, &in);
	FD_SET(pipes[0], &in);
	T(select(pipes[0] + 1, &in, NULL, NULL, &tv));
	printf("%d %d, time left %d\n", FD_ISSET(fd, &in), FD_ISSET(pipes[0], &in),
	       tv.tv_usec != 0);
	FD_SET(fd, &in);
	FD_SET(pipes[0], &in);
	FD_SET(fd, &out);
	T(write(pipes[1], "x", 1));
	T(select(pipes[0] + 1, &in, &out, NULL, NULL));
	printf("%d %d %d\n", FD_ISSET(fd, &in), FD_ISSET(pipes[0], &in), FD_ISSET(fd, &out));
	ping(fd, "abc");
	FD_SET(fd, &in);
	T(pselect(fd + 1, &in, NULL, NULL, &(struct timespec){1, 0}, NULL));
	printf("%d\n", FD_ISSET(fd, &in));
	close(fd);
	FD_SET(fd, &in);
	T(select(fd + 1, &in, NULL, NULL, &tv));
	close(pipes[0]);
	close(pipes[1]);
}

static void levels(void)
{
	int ep = epoll_create1(EPOLL_CLOEXEC), fd = peer("echo"), efd = eventfd(0, 0), copy;
	int fresh = socket(AF_INET, SOCK_STREAM, 0);

	TITLE("epoll");
	T(add(ep, EPOLL_CTL_MOD, fd, EPOLLIN, 1));
	T(add(ep, EPOLL_CTL_DEL, fd, EPOLLIN, 1));
	T(add(ep, EPOLL_CTL_ADD, fd, EPOLLIN, 1));
	T(add(ep, EPOLL_CTL_ADD, fd, EPOLLIN, 1));
	T(add(ep, 99, fd, EPOLLIN, 1));
	T(add(ep, EPOLL_CTL_ADD, 12345, EPOLLIN, 1));
	T(add(fd, EPOLL_CTL_ADD, ep, EPOLLIN, 1));
	T(add(ep, EPOLL_CTL_ADD, efd, EPOLLIN, 2));
	T(add(ep, EPOLL_CTL_ADD, ep, EPOLLIN, 2));
	wait_show(ep, 16, 0);
	wait_show(ep, 16, 20);
	wait_show(ep, 0, 20);
	wait_show(fd, 16, 0); /* no instance */
	ping(fd, "abc");
	wait_show(ep, 16, -1);
	wait_show(ep, 16, 0); /* level: still there */
	T(read(fd, buf, 1));
	wait_show(ep, 16, 0);
	T(read(fd, buf, 10));
	wait_show(ep, 16, 0);
	T(write(efd, "\1\0\0\0\0\0\0\0", 8));
	wait_show(ep, 16, -1);
	ping(fd, "d");
	wait_for(ep, 16, -1, true);
	T(add(ep, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLOUT, 11));
	wait_for(ep, 16, -1, true);
	T(add(ep, EPOLL_CTL_ADD, fresh, EPOLLIN | EPOLLOUT, 3));
	wait_for(ep, 16, -1, true);
	T(add(ep, EPOLL_CTL_DEL, fresh, 0, 0));
	copy = dup(fd);
	T(add(ep, EPOLL_CTL_MOD, fd, EPOLLIN, 1));
	T(add(ep, EPOLL_CTL_DEL, efd, 0, 0));
	T(close(fd));
	wait_show(ep, 16, -1); /* the copy keeps it there */
	T(close(copy));
	wait_show(ep, 16, 0);
	T(close(ep));
	T(close(efd));
	T(close(fresh));
}

static void edges(void)
{
	int ep = epoll_create1(0), fd = peer("echo");

	TITLE("epoll, edge");
	T(add(ep, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, 1));
	wait_show(ep, 16, 0);
	wait_show(ep, 16, 20);
	ping(fd, "abc");
	wait_show(ep, 16, -1);
	wait_show(ep, 16, 20);
	T(read(fd, buf, 1));
	wait_show(ep, 16, 20); /* what is left is no new event */
	T(add(ep, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLET, 2));
	wait_show(ep, 16, 20); /* but a modification is */
	wait_show(ep, 16, 20);
	T(add(ep, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLONESHOT, 3));
	wait_show(ep, 16, 20);
	wait_show(ep, 16, 20);
	ping(fd, "d");
	wait_show(ep, 16, 20);
	T(add(ep, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLONESHOT, 4));
	wait_show(ep, 16, 20);
	T(read(fd, buf, 10));
	T(add(ep, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLRDHUP, 5));
	wait_show(ep, 16, 0);
	T(shutdown(fd, SHUT_WR)); /* the echo server closes */
	wait_show(ep, 16, -1);
	T(close(fd));
	wait_show(ep, 16, 0);
	T(close(ep));
}

static void listening(void)
{
	int ep = epoll_create1(0), l = listener(7401, SOCK_NONBLOCK), ctl, c;

	TITLE("epoll, listening");
	T(add(ep, EPOLL_CTL_ADD, l, EPOLLIN | EPOLLEXCLUSIVE, 1));
	T(add(ep, EPOLL_CTL_MOD, l, EPOLLIN, 1));
	wait_show(ep, 16, 0);
	ctl = peer("connect 7401 2 hello");
	slurp(ctl, buf, 4);
	wait_show(ep, 16, -1);
	c = accept4(l, NULL, NULL, SOCK_NONBLOCK);
	T(c >= 0);
	T(fcntl(c, F_GETFL) & O_NONBLOCK);
	T(add(ep, EPOLL_CTL_ADD, c, EPOLLIN | EPOLLET, 2));
	ready(c, POLLIN);
	wait_show(ep, 16, -1);
	T(read(c, buf, 100));
	T(read(c, buf, 100));
	close(c);
	c = accept(l, NULL, NULL);
	T(c >= 0);
	T(fcntl(c, F_GETFL) & O_NONBLOCK);
	close(c);
	wait_show(ep, 16, 20);
	T(accept(l, NULL, NULL));
	close(l);
	close(ep);
	close(ctl);
}

static void nonblocking_connect(void)
{
	struct sockaddr_in good = sin_of(peer_addr, PEER_PORT), bad = sin_of(peer_addr, 9);
	struct sockaddr_in local = sin_of("127.0.0.1", 9);
	int ep = epoll_create1(0), fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0), e;
	socklen_t len = sizeof(e);

	TITLE("epoll, connecting");
	T(connect(fd, SA(good)));
	T(add(ep, EPOLL_CTL_ADD, fd, EPOLLOUT | EPOLLIN, 1));
	wait_show(ep, 16, -1);
	close(fd);
	/* Registered first, as nginx does it. */
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	T(add(ep, EPOLL_CTL_ADD, fd, EPOLLOUT | EPOLLIN | EPOLLRDHUP | EPOLLET, 2));
	wait_show(ep, 16, 0);
	T(connect(fd, SA(bad)));
	wait_show(ep, 16, -1);
	T(getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len));
	printf("SO_ERROR %s\n", strerrorname_np(e));
	close(fd);
	fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	T(add(ep, EPOLL_CTL_ADD, fd, EPOLLOUT | EPOLLIN, 3));
	T(connect(fd, SA(local)) < 0); /* becomes the kernel's, and stays registered */
	wait_show(ep, 16, -1);
	T(add(ep, EPOLL_CTL_MOD, fd, EPOLLIN, 4));
	T(close(fd));
	wait_show(ep, 16, 0);
	close(ep);
}

static void nested(void)
{
	int in = epoll_create1(0), out = epoll_create1(0), fd = peer("echo");
	struct pollfd p = {.fd = in, .events = POLLIN};

	TITLE("epoll in epoll");
	T(add(in, EPOLL_CTL_ADD, fd, EPOLLIN, 1));
	T(add(out, EPOLL_CTL_ADD, in, EPOLLIN, 2));
	T(poll(&p, 1, 0));
	wait_show(out, 16, 0);
	ping(fd, "x");
	wait_show(out, 16, 1000);
	T(poll(&p, 1, 1000));
	wait_show(in, 16, 0);
	T(read(fd, buf, 10));
	wait_show(out, 16, 0);
	T(poll(&p, 1, 0));
	close(fd);
	close(in);
	close(out);
}

void run(void)
{
	signal(SIGPIPE, SIG_IGN);
	polls();
	selects();
	levels();
	edges();
	listening();
	nonblocking_connect();
	nested();
}
