// SPDX-License-Identifier: BSD-2-Clause
/*
 * UDP (RFC 768, RFC 1122 §4.1): sockets, connected and not, and their receive queues. Rules that
 * the RFCs leave open are Linux's net/ipv4/udp.c: which of several sockets gets a datagram, what is
 * dropped when a queue is full (the newest), which ICMP errors are reported and to whom.
 *
 * A receive queue is a row of bytes: a struct udp_rec, its datagram, the next. So is the error
 * queue of IP_RECVERR (ip(7); Linux's ip_icmp_error(), ip_local_error(), ip_recv_error()), of
 * struct udp_err and what was quoted. SO_RCVBUF bounds both together. Owns s->udps, their two
 * tables (unconnected sockets by local port, connected ones by all four), and the list of sockets
 * with events.
 *
 * Invariants: a socket with a local port stands in the table that .rport says, once, the one bound
 * last in front; it has an error queue only while .recverr is set.
 */
#include "tcp.h"

#define CSUM_OFF 6u
#define ICMP_UNREACH 3u
#define ICMP_UNREACH_PORT 3u

/* In front of each datagram in a receive queue. */
struct udp_rec {
	struct ip_addr src, dst;
	uint64_t ns;
	uint16_t sport, len;
	uint16_t netif;
	uint8_t ttl, tos;
};
_Static_assert(sizeof(struct udp_rec) == 48, "no padding: it is copied as bytes");
_Static_assert(sizeof(struct udp_err) == 72, "no padding: it is copied as bytes");

/* ---- sockets and where they are found ---- */

static uint32_t *bucket(const struct stack *s, const struct udp_sock *u)
{
	if (u->rport)
		return &s->udp_conns[conn_hash(s, &u->local, u->lport, &u->remote, u->rport) &
				     s->udp_conn_mask];
	return &s->udp_ports[siphash_24(s->cfg.key, &u->lport, sizeof(u->lport)) &
			     s->udp_port_mask];
}

static void unhash(struct stack *s, uint32_t id)
{
	struct udp_sock *u = &s->udps[id];
	uint32_t *link = bucket(s, u);

	if (!u->lport)
		return;
	while (*link != id + 1)
		link = &s->udps[*link - 1].hash_next;
	*link = u->hash_next;
	u->lport = 0;
}

int udp_open(struct stack *s, uint64_t cookie, uint32_t *id)
{
	uint32_t i = free_list_get(&s->udp_free);

	if (i == SHM_NIL)
		return -E_NOBUFS;
	s->udps[i] = (struct udp_sock){.used = true,
				       .cookie = cookie,
				       .rcvbuf = UINT32_MAX,
				       .rx = BYTEQ_EMPTY,
				       .errs = BYTEQ_EMPTY,
				       .ev_next = SHM_NIL};
	*id = i;
	return 0;
}

static void unlist(struct stack *s, uint32_t id)
{
	uint32_t prev = SHM_NIL, i = s->uev_head;

	if (!s->udps[id].ev_queued)
		return;
	while (i != id) {
		prev = i;
		i = s->udps[i].ev_next;
	}
	*(prev == SHM_NIL ? &s->uev_head : &s->udps[prev].ev_next) = s->udps[id].ev_next;
	if (s->uev_tail == id)
		s->uev_tail = prev;
}

void udp_close(struct stack *s, uint32_t id)
{
	struct udp_sock *u = &s->udps[id];

	unhash(s, id);
	unlist(s, id);
	byteq_clear(s, &u->rx);
	byteq_clear(s, &u->errs);
	u->used = false;
	free_list_put(&s->udp_free, id);
}

void udp_bind(struct stack *s, uint32_t id, const struct tcp_addr_pair *a, unsigned flags)
{
	struct udp_sock *u = &s->udps[id];
	uint32_t *b;

	unhash(s, id);
	u->local = ip_addr_is_any(&a->local) ? (struct ip_addr){0} : a->local;
	u->remote = a->remote;
	u->rport = a->remote_port;
	u->reuseport = flags & UDP_REUSEPORT;
	u->v6 = flags & UDP_V6;
	if (!a->local_port)
		return;
	u->lport = a->local_port;
	b = bucket(s, u);
	u->hash_next = *b;
	*b = id + 1;
}

