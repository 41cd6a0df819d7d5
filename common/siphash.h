/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SipHash-2-4 (Aumasson and Bernstein 2012), a hash that nobody can aim at who does not know the
 * key. Its steps, for both sides; siphash_24() (user/core/conn_table.c) takes bytes of any length.
 */
#ifndef TANDEM_COMMON_SIPHASH_H
#define TANDEM_COMMON_SIPHASH_H

#include <stdint.h>

struct sip {
	uint64_t v[4];
};

static inline uint64_t sip_rotl(uint64_t x, int b)
{
	return x << b | x >> (64 - b);
}

static inline void sip_round(struct sip *s)
{
	s->v[0] += s->v[1];
	s->v[1] = sip_rotl(s->v[1], 13) ^ s->v[0];
	s->v[0] = sip_rotl(s->v[0], 32);
	s->v[2] += s->v[3];
	s->v[3] = sip_rotl(s->v[3], 16) ^ s->v[2];
	s->v[0] += s->v[3];
	s->v[3] = sip_rotl(s->v[3], 21) ^ s->v[0];
	s->v[2] += s->v[1];
	s->v[1] = sip_rotl(s->v[1], 17) ^ s->v[2];
	s->v[2] = sip_rotl(s->v[2], 32);
}

static inline void sip_init(struct sip *s, const uint64_t key[2])
{
	s->v[0] = key[0] ^ 0x736f6d6570736575ull;
	s->v[1] = key[1] ^ 0x646f72616e646f6dull;
	s->v[2] = key[0] ^ 0x6c7967656e657261ull;
	s->v[3] = key[1] ^ 0x7465646279746573ull;
}

/* @m: the next eight bytes of the message, little-endian. */
static inline void sip_add(struct sip *s, uint64_t m)
{
	s->v[3] ^= m;
	sip_round(s);
	sip_round(s);
	s->v[0] ^= m;
}

/* @last: the bytes that are left, at most seven, and the message's length in the top byte. */
static inline uint64_t sip_end(struct sip *s, uint64_t last)
{
	sip_add(s, last);
	s->v[2] ^= 0xff;
	sip_round(s);
	sip_round(s);
	sip_round(s);
	sip_round(s);
	return s->v[0] ^ s->v[1] ^ s->v[2] ^ s->v[3];
}

#endif
