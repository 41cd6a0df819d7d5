/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * What parsing reads from (struct pkt_view) and writes to (struct pkt_info). Every read goes
 * through view_at(), which checks the bounds.
 */
#ifndef TANDEM_BPF_VIEW_H
#define TANDEM_BPF_VIEW_H

#include "env.h"
#include "wire.h"

/* Two tags, IPv4 with all options, ICMP, a quoted IPv4 header with all options, ports. */
#define VIEW_COPY_MAX 192u
/* The buffer of the copy: a header may begin at the limit. */
#define VIEW_COPY_SIZE (VIEW_COPY_MAX + 64)
/* Further in, no header is looked for. */
#define VIEW_OFF_MAX 0x3fffu
/* Extension headers that are looked through for the transport header. */
#define IPV6_EXT_MAX 4

/* The part of a frame that can be read: in place, or a copy of its beginning. */
struct pkt_view {
	const uint8_t *data, *end;
	void *ctx;
	bool copied; /* constant where it is used, so that each kind gets code of its own */
	bool cut;    /* something was looked for beyond the end */
};

enum pkt_kind {
	PK_CUT,		/* no complete Ethernet or IP header */
	PK_FOREIGN,	/* to another station's MAC address */
	PK_VLAN,
	PK_NOT_IP,
	PK_NEIGH,	/* ARP and neighbour discovery that nobody but the kernel answers */
	PK_ARP_REQUEST, /* key.local is the target address */
	PK_ND_SOLICIT,	/* likewise; can be answered in place */
	PK_ECHO,
	PK_ICMP_ERROR,	/* key is that of the quoted packet, seen from us, but for .remote */
	PK_TRANSPORT,	/* TCP or UDP with its ports in key */
	PK_OTHER,	/* IP, and no more is known */
};

#define PI_MALFORMED 1u
#define PI_OPTIONS 2u	 /* IPv4 options or IPv6 extension headers */
#define PI_FRAGMENT 4u
#define PI_FRAG_FIRST 8u
#define PI_CONTROL 16u	 /* TCP with SYN or RST */
#define PI_IN_PLACE 32u	 /* all of the packet is there to be written to */
#define PI_VLAN 64u
#define PI_IPV6 128u
#define PI_GROUP 256u	 /* destination MAC is broadcast or multicast */

struct pkt_info {
	/*
	 * .remote and .local: source and destination, until flow lookup. Apart from the rest,
	 * because map lookups take its address, and what has one does not stay in registers.
	 */
	struct flow_key *key;
	struct ip_addr quoted; /* PK_ICMP_ERROR: where the quoted packet went */
	uint32_t frag_id;
	uint32_t flags;	 /* PI_* */
	uint32_t l3_off; /* at most 22 */
	uint32_t l3_len; /* of the whole IP packet */
	uint32_t l4_off; /* 0: no complete transport header */
	enum xdp_reason bad; /* PI_MALFORMED: why it is dropped where it is claimed */
};

/* @len bytes at @off, or NULL. */
static __always_inline const void *view_at(struct pkt_view *v, uint32_t off, uint32_t len)
{
	const uint8_t *p = v->data + off;

	/* Two limits that the verifier wants to see: it knows the copy's size, not its end. */
	if (off > (v->copied ? VIEW_COPY_MAX : VIEW_OFF_MAX) || p + len > v->end)
		p = NULL;
	if (!p)
		v->cut = true;
	return p;
}

/* Is the IP packet that starts at p->l3_off all in the frame? */
static __always_inline bool view_has_packet(const struct pkt_view *v, struct pkt_info *p,
					    uint32_t len)
{
	if (!v->copied && v->data + p->l3_off + len <= v->end) {
		p->flags |= PI_IN_PLACE;
		return true;
	}
	return p->l3_off + len <= env_frame_len(v->ctx);
}

static __always_inline uint32_t pkt_end(const struct pkt_info *p)
{
	return p->l3_off + p->l3_len;
}

/* Could a reply be sent to this address? Else user space says what is wrong with it. */
static __always_inline bool pkt_can_reply_to(const struct ip_addr *a)
{
	if (ip_addr_is_v4(a))
		return a->b[12] != 0 && a->b[12] != 127 && a->b[12] < 224;
	return a->b[0] != 0xff && !ip_addr_is_any(a);
}

/* @why: of IPv4. What user space does not have, nobody counts by kind. */
static __always_inline enum pkt_kind pkt_malformed(struct pkt_info *p, enum xdp_reason why)
{
	p->bad = p->flags & PI_IPV6 ? XR_DROP_MALFORMED : why;
	p->flags |= PI_MALFORMED;
	return PK_OTHER;
}

#endif
