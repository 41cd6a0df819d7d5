// SPDX-License-Identifier: BSD-2-Clause
/*
 * epoll(7) over sockets of ours and kernel descriptors together. An instance has a list of those of
 * our sockets that may be ready, which epoll_wait() looks through, O(ready), and one kernel epoll
 * descriptor, made when it is first needed, that all kernel descriptors are registered with and
 * that takes part in our sleep. Level-triggered items go back to the end of the list after each
 * report, and leave it when they turn out not to be ready: as fs/eventpoll.c does it.
 * An instance within another is ready when its list is; its kernel descriptor is within the
 * other's.
 */
#include <stdlib.h>
#include <unistd.h>
#include "engine.h"
#include "calls.h"
#include "shim.h"

#define EP_PRIVATE (EPOLLET | EPOLLONESHOT | EPOLLEXCLUSIVE | EPOLLWAKEUP)
/* While sockets of ours are ready, the kernel's descriptors are asked this often. */
#define KERNEL_EVERY 16u
#define KERNEL_EVERY_US 200u

struct epoll;

struct epitem {
	struct watch watch; /* on the socket, or instance */
	struct file *file;
	struct epoll *ep;
	uint32_t events; /* EPOLLERR and EPOLLHUP included; without any, after EPOLLONESHOT */
	epoll_data_t data;
	struct epitem *rdy_next, **rdy_pprev; /* the ready list; .rdy_pprev NULL: not on it */
	struct epitem *next, **pprev; /* of the instance */
};

struct epoll {
	struct file f;
	struct epitem *items;
	struct epitem *rdy_head, **rdy_tail;
	uint32_t n_ready;
	int kfd;	   /* -1: no kernel descriptor yet */
	bool adopted;	   /* kfd is the program's, which closes it */
	uint32_t n_kernel; /* registered with it; not less than there are */
	uint32_t since_kernel;
	struct mtime asked_kernel; /* when they were last looked at */
};

/* A thread in tandem_epoll_wait(), on the instance's wait queue. */
struct ep_sleeper {
	struct watch watch;
	struct waiter waiter;
};

static void no_event(struct watch *w, uint32_t events)
{
	(void)w;
	(void)events;
}

/* One event wakes one thread that is not awake yet, and all who watch the instance as a whole. */
static void wake_one(struct epoll *ep)
{
	bool done = false;

	for (struct watch *w = ep->f.wq.head, *next; w; w = next) {
		struct ep_sleeper *s = container_of(w, struct ep_sleeper, watch);

		next = w->next;
		if (w->fn != no_event) {
			w->fn(w, EPOLLIN | EPOLLRDNORM);
		} else if (!done && !s->waiter.woken) {
			waiter_wake(&s->waiter);
			done = true;
		}
	}
}

static void ready_add(struct epitem *it)
{
	struct epoll *ep = it->ep;

	it->rdy_next = NULL;
	it->rdy_pprev = ep->rdy_tail;
	*ep->rdy_tail = it;
	ep->rdy_tail = &it->rdy_next;
	ep->n_ready++;
}

static void ready_del(struct epitem *it)
{
	if (!it->rdy_pprev)
		return;
	*it->rdy_pprev = it->rdy_next;
	if (it->rdy_next)
		it->rdy_next->rdy_pprev = it->rdy_pprev;
	else
		it->ep->rdy_tail = it->rdy_pprev;
	it->rdy_pprev = NULL;
	it->ep->n_ready--;
}

static void item_event(struct watch *w, uint32_t events)
{
	struct epitem *it = container_of(w, struct epitem, watch);

	if (!(events & it->events & ~EP_PRIVATE))
		return;
	if (!it->rdy_pprev)
		ready_add(it);
	wake_one(it->ep);
}

static void item_free(struct epitem *it)
{
	ready_del(it);
	waitq_del(&it->watch);
	*it->pprev = it->next;
	if (it->next)
		it->next->pprev = it->pprev;
	free(it);
}

void epoll_forget(struct waitq *q)
{
	for (struct watch *w = q->head, *next; w; w = next) {
		next = w->next;
		if (w->fn == item_event)
			item_free(container_of(w, struct epitem, watch));
	}
}

void epoll_close(struct file *f)
{
	struct epoll *ep = container_of(f, struct epoll, f);

	if (f->handle >= 0)
		file_remove(f);
	while (ep->items)
		item_free(ep->items);
	epoll_forget(&f->wq);
	for (struct watch *w = f->wq.head, *next; w; w = next) {
		next = w->next;
		if (w->fn == no_event)
			waiter_wake(&container_of(w, struct ep_sleeper, watch)->waiter);
		else
			w->fn(w, EPOLLHUP);
	}
	file_put(f);
}

void epoll_free(struct file *f)
{
	struct epoll *ep = container_of(f, struct epoll, f);

	if (ep->kfd >= 0 && !ep->adopted)
		close(ep->kfd);
	free(ep);
}

