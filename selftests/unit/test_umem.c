// SPDX-License-Identifier: BSD-2-Clause
/*
 * umem.c and shlock.c without a kernel: the rings stand in plain shared memory, and this
 * program plays the kernel on them. Whatever processes do, and wherever they are killed,
 * in the end every frame is in the pool exactly once.
 */
#include <errno.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <cmocka.h>
#include "user/io/clock.h"
#include "user/io/umem.h"

#define N_FRAMES 1024u
#define RING 256u
#define N_APPS 3u

/* Between kills, in instructions; a prime meets every place of a loop. */
#ifdef __SANITIZE_ADDRESS__
#define STRIDE 89u
#else
#define STRIDE 11u
#endif

/* One ring as the kernel lays it out, more or less. */
struct ring {
	uint32_t producer, consumer, flags, pad;
	uint64_t e[RING];
};

/* All that the "kernel" shares with the processes. */
struct world {
	struct ring fill, comp;
	struct ring rx[N_APPS + 1], tx[N_APPS + 1]; /* by slot */
	uint32_t go;
};

static struct world *world_new(void)
{
	void *p = mmap(NULL, sizeof(struct world), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	assert_true(p != MAP_FAILED);
	return p;
}

static void world_free(struct world *w)
{
	munmap(w, sizeof(*w));
}

static struct umem_queue queue_of(struct world *w)
{
	struct umem_queue q = {.index = 0};

