// SPDX-License-Identifier: BSD-2-Clause
/*
 * xdp_prog.h on real interfaces: probing, attaching, pins, reading them without a daemon, and that
 * nothing is left behind. Needs root, says so without it.
 *
 *	this process's namespace          a child's namespace
 *	  v0 10.9.0.1/24  ───── veth ─────  v1 10.9.0.2/24
 */
#include <arpa/inet.h>
#include <errno.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <cmocka.h>
#include "user/io/netlink.h"
#include "user/io/xdp_prog.h"
#include "user/io/xsk.h"

static pid_t peer;
static int peer_pipe; /* the peer's namespace lives until this is closed */
static char name[32];

/* ---- topology ---- */

static int sh(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

static int sh(const char *fmt, ...)
{
	char cmd[512];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof(cmd), fmt, ap);
	va_end(ap);
	return system(cmd);
}

#define IN_PEER "nsenter --net=/proc/%d/ns/net "

/* A child that only keeps a network namespace; it says when it is there. */
static int start_peer(void)
{
	int hold[2], ready[2];
	char c;

	if (pipe(hold) || pipe(ready))
		return -1;
	peer = fork();
	if (peer == 0) {
		close(hold[1]);
		if (unshare(CLONE_NEWNET) == 0 && write(ready[1], "", 1) == 1)
			_exit(read(hold[0], &c, 1) < 0);
		_exit(1);
	}
	close(hold[0]);
	close(ready[1]);
	peer_pipe = hold[1];
	if (read(ready[0], &c, 1) != 1)
		return -1;
	close(ready[0]);
	return 0;
}

static int open_world(void **state)
{
	(void)state;
	snprintf(name, sizeof(name), "td-test-%d", getpid());
	if (unshare(CLONE_NEWNET) || start_peer())
		return -1;
	return sh("ip link add v0 numrxqueues 2 numtxqueues 2 type veth peer name v1 netns %d && "
		  "ip addr add 10.9.0.1/24 dev v0 && ip link set v0 up && ip link set lo up && "
		  IN_PEER "sh -c 'ip addr add 10.9.0.2/24 dev v1 && ip link set v1 up'",
		  peer, peer);
}

static int close_world(void **state)
{
	(void)state;
	xdp_prog_remove_pins(name); /* there only if a test has failed */
	close(peer_pipe);
	return waitpid(peer, NULL, 0) == peer ? 0 : -1;
}

static struct nl_link v0_link(void)
{
	struct nl_link l;

	assert_int_equal(nl_link_get("v0", &l), 0);
	return l;
}

static struct xdp_prog_opts opts(void)
{
	struct xdp_prog_opts o = {
		.name = name,
		.ifindex = (int)if_nametoindex("v0"),
		.mode = XDP_MODE_GENERIC,
		.max_flows = 5000,
		.settings = {.answer_arp = 1, .answer_echo = 1, .mtu = 1500, .n_queues = 2},
	};

	memcpy(o.settings.mac, v0_link().mac, 6);
	return o;
}

static void assert_nothing_left(void)
{
	char path[128];

	assert_int_equal(v0_link().xdp_prog_id, 0);
	snprintf(path, sizeof(path), TD_PIN_ROOT "/%s", name);
	assert_int_not_equal(access(path, F_OK), 0);
}

/* ---- the probe ---- */

static void test_probe_veth_prefers_generic(void **state)
{
	struct xdp_probe p;
	char why[256] = "";

	(void)state;
	assert_int_equal(xdp_probe("v0", XDP_MODE_AUTO, &p, why, sizeof(why)), 0);
	print_message("%s\n", p.reason);
	assert_int_equal(p.mode, XDP_MODE_GENERIC);
	assert_true(p.generic_ok && p.frags_ok && p.sg_ok && p.partial_csum);
	assert_false(p.zerocopy_ok);
	assert_int_equal(p.reply_mode, XDP_REPLY_TX);
	assert_string_equal(p.driver, "veth");
	assert_int_equal(p.mtu, 1500);
	assert_int_equal(p.n_queues, v0_link().n_rx_queues);
	assert_non_null(strstr(p.reason, "10.9.0.2 answered"));
	assert_true(strlen(p.reason) < sizeof(p.reason) - 1);
	assert_nothing_left();
}

