/* SPDX-License-Identifier: BSD-2-Clause */
/* tcp_state.c: opening in every way, the closing sequences of RFC 9293 §3.6, ends. */
#include "lib_tcp.h"

static struct conv c;

static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	return 0;
}

/* ---- opening ---- */

/* RFC 9293 MUST-14; RFC 7323 §2.2/2 */
static void test_tcp_syn_sent_synack_establishes(void **state)
{
	(void)state;
	c.ts = true;
	c.wscale = 1 + 3;
	tc_connect_syn(&c, NULL);
	assert_int_equal(c.opt.mss, 1460);
	assert_true(c.opt.has_wscale && c.opt.has_ts);
	assert_int_equal(c.opt.wscale, 10);
	ts_advance(&c.t, 30);
	assert_int_equal(RX(&c, .flags = TH_SYN | TH_ACK, .ack = 1, .wnd = 1000), DROP_NONE);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .wnd = 65536 >> 10);
	assert_int_equal(c.opt.ts_ecr, 5000);
	tc_state(&c, TCP_ESTABLISHED);
	assert_int_equal(tc_events(&c), EV_CONNECTED | EV_WRITABLE);
	assert_int_equal(tc_tcb(&c)->snd_wnd, 1000); /* of a SYN: not scaled */
	assert_int_equal(tc_tcb(&c)->srtt, 30000);
	assert_int_equal(ts_mib(&c.t, MIB_Tcp_ActiveOpens), 1);
	tc_close(&c);
}

/* RFC 7323 §2.2/1 */
static void test_tcp_syn_sent_no_options_uses_defaults(void **state)
{
	(void)state;
	c.mss = 1; /* not believed */
	tc_connect(&c, NULL, 1);
	assert_int_equal(tc_tcb(&c)->opt, 0);
	assert_int_equal(tc_tcb(&c)->rcv_wscale, 0);
	assert_int_equal(tc_tcb(&c)->mss, TCP_MSS_MIN);
	tc_close(&c);
}

/* RFC 9293 MUST-15 */
static void test_tcp_syn_sent_peer_without_mss(void **state)
{
	(void)state;
	tc_connect_syn(&c, NULL);
	c.mss = 0;
	assert_int_equal(RX(&c, .flags = TH_SYN | TH_ACK, .ack = 1), DROP_NONE);
	assert_int_equal(tc_tcb(&c)->mss, 536);
	tc_close(&c);
}

/* RFC 9293 MUST-22 */
static void test_tcp_syn_sent_retransmits_with_backoff(void **state)
{
	(void)state;
	tc_connect_syn(&c, NULL);
	for (uint64_t s = 1; s <= 32; s *= 2) {
		ts_advance(&c.t, s * 1000 - 1);
		tc_tx_none(&c);
		ts_advance(&c.t, 2);
		TX(&c, .flags = TH_SYN);
	}
	ts_advance(&c.t, 64000);
	assert_int_equal(tc_tx_all(&c), 0);
	assert_int_equal(tc_tcb(&c)->state, TCP_CLOSED);
	assert_true(tc_events(&c) & EV_ERROR);
	assert_int_equal(tcp_error(c.t.s, c.conn), E_TIMEDOUT);
	assert_int_equal(tcp_error(c.t.s, c.conn), 0);
	assert_int_equal(ts_mib(&c.t, MIB_TcpExt_TCPSynRetrans), 6);
	tcp_close(c.t.s, c.conn, c.t.now);
	assert_int_equal(tc_usage(&c).tcbs, 0);
	tc_close(&c);
}

static void test_tcp_syn_sent_rst_refuses(void **state)
{
	(void)state;
	tc_connect_syn(&c, NULL);
	assert_int_equal(RX(&c, .flags = TH_RST | TH_ACK, .ack = 2), DROP_BAD_ACK);
	tc_tx_none(&c);
	assert_int_equal(RX(&c, .flags = TH_RST), DROP_BAD_STATE);
	tc_state(&c, TCP_SYN_SENT);
	assert_int_equal(RX(&c, .flags = TH_RST | TH_ACK, .ack = 1), DROP_NONE);
	tc_state(&c, TCP_CLOSED);
	assert_int_equal(tcp_error(c.t.s, c.conn), E_CONNREFUSED);
	assert_int_equal(tcp_recv(c.t.s, c.conn, NULL, 0, 0, c.t.now), 0);
	assert_int_equal(ts_mib(&c.t, MIB_Tcp_AttemptFails), 1);
	tc_close(&c);
}

