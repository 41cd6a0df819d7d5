/* SPDX-License-Identifier: BSD-2-Clause */
/* tcp_timewait.c: records of 64 bytes, what ends them and what does not. */
#include "lib_tcp.h"

static struct conv c;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	return 0;
}

/* The only report that waits. */
static struct stack_ev report(void)
{
	struct stack_ev ev;

	assert_true(stack_event_next(c.t.s, &ev));
	while (!(ev.mask & (EV_FREED | EV_TIMEWAIT)))
		assert_true(stack_event_next(c.t.s, &ev));
	return ev;
}

/* We close first, then the peer: its FIN is number 1, ours as well. */
static void close_both(void)
{
	tcp_close(c.t.s, c.conn, c.t.now);
	TX(&c, .flags = TH_FIN | TH_ACK, .seq = 1, .ack = 1);
	RX(&c, .flags = TH_FIN | TH_ACK, .seq = 1, .ack = 2);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 2);
}

static void enter_passive(const struct stack_cfg *cfg)
{
	tc_accept(&c, cfg);
	close_both();
}

static void test_tcp_time_wait_enter_frees_tcb_and_reports(void **state)
{
	uint32_t generation;
	struct stack_ev ev;

	(void)state;
	tc_accept(&c, NULL);
	tcp_set_cookie(c.t.s, c.conn, 77);
	generation = tc_tcb(&c)->generation;
	close_both();
	assert_int_equal(tc_usage(&c).tcbs, 0);
	assert_int_equal(tc_usage(&c).timewaits, 1);
	assert_int_equal(tc_usage(&c).orphans, 0);
	ev = report();
	assert_int_equal(ev.mask, EV_TIMEWAIT);
	assert_int_equal(ev.conn, c.conn);
	assert_int_equal(ev.generation, generation);
	assert_int_equal(ev.cookie, 77);
	assert_ip(ev.pair.local, OUR_IP);
	assert_ip(ev.pair.remote, PEER_IP);
	assert_int_equal(ev.pair.remote_port, __builtin_bswap16(PEER_PORT));
	assert_false(stack_event_next(c.t.s, &ev));

	ts_advance(&c.t, 59900);
	assert_int_equal(tc_usage(&c).timewaits, 1);
	ts_advance(&c.t, 200);
	assert_int_equal(tc_usage(&c).timewaits, 0);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TW), 1);
	ev = report();
	assert_int_equal(ev.mask, EV_FREED);
	assert_int_equal(ev.conn, TD_NO_CONN);
	assert_int_equal(ev.pair.local_port, __builtin_bswap16(OUR_PORT));
	assert_int_equal(ev.pair.remote_port, __builtin_bswap16(PEER_PORT));
	tc_close(&c);
}

static void test_tcp_time_wait_fin_again_acked_and_starts_over(void **state)
{
	(void)state;
	c.ts = true;
	enter_passive(NULL);
	ts_advance(&c.t, 40000);
	c.ts_val += 40000;
	assert_int_equal(RX(&c, .flags = TH_FIN | TH_ACK, .seq = 1, .ack = 2), DROP_NONE);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 2);
	/* our clock goes on as if it still was the connection */
	assert_int_equal(c.opt.ts_val,
			 tcp_ts_now(c.t.s, c.t.now) + tcp_ts_offset(c.t.s, &c.t.s->tws[0].a));
	ts_advance(&c.t, 59000);
	assert_int_equal(tc_usage(&c).timewaits, 1);
	ts_advance(&c.t, 2000);
	assert_int_equal(tc_usage(&c).timewaits, 0);
	tc_close(&c);
}

