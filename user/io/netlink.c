// SPDX-License-Identifier: BSD-2-Clause
/*
 * netlink.h. The mirror is a set of facts (struct net_event of the ADD/SET/UP kinds), keyed by what
 * makes the kernel tell them apart. A message changes the set; the caller hears of what changed.
 *
 * Messages alone do not suffice: the kernel drops some when we are slow (ENOBUFS), and takes
 * IPv4 routes away without one when a link goes down or their source address is deleted. Then
 * all is dumped again, and facts that were not seen in the dump are over.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <libmnl/libmnl.h>
#include <linux/ethtool.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include "netlink.h"

#define BUF_LEN 32768
#define RCVBUF (4 << 20)
#define DUMP_TRIES 8 /* one that a change has torn (NLM_F_DUMP_INTR) is made again */
#define REPLY_TIMEOUT_S 5
#define BUCKETS_MIN 64u
#define MAX_ATTR 64

struct fact {
	struct fact *next;
	struct net_event ev;
	uint32_t seen;	  /* number of the last dump that had it */
	uint32_t touched; /* number of the last message that had it */
};

struct nl_mirror {
	struct mnl_socket *events;
	int ifindex;
	uint16_t netif;
	nl_event_fn fn;
	void *ctx;
	struct fact **buckets;
	uint32_t n_buckets, n_facts;
	uint32_t dump; /* number of the last dump */
	uint32_t msg;  /* number of the last message */
	bool dumping;
	bool resync; /* dump again once the messages at hand are read */
	bool gone;
	int err; /* of a callback: out of memory */
	char buf[BUF_LEN];
};

/* ---- attributes ---- */

struct attrs {
	const struct nlattr *tb[MAX_ATTR];
};

static int attr_cb(const struct nlattr *attr, void *data)
{
	struct attrs *a = data;
	uint16_t type = mnl_attr_get_type(attr);

	if (type < MAX_ATTR)
		a->tb[type] = attr;
	return MNL_CB_OK;
}

static struct attrs attrs_of(const struct nlmsghdr *nlh, unsigned hdr_len)
{
	struct attrs a = {0};

	mnl_attr_parse(nlh, hdr_len, attr_cb, &a);
	return a;
}

static struct attrs attrs_nested(const struct nlattr *attr)
{
	struct attrs a = {0};

	mnl_attr_parse_nested(attr, attr_cb, &a);
	return a;
}

static bool get_u32(const struct attrs *a, unsigned type, uint32_t *v)
{
	if (!a->tb[type] || mnl_attr_get_payload_len(a->tb[type]) < sizeof(*v))
		return false;
	*v = mnl_attr_get_u32(a->tb[type]);
	return true;
}

static bool addr_from(const void *p, size_t len, int family, struct ip_addr *out)
{
	uint32_t be;

	if (family == AF_INET && len == sizeof(be)) {
		memcpy(&be, p, sizeof(be));
		*out = ip_addr_v4(be);
		return true;
	}
	if (family == AF_INET6 && len == sizeof(out->b)) {
		memcpy(out->b, p, sizeof(out->b));
		return true;
	}
	return false;
}

static bool get_addr(const struct attrs *a, unsigned type, int family, struct ip_addr *out)
{
	return a->tb[type] && addr_from(mnl_attr_get_payload(a->tb[type]),
					mnl_attr_get_payload_len(a->tb[type]), family, out);
}

static bool get_mac(const struct attrs *a, unsigned type, uint8_t mac[6])
{
	if (!a->tb[type] || mnl_attr_get_payload_len(a->tb[type]) != 6)
		return false;
	memcpy(mac, mnl_attr_get_payload(a->tb[type]), 6);
	return true;
}

static void get_str(const struct attrs *a, unsigned type, char *out, size_t len)
{
	size_t n;

	if (!a->tb[type])
		return;
	n = strnlen(mnl_attr_get_payload(a->tb[type]), mnl_attr_get_payload_len(a->tb[type]));
	if (n >= len)
		n = len - 1;
	memcpy(out, mnl_attr_get_payload(a->tb[type]), n);
	out[n] = 0;
}

