// SPDX-License-Identifier: BSD-2-Clause
/*
 * IPv4 reassembly (RFC 791 §3.2, RFC 815). Overlaps end a datagram (RFC 5722 §4, for IPv4 as in
 * Linux); an exact repetition is ignored. Owns s->reasm, its buckets and age list.
 *
 * Data stands in arena chunks at its place in the datagram, behind room for the headers, so that
 * the whole can be delivered as one packet without copying. A bit for each 8 bytes says what is
 * there.
 *
 * Limits: ipfrag_high_thresh bytes in all, the oldest datagram makes room; PER_SOURCE datagrams
 * of one source, its own oldest makes room; ipfrag_time.
 *
 * Invariants: an entry is in the age list, in its source's bucket and has its timer set; .units
 * bits are set in .got; a dead entry (kept so that what is still to come is dropped, too) has no
 * chunks.
 */
#include "internal.h"

#define HDR_ROOM (ETH_HLEN_ + 60u + 2u) /* what is behind is aligned to 4 */
#define MAX_DATAGRAM 65535u
#define REASM_CHUNKS ((HDR_ROOM + MAX_DATAGRAM + CHUNK_SIZE - 1) / CHUNK_SIZE)
#define UNITS (65536u / 8)
#define PER_SOURCE 64u
#define ICMP_EXCEEDED 11u
#define ICMP_EXCEEDED_REASM 1u

_Static_assert(REASM_CHUNKS <= PKT_MAX_FRAGS, "a datagram is one packet");

struct reasm {
	struct ip_addr src, dst;
	uint16_t id, netif;
	uint8_t proto, hlen; /* .hlen: of the first fragment, 0: not there */
	bool dead, bcast;
	struct wheel_node timer;
	uint32_t hash_next; /* index + 1 */
	uint32_t older, newer;
	uint32_t total;	    /* bytes behind the header, 0: the last fragment is not there */
	uint32_t end;	    /* of the furthest fragment */
	uint32_t first_len; /* bytes in the first fragment */
	uint32_t units;
	uint32_t chunk[REASM_CHUNKS];
	uint64_t got[UNITS / 64];
};

size_t reasm_size(void)
{
	return sizeof(struct reasm);
}

struct wheel_node *reasm_wheel_node(struct stack *s, uint32_t idx)
{
	return &s->reasm[idx].timer;
}

/* By source alone: its chain tells how many it has. */
static uint32_t *bucket(const struct stack *s, const struct ip_addr *src)
{
	return &s->reasm_buckets[siphash_24(s->cfg.key, src, sizeof(*src)) & s->reasm_mask];
}

static void free_chunks(struct stack *s, struct reasm *r)
{
	for (uint32_t i = 0; i < REASM_CHUNKS; i++) {
		if (r->chunk[i] == SHM_NIL)
			continue;
		chunk_free(s, r->chunk[i]);
		r->chunk[i] = SHM_NIL;
		s->reasm_chunks--;
	}
}

static void reasm_free(struct stack *s, uint32_t idx)
{
	struct reasm *r = &s->reasm[idx];
	uint32_t *link = bucket(s, &r->src);

	free_chunks(s, r);
	wheel_del(s, TIMER_ID(TK_REASM, idx));
	while (*link != idx + 1)
		link = &s->reasm[*link - 1].hash_next;
	*link = r->hash_next;
	*(r->older != SHM_NIL ? &s->reasm[r->older].newer : &s->reasm_head) = r->newer;
	*(r->newer != SHM_NIL ? &s->reasm[r->newer].older : &s->reasm_tail) = r->older;
	free_list_put(&s->reasm_free, idx);
}

/* Given up: the rest of it is still recognised, until the timer. */
static void give_up(struct stack *s, struct reasm *r)
{
	free_chunks(s, r);
	r->dead = true;
	MIB(s, Ip_ReasmFails);
}

static void evict(struct stack *s, uint32_t idx)
{
	if (!s->reasm[idx].dead)
		MIB(s, Ip_ReasmFails);
	reasm_free(s, idx);
}

static uint32_t reasm_create(struct stack *s, const struct ip_info *ip, uint16_t id,
			     struct mtime now)
{
	uint32_t idx = free_list_get(&s->reasm_free);
	struct reasm *r;
	uint32_t *b;

	if (idx == SHM_NIL) {
		evict(s, s->reasm_head);
		idx = free_list_get(&s->reasm_free);
	}
	r = &s->reasm[idx];
	b = bucket(s, &ip->src);
	memset(r, 0, sizeof(*r));
	r->src = ip->src;
	r->dst = ip->dst;
	r->id = id;
	r->netif = ip->netif;
	r->proto = ip->proto;
	r->bcast = ip->bcast;
	r->timer = (struct wheel_node){SHM_NIL, SHM_NIL, SHM_NIL};
	r->hash_next = *b;
	*b = idx + 1;
	r->older = s->reasm_tail;
	r->newer = SHM_NIL;
	*(r->older != SHM_NIL ? &s->reasm[r->older].newer : &s->reasm_head) = idx;
	s->reasm_tail = idx;
	for (uint32_t i = 0; i < REASM_CHUNKS; i++)
		r->chunk[i] = SHM_NIL;
	wheel_set(s, TIMER_ID(TK_REASM, idx),
		  mtime_add_ns(now, s->cfg.limits.ipfrag_time * NS_PER_S));
	return idx;
}