static void test_tcp_time_wait_only_exact_rst_ends_it(void **state)
{
	(void)state;
	c.ts = true;
	enter_passive(NULL);
	assert_int_equal(report().mask, EV_TIMEWAIT);
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 3), DROP_OUT_OF_WINDOW);
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 1), DROP_OUT_OF_WINDOW);
	assert_int_equal(RX(&c, .flags = TH_RST | TH_SYN, .seq = 2), DROP_OUT_OF_WINDOW);
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 2, .ts_val = 4990), DROP_PAWS);
	tc_tx_none(&c);
	assert_int_equal(tc_usage(&c).timewaits, 1);
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 2), DROP_NONE);
	tc_tx_none(&c);
	assert_int_equal(tc_usage(&c).timewaits, 0);
	assert_int_equal(report().mask, EV_FREED);
	tc_close(&c);
}

/* RFC 1337 §3/1 */
static void test_tcp_time_wait_rfc1337_rst_ignored(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.limits.tcp_rfc1337 = 1;
	enter_passive(&cfg);
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 2), DROP_OUT_OF_WINDOW);
	assert_int_equal(RX(&c, .flags = TH_RST | TH_ACK, .seq = 2, .ack = 2), DROP_OUT_OF_WINDOW);
	tc_tx_none(&c);
	assert_int_equal(tc_usage(&c).timewaits, 1);
	tc_close(&c);
}

static void test_tcp_time_wait_ack_in_order_needs_no_answer(void **state)
{
	(void)state;
	enter_passive(NULL);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 2, .ack = 2), DROP_NONE);
	assert_int_equal(RX(&c, .flags = TH_PSH, .seq = 2, .len = 3), DROP_OUT_OF_WINDOW);
	tc_tx_none(&c);
	/* text that nobody will read is told where we stand */
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 2, .ack = 2, .len = 3), DROP_NONE);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 2);
	tc_close(&c);
}

static void test_tcp_time_wait_syn_with_higher_number_begins_anew(void **state)
{
	uint32_t old;
	struct stack_ev ev;

	(void)state;
	enter_passive(NULL);
	old = c.iss;
	assert_int_equal(report().mask, EV_TIMEWAIT);
	assert_int_equal(RX(&c, .flags = TH_SYN, .seq = 3), DROP_NONE);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 4);
	/* behind all that the peer may take for the old connection's */
	assert_int_equal(c.iss, old + 2 + 65537);
	assert_int_equal(tc_usage(&c).timewaits, 0);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TWRecycled), 1);
	ev = report();
	assert_int_equal(ev.mask, EV_FREED);
	assert_int_equal(ev.conn, TD_NO_CONN);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 4, .ack = 1), DROP_NONE);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &c.conn), 0);
	tc_state(&c, TCP_ESTABLISHED);
	tc_close(&c);
}

static void test_tcp_time_wait_syn_passes_full_syn_queue(void **state)
{
	(void)state;
	enter_passive(NULL);
	assert_int_equal(tcp_listen_backlog(c.t.s, c.listener, 0), 0);
	c.rport = 9;
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_NONE);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	c.rport = PEER_PORT;
	assert_int_equal(RX(&c, .flags = TH_SYN, .seq = 1000), DROP_NONE);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1001);
	tc_close(&c);
}

static void test_tcp_time_wait_syn_old_number(void **state)
{
	(void)state;
	enter_passive(NULL);
	assert_int_equal(RX(&c, .flags = TH_SYN, .seq = (uint32_t)-1000), DROP_OUT_OF_WINDOW);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 2);
	assert_int_equal(tc_usage(&c).timewaits, 1);
	tc_close(&c);
}

/* RFC 6191 §2/1 */
static void test_tcp_time_wait_syn_timestamps_decide(void **state)
{
	(void)state;
	c.ts = true;
	enter_passive(NULL);
	/* an old duplicate, whatever its number */
	assert_int_equal(RX(&c, .flags = TH_SYN, .seq = 1000, .ts_val = 4990), DROP_PAWS);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 2);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_PAWSTimewait), 1);
	/* the same moment and an old number: may be either */
	assert_int_equal(RX(&c, .flags = TH_SYN, .seq = (uint32_t)-1000), DROP_OUT_OF_WINDOW);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 2);
	/* newer: RFC 6191 */
	assert_int_equal(RX(&c, .flags = TH_SYN, .seq = (uint32_t)-1000, .ts_val = 5001),
			 DROP_NONE);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = (uint32_t)-999);
	assert_int_equal(tc_usage(&c).timewaits, 0);
	tc_close(&c);
}

