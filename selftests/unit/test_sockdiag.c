// SPDX-License-Identifier: BSD-2-Clause
/* sockdiag.c, with sockets of the kernel in whatever namespace this runs in. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <cmocka.h>
#include "user/io/sockdiag.h"

/* How often the port is listened on, and where. */
struct seen {
	uint16_t port;
	unsigned n, stop_after, all;
	struct kernel_listener last;
};

static bool see(void *ctx, const struct kernel_listener *l)
{
	struct seen *s = ctx;

	s->all++;
	if (l->port == s->port) {
		s->n++;
		s->last = *l;
	}
	return s->all != s->stop_after;
}

static int listen_at(int family, bool v6only, const char *addr, uint16_t *port)
{
	int fd = socket(family, SOCK_STREAM, 0), one = v6only;
	struct sockaddr_in6 a = {.sin6_family = (sa_family_t)family};
	struct sockaddr_in *sin = (struct sockaddr_in *)(void *)&a;
	socklen_t len = family == AF_INET ? sizeof(*sin) : sizeof(a);

	if (family == AF_INET)
		inet_pton(AF_INET, addr, &sin->sin_addr);
	else
		inet_pton(AF_INET6, addr, &a.sin6_addr);
	if (family == AF_INET6)
		setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one));
	if (fd < 0 || bind(fd, (struct sockaddr *)&a, len) || listen(fd, 1) ||
	    getsockname(fd, (struct sockaddr *)&a, &len)) {
		close(fd);
		return -1;
	}
	*port = a.sin6_port; /* both families have it there */
	return fd;
}

static void test_sockdiag_finds_what_takes_ipv4(void **state)
{
	static const struct {
		int family;
		bool v6only;
		const char *addr;
		unsigned n;
		const char *as; /* struct ip_addr */
	} cases[] = {
		{AF_INET, false, "127.0.0.1", 1, "::ffff:127.0.0.1"},
		{AF_INET, false, "0.0.0.0", 1, "::ffff:0.0.0.0"},
		{AF_INET6, false, "::", 1, "::"},
		{AF_INET6, false, "::ffff:127.0.0.1", 1, "::ffff:127.0.0.1"},
		{AF_INET6, true, "::", 0, NULL},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct seen s = {0};
		uint8_t as[16];
		int fd = listen_at(cases[i].family, cases[i].v6only, cases[i].addr, &s.port);

		if (fd < 0 && cases[i].family == AF_INET6)
			continue; /* a kernel without it */
		assert_true(fd >= 0);
		assert_int_equal(sockdiag_listeners(see, &s), 0);
		assert_int_equal(s.n, cases[i].n);
		if (s.n) {
			assert_int_equal(inet_pton(AF_INET6, cases[i].as, as), 1);
			assert_memory_equal(s.last.addr.b, as, 16);
			assert_int_equal(s.last.uid, geteuid());
		}
		close(fd);
	}
}

static void test_sockdiag_stops_when_told_to(void **state)
{
	struct seen s = {.stop_after = 1};
	uint16_t port;
	int a = listen_at(AF_INET, false, "127.0.0.1", &port);
	int b = listen_at(AF_INET, false, "127.0.0.1", &port);

	(void)state;
	assert_int_equal(sockdiag_listeners(see, &s), 0);
	assert_int_equal(s.all, 1);
	close(a);
	close(b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sockdiag_finds_what_takes_ipv4),
		cmocka_unit_test(test_sockdiag_stops_when_told_to),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
