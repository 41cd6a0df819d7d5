/* SPDX-License-Identifier: BSD-2-Clause */
/* cc_bbr.c with rate.c and pace.c: a connection over a path of known rate and round trip. */
#include "lib_tcp.h"
#include "user/core/board.h"
#include "user/core/cc.h"

static struct conv c;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	c.sack = true;
	c.wscale = 8;
	c.wnd = 65535;
	return 0;
}

/*
 * The path: what the stack sends goes through a bottleneck of @rate bytes/s and is acknowledged two
 * segments at a time, @rtt_us after it has passed.
 */
#define MAX_FLIGHT 4096u
static struct {
	uint64_t rate, rtt_us, busy_ns;
	struct {
		uint64_t at;
		uint32_t ack;
	} q[MAX_FLIGHT];
	uint32_t head, n, sent, most;
	uint32_t rcv_nxt; /* the peer's */
} path;

static void path_open(const char *cc, uint64_t rate, uint64_t rtt_us)
{
	struct stack_cfg cfg = ts_cfg();

	memset(&path, 0, sizeof(path));
	path.rate = rate;
	path.rtt_us = rtt_us;
	cfg.cc = cc;
	tc_accept(&c, &cfg);
	tc_tcb(&c)->srtt = (uint32_t)rtt_us;
	cc_of(c.t.s, tc_tcb(&c))->init(tc_tcb(&c), c.t.now);
	tcp_setopt(c.t.s, c.conn, TOPT_SNDBUF, 4000000, c.t.now);
	path.rcv_nxt = 1;
	path.busy_ns = c.t.now.ns;
}

/* Sends what the stack lets go; queues the ACKs. */
static void path_send(void)
{
	static struct out o;

	while (ts_tx(&c.t, &o)) {
		uint32_t hlen = (uint32_t)(o.l4[12] >> 4) * 4, len = o.l4_len - hlen;
		uint32_t seq = get_be32(o.l4 + 4) - c.iss, tail = (path.head + path.n) % MAX_FLIGHT;

		if (!len)
			continue;
		path.sent += len;
		if (path.busy_ns < c.t.now.ns)
			path.busy_ns = c.t.now.ns;
		path.busy_ns += (uint64_t)(len + 54) * NS_PER_S / path.rate;
		assert_true(path.n < MAX_FLIGHT);
		path.q[tail].at = path.busy_ns + path.rtt_us * 1000;
		path.q[tail].ack = seq + len;
		path.n++;
		path.most = path.n > path.most ? path.n : path.most;
	}
}

/* @ms of bulk sending; returns what was acknowledged, in bytes. */
static uint32_t path_run(uint64_t ms)
{
	struct mtime end = mtime_add_ms(c.t.now, ms);
	uint32_t before = path.rcv_nxt;

	while (mtime_before(c.t.now, end)) {
		static const uint8_t text[50000];
		struct mtime next = end;

		tcp_send(c.t.s, c.conn, text, sizeof(text), 0, c.t.now); /* as far as it fits */
		path_send();
		tc_events(&c); /* they would be due at once */
		next = mtime_min(next, stack_deadline(c.t.s));
		if (path.n)
			next = mtime_min(next, (struct mtime){path.q[path.head].at});
		c.t.now.ns = next.ns > c.t.now.ns ? next.ns : c.t.now.ns;
		stack_tick(c.t.s, c.t.now);
		path_send();
		while (path.n && path.q[path.head].at <= c.t.now.ns) {
			path.rcv_nxt = path.q[path.head].ack;
			path.head = (path.head + 1) % MAX_FLIGHT;
			path.n--;
			if (path.n % 2 == 0)
				RX(&c, .flags = TH_ACK, .seq = 1, .ack = path.rcv_nxt);
			path_send();
		}
	}
	return path.rcv_nxt - before;
}

/* bytes/s of text that the path carries */
static double text_rate(void)
{
	return (double)path.rate * 1460 / 1514;
}

