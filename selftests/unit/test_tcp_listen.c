/* SPDX-License-Identifier: BSD-2-Clause */
/* tcp_listen.c: which listener, the accept queue and its bound, options that are inherited. */
#include "lib_tcp.h"

static struct conv c;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	return 0;
}

static int do_listen(const char *addr, uint16_t port, uint32_t backlog, uint32_t *id)
{
	struct ip_addr a = ip(addr);
	int err = tcp_listen(c.t.s, &a, __builtin_bswap16(port), backlog, 100 + port, id);

	ts_check(&c.t);
	return err;
}

/* A listener on port 80 with @backlog. */
static void open_listener(const struct stack_cfg *cfg, uint32_t backlog)
{
	tc_open(&c, cfg);
	assert_int_equal(do_listen(NULL, OUR_PORT, backlog, &c.listener), 0);
}

/* SYN and SYN-ACK of the peer's port @port. */
static void half_open(uint16_t port)
{
	c.rport = port;
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_NONE);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
}

static void establish(uint16_t port)
{
	half_open(port);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_NONE);
}

/* ---- which listener ---- */

static void test_tcp_listen_overlap_addr_in_use(void **state)
{
	uint32_t id;

	(void)state;
	tc_open(&c, NULL);
	assert_int_equal(do_listen(OUR_IP, 80, 1, &id), 0);
	assert_int_equal(do_listen(OUR_IP, 80, 1, &id), -E_ADDRINUSE);
	assert_int_equal(do_listen("0.0.0.0", 80, 1, &id), -E_ADDRINUSE);
	assert_int_equal(do_listen("::", 80, 1, &id), -E_ADDRINUSE);
	assert_int_equal(do_listen("10.0.0.9", 80, 1, &id), 0);
	assert_int_equal(do_listen(OUR_IP, 81, 1, &id), 0);
	assert_int_equal(do_listen("0.0.0.0", 82, 1, &id), 0);
	assert_int_equal(do_listen(OUR_IP, 82, 1, &id), -E_ADDRINUSE);
	/* 0.0.0.0 is IPv4's alone, :: is both families' */
	assert_int_equal(do_listen("2001:db8::1", 82, 1, &id), 0);
	assert_int_equal(do_listen("::", 83, 1, &id), 0);
	assert_int_equal(do_listen("2001:db8::1", 83, 1, &id), -E_ADDRINUSE);
	assert_int_equal(do_listen("0.0.0.0", 83, 1, &id), -E_ADDRINUSE);
	tc_close(&c);
}

static void test_tcp_listen_pool_exhausted_no_space(void **state)
{
	uint32_t id, first = 0;

	(void)state;
	tc_open(&c, NULL);
	for (uint16_t i = 0; i < 8; i++)
		assert_int_equal(do_listen(OUR_IP, (uint16_t)(1000 + i), 1, i ? &id : &first), 0);
	assert_int_equal(do_listen(OUR_IP, 2000, 1, &id), -E_NOSPC);
	tcp_unlisten(c.t.s, first, c.t.now);
	assert_int_equal(do_listen(OUR_IP, 2000, 1, &id), 0);
	tc_close(&c);
}

/* RFC 9293 MUST-43 */
static void test_tcp_listen_lookup_exact_before_any(void **state)
{
	struct ip_addr a = ip("10.0.0.7"), b = ip(OUR_IP);
	uint32_t exact, other;

	(void)state;
	tc_open(&c, NULL);
	assert_int_equal(do_listen("2001:db8::1", 80, 1, &exact), 0);
	assert_int_equal(do_listen("0.0.0.0", 80, 1, &other), 0);
	assert_int_equal(listener_lookup(c.t.s, &a, __builtin_bswap16(80)), other);
	assert_int_equal(listener_lookup(c.t.s, &b, __builtin_bswap16(80)), other);
	a = ip("2001:db8::1");
	assert_int_equal(listener_lookup(c.t.s, &a, __builtin_bswap16(80)), exact);
	a = ip("2001:db8::2");
	assert_int_equal(listener_lookup(c.t.s, &a, __builtin_bswap16(80)), SHM_NIL);
	assert_int_equal(listener_lookup(c.t.s, &b, __builtin_bswap16(81)), SHM_NIL);
	tc_close(&c);
}