/* The peer's GRO decides whether it takes what comes from XDP. */
static void test_probe_veth_native_finds_what_arrives(void **state)
{
	struct xdp_probe p;
	char why[256] = "";

	(void)state;
	assert_int_equal(sh(IN_PEER "ethtool -K v1 gro off", peer), 0);
	assert_int_equal(xdp_probe("v0", XDP_MODE_NATIVE, &p, why, sizeof(why)), 0);
	print_message("%s\n", p.reason);
	assert_int_equal(p.mode, XDP_MODE_NATIVE);
	assert_true(p.native_ok);
	assert_int_equal(p.reply_mode, XDP_REPLY_NONE);
	assert_int_equal(sh(IN_PEER "ethtool -K v1 gro on", peer), 0);
	assert_int_equal(xdp_probe("v0", XDP_MODE_NATIVE, &p, why, sizeof(why)), 0);
	print_message("%s\n", p.reason);
	assert_int_equal(p.reply_mode, XDP_REPLY_REDIRECT);
	assert_int_equal(sh(IN_PEER "ethtool -K v1 gro off", peer), 0);
	assert_nothing_left();
}

static void test_probe_veth_native_without_neighbour_is_careful(void **state)
{
	struct xdp_probe p;
	char why[256] = "";

	(void)state;
	assert_int_equal(sh("ip addr flush dev v0 && ip neigh flush dev v0"), 0);
	assert_int_equal(xdp_probe("v0", XDP_MODE_NATIVE, &p, why, sizeof(why)), 0);
	print_message("%s\n", p.reason);
	assert_int_equal(p.reply_mode, XDP_REPLY_NONE);
	assert_int_equal(xdp_probe("v0", XDP_MODE_AUTO, &p, why, sizeof(why)), 0);
	assert_int_equal(p.reply_mode, XDP_REPLY_TX);
	assert_int_equal(sh("ip addr add 10.9.0.1/24 dev v0"), 0);
}

/* It may come up later: no reason to refuse. */
static void test_probe_link_down_is_said(void **state)
{
	struct xdp_probe p;
	char why[256] = "";

	(void)state;
	assert_int_equal(sh(IN_PEER "ip link set v1 down", peer), 0);
	assert_int_equal(xdp_probe("v0", XDP_MODE_AUTO, &p, why, sizeof(why)), 0);
	assert_non_null(strstr(p.reason, "the link is down"));
	assert_int_equal(sh(IN_PEER "ip link set v1 up", peer), 0);
	assert_nothing_left();
}

static void test_probe_lo(void **state)
{
	struct xdp_probe p;
	char why[256] = "";

	(void)state;
	assert_int_equal(xdp_probe("lo", XDP_MODE_AUTO, &p, why, sizeof(why)), 0);
	print_message("%s\n", p.reason);
	assert_int_equal(p.mode, XDP_MODE_GENERIC);
	assert_true(p.partial_csum && p.sg_ok);
	assert_int_equal(xdp_probe("lo", XDP_MODE_NATIVE, &p, why, sizeof(why)), -EOPNOTSUPP);
	print_message("%s\n", why);
}

static void test_probe_says_what_is_wrong(void **state)
{
	struct xdp_prog_opts o = opts();
	struct xdp_prog *x;
	struct xdp_probe p;
	char why[256] = "";

	(void)state;
	assert_int_equal(xdp_probe("none0", XDP_MODE_AUTO, &p, why, sizeof(why)), -ENODEV);
	assert_non_null(strstr(why, "none0"));
	assert_int_equal(xdp_prog_attach(&x, &o, why, sizeof(why)), 0);
	assert_int_equal(xdp_probe("v0", XDP_MODE_AUTO, &p, why, sizeof(why)), -EBUSY);
	print_message("%s\n", why);
	xdp_prog_detach(x);
	assert_nothing_left();
}

