// SPDX-License-Identifier: BSD-2-Clause
/*
 * The engine's lock, and errands: system calls that can be made as well when it is free. To send is the
 * longest by far, as on a veth the receiver's half runs within it; a thread that is woken wants
 * the lock next. While threads meet at the lock, both wait until it is free (a program of one thread
 * has nothing to gain by that).
 *
 * Who runs errands uses the port and eventfds without the lock: it is counted in eng.outside, and
 * what they belong to is not taken apart before that is 0 again (eng_quiesce()).
 */
#include <signal.h>
#include "engine.h"

#define CROWDED 1000u /* releases of the lock since threads last met there */
#define QUIESCE_NS 20000

/*
 * This thread has the lock, is about to, or has just given it back: what a handler of a signal that
 * interrupts it has to know.
 */
static __thread volatile sig_atomic_t at_lock __attribute__((tls_model("initial-exec")));

struct errands {
	pid_t sigurg[ARRAY_SIZE(eng.sigurg)];
	int wake[ARRAY_SIZE(eng.wake)];
	uint32_t n_sigurg, n_wake, attached;
	struct port *port;
	uint64_t kicks;
};

/* An adaptive one spins for a little: what is done under the lock is short. */
void eng_lock_init(void)
{
	pthread_mutexattr_t a;

	eng.kicks = 0;
	eng.n_sigurg = eng.n_wake = eng.outside = 0;
	signals_wake(0);
	pthread_mutexattr_init(&a);
	pthread_mutexattr_settype(&a, PTHREAD_MUTEX_ADAPTIVE_NP);
	pthread_mutex_init(&eng.lock, &a);
	at_lock = 0;
	pthread_mutexattr_destroy(&a);
}

void eng_lock(void)
{
	at_lock = 1;
	if (pthread_mutex_trylock(&eng.lock)) {
		pthread_mutex_lock(&eng.lock);
		eng.crowded = CROWDED;
	}
	at_lock = 1; /* a handler may have had it meanwhile */
}

static bool taken(int err)
{
	at_lock = !err;
	return !err;
}

bool eng_trylock(void)
{
	at_lock = 1;
	return taken(pthread_mutex_trylock(&eng.lock));
}

bool eng_lock_before(const struct timespec *end)
{
	at_lock = 1;
	return taken(pthread_mutex_timedlock(&eng.lock, end));
}

bool eng_lock_unless_mine(void)
{
	if (!at_lock) {
		eng_lock();
		return true;
	}
	/* On the way in or out, perhaps, and nobody else has it. */
	return !pthread_mutex_trylock(&eng.lock);
}

void eng_wake_fd(int efd)
{
	if (eng.crowded && eng.n_wake < ARRAY_SIZE(eng.wake))
		eng.wake[eng.n_wake++] = efd;
	else
		fd_signal(efd);
}

bool eng_kicks_later(void)
{
	return eng.crowded && eng.state == ENGINE_UP;
}

static void take_errands(struct errands *e)
{
	e->n_sigurg = eng.n_sigurg;
	e->n_wake = eng.n_wake;
	e->kicks = eng.kicks;
	e->port = eng.port;
	e->attached = eng.n_attached;
	memcpy(e->sigurg, eng.sigurg, e->n_sigurg * sizeof(e->sigurg[0]));
	memcpy(e->wake, eng.wake, e->n_wake * sizeof(e->wake[0]));
	eng.n_sigurg = eng.n_wake = 0;
	eng.kicks = 0;
	__atomic_fetch_add(&eng.outside, 1, __ATOMIC_RELAXED);
}

void eng_kick_now(void)
{
	if (eng.kicks)
		port_kick_left(eng.port, eng.kicks);
	eng.kicks = 0;
}

/* The kernel had no room for all. */
static void kick_left(const struct errands *e)
{
	eng_lock();
	if (eng.state == ENGINE_UP && eng.n_attached == e->attached) {
		port_kick_left(eng.port, e->kicks);
		if (eng.dozer)
			wait_deadline_moved();
	}
	eng_unlock();
}

void eng_unlock(void)
{
	struct errands e;
	int err = 0;

	eng.crowded -= !!eng.crowded;
	if (!eng.kicks && !eng.n_wake && !eng.n_sigurg) {
		pthread_mutex_unlock(&eng.lock);
		at_lock = 0;
		return;
	}
	take_errands(&e);
	pthread_mutex_unlock(&eng.lock);
	at_lock = 0;
	if (e.kicks)
		err = port_kick(e.port, e.kicks);
	while (e.n_wake)
		fd_signal(e.wake[--e.n_wake]);
	__atomic_fetch_sub(&eng.outside, 1, __ATOMIC_RELEASE);
	if (err)
		kick_left(&e);
	while (e.n_sigurg)
		kill(e.sigurg[--e.n_sigurg], SIGURG);
}

void eng_quiesce(void)
{
	const struct timespec ts = {.tv_nsec = QUIESCE_NS};

	while (__atomic_load_n(&eng.outside, __ATOMIC_ACQUIRE))
		nanosleep(&ts, NULL);
}
