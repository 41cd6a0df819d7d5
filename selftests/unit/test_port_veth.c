// SPDX-License-Identifier: BSD-2-Clause
/*
 * xsk.c, umem.c and ports against the kernel, over a veth pair (veth_net.h):
 *
 *	namespace A (ours)                  namespace B
 *	AF_XDP ──► v0 10.9.0.1 ───────────── v1 10.9.0.2   kernel's UDP, packet sockets
 *
 * The XDP program on v0 (generic mode) redirects UDP by the lowest bit of its destination port, to
 * slot 0 (even) or 1 (odd); all else passes. The stack is fake_stack.h.
 * Needs root; without it every test is skipped, and says so.
 */
#include <errno.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <sys/wait.h>
#include <cmocka.h>
#include "common/csum.h"
#include "fake_stack.h"
#include "user/io/clock.h"
#include "user/io/netlink.h"
#include "user/io/port.h"
#include "veth_net.h"

#define N_FRAMES 4096u
#define RX_SIZE 1024u
#define TX_SIZE 256u
#define FILL_SIZE 1024u
#define COMP_SIZE 1024u
#define FILL_TARGET 512u
#define N_SLOTS 2u
#define DEADLINE_MS 5000

struct net {
	int ns_b;
	struct nl_link link;
	uint8_t peer_mac[6];
	int map, prog;
	/* the daemon's half */
	struct umem u;
	struct umem_queue uq;
	struct xsk_opts opts;
	struct xsk x[N_SLOTS];
	struct port *port;
	struct stack s;
	int gso_fd;
	/* what came in */
	uint32_t got;
	struct pkt last;
	uint8_t bytes[70000];
};

static struct net net;

static void need_root(void)
{
	if (geteuid()) {
		print_message("skipped: needs root\n");
		skip();
	}
}

/* ---- the network ---- */

static void open_udp(void *arg)
{
	struct sockaddr_in sa = {.sin_family = AF_INET, .sin_port = htons(7000)};
	struct timeval tv = {.tv_sec = 2};
	int buf = 32 << 20, fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &buf, sizeof(buf));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	*(int *)arg = fd;
}

static void open_packet(void *arg)
{
	struct sockaddr_ll sa = {.sll_family = AF_PACKET,
				 .sll_protocol = htons(ETH_P_IP),
				 .sll_ifindex = (int)if_nametoindex("v1")};
	struct timeval tv = {.tv_sec = 2};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	assert_true(fd >= 0);
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	assert_int_equal(bind(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	*(int *)arg = fd;
}

static void peer_facts(void *arg)
{
	struct nl_link l;
	char cmd[128];

	(void)arg;
	assert_int_equal(nl_link_get("v1", &l), 0);
	memcpy(net.peer_mac, l.mac, 6);
	/* Nobody answers ARP in A but its kernel, which does: yet the neighbour should not expire.
	 */
	snprintf(cmd, sizeof(cmd),
		 "ip neigh add 10.9.0.1 dev v1 lladdr %02x:%02x:%02x:%02x:%02x:%02x "
		 "nud permanent",
		 net.link.mac[0], net.link.mac[1], net.link.mac[2], net.link.mac[3],
		 net.link.mac[4], net.link.mac[5]);
	assert_int_equal(sh(cmd), 0);
}

static void mtu_9000(void *arg)
{
	(void)arg;
	assert_int_equal(sh("ip link set v1 mtu 9000"), 0);
}

/* UDP from B to port @port of A, @len bytes each, numbered. */
static void b_sends(int fd, uint16_t port, unsigned n, size_t len)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(port)};
	uint8_t buf[9000];

	inet_pton(AF_INET, "10.9.0.1", &to.sin_addr);
	memset(buf, 'x', sizeof(buf));
	for (unsigned i = 0; i < n; i++) {
		memcpy(buf, &i, sizeof(i));
		assert_int_equal(sendto(fd, buf, len, 0, (struct sockaddr *)&to, sizeof(to)), len);
	}
}

/* ---- our side ---- */

static enum drop record(struct stack *s, struct pkt *p)
{
	uint32_t at = 0;

	(void)s;
	net.got++;
	net.last = *p;
	for (uint32_t i = 0; i < p->nfrags; i++) {
		memcpy(net.bytes + at, p->frag[i].p, p->frag[i].len);
		at += p->frag[i].len;
	}
	return DROP_NONE;
}

