// SPDX-License-Identifier: BSD-2-Clause
/*
 * Listeners that run in their application (docs/architecture.md, "Listeners in the application"):
 * while one process has a port alone, the port's entry in `ports` names its slot; of several sockets
 * (SO_REUSEPORT) the XDP program chooses one by the pair (spread.c). The application
 * answers SYNs and makes connections of which we know nothing; it tells us of those that last
 * (SHM_CONN_MINE), and they are as if we had handed them out. Our own listener stays where it
 * was, for all that the application passes on.
 *
 * Nothing is believed but within the port that the application listens on: a record is made only
 * of a pair of that port which has none.
 *
 * A shared listener (share.c) is its application's as long as one process alone uses it: that has
 * said so (SHM_LISTEN_USE), and no other one. Of several, each may have any of its connections: where
 * all are of the kind that is never busy for long (SHM_USE_EVENTS), each has a part of the SYNs, and gives
 * back what it does not accept in time; else the connections wait with us. What is half-open when a
 * process closes it, or dies, is the listener's: we go on with it.
 *
 * When a group's sockets change, some pairs' packets go to another member from then on: what that one
 * does not know it passes on to us, as all that it does not know, and we to the other members in
 * turn. A connection has a flow entry soon, so that this is for what was half-open, or short.
 *
 * Invariants: .front listens, and is .untold; d->n_fronts members are .untold; of one application one
 * in a group.
 */
#include <string.h>
#include "user/core/synreq_entry.h"
#include "user/core/timewait_entry.h"
#include "daemon.h"

#define STOP_LOOK_NS NS_PER_S

static void set_untold(struct daemon *d, struct member *m, bool untold)
{
	d->n_fronts += untold;
	d->n_fronts -= m->untold;
	m->untold = untold;
}

static bool has_mates(const struct member *m)
{
	return m->share && m->share->n_users > 1;
}

/* It answers SYNs, or would, and others can do so in its place. */
static bool may_be_stopped(const struct member *m)
{
	return has_mates(m) && m->uses && m->share->n_able == m->share->n_users;
}

static bool may_use(const struct member *m)
{
	return m->uses && !m->share->changed && (m->events || !has_mates(m));
}

/* Two listeners of a port in one application; those that it has only inherited are in nobody's way. */
static bool collide(const struct member *m, const struct member *o)
{
	return o != m && o->listening && o->group->port == m->group->port && (!o->share || o->uses);
}

/* An application's stack has one listener for a port, and none of what it cannot do alone. */
static bool can_front(const struct daemon *d, const struct member *m)
{
	const struct app *a = m->app;

	if (!d->cfg.listen_in_app || !m->listening || (m->share && !may_use(m)) ||
	    !(m->flags & CTL_LISTEN_LOCAL) || a->stage != APP_ALIVE)
		return false;
	for (uint32_t i = 0; i < a->n_members; i++)
		if (a->members[i] && collide(m, a->members[i]))
			return false;
	return true;
}

/* Of a share all who use it, or none: one that cannot would get nothing. */
static void look_at_members(struct daemon *d, struct group *g)
{
	for (struct share *sh = g->shares; sh; sh = sh->next)
		sh->n_able = sh->n_fronts = 0;
	for (struct member *m = g->members; m; m = m->next) {
		m->can_front = can_front(d, m);
		if (m->share)
			m->share->n_able += m->can_front;
	}
	for (struct member *m = g->members; m; m = m->next) {
		if (!m->share)
			continue;
		m->can_front &= m->share->n_able == m->share->n_users &&
				!(has_mates(m) && m->app->stopped);
		m->share->n_fronts += m->can_front;
	}
}

/* Which of them can, and the slot of the port's entry if they may; ours: nobody, or no table. */
static uint32_t look(struct daemon *d, struct group *g)
{
	uint32_t slot = TD_SLOT_DAEMON, n = 0;

	look_at_members(d, g);
	for (struct member *m = g->members; m; m = m->next) {
		if (!m->can_front)
			continue;
		slot = m->app->slot;
		n++;
	}
	if (!n || (n == 1 && g->n_listening == 1))
		return slot;
	return spread_update(d, g) ? TD_SLOT_DAEMON : TD_SLOT_SPREAD(g->spread_id);
}

/* Only a hint: what it does not hear in time it tells later. */
static void say_front(struct daemon *d, struct member *m, uint8_t flags)
{
	struct shm_msg msg = {.op = SHM_LISTEN_FRONT, .listener = m->id, .flags = flags};

	if (m->front == flags)
		return;
	m->front = flags;
	app_push(m->app, &msg);
	if (!flags || m->untold)
		return;
	/* Of one that could before, and cannot any more, we have all. */
	for (struct member *o = m->group->members; o; o = o->next)
		if (o->app == m->app)
			set_untold(d, o, false);
	set_untold(d, m, true);
}

