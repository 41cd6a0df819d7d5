/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What each congestion control makes of a link: time until all has arrived, with random loss and
 * after a burst of it, the share of two flows, the queue of a link that marks. Simulated time and
 * fixed seeds: each figure is the same in every run, and stands here as it was when it was looked
 * at last. One that is more than 10 % worse fails; who makes it better writes it down anew.
 */
#include <string.h>
#include "sim.h"

#define SEEDS 8u
#define TOLERANCE 1.10
#define RATE 12500u /* bytes per ms: 100 Mbit/s */

/* Random loss on both ways, a queue of one round trip (64 KB at least). */
static const struct cell {
	const char *cc;
	uint32_t loss; /* 1/10 % */
	uint32_t rtt;  /* ms */
	uint32_t mb;   /* to be sent */
	uint32_t ms;   /* that it took, on average */
} cells[] = {
	/* clang-format off */
	{"reno",  0,  20,  8,  809},
	{"reno",  10, 20,  4,  4408},
	{"reno",  50, 20,  2,  7095},
	{"cubic", 0,  1,   8,  704},
	{"cubic", 0,  20,  8,  808},
	{"cubic", 10, 20,  4,  3350},
	{"cubic", 50, 20,  2,  5928},
	{"cubic", 0,  100, 16, 2191},
	{"cubic", 10, 100, 4,  16141},
	{"bbr",   0,  1,   8,  704},
	{"bbr",   50, 1,   8,  832},
	{"bbr",   0,  20,  8,  809},
	{"bbr",   10, 20,  8,  842},
	{"bbr",   50, 20,  8,  1050},
	{"bbr",   0,  100, 16, 2346},
	{"bbr",   10, 100, 16, 2556},
	{"bbr",   50, 100, 16, 3148},
	{"dctcp", 0,  20,  8,  809},
	{"dctcp", 10, 20,  4,  4408},
	{"dctcp", 50, 20,  2,  7095},
	/* clang-format on */
};

/* Nothing gets through for 30 ms, of 8 MB over a round trip of 20 ms. */
static const struct burst_cell {
	const char *cc;
	uint32_t ms;
} bursts[] = {{"reno", 1233}, {"cubic", 871}, {"bbr", 854}};

/* Two flows, one some seconds after the other, until the first has sent 180 MB. */
static const struct fair_cell {
	const char *cc;
	uint32_t index; /* 1000 / Jain's index: 1000 is equal, 2000 all for one */
} fairs[] = {{"reno", 1009}, {"cubic", 1075}, {"bbr", 1014}};

/* A link that marks at 30 KB of queue, 4 ms round trip, 32 MB; nothing may be lost. */
static const struct mark_cell {
	const char *cc;
	uint32_t ms, queue; /* bytes, as packets find it on average */
} marks[] = {{"reno", 2985, 11767}, {"cubic", 2820, 15370}, {"dctcp", 2824, 24242}};

/* 100 Mbit/s behind a policer of 10 with a bucket of 64 KB, 16 MB. */
static const struct police_cell {
	const char *cc;
	uint32_t ms, again; /* retransmissions */
} polices[] = {{"cubic", 14107, 695}, {"bbr", 14177, 857}};

static void scenario_base(struct scenario *sc, uint64_t seed, const char *cc, uint32_t rtt)
{
	uint32_t queue = RATE * rtt < 64000 ? 64000 : RATE * rtt;

	memset(sc, 0, sizeof(*sc));
	sc->seed = seed;
	sc->name = "perf";
	sc->mtu = 1500;
	sc->backlog = 128;
	for (uint32_t i = 0; i < 2; i++) {
		struct host_cfg *h = &sc->host[i];

		sc->link[i] = (struct link_cfg){.delay = rtt * 500, .rate = RATE, .queue = queue};
		stack_limits_default(&h->limits);
		h->gso = true;
		h->csum_offload = true;
		h->cc = cc;
		h->n_chunks = 8192;
	}
	sc->n_conns = 1;
}

static void plan_flow(struct scenario *sc, uint32_t i, uint32_t bytes)
{
	static const struct side_plan idle = {.write_max = 65536, .read_max = 65536};

	sc->conn[i] = (struct conn_plan){.side = {idle, idle}};
	sc->conn[i].side[0].total = bytes;
	sc->conn[i].side[0].end = sc->conn[i].side[1].end = END_CLEAN;
}

static bool measure(const struct scenario *sc, struct sim_result *r)
{
	char why[256];

	memset(r, 0, sizeof(*r));
	if (world_measure(sc, false, NULL, r, why, sizeof(why)))
		return true;
	printf("FAIL %s, seed %lu: %s\n", sc->host[0].cc, sc->seed, why);
	return false;
}

/* Prints a line; 1: it is worse than it was. */
static int judge(const char *what, double now, double was)
{
	bool bad = now > was * TOLERANCE;

	printf("%s %-48s %9.0f, was %.0f\n", bad ? "not ok" : "ok", what, now, was);
	return bad;
}

