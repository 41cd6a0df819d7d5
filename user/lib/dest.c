// SPDX-License-Identifier: BSD-2-Clause
/*
 * Where datagrams go: a cache of destinations. The kernel's routing table says by which interface,
 * next hop and source address (rtnetlink(7)), the daemon's table of neighbours has the next hop's
 * MAC. An entry is asked for anew after a second, or when the daemon says that routes have changed.
 *
 * A neighbour that is not known, or not verified lately, is the daemon's to find (SHM_RESOLVE);
 * until then datagrams leave by the kernel.
 */
#include <stdlib.h>
#include <unistd.h>
#include <linux/rtnetlink.h>
#include "user/core/tcp_info.h"
#include "udp.h"

#define ENTRIES 4096u /* a power of two */
#define FRESH_NS NS_PER_S
#define ASK_NS NS_PER_S
#define PMTU_NS (600 * NS_PER_S) /* Linux's ip_rt_mtu_expires */
#define MTU_MIN 552u		 /* Linux's ip_rt_min_pmtu: less is not believed */

struct route_answer {
	int type, oif;
	uint32_t src, gateway, mtu;
};

static void parse_metrics(const struct rtattr *metrics, struct route_answer *r)
{
	int left = (int)RTA_PAYLOAD(metrics);

	for (const struct rtattr *a = RTA_DATA(metrics); RTA_OK(a, left); a = RTA_NEXT(a, left))
		if (a->rta_type == RTAX_MTU)
			memcpy(&r->mtu, RTA_DATA(a), sizeof(r->mtu));
}

static int parse(const struct nlmsghdr *h, struct route_answer *r)
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

static int ask_kernel(uint32_t dst, struct route_answer *r)
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

static uint32_t routes_seq(void)
{
	const struct arena_hdr *h = (const struct arena_hdr *)(const void *)eng.daemon.base;

	return h ? READ_ONCE(h->routes_seq) : 0;
}

static void ask_daemon(struct dest *d, struct mtime now)
{
	struct shm_msg m = {.op = SHM_RESOLVE, .remote = ip_addr_v4(d->addr)};

	if (d->asked.ns && mtime_diff_ns(now, d->asked) < ASK_NS)
		return;
	d->asked = now;
	eng_send_msg(&m);
}

static void find_neighbour(struct dest *d, struct mtime now)
{
	struct ip_addr hop = ip_addr_v4(d->nexthop);

	d->way.neigh = SHM_NIL;
	if (!ip_way_find(eng.stack, d->way.netif, &hop, &d->way, now)) {
		ask_daemon(d, now);
		return;
	}
	if (!ip_way_confirmed(eng.stack, &d->way))
		ask_daemon(d, now);
}

int dest_netif(int ifindex)
{
	for (uint32_t i = 0; i < eng.n_ifs; i++)
		if (eng.ifindex[i] == ifindex)
			return (int)i;
	return -1;
}

static void refresh(struct dest *d, uint32_t seq, struct mtime now)
{
	struct route_answer r = {0};
	uint32_t mtu;
	int netif;

	d->seq = seq;
	d->checked = now;
	d->ours = !eng.foreign && !ask_kernel(d->addr, &r) && r.type == RTN_UNICAST && r.src;
	netif = d->ours ? dest_netif(r.oif) : -1;
	d->ours = netif >= 0;
	if (!d->ours)
		return;
	mtu = stack_mtu(eng.stack, (uint8_t)netif);
	d->src = r.src;
	d->nexthop = r.gateway ? r.gateway : d->addr;
	d->way.netif = (uint16_t)netif;
	d->way.mtu = r.mtu && r.mtu < mtu ? r.mtu : mtu;
	if (d->pmtu && mtime_diff_ns(now, d->pmtu_since) > PMTU_NS)
		d->pmtu = 0;
	if (d->pmtu && d->pmtu < d->way.mtu)
		d->way.mtu = d->pmtu;
	find_neighbour(d, now);
}

struct dest *dest_get(uint32_t addr, struct mtime now)
{
	static struct dest none;
	uint32_t seq = routes_seq(), i = (addr * 2654435761u) >> 20;
	struct dest *d;

	if (!eng.dests)
		eng.dests = calloc(ENTRIES, sizeof(*eng.dests));
	if (!eng.dests)
		return &none;
	d = &eng.dests[i & (ENTRIES - 1)];
	if (!d->known || d->addr != addr) {
		*d = (struct dest){.addr = addr, .known = true};
		refresh(d, seq, now);
	} else if (d->seq != seq || mtime_diff_ns(now, d->checked) > FRESH_NS) {
		refresh(d, seq, now);
	}
	return d;
}

bool dest_usable(struct dest *d, struct mtime now)
{
	if (ip_way_usable(eng.stack, &d->way))
		return true;
	find_neighbour(d, now);
	return ip_way_usable(eng.stack, &d->way);
}

void dest_pmtu(uint32_t addr, uint32_t mtu, struct mtime now)
{
	struct dest *d = dest_get(addr, now);

	if (!d->ours || mtu >= d->way.mtu)
		return;
	d->pmtu = mtu < MTU_MIN ? MTU_MIN : mtu;
	d->pmtu_since = now;
	if (d->pmtu < d->way.mtu)
		d->way.mtu = d->pmtu;
}