/* An Ethernet, IPv4 and UDP header from A to B with a partial checksum; payload: a number. */
static void make_udp_len(struct stack *s, struct pkt *p, uint32_t payload)
{
	struct ip_addr src = ip_addr_v4(htonl(0x0a090001)), dst = ip_addr_v4(htonl(0x0a090002));
	uint8_t *b = p->frag[0].p;
	uint16_t ip_len = htons((uint16_t)(28 + payload)), udp_len = htons((uint16_t)(8 + payload)),
		 c;
	uint32_t nr = s->inputs++;

	memset(b, 0, 42);
	memcpy(b, net.peer_mac, 6);
	memcpy(b + 6, net.link.mac, 6);
	b[12] = 8;
	b[14] = 0x45;
	memcpy(b + 16, &ip_len, 2);
	b[22] = 64;
	b[23] = IPPROTO_UDP;
	memcpy(b + 26, &src.w[3], 4);
	memcpy(b + 30, &dst.w[3], 4);
	c = csum_fold(csum_partial(b + 14, 20, 0));
	memcpy(b + 24, &c, 2);
	b[34] = 7000 >> 8; /* source and destination port */
	b[35] = 7000 & 0xff;
	memcpy(b + 36, b + 34, 2);
	memcpy(b + 38, &udp_len, 2);
	c = (uint16_t)~csum_fold(csum_pseudo(&src, &dst, IPPROTO_UDP, 8 + payload));
	memcpy(b + 40, &c, 2);
	memset(b + 42, 'y', payload);
	memcpy(b + 42, &nr, sizeof(nr));
	p->len = p->frag[0].len = 42 + payload;
	p->csum = PKT_CSUM_PARTIAL;
	p->csum_start = 34;
	p->csum_off = 6;
	p->hdr_len = 42;
}

static void make_udp(struct stack *s, struct pkt *p)
{
	make_udp_len(s, p, 101); /* odd: the last byte counts */
}

static void open_port(bool tx_csum)
{
	struct port_cfg cfg = {.umem = &net.u,
			       .xsks = &net.x[0],
			       .uqs = &net.uq,
			       .fill_target = FILL_TARGET,
			       .ifs = {{.n_queues = 1,
					.partial_csum = true,
					.tx_csum = tx_csum,
					.gso_fd = net.gso_fd}},
			       .n_ifs = 1,
			       .clock = clock_now};

	assert_int_equal(port_open(&net.port, &cfg), 0);
	net.s = (struct stack){.on_input = record, .pool = port_pool(net.port), .make = make_udp};
}

/* Receives until @n packets have come; false: they do not. */
static bool receive(uint32_t n)
{
	struct mtime end = mtime_add_ms(clock_now(), DEADLINE_MS);
	int fd;

	assert_int_equal(port_fds(net.port, &fd, 1), 1);
	while (net.got < n && mtime_before(clock_now(), end)) {
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		struct mtime now = clock_now();

		if (!port_rx(net.port, &net.s, 64, &now, NULL, NULL))
			poll(&pfd, 1, 100);
	}
	return net.got >= n;
}

static int setup(void **state)
{
	uint32_t key;

	(void)state;
	memset(&net, 0, sizeof(net));
	net.gso_fd = -1;
	if (geteuid())
		return 0;
	if (veth_make(&net.ns_b) || nl_link_get("v0", &net.link))
		return -1;
	in_namespace(net.ns_b, peer_facts, NULL);
	assert_int_equal(umem_create(&net.u, N_FRAMES), 0);
	net.opts = (struct xsk_opts){.ifindex = net.link.ifindex,
				     .rx_size = RX_SIZE,
				     .tx_size = TX_SIZE,
				     .fill_size = FILL_SIZE,
				     .comp_size = COMP_SIZE,
				     .sg = true,
				     .tx_csum = true};
	assert_int_equal(xsk_create(&net.x[0], &net.u, &net.opts, NULL, &net.uq), 0);
	assert_int_equal(xsk_create(&net.x[1], &net.u, &net.opts, &net.x[0], NULL), 0);
	net.map = bpf_map_create(BPF_MAP_TYPE_XSKMAP, "xsks", 4, 4, N_SLOTS, NULL);
	assert_true(net.map >= 0);
	net.prog = veth_prog(net.map);
	assert_true(net.prog >= 0);
	for (key = 0; key < N_SLOTS; key++)
		assert_int_equal(bpf_map_update_elem(net.map, &key, &net.x[key].fd, 0), 0);
	assert_int_equal(bpf_xdp_attach(net.link.ifindex, net.prog, XDP_FLAGS_SKB_MODE, NULL), 0);
	return 0;
}

