/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Whose is it: the flows and ports maps, and the fragments of what they claim.
 */
#ifndef TANDEM_BPF_FLOW_H
#define TANDEM_BPF_FLOW_H

#include "view.h"

/* Where a redirected packet goes, and what its metadata says about it. */
struct verdict {
	uint32_t slot;
	uint32_t conn;
	uint32_t generation;
	uint32_t flags; /* PKT_META_* */
	/* Its port's, where that is a listener's under a SYN flood: then syncookie_decide() */
	const struct port_cookies *cookies;
};

/* As long as reassembly waits for the rest of a datagram (ipfrag_time). */
#define FRAG_NS (30ull * 1000000000)

/*
 * A flow's packets come over one queue, so that plain additions lose nothing that anybody would
 * miss, and cost a fraction of atomic ones.
 */
static __always_inline void flow_count(struct flow_val *f, const struct pkt_info *p)
{
	f->packets++;
	f->bytes += pkt_end(p);
	f->last_seen = env_now();
}

static __always_inline enum xdp_reason flow_steer(struct flow_val *f, const struct pkt_info *p,
						  struct verdict *v)
{
	if (p->flags & PI_MALFORMED)
		return p->bad;
	flow_count(f, p);
	v->conn = f->conn;
	v->generation = f->generation;
	v->flags = PKT_META_FLOW;
	if (p->flags & PI_OPTIONS)
		return XR_IP_OPTIONS;
	if (f->state != FLOW_ESTABLISHED || f->slot == TD_SLOT_DAEMON)
		return XR_FLOW_SLOW;
	if (p->flags & PI_CONTROL)
		return XR_FLOW_CONTROL;
	v->slot = f->slot;
	return XR_FLOW_DIRECT;
}

/* The entry of the packet's own destination, else that of any address. */
static __always_inline const struct port_val *port_find(const struct pkt_info *p)
{
	struct port_key k = {
		.addr = p->key->local,
		.port = p->key->local_port,
		.proto = p->key->proto,
	};
	const struct port_val *val = env_port(&k);

	if (val)
		return val;
	k.addr = (struct ip_addr){};
	return env_port(&k);
}

/* Of the port's several sockets that of the packet's pair. */
static __always_inline uint32_t spread_slot(uint32_t slot, const struct pkt_info *p)
{
	const struct spread *s = env_spread(slot);

	return s ? s->slot[spread_place(p->key, s->salt) & (TD_SPREAD_PLACES - 1)] : TD_SLOT_DAEMON;
}

static __always_inline enum xdp_reason port_steer(const struct port_val *val,
						  const struct pkt_info *p, struct verdict *v)
{
	if (p->flags & PI_MALFORMED)
		return p->bad;
	v->conn = val->conn;
	v->flags = PKT_META_PORT;
	if (val->cookies.on && p->key->proto == PROTO_TCP)
		v->cookies = &val->cookies;
	if (p->flags & PI_OPTIONS)
		return XR_IP_OPTIONS;
	v->slot = val->slot < TD_MAX_SLOTS ? val->slot : spread_slot(val->slot, p);
	return v->slot == TD_SLOT_DAEMON ? XR_PORT_SLOW : XR_PORT_DIRECT;
}

/* A flow or port of ours? Fills in what the metadata says about it, not the slot. */
static __always_inline bool flow_or_port(const struct pkt_info *p, struct verdict *v)
{
	const struct flow_val *f = env_flow(p->key);
	const struct port_val *val;

	if (f) {
		v->conn = f->conn;
		v->generation = f->generation;
		v->flags = PKT_META_FLOW;
		return true;
	}
	val = port_find(p);
	if (!val)
		return false;
	v->conn = val->conn;
	v->flags = PKT_META_PORT;
	return true;
}

/*
 * Fragments of what is ours by its first fragment. Where a later one comes before the first,
 * the two are separated and the datagram is lost: senders send in order, and the one that
 * does not will send again.
 */
static __always_inline bool frag_is_ours(const struct pkt_info *p, bool has_ports,
					 struct verdict *v)
{
	struct frag_key k = {
		.src = p->key->remote,
		.dst = p->key->local,
		.id = p->frag_id,
		.proto = p->flags & PI_IPV6 ? 0 : p->key->proto,
	};
	struct frag_val first = {};
	const struct frag_val *known;

	if (!(p->flags & PI_FRAG_FIRST)) {
		known = env_frag(&k);
		return known && env_now() - known->seen < FRAG_NS;
	}
	if (has_ports && flow_or_port(p, v)) {
		first.seen = env_now();
		env_frag_set(&k, &first);
		return true;
	}
	/* The identification is used again: what is known of it is no longer true. */
	env_frag_del(&k);
	return false;
}

#endif
