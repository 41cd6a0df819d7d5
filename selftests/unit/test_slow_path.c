// SPDX-License-Identifier: BSD-2-Clause
/* The daemon's connect(), listeners, filter and records (user/daemon/). */
#include "daemon_world.h"

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
	app_ends(a);
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
	assert_int_equal(listener_listen(&w.d, b, &req, -1, &r), -EADDRINUSE);
	/* Nor can the kernel's programs have it. */
	assert_int_equal(kernel_bind(&any, &port, true, NULL), -EADDRINUSE);
	assert_int_equal(listener_unlisten(&w.d, a, 0), 0);
	assert_int_equal(kernel_bind(&any, &port, true, NULL), 0);
	assert_int_equal(listener_listen(&w.d, b, &req, -1, &r), 0);
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
	assert_int_equal(listener_listen(&w.d, a, &req, -1, &r), 0);
	assert_int_equal(r.port, port);
	assert_int_equal(w.n_ports, 1);
	assert_int_equal(listener_listen(&w.d, a, &req, -1, &r), -EINVAL);
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
	app_ends(a);
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
	/* Fragments are put together first. */
	udp_begin(&w.d);
	seg.flags = TH_ACK;
	seg.frag_len = 24;
	assert_int_equal(w_rx(&seg), PORT_TO_STACK);
	assert_int_equal(w.n_injected, 3);
	seg.frag_off = 24;
	seg.frag_len = 12;
	assert_int_equal(w_rx(&seg), PORT_TO_STACK);
	assert_int_equal(w.n_injected, 4);
	assert_int_equal(w.injected_slot, 1);
	w.d.inject_from = 1; /* which that application has itself passed on */
	assert_int_equal(w_rx(&seg), PORT_TO_STACK);
	seg.frag_off = 0;
	seg.frag_len = 24;
	w.d.inject_from = 1;
	assert_int_equal(w_rx(&seg), PORT_TO_STACK);
	assert_int_equal(w.n_injected, 4);
	w.d.inject_from = TD_SLOT_NONE;
	seg.frag_len = 0;
	/* From the application, which may not have heard yet: back to it, once. */
	w.d.inject_from = 1;
	assert_int_equal(w_rx(&seg), PORT_TAKEN);
	assert_int_equal(w.n_injected, 5);
	/* No room, or that application does not want it either: lost, but never reset. */
	w.again = true;
	w.d.inject_from = 1;
	assert_int_equal(w_rx(&seg), PORT_DROPPED);
	w.again = false;
	w.d.inject_from = TD_SLOT_NONE;
	w.inject_full = true;
	assert_int_equal(w_rx(&seg), PORT_DROPPED);
	w.inject_full = false;
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

/* RFC 9293 MUST-47 */
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
	/* One with a wrong checksum says nothing; what is behind it in the frame is not of it. */
	err.bad_csum = true;
	assert_int_equal(w_rx(&err), PORT_TO_STACK);
	no_msg(a);
	assert_int_equal(w.t.a.mib[MIB_Icmp_InCsumErrors], 1);
	err.bad_csum = false;
	err.bad_ip_csum = true;
	assert_int_equal(w_rx(&err), PORT_TO_STACK);
	no_msg(a);
	err.bad_ip_csum = false;
	/* Cut short, it is the stack's to judge. */
	err.len = 24;
	assert_int_equal(w_rx(&err), PORT_TO_STACK);
	no_msg(a);
	w_close();
}

