// SPDX-License-Identifier: BSD-2-Clause
/*
 * Output that waits for more. A program that has woken up often sends several things before it
 * waits again: a header and then a body, an answer on each of many connections, an end. Sent one
 * by one each costs a system call, and what belongs to one segment leaves in two. So
 * they are held until the program waits in vain, until there are HOLD_MAX of them, or for
 * HOLD_US, as seen by its next call. To look whether there is something once, without waiting, is
 * no wait: servers do so after each answer. To look again and again is.
 *
 * A program may also never come back, or compute first, or wait for what only its peer's answer
 * brings about. Hence nothing is held unless the keeper is on watch: it looks every WATCH_US, and
 * sends what has been forgotten. Where that happened the program is not of the kind that this is
 * for, and nothing is held for a time, twice as long after each further one.
 *
 * The watch begins when a program has sent several things in a row repeatedly, an end among them,
 * and ends when nothing has been held for a while: a program that sends once and waits has no part
 * in all this.
 */
#include "engine.h"
#include "sandbox.h"

#define HOLD_US 50u
#define HOLD_MAX 16u
#define WATCH_US 500u
#define WATCH_IDLE 40u	 /* looks in vain before the watch ends */
#define DEMAND 8u	 /* times that something could have been held ... */
#define DEMAND_MS 10u	 /* ... within so long, for a watch to begin */
#define MISSES_MAX 10u	 /* a pause of 2^10 ms at most */
#define HITS_FORGIVE 64u /* that make up for a miss */

/* Sent at once; but there seems to be something to gain. */
static void demand(struct mtime now)
{
	if (mtime_before(now, eng.hold.not_before))
		return;
	if (mtime_diff_us(now, eng.hold.demand_since) > DEMAND_MS * 1000) {
		eng.hold.demand_since = now;
		eng.hold.demand = 0;
	}
	if (++eng.hold.demand < DEMAND)
		return;
	eng.hold.demand = 0;
	eng.hold.wanted = true;
	waiter_rouse(&eng.keeper_w);
}

static bool hold_on(struct mtime now)
{
	const struct hold *h = &eng.hold;

	return h->n && h->n < HOLD_MAX && mtime_diff_us(now, h->since) < HOLD_US;
}

static void output_soon(bool sent, struct mtime now)
{
	struct hold *h = &eng.hold;

	if (!stack_wants_output(eng.stack)) {
		if (port_tx_pending(eng.port))
			eng_output(now);
		return;
	}
	h->looks = 0;
	if (!h->watched) {
		eng_output(now);
		if (sent && ++h->in_row == 2) {
			h->in_row = 0;
			demand(now);
		}
		return;
	}
	if (!h->n) {
		h->times++;
		WRITE_ONCE(h->since.ns, now.ns);
	}
	WRITE_ONCE(h->n, h->n + 1);
	if (!hold_on(now))
		eng_output(now);
}

void eng_output_sent(struct mtime now)
{
	output_soon(true, now);
}

void eng_output_soon(struct mtime now)
{
	output_soon(false, now);
}

void eng_output_after(bool found, struct mtime now)
{
	struct hold *h = &eng.hold;
	bool waits = !found && ++h->looks > 1;

	if (waits)
		h->in_row = 0;
	if (waits || !hold_on(now))
		eng_output(now);
}

void hold_let_go(void)
{
	struct hold *h = &eng.hold;

	WRITE_ONCE(h->n, 0);
	if (h->misses && ++h->hits >= HITS_FORGIVE) {
		h->hits = 0;
		h->misses--;
	}
}

void hold_flush(struct mtime now)
{
	if (eng.hold.n)
		eng_output(now);
	if (eng.dozer)
		wait_deadline_moved();
}

/* The program has not come back in time. */
static void missed(struct mtime now)
{
	struct hold *h = &eng.hold;

	h->not_before = mtime_add_ms(now, 1u << h->misses);
	if (h->misses < MISSES_MAX)
		h->misses++;
	h->hits = 0;
	hold_flush(now);
}

/* Looks, without the lock, for as long as nothing is there or the program has it in hand. */
static bool watch_quietly(struct waiter *w, bool *roused)
{
	const struct timespec look = {.tv_nsec = WATCH_US * 1000};
	struct pollfd p = {.fd = w->efd, .events = POLLIN};
	uint32_t seen = READ_ONCE(eng.hold.times), times;

	for (uint32_t idle = 0; idle < WATCH_IDLE; idle++) {
		*roused = sandbox_poll(&p, 1, &look, NULL);
		if (*roused)
			return false;
		times = READ_ONCE(eng.hold.times);
		if (times != seen)
			idle = 0;
		/* There since the last look, as nothing else has been held meanwhile. */
		else if (READ_ONCE(eng.hold.n))
			return true;
		seen = times;
	}
	return false;
}

void hold_watch(struct waiter *w)
{
	uint32_t times;
	bool late, roused = false;

	eng.hold.wanted = false;
	eng.hold.watched = true;
	w->asleep = true;
	eng_unlock();
	late = watch_quietly(w, &roused);
	times = READ_ONCE(eng.hold.times);
	eng_lock();
	waiter_woke(w, roused);
	if (late && eng.hold.n && eng.hold.times == times)
		missed(clock_now());
	eng.hold.watched = false;
	hold_flush(clock_now());
}
