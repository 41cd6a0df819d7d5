/* SPDX-License-Identifier: BSD-2-Clause */
/* The clock of a run: events in the order of their time, both hosts run to rest after each. */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include "sim.h"

#define MAX_STEPS 3000000u
#define MAX_TIME (12ull * 3600 * NS_PER_S)

/* ---- the queue of events: a binary heap ---- */

static bool earlier(const struct sim_ev *a, const struct sim_ev *b)
{
	return a->at != b->at ? a->at < b->at : a->order < b->order;
}

void world_at(struct world *w, uint64_t at, struct sim_ev ev)
{
	uint32_t i = w->n_heap++;

	if (w->n_heap > w->heap_size) {
		w->heap_size = w->heap_size ? 2 * w->heap_size : 256;
		w->heap = realloc(w->heap, w->heap_size * sizeof(*w->heap));
		if (!w->heap)
			abort();
	}
	ev.at = at > w->now.ns ? at : w->now.ns;
	ev.order = w->order++;
	for (; i && earlier(&ev, &w->heap[(i - 1) / 2]); i = (i - 1) / 2)
		w->heap[i] = w->heap[(i - 1) / 2];
	w->heap[i] = ev;
}

static struct sim_ev heap_pop(struct world *w)
{
	struct sim_ev top = w->heap[0], ev = w->heap[--w->n_heap];
	uint32_t i = 0, c;

	while ((c = 2 * i + 1) < w->n_heap) {
		if (c + 1 < w->n_heap && earlier(&w->heap[c + 1], &w->heap[c]))
			c++;
		if (earlier(&ev, &w->heap[c]))
			break;
		w->heap[i] = w->heap[c];
		i = c;
	}
	w->heap[i] = ev;
	return top;
}

/* ---- failures and the log ---- */

void world_fail(struct world *w, const char *fmt, ...)
{
	va_list ap;
	int n;

	if (w->failed)
		return;
	w->failed = true;
	n = snprintf(w->why, sizeof(w->why), "at %.6f s: ", (double)w->now.ns / 1e9);
	va_start(ap, fmt);
	vsnprintf(w->why + n, sizeof(w->why) - (size_t)n, fmt, ap);
	va_end(ap);
}

void world_log(struct world *w, const char *fmt, ...)
{
	va_list ap;

	if (!w->verbose)
		return;
	printf("%14.6f ", (double)w->now.ns / 1e9);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
}

static void trace(void *ctx, const struct tcb *t, enum tcp_state from, enum tcp_state to)
{
	static const char *const names[TCP_STATE_MAX] = {
		"CLOSED",     "LISTEN",	    "SYN-SENT", "SYN-RECEIVED", "ESTABLISHED", "FIN-WAIT-1",
		"FIN-WAIT-2", "CLOSE-WAIT", "CLOSING",	"LAST-ACK",	"TIME-WAIT"};
	struct node *n = ctx;

	world_log(n->w, "%s %u-%u: %s -> %s", n->name, __builtin_bswap16(t->local_port),
		  __builtin_bswap16(t->remote_port), names[from], names[to]);
}

/* ---- a run ---- */

static void dispatch(struct world *w, struct sim_ev *ev)
{
	switch (ev->kind) {
	case SEV_FRAME:
		host_frame(ev->host, ev->frame);
		break;
	case SEV_INJECT:
		host_inject(ev->node, ev->frame);
		break;
	case SEV_PROG:
		prog_step(ev->sock);
		break;
	case SEV_ACCEPT:
		prog_accept(ev->host);
		break;
	case SEV_START:
		prog_start(ev->sock);
		break;
	case SEV_IMPORT:
		sock_import(ev->sock);
		break;
	case SEV_DONE:
		node_export_done(ev->node, ev->n, ev->generation);
		break;
	case SEV_CRASH:
		host_crash(ev->host);
		break;
	case SEV_PARTING:
		prog_parting(ev->sock, ev->n, ev->generation);
		break;
	case SEV_FORGET:
		host_forget(ev->host);
		break;
	case SEV_UDP:
		udp_step(&w->udp[ev->n]);
		break;
	}
}

