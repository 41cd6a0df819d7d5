// SPDX-License-Identifier: BSD-2-Clause
/*
 * netlink.c against the kernel, in a network namespace of this process alone:
 *
 *	v0 ---- v1	(a veth pair, both ends here; v0 is watched)
 *
 * Needs root; without it every test is skipped, and says so.
 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <cmocka.h>
#include "user/io/clock.h"
#include "user/io/netlink.h"

#define MAX_SEEN 8192
#define DEADLINE_MS 5000

/* What the events add up to. */
struct model {
	struct net_event ev[MAX_SEEN];
	unsigned n;
	unsigned bad_del;
	struct nl_mirror *m;
};

static struct model model;

static void need_root(void)
{
	if (geteuid()) {
		print_message("skipped: needs root\n");
		skip();
	}
}

static void sh(const char *cmd)
{
	if (system(cmd) != 0) {
		print_error("failed: %s\n", cmd);
		fail();
	}
}

static struct ip_addr addr(const char *text)
{
	struct ip_addr a;
	uint32_t be;

	if (inet_pton(AF_INET, text, &be) == 1)
		return ip_addr_v4(be);
	assert_int_equal(inet_pton(AF_INET6, text, a.b), 1);
	return a;
}

static bool same(const struct net_event *a, const struct net_event *b)
{
	return a->kind == b->kind && a->plen == b->plen && a->metric == b->metric &&
	       ip_addr_eq(&a->addr, &b->addr) && ip_addr_eq(&a->gw, &b->gw) &&
	       a->route_type == b->route_type;
}

static void on_event(void *ctx, const struct net_event *ev)
{
	struct model *md = ctx;
	struct net_event e = *ev;
	bool del = false;
	unsigned i;

	assert_int_equal(ev->netif, 3);
	switch (e.kind) {
	case NET_LINK_DOWN:
		e.kind = NET_LINK_UP;
		del = true;
		break;
	case NET_ADDR_DEL:
		e.kind = NET_ADDR_ADD;
		del = true;
		break;
	case NET_ROUTE_DEL:
		e.kind = NET_ROUTE_ADD;
		del = true;
		break;
	case NET_NEIGH_DEL:
		e.kind = NET_NEIGH_SET;
		del = true;
		break;
	default:
		break;
	}
	for (i = 0; i < md->n && !same(&md->ev[i], &e); i++)
		;
	if (del) {
		if (i == md->n)
			md->bad_del++;
		else
			md->ev[i] = md->ev[--md->n];
		return;
	}
	assert_true(i < MAX_SEEN);
	md->ev[i] = e;
	md->n += i == md->n;
}

static const struct net_event *find(enum net_event_kind kind, const char *a, unsigned plen)
{
	struct ip_addr want = {0};

	if (a)
		want = addr(a);
	for (unsigned i = 0; i < model.n; i++)
		if (model.ev[i].kind == kind && model.ev[i].plen == plen &&
		    ip_addr_eq(&model.ev[i].addr, &want))
			return &model.ev[i];
	return NULL;
}

/* Reads messages until @what is there (or gone). */
static const struct net_event *await(bool there, enum net_event_kind kind, const char *a,
				     unsigned plen)
{
	struct mtime end = mtime_add_ms(clock_now(), DEADLINE_MS);
	const struct net_event *ev;

	while (!!(ev = find(kind, a, plen)) != there) {
		struct pollfd pfd = {.fd = nl_mirror_fd(model.m), .events = POLLIN};

		if (!mtime_before(clock_now(), end)) {
			print_error("waited in vain: kind %d %s/%u\n", kind, a ? a : "", plen);
			fail();
		}
		poll(&pfd, 1, 100);
		assert_int_equal(nl_mirror_read(model.m), 0);
	}
	return ev;
}

static int setup(void **state)
{
	(void)state;
	memset(&model, 0, sizeof(model));
	if (geteuid())
		return 0;
	if (unshare(CLONE_NEWNET) < 0)
		return -1;
	sh("ip link set lo up && ip link add v0 type veth peer name v1 && "
	   "ip addr add 10.9.0.1/24 dev v0 && ip link set v0 up && ip link set v1 up");
	return nl_mirror_open(&model.m, (int)if_nametoindex("v0"), 3, on_event, &model);
}

static int teardown(void **state)
{
	(void)state;
	if (model.m)
		nl_mirror_close(model.m);
	return 0;
}

