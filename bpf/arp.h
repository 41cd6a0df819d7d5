/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * ARP (RFC 826, 5227): requests for an address of ours are answered in place, all else is the
 * kernel's, which shares the addresses and keeps the neighbour table.
 */
#ifndef TANDEM_BPF_ARP_H
#define TANDEM_BPF_ARP_H

#include "view.h"

static __always_inline enum pkt_kind parse_arp(struct pkt_view *v, struct pkt_info *p)
{
	const struct wire_arp *arp = view_at(v, p->l3_off, sizeof(*arp));
	uint32_t spa, tpa;

	if (!arp)
		return PK_CUT;
	if (arp->htype != BE16(1) || arp->ptype != BE16(ETH_IPV4) || arp->hlen != 6 ||
	    arp->plen != 4 || arp->op != BE16(ARP_REQUEST))
		return PK_NEIGH;
	spa = wire_arp_addr(&arp->spa);
	tpa = wire_arp_addr(&arp->tpa);
	/* An announcement, perhaps of our own address: a conflict, which is not ours to hide. */
	if (spa == tpa || wire_mac_is_group(&arp->sha))
		return PK_NEIGH;
	p->key->remote = ip_addr_v4(spa);
	p->key->local = ip_addr_v4(tpa);
	if (!v->copied)
		p->flags |= PI_IN_PLACE;
	return PK_ARP_REQUEST;
}

/* Request to reply. Sender address 0.0.0.0 (a probe) is answered as to any other. */
static __always_inline bool arp_reply(uint8_t *data, const uint8_t *end, uint32_t l3_off,
				      const struct xdp_settings *s)
{
	struct wire_eth *eth = (void *)data;
	struct wire_arp *arp = (void *)(data + l3_off);
	struct wire_arp_ip ours;

	if (data + sizeof(*eth) > end || (uint8_t *)(arp + 1) > end)
		return false;
	eth->dst = arp->sha;
	wire_mac_set(&eth->src, s->mac);
	ours = arp->tpa;
	arp->op = BE16(ARP_REPLY);
	arp->tha = arp->sha;
	arp->tpa = arp->spa;
	wire_mac_set(&arp->sha, s->mac);
	arp->spa = ours;
	return true;
}

#endif
