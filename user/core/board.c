/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The scoreboard's runs (board.h): they follow each other without a gap from snd_una to snd_max.
 * Room grows by chunks and is bounded. Where it is short, runs of one fate are merged, which takes
 * the later time of sending for both, and further SACK blocks are ignored, which is always allowed
 * (RFC 2018 §5): both make recovery slower, not wrong.
 */
#include "board.h"

struct board *board_open(struct stack *s, struct tcb *t, struct mtime now)
{
	struct board *b;
	uint32_t c;

	if (tcp_memory_low(s))
		return NULL;
	c = chunk_alloc(s);
	if (c == SHM_NIL)
		return NULL;
	t->n_chunks++;
	tcb_work_get(s, t)->seg_head = c;
	b = (struct board *)(void *)chunk_data(s, c);
	memset(b, 0, sizeof(*b));
	b->end = t->snd_max;
	b->fack = b->lost_from = t->snd_una;
	b->min_rtt = t->srtt ? t->srtt : TCP_RTO_INIT_US;
	b->rate = SHM_NIL;
	if (t->flags & TCB_F_UNDO)
		undo_kept(t, b);
	if (t->snd_max != t->snd_una) {
		b->n = 1;
		b->r[0] = (struct seg_run){.xmit = now.ns, .seq = t->snd_una, .flags = SEG_AGAIN};
		b->again = t->snd_max - t->snd_una;
	}
	return b;
}

static void drop_last(struct stack *s, struct tcb *t, struct board *b)
{
	chunk_free(s, b->more[--b->n_more]);
	t->n_chunks--;
}

void board_close(struct stack *s, struct tcb *t)
{
	struct board *b = tcp_board(s, t);
	struct tcb_work *w;

	if (!b)
		return;
	if (b->rate != SHM_NIL)
		rate_close(s, t, b);
	while (b->n_more)
		drop_last(s, t, b);
	w = tcb_work(t);
	chunk_free(s, w->seg_head);
	w->seg_head = SHM_NIL;
	t->n_chunks--;
}

/* ---- marks ---- */

/* @len bytes of @flags are there, or with 0 - @len, no more. */
static void tally(struct board *b, uint32_t flags, uint32_t len)
{
	if (flags & SEG_SACKED)
		b->sacked += len;
	else if (flags & SEG_LOST)
		b->lost += len;
	else if (flags & SEG_AGAIN)
		b->again += len;
}

static void mark(struct board *b, struct seg_run *r, uint32_t len, uint32_t flags)
{
	tally(b, r->flags, 0 - len);
	tally(b, flags, len);
	r->flags = flags;
}

/* ---- room ---- */

static uint32_t room(const struct board *b)
{
	return BOARD_RUNS + b->n_more * MORE_RUNS;
}

/* A chunk more, if there may be one. */
static bool grow(struct stack *s, struct tcb *t, struct board *b)
{
	uint32_t c;

	if (b->n_more == BOARD_MORE || tcp_memory_low(s))
		return false;
	c = chunk_alloc(s);
	if (c == SHM_NIL)
		return false;
	t->n_chunks++;
	b->more[b->n_more++] = c;
	return true;
}

/* Where run @i is in its chunk, and how many the chunk has. */
static uint32_t place(uint32_t i, uint32_t *of)
{
	*of = i < BOARD_RUNS ? BOARD_RUNS : MORE_RUNS;
	return i < BOARD_RUNS ? i : (i - BOARD_RUNS) % MORE_RUNS;
}

/* How many runs from @i on, up to @n, lie together; backwards: that end with @i. */
static uint32_t together(uint32_t i, uint32_t n, bool backwards)
{
	uint32_t of, at = place(i, &of);

	return tcp_min(n, backwards ? at + 1 : of - at);
}

/* Moves @n runs; they may overlap. */
static void move(const struct stack *s, struct board *b, uint32_t to, uint32_t from, uint32_t n)
{
	bool up = to > from;

	while (n) {
		uint32_t last = up ? n - 1 : 0;
		uint32_t k = together(from + last, together(to + last, n, up), up);
		uint32_t skip = up ? n - k : 0;

		memmove(board_run(s, b, to + skip), board_run(s, b, from + skip),
			k * sizeof(b->r[0]));
		if (!up)
			to += k, from += k;
		n -= k;
	}
}

static void to_front(const struct stack *s, struct board *b)
{
	move(s, b, 0, b->first, b->n);
	b->first = 0;
}