static int run_cell(const struct cell *c, bool verbose)
{
	double ms = 0;
	struct scenario sc;
	struct sim_result r;
	char what[80];

	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		scenario_base(&sc, seed, c->cc, c->rtt);
		sc.link[0].loss = sc.link[1].loss = c->loss * PERCENT / 10;
		plan_flow(&sc, 0, c->mb << 20);
		if (!measure(&sc, &r))
			return 1;
		if (verbose)
			printf("  seed %lu: %.0f ms, %lu lost, %lu retransmitted, %lu timeouts, "
			       "queue %lu\n",
			       seed, (double)r.took[0] / 1e6, r.lost, r.retrans, r.timeouts,
			       r.queue);
		ms += (double)r.took[0] / 1e6 / SEEDS;
	}
	snprintf(what, sizeof(what), "%s, %.1f %% loss, %u ms: ms for %u MB", c->cc, c->loss / 10.0,
		 c->rtt, c->mb);
	return judge(what, ms, c->ms);
}

static int run_burst(const struct burst_cell *c)
{
	struct scenario sc;
	struct sim_result r;
	char what[80];

	scenario_base(&sc, 1, c->cc, 20);
	sc.link[0].out_at = 400;
	sc.link[0].out_for = 30;
	plan_flow(&sc, 0, 8u << 20);
	if (!measure(&sc, &r))
		return 1;
	snprintf(what, sizeof(what), "%s, 30 ms of nothing: ms for 8 MB", c->cc);
	return judge(what, (double)r.took[0] / 1e6, c->ms);
}

static int run_mark(const struct mark_cell *c)
{
	struct scenario sc;
	struct sim_result r;
	char what[80];
	int bad;

	scenario_base(&sc, 1, c->cc, 4);
	sc.link[0].queue = 500000;
	sc.link[0].mark = 30000;
	sc.host[0].limits.tcp_ecn = 1;
	plan_flow(&sc, 0, 32u << 20);
	if (!measure(&sc, &r))
		return 1;
	if (!r.marked || r.lost) {
		printf("not ok %s, marks: %lu marked, %lu lost\n", c->cc, r.marked, r.lost);
		return 1;
	}
	snprintf(what, sizeof(what), "%s, marks at 30 KB of queue: ms for 32 MB", c->cc);
	bad = judge(what, (double)r.took[0] / 1e6, c->ms);
	snprintf(what, sizeof(what), "%s, marks at 30 KB of queue: bytes queued", c->cc);
	return bad + judge(what, (double)r.queue, c->queue);
}

static int run_police(const struct police_cell *c)
{
	struct scenario sc;
	struct sim_result r;
	char what[80];
	int bad;

	scenario_base(&sc, 1, c->cc, 20);
	sc.link[0].police = RATE / 10;
	sc.link[0].bucket = 65536;
	plan_flow(&sc, 0, 16u << 20);
	if (!measure(&sc, &r))
		return 1;
	snprintf(what, sizeof(what), "%s, policer: ms for 16 MB", c->cc);
	bad = judge(what, (double)r.took[0] / 1e6, c->ms);
	snprintf(what, sizeof(what), "%s, policer: retransmissions", c->cc);
	return bad + judge(what, (double)r.retrans, c->again);
}

static int run_fair(const struct fair_cell *c, bool verbose)
{
	double sum = 0, squares = 0;
	struct scenario sc;
	struct sim_result r;
	char what[80];

	scenario_base(&sc, 1, c->cc, 20);
	sc.n_conns = 2;
	plan_flow(&sc, 0, 180u << 20);
	plan_flow(&sc, 1, 180u << 20);
	sc.conn[1].start = 300000;
	if (!measure(&sc, &r))
		return 1;
	for (uint32_t i = 0; i < 2; i++) {
		if (verbose)
			printf("  flow %u: %u bytes\n", i, r.bytes[i]);
		sum += r.bytes[i];
		squares += (double)r.bytes[i] * r.bytes[i];
	}
	snprintf(what, sizeof(what), "%s, two flows: 1000 / Jain's index", c->cc);
	return judge(what, 2000 * squares / (sum * sum), c->index);
}

int perf_run(bool verbose)
{
	int failed = 0;

	for (uint32_t i = 0; i < sizeof(bursts) / sizeof(bursts[0]); i++)
		failed += run_burst(&bursts[i]);
	for (uint32_t i = 0; i < sizeof(polices) / sizeof(polices[0]); i++)
		failed += run_police(&polices[i]);
	for (uint32_t i = 0; i < sizeof(marks) / sizeof(marks[0]); i++)
		failed += run_mark(&marks[i]);
	for (uint32_t i = 0; i < sizeof(fairs) / sizeof(fairs[0]); i++)
		failed += run_fair(&fairs[i], verbose);
	for (uint32_t i = 0; i < sizeof(cells) / sizeof(cells[0]); i++)
		failed += run_cell(&cells[i], verbose);
	printf("%d figures are worse\n", failed);
	return failed != 0;
}
