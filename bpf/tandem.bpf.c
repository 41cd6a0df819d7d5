// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * Tandem's XDP program: parses, decides (decide.h), then does and counts what was decided.
 * Multi-buffer aware: only headers are read, from the linear part or, where that is too short,
 * from a copy.
 */
#include "maps.h"
#include "decide.h"

char _license[] SEC("license") = "Dual BSD/GPL";

/* The index in `settings` of each interface that the program is on. Written by user space. */
volatile __u8 netif_of[1 << TD_NETIF_BITS];
volatile __u32 netif_salt;

enum verdict_kind { V_REDIRECT, V_TX, V_PASS, V_DROP };

static __always_inline enum verdict_kind verdict_kind(enum xdp_reason reason)
{
	switch (reason) {
#define X(name, kind, text)                                                                        \
	case XR_##name:                                                                            \
		return V_##kind;
		XDP_REASONS(X)
#undef X
	default:
		return V_PASS;
	}
}

static __always_inline void count(__u32 k, __u32 by)
{
	__u64 *n = bpf_map_lookup_elem(&stats, &k);

	if (n)
		*n += by;
}

/*
 * What IPv4 counts of a packet that ends in the program, or of the answer to it. A global function,
 * which finds the header by itself: so the verifier looks at it once, and not on each of the many
 * ways that lead to it.
 */
__noinline int count_ip(struct xdp_md *ctx, enum xdp_reason reason, bool answer)
{
	__u32 off = offsetof(struct wire_eth, type), len = bpf_xdp_get_buff_len(ctx);
	__u16 type = 0;
	__u8 h[4] = {};

	if (!xdp_reason_is_ip(reason) || (answer && verdict_kind(reason) != V_TX))
		return 0;
	bpf_xdp_load_bytes(ctx, off, &type, sizeof(type));
	for (int i = 0; i < 2 && (type == BE16(ETH_VLAN) || type == BE16(ETH_QINQ)); i++) {
		off += sizeof(struct wire_vlan);
		bpf_xdp_load_bytes(ctx, off, &type, sizeof(type));
	}
	off += sizeof(type);
	if (type != BE16(ETH_IPV4) || len < off || bpf_xdp_load_bytes(ctx, off, h, sizeof(h)))
		return 0;
	if (answer) { /* without what fills up an echo's frame */
		count(XI_OUT_OCTETS, h[2] << 8 | h[3]);
		return 0;
	}
	count(XI_IN_OCTETS, len - off);
	if (h[0] >> 4 == 4 && (h[0] & 15) >= 5) /* else the kernel looks no further */
		count(XI_NOECT + (h[1] & 3), 1);
	return 0;
}

/* Headers beyond the linear part: parses a copy of the frame's beginning instead. */
static __noinline enum pkt_kind parse_copy(struct xdp_md *ctx, const struct xdp_settings *s,
					   struct pkt_info *p)
{
	struct pkt_view v = {.ctx = ctx, .copied = true};
	__u32 len = bpf_xdp_get_buff_len(ctx), zero = 0;
	struct scratch *c = bpf_map_lookup_elem(&scratch, &zero);

	if (!c || !len)
		return PK_CUT;
	if (len > VIEW_COPY_MAX)
		len = VIEW_COPY_MAX;
	if (bpf_xdp_load_bytes(ctx, 0, c->headers, len))
		return PK_CUT;
	v.data = c->headers;
	v.end = c->headers + len;
	return parse_frame(&v, s, p);
}

static __always_inline enum pkt_kind parse(struct xdp_md *ctx, const struct xdp_settings *s,
					   struct pkt_info *p)
{
	struct pkt_view v = {
		.data = (void *)(long)ctx->data,
		.end = (void *)(long)ctx->data_end,
		.ctx = ctx,
	};
	enum pkt_kind kind = parse_frame(&v, s, p);
	struct pkt_info copy = {.key = p->key};

	if (!v.cut || bpf_xdp_get_buff_len(ctx) <= ctx->data_end - ctx->data)
		return kind;
	*copy.key = (struct flow_key){};
	kind = parse_copy(ctx, s, &copy);
	*p = copy;
	return kind;
}

