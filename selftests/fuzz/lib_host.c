// SPDX-License-Identifier: BSD-2-Clause
/* See lib_host.h. */
#include "lib_host.h"

const uint8_t fz_our_mac[6] = {2, 0, 0, 0, 0, 1}, fz_peer_mac[6] = {2, 0, 0, 0, 0, 2};

static void *zalloc(size_t n)
{
	void *p = NULL;

	if (posix_memalign(&p, 64, n))
		abort();
	memset(p, 0, n);
	return p;
}

struct ip_addr fz_ip(uint32_t host_order)
{
	return ip_addr_v4(__builtin_bswap32(host_order));
}

/* ---- the host ---- */

struct stack_cfg fz_cfg(enum stack_role role)
{
	struct stack_cfg c = {.role = role, .key = {1, 2}, .n_pending = 16, .cc = "reno"};

	stack_limits_default(&c.limits);
	c.limits.ipfrag_high_thresh = 16 * CHUNK_SIZE;
	c.limits.tcp_fastopen = 7 | 0x600; /* also without cookies, which nobody would guess */
	if (role == STACK_FULL) {
		c.n_listeners = 4;
		c.n_synreqs = 8;
		c.n_tw = 4;
		c.n_routes = 8;
	}
	return c;
}

static void region(struct fz_host *h, uint32_t i, void *at, size_t len)
{
	h->regions[i] = (struct fz_region){.at = at, .copy = zalloc(len), .len = len};
}

void fz_host_open(struct fz_host *h, const struct stack_cfg *cfg, const struct fz_host *daemon)
{
	memset(h, 0, sizeof(*h));
	h->now.ns = 1000 * NS_PER_S;
	h->listener = SHM_NIL;
	for (uint32_t i = 0; i < FZ_PKTS; i++) {
		h->pkts[i].frag[0].p = malloc(FZ_ROOM);
		h->pkts[i].room = FZ_ROOM;
		pkt_free(&h->pool, &h->pkts[i]);
	}
	h->a = (struct arena_view){.tcbs = zalloc(FZ_TCBS * TCB_ROOM),
				   .n_tcbs = FZ_TCBS,
				   .chunk_hdrs = zalloc(FZ_CHUNKS * sizeof(struct chunk_hdr)),
				   .chunks = zalloc((size_t)FZ_CHUNKS * CHUNK_SIZE),
				   .n_chunks = FZ_CHUNKS,
				   .neighs = daemon ? daemon->a.neighs
						    : zalloc(FZ_NEIGHS * sizeof(struct neigh)),
				   .n_neighs = FZ_NEIGHS,
				   .mib = zalloc(MIB_MAX * sizeof(uint64_t))};
	h->mem_len = stack_mem_size(cfg, &h->a);
	h->mem = zalloc(h->mem_len);
	h->s = stack_init(h->mem, cfg, &h->a, &h->pool, h->now);
	fz_event(h, NET_LINK_UP, 0, 0, 0);
	fz_event(h, NET_ADDR_ADD, FZ_OUR_IP, 24, 0);
	fz_event(h, NET_ROUTE_ADD, FZ_OUR_IP & 0xffffff00u, 24, 0);
	fz_event(h, NET_ROUTE_ADD, 0, 0, FZ_GW_IP);
	if (!daemon)
		fz_event(h, NET_NEIGH_SET, FZ_PEER_IP, 32, 0);
	fz_drain(h);
}

/* Chunks are not zeroed when they are given out: their bytes need not be put back. */
void fz_host_save(struct fz_host *h)
{
	if (!h->regions[0].at) {
		region(h, 0, h->mem, h->mem_len);
		region(h, 1, h->a.tcbs, FZ_TCBS * TCB_ROOM);
		region(h, 2, h->a.chunk_hdrs, FZ_CHUNKS * sizeof(struct chunk_hdr));
		region(h, 3, h->a.mib, MIB_MAX * sizeof(uint64_t));
		region(h, 4, h->pkts, sizeof(h->pkts));
		region(h, 5, &h->pool, sizeof(h->pool));
		if (h->s->cfg.role == STACK_FULL)
			region(h, 6, h->a.neighs, FZ_NEIGHS * sizeof(struct neigh));
	}
	for (uint32_t i = 0; i < 8; i++)
		if (h->regions[i].at)
			memcpy(h->regions[i].copy, h->regions[i].at, h->regions[i].len);
	h->saved_now = h->now;
	h->saved_listener = h->listener;
}