static void test_tcp_syn_sent_bad_ack_resets(void **state)
{
	(void)state;
	tc_connect_syn(&c, NULL);
	assert_int_equal(RX(&c, .flags = TH_SYN | TH_ACK, .ack = 7), DROP_BAD_ACK);
	TX(&c, .flags = TH_RST, .seq = 7);
	tc_state(&c, TCP_SYN_SENT);
	tc_close(&c);
}

static void test_tcp_syn_sent_synack_with_data_delivers(void **state)
{
	(void)state;
	tc_connect_syn(&c, NULL);
	assert_int_equal(RX(&c, .flags = TH_SYN | TH_ACK | TH_FIN, .ack = 1), DROP_NONE);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 2);
	tc_state(&c, TCP_CLOSE_WAIT);
	tc_recv(&c, 0);
	tc_close(&c);
}

/* RFC 9293 figure 8 */
/* RFC 9293 MUST-10 */
static void test_tcp_syn_sent_syn_opens_simultaneously(void **state)
{
	(void)state;
	tc_connect_syn(&c, NULL);
	assert_int_equal(RX(&c, .flags = TH_SYN), DROP_NONE);
	tc_state(&c, TCP_SYN_RECEIVED);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	assert_int_equal(RX(&c, .flags = TH_SYN | TH_ACK, .ack = 1), DROP_NONE);
	tc_state(&c, TCP_ESTABLISHED);
	assert_int_equal(tc_events(&c), EV_CONNECTED | EV_WRITABLE);
	tc_send(&c, 10);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 1, .len = 10);
	tc_close(&c);
}

static void test_tcp_syn_received_rst_refuses(void **state)
{
	(void)state;
	tc_connect_syn(&c, NULL);
	RX(&c, .flags = TH_SYN);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 1), DROP_NONE);
	assert_int_equal(tcp_error(c.t.s, c.conn), E_CONNREFUSED);
	tc_close(&c);
}

static void test_tcp_syn_received_repeats_synack(void **state)
{
	(void)state;
	tc_connect_syn(&c, NULL);
	RX(&c, .flags = TH_SYN);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	ts_advance(&c.t, 1001);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	/* Closed meanwhile: the FIN follows when the handshake is through. */
	tcp_close(c.t.s, c.conn, c.t.now);
	tc_tx_none(&c);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	TX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 1);
	tc_state(&c, TCP_FIN_WAIT_1);
	tc_close(&c);
}

/* RFC 9293 MUST-1 */
static void test_tcp_passive_third_ack_establishes(void **state)
{
	(void)state;
	c.ts = true;
	c.wscale = 1 + 2;
	tc_accept(&c, NULL);
	assert_int_equal(tc_tcb(&c)->opt, TCB_OPT_TS | TCB_OPT_WSCALE);
	assert_int_equal(tc_tcb(&c)->snd_wnd, 65535u << 2);
	assert_int_equal(tc_tcb(&c)->cwnd, 10 * 1448);
	assert_int_equal(tcp_poll(c.t.s, c.conn), EV_WRITABLE | EV_CONNECTED);
	assert_int_equal(ts_mib(&c.t, MIB_Tcp_PassiveOpens), 1);
	tc_close(&c);
}

/* ---- closing ---- */

/* Ours only; nothing was sent before. */
static void half_close(void)
{
	tcp_shutdown(c.t.s, c.conn, false, true, c.t.now);
	TX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 1);
}

/* A program still has it. The peer's FIN is number 1, ours as well. */
static void time_wait_held(const struct stack_cfg *cfg)
{
	tc_accept(&c, cfg);
	half_close();
	RX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 2);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 2);
	tc_state(&c, TCP_TIME_WAIT);
}

/* RFC 9293 MUST-13 */
static void test_tcp_fin_wait_1_ack_then_fin_time_wait(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tcp_close(c.t.s, c.conn, c.t.now);
	TX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 1);
	tc_state(&c, TCP_FIN_WAIT_1);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 2);
	tc_state(&c, TCP_FIN_WAIT_2);
	RX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 2);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 2);
	assert_int_equal(tc_usage(&c).tcbs, 0);
	assert_int_equal(tc_usage(&c).timewaits, 1);
	assert_int_equal(tc_usage(&c).orphans, 0);
	assert_int_equal(tc_events(&c), EV_TIMEWAIT);
	ts_advance(&c.t, 61000);
	assert_int_equal(tc_usage(&c).timewaits, 0);
	tc_close(&c);
}

