/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The XDP program answers SYNs in the stack's place (bpf/syncookie.h): both say the same, byte for
 * byte, and each takes the ACK of what the other has said.
 */
#include "lib_tcp.h"
#include "lib_xdp.h"
#include "rnd.h"

static struct tstack t;
static uint32_t listener;
static struct port_cookies pc;
static struct syncookie_secrets secrets;

/* As the daemon fills in an entry of `ports`. */
static void take_over(void)
{
	struct tcp_cookie_state c;

	assert_int_equal(tcp_listen_cookies(t.s, listener, 1500, &c), 0);
	pc = c.say;
	stack_syncookie_secrets(t.s, &secrets, t.now);
	tcp_listen_cookies_sent(t.s, listener, t.now);
}

static void open_with(const struct stack_cfg *cfg, uint32_t backlog)
{
	ts_open(&t, cfg);
	ts_neigh(&t, PEER_IP, peer_mac);
	assert_int_equal(tcp_listen(t.s, &(struct ip_addr){0}, __builtin_bswap16(OUR_PORT), backlog,
				    1, &listener),
			 0);
	take_over();
}

static uint8_t ecn_field; /* of packets that build() makes */

static uint32_t build(uint8_t *b, uint16_t port, uint32_t seq, uint32_t ack, uint8_t flags,
		      const uint8_t *options, uint32_t n)
{
	struct ip_addr src = ip(PEER_IP), dst = ip(OUR_IP);
	uint8_t tcp[60] = {0};
	uint32_t sum;

	put_be16(tcp, port);
	put_be16(tcp + 2, OUR_PORT);
	put_be32(tcp + 4, seq);
	put_be32(tcp + 8, ack);
	tcp[12] = (uint8_t)((20 + n) / 4 << 4);
	tcp[13] = flags;
	put_be16(tcp + 14, 5000);
	memcpy(tcp + 20, options, n);
	sum = csum_partial(tcp, 20 + n, csum_pseudo(&src, &dst, PROTO_TCP, 20 + n));
	memcpy(tcp + 16, &(uint16_t){csum_fold(sum)}, 2);
	return ts_build(b, &(struct spec){IP_PKT, .proto = PROTO_TCP, .data = tcp, .len = 20 + n,
					  .tos = ecn_field});
}

/* The stack gets the frame, too. */
static void takes(const uint8_t *b, uint32_t len)
{
	assert_int_equal(ts_rx_raw(&t, b, len, len, 0, PKT_CSUM_VERIFY), DROP_NONE);
}

/* Any options in any order, padded; *@ts_val of the timestamp where there is one. */
static uint32_t any_options(uint8_t *o)
{
	uint32_t n = 0;

	memset(o, 1, 40);
	for (int i = 0; i < 5; i++) {
		switch (rnd() % 7) {
		case 0:
			o[n++] = 2;
			o[n++] = 4;
			put_be16(o + n, (uint16_t)(rnd() % 2 ? 1300 + rnd() % 200 : rnd()));
			n += 2;
			break;
		case 1:
			o[n++] = 3;
			o[n++] = 3;
			o[n++] = (uint8_t)(rnd() % 17);
			break;
		case 2:
			o[n++] = 4;
			o[n++] = 2;
			break;
		case 3:
		case 4:
			if (n > 28)
				break;
			o[n++] = 8;
			o[n++] = 10;
			put_be32(o + n, rnd());
			put_be32(o + n + 4, 0);
			n += 8;
			break;
		case 5:
			o[n++] = 1;
			break;
		default: /* unknown */
			o[n++] = 77;
			o[n++] = 4;
			n += 2;
		}
		if (n > 30)
			break;
	}
	return (n + 3) & ~3u;
}

static uint32_t options_of_synack(const struct xdp_answer *a, struct tcp_options *o)
{
	memset(o, 0, sizeof(*o));
	for (uint32_t i = 54; i < a->len && a->b[i];) {
		uint8_t kind = a->b[i];

		if (kind == 8) {
			o->has_ts = true;
			o->ts_val = get_be32(a->b + i + 2);
		}
		o->has_wscale |= kind == 3;
		o->sack_ok |= kind == 4;
		i += kind == 1 ? 1 : a->b[i + 1];
	}
	return get_be32(a->b + 38);
}

static void same_answers(const struct stack_cfg *cfg)
{
	uint8_t b[2000], o[40];
	struct out out;

	open_with(cfg, 8);
	for (uint32_t i = 0; i < 3000; i++) {
		uint32_t n = any_options(o), seq = rnd(), len;
		uint16_t port = (uint16_t)rnd();
		struct xdp_answer a;

		ts_advance(&t, 1 + rnd() % 50);
		ts_neigh(&t, PEER_IP, peer_mac);
		take_over();
		ecn_field = rnd() % 4 ? 0 : 2;
		len = build(b, port, seq, 0,
			    (uint8_t)(TH_SYN | (rnd() % 2 ? TH_ECE | TH_CWR : rnd() & TH_ECE)), o,
			    n);
		ecn_field = 0;
		a = xdp_on_flooded(&secrets, &pc, our_mac, t.now.ns, b, len);
		assert_int_equal(a.reason, XR_SYN_COOKIE);
		takes(b, len);
		ts_expect(&t, &out);
		assert_int_equal(a.len, out.len);
		assert_memory_equal(a.b, out.b, 14);
		assert_memory_equal(a.b + 34, out.l4, a.len - 34); /* checksum and all */
		assert_int_equal(a.b[22], out.ttl);
		assert_int_equal(a.b[15], out.tos);
		assert_int_equal(get_be16(a.b + 20) & 0x4000, out.frag & 0x4000); /* DF */
	}
	ts_close(&t);
}

