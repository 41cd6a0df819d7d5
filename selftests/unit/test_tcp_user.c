/* SPDX-License-Identifier: BSD-2-Clause */
/* tcp_user.c: what the calls return, when, and what they make the connection do. */
#include "lib_tcp.h"

static struct conv c;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	return 0;
}

/* ---- tcp_send(), tcp_recv() ---- */

static void test_tcp_send_partial_then_eagain(void **state)
{
	uint8_t b[20000] = {0};
	int64_t n;

	(void)state;
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_SNDBUF, 8000, c.t.now);
	n = tcp_send(c.t.s, c.conn, b, sizeof(b), 0, c.t.now);
	assert_int_equal(n, 8000);
	assert_int_equal(tcp_send(c.t.s, c.conn, b, 1, 0, c.t.now), -E_AGAIN);
	assert_int_equal(tcp_send(c.t.s, c.conn, b, 0, 0, c.t.now), 0);
	assert_int_equal(tcp_unsent_bytes(c.t.s, c.conn), 8000);
	tc_close(&c);
}

/* What it says send() takes, and who is told that there is none hears of it. */
static void test_tcp_send_room_is_what_send_takes(void **state)
{
	uint8_t b[20000] = {0};
	int64_t room;

	(void)state;
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_SNDBUF, 6000, c.t.now);
	tc_events(&c);
	for (int i = 0; i < 2; i++) {
		room = tcp_send_room(c.t.s, c.conn);
		assert_int_equal(room, i ? 5000 : 6000);
		assert_int_equal(tcp_send(c.t.s, c.conn, b, i ? 5000 : 1000, 0, c.t.now),
				 i ? 5000 : 1000);
	}
	assert_int_equal(tcp_send_room(c.t.s, c.conn), 0);
	while (ts_tx(&c.t, &c.o))
		;
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 6001);
	assert_int_equal(tc_events(&c), EV_WRITABLE);
	assert_true(tcp_send_room(c.t.s, c.conn) > 0);
	tcp_shutdown(c.t.s, c.conn, false, true, c.t.now);
	assert_int_equal(tcp_send_room(c.t.s, c.conn), -E_PIPE);
	RX(&c, .flags = TH_RST, .seq = 1);
	assert_int_equal(tcp_send_room(c.t.s, c.conn), -E_CONNRESET);
	tc_close(&c);
}

static void test_tcp_send_without_memory_is_woken(void **state)
{
	struct stack_cfg cfg = ts_cfg();
	uint8_t *b = calloc(1, 4u << 20);
	uint32_t other;

	(void)state;
	for (int i = 0; i < 3; i++)
		cfg.limits.tcp_wmem[i] = 4u << 20;
	tc_accept(&c, &cfg);
	other = c.conn;
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = ZERO_WND);
	c.rport++;
	c.wnd = 65535;
	RX(&c, .flags = TH_SYN);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &c.conn), 0);
	tc_events(&c);
	/* all memory that writers may have into the first one's send queue: its window is shut */
	assert_int_equal(tcp_send(c.t.s, other, b, 4u << 20, 0, c.t.now),
			 c.t.a.n_chunks / 4 * 3 * CHUNK_SIZE); /* tcp_mem[2] */
	assert_int_equal(tcp_send(c.t.s, other, b, 4u << 20, 0, c.t.now),
			 c.t.a.n_chunks / 8 * CHUNK_SIZE);
	assert_int_equal(tcp_send(c.t.s, c.conn, b, 10, 0, c.t.now), -E_AGAIN);
	ts_advance(&c.t, 50);
	assert_int_equal(tc_events(&c), 0);
	tcp_abort(c.t.s, other, c.t.now);
	ts_advance(&c.t, 50);
	assert_int_equal(tc_events(&c) & EV_WRITABLE, EV_WRITABLE);
	while (ts_tx(&c.t, &c.o))
		;
	tc_send(&c, 10);
	free(b);
	tc_close(&c);
}

static void test_tcp_send_after_shutdown_epipe(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tcp_shutdown(c.t.s, c.conn, false, true, c.t.now);
	assert_int_equal(tcp_send(c.t.s, c.conn, "x", 1, 0, c.t.now), -E_PIPE);
	tc_close(&c);
}

