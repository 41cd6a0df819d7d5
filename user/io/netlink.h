/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Mirror of what the kernel knows of an interface: link, addresses, routes, neighbours, by
 * rtnetlink (libmnl). A dump at start, then live changes; after an overrun (ENOBUFS) it dumps
 * again and gives the difference. RFC 3549, rtnetlink(7).
 */
#ifndef TANDEM_IO_NETLINK_H
#define TANDEM_IO_NETLINK_H

#include "user/core/stack.h"

struct nl_mirror;

struct nl_link {
	int ifindex;
	char name[16];
	char kind[16]; /* "veth", "" for plain hardware, "loopback" for lo */
	uint8_t mac[6];
	uint32_t mtu;
	uint32_t n_rx_queues, n_tx_queues;
	bool up;
	uint32_t xdp_prog_id; /* 0: none attached */
	uint32_t xdp_mode;    /* IFLA_XDP_ATTACHED value */
};

/* Looks one interface up in the current network namespace. -ENODEV. */
int nl_link_get(const char *name, struct nl_link *out);

/* Called for each fact about the interface that holds (ADD/SET/UP) or ceases to (DEL/DOWN). */
typedef void (*nl_event_fn)(void *ctx, const struct net_event *ev);

/* Watches @ifindex and gives events with netif = @netif. IPv4 and IPv6. */
int nl_mirror_open(struct nl_mirror **out, int ifindex, uint16_t netif, nl_event_fn fn, void *ctx);
int nl_mirror_fd(const struct nl_mirror *m);
/* Reads what there is (after poll()); callbacks run within. -errno: it cannot go on. */
int nl_mirror_read(struct nl_mirror *m);
/* The link has vanished: RTM_DELLINK was seen. */
bool nl_mirror_gone(const struct nl_mirror *m);
void nl_mirror_close(struct nl_mirror *m);

#endif
