// SPDX-License-Identifier: BSD-2-Clause
/*
 * xdp_mib.h. The order is the kernel's: ip_rcv() counts a packet in (xdp_reason_is_ip()), and what
 * is wrong with its header; then it is delivered, and counted by its protocol.
 */
#include "xdp_mib.h"

#define IP_DELIVERED MIB_Ip_InDelivers

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
	R(DROP_IP_HEADER, MIB_Ip_InHdrErrors),
	R(DROP_IP_CUT, MIB_IpExt_InTruncatedPkts),
	R(DROP_IP_CSUM, MIB_Ip_InHdrErrors, MIB_IpExt_InCsumErrors),
	R(DROP_ICMP_CUT, IP_DELIVERED, MIB_Icmp_InMsgs, MIB_Icmp_InErrors),
	R(DROP_ICMP_CSUM, IP_DELIVERED, MIB_Icmp_InMsgs, MIB_Icmp_InErrors, MIB_Icmp_InCsumErrors),
	R(DROP_TCP_HEADER, IP_DELIVERED, MIB_Tcp_InSegs, MIB_Tcp_InErrs),
	R(DROP_TCP_CUT, IP_DELIVERED, MIB_Tcp_InSegs), /* no error: tcp_v4_rcv() */
	R(DROP_UDP_HEADER, IP_DELIVERED, MIB_Udp_InErrors),
#undef R
};

_Static_assert(MIB_IpExt_OutOctets - MIB_IpExt_InOctets == XI_OUT_OCTETS - XI_IN_OCTETS &&
		       MIB_IpExt_InNoECTPkts - MIB_IpExt_InOctets == XI_NOECT - XI_IN_OCTETS &&
		       MIB_IpExt_InCEPkts - MIB_IpExt_InOctets == XI_CE - XI_IN_OCTETS,
	       "in one order");

static uint64_t received(const uint64_t xdp[XS_MAX])
{
	uint64_t n = 0;

	for (int r = 0; r < XR_MAX; r++)
		if (xdp_reason_is_ip((enum xdp_reason)r))
			n += xdp[r];
	return n;
}

uint64_t xdp_mib(const uint64_t xdp[XS_MAX], int m)
{
	uint64_t n = 0;

	if (m == MIB_Ip_InReceives)
		return received(xdp);
	if (m >= MIB_IpExt_InOctets && m <= MIB_IpExt_InCEPkts)
		return xdp[XI_IN_OCTETS + m - MIB_IpExt_InOctets];
	for (unsigned i = 0; i < sizeof(counted) / sizeof(counted[0]); i++)
		for (const int16_t *c = counted[i].mib; *c >= 0; c++)
			if (*c == m)
				n += xdp[counted[i].reason];
	return n;
}
