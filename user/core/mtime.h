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

/*
 * Stamps of 32 bits, for what there is one of for each connection: milliseconds of the clock, of
 * which 0 is left out, so that it can mean none.
 */
static inline uint32_t ms_stamp(struct mtime t)
{
	uint32_t ms = (uint32_t)(t.ns / NS_PER_MS);

	return ms ? ms : 1;
}

/* How long ago @stamp was, up to 49 days. */
static inline uint32_t ms_ago(uint32_t stamp, struct mtime now)
{
	return (uint32_t)(now.ns / NS_PER_MS) - stamp;
}

/*
 * When @stamp is or was, within 24 days of @now. A time before the clock began is its first
 * nanosecond: 0 would mean that none is set.
 */
static inline struct mtime ms_time(uint32_t stamp, struct mtime now)
{
	uint64_t ms = now.ns / NS_PER_MS;
	int64_t diff = (int32_t)(stamp - (uint32_t)ms);

	return (struct mtime){
		diff < 0 && ms <= (uint64_t)-diff ? 1 : (ms + (uint64_t)diff) * NS_PER_MS};
}

/* Microseconds: for what is over within an hour. */
static inline uint32_t us_stamp(struct mtime t)
{
	return (uint32_t)(t.ns / NS_PER_US);
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
