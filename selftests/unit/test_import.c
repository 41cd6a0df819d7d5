/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * handover.c: what an importer makes of memory that makes no sense, and what is left of a program
 * that has died.
 */
#include "handover_world.h"

static void test_import_takes_known_congestion_control_only(void **state)
{
	const uint8_t cubic = (uint8_t)cc_find("cubic");
	struct tcb *t;
	uint32_t i;

	(void)state;
	for (int bad = 0; bad < 2; bad++) {
		start();
		t = tcb_at(c.t.s, c.conn);
		t->cc = bad ? 200 : cubic;
		assert_int_equal(stack_export(c.t.s, c.conn), 0);
		memset(tcb_work_get(c.t.s, t)->cc_priv, 0xff, sizeof(tcb_work(t)->cc_priv));
		assert_int_equal(stack_import(app.s, &c.t.a, c.conn, t->generation, 1, app.now, &i),
				 0);
		assert_int_equal(tcb_at(app.s, i)->cc, bad ? 0 : cubic);
		assert_int_equal(tcb_work_get(app.s, tcb_at(app.s, i))->cc_priv[0], 0);
		assert_int_equal(stack_export_done(c.t.s, c.conn, t->generation), 0);
		finish();
	}
}

/* ---- memory of the other side that makes no sense ---- */

/* A connection that holds a bit of everything, frozen. */
static struct tcb *frozen(void)
{
	start();
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 9000);
	RX(&c, .flags = TH_ACK, .seq = 10001, .ack = 1, .len = 5000);
	tc_tx_all(&c);
	tc_send(&c, 20000);
	tc_tx_all(&c);
	tc_events(&c);
	assert_int_equal(stack_export(c.t.s, c.conn), 0);
	return tc_tcb(&c);
}

static struct chunk_hdr *chunk(uint32_t i)
{
	return &c.t.a.chunk_hdrs[i];
}

/* Imports what was changed: nothing may be taken, nothing lost. */
static void refused(struct tcb *t, const struct tcb *good)
{
	uint32_t conn;

	assert_int_equal(
		stack_import(app.s, &c.t.s->a, c.conn, good->generation, 0, c.t.now, &conn),
		-E_BADMSG);
	ts_check(&app);
	assert_int_equal(usage(&app).tcbs, 0);
	assert_int_equal(usage(&app).chunks, 0);
	*t = *good;
}

#define REFUSED(field, value)                                                                      \
	do {                                                                                       \
		t->field = (value);                                                                \
		refused(t, &good);                                                                 \
	} while (0)

static void test_import_bad_tcb_refused(void **state)
{
	struct tcb *t, good;
	uint32_t conn;

	(void)state;
	t = frozen();
	good = *t;
	REFUSED(owner, TCB_FREE);
	REFUSED(owner, TCB_MINE);
	REFUSED(owner, 77);
	REFUSED(generation, good.generation + 1);
	REFUSED(state, TCP_CLOSED);
	REFUSED(state, TCP_SYN_SENT);
	REFUSED(state, TCP_SYN_RECEIVED);
	REFUSED(state, TCP_FIN_WAIT_1);
	REFUSED(state, TCP_CLOSE_WAIT);
	REFUSED(state, TCP_TIME_WAIT);
	REFUSED(state, TCP_STATE_MAX);
	REFUSED(state, 255);
	REFUSED(flags, good.flags | TCB_F_FIN_QUEUED);
	REFUSED(flags, good.flags | TCB_F_FIN_RCVD);
	REFUSED(flags, good.flags | TCB_F_RST_SEND);
	REFUSED(netif, STACK_MAX_NETIFS);
	REFUSED(local.w[3], 0);
	REFUSED(remote.w[2], 1);
	REFUSED(snd_nxt, good.snd_una - 1);
	REFUSED(snd_nxt, good.snd_max + 1);
	REFUSED(snd_max, good.snd_una + good.tx_bytes + 1);
	REFUSED(rcv_adv, good.rcv_nxt - 1);
	REFUSED(rcv_nxt, good.rcv_nxt + 2000);
	REFUSED(snd_wscale, 15);
	REFUSED(rcv_wscale, 15);
	REFUSED(mss, 0);
	REFUSED(mss, TCP_MSS_MIN - 1);
	REFUSED(rcv_mss, 0);
	REFUSED(tx_bytes, good.tx_bytes + 1);
	REFUSED(tx_bytes, UINT32_MAX);
	REFUSED(rx_bytes, good.rx_bytes - 1);
	REFUSED(rx_bytes, UINT32_MAX);
	REFUSED(ooo_bytes, 0);
	REFUSED(ooo_bytes, UINT32_MAX);
	REFUSED(tx_head, SHM_NIL);
	REFUSED(rx_head, c.t.a.n_chunks);
	REFUSED(ooo_head, 0x80000000);
	REFUSED(ooo_head, good.rx_head);
	assert_int_equal(import(UINT32_MAX, 1, &conn), -E_BADMSG);
	assert_int_equal(import(c.t.a.n_tcbs, 1, &conn), -E_BADMSG);
	/* untouched it is fine */
	assert_int_equal(import(c.conn, good.generation, &conn), 0);
	assert_int_equal(stack_export_done(c.t.s, c.conn, good.generation), 0);
	finish();
}

