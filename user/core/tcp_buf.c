/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A connection's bytes, in chunks taken on demand: the send queue, the receive queue (in order,
 * not yet read) and the out-of-order queue. An idle connection holds none.
 *
 * Invariants (tcp_check.c): byte counts are the sums of the chunks; no chunk is empty; send
 * queue chunks follow each other without a gap, .seq being the first valid byte's number;
 * out-of-order chunks are sorted, do not overlap, and begin beyond rcv_nxt.
 *
 * Memory per payload byte is bounded: small segments are copied into the tail chunk as long as it
 * has room, and the number of receive chunks is limited by rcvbuf, twice the advertised window.
 */
#include "tcp.h"
#include "board.h"

static struct chunk_hdr *hdr(const struct stack *s, uint32_t c)
{
	return &s->a.chunk_hdrs[c];
}

static uint8_t *chunk_bytes(const struct stack *s, uint32_t c)
{
	return chunk_data(s, c) + hdr(s, c)->off;
}

static uint32_t chunk_room(const struct stack *s, uint32_t c)
{
	return CHUNK_SIZE - hdr(s, c)->off - hdr(s, c)->len;
}

static uint32_t chunk_end(const struct stack *s, uint32_t c)
{
	return hdr(s, c)->seq + hdr(s, c)->len;
}

static uint32_t chunk_take(struct stack *s, struct tcb *t)
{
	uint32_t c = chunk_alloc(s);

	if (c != SHM_NIL)
		t->n_chunks++;
	return c;
}

static void chunk_give(struct stack *s, struct tcb *t, uint32_t c)
{
	t->n_chunks--;
	chunk_free(s, c);
}

void pkt_copy(const struct pkt *p, uint32_t off, void *out, uint32_t len)
{
	uint8_t *b = out;

	for (uint32_t i = 0; len && i < p->nfrags; i++) {
		const struct pkt_frag *f = &p->frag[i];
		uint32_t n;

		if (off >= f->len) {
			off -= f->len;
			continue;
		}
		n = tcp_min(f->len - off, len);
		memcpy(b, f->p + off, n);
		b += n;
		len -= n;
		off = 0;
	}
	tcp_assert(!len);
}

/* Takes @n bytes off the front of @c. */
static void chunk_trim(struct stack *s, uint32_t c, uint32_t n)
{
	struct chunk_hdr *h = hdr(s, c);

	h->off += (uint16_t)n;
	h->len -= (uint16_t)n;
	h->seq += n;
}

/* Links @c behind @tail. */
static void list_append(struct stack *s, uint32_t *head, uint32_t *tail, uint32_t c)
{
	hdr(s, c)->next = SHM_NIL;
	if (*tail == SHM_NIL)
		*head = c;
	else
		hdr(s, *tail)->next = c;
	*tail = c;
}

/* ---- receive queue: the header of its first chunk names the last one, in .stamp ---- */

uint32_t rxq_tail(const struct stack *s, const struct tcb *t)
{
	return t->rx_head == SHM_NIL ? SHM_NIL : hdr(s, t->rx_head)->stamp;
}

static void rxq_link(struct stack *s, struct tcb *t, uint32_t c)
{
	uint32_t tail = rxq_tail(s, t);

	list_append(s, &t->rx_head, &tail, c);
	hdr(s, t->rx_head)->stamp = c;
}

/* Chunks that the receive side holds; the send queue is packed, so its share is known. */
static uint32_t rx_chunks(const struct stack *s, const struct tcb *t)
{
	uint32_t tx = (t->tx_bytes + CHUNK_SIZE - 1) / CHUNK_SIZE;

	tx += board_chunks(tcp_board(s, t));
	return t->n_chunks > tx ? t->n_chunks - tx : 0;
}

static bool rx_chunks_full(const struct stack *s, const struct tcb *t)
{
	return rx_chunks(s, t) >= t->rcvbuf / CHUNK_SIZE + 4;
}

