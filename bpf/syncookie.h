/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * TCP to a listener whose SYN queue overflows (RFC 4987 §3.6): SYNs are answered in place with a
 * cookie, and what pretends to belong to a handshake goes to the slow path only where it can:
 *
 *  - an ACK that returns a cookie of ours, and from then on all of its pair, until the connection
 * has an entry in `flows`;
 *  - an ACK of a SYN-ACK that the slow path sent: its number is one that the pair's ISN had lately
 *    (RFC 6528: a keyed hash and a clock), so nothing needs to be kept of requests;
 *  - of all else (RST, TIME_WAIT, a guess) a few in a second, which the slow path answers.
 *
 * The slow path counts on this and makes the same answers by the same code (common/syncookie.h).
 * IPv6 SYNs, and all where replies cannot be sent from here, are left to it.
 */
#ifndef TANDEM_BPF_SYNCOOKIE_H
#define TANDEM_BPF_SYNCOOKIE_H

#include "view.h"
#include "common/csum.h"
#include "common/syncookie.h"

#define SYNCOOKIE_MSS_DEFAULT 536u
#define SYNCOOKIE_WSCALE_MAX 14u
/* Options looked at in a SYN: more are as if they were not there. */
#define SYNCOOKIE_N_OPTIONS 16

#ifdef __bpf__
#define SYNCOOKIE_FN __attribute__((noinline))
#else
#define SYNCOOKIE_FN static inline
#endif

enum { OPT_END = 0, OPT_NOP = 1, OPT_MSS = 2, OPT_WSCALE = 3, OPT_SACK = 4, OPT_TS = 8 };

/* What a SYN becomes. */
struct syncookie_reply {
	uint32_t iss, ts_val, ts_ecr; /* host order */
	uint32_t tcp_len;
	bool partial; /* the checksum is left to be completed */
	bool ts, sack, wscale, ecn;
};

#define SYN_OPTIONS_MAX 40u
#define SYN_WSCALE 0x100u

struct syn_options {
	uint8_t raw[64]; /* SYN_OPTIONS_MAX, and what an option at the end may lack */
	uint32_t len;
	uint32_t mss, ts_val;
	uint32_t wscale; /* SYN_WSCALE with it, 0: none */
	uint32_t ts, sack;
};

static __always_inline struct syncookie_id syncookie_id_of(const struct flow_key *k, uint32_t irs)
{
	return (struct syncookie_id){.remote = k->remote,
				     .local = k->local,
				     .remote_port = k->remote_port,
				     .local_port = k->local_port,
				     .irs = irs};
}

static __always_inline uint64_t syncookie_pair(const struct syncookie_secrets *c,
					       const struct flow_key *k)
{
	return syncookie_pair_hash(c->pair_key, &k->local, &k->remote, k->local_port,
				   k->remote_port);
}

/*
 * As TCP's own parser has it: the last one of a kind counts. A global function, which the verifier
 * looks at apart: no state of the loop is carried on into what follows. For the same reason a
 * length is read again once its value has been compared.
 */
SYNCOOKIE_FN int syn_parse_options(struct syn_options *o)
{
	uint32_t at = 0;

	if (!o)
		return 0;
	for (int i = 0; i < SYNCOOKIE_N_OPTIONS; i++) {
		const volatile uint8_t *p;
		uint8_t kind, len;

		if (at >= o->len || at >= SYN_OPTIONS_MAX)
			break;
		p = o->raw + at;
		kind = p[0];
		if (kind == OPT_END)
			break;
		if (kind == OPT_NOP) {
			at++;
			continue;
		}
		len = p[1];
		if (len < 2 || at + len > o->len)
			break;
		if (kind == OPT_MSS && len == 4) {
			o->mss = (uint32_t)p[2] << 8 | p[3];
		} else if (kind == OPT_WSCALE && len == 3) {
			o->wscale = SYN_WSCALE | p[2];
		} else if (kind == OPT_SACK && len == 2) {
			o->sack = 1;
		} else if (kind == OPT_TS && len == 10) {
			o->ts = 1;
			o->ts_val = (uint32_t)p[2] << 24 | (uint32_t)p[3] << 16 |
				    (uint32_t)p[4] << 8 | p[5];
		}
		at += p[1];
	}
	return 0;
}

/* What is beyond @end stays zero: the end of the options. */
static __always_inline void syn_copy_options(const struct wire_tcp *tcp, const uint8_t *end,
					     uint32_t len, struct syn_options *o)
{
	const struct wire_word *from = (const void *)(tcp + 1);
	struct wire_word *to = (void *)o->raw;

	o->len = len < SYN_OPTIONS_MAX ? len : SYN_OPTIONS_MAX;
	for (uint32_t i = 0; i < SYN_OPTIONS_MAX / 4; i++) {
		if ((const uint8_t *)(from + i + 1) > end)
			break;
		to[i] = from[i];
	}
}

