/* SPDX-License-Identifier: BSD-2-Clause */
/* What TCP's own files share: receiving, sending and ending a connection. */
#ifndef TANDEM_CORE_TCP_H
#define TANDEM_CORE_TCP_H

#include "cc.h"
#include "internal.h"

#define TCP_DELACK_MS 40u /* at least, as far as there is nothing to go along with */
#define TCP_DELACK_MAX_MS 200u
#define TCP_MIN_RTT_WIN_MS 300000u /* Linux's tcp_min_rtt_wlen */
#define TCP_RTO_MIN_US 200000u
#define TCP_RTO_MAX_US 120000000u
#define TCP_RTO_INIT_US 1000000u
#define TCP_RTO_FALLBACK_US 3000000u /* after a lost SYN, until there is a sample */
#define TCP_TIMEWAIT_S 60u
#define MS_TO_US 1000u
/* What fits behind the headers in a packet's first fragment: with offload, frames are larger. */
#define TCP_MSS_ROOM (3840u - ETH_HLEN_ - IP6_HLEN - TCP_HLEN)

/* conn_table.c */
uint32_t conn_hash(const struct stack *s, const struct ip_addr *local, uint16_t lport,
		   const struct ip_addr *remote, uint16_t rport);
uint32_t conn_lookup(const struct stack *s, const struct ip_addr *local, uint16_t lport,
		     const struct ip_addr *remote, uint16_t rport);
void conn_table_add(struct stack *s, uint32_t conn);
void conn_table_del(struct stack *s, uint32_t conn);

/* tcp_in.c: demultiplexing, then RFC 9293 §3.10.7 in its order */
enum drop tcp_input(struct stack *s, struct pkt *p, const struct ip_info *ip, struct mtime now);
/* A segment for connection @t; also called with the third ACK right after tcp_conn_create(). */
enum drop tcp_conn_input(struct stack *s, struct tcb *t, struct tcp_seg *g, struct mtime now);
/* ICMP error that quotes a segment of ours; @err a positive errno; @mtu: of the path, or 0. */
void tcp_icmp(struct stack *s, const struct tcp_addr_pair *a, uint32_t seq, int err, uint32_t mtu,
	      struct mtime now);
/*
 * It goes another way now (.netif): sends what that and the peer take, whatever was known of the
 * old one. Does not kick it, as this may be its turn to send.
 */
void tcp_way_moved(struct stack *s, struct tcb *t);
/* All connections over @netif, whose MTU is less than it was. */
void tcp_link_mtu_lowered(struct stack *s, uint32_t netif, struct mtime now);

/* tcp_state.c: the one setter, creation and the end of a connection */
void tcp_set_state(struct stack *s, struct tcb *t, enum tcp_state to, struct mtime now);
/* The gauge CurrEstab, for changes of state and, to or from CLOSED, of the owner. */
void tcp_curr_estab(struct stack *s, enum tcp_state from, enum tcp_state to);
/*
 * A new TCB with defaults (buffers, cc, rto, ISS, timestamp offset, options to offer), in the
 * table, routed, still CLOSED: snd_una = snd_nxt = snd_max = iss. SHM_NIL: no memory or route.
 *
 * Active: tcp_set_state(SYN_SENT), tcp_want_output(); tcp_output() sends the SYN.
 * Passive: tcp_set_iss(), ts_offset, queue and socket options as the SYN-ACK had them, then
 * tcp_syn_received(), tcp_set_state(SYN_RECEIVED), snd_nxt = snd_max = iss + 1, and give the third
 * ACK to tcp_conn_input(), which makes it ESTABLISHED.
 */
uint32_t tcp_conn_create(struct stack *s, const struct tcp_addr_pair *a, struct mtime now);
/* Our numbers begin with @iss, and not with what tcp_conn_create() chose. */
void tcp_set_iss(struct tcb *t, uint32_t iss);
/*
 * Takes over what the peer's SYN says (for passive opens: rebuilt from the request): its sequence
 * number, MSS, options (those offered in t->opt and given in @o remain), and from these MSS,
 * rcv_adv (the unscaled window of our own SYN: tcp_syn_window()) and the initial cwnd.
 */
