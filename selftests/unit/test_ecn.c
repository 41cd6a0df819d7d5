/* SPDX-License-Identifier: BSD-2-Clause */
/* ecn.c and cc_dctcp.c, by the clauses of RFC 3168 and RFC 8257, and by what Linux's tcp_ecn says.
 */
#include "lib_tcp.h"
#include "user/core/board.h"
#include "user/core/cc.h"

static struct conv c;
static struct stack_cfg cfg;

#define EC (TH_ECE | TH_CWR)
#define CE 3u
#define ECT0 2u
#define AT(i) (1 + 1460 * (i))

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	c.sack = true;
	cfg = ts_cfg();
	return 0;
}

static void open_listener(void)
{
	tc_open(&c, &cfg);
	tc_listen(&c, 8);
}

/* @syn: flags and ECN bits of the peer's SYN; @want: ECE, if the SYN-ACK should have it. */
static void accept_ecn(uint8_t syn, uint8_t tos, uint8_t want)
{
	open_listener();
	assert_int_equal(RX(&c, .flags = TH_SYN | syn, .tos = tos), DROP_NONE);
	TX(&c, .flags = TH_SYN | TH_ACK | want, .ack = 1);
	assert_int_equal(RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_NONE);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &c.conn), 0);
	assert_int_equal(!!(tc_tcb(&c)->opt & TCB_OPT_ECN), want != 0);
	tc_events(&c);
}

static void start(void)
{
	accept_ecn(EC, 0, TH_ECE);
	tcp_setopt(c.t.s, c.conn, TOPT_SNDBUF, 200000, c.t.now);
	tc_tcb(&c)->srtt = 20000;
}

/* ---- opening ---- */

/* RFC 3168 §6.1.1/1, §6.1.1/2 */
static void test_ecn_passive_by_tcp_ecn(void **state)
{
	(void)state;
	accept_ecn(EC, 0, TH_ECE);
	assert_int_equal(c.o.tos & 3, 0); /* RFC 3168 §6.1.1: a SYN-ACK is not ECT */
	tc_close(&c);
	accept_ecn(0, 0, 0);
	tc_close(&c);
	accept_ecn(TH_ECE, 0, 0);
	tc_close(&c);
	accept_ecn(EC, ECT0, 0); /* as Linux: a SYN with ECT is not what we know */
	tc_close(&c);
	cfg.limits.tcp_ecn = 1;
	accept_ecn(EC, 0, TH_ECE);
	tc_close(&c);
	cfg.limits.tcp_ecn = 0;
	accept_ecn(EC, 0, 0);
	tc_close(&c);
}

/* Opens towards a peer whose SYN-ACK has @answer. */
static void connect_ecn(uint8_t syn, uint8_t answer, bool agreed)
{
	struct tcp_addr_pair a = {.remote = ip(PEER_IP),
				  .remote_port = __builtin_bswap16(OUR_PORT)};

	tc_open(&c, &cfg);
	assert_int_equal(tcp_connect(c.t.s, &a, 2, c.t.now, &c.conn), 0);
	c.lport = __builtin_bswap16(tc_tcb(&c)->local_port);
	c.rport = OUR_PORT;
	TX(&c, .flags = TH_SYN | syn);
	assert_int_equal(c.o.tos & 3, 0);
	assert_int_equal(RX(&c, .flags = TH_SYN | TH_ACK | answer, .ack = 1), DROP_NONE);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	assert_int_equal(!!(tc_tcb(&c)->opt & TCB_OPT_ECN), agreed);
	tc_close(&c);
}

static void test_ecn_active_by_tcp_ecn(void **state)
{
	(void)state;
	connect_ecn(0, 0, false);
	connect_ecn(0, TH_ECE, false);
	cfg.limits.tcp_ecn = 1;
	connect_ecn(EC, TH_ECE, true);
	connect_ecn(EC, 0, false);
	connect_ecn(EC, EC, false); /* RFC 3168 §6.1.1.1: reflects all bits */
	cfg.limits.tcp_ecn = 0;
	connect_ecn(0, 0, false);
}

