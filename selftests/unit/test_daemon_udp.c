// SPDX-License-Identifier: BSD-2-Clause
/* UDP ports of applications: what the daemon believes, who gets what, and that nothing is left. */
#include "daemon_world.h"
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include <unistd.h>

/* A kernel socket that is bound to *@port of any address; 0: the kernel picks one. */
static int bound(uint16_t *port, int reuse)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = *port};
	socklen_t len = sizeof(sin);
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0), one = 1;

	assert_true(fd >= 0);
	if (reuse)
		assert_int_equal(setsockopt(fd, SOL_SOCKET, reuse, &one, sizeof(one)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin, &len), 0);
	*port = sin.sin_port;
	return fd;
}

/* The same of AF_INET6, bound to *@port of @addr. */
static int bound6(const char *addr, uint16_t *port, bool v6only)
{
	struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_port = *port};
	socklen_t len = sizeof(sin6);
	int fd = socket(AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, 0), one = 1, v = v6only;

	assert_true(fd >= 0);
	inet_pton(AF_INET6, addr, &sin6.sin6_addr);
	assert_int_equal(setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v, sizeof(v)), 0);
	assert_int_equal(setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one)), 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sin6, sizeof(sin6)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&sin6, &len), 0);
	*port = sin6.sin6_port;
	return fd;
}

static int claim(struct app *a, uint16_t port, int fd, uint32_t *id)
{
	struct ctl_listen req = {.proto = IPPROTO_UDP, .port = port, .id = SHM_NIL};
	struct ctl_listen_reply r = {0};
	int err = udp_claim(&w.d, a, &req, fd, &r);

	*id = r.id;
	return err;
}

static void open_here(void)
{
	struct stat st;

	w_open();
	assert_int_equal(stat("/proc/self/ns/net", &st), 0);
	w.d.netns_ino = st.st_ino;
}

static bool is_closed(int fd)
{
	return fcntl(fd, F_GETFD) < 0;
}

static void test_udp_claim_is_what_the_kernel_says(void **state)
{
	struct ctl_listen req = {.proto = IPPROTO_UDP, .id = SHM_NIL};
	struct ctl_listen_reply r = {0};
	uint16_t port = 0, none = 0;
	struct app *a;
	uint32_t id;
	int fd, tcp = socket(AF_INET, SOCK_STREAM, 0), fresh = socket(AF_INET, SOCK_DGRAM, 0);

	(void)state;
	open_here();
	a = w_app(1);
	fd = bound(&port, 0);
	assert_int_equal(claim(a, port, -1, &id), -EBADF);
	assert_int_equal(claim(a, htons((uint16_t)(ntohs(port) ^ 1)), fd, &id), -EINVAL);
	assert_int_equal(claim(a, none, fresh, &id), -EINVAL);
	assert_int_equal(claim(a, port, tcp, &id), -EINVAL);
	assert_int_equal(claim(a, port, STDERR_FILENO, &id), -EINVAL);
	/* An address that is not the interface's, or not the socket's. */
	req.port = port;
	req.addr = ip("10.0.0.99");
	assert_int_equal(udp_claim(&w.d, a, &req, fd, &r), -EADDRNOTAVAIL);
	req.addr = ip(OUR_IP);
	assert_int_equal(udp_claim(&w.d, a, &req, fd, &r), -EINVAL);
	/* Of another network namespace. */
	w.d.netns_ino++;
	assert_int_equal(claim(a, port, fd, &id), -EINVAL);
	w.d.netns_ino--;
	assert_int_equal(w.n_ports, 0);
	assert_int_equal(claim(a, port, fd, &id), 0);
	assert_int_equal(w.n_ports, 1);
	assert_int_equal(w.ports[0].k.port, port);
	assert_int_equal(w.ports[0].k.proto, IPPROTO_UDP);
	assert_int_equal(w.ports[0].v.slot, 1);
	assert_int_equal(udp_unclaim(&w.d, a, id + 1), -EINVAL);
	assert_int_equal(udp_unclaim(&w.d, a, 1u << 31), -EINVAL);
	assert_int_equal(udp_unclaim(&w.d, a, id), 0);
	assert_true(is_closed(fd));
	assert_int_equal(w.n_ports, 0);
	assert_int_equal(udp_unclaim(&w.d, a, id), -EINVAL);
	close(tcp);
	close(fresh);
	w_close();
}

static struct app *owner(const char *src, uint16_t sport, uint16_t port)
{
	struct tcp_addr_pair p = {.local = ip(OUR_IP),
				  .remote = ip(src),
				  .local_port = port,
				  .remote_port = htons(sport)};

	return udp_owner(&w.d, &p);
}