/* The datagram that the fragment belongs to; a new one if it is the first to come. */
static uint32_t find_or_create(struct stack *s, const struct ip_info *ip, uint16_t id,
			       struct mtime now)
{
	uint32_t n = 0, oldest = SHM_NIL;

	for (uint32_t i = *bucket(s, &ip->src); i; i = s->reasm[i - 1].hash_next) {
		const struct reasm *r = &s->reasm[i - 1];

		if (!ip_addr_eq(&r->src, &ip->src))
			continue;
		if (r->id == id && r->proto == ip->proto && r->netif == ip->netif &&
		    ip_addr_eq(&r->dst, &ip->dst))
			return i - 1;
		n++;
		oldest = i - 1; /* new ones are put in front */
	}
	if (n >= PER_SOURCE)
		evict(s, oldest);
	return reasm_create(s, ip, id, now);
}

/* ---- storing ---- */

/* Bits set among the @n from @first on; sets them all if @set. */
static uint32_t scan_units(struct reasm *r, uint32_t first, uint32_t n, bool set)
{
	uint32_t found = 0;

	for (uint32_t i = first; i < first + n; i++) {
		uint64_t bit = 1ull << (i % 64);

		found += !!(r->got[i / 64] & bit);
		if (set)
			r->got[i / 64] |= bit;
	}
	return found;
}

/* One more chunk for @r, at the cost of older datagrams where the limit is reached. */
static uint32_t get_chunk(struct stack *s, const struct reasm *r)
{
	uint32_t max = s->cfg.limits.ipfrag_high_thresh / CHUNK_SIZE, c;

	for (;;) {
		uint32_t victim = s->reasm_head;

		c = s->reasm_chunks < max ? chunk_alloc(s) : SHM_NIL;
		if (c != SHM_NIL)
			break;
		if (victim != SHM_NIL && &s->reasm[victim] == r)
			victim = r->newer;
		if (victim == SHM_NIL)
			return SHM_NIL;
		evict(s, victim);
	}
	s->reasm_chunks++;
	return c;
}

static bool store(struct stack *s, struct reasm *r, const struct pkt *p, uint32_t from,
		  uint32_t off, uint32_t len)
{
	while (len) {
		uint32_t pos = HDR_ROOM + off, i = pos / CHUNK_SIZE, in = pos % CHUNK_SIZE;
		uint32_t n = CHUNK_SIZE - in < len ? CHUNK_SIZE - in : len;

		if (r->chunk[i] == SHM_NIL)
			r->chunk[i] = get_chunk(s, r);
		if (r->chunk[i] == SHM_NIL)
			return false;
		pkt_copy(p, from, chunk_data(s, r->chunk[i]) + in, n);
		from += n;
		off += n;
		len -= n;
	}
	return true;
}

/* The header of the first fragment is that of the datagram. */
static void store_header(struct stack *s, struct reasm *r, const struct pkt *p,
			 const struct ip_info *ip)
{
	uint32_t hlen = (uint32_t)(ip->l4_off - p->l3_off);
	uint8_t *to = chunk_data(s, r->chunk[0]) + HDR_ROOM - hlen;

	memcpy(to, p->frag[0].p + p->l3_off, hlen);
	memset(to - ETH_HLEN_, 0, ETH_HLEN_);
	r->hlen = (uint8_t)hlen;
	r->first_len = ip->l4_len;
}

/* ---- the whole ---- */

/* A packet over the first @len bytes behind the header. */
static void build_pkt(const struct stack *s, const struct reasm *r, uint32_t len, struct pkt *p,
		      struct ip_info *ip)
{
	uint32_t start = HDR_ROOM - r->hlen - ETH_HLEN_, left = ETH_HLEN_ + r->hlen + len;
	const uint8_t *h;

	memset(p, 0, sizeof(*p));
	p->len = left;
	p->netif = r->netif;
	p->conn = TD_NO_CONN;
	p->l3_off = ETH_HLEN_;
	p->l4_off = (uint16_t)(ETH_HLEN_ + r->hlen);
	for (; left; start = 0) {
		uint32_t n = CHUNK_SIZE - start < left ? CHUNK_SIZE - start : left;

		p->frag[p->nfrags] =
			(struct pkt_frag){.p = chunk_data(s, r->chunk[p->nfrags]) + start,
					  .len = n,
					  .frame = SHM_NIL};
		p->nfrags++;
		left -= n;
	}
	h = p->frag[0].p + ETH_HLEN_;
	*ip = (struct ip_info){.src = r->src,
			       .dst = r->dst,
			       .netif = r->netif,
			       .l4_off = p->l4_off,
			       .l4_len = len,
			       .proto = r->proto,
			       .ttl = h[8],
			       .tos = h[1],
			       .bcast = r->bcast};
}

