/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Many connections whose data somebody has to keep, for the tests of memory; every byte is
 *compared.
 *
 *	hoard hold [--addr A] [--port N] --conns N --bytes B [--kernel]
 *	hoard fill --addr A [--port N] --conns N --bytes B [--kernel]
 *
 * hold accepts and reads nothing until SIGUSR1, then all there is. When B bytes have come on each
 *of N connections it prints one line of JSON, and keeps them open. fill sends B bytes on each of
 *its N connections as fast as they are taken, says "open" and "sent" when that is so of all, and
 *keeps them open as well. Both until SIGTERM.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tools/net.h"

#define BLOCK 16384u

struct conn {
	int fd;
	uint32_t id; /* what its bytes depend on; the first four are this */
	uint64_t at; /* bytes that came, or went */
};

static const struct net *net = &net_tandem;
static const char *addr = "0.0.0.0";
static uint16_t port = 9000;
static uint32_t n_conns;
static uint64_t n_bytes;
static struct conn *conns;
static uint32_t n_open, n_done;
static uint64_t wrong;
static int ep;
static bool reading;
static uint8_t buf[BLOCK];
static volatile sig_atomic_t told_to_read, told_to_stop;

static void on_usr1(int sig)
{
	told_to_read = sig;
}

static void on_term(int sig)
{
	told_to_stop = sig;
}

static void die(const char *what)
{
	fprintf(stderr, "hoard: %s: %s\n", what, strerror(errno));
	exit(1);
}

static bool would_block(void)
{
	return errno == EAGAIN || errno == EINTR;
}

/* ---- what the bytes are ---- */

static uint64_t mix(uint64_t x)
{
	x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9ull;
	x = (x ^ x >> 27) * 0x94d049bb133111ebull;
	return x ^ x >> 31;
}

static uint8_t byte_at(uint32_t id, uint64_t at)
{
	if (at < sizeof(id))
		return (uint8_t)(id >> at * 8);
	return (uint8_t)(mix((uint64_t)id << 32 | at / 8) >> at % 8 * 8);
}

/* ---- hold ---- */

static void compare(struct conn *c, const uint8_t *p, size_t n)
{
	for (size_t i = 0; i < n; i++, c->at++) {
		if (c->at < sizeof(c->id))
			c->id |= (uint32_t)p[i] << c->at * 8;
		else
			wrong += p[i] != byte_at(c->id, c->at);
	}
}

static void take(struct conn *c)
{
	ssize_t n;

	while ((n = net->recv(c->fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		bool before = c->at < n_bytes;

		compare(c, buf, (size_t)n);
		n_done += before && c->at >= n_bytes;
	}
	if (n < 0 && would_block())
		return;
	/* An early end shows in what is missing. */
	net->epoll_ctl(ep, EPOLL_CTL_DEL, c->fd, NULL);
	if (n < 0)
		fprintf(stderr, "hoard: connection %u: %s\n", c->id, strerror(errno));
}

static void watch(struct conn *c, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = c};

	if (net->epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &ev) < 0)
		die("epoll_ctl");
}

static void accept_all(int lfd)
{
	int fd;

	while (n_open < n_conns && (fd = net_accept(net, lfd)) >= 0) {
		conns[n_open] = (struct conn){.fd = fd};
		if (reading)
			watch(&conns[n_open], EPOLLIN);
		n_open++;
	}
}

static void report(void)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < n_open; i++)
		sum += conns[i].at;
	printf("{\"connections\":%u,\"bytes\":%llu,\"wrong\":%llu}\n", n_open,
	       (unsigned long long)sum, (unsigned long long)wrong);
	fflush(stdout);
}

static void hold(void)
{
	struct epoll_event ev[512];
	bool said = false;
	int lfd;

	ep = net_server(net, addr, port, &lfd);
	if (ep < 0)
		exit(1);
	printf("ready\n");
	fflush(stdout);
	while (!told_to_stop) {
		int n = net->epoll_wait(ep, ev, 512, 100);

		for (int i = 0; i < n; i++) {
			if (ev[i].data.ptr)
				take(ev[i].data.ptr);
			else
				accept_all(lfd);
		}
		for (uint32_t i = 0; told_to_read && !reading && i < n_open; i++)
			watch(&conns[i], EPOLLIN);
		reading |= told_to_read != 0;
		if (n_done == n_conns && !said) {
			report();
			said = true;
		}
	}
	if (!said)
		report();
}

/* ---- fill ---- */

static void give(struct conn *c)
{
	while (c->at < n_bytes) {
		uint64_t left = n_bytes - c->at;
		size_t len = left < sizeof(buf) ? (size_t)left : sizeof(buf);
		ssize_t n;

		for (size_t i = 0; i < len; i++)
			buf[i] = byte_at(c->id, c->at + i);
		n = net->send(c->fd, buf, len, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (n < 0 && would_block())
			return;
		if (n < 0)
			die("send");
		c->at += (uint64_t)n;
	}
	net->epoll_ctl(ep, EPOLL_CTL_DEL, c->fd, NULL);
	n_done++;
}

static void fill(void)
{
	struct epoll_event ev[512];
	bool said = false;

	ep = net->epoll_create();
	if (ep < 0)
		die("epoll");
	for (; n_open < n_conns; n_open++) {
		struct conn *c = &conns[n_open];

		*c = (struct conn){.fd = net_connect(net, addr, port, 0), .id = n_open};
		if (c->fd < 0)
			die("connect");
		watch(c, EPOLLOUT);
		give(c);
	}
	printf("open\n");
	fflush(stdout);
	while (!told_to_stop) {
		int n = net->epoll_wait(ep, ev, 512, 100);

		for (int i = 0; i < n; i++)
			give(ev[i].data.ptr);
		if (n_done == n_conns && !said)
			printf("sent\n");
		fflush(stdout);
		said = n_done == n_conns;
	}
}

static void usage(FILE *f)
{
	fprintf(f, "usage: hoard hold|fill [--addr A] [--port N] --conns N --bytes B [--kernel]\n");
}

int main(int argc, char **argv)
{
	static const struct option opts[] = {
		{"addr", required_argument, NULL, 'a'},
		{"port", required_argument, NULL, 'p'},
		{"conns", required_argument, NULL, 'n'},
		{"bytes", required_argument, NULL, 'b'},
		{"kernel", no_argument, NULL, 'k'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		switch (c) {
		case 'a':
			addr = optarg;
			break;
		case 'p':
			port = (uint16_t)arg_number("--port", optarg, 1, 65535);
			break;
		case 'n':
			n_conns = (uint32_t)arg_number("--conns", optarg, 1, 1000000);
			break;
		case 'b':
			n_bytes = (uint64_t)arg_number("--bytes", optarg, 8, 1l << 40);
			break;
		case 'k':
			net = &net_kernel;
			break;
		default:
			usage(c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : 2;
		}
	}
	if (argc - optind != 1 || !n_conns || !n_bytes ||
	    (strcmp(argv[optind], "hold") != 0 && strcmp(argv[optind], "fill") != 0)) {
		usage(stderr);
		return 2;
	}
	raise_nofile();
	signal(SIGTERM, on_term);
	signal(SIGUSR1, on_usr1);
	conns = calloc(n_conns, sizeof(*conns));
	if (!conns)
		die("memory");
	if (!net_start(net, 0))
		return 1;
	if (argv[optind][0] == 'h')
		hold();
	else
		fill();
	return 0;
}
