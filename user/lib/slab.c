// SPDX-License-Identifier: BSD-2-Clause
/* slab.h */
#include <stdlib.h>
#include <string.h>
#include "slab.h"

/* Under AddressSanitizer a free object is not to be touched, except for its link. */
#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#define hide(p, len) __asan_poison_memory_region(p, len)
#define show(p, len) __asan_unpoison_memory_region(p, len)
#else
#define hide(p, len) ((void)(p), (void)(len))
#define show(p, len) ((void)(p), (void)(len))
#endif

static int grow(struct slab *s)
{
	if (s->n_blocks == s->max_blocks) {
		uint32_t n = s->max_blocks ? s->max_blocks * 2 : 8;
		void **b = realloc(s->blocks, n * sizeof(*b));

		if (!b)
			return -1;
		s->blocks = b;
		s->max_blocks = n;
	}
	s->blocks[s->n_blocks] = malloc((size_t)SLAB_BLOCK * s->size);
	if (!s->blocks[s->n_blocks])
		return -1;
	hide(s->blocks[s->n_blocks], (size_t)SLAB_BLOCK * s->size);
	s->n_blocks++;
	return 0;
}

void *slab_get(struct slab *s, uint32_t *i)
{
	void *p;

	if (s->free) {
		*i = s->free - 1;
		p = slab_at(s, *i);
		show(p, s->size);
		memcpy(&s->free, p, sizeof(s->free));
	} else {
		if (s->used == s->n_blocks * SLAB_BLOCK && grow(s))
			return NULL;
		*i = s->used++;
		p = slab_at(s, *i);
		show(p, s->size);
	}
	return memset(p, 0, s->size);
}

void slab_put(struct slab *s, uint32_t i)
{
	void *p = slab_at(s, i);

	memcpy(p, &s->free, sizeof(s->free));
	s->free = i + 1;
	hide(p, s->size);
}

void slab_release(struct slab *s)
{
	for (uint32_t b = 0; b < s->n_blocks; b++) {
		show(s->blocks[b], (size_t)SLAB_BLOCK * s->size);
		free(s->blocks[b]);
	}
	free(s->blocks);
	*s = (struct slab){.size = s->size};
}
