/* SPDX-License-Identifier: BSD-2-Clause */
/* Creating, mapping and laying out arenas (common/shm.h). */
#ifndef TANDEM_IO_ARENA_H
#define TANDEM_IO_ARENA_H

#include "user/core/stack.h"

struct arena {
	int fd;
	int ro_fd;	  /* the daemon's: for applications, which can but read; else -1 */
	bool keeps_pages; /* they cannot be given back */
	uint8_t *base;
	struct arena_layout lay;
};

void arena_layout_make(struct arena_layout *l, uint32_t n_tcbs, uint32_t n_chunks,
		       uint32_t n_neighs, uint32_t n_tws, uint32_t n_synreqs);
/* Is this a layout that arena_layout_make() gives for its own counts, and built with our TCB? */
bool arena_layout_ok(const struct arena_layout *l);
/*
 * Sealed, sparse memory with a header. -errno. The daemon's own (@slot TD_SLOT_DAEMON) others can
 * read by .ro_fd, and never write.
 */
int arena_create(struct arena *a, const struct arena_layout *l, uint32_t slot);
/* Maps @fd (taken over on success); @writable false: read-only. Checks size, magic, version. */
int arena_attach(struct arena *a, int fd, const struct arena_layout *l, bool writable);
void arena_close(struct arena *a);

struct arena_view arena_view(const struct arena *a);
struct shm_msg_ring *arena_ring_to_daemon(const struct arena *a);
struct shm_msg_ring *arena_ring_to_app(const struct arena *a);
struct shm_pkt_ring *arena_pkts_to_daemon(const struct arena *a);
struct shm_pkt_ring *arena_pkts_to_app(const struct arena *a);
struct shm_listener *arena_listeners(const struct arena *a);

#endif
