/* SPDX-License-Identifier: BSD-2-Clause */
/* tcp_urg.c: urgent data, sent and received, as Linux does it. */
#include "lib_tcp.h"

static struct conv c;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	return 0;
}

static int64_t send_oob(const char *text)
{
	return tcp_send(c.t.s, c.conn, text, strlen(text), TCP_MSG_OOB, c.t.now);
}

static int oob(uint8_t *b)
{
	return tcp_recv_oob(c.t.s, c.conn, b, false);
}

static int64_t reads(uint32_t len)
{
	char b[3000];
	int64_t n = tcp_recv(c.t.s, c.conn, b, len, 0, c.t.now);

	ts_check(&c.t);
	return n;
}

/* ---- sending ---- */

/* lib_tcp.c compares text with its pattern: "\007\016" is that for 1 and 2. */
#define TWO "\007\016"

/* RFC 9293 MUST-30, MUST-62: the pointer stands behind the urgent byte */
static void test_tcp_urg_send_pointer(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	assert_int_equal(send_oob(TWO), 2);
	TX(&c, .flags = TH_ACK | TH_PSH | TH_URG, .seq = 1, .ack = 1, .len = 2, .up = 2);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 3);
	tc_send(&c, 5);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 3, .ack = 1, .len = 5);
	tc_close(&c);
}

/* RFC 9293 MUST-31: of any length; each segment on the way says how far it still is */
static void test_tcp_urg_send_long(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tc_send(&c, 2000);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 1460);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1461, .ack = 1, .len = 540);
	tc_send(&c, 100); /* Nagle holds it */
	tc_tx_none(&c);
	c.last.seq = 2101; /* what is urgent follows, and waits for nothing */
	assert_int_equal(tcp_send(c.t.s, c.conn, &(char){(char)(2101 * 7 + 8 * 13)}, 1, TCP_MSG_OOB,
				  c.t.now),
			 1);
	TX(&c, .flags = TH_ACK | TH_PSH | TH_URG, .seq = 2001, .ack = 1, .len = 101, .up = 101);
	ts_advance(&c.t, 3000); /* and again from the beginning */
	TX(&c, .flags = TH_ACK | TH_URG, .seq = 1, .ack = 1, .len = 1460, .up = 2101);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 2102);
	tc_tx_none(&c);
	tc_close(&c);
}

/* The peer's window is shut: the probe tells of it. */
static void test_tcp_urg_send_zero_window(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = ZERO_WND);
	assert_int_equal(send_oob(TWO), 2);
	tc_tx_none(&c);
	ts_advance(&c.t, tc_tcb(&c)->rto / 1000 + 1);
	TX(&c, .flags = TH_ACK | TH_URG, .seq = 0, .ack = 1, .up = 3);
	tc_close(&c);
}

/* More than 64 KB ahead the pointer cannot say it; 65535 is as far as it goes. */
static void test_tcp_urg_send_far(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.limits.tcp_wmem[1] = 1 << 20;
	tc_accept(&c, &cfg);
	tc_tcb(&c)->cwnd = 100 * 1460;
	c.wnd = 65535;
	tc_send(&c, 70000);
	tcp_send(c.t.s, c.conn, "x", 1, TCP_MSG_OOB, c.t.now);
	TX(&c, .flags = TH_ACK | TH_URG, .seq = 1, .ack = 1, .len = 1460, .up = 65535);
	TX(&c, .flags = TH_ACK | TH_URG, .seq = 1461, .ack = 1, .len = 1460, .up = 65535);
	tcp_abort(c.t.s, c.conn, c.t.now);
	tc_close(&c);
}

/* ---- receiving ---- */

/* RFC 9293 MUST-30, MUST-32, MUST-33 */
static void test_tcp_urg_out_of_band(void **state)
{
	uint8_t b = 0;

	(void)state;
	tc_accept(&c, NULL);
	assert_int_equal(oob(&b), -E_INVAL);
	RX(&c, .flags = TH_ACK | TH_URG, .seq = 1, .ack = 1, .len = 10, .up = 5);
	assert_int_equal(tc_events(&c), EV_READABLE | EV_URGENT | EV_PRI);
	assert_true(tcp_poll(c.t.s, c.conn) & EV_PRI);
	assert_int_equal(tcp_inq(c.t.s, c.conn), 4);
	assert_int_equal(tcp_recv_oob(c.t.s, c.conn, &b, true), 1);
	assert_int_equal(oob(&b), 1);
	assert_int_equal(b, (5 * 7) & 0xff);
	assert_int_equal(oob(&b), -E_INVAL); /* once */
	assert_false(tcp_poll(c.t.s, c.conn) & EV_PRI);
	assert_false(tcp_at_mark(c.t.s, c.conn));
	assert_int_equal(reads(100), 4); /* up to it, not beyond */
	assert_true(tcp_at_mark(c.t.s, c.conn));
	assert_int_equal(tcp_inq(c.t.s, c.conn), 0);
	assert_int_equal(reads(100), 5); /* behind it */
	assert_false(tcp_at_mark(c.t.s, c.conn));
	assert_int_equal(reads(1), -E_AGAIN);
	assert_false(tc_tcb(&c)->flags & TCB_F_URG);
	tc_close(&c);
}