uint32_t rxq_append(struct stack *s, struct tcb *t, const struct pkt *p, uint32_t off, uint32_t len)
{
	uint32_t done = 0;

	while (done < len) {
		uint32_t c = rxq_tail(s, t), n, end;
		struct chunk_hdr *h;

		if (c == SHM_NIL || !chunk_room(s, c)) {
			c = chunk_take(s, t);
			if (c == SHM_NIL)
				break;
			rxq_link(s, t, c);
		}
		h = hdr(s, c);
		end = (uint32_t)h->off + h->len;
		n = tcp_min(CHUNK_SIZE - end, len - done);
		h->len += (uint16_t)n;
		if (off + done + n <= p->frag[0].len)
			memcpy(chunk_data(s, c) + end, p->frag[0].p + off + done, n);
		else
			pkt_copy(p, off + done, chunk_data(s, c) + end, n);
		done += n;
	}
	t->rx_bytes += done;
	return done;
}

/* @buf NULL: the bytes are only discarded. */
uint32_t rxq_read(struct stack *s, struct tcb *t, void *buf, uint32_t len)
{
	uint32_t done = 0;

	while (done < len && t->rx_head != SHM_NIL) {
		uint32_t c = t->rx_head, n;
		struct chunk_hdr *h = hdr(s, c);

		n = tcp_min(h->len, len - done);
		if (buf)
			memcpy((uint8_t *)buf + done, chunk_data(s, c) + h->off, n);
		done += n;
		if (n < h->len) {
			chunk_trim(s, c, n);
			break;
		}
		t->rx_head = h->next;
		if (h->next != SHM_NIL)
			hdr(s, h->next)->stamp = h->stamp; /* the tail */
		chunk_give(s, t, c);
	}
	t->rx_bytes -= done;
	return done;
}

uint32_t rxq_peek(struct stack *s, const struct tcb *t, uint32_t skip, void *buf, uint32_t len)
{
	uint32_t done = 0;

	for (uint32_t c = t->rx_head; done < len && c != SHM_NIL; c = hdr(s, c)->next) {
		uint32_t off = tcp_min(skip, hdr(s, c)->len);
		uint32_t n = tcp_min(hdr(s, c)->len - off, len - done);

		if (buf)
			memcpy((uint8_t *)buf + done, chunk_bytes(s, c) + off, n);
		skip -= off;
		done += n;
	}
	return done;
}

/* ---- out-of-order queue ---- */

/*
 * Puts up to @len bytes for the gap behind @prev (SHM_NIL: at the head) there: into @prev's room
 * if they follow it directly, else into a new chunk. *@prev becomes the chunk used.
 */
static uint32_t ooo_fill(struct stack *s, struct tcb *t, uint32_t *prev, uint32_t seq,
			 const struct pkt *p, uint32_t off, uint32_t len)
{
	uint32_t c = *prev, n;

	if (c == SHM_NIL || chunk_end(s, c) != seq || !chunk_room(s, c)) {
		if (rx_chunks_full(s, t) || tcp_memory_low(s) || !tcp_mem_out_of_order(s, t))
			return 0;
		c = chunk_take(s, t);
		if (c == SHM_NIL)
			return 0;
		hdr(s, c)->seq = seq;
		if (*prev == SHM_NIL) {
			hdr(s, c)->next = t->ooo_head;
			t->ooo_head = c;
		} else {
			hdr(s, c)->next = hdr(s, *prev)->next;
			hdr(s, *prev)->next = c;
		}
		*prev = c;
	}
	n = tcp_min(chunk_room(s, c), len);
	pkt_copy(p, off, chunk_bytes(s, c) + hdr(s, c)->len, n);
	hdr(s, c)->len += (uint16_t)n;
	hdr(s, c)->stamp = t->segs_in;
	t->ooo_bytes += n;
	return n;
}

static void ooo_forget(struct tcb *t)
{
	if (t->work)
		tcb_work(t)->ooo_cur = SHM_NIL;
}

/* Where to look for @seq's place from on: mostly it is behind what came last. */
static uint32_t ooo_start(const struct stack *s, const struct tcb *t, uint32_t seq)
{
	uint32_t c = t->work ? tcb_work(t)->ooo_cur : SHM_NIL;

	return c != SHM_NIL && seq_le(hdr(s, c)->seq, seq) ? c : t->ooo_head;
}

