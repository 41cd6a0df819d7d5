// SPDX-License-Identifier: BSD-2-Clause
/*
 * What ends a thread's wait from outside. Cancelled threads (pthread_cancel(3)): one of the shim's
 * calls is not to be left half-way, which would leave the engine locked: cancellation is off in it,
 * and libc does not interrupt a thread then. So a thread that waits in one is woken by us; its call
 * fails, without having done anything, and the thread is cancelled where it leaves the call.
 *
 * Who is not in the list of waiters yet finds itself among the last CANCELS that were cancelled, if
 * that was since its call began. Where these were more, it takes itself for one of them: its call
 * is made once more when it turns out not to be.
 */
#include "engine.h"
#include "shim.h"

#define CANCELS ARRAY_SIZE(eng.cancelled)

static __thread struct lib_call this_call __attribute__((tls_model("initial-exec")));
/* Written in handlers of signals. */
static __thread volatile uint32_t signals_seen __attribute__((tls_model("initial-exec")));
static __thread volatile int nap_efd __attribute__((tls_model("initial-exec"))); /* plus one */

void lib_call_begin(struct lib_call *outer)
{
	*outer = this_call;
	/* Before pthread_testcancel(): what that does not see yet is counted later. */
	this_call = (struct lib_call){
		.cancels_seen = __atomic_load_n(&eng.n_cancels, __ATOMIC_ACQUIRE),
		.signals_seen = signals_seen,
		.in_call = true,
	};
	pthread_testcancel();
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &this_call.state);
	this_call.cancellable = this_call.state == PTHREAD_CANCEL_ENABLE;
}

bool lib_call_again(const struct lib_call *outer, bool failed)
{
	struct lib_call c = this_call;

	this_call = *outer;
	pthread_setcancelstate(c.state, NULL);
	if (!failed || !c.cancelled)
		return false;
	pthread_testcancel();
	return true;
}

static bool cancelled_meanwhile(pthread_t self)
{
	uint32_t n = eng.n_cancels - this_call.cancels_seen;

	if (n > CANCELS)
		return true;
	for (; n; n--)
		if (pthread_equal(eng.cancelled[(eng.n_cancels - n) % CANCELS], self))
			return true;
	return false;
}

void cancel_watch(struct waiter *w)
{
	w->cancellable = this_call.cancellable;
	if (!w->cancellable)
		return;
	w->thread = pthread_self();
	w->cancelled = cancelled_meanwhile(w->thread);
}

void cancel_noted(void)
{
	this_call.cancelled = true;
}

bool cancel_off(void)
{
	bool could = this_call.cancellable;

	this_call.cancellable = false;
	return could;
}

void cancel_as_before(bool could)
{
	this_call.cancellable = could;
}

/* ---- signals: a handler counts, and ends the sleep that its thread is in or about to begin ---- */

void lib_signal_seen(void)
{
	signals_seen++;
	if (nap_efd)
		fd_signal(nap_efd - 1);
}

uint32_t signals_begin(void)
{
	return this_call.in_call ? this_call.signals_seen : signals_seen;
}

bool signals_since(uint32_t seen)
{
	return signals_seen != seen;
}

void signals_taken(void)
{
	this_call.signals_seen = signals_seen;
}

int signals_wake(int efd1)
{
	int before = nap_efd;

	nap_efd = efd1;
	return before;
}

static void mark(pthread_t thread)
{
	eng.cancelled[eng.n_cancels % CANCELS] = thread;
	__atomic_store_n(&eng.n_cancels, eng.n_cancels + 1, __ATOMIC_RELEASE);
	for (struct waiter *w = eng.waiters; w; w = w->next) {
		if (w->cancellable && pthread_equal(w->thread, thread)) {
			WRITE_ONCE(w->cancelled, true);
			waiter_rouse(w);
		}
	}
}

/* With the lock held none that waits can end, and leave its name to another thread. */
int lib_cancel(pthread_t thread, int (*cancel)(pthread_t thread))
{
	int r;

	if (pthread_equal(thread, pthread_self()) || !eng_lock_unless_mine())
		return cancel(thread);
	r = cancel(thread);
	if (!r)
		mark(thread);
	eng_unlock();
	return r;
}
