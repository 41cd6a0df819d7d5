/* SPDX-License-Identifier: BSD-2-Clause */
/* ports.c: lists of ports as ip_local_reserved_ports has them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <cmocka.h>
#include "user/daemon/daemon.h"

static uint64_t set[PORT_SET_WORDS];

static bool in(uint32_t p)
{
	return set[p / 64] >> p % 64 & 1;
}

static uint32_t count(const char *list)
{
	uint32_t n = 0;

	ports_parse(set, list);
	for (uint32_t i = 0; i < PORT_SET_WORDS; i++)
		n += (uint32_t)__builtin_popcountll(set[i]);
	return n;
}

/* RFC 6056 §3.2/2 */
static void test_ports_list_is_read(void **state)
{
	(void)state;
	assert_int_equal(count("\n"), 0);
	assert_int_equal(count("8080\n"), 1);
	assert_true(in(8080));
	assert_int_equal(count("1,63-65,9000-9001,65535\n"), 7);
	assert_true(in(1) && in(63) && in(64) && in(65) && in(9000) && in(9001) && in(65535));
	assert_false(in(2) || in(8080));
}

static void test_ports_nonsense_does_no_harm(void **state)
{
	(void)state;
	assert_int_equal(count("65535-70000,99999999999999999999"), 1);
	assert_int_equal(count("5-3,-,7"), 0);
	assert_int_equal(count("5-"), 1);
	assert_int_equal(count("0-65535"), 65536);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ports_list_is_read),
		cmocka_unit_test(test_ports_nonsense_does_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
