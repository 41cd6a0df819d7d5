/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The TCP control block: protocol state and indices, no pointers, so that it
 * can stand in an arena that two processes map. Only its owner touches it; see
 * handover.h for how a connection changes owners. Send and receive
 * variables are those of RFC 9293 §3.3.1.
 *
 * Size matters: an idle connection is this, its flow entry, and no buffers.
 */
#ifndef TANDEM_CORE_TCB_H
#define TANDEM_CORE_TCB_H

#include "common/addr.h"
#include "common/shm.h"
#include "mtime.h"

/* Links of the timer wheel; .slot SHM_NIL: not in it. */
struct wheel_node {
	uint32_t next, prev, slot;
};

enum tcp_state {
	TCP_CLOSED = 0,
	TCP_LISTEN,
	TCP_SYN_SENT,
	TCP_SYN_RECEIVED,
	TCP_ESTABLISHED,
	TCP_FIN_WAIT_1,
	TCP_FIN_WAIT_2,
	TCP_CLOSE_WAIT,
	TCP_CLOSING,
	TCP_LAST_ACK,
	/*
	 * In a TCB only while a program still holds the socket (there may be data to read). For
	 * orphans the daemon's stack keeps a compact record instead (tcp_timewait.c).
	 */
	TCP_TIME_WAIT,
	TCP_STATE_MAX,
};

/* Who may touch a TCB. Changed by handover.c alone. */
enum tcb_owner {
	TCB_FREE = 0,
	TCB_MINE,	/* in this arena's stack */
	TCB_EXPORTED,	/* frozen, to be imported by the other side */
};

/* tcb.opt */
#define TCB_OPT_WSCALE (1u << 0)
#define TCB_OPT_TS (1u << 1)
#define TCB_OPT_SACK (1u << 2)
#define TCB_OPT_ECN (1u << 3)
#define TCB_OPT_RARE (1u << 4)     /* its struct tcb_rare means something */
/* SYN-SENT: RFC 7413, a cookie or the wish for one goes along; with SYNACK: a new one does */
#define TCB_OPT_FASTOPEN (1u << 6)
#define TCB_OPT_SYNACK (1u << 5)   /* RFC 7413, passive: open, but our SYN-ACK is not acknowledged */
#define TCB_OPT_SYN_DATA (1u << 7) /* text in our SYN was acknowledged */
/* tcb.sockopt: set by the application */
#define TCB_NODELAY (1u << 0)
#define TCB_CORK (1u << 1)
#define TCB_KEEPALIVE (1u << 2)
#define TCB_LINGER (1u << 3)
#define TCB_QUICKACK (1u << 4)
#define TCB_RCVBUF_LOCK (1u << 5) /* SO_RCVBUF given: no auto-tuning */
#define TCB_SNDBUF_LOCK (1u << 6)
#define TCB_OOBINLINE (1u << 7)
/* … and in an application: a connection that came by a listener of its own stack */
#define TCB_BORN_HERE (1u << 14)   /* never was the daemon's, which has not counted it as sent */
#define TCB_BORN_UNTOLD (1u << 15) /* the daemon has no record of it (tcp_told()) */
#define LINGER2_NONE UINT8_MAX
/* tcb.flags: protocol state that is not in a variable */
#define TCB_F_ACK_NOW (1u << 0)	  /* an ACK is owed, at once */
#define TCB_F_ACK_DELAYED (1u << 1) /* an ACK is owed by t_delack */
#define TCB_F_FIN_QUEUED (1u << 2)  /* shutdown: FIN follows the send queue */
#define TCB_F_FIN_SENT (1u << 3)
#define TCB_F_FIN_RCVD (1u << 4) /* peer's FIN is in sequence: EOF after the receive queue */
#define TCB_F_RD_SHUT (1u << 5)
#define TCB_F_CLOSED (1u << 6) /* no application holds it any more (an orphan) */
#define TCB_F_PROBING (1u << 7) /* zero-window probes under way */
#define TCB_F_RST_SEND (1u << 8) /* abort: a RST is to go out, then the TCB is freed */
#define TCB_F_OUT_QUEUED (1u << 9) /* on the stack's output list */
#define TCB_F_EV_QUEUED (1u << 10) /* on the stack's event list */
#define TCB_F_RTT_VALID (1u << 11) /* rtt_seq/rtt_time are timing a segment (Karn) */
#define TCB_F_PASSIVE (1u << 12)
#define TCB_F_ACCEPT_QUEUED (1u << 13)
#define TCB_F_UNDO (1u << 14) /* undo_cwnd, … or with SACK kept_cwnd, … hold (tcp_undo.c) */
#define TCB_F_TX_FULL (1u << 15) /* tcp_send() found no room: EV_WRITABLE is owed */
#define TCB_F_RTX (1u << 16) /* the segment at snd_una is to be retransmitted, at once */
#define TCB_F_FIN_OOO (1u << 17) /* the peer's FIN came out of order; it is at fin_seq */
#define TCB_F_MORE (1u << 18) /* MSG_MORE: as TCB_CORK until the next send */
#define TCB_F_CWND_LIMITED (1u << 19) /* the last output ended because of cwnd */
#define TCB_F_PINGPONG (1u << 20) /* request and response: ACKs may wait for the response */
#define TCB_F_REORDER (1u << 21) /* RFC 8985: RACK.reordering_seen */
#define TCB_F_TLP (1u << 22) /* a loss probe is out, tlp_end not yet acknowledged for sure */
#define TCB_F_TLP_RTX (1u << 23) /* … and it was a retransmission */
#define TCB_F_URG (1u << 24) /* an urgent byte is announced, and not read past yet */
#define TCB_F_URG_VALID (1u << 25) /* … it has arrived: urg_byte */
#define TCB_F_URG_READ (1u << 26)  /* … and was taken with MSG_OOB */
#define TCB_F_URG_SND (1u << 27)   /* urgent mode: snd_up is not acknowledged yet */