static void test_doubt_is_answered_with_the_way(void **state)
{
	struct shm_msg m = {.op = SHM_DOUBT, .conn = 5, .generation = 6, .remote = ip(PEER_IP)};
	struct app *a;

	(void)state;
	w_open();
	a = w_app(1);
	ts_neigh(&w.t, PEER_IP, peer_mac);
	shm_msg_push(a->to_daemon, &m);
	w_round();
	m = next_msg(a, SHM_WAY);
	assert_int_equal(m.conn, 5);
	assert_int_equal(m.generation, 6);
	assert_int_equal(m.listener, 0);
	assert_true(m.new_conn < w.t.a.n_neighs);
	assert_int_equal(m.new_generation, w.t.a.neighs[m.new_conn].generation);
	assert_ip(w.t.a.neighs[m.new_conn].addr, PEER_IP);
	m = (struct shm_msg){.op = SHM_DOUBT, .remote = ip("224.0.0.1")};
	shm_msg_push(a->to_daemon, &m);
	w_round();
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
		if (i & 1) /* both forms of keys */
			k.local = ip_addr_v4(1);
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
		if (at[i] != SHM_NIL) {
			struct flow_key have = rec_key(&t, at[i]);

			assert_memory_equal(&have, &k, sizeof(k));
		}
	}
	assert_in_range(t.hash.n, 200, 256); /* the table has grown with its contents */
	for (; head != SHM_NIL; n--)
		rec_list_del(&t, &head, head);
	assert_int_equal(n, 0);
	recs_free(&t);
}

/* ---- frames that are in no ring ---- */

static enum frame_state state_of(uint32_t frame)
{
	return FRAME_STATE(umem_owner(&w.d.umem, frame));
}

/* All pieces once; then it is not yet time for more. */
static void sweep_once(void)
{
	for (uint32_t f = 0; f < w.d.umem.n_frames; f += 8192) {
		assert_false(mtime_is_never(sweep_run(&w.d)));
		w.d.now = mtime_add_ns(w.d.now, 10 * NS_PER_S);
	}
}

static struct app *sweep_world(uint32_t n_frames)
{
	struct app *a;

	w_open();
	assert_int_equal(umem_create(&w.d.umem, n_frames), 0);
	assert_true(mtime_is_never(sweep_run(&w.d))); /* nobody who could lose one */
	a = w_app(1);
	w.d.now = w.t.now;
	return a;
}

static void sweep_world_close(void)
{
	sweep_close(&w.d);
	umem_close(&w.d.umem);
	w_close();
}

static void test_sweep_finds_lost_frames(void **state)
{
	const uint32_t lost[] = {0, 63, 8191, 8192, 19999};
	struct app *a;

	(void)state;
	a = sweep_world(20000);
	for (uint32_t i = 0; i < 5; i++)
		umem_give(&w.d.umem, lost[i], FRAME_INJECTED, i & 1 ? a->slot : TD_SLOT_DAEMON);
	/* On their way, one of them not published yet; and one that arrives in time */
	umem_give(&w.d.umem, 64, FRAME_INJECTED, a->slot);
	a->pkts_to_app->e[77] = (struct shm_pkt){.addr = 64ull * UMEM_FRAME_SIZE + 256, .len = 60};
	umem_give(&w.d.umem, 65, FRAME_INJECTED, TD_SLOT_DAEMON);
	a->pkts_to_daemon->e[5] = (struct shm_pkt){.addr = 65ull * UMEM_FRAME_SIZE, .len = 60};
	umem_give(&w.d.umem, 66, FRAME_INJECTED, TD_SLOT_DAEMON);
	sweep_once();
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(state_of(lost[i]), FRAME_INJECTED);
	umem_give(&w.d.umem, 66, FRAME_OWNED, a->slot);
	sweep_once();
	umem_give(&w.d.umem, 66, FRAME_INJECTED, TD_SLOT_DAEMON);
	sweep_once();
	for (uint32_t i = 0; i < 5; i++)
		assert_int_not_equal(state_of(lost[i]), FRAME_INJECTED);
	assert_int_equal(w.d.frames_found, 5);
	assert_int_equal(state_of(64), FRAME_INJECTED);
	assert_int_equal(state_of(65), FRAME_INJECTED);
	assert_int_equal(state_of(66), FRAME_INJECTED);
	/* Short of frames it looks more often, and never more often than that. */
	assert_int_equal(mtime_diff_ns(sweep_run(&w.d), w.d.now), 10 * NS_PER_S);
	sweep_world_close();
}