static void test_bbr_finds_the_rate_and_keeps_the_queue_short(void **state)
{
	uint32_t got, bdp;

	(void)state;
	path_open("bbr", 1250000, 20000); /* 10 Mbit/s */
	bdp = (uint32_t)(text_rate() * 0.020);
	path_run(1000);
	path.most = 0;
	got = path_run(2000);
	assert_in_range(got, (uint32_t)(1.9 * text_rate()), (uint32_t)(2.01 * text_rate()));
	/* RTT of the whole time: less than a second round trip of queue */
	assert_true(path.most * 1460 < 2 * bdp + 10 * 1460);
	assert_in_range(tcp_pacing_rate(tc_tcb(&c)), (uint32_t)(0.70 * text_rate()),
			(uint32_t)(1.30 * text_rate()));
	tc_close(&c);
}

/* Every ten seconds the queue is let run empty, for 200 ms. */
static void test_bbr_probes_the_round_trip(void **state)
{
	uint32_t least = UINT32_MAX;

	(void)state;
	path_open("bbr", 1250000, 20000);
	path_run(9500);
	for (int i = 0; i < 120; i++) {
		path_run(10);
		least = tc_tcb(&c)->cwnd < least ? tc_tcb(&c)->cwnd : least;
	}
	assert_int_equal(least, 4 * 1460);
	path_run(300);
	assert_true(tc_tcb(&c)->cwnd > 15 * 1460);
	tc_close(&c);
}

/* The path becomes four times as fast: found within a few probes. And as slow again. */
static void test_bbr_follows_the_rate(void **state)
{
	uint32_t got;

	(void)state;
	path_open("bbr", 500000, 20000);
	path_run(2000);
	path.rate = 2000000;
	path_run(3000);
	got = path_run(1000);
	assert_true(got > 0.9 * text_rate());
	path.rate = 500000;
	path_run(4000); /* ten round trips, of a queue that was a quarter of this at first */
	got = path_run(1000);
	assert_in_range(got, (uint32_t)(0.9 * text_rate()), (uint32_t)(1.02 * text_rate()));
	assert_true(tcp_pacing_rate(tc_tcb(&c)) < 1.3 * text_rate());
	tc_close(&c);
}

/* Without SACK there is no scoreboard: cruder samples, the same rate. */
static void test_bbr_without_scoreboard(void **state)
{
	(void)state;
	c.sack = false;
	path_open("bbr", 1250000, 20000);
	path_run(1000);
	assert_int_equal(tcb_work_get(c.t.s, tc_tcb(&c))->seg_head, SHM_NIL);
	assert_true(path_run(2000) > 1.8 * text_rate());
	tc_close(&c);
}

/* A program that sends little does not make the path look slow. */
static void test_bbr_rate_survives_a_program_that_sends_little(void **state)
{
	const struct tcb *t;
	uint64_t before;

	(void)state;
	path_open("bbr", 1250000, 20000);
	path_run(1500);
	while (tc_tcb(&c)->tx_bytes) { /* lets it run dry */
		stack_tick(c.t.s, c.t.now);
		path_send();
		if (path.n) {
			c.t.now.ns = path.q[path.head].at > c.t.now.ns ? path.q[path.head].at
								       : c.t.now.ns;
			path.rcv_nxt = path.q[path.head].ack;
			path.head = (path.head + 1) % MAX_FLIGHT;
			path.n--;
			RX(&c, .flags = TH_ACK, .seq = 1, .ack = path.rcv_nxt);
		} else {
			ts_advance(&c.t, 1);
		}
	}
	t = tc_tcb(&c);
	assert_null(tcp_board(c.t.s, t));
	assert_int_equal(t->n_chunks, 0);
	before = tcp_pacing_rate(t);
	for (int i = 0; i < 50; i++) {
		tc_send(&c, 100);
		path_send();
		ts_advance(&c.t, 22);
		path.rcv_nxt += 100;
		path.n = 0;
		RX(&c, .flags = TH_ACK, .seq = 1, .ack = path.rcv_nxt);
	}
	assert_true(tcp_pacing_rate(t) > before / 2);
	tc_close(&c);
}

