// SPDX-License-Identifier: BSD-2-Clause
/* slab.c: numbers and addresses stay, what is given back is used again, memory is exact. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "user/lib/slab.h"

#define N 5000u

struct thing {
	uint64_t a[5];
};

static void test_slab_objects_do_not_move_or_overlap(void **state)
{
	struct slab s = {.size = sizeof(struct thing)};
	struct thing *at[N];
	uint32_t n;

	(void)state;
	for (uint32_t i = 0; i < N; i++) {
		at[i] = slab_get(&s, &n);
		assert_non_null(at[i]);
		assert_int_equal(n, i);
		for (int k = 0; k < 5; k++) {
			assert_true(at[i]->a[k] == 0);
			at[i]->a[k] = i * 5ull + (uint64_t)k + 1;
		}
	}
	for (uint32_t i = 0; i < N; i++) {
		assert_ptr_equal(slab_at(&s, i), at[i]);
		for (int k = 0; k < 5; k++)
			assert_true(at[i]->a[k] == i * 5ull + (uint64_t)k + 1);
	}
	assert_int_equal(s.n_blocks, (N + SLAB_BLOCK - 1) / SLAB_BLOCK);
	slab_release(&s);
}

static void test_slab_gives_the_last_one_again(void **state)
{
	struct slab s = {.size = sizeof(struct thing)};
	struct thing *t;
	uint32_t n;

	(void)state;
	for (uint32_t i = 0; i < 600; i++) {
		t = slab_get(&s, &n);
		memset(t, 0xff, sizeof(*t));
	}
	slab_put(&s, 17);
	slab_put(&s, 300);
	t = slab_get(&s, &n);
	assert_int_equal(n, 300);
	assert_true(!t->a[0] && !t->a[4]);
	assert_non_null(slab_get(&s, &n));
	assert_int_equal(n, 17);
	assert_non_null(slab_get(&s, &n));
	assert_int_equal(n, 600);
	assert_int_equal(s.n_blocks, 3);
	slab_release(&s);
	assert_int_equal(s.n_blocks, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_slab_objects_do_not_move_or_overlap),
		cmocka_unit_test(test_slab_gives_the_last_one_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
