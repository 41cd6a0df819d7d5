// SPDX-License-Identifier: BSD-2-Clause
/*
 * arena.h: the layout of an arena, and its memory. Offsets are made here from the counts
 * and taken from nobody; a layout that came over the control socket must be the one that its own
 * counts give.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include "common/flow.h"
#include "user/core/neigh_entry.h"
#include "user/core/synreq_entry.h"
#include "user/core/timewait_entry.h"
#include "arena.h"
#include "memfd.h"
#include "rofile.h"

/* Bounds that keep every sum far below 2^64, and every index below SHM_NIL. */
#define MAX_TCBS (1u << 26)
#define MAX_CHUNKS (1u << 28)
#define MAX_NEIGHS (1u << 24)
#define MAX_TWS (1u << 26)
#define MAX_SYNREQS (1u << 24)
#define PAGE 4096u

static uint64_t place(uint64_t *end, uint64_t len)
{
	uint64_t at = *end;

	*end = (at + len + PAGE - 1) & ~(uint64_t)(PAGE - 1);
	return at;
}

void arena_layout_make(struct arena_layout *l, uint32_t n_tcbs, uint32_t n_chunks,
		       uint32_t n_neighs, uint32_t n_tws, uint32_t n_synreqs)
{
	uint64_t end = 0;

	memset(l, 0, sizeof(*l));
	l->n_tcbs = n_tcbs;
	l->n_chunks = n_chunks;
	l->n_neighs = n_neighs;
	l->n_tws = n_tws;
	l->n_synreqs = n_synreqs;
	l->tcb_size = sizeof(struct tcb);
	place(&end, sizeof(struct arena_hdr));
	l->to_daemon = place(&end, sizeof(struct shm_msg_ring));
	l->to_app = place(&end, sizeof(struct shm_msg_ring));
	l->pkts_to_daemon = place(&end, sizeof(struct shm_pkt_ring));
	l->pkts_to_app = place(&end, sizeof(struct shm_pkt_ring));
	l->listeners = place(&end, sizeof(struct shm_listener) * SHM_MAX_LISTENERS);
	l->mib = place(&end, sizeof(uint64_t) * MIB_MAX);
	l->neighs = place(&end, sizeof(struct neigh) * (uint64_t)n_neighs);
	l->tcbs = place(&end, TCB_ROOM * (uint64_t)n_tcbs);
	l->chunk_hdrs = place(&end, sizeof(struct chunk_hdr) * (uint64_t)n_chunks);
	l->chunks = place(&end, (uint64_t)CHUNK_SIZE * n_chunks);
	l->tws = place(&end, sizeof(struct timewait) * (uint64_t)n_tws);
	l->synreqs = place(&end, sizeof(struct synreq) * (uint64_t)n_synreqs);
	l->size = end;
}

bool arena_layout_ok(const struct arena_layout *l)
{
	struct arena_layout want;

	if (l->n_tcbs > MAX_TCBS || l->n_chunks > MAX_CHUNKS || l->n_neighs > MAX_NEIGHS ||
	    l->n_tws > MAX_TWS || l->n_synreqs > MAX_SYNREQS)
		return false;
	arena_layout_make(&want, l->n_tcbs, l->n_chunks, l->n_neighs, l->n_tws, l->n_synreqs);
	return memcmp(l, &want, sizeof(want)) == 0;
}

static int map(struct arena *a, bool writable)
{
	void *p = mmap(NULL, a->lay.size, PROT_READ | (writable ? PROT_WRITE : 0),
		       MAP_SHARED | MAP_NORESERVE, a->fd, 0);

	if (p == MAP_FAILED)
		return -errno;
	a->base = p;
	return 0;
}

static int map_own(struct arena *a)
{
	int r = map(a, true);

	if (!r)
		return 0;
	close(a->fd);
	if (a->ro_fd >= 0)
		close(a->ro_fd);
	return r;
}

/* Both sides write. */
static int memory_to_share(struct arena *a)
{
	a->fd = memfd_sealed("tandem-arena", a->lay.size, F_SEAL_SEAL);
	return a->fd < 0 ? a->fd : map_own(a);
}

static int memory_to_show(struct arena *a)
{
	a->fd = rofile_create("tandem-arena", a->lay.size, &a->ro_fd);
	return a->fd < 0 ? a->fd : map_own(a);
}

