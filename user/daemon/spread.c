// SPDX-License-Identifier: BSD-2-Clause
/*
 * Which of a group's sockets (SO_REUSEPORT) a connection goes to, where some of them answer SYNs in
 * their applications: by the hash of its pair, as in the kernel, in a table that the XDP program reads
 * (`spreads`, common/flow.h). Each socket has the same number of places, give or take one, and each process
 * that uses it the same part of them; those that answer no SYNs have theirs together, under our slot. When
 * a socket comes or goes, no more places change than have to.
 *
 * Invariants: .spread_id of a group with .spread is in d->spreads_used; the table names slots of
 * members with .can_front only, as of the last spread_update().
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "daemon.h"

/* With more of them, their parts would be too unequal. */
#define MAX_PARTS (TD_SPREAD_PLACES / 3)

static struct member *member_in(const struct group *g, uint16_t slot)
{
	if (slot == TD_SLOT_DAEMON || slot == TD_SLOT_NONE)
		return NULL;
	for (struct member *m = g->members; m; m = m->next)
		if (m->can_front && m->app->slot == slot)
			return m;
	return NULL;
}

struct member *spread_member(const struct group *g, const struct flow_key *k)
{
	return g->spread ? member_in(g, g->spread->slot[spread_place(k, g->spread->salt)]) : NULL;
}

static int spread_open(struct daemon *d, struct group *g)
{
	struct spread *s;

	if (!~d->spreads_used)
		return -ENOSPC;
	s = malloc(sizeof(*s));
	if (!s)
		return -ENOMEM;
	if (getrandom(&s->salt, sizeof(s->salt), 0) != sizeof(s->salt)) {
		free(s);
		return -EIO;
	}
	/* Who had the port alone keeps what it may. */
	for (uint32_t i = 0; i < TD_SPREAD_PLACES; i++)
		s->slot[i] = g->front_slot ? (uint16_t)g->front_slot : TD_SLOT_NONE;
	g->spread = s;
	g->spread_id = (uint32_t)__builtin_ctzll(~d->spreads_used);
	d->spreads_used |= 1ull << g->spread_id;
	return 0;
}

void spread_drop(struct daemon *d, struct group *g)
{
	if (!g->spread)
		return;
	d->spreads_used &= ~(1ull << g->spread_id);
	free(g->spread);
	g->spread = NULL;
}

/* What is left to give: to members, and to all others together. */
struct parts {
	uint32_t each, more; /* of a socket; this many have one more */
	uint32_t ours;	     /* under our slot */
};

/* Of several processes that use a socket each has a part of its. */
static uint32_t part_of(const struct parts *p, const struct member *m)
{
	return m->share ? p->each / m->share->n_fronts : p->each;
}

static struct parts parts_of(const struct group *g)
{
	struct parts p = {.each = TD_SPREAD_PLACES / g->n_listening};
	uint32_t n = g->n_listening, given = 0;

	for (const struct member *m = g->members; m; m = m->next) {
		if (!m->can_front)
			continue;
		n -= !m->share;
		given += part_of(&p, m);
	}
	for (const struct share *sh = g->shares; sh; sh = sh->next)
		n -= sh->n_fronts > 0;
	p.ours = n * p.each;
	p.more = TD_SPREAD_PLACES - p.ours - given;
	if (n && p.more) {
		uint32_t extra = p.more < n ? p.more : n;

		p.ours += extra;
		p.more -= extra;
	}
	return p;
}

/* One more, unless it has its part. */
static bool give(struct parts *p, struct member *m)
{
	uint32_t part = part_of(p, m);

	if (m->places == part && p->more)
		p->more--;
	else if (m->places >= part)
		return false;
	m->places++;
	return true;
}

static bool give_us(struct parts *p)
{
	if (!p->ours)
		return false;
	p->ours--;
	return true;
}

static void keep(const struct group *g, struct spread *s, struct parts *p)
{
	for (uint32_t i = 0; i < TD_SPREAD_PLACES; i++) {
		struct member *m = member_in(g, s->slot[i]);

		if (m ? !give(p, m) : s->slot[i] != TD_SLOT_DAEMON || !give_us(p))
			s->slot[i] = TD_SLOT_NONE;
	}
}

/* The next who lacks one, from @m on; NULL: nobody. */
static struct member *taker(const struct group *g, struct member *m, struct parts *p)
{
	for (int round = 0; round < 2; round++, m = g->members)
		for (; m; m = m->next)
			if (m->can_front && give(p, m))
				return m;
	return NULL;
}

/* Those that have lost their owner, in turns. */
static void fill(const struct group *g, struct spread *s, struct parts *p)
{
	struct member *m = NULL;

	for (uint32_t i = 0; i < TD_SPREAD_PLACES; i++) {
		if (s->slot[i] != TD_SLOT_NONE)
			continue;
		m = taker(g, m ? m->next : NULL, p);
		s->slot[i] = m ? m->app->slot : TD_SLOT_DAEMON;
	}
}

int spread_update(struct daemon *d, struct group *g)
{
	uint32_t n = g->n_listening;
	struct parts p;
	struct spread s;
	int err = 0;

	for (const struct share *sh = g->shares; sh; sh = sh->next)
		n += sh->n_fronts;
	if (n > MAX_PARTS)
		return -E2BIG;
	p = parts_of(g);
	if (!g->spread)
		err = spread_open(d, g);
	if (err)
		return err;
	s = *g->spread;
	for (struct member *m = g->members; m; m = m->next)
		m->places = 0;
	keep(g, &s, &p);
	fill(g, &s, &p);
	err = xdp_spread_set(d->prog, g->spread_id, &s);
	if (err)
		return err;
	if (memcmp(g->spread, &s, sizeof(s)))
		g->settled = mtime_add_ns(d->now, FRONT_SETTLE_NS);
	*g->spread = s;
	return 0;
}
