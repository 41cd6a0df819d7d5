/* SPDX-License-Identifier: BSD-2-Clause */
/* Numbers of the protocols' headers, integers in network order, errno values. */
#ifndef TANDEM_CORE_WIRE_H
#define TANDEM_CORE_WIRE_H

#include <stdint.h>
#include <string.h>

#define ETH_HLEN_ 14u
#define IP4_HLEN 20u
#define IP4_DF 0x4000u /* beside the fragment's offset */
#define IP6_HLEN 40u
#define TCP_HLEN 20u
#define UDP_HLEN 8u
#define ETHERTYPE_IP4 0x0800u
#define ETHERTYPE_ARP 0x0806u
#define ETHERTYPE_IP6 0x86ddu
#define ECN_MASK 3u /* of the TOS; RFC 3168 §5 */
#define ECN_ECT0 2u
#define ECN_CE 3u
#define PROTO_ICMP 1u
#define PROTO_TCP 6u
#define PROTO_UDP 17u

/* errno values that the core returns or stores, by Linux's numbers; it includes no libc header. */
enum {
	E_NOENT = 2, E_INTR = 4, E_BADF = 9, E_AGAIN = 11, E_NOMEM = 12, E_INVAL = 22, E_NOSPC = 28,
	E_PIPE = 32, E_BADMSG = 74, E_MSGSIZE = 90, E_NOPROTOOPT = 92, E_OPNOTSUPP = 95, E_NONET = 64, E_ADDRINUSE = 98,
	E_ADDRNOTAVAIL = 99, E_NETDOWN = 100, E_NETUNREACH = 101, E_CONNABORTED = 103,
	E_CONNRESET = 104, E_NOBUFS = 105, E_ISCONN = 106, E_NOTCONN = 107, E_TIMEDOUT = 110,
	E_CONNREFUSED = 111, E_HOSTDOWN = 112, E_HOSTUNREACH = 113, E_UCLEAN = 117, E_ACCES = 13, E_PROTO = 71,
};

static inline uint16_t get_be16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, 2);
	return __builtin_bswap16(v);
}

static inline uint32_t get_be32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return __builtin_bswap32(v);
}

static inline void put_be16(void *p, uint16_t v)
{
	v = __builtin_bswap16(v);
	memcpy(p, &v, 2);
}

static inline void put_be32(void *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, 4);
}

#endif