#define TCB_F_CWR (1u << 28) /* the next new data tells that cwnd was reduced (ecn.c) */
#define TCB_F_ECE (1u << 29) /* ACKs tell of marked packets */
#define TCB_F_APP_LIMITED (1u << 30) /* there was less to send than could be (rate.c) */
#define TCB_F_PACED (1u << 31) /* data waits for .pace_us */
/* These need a record of work. */
#define TCB_F_WORK (TCB_F_OUT_QUEUED | TCB_F_EV_QUEUED | TCB_F_RTT_VALID | TCB_F_TLP | TCB_F_UNDO |  \
	 TCB_F_FIN_OOO | TCB_F_URG | TCB_F_URG_SND)

/* … and while one of these is set it will be looked at again. */
#define TCB_F_WORK_NOW (TCB_F_OUT_QUEUED | TCB_F_EV_QUEUED)

struct tcb {
	/* identity */
	struct ip_addr local;
	struct ip_addr remote;
	uint16_t local_port; /* network order */
	uint16_t remote_port;
	uint8_t owner; /* enum tcb_owner */
	uint8_t state; /* enum tcp_state; only tcp_set_state() writes it */
	uint8_t opt;   /* negotiated: TCB_OPT_* */
	uint8_t netif;
	uint32_t generation; /* counts the uses of this index, never 0 */
	uint32_t flags;	     /* TCB_F_* */
	uint32_t neigh;	     /* index of the next hop's neighbour entry, SHM_NIL: look it up */
	uint8_t queue;	     /* RX queue it arrived on: transmit there */
	uint8_t ttl;
	uint16_t sockopt;    /* TCB_NODELAY … */
	uint32_t neigh_gen;  /* generation of that entry */
	uint32_t hash_next;  /* local to the owner's stack, like the links below */
	union {
		uint64_t cookie; /* tcb_cookie(): the owner's own (a socket number) */
		struct {	 /* while TCB_F_ACCEPT_QUEUED */
			uint32_t listener; /* whose accept queue */
			uint32_t aq_next;
		};
	};

	/* links local to the owner's stack, rebuilt on import */
	struct wheel_node timer; /* wheel.h: one timer for all deadlines of the connection */
	int32_t work; /* where its struct tcb_work is, from here, in units of 8 bytes; 0: none */
	uint16_t ev_mask; /* EV_* not yet reported */
	uint16_t linger;  /* s */

	/* send */
	uint32_t iss, snd_una, snd_nxt, snd_max;
	uint32_t snd_wnd, snd_wl1, snd_wl2, max_window;
	uint32_t snd_sml; /* end of the last short segment sent (Nagle, as Minshall) */
	uint16_t mss;	  /* what we may send, options not subtracted */
	uint16_t keep_idle; /* s, as .keep_intvl */
	uint8_t snd_wscale : 4, rcv_wscale : 4;
	uint8_t tos;
	uint16_t mss_clamp; /* .mss on a way that takes anything; 0: no SYN has come */

	/* receive */
	uint32_t irs, rcv_nxt;
	uint32_t rcv_adv; /* right edge that we have advertised: never moves left */

	/* timestamps (RFC 7323) */
	uint32_t ts_recent;
	uint32_t ts_recent_ms; /* when it was set, in ms of the stack's clock */
	uint32_t ts_offset;    /* added to our clock, per connection */
	uint32_t last_ack_sent;

