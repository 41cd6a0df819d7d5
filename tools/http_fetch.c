/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An HTTP/1.1 fetcher on libtandem: one URL once to a file, or many times over many
 * connections as a load. Bodies must come with a Content-Length (RFC 9112 §6.3).
 *
 * Exit code: 0 all responses were 2xx and whole; 1 some were not; 2 usage.
 */
#include <ctype.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include "tools/net.h"
#include "user/io/clock.h"

#define HEAD_MAX 16384u
#define BODY_BUF (256u << 10)

struct url {
	char host[64];
	uint16_t port;
	char path[1024];
};

struct conn {
	int fd;
	bool connecting, want_write;
	uint32_t sent;	   /* of the request */
	uint32_t head_len; /* bytes of the head so far; the body has begun once .in_body */
	bool in_body, keep_alive;
	uint64_t left; /* of the body */
	int status;
	char head[HEAD_MAX];
};

static const struct net *net = &net_tandem;
static struct url url;
static char request[2048];
static uint32_t request_len;
static FILE *out;
static int ep;
static uint64_t to_start = 1, active, ok, failed, bytes;
static char body[BODY_BUF];

static bool parse_url(const char *s, struct url *u)
{
	const char *host, *end, *colon;
	size_t n;

	if (strncmp(s, "http://", 7) != 0)
		return false;
	host = s + 7;
	end = host + strcspn(host, "/");
	colon = memchr(host, ':', (size_t)(end - host));
	n = (size_t)((colon ? colon : end) - host);
	if (n == 0 || n >= sizeof(u->host) || strlen(end) >= sizeof(u->path))
		return false;
	memcpy(u->host, host, n);
	u->host[n] = '\0';
	u->port = 80;
	if (colon) {
		char *stop;
		unsigned long p = strtoul(colon + 1, &stop, 10);

		if (stop != end || stop == colon + 1 || p == 0 || p > 65535)
			return false;
		u->port = (uint16_t)p;
	}
	strcpy(u->path, *end ? end : "/");
	return true;
}

static void watch(struct conn *c, int op)
{
	struct epoll_event ev = {.events = c->want_write ? EPOLLOUT : EPOLLIN, .data.ptr = c};

	net->epoll_ctl(ep, op, c->fd, &ev);
}

/* Begins the next request on an open connection. */
static void begin(struct conn *c)
{
	c->sent = 0;
	c->head_len = 0;
	c->in_body = false;
	c->status = 0;
	c->left = 0;
	if (!c->want_write) {
		c->want_write = true;
		watch(c, EPOLL_CTL_MOD);
	}
}

static bool dial(struct conn *c)
{
	c->fd = net_connect(net, url.host, url.port, SOCK_NONBLOCK);
	if (c->fd < 0) {
		fprintf(stderr, "http_fetch: %s:%u: %s\n", url.host, url.port, strerror(errno));
		return false;
	}
	c->connecting = true;
	c->want_write = true;
	c->sent = c->head_len = 0;
	c->in_body = false;
	watch(c, EPOLL_CTL_ADD);
	return true;
}

/* The request is over; the connection goes on with another one, or ends. */
static void finish(struct conn *c, const char *why)
{
	bool good = !why && c->status >= 200 && c->status < 300;

	if (!good)
		fprintf(stderr, "http_fetch: %s: %s %d\n", url.path, why ? why : "status", c->status);
	good ? ok++ : failed++;
	active--;
	if (to_start && !why && c->keep_alive) {
		to_start--;
		active++;
		begin(c);
		return;
	}
	net->close(c->fd);
	if (to_start) {
		to_start--;
		if (dial(c)) {
			active++;
			return;
		}
		failed++;
	}
	free(c);
}

static const char *header_value(const char *head, const char *name)
{
	size_t n = strlen(name);

	for (const char *p = strstr(head, "\r\n"); p; p = strstr(p + 2, "\r\n"))
		if (!strncasecmp(p + 2, name, n) && p[2 + n] == ':')
			return p + 3 + n + strspn(p + 3 + n, " \t");
	return NULL;
}

/* Reads the status line and the headers that matter. NULL, or what is wrong. */
static const char *parse_head(struct conn *c)
{
	const char *v;
	char *stop;

	if (strncmp(c->head, "HTTP/1.", 7) != 0 || !isdigit((unsigned char)c->head[7]) ||
	    c->head[8] != ' ')
		return "not an HTTP/1 response";
	c->status = atoi(c->head + 9);
	v = header_value(c->head, "Connection");
	c->keep_alive = c->head[7] != '0' && !(v && !strncasecmp(v, "close", 5));
	v = header_value(c->head, "Content-Length");
	if (!v)
		return "no Content-Length";
	c->left = strtoull(v, &stop, 10);
	return stop == v || *stop != '\r' ? "bad Content-Length" : NULL;
}

static bool take_body(struct conn *c, const char *p, size_t n)
{
	if (n > c->left)
		return false;
	if (out && fwrite(p, 1, n, out) != n) {
		perror("http_fetch: writing");
		exit(1);
	}
	bytes += n;
	c->left -= n;
	return true;
}

static void on_writable(struct conn *c)
{
	if (c->connecting) {
		int e = 0;
		socklen_t len = sizeof(e);

		net->getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &len);
		if (e) {
			c->status = 0;
			finish(c, strerror(e));
			return;
		}
		c->connecting = false;
	}
	while (c->sent < request_len) {
		ssize_t n = net->send(c->fd, request + c->sent, request_len - c->sent, MSG_NOSIGNAL);

		if (n < 0) {
			if (errno != EAGAIN && errno != EINTR)
				finish(c, strerror(errno));
			return;
		}
		c->sent += (uint32_t)n;
	}
	c->want_write = false;
	watch(c, EPOLL_CTL_MOD);
}

