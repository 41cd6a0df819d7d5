// SPDX-License-Identifier: BSD-2-Clause
/*
 * Listeners of our own stack (docs/architecture.md, "Listeners in the application"): while our process has a
 * port alone, or its part of one, its SYNs come to us. What the stack cannot do by itself it leaves to
 * the daemon, which has the same listener.
 *
 * The daemon knows of a connection that came so when it is told: after TELL_MS, so that those that
 * are shorter cost it nothing; at once when SYNs do not come to us any more, because then the
 * connection needs a flow entry; and before it is handed over. When a listener goes or is
 * shared, and when we die, the daemon looks into our arena.
 *
 * Invariant: what has TCB_BORN_UNTOLD is in eng.untold, or dead.
 */
#include <stdlib.h>
#include "common/ctl.h"
#include "engine.h"
#include "udp.h"

#define TELL_MS 100u

static struct sock *by_core(uint32_t core_id)
{
	struct sock *sk = eng.listeners;

	while (sk && sk->extra->l.core_id != core_id)
		sk = sk->extra->l.next;
	return sk;
}

/* That of its address before that of any. */
static struct sock *covers(const struct tcb *t, bool in_stack)
{
	struct sock *any = NULL;

	for (struct sock *sk = eng.listeners; sk; sk = sk->extra->l.next) {
		uint32_t addr = sk->extra->local_addr;

		if (sk->extra->local_port != t->local_port ||
		    (in_stack && sk->extra->l.core_id == SHM_NIL))
			continue;
		if (addr == ip_addr_to_v4(&t->local))
			return sk;
		if (!addr)
			any = sk;
	}
	return any;
}

/* By which of our listeners it came; NULL: that has gone. Others may be inherited, and not used. */
static struct sock *listener_of(const struct tcb *t)
{
	struct sock *sk = covers(t, true);

	return sk ? sk : covers(t, false);
}

/* Nobody has accepted it, nor closed it. */
static bool waits(const struct tcb *t)
{
	return !t->cookie && !(t->flags & TCB_F_CLOSED);
}

/* ---- the way back to who sends SYNs ---- */

static bool way_to(void *ctx, const struct ip_addr *to, struct ip_way *w)
{
	struct mtime now = clock_now();
	struct dest *d = dest_get(ip_addr_to_v4(to), now);

	(void)ctx;
	if (!d->ours || !dest_usable(d, now))
		return false;
	*w = d->way;
	return true;
}

/* ---- listeners ---- */

uint32_t listen_flag(const struct sock *sk)
{
	const struct sock_opts *o = &sock_extra(sk)->o;

	/* Fast open is the daemon's, and so are routes in another network namespace. */
	if (eng.foreign || eng.limits.tcp_syncookies > 1 ||
	    eng.limits.tcp_fastopen & 0x400 ||
	    (o->set & 1u << TOPT_FASTOPEN && o->topt[TOPT_FASTOPEN]))
		return 0;
	return CTL_LISTEN_LOCAL;
}

void listen_begin(struct sock *sk, const struct ctl_listen *req, const struct ip_addr *addr)
{
	struct sock_listen *l = &sk->extra->l;

	l->core_id = SHM_NIL;
	l->front = false; /* until the daemon says so, with a message that is there already */
	if (!(req->flags & CTL_LISTEN_LOCAL))
		return;
	stack_set_way(eng.stack, way_to, NULL);
	/* Where that fails SYNs go on to the daemon. */
	if (tcp_listen(eng.stack, addr, sk->extra->local_port, req->backlog, 0, &l->core_id)) {
		l->core_id = SHM_NIL;
		return;
	}
	tcp_listen_quiet(eng.stack, l->core_id, true);
	if (req->cc)
		tcp_listen_opt(eng.stack, l->core_id, TOPT_CONGESTION, req->cc - 1);
	tcp_listen_opt(eng.stack, l->core_id, TOPT_DEFER_ACCEPT, req->defer_accept);
}

uint32_t listen_join(struct sock *sk)
{
	const struct sock_opts *o = &sk->extra->o;
	struct ctl_listen req = {
		.flags = listen_flag(sk), .backlog = sk->extra->l.backlog, .cc = sock_cc(sk)};
	struct ip_addr addr = ip_addr_v4(sk->extra->local_addr);

	if (o->set & 1u << TOPT_DEFER_ACCEPT)
		req.defer_accept = (uint32_t)o->topt[TOPT_DEFER_ACCEPT];
	if (sk->extra->l.core_id == SHM_NIL)
		listen_begin(sk, &req, &addr);
	return sk->extra->l.core_id == SHM_NIL ? 0 : req.flags;
}

void listen_changed(struct sock *sk, const struct ctl_listen *req)
{
	if (sk->extra->l.core_id == SHM_NIL)
		return;
	tcp_listen_backlog(eng.stack, sk->extra->l.core_id, req->backlog);
	tcp_listen_opt(eng.stack, sk->extra->l.core_id, TOPT_DEFER_ACCEPT, req->defer_accept);
}