static struct epoll *call_epoll(int epfd, int *err)
{
	struct file *f;

	*err = eng_enter_up();
	if (*err)
		return NULL;
	f = file_get(epfd);
	if (!f || f->kind != FILE_EPOLL) {
		*err = f ? -EINVAL : -EBADF;
		return NULL;
	}
	f->refs++;
	return container_of(f, struct epoll, f);
}

static int64_t epoll_end(struct epoll *ep, int64_t r)
{
	if (ep)
		file_put(&ep->f);
	return call_end(NULL, r);
}

static int epoll_new(int kfd, uint32_t n_kernel)
{
	struct epoll *ep = calloc(1, sizeof(*ep));
	int err;

	if (!ep)
		return -ENOMEM;
	ep->f.kind = FILE_EPOLL;
	ep->f.handle = -1;
	ep->kfd = kfd;
	ep->adopted = kfd >= 0;
	ep->n_kernel = n_kernel;
	ep->rdy_tail = &ep->rdy_head;
	err = file_install(&ep->f);
	if (err) {
		free(ep);
		return err;
	}
	return ep->f.handle;
}

int tandem_epoll_create(void)
{
	int r = eng_enter();

	return (int)call_end(NULL, r ? r : epoll_new(-1, 0));
}

int lib_epoll_adopt(int kfd, uint32_t n_kernel)
{
	int r = eng_enter_up();

	return (int)call_end(NULL, r ? r : epoll_new(kfd, n_kernel));
}

/* ---- epoll_ctl ---- */

static int make_kernel(struct epoll *ep)
{
	if (ep->kfd < 0)
		ep->kfd = epoll_create1(EPOLL_CLOEXEC);
	return ep->kfd < 0 ? -errno : 0;
}

static int ctl_kernel(struct epoll *ep, int op, int fd, struct epoll_event *ev)
{
	int err = make_kernel(ep);

	if (err)
		return err;
	if (epoll_ctl(ep->kfd, op, fd, ev))
		return -errno;
	ep->n_kernel += op == EPOLL_CTL_ADD;
	ep->n_kernel -= op == EPOLL_CTL_DEL && ep->n_kernel;
	return 0;
}

uint32_t file_poll(struct file *f)
{
	struct epoll *ep = container_of(f, struct epoll, f);
	struct epitem *it;

	if (f->kind == FILE_SOCK)
		return sock_poll(container_of(f, struct sock, f));
	while ((it = ep->rdy_head)) {
		if (file_poll(it->file) & it->events & ~EP_PRIVATE)
			return EPOLLIN | EPOLLRDNORM;
		ready_del(it);
	}
	return 0;
}

int epoll_kernel_fd(struct file *f)
{
	return f->kind == FILE_EPOLL ? container_of(f, struct epoll, f)->kfd : -1;
}

static struct epitem *item_find(const struct epoll *ep, const struct file *f)
{
	for (struct watch *w = f->wq.head; w; w = w->next)
		if (w->fn == item_event) {
			struct epitem *it = container_of(w, struct epitem, watch);

			if (it->ep == ep)
				return it;
		}
	return NULL;
}

static void item_set(struct epitem *it, const struct epoll_event *ev)
{
	it->events = ev->events | EPOLLERR | EPOLLHUP;
	it->data = ev->data;
	/* What is ready already is an event, also for EPOLLET (epoll(7)). */
	item_event(&it->watch, file_poll(it->file));
}

static int item_add(struct epoll *ep, struct file *f, const struct epoll_event *ev)
{
	struct epitem *it = calloc(1, sizeof(*it));

	if (!it)
		return -ENOMEM;
	it->ep = ep;
	it->file = f;
	it->watch.fn = item_event;
	waitq_add(&f->wq, &it->watch);
	it->next = ep->items;
	it->pprev = &ep->items;
	if (it->next)
		it->next->pprev = &it->next;
	ep->items = it;
	item_set(it, ev);
	return 0;
}

static int ctl_ours(struct epoll *ep, int op, int fd, struct epoll_event *ev)
{
	struct file *f = file_get(fd);
	struct epitem *it;

	if (!f)
		return -EBADF;
	if (f == &ep->f)
		return -EINVAL;
	if (op != EPOLL_CTL_DEL && !ev)
		return -EFAULT;
	if (f->kind == FILE_EPOLL) {
		/* The kernel's halves alike; it also finds loops. */
		struct epoll *in = container_of(f, struct epoll, f);
		int err = make_kernel(in);

		err = err ? err : ctl_kernel(ep, op, in->kfd, ev);
		if (err)
			return err;
	}
	it = item_find(ep, f);
	switch (op) {
	case EPOLL_CTL_ADD:
		return it ? -EEXIST : item_add(ep, f, ev);
	case EPOLL_CTL_MOD:
		if (!it)
			return -ENOENT;
		if ((it->events | ev->events) & EPOLLEXCLUSIVE)
			return -EINVAL;
		item_set(it, ev);
		return 0;
	case EPOLL_CTL_DEL:
		if (!it)
			return -ENOENT;
		item_free(it);
		return 0;
	default:
		return -EINVAL;
	}
}

