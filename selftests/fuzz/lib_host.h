/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A stack for fuzz targets: small pools on the heap (each buffer a block of its own, for ASan),
 * virtual time, and a way back to a saved moment that costs a memcpy. The peers' bytes, and those
 * that we send, follow from their sequence numbers and are compared wherever they come out.
 */
#ifndef TANDEM_FUZZ_LIB_HOST_H
#define TANDEM_FUZZ_LIB_HOST_H

#include "fz.h"
#include "user/core/tcp.h"

#define FZ_TCBS 24u
#define FZ_CHUNKS 64u
#define FZ_NEIGHS 8u
#define FZ_PKTS 24u
#define FZ_ROOM 1700u
#define FZ_FRAME_MAX 9100u

#define FZ_OUR_IP 0x0a000001u /* /24 */
#define FZ_PEER_IP 0x0a000002u
#define FZ_GW_IP 0x0a0000feu
#define FZ_FAR_IP 0xc0000201u
#define FZ_OUR_PORT 80u

struct fz_region {
	void *at;
	void *copy;
	size_t len;
};

struct fz_host {
	struct stack *s;
	struct mtime now;
	struct arena_view a;
	struct pkt_pool pool;
	struct pkt pkts[FZ_PKTS];
	struct pkt_pool away; /* packets that were taken out of the pool */
	uint32_t listener;    /* SHM_NIL: none */
	bool tainted;	      /* bytes that are no pattern may have come in */
	void *mem;
	size_t mem_len;
	struct fz_region regions[8];
	struct mtime saved_now;
	uint32_t saved_listener;
};

struct stack_cfg fz_cfg(enum stack_role role);
/* @daemon: whose table of neighbours a STACK_APP reads; NULL for a STACK_FULL. */
void fz_host_open(struct fz_host *h, const struct stack_cfg *cfg, const struct fz_host *daemon);
void fz_host_save(struct fz_host *h);
void fz_host_restore(struct fz_host *h);
void fz_check(const struct fz_host *h);

struct ip_addr fz_ip(uint32_t host_order);
extern const uint8_t fz_our_mac[6], fz_peer_mac[6];
int fz_event(struct fz_host *h, enum net_event_kind kind, uint32_t addr, uint8_t plen, uint32_t gw);

/* ---- frames ---- */

struct fz_ip_hdr {
	uint32_t src, dst; /* host order */
	uint8_t proto, ttl, tos;
	uint16_t id, frag; /* with flags */
	const uint8_t *opts;
	uint32_t opt_len;  /* a multiple of 4 */
	int32_t len_delta; /* added to the total length that the header tells */
};
/* Ethernet and IP header in front of @len bytes that stand at @b + the return value. */
uint32_t fz_hdr_len(const struct fz_ip_hdr *h);
/* Writes these headers; returns the length of the frame. */
uint32_t fz_ip_frame(uint8_t *b, const struct fz_ip_hdr *h, uint32_t len);
/* Puts the right checksum at @off of a transport of @len bytes at @l4. */
void fz_l4_csum(uint8_t *l4, uint32_t len, uint32_t off, const struct fz_ip_hdr *h);

/* A segment as the peer sends it; numbers are absolute. */
struct fz_seg {
	struct tcp_addr_pair a; /* as the stack sees it */
	uint32_t seq, ack, len;
	uint16_t wnd, up;
	uint8_t flags;
	const uint8_t *opts;
	uint32_t opt_len; /* at most 40, is filled up with end-of-list */
};
/* Without checksum. */
uint32_t fz_build_seg(uint8_t *b, const struct fz_seg *g);
void fz_seg_csum(uint8_t *b, uint32_t len, const struct fz_seg *g);
uint8_t fz_pattern(uint32_t seq);

/* Gives a frame in @pieces pieces of about the same size, each in memory of its own. */
enum drop fz_input(struct fz_host *h, const uint8_t *b, uint32_t len, uint32_t pieces,
		   enum pkt_csum csum, uint32_t conn, uint32_t generation);
enum drop fz_seg_input(struct fz_host *h, const struct fz_seg *g);

/* Takes the next packet out and checks it. NULL: there is none. What it returns is valid until the
 * next call. */
struct fz_out {
	uint8_t b[66000];
	uint32_t len;
	bool tcp;
	struct tcp_addr_pair a; /* as the stack sees it */
	uint32_t seq, ack;
	uint8_t flags;
};
const struct fz_out *fz_output(struct fz_host *h);
/* All of it. */
void fz_drain(struct fz_host *h);

/* Lets time pass, stepping from deadline to deadline (at most @steps), draining output if @drain.
 */
void fz_advance(struct fz_host *h, uint64_t ms, uint32_t steps, bool drain);

/* Ends all there is and checks that nothing is left. */
void fz_host_end(struct fz_host *h);

/* ---- conversations ---- */

/* What a well-behaved peer offers in its SYN. */
struct fz_offer {
	bool ts, wscale, sack;
};
/* Opens a connection from @port to the listener; it stands in the accept queue, or SHM_NIL. */
void fz_open_passive(struct fz_host *h, uint16_t port, struct fz_offer o);
uint32_t fz_accept(struct fz_host *h);
/* Opens one to the peer's @port. Unless @answer, it stays in SYN_SENT. */
uint32_t fz_open_active(struct fz_host *h, uint16_t port, bool answer);
/* A SYN only: a half-open request. */
void fz_open_half(struct fz_host *h, uint16_t port);
/* The program writes @n pattern bytes. */
int64_t fz_send(struct fz_host *h, uint32_t conn, uint32_t n, unsigned flags);
/* Reads up to @n, compares. */
int64_t fz_recv(struct fz_host *h, uint32_t conn, uint32_t n, unsigned flags);
/* The peer sends @len bytes in order, @gap bytes further on. */
void fz_peer_data(struct fz_host *h, uint32_t conn, uint32_t gap, uint32_t len, uint8_t flags);

/* ---- operations that the input describes (lib_ops.c) ---- */

/* One of them on @h. @other: where a hand-over goes; may be NULL. */
void fz_op(struct fz_host *h, struct fz_host *other, struct fz *f);
/*
 * With FUZZ_STATES set: prints which states have met which kinds of segments, and ends the program
 * with an error if a pair is missing.
 */
void fz_states_report(void);

#endif
