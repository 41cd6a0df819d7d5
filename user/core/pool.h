/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory: free lists over the arena, never touched before first use (pool.c), and its limits
 * (tcp_mem.c).
 */
#ifndef TANDEM_CORE_POOL_H
#define TANDEM_CORE_POOL_H

#include "stack.h"

uint32_t tcb_alloc(struct stack *s); /* zeroed, generation set, owner TCB_MINE, links SHM_NIL */
void tcb_release(struct stack *s, uint32_t idx); /* its chunks must be gone, out of all lists */
/* To write to; and to read, NULL: all of it is 0. */
struct tcb_rare *tcb_rare(struct stack *s, struct tcb *t);
const struct tcb_rare *tcb_rare_had(const struct stack *s, const struct tcb *t);
struct tcb_work *tcb_work_make(struct stack *s, struct tcb *t);
/* Ends it where nothing is under way; where it may end later without more to come: when. */
struct mtime tcb_work_put(struct stack *s, struct tcb *t, struct mtime now);
void chunk_free_list(struct stack *s, uint32_t head);
/* tcp_mem.c: limits from the configuration and the pool's size; the pool's use has changed */
void tcp_mem_init(struct stack *s);
void tcp_mem_changed(struct stack *s);
/* tcp_mem[2] is reached: new work is refused. */
bool tcp_mem_high(const struct stack *s);

struct free_list {
	uint32_t head; /* linked through the items' own index arrays */
	uint32_t used; /* high-water mark: items from here on were never touched */
	uint32_t n_free;
	uint32_t peak;	/* most in use since somebody looked (stack_trim(), stack_shrink()) */
	uint32_t tried; /* .n_free when its end could not be cut off */
	uint32_t *next; /* [size], private memory, lazily touched */
	uint32_t size;
};
static inline uint32_t free_list_in_use(const struct free_list *f)
{
	return f->used - f->n_free;
}

static inline uint32_t free_list_get(struct free_list *f)
{
	uint32_t i;

	if (f->n_free) {
		i = f->head;
		f->head = f->next[i];
		f->n_free--;
	} else if (f->used < f->size) {
		i = f->used++;
	} else {
		return SHM_NIL;
	}
	if (free_list_in_use(f) > f->peak)
		f->peak = free_list_in_use(f);
	return i;
}

static inline void free_list_put(struct free_list *f, uint32_t i)
{
	f->next[i] = f->head;
	f->head = i;
	f->n_free++;
}

#endif
