/* SPDX-License-Identifier: BSD-2-Clause */
/* tcp_fastopen.c: fast open (RFC 7413), server and client. */
#include "lib_tcp.h"

static struct conv c;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	return 0;
}

static uint8_t text[3000];

static const uint8_t *pattern_from(uint32_t seq)
{
	for (uint32_t i = 0; i < sizeof(text); i++)
		text[i] = (uint8_t)((seq + i) * 7 + ((seq + i) >> 8) * 13);
	return text;
}

/* ---- server ---- */

static void serve(uint32_t bits, uint32_t queue)
{
	struct stack_cfg cfg = ts_cfg();

	cfg.limits.tcp_fastopen = bits;
	tc_open(&c, &cfg);
	tc_listen(&c, 8);
	assert_int_equal(tcp_listen_opt(c.t.s, c.listener, TOPT_FASTOPEN, queue), 0);
}

/* The cookie for this client, by the book: asked for in a SYN. */
static void ask_cookie(void)
{
	c.fo = (struct tcp_options){.fo = 1};
	RX(&c, .flags = TH_SYN);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	c.fo = c.opt;
	RX(&c, .flags = TH_RST, .seq = 1);
	c.rport++;
}

static void fast(uint32_t len)
{
	assert_int_equal(RX(&c, .flags = TH_SYN, .len = len), DROP_NONE);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &c.conn), 0);
}

/* RFC 7413 §4.1.2/1, §4.2.2/1: a cookie is given to who asks, its owner's text is delivered at once
 */
static void test_fastopen_server_delivers_before_handshake(void **state)
{
	(void)state;
	c.ts = c.sack = true;
	serve(2, 5);
	ask_cookie();
	assert_int_equal(c.fo.fo, 9);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPFastOpenCookieReqd), 1);
	fast(100);
	tc_recv(&c, 100);
	tc_send(&c, 200); /* and answered */
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 101);
	assert_int_equal(c.opt.fo, 0);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 101, .len = 200);
	assert_true(tc_tcb(&c)->opt & TCB_OPT_SYNACK);
	ts_advance(&c.t, 50);
	RX(&c, .flags = TH_ACK, .seq = 101, .ack = 201, .len = 10);
	assert_false(tc_tcb(&c)->opt & TCB_OPT_SYNACK);
	assert_true(tc_events(&c) & EV_CONFIRMED);
	assert_int_equal(tc_tcb(&c)->srtt, 50000);
	tc_recv(&c, 10);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPFastOpenPassive), 1);
	tc_close(&c);
}

/* RFC 7413 §4.1.2/2: keys can change: the old one's cookies are good for a while, and replaced */
static void test_fastopen_server_second_key(void **state)
{
	struct fo_keys k = {.n = 1, .key = {{1, 2, 3}, {4, 5, 6}}}, got;
	struct tcp_options old;
	uint8_t first[FO_KEY_LEN];

	(void)state;
	serve(2, 5);
	assert_int_equal(stack_set_fastopen_keys(c.t.s, &k), 0);
	ask_cookie();
	old = c.fo;
	memcpy(first, k.key[0], sizeof(first));
	memcpy(k.key[0], k.key[1], sizeof(first));
	memcpy(k.key[1], first, sizeof(first));
	k.n = 2;
	assert_int_equal(stack_set_fastopen_keys(c.t.s, &k), 0);
	stack_fastopen_keys(c.t.s, &got);
	assert_memory_equal(&got, &k, sizeof(k));
	fast(100);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 101);
	assert_int_equal(c.opt.fo, 9); /* a new one, of the first key */
	assert_memory_not_equal(c.opt.fo_cookie, old.fo_cookie, 8);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPFastOpenPassiveAltKey), 1);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPFastOpenPassive), 1);
	c.fo = c.opt;
	RX(&c, .flags = TH_RST, .seq = 101);
	tcp_close(c.t.s, c.conn, c.t.now);
	c.rport++;
	fast(100);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 101);
	assert_int_equal(c.opt.fo, 0);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPFastOpenPassiveAltKey), 1);
	RX(&c, .flags = TH_RST, .seq = 101);
	tcp_close(c.t.s, c.conn, c.t.now);
	c.rport++;
	/* A listener may have keys of its own. */
	k.n = 1;
	memset(k.key[0], 7, FO_KEY_LEN);
	assert_int_equal(tcp_listen_fastopen_keys(c.t.s, c.listener, &k), 0);
	RX(&c, .flags = TH_SYN, .len = 100);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	assert_int_equal(c.opt.fo, 9);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPFastOpenPassiveFail), 1);
	k.n = 3;
	assert_int_equal(tcp_listen_fastopen_keys(c.t.s, c.listener, &k), -E_INVAL);
	assert_int_equal(tcp_listen_fastopen_keys(c.t.s, 999, &k), -E_INVAL);
	assert_int_equal(stack_set_fastopen_keys(c.t.s, &(struct fo_keys){.n = 0}), -E_INVAL);
	c.conn = SHM_NIL;
	tc_close(&c);
}