/* A hostile application says of frames that they are the daemon's, nobody's, or nothing at all. */
static void test_sweep_finds_frames_without_a_holder(void **state)
{
	struct app *a;

	(void)state;
	a = sweep_world(9000);
	w.held[w.n_held++] = 100; /* this one is the daemon's */
	umem_give(&w.d.umem, 100, FRAME_OWNED, TD_SLOT_DAEMON);
	umem_give(&w.d.umem, 101, FRAME_OWNED, TD_SLOT_DAEMON);
	umem_give(&w.d.umem, 102, FRAME_OWNED, 7);
	umem_give(&w.d.umem, 103, FRAME_OWNED, TD_SLOT_NONE);
	umem_give(&w.d.umem, 8999, (enum frame_state)99, a->slot);
	umem_give(&w.d.umem, 104, FRAME_OWNED, a->slot);
	for (int i = 0; i < 2; i++)
		sweep_once();
	assert_int_equal(w.d.frames_found, 4);
	assert_int_equal(umem_owner(&w.d.umem, 100), FRAME_OWNER(FRAME_OWNED, TD_SLOT_DAEMON));
	assert_int_equal(umem_owner(&w.d.umem, 104), FRAME_OWNER(FRAME_OWNED, a->slot));
	for (uint32_t f = 101; f < 104; f++)
		assert_int_equal(state_of(f), FRAME_POOL);
	assert_int_equal(state_of(8999), FRAME_POOL);
	/* In the pool's state, but not in the pool: the table decides. */
	umem_give(&w.d.umem, 104, FRAME_POOL, 0);
	for (int i = 0; i < 2; i++)
		sweep_once();
	umem_give(&w.d.umem, 100, FRAME_POOL, 0);
	w.n_held = 0;
	for (int i = 0; i < 2; i++)
		sweep_once();
	assert_int_equal(umem_pool_level(&w.d.umem), 9000);
	sweep_world_close();
}

/* The kernel may have those for longer, and keeps some for itself; in zero-copy mode any number. */
static void test_sweep_finds_frames_the_kernel_has_not(void **state)
{
	struct umem_usage us;

	(void)state;
	sweep_world(1000);
	w.d.n_queues = 1;
	umem_give(&w.d.umem, 0, FRAME_TX, 1);
	umem_give(&w.d.umem, 1, FRAME_TX, TD_SLOT_DAEMON);
	umem_give(&w.d.umem, 2, FRAME_TX, TD_SLOT_DAEMON);
	for (uint32_t f = 100; f < 400; f++)
		umem_give(&w.d.umem, f, FRAME_FILL, 0);
	for (int i = 0; i < 3; i++)
		sweep_once();
	umem_give(&w.d.umem, 2, FRAME_TX, TD_SLOT_DAEMON); /* once more */
	assert_int_equal(w.d.frames_found, 0);
	sweep_once();
	assert_int_equal(w.d.frames_found, 2);
	assert_int_equal(state_of(2), FRAME_TX);
	sweep_once();
	umem_usage(&w.d.umem, &us);
	assert_int_equal(us.fill, 64);
	sweep_once();
	umem_usage(&w.d.umem, &us);
	assert_int_equal(us.fill, 64);
	w.d.ifs[0].xsk_opts.zerocopy = true;
	for (uint32_t f = 100; f < 400; f++)
		umem_give(&w.d.umem, f, FRAME_FILL, 0);
	for (int i = 0; i < 6; i++)
		sweep_once();
	umem_usage(&w.d.umem, &us);
	assert_int_equal(us.fill, 300);
	sweep_world_close();
}

/* ---- SYN floods ---- */

