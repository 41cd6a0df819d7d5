// SPDX-License-Identifier: BSD-2-Clause
/* table.c: handles are given out lowest first, and the table grows with no end in sight. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "user/lib/engine.h"

static struct sock *install(int *handle)
{
	struct sock *sk = sock_new();

	assert_non_null(sk);
	assert_int_equal(file_install(&sk->f), 0);
	*handle = sk->f.handle;
	return sk;
}

static void drop(int handle)
{
	struct file *f = file_get(handle);

	assert_non_null(f);
	file_remove(f);
	file_put(f);
}

static void test_table_lowest_first(void **state)
{
	int h[200], again;

	(void)state;
	for (int i = 0; i < 200; i++) {
		install(&h[i]);
		assert_int_equal(h[i], TANDEM_FD_BASE + i);
	}
	drop(h[130]);
	drop(h[64]);
	drop(h[63]);
	install(&again);
	assert_int_equal(again, h[63]);
	install(&again);
	assert_int_equal(again, h[64]);
	install(&again);
	assert_int_equal(again, h[130]);
	install(&again);
	assert_int_equal(again, TANDEM_FD_BASE + 200);
	for (struct file *f; (f = file_next(TANDEM_FD_BASE));)
		drop(f->handle);
	file_table_free();
}

static void test_table_grows(void **state)
{
	int h;

	(void)state;
	for (int i = 0; i < 100000; i++)
		install(&h);
	assert_int_equal(h, TANDEM_FD_BASE + 99999);
	assert_non_null(file_get(h));
	assert_null(file_get(h + 1));
	for (struct file *f; (f = file_next(TANDEM_FD_BASE));)
		drop(f->handle);
	file_table_free();
}

static void test_table_rejects_other_numbers(void **state)
{
	int h;

	(void)state;
	install(&h);
	assert_null(file_get(-1));
	assert_null(file_get(0));
	assert_null(file_get(TANDEM_FD_BASE - 1));
	assert_null(file_get(INT32_MAX));
	drop(h);
	assert_null(file_get(h));
	file_table_free();
}

static void test_table_file_outlives_handle(void **state)
{
	struct sock *sk;
	int h, h2;

	(void)state;
	sk = install(&h);
	sk->f.refs++; /* a call is in progress */
	drop(h);
	assert_false(file_is_open(&sk->f));
	install(&h2);
	assert_int_equal(h2, h);
	file_put(&sk->f);
	drop(h2);
	file_table_free();
}

static void test_cookie_meets_no_successor(void **state)
{
	uint64_t cookie;
	struct sock *sk;
	int h;

	(void)state;
	sk = install(&h);
	sock_set_cookie(sk);
	cookie = sock_cookie(sk);
	assert_ptr_equal(sock_by_cookie(cookie), sk);
	drop(h);
	assert_null(sock_by_cookie(cookie));
	sk = install(&h);
	sock_set_cookie(sk);
	assert_null(sock_by_cookie(cookie));
	assert_null(sock_by_cookie(0));
	drop(h);
	file_table_free();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_table_lowest_first),
		cmocka_unit_test(test_table_grows),
		cmocka_unit_test(test_table_rejects_other_numbers),
		cmocka_unit_test(test_table_file_outlives_handle),
		cmocka_unit_test(test_cookie_meets_no_successor),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
