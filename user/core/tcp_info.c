// SPDX-License-Identifier: BSD-2-Clause
/*
 * tcp_info.h. What can be computed from what the protocol needs anyway is; counted for this alone
 * are the last fields of the TCB and struct tcb_rare. The daemon looks at connections of applications this
 * way, so nothing here may rely on what a TCB holds: no index is followed, no loop is its to bound.
 */
#include "board.h"
#include "tcp_info.h"

static uint8_t linux_state(uint8_t state)
{
	static const uint8_t of[TCP_STATE_MAX] = {
		[TCP_CLOSED] = 7,	[TCP_LISTEN] = 10,     [TCP_SYN_SENT] = 2,
		[TCP_SYN_RECEIVED] = 3, [TCP_ESTABLISHED] = 1, [TCP_FIN_WAIT_1] = 4,
		[TCP_FIN_WAIT_2] = 5,	[TCP_CLOSE_WAIT] = 8,  [TCP_CLOSING] = 11,
		[TCP_LAST_ACK] = 9,	[TCP_TIME_WAIT] = 6,
	};

	return state < TCP_STATE_MAX ? of[state] : 7;
}

static uint32_t ms_until(uint64_t ns, struct mtime now)
{
	uint64_t ms = ns > now.ns ? (ns - now.ns) / NS_PER_MS : 0;

	return ms < UINT32_MAX ? (uint32_t)ms : UINT32_MAX;
}

static uint32_t segments(uint32_t bytes, uint32_t mss)
{
	return bytes / mss + !!(bytes % mss);
}

static void fill_loss(const struct tcb *t, const struct board *b, uint32_t mss,
		      struct tcp_info_out *o)
{
	if (t->cc_state == CC_RECOVERY)
		o->ca_state = TCP_INFO_RECOVERY;
	else if (t->cc_state == CC_LOSS)
		o->ca_state = TCP_INFO_LOSS;
	else if (b && b->cwr)
		o->ca_state = TCP_INFO_CWR;
	else if (t->dupacks || (b && b->sacked))
		o->ca_state = TCP_INFO_DISORDER;
	if (b) {
		o->sacked = segments(b->sacked, mss);
		o->lost = segments(b->lost, mss);
		o->retrans = segments(b->again, mss);
	} else if (t->cc_state != CC_OPEN && t->snd_max != t->snd_una) {
		/* New Reno knows of one: the segment at snd_una. */
		o->lost = !!(t->flags & TCB_F_RTX);
		o->retrans = !(t->flags & TCB_F_RTX);
		o->sacked = t->dupacks;
	}
}

/* Linux: packets; the SYN counts, and so does a retransmission that was not needed. */
static uint32_t delivered(const struct tcb *t, const struct tcp_info_out *o)
{
	uint32_t again = t->total_retrans - tcp_min(t->total_retrans, t->syn_retries);
	uint32_t once = t->data_segs_out - tcp_min(t->data_segs_out, again);
	uint32_t out = o->unacked - tcp_min(o->unacked, o->sacked);

	return 1 + once - tcp_min(once, out) + o->dsack_dups;
}

static void fill_rare(const struct tcb *t, const struct tcb_rare *r, struct tcp_info_out *o)
{
	if (r) {
		o->bytes_retrans = r->bytes_retrans;
		o->delivered_ce = r->delivered_ce;
		o->dsack_dups = r->dsack_dups;
		o->reord_seen = r->reord_seen;
		o->rcv_ooopack = r->rcv_ooopack;
		o->rwnd_limited = r->rwnd_ms;
		o->sndbuf_limited = r->sndbuf_ms;
		o->total_rto = r->rtos;
		o->total_rto_recoveries = r->rto_recoveries;
		o->total_rto_time = r->rto_ms;
	}
	o->bytes_sent = t->bytes_acked + o->bytes_retrans + (t->snd_max - t->snd_una) -
			(t->flags & TCB_F_FIN_SENT && t->snd_max != t->snd_una);
}

/* With what is under way. */
static void fill_times(const struct tcb *t, struct mtime now, struct tcp_info_out *o)
{
	uint32_t chrono = t->work ? tcb_work(t)->chrono : CHRONO_NONE;
	uint32_t ms = chrono ? ms_ago(tcb_work(t)->chrono_ms, now) : 0;

	o->busy_time = (t->busy_ms + (uint64_t)ms) * 1000;
	o->rwnd_limited = (o->rwnd_limited + (chrono == CHRONO_RWND ? ms : 0)) * 1000;
	o->sndbuf_limited = (o->sndbuf_limited + (chrono == CHRONO_SNDBUF ? ms : 0)) * 1000;
	if (t->rtx_first && t->cc_state == CC_LOSS)
		o->total_rto_time += ms_ago(t->rtx_first, now);
}

static void fill_timer(const struct tcb *t, const struct board *b, struct mtime now,
		       struct tcp_info_out *o)
{
	uint64_t when = t->t_rtx, keep;