static void test_tcp_listen_bad_id(void **state)
{
	uint32_t conn;

	(void)state;
	tc_open(&c, NULL);
	assert_int_equal(tcp_accept(c.t.s, 0, &conn), -E_BADF);
	assert_int_equal(tcp_accept(c.t.s, 1000, &conn), -E_BADF);
	assert_int_equal(tcp_listen_backlog(c.t.s, 0, 1), -E_BADF);
	assert_int_equal(tcp_listen_opt(c.t.s, 0, TOPT_TTL, 1), -E_BADF);
	tcp_listen_outside(c.t.s, 1000, 1);
	tcp_unlisten(c.t.s, 1000, c.t.now);
	tc_close(&c);
}

/* ---- the accept queue ---- */

static void test_tcp_accept_takes_in_order(void **state)
{
	struct stack_ev ev;
	uint32_t conn;

	(void)state;
	open_listener(NULL, 8);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &conn), -E_AGAIN);
	for (uint16_t i = 0; i < 3; i++)
		establish((uint16_t)(5000 + i));
	for (uint16_t i = 0; i < 3; i++) {
		assert_int_equal(tcp_accept(c.t.s, c.listener, &conn), 0);
		assert_int_equal(tcp_get(c.t.s, conn)->remote_port, __builtin_bswap16(5000 + i));
		assert_int_equal(tcp_get(c.t.s, conn)->state, TCP_ESTABLISHED);
	}
	assert_int_equal(tcp_accept(c.t.s, c.listener, &conn), -E_AGAIN);
	while (stack_event_next(c.t.s, &ev))
		;
	tc_close(&c);
}

static void test_tcp_accept_event_is_merged_until_taken(void **state)
{
	struct stack_ev ev;
	uint32_t n = 0;

	(void)state;
	open_listener(NULL, 8);
	establish(5000);
	establish(5001);
	while (stack_event_next(c.t.s, &ev)) {
		if (!(ev.mask & EV_ACCEPT))
			continue;
		n++;
		assert_int_equal(ev.listener, c.listener);
		assert_int_equal(ev.cookie, 100 + OUR_PORT);
	}
	assert_int_equal(n, 1);
	establish(5002);
	while (stack_event_next(c.t.s, &ev))
		n += !!(ev.mask & EV_ACCEPT);
	assert_int_equal(n, 2);
	tc_close(&c);
}

static void test_tcp_accept_queue_full_drops_third_ack(void **state)
{
	uint32_t conn;

	(void)state;
	open_listener(NULL, 1);
	establish(5000);
	half_open(5001);
	/* as in Linux one more than the backlog is taken */
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_NONE);
	assert_int_equal(tc_usage(&c).tcbs, 2);
	/* now a SYN is dropped */
	c.rport = 5003;
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_QUEUE_FULL);
	tc_tx_none(&c);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_ListenOverflows), 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_ListenDrops), 1);

	/* and a third ACK, whose request stays */
	assert_int_equal(tcp_accept(c.t.s, c.listener, &conn), 0);
	half_open(5004);
	tcp_listen_outside(c.t.s, c.listener, 1);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_QUEUE_FULL);
	tc_tx_none(&c);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_ListenOverflows), 2);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_ListenDrops), 2);
	assert_int_equal(tc_usage(&c).synreqs, 1);
	tcp_listen_outside(c.t.s, c.listener, 0);
	assert_int_equal(RX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 10),
			 DROP_NONE);
	assert_int_equal(tc_usage(&c).synreqs, 0);
	assert_int_equal(tc_usage(&c).tcbs, 3);
	tc_close(&c);
}

static void test_tcp_accept_queue_full_abort_on_overflow_resets(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.limits.tcp_abort_on_overflow = 1;
	open_listener(&cfg, 0);
	half_open(5001);
	tcp_listen_outside(c.t.s, c.listener, 1);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_QUEUE_FULL);
	TX(&c, .flags = TH_RST, .seq = 1);
	assert_int_equal(tc_usage(&c).synreqs, 0);
	tc_close(&c);
}

static void test_tcp_accept_queue_bounded_by_somaxconn(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.limits.somaxconn = 2;
	open_listener(&cfg, 1000);
	for (uint16_t i = 0; i < 3; i++)
		establish((uint16_t)(5000 + i));
	c.rport = 6000;
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_QUEUE_FULL);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_ListenOverflows), 1);
	tc_close(&c);
}

