// SPDX-License-Identifier: BSD-2-Clause
/*
 * The keeper: a thread that runs the engine for a program that has not called in for a while, so
 * that its connections go on acknowledging, retransmitting and probing (DESIGN.md §7).
 *
 * It looks every 20 ms whether the engine has run. If so, or if a thread of the program is
 * in a wait of ours, it does nothing; after a second of such a wait it parks and
 * costs nothing at all until that wait ends. If not, it sleeps in the program's place on
 * the AF_XDP sockets, until the program comes back (keeper_oust()).
 */
#include <signal.h>
#include <unistd.h>
#include <sys/eventfd.h>
#include "engine.h"

#define TICK_MS 20
#define PARK_AFTER_MS 1000u
#define KEEPER_STACK (256u << 10)

static void rest(int timeout_ms)
{
	struct waiter *w = &eng.keeper_w;
	struct pollfd p = {.fd = w->efd, .events = POLLIN};
	bool ready;

	w->asleep = true;
	eng_unlock();
	ready = poll(&p, 1, timeout_ms) > 0;
	eng_lock();
	waiter_woke(w, ready);
}

/* Sleeps as the leader would; false when the program has come back. */
static bool stand_in(void)
{
	struct mtime now = clock_now();
	struct arena_hdr *h;
	uint32_t runs;

	if (eng.leader || eng.keeper_stop || eng.state != ENGINE_UP)
		return false;
	if (heir_is_due())
		heir_attach(now);
	eng_run(now);
	runs = eng.runs;
	h = (struct arena_hdr *)(void *)eng.own.base;
	WRITE_ONCE(h->keeper_runs, h->keeper_runs + 1);
	eng.keeper_on = true;
	eng.keeper_w.signals = signals_begin();
	waiter_doze(&eng.keeper_w, now, MTIME_NEVER, NULL, 0);
	eng.keeper_on = false;
	return eng.runs == runs && !eng.leader && !eng.keeper_stop;
}

static bool may_park(void)
{
	return eng.leader && eng.leader->asleep &&
	       mtime_diff_ns(clock_now(), eng.doze_since) > PARK_AFTER_MS * NS_PER_MS;
}

static void *keeper_main(void *arg)
{
	uint32_t seen;

	(void)arg;
	pthread_setname_np(pthread_self(), "tandem-keeper");
	eng_lock();
	seen = eng.runs;
	while (!eng.keeper_stop) {
		if (may_park()) {
			eng.keeper_parked = true;
			rest(-1);
			eng.keeper_parked = false;
		} else {
			rest(TICK_MS);
		}
		if (eng.hold.wanted && !eng.keeper_stop)
			hold_watch(&eng.keeper_w);
		else if (eng.runs == seen)
			while (stand_in())
				;
		seen = eng.runs;
	}
	eng_unlock();
	return NULL;
}

void keeper_oust(void)
{
	eng.keeper_on = false;
	waiter_rouse(&eng.keeper_w);
}

void keeper_unpark(void)
{
	eng.keeper_parked = false;
	waiter_rouse(&eng.keeper_w);
}

int keeper_start(void)
{
	sigset_t all, old;
	pthread_attr_t a;
	int err;

	eng.keeper_w = (struct waiter){.efd = fd_private(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC))};
	if (eng.keeper_w.efd < 0)
		return -errno;
	eng.keeper_stop = eng.keeper_on = eng.keeper_parked = false;
	eng.hold = (struct hold){.n = 0};
	pthread_attr_init(&a);
	pthread_attr_setstacksize(&a, KEEPER_STACK);
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	err = pthread_create(&eng.keeper, &a, keeper_main, NULL);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&a);
	eng.keeper_started = !err;
	return -err;
}

void keeper_join(void)
{
	if (!eng.keeper_started)
		return;
	eng.keeper_stop = true;
	waiter_rouse(&eng.keeper_w);
	eng_unlock();
	pthread_join(eng.keeper, NULL);
	eng_lock();
	eng.keeper_started = false;
}