/* Gives back what will hardly be needed any more. */
static void shrink(struct stack *s, struct tcb *t, struct board *b)
{
	while (b->n_more && b->n < (room(b) - MORE_RUNS) / 2) {
		to_front(s, b);
		drop_last(s, t, b);
	}
}

/*
 * Merges neighbours of one fate among the runs [i, end) that were sent within @ns; those that have
 * arrived always, as their time says nothing.
 */
static void compact(const struct stack *s, struct board *b, uint32_t i, uint32_t end, uint64_t ns)
{
	struct seg_run *p = board_run(s, b, i);
	uint64_t from = p->xmit; /* when the first of those merged was sent */
	uint32_t to = i + 1;

	for (i++; i < end; i++) {
		struct seg_run *r = board_run(s, b, i);
		uint64_t apart = r->xmit > from ? r->xmit - from : from - r->xmit;
		bool same = !((p->flags ^ r->flags) & ~SEG_MERGED) ||
			    (p->flags & r->flags & SEG_SACKED);

		if (same && (apart <= ns || p->flags & SEG_SACKED)) {
			p->flags |= r->flags | (p->xmit != r->xmit ? SEG_MERGED : 0);
			p->xmit = p->xmit > r->xmit ? p->xmit : r->xmit;
		} else {
			p = board_run(s, b, to++);
			*p = *r;
			from = r->xmit;
		}
	}
	if (to < end) {
		move(s, b, to, end, b->first + b->n - end);
		b->n -= end - to;
	}
}

/* ... and with their neighbours those from @i to the one before @end. */
static void compact_near(const struct stack *s, struct board *b, uint32_t i, uint32_t end)
{
	compact(s, b, i > b->first ? i - 1 : i, tcp_min(end + 1, b->first + b->n), 0);
}

/* Gives up as little of what is known about times as makes an eighth of the room free. */
static void squeeze(const struct stack *s, struct board *b)
{
	uint64_t lo = UINT64_MAX, hi = 0, ns;

	for (uint32_t i = b->first; i < b->first + b->n; i++) {
		uint64_t xmit = board_run(s, b, i)->xmit;

		lo = xmit < lo ? xmit : lo;
		hi = xmit > hi ? xmit : hi;
	}
	for (ns = (hi - lo) / 512; b->n > room(b) / 8 * 7 && ns <= hi - lo; ns = 2 * ns + 1)
		compact(s, b, b->first, b->first + b->n, ns);
}

/* Makes room for one more run behind the last. */
static bool make_room(const struct stack *s, struct board *b)
{
	if (b->first + b->n < room(b))
		return true;
	if (!b->first)
		return false;
	to_front(s, b);
	return true;
}

/* The run that holds @seq, which is outstanding. */
static uint32_t find(const struct stack *s, struct board *b, uint32_t seq)
{
	uint32_t i = b->first, n = b->n;

	while (n > 1) {
		uint32_t half = n / 2;

		if (seq_le(board_run(s, b, i + half)->seq, seq)) {
			i += half;
			n -= half;
		} else {
			n = half;
		}
	}
	return i;
}

/*
 * Makes a run begin at @seq, which lies within the scoreboard. False: no room. Runs may have moved.
 * @spare: room to leave, as what is sent again needs some most.
 */
static bool split(const struct stack *s, struct board *b, uint32_t seq, uint32_t spare)
{
	uint32_t i;

	if (b->n + spare >= room(b) || !make_room(s, b))
		return false;
	i = find(s, b, seq);
	move(s, b, i + 2, i + 1, b->first + b->n - i - 1);
	*board_run(s, b, i + 1) = *board_run(s, b, i);
	board_run(s, b, i + 1)->seq = seq;
	b->n++;
	return true;
}

static bool is_start(const struct stack *s, struct board *b, uint32_t seq)
{
	return seq == b->end || board_run(s, b, find(s, b, seq))->seq == seq;
}

/* Makes runs begin at @seq and @end; where they cannot, says so. */
static bool cut(struct stack *s, struct tcb *t, struct board *b, uint32_t seq, uint32_t end,
		uint32_t spare)
{
	bool starts = is_start(s, b, seq), ends = is_start(s, b, end);

	if (starts && ends)
		return true;
	if (b->n + spare + 2 > room(b) && !grow(s, t, b)) {
		squeeze(s, b);
		starts = is_start(s, b, seq);
		ends = is_start(s, b, end);
	}
	return (starts || split(s, b, seq, spare)) && (ends || split(s, b, end, spare));
}

/* ---- sending ---- */

