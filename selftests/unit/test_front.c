// SPDX-License-Identifier: BSD-2-Clause
/*
 * Listeners that run in their application, the daemon's part (user/daemon/front.c): whom the port's
 * entry names, records of connections that it had no hand in, and packets that come to it all the
 * same. The application's stack is a real one.
 */
#include "front_world.h"

/* ---- whom the port's entry names ---- */

static void test_port_names_who_has_it_alone(void **state)
{
	struct app *a, *b;
	struct shm_msg m;

	(void)state;
	w_open();
	a = front_app(CTL_LISTEN_REUSEPORT);
	b = w_app(2);
	assert_int_equal(port_slot(), 1);
	m = next_msg(a, SHM_LISTEN_FRONT);
	assert_int_equal(m.listener, lr.id);
	assert_int_equal(m.flags, SHM_FRONT_SYNS | SHM_FRONT_ALONE);
	/* A second one: the pair says which. */
	start_listener(b, CTL_LISTEN_REUSEPORT | LOCAL, lr.port);
	assert_int_equal(port_slot(), TD_SLOT_SPREAD(0));
	assert_int_equal(next_msg(b, SHM_LISTEN_FRONT).flags, SHM_FRONT_SYNS);
	assert_int_equal(next_msg(a, SHM_LISTEN_FRONT).flags, SHM_FRONT_SYNS);
	app_ends(b);
	assert_int_equal(port_slot(), 1);
	assert_int_equal(next_msg(a, SHM_LISTEN_FRONT).flags, SHM_FRONT_SYNS | SHM_FRONT_ALONE);
	w_close();
}

/* ---- several sockets ---- */

static uint32_t places_changed(const struct spread *was)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < TD_SPREAD_PLACES; i++)
		n += w.spreads[0].slot[i] != was->slot[i];
	return n;
}

static void joins(struct app *a, uint32_t flags)
{
	start_listener(a, CTL_LISTEN_REUSEPORT | flags, lr.port);
}

static void test_sockets_have_equal_parts(void **state)
{
	struct app *a, *b, *c;
	struct spread was;

	(void)state;
	w_open();
	a = front_app(CTL_LISTEN_REUSEPORT);
	b = w_app(2);
	c = w_app(3);
	joins(b, LOCAL);
	assert_int_equal(places(1), 128);
	assert_int_equal(places(2), 128);
	was = w.spreads[0];
	joins(c, LOCAL);
	assert_int_equal(places(1) + places(2) + places(3), TD_SPREAD_PLACES);
	assert_in_range(places(1), 85, 86);
	assert_in_range(places(2), 85, 86);
	assert_in_range(places(3), 85, 86);
	/* Nobody gets what another one of before had. */
	assert_int_equal(places_changed(&was), places(3));
	was = w.spreads[0];
	app_ends(b);
	assert_int_equal(places(1), 128);
	assert_int_equal(places(3), 128);
	assert_in_range(places_changed(&was), 85, 86);
	app_ends(a);
	assert_int_equal(port_slot(), 3);
	assert_int_equal(w.d.spreads_used, 0);
	app_ends(c);
	assert_int_equal(w.n_ports, 0);
	assert_int_equal(w.d.n_fronts, 0);
	w_close();
}

/* Two sockets of one application, and one of another that cannot do it: theirs is our slot. */
static void test_sockets_that_cannot_have_theirs_here(void **state)
{
	struct ctl_listen_reply second;
	struct app *a, *b, *c;

	(void)state;
	w_open();
	a = front_app(CTL_LISTEN_REUSEPORT);
	b = w_app(2);
	c = w_app(3);
	joins(b, 0);
	assert_int_equal(places(1), 128);
	assert_int_equal(places(TD_SLOT_DAEMON), 128);
	joins(c, LOCAL);
	second = start_listener(c, CTL_LISTEN_REUSEPORT | LOCAL, lr.port);
	assert_int_equal(places(1), 64);
	assert_int_equal(places(TD_SLOT_DAEMON), 192);
	assert_int_equal(next_msg(c, SHM_LISTEN_FRONT).flags, 1);
	assert_int_equal(next_msg(c, SHM_LISTEN_FRONT).flags, 0);
	/* Its first one is left. */
	assert_int_equal(listener_unlisten(&w.d, c, second.id), 0);
	assert_in_range(places(3), 85, 86);
	assert_int_equal(next_msg(c, SHM_LISTEN_FRONT).flags, 1);
	app_ends(a);
	app_ends(c);
	assert_int_equal(port_slot(), TD_SLOT_DAEMON);
	assert_int_equal(w.d.spreads_used, 0);
	w_close();
}