void tcp_syn_received(struct stack *s, struct tcb *t, uint32_t irs, const struct tcp_options *o,
		      struct mtime now);
/* The window field of our SYN or SYN-ACK. */
static inline uint16_t tcp_syn_window(uint32_t rcvbuf)
{
	return rcvbuf / 2 < 65535 ? (uint16_t)(rcvbuf / 2) : 65535;
}
/* One round trip of @us was measured (RFC 6298). */
void tcp_rtt_sample(struct tcb *t, uint32_t us, struct mtime now);
/* The least of five minutes, as Linux has it. */
static inline void tcp_rtt_least(struct tcb *t, uint32_t us, struct mtime now)
{
	if (t->min_rtt && us > t->min_rtt && ms_ago(t->min_rtt_ms, now) < TCP_MIN_RTT_WIN_MS)
		return;
	t->min_rtt = us ? us : 1;
	t->min_rtt_ms = ms_stamp(now);
}
/* Frees everything of it, reports EV_FREED for orphans. */
void tcp_conn_free(struct stack *s, struct tcb *t, struct mtime now);
/* Ends it with @err (positive errno, 0: none): CLOSED, events; frees it if it is an orphan. */
void tcp_conn_drop(struct stack *s, struct tcb *t, int err, struct mtime now);
void tcp_event(struct stack *s, struct tcb *t, uint32_t mask);
/* Takes it out of the table, the wheel, the output and event lists and the accept queue. */
void tcp_unlink(struct stack *s, struct tcb *t);

/* An invariant of our own is broken: stop here. Never for what came from outside. */
#define tcp_assert(cond)                                                                           \
	do {                                                                                       \
		if (__builtin_expect(!(cond), 0))                                                  \
			__builtin_trap();                                                          \
	} while (0)

static inline bool tcp_synchronised(const struct tcb *t)
{
	return t->state >= TCP_ESTABLISHED;
}

/* Sequence number behind the send queue: where the FIN stands, if any, until it is acknowledged. */
static inline uint32_t tcp_queue_end(const struct tcb *t)
{
	return t->snd_una + !tcp_synchronised(t) + t->tx_bytes;
}

/* Is there text that was not sent, or a FIN to follow it? Sent it may be, too. */
static inline bool tcp_unsent(const struct tcb *t)
{
	return t->snd_nxt - t->snd_una < t->tx_bytes || t->flags & TCB_F_FIN_QUEUED;
}

/* Our FIN, sent and acknowledged: it is the last thing that snd_max counts. */
static inline bool tcp_fin_acked(const struct tcb *t)
{
	return t->flags & TCB_F_FIN_SENT && t->snd_una == t->snd_max;
}

/* tcp_out.c */
/*
 * The one place that decides what the connection does next and when: used by tcp_output() to
 * send and by the timer to sleep, so that they cannot disagree.
 */
enum tcp_action {
	TCP_ACT_NONE,	    /* nothing until .when (or ever) */
	TCP_ACT_DATA,	    /* new data (and FIN) */
	TCP_ACT_RETRANS,    /* from snd_una */
	TCP_ACT_RESEND,	    /* what the scoreboard calls lost */
	TCP_ACT_LOSS_PROBE, /* RFC 8985 §7 */
	TCP_ACT_REORDER,    /* the reordering window has passed: look for losses */
	TCP_ACT_ACK,
	TCP_ACT_SYN,
	TCP_ACT_RST,
	TCP_ACT_PROBE,
	TCP_ACT_KEEPALIVE,
	TCP_ACT_TIMEOUT,
};
struct tcp_next {
	enum tcp_action act;
	struct mtime when; /* TCP_ACT_NONE: the earliest deadline */
	uint32_t len;	   /* TCP_ACT_DATA: payload bytes for one packet from snd_nxt on */
	uint32_t seq;	   /* TCP_ACT_RESEND: … from here on */
	bool fin;	   /* and the FIN */
	bool cwnd_limited; /* there would be more, but for cwnd */
	bool paced;	   /* there is more, and .when says when it may go */
};
struct tcp_next tcp_next(const struct stack *s, const struct tcb *t, struct mtime now);
struct pkt *tcp_output(struct stack *s, struct tcb *t, struct mtime now); /* NULL: no more */
/* After a packet: true where there is no more to ask for, and the connection sleeps. */
bool tcp_output_done(struct stack *s, struct tcb *t, struct mtime now);
/* Puts it on the output list. */
void tcp_want_output(struct stack *s, struct tcb *t);
/* Re-arms the connection's wheel timer by tcp_next(). */
void tcp_rearm(struct stack *s, struct tcb *t, struct mtime now);
/* A segment without a connection: RST for @g (RFC 9293 §3.5.2), SYN-ACK and challenge ACKs. */
void tcp_send_bare(struct stack *s, const struct tcp_addr_pair *a, uint32_t seq, uint32_t ack,
		   uint32_t flags, uint16_t wnd, const struct tcp_options *o, uint16_t queue,
		   struct mtime now);
