// SPDX-License-Identifier: BSD-2-Clause
/*
 * CTL_SS: listeners, and one row for each connection, each on a line of its own, so that who reads
 * needs no more memory than for one. Connections of applications stand in their arenas: a TCB and
 * its scoreboard are copied once, and only the copies are looked at; whose connection it is, and
 * between whom, is told by our own record.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "user/core/tcp_info.h"
#include "daemon.h"
#include "report.h"

static const char *endpoint(char *out, size_t size, const struct ip_addr *a, uint16_t port)
{
	char text[INET6_ADDRSTRLEN];

	if (ip_addr_is_any(a))
		snprintf(out, size, "*:%u", ntohs(port));
	else if (ip_addr_is_v4(a))
		snprintf(out, size, "%s:%u", inet_ntop(AF_INET, &a->w[3], text, sizeof(text)),
			 ntohs(port));
	else
		snprintf(out, size, "[%s]:%u", inet_ntop(AF_INET6, a->b, text, sizeof(text)),
			 ntohs(port));
	return out;
}

static const char *tcp_state_name(uint8_t st)
{
	static const char *const names[TCP_STATE_MAX] = {
		[TCP_CLOSED] = "closed",	   [TCP_LISTEN] = "listen",
		[TCP_SYN_SENT] = "syn-sent",	   [TCP_SYN_RECEIVED] = "syn-recv",
		[TCP_ESTABLISHED] = "established", [TCP_FIN_WAIT_1] = "fin-wait-1",
		[TCP_FIN_WAIT_2] = "fin-wait-2",   [TCP_CLOSE_WAIT] = "close-wait",
		[TCP_CLOSING] = "closing",	   [TCP_LAST_ACK] = "last-ack",
		[TCP_TIME_WAIT] = "time-wait",
	};

	return st < TCP_STATE_MAX && names[st] ? names[st] : "closed";
}

struct row {
	const char *state;
	uint64_t recv_q, send_q;
	const struct tcp_addr_pair *pair;
	const struct app *app; /* NULL: ours */
};

/* Opens the row's object; the caller adds to it, and closes it. */
static void row_open(struct jbuf *j, const struct row *r)
{
	const struct app *a = r->app;
	char text[80];

	jb_line(j);
	jb_open(j, NULL, '{');
	jb_str(j, "state", r->state);
	jb_u64(j, "recv_q", r->recv_q);
	jb_u64(j, "send_q", r->send_q);
	jb_str(j, "local", endpoint(text, sizeof(text), &r->pair->local, r->pair->local_port));
	if (r->pair->remote_port)
		jb_str(j, "remote",
		       endpoint(text, sizeof(text), &r->pair->remote, r->pair->remote_port));
	else
		jb_str(j, "remote", "*:*");
	jb_str(j, "owner", a ? a->comm : "tandemd");
	jb_u64(j, "pid", a ? (uint64_t)a->pid : (uint64_t)getpid());
	jb_u64(j, "slot", a ? a->slot : TD_SLOT_DAEMON);
}

static void put_timer(struct jbuf *j, const struct tcp_info_out *o)
{
	static const char *const names[] = {
		[TCP_INFO_TIMER_ON] = "on",
		[TCP_INFO_TIMER_KEEPALIVE] = "keepalive",
		[TCP_INFO_TIMER_TIMEWAIT] = "timewait",
		[TCP_INFO_TIMER_PERSIST] = "persist",
	};
	bool rtx = o->timer == TCP_INFO_TIMER_ON;

	if (!o->timer)
		return;
	jb_open(j, "timer", '{');
	jb_str(j, "name", names[o->timer]);
	jb_u64(j, "expires_ms", o->timer_ms);
	jb_u64(j, "retrans", rtx ? o->retransmits : o->probes);
	jb_close(j, '}');
}

