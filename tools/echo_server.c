/* SPDX-License-Identifier: BSD-2-Clause */
/* An echo server (RFC 862) on libtandem: the smallest useful event loop over it. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tools/net.h"

#define BUF_SIZE 65536

/* What one connection could not send back yet. */
struct conn {
	int fd;
	uint32_t watched; /* EPOLLIN, or EPOLLOUT while .off < .len */
	size_t off, len;
	bool eof;
	char buf[BUF_SIZE];
};

static const struct net *net = &net_tandem;
static int ep;

static void conn_end(struct conn *c)
{
	net->close(c->fd);
	free(c);
}

static void conn_watch(struct conn *c)
{
	struct epoll_event ev = {.events = c->off < c->len ? EPOLLOUT : EPOLLIN, .data.ptr = c};

	if (ev.events == c->watched)
		return;
	net->epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev);
	c->watched = ev.events;
}

/* Reads and echoes until one side would block. False: the connection has ended. */
static bool conn_serve(struct conn *c)
{
	for (int round = 0; round < 64; round++) {
		ssize_t n;

		if (c->off == c->len) {
			if (c->eof)
				return false;
			n = net->recv(c->fd, c->buf, sizeof(c->buf), 0);
			if (n < 0)
				return errno == EAGAIN || errno == EINTR;
			c->eof = n == 0;
			c->off = 0;
			c->len = (size_t)n;
			continue;
		}
		n = net->send(c->fd, c->buf + c->off, c->len - c->off, MSG_NOSIGNAL);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR;
		c->off += (size_t)n;
	}
	return true;
}

static void accept_all(int lfd)
{
	int fd;

	while ((fd = net_accept(net, lfd)) >= 0) {
		struct epoll_event ev = {.events = EPOLLIN};
		struct conn *c = malloc(sizeof(*c));

		if (!c) {
			perror("connection refused");
			net->close(fd);
			continue;
		}
		c->fd = fd;
		c->off = c->len = 0;
		c->eof = false;
		c->watched = EPOLLIN;
		ev.data.ptr = c;
		if (net->epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0) {
			perror("epoll_ctl");
			conn_end(c);
		}
	}
}

static void loop(int lfd)
{
	struct epoll_event ev[256];

	for (;;) {
		int n = net->epoll_wait(ep, ev, 256, -1);

		if (n < 0 && errno != EINTR) {
			perror("epoll_wait");
			return;
		}
		for (int i = 0; i < n; i++) {
			struct conn *c = ev[i].data.ptr;

			if (!c)
				accept_all(lfd);
			else if (!conn_serve(c))
				conn_end(c);
			else
				conn_watch(c);
		}
	}
}

int main(int argc, char **argv)
{
	static const struct option opts[] = {
		{"addr", required_argument, NULL, 'a'}, {"port", required_argument, NULL, 'p'},
		{"busy-poll", required_argument, NULL, 'b'}, {"kernel", no_argument, NULL, 'k'},
		{"help", no_argument, NULL, 'h'}, {0},
	};
	const char *addr = "0.0.0.0";
	long port = 7, busy = -1;
	int c, lfd;

	while ((c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		switch (c) {
		case 'a': addr = optarg; break;
		case 'p': port = arg_number("--port", optarg, 1, 65535); break;
		case 'b': busy = arg_number("--busy-poll", optarg, 0, 1000000); break;
		case 'k': net = &net_kernel; break;
		default:
			fprintf(c == 'h' ? stdout : stderr,
				"usage: echo_server [--addr A] [--port N] [--busy-poll US] [--kernel]\n");
			return c == 'h' ? 0 : 2;
		}
	}
	if (!net_start(net, (int)busy))
		return 1;
	ep = net_server(net, addr, (uint16_t)port, &lfd);
	if (ep < 0)
		return 1;
	printf("listening on %s:%ld (%s)\n", addr, port, net->name);
	fflush(stdout);
	loop(lfd);
	return 1;
}
