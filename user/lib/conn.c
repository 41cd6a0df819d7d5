// SPDX-License-Identifier: BSD-2-Clause
/*
 * The life of connections between us and the daemon (docs/architecture.md, "Hand-over"): what we tell it of
 * them, and how they are given back when the program has done with them.
 */
#include <stdlib.h>
#include <string.h>
#include "engine.h"

#define PARTING_MS 200u /* that a closed one's last words may take before it is handed over */

int conn_fifo_put(struct conn_fifo *f, struct conn_ref c, struct mtime until)
{
	if (f->len == f->size) {
		uint32_t size = f->size ? f->size * 2 : 64;
		struct conn_wait *e = malloc(size * sizeof(*e));

		if (!e)
			return -ENOMEM;
		for (uint32_t i = 0; i < f->len; i++)
			e[i] = f->e[(f->head + i) & (f->size - 1)];
		free(f->e);
		*f = (struct conn_fifo){e, 0, f->len, size};
	}
	f->e[(f->head + f->len++) & (f->size - 1)] = (struct conn_wait){c, until};
	return 0;
}

void conn_fifo_pop(struct conn_fifo *f)
{
	f->head = (f->head + 1) & (f->size - 1);
	f->len--;
}

void conn_fifo_free(struct conn_fifo *f)
{
	free(f->e);
	memset(f, 0, sizeof(*f));
}

static struct mtime fifo_deadline(const struct conn_fifo *f)
{
	return f->len ? f->e[f->head].until : MTIME_NEVER;
}

const struct tcb *conn_get(struct conn_ref c)
{
	const struct tcb *t = c.conn == SHM_NIL ? NULL : tcp_get(eng.stack, c.conn);

	return t && t->generation == c.generation ? t : NULL;
}

static void say(enum shm_op op, struct conn_ref c, const struct tcp_addr_pair *a)
{
	struct shm_msg m = {.op = op,
			    .conn = c.conn,
			    .generation = c.generation,
			    .local = a->local,
			    .remote = a->remote,
			    .local_port = a->local_port,
			    .remote_port = a->remote_port};

	eng_send_msg(&m);
}

void conn_gone(struct conn_ref c, const struct tcp_addr_pair *a)
{
	say(SHM_CONN_GONE, c, a);
}

void conn_say(enum shm_op op, struct conn_ref c)
{
	const struct tcb *t = conn_get(c);
	struct tcp_addr_pair a;

	if (!t)
		return;
	a = (struct tcp_addr_pair){t->local, t->remote, t->local_port, t->remote_port};
	say(op, c, &a);
}

/* One in TIME_WAIT can wait: what comes for it meanwhile is passed on, which wakes the daemon. */
void conn_give(struct conn_ref c)
{
	struct shm_msg m = {.op = SHM_CONN_GIVE, .conn = c.conn, .generation = c.generation};
	const struct tcb *t = conn_get(c);
	bool lazily = t && t->state == TCP_TIME_WAIT;

	conn_tell(c);
	/* Without a daemon this stack finishes its orphans itself. */
	if (eng.daemon_gone || !t || stack_export(eng.stack, c.conn))
		return;
	eng.n_given++;
	if (lazily)
		eng_send_msg_lazily(&m);
	else
		eng_send_msg(&m);
}

/*
 * All is said, the FIN included, or held for a moment (hold.c): that is acknowledged within a round
 * trip, as a rule, and needs no daemon. What comes after that, TIME_WAIT, is handed over
 * (eng_take_events()), and so is a connection whose peer takes longer.
 */
static bool parts_soon(struct conn_ref c)
{
	const struct tcb *t = conn_get(c);
	uint32_t said = eng.hold.n ? TCB_F_FIN_SENT | TCB_F_FIN_QUEUED : TCB_F_FIN_SENT;

	if (!t || !(t->flags & said) || t->state == TCP_TIME_WAIT)
		return false;
	return !conn_fifo_put(&eng.parting, c, mtime_add_ms(clock_now(), PARTING_MS));
}

struct mtime eng_conn_deadline(void)
{
	return mtime_min(fifo_deadline(&eng.parting), fifo_deadline(&eng.untold));
}

void conn_give_parting(struct mtime now)
{
	while (!mtime_is_never(fifo_deadline(&eng.parting)) &&
	       !mtime_before(now, fifo_deadline(&eng.parting))) {
		struct conn_ref c = eng.parting.e[eng.parting.head].c;

		conn_fifo_pop(&eng.parting);
		conn_give(c);
	}
}

void conn_end(struct conn_ref c, bool abort, struct mtime now)
{
	const struct tcb *t;

	if (!conn_get(c))
		return;
	tcp_set_cookie(eng.stack, c.conn, 0);
	if (abort)
		tcp_abort(eng.stack, c.conn, now);
	else
		tcp_close(eng.stack, c.conn, now);
	t = conn_get(c);
	if (!t || t->state == TCP_CLOSED || t->flags & TCB_F_RST_SEND) /* it is not there for longer */
		eng_output(now);
	else
		eng_output_sent(now);
	if (!parts_soon(c))
		conn_give(c);
	eng_take_events();
}
