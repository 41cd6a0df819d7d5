// SPDX-License-Identifier: BSD-2-Clause
/* user/daemon/config.c: defaults, every kind of value, and what an error says. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include <unistd.h>
#include <cmocka.h>
#include "user/daemon/config.h"

static char why[512];

static int line(struct config *c, const char *text)
{
	why[0] = 0;
	return config_line(c, text, "f.conf:7", why, sizeof(why));
}

static void test_defaults_are_the_stacks_own(void **state)
{
	struct stack_limits want;
	struct config c;

	(void)state;
	config_default(&c);
	stack_limits_default(&want);
	assert_memory_equal(&c.limits, &want, sizeof(want));
	assert_int_equal(c.claim_all, 0);
	assert_int_equal(c.umem_frames, 32768);
	assert_int_equal(c.socket_mode, 0660);
	assert_int_equal(c.socket_group, 0);
	assert_int_equal(c.busy_poll_us, 50);
	assert_int_equal(c.log_level, LOG_INFO);
	assert_string_equal(c.cc, "cubic");
}

static void test_values_of_each_kind(void **state)
{
	struct config c;

	(void)state;
	config_default(&c);
	assert_int_equal(line(&c, "somaxconn = 100"), 0);
	assert_int_equal(c.limits.somaxconn, 100);
	assert_int_equal(line(&c, "\tsomaxconn=1 # few\n"), 0);
	assert_int_equal(c.limits.somaxconn, 1);
	assert_int_equal(line(&c, "umem_frames = 65536"), 0);
	assert_int_equal(c.umem_frames, 65536);
	assert_int_equal(line(&c, "tcp_sack = 0"), 0);
	assert_int_equal(c.limits.tcp_sack, 0);
	assert_int_equal(line(&c, "socket_mode = 0666"), 0);
	assert_int_equal(c.socket_mode, 0666);
	assert_int_equal(line(&c, "tcp_rmem = 5000  6000\t7000"), 0);
	assert_int_equal(c.limits.tcp_rmem[0], 5000);
	assert_int_equal(c.limits.tcp_rmem[1], 6000);
	assert_int_equal(c.limits.tcp_rmem[2], 7000);
	assert_int_equal(line(&c, "ip_local_port_range = 1025 65535"), 0);
	assert_int_equal(line(&c, "tcp_fastopen_key = 03020100-07060504-0b0a0908-0f0e0d0c,"
				  "13121110-17161514-1b1a1918-1f1e1d1c"), 0);
	assert_int_equal(c.fo_keys.n, 2);
	for (uint8_t i = 0; i < 32; i++)
		assert_int_equal(c.fo_keys.key[i / 16][i % 16], i);
	assert_int_equal(line(&c, "tcp_fastopen_key = kernel"), 0);
	assert_int_equal(c.fo_keys.n, 0);
	assert_int_equal(c.limits.port_lo, 1025);
	assert_int_equal(c.limits.port_hi, 65535);
	assert_int_equal(line(&c, "ip_local_port_range = kernel"), 0);
	assert_true(!c.limits.port_lo && !c.limits.port_hi);
	assert_int_equal(line(&c, "claim = all"), 0);
	assert_int_equal(c.claim_all, 1);
	assert_int_equal(line(&c, "log_level = debug"), 0);
	assert_int_equal(c.log_level, LOG_DEBUG);
	assert_int_equal(line(&c, "congestion_control = cubic"), 0);
	assert_string_equal(c.cc, "cubic");
	assert_int_equal(line(&c, "socket_group = 1234"), 0);
	assert_int_equal(c.socket_group, 1234);
	assert_int_equal(line(&c, ""), 0);
	assert_int_equal(line(&c, "   # nothing\n"), 0);
}

/* Refused, with a sentence that has @part, and nothing has changed. */
static void refused(const char *text, const char *part)
{
	struct config c, before;

	config_default(&c);
	before = c;
	assert_int_equal(line(&c, text), -EINVAL);
	if (!strstr(why, part) || !strstr(why, "f.conf:7"))
		fail_msg("'%s' gives '%s', without '%s'", text, why, part);
	assert_memory_equal(&c, &before, sizeof(c));
}

