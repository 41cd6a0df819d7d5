// SPDX-License-Identifier: BSD-2-Clause
#include "lib_stack.h"

#define GOOD UDP_PKT, .sport = 9, .dport = 99, .data = "abc", .len = 3

static void open_with_peer(struct tstack *t, const struct stack_cfg *c)
{
	ts_open(t, c);
	ts_neigh(t, PEER_IP, peer_mac);
}

/* An established connection from us to the peer's port @port; what it sends goes on unhindered. */
static uint32_t established(struct tstack *t, uint16_t port)
{
	struct tcp_addr_pair a = {.remote = ip(PEER_IP), .remote_port = htobe16(port)};
	struct stack_ev ev;
	struct out o;
	uint32_t conn, iss;
	uint16_t ours;

	assert_int_equal(tcp_connect(t->s, &a, port, t->now, &conn), 0);
	ts_expect(t, &o);
	ours = get_be16(o.l4);
	iss = get_be32(o.l4 + 4);
	assert_int_equal(
		ts_rx(t, &(struct spec){TCP_PKT, .sport = port, .dport = ours, .seq = 100,
					.ack = iss + 1, .flags = TH_SYN | TH_ACK, .wnd = 65535}),
		DROP_NONE);
	ts_expect(t, &o); /* the ACK */
	ts_expect_none(t);
	assert_true(stack_event_next(t->s, &ev));
	assert_true(ev.mask & EV_CONNECTED);
	assert_int_equal(ev.conn, conn);
	assert_int_equal(ev.cookie, port);
	tcb_at(t->s, conn)->cwnd = 1u << 20;
	return conn;
}

static void test_stack_ethernet_is_checked(void **state)
{
	static const uint8_t group[6] = {3, 0, 0, 0, 0, 1};
	uint8_t b[100];
	struct tstack t;
	uint32_t len;

	(void)state;
	open_with_peer(&t, NULL);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD}), DROP_NO_SOCKET);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .dmac = gw_mac}), DROP_NOT_FOR_US);
	assert_int_equal(ts_mib(&t, MIB_Td_NotForUs), 1);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .smac = group}), DROP_BAD_FRAME);
	len = ts_build(b, &(struct spec){GOOD});
	assert_int_equal(ts_rx_raw(&t, b, 13, 0, 0, PKT_CSUM_VERIFY), DROP_BAD_FRAME);
	put_be16(b + 12, 0x88cc);
	assert_int_equal(ts_rx_raw(&t, b, len, 0, 0, PKT_CSUM_VERIFY), DROP_BAD_FRAME);
	put_be16(b + 12, ETHERTYPE_IP6);
	assert_int_equal(ts_rx_raw(&t, b, len, 0, 0, PKT_CSUM_VERIFY), DROP_PROTO);
	assert_int_equal(ts_mib(&t, MIB_Td_BadFrame), 3);
	assert_int_equal(stack_drops(t.s, DROP_BAD_FRAME), 3);
	assert_int_equal(stack_drops(t.s, DROP_NO_SOCKET), 1);
	assert_int_equal(stack_drops(t.s, DROP_MAX), 0);
	ts_close(&t);
}

/* Priority tags (VLAN 0) are stepped over; other VLANs are not ours. */
static void test_stack_vlan_tags(void **state)
{
	uint8_t b[100];
	struct tstack t;
	uint32_t len;

	(void)state;
	open_with_peer(&t, NULL);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .tagged = true, .vlan = 0xe000}),
			 DROP_NO_SOCKET);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .tagged = true, .vlan = 5}),
			 DROP_NOT_FOR_US);
	len = ts_build(b, &(struct spec){GOOD, .tagged = true});
	for (uint32_t n = 14; n < 18; n++)
		assert_int_equal(ts_rx_raw(&t, b, n, 0, 0, PKT_CSUM_VERIFY), DROP_BAD_FRAME);
	/* Two at most. */
	memmove(b + 22, b + 18, len - 18);
	memcpy(b + 12, "\x88\xa8\0\0\x81\0\0\0\x08\0", 10);
	assert_int_equal(ts_rx_raw(&t, b, len + 4, 0, 0, PKT_CSUM_VERIFY), DROP_NO_SOCKET);
	memmove(b + 26, b + 22, len - 18);
	memcpy(b + 20, "\x81\0\0\0\x08\0", 6);
	assert_int_equal(ts_rx_raw(&t, b, len + 8, 0, 0, PKT_CSUM_VERIFY), DROP_BAD_FRAME);
	ts_close(&t);
}