#define SPARE 8u

/* No room for a run: the last one grows, and counts as sent just now whatever was known of it. */
static void sent_full(struct board *b, struct seg_run *last, uint32_t end, struct mtime now)
{
	mark(b, last, b->end - last->seq, SEG_AGAIN);
	tally(b, SEG_AGAIN, end - b->end);
	last->xmit = now.ns;
	b->end = end;
}

static struct seg_run *last_run(const struct stack *s, struct board *b)
{
	return board_run(s, b, b->first + b->n - 1);
}

static void sent_new(struct stack *s, struct tcb *t, struct board *b, uint32_t seq, uint32_t end,
		     struct mtime now)
{
	struct seg_run *last = b->n ? last_run(s, b) : NULL;

	if (last && !last->flags && last->xmit == now.ns) {
		b->end = end;
		return;
	}
	if (b->n + SPARE >= room(b) && !grow(s, t, b)) {
		squeeze(s, b);
		if (b->n + SPARE >= room(b)) {
			sent_full(b, last_run(s, b), end, now);
			return;
		}
	}
	make_room(s, b);
	b->end = end;
	b->n++;
	*last_run(s, b) = (struct seg_run){.xmit = now.ns, .seq = seq};
}

void board_sent(struct stack *s, struct tcb *t, struct board *b, uint32_t seq, uint32_t end,
		struct mtime now)
{
	uint32_t from, i;

	if (seq == b->end) {
		sent_new(s, t, b, seq, end, now);
		return;
	}
	cut(s, t, b, seq, end, 0); /* without room all of the run counts as sent again */
	from = find(s, b, seq);
	for (i = from; i < b->first + b->n; i++) {
		struct seg_run *r = board_run(s, b, i);

		if (seq_ge(r->seq, end))
			break;
		if (r->flags & SEG_SACKED)
			continue;
		mark(b, r, board_run_end(s, b, i) - r->seq, SEG_AGAIN);
		r->xmit = now.ns;
	}
	if (seq_le(seq, b->lost_from))
		b->lost_from = seq_max(b->lost_from, end);
	compact_near(s, b, from, i);
}

/* ---- acknowledgements ---- */

/* @len bytes of @r, up to @end, have arrived. */
static void arrived(struct board_ack *a, const struct seg_run *r, uint32_t len, uint32_t end)
{
	a->delivered += len;
	if (r->xmit >= a->sent_last) {
		a->sent_last = r->xmit;
		a->sent_unsure = r->flags & (SEG_AGAIN | SEG_MERGED);
	}
	if (!(r->flags & (SEG_AGAIN | SEG_MERGED)) &&
	    (!a->newest_rtt || seq_gt(end, a->newest_end))) {
		uint64_t us = mtime_diff_us(a->now, (struct mtime){r->xmit});

		a->newest_end = end;
		a->newest_rtt = us ? tcp_min((uint32_t)us, TCP_RTO_MAX_US) : 1;
	}
	a->original |= !(r->flags & SEG_AGAIN) && seq_le(end, a->t->recover);
	rack_heard(a, r, end);
}

static void ack_cumulative(struct board_ack *a)
{
	struct board *b = a->b;
	uint32_t una = a->t->snd_una;

	while (b->n) {
		struct seg_run *r = board_run(a->s, b, b->first);
		uint32_t stop = board_run_end(a->s, b, b->first);
		uint32_t end = seq_min(stop, una), len = end - r->seq;

		if (!seq_lt(r->seq, una))
			break;
		tally(b, r->flags, 0 - len);
		if (!(r->flags & SEG_SACKED))
			arrived(a, r, len, end);
		r->seq = end;
		if (end == stop) {
			b->first++;
			b->n--;
		}
	}
	b->fack = seq_max(b->fack, una);
	b->lost_from = seq_max(b->lost_from, una);
}

static void ack_block(struct board_ack *a, uint32_t start, uint32_t end)
{
	struct board *b = a->b;
	uint32_t from, i;

	if (!cut(a->s, a->t, b, start, end, SPARE)) {
		MIB(a->s, TcpExt_TCPSACKDiscard);
		return;
	}
	from = find(a->s, b, start);
	for (i = from; i < b->first + b->n; i++) {
		struct seg_run *r = board_run(a->s, b, i);
		uint32_t len = board_run_end(a->s, b, i) - r->seq;

		if (seq_ge(r->seq, end))
			break;
		if (r->flags & SEG_SACKED)
			continue;
		arrived(a, r, len, r->seq + len);
		a->sacked = true;
		mark(b, r, len, (r->flags & ~SEG_LOST) | SEG_SACKED);
	}
	compact_near(a->s, b, from, i);
}

