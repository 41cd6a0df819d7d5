// SPDX-License-Identifier: BSD-2-Clause
/*
 * IPv4 (RFC 791, 1122): validation of what comes in, demultiplexing, headers and fragments of what
 * goes out, transport checksums (RFC 1071).
 *
 * An application's stack gets only what the XDP program found in the flow table or in that of
 * ports: there connections and sockets decide what is ours, and nothing but TCP segments is
 * answered.
 */
#include "tcp.h"

#define IP4_MF 0x2000u
#define IP4_OFFSET 0x1fffu
#define IPOPT_END 0u
#define IPOPT_NOP 1u
#define IPOPT_LSRR 131u
#define IPOPT_SSRR 137u
#define ICMP_UNREACH 3u
#define ICMP_UNREACH_PROTO 2u
#define ICMP_PARAM 12u

_Static_assert(MIB_IpExt_InECT1Pkts == MIB_IpExt_InNoECTPkts + 1 &&
		       MIB_IpExt_InECT0Pkts == MIB_IpExt_InNoECTPkts + 2 &&
		       MIB_IpExt_InCEPkts == MIB_IpExt_InNoECTPkts + 3,
	       "in the order of the ECN bits");

/* ---- checksums ---- */

static uint32_t fold16(uint32_t sum)
{
	return (uint16_t)~csum_fold(sum);
}

/* Sums @len bytes from @off on, over all fragments; one may begin at an odd place. */
static uint32_t pkt_sum(const struct pkt *p, uint32_t off, uint32_t len, uint32_t sum)
{
	bool odd = false;

	for (uint32_t i = 0; i < p->nfrags && len; i++) {
		const struct pkt_frag *f = &p->frag[i];
		uint32_t n, part;

		if (off >= f->len) {
			off -= f->len;
			continue;
		}
		n = f->len - off < len ? f->len - off : len;
		part = fold16(csum_partial(f->p + off, n, 0));
		sum = csum_add(sum, odd ? __builtin_bswap16((uint16_t)part) : part);
		odd ^= n & 1;
		len -= n;
		off = 0;
	}
	return sum;
}

bool pkt_csum_ok(const struct pkt *p, uint32_t off, uint32_t len)
{
	return !csum_fold(pkt_sum(p, off, len, 0));
}

bool l4_checksum_full(const struct pkt *p, const struct ip_info *ip)
{
	return !csum_fold(pkt_sum(p, ip->l4_off, ip->l4_len,
				  csum_pseudo(&ip->src, &ip->dst, ip->proto, ip->l4_len)));
}

/* Apart, as it needs many registers. */
static __attribute__((noinline)) bool sums_up(const struct pkt *p, const struct ip_info *ip,
					      uint32_t pseudo)
{
	return !csum_fold(pkt_sum(p, ip->l4_off, ip->l4_len, pseudo));
}

bool l4_checksum_ok(const struct pkt *p, const struct ip_info *ip, uint16_t csum_off)
{
	uint32_t at = (uint32_t)ip->l4_off + csum_off, pseudo;
	uint16_t field;

	if (p->csum == PKT_CSUM_GOOD)
		return true;
	if (at + 2 > p->frag[0].len || csum_off + 2u > ip->l4_len)
		return false;
	pseudo = csum_pseudo(&ip->src, &ip->dst, ip->proto, ip->l4_len);
	/* A sender with checksum offload leaves the pseudo-header's sum there, not inverted. */
	memcpy(&field, p->frag[0].p + at, 2);
	if (p->csum == PKT_CSUM_PARTIAL && field == fold16(pseudo))
		return true;
	return sums_up(p, ip, pseudo);
}

void l4_checksum(struct stack *s, struct pkt *p, const struct ip_addr *src,
		 const struct ip_addr *dst, uint8_t proto, uint32_t l4_len, uint16_t csum_off)
{
	l4_checksum_pseudo(s, p, csum_pseudo(src, dst, proto, l4_len), proto, l4_len, csum_off);
}

void l4_checksum_complete(struct pkt *p, uint32_t pseudo, uint8_t proto, uint32_t l4_len,
			  uint16_t csum_off)
{
	uint8_t *l4 = ip_payload(p);
	uint16_t field = 0;

	p->csum = PKT_CSUM_VERIFY;
	memcpy(l4 + csum_off, &field, 2);
	field = csum_fold(p->nfrags == 1 ? csum_partial(l4, l4_len, pseudo)
					 : pkt_sum(p, p->l4_off, l4_len, pseudo));
	if (!field && proto == PROTO_UDP)
		field = 0xffff;
	memcpy(l4 + csum_off, &field, 2);
}

