/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The benchmark's program: one server and its clients, on libtandem or the kernel's sockets.
 *
 *	bench_app server [--addr A] [--port N] [--ports N]
 *	bench_app rr     --addr A [--conns N] [--size B] [--seconds S]   request/response
 *	bench_app crr    --addr A [--conns N] [--size B] [--seconds S]   connect, request, close
 *	bench_app udp    --addr A [--conns N] [--size B] [--seconds S]   datagrams there and back
 *	bench_app send   --addr A [--seconds S]                          bulk, client to server
 *	bench_app recv   --addr A [--seconds S]                          bulk, server to client
 *	bench_app idle   --addr A --conns N [--ports N]                  opens and holds connections
 *
 * A client's first bytes on each connection (struct hello) say what the server shall do with it.
 * With --request TEXT (\r and \n as in C) and --reply N, rr talks to any other server whose reply
 * to that text is N bytes long: `rr --request 'get key\r\n' --reply 124` to memcached. Results are
 * one line of JSON on stdout.
 */
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include "tools/net.h"
#include "user/io/clock.h"

#define HELLO_MAGIC 0x74646268u
#define MAX_SIZE 65536u
#define BULK_SIZE (256u << 10)

enum mode { MODE_ECHO = 1, MODE_ECHO_ONCE, MODE_SINK, MODE_SOURCE, MODE_IDLE };

struct hello {
	uint32_t magic;
	uint32_t mode;
	uint32_t size;
};

struct options {
	const char *addr;
	uint16_t port;
	uint32_t ports, conns, size, seconds;
	int busy_poll;
	const char *request;
	uint32_t reply;
};

static const struct net *net = &net_tandem;
static struct options opt = {.addr = NULL,
			     .port = 9000,
			     .ports = 1,
			     .conns = 1,
			     .size = 64,
			     .seconds = 5,
			     .busy_poll = -1};
static char bulk[BULK_SIZE];
static char reply[MAX_SIZE];
static uint32_t send_size, recv_size; /* of an exchange */

static void die(const char *what)
{
	fprintf(stderr, "bench_app: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- latency histogram: 64 steps to each power of two of nanoseconds ---- */

#define HIST_STEPS 64
static uint64_t hist[64 * HIST_STEPS], hist_n, hist_sum;

static uint32_t hist_index(uint64_t ns)
{
	uint32_t shift;

	if (ns < HIST_STEPS)
		return (uint32_t)ns;
	shift = 63u - (uint32_t)__builtin_clzll(ns) - 6;
	return (shift + 1) * HIST_STEPS + (uint32_t)((ns >> shift) & (HIST_STEPS - 1));
}

static uint64_t hist_value(uint32_t i)
{
	uint32_t octave = i / HIST_STEPS;

	if (octave == 0)
		return i;
	return (uint64_t)(HIST_STEPS + i % HIST_STEPS) << (octave - 1);
}

static void hist_add(uint64_t ns)
{
	hist[hist_index(ns)]++;
	hist_n++;
	hist_sum += ns;
}

static double hist_quantile_us(double q)
{
	uint64_t want = (uint64_t)((double)hist_n * q), seen = 0;

	for (uint32_t i = 0; i < sizeof(hist) / sizeof(hist[0]); i++) {
		seen += hist[i];
		if (seen > want)
			return (double)hist_value(i) / 1000;
	}
	return 0;
}

static double cpu_seconds(void)
{
	struct rusage r;

	getrusage(RUSAGE_SELF, &r);
	return (double)r.ru_utime.tv_sec + (double)r.ru_stime.tv_sec +
	       ((double)r.ru_utime.tv_usec + (double)r.ru_stime.tv_usec) / 1e6;
}

static void report_rate(const char *mode, double seconds)
{
	printf("{\"mode\":\"%s\",\"stack\":\"%s\",\"conns\":%u,\"size\":%u,\"seconds\":%.3f,"
	       "\"count\":%llu,\"rate\":%.1f,\"avg_us\":%.2f,\"p50_us\":%.2f,\"p99_us\":%.2f,"
	       "\"cpu_s\":%.3f}\n",
	       mode, net->name, opt.conns, opt.size, seconds, (unsigned long long)hist_n,
	       (double)hist_n / seconds, hist_n ? (double)hist_sum / (double)hist_n / 1000 : 0,
	       hist_quantile_us(0.5), hist_quantile_us(0.99), cpu_seconds());
}

/* ---- server ---- */

struct conn {
	int fd;
	uint32_t watched;
	bool greeted;
	struct hello hello;
	uint32_t got;	  /* bytes of the hello, then of the request, received */
	uint32_t to_send; /* bytes of the response left */
};

/* What epoll_wait() gives: the address of a struct conn, a multiple of 4, or one of these. */
#define TAG_LISTENER 1u
#define TAG_IDLE 3u
#define TAG_UDP 2u
#define TAGGED(fd, tag) ((uint64_t)(uint32_t)(fd) << 2 | (tag))

static int ep;

static void conn_end(struct conn *c)
{
	net->close(c->fd);
	free(c);
}

static void conn_watch(struct conn *c, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = c};

	if (events == c->watched)
		return;
	net->epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev);
	c->watched = events;
}

