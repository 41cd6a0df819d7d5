// SPDX-License-Identifier: BSD-2-Clause
/*
 * Connections between the stack and applications (docs/architecture.md, "Hand-over"): the records'
 * states, messages from applications, and what becomes of a dead application's connections.
 *
 * A connection has a record from the moment it is meant for an application until its last trace in
 * the stack is gone; `flows` has an entry for it while packets could not find their way by
 * `ports`. A message names a connection by index and generation; it is believed only where
 * our record says that this application has just that.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include "daemon.h"

#define MSG_BUDGET 256u
#define OUTPUT_EVERY 32u /* packets that may pile up in the stack before they are sent */

/* ---- keys ---- */

struct flow_key flow_key_of(const struct tcp_addr_pair *p)
{
	return (struct flow_key){.remote = p->remote,
				 .local = p->local,
				 .remote_port = p->remote_port,
				 .local_port = p->local_port,
				 .proto = IPPROTO_TCP};
}

struct tcp_addr_pair pair_of(const struct flow_key *k)
{
	return (struct tcp_addr_pair){.local = k->local,
				      .remote = k->remote,
				      .local_port = k->local_port,
				      .remote_port = k->remote_port};
}

/* From any arena: only these fields are read, once. */
struct flow_key key_of_tcb(const struct tcb *t)
{
	struct tcp_addr_pair p;

	memcpy(&p.local, &t->local, sizeof(p.local));
	memcpy(&p.remote, &t->remote, sizeof(p.remote));
	p.local_port = READ_ONCE(t->local_port);
	p.remote_port = READ_ONCE(t->remote_port);
	return flow_key_of(&p);
}

uint32_t rec_of_own(struct daemon *d, uint32_t conn, uint32_t generation)
{
	struct flow_key k;
	uint32_t i;

	if (conn >= d->view.n_tcbs)
		return SHM_NIL;
	k = key_of_tcb(&d->view.tcbs[conn]);
	i = recs_find(&d->recs, &k);
	if (i == SHM_NIL || rec_at(d, i)->state == REC_TAKEN || rec_at(d, i)->conn != conn ||
	    rec_at(d, i)->generation != generation)
		return SHM_NIL;
	return i;
}

/* The record of @a's connection, whose index and generation it told; SHM_NIL: it has no such. */
static uint32_t rec_of_app(struct daemon *d, const struct app *a, const struct flow_key *k,
			   uint32_t conn, uint32_t generation)
{
	uint32_t i = recs_find(&d->recs, k);
	const struct rec *r;

	if (i == SHM_NIL)
		return SHM_NIL;
	r = rec_at(d, i);
	if (r->state != REC_TAKEN || r->slot != a->slot ||
	    (conn != TD_NO_CONN && (r->conn != conn || r->generation != generation)))
		return SHM_NIL;
	return i;
}

/* ---- records and their flow entries ---- */

/* NULL: a state in which it is nobody's. */
static uint32_t *list_of(struct app *a, enum rec_state st)
{
	if (!a)
		return NULL;
	switch (st) {
	case REC_OPENING:
		return &a->opening;
	case REC_READY:
		return &a->ready;
	case REC_OFFERED:
	case REC_TAKEN:
		return &a->handed;
	default:
		return NULL;
	}
}

void rec_set_state(struct daemon *d, uint32_t i, enum rec_state st)
{
	struct rec *r = rec_at(d, i);
	struct app *a = d->apps[r->slot];
	uint32_t *from = list_of(a, r->state), *to = list_of(a, st);

	r->state = (uint8_t)st;
	if (!to)
		r->slot = TD_SLOT_DAEMON;
	if (from == to)
		return;
	if (from) {
		rec_list_del(&d->recs, from, i);
		a->n_conns--;
	}
	if (to) {
		rec_list_add(&d->recs, to, i);
		a->n_conns++;
	}
}

int rec_enter_flow(struct daemon *d, uint32_t i, const struct flow_val *v)
{
	struct rec *r = rec_at(d, i);
	struct flow_key k = rec_key(&d->recs, i);
	int err = xdp_flow_set(d->prog, &k, v);

	if (err) {
		log_err("cannot enter a flow: %s", strerror(-err));
		return err;
	}
	r->flags |= REC_F_FLOW;
	r->flags &= (uint8_t)~REC_F_SLOW;
	if (v->slot == TD_SLOT_DAEMON)
		r->flags |= REC_F_SLOW;
	return 0;
}

