/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A connection changes hands: the one place that writes tcb.owner of a live TCB, and the only
 * reader of another process's arena. The exporter freezes, the importer copies and checks, the
 * exporter frees (docs/architecture.md).
 *
 * The other arena can be changed by its owner at any time, also while it is read. So the TCB and
 * each chunk header are copied once, and only the copies are looked at; indices are checked
 * against the sizes that we know; walks are bounded; the bytes themselves may be anything. What
 * comes out satisfies every invariant of a connection of our own, whatever went in.
 */
#include "tcp.h"

/* What stays true of a connection wherever it is; the rest is about the owner's lists. */
#define FLAGS_KEPT                                                                                 \
	(TCB_F_ACK_NOW | TCB_F_ACK_DELAYED | TCB_F_FIN_QUEUED | TCB_F_FIN_SENT | TCB_F_FIN_RCVD |  \
	 TCB_F_RD_SHUT | TCB_F_PROBING | TCB_F_PASSIVE | TCB_F_TX_FULL | TCB_F_RTX |               \
	 TCB_F_FIN_OOO | TCB_F_MORE | TCB_F_CWND_LIMITED | TCB_F_PINGPONG | TCB_F_URG |            \
	 TCB_F_URG_VALID | TCB_F_URG_READ | TCB_F_URG_SND | TCB_F_ECE | TCB_F_CWR)
#define OPT_KNOWN                                                                                  \
	(TCB_OPT_WSCALE | TCB_OPT_TS | TCB_OPT_SACK | TCB_OPT_ECN | TCB_OPT_SYN_DATA |             \
	 TCB_OPT_SYNACK | TCB_OPT_RARE | TCB_OPT_FASTOPEN)
#define SOCKOPT_KNOWN                                                                              \
	(TCB_NODELAY | TCB_CORK | TCB_KEEPALIVE | TCB_LINGER | TCB_QUICKACK | TCB_RCVBUF_LOCK |    \
	 TCB_SNDBUF_LOCK | TCB_OOBINLINE)

/* ---- out ---- */

static void export(struct stack *s, struct tcb *t)
{
	/* An application has no routes: the next hop goes with the connection. */
	if (s->cfg.role == STACK_FULL)
		tcp_link_ready(s, t, s->now);
	tcp_unlink(s, t);
	tcp_chrono_stop(s, t, s->now);
	tcb_work_put(s, t, s->now);
	/* A connection that was closed here is to be closed once more by the importer. */
	if (t->flags & TCB_F_CLOSED)
		s->n_orphans--;
	t->flags &= ~TCB_F_CLOSED;
	tcp_curr_estab(s, t->state, TCP_CLOSED);
	s->n_exported++;
	MIB(s, Td_HandOversOut);
	__atomic_store_n(&t->owner, TCB_EXPORTED, __ATOMIC_RELEASE);
}

static struct tcb *mine(struct stack *s, uint32_t conn)
{
	struct tcb *t = conn < s->a.n_tcbs ? tcb_at(s, conn) : NULL;

	return t && t->owner == TCB_MINE ? t : NULL;
}

int stack_export(struct stack *s, uint32_t conn)
{
	struct tcb *t = mine(s, conn);
	struct tcp_addr_pair a;

	if (!t)
		return -E_BADF;
	if (!tcp_synchronised(t) || t->flags & TCB_F_RST_SEND)
		return -E_NOTCONN;
	a = tcb_pair(t);
	if (neigh_drop_acks(s, t->neigh, &a))
		t->flags |= TCB_F_ACK_NOW;
	export(s, t);
	return 0;
}

int stack_export_ended(struct stack *s, uint32_t conn)
{
	struct tcb *t = mine(s, conn);

	if (!t)
		return -E_BADF;
	if (t->state != TCP_CLOSED || !t->err || t->flags & (TCB_F_CLOSED | TCB_F_RST_SEND))
		return -E_NOTCONN;
	export(s, t);
	return 0;
}

static struct tcb *exported(struct stack *s, uint32_t conn, uint32_t generation)
{
	struct tcb *t = conn < s->a.n_tcbs ? tcb_at(s, conn) : NULL;

	return t && t->owner == TCB_EXPORTED && t->generation == generation ? t : NULL;
}

