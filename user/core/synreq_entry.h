/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A half-open connection, compact: no TCB until the third ACK. An application's stand in its arena, where
 * the daemon finds those of a listener that outlives it.
 */
#ifndef TANDEM_CORE_SYNREQ_ENTRY_H
#define TANDEM_CORE_SYNREQ_ENTRY_H

#include "stack.h"

struct synreq {
	struct tcp_addr_pair a;
	uint32_t listener;
	uint32_t irs, iss;
	uint32_t ts_recent, ts_offset;
	uint16_t mss;	/* peer's */
	uint16_t queue;
	uint8_t opt;	/* TCB_OPT_* */
	uint8_t snd_wscale;
	uint8_t rcv_wscale; /* that the SYN-ACK told, like .wnd */
	uint16_t wnd;
	uint8_t retries;
	uint8_t acked; /* TCP_DEFER_ACCEPT, or the accept queue was full: the third ACK came */
	uint8_t used;
	uint16_t netif;
	uint64_t sent; /* ns, for the first RTT sample; 0: sent again since (Karn) */
	struct wheel_node timer;
	uint32_t hash_next, list_next, list_prev;
	uint32_t neigh, neigh_gen; /* STACK_APP: the next hop on .netif */
};

#endif
