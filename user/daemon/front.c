// SPDX-License-Identifier: BSD-2-Clause
/*
 * Listeners that run in their application (docs/architecture.md, "Listeners in the application"):
 * while one process has a port alone, the port's entry in `ports` names its slot. The application
 * answers SYNs and makes connections of which we know nothing; it tells us of those that last
 * (SHM_CONN_MINE), and they are as if we had handed them out. Our own listener stays where it
 * was, for all that the application passes on.
 *
 * Nothing is believed but within the port that the application listens on: a record is made only
 * of a pair of that port which has none.
 *
 * Invariants: .front listens, alone, in .front_slot; d->n_fronts groups have a .front_slot.
 */
#include <string.h>
#include "user/core/timewait_entry.h"
#include "daemon.h"

static void set_slot(struct daemon *d, struct group *g, uint16_t slot)
{
	d->n_fronts -= !!g->front_slot;
	d->n_fronts += !!slot;
	g->front_slot = slot;
}

/* The one that can answer SYNs alone; NULL: there is none. */
static struct member *candidate(const struct daemon *d, const struct group *g)
{
	if (!d->cfg.listen_in_app || g->flooded || g->shares || g->n_listening != 1)
		return NULL;
	for (struct member *m = g->members; m; m = m->next)
		if (m->listening)
			return m->flags & CTL_LISTEN_LOCAL && m->app->stage == APP_ALIVE ? m : NULL;
	return NULL;
}

/* Only a hint: what it does not hear in time it tells later. */
static void say_front(struct member *m, bool on)
{
	struct shm_msg msg = {.op = SHM_LISTEN_FRONT, .listener = m->id, .flags = on};

	app_push(m->app, &msg);
}

void front_update(struct daemon *d, struct group *g)
{
	struct member *was = g->front, *m = candidate(d, g);
	struct port_key k = port_key_of(g);
	struct port_val v;

	/* Another one's connections may be untold: it comes after these have a record. */
	if (m && g->front_slot && g->front_slot != m->app->slot)
		m = NULL;
	if (m == was || !g->n_listening)
		return;
	g->front = m;
	v = listener_port_val(d, g);
	if (xdp_port_set(d->prog, &k, &v)) {
		log_warn("a port's entry is not changed: its connections take the other way");
		g->front = was;
		return;
	}
	if (was)
		say_front(was, false);
	if (m) {
		set_slot(d, g, m->app->slot);
		say_front(m, true);
	}
}

void front_forget(struct daemon *d, struct member *m)
{
	struct group *g = m->group;

	if (g->front == m)
		g->front = NULL;
	if (m->listening && g->front_slot == m->app->slot)
		set_slot(d, g, 0);
}

/* ---- records ---- */

static bool covers(const struct group *g, const struct ip_addr *local, uint16_t port)
{
	return g->port == port && (ip_addr_is_any(&g->addr) || ip_addr_eq(&g->addr, local));
}

#define HEADERS 66u /* Ethernet, IPv4, TCP with timestamps */

/* It counts on from what has come by the port's entry, as far as the application tells. */
static void enter(struct daemon *d, uint32_t i, const struct app *a)
{
	struct tcb_copy c;
	uint64_t segs;

	tcb_peek(&a->view, rec_at(d, i)->conn, &c);
	segs = c.t.segs_in;

	rec_enter_flow(d, i,
		       &(struct flow_val){.slot = a->slot,
					  .conn = rec_at(d, i)->conn,
					  .generation = rec_at(d, i)->generation,
					  .state = FLOW_ESTABLISHED,
					  .packets = segs,
					  .bytes = c.t.bytes_received + segs * HEADERS,
					  .last_seen = d->now.ns});
}

static void adopt(struct daemon *d, struct member *m, uint32_t conn, uint32_t generation,
		  const struct flow_key *k, bool waits)
{
	struct tcp_addr_pair p = pair_of(k);
	struct rec *r;
	uint32_t i;

	if (!covers(m->group, &k->local, k->local_port) || ip_addr_is_any(&k->local) ||
	    ip_addr_is_any(&k->remote) || !k->remote_port)
		return;
	i = rec_new(d, k, m->app->slot, REC_TAKEN);
	if (i == SHM_NIL)
		return;
	stack_pair_elsewhere(d->stack, &p);
	r = rec_at(d, i);
	r->conn = conn;
	r->generation = generation;
	r->name[0] = m->id;
	if (m->share) {
		r->flags |= REC_F_VIA;
		rec_set_share(r, m->share->id);
	}
	if (waits)
		m->handed++;
	enter(d, i, m->app);
}

