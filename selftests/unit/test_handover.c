/* SPDX-License-Identifier: BSD-2-Clause */
/* handover.c: connections that change stacks in every state with all that they hold. */
#include "handover_world.h"
#include "user/core/tcp_info.h"

static void test_export_takes_next_hop_along(void **state)
{
	struct tcb *t;

	(void)state;
	start();
	t = tcb_at(c.t.s, c.conn);
	t->neigh = SHM_NIL; /* nothing was sent yet */
	assert_int_equal(stack_export(c.t.s, c.conn), 0);
	assert_true(t->neigh < c.t.a.n_neighs);
	assert_int_equal(t->neigh_gen, c.t.a.neighs[t->neigh].generation);
	assert_int_equal(stack_export_done(c.t.s, c.conn, t->generation), 0);
	finish();
}

/* The algorithm comes along by its index, which is the other side's word only. */
/* The record of work may be said to be anywhere: what is outside of the arena's is not read. */
static void test_peek_stays_within_the_records(void **state)
{
	struct tcb_copy copy;
	struct tcb *t;
	int32_t good;
	uint32_t got;

	(void)state;
	start();
	t = tcb_at(c.t.s, c.conn);
	tcb_work_get(c.t.s, t)->max_pacing = 4711;
	good = t->work;
	tcb_peek(&c.t.a, c.conn, &copy);
	assert_int_equal(tcb_max_pacing(&copy.t), 4711);
	for (uint32_t i = 0; i < 200000; i++) {
		uint32_t x = i * 2654435761u;

		t->work = i & 1 ? (int32_t)x : (int32_t)(x >> 17) - 16384;
		tcb_peek(&c.t.a, c.conn, &copy);
		assert_true(!copy.t.work || copy.t.work == (int32_t)(sizeof(copy.t) / 8));
	}
	t->work = good;
	assert_int_equal(stack_export(c.t.s, c.conn), 0);
	assert_int_equal(stack_import(app.s, &c.t.a, c.conn, t->generation, 1, app.now, &got), 0);
	assert_int_equal(tcb_max_pacing(tcb_at(app.s, got)), 4711);
	assert_int_equal(stack_export_done(c.t.s, c.conn, t->generation), 0);
	finish();
}

/* ---- moving ---- */

/* What comes from the wire for a connection over lo is forged, and the other way round. */
static void test_handover_lo_and_wire_do_not_mix(void **state)
{
	struct net_event lo = {.kind = NET_LINK_UP, .netif = 1, .mtu = 65000};

	(void)state;
	start();
	move();
	assert_int_equal(ts_event(&c.t, lo), 0);
	tc_tcb(&c)->netif = 1;
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 100), DROP_MARTIAN);
	tc_tx_none(&c);
	tc_tcb(&c)->netif = 0;
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 100), DROP_NONE);
	tc_recv(&c, 100);
	finish();
}

static void test_handover_established_goes_on(void **state)
{
	(void)state;
	c.ts = true;
	c.wscale = 3;
	start();
	for (uint32_t i = 0; i < 4; i++) {
		uint32_t seq = 1 + i * 100;

		move();
		assert_int_equal(tc_tcb(&c)->cookie, 9);
		assert_int_equal(RX(&c, .flags = TH_ACK, .seq = seq, .ack = seq, .len = 100),
				 DROP_NONE);
		assert_true(tc_events(&c) & EV_READABLE);
		tc_recv(&c, 100);
		tc_send(&c, 100);
		tc_tx(&c,
		      &(struct seg){
			      .flags = TH_ACK | TH_PSH, .seq = seq, .ack = seq + 100, .len = 100});
	}
	assert_int_equal(ts_mib(&c.t, MIB_Td_HandOversIn) + ts_mib(&app, MIB_Td_HandOversIn), 4);
	assert_int_equal(ts_mib(&c.t, MIB_Td_HandOversOut) + ts_mib(&app, MIB_Td_HandOversOut), 4);
	finish();
}

