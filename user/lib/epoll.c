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

/* A server has one for each connection, so it is named by its number in eng.items and knows no
 * pointers. */
struct epitem {
	epoll_data_t data;
	uint32_t events; /* EPOLLERR and EPOLLHUP included; without any, after EPOLLONESHOT */
	int file, ep;	 /* handles; an item goes before either of them does */
	uint32_t rdy_next, rdy_prev; /* the ready list; .rdy_prev NOT_READY: not on it */
	uint32_t next, prev;	     /* of the instance */
	uint32_t wq_next;	     /* of those that watch the same file (first_item()) */
};
_Static_assert(sizeof(struct epitem) <= 40, "one for each connection");
#define NO_ITEM UINT32_MAX
#define NOT_READY (UINT32_MAX - 1)

struct epoll {
	struct file f;
	uint32_t items;
	uint32_t rdy_head, rdy_tail;
	uint32_t n_ready;
	int kfd;	   /* -1: no kernel descriptor yet */
	bool inherited;	   /* from before a fork */
	bool parents;	   /* its kernel's half is the parent's, too, with what that has registered */
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

static struct epitem *item_at(uint32_t i)
{
	return slab_at(&eng.items, i);
}

static struct epoll *item_ep(const struct epitem *it)
{
	return container_of(file_get(it->ep), struct epoll, f);
}

/* ---- the items that watch a file: the end of its wait queue ---- */

static struct watch **items_link(struct waitq *q)
{
	struct watch **p = &q->head;

