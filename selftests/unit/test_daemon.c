// SPDX-License-Identifier: BSD-2-Clause
/*
 * The daemon's hand-over, listeners, connect() and filter (user/daemon/), with real stacks on both
 * sides of the rings; and what happens when the other side writes nonsense into them.
 */
#include "daemon_world.h"

#define CLIENT_ISS 1000u

static uint16_t listen_port; /* host order */

/* What the loop does in a round, but for packets. */
static void w_round(void)
{
	w.d.now = w.t.now;
	listener_refresh(&w.d);
	loop_events(&w.d);
	for (uint32_t s = 1; s < w.d.slots; s++)
		if (w.d.apps[s] && w.d.apps[s]->stage == APP_ALIVE)
			app_run(&w.d, w.d.apps[s]);
	loop_events(&w.d);
	loop_output(&w.d);
	ts_check(&w.t);
}

/* A packet as the port gives it: to the filter, then to the stack. */
static enum port_verdict w_rx(const struct spec *x)
{
	static uint8_t b[70000];
	enum port_verdict v;
	struct pkt p = {.nfrags = 1, .len = ts_build(b, x), .conn = TD_NO_CONN};

	p.frag[0] = (struct pkt_frag){.p = b, .len = p.len, .frame = SHM_NIL};
	w.d.now = w.t.now;
	v = filter_packet(&w.d, &p);
	if (v == PORT_TO_STACK)
		stack_input(w.t.s, &p, w.t.now);
	w_round();
	return v;
}

/* @a listens on any free port of any address. */
static struct ctl_listen_reply start_listener(struct app *a, uint32_t flags, uint16_t port)
{
	struct ctl_listen req = {
		.port = port, .proto = IPPROTO_TCP, .backlog = 64, .id = SHM_NIL, .flags = flags};
	struct ctl_listen_reply r;

	assert_int_equal(listener_listen(&w.d, a, &req, &r), 0);
	listen_port = ntohs(r.port);
	return r;
}

/* The peer opens a connection from @sport; its handshake is complete after this. */
static void client_connects(uint16_t sport)
{
	struct spec syn = {TCP_PKT,	      .sport = sport,  .dport = listen_port,
			   .seq = CLIENT_ISS, .flags = TH_SYN, .wnd = 65535};
	struct spec ack = {
		TCP_PKT,	 .sport = sport, .dport = listen_port, .seq = CLIENT_ISS + 1,
		.flags = TH_ACK, .wnd = 65535};

	w_rx(&syn);
	assert_int_equal(w.last.l4[13], TH_SYN | TH_ACK);
	ack.ack = get_be32(w.last.l4 + 4) + 1;
	w_rx(&ack);
}

static struct flow_key client_key(uint16_t sport)
{
	struct tcp_addr_pair p = {ip(OUR_IP), ip(PEER_IP), htons(listen_port), htons(sport)};

	return flow_key_of(&p);
}

static struct rec *record(uint16_t sport)
{
	struct flow_key k = client_key(sport);
	uint32_t i = recs_find(&w.d.recs, &k);

	return i == SHM_NIL ? NULL : rec_at(&w.d, i);
}

static const struct flow_val *flow(uint16_t sport)
{
	struct flow_key k = client_key(sport);
	uint32_t i = w_flow(&k);

	return i == SHM_NIL ? NULL : &w.flows[i].v;
}

static struct shm_msg next_msg(struct app *a, uint32_t op)
{
	struct shm_msg m;

	assert_true(shm_msg_pop(a->to_app, &m));
	assert_int_equal(m.op, op);
	return m;
}

static void no_msg(struct app *a)
{
	assert_int_equal(shm_ring_avail(&a->to_app->hdr, SHM_MSG_RING), 0);
}

/* The application imports what @m offers and says so. Returns the connection in its stack. */
static uint32_t app_takes(struct app *a, const struct shm_msg *m)
{
	struct stack *s = w.apps[a->slot].s;
	struct shm_msg ack = {.op = SHM_CONN_ACK, .conn = m->conn, .generation = m->generation};
	uint32_t conn;

	assert_int_equal(stack_import(s, &w.t.a, m->conn, m->generation, 0, w.t.now, &conn), 0);
	ack.new_conn = conn;
	ack.new_generation = tcp_get(s, conn)->generation;
	assert_true(shm_msg_push(a->to_daemon, &ack));
	w_round();
	return conn;
}