static void test_udp_port_shared_by_two_is_spread(void **state)
{
	uint16_t port = 0;
	uint32_t id[3], n[3] = {0};
	struct app *a, *b;
	int fd;

	(void)state;
	open_here();
	a = w_app(1);
	b = w_app(2);
	fd = bound(&port, SO_REUSEPORT);
	assert_int_equal(claim(a, port, fd, &id[0]), 0);
	assert_int_equal(claim(a, port, bound(&port, SO_REUSEPORT), &id[1]), 0);
	assert_int_equal(w.ports[0].v.slot, 1);
	/* The same socket again, as a child of fork() would show it. */
	assert_int_equal(claim(b, port, fd, &id[2]), -EBUSY);
	assert_int_equal(claim(b, port, bound(&port, SO_REUSEPORT), &id[2]), 0);
	assert_int_equal(w.n_ports, 1);
	assert_int_equal(w.ports[0].v.slot, TD_SLOT_DAEMON);
	for (uint16_t s = 1; s <= 300; s++) {
		n[owner(PEER_IP, s, port)->slot]++;
		assert_ptr_equal(owner(PEER_IP, s, port), owner(PEER_IP, s, port));
	}
	assert_in_range(n[1], 150, 250); /* it has two of three */
	assert_null(owner(PEER_IP, 1, htons(1)));
	/* One goes: the other gets everything, straight from XDP. */
	app_ends(a);
	assert_int_equal(w.ports[0].v.slot, 2);
	assert_ptr_equal(owner(PEER_IP, 1, port), b);
	app_ends(b);
	assert_int_equal(w.n_ports, 0);
	assert_null(owner(PEER_IP, 1, port));
	w_close();
}

/* :: takes IPv4, too, and so does a mapped address; what the kernel gives IPv6 alone is refused. */
static void test_udp_claim_of_an_ipv6_socket(void **state)
{
	struct ctl_listen req = {.proto = IPPROTO_UDP, .id = SHM_NIL};
	struct ctl_listen_reply r = {0};
	uint16_t port = 0, other = 0;
	uint32_t id[3];
	struct app *a, *b;
	int fd = socket(AF_INET6, SOCK_DGRAM, 0);

	(void)state;
	if (fd < 0)
		skip();
	close(fd);
	open_here();
	a = w_app(1);
	b = w_app(2);
	fd = bound6("::", &port, true);
	assert_int_equal(claim(a, port, fd, &id[0]), -EINVAL);
	close(fd);
	fd = bound6("::ffff:127.0.0.1", &other, false);
	assert_int_equal(claim(a, other, fd, &id[0]), -EINVAL);
	req.port = other;
	req.addr = ip(OUR_IP);
	assert_int_equal(udp_claim(&w.d, a, &req, fd, &r), -EINVAL);
	close(fd);
	fd = bound6("::", &port, false);
	assert_int_equal(claim(a, port, fd, &id[0]), 0);
	assert_int_equal(w.ports[0].v.slot, 1);
	/* AF_INET comes first, whoever was first. */
	assert_int_equal(claim(b, port, bound(&port, SO_REUSEPORT), &id[1]), 0);
	assert_int_equal(w.ports[0].v.slot, 2);
	assert_int_equal(claim(a, port, bound6("::", &port, false), &id[2]), 0);
	assert_int_equal(w.ports[0].v.slot, 2);
	for (uint16_t s = 1; s <= 50; s++)
		assert_ptr_equal(owner(PEER_IP, s, port), b);
	assert_int_equal(udp_unclaim(&w.d, b, id[1]), 0);
	assert_int_equal(w.ports[0].v.slot, 1);
	app_ends(a);
	app_ends(b);
	assert_int_equal(w.n_ports, 0);
	w_close();
}

static void test_udp_reuseaddr_the_last_one_has_it(void **state)
{
	uint16_t port = 0;
	struct app *a, *b;
	uint32_t id[2];
	int fd;

	(void)state;
	open_here();
	a = w_app(1);
	b = w_app(2);
	fd = bound(&port, SO_REUSEADDR);
	assert_int_equal(claim(a, port, fd, &id[0]), 0);
	assert_int_equal(claim(b, port, bound(&port, SO_REUSEADDR), &id[1]), 0);
	assert_int_equal(w.ports[0].v.slot, 2);
	assert_ptr_equal(owner(PEER_IP, 1, port), b);
	assert_int_equal(udp_unclaim(&w.d, b, id[1]), 0);
	assert_int_equal(w.ports[0].v.slot, 1);
	w_close();
}

