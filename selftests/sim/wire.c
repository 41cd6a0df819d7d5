/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a host puts on the wire is held against what it has put there before: the promises of TCP
 * that a peer cannot see broken in its own stack alone. One record for each connection and
 * direction, begun anew by each SYN.
 *
 *	- the window's right edge never moves left (RFC 9293 §3.8.6, SHLD-14), unless text that it had
 *	  promised to take found no memory
 *	- the acknowledgement number never goes back, and never beyond what the peer has sent
 *	- no data beyond the right edge that has ever been announced to the sender, but a probe's
 *byte
 *	- the edge moves on in steps worth a segment or half the buffer (RFC 9293 §3.8.6.2.2,
 *MUST-39)
 */
#include <string.h>
#include "common/seq.h"
#include "sim.h"

#define ETH_LEN 14u
#define IP_LEN 20u
/* Segments that wait for a neighbour in vain have never been on the wire. */
#define MAX_GAP (1u << 20)
#define F_FIN 0x01
#define F_SYN 0x02
#define F_RST 0x04
#define F_ACK 0x10

struct seg {
	struct tcp_addr_pair pair; /* of the sender */
	uint32_t seq, ack, wnd, len;
	uint8_t flags;
	uint8_t wscale; /* a SYN's */
	bool has_wscale;
};

static uint32_t be16(const uint8_t *p)
{
	return (uint32_t)(p[0] << 8 | p[1]);
}

static uint32_t be32(const uint8_t *p)
{
	return be16(p) << 16 | be16(p + 2);
}

static void parse_syn_options(struct seg *g, const uint8_t *p, const uint8_t *end)
{
	while (p < end && *p) {
		if (*p == 1) {
			p++;
			continue;
		}
		if (end - p < 2 || p[1] < 2 || p[1] > end - p)
			return;
		if (*p == 3 && p[1] == 3) {
			g->has_wscale = true;
			g->wscale = p[2] > 14 ? 14 : p[2];
		}
		p += p[1];
	}
}

static bool parse(const struct frame *f, struct seg *g)
{
	const uint8_t *ip = f->data + ETH_LEN, *tcp = ip + IP_LEN;
	uint32_t be, hdr;

	memset(g, 0, sizeof(*g));
	if (f->len < ETH_LEN + IP_LEN + 20 || be16(f->data + 12) != 0x0800 || ip[0] != 0x45 ||
	    ip[9] != 6)
		return false;
	hdr = (uint32_t)(tcp[12] >> 4) * 4;
	memcpy(&be, ip + 12, 4);
	g->pair.local = ip_addr_v4(be);
	memcpy(&be, ip + 16, 4);
	g->pair.remote = ip_addr_v4(be);
	memcpy(&g->pair.local_port, tcp, 2);
	memcpy(&g->pair.remote_port, tcp + 2, 2);
	g->seq = be32(tcp + 4);
	g->ack = be32(tcp + 8);
	g->flags = tcp[13];
	g->wnd = be16(tcp + 14);
	g->len = be16(ip + 2) - IP_LEN - hdr;
	if (f->len > ETH_LEN + 65535u) /* super-frames carry no length */
		g->len = f->len - ETH_LEN - IP_LEN - hdr;
	if (g->flags & F_SYN)
		parse_syn_options(g, tcp + 20, tcp + hdr);
	return true;
}

static struct wire_dir *dir_find(struct world *w, const struct tcp_addr_pair *a, bool add)
{
	struct wire_dir *d = w->wire.dir;
	uint32_t i;

	for (i = 0; i < w->wire.n; i++)
		if (!memcmp(&d[i].pair, a, sizeof(*a)))
			return &d[i];
	if (!add || i == SIM_MAX_WIRE)
		return NULL;
	w->wire.n++;
	memset(&d[i], 0, sizeof(d[i]));
	d[i].pair = *a;
	return &d[i];
}

static struct tcp_addr_pair mirror(const struct tcp_addr_pair *a)
{
	return (struct tcp_addr_pair){a->remote, a->local, a->remote_port, a->local_port};
}

/* The scaling that counts from the first segment without SYN on (RFC 7323 §2.2). */
static uint32_t scaled(const struct wire_dir *d, const struct wire_dir *peer, const struct seg *g)
{
	return !(g->flags & F_SYN) && d->has_wscale && peer && peer->has_wscale
		       ? g->wnd << d->wscale
		       : g->wnd;
}

static uint64_t unkept_promises(const struct world *w, const struct ip_addr *a)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < 2; i++) {
		struct ip_addr own = host_addr(i);

		if (ip_addr_eq(&own, a))
			n += host_mib(&w->host[i], MIB_TcpExt_TCPRcvQDrop);
	}
	return n;
}

