// SPDX-License-Identifier: BSD-2-Clause
/*
 * xdp_mib.h. The order is the kernel's: ip_rcv() counts a packet in, and what is wrong with its
 * header; then it is delivered, and counted by its protocol. What the deny list holds back the
 * kernel would not have seen, either: a firewall's drops are nowhere in its MIB.
 */
#include "xdp_mib.h"

#define IP_IN MIB_Ip_InReceives
#define IP_DELIVERED IP_IN, MIB_Ip_InDelivers

static const struct {
	enum xdp_reason reason;
	int16_t mib[8]; /* ends at -1 */
} counted[] = {
#define R(reason, ...)                                                                             \
	{                                                                                          \
		XR_##reason,                                                                       \
		{                                                                                  \
			__VA_ARGS__, -1                                                            \
		}                                                                                  \
	}
	R(ECHO_REPLY, IP_DELIVERED, MIB_Icmp_InMsgs, MIB_Icmp_InEchos, MIB_Icmp_OutMsgs,
	  MIB_Icmp_OutEchoReps, MIB_Ip_OutRequests),
	R(SYN_COOKIE, IP_DELIVERED, MIB_Tcp_InSegs, MIB_TcpExt_SyncookiesSent, MIB_Tcp_OutSegs,
	  MIB_Ip_OutRequests),
	R(DROP_COOKIE, IP_DELIVERED, MIB_Tcp_InSegs, MIB_TcpExt_SyncookiesFailed),
	R(DROP_COOKIE_SYN, IP_DELIVERED, MIB_Tcp_InSegs),
	R(DROP_IP_HEADER, IP_IN, MIB_Ip_InHdrErrors),
	R(DROP_IP_CUT, IP_IN, MIB_IpExt_InTruncatedPkts),
	R(DROP_IP_CSUM, IP_IN, MIB_Ip_InHdrErrors, MIB_IpExt_InCsumErrors),
	R(DROP_ICMP_CUT, IP_DELIVERED, MIB_Icmp_InMsgs, MIB_Icmp_InErrors),
	R(DROP_ICMP_CSUM, IP_DELIVERED, MIB_Icmp_InMsgs, MIB_Icmp_InErrors, MIB_Icmp_InCsumErrors),
	R(DROP_TCP_HEADER, IP_DELIVERED, MIB_Tcp_InSegs, MIB_Tcp_InErrs),
	R(DROP_TCP_CUT, IP_DELIVERED, MIB_Tcp_InSegs), /* no error: tcp_v4_rcv() */
	R(DROP_UDP_HEADER, IP_DELIVERED, MIB_Udp_InErrors),
#undef R
};

uint64_t xdp_mib(const uint64_t xdp[XR_MAX], int m)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < sizeof(counted) / sizeof(counted[0]); i++)
		for (const int16_t *c = counted[i].mib; *c >= 0; c++)
			if (*c == m)
				n += xdp[counted[i].reason];
	return n;
}