void tcp_send_reset(struct stack *s, const struct tcp_seg *g, struct mtime now);
static inline uint32_t tcp_ts_now(const struct stack *s,
				  struct mtime now) /* ms clock of RFC 7323 */
{
	(void)s;
	return (uint32_t)(now.ns / NS_PER_MS);
}
/* Window to advertise, scaled by the caller; moves rcv_adv. */
uint32_t tcp_select_window(struct stack *s, struct tcb *t);

/* tcp_timer.c */
void tcp_timer(struct stack *s, uint32_t conn, struct mtime now);

/* tcp_buf.c: send, receive and out-of-order queues */
uint32_t rxq_append(struct stack *s, struct tcb *t, const struct pkt *p, uint32_t off,
		    uint32_t len); /* bytes taken */
/* Keeps out-of-order data [seq, seq+len); returns how many bytes are held now, from its start on. */
uint32_t ooo_insert(struct stack *s, struct tcb *t, uint32_t seq, const struct pkt *p, uint32_t off,
		    uint32_t len);
/* Moves what has become in order to the receive queue, advancing rcv_nxt. */
void ooo_merge(struct stack *s, struct tcb *t);
uint32_t rxq_read(struct stack *s, struct tcb *t, void *buf, uint32_t len);
/* The same from @skip bytes on, leaving all where it is. */
uint32_t rxq_peek(struct stack *s, const struct tcb *t, uint32_t skip, void *buf, uint32_t len);
uint32_t txq_append(struct stack *s, struct tcb *t, const void *buf, uint32_t len);
/* Copies @len bytes at sequence number @seq of the send queue to @out. */
void txq_copy(struct stack *s, struct tcb *t, uint32_t seq, uint8_t *out, uint32_t len);
/* Points @fr (up to @max) at the bytes instead; returns fragments used, *@got bytes covered. */
uint32_t txq_frags(struct stack *s, struct tcb *t, uint32_t seq, uint32_t len, struct pkt_frag *fr,
		   uint32_t max, uint32_t *got);
void txq_acked(struct stack *s, struct tcb *t, uint32_t n);
void tcp_buf_release(struct stack *s, struct tcb *t); /* all three queues */

/* tcp_connect.c: active open, ports (RFC 6056); what both kinds of open have in common */
uint32_t tcp_isn(const struct stack *s, const struct tcp_addr_pair *a,
		 struct mtime now); /* RFC 6528 */
/* Added to our timestamp clock; the same for each incarnation of a pair (RFC 7323 §5.4). */
uint32_t tcp_ts_offset(const struct stack *s, const struct tcp_addr_pair *a);
/* The offset of a connection that began in an application, with whom nobody shares the other key. */
uint32_t tcp_ts_offset_app(const struct stack *s, const struct tcp_addr_pair *a);
/* The largest segment for a route of @mtu to @dst: what a SYN announces. */
uint16_t tcp_mtu_mss(uint32_t mtu, const struct ip_addr *dst);
/* Shift to offer, for a receive buffer that starts with @rcvbuf; 0 where scaling is off. */
uint8_t tcp_offer_wscale(const struct stack *s, uint32_t rcvbuf);

/* ---- small things ---- */

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
/* STACK_FULL: looks the next hop up again. True: it is another one than before. */
bool tcp_way_again(struct stack *s, struct tcb *t, struct mtime now);