/* ---- out ---- */

static void ip4_header(struct stack *s, uint8_t *h, const struct ip_out *o, uint32_t l4_len,
		       uint16_t id, uint16_t frag)
{
	uint8_t ttl = o->ttl ? o->ttl : (uint8_t)s->cfg.limits.ip_default_ttl;

	ip4_put_header(h, ip_addr_to_v4(&o->src), ip_addr_to_v4(&o->dst), o->proto, ttl, o->tos,
		       IP4_HLEN + l4_len, id, frag);
}

static void ip6_header(struct stack *s, uint8_t *h, const struct ip_out *o, uint32_t l4_len)
{
	put_be32(h, 6u << 28 | (uint32_t)o->tos << 20);
	put_be16(h + 4, (uint16_t)l4_len);
	h[6] = o->proto;
	h[7] = o->ttl ? o->ttl : (uint8_t)s->cfg.limits.ip_default_ttl;
	memcpy(h + 8, &o->src, 16);
	memcpy(h + 24, &o->dst, 16);
}

/*
 * An identification tells the fragments of a datagram from those of others between the same two
 * hosts; what is not fragmented needs none (RFC 6864 §4.1). Where each pair starts is secret.
 */
static uint16_t next_id(struct stack *s, const struct ip_out *o)
{
	if (o->df)
		return 0;
	return (uint16_t)(siphash_24(s->isn_key, &o->dst, sizeof(o->dst)) + s->ip_id++);
}

void ip_header(struct stack *s, struct pkt *p, const struct ip_out *o, uint32_t l4_len)
{
	uint8_t *h = p->frag[0].p + p->l3_off;

	if (ip_addr_is_v4(&o->dst))
		ip4_header(s, h, o, l4_len, next_id(s, o), o->df ? IP4_DF : 0);
	else
		ip6_header(s, h, o, l4_len);
}

/* Of a handshake, or of TIME_WAIT. */
static int pair_way(struct stack *s, const struct tcp_addr_pair *a, struct route_result *r,
		    uint32_t *neigh, struct mtime now)
{
	uint32_t i = synreq_lookup(s, a);
	struct ip_way w;
	int rc;

	if (i == SHM_NIL) {
		rc = route_back(s, a, r, &w);
		*neigh = w.neigh;
		return rc;
	}
	*r = (struct route_result){.netif = s->synreqs[i].netif,
				   .mtu = s->netifs[s->synreqs[i].netif].mtu};
	*neigh = s->synreqs[i].neigh;
	if (*neigh >= s->a.n_neighs || s->a.neighs[*neigh].generation != s->synreqs[i].neigh_gen)
		*neigh = neigh_get(s, r->netif, &a->remote, now);
	return 0;
}

/* An application has no routes: its segments go where their connection goes. */
static int connection_way(struct stack *s, const struct ip_out *o, const uint8_t *tcp,
			  struct route_result *r, uint32_t *neigh, struct mtime now)
{
	struct tcp_addr_pair a = {.local = o->src, .remote = o->dst};
	const struct tcb *t;
	uint32_t conn;

	memcpy(&a.local_port, tcp, 2);
	memcpy(&a.remote_port, tcp + 2, 2);
	conn = conn_lookup(s, &a.local, a.local_port, &a.remote, a.remote_port);
	if (conn == SHM_NIL)
		return pair_way(s, &a, r, neigh, now);
	t = &s->a.tcbs[conn];
	*r = (struct route_result){.netif = t->netif, .mtu = s->netifs[t->netif].mtu};
	*neigh = t->neigh;
	if (t->neigh >= s->a.n_neighs || s->a.neighs[t->neigh].generation != t->neigh_gen)
		*neigh = neigh_get(s, t->netif, &o->dst, now); /* it may be on the link */
	return 0;
}

static enum nud_state way_state(const struct stack *s, const struct ip_way *w)
{
	const struct neigh *n;

	if (w->neigh >= s->a.n_neighs || w->netif >= STACK_MAX_NETIFS)
		return NUD_NONE;
	n = &s->a.neighs[w->neigh];
	if (READ_ONCE(n->generation) != w->neigh_gen)
		return NUD_NONE;
	return neigh_state_of(load_acquire(&n->mac_state));
}