	q.fill = (struct xsk_ring_prod){.mask = RING - 1,
					.size = RING,
					.producer = &w->fill.producer,
					.consumer = &w->fill.consumer,
					.flags = &w->fill.flags,
					.ring = w->fill.e};
	q.comp = (struct xsk_ring_cons){.mask = RING - 1,
					.size = RING,
					.producer = &w->comp.producer,
					.consumer = &w->comp.consumer,
					.flags = &w->comp.flags,
					.ring = w->comp.e};
	return q;
}

static uint32_t used(const struct ring *r)
{
	return load_acquire(&r->producer) - load_acquire(&r->consumer);
}

static bool put(struct ring *r, uint64_t v)
{
	if (used(r) >= RING)
		return false;
	r->e[r->producer & (RING - 1)] = v;
	store_release(&r->producer, r->producer + 1);
	return true;
}

static bool take(struct ring *r, uint64_t *v)
{
	if (!used(r))
		return false;
	*v = r->e[r->consumer & (RING - 1)];
	store_release(&r->consumer, r->consumer + 1);
	return true;
}

/* The kernel's part: receive a few packets for slot @slot, transmit a few of its. */
static void kernel_step(struct world *w, uint32_t slot, unsigned n)
{
	uint64_t a;

	for (unsigned i = 0; i < n && used(&w->rx[slot]) < RING && take(&w->fill, &a); i++)
		if (a < (uint64_t)N_FRAMES * UMEM_FRAME_SIZE)
			put(&w->rx[slot], a + UMEM_HEADROOM);
	for (unsigned i = 0; i < n && used(&w->comp) < RING && take(&w->tx[slot], &a); i++)
		put(&w->comp, a);
}

/* ---- what a process does with its frames ---- */

struct app {
	struct world *w;
	struct umem u;
	struct umem_queue q;
	struct frame_cache c;
	uint32_t rnd;
};

static uint32_t rnd(uint32_t *s)
{
	*s = *s * 1664525u + 1013904223u;
	return *s >> 8;
}

static void app_receive(struct app *a)
{
	struct ring *r = &a->w->rx[a->u.slot];
	uint32_t n = used(r);

	if (n > FRAME_CACHE_MAX - a->c.n)
		n = FRAME_CACHE_MAX - a->c.n;
	for (uint32_t i = 0; i < n; i++)
		umem_own(&a->u, umem_frame_of(r->e[(r->consumer + i) & (RING - 1)]));
	for (uint32_t i = 0; i < n; i++)
		a->c.frame[a->c.n++] = umem_frame_of(r->e[(r->consumer + i) & (RING - 1)]);
	store_release(&r->consumer, r->consumer + n);
}

static void app_send(struct app *a)
{
	uint32_t n = rnd(&a->rnd) % 16;

	while (n-- && a->c.n && used(&a->w->tx[a->u.slot]) < RING) {
		uint32_t f = a->c.frame[--a->c.n];

		umem_give(&a->u, f, FRAME_TX, a->u.slot);
		put(&a->w->tx[a->u.slot], (uint64_t)f * UMEM_FRAME_SIZE + UMEM_HEADROOM);
	}
}

static void app_step(struct app *a)
{
	switch (rnd(&a->rnd) % 8) {
	case 0:
	case 1:
		app_receive(a);
		break;
	case 2:
	case 3:
		app_send(a);
		break;
	case 4:
		umem_flush_cache(&a->u, &a->c);
		break;
	default:
		umem_balance(&a->u, &a->q, &a->c, 100, 16, 64);
	}
}

static void app_open(struct app *a, struct world *w, const struct umem *parent, uint16_t slot)
{
	memset(a, 0, sizeof(*a));
	a->w = w;
	a->q = queue_of(w);
	if (umem_attach(&a->u, dup(parent->fd), dup(parent->ctl_fd), N_FRAMES, slot) < 0)
		abort();
	umem_set_queues(&a->u, &a->q, 1);
}

/* ---- checks ---- */

/* Every frame once, in the pool or where @w's rings have it. */
static void check_all_home(struct umem *u, struct umem_queue *q)
{
	static struct frame_cache c;
	struct umem_usage us;
	uint8_t seen[N_FRAMES] = {0};
	uint64_t a;
	struct world *w;

	/* Drain the fill ring: nobody receives any more. */
	w = (struct world *)((uint8_t *)q->fill.producer - offsetof(struct world, fill.producer));
	while (take(&w->fill, &a))
		if (a < u->size)
			assert_int_equal(
				umem_reclaim(u, 999, (uint32_t[]){umem_frame_of(a)}, 1, true), 0);
	umem_usage(u, &us);
	if (us.pool != N_FRAMES)
		print_error("pool %u fill %u tx %u owned %u injected %u bad %u\n", us.pool, us.fill,
			    us.tx, us.owned, us.injected, us.bad);
	assert_int_equal(us.pool, N_FRAMES);
	c.n = 0;
	umem_balance(u, q, &c, 0, FRAME_CACHE_MAX, FRAME_CACHE_MAX);
	assert_int_equal(c.n, N_FRAMES);
	for (uint32_t i = 0; i < c.n; i++) {
		assert_true(c.frame[i] < N_FRAMES);
		assert_false(seen[c.frame[i]]);
		seen[c.frame[i]] = 1;
	}
	umem_flush_cache(u, &c);
	umem_usage(u, &us);
	assert_int_equal(us.pool, N_FRAMES);
}

/* As the daemon does after a death: what stood unread, what it owned, what it was sending. */
static void bury(struct umem *u, struct umem_queue *q, struct world *w, uint16_t slot)
{
	struct frame_cache c = {0};
	uint32_t left[RING], n = 0;
	uint64_t a;

	while (take(&w->rx[slot], &a))
		left[n++] = umem_frame_of(a);
	while (take(&w->tx[slot], &a))
		;
	umem_reclaim(u, slot, left, n, false);
	umem_balance(u, q, &c, 0, 0, 0); /* completions that are under way */
	umem_flush_cache(u, &c);
	assert_int_equal(umem_reclaim(u, slot, NULL, 0, true), 0);
	assert_int_equal(umem_count_slot(u, slot), 0);
}

/* ---- tests ---- */

static void test_umem_attach_checks_what_it_is_given(void **state)
{
	struct umem u, v;
	int fd;

	(void)state;
	assert_int_equal(umem_create(&u, 0), -EINVAL);
	assert_int_equal(umem_create(&u, N_FRAMES), 0);
	assert_int_equal(umem_attach(&v, u.fd, u.ctl_fd, N_FRAMES + 1, 1), -EINVAL);
	assert_int_equal(umem_attach(&v, u.ctl_fd, u.fd, N_FRAMES, 1), -EINVAL);
	fd = memfd_create("unsealed", MFD_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(ftruncate(fd, (off_t)u.size), 0);
	assert_int_equal(umem_attach(&v, fd, u.ctl_fd, N_FRAMES, 1), -EINVAL);
	close(fd);
	assert_int_equal(umem_attach(&v, u.fd, u.ctl_fd, N_FRAMES, 5000), -EINVAL);
	/* The slot of a living process. */
	assert_int_equal(umem_attach(&v, u.fd, u.ctl_fd, N_FRAMES, 0), -EBUSY);
	assert_int_equal(umem_attach(&v, dup(u.fd), dup(u.ctl_fd), N_FRAMES, 1), 0);
	umem_close(&v);
	assert_int_equal(umem_attach(&v, dup(u.fd), dup(u.ctl_fd), N_FRAMES, 1), 0);
	umem_close(&v);
	umem_close(&u);
}

static void test_umem_valid(void **state)
{
	struct umem u = {.size = 4 * UMEM_FRAME_SIZE, .n_frames = 4};

	(void)state;
	assert_true(umem_valid(&u, 0, UMEM_FRAME_SIZE));
	assert_true(umem_valid(&u, 3 * UMEM_FRAME_SIZE + 256, UMEM_FRAME_SIZE - 256));
	assert_false(umem_valid(&u, 3 * UMEM_FRAME_SIZE + 256, UMEM_FRAME_SIZE - 255));
	assert_false(umem_valid(&u, 4 * UMEM_FRAME_SIZE, 0));
	assert_false(umem_valid(&u, UINT64_MAX, 1));
	assert_false(umem_valid(&u, 0, UINT32_MAX));
}

static void test_umem_balance_fills_reaps_and_keeps_bounds(void **state)
{
	struct world *w = world_new();
	struct frame_cache c = {0};
	struct umem_usage us;
	struct umem_queue q;
	struct umem u;

	(void)state;
	assert_int_equal(umem_create(&u, N_FRAMES), 0);
	q = queue_of(w);
	umem_set_queues(&u, &q, 1);
	assert_true(umem_needs_balance(&u, &q, &c, 100, 16, 64));
	assert_int_equal(umem_balance(&u, &q, &c, 100, 16, 64), 16);
	assert_int_equal(used(&w->fill), 100);
	assert_false(umem_needs_balance(&u, &q, &c, 100, 16, 64));
	umem_usage(&u, &us);
	assert_int_equal(us.fill, 100);
	assert_int_equal(us.owned_by_daemon, 16);
	assert_int_equal(us.pool, N_FRAMES - 116);

	/* A frame of ours, one never sent, and rubbish in the completion ring. */
	umem_give(&u, c.frame[--c.n], FRAME_TX, 0);
	put(&w->comp, (uint64_t)c.frame[c.n] * UMEM_FRAME_SIZE + UMEM_HEADROOM);
	put(&w->comp, (uint64_t)c.frame[0] * UMEM_FRAME_SIZE);
	put(&w->comp, UINT64_MAX);
	assert_int_equal(umem_balance(&u, &q, &c, 100, 16, 64), 16);
	assert_int_equal(used(&w->comp), 0);
	umem_usage(&u, &us);
	assert_int_equal(us.comp_ignored, 2);
	assert_int_equal(us.tx, 0);
	umem_flush_cache(&u, &c);
	check_all_home(&u, &q);
	umem_close(&u);
	world_free(w);
}

/* Ring indices and the control block as a hostile process may leave them: no harm to us. */
static void test_umem_balance_with_scribbled_memory(void **state)
{
	struct world *w = world_new();
	struct frame_cache c = {0};
	struct umem_queue q;
	uint32_t seed = 7;
	struct umem u;

	(void)state;
	assert_int_equal(umem_create(&u, N_FRAMES), 0);
	q = queue_of(w);
	umem_set_queues(&u, &q, 1);
	for (unsigned i = 0; i < 3000; i++) {
		/* All but the word of the lock: a lock held for ever only makes us wait. */
		uint32_t *b = (uint32_t *)u.ctl + 17;

		for (unsigned k = 0; k < 8; k++)
			b[rnd(&seed) % (15 + 2 * N_FRAMES)] = rnd(&seed) << rnd(&seed) % 9;
		((uint32_t *)&w->fill)[rnd(&seed) % 2] = rnd(&seed);
		((uint32_t *)&w->comp)[rnd(&seed) % 2] = rnd(&seed) % 300;
		w->comp.e[rnd(&seed) % RING] = (uint64_t)rnd(&seed) << rnd(&seed) % 40;
		if (i % 16 == 0) /* a dead holder's word: repair runs on what stands there */
			*((uint32_t *)u.ctl + 16) = 77u << 20 | 5;
		umem_balance(&u, &q, &c, 100, 16, 64);
		umem_reclaim(&u, (uint16_t)(rnd(&seed) % 4), NULL, 0, true);
		if (i % 8 == 0)
			umem_flush_cache(&u, &c);
		assert_true(c.n <= FRAME_CACHE_MAX);
		for (uint32_t k = 0; k < c.n; k++)
			assert_true(c.frame[k] < N_FRAMES);
	}
	umem_close(&u);
	world_free(w);
}

static void child_loop(struct world *w, const struct umem *parent, uint16_t slot, uint32_t seed)
{
	static struct app a;

	app_open(&a, w, parent, slot);
	a.rnd = seed;
	for (;;)
		app_step(&a);
}

/* Three processes at random work, 300 kills at random moments, the others never stopping. */
static void test_umem_300_random_kills(void **state)
{
	struct world *w = world_new();
	pid_t pid[N_APPS + 1] = {0};
	struct umem_usage us;
	struct umem_queue q;
	uint32_t seed = 1;
	struct umem u;

	(void)state;
	assert_int_equal(umem_create(&u, N_FRAMES), 0);
	q = queue_of(w);
	umem_set_queues(&u, &q, 1);
	for (unsigned kills = 0; kills < 300 + N_APPS;) {
		uint16_t slot = (uint16_t)(1 + rnd(&seed) % N_APPS);
		struct mtime end = mtime_add_us(clock_now(), rnd(&seed) % 3000);

		if (!pid[slot] && kills < 300) {
			pid[slot] = fork();
			assert_true(pid[slot] >= 0);
			if (!pid[slot])
				child_loop(w, &u, slot, rnd(&seed));
		}
		while (mtime_before(clock_now(), end))
			for (uint32_t s = 1; s <= N_APPS; s++)
				kernel_step(w, s, 4);
		if (!pid[slot]) {
			kills += kills >= 300;
			continue;
		}
		kill(pid[slot], SIGKILL);
		assert_int_equal(waitpid(pid[slot], NULL, 0), pid[slot]);
		pid[slot] = 0;
		bury(&u, &q, w, slot);
		kills++;
	}
	for (uint16_t s = 1; s <= N_APPS; s++) {
		if (pid[s]) {
			kill(pid[s], SIGKILL);
			waitpid(pid[s], NULL, 0);
		}
		bury(&u, &q, w, s);
	}
	umem_usage(&u, &us);
	print_message("repairs: %llu\n", (unsigned long long)us.recoveries);
	assert_int_equal(us.comp_ignored, 0);
	check_all_home(&u, &q);
	umem_close(&u);
	world_free(w);
}

static void send_n(struct app *a, unsigned n)
{
	while (n--) {
		uint32_t f = a->c.frame[--a->c.n];

		umem_give(&a->u, f, FRAME_TX, 1);
		put(&a->w->tx[1], (uint64_t)f * UMEM_FRAME_SIZE);
	}
}

/* The same work each time, so that the kill can come @n instructions after its begin. */
static void child_fixed_work(struct world *w, const struct umem *parent)
{
	static struct app a;

	app_open(&a, w, parent, 1);
	umem_balance(&a.u, &a.q, &a.c, 24, 8, 24);
	umem_flush_cache(&a.u, &a.c); /* binds all symbols, fills the rings */
	umem_balance(&a.u, &a.q, &a.c, 24, 8, 24);
	send_n(&a, 4);
	kernel_step(w, 1, 6); /* 6 frames to receive, 4 completions to reap */
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	app_receive(&a);
	send_n(&a, 3);
	umem_balance(&a.u, &a.q, &a.c, 24, 4, 6);
	umem_flush_cache(&a.u, &a.c);
	_exit(0);
}

/* False: the work was finished before step @n. */
static bool kill_at_instruction(unsigned n, uint64_t *repairs)
{
	struct world *w = world_new();
	struct umem_usage us;
	struct umem_queue q;
	bool alive = true;
	struct umem u;
	pid_t pid;
	int st;

	assert_int_equal(umem_create(&u, N_FRAMES), 0);
	q = queue_of(w);
	umem_set_queues(&u, &q, 1);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		child_fixed_work(w, &u);
	assert_int_equal(waitpid(pid, &st, 0), pid);
	assert_true(WIFSTOPPED(st));
	while (n-- && alive) {
		assert_int_equal(ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL), 0);
		assert_int_equal(waitpid(pid, &st, 0), pid);
		alive = WIFSTOPPED(st);
	}
	if (alive) {
		kill(pid, SIGKILL);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
	}
	kernel_step(w, 1, RING); /* what it had sent is completed */
	bury(&u, &q, w, 1);
	umem_usage(&u, &us);
	*repairs += us.recoveries;
	check_all_home(&u, &q);
	umem_close(&u);
	world_free(w);
	return alive;
}

static void test_umem_kill_at_every_few_instructions(void **state)
{
	unsigned n = 0, runs = 0;
	uint64_t repairs = 0;

	(void)state;
	while (kill_at_instruction(n, &repairs)) {
		n += STRIDE;
		runs++;
	}
	print_message("%u kills over %u instructions, %llu of them within the lock\n", runs, n,
		      (unsigned long long)repairs);
	assert_true(runs > 100);
	assert_true(repairs > 20);
}

/* A process that is stopped (not dead) within the lock: others go on without, and do not hang. */
static void test_umem_stopped_holder_does_not_block(void **state)
{
	struct world *w = world_new();
	struct frame_cache c = {0};
	struct umem_usage us;
	struct mtime t0, t1;
	struct umem_queue q;
	struct umem u;
	pid_t pid;

	(void)state;
	assert_int_equal(umem_create(&u, N_FRAMES), 0);
	q = queue_of(w);
	umem_set_queues(&u, &q, 1);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		static struct app a;
		uint32_t dead;

		app_open(&a, w, &u, 1);
		/* The lock is the first word of the control block's second line. */
		shlock_lock((struct shlock *)((uint8_t *)a.u.ctl + 64), &a.u.id, NS_PER_S, &dead);
		store_release(&w->go, 1);
		raise(SIGSTOP);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, NULL, WUNTRACED), pid);
	assert_int_equal(w->go, 1);
	t0 = clock_now();
	assert_int_equal(umem_balance(&u, &q, &c, 100, 16, 64), 0);
	t1 = clock_now();
	assert_in_range(mtime_diff_us(t1, t0), 50000, 1000000);
	assert_int_equal(umem_balance(&u, &q, &c, 100, 16, 64), 0);
	assert_true(mtime_diff_us(clock_now(), t1) < 50000); /* not as long again */
	assert_int_not_equal(umem_reclaim(&u, 1, NULL, 0, true), 0);
	kill(pid, SIGKILL);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	assert_int_equal(umem_balance(&u, &q, &c, 100, 16, 64), 16);
	umem_usage(&u, &us);
	assert_int_equal(us.recoveries, 1);
	umem_flush_cache(&u, &c);
	check_all_home(&u, &q);
	umem_close(&u);
	world_free(w);
}

