// SPDX-License-Identifier: BSD-2-Clause
/* See lib_stack.h. */
#include "lib_stack.h"
#include <arpa/inet.h>

const uint8_t our_mac[6] = {2, 0, 0, 0, 0, 1}, peer_mac[6] = {2, 0, 0, 0, 0, 2};
const uint8_t gw_mac[6] = {2, 0, 0, 0, 0, 254};
const uint8_t bcast_mac[6] = {255, 255, 255, 255, 255, 255};

#define N_TCBS 64u
#define N_CHUNKS 512u
#define N_NEIGHS 32u

struct ip_addr ip(const char *a)
{
	struct ip_addr r = {.w = {0}};
	uint32_t v4;

	if (!a)
		return r;
	if (inet_pton(AF_INET, a, &v4) == 1)
		return ip_addr_v4(v4);
	assert_int_equal(inet_pton(AF_INET6, a, r.b), 1);
	return r;
}

void assert_ip(struct ip_addr a, const char *want)
{
	char s[INET6_ADDRSTRLEN];

	if (ip_addr_is_v4(&a))
		inet_ntop(AF_INET, &a.b[12], s, sizeof(s));
	else
		inet_ntop(AF_INET6, a.b, s, sizeof(s));
	assert_string_equal(s, want);
}

/* ---- the stack ---- */

static void *zalloc(size_t n)
{
	void *p = aligned_alloc(64, (n + 63) & ~(size_t)63);

	assert_non_null(p);
	memset(p, 0, n);
	return p;
}

struct stack_cfg ts_cfg(void)
{
	struct stack_cfg c = {.role = STACK_FULL,
			      .key = {1, 2},
			      .n_listeners = 8,
			      .n_synreqs = 64,
			      .n_tw = 16,
			      .n_routes = 16,
			      .n_pending = 256,
			      .cc = "reno"};

	stack_limits_default(&c.limits);
	return c;
}

void ts_open_bare(struct tstack *t, const struct stack_cfg *cfg)
{
	struct stack_cfg c = cfg ? *cfg : ts_cfg();

	memset(t, 0, sizeof(*t));
	t->now.ns = 1000 * NS_PER_S;
	t->bufs = zalloc((size_t)TS_PKTS * TS_ROOM);
	memset(t->bufs, 0xa5, (size_t)TS_PKTS * TS_ROOM); /* what was sent before, say */
	for (uint32_t i = 0; i < TS_PKTS; i++) {
		struct pkt *p = &t->pkts[i];

		p->frag[0].p = t->bufs + (size_t)i * TS_ROOM;
		p->room = TS_ROOM;
		pkt_free(&t->pool, p);
	}
	t->a = (struct arena_view){.tcbs = zalloc(N_TCBS * TCB_ROOM),
				   .n_tcbs = N_TCBS,
				   .chunk_hdrs = zalloc(N_CHUNKS * sizeof(struct chunk_hdr)),
				   .chunks = zalloc((size_t)N_CHUNKS * CHUNK_SIZE),
				   .n_chunks = N_CHUNKS,
				   .neighs = zalloc(N_NEIGHS * sizeof(struct neigh)),
				   .n_neighs = N_NEIGHS,
				   .mib = zalloc(MIB_MAX * sizeof(uint64_t))};
	t->mem = zalloc(stack_mem_size(&c, &t->a));
	t->s = stack_init(t->mem, &c, &t->a, &t->pool, t->now);
	assert_non_null(t->s);
	ts_check(t);
}

void ts_open(struct tstack *t, const struct stack_cfg *cfg)
{
	struct net_event up = {.kind = NET_LINK_UP, .mtu = 1500};
	struct out o;

	ts_open_bare(t, cfg);
	memcpy(up.mac, our_mac, 6);
	assert_int_equal(ts_event(t, up), 0);
	assert_int_equal(
		ts_event(t,
			 (struct net_event){.kind = NET_ADDR_ADD, .addr = ip(OUR_IP), .plen = 24}),
		0);
	assert_int_equal(ts_event(t, (struct net_event){.kind = NET_ROUTE_ADD,
							.addr = ip("10.0.0.0"),
							.plen = 24}),
			 0);
	assert_int_equal(ts_event(t, (struct net_event){.kind = NET_ROUTE_ADD,
							.addr = ip("0.0.0.0"),
							.gw = ip(GW_IP)}),
			 0);
	while (ts_tx(t, &o))
		;
}

