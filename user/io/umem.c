// SPDX-License-Identifier: BSD-2-Clause
/*
 * umem.h: frames, their owner table, and the movement of frames between the shared pool, the
 * caches, and the fill and completion rings.
 *
 * Invariants, whoever is killed wherever:
 *  - the owner table alone says whose a frame is; pool[] is an index of it, rebuilt when in doubt;
 *  - only the lock's holder changes an entry to or from FRAME_POOL;
 *  - an entry of the fill ring is published after its frame is FRAME_FILL.
 * All that stands in shared memory is read once and checked against our own n_frames and ring
 * sizes before it is used as an index.
 */
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>
#include <sys/mman.h>
#include "common/flow.h"
#include "user/core/mtime.h"
#include "memfd.h"
#include "umem.h"

#define CTL_BLOCK_MAGIC 0x74644d55u
#define CTL_BLOCK_VERSION 1u
#define MAX_FRAMES (1u << 24) /* 64 GiB */
#define NO_ADDR UINT64_MAX    /* the kernel counts and skips it in the fill ring */

#define LOCK_WAIT_NS (100 * NS_PER_MS)
#define LOCK_WAIT_SLOW_NS (1 * NS_PER_MS)

enum intent_op { INTENT_NONE = 0, INTENT_FILL, INTENT_COMP };

/* What the lock's holder is about to do with entries pos … pos + n of a ring. */
struct intent {
	uint32_t op; /* written last, cleared first */
	uint32_t queue;
	uint32_t pos, n;
	uint32_t slot;
};

struct umem_ctl {
	uint32_t magic, version;
	uint32_t n_frames;
	uint32_t next_nonce;
	uint32_t pad0[12];
	struct shlock lock;
	uint32_t top; /* frames in pool[] */
	struct intent intent;
	uint32_t bad; /* pool entries that were not free frames */
	uint64_t comp_ignored, recoveries;
	uint32_t pad1[4];
	uint32_t owner[]; /* [n_frames], then the pool: [n_frames] */
};
_Static_assert(offsetof(struct umem_ctl, lock) == 64, "the lock's line is its own");
_Static_assert(offsetof(struct umem_ctl, owner) == 128, "two cache lines");

static size_t ctl_len(uint32_t n_frames)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);

	return (sizeof(struct umem_ctl) + 2 * sizeof(uint32_t) * (size_t)n_frames + page - 1) &
	       ~(page - 1);
}

static uint32_t *pool_of(const struct umem *u)
{
	return u->ctl->owner + u->n_frames;
}

static void set_owner(struct umem *u, uint32_t frame, uint32_t v)
{
	store_release(&u->ctl->owner[frame], v);
}

static bool owner_is(const struct umem *u, uint32_t frame, enum frame_state st)
{
	return FRAME_STATE(READ_ONCE(u->ctl->owner[frame])) == st;
}

static uint32_t ours(const struct umem *u)
{
	return FRAME_OWNER(FRAME_OWNED, u->slot);
}

/* ---- creating and mapping ---- */

static int map_both(struct umem *u, int populate)
{
	void *p = mmap(NULL, u->size, PROT_READ | PROT_WRITE, MAP_SHARED | populate, u->fd, 0);
	void *c;
	int r;

	if (p == MAP_FAILED)
		return -errno;
	c = mmap(NULL, ctl_len(u->n_frames), PROT_READ | PROT_WRITE, MAP_SHARED, u->ctl_fd, 0);
	if (c == MAP_FAILED) {
		r = -errno;
		munmap(p, u->size);
		return r;
	}
	u->base = p;
	u->ctl = c;
	return 0;
}

static void unmap_both(struct umem *u)
{
	munmap(u->base, u->size);
	munmap(u->ctl, ctl_len(u->n_frames));
}

int umem_create(struct umem *u, uint32_t n_frames)
{
	int r;

	if (!n_frames || n_frames > MAX_FRAMES)
		return -EINVAL;
	*u = (struct umem){.n_frames = n_frames,
			   .size = (uint64_t)n_frames * UMEM_FRAME_SIZE,
			   .slot = TD_SLOT_DAEMON};
	u->fd = r = memfd_sealed("tandem-umem", u->size, F_SEAL_SEAL);
	if (r < 0)
		return r;
	u->ctl_fd = r = memfd_sealed("tandem-umem-ctl", ctl_len(n_frames), F_SEAL_SEAL);
	if (r < 0)
		goto err_fd;
	r = map_both(u, 0);
	if (r < 0)
		goto err_ctl_fd;
	r = shlock_join(&u->id, u->ctl_fd, u->slot, 0);
	if (r < 0)
		goto err_map;
	u->ctl->magic = CTL_BLOCK_MAGIC;
	u->ctl->version = CTL_BLOCK_VERSION;
	u->ctl->n_frames = n_frames;
	u->ctl->next_nonce = 1;
	u->ctl->top = n_frames;
	for (uint32_t i = 0; i < n_frames; i++)
		pool_of(u)[i] = n_frames - 1 - i;
	return 0;
err_map:
	unmap_both(u);
err_ctl_fd:
	close(u->ctl_fd);
err_fd:
	close(u->fd);
	return r;
}

