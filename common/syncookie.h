/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SYN cookies (RFC 4987 §3.6): the state of a half-open connection in our initial sequence number,
 * and in the timestamp where the peer has these. One codec for the XDP program and user space.
 *
 * A cookie is 28 bits of SipHash-2-4 over the pair, the client's ISN and the period's number, then
 * 3 bits of index into a table of MSS, then the number's lowest bit. It is made in one period of
 * SYNCOOKIE_PERIOD_NS and good until the end of the next; each period has a key of its own.
 */
#ifndef TANDEM_COMMON_SYNCOOKIE_H
#define TANDEM_COMMON_SYNCOOKIE_H

#include "addr.h"
#include "siphash.h"

#define SYNCOOKIE_PERIOD_NS (64ull * 1000000000)
#define SYNCOOKIE_VALID_NS (2 * SYNCOOKIE_PERIOD_NS)
#define SYNCOOKIE_N_MSS 8u

/* The keys of this period and the one before, each at key[number & 1]. */
struct syncookie_keys {
	uint64_t period; /* number of the current one */
	uint64_t key[2][2];
};

/* All that makes and checks handshakes: in the map `syncookies`, which is root's. */
struct syncookie_secrets {
	struct syncookie_keys keys;
	uint64_t pair_key[2];
};

/* What a cookie is about. */
struct syncookie_id {
	struct ip_addr remote, local;
	uint16_t remote_port, local_port; /* network order */
	uint32_t irs;			  /* the client's ISN */
};

/* Ascending. The most frequent ones: plain Ethernet, tunnels, PPPoE, jumbo frames, the minimum. */
static inline uint32_t syncookie_mss(bool v4, uint32_t index)
{
	switch (index & (SYNCOOKIE_N_MSS - 1)) {
	case 0:
		return 64;
	case 1:
		return v4 ? 536 : 1220;
	case 2:
		return v4 ? 1220 : 1280;
	case 3:
		return v4 ? 1300 : 1340;
	case 4:
		return 1380;
	case 5:
		return v4 ? 1440 : 1420;
	case 6:
		return v4 ? 1460 : 1440;
	default:
		return v4 ? 8960 : 8940;
	}
}

/* 28 bits. Byte order does not matter, as both sides run on one machine. */
static inline uint32_t syncookie_hash(const uint64_t key[2], uint64_t period,
				      const struct syncookie_id *c)
{
	struct sip s;

	sip_init(&s, key);
	sip_add(&s, (uint64_t)c->remote.w[0] << 32 | c->remote.w[1]);
	sip_add(&s, (uint64_t)c->remote.w[2] << 32 | c->remote.w[3]);
	sip_add(&s, (uint64_t)c->local.w[0] << 32 | c->local.w[1]);
	sip_add(&s, (uint64_t)c->local.w[2] << 32 | c->local.w[3]);
	sip_add(&s, (uint64_t)c->remote_port << 48 | (uint64_t)c->local_port << 32 | c->irs);
	sip_add(&s, period);
	return (uint32_t)sip_end(&s, 48ull << 56) & ~15u;
}

/* Our ISN for the SYN @c of a peer that takes @mss, which is rounded down. */
static inline uint32_t syncookie_make(const struct syncookie_keys *k, const struct syncookie_id *c,
				      uint32_t mss)
{
	bool v4 = ip_addr_is_v4(&c->remote);
	uint32_t bit = k->period & 1, index = SYNCOOKIE_N_MSS - 1;

	while (index && mss < syncookie_mss(v4, index))
		index--;
	return syncookie_hash(k->key[bit], k->period, c) | index << 1 | bit;
}

/* The peer's MSS; 0: @cookie is none of ours for @c, or too old. */
static inline uint32_t syncookie_check(const struct syncookie_keys *k, const struct syncookie_id *c,
				       uint32_t cookie)
{
	uint32_t bit = cookie & 1;
	uint64_t period = k->period - ((k->period ^ bit) & 1);

	if (syncookie_hash(k->key[bit], period, c) != (cookie & ~15u))
		return 0;
	return syncookie_mss(ip_addr_is_v4(&c->remote), cookie >> 1);
}

/* ---- what is no cookie: initial sequence numbers by RFC 6528, timestamp offsets ---- */

/*
 * A hash of the pair: the lower half is added to ISNs, the upper one to timestamps. On a
 * little-endian machine it is that of the bytes local, remote, local port, remote port.
 */
static inline uint64_t syncookie_pair_hash(const uint64_t key[2], const struct ip_addr *local,
					   const struct ip_addr *remote, uint16_t local_port,
					   uint16_t remote_port)
{
	struct sip s;

	sip_init(&s, key);
	sip_add(&s, local->w[0] | (uint64_t)local->w[1] << 32);
	sip_add(&s, local->w[2] | (uint64_t)local->w[3] << 32);
	sip_add(&s, remote->w[0] | (uint64_t)remote->w[1] << 32);
	sip_add(&s, remote->w[2] | (uint64_t)remote->w[3] << 32);
	return sip_end(&s, local_port | (uint32_t)remote_port << 16 | 36ull << 56);
}

/* The clock of ISNs: one step is 4 us (RFC 6528 §3). */
static inline uint32_t syncookie_isn_clock(uint64_t ns)
{
	return (uint32_t)(ns / 4000);
}

/* Was @iss the ISN of this pair, by hash @h, within the last SYNCOOKIE_VALID_NS? */
static inline bool syncookie_isn_recent(uint64_t h, uint32_t iss, uint64_t now)
{
	/* The time may have been read in a batch before, or be as coarse as a tick. */
	uint32_t slack = 25000;

	return syncookie_isn_clock(now) - (iss - (uint32_t)h) + slack <=
	       SYNCOOKIE_VALID_NS / 4000 + 2 * slack;
}

/* ---- options, in the lowest bits of the timestamp of the SYN-ACK, as Linux has them ---- */

#define SYNCOOKIE_TS_BITS 6
#define SYNCOOKIE_TS_WSCALE 15u /* the peer's shift; 15: it does not scale */
#define SYNCOOKIE_TS_SACK 16u
#define SYNCOOKIE_TS_ECN 32u
#define SYNCOOKIE_TS_MASK ((1u << SYNCOOKIE_TS_BITS) - 1)

/* @now with @options in it; never later than @now, so that timestamps do not go back after it. */
static inline uint32_t syncookie_ts(uint32_t now, uint32_t options)
{
	uint32_t ts = (now & ~SYNCOOKIE_TS_MASK) | (options & SYNCOOKIE_TS_MASK);

	return (ts & SYNCOOKIE_TS_MASK) > (now & SYNCOOKIE_TS_MASK) ? ts - (1u << SYNCOOKIE_TS_BITS)
								    : ts;
}

#endif