void ts_close(struct tstack *t)
{
	struct out o;

	while (ts_tx(t, &o))
		;
	ts_check(t);
	assert_int_equal(t->pool.n + t->s->n_pending, TS_PKTS);
	free(t->mem);
	free(t->bufs);
	free(t->a.tcbs);
	free(t->a.chunk_hdrs);
	free(t->a.chunks);
	free(t->a.neighs);
	free(t->a.mib);
}

void ts_check(const struct tstack *t)
{
	char why[128] = "";

	if (stack_check(t->s, why, sizeof(why)))
		fail_msg("stack_check: %s", why);
}

void ts_advance(struct tstack *t, uint64_t ms)
{
	struct mtime end = mtime_add_ms(t->now, ms), d;

	while (d = wheel_next(t->s), !mtime_before(end, d)) {
		if (mtime_before(t->now, d))
			t->now = d;
		stack_tick(t->s, t->now);
		ts_check(t);
	}
	t->now = end;
	stack_tick(t->s, t->now);
	ts_check(t);
}

uint64_t ts_mib(const struct tstack *t, enum mib m)
{
	return t->a.mib[m];
}

int ts_event(struct tstack *t, struct net_event ev)
{
	int rc = stack_event(t->s, &ev, t->now);

	ts_check(t);
	return rc;
}

void ts_neigh(struct tstack *t, const char *a, const uint8_t mac[6])
{
	struct net_event ev = {.kind = NET_NEIGH_SET, .addr = ip(a), .permanent = true};

	memcpy(ev.mac, mac, 6);
	assert_int_equal(ts_event(t, ev), 0);
}

/* ---- packets in ---- */

static void put_csum(uint8_t *at, uint32_t sum, bool bad)
{
	uint16_t c = csum_fold(sum);

	if (bad)
		c ^= 0x5555;
	memcpy(at, &c, 2);
}

/* The transport's header and data; its checksum by the pseudo-header @pseudo. */
static uint32_t build_l4(uint8_t *b, const struct spec *x, const struct ip_addr *src,
			 const struct ip_addr *dst)
{
	static const uint32_t hlen[256] = {
		[PROTO_ICMP] = 8, [PROTO_UDP] = 8, [PROTO_TCP] = TCP_HLEN};
	static const uint32_t csum_off[256] = {[PROTO_ICMP] = 2, [PROTO_UDP] = 6, [PROTO_TCP] = 16};
	uint32_t h = hlen[x->kind], len = h + x->len, pseudo;

	memset(b, 0, len);
	if (x->data)
		memcpy(b + h, x->data, x->len);
	if (x->kind == PROTO_ICMP) {
		b[0] = x->type;
		b[1] = x->code;
		put_be32(b + 4, x->rest);
	} else if (x->kind == PROTO_UDP || x->kind == PROTO_TCP) {
		put_be16(b, x->sport);
		put_be16(b + 2, x->dport);
	}
	if (x->kind == PROTO_UDP)
		put_be16(b + 4, (uint16_t)len);
	if (x->kind == PROTO_TCP) {
		put_be32(b + 4, x->seq);
		put_be32(b + 8, x->ack);
		b[12] = (uint8_t)((TCP_HLEN + x->tcp_opts) / 4 << 4);
		b[13] = x->flags;
		put_be16(b + 14, x->wnd);
	}
	if (!h)
		return len;
	pseudo = x->kind == PROTO_ICMP ? 0 : csum_pseudo(src, dst, x->kind, len);
	if (x->partial_csum) {
		put_csum(b + csum_off[x->kind], pseudo, x->bad_csum);
		b[csum_off[x->kind]] ^= 0xff; /* not inverted */
		b[csum_off[x->kind] + 1] ^= 0xff;
	} else {
		put_csum(b + csum_off[x->kind], csum_partial(b, len, pseudo), x->bad_csum);
	}
	return len;
}