void front_update(struct daemon *d, struct group *g)
{
	uint32_t slot, was = g->front_slot;
	uint8_t flags = 0;
	struct port_key k = port_key_of(g);
	struct port_val v;

	if (!g->n_listening)
		return;
	slot = look(d, g);
	g->front_slot = g->flooded ? TD_SLOT_DAEMON : slot;
	v = listener_port_val(d, g);
	if (g->front_slot != was && xdp_port_set(d->prog, &k, &v)) {
		log_warn("a port's entry is not changed: its connections take the other way");
		g->front_slot = was;
	}
	if (g->front_slot != was)
		g->settled = mtime_add_ns(d->now, FRONT_SETTLE_NS);
	if (slot < TD_MAX_SLOTS)
		spread_drop(d, g);
	if (g->front_slot != TD_SLOT_DAEMON)
		flags = SHM_FRONT_SYNS | (g->front_slot < TD_MAX_SLOTS ? SHM_FRONT_ALONE : 0);
	/* What begins here may end there, TIME_WAIT included. */
	tcp_listen_in_app(d->stack, g->core_id, flags);
	for (struct member *m = g->members; m; m = m->next) {
		uint8_t shared = has_mates(m) ? SHM_FRONT_SHARED : 0;

		say_front(d, m, m->can_front && flags ? flags | shared : 0);
		if (may_be_stopped(m))
			d->stop_look = mtime_min(d->stop_look, mtime_add_ns(d->now, STOP_LOOK_NS));
	}
}

/* Nobody tells us. */
static bool is_stopped(const struct app *a)
{
	char state[32];

	/* By a signal, or by a debugger. */
	return proc_status(a->pid, "State", state, sizeof(state)) &&
	       (state[0] == 'T' || state[0] == 't');
}

/* The others of its sockets go on without one that is stopped; and with it when it continues. */
static bool look_for_stopped(struct daemon *d, struct app *a)
{
	bool was = a->stopped, looks = false;

	for (uint32_t i = 0; i < a->n_members && !looks; i++)
		looks = a->members[i] && may_be_stopped(a->members[i]);
	a->stopped = looks && is_stopped(a);
	for (uint32_t i = 0; i < a->n_members && a->stopped != was; i++)
		if (a->members[i] && a->members[i]->uses)
			front_update(d, a->members[i]->group);
	return looks;
}

struct mtime front_run(struct daemon *d)
{
	bool any = false;

	if (mtime_before(d->now, d->stop_look))
		return d->stop_look;
	for (uint32_t s = 1; s < d->slots; s++)
		if (d->apps[s])
			any |= look_for_stopped(d, d->apps[s]);
	d->stop_look = any ? mtime_add_ns(d->now, STOP_LOOK_NS) : MTIME_NEVER;
	return d->stop_look;
}

void front_unshare(struct member *m)
{
	if (m->uses)
		m->share->n_users--;
	m->can_front = m->uses = false;
	m->front = 0;
	m->places = 0;
}

void front_forget(struct daemon *d, struct member *m)
{
	front_unshare(m);
	set_untold(d, m, false);
}

/* To the head of its group's list: of many that have a listener few use it, and these are looked for. */
static void begin_use(struct member *m)
{
	struct member **p = &m->group->members;

	while (*p != m)
		p = &(*p)->next;
	*p = m->next;
	m->next = m->group->members;
	m->group->members = m;
	m->uses = true;
	m->share->n_users++;
}

void front_uses(struct daemon *d, struct app *a, const struct shm_msg *m)
{
	struct member *by = m->listener < a->n_members ? a->members[m->listener] : NULL;

	if (!by || !by->share)
		return;
	if (!by->uses)
		begin_use(by);
	by->flags &= ~CTL_LISTEN_LOCAL;
	if (m->flags & SHM_USE_LOCAL)
		by->flags |= CTL_LISTEN_LOCAL;
	by->events = m->flags & SHM_USE_EVENTS;
	front_update(d, by->group);
}

void front_stop(struct daemon *d, struct group *g)
{
	g->front_slot = TD_SLOT_DAEMON;
	spread_drop(d, g);
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

	if (to && (to->listening || to->untold) && m->conn < a->view.n_tcbs)
		adopt(d, to, m->conn, m->generation, &k, m->flags & SHM_MINE_WAITING);
}

/* The member of @a by which a connection of @k came: that of its address goes before that of any.
 */
static struct member *way_in(const struct app *a, const struct flow_key *k)
{
	struct member *any = NULL;

	for (uint32_t i = 0; i < a->n_members; i++) {
		struct member *m = a->members[i];

		if (!m || !m->untold || !covers(m->group, &k->local, k->local_port))
			continue;
		if (!ip_addr_is_any(&m->group->addr))
			return m;
		any = m;
	}
	return any;
}

static bool any_untold(const struct app *a)
{
	for (uint32_t i = 0; i < a->n_members; i++)
		if (a->members[i] && a->members[i]->untold)
			return true;
	return false;
}

