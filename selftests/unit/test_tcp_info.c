// SPDX-License-Identifier: BSD-2-Clause
/* tcp_info.c: what TCP_INFO and `tandem ss` say is what the connection is like. */
#include "lib_tcp.h"
#include "user/core/board.h"
#include "user/core/tcp_info.h"

static struct conv c;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	c.sack = c.ts = true;
	c.wscale = 8;
	return 0;
}

#define SEG 1448u
#define AT(i) (1 + SEG * (i))
#define SACK(n, from, to) RX(&c, .flags = TH_ACK, .seq = 1, .ack = (n), .sack = {{(from), (to)}})

static struct tcp_info_out info(void)
{
	struct tcp_info_out o;

	assert_true(tcp_info(c.t.s, c.conn, c.t.now, &o));
	return o;
}

static void test_tcp_info_of_an_idle_connection(void **state)
{
	struct tcp_info_out o;

	(void)state;
	tc_accept(&c, NULL);
	ts_advance(&c.t, 1500);
	o = info();
	assert_int_equal(o.state, 1);
	assert_int_equal(o.ca_state, TCP_INFO_OPEN);
	assert_int_equal(o.opt, TCB_OPT_WSCALE | TCB_OPT_TS | TCB_OPT_SACK);
	assert_int_equal(o.snd_wscale, 7);
	assert_int_equal(o.snd_mss, SEG);
	assert_int_equal(o.advmss, SEG);
	assert_int_equal(o.pmtu, 1500);
	assert_int_equal(o.snd_cwnd, 10);
	assert_true(o.snd_ssthresh == INT32_MAX);
	assert_int_equal(o.unacked, 0);
	assert_int_equal(o.last_ack_recv, 1500);
	assert_int_equal(o.timer, TCP_INFO_TIMER_NONE);
	tcp_setopt(c.t.s, c.conn, TOPT_KEEPALIVE, 1, c.t.now);
	tcp_setopt(c.t.s, c.conn, TOPT_KEEPIDLE, 10, c.t.now);
	o = info();
	assert_int_equal(o.timer, TCP_INFO_TIMER_KEEPALIVE);
	assert_int_equal(o.timer_ms, 8500);
	assert_false(tcp_info(c.t.s, 63, c.t.now, &o));
	assert_true(o.pacing_rate == UINT64_MAX && o.max_pacing_rate == UINT64_MAX);
	tcp_setopt(c.t.s, c.conn, TOPT_MAX_PACING, 123456, c.t.now);
	o = info();
	assert_true(o.pacing_rate == 123456 && o.max_pacing_rate == 123456);
	tcp_setopt(c.t.s, c.conn, TOPT_MAX_PACING, UINT32_MAX, c.t.now); /* none, as in Linux */
	assert_true(info().max_pacing_rate == UINT64_MAX);
	tc_close(&c);
}

static void test_tcp_info_of_losses(void **state)
{
	struct tcp_info_out o;

	(void)state;
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_SNDBUF, 200000, c.t.now);
	tc_tcb(&c)->srtt = 20000;
	tc_send(&c, 12 * SEG);
	tc_tx_all(&c);
	o = info();
	assert_int_equal(o.unacked, 10);
	assert_int_equal(o.notsent_bytes, 2 * SEG);
	assert_int_equal(o.timer, TCP_INFO_TIMER_ON);
	assert_in_range(o.timer_ms, 1, 300);
	ts_advance(&c.t, 20);
	SACK(1, AT(1), AT(3));
	o = info();
	assert_int_equal(o.ca_state, TCP_INFO_DISORDER);
	assert_int_equal(o.sacked, 2);
	assert_int_equal(o.lost, 0);
	SACK(1, AT(1), AT(5));
	o = info();
	assert_int_equal(o.ca_state, TCP_INFO_RECOVERY);
	assert_int_equal(o.sacked, 4);
	assert_int_equal(o.lost, 1);
	assert_int_equal(o.retrans, 0);
	tc_tx_all(&c);
	o = info();
	assert_int_equal(o.lost, 0);
	assert_int_equal(o.retrans, 1);
	assert_int_equal(o.total_retrans, 1);
	assert_true(o.bytes_retrans == SEG && o.bytes_sent == o.data_segs_out * (uint64_t)SEG);
	assert_int_equal(o.delivered, 1 + 4);
	assert_int_equal(o.last_ack_recv, 0);
	assert_int_equal(o.last_data_recv, 20); /* none came */
	for (int i = 0; i < 20; i++) {
		ts_advance(&c.t, 100);
		tc_tx_all(&c);
	}
	o = info();
	assert_int_equal(o.ca_state, TCP_INFO_LOSS);
	assert_true(o.retransmits >= 1 && o.retransmits == o.backoff);
	assert_true(o.rto >= 400000);
	assert_true(o.total_rto >= 1 && o.total_rto_recoveries == 1);
	assert_in_range(o.total_rto_time, 1000, 2000);
	assert_true(o.busy_time == 2020000);
	tc_close(&c);
}

