/* SPDX-License-Identifier: BSD-2-Clause */
/* The two tables behind net.h, and what every example program does at its start. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include "tools/net.h"

static int kernel_epoll_create(void)
{
	return epoll_create1(EPOLL_CLOEXEC);
}

const struct net net_kernel = {
	.name = "kernel",
	.socket = socket,
	.bind = bind,
	.listen = listen,
	.accept4 = accept4,
	.connect = connect,
	.recv = recv,
	.send = send,
	.recvfrom = recvfrom,
	.sendto = sendto,
	.sendfile = sendfile,
	.shutdown = shutdown,
	.close = close,
	.getsockopt = getsockopt,
	.setsockopt = setsockopt,
	.poll = poll,
	.epoll_create = kernel_epoll_create,
	.epoll_ctl = epoll_ctl,
	.epoll_wait = epoll_wait,
};

const struct net net_tandem = {
	.name = "tandem",
	.socket = tandem_socket,
	.bind = tandem_bind,
	.listen = tandem_listen,
	.accept4 = tandem_accept4,
	.connect = tandem_connect,
	.recv = tandem_recv,
	.send = tandem_send,
	.recvfrom = tandem_recvfrom,
	.sendto = tandem_sendto,
	.sendfile = tandem_sendfile,
	.shutdown = tandem_shutdown,
	.close = tandem_close,
	.getsockopt = tandem_getsockopt,
	.setsockopt = tandem_setsockopt,
	.poll = tandem_poll,
	.epoll_create = tandem_epoll_create,
	.epoll_ctl = tandem_epoll_ctl,
	.epoll_wait = tandem_epoll_wait,
};

const char *net_cc;

/* False, with errno: there is no such algorithm. */
static bool set_cc(const struct net *n, int fd)
{
	return !net_cc || n->setsockopt(fd, IPPROTO_TCP, TCP_CONGESTION, net_cc,
					(socklen_t)strlen(net_cc)) == 0;
}

static bool make_addr(const char *text, uint16_t port, struct sockaddr_in *out)
{
	*out = (struct sockaddr_in){.sin_family = AF_INET, .sin_port = htons(port)};
	if (inet_pton(AF_INET, text, &out->sin_addr) == 1)
		return true;
	errno = EINVAL;
	return false;
}

/* Closes what is of no use; -1, with errno as it was. */
static int give_up(const struct net *n, int fd)
{
	int e = errno;

	n->close(fd);
	errno = e;
	return -1;
}

int net_datagram(const struct net *n, const char *local, const char *peer, uint16_t port, int flags)
{
	int fd, r;
	struct sockaddr_in sa;

	if (!make_addr(peer ? peer : local, port, &sa))
		return -1;
	fd = n->socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | flags, 0);
	if (fd < 0)
		return -1;
	r = peer ? n->connect(fd, (struct sockaddr *)&sa, sizeof(sa))
		 : n->bind(fd, (struct sockaddr *)&sa, sizeof(sa));
	return r ? give_up(n, fd) : fd;
}

/* A stream socket, its address in @sa; -1 and errno. */
static int stream(const struct net *n, const char *addr, uint16_t port, int flags,
		  struct sockaddr_in *sa)
{
	if (!make_addr(addr, port, sa))
		return -1;
	return n->socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | flags, 0);
}

int net_listen(const struct net *n, const char *addr, uint16_t port, int backlog, int flags)
{
	struct sockaddr_in sa;
	int one = 1, fd = stream(n, addr, port, flags, &sa);

	if (fd < 0)
		return -1;
	n->setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (!set_cc(n, fd) || n->bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 ||
	    n->listen(fd, backlog) < 0)
		return give_up(n, fd);
	return fd;
}

int net_connect(const struct net *n, const char *addr, uint16_t port, int flags)
{
	struct sockaddr_in sa;
	int one = 1, fd = stream(n, addr, port, flags, &sa);

	if (fd < 0)
		return -1;
	n->setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	if (!set_cc(n, fd) ||
	    (n->connect(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0 && errno != EINPROGRESS))
		return give_up(n, fd);
	return fd;
}

int net_accept(const struct net *n, int lfd)
{
	int fd;

	do
		fd = n->accept4(lfd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	while (fd < 0 && (errno == EINTR || errno == ECONNABORTED));
	if (fd < 0 && errno != EAGAIN)
		perror("accept");
	return fd;
}

int net_server(const struct net *n, const char *addr, uint16_t port, int *lfd)
{
	struct epoll_event ev = {.events = EPOLLIN};
	int ep = n->epoll_create();

	*lfd = net_listen(n, addr, port, 4096, SOCK_NONBLOCK);
	if (ep >= 0 && *lfd >= 0 && !n->epoll_ctl(ep, EPOLL_CTL_ADD, *lfd, &ev))
		return ep;
	fprintf(stderr, "cannot listen on %s:%u: %s\n", addr, port, strerror(errno));
	return -1;
}

void raise_nofile(void)
{
	struct rlimit rl;

	if (getrlimit(RLIMIT_NOFILE, &rl))
		return;
	rl.rlim_cur = rl.rlim_max;
	setrlimit(RLIMIT_NOFILE, &rl);
}

bool net_start(const struct net *n, int busy_poll_us)
{
	signal(SIGPIPE, SIG_IGN);
	if (n != &net_tandem)
		return true;
	if (tandem_init(NULL) < 0) {
		fprintf(stderr, "cannot use tandem: %s (%s)\n", tandem_last_error(),
			strerror(errno));
		return false;
	}
	if (busy_poll_us >= 0)
		tandem_set_busy_poll((unsigned)busy_poll_us);
	return true;
}

long arg_number(const char *option, const char *text, long lo, long hi)
{
	char *end;
	long v;

	errno = 0;
	v = strtol(text, &end, 10);
	if (errno || end == text || *end || v < lo || v > hi) {
		fprintf(stderr, "%s: \"%s\" is not a whole number from %ld to %ld\n", option, text,
			lo, hi);
		exit(2);
	}
	return v;
}
