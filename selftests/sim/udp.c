/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Datagrams beside the connections: a client sends numbered ones, an echo server answers each. They
 * may be lost, come twice or late, as the link likes; what does come has to be one that was sent,
 * whole, at most as often as the link explains. Programs have random numbers of their own, so that
 * the rest of a run is what it would be without them.
 */
#include <string.h>
#include "sim.h"

#define HEAD 8u /* flow, direction, number */
#define EAGAIN_ 11
#define EMSGSIZE_ 90
#define ENOBUFS_ 105
#define ECONNREFUSED_ 111
#define EHOSTUNREACH_ 113
#define PORT(p) __builtin_bswap16((uint16_t)(p))
#define SERVER_PORT 7000u
#define CLIENT_PORT 8000u

static const struct udp_plan *plan_of(const struct udp_flow *f)
{
	return &f->w->sc->udp[f->plan];
}

static struct host *host_of(const struct udp_flow *f, uint32_t side)
{
	return &f->w->host[plan_of(f)->client ^ side];
}

/* ---- contents ---- */

static uint32_t length_of(const struct udp_flow *f, uint32_t n)
{
	struct rng r = {f->w->sc->seed ^ (uint64_t)n << 32 ^ f->plan};

	return (uint32_t)rng_range(&r, HEAD, plan_of(f)->size_max);
}

static void fill(const struct udp_flow *f, uint32_t back, uint32_t n, uint8_t *out, uint32_t len)
{
	uint32_t head[2] = {f->plan << 1 | back, n};

	memcpy(out, f->w->pattern + (n * 2 + back) * 131u % 1000u, len);
	memcpy(out, head, HEAD);
}

/* Of which number it is; -1: nobody sent that. */
static int64_t number_of(const struct udp_flow *f, uint32_t back, const uint8_t *in, int64_t len)
{
	static uint8_t want[65536];
	uint32_t head[2];

	if (len < HEAD)
		return -1;
	memcpy(head, in, HEAD);
	if (head[0] != (f->plan << 1 | back) || head[1] >= plan_of(f)->count ||
	    !f->sent[back][head[1]] || len != length_of(f, head[1]))
		return -1;
	fill(f, back, head[1], want, (uint32_t)len);
	return memcmp(in, want, (size_t)len) ? -1 : (int64_t)head[1];
}

/* After the last datagram: what stands in a slow link's queue needs its time. */
static uint64_t drain_ns(const struct scenario *sc)
{
	return (sc->link[0].rate || sc->link[1].rate ? 60 : 2) * NS_PER_S;
}

/* ---- sending ---- */

/* The router's word counts: by the way that it was about. */
static bool way_known(const struct udp_flow *f, struct node *n, uint32_t side, struct ip_way *way)
{
	struct ip_addr to = host_addr(!n->host->idx);

	*way = (struct ip_way){.mtu = f->pmtu[side]};
	return f->pmtu[side] && ip_way_find(n->s, 0, &to, way, n->w->now);
}

static void send_one(struct udp_flow *f, uint32_t side, uint32_t num, uint16_t port)
{
	static uint8_t buf[65536];
	struct world *w = f->w;
	struct node *n = &host_of(f, side)->full;
	uint32_t len = length_of(f, num);
	struct ip_way way;
	struct udp_dest to = {.addr = host_addr(!n->host->idx),
			      .src = host_addr(n->host->idx),
			      .port = port,
			      .pmtudisc = plan_of(f)->pmtudisc,
			      .no_csum = plan_of(f)->no_csum};
	int64_t r;

	if (way_known(f, n, side, &way))
		to.way = &way;
	fill(f, side, num, buf, len);
	f->sent[side][num]++; /* it may be there before the call is over */
	r = udp_send(n->s, f->id[side], &to, buf, len, w->now);
	if (r == len)
		return;
	f->sent[side][num]--;
	f->unsent++;
	if (r == -EMSGSIZE_ && to.pmtudisc == UDP_PMTUDISC_DO)
		return;
	if (r != -EAGAIN_ && r != -ENOBUFS_ && r != -ECONNREFUSED_ && r != -EHOSTUNREACH_)
		world_fail(w, "udp %u: udp_send: %ld", f->plan, (long)r);
}

void udp_step(struct udp_flow *f)
{
	const struct udp_plan *p = plan_of(f);
	struct world *w = f->w;

	if (f->next < p->count) {
		send_one(f, 0, f->next++, PORT(p->closed ? 9u : SERVER_PORT + f->plan));
		world_at(w,
			 w->now.ns + (f->next < p->count ? rng_range(&f->rng, 0, p->gap) * NS_PER_US
							 : drain_ns(w->sc)),
			 (struct sim_ev){.kind = SEV_UDP, .n = f->plan});
		return;
	}
	f->done = true;
	for (uint32_t side = 0; side < 2; side++)
		udp_close(host_of(f, side)->full.s, f->id[side]);
}

/* ---- receiving ---- */