/* ---- requests ---- */

static int open_socket(struct mnl_socket **out, unsigned groups, int flags)
{
	struct mnl_socket *s = mnl_socket_open2(NETLINK_ROUTE, SOCK_CLOEXEC | flags);
	int r;

	if (!s)
		return -errno;
	if (mnl_socket_bind(s, groups, MNL_SOCKET_AUTOPID) < 0) {
		r = -errno;
		mnl_socket_close(s);
		return r;
	}
	*out = s;
	return 0;
}

/* Sends @nlh and gives each message of the reply to @cb, on a socket of its own: an error leaves
 * nothing of a half-read reply behind. */
static int transact(struct nlmsghdr *nlh, char *buf, mnl_cb_t cb, void *ctx)
{
	const struct timeval tv = {.tv_sec = REPLY_TIMEOUT_S};
	struct mnl_socket *s;
	int r = open_socket(&s, 0, 0);

	if (r < 0)
		return r;
	setsockopt(mnl_socket_get_fd(s), SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	nlh->nlmsg_flags |= NLM_F_REQUEST;
	nlh->nlmsg_seq = 1;
	r = mnl_socket_sendto(s, nlh, nlh->nlmsg_len) < 0 ? -1 : MNL_CB_OK;
	while (r > MNL_CB_STOP) {
		ssize_t n = mnl_socket_recvfrom(s, buf, BUF_LEN);

		r = n < 0 ? -1 : mnl_cb_run(buf, (size_t)n, 1, mnl_socket_get_portid(s), cb, ctx);
	}
	if (r < 0)
		r = -errno;
	mnl_socket_close(s);
	return r;
}

/* One interface, by @ifindex or, if that is 0, by name. */
static int ask_link(int ifindex, const char *name, char *buf, mnl_cb_t cb, void *ctx)
{
	char req[128];
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(req);
	struct ifinfomsg *ifi = mnl_nlmsg_put_extra_header(nlh, sizeof(*ifi));

	nlh->nlmsg_type = RTM_GETLINK;
	ifi->ifi_index = ifindex;
	if (!ifindex)
		mnl_attr_put_strz(nlh, IFLA_IFNAME, name);
	return transact(nlh, buf, cb, ctx);
}

/* Everything of one kind and family. */
static int ask_all(uint16_t type, uint8_t family, char *buf, mnl_cb_t cb, void *ctx)
{
	int r = -EINTR;

	for (int i = 0; r == -EINTR && i < DUMP_TRIES; i++) {
		char req[64];
		struct nlmsghdr *nlh = mnl_nlmsg_put_header(req);
		struct rtgenmsg *g = mnl_nlmsg_put_extra_header(nlh, sizeof(*g));

		nlh->nlmsg_type = type;
		nlh->nlmsg_flags = NLM_F_DUMP;
		g->rtgen_family = family;
		r = transact(nlh, buf, cb, ctx);
	}
	return r;
}

/* ---- a link ---- */

/* As many RX queues as are in use: drivers allocate more, and AF_XDP cannot bind to those. */
static void count_queues(struct nl_link *l)
{
	struct ethtool_channels ch = {.cmd = ETHTOOL_GCHANNELS};
	struct ifreq ifr = {.ifr_data = (void *)&ch};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return;
	memcpy(ifr.ifr_name, l->name, sizeof(ifr.ifr_name));
	if (ioctl(fd, SIOCETHTOOL, &ifr) == 0) {
		if (ch.rx_count + ch.combined_count)
			l->n_rx_queues = ch.rx_count + ch.combined_count;
		if (ch.tx_count + ch.combined_count)
			l->n_tx_queues = ch.tx_count + ch.combined_count;
	}
	close(fd);
}

static void parse_xdp(const struct nlattr *attr, struct nl_link *l)
{
	const unsigned ids[] = {IFLA_XDP_PROG_ID, IFLA_XDP_DRV_PROG_ID, IFLA_XDP_SKB_PROG_ID,
				IFLA_XDP_HW_PROG_ID};
	struct attrs a = attrs_nested(attr);

	if (a.tb[IFLA_XDP_ATTACHED] && mnl_attr_get_payload_len(a.tb[IFLA_XDP_ATTACHED]) >= 1)
		l->xdp_mode = mnl_attr_get_u8(a.tb[IFLA_XDP_ATTACHED]);
	for (unsigned i = 0; i < MNL_ARRAY_SIZE(ids) && !l->xdp_prog_id; i++)
		get_u32(&a, ids[i], &l->xdp_prog_id);
}

static void parse_link(const struct nlmsghdr *nlh, struct nl_link *l)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	struct attrs a = attrs_of(nlh, sizeof(*ifi));

	memset(l, 0, sizeof(*l));
	l->ifindex = ifi->ifi_index;
	l->up = (ifi->ifi_flags & IFF_UP) && (ifi->ifi_flags & IFF_RUNNING);
	get_str(&a, IFLA_IFNAME, l->name, sizeof(l->name));
	get_mac(&a, IFLA_ADDRESS, l->mac);
	get_u32(&a, IFLA_MTU, &l->mtu);
	get_u32(&a, IFLA_NUM_RX_QUEUES, &l->n_rx_queues);
	get_u32(&a, IFLA_NUM_TX_QUEUES, &l->n_tx_queues);
	if (a.tb[IFLA_LINKINFO]) {
		struct attrs info = attrs_nested(a.tb[IFLA_LINKINFO]);

		get_str(&info, IFLA_INFO_KIND, l->kind, sizeof(l->kind));
	} else if (ifi->ifi_flags & IFF_LOOPBACK) {
		memcpy(l->kind, "loopback", sizeof("loopback"));
	}
	if (a.tb[IFLA_XDP])
		parse_xdp(a.tb[IFLA_XDP], l);
}