uint32_t ts_build_ip(uint8_t *b, const struct spec *x)
{
	struct ip_addr src = ip(x->src ? x->src : PEER_IP), dst = ip(x->dst ? x->dst : OUR_IP);
	uint32_t hlen = IP4_HLEN + x->opt_len, len, frag = x->frag_off / 8;

	memset(b, 0, hlen);
	len = build_l4(b + hlen, x, &src, &dst);
	if (x->frag_len) {
		assert_true(x->frag_off + x->frag_len <= len);
		memmove(b + hlen, b + hlen + x->frag_off, x->frag_len);
		frag |= x->frag_off + x->frag_len < len ? 0x2000 : 0;
		len = x->frag_len;
	}
	b[0] = (uint8_t)(0x40 | hlen / 4);
	b[1] = x->tos;
	put_be16(b + 2, (uint16_t)(hlen + len));
	put_be16(b + 4, x->id);
	put_be16(b + 6, (uint16_t)(frag | (x->df ? 0x4000 : 0)));
	b[8] = x->ttl || x->ttl_zero ? x->ttl : 64;
	b[9] = x->kind ? x->kind : x->proto;
	memcpy(b + 12, &src.b[12], 4);
	memcpy(b + 16, &dst.b[12], 4);
	if (x->opt_len)
		memcpy(b + 20, x->opts, x->opt_len);
	put_csum(b + 10, csum_partial(b, hlen, 0), x->bad_ip_csum);
	return hlen + len;
}

uint32_t ts_build(uint8_t *b, const struct spec *x)
{
	uint32_t off = 14;

	memcpy(b, x->dmac ? x->dmac : our_mac, 6);
	memcpy(b + 6, x->smac ? x->smac : peer_mac, 6);
	if (x->tagged) {
		put_be16(b + 12, 0x8100);
		put_be16(b + 14, (uint16_t)x->vlan);
		off += 4;
	}
	put_be16(b + off - 2, ETHERTYPE_IP4);
	return off + ts_build_ip(b + off, x);
}

enum drop ts_rx_raw(struct tstack *t, const uint8_t *b, uint32_t len, uint32_t split, uint32_t step,
		    enum pkt_csum csum)
{
	struct pkt p = {.csum = (uint8_t)csum,
			.conn = TD_NO_CONN,
			.len = len,
			.queue = 3,
			.injected = t->injected,
			.yours = t->yours};
	uint8_t *pieces[PKT_MAX_FRAGS];
	uint32_t n = 0;
	enum drop d;

	/* Each piece is memory of its own, so that reading beyond it is seen. */
	for (uint32_t off = 0, part; off < len || !n; off += part) {
		part = !n && split ? split : step ? step : len - off;
		if (part > len - off)
			part = len - off;
		assert_true(n < PKT_MAX_FRAGS);
		pieces[n] = malloc(part ? part : 1);
		memcpy(pieces[n], b + off, part);
		p.frag[n] = (struct pkt_frag){.p = pieces[n], .len = part};
		n++;
	}
	p.nfrags = n;
	d = stack_input(t->s, &p, t->now);
	while (n)
		free(pieces[--n]);
	ts_check(t);
	return d;
}

enum drop ts_rx(struct tstack *t, const struct spec *x)
{
	uint8_t *b = malloc(70000);
	uint32_t len = ts_build(b, x);
	enum drop d = ts_rx_raw(t, b, len, 0, 0, PKT_CSUM_VERIFY);

	free(b);
	return d;
}

enum drop ts_rx_arp(struct tstack *t, uint16_t op, const uint8_t *sha, const char *sip,
		    const char *tip, const uint8_t *dmac)
{
	uint8_t b[60] = {0};
	struct ip_addr s = ip(sip), d = ip(tip);

	memcpy(b, dmac ? dmac : bcast_mac, 6);
	memcpy(b + 6, sha, 6);
	put_be16(b + 12, ETHERTYPE_ARP);
	memcpy(b + 14, "\0\1\10\0\6\4", 6);
	put_be16(b + 20, op);
	memcpy(b + 22, sha, 6);
	memcpy(b + 28, &s.b[12], 4);
	memcpy(b + 38, &d.b[12], 4);
	return ts_rx_raw(t, b, sizeof(b), 0, 0, PKT_CSUM_VERIFY);
}

