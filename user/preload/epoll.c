// SPDX-License-Identifier: BSD-2-Clause
/*
 * epoll: the program has a real kernel instance. With the first socket of tandem's an instance
 * of the library's takes it over (lib_epoll_adopt()): kernel descriptors stay registered with
 * the kernel, sockets of ours with the library, which waits for both.
 *
 * A thread that is in the kernel's epoll_wait() at that moment knows nothing of the library's
 * instance: an eventfd that is always readable, the kick, is registered to get it out of there.
 */
#include <pthread.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include "shim.h"

#define KICK_DATA 0x7464206b69636b21ull /* what no program would use by chance */

static pthread_mutex_t ep_lock = PTHREAD_MUTEX_INITIALIZER;
static int kick_fd = -1;

static struct ep *ep_of(int epfd)
{
	int e = fd_get(epfd);

	return is_epoll(e) ? ep_get(e) : NULL;
}

static void remember(int epfd)
{
	int e = epfd < 0 ? -1 : ep_new();

	if (e > 0 && fd_set_entry(epfd, e))
		unref_entry(e);
}

PUBLIC int epoll_create(int size)
{
	int fd = real.epoll_create(size);

	remember(fd);
	return fd;
}

PUBLIC int epoll_create1(int flags)
{
	int fd = real.epoll_create1(flags);

	remember(fd);
	return fd;
}

/* ---- taking over ---- */

static void kick(struct ep *ep, int epfd)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = KICK_DATA};

	if (kick_fd < 0)
		kick_fd = lib_private_fd(eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK));
	ep->kicked = true;
	real.epoll_ctl(epfd, EPOLL_CTL_ADD, kick_fd, &ev);
}

static void unkick(struct ep *ep, int epfd)
{
	pthread_mutex_lock(&ep_lock);
	if (ep->kicked && !ep->waiting) {
		real.epoll_ctl(epfd, EPOLL_CTL_DEL, kick_fd, NULL);
		ep->kicked = false;
	}
	pthread_mutex_unlock(&ep_lock);
}

/* The library's instance for @epfd; under the lock. -1 and errno. */
static int adopt(int epfd, struct ep *ep)
{
	int h;

	if (ep->handle)
		return ep->handle;
	h = lib_epoll_adopt(epfd, (uint32_t)ep->n_kernel);
	if (h < 0)
		return -1;
	ep->handle = h;
	if (ep->waiting)
		kick(ep, epfd);
	return h;
}

/* An instance that came from before an exec, or from a call that we do not see. */
static struct ep *make_ep(int epfd)
{
	int e;

	/* What is an instance says that it does not have the placeholder; others say more. */
	if (!real.epoll_ctl(epfd, EPOLL_CTL_DEL, shim_placeholder, NULL) || errno != ENOENT)
		return NULL;
	e = ep_new();
	if (e < 0)
		return NULL;
	if (fd_set_entry(epfd, e)) {
		unref_entry(e);
		return NULL;
	}
	ep_get(e)->n_kernel = 1;
	return ep_get(e);
}

void epoll_fork(enum fork_stage st)
{
	fork_lock(&ep_lock, st);
	if (st == FORK_CHILD)
		kick_fd = -1; /* nobody keeps the program from closing it any more */
}

/* ---- epoll_ctl ---- */

static int ctl_sock(int epfd, int op, int h, struct epoll_event *ev)
{
	struct ep *ep = ep_of(epfd);
	int r;

	pthread_mutex_lock(&ep_lock);
	if (!ep)
		ep = make_ep(epfd);
	r = ep ? adopt(epfd, ep) : -1;
	pthread_mutex_unlock(&ep_lock);
	return r < 0 ? -1 : tandem_epoll_ctl(r, op, h, ev);
}

/*
 * An instance within another: with the engine there, both are the library's from here on. Sockets
 * that an instance gets later are not seen from outside of it where there was no engine yet.
 */
static int ctl_nested(int epfd, int op, int fd, struct epoll_event *ev)
{
	struct ep *in = ep_of(fd), *out = ep_of(epfd);
	int h, r;

	pthread_mutex_lock(&ep_lock);
	h = adopt(fd, in);
	r = h < 0 ? -1 : adopt(epfd, out);
	pthread_mutex_unlock(&ep_lock);
	return r < 0 ? real.epoll_ctl(epfd, op, fd, ev) : tandem_epoll_ctl(r, op, h, ev);
}

