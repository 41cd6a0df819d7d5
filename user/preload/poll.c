// SPDX-License-Identifier: BSD-2-Clause
/* poll and select: a set without a socket of tandem's is libc's; the library takes mixed ones. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "shim.h"

#define LOCAL 64

/* The handle that stands for @fd in the library's calls: a socket's, or an epoll instance's. */
static int handle_of(int fd)
{
	int e = fd_get(fd);

	return likely(!e) ? 0 : is_sock(e) ? e : is_epoll(e) ? ep_get(e)->handle : 0;
}

/* The program's array with handles in place of numbers, and back. */
static int poll_mixed(struct pollfd *fds, nfds_t n, const struct timespec *ts, const sigset_t *mask)
{
	struct pollfd local[LOCAL], *p = n > LOCAL ? malloc(n * sizeof(*p)) : local;
	int r, err;

	if (!p) {
		errno = ENOMEM;
		return -1;
	}
	for (nfds_t i = 0; i < n; i++) {
		int h = handle_of(fds[i].fd);

		p[i] = fds[i];
		if (h)
			p[i].fd = h;
	}
	r = tandem_ppoll(p, n, ts, mask);
	err = errno;
	for (nfds_t i = 0; i < n && r >= 0; i++)
		fds[i].revents = p[i].revents;
	if (p != local)
		free(p);
	errno = err;
	return r;
}

static bool mixed(const struct pollfd *fds, nfds_t n)
{
	for (nfds_t i = 0; i < n; i++)
		if (handle_of(fds[i].fd))
			return true;
	return false;
}

PUBLIC int poll(struct pollfd *fds, nfds_t n, int timeout)
{
	struct timespec ts = {timeout / 1000, timeout % 1000 * 1000000l};

	if (!mixed(fds, n))
		return real.poll(fds, n, timeout);
	return SHIM_DO(int, "poll", (int)n, poll_mixed(fds, n, timeout < 0 ? NULL : &ts, NULL), fds,
		       timeout);
}

static bool bad_time(const struct timespec *ts)
{
	return ts && (ts->tv_sec < 0 || ts->tv_nsec < 0 || ts->tv_nsec >= 1000000000);
}

PUBLIC int ppoll(struct pollfd *fds, nfds_t n, const struct timespec *ts, const sigset_t *mask)
{
	if (!mixed(fds, n) || bad_time(ts))
		return real.ppoll(fds, n, ts, mask);
	return SHIM_DO(int, "ppoll", (int)n, poll_mixed(fds, n, ts, mask), fds, ts);
}

int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room);
PUBLIC int __poll_chk(struct pollfd *fds, nfds_t n, int timeout, size_t room)
{
	if (room / sizeof(*fds) < n)
		abort();
	return poll(fds, n, timeout);
}

int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *ts, const sigset_t *mask,
		size_t room);
PUBLIC int __ppoll_chk(struct pollfd *fds, nfds_t n, const struct timespec *ts,
		       const sigset_t *mask, size_t room)
{
	if (room / sizeof(*fds) < n)
		abort();
	return ppoll(fds, n, ts, mask);
}

/* ---- select ---- */

/* Sets may be longer than fd_set: some programs allocate their own. */
static bool in_set(const fd_set *s, int fd)
{
	return s && ((const unsigned long *)(const void *)s)[fd / 64] >> fd % 64 & 1;
}

static void set_bit(fd_set *s, int fd)
{
	((unsigned long *)(void *)s)[fd / 64] |= 1ul << fd % 64;
}

static bool any_sock(int n, const fd_set *in, const fd_set *out, const fd_set *ex)
{
	for (int fd = fd_next(0, n - 1); fd >= 0; fd = fd_next(fd + 1, n - 1))
		if (handle_of(fd) && (in_set(in, fd) || in_set(out, fd) || in_set(ex, fd)))
			return true;
	return false;
}

