// SPDX-License-Identifier: BSD-2-Clause
/*
 * Who serves an address: tandem has its interfaces, the kernel all the rest. The host's own
 * addresses are reached by the kernel's sockets, which get to tandem's servers over lo where that
 * is attached. For a destination the kernel's routing table is asked (rtnetlink(7)),
 * once for each connect().
 */
#include <pthread.h>
#include <string.h>
#include <netinet/in.h>
#include <linux/rtnetlink.h>
#include "shim.h"

static bool is_loopback(const struct sockaddr_in *sin)
{
	return ntohl(sin->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

enum server route_local(const struct sockaddr_in *sin)
{
	return is_loopback(sin) && !lib_has_loopback() ? BY_KERNEL : BY_TANDEM;
}

/* The route's type and interface; 0, or -1 when there is none. */
static int parse(const struct nlmsghdr *h, size_t n, int *type, int *oif)
{
	const struct rtmsg *rt = NLMSG_DATA(h);
	int left = (int)n - (int)NLMSG_LENGTH(sizeof(*rt));

	if (left < 0 || h->nlmsg_type != RTM_NEWROUTE)
		return -1;
	*type = rt->rtm_type;
	for (const struct rtattr *a = RTM_RTA(rt); RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == RTA_OIF)
			memcpy(oif, RTA_DATA(a), sizeof(*oif));
	return 0;
}

static int ask(uint32_t dst, int *type, int *oif)
{
	struct {
		struct nlmsghdr h;
		struct rtmsg rt;
		struct rtattr a;
		uint32_t dst;
	} req = {
		.h = {.nlmsg_len = sizeof(req),
		      .nlmsg_type = RTM_GETROUTE,
		      .nlmsg_flags = NLM_F_REQUEST},
		.rt = {.rtm_family = AF_INET, .rtm_dst_len = 32},
		.a = {.rta_len = RTA_LENGTH(4), .rta_type = RTA_DST},
		.dst = dst,
	};
	union {
		struct nlmsghdr h;
		char buf[2048];
	} rep;
	int fd = real.socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), r = -1;
	ssize_t n;

	if (fd < 0)
		return -1;
	n = real.send(fd, &req, sizeof(req), 0);
	if (n > 0)
		n = real.recv(fd, &rep, sizeof(rep), 0);
	if (n >= (ssize_t)sizeof(rep.h) && rep.h.nlmsg_len <= (size_t)n)
		r = parse(&rep.h, rep.h.nlmsg_len, type, oif);
	real.close(fd);
	return r;
}

enum server route_remote(const struct sockaddr_in *sin)
{
	int type = 0, oif = 0;

	if (is_loopback(sin) || sin->sin_addr.s_addr == INADDR_ANY)
		return BY_KERNEL;
	/* Our own routes say nothing about an interface in another network namespace. */
	if (lib_is_foreign())
		return BY_TANDEM;
	/* Where there is no route, the kernel says it best. */
	if (ask(sin->sin_addr.s_addr, &type, &oif))
		return BY_KERNEL;
	return type == RTN_UNICAST && lib_has_ifindex(oif) ? BY_TANDEM : BY_KERNEL;
}
