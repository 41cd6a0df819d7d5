// SPDX-License-Identifier: BSD-2-Clause
/*
 * wait.c: who leads, and that somebody always does. Nothing runs the engine here but the threads of
 * the test that wait: packets come from a wire of our own, which makes the port's descriptor
 * readable.
 */
#include "lib_sock.h"
#include "user/lib/shim.h"
#include <poll.h>
#include <sys/epoll.h>

#define LIMIT_MS 10000

/* What the peer has to send arrives, as an interrupt would have it; under the lock. */
static void wire(void)
{
	const struct itimerspec at_once = {.it_value.tv_nsec = 1};

	pump();
	if (eng_activity())
		timerfd_settime(w.timer_fd, TFD_TIMER_ABSTIME, &at_once, NULL);
}

static pthread_t wire_thread;
static bool wire_stop;

static void *wire_main(void *arg)
{
	while (!READ_ONCE(wire_stop)) {
		pthread_mutex_lock(&eng.lock);
		wire();
		pthread_mutex_unlock(&eng.lock);
		usleep(50);
	}
	return arg;
}

static int setup(void **state)
{
	int r = world_setup(state);

	wire_stop = false;
	return r ? r : -pthread_create(&wire_thread, NULL, wire_main, NULL);
}

static int teardown(void **state)
{
	WRITE_ONCE(wire_stop, true);
	pthread_join(wire_thread, NULL);
	return world_teardown(state);
}

static void arrives(uint32_t conn, const char *what)
{
	pthread_mutex_lock(&eng.lock);
	peer_send(conn, what, strlen(what));
	wire();
	pthread_mutex_unlock(&eng.lock);
}

/* Without a call into the library: @done() is asked under the lock until it holds. */
static void wait_idle(bool (*done)(const void *), const void *arg)
{
	struct mtime until = mtime_add_ms(clock_now(), LIMIT_MS);

	for (bool ok = false; !ok;) {
		if (!mtime_before(clock_now(), until))
			fail_msg("nothing came of it");
		pthread_mutex_lock(&eng.lock);
		ok = done(arg);
		pthread_mutex_unlock(&eng.lock);
		usleep(20);
	}
}

/* A thread with a connection and an epoll instance: it takes what comes, and counts. */
struct thread {
	pthread_t t;
	int ep, fd;
	uint32_t conn;
	uint32_t got;	  /* bytes, under the lock */
	bool absent;	  /* it has something better to do after the next byte */
	bool away, leave; /* it is at that; it is to come back */
};

static void *serve(void *arg)
{
	struct thread *t = arg;
	struct epoll_event ev;
	char c;

	for (;;) {
		assert_int_equal(tandem_epoll_wait(t->ep, &ev, 1, -1), 1);
		assert_int_equal(tandem_recv(t->fd, &c, 1, MSG_DONTWAIT), 1);
		if (c == 'q')
			return NULL;
		pthread_mutex_lock(&eng.lock);
		t->got++;
		t->away = t->absent;
		while (t->away && !t->leave) {
			pthread_mutex_unlock(&eng.lock);
			usleep(100);
			pthread_mutex_lock(&eng.lock);
		}
		t->away = t->absent = t->leave = false;
		pthread_mutex_unlock(&eng.lock);
	}
}

static bool waits(const void *n)
{
	uint32_t have = 0;

	for (struct waiter *wt = eng.waiters; wt; wt = wt->next)
		have += wt->asleep;
	return have == *(const uint32_t *)n;
}

static void thread_start(struct thread *t, uint32_t nth)
{
	struct epoll_event ev = {.events = EPOLLIN};

	t->fd = connected_to(PEER_MUTE_PORT);
	t->conn = peer_accepted();
	t->ep = tandem_epoll_create();
	assert_int_equal(tandem_epoll_ctl(t->ep, EPOLL_CTL_ADD, t->fd, &ev), 0);
	assert_int_equal(pthread_create(&t->t, NULL, serve, t), 0);
	wait_idle(waits, &nth);
}

