// SPDX-License-Identifier: BSD-2-Clause
/*
 * Routes, as the kernel has them: longest prefix first, then the smallest metric (RFC 1812
 * §5.2.4.3). Owns s->routes, which stays sorted, so that the first match is the best one.
 */
#include "internal.h"

static int check_event(const struct net_event *ev)
{
	if (ev->plen > (ip_addr_is_v4(&ev->addr) ? 32 : 128) || ev->route_type > NET_RT_PROHIBIT)
		return -E_INVAL;
	return 0;
}

static struct route from_event(const struct net_event *ev)
{
	uint32_t bits = ev->plen + (ip_addr_is_v4(&ev->addr) ? 96u : 0);
	struct route r = {.dst = ev->addr,
			  .gw = ev->gw,
			  .prefsrc = ev->prefsrc,
			  .plen = (uint8_t)bits,
			  .type = (uint8_t)ev->route_type,
			  .netif = ev->netif,
			  .metric = ev->metric};

	for (uint32_t i = 0; i < 16; i++, bits -= bits < 8 ? bits : 8)
		if (bits < 8)
			r.dst.b[i] &= (uint8_t) ~(0xffu >> bits);
	return r;
}

static bool same_gw(const struct ip_addr *a, const struct ip_addr *b)
{
	return ip_addr_eq(a, b) || (ip_addr_is_any(a) && ip_addr_is_any(b));
}

/* What makes two routes one: all but the preferred source. */
static bool same_route(const struct route *a, const struct route *b)
{
	return a->plen == b->plen && a->metric == b->metric && a->type == b->type &&
	       ip_addr_eq(&a->dst, &b->dst) &&
	       (a->type != NET_RT_UNICAST || (a->netif == b->netif && same_gw(&a->gw, &b->gw)));
}

static bool goes_before(const struct route *a, const struct route *b)
{
	return a->plen != b->plen ? a->plen > b->plen : a->metric < b->metric;
}

static struct route *find(struct stack *s, const struct route *r)
{
	for (uint32_t i = 0; i < s->n_routes; i++)
		if (same_route(&s->routes[i], r))
			return &s->routes[i];
	return NULL;
}

static int route_add(struct stack *s, const struct route *r)
{
	struct route *old = find(s, r);
	uint32_t i;

	if (old) {
		*old = *r;
		return 0;
	}
	if (s->n_routes >= s->cfg.n_routes)
		return -E_NOSPC;
	/* Behind its equals: the older of two goes on being used. */
	for (i = s->n_routes++; i > 0 && goes_before(r, &s->routes[i - 1]); i--)
		s->routes[i] = s->routes[i - 1];
	s->routes[i] = *r;
	return 0;
}

static int route_del(struct stack *s, const struct route *r)
{
	struct route *old = find(s, r);

	if (!old)
		return -E_NOENT;
	memmove(old, old + 1, (size_t)((uint8_t *)&s->routes[s->n_routes] - (uint8_t *)(old + 1)));
	s->n_routes--;
	return 0;
}

int route_event(struct stack *s, const struct net_event *ev)
{
	struct route r;
	int rc = check_event(ev);

	if (rc)
		return rc;
	r = from_event(ev);
	return ev->kind == NET_ROUTE_ADD ? route_add(s, &r) : route_del(s, &r);
}

/* Our own addresses are reached over lo, where that is ours, too. */
static const struct netif *loopback(const struct stack *s)
{
	for (uint32_t i = 0; i < STACK_MAX_NETIFS; i++)
		if (s->netifs[i].used && s->netifs[i].up && netif_is_loopback(&s->netifs[i]))
			return &s->netifs[i];
	return NULL;
}

static const struct route *best_route(const struct stack *s, const struct ip_addr *dst)
{
	for (uint32_t i = 0; i < s->n_routes; i++) {
		const struct route *r = &s->routes[i];

		if (addr_match(&r->dst, dst, r->plen) &&
		    (r->type != NET_RT_UNICAST || s->netifs[r->netif].up))
			return r;
	}
	return NULL;
}

static int type_error(uint8_t type)
{
	switch (type) {
	case NET_RT_UNICAST:
		return 0;
	case NET_RT_BLACKHOLE:
		return -E_INVAL;
	case NET_RT_PROHIBIT:
		return -E_ACCES;
	default:
		return -E_HOSTUNREACH;
	}
}

int route_back(const struct stack *s, const struct tcp_addr_pair *a, struct route_result *out,
	       struct ip_way *w)
{
	struct ip_way way = {.neigh = SHM_NIL};

	if (s->cfg.role != STACK_APP)
		return route_lookup(s, &a->remote, &a->local, out);
	if (!s->way || !s->way(s->way_ctx, &a->remote, &way) || way.netif >= STACK_MAX_NETIFS ||
	    !s->netifs[way.netif].up || netif_is_loopback(&s->netifs[way.netif]))
		return -E_NETUNREACH;
	*out = (struct route_result){
		.netif = way.netif, .mtu = way.mtu, .src = a->local, .nexthop = a->remote};
	if (w)
		*w = way;
	return 0;
}

int route_lookup(const struct stack *s, const struct ip_addr *dst, const struct ip_addr *src,
		 struct route_result *out)
{
	const struct ip_addr *from = NULL;

	*out = (struct route_result){.nexthop = *dst};
	if (addr_is_local(s, dst)) {
		const struct netif *lo = loopback(s);

		if (!lo)
			return -E_NETUNREACH;
		out->netif = (uint16_t)(lo - s->netifs);
		from = dst;
	} else {
		const struct route *r = best_route(s, dst);
		int rc = r ? type_error(r->type) : -E_NETUNREACH;

		if (rc)
			return rc;
		out->netif = r->netif;
		if (!ip_addr_is_any(&r->gw))
			out->nexthop = r->gw;
		if (!ip_addr_is_any(&r->prefsrc))
			from = &r->prefsrc;
	}
	out->mtu = s->netifs[out->netif].mtu;
	if (src && !ip_addr_is_any(src))
		from = src;
	if (!from)
		from = netif_src(s, out->netif, &out->nexthop);
	/* An interface without addresses of its own speaks with another one's. */
	for (uint16_t i = 0; !from && i < STACK_MAX_NETIFS; i++)
		if (!netif_is_loopback(&s->netifs[i]))
			from = netif_src(s, i, dst);
	if (!from)
		return -E_NETUNREACH;
	out->src = *from;
	return 0;
}
