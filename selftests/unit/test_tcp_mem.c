/* SPDX-License-Identifier: BSD-2-Clause */
/* tcp_mem.c: memory pressure begins and ends, and what it means for buffers, windows and new work.
 */
#include "lib_tcp.h"

static struct conv c;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	return 0;
}

#define DATA(s, n) RX(&c, .flags = TH_ACK, .seq = (s), .ack = 1, .len = (n))

static struct stack_cfg cfg_mem(uint32_t low, uint32_t pressure, uint32_t high)
{
	struct stack_cfg cfg = ts_cfg();

	cfg.limits.tcp_mem[0] = low;
	cfg.limits.tcp_mem[1] = pressure;
	cfg.limits.tcp_mem[2] = high;
	return cfg;
}

/* Text in order until @chunks are in use; returns the number behind it. */
static uint32_t fill(uint32_t seq, uint32_t chunks)
{
	while (tc_usage(&c).chunks < chunks) {
		assert_int_equal(DATA(seq, 1400), DROP_NONE);
		seq += 1400;
		tc_tx_all(&c);
	}
	return seq;
}

static void second_connection(void)
{
	c.rport++;
	RX(&c, .flags = TH_SYN);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &c.conn), 0);
}

static void test_tcp_mem_limits_follow_the_pool(void **state)
{
	struct stack_cfg cfg = cfg_mem(1, 2, 1u << 26);
	uint32_t n;

	(void)state;
	tc_open(&c, NULL);
	n = c.t.a.n_chunks;
	assert_int_equal(tc_usage(&c).mem_limit[0], n / 8 * 3);
	assert_int_equal(tc_usage(&c).mem_limit[1], n / 2);
	assert_int_equal(tc_usage(&c).mem_limit[2], n / 4 * 3);
	tc_close(&c);
	setup(NULL);
	tc_open(&c, &cfg);
	assert_int_equal(tc_usage(&c).mem_limit[0], 1);
	assert_int_equal(tc_usage(&c).mem_limit[1], 2);
	assert_int_equal(tc_usage(&c).mem_limit[2], n - n / 8);
	tc_close(&c);
}

static void test_tcp_mem_pressure_begins_above_and_ends_below(void **state)
{
	struct stack_cfg cfg = cfg_mem(2, 4, 100);
	uint32_t seq;

	(void)state;
	tc_accept(&c, &cfg);
	seq = fill(1, 4);
	assert_false(tc_usage(&c).mem_pressure);
	fill(seq, 5);
	assert_true(tc_usage(&c).mem_pressure);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPMemoryPressures), 1);
	ts_advance(&c.t, 300);
	tc_recv(&c, 2 * CHUNK_SIZE);
	assert_int_equal(tc_usage(&c).chunks, 3);
	assert_true(tc_usage(&c).mem_pressure);
	tc_recv(&c, CHUNK_SIZE);
	assert_false(tc_usage(&c).mem_pressure);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPMemoryPressures), 1);
	assert_in_range(ts_mib(&c.t, MIB_TcpExt_TCPMemoryPressuresChrono), 299, 301);
	tc_close(&c);
}

/* The right edge stays where it was, and then moves by no more than four segments. */
static void test_tcp_mem_pressure_windows_do_not_grow(void **state)
{
	struct stack_cfg cfg = cfg_mem(1, 2, 100);
	uint32_t edge, seq, n = 0;

	(void)state;
	cfg.limits.tcp_rmem[1] = cfg.limits.tcp_rmem[2] = 65536;
	tc_accept(&c, &cfg);
	seq = fill(1, 5); /* more than half of what the buffer takes */
	edge = tc_tcb(&c)->rcv_adv;
	for (; tcp_rcv_wnd(tc_tcb(&c)) >= 4 * 1400; seq += 1400, n++) {
		DATA(seq, 1400);
		tc_tx_all(&c);
		assert_false(seq_lt(tc_tcb(&c)->rcv_adv, edge)); /* was promised */
		edge = tc_tcb(&c)->rcv_adv;
	}
	assert_true(n > 2);
	assert_true(tcp_rcv_wnd(tc_tcb(&c)) < 4 * 1400 + 1400);
	/* read: no pressure, and the peer hears of a window that is worth it */
	tc_recv(&c, tcp_readable_bytes(c.t.s, c.conn));
	assert_int_equal(tc_tx_all(&c), 0);
	assert_true(tcp_rcv_wnd(tc_tcb(&c)) > 30000);
	tc_close(&c);
}

