/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A neighbour as the daemon publishes it: the table stands in the daemon's arena,
 * applications read it and take the next hop's MAC from it. One writer.
 */
#ifndef TANDEM_CORE_NEIGH_ENTRY_H
#define TANDEM_CORE_NEIGH_ENTRY_H

#include "common/addr.h"

/* RFC 4861 §7.3.2 names, used for ARP as well (as Linux does). */
enum nud_state {
	NUD_NONE = 0,
	NUD_INCOMPLETE,
	NUD_REACHABLE,
	NUD_STALE,
	NUD_DELAY,
	NUD_PROBE,
	NUD_FAILED,
	NUD_PERMANENT,
	NUD_STATE_MAX,
};

struct neigh {
	struct ip_addr addr;
	/*
	 * MAC and state in one word, so that a reader never sees half a change:
	 * state << 48 | mac[0] << 40 … | mac[5].
	 */
	uint64_t mac_state;
	uint16_t netif;
	uint16_t pad;
	uint32_t generation; /* counts the uses of this index */
};
_Static_assert(sizeof(struct neigh) == 32, "two to a cache line");

static inline enum nud_state neigh_state_of(uint64_t mac_state)
{
	return (enum nud_state)(mac_state >> 48);
}

/* States in which packets may be sent to the MAC. */
static inline bool nud_usable(enum nud_state s)
{
	const uint32_t usable = 1u << NUD_REACHABLE | 1u << NUD_STALE | 1u << NUD_DELAY |
				1u << NUD_PROBE | 1u << NUD_PERMANENT;

	return (uint32_t)s < NUD_STATE_MAX && usable >> s & 1;
}

static inline void neigh_mac_of(uint64_t mac_state, uint8_t mac[6])
{
	uint64_t be = __builtin_bswap64(mac_state << 16);

#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
	be = mac_state << 16;
#endif
	__builtin_memcpy(mac, &be, 6);
}

#endif