/* A socket whose port the kernel chose loses it when it is disconnected. */
static void test_udp_port_goes_when_the_socket_loses_it(void **state)
{
	struct sockaddr_in lo = {.sin_family = AF_INET, .sin_port = htons(9)}, own;
	struct sockaddr none = {.sa_family = AF_UNSPEC};
	socklen_t len = sizeof(own);
	uint32_t kept, id;
	uint16_t port = 0;
	struct app *a;
	int fd;

	(void)state;
	open_here();
	a = w_app(1);
	fd = bound(&port, 0);
	assert_int_equal(claim(a, port, fd, &kept), 0);
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	lo.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	assert_int_equal(sendto(fd, "", 0, 0, (struct sockaddr *)&lo, sizeof(lo)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&own, &len), 0);
	assert_int_equal(claim(a, own.sin_port, fd, &id), 0);
	for (int i = 0; i < 70; i++) {
		w.d.now = mtime_add_ms(w.d.now, 10);
		udp_recheck(&w.d);
	}
	assert_int_equal(w.n_ports, 2);
	assert_int_equal(connect(fd, &none, sizeof(none)), 0);
	for (int i = 0; i < 70; i++) {
		w.d.now = mtime_add_ms(w.d.now, 10);
		udp_recheck(&w.d);
	}
	assert_int_equal(w.n_ports, 1);
	assert_int_equal(w.ports[0].k.port, port);
	assert_int_equal(udp_unclaim(&w.d, a, id), -EINVAL);
	assert_int_equal(udp_unclaim(&w.d, a, kept), 0);
	w_close();
}

static struct pkt *frame(struct pkt *p, uint8_t *b, const struct spec *x)
{
	*p = (struct pkt){.frag = {{.p = b, .len = ts_build(b, x)}}, .nfrags = 1};
	p->len = p->frag[0].len;
	p->conn = TD_NO_CONN;
	return p;
}

static void test_udp_slow_path_passes_packets_on(void **state)
{
	static uint8_t b[70000], quoted[100], data[3000];
	uint16_t port = 0;
	struct spec x = {UDP_PKT, .sport = 9, .data = data, .len = 2992};
	struct spec err = {ICMP_PKT, .type = 3, .code = 3, .data = quoted, .len = 28};
	struct app *a;
	struct pkt p;
	uint32_t id;
	int fd;

	(void)state;
	open_here();
	udp_begin(&w.d);
	a = w_app(1);
	fd = bound(&port, 0);
	assert_int_equal(claim(a, port, fd, &id), 0);
	x.dport = ntohs(port);
	/* A whole one (IP options, say): its frames are handed on. */
	x.len = 10;
	assert_int_equal(filter_packet(&w.d, frame(&p, b, &x)), PORT_TAKEN);
	assert_int_equal(w.n_injected, 1);
	assert_int_equal(w.injected_slot, 1);
	assert_true(a->wake);
	/* An ICMP error about one that it has sent. */
	ts_build_ip(quoted, &(struct spec){UDP_PKT, .src = OUR_IP, .dst = PEER_IP,
					   .sport = ntohs(port), .dport = 9});
	assert_int_equal(filter_packet(&w.d, frame(&p, b, &err)), PORT_TAKEN);
	assert_int_equal(w.n_injected, 2);
	/* What the owner itself passes on has no socket: it is answered. */
	w.d.inject_from = 1;
	assert_int_equal(filter_packet(&w.d, frame(&p, b, &x)), PORT_TO_STACK);
	assert_int_equal(ts_rx(&w.t, &x), DROP_NO_SOCKET);
	w.d.inject_from = TD_SLOT_NONE;
	/* Fragments go to the stack, and the whole as a copy to the owner. */
	x.len = 2992;
	x.id = 7;
	x.frag_len = 1480;
	assert_int_equal(filter_packet(&w.d, frame(&p, b, &x)), PORT_TO_STACK);
	assert_int_equal(ts_rx(&w.t, &x), DROP_NONE);
	assert_int_equal(w.n_injected, 2);
	x.frag_off = 1480;
	x.frag_len = 1520;
	assert_int_equal(ts_rx(&w.t, &x), DROP_NONE);
	assert_int_equal(w.n_injected, 3);
	/* A full ring: lost, not answered. */
	w.inject_full = true;
	x.frag_off = x.frag_len = 0;
	x.len = 10;
	assert_int_equal(filter_packet(&w.d, frame(&p, b, &x)), PORT_DROPPED);
	w.inject_full = false;
	app_ends(a);
	assert_int_equal(filter_packet(&w.d, frame(&p, b, &x)), PORT_TO_STACK);
	loop_output(&w.d);
	w_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_udp_claim_is_what_the_kernel_says),
		cmocka_unit_test(test_udp_port_shared_by_two_is_spread),
		cmocka_unit_test(test_udp_claim_of_an_ipv6_socket),
		cmocka_unit_test(test_udp_reuseaddr_the_last_one_has_it),
		cmocka_unit_test(test_udp_port_goes_when_the_socket_loses_it),
		cmocka_unit_test(test_udp_slow_path_passes_packets_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
