/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * TCP Fast Open (RFC 7413). Server: cookies, and which SYN may be opened at once; the connection
 * itself is made in synreq.c. Client: a cache of cookies by server, what goes into a SYN, and what
 * its answer means. Bits of tcp_fastopen, counters and limits are Linux's.
 *
 * A server whose SYN-ACK does not come twice in a row is left in peace for a while: something on
 * the way may drop such SYNs.
 */
#include "tcp.h"

#define FO_CLIENT 1u
#define FO_SERVER 2u
#define FO_CLIENT_NO_COOKIE 4u
#define FO_SERVER_NO_COOKIE 0x200u
#define FO_SERVER_ALL 0x400u
#define FO_COOKIE_LEN 8u /* of ours */
#define FO_WAYS 4u
#define FO_PAUSE_S 60u
#define SYN_OPTIONS 40u

/* ---- server ---- */

static uint64_t le64(const uint8_t *p)
{
	uint64_t v = 0;

	for (int i = 7; i >= 0; i--)
		v = v << 8 | p[i];
	return v;
}

/*
 * RFC 7413 §4.1.2: only who knows the key can make it; it is bound to the client's address. It is
 * the one that Linux makes with this key, so that servers of both kinds can stand for one address.
 */
static void cookie_make(const uint8_t key[FO_KEY_LEN], const struct ip_addr *client,
			const struct ip_addr *server, struct tcp_options *o)
{
	const uint64_t k[2] = {le64(key), le64(key + 8)};
	const struct ip_addr in6[2] = {*client, *server};
	const uint32_t in4[2] = {ip_addr_to_v4(client), ip_addr_to_v4(server)};
	uint64_t h = ip_addr_is_v4(client) ? siphash_24(k, in4, sizeof(in4))
					   : siphash_24(k, in6, sizeof(in6));

	o->fo = 1 + FO_COOKIE_LEN;
	for (uint32_t i = 0; i < FO_COOKIE_LEN; i++)
		o->fo_cookie[i] = (uint8_t)(h >> 8 * i);
}

static const struct fo_keys *keys_of(const struct stack *s, const struct listener *l)
{
	return l->fo_keys.n ? &l->fo_keys : &s->fo_keys;
}

int stack_set_fastopen_keys(struct stack *s, const struct fo_keys *k)
{
	if (!k->n || k->n > FO_KEYS_MAX)
		return -E_INVAL;
	s->fo_keys = *k;
	return 0;
}

void stack_fastopen_keys(const struct stack *s, struct fo_keys *k)
{
	*k = s->fo_keys;
}

int tcp_listen_fastopen_keys(struct stack *s, uint32_t id, const struct fo_keys *k)
{
	if (id >= s->cfg.n_listeners || !s->listeners[id].used || k->n > FO_KEYS_MAX)
		return -E_INVAL;
	s->listeners[id].fo_keys = *k;
	return 0;
}

/* Is the cookie in @g one of ours? By the second key: the client is to have a new one. */
static bool cookie_good(struct stack *s, const struct listener *l, const struct tcp_seg *g,
			struct tcp_options *reply)
{
	const struct fo_keys *k = keys_of(s, l);
	struct tcp_options mine;

	for (uint32_t i = 0; i < k->n; i++) {
		cookie_make(k->key[i], &g->ip->src, &g->ip->dst, &mine);
		if (g->o.fo != mine.fo || memcmp(g->o.fo_cookie, mine.fo_cookie, FO_COOKIE_LEN))
			continue;
		if (i)
			MIB(s, TcpExt_TCPFastOpenPassiveAltKey);
		else
			reply->fo = 0;
		return true;
	}
	return false;
}

void fastopen_synack_out(const struct stack *s, const struct tcb *t, struct tcp_options *o)
{
	const struct tcb_rare *r = tcb_rare_had(s, t);

	if (!r)
		return;
	o->fo = 1 + FO_COOKIE_LEN;
	memcpy(o->fo_cookie, r->fo_cookie, FO_COOKIE_LEN);
}

static uint32_t queue_max(const struct stack *s, const struct listener *l)
{
	uint32_t bits = s->cfg.limits.tcp_fastopen, max = l->fastopen;

	if (!(bits & FO_SERVER))
		return 0;
	if (!max && bits & FO_SERVER_ALL)
		max = l->backlog;
	return tcp_min(max, s->cfg.limits.somaxconn);
}

bool fastopen_syn(struct stack *s, const struct listener *l, const struct tcp_seg *g,
		  struct tcp_options *reply)
{
	uint32_t max = queue_max(s, l);

	if (g->o.fo == 1)
		MIB(s, TcpExt_TCPFastOpenCookieReqd);
	if (!max || (!g->len && !g->o.fo))
		return false;
	if (l->fo_len >= max) {
		MIB(s, TcpExt_TCPFastOpenListenOverflow);
		return false;
	}
	if (s->cfg.limits.tcp_fastopen & FO_SERVER_NO_COOKIE)
		return true;
	if (!g->o.fo)
		return false;
	cookie_make(keys_of(s, l)->key[0], &g->ip->src, &g->ip->dst, reply);
	reply->fo_exp = g->o.fo_exp;
	if (cookie_good(s, l, g, reply))
		return true;
	if (g->o.fo > 1)
		MIB(s, TcpExt_TCPFastOpenPassiveFail);
	return false;
}

void tcp_fastopen_done(struct stack *s, uint32_t listener)
{
	if (listener < s->cfg.n_listeners && s->listeners[listener].used &&
	    s->listeners[listener].fo_len)
		s->listeners[listener].fo_len--;
}

/* ---- client: what is known of servers ---- */

