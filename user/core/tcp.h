/* SPDX-License-Identifier: BSD-2-Clause */
/* What TCP's own files share: receiving, sending and ending a connection. */
#ifndef TANDEM_CORE_TCP_H
#define TANDEM_CORE_TCP_H

#include "internal.h"

#define MS_TO_US 1000u
/* What fits behind the headers in a packet's first fragment: with offload, frames are larger. */
#define TCP_MSS_ROOM (3840u - ETH_HLEN_ - IP6_HLEN - TCP_HLEN)

static inline uint32_t tcp_min(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

static inline uint32_t tcp_max(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

static inline struct tcp_addr_pair tcb_pair(const struct tcb *t)
{
	return (struct tcp_addr_pair){t->local, t->remote, t->local_port, t->remote_port};
}

/* Bytes that may be received beyond rcv_nxt. */
static inline uint32_t tcp_rcv_wnd(const struct tcb *t)
{
	return t->rcv_adv - t->rcv_nxt;
}

/* May the peer still send? */
static inline bool tcp_can_receive(const struct tcb *t)
{
	return t->state == TCP_ESTABLISHED || t->state == TCP_FIN_WAIT_1 ||
	       t->state == TCP_FIN_WAIT_2;
}

/* RTO with its backoff (RFC 6298 §5.5). */
static inline uint64_t tcp_rto_us(const struct tcb *t)
{
	uint64_t us = (uint64_t)t->rto << (t->backoff < 20 ? t->backoff : 20);

	return us < TCP_RTO_MAX_US ? us : TCP_RTO_MAX_US;
}

/* The state of @t has changed: output where there is something to do, else the timer. */
void tcp_kick(struct stack *s, struct tcb *t, struct mtime now);

/* tcp_out.c: finds the next hop where it is not known. May it be sent to? */
bool tcp_link_ready(struct stack *s, struct tcb *t, struct mtime now);

/* tcp_rearm() for who has asked tcp_next() already. */
void tcp_sleep(struct stack *s, struct tcb *t, struct tcp_next n, struct mtime now);

/* tcp_ack.c */
void tcp_ack_new(struct stack *s, struct tcb *t, const struct tcp_seg *g, struct mtime now);
void tcp_ack_duplicate(struct stack *s, struct tcb *t, const struct tcp_seg *g, struct mtime now);
void tcp_window_update(struct tcb *t, const struct tcp_seg *g);
/* The retransmission timer has expired: what RFC 6298 §5.4-5.6 and RFC 5681 §3.1 ask for. */
void tcp_rto_expired(struct stack *s, struct tcb *t, struct mtime now);
/* Reports EV_WRITABLE if it is owed and there is room. */
void tcp_writable_check(struct stack *s, struct tcb *t);
void tcp_sndbuf_tune(const struct stack *s, struct tcb *t);

/* RFC 5682: nothing under way; the timer has expired; new data goes out to find out why */
enum frto_state { FRTO_NONE, FRTO_BEGUN, FRTO_NEW_DATA };

/* tcp_undo.c: for peers without SACK; with it, see board.h */
void reno_undo_begin(struct stack *s, struct tcb *t, struct mtime now);
void reno_frto_begin(struct tcb *t, uint8_t was);
/* New text is acknowledged: true where it has shown that recovery is for nothing. */
bool reno_undo_ack(struct stack *s, struct tcb *t, const struct tcp_seg *g, struct mtime now);
void reno_frto_duplicate(struct tcb *t);

static inline bool reno_frto(const struct tcb *t, enum frto_state st)
{
	return !(t->opt & TCB_OPT_SACK) && t->cc_state == CC_LOSS && t->frto == st;
}

/* tcp_data.c */
#define QUICK_ACKS 16u /* as in Linux */
/* The next segments are acknowledged at once. */
void tcp_quick_acks(struct tcb *t);
void tcp_duplicate_received(struct stack *s, struct tcb *t);
/* Text and FIN of a segment (RFC 9293 §3.10.7.4, seventh and eighth). @t may be gone after it. */
enum drop tcp_segment_text(struct stack *s, struct tcb *t, struct tcp_seg *g, struct mtime now);
/* In-order bytes: the receive queue and what to acknowledge. */
void tcp_data_in_order(struct stack *s, struct tcb *t, const struct tcp_seg *g, struct mtime now);
void tcp_ack_now(struct tcb *t);
/* The program has read @n bytes: window update, growth of rcvbuf. */
void tcp_data_read(struct stack *s, struct tcb *t, uint32_t n, struct mtime now);

/* tcp_user.c: a connection that a program may name; NULL */
struct tcb *tcp_user_tcb(const struct stack *s, uint32_t conn);

/* tcp_urg.c */
uint32_t tcp_copied_seq(const struct tcb *t);
void tcp_urgent(struct stack *s, struct tcb *t, const struct tcp_seg *g);
uint32_t tcp_urg_read(const struct tcb *t, uint32_t len, bool *skip);
void tcp_urg_passed(struct tcb *t);
bool tcp_urg_hidden(const struct tcb *t);
/* Bytes of the receive queue that count for readability. */
static inline uint32_t tcp_urg_readable(const struct tcb *t)
{
	return t->rx_bytes - (t->flags & TCB_F_URG && tcp_urg_hidden(t));
}
bool tcp_urg_pending(const struct tcb *t); /* EPOLLPRI */
void tcp_urg_queued(struct tcb *t);
/* After an import: what cannot be is forgotten. */
void tcp_urg_settle(struct tcb *t);
uint16_t tcp_urg_pointer(const struct tcb *t, uint32_t seq);

/* tcp_timer.c: deadlines, named for what happened (times are in the TCB, the wheel in tcp_rearm) */
void tcp_timer_data_sent(struct tcb *t, struct mtime now);
void tcp_timer_data_acked(struct tcb *t, struct mtime now);
void tcp_timer_window_opened(struct tcb *t);
/* @deadline, but not beyond the user timeout's end. */
uint64_t tcp_timer_clamp_user(const struct tcb *t, uint64_t deadline, struct mtime now);
uint64_t tcp_timer_keep(const struct tcb *t, struct mtime now);		 /* ns, 0: none */
uint64_t tcp_timer_fin_wait(const struct stack *s, const struct tcb *t); /* ns from now */
bool tcp_timer_rtx_over(const struct stack *s, const struct tcb *t, struct mtime now);
bool tcp_timer_probe_over(const struct stack *s, const struct tcb *t, struct mtime now);
bool tcp_timer_keep_over(const struct tcb *t, struct mtime now);
bool tcp_timer_syn_over(const struct stack *s, const struct tcb *t, struct mtime now);

/* ecn.c */
/* Flags of our SYN, which may be a retransmission; sets or clears TCB_OPT_ECN as offered. */
uint8_t tcp_ecn_syn(const struct stack *s, struct tcb *t, bool again);
/* The peer's SYN or SYN-ACK @g says whether it agrees to what we have offered. */
void tcp_ecn_agreed(struct tcb *t, const struct tcp_seg *g);
/* ECN bits for the IP header of a segment; adds its flags. */
uint8_t tcp_ecn_out(const struct tcb *t, uint32_t seq, uint32_t len, uint8_t *flags);
/* Acceptable text has come, and is not yet in the queue. */
void tcp_ecn_in(struct stack *s, struct tcb *t, const struct tcp_seg *g, struct mtime now);
/* An ACK for @acked new bytes; true: it tells of congestion, which has been seen to. */
bool tcp_ecn_echo(struct stack *s, struct tcb *t, const struct tcp_seg *g, uint32_t acked,
		  struct mtime now);

/* pace.c */
uint64_t tcp_pacing_rate(const struct tcb *t);			  /* bytes/s, 0: not paced */
uint32_t tcp_pace_wait_us(const struct tcb *t, struct mtime now); /* 0: data may go now */
uint32_t tcp_pace_burst(const struct tcb *t, uint32_t mss);	  /* bytes in one packet at most */
void tcp_pace_sent(struct tcb *t, uint32_t len, struct mtime now);

/* tcp_sack.c: the receiver's side of RFC 2018 and RFC 2883 */
/* Text that we had already has come once more: to be reported in the next ACK. */
void tcp_dsack(struct stack *s, struct tcb *t, uint32_t start, uint32_t end);
/* Is there something that only an ACK without text can tell? */
static inline bool tcp_sack_pending(const struct tcb *t)
{
	return t->opt & TCB_OPT_SACK &&
	       (t->ooo_head != SHM_NIL ||
		(t->work && tcb_work(t)->dsack_start != tcb_work(t)->dsack_end));
}
/* Fills in the blocks for an ACK; the duplicate counts as reported then. */
void tcp_sack_fill(struct stack *s, struct tcb *t, struct tcp_options *o);
/* tcp_mem.c: bytes of text in order that @t may take; may it take a chunk for what is not? */
uint32_t tcp_mem_in_order(const struct stack *s, const struct tcb *t);
bool tcp_mem_out_of_order(const struct stack *s, const struct tcb *t);
/* The window to offer where the buffer has @space. */
uint32_t tcp_mem_window(const struct stack *s, const struct tcb *t, uint32_t space);
/* sndbuf as it counts now; bytes that a writer may add. */
uint32_t tcp_mem_sndbuf(const struct stack *s, const struct tcb *t);
uint32_t tcp_mem_snd_room(const struct stack *s, const struct tcb *t);
bool tcp_mem_waits(const struct stack *s, const struct tcb *t);
/* Is an orphan with that much to send too expensive? */
bool tcp_mem_orphan_over(const struct stack *s, const struct tcb *t);

/* tcp_buf.c: what can be done without should not take the last chunks. */
bool tcp_memory_low(const struct stack *s);

/* tcp_buf.c: all but what the program may still read */
void tcp_buf_release_unread(struct stack *s, struct tcb *t);
void tcp_buf_release_ooo(struct stack *s, struct tcb *t);
/* The out-of-order chunks beyond @seq are given up; they were never acknowledged. */
bool tcp_buf_prune_ooo(struct stack *s, struct tcb *t, uint32_t seq);
/* Bytes of text in order that need no further chunk. */
uint32_t tcp_buf_tail_room(const struct stack *s, const struct tcb *t);

/* tcp_state.c */
/* SYN_SENT, SYN_RECEIVED: our SYN is acknowledged by @g. */
void tcp_established(struct stack *s, struct tcb *t, const struct tcp_seg *g, struct mtime now);
/* 2 MSL: a TCB while a program holds it, else a record, and @t is gone. */
void tcp_time_wait(struct stack *s, struct tcb *t, struct mtime now);
/* RST to the peer as the last act of an orphan. */
void tcp_reset_orphan(struct stack *s, struct tcb *t, struct mtime now);
/* RST to the peer; a program that holds it reads EOF. */
void tcp_abort_on_data(struct stack *s, struct tcb *t, struct mtime now);
/* Was this the connection that the caller had, or has it been freed meanwhile? */
static inline bool tcb_alive(const struct tcb *t, uint32_t generation)
{
	return t->owner == TCB_MINE && t->generation == generation;
}

#endif