static void read_all(struct udp_flow *f, uint32_t side)
{
	static uint8_t buf[65536];
	struct world *w = f->w;
	struct node *n = &host_of(f, side)->full;
	struct udp_info info;
	int64_t len, num;

	while ((len = udp_recv(n->s, f->id[side], buf, sizeof(buf), &info, false)) >= 0) {
		num = number_of(f, !side, buf, len);
		if (num < 0 || info.len != len) {
			world_fail(w, "udp %u: a datagram of %ld bytes that nobody sent", f->plan,
				   (long)len);
			return;
		}
		if (f->got[side][num]++ >= f->sent[!side][num] &&
		    !w->link[!n->host->idx].duplicated) {
			world_fail(w, "udp %u: number %ld came twice", f->plan, (long)num);
			return;
		}
		if (side)
			send_one(f, 1, (uint32_t)num, info.sport);
	}
	if (len != -EAGAIN_)
		world_fail(w, "udp %u: udp_recv: %ld", f->plan, (long)len);
}

static void error_came(struct udp_flow *f, uint32_t side)
{
	const struct scenario *sc = f->w->sc;
	int err = udp_error(host_of(f, side)->full.s, f->id[side]);

	f->refused += err == ECONNREFUSED_;
	if ((err == ECONNREFUSED_ && (side || !plan_of(f)->closed)) ||
	    (err == EHOSTUNREACH_ && sc->lossless) ||
	    (err == EMSGSIZE_ && !sc->link[0].path_mtu && !sc->link[1].path_mtu))
		world_fail(f->w, "udp %u: error %d", f->plan, err);
}

void udp_event_came(struct world *w, const struct stack_ev *ev)
{
	struct udp_flow *f = &w->udp[(ev->cookie - UDP_COOKIE) / 2];
	uint32_t side = (ev->cookie - UDP_COOKIE) % 2;
	struct ip_addr to;

	if (f->done)
		return;
	if (ev->mask & EV_PMTU) {
		uint32_t mtu = udp_pmtu(host_of(f, side)->full.s, f->id[side], &to);

		if (mtu >= 552) /* as the kernel's min_pmtu */
			f->pmtu[side] = mtu;
	}
	if (ev->mask & EV_ERROR)
		error_came(f, side);
	if (ev->mask & EV_READABLE)
		read_all(f, side);
}

/* ---- beginning and end ---- */

static void open_one(struct udp_flow *f, uint32_t side)
{
	const struct udp_plan *p = plan_of(f);
	struct host *h = host_of(f, side);
	struct tcp_addr_pair a = {.local = host_addr(h->idx),
				  .local_port = PORT((side ? SERVER_PORT : CLIENT_PORT) + f->plan)};

	if (udp_open(h->full.s, UDP_COOKIE + f->plan * 2 + side, &f->id[side])) {
		world_fail(f->w, "udp_open");
		return;
	}
	if (!side && p->connected) {
		a.remote = host_addr(!h->idx);
		a.remote_port = PORT(p->closed ? 9u : SERVER_PORT + f->plan);
	}
	udp_bind(h->full.s, f->id[side], &a, 0);
	if (p->rcvbuf)
		udp_set_rcvbuf(h->full.s, f->id[side], p->rcvbuf);
}

void udp_begin(struct world *w)
{
	for (uint32_t i = 0; i < w->sc->n_udp; i++) {
		struct udp_flow *f = &w->udp[i];

		*f = (struct udp_flow){.w = w, .plan = i, .rng = {w->sc->seed * 77 + i}};
		open_one(f, 0);
		open_one(f, 1);
		world_at(w, w->now.ns + w->sc->udp[i].start * NS_PER_US,
			 (struct sim_ev){.kind = SEV_UDP, .n = i});
	}
}

bool udp_done(const struct world *w, char *why, size_t len)
{
	for (uint32_t i = 0; i < w->sc->n_udp; i++)
		if (!w->udp[i].done) {
			snprintf(why, len, "udp %u is not through: %u of %u sent", i,
				 w->udp[i].next, w->sc->udp[i].count);
			return false;
		}
	return true;
}

/* Has anything happened that can explain the loss of a datagram? */
static bool explained(const struct world *w)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < 2; i++)
		n += w->link[i].lost + w->link[i].corrupted +
		     host_mib(&w->host[i], MIB_Udp_RcvbufErrors) +
		     host_mib(&w->host[i], MIB_Udp_MemErrors) +
		     host_mib(&w->host[i], MIB_Ip_ReasmFails) +
		     host_mib(&w->host[i], MIB_Ip_OutDiscards) +
		     host_mib(&w->host[i], MIB_Td_NeighDrops) +
		     host_mib(&w->host[i], MIB_Td_NeighFailed) +
		     host_mib(&w->host[i], MIB_Td_NoBuffer);
	return n;
}

/* Errors to one host are limited: others may have taken what there is. */
static bool only_closed(const struct world *w, uint32_t flow)
{
	for (uint32_t i = 0; i < w->sc->n_udp; i++)
		if (i != flow && w->sc->udp[i].closed)
			return false;
	return true;
}

void udp_judge(struct world *w)
{
	if (explained(w))
		return;
	for (uint32_t i = 0; i < w->sc->n_udp && !w->failed; i++) {
		const struct udp_plan *p = &w->sc->udp[i];
		const struct udp_flow *f = &w->udp[i];

		if (p->closed && p->connected && p->count && f->unsent < p->count &&
		    only_closed(w, i) && !f->refused)
			world_fail(w, "udp %u: nobody says that the port is closed", i);
		for (uint32_t n = 0; n < p->count && !p->closed; n++)
			if (f->got[1][n] < f->sent[0][n] || f->got[0][n] < f->sent[1][n])
				world_fail(w, "udp %u: number %u got lost", i, n);
	}
}