static void test_netlink_link_get_needs_root(void **state)
{
	struct nl_link l;

	(void)state;
	need_root();
	assert_int_equal(nl_link_get("nonesuch", &l), -ENODEV);
	assert_int_equal(nl_link_get("", &l), -ENODEV);
	assert_int_equal(nl_link_get("a-name-that-is-too-long", &l), -ENODEV);
	assert_int_equal(nl_link_get("v0", &l), 0);
	assert_int_equal(l.ifindex, (int)if_nametoindex("v0"));
	assert_string_equal(l.name, "v0");
	assert_string_equal(l.kind, "veth");
	assert_int_equal(l.mtu, 1500);
	assert_int_equal(l.n_rx_queues, 1);
	assert_true(l.up);
	assert_int_equal(l.xdp_prog_id, 0);
	assert_int_equal(nl_link_get("lo", &l), 0);
	assert_string_equal(l.kind, "loopback");
	assert_int_equal(l.n_rx_queues, 1);
}

static void test_netlink_dump_and_changes_needs_root(void **state)
{
	const struct net_event *ev;

	(void)state;
	need_root();
	ev = await(true, NET_LINK_UP, NULL, 0);
	assert_true(ev->partial_csum);
	assert_int_equal(ev->mtu, 1500);
	assert_non_null(await(true, NET_ADDR_ADD, "10.9.0.1", 24));
	ev = await(true, NET_ROUTE_ADD, "10.9.0.0", 24);
	assert_true(ip_addr_is_any(&ev->gw));
	sh("ip link set v0 mtu 1400 && ip addr add 10.9.1.1/24 dev v0");
	await(true, NET_ADDR_ADD, "10.9.1.1", 24);
	assert_int_equal(find(NET_LINK_UP, NULL, 0)->mtu, 1400);
	sh("ip addr del 10.9.1.1/24 dev v0");
	await(false, NET_ADDR_ADD, "10.9.1.1", 24);
	await(false, NET_ROUTE_ADD, "10.9.1.0", 24);

	sh("ip neigh add 10.9.0.7 lladdr 02:00:00:00:00:07 dev v0 nud permanent");
	ev = await(true, NET_NEIGH_SET, "10.9.0.7", 0);
	assert_true(ev->permanent);
	assert_int_equal(ev->mac[5], 7);
	sh("ip neigh replace 10.9.0.7 lladdr 02:00:00:00:00:08 dev v0 nud reachable && "
	   "ip neigh add 10.9.0.9 lladdr 02:00:00:00:00:09 dev v0 nud permanent");
	await(true, NET_NEIGH_SET, "10.9.0.9", 0);
	ev = find(NET_NEIGH_SET, "10.9.0.7", 0);
	assert_false(ev->permanent);
	assert_int_equal(ev->mac[5], 8);
	sh("ip neigh del 10.9.0.7 dev v0");
	await(false, NET_NEIGH_SET, "10.9.0.7", 0);
	assert_int_equal(model.bad_del, 0);
}

static void test_netlink_routes_needs_root(void **state)
{
	const struct net_event *ev;
	struct ip_addr gw;

	(void)state;
	need_root();
	sh("ip route add default via 10.9.0.254 && ip route add 10.50.0.0/16 via 10.9.0.2 metric 7 "
	   "src 10.9.0.1 && ip route add blackhole 10.60.0.0/16 && ip route add unreachable "
	   "10.61.0.0/16 && ip route add prohibit 10.62.0.0/16 && "
	   "ip route add 10.70.0.0/16 table 77 via 10.9.0.2 && ip route add 10.71.0.0/16 dev v0");
	await(true, NET_ROUTE_ADD, "10.71.0.0", 16);
	gw = addr("10.9.0.254");
	ev = find(NET_ROUTE_ADD, "0.0.0.0", 0);
	assert_non_null(ev);
	assert_true(ip_addr_eq(&ev->gw, &gw));
	ev = find(NET_ROUTE_ADD, "10.50.0.0", 16);
	gw = addr("10.9.0.1");
	assert_int_equal(ev->metric, 7);
	assert_true(ip_addr_eq(&ev->prefsrc, &gw));
	assert_int_equal(find(NET_ROUTE_ADD, "10.60.0.0", 16)->route_type, NET_RT_BLACKHOLE);
	assert_int_equal(find(NET_ROUTE_ADD, "10.61.0.0", 16)->route_type, NET_RT_UNREACHABLE);
	assert_int_equal(find(NET_ROUTE_ADD, "10.62.0.0", 16)->route_type, NET_RT_PROHIBIT);
	assert_null(find(NET_ROUTE_ADD, "10.70.0.0", 16));

	/* Replaced: by another gateway, and by another interface. */
	sh("ip route replace default via 10.9.0.253 && ip addr add 10.8.0.1/24 dev v1 && "
	   "ip route replace 10.71.0.0/16 dev v1");
	await(false, NET_ROUTE_ADD, "10.71.0.0", 16);
	gw = addr("10.9.0.253");
	ev = find(NET_ROUTE_ADD, "0.0.0.0", 0);
	assert_true(ip_addr_eq(&ev->gw, &gw));

	/* Of several next hops, ours. */
	sh("ip route add 10.80.0.0/16 nexthop via 10.9.0.5 nexthop via 10.8.0.5");
	ev = await(true, NET_ROUTE_ADD, "10.80.0.0", 16);
	gw = addr("10.9.0.5");
	assert_true(ip_addr_eq(&ev->gw, &gw));

	/* The kernel sends no message for IPv4 routes that go with the link. */
	sh("ip link set v0 down");
	await(false, NET_ROUTE_ADD, "0.0.0.0", 0);
	await(false, NET_ROUTE_ADD, "10.50.0.0", 16);
	await(false, NET_LINK_UP, NULL, 0);
	assert_non_null(find(NET_ADDR_ADD, "10.9.0.1", 24));
	sh("ip link set v0 up");
	await(true, NET_ROUTE_ADD, "10.9.0.0", 24);
	await(true, NET_LINK_UP, NULL, 0); /* running is said apart from up */
	assert_int_equal(model.bad_del, 0);
}

