/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Neighbour discovery (RFC 4861 §7): a solicitation for an address of ours that comes in the
 * common form, from an address and with the sender's link-layer address as its only
 * option, is answered in place. All else (duplicate address detection, probes without
 * options, advertisements, router discovery) is the kernel's, which shares the addresses.
 */
#ifndef TANDEM_BPF_ND_H
#define TANDEM_BPF_ND_H

#include "view.h"
#include "common/csum.h"

#define ND_OPT_SOURCE 1
#define ND_OPT_TARGET 2
#define NA_SOLICITED 0x40000000u
#define NA_OVERRIDE 0x20000000u

/* Folded sum of IPv6 pseudo-header and message; 0 over a message with a right checksum. */
static __always_inline uint16_t nd_csum(const struct wire_ipv6 *ip, const struct wire_nd *nd)
{
	const struct wire_ip6 *w = (const void *)nd; /* 32 bytes: two times four words */
	uint32_t sum = BE32(sizeof(*nd) + PROTO_ICMP6);

	for (int i = 0; i < 4; i++) {
		sum = csum_add(sum, ip->src.w[i]);
		sum = csum_add(sum, ip->dst.w[i]);
		sum = csum_add(sum, w[0].w[i]);
		sum = csum_add(sum, w[1].w[i]);
	}
	return csum_fold(sum);
}

/* @p->key has the addresses of the IPv6 header; @l4 is where the ICMPv6 message starts. */
static __always_inline enum pkt_kind parse_nd_solicit(struct pkt_view *v, struct pkt_info *p,
						      uint32_t l4, uint8_t hops)
{
	const struct wire_ipv6 *ip = view_at(v, p->l3_off, sizeof(*ip));
	const struct wire_nd *nd;
	const struct ip_addr *src = &p->key->remote;

	if (!ip || l4 != p->l3_off + sizeof(*ip) || pkt_end(p) != l4 + sizeof(*nd))
		return PK_NEIGH;
	nd = view_at(v, p->l3_off + sizeof(*ip), sizeof(*nd));
	if (!nd || hops != 255 || nd->opt_type != ND_OPT_SOURCE || nd->opt_len != 1 ||
	    wire_mac_is_group(&nd->mac) || src->b[0] == 0xff || ip_addr_is_any(src) ||
	    nd_csum(ip, nd))
		return PK_NEIGH;
	p->key->local = wire_ip6_addr(&nd->target);
	return PK_ND_SOLICIT;
}

/* Solicitation to advertisement; R is 0, as a host's. */
static __always_inline bool nd_reply(uint8_t *data, const uint8_t *end, uint32_t l3_off,
				     const struct xdp_settings *s)
{
	struct wire_eth *eth = (void *)data;
	struct wire_ipv6 *ip = (void *)(data + l3_off);
	struct wire_nd *nd = (void *)(ip + 1);

	if (data + sizeof(*eth) > end || (uint8_t *)(nd + 1) > end)
		return false;
	eth->dst = nd->mac;
	wire_mac_set(&eth->src, s->mac);
	ip->dst = ip->src;
	ip->src = nd->target;
	nd->icmp.type_code = ICMP_TYPE_CODE(ICMP6_ADVERT, 0);
	nd->icmp.rest = BE32(NA_SOLICITED | NA_OVERRIDE);
	nd->opt_type = ND_OPT_TARGET;
	wire_mac_set(&nd->mac, s->mac);
	nd->icmp.check = 0;
	nd->icmp.check = nd_csum(ip, nd);
	return true;
}

#endif
