/* SPDX-License-Identifier: BSD-2-Clause */
/* Two stacks, the daemon's and an application's, and a conversation that moves between them. */
#ifndef TANDEM_HANDOVER_WORLD_H
#define TANDEM_HANDOVER_WORLD_H

#include "lib_tcp.h"

/* c: the daemon's stack, and the conversation. app: the application's. */
static struct conv c;
static struct tstack app;

static inline int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	return 0;
}

static void open_app(void)
{
	struct net_event up = {.kind = NET_LINK_UP, .mtu = 1500};
	struct stack_cfg cfg = ts_cfg();
	struct neigh *own;

	cfg.role = STACK_APP;
	cfg.n_tw = cfg.n_listeners = cfg.n_synreqs = 0;
	ts_open_bare(&app, &cfg);
	/* applications see the daemon's neighbours */
	own = app.a.neighs;
	app.s->a.neighs = c.t.a.neighs;
	memset(own, 0, sizeof(*own));
	memcpy(up.mac, our_mac, 6);
	assert_int_equal(ts_event(&app, up), 0);
	app.now = c.t.now;
}

static inline void start(void)
{
	tc_accept(&c, NULL);
	open_app();
}

static void finish(void)
{
	bool app_last = app.s->cfg.role == STACK_FULL;

	for (uint32_t i = 0; i < c.t.a.n_tcbs; i++)
		tcp_abort(c.t.s, i, c.t.now);
	for (uint32_t i = 0; i < app.a.n_tcbs; i++)
		tcp_abort(app.s, i, app.now);
	/* the application's last packets still need the daemon's neighbours */
	if (app_last)
		tc_close(&c);
	ts_close(&app);
	if (!app_last)
		tc_close(&c);
}

/* The conversation goes on with the other stack. */
static void swap_stacks(void)
{
	struct tstack t = c.t;

	c.t = app;
	c.t.now = t.now;
	app = t;
	/* the pools' pointers into the structs have moved */
	c.t.s->pool = &c.t.pool;
	app.s->pool = &app.pool;
}

static struct stack_usage usage(const struct tstack *t)
{
	struct stack_usage u;

	stack_usage(t->s, &u);
	return u;
}

static int import(uint32_t conn, uint32_t generation, uint32_t *to)
{
	int err = stack_import(app.s, &c.t.s->a, conn, generation, 9, c.t.now, to);

	app.now = c.t.now;
	ts_check(&app);
	ts_check(&c.t);
	return err;
}

/* Hands the connection over and lets the conversation follow it. */
static void move(void)
{
	uint32_t generation = tc_tcb(&c)->generation, to;

	assert_int_equal(stack_export(c.t.s, c.conn), 0);
	ts_check(&c.t);
	assert_int_equal(import(c.conn, generation, &to), 0);
	assert_int_equal(stack_export_done(c.t.s, c.conn, generation), 0);
	assert_int_equal(usage(&c.t).tcbs, 0);
	assert_int_equal(usage(&c.t).chunks, 0);
	ts_check(&c.t);
	swap_stacks();
	c.conn = to;
}

/* ---- steps to states ---- */

static inline void fin_wait_1(void)
{
	assert_int_equal(tcp_shutdown(c.t.s, c.conn, false, true, c.t.now), 0);
	TX(&c, .flags = TH_FIN | TH_ACK, .seq = 1, .ack = 1);
}

static inline void fin_wait_2(void)
{
	fin_wait_1();
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 2);
}

static inline void time_wait(void)
{
	fin_wait_2();
	RX(&c, .flags = TH_FIN | TH_ACK, .seq = 1, .ack = 2);
	tc_tx_all(&c);
}

#endif
