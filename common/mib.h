/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Counters of the user-space stack. Names and meanings are the kernel's
 * (/proc/net/snmp, /proc/net/netstat); the ones that only tandem has begin
 * with "Td". X(group, name).
 */
#ifndef TANDEM_COMMON_MIB_H
#define TANDEM_COMMON_MIB_H

#include <stdint.h>

#define MIB_COUNTERS(X)                                                                            \
	X(Ip, InReceives)                                                                          \
	X(Ip, InHdrErrors)                                                                         \
	X(Ip, InAddrErrors)                                                                        \
	X(Ip, InUnknownProtos)                                                                     \
	X(Ip, InDelivers)                                                                          \
	X(Ip, OutRequests)                                                                         \
	X(Ip, OutDiscards)                                                                         \
	X(Ip, OutNoRoutes)                                                                         \
	X(Ip, ReasmReqds)                                                                          \
	X(Ip, ReasmOKs)                                                                            \
	X(Ip, ReasmFails)                                                                          \
	X(Ip, ReasmTimeout)                                                                        \
	X(Ip, FragOKs)                                                                             \
	X(Ip, FragFails)                                                                           \
	X(Ip, FragCreates)                                                                         \
	X(IpExt, InTruncatedPkts)                                                                  \
	X(IpExt, InOctets)                                                                         \
	X(IpExt, OutOctets)                                                                        \
	X(IpExt, InNoECTPkts)                                                                      \
	X(IpExt, InECT1Pkts)                                                                       \
	X(IpExt, InECT0Pkts)                                                                       \
	X(IpExt, InCEPkts)                                                                         \
	X(IpExt, InCsumErrors)                                                                     \
	X(Icmp, InMsgs)                                                                            \
	X(Icmp, InErrors)                                                                          \
	X(Icmp, InCsumErrors)                                                                      \
	X(Icmp, InDestUnreachs)                                                                    \
	X(Icmp, InEchos)                                                                           \
	X(Icmp, OutMsgs)                                                                           \
	X(Icmp, OutDestUnreachs)                                                                   \
	X(Icmp, OutEchoReps)                                                                       \
	X(Icmp, OutRateLimitHost)                                                                  \
	X(Icmp, OutRateLimitGlobal)                                                                \
	X(Tcp, ActiveOpens)                                                                        \
	X(Tcp, PassiveOpens)                                                                       \
	X(Tcp, AttemptFails)                                                                       \
	X(Tcp, EstabResets)                                                                        \
	X(Tcp, CurrEstab)                                                                          \
	X(Tcp, InSegs)                                                                             \
	X(Tcp, OutSegs)                                                                            \
	X(Tcp, RetransSegs)                                                                        \
	X(Tcp, InErrs)                                                                             \
	X(Tcp, OutRsts)                                                                            \
	X(Tcp, InCsumErrors)                                                                       \
	X(Udp, InDatagrams)                                                                        \
	X(Udp, NoPorts)                                                                            \
	X(Udp, InErrors)                                                                           \
	X(Udp, OutDatagrams)                                                                       \
	X(Udp, RcvbufErrors)                                                                       \
	X(Udp, SndbufErrors)                                                                       \
	X(Udp, InCsumErrors)                                                                       \
	X(Udp, MemErrors)                                                                          \
	X(TcpExt, SyncookiesSent)                                                                  \
	X(TcpExt, SyncookiesRecv)                                                                  \
	X(TcpExt, SyncookiesFailed)                                                                \
	X(TcpExt, TCPReqQFullDoCookies)                                                            \
	X(TcpExt, TCPReqQFullDrop)                                                                 \
	X(TcpExt, ListenOverflows)                                                                 \
	X(TcpExt, ListenDrops)                                                                     \
	X(TcpExt, EmbryonicRsts)                                                                   \
	X(TcpExt, TW)                                                                              \
	X(TcpExt, TWRecycled)                                                                      \
	X(TcpExt, TCPTimeWaitOverflow)                                                             \
	X(TcpExt, PAWSEstab)                                                                       \
	X(TcpExt, PAWSTimewait)                                                                    \
	X(TcpExt, PAWSOldAck)                                                                      \
	X(TcpExt, DelayedACKs)                                                                     \
	X(TcpExt, DelayedACKLost)                                                                  \
	X(TcpExt, TCPHPHits)                                                                       \
	X(TcpExt, TCPPureAcks)                                                                     \
	X(TcpExt, TCPTimeouts)                                                                     \
	X(TcpExt, TCPSackFailures)                                                                 \
	X(TcpExt, TCPRenoFailures)                                                                 \
	X(TcpExt, TCPLossFailures)                                                                 \
	X(TcpExt, TCPSackRecoveryFail)                                                             \
	X(TcpExt, TCPRenoRecoveryFail)                                                             \
	X(TcpExt, TCPLossProbes)                                                                   \
	X(TcpExt, TCPRenoRecovery)                                                                 \
	X(TcpExt, TCPSackRecovery)                                                                 \
	X(TcpExt, TCPSACKReneging)                                                                 \
	X(TcpExt, TCPSACKReorder)                                                                  \
	X(TcpExt, TCPLossProbeRecovery)                                                            \
	X(TcpExt, TCPSACKDiscard)                                                                  \
	X(TcpExt, TCPDSACKRecv)                                                                    \
	X(TcpExt, TCPDSACKOfoRecv)                                                                 \
	X(TcpExt, TCPDSACKRecvSegs)                                                                \
	X(TcpExt, TCPDSACKUndo)                                                                    \
	X(TcpExt, TCPFullUndo)                                                                     \
	X(TcpExt, TCPPartialUndo)                                                                  \
	X(TcpExt, TCPLossUndo)                                                                     \
	X(TcpExt, TCPSpuriousRTOs)                                                                 \
	X(TcpExt, TCPLostRetransmit)                                                               \
	X(TcpExt, TCPDSACKOldSent)                                                                 \
	X(TcpExt, TCPDSACKOfoSent)                                                                 \
	X(TcpExt, TCPFastRetrans)                                                                  \
	X(TcpExt, TCPSlowStartRetrans)                                                             \
	X(TcpExt, TCPAbortOnData)                                                                  \
	X(TcpExt, TCPAbortOnClose)                                                                 \
	X(TcpExt, TCPAbortOnMemory)                                                                \
	X(TcpExt, TCPAbortOnTimeout)                                                               \
	X(TcpExt, TCPAbortOnLinger)                                                                \
	X(TcpExt, TCPKeepAlive)                                                                    \
	X(TcpExt, PruneCalled)                                                                     \
	X(TcpExt, RcvPruned)                                                                       \
	X(TcpExt, OfoPruned)                                                                       \
	X(TcpExt, TCPMemoryPressures)                                                              \
	X(TcpExt, TCPMemoryPressuresChrono)                                                        \
	X(TcpExt, TCPChallengeACK)                                                                 \
	X(TcpExt, TCPSYNChallenge)                                                                 \
	X(TcpExt, TCPACKSkippedSeq)                                                                \
	X(TcpExt, TCPOFOQueue)                                                                     \
	X(TcpExt, TCPOFODrop)                                                                      \
	X(TcpExt, TCPOFOMerge)                                                                     \
	X(TcpExt, TCPRcvQDrop)                                                                     \
	X(TcpExt, TCPZeroWindowDrop)                                                               \
	X(TcpExt, TCPFromZeroWindowAdv)                                                            \
	X(TcpExt, TCPToZeroWindowAdv)                                                              \
	X(TcpExt, TCPWinProbe)                                                                     \
	X(TcpExt, TCPOrigDataSent)                                                                 \
	X(TcpExt, TCPDeliveredCE)                                                                  \
	X(TcpExt, TCPFastOpenActive)                                                               \
	X(TcpExt, TCPFastOpenActiveFail)                                                           \
	X(TcpExt, TCPFastOpenPassive)                                                              \
	X(TcpExt, TCPFastOpenPassiveFail)                                                          \
	X(TcpExt, TCPFastOpenPassiveAltKey)                                                        \
	X(TcpExt, TCPFastOpenListenOverflow)                                                       \
	X(TcpExt, TCPFastOpenCookieReqd)                                                           \
	X(TcpExt, TCPFastOpenBlackhole)                                                            \
	X(TcpExt, TCPDeferAcceptDrop)                                                              \
	X(TcpExt, TCPSynRetrans)                                                                   \
	X(TcpExt, OutOfWindowIcmps)                                                                \
	X(Td, NeighDrops)                                                                          \
	X(Td, NeighFailed)                                                                         \
	X(Td, NeighConflict)                                                                       \
	X(Td, NotForUs)                                                                            \
	X(Td, BadFrame)                                                                            \
	X(Td, NoBuffer)                                                                            \
	X(Td, UdpSegmented)                                                                        \
	X(Td, NoConnection)                                                                        \
	X(Td, StaleFlow)                                                                           \
	X(Td, HandOversOut)                                                                        \
	X(Td, HandOversIn)                                                                         \
	X(Td, HandOverRefused)                                                                     \
	X(Td, Injected)                                                                            \
	X(Td, BadFrameIndex)                                                                       \
	X(Td, MemoryPressure)                                                                      \
	X(Td, OrphansReset)

enum mib {
#define X(group, name) MIB_##group##_##name,
	MIB_COUNTERS(X)
#undef X
		MIB_MAX
};

/* What is so now, rather than how often something has been: it ends with its process. */
static inline int mib_is_gauge(int m)
{
	return m == MIB_Tcp_CurrEstab || m == MIB_Td_MemoryPressure;
}

#endif
