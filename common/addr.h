/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Addresses: 16 bytes for both families. IPv4 is IPv4-mapped (::ffff:a.b.c.d,
 * RFC 4291 §2.5.5.2), so that every table and comparison has one form.
 */
#ifndef TANDEM_COMMON_ADDR_H
#define TANDEM_COMMON_ADDR_H

#include <stdint.h>
#include <stdbool.h>

struct ip_addr {
	union {
		uint8_t b[16];
		uint32_t w[4]; /* network byte order */
	};
} __attribute__((aligned(4)));

_Static_assert(sizeof(struct ip_addr) == 16, "ip_addr is 16 bytes");

/* ::ffff:0:0 as a network-order word, on either byte order. */
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define IP_ADDR_V4_WORD2 0xffff0000u
#else
#define IP_ADDR_V4_WORD2 0x0000ffffu
#endif

/* @be: the IPv4 address as it stands in a header. */
static inline struct ip_addr ip_addr_v4(uint32_t be)
{
	struct ip_addr a = {.w = {0, 0, IP_ADDR_V4_WORD2, be}};
	return a;
}

static inline bool ip_addr_is_v4(const struct ip_addr *a)
{
	return a->w[0] == 0 && a->w[1] == 0 && a->w[2] == IP_ADDR_V4_WORD2;
}

/* The IPv4 address in network byte order; only for mapped addresses. */
static inline uint32_t ip_addr_to_v4(const struct ip_addr *a)
{
	return a->w[3];
}

static inline bool ip_addr_eq(const struct ip_addr *a, const struct ip_addr *b)
{
#ifdef __bpf__
	return a->w[0] == b->w[0] && a->w[1] == b->w[1] && a->w[2] == b->w[2] && a->w[3] == b->w[3];
#else
	return !__builtin_memcmp(a, b, sizeof(*a)); /* two words at once */
#endif
}

/* :: or 0.0.0.0: "any address" in bind() and in the ports map. */
static inline bool ip_addr_is_any(const struct ip_addr *a)
{
	return a->w[0] == 0 && a->w[1] == 0 && a->w[3] == 0 &&
	       (a->w[2] == 0 || a->w[2] == IP_ADDR_V4_WORD2);
}

#endif