int umem_attach(struct umem *u, int fd, int ctl_fd, uint32_t n_frames, uint16_t slot)
{
	int r;

	if (!n_frames || n_frames > MAX_FRAMES)
		return -EINVAL;
	*u = (struct umem){.n_frames = n_frames,
			   .size = (uint64_t)n_frames * UMEM_FRAME_SIZE,
			   .fd = fd,
			   .ctl_fd = ctl_fd,
			   .slot = slot};
	r = memfd_check(fd, u->size);
	if (!r)
		r = memfd_check(ctl_fd, ctl_len(n_frames));
	if (!r)
		r = map_both(u, MAP_POPULATE);
	if (r < 0)
		return r;
	r = -EPROTO;
	if (u->ctl->magic != CTL_BLOCK_MAGIC || u->ctl->version != CTL_BLOCK_VERSION ||
	    u->ctl->n_frames != n_frames)
		goto err_map;
	r = shlock_join(&u->id, ctl_fd, slot,
			__atomic_fetch_add(&u->ctl->next_nonce, 1, __ATOMIC_RELAXED));
	if (r < 0)
		goto err_map;
	return 0;
err_map:
	unmap_both(u);
	return r;
}

void umem_close(struct umem *u)
{
	shlock_leave(&u->id);
	unmap_both(u);
	close(u->fd);
	close(u->ctl_fd);
	*u = (struct umem){.fd = -1, .ctl_fd = -1, .id.fd = -1};
}

void umem_set_queues(struct umem *u, struct umem_queue *uqs, uint32_t n)
{
	u->uqs = uqs;
	u->n_uqs = n;
}

/* ---- owners ---- */

void umem_own(struct umem *u, uint32_t frame)
{
	set_owner(u, frame, ours(u));
}

uint32_t umem_owner(const struct umem *u, uint32_t frame)
{
	return READ_ONCE(u->ctl->owner[frame]) & ~(0xffu * FRAME_AGE_ONE);
}

void umem_give(struct umem *u, uint32_t frame, enum frame_state st, uint16_t slot)
{
	set_owner(u, frame, FRAME_OWNER(st, slot));
}

/* ---- the pool; all of this under the lock ---- */

static void pool_rebuild(struct umem *u)
{
	uint32_t *pool = pool_of(u), top = 0;

	for (uint32_t f = 0; f < u->n_frames; f++)
		if (owner_is(u, f, FRAME_POOL))
			pool[top++] = f;
	store_release(&u->ctl->top, top);
}

static uint32_t pool_top(struct umem *u)
{
	uint32_t top = READ_ONCE(u->ctl->top);

	if (top <= u->n_frames)
		return top;
	u->ctl->bad++;
	pool_rebuild(u);
	return READ_ONCE(u->ctl->top) <= u->n_frames ? READ_ONCE(u->ctl->top) : 0;
}

/* Killed between the two steps, the frames are in state FRAME_POOL and pool_rebuild() finds them.
 */
static void pool_pop(struct umem *u, struct frame_cache *c, uint32_t n)
{
	uint32_t *pool = pool_of(u), top = pool_top(u);

	if (n > FRAME_CACHE_MAX - c->n)
		n = FRAME_CACHE_MAX - c->n;
	if (n > top)
		n = top;
	top -= n;
	store_release(&u->ctl->top, top);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t f = READ_ONCE(pool[top + i]);

		if (f >= u->n_frames || !owner_is(u, f, FRAME_POOL)) {
			u->ctl->bad++;
			continue;
		}
		umem_own(u, f);
		c->frame[c->n++] = f;
	}
}

/* @f is in state FRAME_POOL after this; the caller adds what it returns to top. */
static uint32_t pool_put(struct umem *u, uint32_t top, uint32_t f)
{
	if (top >= u->n_frames) {
		u->ctl->bad++;
		return 0;
	}
	WRITE_ONCE(pool_of(u)[top], f);
	set_owner(u, f, FRAME_POOL);
	return 1;
}

