/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The maps that the XDP program and user space share, and the metadata in
 * front of each redirected packet. One layout for both sides; the field names
 * are what `bpftool map dump` shows. Ports and addresses are in network byte
 * order, everything else in host order.
 */
#ifndef TANDEM_COMMON_FLOW_H
#define TANDEM_COMMON_FLOW_H

#include "addr.h"

/* Slot 0 is the daemon; each registered application has one of the others. */
#define TD_SLOT_DAEMON 0u
#define TD_SLOT_NONE 0xffffu
#define TD_MAX_SLOTS 1024u
#define TD_MAX_QUEUES 64u /* of all interfaces together, numbered one after the other */
#define TD_MAX_NETIFS 16u
/*
 * Which interface of ours that with number @ifindex is stands in a table, at this place; @salt is
 * chosen such that no two of ours have the same.
 */
#define TD_NETIF_BITS 12
#define TD_NETIF_PLACE(ifindex, salt)                                                              \
	(((uint32_t)(ifindex) * (0x9e3779b1u + 2 * (salt))) >> (32 - TD_NETIF_BITS))
/* Index into the `xsks` map. */
#define TD_XSK_INDEX(slot, queue) (TD_MAX_QUEUES * (slot) + (queue))
#define TD_XSK_MAX TD_XSK_INDEX(TD_MAX_SLOTS, 0)

#define TD_NO_CONN 0xffffffffu

/* `flows`: one entry for each live connection (and each handshake that we began). */
struct flow_key {
	struct ip_addr remote;
	struct ip_addr local;
	uint16_t remote_port;
	uint16_t local_port;
	uint8_t proto;
	uint8_t pad[3]; /* zero */
};
_Static_assert(sizeof(struct flow_key) == 40, "flow_key");

enum flow_state {
	FLOW_OPENING = 1,     /* our SYN is out; packets go to the slow path */
	FLOW_ESTABLISHED = 2, /* packets go straight to .slot */
	FLOW_CLOSING = 3,     /* back with the slow path; .slot is 0 */
};

struct flow_val {
	uint32_t slot;
	uint32_t conn;	     /* index of the TCB in the owner's arena */
	uint32_t generation; /* of that index: a stale one is recognised */
	uint32_t state;	     /* enum flow_state */
	uint64_t packets;    /* received through this entry */
	uint64_t bytes;	     /* of these packets, link header included */
	uint64_t last_seen;  /* bpf_ktime_get_ns() of the last one (CLOCK_MONOTONIC) */
};
_Static_assert(sizeof(struct flow_val) == 40, "flow_val");

/* `ports`: listeners and bound sockets; .addr all zero (::) matches any address. */
struct port_key {
	struct ip_addr addr;
	uint16_t port;
	uint8_t proto;
	uint8_t pad; /* zero */
};
_Static_assert(sizeof(struct port_key) == 20, "port_key");

/*
 * While a listener's SYN queue overflows the program answers its SYNs itself (bpf/syncookie.h),
 * with what the slow path would say and assumes later, when the third ACK comes.
 */
struct port_cookies {
	uint8_t on;
	uint8_t options; /* PORT_COOKIES_* */
	uint8_t wscale;	 /* ours, where the peer scales, too */
	uint8_t ttl;
	uint16_t window;
	uint16_t mss; /* over IPv4 */
};
#define PORT_COOKIES_TS 1u
#define PORT_COOKIES_SACK 2u
#define PORT_COOKIES_WSCALE 4u
#define PORT_COOKIES_ECN 8u  /* is agreed to */
#define PORT_COOKIES_ECT 16u /* even to a SYN that is ECT, and what we send is, too (DCTCP) */

/*
 * `spreads`: a listener of several sockets (SO_REUSEPORT) that run in their applications. .slot of the
 * port's entry is TD_SLOT_SPREAD() of its index then, and a packet's pair chooses the place in the
 * table. Whoever knows no salt cannot choose a socket.
 */
#define TD_SPREADS 64u
#define TD_SPREAD_PLACES 256u
#define TD_SLOT_SPREAD(i) (TD_MAX_SLOTS + (i))