static void test_tcp_send_syn_sent_eagain_then_writable(void **state)
{
	(void)state;
	tc_connect_syn(&c, NULL);
	assert_int_equal(tcp_send(c.t.s, c.conn, "x", 1, 0, c.t.now), -E_AGAIN);
	assert_int_equal(tcp_recv(c.t.s, c.conn, &(char){0}, 1, 0, c.t.now), -E_AGAIN);
	assert_int_equal(tcp_poll(c.t.s, c.conn), 0);
	RX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	assert_int_equal(tc_events(&c), EV_CONNECTED | EV_WRITABLE);
	tc_close(&c);
}

static void test_tcp_recv_peek_and_trunc(void **state)
{
	char b[8] = {0}, p[8] = {0};

	(void)state;
	tc_accept(&c, NULL);
	assert_int_equal(tcp_recv(c.t.s, c.conn, b, 8, 0, c.t.now), -E_AGAIN);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 8);
	assert_int_equal(tc_events(&c), EV_READABLE);
	assert_int_equal(tcp_recv(c.t.s, c.conn, p, 4, TCP_MSG_PEEK, c.t.now), 4);
	assert_int_equal(tcp_recv(c.t.s, c.conn, b, 4, 0, c.t.now), 4);
	assert_memory_equal(p, b, 4);
	assert_int_equal(tcp_recv(c.t.s, c.conn, NULL, 3, TCP_MSG_TRUNC, c.t.now), 3);
	tc_recv(&c, 1);
	assert_int_equal(tcp_readable_bytes(c.t.s, c.conn), 0);
	tc_close(&c);
}

static void test_tcp_rcvlowat_delays_readable(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_RCVLOWAT, 100, c.t.now);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 50);
	assert_int_equal(tc_events(&c), 0);
	assert_false(tcp_poll(c.t.s, c.conn) & EV_READABLE);
	RX(&c, .flags = TH_ACK, .seq = 51, .ack = 1, .len = 50);
	assert_int_equal(tc_events(&c), EV_READABLE);
	tc_close(&c);
}

/* ---- tcp_shutdown(), tcp_close() ---- */

static void test_tcp_shutdown_read_gives_eof_still_takes(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	assert_int_equal(tcp_shutdown(c.t.s, c.conn, true, false, c.t.now), 0);
	assert_int_equal(tc_events(&c), EV_READABLE | EV_RDHUP);
	tc_recv(&c, 0);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 5);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 6);
	tc_recv(&c, 5);
	tc_close(&c);
}

static void test_tcp_shutdown_errors(void **state)
{
	(void)state;
	tc_connect_syn(&c, NULL);
	assert_int_equal(tcp_shutdown(c.t.s, 99999, false, true, c.t.now), -E_BADF);
	assert_int_equal(tcp_shutdown(c.t.s, c.conn, false, true, c.t.now), 0);
	tc_state(&c, TCP_CLOSED);
	assert_int_equal(tcp_shutdown(c.t.s, c.conn, false, true, c.t.now), -E_NOTCONN);
	tc_tx_none(&c);
	tc_close(&c);
}

static void test_tcp_close_with_unread_data_resets(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 5);
	tc_tx_all(&c);
	tcp_close(c.t.s, c.conn, c.t.now);
	ts_check(&c.t);
	TX(&c, .flags = TH_RST | TH_ACK, .seq = 1, .ack = 6);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPAbortOnClose), 1);
	tc_close(&c);
}

static void test_tcp_close_linger_zero_resets(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_LINGER, 0, c.t.now);
	tc_send(&c, 5);
	tcp_close(c.t.s, c.conn, c.t.now);
	TX(&c, .flags = TH_RST | TH_ACK, .seq = 1, .ack = 1);
	tc_tx_none(&c);
	tc_close(&c);
}

static void test_tcp_close_sends_all_that_is_queued(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tcp_setopt(c.t.s, c.conn, TOPT_SNDBUF, 100000, c.t.now);
	tc_send(&c, 20 * 1460);
	tcp_close(c.t.s, c.conn, c.t.now);
	assert_int_equal(tc_tx_all(&c), 10);
	for (uint32_t i = 1; i <= 10; i++) {
		RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1 + 2 * i * 1460);
		tc_tx_all(&c);
	}
	assert_int_equal(c.last.flags & TH_FIN, TH_FIN);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 2 + 20 * 1460);
	assert_int_equal(tc_tcb(&c)->state, TCP_FIN_WAIT_2);
	tc_close(&c);
}

