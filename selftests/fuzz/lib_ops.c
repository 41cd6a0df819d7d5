// SPDX-License-Identifier: BSD-2-Clause
/*
 * What an input can do to a stack with live connections (lib_host.h): segments whose numbers are
 * relative to a connection's own, ICMP errors about it, user calls, time, changes of the network,
 * shortage of packets, hand-over. One byte chooses the operation, its arguments follow.
 */
#include "lib_host.h"

/* Beyond enum tcp_state: what is no TCB, but can be sent to. */
enum { FZ_ST_REQUEST = TCP_STATE_MAX, FZ_ST_RECORD, FZ_STATES };
#define FZ_KINDS 8

/* libFuzzer takes these for coverage, so that an input that meets a new pair is kept; it zeroes
 * them before each. */
__attribute__((section("__libfuzzer_extra_counters"))) static uint8_t met[FZ_STATES * FZ_KINDS];
static bool met_ever[FZ_STATES * FZ_KINDS];

/* The other end's view of something that segments can be for. */
struct target {
	struct tcp_addr_pair a;
	uint32_t rcv_nxt, rcv_adv, snd_una, snd_max;
	uint32_t ts_recent, ts_ours;
	uint16_t wnd; /* as it told it last */
	uint32_t conn, generation;
	uint32_t mss;
	uint8_t state;
	bool ts;
};

static struct target of_tcb(const struct fz_host *h, uint32_t i)
{
	const struct tcb *t = &h->a.tcbs[i];

	return (struct target){.a = tcb_pair(t),
			       .rcv_nxt = t->rcv_nxt,
			       .rcv_adv = t->rcv_adv,
			       .snd_una = t->snd_una,
			       .snd_max = t->snd_max,
			       .ts_recent = t->ts_recent,
			       .ts_ours = tcp_ts_now(h->s, h->now) + t->ts_offset,
			       .wnd = (uint16_t)(t->snd_wnd >> t->snd_wscale),
			       .conn = i,
			       .generation = t->generation,
			       .mss = t->mss,
			       .state = t->state,
			       .ts = t->opt & TCB_OPT_TS};
}

static struct target of_request(const struct fz_host *h, const struct synreq *r)
{
	return (struct target){.a = r->a,
			       .rcv_nxt = r->irs + 1,
			       .rcv_adv = r->irs + 1 + r->wnd,
			       .snd_una = r->iss + 1,
			       .snd_max = r->iss + 1,
			       .ts_recent = r->ts_recent,
			       .ts_ours = tcp_ts_now(h->s, h->now) + r->ts_offset,
			       .conn = TD_NO_CONN,
			       .mss = r->mss,
			       .state = FZ_ST_REQUEST,
			       .ts = r->opt & TCB_OPT_TS};
}

static struct target of_record(const struct fz_host *h, const struct timewait *w)
{
	return (struct target){.a = w->a,
			       .rcv_nxt = w->rcv_nxt,
			       .rcv_adv = w->rcv_nxt,
			       .snd_una = w->snd_nxt,
			       .snd_max = w->snd_nxt,
			       .ts_recent = w->ts_recent,
			       .ts_ours = tcp_ts_now(h->s, h->now) + tcp_ts_offset(h->s, &w->a),
			       .conn = TD_NO_CONN,
			       .mss = 1460,
			       .state = FZ_ST_RECORD,
			       .ts = w->has_ts};
}

/* The @k-th of all there is; a pair that nothing is known of where @k is large, or nothing is. */
static struct target pick(const struct fz_host *h, uint8_t k)
{
	struct target all[FZ_TCBS + 8 + 4];
	uint32_t n = 0;
	uint16_t port = (k & 1) ? FZ_OUR_PORT : 81;

