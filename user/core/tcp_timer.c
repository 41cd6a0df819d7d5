/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A connection's deadlines: when they are set, and when waiting is over for good (R2 of RFC 9293
 * §3.8.3, user timeout, keepalive). The deadlines stand in the TCB; tcp_next() decides what
 * follows from them, and one wheel timer, set by tcp_rearm(), wakes for the earliest.
 *
 * RFC 6298 §5 (retransmission timer), RFC 9293 §3.8.6.1 (window probes), RFC 1122 §4.2.3.6
 * (keepalive). The limits are computed as Linux does, so that tcp_retries2 means the same.
 */
#include "tcp.h"

void tcp_timer(struct stack *s, uint32_t conn, struct mtime now)
{
	struct tcb *t = tcb_at(s, conn);

	if (t->owner != TCB_MINE)
		return;
	tcp_writable_check(s, t);
	tcp_kick(s, t, now);
}

/* ---- what happened ---- */

void tcp_timer_window_opened(struct tcb *t)
{
	t->flags &= ~TCB_F_PROBING;
	t->t_rtx = t->rtx_first = 0;
	t->backoff = t->probes = 0;
}

uint64_t tcp_timer_clamp_user(const struct tcb *t, uint64_t deadline, struct mtime now)
{
	uint64_t end = ms_time(t->rtx_first, now).ns + t->user_timeout * NS_PER_MS;

	if (!t->user_timeout || !t->rtx_first || end >= deadline)
		return deadline;
	return end > now.ns ? end : now.ns;
}

/* ---- when it is over ---- */

/*
 * How long @retries retransmissions take if the RTO is 200 ms at first: the limit is a time, not
 * a count, so that a short round trip does not make a connection give up early.
 */
static uint64_t retries_us(uint32_t retries)
{
	const uint32_t linear = 9; /* log2(RTO_MAX / RTO_MIN) */

	if (retries <= linear)
		return ((2ull << retries) - 1) * TCP_RTO_MIN_US;
	return ((2ull << linear) - 1) * TCP_RTO_MIN_US +
	       (uint64_t)(retries - linear) * TCP_RTO_MAX_US;
}

static uint32_t orphan_retries(const struct stack *s)
{
	return s->cfg.limits.tcp_orphan_retries ? s->cfg.limits.tcp_orphan_retries : 8;
}

static bool user_timed_out(const struct tcb *t, uint32_t since, struct mtime now)
{
	return t->user_timeout && since && ms_ago(since, now) >= t->user_timeout;
}

bool tcp_timer_rtx_over(const struct stack *s, const struct tcb *t, struct mtime now)
{
	uint32_t retries = t->flags & TCB_F_CLOSED ? orphan_retries(s) : s->cfg.limits.tcp_retries2;

	if (!t->rtx_first)
		return false;
	if (tcp_mem_orphan_over(s, t))
		return true;
	if (t->user_timeout)
		return user_timed_out(t, t->rtx_first, now);
	return ms_ago(t->rtx_first, now) * 1000ull >= retries_us(retries);
}

/* R1 of RFC 9293 §3.8.3 */
bool tcp_timer_way_doubted(const struct stack *s, const struct tcb *t, struct mtime now)
{
	return t->rtx_first &&
	       ms_ago(t->rtx_first, now) * 1000ull >= retries_us(s->cfg.limits.tcp_retries1);
}

/* A peer that answers may keep its window shut for ever, but not to an orphan. */
bool tcp_timer_probe_over(const struct stack *s, const struct tcb *t, struct mtime now)
{
	if (tcp_mem_orphan_over(s, t))
		return true;
	if (t->flags & TCB_F_CLOSED && t->backoff >= orphan_retries(s) &&
	    tcp_rto_us(t) == TCP_RTO_MAX_US)
		return true;
	if (t->user_timeout)
		return user_timed_out(t, t->rtx_first, now);
	return t->probes >= s->cfg.limits.tcp_retries2;
}

bool tcp_timer_syn_over(const struct stack *s, const struct tcb *t, struct mtime now)
{
	const struct stack_limits *l = &s->cfg.limits;
	uint32_t retries = t->state == TCP_SYN_SENT ? l->tcp_syn_retries : l->tcp_synack_retries;

	if (t->state == TCP_SYN_SENT && t->syncnt)
		retries = t->syncnt;

	return t->syn_retries >= retries || user_timed_out(t, t->rtx_first, now);
}

/* How long an orphan waits for the peer's FIN: not less than 3.5 RTO, as Linux. */
static uint64_t tcp_timer_fin_wait(const struct stack *s, const struct tcb *t)
{
	uint64_t ns = (t->linger2 ? t->linger2 : s->cfg.limits.tcp_fin_timeout) * NS_PER_S;
	uint64_t least = (uint64_t)t->rto * 7 / 2 * NS_PER_US;

	return ns > least ? ns : least;
}

/* So long a TCB waits: a peer that is going to send its FIN mostly does so at once. */
#define FIN_WAIT_TCB_NS NS_PER_S

/* The rest of it, for which a record of 64 bytes does (tcp_timewait.c); 0: there is none. */
uint64_t tcp_timer_fin_wait_record(const struct stack *s, const struct tcb *t)
{
	uint64_t ns = tcp_timer_fin_wait(s, t);

	return s->cfg.role == STACK_FULL && ns > FIN_WAIT_TCB_NS ? ns - FIN_WAIT_TCB_NS : 0;
}

void tcp_timer_fin_wait_begin(const struct stack *s, struct tcb *t, struct mtime now)
{
	t->t_keep = ms_stamp(
		mtime_add_ns(now, tcp_timer_fin_wait(s, t) - tcp_timer_fin_wait_record(s, t)));
}

/* Keepalive, or the end of an orphan's FIN-WAIT-2 and of TIME-WAIT. */
uint64_t tcp_timer_keep(const struct tcb *t, struct mtime now)
{
	if (t->state == TCP_TIME_WAIT || (t->state == TCP_FIN_WAIT_2 && t->flags & TCB_F_CLOSED))
		return t->t_keep ? ms_time(t->t_keep, now).ns : 0;
	/* Another orphan has data or its FIN outstanding; .t_keep may be of probes long ago. */
	if (t->flags & TCB_F_CLOSED)
		return 0;
	/* What is outstanding, or waits for a window, has a timer of its own. */
	if (!(t->sockopt & TCB_KEEPALIVE) || t->snd_una != t->snd_max || t->tx_bytes)
		return 0;
	if (t->probes)
		return ms_time(t->t_keep, now).ns;
	return (now.ns / NS_PER_MS + t->keep_idle * 1000ull - ms_ago(t->last_rcv, now)) * NS_PER_MS;
}

bool tcp_timer_keep_over(const struct tcb *t, struct mtime now)
{
	if (t->state == TCP_TIME_WAIT || t->flags & TCB_F_CLOSED)
		return true;
	if (t->user_timeout)
		return t->probes && user_timed_out(t, t->last_rcv, now);
	return t->probes >= t->keep_cnt;
}