static enum drop deliver(struct stack *s, uint32_t idx, uint16_t queue, struct mtime now)
{
	struct reasm *r = &s->reasm[idx];
	struct ip_info ip;
	struct pkt p;
	uint16_t check;
	uint8_t *h;
	enum drop d;

	build_pkt(s, r, r->total, &p, &ip);
	p.queue = queue;
	h = p.frag[0].p + ETH_HLEN_;
	put_be16(h + 2, (uint16_t)(r->hlen + r->total));
	put_be16(h + 6, 0);
	put_be16(h + 10, 0);
	check = csum_fold(csum_partial(h, r->hlen, 0));
	memcpy(h + 10, &check, 2);
	MIB(s, Ip_ReasmOKs);
	if (ip.proto == PROTO_TCP && s->tcp_tap && !ip.bcast && s->tcp_tap(s->tap_ctx, &p))
		d = DROP_NONE;
	else
		d = ip_deliver(s, &p, &ip, now);
	reasm_free(s, idx);
	return d;
}

/* Does the fragment contradict what is known of the end? */
static bool bad_end(const struct reasm *r, uint32_t end, bool more)
{
	if (!more)
		return (r->total && end != r->total) || end < r->end;
	return r->total && end >= r->total;
}

enum drop reasm_input(struct stack *s, struct pkt *p, const struct ip_info *ip, uint16_t id,
		      uint32_t off, bool more, struct mtime now)
{
	uint32_t end = off + ip->l4_len, units = (ip->l4_len + 7) / 8, idx, found;
	struct reasm *r;

	MIB(s, Ip_ReasmReqds);
	if (!s->reasm_free.size)
		return DROP_FRAGMENT;
	if (!ip->l4_len || (more && ip->l4_len % 8) || end > MAX_DATAGRAM - IP4_HLEN) {
		MIB(s, Ip_ReasmFails);
		return DROP_BAD_IP;
	}
	idx = find_or_create(s, ip, id, now);
	r = &s->reasm[idx];
	if (r->dead)
		return DROP_FRAGMENT;
	found = scan_units(r, off / 8, units, false);
	if (bad_end(r, end, more) || (found && found < units)) {
		give_up(s, r);
		return DROP_FRAGMENT;
	}
	if (found)
		return DROP_FRAGMENT;
	if (!store(s, r, p, ip->l4_off, off, ip->l4_len)) {
		give_up(s, r);
		return DROP_NO_MEMORY;
	}
	if (!off)
		store_header(s, r, p, ip);
	scan_units(r, off / 8, units, true);
	r->units += units;
	if (end > r->end)
		r->end = end;
	if (!more)
		r->total = end;
	if (!r->total || r->units < (r->total + 7) / 8)
		return DROP_NONE;
	if (r->hlen + r->total > MAX_DATAGRAM) {
		give_up(s, r);
		return DROP_BAD_IP;
	}
	return deliver(s, idx, p->queue, now);
}

void reasm_timer(struct stack *s, uint32_t idx, struct mtime now)
{
	struct reasm *r = &s->reasm[idx];
	uint32_t max = CHUNK_SIZE - HDR_ROOM;
	struct ip_info ip;
	struct pkt p;

	if (!r->dead) {
		MIB(s, Ip_ReasmTimeout);
		MIB(s, Ip_ReasmFails);
		/* RFC 792: only where the first fragment has come. */
		if (r->hlen) {
			build_pkt(s, r, r->first_len < max ? r->first_len : max, &p, &ip);
			icmp_error(s, &p, &ip, ICMP_EXCEEDED, ICMP_EXCEEDED_REASM, 0, now);
		}
	}
	reasm_free(s, idx);
}

int reasm_check(const struct stack *s, char *why, size_t len)
{
	uint32_t n = 0, chunks = 0;

	for (uint32_t i = s->reasm_head; i != SHM_NIL; i = s->reasm[i].newer) {
		struct reasm *r = &s->reasm[i];
		uint32_t held = 0;

		if (++n > s->reasm_free.used)
			return check_fail(why, len, "reasm: age list is broken at", i);
		for (uint32_t c = 0; c < REASM_CHUNKS; c++)
			held += r->chunk[c] != SHM_NIL;
		if (r->timer.slot == SHM_NIL || (r->dead && held) ||
		    (r->newer == SHM_NIL) != (i == s->reasm_tail))
			return check_fail(why, len, "reasm: bad entry", i);
		if (!r->dead && scan_units(r, 0, UNITS, false) != r->units)
			return check_fail(why, len, "reasm: wrong count of units in", i);
		chunks += held;
	}
	if (n != free_list_in_use(&s->reasm_free) || chunks != s->reasm_chunks)
		return check_fail(why, len, "reasm: entries or chunks not in the list", n);
	return 0;
}
