// SPDX-License-Identifier: BSD-2-Clause
/*
 * TCP in every state: a daemon's stack and an application's, each with live connections, in one of
 * four configurations. The input is operations (lib_ops.c); the top bit of each says on which
 * stack. All invariants are checked after each one, and at the end everything must go away when it
 * is told to.
 */
#include "lib_host.h"

#define N_VARIANTS 4

struct world {
	struct fz_host dmn, app;
};
static struct world worlds[N_VARIANTS];

static void configure(struct stack_cfg *c, uint32_t variant)
{
	struct stack_limits *l = &c->limits;

	if (variant == 1) { /* little of everything */
		c->cc = "cubic";
		l->tcp_rmem[1] = l->tcp_rmem[2] = 8192;
		l->tcp_wmem[1] = l->tcp_wmem[2] = 8192;
		l->somaxconn = l->tcp_max_syn_backlog = 2;
		l->tcp_max_tw_buckets = l->tcp_max_orphans = 1;
		l->tcp_abort_on_overflow = 1;
		l->tcp_retries2 = l->tcp_syn_retries = l->tcp_synack_retries = 2;
		l->tcp_challenge_ack_limit = 1;
		c->n_pending = 2;
	} else if (variant == 2) { /* bulk */
		c->gso_max = 65000;
		c->csum_offload = true;
		c->cc = "cubic";
		l->tcp_tw_reuse = 1;
	} else if (variant == 3) { /* old */
		l->tcp_timestamps = l->tcp_window_scaling = l->tcp_sack = 0;
	}
}

static void move(struct fz_host *from, struct fz_host *to, uint32_t conn)
{
	uint32_t generation = tcp_get(from->s, conn)->generation, at;

	FZ_CHECK(!stack_export(from->s, conn));
	FZ_CHECK(!stack_import(to->s, &from->a, conn, generation, 1, to->now, &at));
	FZ_CHECK(!stack_export_done(from->s, conn, generation));
}

/* Connections of different kinds, on both sides; one in the accept queue, one half open. */
static void make(struct world *w, uint32_t variant)
{
	static const struct fz_offer offers[] = {
		{0}, {.ts = true}, {.ts = true, .wscale = true, .sack = true}};
	struct stack_cfg cd = fz_cfg(STACK_FULL), ca = fz_cfg(STACK_APP);
	struct ip_addr any = {.w = {0}};

	configure(&cd, variant);
	configure(&ca, variant);
	fz_host_open(&w->dmn, &cd, NULL);
	fz_host_open(&w->app, &ca, &w->dmn);
	FZ_CHECK(!tcp_listen(w->dmn.s, &any, __builtin_bswap16(FZ_OUR_PORT), 4, 1,
			     &w->dmn.listener));
	for (uint16_t i = 0; i < 6; i++) {
		fz_open_passive(&w->dmn, 5000 + i, offers[i % 3]);
		if (i % 2)
			move(&w->dmn, &w->app, fz_accept(&w->dmn));
		else
			fz_accept(&w->dmn);
	}
	for (uint16_t i = 0; i < 2; i++)
		fz_open_active(&w->dmn, 7000 + i, i == 0);
	fz_open_passive(&w->dmn, 5100, offers[2]);
	fz_open_half(&w->dmn, 5101);
	fz_drain(&w->dmn);
	fz_check(&w->dmn);
	fz_check(&w->app);
	fz_host_save(&w->dmn);
	fz_host_save(&w->app);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	for (uint32_t i = 0; i < N_VARIANTS; i++)
		make(&worlds[i], i);
	atexit(fz_states_report);
	return 0;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fz f = {data, data + size};
	struct world *w = &worlds[fz_u8(&f) % N_VARIANTS];

	fz_host_restore(&w->dmn);
	fz_host_restore(&w->app);
	while (fz_more(&f)) {
		bool app = *f.p & 0x80;
		struct fz_host *h = app ? &w->app : &w->dmn, *other = app ? &w->dmn : &w->app;

		/* There is one clock. */
		if (mtime_before(h->now, other->now)) {
			h->now = other->now;
			stack_tick(h->s, h->now);
		}
		fz_op(h, other, &f);
		fz_check(h);
	}
	fz_host_end(&w->app);
	fz_host_end(&w->dmn);
	return 0;
}
