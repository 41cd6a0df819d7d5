/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The edge of TCP: a segment's header and options are checked here, once, on a private copy (the
 * packet stands in memory that others may write), and come out as a struct tcp_seg that later
 * code trusts. Also the other direction: options into bytes.
 *
 * RFC 9293 §3.1 (header), §3.2 (options); RFC 7323 §2, §3 (window scale, timestamps);
 * RFC 2018 §2, §3 (SACK).
 */
#include "internal.h"

enum {
	OPT_END = 0,
	OPT_NOP = 1,
	OPT_MSS = 2,
	OPT_WSCALE = 3,
	OPT_SACK_OK = 4,
	OPT_SACK = 5,
	OPT_TS = 8,
	OPT_FASTOPEN = 34,
	OPT_EXP = 254 /* RFC 6994 */
};

#define TCP_HLEN_MAX 60u

#define EXP_FASTOPEN 0xf989u

/* RFC 7413 §4.1.1: 4 to 16 bytes, an even number; none: the wish for one. Any other is no option.
 */
static void parse_fastopen(const uint8_t *cookie, uint32_t len, bool exp, struct tcp_options *o)
{
	if (len && (len < 4 || len > FO_COOKIE_MAX || len % 2))
		return;
	o->fo = (uint8_t)(1 + len);
	o->fo_exp = exp;
	memcpy(o->fo_cookie, cookie, len);
}

/*
 * An option that is cut short ends the list: what came before it counts, as in Linux. MSS,
 * window scale and SACK-permitted mean something on SYNs only.
 */
static void parse_options(const uint8_t *p, uint32_t len, bool syn, struct tcp_options *o)
{
	while (len) {
		uint32_t n;

		if (p[0] == OPT_END)
			return;
		if (p[0] == OPT_NOP) {
			p++;
			len--;
			continue;
		}
		if (len < 2 || p[1] < 2 || p[1] > len)
			return;
		n = p[1];
		switch (p[0]) {
		case OPT_MSS:
			if (n == 4 && syn)
				o->mss = get_be16(p + 2);
			break;
		case OPT_WSCALE: /* RFC 7323 §2.3: more than 14 counts as 14 */
			if (n == 3 && syn) {
				o->has_wscale = true;
				o->wscale = p[2] > TCP_WSCALE_MAX ? TCP_WSCALE_MAX : p[2];
			}
			break;
		case OPT_SACK_OK:
			if (n == 2 && syn)
				o->sack_ok = true;
			break;
		case OPT_TS:
			if (n == 10) {
				o->has_ts = true;
				o->ts_val = get_be32(p + 2);
				o->ts_ecr = get_be32(p + 6);
			}
			break;
		case OPT_FASTOPEN:
			if (syn)
				parse_fastopen(p + 2, n - 2, false, o);
			break;
		case OPT_EXP:
			if (syn && n >= 4 && get_be16(p + 2) == EXP_FASTOPEN)
				parse_fastopen(p + 4, n - 4, true, o);
			break;
		case OPT_SACK:
			if (n < 10 || (n - 2) % 8 || n > 34 || syn)
				break;
			o->n_sack = (uint8_t)((n - 2) / 8);
			for (uint32_t i = 0; i < o->n_sack; i++) {
				o->sack[i].start = get_be32(p + 2 + 8 * i);
				o->sack[i].end = get_be32(p + 6 + 8 * i);
			}
			break;
		}
		p += n;
		len -= n;
	}
}

/* The most frequent form in one comparison: NOP NOP timestamps, nothing else. */
static bool parse_ts_only(const uint8_t *p, struct tcp_options *o)
{
	if (get_be32(p) != TCP_OPT_TS_ALONE)
		return false;
	o->has_ts = true;
	o->ts_val = get_be32(p + 4);
	o->ts_ecr = get_be32(p + 8);
	return true;
}

enum drop tcp_parse(struct stack *s, struct pkt *p, const struct ip_info *ip, struct tcp_seg *g)
{
	uint8_t h[TCP_HLEN_MAX];
	uint32_t hlen;

