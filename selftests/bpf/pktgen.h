/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The packet builder of the BPF tests: layers are put one behind the other, pkt_done() fills in
 * lengths and checksums.
 */
#ifndef TANDEM_SELFTESTS_BPF_PKTGEN_H
#define TANDEM_SELFTESTS_BPF_PKTGEN_H

#include <arpa/inet.h>
#include <string.h>
#include "bpf/wire.h"
#include "common/csum.h"

#define PKT_MAX 4096

struct packet {
	uint8_t b[PKT_MAX];
	uint32_t len;
	uint32_t l3, l4; /* offsets; 0: none */
	uint8_t proto;	 /* of what is at l4 */
};

static const uint8_t mac_us[6] = {2, 0, 0, 0, 0, 1}, mac_peer[6] = {2, 0, 0, 0, 0, 2},
		     mac_all[6] = {255, 255, 255, 255, 255, 255};

#define US4 "10.9.0.1"
#define PEER4 "10.9.0.2"
#define US6 "fd00:9::1"
#define PEER6 "fd00:9::2"

static inline struct ip_addr addr_of(const char *text)
{
	struct ip_addr a;
	uint32_t v4;

	if (inet_pton(AF_INET, text, &v4) == 1)
		return ip_addr_v4(v4);
	inet_pton(AF_INET6, text, a.b);
	return a;
}

static inline void *pkt_put(struct packet *p, uint32_t len)
{
	void *at = p->b + p->len;

	memset(at, 0, len);
	p->len += len;
	return at;
}

static inline void pkt_eth(struct packet *p, const uint8_t dst[6], uint16_t type)
{
	struct wire_eth *eth;

	p->len = p->l3 = p->l4 = p->proto = 0;
	eth = pkt_put(p, sizeof(*eth));
	wire_mac_set(&eth->dst, dst);
	wire_mac_set(&eth->src, mac_peer);
	eth->type = htons(type);
}

/* A tag between the last link header and what follows; @outer: the type that announces it. */
static inline void pkt_vlan(struct packet *p, uint16_t outer, uint16_t tci)
{
	uint16_t type, tpid = htons(outer);
	struct wire_vlan *tag;

	memcpy(&type, p->b + p->len - 2, 2);
	memcpy(p->b + p->len - 2, &tpid, 2);
	tag = pkt_put(p, sizeof(*tag));
	tag->tci = htons(tci);
	tag->type = type;
}

static inline struct wire_ipv4 *pkt_ipv4(struct packet *p, const char *src, const char *dst,
					 uint8_t proto, uint32_t options)
{
	struct ip_addr s = addr_of(src), d = addr_of(dst);
	struct wire_ipv4 *ip;

	p->l3 = p->len;
	ip = pkt_put(p, sizeof(*ip) + options);
	memset(ip + 1, 1, options); /* NOP */
	ip->vihl = (uint8_t)(0x45 + options / 4);
	ip->ttl = 57;
	ip->proto = p->proto = proto;
	ip->src = ip_addr_to_v4(&s);
	ip->dst = ip_addr_to_v4(&d);
	p->l4 = p->len;
	return ip;
}

static inline struct wire_ipv6 *pkt_ipv6(struct packet *p, const char *src, const char *dst,
					 uint8_t proto)
{
	struct ip_addr s = addr_of(src), d = addr_of(dst);
	struct wire_ipv6 *ip;

	p->l3 = p->len;
	ip = pkt_put(p, sizeof(*ip));
	ip->vtf = htonl(6u << 28);
	ip->next = p->proto = proto;
	ip->hops = 57;
	memcpy(&ip->src, &s, 16);
	memcpy(&ip->dst, &d, 16);
	p->l4 = p->len;
	return ip;
}

/* An extension header of 8 bytes; it takes the type of what was to follow. */
static inline void *pkt_ipv6_ext(struct packet *p, uint8_t type)
{
	struct wire_ipv6 *ip = (void *)(p->b + p->l3);
	uint8_t *ext = pkt_put(p, 8);

	ext[0] = ip->next;
	ip->next = type;
	p->l4 = p->len;
	return ext;
}

static inline struct wire_tcp *pkt_tcp(struct packet *p, uint16_t sport, uint16_t dport,
				       uint8_t flags, uint32_t payload)
{
	struct wire_tcp *tcp = pkt_put(p, sizeof(*tcp));

	tcp->src = htons(sport);
	tcp->dst = htons(dport);
	tcp->off = 5 << 4;
	tcp->flags = flags;
	memset(pkt_put(p, payload), 'x', payload);
	return tcp;
}