/* RFC 7413 §4.2.2/2: a cookie that is not this client's: only the SYN is acknowledged */
static void test_fastopen_server_wrong_cookie(void **state)
{
	uint32_t conn;

	(void)state;
	serve(2, 5);
	ask_cookie();
	c.fo.fo_cookie[3] ^= 1;
	RX(&c, .flags = TH_SYN, .len = 100);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	assert_int_equal(c.opt.fo, 9); /* the right one */
	c.fo.fo_cookie[3] ^= 1;
	assert_memory_equal(c.opt.fo_cookie, c.fo.fo_cookie, 8);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &conn), -E_AGAIN);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPFastOpenPassiveFail), 1);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 100);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &c.conn), 0);
	tc_recv(&c, 100);
	tc_close(&c);
}

static void test_fastopen_server_cookie_of_another_address(void **state)
{
	struct ip_info from = {.src = ip("10.0.0.3"), .dst = ip(OUR_IP)};
	struct tcp_options mine = {0}, other = {0};
	struct tcp_seg g = {.ip = &from, .o = {.fo = 1}};

	(void)state;
	serve(2, 5);
	assert_false(fastopen_syn(c.t.s, &c.t.s->listeners[c.listener], &g, &other));
	from.src = ip(PEER_IP);
	assert_false(fastopen_syn(c.t.s, &c.t.s->listeners[c.listener], &g, &mine));
	assert_memory_not_equal(mine.fo_cookie, other.fo_cookie, 8);
	tc_close(&c);
}

static void test_fastopen_server_off(void **state)
{
	uint32_t conn;

	(void)state;
	for (int i = 0; i < 2; i++) {
		c.fo = (struct tcp_options){.fo = 1};
		serve(i ? 2 : 1, i ? 0 : 5);
		RX(&c, .flags = TH_SYN, .len = 10);
		TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
		assert_int_equal(c.opt.fo, 0);
		assert_int_equal(tcp_accept(c.t.s, c.listener, &conn), -E_AGAIN);
		tc_close(&c);
	}
}

/* 0x200: text without a cookie; 0x400: listeners that did not ask for it */
static void test_fastopen_server_bits(void **state)
{
	(void)state;
	serve(2 | 0x200 | 0x400, 0);
	fast(10);
	tc_recv(&c, 10);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 11);
	tc_close(&c);
}

/* RFC 7413 §5.1/1: unconfirmed ones are bounded; beyond that it is an ordinary handshake */
static void test_fastopen_server_queue_bounded(void **state)
{
	uint32_t conn;

	(void)state;
	serve(2, 2);
	ask_cookie();
	for (int i = 0; i < 2; i++) {
		fast(10);
		TX(&c, .flags = TH_SYN | TH_ACK, .ack = 11);
		c.rport++;
	}
	RX(&c, .flags = TH_SYN, .len = 10);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &conn), -E_AGAIN);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPFastOpenListenOverflow), 1);
	/* One is confirmed, in whose stack ever: its taker says so. */
	tcp_fastopen_done(c.t.s, c.listener);
	c.rport++;
	fast(10);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 11);
	tc_close(&c);
}

