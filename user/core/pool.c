// SPDX-License-Identifier: BSD-2-Clause
/*
 * Bounded memory: free lists of indices, the TCBs and buffer chunks of the arena.
 *
 * Whatever was never used is never touched, links included, so that it costs no memory: a list
 * gives out returned items first (the last returned is the warmest), then those above its
 * high-water mark. Zeroed memory is an empty free list.
 *
 * Invariant: below the mark an item is either on the list or in use.
 */
#include "internal.h"

uint32_t free_list_get(struct free_list *f)
{
	uint32_t i;

	if (f->n_free) {
		i = f->head;
		f->head = f->next[i];
		f->n_free--;
		return i;
	}
	return f->used < f->size ? f->used++ : SHM_NIL;
}

void free_list_put(struct free_list *f, uint32_t i)
{
	f->next[i] = f->head;
	f->head = i;
	f->n_free++;
}

uint32_t tcb_alloc(struct stack *s)
{
	uint32_t i, generation;
	struct tcb *t;

	/* Every TCB and record may end with a report: room for these is kept (stack_report()). */
	if (stack_reports_pending(s) >= s->freed_size / 2)
		return SHM_NIL;
	i = free_list_get(&s->tcb_free);
	if (i == SHM_NIL)
		return SHM_NIL;
	t = tcb_at(s, i);
	generation = t->generation + 1;
	memset(t, 0, sizeof(*t));
	t->generation = generation ? generation : 1;
	t->owner = TCB_MINE;
	t->neigh = SHM_NIL;
	t->timer = (struct wheel_node){SHM_NIL, SHM_NIL, SHM_NIL};
	t->out_next = t->ev_next = SHM_NIL;
	t->tx_head = t->tx_tail = t->tx_cur = SHM_NIL;
	t->rx_head = t->rx_tail = t->ooo_head = SHM_NIL;
	t->seg_head = SHM_NIL;
	return i;
}

void tcb_release(struct stack *s, uint32_t idx)
{
	struct tcb *t = tcb_at(s, idx);

	tcp_assert(t->owner != TCB_FREE && t->timer.slot == SHM_NIL && !t->n_chunks);
	t->owner = TCB_FREE;
	t->state = TCP_CLOSED;
	t->flags = 0;
	free_list_put(&s->tcb_free, idx);
}

uint32_t chunk_alloc(struct stack *s)
{
	uint32_t i = free_list_get(&s->chunk_free);

	if (i == SHM_NIL)
		return i;
	s->a.chunk_hdrs[i] = (struct chunk_hdr){.next = SHM_NIL};
	tcp_mem_changed(s);
	return i;
}

void chunk_free(struct stack *s, uint32_t idx)
{
	free_list_put(&s->chunk_free, idx);
	tcp_mem_changed(s);
}

void chunk_free_list(struct stack *s, uint32_t head)
{
	while (head != SHM_NIL) {
		uint32_t next = s->a.chunk_hdrs[head].next;

		chunk_free(s, head);
		head = next;
	}
}

static int free_list_check(const struct free_list *f, char *why, size_t len, const char *text)
{
	uint32_t i = f->head;

	if (f->used > f->size || f->n_free > f->used)
		return check_fail(why, len, text, f->used);
	for (uint32_t n = 0; n < f->n_free; n++, i = f->next[i])
		if (i >= f->used)
			return check_fail(why, len, text, i);
	return 0;
}

static uint32_t pkt_list_len(const struct pkt *p)
{
	uint32_t n = 0;

	for (; p; p = p->next)
		n++;
	return n;
}

int pool_check(const struct stack *s, char *why, size_t len)
{
	uint32_t pending = pkt_list_len(s->txq_head), tcbs = 0, estab = 0, chunks = s->reasm_chunks;
	int rc;

	if ((rc = free_list_check(&s->tcb_free, why, len, "pool: bad TCB free list")) ||
	    (rc = free_list_check(&s->chunk_free, why, len, "pool: bad chunk free list")) ||
	    (rc = free_list_check(&s->synreq_free, why, len, "pool: bad SYN request free list")) ||
	    (rc = free_list_check(&s->tw_free, why, len, "pool: bad TIME_WAIT free list")) ||
	    (rc = free_list_check(&s->listener_free, why, len, "pool: bad listener free list")) ||
	    (rc = free_list_check(&s->neigh_free, why, len, "pool: bad neighbour free list")) ||
	    (rc = free_list_check(&s->udp_free, why, len, "pool: bad UDP socket free list")))
		return rc;
	for (uint32_t i = 0; i < s->tcb_free.used; i++) {
		if (s->a.tcbs[i].owner == TCB_FREE)
			continue;
		tcbs++;
		estab += s->a.tcbs[i].owner == TCB_MINE && (s->a.tcbs[i].state == TCP_ESTABLISHED ||
							    s->a.tcbs[i].state == TCP_CLOSE_WAIT);
		chunks += s->a.tcbs[i].n_chunks;
	}
	for (uint32_t i = 0; i < s->udp_free.used; i++)
		chunks += s->udps[i].rx_chunks;
	if (s->a.mib[MIB_Tcp_CurrEstab] != estab)
		return check_fail(why, len, "pool: established connections, other than CurrEstab",
				  estab);
	if (tcbs != free_list_in_use(&s->tcb_free))
		return check_fail(why, len, "pool: TCBs in use, but not on the free list", tcbs);
	if (chunks != free_list_in_use(&s->chunk_free))
		return check_fail(why, len, "pool: chunks held, other than taken", chunks);
	for (uint32_t i = 0; i < s->neigh_free.used; i++)
		pending += pkt_list_len(s->neigh_priv[i].q_head);
	if (pending != s->n_pending)
		return check_fail(why, len, "pool: packets held, other than counted", pending);
	return 0;
}