	for (uint32_t i = 0; i < FZ_TCBS; i++)
		if (h->a.tcbs[i].owner == TCB_MINE)
			all[n++] = of_tcb(h, i);
	for (uint32_t l = 0; l < h->s->listener_free.used; l++)
		if (h->s->listeners[l].used)
			for (uint32_t i = h->s->listeners[l].syn_head; i != SHM_NIL;
			     i = h->s->synreqs[i].list_next)
				all[n++] = of_request(h, &h->s->synreqs[i]);
	for (uint32_t i = 0; i < h->s->tw_free.used; i++)
		if (h->s->tws[i].used)
			all[n++] = of_record(h, &h->s->tws[i]);
	if (n && k < 0xf0)
		return all[k % n];
	return (struct target){.a = {.local = fz_ip(FZ_OUR_IP),
				     .remote = fz_ip(k & 8 ? FZ_FAR_IP : FZ_PEER_IP),
				     .local_port = __builtin_bswap16(port),
				     .remote_port = __builtin_bswap16(6000 + (k >> 1 & 3))},
			       .rcv_nxt = 1000,
			       .rcv_adv = 1000,
			       .conn = TD_NO_CONN,
			       .mss = 1460,
			       .state = port == FZ_OUR_PORT ? TCP_LISTEN : TCP_CLOSED};
}

/* ---- segments ---- */

static uint32_t seq_of(struct fz *f, uint8_t mode, const struct target *t)
{
	switch (mode & 7) {
	case 0:
		return t->rcv_nxt;
	case 1:
		return t->rcv_nxt + (uint32_t)(int8_t)fz_u8(f);
	case 2:
		return t->rcv_adv;
	case 3:
		return t->rcv_adv + (uint32_t)(int8_t)fz_u8(f);
	case 4:
		return t->rcv_nxt + fz_u16(f);
	case 5:
		return t->rcv_nxt - fz_u16(f);
	case 6:
		return fz_u32(f);
	default:
		return t->rcv_nxt + 1460u * (fz_u8(f) & 15);
	}
}

static uint32_t ack_of(struct fz *f, uint8_t mode, const struct target *t)
{
	switch (mode & 7) {
	case 0:
		return t->snd_max;
	case 1:
		return t->snd_una;
	case 2:
		return t->snd_una + (uint32_t)(int8_t)fz_u8(f);
	case 3:
		return t->snd_max + (uint32_t)(int8_t)fz_u8(f);
	case 4:
		return t->snd_una + fz_u16(f);
	case 5:
		return fz_u32(f);
	case 6:
		return 0;
	default:
		return t->snd_una + t->mss;
	}
}

static uint8_t kind_of(uint8_t flags, uint32_t len)
{
	if (flags & TH_RST)
		return 1;
	if (flags & TH_SYN)
		return flags & TH_ACK ? 2 : 3;
	if (!(flags & TH_ACK))
		return 0;
	if (flags & TH_FIN)
		return 4;
	if (flags & TH_URG)
		return 5;
	return len ? 6 : 7;
}

static uint32_t put_ts(uint8_t *opts, uint32_t val, uint32_t ecr)
{
	put_be32(opts, 0x0101080a);
	put_be32(opts + 4, val);
	put_be32(opts + 8, ecr);
	return 12;
}

static void meet(uint8_t state, uint8_t flags, uint32_t len)
{
	uint32_t i = (uint32_t)state * FZ_KINDS + kind_of(flags, len);

	met[i] = 1;
	met_ever[i] = true;
}