static void test_tcp_closed_connection_is_no_ones(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tcp_close(c.t.s, c.conn, c.t.now);
	tcp_close(c.t.s, c.conn, c.t.now);
	assert_int_equal(tcp_send(c.t.s, c.conn, "x", 1, 0, c.t.now), -E_BADF);
	assert_int_equal(tcp_poll(c.t.s, c.conn), 0);
	assert_non_null(tcp_get(c.t.s, c.conn)); /* still there to look at */
	assert_null(tcp_get(c.t.s, 99999));
	tc_close(&c);
}

/* ---- options ---- */

/* RFC 9293 MUST-27 */
static void test_tcp_options_set_and_get(void **state)
{
	static const struct {
		enum tcp_opt opt;
		int64_t v;
	} o[] = {
		{TOPT_NODELAY, 1},    {TOPT_CORK, 1},
		{TOPT_KEEPALIVE, 1},  {TOPT_OOBINLINE, 1},
		{TOPT_KEEPIDLE, 11},  {TOPT_KEEPINTVL, 12},
		{TOPT_KEEPCNT, 13},   {TOPT_USER_TIMEOUT, 14000},
		{TOPT_LINGER, 15},    {TOPT_LINGER, -1},
		{TOPT_RCVBUF, 16000}, {TOPT_SNDBUF, 17000},
		{TOPT_RCVLOWAT, 18},  {TOPT_TTL, 19},
		{TOPT_TOS, 20},	      {TOPT_CONGESTION, 1},
		{TOPT_CONGESTION, 0},
	};
	int64_t v;

	(void)state;
	tc_accept(&c, NULL);
	for (uint32_t i = 0; i < sizeof(o) / sizeof(o[0]); i++) {
		assert_int_equal(tcp_setopt(c.t.s, c.conn, o[i].opt, o[i].v, c.t.now), 0);
		ts_check(&c.t);
		assert_int_equal(tcp_getopt(c.t.s, c.conn, o[i].opt, &v), 0);
		assert_int_equal(v, o[i].v);
	}
	assert_int_equal(tcp_setopt(c.t.s, c.conn, TOPT_TTL, 256, c.t.now), -E_INVAL);
	assert_int_equal(tcp_setopt(c.t.s, c.conn, TOPT_CONGESTION, 200, c.t.now), -E_NOENT);
	assert_int_equal(tcp_setopt(c.t.s, c.conn, TOPT_CONGESTION, -1, c.t.now), -E_NOENT);
	assert_int_equal(tcp_setopt(c.t.s, c.conn, TOPT_CONGESTION, 256, c.t.now), -E_NOENT);
	assert_int_equal(tcp_setopt(c.t.s, c.conn, (enum tcp_opt)99, 1, c.t.now), -E_NOPROTOOPT);
	assert_int_equal(tcp_getopt(c.t.s, c.conn, (enum tcp_opt)99, &v), -E_NOPROTOOPT);
	assert_int_equal(tcp_getopt(c.t.s, c.conn, TOPT_MAXSEG, &v), 0);
	assert_int_equal(v, 1460);
	tc_close(&c);
}

/* RFC 9293 MUST-16 */
static void test_tcp_maxseg_limits_segments(void **state)
{
	struct tcp_addr_pair a = {.remote = ip(PEER_IP),
				  .remote_port = __builtin_bswap16(OUR_PORT)};

	(void)state;
	tc_open(&c, NULL);
	assert_int_equal(tcp_connect(c.t.s, &a, 2, c.t.now, &c.conn), 0);
	tcp_setopt(c.t.s, c.conn, TOPT_MAXSEG, 500, c.t.now);
	c.lport = __builtin_bswap16(tc_tcb(&c)->local_port);
	c.rport = OUR_PORT;
	TX(&c, .flags = TH_SYN);
	assert_int_equal(c.opt.mss, 500);
	RX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	tc_send(&c, 600);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 500);
	tc_close(&c);
}

static void test_tcp_cookie_comes_with_events(void **state)
{
	struct stack_ev ev;

	(void)state;
	tc_accept(&c, NULL);
	tcp_set_cookie(c.t.s, c.conn, 0x1234);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 5);
	RX(&c, .flags = TH_ACK | TH_FIN, .seq = 6, .ack = 1);
	assert_true(stack_event_next(c.t.s, &ev)); /* merged */
	assert_int_equal(ev.cookie, 0x1234);
	assert_int_equal(ev.mask, EV_READABLE | EV_RDHUP);
	assert_false(stack_event_next(c.t.s, &ev));
	tc_close(&c);
}

