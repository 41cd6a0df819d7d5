/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Listeners and their accept queues. Owns s->listeners, its hash by port, and the list of
 * listeners with events. Half-open requests are in synreq.c.
 *
 * Invariants: no two listeners overlap (same port and a common address); a TCB is on an accept
 * queue exactly while TCB_F_ACCEPT_QUEUED is set; lev_* holds the listeners with .ev_queued.
 * The queue's bound and what happens at it are Linux's: full means more than
 * min(backlog, somaxconn).
 */
#include "tcp.h"

static uint32_t *listener_bucket(const struct stack *s, uint16_t port)
{
	return &s->listener_buckets[((uint32_t)port * 0x9e3779b1u >> 16) & s->listener_mask];
}

/* Is @a an address that @l listens on? :: stands for both families, 0.0.0.0 for IPv4. */
static bool listener_matches(const struct listener *l, const struct ip_addr *a)
{
	if (!l->any)
		return ip_addr_eq(&l->addr, a);
	return !ip_addr_is_v4(&l->addr) || ip_addr_is_v4(a);
}

uint32_t listener_lookup(const struct stack *s, const struct ip_addr *a, uint16_t port)
{
	uint32_t any = SHM_NIL;

	for (uint32_t i = *listener_bucket(s, port); i; i = s->listeners[i - 1].hash_next) {
		const struct listener *l = &s->listeners[i - 1];

		if (l->port != port || !listener_matches(l, a))
			continue;
		if (!l->any)
			return i - 1;
		any = i - 1;
	}
	return any;
}

static bool listener_overlaps(const struct stack *s, const struct ip_addr *a, uint16_t port)
{
	struct listener new = {.addr = *a, .any = ip_addr_is_any(a)};

	for (uint32_t i = *listener_bucket(s, port); i; i = s->listeners[i - 1].hash_next) {
		const struct listener *l = &s->listeners[i - 1];

		if (l->port == port && (listener_matches(l, a) || listener_matches(&new, &l->addr)))
			return true;
	}
	return false;
}

struct listener *listener_at(const struct stack *s, uint32_t id)
{
	return id < s->cfg.n_listeners && s->listeners[id].used ? &s->listeners[id] : NULL;
}

int tcp_listen(struct stack *s, const struct ip_addr *local, uint16_t port, uint32_t backlog,
	       uint64_t cookie, uint32_t *id_out)
{
	uint32_t *bucket = listener_bucket(s, port), id;
	struct listener *l;

	if (listener_overlaps(s, local, port))
		return -E_ADDRINUSE;
	id = free_list_get(&s->listener_free);
	if (id == SHM_NIL)
		return -E_NOSPC;
	l = &s->listeners[id];
	*l = (struct listener){
		.addr = *local,
		.port = port,
		.used = true,
		.any = ip_addr_is_any(local),
		.backlog = backlog,
		.hash_next = *bucket,
		.aq_head = SHM_NIL,
		.aq_tail = SHM_NIL,
		.syn_head = SHM_NIL,
		.cookie = cookie,
		.ev_next = SHM_NIL,
	};
	*bucket = id + 1;
	*id_out = id;
	return 0;
}

int tcp_listen_backlog(struct stack *s, uint32_t id, uint32_t backlog)
{
	struct listener *l = listener_at(s, id);

	if (!l)
		return -E_BADF;
	l->backlog = backlog;
	return 0;
}

void tcp_listen_quiet(struct stack *s, uint32_t id, bool quiet)
{
	struct listener *l = listener_at(s, id);

	if (l)
		l->quiet = quiet;
}

void tcp_listen_keeps_timewaits(struct stack *s, uint32_t id, bool keeps)
{
	struct listener *l = listener_at(s, id);

	if (l)
		l->keeps = keeps;
}

void tcp_listen_in_app(struct stack *s, uint32_t id, bool in_app)
{
	struct listener *l = listener_at(s, id);

	if (l)
		l->in_app = in_app;
}

uint32_t tcp_listen_half_open(const struct stack *s, uint32_t id)
{
	return id < s->cfg.n_listeners && s->listeners[id].used ? s->listeners[id].syn_len : 0;
}

void tcp_listen_outside(struct stack *s, uint32_t id, uint32_t n)
{
	struct listener *l = listener_at(s, id);

	if (l)
		l->outside = n;
}

/* ---- accept queue ---- */

