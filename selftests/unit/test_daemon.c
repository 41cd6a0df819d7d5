// SPDX-License-Identifier: BSD-2-Clause
/*
 * The daemon's hand-over and the end of applications (user/daemon/), with real stacks on both
 * sides of the rings; and what happens when the other side writes nonsense into them.
 */
#include "daemon_world.h"

/* ---- to the application and back ---- */

static void test_passive_open_is_handed_over(void **state)
{
	struct ctl_listen_reply r;
	struct app *a;
	struct shm_msg m;
	uint32_t conn;

	(void)state;
	w_open();
	a = w_app(1);
	r = start_listener(a, 0, 0);
	client_connects(5000);
	m = next_msg(a, SHM_CONN_NEW);
	assert_int_equal(m.listener, r.id);
	assert_int_equal(m.remote_port, htons(5000));
	assert_int_equal(record(5000)->state, REC_OFFERED);
	assert_int_equal(flow(5000)->slot, 1); /* behind the message */
	assert_int_equal(flow(5000)->conn, TD_NO_CONN);

	/* What has come before goes the same way. */
	assert_int_equal(
		w_rx(&(struct spec){TCP_PKT, .sport = 5000, .dport = listen_port,
				    .seq = CLIENT_ISS + 1, .flags = TH_ACK, .data = "x", .len = 1}),
		PORT_TAKEN);
	assert_int_equal(w.injected_slot, 1);

	conn = app_takes(a, &m);
	assert_int_equal(record(5000)->state, REC_TAKEN);
	assert_non_null(flow(5000));
	assert_int_equal(flow(5000)->slot, 1);
	assert_int_equal(flow(5000)->conn, conn);
	assert_int_equal(flow(5000)->state, FLOW_ESTABLISHED);
	assert_int_equal(w.n_rst, 0);
	w_close();
	assert_int_equal(w.n_rst, 1); /* detach resets it */
}

static void test_refused_hand_over_resets_the_peer(void **state)
{
	struct app *a;
	struct shm_msg m, ack = {.op = SHM_CONN_ACK, .error = ENOBUFS};

	(void)state;
	w_open();
	a = w_app(1);
	start_listener(a, 0, 0);
	client_connects(5000);
	m = next_msg(a, SHM_CONN_NEW);
	ack.conn = m.conn;
	ack.generation = m.generation;
	shm_msg_push(a->to_daemon, &ack);
	w_round();
	assert_int_equal(w.n_rst, 1);
	assert_null(record(5000));
	assert_int_equal(a->n_conns, 0);
	assert_int_equal(a->members[0]->handed, 0); /* it does not fill the backlog for ever */
	/* The same words again mean nothing. */
	shm_msg_push(a->to_daemon, &ack);
	w_round();
	assert_int_equal(w.n_rst, 1);
	w_close();
}

/* The last ACK, @text and a RST come in one batch. */
static void client_connects_and_resets(uint16_t sport, const char *text)
{
	uint32_t len = (uint32_t)strlen(text);
	struct spec g = {TCP_PKT,	    .sport = sport,  .dport = listen_port,
			 .seq = CLIENT_ISS, .flags = TH_SYN, .wnd = 65535};

	w_rx(&g);
	g.seq++;
	g.ack = get_be32(w.last.l4 + 4) + 1;
	g.flags = TH_ACK;
	w_packet(&g);
	if (len) {
		g.data = text;
		g.len = len;
		w_packet(&g);
	}
	w_rx(&(struct spec){TCP_PKT, .sport = sport, .dport = listen_port, .seq = g.seq + len,
			    .flags = TH_RST});
}

/* As Linux: accept() returns it, the data is read, and then there is the error. */
static void test_reset_before_it_was_offered_is_accepted_all_the_same(void **state)
{
	struct app *a;
	struct shm_msg m;
	struct stack *s;
	uint32_t conn;
	char c;

	(void)state;
	w_open();
	a = w_app(1);
	start_listener(a, 0, 0);
	s = w.apps[1].s;
	client_connects_and_resets(5000, "x");
	m = next_msg(a, SHM_CONN_NEW);
	assert_null(flow(5000)); /* there is nothing to come for it */

	conn = app_takes(a, &m);
	assert_int_equal(record(5000)->state, REC_TAKEN);
	assert_null(flow(5000));
	assert_int_equal(tcp_get(s, conn)->state, TCP_CLOSED);
	assert_int_equal(tcp_recv(s, conn, &c, 1, 0, w.t.now), 1);
	assert_int_equal(tcp_recv(s, conn, &c, 1, 0, w.t.now), -ECONNRESET);
	tcp_close(s, conn, w.t.now);
	m = (struct shm_msg){.op = SHM_CONN_GONE,
			     .conn = conn,
			     .generation = record(5000)->generation,
			     .local = ip(OUR_IP),
			     .remote = ip(PEER_IP),
			     .local_port = htons(listen_port),
			     .remote_port = htons(5000)};
	assert_true(shm_msg_push(a->to_daemon, &m));
	w_round();
	assert_null(record(5000));
	assert_int_equal(w.n_rst, 0);
	w_close();
}

