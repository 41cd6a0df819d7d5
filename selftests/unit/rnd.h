/* SPDX-License-Identifier: BSD-2-Clause */
/* The same numbers in every run, one program's (Marsaglia's xorshift). */
#ifndef TANDEM_TEST_RND_H
#define TANDEM_TEST_RND_H

#include <stdint.h>

static uint64_t rng = 88172645463325252ull;

static uint32_t rnd(void)
{
	rng ^= rng << 13;
	rng ^= rng >> 7;
	rng ^= rng << 17;
	return (uint32_t)(rng >> 32);
}

#endif
