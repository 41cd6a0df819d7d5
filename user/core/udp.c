// SPDX-License-Identifier: BSD-2-Clause
/*
 * UDP (RFC 768, RFC 1122 §4.1): sockets, connected and not, and their receive queues. Rules that
 * the RFCs leave open are Linux's net/ipv4/udp.c: which of several sockets gets a datagram, what is
 * dropped when a queue is full (the newest), which ICMP errors are reported and to whom.
 *
 * A queue is a row of bytes in arena chunks: a struct udp_rec, its datagram, the next. An empty one
 * holds no chunk. Owns s->udps, their two tables (unconnected sockets by local port, connected
 * ones by all four), and the list of sockets with events.
 *
 * Invariants: a socket with a local port stands in the table that .rport says, once, the one bound
 * last in front; .rx_bytes is what its chunks hold, and not 0 only where there are chunks.
 */
#include "tcp.h"

#define UDP_HLEN 8u
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
				       .rx_head = SHM_NIL,
				       .rx_tail = SHM_NIL,
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
	chunk_free_list(s, u->rx_head);
	u->used = false;
	u->rx_chunks = u->rx_bytes = 0;
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
	s->udps[id].recverr = on;
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
	return s->udps[id].err != 0;
}

/* ---- receive queues ---- */

static struct chunk_hdr *hdr(const struct stack *s, uint32_t c)
{
	return &s->a.chunk_hdrs[c];
}

/* Chunks for @need more bytes, at the end of the queue. All or none. */
static bool make_room(struct stack *s, struct udp_sock *u, uint32_t need)
{
	uint32_t room = 0, head = SHM_NIL, tail = SHM_NIL, n = 0;

	if (u->rx_tail != SHM_NIL)
		room = CHUNK_SIZE - hdr(s, u->rx_tail)->off - hdr(s, u->rx_tail)->len;
	for (; room < need; room += CHUNK_SIZE, n++) {
		uint32_t c = chunk_alloc(s);

		if (c == SHM_NIL) {
			chunk_free_list(s, head);
			return false;
		}
		if (head == SHM_NIL)
			head = c;
		else
			hdr(s, tail)->next = c;
		tail = c;
	}
	if (!n)
		return true;
	/* .rx_tail stays where the next byte goes. */
	if (u->rx_tail == SHM_NIL)
		u->rx_head = u->rx_tail = head;
	else
		hdr(s, u->rx_tail)->next = head;
	u->rx_chunks += n;
	return true;
}

/* The place for at most @len bytes; *@n: as many as fit in one piece. */
static uint8_t *put(struct stack *s, struct udp_sock *u, uint32_t len, uint32_t *n)
{
	struct chunk_hdr *h = hdr(s, u->rx_tail);
	uint8_t *p;

	if (h->off + h->len == CHUNK_SIZE) {
		u->rx_tail = h->next;
		h = hdr(s, u->rx_tail);
	}
	p = chunk_data(s, u->rx_tail) + h->off + h->len;
	*n = CHUNK_SIZE - h->off - h->len < len ? CHUNK_SIZE - h->off - h->len : len;
	h->len += (uint16_t)*n;
	u->rx_bytes += *n;
	return p;
}

static void append(struct stack *s, struct udp_sock *u, const struct udp_rec *r,
		   const struct pkt *p, uint32_t off)
{
	uint32_t n, done;

	for (done = 0; done < sizeof(*r); done += n) {
		uint8_t *to = put(s, u, (uint32_t)sizeof(*r) - done, &n);

		memcpy(to, (const uint8_t *)r + done, n);
	}
	for (done = 0; done < r->len; done += n) {
		uint8_t *to = put(s, u, r->len - done, &n);

		pkt_copy(p, off + done, to, n);
	}
}

/* Copies @len bytes from @off of the queue on to @out. */
static void peek(const struct stack *s, const struct udp_sock *u, uint32_t off, void *out,
		 uint32_t len)
{
	uint8_t *to = out;

	for (uint32_t c = u->rx_head; len; c = hdr(s, c)->next) {
		uint32_t have = hdr(s, c)->len, n;

		if (off >= have) {
			off -= have;
			continue;
		}
		n = have - off < len ? have - off : len;
		memcpy(to, chunk_data(s, c) + hdr(s, c)->off + off, n);
		to += n;
		len -= n;
		off = 0;
	}
}

static void discard(struct stack *s, struct udp_sock *u, uint32_t len)
{
	u->rx_bytes -= len;
	while (len) {
		struct chunk_hdr *h = hdr(s, u->rx_head);
		uint32_t n = h->len < len ? h->len : len, next = h->next;

		h->off += (uint16_t)n;
		h->len -= (uint16_t)n;
		len -= n;
		if (h->len)
			continue;
		if (u->rx_head == u->rx_tail)
			u->rx_tail = next;
		chunk_free(s, u->rx_head);
		u->rx_chunks--;
		u->rx_head = next;
	}
}

int64_t udp_next_len(const struct stack *s, uint32_t id)
{
	const struct udp_sock *u = &s->udps[id];
	struct udp_rec r;

	if (!u->rx_bytes)
		return -1;
	peek(s, u, 0, &r, sizeof(r));
	return r.len;
}

