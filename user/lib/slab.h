/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Objects of one size, named by a number or by address, which stays: for what there is one of for
 * each connection, where malloc's header and rounding would be a fifth of it. Blocks are kept for
 * the next ones, as the most that were in use at once. Protected by eng.lock.
 */
#ifndef TANDEM_LIB_SLAB_H
#define TANDEM_LIB_SLAB_H

#include <stddef.h>
#include <stdint.h>

#define SLAB_BLOCK 256u

struct slab {
	uint32_t size; /* of an object, a multiple of 8 */
	uint32_t used; /* numbers below it have been given out before */
	uint32_t free; /* number + 1 of the first free one, which names the next; 0: none */
	uint32_t n_blocks, max_blocks;
	void **blocks;
};

static inline void *slab_at(const struct slab *s, uint32_t i)
{
	return (char *)s->blocks[i / SLAB_BLOCK] + (size_t)(i % SLAB_BLOCK) * s->size;
}

/* A zeroed object, *@i: its number. NULL: no memory. */
void *slab_get(struct slab *s, uint32_t *i);
void slab_put(struct slab *s, uint32_t i);
/* When all have been put back, or their users are gone. */
void slab_release(struct slab *s);

#endif
