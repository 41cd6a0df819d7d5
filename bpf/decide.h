/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The decision about a parsed packet, in this order: ours by MAC and address? → deny list →
 * ARP, neighbour discovery and echo → fragments → flows → ports → claim_all → pass. What is for a
 * listener under a SYN flood is then looked at once more (syncookie.h).
 *
 * What is ours is never passed to the kernel, which would reset the peer; what is not ours is
 * never touched.
 */
#ifndef TANDEM_BPF_DECIDE_H
#define TANDEM_BPF_DECIDE_H

#include "flow.h"
#include "parse.h"
#include "syncookie.h"

static __always_inline bool decide_denied(const struct pkt_info *p)
{
	struct deny_key k = {.prefixlen = 128, .addr = p->key->remote};
	struct deny_val *val = env_denied(&k);

	if (!val)
		return false;
	__sync_fetch_and_add(&val->packets, 1); /* a flood comes over all queues */
	return true;
}

static __always_inline enum xdp_reason decide_echo(const struct pkt_info *p,
						   const struct xdp_settings *s)
{
	if (!s->answer_echo)
		return s->claim_all ? XR_ECHO_SLOW : XR_PASS_UNCLAIMED;
	if (s->reply_mode == XDP_REPLY_NONE || p->flags & PI_OPTIONS || !(p->flags & PI_IN_PLACE) ||
	    p->l3_len > s->mtu || p->l3_len >= ECHO_SUM_MAX || !pkt_can_reply_to(&p->key->remote))
		return XR_ECHO_SLOW;
	return XR_ECHO_REPLY;
}

static __always_inline enum xdp_reason decide_neigh(enum pkt_kind kind, const struct pkt_info *p,
						    const struct xdp_settings *s)
{
	if (!s->answer_arp || s->reply_mode == XDP_REPLY_NONE || !(p->flags & PI_IN_PLACE))
		return XR_PASS_ARP;
	return kind == PK_ARP_REQUEST ? XR_ARP_REPLY : XR_ND_REPLY;
}

/* What neither flows nor ports know. */
static __always_inline enum xdp_reason decide_unmatched(const struct pkt_info *p,
							const struct xdp_settings *s)
{
	if (p->flags & PI_MALFORMED)
		return s->claim_all ? p->bad : XR_PASS_MALFORMED;
	return s->claim_all ? XR_CLAIMED : XR_PASS_UNCLAIMED;
}

/* IP to an address of ours, from a source that is not denied. */
static __always_inline enum xdp_reason decide_ip(enum pkt_kind kind, struct pkt_info *p,
						 const struct xdp_settings *s, struct verdict *v)
{
	const struct port_val *port;

	if (p->flags & PI_FRAGMENT && !(p->flags & PI_MALFORMED)) {
		if (frag_is_ours(p, kind == PK_TRANSPORT, v) || s->claim_all)
			return XR_FRAGMENT;
		return XR_PASS_UNCLAIMED;
	}
	switch (kind) {
	case PK_ECHO:
		return decide_echo(p, s);
	case PK_ICMP_ERROR:
		p->key->remote = p->quoted;
		if (flow_or_port(p, v))
			return XR_ICMP_ERROR;
		return decide_unmatched(p, s);
	case PK_TRANSPORT:
		port = port_find(p);
		if (port)
			return port_steer(port, p, v);
		return decide_unmatched(p, s);
	default:
		return decide_unmatched(p, s);
	}
}

/*
 * A group MAC is for ARP, neighbour discovery and UDP. In TCP (RFC 9293 §3.9.2.3) and echo it is
 * an attack or an accident: the kernel drops the former and knows the rules of the latter.
 */
static __always_inline bool decide_group_allowed(enum pkt_kind kind, const struct pkt_info *p)
{
	return kind == PK_ARP_REQUEST || kind == PK_ND_SOLICIT ||
	       (kind == PK_TRANSPORT && p->key->proto == PROTO_UDP) || p->flags & PI_FRAGMENT;
}

/* @v is {.slot = TD_SLOT_DAEMON, .conn = TD_NO_CONN}. */
static __always_inline enum xdp_reason decide(enum pkt_kind kind, struct pkt_info *p,
					      const struct xdp_settings *s, struct verdict *v)
{
	struct flow_val *flow = NULL;

	switch (kind) {
	case PK_CUT:
		return XR_PASS_MALFORMED;
	case PK_FOREIGN:
		return XR_PASS_NOT_LOCAL;
	case PK_VLAN:
		return XR_PASS_VLAN;
	case PK_NOT_IP:
		return XR_PASS_NOT_IP;
	case PK_NEIGH:
		return XR_PASS_ARP;
	default:
		break;
	}
	if (p->flags & PI_GROUP && !decide_group_allowed(kind, p))
		return XR_PASS_NOT_LOCAL;
	/* A flow has a local address: most packets need no second lookup to know that. */
	if (kind == PK_TRANSPORT && !(p->flags & PI_FRAGMENT))
		flow = env_flow(p->key);
	if (flow)
		return decide_denied(p) ? XR_DROP_DENY : flow_steer(flow, p, v);
	if (!env_is_local(&p->key->local))
		return XR_PASS_NOT_LOCAL;
	if (decide_denied(p))
		return XR_DROP_DENY;
	if (kind == PK_ARP_REQUEST || kind == PK_ND_SOLICIT)
		return decide_neigh(kind, p, s);
	return decide_ip(kind, p, s, v);
}

/* Turns the request into its reply. Returns @reason, or why there is no reply after all. */
static __always_inline enum xdp_reason reply(enum xdp_reason reason, uint8_t *data,
					     const uint8_t *end, const struct pkt_info *p,
					     const struct xdp_settings *s)
{
	uint32_t l3_off = p->l3_off & 31; /* 22 at most, which the verifier wants to see */

	switch (reason) {
	case XR_ARP_REPLY:
		return arp_reply(data, end, l3_off, s) ? reason : XR_DROP_NO_ROOM;
	case XR_ND_REPLY:
		return nd_reply(data, end, l3_off, s) ? reason : XR_DROP_NO_ROOM;
	default:
		return p->flags & PI_IPV6 ? echo_reply6(data, end, p, l3_off, s)
					  : echo_reply4(data, end, p, l3_off, s);
	}
}

#endif