	/* round trips and retransmission (RFC 6298), microseconds */
	uint32_t srtt, rttvar, rto;
	uint8_t backoff;
	uint8_t dupacks;
	uint8_t probes;	     /* keepalive or window probes unanswered */
	uint8_t syn_retries;
	uint16_t keep_intvl;
	uint8_t quick; /* so many data segments are still acknowledged at once */
	uint8_t ack_owed; /* ACKs to repeat: each segment out of order gets one (RFC 5681 §4.2) */
	uint32_t rtx_first; /* ms_stamp(): first retransmission of what is outstanding, for R1/R2 */
	uint32_t total_retrans;

	/*
	 * Deadlines; 0: not set. tcp_next() is the only reader that decides. Where milliseconds do,
	 * they are ms_stamp()s, and so are the times of what has been.
	 */
	uint64_t t_rtx;	   /* ns: retransmission, or window probe while TCB_F_PROBING */
	uint32_t t_delack;
	uint32_t t_keep;   /* keepalive; FIN_WAIT_2 and orphan timeouts */
	uint32_t last_rcv; /* last segment received */
	uint32_t last_snd; /* last data sent, for idle restart; 0: none */
	uint32_t t_armed;  /* tick that .timer is set to; means nothing while it is not in the wheel */

	/* congestion control (cc.h) */
	uint32_t cwnd, ssthresh; /* bytes */
	uint32_t recover;	 /* RFC 6582 */
	uint8_t cc;		 /* index in cc_table */
	uint8_t cc_state;	 /* enum cc_state */
	uint16_t user_mss;	 /* TCP_MAXSEG, 0: none */

	/* send queue: bytes snd_una … snd_una + tx_bytes (SYN and FIN apart) */
	uint32_t tx_head; /* chunk; the last one is work.tx_tail */
	uint32_t tx_bytes;
	uint32_t sndbuf;
	/* receive queue, in order, not yet read */
	uint32_t rx_head; /* its header's .stamp names the last one (tcp_buf.c) */
	uint32_t rx_bytes;
	uint32_t rcvbuf;
	/* out-of-order queue, sorted by chunk_hdr.seq, no overlaps */
	uint32_t ooo_head;
	uint32_t ooo_bytes;
	uint32_t n_chunks; /* held in all three */
	/* auto-tuning of rcvbuf: bytes read since rd_ms (low bits of the clock), in a round trip */
	uint32_t rd_bytes;
	uint16_t rd_ms;
	uint16_t rcv_rtt : 12; /* ms: round trip as the receiver sees it; 0: not known */
	uint16_t ato : 4;      /* how long ACKs wait (tcp_delack_ms()) */
	union {
		uint8_t reo_mult; /* RFC 8985: RACK.reo_wnd_mult, less 1 */
		uint8_t frto;	  /* without SACK: enum frto_state */
	};
	uint8_t reo_persist;
	uint8_t linger2; /* TCP_LINGER2: s in FIN-WAIT-2; 0: tcp_fin_timeout, LINGER2_NONE: none */
	uint8_t syncnt;	 /* TCP_SYNCNT, 0: tcp_syn_retries */

	/* options' values */
	uint8_t keep_cnt;
	uint8_t err; /* pending SO_ERROR, a positive errno (all are < 256) */
	uint32_t user_timeout; /* ms, 0: tcp_retries2 */
	uint32_t rcvlowat;

	/* for TCP_INFO and `tandem ss`, and .total_retrans */
	uint64_t bytes_acked : 48;
	uint64_t rcv_mss : 16; /* estimate of what the peer sends, for delayed ACKs */
	uint64_t bytes_received : 48;
	uint64_t oow_ms : 16; /* when a bare out-of-window segment was last answered, low bits */
	uint32_t segs_out, segs_in, data_segs_out, data_segs_in;
	uint32_t last_data; /* when the last text came */
	uint32_t min_rtt, min_rtt_ms; /* µs, of the last five minutes; 0: none yet; when it was seen */
	uint32_t busy_ms; /* there was something to send, or outstanding; till .chrono_ms */
};
_Static_assert(sizeof(struct tcb) <= 344, "the budget of an idle connection");
_Static_assert(sizeof(struct tcb) % 8 == 0, "TCBs stand in an array");

/*
 * What a connection needs only while something is under way: data to send or outstanding, an
 * event or output to come, what the congestion control has to remember. The arena has as many of
 * them as TCBs, behind these, so there always is one; those that are used least often are not
 * touched and cost nothing. tcb_work_get() and tcb_work_put() (pool.c) make and end it. When the
 * connection changes hands only .fin_seq, .max_pacing and what is urgent go along.
 */