int stack_export_done(struct stack *s, uint32_t conn, uint32_t generation)
{
	struct tcb *t = exported(s, conn, generation);

	if (!t)
		return -E_NOENT;
	tcp_buf_release(s, t);
	tcb_release(s, conn);
	s->n_exported--;
	return 0;
}

/* Whatever was left to be done or said is done and said here. */
static void resume(struct stack *s, struct tcb *t)
{
	tcp_want_output(s, t);
	tcp_event(s, t, tcp_poll(s, tcb_index(s, t)));
}

int stack_export_cancel(struct stack *s, uint32_t conn, uint32_t generation, struct mtime now)
{
	struct tcb *t = exported(s, conn, generation);

	if (!t)
		return -E_NOENT;
	__atomic_store_n(&t->owner, TCB_MINE, __ATOMIC_RELEASE);
	s->n_exported--;
	if (t->state == TCP_CLOSED)
		return 0;
	tcp_curr_estab(s, TCP_CLOSED, t->state);
	conn_table_add(s, conn);
	tcp_rearm(s, t, now);
	resume(s, t);
	return 0;
}

/* ---- in: reading the other arena ---- */

/* Copies @len bytes of the other arena; the compiler may not read them a second time. */
static void copy_once(void *to, const void *from, size_t len)
{
	memcpy(to, from, len);
	__asm__ volatile("" ::: "memory");
}

/* A walk along a chain of foreign chunks. */
struct chain {
	const struct arena_view *from;
	uint32_t next;
	uint32_t steps; /* chunks that may still come: a chain without end is a forged one */
	uint64_t bytes; /* seen so far */
	struct chunk_hdr h;
	const uint8_t *data;
};

/* 1: .h and .data are the next chunk's. 0: the end. -E_BADMSG */
static int chain_next(struct chain *c)
{
	uint32_t i = c->next;

	if (i == SHM_NIL)
		return 0;
	if (i >= c->from->n_chunks || !c->steps--)
		return -E_BADMSG;
	copy_once(&c->h, &c->from->chunk_hdrs[i], sizeof(c->h));
	if (!c->h.len || (uint32_t)c->h.off + c->h.len > CHUNK_SIZE)
		return -E_BADMSG;
	c->data = c->from->chunks + (uint64_t)i * CHUNK_SIZE + c->h.off;
	c->bytes += c->h.len;
	c->next = c->h.next;
	return 1;
}

enum queue { Q_TX, Q_RX, Q_OOO };

/* Appends one foreign chunk's bytes to a queue of ours. */
static int queue_put(struct stack *s, struct tcb *t, enum queue q, const struct chain *c)
{
	uint32_t len = c->h.len, n = len;
	struct pkt p;

	if (q == Q_TX) {
		n = txq_append(s, t, c->data, len);
		return n == len ? 0 : -E_NOBUFS;
	}
	p.nfrags = 1;
	p.frag[0] = (struct pkt_frag){.p = (uint8_t *)(uintptr_t)c->data, .len = len};
	p.len = len;
	if (q == Q_RX) {
		n = rxq_append(s, t, &p, 0, len);
		return n == len ? 0 : -E_NOBUFS;
	}
	/* Beyond rcv_nxt, within what was promised; what does not fit the peer sends again. */
	if (!seq_gt(c->h.seq, t->rcv_nxt) || c->h.seq - t->rcv_nxt > t->rcv_adv - t->rcv_nxt ||
	    c->h.seq + len - t->rcv_nxt > t->rcv_adv - t->rcv_nxt)
		return -E_BADMSG;
	ooo_insert(s, t, c->h.seq, &p, 0, len);
	return 0;
}

static int queue_copy(struct stack *s, struct tcb *t, enum queue q, const struct arena_view *from,
		      uint32_t head, uint32_t bytes)
{
	struct chain c = {.from = from, .next = head, .steps = from->n_chunks};
	int more;

	while ((more = chain_next(&c)) > 0) {
		int err;

		if (c.bytes > bytes)
			return -E_BADMSG;
		err = queue_put(s, t, q, &c);
		if (err)
			return err;
	}
	if (more < 0)
		return more;
	return c.bytes == bytes ? 0 : -E_BADMSG;
}

/* ---- in: checking the copy ---- */

static uint32_t clamp_u32(uint32_t v, uint32_t lo, uint32_t hi)
{
	return v < lo ? lo : v > hi ? hi : v;
}