int tandem_epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev)
{
	int err;
	struct epoll *ep = call_epoll(epfd, &err);

	if (!err)
		err = tandem_is_socket(fd) ? ctl_ours(ep, op, fd, ev) : ctl_kernel(ep, op, fd, ev);
	return (int)epoll_end(ep, err);
}

void lib_epoll_mirror(int fd, int kfd)
{
	int err = eng_enter_up();
	struct file *f = err ? NULL : file_get(fd);

	for (struct watch *w = f ? f->wq.head : NULL; w; w = w->next)
		if (w->fn == item_event) {
			struct epitem *it = container_of(w, struct epitem, watch);
			struct epoll_event ev = {.events = it->events, .data = it->data};

			ctl_kernel(it->ep, EPOLL_CTL_ADD, kfd, &ev);
		}
	eng_leave();
}

/* ---- epoll_wait ---- */

static int collect(struct epoll *ep, struct epoll_event *evs, int max)
{
	int n = 0;

	for (uint32_t todo = ep->n_ready; todo && n < max; todo--) {
		struct epitem *it = ep->rdy_head;
		uint32_t e = file_poll(it->file) & it->events & ~EP_PRIVATE;

		ready_del(it);
		if (!e)
			continue;
		evs[n++] = (struct epoll_event){.events = e, .data = it->data};
		if (it->events & EPOLLONESHOT)
			it->events &= EP_PRIVATE;
		else if (!(it->events & EPOLLET))
			ready_add(it);
	}
	return n;
}

static int collect_kernel(struct epoll *ep, struct epoll_event *evs, int max)
{
	int n = 0;

	if (ep->n_kernel && max) {
		n = epoll_wait(ep->kfd, evs, max, 0);
		ep->asked_kernel = clock_now();
		ep->since_kernel = 0;
	}
	return n > 0 ? n : 0;
}

/* Ours first; but busy sockets of ours must not hide the kernel's descriptors for long. */
static int collect_both(struct epoll *ep, struct epoll_event *evs, int max)
{
	int n = 0;

	if (ep->n_kernel &&
	    (++ep->since_kernel >= KERNEL_EVERY ||
	     mtime_diff_ns(clock_now(), ep->asked_kernel) > KERNEL_EVERY_US * NS_PER_US))
		n = collect_kernel(ep, evs, max);
	n += collect(ep, evs + n, max - n);
	return n ? n : collect_kernel(ep, evs, max);
}

static int do_epoll_wait(struct epoll *ep, struct epoll_event *evs, int max,
			 const struct timespec *timeout, const sigset_t *sigmask)
{
	struct ep_sleeper s = {.watch.fn = no_event, .waiter = {.efd = -1, .sigmask = sigmask}};
	bool wait = !timeout || timeout->tv_sec || timeout->tv_nsec;
	struct mtime until = MTIME_NEVER;
	int n, r = 0;

	/* Before a sleep the engine runs anyway; here, where there may be none. */
	if (ep->n_ready || ep->n_kernel || !wait)
		eng_run(clock_now());
	n = collect_both(ep, evs, max);
	if (n || !wait)
		goto out;
	if (timeout)
		until = mtime_add_ns(clock_now(), timespec_ns(timeout));
	waitq_add(&ep->f.wq, &s.watch);
	while (!n && !r) {
		struct pollfd kernel = {.fd = ep->kfd, .events = POLLIN};

		s.waiter.woken = false;
		r = waiter_sleep(&s.waiter, until, &kernel, ep->kfd >= 0);
		if (ep->f.handle < 0)
			r = -EBADF;
		else
			n = collect_both(ep, evs, max);
	}
	waitq_del(&s.watch);
out:
	if (ep->n_ready)
		wake_one(ep);
	return n ? n : r == -ETIMEDOUT ? 0 : r;
}

int tandem_epoll_pwait2(int epfd, struct epoll_event *evs, int max, const struct timespec *timeout,
			const sigset_t *sigmask)
{
	int err;
	struct epoll *ep = call_epoll(epfd, &err);

	if (!err && max <= 0)
		err = -EINVAL;
	return (int)epoll_end(ep, err ? err : do_epoll_wait(ep, evs, max, timeout, sigmask));
}

int tandem_epoll_wait(int epfd, struct epoll_event *evs, int max, int timeout_ms)
{
	struct timespec ts = timespec_ms(timeout_ms);

	return tandem_epoll_pwait2(epfd, evs, max, timeout_ms < 0 ? NULL : &ts, NULL);
}
