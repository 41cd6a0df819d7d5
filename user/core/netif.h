/* SPDX-License-Identifier: BSD-2-Clause */
/* Interfaces, addresses and routes (netif.c, route.c). */
#ifndef TANDEM_CORE_NETIF_H
#define TANDEM_CORE_NETIF_H

#include "stack.h"

struct netif {
	bool used, up;
	uint8_t mac[6];
	uint32_t mtu;
	bool partial_csum;
};

struct ifaddr {
	struct ip_addr addr;
	uint16_t netif;
	uint8_t plen; /* of the family */
};
#define STACK_MAX_ADDRS 256

struct route {
	struct ip_addr dst, gw, prefsrc;
	uint8_t plen; /* of the 128 bits: IPv4 is 96 + n */
	uint8_t type; /* enum net_route_type */
	uint16_t netif;
	uint32_t metric;
};

struct route_result {
	uint16_t netif;
	uint32_t mtu;
	struct ip_addr src;	/* source address to use */
	struct ip_addr nexthop; /* gateway, or the destination itself */
};

/*
 * The way to @dst. @src: NULL or any: chosen (prefsrc, else the netif's address that matches the
 * next hop best). 0, -E_NETUNREACH (also unreachable routes: -E_HOSTUNREACH, prohibit: -E_ACCES,
 * blackhole: -E_INVAL, as Linux).
 */
int route_lookup(const struct stack *s, const struct ip_addr *dst, const struct ip_addr *src,
		 struct route_result *out);
/* The same where no connection knows it: a STACK_APP has no routes, but .way. @w: NULL, or filled in. */
int route_back(const struct stack *s, const struct tcp_addr_pair *a, struct route_result *out,
	       struct ip_way *w);
bool addr_is_local(const struct stack *s, const struct ip_addr *a);
bool addr_is_loopback(const struct ip_addr *a); /* 127/8, ::1 */
/* Are the first @bits (of 128) the same? */
bool addr_match(const struct ip_addr *a, const struct ip_addr *b, uint32_t bits);
/* The address of ours on @netif to speak from towards @to (on-link); NULL: it has none. */
const struct ip_addr *netif_src(const struct stack *s, uint16_t netif, const struct ip_addr *to);
/* lo has no Ethernet address: there is nothing to resolve, and our own addresses are peers. */
static inline bool netif_is_loopback(const struct netif *n)
{
	uint32_t a;
	uint16_t b;

	memcpy(&a, n->mac, sizeof(a));
	memcpy(&b, n->mac + sizeof(a), sizeof(b));
	return !(a | b);
}
int netif_event(struct stack *s, const struct net_event *ev, struct mtime now);
int route_event(struct stack *s, const struct net_event *ev);
/* Broadcast, multicast, of a subnet of ours, or not to be a source or destination of TCP. */
bool addr_is_unicast(const struct stack *s, const struct ip_addr *a);

#endif