static void test_tcp_accept_queue_backlog_changes(void **state)
{
	(void)state;
	open_listener(NULL, 0);
	establish(5000);
	c.rport = 5001;
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_QUEUE_FULL);
	assert_int_equal(tcp_listen_backlog(c.t.s, c.listener, 5), 0);
	establish(5001);
	tc_close(&c);
}

static void test_tcp_accept_queue_keeps_its_order_over_resets(void **state)
{
	uint32_t conn;

	(void)state;
	open_listener(NULL, 8);
	for (uint16_t i = 0; i < 3; i++)
		establish((uint16_t)(5000 + i));
	c.rport = 5001;
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 1), DROP_NONE);
	c.rport = 5002;
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 1), DROP_NONE);
	establish(5003);
	for (uint16_t i = 0; i < 4; i++) {
		bool reset = i == 1 || i == 2;

		assert_int_equal(tcp_accept(c.t.s, c.listener, &conn), 0);
		assert_int_equal(tcp_get(c.t.s, conn)->remote_port,
				 __builtin_bswap16((uint16_t)(5000 + i)));
		assert_int_equal(tcp_error(c.t.s, conn), reset ? E_CONNRESET : 0);
	}
	tc_close(&c);
}

/* ---- the end of a listener ---- */

static void test_tcp_unlisten_drops_requests_and_resets_queue(void **state)
{
	uint32_t id, iss, half_iss;

	(void)state;
	open_listener(NULL, 8);
	assert_int_equal(do_listen(NULL, 81, 1, &id), 0);
	establish(5000);
	iss = c.iss;
	half_open(5001);
	half_iss = c.iss;
	tcp_unlisten(c.t.s, c.listener, c.t.now);
	ts_check(&c.t);
	assert_int_equal(tc_usage(&c).synreqs, 0);
	assert_int_equal(tc_usage(&c).listeners, 1);
	c.rport = 5000;
	c.iss = iss;
	TX(&c, .flags = TH_RST | TH_ACK, .seq = 1, .ack = 1);
	assert_int_equal(tc_usage(&c).tcbs, 0);
	/* what comes for it now is refused */
	c.rport = 5001;
	c.iss = half_iss;
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_NO_SOCKET);
	TX(&c, .flags = TH_RST, .seq = 1);
	tcp_unlisten(c.t.s, id, c.t.now);
	tc_close(&c);
}

static void test_tcp_unlisten_takes_event_back(void **state)
{
	uint32_t second, iss;
	struct stack_ev ev;

	(void)state;
	open_listener(NULL, 8);
	assert_int_equal(do_listen(NULL, 81, 8, &second), 0);
	establish(5000);
	iss = c.iss;
	c.lport = 81;
	establish(5000);
	tcp_unlisten(c.t.s, c.listener, c.t.now);
	ts_check(&c.t);
	while (stack_event_next(c.t.s, &ev))
		assert_true(!(ev.mask & EV_ACCEPT) || ev.listener == second);
	c.lport = 80;
	c.iss = iss;
	TX(&c, .flags = TH_RST | TH_ACK, .seq = 1, .ack = 1);
	tc_close(&c);
}

/* ---- options ---- */

static void test_tcp_listen_options_are_inherited(void **state)
{
	static const struct {
		enum tcp_opt opt;
		int64_t value;
	} opts[] = {
		{TOPT_CONGESTION, 1},	    {TOPT_NODELAY, 1},	 {TOPT_KEEPALIVE, 1},
		{TOPT_KEEPIDLE, 77},	    {TOPT_KEEPINTVL, 7}, {TOPT_KEEPCNT, 3},
		{TOPT_USER_TIMEOUT, 12345}, {TOPT_LINGER, 9},	 {TOPT_RCVBUF, 50000},
		{TOPT_SNDBUF, 60000},	    {TOPT_RCVLOWAT, 10}, {TOPT_TTL, 33},
		{TOPT_TOS, 0x10},	    {TOPT_OOBINLINE, 1}, {TOPT_CORK, 1},
	};
	int64_t v;

	(void)state;
	open_listener(NULL, 8);
	for (uint32_t i = 0; i < sizeof(opts) / sizeof(opts[0]); i++)
		assert_int_equal(tcp_listen_opt(c.t.s, c.listener, opts[i].opt, opts[i].value), 0);
	establish(5000);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &c.conn), 0);
	for (uint32_t i = 0; i < sizeof(opts) / sizeof(opts[0]); i++) {
		assert_int_equal(tcp_getopt(c.t.s, c.conn, opts[i].opt, &v), 0);
		assert_int_equal(v, opts[i].value);
	}
	/* Buffers that were asked for stay as they are (socket(7)). */
	tc_tcb(&c)->cwnd = 1 << 20;
	tcp_sndbuf_tune(c.t.s, tc_tcb(&c));
	assert_int_equal(tc_tcb(&c)->sndbuf, 60000);
	assert_true(tc_tcb(&c)->sockopt & TCB_RCVBUF_LOCK);
	tc_close(&c);
}

