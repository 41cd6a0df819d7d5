// SPDX-License-Identifier: BSD-2-Clause
/* arena.c: layouts that hold together, and who may write what. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <cmocka.h>
#include "user/core/neigh_entry.h"
#include "user/io/trim.h"
#include "user/core/tcp.h"

static struct arena_layout layout(void)
{
	struct arena_layout l;

	arena_layout_make(&l, 100, 50, 10, 20, 30);
	return l;
}

static void test_arena_layout_parts_do_not_overlap(void **state)
{
	const struct arena_layout l = layout();
	const struct {
		uint64_t at, len;
	} part[] = {
		{0, sizeof(struct arena_hdr)},
		{l.to_daemon, sizeof(struct shm_msg_ring)},
		{l.to_app, sizeof(struct shm_msg_ring)},
		{l.pkts_to_daemon, sizeof(struct shm_pkt_ring)},
		{l.pkts_to_app, sizeof(struct shm_pkt_ring)},
		{l.listeners, sizeof(struct shm_listener) * SHM_MAX_LISTENERS},
		{l.mib, sizeof(uint64_t) * MIB_MAX},
		{l.neighs, sizeof(struct neigh) * 10},
		{l.tcbs, TCB_ROOM * 100},
		{l.chunk_hdrs, sizeof(struct chunk_hdr) * 50},
		{l.chunks, CHUNK_SIZE * 50},
		{l.tws, sizeof(struct timewait) * 20},
		{l.synreqs, sizeof(struct synreq) * 30},
	};

	(void)state;
	for (unsigned i = 0; i < sizeof(part) / sizeof(part[0]); i++) {
		assert_int_equal(part[i].at % 4096, 0);
		assert_true(part[i].at + part[i].len <= l.size);
		for (unsigned k = 0; k < i; k++)
			assert_true(part[k].at + part[k].len <= part[i].at);
	}
}

static void test_arena_layout_ok_refuses_what_make_does_not_give(void **state)
{
	struct arena_layout l = layout();

	(void)state;
	assert_true(arena_layout_ok(&l));
	for (unsigned i = 0; i < sizeof(l) / sizeof(uint32_t); i++) {
		struct arena_layout bad = l;

		((uint32_t *)&bad)[i] ^= 0x1000;
		assert_false(arena_layout_ok(&bad));
	}
	arena_layout_make(&l, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX, UINT32_MAX);
	assert_false(arena_layout_ok(&l));
}

static void test_arena_attach_sees_what_create_made(void **state)
{
	const struct arena_layout l = layout();
	struct arena_view v, w;
	struct arena a, b;

	(void)state;
	assert_int_equal(arena_create(&a, &l, 5), 0);
	assert_int_equal(arena_attach(&b, dup(a.fd), &l, true), 0);
	v = arena_view(&a);
	w = arena_view(&b);
	v.tcbs[99].snd_una = 4711;
	v.chunks[50 * CHUNK_SIZE - 1] = 42;
	assert_int_equal(w.tcbs[99].snd_una, 4711);
	assert_int_equal(w.chunks[50 * CHUNK_SIZE - 1], 42);
	w.neighs[9].generation = 3;
	assert_int_equal(v.neighs[9].generation, 3);
	assert_int_equal(((struct arena_hdr *)b.base)->slot, 5);
	arena_pkts_to_app(&b)->hdr.tail = 9;
	assert_int_equal(arena_pkts_to_app(&a)->hdr.tail, 9);
	assert_int_equal(arena_pkts_to_daemon(&a)->hdr.tail, 0);
	arena_close(&b);
	arena_close(&a);
}

static void test_arena_attach_checks_size_seals_and_magic(void **state)
{
	struct arena_layout l = layout(), other;
	struct arena a, b;
	int fd;

	(void)state;
	assert_int_equal(arena_create(&a, &l, 5), 0);
	arena_layout_make(&other, 101, 5000, 10, 20, 30);
	assert_int_equal(arena_attach(&b, a.fd, &other, true), -EINVAL);
	assert_true(ftruncate(a.fd, 0) < 0);
	fd = memfd_create("unsealed", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	assert_int_equal(ftruncate(fd, (off_t)l.size), 0);
	assert_int_equal(arena_attach(&b, fd, &l, true), -EINVAL);
	assert_int_equal(fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK), 0);
	assert_int_equal(arena_attach(&b, fd, &l, true), -EPROTO);
	close(fd);
	arena_close(&a);
}

/* Who gets the descriptor of the daemon's arena can read, and nothing else, whatever he tries. */
static void test_arena_of_the_daemon_is_read_only_for_others(void **state)
{
	const struct arena_layout l = layout();
	struct arena a, b;
	char path[64];
	int fd;

	(void)state;
	assert_int_equal(arena_create(&a, &l, 0), 0);
	arena_view(&a).mib[0] = 77;
	assert_true(arena_attach(&b, a.ro_fd, &l, true) < 0);
	assert_int_equal(arena_attach(&b, dup(a.ro_fd), &l, false), 0);
	assert_int_equal(arena_view(&b).mib[0], 77);
	assert_true(mprotect(b.base, 4096, PROT_READ | PROT_WRITE) < 0);
	assert_true(write(b.fd, "x", 1) < 0);
	assert_true(ftruncate(b.fd, 0) < 0);
	assert_true(fallocate(b.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) < 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", b.fd);
	assert_true(truncate(path, 0) < 0);
	/* A memfd lets itself be opened; its seal forbids the rest. */
	if (!a.keeps_pages)
		assert_true(chmod(path, 0666) < 0 && errno == EROFS);
	fd = open(path, O_RDWR | O_CLOEXEC);
	if (!a.keeps_pages)
		assert_true(fd < 0 && errno == EROFS);
	if (fd >= 0) {
		assert_true(write(fd, "x", 1) < 0);
		close(fd);
	}
	arena_close(&b);
	arena_close(&a);
}

/* The same for who may not mount. */
static void test_arena_of_the_daemon_is_read_only_where_nothing_can_be_mounted(void **state)
{
	int status;
	pid_t pid;

	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		const struct arena_layout l = layout();
		struct arena a;

		if (!geteuid() && setuid(65534))
			_exit(1);
		if (arena_create(&a, &l, 0) || !a.keeps_pages)
			_exit(2);
		arena_close(&a);
		test_arena_of_the_daemon_is_read_only_for_others(state);
		_exit(0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
}

static uint64_t pages_of(const struct arena *a)
{
	struct stat st;

	assert_int_equal(fstat(a->fd, &st), 0);
	return (uint64_t)st.st_blocks * 512 / 4096;
}

/* What many buffers held goes back to the system, of either kind of arena. */
static void test_trim_gives_pages_back(void **state)
{
	struct arena_layout l;

	arena_layout_make(&l, 100, 5000, 10, 0, 0);
	for (uint32_t slot = 0; slot < 2; slot++) {
		struct stack_cfg cfg = {.role = STACK_APP};
		struct mtime now = {NS_PER_S};
		struct trim t = {{0}};
		struct arena_view v;
		struct pkt_pool pool = {0};
		struct arena a;
		struct stack *s;
		uint64_t before;

		(void)state;
		assert_int_equal(arena_create(&a, &l, slot), 0);
		if (a.keeps_pages) {
			arena_close(&a);
			continue;
		}
		v = arena_view(&a);
		s = stack_init(calloc(1, stack_mem_size(&cfg, &v)), &cfg, &v, &pool, now);
		before = pages_of(&a);
		for (uint32_t i = 0; i < 3000; i++)
			v.chunks[(uint64_t)chunk_alloc(s) * CHUNK_SIZE] = 1;
		assert_true(pages_of(&a) >= before + 3000);
		assert_true(mtime_is_never(trim_run(&t, &a, s, now)));
		for (uint32_t i = 0; i < 3000; i++)
			chunk_free(s, i);
		/* They were needed within the last second; then in pieces. */
		assert_false(mtime_is_never(now = trim_run(&t, &a, s, now)));
		assert_true(pages_of(&a) >= before + 3000);
		for (uint32_t n = 0; !mtime_is_never(now); n++) {
			struct mtime next = trim_run(&t, &a, s, now);

			assert_true(n < 100 && mtime_before(now, next));
			now = next;
		}
		assert_in_range(pages_of(&a), before, before + 100);
		free(s);
		arena_close(&a);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_arena_layout_parts_do_not_overlap),
		cmocka_unit_test(test_arena_layout_ok_refuses_what_make_does_not_give),
		cmocka_unit_test(test_arena_attach_sees_what_create_made),
		cmocka_unit_test(test_arena_attach_checks_size_seals_and_magic),
		cmocka_unit_test(test_arena_of_the_daemon_is_read_only_for_others),
		cmocka_unit_test(
			test_arena_of_the_daemon_is_read_only_where_nothing_can_be_mounted),
		cmocka_unit_test(test_trim_gives_pages_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