static struct fo_entry *bucket(const struct stack *s, const struct ip_addr *a)
{
	uint64_t h = siphash_24(s->fo_key, a, sizeof(*a));

	return &s->fo_cache[h % (FO_CACHE / FO_WAYS) * FO_WAYS];
}

static struct fo_entry *known(const struct stack *s, const struct ip_addr *a)
{
	struct fo_entry *e;

	if (s->cfg.role != STACK_FULL)
		return NULL;
	e = bucket(s, a);
	for (uint32_t i = 0; i < FO_WAYS; i++)
		if (ip_addr_eq(&e[i].addr, a))
			return &e[i];
	return NULL;
}

static uint32_t seconds(struct mtime now)
{
	return (uint32_t)(now.ns / NS_PER_S);
}

/* The entry of @a; the one that was used longest ago makes room. */
static struct fo_entry *entry(struct stack *s, const struct ip_addr *a, struct mtime now)
{
	struct fo_entry *e = known(s, a), *b;

	if (!e) {
		b = e = bucket(s, a);
		for (uint32_t i = 1; i < FO_WAYS; i++)
			if (b[i].used < e->used)
				e = &b[i];
		*e = (struct fo_entry){.addr = *a};
	}
	e->used = seconds(now);
	return e;
}

/* NULL: no text in a SYN to @a. */
static const struct fo_entry *usable(const struct stack *s, const struct ip_addr *a,
				     struct mtime now)
{
	static const struct fo_entry none;
	uint32_t bits = s->cfg.limits.tcp_fastopen;
	const struct fo_entry *e = known(s, a);

	if (!(bits & FO_CLIENT) || mtime_before(now, s->fo_off_until))
		return NULL;
	if (e && e->fails > 1 && seconds(now) - e->failed < FO_PAUSE_S << tcp_min(e->fails, 8))
		return NULL;
	if (e && e->len)
		return e;
	return bits & FO_CLIENT_NO_COOKIE ? &none : NULL;
}

bool tcp_fastopen_known(struct stack *s, const struct ip_addr *a, struct mtime now)
{
	return usable(s, a, now);
}

/* ---- client: SYN and SYN-ACK ---- */

uint32_t tcp_fastopen(struct stack *s, uint32_t conn, const void *buf, uint32_t len)
{
	struct tcb *t = tcp_user_tcb(s, conn);

	if (!t || t->state != TCP_SYN_SENT)
		return 0;
	if (s->cfg.limits.tcp_fastopen & FO_CLIENT)
		t->opt |= TCB_OPT_FASTOPEN;
	return txq_append(s, t, buf, tcp_min(len, t->sndbuf));
}

uint32_t fastopen_syn_out(struct stack *s, const struct tcb *t, struct tcp_options *o,
			  struct mtime now)
{
	const struct fo_entry *e = usable(s, &t->remote, now);
	uint32_t mss = t->mss;

	if (!(t->opt & TCB_OPT_FASTOPEN) || t->syn_retries || t->state != TCP_SYN_SENT)
		return 0;
	/* One that is left in peace is not asked for a cookie either. */
	if (!e && known(s, &t->remote) && known(s, &t->remote)->fails > 1)
		return 0;
	if (mtime_before(now, s->fo_off_until))
		return 0;
	o->fo = (uint8_t)(1 + (e ? e->len : 0));
	if (!e)
		return 0;
	o->fo_exp = e->exp;
	memcpy(o->fo_cookie, e->cookie, e->len);
	if (!e->len) /* without cookies */
		o->fo = 0;
	if (e->mss)
		mss = tcp_min(mss, e->mss);
	return tcp_min(t->tx_bytes, mss > SYN_OPTIONS + TCP_MSS_MIN ? mss - SYN_OPTIONS : 0);
}

void fastopen_syn_lost(struct stack *s, const struct tcb *t, struct mtime now)
{
	uint32_t pause = s->cfg.limits.tcp_fastopen_blackhole_timeout_sec;
	struct fo_entry *e;

	if (!(t->opt & TCB_OPT_FASTOPEN))
		return;
	e = entry(s, &t->remote, now);
	if (t->syn_retries == 1 && t->snd_max != t->iss + 1) {
		e->fails += e->fails < UINT8_MAX;
		e->failed = seconds(now);
	}
	if (t->syn_retries == 2 && t->snd_max != t->iss + 1 && pause) {
		s->fo_off_until =
			mtime_add_ms(now, (uint64_t)pause * 1000 << tcp_min(s->fo_off_times, 6));
		s->fo_off_times++;
		MIB(s, TcpExt_TCPFastOpenBlackhole);
	}
}

void fastopen_synack(struct stack *s, struct tcb *t, const struct tcp_seg *g, struct mtime now)
{
	uint32_t sent = t->snd_max - (t->iss + 1), acked = g->ack - (t->iss + 1);
	struct fo_entry *e;

	if (!(t->opt & TCB_OPT_FASTOPEN))
		return;
	t->opt &= (uint8_t)~TCB_OPT_FASTOPEN;
	e = entry(s, &t->remote, now);
	if (g->o.fo > 1) {
		e->len = g->o.fo - 1;
		e->exp = g->o.fo_exp;
		memcpy(e->cookie, g->o.fo_cookie, e->len);
	}
	e->mss = g->o.mss;
	if (acked) {
		MIB(s, TcpExt_TCPFastOpenActive);
		t->opt |= TCB_OPT_SYN_DATA;
		e->fails = 0;
		s->fo_off_times = 0;
		txq_acked(s, t, acked);
		t->bytes_acked += acked;
	} else if (sent) {
		MIB(s, TcpExt_TCPFastOpenActiveFail);
	}
	/* What is not acknowledged is sent as if it had never been. */
	t->snd_nxt = t->snd_max = g->ack;
}