void udp_set_rcvbuf(struct stack *s, uint32_t id, uint32_t bytes)
{
	s->udps[id].rcvbuf = bytes;
}

void udp_set_recverr(struct stack *s, uint32_t id, bool on)
{
	struct udp_sock *u = &s->udps[id];

	u->recverr = on;
	if (!on)
		byteq_clear(s, &u->errs);
}

static uint32_t find_connected(const struct stack *s, const struct tcp_addr_pair *a)
{
	uint32_t i =
		s->udp_conns[conn_hash(s, &a->local, a->local_port, &a->remote, a->remote_port) &
			     s->udp_conn_mask];

	for (; i; i = s->udps[i - 1].hash_next) {
		const struct udp_sock *u = &s->udps[i - 1];

		if (u->lport == a->local_port && u->rport == a->remote_port &&
		    ip_addr_eq(&u->local, &a->local) && ip_addr_eq(&u->remote, &a->remote))
			return i - 1;
	}
	return SHM_NIL;
}

/* Does @u take what comes to @a->local? With that address itself: it is the better one. */
static bool takes(const struct udp_sock *u, const struct tcp_addr_pair *a, bool exact)
{
	return u->lport == a->local_port &&
	       (exact ? ip_addr_eq(&u->local, &a->local) : ip_addr_is_any(&u->local));
}

static uint32_t find_bound(const struct stack *s, const struct tcp_addr_pair *a, bool exact)
{
	struct udp_sock key = {.lport = a->local_port};
	uint32_t head = *bucket(s, &key), n = 0, first = SHM_NIL;

	for (uint32_t i = head; i; i = s->udps[i - 1].hash_next) {
		const struct udp_sock *u = &s->udps[i - 1];

		if (!takes(u, a, exact) || (first != SHM_NIL && u->v6 && !s->udps[first].v6))
			continue;
		/* Linux's compute_score(): its own family is the better one. */
		if (first == SHM_NIL || u->v6 != s->udps[first].v6) {
			first = i - 1;
			n = 0;
		}
		n += u->reuseport;
	}
	if (n < 2)
		return first;
	/* SO_REUSEPORT: always the same one for the same two ends. */
	n = (uint32_t)(((uint64_t)conn_hash(s, &a->local, a->local_port, &a->remote,
					    a->remote_port) *
			n) >>
		       32);
	for (uint32_t i = head; i; i = s->udps[i - 1].hash_next) {
		const struct udp_sock *u = &s->udps[i - 1];

		if (takes(u, a, exact) && u->reuseport && u->v6 == s->udps[first].v6 && !n--)
			return i - 1;
	}
	return first;
}

static uint32_t udp_lookup(const struct stack *s, const struct tcp_addr_pair *a)
{
	uint32_t i;

	if (!s->udp_free.used)
		return SHM_NIL;
	i = find_connected(s, a);
	if (i == SHM_NIL)
		i = find_bound(s, a, true);
	return i != SHM_NIL ? i : find_bound(s, a, false);
}

/* ---- events ---- */

static void udp_event(struct stack *s, uint32_t id, uint32_t mask)
{
	struct udp_sock *u = &s->udps[id];

	u->ev_mask |= mask;
	if (u->ev_queued)
		return;
	u->ev_queued = true;
	u->ev_next = SHM_NIL;
	if (s->uev_tail == SHM_NIL)
		s->uev_head = id;
	else
		s->udps[s->uev_tail].ev_next = id;
	s->uev_tail = id;
}

bool udp_event_next(struct stack *s, struct stack_ev *ev)
{
	uint32_t id = s->uev_head;
	struct udp_sock *u;

	if (id == SHM_NIL)
		return false;
	u = &s->udps[id];
	s->uev_head = u->ev_next;
	if (s->uev_head == SHM_NIL)
		s->uev_tail = SHM_NIL;
	u->ev_queued = false;
	*ev = (struct stack_ev){
		.mask = u->ev_mask, .conn = TD_NO_CONN, .listener = SHM_NIL, .cookie = u->cookie};
	u->ev_mask = 0;
	return true;
}

int udp_error(struct stack *s, uint32_t id)
{
	int err = s->udps[id].err;

	s->udps[id].err = 0;
	return err;
}

bool udp_has_error(const struct stack *s, uint32_t id)
{
	return s->udps[id].err || s->udps[id].errs.bytes;
}