void fz_host_restore(struct fz_host *h)
{
	for (uint32_t i = 0; i < 8; i++)
		if (h->regions[i].at)
			memcpy(h->regions[i].at, h->regions[i].copy, h->regions[i].len);
	h->now = h->saved_now;
	h->listener = h->saved_listener;
	h->away = (struct pkt_pool){0};
	h->tainted = false;
}

void fz_check(const struct fz_host *h)
{
	char why[128] = "";

	FZ_CHECK(!stack_check(h->s, why, sizeof(why)), "%s", why);
}

int fz_event(struct fz_host *h, enum net_event_kind kind, uint32_t addr, uint8_t plen, uint32_t gw)
{
	struct net_event ev = {.kind = kind, .plen = plen, .mtu = 1500, .addr = fz_ip(addr)};

	memcpy(ev.mac, kind == NET_NEIGH_SET ? fz_peer_mac : fz_our_mac, 6);
	ev.permanent = true;
	if (gw)
		ev.gw = fz_ip(gw);
	return stack_event(h->s, &ev, h->now);
}

/* ---- frames in ---- */

uint8_t fz_pattern(uint32_t seq)
{
	return (uint8_t)(seq ^ seq >> 8 ^ 0x5a);
}

uint32_t fz_hdr_len(const struct fz_ip_hdr *h)
{
	return ETH_HLEN_ + IP4_HLEN + h->opt_len;
}

uint32_t fz_ip_frame(uint8_t *b, const struct fz_ip_hdr *h, uint32_t len)
{
	uint8_t *ip = b + ETH_HLEN_;
	uint32_t hlen = IP4_HLEN + h->opt_len;
	uint16_t c;

	memcpy(b, fz_our_mac, 6);
	memcpy(b + 6, fz_peer_mac, 6);
	put_be16(b + 12, ETHERTYPE_IP4);
	ip[0] = (uint8_t)(0x40 | hlen / 4);
	ip[1] = h->tos;
	put_be16(ip + 2, (uint16_t)(hlen + len + (uint32_t)h->len_delta));
	put_be16(ip + 4, h->id);
	put_be16(ip + 6, h->frag);
	ip[8] = h->ttl;
	ip[9] = h->proto;
	put_be16(ip + 10, 0);
	put_be32(ip + 12, h->src);
	put_be32(ip + 16, h->dst);
	if (h->opt_len)
		memcpy(ip + IP4_HLEN, h->opts, h->opt_len);
	c = csum_fold(csum_partial(ip, hlen, 0));
	memcpy(ip + 10, &c, 2);
	return ETH_HLEN_ + hlen + len;
}

void fz_l4_csum(uint8_t *l4, uint32_t len, uint32_t off, const struct fz_ip_hdr *h)
{
	struct ip_addr src = fz_ip(h->src), dst = fz_ip(h->dst);
	uint32_t sum = h->proto == PROTO_ICMP ? 0 : csum_pseudo(&src, &dst, h->proto, len);
	uint16_t c;

	if (off + 2 > len)
		return;
	memset(l4 + off, 0, 2);
	c = csum_fold(csum_partial(l4, len, sum));
	memcpy(l4 + off, &c, 2);
}

static struct fz_ip_hdr seg_ip(const struct fz_seg *g)
{
	return (struct fz_ip_hdr){.src = get_be32(&g->a.remote.w[3]),
				  .dst = get_be32(&g->a.local.w[3]),
				  .proto = PROTO_TCP,
				  .ttl = 64};
}

void fz_seg_csum(uint8_t *b, uint32_t len, const struct fz_seg *g)
{
	struct fz_ip_hdr ip = seg_ip(g);
	uint32_t off = fz_hdr_len(&ip);

	fz_l4_csum(b + off, len - off, 16, &ip);
}

uint32_t fz_build_seg(uint8_t *b, const struct fz_seg *g)
{
	struct fz_ip_hdr ip = seg_ip(g);
	uint32_t hlen = TCP_HLEN + ((g->opt_len + 3) & ~3u), len = hlen + g->len;
	uint8_t *tcp = b + fz_hdr_len(&ip);

	memset(tcp, 0, hlen);
	memcpy(tcp, &g->a.remote_port, 2);
	memcpy(tcp + 2, &g->a.local_port, 2);
	put_be32(tcp + 4, g->seq);
	put_be32(tcp + 8, g->ack);
	tcp[12] = (uint8_t)(hlen / 4 << 4);
	tcp[13] = g->flags;
	put_be16(tcp + 14, g->wnd);
	put_be16(tcp + 18, g->up);
	if (g->opt_len)
		memcpy(tcp + TCP_HLEN, g->opts, g->opt_len);
	/* A SYN takes the first number. */
	for (uint32_t i = 0; i < g->len; i++)
		tcp[hlen + i] = fz_pattern(g->seq + !!(g->flags & TH_SYN) + i);
	return fz_ip_frame(b, &ip, len);
}