static void test_tcp_fin_wait_1_fin_with_ack_time_wait(void **state)
{
	(void)state;
	time_wait_held(NULL); /* held: still a TCB */
	assert_true(tcp_poll(c.t.s, c.conn) & EV_HUP);
	assert_true(tc_events(&c) & EV_HUP); /* who sleeps in poll() is woken */
	tc_recv(&c, 0);
	tcp_close(c.t.s, c.conn, c.t.now);
	assert_int_equal(tc_usage(&c).tcbs, 0);
	tc_close(&c);
}

static void test_tcp_fin_wait_1_fin_closing_time_wait(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	half_close();
	RX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 1);
	tc_state(&c, TCP_CLOSING);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 2);
	RX(&c, .flags = TH_ACK, .seq = 2, .ack = 2);
	tc_state(&c, TCP_TIME_WAIT);
	tc_close(&c);
}

static void test_tcp_close_wait_close_last_ack_closed(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 1);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 2);
	tc_state(&c, TCP_CLOSE_WAIT);
	assert_int_equal(tc_events(&c), EV_READABLE | EV_RDHUP);
	tc_send(&c, 100); /* half-closed: our direction works */
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 2, .len = 100);
	tcp_close(c.t.s, c.conn, c.t.now);
	tc_state(&c, TCP_LAST_ACK);
	TX(&c, .flags = TH_ACK | TH_FIN, .seq = 101, .ack = 2);
	RX(&c, .flags = TH_ACK, .seq = 2, .ack = 101);
	tc_state(&c, TCP_LAST_ACK);
	RX(&c, .flags = TH_ACK, .seq = 2, .ack = 102);
	assert_int_equal(tc_usage(&c).tcbs, 0);
	assert_int_equal(tc_events(&c), EV_FREED);
	/* RFC 4022 tcpEstabResets: only those that go to CLOSED at once */
	assert_int_equal(ts_mib(&c.t, MIB_Tcp_EstabResets), 0);
	tc_close(&c);
}

static void test_tcp_last_ack_held_becomes_closed(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 1);
	tcp_shutdown(c.t.s, c.conn, false, true, c.t.now);
	TX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 2);
	RX(&c, .flags = TH_ACK, .seq = 2, .ack = 2);
	tc_state(&c, TCP_CLOSED);
	assert_int_equal(tcp_error(c.t.s, c.conn), 0);
	assert_true(tc_events(&c) & EV_HUP);
	tcp_close(c.t.s, c.conn, c.t.now);
	assert_int_equal(tc_usage(&c).tcbs, 0);
	tc_close(&c);
}

/* RFC 9293 MUST-13 */
static void test_tcp_time_wait_held_ends_after_2msl(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	half_close();
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 2);
	RX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 2, .len = 5);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 7);
	tc_state(&c, TCP_TIME_WAIT);
	ts_advance(&c.t, 59000);
	RX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 2, .len = 5);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 7);
	ts_advance(&c.t, 59000);
	tc_tx_none(&c);
	tc_state(&c, TCP_TIME_WAIT);
	ts_advance(&c.t, 1500);
	tc_tx_none(&c);
	tc_state(&c, TCP_CLOSED);
	tc_recv(&c, 5); /* what came is there to read */
	tc_recv(&c, 0);
	tc_close(&c);
}

/* The program finds what it would after 2 MSL: no error. */
static void test_tcp_time_wait_held_only_exact_rst_ends_it(void **state)
{
	(void)state;
	c.ts = true;
	time_wait_held(NULL);
	RX(&c, .flags = TH_RST, .seq = 3);
	RX(&c, .flags = TH_RST, .seq = 1);
	RX(&c, .flags = TH_RST | TH_SYN, .seq = 2);
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 2, .ts_val = 4990), DROP_PAWS);
	tc_tx_none(&c);
	tc_state(&c, TCP_TIME_WAIT);
	assert_int_equal(RX(&c, .flags = TH_RST, .seq = 2), DROP_NONE);
	tc_state(&c, TCP_CLOSED);
	tc_recv(&c, 0);
	tc_tx_none(&c);
	tc_close(&c);
}