bool tcp_sleeping(struct stack *s, struct tcb *t, struct mtime now);

/* Sending waits for nothing from here on: the connection is about to change hands. */
void tcp_chrono_stop(struct stack *s, struct tcb *t, struct mtime now);

/* Wakes no later than at @when. */
void tcp_arm(struct stack *s, struct tcb *t, struct mtime when);

/* tcp_rearm() for who has asked tcp_next() already. */
void tcp_sleep(struct stack *s, struct tcb *t, struct tcp_next n, struct mtime now);

/* tcp_ack.c */
void tcp_ack_new(struct stack *s, struct tcb *t, const struct tcp_seg *g, struct mtime now);
void tcp_ack_duplicate(struct stack *s, struct tcb *t, const struct tcp_seg *g, struct mtime now);
void tcp_window_update(struct tcb *t, const struct tcp_seg *g);
/* The retransmission timer has expired: what RFC 6298 §5.4-5.6 and RFC 5681 §3.1 ask for. */
void tcp_rto_expired(struct stack *s, struct tcb *t, struct mtime now);
/* Is there so much room in the send buffer that a program should write? */
bool tcp_writable(const struct stack *s, const struct tcb *t);
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
/* How long an ACK may wait for company; a segment with text has come @ms after the one before. */
uint32_t tcp_delack_ms(const struct tcb *t);
void tcp_delack_learn(struct tcb *t, uint32_t ms);
/* It has waited for nothing. */
void tcp_delack_missed(struct tcb *t);
void tcp_duplicate_received(struct stack *s, struct tcb *t);
/* Text and FIN of a segment (RFC 9293 §3.10.7.4, seventh and eighth). @t may be gone after it. */
enum drop tcp_segment_text(struct stack *s, struct tcb *t, struct tcp_seg *g, struct mtime now);
/* In-order bytes: the receive queue and what to acknowledge. */
void tcp_data_in_order(struct stack *s, struct tcb *t, const struct tcp_seg *g, struct mtime now);
void tcp_ack_now(struct tcb *t);
/* The program has read @n bytes: window update, growth of rcvbuf. */
void tcp_data_read(struct stack *s, struct tcb *t, uint32_t n, struct mtime now);

/* A connection that a program may name: in range, ours, not closed before; NULL */
static inline struct tcb *tcp_user_tcb(const struct stack *s, uint32_t conn)
{
	struct tcb *t;

	if (conn >= s->a.n_tcbs)
		return NULL;
	t = &s->a.tcbs[conn];
	return t->owner == TCB_MINE && !(t->flags & TCB_F_CLOSED) ? t : NULL;
}

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
void tcp_urg_queued(struct stack *s, struct tcb *t);
/* After an import: what cannot be is forgotten. */
void tcp_urg_settle(struct tcb *t);
uint16_t tcp_urg_pointer(const struct tcb *t, uint32_t seq);

/* tcp_timer.c: deadlines, named for what happened (times are in the TCB, the wheel in tcp_rearm) */
void tcp_timer_window_opened(struct tcb *t);

/* RFC 6298 §5.1: starts if it is not running. A window probe's deadline is none for data. */
static inline void tcp_timer_data_sent(struct tcb *t, struct mtime now)
{
	if (t->flags & TCB_F_PROBING)
		tcp_timer_window_opened(t);
	if (!t->t_rtx)
		t->t_rtx = mtime_add_us(now, tcp_rto_us(t)).ns;
	t->last_snd = ms_stamp(now);
}

/* RFC 6298 §5.2, §5.3 */
static inline void tcp_timer_data_acked(struct tcb *t, struct mtime now)
{
	t->rtx_first = 0;
	t->t_rtx = t->snd_una == t->snd_max ? 0 : mtime_add_us(now, tcp_rto_us(t)).ns;
}

