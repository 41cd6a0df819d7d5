// SPDX-License-Identifier: BSD-2-Clause
/*
 * A row of bytes in chunks of the arena: what UDP's queues keep their records in.
 *
 * Invariants: .bytes is what the chunks hold, .chunks how many these are; there are chunks only
 * where there are bytes, and, between byteq_make_room() and the last byte, behind .tail.
 */
#include "tcp.h"
#include "byteq.h"

static struct chunk_hdr *hdr(const struct stack *s, uint32_t c)
{
	return &s->a.chunk_hdrs[c];
}

bool byteq_make_room(struct stack *s, struct byteq *q, uint32_t need)
{
	uint32_t room = 0, head = SHM_NIL, tail = SHM_NIL, n = 0;

	if (q->tail != SHM_NIL)
		room = CHUNK_SIZE - hdr(s, q->tail)->off - hdr(s, q->tail)->len;
	for (; room < need; room += CHUNK_SIZE, n++) {
		uint32_t c = chunk_alloc(s);

		if (c == SHM_NIL) {
			chunk_free_list(s, head);
			return false;
		}
		if (head == SHM_NIL)
			head = c;
		else
			hdr(s, tail)->next = c;
		tail = c;
	}
	if (!n)
		return true;
	if (q->tail == SHM_NIL)
		q->head = q->tail = head;
	else
		hdr(s, q->tail)->next = head;
	q->chunks += n;
	return true;
}

/* The place for at most @len bytes; *@n: as many as fit in one piece. */
static uint8_t *place(struct stack *s, struct byteq *q, uint32_t len, uint32_t *n)
{
	struct chunk_hdr *h = hdr(s, q->tail);
	uint8_t *p;

	if (h->off + h->len == CHUNK_SIZE) {
		q->tail = h->next;
		h = hdr(s, q->tail);
	}
	p = chunk_data(s, q->tail) + h->off + h->len;
	*n = CHUNK_SIZE - h->off - h->len < len ? CHUNK_SIZE - h->off - h->len : len;
	h->len += (uint16_t)*n;
	q->bytes += *n;
	return p;
}

void byteq_put(struct stack *s, struct byteq *q, const void *from, uint32_t len)
{
	uint32_t n;

	for (uint32_t done = 0; done < len; done += n) {
		uint8_t *to = place(s, q, len - done, &n);

		memcpy(to, (const uint8_t *)from + done, n);
	}
}

void byteq_put_pkt(struct stack *s, struct byteq *q, const struct pkt *p, uint32_t off,
		   uint32_t len)
{
	uint32_t n;

	for (uint32_t done = 0; done < len; done += n) {
		uint8_t *to = place(s, q, len - done, &n);

		pkt_copy(p, off + done, to, n);
	}
}

void byteq_peek(const struct stack *s, const struct byteq *q, uint32_t off, void *out, uint32_t len)
{
	uint8_t *to = out;

	for (uint32_t c = q->head; len; c = hdr(s, c)->next) {
		uint32_t have = hdr(s, c)->len, n;

		if (off >= have) {
			off -= have;
			continue;
		}
		n = have - off < len ? have - off : len;
		memcpy(to, chunk_data(s, c) + hdr(s, c)->off + off, n);
		to += n;
		len -= n;
		off = 0;
	}
}

void byteq_discard(struct stack *s, struct byteq *q, uint32_t len)
{
	q->bytes -= len;
	while (len) {
		struct chunk_hdr *h = hdr(s, q->head);
		uint32_t n = h->len < len ? h->len : len, next = h->next;

		h->off += (uint16_t)n;
		h->len -= (uint16_t)n;
		len -= n;
		if (h->len)
			continue;
		if (q->head == q->tail)
			q->tail = next;
		chunk_free(s, q->head);
		q->chunks--;
		q->head = next;
	}
}

void byteq_clear(struct stack *s, struct byteq *q)
{
	chunk_free_list(s, q->head);
	*q = BYTEQ_EMPTY;
}

bool byteq_check(const struct stack *s, const struct byteq *q)
{
	uint32_t n = 0, bytes = 0, last = SHM_NIL;

	for (uint32_t c = q->head; c != SHM_NIL; c = hdr(s, c)->next) {
		if (++n > q->chunks)
			return false;
		bytes += hdr(s, c)->len;
		last = c;
	}
	return n == q->chunks && bytes == q->bytes && last == q->tail && (!n || bytes);
}