int64_t udp_recv(struct stack *s, uint32_t id, void *buf, size_t len, struct udp_info *info,
		 bool stay)
{
	struct udp_sock *u = &s->udps[id];
	struct udp_rec r;

	if (!u->rx_bytes)
		return -E_AGAIN;
	peek(s, u, 0, &r, sizeof(r));
	if (len > r.len)
		len = r.len;
	peek(s, u, sizeof(r), buf, (uint32_t)len);
	*info = (struct udp_info){.src = r.src,
				  .dst = r.dst,
				  .sport = r.sport,
				  .netif = r.netif,
				  .ttl = r.ttl,
				  .tos = r.tos,
				  .len = r.len,
				  .ns = r.ns};
	if (!stay) {
		discard(s, u, (uint32_t)sizeof(r) + r.len);
		MIB(s, Udp_InDatagrams);
	}
	return (int64_t)len;
}

int64_t udp_recv_row(struct stack *s, uint32_t id, void *buf, size_t len,
		     const struct udp_info *first)
{
	struct udp_sock *u = &s->udps[id];
	struct udp_rec r;

	if (!u->rx_bytes)
		return -E_AGAIN;
	peek(s, u, 0, &r, sizeof(r));
	if (!r.len || r.len > first->len || r.len > len || r.sport != first->sport ||
	    r.netif != first->netif || r.ttl != first->ttl || r.tos != first->tos ||
	    !ip_addr_eq(&r.src, &first->src) || !ip_addr_eq(&r.dst, &first->dst))
		return -E_AGAIN;
	peek(s, u, sizeof(r), buf, r.len);
	discard(s, u, (uint32_t)sizeof(r) + r.len);
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
	if (u->rx_bytes && (uint64_t)u->rx_bytes + size > u->rcvbuf) {
		MIB(s, Udp_RcvbufErrors);
		return in_error(s, DROP_NO_MEMORY);
	}
	if (!make_room(s, u, size)) {
		MIB(s, Udp_MemErrors);
		return in_error(s, DROP_NO_MEMORY);
	}
	append(s, u, &r, p, off);
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

enum drop udp_icmp(struct stack *s, const struct icmp_quote *q)
{
	uint32_t id = udp_lookup(s, &q->pair);
	struct udp_sock *u;

	if (id == SHM_NIL)
		return DROP_NO_SOCKET;
	u = &s->udps[id];
	if (q->err == E_MSGSIZE) {
		u->pmtu = q->mtu < UINT16_MAX ? (uint16_t)q->mtu : UINT16_MAX;
		u->pmtu_to = q->pair.remote;
		udp_event(s, id, EV_PMTU);
	}
	if (!u->recverr && (!u->rport || (!q->fatal && q->err != E_MSGSIZE)))
		return DROP_NONE;
	u->err = (uint8_t)q->err;
	udp_event(s, id, EV_ERROR);
	return DROP_NONE;
}

uint32_t udp_pmtu(const struct stack *s, uint32_t id, struct ip_addr *to)
{
	*to = s->udps[id].pmtu_to;
	return s->udps[id].pmtu;
}

/* ---- out ---- */

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

int64_t udp_send(struct stack *s, uint32_t id, const struct udp_dest *to, const void *buf,
		 size_t len, struct mtime now)
{
	const struct udp_sock *u = &s->udps[id];
	struct ip_out o = {.src = to->src,
			   .dst = to->addr,
			   .proto = PROTO_UDP,
			   .ttl = to->ttl,
			   .tos = to->tos,
			   .way = to->way};
	struct route_result r = {.mtu = to->way ? to->way->mtu : 0};
	bool fits;
	int rc = 0;

	if (len > UDP_MAX_PAYLOAD)
		return -E_MSGSIZE;
	if (!to->way) {
		rc = route_lookup(s, &to->addr, &to->src, &r);
		if (rc)
			return rc;
		o.src = r.src;
	}
	fits = IP4_HLEN + UDP_HLEN + len <= r.mtu;
	o.df = wants_df(to, fits);
	if (fits)
		rc = send_whole(s, u, to, &o, buf, (uint32_t)len, now);
	else if (o.df)
		return -E_MSGSIZE;
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

static int queue_check(const struct stack *s, uint32_t id, char *why, size_t len)
{
	const struct udp_sock *u = &s->udps[id];
	uint32_t n = 0, bytes = 0, last = SHM_NIL;

	for (uint32_t c = u->rx_head; c != SHM_NIL; c = hdr(s, c)->next) {
		if (++n > u->rx_chunks)
			return check_fail(why, len, "udp: more chunks than counted in socket", id);
		bytes += hdr(s, c)->len;
		last = c;
	}
	if (n != u->rx_chunks || bytes != u->rx_bytes || last != u->rx_tail || (n && !bytes))
		return check_fail(why, len, "udp: bad receive queue of socket", id);
	return 0;
}

int udp_check(const struct stack *s, char *why, size_t len)
{
	uint32_t used = 0, queued = 0, listed = 0;
	int rc;

	for (uint32_t i = 0; i < s->udp_free.used; i++) {
		const struct udp_sock *u = &s->udps[i];
		uint32_t j;

		if (!u->used)
			continue;
		used++;
		queued += u->ev_queued;
		rc = queue_check(s, i, why, len);
		if (rc)
			return rc;
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