static void test_handover_moves_all_queues(void **state)
{
	(void)state;
	start();
	/* unread, and beyond a hole */
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 6000), DROP_NONE);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 7001, .ack = 1, .len = 5000), DROP_NONE);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 13001, .ack = 1, .len = 10), DROP_NONE);
	/* sent and unsent */
	tc_tx_all(&c);
	tc_send(&c, 40000);
	tc_tx_all(&c);
	tc_recv(&c, 700);
	move();
	tc_recv(&c, 5300);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 6001, .ack = 1, .len = 1000), DROP_NONE);
	tc_recv(&c, 6000);
	tc_tx_all(&c);
	/* what was sent there is acknowledged here, and the rest goes from here */
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 12001, .ack = 14601), DROP_NONE);
	assert_true(tc_tx_all(&c) > 5);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 12001, .ack = 40001), DROP_NONE);
	assert_int_equal(tc_tcb(&c)->tx_bytes, 0);
	finish();
}

static void test_handover_retransmission_timer_goes_along(void **state)
{
	(void)state;
	start();
	tc_send(&c, 100);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 100);
	ts_advance(&c.t, 150);
	move();
	tc_tx_none(&c);
	ts_advance(&c.t, 900);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 100);
	finish();
}

static void test_handover_owed_ack_is_sent(void **state)
{
	(void)state;
	start();
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 100), DROP_NONE);
	move();
	tc_tx_all(&c);
	assert_int_equal(c.last.ack, 101);
	finish();
}

/*
 * The daemon waits for its neighbour, an application does not: what waits must not come behind what
 * is newer. Text stays, nobody else has sent that.
 */
static void test_handover_acks_that_wait_are_the_new_owners(void **state)
{
	uint32_t generation, to;
	uint64_t *mac_state;
	struct out o;

	(void)state;
	start();
	tc_send(&c, 1);
	tc_tx_all(&c);
	mac_state = &c.t.a.neighs[tc_tcb(&c)->neigh].mac_state;
	*mac_state = (*mac_state & ((1ull << 48) - 1)) | (uint64_t)NUD_FAILED << 48;
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 2, .len = 3000), DROP_NONE);
	ts_expect_arp(&c.t, PEER_IP, bcast_mac);
	tc_send(&c, 7);
	ts_expect_none(&c.t);
	for (uint32_t i = 1; i < 3; i++) {
		assert_int_equal(
			RX(&c, .flags = TH_ACK, .seq = 1 + 3000 * i, .ack = 2, .len = 3000),
			DROP_NONE);
		ts_expect_none(&c.t);
	}
	assert_int_equal(usage(&c.t).pending, 4);
	generation = tc_tcb(&c)->generation;
	assert_int_equal(stack_export(c.t.s, c.conn), 0);
	assert_int_equal(usage(&c.t).pending, 1);
	assert_int_equal(import(c.conn, generation, &to), 0);
	assert_int_equal(stack_export_done(c.t.s, c.conn, generation), 0);
	ts_expect(&app, &o);
	assert_int_equal(o.l4_len, 20);
	assert_int_equal(get_be32(o.l4 + 8), app.a.tcbs[to].rcv_nxt);
	ts_expect_none(&app);
	ts_neigh(&c.t, PEER_IP, peer_mac);
	ts_expect(&c.t, &o);
	assert_int_equal(o.l4_len, 20 + 7);
	ts_expect_none(&c.t);
	finish();
}

static void test_handover_events_are_told_again(void **state)
{
	uint32_t ev;

	(void)state;
	start();
	assert_int_equal(RX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 1, .len = 100),
			 DROP_NONE);
	move();
	ev = tc_events(&c);
	assert_true(ev & EV_READABLE && ev & EV_RDHUP && ev & EV_WRITABLE);
	finish();
}

/* @steps lead to @st; then it moves there and back, and the peer ends it by @end. */
static void in_state(void (*steps)(void), enum tcp_state st)
{
	setup(NULL);
	start();
	steps();
	tc_state(&c, st);
	move();
	tc_state(&c, st);
	move();
	tc_state(&c, st);
	finish();
}

static void closing(void)
{
	fin_wait_1();
	RX(&c, .flags = TH_FIN | TH_ACK, .seq = 1, .ack = 1);
	tc_tx_all(&c);
}