/* Right in front of the frame, whatever stood there before. */
static __always_inline bool put_meta(struct xdp_md *ctx, enum xdp_reason reason,
				     const struct pkt_info *p, const struct verdict *v)
{
	int before = ctx->data - ctx->data_meta;
	struct pkt_meta *meta;

	if (bpf_xdp_adjust_meta(ctx, before - (int)sizeof(*meta)))
		return false;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) > (void *)(long)ctx->data)
		return false;
	meta->magic = PKT_META_MAGIC;
	meta->reason = reason;
	meta->flags = v->flags | (p->flags & PI_VLAN ? PKT_META_VLAN : 0) |
		      (p->flags & PI_IPV6 ? PKT_META_IPV6 : 0);
	meta->l3_off = p->l3_off;
	meta->l4_off = p->l4_off;
	meta->conn = v->conn;
	meta->generation = v->generation;
	return true;
}

/*
 * To the slot's socket on this queue, else to the slow path's, else dropped: the kernel would
 * answer with a reset. Where there is no socket the helper returns its flags: 0.
 */
static __always_inline int do_redirect(struct xdp_md *ctx, enum xdp_reason *reason,
				       const struct pkt_info *p, const struct verdict *v,
				       const struct xdp_settings *s)
{
	__u32 queue = ctx->rx_queue_index + s->queue_base;
	long rc = 0;

	if (queue < TD_MAX_QUEUES) {
		if (v->slot < TD_MAX_SLOTS)
			rc = bpf_redirect_map(&xsks, TD_XSK_INDEX(v->slot, queue), 0);
		if (!rc && v->slot != TD_SLOT_DAEMON) {
			*reason = XR_FLOW_NO_SOCKET;
			rc = bpf_redirect_map(&xsks, TD_XSK_INDEX(TD_SLOT_DAEMON, queue), 0);
		}
	}
	if (!rc)
		*reason = XR_DROP_NO_SLOW_PATH;
	else if (!put_meta(ctx, *reason, p, v))
		*reason = XR_DROP_NO_ROOM;
	else
		return XDP_REDIRECT;
	return XDP_DROP;
}

static __always_inline int do_reply(struct xdp_md *ctx, enum xdp_reason *reason,
				    const struct pkt_info *p, const struct xdp_settings *s)
{
	*reason = reply(*reason, (void *)(long)ctx->data, (void *)(long)ctx->data_end, p, s);
	if (verdict_kind(*reason) != V_TX)
		return XDP_DROP;
	if (s->reply_mode == XDP_REPLY_REDIRECT)
		return bpf_redirect(ctx->ingress_ifindex, 0);
	return XDP_TX;
}

/* The SYN-ACK is of another length than the SYN. */
static __always_inline int do_synack(struct xdp_md *ctx, enum xdp_reason *reason,
				     const struct pkt_info *p, const struct xdp_settings *s,
				     const struct port_cookies *pc,
				     const struct syncookie_reply *r)
{
	int delta = (int)(syncookie_reply_len(p, r) - bpf_xdp_get_buff_len(ctx));

	if ((delta && bpf_xdp_adjust_tail(ctx, delta)) ||
	    !syncookie_reply((void *)(long)ctx->data, (void *)(long)ctx->data_end, p, s, pc, r)) {
		*reason = XR_DROP_NO_ROOM;
		return XDP_DROP;
	}
	return s->reply_mode == XDP_REPLY_REDIRECT ? bpf_redirect(ctx->ingress_ifindex, 0) : XDP_TX;
}

SEC("xdp.frags")
int tandem(struct xdp_md *ctx)
{
	struct verdict v = {.slot = TD_SLOT_DAEMON, .conn = TD_NO_CONN};
	struct flow_key key = {};
	struct pkt_info p = {.key = &key};
	struct syncookie_reply r = {};
	const struct xdp_settings *s;
	enum xdp_reason reason;
	__u32 i = netif_of[TD_NETIF_PLACE(ctx->ingress_ifindex, netif_salt)];
	int action;

	s = bpf_map_lookup_elem(&settings, &i);
	if (!s)
		return XDP_PASS;
	reason = decide(parse(ctx, s, &p), &p, s, &v);
	if (v.cookies)
		reason = syncookie_decide(reason, (void *)(long)ctx->data,
					  (void *)(long)ctx->data_end, &p, s, v.cookies, &r);
	switch (verdict_kind(reason)) {
	case V_REDIRECT:
		action = do_redirect(ctx, &reason, &p, &v, s);
		break;
	case V_TX:
		count_ip(ctx, reason, false);
		action = v.cookies ? do_synack(ctx, &reason, &p, s, v.cookies, &r)
				   : do_reply(ctx, &reason, &p, s);
		count_ip(ctx, reason, true);
		break;
	case V_PASS:
		action = XDP_PASS;
		break;
	default:
		count_ip(ctx, reason, false);
		action = XDP_DROP;
	}
	count(reason, 1);
	return action;
}
