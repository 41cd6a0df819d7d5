/* SPDX-License-Identifier: BSD-2-Clause */
/* See lib_tcp.h. */
#include "lib_tcp.h"

static uint8_t pattern(uint32_t seq)
{
	return (uint8_t)(seq * 7 + (seq >> 8) * 13);
}

struct tcb *tc_tcb(struct conv *c)
{
	return &c->t.a.tcbs[c->conn];
}

struct stack_usage tc_usage(struct conv *c)
{
	struct stack_usage u;

	stack_usage(c->t.s, &u);
	return u;
}

void tc_state(struct conv *c, enum tcp_state st)
{
	assert_int_equal(tc_tcb(c)->state, st);
}

/* ---- segments in ---- */

static uint32_t put_options(const struct conv *c, const struct seg *g, uint8_t *p)
{
	bool syn = g->flags & TH_SYN;
	struct tcp_options o = {.has_ts = c->ts && !g->no_ts,
				.ts_val = g->ts_val || g->late ? g->ts_val : c->ts_val,
				.ts_ecr = g->ts_ecr ? g->ts_ecr : c->ts_ecr};

	for (; o.n_sack < 3 && g->sack[o.n_sack].end; o.n_sack++) {
		o.sack[o.n_sack].start = g->sack[o.n_sack].start + c->iss;
		o.sack[o.n_sack].end = g->sack[o.n_sack].end + c->iss;
	}
	if (syn) {
		o.sack_ok = c->sack;
		o.fo = c->fo.fo;
		o.fo_exp = c->fo.fo_exp;
		memcpy(o.fo_cookie, c->fo.fo_cookie, sizeof(o.fo_cookie));
		o.mss = c->mss;
		o.has_wscale = c->wscale;
		o.wscale = (uint8_t)(c->wscale - 1);
	}
	return tcp_put_options(p, &o, syn);
}

enum drop tc_rx(struct conv *c, const struct seg *g)
{
	struct ip_addr src = ip(PEER_IP), dst = ip(OUR_IP);
	uint8_t *b = calloc(1, 66000);
	uint32_t hlen = 20 + put_options(c, g, b + 20), sum;
	enum drop d;

	put_be16(b, c->rport);
	put_be16(b + 2, c->lport);
	put_be32(b + 4, g->seq + PEER_ISS);
	put_be32(b + 8, g->flags & TH_ACK ? g->ack + c->iss : 0);
	b[12] = (uint8_t)(hlen / 4 << 4);
	b[13] = g->flags;
	put_be16(b + 14, (uint16_t)(g->wnd == ZERO_WND ? 0 : g->wnd ? g->wnd : c->wnd));
	put_be16(b + 18, g->up);
	for (uint32_t i = 0; i < g->len; i++)
		b[hlen + i] = pattern(g->seq + !!(g->flags & TH_SYN) + i);
	sum = csum_partial(b, hlen + g->len, csum_pseudo(&src, &dst, PROTO_TCP, hlen + g->len));
	memcpy(b + 16, &(uint16_t){csum_fold(sum)}, 2);
	d = ts_rx(&c->t, &(struct spec){IP_PKT, .proto = PROTO_TCP, .tos = g->tos, .data = b,
					.len = hlen + g->len});
	free(b);
	return d;
}

/* ---- segments out ---- */

bool tc_take(struct conv *c)
{
	struct ip_info ii = {0};
	struct tcp_seg g;
	struct pkt p = {.nfrags = 1};

	if (!ts_tx(&c->t, &c->o))
		return false;
	assert_int_equal(c->o.proto, PROTO_TCP);
	assert_int_equal(get_be16(c->o.l4), c->lport);
	assert_int_equal(get_be16(c->o.l4 + 2), c->rport);
	p.frag[0] = (struct pkt_frag){.p = c->o.b, .len = c->o.len};
	p.len = c->o.len;
	p.csum = PKT_CSUM_GOOD;
	ii.l4_off = (uint16_t)(c->o.l4 - c->o.b);
	ii.l4_len = c->o.l4_len;
	assert_int_equal(tcp_parse(c->t.s, &p, &ii, &g), DROP_NONE);
	if (g.flags & TH_SYN)
		c->iss = g.seq;
	c->opt = g.o;
	if (g.o.has_ts)
		c->ts_ecr = g.o.ts_val;
	c->last = (struct seg){.flags = g.flags,
			       .seq = g.seq - c->iss,
			       .ack = g.flags & TH_ACK ? g.ack - PEER_ISS : 0,
			       .len = g.len,
			       .wnd = g.wnd,
			       .up = g.up};
	for (uint32_t i = 0; i < g.len; i++)
		if (c->o.b[g.data_off + i] != pattern(c->last.seq + !!(g.flags & TH_SYN) + i))
			fail_msg("wrong byte at %u", c->last.seq + i);
	return true;
}