	while (watch_of(*p))
		p = &(*p)->next;
	return p;
}

static uint32_t first_item(const struct waitq *q)
{
	const struct watch *w = q->head;

	while (w && !((uintptr_t)w & 1))
		w = w->next;
	return w ? (uint32_t)((uintptr_t)w >> 1) : NO_ITEM;
}

static void set_first_item(struct waitq *q, uint32_t i)
{
	*items_link(q) = i == NO_ITEM ? NULL : (struct watch *)((uintptr_t)i << 1 | 1);
}

static void wq_del(struct waitq *q, uint32_t i)
{
	uint32_t at = first_item(q);

	if (at == i) {
		set_first_item(q, item_at(i)->wq_next);
		return;
	}
	while (item_at(at)->wq_next != i)
		at = item_at(at)->wq_next;
	item_at(at)->wq_next = item_at(i)->wq_next;
}

/* One event wakes one thread that is not awake yet, and all who watch the instance as a whole. */
static void wake_one(struct epoll *ep)
{
	bool done = false;

	for (struct watch *w = watch_of(ep->f.wq.head), *next; w; w = next) {
		struct ep_sleeper *s = container_of(w, struct ep_sleeper, watch);

		next = watch_of(w->next);
		if (w->fn != no_event) {
			w->fn(w, EPOLLIN | EPOLLRDNORM);
		} else if (!done && !s->waiter.woken) {
			waiter_wake(&s->waiter);
			done = true;
		}
	}
	epoll_notify(&ep->f.wq, EPOLLIN | EPOLLRDNORM);
}

static void ready_add(uint32_t i)
{
	struct epitem *it = item_at(i);
	struct epoll *ep = item_ep(it);

	it->rdy_next = NO_ITEM;
	it->rdy_prev = ep->rdy_tail;
	if (ep->rdy_tail == NO_ITEM)
		ep->rdy_head = i;
	else
		item_at(ep->rdy_tail)->rdy_next = i;
	ep->rdy_tail = i;
	ep->n_ready++;
}

static void ready_del(struct epitem *it)
{
	struct epoll *ep = item_ep(it);

	if (it->rdy_prev == NOT_READY)
		return;
	if (it->rdy_prev == NO_ITEM)
		ep->rdy_head = it->rdy_next;
	else
		item_at(it->rdy_prev)->rdy_next = it->rdy_next;
	if (it->rdy_next == NO_ITEM)
		ep->rdy_tail = it->rdy_prev;
	else
		item_at(it->rdy_next)->rdy_prev = it->rdy_prev;
	it->rdy_prev = NOT_READY;
	ep->n_ready--;
}

static void item_event(uint32_t i, uint32_t events)
{
	struct epitem *it = item_at(i);

	if (!(events & it->events & ~EP_PRIVATE))
		return;
	if (it->rdy_prev == NOT_READY)
		ready_add(i);
	wake_one(item_ep(it));
}

void epoll_notify(struct waitq *q, uint32_t events)
{
	for (uint32_t i = first_item(q), next; i != NO_ITEM; i = next) {
		next = item_at(i)->wq_next;
		item_event(i, events);
	}
}

/* An instance: does it, or one that it is in, have a thread that sleeps in it? */
static bool slept_in(const struct file *f)
{
	if (watch_of(f->wq.head))
		return true;
	for (uint32_t i = first_item(&f->wq); i != NO_ITEM; i = item_at(i)->wq_next)
		if (slept_in(&item_ep(item_at(i))->f))
			return true;
	return false;
}

static bool item_wants(const struct epitem *it)
{
	return it->events & (EPOLLIN | EPOLLRDNORM);
}

bool file_wanted(const struct file *f)
{
	if (watch_of(f->wq.head))
		return true;
	for (uint32_t i = first_item(&f->wq); i != NO_ITEM; i = item_at(i)->wq_next) {
		const struct epitem *it = item_at(i);

		if (item_wants(it) && slept_in(&item_ep(it)->f))
			return true;
	}
	return false;
}

bool epoll_alone(const struct file *f)
{
	return !watch_of(f->wq.head) && first_item(&f->wq) != NO_ITEM;
}

bool epoll_watches(const struct file *ep, const struct file *f)
{
	for (uint32_t i = first_item(&f->wq); i != NO_ITEM; i = item_at(i)->wq_next)
		if (item_wants(item_at(i)) && item_at(i)->ep == ep->handle)
			return true;
	return false;
}

/* What else was on the queue stood on the stack of a thread that the child does not have. */
void epoll_inherit(struct file *f)
{
	uint32_t items = first_item(&f->wq);

	f->wq.head = NULL;
	set_first_item(&f->wq, items);
	if (f->kind == FILE_EPOLL)
		container_of(f, struct epoll, f)->inherited =
			container_of(f, struct epoll, f)->parents = true;
}

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

/*
 * The kernel socket beside a UDP socket is registered with the kernel alike. That it can be sent to
 * is no news, and told by the socket itself.
 */
static bool is_udp(const struct file *f)
{
	return f->kind == FILE_SOCK && container_of(f, struct sock, f)->state == SK_UDP;
}

static int ctl_twin(struct epoll *ep, int op, struct file *f, const struct epoll_event *ev)
{
	struct epoll_event e = {0};
	int fds[N_TWINS], kfd;

	if (!is_udp(f) || !file_kernel_fds(f, fds))
		return 0;
	kfd = fds[0];
	if (ev)
		e = (struct epoll_event){.events = ev->events & ~(uint32_t)(EPOLLOUT | EPOLLWRNORM),
					 .data = ev->data};
	return ctl_kernel(ep, op, kfd, &e);
}

/* @f: the file that it watches, which may have no handle any more. */
static void item_free(uint32_t i, struct file *f)
{
	struct epitem *it = item_at(i);
	struct epoll *ep = item_ep(it);

	ctl_twin(ep, EPOLL_CTL_DEL, f, NULL);
	ready_del(it);
	wq_del(&f->wq, i);
	if (it->prev == NO_ITEM)
		ep->items = it->next;
	else
		item_at(it->prev)->next = it->next;
	if (it->next != NO_ITEM)
		item_at(it->next)->prev = it->prev;
	slab_put(&eng.items, i);
}

void epoll_forget(struct waitq *q)
{
	for (uint32_t i; (i = first_item(q)) != NO_ITEM;)
		item_free(i, container_of(q, struct file, wq));
}

void epoll_close(struct file *f)
{
	struct epoll *ep = container_of(f, struct epoll, f);

	/* Items lead back to the file by its handle. */
	while (ep->items != NO_ITEM)
		item_free(ep->items, file_get(item_at(ep->items)->file));
	epoll_forget(&f->wq);
	file_remove(f);
	for (struct watch *w = watch_of(f->wq.head), *next; w; w = next) {
		next = watch_of(w->next);
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
	ep->items = ep->rdy_head = ep->rdy_tail = NO_ITEM;
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

uint32_t file_poll(struct file *f)
{
	struct epoll *ep = container_of(f, struct epoll, f);
	struct epitem *it;

	if (f->kind == FILE_SOCK)
		return sock_poll(container_of(f, struct sock, f));
	while (ep->rdy_head != NO_ITEM) {
		it = item_at(ep->rdy_head);
		if (file_poll(file_get(it->file)) & it->events & ~EP_PRIVATE)
			return EPOLLIN | EPOLLRDNORM;
		ready_del(it);
	}
	return 0;
}

uint32_t file_kernel_fds(struct file *f, int fds[N_TWINS])
{
	if (f->kind == FILE_SOCK)
		return sock_kernel_fds(container_of(f, struct sock, f), fds);
	fds[0] = container_of(f, struct epoll, f)->kfd;
	return fds[0] >= 0;
}

/* A shared socket that is with another process is to be here when it is watched. */
int file_take(struct file *f)
{
	struct sock *sk = container_of(f, struct sock, f);
	int err;

	if (f->kind != FILE_SOCK || sk->state != SK_AWAY)
		return 0;
	f->refs++;
	err = share_take(sk);
	file_put(f);
	return err;
}

void file_take_or_fail(struct file *f)
{
	struct sock *sk = container_of(f, struct sock, f);
	int err = file_take(f);

	if (!err || sk->state != SK_AWAY)
		return;
	sk->state = SK_FAILED;
	sk->err = (uint8_t)-err;
}

static uint32_t item_find(const struct epoll *ep, const struct file *f)
{
	uint32_t i = first_item(&f->wq);

	while (i != NO_ITEM && item_at(i)->ep != ep->f.handle)
		i = item_at(i)->wq_next;
	return i;
}

static void item_set(uint32_t i, const struct epoll_event *ev)
{
	struct epitem *it = item_at(i);

	it->events = ev->events | EPOLLERR | EPOLLHUP;
	it->data = ev->data;
	/* What is ready already is an event, also for EPOLLET (epoll(7)). */
	item_event(i, file_poll(file_get(it->file)));
}

static int item_add(struct epoll *ep, struct file *f, const struct epoll_event *ev)
{
	struct epitem *it;
	uint32_t i;
	int err;

	eng.items.size = sizeof(*it);
	it = slab_get(&eng.items, &i);
	if (!it)
		return -ENOMEM;
	err = ctl_twin(ep, EPOLL_CTL_ADD, f, ev);
	if (err) {
		slab_put(&eng.items, i);
		return err;
	}
	it->ep = ep->f.handle;
	it->file = f->handle;
	it->rdy_prev = NOT_READY;
	it->wq_next = first_item(&f->wq);
	set_first_item(&f->wq, i);
	it->prev = NO_ITEM;
	it->next = ep->items;
	if (it->next != NO_ITEM)
		item_at(it->next)->prev = i;
	ep->items = i;
	item_set(i, ev);
	return 0;
}

/*
 * In a child: the parent has registered the same file in the same instance of the kernel's, perhaps under the
 * same number.
 */
static bool is_parents(const struct epoll *ep, const struct file *f)
{
	return ep->parents && f->kind == FILE_SOCK &&
	       container_of(f, struct sock, f)->shared;
}

/* One that could not be registered when it came is, now. */
static int ctl_twins(struct epoll *ep, int op, struct file *f, struct epoll_event *ev)
{
	int fds[N_TWINS], err = 0;
	uint32_t n = is_parents(ep, f) ? 0 : file_kernel_fds(f, fds), i;

	for (i = 0; i < n && !err; i++) {
		err = ctl_kernel(ep, op, fds[i], ev);
		if (err == -ENOENT)
			err = op == EPOLL_CTL_DEL ? 0 : ctl_kernel(ep, EPOLL_CTL_ADD, fds[i], ev);
	}
	while (err && op == EPOLL_CTL_ADD && --i)
		ctl_kernel(ep, EPOLL_CTL_DEL, fds[i - 1], NULL);
	return err;
}

static int ctl_ours(struct epoll *ep, int op, int fd, struct epoll_event *ev)
{
	struct file *f = file_get(fd);
	uint32_t i;
	int err = 0;

	if (!f)
		return -EBADF;
	if (f == &ep->f)
		return -EINVAL;
	if (op != EPOLL_CTL_DEL && !ev)
		return -EFAULT;
	if (op != EPOLL_CTL_ADD && op != EPOLL_CTL_MOD && op != EPOLL_CTL_DEL)
		return -EINVAL;
	if (op != EPOLL_CTL_DEL)
		err = file_take(f);
	if (err)
		return err;
	f = file_get(fd); /* that may have slept */
	if (!f || !file_is_open(&ep->f))
		return -EBADF;
	i = item_find(ep, f);
	if (op == EPOLL_CTL_ADD ? i != NO_ITEM : i == NO_ITEM)
		return i == NO_ITEM ? -ENOENT : -EEXIST;
	if (op == EPOLL_CTL_MOD && (item_at(i)->events | ev->events) & EPOLLEXCLUSIVE)
		return -EINVAL;
	/* The kernel's halves alike; it also finds loops. */
	if (f->kind == FILE_EPOLL)
		err = make_kernel(container_of(f, struct epoll, f));
	if (!err && !is_udp(f))
		err = ctl_twins(ep, op, f, ev);
	if (err)
		return err;
	if (op == EPOLL_CTL_ADD) {
		err = item_add(ep, f, ev);
		if (err && !is_udp(f))
			ctl_twins(ep, EPOLL_CTL_DEL, f, NULL);
		return err;
	}
	if (op == EPOLL_CTL_DEL) {
		item_free(i, f);
		return 0;
	}
	ctl_twin(ep, op, f, ev);
	item_set(i, ev);
	return 0;
}

int tandem_epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev)
{
	int err;
	struct epoll *ep = call_epoll(epfd, &err);

	if (!err)
		err = tandem_is_socket(fd) ? ctl_ours(ep, op, fd, ev) : ctl_kernel(ep, op, fd, ev);
	return (int)epoll_end(ep, err);
}

void epoll_mirror(struct file *f, int kfd)
{
	for (uint32_t i = first_item(&f->wq); i != NO_ITEM; i = item_at(i)->wq_next) {
		struct epoll_event ev = {.events = item_at(i)->events, .data = item_at(i)->data};

		if (!is_parents(item_ep(item_at(i)), f))
			ctl_kernel(item_ep(item_at(i)), EPOLL_CTL_ADD, kfd, &ev);
	}
}

void epoll_unmirror(struct file *f, int kfd)
{
	for (uint32_t i = first_item(&f->wq); i != NO_ITEM; i = item_at(i)->wq_next)
		if (!is_parents(item_ep(item_at(i)), f))
			ctl_kernel(item_ep(item_at(i)), EPOLL_CTL_DEL, kfd, NULL);
}

void lib_epoll_mirror(int fd, int kfd)
{
	int err = eng_enter_up();
	struct file *f = err ? NULL : file_get(fd);

	if (f)
		epoll_mirror(f, kfd);
	eng_leave();
}

/* ---- epoll_wait ---- */

static int collect(struct epoll *ep, struct epoll_event *evs, int max)
{
	int n = 0;

	for (uint32_t todo = ep->n_ready; todo && n < max; todo--) {
		uint32_t i = ep->rdy_head;
		struct epitem *it = item_at(i);
		uint32_t e = file_poll(file_get(it->file)) & it->events & ~EP_PRIVATE;

		ready_del(it);
		if (!e)
			continue;
		evs[n++] = (struct epoll_event){.events = e, .data = it->data};
		if (it->events & EPOLLONESHOT)
			it->events &= EP_PRIVATE;
		else if (!(it->events & EPOLLET))
			ready_add(i);
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

/*
 * The first wait in a child that goes on with its parent's instance: it wants the listeners in it.
 * Connections are likely to be the parent's business.
 */
static void take_listeners(struct epoll *ep)
{
	struct file *f;

	do {
		f = NULL;
		for (uint32_t i = ep->items; i != NO_ITEM && !f; i = item_at(i)->next) {
			struct sock *sk;

			f = file_get(item_at(i)->file);
			sk = container_of(f, struct sock, f);
			if (f->kind != FILE_SOCK || sk->state != SK_AWAY || sk->connect_seen)
				f = NULL;
		}
		/* The list may be another one after that. */
		if (f)
			file_take_or_fail(f);
	} while (f);
	ep->inherited = false;
}

static int do_epoll_wait(struct epoll *ep, struct epoll_event *evs, int max,
			 const struct timespec *timeout, const sigset_t *sigmask)
{
	struct ep_sleeper s = {.watch.fn = no_event, .waiter = {.efd = -1, .sigmask = sigmask}};
	bool wait = !timeout || timeout->tv_sec || timeout->tv_nsec;
	struct mtime until = MTIME_NEVER;
	int n, r = 0;

	if (ep->inherited)
		take_listeners(ep);
	/* Before a sleep the engine runs anyway; here, where there may be none. */
	eng.entries++;
	if (ep->n_ready || ep->n_kernel || !wait) {
		bool goes_on = wait && ep->n_ready;

		eng_run_for(&goes_on, clock_now());
	}
	if (eng.n_shared_l)
		listeners_ask(&ep->f);
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
		if (!file_is_open(&ep->f))
			r = -EBADF;
		else
			n = collect_both(ep, evs, max);
	}
	waitq_del(&s.watch);
	if (eng.n_shared_l)
		listeners_want();
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