/* ---- packets out ---- */

static struct ip_addr addr_at(const uint8_t *p)
{
	uint32_t v4;

	memcpy(&v4, p, 4);
	return ip_addr_v4(v4);
}

static void take_ip(struct out *o, const struct pkt *p)
{
	static const uint32_t csum_off[256] = {[PROTO_UDP] = 6, [PROTO_TCP] = 16};
	uint32_t hlen, sum = 0;

	o->ip = o->b + 14;
	hlen = (o->ip[0] & 15u) * 4;
	assert_int_equal(o->ip[0] >> 4, 4);
	assert_int_equal(get_be16(o->ip + 2), o->len - 14);
	assert_int_equal(csum_fold(csum_partial(o->ip, hlen, 0)), 0);
	o->tos = o->ip[1];
	o->id = get_be16(o->ip + 4);
	o->frag = get_be16(o->ip + 6);
	o->ttl = o->ip[8];
	o->proto = o->ip[9];
	o->src = addr_at(o->ip + 12);
	o->dst = addr_at(o->ip + 16);
	o->l4 = o->ip + hlen;
	o->l4_len = o->len - 14 - hlen;
	/* The checksum is over all fragments; other protocols have none that is known here. */
	if (o->frag & 0x3fff || (o->proto != PROTO_ICMP && !csum_off[o->proto]))
		return;
	if (o->proto != PROTO_ICMP)
		sum = csum_pseudo(&o->src, &o->dst, o->proto, o->l4_len);
	if (p->csum == PKT_CSUM_PARTIAL) {
		assert_int_equal(p->csum_start, o->l4 - o->b);
		assert_int_equal(p->csum_off, csum_off[o->proto]);
		assert_memory_equal(o->l4 + p->csum_off, &(uint16_t){(uint16_t)~csum_fold(sum)}, 2);
	} else {
		assert_int_equal(csum_fold(csum_partial(o->l4, o->l4_len, sum)), 0);
	}
}

bool ts_tx(struct tstack *t, struct out *o)
{
	struct pkt *p = stack_output(t->s, t->now);
	uint32_t sum = 0;

	ts_check(t);
	if (!p)
		return false;
	memset(o, 0, sizeof(*o));
	for (uint32_t i = 0; i < p->nfrags; i++)
		sum += p->frag[i].len;
	assert_int_equal(sum, p->len);
	pkt_copy(p, 0, o->b, p->len);
	o->len = p->len;
	o->netif = p->netif;
	o->queue = p->queue;
	o->dmac = o->b;
	o->smac = o->b + 6;
	o->ethertype = get_be16(o->b + 12);
	if (o->ethertype == ETHERTYPE_ARP) {
		o->op = get_be16(o->b + 20);
		o->sip = addr_at(o->b + 28);
		o->tip = addr_at(o->b + 38);
		assert_memory_equal(o->b + 22, o->smac, 6);
	} else if (o->ethertype == ETHERTYPE_IP4) {
		take_ip(o, p);
	}
	pkt_free(&t->pool, p);
	return true;
}

void ts_expect(struct tstack *t, struct out *o)
{
	if (!ts_tx(t, o))
		fail_msg("a packet was expected, there is none");
}

void ts_expect_none(struct tstack *t)
{
	struct out o;

	if (ts_tx(t, &o))
		fail_msg("no packet was expected, one of %u bytes came", o.len);
}

void ts_expect_arp(struct tstack *t, const char *tip, const uint8_t *dmac)
{
	static const uint8_t unknown[6];
	struct out o;

	ts_expect(t, &o);
	assert_int_equal(o.ethertype, ETHERTYPE_ARP);
	assert_int_equal(o.op, 1);
	assert_ip(o.tip, tip);
	assert_memory_equal(o.dmac, dmac, 6);
	/* The target's address is what is asked for; who is asked alone is told what is known. */
	assert_memory_equal(o.b + ETH_HLEN_ + 18, dmac[0] & 1 ? unknown : dmac, 6);
}
