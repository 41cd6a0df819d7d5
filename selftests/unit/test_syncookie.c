/* SPDX-License-Identifier: BSD-2-Clause */
/* common/syncookie.h, and syncookie.c: handshakes of which nothing is kept. */
#include "lib_tcp.h"

/* ---- the codec ---- */

static const struct syncookie_keys keys = {
	.period = 1000, .key = {{0x0123456789abcdef, 2}, {3, 0xfedcba9876543210}}};

static struct syncookie_id v4_id(void)
{
	return (struct syncookie_id){.remote = ip(PEER_IP),
				     .local = ip(OUR_IP),
				     .remote_port = 0x1234,
				     .local_port = 0x5000,
				     .irs = 0xfffffff0};
}

static struct syncookie_id v6_id(void)
{
	struct syncookie_id c = v4_id();

	c.remote = ip("2001:db8::2");
	c.local = ip("2001:db8::1");
	return c;
}

static void test_syncookie_hash_is_siphash(void **state)
{
	struct syncookie_id c = v6_id();
	uint64_t msg[6];

	(void)state;
	for (int i = 0; i < 2; i++) {
		msg[i] = (uint64_t)c.remote.w[2 * i] << 32 | c.remote.w[2 * i + 1];
		msg[2 + i] = (uint64_t)c.local.w[2 * i] << 32 | c.local.w[2 * i + 1];
	}
	msg[4] = (uint64_t)c.remote_port << 48 | (uint64_t)c.local_port << 32 | c.irs;
	msg[5] = 77;
	assert_int_equal(syncookie_hash(keys.key[0], 77, &c),
			 (uint32_t)siphash_24(keys.key[0], msg, sizeof(msg)) & ~15u);
}

static void round_trip(struct syncookie_id c, uint32_t mss, uint32_t want)
{
	uint32_t cookie = syncookie_make(&keys, &c, mss);

	assert_int_equal(syncookie_check(&keys, &c, cookie), want);
}

static void test_syncookie_mss_is_rounded_down(void **state)
{
	static const struct {
		uint32_t mss, v4, v6;
	} cases[] = {
		{0, 64, 64},	    {64, 64, 64},	{535, 64, 64},	     {536, 536, 64},
		{1219, 536, 64},    {1220, 1220, 1220}, {1300, 1300, 1280},  {1400, 1380, 1380},
		{1440, 1440, 1440}, {1452, 1440, 1440}, {1460, 1460, 1440},  {8939, 1460, 1440},
		{8940, 1460, 8940}, {8960, 8960, 8940}, {65535, 8960, 8940},
	};

	(void)state;
	for (uint32_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		round_trip(v4_id(), cases[i].mss, cases[i].v4);
		round_trip(v6_id(), cases[i].mss, cases[i].v6);
	}
	for (uint32_t i = 1; i < SYNCOOKIE_N_MSS; i++) {
		assert_true(syncookie_mss(true, i) > syncookie_mss(true, i - 1));
		assert_true(syncookie_mss(false, i) > syncookie_mss(false, i - 1));
	}
}

static void test_syncookie_of_another_is_refused(void **state)
{
	struct syncookie_id c = v4_id(), d;
	uint32_t cookie = syncookie_make(&keys, &c, 1460);
	struct syncookie_keys k = keys;

	(void)state;
	/* any bit of what it is about */
	for (uint32_t i = 0; i < 8 * sizeof(d); i++) {
		d = c;
		((uint8_t *)&d)[i / 8] ^= (uint8_t)(1u << i % 8);
		assert_int_equal(syncookie_check(&keys, &d, cookie), 0);
	}
	/* any bit of the cookie but those of the MSS */
	for (uint32_t i = 0; i < 32; i++)
		if (i < 1 || i > 3)
			assert_int_equal(syncookie_check(&keys, &c, cookie ^ 1u << i), 0);
	k.key[0][1]++;
	assert_int_equal(syncookie_check(&k, &c, cookie), 0);
}

static void test_syncookie_lives_for_two_periods(void **state)
{
	struct syncookie_id c = v4_id();
	struct syncookie_keys k = keys;

	(void)state;
	for (k.period = 1000; k.period < 1002; k.period++) {
		uint32_t cookie = syncookie_make(&k, &c, 1460);
		struct syncookie_keys later = k;

		later.period++;
		assert_int_equal(syncookie_check(&later, &c, cookie), 1460);
		later.period++;
		assert_int_equal(syncookie_check(&later, &c, cookie), 0);
		later.period = k.period - 1;
		assert_int_equal(syncookie_check(&later, &c, cookie), 0);
	}
}

