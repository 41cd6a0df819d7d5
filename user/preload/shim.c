// SPDX-License-Identifier: BSD-2-Clause
/*
 * The shim in its process: attaching at the first socket that needs it, the placeholder, what the
 * user is told, and children. Environment: TANDEM_NAME and TANDEM_BUSY_POLL are the library's;
 * TANDEM_FALLBACK=kernel and TANDEM_DEBUG are read here.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "shim.h"

/* Beside the engine's (user/lib/engine.c). */
#define PRIVATE_FDS 960

bool shim_debug;
static bool fall_back;
static pid_t own_pid;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic enum { FRESH, ATTACHED, REFUSED } state;
int shim_placeholder = -1;

bool shim_own_process(void)
{
	return getpid() == own_pid;
}

/* ---- messages ---- */

static void say(const char *fmt, va_list ap)
{
	char buf[512];
	int saved = errno, n = snprintf(buf, sizeof(buf), "tandem[%d]: ", (int)getpid());

	n += vsnprintf(buf + n, sizeof(buf) - (size_t)n - 1, fmt, ap);
	if (n > (int)sizeof(buf) - 2)
		n = (int)sizeof(buf) - 2;
	buf[n++] = '\n';
	if (real.write(STDERR_FILENO, buf, (size_t)n) < 0)
		errno = saved;
	errno = saved;
}

void shim_note(const char *fmt, ...)
{
	va_list ap;

	if (!shim_debug)
		return;
	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}

void shim_trace(const char *call, int fd, long r)
{
	if (r < 0)
		shim_note("%s(%d) = %ld, %s", call, fd, r, strerrorname_np(errno));
	else
		shim_note("%s(%d) = %ld", call, fd, r);
}

static void complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}

/* ---- attaching ---- */

static void keep_private(int fd)
{
	fd_set_entry(fd, FD_PRIVATE);
}

static int make_placeholder(void)
{
	int fd, high;

	if (shim_placeholder >= 0)
		return 0;
	fd = real.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	high = real.fcntl(fd, F_DUPFD_CLOEXEC, PRIVATE_FDS);
	if (high >= 0)
		real.close(fd);
	shim_placeholder = high >= 0 ? high : fd;
	keep_private(shim_placeholder);
	return 0;
}

static int attach_locked(void)
{
	static bool told;
	int err;

	if (!make_placeholder() && !tandem_init(NULL)) {
		state = ATTACHED;
		shim_note("attached");
		return 1;
	}
	err = errno;
	if (fall_back) {
		shim_note("not attached, the kernel's sockets it is: %s", tandem_last_error());
		state = REFUSED;
		return 0;
	}
	if (!told)
		complain("%s", *tandem_last_error() ? tandem_last_error() : strerror(err));
	told = true;
	errno = err;
	return -1;
}

int shim_attach(void)
{
	int r;

	if (likely(state != FRESH))
		return state == ATTACHED;
	pthread_mutex_lock(&lock);
	r = state == FRESH ? attach_locked() : state == ATTACHED;
	pthread_mutex_unlock(&lock);
	return r;
}

int fd_new(int e, bool cloexec)
{
	int fd = real.fcntl(shim_placeholder, cloexec ? F_DUPFD_CLOEXEC : F_DUPFD, 0), err;

	if (fd < 0)
		return -1;
	if (!fd_set_entry(fd, e)) {
		ref_entry(e);
		return fd;
	}
	err = errno;
	real.close(fd);
	errno = err;
	return -1;
}

/* ---- beginning, and children ---- */

static void forked(void)
{
	pthread_mutex_init(&lock, NULL);
	own_pid = getpid();
	/* The library closes the child's copies of the engine's descriptors (eng_forked()). */
	for (int fd = fd_next(0, INT32_MAX); fd >= 0; fd = fd_next(fd + 1, INT32_MAX))
		if (fd_get(fd) == FD_PRIVATE && fd != shim_placeholder)
			fd_set_entry(fd, 0);
}

__attribute__((constructor)) static void begin(void)
{
	const char *debug = secure_getenv("TANDEM_DEBUG"), *fb = secure_getenv("TANDEM_FALLBACK");

	shim_debug = debug && *debug && strcmp(debug, "0") != 0;
	fall_back = fb && strcmp(fb, "kernel") == 0;
	own_pid = getpid();
	lib_private_fds(keep_private);
	pthread_atfork(NULL, NULL, forked);
}