static int link_cb(const struct nlmsghdr *nlh, void *ctx)
{
	if (nlh->nlmsg_type != RTM_NEWLINK ||
	    mnl_nlmsg_get_payload_len(nlh) < sizeof(struct ifinfomsg))
		return MNL_CB_OK;
	parse_link(nlh, ctx);
	return MNL_CB_STOP;
}

int nl_link_get(const char *name, struct nl_link *out)
{
	char *buf;
	int r;

	if (!*name || strlen(name) >= IF_NAMESIZE)
		return -ENODEV;
	buf = malloc(BUF_LEN);
	if (!buf)
		return -ENOMEM;
	r = ask_link(0, name, buf, link_cb, out);
	free(buf);
	if (!r)
		count_queues(out);
	return r;
}

/* ---- the set of facts ---- */

static enum net_event_kind end_of(enum net_event_kind k)
{
	switch (k) {
	case NET_LINK_UP:
		return NET_LINK_DOWN;
	case NET_ADDR_ADD:
		return NET_ADDR_DEL;
	case NET_ROUTE_ADD:
		return NET_ROUTE_DEL;
	default:
		return NET_NEIGH_DEL;
	}
}

/* By destination only, so that all routes to it stand in one bucket. */
static uint32_t hash(const struct net_event *ev)
{
	uint32_t h = 2166136261u ^ (uint32_t)ev->kind ^ (uint32_t)ev->plen << 8;

	for (int i = 0; i < 4; i++)
		h = (h ^ ev->addr.w[i]) * 16777619u;
	return h ^ h >> 15;
}

static bool same_dest(const struct net_event *a, const struct net_event *b)
{
	return a->kind == b->kind && a->plen == b->plen && ip_addr_eq(&a->addr, &b->addr) &&
	       a->metric == b->metric;
}

