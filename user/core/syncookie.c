/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SYN cookies in the core: a SYN becomes an ISN and a timestamp (common/syncookie.h), and the third
 * ACK becomes that SYN again. When cookies are sent is synreq.c's business. Owns s->cookies.
 */
#include "tcp.h"

/* The keys of each period follow from the stack's, so that none is used for long. */
static const struct syncookie_keys *cookie_keys(struct stack *s, struct mtime now)
{
	struct syncookie_keys *k = &s->cookies;
	uint64_t period = now.ns / SYNCOOKIE_PERIOD_NS;

	if (k->period == period)
		return k;
	k->period = period;
	for (uint64_t n = period - 1; n != period + 1; n++) {
		for (uint64_t half = 0; half < 2; half++) {
			uint64_t in[2] = {n, half};

			k->key[n & 1][half] = siphash_24(s->cookie_key, in, sizeof(in));
		}
	}
	return k;
}

void stack_syncookie_secrets(struct stack *s, struct syncookie_secrets *out, struct mtime now)
{
	out->keys = *cookie_keys(s, now);
	memcpy(out->pair_key, s->isn_key, sizeof(out->pair_key));
}

static struct syncookie_id cookie_id(const struct tcp_seg *g, uint32_t irs)
{
	return (struct syncookie_id){.remote = g->ip->src,
				     .local = g->ip->dst,
				     .remote_port = g->sport,
				     .local_port = g->dport,
				     .irs = irs};
}

uint32_t cookie_isn(struct stack *s, const struct tcp_seg *syn, struct mtime now)
{
	struct syncookie_id id = cookie_id(syn, syn->seq);

	return syncookie_make(cookie_keys(s, now), &id, syn->o.mss ? syn->o.mss : TCP_MSS_DEFAULT);
}

uint32_t cookie_ts(uint32_t ts, const struct tcp_options *o, bool ecn)
{
	uint32_t options = o->has_wscale ? o->wscale : SYNCOOKIE_TS_WSCALE;

	options |= (o->sack_ok ? SYNCOOKIE_TS_SACK : 0) | (ecn ? SYNCOOKIE_TS_ECN : 0);
	return syncookie_ts(ts, options);
}

bool cookie_syn(struct stack *s, const struct tcp_seg *ack, struct tcp_seg *syn, struct mtime now)
{
	struct syncookie_id id = cookie_id(ack, ack->seq - 1);
	uint32_t mss = syncookie_check(cookie_keys(s, now), &id, ack->ack - 1), ts;
	struct tcp_addr_pair a = tcp_seg_pair(ack);

	/* As Linux: what says that there were timestamps, where there are none, is not of ours. */
	if (!mss || (ack->o.has_ts && !s->cfg.limits.tcp_timestamps))
		return false;
	*syn = *ack;
	syn->seq--;
	syn->flags &= (uint8_t) ~(TH_ECE | TH_CWR);
	syn->o = (struct tcp_options){.mss = (uint16_t)mss};
	if (ack->o.has_ts) {
		ts = ack->o.ts_ecr - tcp_ts_offset(s, &a);
		syn->o.has_ts = true;
		syn->o.ts_val = ack->o.ts_val;
		syn->o.wscale = ts & SYNCOOKIE_TS_WSCALE;
		syn->o.has_wscale = syn->o.wscale <= TCP_WSCALE_MAX;
		syn->o.sack_ok = ts & SYNCOOKIE_TS_SACK;
		if (ts & SYNCOOKIE_TS_ECN)
			syn->flags |= TH_ECE | TH_CWR;
	}
	return true;
}