/* The I/O layer's own figures must agree. */
static void test_stack_inconsistent_packet_is_refused(void **state)
{
	uint8_t b[100];
	struct tstack t;
	struct pkt p = {.nfrags = 1};

	(void)state;
	open_with_peer(&t, NULL);
	p.len = ts_build(b, &(struct spec){GOOD});
	p.frag[0] = (struct pkt_frag){.p = b, .len = p.len - 1};
	assert_int_equal(stack_input(t.s, &p, t.now), DROP_BAD_FRAME);
	p.frag[0].len = p.len;
	p.nfrags = 0;
	assert_int_equal(stack_input(t.s, &p, t.now), DROP_BAD_FRAME);
	p.nfrags = PKT_MAX_FRAGS + 1;
	assert_int_equal(stack_input(t.s, &p, t.now), DROP_BAD_FRAME);
	p.nfrags = 1;
	p.netif = 1; /* not up */
	assert_int_equal(stack_input(t.s, &p, t.now), DROP_NOT_FOR_US);
	p.netif = 40000;
	assert_int_equal(stack_input(t.s, &p, t.now), DROP_NOT_FOR_US);
	p.netif = 0;
	assert_int_equal(stack_input(t.s, &p, t.now), DROP_NO_SOCKET);
	ts_close(&t);
}

/* Finished packets go first, then connections in turn, each at most 16 segments. */
static void test_stack_output_is_shared_in_bursts(void **state)
{
	static uint8_t data[60000];
	struct tstack t;
	struct out o;
	uint32_t a, b, n;

	(void)state;
	open_with_peer(&t, NULL);
	a = established(&t, 1000);
	b = established(&t, 2000);
	tcp_send(t.s, a, data, sizeof(data), 0, t.now);
	tcp_send(t.s, b, data, sizeof(data), 0, t.now);
	ts_rx(&t, &(struct spec){ICMP_PKT, .type = 8});
	assert_true(stack_wants_output(t.s));
	assert_true(stack_deadline(t.s).ns == t.now.ns);
	ts_expect(&t, &o);
	assert_int_equal(o.proto, PROTO_ICMP);
	for (n = 0; ts_tx(&t, &o) && get_be16(o.l4 + 2) == 1000; n++)
		;
	assert_int_equal(n, 16);
	for (n = 1; ts_tx(&t, &o) && get_be16(o.l4 + 2) == 2000; n++)
		;
	assert_int_equal(n, 16);
	while (ts_tx(&t, &o))
		;
	assert_false(stack_wants_output(t.s));
	tcp_abort(t.s, a, t.now);
	tcp_abort(t.s, b, t.now);
	ts_close(&t);
}

/* An empty pool only delays. */
static void test_stack_output_goes_on_when_the_pool_is_filled(void **state)
{
	struct tstack t;
	struct out o;
	struct pkt *all;
	uint32_t conn, n;

	(void)state;
	open_with_peer(&t, NULL);
	conn = established(&t, 1000);
	assert_int_equal(tcp_send(t.s, conn, "hello", 5, 0, t.now), 5);
	all = t.pool.free;
	n = t.pool.n;
	t.pool = (struct pkt_pool){0};
	assert_null(stack_output(t.s, t.now));
	assert_true(stack_wants_output(t.s));
	t.pool = (struct pkt_pool){all, n};
	ts_expect(&t, &o);
	assert_memory_equal(o.l4 + o.l4_len - 5, "hello", 5);
	ts_expect_none(&t);
	assert_false(stack_wants_output(t.s));
	tcp_abort(t.s, conn, t.now);
	ts_close(&t);
}

/* What is held inside has a bound of its own. */
static void test_stack_replies_not_taken_are_bounded(void **state)
{
	struct stack_cfg c = ts_cfg();
	struct tstack t;
	struct out o;
	uint32_t n = 0;

	(void)state;
	c.n_pending = 8;
	open_with_peer(&t, &c);
	for (int i = 0; i < 20; i++)
		ts_rx(&t, &(struct spec){ICMP_PKT, .type = 8});
	assert_int_equal(t.s->n_pending, 8);
	while (ts_tx(&t, &o))
		n++;
	assert_int_equal(n, 8);
	ts_close(&t);
}