	if (!ip_counted(s, p))
		MIB(s, Tcp_InSegs);
	if (ip->l4_len < TCP_HLEN || (uint32_t)ip->l4_off + TCP_HLEN > p->frag[0].len)
		return DROP_BAD_TCP;
	memcpy(h, p->frag[0].p + ip->l4_off, TCP_HLEN);
	hlen = (h[12] >> 4) * 4u;
	if (hlen < TCP_HLEN)
		goto bad;
	if (hlen > ip->l4_len || ip->l4_off + hlen > p->frag[0].len)
		return DROP_BAD_TCP; /* as too short a segment, no error to Linux */
	if (hlen == TCP_HLEN + 12)
		memcpy(h + TCP_HLEN, p->frag[0].p + ip->l4_off + TCP_HLEN, 12);
	else
		memcpy(h + TCP_HLEN, p->frag[0].p + ip->l4_off + TCP_HLEN, hlen - TCP_HLEN);
	if (!l4_checksum_ok(p, ip, 16)) {
		MIB(s, Tcp_InCsumErrors);
		MIB(s, Tcp_InErrs);
		return DROP_BAD_CSUM;
	}

	memset(&g->o, 0, offsetof(struct tcp_options, sack));
	g->o.fo = 0;
	g->o.fo_exp = false;
	g->tw_iss = 0;
	g->tw_ts = false;
	g->ip = ip;
	g->p = p;
	memcpy(&g->sport, h, 2);
	memcpy(&g->dport, h + 2, 2);
	if (!g->sport || !g->dport)
		goto bad;
	g->seq = get_be32(h + 4);
	g->ack = get_be32(h + 8);
	g->flags = h[13];
	g->wnd = get_be16(h + 14);
	g->up = get_be16(h + 18);
	g->data_off = ip->l4_off + hlen;
	g->len = ip->l4_len - hlen;
	if (hlen != TCP_HLEN + 12 || !parse_ts_only(h + TCP_HLEN, &g->o))
		parse_options(h + TCP_HLEN, hlen - TCP_HLEN, g->flags & TH_SYN, &g->o);
	return DROP_NONE;
bad:
	MIB(s, Tcp_InErrs);
	return DROP_BAD_TCP;
}

uint32_t tcp_put_options(uint8_t *p, const struct tcp_options *o, bool syn)
{
	uint8_t *b = p;

	if (syn && o->mss) {
		put_be32(p, OPT_MSS << 24 | 4 << 16 | o->mss);
		p += 4;
	}
	if (o->has_ts) {
		put_be16(p, syn && o->sack_ok ? OPT_SACK_OK << 8 | 2 : OPT_NOP << 8 | OPT_NOP);
		put_be16(p + 2, OPT_TS << 8 | 10);
		put_be32(p + 4, o->ts_val);
		put_be32(p + 8, o->ts_ecr);
		p += 12;
	} else if (syn && o->sack_ok) {
		put_be32(p, OPT_NOP << 24 | OPT_NOP << 16 | OPT_SACK_OK << 8 | 2);
		p += 4;
	}
	if (syn && o->has_wscale) {
		put_be32(p, (uint32_t)OPT_NOP << 24 | OPT_WSCALE << 16 | 3 << 8 | o->wscale);
		p += 4;
	}
	if (syn && o->fo) {
		uint32_t n = o->fo - 1u;

		*p++ = o->fo_exp ? OPT_EXP : OPT_FASTOPEN;
		*p++ = (uint8_t)(n + (o->fo_exp ? 4 : 2));
		if (o->fo_exp) {
			put_be16(p, EXP_FASTOPEN);
			p += 2;
		}
		memcpy(p, o->fo_cookie, n);
		for (p += n; (p - b) % 4;)
			*p++ = OPT_NOP;
	}
	if (!syn && o->n_sack) {
		put_be32(p, OPT_NOP << 24 | OPT_NOP << 16 | OPT_SACK << 8 | (2u + 8u * o->n_sack));
		p += 4;
		for (uint32_t i = 0; i < o->n_sack; i++, p += 8) {
			put_be32(p, o->sack[i].start);
			put_be32(p + 4, o->sack[i].end);
		}
	}
	return (uint32_t)(p - b);
}