/* A connection from @sport that is the application's. */
static uint32_t handed_over(struct app *a, uint16_t sport)
{
	struct shm_msg m;

	client_connects(sport);
	m = next_msg(a, SHM_CONN_NEW);
	return app_takes(a, &m);
}

static void app_gives(struct app *a, uint32_t conn)
{
	struct stack *s = w.apps[a->slot].s;
	struct shm_msg m = {
		.op = SHM_CONN_GIVE, .conn = conn, .generation = tcp_get(s, conn)->generation};

	tcp_close(s, conn, w.t.now);
	assert_int_equal(stack_export(s, conn), 0);
	assert_true(shm_msg_push(a->to_daemon, &m));
	w_round();
}

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
	assert_null(flow(5000)); /* its packets still find the port's entry */

	/* What comes meanwhile goes the same way, behind the message. */
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
	w_rx(&(struct spec){TCP_PKT, .sport = 5000, .dport = listen_port, .seq = CLIENT_ISS + 1,
			    .ack = fin + 1, .flags = TH_FIN | TH_ACK, .wnd = 65535});
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
	w_rx(&(struct spec){TCP_PKT, .sport = 5000, .dport = listen_port, .seq = CLIENT_ISS + 1,
			    .ack = fin + 1, .flags = TH_FIN | TH_ACK, .wnd = 65535});
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
	app_gone(&w.d, a);
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
	app_gone(&w.d, a);
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
	app_gone(&w.d, a);
	w_close();
}

/* ---- connect() ---- */

static void ask_connect(struct app *a, uint64_t cookie, uint16_t rport)
{
	struct shm_msg m = {.op = SHM_CONNECT,
			    .cookie = cookie,
			    .remote = ip(PEER_IP),
			    .remote_port = htons(rport)};

	shm_msg_push(a->to_daemon, &m);
	w_round();
}

/* The peer's answer to the SYN that was sent last. */
static void answer_syn(uint8_t flags)
{
	struct spec x = {
		TCP_PKT,     .sport = get_be16(w.last.l4 + 2),	 .dport = get_be16(w.last.l4),
		.seq = 9000, .ack = get_be32(w.last.l4 + 4) + 1, .flags = flags,
		.wnd = 65535};

	w_rx(&x);
}

static void test_connect_opens(void **state)
{
	struct app *a;
	struct shm_msg m;
	uint32_t conn;

	(void)state;
	w_open();
	a = w_app(1);
	ask_connect(a, 42, 80);
	assert_int_equal(w.n_syn, 1);
	assert_int_equal(w.n_flows, 1);
	assert_int_equal(w.flows[0].v.state, FLOW_OPENING);
	assert_int_equal(w.flows[0].v.slot, TD_SLOT_DAEMON);
	answer_syn(TH_SYN | TH_ACK);
	m = next_msg(a, SHM_CONN_OPENED);
	assert_int_equal(m.cookie, 42);
	conn = app_takes(a, &m);
	assert_int_equal(w.flows[0].v.state, FLOW_ESTABLISHED);
	assert_int_equal(w.flows[0].v.slot, 1);
	assert_int_equal(w.flows[0].v.conn, conn);
	w_close();
}

static void test_connect_fails(void **state)
{
	struct app *a;
	struct shm_msg m;

	(void)state;
	w_open();
	a = w_app(1);
	ask_connect(a, 42, 80);
	answer_syn(TH_RST | TH_ACK);
	m = next_msg(a, SHM_CONN_FAILED);
	assert_int_equal(m.error, ECONNREFUSED);
	assert_int_equal(m.cookie, 42);
	assert_int_equal(w.n_flows, 0);
	assert_int_equal(w.d.recs.n, 0);

	/* Not an address of ours; not one to connect to. */
	m = (struct shm_msg){.op = SHM_CONNECT,
			     .cookie = 1,
			     .local = ip("10.0.0.77"),
			     .remote = ip(PEER_IP),
			     .remote_port = htons(80)};
	shm_msg_push(a->to_daemon, &m);
	m = (struct shm_msg){.op = SHM_CONNECT,
			     .cookie = 2,
			     .remote = ip("224.0.0.1"),
			     .remote_port = htons(80)};
	shm_msg_push(a->to_daemon, &m);
	m = (struct shm_msg){.op = SHM_CONNECT, .cookie = 3, .remote = ip(PEER_IP)};
	shm_msg_push(a->to_daemon, &m);
	w_round();
	assert_int_equal(next_msg(a, SHM_CONN_FAILED).error, EADDRNOTAVAIL);
	assert_int_equal(next_msg(a, SHM_CONN_FAILED).error, ENETUNREACH);
	assert_int_equal(next_msg(a, SHM_CONN_FAILED).error, EINVAL);
	no_msg(a);
	w_close();
}

