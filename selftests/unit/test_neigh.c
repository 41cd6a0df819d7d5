// SPDX-License-Identifier: BSD-2-Clause
#include "lib_stack.h"

/* A UDP-like packet to @dst, which needs no socket. */
static int send_to(struct tstack *t, const char *dst)
{
	struct ip_out o = {.src = ip(OUR_IP), .dst = ip(dst), .proto = 99, .queue = 2};
	struct pkt *p = ip_pkt_alloc(t->s, false);
	int rc;

	assert_non_null(p);
	memset(ip_payload(p), 0x77, 20);
	rc = ip_send(t->s, p, 20, &o, t->now);
	ts_check(t);
	return rc;
}

static enum nud_state state_of(struct tstack *t, const char *a)
{
	for (uint32_t i = 0; i < t->s->neigh_free.used; i++) {
		struct ip_addr want = ip(a);

		if (ip_addr_eq(&t->a.neighs[i].addr, &want))
			return neigh_state_of(t->a.neighs[i].mac_state);
	}
	return NUD_NONE;
}

static void answer(struct tstack *t, const char *a, const uint8_t mac[6])
{
	assert_int_equal(ts_rx_arp(t, 2, mac, a, OUR_IP, our_mac), DROP_NONE);
}

static void expect_ip_to(struct tstack *t, const uint8_t mac[6])
{
	struct out o;

	ts_expect(t, &o);
	assert_int_equal(o.ethertype, ETHERTYPE_IP4);
	assert_memory_equal(o.dmac, mac, 6);
	assert_memory_equal(o.smac, our_mac, 6);
	assert_int_equal(o.queue, 2);
}

/* At 0 s a packet, an answer: REACHABLE. */
static void make_reachable(struct tstack *t)
{
	assert_int_equal(send_to(t, PEER_IP), 0);
	ts_expect_arp(t, PEER_IP, bcast_mac);
	answer(t, PEER_IP, peer_mac);
	expect_ip_to(t, peer_mac);
	assert_int_equal(state_of(t, PEER_IP), NUD_REACHABLE);
}

/* The neighbours' places from 0 on are @n of 10.0.0.50, .51 …, each used a second later. */
static void make_full(struct tstack *t, uint32_t n)
{
	char a[16];

	for (uint32_t i = 0; i < n; i++) {
		snprintf(a, sizeof(a), "10.0.0.%u", 50 + i);
		assert_int_equal(send_to(t, a), 0);
		ts_expect_arp(t, a, bcast_mac);
		answer(t, a, peer_mac);
		expect_ip_to(t, peer_mac);
		ts_advance(t, 1000);
	}
}

/* Keeps confirming nothing until it is STALE: at most 45 s. */
static void make_stale(struct tstack *t)
{
	make_reachable(t);
	ts_advance(t, 46000);
	assert_int_equal(state_of(t, PEER_IP), NUD_STALE);
}

/* RFC 1122 §2.3.2.2/1 */
static void test_neigh_packets_wait_in_order_for_the_answer(void **state)
{
	struct tstack t;
	struct out o;

	(void)state;
	ts_open(&t, NULL);
	assert_int_equal(send_to(&t, PEER_IP), 0);
	assert_int_equal(state_of(&t, PEER_IP), NUD_INCOMPLETE);
	ts_expect(&t, &o);
	assert_int_equal(o.op, 1);
	assert_ip(o.sip, OUR_IP);
	assert_ip(o.tip, PEER_IP);
	assert_memory_equal(o.dmac, bcast_mac, 6);
	assert_int_equal(send_to(&t, PEER_IP), 0);
	ts_expect_none(&t); /* asked already, both wait */
	assert_int_equal(t.s->n_pending, 2);
	answer(&t, PEER_IP, peer_mac);
	expect_ip_to(&t, peer_mac);
	expect_ip_to(&t, peer_mac);
	ts_expect_none(&t);
	assert_int_equal(t.s->n_pending, 0);
	assert_int_equal(send_to(&t, PEER_IP), 0);
	expect_ip_to(&t, peer_mac);
	ts_close(&t);
}