int rec_set_flow(struct daemon *d, uint32_t i, uint16_t slot, enum flow_state st)
{
	const struct rec *r = rec_at(d, i);
	struct flow_val v = {
		.slot = slot, .conn = r->conn, .generation = r->generation, .state = st};

	return rec_enter_flow(d, i, &v);
}

void rec_drop(struct daemon *d, uint32_t i)
{
	struct rec *r = rec_at(d, i);
	struct flow_key k = rec_key(&d->recs, i);

	share_rec_gone(d, i);
	dispatch_confirmed(d, i); /* or at an end, which counts as much */
	if (r->flags & REC_F_FLOW)
		xdp_flow_del(d->prog, &k);
	rec_set_state(d, i, REC_FREE);
	recs_del(&d->recs, i);
}

uint32_t rec_new(struct daemon *d, const struct flow_key *k, uint16_t slot, enum rec_state st)
{
	uint32_t i = recs_find(&d->recs, k);

	if (i != SHM_NIL && rec_at(d, i)->state != REC_TIMEWAIT)
		return SHM_NIL;
	if (i != SHM_NIL)
		rec_drop(d, i); /* the stack has allowed the pair to be used again */
	i = recs_add(&d->recs, k);
	if (i == SHM_NIL) {
		if (!d->table_full_said)
			log_err("max_flows = %u connections are there: no more can be taken",
				d->cfg.max_flows);
		d->table_full_said = true;
		return SHM_NIL;
	}
	rec_at(d, i)->slot = slot;
	rec_set_state(d, i, st);
	return i;
}

/* ---- to an application ---- */

bool app_push(struct app *a, const struct shm_msg *m)
{
	if (!shm_msg_push(a->to_app, m))
		return false;
	a->wake = true;
	return true;
}

/* Ours, exported and not wanted by anybody: the peer gets a RST. */
static void reset_exported(struct daemon *d, uint32_t i)
{
	struct rec *r = rec_at(d, i);
	const struct tcb *t = &d->view.tcbs[r->conn];
	struct flow_key k = rec_key(&d->recs, i);
	struct tcp_addr_pair p = pair_of(&k);

	if (t->state != TCP_CLOSED)
		stack_reset_flow(d->stack, &p, t->snd_max, t->rcv_nxt, d->now);
	stack_export_done(d->stack, r->conn, r->generation);
	rec_drop(d, i);
}

static void offer(struct daemon *d, struct app *a, uint32_t i)
{
	struct rec *r = rec_at(d, i);
	struct flow_key k = rec_key(&d->recs, i);
	struct share *sh = r->flags & REC_F_SHARED ? share_of(d, r) : NULL;
	bool active = r->flags & (REC_F_ACTIVE | REC_F_SHARED);
	struct shm_msg m = {.op = active ? SHM_CONN_OPENED : SHM_CONN_NEW,
			    .conn = r->conn,
			    .generation = r->generation,
			    .listener = active ? SHM_NIL : rec_listener(r),
			    .cookie = sh       ? sh->offer_cookie
				      : active ? rec_cookie(r)
					       : 0,
			    .local = k.local,
			    .remote = k.remote,
			    .local_port = k.local_port,
			    .remote_port = k.remote_port};

	if (stack_export(d->stack, r->conn)) {
		/* It has died meanwhile: what was established is accepted all the same. */
		if (!active && !stack_export_ended(d->stack, r->conn)) {
			rec_set_state(d, i, REC_OFFERED);
			app_push(a, &m);
			return;
		}
		m.op = SHM_CONN_FAILED;
		m.error = tcp_error(d->stack, r->conn);
		if (!m.error)
			m.error = ECONNABORTED;
		if (active)
			app_push(a, &m);
		dispatch_refused(a, r);
		tcp_close(d->stack, r->conn, d->now);
		rec_drop(d, i);
		return;
	}
	rec_set_state(d, i, REC_OFFERED);
	app_push(a, &m);
	/*
	 * From here on packets go to the application, which reads its messages first: it need not
	 * say at once that it has the connection, and under which index. Where it has not, they
	 * come back.
	 */
	rec_enter_flow(
		d, i,
		&(struct flow_val){.slot = a->slot, .conn = TD_NO_CONN, .state = FLOW_ESTABLISHED});
}

void handover_flush(struct daemon *d, struct app *a)
{
	while (a->ready != SHM_NIL && shm_ring_room(&a->to_app->hdr, SHM_MSG_RING))
		offer(d, a, a->ready);
}