bool ip_way_usable(const struct stack *s, const struct ip_way *w)
{
	return nud_usable(way_state(s, w));
}

bool ip_way_confirmed(const struct stack *s, const struct ip_way *w)
{
	enum nud_state st = way_state(s, w);

	return st == NUD_REACHABLE || st == NUD_PERMANENT;
}

bool ip_way_find(struct stack *s, uint16_t netif, const struct ip_addr *nexthop, struct ip_way *w,
		 struct mtime now)
{
	uint32_t i = neigh_get(s, netif, nexthop, now);

	if (i == SHM_NIL)
		return false;
	w->netif = netif;
	w->neigh = i;
	w->neigh_gen = READ_ONCE(s->a.neighs[i].generation);
	return true;
}

/* The caller knows the way. */
static int given_way(struct stack *s, const struct ip_out *o, struct route_result *r,
		     uint32_t *neigh)
{
	if (!ip_way_usable(s, o->way))
		return -E_AGAIN;
	*r = (struct route_result){.netif = o->way->netif, .mtu = o->way->mtu};
	*neigh = o->way->neigh;
	return 0;
}

/* Where @o goes: route, neighbour, and the source if it has none. */
static int find_way(struct stack *s, struct ip_out *o, struct route_result *r, uint32_t *neigh,
		    struct mtime now)
{
	int rc;

	if (o->way)
		return given_way(s, o, r, neigh);
	rc = addr_is_unicast(s, &o->dst) ? route_lookup(s, &o->dst, &o->src, r) : -E_INVAL;
	if (rc) {
		MIB(s, Ip_OutNoRoutes);
		return rc;
	}
	o->src = r->src;
	*neigh = neigh_get(s, r->netif, &r->nexthop, now);
	if (*neigh == SHM_NIL) {
		MIB(s, Ip_OutDiscards);
		return -E_NOBUFS;
	}
	return 0;
}

static int transmit(struct stack *s, struct pkt *p, uint16_t netif, uint16_t queue, uint32_t len,
		    uint32_t neigh, struct mtime now)
{
	p->netif = netif;
	p->queue = queue;
	p->hdr_len = p->l4_off;
	p->frag[0].len = p->len = p->l4_off + len;
	MIB_ADD(s, IpExt_OutOctets, p->len - ETH_HLEN_);
	return neigh_send(s, neigh, p, now) ? 0 : -E_NOBUFS;
}

/* Copies @len bytes at @off of @from out in packets of at most @mtu. All or nothing. */
static int send_copies(struct stack *s, const struct pkt *from, uint32_t off, uint32_t len,
		       const struct ip_out *o, const struct route_result *r, uint32_t neigh,
		       struct mtime now)
{
	uint32_t room = s->pool->free ? s->pool->free->room : 0, max = r->mtu, n;
	uint16_t id = next_id(s, o);

	if (room > ETH_HLEN_ && max > room - ETH_HLEN_)
		max = room - ETH_HLEN_;
	if (max < IP4_HLEN + 8 || IP4_HLEN + len > 0xffff || !ip_addr_is_v4(&o->dst)) {
		MIB(s, Ip_OutDiscards);
		MIB(s, Ip_FragFails);
		return -E_MSGSIZE;
	}
	max = (max - IP4_HLEN) & ~7u;
	n = (len + max - 1) / max;
	if (s->pool->n < n || s->n_pending + n > s->cfg.n_pending) {
		MIB(s, Ip_OutDiscards);
		return -E_NOBUFS;
	}
	for (uint32_t done = 0, part; done < len; done += part) {
		struct pkt *p = ip_pkt_alloc(s, false);
		uint16_t more = 0;

		part = len - done;
		if (part > max) {
			part = max;
			more = IP4_MF;
		}
		if (!p)
			return -E_NOBUFS;
		pkt_copy(from, off + done, ip_payload(p), part);
		ip4_header(s, p->frag[0].p + p->l3_off, o, part, id, (uint16_t)(done / 8) | more);
		if (n > 1)
			MIB(s, Ip_FragCreates);
		transmit(s, p, r->netif, o->queue, part, neigh, now);
	}
	if (n > 1)
		MIB(s, Ip_FragOKs);
	return 0;
}

