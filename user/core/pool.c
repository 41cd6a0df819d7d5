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
#include "tcp.h"

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
	generation = (t->generation ? t->generation : s->tcb_gen) + 1;
	memset(t, 0, sizeof(*t));
	t->generation = generation ? generation : 1;
	t->owner = TCB_MINE;
	t->neigh = SHM_NIL;
	t->timer = (struct wheel_node){SHM_NIL, SHM_NIL, SHM_NIL};
	t->tx_head = SHM_NIL;
	t->rx_head = t->ooo_head = SHM_NIL;
	return i;
}

static struct tcb_work *work_at(const struct stack *s, uint32_t i)
{
	return (struct tcb_work *)(void *)(s->a.tcbs + s->a.n_tcbs) + i;
}

static void work_free(struct stack *s, struct tcb *t)
{
	if (t->work)
		free_list_put(&s->work_free, (uint32_t)(tcb_work(t) - work_at(s, 0)));
	t->work = 0;
}

struct tcb_work *tcb_work_make(struct stack *s, struct tcb *t)
{
	struct tcb_work *w;
	uint32_t i = free_list_get(&s->work_free);

	tcp_assert(i != SHM_NIL); /* there are as many as TCBs */
	w = work_at(s, i);
	*w = (struct tcb_work){.tx_tail = SHM_NIL,
			       .tx_cur = SHM_NIL,
			       .seg_head = SHM_NIL,
			       .out_next = SHM_NIL,
			       .ooo_cur = SHM_NIL,
			       .ev_next = SHM_NIL};
	t->work = (int32_t)((uint64_t *)(void *)w - (uint64_t *)(void *)t);
	return w;
}

/* What the next ACKs may say of data that has been acknowledged. */
#define WORK_FOR_AN_RTO (TCB_F_TLP | TCB_F_UNDO)

/* Is something under way that needs it? */
static bool work_in_use(const struct tcb *t)
{
	const struct tcb_work *w = tcb_work(t);

	return t->snd_una != t->snd_max || t->tx_bytes || w->seg_head != SHM_NIL ||
	       t->ooo_head != SHM_NIL ||
	       (t->opt & TCB_OPT_SACK && w->dsack_start != w->dsack_end) || w->max_pacing ||
	       t->flags & (TCB_F_WORK & ~WORK_FOR_AN_RTO);
}

struct mtime tcb_work_put(struct stack *s, struct tcb *t, struct mtime now)
{
	const struct cc_ops *cc;

	if (!t->work || work_in_use(t))
		return MTIME_NEVER;
	cc = cc_get(t->cc);
	if (!cc->rests)
		return MTIME_NEVER;
	/* RFC 5681 §4.1: what was measured counts for an RTO, while something may yet be sent. */
	if (t->state != TCP_CLOSED && (!cc->rests(t) || t->flags & WORK_FOR_AN_RTO) &&
	    t->last_snd && ms_ago(t->last_snd, now) * 1000ull <= t->rto)
		return mtime_add_us(ms_time(t->last_snd, now), t->rto + 2000);
	/* Pacing is of a rate that is none any more. */
	t->flags &= ~(WORK_FOR_AN_RTO | TCB_F_PACED);
	work_free(s, t);
	return MTIME_NEVER;
}

static struct tcb_rare *rare_at(const struct stack *s, uint32_t i)
{
	return (struct tcb_rare *)(void *)(work_at(s, 0) + s->a.n_tcbs) + i;
}

struct tcb_rare *tcb_rare(struct stack *s, struct tcb *t)
{
	struct tcb_rare *r = rare_at(s, tcb_index(s, t));

	if (!(t->opt & TCB_OPT_RARE))
		memset(r, 0, sizeof(*r));
	t->opt |= TCB_OPT_RARE;
	return r;
}

const struct tcb_rare *tcb_rare_had(const struct stack *s, const struct tcb *t)
{
	return t->opt & TCB_OPT_RARE ? rare_at(s, tcb_index(s, t)) : NULL;
}

void tcb_peek(const struct arena_view *from, uint32_t conn, struct tcb_copy *c)
{
	const uint64_t works = (uint64_t)from->n_tcbs * sizeof(struct tcb);
	const uint64_t end = works + (uint64_t)from->n_tcbs * sizeof(struct tcb_work);
	const struct tcb_rare *rare =
		(const void *)((const uint8_t *)from->tcbs + end); /* of the first one */
	uint64_t at;

	memset(c, 0, sizeof(*c));
	memcpy(&c->t, &from->tcbs[conn], sizeof(c->t));
	__asm__ volatile("" ::: "memory"); /* it is not read a second time */
	at = (uint64_t)conn * sizeof(struct tcb) + (uint64_t)((int64_t)c->t.work * 8);
	if (c->t.work && at >= works && at <= end - sizeof(c->w)) {
		memcpy(&c->w, (const uint8_t *)from->tcbs + at, sizeof(c->w));
		c->t.work = (int32_t)(sizeof(c->t) / 8);
	} else {
		c->t.work = 0;
	}
	if (c->t.opt & TCB_OPT_RARE)
		memcpy(&c->r, rare + conn, sizeof(c->r));
}

void tcb_release(struct stack *s, uint32_t idx)
{
	struct tcb *t = tcb_at(s, idx);

	tcp_assert(t->owner != TCB_FREE && t->timer.slot == SHM_NIL && !t->n_chunks);
	work_free(s, t);
	t->owner = TCB_FREE;
	t->state = TCP_CLOSED;
	t->flags = 0;
	free_list_put(&s->tcb_free, idx);
}

void chunk_free_list(struct stack *s, uint32_t head)
{
	while (head != SHM_NIL) {
		uint32_t next = s->a.chunk_hdrs[head].next;

		chunk_free(s, head);
		head = next;
	}
}

