/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TANDEM_DEBUG: a line for each call on a socket of tandem's, arguments by their types. TRACE_ARGS((a, b))
 * makes an array's elements of a list of one to six arguments.
 */
#ifndef TANDEM_PRELOAD_TRACE_H
#define TANDEM_PRELOAD_TRACE_H

#include <sys/socket.h>

struct trace_arg {
	enum { TRACE_INT, TRACE_PTR, TRACE_ADDR, TRACE_ADDR_OUT } kind;
	long v;
	const void *p;
};

static inline struct trace_arg trace_int(long v)
{
	return (struct trace_arg){.kind = TRACE_INT, .v = v};
}

static inline struct trace_arg trace_ptr(const void *p)
{
	return (struct trace_arg){.kind = TRACE_PTR, .p = p};
}

/* Read only where they were given, and after a call that succeeded. */
static inline struct trace_arg trace_addr(__CONST_SOCKADDR_ARG a)
{
	return (struct trace_arg){.kind = TRACE_ADDR, .p = a.__sockaddr__};
}

static inline struct trace_arg trace_addr_out(__SOCKADDR_ARG a)
{
	return (struct trace_arg){.kind = TRACE_ADDR_OUT, .p = a.__sockaddr__};
}

/* clang-format off */
#define TRACE_ARG(x)                                                                               \
	_Generic((x), int: trace_int, unsigned: trace_int, long: trace_int,                        \
		 unsigned long: trace_int, __CONST_SOCKADDR_ARG: trace_addr,                       \
		 __SOCKADDR_ARG: trace_addr_out, default: trace_ptr)(x)
/* clang-format on */
#define TRACE_1(a) TRACE_ARG(a)
#define TRACE_2(a, ...) TRACE_ARG(a), TRACE_1(__VA_ARGS__)
#define TRACE_3(a, ...) TRACE_ARG(a), TRACE_2(__VA_ARGS__)
#define TRACE_4(a, ...) TRACE_ARG(a), TRACE_3(__VA_ARGS__)
#define TRACE_5(a, ...) TRACE_ARG(a), TRACE_4(__VA_ARGS__)
#define TRACE_6(a, ...) TRACE_ARG(a), TRACE_5(__VA_ARGS__)
#define TRACE_PICK(a, b, c, d, e, f, which, ...) which
#define TRACE_ARGS(...)                                                                            \
	TRACE_PICK(__VA_ARGS__, TRACE_6, TRACE_5, TRACE_4, TRACE_3, TRACE_2, TRACE_1, )            \
	(__VA_ARGS__)

/* @fd: the first argument. @r: the result, with errno. */
void trace_call(const char *call, int fd, const struct trace_arg *args, unsigned n, long r);

/* After a call @name(@fd, ...) = @r that SHIM_DO() does not make. */
#define TRACE(name, fd, r, ...)                                                                    \
	do {                                                                                       \
		if (shim_debug) {                                                                  \
			const struct trace_arg args_[] = {TRACE_ARGS(__VA_ARGS__)};                \
                                                                                                   \
			trace_call(name, fd, args_, ARRAY_SIZE(args_), (long)(r));                 \
		}                                                                                  \
	} while (0)

#endif