static void test_tcp_time_wait_syn_without_listener_refused(void **state)
{
	(void)state;
	enter_passive(NULL);
	tcp_unlisten(c.t.s, c.listener, c.t.now);
	assert_int_equal(RX(&c, .flags = TH_SYN, .seq = 1000), DROP_NO_SOCKET);
	c.iss = 0;
	TX(&c, .flags = TH_RST | TH_ACK, .ack = 1001);
	tc_close(&c);
}

static void test_tcp_time_wait_bounded(void **state)
{
	struct stack_cfg cfg = ts_cfg();
	struct stack_ev ev;

	(void)state;
	cfg.limits.tcp_max_tw_buckets = 1;
	enter_passive(&cfg);
	report();
	c.rport++;
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_NONE);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_NONE);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &c.conn), 0);
	close_both();
	assert_int_equal(tc_usage(&c).timewaits, 1);
	assert_int_equal(tc_usage(&c).tcbs, 0);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPTimeWaitOverflow), 1);
	ev = report();
	assert_int_equal(ev.mask, EV_FREED);
	assert_int_equal(ev.conn, c.conn);
	while (stack_event_next(c.t.s, &ev))
		assert_false(ev.mask & (EV_FREED | EV_TIMEWAIT));
	tc_close(&c);
}

static void test_tcp_time_wait_many_in_one_bucket(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	close_both();
	for (uint32_t i = 1; i < 16; i++) {
		c.rport++;
		assert_int_equal(RX(&c, .flags = TH_SYN), DROP_NONE);
		TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
		assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_NONE);
		assert_int_equal(tcp_accept(c.t.s, c.listener, &c.conn), 0);
		close_both();
	}
	assert_int_equal(tc_usage(&c).timewaits, 16);
	ts_advance(&c.t, 61000);
	assert_int_equal(tc_usage(&c).timewaits, 0);
	tc_close(&c);
}

/* ---- FIN-WAIT-2 of an orphan that has waited a while ---- */

static void enter_fin_wait_2(void)
{
	tc_accept(&c, NULL);
	tcp_close(c.t.s, c.conn, c.t.now);
	TX(&c, .flags = TH_FIN | TH_ACK, .seq = 1, .ack = 1);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 2);
	ts_advance(&c.t, 1100);
	c.ts_val += 1100;
	tc_tx_none(&c);
	assert_int_equal(tc_usage(&c).tcbs, 0);
	assert_int_equal(tc_usage(&c).timewaits, 1);
	assert_int_equal(tc_usage(&c).orphans, 0);
	assert_int_equal(report().mask, EV_TIMEWAIT | EV_FIN_WAIT2);
}

static enum tcp_state record_state(void)
{
	enum tcp_state st = TCP_CLOSED;
	struct tcp_addr_pair a;
	uint32_t it = 0;

	assert_true(stack_next_timewait(c.t.s, &it, &a, &st));
	return st;
}

static void test_tcp_fin_wait_2_record_fin_begins_time_wait(void **state)
{
	(void)state;
	c.ts = true;
	enter_fin_wait_2();
	assert_int_equal(record_state(), TCP_FIN_WAIT_2);
	ts_advance(&c.t, 50000);
	c.ts_val += 50000;
	/* An ACK is no news, a keepalive probe is answered. */
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 2), DROP_NONE);
	tc_tx_none(&c);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 0, .ack = 2), DROP_NONE);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 1);
	assert_int_equal(get_be16(c.o.l4 + 14), 0xffff); /* no window that shrinks */
	assert_int_equal(RX(&c, .flags = TH_FIN | TH_ACK, .seq = 1, .ack = 2), DROP_NONE);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 2);
	assert_int_equal(record_state(), TCP_TIME_WAIT);
	ts_advance(&c.t, 59000);
	assert_int_equal(tc_usage(&c).timewaits, 1);
	ts_advance(&c.t, 2000);
	assert_int_equal(tc_usage(&c).timewaits, 0);
	tc_close(&c);
}