struct spread {
	uint64_t salt;
	uint16_t slot[TD_SPREAD_PLACES];
};

static inline uint64_t spread_mix(uint64_t h, uint32_t a, uint32_t b)
{
	h = (h ^ ((uint64_t)a << 32 | b)) * 0x9e3779b97f4a7c15ull;
	return h ^ h >> 32;
}

static inline uint32_t spread_place(const struct flow_key *k, uint64_t salt)
{
	uint64_t h = salt;

	h = spread_mix(h, k->remote.w[0], k->remote.w[1]);
	h = spread_mix(h, k->remote.w[2], k->remote.w[3]);
	h = spread_mix(h, k->local.w[2], k->local.w[3]);
	h = spread_mix(h, k->remote_port, k->local_port);
	return (uint32_t)(h >> 32) * 0x9e3779b1u >> 24;
}
_Static_assert(TD_SPREAD_PLACES == 1u << 8, "spread_place()");

struct port_val {
	uint32_t slot; /* of TCP also TD_SLOT_SPREAD() */
	uint32_t conn; /* socket index in that slot's arena, or TD_NO_CONN */
	struct port_cookies cookies;
};
_Static_assert(sizeof(struct port_val) == 16, "port_val");

/* `addrs`: addresses of the interface that tandem answers for. */
struct addr_key {
	struct ip_addr addr;
};

struct addr_val {
	uint32_t flags; /* ADDR_F_* */
};
#define ADDR_F_PRIMARY 1u

/* `deny`: longest-prefix trie of source prefixes; prefixlen counts the 128 bits. */
struct deny_key {
	uint32_t prefixlen;
	struct ip_addr addr;
};

struct deny_val {
	uint64_t packets;
};

/* `settings`: one entry for each interface; what may change while attached. */
struct xdp_settings {
	uint32_t claim_all;   /* 1: unmatched packets to our addresses go to the slow path */
	uint32_t reply_mode;  /* enum xdp_reply_mode */
	uint32_t answer_arp;  /* 1: answer ARP requests in XDP */
	uint32_t answer_echo; /* 1: answer ICMP echo requests in XDP */
	uint32_t mtu;	      /* replies above it are left to the slow path */
	uint32_t n_queues;
	uint8_t mac[6];
	uint16_t queue_base; /* its queue 0 among all interfaces' queues */
	/*
	 * 1: a reply keeps what the kernel knows of the request's checksum (generic mode): where
	 * that one was partial, the reply's has to be.
	 */
	uint32_t partial_replies;
};
_Static_assert(sizeof(struct xdp_settings) == 36, "xdp_settings");

/* How the program sends a reply (ARP, echo) out of the interface; found by probing at attach. */
enum xdp_reply_mode {
	XDP_REPLY_TX = 0,	/* return XDP_TX */
	XDP_REPLY_REDIRECT = 1, /* bpf_redirect() to the own ifindex */
	XDP_REPLY_NONE = 2,	/* neither reaches the other end: leave replies to the slow path */
};

/*
 * Metadata right in front of the frame's first byte (bpf_xdp_adjust_meta). The
 * AF_XDP receiver finds it at addr - sizeof(struct pkt_meta). Written by our XDP
 * program, but the UMEM is writable by every application: user space checks
 * the magic and every offset against the packet's length.
 */
#define PKT_META_MAGIC 0x7d4du

struct pkt_meta {
	uint16_t magic;
	uint8_t reason; /* enum xdp_reason */
	uint8_t flags;	/* PKT_META_* */
	uint16_t l3_off;
	uint16_t l4_off; /* 0: no complete transport header there */
	uint32_t conn;	 /* from the flow or port entry, else TD_NO_CONN */
	uint32_t generation;
};
_Static_assert(sizeof(struct pkt_meta) == 16, "a multiple of 4, at most 32: the kernel's rule");

#define PKT_META_FLOW 1u /* found in `flows` */
#define PKT_META_PORT 2u /* found in `ports` */
#define PKT_META_VLAN 4u
#define PKT_META_IPV6 8u

#endif