/* RFC 9293 MUST-3. @partial: it is still to be completed, by a device that there is none of. */
static __always_inline bool syn_csum_ok(const struct wire_tcp *tcp, const uint8_t *end,
					uint32_t len, const struct flow_key *k, bool *partial)
{
	uint32_t pseudo = csum_pseudo(&k->remote, &k->local, PROTO_TCP, len), sum = pseudo;
	const struct wire_word *w = (const void *)tcp;
	uint16_t unfolded;

	for (uint32_t i = 0; i < 15; i++) {
		if (i * 4 >= len || (const uint8_t *)(w + i + 1) > end)
			break;
		sum = csum_add(sum, w[i].w);
	}
	*partial = false;
	if (csum_fold(sum) == 0)
		return true;
	unfolded = (uint16_t)~csum_fold(pseudo);
	*partial = tcp->check == unfolded;
	return *partial;
}

/* RFC 3168 §6.1.1; the IPv4 header is right in front. */
static __always_inline bool syn_agrees_to_ecn(const struct wire_tcp *tcp,
					      const struct port_cookies *pc)
{
	const struct wire_ipv4 *ip = (const struct wire_ipv4 *)(const void *)tcp - 1;

	if ((tcp->flags & (TCP_ECE | TCP_CWR)) != (TCP_ECE | TCP_CWR))
		return false;
	return pc->options & PORT_COOKIES_ECT ||
	       (pc->options & PORT_COOKIES_ECN && !(ip->tos & IP_ECN_MASK));
}

static __always_inline enum xdp_reason
syn_decide(const struct wire_tcp *tcp, const uint8_t *end, const struct pkt_info *p,
	   const struct xdp_settings *s, const struct port_cookies *pc,
	   const struct syncookie_secrets *c, struct syncookie_reply *r)
{
	uint32_t hlen = (uint32_t)(tcp->off >> 4) * 4, options;
	struct syn_options o = {};
	struct syncookie_id id;

	/*
	 * Data on a SYN is not looked at, so that what covers it cannot be, either: who sends such
	 * (RFC 7413) sends a plain SYN next.
	 */
	if (!pkt_can_reply_to(&p->key->remote))
		return XR_PORT_SLOW;
	if (p->l3_len != sizeof(struct wire_ipv4) + hlen)
		return XR_DROP_COOKIE_SYN;
	if (!syn_csum_ok(tcp, end, hlen, p->key, &r->partial))
		return XR_DROP_COOKIE_SYN;
	r->partial = r->partial && s->partial_replies;
	syn_copy_options(tcp, end, hlen - sizeof(*tcp), &o);
	syn_parse_options(&o);
	if (!o.mss)
		o.mss = SYNCOOKIE_MSS_DEFAULT;
	id = syncookie_id_of(p->key, BE32(tcp->seq));
	r->iss = syncookie_make(&c->keys, &id, o.mss);
	r->ts = o.ts && pc->options & PORT_COOKIES_TS;
	/* Options other than the MSS have room in the timestamp only. */
	r->sack = r->ts && o.sack && pc->options & PORT_COOKIES_SACK;
	r->wscale = r->ts && o.wscale && pc->options & PORT_COOKIES_WSCALE;
	r->tcp_len = sizeof(*tcp) + 4 + (r->ts ? 12 : 0) + (r->wscale ? 4 : 0);
	options = o.wscale & 0xff;
	if (options > SYNCOOKIE_WSCALE_MAX)
		options = SYNCOOKIE_WSCALE_MAX;
	if (!o.wscale)
		options = SYNCOOKIE_TS_WSCALE;
	options |= o.sack ? SYNCOOKIE_TS_SACK : 0;
	r->ecn = r->ts && syn_agrees_to_ecn(tcp, pc);
	options |= r->ecn ? SYNCOOKIE_TS_ECN : 0;
	r->ts_ecr = o.ts_val;
	if (r->ts)
		r->ts_val = syncookie_ts((uint32_t)(env_now() / 1000000), options) +
			    (uint32_t)(syncookie_pair(c, p->key) >> 32);
	return XR_SYN_COOKIE;
}

static __always_inline enum xdp_reason cookie_ack_decide(const struct wire_tcp *tcp,
							 const struct pkt_info *p,
							 const struct syncookie_secrets *c)
{
	struct syncookie_id id = syncookie_id_of(p->key, BE32(tcp->seq) - 1);
	uint32_t iss = BE32(tcp->ack) - 1;

	if (syncookie_check(&c->keys, &id, iss)) {
		env_cookie_seen(p->key);
		return XR_COOKIE_ACK;
	}
	if (syncookie_isn_recent(syncookie_pair(c, p->key), iss, env_now()) ||
	    env_cookie_was_seen(p->key))
		return XR_PORT_SLOW;
	return env_cookie_spare() ? XR_PORT_SLOW : XR_DROP_COOKIE;
}

/*
 * What becomes of a packet to port @pc that would otherwise go to the slow path (XR_PORT_SLOW,
 * XR_IP_OPTIONS). @data: the frame.
 */