static inline struct wire_udp *pkt_udp(struct packet *p, uint16_t sport, uint16_t dport,
				       uint32_t payload)
{
	struct wire_udp *udp = pkt_put(p, sizeof(*udp));

	udp->src = htons(sport);
	udp->dst = htons(dport);
	udp->len = htons((uint16_t)(sizeof(*udp) + payload));
	memset(pkt_put(p, payload), 'x', payload);
	return udp;
}

static inline struct wire_icmp *pkt_icmp(struct packet *p, uint8_t type, uint8_t code,
					 uint32_t payload)
{
	struct wire_icmp *icmp = pkt_put(p, sizeof(*icmp));

	icmp->type_code = ICMP_TYPE_CODE(type, code);
	icmp->rest = htonl(0x12340001);
	memset(pkt_put(p, payload), 'p', payload);
	return icmp;
}

static inline struct wire_arp *pkt_arp(struct packet *p, uint16_t op, const char *spa,
				       const char *tpa)
{
	struct ip_addr s = addr_of(spa), t = addr_of(tpa);
	struct wire_arp *arp;

	p->l3 = p->len;
	arp = pkt_put(p, sizeof(*arp));
	arp->htype = htons(1);
	arp->ptype = htons(ETH_IPV4);
	arp->hlen = 6;
	arp->plen = 4;
	arp->op = htons(op);
	wire_mac_set(&arp->sha, mac_peer);
	memcpy(&arp->spa, &s.w[3], 4);
	memcpy(&arp->tpa, &t.w[3], 4);
	return arp;
}

/* A solicitation of @target with the source link-layer option. */
static inline struct wire_nd *pkt_solicit(struct packet *p, const char *target)
{
	struct ip_addr t = addr_of(target);
	struct wire_nd *nd = pkt_put(p, sizeof(*nd));

	nd->icmp.type_code = ICMP_TYPE_CODE(ICMP6_SOLICIT, 0);
	memcpy(&nd->target, &t, 16);
	nd->opt_type = 1;
	nd->opt_len = 1;
	wire_mac_set(&nd->mac, mac_peer);
	return nd;
}

/* What stands behind the transport header's first byte, summed with its pseudo-header if any. */
static inline uint16_t pkt_l4_sum(const struct packet *p)
{
	const struct wire_ipv4 *ip4 = (const void *)(p->b + p->l3);
	const struct wire_ipv6 *ip6 = (const void *)(p->b + p->l3);
	bool v6 = ip4->vihl >> 4 == 6;
	struct ip_addr src = v6 ? wire_ip6_addr(&ip6->src) : ip_addr_v4(ip4->src);
	struct ip_addr dst = v6 ? wire_ip6_addr(&ip6->dst) : ip_addr_v4(ip4->dst);
	uint32_t len = p->len - p->l4, sum = 0;

	if (p->proto != PROTO_ICMP)
		sum = csum_pseudo(&src, &dst, p->proto, len);
	return csum_fold(csum_partial(p->b + p->l4, len, sum));
}

/* Lengths and checksums, as the layers now stand. */
static inline void pkt_done(struct packet *p)
{
	static const uint8_t check_at[256] = {[PROTO_TCP] = 17, [PROTO_UDP] = 7,
					      [PROTO_ICMP] = 3, [PROTO_ICMP6] = 3}; /* plus one */
	struct wire_ipv4 *ip4 = (void *)(p->b + p->l3);
	struct wire_ipv6 *ip6 = (void *)(p->b + p->l3);
	uint8_t at = check_at[p->proto];
	uint16_t sum;

	if (!p->l4)
		return;
	if (ip4->vihl >> 4 == 4) {
		ip4->len = htons((uint16_t)(p->len - p->l3));
		ip4->check = 0;
		ip4->check = csum_fold(csum_partial(ip4, (ip4->vihl & 15u) * 4, 0));
	} else {
		ip6->len = htons((uint16_t)(p->len - p->l3 - sizeof(*ip6)));
	}
	if (!at || p->l4 + at + 1u > p->len)
		return;
	memset(p->b + p->l4 + at - 1, 0, 2);
	sum = pkt_l4_sum(p);
	memcpy(p->b + p->l4 + at - 1, &sum, 2);
}

/* ---- whole packets from the peer to us ---- */

static inline void pkt_tcp4(struct packet *p, uint16_t sport, uint16_t dport, uint8_t flags)
{
	pkt_eth(p, mac_us, ETH_IPV4);
	pkt_ipv4(p, PEER4, US4, PROTO_TCP, 0);
	pkt_tcp(p, sport, dport, flags, 64);
	pkt_done(p);
}

static inline void pkt_tcp6(struct packet *p, uint16_t sport, uint16_t dport, uint8_t flags)
{
	pkt_eth(p, mac_us, ETH_IPV6);
	pkt_ipv6(p, PEER6, US6, PROTO_TCP);
	pkt_tcp(p, sport, dport, flags, 64);
	pkt_done(p);
}