static void check_edge(struct world *w, struct wire_dir *d, const struct wire_dir *peer,
		       const struct seg *g)
{
	uint32_t edge = g->ack + scaled(d, peer, g);
	uint32_t grain = d->has_wscale ? 1u << d->wscale : 1;
	uint64_t unkept = unkept_promises(w, &d->pair.local);

	if (!d->acked) {
		d->unkept = unkept;
		d->acked = true;
		d->ack = g->ack;
		d->edge = d->now_edge = edge;
		if (peer && peer->syn)
			d->edge = seq_max(edge, peer->iss + 1 + d->syn_wnd);
		return;
	}
	if (seq_lt(g->ack, d->ack))
		world_fail(w, "acknowledgement number goes back by %u", d->ack - g->ack);
	/* Behind the FIN a window means nothing. */
	if (peer && peer->fin && g->ack == peer->max)
		return;
	/* A SYN's window is not scaled: one sent again, behind data (RFC 7413), can say no more. */
	if (g->flags & F_SYN && g->wnd == 0xffff)
		return;
	/* Rounding to the scale's unit may take that much back (RFC 7323 §2.4). */
	if (seq_lt(edge + grain, d->now_edge) && unkept == d->unkept)
		world_fail(w, "window's right edge moves left by %u", d->now_edge - edge);
	if (peer && peer->syn && seq_gt(g->ack, peer->max))
		world_fail(w, "acknowledges %u bytes that were not sent", g->ack - peer->max);
	d->ack = g->ack;
	if (unkept != d->unkept && seq_lt(edge, d->now_edge))
		d->now_edge = edge;
	d->unkept = unkept;
	if (seq_le(edge, d->now_edge))
		return;
	/* An edge that creeps while the window is nearly closed is what MUST-39 forbids. */
	if (edge - d->now_edge >= grain) {
		d->steps++;
		d->silly += edge - d->now_edge < 200 && scaled(d, peer, g) < 536;
	}
	d->now_edge = edge;
	d->edge = seq_max(d->edge, edge);
}

static void check_data(struct world *w, struct wire_dir *d, const struct wire_dir *peer,
		       const struct seg *g)
{
	uint32_t end = g->seq + g->len + !!(g->flags & F_SYN) + !!(g->flags & F_FIN);

	if (peer && peer->acked && !(g->flags & F_SYN) && g->len &&
	    seq_gt(g->seq + g->len, peer->edge + 1))
		world_fail(w, "sends %u bytes beyond the window", g->seq + g->len - peer->edge);
	if (seq_gt(end, d->max))
		d->max = end;
	d->fin |= !!(g->flags & F_FIN);
}

void wire_passed(struct world *w, const struct frame *f, bool lost)
{
	struct wire_dir *d;
	struct seg g;

	if (!parse(f, &g) || g.flags & F_RST)
		return;
	d = dir_find(w, &g.pair, false);
	if (!d)
		return;
	d->sent_at = w->now.ns;
	if (!lost)
		d->passed_at = w->now.ns;
}

bool wire_excuses_timeout(struct world *w, const struct tcp_addr_pair *a, uint64_t at,
			  uint64_t after)
{
	const struct tcp_addr_pair back = mirror(a);
	const struct wire_dir *d = dir_find(w, a, false), *peer = dir_find(w, &back, false);

	if (!d || !peer || at - peer->passed_at < after)
		return false;
	/* Nothing has arrived since, or it was answered in vain. */
	return d->passed_at <= peer->passed_at || d->passed_at <= peer->sent_at;
}

void wire_check(struct world *w, const struct frame *f)
{
	struct tcp_addr_pair back;
	struct wire_dir *d, *peer;
	struct seg g;

	/*
	 * Connections that were scribbled over may say anything. With SYN cookies a segment that
	 * comes twice may make a connection anew, with the numbers of the one that has ended.
	 */
	for (uint32_t i = 0; i < 2; i++)
		if ((w->host[i].crashed && w->host[i].cfg->hostile) ||
		    host_mib(&w->host[i], MIB_TcpExt_SyncookiesSent))
			return;
	if (!parse(f, &g) || g.flags & F_RST)
		return;
	d = dir_find(w, &g.pair, g.flags & F_SYN);
	if (!d)
		return;
	back = mirror(&g.pair);
	peer = dir_find(w, &back, false);
	if (g.flags & F_SYN && (!d->syn || d->iss != g.seq)) {
		*d = (struct wire_dir){.pair = g.pair, .syn = true, .iss = g.seq, .max = g.seq + 1};
		d->syn_wnd = g.wnd;
		d->has_wscale = g.has_wscale;
		d->wscale = g.wscale;
		/* An old SYN that comes again is answered anew: the other end may not be in that.
		 */
		d->again = peer && peer->acked;
		/* What the other end sends until its own SYN belongs to the last connection. */
		if ((g.flags & (F_SYN | F_ACK)) == F_SYN && peer && peer->acked)
			peer->syn = false;
	}
	if (!d->syn)
		return;
	/* What answers a segment of an earlier connection, or of TIME_WAIT, is not this one's. */
	if (seq_lt(g.seq, d->iss) || seq_gt(g.seq, d->max + MAX_GAP))
		return;
	if (g.flags & F_ACK) {
		if (!peer || !peer->syn || seq_lt(g.ack, peer->iss) ||
		    (peer->again && seq_gt(g.ack, peer->max)) ||
		    seq_gt(g.ack, peer->max + (1u << 30)))
			return;
		check_edge(w, d, peer, &g);
	}
	check_data(w, d, peer, &g);
}

void wire_judge(struct world *w)
{
	for (uint32_t i = 0; i < w->wire.n; i++) {
		const struct wire_dir *d = &w->wire.dir[i];

		if (d->silly > 20 && d->silly * 10 > d->steps)
			world_fail(w, "%u of %u steps of a window were silly", d->silly, d->steps);
	}
}