/* An idle connection costs what the stack needs for it: the program keeps nothing. */
static void conn_let_rest(struct conn *c)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = TAGGED(c->fd, TAG_IDLE)};

	net->epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &ev);
	free(c);
}

static bool would_block(void)
{
	return errno == EAGAIN || errno == EINTR;
}

/* False: the connection has ended, or its client breaks the rules. */
static bool conn_greet(struct conn *c)
{
	ssize_t n = net->recv(c->fd, (char *)&c->hello + c->got, sizeof(c->hello) - c->got, 0);

	if (n <= 0)
		return n < 0 && would_block();
	c->got += (uint32_t)n;
	if (c->got < sizeof(c->hello))
		return true;
	c->got = 0;
	c->greeted = true;
	return c->hello.magic == HELLO_MAGIC && c->hello.size > 0 && c->hello.size <= MAX_SIZE;
}

static bool conn_echo(struct conn *c)
{
	for (;;) {
		ssize_t n;

		if (c->to_send) {
			n = net->send(c->fd, bulk, c->to_send, MSG_NOSIGNAL);
			if (n < 0) {
				conn_watch(c, EPOLLOUT);
				return would_block();
			}
			c->to_send -= (uint32_t)n;
			if (!c->to_send && c->hello.mode == MODE_ECHO_ONCE)
				return false;
			continue;
		}
		n = net->recv(c->fd, bulk, c->hello.size - c->got, 0);
		if (n <= 0) {
			conn_watch(c, EPOLLIN);
			return n < 0 && would_block();
		}
		c->got += (uint32_t)n;
		if (c->got < c->hello.size)
			continue;
		c->got = 0;
		c->to_send = c->hello.size;
	}
}

static bool conn_bulk(struct conn *c)
{
	for (int round = 0; round < 16; round++) {
		ssize_t n = c->hello.mode == MODE_SOURCE
				    ? net->send(c->fd, bulk, sizeof(bulk), MSG_NOSIGNAL)
				    : net->recv(c->fd, bulk, sizeof(bulk), 0);

		if (n <= 0)
			return n < 0 && would_block();
	}
	return true;
}

static bool conn_serve(struct conn *c)
{
	if (!c->greeted && !conn_greet(c))
		return false;
	if (!c->greeted)
		return true;
	switch (c->hello.mode) {
	case MODE_ECHO:
	case MODE_ECHO_ONCE:
		return conn_echo(c);
	case MODE_SOURCE:
		conn_watch(c, EPOLLOUT);
		return conn_bulk(c);
	case MODE_SINK:
		return conn_bulk(c);
	case MODE_IDLE:
		conn_let_rest(c);
		return true;
	default:
		return false;
	}
}

static void accept_all(int lfd)
{
	int one = 1, fd;

	while ((fd = net_accept(net, lfd)) >= 0) {
		struct epoll_event ev = {.events = EPOLLIN};
		struct conn *c = calloc(1, sizeof(*c));

		if (!c)
			die("connection record");
		net->setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		c->fd = fd;
		c->watched = EPOLLIN;
		ev.data.ptr = c;
		if (net->epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0)
			conn_end(c);
	}
}

static void idle_end(int fd)
{
	ssize_t n = net->recv(fd, bulk, sizeof(bulk), 0);

	if (!n || (n < 0 && !would_block()))
		net->close(fd);
}

/* Each datagram goes back to where it came from. */
static void udp_echo(int fd)
{
	struct sockaddr_in from;
	socklen_t len = sizeof(from);
	ssize_t n;

	for (int i = 0; i < 64; i++) {
		n = net->recvfrom(fd, bulk, sizeof(bulk), MSG_DONTWAIT, (struct sockaddr *)&from,
				  &len);
		if (n < 0)
			return;
		net->sendto(fd, bulk, (size_t)n, 0, (struct sockaddr *)&from, len);
	}
}

