/* SPDX-License-Identifier: BSD-2-Clause */
/* UDP sockets of the library among themselves: udp.c, udp_io.c, dest.c. */
#ifndef TANDEM_LIB_UDP_H
#define TANDEM_LIB_UDP_H

#include "engine.h"

/* What state SK_UDP stands for. */
struct sock_udp {
	uint32_t id;			/* in the stack */
	int kfd;			/* the kernel's socket of the same name and options */
	uint32_t claim_id;		/* the daemon's name for our claim; SHM_NIL: none */
	struct sockaddr_in claimed;	/* what it is for */
	struct mtime refused;		/* when the daemon said no; 0: it did not */
	struct sockaddr_in local, peer; /* the kernel socket's; .peer.sin_port 0: not connected */
	bool v6; /* of AF_INET6: names are mapped, and what comes by IPv6 is the kernel socket's */
	/* Nothing of it can be tandem's: SO_BINDTODEVICE, another namespace, IPv6 alone. */
	bool kernel_only;
	bool rd_shut, wr_shut;
	uint8_t turn; /* datagrams of ours taken since the kernel socket was looked at */
	/* options, as the kernel socket has them */
	bool pktinfo, pktinfo6, recvttl, recvtos, recvorigdst, timestamp, timestampns, recverr,
		err_pri, no_csum, cork, gro;
	uint8_t ttl, tos, pmtudisc;
	uint16_t gso_size;
};

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

static inline struct sock_udp *udp_of(const struct sock *sk)
{
	return sk->extra->udp;
}

/* Makes a socket of the kernel socket @kfd, which is taken over on success: its handle. -errno */
int udp_new(int kfd);
/* The socket's own form of an IPv4 address, for the program. */
void udp_addr_out(const struct sock_udp *u, const struct ip_addr *addr, uint16_t port,
		  struct sockaddr *to, socklen_t *len);
/* After anything that may have changed the kernel socket's name, peer or options. */
void udp_sync(struct sock *sk);
/* Is it bound, and are its datagrams ours? Binds it where it is not. */
bool udp_ready(struct sock *sk, struct mtime now);

/* ---- dest.c: where datagrams go ---- */

struct dest {
	uint32_t addr, src, nexthop; /* network order */
	uint32_t seq;		     /* of the daemon's routes_seq */
	bool known, ours;
	struct ip_way way;
	struct mtime checked, asked, pmtu_since;
	uint32_t pmtu; /* by ICMP, 0: none */
};

/* The entry of @addr, fresh; never NULL. .ours: it goes out by our interface, to one host. */
struct dest *dest_get(uint32_t addr, struct mtime now);
/* Can it be used now? Else the daemon is asked to find the neighbour. */
bool dest_usable(struct dest *d, struct mtime now);
/* The number in the stack of the interface that the kernel calls @ifindex; -1: not ours. */
int dest_netif(int ifindex);
void dest_forget(void); /* all that it knows */
void dest_pmtu(uint32_t addr, uint32_t mtu, struct mtime now);

#endif
