/* SPDX-License-Identifier: BSD-2-Clause */
#ifndef TANDEM_IO_CLOCK_H
#define TANDEM_IO_CLOCK_H

#include <time.h>
#include "user/core/mtime.h"

/* CLOCK_MONOTONIC: read once per batch and passed on. */
static inline struct mtime clock_now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (struct mtime){(uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec};
}

#endif