/* A buffer that is too small is no limit of the program's: what it lets through is the rate. */
static void test_bbr_full_buffer_is_not_the_program(void **state)
{
	(void)state;
	path_open("bbr", 12500000, 20000);
	tcp_setopt(c.t.s, c.conn, TOPT_SNDBUF, 60000, c.t.now);
	path_run(1000);
	assert_false(tc_tcb(&c)->flags & TCB_F_APP_LIMITED);
	/* it has left STARTUP: pacing is about that of one buffer in a round trip */
	assert_true(tcp_pacing_rate(tc_tcb(&c)) < 60000 * 50 * 1.5);
	/* now it waits for nothing, and is slow */
	tcp_setopt(c.t.s, c.conn, TOPT_SNDBUF, 4000000, c.t.now);
	for (int i = 0; i < 100; i++) {
		tc_send(&c, 1460);
		path_send();
		ts_advance(&c.t, 1);
		while (path.n && path.q[path.head].at <= c.t.now.ns) {
			path.rcv_nxt = path.q[path.head].ack;
			path.head = (path.head + 1) % MAX_FLIGHT;
			path.n--;
			RX(&c, .flags = TH_ACK, .seq = 1, .ack = path.rcv_nxt);
		}
	}
	assert_true(tc_tcb(&c)->flags & TCB_F_APP_LIMITED);
	tc_close(&c);
}

/* ---- pacing by itself ---- */

static void test_pacing_rate_of_the_socket_holds(void **state)
{
	uint32_t got;
	int64_t v;

	(void)state;
	path_open("cubic", 125000000, 1000);
	assert_int_equal(tcp_getopt(c.t.s, c.conn, TOPT_MAX_PACING, &v), 0);
	assert_int_equal(v, UINT32_MAX);
	assert_int_equal(tcp_setopt(c.t.s, c.conn, TOPT_MAX_PACING, 1000000, c.t.now), 0);
	path_run(100);
	path.most = 0;
	got = path_run(1000);
	assert_in_range(got, 950000, 1010000);
	/* a millisecond's data at a time, or two segments */
	assert_true(path.most <= 5);
	assert_int_equal(tcp_setopt(c.t.s, c.conn, TOPT_MAX_PACING, UINT32_MAX, c.t.now), 0);
	path_run(10);
	assert_true(path_run(100) > 5000000);
	tc_close(&c);
}

/* A process wakes when it is let: what a timer is late by is no loss of rate. */
static void test_pacing_makes_up_for_late_timers(void **state)
{
	struct tcb *t;
	uint32_t now;

	(void)state;
	path_open("cubic", 125000000, 1000);
	tcp_setopt(c.t.s, c.conn, TOPT_MAX_PACING, 10000000, c.t.now);
	t = tc_tcb(&c);
	now = cc_us(c.t.now);
	t->flags |= TCB_F_PACED;
	tcb_work_get(c.t.s, t)->pace_us = now - 2500;
	tcp_pace_sent(t, 10000, c.t.now); /* 1 ms of it */
	assert_int_equal(tcb_work(t)->pace_us, now - 1500);
	t->last_snd = ms_stamp(c.t.now);
	tcp_pace_sent(t, 10000, c.t.now);
	assert_int_equal(tcb_work(t)->pace_us, now - 500);
	assert_int_equal(tcp_pace_wait_us(t, c.t.now), 0);
	tcp_pace_sent(t, 15000, c.t.now);
	assert_int_equal(tcp_pace_wait_us(t, c.t.now), 1000);
	/* but only so much: else a rest would end in a burst */
	tcb_work(t)->pace_us = now - 50000;
	tcp_pace_sent(t, 10000, c.t.now);
	assert_int_equal(tcb_work(t)->pace_us, now - 3000);
	t->last_snd = 1;
	t->flags &= ~TCB_F_PACED;
	tcb_work(t)->pace_us = now - 50000;
	tcp_pace_sent(t, 10000, c.t.now);
	assert_int_equal(tcb_work(t)->pace_us, now);
	tc_close(&c);
}

