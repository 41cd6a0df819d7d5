/* SPDX-License-Identifier: BSD-2-Clause */
/* Giving back the pages of an arena that are not needed. */
#ifndef TANDEM_IO_TRIM_H
#define TANDEM_IO_TRIM_H

#include "arena.h"

struct trim {
	struct mtime next; /* when to look again */
};

/* Before a sleep, or now and then: a piece of work when it is due. Returns when it is due again. */
struct mtime trim_run(struct trim *t, const struct arena *a, struct stack *s, struct mtime now);

#endif
