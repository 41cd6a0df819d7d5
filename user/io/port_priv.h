/* SPDX-License-Identifier: BSD-2-Clause */
/* Shared by port_rx.c and port_tx.c. */
#ifndef TANDEM_IO_PORT_PRIV_H
#define TANDEM_IO_PORT_PRIV_H

#include "port.h"

#define PORT_BATCH 64u /* descriptors taken from, or given to, a ring at a time */
#define PORT_PKTS 64u  /* packets that the stack can build before the first is sent */
#define PORT_CACHE_LOW 64u
#define PORT_CACHE_HIGH 512u
#define PORT_CACHE_SCARCE 128u /* the same when less than half of the memory is in the pool */

/* A packet of which not all descriptors have arrived. */
struct port_part {
	struct pkt pk;
	bool bad; /* drop it when it is complete */
};

struct port {
	struct port_cfg cfg;
	uint32_t n_queues;		 /* of all interfaces */
	uint32_t first[TD_MAX_NETIFS];	 /* an interface's queue 0 */
	uint8_t netif_of[TD_MAX_QUEUES]; /* a queue's interface */
	struct frame_cache cache;
	struct port_part *parts; /* [n_queues] */
	struct pkt *pkts;	 /* [PORT_PKTS] */
	struct pkt_pool pool;
	struct pkt *bare; /* packets for which there was no frame */
	struct pkt *kept; /* taken from the stack, not sent yet */
	uint32_t held;	  /* frames in parts */
	uint32_t next_queue;
	uint32_t unbalanced; /* packets sent since the rings were looked at for that */
	uint64_t *kicks; /* port_kick_later() */
	bool cut; /* what is to be sent is thrown away */
	port_filter_fn filter;
	void *filter_ctx;
	uint8_t *flat; /* port_confine(): what goes to a packet socket in one piece */
	struct port_stats stats;
};

/* The queue to send @pk on, among all. */
static inline uint32_t port_queue(const struct port *p, const struct pkt *pk)
{
	uint32_t i = pk->netif < p->cfg.n_ifs ? pk->netif : 0;

	return p->first[i] + pk->queue % p->cfg.ifs[i].n_queues;
}

/* Balances @q's rings with our cache, if that is worth the lock (or @force). */
void port_balance(struct port *p, uint32_t q, bool force);
/* Gives frames to packets that have none, so that the stack can use them. */
void port_fill_pool(struct port *p);

static inline void port_recycle(struct port *p, uint32_t frame)
{
	p->cache.frame[p->cache.n++] = frame;
}

#endif