/* The blocks by sequence number: the order of arrival within one ACK is not known. */
static uint32_t sort_blocks(const struct tcp_seg *g, struct tcp_sack_block *v)
{
	for (uint32_t n = 0; n < g->o.n_sack; n++) {
		uint32_t i = n;

		for (; i && seq_lt(g->o.sack[n].start, v[i - 1].start); i--)
			v[i] = v[i - 1];
		v[i] = g->o.sack[n];
	}
	return g->o.n_sack;
}

void board_ack(struct board_ack *a)
{
	uint32_t una = a->t->snd_una, n;
	struct tcp_sack_block v[4];

	ack_cumulative(a);
	n = sort_blocks(a->g, v);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t start = v[i].start, end = v[i].end;

		if (!seq_lt(start, end) || seq_le(end, una))
			continue; /* a duplicate's report, or old */
		if (seq_lt(start, una) || seq_gt(end, a->t->snd_max))
			MIB(a->s, TcpExt_TCPSACKDiscard);
		else if (a->b->n)
			ack_block(a, start, end);
	}
	if (a->b->n_more)
		shrink(a->s, a->t, a->b);
}

/* ---- losses ---- */

static void mark_run(const struct stack *s, struct board *b, uint32_t i, uint32_t flags)
{
	struct seg_run *r = board_run(s, b, i);

	mark(b, r, board_run_end(s, b, i) - r->seq, flags);
}

void board_lose(const struct stack *s, struct board *b, uint32_t i)
{
	const struct seg_run *r = board_run(s, b, i);

	b->lost_from = b->lost ? seq_min(b->lost_from, r->seq) : r->seq;
	mark_run(s, b, i, r->flags | SEG_LOST);
}

void board_all_lost(const struct stack *s, struct board *b)
{
	for (uint32_t i = b->first; i < b->first + b->n; i++)
		if (!(board_run(s, b, i)->flags & (SEG_SACKED | SEG_LOST)))
			board_lose(s, b, i);
}

void board_none_lost(const struct stack *s, struct board *b)
{
	b->live_xmit = 0;
	for (uint32_t i = b->first; i < b->first + b->n; i++)
		mark_run(s, b, i, board_run(s, b, i)->flags & ~SEG_LOST);
}

void board_forget_sacks(const struct stack *s, struct board *b)
{
	b->live_xmit = 0;
	for (uint32_t i = b->first; i < b->first + b->n; i++)
		mark_run(s, b, i, board_run(s, b, i)->flags & ~SEG_SACKED);
}

uint32_t board_first_lost(const struct stack *s, struct board *b)
{
	if (b->lost)
		for (uint32_t i = find(s, b, b->lost_from); i < b->first + b->n; i++) {
			const struct seg_run *r = board_run(s, b, i);

			if (r->flags & SEG_LOST) {
				b->lost_from = r->seq;
				return i;
			}
		}
	return BOARD_MAX;
}

/* ---- invariants ---- */

static bool room_sane(const struct board *b)
{
	return b->n && b->n_more <= BOARD_MORE && b->first < room(b) && b->n <= room(b) - b->first;
}

bool board_sane(const struct stack *s, const struct tcb *t, struct board *b)
{
	uint32_t sacked = 0, lost = 0, again = 0;

	if (!room_sane(b) || board_run(s, b, b->first)->seq != t->snd_una || b->end != t->snd_max ||
	    t->snd_nxt != t->snd_max)
		return false;
	for (uint32_t i = b->first; i < b->first + b->n; i++) {
		const struct seg_run *r = board_run(s, b, i);
		uint32_t len = board_run_end(s, b, i) - r->seq, flags = r->flags;

		if (!len || len > t->snd_max - t->snd_una ||
		    (flags & SEG_SACKED && flags & SEG_LOST) ||
		    (flags & SEG_LOST && seq_lt(r->seq, b->lost_from)) ||
		    (!(flags & (SEG_SACKED | SEG_LOST)) && r->xmit < b->live_xmit))
			return false;
		sacked += flags & SEG_SACKED ? len : 0;
		lost += flags & SEG_LOST ? len : 0;
		again += (flags & (SEG_SACKED | SEG_LOST | SEG_AGAIN)) == SEG_AGAIN ? len : 0;
	}
	return sacked == b->sacked && lost == b->lost && again == b->again;
}
