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

	/* Up to four in a bucket once it is full: the buckets are touched all over, and stay. */
	while (n < max / 4)
		n *= 2;
	*t = (struct recs){.max = max, .mask = n - 1, .free = SHM_NIL, .key = {key[0], key[1]}};
	t->r = map(sizeof(*t->r) * (size_t)max);
	t->buckets = map(sizeof(*t->buckets) * (size_t)n);
	if (t->r && t->buckets)
		return 0;
	recs_free(t);
	return -ENOMEM;
}

void recs_free(struct recs *t)
{
	if (t->r)
		munmap(t->r, sizeof(*t->r) * (size_t)t->max);
	if (t->buckets)
		munmap(t->buckets, sizeof(*t->buckets) * ((size_t)t->mask + 1));
	t->r = NULL;
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

static uint32_t *bucket(const struct recs *t, const struct flow_key *k)
{
	return &t->buckets[recs_hash(t, k) & t->mask];
}

uint32_t recs_find(const struct recs *t, const struct flow_key *k)
{
	for (uint32_t i = *bucket(t, k); i; i = t->r[i - 1].hash_next)
		if (!memcmp(&t->r[i - 1].key, k, sizeof(*k)))
			return i - 1;
	return SHM_NIL;
}

uint32_t recs_add(struct recs *t, const struct flow_key *k)
{
	uint32_t *b = bucket(t, k), i = t->free;

	if (i != SHM_NIL)
		t->free = t->r[i].hash_next;
	else if (t->used < t->max)
		i = t->used++;
	else
		return SHM_NIL;
	t->r[i] = (struct rec){.key = *k, .hash_next = *b, .next = SHM_NIL, .prev = SHM_NIL};
	*b = i + 1;
	t->n++;
	return i;
}

void recs_del(struct recs *t, uint32_t i)
{
	uint32_t *p = bucket(t, &t->r[i].key);

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