static void close_wait(void)
{
	RX(&c, .flags = TH_FIN | TH_ACK, .seq = 1, .ack = 1);
	tc_tx_all(&c);
}

static void last_ack(void)
{
	close_wait();
	assert_int_equal(tcp_shutdown(c.t.s, c.conn, false, true, c.t.now), 0);
	tc_tx_all(&c);
}

static void test_handover_in_each_state(void **state)
{
	(void)state;
	in_state(fin_wait_1, TCP_FIN_WAIT_1);
	in_state(fin_wait_2, TCP_FIN_WAIT_2);
	in_state(closing, TCP_CLOSING);
	in_state(close_wait, TCP_CLOSE_WAIT);
	in_state(last_ack, TCP_LAST_ACK);
	in_state(time_wait, TCP_TIME_WAIT);
}

static void test_handover_of_an_orphan_is_closed_again(void **state)
{
	(void)state;
	start();
	tc_send(&c, 10);
	tcp_close(c.t.s, c.conn, c.t.now);
	assert_int_equal(usage(&c.t).orphans, 1);
	move();
	assert_int_equal(usage(&app).orphans, 0);
	assert_false(tc_tcb(&c)->flags & TCB_F_CLOSED);
	tcp_close(c.t.s, c.conn, c.t.now);
	TX(&c, .flags = TH_FIN | TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 10);
	finish();
}

static void test_handover_time_wait_closed_becomes_record(void **state)
{
	(void)state;
	start();
	move();
	time_wait();
	move();
	tcp_close(c.t.s, c.conn, c.t.now);
	assert_int_equal(usage(&c.t).timewaits, 1);
	assert_int_equal(usage(&c.t).tcbs, 0);
	finish();
}

static void test_handover_neighbour_is_known_to_the_application(void **state)
{
	uint32_t neigh;

	(void)state;
	start();
	tc_send(&c, 1);
	tc_tx_all(&c);
	neigh = tc_tcb(&c)->neigh;
	assert_int_not_equal(neigh, SHM_NIL);
	move();
	assert_int_equal(tc_tcb(&c)->neigh, neigh);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 2), DROP_NONE);
	tc_send(&c, 1);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 2, .ack = 1, .len = 1);
	assert_memory_equal(c.o.dmac, peer_mac, 6);
	/* the daemon looks for itself */
	move();
	assert_int_equal(tc_tcb(&c)->neigh, SHM_NIL);
	finish();
}

/* RFC 9293 MUST-20: an application cannot ask itself, and goes by what it is told. */
static void test_handover_application_asks_for_the_way_after_r1(void **state)
{
	static const uint8_t other[6] = {2, 0, 0, 0, 0, 77};
	struct ip_way w = {.netif = 0}, same;
	struct tcp_addr_pair a;
	uint32_t ms;

	(void)state;
	start();
	tc_send(&c, 1);
	tc_tx_all(&c);
	move();
	tc_events(&c);
	a = tcb_pair(tc_tcb(&c));
	tcp_icmp(c.t.s, &a, c.iss + 1, E_MSGSIZE, 1000, c.t.now);
	assert_int_equal(tc_tcb(&c)->mss, 960);
	for (ms = 0; !(tc_events(&c) & EV_WAY) && ms < 20000; ms += 10) {
		ts_advance(&c.t, 10);
		while (tc_take(&c))
			assert_memory_equal(c.o.dmac, peer_mac, 6);
	}
	assert_in_range(ms, 3000, 6600);
	/* What was heard of the way's MTU holds for that way. */
	same = (struct ip_way){
		.netif = 0, .neigh = tc_tcb(&c)->neigh, .neigh_gen = tc_tcb(&c)->neigh_gen};
	assert_int_equal(tcp_set_way(c.t.s, c.conn, &same, c.t.now), 0);
	assert_int_equal(tc_tcb(&c)->mss, 960);
	/* The daemon has found another neighbour there. */
	app.now = c.t.now;
	ts_neigh(&app, GW_IP, other);
	w.neigh = neigh_get(app.s, 0, &(struct ip_addr){.w = {0, 0, IP_ADDR_V4_WORD2, 0xfe00000a}},
			    app.now);
	w.neigh_gen = app.a.neighs[w.neigh].generation;
	assert_int_equal(tcp_set_way(c.t.s, c.conn, &w, c.t.now), 0);
	assert_int_equal(tc_tcb(&c)->mss, 1460);
	ts_check(&c.t);
	ts_advance(&c.t, 20000);
	assert_true(tc_take(&c));
	assert_memory_equal(c.o.dmac, other, 6);
	while (tc_take(&c))
		;
	w.netif = STACK_MAX_NETIFS;
	assert_int_equal(tcp_set_way(c.t.s, c.conn, &w, c.t.now), -E_INVAL);
	w = (struct ip_way){.netif = 1};
	assert_int_equal(tcp_set_way(c.t.s, c.conn, &w, c.t.now), -E_INVAL);
	w = (struct ip_way){.neigh = c.t.s->a.n_neighs};
	assert_int_equal(tcp_set_way(c.t.s, c.conn, &w, c.t.now), -E_INVAL);
	assert_int_equal(tcp_set_way(c.t.s, c.conn + 1, &(struct ip_way){.netif = 0}, c.t.now),
			 -E_INVAL);
	finish();
}

