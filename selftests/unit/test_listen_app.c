// SPDX-License-Identifier: BSD-2-Clause
/* Listeners of an application's stack: what it does by itself, and what it leaves to the daemon. */
#include "lib_tcp.h"

static struct conv c;
static bool no_way;
static uint16_t way_netif;

static bool way_to(void *ctx, const struct ip_addr *to, struct ip_way *w)
{
	struct ip_addr peer = ip(PEER_IP);

	(void)ctx;
	if (no_way || !ip_addr_eq(to, &peer))
		return false;
	if (!ip_way_find(c.t.s, 0, to, w, c.t.now))
		return false;
	w->mtu = 1500;
	w->netif = way_netif;
	return true;
}

/* The daemon's table, in which the peer stands. */
static void publish_peer(void)
{
	struct neigh *n = &c.t.a.neighs[3];
	uint64_t mac = 0;

	for (int i = 0; i < 6; i++)
		mac = mac << 8 | peer_mac[i];
	n->addr = ip(PEER_IP);
	n->generation = 1;
	n->mac_state = (uint64_t)NUD_REACHABLE << 48 | mac;
}

static void open_app(uint32_t backlog)
{
	struct stack_cfg cfg = ts_cfg();
	struct net_event up = {.kind = NET_LINK_UP, .mtu = 1500};

	memset(&c, 0, sizeof(c));
	no_way = false;
	way_netif = 0;
	cfg.role = STACK_APP;
	cfg.n_routes = 0;
	ts_open_bare(&c.t, &cfg);
	memcpy(up.mac, our_mac, 6);
	assert_int_equal(ts_event(&c.t, up), 0);
	publish_peer();
	stack_set_way(c.t.s, way_to, NULL);
	c.lport = OUR_PORT;
	c.rport = PEER_PORT;
	c.mss = PEER_MSS;
	c.wnd = 65535;
	c.ts_val = 5000;
	c.conn = SHM_NIL;
	tc_listen(&c, backlog);
}

static void accept_one(void)
{
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_NONE);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_NONE);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &c.conn), 0);
	tc_state(&c, TCP_ESTABLISHED);
	tc_tx_none(&c);
	tc_events(&c);
}

/* The peer's MAC is what the table of neighbours says, and the connection keeps that. */
static void test_listen_app_handshake_alone(void **state)
{
	(void)state;
	open_app(8);
	accept_one();
	assert_memory_equal(c.o.b, peer_mac, 6);
	assert_int_equal(tc_tcb(&c)->sockopt, TCB_BORN_HERE | TCB_BORN_UNTOLD);
	assert_int_equal(tc_tcb(&c)->neigh, 3);
	assert_true(tc_tcb(&c)->flags & TCB_F_PASSIVE);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 100), DROP_NONE);
	tc_recv(&c, 100);
	tc_send(&c, 10);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 101, .len = 10);
	tc_close(&c);
}

static void close_first(void)
{
	tcp_close(c.t.s, c.conn, c.t.now);
	TX(&c, .flags = TH_FIN | TH_ACK, .seq = 1, .ack = 1);
	assert_int_equal(RX(&c, .flags = TH_FIN | TH_ACK, .seq = 1, .ack = 2), DROP_NONE);
}

/* Nobody is told of the end of what nobody was told of. */
static void test_listen_app_time_wait_is_a_record_here(void **state)
{
	struct stack_ev ev;

	(void)state;
	open_app(8);
	accept_one();
	close_first();
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 2);
	assert_int_equal(tc_usage(&c).timewaits, 1);
	assert_int_equal(tc_usage(&c).tcbs, 0);
	assert_false(stack_event_next(c.t.s, &ev));
	/* The FIN again; then a SYN that may begin anew (RFC 6191). */
	assert_int_equal(RX(&c, .flags = TH_FIN | TH_ACK, .seq = 1, .ack = 2), DROP_NONE);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 2);
	assert_int_equal(RX(&c, .flags = TH_SYN, .seq = 1000), DROP_NONE);
	assert_true(tc_take(&c));
	assert_int_equal(c.last.flags, TH_SYN | TH_ACK);
	assert_int_equal(tc_usage(&c).timewaits, 0);
	assert_int_equal(tc_usage(&c).synreqs, 1);
	ts_advance(&c.t, 200000);
	tc_tx_all(&c);
	assert_int_equal(tc_usage(&c).synreqs, 0);
	assert_false(stack_event_next(c.t.s, &ev));
	tc_close(&c);
}