static void test_tcp_mem_pressure_buffers_do_not_grow(void **state)
{
	struct stack_cfg cfg = cfg_mem(1, 2, 400);
	uint32_t sndbuf, rcvbuf, seq;

	(void)state;
	c.wscale = 1;
	tc_accept(&c, &cfg);
	seq = fill(1, 3);
	sndbuf = tc_tcb(&c)->sndbuf;
	rcvbuf = tc_tcb(&c)->rcvbuf;
	tc_tcb(&c)->cwnd = 1 << 18;
	tcp_sndbuf_tune(c.t.s, tc_tcb(&c));
	assert_int_equal(tc_tcb(&c)->sndbuf, sndbuf);
	/* read at once what comes, far more than the buffer in a round trip */
	for (int i = 0; i < 100; i++, seq += 1400) {
		DATA(seq, 1400);
		tc_recv(&c, 1400);
		tc_tx_all(&c);
	}
	assert_true(tc_usage(&c).mem_pressure);
	assert_int_equal(tc_tcb(&c)->rcvbuf, rcvbuf);
	tc_recv(&c, tcp_readable_bytes(c.t.s, c.conn));
	for (int i = 0; i < 100; i++, seq += 1400) {
		DATA(seq, 1400);
		tc_recv(&c, 1400);
		tc_tx_all(&c);
	}
	assert_true(tc_tcb(&c)->rcvbuf > rcvbuf);
	tcp_sndbuf_tune(c.t.s, tc_tcb(&c));
	assert_true(tc_tcb(&c)->sndbuf > sndbuf);
	tc_close(&c);
}

/* A writer has tcp_wmem[1] under pressure, tcp_wmem[0] at the limit, and is woken by memory alone.
 */
static void test_tcp_mem_pressure_writer_waits_and_is_woken(void **state)
{
	struct stack_cfg cfg = cfg_mem(2, 4, 12);
	static uint8_t b[1 << 20];
	uint32_t reader;

	(void)state;
	cfg.limits.tcp_wmem[1] = 8192;
	tc_accept(&c, &cfg);
	reader = c.conn;
	fill(1, 5);
	second_connection();
	tcp_setopt(c.t.s, c.conn, TOPT_SNDBUF, 65536, c.t.now);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = ZERO_WND);
	tc_events(&c);
	assert_int_equal(tcp_send(c.t.s, c.conn, b, sizeof(b), 0, c.t.now), 8192);
	assert_int_equal(tcp_send(c.t.s, c.conn, b, sizeof(b), 0, c.t.now), -E_AGAIN);
	assert_false(tcp_poll(c.t.s, c.conn) & EV_WRITABLE);
	ts_advance(&c.t, 40);
	assert_int_equal(tc_events(&c) & EV_WRITABLE, 0);
	assert_true(tcp_recv(c.t.s, reader, b, sizeof(b), 0, c.t.now) > 0);
	ts_advance(&c.t, 110); /* no ACK comes */
	assert_int_equal(tc_events(&c) & EV_WRITABLE, EV_WRITABLE);
	assert_true(tcp_poll(c.t.s, c.conn) & EV_WRITABLE);
	/* up to the limit, whatever the buffer */
	assert_int_equal(tcp_send(c.t.s, c.conn, b, sizeof(b), 0, c.t.now), 10 * CHUNK_SIZE);
	assert_int_equal(tc_usage(&c).chunks, 12);
	assert_int_equal(tcp_send(c.t.s, c.conn, b, sizeof(b), 0, c.t.now), -E_AGAIN);
	while (ts_tx(&c.t, &c.o))
		;
	tc_close(&c);
}

