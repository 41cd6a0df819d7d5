/* SPDX-License-Identifier: BSD-2-Clause */
/* Monotonic time, a type of its own so that units cannot mix. The core never reads a clock. */
#ifndef TANDEM_CORE_MTIME_H
#define TANDEM_CORE_MTIME_H

#include <stdint.h>
#include <stdbool.h>

struct mtime {
	uint64_t ns; /* CLOCK_MONOTONIC, or virtual in tests */
};

#define MTIME_NEVER ((struct mtime){UINT64_MAX})
#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_S 1000000000ull

static inline struct mtime mtime_add_ns(struct mtime t, uint64_t ns)
{
	uint64_t r = t.ns + ns;

	return (struct mtime){r < t.ns ? UINT64_MAX : r};
}

static inline struct mtime mtime_add_us(struct mtime t, uint64_t us)
{
	return mtime_add_ns(t, us * NS_PER_US);
}

static inline struct mtime mtime_add_ms(struct mtime t, uint64_t ms)
{
	return mtime_add_ns(t, ms * NS_PER_MS);
}

/* a - b, 0 where b is later. */
static inline uint64_t mtime_diff_ns(struct mtime a, struct mtime b)
{
	return a.ns > b.ns ? a.ns - b.ns : 0;
}

static inline uint64_t mtime_diff_us(struct mtime a, struct mtime b)
{
	return mtime_diff_ns(a, b) / NS_PER_US;
}

static inline bool mtime_before(struct mtime a, struct mtime b)
{
	return a.ns < b.ns;
}

static inline bool mtime_is_never(struct mtime t)
{
	return t.ns == UINT64_MAX;
}

static inline struct mtime mtime_min(struct mtime a, struct mtime b)
{
	return a.ns < b.ns ? a : b;
}

#endif