static void op_segment(struct fz_host *h, struct fz *f)
{
	struct target t = pick(h, fz_u8(f));
	uint8_t b[FZ_FRAME_MAX], opts[40], flags = fz_u8(f), sel = fz_u8(f), x = fz_u8(f), n;
	struct fz_seg g = {.a = t.a, .flags = flags, .opts = opts};
	const uint8_t *blob;
	uint32_t got, len;

	g.seq = seq_of(f, sel, &t);
	g.ack = ack_of(f, sel >> 3, &t);
	n = fz_u8(f);
	g.len = n < 224 ? n : (n - 223u) * 128;
	n = fz_u8(f);
	g.wnd = n < 128 ? n : (uint16_t)(n << 8 | 0xff);
	if (flags & TH_URG)
		g.up = fz_u16(f);
	if (sel & 0x40 && t.ts) { /* the timestamps that were agreed on, more or less */
		int8_t dv = x & 1 ? (int8_t)fz_u8(f) : 0, de = x & 2 ? (int8_t)fz_u8(f) : 0;

		g.opt_len = put_ts(opts, t.ts_recent + (uint32_t)(int32_t)dv,
				   t.ts_ours + (uint32_t)(int32_t)de);
	}
	if (sel & 0x80) {
		blob = fz_bytes(f, fz_u8(f) % (41 - g.opt_len), &got);
		memcpy(opts + g.opt_len, blob, got);
		g.opt_len += got;
	}
	meet(t.state, flags, g.len);
	len = fz_build_seg(b, &g);
	if (x & 4)
		fz_seg_csum(b, len, &g);
	/* An index that the flow entry gave, a wrong one, or none. */
	fz_input(h, b, len, x >> 4, x & 4 ? PKT_CSUM_VERIFY : PKT_CSUM_GOOD,
		 x & 8 ? t.conn : TD_NO_CONN, t.generation);
}

/* The program's view of what the other end does next: it acknowledges, with data, in order. */
static void op_in_order(struct fz_host *h, struct fz *f)
{
	struct target t = pick(h, fz_u8(f));
	uint8_t n = fz_u8(f);

	if (t.conn == TD_NO_CONN || t.state < TCP_ESTABLISHED)
		return;
	meet(t.state, TH_ACK | (n & 1), n >> 1);
	fz_peer_data(h, t.conn, 0, (n >> 1) * 16u, n & 1 ? TH_FIN : 0);
}

/* Something was lost on the way to it: the same ACK, again and again. */
static void op_duplicates(struct fz_host *h, struct fz *f)
{
	struct target t = pick(h, fz_u8(f));
	struct fz_seg g = {
		.a = t.a, .seq = t.rcv_nxt, .ack = t.snd_una, .wnd = t.wnd, .flags = TH_ACK};
	uint8_t opts[12], n = fz_u8(f);

	g.opts = opts;
	if (t.ts)
		g.opt_len = put_ts(opts, t.ts_recent, t.ts_ours);
	meet(t.state, g.flags, 0);
	for (uint32_t i = 0; i < (n & 7u) + 1; i++)
		fz_seg_input(h, &g);
}

/* The other end answers a SYN or SYN-ACK of ours as it should. */
static void op_handshake(struct fz_host *h, struct fz *f)
{
	struct target t = pick(h, fz_u8(f));
	struct fz_seg g = {.a = t.a, .seq = t.rcv_nxt, .ack = t.snd_max, .wnd = 65535};
	uint8_t opts[12], n = fz_u8(f);

	if (t.state == FZ_ST_REQUEST)
		g.flags = TH_ACK;
	else if (t.state == TCP_SYN_SENT || t.state == TCP_SYN_RECEIVED)
		g.flags = TH_SYN | (n & 1 ? 0 : TH_ACK);
	else if (t.state == TCP_LISTEN)
		g.flags = TH_SYN;
	else
		return;
	if (t.state == TCP_SYN_RECEIVED) {
		g.flags = TH_ACK | (n & 1 ? TH_SYN : 0);
		g.seq -= n & 1;
	}
	g.opts = opts;
	if (t.ts || n & 2)
		g.opt_len = put_ts(opts, t.ts_recent, t.ts_ours);
	meet(t.state, g.flags, 0);
	fz_seg_input(h, &g);
}