/* On the accept queue the stack keeps count itself: confirmed, reset. */
static void test_fastopen_server_queue_counts(void **state)
{
	struct listener *l;

	(void)state;
	serve(2, 5);
	ask_cookie();
	l = &c.t.s->listeners[c.listener];
	for (int i = 0; i < 2; i++) {
		RX(&c, .flags = TH_SYN, .len = 10);
		TX(&c, .flags = TH_SYN | TH_ACK, .ack = 11);
		assert_int_equal(l->fo_len, 1);
		RX(&c, .flags = i ? TH_RST : TH_ACK, .seq = 11, .ack = 1);
		assert_int_equal(l->fo_len, 0);
		c.rport++;
	}
	assert_int_equal(l->aq_len, 2); /* both are for accept() */
	tc_close(&c);
}

static void test_fastopen_server_synack_lost(void **state)
{
	uint16_t wnd;

	(void)state;
	serve(2, 5);
	ask_cookie();
	fast(10);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 11);
	wnd = get_be16(c.o.l4 + 14);
	tc_send(&c, 20);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 11, .len = 20);
	/* RFC 9293 SHLD-14: the window that was announced stays, whatever becomes of the buffer. */
	assert_int_equal(tcp_setopt(c.t.s, c.conn, TOPT_RCVBUF, 4096, c.t.now), 0);
	RX(&c, .flags = TH_SYN, .len = 0); /* the peer's SYN again, without text */
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 11);
	assert_true(get_be16(c.o.l4 + 14) >= wnd);
	ts_advance(&c.t, 1001);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 11);
	tc_tx_none(&c); /* text would mean nothing to the peer yet */
	ts_advance(&c.t, 2001);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 11);
	RX(&c, .flags = TH_ACK, .seq = 11, .ack = 1);
	tc_tx_none(&c);
	ts_advance(&c.t, 1100);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 11, .len = 20);
	tc_close(&c);
}

static void test_fastopen_server_never_confirmed(void **state)
{
	(void)state;
	serve(2, 5);
	ask_cookie();
	fast(10);
	for (int i = 0; i < 200; i++) {
		tc_tx_all(&c);
		ts_advance(&c.t, 1000);
	}
	tc_state(&c, TCP_CLOSED);
	assert_int_equal(tcp_error(c.t.s, c.conn), E_TIMEDOUT);
	tc_close(&c);
}

static void test_fastopen_server_close_before_confirmed(void **state)
{
	(void)state;
	serve(2, 5);
	ask_cookie();
	fast(10);
	tc_recv(&c, 10);
	tc_send(&c, 5);
	tcp_close(c.t.s, c.conn, c.t.now);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 11);
	TX(&c, .flags = TH_ACK | TH_PSH | TH_FIN, .seq = 1, .ack = 11, .len = 5);
	RX(&c, .flags = TH_ACK | TH_FIN, .seq = 11, .ack = 7);
	TX(&c, .flags = TH_ACK, .seq = 7, .ack = 12);
	tc_close(&c);
}

/* ---- client ---- */

static void start(const struct stack_cfg *cfg, uint32_t len)
{
	struct tcp_addr_pair a = {.remote = ip(PEER_IP),
				  .remote_port = __builtin_bswap16(OUR_PORT)};

	if (cfg)
		tc_open(&c, cfg);
	assert_int_equal(tcp_connect(c.t.s, &a, 2, c.t.now, &c.conn), 0);
	assert_int_equal(tcp_fastopen(c.t.s, c.conn, pattern_from(1), len), len);
	ts_check(&c.t);
	c.lport = __builtin_bswap16(tc_tcb(&c)->local_port);
	c.rport = OUR_PORT;
}