/* The application that a pair's SYNs go to. */
static uint16_t slot_of(uint16_t sport)
{
	struct flow_key k = flow_key_of(&(struct tcp_addr_pair){
		.local = ip(OUR_IP), .remote = ip(PEER_IP),
		.local_port = htons(listen_port), .remote_port = htons(sport)});

	return w.spreads[0].slot[spread_place(&k, w.spreads[0].salt)];
}

static uint16_t sport_of(uint16_t slot)
{
	uint16_t p = 5000;

	while (slot_of(p) != slot)
		p++;
	return p;
}

/* A SYN that comes to us all the same is a connection of the socket that it should have gone to. */
static void test_sockets_and_a_syn_here(void **state)
{
	struct app *a, *b;

	(void)state;
	w_open();
	a = front_app(CTL_LISTEN_REUSEPORT);
	b = w_app(2);
	joins(b, LOCAL);
	next_msg(a, SHM_LISTEN_FRONT); /* alone, and not any more */
	next_msg(a, SHM_LISTEN_FRONT);
	next_msg(b, SHM_LISTEN_FRONT);
	for (uint16_t p = 5000; p < 5008; p++) {
		handed_over(slot_of(p) == 1 ? a : b, p);
		assert_int_equal(record(p)->slot, slot_of(p));
	}
	w_close();
}

static void test_sockets_under_a_flood(void **state)
{
	struct app *a, *b;

	(void)state;
	w_open();
	w.d.cfg.syncookies_xdp = 1;
	a = front_app(CTL_LISTEN_REUSEPORT);
	b = w_app(2);
	joins(b, LOCAL);
	next_msg(a, SHM_LISTEN_FRONT); /* alone, and not any more */
	next_msg(a, SHM_LISTEN_FRONT);
	next_msg(b, SHM_LISTEN_FRONT);
	synflood_begin(&w.d, a->members[0]->group->core_id);
	assert_int_equal(port_slot(), TD_SLOT_DAEMON);
	assert_int_equal(w.ports[0].v.cookies.on, 1);
	assert_int_equal(next_msg(a, SHM_LISTEN_FRONT).flags, 0);
	assert_int_equal(next_msg(b, SHM_LISTEN_FRONT).flags, 0);
	for (int i = 0; i < 12; i++) {
		ts_advance(&w.t, 1001);
		w.d.now = w.t.now;
		synflood_run(&w.d);
	}
	assert_int_equal(port_slot(), TD_SLOT_SPREAD(0));
	assert_int_equal(w.ports[0].v.cookies.on, 0);
	assert_int_equal(next_msg(a, SHM_LISTEN_FRONT).flags, 1);
	assert_int_equal(next_msg(b, SHM_LISTEN_FRONT).flags, 1);
	w_close();
}

/* What one does not know another one may: each is asked once, and then it is ours. */
static void test_sockets_are_asked_in_turn(void **state)
{
	struct spec x = {TCP_PKT, .seq = CLIENT_ISS + 1, .ack = 1, .flags = TH_ACK, .wnd = 65535};
	uint16_t first, asked = 0;
	struct app *b, *c;

	(void)state;
	w_open();
	front_app(CTL_LISTEN_REUSEPORT);
	b = w_app(2);
	c = w_app(3);
	joins(b, LOCAL);
	joins(c, LOCAL);
	x.sport = sport_of(2);
	x.dport = listen_port;
	assert_int_equal(w_rx(&x), PORT_TAKEN);
	first = w.injected_slot;
	assert_int_equal(first, 2);
	for (int i = 0; i < 3; i++) {
		asked |= (uint16_t)(1u << w.injected_slot);
		w.d.inject_from = w.injected_slot;
		assert_int_equal(w_rx(&x), i < 2 ? PORT_TAKEN : PORT_TO_STACK);
	}
	assert_int_equal(asked, 14);
	assert_int_equal(w.n_rst, 1);
	/* Nobody else, when nothing of before can be left. */
	ts_advance(&w.t, FRONT_SETTLE_NS / NS_PER_MS + 1);
	w.d.inject_from = 2;
	assert_int_equal(w_rx(&x), PORT_TO_STACK);
	w.d.inject_from = TD_SLOT_NONE;
	w_close();
}

