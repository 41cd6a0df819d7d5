// SPDX-License-Identifier: BSD-2-Clause
/*
 * ARP (RFC 826) and address conflicts (RFC 5227). The XDP program answers most requests; what
 * comes here is merged into the neighbour table (neigh.c), and answered where it asks for us.
 */
#include "internal.h"

#define ARP_LEN 28u
#define ARP_REQUEST 1u
#define ARP_REPLY 2u

static const uint8_t arp_start[6] = {0, 1, 0x08, 0, 6, 4}; /* Ethernet, IPv4, their sizes */
static const uint8_t mac_all[6] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

/* An ARP packet, checked. */
struct arp {
	struct ip_addr sip, tip;
	const uint8_t *sha;
	uint16_t op;
};

static struct ip_addr addr_at(const uint8_t *p)
{
	uint32_t v4;

	memcpy(&v4, p, 4);
	return ip_addr_v4(v4);
}

/* @to: where the frame goes. @tha NULL: zero, not known. */
static void arp_send(struct stack *s, uint16_t netif, uint16_t op, const uint8_t to[6],
		     const struct ip_addr *sip, const uint8_t *tha, const struct ip_addr *tip)
{
	struct pkt *p = ip_pkt_alloc(s, false);
	uint8_t *arp;

	if (!p)
		return;
	p->netif = netif;
	eth_header(s, netif, p->frag[0].p, to, ETHERTYPE_ARP);
	arp = p->frag[0].p + ETH_HLEN_;
	memcpy(arp, arp_start, 6);
	put_be16(arp + 6, op);
	memcpy(arp + 8, s->netifs[netif].mac, 6);
	memcpy(arp + 14, &sip->b[12], 4);
	memset(arp + 18, 0, 6);
	if (tha)
		memcpy(arp + 18, tha, 6);
	memcpy(arp + 24, &tip->b[12], 4);
	p->frag[0].len = p->len = p->hdr_len = ETH_HLEN_ + ARP_LEN;
	stack_queue_pkt(s, p);
}

void arp_solicit(struct stack *s, uint16_t netif, const struct ip_addr *target, const uint8_t *mac,
		 const struct pkt *for_pkt)
{
	const struct ip_addr *from = netif_src(s, netif, target);
	struct ip_addr src;

	if (!ip_addr_is_v4(target))
		return;
	/* As Linux (arp_announce 0): from the address that the waiting packet is from. */
	if (for_pkt) {
		src = addr_at(for_pkt->frag[0].p + for_pkt->l3_off + 12);
		if (addr_is_local(s, &src))
			from = &src;
	}
	if (from)
		arp_send(s, netif, ARP_REQUEST, mac ? mac : mac_all, from, mac, target);
}

void arp_announce(struct stack *s, uint16_t netif, const struct ip_addr *a)
{
	const struct netif *n = &s->netifs[netif];

	if (s->cfg.role != STACK_FULL || !n->used || !n->up || netif_is_loopback(n) ||
	    !ip_addr_is_v4(a) || addr_is_loopback(a))
		return;
	arp_send(s, netif, ARP_REQUEST, mac_all, a, NULL, a);
}

static enum drop arp_parse(struct stack *s, const struct pkt *p, struct arp *out)
{
	static const uint8_t none[6];
	const uint8_t *arp = p->frag[0].p + p->l3_off;

	if (p->frag[0].len < p->l3_off + ARP_LEN || memcmp(arp, arp_start, 6))
		return DROP_BAD_ARP;
	out->op = get_be16(arp + 6);
	out->sha = arp + 8;
	out->sip = addr_at(arp + 14);
	out->tip = addr_at(arp + 24);
	if ((out->op != ARP_REQUEST && out->op != ARP_REPLY) || out->sha[0] & 1 ||
	    !memcmp(out->sha, none, 6))
		return DROP_BAD_ARP;
	/* 0.0.0.0 is one who looks whether an address is free (RFC 5227 §2.1.1). */
	if (addr_is_loopback(&out->sip) || addr_is_loopback(&out->tip) ||
	    (!ip_addr_is_any(&out->sip) && !addr_is_unicast(s, &out->sip)))
		return DROP_BAD_ARP;
	return DROP_NONE;
}

enum drop arp_input(struct stack *s, struct pkt *p, struct mtime now)
{
	const struct netif *n = &s->netifs[p->netif];
	bool to_us, known_sender, reply;
	struct arp a;
	enum drop d;

	if (s->cfg.role != STACK_FULL || netif_is_loopback(n))
		return DROP_NOT_FOR_US;
	d = arp_parse(s, p, &a);
	if (d != DROP_NONE)
		return d;
	if (!memcmp(a.sha, n->mac, 6))
		return DROP_NOT_FOR_US; /* our own, come back */
	if (addr_is_local(s, &a.sip)) {
		MIB(s, Td_NeighConflict);
		return DROP_MARTIAN;
	}
	to_us = addr_is_local(s, &a.tip);
	known_sender = !ip_addr_is_any(&a.sip);
	reply = a.op == ARP_REPLY && !(p->frag[0].p[0] & 1);
	if (known_sender)
		neigh_heard(s, p->netif, &a.sip, a.sha, reply, ip_addr_eq(&a.sip, &a.tip),
			    to_us && a.op == ARP_REQUEST, now);
	if (a.op != ARP_REQUEST)
		return DROP_NONE;
	if (!to_us)
		return DROP_NOT_FOR_US;
	arp_send(s, p->netif, ARP_REPLY, a.sha, &a.tip, a.sha, &a.sip);
	return DROP_NONE;
}