static void learn(uint8_t len)
{
	struct stack_cfg cfg = ts_cfg();

	start(&cfg, 0);
	TX(&c, .flags = TH_SYN);
	assert_int_equal(c.opt.fo, 1); /* asks for one */
	c.fo = (struct tcp_options){.fo = 1 + len, .fo_cookie = "0123456789abcdef"};
	RX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	tcp_abort(c.t.s, c.conn, c.t.now);
	tc_tx_all(&c);
	c.fo.fo = 0;
	assert_true(tcp_fastopen_known(c.t.s, &(struct ip_addr[]){ip(PEER_IP)}[0], c.t.now));
	tc_events(&c);
}

/* RFC 7413 §4.1.3/1, §4.2.1/1 */
static void test_fastopen_client_text_in_syn(void **state)
{
	(void)state;
	learn(16);
	start(NULL, 100);
	TX(&c, .flags = TH_SYN, .len = 100);
	assert_int_equal(c.opt.fo, 17);
	assert_memory_equal(c.opt.fo_cookie, "0123456789abcdef", 16);
	RX(&c, .flags = TH_SYN | TH_ACK, .ack = 101);
	TX(&c, .flags = TH_ACK, .seq = 101, .ack = 1);
	assert_int_equal(tcp_unsent_bytes(c.t.s, c.conn), 0);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPFastOpenActive), 1);
	assert_true(tc_tcb(&c)->opt & TCB_OPT_SYN_DATA);
	assert_int_equal(tc_tcb(&c)->bytes_acked, 100);
	tc_send(&c, 10);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 101, .ack = 1, .len = 10);
	tc_close(&c);
}

/* What does not fit follows; all options fit as well. */
static void test_fastopen_client_long_text(void **state)
{
	(void)state;
	c.ts = c.sack = true;
	c.wscale = 1 + 7;
	learn(16);
	start(NULL, 3000);
	TX(&c, .flags = TH_SYN, .len = 1460 - 40);
	RX(&c, .flags = TH_SYN | TH_ACK, .ack = 1421);
	TX(&c, .flags = TH_ACK, .seq = 1421, .ack = 1, .len = 1448);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 2869, .ack = 1, .len = 132);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 3001);
	tc_close(&c);
}

/* RFC 7413 §4.2.1/2: not acknowledged: sent again at once, as text of the open connection */
static void test_fastopen_client_text_refused(void **state)
{
	(void)state;
	c.sack = true;
	learn(8);
	start(NULL, 100);
	TX(&c, .flags = TH_SYN, .len = 100);
	c.fo = (struct tcp_options){.fo = 5, .fo_cookie = "new!"};
	RX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 100);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPFastOpenActiveFail), 1);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 101);
	c.fo.fo = 0;
	start(NULL, 10); /* with the cookie that came along */
	TX(&c, .flags = TH_SYN, .len = 10);
	assert_int_equal(c.opt.fo, 5);
	tc_close(&c);
}

/* No cookie yet: the text waits for the handshake. */
static void test_fastopen_client_no_cookie(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	start(&cfg, 100);
	TX(&c, .flags = TH_SYN);
	assert_int_equal(c.opt.fo, 1);
	RX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 100);
	assert_false(tcp_fastopen_known(c.t.s, &(struct ip_addr[]){ip(PEER_IP)}[0], c.t.now));
	tc_close(&c);
}

static void test_fastopen_client_bits(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.limits.tcp_fastopen = 0;
	start(&cfg, 100);
	TX(&c, .flags = TH_SYN);
	assert_int_equal(c.opt.fo, 0);
	tc_close(&c);
	cfg.limits.tcp_fastopen = 1 | 4; /* without cookies */
	start(&cfg, 100);
	TX(&c, .flags = TH_SYN, .len = 100);
	assert_int_equal(c.opt.fo, 0);
	tc_close(&c);
}

/* A SYN is repeated without text and option; the late answer to the first one still counts. */
static void test_fastopen_client_syn_lost(void **state)
{
	(void)state;
	learn(8);
	start(NULL, 100);
	TX(&c, .flags = TH_SYN, .len = 100);
	ts_advance(&c.t, 1001);
	TX(&c, .flags = TH_SYN);
	assert_int_equal(c.opt.fo, 0);
	RX(&c, .flags = TH_SYN | TH_ACK, .ack = 101);
	TX(&c, .flags = TH_ACK, .seq = 101, .ack = 1);
	tc_close(&c);
}