static void test_listen_app_end_is_marked_local(void **state)
{
	struct stack_ev ev;

	(void)state;
	open_app(8);
	accept_one();
	/* The peer closes first. */
	assert_int_equal(RX(&c, .flags = TH_FIN | TH_ACK, .seq = 1, .ack = 1), DROP_NONE);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 2);
	tc_events(&c);
	tcp_close(c.t.s, c.conn, c.t.now);
	TX(&c, .flags = TH_FIN | TH_ACK, .seq = 1, .ack = 2);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 2, .ack = 2), DROP_NONE);
	assert_true(stack_event_next(c.t.s, &ev));
	assert_int_equal(ev.mask, EV_FREED | EV_LOCAL);
	tc_close(&c);
}

/* As in Linux: the program sees that there was one, and its end. */
static void test_listen_app_reset_before_accept(void **state)
{
	(void)state;
	open_app(8);
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_NONE);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_NONE);
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 1), DROP_NONE);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &c.conn), 0);
	tc_state(&c, TCP_CLOSED);
	assert_int_equal(tcp_error(c.t.s, c.conn), E_CONNRESET);
	tcp_close(c.t.s, c.conn, c.t.now);
	assert_null(tcp_get(c.t.s, c.conn));
	tc_close(&c);
}

/* Once the daemon knows of it, its end is the daemon's again. */
static void test_listen_app_told_is_as_handed_over(void **state)
{
	struct stack_ev ev;

	(void)state;
	open_app(8);
	accept_one();
	tcp_told(c.t.s, c.conn, false);
	assert_int_equal(tc_tcb(&c)->sockopt, TCB_BORN_HERE);
	close_first();
	assert_true(stack_event_next(c.t.s, &ev));
	assert_int_equal(ev.mask, EV_TIMEWAIT);
	assert_int_equal(tc_usage(&c).timewaits, 0);
	assert_int_equal(tc_usage(&c).tcbs, 1);
	tc_close(&c);
}

/* Where all that comes to the port comes here, its TIME_WAIT can stay; the daemon hears of an end. */
static void told_ends(bool keeps, uint32_t ts_differs, uint32_t mask)
{
	struct tcp_addr_pair a;
	struct stack_ev ev;
	struct tcb *t;

	open_app(8);
	tcp_listen_keeps_timewaits(c.t.s, c.listener, keeps);
	accept_one();
	tcp_told(c.t.s, c.conn, false);
	tcp_close(c.t.s, c.conn, c.t.now);
	TX(&c, .flags = TH_FIN | TH_ACK, .seq = 1, .ack = 1);
	t = tc_tcb(&c);
	a = (struct tcp_addr_pair){t->local, t->remote, t->local_port, t->remote_port};
	if (ts_differs) {
		t->opt |= TCB_OPT_TS;
		t->ts_offset = tcp_ts_offset_app(c.t.s, &a) + ts_differs - 1;
	}
	c.ts = ts_differs;
	RX(&c, .flags = TH_FIN | TH_ACK, .seq = 1, .ack = 2);
	assert_true(stack_event_next(c.t.s, &ev));
	assert_int_equal(ev.mask, mask);
	assert_int_equal(ev.conn, c.conn);
	assert_memory_equal(&ev.pair, &a, sizeof(a));
	assert_int_equal(tc_usage(&c).timewaits, mask == EV_FREED);
	tc_tx_all(&c);
	tc_close(&c);
}

static void test_listen_app_told_may_stay_in_time_wait(void **state)
{
	(void)state;
	told_ends(true, 0, EV_FREED);
	told_ends(true, 1, EV_FREED);
	told_ends(true, 2, EV_TIMEWAIT); /* whose timestamps a record could not go on with */
	told_ends(false, 1, EV_TIMEWAIT);
}