/* @deadline, but not beyond the user timeout's end. */
uint64_t tcp_timer_clamp_user(const struct tcb *t, uint64_t deadline, struct mtime now);
uint64_t tcp_timer_keep(const struct tcb *t, struct mtime now); /* ns, 0: none */
/* May it have one? */
static inline bool tcp_timer_kept(const struct tcb *t)
{
	return tcp_synchronised(t) &&
	       (t->sockopt & TCB_KEEPALIVE || t->flags & TCB_F_CLOSED || t->state == TCP_TIME_WAIT);
}
/* An orphan comes to wait for the peer's FIN. */
void tcp_timer_fin_wait_begin(const struct stack *s, struct tcb *t, struct mtime now);
/* ns that its record is to wait on; 0: none, or the TCB waits to the end */
uint64_t tcp_timer_fin_wait_record(const struct stack *s, const struct tcb *t);
bool tcp_timer_rtx_over(const struct stack *s, const struct tcb *t, struct mtime now);
bool tcp_timer_way_doubted(const struct stack *s, const struct tcb *t, struct mtime now);
bool tcp_timer_probe_over(const struct stack *s, const struct tcb *t, struct mtime now);
bool tcp_timer_keep_over(const struct tcb *t, struct mtime now);
bool tcp_timer_syn_over(const struct stack *s, const struct tcb *t, struct mtime now);

/* ecn.c */
/* Does a listener with this algorithm agree to what the SYN @g offers? */
bool tcp_ecn_accept(const struct stack *s, uint8_t cc, const struct tcp_seg *g);
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

/* tcp_rack.c: cwnd goes down to ssthresh while ACKs come; false: it cannot, so it has to at once.
 */
bool tcp_rack_reduce(struct stack *s, struct tcb *t, uint32_t flight);
bool tcp_rack_reducing(const struct stack *s, const struct tcb *t);

/* pace.c */
uint64_t tcp_pacing_rate(const struct tcb *t);			  /* bytes/s, 0: not paced */
uint32_t tcp_pace_wait_us(const struct tcb *t, struct mtime now); /* 0: data may go now */
uint32_t tcp_pace_burst(const struct tcb *t, uint32_t mss);	  /* bytes in one packet at most */
void tcp_pace_sent(struct tcb *t, uint32_t len, struct mtime now);
/* Can there be a rate? Without it none of these need be asked. */
static inline bool tcp_paced(const struct tcb *t)
{
	return cc_get(t->cc)->pacing_rate || tcb_max_pacing(t);
}

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
uint32_t tcp_mem_window_tight(const struct stack *s, const struct tcb *t, uint32_t space);
static inline uint32_t tcp_mem_window(const struct stack *s, const struct tcb *t, uint32_t space)
{
	return s->mem_pressure ? tcp_mem_window_tight(s, t, space) : space;
}
/* sndbuf as it counts now; bytes that a writer may add. */
uint32_t tcp_mem_sndbuf(const struct stack *s, const struct tcb *t);
uint32_t tcp_mem_snd_room(const struct stack *s, const struct tcb *t);
/* Does a writer wait for memory alone? Then no ACK may come to wake it. */
static inline bool tcp_mem_waits(const struct stack *s, const struct tcb *t)
{
	return t->flags & TCB_F_TX_FULL &&
	       (!t->tx_bytes || (s->mem_pressure && t->tx_bytes <= t->sndbuf / 3 * 2));
}
/* Is an orphan with that much to send too expensive? */
bool tcp_mem_orphan_over(const struct stack *s, const struct tcb *t);

/*
 * What can be done without should not take the last chunks: text out of order may be thrown away at
 * any time, a scoreboard helps only.
 */
static inline bool tcp_memory_low(const struct stack *s)
{
	const struct free_list *f = &s->chunk_free;

	return f->size - f->used + f->n_free < f->size / 16;
}

/* tcp_buf.c: all but what the program may still read */
void tcp_buf_release_unread(struct stack *s, struct tcb *t);
void tcp_buf_release_ooo(struct stack *s, struct tcb *t);
/* The out-of-order chunks beyond @seq are given up; they were never acknowledged. */
bool tcp_buf_prune_ooo(struct stack *s, struct tcb *t, uint32_t seq);
/* Bytes of text in order that need no further chunk. */
uint32_t rxq_tail(const struct stack *s, const struct tcb *t); /* its last chunk, SHM_NIL: empty */
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
