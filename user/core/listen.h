/* SPDX-License-Identifier: BSD-2-Clause */
/* Listeners, half-open connections and those in TIME_WAIT. */
#ifndef TANDEM_CORE_LISTEN_H
#define TANDEM_CORE_LISTEN_H

#include "synreq_entry.h"
#include "tcp_seg.h"
#include "timewait_entry.h"

/* tcp_listen.c: listeners, SYN queue, accept queue */
struct listener {
	struct ip_addr addr; /* any: all */
	uint16_t port;
	bool used;
	bool any;
	uint32_t backlog;
	uint32_t hash_next;
	uint32_t aq_head, aq_tail, aq_len;
	uint32_t outside;  /* tcp_listen_outside() */
	uint32_t syn_len;  /* half-open requests */
	uint32_t syn_head; /* list of them */
	uint64_t cookie_sent; /* ns, the last SYN cookie; 0: none */
	bool cookie_watch;    /* tell of the next one: EV_COOKIES */
	bool ev_cookies;      /* .ev_queued for that */
	bool quiet;	      /* tcp_listen_quiet() */
	bool keeps;	      /* tcp_listen_keeps_timewaits() */
	bool in_app;	      /* tcp_listen_in_app() */
	uint64_t cookie;
	uint16_t user_mss, sockopt;
	uint32_t defer_accept; /* s */
	uint32_t fastopen, fo_len; /* TCP_FASTOPEN, and how many there are */
	struct fo_keys fo_keys;	   /* of its own; .n 0: the stack's */
	uint8_t ttl, tos;
	uint8_t cc; /* index + 1; 0: default */
	bool ev_queued;
	uint32_t ev_next;
	uint32_t rcvbuf, sndbuf; /* 0: default */
	uint16_t keep_idle, keep_intvl;
	uint8_t keep_cnt;
	uint8_t linger2;
	uint16_t linger;
	uint32_t rcvlowat;
	uint32_t user_timeout;
	uint32_t max_pacing;
};

/* NULL: there is none of that number. */
struct listener *listener_at(const struct stack *s, uint32_t id);
/* tcp_opt.c: is @value in the option's range (for both)? Clamps where Linux does. */
int tcp_opt_check(const struct stack *s, enum tcp_opt opt, int64_t *value);
uint32_t listener_lookup(const struct stack *s, const struct ip_addr *a, uint16_t port);
/* SYN for a listener, or a segment that may belong to one of its requests. */
enum drop listen_input(struct stack *s, uint32_t listener, struct tcp_seg *g, struct mtime now);
/* The request of this pair; SHM_NIL. */
uint32_t synreq_lookup(const struct stack *s, const struct tcp_addr_pair *a);
enum drop synreq_input(struct stack *s, uint32_t req, struct tcp_seg *g, struct mtime now);
void synreq_timer(struct stack *s, uint32_t req, struct mtime now);
/* A connection on an accept queue ends before accept(): take it off. */
void accept_queue_remove(struct stack *s, struct tcb *t);
/* Linux's rule: full means more than min(backlog, somaxconn). */
bool accept_queue_full(const struct stack *s, const struct listener *l);
/* One EV_ACCEPT, or EV_COOKIES where .ev_cookies says so, unless it waits to be taken already. */
void listener_event(struct stack *s, uint32_t listener);
void accept_queue_add(struct stack *s, uint32_t listener, struct tcb *t);
/* synreq.c: forgets a request without a word to the peer. */
void synreq_drop(struct stack *s, uint32_t req);

/* syncookie.c: half-open connections that are remembered by the peer */
uint32_t cookie_isn(struct stack *s, const struct tcp_seg *syn, struct mtime now);
/* Our timestamp @ts, with what the SYN's options @o say beyond the MSS. */
uint32_t cookie_ts(uint32_t ts, const struct tcp_options *o, bool ecn);
/* The SYN again to which the third @ack belongs. False: there is no valid cookie in it. */
bool cookie_syn(struct stack *s, const struct tcp_seg *ack, struct tcp_seg *syn, struct mtime now);
/* Does @g return a cookie of the listener that covers its destination? */
bool cookie_returned(struct stack *s, const struct tcp_seg *g, struct mtime now);
uint8_t listener_cc(const struct stack *s, const struct listener *l);
uint32_t syn_queue_max(const struct stack *s, const struct listener *l);

/* tcp_fastopen.c (RFC 7413) */
#define FO_CACHE 1024u
/* What is known of a server. */
struct fo_entry {
	struct ip_addr addr;
	uint8_t cookie[FO_COOKIE_MAX];
	uint32_t used, failed; /* s of the stack's clock */
	uint16_t mss;
	uint8_t len; /* of the cookie, 0: none */
	uint8_t fails; /* SYNs in a row that had to be repeated */
	bool exp;
};
/*
 * A SYN for a listener: is it to be opened at once? *@reply may hold what the SYN-ACK's option is to
 * say, also if it is: a cookie of the key that makes cookies now.
 */
bool fastopen_syn(struct stack *s, const struct listener *l, const struct tcp_seg *g,
		  struct tcp_options *reply);
/* Our SYN: fills in the option; returns how many bytes of text go along. */
uint32_t fastopen_syn_out(struct stack *s, const struct tcb *t, struct tcp_options *o,
			  struct mtime now);
/* Our SYN-ACK of a connection with TCB_OPT_FASTOPEN: fills in the option. */
void fastopen_synack_out(const struct stack *s, const struct tcb *t, struct tcp_options *o);
/* Our SYN has to be sent again. */
void fastopen_syn_lost(struct stack *s, const struct tcb *t, struct mtime now);
/* The answer to our SYN; takes what it acknowledges off the send queue. */
void fastopen_synack(struct stack *s, struct tcb *t, const struct tcp_seg *g, struct mtime now);

/*
 * tcp_timewait.c: compact records (timewait_entry.h). While a program still holds the socket, the
 * connection stays a TCB in state TIME_WAIT (in an application's stack always, but for connections
 * that nobody else knows of); timewait_enter() is for orphans, in that state or in FIN-WAIT-2.
 */
uint32_t timewait_lookup(const struct stack *s, const struct tcp_addr_pair *a);
/* Turns @t into a record and frees it; where there is no room it is just freed (counted). */
void timewait_enter(struct stack *s, struct tcb *t, struct mtime now);
/* DROP_BAD_STATE: a SYN that may reuse the pair, which is now free; any other: dealt with. */
enum drop timewait_input(struct stack *s, uint32_t tw, struct tcp_seg *g, struct mtime now);
void timewait_timer(struct stack *s, uint32_t tw, struct mtime now);
void timewait_free(struct stack *s, uint32_t tw);

#endif