static void test_import_bad_chunks_refused(void **state)
{
	struct chunk_hdr *rx, *ooo, keep;
	struct tcb *t, good;

	(void)state;
	t = frozen();
	good = *t;
	rx = chunk(t->rx_head);
	ooo = chunk(t->ooo_head);
	keep = *rx;
#define BAD_RX(field, value)                                                                       \
	do {                                                                                       \
		rx->field = (value);                                                               \
		refused(t, &good);                                                                 \
		*rx = keep;                                                                        \
	} while (0)
	BAD_RX(next, t->rx_head); /* a ring */
	BAD_RX(next, c.t.a.n_chunks + 5);
	BAD_RX(next, SHM_NIL);
	BAD_RX(len, 0);
	BAD_RX(len, CHUNK_SIZE + 1);
	BAD_RX(off, 1);
	BAD_RX(off, UINT16_MAX);
	keep = *ooo;
	ooo->seq = t->rcv_nxt;
	refused(t, &good);
	ooo->seq = t->rcv_adv;
	refused(t, &good);
	*ooo = keep;
	assert_int_equal(stack_export_done(c.t.s, c.conn, good.generation), 0);
	finish();
}

/* Urgent data goes along; what cannot be of it is forgotten. */
static void test_import_urgent_data(void **state)
{
	const uint32_t in = TCB_F_URG | TCB_F_URG_VALID, out = TCB_F_URG_SND;
	static const struct {
		int32_t urg, up;
		bool in, out;
	} v[] = {
		{0, 0, true, true},	     {-4, 0, true, true},
		{-5, 0, false, true},	     {INT32_MAX - 4, 0, true, true},
		{INT32_MIN, 0, false, true}, {0, 1, true, false},
		{0, -2, true, false},	     {0, -1, true, true},
	};

	(void)state;
	for (uint32_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		const struct tcb *n;
		struct tcb *t;
		uint32_t conn;

		start();
		RX(&c, .flags = TH_ACK | TH_URG, .seq = 1, .ack = 1, .len = 10, .up = 5);
		assert_int_equal(tcp_send(c.t.s, c.conn, "\007\016", 2, TCP_MSG_OOB, c.t.now), 2);
		tc_tx_all(&c);
		assert_int_equal(stack_export(c.t.s, c.conn), 0);
		t = tc_tcb(&c);
		tcb_work(t)->urg_seq += (uint32_t)v[i].urg;
		tcb_work(t)->snd_up += (uint32_t)v[i].up;
		assert_int_equal(import(c.conn, t->generation, &conn), 0);
		n = tcp_get(app.s, conn);
		assert_int_equal(n->flags & in, v[i].in ? in : 0);
		assert_int_equal(n->flags & out, v[i].out ? out : 0);
		assert_int_equal(stack_export_done(c.t.s, c.conn, t->generation), 0);
		finish();
	}
}