/* And where nobody takes it, nothing is left, and nobody is told. */
static void test_reset_before_it_was_offered_and_refused(void **state)
{
	struct app *a;

	(void)state;
	w_open();
	a = w_app(1);
	start_listener(a, 0, 0);
	client_connects_and_resets(5000, "");
	next_msg(a, SHM_CONN_NEW);
	app_ends(a);
	assert_null(record(5000));
	assert_int_equal(w.n_rst, 0);
	w_close();
}

static void test_given_back_is_finished_here(void **state)
{
	struct app *a;
	struct shm_msg m;
	uint32_t conn, fin;

	(void)state;
	w_open();
	a = w_app(1);
	start_listener(a, 0, 0);
	conn = handed_over(a, 5000);
	app_gives(a, conn);
	m = next_msg(a, SHM_CONN_TAKEN);
	assert_int_equal(m.error, 0);
	assert_int_equal(m.conn, conn);
	assert_int_equal(record(5000)->state, REC_ORPHAN);
	assert_int_equal(flow(5000)->slot, TD_SLOT_DAEMON);
	assert_int_equal(flow(5000)->state, FLOW_CLOSING);
	assert_int_equal(w.n_fin, 1);
	/* FIN and ACK from the peer: TIME_WAIT, whose packets find the listener's port entry. */
	fin = get_be32(w.last.l4 + 4);
	client_answers_fin(5000, fin, TH_FIN | TH_ACK);
	assert_null(record(5000));
	assert_null(flow(5000));
	assert_int_equal(w.n_rst, 0);
	w_close();
}

static void test_time_wait_keeps_a_flow_that_nothing_else_matches(void **state)
{
	struct app *a;
	uint32_t conn, fin;

	(void)state;
	w_open();
	a = w_app(1);
	start_listener(a, 0, 0);
	conn = handed_over(a, 5000);
	assert_int_equal(listener_unlisten(&w.d, a, 0), 0);
	app_gives(a, conn);
	fin = get_be32(w.last.l4 + 4);
	client_answers_fin(5000, fin, TH_FIN | TH_ACK);
	assert_int_equal(record(5000)->state, REC_TIMEWAIT);
	assert_int_equal(flow(5000)->state, FLOW_CLOSING);
	ts_advance(&w.t, 59000);
	w_round();
	assert_non_null(flow(5000));
	ts_advance(&w.t, 2000);
	w_round();
	assert_null(flow(5000));
	assert_null(record(5000));
	w_close();
}

/* The peer closes late: the entry stands for FIN-WAIT-2, and goes with the peer's FIN. */
static void test_time_wait_after_fin_wait2_needs_no_flow(void **state)
{
	struct app *a;
	uint32_t conn, fin;

	(void)state;
	w_open();
	a = w_app(1);
	start_listener(a, 0, 0);
	conn = handed_over(a, 5000);
	app_gives(a, conn);
	fin = get_be32(w.last.l4 + 4);
	client_answers_fin(5000, fin, TH_ACK);
	ts_advance(&w.t, 1100); /* so long a TCB waits */
	w_round();
	w_round();
	assert_int_equal(record(5000)->state, REC_TIMEWAIT);
	assert_int_equal(flow(5000)->state, FLOW_CLOSING);
	client_answers_fin(5000, fin, TH_FIN | TH_ACK);
	assert_null(record(5000));
	assert_null(flow(5000));
	assert_int_equal(w.n_rst, 0);
	w_close();
}

static void test_a_dead_connection_takes_its_flow_along(void **state)
{
	struct app *a;
	struct shm_msg m = {.op = SHM_CONN_GONE,
			    .local = ip(OUR_IP),
			    .remote = ip(PEER_IP),
			    .remote_port = htons(5000)};

	(void)state;
	w_open();
	a = w_app(1);
	start_listener(a, 0, 0);
	m.local_port = htons(listen_port);
	m.conn = handed_over(a, 5000);
	m.generation = 77; /* not of this one */
	shm_msg_push(a->to_daemon, &m);
	w_round();
	assert_non_null(flow(5000));
	m.generation = tcp_get(w.apps[1].s, m.conn)->generation;
	shm_msg_push(a->to_daemon, &m);
	w_round();
	assert_null(flow(5000));
	assert_null(record(5000));
	w_close();
}