static void test_tcp_listen_maxseg_is_announced(void **state)
{
	(void)state;
	open_listener(NULL, 8);
	assert_int_equal(tcp_listen_opt(c.t.s, c.listener, TOPT_MAXSEG, 1000), 0);
	half_open(5000);
	assert_int_equal(c.opt.mss, 1000);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_NONE);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &c.conn), 0);
	assert_int_equal(tc_tcb(&c)->mss, 1000);
	tc_close(&c);
}

static void test_tcp_opt_check_ranges(void **state)
{
	static const struct {
		enum tcp_opt opt;
		int64_t in;
		int err;
		int64_t out;
	} cases[] = {
		{TOPT_NODELAY, 5, 0, 1},
		{TOPT_MAXSEG, 0, 0, 0},
		{TOPT_MAXSEG, 87, -E_INVAL, 0},
		{TOPT_MAXSEG, 88, 0, 88},
		{TOPT_MAXSEG, 32768, -E_INVAL, 0},
		{TOPT_KEEPIDLE, 0, -E_INVAL, 0},
		{TOPT_KEEPIDLE, 32767, 0, 32767},
		{TOPT_KEEPINTVL, 32768, -E_INVAL, 0},
		{TOPT_KEEPCNT, 128, -E_INVAL, 0},
		{TOPT_USER_TIMEOUT, -1, -E_INVAL, 0},
		{TOPT_LINGER, -5, 0, -1},
		{TOPT_LINGER, 100000, 0, 65535},
		{TOPT_RCVBUF, 1, 0, 2304},
		{TOPT_RCVBUF, INT64_MAX, 0, 33554432},
		{TOPT_SNDBUF, 0, 0, 4608},
		{TOPT_RCVLOWAT, 0, 0, 1},
		{TOPT_TTL, 0, -E_INVAL, 0},
		{TOPT_TTL, 256, -E_INVAL, 0},
		{TOPT_TOS, 256, -E_INVAL, 0},
		{TOPT_DEFER_ACCEPT, INT64_MIN, -E_INVAL, 0},
		{TOPT_MAX_PACING, INT64_MAX, 0, UINT32_MAX},
		{(enum tcp_opt)99, 1, -E_NOPROTOOPT, 0},
	};

	(void)state;
	tc_open(&c, NULL);
	for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		int64_t v = cases[i].in;

		assert_int_equal(tcp_opt_check(c.t.s, cases[i].opt, &v), cases[i].err);
		if (!cases[i].err)
			assert_int_equal(v, cases[i].out);
	}
	tc_close(&c);
}

/* Of listeners with news the others are told of still, in order, whichever is closed. */
static void test_tcp_unlisten_leaves_the_others_events(void **state)
{
	uint32_t id[3];
	struct stack_ev ev;

	(void)state;
	for (uint32_t gone = 0; gone < 3; gone++) {
		tc_open(&c, NULL);
		for (uint16_t i = 0; i < 3; i++) {
			assert_int_equal(do_listen(NULL, (uint16_t)(80 + i), 8, &id[i]), 0);
			c.lport = (uint16_t)(80 + i);
			establish(5000);
		}
		tcp_unlisten(c.t.s, id[gone], c.t.now);
		ts_expect(&c.t, &c.o); /* a reset */
		c.lport =
			(uint16_t)(80 + (gone +
					 2) % 3); /* news of one that is queued, and of a new one */
		establish(5001);
		assert_int_equal(do_listen(NULL, 99, 8, &id[gone]), 0);
		c.lport = 99;
		establish(5000);
		for (uint32_t i = 0, n = 0; n < 3; n++) {
			i += i == gone;
			while (stack_event_next(c.t.s, &ev) && !(ev.mask & EV_ACCEPT))
				;
			assert_int_equal(ev.mask, EV_ACCEPT);
			assert_int_equal(ev.listener, n == 2 ? id[gone] : id[i++]);
		}
		while (stack_event_next(c.t.s, &ev))
			assert_false(ev.mask & EV_ACCEPT);
		tc_close(&c);
	}
}

