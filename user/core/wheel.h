/* SPDX-License-Identifier: BSD-2-Clause */
/* wheel.c: hierarchical timer wheel, O(1), one tick = 2^17 ns (131 µs). */
#ifndef TANDEM_CORE_WHEEL_H
#define TANDEM_CORE_WHEEL_H

#include "stack.h"

/* What a timer belongs to: kind in the top bits, index below. */
enum timer_kind { TK_CONN, TK_NEIGH, TK_SYNREQ, TK_TIMEWAIT, TK_REASM, TK_MAX };
#define TIMER_ID(kind, idx) ((uint32_t)(kind) << 29 | (idx))
#define TIMER_KIND(id) ((enum timer_kind)((id) >> 29))
#define TIMER_IDX(id) ((id) & 0x1fffffffu)

#define WHEEL_SHIFT 17
#define WHEEL_BITS 6
#define WHEEL_SLOTS (1u << WHEEL_BITS)
#define WHEEL_LEVELS 6

struct wheel {
	uint64_t tick; /* all timers up to here have been given out */
	uint64_t bitmap[WHEEL_LEVELS];
	uint32_t slot[WHEEL_LEVELS * WHEEL_SLOTS]; /* heads */
	uint32_t n;
};

void wheel_init(struct wheel *w, struct mtime now);
/* (Re)arms; not earlier than @when, up to a tick later. @when in the past: the next tick. */
void wheel_set(struct stack *s, uint32_t id, struct mtime when);
void wheel_del(struct stack *s, uint32_t id);
/* Takes one timer that has expired by @now out of the wheel. False: none left. */
bool wheel_expired(struct stack *s, struct mtime now, uint32_t *id);
/* No timer expires before this (it may be earlier than the first one's time). */
struct mtime wheel_next(const struct stack *s);
/* Where the links of @id stand; a switch over the kinds. */
struct wheel_node *wheel_node(struct stack *s, uint32_t id);

#endif
