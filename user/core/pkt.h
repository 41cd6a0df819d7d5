/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A packet on its way in or out of the core, and the pool that the core takes
 * packets from. Memory belongs to the I/O layer (UMEM frames, or plain buffers
 * in tests): the core reads and writes bytes and never frees frames.
 *
 * Inbound: the I/O layer fills in data, frags and the metadata, calls
 * stack_input(), and takes the packet back as soon as that returns: the core
 * copies what it keeps (received data into chunks; packets that wait for
 * reassembly into chunks, too).
 *
 * Outbound: stack_output() returns a packet from the pool, complete from the
 * Ethernet header on. The I/O layer sends it and returns it with pkt_free().
 */
#ifndef TANDEM_CORE_PKT_H
#define TANDEM_CORE_PKT_H

#include <stdint.h>
#include <stddef.h>
#include "common/flow.h"

#define PKT_MAX_FRAGS 18 /* MAX_SKB_FRAGS + 1: the most that AF_XDP delivers or takes */

struct pkt_frag {
	uint8_t *p;
	uint32_t len;
	uint32_t frame; /* I/O layer's: which UMEM frame it stands in; SHM_NIL: in a chunk */
};

enum pkt_csum {
	PKT_CSUM_VERIFY = 0, /* in: check it. out: it is complete */
	PKT_CSUM_PARTIAL,    /* the field holds the pseudo-header's sum. in: only accept that OR a
				right sum. out: the I/O layer has to complete it (csum_start/off) */
	PKT_CSUM_GOOD,	     /* in: known to be right */
};

struct pkt {
	/*
	 * The first fragment holds all headers; len is the sum of all. frag[0].p
	 * points at the Ethernet header.
	 */
	struct pkt_frag frag[PKT_MAX_FRAGS];
	uint32_t nfrags;
	uint32_t len;

	uint16_t netif; /* index of the interface in the stack */
	uint16_t queue; /* in: the queue it came on. out: the one to use */
	uint8_t csum;	/* enum pkt_csum. Inbound on veth and lo: PKT_CSUM_PARTIAL */
	uint8_t reason; /* enum xdp_reason, from the metadata */
	uint16_t l3_off;
	uint16_t l4_off;
	uint16_t csum_start; /* out, PARTIAL: offset of the transport header */
	uint16_t csum_off;   /* out, PARTIAL: offset of the checksum field from csum_start */
	uint16_t gso_size;   /* out: payload bytes of each segment, 0: a single one */
	uint32_t conn;	     /* in: TCB index by the XDP flow entry, TD_NO_CONN: look it up */
	uint32_t generation;
	uint16_t hdr_len; /* out: all headers, Ethernet included */
	uint16_t room;	  /* bytes that fit from frag[0].p, set by the pool's owner */
	uint8_t injected; /* in: how often a stack of this host has passed it on; 2: or more */
	bool yours;	  /* in, of such a SYN: it begins something that nobody else knows of */

	struct pkt *next; /* of the list that it is in */
};

/*
 * Where the core takes packets to send from. The I/O layer keeps it filled
 * between batches: each has nfrags = 1, frag[0].p with .room bytes behind it.
 * Empty: the core keeps its work and goes on at the next stack_output().
 */
struct pkt_pool {
	struct pkt *free;
	uint32_t n;
};

static inline struct pkt *pkt_alloc(struct pkt_pool *pool)
{
	struct pkt *p = pool->free;

	if (!p)
		return NULL;
	pool->free = p->next;
	pool->n--;
	p->next = NULL;
	p->nfrags = 1;
	p->len = 0;
	p->netif = 0;
	p->queue = 0;
	p->csum = PKT_CSUM_VERIFY;
	p->gso_size = 0;
	p->conn = TD_NO_CONN;
	return p;
}

static inline void pkt_free(struct pkt_pool *pool, struct pkt *p)
{
	p->next = pool->free;
	pool->free = p;
	pool->n++;
}

#endif