static void thread_end(struct thread *t)
{
	arrives(t->conn, "q");
	pthread_join(t->t, NULL);
	tandem_close(t->fd);
	tandem_close(t->ep);
}

static bool has_more(const void *arg)
{
	const struct thread *t = arg;

	return t->got && !t->away;
}

static bool is_away(const void *arg)
{
	return ((const struct thread *)arg)->away;
}

static void feed(struct thread *t)
{
	t->got = 0;
	arrives(t->conn, "x");
	wait_idle(has_more, t);
}

static void go_away(struct thread *t)
{
	pthread_mutex_lock(&eng.lock);
	t->absent = true;
	pthread_mutex_unlock(&eng.lock);
	arrives(t->conn, "x");
	wait_idle(is_away, t);
}

static void come_back(struct thread *t)
{
	pthread_mutex_lock(&eng.lock);
	t->leave = true;
	pthread_mutex_unlock(&eng.lock);
}

static bool all_sleep_and_last_leads(const void *n)
{
	return waits(n) && eng.leader == eng.last_waiter;
}

static bool deputy_at_rest(const void *n)
{
	return waits(n) && eng.deputy && !eng.deputy_armed && eng.leader;
}

/* A server with an idle main thread: the one that has the work is to have the rings. */
static void test_wait_idle_leader_leaves_the_lead(void **state)
{
	struct thread idle = {0}, worker = {0};
	const uint32_t two = 2;
	uint32_t leaves;

	(void)state;
	thread_start(&idle, 1);
	pthread_mutex_lock(&eng.lock);
	assert_ptr_equal(eng.leader, eng.waiters);
	pthread_mutex_unlock(&eng.lock);
	thread_start(&worker, 2);
	for (int i = 0; i < 20; i++) {
		feed(&worker);
		wait_idle(waits, &two);
	}
	/* Still the idle one would wake it each time; now it wakes itself. */
	wait_idle(all_sleep_and_last_leads, &two);
	leaves = eng.leaves;
	feed(&worker);
	wait_idle(all_sleep_and_last_leads, &two);
	assert_int_equal(eng.leaves, leaves + 1);
	thread_end(&worker);
	thread_end(&idle);
}

/* The worker has the lead, and then stays away: others are not to miss what is theirs. */
static void test_wait_absent_leader_is_replaced(void **state)
{
	struct thread idle[2] = {{0}, {0}}, worker = {0};
	const uint32_t three = 3;

	(void)state;
	thread_start(&idle[0], 1);
	thread_start(&idle[1], 2);
	thread_start(&worker, 3);
	for (int at_rest = 0; at_rest < 2; at_rest++) {
		for (int i = 0; i < 20; i++) {
			feed(&worker);
			wait_idle(waits, &three);
		}
		wait_idle(all_sleep_and_last_leads, &three);
		/* Where the deputy sleeps without a limit, who leaves wakes it. */
		if (at_rest)
			wait_idle(deputy_at_rest, &three);
		go_away(&worker);
		/* The deputy is one of these, and leaves its place for its own byte, too. */
		for (int i = 0; i < 6; i++)
			feed(&idle[i % 2]);
		come_back(&worker);
		wait_idle(waits, &three);
	}
	thread_end(&worker);
	thread_end(&idle[0]);
	thread_end(&idle[1]);
}

/* ---- all kinds of waits at random: nobody is forgotten ---- */

#define N_RANDOM 8
#define RANDOM_ROUNDS 200

static int kick_fd, random_fd[N_RANDOM]; /* the world knows flows by their port: closed together */

static uint32_t rnd(uint32_t *s)
{
	*s = *s * 1664525 + 1013904223;
	return *s >> 16;
}