static void test_neigh_gateway_is_resolved_not_the_destination(void **state)
{
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	assert_int_equal(send_to(&t, FAR_IP), 0);
	ts_expect_arp(&t, GW_IP, bcast_mac);
	answer(&t, GW_IP, gw_mac);
	expect_ip_to(&t, gw_mac);
	ts_close(&t);
}

/* Three questions a second apart, then FAILED; the next packet begins anew. */
static void test_neigh_no_answer_fails_after_three(void **state)
{
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	assert_int_equal(send_to(&t, PEER_IP), 0);
	ts_expect_arp(&t, PEER_IP, bcast_mac);
	ts_advance(&t, 900);
	ts_expect_none(&t);
	ts_advance(&t, 110);
	ts_expect_arp(&t, PEER_IP, bcast_mac);
	ts_advance(&t, 1000);
	ts_expect_arp(&t, PEER_IP, bcast_mac);
	assert_int_equal(state_of(&t, PEER_IP), NUD_INCOMPLETE);
	ts_advance(&t, 1000);
	ts_expect_none(&t);
	assert_int_equal(state_of(&t, PEER_IP), NUD_FAILED);
	assert_int_equal(ts_mib(&t, MIB_Td_NeighFailed), 1);
	assert_int_equal(ts_mib(&t, MIB_Td_NeighDrops), 1);
	assert_int_equal(t.pool.n, TS_PKTS);
	assert_int_equal(send_to(&t, PEER_IP), 0);
	ts_expect_arp(&t, PEER_IP, bcast_mac);
	assert_int_equal(state_of(&t, PEER_IP), NUD_INCOMPLETE);
	ts_close(&t);
}

static void test_neigh_failure_reaches_connect_as_ehostunreach(void **state)
{
	struct tcp_addr_pair a = {.remote = ip(PEER_IP), .remote_port = 80};
	struct tstack t;
	struct stack_ev ev;
	uint32_t conn;

	(void)state;
	ts_open(&t, NULL);
	assert_int_equal(tcp_connect(t.s, &a, 7, t.now, &conn), 0);
	ts_expect_arp(&t, PEER_IP, bcast_mac);
	for (int i = 0; i < 2; i++) {
		ts_advance(&t, 1001);
		ts_expect_arp(&t, PEER_IP, bcast_mac);
	}
	assert_false(stack_event_next(t.s, &ev));
	ts_advance(&t, 1001);
	assert_true(stack_event_next(t.s, &ev));
	assert_int_equal(ev.conn, conn);
	assert_true(ev.mask & EV_ERROR);
	assert_int_equal(tcp_error(t.s, conn), E_HOSTUNREACH);
	tcp_close(t.s, conn, t.now);
	ts_close(&t);
}

/* The queue keeps the newest unres_qlen packets. */
static void test_neigh_queue_is_bounded(void **state)
{
	struct stack_cfg c = ts_cfg();
	struct tstack t;
	struct out o;

	(void)state;
	c.limits.unres_qlen = 3;
	ts_open(&t, &c);
	for (uint8_t i = 0; i < 5; i++) {
		struct ip_out io = {.src = ip(OUR_IP), .dst = ip(PEER_IP), .proto = 99, .tos = i};
		struct pkt *p = ip_pkt_alloc(t.s, false);

		assert_int_equal(ip_send(t.s, p, 8, &io, t.now), 0);
	}
	assert_int_equal(ts_mib(&t, MIB_Td_NeighDrops), 2);
	ts_expect_arp(&t, PEER_IP, bcast_mac);
	answer(&t, PEER_IP, peer_mac);
	for (uint8_t i = 2; i < 5; i++) {
		ts_expect(&t, &o);
		assert_int_equal(o.tos, i);
	}
	ts_expect_none(&t);
	ts_close(&t);
}