int ip_send_copy(struct stack *s, const struct pkt *from, uint32_t off, uint32_t len,
		 const struct ip_out *out, struct mtime now)
{
	struct ip_out o = *out;
	struct route_result r;
	uint32_t neigh;
	int rc;

	MIB(s, Ip_OutRequests);
	rc = find_way(s, &o, &r, &neigh, now);
	return rc ? rc : send_copies(s, from, off, len, &o, &r, neigh, now);
}

int ip_send(struct stack *s, struct pkt *p, uint32_t len, const struct ip_out *out,
	    struct mtime now)
{
	struct ip_out o = *out;
	struct route_result r;
	uint32_t neigh;
	int rc = -E_MSGSIZE;

	MIB(s, Ip_OutRequests);
	if (p->l4_off + len > p->room)
		MIB(s, Ip_OutDiscards);
	else if (s->cfg.role == STACK_APP && !o.way)
		rc = connection_way(s, &o, ip_payload(p), &r, &neigh, now);
	else
		rc = find_way(s, &o, &r, &neigh, now);
	if (!rc && p->l4_off - ETH_HLEN_ + len <= r.mtu) {
		ip_header(s, p, &o, len);
		return transmit(s, p, r.netif, o.queue, len, neigh, now);
	}
	if (!rc && (o.df || !ip_addr_is_v4(&o.dst))) {
		MIB(s, Ip_OutDiscards);
		MIB(s, Ip_FragFails);
		rc = -E_MSGSIZE;
	} else if (!rc) {
		p->frag[0].len = p->len = p->l4_off + len;
		rc = send_copies(s, p, p->l4_off, len, &o, &r, neigh, now);
	}
	pkt_free(s->pool, p);
	return rc;
}

/* ---- in ---- */

/* What only fragments have. */
struct frag_info {
	uint16_t id;
	uint16_t field; /* flags and offset */
};

static enum drop bad_header(struct stack *s, enum drop d)
{
	MIB(s, Ip_InHdrErrors);
	return d;
}

/* Of one without options. */
static uint32_t header_sum(const uint8_t *h)
{
	uint32_t w[IP4_HLEN / 4];
	uint64_t sum;

	memcpy(w, h, sizeof(w));
	sum = (uint64_t)w[0] + w[1] + w[2] + w[3] + w[4];
	return csum_add((uint32_t)sum, (uint32_t)(sum >> 32));
}

/* RFC 1122 §3.2.1: the checks that need no more than the header itself. */
static enum drop parse_header(struct stack *s, const struct pkt *p, struct ip_info *ip,
			      struct frag_info *frag)
{
	const uint8_t *h = p->frag[0].p + p->l3_off;
	uint32_t room = p->frag[0].len - p->l3_off, hlen, total, src, dst;

	if (room < IP4_HLEN)
		return bad_header(s, p->nfrags > 1 ? DROP_BAD_FRAME : DROP_BAD_IP);
	hlen = (h[0] & 15u) * 4;
	total = get_be16(h + 2);
	if (h[0] >> 4 != 4 || hlen < IP4_HLEN)
		return bad_header(s, DROP_BAD_IP);
	if (!ip_counted(s, p))
		mib_inc(s, MIB_IpExt_InNoECTPkts + (h[1] & ECN_MASK)); /* in the bits' order */
	if (hlen > room)
		return bad_header(s, p->nfrags > 1 ? DROP_BAD_FRAME : DROP_BAD_IP);
	if (csum_fold(hlen == IP4_HLEN ? header_sum(h) : csum_partial(h, hlen, 0))) {
		MIB(s, IpExt_InCsumErrors);
		return bad_header(s, DROP_BAD_IP_CSUM);
	}
	if (total > p->len - p->l3_off) {
		MIB(s, IpExt_InTruncatedPkts);
		return DROP_BAD_IP;
	}
	if (total < hlen)
		return bad_header(s, DROP_BAD_IP);
	if (!h[8])
		return bad_header(s, DROP_TTL);
	memcpy(&src, h + 12, 4);
	memcpy(&dst, h + 16, 4);
	ip->src = ip_addr_v4(src);
	ip->dst = ip_addr_v4(dst);
	ip->netif = p->netif;
	ip->l4_off = (uint16_t)(p->l3_off + hlen);
	ip->l4_len = total - hlen;
	ip->proto = h[9];
	ip->ttl = h[8];
	ip->tos = h[1];
	ip->bcast = p->frag[0].p[0] & 1;
	frag->id = get_be16(h + 4);
	frag->field = get_be16(h + 6);
	return DROP_NONE;
}

