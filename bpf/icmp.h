/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * ICMP and ICMPv6 (RFC 792, 4443): echo, answered in place, and errors, which are matched by the
 * packet that they quote.
 */
#ifndef TANDEM_BPF_ICMP_H
#define TANDEM_BPF_ICMP_H

#include "view.h"
#include "nd.h"
#include "common/csum.h"

#define ECHO_TTL 64
/* A power of two. Longer requests are the slow path's, however large the MTU is. */
#define ECHO_SUM_MAX 2048u

/* A quoted packet's ports at @off; its protocol is in p->key->proto. */
static __always_inline enum pkt_kind parse_quoted_ports(struct pkt_view *v, struct pkt_info *p,
							uint32_t off)
{
	const struct wire_ports *ports;

	if (p->key->proto != PROTO_TCP && p->key->proto != PROTO_UDP)
		return PK_OTHER;
	ports = view_at(v, off, sizeof(*ports));
	if (!ports || off + sizeof(*ports) > pkt_end(p))
		return PK_OTHER;
	p->key->local_port = ports->src;
	p->key->remote_port = ports->dst;
	return PK_ICMP_ERROR;
}

/* An error is sent to the source of what it quotes: any other pairing is not about us. */
static __always_inline enum pkt_kind parse_quote4(struct pkt_view *v, struct pkt_info *p,
						  uint32_t off)
{
	const struct wire_ipv4 *ip = view_at(v, off, sizeof(*ip));
	uint32_t hlen;

	if (!ip || off + sizeof(*ip) > pkt_end(p))
		return PK_OTHER;
	hlen = (uint32_t)(ip->vihl & 15) * 4;
	if (ip->vihl >> 4 != 4 || hlen < sizeof(*ip) || ip->frag & BE16(IPV4_OFFSET) ||
	    ip->src != ip_addr_to_v4(&p->key->local))
		return PK_OTHER;
	p->quoted = ip_addr_v4(ip->dst);
	p->key->proto = ip->proto;
	return parse_quoted_ports(v, p, off + hlen);
}

static __always_inline enum pkt_kind parse_quote6(struct pkt_view *v, struct pkt_info *p,
						  uint32_t off)
{
	const struct wire_ipv6 *ip = view_at(v, off, sizeof(*ip));
	struct ip_addr src;

	if (!ip || off + sizeof(*ip) > pkt_end(p))
		return PK_OTHER;
	src = wire_ip6_addr(&ip->src);
	if ((ip->vtf & BE32(0xf0000000)) != BE32(0x60000000) || !ip_addr_eq(&src, &p->key->local))
		return PK_OTHER;
	p->quoted = wire_ip6_addr(&ip->dst);
	p->key->proto = ip->next;
	return parse_quoted_ports(v, p, off + sizeof(*ip));
}

static __always_inline enum pkt_kind parse_icmp4(struct pkt_view *v, struct pkt_info *p,
						 uint32_t l4)
{
	const struct wire_icmp *icmp = view_at(v, l4, sizeof(*icmp));

	if (!icmp || l4 + sizeof(*icmp) > pkt_end(p))
		return pkt_malformed(p, XR_DROP_ICMP_CUT);
	p->l4_off = l4;
	switch (BE16(icmp->type_code) >> 8) {
	case ICMP4_ECHO:
		return icmp->type_code == ICMP_TYPE_CODE(ICMP4_ECHO, 0) ? PK_ECHO : PK_OTHER;
	case ICMP4_UNREACH:
	case ICMP4_TIME_EXCEEDED:
	case ICMP4_PARAM_PROBLEM:
		return parse_quote4(v, p, l4 + sizeof(*icmp));
	default:
		return PK_OTHER;
	}
}

static __always_inline enum pkt_kind parse_icmp6(struct pkt_view *v, struct pkt_info *p,
						 uint32_t l4, uint8_t hops)
{
	const struct wire_icmp *icmp = view_at(v, l4, sizeof(*icmp));
	uint32_t type;

	if (!icmp || l4 + sizeof(*icmp) > pkt_end(p))
		return pkt_malformed(p, XR_DROP_ICMP_CUT);
	p->l4_off = l4;
	type = BE16(icmp->type_code) >> 8;
	if (icmp->type_code == ICMP_TYPE_CODE(ICMP6_ECHO, 0))
		return PK_ECHO;
	if (icmp->type_code == ICMP_TYPE_CODE(ICMP6_SOLICIT, 0))
		return parse_nd_solicit(v, p, l4, hops);
	if (type >= ICMP6_UNREACH && type <= ICMP6_PARAM_PROBLEM)
		return parse_quote6(v, p, l4 + sizeof(*icmp));
	/* Multicast listener and neighbour discovery keep tables that are the kernel's. */
	if ((type >= ICMP6_MLD_QUERY && type <= ICMP6_REDIRECT) || type == ICMP6_MLD2_REPORT)
		return PK_NEIGH;
	return PK_OTHER;
}

/* Adds @n bytes at *@b, which are words of 32 bits; false: they are not all before @end. */
static __always_inline bool echo_add(uint64_t *acc, const uint8_t **b, const uint8_t *end,
				     uint32_t n)
{
	const struct wire_word *w;

	/* Or clang compares with end + 1 in a loop, of which the verifier wants to know nothing. */
	barrier_var(*b);
	w = (const void *)*b;
	if (*b + n > end)
		return false;
	for (uint32_t i = 0; i < n / 4; i++)
		*acc += w[i].w;
	*b += n;
	return true;
}

