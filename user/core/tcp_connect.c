/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Active open: choice of address and port (RFC 6056 §3.3.4, double hash), and what both kinds of
 * open have in common: initial sequence numbers (RFC 6528), timestamp offsets, the MSS and window
 * scale to offer. The SYN itself, and sending it again, is tcp_out.c's.
 */
#include "tcp.h"

/*
 * One hash of the pair gives both numbers, from halves that tell nothing about each other. The XDP
 * program makes it, too.
 */
static uint64_t pair_hash(const struct stack *s, const struct tcp_addr_pair *a)
{
	return syncookie_pair_hash(s->isn_key, &a->local, &a->remote, a->local_port,
				   a->remote_port);
}

uint32_t tcp_isn(const struct stack *s, const struct tcp_addr_pair *a, struct mtime now)
{
	return (uint32_t)pair_hash(s, a) + syncookie_isn_clock(now.ns);
}

uint32_t tcp_ts_offset_app(const struct stack *s, const struct tcp_addr_pair *a)
{
	return (uint32_t)syncookie_pair_hash(s->cfg.ts_key, &a->local, &a->remote, a->local_port,
					     a->remote_port);
}

uint32_t tcp_ts_offset(const struct stack *s, const struct tcp_addr_pair *a)
{
	if (s->cfg.role == STACK_APP)
		return tcp_ts_offset_app(s, a);
	return (uint32_t)(pair_hash(s, a) >> 32);
}

uint16_t tcp_mtu_mss(uint32_t mtu, const struct ip_addr *dst)
{
	uint32_t hdr = TCP_HLEN + (ip_addr_is_v4(dst) ? IP4_HLEN : IP6_HLEN);

	if (mtu > 0xffff)
		mtu = 0xffff; /* of lo: IPv4's length has 16 bits */
	if (mtu < hdr + TCP_MSS_MIN)
		return TCP_MSS_MIN;
	return (uint16_t)(mtu - hdr);
}

uint8_t tcp_offer_wscale(const struct stack *s, uint32_t rcvbuf)
{
	const struct stack_limits *l = &s->cfg.limits;
	uint8_t shift = 0;

	if (!l->tcp_window_scaling)
		return 0;
	/* The buffer may grow up to the limit later; the shift cannot (RFC 7323 §2.2). */
	if (rcvbuf < l->tcp_rmem[2])
		rcvbuf = l->tcp_rmem[2];
	while (shift < TCP_WSCALE_MAX && rcvbuf >> shift > 0xffff)
		shift++;
	return shift;
}

/* ---- ports ---- */

/* tcp_tw_reuse: 1 always, 2 (the default) on loopback. */
static bool may_reuse(const struct stack *s, const struct tcp_addr_pair *a)
{
	uint32_t reuse = s->cfg.limits.tcp_tw_reuse;

	return reuse == 1 ||
	       (reuse == 2 && (addr_is_loopback(&a->local) || addr_is_loopback(&a->remote)));
}

/*
 * May @a be opened? 0; -E_ADDRINUSE: the port is a listener's; -E_ADDRNOTAVAIL: the pair is in
 * use. @tw: the record in TIME_WAIT that it takes over (tcp_tw_reuse), or SHM_NIL.
 */
static int pair_check(const struct stack *s, const struct tcp_addr_pair *a, uint32_t *tw)
{
	*tw = SHM_NIL;
	if (listener_lookup(s, &a->local, a->local_port) != SHM_NIL)
		return -E_ADDRINUSE;
	if (conn_lookup(s, &a->local, a->local_port, &a->remote, a->remote_port) != SHM_NIL)
		return -E_ADDRNOTAVAIL;
	*tw = timewait_lookup(s, a);
	if (*tw != SHM_NIL && !(may_reuse(s, a) && s->tws[*tw].has_ts && !s->tws[*tw].fin_wait2))
		return -E_ADDRNOTAVAIL;
	return 0;
}

static uint32_t port_hash(const struct stack *s, const struct tcp_addr_pair *a, uint32_t which)
{
	struct {
		struct tcp_addr_pair a;
		uint32_t which;
	} in = {.a = *a, .which = which};

	in.a.local_port = 0;
	return (uint32_t)siphash_24(s->port_key, &in, sizeof(in));
}

void stack_set_ports(struct stack *s, uint16_t lo, uint16_t hi)
{
	s->cfg.limits.port_lo = lo;
	s->cfg.limits.port_hi = hi;
}

int tcp_pick_port(struct stack *s, const struct tcp_addr_pair *a, uint32_t attempt, uint16_t *port)
{
	uint32_t lo = s->cfg.limits.port_lo, n = s->cfg.limits.port_hi - lo + 1u, offset, tw;
	struct tcp_addr_pair pair = *a;
	struct route_result rr;
	uint32_t *count;
	int err;

	if (ip_addr_is_any(&a->local)) {
		err = route_lookup(s, &a->remote, NULL, &rr);
		if (err)
			return err;
		pair.local = rr.src;
	}
	offset = port_hash(s, &pair, 0);
	count = &s->port_table[port_hash(s, &pair, 1) % PORT_TABLE];
	for (; attempt < n; attempt++) {
		uint32_t p = lo + (offset + (*count)++) % n;

		pair.local_port = __builtin_bswap16((uint16_t)p);
		if (!pair_check(s, &pair, &tw)) {
			*port = pair.local_port;
			return 0;
		}
	}
	return -E_ADDRNOTAVAIL;
}

/* ---- connect ---- */

int tcp_connect(struct stack *s, const struct tcp_addr_pair *a, uint64_t cookie, struct mtime now,
		uint32_t *conn)
{
	bool any = ip_addr_is_any(&a->local);
	struct tcp_addr_pair pair = *a;
	struct route_result rr;
	uint32_t tw, old_nxt = 0;
	struct tcb *t;
	int err;

	if (!addr_is_unicast(s, &a->remote))
		return -E_NETUNREACH;
	if (tcp_mem_high(s))
		return -E_NOBUFS;
	if (!any && !addr_is_local(s, &a->local))
		return -E_ADDRNOTAVAIL;
	err = route_lookup(s, &a->remote, any ? NULL : &a->local, &rr);
	if (err)
		return err;
	pair.local = any ? rr.src : a->local;
	if (!pair.local_port) {
		err = tcp_pick_port(s, &pair, 0, &pair.local_port);
		if (err)
			return err;
	}
	err = pair_check(s, &pair, &tw);
	if (err)
		return err;
	if (tw != SHM_NIL)
		old_nxt = s->tws[tw].snd_nxt;

	*conn = tcp_conn_create(s, &pair, now);
	if (*conn == SHM_NIL)
		return -E_NOBUFS;
	t = tcb_at(s, *conn);
	if (tw != SHM_NIL) {
		/* Behind all that the peer may still know of the predecessor (RFC 6191). */
		tcp_set_iss(t, old_nxt + 65537u);
		timewait_free(s, tw);
		MIB(s, TcpExt_TWRecycled);
	}
	t->cookie = cookie;
	tcp_set_state(s, t, TCP_SYN_SENT, now);
	tcp_want_output(s, t);
	return 0;
}