/* ---- full rings ---- */

static void test_offers_wait_while_the_ring_is_full(void **state)
{
	static const struct shm_msg filler = {.op = SHM_CONN_ICMP};
	struct app *a;
	struct shm_msg m;

	(void)state;
	w_open();
	a = w_app(1);
	start_listener(a, 0, 0);
	while (shm_msg_push(a->to_app, &filler))
		;
	client_connects(5000);
	client_connects(5001);
	assert_int_equal(record(5000)->state, REC_READY);
	assert_true(w.d.retry);
	/* The second stays on the stack's accept queue. */
	assert_null(record(5001));
	while (shm_msg_pop(a->to_app, &m))
		;
	w_round();
	w_round();
	assert_int_equal(next_msg(a, SHM_CONN_NEW).remote_port, htons(5000));
	assert_int_equal(next_msg(a, SHM_CONN_NEW).remote_port, htons(5001));
	w_close();
}

static void test_one_that_dies_while_it_waits_is_offered_all_the_same(void **state)
{
	static const struct shm_msg filler = {.op = SHM_CONN_ICMP};
	struct spec rst = {TCP_PKT, .sport = 5000, .seq = CLIENT_ISS + 1, .flags = TH_RST};
	struct app *a;
	struct shm_msg m;

	(void)state;
	w_open();
	a = w_app(1);
	start_listener(a, 0, 0);
	while (shm_msg_push(a->to_app, &filler))
		;
	client_connects(5000);
	rst.dport = listen_port;
	assert_int_equal(w_rx(&rst), PORT_TO_STACK);
	while (shm_msg_pop(a->to_app, &m))
		;
	w_round();
	m = next_msg(a, SHM_CONN_NEW);
	no_msg(a);
	assert_int_equal(tcp_get(w.apps[1].s, app_takes(a, &m))->state, TCP_CLOSED);
	assert_int_equal(a->members[0]->handed, 1);
	w_close();
}

static void test_the_backlog_counts_what_waits_in_the_application(void **state)
{
	struct ctl_listen_reply r;
	struct app *a;
	struct ctl_listen req = {.backlog = 1};

	(void)state;
	w_open();
	a = w_app(1);
	r = start_listener(a, 0, 0);
	req.id = r.id;
	assert_int_equal(listener_backlog(&w.d, a, &req), 0);
	handed_over(a, 5000);
	handed_over(a, 5001);
	/* As the kernel: full is more than the backlog. */
	assert_int_equal(a->members[r.id]->group->outside, 2);
	client_connects(5002);
	assert_null(record(5002));
	arena_listeners(&a->arena)[r.index].accepted = 2;
	w_round();
	assert_int_equal(a->members[r.id]->group->outside, 0);
	/* More accepted than there ever were is not believed. */
	arena_listeners(&a->arena)[r.index].accepted = 1000;
	w_round();
	assert_int_equal(a->members[r.id]->group->outside, 0);
	w_close();
}

static void test_a_change_of_the_link_is_told_when_there_is_room(void **state)
{
	static const struct shm_msg filler = {.op = SHM_CONN_ICMP};
	struct app *a;
	struct shm_msg m;

	(void)state;
	w_open();
	a = w_app(1);
	while (shm_msg_push(a->to_app, &filler))
		;
	w.d.ifs[0].link.mtu = 1400;
	memcpy(w.d.ifs[0].link.mac, peer_mac, 6);
	a->links_changed = 1;
	w_round();
	while (shm_msg_pop(a->to_app, &m))
		assert_int_equal(m.op, SHM_CONN_ICMP);
	assert_true(w.d.retry);
	w_round();
	m = next_msg(a, SHM_LINK);
	assert_int_equal(m.flags, 1400);
	assert_memory_equal(m.remote.b, peer_mac, 6);
	w_round();
	no_msg(a);
	w_close();
}

/* ---- an application's end ---- */