/* ---- from an application ---- */

static void on_ack(struct daemon *d, struct app *a, const struct shm_msg *m)
{
	uint32_t i = rec_of_own(d, m->conn, m->generation);
	struct rec *r;
	bool ended;

	if (i == SHM_NIL || rec_at(d, i)->state != REC_OFFERED || rec_at(d, i)->slot != a->slot)
		return;
	r = rec_at(d, i);
	if (m->error || m->new_conn >= a->view.n_tcbs) {
		stack_count(d->stack, MIB_Td_HandOverRefused, 1);
		dispatch_refused(a, r);
		if (!share_unoffer(d, i))
			reset_exported(d, i);
		return;
	}
	ended = d->view.tcbs[r->conn].state == TCP_CLOSED;
	stack_export_done(d->stack, r->conn, r->generation);
	r->conn = m->new_conn;
	r->generation = m->new_generation;
	rec_set_state(d, i, REC_TAKEN);
	/* The index spares it a search for each packet; for the few of a connection that ends, not
	 * worth it. */
	if (!ended &&
	    (READ_ONCE(a->view.tcbs[r->conn].state) == TCP_ESTABLISHED || !(r->flags & REC_F_FLOW)))
		rec_set_flow(d, i, a->slot, FLOW_ESTABLISHED);
	share_taken(d, i);
}

/* Resets the peer of a connection that we could not take from an arena. */
static void reset_taken(struct daemon *d, const struct app *a, uint32_t i)
{
	struct rec *r = rec_at(d, i);
	const struct tcb *t = &a->view.tcbs[r->conn];
	struct flow_key k = rec_key(&d->recs, i);
	struct tcp_addr_pair p = pair_of(&k);

	stack_count(d->stack, MIB_Td_OrphansReset, 1);
	stack_reset_flow(d->stack, &p, READ_ONCE(t->snd_max), READ_ONCE(t->rcv_nxt), d->now);
	rec_drop(d, i);
}

void handover_close(struct daemon *d, uint32_t i)
{
	struct rec *r = rec_at(d, i);
	const struct tcb *t = tcp_get(d->stack, r->conn);

	rec_set_state(d, i, REC_ORPHAN);
	/* One in TIME_WAIT leaves its TCB at once, see on_timewait(). */
	if (t->state != TCP_TIME_WAIT || r->flags & REC_F_SLOW)
		rec_set_flow(d, i, TD_SLOT_DAEMON, FLOW_CLOSING);
	if (!(t->flags & TCB_F_CLOSED))
		tcp_close(d->stack, r->conn, d->now);
}

/*
 * Was it still in the accept queue when its process died? Connections there have no socket, so
 * no cookie, and nobody has closed them.
 */
static bool unaccepted(const struct app *a, const struct rec *r)
{
	return r->flags & REC_F_VIA && !READ_ONCE(a->view.tcbs[r->conn].cookie);
}

static bool untouched(const struct tcb *t)
{
	return (t->state == TCP_ESTABLISHED || t->state == TCP_CLOSE_WAIT) &&
	       !(t->flags & (TCB_F_FIN_QUEUED | TCB_F_CLOSED));
}

/*
 * Takes the connection of record @i out of @a's arena, to be finished here, or kept (@keep) for
 * those who share it. False: it made no sense, and was reset.
 */
static bool take_back(struct daemon *d, struct app *a, uint32_t i, bool rescue, bool keep)
{
	struct rec *r = rec_at(d, i);
	const struct tcb *t;
	struct flow_key k, was = rec_key(&d->recs, i);
	uint32_t conn;
	int err;

	if (rescue)
		err = stack_rescue(d->stack, &a->view, r->conn, r->generation, d->now, &conn);
	else
		err = stack_import(d->stack, &a->view, r->conn, r->generation, 0, d->now, &conn);
	if (err) {
		log_debug("application %u: a connection cannot be taken back: %s", a->slot,
			  strerror(-err));
		reset_taken(d, a, i);
		return false;
	}
	t = tcp_get(d->stack, conn);
	k = key_of_tcb(t);
	if (memcmp(&k, &was, sizeof(k))) {
		tcp_abort(d->stack, conn, d->now);
		reset_taken(d, a, i);
		return false;
	}
	r->conn = conn;
	r->generation = t->generation;
	if (keep && (r->flags & REC_F_SHARED || untouched(t))) {
		rec_set_flow(d, i, TD_SLOT_DAEMON, FLOW_ESTABLISHED);
		if (share_keep(d, i))
			return true;
		/* The listener has gone: what it had not accepted is reset (tcp(7), as close(2)).
		 */
		if (!(r->flags & REC_F_SHARED))
			tcp_abort(d->stack, conn, d->now);
	}
	handover_close(d, i);
	return true;
}

