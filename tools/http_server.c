/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A static file server, HTTP/1.1 (RFC 9110, 9112), on libtandem: GET and HEAD, single byte
 * ranges, If-Modified-Since, keep-alive and pipelining, any number of connections in one thread.
 *
 * Files are opened below the root by openat2(RESOLVE_BENEATH): no path and no link leads out.
 */
#include <ctype.h>
#include <getopt.h>
#include <linux/openat2.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include "tools/net.h"

#define REQUEST_MAX 8192u
#define HEADER_MAX 1024u
#define SEND_PER_TURN (1u << 20) /* then the other connections have their turn */

struct conn {
	int fd;
	uint32_t watched;
	bool keep_alive;
	bool responding; /* .out and .file are to be sent before the next request is looked at */
	char *in;	 /* REQUEST_MAX bytes while a request is incomplete, else NULL */
	uint32_t in_len;
	uint32_t out_off, out_len;
	int file; /* -1: no body left */
	off_t pos;
	uint64_t left;
	char out[HEADER_MAX];
};

struct request {
	char *method, *target;
	bool http10, close, keep_alive;
	const char *range, *modified_since;
};

static const struct net *net = &net_tandem;
static int ep, root_fd;

/* ---- responses ---- */

static const char *content_type(const char *path)
{
	static const struct {
		const char *ext, *type;
	} types[] = {
		{".html", "text/html; charset=utf-8"}, {".htm", "text/html; charset=utf-8"},
		{".txt", "text/plain; charset=utf-8"}, {".css", "text/css"},
		{".js", "text/javascript"},	       {".json", "application/json"},
		{".png", "image/png"},		       {".jpg", "image/jpeg"},
		{".svg", "image/svg+xml"},	       {".pdf", "application/pdf"},
		{".gz", "application/gzip"},
	};
	const char *dot = strrchr(path, '.');

	for (size_t i = 0; dot && i < sizeof(types) / sizeof(types[0]); i++)
		if (!strcasecmp(dot, types[i].ext))
			return types[i].type;
	return "application/octet-stream";
}

static void http_date(char *buf, size_t len, time_t t)
{
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(buf, len, "%a, %d %b %Y %H:%M:%S GMT", &tm);
}

/* The status line and the headers that every response has; @extra ends each line with CRLF. */
static void respond(struct conn *c, const char *status, const char *extra, uint64_t length)
{
	char date[64];
	int n;

	http_date(date, sizeof(date), time(NULL));
	n = snprintf(c->out, sizeof(c->out),
		     "HTTP/1.1 %s\r\nServer: tandem-http\r\nDate: %s\r\nConnection: %s\r\n"
		     "Content-Length: %llu\r\n%s\r\n",
		     status, date, c->keep_alive ? "keep-alive" : "close",
		     (unsigned long long)length, extra);
	c->out_off = 0;
	c->out_len = (uint32_t)n;
	c->responding = true;
}

static void respond_error(struct conn *c, const char *status, bool fatal)
{
	if (fatal)
		c->keep_alive = false;
	respond(c, status, "Allow: GET, HEAD\r\n", 0);
}

/* "bytes=A-B", "bytes=A-", "bytes=-N" (RFC 9110 §14.1.2). 1: usable, 0: ignore, -1: 416. */
static int parse_range(const char *v, uint64_t size, uint64_t *from, uint64_t *len)
{
	char *end;
	uint64_t a, b;

	if (strncmp(v, "bytes=", 6) != 0 || strchr(v, ','))
		return 0;
	v += 6;
	if (*v == '-') {
		a = strtoull(v + 1, &end, 10);
		if (end == v + 1 || *end)
			return 0;
		if (a == 0 || size == 0)
			return -1;
		*len = a < size ? a : size;
		*from = size - *len;
		return 1;
	}
	if (!isdigit((unsigned char)*v))
		return 0;
	a = strtoull(v, &end, 10);
	if (*end++ != '-')
		return 0;
	b = size - 1;
	if (*end) {
		v = end;
		b = strtoull(v, &end, 10);
		if (*end || !isdigit((unsigned char)*v) || b < a)
			return 0;
	}
	if (a >= size)
		return -1;
	*from = a;
	*len = (b < size ? b : size - 1) - a + 1;
	return 1;
}

