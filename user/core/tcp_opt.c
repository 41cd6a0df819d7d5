// SPDX-License-Identifier: BSD-2-Clause
/*
 * Socket options of connections and listeners: their ranges, and where their values stand. Most are
 * a bit or a number and need no more than their line in the table; the rest have a case below.
 * What a listener has set its connections begin with (synreq.c).
 */
#include "board.h"

/* A field of a struct; .size 0: there is none. */
struct place {
	uint16_t off, size;
};

struct opt {
	bool known, clamp; /* out of range: the nearest value instead of EINVAL */
	uint16_t bit;	   /* of .sockopt, on or off; 0: a number */
	uint16_t limit;	   /* the highest value stands in the configuration, here; 0: it is .hi */
	int64_t lo, hi;
	struct place tcb, listener;
};

#define FIELD(type, name)                                                                          \
	{                                                                                          \
		offsetof(struct type, name), sizeof(((struct type *)0)->name)                      \
	}
#define IN_TCB(name) .tcb = FIELD(tcb, name)
#define IN_LISTENER(name) .listener = FIELD(listener, name)
#define IN_BOTH(name) IN_TCB(name), IN_LISTENER(name)
#define BIT(b)                                                                                     \
	{                                                                                          \
		.known = true, .bit = (b)                                                          \
	}
#define LIMIT(name) .limit = offsetof(struct stack_limits, name[2])

static const struct opt opts[TOPT_MAX] = {
	[TOPT_NODELAY] = BIT(TCB_NODELAY),
	[TOPT_CORK] = BIT(TCB_CORK),
	[TOPT_QUICKACK] = BIT(TCB_QUICKACK),
	[TOPT_KEEPALIVE] = BIT(TCB_KEEPALIVE),
	[TOPT_OOBINLINE] = BIT(TCB_OOBINLINE),
	/* TCP_MIN_MSS … MAX_TCP_WINDOW, or 0: none */
	[TOPT_MAXSEG] = {true, .lo = 88, .hi = 32767, IN_BOTH(user_mss)},
	[TOPT_KEEPIDLE] = {true, .lo = 1, .hi = 32767, IN_BOTH(keep_idle)},
	[TOPT_KEEPINTVL] = {true, .lo = 1, .hi = 32767, IN_BOTH(keep_intvl)},
	[TOPT_KEEPCNT] = {true, .lo = 1, .hi = 127, IN_BOTH(keep_cnt)},
	[TOPT_USER_TIMEOUT] = {true, .hi = INT32_MAX, IN_BOTH(user_timeout)}, /* ms */
	[TOPT_LINGER] = {true, true, .lo = -1, .hi = UINT16_MAX},	      /* -1: off */
	/* less than 0: none; more than TCP_FIN_TIMEOUT_MAX: that */
	[TOPT_LINGER2] = {true, true, .lo = -1, .hi = 120},
	[TOPT_FASTOPEN] = {true, .hi = INT32_MAX, IN_LISTENER(fastopen)},
	[TOPT_SYNCNT] = {true, .lo = 1, .hi = 127, IN_TCB(syncnt)},
	/* SOCK_MIN_RCVBUF, SOCK_MIN_SNDBUF */
	[TOPT_RCVBUF] = {true, true, .lo = 2304, LIMIT(tcp_rmem), IN_BOTH(rcvbuf)},
	[TOPT_SNDBUF] = {true, true, .lo = 4608, LIMIT(tcp_wmem), IN_BOTH(sndbuf)},
	[TOPT_RCVLOWAT] = {true, true, .lo = 1, LIMIT(tcp_rmem), IN_BOTH(rcvlowat)},
	[TOPT_TTL] = {true, .lo = 1, .hi = 255, IN_BOTH(ttl)},
	[TOPT_TOS] = {true, .hi = 255, IN_BOTH(tos)},
	[TOPT_DEFER_ACCEPT] = {true, .hi = INT32_MAX, IN_LISTENER(defer_accept)},
	[TOPT_MAX_PACING] = {true, true, .hi = UINT32_MAX},
	[TOPT_CONGESTION] = {true, .hi = UINT8_MAX},
};