static _Noreturn void serve(void)
{
	struct epoll_event ev[512];

	for (;;) {
		int n = net->epoll_wait(ep, ev, 512, -1);

		if (n < 0 && errno != EINTR)
			die("epoll_wait");
		for (int i = 0; i < n; i++) {
			struct conn *c = ev[i].data.ptr;
			int fd = (int)(ev[i].data.u64 >> 2);

			if ((ev[i].data.u64 & 3) == TAG_LISTENER)
				accept_all(fd);
			else if ((ev[i].data.u64 & 3) == TAG_UDP)
				udp_echo(fd);
			else if ((ev[i].data.u64 & 3) == TAG_IDLE)
				idle_end(fd);
			else if (!conn_serve(c))
				conn_end(c);
		}
	}
}

static void serve_udp(void)
{
	int fd = net_datagram(net, opt.addr ? opt.addr : "0.0.0.0", NULL, opt.port, SOCK_NONBLOCK);
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = TAGGED(fd, TAG_UDP)};

	if (fd < 0 || net->epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0)
		die("UDP socket");
}

static int run_server(void)
{
	ep = net->epoll_create();
	if (ep < 0)
		die("epoll");
	serve_udp();
	for (uint32_t i = 0; i < opt.ports; i++) {
		int fd = net_listen(net, opt.addr ? opt.addr : "0.0.0.0", (uint16_t)(opt.port + i),
				    4096, SOCK_NONBLOCK);
		struct epoll_event le = {.events = EPOLLIN, .data.u64 = TAGGED(fd, TAG_LISTENER)};

		if (fd < 0 || net->epoll_ctl(ep, EPOLL_CTL_ADD, fd, &le) < 0)
			die("listen");
	}
	printf("ready\n");
	fflush(stdout);
	serve();
}

/* ---- clients ---- */

static int dial(enum mode mode, uint32_t port_index)
{
	struct hello h = {.magic = HELLO_MAGIC, .mode = mode, .size = opt.size};
	int fd = net_connect(net, opt.addr, (uint16_t)(opt.port + port_index), 0);
	/* Where a request follows at once, the greeting travels with it. */
	int more = mode == MODE_ECHO || mode == MODE_ECHO_ONCE ? MSG_MORE : 0;

	if (fd >= 0 && !opt.request &&
	    net->send(fd, &h, sizeof(h), MSG_NOSIGNAL | more) != sizeof(h)) {
		int e = errno;

		net->close(fd);
		errno = e;
		return -1;
	}
	return fd;
}

/* One exchange, blocking; the time that it took, ns. */
static uint64_t exchange(int fd)
{
	struct mtime t0 = clock_now();
	uint32_t got = 0;

	if (net->send(fd, bulk, send_size, MSG_NOSIGNAL) != (ssize_t)send_size)
		die("send");
	while (got < recv_size) {
		ssize_t n = net->recv(fd, reply, recv_size - got, 0);

		if (n <= 0)
			die(n ? "recv" : "server closed the connection");
		got += (uint32_t)n;
	}
	return mtime_diff_ns(clock_now(), t0);
}

static void rr_one(struct mtime end)
{
	int fd = dial(MODE_ECHO, 0);

	if (fd < 0)
		die("connect");
	while (mtime_before(clock_now(), end))
		hist_add(exchange(fd));
	net->close(fd);
}

struct client {
	int fd;
	uint32_t got;
	struct mtime sent;
};

static void rr_send(struct client *c)
{
	c->got = 0;
	c->sent = clock_now();
	if (net->send(c->fd, bulk, send_size, MSG_NOSIGNAL) != (ssize_t)send_size)
		die("send");
}

static void rr_recv(struct client *c)
{
	for (;;) {
		ssize_t n = net->recv(c->fd, reply, recv_size - c->got, MSG_DONTWAIT);

		if (n <= 0) {
			if (n < 0 && would_block())
				return;
			die(n ? "recv" : "server closed the connection");
		}
		c->got += (uint32_t)n;
		if (c->got == recv_size) {
			hist_add(mtime_diff_ns(clock_now(), c->sent));
			rr_send(c);
			return;
		}
	}
}

/* All of them, open and watched. */
static struct client *clients_open(int (*open_one)(void))
{
	struct client *cl = calloc(opt.conns, sizeof(*cl));

	ep = net->epoll_create();
	if (!cl || ep < 0)
		die("set-up");
	for (uint32_t i = 0; i < opt.conns; i++) {
		struct epoll_event e = {.events = EPOLLIN, .data.ptr = &cl[i]};

		cl[i].fd = open_one();
		if (cl[i].fd < 0 || net->epoll_ctl(ep, EPOLL_CTL_ADD, cl[i].fd, &e) < 0)
			die("connect");
	}
	return cl;
}

