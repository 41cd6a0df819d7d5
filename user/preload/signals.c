// SPDX-License-Identifier: BSD-2-Clause
/*
 * Handlers of signals, so that the library knows that one has run: a call of the kernel's that waits
 * ends with EINTR also where the signal came just before it slept, and without that a server may
 * miss that it is to end (user/lib/wait.c). The kernel is given run() in their place, which calls
 * them; the program sees its own. Those that were set before this library was loaded, and a child
 * of vfork()'s, are left alone.
 */
#include "shim.h"

typedef void (*handler)(int sig, siginfo_t *info, void *context);

static _Atomic(handler) handlers[_NSIG];

static void run(int sig, siginfo_t *info, void *context)
{
	handler h = handlers[sig];
	int saved = errno;

	lib_signal_seen();
	errno = saved;
	if (h)
		h(sig, info, context);
}

static bool in_range(int sig)
{
	return sig > 0 && sig < _NSIG;
}

static sighandler_t plain(handler h)
{
	return (sighandler_t)(void (*)(void))h;
}

/* What stands in the kernel for @h of the program's, which is kept. */
static sighandler_t replaced(int sig, sighandler_t h)
{
	/* SIG_DFL, SIG_IGN, SIG_HOLD, SIG_ERR */
	if (h == SIG_ERR || (uintptr_t)h <= 2 || !in_range(sig) || !shim_own_process())
		return h;
	if (h != plain(run))
		handlers[sig] = (handler)(void (*)(void))h;
	return plain(run);
}

/* What the kernel had, as the program knows it: @before was in handlers[]. */
static sighandler_t as_set(sighandler_t h, handler before)
{
	return h == plain(run) ? plain(before) : h;
}

PUBLIC int sigaction(int sig, const struct sigaction *act, struct sigaction *old)
{
	handler before = in_range(sig) ? handlers[sig] : NULL;
	struct sigaction a;
	int r;

	if (act) {
		a = *act;
		a.sa_handler = replaced(sig, a.sa_handler);
	}
	r = real.sigaction(sig, act ? &a : NULL, old);
	if (r && in_range(sig))
		handlers[sig] = before;
	else if (!r && old)
		old->sa_handler = as_set(old->sa_handler, before);
	return r;
}

static sighandler_t set(sighandler_t (*call)(int, sighandler_t), int sig, sighandler_t h)
{
	handler before = in_range(sig) ? handlers[sig] : NULL;
	sighandler_t r = call(sig, replaced(sig, h));

	if (r == SIG_ERR && in_range(sig))
		handlers[sig] = before;
	return as_set(r, before);
}

#define SET(name)                                                                                  \
	sighandler_t name(int sig, sighandler_t h);                                                \
	PUBLIC sighandler_t name(int sig, sighandler_t h)                                          \
	{                                                                                          \
		return set(real.name, sig, h);                                                     \
	}
SET(signal)
SET(bsd_signal)
SET(ssignal)
SET(sysv_signal)
SET(__sysv_signal)
SET(sigset)
