// SPDX-License-Identifier: BSD-2-Clause
/*
 * connect() for applications: a port that neither the kernel nor a connection of ours holds, the
 * flow entry before the SYN goes out, the handshake by the stack, then hand-over or failure.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include "daemon.h"

#define PORTS 65536u
#define KERNEL_PROBES 4096u /* ports that the kernel holds, before we give up: some ms */

/* Has anyone a connection with this local port to that remote end already? */
static bool pair_used(struct daemon *d, const struct tcp_addr_pair *p)
{
	struct flow_key k = flow_key_of(p);
	uint32_t i;

	for (uint32_t n = 0; n < d->n_addrs; n++) {
		if (!ip_addr_is_any(&p->local) && !ip_addr_eq(&p->local, &d->addrs[n].addr))
			continue;
		k.local = d->addrs[n].addr;
		i = recs_find(&d->recs, &k);
		if (i != SHM_NIL && rec_at(d, i)->state != REC_TIMEWAIT)
			return true;
	}
	return false;
}

static int pick_port(struct daemon *d, struct tcp_addr_pair *p)
{
	uint32_t probes = 0;

	ports_refresh(d);
	for (uint32_t attempt = 0; attempt < PORTS && probes < KERNEL_PROBES; attempt++) {
		uint16_t port;
		int err = tcp_pick_port(d->stack, p, attempt, &port);

		if (err)
			return err;
		p->local_port = port;
		if (port_reserved(d, port) || pair_used(d, p))
			continue;
		err = kernel_bind(&p->local, &port, false, NULL);
		if (!err)
			return 0;
		if (err != -EADDRINUSE)
			return err;
		probes++;
	}
	return -EADDRNOTAVAIL;
}

/* A port that the application names is one that it has bound, or that nobody has. */
static int check_port(struct daemon *d, struct app *a, const struct tcp_addr_pair *p)
{
	uint16_t port = p->local_port;

	if (pair_used(d, p))
		return -EADDRNOTAVAIL;
	if (listener_reserved(a, &p->local, port))
		return 0;
	if (!port_allowed(a, port))
		return -EACCES;
	return kernel_bind(&p->local, &port, false, NULL);
}

/* Before the SYN is built; the application sets them once more when the connection is its own. */
static void syn_options(struct daemon *d, uint32_t conn, const struct shm_msg *m)
{
	const struct {
		enum tcp_opt opt;
		uint32_t value;
	} o[] = {{TOPT_USER_TIMEOUT, m->user_timeout},
		 {TOPT_RCVBUF, m->rcvbuf},
		 {TOPT_MAXSEG, m->user_mss},
		 {TOPT_TTL, m->ttl},
		 {TOPT_TOS, m->tos & ~3u},
		 {TOPT_SYNCNT, m->syncnt}};

	for (size_t i = 0; i < sizeof(o) / sizeof(o[0]); i++)
		if (o[i].value)
			tcp_setopt(d->stack, conn, o[i].opt, o[i].value, d->now);
}

static int open_conn(struct daemon *d, struct app *a, const struct shm_msg *m)
{
	struct tcp_addr_pair p = shm_msg_pair(m);
	const struct tcb *t;
	struct flow_key k;
	uint32_t conn, i;
	struct rec *r;
	int err;

	if (!ip_addr_is_v4(&p.remote) || !p.remote_port)
		return -EINVAL;
	if (ip_addr_is_any(&p.local))
		p.local = ip_addr_v4(0);
	else if (!iface_has_addr(d, &p.local))
		return -EADDRNOTAVAIL;
	if (a->n_conns >= d->cfg.max_connections)
		return -ENOBUFS;
	err = p.local_port ? check_port(d, a, &p) : pick_port(d, &p);
	if (!err)
		err = tcp_connect(d->stack, &p, 0, d->now, &conn);
	if (err)
		return err;
	if (m->flags) /* congestion control, index + 1: before the SYN, for its ECN bits */
		tcp_setopt(d->stack, conn, TOPT_CONGESTION, (int64_t)m->flags - 1, d->now);
	syn_options(d, conn, m);
	if (m->fastopen)
		tcp_fastopen(d->stack, conn, a->syn_data, a->syn_len);
	t = tcp_get(d->stack, conn);
	k = flow_key_of(
		&(struct tcp_addr_pair){t->local, t->remote, t->local_port, t->remote_port});
	i = rec_new(d, &k, a->slot, REC_OPENING);
	if (i == SHM_NIL) {
		tcp_abort(d->stack, conn, d->now);
		return -ENOBUFS;
	}
	r = rec_at(d, i);
	r->flags |= REC_F_ACTIVE;
	rec_set_cookie(r, m->cookie);
	r->conn = conn;
	r->generation = t->generation;
	/* The SYN is queued, and leaves after this. */
	err = rec_set_flow(d, i, TD_SLOT_DAEMON, FLOW_OPENING);
	if (err) {
		tcp_abort(d->stack, conn, d->now);
		rec_drop(d, i);
	}
	return err;
}

void connect_request(struct daemon *d, struct app *a, const struct shm_msg *m)
{
	struct shm_msg failed = {
		.op = SHM_CONN_FAILED, .cookie = m->cookie, .error = -open_conn(d, a, m)};

	a->syn_len = 0;
	if (failed.error)
		app_push(a, &failed);
}

/* What does not fit is no fast open of our library's: it is cut off. */
void connect_data(struct app *a, const struct shm_msg *m)
{
	struct shm_data_msg piece;
	uint32_t n;

	memcpy(&piece, m, sizeof(piece));
	n = piece.len < sizeof(piece.data) ? piece.len : sizeof(piece.data);
	if (!a->syn_data)
		a->syn_data = malloc(SHM_CONNECT_DATA_MAX);
	if (!a->syn_data || n > SHM_CONNECT_DATA_MAX - a->syn_len)
		return;
	memcpy(a->syn_data + a->syn_len, piece.data, n);
	a->syn_len += n;
}

static uint32_t find_cookie(struct daemon *d, uint32_t head, uint64_t cookie)
{
	uint32_t i = head;

	if (i == SHM_NIL)
		return i;
	do {
		const struct rec *r = rec_at(d, i);

		if (r->flags & REC_F_ACTIVE && rec_cookie(r) == cookie)
			return i;
		i = r->next;
	} while (i != head);
	return SHM_NIL;
}

/* One that is offered already the application refuses itself. */
void connect_cancel(struct daemon *d, struct app *a, uint64_t cookie)
{
	uint32_t i = find_cookie(d, a->opening, cookie);

	if (i == SHM_NIL)
		i = find_cookie(d, a->ready, cookie);
	if (i == SHM_NIL)
		return;
	tcp_abort(d->stack, rec_at(d, i)->conn, d->now);
	rec_drop(d, i);
}

void connect_event(struct daemon *d, uint32_t i, const struct stack_ev *ev)
{
	struct rec *r = rec_at(d, i);
	uint16_t slot = r->slot;

	/* A failed one cannot be exported, which handover_flush() finds and reports. */
	if (ev->mask & (EV_CONNECTED | EV_ERROR | EV_HUP)) {
		rec_set_state(d, i, REC_READY);
		handover_flush(d, d->apps[slot]);
	}
}
