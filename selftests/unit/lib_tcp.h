/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One TCP conversation with the stack under test: the test is the peer. Sequence numbers are
 * relative as in a packet trace: 0 is the SYN, 1 the first byte, in both directions.
 *
 *	tc_accept(&c, NULL);
 *	tc_rx(&c, &(struct seg){.flags = TH_ACK, .seq = 1, .ack = 1, .len = 100});
 *	tc_tx(&c, &(struct seg){.flags = TH_ACK, .seq = 1, .ack = 101});
 *
 * Text is a pattern that follows from the sequence number, and is compared wherever it arrives.
 */
#ifndef TANDEM_UNIT_LIB_TCP_H
#define TANDEM_UNIT_LIB_TCP_H

#include "lib_stack.h"
#include "user/core/tcp.h"

#define PEER_PORT 4000u
#define OUR_PORT 80u
#define PEER_ISS 0xfffffc00u /* numbers wrap after 1 KB */
#define PEER_MSS 1460u
#define ANY_WND 0xffffffffu

struct seg {
	uint8_t flags;
	uint32_t seq, ack, len;
	uint32_t wnd;	 /* as in the header; 0: c->wnd in, not compared out; ZERO_WND: 0 */
	bool no_ts;	 /* in: without the timestamp that was agreed on */
	uint32_t ts_val; /* in: instead of c->ts_val; out: not compared */
	uint32_t ts_ecr; /* in: instead of what we were last told */
	struct {
		uint32_t start, end;
	} sack[3];   /* in: blocks, the first empty one ends them */
	bool late;   /* in: with the ts_val given even if it is 0 */
	uint16_t up; /* urgent pointer; out: compared with TH_URG */
	uint8_t tos; /* in */
};
#define ZERO_WND 0xfffffffeu

struct conv {
	struct tstack t;
	uint32_t conn;
	uint32_t listener;
	uint32_t iss; /* the stack's */
	uint16_t lport, rport;
	/* what the peer offers; to be set before tc_accept(), tc_connect() */
	bool ts, sack;
	uint8_t wscale;	       /* 0: not offered, else shift + 1 */
	struct tcp_options fo; /* .fo…: in our SYN or SYN-ACK */
	uint16_t mss;
	uint16_t wnd;
	/* timestamps as they stand */
	uint32_t ts_val, ts_ecr;
	/* the segment that tc_tx() saw last */
	struct out o;
	struct tcp_options opt;
	struct seg last;
};

/* A stack, and the peer's MAC known. @cfg NULL: ts_cfg(). */
void tc_open(struct conv *c, const struct stack_cfg *cfg);
void tc_close(struct conv *c);
/* A listener at OUR_PORT of any address, after tc_open(). */
void tc_listen(struct conv *c, uint32_t backlog);
/* tc_open(), a listener, and a connection accepted from it. */
void tc_accept(struct conv *c, const struct stack_cfg *cfg);
/* tc_open() and a connection opened by us; the SYN-ACK takes @rtt_ms. */
void tc_connect(struct conv *c, const struct stack_cfg *cfg, uint64_t rtt_ms);
/* Only the SYN has been sent, and taken. */
void tc_connect_syn(struct conv *c, const struct stack_cfg *cfg);

enum drop tc_rx(struct conv *c, const struct seg *g);
/* The next packet must be this segment; flags, numbers, length and text are compared. */
void tc_tx(struct conv *c, const struct seg *g);
/* Takes the next segment apart, into c->last and c->opt. False: there is none. */
bool tc_take(struct conv *c);
void tc_tx_none(struct conv *c);
/* Takes all there is to send; returns how many segments with text these were. */
uint32_t tc_tx_all(struct conv *c);

struct tcb *tc_tcb(struct conv *c);
struct stack_usage tc_usage(struct conv *c);
void tc_state(struct conv *c, enum tcp_state st);
/* tcp_send() of the pattern; all @n must be taken. */
void tc_send(struct conv *c, uint32_t n);
/* tcp_recv() of exactly @n bytes, compared. */
void tc_recv(struct conv *c, uint32_t n);
/* EV_* reported for the connection since the last call. */
uint32_t tc_events(struct conv *c);

/* Shorthands for what most tests say. */
#define RX(c, ...) tc_rx((c), &(struct seg){__VA_ARGS__})
#define TX(c, ...) tc_tx((c), &(struct seg){__VA_ARGS__})

#endif