/* ---- receive queues ---- */

/* Linux's sk_rmem_alloc: what both queues hold. */
static bool over_rcvbuf(const struct udp_sock *u, uint32_t more)
{
	return (uint64_t)u->rx.bytes + u->errs.bytes + more > u->rcvbuf;
}

int64_t udp_next_len(const struct stack *s, uint32_t id)
{
	const struct udp_sock *u = &s->udps[id];
	struct udp_rec r;

	if (!u->rx.bytes)
		return -1;
	byteq_peek(s, &u->rx, 0, &r, sizeof(r));
	return r.len;
}

int64_t udp_recv(struct stack *s, uint32_t id, void *buf, size_t len, struct udp_info *info,
		 bool stay)
{
	struct udp_sock *u = &s->udps[id];
	struct udp_rec r;

	if (!u->rx.bytes)
		return -E_AGAIN;
	byteq_peek(s, &u->rx, 0, &r, sizeof(r));
	if (len > r.len)
		len = r.len;
	byteq_peek(s, &u->rx, sizeof(r), buf, (uint32_t)len);
	*info = (struct udp_info){.src = r.src,
				  .dst = r.dst,
				  .sport = r.sport,
				  .netif = r.netif,
				  .ttl = r.ttl,
				  .tos = r.tos,
				  .len = r.len,
				  .ns = r.ns};
	if (!stay) {
		byteq_discard(s, &u->rx, (uint32_t)sizeof(r) + r.len);
		MIB(s, Udp_InDatagrams);
	}
	return (int64_t)len;
}

int64_t udp_recv_row(struct stack *s, uint32_t id, void *buf, size_t len,
		     const struct udp_info *first)
{
	struct udp_sock *u = &s->udps[id];
	struct udp_rec r;

	if (!u->rx.bytes)
		return -E_AGAIN;
	byteq_peek(s, &u->rx, 0, &r, sizeof(r));
	if (!r.len || r.len > first->len || r.len > len || r.sport != first->sport ||
	    r.netif != first->netif || r.ttl != first->ttl || r.tos != first->tos ||
	    !ip_addr_eq(&r.src, &first->src) || !ip_addr_eq(&r.dst, &first->dst))
		return -E_AGAIN;
	byteq_peek(s, &u->rx, sizeof(r), buf, r.len);
	byteq_discard(s, &u->rx, (uint32_t)sizeof(r) + r.len);
	MIB(s, Udp_InDatagrams);
	return r.len;
}

/* ---- in ---- */

static enum drop in_error(struct stack *s, enum drop d)
{
	MIB(s, Udp_InErrors);
	return d;
}

static enum drop queue(struct stack *s, uint32_t id, const struct pkt *p, const struct ip_info *ip,
		       uint32_t off, uint16_t sport, struct mtime now)
{
	struct udp_sock *u = &s->udps[id];
	struct udp_rec r = {.src = ip->src,
			    .dst = ip->dst,
			    .ns = now.ns,
			    .sport = sport,
			    .len = (uint16_t)(ip->l4_len - UDP_HLEN),
			    .netif = ip->netif,
			    .ttl = ip->ttl,
			    .tos = ip->tos};
	uint32_t size = (uint32_t)sizeof(r) + r.len;

	/* One that is larger than the buffer is still taken where there is no other. */
	if (u->rx.bytes && over_rcvbuf(u, size)) {
		MIB(s, Udp_RcvbufErrors);
		return in_error(s, DROP_NO_MEMORY);
	}
	if (!byteq_make_room(s, &u->rx, size)) {
		MIB(s, Udp_MemErrors);
		return in_error(s, DROP_NO_MEMORY);
	}
	byteq_put(s, &u->rx, &r, (uint32_t)sizeof(r));
	byteq_put_pkt(s, &u->rx, p, off, r.len);
	udp_event(s, id, EV_READABLE);
	return DROP_NONE;
}

/*
 * RFC 768: a checksum of zero is none. What is larger than the MTU and came in one piece was put
 * together by a sender's segmentation offload, and does not say where the datagrams ended: its
 * checksum is a partial one, while that of a reassembled datagram is whole.
 */