static void test_errors_say_what_is_allowed(void **state)
{
	static const char *const bad_numbers[] = {"",
						  "many",
						  "-1",
						  "0",
						  "1048577",
						  "1 2",
						  "1.5",
						  "0x10",
						  "1e3",
						  "+5",
						  "99999999999999999999",
						  "12 a",
						  "= 3",
						  " \t ",
						  "1,000"};
	char text[128];

	(void)state;
	refused("somaxcon = 5", "'somaxconn'");
	refused("SOMAXCONN = 5", "no key 'SOMAXCONN'");
	refused("tcp_ack = 1", "'tcp_sack'");
	refused("maxconn = 1", "'somaxconn'");
	refused("mysomaxconn = 1", "'somaxconn'");
	refused("= 5", "no key ''");
	refused("somaxconn", "KEY = VALUE");
	for (size_t i = 0; i < sizeof(bad_numbers) / sizeof(bad_numbers[0]); i++) {
		snprintf(text, sizeof(text), "somaxconn = %s", bad_numbers[i]);
		refused(text, "from 1 to 1048576");
	}
	refused("umem_frames = 5000", "power of two");
	refused("umem_frames = 2048", "from 4096");
	refused("tcp_sack = 2", "0 or 1");
	refused("tcp_sack = yes", "0 or 1");
	refused("socket_mode = 0888", "octal");
	refused("socket_mode = 1777", "octal");
	refused("tcp_rmem = 4096 5000", "three ascending");
	refused("tcp_rmem = 4096 5000 6000 7000", "three ascending");
	refused("tcp_rmem = 6000 5000 7000", "three ascending");
	refused("ip_local_port_range = 60000 50000", "two ascending");
	refused("tcp_fastopen_key = 00112233-44556677-8899aabb", "one or two keys");
	refused("tcp_fastopen_key = 00112233-44556677-8899aabb-ccddeefg", "one or two keys");
	refused("tcp_fastopen_key = 00112233-44556677-8899aabb-ccddeeff,", "one or two keys");
	refused("tcp_fastopen_key = 0011223344556677-8899aabb-ccddeeff", "one or two keys");
	refused("ip_local_port_range = 1 65536", "two ascending");
	refused("claim = some", "bound, all");
	refused("log_level = loud", "error, warning, info, debug");
	refused("congestion_control = fast", "reno");
	refused("socket_group = no-such-group-here", "group");
	refused("socket_group = 2nd", "group");
}

static void test_a_long_line_is_refused(void **state)
{
	char text[4096];

	(void)state;
	memset(text, 'a', sizeof(text) - 1);
	text[sizeof(text) - 1] = 0;
	refused(text, "too long");
}

static int load(struct config *c, const char *text)
{
	char path[] = "/tmp/test_config.XXXXXX";
	int fd = mkstemp(path), err;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	config_default(c);
	why[0] = 0;
	err = config_load(c, path, why, sizeof(why));
	unlink(path);
	return err;
}

static void test_a_file_names_its_line(void **state)
{
	struct config c;

	(void)state;
	assert_int_equal(load(&c, "somaxconn = 7\n\nrx_ring = 2048"), 0);
	assert_int_equal(c.limits.somaxconn, 7);
	assert_int_equal(c.rx_ring, 2048);
	assert_int_equal(load(&c, "# one\nsomaxconn = 7\nnonsense = 1\n"), -EINVAL);
	assert_non_null(strstr(why, ":3: "));
	assert_int_equal(config_load(&c, "/nonexistent/none.conf", why, sizeof(why)), -ENOENT);
	assert_non_null(strstr(why, "none.conf"));
}

/* The example says the defaults: with all its comments taken off it changes nothing. */
static void test_the_example_is_the_defaults(void **state)
{
	char *text = NULL, *p, *next;
	struct config c, def;
	size_t len, n = 0;
	FILE *f = open_memstream(&text, &len);

	(void)state;
	config_print_example(f);
	fclose(f);
	config_default(&def);
	memset(&c, 0, sizeof(c));
	for (p = text; *p; p = next) {
		next = p + strcspn(p, "\n");
		assert_true(next - p <= 81);
		*next++ = 0;
		if (p[0] != '#' || p[1] == ' ' || !p[1])
			continue;
		assert_int_equal(line(&c, p + 1), 0);
		n++;
	}
	free(text);
	assert_true(n > 40);
	assert_memory_equal(&c, &def, sizeof(c));
}

/* Run from the top of the tree, as the tests are. */
static void test_the_example_is_the_file(void **state)
{
	char *text = NULL, file[65536];
	FILE *f = fopen("configs/tandem.conf", "re"), *m;
	size_t len, n;

	(void)state;
	if (!f)
		skip();
	n = fread(file, 1, sizeof(file), f);
	fclose(f);
	m = open_memstream(&text, &len);
	config_print_example(m);
	fclose(m);
	assert_int_equal(n, len); /* else: tandemd --example-config >configs/tandem.conf */
	assert_memory_equal(file, text, len);
	free(text);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_defaults_are_the_stacks_own),
		cmocka_unit_test(test_values_of_each_kind),
		cmocka_unit_test(test_errors_say_what_is_allowed),
		cmocka_unit_test(test_a_long_line_is_refused),
		cmocka_unit_test(test_a_file_names_its_line),
		cmocka_unit_test(test_the_example_is_the_defaults),
		cmocka_unit_test(test_the_example_is_the_file),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