/* Reads some of the response. False: nothing more for now, or the request is over. */
static bool on_readable(struct conn *c)
{
	const char *why;
	ssize_t n;
	char *end;

	if (c->in_body) {
		n = net->recv(c->fd, body, c->left < BODY_BUF ? c->left : BODY_BUF, 0);
	} else {
		n = net->recv(c->fd, c->head + c->head_len, HEAD_MAX - 1 - c->head_len, 0);
	}
	if (n <= 0) {
		if (n == 0 || (errno != EAGAIN && errno != EINTR))
			finish(c, n ? strerror(errno) : "closed by the server");
		return false;
	}
	if (c->in_body) {
		take_body(c, body, (size_t)n);
	} else {
		c->head_len += (uint32_t)n;
		c->head[c->head_len] = '\0';
		end = strstr(c->head, "\r\n\r\n");
		if (!end) {
			if (c->head_len < HEAD_MAX - 1)
				return true;
			finish(c, "response head too long");
			return false;
		}
		why = parse_head(c);
		end += 4;
		if (!why && !take_body(c, end, (size_t)(c->head + c->head_len - end)))
			why = "more than the Content-Length";
		if (why) {
			finish(c, why);
			return false;
		}
		c->in_body = true;
	}
	if (c->left)
		return true;
	finish(c, NULL);
	return false;
}

static void run(uint32_t parallel)
{
	struct epoll_event ev[256];

	for (uint32_t i = 0; i < parallel && to_start; i++) {
		struct conn *c = calloc(1, sizeof(*c));

		if (!c) {
			perror("http_fetch");
			exit(1);
		}
		to_start--;
		if (dial(c)) {
			active++;
		} else {
			failed++;
			free(c);
		}
	}
	while (active) {
		int n = net->epoll_wait(ep, ev, 256, 60000);

		if (n == 0) {
			fprintf(stderr, "http_fetch: no progress in 60 s, %llu responses missing\n",
				(unsigned long long)(active + to_start));
			failed += active + to_start;
			return;
		}
		for (int i = 0; i < n; i++) {
			struct conn *c = ev[i].data.ptr;

			if (c->want_write)
				on_writable(c);
			else
				for (int round = 0; round < 16 && on_readable(c); round++)
					;
		}
	}
}

static void usage(FILE *f)
{
	fprintf(f, "usage: http_fetch [-o FILE] [-n COUNT] [--parallel N] [--range A-B] [--json]\n"
		   "       [--busy-poll US] [--kernel] http://ADDRESS[:PORT]/PATH\n");
}

/* False: it is too long. */
static bool request_build(const char *range)
{
	request_len = (uint32_t)snprintf(
		request, sizeof(request),
		"GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: tandem-fetch\r\n%s%s%s\r\n", url.path,
		url.host, range ? "Range: bytes=" : "", range ? range : "", range ? "\r\n" : "");
	return request_len < sizeof(request);
}

static void report(bool json, double s)
{
	fprintf(json ? stdout : stderr,
		json ? "{\"ok\":%llu,\"failed\":%llu,\"bytes\":%llu,\"seconds\":%.3f,"
		       "\"per_second\":%.1f,\"mbit_s\":%.1f}\n"
		     : "%llu responses, %llu failed, %llu bytes in %.3f s: %.1f/s, %.1f Mbit/s\n",
		(unsigned long long)ok, (unsigned long long)failed, (unsigned long long)bytes, s,
		(double)ok / s, (double)bytes * 8 / s / 1e6);
}

int main(int argc, char **argv)
{
	static const struct option opts[] = {
		{"parallel", required_argument, NULL, 'p'}, {"range", required_argument, NULL, 'r'},
		{"busy-poll", required_argument, NULL, 'b'}, {"kernel", no_argument, NULL, 'k'},
		{"json", no_argument, NULL, 'j'},	    {"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *file = NULL, *range = NULL;
	long parallel = 1, count = 1, busy = -1;
	bool json = false;
	struct mtime t0;
	double s;
	int o;

	while ((o = getopt_long(argc, argv, "o:n:", opts, NULL)) != -1) {
		switch (o) {
		case 'o': file = optarg; break;
		case 'n': count = arg_number("-n", optarg, 1, 1000000000); break;
		case 'p': parallel = arg_number("--parallel", optarg, 1, 100000); break;
		case 'r': range = optarg; break;
		case 'b': busy = arg_number("--busy-poll", optarg, 0, 1000000); break;
		case 'k': net = &net_kernel; break;
		case 'j': json = true; break;
		default: usage(o == 'h' ? stdout : stderr); return o == 'h' ? 0 : 2;
		}
	}
	if (optind != argc - 1 || !parse_url(argv[optind], &url)) {
		usage(stderr);
		return 2;
	}
	if (file && count > 1) {
		fprintf(stderr, "http_fetch: -o takes one response only (-n 1)\n");
		return 2;
	}
	if (!request_build(range)) {
		fprintf(stderr, "http_fetch: --range is too long\n");
		return 2;
	}
	raise_nofile();
	if (!net_start(net, (int)busy))
		return 1;
	out = !file ? NULL : !strcmp(file, "-") ? stdout : fopen(file, "wb");
	ep = net->epoll_create();
	if ((file && !out) || ep < 0) {
		perror(file ? file : "epoll");
		return 1;
	}
	to_start = (uint64_t)count;
	t0 = clock_now();
	run((uint32_t)parallel);
	s = (double)mtime_diff_ns(clock_now(), t0) / 1e9;
	if (out && fclose(out) != 0) {
		perror(file);
		return 1;
	}
	report(json, s);
	return failed ? 1 : 0;
}