static void pool_push(struct umem *u, struct frame_cache *c, uint32_t n)
{
	uint32_t top = pool_top(u);

	while (n-- && c->n) {
		uint32_t f = c->frame[--c->n];

		/* Not ours any more: taken away as that of a dead process, or scribbled over. */
		if (umem_owner(u, f) != ours(u)) {
			u->ctl->bad++;
			continue;
		}
		top += pool_put(u, top, f);
	}
	store_release(&u->ctl->top, top);
}

/* ---- the lock, and repairing what its dead holder left ---- */

static bool frame_at(const struct umem *u, uint64_t addr, uint32_t *frame)
{
	if (addr >= u->size)
		return false;
	*frame = umem_frame_of(addr);
	return true;
}

static void finish_fill(struct umem *u, struct umem_queue *q, const struct intent *it)
{
	uint64_t *ring = q->fill.ring;

	if (it->n > q->fill.size || load_acquire(q->fill.producer) != it->pos)
		return; /* published: all was done before that */
	for (uint32_t i = 0; i < it->n; i++) {
		uint64_t *e = &ring[(it->pos + i) & q->fill.mask];
		uint32_t f, o;

		if (!frame_at(u, READ_ONCE(*e), &f)) {
			*e = NO_ADDR;
			continue;
		}
		o = umem_owner(u, f);
		if (o == FRAME_OWNER(FRAME_OWNED, it->slot) || FRAME_STATE(o) == FRAME_FILL)
			set_owner(u, f, FRAME_FILL);
		else
			*e = NO_ADDR;
	}
	store_release(q->fill.producer, it->pos + it->n);
}

/* The frames go to the pool: they left the kernel, and the dead have no use for them. */
static void finish_comp(struct umem *u, struct umem_queue *q, const struct intent *it)
{
	const uint64_t *ring = q->comp.ring;

	if (it->n > q->comp.size || load_acquire(q->comp.consumer) != it->pos)
		return;
	for (uint32_t i = 0; i < it->n; i++) {
		uint32_t f, o;

		if (!frame_at(u, READ_ONCE(ring[(it->pos + i) & q->comp.mask]), &f))
			continue;
		o = umem_owner(u, f);
		if (FRAME_STATE(o) == FRAME_TX || o == FRAME_OWNER(FRAME_OWNED, it->slot))
			set_owner(u, f, FRAME_POOL);
	}
	store_release(q->comp.consumer, it->pos + it->n);
}

static void intent_set(struct umem *u, enum intent_op op, uint32_t queue, uint32_t pos, uint32_t n)
{
	struct intent *it = &u->ctl->intent;

	WRITE_ONCE(it->queue, queue);
	WRITE_ONCE(it->pos, pos);
	WRITE_ONCE(it->n, n);
	WRITE_ONCE(it->slot, u->slot);
	store_release(&it->op, (uint32_t)op);
}

static void intent_clear(struct umem *u)
{
	store_release(&u->ctl->intent.op, INTENT_NONE);
}

/* Each step can be done again, should we be killed here, too. False: we cannot do it. */
static bool repair(struct umem *u)
{
	const struct intent it = READ_ONCE(u->ctl->intent);

	if (it.op == INTENT_FILL || it.op == INTENT_COMP) {
		if (!u->n_uqs)
			return false;
		if (it.queue < u->n_uqs && it.op == INTENT_FILL)
			finish_fill(u, &u->uqs[it.queue], &it);
		else if (it.queue < u->n_uqs)
			finish_comp(u, &u->uqs[it.queue], &it);
	}
	intent_clear(u);
	pool_rebuild(u);
	u->ctl->recoveries++;
	return true;
}

static bool lock(struct umem *u)
{
	uint32_t dead = 0;
	int r = shlock_lock(&u->ctl->lock, &u->id, u->lock_slow ? LOCK_WAIT_SLOW_NS : LOCK_WAIT_NS,
			    &dead);

	u->lock_slow = r < 0;
	if (r <= 0)
		return r == 0;
	if (repair(u))
		return true;
	shlock_undo(&u->ctl->lock, dead);
	return false;
}

static void unlock(struct umem *u)
{
	shlock_unlock(&u->ctl->lock, &u->id);
}

/* ---- the fill and completion rings ---- */