/* Stamps. 0 stays: none. */
static uint32_t clamp_past(uint32_t t, struct mtime now)
{
	return !t || ms_ago(t, now) <= INT32_MAX ? t : ms_stamp(now);
}

static uint32_t clamp_stamp(uint32_t t, struct mtime now, uint32_t max_ms)
{
	uint32_t left = t - ms_stamp(now);

	return !t || left <= max_ms || left > INT32_MAX ? t : ms_stamp(mtime_add_ms(now, max_ms));
}

/* A deadline no further away than @max_ms. 0 stays: not set. */
static uint64_t clamp_deadline(uint64_t t, struct mtime now, uint64_t max_ms)
{
	uint64_t max = mtime_add_ms(now, max_ms).ns;

	return t < max ? t : max;
}

/* What no honest stack could have written. */
static bool identity_ok(struct stack *s, const struct tcb *c)
{
	struct tcp_addr_pair a = {c->local, c->remote, c->local_port, c->remote_port};

	return c->state < TCP_STATE_MAX && tcp_synchronised(c) && !(c->flags & TCB_F_RST_SEND) &&
	       c->netif < STACK_MAX_NETIFS &&
	       ip_addr_is_v4(&c->local) == ip_addr_is_v4(&c->remote) &&
	       !ip_addr_is_any(&c->local) && !ip_addr_is_any(&c->remote) &&
	       conn_lookup(s, &a.local, a.local_port, &a.remote, a.remote_port) == SHM_NIL &&
	       (s->cfg.role != STACK_FULL ||
		(synreq_lookup(s, &a) == SHM_NIL && timewait_lookup(s, &a) == SHM_NIL));
}

/* Do state, flags and sequence numbers go together (RFC 9293 §3.3.1, §3.3.2)? */
static bool sequence_ok(const struct tcb *c)
{
	bool fin_rcvd = c->state == TCP_CLOSE_WAIT || c->state == TCP_CLOSING ||
			c->state == TCP_LAST_ACK || c->state == TCP_TIME_WAIT;
	bool fin_queued = c->state != TCP_ESTABLISHED && c->state != TCP_CLOSE_WAIT;
	bool fin_sent = c->flags & TCB_F_FIN_SENT;
	uint32_t sent = c->snd_max - c->snd_una;

	if (!!(c->flags & TCB_F_FIN_RCVD) != fin_rcvd ||
	    !!(c->flags & TCB_F_FIN_QUEUED) != fin_queued || (fin_sent && !fin_queued))
		return false;
	/* With a FIN out all before it is out, too; the FIN's number is the last one. */
	if (fin_sent ? sent != 0 && sent != c->tx_bytes + 1 : sent > c->tx_bytes)
		return false;
	if (fin_sent && !sent && c->tx_bytes)
		return false;
	/* Acknowledged FIN: FIN-WAIT-2 and TIME-WAIT, and no others. */
	if ((fin_sent && !sent) != (c->state == TCP_FIN_WAIT_2 || c->state == TCP_TIME_WAIT))
		return false;
	return c->snd_nxt - c->snd_una <= sent &&
	       c->rcv_adv - c->rcv_nxt <= (0xffffu << TCP_WSCALE_MAX);
}

static bool limits_ok(const struct stack *s, const struct tcb *c)
{
	const struct stack_limits *l = &s->cfg.limits;
	uint64_t rx = (uint64_t)c->rx_bytes + c->ooo_bytes;

	/* A window that was announced is honoured beyond a buffer that has shrunk since. */
	return rx <= 2ull * l->tcp_rmem[2] + 0xffff && c->tx_bytes <= l->tcp_wmem[2] + 0xffffu &&
	       c->snd_wscale <= TCP_WSCALE_MAX && c->rcv_wscale <= TCP_WSCALE_MAX &&
	       c->mss >= TCP_MSS_MIN && c->rcv_mss;
}