static void syn_from(uint16_t sport)
{
	w_rx(&(struct spec){TCP_PKT, .sport = sport, .dport = listen_port, .seq = CLIENT_ISS,
			    .flags = TH_SYN, .wnd = 65535});
}

static void run_for(uint64_t s)
{
	for (uint64_t i = 0; i < s; i++) {
		ts_advance(&w.t, 1000);
		w.n_syn_cookies += w.syn_cookies_per_s;
		w_round();
		synflood_run(&w.d);
	}
}

/* The program takes over when the SYN queue overflows, and gives back when all is quiet. */
static void test_synflood_begins_and_ends(void **state)
{
	struct tcp_cookie_state c;
	struct app *a;

	(void)state;
	w_open();
	w.d.cfg.syncookies_xdp = 1;
	a = w_app(1);
	start_listener(a, 0, 0);
	assert_int_equal(w.n_ports, 1);
	for (uint16_t i = 0; i < 64; i++)
		syn_from((uint16_t)(2000 + i));
	assert_int_equal(w.ports[0].v.cookies.on, 0);
	syn_from(3000);
	assert_int_equal(w.n_ports, 1);
	assert_int_equal(w.ports[0].v.cookies.on, 1);
	assert_int_equal(tcp_listen_cookies(w.t.s, w.d.groups->core_id, 1500, &c), 0);
	assert_int_equal(w.ports[0].v.cookies.window, c.say.window);
	assert_int_equal(w.ports[0].v.cookies.wscale, c.say.wscale);
	assert_true(w.has_secrets);
	assert_int_equal(w.secrets.keys.period, w.t.now.ns / SYNCOOKIE_PERIOD_NS);
	assert_false(listener_covers(&w.d, &(struct ip_addr){0}, htons(listen_port)));
	/* Half-open requests go, but the flood does not: the program says so. */
	w.syn_cookies_per_s = 1000;
	run_for(100);
	assert_int_equal(w.ports[0].v.cookies.on, 1);
	assert_int_equal(w.secrets.keys.period, w.t.now.ns / SYNCOOKIE_PERIOD_NS);
	w.syn_cookies_per_s = 0;
	run_for(9);
	assert_int_equal(w.ports[0].v.cookies.on, 1);
	run_for(3);
	assert_int_equal(w.ports[0].v.cookies.on, 0);
	assert_false(w.has_secrets);
	assert_true(mtime_is_never(synflood_run(&w.d)));
	/* And again. */
	for (uint16_t i = 0; i < 65; i++)
		syn_from((uint16_t)(4000 + i));
	assert_int_equal(w.ports[0].v.cookies.on, 1);
	assert_true(w.has_secrets);
	/* It ends with the listener, too. */
	listener_unlisten(&w.d, a, 0);
	assert_false(w.has_secrets);
	assert_int_equal(w.d.n_flooded, 0);
	w_close();
}

static void test_synflood_switched_off(void **state)
{
	struct app *a;

	(void)state;
	w_open();
	w.d.cfg.syncookies_xdp = 0;
	a = w_app(1);
	start_listener(a, 0, 0);
	for (uint16_t i = 0; i < 80; i++)
		syn_from((uint16_t)(2000 + i));
	assert_int_equal(w.ports[0].v.cookies.on, 0);
	assert_false(w.has_secrets);
	listener_unlisten(&w.d, a, 0);
	w_close();
}

/* What a peer sends in fragments is limited by the flags of the whole, and by nothing else. */
static void test_filter_limits_resets_in_fragments(void **state)
{
	static const struct {
		uint8_t flags;
		uint32_t least, most;
	} v[] = {{TH_ACK, 4000, 4000}, {TH_RST, 1, 3000}, {TH_RST | TH_ACK, 0, 0}};
	struct spec seg = {TCP_PKT, .sport = 5000, .seq = CLIENT_ISS + 1, .len = 16};

	(void)state;
	w_open();
	start_listener(w_app(1), 0, 0);
	seg.dport = listen_port;
	handed_over(w.d.apps[1], 5000);
	udp_begin(&w.d);
	for (uint32_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		w.n_injected = 0;
		seg.flags = v[i].flags;
		for (uint32_t n = 0; n < 4000; n++) {
			seg.frag_off = 0;
			seg.frag_len = 24;
			w_rx(&seg);
			seg.frag_off = 24;
			seg.frag_len = 12;
			w_rx(&seg);
		}
		assert_in_range(w.n_injected, v[i].least, v[i].most);
	}
	w_close();
}

