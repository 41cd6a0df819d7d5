// SPDX-License-Identifier: BSD-2-Clause
/*
 * shlock.h. The word: bit 31 somebody waits, bits 20-30 slot, bits 0-19 nonce (never 0).
 */
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>
#include <sys/syscall.h>
#include <linux/futex.h>
#include "common/flow.h"
#include "common/shm.h"
#include "clock.h"
#include "shlock.h"

#define WAITERS 0x80000000u
#define SLOT_SHIFT 20
#define NONCE_MASK 0xfffffu
#define SPINS 200		 /* the lock is held for about a microsecond */
#define SLICE_NS (2 * NS_PER_MS) /* between looks at whether the holder lives */

_Static_assert(TD_MAX_SLOTS <= 1u << (31 - SLOT_SHIFT), "slots fit the word");

static struct flock byte_of(uint32_t slot)
{
	return (struct flock){
		.l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = (off_t)slot, .l_len = 1};
}

int shlock_join(struct shlock_id *id, int fd, uint16_t slot, uint32_t nonce)
{
	struct flock fl = byte_of(slot);
	char path[32];
	int r;

	if (slot >= TD_MAX_SLOTS)
		return -EINVAL;
	/*
	 * The memfd travels by SCM_RIGHTS, its open file description with it; a description of our
	 * own is closed when we (and those that we forked) are gone.
	 */
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	id->fd = open(path, O_RDWR | O_CLOEXEC);
	if (id->fd >= 0) {
		r = fcntl(id->fd, F_OFD_SETLK, &fl);
	} else {
		/* No /proc: a lock of this process alone, forked children not included. */
		id->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
		r = fcntl(fd, F_SETLK, &fl);
	}
	if (id->fd < 0 || r < 0) {
		r = errno == EAGAIN || errno == EACCES ? -EBUSY : -errno;
		shlock_leave(id);
		return r;
	}
	id->me = (uint32_t)slot << SLOT_SHIFT | (nonce % NONCE_MASK + 1);
	return 0;
}

void shlock_leave(struct shlock_id *id)
{
	if (id->fd >= 0)
		close(id->fd);
	id->fd = -1;
}

/* An error counts as alive: better to wait than to break a lock that is held. */
static bool holder_is_dead(const struct shlock_id *id, uint32_t word)
{
	struct flock fl = byte_of((word & ~WAITERS) >> SLOT_SHIFT);

	if ((word & ~WAITERS) == id->me || id->blind)
		return false; /* a thread or forked child of ours */
	return fcntl(id->fd, F_OFD_GETLK, &fl) == 0 && fl.l_type == F_UNLCK;
}

static bool take(struct shlock *l, uint32_t from, uint32_t to)
{
	return __atomic_compare_exchange_n(&l->word, &from, to, false, __ATOMIC_ACQUIRE,
					   __ATOMIC_RELAXED);
}

static void futex_wait(struct shlock *l, uint32_t val, uint64_t ns)
{
	struct timespec ts = {.tv_nsec = (long)ns};

	syscall(SYS_futex, &l->word, FUTEX_WAIT, val, &ts, NULL, 0);
}

static int lock_slow(struct shlock *l, const struct shlock_id *id, uint64_t timeout_ns,
		     uint32_t *dead)
{
	struct mtime now = clock_now(), end = mtime_add_ns(now, timeout_ns);

	for (;;) {
		uint32_t w = READ_ONCE(l->word);

		/* Others may wait, too: keep the bit, so that unlocking wakes the next. */
		if (!w) {
			if (take(l, 0, id->me | WAITERS))
				return 0;
			continue;
		}
		if (holder_is_dead(id, w)) {
			if (!take(l, w, id->me | WAITERS))
				continue;
			*dead = w;
			return 1;
		}
		now = clock_now();
		if (!mtime_before(now, end))
			return -ETIMEDOUT;
		if (!(w & WAITERS) && !take(l, w, w | WAITERS))
			continue;
		futex_wait(l, w | WAITERS,
			   mtime_diff_ns(mtime_min(end, mtime_add_ns(now, SLICE_NS)), now));
	}
}

int shlock_lock(struct shlock *l, const struct shlock_id *id, uint64_t timeout_ns, uint32_t *dead)
{
	for (int i = 0; i < SPINS; i++) {
		if (!READ_ONCE(l->word) && take(l, 0, id->me))
			return 0;
#if defined(__x86_64__) || defined(__i386__)
		__builtin_ia32_pause();
#endif
	}
	return lock_slow(l, id, timeout_ns, dead);
}

void shlock_unlock(struct shlock *l, const struct shlock_id *id)
{
	uint32_t w = id->me;

	if (__atomic_compare_exchange_n(&l->word, &w, 0, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		return;
	/* Neither ours nor ours with a waiter: somebody wrote over it, and there is nothing to
	 * release. */
	if (w == (id->me | WAITERS) &&
	    __atomic_compare_exchange_n(&l->word, &w, 0, false, __ATOMIC_RELEASE, __ATOMIC_RELAXED))
		syscall(SYS_futex, &l->word, FUTEX_WAKE, 1, NULL, NULL, 0);
}

void shlock_undo(struct shlock *l, uint32_t dead)
{
	__atomic_store_n(&l->word, dead, __ATOMIC_RELEASE);
}