static void test_syncookie_timestamp_holds_options(void **state)
{
	static const uint32_t nows[] = {0, 1, 63, 64, 100, 0x7fffffff, 0x80000000, 0xffffffff};

	(void)state;
	for (uint32_t i = 0; i < sizeof(nows) / sizeof(nows[0]); i++) {
		for (uint32_t o = 0; o <= SYNCOOKIE_TS_MASK; o++) {
			uint32_t ts = syncookie_ts(nows[i], o);

			assert_int_equal(ts & SYNCOOKIE_TS_MASK, o);
			assert_true(nows[i] - ts < 1u << SYNCOOKIE_TS_BITS);
		}
	}
}

/* ---- in the stack ---- */

static struct conv c;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	return 0;
}

/* A listener whose SYN queue takes one, and has it; then the peer is at port 5000. */
static void open_full(struct stack_cfg *cfg)
{
	tc_open(&c, cfg);
	tc_listen(&c, 1);
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_NONE);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	c.rport = 5000;
}

static void get_cookie(void)
{
	uint64_t sent = ts_mib(&c.t, MIB_TcpExt_SyncookiesSent);
	uint32_t n = tc_usage(&c).synreqs;

	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_NONE);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_SyncookiesSent), sent + 1);
	assert_int_equal(tc_usage(&c).synreqs, n);
}

static void accept_it(void)
{
	assert_int_equal(tcp_accept(c.t.s, c.listener, &c.conn), 0);
	tc_state(&c, TCP_ESTABLISHED);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_SyncookiesRecv), 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_SyncookiesFailed), 0);
}

static void test_syncookie_queue_full_third_ack_establishes(void **state)
{
	uint32_t ts;

	(void)state;
	c.ts = true;
	c.wscale = 1 + 9;
	c.mss = 1400;
	open_full(NULL);
	get_cookie();
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPReqQFullDoCookies), 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPReqQFullDrop), 0);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_ListenDrops), 0);
	assert_int_equal(c.opt.mss, 1460);
	assert_true(c.opt.has_wscale && c.opt.has_ts);
	assert_int_equal(c.opt.wscale, 10);
	assert_int_equal(c.opt.ts_ecr, 5000);
	ts_advance(&c.t, 30);
	c.ts_val = 5030;
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = 100), DROP_NONE);
	accept_it();
	assert_int_equal(tc_tcb(&c)->snd_wscale, 9);
	assert_int_equal(tc_tcb(&c)->rcv_wscale, 10);
	assert_int_equal(tc_tcb(&c)->snd_wnd, 100u << 9);
	assert_int_equal(tc_tcb(&c)->mss, 1380);
	assert_int_equal(tc_tcb(&c)->ts_recent, 5030);
	assert_int_equal(tc_tcb(&c)->queue, 3);
	assert_int_equal(ts_mib(&c.t, MIB_Tcp_PassiveOpens), 1);
	/* it works, and our timestamps do not go back */
	ts = c.ts_ecr;
	tc_send(&c, 100);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 100);
	assert_true(seq_ge(c.ts_ecr, ts) && c.ts_ecr - ts <= 30 + 64);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 101, .len = 20), DROP_NONE);
	tc_recv(&c, 20);
	tc_tx_all(&c);
	tc_close(&c);
}

static void test_syncookie_no_timestamps_no_options(void **state)
{
	(void)state;
	c.wscale = 1 + 9;
	open_full(NULL);
	get_cookie();
	assert_true(!c.opt.has_wscale && !c.opt.has_ts && !c.opt.sack_ok);
	assert_int_equal(c.opt.mss, 1460);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = 100), DROP_NONE);
	accept_it();
	assert_int_equal(tc_tcb(&c)->opt, 0);
	assert_int_equal(tc_tcb(&c)->snd_wnd, 100);
	assert_int_equal(tc_tcb(&c)->mss, 1460);
	tc_close(&c);
}

static void test_syncookie_timestamps_without_wscale(void **state)
{
	(void)state;
	c.ts = true;
	open_full(NULL);
	get_cookie();
	assert_true(!c.opt.has_wscale && c.opt.has_ts);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_NONE);
	accept_it();
	assert_int_equal(tc_tcb(&c)->opt & (TCB_OPT_TS | TCB_OPT_WSCALE), TCB_OPT_TS);
	tc_close(&c);
}