enum drop fz_input(struct fz_host *h, const uint8_t *b, uint32_t len, uint32_t pieces,
		   enum pkt_csum csum, uint32_t conn, uint32_t generation)
{
	struct pkt p = {.len = len, .csum = (uint8_t)csum, .conn = conn, .generation = generation};
	uint8_t *mem[PKT_MAX_FRAGS];
	uint32_t step, n = 0;
	enum drop d;

	pieces = !pieces ? 1 : pieces > PKT_MAX_FRAGS ? PKT_MAX_FRAGS : pieces;
	step = (len + pieces - 1) / pieces;
	for (uint32_t off = 0; off < len || !n; off += step) {
		uint32_t part = len - off < step ? len - off : step;

		mem[n] = malloc(part ? part : 1);
		memcpy(mem[n], b + off, part);
		p.frag[n] = (struct pkt_frag){.p = mem[n], .len = part, .frame = SHM_NIL};
		n++;
	}
	p.nfrags = n;
	d = stack_input(h->s, &p, h->now);
	FZ_CHECK(d < DROP_MAX);
	while (n)
		free(mem[--n]);
	return d;
}

enum drop fz_seg_input(struct fz_host *h, const struct fz_seg *g)
{
	uint8_t b[FZ_FRAME_MAX];

	return fz_input(h, b, fz_build_seg(b, g), 1, PKT_CSUM_GOOD, TD_NO_CONN, 0);
}

/* ---- frames out ---- */

static void check_tcp_out(struct fz_host *h, struct fz_out *o, const struct pkt *p, uint32_t hlen)
{
	const uint8_t *ip = o->b + ETH_HLEN_, *tcp = ip + hlen;
	uint32_t len = o->len - ETH_HLEN_ - hlen, off;
	struct ip_addr src = fz_ip(get_be32(ip + 12)), dst = fz_ip(get_be32(ip + 16));
	uint32_t sum = csum_pseudo(&src, &dst, PROTO_TCP, len);

	FZ_CHECK(len >= TCP_HLEN);
	off = (tcp[12] >> 4) * 4u;
	FZ_CHECK(off >= TCP_HLEN && off <= len);
	o->tcp = true;
	o->a = (struct tcp_addr_pair){.local = src, .remote = dst};
	memcpy(&o->a.local_port, tcp, 2);
	memcpy(&o->a.remote_port, tcp + 2, 2);
	o->seq = get_be32(tcp + 4);
	o->ack = get_be32(tcp + 8);
	o->flags = tcp[13];
	if (p->csum == PKT_CSUM_PARTIAL)
		FZ_CHECK(p->csum_start == ETH_HLEN_ + hlen && p->csum_off == 16);
	else
		FZ_CHECK(!csum_fold(csum_partial(tcp, len, sum)), "TCP checksum");
	if (h->tainted || o->flags & TH_SYN)
		return;
	for (uint32_t i = 0; i < len - off; i++)
		FZ_CHECK(tcp[off + i] == fz_pattern(o->seq + i), "byte %u of %u", i, len - off);
}

static void check_out(struct fz_host *h, struct fz_out *o, const struct pkt *p)
{
	const uint8_t *ip = o->b + ETH_HLEN_;
	uint32_t hlen;

	FZ_CHECK(o->len >= ETH_HLEN_ + IP4_HLEN);
	if (get_be16(o->b + 12) != ETHERTYPE_IP4)
		return;
	hlen = (ip[0] & 15u) * 4;
	FZ_CHECK(ip[0] >> 4 == 4 && hlen >= IP4_HLEN && ETH_HLEN_ + hlen <= o->len);
	FZ_CHECK(p->gso_size || get_be16(ip + 2) == o->len - ETH_HLEN_);
	FZ_CHECK(p->gso_size || o->len <= ETH_HLEN_ + 1500u, "longer than the MTU");
	if (!(get_be16(ip + 6) & 0x3fff)) {
		FZ_CHECK(!csum_fold(csum_partial(ip, hlen, 0)), "IP checksum");
		if (ip[9] == PROTO_TCP)
			check_tcp_out(h, o, p, hlen);
	}
}