static inline void pkt_udp4(struct packet *p, uint16_t sport, uint16_t dport)
{
	pkt_eth(p, mac_us, ETH_IPV4);
	pkt_ipv4(p, PEER4, US4, PROTO_UDP, 0);
	pkt_udp(p, sport, dport, 32);
	pkt_done(p);
}

static inline void pkt_echo4(struct packet *p, uint32_t payload)
{
	pkt_eth(p, mac_us, ETH_IPV4);
	pkt_ipv4(p, PEER4, US4, PROTO_ICMP, 0);
	pkt_icmp(p, ICMP4_ECHO, 0, payload);
	pkt_done(p);
}

static inline void pkt_echo6(struct packet *p, uint32_t payload)
{
	pkt_eth(p, mac_us, ETH_IPV6);
	pkt_ipv6(p, PEER6, US6, PROTO_ICMP6);
	pkt_icmp(p, ICMP6_ECHO, 0, payload);
	pkt_done(p);
}

static inline void pkt_arp_request(struct packet *p, const char *spa, const char *tpa)
{
	pkt_eth(p, mac_all, ETH_ARP);
	pkt_arp(p, ARP_REQUEST, spa, tpa);
}

static inline void pkt_nd(struct packet *p)
{
	static const uint8_t mac[6] = {0x33, 0x33, 0xff, 0, 0, 1};

	pkt_eth(p, mac, ETH_IPV6);
	pkt_ipv6(p, PEER6, "ff02::1:ff00:1", PROTO_ICMP6)->hops = 255;
	pkt_solicit(p, US6);
	pkt_done(p);
}

/* "Fragmentation needed" (or the like) from @router about a TCP segment of ours. */
static inline void pkt_error4(struct packet *p, uint8_t type, const char *router, uint16_t our_port,
			      uint16_t their_port)
{
	struct packet inner;

	pkt_eth(&inner, mac_peer, ETH_IPV4);
	pkt_ipv4(&inner, US4, PEER4, PROTO_TCP, 0);
	pkt_tcp(&inner, our_port, their_port, 0x10, 0);
	pkt_done(&inner);
	pkt_eth(p, mac_us, ETH_IPV4);
	pkt_ipv4(p, router, US4, PROTO_ICMP, 0);
	pkt_icmp(p, type, 4, 0);
	memcpy(pkt_put(p, 28), inner.b + inner.l3, 28); /* header and 8 bytes (RFC 792) */
	pkt_done(p);
}

static inline void pkt_error6(struct packet *p, uint8_t type, const char *router, uint16_t our_port,
			      uint16_t their_port)
{
	struct packet inner;

	pkt_eth(&inner, mac_peer, ETH_IPV6);
	pkt_ipv6(&inner, US6, PEER6, PROTO_TCP);
	pkt_tcp(&inner, our_port, their_port, 0x10, 0);
	pkt_done(&inner);
	pkt_eth(p, mac_us, ETH_IPV6);
	pkt_ipv6(p, router, US6, PROTO_ICMP6);
	pkt_icmp(p, type, 0, 0);
	memcpy(pkt_put(p, 60), inner.b + inner.l3, 60);
	pkt_done(p);
}

/* One fragment of a UDP datagram: @off in bytes, @more of them to follow. */
static inline void pkt_frag4(struct packet *p, uint16_t id, uint16_t off, bool more, uint16_t sport,
			     uint16_t dport)
{
	struct wire_ipv4 *ip;

	pkt_eth(p, mac_us, ETH_IPV4);
	ip = pkt_ipv4(p, PEER4, US4, PROTO_UDP, 0);
	ip->id = htons(id);
	ip->frag = htons((uint16_t)(off / 8 | (more ? IPV4_MF : 0)));
	if (off)
		memset(pkt_put(p, 64), 'f', 64);
	else
		pkt_udp(p, sport, dport, 56);
	pkt_done(p);
}

static inline void pkt_frag6(struct packet *p, uint32_t id, uint16_t off, bool more, uint16_t sport,
			     uint16_t dport)
{
	struct wire_ipv6_frag *frag;

	pkt_eth(p, mac_us, ETH_IPV6);
	pkt_ipv6(p, PEER6, US6, PROTO_UDP);
	frag = pkt_ipv6_ext(p, PROTO_FRAGMENT);
	frag->id = htonl(id);
	frag->frag = htons((uint16_t)(off | (more ? IPV6_MF : 0)));
	if (off)
		memset(pkt_put(p, 64), 'f', 64);
	else
		pkt_udp(p, sport, dport, 56);
	pkt_done(p);
}

#endif
