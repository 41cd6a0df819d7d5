/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The scoreboard's runs (board.h): they follow each other without a gap from snd_una to snd_max.
 * Room is bounded. Where it is short, runs of one fate are merged, which takes the later
 * time of sending for both, and further SACK blocks are ignored, which is always allowed
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
	b->fack = t->snd_una;
	b->min_rtt = t->srtt ? t->srtt : TCP_RTO_INIT_US;
	b->rate = SHM_NIL;
	if (t->flags & TCB_F_UNDO)
		undo_kept(t, b);
	if (t->snd_max != t->snd_una) {
		b->n = 1;
		b->r[0] = (struct seg_run){.xmit = now.ns, .seq = t->snd_una, .flags = SEG_AGAIN};
	}
	return b;
}

void board_close(struct stack *s, struct tcb *t)
{
	struct board *b = tcp_board(s, t);
	struct tcb_work *w;

	if (!b)
		return;
	if (b->rate != SHM_NIL)
		rate_close(s, t, b);
	w = tcb_work(t);
	chunk_free(s, w->seg_head);
	w->seg_head = SHM_NIL;
	t->n_chunks--;
}

/* ---- room ---- */

/*
 * Merges neighbours of one fate that were sent within @ns; those that have arrived always, as their
 * time says nothing.
 */
static void compact(struct board *b, uint64_t ns)
{
	uint32_t to = b->first, last = b->first + b->n;
	uint64_t from = b->n ? b->r[to].xmit : 0; /* when the first of those merged was sent */

	for (uint32_t i = b->first + 1; i < last; i++) {
		struct seg_run *p = &b->r[to], *r = &b->r[i];
		uint64_t apart = r->xmit > from ? r->xmit - from : from - r->xmit;
		bool same = !((p->flags ^ r->flags) & ~SEG_MERGED) ||
			    (p->flags & r->flags & SEG_SACKED);

		if (same && (apart <= ns || p->flags & SEG_SACKED)) {
			p->flags |= r->flags | (p->xmit != r->xmit ? SEG_MERGED : 0);
			p->xmit = p->xmit > r->xmit ? p->xmit : r->xmit;
		} else {
			b->r[++to] = *r;
			from = r->xmit;
		}
	}
	if (b->n)
		b->n = to + 1 - b->first;
}

/* Gives up as little of what is known about times as makes an eighth of the room free. */
static void squeeze(struct board *b)
{
	uint64_t lo = UINT64_MAX, hi = 0, ns;

	for (uint32_t i = b->first; i < b->first + b->n; i++) {
		lo = b->r[i].xmit < lo ? b->r[i].xmit : lo;
		hi = b->r[i].xmit > hi ? b->r[i].xmit : hi;
	}
	for (ns = (hi - lo) / 512; b->n > BOARD_MAX / 8 * 7 && ns <= hi - lo; ns = 2 * ns + 1)
		compact(b, ns);
}

/* Makes room for one more run behind the last. */
static bool make_room(struct board *b)
{
	if (b->first + b->n < BOARD_MAX)
		return true;
	if (!b->first)
		return false;
	memmove(b->r, b->r + b->first, b->n * sizeof(b->r[0]));
	b->first = 0;
	return true;
}

/*
 * Makes a run begin at @seq, which lies within the scoreboard. False: no room. Runs may have moved.
 * @spare: room to leave, as what is sent again needs some most.
 */
static bool split(struct board *b, uint32_t seq, uint32_t spare)
{
	uint32_t i;

	if (b->n + spare >= BOARD_MAX || !make_room(b))
		return false;
	for (i = b->first; seq_le(board_run_end(b, i), seq); i++)
		;
	if (b->r[i].seq == seq)
		return true;
	memmove(&b->r[i + 2], &b->r[i + 1], (b->first + b->n - i - 1) * sizeof(b->r[0]));
	b->r[i + 1] = b->r[i];
	b->r[i + 1].seq = seq;
	b->n++;
	return true;
}

/* The run that holds @seq. */
static uint32_t find(const struct board *b, uint32_t seq)
{
	uint32_t i = b->first;

	while (seq_le(board_run_end(b, i), seq))
		i++;
	return i;
}

static bool is_start(const struct board *b, uint32_t seq)
{
	return seq == b->end || b->r[find(b, seq)].seq == seq;
}

/* Makes runs begin at @seq and @end; where they cannot, says so. */
static bool cut(struct board *b, uint32_t seq, uint32_t end, uint32_t spare)
{
	if (is_start(b, seq) && is_start(b, end))
		return true;
	if (b->n + spare + 2 > BOARD_MAX)
		squeeze(b);
	return (is_start(b, seq) || split(b, seq, spare)) &&
	       (is_start(b, end) || split(b, end, spare));
}

/* ---- sending ---- */

#define SPARE 8u

/* No room for a run: the last one grows, and counts as sent just now whatever was known of it. */
static void sent_full(struct board *b, struct seg_run *last, uint32_t end, struct mtime now)
{
	uint32_t len = b->end - last->seq;

	if (last->flags & SEG_SACKED)
		b->sacked -= len;
	if (last->flags & SEG_LOST)
		b->lost -= len;
	*last = (struct seg_run){.xmit = now.ns, .seq = last->seq, .flags = SEG_AGAIN};
	b->end = end;
}