/* tcp_ecn_fallback: a SYN that is sent again does not ask. */
static void test_ecn_syn_again_without(void **state)
{
	struct tcp_addr_pair a = {.remote = ip(PEER_IP),
				  .remote_port = __builtin_bswap16(OUR_PORT)};

	(void)state;
	cfg.limits.tcp_ecn = 1;
	tc_open(&c, &cfg);
	assert_int_equal(tcp_connect(c.t.s, &a, 2, c.t.now, &c.conn), 0);
	c.lport = __builtin_bswap16(tc_tcb(&c)->local_port);
	c.rport = OUR_PORT;
	TX(&c, .flags = TH_SYN | EC);
	ts_advance(&c.t, 1001);
	TX(&c, .flags = TH_SYN);
	tc_close(&c);
}

/* With a SYN cookie the agreement stands in the timestamp. */
static void test_ecn_with_syn_cookies(void **state)
{
	(void)state;
	for (int ts = 0; ts < 2; ts++) {
		memset(&c, 0, sizeof(c));
		c.sack = true;
		c.ts = ts;
		cfg.limits.tcp_syncookies = 2;
		accept_ecn(EC, 0, ts ? TH_ECE : 0);
		assert_int_equal(ts_mib(&c.t, MIB_TcpExt_SyncookiesRecv), 1);
		tc_close(&c);
		memset(&c, 0, sizeof(c));
		c.ts = ts;
		accept_ecn(0, 0, 0);
		tc_close(&c);
	}
}

/* ---- sending ---- */

/* RFC 3168 §6.1.4/1, §6.1.5/1 */
static void test_ecn_ect_on_new_data_only(void **state)
{
	(void)state;
	start();
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 10);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 11);
	assert_int_equal(c.o.tos & 3, 0); /* a bare ACK, RFC 3168 §6.1.4 */
	tc_send(&c, 2 * 1460);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 11, .len = 1460);
	assert_int_equal(c.o.tos & 3, ECT0);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = AT(1), .ack = 11, .len = 1460);
	assert_int_equal(c.o.tos & 3, ECT0);
	ts_advance(&c.t, 150); /* the loss probe, RFC 3168 §6.1.5 */
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = AT(1), .ack = 11, .len = 1460);
	assert_int_equal(c.o.tos & 3, 0);
	ts_advance(&c.t, 1000); /* the timeout's retransmission */
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 11, .len = 1460);
	assert_int_equal(c.o.tos & 3, 0);
	tc_close(&c);
}

static void test_ecn_keeps_dscp(void **state)
{
	(void)state;
	start();
	tcp_setopt(c.t.s, c.conn, TOPT_TOS, 0xb8 | CE, c.t.now);
	tc_send(&c, 100);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 100);
	assert_int_equal(c.o.tos, 0xb8 | ECT0);
	tc_close(&c);
}

/* ---- the receiver: ECE from CE until CWR ---- */

/* RFC 3168 §6.1.3/1 */
static void test_ecn_ce_is_echoed_until_cwr(void **state)
{
	(void)state;
	start();
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 100, .tos = ECT0);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 101);
	RX(&c, .flags = TH_ACK, .seq = 101, .ack = 1, .len = 100, .tos = CE);
	TX(&c, .flags = TH_ACK | TH_ECE, .seq = 1, .ack = 201);
	RX(&c, .flags = TH_ACK, .seq = 201, .ack = 1, .len = 100, .tos = ECT0);
	TX(&c, .flags = TH_ACK | TH_ECE, .seq = 1, .ack = 301);
	tc_send(&c, 10); /* also with data */
	TX(&c, .flags = TH_ACK | TH_PSH | TH_ECE, .seq = 1, .ack = 301, .len = 10);
	RX(&c, .flags = TH_ACK | TH_CWR, .seq = 301, .ack = 11, .len = 100, .tos = ECT0);
	TX(&c, .flags = TH_ACK, .seq = 11, .ack = 401);
	/* CWR and CE in one packet: a new mark */
	RX(&c, .flags = TH_ACK | TH_CWR, .seq = 401, .ack = 11, .len = 100, .tos = CE);
	TX(&c, .flags = TH_ACK | TH_ECE, .seq = 11, .ack = 501);
	assert_int_equal(ts_mib(&c.t, MIB_IpExt_InCEPkts), 2);
	assert_int_equal(ts_mib(&c.t, MIB_IpExt_InECT0Pkts), 3);
	assert_int_equal(ts_mib(&c.t, MIB_IpExt_InNoECTPkts), 2); /* SYN and ACK */
	tc_close(&c);
}