/* RFC 1337 §3/1 */
static void test_tcp_time_wait_held_rfc1337_rst_ignored(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.limits.tcp_rfc1337 = 1;
	c.ts = true;
	time_wait_held(&cfg);
	RX(&c, .flags = TH_RST, .seq = 2);
	tc_tx_none(&c);
	tc_state(&c, TCP_TIME_WAIT);
	tc_close(&c);
}

static void test_tcp_time_wait_held_syn_begins_anew(void **state)
{
	(void)state;
	time_wait_held(NULL);
	RX(&c, .flags = TH_SYN, .seq = 100000);
	tc_state(&c, TCP_CLOSED);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 100001);
	tc_close(&c);
}

/* ---- other ends ---- */

/* RFC 9293 MUST-12 */
static void test_tcp_established_rst_resets(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 3);
	tc_tx_all(&c);
	tc_send(&c, 10);
	RX(&c, .flags = TH_RST, .seq = 4);
	tc_state(&c, TCP_CLOSED);
	tc_recv(&c, 3); /* first what was received, then the error, then EOF */
	assert_int_equal(tcp_recv(c.t.s, c.conn, &(char){0}, 1, 0, c.t.now), -E_CONNRESET);
	tc_recv(&c, 0);
	assert_int_equal(tcp_send(c.t.s, c.conn, "x", 1, 0, c.t.now), -E_PIPE);
	assert_int_equal(ts_mib(&c.t, MIB_Tcp_EstabResets), 1);
	tc_tx_none(&c);
	tc_close(&c);
}

/* What is kept of a connection for an RTO is not kept of one that has ended: no timer runs. */
static void test_tcp_closed_has_no_timer(void **state)
{
	struct stack_ev ev;
	struct tcb *t;

	(void)state;
	tc_accept(&c, NULL);
	t = tcb_at(c.t.s, c.conn);
	RX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 1, .len = 3);
	tc_tx_all(&c);
	tcp_shutdown(c.t.s, c.conn, false, true, c.t.now);
	tc_tx_all(&c);
	ts_advance(&c.t, 1);
	RX(&c, .flags = TH_ACK, .seq = 5, .ack = 2);
	tc_state(&c, TCP_CLOSED);
	while (stack_event_next(c.t.s, &ev))
		;
	tcb_work_get(c.t.s, t);
	t->flags |= TCB_F_TLP; /* a loss probe was sent, say */
	tc_recv(&c, 3);
	tcp_rearm(c.t.s, t, c.t.now);
	ts_check(&c.t);
	assert_int_equal(t->timer.slot, SHM_NIL);
	tc_close(&c);
}

/* accept(2) returns it, as Linux does: a server that counts connections loses none. */
static void test_tcp_accept_queue_rst_is_accepted(void **state)
{
	(void)state;
	tc_open(&c, NULL);
	tc_listen(&c, 8);
	RX(&c, .flags = TH_SYN);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 3);
	RX(&c, .flags = TH_RST, .seq = 4);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &c.conn), 0);
	tc_state(&c, TCP_CLOSED);
	tc_recv(&c, 3);
	assert_int_equal(tcp_recv(c.t.s, c.conn, &(char){0}, 1, 0, c.t.now), -E_CONNRESET);
	tcp_close(c.t.s, c.conn, c.t.now);
	assert_int_equal(tc_usage(&c).tcbs, 0);
	tc_close(&c);
}

static void test_tcp_abort_sends_rst_and_frees(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	tc_send(&c, 10);
	tcp_abort(c.t.s, c.conn, c.t.now);
	ts_check(&c.t);
	TX(&c, .flags = TH_RST | TH_ACK, .seq = 1, .ack = 1);
	tc_tx_none(&c);
	assert_int_equal(tc_usage(&c).tcbs, 0);
	assert_int_equal(tc_events(&c), EV_FREED);
	tc_close(&c);
}

/* RFC 9293 MUST-16: what the peer can take, but not more than the way carries */
static void test_tcp_mss_of_the_peer_beyond_the_link(void **state)
{
	(void)state;
	c.mss = 8960;
	tc_connect(&c, NULL, 1);
	assert_int_equal(tc_tcb(&c)->mss, 1460);
	tc_close(&c);
	tc_accept(&c, NULL);
	assert_int_equal(tc_tcb(&c)->mss, 1460);
	tc_close(&c);
}

