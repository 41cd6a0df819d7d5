// SPDX-License-Identifier: BSD-2-Clause
/*
 * Blocking. One thread at a time, the leader, polls: it runs the engine, spins on the rings
 * for as long as that is likely to pay (DESIGN.md §7), then sleeps in ppoll() on the AF_XDP
 * sockets and the doorbell. The others sleep on an eventfd of their own. Who finds that an event
 * is another's wakes it; a leader that leaves wakes a successor.
 *
 * The lock is dropped while a thread spins or sleeps. While the leader sleeps, the
 * rings from the daemon say so (shm_ring_hdr.sleeping), and whoever changes the stack's deadline
 * wakes it (wait_deadline_moved()).
 */
#include <stdlib.h>
#include <unistd.h>
#include <signal.h>
#include <sys/eventfd.h>
#include "engine.h"
#include "sandbox.h"

#define BACKLOG_RETRY_US 500u
#define EXPEL_ROUNDS 2000
#define EWMA_SHIFT 3
#define SPIN_HOLD_MAX 64u
/* Our own descriptors in ppoll(): eventfd, doorbell, control socket, AF_XDP sockets. */
#define OWN_FDS (3 + TD_MAX_QUEUES)
#define LOCAL_FDS (OWN_FDS + 16)

void waitq_add(struct waitq *q, struct watch *w)
{
	w->next = q->head;
	w->pprev = &q->head;
	if (watch_of(w->next))
		w->next->pprev = &w->next;
	q->head = w;
}

void waitq_del(struct watch *w)
{
	*w->pprev = w->next;
	if (watch_of(w->next))
		w->next->pprev = w->pprev;
}

void waitq_notify(struct waitq *q, uint32_t events)
{
	for (struct watch *w = watch_of(q->head), *next; w; w = next) {
		next = watch_of(w->next);
		w->fn(w, events);
	}
	epoll_notify(q, events);
}

void waiter_rouse(struct waiter *w)
{
	if (w->asleep && !w->signalled) {
		w->signalled = true;
		fd_signal(w->efd);
	}
}

void waiter_wake(struct waiter *w)
{
	WRITE_ONCE(w->woken, true);
	waiter_rouse(w);
}

/* ---- eventfds: as many as there were ever sleepers at one time ---- */

static int efd_get(struct waiter *w)
{
	if (w->efd >= 0)
		return 0;
	w->efd = eng.n_spare ? eng.spare_efds[--eng.n_spare]
			     : fd_private(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
	return w->efd < 0 ? -errno : 0;
}

static void spare_put(int efd)
{
	if (eng.n_spare == eng.max_spare) {
		uint32_t max = eng.max_spare ? eng.max_spare * 2 : 16;
		int *more = realloc(eng.spare_efds, max * sizeof(int));

		if (!more) {
			close(efd);
			return;
		}
		eng.spare_efds = more;
		eng.max_spare = max;
	}
	eng.spare_efds[eng.n_spare++] = efd;
}

void spare_efds_stock(uint32_t n)
{
	while (eng.n_spare < n) {
		int efd = fd_private(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));

		if (efd < 0)
			return;
		spare_put(efd);
	}
}

static void efd_put(struct waiter *w)
{
	if (w->efd >= 0)
		spare_put(w->efd);
}

void spare_efds_free(void)
{
	while (eng.n_spare)
		close(eng.spare_efds[--eng.n_spare]);
	free(eng.spare_efds);
	eng.spare_efds = NULL;
	eng.max_spare = 0;
}

/* ---- how long to spin ---- */

static uint32_t spin_bound_ns(void)
{
	return eng.busy_poll_us > 4000000 ? 4000000000u : eng.busy_poll_us * 1000;
}

/*
 * Spinning pays where packets have come soon lately. Waits are clipped to four times the bound, so
 * that one long rest does not outweigh many short waits; after spinning in vain the
 * next waits sleep at once, twice as many each time (the other end may share our CPU).
 */
static bool spin_pays(void)
{
	if (!eng.busy_poll_us)
		return false;
	if (eng.spin_hold) {
		eng.spin_hold--;
		return false;
	}
	return eng.wait_ewma_ns < 2 * (uint64_t)spin_bound_ns();
}

static void waited(uint64_t ns)
{
	uint64_t clip = 4 * (uint64_t)spin_bound_ns();

	ns = ns < clip ? ns : clip;
	eng.wait_ewma_ns += (uint32_t)(((int64_t)ns - (int64_t)eng.wait_ewma_ns) >> EWMA_SHIFT);
}

static void spun(bool hit)
{
	if (hit) {
		eng.spin_misses = 0;
		return;
	}
	if (eng.spin_misses < 6)
		eng.spin_misses++;
	eng.spin_hold = eng.spin_misses > 1 ? 1u << eng.spin_misses : 0;
	if (eng.spin_hold > SPIN_HOLD_MAX)
		eng.spin_hold = SPIN_HOLD_MAX;
}

static inline void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("yield");
#else
	__asm__ volatile("" ::: "memory");