static void test_tcp_fin_wait_2_record_text_is_reset(void **state)
{
	(void)state;
	enter_fin_wait_2();
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 2, .len = 3);
	TX(&c, .flags = TH_RST, .seq = 2);
	assert_int_equal(tc_usage(&c).timewaits, 0);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPAbortOnData), 1);
	tc_close(&c);
}

/* RFC 5961 §3.2, §4.2, §5.2 */
static void test_tcp_fin_wait_2_record_only_exact_rst_ends_it(void **state)
{
	(void)state;
	enter_fin_wait_2();
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 2), DROP_OUT_OF_WINDOW);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 1);
	assert_int_equal(RX(&c, .flags = TH_SYN, .seq = 9), DROP_OUT_OF_WINDOW);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 1);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1000000, .ack = 2, .len = 3),
			 DROP_OUT_OF_WINDOW);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 1);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 3, .len = 3), DROP_BAD_ACK);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 1);
	assert_int_equal(tc_usage(&c).timewaits, 1);
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 1), DROP_NONE);
	tc_tx_none(&c);
	assert_int_equal(tc_usage(&c).timewaits, 0);
	tc_close(&c);
}

/* RFC 6191 §2: a SYN alone begins a new connection, not what comes with it. */
static void test_tcp_time_wait_syn_with_more_flags(void **state)
{
	(void)state;
	enter_passive(NULL);
	RX(&c, .flags = TH_SYN | TH_ACK, .seq = 1000, .ack = 2);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 2);
	RX(&c, .flags = TH_SYN | TH_FIN, .seq = 1000);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 2);
	tc_tx_none(&c);
	assert_int_equal(tc_usage(&c).timewaits, 1);
	tc_close(&c);
}

/* RFC 7323 §5.3: the peer's clock is known as of its last segment in order */
static void test_tcp_time_wait_ack_moves_the_peers_clock(void **state)
{
	(void)state;
	c.ts = true;
	enter_passive(NULL);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 2, .ack = 2, .ts_val = 5500), DROP_NONE);
	/* one without a timestamp says nothing of it */
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 2, .ack = 2, .no_ts = true), DROP_NONE);
	tc_tx_none(&c);
	assert_int_equal(RX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 2, .ts_val = 5499),
			 DROP_PAWS);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 2);
	assert_int_equal(c.opt.ts_ecr, 5500);
	tc_close(&c);
}

/* RFC 1122 §4.2.2.13: text that nobody can read, whatever comes with it */
static void test_tcp_fin_wait_2_record_any_text_is_reset(void **state)
{
	static const struct seg text[] = {
		{.flags = TH_ACK, .seq = 1, .ack = 2, .len = 1},
		{.flags = TH_ACK | TH_FIN, .seq = 1, .ack = 2, .len = 3},
		{.flags = TH_ACK, .seq = 1 + 65536, .ack = 2, .len = 1},
	};

	(void)state;
	for (uint32_t i = 0; i < sizeof(text) / sizeof(text[0]); i++) {
		enter_fin_wait_2();
		tc_rx(&c, &text[i]);
		TX(&c, .flags = TH_RST, .seq = 2);
		assert_int_equal(tc_usage(&c).timewaits, 0);
		tc_close(&c);
	}
}

/* RFC 5961 §5.2: what cannot be the peer's, before and behind its window, ends nothing */
static void test_tcp_fin_wait_2_record_text_out_of_window(void **state)
{
	static const uint32_t seq[] = {1 + 65537, 1 - 65537, 1u << 31};

	(void)state;
	enter_fin_wait_2();
	for (uint32_t i = 0; i < sizeof(seq) / sizeof(seq[0]); i++) {
		assert_int_equal(RX(&c, .flags = TH_ACK, .seq = seq[i], .ack = 2, .len = 3),
				 DROP_OUT_OF_WINDOW);
		TX(&c, .flags = TH_ACK, .seq = 2, .ack = 1);
	}
	assert_int_equal(tc_usage(&c).timewaits, 1);
	tc_close(&c);
}

