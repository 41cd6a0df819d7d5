/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The user calls of RFC 9293 §3.9.1 with the socket calls' manners: what they return, when they
 * block (-EAGAIN) and how errors are reported is Linux's. Nothing is sent from here: a call
 * changes the connection and puts it on the output list.
 */
#include "board.h"

static int take_error(struct tcb *t)
{
	int err = t->err;

	t->err = 0;
	return err;
}

/* ---- data ---- */

static bool send_open(const struct tcb *t)
{
	return t->state == TCP_ESTABLISHED || t->state == TCP_CLOSE_WAIT;
}

static int64_t send_queue(struct stack *s, struct tcb *t, const void *buf, size_t len,
			  struct mtime now)
{
	uint32_t room = tcp_mem_snd_room(s, t);
	uint32_t n = len < room ? (uint32_t)len : room, done;

	if (n && cc_get(t->cc)->control)
		rate_app_limited(s, t, now);
	done = n ? txq_append(s, t, buf, n) : 0;
	if (done < len)
		t->flags |= TCB_F_TX_FULL;
	return done ? (int64_t)done : -E_AGAIN;
}

int64_t tcp_send(struct stack *s, uint32_t conn, const void *buf, size_t len, unsigned flags,
		 struct mtime now)
{
	struct tcb *t = tcp_user_tcb(s, conn);
	int64_t n;

	if (!t)
		return -E_BADF;
	if (t->err)
		return -take_error(t);
	if (t->state == TCP_SYN_SENT || t->state == TCP_SYN_RECEIVED) {
		if (t->flags & TCB_F_FIN_QUEUED)
			return -E_PIPE;
		t->flags |= TCB_F_TX_FULL;
		return -E_AGAIN;
	}
	if (!send_open(t))
		return -E_PIPE;
	if (!len)
		return 0;
	n = send_queue(s, t, buf, len, now);
	if (flags & TCP_MSG_OOB && n > 0)
		tcp_urg_queued(s, t);
	if (flags & TCP_MSG_MORE)
		t->flags |= TCB_F_MORE;
	else
		t->flags &= ~TCB_F_MORE;
	if (n > 0)
		tcp_want_output(s, t); /* what may go, and when, is asked once: there */
	else
		tcp_kick(s, t, now);
	return n;
}

/* Bytes read; 0: there was only an urgent byte, which is out of band. */
static uint32_t read_queue(struct stack *s, struct tcb *t, void *buf, uint32_t len, bool peek,
			   struct mtime now)
{
	uint32_t n;
	bool urgent = t->flags & TCB_F_URG, skip = false;

	if (urgent)
		len = tcp_urg_read(t, len, &skip);
	if (peek)
		return rxq_peek(s, t, skip, buf, len);
	if (skip)
		rxq_read(s, t, NULL, 1);
	n = rxq_read(s, t, buf, len);
	if (urgent)
		tcp_urg_passed(t);
	tcp_data_read(s, t, n + skip, now);
	return n;
}

int64_t tcp_recv(struct stack *s, uint32_t conn, void *buf, size_t len, unsigned flags,
		 struct mtime now)
{
	struct tcb *t = tcp_user_tcb(s, conn);
	bool peek = flags & TCP_MSG_PEEK;
	uint32_t n;

	if (!t)
		return -E_BADF;
	if (t->rx_bytes && len) {
		n = read_queue(s, t, flags & TCP_MSG_TRUNC ? NULL : buf,
			       len < UINT32_MAX ? (uint32_t)len : UINT32_MAX, peek, now);
		if (n)
			return n;
	} else if (t->rx_bytes) {
		return 0;
	}
	if (t->err)
		return -take_error(t);
	if (t->flags & (TCB_F_FIN_RCVD | TCB_F_RD_SHUT) || t->state == TCP_CLOSED)
		return 0;
	return -E_AGAIN;
}

/* ---- ending ---- */

/* The FIN goes behind what is queued; the state is that of a FIN sent already, as in Linux. */
static void close_send_side(struct stack *s, struct tcb *t, struct mtime now)
{
	if (t->flags & TCB_F_FIN_QUEUED)
		return;
	t->flags |= TCB_F_FIN_QUEUED;
	t->flags &= ~(TCB_F_TX_FULL | TCB_F_MORE);
	if (t->state == TCP_ESTABLISHED)
		tcp_set_state(s, t, TCP_FIN_WAIT_1, now);
	else if (t->state == TCP_CLOSE_WAIT)
		tcp_set_state(s, t, TCP_LAST_ACK, now);
	/* SYN_RECEIVED: tcp_established() goes on to FIN_WAIT_1 */
}