static void clients_close(struct client *cl)
{
	for (uint32_t i = 0; i < opt.conns; i++)
		net->close(cl[i].fd);
	free(cl);
}

static int rr_open(void)
{
	return dial(MODE_ECHO, 0);
}

static void rr_many(struct mtime end)
{
	struct client *cl = clients_open(rr_open);
	struct epoll_event ev[512];

	for (uint32_t i = 0; i < opt.conns; i++)
		rr_send(&cl[i]);
	while (mtime_before(clock_now(), end)) {
		int n = net->epoll_wait(ep, ev, 512, 1000);

		for (int i = 0; i < n; i++)
			rr_recv(ev[i].data.ptr);
	}
	clients_close(cl);
}

/* For as long as asked: @one with one connection, @many with more. */
static int run_exchanges(const char *mode, void (*one)(struct mtime), void (*many)(struct mtime))
{
	struct mtime t0 = clock_now();

	(opt.conns == 1 ? one : many)(mtime_add_ms(t0, opt.seconds * 1000ull));
	report_rate(mode, (double)mtime_diff_ns(clock_now(), t0) / 1e9);
	return 0;
}

/* What is sent in each exchange: the text given, or opt.size bytes of anything. */
static void exchange_set_up(void)
{
	send_size = recv_size = opt.size;
	if (!opt.request)
		return;
	recv_size = opt.reply;
	send_size = 0;
	for (const char *p = opt.request; *p && send_size < MAX_SIZE; p++) {
		char c = *p;

		if (c == '\\' && (p[1] == 'r' || p[1] == 'n'))
			c = *++p == 'r' ? '\r' : '\n';
		bulk[send_size++] = c;
	}
}

static int run_rr(void)
{
	return run_exchanges("rr", rr_one, rr_many);
}

/* One that does not come back in time is sent again: a loss must not end the measurement. */
static void udp_one(struct mtime end)
{
	struct timeval tv = {.tv_usec = 200000};
	int fd = net_datagram(net, NULL, opt.addr, opt.port, 0);

	if (fd < 0 || net->setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)))
		die("UDP socket");
	while (mtime_before(clock_now(), end)) {
		struct mtime t0 = clock_now();

		if (net->send(fd, bulk, opt.size, 0) < 0)
			die("send");
		if (net->recv(fd, reply, sizeof(reply), 0) == (ssize_t)opt.size)
			hist_add(mtime_diff_ns(clock_now(), t0));
		else if (!would_block())
			die("recv");
	}
	net->close(fd);
}

static void udp_send(struct client *c)
{
	c->sent = clock_now();
	if (net->send(c->fd, bulk, opt.size, 0) < 0)
		die("send");
}

static int udp_open(void)
{
	return net_datagram(net, NULL, opt.addr, opt.port, SOCK_NONBLOCK);
}

static void udp_recv(struct client *c)
{
	if (net->recv(c->fd, reply, sizeof(reply), 0) != (ssize_t)opt.size)
		return;
	hist_add(mtime_diff_ns(clock_now(), c->sent));
	udp_send(c);
}

static void udp_many(struct mtime end)
{
	struct client *cl = clients_open(udp_open);
	struct epoll_event ev[512];
	int n = 0;

	do {
		for (uint32_t i = 0; !n && i < opt.conns; i++)
			udp_send(&cl[i]);
		n = net->epoll_wait(ep, ev, 512, 200);
		for (int i = 0; i < n; i++)
			udp_recv(ev[i].data.ptr);
	} while (mtime_before(clock_now(), end));
	clients_close(cl);
}

static int run_udp(void)
{
	return run_exchanges("udp", udp_one, udp_many);
}

static int run_crr(void)
{
	struct mtime t0 = clock_now();
	struct mtime end = mtime_add_ms(t0, opt.seconds * 1000ull);
	char c;

	while (mtime_before(clock_now(), end)) {
		struct mtime t = clock_now();
		int fd = dial(MODE_ECHO_ONCE, 0);

		if (fd < 0)
			die("connect");
		exchange(fd);
		if (net->recv(fd, &c, 1, 0) != 0)
			die("expected the server's close");
		net->close(fd);
		hist_add(mtime_diff_ns(clock_now(), t));
	}
	report_rate("crr", (double)mtime_diff_ns(clock_now(), t0) / 1e9);
	return 0;
}