#endif
}

/* True: there is something to do. Drops the lock. */
static bool spin(struct waiter *w, struct mtime now, struct mtime until)
{
	struct mtime limit = mtime_add_ns(now, spin_bound_ns());
	struct mtime end = mtime_min(mtime_min(limit, until), stack_deadline(eng.stack));
	bool hit = false;

	eng_unlock();
	do {
		for (int i = 0; i < 32 && !hit; i++) {
			hit = eng_activity() || READ_ONCE(w->woken) || READ_ONCE(eng.expelling);
			cpu_relax();
		}
	} while (!hit && mtime_before(clock_now(), end));
	pthread_mutex_lock(&eng.lock);
	if (hit || !mtime_before(end, limit))
		spun(hit);
	return hit || mtime_before(end, limit);
}

/* ---- sleeping ---- */

static int sleep_ppoll(const struct waiter *w, struct pollfd *fds, unsigned n, struct mtime now,
		       struct mtime until)
{
	struct timespec ts;
	uint64_t ns = mtime_diff_ns(until, now);
	int r;

	ts.tv_sec = (time_t)(ns / NS_PER_S);
	ts.tv_nsec = (long)(ns % NS_PER_S);
	eng_unlock();
	r = sandbox_poll(fds, n, mtime_is_never(until) ? NULL : &ts, w->sigmask);
	r = r < 0 ? -errno : r;
	pthread_mutex_lock(&eng.lock);
	return r;
}