int tcp_shutdown(struct stack *s, uint32_t conn, bool rd, bool wr, struct mtime now)
{
	struct tcb *t = tcp_user_tcb(s, conn);

	if (!t)
		return -E_BADF;
	/* In the kernel a socket whose connection is in TIME_WAIT is closed already. */
	if (t->state == TCP_CLOSED || t->state == TCP_TIME_WAIT)
		return -E_NOTCONN;
	if (t->state == TCP_SYN_SENT) {
		tcp_conn_drop(s, t, 0, now);
		return 0;
	}
	if (rd) {
		t->flags |= TCB_F_RD_SHUT;
		tcp_event(s, t, EV_READABLE | EV_RDHUP);
	}
	if (wr) {
		close_send_side(s, t, now);
		tcp_event(s, t, EV_WRITABLE | (rd || t->flags & TCB_F_FIN_RCVD ? EV_HUP : 0));
	}
	tcp_kick(s, t, now);
	return 0;
}

static void make_orphan(struct stack *s, struct tcb *t)
{
	t->flags |= TCB_F_CLOSED | TCB_F_RD_SHUT;
	t->flags &= ~TCB_F_TX_FULL;
	t->ev_mask = 0; /* nobody is interested any more */
	s->n_orphans++;
}

/* Why close() has to be a reset; 0: it need not. */
static bool close_resets(struct stack *s, const struct tcb *t)
{
	if (t->rx_bytes) { /* RFC 2525 §2.17 */
		MIB(s, TcpExt_TCPAbortOnClose);
		return true;
	}
	if (t->sockopt & TCB_LINGER && !t->linger) {
		MIB(s, TcpExt_TCPAbortOnData);
		return true;
	}
	if (t->state == TCP_FIN_WAIT_2 && t->linger2 == LINGER2_NONE) {
		MIB(s, TcpExt_TCPAbortOnLinger);
		return true;
	}
	if (s->n_orphans > s->cfg.limits.tcp_max_orphans || tcp_mem_orphan_over(s, t)) {
		MIB(s, TcpExt_TCPAbortOnMemory);
		return true;
	}
	return false;
}

void tcp_close(struct stack *s, uint32_t conn, struct mtime now)
{
	struct tcb *t = tcp_user_tcb(s, conn);

	if (!t)
		return;
	make_orphan(s, t);
	if (t->state == TCP_CLOSED || t->state == TCP_SYN_SENT) {
		tcp_conn_free(s, t, now);
		return;
	}
	if (t->state == TCP_TIME_WAIT) {
		tcp_time_wait(s, t, now);
		return;
	}
	if (close_resets(s, t)) {
		tcp_reset_orphan(s, t, now);
		return;
	}
	close_send_side(s, t, now);
	if (t->state == TCP_FIN_WAIT_2)
		tcp_timer_fin_wait_begin(s, t, now);
	tcp_kick(s, t, now);
}

void tcp_abort(struct stack *s, uint32_t conn, struct mtime now)
{
	struct tcb *t;

	/* Also an orphan may be aborted, by its keeper. */
	if (conn >= s->a.n_tcbs)
		return;
	t = tcb_at(s, conn);
	if (t->owner != TCB_MINE || t->flags & TCB_F_RST_SEND)
		return;
	if (!(t->flags & TCB_F_CLOSED))
		make_orphan(s, t);
	tcp_reset_orphan(s, t, now);
}

void tcp_cut(struct stack *s, uint32_t conn, struct mtime now)
{
	struct tcp_options none = {0};
	struct tcp_addr_pair a;
	struct tcb *t;

	if (conn >= s->a.n_tcbs)
		return;
	t = tcb_at(s, conn);
	if (t->owner != TCB_MINE || t->state == TCP_CLOSED)
		return;
	if (t->flags & TCB_F_CLOSED) {
		tcp_reset_orphan(s, t, now);
		return;
	}
	if (t->state == TCP_TIME_WAIT) {
		tcp_conn_drop(s, t, 0, now);
		return;
	}
	if (t->state != TCP_SYN_SENT) {
		a = tcb_pair(t);
		MIB(s, Tcp_OutRsts);
		tcp_send_bare(s, &a, t->snd_max, t->rcv_nxt, TH_RST | TH_ACK, 0, &none, t->queue,
			      now);
	}
	tcp_conn_drop(s, t, E_CONNRESET, now);
}