static int run_bulk(enum mode mode)
{
	int fd = dial(mode, 0);
	uint64_t bytes = 0;
	struct mtime t0, end;
	double s;

	if (fd < 0)
		die("connect");
	t0 = clock_now();
	end = mtime_add_ms(t0, opt.seconds * 1000ull);
	while (mtime_before(clock_now(), end)) {
		ssize_t n = mode == MODE_SINK ? net->send(fd, bulk, sizeof(bulk), MSG_NOSIGNAL)
					      : net->recv(fd, bulk, sizeof(bulk), 0);

		if (n <= 0)
			die(mode == MODE_SINK ? "send" : "recv");
		bytes += (uint64_t)n;
	}
	s = (double)mtime_diff_ns(clock_now(), t0) / 1e9;
	net->close(fd);
	printf("{\"mode\":\"%s\",\"stack\":\"%s\",\"seconds\":%.3f,\"bytes\":%llu,"
	       "\"mbit_s\":%.1f,\"cpu_s\":%.3f}\n",
	       mode == MODE_SINK ? "send" : "recv", net->name, s, (unsigned long long)bytes,
	       (double)bytes * 8 / s / 1e6, cpu_seconds());
	return 0;
}

static int run_idle(void)
{
	char c;

	for (uint32_t i = 0; i < opt.conns; i++) {
		int fd = dial(MODE_IDLE, i % opt.ports);

		if (fd < 0)
			die("connect");
	}
	printf("ready %u\n", opt.conns);
	fflush(stdout);
	while (read(STDIN_FILENO, &c, 1) > 0)
		;
	return 0;
}

static int run_send(void)
{
	return run_bulk(MODE_SINK);
}

static int run_recv(void)
{
	return run_bulk(MODE_SOURCE);
}

static const struct {
	const char *name;
	int (*run)(void);
	bool client;
} commands[] = {
	{"udp", run_udp, true},	  {"server", run_server, false}, {"rr", run_rr, true},
	{"crr", run_crr, true},	  {"send", run_send, true},	 {"recv", run_recv, true},
	{"idle", run_idle, true},
};

static void usage(FILE *f)
{
	fprintf(f, "usage: bench_app server|rr|crr|udp|send|recv|idle --addr A [--port N] [--ports "
		   "N]\n"
		   "       [--conns N] [--size BYTES] [--seconds S] [--busy-poll US] [--kernel]\n"
		   "       [--request TEXT --reply BYTES]: rr with another server\n");
}

static void parse_options(int argc, char **argv)
{
	static const struct option opts[] = {
		{"addr", required_argument, NULL, 'a'},
		{"port", required_argument, NULL, 'p'},
		{"ports", required_argument, NULL, 'P'},
		{"conns", required_argument, NULL, 'c'},
		{"size", required_argument, NULL, 's'},
		{"seconds", required_argument, NULL, 't'},
		{"busy-poll", required_argument, NULL, 'b'},
		{"kernel", no_argument, NULL, 'k'},
		{"request", required_argument, NULL, 'r'},
		{"reply", required_argument, NULL, 'R'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		switch (c) {
		case 'a':
			opt.addr = optarg;
			break;
		case 'p':
			opt.port = (uint16_t)arg_number("--port", optarg, 1, 65535);
			break;
		case 'P':
			opt.ports = (uint32_t)arg_number("--ports", optarg, 1, 1000);
			break;
		case 'c':
			opt.conns = (uint32_t)arg_number("--conns", optarg, 1, 1000000);
			break;
		case 's':
			opt.size = (uint32_t)arg_number("--size", optarg, 1, MAX_SIZE);
			break;
		case 't':
			opt.seconds = (uint32_t)arg_number("--seconds", optarg, 1, 86400);
			break;
		case 'b':
			opt.busy_poll = (int)arg_number("--busy-poll", optarg, 0, 1000000);
			break;
		case 'k':
			net = &net_kernel;
			break;
		case 'r':
			opt.request = optarg;
			break;
		case 'R':
			opt.reply = (uint32_t)arg_number("--reply", optarg, 1, MAX_SIZE);
			break;
		default:
			usage(c == 'h' ? stdout : stderr);
			exit(c == 'h' ? 0 : 2);
		}
	}
}

int main(int argc, char **argv)
{
	parse_options(argc, argv);
	for (size_t i = 0; optind < argc && i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (strcmp(argv[optind], commands[i].name) != 0)
			continue;
		if (commands[i].client && !opt.addr) {
			fprintf(stderr, "bench_app %s: --addr is needed\n", commands[i].name);
			return 2;
		}
		if (!opt.request != !opt.reply) {
			fprintf(stderr, "bench_app: --request and --reply go together\n");
			return 2;
		}
		exchange_set_up();
		raise_nofile();
		return net_start(net, opt.busy_poll) ? commands[i].run() : 1;
	}
	usage(stderr);
	return 2;
}