/* An ICMP error that quotes a segment of ours. */
static void op_icmp(struct fz_host *h, struct fz *f)
{
	struct target t = pick(h, fz_u8(f));
	struct fz_ip_hdr out = {.src = FZ_GW_IP, .dst = FZ_OUR_IP, .proto = PROTO_ICMP, .ttl = 64};
	struct fz_seg g = {.a = {t.a.remote, t.a.local, t.a.remote_port, t.a.local_port}};
	uint8_t b[200], quote[120], type = fz_u8(f), code = fz_u8(f), *icmp = b + fz_hdr_len(&out);
	uint16_t mtu = fz_u16(f);
	uint32_t len;

	g.seq = ack_of(f, code >> 4, &t);
	fz_build_seg(quote, &g);
	len = fz_u8(f) % 41;
	memset(icmp, 0, 8);
	icmp[0] = type;
	icmp[1] = code & 15;
	put_be16(icmp + 6, mtu);
	memcpy(icmp + 8, quote + ETH_HLEN_, len);
	fz_l4_csum(icmp, 8 + len, 2, &out);
	fz_input(h, b, fz_ip_frame(b, &out, 8 + len), 1, PKT_CSUM_VERIFY, TD_NO_CONN, 0);
}

/* ---- calls ---- */

static void op_send(struct fz_host *h, struct fz *f)
{
	uint32_t conn = fz_u8(f) % FZ_TCBS;
	uint8_t n = fz_u8(f);

	fz_send(h, conn, n < 128 ? n : (n - 127u) * 256, fz_u8(f) & (TCP_MSG_MORE | TCP_MSG_OOB));
}

static void op_recv(struct fz_host *h, struct fz *f)
{
	uint32_t conn = fz_u8(f) % FZ_TCBS;
	uint8_t n = fz_u8(f);

	fz_recv(h, conn, n < 128 ? n : (n - 127u) * 256, fz_u8(f) & (TCP_MSG_PEEK | TCP_MSG_TRUNC));
}

static void op_end(struct fz_host *h, struct fz *f)
{
	uint32_t conn = fz_u8(f) % FZ_TCBS;
	uint8_t how = fz_u8(f);

	if (how & 4)
		tcp_close(h->s, conn, h->now);
	else if (how & 8)
		tcp_abort(h->s, conn, h->now);
	else
		tcp_shutdown(h->s, conn, how & 1, how & 2, h->now);
}

static void op_open(struct fz_host *h, struct fz *f)
{
	uint8_t n = fz_u8(f);
	uint32_t conn;
	struct tcp_addr_pair a = {.remote = fz_ip(n & 1 ? FZ_FAR_IP : FZ_PEER_IP),
				  .remote_port = __builtin_bswap16(7000 + (n >> 1 & 3))};
	uint8_t text[1600];
	int err = 1;

	if (n & 8)
		a.local_port = __builtin_bswap16(FZ_OUR_PORT + (n >> 4 & 1));
	if (n & 32)
		a.local = fz_ip(FZ_OUR_IP + (n >> 6));
	if (h->s->cfg.role == STACK_FULL)
		err = tcp_connect(h->s, &a, n, h->now, &conn);
	if (!err && n & 16) {
		const struct tcb *t = tcp_get(h->s, conn);

		for (uint32_t i = 0; i < sizeof(text); i++)
			text[i] = fz_pattern(tcp_queue_end(t) + i);
		tcp_fastopen(h->s, conn, text, n & 128 ? sizeof(text) : 100);
	}
}

