/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How fast the network delivers (draft-cheng-iccrg-delivery-rate-estimation): each transmission
 * leaves a mark of what had been delivered by then, and when; an ACK compares that with now. The
 * slower of the rates of sending and of acknowledging counts, so that neither bursts nor merged
 * ACKs make the path look faster than it is.
 *
 * "Delivered" is a sequence number, snd_una and what SACK adds to it: it needs no counter. The
 * marks have a chunk of their own, for algorithms that want them, as long as the scoreboard lives.
 */
#include "board.h"
#include "cc.h"

#define SENT_MAX ((1u << 31) - 1)

struct rate *rate_get(const struct stack *s, const struct board *b)
{
	return b->rate == SHM_NIL ? NULL : (struct rate *)(void *)chunk_data(s, b->rate);
}

static uint32_t delivered(const struct tcb *t, const struct board *b)
{
	return t->snd_una + b->sacked;
}

static struct rate *rate_open(struct stack *s, struct tcb *t, struct board *b, struct mtime now)
{
	struct rate *r;

	if (tcp_memory_low(s))
		return NULL;
	b->rate = chunk_alloc(s);
	if (b->rate == SHM_NIL)
		return NULL;
	t->n_chunks++;
	r = rate_get(s, b);
	memset(r, 0, sizeof(*r));
	r->delivered_us = r->first_us = r->epoch_us = cc_us(now);
	r->limited_until = delivered(t, b);
	return r;
}

void rate_close(struct stack *s, struct tcb *t, struct board *b)
{
	chunk_free(s, b->rate);
	b->rate = SHM_NIL;
	t->n_chunks--;
}

/* Room for one mark more: of the older half every second one goes. */
static void make_room(struct rate *r)
{
	uint32_t n = RATE_MAX / 2, kept = 0;

	if (r->n < RATE_MAX)
		return;
	for (uint32_t i = 0; i < n; i += 2)
		r->m[kept++] = r->m[i];
	memmove(r->m + kept, r->m + n, (r->n - n) * sizeof(r->m[0]));
	r->n = kept + r->n - n;
}

void rate_sent(struct stack *s, struct tcb *t, struct board *b, struct mtime now)
{
	struct rate *r = rate_get(s, b);
	uint32_t us = cc_us(now), took;

	if (!r)
		r = rate_open(s, t, b, now);
	if (!r || (r->n && r->m[r->n - 1].us == us))
		return;
	took = us - r->first_us;
	make_room(r);
	r->m[r->n++] = (struct rate_mark){
		.us = us,
		.delivered = delivered(t, b),
		.delivered_us = r->delivered_us,
		.sent_us = took < SENT_MAX ? took : SENT_MAX,
		.app_limited = !!(t->flags & TCB_F_APP_LIMITED),
	};
}

/* The mark of @us, or the last one before. NULL: it was that long ago. */
static const struct rate_mark *find(const struct rate *r, uint32_t us)
{
	uint32_t lo = 0, hi = r->n;

	while (lo < hi) {
		uint32_t mid = (lo + hi) / 2;

		if ((int32_t)(r->m[mid].us - us) <= 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? &r->m[lo - 1] : NULL;
}

void rate_ack(const struct board_ack *a, struct cc_ack *c)
{
	struct rate *r = rate_get(a->s, a->b);
	uint32_t now = cc_us(a->now), done = delivered(a->t, a->b), sent, acking;
	const struct rate_mark *m;

	c->rate = r;
	if (!r || !a->delivered)
		return;
	if (a->t->flags & TCB_F_APP_LIMITED && seq_gt(done, r->limited_until))
		a->t->flags &= ~TCB_F_APP_LIMITED;
	r->delivered_us = now;
	sent = cc_us((struct mtime){a->sent_last});
	/* So soon after its last copy was sent: it was another one that has arrived. */
	if (!a->sent_last || (a->sent_unsure && now - sent < a->b->min_rtt))
		return;
	m = find(r, sent);
	if (!m)
		return;
	r->first_us = sent;
	acking = now - m->delivered_us;
	c->sample_bytes = seq_gt(done, m->delivered) ? done - m->delivered : 0;
	c->sample_us = acking > m->sent_us ? acking : m->sent_us;
	c->prior_delivered = m->delivered;
	c->app_limited = m->app_limited;
	r->last_bytes = c->sample_bytes;
	r->last_us = c->sample_us;
}

uint64_t rate_last(const struct stack *s, const struct board *b)
{
	const struct rate *r = rate_get(s, b);

	return r && r->last_us ? r->last_bytes * 1000000ull / r->last_us : 0;
}

/* ---- when the program is the limit ---- */

#define ROOM_TOLD 1u /* of .room_ms: nothing was written since; else when that began */
#define ROOM_FILL_MS 10u

void rate_room(struct stack *s, struct tcb *t)
{
	tcb_work_get(s, t)->room_ms = ROOM_TOLD;
}

/*
 * It had to wait for room, and fills it: what has kept data from the connection was the buffer. As
 * in Linux, which does not ask within a call that had to wait; there a burst that makes up for the
 * time is paced, too, so that the calls that follow find the last one's data.
 */
static bool fills_room(struct tcb *t, struct mtime now)
{
	uint16_t ms = (uint16_t)ms_stamp(now);
	struct tcb_work *w;

	if (t->flags & TCB_F_TX_FULL) /* it did not even wait */
		return true;
	if (!t->work || !tcb_work(t)->room_ms)
		return false;
	w = tcb_work(t);
	if (w->room_ms == ROOM_TOLD)
		w->room_ms = ms > ROOM_TOLD ? ms : ROOM_TOLD + 1;
	else if ((uint16_t)(ms - w->room_ms) > ROOM_FILL_MS)
		w->room_ms = 0;
	return w->room_ms;
}

void rate_app_limited(const struct stack *s, struct tcb *t, struct mtime now)
{
	const struct board *b = tcp_board(s, t);
	struct rate *r = b ? rate_get(s, b) : NULL;
	uint32_t pipe = b ? board_pipe(t, b) : t->snd_max - t->snd_una;
	bool fills = fills_room(t, now);

	if (tcp_queue_end(t) - t->snd_nxt >= tcp_eff_mss(t) || pipe >= t->cwnd || (b && b->lost) ||
	    (fills && pipe))
		return;
	t->flags |= TCB_F_APP_LIMITED;
	if (r)
		r->limited_until = delivered(t, b) + pipe;
}