static void respond_file(struct conn *c, const struct request *r, const char *path, int fd,
			 const struct stat *st)
{
	uint64_t size = (uint64_t)st->st_size, from = 0, len = size;
	char extra[512], date[64], range[128] = "";
	const char *status = "200 OK";

	http_date(date, sizeof(date), st->st_mtime);
	if (r->modified_since && !strcmp(r->modified_since, date)) {
		close(fd);
		respond(c, "304 Not Modified", "", 0);
		return;
	}
	if (r->range) {
		int ok = parse_range(r->range, size, &from, &len);

		if (ok < 0) {
			close(fd);
			snprintf(extra, sizeof(extra), "Content-Range: bytes */%llu\r\n",
				 (unsigned long long)size);
			respond(c, "416 Range Not Satisfiable", extra, 0);
			return;
		}
		if (ok > 0) {
			status = "206 Partial Content";
			snprintf(range, sizeof(range), "Content-Range: bytes %llu-%llu/%llu\r\n",
				 (unsigned long long)from, (unsigned long long)(from + len - 1),
				 (unsigned long long)size);
		}
	}
	snprintf(extra, sizeof(extra),
		 "Content-Type: %s\r\nLast-Modified: %s\r\nAccept-Ranges: bytes\r\n%s",
		 content_type(path), date, range);
	respond(c, status, extra, len);
	if (!strcmp(r->method, "HEAD") || len == 0) {
		close(fd);
		return;
	}
	c->file = fd;
	c->pos = (off_t)from;
	c->left = len;
}

/* ---- requests ---- */

/* Decodes %XX in place and cuts the query off. False: malformed. */
static bool decode_target(char *s)
{
	char *o = s;

	for (; *s && *s != '?' && *s != '#'; s++, o++) {
		char hex[3] = {s[0] == '%' ? s[1] : 0, s[0] == '%' && s[1] ? s[2] : 0, 0};

		if (*s != '%') {
			*o = *s;
			continue;
		}
		if (!isxdigit((unsigned char)hex[0]) || !isxdigit((unsigned char)hex[1]))
			return false;
		*o = (char)strtol(hex, NULL, 16);
		if (!*o)
			return false;
		s += 2;
	}
	*o = '\0';
	return true;
}

static int open_beneath(const char *path)
{
	struct open_how how = {.flags = O_RDONLY | O_CLOEXEC | O_NONBLOCK,
			       .resolve = RESOLVE_BENEATH};

	return (int)syscall(SYS_openat2, root_fd, path, &how, sizeof(how));
}

static void handle_request(struct conn *c, const struct request *r)
{
	char path[1024];
	const char *rel = r->target;
	struct stat st;
	size_t len;
	int fd;

	if (strcmp(r->method, "GET") != 0 && strcmp(r->method, "HEAD") != 0) {
		respond_error(c, "405 Method Not Allowed", true);
		return;
	}
	if (*rel != '/' || !decode_target(r->target)) {
		respond_error(c, "400 Bad Request", true);
		return;
	}
	while (*rel == '/')
		rel++;
	len = strlen(rel);
	if ((size_t)snprintf(path, sizeof(path), "%s%s", *rel ? rel : "",
			     !len || rel[len - 1] == '/' ? "index.html" : "") >= sizeof(path)) {
		respond_error(c, "414 URI Too Long", false);
		return;
	}
	fd = open_beneath(path);
	if (fd < 0) {
		respond_error(c, errno == EACCES || errno == EXDEV ? "403 Forbidden"
				 : errno == EMFILE || errno == ENFILE ? "503 Service Unavailable"
								       : "404 Not Found", false);
		return;
	}
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		close(fd);
		respond_error(c, "404 Not Found", false);
		return;
	}
	respond_file(c, r, path, fd, &st);
}