static int ctl_kernel(struct ep *ep, int epfd, int op, int fd, struct epoll_event *ev)
{
	int r;

	pthread_mutex_lock(&ep_lock);
	if (!ep->handle) {
		r = real.epoll_ctl(epfd, op, fd, ev);
		if (!r)
			ep->n_kernel += op == EPOLL_CTL_ADD ? 1 : op == EPOLL_CTL_DEL ? -1 : 0;
		pthread_mutex_unlock(&ep_lock);
		return r;
	}
	pthread_mutex_unlock(&ep_lock);
	return tandem_epoll_ctl(ep->handle, op, fd, ev);
}

PUBLIC int epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev)
{
	int e = fd_get(fd);
	struct ep *ep;

	if (!likely(e != FD_UDP) && op == EPOLL_CTL_ADD)
		e = udp_watched(fd);
	if (is_sock(e))
		return SHIM_DO(int, "epoll_ctl", epfd, ctl_sock(epfd, op, e, ev), op, fd, ev);
	ep = ep_of(epfd);
	if (ep && is_epoll(e) && fd != epfd)
		return ctl_nested(epfd, op, fd, ev);
	if (e == FD_PRIVATE) {
		errno = EBADF;
		return -1;
	}
	return ep ? ctl_kernel(ep, epfd, op, fd, ev) : real.epoll_ctl(epfd, op, fd, ev);
}

/* ---- epoll_wait ---- */

/* Takes the kick out of what was reported. */
static int filter(struct epoll_event *evs, int n)
{
	int out = 0;

	for (int i = 0; i < n; i++)
		if (evs[i].data.u64 != KICK_DATA)
			evs[out++] = evs[i];
	return n < 0 ? n : out;
}

static int wait_kernel(struct ep *ep, int epfd, struct epoll_event *evs, int max, int timeout,
		       const struct timespec *ts, const sigset_t *mask)
{
	int r;

	ep->waiting++;
	if (ep->handle)
		r = 0; /* just taken over */
	else
		r = ts ? real.epoll_pwait2(epfd, evs, max, ts, mask)
		       : real.epoll_pwait(epfd, evs, max, timeout, mask);
	ep->waiting--;
	return r;
}

static int wait_tandem(struct ep *ep, int epfd, struct epoll_event *evs, int max,
		       const struct timespec *ts, const sigset_t *mask)
{
	int r, n;

	for (;;) {
		r = SHIM_DO(int, "epoll_wait", epfd,
			    tandem_epoll_pwait2(ep->handle, evs, max, ts, mask), evs, max);
		if (likely(!ep->kicked))
			return r;
		n = filter(evs, r);
		unkick(ep, epfd);
		if (n || r <= 0)
			return n;
	}
}

/*
 * One of @timeout (ms; ts NULL) and @ts. A thread that the kick gets out of the kernel's wait
 * begins its timeout again.
 */
static int wait_any(struct ep *ep, int epfd, struct epoll_event *evs, int max, int timeout,
		    const struct timespec *ts, const sigset_t *mask)
{
	struct timespec t = {timeout / 1000, timeout % 1000 * 1000000l};

	if (!ep->handle) {
		int r = wait_kernel(ep, epfd, evs, max, timeout, ts, mask);

		if (likely(!ep->handle))
			return r;
		r = filter(evs, r);
		if (ep->kicked)
			unkick(ep, epfd);
		if (r)
			return r;
	}
	return wait_tandem(ep, epfd, evs, max, ts ? ts : timeout < 0 ? NULL : &t, mask);
}

PUBLIC int epoll_wait(int epfd, struct epoll_event *evs, int max, int timeout)
{
	struct ep *ep = ep_of(epfd);

	return ep ? wait_any(ep, epfd, evs, max, timeout, NULL, NULL)
		  : real.epoll_wait(epfd, evs, max, timeout);
}

PUBLIC int epoll_pwait(int epfd, struct epoll_event *evs, int max, int timeout,
		       const sigset_t *mask)
{
	struct ep *ep = ep_of(epfd);

	return ep ? wait_any(ep, epfd, evs, max, timeout, NULL, mask)
		  : real.epoll_pwait(epfd, evs, max, timeout, mask);
}

PUBLIC int epoll_pwait2(int epfd, struct epoll_event *evs, int max, const struct timespec *ts,
			const sigset_t *mask)
{
	struct ep *ep = ep_of(epfd);

	return ep ? wait_any(ep, epfd, evs, max, -1, ts, mask)
		  : real.epoll_pwait2(epfd, evs, max, ts, mask);
}