static void test_connect_cancelled(void **state)
{
	struct app *a;
	struct shm_msg m = {.op = SHM_CONNECT_CANCEL, .cookie = 42};

	(void)state;
	w_open();
	a = w_app(1);
	ask_connect(a, 41, 80);
	ask_connect(a, 42, 80);
	assert_int_equal(w.n_flows, 2);
	shm_msg_push(a->to_daemon, &m);
	w_round();
	assert_int_equal(w.n_flows, 1);
	no_msg(a);
	app_gone(&w.d, a);
	assert_int_equal(w.n_flows, 0);
	w_close();
}

/* A port that the program names must not be one that the kernel has given away. */
static void test_connect_from_a_port_of_the_kernels(void **state)
{
	struct shm_msg m = {.op = SHM_CONNECT, .remote = ip(PEER_IP), .remote_port = htons(80)};
	struct ip_addr any = ip_addr_v4(0);
	struct app *a;
	uint16_t port = 0;
	int fd;

	(void)state;
	w_open();
	a = w_app(1);
	assert_int_equal(kernel_bind(&any, &port, false, &fd), 0);
	m.local_port = port;
	shm_msg_push(a->to_daemon, &m);
	w_round();
	assert_int_equal(next_msg(a, SHM_CONN_FAILED).error, EADDRINUSE);
	close(fd);
	shm_msg_push(a->to_daemon, &m);
	w_round();
	no_msg(a);
	assert_int_equal(w.n_syn, 1);
	/* The same pair a second time */
	shm_msg_push(a->to_daemon, &m);
	w_round();
	assert_int_equal(next_msg(a, SHM_CONN_FAILED).error, EADDRNOTAVAIL);
	w_close();
}

/* ---- listeners ---- */

static void test_a_port_belongs_to_one(void **state)
{
	struct ctl_listen req = {.proto = IPPROTO_TCP, .id = SHM_NIL};
	struct ctl_listen_reply r;
	struct ip_addr any = ip_addr_v4(0);
	struct app *a, *b;
	uint16_t port;

	(void)state;
	w_open();
	a = w_app(1);
	b = w_app(2);
	start_listener(a, 0, 0);
	req.port = port = htons(listen_port);
	assert_int_equal(listener_bind(&w.d, b, &req, &r), -EADDRINUSE);
	req.flags = CTL_LISTEN_REUSEPORT | CTL_LISTEN_REUSEADDR;
	assert_int_equal(listener_listen(&w.d, b, &req, &r), -EADDRINUSE);
	/* Nor can the kernel's programs have it. */
	assert_int_equal(kernel_bind(&any, &port, true, NULL), -EADDRINUSE);
	assert_int_equal(listener_unlisten(&w.d, a, 0), 0);
	assert_int_equal(kernel_bind(&any, &port, true, NULL), 0);
	assert_int_equal(listener_listen(&w.d, b, &req, &r), 0);
	/* Not an address of this interface; not a protocol of ours; no such id */
	req.addr = ip("127.0.0.1");
	assert_int_equal(listener_bind(&w.d, b, &req, &r), -EADDRNOTAVAIL);
	req.proto = IPPROTO_UDP;
	assert_int_equal(listener_bind(&w.d, b, &req, &r), -EPROTONOSUPPORT);
	assert_int_equal(listener_unlisten(&w.d, b, 99), -EINVAL);
	w_close();
}

static void test_a_bound_port_turns_into_a_listener(void **state)
{
	struct ctl_listen req = {.proto = IPPROTO_TCP, .id = SHM_NIL, .backlog = 5};
	struct ctl_listen_reply r;
	struct app *a;
	uint16_t port;

	(void)state;
	w_open();
	a = w_app(1);
	assert_int_equal(listener_bind(&w.d, a, &req, &r), 0);
	assert_int_not_equal(r.port, 0);
	assert_int_equal(w.n_ports, 0);
	port = r.port;
	req.id = r.id;
	assert_int_equal(listener_listen(&w.d, a, &req, &r), 0);
	assert_int_equal(r.port, port);
	assert_int_equal(w.n_ports, 1);
	assert_int_equal(listener_listen(&w.d, a, &req, &r), -EINVAL);
	w_close();
}