	if (t->t_rtx) {
		o->timer = t->flags & TCB_F_PROBING ? TCP_INFO_TIMER_PERSIST : TCP_INFO_TIMER_ON;
		if (b && b->t_pto && b->t_pto < when)
			when = b->t_pto;
	} else if ((keep = tcp_timer_keep(t, now))) {
		o->timer = t->state == TCP_TIME_WAIT || t->flags & TCB_F_CLOSED
				   ? TCP_INFO_TIMER_TIMEWAIT
				   : TCP_INFO_TIMER_KEEPALIVE;
		when = keep;
	}
	o->timer_ms = o->timer ? ms_until(when, now) : 0;
}

void tcp_info_of(const struct tcb *t, const struct board *b, const struct tcb_rare *r, uint32_t mtu,
		 struct mtime now, struct tcp_info_out *o)
{
	uint32_t ts = t->opt & TCB_OPT_TS ? 12 : 0, mss = t->mss > ts ? t->mss - ts : 1;
	uint32_t hdr = (ip_addr_is_v4(&t->remote) ? IP4_HLEN : IP6_HLEN) + TCP_HLEN;
	uint32_t sent = t->snd_nxt - t->snd_una;
	uint64_t rto = tcp_rto_us(t);

	*o = (struct tcp_info_out){
		.state = linux_state(t->opt & TCB_OPT_SYNACK && t->state == TCP_ESTABLISHED
					     ? TCP_SYN_RECEIVED
					     : t->state),
		.retransmits = t->state == TCP_SYN_SENT ? t->syn_retries
			       : t->rtx_first		? t->backoff
							: 0,
		.probes = t->probes,
		.backoff = t->backoff,
		.opt = t->opt,
		.snd_wscale = t->snd_wscale & 15,
		.rcv_wscale = t->rcv_wscale & 15,
		.rto = (uint32_t)rto,
		.ato = tcp_delack_ms(t) * 1000,
		.snd_mss = mss,
		.rcv_mss = t->rcv_mss,
		.unacked = segments(t->snd_max - t->snd_una, mss),
		.last_data_sent = t->last_snd ? ms_ago(t->last_snd, now) : 0,
		.last_data_recv = ms_ago(t->last_data, now),
		.last_ack_recv = ms_ago(t->last_rcv, now),
		/* What the path takes, as far as the MSS does not say less. */
		.pmtu = mtu && mtu < t->mss + hdr ? mtu : t->mss + hdr,
		.rcv_ssthresh = t->rcvbuf / 2,
		.rtt = t->srtt,
		.rttvar = t->rttvar,
		.snd_ssthresh = t->ssthresh >= INT32_MAX ? INT32_MAX : t->ssthresh / mss,
		.snd_cwnd = t->cwnd / mss,
		.advmss = (mtu > hdr ? mtu - hdr : t->mss) - ts,
		.reordering = 3, /* DupThresh */
		.rcv_rtt = t->rcv_rtt * 1000u,
		/* It makes the buffer eight times of what is read in a round trip (tcp_data.c). */
		.rcv_space = t->rcvbuf / 8,
		.min_rtt = t->min_rtt ? t->min_rtt : UINT32_MAX,
		.total_retrans = t->total_retrans,
		.notsent_bytes = t->tx_bytes > sent ? t->tx_bytes - sent : 0,
		.bytes_acked = t->bytes_acked,
		.bytes_received = t->bytes_received,
		.segs_out = t->segs_out,
		.segs_in = t->segs_in,
		.data_segs_out = t->data_segs_out,
		.data_segs_in = t->data_segs_in,
		.delivery_rate_app_limited = !!(t->flags & TCB_F_APP_LIMITED),
		.snd_wnd = t->snd_wnd,
		.rcv_wnd = tcp_rcv_wnd(t),
		.pacing_rate = tcp_pacing_rate(t) ? tcp_pacing_rate(t) : UINT64_MAX,
		.max_pacing_rate = tcb_max_pacing(t) ? tcb_max_pacing(t) : UINT64_MAX,
	};
	fill_loss(t, b, mss, o);
	fill_rare(t, r, o);
	fill_times(t, now, o);
	o->delivered = delivered(t, o);
	fill_timer(t, b, now, o);
}

bool tcp_info(const struct stack *s, uint32_t conn, struct mtime now, struct tcp_info_out *o)
{
	const struct tcb *t = tcp_get(s, conn);

	if (!t)
		return false;
	tcp_info_of(t, tcp_board(s, t), tcb_rare_had(s, t), stack_mtu(s, t->netif), now, o);
	if (tcp_board(s, t))
		o->delivery_rate = rate_last(s, tcp_board(s, t));
	return true;
}

const struct board *tcp_scoreboard(const struct stack *s, uint32_t conn)
{
	const struct tcb *t = tcp_get(s, conn);

	return t ? tcp_board(s, t) : NULL;
}

const struct tcb_rare *tcp_rare(const struct stack *s, uint32_t conn)
{
	const struct tcb *t = tcp_get(s, conn);

	return t ? tcb_rare_had(s, t) : NULL;
}

uint32_t stack_mtu(const struct stack *s, uint8_t netif)
{
	return netif < STACK_MAX_NETIFS ? s->netifs[netif].mtu : 0;
}