/* What poll() calls these (select(2), "Correspondence between select() and poll()"). */
#define IN_EVENTS (POLLRDNORM | POLLRDBAND | POLLIN | POLLHUP | POLLERR)
#define OUT_EVENTS (POLLWRBAND | POLLWRNORM | POLLOUT | POLLERR)

static void clear(fd_set *s, int n)
{
	if (s)
		memset(s, 0, (size_t)(n + 63) / 64 * 8);
}

static int report(const struct pollfd *p, nfds_t np, int n, fd_set *in, fd_set *out, fd_set *ex)
{
	int found = 0;

	for (nfds_t i = 0; i < np; i++)
		if (p[i].revents & POLLNVAL) {
			errno = EBADF;
			return -1;
		}
	clear(in, n);
	clear(out, n);
	clear(ex, n);
	for (nfds_t i = 0; i < np; i++) {
		if (p[i].events & POLLIN && p[i].revents & IN_EVENTS) {
			set_bit(in, p[i].fd);
			found++;
		}
		if (p[i].events & POLLOUT && p[i].revents & OUT_EVENTS) {
			set_bit(out, p[i].fd);
			found++;
		}
		if (p[i].events & POLLPRI && p[i].revents & POLLPRI) {
			set_bit(ex, p[i].fd);
			found++;
		}
	}
	return found;
}

static int select_mixed(int n, fd_set *in, fd_set *out, fd_set *ex, const struct timespec *ts,
			const sigset_t *mask)
{
	struct pollfd *p = malloc((size_t)n * sizeof(*p));
	nfds_t np = 0;
	int r, err;

	if (!p)
		return -1;
	for (int fd = 0; fd < n; fd++) {
		short events = (short)((in_set(in, fd) ? POLLIN : 0) |
				       (out && in_set(out, fd) ? POLLOUT : 0) |
				       (ex && in_set(ex, fd) ? POLLPRI : 0));

		if (events)
			p[np++] = (struct pollfd){.fd = fd, .events = events};
	}
	r = poll_mixed(p, np, ts, mask);
	if (r >= 0)
		r = report(p, np, n, in, out, ex);
	err = errno;
	free(p);
	errno = err;
	return r;
}

PUBLIC int select(int n, fd_set *in, fd_set *out, fd_set *ex, struct timeval *tv)
{
	struct timespec ts, start, now;
	int r;

	if (!any_sock(n, in, out, ex) || (tv && (tv->tv_sec < 0 || tv->tv_usec < 0)))
		return real.select(n, in, out, ex, tv);
	if (!tv)
		return SHIM_DO(int, "select", n, select_mixed(n, in, out, ex, NULL, NULL), in, out,
			       ex);
	ts.tv_sec = tv->tv_sec + tv->tv_usec / 1000000;
	ts.tv_nsec = tv->tv_usec % 1000000 * 1000l;
	clock_gettime(CLOCK_MONOTONIC, &start);
	r = SHIM_DO(int, "select", n, select_mixed(n, in, out, ex, &ts, NULL), in, out, ex);
	/* Linux: what is left of the timeout. */
	clock_gettime(CLOCK_MONOTONIC, &now);
	ts.tv_sec -= now.tv_sec - start.tv_sec;
	ts.tv_nsec -= now.tv_nsec - start.tv_nsec;
	if (ts.tv_nsec < 0) {
		ts.tv_nsec += 1000000000;
		ts.tv_sec--;
	} else if (ts.tv_nsec >= 1000000000) {
		ts.tv_nsec -= 1000000000;
		ts.tv_sec++;
	}
	*tv = ts.tv_sec < 0 ? (struct timeval){0} : (struct timeval){ts.tv_sec, ts.tv_nsec / 1000};
	return r;
}

PUBLIC int pselect(int n, fd_set *in, fd_set *out, fd_set *ex, const struct timespec *ts,
		   const sigset_t *mask)
{
	if (!any_sock(n, in, out, ex) || bad_time(ts))
		return real.pselect(n, in, out, ex, ts, mask);
	return SHIM_DO(int, "pselect", n, select_mixed(n, in, out, ex, ts, mask), in, out, ex);
}