/*
 * Nothing short is outstanding at first, however far the clock of initial numbers is by the third
 * ACK: Nagle lets the tail of the first answer go.
 */
static void test_tcp_passive_first_answer_goes_whole(void **state)
{
	(void)state;
	tc_open(&c, NULL);
	tc_listen(&c, 8);
	RX(&c, .flags = TH_SYN);
	TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
	ts_advance(&c.t, 20);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1);
	assert_int_equal(tcp_accept(c.t.s, c.listener, &c.conn), 0);
	tc_send(&c, 4 * 1460 + 100);
	assert_int_equal(tc_tx_all(&c), 5);
	tc_close(&c);
}

/* RFC 9293 §3.10.7.4: only the peer's FIN, sent again, makes TIME-WAIT begin anew. */
static void test_tcp_time_wait_held_old_text_does_not_prolong(void **state)
{
	(void)state;
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 5);
	tc_tx_all(&c);
	tcp_shutdown(c.t.s, c.conn, false, true, c.t.now);
	TX(&c, .flags = TH_ACK | TH_FIN, .seq = 1, .ack = 6);
	RX(&c, .flags = TH_ACK | TH_FIN, .seq = 6, .ack = 2);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 7);
	tc_state(&c, TCP_TIME_WAIT);
	ts_advance(&c.t, 59000);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 2, .len = 5);
	TX(&c, .flags = TH_ACK, .seq = 2, .ack = 7);
	ts_advance(&c.t, 1500);
	tc_tx_none(&c);
	tc_state(&c, TCP_CLOSED);
	tc_close(&c);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_tcp_syn_sent_synack_establishes, setup),
		cmocka_unit_test_setup(test_tcp_syn_sent_no_options_uses_defaults, setup),
		cmocka_unit_test_setup(test_tcp_syn_sent_peer_without_mss, setup),
		cmocka_unit_test_setup(test_tcp_syn_sent_retransmits_with_backoff, setup),
		cmocka_unit_test_setup(test_tcp_syn_sent_rst_refuses, setup),
		cmocka_unit_test_setup(test_tcp_syn_sent_bad_ack_resets, setup),
		cmocka_unit_test_setup(test_tcp_syn_sent_synack_with_data_delivers, setup),
		cmocka_unit_test_setup(test_tcp_syn_sent_syn_opens_simultaneously, setup),
		cmocka_unit_test_setup(test_tcp_syn_received_rst_refuses, setup),
		cmocka_unit_test_setup(test_tcp_syn_received_repeats_synack, setup),
		cmocka_unit_test_setup(test_tcp_passive_third_ack_establishes, setup),
		cmocka_unit_test_setup(test_tcp_fin_wait_1_ack_then_fin_time_wait, setup),
		cmocka_unit_test_setup(test_tcp_fin_wait_1_fin_with_ack_time_wait, setup),
		cmocka_unit_test_setup(test_tcp_fin_wait_1_fin_closing_time_wait, setup),
		cmocka_unit_test_setup(test_tcp_close_wait_close_last_ack_closed, setup),
		cmocka_unit_test_setup(test_tcp_last_ack_held_becomes_closed, setup),
		cmocka_unit_test_setup(test_tcp_time_wait_held_ends_after_2msl, setup),
		cmocka_unit_test_setup(test_tcp_time_wait_held_only_exact_rst_ends_it, setup),
		cmocka_unit_test_setup(test_tcp_time_wait_held_rfc1337_rst_ignored, setup),
		cmocka_unit_test_setup(test_tcp_time_wait_held_syn_begins_anew, setup),
		cmocka_unit_test_setup(test_tcp_established_rst_resets, setup),
		cmocka_unit_test_setup(test_tcp_closed_has_no_timer, setup),
		cmocka_unit_test_setup(test_tcp_accept_queue_rst_is_accepted, setup),
		cmocka_unit_test_setup(test_tcp_abort_sends_rst_and_frees, setup),
		cmocka_unit_test_setup(test_tcp_mss_of_the_peer_beyond_the_link, setup),
		cmocka_unit_test_setup(test_tcp_passive_first_answer_goes_whole, setup),
		cmocka_unit_test_setup(test_tcp_time_wait_held_old_text_does_not_prolong, setup),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