static void test_ecn_marks_out_of_order_count_and_without_agreement_do_not(void **state)
{
	(void)state;
	start();
	RX(&c, .flags = TH_ACK, .seq = 101, .ack = 1, .len = 100, .tos = CE);
	TX(&c, .flags = TH_ACK | TH_ECE, .seq = 1, .ack = 1);
	tc_close(&c);
	accept_ecn(0, 0, 0);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 100, .tos = CE);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 101);
	tc_close(&c);
}

/* ---- the sender: one reduction for each window, and CWR ---- */

/* Of ten segments out, thirty to send, the first two were marked, the peer says. */
static const struct tcb *marked(void)
{
	start();
	tc_send(&c, 30 * 1460);
	assert_int_equal(tc_tx_all(&c), 10);
	ts_advance(&c.t, 20);
	RX(&c, .flags = TH_ACK | TH_ECE, .seq = 1, .ack = AT(2));
	assert_int_equal(tc_tcb(&c)->ssthresh, 5 * 1460); /* reno */
	return tc_tcb(&c);
}

/* RFC 3168 §6.1.2/1, §6.1.2/2 */
static void test_ecn_echo_reduces_once_per_window(void **state)
{
	const struct tcb *t;
	uint32_t cwnd;

	(void)state;
	c.sack = false;
	t = marked();
	assert_int_equal(t->cwnd, 5 * 1460);
	tc_tx_none(&c);
	RX(&c, .flags = TH_ACK | TH_ECE, .seq = 1, .ack = AT(4));
	RX(&c, .flags = TH_ACK | TH_ECE, .seq = 1, .ack = AT(6));
	assert_int_equal(t->cwnd, 5 * 1460); /* the same window, and no growth */
	TX(&c, .flags = TH_ACK | TH_CWR, .seq = AT(10), .ack = 1, .len = 1460);
	assert_int_equal(c.o.tos & 3, ECT0);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = AT(8));
	TX(&c, .flags = TH_ACK, .seq = AT(11), .ack = 1, .len = 1460);
	tc_tx_all(&c);
	cwnd = t->cwnd;
	RX(&c, .flags = TH_ACK | TH_ECE, .seq = 1, .ack = AT(11)); /* the next one */
	assert_true(t->cwnd < cwnd);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPDeliveredCE), 2 + 2 + 2 + 3);
	assert_int_equal(tcb_rare(c.t.s, tc_tcb(&c))->delivered_ce, 2 + 2 + 2 + 3);
	tc_close(&c);
}

/* RFC 6937 §3/1: With SACK what is sent becomes less over a round trip, but does not stop. */
static void test_ecn_echo_reduces_while_acks_come(void **state)
{
	const struct tcb *t;
	uint32_t cwnd;

	(void)state;
	c.sack = true;
	t = marked();
	/* RFC 6937: a segment for every second one that arrives, until that much is out */
	TX(&c, .flags = TH_ACK | TH_CWR, .seq = AT(10), .ack = 1, .len = 1460);
	assert_int_equal(c.o.tos & 3, ECT0);
	tc_tx_none(&c);
	RX(&c, .flags = TH_ACK | TH_ECE, .seq = 1, .ack = AT(4));
	TX(&c, .flags = TH_ACK, .seq = AT(11), .ack = 1, .len = 1460);
	tc_tx_none(&c);
	RX(&c, .flags = TH_ACK | TH_ECE, .seq = 1, .ack = AT(6));
	TX(&c, .flags = TH_ACK, .seq = AT(12), .ack = 1, .len = 1460);
	tc_tx_none(&c);
	assert_int_equal(t->ssthresh, 5 * 1460); /* the same window, and no growth */
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = AT(8));
	tc_tx_none(&c);
	RX(&c, .flags = TH_ACK | TH_ECE, .seq = 1, .ack = AT(10)); /* CWR is not there yet */
	TX(&c, .flags = TH_ACK, .seq = AT(13), .ack = 1, .len = 1460);
	TX(&c, .flags = TH_ACK, .seq = AT(14), .ack = 1, .len = 1460);
	assert_int_equal(t->ssthresh, 5 * 1460);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = AT(11));
	assert_in_range(t->cwnd, 5 * 1460, 6 * 1460); /* it is over */
	tc_tx_all(&c);
	cwnd = t->ssthresh;
	/* What was sent meanwhile is marked, too: that is answered. */
	RX(&c, .flags = TH_ACK | TH_ECE, .seq = 1, .ack = AT(13));
	assert_int_equal(t->ssthresh, cwnd);
	TX(&c, .flags = TH_ACK | TH_CWR, .seq = AT(16), .ack = 1, .len = 1460);
	tc_tx_all(&c);
	RX(&c, .flags = TH_ACK | TH_ECE, .seq = 1, .ack = AT(17)); /* the next one */
	assert_true(t->ssthresh < cwnd);
	/* each counts for itself what has arrived */
	assert_true(tcp_board(c.t.s, t)->prr_delivered <= 4 * 1460);
	tc_close(&c);
}