const struct fz_out *fz_output(struct fz_host *h)
{
	static struct fz_out o;
	struct pkt *p = stack_output(h->s, h->now);
	uint32_t sum = 0;

	if (!p)
		return NULL;
	FZ_CHECK(p->nfrags && p->nfrags <= PKT_MAX_FRAGS && p->len <= sizeof(o.b));
	FZ_CHECK(p->frag[0].len <= p->room);
	for (uint32_t i = 0; i < p->nfrags; i++) {
		FZ_CHECK(sum + p->frag[i].len <= p->len);
		memcpy(o.b + sum, p->frag[i].p, p->frag[i].len);
		sum += p->frag[i].len;
	}
	FZ_CHECK(sum == p->len);
	o.len = p->len;
	o.tcp = false;
	check_out(h, &o, p);
	p->nfrags = 1;
	pkt_free(&h->pool, p);
	return &o;
}

void fz_drain(struct fz_host *h)
{
	/* More than any set of connections here can want to say at one moment. */
	for (uint32_t n = 0; fz_output(h); n++)
		FZ_CHECK(n < 20000, "output without end");
}

/* ---- time ---- */

static void take_events(struct fz_host *h)
{
	struct stack_ev ev;

	for (uint32_t n = 0; stack_event_next(h->s, &ev); n++)
		FZ_CHECK(n < 10000, "events without end");
}

void fz_advance(struct fz_host *h, uint64_t ms, uint32_t steps, bool drain)
{
	struct mtime end = mtime_add_ms(h->now, ms), d;

	while (steps-- && (d = stack_deadline(h->s), mtime_before(d, end))) {
		if (mtime_before(h->now, d))
			h->now = d;
		stack_tick(h->s, h->now);
		if (!drain)
			continue;
		fz_drain(h);
		take_events(h);
		/* A driver that does all it is told to must come to rest. */
		if (h->pool.n)
			FZ_CHECK(mtime_before(h->now, stack_deadline(h->s)), "no rest");
	}
	h->now = end;
	stack_tick(h->s, h->now);
}

void fz_host_end(struct fz_host *h)
{
	struct stack_usage u;
	struct pkt *p;

	while ((p = pkt_alloc(&h->away)))
		pkt_free(&h->pool, p);
	for (uint32_t i = 0; i < h->s->listener_free.used; i++)
		if (h->s->listeners[i].used)
			tcp_unlisten(h->s, i, h->now);
	for (uint32_t i = 0; i < FZ_TCBS; i++) {
		if (!tcp_get(h->s, i))
			continue;
		/* As in the kernel, an orphan, too, is tried as long as the program asked for. */
		h->a.tcbs[i].user_timeout = 0;
		if (!(h->a.tcbs[i].flags & TCB_F_CLOSED))
			tcp_abort(h->s, i, h->now);
	}
	take_events(h);
	fz_drain(h);
	/* What others have closed before finishes by itself. */
	fz_advance(h, 3600 * 1000ull, 1000, true);
	fz_check(h);
	stack_usage(h->s, &u);
	FZ_CHECK(!u.tcbs && !u.chunks && !u.synreqs && !u.timewaits && !u.orphans,
		 "left: %u TCBs, %u chunks, %u requests, %u in TIME_WAIT, %u orphans", u.tcbs,
		 u.chunks, u.synreqs, u.timewaits, u.orphans);
}

/* ---- conversations ---- */

static uint32_t peer_ms(const struct fz_host *h)
{
	return (uint32_t)(h->now.ns / NS_PER_MS);
}

static uint32_t put_ts(const struct fz_host *h, uint8_t *o, uint32_t ecr)
{
	put_be32(o, 0x0101080a);
	put_be32(o + 4, peer_ms(h));
	put_be32(o + 8, ecr);
	return 12;
}

static struct fz_seg syn(uint16_t port)
{
	return (struct fz_seg){.a = {.local = fz_ip(FZ_OUR_IP),
				     .remote = fz_ip(FZ_PEER_IP),
				     .local_port = __builtin_bswap16(FZ_OUR_PORT),
				     .remote_port = __builtin_bswap16(port)},
			       .seq = port * 0x01000193u,
			       .wnd = 65535,
			       .flags = TH_SYN};
}

void fz_open_half(struct fz_host *h, uint16_t port)
{
	struct fz_seg g = syn(port);

	fz_seg_input(h, &g);
	fz_drain(h);
}

