// SPDX-License-Identifier: BSD-2-Clause
/* trace.h: the line. */
#include <string.h>
#include <netinet/in.h>
#include <arpa/inet.h>
#include "shim.h"

struct line {
	char text[256];
	size_t n;
};

static void put(struct line *l, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void put(struct line *l, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(l->text + l->n, sizeof(l->text) - l->n, fmt, ap);
	va_end(ap);
	if (n > 0)
		l->n += (size_t)n < sizeof(l->text) - l->n ? (size_t)n : sizeof(l->text) - l->n - 1;
}

/* The length stands behind the address: the value, or where it was put. */
static socklen_t length(const struct trace_arg *next)
{
	if (next->kind == TRACE_INT)
		return next->v > 0 ? (socklen_t)next->v : 0;
	return next->p ? *(const socklen_t *)next->p : 0;
}

static void put_addr(struct line *l, const void *p, socklen_t len)
{
	struct sockaddr_in6 a = {0};
	const struct sockaddr_in *sin = (const struct sockaddr_in *)(const void *)&a;
	char text[INET6_ADDRSTRLEN];

	memcpy(&a, p, len < sizeof(a) ? len : sizeof(a));
	if (a.sin6_family == AF_INET && len >= sizeof(*sin))
		put(l, ", %s:%u", inet_ntop(AF_INET, &sin->sin_addr, text, sizeof(text)),
		    ntohs(sin->sin_port));
	else if (a.sin6_family == AF_INET6 && len >= sizeof(a))
		put(l, ", [%s]:%u", inet_ntop(AF_INET6, &a.sin6_addr, text, sizeof(text)),
		    ntohs(a.sin6_port));
	else
		put(l, ", {family %d}", a.sin6_family);
}

static void put_arg(struct line *l, const struct trace_arg *a, bool last, long r)
{
	bool addr = a->kind == TRACE_ADDR || (a->kind == TRACE_ADDR_OUT && r >= 0);

	if (addr && a->p && !last && length(a + 1))
		put_addr(l, a->p, length(a + 1));
	else if (a->kind == TRACE_INT)
		put(l, ", %ld", a->v);
	else if (a->p)
		put(l, ", %p", a->p);
	else
		put(l, ", NULL");
}

/* A call's result may be a descriptor of the other stack: of a listener that has both. */
static const char *whose(const char *call, long r)
{
	return !strncmp(call, "accept", 6) && !is_sock(fd_get((int)r)) ? ", the kernel's" : "";
}

void trace_call(const char *call, int fd, const struct trace_arg *args, unsigned n, long r)
{
	int err = errno;
	struct line l = {.n = 0};

	put(&l, "%s(%d", call, fd);
	for (unsigned i = 0; i < n; i++)
		put_arg(&l, &args[i], i + 1 == n, r);
	if (r < 0)
		shim_note("%s) = %ld, %s", l.text, r, strerrorname_np(err));
	else
		shim_note("%s) = %ld%s", l.text, r, whose(call, r));
	errno = err;
}