/* ---- looking ---- */

static void wait_for_room(struct stack *s, struct tcb *t)
{
	t->flags |= TCB_F_TX_FULL;
	if (tcp_mem_waits(s, t))
		tcp_kick(s, t, s->now);
}

int64_t tcp_send_room(struct stack *s, uint32_t conn)
{
	struct tcb *t = tcp_user_tcb(s, conn);
	uint32_t room = t && send_open(t) ? tcp_mem_snd_room(s, t) : 0;

	if (room && !t->err)
		return room;
	if (!t || t->err || !send_open(t))
		return tcp_send(s, conn, NULL, 0, 0, s->now); /* it says why */
	wait_for_room(s, t);
	return 0;
}

uint32_t tcp_poll(struct stack *s, uint32_t conn)
{
	struct tcb *t = tcp_user_tcb(s, conn);
	bool closed, rd_end, wr_end;
	uint32_t ev = 0;

	if (!t)
		return 0;
	closed = t->state == TCP_CLOSED;
	rd_end = closed || t->flags & (TCB_F_FIN_RCVD | TCB_F_RD_SHUT);
	wr_end = closed || t->flags & TCB_F_FIN_QUEUED;
	if (rd_end || tcp_urg_readable(t) >= t->rcvlowat)
		ev |= EV_READABLE;
	if (tcp_urg_pending(t))
		ev |= EV_PRI;
	if (rd_end)
		ev |= EV_RDHUP;
	if (wr_end || (send_open(t) && tcp_writable(s, t)))
		ev |= EV_WRITABLE;
	else if (send_open(t)) /* who asks in vain is told when it changes: Linux's SOCK_NOSPACE */
		wait_for_room(s, t);
	if (rd_end && wr_end)
		ev |= EV_HUP;
	if (tcp_synchronised(t))
		ev |= EV_CONNECTED;
	if (t->err)
		ev |= EV_ERROR | EV_READABLE | EV_WRITABLE;
	return ev;
}

int tcp_error(struct stack *s, uint32_t conn)
{
	struct tcb *t = tcp_user_tcb(s, conn);

	return t ? take_error(t) : 0;
}

uint32_t tcp_readable_bytes(const struct stack *s, uint32_t conn)
{
	const struct tcb *t = tcp_user_tcb(s, conn);

	return t ? t->rx_bytes : 0;
}

uint32_t tcp_unsent_bytes(const struct stack *s, uint32_t conn)
{
	const struct tcb *t = tcp_user_tcb(s, conn);

	return t ? t->tx_bytes : 0;
}

void tcp_set_cookie(struct stack *s, uint32_t conn, uint64_t cookie)
{
	struct tcb *t = tcp_user_tcb(s, conn);

	if (t && !(t->flags & TCB_F_ACCEPT_QUEUED))
		t->cookie = cookie;
}

const struct tcb *tcp_get(const struct stack *s, uint32_t conn)
{
	if (conn >= s->a.n_tcbs || s->a.tcbs[conn].owner != TCB_MINE)
		return NULL;
	return &s->a.tcbs[conn];
}

int tcp_set_way(struct stack *s, uint32_t conn, const struct ip_way *w, struct mtime now)
{
	struct tcb *t = &s->a.tcbs[conn];
	bool moved;

	if (!tcp_get(s, conn) || w->netif >= STACK_MAX_NETIFS || !s->netifs[w->netif].used ||
	    netif_is_loopback(&s->netifs[w->netif]) != netif_is_loopback(&s->netifs[t->netif]) ||
	    w->neigh >= s->a.n_neighs)
		return -E_INVAL;
	moved = t->netif != w->netif || t->neigh != w->neigh || t->neigh_gen != w->neigh_gen;
	t->netif = (uint8_t)w->netif;
	t->neigh = w->neigh;
	t->neigh_gen = w->neigh_gen;
	if (moved) {
		tcp_way_moved(s, t);
		tcp_kick(s, t, now);
	}
	return 0;
}
