/* SPDX-License-Identifier: BSD-2-Clause */
/* daemon_world.h, and an application with slot 1 whose stack, a real one, answers SYNs. */
#ifndef TANDEM_UNIT_FRONT_WORLD_H
#define TANDEM_UNIT_FRONT_WORLD_H

#include "daemon_world.h"

#define LOCAL CTL_LISTEN_LOCAL

static struct ctl_listen_reply lr;
static __attribute__((unused)) bool on = true;
static uint32_t core; /* the listener in the application's stack */

static bool way_to(void *ctx, const struct ip_addr *to, struct ip_way *way)
{
	way->mtu = 1500;
	return ip_way_find(ctx, 0, to, way, w.t.now);
}

W_HELPER uint32_t port_slot(void)
{
	assert_int_equal(w.n_ports, 1);
	return w.ports[0].v.slot;
}

/* So many of the first spread's are of @slot. */
W_HELPER uint32_t places(uint16_t slot)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < TD_SPREAD_PLACES; i++)
		n += w.spreads[0].slot[i] == slot;
	return n;
}

/* Application 1 listens, and answers SYNs itself. */
W_HELPER struct app *front_app(uint32_t flags)
{
	struct app *a = w_app(1);
	struct stack *s = w.apps[1].s;
	struct ip_addr any = {0};

	w.d.cfg.listen_in_app = on;
	lr = start_listener(a, flags | LOCAL, 0);
	stack_set_way(s, way_to, s);
	assert_int_equal(tcp_listen(s, &any, lr.port, 64, 0, &core), 0);
	return a;
}

/* A packet by the port's entry. */
W_HELPER enum drop app_rx(const struct spec *x)
{
	static uint8_t b[4096];
	struct pkt p = {.nfrags = 1, .len = ts_build(b, x), .conn = TD_NO_CONN};

	p.frag[0] = (struct pkt_frag){.p = b, .len = p.len, .frame = SHM_NIL};
	return stack_input(w.apps[1].s, &p, w.t.now);
}

static uint32_t app_iss; /* of its last SYN-ACK */

W_HELPER void app_out(void)
{
	struct pkt *p;

	while ((p = stack_output(w.apps[1].s, w.t.now))) {
		const uint8_t *tcp = p->frag[0].p + 34;

		if (tcp[13] & TH_SYN)
			app_iss = get_be32(tcp + 4);
		pkt_free(&w.apps[1].pool, p);
	}
}

/* The peer's connection from @sport, with the application alone. */
W_HELPER uint32_t born(struct app *a, uint16_t sport)
{
	struct stack *s = w.apps[1].s;
	struct arena_hdr *h = (struct arena_hdr *)(void *)a->arena.base;
	struct spec syn = {TCP_PKT,	      .sport = sport,  .dport = listen_port,
			   .seq = CLIENT_ISS, .flags = TH_SYN, .wnd = 65535};
	struct spec ack = {
		TCP_PKT,	 .sport = sport, .dport = listen_port, .seq = CLIENT_ISS + 1,
		.flags = TH_ACK, .wnd = 65535};
	uint32_t conn;

	assert_int_equal(app_rx(&syn), DROP_NONE);
	app_out();
	ack.ack = app_iss + 1;
	assert_int_equal(app_rx(&ack), DROP_NONE);
	assert_int_equal(tcp_accept(s, core, &conn), 0);
	if (conn >= h->n_born)
		h->n_born = conn + 1;
	tcp_set_cookie(s, conn, 7);
	return conn;
}

W_HELPER void tell(struct app *a, uint32_t conn, uint32_t flags)
{
	const struct tcb *t = tcp_get(w.apps[1].s, conn);
	struct shm_msg m = {.op = SHM_CONN_MINE,
			    .conn = conn,
			    .generation = t->generation,
			    .listener = lr.id,
			    .flags = flags,
			    .local = t->local,
			    .remote = t->remote,
			    .local_port = t->local_port,
			    .remote_port = t->remote_port};

	tcp_told(w.apps[1].s, conn, flags);
	assert_true(shm_msg_push(a->to_daemon, &m));
	w_round();
}

#endif
