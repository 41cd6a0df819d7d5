/* SPDX-License-Identifier: BSD-2-Clause */
/* Draws from a seed what a run is like: link, stacks, limits, connections. */
#include <string.h>
#include "sim.h"

/* One of @n values. */
#define PICK(r, ...)                                                                               \
	((const uint32_t[]){__VA_ARGS__}[rng_range(                                                \
		r, 0, sizeof((const uint32_t[]){__VA_ARGS__}) / sizeof(uint32_t) - 1)])

enum kind {
	K_CLEAN,
	K_FAST,
	K_LOSSY,
	K_BURSTY,
	K_REORDER,
	K_CORRUPT,
	K_SLOW,
	K_WILD,
	K_TINY,
	K_CROWD,
	K_MAX
};
static const char *const kind_names[K_MAX] = {"clean",	 "fast", "lossy", "bursty", "reorder",
					      "corrupt", "slow", "wild",  "tiny",   "crowd"};

static void draw_link(struct rng *r, enum kind k, struct link_cfg *l)
{
	bool wild = k == K_WILD;

	l->delay = PICK(r, 5, 50, 1000, 20000, 80000);
	l->jitter = PICK(r, 0, 10, 500, 10000);
	if (k == K_FAST)
		l->delay = 10;
	if (k == K_LOSSY || wild)
		l->loss = (uint32_t)rng_range(r, 1, 12 * PERCENT);
	if (k == K_BURSTY || wild) {
		l->burst = (uint32_t)rng_range(r, 100, PERCENT);
		l->burst_max = PICK(r, 5, 100, 1500, 8000);
	}
	if (k == K_REORDER || wild) {
		l->reorder = (uint32_t)rng_range(r, 1000, 20 * PERCENT);
		l->reorder_max = PICK(r, 20, 1000, 50000, 900000);
		l->dup = (uint32_t)rng_range(r, 0, 10 * PERCENT);
	}
	if (k == K_CORRUPT || (wild && rng_ppm(r, 50 * PERCENT)))
		l->corrupt = (uint32_t)rng_range(r, 1000, 10 * PERCENT);
	if (k == K_SLOW || (wild && rng_ppm(r, 30 * PERCENT))) {
		l->rate = PICK(r, 20, 125, 1250, 12500);
		l->queue = PICK(r, 8000, 32000, 256000);
	}
}

static void draw_router(struct rng *r, struct scenario *sc)
{
	for (uint32_t i = 0; i < 2; i++)
		/* In an application's stack nobody hears the router. */
		if (!sc->host[i].pair && !sc->host[!i].merged && rng_ppm(r, 10 * PERCENT))
			sc->link[i].path_mtu = PICK(r, 576, 700, 1000, 1400);
}

static void draw_limits(struct rng *r, enum kind k, struct host_cfg *h)
{
	struct stack_limits *l = &h->limits;

	stack_limits_default(l);
	l->tcp_timestamps = !rng_ppm(r, 25 * PERCENT);
	l->tcp_window_scaling = !rng_ppm(r, 20 * PERCENT);
	l->tcp_orphan_retries = 15; /* bad luck on a bad link must not look like a failure */
	l->tcp_tw_reuse = (uint32_t)rng_range(r, 0, 2);
	l->tcp_abort_on_overflow = rng_ppm(r, 10 * PERCENT);
	if (rng_ppm(r, 15 * PERCENT))
		l->tcp_max_tw_buckets = (uint32_t)rng_range(r, 0, 3);
	h->n_chunks = 2048;
	h->cc = cc_name((uint32_t)rng_range(r, 0, 3));
	if (k == K_TINY || rng_ppm(r, 15 * PERCENT)) {
		l->tcp_rmem[1] = PICK(r, 1200, 3000, 9000);
		l->tcp_wmem[1] = PICK(r, 1200, 3000, 9000);
		l->tcp_rmem[2] = l->tcp_rmem[1] * (uint32_t)rng_range(r, 1, 4);
		l->tcp_wmem[2] = l->tcp_wmem[1] * (uint32_t)rng_range(r, 1, 4);
	}
	if (rng_ppm(r, 10 * PERCENT))
		h->n_chunks = (uint32_t)rng_range(r, 64, 256);
}

/* A few chunks, with which all connections have to get by. */
static void draw_tcp_mem(struct rng *r, struct host_cfg *h)
{
	uint32_t *mem = h->limits.tcp_mem;

	if (!rng_ppm(r, 6 * PERCENT))
		return;
	mem[0] = (uint32_t)rng_range(r, 0, 8);
	mem[1] = mem[0] + (uint32_t)rng_range(r, 0, 8);
	mem[2] = mem[1] + (uint32_t)rng_range(r, 1, 8);
	if (rng_ppm(r, 50 * PERCENT)) /* the end of the pool is near, too */
		h->n_chunks = mem[2] + (uint32_t)rng_range(r, 2, 2 * SIM_MAX_CONNS);
}