static void test_stack_deadline_is_the_first_timer(void **state)
{
	struct tstack t;
	struct out o;
	struct mtime d;

	(void)state;
	open_with_peer(&t, NULL);
	assert_true(mtime_is_never(stack_deadline(t.s)));
	/* A neighbour to resolve: its retransmission in one second. */
	ts_rx(&t, &(struct spec){GOOD, .src = "10.0.0.3"});
	assert_true(stack_deadline(t.s).ns <= t.now.ns);
	ts_expect(&t, &o);
	d = stack_deadline(t.s);
	assert_in_range(d.ns - t.now.ns, 1, NS_PER_S + (1u << WHEEL_SHIFT));
	t.now = mtime_add_ms(t.now, 1001);
	assert_true(stack_deadline(t.s).ns <= t.now.ns);
	stack_tick(t.s, t.now);
	ts_expect(&t, &o);
	assert_int_equal(o.ethertype, ETHERTYPE_ARP);
	ts_close(&t);
}

/* Reports first; events of one connection in one. */
static void test_stack_events(void **state)
{
	const struct stack_ev gone = {.mask = EV_FREED, .conn = 77, .generation = 5};
	struct tstack t;
	struct stack_ev ev;
	struct tcb *c;
	uint32_t conn;

	(void)state;
	open_with_peer(&t, NULL);
	conn = established(&t, 1000);
	c = tcb_at(t.s, conn);
	tcp_event(t.s, c, EV_READABLE);
	tcp_event(t.s, c, EV_WRITABLE);
	stack_report(t.s, &gone);
	ts_check(&t);
	assert_true(stack_event_next(t.s, &ev));
	assert_int_equal(ev.mask, EV_FREED);
	assert_int_equal(ev.conn, 77);
	assert_true(stack_event_next(t.s, &ev));
	assert_int_equal(ev.mask, EV_READABLE | EV_WRITABLE);
	assert_int_equal(ev.conn, conn);
	assert_int_equal(ev.generation, c->generation);
	assert_false(stack_event_next(t.s, &ev));
	/* The ring of reports goes round without losing any. */
	for (uint32_t i = 0; i < 3 * t.s->freed_size; i++) {
		stack_report(t.s, &(struct stack_ev){.mask = EV_FREED, .conn = i});
		if (i < 10)
			continue;
		assert_true(stack_event_next(t.s, &ev));
		assert_int_equal(ev.conn, i - 10);
	}
	for (int i = 0; i < 10; i++)
		assert_true(stack_event_next(t.s, &ev));
	assert_false(stack_event_next(t.s, &ev));
	tcp_abort(t.s, conn, t.now);
	ts_close(&t);
}

static void test_stack_listener_event(void **state)
{
	struct ip_addr any = ip(NULL);
	struct tstack t;
	struct stack_ev ev;
	struct out o;
	uint32_t id, iss, conn;
	struct spec x = {TCP_PKT,  .sport = 5000,   .dport = 80,
			 .seq = 1, .flags = TH_SYN, .wnd = 999};

	(void)state;
	open_with_peer(&t, NULL);
	assert_int_equal(tcp_listen(t.s, &any, htobe16(80), 5, 1234, &id), 0);
	assert_int_equal(ts_rx(&t, &x), DROP_NONE);
	ts_expect(&t, &o);
	iss = get_be32(o.l4 + 4);
	x.flags = TH_ACK;
	x.seq = 2;
	x.ack = iss + 1;
	assert_int_equal(ts_rx(&t, &x), DROP_NONE);
	/* Behind those of connections: whoever accepts has seen what is ready. */
	while (assert_true(stack_event_next(t.s, &ev)), ev.listener == SHM_NIL)
		;
	assert_int_equal(ev.mask, EV_ACCEPT);
	assert_int_equal(ev.listener, id);
	assert_int_equal(ev.cookie, 1234);
	assert_int_equal(ev.conn, TD_NO_CONN);
	assert_false(stack_event_next(t.s, &ev));
	assert_int_equal(tcp_accept(t.s, id, &conn), 0);
	tcp_abort(t.s, conn, t.now);
	tcp_unlisten(t.s, id, t.now);
	ts_close(&t);
}

