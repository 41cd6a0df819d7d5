/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The Internet checksum (RFC 1071), its incremental update (RFC 1624) and
 * the TCP/UDP pseudo-headers. Sums are 32-bit ones' complement accumulators of
 * network-order 16-bit words; fold to get the value that stands in a header.
 */
#ifndef TANDEM_COMMON_CSUM_H
#define TANDEM_COMMON_CSUM_H

#include "addr.h"

static inline uint16_t csum_fold(uint32_t sum)
{
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)~sum;
}

static inline uint32_t csum_add(uint32_t a, uint32_t b)
{
	a += b;
	return a + (a < b);
}

/* HC' = ~(~HC + ~m + m') (RFC 1624 eqn. 3) for one 16-bit word. */
static inline uint16_t csum_replace16(uint16_t check, uint16_t from, uint16_t to)
{
	uint32_t sum = (uint16_t)~check;

	sum += (uint16_t)~from;
	sum += to;
	return csum_fold(sum);
}

/* The pseudo-header's sum (RFC 9293 §3.1, RFC 8200 §8.1); @len: the transport length. */
static inline uint32_t csum_pseudo(const struct ip_addr *src, const struct ip_addr *dst,
				   uint8_t proto, uint32_t len)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	uint64_t acc = (uint64_t)__builtin_bswap32(len) + __builtin_bswap16(proto);
#else
	uint64_t acc = (uint64_t)len + proto;
#endif

	if (ip_addr_is_v4(src)) {
		acc += (uint64_t)src->w[3] + dst->w[3];
	} else {
		for (int i = 0; i < 4; i++)
			acc += (uint64_t)src->w[i] + dst->w[i];
	}
	acc = (acc & 0xffffffff) + (acc >> 32);
	acc = (acc & 0xffffffff) + (acc >> 32);
	return (uint32_t)acc;
}

/* The same for IPv4 addresses as they stand in a header; @len is less than 64 KB. */
static inline uint32_t csum_pseudo4(uint32_t src, uint32_t dst, uint8_t proto, uint32_t len)
{
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
	uint64_t acc = (uint64_t)src + dst + __builtin_bswap32(len) + __builtin_bswap16(proto);
#else
	uint64_t acc = (uint64_t)src + dst + len + proto;
#endif

	acc = (acc & 0xffffffff) + (acc >> 32);
	return (uint32_t)acc + (uint32_t)(acc >> 32);
}

#ifndef __bpf__
#include <string.h>

/* Adds @len bytes at @p to @sum; an odd length is padded with a zero byte. */
static inline uint32_t csum_partial(const void *p, uint32_t len, uint32_t sum)
{
	const uint8_t *b = p;
	uint64_t acc = sum;

	while (len >= 32) {
		uint64_t w[4];

		memcpy(w, b, 32);
		acc += (w[0] & 0xffffffff) + (w[0] >> 32);
		acc += (w[1] & 0xffffffff) + (w[1] >> 32);
		acc += (w[2] & 0xffffffff) + (w[2] >> 32);
		acc += (w[3] & 0xffffffff) + (w[3] >> 32);
		b += 32;
		len -= 32;
	}
	while (len >= 4) {
		uint32_t w;

		memcpy(&w, b, 4);
		acc += w;
		b += 4;
		len -= 4;
	}
	if (len >= 2) {
		uint16_t w;

		memcpy(&w, b, 2);
		acc += w;
		b += 2;
		len -= 2;
	}
	if (len) {
		uint16_t w = 0;

		memcpy(&w, b, 1);
		acc += w;
	}
	acc = (acc & 0xffffffff) + (acc >> 32);
	acc = (acc & 0xffffffff) + (acc >> 32);
	return (uint32_t)acc;
}
#endif

#endif