static __always_inline enum xdp_reason
syncookie_decide(enum xdp_reason reason, const uint8_t *data, const uint8_t *end,
		 const struct pkt_info *p, const struct xdp_settings *s,
		 const struct port_cookies *pc, struct syncookie_reply *r)
{
	const struct syncookie_secrets *c = env_syncookies();
	/* Bounds that the verifier wants to see. */
	const uint8_t *l3 = data + (p->l3_off & 31);
	const struct wire_tcp *tcp =
		(const void *)(l3 + (p->flags & PI_IPV6 ? sizeof(struct wire_ipv6)
							: sizeof(struct wire_ipv4)));
	uint8_t flags;

	/* Who does not renew the secrets is not there to take the ACKs, either. */
	if (!c || (const uint8_t *)(tcp + 1) > end ||
	    env_now() > (c->keys.period + 2) * SYNCOOKIE_PERIOD_NS)
		return reason;
	if (reason == XR_IP_OPTIONS)
		return env_cookie_spare() ? reason : XR_DROP_COOKIE;
	flags = tcp->flags & (TCP_FIN | TCP_SYN | TCP_RST | TCP_ACK);
	if (flags == TCP_SYN) {
		if (p->flags & PI_IPV6 || !(p->flags & PI_IN_PLACE) ||
		    s->reply_mode == XDP_REPLY_NONE)
			return reason;
		return syn_decide(tcp, end, p, s, pc, c, r);
	}
	if ((flags & (TCP_SYN | TCP_RST | TCP_ACK)) == TCP_ACK)
		return cookie_ack_decide(tcp, p, c);
	return env_cookie_spare() ? reason : XR_DROP_COOKIE;
}

/* Bytes of the frame that answers. */
static __always_inline uint32_t syncookie_reply_len(const struct pkt_info *p,
						    const struct syncookie_reply *r)
{
	return p->l3_off + sizeof(struct wire_ipv4) + r->tcp_len;
}

static __always_inline void synack_options(uint32_t *o, const struct syncookie_reply *r,
					   const struct port_cookies *pc)
{
	o[0] = BE32(OPT_MSS << 24 | 4 << 16 | pc->mss);
	o[1] = r->sack ? BE32(OPT_SACK << 24 | 2 << 16 | OPT_TS << 8 | 10)
		       : BE32(OPT_NOP << 24 | OPT_NOP << 16 | OPT_TS << 8 | 10);
	o[2] = BE32(r->ts_val);
	o[3] = BE32(r->ts_ecr);
	o[4] = BE32(OPT_NOP << 24 | OPT_WSCALE << 16 | 3 << 8 | pc->wscale);
}

/* The SYN-ACK in the place of the SYN, in a frame that has the right length by now. */
static __always_inline bool syncookie_reply(uint8_t *data, const uint8_t *end,
					    const struct pkt_info *p, const struct xdp_settings *s,
					    const struct port_cookies *pc,
					    const struct syncookie_reply *r)
{
	struct wire_eth *eth = (void *)data;
	struct wire_ipv4 *ip = (void *)(data + (p->l3_off & 31));
	struct wire_tcp *tcp = (void *)(ip + 1);
	struct wire_word *to = (void *)(tcp + 1);
	uint32_t o[5], sum, pseudo, addr;
	uint16_t port;

	if (data + sizeof(*eth) > end || (uint8_t *)(to + 1) > end)
		return false;
	synack_options(o, r, pc);
	eth->dst = eth->src;
	wire_mac_set(&eth->src, s->mac);
	addr = ip->src;
	ip->src = ip->dst;
	ip->dst = addr;
	ip->vihl = 0x45;
	ip->tos = pc->options & PORT_COOKIES_ECT ? IP_ECT0 : 0;
	ip->len = BE16(sizeof(*ip) + r->tcp_len);
	ip->id = 0;
	ip->frag = BE16(IPV4_DF);
	ip->ttl = pc->ttl;
	ip->proto = PROTO_TCP;
	ip->check = 0;
	sum = 0;
	for (int i = 0; i < 5; i++)
		sum = csum_add(sum, ((const struct wire_word *)(const void *)ip)[i].w);
	ip->check = csum_fold(sum);

	port = tcp->src;
	tcp->src = tcp->dst;
	tcp->dst = port;
	tcp->ack = BE32(BE32(tcp->seq) + 1);
	tcp->seq = BE32(r->iss);
	tcp->off = (uint8_t)(r->tcp_len / 4 << 4);
	tcp->flags = TCP_SYN | TCP_ACK | (r->ecn ? TCP_ECE : 0);
	tcp->window = BE16(pc->window);
	tcp->urgent = 0;
	pseudo = csum_pseudo(&p->key->local, &p->key->remote, PROTO_TCP, r->tcp_len);
	tcp->check = 0;
	sum = pseudo;
	for (int i = 0; i < 5; i++)
		sum = csum_add(sum, ((const struct wire_word *)(const void *)tcp)[i].w);
	for (uint32_t i = 0; i < 5; i++) {
		if (i >= (r->tcp_len - sizeof(*tcp)) / 4)
			break;
		if ((uint8_t *)(to + i + 1) > end)
			return false;
		to[i].w = o[i];
		sum = csum_add(sum, o[i]);
	}
	tcp->check = r->partial ? (uint16_t)~csum_fold(pseudo) : csum_fold(sum);
	return true;
}

#endif