static void test_stack_addresses_come_and_go(void **state)
{
	struct net_event add = {.kind = NET_ADDR_ADD, .addr = ip("10.0.0.7"), .plen = 24};
	struct net_event del = add;
	struct tstack t;

	(void)state;
	open_with_peer(&t, NULL);
	del.kind = NET_ADDR_DEL;
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .dst = "10.0.0.7"}), DROP_NOT_FOR_US);
	assert_int_equal(ts_event(&t, del), -E_NOENT);
	assert_int_equal(ts_event(&t, add), 0);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .dst = "10.0.0.7"}), DROP_NO_SOCKET);
	assert_int_equal(ts_event(&t, add), 0); /* once more: it is the same one */
	assert_int_equal(ts_event(&t, del), 0);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD, .dst = "10.0.0.7"}), DROP_NOT_FOR_US);
	assert_int_equal(ts_rx(&t, &(struct spec){GOOD}), DROP_NO_SOCKET);
	add.plen = 33;
	assert_int_equal(ts_event(&t, add), -E_INVAL);
	add.plen = 24;
	for (uint32_t i = 0; t.s->n_addrs < STACK_MAX_ADDRS; i++) {
		add.addr.b[13] = 1 + (uint8_t)(i >> 8);
		add.addr.b[15] = (uint8_t)i;
		stack_event(t.s, &add, t.now);
	}
	add.addr = ip("172.16.0.1");
	assert_int_equal(ts_event(&t, add), -E_NOSPC);
	add.netif = STACK_MAX_NETIFS;
	assert_int_equal(ts_event(&t, add), -E_INVAL);
	ts_close(&t);
}

static void test_stack_usage_and_walk(void **state)
{
	struct tstack t;
	struct stack_usage u;
	uint32_t it = 0, conn, a, b;

	(void)state;
	open_with_peer(&t, NULL);
	a = established(&t, 1000);
	b = established(&t, 2000);
	stack_usage(t.s, &u);
	assert_int_equal(u.tcbs, 2);
	assert_int_equal(u.neighs, 1);
	assert_int_equal(u.routes, 2);
	assert_int_equal(u.pending, 0);
	assert_true(stack_next_conn(t.s, &it, &conn));
	assert_int_equal(conn, a);
	assert_true(stack_next_conn(t.s, &it, &conn));
	assert_int_equal(conn, b);
	assert_false(stack_next_conn(t.s, &it, &conn));
	stack_count(t.s, MIB_Td_Injected, 5);
	assert_int_equal(ts_mib(&t, MIB_Td_Injected), 5);
	tcp_abort(t.s, a, t.now);
	tcp_abort(t.s, b, t.now);
	ts_close(&t);
}

/* Nothing of the private memory is touched that is not needed. */
static void test_stack_init_touches_little(void **state)
{
	struct stack_cfg c = ts_cfg();
	struct arena_view a = {.n_tcbs = 1000000, .n_chunks = 1000000, .n_neighs = 1024};
	struct pkt_pool pool = {0};
	size_t size, touched = 0;
	uint8_t *mem;

	(void)state;
	c.n_synreqs = c.n_tw = 65536;
	size = stack_mem_size(&c, &a);
	mem = aligned_alloc(4096, (size + 4095) & ~(size_t)4095);
	assert_non_null(mem);
	memset(mem, 0, sizeof(struct stack));
	for (size_t i = sizeof(struct stack); i < size; i += 4096)
		mem[i] = 0xa5;
	assert_non_null(stack_init(mem, &c, &a, &pool, (struct mtime){NS_PER_S}));
	for (size_t i = sizeof(struct stack); i < size; i += 4096)
		touched += mem[i] != 0xa5;
	assert_int_equal(touched, 0);
	free(mem);
}

static void test_stack_check_finds_damage(void **state)
{
	struct tstack t;
	char why[100];
	uint32_t conn;

	(void)state;
	open_with_peer(&t, NULL);
	conn = established(&t, 1000);
	tcb_at(t.s, conn)->flags |= TCB_F_OUT_QUEUED;
	assert_int_equal(stack_check(t.s, why, sizeof(why)), -E_UCLEAN);
	tcb_at(t.s, conn)->flags &= ~TCB_F_OUT_QUEUED;
	t.s->ev_head = t.s->ev_tail = conn;
	assert_int_equal(stack_check(t.s, why, sizeof(why)), -E_UCLEAN);
	t.s->ev_head = t.s->ev_tail = SHM_NIL;
	assert_int_equal(stack_check(t.s, why, sizeof(why)), 0);
	assert_int_equal(check_fail(why, 8, "number", 12345), -E_UCLEAN);
	assert_string_equal(why, "number ");
	assert_int_equal(check_fail(why, sizeof(why), "number", 0), -E_UCLEAN);
	assert_string_equal(why, "number 0");
	tcp_abort(t.s, conn, t.now);
	ts_close(&t);
}