/* The frames are the pool's or the kernel's; none is anyone's. */
static int teardown(void **state)
{
	struct umem_usage us;

	(void)state;
	if (!net.u.base)
		return 0;
	if (net.port)
		port_close(net.port);
	umem_usage(&net.u, &us);
	if (us.owned || us.injected || us.bad)
		print_error("pool %u fill %u tx %u owned %u injected %u bad %u\n", us.pool, us.fill,
			    us.tx, us.owned, us.injected, us.bad);
	bpf_xdp_detach(net.link.ifindex, XDP_FLAGS_SKB_MODE, NULL);
	xsk_close(&net.x[0]);
	xsk_close(&net.x[1]);
	umem_queue_unmap(&net.uq);
	umem_close(&net.u);
	close(net.map);
	close(net.prog);
	close(net.ns_b);
	if (net.gso_fd >= 0)
		close(net.gso_fd);
	return us.owned || us.injected || us.bad;
}

/* ---- tests ---- */

static void test_port_veth_receives_needs_root(void **state)
{
	struct mtime now = clock_now();
	int udp;

	(void)state;
	need_root();
	in_namespace(net.ns_b, open_udp, &udp);
	open_port(true);
	b_sends(udp, 5000, 300, 100);
	assert_true(receive(300));
	assert_int_equal(net.last.len, 142);
	assert_int_equal(net.last.reason, XR_PORT_DIRECT);
	assert_int_equal(net.last.l3_off, 14);
	assert_int_equal(net.last.l4_off, 34);
	assert_int_equal(net.last.conn, 7);
	assert_int_equal(net.last.generation, 9);
	assert_int_equal(net.last.csum, PKT_CSUM_PARTIAL);
	assert_int_equal(net.bytes[42] | net.bytes[43] << 8, 299);
	b_sends(udp, 5000, 5000, 1000); /* faster than we read: some are lost, none of the frames */
	while (port_rx(net.port, &net.s, 64, &now, NULL, NULL))
		;
	assert_true(net.got >= 300 + FILL_TARGET / 2);
	assert_int_equal(port_stats(net.port)->bad_desc, 0);
	close(udp);
}

static void sends_numbered(bool tx_csum, unsigned n)
{
	uint8_t buf[2000];
	struct mtime end;
	int udp;

	in_namespace(net.ns_b, open_udp, &udp);
	open_port(tx_csum);
	net.s.to_send = n;
	end = mtime_add_ms(clock_now(), DEADLINE_MS);
	do
		port_tx(net.port, &net.s, clock_now());
	while ((net.s.to_send || port_tx_pending(net.port)) && mtime_before(clock_now(), end));
	assert_int_equal(net.s.to_send, 0);
	assert_int_equal(port_stats(net.port)->tx_packets, n);
	/* A wrong checksum would be dropped by B's UDP. */
	for (unsigned i = 0; i < n; i++) {
		uint32_t nr;

		assert_int_equal(recv(udp, buf, sizeof(buf), 0), 101);
		memcpy(&nr, buf, sizeof(nr));
		assert_int_equal(nr, i);
		assert_int_equal(buf[100], 'y');
	}
	close(udp);
}

static void test_port_veth_sends_software_csum_needs_root(void **state)
{
	(void)state;
	need_root();
	sends_numbered(false, 3000);
}

static void test_port_veth_sends_kernel_csum_needs_root(void **state)
{
	(void)state;
	need_root();
	if (!net.opts.tx_csum) {
		print_message("skipped: this kernel has no AF_XDP transmit metadata\n");
		skip();
	}
	sends_numbered(true, 3000);
}