struct tcb_work {
	uint64_t cc_priv[8];	    /* the congestion control algorithm's own record */
	uint32_t pace_us;	    /* when the next data may go, in µs of the clock (pace.c) */
	uint32_t rtt_seq, rtt_time; /* TCB_F_RTT_VALID; us_stamp() */
	union {
		uint32_t tlp_end; /* RFC 8985: TLP.end_seq, while TCB_F_TLP */
		uint32_t undo_ts; /* TCB_F_UNDO: our timestamp of the first retransmission */
	};
	/* duplicate text to report (RFC 2883); equal: none */
	union {
		struct {
			uint32_t dsack_start, dsack_end;
		};
		struct {
			uint32_t undo_cwnd, undo_ssthresh; /* TCB_F_UNDO: before it */
		};
	};
	uint32_t tx_tail;
	uint32_t tx_cur;   /* chunk in which snd_nxt stands, a cache; SHM_NIL: find it */
	uint32_t seg_head; /* the scoreboard's chunk, while anything is outstanding (board.h) */
	uint32_t out_next; /* TCB_F_OUT_QUEUED */
	uint32_t ev_next;  /* TCB_F_EV_QUEUED */
	uint32_t fin_seq;    /* TCB_F_FIN_OOO */
	uint32_t max_pacing; /* SO_MAX_PACING_RATE, bytes/s; 0: none */
	uint32_t urg_seq;    /* TCB_F_URG: number of the peer's urgent byte (tcp_urg.c) */
	uint32_t snd_up;     /* TCB_F_URG_SND: RFC 9293's SND.UP, one beyond our urgent byte */
	uint8_t urg_byte;    /* TCB_F_URG_VALID */
	uint8_t chrono; /* enum chrono: what sending waits for, since .chrono_ms */
	uint16_t room_ms; /* the program has waited for room, and writes again since (rate.c) */
	/* TCB_F_UNDO with SACK: of struct undo, while there is no scoreboard */
	uint32_t kept_cwnd, kept_ssthresh, kept_again;
	uint32_t chrono_ms;  /* ms_stamp() */
	uint32_t sack_stamp; /* of what arrived up to this stamp all blocks were reported */
	uint32_t ooo_cur;    /* chunk out of order that was written last, a cache; SHM_NIL */
};
_Static_assert(sizeof(struct tcb_work) % 8 == 0, "tcb.work counts in 8 bytes");

/*
 * For TCP_INFO: what most connections never have. The arena has one for each TCB, behind the works
 * and by the same index; while TCB_OPT_RARE is not set it is not touched, and all of it counts as 0.
 */
struct tcb_rare {
	uint64_t bytes_retrans;
	uint32_t delivered_ce, dsack_dups, reord_seen, rcv_ooopack;
	uint32_t rwnd_ms, sndbuf_ms; /* of .busy_ms */
	uint32_t rto_ms;	     /* from the first timeout to what acknowledged something */
	uint16_t rtos, rto_recoveries;
	uint8_t fo_cookie[8]; /* not for TCP_INFO: TCB_OPT_FASTOPEN, what our SYN-ACK gives */
};
_Static_assert(sizeof(struct tcb_rare) % 8 == 0, "they stand in an array");

enum chrono {
	CHRONO_NONE,
	CHRONO_BUSY,
	CHRONO_RWND,   /* the peer's window is used up */
	CHRONO_SNDBUF, /* all is sent, and the program waits for room in a buffer that is full */
};

/* What the arena has for one connection. */
#define TCB_ROOM (sizeof(struct tcb) + sizeof(struct tcb_work) + sizeof(struct tcb_rare))

/* Only where there is one. Of a TCB of our own, or of a copy that stands before a copy of it. */
static inline struct tcb_work *tcb_work(const struct tcb *t)
{
	if (__builtin_expect(!t->work, 0))
		__builtin_trap(); /* it would be the TCB itself */
	return (struct tcb_work *)((uint64_t *)(uintptr_t)t + t->work);
}

/* A TCB and its work as another process may have written them (tcb_peek()). */
struct tcb_copy {
	struct tcb t;
	struct tcb_work w; /* while .t.work is set */
	struct tcb_rare r; /* while TCB_OPT_RARE is */
};

static inline uint32_t tcb_max_pacing(const struct tcb *t)
{
	return t->work ? tcb_work(t)->max_pacing : 0;
}

/* 0 while nobody has accepted it. */
static inline uint64_t tcb_cookie(const struct tcb *t)
{
	return t->flags & TCB_F_ACCEPT_QUEUED ? 0 : t->cookie;
}

#endif