/* However many neighbours do not answer, they hold no more than half of what may be held. */
static void test_neigh_queues_together_are_bounded(void **state)
{
	struct stack_cfg c = ts_cfg();
	struct tstack t;
	struct out o;
	char dst[32];

	(void)state;
	c.n_pending = 32;
	ts_open(&t, &c);
	for (unsigned i = 0; i < 30; i++) {
		snprintf(dst, sizeof(dst), "10.0.0.%u", 100 + i);
		send_to(&t, dst);
		while (ts_tx(&t, &o))
			;
	}
	assert_int_equal(t.s->n_pending, 16);
	ts_close(&t);
}

/* RFC 4861: REACHABLE for 15 … 45 s after the last confirmation, then STALE. */
/* RFC 1122 §2.3.2.1/1 */
static void test_neigh_reachable_becomes_stale_unless_confirmed(void **state)
{
	struct tstack t;
	uint32_t i;

	(void)state;
	ts_open(&t, NULL);
	make_reachable(&t);
	ts_advance(&t, 14900);
	assert_int_equal(state_of(&t, PEER_IP), NUD_REACHABLE);
	i = neigh_get(t.s, 0, &(struct ip_addr){.w = {0, 0, IP_ADDR_V4_WORD2, 0x0200000a}}, t.now);
	for (int n = 0; n < 20; n++) {
		neigh_confirm(t.s, i, t.now); /* as TCP does for each ACK of new data */
		ts_advance(&t, 10000);
		assert_int_equal(state_of(&t, PEER_IP), NUD_REACHABLE);
	}
	ts_advance(&t, 36000);
	assert_int_equal(state_of(&t, PEER_IP), NUD_STALE);
	ts_expect_none(&t);
	ts_close(&t);
}

static void test_neigh_stale_use_delays_then_probes_then_reachable(void **state)
{
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	make_stale(&t);
	assert_int_equal(send_to(&t, PEER_IP), 0);
	expect_ip_to(&t, peer_mac); /* at once */
	assert_int_equal(state_of(&t, PEER_IP), NUD_DELAY);
	ts_advance(&t, 4900);
	ts_expect_none(&t);
	ts_advance(&t, 110);
	assert_int_equal(state_of(&t, PEER_IP), NUD_PROBE);
	ts_expect_arp(&t, PEER_IP, peer_mac); /* asks it alone */
	answer(&t, PEER_IP, peer_mac);
	assert_int_equal(state_of(&t, PEER_IP), NUD_REACHABLE);
	ts_close(&t);
}

static void test_neigh_delay_confirmed_by_tcp_needs_no_probe(void **state)
{
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	make_stale(&t);
	assert_int_equal(send_to(&t, PEER_IP), 0);
	expect_ip_to(&t, peer_mac);
	ts_advance(&t, 2000);
	neigh_confirm(t.s, 0, t.now);
	ts_advance(&t, 3100);
	assert_int_equal(state_of(&t, PEER_IP), NUD_REACHABLE);
	ts_expect_none(&t);
	ts_close(&t);
}

static void test_neigh_probe_unanswered_fails(void **state)
{
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	make_stale(&t);
	assert_int_equal(send_to(&t, PEER_IP), 0);
	expect_ip_to(&t, peer_mac);
	ts_advance(&t, 5001);
	for (int i = 0; i < 3; i++) {
		assert_int_equal(state_of(&t, PEER_IP), NUD_PROBE);
		ts_expect_arp(&t, PEER_IP, peer_mac);
		ts_expect_none(&t);
		ts_advance(&t, 1001);
	}
	assert_int_equal(state_of(&t, PEER_IP), NUD_FAILED);
	ts_close(&t);
}

