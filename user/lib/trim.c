// SPDX-License-Identifier: BSD-2-Clause
/*
 * Pages of buffers that were needed once, when many connections had data at the same time, go back
 * to the system when they have not been needed for a second: what connections cost is what they
 * cost at rest.
 */
#include <sys/mman.h>
#include "engine.h"

#define TRIM_EVERY_MS 1000u
#define TRIM_AGAIN_MS 10u /* where one piece of work was not enough */
#define TRIM_PIECE 256u

struct mtime trim_run(struct mtime now)
{
	uint8_t *chunks = eng.own.base + eng.own.lay.chunks;
	uint32_t v[TRIM_PIECE], n;

	if (!stack_trimmable(eng.stack))
		return MTIME_NEVER;
	if (mtime_before(now, eng.trim_next))
		return eng.trim_next;
	n = stack_trim(eng.stack, v, TRIM_PIECE);
	/* It fails where the program has locked its memory, which is the program's wish. */
	for (uint32_t i = 0; i < n; i++)
		madvise(chunks + (size_t)v[i] * CHUNK_SIZE, CHUNK_SIZE, MADV_REMOVE);
	eng.trim_next = mtime_add_ms(now, n == TRIM_PIECE ? TRIM_AGAIN_MS : TRIM_EVERY_MS);
	return stack_trimmable(eng.stack) ? eng.trim_next : MTIME_NEVER;
}
