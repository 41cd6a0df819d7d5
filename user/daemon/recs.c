// SPDX-License-Identifier: BSD-2-Clause
/* recs.h */
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include "recs.h"

static void *map(size_t len)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int recs_init(struct recs *t, uint32_t max, const uint64_t key[2])
{
	uint32_t n = 64;

	while (n < max)
		n *= 2;
	*t = (struct recs){.max = max,
			   .max_buckets = n,
			   .hash = LINHASH_INIT,
			   .free = SHM_NIL,
			   .key = {key[0], key[1]}};
	t->r = map(sizeof(*t->r) * (size_t)max);
	t->wide = map(sizeof(*t->wide) * (size_t)max);
	t->buckets = map(sizeof(*t->buckets) * (size_t)n);
	if (t->r && t->wide && t->buckets)
		return 0;
	recs_free(t);
	return -ENOMEM;
}

void recs_free(struct recs *t)
{
	if (t->r)
		munmap(t->r, sizeof(*t->r) * (size_t)t->max);
	if (t->wide)
		munmap(t->wide, sizeof(*t->wide) * (size_t)t->max);
	if (t->buckets)
		munmap(t->buckets, sizeof(*t->buckets) * (size_t)t->max_buckets);
	t->r = NULL;
	t->wide = NULL;
	t->buckets = NULL;
}

/* Multiply and fold (as wyhash): with a secret key, each step is a keyed permutation's half. */
static uint64_t mix(uint64_t a, uint64_t b)
{
	unsigned __int128 p = (unsigned __int128)a * b;

	return (uint64_t)p ^ (uint64_t)(p >> 64);
}

uint64_t recs_hash(const struct recs *t, const struct flow_key *k)
{
	uint64_t w[5], h = t->key[0];

	memcpy(w, k, sizeof(w));
	for (int i = 0; i < 5; i++)
		h = mix(h ^ w[i], t->key[1] ^ 0x9e3779b97f4a7c15ull * (uint64_t)(i + 1)) ^
		    t->key[0];
	return mix(h, t->key[1] | 1);
}

struct flow_key rec_key(const struct recs *t, uint32_t i)
{
	const struct rec *r = &t->r[i];
	struct flow_key k = {
		.remote_port = r->remote_port, .local_port = r->local_port, .proto = r->proto};

	if (r->flags & REC_F_WIDE) {
		k.remote = t->wide[i].remote;
		k.local = t->wide[i].local;
	} else {
		k.remote = ip_addr_v4(r->remote);
		k.local = ip_addr_v4(r->local);
	}
	return k;
}

static void rec_set_key(struct recs *t, uint32_t i, const struct flow_key *k)
{
	struct rec *r = &t->r[i];

	r->remote_port = k->remote_port;
	r->local_port = k->local_port;
	r->proto = k->proto;
	if (ip_addr_is_v4(&k->remote) && ip_addr_is_v4(&k->local)) {
		r->remote = ip_addr_to_v4(&k->remote);
		r->local = ip_addr_to_v4(&k->local);
	} else {
		r->flags |= REC_F_WIDE;
		t->wide[i] = (struct rec_addrs){k->remote, k->local};
	}
}

static uint32_t *bucket(const struct recs *t, const struct flow_key *k)
{
	return &t->buckets[linhash_bucket(&t->hash, (uint32_t)recs_hash(t, k))];
}

uint32_t recs_find(const struct recs *t, const struct flow_key *k)
{
	for (uint32_t i = *bucket(t, k); i; i = t->r[i - 1].hash_next) {
		struct flow_key have = rec_key(t, i - 1);

		if (!memcmp(&have, k, sizeof(*k)))
			return i - 1;
	}
	return SHM_NIL;
}

static void link_front(struct recs *t, uint32_t i, const struct flow_key *k)
{
	uint32_t *b = bucket(t, k);

	t->r[i].hash_next = *b;
	*b = i + 1;
}

static void grow(struct recs *t)
{
	uint32_t *b = &t->buckets[linhash_split(&t->hash)], i = *b;

	*b = 0;
	while (i) {
		uint32_t next = t->r[i - 1].hash_next;
		struct flow_key k = rec_key(t, i - 1);

		link_front(t, i - 1, &k);
		i = next;
	}
}

uint32_t recs_add(struct recs *t, const struct flow_key *k)
{
	uint32_t i = t->free;

	if (i != SHM_NIL)
		t->free = t->r[i].hash_next;
	else if (t->used < t->max)
		i = t->used++;
	else
		return SHM_NIL;
	t->r[i] = (struct rec){.next = SHM_NIL, .prev = SHM_NIL};
	rec_set_key(t, i, k);
	if (++t->n > t->hash.n && t->hash.n < t->max_buckets)
		grow(t);
	link_front(t, i, k);
	return i;
}

void recs_del(struct recs *t, uint32_t i)
{
	struct flow_key k = rec_key(t, i);
	uint32_t *p = bucket(t, &k);

	while (*p != i + 1)
		p = &t->r[*p - 1].hash_next;
	*p = t->r[i].hash_next;
	t->r[i].state = REC_FREE;
	t->r[i].hash_next = t->free;
	t->free = i;
	t->n--;
}

void rec_list_add(struct recs *t, uint32_t *head, uint32_t i)
{
	struct rec *r = &t->r[i];

	if (*head == SHM_NIL) {
		r->next = r->prev = *head = i;
		return;
	}
	r->next = *head;
	r->prev = t->r[*head].prev;
	t->r[r->prev].next = i;
	t->r[*head].prev = i;
}

void rec_list_del(struct recs *t, uint32_t *head, uint32_t i)
{
	struct rec *r = &t->r[i];

	t->r[r->prev].next = r->next;
	t->r[r->next].prev = r->prev;
	if (*head == i)
		*head = r->next == i ? SHM_NIL : r->next;
	r->next = r->prev = SHM_NIL;
}