static void test_ecn_echo_without_agreement_is_nothing(void **state)
{
	(void)state;
	accept_ecn(0, 0, 0);
	tc_send(&c, 4 * 1460);
	tc_tx_all(&c);
	RX(&c, .flags = TH_ACK | TH_ECE, .seq = 1, .ack = AT(2));
	assert_true(tc_tcb(&c)->ssthresh == CC_SSTHRESH_INIT);
	tc_close(&c);
}

/* A window that was halved for a mark is not halved again for a loss in it. */
static void test_ecn_mark_and_loss_in_one_window(void **state)
{
	const struct tcb *t;

	(void)state;
	start();
	t = tc_tcb(&c);
	tc_send(&c, 30 * 1460);
	assert_int_equal(tc_tx_all(&c), 10);
	ts_advance(&c.t, 20);
	RX(&c, .flags = TH_ACK | TH_ECE, .seq = 1, .ack = AT(1));
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = AT(1), .sack = {{AT(2), AT(6)}});
	assert_int_equal(t->cc_state, CC_RECOVERY);
	assert_int_equal(t->ssthresh, 5 * 1460);
	tc_close(&c);
}

static void test_ecn_bbr_says_cwr_and_goes_on(void **state)
{
	uint32_t cwnd;

	(void)state;
	cfg.cc = "bbr";
	start();
	tc_send(&c, 30 * 1460);
	ts_advance(&c.t, 20);
	assert_true(tc_tx_all(&c) > 0);
	ts_advance(&c.t, 20);
	tc_tx_all(&c);
	cwnd = tc_tcb(&c)->cwnd;
	RX(&c, .flags = TH_ACK | TH_ECE, .seq = 1, .ack = AT(1));
	assert_true(tc_tcb(&c)->cwnd >= cwnd);
	assert_true(tc_tcb(&c)->flags & TCB_F_CWR);
	tc_close(&c);
}

/* ---- DCTCP ---- */

static void start_dctcp(void)
{
	cfg.cc = "dctcp";
	cfg.limits.tcp_ecn = 0; /* it asks and agrees in any case */
	start();
}

static void test_dctcp_all_packets_are_ect(void **state)
{
	(void)state;
	start_dctcp();
	assert_int_equal(c.o.tos & 3, ECT0); /* the SYN-ACK */
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 100, .tos = ECT0);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 101);
	assert_int_equal(c.o.tos & 3, ECT0);
	tc_send(&c, 100);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 101, .len = 100);
	ts_advance(&c.t, 1000);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 101, .len = 100);
	assert_int_equal(c.o.tos & 3, ECT0);
	tc_close(&c);
	/* a SYN with ECT is a peer of our kind */
	accept_ecn(EC, ECT0, TH_ECE);
	tc_close(&c);
	assert_true(cc_get((uint8_t)cc_find("dctcp"))->needs_ecn);
}

/* RFC 8257 §3.2/1: each ACK says whether the segments that it covers were marked. */
static void test_dctcp_receiver_tells_which_were_marked(void **state)
{
	struct tcb *t;

	(void)state;
	start_dctcp();
	t = tc_tcb(&c);
	t->quick = 0;
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 100, .tos = ECT0);
	tc_tx_none(&c); /* delayed */
	RX(&c, .flags = TH_ACK, .seq = 101, .ack = 1, .len = 100, .tos = CE);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 101); /* the state before */
	TX(&c, .flags = TH_ACK | TH_ECE, .seq = 1, .ack = 201);
	RX(&c, .flags = TH_ACK, .seq = 201, .ack = 1, .len = 100, .tos = CE);
	tc_tx_none(&c); /* no change: delayed as ever */
	RX(&c, .flags = TH_ACK | TH_CWR, .seq = 301, .ack = 1, .len = 100, .tos = ECT0);
	TX(&c, .flags = TH_ACK | TH_ECE, .seq = 1, .ack = 301);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 401);
	tc_close(&c);
}