static void test_syncookie_third_ack_lost_data_and_fin_establish(void **state)
{
	(void)state;
	open_full(NULL);
	get_cookie();
	assert_int_equal(RX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 1, .len = 30),
			 DROP_NONE);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &c.conn), 0);
	tc_state(&c, TCP_CLOSE_WAIT);
	tc_recv(&c, 30);
	tc_tx_all(&c);
	tc_close(&c);
}

static void test_syncookie_forged_is_reset(void **state)
{
	(void)state;
	open_full(NULL);
	get_cookie();
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 17), DROP_BAD_ACK);
	TX(&c, .flags = TH_RST, .seq = 17);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 2, .ack = 1), DROP_BAD_ACK);
	TX(&c, .flags = TH_RST, .seq = 1);
	c.rport++;
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_BAD_ACK);
	TX(&c, .flags = TH_RST, .seq = 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_SyncookiesFailed), 3);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_SyncookiesRecv), 0);
	/* a SYN-ACK brings none */
	c.rport--;
	assert_int_equal(RX(&c, .flags = TH_SYN | TH_ACK, .seq = 1, .ack = 1), DROP_BAD_ACK);
	TX(&c, .flags = TH_RST, .seq = 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_SyncookiesFailed), 3);
	tc_close(&c);
}

/* What is not asked for is not looked at. */
static void test_syncookie_none_sent_none_checked(void **state)
{
	(void)state;
	open_full(NULL);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_BAD_ACK);
	TX(&c, .flags = TH_RST, .seq = 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_SyncookiesFailed), 0);
	tc_close(&c);
}

static void test_syncookie_grows_old(void **state)
{
	uint32_t iss;

	(void)state;
	open_full(NULL); /* at 1000 s: period 15 is from 960 to 1024 */
	get_cookie();
	iss = c.iss;
	c.rport = PEER_PORT; /* what fills the queue is not wanted any more */
	while (tc_usage(&c).synreqs) {
		ts_advance(&c.t, 1000);
		tc_tx_all(&c);
	}
	c.rport = 5000;
	c.iss = iss;
	ts_advance(&c.t, 1087900 - c.t.now.ns / NS_PER_MS);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_NONE);
	accept_it();
	tcp_abort(c.t.s, c.conn, c.t.now);
	tc_tx_all(&c);
	tc_events(&c);
	ts_advance(&c.t, 200);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_BAD_ACK);
	TX(&c, .flags = TH_RST, .seq = 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_SyncookiesFailed), 1);
	/* and some time after the last one nobody looks any more */
	ts_advance(&c.t, 41000);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_BAD_ACK);
	TX(&c, .flags = TH_RST, .seq = 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_SyncookiesFailed), 1);
	tc_close(&c);
}

static void test_syncookie_always(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.limits.tcp_syncookies = 2;
	tc_open(&c, &cfg);
	tc_listen(&c, 8);
	get_cookie();
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_NONE);
	accept_it();
	tc_close(&c);
}

static void test_syncookie_accept_queue_full(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	open_full(&cfg);
	get_cookie();
	tcp_listen_outside(c.t.s, c.listener, 2);
	/* dropped; data will try again */
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_QUEUE_FULL);
	tc_tx_none(&c);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_ListenOverflows), 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_ListenDrops), 1);
	/* no cookies either, as nobody could be let in */
	c.rport++;
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_QUEUE_FULL);
	tc_tx_none(&c);
	c.rport--;
	tcp_listen_outside(c.t.s, c.listener, 0);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 10), DROP_NONE);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &c.conn), 0);
	tc_recv(&c, 10);
	tc_tx_all(&c);
	tc_close(&c);
}

static void test_syncookie_accept_queue_full_abort_on_overflow_resets(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.limits.tcp_abort_on_overflow = 1;
	open_full(&cfg);
	get_cookie();
	tcp_listen_outside(c.t.s, c.listener, 2);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_QUEUE_FULL);
	TX(&c, .flags = TH_RST, .seq = 1);
	tc_close(&c);
}