/* ---- attaching ---- */

static void test_attach_answers_ping_and_counts(void **state)
{
	struct ip_addr us = ip_addr_v4(inet_addr("10.9.0.1"));
	struct xdp_prog_opts o = opts();
	uint64_t stats[XS_MAX];
	struct xdp_prog *p;
	char why[256] = "";

	(void)state;
	assert_int_equal(xdp_prog_attach(&p, &o, why, sizeof(why)), 0);
	assert_int_equal(xdp_addr_set(p, &us), 0);
	assert_int_equal(sh(IN_PEER "ip neigh flush dev v1", peer), 0);
	assert_int_equal(sh(IN_PEER "ping -q -c 3 -i 0.01 -W 2 10.9.0.1 >/dev/null", peer), 0);
	assert_int_equal(xdp_read_stats(name, stats), 0);
	assert_true(stats[XR_ARP_REPLY] >= 1);
	assert_int_equal(stats[XR_ECHO_REPLY], 3);
	assert_int_equal(xdp_addr_del(p, &us), 0);
	assert_int_equal(sh(IN_PEER "ping -q -c 1 -W 2 10.9.0.1 >/dev/null", peer), 0);
	assert_int_equal(xdp_read_stats(name, stats), 0);
	assert_int_equal(stats[XR_ECHO_REPLY], 3); /* the kernel's again */
	xdp_prog_detach(p);
	assert_nothing_left();
}

static uint32_t prog_on(const char *ifname)
{
	struct nl_link l;

	assert_int_equal(nl_link_get(ifname, &l), 0);
	return l.xdp_prog_id;
}

/* One set of maps, settings of its own for each, and both are taken away. */
static void test_attach_two_interfaces(void **state)
{
	struct ip_addr us = ip_addr_v4(inet_addr("10.9.0.1"));
	struct xdp_prog_opts o = opts(), lo = o, again;
	uint64_t before[XS_MAX], after[XS_MAX];
	char why[256] = "", path[128];
	struct xdp_prog *p;

	(void)state;
	lo.ifindex = (int)if_nametoindex("lo");
	lo.settings = (struct xdp_settings){.mtu = 65536, .n_queues = 1, .queue_base = 2};
	assert_int_equal(xdp_prog_attach(&p, &o, why, sizeof(why)), 0);
	assert_int_equal(xdp_prog_add(p, &lo, why, sizeof(why)), 0);
	again = lo;
	assert_int_equal(xdp_prog_add(p, &again, why, sizeof(why)), -EBUSY);
	print_message("%s\n", why);
	assert_true(prog_on("v0") && prog_on("v0") == prog_on("lo"));
	snprintf(path, sizeof(path), TD_PIN_ROOT "/%s/link_1", name);
	assert_int_equal(access(path, F_OK), 0);

	/* v0 answers echo, lo leaves it to the kernel. */
	assert_int_equal(xdp_addr_set(p, &us), 0);
	assert_int_equal(xdp_read_stats(name, before), 0);
	assert_int_equal(sh("ping -q -c 2 -i 0.01 -W 2 10.9.0.1 >/dev/null"), 0);
	assert_int_equal(xdp_read_stats(name, after), 0);
	assert_int_equal(after[XR_ECHO_REPLY], before[XR_ECHO_REPLY]);
	assert_true(after[XR_PASS_UNCLAIMED] > before[XR_PASS_UNCLAIMED]);
	lo.settings.answer_echo = 1;
	assert_int_equal(xdp_settings_set(p, 1, &lo.settings), 0);
	assert_int_equal(sh("ping -q -c 1 -W 2 10.9.0.1 >/dev/null; true"), 0);
	assert_int_equal(xdp_read_stats(name, after), 0);
	assert_int_equal(after[XR_ECHO_REPLY], before[XR_ECHO_REPLY] + 1);
	assert_int_equal(sh(IN_PEER "ping -q -c 1 -W 2 10.9.0.1 >/dev/null", peer), 0);

	/* Without the daemon, too, all of it goes. */
	assert_int_equal(xdp_prog_remove_pins(name), 0);
	assert_int_equal(prog_on("lo"), 0);
	xdp_prog_detach(p);
	assert_nothing_left();

	assert_int_equal(xdp_prog_attach(&p, &o, why, sizeof(why)), 0);
	assert_int_equal(xdp_prog_add(p, &lo, why, sizeof(why)), 0);
	xdp_prog_detach(p);
	assert_int_equal(prog_on("lo"), 0);
	assert_nothing_left();
}

