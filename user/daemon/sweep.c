// SPDX-License-Identifier: BSD-2-Clause
/*
 * Lost frames: an application that was stopped at the wrong place, or a hostile one, has written
 * into the owner table what is not so. Nobody else could use them again. The table is looked
 * through in pieces; a frame whose entry nobody has written between some looks, and that is in no
 * ring and with nobody, goes to the pool:
 *
 *   on its way into an injection ring    two looks, and in no such ring
 *   the daemon's                         two looks, and not in its port
 *   of a slot that nobody has, or of no state at all    two looks
 *   being sent                           four looks, and in no TX or completion ring
 *   with the kernel for receive          four looks, in no fill or RX ring, and more of these
 *                                        than the kernel keeps for itself: it uses up to one
 *                                        packet's again that it could not deliver. In copy mode
 *                                        only: a driver keeps as many as it likes
 *   in the pool                          the pool is made anew where it has not all of them
 *
 * What an application says is its own is so for as long as it lives.
 *
 * One look a second where frames are short, else one in ten; none once no application is left and
 * all has been seen often enough since.
 */
#include <string.h>
#include "daemon.h"

#define SWEEP_PIECE 8192u /* frames */
#define SWEEP_NS (10 * NS_PER_S)
#define SWEEP_SHORT_NS NS_PER_S
#define AGE_LOST 1u	 /* met so often before, and lost at this look */
#define AGE_KERNEL 3u	 /* of what the kernel may have */
#define ROUNDS_AFTER 6	 /* until all is found that the last application has lost */
#define KERNEL_KEEPS 64u /* frames of a queue; it is a packet's */

static uint32_t pieces(const struct daemon *d)
{
	return (d->umem.n_frames + SWEEP_PIECE - 1) / SWEEP_PIECE;
}

static bool zero_copy(const struct daemon *d)
{
	for (uint32_t i = 0; i < d->n_ifs; i++)
		if (d->ifs[i].xsk_opts.zerocopy)
			return true;
	return false;
}

/* ---- who may have one ---- */

/* All entries, published or not (port.h); one of no length was never written. */
static void spare_injected(const struct shm_pkt_ring *ring, struct frame_set *s)
{
	for (uint32_t i = 0; i < SHM_PKT_RING; i++)
		if (READ_ONCE(ring->e[i].len))
			frame_set_del(s, READ_ONCE(ring->e[i].addr));
}

static void spare_app(const struct app *a, struct frame_set *s)
{
	spare_injected(a->pkts_to_daemon, s);
	spare_injected(a->pkts_to_app, s);
	for (uint32_t q = 0; q < a->n_xsks; q++)
		xsk_spare(&a->xsks[q], s);
	/* Its end will put these into the pool. */
	for (uint32_t i = 0; i < a->n_rx_left; i++)
		frame_set_del(s, (uint64_t)a->rx_left[i] * UMEM_FRAME_SIZE);
}

static void spare_all(const struct daemon *d, struct frame_set *s)
{
	port_spare(d->port, s);
	umem_spare(&d->umem, s);
	for (uint32_t q = 0; q < d->n_xsks; q++)
		xsk_spare(&d->xsks[q], s);
	for (uint32_t i = 1; i < d->slots; i++)
		if (d->apps[i])
			spare_app(d->apps[i], s);
}

/* ---- looking ---- */

static bool nobodys(const struct daemon *d, uint32_t slot)
{
	return slot != TD_SLOT_DAEMON && (slot >= TD_MAX_SLOTS || !d->apps[slot]);
}

/* Looks that make a frame with this entry suspect; UINT32_MAX: nothing does. */
static uint32_t suspect_after(const struct daemon *d, uint32_t owner)
{
	switch (FRAME_STATE(owner)) {
	case FRAME_POOL:
		return UINT32_MAX;
	case FRAME_FILL:
		return zero_copy(d) ? UINT32_MAX : AGE_KERNEL;
	case FRAME_TX:
		return AGE_KERNEL;
	case FRAME_OWNED:
		return FRAME_SLOT(owner) == TD_SLOT_DAEMON || nobodys(d, FRAME_SLOT(owner))
			       ? AGE_LOST
			       : UINT32_MAX;
	default:
		return AGE_LOST;
	}
}

static void reclaim(struct daemon *d, const struct frame_set *s)
{
	for (uint32_t f = s->at; f < s->end; f++) {
		bool fill;

		if (!frame_set_has(s, f))
			continue;
		fill = FRAME_STATE(umem_owner(&d->umem, f)) == FRAME_FILL;
		if ((fill && !d->sweep_excess) || !umem_reclaim_lost(&d->umem, f)) {
			d->sweep_unread += fill;
			continue;
		}
		d->sweep_excess -= fill;
		d->frames_found++;
	}
}

static void look(struct daemon *d, uint32_t at, uint32_t end)
{
	uint64_t bits[SWEEP_PIECE / 64] = {0};
	struct frame_set s = {at, end, bits};
	bool any = false;

	for (uint32_t f = at; f < end; f++) {
		uint32_t owner, age = umem_age(&d->umem, f, &owner);

		d->sweep_pool += FRAME_STATE(owner) == FRAME_POOL;
		if (age < suspect_after(d, owner))
			continue;
		frame_set_add(&s, f);
		any = true;
	}
	if (!any)
		return;
	spare_all(d, &s);
	reclaim(d, &s);
}

/* All pieces have been looked at once more. */
static void round_done(struct daemon *d)
{
	uint32_t keeps = KERNEL_KEEPS * d->n_queues;

	/* Others take and give meanwhile: a difference is to be looked at, no more. */
	if (d->sweep_pool != umem_pool_level(&d->umem) && umem_check_pool(&d->umem))
		log_warn("the pool of frames was not what the owner table says: put right");
	d->sweep_excess = d->sweep_unread > keeps ? d->sweep_unread - keeps : 0;
	d->sweep_pool = d->sweep_unread = 0;
}

struct mtime sweep_run(struct daemon *d)
{
	uint32_t at = d->sweep_at, end = at + SWEEP_PIECE;

	if (d->slots > 1)
		d->sweep_left = ROUNDS_AFTER * pieces(d);
	if (!d->sweep_left)
		return MTIME_NEVER;
	if (mtime_before(d->now, d->sweep_next))
		return d->sweep_next;
	look(d, at, end < d->umem.n_frames ? end : d->umem.n_frames);
	d->sweep_at = end < d->umem.n_frames ? end : 0;
	if (!d->sweep_at)
		round_done(d);
	d->sweep_left--;
	d->sweep_next = mtime_add_ns(d->now, umem_pool_level(&d->umem) < d->umem.n_frames / 4
						     ? SWEEP_SHORT_NS
						     : SWEEP_NS);
	return d->sweep_next;
}

void sweep_close(struct daemon *d)
{
	d->sweep_left = d->sweep_at = 0;
	d->sweep_pool = d->sweep_unread = d->sweep_excess = 0;
	d->sweep_next = (struct mtime){0};
}