static void test_tcp_mem_high_sheds_new_work(void **state)
{
	struct stack_cfg cfg = cfg_mem(2, 4, 6);
	struct tcp_addr_pair a = {.remote = ip(PEER_IP), .remote_port = 0x5000};
	uint32_t conn;

	(void)state;
	tc_accept(&c, &cfg);
	fill(1, 6);
	c.rport++;
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_NO_MEMORY);
	tc_tx_none(&c);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_ListenDrops), 1);
	assert_int_equal(tcp_connect(c.t.s, &a, 0, c.t.now, &conn), -E_NOBUFS);
	c.rport--;
	tc_recv(&c, CHUNK_SIZE);
	tc_tx_all(&c);
	c.rport++;
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_NONE);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	tc_close(&c);
}

/* What is not in order is dropped at the limit, and makes room for what is. */
static void test_tcp_mem_high_out_of_order_goes_first(void **state)
{
	struct stack_cfg cfg = cfg_mem(2, 4, 6);
	uint32_t seq, gap;

	(void)state;
	tc_accept(&c, &cfg);
	seq = fill(1, 4);
	DATA(seq + 3000, 1400);
	tc_tx_all(&c);
	gap = seq + 9000;
	DATA(gap, 1400); /* in a chunk of its own: six */
	tc_tx_all(&c);
	assert_int_equal(tc_usage(&c).chunks, 6);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_OfoPruned), 0);
	/* nearer than the other: that one goes, which leaves a chunk for this one */
	DATA(seq + 5000, 1400);
	tc_tx_all(&c);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_OfoPruned), 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_PruneCalled), 1);
	/* farther: it is the one that is dropped */
	DATA(gap, 1400);
	tc_tx_all(&c);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_RcvPruned), 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPOFODrop), 1);
	/* the gap closes over what was kept, all of it in order */
	DATA(seq, 3000);
	tc_tx_all(&c);
	assert_int_equal(tcp_readable_bytes(c.t.s, c.conn), seq - 1 + 3000 + 1400);
	tc_recv(&c, seq - 1 + 4400);
	tc_close(&c);
}

/* Text in order that finds no room takes that of what is behind a hole. */
static void test_tcp_mem_in_order_displaces_out_of_order(void **state)
{
	struct stack_cfg cfg = cfg_mem(100, 200, 448);
	uint32_t seq;

	(void)state;
	cfg.limits.tcp_rmem[1] = cfg.limits.tcp_rmem[2] = 8u << 20;
	c.wscale = 8;
	tc_accept(&c, &cfg);
	seq = fill(1, 190);
	DATA(seq + 2000000, 1400);
	tc_tx_all(&c);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPOFOQueue), 1);
	seq = fill(seq, 480);
	while (!ts_mib(&c.t, MIB_TcpExt_OfoPruned)) {
		DATA(seq, 1400);
		seq += 1400;
		tc_tx_all(&c);
	}
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_PruneCalled), 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPRcvQDrop), 0);
	assert_int_equal(tc_tcb(&c)->ooo_bytes, 0);
	assert_int_equal(tc_usage(&c).chunks, 480);
	tc_recv(&c, seq - 1);
	tc_tx_all(&c);
	tc_close(&c);
}