/* A record that was an application's goes on here: for how long, and with whose timestamps. */
static void test_rescued_record_goes_on(void **state)
{
	struct timewait r;

	(void)state;
	c.ts = true;
	enter_passive(NULL);
	r = c.t.s->tws[0];
	assert_false(r.born_app);
	assert_int_equal(stack_rescue_timewait(c.t.s, &r, c.t.now), -E_ADDRINUSE);
	timewait_free(c.t.s, 0);
	r.born_app = 1;
	assert_int_equal(stack_rescue_timewait(c.t.s, &r, c.t.now), 0);
	assert_int_equal(RX(&c, .flags = TH_FIN | TH_ACK, .seq = 1, .ack = 2), DROP_NONE);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 2);
	assert_int_not_equal(tcp_ts_offset_app(c.t.s, &r.a), tcp_ts_offset(c.t.s, &r.a));
	assert_int_equal(c.opt.ts_val,
			 tcp_ts_now(c.t.s, c.t.now) + tcp_ts_offset_app(c.t.s, &r.a));
	ts_advance(&c.t, 59900);
	assert_int_equal(tc_usage(&c).timewaits, 1);
	ts_advance(&c.t, 200);
	assert_int_equal(tc_usage(&c).timewaits, 0);
	/* Of one in FIN-WAIT-2: as long as the peer may take to close. */
	r.fin_wait2 = 1;
	assert_int_equal(stack_rescue_timewait(c.t.s, &r, c.t.now), 0);
	ts_advance(&c.t, c.t.s->cfg.limits.tcp_fin_timeout * 1000ul - 200);
	assert_int_equal(tc_usage(&c).timewaits, 1);
	ts_advance(&c.t, 400);
	assert_int_equal(tc_usage(&c).timewaits, 0);
	tc_close(&c);
}

/* What begins here may have its TIME_WAIT in an application, which has to know our timestamps then. */
static void test_time_wait_offsets_of_applications(void **state)
{
	(void)state;
	for (int app = 0; app < 2; app++) {
		const struct synreq *r;

		c.ts = true;
		enter_passive(NULL);
		tcp_listen_in_app(c.t.s, c.listener, app);
		assert_int_equal(RX(&c, .flags = TH_SYN, .seq = 1000), DROP_NONE);
		r = &c.t.s->synreqs[0];
		assert_int_equal(r->ts_offset, app ? tcp_ts_offset_app(c.t.s, &r->a)
						   : tcp_ts_offset(c.t.s, &r->a));
		tc_tx_all(&c);
		tc_close(&c);
	}
}

/* RFC 6191, where the port's SYNs are answered by another stack: with timestamps it goes on there. */
static void test_time_wait_ends_for_another_stack(void **state)
{
	(void)state;
	for (int ts = 0; ts < 2; ts++) {
		setup(NULL);
		c.ts = ts;
		enter_passive(NULL);
		assert_int_equal(report().mask, EV_TIMEWAIT);
		tcp_listen_in_app(c.t.s, c.listener, true);
		/* may have been sent by the old one */
		c.ts_val -= ts;
		assert_int_equal(RX(&c, .flags = TH_SYN, .seq = 1), ts ? DROP_PAWS : DROP_OUT_OF_WINDOW);
		c.ts_val += 2 * ts;
		assert_int_equal(tc_usage(&c).timewaits, 1);
		tc_tx_all(&c);
		if (ts) {
			assert_int_equal(RX(&c, .flags = TH_SYN, .seq = 1000), DROP_STALE_FLOW);
			assert_int_equal(tc_usage(&c).timewaits, 0);
			assert_int_equal(report().mask, EV_FREED);
			tc_tx_none(&c);
		}
		/* nobody has it there: it is ours; so it is where only sequence numbers tell them apart */
		assert_int_equal(RX(&c, .flags = TH_SYN, .seq = 1000), DROP_NONE);
		assert_int_equal(tc_usage(&c).synreqs, 1);
		assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TWRecycled), 1);
		tc_tx_all(&c);
		tc_close(&c);
	}
}