static enum drop check_sum(struct stack *s, const struct pkt *p, const struct ip_info *udp)
{
	if (!get_be16(p->frag[0].p + udp->l4_off + CSUM_OFF))
		return DROP_NONE;
	if (!l4_checksum_ok(p, udp, CSUM_OFF)) {
		MIB(s, Udp_InCsumErrors);
		return in_error(s, DROP_BAD_CSUM);
	}
	return DROP_NONE;
}

static bool is_segmented(const struct stack *s, const struct pkt *p, const struct ip_info *udp)
{
	uint32_t mtu = s->netifs[udp->netif % STACK_MAX_NETIFS].mtu;

	return udp->l4_len + IP4_HLEN > mtu && p->csum == PKT_CSUM_PARTIAL &&
	       get_be16(p->frag[0].p + udp->l4_off + CSUM_OFF) && !l4_checksum_full(p, udp);
}

enum drop udp_input(struct stack *s, struct pkt *p, const struct ip_info *ip, struct mtime now)
{
	const uint8_t *h = p->frag[0].p + ip->l4_off;
	struct tcp_addr_pair a = {.local = ip->dst, .remote = ip->src};
	struct ip_info udp = *ip;
	enum drop d;
	uint32_t id;

	if (ip->l4_len < UDP_HLEN || p->frag[0].len < ip->l4_off + UDP_HLEN)
		return in_error(s, DROP_BAD_UDP);
	udp.l4_len = get_be16(h + 4);
	if (udp.l4_len < UDP_HLEN || udp.l4_len > ip->l4_len)
		return in_error(s, DROP_BAD_UDP);
	memcpy(&a.remote_port, h, 2);
	memcpy(&a.local_port, h + 2, 2);
	id = udp_lookup(s, &a);
	/* Whose it is looks at the checksum, too. */
	if (id == SHM_NIL && s->udp_tap && s->udp_tap(s->tap_ctx, p))
		return DROP_NONE;
	/* Back to the daemon, which knows who has the port now, or answers. */
	if (id == SHM_NIL && s->cfg.role == STACK_APP)
		return s->cfg.n_udp ? DROP_STALE_FLOW : DROP_NO_SOCKET;
	d = check_sum(s, p, &udp);
	if (d != DROP_NONE)
		return d;
	if (id != SHM_NIL && is_segmented(s, p, &udp)) {
		MIB(s, Td_UdpSegmented);
		return in_error(s, DROP_BAD_UDP);
	}
	if (id != SHM_NIL)
		return queue(s, id, p, &udp, ip->l4_off + UDP_HLEN, a.remote_port, now);
	MIB(s, Udp_NoPorts);
	icmp_error(s, p, ip, ICMP_UNREACH, ICMP_UNREACH_PORT, 0, now);
	return DROP_NO_SOCKET;
}

uint32_t udp_pmtu(const struct stack *s, uint32_t id, struct ip_addr *to)
{
	*to = s->udps[id].pmtu_to;
	return s->udps[id].pmtu;
}

/* ---- errors about what was sent ---- */

/* sock_queue_err_skb(). @p: has @e->len bytes of the datagram at @off; NULL: there are none. */
static void queue_error(struct stack *s, uint32_t id, const struct udp_err *e, const struct pkt *p,
			uint32_t off)
{
	struct udp_sock *u = &s->udps[id];
	uint32_t size = (uint32_t)sizeof(*e) + e->len;

	if (over_rcvbuf(u, size) || !byteq_make_room(s, &u->errs, size))
		return;
	byteq_put(s, &u->errs, e, (uint32_t)sizeof(*e));
	if (p)
		byteq_put_pkt(s, &u->errs, p, off, e->len);
	udp_event(s, id, EV_ERROR);
}