/* Reads one byte that is on its way, in one of five ways. */
static bool read_some_way(int fd, int ep, uint32_t *seed, char *c)
{
	struct pollfd p[2] = {{.fd = fd, .events = POLLIN}, {.fd = kick_fd, .events = POLLIN}};
	struct mtime until = mtime_add_ms(clock_now(), LIMIT_MS);
	struct epoll_event ev;
	uint32_t way = rnd(seed) % 5;
	uint64_t n_kicks;

	if (way == 0)
		return tandem_recv(fd, c, 1, 0) == 1;
	while (tandem_recv(fd, c, 1, MSG_DONTWAIT) != 1) {
		int n = way == 1   ? tandem_poll(p, 1, LIMIT_MS)
			: way == 2 ? tandem_poll(p, 2, LIMIT_MS)
			: way == 3 ? tandem_epoll_wait(ep, &ev, 1, LIMIT_MS)
				   : tandem_poll(p, 1, 1);

		if (way < 4 && n <= 0)
			return false;
		/* The kernel's descriptor has ended it. */
		if (way == 2 && p[1].revents && read(kick_fd, &n_kicks, sizeof(n_kicks)) < 0)
			continue;
		if (!mtime_before(clock_now(), until))
			return false;
	}
	return true;
}

static void *random_waits(void *arg)
{
	int fd = connected_to(PEER_ECHO_PORT), ep = tandem_epoll_create();
	struct epoll_event ev = {.events = EPOLLIN}, kick = {.events = EPOLLIN | EPOLLET};
	uint32_t seed = (uint32_t)(uintptr_t)arg, good = 0;
	uint64_t one = 1;

	tandem_epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
	tandem_epoll_ctl(ep, EPOLL_CTL_ADD, kick_fd, &kick);
	for (int i = 0; i < RANDOM_ROUNDS; i++) {
		char out = (char)i, in = 0;

		if (rnd(&seed) % 4 == 0)
			usleep(rnd(&seed) % 500);
		if (tandem_send(fd, &out, 1, 0) != 1)
			break;
		if (rnd(&seed) % 8 == 0 && write(kick_fd, &one, sizeof(one)) < 0)
			break;
		if (!read_some_way(fd, ep, &seed, &in) || in != out)
			break;
		good++;
	}
	tandem_close(ep);
	random_fd[(uintptr_t)arg] = fd;
	return (void *)(uintptr_t)good;
}

static void test_wait_at_random(void **state)
{
	pthread_t t[N_RANDOM];
	void *r;

	(void)state;
	kick_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	for (uintptr_t i = 0; i < N_RANDOM; i++)
		pthread_create(&t[i], NULL, random_waits, (void *)i);
	for (int i = 0; i < N_RANDOM; i++) {
		pthread_join(t[i], &r);
		assert_int_equal((uintptr_t)r, RANDOM_ROUNDS);
	}
	for (int i = 0; i < N_RANDOM; i++)
		tandem_close(random_fd[i]);
	close(kick_fd);
}

/* A leader that spins, and was taken off its CPU: who comes to wait leads in its place. */
static void test_wait_robbed_spinner_is_replaced(void **state)
{
	const struct timeval limit = {.tv_sec = 2};
	int fd = connected_to(PEER_MUTE_PORT);
	uint32_t conn = peer_accepted();
	struct waiter stuck = WAITER_INIT;
	char c;

	(void)state;
	assert_int_equal(tandem_setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)), 0);
	pthread_mutex_lock(&eng.lock);
	eng.leader = &stuck;
	eng.spinning = 1;
	eng.spin_look = (struct mtime){clock_now().ns - NS_PER_S};
	pthread_mutex_unlock(&eng.lock);
	arrives(conn, "a");
	assert_int_equal(tandem_recv(fd, &c, 1, 0), 1);
	pthread_mutex_lock(&eng.lock);
	assert_ptr_not_equal(eng.leader, &stuck);
	eng.spinning = 0;
	pthread_mutex_unlock(&eng.lock);
	tandem_close(fd);
}