static void test_handover_what_it_tells_of_itself_goes_along(void **state)
{
	struct tcp_info_out was, is;

	(void)state;
	start();
	tc_send(&c, 100);
	tc_tx_all(&c);
	ts_advance(&c.t, 1000);
	tc_tx_all(&c);
	RX(&c, .flags = TH_ACK, .seq = 21, .ack = 1, .len = 10);
	tc_tx_all(&c);
	assert_true(tcp_info(c.t.s, c.conn, c.t.now, &was));
	assert_true(was.bytes_retrans >= 100 && was.rcv_ooopack == 1 && was.total_rto);
	assert_true(was.busy_time == 1000000 && was.min_rtt != UINT32_MAX);
	move();
	ts_advance(&c.t, 100);
	assert_true(tcp_info(c.t.s, c.conn, c.t.now, &is));
	assert_true(is.bytes_retrans == was.bytes_retrans && is.rcv_ooopack == 1 &&
		    is.bytes_sent == was.bytes_sent && is.total_rto == was.total_rto);
	assert_int_equal(is.data_segs_out, was.data_segs_out);
	assert_int_equal(is.data_segs_in, was.data_segs_in);
	assert_int_equal(is.min_rtt, was.min_rtt);
	assert_true(is.busy_time == was.busy_time + 100000); /* it still is */
	finish();
}

static void test_handover_own_export_can_be_taken_back(void **state)
{
	uint32_t generation, back;

	(void)state;
	start();
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 100), DROP_NONE);
	generation = tc_tcb(&c)->generation;
	assert_int_equal(stack_export(c.t.s, c.conn), 0);
	assert_int_equal(stack_import(c.t.s, &c.t.s->a, c.conn, generation, 1, c.t.now, &back), 0);
	assert_int_equal(stack_export_done(c.t.s, c.conn, generation), 0);
	ts_check(&c.t);
	c.conn = back;
	tc_recv(&c, 100);
	finish();
}