void fz_open_passive(struct fz_host *h, uint16_t port, struct fz_offer offer)
{
	struct fz_seg g = syn(port);
	const struct fz_out *o;
	uint8_t opts[40];
	uint32_t n = 4, ecr;

	g.opts = opts;
	put_be32(opts, 0x020405b4);
	if (offer.ts)
		n += put_ts(h, opts + n, 0);
	if (offer.wscale)
		put_be32(opts + n, 0x01030307);
	n += offer.wscale ? 4 : 0;
	if (offer.sack)
		put_be32(opts + n, 0x01010402);
	n += offer.sack ? 4 : 0;
	g.opt_len = n;
	FZ_CHECK(fz_seg_input(h, &g) == DROP_NONE);
	do {
		o = fz_output(h);
		FZ_CHECK(o);
	} while (!o->tcp);
	FZ_CHECK((o->flags & (TH_SYN | TH_ACK)) == (TH_SYN | TH_ACK));
	g.flags = TH_ACK;
	g.seq++;
	g.ack = o->seq + 1;
	g.opt_len = 0;
	ecr = h->s->synreqs[synreq_lookup(h->s, &g.a)].ts_offset + tcp_ts_now(h->s, h->now);
	if (offer.ts)
		g.opt_len = put_ts(h, opts, ecr);
	FZ_CHECK(fz_seg_input(h, &g) == DROP_NONE);
	fz_drain(h);
}

uint32_t fz_accept(struct fz_host *h)
{
	uint32_t conn = SHM_NIL;

	tcp_accept(h->s, h->listener, &conn);
	return conn;
}

uint32_t fz_open_active(struct fz_host *h, uint16_t port, bool answer)
{
	struct tcp_addr_pair a = {.remote = fz_ip(FZ_PEER_IP),
				  .remote_port = __builtin_bswap16(port)};
	struct fz_seg g = {.seq = 0xfffffff0u, .wnd = 65535, .flags = TH_SYN | TH_ACK};
	const struct fz_out *o;
	uint32_t conn;

	if (tcp_connect(h->s, &a, port, h->now, &conn))
		return SHM_NIL;
	if (!answer)
		return conn;
	do {
		o = fz_output(h);
		FZ_CHECK(o);
	} while (!o->tcp || !(o->flags & TH_SYN));
	g.a = o->a;
	g.ack = o->seq + 1;
	FZ_CHECK(fz_seg_input(h, &g) == DROP_NONE);
	fz_drain(h);
	return conn;
}

int64_t fz_send(struct fz_host *h, uint32_t conn, uint32_t n, unsigned flags)
{
	const struct tcb *t = tcp_get(h->s, conn);
	uint8_t *b = malloc(n ? n : 1);
	int64_t r;

	for (uint32_t i = 0; i < n; i++)
		b[i] = fz_pattern((t ? tcp_queue_end(t) : 0) + i);
	r = tcp_send(h->s, conn, b, n, flags, h->now);
	FZ_CHECK(r <= (int64_t)n && (!n || r));
	free(b);
	return r;
}

int64_t fz_recv(struct fz_host *h, uint32_t conn, uint32_t n, unsigned flags)
{
	const struct tcb *t = tcp_get(h->s, conn);
	uint32_t seq = t ? t->rcv_nxt - !!(t->flags & TCB_F_FIN_RCVD) - t->rx_bytes : 0;
	uint8_t *b = malloc(n ? n : 1);
	/* An urgent byte in front is passed over. */
	bool skip = t && t->rx_bytes && tcp_at_mark(h->s, conn) && !(t->sockopt & TCB_OOBINLINE);
	int64_t r = tcp_recv(h->s, conn, b, n, flags, h->now);

	FZ_CHECK(r <= (int64_t)n);
	for (int64_t i = 0; i < r && !h->tainted && !(flags & TCP_MSG_TRUNC); i++)
		FZ_CHECK(b[i] == fz_pattern(seq + skip + (uint32_t)i), "byte %d of %d", (int)i,
			 (int)r);
	free(b);
	return r;
}

void fz_peer_data(struct fz_host *h, uint32_t conn, uint32_t gap, uint32_t len, uint8_t flags)
{
	const struct tcb *t = tcp_get(h->s, conn);
	struct fz_seg g = {.a = tcb_pair(t),
			   .seq = t->rcv_nxt + gap,
			   .ack = t->snd_max,
			   .len = len,
			   .wnd = 65535,
			   .flags = TH_ACK | flags};
	uint8_t opts[12];

	g.opts = opts;
	if (t->opt & TCB_OPT_TS)
		g.opt_len = put_ts(h, opts, t->ts_offset + tcp_ts_now(h->s, h->now));
	fz_seg_input(h, &g);
	fz_drain(h);
}