static bool same_key(const struct net_event *a, const struct net_event *b)
{
	return same_dest(a, b) && ip_addr_eq(&a->gw, &b->gw) && a->route_type == b->route_type;
}

static bool same_content(const struct net_event *a, const struct net_event *b)
{
	return a->mtu == b->mtu && a->permanent == b->permanent &&
	       a->partial_csum == b->partial_csum && !memcmp(a->mac, b->mac, sizeof(a->mac)) &&
	       ip_addr_eq(&a->prefsrc, &b->prefsrc);
}

static struct fact **bucket(const struct nl_mirror *m, const struct net_event *ev)
{
	return &m->buckets[hash(ev) & (m->n_buckets - 1)];
}

static void grow(struct nl_mirror *m)
{
	uint32_t n = m->n_buckets * 2;
	struct fact **b = calloc(n, sizeof(struct fact *));

	if (!b)
		return; /* longer chains, no harm */
	for (uint32_t i = 0; i < m->n_buckets; i++) {
		struct fact *f, *next;

		for (f = m->buckets[i]; f; f = next) {
			next = f->next;
			f->next = b[hash(&f->ev) & (n - 1)];
			b[hash(&f->ev) & (n - 1)] = f;
		}
	}
	free(m->buckets);
	m->buckets = b;
	m->n_buckets = n;
}

static struct fact *fact_find(const struct nl_mirror *m, const struct net_event *ev)
{
	struct fact *f;

	for (f = *bucket(m, ev); f && !same_key(&f->ev, ev); f = f->next)
		;
	return f;
}

static void fact_set(struct nl_mirror *m, const struct net_event *ev)
{
	struct fact *f = fact_find(m, ev);
	bool news = !f || !same_content(&f->ev, ev);

	if (!f) {
		f = calloc(1, sizeof(*f));
		if (!f) {
			m->err = -ENOMEM;
			return;
		}
		if (++m->n_facts > m->n_buckets)
			grow(m);
		f->next = *bucket(m, ev);
		*bucket(m, ev) = f;
	}
	f->ev = *ev;
	f->seen = m->dump;
	f->touched = m->msg;
	if (news)
		m->fn(m->ctx, ev);
}

/* Removes *@at and tells. */
static void fact_end(struct nl_mirror *m, struct fact **at)
{
	struct fact *f = *at;
	struct net_event ev = f->ev;

	*at = f->next;
	free(f);
	m->n_facts--;
	ev.kind = end_of(ev.kind);
	m->fn(m->ctx, &ev);
}

static void fact_del(struct nl_mirror *m, const struct net_event *ev)
{
	struct fact **at;

	for (at = bucket(m, ev); *at; at = &(*at)->next)
		if (same_key(&(*at)->ev, ev)) {
			fact_end(m, at);
			return;
		}
}

/* ---- messages ---- */

static void on_link(struct nl_mirror *m, const struct nlmsghdr *nlh)
{
	const struct ifinfomsg *ifi = mnl_nlmsg_get_payload(nlh);
	struct net_event ev = {.kind = NET_LINK_UP, .netif = m->netif};
	bool was_up = fact_find(m, &ev), is_up;
	struct nl_link l;

	if (ifi->ifi_index != m->ifindex || ifi->ifi_family != AF_UNSPEC)
		return;
	m->gone = nlh->nlmsg_type == RTM_DELLINK;
	parse_link(nlh, &l);
	is_up = l.up && !m->gone;
	ev.mtu = l.mtu;
	ev.partial_csum = !strcmp(l.kind, "veth") || !strcmp(l.kind, "loopback");
	memcpy(ev.mac, l.mac, sizeof(ev.mac));
	if (is_up)
		fact_set(m, &ev);
	else
		fact_del(m, &ev);
	m->resync |= was_up != is_up && !m->gone;
}