/* What is asked for must be possible, what is outstanding or owed must have its time. */
static void settle(struct tcb *t, struct mtime now)
{
	bool outstanding = t->snd_max != t->snd_una;
	bool blocked =
		!outstanding && !tcp_fin_acked(t) && (t->tx_bytes || t->flags & TCB_F_FIN_QUEUED);

	tcp_urg_settle(t);
	/* It is the ACK that ends recovery that clears it. */
	if (!outstanding || t->cc_state != CC_RECOVERY)
		t->flags &= ~TCB_F_RTX;
	if (!blocked)
		t->flags &= ~TCB_F_PROBING;
	if (t->opt & TCB_OPT_SYNACK)
		t->flags &= ~TCB_F_PROBING;
	if (!outstanding && !(t->flags & TCB_F_PROBING) && !(t->opt & TCB_OPT_SYNACK))
		t->t_rtx = t->rtx_first = 0;
	else if (!t->t_rtx)
		t->t_rtx = mtime_add_us(now, t->rto).ns;
	if (t->flags & TCB_F_ACK_DELAYED && !t->t_delack)
		t->t_delack = ms_stamp(now);
	if (t->state == TCP_TIME_WAIT)
		t->t_keep =
			clamp_stamp(t->t_keep ? t->t_keep : ms_stamp(mtime_add_ms(now, INT32_MAX)),
				    now, TCP_TIMEWAIT_S * 1000);
	if (t->flags & TCB_F_FIN_OOO &&
	    (t->flags & TCB_F_FIN_RCVD || !seq_gt(tcb_work(t)->fin_seq, t->rcv_nxt)))
		t->flags &= ~TCB_F_FIN_OOO;
}

static void clamp_times(struct tcb *t, struct mtime now)
{
	t->rto = clamp_u32(t->rto, TCP_RTO_MIN_US, TCP_RTO_MAX_US);
	t->srtt = clamp_u32(t->srtt, 0, TCP_RTO_MAX_US);
	t->rttvar = clamp_u32(t->rttvar, 0, TCP_RTO_MAX_US);
	t->backoff = (uint8_t)clamp_u32(t->backoff, 0, 16);
	t->rtx_first = clamp_past(t->rtx_first, now);
	t->last_rcv = clamp_past(t->last_rcv, now);
	t->last_snd = clamp_past(t->last_snd, now);
	t->last_data = clamp_past(t->last_data, now);
	t->min_rtt_ms = clamp_past(t->min_rtt_ms, now);
	t->t_rtx = clamp_deadline(t->t_rtx, now, TCP_RTO_MAX_US / 1000);
	t->t_delack = clamp_stamp(t->t_delack, now, 1000);
	t->t_keep = clamp_stamp(t->t_keep, now, 32767u * 1000);
}

static void clamp_cc(struct stack *s, struct tcb *t, struct mtime now)
{
	t->cwnd = clamp_u32(t->cwnd, tcp_eff_mss(t), 1u << 30);
	if (t->ssthresh < 2 * tcp_eff_mss(t))
		t->ssthresh = 2 * tcp_eff_mss(t);
	if (t->cc_state > CC_LOSS)
		t->cc_state = CC_OPEN;
	if (t->cc_state != CC_OPEN && t->recover - t->snd_una > t->snd_max - t->snd_una)
		t->recover = t->snd_max;
	if (!cc_name(t->cc))
		t->cc = 0;
	/* The algorithm's own state is not believed: cwnd and ssthresh carry what matters. */
	cc_of(s, t)->init(t, now);
}

static void clamp_options(const struct stack *s, struct tcb *t)
{
	const struct stack_limits *l = &s->cfg.limits;
	uint32_t mtu = s->netifs[t->netif].mtu;

	/* Segments must fit the interface and a packet, as tcp_conn_create() sees to. */
	t->mss = (uint16_t)tcp_min(t->mss, TCP_MSS_ROOM);
	if (mtu)
		t->mss = (uint16_t)tcp_min(t->mss, tcp_mtu_mss(mtu, &t->remote));
	t->mss_clamp = (uint16_t)clamp_u32(t->mss_clamp, t->mss, TCP_MSS_ROOM);
	t->opt &= OPT_KNOWN;
	if (!(t->opt & TCB_OPT_SYNACK))
		t->opt &= (uint8_t)~TCB_OPT_FASTOPEN;
	t->sockopt &= SOCKOPT_KNOWN;
	t->queue = t->queue < TD_MAX_QUEUES ? t->queue : 0;
	t->ttl = t->ttl ? t->ttl : (uint8_t)l->ip_default_ttl;
	t->rcvbuf = clamp_u32(t->rcvbuf, 1,
			      l->tcp_rmem[2] > l->tcp_rmem[1] ? l->tcp_rmem[2] : l->tcp_rmem[1]);
	t->sndbuf = clamp_u32(t->sndbuf, 1,
			      l->tcp_wmem[2] > l->tcp_wmem[1] ? l->tcp_wmem[2] : l->tcp_wmem[1]);
	t->rcvlowat = clamp_u32(t->rcvlowat, 1, t->rcvbuf);
	t->keep_idle = (uint16_t)clamp_u32(t->keep_idle, 1, 32767);
	t->keep_intvl = (uint16_t)clamp_u32(t->keep_intvl, 1, 32767);
	t->keep_cnt = (uint8_t)clamp_u32(t->keep_cnt, 1, 127);
}