static void test_death_ends_connections_as_the_kernel_does(void **state)
{
	struct app *a;
	uint32_t conn;

	(void)state;
	w_open();
	a = w_app(1);
	start_listener(a, 0, 0);
	handed_over(a, 5000); /* nothing unread: FIN */
	conn = handed_over(a, 5001);
	client_connects(5002); /* offered only: RST */
	/* The second has unread data: RST. */
	{
		static uint8_t b[2000];
		struct spec data = {TCP_PKT,
				    .sport = 5001,
				    .dport = listen_port,
				    .seq = CLIENT_ISS + 1,
				    .flags = TH_ACK,
				    .data = "abc",
				    .len = 3,
				    .wnd = 65535};
		struct pkt p = {.nfrags = 1, .conn = TD_NO_CONN};

		data.ack = tcp_get(w.apps[1].s, conn)->snd_nxt;
		p.len = ts_build(b, &data);
		p.frag[0] = (struct pkt_frag){.p = b, .len = p.len, .frame = SHM_NIL};
		assert_int_equal(stack_input(w.apps[1].s, &p, w.t.now), DROP_NONE);
	}
	app_ends(a);
	w_round();
	assert_int_equal(w.n_fin, 1);
	assert_int_equal(w.n_rst, 2);
	assert_int_equal(record(5000)->state, REC_ORPHAN);
	assert_null(record(5002));
	assert_int_equal(a->n_conns, 0);
	assert_int_equal(w.n_ports, 0);
	assert_int_equal(a->stage, APP_QUIESCING);
	w_close();
}

static void test_death_with_a_scribbled_arena_resets(void **state)
{
	struct app *a;

	(void)state;
	w_open();
	a = w_app(1);
	start_listener(a, 0, 0);
	for (uint16_t i = 0; i < 20; i++)
		handed_over(a, (uint16_t)(5000 + i));
	assert_int_equal(getrandom(a->view.tcbs, 60000, 0), 60000);
	app_ends(a);
	w_round();
	assert_int_equal(w.d.recs.n, 0);
	assert_int_equal(w.n_flows, 0);
	assert_int_equal(w.n_rst, 20);
	w_close();
}

/* ---- nonsense in the rings ---- */

static void test_random_messages_do_no_harm(void **state)
{
	struct app *a, *b;

	(void)state;
	w_open();
	a = w_app(1);
	b = w_app(2);
	start_listener(b, 0, 0);
	handed_over(b, 5000);
	for (int i = 0; i < 20000; i++) {
		struct shm_msg m, ans;

		getrandom(&m, sizeof(m), 0);
		m.op = SHM_CONNECT + m.op % 6;
		if (i & 1) {
			m.conn %= W_TCBS;
			m.generation %= 4;
		}
		if (i & 2) { /* the other application's connection */
			m.local = ip(OUR_IP);
			m.remote = ip(PEER_IP);
			m.local_port = htons(listen_port);
			m.remote_port = htons(5000);
		}
		shm_msg_push(a->to_daemon, &m);
		app_messages(&w.d, a);
		while (shm_msg_pop(a->to_app, &ans))
			;
		if (i % 256 == 0) {
			getrandom(a->view.tcbs, 4096, 0);
			w_round();
		}
	}
	assert_non_null(flow(5000));
	assert_int_equal(record(5000)->state, REC_TAKEN);
	assert_int_equal(record(5000)->slot, 2);
	w_close();
}

static void test_scribbled_ring_headers_do_no_harm(void **state)
{
	struct app *a;

	(void)state;
	w_open();
	a = w_app(1);
	start_listener(a, 0, 0);
	for (uint16_t i = 0; i < 40; i++) {
		getrandom(&a->to_daemon->hdr, sizeof(a->to_daemon->hdr), 0);
		getrandom(&a->to_app->hdr, sizeof(a->to_app->hdr), 0);
		client_connects((uint16_t)(6000 + i));
		w_round();
	}
	app_ends(a);
	w_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_passive_open_is_handed_over),
		cmocka_unit_test(test_refused_hand_over_resets_the_peer),
		cmocka_unit_test(test_reset_before_it_was_offered_is_accepted_all_the_same),
		cmocka_unit_test(test_reset_before_it_was_offered_and_refused),
		cmocka_unit_test(test_given_back_is_finished_here),
		cmocka_unit_test(test_time_wait_keeps_a_flow_that_nothing_else_matches),
		cmocka_unit_test(test_time_wait_after_fin_wait2_needs_no_flow),
		cmocka_unit_test(test_a_dead_connection_takes_its_flow_along),
		cmocka_unit_test(test_offers_wait_while_the_ring_is_full),
		cmocka_unit_test(test_one_that_dies_while_it_waits_is_offered_all_the_same),
		cmocka_unit_test(test_the_backlog_counts_what_waits_in_the_application),
		cmocka_unit_test(test_a_change_of_the_link_is_told_when_there_is_room),
		cmocka_unit_test(test_death_ends_connections_as_the_kernel_does),
		cmocka_unit_test(test_death_with_a_scribbled_arena_resets),
		cmocka_unit_test(test_random_messages_do_no_harm),
		cmocka_unit_test(test_scribbled_ring_headers_do_no_harm),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