static void test_import_odd_values_are_tamed(void **state)
{
	struct tcb *t, good;
	const struct tcb *n;
	uint32_t conn;

	(void)state;
	t = frozen();
	good = *t;
	t->rto = 0;
	t->srtt = t->rttvar = UINT32_MAX;
	t->backoff = 255;
	t->t_rtx = UINT64_MAX;
	t->t_delack = t->t_keep = t->last_rcv = UINT32_MAX;
	t->cwnd = 0;
	t->ssthresh = 0;
	t->cc = t->cc_state = 255;
	t->sndbuf = t->rcvbuf = UINT32_MAX;
	t->rcvlowat = 0;
	t->mss = UINT16_MAX;
	t->ttl = t->keep_cnt = 0;
	t->keep_idle = t->keep_intvl = 0;
	t->queue = UINT8_MAX;
	t->mss_clamp = 0;
	t->neigh = 0x7fffffff;
	t->flags |= TCB_F_OUT_QUEUED | TCB_F_EV_QUEUED | TCB_F_ACCEPT_QUEUED | TCB_F_CLOSED |
		    TCB_F_PROBING | 1u << 31;
	t->timer.slot = 3;
	t->work = 0x7ffffff1; /* far beyond the arena */
	assert_int_equal(import(c.conn, t->generation, &conn), 0);
	n = tcp_get(app.s, conn);
	assert_int_equal(n->rto, TCP_RTO_MIN_US);
	assert_true(n->t_rtx <= app.now.ns + 121 * NS_PER_S);
	assert_true(ms_ago(n->last_rcv, app.now) <= INT32_MAX);
	assert_true(n->cwnd >= tcp_eff_mss(n));
	assert_true(n->rcvbuf <= 33554432 && n->sndbuf <= 4194304);
	assert_int_equal(n->mss, 1460); /* by the interface's MTU */
	assert_int_equal(n->queue, 0);
	assert_int_equal(n->neigh, SHM_NIL);
	assert_int_equal(tcb_cookie(n), 9);
	assert_true(!n->work || tcb_work(n)->seg_head == SHM_NIL);
	assert_true(n->ttl && n->keep_cnt && n->keep_idle && n->keep_intvl && n->rcvlowat);
	assert_false(n->flags & (TCB_F_ACCEPT_QUEUED | TCB_F_CLOSED | TCB_F_PROBING | 1u << 31));
	*t = good;
	assert_int_equal(stack_export_done(c.t.s, c.conn, t->generation), 0);
	/* and it ends, though the peer says nothing any more */
	swap_stacks();
	c.conn = conn;
	tc_recv(&c, 9000);
	tcp_close(c.t.s, conn, c.t.now);
	for (uint32_t i = 0; i < 600 && usage(&c.t).tcbs; i++) {
		tc_tx_all(&c);
		ts_advance(&c.t, 1000);
	}
	assert_int_equal(usage(&c.t).tcbs, 0);
	finish();
}

/* A mark to retransmit without a recovery that would end it: the FIN would be sent as a second one.
 */
static void test_import_stray_retransmission_is_dropped(void **state)
{
	uint32_t conn;

	(void)state;
	start();
	fin_wait_1();
	assert_int_equal(stack_export(c.t.s, c.conn), 0);
	tc_tcb(&c)->flags |= TCB_F_RTX;
	assert_int_equal(import(c.conn, tc_tcb(&c)->generation, &conn), 0);
	assert_int_equal(stack_export_done(c.t.s, c.conn, tc_tcb(&c)->generation), 0);
	swap_stacks();
	c.conn = conn;
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 2), DROP_NONE);
	tc_tx_all(&c);
	tc_state(&c, TCP_FIN_WAIT_2);
	assert_int_equal(tc_tcb(&c)->snd_max, c.iss + 2);
	finish();
}

static void test_import_time_wait_is_short(void **state)
{
	uint32_t conn;

	(void)state;
	start();
	time_wait();
	assert_int_equal(stack_export(c.t.s, c.conn), 0);
	tc_tcb(&c)->t_keep = ms_stamp(mtime_add_ms(app.now, 100000000));
	assert_int_equal(import(c.conn, tc_tcb(&c)->generation, &conn), 0);
	assert_int_equal(tcp_get(app.s, conn)->t_keep,
			 ms_stamp(mtime_add_ms(app.now, TCP_TIMEWAIT_S * 1000)));
	assert_int_equal(stack_export_done(c.t.s, c.conn, tc_tcb(&c)->generation), 0);
	finish();
}

/* A stamp of before the clock began is a deadline that is over, not one that was never set. */
static void test_import_time_wait_of_long_ago_ends(void **state)
{
	struct mtime now = {.ns = 1000 * NS_PER_S};

	(void)state;
	assert_int_equal(ms_time(3705461980u, now).ns, 1);
	assert_int_equal(ms_time(999000, now).ns, 999 * NS_PER_S);
	assert_int_equal(ms_time(1001000, now).ns, 1001 * NS_PER_S);
}