/* What lasts is what has been, while nothing is under way. */
static void test_tcp_info_of_what_has_been(void **state)
{
	struct tcp_info_out o;

	(void)state;
	tc_accept(&c, NULL);
	o = info();
	assert_int_equal(o.delivered, 1); /* the SYN-ACK */
	assert_true(!o.busy_time && !o.data_segs_in && !o.data_segs_out && !o.bytes_sent);
	tc_send(&c, 2 * SEG);
	tc_tx_all(&c);
	ts_advance(&c.t, 30);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = AT(2), .len = 10);
	ts_advance(&c.t, 100);
	tc_tx_all(&c);
	/* Out of order, and what was missing. */
	RX(&c, .flags = TH_ACK, .seq = 21, .ack = AT(2), .len = 10);
	RX(&c, .flags = TH_ACK, .seq = 31, .ack = AT(2), .len = 10);
	RX(&c, .flags = TH_ACK, .seq = 11, .ack = AT(2), .len = 10);
	tc_tx_all(&c);
	ts_advance(&c.t, 1000);
	RX(&c, .flags = TH_ACK, .seq = 41, .ack = AT(2));
	o = info();
	assert_int_equal(o.data_segs_in, 4);
	assert_int_equal(o.data_segs_out, 2);
	assert_int_equal(o.delivered, 3);
	assert_true(o.bytes_sent == 2 * SEG && !o.bytes_retrans);
	assert_true(o.busy_time == 30000 && !o.rwnd_limited && !o.sndbuf_limited);
	assert_int_equal(o.rcv_ooopack, 2);
	assert_int_equal(o.last_data_recv, 1000);
	assert_int_equal(o.last_ack_recv, 0);
	assert_in_range(o.min_rtt, 1, 30000);
	/* Sent again for nothing, as the peer says. */
	tc_send(&c, SEG);
	tc_tx_all(&c);
	ts_advance(&c.t, 1000);
	tc_tx_all(&c);
	RX(&c, .flags = TH_ACK, .seq = 41, .ack = AT(3));
	RX(&c, .flags = TH_ACK, .seq = 41, .ack = AT(3), .sack = {{AT(2), AT(3)}});
	o = info();
	assert_int_equal(o.dsack_dups, 1);
	assert_int_equal(o.delivered, 5); /* as Linux counts it */
	assert_true(o.bytes_retrans >= SEG && o.bytes_sent == 3 * SEG + o.bytes_retrans);
	/* The least round trip is forgotten after five minutes. */
	ts_advance(&c.t, 301000);
	tc_send(&c, SEG);
	tc_tx_all(&c);
	ts_advance(&c.t, 150);
	RX(&c, .flags = TH_ACK, .seq = 41, .ack = AT(4));
	assert_in_range(info().min_rtt, 149000, 151000);
	tc_close(&c);
}

/* Also where a timer of before is still there, and somebody has yet to be told. */
static void test_tcp_info_of_question_and_answer(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	for (uint32_t i = 0; i < 10; i++) {
		RX(&c, .flags = TH_ACK, .seq = 1 + 10 * i, .ack = 1 + 10 * i, .len = 10);
		tc_recv(&c, 10);
		ts_advance(&c.t, 5);
		tc_send(&c, 10);
		tc_tx_all(&c);
		ts_advance(&c.t, 20);
	}
	RX(&c, .flags = TH_ACK, .seq = 101, .ack = 101);
	ts_advance(&c.t, 500);
	assert_true(info().busy_time == 200000);
	tc_close(&c);
}

