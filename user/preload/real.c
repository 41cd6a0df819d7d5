// SPDX-License-Identifier: BSD-2-Clause
/*
 * Libc's own functions. A pointer leads at first to a stub that looks all of them up, so that a
 * call from another library's constructor, before ours has run, works too. The library below
 * reaches them as
 * __wrap_NAME (ld --wrap).
 */
#include <dlfcn.h>
#include "shim.h"

static long missing(void)
{
	errno = ENOSYS;
	return -1;
}

static void resolve(void);

#define FIRST(type, name, params, args)                                                            \
	static type first_##name params                                                            \
	{                                                                                          \
		resolve();                                                                         \
		return real.name args;                                                             \
	}
#define FD_FIRST(type, name, params, args)                                                         \
	static type first_##name(int fd, UNWRAP params)                                            \
	{                                                                                          \
		resolve();                                                                         \
		return real.name(fd, UNWRAP args);                                                 \
	}
/* What follows is a word or nothing; to pass a word that is not there harms nothing. */
#define VARIADIC_FIRST(type, name, t2, n2)                                                         \
	static type first_##name(int fd, t2 n2, ...)                                               \
	{                                                                                          \
		va_list ap;                                                                        \
		void *arg;                                                                         \
                                                                                                   \
		va_start(ap, n2);                                                                  \
		arg = va_arg(ap, void *);                                                          \
		va_end(ap);                                                                        \
		resolve();                                                                         \
		return real.name(fd, n2, arg);                                                     \
	}

SOCKET_CALLS(FD_FIRST)
NAMING_CALLS(FD_FIRST)
SENDING_CALLS(FD_FIRST)
IO_CALLS(FD_FIRST)
VARIADIC_CALLS(VARIADIC_FIRST)
OTHER_CALLS(FIRST)

#define INIT(type, name, ...) .name = first_##name,
struct real real = {SOCKET_CALLS(INIT) NAMING_CALLS(INIT) SENDING_CALLS(INIT) IO_CALLS(INIT)
			    VARIADIC_CALLS(INIT) OTHER_CALLS(INIT)};

void *shim_libc(const char *name)
{
	void *p = dlsym(RTLD_NEXT, name);

	return p ? p : (void *)missing;
}

static void resolve(void)
{
#define LOOKUP(type, name, ...) *(void **)&real.name = shim_libc(#name);
	SOCKET_CALLS(LOOKUP)
	NAMING_CALLS(LOOKUP)
	SENDING_CALLS(LOOKUP)
	IO_CALLS(LOOKUP)
	VARIADIC_CALLS(LOOKUP)
	OTHER_CALLS(LOOKUP)
}

/* ---- for the library ---- */

#define WRAP(type, name, params, args)                                                             \
	type __wrap_##name params;                                                                 \
	type __wrap_##name params                                                                  \
	{                                                                                          \
		return real.name args;                                                             \
	}
#define FD_WRAP(type, name, params, args)                                                          \
	type __wrap_##name(int fd, UNWRAP params);                                                 \
	type __wrap_##name(int fd, UNWRAP params)                                                  \
	{                                                                                          \
		return real.name(fd, UNWRAP args);                                                 \
	}
#define VARIADIC_WRAP(type, name, t2, n2)                                                          \
	type __wrap_##name(int fd, t2 n2, ...);                                                    \
	type __wrap_##name(int fd, t2 n2, ...)                                                     \
	{                                                                                          \
		va_list ap;                                                                        \
		void *arg;                                                                         \
                                                                                                   \
		va_start(ap, n2);                                                                  \
		arg = va_arg(ap, void *);                                                          \
		va_end(ap);                                                                        \
		return real.name(fd, n2, arg);                                                     \
	}

SOCKET_CALLS(FD_WRAP)
NAMING_CALLS(FD_WRAP)
SENDING_CALLS(FD_WRAP)
IO_CALLS(FD_WRAP)
VARIADIC_CALLS(VARIADIC_WRAP)
OTHER_CALLS(WRAP)