/* Packets larger than a frame arrive in several descriptors. */
static void test_port_veth_receives_large_needs_root(void **state)
{
	int udp;

	(void)state;
	need_root();
	in_namespace(net.ns_b, mtu_9000, NULL);
	assert_int_equal(sh("ip link set v0 mtu 9000"), 0);
	in_namespace(net.ns_b, open_udp, &udp);
	open_port(true);
	b_sends(udp, 5000, 20, 8900);
	assert_true(receive(20));
	assert_int_equal(net.last.len, 8942);
	assert_true(net.last.nfrags > 1);
	assert_int_equal(net.bytes[42], 19);
	for (unsigned i = 46; i < 8942; i++)
		assert_int_equal(net.bytes[i], 'x');
	close(udp);
}

/* A TCP segment of 30,000 bytes, in three pieces that are in no frame, between two small packets.
 */
static uint8_t bulk[30000];

static void make_bulk(struct stack *s, struct pkt *p)
{
	struct ip_addr src = ip_addr_v4(htonl(0x0a090001)), dst = ip_addr_v4(htonl(0x0a090002));
	uint8_t *b = p->frag[0].p;
	uint16_t c, ip_len = htons(20 + 20 + 30000);

	make_udp_len(s, p, 12);
	if (s->inputs != 2)
		return;
	memcpy(b + 16, &ip_len, 2);
	b[23] = IPPROTO_TCP;
	memset(b + 24, 0, 2);
	c = csum_fold(csum_partial(b + 14, 20, 0));
	memcpy(b + 24, &c, 2);
	memset(b + 38, 0, 16);
	b[46] = 0x50;
	b[47] = 0x10;
	c = (uint16_t)~csum_fold(csum_pseudo(&src, &dst, IPPROTO_TCP, 20 + 30000));
	memcpy(b + 50, &c, 2);
	p->frag[0].len = p->hdr_len = 54;
	for (uint32_t i = 0; i < 3; i++)
		p->frag[1 + i] =
			(struct pkt_frag){.p = bulk + 10000 * i, .len = 10000, .frame = SHM_NIL};
	p->nfrags = 4;
	p->len = 54 + 30000;
	p->csum_off = 16;
	p->gso_size = 1448;
}

static void test_port_veth_sends_gso_in_order_needs_root(void **state)
{
	static uint8_t buf[65536];
	const ssize_t want[] = {54, 54 + 30000, 54};
	int raw;

	(void)state;
	need_root();
	net.gso_fd = port_gso_open(net.link.ifindex);
	assert_true(net.gso_fd >= 0);
	in_namespace(net.ns_b, open_packet, &raw);
	open_port(true);
	for (unsigned i = 0; i < sizeof(bulk); i++)
		bulk[i] = (uint8_t)(i * 7);
	net.s.make = make_bulk;
	net.s.to_send = 3;
	assert_int_equal(port_tx(net.port, &net.s, clock_now()), 3);
	assert_int_equal(port_stats(net.port)->gso_packets, 1);
	for (unsigned i = 0; i < 3; i++) {
		assert_int_equal(recv(raw, buf, sizeof(buf), 0), want[i]);
		if (i == 1)
			assert_memory_equal(buf + 54, bulk, sizeof(bulk));
	}
	close(raw);
	/* The socket sends, and never receives, whatever its owner binds it to. */
	assert_true(recv(net.gso_fd, buf, sizeof(buf), MSG_DONTWAIT) < 0);
}

/* Where the device does not cut it the kernel does, which the short way to the device has no room
 * for. */
static void test_port_veth_gso_where_tso_is_off_needs_root(void **state)
{
	static uint8_t buf[65536];
	uint32_t got = 0;
	int raw;

	(void)state;
	need_root();
	assert_int_equal(sh("ethtool -K v0 tso off >/dev/null"), 0);
	net.gso_fd = port_gso_open(net.link.ifindex);
	assert_true(net.gso_fd >= 0);
	in_namespace(net.ns_b, open_packet, &raw);
	open_port(true);
	for (unsigned i = 0; i < sizeof(bulk); i++)
		bulk[i] = (uint8_t)(i * 7);
	net.s.make = make_bulk;
	net.s.to_send = 3;
	assert_int_equal(port_tx(net.port, &net.s, clock_now()), 3);
	assert_int_equal(port_stats(net.port)->gso_packets, 1);
	assert_int_equal(recv(raw, buf, sizeof(buf), 0), 54);
	while (got < sizeof(bulk)) {
		ssize_t n = recv(raw, buf, sizeof(buf), 0);

		assert_in_range(n, 55, 54 + 1448);
		assert_memory_equal(buf + 54, bulk + got, (size_t)n - 54);
		got += (uint32_t)n - 54;
	}
	assert_int_equal(got, sizeof(bulk));
	assert_int_equal(recv(raw, buf, sizeof(buf), 0), 54);
	close(raw);
}