static void test_tcp_info_of_reordering(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_SNDBUF, 200000, c.t.now);
	tc_send(&c, 10 * SEG);
	tc_tx_all(&c);
	ts_advance(&c.t, 20);
	SACK(1, AT(1), AT(2));
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = AT(2));
	assert_int_equal(info().reord_seen, 1);
	SACK(AT(2), AT(5), AT(6));
	assert_int_equal(info().reord_seen, 1);
	SACK(AT(2), AT(3), AT(4));
	assert_int_equal(info().reord_seen, 2);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = AT(2),
	   .sack = {{AT(4), AT(5)}, {AT(2), AT(3)}, {AT(3), AT(4)}});
	assert_int_equal(info().reord_seen, 3); /* both at one time */
	tc_close(&c);
}

static void test_tcp_info_of_what_sending_waits_for(void **state)
{
	struct tcp_info_out o;

	(void)state;
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_SNDBUF, 200000, c.t.now);
	/* for the window */
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = 20); /* 2560 bytes */
	tc_send(&c, 4 * SEG);
	tc_tx_all(&c);
	ts_advance(&c.t, 50);
	o = info();
	assert_true(o.busy_time == 50000 && o.rwnd_limited == 50000 && !o.sndbuf_limited);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = AT(1), .wnd = 1000);
	tc_tx_all(&c);
	ts_advance(&c.t, 10);
	o = info();
	assert_true(o.busy_time == 60000 && o.rwnd_limited == 50000);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = AT(4), .wnd = 1000);
	ts_advance(&c.t, 500);
	o = info();
	assert_true(o.busy_time == 60000 && o.rwnd_limited == 50000);
	/* for room in the buffer: all is out, and the program has more */
	tcp_setopt(c.t.s, c.conn, TOPT_SNDBUF, 8 * SEG, c.t.now);
	while (tcp_send(c.t.s, c.conn, (char[SEG]){0}, SEG, 0, c.t.now) > 0)
		;
	while (ts_tx(&c.t, &c.o))
		;
	ts_advance(&c.t, 70);
	o = info();
	assert_true(o.busy_time == 130000 && o.sndbuf_limited == 70000);
	tc_close(&c);
}

static void test_tcp_info_of_a_shut_window(void **state)
{
	struct tcp_info_out o;

	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = ZERO_WND);
	tc_send(&c, 100);
	tc_tx_all(&c);
	o = info();
	assert_int_equal(o.snd_wnd, 0);
	assert_int_equal(o.notsent_bytes, 100);
	assert_int_equal(o.timer, TCP_INFO_TIMER_PERSIST);
	ts_advance(&c.t, 5000);
	tc_tx_all(&c);
	assert_true(info().probes >= 1);
	tc_close(&c);
}

/* The daemon asks about what an application may have written anything into. */
static void test_tcp_info_of_anything(void **state)
{
	static uint64_t mem[CHUNK_SIZE / 8];
	struct tcp_info_out o;
	struct tcb_copy any;
	uint64_t x = 1;

	(void)state;
	for (int round = 0; round < 20000; round++) {
		uint8_t *p = (uint8_t *)&any;

		for (size_t i = 0; i < sizeof(any); i++, x = x * 6364136223846793005u + 1442695u)
			p[i] = x >> 62 == 3 ? 0xff : x >> 62 == 2 ? 0 : (uint8_t)(x >> 40);
		any.t.work =
			round & 16 ? (int32_t)(sizeof(any.t) / 8) : 0; /* as tcb_peek() leaves it */
		for (size_t i = 0; i < CHUNK_SIZE / 8; i++)
			mem[i] = x += x << 13 | 7;
		tcp_info_of(&any.t, round & 4 ? (struct board *)(void *)mem : NULL,
			    round & 32 ? &any.r : NULL, round & 8 ? 1500 : (uint32_t)x, (struct mtime){x}, &o);
		assert_in_range(o.state, 1, 11);
	}
}

#define T(name) cmocka_unit_test_setup(name, setup)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_tcp_info_of_an_idle_connection),
		T(test_tcp_info_of_losses),
		T(test_tcp_info_of_what_has_been),
		T(test_tcp_info_of_question_and_answer),
		T(test_tcp_info_of_reordering),
		T(test_tcp_info_of_what_sending_waits_for),
		T(test_tcp_info_of_a_shut_window),
		T(test_tcp_info_of_anything),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
