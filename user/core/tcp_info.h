/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a connection tells about itself: TCP_INFO and `tandem ss`. Names and meanings are those of
 * Linux's struct tcp_info (linux/tcp.h).
 */
#ifndef TANDEM_CORE_TCP_INFO_H
#define TANDEM_CORE_TCP_INFO_H

#include "stack.h"

/* tcpi_ca_state */
enum { TCP_INFO_OPEN, TCP_INFO_DISORDER, TCP_INFO_CWR, TCP_INFO_RECOVERY, TCP_INFO_LOSS };

/* What the connection waits for, as ss(8) -o says it. */
enum tcp_info_timer {
	TCP_INFO_TIMER_NONE,
	TCP_INFO_TIMER_ON, /* retransmission, loss probe */
	TCP_INFO_TIMER_KEEPALIVE,
	TCP_INFO_TIMER_TIMEWAIT,
	TCP_INFO_TIMER_PERSIST, /* window probes */
};

struct tcp_info_out {
	uint8_t state; /* as Linux numbers them (net/tcp_states.h) */
	uint8_t ca_state, retransmits, probes, backoff;
	uint8_t opt; /* TCB_OPT_* */
	uint8_t snd_wscale, rcv_wscale;
	uint32_t rto, ato;					/* µs */
	uint32_t snd_mss, rcv_mss;				/* payload bytes */
	uint32_t unacked, sacked, lost, retrans;		/* segments, by bytes and snd_mss */
	uint32_t last_data_sent, last_data_recv, last_ack_recv; /* ms ago */
	uint32_t pmtu, rcv_ssthresh, rtt, rttvar, snd_ssthresh, snd_cwnd, advmss, reordering;
	uint32_t rcv_rtt, rcv_space, total_retrans, notsent_bytes, min_rtt, reord_seen;
	uint64_t bytes_acked, bytes_received, bytes_sent, bytes_retrans;
	uint32_t segs_out, segs_in, data_segs_out, data_segs_in, delivered, delivered_ce;
	uint32_t dsack_dups, rcv_ooopack;
	uint64_t busy_time, rwnd_limited, sndbuf_limited; /* µs */
	uint64_t delivery_rate; /* bytes/s, of tcp_info() only */
	bool delivery_rate_app_limited;
	uint16_t total_rto, total_rto_recoveries;
	uint32_t total_rto_time; /* ms */
	uint32_t snd_wnd, rcv_wnd;
	uint64_t pacing_rate, max_pacing_rate; /* bytes/s, UINT64_MAX: no limit */
	/* not in tcp_info */
	enum tcp_info_timer timer;
	uint32_t timer_ms; /* until it expires */
};

struct board;
struct tcb_rare;

/*
 * @t: a TCB, or a copy of one that may hold anything. @b: its scoreboard (CHUNK_SIZE bytes, or a
 * copy of them that may hold anything, too), NULL: none. @r: NULL: it has none. @mtu: of the interface.
 */
void tcp_info_of(const struct tcb *t, const struct board *b, const struct tcb_rare *r, uint32_t mtu,
		 struct mtime now, struct tcp_info_out *o);
/* The same for a connection of this stack. False: there is none. */
bool tcp_info(const struct stack *s, uint32_t conn, struct mtime now, struct tcp_info_out *o);
/* Its scoreboard, NULL: it has none. */
const struct board *tcp_scoreboard(const struct stack *s, uint32_t conn);
const struct tcb_rare *tcp_rare(const struct stack *s, uint32_t conn);
/* The MTU of an interface, 0: unknown. */
uint32_t stack_mtu(const struct stack *s, uint8_t netif);

#endif