/* Who hears nothing from beyond it asks at once, but not more often than it can matter. */
static void test_neigh_doubted_is_asked_at_once(void **state)
{
	const struct ip_addr peer = ip(PEER_IP), far = ip(FAR_IP), nowhere = ip("224.0.0.1");
	struct tstack t;
	struct ip_way w;

	(void)state;
	ts_open(&t, NULL);
	make_reachable(&t);
	assert_int_equal(stack_doubt(t.s, NULL, &peer, &w, t.now), 0);
	assert_int_equal(w.neigh, 0);
	assert_int_equal(w.neigh_gen, t.a.neighs[0].generation);
	ts_expect_none(&t); /* it has answered just now */
	ts_advance(&t, 6000);
	assert_int_equal(stack_doubt(t.s, NULL, &peer, &w, t.now), 0);
	assert_int_equal(state_of(&t, PEER_IP), NUD_PROBE);
	ts_expect_arp(&t, PEER_IP, peer_mac);
	assert_int_equal(stack_doubt(t.s, NULL, &peer, &w, t.now), 0);
	ts_expect_none(&t);
	answer(&t, PEER_IP, peer_mac);
	assert_int_equal(state_of(&t, PEER_IP), NUD_REACHABLE);
	/* Where it does not answer it is looked for anew. */
	ts_advance(&t, 6000);
	assert_int_equal(stack_doubt(t.s, NULL, &peer, &w, t.now), 0);
	for (int i = 0; i < 3; i++) {
		ts_expect_arp(&t, PEER_IP, peer_mac);
		ts_advance(&t, 1001);
	}
	assert_int_equal(state_of(&t, PEER_IP), NUD_FAILED);
	assert_int_equal(stack_doubt(t.s, NULL, &peer, &w, t.now), 0);
	ts_expect_arp(&t, PEER_IP, bcast_mac);
	assert_int_equal(stack_doubt(t.s, NULL, &far, &w, t.now), 0); /* by the gateway */
	assert_int_equal(w.neigh, 1);
	ts_expect_arp(&t, GW_IP, bcast_mac);
	assert_int_equal(stack_doubt(t.s, NULL, &nowhere, &w, t.now), -E_INVAL);
	ts_close(&t);
}

/* Another MAC for a known address counts from one second after the last change. */
static void test_neigh_change_of_mac(void **state)
{
	static const uint8_t other[6] = {2, 0, 0, 0, 0, 77};
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	make_reachable(&t);
	ts_advance(&t, 500);
	answer(&t, PEER_IP, other);
	assert_int_equal(send_to(&t, PEER_IP), 0);
	expect_ip_to(&t, peer_mac);
	ts_advance(&t, 600);
	answer(&t, PEER_IP, other);
	assert_int_equal(send_to(&t, PEER_IP), 0);
	expect_ip_to(&t, other);
	ts_close(&t);
}

static void test_neigh_kernel_events(void **state)
{
	struct net_event ev = {
		.kind = NET_NEIGH_SET, .addr = ip(PEER_IP), .mac = {2, 0, 0, 0, 0, 2}};
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	/* Learned by the kernel: good for sending, but verified. It releases what waits. */
	assert_int_equal(send_to(&t, PEER_IP), 0);
	ts_expect_arp(&t, PEER_IP, bcast_mac);
	assert_int_equal(ts_event(&t, ev), 0);
	expect_ip_to(&t, peer_mac);
	assert_int_equal(state_of(&t, PEER_IP), NUD_DELAY);
	ev.permanent = true;
	assert_int_equal(ts_event(&t, ev), 0);
	assert_int_equal(state_of(&t, PEER_IP), NUD_PERMANENT);
	ts_advance(&t, 600000);
	assert_int_equal(send_to(&t, PEER_IP), 0);
	expect_ip_to(&t, peer_mac);
	assert_int_equal(state_of(&t, PEER_IP), NUD_PERMANENT);
	/* ARP does not change it. */
	answer(&t, PEER_IP, gw_mac);
	assert_int_equal(send_to(&t, PEER_IP), 0);
	expect_ip_to(&t, peer_mac);
	ev.kind = NET_NEIGH_DEL;
	assert_int_equal(ts_event(&t, ev), 0);
	assert_int_equal(state_of(&t, PEER_IP), NUD_STALE);
	ev.addr = ip("10.0.0.99");
	assert_int_equal(ts_event(&t, ev), -E_NOENT);
	ev.kind = NET_NEIGH_SET;
	ev.addr = ip("10.0.0.255");
	assert_int_equal(ts_event(&t, ev), -E_INVAL);
	ts_close(&t);
}