/* RFC 1122 §3.2.1.3, RFC 1812 §5.3.7: who may speak to whom on this interface. */
static enum drop check_addrs(struct stack *s, struct ip_info *ip)
{
	bool lo, local;

	if (s->cfg.role == STACK_APP)
		return DROP_NONE;
	lo = netif_is_loopback(&s->netifs[ip->netif]);
	local = addr_is_local(s, &ip->dst);
	if (!addr_is_unicast(s, &ip->src) ||
	    (!lo && (addr_is_local(s, &ip->src) || addr_is_loopback(&ip->src) ||
		     addr_is_loopback(&ip->dst)))) {
		MIB(s, Ip_InAddrErrors);
		return DROP_MARTIAN;
	}
	if (local)
		return DROP_NONE;
	/* To a broadcast address: ours to look at. No multicast group has us as a member. */
	if (addr_is_unicast(s, &ip->dst) || ip->dst.b[12] >> 4 == 0xe || ip_addr_is_any(&ip->dst)) {
		MIB(s, Ip_InAddrErrors);
		return DROP_NOT_FOR_US;
	}
	ip->bcast = true;
	return DROP_NONE;
}

/* Options are stepped over; source routes are refused (RFC 7126 §4.3), malformed ones reported. */
static enum drop check_options(struct stack *s, const struct pkt *p, const struct ip_info *ip,
			       struct mtime now)
{
	const uint8_t *h = p->frag[0].p + p->l3_off;
	uint32_t hlen = (uint32_t)(ip->l4_off - p->l3_off), i = IP4_HLEN;

	while (i < hlen && h[i] != IPOPT_END) {
		uint32_t n = h[i] == IPOPT_NOP ? 1 : i + 1 < hlen ? h[i + 1] : 0;

		if (h[i] == IPOPT_LSRR || h[i] == IPOPT_SSRR)
			return bad_header(s, DROP_BAD_IP);
		if ((h[i] != IPOPT_NOP && n < 2) || n > hlen - i) {
			icmp_error(s, p, ip, ICMP_PARAM, 0, i << 24, now);
			return bad_header(s, DROP_BAD_IP);
		}
		i += n;
	}
	return DROP_NONE;
}

enum drop ip_input(struct stack *s, struct pkt *p, struct mtime now)
{
	struct frag_info frag;
	struct ip_info ip;
	enum drop d;

	if (!ip_counted(s, p)) {
		MIB(s, Ip_InReceives);
		MIB_ADD(s, IpExt_InOctets, p->len - p->l3_off);
	}
	d = parse_header(s, p, &ip, &frag);
	if (d == DROP_NONE)
		d = check_addrs(s, &ip);
	if (d == DROP_NONE && ip.l4_off - p->l3_off > (int)IP4_HLEN)
		d = check_options(s, p, &ip, now);
	if (d != DROP_NONE)
		return d;
	if (frag.field & (IP4_OFFSET | IP4_MF))
		return reasm_input(s, p, &ip, frag.id, (frag.field & IP4_OFFSET) * 8u,
				   frag.field & IP4_MF, now);
	return ip_deliver(s, p, &ip, now);
}

enum drop ip_deliver(struct stack *s, struct pkt *p, const struct ip_info *ip, struct mtime now)
{
	p->l4_off = ip->l4_off;
	if (s->cfg.role == STACK_APP && ip->proto != PROTO_TCP && ip->proto != PROTO_UDP &&
	    ip->proto != PROTO_ICMP)
		return DROP_NO_SOCKET;
	switch (ip->proto) {
	case PROTO_TCP:
		if (!ip_counted(s, p))
			MIB(s, Ip_InDelivers);
		return tcp_input(s, p, ip, now);
	case PROTO_UDP:
		MIB(s, Ip_InDelivers);
		return udp_input(s, p, ip, now);
	case PROTO_ICMP:
		MIB(s, Ip_InDelivers);
		return icmp_input(s, p, ip, now);
	default:
		MIB(s, Ip_InUnknownProtos);
		icmp_error(s, p, ip, ICMP_UNREACH, ICMP_UNREACH_PROTO, 0, now);
		return DROP_PROTO;
	}
}