uint32_t handover_find(struct daemon *d, const struct app *a, uint32_t conn, uint32_t generation)
{
	struct flow_key k;

	if (conn >= a->view.n_tcbs)
		return SHM_NIL;
	k = key_of_tcb(&a->view.tcbs[conn]);
	return rec_of_app(d, a, &k, conn, generation);
}

static void on_give(struct daemon *d, struct app *a, const struct shm_msg *m)
{
	struct shm_msg reply = {.op = SHM_CONN_TAKEN, .conn = m->conn, .generation = m->generation};
	uint32_t i;

	if (m->conn >= a->view.n_tcbs)
		return;
	i = handover_find(d, a, m->conn, m->generation);
	if (i == SHM_NIL)
		reply.error = ENOENT;
	else {
		bool keep = m->flags & SHM_GIVE_KEEP;

		if (keep && rec_at(d, i)->flags & REC_F_VIA)
			dispatch_returned(a, rec_at(d, i));
		if (!take_back(d, a, i, false, keep))
			reply.error = EBADMSG;
	}
	app_push(a, &reply);
}

/* The record that a message means by addresses and ports; SHM_NIL: not one of @a's. */
static uint32_t rec_of_msg(struct daemon *d, const struct app *a, const struct shm_msg *m)
{
	struct tcp_addr_pair p = shm_msg_pair(m);
	struct flow_key k = flow_key_of(&p);

	return rec_of_app(d, a, &k, m->conn, m->generation);
}

static void on_gone(struct daemon *d, struct app *a, const struct shm_msg *m)
{
	uint32_t i = rec_of_msg(d, a, m);

	if (i != SHM_NIL)
		rec_drop(d, i);
}

static void on_confirmed(struct daemon *d, struct app *a, const struct shm_msg *m)
{
	uint32_t i = rec_of_msg(d, a, m);

	if (i != SHM_NIL)
		dispatch_confirmed(d, i);
}

/* Routes and neighbours are no secret: whether it has such a connection does not matter. */
static void on_doubt(struct daemon *d, struct app *a, const struct shm_msg *m)
{
	struct shm_msg r = {.op = SHM_WAY, .conn = m->conn, .generation = m->generation};
	struct ip_way w;

	if (!ip_addr_is_v4(&m->remote) ||
	    stack_doubt(d->stack, &m->local, &m->remote, &w, d->now))
		return;
	r.listener = w.netif;
	r.new_conn = w.neigh;
	r.new_generation = w.neigh_gen;
	app_push(a, &r);
}

uint32_t app_messages(struct daemon *d, struct app *a)
{
	struct shm_msg m;
	uint32_t n = 0;

	/* Each message has one answer at most: room for that before it is taken. */
	while (n < MSG_BUDGET && shm_ring_room(&a->to_app->hdr, SHM_MSG_RING) &&
	       shm_msg_pop(a->to_daemon, &m)) {
		n++;
		switch (m.op) {
		case SHM_CONNECT_DATA:
			connect_data(a, &m);
			break;
		case SHM_CONN_CONFIRMED:
			on_confirmed(d, a, &m);
			break;
		case SHM_CONNECT:
			connect_request(d, a, &m);
			break;
		case SHM_CONNECT_CANCEL:
			connect_cancel(d, a, m.cookie);
			break;
		case SHM_CONN_GIVE:
			on_give(d, a, &m);
			break;
		case SHM_CONN_ACK:
			on_ack(d, a, &m);
			break;
		case SHM_CONN_GONE:
			on_gone(d, a, &m);
			break;
		case SHM_RESOLVE:
			udp_resolve(d, &m);
			break;
		case SHM_DOUBT:
			on_doubt(d, a, &m);
			break;
		case SHM_CONN_WANT:
			share_want(d, a, &m);
			break;
		case SHM_LISTEN_WANT:
			dispatch_wanted(d, a, m.listener);
			break;
		case SHM_CONN_MINE:
			front_told(d, a, &m);
			break;
		case SHM_LISTEN_USE:
			front_uses(d, a, &m);
			break;
		default:
			log_warn("application %u sent a message of unknown kind %u", a->slot, m.op);
		}
		/* Not from within port_rx_ring(): filter.c calls this, too. */
		if (n % OUTPUT_EVERY == 0 && d->inject_from == TD_SLOT_NONE)
			loop_output(d);
		else if (stack_replies_due(d->stack))
			port_tx_replies(d->port, d->stack);
	}
	return n;
}

