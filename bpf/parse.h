/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * From bytes to struct pkt_info: every bound is checked here, later code trusts the result.
 * IPv4 is RFC 791, IPv6 RFC 8200; which transport checks are made is what is needed to
 * steer: checksums, and all that depends on a connection, are user space's.
 */
#ifndef TANDEM_BPF_PARSE_H
#define TANDEM_BPF_PARSE_H

#include "arp.h"
#include "icmp.h"

static __always_inline void parse_tcp(struct pkt_view *v, struct pkt_info *p, uint32_t l4)
{
	const struct wire_tcp *tcp = view_at(v, l4, sizeof(*tcp));
	uint32_t len;

	if (!tcp || l4 + sizeof(*tcp) > pkt_end(p)) {
		pkt_malformed(p, XR_DROP_TCP_CUT);
		return;
	}
	len = (uint32_t)(tcp->off >> 4) * 4;
	if (len < sizeof(*tcp) || l4 + len > pkt_end(p)) {
		pkt_malformed(p, len < sizeof(*tcp) ? XR_DROP_TCP_HEADER : XR_DROP_TCP_CUT);
		return;
	}
	p->l4_off = l4;
	if (tcp->flags & (TCP_SYN | TCP_RST))
		p->flags |= PI_CONTROL;
}

static __always_inline void parse_udp(struct pkt_view *v, struct pkt_info *p, uint32_t l4)
{
	const struct wire_udp *udp = view_at(v, l4, sizeof(*udp));
	uint32_t len;

	if (!udp || l4 + sizeof(*udp) > pkt_end(p)) {
		pkt_malformed(p, XR_DROP_UDP_HEADER);
		return;
	}
	len = BE16(udp->len);
	if (len < sizeof(*udp) || l4 + len > pkt_end(p)) {
		pkt_malformed(p, XR_DROP_UDP_HEADER);
		return;
	}
	p->l4_off = l4;
}

/* TCP and UDP. Of a first fragment the ports are enough; reassembly checks the rest. */
static __always_inline enum pkt_kind parse_transport(struct pkt_view *v, struct pkt_info *p,
						     uint32_t l4)
{
	const struct wire_ports *ports = view_at(v, l4, sizeof(*ports));

	if (!ports || l4 + sizeof(*ports) > pkt_end(p)) {
		if (p->flags & PI_FRAGMENT)
			return PK_OTHER;
		return pkt_malformed(p, p->key->proto == PROTO_TCP ? XR_DROP_TCP_CUT
								   : XR_DROP_UDP_HEADER);
	}
	p->key->remote_port = ports->src;
	p->key->local_port = ports->dst;
	if (p->flags & PI_FRAGMENT)
		return PK_TRANSPORT;
	if (p->key->proto == PROTO_TCP)
		parse_tcp(v, p, l4);
	else
		parse_udp(v, p, l4);
	return PK_TRANSPORT;
}

static __always_inline enum pkt_kind parse_ipv4(struct pkt_view *v, struct pkt_info *p)
{
	const struct wire_ipv4 *ip = view_at(v, p->l3_off, sizeof(*ip));
	uint32_t hlen, len, frag;

	if (!ip)
		return PK_CUT;
	p->key->remote = ip_addr_v4(ip->src);
	p->key->local = ip_addr_v4(ip->dst);
	hlen = (uint32_t)(ip->vihl & 15) * 4;
	len = BE16(ip->len);
	if (ip->vihl >> 4 != 4 || hlen < sizeof(*ip) || len < hlen)
		return pkt_malformed(p, XR_DROP_IP_HEADER);
	if (!view_has_packet(v, p, len))
		return pkt_malformed(p, XR_DROP_IP_CUT);
	p->l3_len = len;
	p->key->proto = ip->proto;
	if (hlen > sizeof(*ip))
		p->flags |= PI_OPTIONS;
	frag = ip->frag & BE16(IPV4_MF | IPV4_OFFSET);
	if (frag) {
		p->frag_id = ip->id;
		p->flags |= PI_FRAGMENT;
		if (frag & BE16(IPV4_OFFSET))
			return PK_OTHER;
		p->flags |= PI_FRAG_FIRST;
	}
	if (ip->proto == PROTO_TCP || ip->proto == PROTO_UDP)
		return parse_transport(v, p, p->l3_off + hlen);
	if (ip->proto == PROTO_ICMP && !frag)
		return parse_icmp4(v, p, p->l3_off + hlen);
	return PK_OTHER;
}

