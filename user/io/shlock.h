/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A lock in memory that several processes can write, for holders that can be killed at any
 * instruction and for waiters that trust nobody. Not a robust pthread mutex: glibc keeps
 * list pointers in such a mutex and writes through them, so who can write the mutex can
 * write anywhere in the other process.
 *
 * The lock is one word that names its holder. Whether a holder lives is the kernel's word:
 * each process keeps a file lock on byte @slot of the shared memfd, which goes with its last
 * descriptor. Uncontended, locking is one compare-and-swap.
 */
#ifndef TANDEM_IO_SHLOCK_H
#define TANDEM_IO_SHLOCK_H

#include <stdbool.h>
#include <stdint.h>

/* Shared. Zero: free. */
struct shlock {
	uint32_t word;
};

/* Private: who we are. */
struct shlock_id {
	uint32_t me;
	int fd;	    /* holds the file lock; never passed on */
	bool blind; /* may not ask the kernel whether a holder lives: others do */
};

/*
 * @fd: the memfd; @slot: below TD_MAX_SLOTS; @nonce: differs from that of any earlier holder of
 * the slot. -EBUSY: a living process has that slot.
 */
int shlock_join(struct shlock_id *id, int fd, uint16_t slot, uint32_t nonce);
void shlock_leave(struct shlock_id *id);

/*
 * 0: locked. 1: locked, and *@dead (its word) died holding it: repair what it guards, or give
 * the lock back by shlock_undo(). -ETIMEDOUT: a living process holds it.
 */
int shlock_lock(struct shlock *l, const struct shlock_id *id, uint64_t timeout_ns, uint32_t *dead);
void shlock_unlock(struct shlock *l, const struct shlock_id *id);
void shlock_undo(struct shlock *l, uint32_t dead);

#endif
