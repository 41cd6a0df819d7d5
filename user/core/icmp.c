// SPDX-License-Identifier: BSD-2-Clause
/*
 * ICMP (RFC 792, RFC 1122 §3.2.2): echo replies for what the XDP program leaves, errors about our
 * own segments handed to TCP, errors about what others sent. None of it in an application's stack.
 */
#include "tcp.h"

#define ICMP_HLEN 8u
#define ICMP_ECHO_REPLY 0u
#define ICMP_UNREACH 3u
#define ICMP_QUENCH 4u
#define ICMP_REDIRECT 5u
#define ICMP_ECHO 8u
#define ICMP_EXCEEDED 11u
#define ICMP_PARAM 12u
#define ICMP_TYPE_MAX 18u
#define ICMP_FRAG_NEEDED 4u
#define ICMP_ERROR_MAX 576u /* RFC 1812 §4.3.2.3, headers included */
#define HOST_BURST 6u	    /* as Linux's XRLIM_BURST_FACTOR */
#define TOS_INTERNETCONTROL 0xc0u
#define MTU_MIN 68u
#define OFFSET_MASK 0x1fffu

/* One token each @unit ns. */
static bool token_take_each(struct token_bucket *b, uint64_t unit, uint32_t burst, struct mtime now)
{
	uint64_t n = mtime_diff_ns(now, (struct mtime){b->ns}) / unit;

	if (!b->ns || n >= burst - (b->tokens < burst ? b->tokens : burst)) {
		b->tokens = burst;
		b->ns = now.ns;
	} else {
		b->tokens += (uint32_t)n;
		b->ns += n * unit;
	}
	if (!b->tokens)
		return false;
	b->tokens--;
	return true;
}

bool token_take(struct token_bucket *b, uint32_t per_s, uint32_t burst, struct mtime now)
{
	return !per_s || token_take_each(b, per_s < NS_PER_S ? NS_PER_S / per_s : 1, burst, now);
}

/* ---- errors that came in ---- */

/* By code of "destination unreachable", as Linux maps them. */
static const uint8_t unreach[] = {
	E_NETUNREACH,  E_HOSTUNREACH, E_NOPROTOOPT,  E_CONNREFUSED, E_MSGSIZE,	   E_OPNOTSUPP,
	E_NETUNREACH,  E_HOSTDOWN,    E_NONET,	     E_NETUNREACH,  E_HOSTUNREACH, E_NETUNREACH,
	E_HOSTUNREACH, E_HOSTUNREACH, E_HOSTUNREACH, E_HOSTUNREACH,
};
#define UNREACH_FATAL 0xe7ccu /* bit for each code that Linux's UDP reports unasked */

/* A router that does not tell the MTU: the next common one below (RFC 1191 §7.1). */
static uint32_t plateau(uint32_t len)
{
	static const uint16_t mtus[] = {32000, 17914, 8166, 4352, 2002, 1492, 1006, 508, 296};

	for (uint32_t i = 0; i < sizeof(mtus) / sizeof(mtus[0]); i++)
		if (mtus[i] < len)
			return mtus[i];
	return MTU_MIN;
}

static bool error_meaning(const uint8_t *icmp, uint32_t quoted_len, struct icmp_quote *q)
{
	uint8_t type = icmp[0], code = icmp[1];

	switch (type) {
	case ICMP_UNREACH:
		if (code >= sizeof(unreach) / sizeof(unreach[0]))
			return false;
		q->err = unreach[code];
		q->fatal = UNREACH_FATAL >> code & 1;
		if (code == ICMP_FRAG_NEEDED) {
			q->info = q->mtu = get_be16(icmp + 6);
			if (q->mtu < MTU_MIN)
				q->mtu = plateau(quoted_len);
		}
		return true;
	case ICMP_EXCEEDED:
		q->err = E_HOSTUNREACH;
		return true;
	case ICMP_PARAM:
		q->err = E_PROTO;
		q->info = icmp[4]; /* the pointer */
		q->fatal = true;
		return true;
	default:
		return false;
	}
}

/* @len bytes of ICMP at @off; @to: whom it was sent to, who must have sent what it quotes. */
static bool parse_quote(const struct pkt *p, uint32_t off, uint32_t len, const struct ip_addr *to,
			struct icmp_quote *q)
{
	uint8_t b[ICMP_HLEN + 60 + UDP_HLEN];
	const uint8_t *ip = b + ICMP_HLEN, *tcp;
	uint32_t hlen, src, dst, whole = len;