/* The last bytes, less than 32. */
static __always_inline bool echo_add_rest(uint64_t *acc, const uint8_t *b, const uint8_t *end,
					  uint32_t len)
{
	if ((len & 16 && !echo_add(acc, &b, end, 16)) || (len & 8 && !echo_add(acc, &b, end, 8)) ||
	    (len & 4 && !echo_add(acc, &b, end, 4)))
		return false;
	if (len & 2) {
		if (b + 2 > end)
			return false;
		*acc += ((const struct wire_ports *)(const void *)b)->src;
		b += 2;
	}
	if (len & 1) {
		if (b + 1 > end)
			return false;
		*acc += BE16((uint16_t)(*b << 8));
	}
	return true;
}

/*
 * Adds the @len bytes at @b to *@sum. False: they are ECHO_SUM_MAX or more, or not all before @end.
 * Where the rest is follows from @len, not from where the loop ended: the verifier need not look at
 * it once for each number of rounds.
 */
static __always_inline bool echo_sum(const uint8_t *b, const uint8_t *end, uint32_t len,
				     uint32_t *sum)
{
	const uint8_t *rest = b + (len & (ECHO_SUM_MAX - 1) & ~31u);
	uint64_t acc = *sum;

	if (len >= ECHO_SUM_MAX)
		return false;
	for (uint32_t i = 0; i < ECHO_SUM_MAX / 32 && i < len / 32; i++)
		if (!echo_add(&acc, &b, end, 32))
			return false;
	if (!echo_add_rest(&acc, rest, end, len & 31))
		return false;
	acc = (acc & 0xffffffff) + (acc >> 32);
	*sum = (uint32_t)acc + (uint32_t)(acc >> 32);
	return true;
}

/*
 * Request to reply. Both checksums are verified first, as nobody else does; that of ICMP is whole
 * even where those of TCP and UDP are partial. Then they are updated, not computed (RFC 1624).
 * Returns XR_ECHO_REPLY, or why there is none.
 */
static __always_inline enum xdp_reason echo_reply4(uint8_t *data, const uint8_t *end,
						   const struct pkt_info *p, uint32_t l3_off,
						   const struct xdp_settings *s)
{
	struct wire_eth *eth = (void *)data;
	struct wire_ipv4 *ip = (void *)(data + l3_off);
	struct wire_icmp *icmp = (void *)(ip + 1);
	uint32_t addr, sum = 0;

	if (data + sizeof(*eth) > end || (uint8_t *)(icmp + 1) > end ||
	    !echo_sum((uint8_t *)ip, end, sizeof(*ip), &sum))
		return XR_DROP_NO_ROOM;
	if (csum_fold(sum))
		return XR_DROP_IP_CSUM;
	sum = 0;
	if (!echo_sum((uint8_t *)icmp, end, p->l3_len - (uint32_t)sizeof(*ip), &sum))
		return XR_DROP_NO_ROOM;
	if (csum_fold(sum))
		return XR_DROP_ICMP_CSUM;
	eth->dst = eth->src;
	wire_mac_set(&eth->src, s->mac);
	addr = ip->src;
	ip->src = ip->dst;
	ip->dst = addr;
	ip->check = csum_replace16(ip->check, BE16((uint16_t)ip->ttl << 8 | ip->proto),
				   BE16(ECHO_TTL << 8 | PROTO_ICMP));
	ip->ttl = ECHO_TTL;
	icmp->check = csum_replace16(icmp->check, ICMP_TYPE_CODE(ICMP4_ECHO, 0),
				     ICMP_TYPE_CODE(ICMP4_ECHO_REPLY, 0));
	if (!icmp->check) /* of nothing but zeros, where the update gives the other zero */
		icmp->check = 0xffff;
	icmp->type_code = ICMP_TYPE_CODE(ICMP4_ECHO_REPLY, 0);
	return XR_ECHO_REPLY;
}

static __always_inline enum xdp_reason echo_reply6(uint8_t *data, const uint8_t *end,
						   const struct pkt_info *p, uint32_t l3_off,
						   const struct xdp_settings *s)
{
	struct wire_eth *eth = (void *)data;
	struct wire_ipv6 *ip = (void *)(data + l3_off);
	struct wire_icmp *icmp = (void *)(ip + 1);
	uint32_t sum, len = p->l3_len - (uint32_t)sizeof(*ip);
	struct wire_ip6 addr;

	if (data + sizeof(*eth) > end || (uint8_t *)(icmp + 1) > end)
		return XR_DROP_NO_ROOM;
	sum = csum_pseudo(&p->key->remote, &p->key->local, PROTO_ICMP6, len);
	if (!echo_sum((uint8_t *)icmp, end, len, &sum))
		return XR_DROP_NO_ROOM;
	if (csum_fold(sum))
		return XR_DROP_MALFORMED;
	eth->dst = eth->src;
	wire_mac_set(&eth->src, s->mac);
	addr = ip->src;
	ip->src = ip->dst;
	ip->dst = addr;
	ip->hops = ECHO_TTL;
	icmp->check = csum_replace16(icmp->check, ICMP_TYPE_CODE(ICMP6_ECHO, 0),
				     ICMP_TYPE_CODE(ICMP6_ECHO_REPLY, 0));
	icmp->type_code = ICMP_TYPE_CODE(ICMP6_ECHO_REPLY, 0);
	return XR_ECHO_REPLY;
}

#endif
