// SPDX-License-Identifier: BSD-2-Clause
/*
 * trim.h. Pages that were needed once, when many connections had data or waited at the same time,
 * go back to the system when they have not been needed for a second: what connections cost is what
 * they cost at rest. What a stack needs again and again it keeps (stack_trim()), so that a busy one
 * faults no pages in and out.
 */
#include <sys/mman.h>
#include "trim.h"

#define TRIM_EVERY_MS 1000u
#define TRIM_AGAIN_MS 10u /* where one piece of work was not enough */
#define TRIM_PIECE 256u

/* It fails where the program has locked its memory, which is the program's wish. */
static void give_back(const struct arena *a, const uint32_t *v, uint32_t n)
{
	uint8_t *chunks = a->base + a->lay.chunks;

	for (uint32_t i = 0; i < n; i++)
		madvise(chunks + (size_t)v[i] * CHUNK_SIZE, CHUNK_SIZE, MADV_REMOVE);
}

/* Whole pages: what shares one with something that is in use stays as it is. */
static void give_back_range(const struct mem_range *r)
{
	uintptr_t at = ((uintptr_t)r->at + CHUNK_SIZE - 1) & ~(uintptr_t)(CHUNK_SIZE - 1);
	uintptr_t end = ((uintptr_t)r->at + r->len) & ~(uintptr_t)(CHUNK_SIZE - 1);

	if (at < end)
		madvise((void *)at, end - at, MADV_REMOVE);
}

static bool worth_it(const struct stack *s)
{
	return stack_trimmable(s) || stack_shrinkable(s);
}

struct mtime trim_run(struct trim *t, const struct arena *a, struct stack *s, struct mtime now)
{
	struct mem_range r[STACK_SHRINK_RANGES];
	uint32_t v[TRIM_PIECE], n, n_ranges;

	if (a->keeps_pages || !worth_it(s))
		return MTIME_NEVER;
	if (mtime_before(now, t->next))
		return t->next;
	n = stack_trim(s, v, TRIM_PIECE);
	give_back(a, v, n);
	n_ranges = stack_shrink(s, r);
	for (uint32_t i = 0; i < n_ranges; i++)
		give_back_range(&r[i]);
	t->next = mtime_add_ms(now, n == TRIM_PIECE || n_ranges ? TRIM_AGAIN_MS : TRIM_EVERY_MS);
	return worth_it(s) ? t->next : MTIME_NEVER;
}