static void test_syncookie_xdp_answers_as_the_stack(void **state)
{
	struct stack_cfg cfg = ts_cfg();

	(void)state;
	cfg.limits.tcp_syncookies = 2;
	same_answers(&cfg);
	cfg.cc = "dctcp";
	same_answers(&cfg);
	cfg.cc = NULL;
	cfg.limits.tcp_ecn = 0;
	cfg.limits.tcp_window_scaling = 0;
	cfg.limits.tcp_sack = 0;
	same_answers(&cfg);
	cfg.limits.tcp_timestamps = 0;
	same_answers(&cfg);
}

static void end(uint32_t conn)
{
	struct stack_ev ev;
	struct out out;

	tcp_abort(t.s, conn, t.now);
	while (ts_tx(&t, &out))
		;
	while (stack_event_next(t.s, &ev))
		;
}

/* How many of two wrong ACKs passed. */
static uint32_t connect_by_xdp(uint16_t port)
{
	uint32_t passed = 0;
	uint8_t b[2000], o[40], ts[12] = {1, 1, 8, 10};
	uint32_t n = any_options(o), seq = rnd(), len, iss, conn;
	struct tcp_options so;
	struct xdp_answer a;
	const struct tcb *c;

	len = build(b, port, seq, 0, TH_SYN, o, n);
	a = xdp_on_flooded(&secrets, &pc, our_mac, t.now.ns, b, len);
	assert_int_equal(a.reason, XR_SYN_COOKIE);
	iss = options_of_synack(&a, &so);
	put_be32(ts + 4, 0x7fffffff);
	put_be32(ts + 8, so.ts_val);
	len = build(b, port, seq + 1, iss + 1, TH_ACK, ts, so.has_ts ? 12 : 0);
	assert_int_equal(xdp_on_flooded(&secrets, &pc, our_mac, t.now.ns, b, len).reason,
			 XR_COOKIE_ACK);
	takes(b, len);
	assert_int_equal(tcp_accept(t.s, listener, &conn), 0);
	c = tcp_get(t.s, conn);
	assert_int_equal(c->state, TCP_ESTABLISHED);
	assert_int_equal(!!(c->opt & TCB_OPT_TS), so.has_ts);
	assert_int_equal(!!(c->opt & TCB_OPT_SACK), so.sack_ok);
	assert_int_equal(!!(c->opt & TCB_OPT_WSCALE), so.has_wscale);
	assert_int_equal(c->rcv_wscale, so.has_wscale ? pc.wscale : 0);
	assert_int_equal(c->rcv_adv, seq + 1 + pc.window);
	end(conn);
	/* Another client's, and one that guesses */
	len = build(b, port, seq + 2, iss + 1, TH_ACK, ts, so.has_ts ? 12 : 0);
	a = xdp_on_flooded(&secrets, &pc, our_mac, t.now.ns, b, len);
	assert_true(a.reason == XR_DROP_COOKIE || a.reason == XR_PORT_SLOW);
	passed += a.reason == XR_PORT_SLOW;
	len = build(b, port, rnd(), rnd(), TH_ACK, ts, so.has_ts ? 12 : 0);
	a = xdp_on_flooded(&secrets, &pc, our_mac, t.now.ns, b, len);
	assert_true(a.reason == XR_DROP_COOKIE || a.reason == XR_PORT_SLOW);
	return passed + (a.reason == XR_PORT_SLOW);
}

static void test_syncookie_xdp_third_ack_establishes(void **state)
{
	uint32_t passed = 0;

	(void)state;
	open_with(NULL, 8);
	for (uint32_t i = 0; i < 2000; i++) {
		ts_advance(&t, 100);
		ts_neigh(&t, PEER_IP, peer_mac);
		take_over();
		passed += connect_by_xdp((uint16_t)(1024 + i));
	}
	/* As many as hit the ISNs of two minutes by chance: 0.75 % of 4000. */
	assert_in_range(passed, 0, 100);
	ts_close(&t);
}

/* A request that the stack has taken before: its ACK passes, and is the one that counts. */
static void test_syncookie_xdp_passes_acks_of_requests(void **state)
{
	uint8_t b[2000], none[1] = {0};
	struct out out;
	uint32_t conn;

	(void)state;
	open_with(NULL, 64);
	for (uint32_t i = 0; i < 500; i++) {
		uint16_t port = (uint16_t)(2000 + i);
		uint32_t len = build(b, port, 77, 0, TH_SYN, none, 0), iss;

		ts_advance(&t, 999);
		ts_neigh(&t, PEER_IP, peer_mac);
		take_over();
		takes(b, len);
		ts_expect(&t, &out);
		iss = get_be32(out.l4 + 4);
		len = build(b, port, 78, iss + 1, TH_ACK, none, 0);
		assert_int_equal(
			xdp_on_flooded(&secrets, &pc, our_mac, t.now.ns + 900000000, b, len).reason,
			XR_PORT_SLOW);
		takes(b, len);
		assert_int_equal(tcp_accept(t.s, listener, &conn), 0);
		end(conn);
	}
	ts_close(&t);
}