static const struct opt *opt_find(enum tcp_opt opt)
{
	return opt < TOPT_MAX && opts[opt].known ? &opts[opt] : NULL;
}

int tcp_opt_check(const struct stack *s, enum tcp_opt opt, int64_t *value)
{
	const struct opt *o = opt_find(opt);
	int64_t hi, v = *value;
	uint32_t limit;

	if (!o)
		return -E_NOPROTOOPT;
	if (o->bit) {
		*value = !!v;
		return 0;
	}
	if (opt == TOPT_MAXSEG && !v)
		return 0;
	hi = o->hi;
	if (o->limit) {
		memcpy(&limit, (const char *)&s->cfg.limits + o->limit, sizeof(limit));
		hi = limit;
	}
	if (opt == TOPT_CONGESTION)
		return v >= 0 && v <= hi && cc_name((uint32_t)v) ? 0 : -E_NOENT;
	if (!o->clamp && (v < o->lo || v > hi))
		return -E_INVAL;
	*value = v < o->lo ? o->lo : v > hi ? hi : v;
	return 0;
}

/* False: the option has no number there. */
static bool number_put(void *base, struct place p, int64_t v)
{
	char *to = (char *)base + p.off;

	switch (p.size) {
	case 1:
		memcpy(to, &(uint8_t){(uint8_t)v}, 1);
		return true;
	case 2:
		memcpy(to, &(uint16_t){(uint16_t)v}, 2);
		return true;
	case 4:
		memcpy(to, &(uint32_t){(uint32_t)v}, 4);
		return true;
	default:
		return false;
	}
}

static bool number_get(const void *base, struct place p, int64_t *v)
{
	const char *from = (const char *)base + p.off;
	uint8_t v8;
	uint16_t v16;
	uint32_t v32;

	switch (p.size) {
	case 1:
		memcpy(&v8, from, 1);
		*v = v8;
		return true;
	case 2:
		memcpy(&v16, from, 2);
		*v = v16;
		return true;
	case 4:
		memcpy(&v32, from, 4);
		*v = v32;
		return true;
	default:
		return false;
	}
}

static void set_bit(uint16_t *word, uint16_t bit, bool on)
{
	*word = on ? *word | bit : (uint16_t)(*word & ~bit);
}

static void set_linger(uint16_t *sockopt, uint16_t *linger, int64_t s)
{
	set_bit(sockopt, TCB_LINGER, s >= 0);
	*linger = s >= 0 ? (uint16_t)s : 0;
}

static uint8_t linger2_of(int64_t s)
{
	return s < 0 ? LINGER2_NONE : (uint8_t)s;
}

/* As it is kept: 0 is no limit, so that what is asked for as 0 is as slow as it gets. */
static uint32_t pacing_of(int64_t v)
{
	return v < UINT32_MAX ? (uint32_t)v + !v : 0;
}

/* ---- listeners ---- */

int tcp_listen_opt(struct stack *s, uint32_t id, enum tcp_opt opt, int64_t value)
{
	struct listener *l = listener_at(s, id);
	int err;

	if (!l)
		return -E_BADF;
	err = tcp_opt_check(s, opt, &value);
	if (err)
		return err;
	if (opts[opt].bit)
		set_bit(&l->sockopt, opts[opt].bit, value);
	if (opts[opt].bit || number_put(l, opts[opt].listener, value))
		return 0;
	switch (opt) {
	case TOPT_LINGER:
		set_linger(&l->sockopt, &l->linger, value);
		break;
	case TOPT_LINGER2:
		l->linger2 = linger2_of(value);
		break;
	case TOPT_CONGESTION:
		l->cc = (uint8_t)value + 1;
		break;
	case TOPT_MAX_PACING:
		l->max_pacing = pacing_of(value);
		break;
	default: /* TOPT_SYNCNT is connect()'s */
		break;
	}
	return 0;
}