struct seen {
	unsigned n, stop_after;
	uint64_t ports; /* sum of remote ports */
};

static bool see(void *ctx, const struct flow_key *k, const struct flow_val *v)
{
	struct seen *s = ctx;

	assert_int_equal(v->conn, ntohs(k->remote_port));
	s->n++;
	s->ports += ntohs(k->remote_port);
	return s->n != s->stop_after;
}

static struct flow_key key_of(uint16_t port)
{
	struct flow_key k = {.remote = ip_addr_v4(inet_addr("10.9.0.2")),
			     .local = ip_addr_v4(inet_addr("10.9.0.1")),
			     .remote_port = htons(port), .local_port = htons(80), .proto = 6};

	return k;
}

static void test_attach_flows_are_read_without_daemon(void **state)
{
	struct xdp_prog_opts o = opts();
	struct seen s = {0};
	struct xdp_prog *p;
	char why[256] = "";
	uint64_t sum = 0;

	(void)state;
	assert_int_equal(xdp_prog_attach(&p, &o, why, sizeof(why)), 0);
	assert_int_equal(xdp_read_flows(name, see, &s), 0);
	assert_int_equal(s.n, 0);
	for (uint16_t i = 1; i <= 5000; i++) {
		struct flow_key k = key_of(i);
		struct flow_val v = {.slot = 1, .conn = i, .state = FLOW_ESTABLISHED};

		assert_int_equal(xdp_flow_set(p, &k, &v), 0);
		sum += i;
	}
	assert_int_equal(xdp_read_flows(name, see, &s), 0);
	assert_int_equal(s.n, 5000);
	assert_int_equal(s.ports, sum);
	s = (struct seen){.stop_after = 3};
	assert_int_equal(xdp_read_flows(name, see, &s), 0);
	assert_int_equal(s.n, 3);
	for (uint16_t i = 2; i <= 5000; i++) {
		struct flow_key k = key_of(i);

		assert_int_equal(xdp_flow_del(p, &k), 0);
	}
	/* As fields, for people: every layout is in BTF. */
	assert_int_equal(sh("bpftool map dump pinned " TD_PIN_ROOT "/%s/flows | grep -q last_seen",
			    name), 0);
	xdp_prog_detach(p);
	assert_int_equal(xdp_read_flows(name, see, &s), -ENOENT);
	assert_nothing_left();
}

static void test_attach_name_taken_or_bad(void **state)
{
	struct xdp_prog_opts o = opts(), second = o;
	struct xdp_prog *p, *q;
	char why[256] = "";

	(void)state;
	assert_int_equal(xdp_prog_attach(&p, &o, why, sizeof(why)), 0);
	assert_int_equal(xdp_prog_attach(&q, &o, why, sizeof(why)), -EEXIST);
	print_message("%s\n", why);
	second.name = "td-test-second";
	assert_int_equal(xdp_prog_attach(&q, &second, why, sizeof(why)), -EBUSY);
	print_message("%s\n", why);
	assert_int_not_equal(access(TD_PIN_ROOT "/td-test-second", F_OK), 0);
	assert_int_not_equal(v0_link().xdp_prog_id, 0); /* the first one still stands */
	for (int i = 0; i < 4; i++) {
		o.name = (const char *[]){"", "..", "a/b", "eth0.5"}[i];
		assert_int_equal(xdp_prog_attach(&q, &o, why, sizeof(why)), -EINVAL);
		assert_int_equal(xdp_prog_remove_pins(o.name), -EINVAL);
	}
	xdp_prog_detach(p);
	assert_nothing_left();
}