	if (len > sizeof(b))
		len = sizeof(b);
	if (len < ICMP_HLEN + IP4_HLEN + UDP_HLEN)
		return false;
	pkt_copy(p, off, b, len);
	hlen = (ip[0] & 15u) * 4;
	if (ip[0] >> 4 != 4 || hlen < IP4_HLEN || len < ICMP_HLEN + hlen + UDP_HLEN ||
	    (ip[9] != PROTO_TCP && ip[9] != PROTO_UDP) || get_be16(ip + 6) & OFFSET_MASK)
		return false;
	memcpy(&src, ip + 12, 4);
	memcpy(&dst, ip + 16, 4);
	*q = (struct icmp_quote){.pair = {.local = ip_addr_v4(src), .remote = ip_addr_v4(dst)},
				 .proto = ip[9],
				 .type = b[0],
				 .code = b[1],
				 .data_off = off + ICMP_HLEN + hlen + UDP_HLEN,
				 .data_len = (uint16_t)(whole - ICMP_HLEN - hlen - UDP_HLEN)};
	tcp = ip + hlen;
	memcpy(&q->pair.local_port, tcp, 2);
	memcpy(&q->pair.remote_port, tcp + 2, 2);
	q->seq = get_be32(tcp + 4);
	return ip_addr_eq(&q->pair.local, to) && error_meaning(b, get_be16(ip + 2), q);
}

bool stack_icmp_quote(const struct pkt *p, struct icmp_quote *q)
{
	const uint8_t *h = p->frag[0].p + p->l3_off;
	uint32_t dst, total, hlen = p->l4_off - p->l3_off;
	struct ip_addr to;

	/* Set by stack_input() for what it found to be IP. */
	if (p->l4_off < p->l3_off + IP4_HLEN || p->frag[0].len < p->l4_off || h[0] >> 4 != 4 ||
	    h[9] != PROTO_ICMP)
		return false;
	/* What is behind it in the frame is padding. */
	total = get_be16(h + 2);
	if (total < hlen || total > p->len - p->l3_off)
		return false;
	if (p->csum != PKT_CSUM_GOOD &&
	    (!pkt_csum_ok(p, p->l3_off, hlen) || !pkt_csum_ok(p, p->l4_off, total - hlen)))
		return false;
	memcpy(&dst, h + 16, 4);
	to = ip_addr_v4(dst);
	return parse_quote(p, p->l4_off, total - hlen, &to, q);
}

static enum drop error_input(struct stack *s, struct pkt *p, const struct ip_info *ip,
			     struct mtime now)
{
	struct icmp_quote q;
	bool ours;

	if (!parse_quote(p, ip->l4_off, ip->l4_len, &ip->dst, &q))
		return DROP_NO_SOCKET;
	if (q.proto == PROTO_UDP)
		return udp_icmp(s, p, ip, &q, now);
	ours = conn_lookup(s, &q.pair.local, q.pair.local_port, &q.pair.remote,
			   q.pair.remote_port) != SHM_NIL;
	tcp_icmp(s, &q.pair, q.seq, q.err, q.mtu, now);
	return ours ? DROP_NONE : DROP_NO_SOCKET;
}

/* ---- echo ---- */

static enum drop echo_input(struct stack *s, struct pkt *p, const struct ip_info *ip,
			    struct mtime now)
{
	struct ip_out o = {.src = ip->dst,
			   .dst = ip->src,
			   .proto = PROTO_ICMP,
			   .tos = ip->tos,
			   .queue = p->queue};
	uint8_t *icmp = p->frag[0].p + ip->l4_off;
	uint16_t check, from, to;

	MIB(s, Icmp_InEchos);
	if (ip->bcast)
		return DROP_NO_SOCKET; /* RFC 1122 §3.2.2.6: MAY be discarded; Linux does */
	/* The reply is made in the request's place and copied out from there. */
	memcpy(&from, icmp, 2);
	memcpy(&check, icmp + 2, 2);
	icmp[0] = ICMP_ECHO_REPLY;
	memcpy(&to, icmp, 2);
	check = csum_replace16(check, from, to);
	if (!check)
		check = 0xffff; /* the same value, and right over nothing but zeroes, too */
	memcpy(icmp + 2, &check, 2);
	if (ip_send_copy(s, p, ip->l4_off, ip->l4_len, &o, now))
		return DROP_NO_MEMORY;
	MIB(s, Icmp_OutMsgs);
	MIB(s, Icmp_OutEchoReps);
	return DROP_NONE;
}

enum drop icmp_input(struct stack *s, struct pkt *p, const struct ip_info *ip, struct mtime now)
{
	uint8_t type;