static void op_listener(struct fz_host *h, struct fz *f)
{
	uint8_t how = fz_u8(f), n = fz_u8(f);
	struct ip_addr any = {.w = {0}};

	if (h->s->cfg.role != STACK_FULL)
		return;
	switch (how & 7) {
	case 0:
	case 1:
	case 2:
	case 3:
		if (h->listener != SHM_NIL)
			fz_accept(h);
		break;
	case 4:
		if (h->listener != SHM_NIL)
			tcp_unlisten(h->s, h->listener, h->now);
		h->listener = SHM_NIL;
		break;
	case 5:
		if (h->listener == SHM_NIL &&
		    tcp_listen(h->s, &any, __builtin_bswap16(FZ_OUR_PORT), n, 1, &h->listener))
			h->listener = SHM_NIL;
		break;
	case 6:
		if (h->listener != SHM_NIL)
			tcp_listen_backlog(h->s, h->listener, n);
		break;
	default:
		if (h->listener != SHM_NIL)
			tcp_listen_outside(h->s, h->listener, n & 15);
	}
}

static void op_option(struct fz_host *h, struct fz *f)
{
	uint8_t conn = fz_u8(f);
	enum tcp_opt opt = (enum tcp_opt)(fz_u8(f) % (TOPT_OOBINLINE + 2));
	int64_t v = (int32_t)fz_u32(f), got;

	if (opt == TOPT_RCVBUF || opt == TOPT_SNDBUF)
		v &= 0xfffff;
	if (conn & 0x80 && h->listener != SHM_NIL) {
		tcp_listen_opt(h->s, h->listener, opt, v);
		return;
	}
	conn %= FZ_TCBS;
	tcp_setopt(h->s, conn, opt, v, h->now);
	tcp_getopt(h->s, conn, opt, &got);
	tcp_poll(h->s, conn);
	tcp_readable_bytes(h->s, conn);
	tcp_unsent_bytes(h->s, conn);
	if (v & 1)
		tcp_error(h->s, conn);
}

/* ---- the driver ---- */

static void op_time(struct fz_host *h, struct fz *f)
{
	static const uint32_t ms[] = {0,    1,	  10,	 41,	100,   201,   500,    1000,
				      3000, 7000, 15000, 30000, 61000, 75000, 130000, 7200000};
	uint8_t n = fz_u8(f);

	fz_advance(h, ms[n & 15], 1 + (n >> 4), !(n & 0x80));
}

static void op_output(struct fz_host *h, struct fz *f)
{
	uint8_t n = fz_u8(f);
	struct stack_ev ev;

	for (uint32_t i = 0; i < (n & 15u) + 1; i++)
		if (!fz_output(h))
			break;
	for (uint32_t i = 0; i < (uint32_t)(n >> 4); i++)
		stack_event_next(h->s, &ev);
}

static void op_drain(struct fz_host *h, struct fz *f)
{
	(void)f;
	fz_drain(h);
}

/* Packets are taken out of the pool, or come back. */
static void op_pool(struct fz_host *h, struct fz *f)
{
	uint8_t n = fz_u8(f) % FZ_PKTS;
	struct pkt *p;

	while (h->pool.n > n && (p = pkt_alloc(&h->pool)))
		pkt_free(&h->away, p);
	while (h->pool.n < n && (p = pkt_alloc(&h->away)))
		pkt_free(&h->pool, p);
}

static void op_net(struct fz_host *h, struct fz *f)
{
	uint8_t n = fz_u8(f);
	enum net_event_kind kind = (enum net_event_kind)(n % 8);
	struct net_event ev = {.kind = kind, .mtu = 1500, .plen = 24};

	memcpy(ev.mac, fz_our_mac, 6);
	switch (kind) {
	case NET_LINK_UP:
		ev.mtu = n & 8 ? 576 + (n >> 4) * 50 : 1500;
		break;
	case NET_ADDR_ADD:
	case NET_ADDR_DEL:
		ev.addr = fz_ip(FZ_OUR_IP + (n >> 5));
		break;
	case NET_ROUTE_ADD:
	case NET_ROUTE_DEL:
		ev.addr = fz_ip(n & 8 ? 0 : FZ_OUR_IP & 0xffffff00u);
		ev.plen = n & 8 ? 0 : 24;
		ev.gw = n & 16 ? fz_ip(FZ_GW_IP) : (struct ip_addr){.w = {0}};
		ev.route_type = (enum net_route_type)(n >> 6);
		break;
	case NET_NEIGH_SET:
	case NET_NEIGH_DEL:
		memcpy(ev.mac, fz_peer_mac, 6);
		ev.addr = fz_ip(n & 8 ? FZ_GW_IP : FZ_PEER_IP);
		ev.permanent = n & 16;
		break;
	default:
		break;
	}
	stack_event(h->s, &ev, h->now);
}

