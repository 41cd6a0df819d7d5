/* SPDX-License-Identifier: BSD-2-Clause */
/* UDP sockets (udp.c). */
#ifndef TANDEM_CORE_UDP_H
#define TANDEM_CORE_UDP_H

#include "byteq.h"
#include "ip.h"

struct udp_sock {
	struct ip_addr local, remote;
	uint16_t lport, rport; /* rport 0: not connected */
	uint32_t hash_next;    /* index + 1; of the table that .rport says */
	bool used, reuseport, v6, recverr, ev_queued;
	uint8_t err; /* positive errno, 0: none */
	uint16_t pmtu; /* what a router said last about the way to .pmtu_to */
	struct ip_addr pmtu_to;
	uint32_t rcvbuf;
	struct byteq rx, errs; /* records, and what is theirs */
	uint32_t ev_mask, ev_next;
	uint64_t cookie;
};

enum drop udp_input(struct stack *s, struct pkt *p, const struct ip_info *ip, struct mtime now);
/* An ICMP error, @p, about a datagram of ours. DROP_NO_SOCKET: not of a socket that is here. */
enum drop udp_icmp(struct stack *s, const struct pkt *p, const struct ip_info *ip,
		   const struct icmp_quote *q, struct mtime now);
bool udp_event_next(struct stack *s, struct stack_ev *ev);

#endif