static void put_info(struct jbuf *j, const struct tcb *t, const struct tcp_info_out *o)
{
	static const char *const ca[] = {"open", "disorder", "cwr", "recovery", "loss"};

	jb_open(j, "info", '{');
	jb_str(j, "cc", cc_name(t->cc) ? cc_name(t->cc) : "?");
	jb_str(j, "ca_state", ca[o->ca_state]);
	jb_bool(j, "ts", o->opt & TCB_OPT_TS);
	jb_bool(j, "sack", o->opt & TCB_OPT_SACK);
	jb_bool(j, "ecn", o->opt & TCB_OPT_ECN);
	jb_bool(j, "wscale", o->opt & TCB_OPT_WSCALE);
#define PUT(field) jb_u64(j, #field, o->field)
	PUT(snd_wscale), PUT(rcv_wscale), PUT(rto), PUT(ato), PUT(rtt), PUT(rttvar);
	if (o->min_rtt != UINT32_MAX)
		PUT(min_rtt);
	PUT(snd_mss), PUT(rcv_mss), PUT(advmss), PUT(pmtu);
	PUT(snd_cwnd), PUT(snd_ssthresh), PUT(snd_wnd), PUT(rcv_wnd), PUT(rcv_space),
		PUT(rcv_ssthresh);
	PUT(unacked), PUT(sacked), PUT(lost), PUT(retrans), PUT(total_retrans), PUT(retransmits);
	PUT(probes), PUT(backoff), PUT(reordering), PUT(reord_seen), PUT(notsent_bytes);
	PUT(bytes_acked), PUT(bytes_received), PUT(segs_out), PUT(segs_in);
	PUT(last_data_sent), PUT(last_data_recv), PUT(last_ack_recv);
	PUT(data_segs_out), PUT(data_segs_in), PUT(bytes_sent), PUT(bytes_retrans), PUT(delivered);
	PUT(delivered_ce), PUT(dsack_dups), PUT(rcv_ooopack), PUT(rcv_rtt);
	PUT(busy_time), PUT(rwnd_limited), PUT(sndbuf_limited);
#undef PUT
	jb_close(j, '}');
}

/* Bytes of buffers: what is in them, what they may hold. */
static void put_mem(struct jbuf *j, const struct tcb *t)
{
	jb_open(j, "mem", '{');
	jb_u64(j, "rmem", (uint64_t)t->rx_bytes + t->ooo_bytes);
	jb_u64(j, "rcvbuf", t->rcvbuf);
	jb_u64(j, "wmem", t->tx_bytes);
	jb_u64(j, "sndbuf", t->sndbuf);
	jb_u64(j, "ooo", t->ooo_bytes);
	jb_u64(j, "chunks", t->n_chunks);
	jb_close(j, '}');
}

/* @t and @b are copies, or ours. */
static void put_conn(struct daemon *d, struct report *r, const struct tcb *t, const struct board *b,
		     const struct tcb_rare *rare, uint32_t conn, const struct app *a)
{
	const struct tcp_addr_pair p = {t->local, t->remote, t->local_port, t->remote_port};
	struct jbuf *j = &r->j;
	struct tcp_info_out o;

	row_open(j, &(struct row){tcp_state_name(t->state), t->rx_bytes, t->tx_bytes, &p, a});
	if (r->type == CTL_SS) {
		tcp_info_of(t, b, rare, stack_mtu(d->stack, t->netif), d->now, &o);
		jb_str(j, "interface", t->netif < d->n_ifs ? d->ifs[t->netif].name : NULL);
		jb_u64(j, "conn", conn);
		jb_u64(j, "generation", t->generation);
		jb_bool(j, "nodelay", t->sockopt & TCB_NODELAY);
		jb_bool(j, "cork", t->sockopt & TCB_CORK);
		jb_bool(j, "keepalive", t->sockopt & TCB_KEEPALIVE);
		jb_u64(j, "tos", t->tos);
		put_timer(j, &o);
		put_mem(j, t);
		put_info(j, t, &o);
	}
	jb_close(j, '}');
}

static bool piece_full(const struct jbuf *j)
{
	return j->failed || j->len >= REPORT_PIECE;
}

/* ---- the stages; each returns true when it has no more ---- */