/* To the other stack (which then has it), or nowhere. */
static void op_hand_over(struct fz_host *h, struct fz_host *other, struct fz *f)
{
	uint8_t k = fz_u8(f);
	uint32_t conn = k % FZ_TCBS, generation, to;
	const struct tcb *t = tcp_get(h->s, conn);

	if (!t)
		return;
	generation = t->generation;
	if (stack_export(h->s, conn))
		return;
	/* What the owner itself wrote has to be accepted, but for the limits that differ. */
	if (other && !(k & 0x80)) {
		other->now = h->now;
		stack_tick(other->s, other->now);
		stack_import(other->s, &h->a, conn, generation, 1, other->now, &to);
	}
	FZ_CHECK(!stack_export_done(h->s, conn, generation));
	FZ_CHECK(stack_export_done(h->s, conn, generation));
}

void fz_op(struct fz_host *h, struct fz_host *other, struct fz *f)
{
	uint8_t op = fz_u8(f);

	switch ((op & 0x7f) % 20) {
	case 0:
	case 1:
		op_segment(h, f);
		break;
	case 2:
		op_duplicates(h, f);
		break;
	case 3:
		op_in_order(h, f);
		break;
	case 4:
		op_handshake(h, f);
		break;
	case 5:
		op_icmp(h, f);
		break;
	case 6:
		op_send(h, f);
		break;
	case 7:
		op_recv(h, f);
		break;
	case 8:
		op_end(h, f);
		break;
	case 9:
		op_open(h, f);
		break;
	case 10:
	case 11:
		op_listener(h, f);
		break;
	case 12:
		op_option(h, f);
		break;
	case 13:
	case 14:
		op_time(h, f);
		break;
	case 15:
		op_output(h, f);
		break;
	case 16:
		op_drain(h, f);
		break;
	case 17:
		op_pool(h, f);
		break;
	case 18:
		op_net(h, f);
		break;
	default:
		op_hand_over(h, other, f);
	}
}

/* ---- which states were seen ---- */

void fz_states_report(void)
{
	static const char *const states[FZ_STATES] = {
		"CLOSED",     "LISTEN",	    "SYN-SENT",	  "SYN-RECEIVED", "ESTABLISHED",
		"FIN-WAIT-1", "FIN-WAIT-2", "CLOSE-WAIT", "CLOSING",	  "LAST-ACK",
		"TIME-WAIT",  "request",    "TW record"};
	static const char *const kinds[FZ_KINDS] = {"no-ACK", "RST", "SYN-ACK", "SYN",
						    "FIN",    "URG", "data",	"ACK"};
	uint32_t missing = 0;

	if (!getenv("FUZZ_STATES"))
		return;
	fprintf(stderr, "%-14s", "segments met");
	for (uint32_t k = 0; k < FZ_KINDS; k++)
		fprintf(stderr, "%8s", kinds[k]);
	for (uint32_t st = 0; st < FZ_STATES; st++) {
		fprintf(stderr, "\n%-14s", states[st]);
		for (uint32_t k = 0; k < FZ_KINDS; k++) {
			bool seen = met_ever[st * FZ_KINDS + k];

			fprintf(stderr, "%8s", seen ? "x" : "-");
			missing += !seen;
		}
	}
	fprintf(stderr, "\n%s states: %u pairs of state and segment were not met\n",
		missing ? "not ok" : "ok", missing);
	if (missing)
		_Exit(1);
}