/* The first minute after the machine's start has keys, too. */
static void test_syncookie_first_period_is_keyed(void **state)
{
	struct mtime t = {.ns = 1};
	struct tcp_seg g = {.seq = 1};
	struct ip_info ii = {.src = ip(PEER_IP), .dst = ip(OUR_IP)};

	(void)state;
	tc_open(&c, NULL);
	g.ip = &ii;
	cookie_isn(c.t.s, &g, t);
	assert_int_equal(c.t.s->cookies.period, 0);
	for (int i = 0; i < 2; i++)
		for (int half = 0; half < 2; half++)
			assert_true(c.t.s->cookies.key[i][half] != 0);
	assert_true(c.t.s->cookies.key[0][0] != c.t.s->cookies.key[0][1]);
	assert_memory_not_equal(c.t.s->cookies.key[1], c.t.s->cookies.key[0],
				sizeof(c.t.s->cookies.key[0]));
	tc_close(&c);
}

/*
 * RFC 3168 §6.1.1: ECN is what the two SYNs agreed on. Of these nothing is known without
 * timestamps, whatever the flags of the ACK that brings the cookie.
 */
static void test_syncookie_flags_of_the_ack_are_not_the_syn_s(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.limits.tcp_ecn = 1;
	open_full(&cfg);
	get_cookie();
	RX(&c, .flags = TH_ACK | TH_ECE | TH_CWR, .seq = 1, .ack = 1);
	accept_it();
	assert_false(tc_tcb(&c)->opt & TCB_OPT_ECN);
	tc_close(&c);
}

/* Where our timestamps are off there is nothing that would bring the other options back. */
static void test_syncookie_without_our_timestamps(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.limits.tcp_timestamps = 0;
	c.ts = c.sack = true;
	c.wscale = 1 + 9;
	open_full(&cfg);
	get_cookie();
	assert_true(!c.opt.has_wscale && !c.opt.has_ts && !c.opt.sack_ok);
	assert_int_equal(c.opt.mss, 1460);
	/* One that was not agreed on brings no options, whatever stands in it. */
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_BAD_ACK);
	tc_tx_all(&c);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = 100, .no_ts = true);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &c.conn), 0);
	assert_int_equal(tc_tcb(&c)->opt, 0);
	assert_int_equal(tc_tcb(&c)->snd_wnd, 100);
	tc_close(&c);
}

/* Who asks is told of the first cookie, and not of each: a flood sends many. */
static void test_syncookie_is_told_once(void **state)
{
	struct stack_ev ev;

	(void)state;
	open_full(NULL);
	for (int round = 0; round < 2; round++) {
		get_cookie();
		assert_false(stack_event_next(c.t.s, &ev)); /* nobody asked */
		tcp_listen_watch(c.t.s, c.listener);
		get_cookie();
		assert_true(stack_event_next(c.t.s, &ev));
		assert_int_equal(ev.mask, EV_ACCEPT | EV_COOKIES);
		assert_int_equal(ev.listener, c.listener);
	}
	tc_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_syncookie_hash_is_siphash),
		cmocka_unit_test(test_syncookie_mss_is_rounded_down),
		cmocka_unit_test(test_syncookie_of_another_is_refused),
		cmocka_unit_test(test_syncookie_lives_for_two_periods),
		cmocka_unit_test(test_syncookie_timestamp_holds_options),
		cmocka_unit_test_setup(test_syncookie_queue_full_third_ack_establishes, setup),
		cmocka_unit_test_setup(test_syncookie_no_timestamps_no_options, setup),
		cmocka_unit_test_setup(test_syncookie_timestamps_without_wscale, setup),
		cmocka_unit_test_setup(test_syncookie_third_ack_lost_data_and_fin_establish, setup),
		cmocka_unit_test_setup(test_syncookie_forged_is_reset, setup),
		cmocka_unit_test_setup(test_syncookie_none_sent_none_checked, setup),
		cmocka_unit_test_setup(test_syncookie_grows_old, setup),
		cmocka_unit_test_setup(test_syncookie_always, setup),
		cmocka_unit_test_setup(test_syncookie_accept_queue_full, setup),
		cmocka_unit_test_setup(test_syncookie_accept_queue_full_abort_on_overflow_resets,
				       setup),
		cmocka_unit_test_setup(test_syncookie_first_period_is_keyed, setup),
		cmocka_unit_test_setup(test_syncookie_flags_of_the_ack_are_not_the_syn_s, setup),
		cmocka_unit_test_setup(test_syncookie_without_our_timestamps, setup),
		cmocka_unit_test_setup(test_syncookie_is_told_once, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