static uint32_t next_random(uint64_t *s)
{
	*s = *s * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(*s >> 33);
}

static void drain(struct tstack *t)
{
	for (struct pkt *p; (p = stack_output(t->s, t->now));)
		pkt_free(&t->pool, p);
}

/* Some bytes of the TCB and of its chunk headers are anything: taken or not, all is in order. */
static void test_import_random_damage_never_hurts(void **state)
{
	struct chunk_hdr hdrs[16];
	uint32_t conn, taken = 0;
	struct tcb *t, good;
	uint64_t seed = 1;

	(void)state;
	t = frozen();
	good = *t;
	memcpy(hdrs, c.t.a.chunk_hdrs, sizeof(hdrs));
	for (uint32_t i = 0; i < 20000; i++) {
		for (uint32_t n = next_random(&seed) % 4 + 1; n; n--) {
			if (next_random(&seed) % 3)
				((uint8_t *)t)[next_random(&seed) % sizeof(*t)] ^=
					(uint8_t)(1u << next_random(&seed) % 8);
			else
				((uint8_t *)c.t.a.chunk_hdrs)[next_random(&seed) % sizeof(hdrs)] =
					(uint8_t)next_random(&seed);
		}
		if (!stack_rescue(app.s, &c.t.s->a, c.conn, good.generation, app.now, &conn)) {
			taken++;
			ts_check(&app);
			if (i % 2)
				tcp_close(app.s, conn, app.now);
			drain(&app);
			tcp_abort(app.s, conn, app.now);
			drain(&app);
			for (struct stack_ev ev; stack_event_next(app.s, &ev);)
				;
		}
		ts_check(&app);
		assert_int_equal(usage(&app).tcbs, 0);
		assert_int_equal(usage(&app).chunks, 0);
		*t = good;
		memcpy(c.t.a.chunk_hdrs, hdrs, sizeof(hdrs));
	}
	assert_true(taken > 1000);
	assert_int_equal(stack_export_done(c.t.s, c.conn, good.generation), 0);
	finish();
}

static void test_import_without_memory_takes_nothing(void **state)
{
	uint32_t conn, used = 0, c_idx;
	struct tcb *t;

	(void)state;
	t = frozen();
	while ((c_idx = chunk_alloc(app.s)) != SHM_NIL)
		used++;
	for (uint32_t i = 0; i < 3; i++)
		chunk_free(app.s, i);
	assert_int_equal(stack_import(app.s, &c.t.s->a, c.conn, t->generation, 0, c.t.now, &conn),
			 -E_NOBUFS);
	assert_int_equal(usage(&app).tcbs, 0);
	assert_int_equal(usage(&app).chunks, used - 3);
	for (uint32_t i = 3; i < used; i++)
		chunk_free(app.s, i);
	assert_int_equal(import(c.conn, t->generation, &conn), 0);
	assert_int_equal(stack_export_done(c.t.s, c.conn, t->generation), 0);
	finish();
}

/* ---- rescue ---- */

static void test_rescue_live_connection(void **state)
{
	uint32_t conn;

	(void)state;
	start();
	tc_send(&c, 3000);
	tc_tx_all(&c);
	assert_int_equal(
		stack_import(app.s, &c.t.s->a, c.conn, tc_tcb(&c)->generation, 0, c.t.now, &conn),
		-E_BADMSG);
	assert_int_equal(
		stack_rescue(app.s, &c.t.s->a, c.conn, tc_tcb(&c)->generation, c.t.now, &conn), 0);
	assert_int_equal(tcp_get(app.s, conn)->tx_bytes, 3000);
	assert_int_equal(tcp_get(app.s, conn)->cookie, 0);
	finish();
}

static void test_rescue_closes_as_the_kernel_would(void **state)
{
	uint32_t conn;

	(void)state;
	/* all was read: FIN */
	start();
	move(); /* to the application … */
	swap_stacks();
	assert_int_equal(stack_rescue(c.t.s, &app.s->a, c.conn, app.a.tcbs[c.conn].generation,
				      app.now, &conn),
			 0);
	tcp_close(c.t.s, conn, app.now);
	c.t.now = app.now;
	TX(&c, .flags = TH_FIN | TH_ACK, .seq = 1, .ack = 1);
	finish();
	/* not all was read: RST */
	setup(NULL);
	start();
	move();
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 10), DROP_NONE);
	swap_stacks();
	assert_int_equal(stack_rescue(c.t.s, &app.s->a, c.conn, app.a.tcbs[c.conn].generation,
				      app.now, &conn),
			 0);
	tcp_close(c.t.s, conn, app.now);
	TX(&c, .flags = TH_RST | TH_ACK, .seq = 1, .ack = 11);
	finish();
}