static void on_addr(struct nl_mirror *m, const struct nlmsghdr *nlh)
{
	const struct ifaddrmsg *ifa = mnl_nlmsg_get_payload(nlh);
	struct net_event ev = {.kind = NET_ADDR_ADD, .netif = m->netif, .plen = ifa->ifa_prefixlen};
	struct attrs a = attrs_of(nlh, sizeof(*ifa));
	uint32_t flags = ifa->ifa_flags;

	if ((int)ifa->ifa_index != m->ifindex)
		return;
	/* IFA_ADDRESS is the other end's on point-to-point links. */
	if (!get_addr(&a, IFA_LOCAL, ifa->ifa_family, &ev.addr) &&
	    !get_addr(&a, IFA_ADDRESS, ifa->ifa_family, &ev.addr))
		return;
	get_u32(&a, IFA_FLAGS, &flags);
	/* RFC 4862 §5.4: not ours before duplicate detection is through, nor if that failed. */
	if (nlh->nlmsg_type == RTM_NEWADDR && !(flags & IFA_F_DADFAILED) &&
	    (!(flags & IFA_F_TENTATIVE) || (flags & IFA_F_OPTIMISTIC))) {
		fact_set(m, &ev);
		return;
	}
	fact_del(m, &ev);
	m->resync |= nlh->nlmsg_type == RTM_DELADDR;
}

static bool route_type(uint8_t rtm_type, enum net_route_type *out)
{
	switch (rtm_type) {
	case RTN_UNICAST:
		*out = NET_RT_UNICAST;
		return true;
	case RTN_BLACKHOLE:
		*out = NET_RT_BLACKHOLE;
		return true;
	case RTN_UNREACHABLE:
		*out = NET_RT_UNREACHABLE;
		return true;
	case RTN_PROHIBIT:
		*out = NET_RT_PROHIBIT;
		return true;
	default:
		return false;
	}
}

/* One next hop; @a: its attributes (the route's own, or those within RTA_MULTIPATH). */
static void on_next_hop(struct nl_mirror *m, struct net_event *ev, const struct attrs *a,
			int family, bool holds)
{
	const struct nlattr *via = a->tb[RTA_VIA];

	memset(&ev->gw, 0, sizeof(ev->gw));
	get_addr(a, RTA_GATEWAY, family, &ev->gw);
	if (via && mnl_attr_get_payload_len(via) > sizeof(struct rtvia)) {
		const struct rtvia *v = mnl_attr_get_payload(via);

		addr_from(v->rtvia_addr, mnl_attr_get_payload_len(via) - sizeof(*v),
			  v->rtvia_family, &ev->gw);
	}
	if (holds)
		fact_set(m, ev);
	else
		fact_del(m, ev);
}

static void on_multipath(struct nl_mirror *m, struct net_event *ev, const struct nlattr *attr,
			 int family, bool is_new)
{
	const struct rtnexthop *nh = mnl_attr_get_payload(attr);
	size_t left = mnl_attr_get_payload_len(attr);

	while (left >= sizeof(*nh) && nh->rtnh_len >= sizeof(*nh) && nh->rtnh_len <= left) {
		size_t step = RTNH_ALIGN(nh->rtnh_len);
		struct attrs a = {0};

		mnl_attr_parse_payload(RTNH_DATA(nh), nh->rtnh_len - sizeof(*nh), attr_cb, &a);
		if (nh->rtnh_ifindex == m->ifindex)
			on_next_hop(m, ev, &a, family, is_new && !(nh->rtnh_flags & RTNH_F_DEAD));
		if (step >= left)
			return;
		left -= step;
		nh = (const void *)((const uint8_t *)nh + step);
	}
}

/* What this message did not name is not the route any more; it may lead elsewhere now. */
static void end_replaced(struct nl_mirror *m, const struct net_event *ev)
{
	struct fact **at = bucket(m, ev);

	while (*at)
		if (same_dest(&(*at)->ev, ev) && (*at)->touched != m->msg)
			fact_end(m, at);
		else
			at = &(*at)->next;
}