/* RFC 8257 §3.3/1, §3.5/1, and §3.4: cwnd is cut by half of the share of marked bytes. */
static void test_dctcp_alpha_follows_the_marks(void **state)
{
	struct tcb_copy tc = {0};
	struct tcb *t = &tc.t;
	*t = (struct tcb){.work = sizeof(struct tcb) / 8,
			  .mss = 1000,
			  .cwnd = 100000,
			  .ssthresh = 100000,
			  .snd_una = 1,
			  .snd_nxt = 1};
	struct dctcp *d = CC_PRIV(t, struct dctcp);
	struct mtime now = {1};

	(void)state;
	cc_dctcp.init(t, now);
	cc_dctcp.ecn(t, t->cwnd, now);
	assert_int_equal(t->ssthresh, 50000); /* alpha begins with 1 */
	/* a tenth of all is marked */
	for (int round = 0; round < 100; round++) {
		for (int i = 0; i < 100; i++) {
			t->snd_nxt = t->snd_una + 100000;
			t->snd_una += 1000;
			cc_dctcp.marks(t, 1000, i % 10 == 0);
		}
	}
	assert_in_range(d->alpha, 90, 120);
	t->cwnd = 100000;
	cc_dctcp.ecn(t, t->cwnd, now);
	assert_in_range(t->ssthresh, 94000, 96000);
	for (int round = 0; round < 300; round++) {
		t->snd_nxt = t->snd_una + 1000;
		t->snd_una += 1000;
		cc_dctcp.marks(t, 1000, false);
	}
	assert_int_equal(d->alpha, 0);
	for (int round = 0; round < 100; round++) {
		t->snd_nxt = t->snd_una + 1000;
		t->snd_una += 1000;
		cc_dctcp.marks(t, 1000, true);
	}
	assert_in_range(d->alpha, 1000, 1024);
	/* §3.5: a loss halves, whatever alpha is */
	cc_dctcp.loss(t, 100000, now);
	assert_int_equal(t->ssthresh, 50000);
}

/* The mark's state is part of what is handed over. */
static void test_ecn_state_moves_with_the_connection(void **state)
{
	struct tcb *t;

	(void)state;
	start();
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 100, .tos = CE);
	tc_tx_all(&c);
	t = tc_tcb(&c);
	assert_true(t->flags & TCB_F_ECE);
	assert_int_equal(stack_export(c.t.s, c.conn), 0);
	assert_int_equal(stack_export_cancel(c.t.s, c.conn, t->generation, c.t.now), 0);
	RX(&c, .flags = TH_ACK, .seq = 101, .ack = 1, .len = 100, .tos = ECT0);
	tc_tx_all(&c);
	assert_true(c.last.flags & TH_ECE);
	tc_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_ecn_passive_by_tcp_ecn, setup),
		cmocka_unit_test_setup(test_ecn_active_by_tcp_ecn, setup),
		cmocka_unit_test_setup(test_ecn_syn_again_without, setup),
		cmocka_unit_test_setup(test_ecn_with_syn_cookies, setup),
		cmocka_unit_test_setup(test_ecn_ect_on_new_data_only, setup),
		cmocka_unit_test_setup(test_ecn_keeps_dscp, setup),
		cmocka_unit_test_setup(test_ecn_ce_is_echoed_until_cwr, setup),
		cmocka_unit_test_setup(
			test_ecn_marks_out_of_order_count_and_without_agreement_do_not, setup),
		cmocka_unit_test_setup(test_ecn_echo_reduces_once_per_window, setup),
		cmocka_unit_test_setup(test_ecn_echo_reduces_while_acks_come, setup),
		cmocka_unit_test_setup(test_ecn_echo_without_agreement_is_nothing, setup),
		cmocka_unit_test_setup(test_ecn_mark_and_loss_in_one_window, setup),
		cmocka_unit_test_setup(test_ecn_bbr_says_cwr_and_goes_on, setup),
		cmocka_unit_test_setup(test_dctcp_all_packets_are_ect, setup),
		cmocka_unit_test_setup(test_dctcp_receiver_tells_which_were_marked, setup),
		cmocka_unit_test_setup(test_dctcp_alpha_follows_the_marks, setup),
		cmocka_unit_test_setup(test_ecn_state_moves_with_the_connection, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
