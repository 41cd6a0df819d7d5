/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * Headers as they stand in a frame (IEEE 802.3/802.1Q, RFC 826, 791, 8200, 792, 4443, 4861, 9293,
 * 768). Everything is in network byte order.
 */
#ifndef TANDEM_BPF_WIRE_H
#define TANDEM_BPF_WIRE_H

#include "common/addr.h"

/*
 * The BPF machine loads unaligned words in one go where the CPU does, but clang turns packed
 * fields into single bytes. The layouts have no padding either way; natively, packed says that
 * nothing is aligned.
 */
#ifdef __bpf__
#define WIRE
#else
#define WIRE __attribute__((packed))
#endif

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define BE16(x) ((uint16_t)__builtin_bswap16((uint16_t)(x)))
#define BE32(x) __builtin_bswap32((uint32_t)(x))
#else
#define BE16(x) ((uint16_t)(x))
#define BE32(x) ((uint32_t)(x))
#endif

struct wire_mac {
	uint16_t w[3];
} WIRE;

struct wire_eth {
	struct wire_mac dst, src;
	uint16_t type;
} WIRE;
_Static_assert(sizeof(struct wire_eth) == 14, "Ethernet");

struct wire_vlan {
	uint16_t tci;
	uint16_t type;
} WIRE;

#define ETH_ARP 0x0806
#define ETH_IPV4 0x0800
#define ETH_IPV6 0x86dd
#define ETH_VLAN 0x8100
#define ETH_QINQ 0x88a8
#define VLAN_VID 0x0fff

struct wire_arp_ip { /* stands on an odd word */
	uint16_t w[2];
} WIRE;

struct wire_arp {
	uint16_t htype, ptype;
	uint8_t hlen, plen;
	uint16_t op;
	struct wire_mac sha;
	struct wire_arp_ip spa;
	struct wire_mac tha;
	struct wire_arp_ip tpa;
} WIRE;
_Static_assert(sizeof(struct wire_arp) == 28, "ARP");

#define ARP_REQUEST 1
#define ARP_REPLY 2

struct wire_ipv4 {
	uint8_t vihl, tos;
	uint16_t len;
	uint16_t id, frag;
	uint8_t ttl, proto;
	uint16_t check;
	uint32_t src, dst;
} WIRE;
_Static_assert(sizeof(struct wire_ipv4) == 20, "IPv4");

#define IPV4_DF 0x4000
#define IPV4_MF 0x2000
#define IPV4_OFFSET 0x1fff

struct wire_ip6 {
	uint32_t w[4];
} WIRE;

struct wire_ipv6 {
	uint32_t vtf;
	uint16_t len;
	uint8_t next, hops;
	struct wire_ip6 src, dst;
} WIRE;
_Static_assert(sizeof(struct wire_ipv6) == 40, "IPv6");

struct wire_ipv6_ext {
	uint8_t next, len; /* in units of 8 bytes, the first one not counted */
} WIRE;

struct wire_ipv6_frag {
	uint8_t next, reserved;
	uint16_t frag; /* 13 bits of offset, 2 reserved, M */
	uint32_t id;
} WIRE;

#define IPV6_MF 1

struct wire_word {
	uint32_t w;
} WIRE;

struct wire_tcp {
	uint16_t src, dst;
	uint32_t seq, ack;
	uint8_t off, flags;
	uint16_t window, check, urgent;
} WIRE;
_Static_assert(sizeof(struct wire_tcp) == 20, "TCP");

#define TCP_FIN 0x01
#define TCP_SYN 0x02
#define TCP_RST 0x04
#define TCP_ACK 0x10
#define TCP_ECE 0x40
#define TCP_CWR 0x80
#define IP_ECN_MASK 3
#define IP_ECT0 2

struct wire_udp {
	uint16_t src, dst, len, check;
} WIRE;

/* The first four bytes of TCP and UDP alike, which is all that a fragment or quote may have. */
struct wire_ports {
	uint16_t src, dst;
} WIRE;

struct wire_icmp {
	uint16_t type_code; /* one checksum word: type is its first byte */
	uint16_t check;
	uint32_t rest;
} WIRE;
_Static_assert(sizeof(struct wire_icmp) == 8, "ICMP");

enum { ICMP4_ECHO_REPLY = 0, ICMP4_UNREACH = 3, ICMP4_ECHO = 8, ICMP4_TIME_EXCEEDED = 11,
       ICMP4_PARAM_PROBLEM = 12 };
enum { ICMP6_UNREACH = 1, ICMP6_PARAM_PROBLEM = 4, ICMP6_ECHO = 128, ICMP6_ECHO_REPLY = 129,
       ICMP6_MLD_QUERY = 130, ICMP6_SOLICIT = 135, ICMP6_ADVERT = 136, ICMP6_REDIRECT = 137,
       ICMP6_MLD2_REPORT = 143 };

#define ICMP_TYPE_CODE(type, code) BE16((type) << 8 | (code))

/* A neighbour solicitation, and the advertisement that answers it, with one link-layer option. */
struct wire_nd {
	struct wire_icmp icmp; /* .rest: the flags of an advertisement */
	struct wire_ip6 target;
	uint8_t opt_type, opt_len;
	struct wire_mac mac;
} WIRE;
_Static_assert(sizeof(struct wire_nd) == 32, "neighbour discovery");

enum { PROTO_HOPOPTS = 0, PROTO_ICMP = 1, PROTO_TCP = 6, PROTO_UDP = 17, PROTO_ROUTING = 43,
       PROTO_FRAGMENT = 44, PROTO_ICMP6 = 58, PROTO_DSTOPTS = 60 };

static inline struct ip_addr wire_ip6_addr(const struct wire_ip6 *a)
{
	struct ip_addr r = {.w = {a->w[0], a->w[1], a->w[2], a->w[3]}};
	return r;
}

static inline uint32_t wire_arp_addr(const struct wire_arp_ip *a)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	return a->w[0] | (uint32_t)a->w[1] << 16;
#else
	return (uint32_t)a->w[0] << 16 | a->w[1];
#endif
}

static inline bool wire_mac_is_group(const struct wire_mac *m)
{
	return m->w[0] & BE16(0x0100);
}

static inline bool wire_mac_eq(const struct wire_mac *m, const uint8_t mac[6])
{
	const struct wire_mac *o = (const void *)mac;

	return m->w[0] == o->w[0] && m->w[1] == o->w[1] && m->w[2] == o->w[2];
}

static inline void wire_mac_set(struct wire_mac *m, const uint8_t mac[6])
{
	*m = *(const struct wire_mac *)(const void *)mac;
}

#endif