static void test_stack_names_and_defaults(void **state)
{
	struct stack_limits l;

	(void)state;
	assert_string_equal(drop_name(DROP_NONE), "NONE");
	assert_string_equal(drop_name(DROP_NO_MEMORY), "NO_MEMORY");
	assert_string_equal(drop_name(DROP_MAX), "?");
	stack_limits_default(&l);
	assert_int_equal(l.somaxconn, 4096);
	assert_int_equal(l.tcp_rmem[2], 33554432);
	assert_int_equal(l.ipfrag_time, 30);
}

/* Initial numbers, ports and cookies: none follows from another, all from what nobody knows. */
static void test_stack_secrets_are_all_keyed(void **state)
{
	struct stack_cfg c = ts_cfg();
	uint64_t key[2][8];
	struct tstack t;

	(void)state;
	for (uint64_t n = 0; n < 2; n++) {
		const struct stack *s;

		c.key[1] = 77 + n;
		ts_open(&t, &c);
		s = t.s;
		memcpy(key[n], s->isn_key, 16);
		memcpy(key[n] + 2, s->port_key, 16);
		memcpy(key[n] + 4, s->cookie_key, 16);
		memcpy(key[n] + 6, s->fo_key, 16);
		ts_close(&t);
	}
	for (uint32_t i = 0; i < 8; i++) {
		assert_true(key[0][i] && key[0][i] != key[1][i]);
		for (uint32_t k = 0; k < i; k++)
			assert_true(key[0][i] != key[0][k]);
	}
}

/* What a configuration does not say is as in Linux. */
static void test_stack_defaults(void **state)
{
	struct stack_cfg c = ts_cfg();
	struct tstack t;
	struct out o;

	(void)state;
	c.limits.port_lo = c.limits.port_hi = 0;
	c.limits.ip_default_ttl = 0;
	open_with_peer(&t, &c);
	assert_int_equal(t.s->cfg.limits.port_lo, 32768);
	assert_int_equal(t.s->cfg.limits.port_hi, 60999);
	ts_rx(&t, &(struct spec){ICMP_PKT, .type = 8});
	ts_expect(&t, &o);
	assert_int_equal(o.ttl, 64);
	ts_close(&t);
}

/* Packets that wait for the driver are as many as there may be, and no more. */
static void test_stack_packets_to_send_are_bounded(void **state)
{
	struct stack_cfg c = ts_cfg();
	struct tstack t;
	struct out o;
	uint32_t n = 0;

	(void)state;
	c.n_pending = 16;
	open_with_peer(&t, &c);
	for (uint32_t i = 0; i < 20; i++)
		ts_rx(&t, &(struct spec){ICMP_PKT, .type = 8});
	assert_int_equal(t.s->n_pending, 16);
	while (ts_tx(&t, &o))
		n++;
	assert_int_equal(n, 16);
	ts_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_stack_ethernet_is_checked),
		cmocka_unit_test(test_stack_vlan_tags),
		cmocka_unit_test(test_stack_inconsistent_packet_is_refused),
		cmocka_unit_test(test_stack_output_is_shared_in_bursts),
		cmocka_unit_test(test_stack_output_goes_on_when_the_pool_is_filled),
		cmocka_unit_test(test_stack_replies_not_taken_are_bounded),
		cmocka_unit_test(test_stack_deadline_is_the_first_timer),
		cmocka_unit_test(test_stack_events),
		cmocka_unit_test(test_stack_listener_event),
		cmocka_unit_test(test_stack_addresses_come_and_go),
		cmocka_unit_test(test_stack_usage_and_walk),
		cmocka_unit_test(test_stack_init_touches_little),
		cmocka_unit_test(test_stack_check_finds_damage),
		cmocka_unit_test(test_stack_names_and_defaults),
		cmocka_unit_test(test_stack_secrets_are_all_keyed),
		cmocka_unit_test(test_stack_defaults),
		cmocka_unit_test(test_stack_packets_to_send_are_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