static uint32_t fill_level(const struct umem_queue *q)
{
	return READ_ONCE(*q->fill.producer) - load_acquire(q->fill.consumer);
}

static uint32_t comp_avail(const struct umem_queue *q)
{
	uint32_t n = load_acquire(q->comp.producer) - READ_ONCE(*q->comp.consumer);

	return n > q->comp.size ? 0 : n; /* scribbled over: nothing sensible can be read */
}

static void reap(struct umem *u, struct umem_queue *q, struct frame_cache *c)
{
	uint32_t n = comp_avail(q), pos = READ_ONCE(*q->comp.consumer);
	const uint64_t *ring = q->comp.ring;

	if (n > FRAME_CACHE_MAX - c->n)
		n = FRAME_CACHE_MAX - c->n;
	if (!n)
		return;
	intent_set(u, INTENT_COMP, q->index, pos, n);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t f;

		if (!frame_at(u, READ_ONCE(ring[(pos + i) & q->comp.mask]), &f) ||
		    !owner_is(u, f, FRAME_TX)) {
			u->ctl->comp_ignored++;
			continue;
		}
		umem_own(u, f);
		c->frame[c->n++] = f;
	}
	store_release(q->comp.consumer, pos + n);
	intent_clear(u);
}

static void fill(struct umem *u, struct umem_queue *q, struct frame_cache *c, uint32_t n)
{
	uint32_t pos = READ_ONCE(*q->fill.producer);
	uint64_t *ring = q->fill.ring;

	if (!n)
		return;
	c->n -= n;
	for (uint32_t i = 0; i < n; i++)
		ring[(pos + i) & q->fill.mask] = (uint64_t)c->frame[c->n + i] * UMEM_FRAME_SIZE;
	intent_set(u, INTENT_FILL, q->index, pos, n);
	for (uint32_t i = 0; i < n; i++)
		set_owner(u, c->frame[c->n + i], FRAME_FILL);
	store_release(q->fill.producer, pos + n);
	intent_clear(u);
}

/* Receiving takes from the cache what sending does not need, then from the pool. */
static void top_up(struct umem *u, struct umem_queue *q, struct frame_cache *c,
		   uint32_t fill_target, uint32_t low)
{
	uint32_t have = fill_level(q), want, spare;

	if (fill_target > q->fill.size)
		fill_target = q->fill.size;
	if (have >= fill_target)
		return;
	want = fill_target - have;
	if (c->n < want + low)
		pool_pop(u, c, want + low - c->n);
	spare = c->n > low ? c->n - low : 0;
	if (!spare && !have)
		spare = c->n / 2; /* nothing left anywhere: rather send less than be deaf */
	fill(u, q, c, want < spare ? want : spare);
}

uint32_t umem_balance(struct umem *u, struct umem_queue *q, struct frame_cache *c,
		      uint32_t fill_target, uint32_t low, uint32_t high)
{
	uint32_t mid = low + (high - low) / 2;

	if (!lock(u))
		return c->n;
	if (c->n > high)
		pool_push(u, c, c->n - mid);
	reap(u, q, c);
	top_up(u, q, c, fill_target, low);
	if (c->n < low)
		pool_pop(u, c, mid - c->n);
	else if (c->n > high)
		pool_push(u, c, c->n - mid);
	unlock(u);
	return c->n;
}

/* Rings are let run down by a quarter, so that the lock is not taken for every packet. */
bool umem_needs_balance(const struct umem *u, const struct umem_queue *q,
			const struct frame_cache *c, uint32_t fill_target, uint32_t low,
			uint32_t high)
{
	uint32_t done = comp_avail(q);

	if (fill_target > q->fill.size)
		fill_target = q->fill.size;
	if (c->n > high || done > q->comp.size / 4)
		return true;
	if (c->n < low && (done || READ_ONCE(u->ctl->top)))
		return true;
	return fill_level(q) < fill_target - fill_target / 4 &&
	       (c->n > low || done || READ_ONCE(u->ctl->top));
}

void umem_flush_cache(struct umem *u, struct frame_cache *c)
{
	if (!c->n || !lock(u))
		return;
	pool_push(u, c, c->n);
	unlock(u);
}

/* ---- after a death, and looking at it ---- */