void tc_tx(struct conv *c, const struct seg *g)
{
	const struct seg *l = &c->last;

	if (!tc_take(c))
		fail_msg("a segment was expected, there is none");
	if (l->flags != g->flags || l->seq != g->seq || l->len != g->len || l->ack != g->ack)
		fail_msg("flags %02x seq %u ack %u len %u was expected, not %02x %u %u %u",
			 g->flags, g->seq, g->ack, g->len, l->flags, l->seq, l->ack, l->len);
	if (g->flags & TH_URG && l->up != g->up)
		fail_msg("urgent pointer %u was expected, not %u", g->up, l->up);
	if (g->wnd && l->wnd != (g->wnd == ZERO_WND ? 0 : g->wnd))
		fail_msg("window %u was expected, not %u", g->wnd, l->wnd);
}

void tc_tx_none(struct conv *c)
{
	if (tc_take(c))
		fail_msg("no segment was expected, but flags %02x seq %u ack %u len %u came",
			 c->last.flags, c->last.seq, c->last.ack, c->last.len);
}

uint32_t tc_tx_all(struct conv *c)
{
	uint32_t n = 0;

	while (tc_take(c))
		n += c->last.len != 0;
	return n;
}

/* ---- calls ---- */

void tc_send(struct conv *c, uint32_t n)
{
	const struct tcb *t = tc_tcb(c);
	uint32_t seq = tcp_queue_end(t) - t->iss;
	uint8_t *b = malloc(n);

	for (uint32_t i = 0; i < n; i++)
		b[i] = pattern(seq + i);
	assert_int_equal(tcp_send(c->t.s, c->conn, b, n, 0, c->t.now), n);
	free(b);
	ts_check(&c->t);
}

void tc_recv(struct conv *c, uint32_t n)
{
	const struct tcb *t = tc_tcb(c);
	uint32_t seq = t->rcv_nxt - !!(t->flags & TCB_F_FIN_RCVD) - t->rx_bytes - PEER_ISS;
	uint8_t *b = malloc(n ? n : 1);

	assert_int_equal(tcp_recv(c->t.s, c->conn, b, n, 0, c->t.now), n);
	for (uint32_t i = 0; i < n; i++)
		assert_int_equal(b[i], pattern(seq + i));
	free(b);
	ts_check(&c->t);
}

uint32_t tc_events(struct conv *c)
{
	struct stack_ev ev;
	uint32_t mask = 0;

	while (stack_event_next(c->t.s, &ev))
		if (ev.conn == c->conn)
			mask |= ev.mask;
	return mask;
}

/* ---- beginning and end ---- */

void tc_open(struct conv *c, const struct stack_cfg *cfg)
{
	ts_open(&c->t, cfg);
	ts_neigh(&c->t, PEER_IP, peer_mac);
	c->lport = OUR_PORT;
	c->rport = PEER_PORT;
	c->conn = c->listener = SHM_NIL;
	c->mss = c->mss ? c->mss : PEER_MSS;
	c->wnd = c->wnd ? c->wnd : 65535;
	c->ts_val = 5000;
}

void tc_close(struct conv *c)
{
	ts_close(&c->t);
}

void tc_listen(struct conv *c, uint32_t backlog)
{
	assert_int_equal(tcp_listen(c->t.s, &(struct ip_addr){0}, __builtin_bswap16(OUR_PORT),
				    backlog, 1, &c->listener),
			 0);
}

void tc_accept(struct conv *c, const struct stack_cfg *cfg)
{
	tc_open(c, cfg);
	tc_listen(c, 8);
	assert_int_equal(RX(c, .flags = TH_SYN), DROP_NONE);
	TX(c, .flags = TH_SYN | TH_ACK, .ack = 1);
	assert_int_equal(RX(c, .flags = TH_ACK, .seq = 1, .ack = 1), DROP_NONE);
	assert_int_equal(tcp_accept(c->t.s, c->listener, &c->conn), 0);
	tc_state(c, TCP_ESTABLISHED);
	tc_tx_none(c);
	tc_events(c);
}

void tc_connect_syn(struct conv *c, const struct stack_cfg *cfg)
{
	struct tcp_addr_pair a = {.remote = ip(PEER_IP),
				  .remote_port = __builtin_bswap16(OUR_PORT)};

	tc_open(c, cfg);
	assert_int_equal(tcp_connect(c->t.s, &a, 2, c->t.now, &c->conn), 0);
	ts_check(&c->t);
	c->lport = __builtin_bswap16(tc_tcb(c)->local_port);
	c->rport = OUR_PORT;
	TX(c, .flags = TH_SYN);
	tc_state(c, TCP_SYN_SENT);
}

void tc_connect(struct conv *c, const struct stack_cfg *cfg, uint64_t rtt_ms)
{
	tc_connect_syn(c, cfg);
	ts_advance(&c->t, rtt_ms);
	assert_int_equal(RX(c, .flags = TH_SYN | TH_ACK, .ack = 1), DROP_NONE);
	TX(c, .flags = TH_ACK, .seq = 1, .ack = 1);
	tc_state(c, TCP_ESTABLISHED);
	tc_events(c);
}