/*
 * The same for who may not mount: a seal keeps the others from opening the descriptor again for
 * writing, and us from making holes.
 */
static int memory_to_show_sealed(struct arena *a)
{
	char path[64];
	int r;

	a->keeps_pages = true;
	a->fd = memfd_sealed("tandem-arena", a->lay.size, 0);
	if (a->fd < 0)
		return a->fd;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", a->fd);
	a->ro_fd = open(path, O_RDONLY | O_CLOEXEC);
	if (a->ro_fd < 0) {
		r = -errno;
		close(a->fd);
		return r;
	}
	r = map_own(a);
	if (r || !fcntl(a->fd, F_ADD_SEALS, F_SEAL_FUTURE_WRITE | F_SEAL_SEAL))
		return r;
	r = -errno;
	arena_close(a);
	return r;
}

int arena_create(struct arena *a, const struct arena_layout *l, uint32_t slot)
{
	struct arena_hdr *h;
	int r;

	if (!arena_layout_ok(l))
		return -EINVAL;
	*a = (struct arena){.lay = *l, .ro_fd = -1};
	if (slot != TD_SLOT_DAEMON)
		r = memory_to_share(a);
	else if (memory_to_show(a))
		r = memory_to_show_sealed(a);
	else
		r = 0;
	if (r)
		return r;
	h = (struct arena_hdr *)a->base;
	h->magic = ARENA_MAGIC;
	h->version = ARENA_VERSION;
	h->slot = slot;
	return 0;
}

int arena_attach(struct arena *a, int fd, const struct arena_layout *l, bool writable)
{
	const struct arena_hdr *h;
	int r;

	if (!arena_layout_ok(l))
		return -EINVAL;
	*a = (struct arena){.lay = *l, .fd = fd, .ro_fd = -1};
	/* What is shown only is the daemon's, which is trusted not to shrink it. */
	r = writable ? memfd_check(fd, l->size) : memfd_check_size(fd, l->size);
	if (!r)
		r = map(a, writable);
	if (r < 0)
		return r;
	h = (const struct arena_hdr *)a->base;
	if (READ_ONCE(h->magic) != ARENA_MAGIC || READ_ONCE(h->version) != ARENA_VERSION) {
		munmap(a->base, l->size);
		return -EPROTO;
	}
	return 0;
}

void arena_close(struct arena *a)
{
	munmap(a->base, a->lay.size);
	close(a->fd);
	if (a->ro_fd >= 0)
		close(a->ro_fd);
	*a = (struct arena){.fd = -1, .ro_fd = -1};
}

static void *at(const struct arena *a, uint64_t off)
{
	return a->base + off;
}

struct arena_view arena_view(const struct arena *a)
{
	struct arena_hdr *h = (struct arena_hdr *)a->base;

	return (struct arena_view){.tcbs = at(a, a->lay.tcbs),
				   .n_tcbs = a->lay.n_tcbs,
				   .chunk_hdrs = at(a, a->lay.chunk_hdrs),
				   .chunks = at(a, a->lay.chunks),
				   .n_chunks = a->lay.n_chunks,
				   .neighs = at(a, a->lay.neighs),
				   .n_neighs = a->lay.n_neighs,
				   .mib = at(a, a->lay.mib),
				   .tws = a->lay.n_tws ? at(a, a->lay.tws) : NULL,
				   .n_tws = a->lay.n_tws,
				   .tws_used = a->lay.n_tws ? &h->n_tws_used : NULL,
				   .synreqs = a->lay.n_synreqs ? at(a, a->lay.synreqs) : NULL,
				   .n_synreqs = a->lay.n_synreqs,
				   .synreqs_used = a->lay.n_synreqs ? &h->n_synreqs_used : NULL};
}

struct shm_msg_ring *arena_ring_to_daemon(const struct arena *a)
{
	return at(a, a->lay.to_daemon);
}

struct shm_msg_ring *arena_ring_to_app(const struct arena *a)
{
	return at(a, a->lay.to_app);
}

struct shm_pkt_ring *arena_pkts_to_daemon(const struct arena *a)
{
	return at(a, a->lay.pkts_to_daemon);
}

struct shm_pkt_ring *arena_pkts_to_app(const struct arena *a)
{
	return at(a, a->lay.pkts_to_app);
}

struct shm_listener *arena_listeners(const struct arena *a)
{
	return at(a, a->lay.listeners);
}