static void test_more_groups_than_tables(void **state)
{
	struct app *a, *b;

	(void)state;
	w_open();
	a = front_app(CTL_LISTEN_REUSEPORT);
	b = w_app(2);
	w.d.spreads_used = ~0ull;
	joins(b, LOCAL);
	assert_int_equal(port_slot(), TD_SLOT_DAEMON);
	assert_int_equal(next_msg(a, SHM_LISTEN_FRONT).flags, SHM_FRONT_SYNS | SHM_FRONT_ALONE);
	assert_int_equal(next_msg(a, SHM_LISTEN_FRONT).flags, 0);
	no_msg(b);
	w.d.spreads_used = 0;
	w_close();
}

static void test_port_is_ours_where_it_is_not_asked_for(void **state)
{
	struct ctl_listen req = {.backlog = 64};
	struct app *a;

	(void)state;
	w_open();
	a = w_app(1);
	w.d.cfg.listen_in_app = 1;
	req.id = start_listener(a, 0, 0).id;
	assert_int_equal(port_slot(), TD_SLOT_DAEMON);
	/* It has changed its mind, as with TCP_FASTOPEN off. */
	req.flags = LOCAL;
	assert_int_equal(listener_backlog(&w.d, a, &req), 0);
	assert_int_equal(port_slot(), 1);
	req.flags = 0;
	assert_int_equal(listener_backlog(&w.d, a, &req), 0);
	assert_int_equal(port_slot(), TD_SLOT_DAEMON);
	w_close();

	w_open();
	on = false;
	front_app(0);
	on = true;
	assert_int_equal(port_slot(), TD_SLOT_DAEMON);
	w_close();
}

/* Cookies are ours: under a flood SYNs come to us, or to the XDP program. */
static void test_port_is_ours_under_a_flood(void **state)
{
	struct app *a;

	(void)state;
	w_open();
	w.d.cfg.syncookies_xdp = 1;
	a = front_app(0);
	next_msg(a, SHM_LISTEN_FRONT);
	assert_true(w.t.s->listeners[a->members[0]->group->core_id].in_app);
	synflood_begin(&w.d, a->members[0]->group->core_id);
	assert_int_equal(port_slot(), TD_SLOT_DAEMON);
	assert_int_equal(w.ports[0].v.cookies.on, 1);
	assert_int_equal(next_msg(a, SHM_LISTEN_FRONT).flags, 0);
	assert_false(w.t.s->listeners[a->members[0]->group->core_id].in_app);
	for (int i = 0; i < 12; i++) {
		ts_advance(&w.t, 1001);
		w.d.now = w.t.now;
		synflood_run(&w.d);
	}
	assert_int_equal(port_slot(), 1);
	assert_int_equal(w.ports[0].v.cookies.on, 0);
	assert_int_equal(next_msg(a, SHM_LISTEN_FRONT).flags, SHM_FRONT_SYNS | SHM_FRONT_ALONE);
	w_close();
}

/* ---- records ---- */

static void test_told_has_record_and_flow(void **state)
{
	struct app *a;
	uint32_t conn;

	(void)state;
	w_open();
	a = front_app(0);
	conn = born(a, 5000);
	assert_null(record(5000));
	tell(a, conn, SHM_MINE_WAITING);
	assert_int_equal(record(5000)->state, REC_TAKEN);
	assert_int_equal(record(5000)->slot, 1);
	assert_int_equal(flow(5000)->slot, 1);
	assert_int_equal(flow(5000)->conn, conn);
	assert_int_equal(flow(5000)->state, FLOW_ESTABLISHED);
	assert_int_equal(flow(5000)->packets, 1);
	assert_int_equal(member_waiting(a->members[0]), 1);
	/* And comes back as any other. */
	next_msg(a, SHM_LISTEN_FRONT);
	app_gives(a, conn);
	next_msg(a, SHM_CONN_TAKEN);
	assert_int_equal(record(5000)->state, REC_ORPHAN);
	assert_int_equal(w.n_fin, 1);
	assert_int_equal(w.n_rst, 0);
	w_close();
}

/* What stands in shm_listener.queued counts against the backlog, as far as it can be true. */
static void test_queued_counts(void **state)
{
	struct app *a;

	(void)state;
	w_open();
	a = front_app(0);
	arena_listeners(&a->arena)[lr.index].queued = 3;
	assert_int_equal(member_waiting(a->members[0]), 3);
	arena_listeners(&a->arena)[lr.index].queued = UINT32_MAX;
	assert_int_equal(member_waiting(a->members[0]), 0);
	w_close();
}