/* Who goes elsewhere before anybody accepts it leaves the others in order, wherever it stood. */
static void test_tcp_accept_queue_closes_up(void **state)
{
	uint32_t conn[4], got;

	(void)state;
	for (uint32_t gone = 0; gone < 3; gone++) {
		uint32_t it = 0;

		open_listener(NULL, 8);
		for (uint16_t i = 0; i < 3; i++) {
			establish((uint16_t)(5000 + i));
			assert_true(stack_next_conn(c.t.s, &it, &conn[i]));
		}
		assert_int_equal(stack_export(c.t.s, conn[gone]), 0);
		ts_check(&c.t);
		establish(5003);
		assert_true(stack_next_conn(c.t.s, &it, &conn[3]));
		for (uint32_t i = 0; i < 4; i++) {
			if (i == gone)
				continue;
			assert_int_equal(tcp_accept(c.t.s, c.listener, &got), 0);
			assert_int_equal(got, conn[i]);
		}
		assert_int_equal(tcp_accept(c.t.s, c.listener, &got), -E_AGAIN);
		assert_int_equal(
			stack_export_done(c.t.s, conn[gone], tcb_at(c.t.s, conn[gone])->generation),
			0);
		tc_close(&c);
	}
}

/* As many listeners as there may be, closed in any order: the others are still found. */
static void test_tcp_unlisten_in_any_order(void **state)
{
	const struct ip_addr us = ip(OUR_IP);
	uint32_t id[64], n = 0;

	(void)state;
	for (uint32_t step = 1; step < 8; step += 2) {
		tc_open(&c, NULL);
		for (n = 0; n < 64 && !do_listen(NULL, (uint16_t)(100 + n), 8, &id[n]); n++)
			;
		assert_in_range(n, 2, 63);
		for (uint32_t gone = 0; gone < n; gone++) {
			uint32_t i = gone * step % n;

			tcp_unlisten(c.t.s, id[i], c.t.now);
			ts_check(&c.t);
			for (uint32_t k = 0; k < n; k++) {
				bool here = true;

				for (uint32_t g = 0; g <= gone; g++)
					here &= g * step % n != k;
				assert_int_equal(
					listener_lookup(c.t.s, &us,
							__builtin_bswap16((uint16_t)(100 + k))),
					here ? id[k] : SHM_NIL);
			}
		}
		tc_close(&c);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_tcp_listen_overlap_addr_in_use, setup),
		cmocka_unit_test_setup(test_tcp_listen_pool_exhausted_no_space, setup),
		cmocka_unit_test_setup(test_tcp_listen_lookup_exact_before_any, setup),
		cmocka_unit_test_setup(test_tcp_listen_bad_id, setup),
		cmocka_unit_test_setup(test_tcp_accept_takes_in_order, setup),
		cmocka_unit_test_setup(test_tcp_accept_event_is_merged_until_taken, setup),
		cmocka_unit_test_setup(test_tcp_accept_queue_full_drops_third_ack, setup),
		cmocka_unit_test_setup(test_tcp_accept_queue_full_abort_on_overflow_resets, setup),
		cmocka_unit_test_setup(test_tcp_accept_queue_bounded_by_somaxconn, setup),
		cmocka_unit_test_setup(test_tcp_accept_queue_backlog_changes, setup),
		cmocka_unit_test_setup(test_tcp_accept_queue_keeps_its_order_over_resets, setup),
		cmocka_unit_test_setup(test_tcp_unlisten_drops_requests_and_resets_queue, setup),
		cmocka_unit_test_setup(test_tcp_unlisten_takes_event_back, setup),
		cmocka_unit_test_setup(test_tcp_listen_options_are_inherited, setup),
		cmocka_unit_test_setup(test_tcp_listen_maxseg_is_announced, setup),
		cmocka_unit_test_setup(test_tcp_opt_check_ranges, setup),
		cmocka_unit_test_setup(test_tcp_unlisten_leaves_the_others_events, setup),
		cmocka_unit_test_setup(test_tcp_accept_queue_closes_up, setup),
		cmocka_unit_test_setup(test_tcp_unlisten_in_any_order, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
