/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Why the XDP program decided what it did: the index into the per-CPU `stats`
 * map. X(NAME, verdict, text); NAME is shown in lower case by `tandem stat`.
 */
#ifndef TANDEM_COMMON_REASONS_H
#define TANDEM_COMMON_REASONS_H

#define XDP_REASONS(X)                                                                             \
	X(FLOW_DIRECT, REDIRECT, "established flow, to its application")                           \
	X(FLOW_SLOW, REDIRECT, "flow owned by the slow path (handshake, closing)")                 \
	X(FLOW_CONTROL, REDIRECT, "SYN or RST of a known flow, to the slow path")                  \
	X(FLOW_NO_SOCKET, REDIRECT,                                                                \
	  "flow's application has no socket on this queue, to slow path")                          \
	X(PORT_DIRECT, REDIRECT, "bound port, to its application")                                 \
	X(PORT_SLOW, REDIRECT, "listening or bound port, to the slow path")                        \
	X(FRAGMENT, REDIRECT, "IP fragment to our address, to the slow path")                      \
	X(IP_OPTIONS, REDIRECT, "IPv4 options or IPv6 extension header, to the slow path")         \
	X(ECHO_SLOW, REDIRECT, "echo request left to the slow path")                               \
	X(ICMP_ERROR, REDIRECT, "ICMP error about a flow of ours, to the slow path")               \
	X(CLAIMED, REDIRECT, "claim=all: no match, to the slow path")                              \
	X(ARP_REPLY, TX, "ARP request answered")                                                   \
	X(ECHO_REPLY, TX, "ICMP echo request answered")                                            \
	X(ND_REPLY, TX, "IPv6 neighbour solicitation answered")                                    \
	X(SYN_COOKIE, TX, "SYN to a listener under a SYN flood, answered with a cookie")           \
	X(COOKIE_ACK, REDIRECT, "ACK with a valid cookie to such a listener, to the slow path")    \
	X(PASS_NOT_IP, PASS, "neither ARP nor IP")                                                 \
	X(PASS_ARP, PASS, "ARP or neighbour discovery that is not ours to answer")                 \
	X(PASS_NOT_LOCAL, PASS, "not to an address of ours")                                       \
	X(PASS_UNCLAIMED, PASS, "to our address, but not claimed")                                 \
	X(PASS_MALFORMED, PASS, "not claimable: headers cut short, left to the kernel to count")   \
	X(PASS_VLAN, PASS, "tagged for a VLAN that tandem does not serve")                         \
	X(DROP_DENY, DROP, "source is on the deny list")                                           \
	X(DROP_IP_HEADER, DROP, "claimed, with a wrong version or length in its IPv4 header")      \
	X(DROP_IP_CUT, DROP, "claimed, with less behind its IPv4 header than that says")           \
	X(DROP_IP_CSUM, DROP, "echo request with a wrong checksum in its IPv4 header")             \
	X(DROP_ICMP_CUT, DROP, "claimed, without a whole ICMP header")                             \
	X(DROP_ICMP_CSUM, DROP, "echo request with a wrong ICMP checksum")                         \
	X(DROP_TCP_HEADER, DROP, "claimed, with a length in its TCP header that is too small")     \
	X(DROP_TCP_CUT, DROP, "claimed, without a whole TCP header")                               \
	X(DROP_UDP_HEADER, DROP,                                                                   \
	  "claimed, without a whole UDP header or with a wrong length in it")                      \
	X(DROP_MALFORMED, DROP, "claimed IPv6 packet with malformed headers")                      \
	X(DROP_COOKIE, DROP, "to a listener under a SYN flood, without a valid cookie")            \
	X(DROP_COOKIE_SYN, DROP, "SYN to such a listener, with data or a wrong checksum")          \
	X(DROP_NO_SLOW_PATH, DROP, "claimed, but the slow path is not there")                      \
	X(DROP_NO_ROOM, DROP, "metadata or reply could not be put in place")

enum xdp_reason {
#define X(name, verdict, text) XR_##name,
	XDP_REASONS(X)
#undef X
	XR_MAX
};

/* Behind them in the same map: what IP counts of packets that end in the program, see below. */
enum xdp_ip_counter {
	XI_IN_OCTETS = XR_MAX,
	XI_OUT_OCTETS,
	XI_NOECT, /* in the order of the ECN bits */
	XI_ECT1,
	XI_ECT0,
	XI_CE,
	XS_MAX
};

/*
 * Does a packet end in the program for this reason that the kernel's IP would have counted? Not
 * ARP, and what the deny list holds back it would not have seen, either: a firewall's drops are
 * nowhere in its MIB. Nor DROP_NO_ROOM, which packets for the stack share.
 */
static inline int xdp_reason_is_ip(enum xdp_reason r)
{
	return r == XR_ECHO_REPLY || r == XR_SYN_COOKIE || r == XR_DROP_COOKIE ||
	       r == XR_DROP_COOKIE_SYN || (r >= XR_DROP_IP_HEADER && r <= XR_DROP_UDP_HEADER);
}
_Static_assert(XR_DROP_UDP_HEADER - XR_DROP_IP_HEADER == 7, "IP, ICMP, TCP, UDP, and no other");

#endif