/* ---- what is the daemon's ---- */

static void test_listen_app_no_way_passed_on(void **state)
{
	(void)state;
	open_app(8);
	no_way = true;
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_STALE_FLOW);
	tc_tx_none(&c);
	assert_int_equal(tc_usage(&c).synreqs, 0);
	/* The answer to the daemon's SYN-ACK, and what may return its cookie. */
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 77), DROP_STALE_FLOW);
	tc_tx_none(&c);
	tc_close(&c);
}

/* No cookies: the keys are the daemon's. */
static void test_listen_app_syn_queue_full_passed_on(void **state)
{
	(void)state;
	open_app(1);
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_NONE);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	c.rport++;
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_STALE_FLOW);
	tc_tx_none(&c);
	tc_close(&c);
}

static void test_listen_app_accept_queue_full_dropped(void **state)
{
	(void)state;
	open_app(1);
	tcp_listen_outside(c.t.s, c.listener, 2);
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_QUEUE_FULL);
	assert_int_equal(c.t.a.mib[MIB_TcpExt_ListenOverflows], 1);
	assert_int_equal(c.t.a.mib[MIB_TcpExt_ListenDrops], 1);
	tcp_listen_outside(c.t.s, c.listener, 0);
	accept_one();
	tc_close(&c);
}

/*
 * An earlier SYN went to the daemon, whose SYN-ACK the peer answers: a reset of ours would kill
 * that connection.
 */
static void test_listen_app_other_ack_passed_on(void **state)
{
	(void)state;
	open_app(8);
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_NONE);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 5000), DROP_STALE_FLOW);
	tc_tx_none(&c);
	tc_close(&c);
}

/* When SYNs go elsewhere, what was begun may complete, and nothing more is said by itself. */
static void test_listen_app_quiet(void **state)
{
	(void)state;
	open_app(8);
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_NONE);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	tcp_listen_quiet(c.t.s, c.listener, true);
	ts_advance(&c.t, 3500);
	tc_tx_none(&c);
	c.rport++;
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_STALE_FLOW);
	c.rport--;
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_NONE);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &c.conn), 0);
	tc_state(&c, TCP_ESTABLISHED);
	tc_close(&c);
}

/* A way over lo is none for us. */
static void test_listen_app_loopback_passed_on(void **state)
{
	struct net_event lo = {.kind = NET_LINK_UP, .netif = 1, .mtu = 65000};

	(void)state;
	open_app(8);
	assert_int_equal(ts_event(&c.t, lo), 0);
	way_netif = 1;
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_STALE_FLOW);
	tc_tx_none(&c);
	tc_close(&c);
}

/* The daemon passed it on for a connection that has been handed back since: it has to answer. */
static void test_listen_app_injected_syn_is_the_daemons(void **state)
{
	(void)state;
	open_app(8);
	c.t.injected = true;
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_STALE_FLOW);
	tc_tx_none(&c);
	c.t.injected = false;
	accept_one();
	tc_close(&c);

	/* but what it says that it has no record of */
	open_app(8);
	c.t.injected = c.t.yours = true;
	accept_one();
	tc_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_listen_app_handshake_alone),
		cmocka_unit_test(test_listen_app_time_wait_is_a_record_here),
		cmocka_unit_test(test_listen_app_end_is_marked_local),
		cmocka_unit_test(test_listen_app_reset_before_accept),
		cmocka_unit_test(test_listen_app_told_is_as_handed_over),
		cmocka_unit_test(test_listen_app_told_may_stay_in_time_wait),
		cmocka_unit_test(test_listen_app_no_way_passed_on),
		cmocka_unit_test(test_listen_app_syn_queue_full_passed_on),
		cmocka_unit_test(test_listen_app_accept_queue_full_dropped),
		cmocka_unit_test(test_listen_app_other_ack_passed_on),
		cmocka_unit_test(test_listen_app_quiet),
		cmocka_unit_test(test_listen_app_loopback_passed_on),
		cmocka_unit_test(test_listen_app_injected_syn_is_the_daemons),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
