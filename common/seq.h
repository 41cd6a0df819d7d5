/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Sequence number arithmetic, modulo 2^32 (RFC 9293 §3.4). All comparison of
 * sequence numbers goes through here.
 */
#ifndef TANDEM_COMMON_SEQ_H
#define TANDEM_COMMON_SEQ_H

#include <stdint.h>
#include <stdbool.h>

static inline bool seq_lt(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

static inline bool seq_le(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) <= 0;
}

static inline bool seq_gt(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) > 0;
}

static inline bool seq_ge(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) >= 0;
}

static inline uint32_t seq_max(uint32_t a, uint32_t b)
{
	return seq_gt(a, b) ? a : b;
}

static inline uint32_t seq_min(uint32_t a, uint32_t b)
{
	return seq_lt(a, b) ? a : b;
}

/* @lo <= @s < @hi */
static inline bool seq_in(uint32_t s, uint32_t lo, uint32_t hi)
{
	return s - lo < hi - lo;
}

#endif