	MIB(s, Icmp_InMsgs);
	if (p->csum != PKT_CSUM_GOOD && !pkt_csum_ok(p, ip->l4_off, ip->l4_len)) {
		MIB(s, Icmp_InCsumErrors);
		MIB(s, Icmp_InErrors);
		return DROP_BAD_CSUM;
	}
	if (ip->l4_len < ICMP_HLEN || p->frag[0].len < ip->l4_off + ICMP_HLEN) {
		MIB(s, Icmp_InErrors);
		return DROP_BAD_ICMP;
	}
	type = p->frag[0].p[ip->l4_off];
	switch (type) {
	case ICMP_ECHO: /* applications are given errors only */
		return s->cfg.role == STACK_APP ? DROP_NO_SOCKET : echo_input(s, p, ip, now);
	case ICMP_UNREACH:
		MIB(s, Icmp_InDestUnreachs);
		return error_input(s, p, ip, now);
	case ICMP_EXCEEDED:
	case ICMP_PARAM:
		return error_input(s, p, ip, now);
	default:
		/* Redirects and source quench are not believed (RFC 6633). */
		if (type > ICMP_TYPE_MAX)
			MIB(s, Icmp_InErrors);
		return DROP_NO_SOCKET;
	}
}

/* ---- errors that go out ---- */

/* RFC 1122 §3.2.2: what must not be answered with an error. */
static bool may_answer(const struct pkt *p, const struct ip_info *ip)
{
	const uint8_t *h = p->frag[0].p + p->l3_off;
	uint8_t type;

	if (ip->bcast || get_be16(h + 6) & OFFSET_MASK)
		return false;
	if (ip->proto != PROTO_ICMP)
		return true;
	if (!ip->l4_len || p->frag[0].len <= ip->l4_off)
		return false;
	type = p->frag[0].p[ip->l4_off];
	return type != ICMP_UNREACH && type != ICMP_QUENCH && type != ICMP_REDIRECT &&
	       type != ICMP_EXCEEDED && type != ICMP_PARAM && type <= ICMP_TYPE_MAX;
}

/*
 * RFC 1812 §4.3.2.8: few to one host, and few in all, as Linux's icmp_ratelimit and
 * icmp_msgs_per_sec. A place of the table is for who came last: somebody who uses many
 * addresses gains a new burst for each, and is held by the limit of all.
 */
static bool may_send(struct stack *s, const struct ip_addr *to, struct mtime now)
{
	const struct stack_limits *l = &s->cfg.limits;
	struct icmp_host *h;

	if (!token_take(&s->icmp_tokens, l->icmp_msgs_per_sec, l->icmp_msgs_burst, now)) {
		MIB(s, Icmp_OutRateLimitGlobal);
		return false;
	}
	if (!l->icmp_ratelimit)
		return true;
	h = &s->icmp_hosts[siphash_24(s->cfg.key, to, sizeof(*to)) % ICMP_HOSTS];
	if (!ip_addr_eq(&h->addr, to))
		*h = (struct icmp_host){.addr = *to};
	if (token_take_each(&h->tokens, l->icmp_ratelimit * NS_PER_MS, HOST_BURST, now))
		return true;
	MIB(s, Icmp_OutRateLimitHost);
	return false;
}

void icmp_error(struct stack *s, const struct pkt *p, const struct ip_info *ip, uint8_t type,
		uint8_t code, uint32_t rest, struct mtime now)
{
	struct ip_out o = {.src = ip->dst,
			   .dst = ip->src,
			   .proto = PROTO_ICMP,
			   .tos = TOS_INTERNETCONTROL,
			   .queue = p->queue};
	uint32_t n = (uint32_t)(ip->l4_off - p->l3_off) + ip->l4_len;
	struct pkt *out;
	uint16_t check;
	uint8_t *icmp;

	if (s->cfg.role != STACK_FULL || !may_answer(p, ip))
		return;
	/* "Fragmentation needed" is never held back: Linux, and RFC 8201 §4 for its sibling. */
	if (!(type == ICMP_UNREACH && code == ICMP_FRAG_NEEDED) && !may_send(s, &o.dst, now))
		return;
	out = ip_pkt_alloc(s, false);
	if (!out)
		return;
	if (n > ICMP_ERROR_MAX - IP4_HLEN - ICMP_HLEN)
		n = ICMP_ERROR_MAX - IP4_HLEN - ICMP_HLEN;
	icmp = ip_payload(out);
	icmp[0] = type;
	icmp[1] = code;
	put_be16(icmp + 2, 0);
	put_be32(icmp + 4, rest);
	pkt_copy(p, p->l3_off, icmp + ICMP_HLEN, n);
	check = csum_fold(csum_partial(icmp, ICMP_HLEN + n, 0));
	memcpy(icmp + 2, &check, 2);
	if (ip_send(s, out, ICMP_HLEN + n, &o, now))
		return;
	MIB(s, Icmp_OutMsgs);
	if (type == ICMP_UNREACH)
		MIB(s, Icmp_OutDestUnreachs);
}