static void test_attach_failure_leaves_nothing(void **state)
{
	struct xdp_prog_opts o = opts();
	struct xdp_prog *p;
	char why[256] = "";

	(void)state;
	o.ifindex = 99999;
	assert_int_equal(xdp_prog_attach(&p, &o, why, sizeof(why)), -ENODEV);
	print_message("%s\n", why);
	assert_nothing_left();
	o.ifindex = (int)if_nametoindex("lo");
	o.mode = XDP_MODE_NATIVE;
	assert_int_equal(xdp_prog_attach(&p, &o, why, sizeof(why)), -EOPNOTSUPP);
	print_message("%s\n", why);
	assert_nothing_left();
	o = opts();
	o.max_flows = 0;
	assert_int_not_equal(xdp_prog_attach(&p, &o, why, sizeof(why)), 0);
	print_message("%s\n", why);
	assert_nothing_left();
}

/* The program outlives who attached it, and goes by its name alone. */
static void test_attach_survives_its_process(void **state)
{
	char why[256] = "";
	int status;
	pid_t pid;

	(void)state;
	pid = fork();
	if (pid == 0) {
		struct xdp_prog_opts o = opts();
		struct xdp_prog *p;

		_exit(xdp_prog_attach(&p, &o, why, sizeof(why)) != 0);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_int_equal(status, 0);
	assert_int_not_equal(v0_link().xdp_prog_id, 0);
	assert_int_equal(xdp_prog_remove_pins(name), 0);
	assert_nothing_left();
	assert_int_equal(xdp_prog_remove_pins(name), -ENOENT);
}

static void test_attach_slots_and_queues_are_checked(void **state)
{
	struct xdp_prog_opts o = opts();
	struct xdp_prog *p;
	char why[256] = "";

	(void)state;
	assert_int_equal(xdp_prog_attach(&p, &o, why, sizeof(why)), 0);
	assert_int_equal(xdp_xsk_set(p, TD_MAX_SLOTS, 0, 0), -ERANGE);
	assert_int_equal(xdp_xsk_set(p, 0, TD_MAX_QUEUES, 0), -ERANGE);
	assert_int_equal(xdp_xsk_del(p, TD_MAX_SLOTS, 0), -ERANGE);
	xdp_prog_detach(p);
	assert_nothing_left();
}

/* ---- into a socket ---- */

struct receiver {
	struct umem umem;
	struct umem_queue uq;
	struct xsk xsk;
};

static void receiver_open(struct receiver *r)
{
	struct xsk_opts o = {.ifindex = (int)if_nametoindex("v0"), .rx_size = 64, .tx_size = 64,
			     .fill_size = 64, .comp_size = 64, .sg = true};
	uint32_t first = 0;

	assert_int_equal(umem_create(&r->umem, 128), 0);
	assert_int_equal(xsk_create(&r->xsk, &r->umem, &o, NULL, &r->uq), 0);
	assert_int_equal(xsk_ring_prod__reserve(&r->uq.fill, 64, &first), 64);
	for (uint32_t i = 0; i < 64; i++)
		*xsk_ring_prod__fill_addr(&r->uq.fill, first + i) = i * UMEM_FRAME_SIZE;
	xsk_ring_prod__submit(&r->uq.fill, 64);
}

static void receiver_close(struct receiver *r)
{
	xsk_close(&r->xsk);
	umem_queue_unmap(&r->uq);
	umem_close(&r->umem);
}

static const uint8_t *receive(struct receiver *r)
{
	struct pollfd p = {.fd = r->xsk.fd, .events = POLLIN};
	const struct xdp_desc *d;
	uint32_t at = 0;

	assert_int_equal(poll(&p, 1, 5000), 1);
	assert_int_equal(xsk_ring_cons__peek(&r->xsk.rx, 1, &at), 1);
	d = xsk_ring_cons__rx_desc(&r->xsk.rx, at);
	assert_true(umem_valid(&r->umem, d->addr, d->len));
	xsk_ring_cons__release(&r->xsk.rx, 1);
	return umem_ptr(&r->umem, d->addr);
}

/* Metadata stands right in front of the frame; where the slot has no socket, slot 0 gets it. */
static void check_delivery(enum xdp_mode mode)
{
	struct ip_addr us = ip_addr_v4(inet_addr("10.9.0.1"));
	struct port_key k = {.port = htons(7777), .proto = IPPROTO_UDP};
	struct port_val v = {.slot = 3, .conn = 12};
	struct xdp_prog_opts o = opts();
	struct pkt_meta meta;
	struct receiver r;
	struct xdp_prog *p;
	char why[256] = "";

	o.mode = mode;
	if (mode == XDP_MODE_NATIVE) /* as the probe has found out above */
		o.settings.reply_mode = XDP_REPLY_NONE;
	assert_int_equal(xdp_prog_attach(&p, &o, why, sizeof(why)), 0);
	receiver_open(&r);
	assert_int_equal(xdp_addr_set(p, &us), 0);
	assert_int_equal(xdp_port_set(p, &k, &v), 0);
	assert_int_equal(xdp_xsk_set(p, 3, 0, r.xsk.fd), 0);
	for (int i = 0; i < 2; i++) {
		assert_int_equal(sh(IN_PEER "bash -c 'echo hello >/dev/udp/10.9.0.1/7777'", peer), 0);
		memcpy(&meta, receive(&r) - sizeof(meta), sizeof(meta));
		assert_int_equal(meta.magic, PKT_META_MAGIC);
		assert_int_equal(meta.reason, i ? XR_FLOW_NO_SOCKET : XR_PORT_DIRECT);
		assert_int_equal(meta.conn, 12);
		assert_int_equal(meta.l4_off, 34);
		assert_int_equal(xdp_xsk_set(p, 0, 0, r.xsk.fd), 0);
		if (!i)
			assert_int_equal(xdp_xsk_del(p, 3, 0), 0);
	}
	assert_int_equal(xdp_port_del(p, &k), 0);
	receiver_close(&r);
	xdp_prog_detach(p);
	assert_nothing_left();
}

static void test_attach_delivers_with_metadata(void **state)
{
	(void)state;
	/* The sender chooses the queue, and there is a socket only on the first. */
	assert_int_equal(sh(IN_PEER "ethtool -L v1 tx 1", peer), 0);
	check_delivery(XDP_MODE_GENERIC);
	check_delivery(XDP_MODE_NATIVE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_probe_veth_prefers_generic),
		cmocka_unit_test(test_probe_veth_native_finds_what_arrives),
		cmocka_unit_test(test_probe_veth_native_without_neighbour_is_careful),
		cmocka_unit_test(test_probe_link_down_is_said),
		cmocka_unit_test(test_probe_lo),
		cmocka_unit_test(test_probe_says_what_is_wrong),
		cmocka_unit_test(test_attach_answers_ping_and_counts),
		cmocka_unit_test(test_attach_two_interfaces),
		cmocka_unit_test(test_attach_flows_are_read_without_daemon),
		cmocka_unit_test(test_attach_name_taken_or_bad),
		cmocka_unit_test(test_attach_failure_leaves_nothing),
		cmocka_unit_test(test_attach_survives_its_process),
		cmocka_unit_test(test_attach_delivers_with_metadata),
		cmocka_unit_test(test_attach_slots_and_queues_are_checked),
	};

	if (geteuid() != 0) {
		printf("test_attach: SKIPPED: attaching XDP programs needs root\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, open_world, close_world);
}