/* Without that socket such a packet cannot go: it is counted, and nothing is lost with it. */
static void test_port_veth_no_gso_socket_needs_root(void **state)
{
	(void)state;
	need_root();
	open_port(true);
	net.s.make = make_bulk;
	net.s.to_send = 3;
	port_tx(net.port, &net.s, clock_now());
	assert_int_equal(port_stats(net.port)->tx_drops, 1);
	assert_int_equal(port_stats(net.port)->tx_packets, 2);
}

/* ---- two processes ---- */

/* In the child: sends every packet back where it came from. */
static enum drop echo(struct stack *s, struct pkt *p)
{
	net.last = *p;
	memcpy(net.bytes, p->frag[0].p, p->frag[0].len);
	s->to_send++;
	return DROP_NONE;
}

static void make_echo(struct stack *s, struct pkt *p)
{
	uint32_t nr;

	memcpy(&nr, net.bytes + 42, sizeof(nr));
	s->inputs = nr;
	make_udp(s, p);
}

static void child_echoes(void)
{
	struct port_cfg cfg = {.ifs = {{.n_queues = 1,
					.partial_csum = true,
					.tx_csum = net.opts.tx_csum,
					.gso_fd = -1}},
			       .n_ifs = 1,
			       .fill_target = FILL_TARGET,
			       .clock = clock_now};
	struct umem_queue uq;
	struct port *port;
	struct umem u;
	struct xsk x;
	int fd;

	if (setgid(65534) || setuid(65534))
		_exit(10);
	if (umem_attach(&u, net.u.fd, net.u.ctl_fd, N_FRAMES, 1) < 0)
		_exit(11);
	if (xsk_attach(&x, net.x[1].fd, 0, RX_SIZE, TX_SIZE, FILL_SIZE, COMP_SIZE, &uq) < 0)
		_exit(12);
	cfg.umem = &u;
	cfg.xsks = &x;
	cfg.uqs = &uq;
	if (port_open(&port, &cfg) < 0)
		_exit(13);
	net.s = (struct stack){.on_input = echo, .pool = port_pool(port), .make = make_echo};
	if (port_fds(port, &fd, 1) != 1)
		_exit(14);
	for (;;) {
		struct pollfd pfd = {.fd = fd, .events = POLLIN};
		struct mtime now = clock_now();

		/* One at a time, as make_echo() remembers one. */
		if (port_rx(port, &net.s, 1, &now, NULL, NULL))
			port_tx(port, &net.s, now);
		else
			poll(&pfd, 1, -1);
	}
}

/* What the kernel has for receiving stands in rings: else a frame would be lost for ever. */
static void check_fill_frames(void)
{
	uint32_t in_rings = *net.uq.fill.producer - *net.uq.fill.consumer, left[RX_SIZE + TX_SIZE];
	struct umem_usage us;

	for (unsigned i = 0; i < N_SLOTS; i++)
		in_rings += xsk_unread_frames(&net.x[i], &net.u, left, RX_SIZE + TX_SIZE);
	umem_usage(&net.u, &us);
	assert_int_equal(us.fill, in_rings);
}