enum drop udp_icmp(struct stack *s, const struct pkt *p, const struct ip_info *ip,
		   const struct icmp_quote *q, struct mtime now)
{
	uint32_t id = udp_lookup(s, &q->pair);
	struct udp_err e = {.to = q->pair.remote,
			    .offender = ip->src,
			    .dst = ip->dst,
			    .ns = now.ns,
			    .info = q->info,
			    .port = q->pair.remote_port,
			    .netif = ip->netif,
			    .len = q->data_len,
			    .err = (uint8_t)q->err,
			    .origin = UDP_ERR_ICMP,
			    .type = q->type,
			    .code = q->code,
			    .ttl = ip->ttl,
			    .tos = ip->tos};
	struct udp_sock *u;

	if (id == SHM_NIL)
		return DROP_NO_SOCKET;
	u = &s->udps[id];
	if (q->err == E_MSGSIZE) {
		u->pmtu = q->mtu < UINT16_MAX ? (uint16_t)q->mtu : UINT16_MAX;
		u->pmtu_to = q->pair.remote;
		udp_event(s, id, EV_PMTU);
	}
	if (u->recverr)
		queue_error(s, id, &e, p, q->data_off);
	else if (!u->rport || (!q->fatal && q->err != E_MSGSIZE))
		return DROP_NONE;
	u->err = (uint8_t)q->err;
	udp_event(s, id, EV_ERROR);
	return DROP_NONE;
}

/* ip_local_error(): the port is the peer's, so that it is 0 where there is none. */
static int64_t too_long(struct stack *s, uint32_t id, const struct udp_dest *to, uint32_t mtu,
			struct mtime now)
{
	struct udp_err e = {.to = to->addr,
			    .ns = now.ns,
			    .info = mtu,
			    .port = s->udps[id].rport,
			    .err = E_MSGSIZE,
			    .origin = UDP_ERR_LOCAL};

	if (s->udps[id].recverr)
		queue_error(s, id, &e, NULL, 0);
	return -E_MSGSIZE;
}

/* sock_dequeue_err_skb(): the pending error goes along with the record that it is of. */
static void next_error(struct stack *s, uint32_t id, uint8_t taken)
{
	struct udp_sock *u = &s->udps[id];
	struct udp_err next = {0};

	if (u->errs.bytes) {
		byteq_peek(s, &u->errs, 0, &next, sizeof(next));
		udp_event(s, id, EV_ERROR);
	}
	if (next.origin == UDP_ERR_ICMP)
		u->err = next.err;
	else if (taken == UDP_ERR_ICMP)
		u->err = 0;
}

int64_t udp_recv_error(struct stack *s, uint32_t id, void *buf, size_t len, struct udp_err *e)
{
	struct byteq *q = &s->udps[id].errs;

	if (!q->bytes)
		return -E_AGAIN;
	byteq_peek(s, q, 0, e, sizeof(*e));
	if (len > e->len)
		len = e->len;
	byteq_peek(s, q, sizeof(*e), buf, (uint32_t)len);
	byteq_discard(s, q, (uint32_t)sizeof(*e) + e->len);
	next_error(s, id, e->origin);
	return (int64_t)len;
}

/* ---- out ---- */

/* Linux's ip_sk_use_pmtu(): do routers' MTUs count, or the interface's alone? */
static bool uses_pmtu(const struct udp_dest *to)
{
	return to->pmtudisc < UDP_PMTUDISC_PROBE;
}

/* ip_sk_ignore_df() */
static bool may_fragment(const struct udp_dest *to)
{
	return to->pmtudisc < UDP_PMTUDISC_DO || to->pmtudisc == UDP_PMTUDISC_OMIT;
}

static bool wants_df(const struct udp_dest *to, bool fits)
{
	if (to->pmtudisc == UDP_PMTUDISC_DO || to->pmtudisc == UDP_PMTUDISC_PROBE)
		return true;
	/* Linux's __ip_make_skb(): what is fragmented here may be fragmented further. */
	return to->pmtudisc == UDP_PMTUDISC_WANT && fits;
}

static void header(uint8_t *h, const struct udp_sock *u, const struct udp_dest *to, size_t len)
{
	memcpy(h, &u->lport, 2);
	memcpy(h + 2, &to->port, 2);
	put_be16(h + 4, (uint16_t)(UDP_HLEN + len));
	put_be16(h + CSUM_OFF, 0);
}

/* In one packet. The checksum covers the source, which so has to be known by now. */
static int send_whole(struct stack *s, const struct udp_sock *u, const struct udp_dest *to,
		      const struct ip_out *o, const void *buf, uint32_t len, struct mtime now)
{
	struct pkt *p = ip_pkt_alloc(s, false);

	if (!p)
		return -E_NOBUFS;
	header(ip_payload(p), u, to, len);
	if (len)
		memcpy(ip_payload(p) + UDP_HLEN, buf, len);
	p->frag[0].len = p->len = p->l4_off + UDP_HLEN + len;
	if (!to->no_csum)
		l4_checksum(s, p, &o->src, &o->dst, PROTO_UDP, UDP_HLEN + len, CSUM_OFF);
	return ip_send(s, p, UDP_HLEN + len, o, now);
}