static void on_route(struct nl_mirror *m, const struct nlmsghdr *nlh)
{
	const struct rtmsg *rtm = mnl_nlmsg_get_payload(nlh);
	struct net_event ev = {.kind = NET_ROUTE_ADD, .netif = m->netif, .plen = rtm->rtm_dst_len};
	struct attrs a = attrs_of(nlh, sizeof(*rtm));
	bool is_new = nlh->nlmsg_type == RTM_NEWROUTE;
	uint32_t table = rtm->rtm_table, oif = 0;

	get_u32(&a, RTA_TABLE, &table);
	if (table != RT_TABLE_MAIN || (rtm->rtm_flags & RTM_F_CLONED) || rtm->rtm_src_len ||
	    rtm->rtm_tos || !route_type(rtm->rtm_type, &ev.route_type))
		return;
	if (rtm->rtm_family == AF_INET)
		ev.addr = ip_addr_v4(0);
	else if (rtm->rtm_family != AF_INET6)
		return;
	get_addr(&a, RTA_DST, rtm->rtm_family, &ev.addr);
	get_addr(&a, RTA_PREFSRC, rtm->rtm_family, &ev.prefsrc);
	get_u32(&a, RTA_PRIORITY, &ev.metric);
	get_u32(&a, RTA_OIF, &oif);
	if (a.tb[RTA_MULTIPATH])
		on_multipath(m, &ev, a.tb[RTA_MULTIPATH], rtm->rtm_family, is_new);
	else if (ev.route_type != NET_RT_UNICAST || (int)oif == m->ifindex)
		on_next_hop(m, &ev, &a, rtm->rtm_family, is_new && !(rtm->rtm_flags & RTNH_F_DEAD));
	if (is_new && (nlh->nlmsg_flags & NLM_F_REPLACE) && !m->dumping)
		end_replaced(m, &ev);
}

static void on_neigh(struct nl_mirror *m, const struct nlmsghdr *nlh)
{
	const struct ndmsg *ndm = mnl_nlmsg_get_payload(nlh);
	struct net_event ev = {.kind = NET_NEIGH_SET,
			       .netif = m->netif,
			       .permanent = ndm->ndm_state & NUD_PERMANENT};
	const uint16_t usable = NUD_PERMANENT | NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE;
	struct attrs a = attrs_of(nlh, sizeof(*ndm));

	if (ndm->ndm_ifindex != m->ifindex || (ndm->ndm_flags & NTF_PROXY) ||
	    !get_addr(&a, NDA_DST, ndm->ndm_family, &ev.addr))
		return;
	if (nlh->nlmsg_type == RTM_NEWNEIGH && (ndm->ndm_state & usable) &&
	    get_mac(&a, NDA_LLADDR, ev.mac)) {
		fact_set(m, &ev);
		return;
	}
	fact_del(m, &ev);
}

static const struct {
	uint16_t new_type, del_type;
	size_t hdr_len;
	void (*fn)(struct nl_mirror *m, const struct nlmsghdr *nlh);
} handlers[] = {
	{RTM_NEWLINK, RTM_DELLINK, sizeof(struct ifinfomsg), on_link},
	{RTM_NEWADDR, RTM_DELADDR, sizeof(struct ifaddrmsg), on_addr},
	{RTM_NEWROUTE, RTM_DELROUTE, sizeof(struct rtmsg), on_route},
	{RTM_NEWNEIGH, RTM_DELNEIGH, sizeof(struct ndmsg), on_neigh},
};

static int on_msg(const struct nlmsghdr *nlh, void *ctx)
{
	struct nl_mirror *m = ctx;

	m->msg++;
	for (unsigned i = 0; i < MNL_ARRAY_SIZE(handlers); i++)
		if ((nlh->nlmsg_type == handlers[i].new_type ||
		     nlh->nlmsg_type == handlers[i].del_type) &&
		    mnl_nlmsg_get_payload_len(nlh) >= handlers[i].hdr_len)
			handlers[i].fn(m, nlh);
	return MNL_CB_OK;
}