static void test_port_veth_two_processes_and_a_kill_needs_root(void **state)
{
	uint32_t left[RX_SIZE + TX_SIZE], n, none = 1;
	uint8_t buf[2000];
	struct mtime end;
	pid_t pid;
	int udp;

	(void)state;
	need_root();
	in_namespace(net.ns_b, open_udp, &udp);
	open_port(net.opts.tx_csum);
	for (unsigned round = 0; round < 20; round++) {
		pid = fork();
		assert_true(pid >= 0);
		if (!pid)
			child_echoes();
		/* The other's packets, answered by it, while ours come to us. */
		for (uint32_t i = 0; i < 20; i++) {
			uint32_t nr;

			b_sends(udp, 5001, i + 1, 200); /* numbered 0 … i */
			for (uint32_t k = 0; k <= i; k++) {
				assert_int_equal(recv(udp, buf, sizeof(buf), 0), 101);
				memcpy(&nr, buf, sizeof(nr));
				assert_int_equal(nr, k);
			}
		}
		b_sends(udp, 5000, 50, 100);
		b_sends(udp, 5001, 400, 100); /* killed at work */
		assert_int_equal(kill(pid, SIGKILL), 0);
		assert_int_equal(waitpid(pid, NULL, 0), pid);
		b_sends(udp, 5001, 20, 100); /* and some that nobody reads */
		assert_true(receive(50 * (round + 1)));
		while (recv(udp, buf, sizeof(buf), MSG_DONTWAIT) > 0)
			;

		/* What the daemon does when an application is gone. */
		assert_int_equal(bpf_map_delete_elem(net.map, &none), 0);
		n = xsk_unread_frames(&net.x[1], &net.u, left, RX_SIZE + TX_SIZE);
		xsk_close(&net.x[1]);
		umem_reclaim(&net.u, 1, left, n, false);
		end = mtime_add_ms(clock_now(), 200);
		while (umem_count_slot(&net.u, 1) && mtime_before(clock_now(), end)) {
			struct frame_cache c = {0};

			umem_balance(&net.u, &net.uq, &c, 0, 0, 0);
		}
		assert_int_equal(umem_reclaim(&net.u, 1, NULL, 0, true), 0);
		assert_int_equal(xsk_create(&net.x[1], &net.u, &net.opts, &net.x[0], NULL), 0);
		assert_int_equal(bpf_map_update_elem(net.map, &none, &net.x[1].fd, 0), 0);
		check_fill_frames();
	}
	close(udp);
}

/* ---- binding ---- */

static void test_xsk_bind_waits_for_a_queue_to_be_released_needs_root(void **state)
{
	struct xsk_opts o = net.opts;
	struct umem_queue uq;
	struct umem u;
	struct xsk x;
	pid_t pid;
	int p[2];

	(void)state;
	need_root();
	assert_int_equal(umem_create(&u, 64), 0);
	/* Another UMEM holds the queue, and goes on doing so. */
	assert_int_equal(xsk_create(&x, &u, &o, NULL, &uq), -EBUSY);
	/* A child has it, and ends only once we are waiting. */
	xsk_close(&net.x[0]);
	xsk_close(&net.x[1]);
	umem_queue_unmap(&net.uq); /* a mapping keeps its socket, too */
	assert_int_equal(pipe(p), 0);
	o.tx_csum = true;
	pid = fork();
	assert_true(pid >= 0);
	if (!pid) {
		struct timespec ts = {.tv_nsec = 300 * 1000 * 1000};

		if (xsk_create(&x, &u, &o, NULL, &uq) == 0 && write(p[1], "x", 1) == 1)
			nanosleep(&ts, NULL);
		_exit(0);
	}
	close(p[1]);
	assert_int_equal(read(p[0], &(char){0}, 1), 1);
	assert_int_equal(xsk_create(&x, &u, &o, NULL, &uq), 0);
	assert_int_equal(waitpid(pid, NULL, 0), pid);
	xsk_close(&x);
	umem_queue_unmap(&uq);
	umem_close(&u);
	close(p[0]);
}

static void test_xsk_create_errors_needs_root(void **state)
{
	struct xsk_opts o = net.opts;
	struct umem_queue uq;
	struct umem u;
	struct xsk x;

	(void)state;
	need_root();
	assert_int_equal(umem_create(&u, 64), 0);
	o.rx_size = 1000;
	assert_int_equal(xsk_create(&x, &u, &o, NULL, &uq), -EINVAL);
	o = net.opts;
	o.ifindex = 9999;
	assert_int_equal(xsk_create(&x, &u, &o, NULL, &uq), -ENODEV);
	o = net.opts;
	o.queue = 5;
	assert_int_equal(xsk_create(&x, &u, &o, NULL, &uq), -EINVAL);
	umem_close(&u);
	/* The rings are as long as they are. */
	assert_true(xsk_attach(&x, net.x[1].fd, 0, RX_SIZE * 16, TX_SIZE, FILL_SIZE, COMP_SIZE,
			       &uq) < 0);
}

