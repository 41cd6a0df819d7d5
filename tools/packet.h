/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whole frames from and to one interface, and seeded randomness, for tools/impair, tools/flood and
 * tools/crowd.
 */
#ifndef TANDEM_TOOLS_PACKET_H
#define TANDEM_TOOLS_PACKET_H

#include <stdint.h>

#define PACKET_FRAME_MAX (65536u + 64) /* a super-frame with its link header */

enum packet_sees { SEES_NOTHING, SEES_ARRIVING, SEES_ALL };

/*
 * A packet socket on @ifname, non-blocking, each frame behind a struct virtio_net_hdr. What one of
 * them sends no other sees. Ends the program where there is none.
 */
int packet_open(const char *ifname, enum packet_sees sees);

/*
 * Ends @program on all but a veth in a network namespace of a test: never on a device that could lead
 * out. Else @own_mac is @ifname's.
 */
void packet_refuse_real_networks(const char *program, int fd, const char *ifname,
				 uint8_t own_mac[6]);
/* Or ends the program with a message that names @option. */
void packet_parse_mac(const char *option, const char *text, uint8_t mac[6]);

/* Sequence of splitmix64: the same seed gives the same numbers. */
struct rng {
	uint64_t state;
};

static inline uint64_t rng_next(struct rng *r)
{
	uint64_t z = (r->state += 0x9e3779b97f4a7c15ull);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
	return z ^ (z >> 31);
}

/* True in a share of @p of all calls. */
static inline int rng_chance(struct rng *r, double p)
{
	return (double)(rng_next(r) >> 11) * 0x1p-53 < p;
}

#endif