static void test_tcp_urg_in_line(void **state)
{
	uint8_t b;

	(void)state;
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_OOBINLINE, 1, c.t.now);
	RX(&c, .flags = TH_ACK | TH_URG, .seq = 1, .ack = 1, .len = 10, .up = 5);
	assert_int_equal(oob(&b), -E_INVAL);
	assert_int_equal(tcp_inq(c.t.s, c.conn), 10);
	tc_recv(&c, 4);
	assert_true(tcp_at_mark(c.t.s, c.conn));
	tc_recv(&c, 6);
	tc_close(&c);
}

/* The urgent byte alone does not make a socket readable, and reading finds nothing. */
static void test_tcp_urg_alone(void **state)
{
	uint8_t b;

	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK | TH_URG, .seq = 1, .ack = 1, .len = 1, .up = 1);
	assert_int_equal(tc_events(&c), EV_URGENT | EV_PRI);
	assert_false(tcp_poll(c.t.s, c.conn) & EV_READABLE);
	assert_true(tcp_at_mark(c.t.s, c.conn));
	assert_int_equal(oob(&b), 1);
	assert_int_equal(reads(10), -E_AGAIN);
	RX(&c, .flags = TH_ACK, .seq = 2, .ack = 1, .len = 3);
	tc_recv(&c, 3);
	/* not taken: it is passed over */
	RX(&c, .flags = TH_ACK | TH_URG, .seq = 5, .ack = 1, .len = 1, .up = 1);
	RX(&c, .flags = TH_ACK | TH_FIN, .seq = 6, .ack = 1);
	assert_int_equal(reads(10), 0);
	assert_int_equal(oob(&b), -E_INVAL);
	tc_close(&c);
}

/* The pointer comes before the byte: announced, awaited, taken from wherever it arrives. */
static void test_tcp_urg_pointer_first(void **state)
{
	uint8_t b;

	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK | TH_URG, .seq = 1, .ack = 1, .up = 20);
	assert_int_equal(tc_events(&c), EV_URGENT);
	assert_int_equal(oob(&b), -E_AGAIN);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 10);
	assert_int_equal(oob(&b), -E_AGAIN);
	RX(&c, .flags = TH_ACK, .seq = 18, .ack = 1, .len = 5); /* behind a hole */
	assert_true(tc_events(&c) & EV_PRI);
	assert_int_equal(oob(&b), 1);
	assert_int_equal(b, (20 * 7) & 0xff);
	tc_recv(&c, 10);
	RX(&c, .flags = TH_ACK, .seq = 11, .ack = 1, .len = 7);
	assert_int_equal(reads(100), 9);
	assert_int_equal(reads(100), 2);
	tc_close(&c);
}

/* A newer one takes the place of the old, which then is data like any other unless it is next. */
static void test_tcp_urg_again(void **state)
{
	uint8_t b;

	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK | TH_URG, .seq = 1, .ack = 1, .len = 5, .up = 5);
	RX(&c, .flags = TH_ACK | TH_URG, .seq = 6, .ack = 1, .len = 5, .up = 5);
	assert_int_equal(oob(&b), 1);
	assert_int_equal(b, (10 * 7) & 0xff);
	tc_recv(&c, 9);
	assert_true(tcp_at_mark(c.t.s, c.conn));
	RX(&c, .flags = TH_ACK | TH_URG, .seq = 11, .ack = 1, .len = 5, .up = 5);
	tc_recv(&c, 4); /* the old one, next to be read, has gone */
	assert_true(tcp_at_mark(c.t.s, c.conn));
	/* old pointers, and what was read, change nothing */
	RX(&c, .flags = TH_ACK | TH_URG, .seq = 16, .ack = 1, .len = 1, .up = 0);
	RX(&c, .flags = TH_ACK | TH_URG, .seq = 11, .ack = 1, .len = 5, .up = 2);
	ts_check(&c.t);
	tc_close(&c);
}