static void make_on_queue(struct stack *s, struct pkt *p)
{
	make_udp(s, p);
	p->queue = s->inputs % 3; /* 2 does not exist: it goes somewhere */
}

/* Rings of a second queue on the same UMEM. */
static void test_port_veth_two_queues_needs_root(void **state)
{
	struct port_cfg cfg = {.umem = &net.u,
			       .fill_target = 64,
			       .ifs = {{.n_queues = 2, .gso_fd = -1}},
			       .n_ifs = 1,
			       .clock = clock_now};
	struct xsk_opts o = net.opts;
	struct umem_queue uq[2];
	struct umem u;
	struct port *port;
	struct nl_link l;
	struct xsk x[2];
	int fds[4];

	(void)state;
	need_root();
	assert_int_equal(
		sh("ip link add w0 numrxqueues 2 numtxqueues 2 type veth peer name w1 "
		   "numrxqueues 2 numtxqueues 2 && ip link set w0 up && ip link set w1 up"),
		0);
	assert_int_equal(nl_link_get("w0", &l), 0);
	assert_int_equal(l.n_rx_queues, 2);
	assert_int_equal(umem_create(&u, 1024), 0);
	o.ifindex = l.ifindex;
	assert_int_equal(xsk_create(&x[0], &u, &o, NULL, &uq[0]), 0);
	o.queue = 1;
	assert_int_equal(xsk_create(&x[1], &u, &o, &x[0], &uq[1]), 0);
	cfg.umem = &u;
	cfg.xsks = x;
	cfg.uqs = uq;
	assert_int_equal(port_open(&port, &cfg), 0);
	assert_int_equal(port_fds(port, fds, 4), 2);
	net.s = (struct stack){.pool = port_pool(port), .make = make_on_queue, .to_send = 90};
	assert_int_equal(port_tx(port, &net.s, clock_now()), 90);
	assert_int_equal(*x[0].tx.producer, 60);
	assert_int_equal(*x[1].tx.producer, 30);
	assert_int_equal(*uq[0].fill.producer, 64);
	assert_int_equal(*uq[1].fill.producer, 64);
	assert_false(port_tx_pending(port));
	port_close(port);
	for (unsigned i = 0; i < 2; i++) {
		xsk_close(&x[i]);
		umem_queue_unmap(&uq[i]);
	}
	umem_close(&u);
}

/* ---- cost ---- */

static void test_port_veth_cost_needs_root(void **state)
{
	const unsigned n = 50000;
	struct mtime t0;
	uint64_t rx_ns = 0;
	int udp;

	(void)state;
	need_root();
	in_namespace(net.ns_b, open_udp, &udp);
	open_port(net.opts.tx_csum);
	for (unsigned i = 0; i < 200; i++) {
		b_sends(udp, 5000, 128, 64);
		t0 = clock_now();
		receive(net.got + 128);
		rx_ns += mtime_diff_ns(clock_now(), t0);
	}
	print_message("receive: %.0f ns per packet\n", (double)rx_ns / (200 * 128));
	net.s.to_send = n;
	t0 = clock_now();
	while (net.s.to_send || port_tx_pending(net.port))
		port_tx(net.port, &net.s, clock_now());
	print_message("send: %.0f ns per packet, the peer's receive processing included; %.1f "
		      "packets per system call\n",
		      (double)mtime_diff_ns(clock_now(), t0) / n,
		      (double)n / (double)port_stats(net.port)->kicks);
	close(udp);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_port_veth_receives_needs_root),
		T(test_port_veth_sends_software_csum_needs_root),
		T(test_port_veth_sends_kernel_csum_needs_root),
		T(test_port_veth_receives_large_needs_root),
		T(test_port_veth_sends_gso_in_order_needs_root),
		T(test_port_veth_gso_where_tso_is_off_needs_root),
		T(test_port_veth_no_gso_socket_needs_root),
		T(test_port_veth_two_processes_and_a_kill_needs_root),
		T(test_xsk_bind_waits_for_a_queue_to_be_released_needs_root),
		T(test_xsk_create_errors_needs_root),
		T(test_port_veth_two_queues_needs_root),
		T(test_port_veth_cost_needs_root),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
