// SPDX-License-Identifier: BSD-2-Clause
/*
 * The shim in its process: attaching at the first socket that needs it, the placeholder, what the
 * user is told, and children. Environment: TANDEM_NAME and TANDEM_BUSY_POLL are the library's;
 * TANDEM_FALLBACK=kernel and TANDEM_DEBUG are read here.
 */
#include <dirent.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/un.h>
#include "common/ctl.h"
#include "shim.h"

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

static void complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	say(fmt, ap);
	va_end(ap);
}

static void tell(bool trouble, const char *text)
{
	if (trouble)
		complain("%s", text);
	else
		shim_note("%s", text);
}

/* ---- attaching ---- */

static void keep_private(int fd, bool on)
{
	fd_set_entry(fd, on ? FD_PRIVATE : 0);
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

/* Copies of @objects[i] in the place of all numbers of @handles[i]. */
static void place(const int *handles, const int *objects, uint32_t n)
{
	for (int fd = fd_next(0, INT32_MAX); fd >= 0; fd = fd_next(fd + 1, INT32_MAX)) {
		int e = fd_get(fd), flags;

		for (uint32_t i = 0; i < n && is_sock(e); i++) {
			if (handles[i] != e)
				continue;
			flags = real.fcntl(fd, F_GETFD);
			real.dup3(objects[i], fd, flags & FD_CLOEXEC ? O_CLOEXEC : 0);
			break;
		}
	}
}

void shim_share(void)
{
	/* Also of a child that has its parent's, and has not asked for one of its own. */
	if (shim_own_process())
		lib_share_all(place);
}

static int number_of(int handle)
{
	int fd = fd_next(0, INT32_MAX);

	while (fd >= 0 && fd_get(fd) != handle)
		fd = fd_next(fd + 1, INT32_MAX);
	return fd;
}

/* The locks are taken in the order in which calls take them, so that what the child gets is whole.
 */
static void before_fork(void)
{
	shim_share();
	pthread_mutex_lock(&lock);
	epoll_fork(FORK_PREPARE);
	lib_fork_prepare();
	table_fork(FORK_PREPARE);
}

static void forked_parent(void)
{
	table_fork(FORK_PARENT);
	lib_fork_parent();
	epoll_fork(FORK_PARENT);
	pthread_mutex_unlock(&lock);
}

/*
 * A child has its parent's sockets, but none of the engine's descriptors (eng_forked()): it
 * attaches on its own, once it uses one.
 */
static void forked_child(void)
{
	pthread_mutex_init(&lock, NULL);
	own_pid = getpid();
	if (state == ATTACHED)
		state = FRESH;
	lib_fork_child();
	table_fork(FORK_CHILD);
	epoll_fork(FORK_CHILD);
}

/* A fork() that libc knows nothing of (CLONE_NEWPID and its like), so that its handlers do not run. */
long shim_raw_fork(long nr, long a, long b, long c, long e, long f)
{
	int saved;
	long r;

	before_fork();
	r = real.syscall(nr, a, b, c, e, f, 0);
	saved = errno;
	if (r)
		forked_parent();
	else
		forked_child();
	errno = saved;
	return r;
}

/* ---- behind exec ---- */

/* Is it one that stands for a socket? Then @sun has its name (common/ctl.h). */
static bool is_share(int fd, struct sockaddr_un *sun, socklen_t *len)
{
	*len = sizeof(*sun) - 1;
	memset(sun, 0, sizeof(*sun));
	return !real.getsockname(fd, (struct sockaddr *)sun, len) && sun->sun_family == AF_UNIX &&
	       !sun->sun_path[0] &&
	       !strncmp(sun->sun_path + 1, CTL_SHARE_PREFIX, strlen(CTL_SHARE_PREFIX)) &&
	       strrchr(sun->sun_path + 1, '/') > sun->sun_path + strlen(CTL_SHARE_PREFIX);
}

bool shim_is_share(int fd)
{
	struct sockaddr_un sun;
	socklen_t len;

	return is_share(fd, &sun, &len);
}

/* A number that has it already. */
static int same_share(const struct sockaddr_un *sun, socklen_t len)
{
	struct sockaddr_un other;
	socklen_t olen;

	for (int fd = fd_next(0, INT32_MAX); fd >= 0; fd = fd_next(fd + 1, INT32_MAX))
		if (is_sock(fd_get(fd)) && is_share(fd, &other, &olen) && olen == len &&
		    !memcmp(&other, sun, len))
			return fd;
	return -1;
}

bool shim_adopt(int fd)
{
	struct sockaddr_un sun;
	const char *name = sun.sun_path + 1 + strlen(CTL_SHARE_PREFIX);
	socklen_t len;
	int same, h;

	if (fd_get(fd) || !is_share(fd, &sun, &len))
		return false;
	make_placeholder();
	same = same_share(&sun, len);
	h = same >= 0 ? fd_get(same)
		      : lib_adopt(name, (size_t)(strrchr(sun.sun_path + 1, '/') - name));
	if (h < 0 || !ext_get(h))
		return false;
	if (same < 0) {
		ext_get(h)->refs = 0;
		ext_get(h)->udp = false;
		v6_begin(h, false);
	}
	if (fd_set_entry(fd, h))
		return false;
	ref_entry(h);
	shim_note("descriptor %d is a socket of tandem's", fd);
	return true;
}

/* The three that libc has open from the start. */
static void own_streams(void)
{
	FILE *f;

	if (is_sock(fd_get(STDIN_FILENO)) && (f = shim_stream(STDIN_FILENO, "r")))
		stdin = f;
	if (is_sock(fd_get(STDOUT_FILENO)) && (f = shim_stream(STDOUT_FILENO, "w")))
		stdout = f;
	if (is_sock(fd_get(STDERR_FILENO)) && (f = shim_stream(STDERR_FILENO, "w"))) {
		setvbuf(f, NULL, _IONBF, 0);
		stderr = f;
	}
}

static void adopt_all(void)
{
	int saved = errno;
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;

	if (!d)
		return;
	while ((e = readdir(d)))
		if (e->d_name[0] != '.' && atoi(e->d_name) != dirfd(d))
			shim_adopt(atoi(e->d_name));
	closedir(d);
	own_streams();
	errno = saved;
}

__attribute__((constructor)) static void begin(void)
{
	const char *debug = secure_getenv("TANDEM_DEBUG"), *fb = secure_getenv("TANDEM_FALLBACK");

	shim_debug = debug && *debug && strcmp(debug, "0") != 0;
	fall_back = fb && strcmp(fb, "kernel") == 0;
	own_pid = getpid();
	lib_private_fds(keep_private);
	lib_tell_hook(tell);
	lib_share_hooks(number_of);
	pthread_atfork(before_fork, forked_parent, forked_child);
	adopt_all();
}

/* A thread that waits in one of our calls libc would not interrupt. */
PUBLIC int pthread_cancel(pthread_t thread)
{
	return lib_cancel(thread, real.pthread_cancel);
}

/* While there is an engine: libc flushes after all destructors. Runs before the library's own. */
__attribute__((destructor)) static void end(void)
{
	if (shim_own_process())
		fflush(NULL);
}