void front_adopt(struct daemon *d, struct app *a)
{
	const struct arena_hdr *h = (const struct arena_hdr *)(const void *)a->arena.base;
	uint32_t n = READ_ONCE(h->n_born);

	if (!any_untold(a))
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
		m = way_in(a, &k);
		waits = !READ_ONCE(t->cookie) && !(READ_ONCE(t->flags) & TCB_F_CLOSED);
		if (m)
			adopt(d, m, i, READ_ONCE(t->generation), &k, waits);
	}
}

static void adopt_timewaits(struct daemon *d, struct app *a)
{
	const struct arena_hdr *h = (const struct arena_hdr *)(const void *)a->arena.base;
	uint32_t used = READ_ONCE(h->n_tws_used), n = 0, r;

	for (uint32_t i = 0; i < used && i < a->view.n_tws; i++) {
		struct timewait w;
		struct flow_key k;

		/* It may be changing while we look. */
		memcpy(&w, (const void *)&a->view.tws[i], sizeof(w));
		k = flow_key_of(&w.a);
		if (!w.used || !way_in(a, &k) || recs_find(&d->recs, &k) != SHM_NIL ||
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

static void adopt_requests(struct daemon *d, struct app *a)
{
	const struct arena_hdr *h = (const struct arena_hdr *)(void *)a->arena.base;
	uint32_t used = READ_ONCE(h->n_synreqs_used), n = 0;

	for (uint32_t i = 0; i < used && i < a->view.n_synreqs; i++) {
		struct synreq r;
		struct member *m;
		struct flow_key k;

		/* It may be changing while we look. */
		memcpy(&r, (const void *)&a->view.synreqs[i], sizeof(r));
		k = flow_key_of(&r.a);
		m = r.used ? way_in(a, &k) : NULL;
		if (m && m->share && recs_find(&d->recs, &k) == SHM_NIL)
			n += !stack_rescue_synreq(d->stack, m->group->core_id, &r, d->now);
	}
	if (n)
		log_debug("application %u: %u half-open connections taken over", a->slot, n);
}

void front_adopt_rest(struct daemon *d, struct app *a)
{
	if (!any_untold(a))
		return;
	adopt_timewaits(d, a);
	adopt_requests(d, a);
}

void front_leaves(struct daemon *d, struct app *a, uint32_t id)
{
	if (id < a->n_members && a->members[id] && a->members[id]->untold)
		front_adopt_rest(d, a);
}

/* ---- packets whose record nobody has ---- */

static bool may_know(const struct member *m)
{
	return m->untold && m->app->stage == APP_ALIVE;
}

static struct member *next_of(const struct group *g, struct member *m)
{
	struct member *next = m->next;

	while (next != m) {
		if (!next)
			next = g->members;
		else if (may_know(next))
			return next;
		else
			next = next->next;
	}
	return m;
}

/* Who has the pair's packets, or had them; after that the others in turn. */
static struct member *first_of(const struct daemon *d, const struct group *g,
			       const struct flow_key *k)
{
	struct member *m = spread_member(g, k);

	if (m && may_know(m))
		return m;
	if (g->spread && !mtime_before(d->now, g->settled))
		return NULL;
	for (m = g->members; m && !may_know(m);)
		m = m->next;
	return m;
}

static struct member *untold_in(const struct group *g, uint16_t slot)
{
	struct member *m = g->members;

	while (m && !(may_know(m) && m->app->slot == slot))
		m = m->next;
	return m;
}

static struct app *who_may_know(const struct daemon *d, const struct group *g,
				const struct flow_key *k)
{
	struct member *first = first_of(d, g, k), *asked, *next;

	if (!first)
		return NULL;
	asked = untold_in(g, d->inject_from); /* what comes from it, it does not know */
	if (!asked)
		return first->app;
	if (!mtime_before(d->now, g->settled))
		return NULL;
	next = next_of(g, asked);
	return next == first ? NULL : next->app;
}

struct app *front_answers(struct daemon *d, const struct tcp_addr_pair *p)
{
	struct flow_key k = flow_key_of(p);
	const struct group *at = NULL;
	const struct member *m;

	for (const struct group *g = d->groups; g; g = g->next)
		if (covers(g, &p->local, p->local_port) && (!at || ip_addr_is_any(&at->addr)))
			at = g;
	if (!at || at->front_slot == TD_SLOT_DAEMON)
		return NULL;
	if (at->front_slot < TD_MAX_SLOTS)
		return d->apps[at->front_slot];
	m = spread_member(at, &k);
	return m && may_know(m) ? m->app : NULL;
}

struct app *front_of(struct daemon *d, const struct tcp_addr_pair *p)
{
	struct flow_key k = flow_key_of(p);

	if (!d->n_fronts)
		return NULL;
	for (const struct group *g = d->groups; g; g = g->next) {
		struct app *a;

		if (!covers(g, &p->local, p->local_port))
			continue;
		a = who_may_know(d, g, &k);
		if (a)
			return stack_knows_pair(d->stack, p) ? NULL : a;
	}
	return NULL;
}
