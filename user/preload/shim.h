/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The shim's parts among themselves. Every descriptor has one entry in a table (table.c), an int:
 *	0                       the kernel's: the call is libc's
 *	TANDEM_FD_BASE upwards  a socket of tandem's, the entry is its handle
 *	1 ...                   an epoll instance, the entry is the number of its struct ep
 *	FD_PRIVATE              the engine's own; not there, as far as the program is concerned
 *	FD_UDP                  a UDP socket of the kernel's that may become tandem's (udp.c)
 * Several descriptors may have the same entry, after dup(). What stands behind a tandem socket's
 * descriptor in the kernel is a copy of one unconnected unix socket: it costs no socket, holds the
 * number, looks like a socket to fstat(), and fails whatever does not pass through the shim. Once
 *other processes may have it, it is a copy of one that stands for this socket (user/lib/share.c).
 */
#ifndef TANDEM_PRELOAD_SHIM_H
#define TANDEM_PRELOAD_SHIM_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <spawn.h>
#include <grp.h>
#include <sched.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "user/lib/shim.h"
#include "calls.h"
#include "trace.h"

#define PUBLIC __attribute__((visibility("default")))
#define likely(x) __builtin_expect(!!(x), 1)
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* ---- libc's own (real.c) ---- */

#define POINTER(type, name, params, args) type(*name) params;
#define FD_POINTER(type, name, params, args) type (*name)(int fd, UNWRAP params);
#define VARIADIC_POINTER(type, name, t2, n2) type (*name)(int fd, t2 n2, ...);
struct real {
	SOCKET_CALLS(FD_POINTER)
	NAMING_CALLS(FD_POINTER)
	SENDING_CALLS(FD_POINTER)
	IO_CALLS(FD_POINTER)
	VARIADIC_CALLS(VARIADIC_POINTER)
	OTHER_CALLS(POINTER)
};
extern struct real real;
/* Libc's function of that name. */
void *shim_libc(const char *name);

/* ---- the table (table.c) ---- */

#define FD_PRIVATE (-1)
#define FD_UDP (-2)
#define FD_CHUNK 1024u
#define FD_CHUNKS 1024u /* the kernel's fs.nr_open, unless somebody raises it */

typedef _Atomic int entry;
extern entry *_Atomic fd_chunks[FD_CHUNKS];

static inline int fd_get(int fd)
{
	unsigned c = (unsigned)fd / FD_CHUNK;

	if (c >= FD_CHUNKS)
		return 0;
	return atomic_load_explicit(
		&atomic_load_explicit(&fd_chunks[c], memory_order_relaxed)[(unsigned)fd % FD_CHUNK],
		memory_order_relaxed);
}

static inline bool is_sock(int e)
{
	return e >= TANDEM_FD_BASE;
}

static inline bool is_epoll(int e)
{
	return e > 0 && e < TANDEM_FD_BASE;
}

/* 0, or -1 and errno: EMFILE, ENOMEM; never for an entry of 0. */
int fd_set_entry(int fd, int e);
/* The next descriptor from @fd up to @last that has an entry, -1. */
int fd_next(int fd, int last);
/* A copy of the placeholder with entry @e, which counts as a use of it. -1 and errno. */
int fd_new(int e, bool cloexec);

/* What the shim knows of a handle. */
struct ext {
	_Atomic int refs; /* descriptors with this entry */
	/* The rest is dual.c's. */
	bool v6;	/* AF_INET6 to the program */
	bool any6;	/* bound to ::, as the kernel socket is */
	int kernel_fd1; /* the kernel's socket beside it, plus one; 0: none */
	bool udp;	/* the descriptors are a kernel socket's, beside which the handle stands */
};

struct ep {
	_Atomic int refs;
	_Atomic int
		handle; /* of the library's instance, 0 while there are only kernel descriptors */
	_Atomic int waiting; /* threads in the kernel's epoll_wait() */
	_Atomic bool kicked; /* the kick may be registered */
	int n_kernel;	     /* descriptors registered, while handle is 0; under ep_lock */
	int next_free;
};

struct ext *ext_get(int handle);
struct ep *ep_get(int e);
/* A new struct ep with one use; its entry, or -1 and errno. */
int ep_new(void);
/* Around fork(): locks that are held, given back, or made anew. */
enum fork_stage { FORK_PREPARE, FORK_PARENT, FORK_CHILD };
void fork_lock(pthread_mutex_t *m, enum fork_stage st);
void table_fork(enum fork_stage st);
void epoll_fork(enum fork_stage st);
void ref_entry(int e);
/* One use less; the last one closes the socket or the library's epoll instance. */
void unref_entry(int e);

/* ---- the process (shim.c) ---- */

