/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which bucket of a hash table that grows by one bucket at a time (linear hashing, Litwin 1980):
 * memory of the array of buckets is touched as there is something to put into it, no insertion
 * waits for a whole table to be moved. A table never shrinks.
 */
#ifndef TANDEM_COMMON_LINHASH_H
#define TANDEM_COMMON_LINHASH_H

#include <stdint.h>

struct linhash {
	uint32_t n;    /* buckets in use; the array may have more */
	uint32_t half; /* the largest power of two that is not above .n */
};
#define LINHASH_INIT ((struct linhash){16, 16})

/* The bucket of @hash, below .n. */
static inline uint32_t linhash_bucket(const struct linhash *h, uint32_t hash)
{
	uint32_t b = hash & (2 * h->half - 1);

	return b < h->n ? b : b - h->half;
}

/*
 * One bucket more: the result is the one that shares what it has with the new one, at .n - 1; each
 * of its items belongs where linhash_bucket() says from now on.
 */
static inline uint32_t linhash_split(struct linhash *h)
{
	uint32_t from = h->n - h->half;

	if (++h->n == 2 * h->half)
		h->half *= 2;
	return from;
}

#endif