static void test_reset_flow_sends_rst(void **state)
{
	struct tcp_addr_pair a = {.local = ip(OUR_IP),
				  .remote = ip(PEER_IP),
				  .local_port = __builtin_bswap16(OUR_PORT),
				  .remote_port = __builtin_bswap16(PEER_PORT)};

	(void)state;
	start();
	stack_reset_flow(c.t.s, &a, c.iss + 1, PEER_ISS + 1, c.t.now);
	TX(&c, .flags = TH_RST | TH_ACK, .seq = 1, .ack = 1);
	assert_int_equal(ts_mib(&c.t, MIB_Tcp_OutRsts), 1);
	finish();
}

/* Times and windows that are possible, but not where they stand. */
static void test_import_what_is_outstanding_has_its_time(void **state)
{
	struct tcb *t, good;
	const struct tcb *n;
	uint32_t conn, mss;

	(void)state;
	t = frozen();
	good = *t;
	mss = tcp_eff_mss(t);
	t->t_rtx = 0; /* though something is outstanding */
	t->rtx_first = ms_stamp(mtime_add_ms(app.now, 5000));
	t->flags |= TCB_F_ACK_DELAYED;
	t->t_delack = 0;
	t->cwnd = UINT32_MAX;
	t->ssthresh = 2 * mss - 1;
	t->cc_state = CC_LOSS;
	t->recover = t->snd_max + 1;
	assert_int_equal(import(c.conn, t->generation, &conn), 0);
	n = tcp_get(app.s, conn);
	assert_int_equal(n->t_rtx, mtime_add_us(app.now, n->rto).ns);
	assert_int_not_equal(n->timer.slot, SHM_NIL);
	assert_true(ms_ago(n->rtx_first, app.now) < 1000);
	assert_int_equal(n->t_delack, ms_stamp(app.now));
	assert_int_equal(n->cwnd, 1u << 30);
	assert_int_equal(n->ssthresh, 2 * mss);
	assert_int_equal(n->cc_state, CC_LOSS);
	assert_int_equal(n->recover, n->snd_max);
	tcp_abort(app.s, conn, app.now);
	*t = good;
	t->recover = t->snd_una; /* in it: it stays */
	t->cc_state = CC_LOSS;
	t->ssthresh = 2 * mss + 1;
	assert_int_equal(import(c.conn, t->generation, &conn), 0);
	assert_int_equal(tcp_get(app.s, conn)->ssthresh, 2 * mss + 1);
	assert_int_equal(tcp_get(app.s, conn)->recover, good.snd_una);
	tcp_abort(app.s, conn, app.now);
	*t = good;
	assert_int_equal(stack_export_done(c.t.s, c.conn, t->generation), 0);
	finish();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_import_takes_known_congestion_control_only, setup),
		cmocka_unit_test_setup(test_import_bad_tcb_refused, setup),
		cmocka_unit_test_setup(test_import_bad_chunks_refused, setup),
		cmocka_unit_test_setup(test_import_urgent_data, setup),
		cmocka_unit_test_setup(test_import_odd_values_are_tamed, setup),
		cmocka_unit_test_setup(test_import_stray_retransmission_is_dropped, setup),
		cmocka_unit_test_setup(test_import_time_wait_is_short, setup),
		cmocka_unit_test(test_import_time_wait_of_long_ago_ends),
		cmocka_unit_test_setup(test_import_random_damage_never_hurts, setup),
		cmocka_unit_test_setup(test_import_without_memory_takes_nothing, setup),
		cmocka_unit_test_setup(test_rescue_live_connection, setup),
		cmocka_unit_test_setup(test_rescue_closes_as_the_kernel_would, setup),
		cmocka_unit_test_setup(test_reset_flow_sends_rst, setup),
		cmocka_unit_test_setup(test_import_what_is_outstanding_has_its_time, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
