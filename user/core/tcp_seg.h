/* SPDX-License-Identifier: BSD-2-Clause */
/* A TCP segment and its options (tcp_parse.c). */
#ifndef TANDEM_CORE_TCP_SEG_H
#define TANDEM_CORE_TCP_SEG_H

#include "common/seq.h"
#include "ip.h"

#define TH_FIN 1u
#define TH_SYN 2u
#define TH_RST 4u
#define TH_PSH 8u
#define TH_ACK 16u
#define TH_URG 32u
#define TH_ECE 64u
#define TH_CWR 128u
#define TH_ECT 256u /* for tcp_send_bare(): the packet is ECN-capable */

#define TCP_MSS_DEFAULT 536u
#define TCP_WSCALE_MAX 14u
#define TCP_MSS_MIN 64u /* less is not believed: headers must not be most of what is sent */

#define FO_COOKIE_MAX 16u

struct tcp_sack_block {
	uint32_t start, end;
};

struct tcp_options {
	uint16_t mss; /* 0: not given */
	uint8_t wscale;
	bool has_wscale, has_ts, sack_ok;
	uint8_t n_sack;
	uint32_t ts_val, ts_ecr;
	struct tcp_sack_block sack[4];
	uint8_t fo;  /* fast open: 1 + length of the cookie; 0: not given */
	bool fo_exp; /* in the form of RFC 6994 */
	uint8_t fo_cookie[FO_COOKIE_MAX];
};

/* A segment, checked once at the edge (tcp_parse.c). Host byte order but for ports. */
struct tcp_seg {
	const struct ip_info *ip;
	struct pkt *p;
	uint32_t seq, ack;
	uint32_t len;	   /* payload bytes */
	uint32_t data_off; /* of the payload, in the packet */
	uint16_t wnd;	   /* as it stands in the header */
	uint16_t up;
	uint16_t sport, dport; /* network order */
	uint8_t flags;
	bool tw_ts; /* timestamps keep what a SYN begins apart from the TIME_WAIT it ends */
	/* A SYN that ends a TIME_WAIT: our ISN has to be at least this; else 0 (tcp_parse.c). */
	uint32_t tw_iss;
	struct tcp_options o;
};

static inline struct tcp_addr_pair tcp_seg_pair(const struct tcp_seg *g)
{
	return (struct tcp_addr_pair){.local = g->ip->dst,
				      .remote = g->ip->src,
				      .local_port = g->dport,
				      .remote_port = g->sport};
}

static inline bool tcp_pair_eq(const struct tcp_addr_pair *a, const struct tcp_addr_pair *b)
{
	return a->remote_port == b->remote_port && a->local_port == b->local_port &&
	       ip_addr_eq(&a->remote, &b->remote) && ip_addr_eq(&a->local, &b->local);
}

/* Payload bytes in a full segment: the MSS less options (RFC 6691). */
static inline uint32_t tcp_eff_mss(const struct tcb *t)
{
	return t->opt & TCB_OPT_TS ? t->mss - 12u : t->mss;
}

/* SYN and FIN count (RFC 9293 §3.4). */
static inline uint32_t tcp_seg_space(const struct tcp_seg *g)
{
	return g->len + !!(g->flags & TH_SYN) + !!(g->flags & TH_FIN);
}

enum drop tcp_parse(struct stack *s, struct pkt *p, const struct ip_info *ip, struct tcp_seg *g);
/* Writes options, returns their length, a multiple of 4 (tcp_parse.c). */
uint32_t tcp_put_options(uint8_t *p, const struct tcp_options *o, bool syn);

/* The most frequent form: timestamps, and nothing else. */
#define TCP_OPT_TS_ALONE (1u << 24 | 1u << 16 | 8u << 8 | 10u) /* NOP NOP TS */
static inline uint32_t tcp_put_ts(uint8_t *p, uint32_t val, uint32_t ecr)
{
	put_be32(p, TCP_OPT_TS_ALONE);
	put_be32(p + 4, val);
	put_be32(p + 8, ecr);
	return 12;
}

#endif