static void test_export_cancel_goes_on_here(void **state)
{
	uint32_t generation;

	(void)state;
	start();
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 100), DROP_NONE);
	tc_send(&c, 50);
	tc_events(&c);
	generation = tc_tcb(&c)->generation;
	assert_int_equal(stack_export(c.t.s, c.conn), 0);
	tc_tx_none(&c);
	assert_int_equal(stack_export_cancel(c.t.s, c.conn, generation + 1, c.t.now), -E_NOENT);
	assert_int_equal(stack_export_cancel(c.t.s, c.conn, generation, c.t.now), 0);
	assert_int_equal(stack_export_cancel(c.t.s, c.conn, generation, c.t.now), -E_NOENT);
	ts_check(&c.t);
	assert_int_equal(usage(&c.t).tcbs_exported, 0);
	assert_true(tc_events(&c) & EV_READABLE);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 101, .len = 50);
	tc_recv(&c, 100);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 101, .ack = 51), DROP_NONE);
	/* What is outstanding is waited for, whether there is something to send or not. */
	tc_send(&c, 50);
	tc_tx_all(&c);
	assert_int_equal(stack_export(c.t.s, c.conn), 0);
	assert_int_equal(tc_tcb(&c)->timer.slot, SHM_NIL);
	assert_int_equal(stack_export_cancel(c.t.s, c.conn, generation, c.t.now), 0);
	assert_int_not_equal(tc_tcb(&c)->timer.slot, SHM_NIL);
	ts_advance(&c.t, 1500);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 51, .ack = 101, .len = 50);
	finish();
}

/* ---- what cannot be exported ---- */

static void test_export_refuses(void **state)
{
	uint32_t conn;

	(void)state;
	tc_connect_syn(&c, NULL);
	open_app();
	assert_int_equal(stack_export(c.t.s, c.conn), -E_NOTCONN);
	assert_int_equal(stack_export(c.t.s, 63), -E_BADF);
	assert_int_equal(stack_export(c.t.s, UINT32_MAX), -E_BADF);
	assert_int_equal(RX(&c, .flags = TH_SYN | TH_ACK, .ack = 1), DROP_NONE);
	tc_tx_all(&c);
	assert_int_equal(stack_export_done(c.t.s, c.conn, tc_tcb(&c)->generation), -E_NOENT);
	assert_int_equal(stack_export(c.t.s, c.conn), 0);
	assert_int_equal(stack_export(c.t.s, c.conn), -E_BADF);
	assert_int_equal(usage(&c.t).tcbs_exported, 1);
	assert_int_equal(stack_export_done(c.t.s, c.conn, tc_tcb(&c)->generation + 1), -E_NOENT);
	assert_int_equal(stack_export_done(c.t.s, UINT32_MAX, 1), -E_NOENT);
	assert_int_equal(import(c.conn, tc_tcb(&c)->generation, &conn), 0);
	/* the pair is there already */
	assert_int_equal(import(c.conn, tc_tcb(&c)->generation, &conn), -E_BADMSG);
	assert_int_equal(stack_export_done(c.t.s, c.conn, tc_tcb(&c)->generation), 0);
	finish();
}

static void test_export_reset_to_be_sent_refused(void **state)
{
	(void)state;
	start();
	tcp_abort(c.t.s, c.conn, c.t.now);
	assert_int_equal(stack_export(c.t.s, c.conn), -E_NOTCONN);
	TX(&c, .flags = TH_RST | TH_ACK, .seq = 1, .ack = 1);
	finish();
}

/*
 * One that was reset before it was handed over: accept(2) returns it all the same, its text can be
 * read, then comes the error, as with the kernel's sockets.
 */
static void test_handover_of_one_that_has_ended(void **state)
{
	uint32_t generation, to;
	struct tcb *t;

	(void)state;
	start();
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 3);
	tc_send(&c, 100);
	tc_tx_all(&c);
	assert_int_equal(stack_export_ended(c.t.s, c.conn), -E_NOTCONN); /* it lives */
	RX(&c, .flags = TH_RST, .seq = 4);
	assert_int_equal(stack_export(c.t.s, c.conn), -E_NOTCONN);
	assert_int_equal(stack_export_ended(c.t.s, c.conn), 0);
	t = tc_tcb(&c);
	generation = t->generation;
	/* What the other side says of it is of no use here. */
	t->flags |= TCB_F_RTX | TCB_F_RST_SEND | TCB_F_FIN_QUEUED | TCB_F_CLOSED;
	t->opt |= TCB_OPT_SYNACK;
	t->t_rtx = t->t_delack = t->t_keep = 1;
	assert_int_equal(import(c.conn, generation, &to), 0);
	assert_int_equal(ts_mib(&app, MIB_Tcp_CurrEstab), 0);
	assert_int_equal(stack_export_done(c.t.s, c.conn, generation), 0);
	assert_int_equal(usage(&c.t).tcbs, 0);
	swap_stacks();
	c.conn = to;
	t = tc_tcb(&c);
	assert_int_equal(t->state, TCP_CLOSED);
	assert_int_equal(t->flags, 0);
	assert_false(t->opt & TCB_OPT_SYNACK);
	assert_int_equal(tcb_cookie(t), 9);
	assert_int_equal(t->snd_una, t->snd_max);
	assert_int_equal(tcp_unsent_bytes(c.t.s, to), 0);
	tc_recv(&c, 3);
	assert_int_equal(tcp_recv(c.t.s, to, &(char){0}, 1, 0, c.t.now), -E_CONNRESET);
	tc_recv(&c, 0);
	ts_advance(&c.t, 1000);
	tc_tx_none(&c);
	tcp_close(c.t.s, to, c.t.now);
	assert_int_equal(usage(&c.t).tcbs, 0);
	assert_int_equal(usage(&c.t).chunks, 0);
	finish();
}