/* ---- in ---- */

/* Of the work what nobody will say again; a record that is none cannot say it (tcb_peek()). */
static void work_adopt(struct stack *s, struct tcb *t, const struct tcb *c)
{
	const uint32_t kept = TCB_F_FIN_OOO | TCB_F_URG | TCB_F_URG_SND;

	t->work = 0;
	if (!c->work)
		t->flags &= ~(kept | TCB_F_URG_VALID | TCB_F_URG_READ);
	if (t->flags & kept) {
		struct tcb_work *w = tcb_work_get(s, t);

		w->fin_seq = tcb_work(c)->fin_seq;
		w->urg_seq = tcb_work(c)->urg_seq;
		w->snd_up = tcb_work(c)->snd_up;
		w->urg_byte = tcb_work(c)->urg_byte;
	}
	if (tcb_max_pacing(c))
		tcb_work_get(s, t)->max_pacing = tcb_max_pacing(c);
}

/* From a checked copy to a TCB of ours with empty queues, in no list. */
static void tcb_adopt(struct stack *s, struct tcb *t, const struct tcb_copy *copy, uint64_t cookie,
		      struct mtime now)
{
	const struct tcb *c = &copy->t;
	uint32_t generation = t->generation;
	bool app = s->cfg.role == STACK_APP;

	*t = *c;
	t->owner = TCB_MINE;
	t->generation = generation;
	t->flags &= FLAGS_KEPT;
	if (!(t->opt & TCB_OPT_SACK))
		t->frto = FRTO_NONE;
	t->cookie = cookie;
	/* An application sees the daemon's table of neighbours; the daemon looks for itself. */
	if (!app || t->neigh >= s->a.n_neighs)
		t->neigh = SHM_NIL;
	t->hash_next = 0;
	t->timer = (struct wheel_node){SHM_NIL, SHM_NIL, SHM_NIL};
	work_adopt(s, t, c);
	t->opt &= (uint8_t)~TCB_OPT_RARE;
	if (c->opt & TCB_OPT_RARE)
		*tcb_rare(s, t) = copy->r;
	t->ev_mask = 0;
	t->tx_head = SHM_NIL;
	t->rx_head = t->ooo_head = SHM_NIL;
	t->tx_bytes = t->rx_bytes = t->ooo_bytes = 0;
	t->n_chunks = 0;
	clamp_options(s, t);
	clamp_times(t, now);
	clamp_cc(s, t, now);
}

static int queues_copy(struct stack *s, struct tcb *t, const struct tcb *c,
		       const struct arena_view *from)
{
	int err;

	err = queue_copy(s, t, Q_TX, from, c->tx_head, c->tx_bytes);
	if (!err)
		err = queue_copy(s, t, Q_RX, from, c->rx_head, c->rx_bytes);
	if (!err && !(c->flags & TCB_F_FIN_RCVD))
		err = queue_copy(s, t, Q_OOO, from, c->ooo_head, c->ooo_bytes);
	return err;
}

static int adopt(struct stack *s, const struct arena_view *from, const struct tcb_copy *copy,
		 uint64_t cookie, struct mtime now, uint32_t *conn)
{
	const struct tcb *c = &copy->t;
	struct tcb *t;
	char why[64];
	int err;

	if (s->cfg.role == STACK_APP) {
		const struct tcp_addr_pair a = {c->local, c->remote, c->local_port, c->remote_port};

		stack_pair_elsewhere(s, &a); /* whose handshake was the daemon's after all */
	}
	if (!identity_ok(s, c) || !sequence_ok(c) || !limits_ok(s, c))
		return -E_BADMSG;
	*conn = tcb_alloc(s);
	if (*conn == SHM_NIL)
		return -E_NOBUFS;
	t = tcb_at(s, *conn);
	tcb_adopt(s, t, copy, cookie, now);
	err = queues_copy(s, t, c, from);
	if (err)
		goto err_release;
	settle(t, now);
	conn_table_add(s, *conn);
	tcp_rearm(s, t, now);
	if (tcp_check(s, t, why, sizeof(why))) {
		err = -E_BADMSG;
		goto err_unlink;
	}
	tcp_curr_estab(s, TCP_CLOSED, t->state);
	resume(s, t);
	return 0;

err_unlink:
	tcp_unlink(s, t);
err_release:
	tcp_buf_release(s, t);
	tcb_release(s, *conn);
	return err;
}