/* A record is made of the application's own port, of what has none, and of nothing else. */
static void test_told_lies(void **state)
{
	struct shm_msg m = {.op = SHM_CONN_MINE, .local = ip(OUR_IP), .remote = ip(PEER_IP)};
	struct shm_msg bad;
	struct app *a, *b;
	uint32_t n;

	(void)state;
	w_open();
	b = w_app(2);
	start_listener(b, 0, 0);
	handed_over(b, 6000);
	m.local_port = htons(listen_port);
	a = front_app(0);
	n = w.d.recs.n;
	m.listener = lr.id;
	m.remote_port = htons(6000);
	bad = m; /* another's port, and another's connection */
	assert_true(shm_msg_push(a->to_daemon, &bad));
	m.local_port = lr.port;
	bad = m;
	bad.listener = 77; /* no listener of its */
	assert_true(shm_msg_push(a->to_daemon, &bad));
	bad = m;
	bad.conn = W_TCBS; /* no TCB of its */
	assert_true(shm_msg_push(a->to_daemon, &bad));
	bad = m;
	bad.remote = (struct ip_addr){0};
	assert_true(shm_msg_push(a->to_daemon, &bad));
	bad = m;
	bad.remote_port = 0;
	assert_true(shm_msg_push(a->to_daemon, &bad));
	w_round();
	assert_int_equal(w.d.recs.n, n);
	/* Of an end that is nowhere: dropped with the application, which cannot show it. */
	assert_true(shm_msg_push(a->to_daemon, &m));
	w_round();
	assert_int_equal(w.d.recs.n, n + 1);
	app_ends(a);
	assert_int_equal(w.d.recs.n, n);
	w_close();
}

/* It dies, and has told of nothing: what it had not read is lost, so the peer is reset. */
static void test_death_ends_what_was_untold(void **state)
{
	struct spec text = {TCP_PKT,	     .sport = 5001, .dport = 0,	 .seq = CLIENT_ISS + 1,
			    .flags = TH_ACK, .wnd = 65535,  .data = "x", .len = 1};
	struct app *a;

	(void)state;
	w_open();
	a = front_app(0);
	born(a, 5000);
	born(a, 5001);
	text.dport = listen_port;
	text.ack = app_iss + 1;
	assert_int_equal(app_rx(&text), DROP_NONE);
	app_ends(a);
	w_round();
	assert_int_equal(w.n_fin, 1);
	assert_int_equal(w.n_rst, 1);
	assert_int_equal(record(5000)->state, REC_ORPHAN);
	assert_null(record(5001));
	w_close();
}

/* The port's entry goes with the listener; its connections go on. */
static void test_adopted_before_the_listener_goes(void **state)
{
	struct app *a;
	uint32_t conn;

	(void)state;
	w_open();
	a = front_app(0);
	conn = born(a, 5000);
	front_adopt(&w.d, a);
	assert_int_equal(listener_unlisten(&w.d, a, lr.id), 0);
	tcp_told(w.apps[1].s, conn, false);
	assert_int_equal(w.n_ports, 0);
	assert_int_equal(w.d.n_fronts, 0);
	assert_int_equal(record(5000)->state, REC_TAKEN);
	assert_int_equal(flow(5000)->slot, 1);
	/* A second look finds nothing new. */
	front_adopt(&w.d, a);
	assert_int_equal(w.d.recs.n, 1);
	w_close();
}

static uint32_t our_timewaits(void)
{
	struct stack_usage u;

	stack_usage(w.t.s, &u);
	return u.timewaits;
}

/* As born(), and closed by the application, then by the peer: it is in TIME_WAIT there. */
static void born_and_gone(struct app *a, uint16_t sport)
{
	uint32_t conn = born(a, sport);
	struct spec fin = {
		TCP_PKT,	     .sport = sport, .dport = listen_port, .seq = CLIENT_ISS + 1,
		.ack = app_iss + 2, .flags = TH_FIN | TH_ACK, .wnd = 65535};

	tcp_set_cookie(w.apps[1].s, conn, 0);
	tcp_close(w.apps[1].s, conn, w.t.now);
	app_out();
	assert_int_equal(app_rx(&fin), DROP_NONE);
	app_out();
}

/* The peer's FIN once more, for which our stack has an answer. */
static void fin_again_is_acked(uint16_t sport)
{
	memset(&w.last, 0, sizeof(w.last));
	w_rx(&(struct spec){TCP_PKT, .sport = sport, .dport = listen_port, .seq = CLIENT_ISS + 1,
			    .ack = app_iss + 2, .flags = TH_FIN | TH_ACK, .wnd = 65535});
	assert_int_equal(w.n_rst, 0);
	assert_int_equal(w.last.l4[13], TH_ACK);
	assert_int_equal(get_be32(w.last.l4 + 8), CLIENT_ISS + 2);
}