/* When there is nothing left to serve, or (early) as soon as the first program is through. */
static void unlisten(struct world *w)
{
	bool any = false;
	char why[128];

	for (uint32_t i = 0; i < w->sc->n_conns; i++)
		any |= w->socks[2 * i].closed;
	for (uint32_t i = 0; i < 2; i++) {
		struct host *h = &w->host[i];

		if (!h->listening ||
		    !(w->sc->unlisten_early ? any : prog_done(w, why, sizeof(why))))
			continue;
		if (!w->sc->unlisten_early) {
			prog_accept(h); /* whoever has come and gone meanwhile */
			if (!prog_done(w, why, sizeof(why)))
				continue;
		}
		h->listening = false;
		tcp_unlisten(h->full.s, h->listener, w->now);
	}
}

static bool idle(struct world *w, char *why, size_t len)
{
	return prog_done(w, why, len) && udp_done(w, why, len) &&
	       host_idle(&w->host[0], why, len) && host_idle(&w->host[1], why, len);
}

static bool frames_fly(const struct world *w)
{
	for (uint32_t i = 0; i < w->n_heap; i++)
		if (w->heap[i].kind == SEV_FRAME || w->heap[i].kind == SEV_INJECT)
			return true;
	return false;
}

static void loop(struct world *w)
{
	uint32_t check_each = (uint32_t)rng_range(&w->rng, 1, 48);
	uint64_t start = w->now.ns;
	char why[200] = "";

	while (!w->failed) {
		uint64_t next = UINT64_MAX;

		host_run(&w->host[0]);
		host_run(&w->host[1]);
		unlisten(w);
		if (++w->steps % check_each == 0) {
			host_check(&w->host[0]);
			host_check(&w->host[1]);
		}
		if (idle(w, why, sizeof(why)) && !frames_fly(w))
			break;
		for (uint32_t i = 0; i < 2; i++)
			if (host_deadline(&w->host[i]) < next)
				next = host_deadline(&w->host[i]);
		if (w->n_heap && w->heap[0].at < next)
			next = w->heap[0].at;
		if (next == UINT64_MAX)
			world_fail(w, "nothing will ever happen, but %s", why);
		else if (w->steps == MAX_STEPS || next - start > MAX_TIME)
			world_fail(w, "after %lu steps, %.0f s: %s", w->steps,
				   (double)(next - start) / 1e9, why);
		if (w->failed)
			break;
		if (next > w->now.ns)
			w->now.ns = next;
		while (w->n_heap && w->heap[0].at <= w->now.ns && !w->failed) {
			struct sim_ev ev = heap_pop(w);

			dispatch(w, &ev);
		}
	}
	host_check(&w->host[0]);
	host_check(&w->host[1]);
}

/*
 * Each loss may cost some retransmissions, an undisturbed run none. What a receiver has already,
 * out of order, tells of packets that overtook others within a host: on their way by another owner.
 */
static void judge_retransmissions(struct world *w)
{
	/* What comes during a hand-over is forwarded, and overtaken by what comes after it. */
	uint64_t n = 0, trouble = w->moves, each = 40, pushed_out = 0;

	/* Where packets travel unsplit, one may be 120 segments. */
	if (w->sc->host[0].merged || w->sc->host[1].merged)
		each *= 10;
	for (uint32_t i = 0; i < 2; i++) {
		n += host_mib(&w->host[i], MIB_Tcp_RetransSegs);
		pushed_out += host_mib(&w->host[i], MIB_Td_NeighDrops);
		trouble += host_mib(&w->host[i], MIB_TcpExt_TCPRcvQDrop) +
			   host_mib(&w->host[i], MIB_TcpExt_TCPOFODrop) +
			   host_mib(&w->host[i], MIB_TcpExt_TCPOFOMerge) +
			   host_mib(&w->host[i], MIB_Td_NoBuffer);
		trouble += w->link[i].lost + w->link[i].duplicated + w->link[i].reordered +
			   w->link[i].corrupted;
	}
	/*
	 * As in Linux, where too many packets wait for a neighbour the newest push out the oldest:
	 * a burst of datagrams may cost a SYN. Each is sent again once.
	 */
	if (w->sc->lossless && !trouble ? n > pushed_out
					: n > 200 + 100ull * w->sc->n_conns + each * trouble)
		world_fail(w, "%lu retransmissions, %lu packets in trouble, %lu pushed out", n,
			   trouble, pushed_out);
}

