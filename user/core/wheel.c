// SPDX-License-Identifier: BSD-2-Clause
/*
 * The timer wheel: six levels of 64 slots, one tick 2^17 ns, O(1) to arm and to delete.
 *
 * Each level's slot is as long as the whole level below. A timer stands at the level of the
 * highest 6-bit digit in which its tick differs from the current one, so that it is taken out
 * once for each level on its way down; the top level is circular. When the current tick enters
 * a slot of an upper level, that slot's timers move down. What stands in the level 0 slot of the
 * current tick has expired.
 *
 * A node's .slot holds the slot in its low 9 bits and the low 22 bits of the expiry on top. That
 * says when exactly for what is less than 9 minutes ahead; beyond, the expiry is rounded up to 256
 * ticks (34 ms) and stands there in such units (bit 9 says so). More than 100 days are cut to that.
 *
 * Invariants: a bit in .bitmap is set exactly when the slot's list is not empty; no timer stands
 * before the current tick; .n timers are in all lists together.
 */
#include "internal.h"

#define SLOT_MASK 0x1ffu
#define FAR_BIT 0x200u
#define EXPIRY_SHIFT 10u
#define EXPIRY_MASK ((1u << (32 - EXPIRY_SHIFT)) - 1)
#define FAR_UNIT_SHIFT 8u
#define TOP (WHEEL_LEVELS - 1u)
#define TOP_SHIFT (TOP * WHEEL_BITS)
#define DIGIT(tick, level) ((uint32_t)((tick) >> ((level) * WHEEL_BITS)) & (WHEEL_SLOTS - 1))
/* So far ahead that the top level's own digit cannot come round to the current one. */
#define MAX_AHEAD (62ull << TOP_SHIFT)

_Static_assert(WHEEL_LEVELS * WHEEL_SLOTS < SLOT_MASK, "a packed slot is never SHM_NIL");
_Static_assert(TOP_SHIFT <= 32 - EXPIRY_SHIFT + FAR_UNIT_SHIFT, "enough to come down from the top");

void wheel_init(struct wheel *w, struct mtime now)
{
	memset(w, 0, sizeof(*w));
	w->tick = now.ns >> WHEEL_SHIFT;
	for (uint32_t i = 0; i < WHEEL_LEVELS * WHEEL_SLOTS; i++)
		w->slot[i] = SHM_NIL;
}

struct wheel_node *wheel_node(struct stack *s, uint32_t id)
{
	uint32_t i = TIMER_IDX(id);

	switch (TIMER_KIND(id)) {
	case TK_CONN:
		return &s->a.tcbs[i].timer;
	case TK_NEIGH:
		return &s->neigh_priv[i].timer;
	case TK_SYNREQ:
		return &s->synreqs[i].timer;
	case TK_TIMEWAIT:
		return &s->tws[i].timer;
	case TK_REASM:
		return reasm_wheel_node(s, i);
	case TK_MAX:
		break;
	}
	__builtin_unreachable();
}

static uint32_t level_of(uint64_t tick, uint64_t expiry)
{
	uint64_t diff = tick ^ expiry;
	uint32_t level = diff ? (63u - (uint32_t)__builtin_clzll(diff)) / WHEEL_BITS : 0;

	return level < TOP ? level : TOP;
}

static void insert(struct stack *s, uint32_t id, uint64_t expiry)
{
	struct wheel *w = &s->wheel;
	struct wheel_node *n = wheel_node(s, id);
	bool far = expiry - w->tick > EXPIRY_MASK;
	uint32_t unit = far ? FAR_UNIT_SHIFT : 0, level, slot;

	expiry = (expiry + (1u << unit) - 1) >> unit << unit;
	level = level_of(w->tick, expiry);
	slot = level * WHEEL_SLOTS + DIGIT(expiry, level);
	n->slot = slot | (far ? FAR_BIT : 0) | (uint32_t)(expiry >> unit) << EXPIRY_SHIFT;
	n->prev = SHM_NIL;
	n->next = w->slot[slot];
	if (n->next != SHM_NIL)
		wheel_node(s, n->next)->prev = id;
	w->slot[slot] = id;
	w->bitmap[level] |= 1ull << (slot % WHEEL_SLOTS);
	w->n++;
}

void wheel_del(struct stack *s, uint32_t id)
{
	struct wheel *w = &s->wheel;
	struct wheel_node *n = wheel_node(s, id);
	uint32_t slot = n->slot & SLOT_MASK;

	if (n->slot == SHM_NIL)
		return;
	if (n->next != SHM_NIL)
		wheel_node(s, n->next)->prev = n->prev;
	if (n->prev != SHM_NIL)
		wheel_node(s, n->prev)->next = n->next;
	else
		w->slot[slot] = n->next;
	if (w->slot[slot] == SHM_NIL)
		w->bitmap[slot / WHEEL_SLOTS] &= ~(1ull << (slot % WHEEL_SLOTS));
	n->next = n->prev = n->slot = SHM_NIL;
	w->n--;
}