/* Only one that ended by an error has something to say, and only a program needs to hear it. */
static void test_handover_of_one_that_has_ended_refused(void **state)
{
	uint32_t generation, to;
	struct tcb *t, good;

	(void)state;
	start();
	assert_int_equal(stack_export_ended(c.t.s, 999999), -E_BADF);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 5000); /* more than a chunk */
	RX(&c, .flags = TH_ACK | TH_FIN, .seq = 5001, .ack = 1, .len = 3);
	tcp_shutdown(c.t.s, c.conn, false, true, c.t.now);
	tc_tx_all(&c);
	RX(&c, .flags = TH_ACK, .seq = 5005, .ack = 2);
	tc_state(&c, TCP_CLOSED);
	assert_int_equal(stack_export_ended(c.t.s, c.conn), -E_NOTCONN); /* in peace */
	tc_tcb(&c)->err = E_CONNRESET;
	assert_int_equal(stack_export_ended(c.t.s, c.conn), 0);
	t = tc_tcb(&c);
	good = *t;
	generation = t->generation;
	assert_int_equal(stack_import(c.t.s, &c.t.s->a, c.conn, generation, 0, c.t.now, &to),
			 -E_BADMSG);
	t->err = 0;
	assert_int_equal(import(c.conn, generation, &to), -E_BADMSG);
	*t = good;
	t->netif = STACK_MAX_NETIFS;
	assert_int_equal(import(c.conn, generation, &to), -E_BADMSG);
	*t = good;
	t->rx_bytes = UINT32_MAX;
	assert_int_equal(import(c.conn, generation, &to), -E_BADMSG);
	*t = good;
	t->rx_bytes--;
	assert_int_equal(import(c.conn, generation, &to), -E_BADMSG);
	*t = good;
	assert_int_equal(usage(&app).tcbs, 0);
	assert_int_equal(usage(&app).chunks, 0);
	/* Taken back it is as it was. */
	assert_int_equal(stack_export_cancel(c.t.s, c.conn, generation, c.t.now), 0);
	tc_state(&c, TCP_CLOSED);
	assert_int_equal(tcp_error(c.t.s, c.conn), E_CONNRESET);
	tc_recv(&c, 5003);
	tcp_close(c.t.s, c.conn, c.t.now);
	finish();
}

/*
 * The program's word on whose a packet is stands in memory that others may write: it counts for
 * the very pair only.
 */