static bool has_token(const char *list, const char *token)
{
	size_t n = strlen(token);

	for (const char *p = list; *p; p += strcspn(p, ","), p += strspn(p, ", \t"))
		if (!strncasecmp(p, token, n) && (p[n] == '\0' || p[n] == ',' || p[n] == ' '))
			return true;
	return false;
}

/* Parses the head that ends at @end (NUL-terminated lines are made of it). False: malformed. */
static bool parse_head(char *head, struct request *r)
{
	char *line = head, *next, *version;

	memset(r, 0, sizeof(*r));
	next = strstr(line, "\r\n");
	if (!next)
		return false;
	*next = '\0';
	r->method = line;
	r->target = strchr(line, ' ');
	if (!r->target)
		return false;
	*r->target++ = '\0';
	version = strchr(r->target, ' ');
	if (!version || strncmp(version + 1, "HTTP/1.", 7) != 0)
		return false;
	*version = '\0';
	r->http10 = version[8] == '0';
	for (line = next + 2; *line; line = next + 2) {
		char *value = strchr(line, ':');

		next = strstr(line, "\r\n");
		if (!next || !value || value > next)
			return false;
		*next = '\0';
		*value++ = '\0';
		value += strspn(value, " \t");
		if (!strcasecmp(line, "Range"))
			r->range = value;
		else if (!strcasecmp(line, "If-Modified-Since"))
			r->modified_since = value;
		else if (!strcasecmp(line, "Connection")) {
			r->close |= has_token(value, "close");
			r->keep_alive |= has_token(value, "keep-alive");
		} else if (!strcasecmp(line, "Content-Length") ? strcmp(value, "0") != 0
							       : !strcasecmp(line, "Transfer-Encoding"))
			return false; /* no method that we serve has a body */
	}
	return true;
}

/* Takes one whole request from the input, if there is one. */
static void next_request(struct conn *c)
{
	struct request r;
	char *end = c->in ? strstr(c->in, "\r\n\r\n") : NULL;
	uint32_t used;

	if (!end) {
		if (c->in_len == REQUEST_MAX - 1)
			respond_error(c, "431 Request Header Fields Too Large", true);
		return;
	}
	end[2] = '\0'; /* keeps the last header's CRLF */
	used = (uint32_t)(end + 4 - c->in);
	if (parse_head(c->in, &r)) {
		c->keep_alive = r.http10 ? r.keep_alive : !r.close;
		handle_request(c, &r);
	} else {
		respond_error(c, "400 Bad Request", true);
	}
	c->in_len -= used;
	memmove(c->in, c->in + used, c->in_len + 1);
	if (!c->in_len) {
		free(c->in);
		c->in = NULL;
	}
}

/* ---- connections ---- */

