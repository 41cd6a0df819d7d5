// SPDX-License-Identifier: BSD-2-Clause
/*
 * The one loop. While packets or messages come in it goes round without sleeping; then it says in
 * every ring that it sleeps, looks once more, and waits in epoll for descriptors or the next
 * deadline. With nothing to do there is no deadline: no wake-ups.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include "daemon.h"

#define MAX_EVENTS 64
#define RX_BUDGET 256u
#define EPOLL_EVERY 8u		 /* rounds between looks at other descriptors under load */
#define RETRY_NS (5 * NS_PER_MS) /* full rings: nothing rings when there is room again */
#define TX_RETRY_NS NS_PER_MS

int watch_add(struct daemon *d, struct watch *w, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = w};

	return epoll_ctl(d->epfd, EPOLL_CTL_ADD, w->fd, &ev) ? -errno : 0;
}

void watch_mod(struct daemon *d, struct watch *w, uint32_t events)
{
	struct epoll_event ev = {.events = events, .data.ptr = w};

	epoll_ctl(d->epfd, EPOLL_CTL_MOD, w->fd, &ev);
}

void watch_del(struct daemon *d, struct watch *w)
{
	if (w->fd < 0)
		return;
	epoll_ctl(d->epfd, EPOLL_CTL_DEL, w->fd, NULL);
	close(w->fd);
	w->fd = -1;
}

void loop_stop(struct daemon *d, const char *why)
{
	d->stop = true;
	d->stop_why = why;
}

static void on_signal(struct daemon *d, struct watch *w, uint32_t events)
{
	struct signalfd_siginfo si;

	(void)events;
	while (read(w->fd, &si, sizeof(si)) == sizeof(si)) {
		if (si.ssi_signo == SIGHUP)
			reload_config(d);
		else
			loop_stop(d, "told to by a signal");
	}
}

int loop_open(struct daemon *d)
{
	sigset_t set;
	int err;

	d->sig.fd = -1;
	d->epfd = epoll_create1(EPOLL_CLOEXEC);
	if (d->epfd < 0)
		return -errno;
	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);
	d->sig = (struct watch){.fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC),
				.fn = on_signal};
	err = d->sig.fd < 0 ? -errno : watch_add(d, &d->sig, EPOLLIN);
	if (err)
		loop_close(d);
	return err;
}

void loop_close(struct daemon *d)
{
	watch_del(d, &d->sig);
	if (d->epfd >= 0)
		close(d->epfd);
	d->epfd = -1;
}

void loop_output(struct daemon *d)
{
	port_tx(d->port, d->stack, d->now);
}

void loop_events(struct daemon *d)
{
	struct stack_ev ev;

	while (stack_event_next(d->stack, &ev)) {
		if (ev.mask & EV_COOKIES)
			synflood_begin(d, ev.listener);
		if (ev.mask & EV_ACCEPT)
			dispatch_accept(d, ev.listener);
		else
			handover_event(d, &ev);
	}
}

uint32_t loop_round(struct daemon *d)
{
	uint32_t n;

	d->retry = false;
	stack_tick(d->stack, d->now);
	dispatch_refresh(d);
	udp_recheck(d);
	n = port_rx(d->port, d->stack, RX_BUDGET, &d->now, filter_yielded, d);
	loop_events(d);
	for (uint32_t s = 1; s < d->slots; s++)
		if (d->apps[s] && d->apps[s]->stage == APP_ALIVE)
			n += app_run(d, d->apps[s]);
	loop_events(d);
	loop_output(d);
	for (uint32_t s = 1; s < d->slots; s++)
		if (d->apps[s] && d->apps[s]->wake)
			app_wake(d->apps[s]);
	return n;
}

/* Marks all rings as slept on, or not. False: something has come in meanwhile. */
static bool all_sleep(struct daemon *d, bool sleeping)
{
	bool quiet = true;

	for (uint32_t s = 1; s < d->slots; s++) {
		struct app *a = d->apps[s];

		if (!a || a->stage != APP_ALIVE)
			continue;
		app_sleeps(a, sleeping);
		quiet &= !app_has_work(a);
	}
	return quiet;
}

static struct mtime next_deadline(struct daemon *d)
{
	struct mtime t = stack_deadline(d->stack);

	t = mtime_min(t, app_removals(d));
	t = mtime_min(t, ctl_deadline(d));
	t = mtime_min(t, synflood_run(d));
	t = mtime_min(t, front_run(d));
	t = mtime_min(t, share_deadline(d));
	t = mtime_min(t, sweep_run(d));
	t = mtime_min(t, trim_run(&d->trim, &d->arena, d->stack, d->now));
	if (d->retry)
		t = mtime_min(t, mtime_add_ns(d->now, RETRY_NS));
	if (port_tx_pending(d->port) || stack_wants_output(d->stack))
		t = mtime_min(t, mtime_add_ns(d->now, TX_RETRY_NS));
	return t;
}

static void wait_events(struct daemon *d, struct mtime until)
{
	struct epoll_event ev[MAX_EVENTS];
	struct timespec ts, *timeout = NULL;
	int n;

	if (!mtime_is_never(until)) {
		uint64_t ns = mtime_diff_ns(until, clock_now());

		ts = (struct timespec){.tv_sec = (time_t)(ns / NS_PER_S),
				       .tv_nsec = (long)(ns % NS_PER_S)};
		timeout = &ts;
	}
	n = epoll_pwait2(d->epfd, ev, MAX_EVENTS, timeout, NULL);
	d->now = clock_now();
	for (int i = 0; i < n; i++) {
		struct watch *w = ev[i].data.ptr;

		if (w->fd >= 0)
			w->fn(d, w, ev[i].events);
	}
	ctl_expire(d);
	ctl_reap(d);
}

void loop_run(struct daemon *d)
{
	uint32_t busy = 0;

	while (!d->stop) {
		bool sleep = false;
		struct mtime until;

		d->now = clock_now();
		if (loop_round(d) == 0) {
			sleep = all_sleep(d, true);
			if (!sleep)
				all_sleep(d, false);
		} else if (++busy % EPOLL_EVERY) {
			continue;
		}
		until = next_deadline(d);
		wait_events(d, sleep ? until : d->now);
		if (sleep)
			all_sleep(d, false);
	}
}