bool accept_queue_full(const struct stack *s, const struct listener *l)
{
	uint32_t max = l->backlog < s->cfg.limits.somaxconn ? l->backlog : s->cfg.limits.somaxconn;

	return (uint64_t)l->aq_len + l->outside > max;
}

void accept_queue_add(struct stack *s, uint32_t listener, struct tcb *t)
{
	struct listener *l = &s->listeners[listener];
	uint32_t conn = tcb_index(s, t);

	t->listener = listener;
	t->flags |= TCB_F_ACCEPT_QUEUED;
	t->aq_next = SHM_NIL;
	if (l->aq_tail == SHM_NIL)
		l->aq_head = conn;
	else
		tcb_at(s, l->aq_tail)->aq_next = conn;
	l->aq_tail = conn;
	l->aq_len++;
	listener_event(s, listener);
}

void listener_event(struct stack *s, uint32_t listener)
{
	struct listener *l = &s->listeners[listener];

	if (l->ev_queued)
		return;
	l->ev_queued = true;
	l->ev_next = SHM_NIL;
	if (s->lev_tail == SHM_NIL)
		s->lev_head = listener;
	else
		s->listeners[s->lev_tail].ev_next = listener;
	s->lev_tail = listener;
}

void accept_queue_remove(struct stack *s, struct tcb *t)
{
	struct listener *l = &s->listeners[t->listener];
	uint32_t conn = tcb_index(s, t), prev = SHM_NIL, i = l->aq_head;

	while (i != conn) {
		prev = i;
		i = tcb_at(s, i)->aq_next;
	}
	if (prev == SHM_NIL)
		l->aq_head = t->aq_next;
	else
		tcb_at(s, prev)->aq_next = t->aq_next;
	if (l->aq_tail == conn)
		l->aq_tail = prev;
	l->aq_len--;
	l->fo_len -= l->fo_len && t->opt & TCB_OPT_SYNACK;
	t->flags &= ~TCB_F_ACCEPT_QUEUED;
	t->cookie = 0;
}

int tcp_accept(struct stack *s, uint32_t id, uint32_t *conn)
{
	struct listener *l = listener_at(s, id);

	if (!l)
		return -E_BADF;
	if (l->aq_head == SHM_NIL)
		return -E_AGAIN;
	*conn = l->aq_head;
	accept_queue_remove(s, tcb_at(s, *conn));
	/* still, until tcp_fastopen_done() */
	l->fo_len += !!(tcb_at(s, *conn)->opt & TCB_OPT_SYNACK);
	return 0;
}

static void listener_unlist_event(struct stack *s, uint32_t id)
{
	uint32_t prev = SHM_NIL, i = s->lev_head;

	if (!s->listeners[id].ev_queued)
		return;
	while (i != id) {
		prev = i;
		i = s->listeners[i].ev_next;
	}
	if (prev == SHM_NIL)
		s->lev_head = s->listeners[id].ev_next;
	else
		s->listeners[prev].ev_next = s->listeners[id].ev_next;
	if (s->lev_tail == id)
		s->lev_tail = prev;
	s->listeners[id].ev_queued = false;
}

void tcp_unlisten(struct stack *s, uint32_t id, struct mtime now)
{
	struct listener *l = listener_at(s, id);
	uint32_t *link, conn;

	if (!l)
		return;
	while (l->syn_head != SHM_NIL)
		synreq_drop(s, l->syn_head);
	while (!tcp_accept(s, id, &conn))
		tcp_abort(s, conn, now);
	listener_unlist_event(s, id);

	for (link = listener_bucket(s, l->port); *link != id + 1;)
		link = &s->listeners[*link - 1].hash_next;
	*link = l->hash_next;
	l->used = false;
	free_list_put(&s->listener_free, id);
}

/* ---- SYN cookies that others send for us ---- */

void tcp_listen_watch(struct stack *s, uint32_t id)
{
	struct listener *l = listener_at(s, id);

	if (l)
		l->cookie_watch = true;
}

static uint8_t cookie_options(const struct stack *s, const struct listener *l)
{
	const struct stack_limits *lim = &s->cfg.limits;

	return (uint8_t)((lim->tcp_timestamps ? PORT_COOKIES_TS : 0) |
			 (lim->tcp_sack ? PORT_COOKIES_SACK : 0) |
			 (lim->tcp_window_scaling ? PORT_COOKIES_WSCALE : 0) |
			 (lim->tcp_ecn ? PORT_COOKIES_ECN : 0) |
			 (cc_get(listener_cc(s, l))->needs_ecn ? PORT_COOKIES_ECT : 0));
}