/* As Linux: net.ipv4.ip_default_ttl, tcp_keepalive_time, _intvl, _probes, tcp_syn_retries */
static void test_tcp_options_not_set_are_the_limits(void **state)
{
	static const struct {
		enum tcp_opt opt;
		int64_t v;
	} o[] = {
		{TOPT_TTL, 40},	     {TOPT_KEEPIDLE, 7000}, {TOPT_KEEPINTVL, 70},
		{TOPT_KEEPCNT, 5},   {TOPT_SYNCNT, 4},	    {TOPT_LINGER2, 30},
		{TOPT_LINGER, -1},   {TOPT_RCVLOWAT, 1},    {TOPT_RCVBUF, 8192},
		{TOPT_SNDBUF, 9000},
	};
	struct stack_cfg cfg = ts_cfg();
	int64_t v;

	(void)state;
	cfg.limits.ip_default_ttl = 40;
	cfg.limits.tcp_keepalive_time = 7000;
	cfg.limits.tcp_keepalive_intvl = 70;
	cfg.limits.tcp_keepalive_probes = 5;
	cfg.limits.tcp_syn_retries = 4;
	cfg.limits.tcp_fin_timeout = 30;
	cfg.limits.tcp_rmem[1] = 8192;
	cfg.limits.tcp_wmem[1] = 9000;
	tc_connect_syn(&c, &cfg);
	for (uint32_t i = 0; i < sizeof(o) / sizeof(o[0]); i++) {
		assert_int_equal(tcp_getopt(c.t.s, c.conn, o[i].opt, &v), 0);
		assert_int_equal(v, o[i].v);
	}
	assert_int_equal(c.o.ttl, 40);
	tc_close(&c);
}

/* TCP_MAXSEG: before there is a connection what was asked for, then what is sent */
static void test_tcp_maxseg_is_what_is_sent(void **state)
{
	int64_t v;

	(void)state;
	c.mss = 1000;
	tc_connect_syn(&c, NULL);
	assert_int_equal(tcp_getopt(c.t.s, c.conn, TOPT_MAXSEG, &v), 0);
	assert_int_equal(v, 1460 - 12); /* timestamps are offered */
	tcp_setopt(c.t.s, c.conn, TOPT_MAXSEG, 1200, c.t.now);
	assert_int_equal(tcp_getopt(c.t.s, c.conn, TOPT_MAXSEG, &v), 0);
	assert_int_equal(v, 1200);
	RX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	assert_int_equal(tcp_getopt(c.t.s, c.conn, TOPT_MAXSEG, &v), 0);
	assert_int_equal(v, 1000);
	tc_tx_all(&c);
	tc_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_tcp_send_partial_then_eagain, setup),
		cmocka_unit_test_setup(test_tcp_send_room_is_what_send_takes, setup),
		cmocka_unit_test_setup(test_tcp_send_without_memory_is_woken, setup),
		cmocka_unit_test_setup(test_tcp_send_after_shutdown_epipe, setup),
		cmocka_unit_test_setup(test_tcp_send_syn_sent_eagain_then_writable, setup),
		cmocka_unit_test_setup(test_tcp_recv_peek_and_trunc, setup),
		cmocka_unit_test_setup(test_tcp_rcvlowat_delays_readable, setup),
		cmocka_unit_test_setup(test_tcp_shutdown_read_gives_eof_still_takes, setup),
		cmocka_unit_test_setup(test_tcp_shutdown_errors, setup),
		cmocka_unit_test_setup(test_tcp_close_with_unread_data_resets, setup),
		cmocka_unit_test_setup(test_tcp_close_linger_zero_resets, setup),
		cmocka_unit_test_setup(test_tcp_close_sends_all_that_is_queued, setup),
		cmocka_unit_test_setup(test_tcp_closed_connection_is_no_ones, setup),
		cmocka_unit_test_setup(test_tcp_options_set_and_get, setup),
		cmocka_unit_test_setup(test_tcp_maxseg_limits_segments, setup),
		cmocka_unit_test_setup(test_tcp_cookie_comes_with_events, setup),
		cmocka_unit_test_setup(test_tcp_options_not_set_are_the_limits, setup),
		cmocka_unit_test_setup(test_tcp_maxseg_is_what_is_sent, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