/* A SYN with text does not come through, the plain one does. */
static void lose_syn(void)
{
	start(NULL, 100);
	TX(&c, .flags = TH_SYN, .len = 100);
	ts_advance(&c.t, 1001);
	TX(&c, .flags = TH_SYN);
	RX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 100);
	tcp_abort(c.t.s, c.conn, c.t.now);
	tc_tx_all(&c);
}

/* RFC 7413 §4.1.3.1/1: who loses such SYNs twice gets none for a minute and more */
static void test_fastopen_client_black_hole(void **state)
{
	struct ip_addr peer = ip(PEER_IP);

	(void)state;
	learn(8);
	lose_syn();
	lose_syn();
	start(NULL, 100);
	TX(&c, .flags = TH_SYN);
	assert_int_equal(c.opt.fo, 0);
	tcp_abort(c.t.s, c.conn, c.t.now);
	assert_false(tcp_fastopen_known(c.t.s, &peer, c.t.now));
	ts_advance(&c.t, 241000);
	assert_true(tcp_fastopen_known(c.t.s, &peer, c.t.now));
	tc_close(&c);
}

/* tcp_fastopen_blackhole_timeout_sec: two lost in one connection, and nobody gets any for that long
 */
static void test_fastopen_client_black_hole_for_all(void **state)
{
	struct ip_addr peer = ip(PEER_IP);

	(void)state;
	learn(8);
	c.t.s->cfg.limits.tcp_fastopen_blackhole_timeout_sec = 100;
	start(NULL, 100);
	TX(&c, .flags = TH_SYN, .len = 100);
	ts_advance(&c.t, 1001);
	TX(&c, .flags = TH_SYN);
	ts_advance(&c.t, 2001);
	TX(&c, .flags = TH_SYN);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPFastOpenBlackhole), 1);
	assert_false(tcp_fastopen_known(c.t.s, &peer, c.t.now));
	tcp_abort(c.t.s, c.conn, c.t.now);
	ts_advance(&c.t, 100000);
	assert_true(tcp_fastopen_known(c.t.s, &peer, c.t.now));
	tc_close(&c);
}

/* More servers than the cache holds: the last ones are known. */
static void test_fastopen_client_cache_bounded(void **state)
{
	struct stack_cfg cfg = ts_cfg();
	struct tcp_seg g = {.o = {.fo = 9, .mss = 1460}};
	struct tcb t = {.opt = TCB_OPT_FASTOPEN};
	uint32_t kept = 0;

	(void)state;
	tc_open(&c, &cfg);
	for (uint32_t i = 1; i <= 3 * FO_CACHE; i++) {
		t.opt = TCB_OPT_FASTOPEN;
		t.remote = ip_addr_v4(i);
		g.ack = 1;
		fastopen_synack(c.t.s, &t, &g, mtime_add_ms(c.t.now, i * 1000));
	}
	for (uint32_t i = 1; i <= 3 * FO_CACHE; i++)
		kept += tcp_fastopen_known(c.t.s, &(struct ip_addr[]){ip_addr_v4(i)}[0], c.t.now);
	assert_in_range(kept, FO_CACHE / 2, FO_CACHE);
	assert_true(tcp_fastopen_known(c.t.s, &t.remote, c.t.now));
	tc_close(&c);
}

/* RFC 7413 §4.2.2: text without a cookie is not believed: who sent it may not be who it says */
static void test_fastopen_server_text_without_cookie(void **state)
{
	uint32_t conn;

	(void)state;
	serve(2, 5);
	RX(&c, .flags = TH_SYN, .len = 10);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	assert_int_equal(c.opt.fo, 0);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &conn), -E_AGAIN);
	tc_close(&c);
}