/* Not a test of speed, but the figure that the "once per batch" rule rests on. */
static void test_umem_balance_cost(void **state)
{
	struct world *w = world_new();
	const unsigned rounds = 20000;
	struct app a = {.w = w};
	struct mtime t0;

	(void)state;
	assert_int_equal(umem_create(&a.u, N_FRAMES), 0);
	a.q = queue_of(w);
	umem_set_queues(&a.u, &a.q, 1);
	umem_balance(&a.u, &a.q, &a.c, 128, 16, 64);
	t0 = clock_now();
	for (unsigned i = 0; i < rounds; i++) {
		kernel_step(w, 0, 32);
		app_receive(&a);
		umem_balance(&a.u, &a.q, &a.c, 128, 16, 64);
	}
	print_message("receive and refill: %.1f ns per frame, in batches of 32\n",
		      (double)mtime_diff_ns(clock_now(), t0) / rounds / 32);
	umem_close(&a.u);
	world_free(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_umem_valid),
		cmocka_unit_test(test_umem_attach_checks_what_it_is_given),
		cmocka_unit_test(test_umem_balance_fills_reaps_and_keeps_bounds),
		cmocka_unit_test(test_umem_balance_with_scribbled_memory),
		cmocka_unit_test(test_umem_stopped_holder_does_not_block),
		cmocka_unit_test(test_umem_300_random_kills),
		cmocka_unit_test(test_umem_kill_at_every_few_instructions),
		cmocka_unit_test(test_umem_balance_cost),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