/* ---- the stack's events ---- */

/* Where packets come to us without an entry that would only stand for a dead connection. */
static bool comes_anyway(const struct daemon *d, const struct flow_key *k)
{
	return d->cfg.claim_all || listener_covers(d, &k->local, k->local_port);
}

/* The TCB is gone, a TIME_WAIT record has the pair. */
static void on_timewait(struct daemon *d, uint32_t i, bool closed)
{
	struct rec *r = rec_at(d, i);
	struct flow_key k = rec_key(&d->recs, i);

	if (closed && comes_anyway(d, &k)) {
		rec_drop(d, i);
		return;
	}
	dispatch_confirmed(d, i);
	rec_set_state(d, i, REC_TIMEWAIT);
	r->conn = TD_NO_CONN;
	if (!(r->flags & REC_F_SLOW))
		rec_set_flow(d, i, TD_SLOT_DAEMON, FLOW_CLOSING);
}

void handover_event(struct daemon *d, const struct stack_ev *ev)
{
	struct flow_key k;
	struct rec *r;
	uint32_t i;

	if (!(ev->mask & (EV_FREED | EV_TIMEWAIT))) {
		i = rec_of_own(d, ev->conn, ev->generation);
		if (i != SHM_NIL && ev->mask & EV_CONFIRMED)
			dispatch_confirmed(d, i);
		if (i != SHM_NIL && rec_at(d, i)->state == REC_OPENING)
			connect_event(d, i, ev);
		return;
	}
	k = flow_key_of(&ev->pair);
	i = recs_find(&d->recs, &k);
	if (i == SHM_NIL)
		return;
	r = rec_at(d, i);
	if (r->state == REC_ORPHAN && r->conn == ev->conn && r->generation == ev->generation) {
		if (ev->mask & EV_TIMEWAIT)
			on_timewait(d, i, !(ev->mask & EV_FIN_WAIT2));
		else
			rec_drop(d, i);
	} else if (r->state == REC_TIMEWAIT && ev->conn == TD_NO_CONN) {
		if (ev->mask & EV_FREED || comes_anyway(d, &k))
			rec_drop(d, i);
	}
}

/* ---- ends ---- */

bool handover_app_gone(struct daemon *d, struct app *a, uint32_t budget)
{
	uint32_t i;

	for (uint32_t n = 1; n <= budget; n++) {
		if ((i = a->opening) != SHM_NIL || (i = a->ready) != SHM_NIL) {
			if (share_keep(d, i))
				continue;
			tcp_abort(d->stack, rec_at(d, i)->conn, d->now);
			rec_drop(d, i);
		} else if ((i = a->handed) == SHM_NIL) {
			loop_output(d);
			return true;
		} else if (rec_at(d, i)->state == REC_OFFERED) {
			if (!share_unoffer(d, i))
				reset_exported(d, i);
		} else {
			const struct rec *r = rec_at(d, i);

			take_back(d, a, i, true, r->flags & REC_F_SHARED || unaccepted(a, r));
		}
		if (n % OUTPUT_EVERY == 0)
			loop_output(d);
	}
	return false;
}

void handover_reset_all(struct daemon *d)
{
	uint32_t n = 0;

	for (uint32_t s = 1; d->n_fronts && s < d->slots; s++)
		if (d->apps[s])
			front_adopt(d, d->apps[s]);
	for (uint32_t i = 0; i < d->recs.used; i++) {
		struct rec *r = rec_at(d, i);

		switch (r->state) {
		case REC_FREE:
			continue;
		case REC_OFFERED:
			reset_exported(d, i);
			break;
		case REC_TAKEN:
			reset_taken(d, d->apps[r->slot], i);
			break;
		case REC_TIMEWAIT:
			rec_drop(d, i);
			break;
		default:
			tcp_abort(d->stack, r->conn, d->now);
			rec_drop(d, i);
		}
		if (++n % OUTPUT_EVERY == 0)
			loop_output(d);
	}
	loop_output(d);
}
