/* SPDX-License-Identifier: BSD-2-Clause */
/* Neighbours and ARP (neigh.c, arp.c). */
#ifndef TANDEM_CORE_NEIGH_H
#define TANDEM_CORE_NEIGH_H

#include "neigh_entry.h"
#include "stack.h"

/* Private half of a neighbour entry; the public one is a->neighs[i] (neigh_entry.h). */
struct neigh_priv {
	struct wheel_node timer;
	uint32_t hash_next; /* index + 1 */
	struct pkt *q_head, *q_tail; /* wait for resolution; counted in s->n_pending */
	uint32_t q_len;
	uint8_t probes;
	uint64_t used, confirmed, updated; /* ns */
};

/* Finds or creates the entry. SHM_NIL: table full of entries in use. */
uint32_t neigh_get(struct stack *s, uint16_t netif, const struct ip_addr *a, struct mtime now);
/*
 * Completes the Ethernet header of @p (an IP packet, p->l3_off == 14) towards neighbour @idx and
 * queues it for stack_output(), or lets it wait for resolution (taking the packet over in every
 * case). False: dropped (counted).
 */
bool neigh_send(struct stack *s, uint32_t idx, struct pkt *p, struct mtime now);
/* Fast path: writes the 14 bytes at @eth if the entry is usable and belongs to @addr's next hop. */
bool neigh_fill(struct stack *s, uint32_t idx, uint16_t netif, uint8_t *eth, uint16_t ethertype,
		struct mtime now);
/* Forward progress with this neighbour was seen (RFC 4861 §7.3.1). */
void neigh_confirm(struct stack *s, uint32_t idx, struct mtime now);
/* Nothing comes back from beyond it: is it still there? At most one question a second. */
void neigh_doubt(struct stack *s, uint32_t idx, struct mtime now);
/*
 * @a goes to another stack: its acknowledgements without text that wait for @idx are dropped. They
 * would come behind those of its new owner, who does not wait. True: there were some.
 */
bool neigh_drop_acks(struct stack *s, uint32_t idx, const struct tcp_addr_pair *a);
void neigh_timer(struct stack *s, uint32_t idx, struct mtime now);
enum drop arp_input(struct stack *s, struct pkt *p, struct mtime now);
int neigh_event(struct stack *s, const struct net_event *ev, struct mtime now);
/* Announces an address of ours (gratuitous ARP, RFC 5227 §3). */
void arp_announce(struct stack *s, uint16_t netif, const struct ip_addr *a);
/* Asks who has @target: all, or the one at @mac. @for_pkt (may be NULL): it waits for the answer. */
void arp_solicit(struct stack *s, uint16_t netif, const struct ip_addr *target, const uint8_t *mac,
		 const struct pkt *for_pkt);
/*
 * @mac speaks for @a. @reply: it has answered us, so both directions work. @garp: unasked, of
 * itself. @may_create: also if it is not in the table.
 */
void neigh_heard(struct stack *s, uint16_t netif, const struct ip_addr *a, const uint8_t mac[6],
		 bool reply, bool garp, bool may_create, struct mtime now);
void neigh_link_down(struct stack *s, uint16_t netif, struct mtime now);
/* The header of an Ethernet frame from @netif. */
void eth_header(const struct stack *s, uint16_t netif, uint8_t *eth, const uint8_t dst[6],
		uint16_t type);

#endif