static bool put_listening(struct daemon *d, struct report *r)
{
	for (const struct group *g = d->groups; g; g = g->next)
		for (const struct member *m = g->members; m; m = m->next) {
			struct tcp_addr_pair p = {.local = g->addr, .local_port = g->port};

			if (!m->listening)
				continue;
			row_open(&r->j, &(struct row){"listen", member_waiting(m), m->backlog, &p,
						      m->app});
			jb_u64(&r->j, "half_open", group_half_open(d, g));
			jb_close(&r->j, '}');
		}
	return true;
}

static bool put_half_open(struct daemon *d, struct report *r)
{
	struct tcp_addr_pair p;
	uint32_t retries;

	while (!piece_full(&r->j)) {
		if (!stack_next_half_open(d->stack, &r->it, &p, &retries))
			return true;
		row_open(&r->j, &(struct row){"syn-recv", 0, 0, &p, NULL});
		jb_u64(&r->j, "retransmits", retries);
		jb_close(&r->j, '}');
	}
	return false;
}

static bool put_timewaits(struct daemon *d, struct report *r)
{
	struct tcp_addr_pair p;
	enum tcp_state st;

	while (!piece_full(&r->j)) {
		if (!stack_next_timewait(d->stack, &r->it, &p, &st))
			return true;
		row_open(&r->j, &(struct row){st == TCP_FIN_WAIT_2 ? "fin-wait-2" : "time-wait", 0,
					      0, &p, NULL});
		jb_close(&r->j, '}');
	}
	return false;
}

static bool put_own(struct daemon *d, struct report *r)
{
	uint32_t conn;

	while (!piece_full(&r->j)) {
		if (!stack_next_conn(d->stack, &r->it, &conn))
			return true;
		put_conn(d, r, tcp_get(d->stack, conn), tcp_scoreboard(d->stack, conn),
			 tcp_rare(d->stack, conn), conn, NULL);
	}
	return false;
}

static bool put_handed(struct daemon *d, struct report *r)
{
	uint64_t board[CHUNK_SIZE / sizeof(uint64_t)];

	for (; r->it < d->recs.used && !piece_full(&r->j); r->it++) {
		const struct rec *rec = rec_at(d, r->it);
		const struct app *a = rec->state == REC_TAKEN ? d->apps[rec->slot] : NULL;
		const struct board *b = NULL;
		struct flow_key k;
		struct tcb_copy c;
		struct tcb_work *w = &c.w;

		if (!a)
			continue;
		k = rec_key(&d->recs, r->it);
		tcb_peek(&a->view, rec->conn, &c);
		c.t.local = k.local;
		c.t.remote = k.remote;
		c.t.local_port = k.local_port;
		c.t.remote_port = k.remote_port;
		if (r->type == CTL_SS && c.t.work && w->seg_head < a->view.n_chunks) {
			memcpy(board, a->view.chunks + (uint64_t)w->seg_head * CHUNK_SIZE,
			       sizeof(board));
			b = (const struct board *)(const void *)board;
		}
		put_conn(d, r, &c.t, b, c.t.opt & TCB_OPT_RARE ? &c.r : NULL, rec->conn, a);
	}
	return r->it >= d->recs.used;
}

void report_ss(struct daemon *d, struct report *r)
{
	static bool (*const stages[])(struct daemon * d, struct report * r) = {
		put_listening, put_half_open, put_own, put_handed, put_timewaits,
	};
	const uint32_t n = sizeof(stages) / sizeof(stages[0]);
	struct jbuf *j = &r->j;

	if (!r->begun) {
		jb_open(j, NULL, '{');
		jb_open(j, "listeners", '[');
		r->begun = true;
	}
	while (r->stage < n && stages[r->stage](d, r)) {
		r->it = 0;
		if (!r->stage++) {
			jb_line(j);
			jb_close(j, ']');
			jb_open(j, "connections", '[');
		}
	}
	if (r->stage < n)
		return;
	jb_line(j);
	jb_close(j, ']');
	jb_close(j, '}');
	jb_line(j);
	r->done = true;
}