void listen_end(struct sock *sk)
{
	struct sock_listen *l = &sk->extra->l;

	if (l->core_id != SHM_NIL)
		tcp_unlisten(eng.stack, l->core_id, clock_now());
	l->core_id = SHM_NIL;
}

void listen_front(uint32_t id, uint32_t flags)
{
	struct sock *sk = listener_by_id(id);

	if (!sk || sk->extra->l.core_id == SHM_NIL)
		return;
	sk->extra->l.front = flags & SHM_FRONT_SYNS;
	sk->extra->l.peers = flags & SHM_FRONT_SHARED;
	tcp_listen_quiet(eng.stack, sk->extra->l.core_id, !sk->extra->l.front);
	tcp_listen_keeps_timewaits(eng.stack, sk->extra->l.core_id,
				   sk->extra->l.front && flags & SHM_FRONT_ALONE);
	if (!sk->extra->l.front)
		untold_run(MTIME_NEVER);
}

void listen_queued(struct sock *sk, struct conn_ref c, int n)
{
	struct sock_listen *l = &sk->extra->l;
	const struct tcb *t = conn_get(c);

	if (t && t->sockopt & TCB_BORN_HERE) {
		l->n_here += (uint32_t)n;
		WRITE_ONCE(eng.shm_listeners[l->index].queued, l->n_here);
	}
	if (l->core_id != SHM_NIL)
		tcp_listen_outside(eng.stack, l->core_id, l->aq_len);
}

static void take(struct sock *sk, struct conn_ref c, struct mtime now)
{
	struct arena_hdr *h = (struct arena_hdr *)(void *)eng.own.base;

	if (c.conn >= h->n_born)
		WRITE_ONCE(h->n_born, c.conn + 1);
	if (sk->shared && !sk->extra->l.front) { /* any of its processes may have it */
		conn_tell(c);
		if (!conn_give_keep(c))
			conn_end(c, true, now);
		return;
	}
	sock_opts_apply(&sock_extra(sk)->o, c.conn, now);
	if (sock_queue_conn(sk, c)) {
		conn_end(c, true, now);
		return;
	}
	if (!sk->extra->l.front || conn_fifo_put(&eng.untold, c, mtime_add_ms(now, TELL_MS)))
		conn_tell(c);
}

void listen_accept(uint32_t core_id)
{
	struct sock *sk = by_core(core_id);
	struct mtime now = clock_now();
	uint32_t conn;

	while (!tcp_accept(eng.stack, core_id, &conn)) {
		struct conn_ref c = {conn, tcp_get(eng.stack, conn)->generation};

		if (sk)
			take(sk, c, now);
		else
			conn_end(c, true, now);
	}
}

/* ---- telling the daemon ---- */

/* It is as if the daemon had sent it, from here on. */
static void known(struct conn_ref c, const struct tcb *t)
{
	struct sock *sk = listener_of(t);
	bool counts = waits(t);

	if (counts && sk && sk->extra->l.n_here) {
		sk->extra->l.n_here--;
		WRITE_ONCE(eng.shm_listeners[sk->extra->l.index].queued, sk->extra->l.n_here);
	}
	tcp_told(eng.stack, c.conn, counts);
}

void conn_tell(struct conn_ref c)
{
	const struct tcb *t = conn_get(c);
	struct sock *sk;
	struct shm_msg m;

	if (!t || !(t->sockopt & TCB_BORN_UNTOLD) || t->state == TCP_CLOSED || eng.daemon_gone)
		return;
	sk = listener_of(t);
	m = (struct shm_msg){.op = SHM_CONN_MINE,
			     .conn = c.conn,
			     .generation = c.generation,
			     .listener = sk ? sk->extra->l.id : SHM_NIL,
			     .flags = waits(t) ? SHM_MINE_WAITING : 0,
			     .local = t->local,
			     .remote = t->remote,
			     .local_port = t->local_port,
			     .remote_port = t->remote_port};
	known(c, t);
	eng_send_msg_lazily(&m);
}

void untold_run(struct mtime now)
{
	while (eng.untold.len && !mtime_before(now, eng.untold.e[eng.untold.head].until)) {
		struct conn_ref c = eng.untold.e[eng.untold.head].c;

		conn_fifo_pop(&eng.untold);
		conn_tell(c);
	}
}

void untold_known(void)
{
	for (; eng.untold.len; conn_fifo_pop(&eng.untold)) {
		struct conn_ref c = eng.untold.e[eng.untold.head].c;
		const struct tcb *t = conn_get(c);

		if (t && t->sockopt & TCB_BORN_UNTOLD && t->state != TCP_CLOSED)
			known(c, t);
	}
}