/* The last chunks are for empty queues: everybody can go on. */
static void test_tcp_mem_last_chunks_are_for_empty_queues(void **state)
{
	struct stack_cfg cfg = cfg_mem(100, 200, 448);
	uint32_t seq = 1, first, had;

	(void)state;
	cfg.limits.tcp_rmem[1] = cfg.limits.tcp_rmem[2] = 8u << 20;
	c.wscale = 8;
	tc_accept(&c, &cfg);
	first = c.conn;
	second_connection();
	c.rport--;
	c.conn = first;
	c.iss = tc_tcb(&c)->iss;
	while (!ts_mib(&c.t, MIB_TcpExt_TCPRcvQDrop)) {
		DATA(seq, 1400);
		seq += 1400;
		tc_tx_all(&c);
	}
	assert_int_equal(tc_usage(&c).chunks, 480);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_RcvPruned), 1);
	had = tcp_readable_bytes(c.t.s, first);
	DATA(1 + had, 1400);
	tc_tx_all(&c);
	assert_int_equal(tcp_readable_bytes(c.t.s, first), had);
	/* the other one receives as if nothing were */
	c.rport++;
	c.conn = first + 1;
	c.iss = tc_tcb(&c)->iss;
	DATA(1, 1400);
	tc_tx_all(&c);
	assert_int_equal(c.last.ack, 1401);
	assert_int_equal(tc_usage(&c).chunks, 481);
	tc_recv(&c, 1400);
	/* all that was acknowledged is there */
	c.rport--;
	c.conn = first;
	c.iss = tc_tcb(&c)->iss;
	tc_recv(&c, had);
	tc_tx_all(&c);
	DATA(1 + had, 1400);
	tc_tx_all(&c);
	tc_recv(&c, 1400);
	tc_close(&c);
}

/*
 * However large the pool: a third above the limit is the end. What was promised beyond is not
 * taken, which a window of 0 says, and reading opens it at once.
 */
static void test_tcp_mem_promise_without_memory_shuts_the_window(void **state)
{
	struct stack_cfg cfg = cfg_mem(10, 20, 30);
	uint32_t seq = 1, had;

	(void)state;
	cfg.limits.tcp_rmem[1] = cfg.limits.tcp_rmem[2] = 8u << 20;
	c.wscale = 8;
	tc_accept(&c, &cfg);
	while (!ts_mib(&c.t, MIB_TcpExt_TCPRcvQDrop)) {
		DATA(seq, 1400);
		seq += 1400;
		tc_tx_all(&c);
	}
	assert_int_equal(tc_usage(&c).chunks, 35);
	had = tcp_readable_bytes(c.t.s, c.conn);
	assert_int_equal(c.last.ack, 1 + had);
	assert_int_equal(c.last.wnd, 0);
	assert_int_equal(DATA(seq, 1400), DROP_OUT_OF_WINDOW);
	tc_tx_all(&c);
	assert_int_equal(c.last.wnd, 0);
	tc_recv(&c, had);
	tc_tx_all(&c);
	assert_int_equal(c.last.ack, 1 + had);
	assert_true(c.last.wnd > 0);
	DATA(1 + had, 1400);
	tc_recv(&c, 1400);
	tc_close(&c);
}

/* close() with much to send while memory is out: a reset, as in Linux */
static void test_tcp_mem_high_orphan_aborted(void **state)
{
	struct stack_cfg cfg = cfg_mem(2, 4, 6);
	static uint8_t b[8192];
	uint32_t reader;

	(void)state;
	tc_accept(&c, &cfg);
	reader = c.conn;
	second_connection();
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = ZERO_WND);
	assert_int_equal(tcp_send(c.t.s, c.conn, b, sizeof(b), 0, c.t.now), sizeof(b));
	tcp_close(c.t.s, c.conn, c.t.now);
	tc_tx_none(&c);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPAbortOnMemory), 0);
	/* others take the memory: its next probe is its end */
	c.rport--;
	c.conn = reader;
	c.iss = tc_tcb(&c)->iss;
	fill(1, 7);
	c.rport++;
	while (ts_tx(&c.t, &c.o))
		;
	ts_advance(&c.t, 1500);
	assert_true(ts_tx(&c.t, &c.o));
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPAbortOnMemory), 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPAbortOnTimeout), 0);
	assert_int_equal(tc_usage(&c).orphans, 0);
	tc_close(&c);
}