uint32_t ooo_insert(struct stack *s, struct tcb *t, uint32_t seq, const struct pkt *p, uint32_t off,
		    uint32_t len)
{
	uint32_t prev = SHM_NIL, c = ooo_start(s, t, seq), done = 0;

	while (len) {
		uint32_t n = len;

		if (c != SHM_NIL && seq_le(chunk_end(s, c), seq)) {
			prev = c;
			c = hdr(s, c)->skip;
			if (c != SHM_NIL && seq_le(chunk_end(s, c), seq))
				prev = c;
			c = hdr(s, prev)->next;
			continue;
		}
		if (c != SHM_NIL && seq_le(hdr(s, c)->seq, seq)) { /* have these already */
			n = tcp_min(len, chunk_end(s, c) - seq);
			hdr(s, c)->stamp = t->segs_in;
			tcp_dsack(s, t, seq, seq + n);
		} else {
			if (c != SHM_NIL)
				n = tcp_min(len, hdr(s, c)->seq - seq);
			n = ooo_fill(s, t, &prev, seq, p, off, n);
			if (!n)
				break;
		}
		done += n;
		seq += n;
		off += n;
		len -= n;
	}
	if (prev != SHM_NIL)
		tcb_work_get(s, t)->ooo_cur = prev;
	return done;
}

void ooo_merge(struct stack *s, struct tcb *t)
{
	while (t->ooo_head != SHM_NIL && seq_le(hdr(s, t->ooo_head)->seq, t->rcv_nxt)) {
		uint32_t c = t->ooo_head, old = t->rcv_nxt - hdr(s, c)->seq, len;
		uint32_t tail = rxq_tail(s, t);

		if (t->work && tcb_work(t)->ooo_cur == c)
			ooo_forget(t);
		t->ooo_head = hdr(s, c)->next;
		t->ooo_bytes -= hdr(s, c)->len;
		if (old >= hdr(s, c)->len) {
			chunk_give(s, t, c);
			continue;
		}
		chunk_trim(s, c, old);
		len = hdr(s, c)->len;
		t->rcv_nxt += len;
		t->rx_bytes += len;
		if (tail != SHM_NIL && chunk_room(s, tail) >= len) {
			memcpy(chunk_bytes(s, tail) + hdr(s, tail)->len, chunk_bytes(s, c), len);
			hdr(s, tail)->len += (uint16_t)len;
			chunk_give(s, t, c);
		} else {
			rxq_link(s, t, c);
		}
	}
}

/* ---- send queue ---- */

uint32_t txq_append(struct stack *s, struct tcb *t, const void *buf, uint32_t len)
{
	struct tcb_work *w = tcb_work_get(s, t);
	uint32_t done = 0;

	while (done < len) {
		uint32_t c = w->tx_tail, n, end;
		struct chunk_hdr *h;

		if (c == SHM_NIL || !chunk_room(s, c)) {
			c = chunk_take(s, t);
			if (c == SHM_NIL)
				break;
			hdr(s, c)->seq = tcp_queue_end(t);
			list_append(s, &t->tx_head, &w->tx_tail, c);
		}
		h = hdr(s, c);
		end = (uint32_t)h->off + h->len;
		n = tcp_min(CHUNK_SIZE - end, len - done);
		h->len += (uint16_t)n;
		memcpy(chunk_data(s, c) + end, (const uint8_t *)buf + done, n);
		t->tx_bytes += n;
		done += n;
	}
	return done;
}

/* The chunk that holds @seq, from the cached one on where that is not beyond it. */
static uint32_t txq_find(const struct stack *s, struct tcb *t, uint32_t seq)
{
	struct tcb_work *w = tcb_work(t);
	uint32_t c = w->tx_cur;

	if (c == SHM_NIL || seq_lt(seq, hdr(s, c)->seq))
		c = t->tx_head;
	while (c != SHM_NIL && seq_le(chunk_end(s, c), seq))
		c = hdr(s, c)->next;
	tcp_assert(c != SHM_NIL);
	w->tx_cur = c;
	return c;
}