static void test_reuseport_spreads_over_applications(void **state)
{
	struct app *a, *b;
	struct shm_msg m;
	uint32_t n[2] = {0};

	(void)state;
	w_open();
	a = w_app(1);
	b = w_app(2);
	start_listener(a, CTL_LISTEN_REUSEPORT, 0);
	start_listener(b, CTL_LISTEN_REUSEPORT, htons(listen_port));
	assert_int_equal(w.n_ports, 1);
	for (uint16_t i = 0; i < 40; i++)
		client_connects((uint16_t)(5000 + i));
	while (shm_msg_pop(a->to_app, &m))
		n[0]++;
	while (shm_msg_pop(b->to_app, &m))
		n[1]++;
	assert_int_equal(n[0] + n[1], 40);
	assert_true(n[0] > 5 && n[1] > 5);
	/* One goes, the other has all. */
	app_gone(&w.d, a);
	assert_int_equal(w.n_ports, 1);
	client_connects(7000);
	next_msg(b, SHM_CONN_NEW);
	w_close();
}

/* ---- the filter ---- */

static void test_filter_sends_to_the_owner(void **state)
{
	struct spec seg = {TCP_PKT,
			   .sport = 5000,
			   .seq = CLIENT_ISS + 1,
			   .flags = TH_ACK,
			   .data = "0123456789abcdef",
			   .len = 16};
	struct app *a;

	(void)state;
	w_open();
	a = w_app(1);
	start_listener(a, 0, 0);
	seg.dport = listen_port;
	handed_over(a, 5000);
	w.n_injected = 0;
	assert_int_equal(w_rx(&seg), PORT_TAKEN);
	seg.flags = TH_RST;
	assert_int_equal(w_rx(&seg), PORT_TAKEN);
	seg.flags = TH_SYN;
	assert_int_equal(w_rx(&seg), PORT_TAKEN);
	assert_int_equal(w.n_injected, 3);
	assert_true(a->wake);
	/* A fragment, no room, or from that application itself: lost, but never reset. */
	seg.flags = TH_ACK;
	seg.frag_len = 24;
	assert_int_equal(w_rx(&seg), PORT_DROPPED);
	seg.frag_len = 0;
	w.inject_full = true;
	assert_int_equal(w_rx(&seg), PORT_DROPPED);
	w.inject_full = false;
	w.d.inject_from = 1;
	assert_int_equal(w_rx(&seg), PORT_DROPPED);
	w.d.inject_from = TD_SLOT_NONE;
	assert_int_equal(w.n_rst, 0);
	/* Another pair is the stack's. */
	seg.sport = 5001;
	assert_int_equal(w_rx(&seg), PORT_TO_STACK);
	w_close();
}

static void test_filter_limits_floods_of_resets(void **state)
{
	struct spec rst = {TCP_PKT, .sport = 5000, .seq = 1, .flags = TH_RST};
	struct app *a;
	uint32_t n = 0;

	(void)state;
	w_open();
	a = w_app(1);
	start_listener(a, 0, 0);
	rst.dport = listen_port;
	handed_over(a, 5000);
	for (int i = 0; i < 10000; i++)
		n += w_rx(&rst) == PORT_TAKEN;
	assert_in_range(n, 1, 3000);
	ts_advance(&w.t, 100);
	assert_int_equal(w_rx(&rst), PORT_TAKEN);
	w_close();
}

static void test_filter_tells_of_icmp_errors(void **state)
{
	static uint8_t quoted[70000];
	struct spec inner = {TCP_PKT, .src = OUR_IP, .dst = PEER_IP, .dport = 5000,
			     .flags = TH_ACK};
	struct spec err = {ICMP_PKT, .type = 3, .code = 1, .data = quoted};
	struct shm_msg m;
	struct app *a;
	uint32_t conn;

	(void)state;
	w_open();
	a = w_app(1);
	start_listener(a, 0, 0);
	conn = handed_over(a, 5000);
	inner.sport = listen_port;
	err.len = ts_build_ip(quoted, &inner);
	ts_advance(&w.t, 10);
	assert_int_equal(w_rx(&err), PORT_DROPPED);
	m = next_msg(a, SHM_CONN_ICMP);
	assert_int_equal(m.conn, conn);
	assert_int_equal(m.error, EHOSTUNREACH);
	/* Cut short, it is the stack's to judge. */
	err.len = 24;
	assert_int_equal(w_rx(&err), PORT_TO_STACK);
	no_msg(a);
	w_close();
}