static void rings_sleeping(uint32_t v)
{
	WRITE_ONCE(eng.to_app->hdr.sleeping, v);
	WRITE_ONCE(eng.pkts_to_app->hdr.sleeping, v);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static unsigned own_fds(struct pollfd *fds, int efd)
{
	int xsk[TD_MAX_QUEUES];
	unsigned n = 0, nx = port_fds(eng.port, xsk, TD_MAX_QUEUES);

	fds[n++] = (struct pollfd){.fd = efd, .events = POLLIN};
	fds[n++] = (struct pollfd){.fd = eng.bell_app, .events = POLLIN};
	/* For its end only: replies are for the thread that has asked (ctl_call()). */
	fds[n++] = (struct pollfd){.fd = eng.daemon_gone ? -1 : eng.ctl_fd};
	for (unsigned i = 0; i < nx; i++)
		fds[n++] = (struct pollfd){.fd = xsk[i], .events = POLLIN};
	return n;
}

/* Waking up: reads what woke us; 1: an extra descriptor is ready. */
static int woke(struct waiter *w, const struct pollfd *fds, unsigned n, struct pollfd *extra,
		unsigned n_extra)
{
	int r = 0;

	w->asleep = false;
	if (w->signalled)
		fd_drain(w->efd);
	w->signalled = false;
	for (unsigned i = 0; i < n_extra; i++) {
		extra[i].revents = fds[n + i].revents;
		r |= !!extra[i].revents;
	}
	return r;
}

int waiter_doze(struct waiter *w, struct mtime now, struct mtime until, struct pollfd *extra,
		unsigned n_extra)
{
	struct pollfd local[LOCAL_FDS], *fds = local;
	unsigned n;
	int r;

	if (n_extra > LOCAL_FDS - OWN_FDS) {
		fds = malloc((OWN_FDS + n_extra) * sizeof(*fds));
		if (!fds)
			return -ENOMEM;
	}
	n = own_fds(fds, w->efd);
	for (unsigned i = 0; i < n_extra; i++)
		fds[n + i] = extra[i];
	until = mtime_min(until, trim_run(now));
	eng.dozer = w;
	rings_sleeping(1);
	r = 0;
	if (eng_activity())
		goto out;
	until = mtime_min(until, stack_deadline(eng.stack));
	until = mtime_min(until, eng_parting_deadline());
	if (eng.n_shared_l)
		until = mtime_min(until, listeners_stale(now));
	if (eng_backlog())
		until = mtime_min(until, mtime_add_us(now, BACKLOG_RETRY_US));
	if (eng.daemon_gone)
		until = mtime_min(until, heir_deadline());
	eng.doze_until = until;
	w->asleep = true;
	eng_flush_lazy();
	port_rest(eng.port);
	r = sleep_ppoll(w, fds, n + n_extra, now, until);
	if (r > 0) {
		/* A keeper that a leader has replaced meanwhile leaves the doorbell to it. */
		if (fds[1].revents && eng.dozer == w)
			fd_drain(eng.bell_app);
		if (fds[2].revents)
			eng_daemon_lost();
	}
	if (r < 0)
		woke(w, NULL, 0, NULL, 0);
	else
		r = woke(w, fds, n, extra, n_extra);
out:
	if (eng.dozer == w) {
		rings_sleeping(0);
		eng.dozer = NULL;
	}
	if (fds != local)
		free(fds);
	return r;
}

void wait_deadline_moved(void)
{
	if (mtime_before(stack_deadline(eng.stack), eng.doze_until) ||
	    mtime_before(eng_parting_deadline(), eng.doze_until) || eng_backlog())
		waiter_rouse(eng.dozer);
}

/* ---- leader and followers ---- */

static int lead(struct waiter *w, struct mtime until, struct pollfd *extra, unsigned n_extra)
{
	struct mtime start = clock_now(), now = start;
	bool idle = false; /* nothing has come since @start */

	for (;;) {
		int r;

		if (eng_run(now) && idle) {
			waited(mtime_diff_ns(now, start));
			start = now;
		}
		idle = true;
		if (w->woken)
			return 0;
		if (eng.expelling)
			return -EBADF;
		if (!mtime_before(now, until))
			return -ETIMEDOUT;
		if (spin_pays() && spin(w, now, until)) {
			now = clock_now();
			continue;
		}
		r = efd_get(w);
		now = clock_now();
		if (!r) {
			eng.doze_since = now;
			r = waiter_doze(w, now, until, extra, n_extra);
			if (eng.keeper_parked)
				keeper_unpark();
		}
		if (r < 0 || r > 0)
			return r;
		now = clock_now();
	}
}

static int follow(struct waiter *w, struct mtime until, struct pollfd *extra, unsigned n_extra)
{
	struct pollfd local[LOCAL_FDS], *fds = local;
	struct mtime now = clock_now();
	int r = efd_get(w);

	if (r)
		return r;
	if (!mtime_before(now, until))
		return -ETIMEDOUT;
	if (n_extra >= LOCAL_FDS) {
		fds = malloc((1 + n_extra) * sizeof(*fds));
		if (!fds)
			return -ENOMEM;
	}
	fds[0] = (struct pollfd){.fd = w->efd, .events = POLLIN};
	for (unsigned i = 0; i < n_extra; i++)
		fds[1 + i] = extra[i];
	w->asleep = true;
	r = sleep_ppoll(w, fds, 1 + n_extra, now, until);
	if (r < 0)
		woke(w, NULL, 0, NULL, 0);
	else
		r = woke(w, fds, 1, extra, n_extra);
	if (fds != local)
		free(fds);
	return r;
}

/* Waits that this thread is in, or has been taken out of by longjmp(). */
static __thread unsigned waits;

bool waiter_abandoned(void)
{
	return waits;
}

int waiter_sleep(struct waiter *w, struct mtime until, struct pollfd *extra, unsigned n_extra)
{
	int r = 0;

	waits++;
	w->next = eng.waiters;
	w->pprev = &eng.waiters;
	if (w->next)
		w->next->pprev = &w->next;
	eng.waiters = w;
	eng.n_any += w->any_packet;
	if (eng.n_shared_l)
		listeners_want();
	while (!w->woken && !r) {
		if (eng.expelling) {
			r = -EBADF;
		} else if (!eng.leader) {
			eng.leader = w;
			r = lead(w, until, extra, n_extra);
			eng.leader = NULL;
		} else {
			r = follow(w, until, extra, n_extra);
		}
	}
	waits--;
	*w->pprev = w->next;
	if (w->next)
		w->next->pprev = w->pprev;
	eng.n_any -= w->any_packet;
	efd_put(w);
	w->efd = -1;
	if (!eng.leader && eng.waiters)
		waiter_rouse(eng.waiters);
	return w->woken || r > 0 ? 0 : r;
}

void waiters_expel(void)
{
	WRITE_ONCE(eng.expelling, true);
	for (int i = 0; eng.waiters && i < EXPEL_ROUNDS; i++) {
		const struct timespec ts = {.tv_nsec = 50000};

		for (struct waiter *w = eng.waiters; w; w = w->next)
			waiter_rouse(w);
		eng_unlock();
		nanosleep(&ts, NULL);
		pthread_mutex_lock(&eng.lock);
	}
	/* exit() in a signal handler that interrupted a wait: that one will never return. */
	eng.waiters = NULL;
	eng.leader = eng.dozer = NULL;
	eng.n_any = 0;
	WRITE_ONCE(eng.expelling, false);
}

/*
 * ppoll() is interrupted by any handler, but a call that blocks without a timeout is only to fail
 * for those without SA_RESTART (signal(7)). Which one ran cannot be told: if all would
 * restart, so do we.
 */
bool signals_restart(void)
{
	if (eng.forbidden & SANDBOX_NO_SIGACTION)
		return eng.restarts;
	for (int sig = 1; sig <= SIGRTMAX; sig++) {
		struct sigaction sa;

		if (sigaction(sig, NULL, &sa) || sa.sa_handler == SIG_DFL ||
		    sa.sa_handler == SIG_IGN)
			continue;
		if (!(sa.sa_flags & SA_RESTART))
			return false;
	}
	return true;
}

struct mtime timeout_deadline(uint64_t ns)
{
	return ns ? mtime_add_ns(clock_now(), ns) : MTIME_NEVER;
}

int wait_error(int r, uint64_t timeo, int on_timeout)
{
	if (r == -ETIMEDOUT)
		return on_timeout;
	if (r == -EINTR && !timeo && signals_restart())
		return 0;
	return r;
}
