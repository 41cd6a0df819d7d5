// SPDX-License-Identifier: BSD-2-Clause
/* The kernel's routing table, asked for one destination (rtnetlink(7), RTM_GETROUTE). */
#include <string.h>
#include <unistd.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <linux/rtnetlink.h>
#include "kroute.h"

static void parse_metrics(const struct rtattr *metrics, struct kroute *r)
{
	int left = (int)RTA_PAYLOAD(metrics);

	for (const struct rtattr *a = RTA_DATA(metrics); RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == RTAX_MTU)
			memcpy(&r->mtu, RTA_DATA(a), sizeof(r->mtu));
}

static int parse(const struct nlmsghdr *h, struct kroute *r)
{
	const struct rtmsg *rt = NLMSG_DATA(h);
	int left = (int)h->nlmsg_len - (int)NLMSG_LENGTH(sizeof(*rt));

	if (left < 0 || h->nlmsg_type != RTM_NEWROUTE)
		return -1;
	r->type = rt->rtm_type;
	for (const struct rtattr *a = RTM_RTA(rt); RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type == RTA_OIF)
			memcpy(&r->oif, RTA_DATA(a), sizeof(r->oif));
		else if (a->rta_type == RTA_PREFSRC)
			memcpy(&r->src, RTA_DATA(a), sizeof(r->src));
		else if (a->rta_type == RTA_GATEWAY)
			memcpy(&r->gateway, RTA_DATA(a), sizeof(r->gateway));
		else if (a->rta_type == RTA_METRICS)
			parse_metrics(a, r);
	}
	return 0;
}

int kroute_get(uint32_t dst, struct kroute *r)
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
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE), err = -1;
	ssize_t n;

	*r = (struct kroute){0};
	if (fd < 0)
		return -1;
	n = send(fd, &req, sizeof(req), 0);
	if (n > 0)
		n = recv(fd, &rep, sizeof(rep), 0);
	if (n >= (ssize_t)sizeof(rep.h) && rep.h.nlmsg_len <= (size_t)n)
		err = parse(&rep.h, r);
	close(fd);
	return err;
}