int tcp_listen_cookies(const struct stack *s, uint32_t id, uint32_t mtu, struct tcp_cookie_state *c)
{
	const struct stack_limits *lim = &s->cfg.limits;
	const struct listener *l = listener_at(s, id);
	const struct ip_addr v4 = ip_addr_v4(0);
	uint32_t rcvbuf;

	if (!l)
		return -E_BADF;
	rcvbuf = l->rcvbuf ? l->rcvbuf : lim->tcp_rmem[1];
	*c = (struct tcp_cookie_state){
		.say = {.on = 1,
			.options = cookie_options(s, l),
			.wscale = tcp_offer_wscale(s, rcvbuf),
			.ttl = (uint8_t)lim->ip_default_ttl,
			.window = tcp_syn_window(rcvbuf),
			.mss = tcp_mtu_mss(mtu, &v4)},
		.queued = l->syn_len,
		.queue_max = syn_queue_max(s, l),
	};
	if (l->user_mss && l->user_mss < c->say.mss)
		c->say.mss = l->user_mss;
	return 0;
}

void tcp_listen_cookies_sent(struct stack *s, uint32_t id, struct mtime now)
{
	struct listener *l = listener_at(s, id);

	if (l)
		l->cookie_sent = now.ns;
}

/* ---- invariants ---- */

static int listener_check(const struct stack *s, uint32_t id, char *why, size_t len)
{
	const struct listener *l = &s->listeners[id];
	uint32_t n = 0, last = SHM_NIL;

	if (listener_lookup(s, &l->addr, l->port) != id)
		return check_fail(why, len, "listener not found by its address", id);
	for (uint32_t i = l->aq_head; i != SHM_NIL; i = s->a.tcbs[i].aq_next) {
		if (i >= s->a.n_tcbs || n++ == l->aq_len)
			return check_fail(why, len, "accept queue longer than its count", id);
		if (s->a.tcbs[i].owner != TCB_MINE || s->a.tcbs[i].listener != id ||
		    !(s->a.tcbs[i].flags & TCB_F_ACCEPT_QUEUED))
			return check_fail(why, len, "accept queue holds a stranger, conn", i);
		last = i;
	}
	if (n != l->aq_len || last != l->aq_tail)
		return check_fail(why, len, "accept queue shorter than its count", id);
	n = 0;
	last = SHM_NIL;
	for (uint32_t i = l->syn_head; i != SHM_NIL; i = s->synreqs[i].list_next) {
		const struct synreq *r = &s->synreqs[i];

		if (n++ == l->syn_len || r->listener != id || r->list_prev != last)
			return check_fail(why, len, "request list broken at", i);
		if (synreq_lookup(s, &r->a) != i)
			return check_fail(why, len, "request not found by its pair", i);
		if (r->timer.slot == SHM_NIL)
			return check_fail(why, len, "request without timer", i);
		last = i;
	}
	if (n != l->syn_len)
		return check_fail(why, len, "request list shorter than its count", id);
	return 0;
}

int listen_check(const struct stack *s, char *why, size_t len)
{
	uint32_t listeners = 0, events = 0, reqs = 0, aq = 0;

	for (uint32_t i = 0; i < s->listener_free.used; i++) {
		int err;

		if (!s->listeners[i].used)
			continue;
		err = listener_check(s, i, why, len);
		if (err)
			return err;
		listeners++;
		events += s->listeners[i].ev_queued;
		reqs += s->listeners[i].syn_len;
		aq += s->listeners[i].aq_len;
	}
	if (listeners != free_list_in_use(&s->listener_free))
		return check_fail(why, len, "listeners lost", listeners);
	if (reqs != free_list_in_use(&s->synreq_free))
		return check_fail(why, len, "requests lost", reqs);
	for (uint32_t i = s->lev_head; i != SHM_NIL; i = s->listeners[i].ev_next) {
		if (!s->listeners[i].used || !s->listeners[i].ev_queued || !events--)
			return check_fail(why, len, "listener event list broken at", i);
	}
	if (events)
		return check_fail(why, len, "listener events lost", events);
	for (uint32_t i = 0; i < s->tcb_free.used; i++)
		aq -= s->a.tcbs[i].owner == TCB_MINE && s->a.tcbs[i].flags & TCB_F_ACCEPT_QUEUED;
	if (aq)
		return check_fail(why, len, "accept queues and flags disagree by", aq);
	return 0;
}