static void sent_new(struct board *b, uint32_t seq, uint32_t end, struct mtime now)
{
	struct seg_run *last = b->n ? &b->r[b->first + b->n - 1] : NULL;

	if (last && !last->flags && last->xmit == now.ns) {
		b->end = end;
		return;
	}
	if (b->n + SPARE >= BOARD_MAX) {
		squeeze(b);
		last = &b->r[b->first + b->n - 1];
		if (b->n + SPARE >= BOARD_MAX) {
			sent_full(b, last, end, now);
			return;
		}
	}
	make_room(b);
	b->end = end;
	b->r[b->first + b->n++] = (struct seg_run){.xmit = now.ns, .seq = seq};
}

void board_sent(struct board *b, uint32_t seq, uint32_t end, struct mtime now)
{
	if (seq == b->end) {
		sent_new(b, seq, end, now);
		return;
	}
	cut(b, seq, end, 0); /* without room all of the run counts as sent again */
	for (uint32_t i = find(b, seq); i < b->first + b->n && seq_lt(b->r[i].seq, end); i++) {
		struct seg_run *r = &b->r[i];

		if (r->flags & SEG_SACKED)
			continue;
		if (r->flags & SEG_LOST)
			b->lost -= board_run_end(b, i) - r->seq;
		r->flags = SEG_AGAIN;
		r->xmit = now.ns;
	}
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
	if (r->flags & SEG_LOST)
		a->b->lost -= len;
	rack_heard(a, r, end);
}

static void ack_cumulative(struct board_ack *a)
{
	struct board *b = a->b;
	uint32_t una = a->t->snd_una;

	while (b->n && seq_lt(b->r[b->first].seq, una)) {
		struct seg_run *r = &b->r[b->first];
		uint32_t end = seq_min(board_run_end(b, b->first), una), len = end - r->seq;

		if (r->flags & SEG_SACKED)
			b->sacked -= len;
		else
			arrived(a, r, len, end);
		r->seq = end;
		if (end == (b->n > 1 ? b->r[b->first + 1].seq : b->end)) {
			b->first++;
			b->n--;
		}
	}
	b->fack = seq_max(b->fack, una);
}

static void ack_block(struct board_ack *a, uint32_t start, uint32_t end)
{
	struct board *b = a->b;

	if (!cut(b, start, end, SPARE)) {
		MIB(a->s, TcpExt_TCPSACKDiscard);
		return;
	}
	for (uint32_t i = find(b, start); i < b->first + b->n && seq_lt(b->r[i].seq, end); i++) {
		struct seg_run *r = &b->r[i];
		uint32_t len = board_run_end(b, i) - r->seq;

		if (r->flags & SEG_SACKED)
			continue;
		arrived(a, r, len, r->seq + len);
		a->sacked = true;
		r->flags = (r->flags & ~SEG_LOST) | SEG_SACKED;
		b->sacked += len;
	}
	compact(b, 0);
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
}

/* ---- losses ---- */

void board_lose(struct board *b, uint32_t i)
{
	b->lost += board_run_end(b, i) - b->r[i].seq;
	b->r[i].flags |= SEG_LOST;
}

void board_all_lost(struct board *b)
{
	for (uint32_t i = b->first; i < b->first + b->n; i++)
		if (!(b->r[i].flags & (SEG_SACKED | SEG_LOST)))
			board_lose(b, i);
}

void board_none_lost(struct board *b)
{
	for (uint32_t i = b->first; i < b->first + b->n; i++)
		b->r[i].flags &= ~SEG_LOST;
	b->lost = 0;
}

/* Bounded, as the daemon looks at scoreboards of applications this way (tcp_info.c). */
uint32_t board_again(const struct board *b)
{
	uint32_t n = b->n <= BOARD_MAX ? b->n : BOARD_MAX, bytes = 0;

	for (uint32_t i = b->first; n && i < BOARD_MAX; i++, n--) {
		uint32_t end = n > 1 && i + 1 < BOARD_MAX ? b->r[i + 1].seq : b->end;

		if (b->r[i].flags & SEG_AGAIN && !(b->r[i].flags & (SEG_SACKED | SEG_LOST)))
			bytes += end - b->r[i].seq;
	}
	return bytes;
}

void board_forget_sacks(struct board *b)
{
	for (uint32_t i = b->first; i < b->first + b->n; i++)
		b->r[i].flags &= ~SEG_SACKED;
	b->sacked = 0;
}

uint32_t board_first_lost(const struct board *b)
{
	if (b->lost)
		for (uint32_t i = b->first; i < b->first + b->n; i++)
			if (b->r[i].flags & SEG_LOST)
				return i;
	return BOARD_MAX;
}

/* ---- invariants ---- */

bool board_sane(const struct tcb *t, const struct board *b)
{
	uint32_t sacked = 0, lost = 0;

	if (!b->n || b->first >= BOARD_MAX || b->n > BOARD_MAX - b->first ||
	    b->r[b->first].seq != t->snd_una || b->end != t->snd_max || t->snd_nxt != t->snd_max)
		return false;
	for (uint32_t i = b->first; i < b->first + b->n; i++) {
		uint32_t len = board_run_end(b, i) - b->r[i].seq, flags = b->r[i].flags;

		if (!len || len > t->snd_max - t->snd_una ||
		    (flags & SEG_SACKED && flags & SEG_LOST))
			return false;
		sacked += flags & SEG_SACKED ? len : 0;
		lost += flags & SEG_LOST ? len : 0;
	}
	return sacked == b->sacked && lost == b->lost;
}