static void test_neigh_link_down_fails_what_waits_and_doubts_the_rest(void **state)
{
	struct net_event down = {.kind = NET_LINK_DOWN};
	struct tstack t;

	(void)state;
	ts_open(&t, NULL);
	make_reachable(&t);
	assert_int_equal(send_to(&t, "10.0.0.3"), 0);
	ts_expect_arp(&t, "10.0.0.3", bcast_mac);
	assert_int_equal(ts_event(&t, down), 0);
	assert_int_equal(state_of(&t, PEER_IP), NUD_STALE);
	assert_int_equal(state_of(&t, "10.0.0.3"), NUD_FAILED);
	assert_int_equal(t.s->n_pending, 0);
	ts_close(&t);
}

/* A full table: FAILED goes first, then the STALE entry that was not used for longest. */
static void test_neigh_full_table_gives_up_the_least_useful(void **state)
{
	struct stack_cfg c = ts_cfg();
	struct ip_addr a = ip("10.0.0.50"), b = ip("10.0.0.51");
	struct tstack t;
	uint32_t generation, i;

	(void)state;
	c.limits.gc_thresh3 = 2;
	ts_open(&t, &c);
	make_stale(&t);
	generation = t.a.neighs[0].generation;
	assert_int_equal(send_to(&t, "10.0.0.3"), 0);
	ts_expect_arp(&t, "10.0.0.3", bcast_mac);
	i = neigh_get(t.s, 0, &a, t.now);
	assert_int_equal(i, 0); /* the STALE one's place; the INCOMPLETE one is in use */
	assert_int_equal(t.a.neighs[0].generation, generation + 1);
	assert_int_equal(neigh_state_of(t.a.neighs[0].mac_state), NUD_NONE);
	ts_neigh(&t, "10.0.0.50", gw_mac);
	assert_int_equal(neigh_get(t.s, 0, &b, t.now), SHM_NIL); /* all in use */
	assert_int_equal(send_to(&t, "10.0.0.51"), -E_NOBUFS);
	for (int n = 0; n < 2; n++) {
		ts_advance(&t, 1001);
		ts_expect_arp(&t, "10.0.0.3", bcast_mac);
	}
	ts_advance(&t, 1001);
	assert_int_equal(state_of(&t, "10.0.0.3"), NUD_FAILED);
	assert_int_equal(neigh_get(t.s, 0, &b, t.now), 1);
	ts_close(&t);
}

/* On lo there is nothing to resolve. */
static void test_neigh_loopback_needs_no_arp(void **state)
{
	static const uint8_t zero[6];
	struct net_event lo = {.kind = NET_LINK_UP, .netif = 1, .mtu = 65536};
	struct tstack t;
	struct out o;

	(void)state;
	ts_open(&t, NULL);
	assert_int_equal(ts_event(&t, lo), 0);
	assert_int_equal(send_to(&t, OUR_IP), 0);
	ts_expect(&t, &o);
	assert_int_equal(o.netif, 1);
	assert_memory_equal(o.dmac, zero, 6);
	assert_memory_equal(o.smac, zero, 6);
	ts_close(&t);
}