/* Each bound by its numbers, with @t and the limits as they never are together. */
static void test_tcp_mem_bounds(void **state)
{
	struct stack_cfg cfg = cfg_mem(10, 20, 30);
	struct tcb *t, keep;
	struct stack *s;
	uint32_t used, tail, max[3];

	(void)state;
	tc_accept(&c, &cfg);
	fill(1, 3);
	s = c.t.s;
	t = tc_tcb(&c);
	keep = *t;
	memcpy(max, s->mem_limit, sizeof(max));
	used = tc_usage(&c).chunks;
	tail = tcp_buf_tail_room(s, t);
	t->rcv_mss = 1000;
	t->rcvbuf = 40000;
	assert_int_equal(tcp_mem_window_tight(s, t, 10000), 10000);
	assert_int_equal(tcp_mem_window_tight(s, t, 9999), 4000);
	assert_int_equal(tcp_mem_window_tight(s, t, 3999), 3999);
	/* Under pressure, a share: what is in order counts, too. */
	s->mem_pressure = true;
	t->n_chunks = 30;
	t->ooo_bytes = t->rx_bytes = cfg.limits.tcp_rmem[0] / 2;
	assert_false(tcp_mem_out_of_order(s, t));
	t->ooo_bytes--;
	assert_true(tcp_mem_out_of_order(s, t));
	s->mem_pressure = false;
	t->ooo_bytes = keep.ooo_bytes;
	t->rx_bytes = keep.rx_bytes;
	/* At the limit, and one below it. */
	s->mem_limit[2] = used + 1;
	assert_int_equal(tcp_mem_sndbuf(s, t), t->sndbuf);
	s->mem_limit[2] = used;
	assert_int_equal(tcp_mem_in_order(s, t), tail + CHUNK_SIZE * ((used / 3 + 1) / 2));
	assert_int_equal(tcp_mem_window_tight(s, t, 20000), tcp_min(4000, tcp_mem_in_order(s, t)));
	assert_int_equal(tcp_mem_sndbuf(s, t), cfg.limits.tcp_wmem[0]);
	assert_int_equal(tcp_mem_snd_room(s, t),
			 tcp_min(cfg.limits.tcp_wmem[0], CHUNK_SIZE * ((used / 3 + 1) / 2)));
	/* Orphans: above the limit, and above what costs nothing. */
	t->flags |= TCB_F_CLOSED;
	t->tx_bytes = 4609;
	assert_false(tcp_mem_orphan_over(s, t));
	s->mem_limit[2] = used - 1;
	assert_true(tcp_mem_orphan_over(s, t));
	t->tx_bytes = 4608;
	assert_false(tcp_mem_orphan_over(s, t));
	t->tx_bytes = 4609;
	t->flags = keep.flags;
	assert_false(tcp_mem_orphan_over(s, t));
	*t = keep;
	memcpy(s->mem_limit, max, sizeof(max));
	tc_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_tcp_mem_limits_follow_the_pool, setup),
		cmocka_unit_test_setup(test_tcp_mem_bounds, setup),
		cmocka_unit_test_setup(test_tcp_mem_pressure_begins_above_and_ends_below, setup),
		cmocka_unit_test_setup(test_tcp_mem_pressure_windows_do_not_grow, setup),
		cmocka_unit_test_setup(test_tcp_mem_pressure_buffers_do_not_grow, setup),
		cmocka_unit_test_setup(test_tcp_mem_pressure_writer_waits_and_is_woken, setup),
		cmocka_unit_test_setup(test_tcp_mem_high_sheds_new_work, setup),
		cmocka_unit_test_setup(test_tcp_mem_high_out_of_order_goes_first, setup),
		cmocka_unit_test_setup(test_tcp_mem_in_order_displaces_out_of_order, setup),
		cmocka_unit_test_setup(test_tcp_mem_last_chunks_are_for_empty_queues, setup),
		cmocka_unit_test_setup(test_tcp_mem_promise_without_memory_shuts_the_window, setup),
		cmocka_unit_test_setup(test_tcp_mem_high_orphan_aborted, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
