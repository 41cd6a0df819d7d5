/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One connection, one way, every byte compared: what a link and two stacks make of it.
 *
 *	goodput send|recv --to ADDR|--listen ADDR [--port N] [--seconds S] [--kernel] [--cc NAME]
 *
 * The sender sends for --seconds, or until SIGTERM, then what it still holds, then FIN, and waits until
 * the receiver has closed too. The receiver counts what came within --seconds (the goodput) and in all, and
 * compares each byte with the sequence that both make. One line of JSON on stdout each; exit
 * status 0 where the connection ended in order and no byte was wrong.
 */
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "tools/net.h"
#include "tools/packet.h"
#include "user/io/clock.h"

#define BLOCK (64u << 10)

static const struct net *net = &net_tandem;
static const char *addr;
static uint16_t port = 9000;
static uint32_t seconds = 3;
static bool listens;
static volatile sig_atomic_t told_to_stop;

static void on_term(int sig)
{
	told_to_stop = sig;
}

static void die(const char *what)
{
	fprintf(stderr, "goodput: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* The next block of the sequence. */
static void fill(struct rng *r, uint64_t *block)
{
	for (uint32_t i = 0; i < BLOCK / sizeof(*block); i++)
		block[i] = rng_next(r);
}

static int open_connection(void)
{
	int lfd, fd;

	if (!listens) {
		fd = net_connect(net, addr, port, 0);
		if (fd < 0)
			die("connect");
		return fd;
	}
	lfd = net_listen(net, addr, port, 1, 0);
	if (lfd < 0)
		die("listen");
	printf("ready\n");
	fflush(stdout);
	fd = net->accept4(lfd, NULL, NULL, SOCK_CLOEXEC);
	if (fd < 0)
		die("accept");
	net->close(lfd);
	return fd;
}

static void report(const char *what, uint64_t bytes, uint64_t in_time, struct mtime start)
{
	printf("{\"mode\":\"%s\",\"stack\":\"%s\",\"bytes\":%llu,\"mbit_s\":%.3f,\"took_s\":%.3f}"
	       "\n",
	       what, net->name, (unsigned long long)bytes, (double)in_time * 8 / 1e6 / seconds,
	       (double)mtime_diff_ns(clock_now(), start) / 1e9);
}

static int run_send(void)
{
	static uint64_t block[BLOCK / sizeof(uint64_t)];
	int fd = open_connection();
	struct mtime start = clock_now(), end = mtime_add_ms(start, seconds * 1000ull);
	struct rng r = {0};
	uint64_t bytes = 0;
	uint32_t off = BLOCK;
	char c;

	signal(SIGTERM, on_term);
	while (!told_to_stop && mtime_before(clock_now(), end)) {
		ssize_t n;

		if (off == BLOCK) {
			fill(&r, block);
			off = 0;
		}
		n = net->send(fd, (char *)block + off, BLOCK - off, MSG_NOSIGNAL);
		if (n <= 0)
			die("send");
		off += (uint32_t)n;
		bytes += (uint64_t)n;
	}
	if (net->shutdown(fd, SHUT_WR) < 0)
		die("shutdown");
	if (net->recv(fd, &c, 1, 0) != 0)
		die("the receiver's FIN");
	net->close(fd);
	report("send", bytes, bytes, start);
	return 0;
}

static int run_recv(void)
{
	static uint64_t want[BLOCK / sizeof(uint64_t)];
	static char got[BLOCK];
	int fd = open_connection();
	struct mtime start = clock_now(), end = mtime_add_ms(start, seconds * 1000ull);
	struct rng r = {0};
	uint64_t bytes = 0, in_time = 0;
	uint32_t off = BLOCK;

	for (;;) {
		ssize_t n;

		if (off == BLOCK) {
			fill(&r, want);
			off = 0;
		}
		n = net->recv(fd, got, BLOCK - off, 0);
		if (n < 0)
			die("recv");
		if (n == 0)
			break;
		if (memcmp(got, (char *)want + off, (size_t)n) != 0) {
			fprintf(stderr, "goodput: wrong bytes between %llu and %llu\n",
				(unsigned long long)bytes, (unsigned long long)bytes + (uint64_t)n);
			return 1;
		}
		off += (uint32_t)n;
		bytes += (uint64_t)n;
		if (mtime_before(clock_now(), end))
			in_time = bytes;
	}
	net->close(fd);
	report("recv", bytes, in_time, start);
	return 0;
}

static void usage(FILE *f)
{
	fprintf(f, "usage: goodput send|recv --to ADDR|--listen ADDR [--port N] [--seconds S]\n"
		   "       [--kernel] [--cc NAME]\n");
}

int main(int argc, char **argv)
{
	static const struct option opts[] = {
		{"to", required_argument, NULL, 'a'},	{"listen", required_argument, NULL, 'l'},
		{"port", required_argument, NULL, 'p'}, {"seconds", required_argument, NULL, 't'},
		{"kernel", no_argument, NULL, 'k'},	{"cc", required_argument, NULL, 'c'},
		{"help", no_argument, NULL, 'h'},	{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		switch (c) {
		case 'l':
			listens = true; /* fall through */
		case 'a':
			addr = optarg;
			break;
		case 'p':
			port = (uint16_t)arg_number("--port", optarg, 1, 65535);
			break;
		case 't':
			seconds = (uint32_t)arg_number("--seconds", optarg, 1, 86400);
			break;
		case 'c':
			net_cc = optarg;
			break;
		case 'k':
			net = &net_kernel;
			break;
		default:
			usage(c == 'h' ? stdout : stderr);
			return c == 'h' ? 0 : 2;
		}
	}
	if (!addr || argc - optind != 1 ||
	    (strcmp(argv[optind], "send") != 0 && strcmp(argv[optind], "recv") != 0)) {
		usage(stderr);
		return 2;
	}
	if (!net_start(net, -1))
		return 1;
	return strcmp(argv[optind], "send") == 0 ? run_send() : run_recv();
}