static void draw_host(struct rng *r, enum kind k, struct host_cfg *h)
{
	draw_limits(r, k, h);
	h->pair = rng_ppm(r, 40 * PERCENT);
	h->gso = rng_ppm(r, 50 * PERCENT);
	h->csum_offload = rng_ppm(r, 50 * PERCENT);
	h->merged = k != K_CORRUPT && k != K_WILD && rng_ppm(r, 50 * PERCENT);
	h->hints = rng_ppm(r, 50 * PERCENT);
	h->forget = rng_ppm(r, 8 * PERCENT) ? PICK(r, 10, 300, 5000) : 0;
	h->defer_accept = rng_ppm(r, 8 * PERCENT) ? (uint32_t)rng_range(r, 1, 30) : 0;
	h->rcvbuf = rng_ppm(r, 8 * PERCENT) ? (uint32_t)rng_range(r, 2304, 200000) : 0;
	if (h->pair) {
		h->move = PICK(r, 0, 1000, 2 * PERCENT, 20 * PERCENT);
		h->crash = rng_ppm(r, 15 * PERCENT);
		h->hostile = h->crash && rng_ppm(r, 50 * PERCENT);
	}
}

static void draw_side(struct rng *r, enum kind k, struct side_plan *p)
{
	uint32_t max = PICK(r, 0, 1, 100, 1460, 5000, 70000, 300000, 2000000);

	if (k == K_TINY || k == K_SLOW)
		max = max > 20000 ? 20000 : max;
	if (k == K_WILD || k == K_LOSSY || k == K_CORRUPT || k == K_CROWD)
		max = max > 70000 ? 70000 : max;
	p->total = (uint32_t)rng_range(r, 0, max);
	p->write_max = PICK(r, 1, 100, 1460, 16384, 65536);
	if (p->total / p->write_max > 2000)
		p->write_max = 1460;
	p->read_max = PICK(r, 10, 1000, 16384, 65536);
	if (p->read_max == 10)
		p->read_max = 10 + p->total / 500;
	p->pause_max = PICK(r, 100, 50000, 3000000);
	if (rng_ppm(r, 30 * PERCENT))
		p->write_pause = PICK(r, PERCENT, 10 * PERCENT);
	if (rng_ppm(r, 30 * PERCENT))
		p->read_pause = PICK(r, PERCENT, 10 * PERCENT);
	p->end = rng_ppm(r, 75 * PERCENT)   ? END_CLEAN
		 : rng_ppm(r, 60 * PERCENT) ? END_CLOSE
					    : END_ABORT;
	p->end_after = (uint32_t)rng_range(r, 0, p->total);
	p->keepalive = rng_ppm(r, 20 * PERCENT);
	p->nodelay = rng_ppm(r, 30 * PERCENT);
	p->more = rng_ppm(r, 10 * PERCENT);
	p->flip = rng_ppm(r, 5 * PERCENT);
}

/* Much data, small buffers and long rests together take days: each alone is enough. */
static void tame(const struct scenario *sc, struct conn_plan *c)
{
	for (uint32_t i = 0; i < 2; i++) {
		const struct stack_limits *a = &sc->host[c->client ^ i].limits;
		const struct stack_limits *b = &sc->host[c->client ^ i ^ 1].limits;
		struct side_plan *p = &c->side[i], *q = &c->side[!i];
		uint32_t piece = q->read_max < 2000 ? q->read_max : 2000;

		if ((a->tcp_wmem[1] < 10000 || b->tcp_rmem[1] < 10000) && p->total > 40000)
			p->total = 40000;
		if (p->total / p->write_max > 500)
			p->write_pause = 0;
		if (p->total / piece > 500)
			q->read_pause = 0;
		if (p->end_after > p->total)
			p->end_after = p->total;
	}
}

static void draw_conns(struct rng *r, enum kind k, struct scenario *sc)
{
	uint32_t spread = PICK(r, 0, 1000, 500000, 5000000);
	bool wrap = rng_ppm(r, 20 * PERCENT), again = rng_ppm(r, 15 * PERCENT);

	sc->n_conns = k == K_CROWD ? (uint32_t)rng_range(r, 12, SIM_MAX_CONNS)
				   : (uint32_t)rng_range(r, 1, 6);
	for (uint32_t i = 0; i < sc->n_conns; i++) {
		struct conn_plan *c = &sc->conn[i];

		c->start = rng_range(r, 0, spread);
		c->client = rng_ppm(r, 30 * PERCENT);
		c->simultaneous = rng_ppm(r, 4 * PERCENT);
		c->wrap = wrap && !c->simultaneous && rng_ppm(r, 50 * PERCENT);
		if (again && !c->simultaneous && !c->wrap)
			c->port = (uint16_t)(10000 + rng_range(r, 0, 1));
		draw_side(r, k, &c->side[0]);
		draw_side(r, k, &c->side[1]);
		tame(sc, c);
	}
}