/* Steps over one extension header at *@l4. False: none there, or nothing to see beyond it. */
static __always_inline bool parse_ipv6_ext(struct pkt_view *v, struct pkt_info *p, uint32_t *l4)
{
	const struct wire_ipv6_frag *frag;
	const struct wire_ipv6_ext *ext;

	switch (p->key->proto) {
	case PROTO_FRAGMENT:
		frag = view_at(v, *l4, sizeof(*frag));
		if (!frag || *l4 + sizeof(*frag) > pkt_end(p))
			break;
		p->key->proto = frag->next;
		p->frag_id = frag->id;
		p->flags |= PI_OPTIONS | PI_FRAGMENT;
		*l4 += sizeof(*frag);
		if (frag->frag & BE16(0xfff8))
			return false;
		p->flags |= PI_FRAG_FIRST;
		return true;
	case PROTO_HOPOPTS:
	case PROTO_ROUTING:
	case PROTO_DSTOPTS:
		ext = view_at(v, *l4, sizeof(*ext));
		if (!ext || *l4 + sizeof(*ext) > pkt_end(p))
			break;
		p->key->proto = ext->next;
		p->flags |= PI_OPTIONS;
		*l4 += ((uint32_t)ext->len + 1) * 8;
		return true;
	default:
		return false;
	}
	pkt_malformed(p, XR_DROP_MALFORMED);
	return false;
}

static __always_inline enum pkt_kind parse_ipv6(struct pkt_view *v, struct pkt_info *p)
{
	const struct wire_ipv6 *ip = view_at(v, p->l3_off, sizeof(*ip));
	uint32_t l4 = p->l3_off + sizeof(*ip);
	uint8_t hops;

	if (!ip)
		return PK_CUT;
	p->flags |= PI_IPV6;
	p->key->remote = wire_ip6_addr(&ip->src);
	p->key->local = wire_ip6_addr(&ip->dst);
	p->l3_len = sizeof(*ip) + BE16(ip->len);
	p->key->proto = ip->next;
	hops = ip->hops;
	if ((ip->vtf & BE32(0xf0000000)) != BE32(0x60000000) || !view_has_packet(v, p, p->l3_len))
		return pkt_malformed(p, XR_DROP_MALFORMED);
	for (int i = 0; i < IPV6_EXT_MAX; i++) {
		if (!parse_ipv6_ext(v, p, &l4))
			break;
	}
	if (p->flags & PI_MALFORMED)
		return PK_OTHER;
	if ((p->flags & (PI_FRAGMENT | PI_FRAG_FIRST)) == PI_FRAGMENT)
		return PK_OTHER;
	if (p->key->proto == PROTO_TCP || p->key->proto == PROTO_UDP)
		return parse_transport(v, p, l4);
	if (p->key->proto == PROTO_ICMP6 && !(p->flags & PI_FRAGMENT))
		return parse_icmp6(v, p, l4, hops);
	return PK_OTHER;
}

/* @p is zeroed. Leaves v->cut set where a look at more of the frame might give another result. */
static __always_inline enum pkt_kind parse_frame(struct pkt_view *v, const struct xdp_settings *s,
						 struct pkt_info *p)
{
	const struct wire_eth *eth = view_at(v, 0, sizeof(*eth));
	const struct wire_vlan *tag;
	uint16_t type;

	if (!eth)
		return PK_CUT;
	if (wire_mac_is_group(&eth->dst))
		p->flags |= PI_GROUP;
	else if (!wire_mac_eq(&eth->dst, s->mac))
		return PK_FOREIGN;
	type = eth->type;
	p->l3_off = sizeof(*eth);
	for (int i = 0; i < 2; i++) {
		if (type != BE16(ETH_VLAN) && type != BE16(ETH_QINQ))
			break;
		tag = view_at(v, p->l3_off, sizeof(*tag));
		if (!tag)
			return PK_CUT;
		if (tag->tci & BE16(VLAN_VID)) /* 0 is only a priority (802.1Q) */
			return PK_VLAN;
		type = tag->type;
		p->l3_off += sizeof(*tag);
		p->flags |= PI_VLAN;
	}
	switch (type) {
	case BE16(ETH_IPV4):
		return parse_ipv4(v, p);
	case BE16(ETH_IPV6):
		return parse_ipv6(v, p);
	case BE16(ETH_ARP):
		return parse_arp(v, p);
	case BE16(ETH_VLAN):
	case BE16(ETH_QINQ):
		return PK_VLAN;
	default:
		return PK_NOT_IP;
	}
}

#endif