/* TIME_WAIT outlives its process, and the listener, in our stack. */
static void test_time_wait_outlives_its_process(void **state)
{
	struct app *a;

	(void)state;
	w_open();
	a = front_app(0);
	for (uint16_t p = 5000; p < 5010; p++)
		born_and_gone(a, p);
	assert_int_equal(our_timewaits(), 0);
	app_ends(a);
	assert_int_equal(our_timewaits(), 10);
	assert_int_equal(w.d.recs.n, 10);
	assert_int_equal(record(5003)->state, REC_TIMEWAIT);
	assert_int_equal(flow(5003)->slot, TD_SLOT_DAEMON);
	fin_again_is_acked(5009);
	ts_advance(&w.t, 61000);
	w_round();
	assert_int_equal(our_timewaits(), 0);
	assert_int_equal(w.d.recs.n, 0);
	w_close();
}

static void test_time_wait_outlives_its_listener(void **state)
{
	struct app *a;

	(void)state;
	w_open();
	a = front_app(0);
	born_and_gone(a, 5000);
	front_adopt_rest(&w.d, a);
	assert_int_equal(listener_unlisten(&w.d, a, lr.id), 0);
	assert_int_equal(our_timewaits(), 1);
	fin_again_is_acked(5000);
	/* A second look, without the listener, finds nothing. */
	front_adopt_rest(&w.d, a);
	app_ends(a);
	assert_int_equal(our_timewaits(), 1);
	w_close();
}

/* Records that no honest application could have. */
static void test_time_wait_lies(void **state)
{
	struct arena_hdr *h;
	struct timewait *r;
	struct app *a;

	(void)state;
	w_open();
	a = front_app(0);
	h = (struct arena_hdr *)(void *)a->arena.base;
	for (uint16_t p = 5000; p < 5007; p++)
		born_and_gone(a, p);
	born(a, 5007); /* alive, and has a record as well */
	r = a->view.tws;
	assert_int_equal(h->n_tws_used, 7);
	r[0].a.local_port ^= 0x100; /* not its port */
	r[1].a.local = ip("10.9.9.9"); /* not ours */
	r[2].a.remote = (struct ip_addr){0};
	r[3].a.remote_port = 0;
	r[4].used = 0;
	r[5].a.remote_port = htons(5007);
	h->n_tws_used = UINT32_MAX;
	app_ends(a);
	assert_int_equal(our_timewaits(), 1);
	assert_non_null(record(5006));
	w_close();
}

/* What our stack remembers of the pair's former life would refuse the connection when it is given.
 */
static void test_told_ends_our_time_wait(void **state)
{
	struct stack_usage u;
	struct app *a;
	uint32_t conn, fin;

	(void)state;
	w_open();
	a = w_app(2);
	start_listener(a, 0, 0);
	conn = handed_over(a, 5000);
	app_gives(a, conn);
	fin = get_be32(w.last.l4 + 4);
	client_answers_fin(5000, fin, TH_FIN | TH_ACK);
	stack_usage(w.t.s, &u);
	assert_int_equal(u.timewaits, 1);
	lr.port = htons(listen_port);
	app_ends(a);
	a = w_app(1);
	w.d.cfg.listen_in_app = 1;
	lr = start_listener(a, LOCAL, lr.port);
	stack_set_way(w.apps[1].s, way_to, w.apps[1].s);
	assert_int_equal(tcp_listen(w.apps[1].s, &(struct ip_addr){0}, lr.port, 64, 0, &core), 0);
	conn = born(a, 5000);
	tell(a, conn, 0);
	stack_usage(w.t.s, &u);
	assert_int_equal(u.timewaits, 0);
	app_gives(a, conn);
	assert_int_equal(record(5000)->state, REC_ORPHAN);
	w_close();
}

/* ---- packets that come to us ---- */