/* A byte that was announced and can come no more: nothing, as at the end of the stream. */
static void test_tcp_urg_never_comes(void **state)
{
	uint8_t b;

	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK | TH_URG, .seq = 1, .ack = 1, .up = 20);
	assert_int_equal(oob(&b), -E_AGAIN);
	RX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 1);
	assert_int_equal(oob(&b), 0);
	tc_close(&c);
}

/* As Linux: what has arrived is no longer made urgent, and a pointer is told once. */
static void test_tcp_urg_pointer_old(void **state)
{
	uint8_t b;

	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 100);
	tc_events(&c);
	RX(&c, .flags = TH_ACK | TH_URG, .seq = 51, .ack = 1, .len = 60, .up = 20);
	assert_int_equal(tc_events(&c), EV_READABLE);
	assert_int_equal(oob(&b), -E_INVAL);
	RX(&c, .flags = TH_ACK | TH_URG, .seq = 111, .ack = 1, .len = 10, .up = 5);
	assert_int_equal(tc_events(&c), EV_READABLE | EV_URGENT | EV_PRI);
	RX(&c, .flags = TH_ACK | TH_URG, .seq = 121, .ack = 1, .up = 20);
	assert_int_equal(tc_events(&c), EV_URGENT);
	RX(&c, .flags = TH_ACK | TH_URG, .seq = 121, .ack = 1, .up = 20);
	assert_int_equal(tc_events(&c), 0);
	RX(&c, .flags = TH_ACK, .seq = 121, .ack = 1, .len = 20);
	assert_int_equal(oob(&b), 1);
	assert_int_equal(b, (140 * 7) & 0xff);
	tc_close(&c);
}

/* Readable is what a read would give: the byte itself only where it is in line. */
static void test_tcp_urg_readable(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK | TH_URG, .seq = 1, .ack = 1, .up = 1);
	assert_false(tcp_poll(c.t.s, c.conn) & EV_READABLE);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 1);
	assert_false(tcp_poll(c.t.s, c.conn) & EV_READABLE);
	RX(&c, .flags = TH_ACK | TH_URG, .seq = 2, .ack = 1, .len = 1, .up = 9);
	assert_true(tcp_poll(c.t.s, c.conn) & EV_READABLE);
	tc_recv(&c, 1);
	RX(&c, .flags = TH_ACK, .seq = 3, .ack = 1, .len = 8);
	tc_recv(&c, 7);
	assert_false(tcp_poll(c.t.s, c.conn) & EV_READABLE);
	tcp_setopt(c.t.s, c.conn, TOPT_OOBINLINE, 1, c.t.now);
	assert_true(tcp_poll(c.t.s, c.conn) & EV_READABLE);
	tc_recv(&c, 1);
	tc_close(&c);
}

static void test_tcp_urg_peek(void **state)
{
	char b[20];

	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK | TH_URG, .seq = 1, .ack = 1, .len = 10, .up = 1);
	assert_int_equal(tcp_recv(c.t.s, c.conn, b, 20, TCP_MSG_PEEK, c.t.now), 9);
	assert_int_equal(b[0], 2 * 7);
	assert_true(tcp_at_mark(c.t.s, c.conn));
	assert_int_equal(reads(20), 9);
	tc_close(&c);
}

/* RFC 9293 MUST-66: also while our window is shut */
static void test_tcp_urg_zero_window(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.limits.tcp_rmem[1] = cfg.limits.tcp_rmem[2] = 4000;
	tc_accept(&c, &cfg);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 2000);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 2001, .wnd = ZERO_WND);
	tc_events(&c);
	RX(&c, .flags = TH_ACK | TH_URG, .seq = 2001, .ack = 1, .up = 1);
	assert_int_equal(tc_events(&c), EV_URGENT);
	tc_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_tcp_urg_send_pointer, setup),
		cmocka_unit_test_setup(test_tcp_urg_send_long, setup),
		cmocka_unit_test_setup(test_tcp_urg_send_zero_window, setup),
		cmocka_unit_test_setup(test_tcp_urg_send_far, setup),
		cmocka_unit_test_setup(test_tcp_urg_out_of_band, setup),
		cmocka_unit_test_setup(test_tcp_urg_in_line, setup),
		cmocka_unit_test_setup(test_tcp_urg_alone, setup),
		cmocka_unit_test_setup(test_tcp_urg_pointer_first, setup),
		cmocka_unit_test_setup(test_tcp_urg_again, setup),
		cmocka_unit_test_setup(test_tcp_urg_never_comes, setup),
		cmocka_unit_test_setup(test_tcp_urg_pointer_old, setup),
		cmocka_unit_test_setup(test_tcp_urg_readable, setup),
		cmocka_unit_test_setup(test_tcp_urg_peek, setup),
		cmocka_unit_test_setup(test_tcp_urg_zero_window, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
