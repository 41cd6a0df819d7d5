// SPDX-License-Identifier: BSD-2-Clause
/*
 * Cancelled threads (pthread_cancel(3)). One of the shim's calls is not to be left half-way, which would
 * leave the engine locked: cancellation is off in it, and libc does not interrupt a thread then. So a thread
 * that waits in one is woken by us; its call fails, without having done anything, and the thread is
 * cancelled where it leaves the call.
 */
#include "engine.h"
#include "shim.h"

#define CANCELS ARRAY_SIZE(eng.cancelled)

static __thread struct lib_call call __attribute__((tls_model("initial-exec")));

void lib_call_begin(struct lib_call *outer)
{
	*outer = call;
	call = (struct lib_call){.cancels = READ_ONCE(eng.n_cancels)};
	pthread_testcancel();
	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &call.state);
	call.may = call.state == PTHREAD_CANCEL_ENABLE;
}

void lib_call_end(const struct lib_call *outer, bool failed)
{
	struct lib_call c = call;

	call = *outer;
	pthread_setcancelstate(c.state, NULL);
	if (failed && c.cancelled)
		pthread_testcancel();
}

/* Since the call began, which is seldom; before that libc has seen to it. */
static bool cancelled_meanwhile(pthread_t self)
{
	for (uint32_t n = call.cancels; n != eng.n_cancels; n++)
		if (pthread_equal(eng.cancelled[n % CANCELS], self))
			return true;
	return false;
}

void cancel_enter(struct waiter *w)
{
	w->cancellable = call.may;
	if (!w->cancellable)
		return;
	w->thread = pthread_self();
	w->cancelled = call.cancels != eng.n_cancels && cancelled_meanwhile(w->thread);
}

void cancel_leave(void)
{
	call.cancelled = true;
}

/* After libc's own pthread_cancel(). */
void lib_cancelled(pthread_t thread)
{
	if (!eng_lock_unless_mine())
		return;
	eng.cancelled[eng.n_cancels % CANCELS] = thread;
	WRITE_ONCE(eng.n_cancels, eng.n_cancels + 1);
	for (struct waiter *w = eng.waiters; w; w = w->next) {
		if (w->cancellable && pthread_equal(w->thread, thread)) {
			w->cancelled = true;
			waiter_rouse(w);
		}
	}
	eng_unlock();
}