/* The SYN-ACK was lost, the SYN came again, and then the program answered it. */
static void test_syncookie_xdp_replaces_a_request(void **state)
{
	uint8_t b[2000], none[1] = {0};
	struct stack_usage u;
	struct xdp_answer a;
	struct out out;
	uint32_t len, conn, iss;

	(void)state;
	open_with(NULL, 8);
	for (uint32_t seq = 77; seq < 0x80000000u; seq += 0x40000000u) { /* the same, another */
		len = build(b, 4000, 77, 0, TH_SYN, none, 0);
		takes(b, len);
		ts_expect(&t, &out);
		len = build(b, 4000, seq, 0, TH_SYN, none, 0);
		a = xdp_on_flooded(&secrets, &pc, our_mac, t.now.ns, b, len);
		assert_int_equal(a.reason, XR_SYN_COOKIE);
		iss = get_be32(a.b + 38);
		/* A wrong one is answered as ever. */
		len = build(b, 4000, seq + 1, iss + 2, TH_ACK, none, 0);
		assert_int_not_equal(ts_rx_raw(&t, b, len, len, 0, PKT_CSUM_VERIFY), DROP_NONE);
		ts_expect(&t, &out);
		stack_usage(t.s, &u);
		assert_int_equal(u.synreqs, 1);
		len = build(b, 4000, seq + 1, iss + 1, TH_ACK, none, 0);
		takes(b, len);
		stack_usage(t.s, &u);
		assert_int_equal(u.synreqs, 0);
		assert_int_equal(tcp_accept(t.s, listener, &conn), 0);
		end(conn);
	}
	ts_close(&t);
}

/* A pair in TIME_WAIT, of which the program knows nothing. */
static void test_syncookie_xdp_replaces_time_wait(void **state)
{
	uint8_t b[2000], none[1] = {0};
	struct stack_usage u;
	struct xdp_answer a;
	struct out out;
	uint32_t len, conn, iss;

	(void)state;
	open_with(NULL, 8);
	len = build(b, 4000, 77, 0, TH_SYN, none, 0);
	takes(b, len);
	ts_expect(&t, &out);
	iss = get_be32(out.l4 + 4);
	len = build(b, 4000, 78, iss + 1, TH_ACK, none, 0);
	takes(b, len);
	assert_int_equal(tcp_accept(t.s, listener, &conn), 0);
	tcp_close(t.s, conn, t.now);
	ts_expect(&t, &out);
	len = build(b, 4000, 78, iss + 2, TH_ACK | TH_FIN, none, 0);
	takes(b, len);
	while (ts_tx(&t, &out))
		;
	stack_usage(t.s, &u);
	assert_int_equal(u.timewaits, 1);

	len = build(b, 4000, 5000, 0, TH_SYN, none, 0);
	a = xdp_on_flooded(&secrets, &pc, our_mac, t.now.ns, b, len);
	iss = get_be32(a.b + 38);
	len = build(b, 4000, 5001, iss + 1, TH_ACK, none, 0);
	takes(b, len);
	stack_usage(t.s, &u);
	assert_int_equal(u.timewaits, 0);
	assert_int_equal(tcp_accept(t.s, listener, &conn), 0);
	end(conn);
	ts_close(&t);
}

/* Told once, when asked for. */
static void test_syncookie_xdp_event(void **state)
{
	uint8_t b[2000], none[1] = {0};
	struct stack_cfg cfg = ts_cfg();
	struct stack_ev ev;
	struct out out;
	uint32_t len;

	(void)state;
	cfg.limits.tcp_syncookies = 2;
	open_with(&cfg, 8);
	for (int i = 0; i < 6; i++) {
		len = build(b, 4000, 77, 0, TH_SYN, none, 0);
		if (i == 2 || i == 4)
			tcp_listen_watch(t.s, listener);
		takes(b, len);
		ts_expect(&t, &out);
		assert_int_equal(stack_event_next(t.s, &ev), i == 2 || i == 4);
		if (i == 2 || i == 4) {
			assert_true(ev.mask & EV_COOKIES);
			assert_int_equal(ev.listener, listener);
		}
	}
	ts_close(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_syncookie_xdp_answers_as_the_stack),
		cmocka_unit_test(test_syncookie_xdp_third_ack_establishes),
		cmocka_unit_test(test_syncookie_xdp_passes_acks_of_requests),
		cmocka_unit_test(test_syncookie_xdp_replaces_a_request),
		cmocka_unit_test(test_syncookie_xdp_replaces_time_wait),
		cmocka_unit_test(test_syncookie_xdp_event),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