void wheel_set(struct stack *s, uint32_t id, struct mtime when)
{
	struct wheel *w = &s->wheel;
	uint64_t expiry = (when.ns >> WHEEL_SHIFT) + !!(when.ns & ((1u << WHEEL_SHIFT) - 1));

	wheel_del(s, id);
	if (mtime_is_never(when))
		return;
	if (expiry <= w->tick)
		expiry = w->tick + 1;
	else if (expiry - w->tick > MAX_AHEAD)
		expiry = w->tick + MAX_AHEAD;
	insert(s, id, expiry);
}

/* The whole expiry: exact when the current tick has entered the timer's slot. */
static uint64_t expiry_of(const struct wheel *w, const struct wheel_node *n)
{
	uint32_t unit = n->slot & FAR_BIT ? FAR_UNIT_SHIFT : 0;
	uint64_t low = n->slot >> EXPIRY_SHIFT, tick = w->tick >> unit;

	return (tick + ((low - tick) & EXPIRY_MASK)) << unit;
}

/* The first tick at which a slot of @level (not the current one) begins, or UINT64_MAX. */
static uint64_t next_slot(const struct wheel *w, uint32_t level)
{
	uint32_t shift = level * WHEEL_BITS, cur = DIGIT(w->tick, level);
	uint64_t later = cur == WHEEL_SLOTS - 1 ? 0 : w->bitmap[level] & ~0ull << (cur + 1);
	uint64_t base = w->tick >> shift & ~(uint64_t)(WHEEL_SLOTS - 1);

	if (later)
		return (base + (uint32_t)__builtin_ctzll(later)) << shift;
	if (level == TOP && w->bitmap[TOP])
		return (base + WHEEL_SLOTS + (uint32_t)__builtin_ctzll(w->bitmap[TOP])) << shift;
	return UINT64_MAX;
}

/* Lower levels come first: what stands in one is before all that stands above. */
static uint64_t next_tick(const struct wheel *w)
{
	for (uint32_t level = 0; level < WHEEL_LEVELS; level++) {
		uint64_t t = next_slot(w, level);

		if (t != UINT64_MAX)
			return t;
	}
	return UINT64_MAX;
}

/* The current tick has entered new slots of the upper levels: their timers move down. */
static void cascade(struct stack *s)
{
	struct wheel *w = &s->wheel;

	for (uint32_t level = TOP; level > 0; level--) {
		uint32_t slot = level * WHEEL_SLOTS + DIGIT(w->tick, level);
		uint32_t id = w->slot[slot];

		if (w->tick & ((1ull << level * WHEEL_BITS) - 1))
			continue;
		w->slot[slot] = SHM_NIL;
		w->bitmap[level] &= ~(1ull << (slot % WHEEL_SLOTS));
		while (id != SHM_NIL) {
			struct wheel_node *n = wheel_node(s, id);
			uint32_t next = n->next;

			w->n--;
			insert(s, id, expiry_of(w, n));
			id = next;
		}
	}
}

bool wheel_expired(struct stack *s, struct mtime now, uint32_t *id)
{
	struct wheel *w = &s->wheel;
	uint64_t target = now.ns >> WHEEL_SHIFT;

	for (;;) {
		uint64_t t;

		*id = w->slot[DIGIT(w->tick, 0)];
		if (*id != SHM_NIL) {
			wheel_del(s, *id);
			return true;
		}
		t = next_tick(w);
		if (t > target) {
			if (target > w->tick)
				w->tick = target;
			return false;
		}
		w->tick = t;
		cascade(s);
	}
}

struct mtime wheel_next(const struct stack *s)
{
	const struct wheel *w = &s->wheel;
	uint64_t t = w->slot[DIGIT(w->tick, 0)] != SHM_NIL ? w->tick : next_tick(w);

	return t == UINT64_MAX ? MTIME_NEVER : (struct mtime){t << WHEEL_SHIFT};
}

int wheel_check(const struct stack *s, char *why, size_t len)
{
	const struct wheel *w = &s->wheel;
	struct stack *m = (struct stack *)(uintptr_t)s; /* wheel_node() changes nothing */
	uint32_t n = 0;

	for (uint32_t slot = 0; slot < WHEEL_LEVELS * WHEEL_SLOTS; slot++) {
		bool bit = w->bitmap[slot / WHEEL_SLOTS] >> (slot % WHEEL_SLOTS) & 1;
		uint32_t prev = SHM_NIL;

		if (bit != (w->slot[slot] != SHM_NIL))
			return check_fail(why, len, "wheel: bitmap is wrong for slot", slot);
		for (uint32_t id = w->slot[slot]; id != SHM_NIL; id = wheel_node(m, id)->next) {
			const struct wheel_node *node = wheel_node(m, id);

			if (++n > w->n)
				return check_fail(why, len, "wheel: more timers than counted", n);
			if ((node->slot & SLOT_MASK) != slot || node->prev != prev)
				return check_fail(why, len, "wheel: bad links of timer", id);
			prev = id;
		}
	}
	if (n != w->n)
		return check_fail(why, len, "wheel: fewer timers than counted", n);
	return 0;
}
