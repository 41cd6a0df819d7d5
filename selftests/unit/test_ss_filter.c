// SPDX-License-Identifier: BSD-2-Clause
/* ss_filter.c: ss(8)'s words about states, addresses and ports. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include "user/cli/ss_filter.h"

#define MAX_WORDS 300

static char why[200];

static bool parse(struct ss_filter *f, const char *text)
{
	static char copy[4000];
	char *words[MAX_WORDS], *save = NULL;
	size_t n = 0;

	snprintf(copy, sizeof(copy), "%s", text);
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
		words[n++] = w;
	why[0] = 0;
	return ss_filter_parse(f, words, n, ss_state_bit("connected"), why, sizeof(why));
}

static bool shows(const char *filter, const char *state, const char *local, const char *remote)
{
	struct ss_filter f;
	struct ss_end l, r;

	if (!parse(&f, filter))
		fail_msg("%s: %s", filter, why);
	assert_true(ss_end_parse(&l, local));
	assert_true(ss_end_parse(&r, remote));
	return ss_filter_match(&f, state, &l, &r);
}

#define YES(filter) assert_true(shows(filter, "established", "10.0.0.1:80", "192.0.2.7:50000"))
#define NO(filter) assert_false(shows(filter, "established", "10.0.0.1:80", "192.0.2.7:50000"))

static void test_ss_filter_states(void **state)
{
	(void)state;
	YES("");
	YES("state established");
	NO("state time-wait");
	YES("state time-wait state established");
	NO("exclude established");
	YES("exclude listen");
	YES("state all exclude closed");
	NO("state connected exclude established");
	YES("state synchronized");
	YES("state big");
	NO("state bucket");
	assert_false(shows("", "listen", "*:80", "*:*"));
	assert_true(shows("state listening", "listen", "*:80", "*:*"));
	assert_true(shows("state all", "listen", "*:80", "*:*"));
	assert_false(shows("state all", "anything", "*:80", "*:*"));
}

static void test_ss_filter_addresses_and_ports(void **state)
{
	(void)state;
	YES("src 10.0.0.1");
	YES("src = 10.0.0.1:80");
	YES("src :80");
	NO("src 10.0.0.1:81");
	YES("dst 192.0.2.0/24");
	NO("dst 192.0.3.0/24");
	YES("dst 192.0.2.6/31");
	NO("dst 192.0.2.8/29");
	YES("dst 0.0.0.0/0");
	YES("sport = :80");
	YES("sport 80");
	YES("sport eq :http");
	NO("sport != :80");
	YES("dport gt :49999");
	NO("dport > :50000");
	YES("dport >= :50000");
	YES("dport le :50000");
	NO("dport < :1024");
	assert_true(shows("dst [2001:db8::]/32:443", "established", "[::1]:80",
			  "[2001:db8::7]:443"));
	assert_false(shows("dst 2001:db9::7", "established", "[::1]:80", "[2001:db8::7]:443"));
}

static void test_ss_filter_expressions(void **state)
{
	(void)state;
	YES("state established dst 192.0.2.7:50000");
	YES("src 10.0.0.1 dst 192.0.2.7");
	YES("src 10.0.0.1 and dst 192.0.2.7");
	NO("src 10.0.0.1 and dst 192.0.2.8");
	YES("src 10.0.0.2 or dst 192.0.2.7");
	YES("not src 10.0.0.2");
	NO("! src 10.0.0.1");
	/* and binds more strongly */
	YES("sport = :80 or sport = :81 and dport = :1");
	NO("( sport = :80 or sport = :81 ) and dport = :1");
	YES("( sport = :81 or ( sport = :80 ) ) not dport = :1");
}

static void test_ss_filter_mistakes_are_named(void **state)
{
	static const char *const bad[][2] = {
		{"state foo", "'foo'"},
		{"state", "missing"},
		{"exclude bar", "'bar'"},
		{"dst", "after 'dst'"},
		{"dst =", "after 'dst'"},
		{"dst 10.0.0.999", "after 'dst'"},
		{"dst 10.0.0.1/33", "after 'dst'"},
		{"dst 10.0.0.1/", "after 'dst'"},
		{"dst 10.0.0.1:65536", "after 'dst'"},
		{"sport =", "after 'sport'"},
		{"sport = :no-such-service", "after 'sport'"},
		{"( dst 10.0.0.1", ") is missing"},
		{"dst 10.0.0.1 )", "')'"},
		{"dst 10.0.0.1 or", "missing at the end"},
		{"not", "missing at the end"},
		{"established", "'established'"},
		{"dst [::1", "after 'dst'"},
	};
	struct ss_filter f;
	char text[3000] = "";

	(void)state;
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		if (parse(&f, bad[i][0]))
			fail_msg("'%s' is accepted", bad[i][0]);
		if (!strstr(why, bad[i][1]))
			fail_msg("'%s': %s", bad[i][0], why);
	}
	for (int i = 0; i < 70; i++)
		strcat(text, "not ");
	assert_false(parse(&f, text));
	assert_non_null(strstr(why, "too deep"));
	text[0] = 0;
	for (int i = 0; i < 70; i++)
		strcat(text, "sport = :1 ");
	assert_false(parse(&f, text));
	assert_non_null(strstr(why, "too long"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_ss_filter_states),
		cmocka_unit_test(test_ss_filter_addresses_and_ports),
		cmocka_unit_test(test_ss_filter_expressions),
		cmocka_unit_test(test_ss_filter_mistakes_are_named),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