/* Whatever the rate, one packet a second goes, and nothing is taken for a shut window. */
static void test_pacing_never_stops(void **state)
{
	(void)state;
	path_open("cubic", 125000000, 1000);
	tcp_setopt(c.t.s, c.conn, TOPT_MAX_PACING, 0, c.t.now);
	assert_in_range(path_run(10000), 9 * 1460, 14 * 1460);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPWinProbe), 0);
	tc_close(&c);
}

/* A packet is a millisecond's data in whole segments, two of them at least, one where that is slow.
 */
static void test_pacing_burst(void **state)
{
	static const struct {
		uint32_t rate, bytes;
	} v[] = {{UINT32_MAX, UINT32_MAX}, {149999, 1460},   {150000, 2920},	{4379999, 2920},
		 {4380000, 4380},	   {10000000, 8760}, {65535999, 64240}, {65536000, 65536}};

	(void)state;
	path_open("cubic", 125000000, 1000);
	for (uint32_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		tcp_setopt(c.t.s, c.conn, TOPT_MAX_PACING, v[i].rate, c.t.now);
		assert_int_equal(tcp_pace_burst(tc_tcb(&c), 1460), v[i].bytes);
	}
	tc_close(&c);
}

/* A stamp from before the clock of µs came round is none. */
static void test_pacing_stamp_wraps(void **state)
{
	struct tcb *t;

	(void)state;
	path_open("cubic", 125000000, 1000);
	tcp_setopt(c.t.s, c.conn, TOPT_MAX_PACING, 1000000, c.t.now);
	path_run(10);
	t = tc_tcb(&c);
	t->flags |= TCB_F_PACED;
	tcb_work(t)->pace_us = cc_us(c.t.now) + 5000000;
	assert_int_equal(tcp_pace_wait_us(t, c.t.now), 0);
	tcb_work(t)->pace_us = cc_us(c.t.now) + 2000001;
	assert_int_equal(tcp_pace_wait_us(t, c.t.now), 0);
	tcb_work(t)->pace_us = cc_us(c.t.now) + 2000000;
	assert_int_equal(tcp_pace_wait_us(t, c.t.now), 2000000);
	tcb_work(t)->pace_us = cc_us(c.t.now) - 5;
	assert_int_equal(tcp_pace_wait_us(t, c.t.now), 0);
	tcb_work(t)->pace_us = cc_us(c.t.now) + 5;
	assert_int_equal(tcp_pace_wait_us(t, c.t.now), 5);
	tc_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_bbr_finds_the_rate_and_keeps_the_queue_short, setup),
		cmocka_unit_test_setup(test_bbr_probes_the_round_trip, setup),
		cmocka_unit_test_setup(test_bbr_follows_the_rate, setup),
		cmocka_unit_test_setup(test_bbr_without_scoreboard, setup),
		cmocka_unit_test_setup(test_bbr_rate_survives_a_program_that_sends_little, setup),
		cmocka_unit_test_setup(test_bbr_full_buffer_is_not_the_program, setup),
		cmocka_unit_test_setup(test_pacing_rate_of_the_socket_holds, setup),
		cmocka_unit_test_setup(test_pacing_makes_up_for_late_timers, setup),
		cmocka_unit_test_setup(test_pacing_never_stops, setup),
		cmocka_unit_test_setup(test_pacing_burst, setup),
		cmocka_unit_test_setup(test_pacing_stamp_wraps, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