static void conn_end(struct conn *c)
{
	if (c->file >= 0)
		close(c->file);
	net->close(c->fd);
	free(c->in);
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

/* 1: all sent. 0: would block, or its turn is over. -1: the connection has ended. */
static int conn_send(struct conn *c)
{
	uint64_t budget = SEND_PER_TURN;

	while (c->out_off < c->out_len) {
		ssize_t n = net->send(c->fd, c->out + c->out_off, c->out_len - c->out_off,
				      MSG_NOSIGNAL | (c->file >= 0 ? MSG_MORE : 0));

		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -1;
		c->out_off += (uint32_t)n;
	}
	while (c->file >= 0) {
		uint64_t want = c->left < budget ? c->left : budget;
		ssize_t n;

		if (!want)
			return 0;
		n = net->sendfile(c->fd, c->file, &c->pos, want);
		if (n < 0)
			return errno == EAGAIN || errno == EINTR ? 0 : -1;
		if (n == 0)
			return -1; /* the file has shrunk: the length that we promised is not there */
		c->left -= (uint64_t)n;
		budget -= (uint64_t)n;
		if (!c->left) {
			close(c->file);
			c->file = -1;
		}
	}
	return 1;
}

/* 1: something was read. 0: would block. -1: ended. */
static int conn_recv(struct conn *c)
{
	ssize_t n;

	if (!c->in) {
		c->in = malloc(REQUEST_MAX);
		if (!c->in)
			return -1;
		c->in_len = 0;
	}
	n = net->recv(c->fd, c->in + c->in_len, REQUEST_MAX - 1 - c->in_len, 0);
	if (n > 0) {
		c->in_len += (uint32_t)n;
		c->in[c->in_len] = '\0';
		return 1;
	}
	if (!c->in_len) {
		free(c->in);
		c->in = NULL;
	}
	return n < 0 && (errno == EAGAIN || errno == EINTR) ? 0 : -1;
}

/* Runs the connection until it would block. False: it has ended. */
static bool conn_serve(struct conn *c)
{
	for (;;) {
		int r;

		if (c->responding) {
			r = conn_send(c);
			if (r <= 0) {
				conn_watch(c, EPOLLOUT);
				return r == 0;
			}
			c->responding = false;
			if (!c->keep_alive)
				return false;
		}
		if (c->in_len)
			next_request(c);
		if (c->responding)
			continue;
		r = conn_recv(c);
		if (r <= 0) {
			conn_watch(c, EPOLLIN);
			return r == 0;
		}
	}
}

static void accept_all(int lfd)
{
	int one = 1, fd;

	while ((fd = net_accept(net, lfd)) >= 0) {
		struct epoll_event ev = {.events = EPOLLIN};
		struct conn *c = calloc(1, sizeof(*c));

		if (!c) {
			perror("connection refused");
			net->close(fd);
			continue;
		}
		net->setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
		c->fd = fd;
		c->file = -1;
		c->watched = EPOLLIN;
		ev.data.ptr = c;
		if (net->epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0 || !conn_serve(c))
			conn_end(c);
	}
}

static void loop(int lfd)
{
	struct epoll_event ev[512];

	for (;;) {
		int n = net->epoll_wait(ep, ev, 512, -1);

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
		}
	}
}

int main(int argc, char **argv)
{
	static const struct option opts[] = {
		{"addr", required_argument, NULL, 'a'}, {"port", required_argument, NULL, 'p'},
		{"root", required_argument, NULL, 'r'}, {"busy-poll", required_argument, NULL, 'b'},
		{"kernel", no_argument, NULL, 'k'},	{"help", no_argument, NULL, 'h'},
		{0},
	};
	const char *addr = "0.0.0.0", *root = ".";
	long port = 8080, busy = -1;
	int o, lfd;

	while ((o = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		switch (o) {
		case 'a': addr = optarg; break;
		case 'p': port = arg_number("--port", optarg, 1, 65535); break;
		case 'r': root = optarg; break;
		case 'b': busy = arg_number("--busy-poll", optarg, 0, 1000000); break;
		case 'k': net = &net_kernel; break;
		default:
			fprintf(o == 'h' ? stdout : stderr,
				"usage: http_server [--addr A] [--port N] [--root DIR] "
				"[--busy-poll US] [--kernel]\n");
			return o == 'h' ? 0 : 2;
		}
	}
	root_fd = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0) {
		fprintf(stderr, "--root %s: %s\n", root, strerror(errno));
		return 1;
	}
	raise_nofile();
	if (!net_start(net, (int)busy))
		return 1;
	ep = net_server(net, addr, (uint16_t)port, &lfd);
	if (ep < 0)
		return 1;
	printf("serving %s on %s:%ld (%s)\n", root, addr, port, net->name);
	fflush(stdout);
	loop(lfd);
	return 1;
}
