// SPDX-License-Identifier: BSD-2-Clause
/* poll(2) over sockets of ours and kernel descriptors together. */
#include <limits.h>
#include <stdlib.h>
#include "engine.h"
#include "calls.h"

#define POLL_LOCAL 32

/* One entry of the program's array that is ours: watched while we wait. */
struct poll_watch {
	struct watch watch;
	struct waiter *waiter;
	struct file *file; /* referenced */
	struct pollfd *pfd;
};

struct poll_set {
	struct pollfd *fds;
	nfds_t n;
	struct poll_watch *ours;
	struct pollfd *kernel; /* copies of the others, and what ours have beside them */
	nfds_t *kernel_index;
	unsigned n_ours, n_kernel;
};

static void wake(struct watch *w, uint32_t events)
{
	struct poll_watch *pw = container_of(w, struct poll_watch, watch);

	if (events & ((uint32_t)(uint16_t)pw->pfd->events | POLLERR | POLLHUP))
		waiter_wake(pw->waiter);
}

static void add_kernel(struct poll_set *s, nfds_t i, int fd)
{
	s->kernel[s->n_kernel] = (struct pollfd){.fd = fd, .events = s->fds[i].events};
	s->kernel_index[s->n_kernel++] = i;
}

static void split(struct poll_set *s, struct waiter *w)
{
	for (nfds_t i = 0; i < s->n; i++) {
		struct pollfd *p = &s->fds[i];
		int twins[N_TWINS];
		struct file *f;

		p->revents = 0;
		if (!tandem_is_socket(p->fd)) {
			add_kernel(s, i, p->fd);
			continue;
		}
		f = file_get(p->fd);
		if (f)
			file_take_or_fail(f);
		/* Which may have slept. */
		f = file_get(p->fd);
		if (!f) {
			p->revents = POLLNVAL;
			continue;
		}
		for (uint32_t k = file_kernel_fds(f, twins); k--;)
			add_kernel(s, i, twins[k]);
		f->refs++;
		s->ours[s->n_ours] =
			(struct poll_watch){.watch.fn = wake, .waiter = w, .file = f, .pfd = p};
		waitq_add(&f->wq, &s->ours[s->n_ours++].watch);
	}
}

/* EPOLL* and POLL* have the same values. Returns how many entries are ready. */
static int look(struct poll_set *s)
{
	int ready = 0;

	for (unsigned i = 0; i < s->n_ours; i++)
		s->ours[i].pfd->revents = 0;
	for (unsigned i = 0; i < s->n_kernel; i++)
		s->fds[s->kernel_index[i]].revents = 0;
	for (unsigned i = 0; i < s->n_kernel; i++)
		s->fds[s->kernel_index[i]].revents |= s->kernel[i].revents;
	for (unsigned i = 0; i < s->n_ours; i++) {
		struct poll_watch *pw = &s->ours[i];
		uint32_t want = (uint16_t)pw->pfd->events | POLLERR | POLLHUP;
		uint32_t e = file_is_open(pw->file) ? file_poll(pw->file) & want : POLLNVAL;

		pw->pfd->revents |= (short)e;
	}
	for (nfds_t i = 0; i < s->n; i++)
		ready += s->fds[i].revents != 0;
	return ready;
}

static int wait_set(struct poll_set *s, struct waiter *w, const struct timespec *timeout)
{
	bool forever = !timeout, wait = forever || timeout->tv_sec || timeout->tv_nsec;
	struct mtime until = MTIME_NEVER;
	int ready, r = 0;

	eng_run(clock_now());
	split(s, w);
	if (s->n_kernel && poll(s->kernel, s->n_kernel, 0) < 0)
		r = -errno;
	/* Who never sleeps wants them as well: for its next look. */
	if (!wait && eng.n_shared_l)
		listeners_want();
	ready = look(s);
	if (!forever)
		until = mtime_add_ns(clock_now(), timespec_ns(timeout));
	while (!ready && wait && !r) {
		w->woken = false;
		r = waiter_sleep(w, until, s->kernel, s->n_kernel);
		ready = look(s);
		/* What came first does not hide the others. */
		if (ready && s->n_kernel && poll(s->kernel, s->n_kernel, 0) > 0)
			ready = look(s);
	}
	for (unsigned i = 0; i < s->n_ours; i++) {
		waitq_del(&s->ours[i].watch);
		file_put(s->ours[i].file);
	}
	if (eng.n_shared_l)
		listeners_want();
	return ready ? ready : r == -ETIMEDOUT ? 0 : r;
}

int tandem_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout,
		 const sigset_t *sigmask)
{
	struct poll_watch local_ours[POLL_LOCAL];
	struct pollfd local_kernel[POLL_LOCAL * N_TWINS];
	nfds_t local_index[POLL_LOCAL * N_TWINS];
	struct poll_set s = {.fds = fds,
			     .n = n,
			     .ours = local_ours,
			     .kernel = local_kernel,
			     .kernel_index = local_index};
	struct waiter w = {.efd = -1, .sigmask = sigmask};
	bool any = false;
	int r;

	for (nfds_t i = 0; i < n; i++)
		any |= tandem_is_socket(fds[i].fd);
	if (!any)
		return ppoll(fds, n, timeout, sigmask);
	if (n > POLL_LOCAL) {
		s.ours = calloc(n, sizeof(*s.ours));
		s.kernel = calloc(n, N_TWINS * sizeof(*s.kernel));
		s.kernel_index = calloc(n, N_TWINS * sizeof(*s.kernel_index));
	}
	if (s.ours && s.kernel && s.kernel_index) {
		r = eng_enter_up();
		if (!r) {
			r = wait_set(&s, &w, timeout);
		} else {
			/* No engine: none of these handles exists. */
			r = 0;
			for (nfds_t i = 0; i < n; i++) {
				fds[i].revents = tandem_is_socket(fds[i].fd) ? POLLNVAL : 0;
				r += fds[i].revents != 0;
			}
		}
		r = (int)call_end(NULL, r);
	} else {
		errno = ENOMEM;
		r = -1;
	}
	if (n > POLL_LOCAL) {
		free(s.ours);
		free(s.kernel);
		free(s.kernel_index);
	}
	return r;
}

int tandem_poll(struct pollfd *fds, nfds_t n, int timeout_ms)
{
	struct timespec ts = timespec_ms(timeout_ms);

	return tandem_ppoll(fds, n, timeout_ms < 0 ? NULL : &ts, NULL);
}