static void draw_fastopen(struct rng *r, struct scenario *sc)
{
	if (!rng_ppm(r, 35 * PERCENT))
		return;
	for (uint32_t i = 0; i < 2; i++) {
		struct stack_limits *l = &sc->host[i].limits;

		l->tcp_fastopen = PICK(r, 1, 3, 3, 3, 3, 0x205, 0x207, 0x403);
		l->tcp_fastopen_blackhole_timeout_sec = PICK(r, 0, 2, 3600);
		sc->host[i].fastopen = PICK(r, 0, 1, 4, 256);
		sc->link[i].no_syn_data = rng_ppm(r, 10 * PERCENT);
	}
	for (uint32_t i = 0; i < sc->n_conns; i++)
		sc->conn[i].fastopen = !sc->conn[i].simultaneous && rng_ppm(r, 80 * PERCENT);
}

static void draw_urgent(struct rng *r, struct scenario *sc)
{
	if (!rng_ppm(r, 30 * PERCENT))
		return;
	for (uint32_t i = 0; i < 2 * sc->n_conns; i++) {
		struct side_plan *p = &sc->conn[i / 2].side[i % 2];

		p->oob = PICK(r, 0, PERCENT, 10 * PERCENT, 60 * PERCENT);
		p->oob_inline = rng_ppm(r, 40 * PERCENT);
	}
}

static void draw_udp(struct rng *r, struct scenario *sc)
{
	bool corrupt = sc->link[0].corrupt || sc->link[1].corrupt;

	if (!rng_ppm(r, 30 * PERCENT))
		return;
	sc->n_udp = (uint32_t)rng_range(r, 1, SIM_MAX_UDP);
	for (uint32_t i = 0; i < sc->n_udp; i++) {
		struct udp_plan *p = &sc->udp[i];

		p->client = rng_ppm(r, 50 * PERCENT);
		p->start = rng_range(r, 0, 500000);
		p->count = (uint32_t)rng_range(r, 0, SIM_UDP_COUNT);
		p->size_max = PICK(r, 8, 100, 548, 1472, 3000, 20000, 65507);
		/* Errors in several fragments of one datagram may cancel out in its checksum. */
		if (corrupt && p->size_max > 548)
			p->size_max = 548;
		p->gap = PICK(r, 0, 100, 5000, 200000);
		p->rcvbuf = PICK(r, 0, 0, 0, 4000, 100000);
		p->pmtudisc =
			(uint8_t)PICK(r, UDP_PMTUDISC_DONT, UDP_PMTUDISC_WANT, UDP_PMTUDISC_DO);
		p->connected = rng_ppm(r, 50 * PERCENT);
		p->closed = rng_ppm(r, 15 * PERCENT);
		p->no_csum = !corrupt && rng_ppm(r, 20 * PERCENT);
	}
}

/* Nothing on the way, and nothing in the stacks, can explain a packet sent twice. */
static bool is_lossless(const struct scenario *sc)
{
	for (uint32_t i = 0; i < 2; i++) {
		const struct link_cfg *l = &sc->link[i];
		const struct host_cfg *h = &sc->host[i];

		if (l->loss || l->burst || l->reorder || l->dup || l->corrupt || l->rate ||
		    h->move || h->crash || h->forget || h->defer_accept || l->path_mtu ||
		    l->no_syn_data || h->n_chunks < 2048 || h->limits.tcp_mem[2] ||
		    h->limits.tcp_rmem[1] < 65536 || l->jitter > 1000)
			return false;
	}
	for (uint32_t i = 0; i < sc->n_conns; i++)
		if (sc->conn[i].simultaneous || sc->conn[i].port || sc->conn[i].side[0].flip ||
		    sc->conn[i].side[1].flip)
			return false;
	return sc->backlog >= SIM_MAX_CONNS && !sc->unlisten_early;
}