/* What stack_export_ended() gave: an error, and what was received before it. */
static int adopt_ended(struct stack *s, const struct arena_view *from, const struct tcb_copy *copy,
		       uint64_t cookie, struct mtime now, uint32_t *conn)
{
	const struct tcb *c = &copy->t;
	struct tcb *t;
	char why[64];
	int err;

	if (s->cfg.role != STACK_APP || !c->err || !limits_ok(s, c) || c->netif >= STACK_MAX_NETIFS)
		return -E_BADMSG;
	*conn = tcb_alloc(s);
	if (*conn == SHM_NIL)
		return -E_NOBUFS;
	t = tcb_at(s, *conn);
	tcb_adopt(s, t, copy, cookie, now);
	t->flags &= TCB_F_FIN_RCVD;
	t->opt &= (uint8_t) ~(TCB_OPT_SYNACK | TCB_OPT_FASTOPEN);
	t->snd_una = t->snd_nxt = t->snd_max;
	t->t_rtx = t->t_delack = t->t_keep = 0;
	err = queue_copy(s, t, Q_RX, from, c->rx_head, c->rx_bytes);
	if (!err && tcp_check(s, t, why, sizeof(why)))
		err = -E_BADMSG;
	if (err) {
		tcp_buf_release(s, t);
		tcb_release(s, *conn);
	}
	return err;
}

static int take(struct stack *s, const struct arena_view *from, uint32_t idx, uint32_t generation,
		bool rescue, uint64_t cookie, struct mtime now, uint32_t *conn)
{
	int err = -E_BADMSG;
	struct tcb_copy copy;
	const struct tcb *c = &copy.t;

	if (idx < from->n_tcbs) {
		tcb_peek(from, idx, &copy);
		if (c->generation == generation &&
		    (c->owner == TCB_EXPORTED || (rescue && c->owner == TCB_MINE)))
			err = c->state == TCP_CLOSED
				      ? adopt_ended(s, from, &copy, cookie, now, conn)
				      : adopt(s, from, &copy, cookie, now, conn);
	}
	if (err)
		MIB(s, Td_HandOverRefused);
	else
		MIB(s, Td_HandOversIn);
	return err;
}

int stack_import(struct stack *s, const struct arena_view *from, uint32_t idx, uint32_t generation,
		 uint64_t cookie, struct mtime now, uint32_t *conn)
{
	return take(s, from, idx, generation, false, cookie, now, conn);
}

int stack_rescue(struct stack *s, const struct arena_view *from, uint32_t idx, uint32_t generation,
		 struct mtime now, uint32_t *conn)
{
	return take(s, from, idx, generation, true, 0, now, conn);
}

bool stack_knows_pair(const struct stack *s, const struct tcp_addr_pair *a)
{
	return conn_lookup(s, &a->local, a->local_port, &a->remote, a->remote_port) != SHM_NIL ||
	       synreq_lookup(s, a) != SHM_NIL || timewait_lookup(s, a) != SHM_NIL;
}

void stack_pair_elsewhere(struct stack *s, const struct tcp_addr_pair *a)
{
	uint32_t i = synreq_lookup(s, a);

	if (i != SHM_NIL)
		synreq_drop(s, i);
	i = timewait_lookup(s, a);
	if (i != SHM_NIL)
		timewait_free(s, i);
}

void stack_reset_flow(struct stack *s, const struct tcp_addr_pair *a, uint32_t seq, uint32_t ack,
		      struct mtime now)
{
	struct tcp_options none = {0};

	MIB(s, Tcp_OutRsts);
	tcp_send_bare(s, a, seq, ack, TH_RST | TH_ACK, 0, &none, 0, now);
}