/* Where spinning costs us our CPU there is none for a while. */
static void test_wait_robbed_does_not_spin(void **state)
{
	const struct timeval soon = {.tv_usec = 5000};
	int fd = connected_to(PEER_MUTE_PORT);
	char c;

	(void)state;
	assert_int_equal(tandem_setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &soon, sizeof(soon)), 0);
	for (int robbed = 1; robbed >= 0; robbed--) {
		pthread_mutex_lock(&eng.lock);
		eng.busy_poll_us = 50;
		eng.wait_ewma_ns = eng.spin_hold = 0;
		eng.spin_look = (struct mtime){0};
		eng.no_spin_until = mtime_add_ms(clock_now(), robbed ? 60000 : 0);
		pthread_mutex_unlock(&eng.lock);
		assert_int_equal(tandem_recv(fd, &c, 1, 0), -1);
		assert_int_equal(eng.spin_look.ns == 0, robbed);
	}
	tandem_close(fd);
}

static bool is_spinning(const void *arg)
{
	(void)arg;
	return eng.spinning;
}

static bool sleeps(const void *arg)
{
	(void)arg;
	return eng.leader && eng.leader->asleep;
}

/* As within a call of the shim's, which is to be made again where the thread goes on. */
static void *cancellable_recv(void *arg)
{
	struct lib_call outer;
	ssize_t n;
	char c;

	lib_call_begin(&outer);
	n = tandem_recv(*(int *)arg, &c, 1, 0);
	assert_int_equal(n, -1);
	assert_int_equal(errno, ECANCELED);
	assert_true(lib_call_again(&outer, n < 0));
	return NULL;
}

static int cancel_nobody(pthread_t t)
{
	(void)t;
	return 0;
}

/* pthread_cancel() of a thread that spins, which it does not stop to do, and of one that sleeps. */
static void test_wait_cancelled(void **state)
{
	int fd = connected_to(PEER_MUTE_PORT);

	(void)state;
	for (int spins = 0; spins < 2; spins++) {
		pthread_t t;

		pthread_mutex_lock(&eng.lock);
		eng.busy_poll_us = spins ? 1000000 : 0;
		eng.wait_ewma_ns = eng.spin_hold = 0;
		eng.no_spin_until = (struct mtime){0};
		pthread_mutex_unlock(&eng.lock);
		pthread_create(&t, NULL, cancellable_recv, &fd);
		wait_idle(spins ? is_spinning : sleeps, NULL);
		assert_int_equal(lib_cancel(t, cancel_nobody), 0);
		pthread_join(t, NULL);
	}
	tandem_close(fd);
}

static void on_usr1(int sig)
{
	(void)sig;
	lib_signal_seen();
}

/* A handler has run when the call has begun, and before it sleeps: as in the kernel it ends for that, once. */
static void test_wait_signal_before_the_sleep(void **state)
{
	const struct sigaction sa = {.sa_handler = on_usr1};
	struct pollfd p = {.fd = connected_to(PEER_MUTE_PORT), .events = POLLIN};
	struct lib_call outer;
	struct sigaction old;

	(void)state;
	assert_int_equal(sigaction(SIGUSR1, &sa, &old), 0);
	for (int i = 0; i < 2; i++) {
		eng.busy_poll_us = i ? 1000 : 0;
		raise(SIGUSR1);
		lib_call_begin(&outer);
		assert_int_equal(tandem_poll(&p, 1, 10), 0); /* it was before the call */
		lib_call_again(&outer, false);
		lib_call_begin(&outer);
		raise(SIGUSR1);
		assert_int_equal(tandem_poll(&p, 1, -1), -1);
		assert_int_equal(errno, EINTR);
		assert_int_equal(tandem_poll(&p, 1, 10), 0);
		lib_call_again(&outer, false);
	}
	sigaction(SIGUSR1, &old, NULL);
	tandem_close(p.fd);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_wait_idle_leader_leaves_the_lead),
		T(test_wait_absent_leader_is_replaced),
		T(test_wait_robbed_spinner_is_replaced),
		T(test_wait_robbed_does_not_spin),
		T(test_wait_cancelled),
		T(test_wait_signal_before_the_sleep),
		T(test_wait_at_random),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