static void test_unknown_pair_goes_to_the_front(void **state)
{
	struct spec x = {TCP_PKT, .sport = 5000, .seq = CLIENT_ISS + 1, .flags = TH_ACK,
			 .wnd = 65535};
	struct app *a, *b;

	(void)state;
	w_open();
	a = front_app(CTL_LISTEN_REUSEPORT);
	b = w_app(2);
	born(a, 5000);
	x.dport = listen_port;
	x.ack = app_iss + 1;
	assert_int_equal(w_rx(&x), PORT_TAKEN);
	assert_int_equal(w.injected_slot, 1);
	/* Also when SYNs do not go there any more. */
	start_listener(b, CTL_LISTEN_REUSEPORT, lr.port);
	assert_int_equal(w_rx(&x), PORT_TAKEN);
	assert_int_equal(w.n_injected, 2);
	/* It has come back: nobody knows it. */
	w.d.inject_from = 1;
	assert_int_equal(w_rx(&x), PORT_TO_STACK);
	w.d.inject_from = TD_SLOT_NONE;
	assert_int_equal(w.n_rst, 1);
	/* A SYN is ours to answer, and what follows it. */
	client_connects(5003);
	assert_int_equal(w.n_injected, 2);
	assert_non_null(record(5003));
	w_close();
}

/* A pair that the daemon has in TIME_WAIT, from a server that has gone. */
static void left_in_time_wait(uint16_t sport)
{
	struct timewait tw = {.a = {.local = ip(OUR_IP),
				    .remote = ip(PEER_IP),
				    .local_port = htons(listen_port),
				    .remote_port = htons(sport)},
			      .snd_nxt = 70,
			      .rcv_nxt = CLIENT_ISS,
			      .ts_recent = 100,
			      .has_ts = true,
			      .used = true};
	struct flow_key k = flow_key_of(&tw.a);

	assert_int_equal(stack_rescue_timewait(w.t.s, &tw, w.t.now), 0);
	rec_at(&w.d, rec_new(&w.d, &k, TD_SLOT_DAEMON, REC_TIMEWAIT))->conn = TD_NO_CONN;
}

static void test_syn_that_ends_time_wait_goes_to_the_front(void **state)
{
	static const uint8_t ts[12] = {1, 1, 8, 10, 0, 0, 0, 101};
	struct spec x = {TCP_PKT, .seq = 7, .flags = TH_SYN, .wnd = 65535};
	struct app *a;

	(void)state;
	w_open();
	a = front_app(CTL_LISTEN_REUSEPORT);
	x.dport = listen_port;
	x.data = ts;
	x.len = x.tcp_opts = sizeof(ts);
	x.sport = 5000;
	left_in_time_wait(5000);
	assert_int_equal(w_rx(&x), PORT_TAKEN);
	assert_int_equal(w.injected_slot, 1);
	assert_null(record(5000));
	/* No room: it is answered here, and so are those of a port that is ours. */
	x.sport = 5001;
	left_in_time_wait(5001);
	w.inject_full = true;
	assert_int_equal(w_rx(&x), PORT_TO_STACK);
	assert_int_equal(w.last.l4[13], TH_SYN | TH_ACK);
	w.inject_full = false;
	a->members[0]->group->front_slot = TD_SLOT_DAEMON;
	x.sport = 5002;
	left_in_time_wait(5002);
	w.n_out = 0;
	assert_int_equal(w_rx(&x), PORT_TO_STACK);
	assert_int_equal(w.n_out, 1);
	assert_int_equal(w.last.l4[13], TH_SYN | TH_ACK);
	assert_int_equal(w.n_injected, 1);
	w_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_port_names_who_has_it_alone),
		cmocka_unit_test(test_sockets_have_equal_parts),
		cmocka_unit_test(test_sockets_that_cannot_have_theirs_here),
		cmocka_unit_test(test_sockets_and_a_syn_here),
		cmocka_unit_test(test_sockets_under_a_flood),
		cmocka_unit_test(test_sockets_are_asked_in_turn),
		cmocka_unit_test(test_more_groups_than_tables),
		cmocka_unit_test(test_port_is_ours_where_it_is_not_asked_for),
		cmocka_unit_test(test_port_is_ours_under_a_flood),
		cmocka_unit_test(test_told_has_record_and_flow),
		cmocka_unit_test(test_queued_counts),
		cmocka_unit_test(test_told_lies),
		cmocka_unit_test(test_death_ends_what_was_untold),
		cmocka_unit_test(test_adopted_before_the_listener_goes),
		cmocka_unit_test(test_time_wait_outlives_its_process),
		cmocka_unit_test(test_time_wait_outlives_its_listener),
		cmocka_unit_test(test_time_wait_lies),
		cmocka_unit_test(test_told_ends_our_time_wait),
		cmocka_unit_test(test_unknown_pair_goes_to_the_front),
		cmocka_unit_test(test_syn_that_ends_time_wait_goes_to_the_front),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
