// SPDX-License-Identifier: BSD-2-Clause
/*
 * Frames that are on their way into an injection ring, and in none: an application that was stopped
 * at the wrong place, or a hostile one, has said so of them and gone no further. Nobody else could
 * use them again. The owner table is looked through in pieces; a frame that is in this state at two
 * looks, and stands in no ring at the second, goes to the pool.
 *
 * One look a second where frames are short, else one in ten; none once no application is left and
 * all has been seen twice since.
 */
#include <stdlib.h>
#include "daemon.h"

#define SWEEP_PIECE 8192u /* frames */
#define SWEEP_NS (10 * NS_PER_S)
#define SWEEP_SHORT_NS NS_PER_S

static uint32_t pieces(const struct daemon *d)
{
	return (d->umem.n_frames + SWEEP_PIECE - 1) / SWEEP_PIECE;
}

/* Takes the bits of frames @at … @end that @ring has in it, whether published or not (port.h). */
static void spare_ring(const struct shm_pkt_ring *ring, uint32_t at, uint32_t end, uint64_t *lost)
{
	for (uint32_t i = 0; i < SHM_PKT_RING; i++) {
		uint64_t frame = READ_ONCE(ring->e[i].addr) / UMEM_FRAME_SIZE;

		/* One of no length was never written. */
		if (READ_ONCE(ring->e[i].len) && frame >= at && frame < end)
			lost[(frame - at) / 64] &= ~(1ull << (frame - at) % 64);
	}
}

static void reclaim(struct daemon *d, uint32_t at, uint32_t end, uint64_t *lost)
{
	for (uint32_t s = 1; s < d->slots; s++) {
		if (!d->apps[s])
			continue;
		spare_ring(d->apps[s]->pkts_to_daemon, at, end, lost);
		spare_ring(d->apps[s]->pkts_to_app, at, end, lost);
	}
	for (uint32_t f = at; f < end; f++)
		if (lost[(f - at) / 64] >> (f - at) % 64 & 1)
			d->frames_found += umem_reclaim_injected(&d->umem, f);
}

/* One piece; frames that were injected at the last look, too, may be lost. */
static void look(struct daemon *d, uint32_t at, uint32_t end)
{
	uint64_t lost[SWEEP_PIECE / 64] = {0};
	bool any = false;

	for (uint32_t f = at; f < end; f++) {
		uint64_t *word = &d->injected[f / 64], bit = 1ull << f % 64;

		if (FRAME_STATE(umem_owner(&d->umem, f)) != FRAME_INJECTED) {
			*word &= ~bit;
		} else if (*word & bit) {
			lost[(f - at) / 64] |= 1ull << (f - at) % 64;
			any = true;
		} else {
			*word |= bit;
		}
	}
	if (any)
		reclaim(d, at, end, lost);
}

struct mtime sweep_run(struct daemon *d)
{
	uint32_t at = d->sweep_at, end = at + SWEEP_PIECE;
	bool apps = d->slots > 1;

	if (apps)
		d->sweep_left = 3 * pieces(d);
	if (!d->sweep_left)
		return MTIME_NEVER;
	if (mtime_before(d->now, d->sweep_next))
		return d->sweep_next;
	if (!d->injected)
		d->injected = calloc((d->umem.n_frames + 63) / 64, sizeof(*d->injected));
	if (d->injected)
		look(d, at, end < d->umem.n_frames ? end : d->umem.n_frames);
	d->sweep_at = end < d->umem.n_frames ? end : 0;
	d->sweep_left--;
	d->sweep_next = mtime_add_ns(d->now, umem_pool_level(&d->umem) < d->umem.n_frames / 4
						     ? SWEEP_SHORT_NS
						     : SWEEP_NS);
	return d->sweep_next;
}

void sweep_close(struct daemon *d)
{
	free(d->injected);
	d->injected = NULL;
	d->sweep_left = d->sweep_at = 0;
	d->sweep_next = (struct mtime){0};
}