void txq_copy(struct stack *s, struct tcb *t, uint32_t seq, uint8_t *out, uint32_t len)
{
	uint32_t c;

	if (!len)
		return;
	for (c = txq_find(s, t, seq); len; c = hdr(s, c)->next) {
		uint32_t skip = seq - hdr(s, c)->seq, n = tcp_min(hdr(s, c)->len - skip, len);

		memcpy(out, chunk_bytes(s, c) + skip, n);
		out += n;
		seq += n;
		len -= n;
	}
}

uint32_t txq_frags(struct stack *s, struct tcb *t, uint32_t seq, uint32_t len, struct pkt_frag *fr,
		   uint32_t max, uint32_t *got)
{
	uint32_t c, n_fr = 0;

	*got = 0;
	if (!len)
		return 0;
	for (c = txq_find(s, t, seq); *got < len && n_fr < max; c = hdr(s, c)->next) {
		uint32_t skip = seq - hdr(s, c)->seq,
			 n = tcp_min(hdr(s, c)->len - skip, len - *got);

		fr[n_fr++] = (struct pkt_frag){
			.p = chunk_bytes(s, c) + skip, .len = n, .frame = SHM_NIL};
		seq += n;
		*got += n;
	}
	return n_fr;
}

void txq_acked(struct stack *s, struct tcb *t, uint32_t n)
{
	tcp_assert(n <= t->tx_bytes);
	t->tx_bytes -= n;
	while (n) {
		uint32_t c = t->tx_head, k = tcp_min(n, hdr(s, c)->len);

		chunk_trim(s, c, k);
		n -= k;
		if (hdr(s, c)->len)
			break;
		t->tx_head = hdr(s, c)->next;
		if (t->tx_head == SHM_NIL)
			tcb_work(t)->tx_tail = SHM_NIL;
		if (tcb_work(t)->tx_cur == c)
			tcb_work(t)->tx_cur = SHM_NIL;
		chunk_give(s, t, c);
	}
}

static void release_list(struct stack *s, struct tcb *t, uint32_t *head)
{
	while (*head != SHM_NIL) {
		uint32_t next = hdr(s, *head)->next;

		chunk_give(s, t, *head);
		*head = next;
	}
}

void tcp_buf_release_ooo(struct stack *s, struct tcb *t)
{
	release_list(s, t, &t->ooo_head);
	t->ooo_bytes = 0;
	ooo_forget(t);
}

bool tcp_buf_prune_ooo(struct stack *s, struct tcb *t, uint32_t seq)
{
	uint32_t *link = &t->ooo_head, head;

	while (*link != SHM_NIL && !seq_gt(hdr(s, *link)->seq, seq)) {
		hdr(s, *link)->skip = SHM_NIL;
		link = &hdr(s, *link)->next;
	}
	head = *link;
	*link = SHM_NIL;
	if (head == SHM_NIL)
		return false;
	for (uint32_t c = head; c != SHM_NIL; c = hdr(s, c)->next)
		t->ooo_bytes -= hdr(s, c)->len;
	release_list(s, t, &head);
	ooo_forget(t);
	return true;
}

uint32_t tcp_buf_tail_room(const struct stack *s, const struct tcb *t)
{
	uint32_t c = rxq_tail(s, t);

	return c == SHM_NIL ? 0 : chunk_room(s, c);
}

void tcp_buf_release_unread(struct stack *s, struct tcb *t)
{
	release_list(s, t, &t->tx_head);
	if (t->work)
		tcb_work(t)->tx_tail = tcb_work(t)->tx_cur = SHM_NIL;
	t->tx_bytes = 0;
	board_close(s, t);
	tcp_buf_release_ooo(s, t);
}

void tcp_buf_release(struct stack *s, struct tcb *t)
{
	tcp_buf_release_unread(s, t);
	release_list(s, t, &t->rx_head);
	t->rx_bytes = 0;
	t->flags &= ~(TCB_F_URG | TCB_F_URG_VALID | TCB_F_URG_READ);
}