extern bool shim_debug;
extern int shim_placeholder;
/* 1: attached, 0: not, but the kernel's sockets will do, -1 and errno (the user has been told). */
int shim_attach(void);
/* Not in a child of vfork(), which shares our memory but not our descriptors? */
bool shim_own_process(void);
long shim_raw_fork(long nr, long a, long b, long c, long e, long f); /* syscall(SYS_clone, ...) */
void confine(void); /* confine.c: before the process gives something up */
/* All sockets of ours can be found by who gets their numbers by fork, exec or in a message. */
void shim_share(void);
/* Is @fd, which came over exec or in a message, a socket of tandem's? It has its entry then. */
bool shim_adopt(int fd);
/* Is it, in the kernel, one that stands for a socket of tandem's? */
bool shim_is_share(int fd);
/* A stream over a socket: libc's own would not pass through here. */
FILE *shim_stream(int fd, const char *mode);
/* close() as the program has it: the name itself leads to libc from in here. */
int shim_close(int fd);
void shim_note(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/*
 * A traced call that is not to be cancelled half-way (user/lib/cancel.c). What follows @call: the
 * arguments, for the trace.
 */
#define SHIM_DO(type, name, fd, call, ...)                                                         \
	({                                                                                         \
		struct lib_call outer_;                                                            \
		type r_;                                                                           \
                                                                                                   \
		do {                                                                               \
			lib_call_begin(&outer_);                                                   \
			r_ = (call);                                                               \
		} while (lib_call_again(&outer_, r_ == (type)-1));                                 \
		if (shim_debug) {                                                                  \
			const struct trace_arg args_[] = {TRACE_ARGS(__VA_ARGS__)};                \
                                                                                                   \
			trace_call(name, fd, args_, ARRAY_SIZE(args_), (long)r_);                  \
		}                                                                                  \
		r_;                                                                                \
	})

/* on_NAME(entry, fd, ...), kept out of the way of libc's. */
#define OURS(type, name, params, args)                                                             \
	static __attribute__((noinline)) type ours_##name(int e, int fd, UNWRAP params)            \
	{                                                                                          \
		return SHIM_DO(type, #name, fd, on_##name(e, fd, UNWRAP args), UNWRAP args);       \
	}

/* The intercept of a call on a descriptor. */
#define FD_INTERCEPT(type, name, params, args)                                                     \
	OURS(type, name, params, args)                                                             \
	PUBLIC type name(int fd, UNWRAP params)                                                    \
	{                                                                                          \
		int e = fd_get(fd);                                                                \
                                                                                                   \
		if (likely(!is_sock(e)))                                                           \
			return real.name(fd, UNWRAP args);                                         \
		return ours_##name(e, fd, UNWRAP args);                                            \
	}

/* ---- AF_INET6 (dual.c) ---- */

/* A socket of the kernel's can be had? Else -1 and errno, as socket() says it. */
int v6_available(void);
/* What a new handle's struct ext begins with. @v6: its family. */
void v6_begin(int h, bool v6);
/* The handle goes: so does the kernel's socket. */
void v6_end(int h);
int v6_bind(int h, int fd, const struct sockaddr *addr, socklen_t len);
int v6_listen(int h, int fd, int backlog);
int v6_connect(int h, int fd, const struct sockaddr *addr, socklen_t len);
/* tandem_accept4(), with the address in the program's family. */
int v6_accept(int h, struct sockaddr *addr, socklen_t *len, int flags);
int v6_name(int h, bool peer, struct sockaddr *addr, socklen_t *len);
int v6_getsockopt(int h, int level, int name, void *val, socklen_t *len);
int v6_setsockopt(int h, int level, int name, const void *val, socklen_t len);
/* A kernel socket to take @h's place, which the caller closes. -1 and errno. */
int v6_kernel_socket(int h);

/* The socket @h with descriptor @fd becomes the kernel's. 0, or -1 and errno: it is as it was. */
int to_kernel(int h, int fd, const char *why);
/* Nothing but bind() may have happened to a socket that changes sides. */
bool may_leave(int h);

/* The same for a call by which a UDP socket of the kernel's may become tandem's. */
#define NAMING_INTERCEPT(type, name, params, args)                                                 \
	OURS(type, name, params, args)                                                             \
	PUBLIC type name(int fd, UNWRAP params)                                                    \
	{                                                                                          \
		int e = fd_get(fd);                                                                \
                                                                                                   \
		if (!likely(e != FD_UDP))                                                          \
			e = udp_by_##name(fd, UNWRAP args);                                        \
		if (likely(!is_sock(e)))                                                           \
			return real.name(fd, UNWRAP args);                                         \
		return ours_##name(e, fd, UNWRAP args);                                            \
	}

/* ---- UDP (udp.c) ---- */

/*
 * @fd, of entry FD_UDP, is about to be used with the address @addr (NULL: none): the entry that it
 * has from here on.
 */
int udp_named(int fd, const struct sockaddr *addr, socklen_t len);
/* @fd is about to be waited for together with others. */
int udp_watched(int fd);

/* ---- who serves an address (route.c) ---- */

enum server { BY_TANDEM, BY_KERNEL };
enum server route_local(const struct sockaddr_in *sin); /* a local address, for bind() */
enum server route_remote(const struct sockaddr_in *sin);

/* socket.c */
int fastopen_leaves(int h, int fd, const struct sockaddr *addr, socklen_t len);

#endif