uint32_t umem_reclaim(struct umem *u, uint16_t slot, const uint32_t *rx_left, uint32_t n_rx_left,
		      bool force)
{
	uint32_t top, left = 0;

	if (!lock(u)) {
		left = umem_count_slot(u, slot);
		return left ? left : 1;
	}
	top = pool_top(u);
	for (uint32_t i = 0; i < n_rx_left; i++)
		if (rx_left[i] < u->n_frames && owner_is(u, rx_left[i], FRAME_FILL))
			top += pool_put(u, top, rx_left[i]);
	for (uint32_t f = 0; f < u->n_frames; f++) {
		uint32_t o = umem_owner(u, f);

		if (FRAME_SLOT(o) != slot || FRAME_STATE(o) == FRAME_POOL ||
		    FRAME_STATE(o) == FRAME_FILL)
			continue;
		if (FRAME_STATE(o) == FRAME_TX && !force)
			left++;
		else
			top += pool_put(u, top, f);
	}
	store_release(&u->ctl->top, top);
	unlock(u);
	return left;
}

/* ---- looking for lost frames ---- */

uint32_t umem_age(struct umem *u, uint32_t frame, uint32_t *owner)
{
	uint32_t o = READ_ONCE(u->ctl->owner[frame]), age = FRAME_AGE(o);

	*owner = o - age * FRAME_AGE_ONE;
	/* Not where somebody has written it meanwhile. */
	if (age < 255)
		__atomic_compare_exchange_n(&u->ctl->owner[frame], &o, o + FRAME_AGE_ONE, false,
					    __ATOMIC_RELAXED, __ATOMIC_RELAXED);
	return age;
}

bool umem_reclaim_lost(struct umem *u, uint32_t frame)
{
	uint32_t o = READ_ONCE(u->ctl->owner[frame]);
	struct frame_cache c;

	if (!FRAME_AGE(o) || !__atomic_compare_exchange_n(&u->ctl->owner[frame], &o, ours(u), false,
							  __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return false;
	c.n = 1;
	c.frame[0] = frame;
	umem_flush_cache(u, &c);
	if (c.n) /* the lock is held: later */
		set_owner(u, frame, o);
	return !c.n;
}

void umem_spare(const struct umem *u, struct frame_set *s)
{
	for (uint32_t i = 0; i < u->n_uqs; i++) {
		const struct umem_queue *q = &u->uqs[i];
		uint32_t n = comp_avail(q), from = READ_ONCE(*q->comp.consumer);

		for (uint32_t k = 0; k < n; k++)
			frame_set_del(
				s,
				READ_ONCE(((uint64_t *)q->comp.ring)[(from + k) & q->comp.mask]));
		n = fill_level(q);
		from = READ_ONCE(*q->fill.producer) - n;
		for (uint32_t k = 0; n <= q->fill.size && k < n; k++)
			frame_set_del(
				s,
				READ_ONCE(((uint64_t *)q->fill.ring)[(from + k) & q->fill.mask]));
	}
}

bool umem_check_pool(struct umem *u)
{
	uint32_t n = 0, top;

	if (!lock(u))
		return false;
	for (uint32_t f = 0; f < u->n_frames; f++)
		n += owner_is(u, f, FRAME_POOL);
	top = pool_top(u);
	if (n != top) {
		u->ctl->bad++;
		pool_rebuild(u);
	}
	unlock(u);
	return n != top;
}

uint32_t umem_pool_level(const struct umem *u)
{
	return READ_ONCE(u->ctl->top);
}

void umem_usage(const struct umem *u, struct umem_usage *out)
{
	*out = (struct umem_usage){.comp_ignored = READ_ONCE(u->ctl->comp_ignored),
				   .recoveries = READ_ONCE(u->ctl->recoveries)};
	for (uint32_t f = 0; f < u->n_frames; f++) {
		uint32_t o = umem_owner(u, f);

		switch (FRAME_STATE(o)) {
		case FRAME_POOL:
			out->pool++;
			break;
		case FRAME_FILL:
			out->fill++;
			break;
		case FRAME_TX:
			out->tx++;
			break;
		case FRAME_OWNED:
			out->owned++;
			out->owned_by_daemon += FRAME_SLOT(o) == TD_SLOT_DAEMON;
			break;
		case FRAME_INJECTED:
			out->injected++;
			break;
		default:
			out->bad++;
		}
	}
}

uint32_t umem_count_slot(const struct umem *u, uint16_t slot)
{
	uint32_t n = 0;

	for (uint32_t f = 0; f < u->n_frames; f++) {
		uint32_t o = umem_owner(u, f);

		n += FRAME_SLOT(o) == slot && FRAME_STATE(o) != FRAME_POOL &&
		     FRAME_STATE(o) != FRAME_FILL;
	}
	return n;
}