/* ---- connections ---- */

static void set_quickack(struct tcb *t, bool on)
{
	if (!on) {
		t->flags |= TCB_F_PINGPONG;
		return;
	}
	t->flags &= ~TCB_F_PINGPONG;
	t->quick = UINT8_MAX;
	if (t->flags & TCB_F_ACK_DELAYED)
		tcp_ack_now(t);
}

/* cwnd and ssthresh stay as they are: the new one goes on from there. */
static void set_congestion(struct stack *s, struct tcb *t, uint8_t cc, struct mtime now)
{
	struct board *b = tcp_board(s, t);

	if (b)
		undo_forget(b);
	t->cc = cc;
	cc_of(s, t)->init(t, now);
}

static void set_option(struct stack *s, struct tcb *t, enum tcp_opt opt, int64_t v,
		       struct mtime now)
{
	if (opts[opt].bit)
		set_bit(&t->sockopt, opts[opt].bit, v);
	number_put(t, opts[opt].tcb, v);
	switch (opt) {
	case TOPT_QUICKACK:
		set_quickack(t, v);
		break;
	case TOPT_LINGER:
		set_linger(&t->sockopt, &t->linger, v);
		break;
	case TOPT_LINGER2:
		t->linger2 = linger2_of(v);
		break;
	case TOPT_RCVBUF:
		set_bit(&t->sockopt, TCB_RCVBUF_LOCK, true);
		break;
	case TOPT_SNDBUF:
		set_bit(&t->sockopt, TCB_SNDBUF_LOCK, true);
		break;
	case TOPT_CONGESTION:
		set_congestion(s, t, (uint8_t)v, now);
		break;
	case TOPT_MAX_PACING:
		tcb_work_get(s, t)->max_pacing = pacing_of(v);
		break;
	default: /* done; TOPT_FASTOPEN and TOPT_DEFER_ACCEPT are a listener's */
		break;
	}
}

int tcp_setopt(struct stack *s, uint32_t conn, enum tcp_opt opt, int64_t value, struct mtime now)
{
	struct tcb *t = tcp_user_tcb(s, conn);
	int err;

	if (!t)
		return -E_BADF;
	err = tcp_opt_check(s, opt, &value);
	if (err)
		return err;
	set_option(s, t, opt, value, now);
	if (tcp_synchronised(t))
		tcp_kick(s, t, now);
	return 0;
}

static int64_t get_linger2(const struct stack *s, const struct tcb *t)
{
	if (t->linger2 == LINGER2_NONE)
		return -1;
	return t->linger2 ? t->linger2 : s->cfg.limits.tcp_fin_timeout;
}

int tcp_getopt(const struct stack *s, uint32_t conn, enum tcp_opt opt, int64_t *value)
{
	const struct tcb *t = tcp_user_tcb(s, conn);
	const struct opt *o = opt_find(opt);

	if (!t)
		return -E_BADF;
	if (!o)
		return -E_NOPROTOOPT;
	*value = o->bit ? !!(t->sockopt & o->bit) : 0; /* 0 also of what is a listener's */
	number_get(t, o->tcb, value);
	switch (opt) {
	case TOPT_QUICKACK:
		*value = !(t->flags & TCB_F_PINGPONG);
		break;
	case TOPT_LINGER:
		*value = t->sockopt & TCB_LINGER ? t->linger : -1;
		break;
	case TOPT_MAXSEG:
		if (tcp_synchronised(t) || !t->user_mss)
			*value = tcp_eff_mss(t);
		break;
	case TOPT_LINGER2:
		*value = get_linger2(s, t);
		break;
	case TOPT_SYNCNT:
		if (!t->syncnt)
			*value = s->cfg.limits.tcp_syn_retries;
		break;
	case TOPT_CONGESTION:
		*value = t->cc;
		break;
	case TOPT_MAX_PACING:
		*value = tcb_max_pacing(t) ? tcb_max_pacing(t) : UINT32_MAX;
		break;
	default:
		break;
	}
	return 0;
}