/* Chunks that may be free and keep their pages, whatever happens. */
#define CHUNKS_WARM 64u

bool stack_trimmable(const struct stack *s)
{
	return s->chunk_free.n_free - s->n_cold > CHUNKS_WARM;
}

/* The list is used from its head, so that what is cold stays at its end. */
uint32_t stack_trim(struct stack *s, uint32_t *v, uint32_t max)
{
	struct free_list *f = &s->chunk_free;
	uint32_t used = free_list_in_use(f), warm = f->n_free - s->n_cold;
	uint32_t keep = f->peak - used + CHUNKS_WARM, n = 0, i = f->head;

	if (warm > keep)
		n = warm - keep < max ? warm - keep : max;
	for (uint32_t skip = n ? warm - n : 0; skip; skip--)
		i = f->next[i];
	for (uint32_t k = 0; k < n; k++, i = f->next[i])
		v[k] = i;
	s->n_cold += n;
	if (n < max)
		f->peak = used;
	return n;
}

/* ---- the ends of lists ---- */

/* Free TCBs, and records of work, that keep their memory, besides as many as are in use. */
#define LIST_WARM 256u
#define LIST_PIECE 16384u /* how much of a list's end is looked at in one call */

/* Is more free than in use? And is that news, since the end could not be cut off the last time? */
static bool list_shrinkable(const struct free_list *f)
{
	uint32_t news = f->n_free > f->tried ? f->n_free - f->tried : f->tried - f->n_free;

	return f->n_free > free_list_in_use(f) + LIST_WARM && news > LIST_WARM;
}

/* Where the items begin that are free up to the end; not below @floor. */
static uint32_t list_free_end(const struct free_list *f, uint32_t floor)
{
	uint64_t map[LIST_PIECE / 64] = {0};
	uint32_t mark = f->used, i = f->head;

	for (uint32_t n = f->n_free; n; n--, i = f->next[i])
		if (i >= floor)
			map[(i - floor) / 64] |= 1ull << (i - floor) % 64;
	while (mark > floor && map[(mark - 1 - floor) / 64] >> (mark - 1 - floor) % 64 & 1)
		mark--;
	return mark;
}

/* Takes free items off the end: they are as if never used. Returns how many. */
static uint32_t list_shrink(struct free_list *f)
{
	uint32_t floor = f->peak + LIST_WARM, mark, n, *p = &f->head;

	f->peak = free_list_in_use(f);
	if (floor >= f->used)
		return 0; /* they were needed lately */
	if (f->used - floor > LIST_PIECE)
		floor = f->used - LIST_PIECE;
	mark = list_free_end(f, floor);
	f->tried = mark == f->used ? f->n_free : 0;
	for (n = f->n_free; n && mark < f->used; n--) {
		if (*p >= mark)
			*p = f->next[*p];
		else
			p = &f->next[*p];
	}
	n = f->used - mark;
	f->n_free -= n;
	f->used = mark;
	return n;
}

bool stack_shrinkable(const struct stack *s)
{
	return list_shrinkable(&s->tcb_free) || list_shrinkable(&s->work_free);
}

uint32_t stack_shrink(struct stack *s, struct mem_range v[STACK_SHRINK_RANGES])
{
	uint32_t n, k = 0;

	if (list_shrinkable(&s->tcb_free) && (n = list_shrink(&s->tcb_free))) {
		struct tcb *t = tcb_at(s, s->tcb_free.used);

		/* Whoever is behind the times may still name one of these. */
		for (uint32_t i = 0; i < n; i++)
			if (t[i].generation > s->tcb_gen)
				s->tcb_gen = t[i].generation;
		v[k++] = (struct mem_range){t, n * sizeof(*t)};
	}
	if (list_shrinkable(&s->work_free) && (n = list_shrink(&s->work_free)))
		v[k++] = (struct mem_range){work_at(s, s->work_free.used),
					    n * sizeof(struct tcb_work)};
	return k;
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
	uint32_t pending = pkt_list_len(s->txq_head), tcbs = 0, works = 0, estab = 0,
		 chunks = s->reasm_chunks;
	int rc;

	if ((rc = free_list_check(&s->tcb_free, why, len, "pool: bad TCB free list")) ||
	    (rc = free_list_check(&s->work_free, why, len, "pool: bad free list of work")) ||
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
		works += s->a.tcbs[i].work != 0;
		chunks += s->a.tcbs[i].n_chunks;
	}
	for (uint32_t i = 0; i < s->udp_free.used; i++)
		chunks += s->udps[i].rx.chunks + s->udps[i].errs.chunks;
	if (s->a.mib[MIB_Tcp_CurrEstab] != estab)
		return check_fail(why, len, "pool: established connections, other than CurrEstab",
				  estab);
	if (tcbs != free_list_in_use(&s->tcb_free))
		return check_fail(why, len, "pool: TCBs in use, but not on the free list", tcbs);
	if (works != free_list_in_use(&s->work_free))
		return check_fail(why, len, "pool: records of work held, other than taken", works);
	if (s->n_cold > s->chunk_free.n_free ||
	    s->chunk_free.peak < free_list_in_use(&s->chunk_free))
		return check_fail(why, len, "pool: cold chunks that are in use", s->n_cold);
	if (chunks != free_list_in_use(&s->chunk_free))
		return check_fail(why, len, "pool: chunks held, other than taken", chunks);
	for (uint32_t i = 0; i < s->neigh_free.used; i++)
		pending += pkt_list_len(s->neigh_priv[i].q_head);
	if (pending != s->n_pending)
		return check_fail(why, len, "pool: packets held, other than counted", pending);
	return 0;
}