static void test_netlink_ipv6_needs_root(void **state)
{
	const struct net_event *ev;
	struct ip_addr gw;

	(void)state;
	need_root();
	sh("ip addr add fd00::1/64 dev v0 nodad && ip route add default via fd00::254 dev v0 && "
	   "ip neigh add fd00::7 lladdr 02:00:00:00:00:07 dev v0 nud permanent");
	await(true, NET_NEIGH_SET, "fd00::7", 0);
	assert_non_null(await(true, NET_ADDR_ADD, "fd00::1", 64)); /* told when it is usable */
	ev = await(true, NET_ROUTE_ADD, "::", 0);
	gw = addr("fd00::254");
	assert_true(ip_addr_eq(&ev->gw, &gw));
	assert_non_null(await(true, NET_ROUTE_ADD, "fd00::", 64));
	/* Tentative until duplicate detection is through. */
	sh("ip addr add fd00::2/64 dev v0");
	await(true, NET_ADDR_ADD, "fd00::2", 64);
	sh("ip link set v0 down");
	await(false, NET_ADDR_ADD, "fd00::1", 64);
	assert_null(find(NET_ROUTE_ADD, "::", 0));
}

/* More messages than the socket holds, unread: ENOBUFS, a new dump, and only the difference. */
static void test_netlink_overrun_needs_root(void **state)
{
	int small = 2048;
	FILE *f;

	(void)state;
	need_root();
	assert_int_equal(
		setsockopt(nl_mirror_fd(model.m), SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)), 0);
	sh("ip route add 10.99.0.0/16 via 10.9.0.2");
	await(true, NET_ROUTE_ADD, "10.99.0.0", 16);
	f = popen("ip -batch -", "w");
	assert_non_null(f);
	for (int i = 0; i < 2000; i++)
		fprintf(f, "route add 10.%d.%d.0/24 via 10.9.0.2\n", 100 + i / 250, i % 250);
	fprintf(f, "route del 10.99.0.0/16\n");
	assert_int_equal(pclose(f), 0);
	await(true, NET_ROUTE_ADD, "10.107.249.0", 24);
	await(false, NET_ROUTE_ADD, "10.99.0.0", 16);
	for (int i = 0; i < 2000; i++) {
		char a[32];

		snprintf(a, sizeof(a), "10.%d.%d.0", 100 + i / 250, i % 250);
		assert_non_null(find(NET_ROUTE_ADD, a, 24));
	}
	assert_int_equal(model.bad_del, 0);
}

static void test_netlink_gone_needs_root(void **state)
{
	struct mtime end = mtime_add_ms(clock_now(), DEADLINE_MS);

	(void)state;
	need_root();
	sh("ip link del v0");
	while (!nl_mirror_gone(model.m) && mtime_before(clock_now(), end)) {
		struct pollfd pfd = {.fd = nl_mirror_fd(model.m), .events = POLLIN};

		poll(&pfd, 1, 100);
		assert_int_equal(nl_mirror_read(model.m), 0);
	}
	assert_true(nl_mirror_gone(model.m));
	assert_null(find(NET_LINK_UP, NULL, 0));
	await(false, NET_ADDR_ADD, "10.9.0.1", 24);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_netlink_link_get_needs_root), T(test_netlink_dump_and_changes_needs_root),
		T(test_netlink_routes_needs_root),   T(test_netlink_ipv6_needs_root),
		T(test_netlink_overrun_needs_root),  T(test_netlink_gone_needs_root),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
