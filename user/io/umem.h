/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The packet memory that the daemon and its applications share: one memfd
 * with the frames, and one with the control block (owner table, pool of free frames,
 * and the lock (shlock.h) of the fill and completion rings).
 *
 * Every frame has one owner at every instant (common/shm.h, enum frame_state). The
 * order of writes makes each step recoverable when its process is killed within it:
 *  - taking from an RX ring: owner first, then the ring's consumer index;
 *  - giving to a TX ring: owner first, then the producer index;
 *  - fill, completion, pool: under the lock, with an intent record; whoever finds the
 *    lock's owner dead completes or undoes it, and rebuilds the pool from the table.
 *
 * Each process keeps a private cache of frames that it owns (struct frame_cache): the
 * lock is taken once for a batch, never for a packet.
 */
#ifndef TANDEM_IO_UMEM_H
#define TANDEM_IO_UMEM_H

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include <xdp/xsk.h>
#include "common/shm.h"
#include "shlock.h"

struct umem_ctl; /* the shared control block, private to umem.c */

struct umem {
	uint8_t *base; /* frames */
	uint64_t size;
	uint32_t n_frames;
	int fd;	    /* memfd of the frames */
	int ctl_fd; /* memfd of the control block */
	struct umem_ctl *ctl;
	uint16_t slot; /* who we are */

	/* private to umem.c */
	struct shlock_id id;
	struct umem_queue *uqs;
	uint32_t n_uqs;
	bool lock_slow; /* the lock's holder seems to be stopped: do not wait as long again */
};

/* Creates both memfds (sealed against resizing). -errno. */
int umem_create(struct umem *u, uint32_t n_frames);
/* Maps what another process created; both fds are taken over on success. Checks their sizes. */
int umem_attach(struct umem *u, int fd, int ctl_fd, uint32_t n_frames, uint16_t slot);
void umem_close(struct umem *u);

static inline uint8_t *umem_ptr(const struct umem *u, uint64_t addr)
{
	return u->base + addr;
}

/* Does [addr, addr+len) lie in one frame? The check for everything read from shared rings. */
static inline bool umem_valid(const struct umem *u, uint64_t addr, uint32_t len)
{
	return addr < u->size && len <= UMEM_FRAME_SIZE &&
	       (addr & (UMEM_FRAME_SIZE - 1)) + len <= UMEM_FRAME_SIZE;
}

static inline uint32_t umem_frame_of(uint64_t addr)
{
	return (uint32_t)(addr / UMEM_FRAME_SIZE);
}

struct umem_queue;
/*
 * All queues of the interface, @uqs[i].index == i, for the repair of what a killed process left
 * half done. port_open() does this.
 */
void umem_set_queues(struct umem *u, struct umem_queue *uqs, uint32_t n);

/* One queue's fill and completion rings, as this process maps them. */
struct umem_queue {
	struct xsk_ring_prod fill;
	struct xsk_ring_cons comp;
	void *fill_map, *comp_map;
	size_t fill_map_len, comp_map_len;
	uint32_t index; /* of the queue, for the intent record */
};

#define FRAME_CACHE_MAX 2048u
struct frame_cache {
	uint32_t n;
	uint32_t frame[FRAME_CACHE_MAX];
};

/* Takes ownership of a frame that we hold anyway (RX ring, injection): owner = us. */
void umem_own(struct umem *u, uint32_t frame);
uint32_t umem_owner(const struct umem *u, uint32_t frame);
/* Marks a frame of ours as given to slot @slot (FRAME_INJECTED) or to the TX ring (FRAME_TX). */
void umem_give(struct umem *u, uint32_t frame, enum frame_state st, uint16_t slot);

/*
 * Evens things out, under the lock, once per batch and queue: reaps completions into the
 * cache, tops the fill ring up to @fill_target from the cache (then from the pool), and
 * keeps the cache between @low and @high with the pool's help. Frames in the completion ring
 * whose owner entry is not FRAME_TX are ignored and counted. Returns frames now in the cache.
 */
uint32_t umem_balance(struct umem *u, struct umem_queue *q, struct frame_cache *c,
		      uint32_t fill_target, uint32_t low, uint32_t high);
/* Would umem_balance() do something useful? No lock, a hint. */
bool umem_needs_balance(const struct umem *u, const struct umem_queue *q,
			const struct frame_cache *c, uint32_t fill_target, uint32_t low,
			uint32_t high);
/* Gives all of the cache back to the pool. What cannot (the lock is held) stays in the cache. */
void umem_flush_cache(struct umem *u, struct frame_cache *c);

/*
 * After the death of @slot (its sockets closed by then, @rx_left: frames found unread in its
 * RX rings): frames it owned go to the pool at once; frames in state FRAME_TX of that slot are
 * only counted in the return value, as the kernel may still have them. Call again after a grace
 * period with @force to take these, too. Returns how many remain: all of the slot's, if the lock
 * could not be had; call again then, with the same @rx_left.
 */
uint32_t umem_reclaim(struct umem *u, uint16_t slot, const uint32_t *rx_left, uint32_t n_rx_left,
		      bool force);

/*
 * The search for lost frames: those that the table says somebody has, and nobody has. Its one
 * searcher asks for each frame how often it has met it since its entry was last written, takes
 * away from a set of suspects what stands in a ring or is somebody's in truth, and reclaims the
 * rest.
 */
struct frame_set {
	uint32_t at, end; /* of the frames */
	uint64_t *bits;	  /* one for each */
};
static inline void frame_set_add(struct frame_set *s, uint32_t frame)
{
	s->bits[(frame - s->at) / 64] |= 1ull << (frame - s->at) % 64;
}
/* The frame in which @addr is, if it is one of them. */
static inline void frame_set_del(struct frame_set *s, uint64_t addr)
{
	uint64_t frame = addr / UMEM_FRAME_SIZE;

	if (frame >= s->at && frame < s->end)
		s->bits[(frame - s->at) / 64] &= ~(1ull << (frame - s->at) % 64);
}
static inline bool frame_set_has(const struct frame_set *s, uint32_t frame)
{
	return s->bits[(frame - s->at) / 64] >> (frame - s->at) % 64 & 1;
}
/* How often so far; *@owner: its entry. */
uint32_t umem_age(struct umem *u, uint32_t frame, uint32_t *owner);
/* Takes away what stands in fill and completion rings. */
void umem_spare(const struct umem *u, struct frame_set *s);
/* Puts a lost frame into the pool. False: not now, or somebody has written its entry. */
bool umem_reclaim_lost(struct umem *u, uint32_t frame);
/* Makes the pool what the table says, under the lock. True: it was not. */
bool umem_check_pool(struct umem *u);
/* Frames in the pool, as a hint. */
uint32_t umem_pool_level(const struct umem *u);

struct umem_usage {
	uint32_t pool, fill, tx, owned, owned_by_daemon, injected, bad;
	uint64_t comp_ignored, recoveries;
};
void umem_usage(const struct umem *u, struct umem_usage *out);
/* Frames that slot @slot owns or has in transmission. */
uint32_t umem_count_slot(const struct umem *u, uint16_t slot);

#endif