static void test_rescued_record_makes_sense(void **state)
{
	struct timewait good, r;

	(void)state;
	enter_passive(NULL);
	good = c.t.s->tws[0];
	timewait_free(c.t.s, 0);
	r = good;
	r.a.local = r.a.remote;
	assert_int_equal(stack_rescue_timewait(c.t.s, &r, c.t.now), -E_BADMSG);
	r = good;
	memset(&r.a.remote, 0, sizeof(r.a.remote));
	assert_int_equal(stack_rescue_timewait(c.t.s, &r, c.t.now), -E_BADMSG);
	r = good;
	r.a.local_port = 0;
	assert_int_equal(stack_rescue_timewait(c.t.s, &r, c.t.now), -E_BADMSG);
	r = good;
	r.a.remote_port = 0;
	assert_int_equal(stack_rescue_timewait(c.t.s, &r, c.t.now), -E_BADMSG);
	c.t.s->cfg.limits.tcp_max_tw_buckets = 0;
	assert_int_equal(stack_rescue_timewait(c.t.s, &good, c.t.now), -E_NOSPC);
	assert_int_equal(tc_usage(&c).timewaits, 0);
	tc_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_tcp_time_wait_enter_frees_tcb_and_reports, setup),
		cmocka_unit_test_setup(test_tcp_time_wait_fin_again_acked_and_starts_over, setup),
		cmocka_unit_test_setup(test_tcp_time_wait_only_exact_rst_ends_it, setup),
		cmocka_unit_test_setup(test_tcp_time_wait_rfc1337_rst_ignored, setup),
		cmocka_unit_test_setup(test_tcp_time_wait_ack_in_order_needs_no_answer, setup),
		cmocka_unit_test_setup(test_tcp_time_wait_syn_with_higher_number_begins_anew,
				       setup),
		cmocka_unit_test_setup(test_tcp_time_wait_syn_passes_full_syn_queue, setup),
		cmocka_unit_test_setup(test_tcp_time_wait_syn_old_number, setup),
		cmocka_unit_test_setup(test_tcp_time_wait_syn_timestamps_decide, setup),
		cmocka_unit_test_setup(test_tcp_time_wait_syn_without_listener_refused, setup),
		cmocka_unit_test_setup(test_tcp_time_wait_bounded, setup),
		cmocka_unit_test_setup(test_tcp_time_wait_many_in_one_bucket, setup),
		cmocka_unit_test_setup(test_tcp_fin_wait_2_record_fin_begins_time_wait, setup),
		cmocka_unit_test_setup(test_tcp_fin_wait_2_record_text_is_reset, setup),
		cmocka_unit_test_setup(test_tcp_fin_wait_2_record_only_exact_rst_ends_it, setup),
		cmocka_unit_test_setup(test_tcp_time_wait_syn_with_more_flags, setup),
		cmocka_unit_test_setup(test_tcp_time_wait_ack_moves_the_peers_clock, setup),
		cmocka_unit_test_setup(test_tcp_fin_wait_2_record_any_text_is_reset, setup),
		cmocka_unit_test_setup(test_tcp_fin_wait_2_record_text_out_of_window, setup),
		cmocka_unit_test_setup(test_rescued_record_goes_on, setup),
		cmocka_unit_test_setup(test_time_wait_offsets_of_applications, setup),
		cmocka_unit_test_setup(test_time_wait_ends_for_another_stack, setup),
		cmocka_unit_test_setup(test_rescued_record_makes_sense, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