void front_told(struct daemon *d, struct app *a, const struct shm_msg *m)
{
	struct tcp_addr_pair p = {m->local, m->remote, m->local_port, m->remote_port};
	struct flow_key k = flow_key_of(&p);
	struct member *to = m->listener < a->n_members ? a->members[m->listener] : NULL;

	if (to && to->listening && m->conn < a->view.n_tcbs)
		adopt(d, to, m->conn, m->generation, &k, m->flags & SHM_MINE_WAITING);
}

/* The member of @a by which a connection of @k came: that of its address goes before that of any.
 */
static struct member *way_in(const struct daemon *d, const struct app *a, const struct flow_key *k)
{
	struct member *any = NULL;

	for (const struct group *g = d->groups; g; g = g->next) {
		if (g->front_slot != a->slot || !covers(g, &k->local, k->local_port))
			continue;
		for (struct member *m = g->members; m; m = m->next)
			if (m->app == a && m->listening && !ip_addr_is_any(&g->addr))
				return m;
			else if (m->app == a && m->listening)
				any = m;
	}
	return any;
}

void front_adopt(struct daemon *d, struct app *a)
{
	const struct arena_hdr *h = (const struct arena_hdr *)(const void *)a->arena.base;
	uint32_t n = READ_ONCE(h->n_born);

	if (!d->n_fronts)
		return;
	for (uint32_t i = 0; i < n && i < a->view.n_tcbs; i++) {
		const struct tcb *t = &a->view.tcbs[i];
		uint8_t owner = READ_ONCE(t->owner);
		struct flow_key k;
		struct member *m;
		bool waits;

		if ((owner != TCB_MINE && owner != TCB_EXPORTED) ||
		    !(READ_ONCE(t->sockopt) & TCB_BORN_UNTOLD) || READ_ONCE(t->state) == TCP_CLOSED)
			continue;
		k = key_of_tcb(t);
		m = way_in(d, a, &k);
		waits = !READ_ONCE(t->cookie) && !(READ_ONCE(t->flags) & TCB_F_CLOSED);
		if (m)
			adopt(d, m, i, READ_ONCE(t->generation), &k, waits);
	}
}

void front_adopt_timewaits(struct daemon *d, struct app *a)
{
	const struct arena_hdr *h = (const struct arena_hdr *)(const void *)a->arena.base;
	uint32_t used = READ_ONCE(h->n_tws_used), n = 0, r;

	if (!d->n_fronts)
		return;
	for (uint32_t i = 0; i < used && i < a->view.n_tws; i++) {
		struct timewait w;
		struct flow_key k;

		/* It may be changing while we look. */
		memcpy(&w, (const void *)&a->view.tws[i], sizeof(w));
		k = flow_key_of(&w.a);
		if (!w.used || !way_in(d, a, &k) || recs_find(&d->recs, &k) != SHM_NIL ||
		    stack_rescue_timewait(d->stack, &w, d->now))
			continue;
		n++;
		/* Without an entry a late FIN would reach the kernel where no listener is left. */
		r = rec_new(d, &k, TD_SLOT_DAEMON, REC_TIMEWAIT);
		if (r == SHM_NIL)
			continue;
		rec_at(d, r)->conn = TD_NO_CONN;
		rec_set_flow(d, r, TD_SLOT_DAEMON, FLOW_CLOSING);
	}
	if (n)
		log_debug("application %u: %u connections in TIME_WAIT taken over", a->slot, n);
}

struct app *front_of(struct daemon *d, const struct tcp_addr_pair *p)
{
	if (!d->n_fronts)
		return NULL;
	for (const struct group *g = d->groups; g; g = g->next) {
		struct app *a = g->front_slot ? d->apps[g->front_slot] : NULL;

		if (!a || !covers(g, &p->local, p->local_port))
			continue;
		/* What comes from it, it does not know. */
		if (a->stage != APP_ALIVE || d->inject_from == a->slot ||
		    stack_knows_pair(d->stack, p))
			return NULL;
		return a;
	}
	return NULL;
}
