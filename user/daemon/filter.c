// SPDX-License-Identifier: BSD-2-Clause
/*
 * In front of the stack: a packet of a connection that an application has goes to that
 * application's injection ring, frames and all; the stack, which does not know it, would reset the
 * peer. Such packets are those that arrived before the flow entry changed, and SYN, RST and
 * oddities, which XDP always sends here. The rest goes to the stack, with the index that our own
 * records know, whatever the metadata says.
 */
#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include "daemon.h"

/* SYN and RST for handed-out connections: a flood must not keep applications awake. */
#define CONTROL_PER_S 100000u
#define CONTROL_BURST 2000u
#define ETH_LEN 14u
#define IP_LEN 20u

static uint16_t be16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static uint16_t port_at(const uint8_t *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static struct ip_addr addr_at(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return ip_addr_v4(v);
}

/* What of an IPv4 packet decides here. */
struct peek {
	struct ip_addr src, dst;
	uint8_t proto;
	bool fragment;
	uint32_t l3; /* its offset in the frame */
	const uint8_t *l4;
	uint32_t l4_len; /* of it that is there */
};

static bool peek_ip(const uint8_t *p, uint32_t len, struct peek *k)
{
	uint32_t hlen, frag;

	if (len < IP_LEN || p[0] >> 4 != 4)
		return false;
	hlen = (p[0] & 15u) * 4;
	if (hlen < IP_LEN || hlen > len)
		return false;
	frag = be16(p + 6);
	k->src = addr_at(p + 12);
	k->dst = addr_at(p + 16);
	k->proto = p[9];
	k->fragment = frag & 0x3fff;
	k->l4 = p + hlen;
	k->l4_len = len - hlen;
	return true;
}

static bool peek_pkt(const struct pkt *p, struct peek *k)
{
	const struct pkt_frag *f = &p->frag[0];
	uint32_t l3 = p->l3_off;

	if (!l3) {
		if (f->len < ETH_LEN || be16(f->p + 12) != 0x0800)
			return false;
		l3 = ETH_LEN;
	}
	k->l3 = l3;
	return l3 < f->len && peek_ip(f->p + l3, f->len - l3, k);
}

static bool take_token(struct daemon *d)
{
	uint64_t us = mtime_diff_us(d->now, d->control_filled);

	if (us >= 1000) {
		d->control_tokens += us * CONTROL_PER_S / 1000000;
		if (d->control_tokens > CONTROL_BURST)
			d->control_tokens = CONTROL_BURST;
		d->control_filled = d->now;
	}
	if (!d->control_tokens)
		return false;
	d->control_tokens--;
	return true;
}

/* ---- TCP ---- */

static enum port_verdict forward(struct daemon *d, struct pkt *p, const struct peek *k,
				 const struct rec *r)
{
	struct app *a = d->apps[r->slot];

	/*
	 * It comes from that very application, which may have got it before it heard of the
	 * connection. Once more only: round and round it would go.
	 */
	if (d->inject_from == r->slot && p->injected > 1)
		return PORT_DROPPED;
	if (k->proto == IPPROTO_TCP && k->l4_len > 13 && k->l4[13] & 6 &&
	    !take_token(d)) /* SYN, RST */
		return PORT_DROPPED;
	if (!port_inject(d->port, p, a->pkts_to_app, a->slot))
		return PORT_DROPPED; /* no room: as lost on the way */
	stack_count(d->stack, MIB_Td_Injected, 1);
	a->wake = true;
	return PORT_TAKEN;
}

/* By the flags of a TCP header: a SYN that begins something. */
static bool is_syn(uint8_t flags)
{
	return (flags & 0x17) == 2; /* SYN; not FIN, RST, ACK */
}

static uint32_t find(struct daemon *d, const struct flow_key *key, bool syn)
{
	uint32_t i = recs_find(&d->recs, key);

	/*
	 * An application that passes a packet on has said before that the connection is not its own
	 * any more: that message may still stand in its ring. A peer that uses a pair again at once
	 * may be faster than such a message, too, which wakes nobody.
	 */
	if (i != SHM_NIL && rec_at(d, i)->state == REC_TAKEN &&
	    (syn || rec_at(d, i)->slot == d->inject_from)) {
		app_messages(d, d->apps[rec_at(d, i)->slot]);
		i = recs_find(&d->recs, key);
	}
	return i;
}

static enum port_verdict pass_to(struct daemon *d, struct pkt *p, struct app *a)
{
	if (!port_inject(d->port, p, a->pkts_to_app, a->slot))
		return PORT_DROPPED; /* no room: as lost on the way */
	stack_count(d->stack, MIB_Td_Injected, 1);
	a->wake = true;
	return PORT_TAKEN;
}

/* No record: it may be of a handshake, or a connection, that an application's listener has. */
static enum port_verdict unknown(struct daemon *d, struct pkt *p, const struct peek *k,
				 const struct tcp_addr_pair *pair)
{
	struct app *a;

	if (k->l4_len <= 13 || is_syn(k->l4[13])) /* a SYN is ours, now that it is here */
		return PORT_TO_STACK;
	a = front_of(d, pair);
	if (!a)
		return PORT_TO_STACK;
	/* So that what nobody knows is not carried from one to the next all the time, either. */
	if ((k->l4[13] & 6 || d->inject_from != TD_SLOT_NONE) && !take_token(d))
		return PORT_DROPPED;
	return pass_to(d, p, a);
}

static enum port_verdict filter_tcp(struct daemon *d, struct pkt *p, const struct peek *k)
{
	struct tcp_addr_pair pair;
	struct flow_key key;
	const struct rec *r;
	uint32_t i;

	/* The stack puts fragments together; then see filter_segment(). */
	if (k->fragment || k->l4_len < 4)
		return PORT_TO_STACK;
	pair = (struct tcp_addr_pair){.local = k->dst,
				      .remote = k->src,
				      .remote_port = port_at(k->l4),
				      .local_port = port_at(k->l4 + 2)};
	key = flow_key_of(&pair);
	i = find(d, &key, k->l4_len > 13 && is_syn(k->l4[13]));
	if (i == SHM_NIL)
		return unknown(d, p, k, &pair);
	r = rec_at(d, i);
	switch (r->state) {
	case REC_OFFERED:
	case REC_TAKEN:
		return forward(d, p, k, r);
	case REC_TIMEWAIT:
		return PORT_TO_STACK;
	default:
		p->conn = r->conn;
		p->generation = r->generation;
		return PORT_TO_STACK;
	}
}

/* ---- what the stack has put together ---- */

struct tcp_addr_pair filter_pair(const struct pkt *p)
{
	const uint8_t *ip = p->frag[0].p + p->l3_off, *l4 = p->frag[0].p + p->l4_off;

	return (struct tcp_addr_pair){.remote = addr_at(ip + 12),
				      .local = addr_at(ip + 16),
				      .remote_port = port_at(l4),
				      .local_port = port_at(l4 + 2)};
}

void filter_pass_copy(struct daemon *d, const struct pkt *p, struct app *a)
{
	uint8_t eth[ETH_LEN] = {[12] = 0x08};

	memcpy(eth, d->ifs[p->netif].link.mac, sizeof(d->ifs[0].link.mac));
	if (!port_inject_copy(d->port, p, eth, a->pkts_to_app, a->slot))
		return; /* no room: as lost on the way */
	stack_count(d->stack, MIB_Td_Injected, 1);
	a->wake = true;
}

bool filter_segment(void *ctx, const struct pkt *p)
{
	struct daemon *d = ctx;
	struct tcp_addr_pair pair;
	struct flow_key key;
	const struct rec *r;
	uint8_t flags;
	uint32_t i;

	if (p->frag[0].len < p->l4_off + 14u)
		return false;
	flags = p->frag[0].p[p->l4_off + 13];
	pair = filter_pair(p);
	key = flow_key_of(&pair);
	i = find(d, &key, is_syn(flags));
	r = i == SHM_NIL ? NULL : rec_at(d, i);
	if (!r) {
		struct app *a = front_of(d, &pair);

		/* A copy cannot come back: a SYN, with all that it may begin, is ours. */
		if (!a || is_syn(flags))
			return false;
		if (!(flags & 6) || take_token(d))
			filter_pass_copy(d, p, a);
		return true;
	}
	if (r->state != REC_OFFERED && r->state != REC_TAKEN)
		return false;
	if (d->inject_from == r->slot)
		return true;		   /* round and round it would go */
	if (!(flags & 6) || take_token(d)) /* SYN, RST */
		filter_pass_copy(d, p, d->apps[r->slot]);
	return true;
}

/*
 * A SYN that has ended a TIME_WAIT: whoever answers its port's SYNs goes on with it. After a server's
 * restart each pair that its clients used comes here once; that is all then.
 */
bool filter_yielded(void *ctx, struct pkt *p)
{
	const struct tcp_addr_pair pair = filter_pair(p);
	const struct flow_key key = flow_key_of(&pair);
	struct daemon *d = ctx;
	uint32_t i = recs_find(&d->recs, &key);
	struct app *a;

	/* Now, as its peer may be faster than the stack's event. */
	if (i != SHM_NIL && rec_at(d, i)->state == REC_TIMEWAIT)
		rec_drop(d, i);
	a = front_answers(d, &pair);
	p->injected = 1; /* it has been counted */
	p->yours = true;
	if (a && pass_to(d, p, a) == PORT_TAKEN)
		return true;
	p->yours = false;
	stack_input(d->stack, p, d->now);
	return false;
}

/* ---- UDP: what XDP does not steer itself (udp.c) ---- */

static enum port_verdict filter_udp(struct daemon *d, struct pkt *p, const struct peek *k)
{
	struct tcp_addr_pair a;
	struct app *to;

	if (k->fragment || k->l4_len < 8)
		return PORT_TO_STACK;
	a = (struct tcp_addr_pair){.local = k->dst,
				   .remote = k->src,
				   .remote_port = port_at(k->l4),
				   .local_port = port_at(k->l4 + 2)};
	to = udp_owner(d, &a);
	/* The owner has no socket for it: the stack answers. */
	return !to || to->slot == d->inject_from ? PORT_TO_STACK : pass_to(d, p, to);
}

static enum port_verdict filter_udp_error(struct daemon *d, struct pkt *p,
					  const struct tcp_addr_pair *quoted)
{
	struct app *to = udp_owner(d, quoted);

	if (!to || to->slot == d->inject_from)
		return PORT_TO_STACK;
	return take_token(d) ? pass_to(d, p, to) : PORT_DROPPED;
}

/* ---- ICMP errors about a segment of a connection that an application has ---- */

/* What the core makes of it; @p is as it was after that. */
static bool quote_of(struct pkt *p, const struct peek *k, struct icmp_quote *q)
{
	uint16_t l3 = p->l3_off, l4 = p->l4_off;
	bool ok;

	p->l3_off = (uint16_t)k->l3;
	p->l4_off = (uint16_t)(k->l4 - p->frag[0].p);
	ok = stack_icmp_quote(p, q);
	p->l3_off = l3;
	p->l4_off = l4;
	return ok;
}

static enum port_verdict filter_icmp(struct daemon *d, struct pkt *p, const struct peek *k)
{
	struct shm_msg m = {.op = SHM_CONN_ICMP};
	struct icmp_quote q;
	struct flow_key key;
	const struct rec *r;
	struct app *a;
	uint32_t i;

	if (k->fragment || !quote_of(p, k, &q))
		return PORT_TO_STACK;
	if (q.proto == IPPROTO_UDP)
		return filter_udp_error(d, p, &q.pair);
	key = flow_key_of(&q.pair);
	i = recs_find(&d->recs, &key);
	a = i == SHM_NIL && q.err == EMSGSIZE ? front_of(d, &q.pair) : NULL;
	if (a)
		return take_token(d) ? pass_to(d, p, a) : PORT_DROPPED;
	if (i == SHM_NIL || rec_at(d, i)->state != REC_TAKEN)
		return PORT_TO_STACK;
	r = rec_at(d, i);
	/* The owner's stack knows what is outstanding, so whether to believe it (RFC 5927 §4). */
	if (q.err == EMSGSIZE)
		return take_token(d) ? forward(d, p, k, r) : PORT_DROPPED;
	a = d->apps[r->slot];
	m.error = q.err;
	m.conn = r->conn;
	m.generation = r->generation;
	/* Only a hint: connections come first where room is short. */
	if (take_token(d) && shm_ring_room(&a->to_app->hdr, SHM_MSG_RING) > SHM_MSG_RING / 2)
		app_push(a, &m);
	return PORT_DROPPED;
}

enum port_verdict filter_packet(void *ctx, struct pkt *p)
{
	struct daemon *d = ctx;
	struct peek k;

	p->conn = TD_NO_CONN;
	if (!peek_pkt(p, &k))
		return PORT_TO_STACK;
	if (k.proto == IPPROTO_TCP)
		return filter_tcp(d, p, &k);
	if (k.proto == IPPROTO_UDP)
		return filter_udp(d, p, &k);
	if (k.proto == IPPROTO_ICMP)
		return filter_icmp(d, p, &k);
	return PORT_TO_STACK;
}