/* An application's stack reads the daemon's table, and changes nothing in it. */
static void test_neigh_application_reads_the_published_table(void **state)
{
	struct net_event up = {.kind = NET_LINK_UP, .mtu = 1500, .mac = {2, 0, 0, 0, 0, 1}};
	struct stack_cfg c = ts_cfg();
	struct ip_addr a = ip(PEER_IP);
	struct tstack daemon, app;
	struct neigh before;
	uint8_t eth[14];

	(void)state;
	ts_open(&daemon, NULL);
	make_stale(&daemon);
	c.role = STACK_APP;
	ts_open_bare(&app, &c);
	app.now = daemon.now;
	free(app.a.neighs);
	app.a.neighs = calloc(1, sizeof(struct neigh));
	app.s->a.neighs = daemon.a.neighs;
	assert_int_equal(ts_event(&app, up), 0);
	before = daemon.a.neighs[0];
	assert_int_equal(neigh_get(app.s, 0, &a, app.now), 0);
	assert_true(neigh_fill(app.s, 0, 0, eth, ETHERTYPE_IP4, app.now));
	assert_memory_equal(eth, peer_mac, 6);
	assert_memory_equal(eth + 6, our_mac, 6);
	assert_false(neigh_fill(app.s, 0, 1, eth, ETHERTYPE_IP4, app.now)); /* other interface */
	assert_false(neigh_fill(app.s, 1, 0, eth, ETHERTYPE_IP4, app.now)); /* no entry */
	assert_false(neigh_fill(app.s, 5000, 0, eth, ETHERTYPE_IP4, app.now));
	neigh_confirm(app.s, 0, app.now);
	neigh_confirm(app.s, 5000, app.now);
	assert_memory_equal(&before, &daemon.a.neighs[0], sizeof(before));
	a = ip("10.0.0.9");
	assert_int_equal(neigh_get(app.s, 0, &a, app.now), SHM_NIL);
	ts_close(&app);
	ts_close(&daemon);
}

/* Among those that are known it is the one not used for longest, wherever it stands. */
static void test_neigh_full_table_gives_up_the_least_used(void **state)
{
	struct stack_cfg c = ts_cfg();
	struct ip_addr a = ip("10.0.0.60"), b = ip("10.0.0.61");
	struct tstack t;

	(void)state;
	c.limits.gc_thresh3 = 3;
	ts_open(&t, &c);
	make_full(&t, 3);
	assert_int_equal(neigh_get(t.s, 0, &a, t.now), SHM_NIL); /* REACHABLE ones stay */
	ts_advance(&t, 60000);
	t.s->neigh_priv[0].used = t.now.ns; /* a packet went there just now, say */
	assert_int_equal(neigh_get(t.s, 0, &a, t.now), 1);
	/* One that does not answer goes before any that did. */
	assert_int_equal(send_to(&t, "10.0.0.60"), 0);
	for (int n = 0; n < 3; n++) {
		ts_expect_arp(&t, "10.0.0.60", bcast_mac);
		ts_advance(&t, 1001);
	}
	assert_int_equal(state_of(&t, "10.0.0.60"), NUD_FAILED);
	assert_int_equal(neigh_get(t.s, 0, &b, t.now), 1);
	ts_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_neigh_packets_wait_in_order_for_the_answer),
		cmocka_unit_test(test_neigh_gateway_is_resolved_not_the_destination),
		cmocka_unit_test(test_neigh_no_answer_fails_after_three),
		cmocka_unit_test(test_neigh_failure_reaches_connect_as_ehostunreach),
		cmocka_unit_test(test_neigh_queue_is_bounded),
		cmocka_unit_test(test_neigh_queues_together_are_bounded),
		cmocka_unit_test(test_neigh_reachable_becomes_stale_unless_confirmed),
		cmocka_unit_test(test_neigh_stale_use_delays_then_probes_then_reachable),
		cmocka_unit_test(test_neigh_delay_confirmed_by_tcp_needs_no_probe),
		cmocka_unit_test(test_neigh_probe_unanswered_fails),
		cmocka_unit_test(test_neigh_doubted_is_asked_at_once),
		cmocka_unit_test(test_neigh_change_of_mac),
		cmocka_unit_test(test_neigh_kernel_events),
		cmocka_unit_test(test_neigh_link_down_fails_what_waits_and_doubts_the_rest),
		cmocka_unit_test(test_neigh_full_table_gives_up_the_least_useful),
		cmocka_unit_test(test_neigh_loopback_needs_no_arp),
		cmocka_unit_test(test_neigh_application_reads_the_published_table),
		cmocka_unit_test(test_neigh_full_table_gives_up_the_least_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
