// SPDX-License-Identifier: BSD-2-Clause
/*
 * Blocking. One thread at a time, the leader, polls: it runs the engine, spins on the rings
 * for as long as that is likely to pay (DESIGN.md §7), then sleeps in ppoll() on the AF_XDP
 * sockets and the doorbell. The others sleep on an eventfd of their own. Who finds that an event
 * is another's wakes it.
 *
 * A leader that has work goes to do it, and will soon be back: to wake a successor each time would
 * cost more than the work. So it only sees to it that somebody looks whether it stays away: one
 * of those who sleep is the deputy, and while leaders come and go its sleep ends after PATIENCE_US
 * (it is armed). It leads when the engine has not been run for that long. While one thread leads
 * for a long time, the deputy sleeps as the others do, and whoever leaves the lead then wakes it.
 * Who waits for what seldom comes is to be no leader: after VAIN_MAX rounds in a row that brought
 * something, but nothing for itself, it leaves the lead to those whom it wakes.
 *
 * What holds whenever the lock is free, and is why nobody sleeps while packets wait: if there is a
 * waiter, then there is a leader, or an armed deputy, or one of them has been woken (.signalled),
 * and looks to it that there is (may_lead(), follow()). Only a thread that leaves the lead or the
 * deputy's place, or the list of waiters, can end that: leave_watch() mends it.
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
#define ROBBED_US 2000u /* without our CPU, while we spun */
#define ROBBED_MS 100u	/* no spinning after that, at first */
#define ROBBED_MAX 5u	/* and 2^5 times as long at most */
#define ROBBED_FORGET_US 10000000u
#define STALE_US 500u /* since the leader looked, who spins */
#define PATIENCE_US 200u
#define LOCK_TRIES 8
#define LOCK_RETRY_US 100u
#define VAIN_MAX 8u
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
		eng_wake_fd(w->efd);
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
static bool spin_pays(struct mtime now)
{
	if (!eng.busy_poll_us || eng.daemon_gone || mtime_before(now, eng.no_spin_until))
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

/*
 * Somebody else had our CPU while we spun. Who burns its share of a contended CPU waits for long to
 * have it again, and packets with it: no spinning for a time, twice as long when that recurs.
 */
static void robbed(struct mtime now)
{
	if (mtime_diff_us(now, eng.no_spin_until) > ROBBED_FORGET_US)
		eng.n_robbed = 0;
	eng.no_spin_until = mtime_add_ms(now, ROBBED_MS << eng.n_robbed);
	if (eng.n_robbed < ROBBED_MAX)
		eng.n_robbed++;
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
	struct mtime look = now;
	bool hit = false, late = false;

	eng.spinning++;
	WRITE_ONCE(eng.spin_look.ns, now.ns);
	eng_unlock();
	do {
		for (int i = 0; i < 32 && !hit; i++) {
			hit = eng_activity() || READ_ONCE(w->woken) || READ_ONCE(w->cancelled) ||
			      READ_ONCE(eng.expelling) || signals_since(w->signals);
			cpu_relax();
		}
		now = clock_now();
		late |= mtime_diff_us(now, look) > ROBBED_US;
		look = now;
		WRITE_ONCE(eng.spin_look.ns, now.ns);
	} while (!hit && mtime_before(now, end));
	eng_lock();
	eng.spinning--;
	if (late)
		robbed(now);
	if (hit || !mtime_before(end, limit))
		spun(hit);
	return hit || mtime_before(end, limit);
}

/* ---- sleeping ---- */

/* With what there is of time, as ppoll() wants it; needs no lock. */
static int poll_until(const struct waiter *w, struct pollfd *fds, unsigned n, struct mtime now,
		      struct mtime until)
{
	struct timespec ts;
	uint64_t ns = mtime_diff_ns(until, now);
	int r, before;

	ts.tv_sec = (time_t)(ns / NS_PER_S);
	ts.tv_nsec = (long)(ns % NS_PER_S);
	before = signals_wake(w->efd + 1);
	/* A handler that ran before that is seen here, one that runs after it ends the sleep. */
	if (signals_since(w->signals))
		r = -EINTR;
	else if ((r = sandbox_poll(fds, n, mtime_is_never(until) ? NULL : &ts, w->sigmask)) < 0)
		r = -errno;
	signals_wake(before);
	return r;
}

static int sleep_ppoll(const struct waiter *w, struct pollfd *fds, unsigned n, struct mtime now,
		       struct mtime until)
{
	int r;

	eng_unlock();
	r = poll_until(w, fds, n, now, until);
	eng_lock();
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

/*
 * Who rouses a waiter may write a little later (eng_wake_fd()), perhaps to the next one that has that
 * eventfd, which then finds nothing.
 */
void waiter_woke(struct waiter *w, bool ready)
{
	w->asleep = false;
	if (w->signalled || ready)
		fd_drain(w->efd);
	w->signalled = false;
}

/* Waking up: reads what woke us; 1: an extra descriptor is ready. */
static int woke(struct waiter *w, const struct pollfd *fds, unsigned n, struct pollfd *extra,
		unsigned n_extra)
{
	int r = 0;

	waiter_woke(w, n && fds[0].revents);
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
	uint32_t attached = eng.n_attached;
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
	until = mtime_min(until, trim_run(&eng.trim, &eng.own, eng.stack, now));
	eng.dozer = w;
	rings_sleeping(1);
	r = 0;
	if (eng_activity())
		goto out;
	until = mtime_min(until, stack_deadline(eng.stack));
	until = mtime_min(until, eng_conn_deadline());
	if (eng.n_shared_l)
		until = mtime_min(until, listeners_stale(now));
	if (eng_backlog())
		until = mtime_min(until, mtime_add_us(now, BACKLOG_RETRY_US));
	if (heir_is_due())
		until = mtime_min(until, heir_deadline());
	eng.doze_until = until;
	w->asleep = true;
	eng_flush_lazy();
	port_rest(eng.port);
	r = sleep_ppoll(w, fds, n + n_extra, now, until);
	if (r > 0 && eng.n_attached == attached) {
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
	/* What is held is not for the sleeper to send: hold_flush(), or the end of a call. */
	if (eng.hold.n)
		return;
	if (mtime_before(stack_deadline(eng.stack), eng.doze_until) ||
	    mtime_before(eng_conn_deadline(), eng.doze_until) || eng_backlog())
		waiter_rouse(eng.dozer);
}

/* ---- leader, deputy and followers ---- */

/* When somebody has to look after the engine, which may be at work; needs no lock. */
static struct mtime served_until(void)
{
	return mtime_add_us((struct mtime){READ_ONCE(eng.served.ns)}, PATIENCE_US);
}

/* Is it for @w to lead? @fresh: it comes from the program, and so has had work until now. */
static bool may_lead(struct waiter *w, bool fresh)
{
	struct waiter *l = eng.leader;

	if (!l)
		return fresh || w->called || !mtime_before(clock_now(), served_until());
	/* It spins, but not on a CPU. */
	if (fresh && !l->asleep && eng.spinning &&
	    mtime_diff_us(clock_now(), (struct mtime){READ_ONCE(eng.spin_look.ns)}) > STALE_US)
		return true;
	if (!fresh || !l->asleep || l->vain < VAIN_MAX)
		return false;
	waiter_rouse(l); /* it finds that it leads no more */
	return true;
}

static void take_lead(struct waiter *w)
{
	eng.leader = w;
	w->called = false;
	if (eng.deputy == w) {
		eng.deputy = NULL;
		eng.deputy_armed = false;
	}
}

/*
 * @w leads, and something has come that was not for it. True: it leaves the lead to others: to who
 * began to wait last, if that one still sleeps, or else to who is at work, and will be back.
 */
static bool in_vain(struct waiter *w)
{
	struct waiter *last = eng.last_waiter;
	bool others = eng.entries != w->entries;

	w->entries = eng.entries;
	if (w->vain < VAIN_MAX)
		w->vain++;
	if (w->vain < VAIN_MAX || !others || w->any_packet)
		return false;
	if (last != w && !last->woken) {
		last->called = true;
		waiter_rouse(last);
	}
	return true;
}

static int lead(struct waiter *w, struct mtime until, struct pollfd *extra, unsigned n_extra)
{
	struct mtime start = clock_now(), now = start;
	bool idle = false; /* nothing has come since @start */

	for (;;) {
		bool got;
		int r;

		if (heir_is_due())
			heir_attach(now);
		got = eng_run_for(&w->woken, now);
		if (got && idle) {
			waited(mtime_diff_ns(now, start));
			start = now;
		}
		idle = true;
		if (w->woken)
			return 0;
		if (eng.expelling)
			return -EBADF;
		if (w->cancelled)
			return -ECANCELED;
		if (signals_since(w->signals))
			return -EINTR;
		if (!mtime_before(now, until))
			return -ETIMEDOUT;
		if (got && in_vain(w))
			return 0;
		if (spin_pays(now) && spin(w, now, until)) {
			if (eng.leader != w)
				return 0;
			now = clock_now();
			continue;
		}
		if (eng.leader != w)
			return 0;
		if (w->woken || w->cancelled || eng.expelling) /* while it spun */
			continue;
		r = efd_get(w);
		now = clock_now();
		if (!r) {
			eng.doze_since = now;
			r = waiter_doze(w, now, until, extra, n_extra);
			if (eng.keeper_parked)
				keeper_unpark();
		}
		if (r < 0 || r > 0 || eng.leader != w)
			return r;
		now = clock_now();
	}
}

/* How long the deputy may sleep before it looks whether somebody leads. */
static struct mtime deputy_until(struct waiter *w, struct mtime now)
{
	bool busy = eng.leaves != w->leaves;

	w->leaves = eng.leaves;
	eng.deputy_armed = !eng.leader || busy;
	if (!eng.leader)
		return served_until();
	return busy ? mtime_add_us(now, PATIENCE_US) : MTIME_NEVER;
}

/*
 * sleep_ppoll() of an armed deputy, whose next look is at @look. That it looks must cost those who
 * are at work nothing: where the engine has been run lately it does not touch the lock, and one
 * that is held it leaves alone for a few tries, or else its holder would have to wake it at each
 * release.
 */
static int sleep_armed(const struct waiter *w, struct pollfd *fds, unsigned n, struct mtime now,
		       struct mtime until, struct mtime look)
{
	int r, tries = 0;

	eng_unlock();
	for (;;) {
		r = poll_until(w, fds, n, now, mtime_min(until, look));
		now = clock_now();
		if (r || !mtime_before(now, until))
			break;
		look = served_until();
		if (mtime_before(now, look)) {
			tries = 0;
			continue;
		}
		if (eng_trylock())
			return r;
		if (++tries == LOCK_TRIES)
			break;
		look = mtime_add_us(now, LOCK_RETRY_US);
	}
	eng_lock();
	return r;
}

static int follow(struct waiter *w, struct mtime until, struct pollfd *extra, unsigned n_extra)
{
	struct pollfd local[LOCAL_FDS], *fds = local;
	struct mtime now = clock_now(), look;
	int r = efd_get(w);

	if (r)
		return r;
	if (!mtime_before(now, until))
		return -ETIMEDOUT;
	hold_flush(now);
	if (n_extra >= LOCAL_FDS) {
		fds = malloc((1 + n_extra) * sizeof(*fds));
		if (!fds)
			return -ENOMEM;
	}
	/* One that sleeps without a limit is no help where nobody leads. */
	if (!eng.deputy || (!eng.leader && !eng.deputy_armed))
		eng.deputy = w;
	look = eng.deputy == w ? deputy_until(w, now) : MTIME_NEVER;
	fds[0] = (struct pollfd){.fd = w->efd, .events = POLLIN};
	for (unsigned i = 0; i < n_extra; i++)
		fds[1 + i] = extra[i];
	w->asleep = true;
	r = mtime_is_never(look) ? sleep_ppoll(w, fds, 1 + n_extra, now, until)
				 : sleep_armed(w, fds, 1 + n_extra, now, until, look);
	if (r < 0)
		woke(w, NULL, 0, NULL, 0);
	else
		r = woke(w, fds, 1, extra, n_extra);
	if (fds != local)
		free(fds);
	return r;
}

/* Those who are left need a leader, or a deputy who looks to it soon. */
static void leave_watch(void)
{
	if (eng.waiters && !eng.leader && !eng.deputy_armed)
		waiter_rouse(eng.deputy ? eng.deputy : eng.waiters);
}

/* Waits that this thread is in, or has been taken out of by longjmp(). */
static __thread unsigned waits;

bool waiter_abandoned(void)
{
	return waits;
}

/* At the end: who has waited longest stands first, and makes the best deputy. */
static void list_add(struct waiter *w)
{
	w->next = NULL;
	w->prev = eng.last_waiter;
	*(w->prev ? &w->prev->next : &eng.waiters) = w;
	eng.last_waiter = w;
}

static void list_del(struct waiter *w)
{
	*(w->prev ? &w->prev->next : &eng.waiters) = w->next;
	*(w->next ? &w->next->prev : &eng.last_waiter) = w->prev;
}

void wait_for_the_end(void)
{
	eng_unlock();
	for (;;)
		pause();
}

int waiter_sleep(struct waiter *w, struct mtime until, struct pollfd *extra, unsigned n_extra)
{
	bool fresh = true;
	int r = 0;

	waits++;
	list_add(w);
	cancel_watch(w);
	w->called = false;
	w->vain = 0;
	w->signals = signals_begin();
	w->entries = ++eng.entries;
	eng.n_any += w->any_packet;
	if (eng.n_shared_l)
		listeners_want();
	while (!w->woken && !r) {
		if (eng.expelling) {
			r = -EBADF;
		} else if (w->cancelled) {
			r = -ECANCELED;
		} else if (signals_since(w->signals)) {
			r = -EINTR;
		} else if (may_lead(w, fresh)) {
			take_lead(w);
			r = lead(w, until, extra, n_extra);
			if (eng.leader == w)
				eng.leader = NULL;
		} else {
			r = follow(w, until, extra, n_extra);
		}
		fresh = false;
	}
	waits--;
	list_del(w);
	if (eng.deputy == w) {
		eng.deputy = NULL;
		eng.deputy_armed = false;
	}
	eng.leaves++;
	eng.n_any -= w->any_packet;
	efd_put(w);
	w->efd = -1;
	leave_watch();
	if (r == -ECANCELED && !w->woken)
		cancel_noted();
	if (r == -EINTR && !w->woken)
		signals_taken();
	if (r == -EINTR && w->efd >= 0)
		fd_drain(w->efd); /* the handler's */
	if (r == -EBADF && eng.exiting)
		wait_for_the_end();
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
		eng_lock();
	}
	/* exit() in a signal handler that interrupted a wait: that one will never return. */
	eng.waiters = eng.last_waiter = NULL;
	eng.leader = eng.dozer = eng.deputy = NULL;
	eng.deputy_armed = false;
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