static void test_application_checks_the_programs_hint(void **state)
{
	const struct spec good = {
		TCP_PKT,	   .src = PEER_IP,  .dst = OUR_IP, .sport = PEER_PORT,
		.dport = OUR_PORT, .flags = TH_ACK, .len = 10,	   .wnd = 1000};
	struct spec x[] = {good, good, good, good, good};
	uint8_t b[200];

	(void)state;
	start();
	move();
	x[0].sport++;
	x[1].dport++;
	x[2].src = FAR_IP;
	x[3].dst = "10.0.0.7";
	for (uint32_t i = 0; i < 4; i++) {
		assert_int_equal(ts_event(&c.t, (struct net_event){.kind = NET_ADDR_ADD,
								   .addr = ip("10.0.0.7"),
								   .plen = 24}),
				 0);
		x[i].seq = PEER_ISS + 1;
		x[i].ack = c.iss + 1;
		for (int told = 0; told < 2; told++) {
			struct pkt p = {.nfrags = 1, .len = ts_build(b, &x[i])};

			p.conn = told ? c.conn : TD_NO_CONN;
			p.generation = tc_tcb(&c)->generation;
			p.frag[0] = (struct pkt_frag){.p = b, .len = p.len, .frame = SHM_NIL};
			assert_int_equal(stack_input(c.t.s, &p, c.t.now), DROP_STALE_FLOW);
			assert_int_equal(tc_tcb(&c)->rx_bytes, 0);
		}
	}
	x[4].seq = PEER_ISS + 1;
	x[4].ack = c.iss + 1;
	for (uint32_t generation = 0; generation < 2; generation++) {
		struct pkt p = {.nfrags = 1, .len = ts_build(b, &x[4]), .conn = c.conn};

		p.generation = tc_tcb(&c)->generation - generation;
		p.frag[0] = (struct pkt_frag){.p = b, .len = p.len, .frame = SHM_NIL};
		assert_int_equal(stack_input(c.t.s, &p, c.t.now),
				 generation ? DROP_OUT_OF_WINDOW : DROP_NONE);
		assert_int_equal(tc_tcb(&c)->rx_bytes, 10);
	}
	tc_tx_all(&c);
	finish();
}

/* In the midst of New Reno's recovery, what is to be sent again is sent by the other stack. */
static void test_handover_in_recovery_resends(void **state)
{
	(void)state;
	start();
	tc_send(&c, 10 * 1460);
	assert_int_equal(tc_tx_all(&c), 10);
	for (int i = 0; i < 3; i++)
		RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_RECOVERY);
	assert_true(tc_tcb(&c)->flags & TCB_F_RTX);
	move();
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 1460);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_RECOVERY);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1 + 10 * 1460);
	assert_int_equal(tc_tcb(&c)->cc_state, CC_OPEN);
	finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_peek_stays_within_the_records, setup),
		cmocka_unit_test_setup(test_export_takes_next_hop_along, setup),
		cmocka_unit_test_setup(test_handover_established_goes_on, setup),
		cmocka_unit_test_setup(test_handover_lo_and_wire_do_not_mix, setup),
		cmocka_unit_test_setup(test_handover_moves_all_queues, setup),
		cmocka_unit_test_setup(test_handover_retransmission_timer_goes_along, setup),
		cmocka_unit_test_setup(test_handover_owed_ack_is_sent, setup),
		cmocka_unit_test_setup(test_handover_acks_that_wait_are_the_new_owners, setup),
		cmocka_unit_test_setup(test_handover_events_are_told_again, setup),
		cmocka_unit_test_setup(test_handover_in_each_state, setup),
		cmocka_unit_test_setup(test_handover_of_an_orphan_is_closed_again, setup),
		cmocka_unit_test_setup(test_handover_time_wait_closed_becomes_record, setup),
		cmocka_unit_test_setup(test_handover_neighbour_is_known_to_the_application, setup),
		cmocka_unit_test_setup(test_handover_application_asks_for_the_way_after_r1, setup),
		cmocka_unit_test_setup(test_handover_what_it_tells_of_itself_goes_along, setup),
		cmocka_unit_test_setup(test_handover_own_export_can_be_taken_back, setup),
		cmocka_unit_test_setup(test_export_cancel_goes_on_here, setup),
		cmocka_unit_test_setup(test_export_refuses, setup),
		cmocka_unit_test_setup(test_export_reset_to_be_sent_refused, setup),
		cmocka_unit_test_setup(test_handover_of_one_that_has_ended, setup),
		cmocka_unit_test_setup(test_handover_of_one_that_has_ended_refused, setup),
		cmocka_unit_test_setup(test_application_checks_the_programs_hint, setup),
		cmocka_unit_test_setup(test_handover_in_recovery_resends, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
