/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is left of a connection in TIME_WAIT, or in FIN-WAIT-2 without a program. An application's
 * stand in its arena, where the daemon finds them after its end.
 */
#ifndef TANDEM_CORE_TIMEWAIT_ENTRY_H
#define TANDEM_CORE_TIMEWAIT_ENTRY_H

#include "stack.h"

struct timewait {
	struct tcp_addr_pair a;
	uint32_t snd_nxt, rcv_nxt;
	uint32_t ts_recent;
	struct wheel_node timer;
	uint32_t hash_next : 27; /* index + 1, 0: last */
	uint32_t fin_wait2 : 1;	 /* the peer has not sent its FIN yet */
	uint32_t has_ts : 1;	 /* timestamps are on; our offset is tcp_ts_offset(), or */
	uint32_t born_app : 1;	 /* tcp_ts_offset_app() */
	uint32_t used : 1;
};
_Static_assert(sizeof(struct timewait) <= 64, "FEATURES T10");

#endif
