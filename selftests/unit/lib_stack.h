/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A stack to test, on malloc'ed memory and virtual time, and packets to give it: a spec says what
 * matters, the builder fills in lengths and checksums. In the form "at t receive X, expect Y":
 *
 *	ts_open(&t, NULL);
 *	ts_advance(&t, 1000);
 *	assert_int_equal(ts_rx(&t, &(struct spec){ICMP_PKT, .type = 8, .data = "x", .len = 1}), DROP_NONE);
 *	ts_expect(&t, &o);
 *
 * Every step ends with stack_check(). What the stack sends has its checksums checked here.
 */
#ifndef TANDEM_UNIT_LIB_STACK_H
#define TANDEM_UNIT_LIB_STACK_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <cmocka.h>
#include "user/core/tcp.h"

#define TS_PKTS 512u
#define TS_ROOM 3840u

/* The stack's network: we are 10.0.0.1/24 on netif 0, the peer .2, the gateway .254; MTU 1500. */
#define OUR_IP "10.0.0.1"
#define PEER_IP "10.0.0.2"
#define GW_IP "10.0.0.254"
#define FAR_IP "192.0.2.1"
extern const uint8_t our_mac[6], peer_mac[6], gw_mac[6], bcast_mac[6];

struct tstack {
	struct stack *s;
	struct mtime now;
	struct arena_view a;
	bool injected, yours; /* what is received from here on */
	struct pkt_pool pool;
	struct pkt pkts[TS_PKTS];
	uint8_t *bufs;
	void *mem;
};

/* A full stack with small pools; what tests vary they change and give to ts_open(). */
struct stack_cfg ts_cfg(void);
/* @cfg NULL: ts_cfg(). With the network above; its announcements are taken away. */
void ts_open(struct tstack *t, const struct stack_cfg *cfg);
/* The same without any interface. */
void ts_open_bare(struct tstack *t, const struct stack_cfg *cfg);
/* Every packet must have come back to the pool. */
void ts_close(struct tstack *t);
/* Lets @ms pass, ticking at each deadline on the way. */
void ts_advance(struct tstack *t, uint64_t ms);
void ts_check(const struct tstack *t);
uint64_t ts_mib(const struct tstack *t, enum mib m);
int ts_event(struct tstack *t, struct net_event ev);
/* @a with /@plen, for events; NULL: any. */
struct ip_addr ip(const char *a);
/* Makes @mac known as @a's, for as long as no time passes. */
void ts_neigh(struct tstack *t, const char *a, const uint8_t mac[6]);

/* ---- packets ---- */

/* First member of a spec: what kind of packet. */
#define IP_PKT .kind = 0
#define ICMP_PKT .kind = PROTO_ICMP
#define UDP_PKT .kind = PROTO_UDP
#define TCP_PKT .kind = PROTO_TCP

struct spec {
	uint8_t kind;
	const uint8_t *smac, *dmac; /* NULL: the peer's, ours */
	int vlan;		    /* a tag with this TCI where .tagged */
	bool tagged;
	const char *src, *dst; /* NULL: the peer, us */
	uint8_t proto;	       /* IP_PKT only */
	uint8_t ttl;	       /* 0: 64 */
	bool ttl_zero;
	uint8_t tos;
	uint16_t id;
	uint32_t frag_off; /* bytes; of the transport (with its checksum) only from here … */
	uint32_t frag_len; /* … so many bytes are sent as a fragment; 0: no fragment */
	bool df;
	const void *opts;
	uint32_t opt_len;
	uint16_t sport, dport; /* host order */
	uint32_t seq, ack;
	uint16_t wnd;
	uint8_t flags;
	uint8_t type, code;
	uint32_t rest;
	const void *data; /* NULL: zeroes */
	uint32_t len;
	uint8_t tcp_opts; /* so many bytes of .data are TCP's options */
	bool bad_ip_csum, bad_csum, partial_csum;
};

/* Builds the frame at @b (70,000 bytes), returns its length. */
uint32_t ts_build(uint8_t *b, const struct spec *x);
/* The same from the IP header on: what an ICMP error quotes. */
uint32_t ts_build_ip(uint8_t *b, const struct spec *x);
enum drop ts_rx(struct tstack *t, const struct spec *x);
/* A frame given in pieces: the first @split bytes, then @step bytes each (0: the rest). */
enum drop ts_rx_raw(struct tstack *t, const uint8_t *b, uint32_t len, uint32_t split,
		    uint32_t step, enum pkt_csum csum);
/* ARP: @op 1 asks, 2 answers. @dmac NULL: broadcast. */
enum drop ts_rx_arp(struct tstack *t, uint16_t op, const uint8_t *sha, const char *sip,
		    const char *tip, const uint8_t *dmac);

/* A packet that the stack has sent, taken apart. */
struct out {
	uint8_t b[70000];
	uint32_t len;
	uint16_t ethertype, netif, queue;
	const uint8_t *dmac, *smac, *ip, *l4; /* in .b */
	struct ip_addr src, dst;
	uint8_t proto, ttl, tos;
	uint16_t id, frag; /* host order, with flags */
	uint32_t l4_len;
	/* ARP */
	uint16_t op;
	struct ip_addr sip, tip;
};
/* The next packet; false: there is none. */
bool ts_tx(struct tstack *t, struct out *o);
void ts_expect(struct tstack *t, struct out *o);
void ts_expect_none(struct tstack *t);
/* An ARP request for @tip must be next, to @dmac. */
void ts_expect_arp(struct tstack *t, const char *tip, const uint8_t *dmac);
void assert_ip(struct ip_addr a, const char *want);

#endif