/* In fragments, with the checksum over all of them: no device could complete it. */
static int send_fragments(struct stack *s, const struct udp_sock *u, const struct udp_dest *to,
			  const struct ip_out *o, const void *buf, uint32_t len, struct mtime now)
{
	uint8_t h[UDP_HLEN];
	struct pkt whole = {
		.frag = {{.p = h, .len = UDP_HLEN, .frame = SHM_NIL},
			 {.p = (uint8_t *)(uintptr_t)buf, .len = len, .frame = SHM_NIL}},
		.nfrags = 2,
		.len = UDP_HLEN + len};
	uint16_t check;

	header(h, u, to, len);
	if (!to->no_csum) {
		check = csum_fold(csum_partial(
			buf, len,
			csum_partial(h, UDP_HLEN,
				     csum_pseudo(&o->src, &o->dst, PROTO_UDP, UDP_HLEN + len))));
		check = check ? check : 0xffff;
		memcpy(h + CSUM_OFF, &check, 2);
	}
	return ip_send_copy(s, &whole, 0, whole.len, o, now);
}

uint32_t udp_way_mtu(const struct stack *s, const struct udp_dest *to)
{
	return uses_pmtu(to) ? to->way->mtu : s->netifs[to->way->netif % STACK_MAX_NETIFS].mtu;
}

int64_t udp_send(struct stack *s, uint32_t id, const struct udp_dest *to, const void *buf,
		 size_t len, struct mtime now)
{
	const struct udp_sock *u = &s->udps[id];
	struct ip_out o = {.src = to->src,
			   .dst = to->addr,
			   .proto = PROTO_UDP,
			   .ttl = to->ttl,
			   .tos = to->tos};
	struct route_result r;
	struct ip_way way;
	bool fits;
	int rc = 0;

	if (len > UDP_MAX_PAYLOAD)
		return -E_MSGSIZE;
	if (to->way) {
		way = *to->way;
		way.mtu = udp_way_mtu(s, to);
		o.way = &way;
		r.mtu = way.mtu;
	} else {
		rc = route_lookup(s, &to->addr, &to->src, &r);
		if (rc)
			return rc;
		o.src = r.src;
	}
	fits = IP4_HLEN + UDP_HLEN + len <= r.mtu;
	o.df = wants_df(to, fits);
	if (fits)
		rc = send_whole(s, u, to, &o, buf, (uint32_t)len, now);
	else if (!may_fragment(to))
		return too_long(s, id, to, r.mtu, now);
	else
		rc = send_fragments(s, u, to, &o, buf, (uint32_t)len, now);
	if (rc == -E_NOBUFS)
		MIB(s, Udp_SndbufErrors);
	if (rc)
		return rc;
	MIB(s, Udp_OutDatagrams);
	return (int64_t)len;
}

/* ---- invariants ---- */

int udp_check(const struct stack *s, char *why, size_t len)
{
	uint32_t used = 0, queued = 0, listed = 0;

	for (uint32_t i = 0; i < s->udp_free.used; i++) {
		const struct udp_sock *u = &s->udps[i];
		uint32_t j;

		if (!u->used)
			continue;
		used++;
		queued += u->ev_queued;
		if (!byteq_check(s, &u->rx) || !byteq_check(s, &u->errs))
			return check_fail(why, len, "udp: bad queue of socket", i);
		if (!u->recverr && u->errs.bytes)
			return check_fail(why, len, "udp: error queue without IP_RECVERR", i);
		for (j = u->lport ? *bucket(s, u) : i + 1; j && j != i + 1;)
			j = s->udps[j - 1].hash_next;
		if (!j)
			return check_fail(why, len, "udp: not in its table: socket", i);
	}
	for (uint32_t i = s->uev_head; i != SHM_NIL && listed <= queued; i = s->udps[i].ev_next)
		listed += s->udps[i].ev_queued;
	if (used != free_list_in_use(&s->udp_free) || listed != queued)
		return check_fail(why, len, "udp: sockets or events not counted", used);
	return 0;
}
