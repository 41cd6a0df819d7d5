// SPDX-License-Identifier: BSD-2-Clause
/*
 * Connections that our listeners have accepted: they go to the sockets that listen, by a hash of the
 * pair. Those of a share wait with us for a member that wants one.
 */
#include "daemon.h"

/*
 * Connections that a member of a share may have in its queue. More than one because who waits for
 * them usually takes several before it does anything else.
 */
#define SHARE_AHEAD 8u

/* ---- shared listeners ---- */

/* Who gets the next one: of those who want one who has the fewest waiting, then in turns. */
static struct member *willing(const struct share *sh)
{
	struct member *best = NULL;
	uint32_t least = SHARE_AHEAD;

	for (struct member *m = sh->group->members; m; m = m->next) {
		uint32_t n;

		if (m->share != sh || !m->listening || m->app->stage != APP_ALIVE ||
		    m->app->ready != SHM_NIL)
			continue;
		if (!m->asked && !READ_ONCE(arena_listeners(&m->app->arena)[m->index].want))
			continue;
		n = member_waiting(m);
		if (n < least ||
		    (best && n == least && sh->serial - m->served > sh->serial - best->served)) {
			best = m;
			least = n;
		}
	}
	return best;
}

static void tell_pending(struct share *sh)
{
	sh->told = sh->n_pool;
	for (struct member *m = sh->group->members; m; m = m->next)
		if (m->share == sh && m->listening)
			WRITE_ONCE(arena_listeners(&m->app->arena)[m->index].pending, sh->told);
	/* Who begins to want one either sees this, or is seen. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void serve(struct daemon *d, struct share *sh)
{
	struct member *m = NULL;

	while (sh->pool != SHM_NIL && (m = willing(sh))) {
		uint32_t i = sh->pool;
		struct rec *r = rec_at(d, i);

		dispatch_unpool(d, i);
		r->slot = m->app->slot;
		r->name[0] = m->id;
		m->handed++;
		m->asked = false;
		m->served = ++sh->serial;
		rec_set_state(d, i, REC_READY);
		handover_flush(d, m->app);
	}
}

static void share_serve(struct daemon *d, struct share *sh)
{
	serve(d, sh);
	if (sh->told == sh->n_pool)
		return;
	tell_pending(sh);
	if (sh->pool == SHM_NIL)
		return;
	serve(d, sh);
	if (sh->told != sh->n_pool)
		tell_pending(sh);
}

void dispatch_pool(struct daemon *d, struct share *sh, uint32_t i)
{
	rec_list_add(&d->recs, &sh->pool, i);
	sh->n_pool++;
	share_serve(d, sh);
}

void dispatch_unpool(struct daemon *d, uint32_t i)
{
	struct share *sh = share_of(d, rec_at(d, i));

	rec_list_del(&d->recs, &sh->pool, i);
	sh->n_pool--;
}

void dispatch_wanted(struct daemon *d, struct app *a, uint32_t id)
{
	struct shm_msg none = {.op = SHM_LISTEN_NONE, .listener = id};
	struct member *m = member_get(a, id);

	if (m && m->share && m->listening) {
		m->asked = true;
		share_serve(d, m->share);
		if (!m->asked)
			return;
		m->asked = false;
	}
	app_push(a, &none);
}

void dispatch_returned(struct app *a, const struct rec *r)
{
	struct member *m = member_get(a, rec_listener(r));

	if (m && m->listening && m->share)
		m->handed--;
}

/* ---- all of a group ---- */

static bool here(const struct group *g, const struct member *m)
{
	return m->listening && !m->share && !(g->spread && m->places);
}

static bool share_here(const struct group *g, const struct share *sh)
{
	const struct member *m = g->spread ? g->members : NULL;

	while (m && !(m->share == sh && m->places))
		m = m->next;
	return !m;
}

/*
 * The socket that gets the connection of @k: a member, or a share. One whose SYN should have gone to
 * an application is that one's all the same.
 */
static struct member *choose(struct daemon *d, struct group *g, const struct flow_key *k,
			     struct share **shared)
{
	struct member *by_spread = spread_member(g, k);
	uint32_t n = 0;

	/* Of a shared one, whoever has it: the process that uses it may be another one soon. */
	*shared = by_spread ? by_spread->share : NULL;
	if (by_spread)
		return *shared ? NULL : by_spread;
	for (const struct member *m = g->members; m; m = m->next)
		n += here(g, m);
	for (const struct share *sh = g->shares; sh; sh = sh->next)
		n += share_here(g, sh);
	if (n > 1)
		n = (uint32_t)((recs_hash(&d->recs, k) >> 32) % n);
	else
		n = 0;
	for (struct member *m = g->members; m; m = m->next)
		if (here(g, m) && !n--)
			return m;
	for (struct share *sh = g->shares; sh && !*shared; sh = sh->next)
		if (share_here(g, sh) && !n--)
			*shared = sh;
	return NULL;
}

static bool blocked(const struct group *g)
{
	for (const struct member *m = g->members; m; m = m->next)
		if (m->listening && !m->share && m->app->ready != SHM_NIL)
			return true;
	return false;
}

static void take(struct daemon *d, struct group *g, uint32_t conn)
{
	const struct tcb *t = tcp_get(d->stack, conn);
	struct tcp_addr_pair p = {t->local, t->remote, t->local_port, t->remote_port};
	struct flow_key k = flow_key_of(&p);
	struct share *sh;
	struct member *m = choose(d, g, &k, &sh);
	uint32_t i = SHM_NIL;

	if (m)
		i = rec_new(d, &k, m->app->slot, REC_READY);
	else if (sh)
		i = rec_new(d, &k, TD_SLOT_DAEMON, REC_HELD);
	if (i == SHM_NIL) {
		if (t->opt & TCB_OPT_SYNACK)
			tcp_fastopen_done(d->stack, g->core_id);
		tcp_abort(d->stack, conn, d->now);
		return;
	}
	if (t->opt & TCB_OPT_SYNACK)
		rec_at(d, i)->flags |= REC_F_FASTOPEN;
	rec_at(d, i)->conn = conn;
	rec_at(d, i)->generation = t->generation;
	if (!m) {
		rec_at(d, i)->flags |= REC_F_VIA;
		rec_set_share(rec_at(d, i), sh->id);
		dispatch_pool(d, sh, i);
		return;
	}
	rec_at(d, i)->name[0] = m->id;
	m->handed++;
	handover_flush(d, m->app);
}

void dispatch_refused(struct app *a, const struct rec *r)
{
	bool passive = !(r->flags & (REC_F_ACTIVE | REC_F_SHARED));
	struct member *m = passive ? member_get(a, rec_listener(r)) : NULL;

	if (m && m->listening)
		m->handed--;
}

void dispatch_confirmed(struct daemon *d, uint32_t i)
{
	struct flow_key k = rec_key(&d->recs, i);
	struct group *g;

	if (!(rec_at(d, i)->flags & REC_F_FASTOPEN))
		return;
	rec_at(d, i)->flags &= ~REC_F_FASTOPEN & 0x7f;
	for (g = d->groups; g; g = g->next)
		if (g->port == k.local_port && g->core_id != SHM_NIL &&
		    (ip_addr_is_any(&g->addr) || ip_addr_eq(&g->addr, &k.local)))
			tcp_fastopen_done(d->stack, g->core_id);
}

static void accept_all(struct daemon *d, struct group *g)
{
	uint32_t conn;

	while (!(g->again = blocked(g)) && !tcp_accept(d->stack, g->core_id, &conn))
		take(d, g, conn);
}

static void refresh(struct daemon *d, struct group *g)
{
	uint64_t n = 0;

	for (const struct member *m = g->members; m; m = m->next)
		n += m->listening ? member_waiting(m) : 0;
	for (const struct share *sh = g->shares; sh; sh = sh->next)
		n += sh->n_pool;
	if (n > INT32_MAX)
		n = INT32_MAX;
	if (n == g->outside)
		return;
	g->outside = (uint32_t)n;
	tcp_listen_outside(d->stack, g->core_id, g->outside);
}

void dispatch_accept(struct daemon *d, uint32_t core_id)
{
	struct group *g = core_id < d->n_core_listeners ? d->by_core[core_id] : NULL;

	if (!g)
		return;
	accept_all(d, g);
	refresh(d, g);
}

void dispatch_refresh(struct daemon *d)
{
	for (struct group *g = d->groups; g; g = g->next) {
		if (!g->n_listening)
			continue;
		for (struct share *sh = g->shares; sh; sh = sh->next)
			if (sh->pool != SHM_NIL)
				share_serve(d, sh);
		if (g->outside || g->shares)
			refresh(d, g);
		if (g->again)
			accept_all(d, g);
	}
}