/* A peer that uses its pair again at once may be faster than the word that the old one is gone. */
static void test_filter_syn_after_the_end_begins_anew(void **state)
{
	struct spec syn = {TCP_PKT, .sport = 5000, .seq = CLIENT_ISS + 100000, .flags = TH_SYN};
	struct shm_msg m = {.op = SHM_CONN_GONE,
			    .local = ip(OUR_IP),
			    .remote = ip(PEER_IP),
			    .remote_port = htons(5000)};
	struct app *a;

	(void)state;
	w_open();
	a = w_app(1);
	start_listener(a, 0, 0);
	syn.dport = listen_port;
	m.local_port = htons(listen_port);
	m.conn = handed_over(a, 5000);
	m.generation = tcp_get(w.apps[1].s, m.conn)->generation;
	shm_msg_push(a->to_daemon, &m);
	/* A segment of the old one does not look. */
	syn.flags = TH_ACK;
	assert_int_equal(w_packet(&syn), PORT_TAKEN);
	assert_non_null(record(5000));
	syn.flags = TH_SYN;
	assert_int_equal(w_packet(&syn), PORT_TO_STACK);
	w_round();
	assert_int_equal(w.last.l4[13], TH_SYN | TH_ACK);
	w_close();
}

/* What the program announces fits every interface: it knows of no routes. lo is no way to a peer.
 */
static void test_synflood_mss_fits_all_interfaces(void **state)
{
	struct port_val v;
	struct group *g;

	(void)state;
	w_open();
	w.d.cfg.syncookies_xdp = 1;
	start_listener(w_app(1), 0, 0);
	g = w.d.groups;
	w.d.ifs[0].settings.mtu = 9000;
	w.d.ifs[1] = w.d.ifs[2] = w.d.ifs[0];
	w.d.ifs[1].settings.mtu = 1400;
	w.d.ifs[2].settings.mtu = 1000;
	w.d.ifs[2].loopback = true;
	w.d.n_ifs = 3;
	v = listener_port_val(&w.d, g);
	assert_int_equal(v.cookies.on, 0); /* no flood */
	g->flooded = true;
	v = listener_port_val(&w.d, g);
	assert_int_equal(v.slot, TD_SLOT_DAEMON);
	assert_int_equal(v.cookies.on, 1);
	assert_int_equal(v.cookies.mss, 1360);
	/* Where there is nothing else, it is. */
	w.d.ifs[0] = w.d.ifs[2];
	w.d.n_ifs = 1;
	assert_int_equal(listener_port_val(&w.d, g).cookies.mss, 960);
	g->flooded = false;
	w_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sweep_finds_lost_frames),
		cmocka_unit_test(test_sweep_finds_frames_without_a_holder),
		cmocka_unit_test(test_sweep_finds_frames_the_kernel_has_not),
		cmocka_unit_test(test_synflood_begins_and_ends),
		cmocka_unit_test(test_synflood_switched_off),
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
		cmocka_unit_test(test_doubt_is_answered_with_the_way),
		cmocka_unit_test(test_filter_survives_noise),
		cmocka_unit_test(test_records_against_a_model),
		cmocka_unit_test(test_filter_limits_resets_in_fragments),
		cmocka_unit_test(test_filter_syn_after_the_end_begins_anew),
		cmocka_unit_test(test_synflood_mss_fits_all_interfaces),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