static int on_own_link(const struct nlmsghdr *nlh, void *ctx)
{
	on_msg(nlh, ctx);
	return MNL_CB_STOP;
}

/* ---- dumps ---- */

static void sweep(struct nl_mirror *m)
{
	for (uint32_t i = 0; i < m->n_buckets; i++) {
		struct fact **at = &m->buckets[i];

		while (*at)
			if ((*at)->seen != m->dump)
				fact_end(m, at);
			else
				at = &(*at)->next;
	}
}

static int dump(struct nl_mirror *m)
{
	const uint8_t families[] = {AF_INET, AF_INET6};
	const uint16_t types[] = {RTM_GETADDR, RTM_GETROUTE, RTM_GETNEIGH};
	int r;

	m->dump++;
	m->dumping = true;
	r = ask_link(m->ifindex, NULL, m->buf, on_own_link, m);
	if (r == -ENODEV) {
		m->gone = true;
		r = 0;
	}
	for (unsigned t = 0; !r && t < MNL_ARRAY_SIZE(types); t++)
		for (unsigned i = 0; !r && i < MNL_ARRAY_SIZE(families); i++)
			r = ask_all(types[t], families[i], m->buf, on_msg, m);
	m->dumping = false;
	m->resync = r == -EINTR; /* still torn: there are changes, so there will be messages */
	if (r == -EINTR)
		return 0;
	if (!r)
		sweep(m);
	return r;
}

/* ---- the mirror ---- */

int nl_mirror_open(struct nl_mirror **out, int ifindex, uint16_t netif, nl_event_fn fn, void *ctx)
{
	const unsigned groups = RTMGRP_LINK | RTMGRP_NEIGH | RTMGRP_IPV4_IFADDR |
				RTMGRP_IPV6_IFADDR | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;
	struct nl_mirror *m = calloc(1, sizeof(*m));
	int rcvbuf = RCVBUF, r = -ENOMEM;

	if (!m)
		return r;
	m->ifindex = ifindex;
	m->netif = netif;
	m->fn = fn;
	m->ctx = ctx;
	m->n_buckets = BUCKETS_MIN;
	m->buckets = calloc(m->n_buckets, sizeof(struct fact *));
	if (!m->buckets)
		goto err;
	r = open_socket(&m->events, groups, SOCK_NONBLOCK);
	if (r < 0)
		goto err;
	setsockopt(mnl_socket_get_fd(m->events), SOL_SOCKET, SO_RCVBUFFORCE, &rcvbuf,
		   sizeof(rcvbuf));
	r = dump(m);
	if (!r)
		r = m->gone ? -ENODEV : m->err;
	if (r < 0)
		goto err;
	*out = m;
	return 0;
err:
	nl_mirror_close(m);
	return r;
}

int nl_mirror_fd(const struct nl_mirror *m)
{
	return mnl_socket_get_fd(m->events);
}

int nl_mirror_read(struct nl_mirror *m)
{
	for (;;) {
		ssize_t n = mnl_socket_recvfrom(m->events, m->buf, BUF_LEN);

		if (n < 0 && errno == EAGAIN)
			break;
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != ENOBUFS && errno != ENOSPC)
			return -errno;
		if (n < 0 || mnl_cb_run(m->buf, (size_t)n, 0, 0, on_msg, m) < 0)
			m->resync = true; /* lost, or too long for us */
	}
	if (m->resync && !m->err) {
		int r = dump(m);

		if (r < 0)
			return r;
	}
	return m->err;
}

bool nl_mirror_gone(const struct nl_mirror *m)
{
	return m->gone;
}

void nl_mirror_close(struct nl_mirror *m)
{
	for (uint32_t i = 0; m->buckets && i < m->n_buckets; i++) {
		struct fact *f, *next;

		for (f = m->buckets[i]; f; f = next) {
			next = f->next;
			free(f);
		}
	}
	free(m->buckets);
	if (m->events)
		mnl_socket_close(m->events);
	free(m);
}