void scenario_draw(struct scenario *sc, uint64_t seed)
{
	struct rng rng = {seed ^ 0x7461766e65646f6dull}, *r = &rng;
	enum kind k = (enum kind)rng_range(r, 0, K_MAX - 1);

	memset(sc, 0, sizeof(*sc));
	sc->seed = seed;
	sc->name = kind_names[k];
	sc->mtu = PICK(r, 1500, 1500, 1500, 576, 1280, 3000);
	for (uint32_t i = 0; i < 2; i++) {
		draw_link(r, k, &sc->link[i]);
		draw_host(r, k, &sc->host[i]);
	}
	draw_router(r, sc);
	sc->backlog = k == K_CROWD || rng_ppm(r, 20 * PERCENT) ? (uint32_t)rng_range(r, 0, 4) : 128;
	sc->slow_accept = rng_ppm(r, 30 * PERCENT);
	sc->accept_pause = PICK(r, 100, 100000, 2000000);
	sc->unlisten_early = rng_ppm(r, 8 * PERCENT);
	draw_conns(r, k, sc);
	for (uint32_t i = 0; i < 2; i++) {
		sc->host[i].limits.tcp_syncookies = PICK(r, 0, 1, 1, 2);
		sc->host[i].limits.tcp_ecn = PICK(r, 0, 1, 1, 2);
		sc->link[i].mark = PICK(r, 0, 2000, 10000);
		draw_tcp_mem(r, &sc->host[i]);
	}
	draw_udp(r, sc);
	draw_fastopen(r, sc);
	draw_urgent(r, sc);
	sc->lossless = is_lossless(sc);
	sc->calm = sc->lossless;
}

void scenario_print(const struct scenario *sc, FILE *f)
{
	fprintf(f, "seed %lu: %s, MTU %u, backlog %u, %u connections%s%s\n", sc->seed, sc->name,
		sc->mtu, sc->backlog, sc->n_conns, sc->lossless ? ", lossless" : "",
		sc->unlisten_early ? ", unlisten early" : "");
	for (uint32_t i = 0; i < 2; i++) {
		const struct link_cfg *l = &sc->link[i];
		const struct host_cfg *h = &sc->host[i];

		fprintf(f,
			"  from host%u: loss %u dup %u reorder %u (%u us) corrupt %u burst %u (%u "
			"ms) "
			"ppm, delay %u + %u us, rate %u B/ms, queue %u, path MTU %u\n",
			i, l->loss, l->dup, l->reorder, l->reorder_max, l->corrupt, l->burst,
			l->burst_max, l->delay, l->jitter, l->rate, l->queue, l->path_mtu);
		fprintf(f,
			"  host%u: %s%s%s%s%s%s move %u ppm, %u chunks (tcp_mem %u %u %u), rmem "
			"%u, wmem %u, %s%s%s, "
			"cookies %u, fast open %x (%u%s), defer accept %u s, neighbour lost each "
			"%u ms\n",
			i, h->pair ? "daemon + application " : "one stack ", h->gso ? "gso " : "",
			h->csum_offload ? "csum " : "", h->merged ? "merged " : "",
			h->crash ? "crash " : "", h->hostile ? "hostile " : "", h->move,
			h->n_chunks, h->limits.tcp_mem[0], h->limits.tcp_mem[1],
			h->limits.tcp_mem[2], h->limits.tcp_rmem[1], h->limits.tcp_wmem[1], h->cc,
			h->limits.tcp_timestamps ? " ts" : "",
			h->limits.tcp_window_scaling ? " wscale" : "", h->limits.tcp_syncookies,
			h->limits.tcp_fastopen, h->fastopen, l->no_syn_data ? ", black hole" : "",
			h->defer_accept, h->forget);
	}
	for (uint32_t i = 0; i < sc->n_udp; i++) {
		const struct udp_plan *p = &sc->udp[i];

		fprintf(f,
			"  udp %u from host%u at %lu us: %u of up to %u bytes, gap %u us%s%s%s, "
			"discovery %u\n",
			i, p->client, p->start, p->count, p->size_max, p->gap,
			p->connected ? ", connected" : "", p->closed ? ", closed" : "",
			p->no_csum ? ", no checksum" : "", p->pmtudisc);
	}
	for (uint32_t i = 0; i < sc->n_conns; i++) {
		static const char *const ends[END_MAX] = {"clean", "close", "abort"};
		const struct conn_plan *c = &sc->conn[i];

		fprintf(f,
			"  conn %u from host%u port %u at %lu us:%s%s%s %u bytes (%s), back %u "
			"(%s), urgent %u and %u ppm\n",
			i, c->client, c->port, c->start, c->simultaneous ? " simultaneous" : "",
			c->wrap ? " wraps" : "", c->fastopen ? " fast open" : "", c->side[0].total,
			ends[c->side[0].end], c->side[1].total, ends[c->side[1].end],
			c->side[0].oob, c->side[1].oob);
	}
}