/* Losses count in a row: one that comes through in between says that the way is open. */
static void test_fastopen_client_lost_now_and_then(void **state)
{
	struct ip_addr peer = ip(PEER_IP);

	(void)state;
	learn(8);
	for (int i = 0; i < 3; i++) {
		lose_syn();
		assert_true(tcp_fastopen_known(c.t.s, &peer, c.t.now));
		start(NULL, 100);
		TX(&c, .flags = TH_SYN, .len = 100);
		RX(&c, .flags = TH_SYN | TH_ACK, .ack = 101);
		tcp_abort(c.t.s, c.conn, c.t.now);
		tc_tx_all(&c);
	}
	tc_close(&c);
}

/* Each loss doubles the minute; Linux: 60 s << losses. After one more in the end it is longer. */
static void test_fastopen_client_pause_grows(void **state)
{
	struct ip_addr peer = ip(PEER_IP);

	(void)state;
	learn(8);
	lose_syn();
	lose_syn();
	for (uint32_t s = 240; s <= 960; s *= 2) {
		ts_advance(&c.t, s * 1000 - 2000);
		assert_false(tcp_fastopen_known(c.t.s, &peer, c.t.now));
		ts_advance(&c.t, 3000);
		assert_true(tcp_fastopen_known(c.t.s, &peer, c.t.now));
		lose_syn();
	}
	tc_close(&c);
}

/* A SYN-ACK that was lost is no part of how long text has not been acknowledged. */
static void test_fastopen_server_user_timeout_begins_anew(void **state)
{
	(void)state;
	serve(2, 5);
	ask_cookie();
	fast(10);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 11);
	tcp_setopt(c.t.s, c.conn, TOPT_USER_TIMEOUT, 5000, c.t.now);
	for (int i = 0; i < 2; i++) {
		ts_advance(&c.t, 1001 << i);
		TX(&c, .flags = TH_SYN | TH_ACK, .ack = 11);
	}
	RX(&c, .flags = TH_ACK, .seq = 11, .ack = 1);
	ts_advance(&c.t, 1000);
	tc_send(&c, 20);
	for (int i = 0; i < 40; i++) {
		tc_tx_all(&c);
		ts_advance(&c.t, 100);
	}
	tc_state(&c, TCP_ESTABLISHED);
	tc_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_fastopen_server_delivers_before_handshake, setup),
		cmocka_unit_test_setup(test_fastopen_server_second_key, setup),
		cmocka_unit_test_setup(test_fastopen_server_wrong_cookie, setup),
		cmocka_unit_test_setup(test_fastopen_server_cookie_of_another_address, setup),
		cmocka_unit_test_setup(test_fastopen_server_off, setup),
		cmocka_unit_test_setup(test_fastopen_server_bits, setup),
		cmocka_unit_test_setup(test_fastopen_server_queue_bounded, setup),
		cmocka_unit_test_setup(test_fastopen_server_queue_counts, setup),
		cmocka_unit_test_setup(test_fastopen_server_synack_lost, setup),
		cmocka_unit_test_setup(test_fastopen_server_never_confirmed, setup),
		cmocka_unit_test_setup(test_fastopen_server_close_before_confirmed, setup),
		cmocka_unit_test_setup(test_fastopen_client_text_in_syn, setup),
		cmocka_unit_test_setup(test_fastopen_client_long_text, setup),
		cmocka_unit_test_setup(test_fastopen_client_text_refused, setup),
		cmocka_unit_test_setup(test_fastopen_client_no_cookie, setup),
		cmocka_unit_test_setup(test_fastopen_client_bits, setup),
		cmocka_unit_test_setup(test_fastopen_client_syn_lost, setup),
		cmocka_unit_test_setup(test_fastopen_client_black_hole, setup),
		cmocka_unit_test_setup(test_fastopen_client_black_hole_for_all, setup),
		cmocka_unit_test_setup(test_fastopen_client_cache_bounded, setup),
		cmocka_unit_test_setup(test_fastopen_server_text_without_cookie, setup),
		cmocka_unit_test_setup(test_fastopen_client_lost_now_and_then, setup),
		cmocka_unit_test_setup(test_fastopen_client_pause_grows, setup),
		cmocka_unit_test_setup(test_fastopen_server_user_timeout_begins_anew, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
