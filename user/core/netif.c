// SPDX-License-Identifier: BSD-2-Clause
/*
 * Interfaces and their addresses, as the I/O layer reports them. Owns s->netifs and s->addrs.
 * Which addresses are ours, which are nobody's own (RFC 1122 §3.2.1.3), which one to speak from.
 */
#include "tcp.h"

static uint32_t v4_host(const struct ip_addr *a)
{
	return get_be32(&a->b[12]);
}

/* Are the first @plen bits (of the family) of both the same? */
static bool same_prefix(const struct ip_addr *a, const struct ip_addr *b, uint32_t plen)
{
	if (ip_addr_is_v4(a) != ip_addr_is_v4(b))
		return false;
	return addr_match(a, b, ip_addr_is_v4(a) ? 96 + plen : plen);
}

bool addr_match(const struct ip_addr *a, const struct ip_addr *b, uint32_t bits)
{
	uint32_t bytes = bits / 8, rest = bits % 8;

	if (memcmp(a->b, b->b, bytes))
		return false;
	return !rest || !((a->b[bytes] ^ b->b[bytes]) >> (8 - rest));
}

bool addr_is_loopback(const struct ip_addr *a)
{
	static const struct ip_addr lo6 = {.b = {[15] = 1}};

	return ip_addr_is_v4(a) ? a->b[12] == 127 : ip_addr_eq(a, &lo6);
}

bool addr_is_local(const struct stack *s, const struct ip_addr *a)
{
	for (uint32_t i = 0; i < s->n_addrs; i++) {
		const struct ifaddr *ifa = &s->addrs[i];

		if (ip_addr_eq(&ifa->addr, a))
			return true;
		/* All of 127/8 is this host's where one of it is. */
		if (addr_is_loopback(&ifa->addr) && same_prefix(&ifa->addr, a, ifa->plen))
			return true;
	}
	return false;
}

bool addr_is_unicast(const struct stack *s, const struct ip_addr *a)
{
	uint32_t v4;

	if (ip_addr_is_any(a))
		return false;
	if (!ip_addr_is_v4(a))
		return a->b[0] != 0xff;
	v4 = v4_host(a);
	if (v4 >> 28 == 0xe || v4 == UINT32_MAX)
		return false;
	for (uint32_t i = 0; i < s->n_addrs; i++) {
		const struct ifaddr *ifa = &s->addrs[i];
		uint32_t hosts = ifa->plen < 31 ? UINT32_MAX >> ifa->plen : 0; /* RFC 3021 */

		if (hosts && (v4 & hosts) == hosts && same_prefix(&ifa->addr, a, ifa->plen))
			return false;
	}
	return true;
}

const struct ip_addr *netif_src(const struct stack *s, uint16_t netif, const struct ip_addr *to)
{
	const struct ip_addr *first = NULL, *best = NULL;
	uint32_t best_plen = 0;

	for (uint32_t i = 0; i < s->n_addrs; i++) {
		const struct ifaddr *ifa = &s->addrs[i];

		if (ifa->netif != netif || ip_addr_is_v4(&ifa->addr) != ip_addr_is_v4(to))
			continue;
		if (!first)
			first = &ifa->addr;
		if (same_prefix(&ifa->addr, to, ifa->plen) && (!best || ifa->plen > best_plen)) {
			best = &ifa->addr;
			best_plen = ifa->plen;
		}
	}
	return best ? best : first;
}

static struct ifaddr *find_addr(struct stack *s, const struct net_event *ev)
{
	for (uint32_t i = 0; i < s->n_addrs; i++)
		if (s->addrs[i].netif == ev->netif && ip_addr_eq(&s->addrs[i].addr, &ev->addr))
			return &s->addrs[i];
	return NULL;
}

static int addr_add(struct stack *s, const struct net_event *ev)
{
	struct ifaddr *ifa = find_addr(s, ev);

	if (ev->plen > (ip_addr_is_v4(&ev->addr) ? 32 : 128) || ip_addr_is_any(&ev->addr))
		return -E_INVAL;
	if (ifa) {
		ifa->plen = ev->plen;
		return 0;
	}
	if (s->n_addrs == STACK_MAX_ADDRS)
		return -E_NOSPC;
	s->addrs[s->n_addrs++] =
		(struct ifaddr){.addr = ev->addr, .netif = ev->netif, .plen = ev->plen};
	arp_announce(s, ev->netif, &ev->addr);
	return 0;
}

static int addr_del(struct stack *s, const struct net_event *ev)
{
	struct ifaddr *ifa = find_addr(s, ev);

	if (!ifa)
		return -E_NOENT;
	/* The order stays: the first address is the primary one. */
	memmove(ifa, ifa + 1, (size_t)((uint8_t *)&s->addrs[s->n_addrs] - (uint8_t *)(ifa + 1)));
	s->n_addrs--;
	return 0;
}

static int link_up(struct stack *s, const struct net_event *ev, struct mtime now)
{
	struct netif *n = &s->netifs[ev->netif];
	bool news = !n->used || !n->up || memcmp(n->mac, ev->mac, 6);
	bool lower = n->used && ev->mtu < n->mtu;

	if (ev->mac[0] & 1)
		return -E_INVAL;
	*n = (struct netif){
		.used = true, .up = true, .mtu = ev->mtu, .partial_csum = ev->partial_csum};
	memcpy(n->mac, ev->mac, 6);
	for (uint32_t i = 0; news && i < s->n_addrs; i++)
		if (s->addrs[i].netif == ev->netif)
			arp_announce(s, ev->netif, &s->addrs[i].addr);
	if (lower)
		tcp_link_mtu_lowered(s, ev->netif, now);
	return 0;
}

int netif_event(struct stack *s, const struct net_event *ev, struct mtime now)
{
	switch (ev->kind) {
	case NET_LINK_UP:
		return link_up(s, ev, now);
	case NET_LINK_DOWN:
		if (!s->netifs[ev->netif].used)
			return -E_NOENT;
		s->netifs[ev->netif].up = false;
		neigh_link_down(s, ev->netif, now);
		return 0;
	case NET_ADDR_ADD:
		return addr_add(s, ev);
	case NET_ADDR_DEL:
		return addr_del(s, ev);
	default:
		return -E_INVAL;
	}
}