static void report(struct world *w)
{
	for (uint32_t i = 0; i < 2; i++)
		world_log(w,
			  "link from host%u: %lu sent, %lu lost, %lu duplicated, %lu reordered, "
			  "%lu corrupted; %lu retransmissions, %lu timeouts",
			  i, w->link[i].sent, w->link[i].lost, w->link[i].duplicated,
			  w->link[i].reordered, w->link[i].corrupted,
			  host_mib(&w->host[i], MIB_Tcp_RetransSegs),
			  host_mib(&w->host[i], MIB_TcpExt_TCPTimeouts));
}

static const uint8_t *pattern_get(void)
{
	static uint8_t p[PATTERN_LEN];
	struct rng r = {1};

	if (!p[0] && !p[1] && !p[2])
		for (uint32_t i = 0; i < PATTERN_LEN; i++)
			p[i] = i < PATTERN_PRIME ? (uint8_t)rng_u64(&r) : p[i - PATTERN_PRIME];
	return p;
}

static void world_free(struct world *w)
{
	for (uint32_t i = 0; i < w->n_heap; i++)
		free(w->heap[i].frame);
	free(w->heap);
	host_free(&w->host[0]);
	host_free(&w->host[1]);
	free(w);
}

static void fill_result(const struct world *w)
{
	const struct link *l = &w->link[0];
	struct sim_result *r = w->result;

	for (uint32_t i = 0; i < w->sc->n_conns; i++)
		r->took[i] =
			w->socks[2 * i + 1].eof_at - w->start - w->sc->conn[i].start * NS_PER_US;
	r->queue = l->sent ? l->queued / l->sent : 0;
	r->lost = l->lost;
	r->marked = l->marked;
	r->retrans = host_mib(&w->host[0], MIB_Tcp_RetransSegs);
	r->timeouts = host_mib(&w->host[0], MIB_TcpExt_TCPTimeouts);
}

bool world_run(const struct scenario *sc, bool verbose, FILE *pcap, char *why, size_t len)
{
	return world_measure(sc, verbose, pcap, NULL, why, len);
}

bool world_measure(const struct scenario *sc, bool verbose, FILE *pcap, struct sim_result *result,
		   char *why, size_t len)
{
	struct world *w = calloc(1, sizeof(*w));
	bool ok;

	if (!w)
		abort();
	w->sc = sc;
	w->verbose = verbose;
	w->pcap = pcap;
	w->pattern = pattern_get();
	w->rng.s = sc->seed * 0x2545f4914f6cdd1dull;
	w->now.ns = rng_range(&w->rng, NS_PER_S, 1ull << rng_range(&w->rng, 31, 55));
	for (uint32_t i = 0; i < 2; i++) {
		struct host *h = &w->host[i];

		w->link[i] = (struct link){.cfg = &sc->link[i], .rng = {rng_u64(&w->rng)}};
		h->w = w;
		h->idx = i;
		h->cfg = &sc->host[i];
		if (host_init(h))
			world_fail(w, "tcp_listen");
		stack_set_trace(h->full.s, trace, &h->full);
		if (h->app.s)
			stack_set_trace(h->app.s, trace, &h->app);
		if (h->cfg->forget)
			world_at(w, w->now.ns, (struct sim_ev){.kind = SEV_FORGET, .host = h});
		if (h->cfg->crash)
			world_at(w, w->now.ns + rng_range(&w->rng, 0, 3 * NS_PER_S),
				 (struct sim_ev){.kind = SEV_CRASH, .host = h});
	}
	w->result = result;
	w->start = w->now.ns;
	prog_init(w);
	udp_begin(w);
	loop(w);
	if (result)
		fill_result(w);
	if (!w->failed)
		prog_judge(w);
	if (!w->failed)
		udp_judge(w);
	if (!w->failed)
		judge_retransmissions(w);
	if (!w->failed)
		wire_judge(w);
	report(w);
	ok = !w->failed;
	memcpy(why, w->why, len < sizeof(w->why) ? len : sizeof(w->why));
	world_free(w);
	return ok;
}