/* Any bytes at all, any length. */
static void test_filter_survives_noise(void **state)
{
	static uint8_t b[256];

	(void)state;
	w_open();
	w_app(1);
	for (int i = 0; i < 100000; i++) {
		struct pkt p = {.nfrags = 1, .conn = 5};

		getrandom(b, 64, 0);
		b[12] = 8;
		b[13] = 0;
		b[14] = (uint8_t)(0x40 | (b[14] & 15));
		b[23] = i & 1 ? PROTO_TCP : PROTO_ICMP;
		p.len = (uint32_t)i % 100;
		p.l3_off = (uint16_t)(i & 2 ? 14 : 0);
		p.frag[0] = (struct pkt_frag){.p = b, .len = p.len, .frame = SHM_NIL};
		assert_int_equal(filter_packet(&w.d, &p), PORT_TO_STACK);
		assert_int_equal(p.conn, TD_NO_CONN);
	}
	w_close();
}

/* ---- records ---- */

static void test_records_against_a_model(void **state)
{
	const uint64_t key[2] = {5, 6};
	uint32_t at[300], head = SHM_NIL, n = 0;
	struct recs t;

	(void)state;
	assert_int_equal(recs_init(&t, 256, key), 0);
	for (uint32_t i = 0; i < 300; i++)
		at[i] = SHM_NIL;
	for (uint32_t step = 0; step < 50000; step++) {
		struct flow_key k = {.proto = 6};
		uint32_t i = (step * 2654435761u) % 300;

		k.remote = ip_addr_v4(i);
		assert_int_equal(recs_find(&t, &k), at[i]);
		if (at[i] == SHM_NIL) {
			at[i] = recs_add(&t, &k);
			assert_int_equal(at[i] == SHM_NIL, n == 256);
			if (at[i] != SHM_NIL)
				rec_list_add(&t, &head, at[i]);
			n += at[i] != SHM_NIL;
		} else if (step % 3) {
			rec_list_del(&t, &head, at[i]);
			recs_del(&t, at[i]);
			at[i] = SHM_NIL;
			n--;
		}
		assert_int_equal(t.n, n);
	}
	for (; head != SHM_NIL; n--)
		rec_list_del(&t, &head, head);
	assert_int_equal(n, 0);
	recs_free(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_passive_open_is_handed_over),
		cmocka_unit_test(test_refused_hand_over_resets_the_peer),
		cmocka_unit_test(test_given_back_is_finished_here),
		cmocka_unit_test(test_time_wait_keeps_a_flow_that_nothing_else_matches),
		cmocka_unit_test(test_a_dead_connection_takes_its_flow_along),
		cmocka_unit_test(test_offers_wait_while_the_ring_is_full),
		cmocka_unit_test(test_the_backlog_counts_what_waits_in_the_application),
		cmocka_unit_test(test_death_ends_connections_as_the_kernel_does),
		cmocka_unit_test(test_death_with_a_scribbled_arena_resets),
		cmocka_unit_test(test_random_messages_do_no_harm),
		cmocka_unit_test(test_scribbled_ring_headers_do_no_harm),
		cmocka_unit_test(test_connect_opens),
		cmocka_unit_test(test_connect_fails),
		cmocka_unit_test(test_connect_cancelled),
		cmocka_unit_test(test_connect_from_a_port_of_the_kernels),
		cmocka_unit_test(test_a_port_belongs_to_one),
		cmocka_unit_test(test_a_bound_port_turns_into_a_listener),
		cmocka_unit_test(test_reuseport_spreads_over_applications),
		cmocka_unit_test(test_filter_sends_to_the_owner),
		cmocka_unit_test(test_filter_limits_floods_of_resets),
		cmocka_unit_test(test_filter_tells_of_icmp_errors),
		cmocka_unit_test(test_filter_survives_noise),
		cmocka_unit_test(test_records_against_a_model),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
