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

bool shim_debug;
static bool fall_back;
static pid_t own_pid;
static bool inherited; /* the library's memory is still the parent's */
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
	if (shim_placeholder < 0)
		shim_placeholder =
			lib_private_fd(real.socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	return shim_placeholder < 0 ? -1 : 0;
}

static int attach_locked(void)
{
	static bool told;
	int err;

	if (inherited)
		lib_after_fork();
	inherited = false;
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

/*
 * A child has none of the engine's descriptors (eng_forked()) and none of its sockets, but it may
 * attach on its own.
 */
static void forked(void)
{
	pthread_mutex_init(&lock, NULL);
	own_pid = getpid();
	if (state == ATTACHED) {
		state = FRESH;
		inherited = true;
	}
	epoll_forked();
	table_forked();
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
