// SPDX-License-Identifier: BSD-2-Clause
/*
 * xdp_probe(): what an interface can do, found by trying. A small program (bpf/probe.bpf.c) is
 * attached by a link that goes with our descriptor, a neighbour is made to answer a frame that
 * XDP sent, and queue 0 is bound with each feature. Nothing is left behind, even if we are killed.
 *
 * What cannot be tried is chosen for safety, and said so: on a veth in native mode, XDP_TX and
 * redirection may both be lost without a trace, so replies are then left to user space.
 */
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <errno.h>
#include <linux/ethtool.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>
#include "bpf/probe.skel.h"
#include "bpf/wire.h"
#include "clock.h"
#include "libbpf_log.h"
#include "netlink.h"
#include "xdp_prog.h"
#include "xsk.h"

#define MAX_HOSTS 16
#define REPLY_WAIT_NS (250 * NS_PER_MS)
#define PROBE_FRAMES 256u
#define PROBE_RING 64u
/* What fits into a frame behind XDP's headroom: above it, packets have several descriptors. */
#define MTU_ONE_FRAME 3500u

struct probe {
	struct nl_link link;
	struct probe_bpf *skel;
	int link_fd;
	struct xdp_probe *out;
	char *why;
	size_t why_len;
	/* Neighbours that might answer, and the addresses that are our own. */
	uint32_t hosts[MAX_HOSTS], own[MAX_HOSTS];
	unsigned n_hosts, n_own;
	uint32_t answered_by;
};

static int fail(struct probe *p, int err, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static int fail(struct probe *p, int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(p->why, p->why_len, fmt, ap);
	va_end(ap);
	return err;
}

static void note(struct probe *p, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* One more line of reasons. */
static void note(struct probe *p, const char *fmt, ...)
{
	size_t n = strlen(p->out->reason), room = sizeof(p->out->reason) - n;
	va_list ap;

	if (n && room > 1) {
		p->out->reason[n] = '\n';
		p->out->reason[n + 1] = '\0';
		n++;
		room--;
	}
	va_start(ap, fmt);
	vsnprintf(p->out->reason + n, room, fmt, ap);
	va_end(ap);
}

/* ---- what the kernel says ---- */

static bool is_veth(const struct probe *p)
{
	return !strcmp(p->link.kind, "veth");
}

static bool is_loopback(const struct probe *p)
{
	return !strcmp(p->link.kind, "loopback");
}

static void read_driver(struct probe *p)
{
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
	struct ifreq ifr = {.ifr_data = (void *)&info};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	const char *name = p->link.kind;

	memcpy(ifr.ifr_name, p->link.name, IF_NAMESIZE);
	if (fd >= 0 && ioctl(fd, SIOCETHTOOL, &ifr) == 0 && info.driver[0])
		name = info.driver;
	snprintf(p->out->driver, sizeof(p->out->driver), "%s", *name ? name : "unknown");
	if (fd >= 0)
		close(fd);
}

/*
 * Drivers without hardware behind them hand over what the sender's stack made, and it leaves
 * checksums to hardware that is not there. Receivers then have to accept the partial form.
 */
static bool has_partial_csum(const struct probe *p)
{
	static const char *const soft[] = {"virtio_net", "vmxnet3", "hv_netvsc", "xen_netfront",
					   "vif", "tun"};

	if (p->link.kind[0])
		return true; /* only virtual links have one */
	for (unsigned i = 0; i < sizeof(soft) / sizeof(soft[0]); i++) {
		if (!strcmp(p->out->driver, soft[i]))
			return true;
	}
	return false;
}

static int read_link(struct probe *p, const char *ifname)
{
	int err = nl_link_get(ifname, &p->link);

	if (err == -ENODEV)
		return fail(p, err, "there is no interface %s in this network namespace", ifname);
	if (err)
		return fail(p, err, "cannot look up interface %s: %s", ifname, strerror(-err));
	if (p->link.xdp_prog_id)
		return fail(p, -EBUSY,
			    "another XDP program (id %u) is attached to %s: `bpftool net` shows "
			    "it, `ip link set %s xdp off` removes it if no link holds it",
			    p->link.xdp_prog_id, ifname, ifname);
	p->out->mtu = p->link.mtu;
	p->out->n_queues = p->link.n_rx_queues;
	if (p->out->n_queues > TD_MAX_QUEUES)
		return fail(p, -E2BIG,
			    "%s has %u receive queues, tandem serves %u at most: `ethtool -L %s "
			    "combined %u`", ifname, p->out->n_queues, TD_MAX_QUEUES, ifname,
			    TD_MAX_QUEUES);
	read_driver(p);
	p->out->partial_csum = has_partial_csum(p);
	return 0;
}

/* ---- attaching ---- */

static int load(struct probe *p)
{
	libbpf_log_reset();
	p->skel = probe_bpf__open_and_load();
	if (p->skel)
		return 0;
	if (errno == EPERM)
		return fail(p, -EPERM,
			    "loading an XDP program is not permitted: run as root (CAP_BPF, "
			    "CAP_NET_ADMIN and CAP_PERFMON are needed)");
	return fail(p, -errno, "the kernel refused the probe's program: %s (%s)", strerror(errno),
		    libbpf_log_last());
}

static int attach(struct probe *p, enum xdp_mode mode)
{
	LIBBPF_OPTS(bpf_link_create_opts, o,
		    .flags = mode == XDP_MODE_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);

	p->link_fd = bpf_link_create(bpf_program__fd(p->skel->progs.probe), p->link.ifindex,
				     BPF_XDP, &o);
	return p->link_fd < 0 ? -errno : 0;
}

static int attach_generic(struct probe *p)
{
	int err = attach(p, XDP_MODE_GENERIC);

	if (err)
		return fail(p, err == -EINVAL ? -EOPNOTSUPP : err,
			    "%s cannot run XDP programs in generic mode: %s", p->link.name,
			    strerror(-err));
	p->out->generic_ok = true;
	p->out->mode = XDP_MODE_GENERIC;
	return 0;
}

/* Native mode disturbs a NIC's link and takes a veth's peer its TSO: tried only to be used. */
static int choose_mode(struct probe *p, enum xdp_mode wanted)
{
	int err;

	if (wanted == XDP_MODE_GENERIC) {
		err = attach_generic(p);
		if (!err)
			note(p, "mode generic: as asked for");
		return err;
	}
	if (wanted == XDP_MODE_AUTO && (is_veth(p) || is_loopback(p))) {
		err = attach_generic(p);
		if (!err)
			note(p, "mode generic: %s",
			     is_veth(p) ? "native takes a veth's peer its TSO" :
					  "the only one that lo has");
		return err;
	}
	err = attach(p, XDP_MODE_NATIVE);
	if (!err) {
		p->out->native_ok = true;
		p->out->mode = XDP_MODE_NATIVE;
		note(p, "mode native: %s", wanted == XDP_MODE_AUTO ? "the driver has it" :
								      "as asked for");
		return 0;
	}
	if (wanted == XDP_MODE_NATIVE)
		return fail(p, -EOPNOTSUPP,
			    "%s (driver %s) cannot run XDP programs in native mode (%s): "
			    "choose mode auto or generic", p->link.name, p->out->driver,
			    strerror(-err));
	note(p, "mode generic: native refused (%s)", strerror(-err));
	return attach_generic(p);
}

/* ---- does a reply from XDP arrive? ---- */

static void add_addr(uint32_t *list, unsigned *n, uint32_t addr)
{
	for (unsigned i = 0; i < *n; i++) {
		if (list[i] == addr)
			return;
	}
	if (*n < MAX_HOSTS)
		list[(*n)++] = addr;
}

/* Of the subnet of our own address: its first one, mostly the gateway's, and those next to ours. */
static void add_usual_hosts(struct probe *p, uint32_t own_be, uint8_t plen)
{
	uint32_t own = ntohl(own_be), mask = plen ? ~0u << (32 - plen) : 0;
	const uint32_t hosts[] = {(own & mask) + 1, own + 1, own - 1};

	for (unsigned i = 0; i < sizeof(hosts) / sizeof(hosts[0]); i++) {
		bool edge = plen < 31 && (hosts[i] == (own & mask) || hosts[i] == (own | ~mask));

		if ((hosts[i] & mask) == (own & mask) && !edge)
			add_addr(p->hosts, &p->n_hosts, htonl(hosts[i]));
	}
}

static void on_event(void *ctx, const struct net_event *ev)
{
	struct probe *p = ctx;

	if (ev->kind == NET_ADDR_ADD && ip_addr_is_v4(&ev->addr)) {
		add_addr(p->own, &p->n_own, ip_addr_to_v4(&ev->addr));
		add_usual_hosts(p, ip_addr_to_v4(&ev->addr), ev->plen);
	} else if (ev->kind == NET_ROUTE_ADD && ip_addr_is_v4(&ev->gw) &&
		   !ip_addr_is_any(&ev->gw)) {
		add_addr(p->hosts, &p->n_hosts, ip_addr_to_v4(&ev->gw));
	} else if (ev->kind == NET_NEIGH_SET && ip_addr_is_v4(&ev->addr)) {
		add_addr(p->hosts, &p->n_hosts, ip_addr_to_v4(&ev->addr));
	}
}

static void find_hosts(struct probe *p)
{
	struct nl_mirror *m;

	if (nl_mirror_open(&m, p->link.ifindex, 0, on_event, p) == 0)
		nl_mirror_close(m);
}

static bool is_own(const struct probe *p, uint32_t addr)
{
	for (unsigned i = 0; i < p->n_own; i++) {
		if (p->own[i] == addr)
			return true;
	}
	return false;
}

static int arp_socket(const struct probe *p)
{
	struct sockaddr_ll ll = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ARP),
				 .sll_ifindex = p->link.ifindex};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	if (fd >= 0 && bind(fd, (struct sockaddr *)&ll, sizeof(ll)) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

static void send_arp_probe(const struct probe *p, int fd, uint32_t host)
{
	struct {
		struct wire_eth eth;
		struct wire_arp arp;
	} WIRE f = {
		.eth = {.dst = {{0xffff, 0xffff, 0xffff}}, .type = htons(ETH_P_ARP)},
		.arp = {.htype = htons(1), .ptype = htons(ETH_P_IP), .hlen = 6, .plen = 4,
			.op = htons(ARP_REQUEST)},
	};

	wire_mac_set(&f.eth.src, p->link.mac);
	wire_mac_set(&f.arp.sha, p->link.mac);
	memcpy(&f.arp.tpa, &host, 4);
	if (send(fd, &f, sizeof(f), 0) < 0)
		return; /* then nobody answers, which is found out anyway */
}

/* Until the second answer, or the time is over. Frames are only read to wait for more. */
static void wait_answer(const struct probe *p, int fd)
{
	struct mtime end = mtime_add_ns(clock_now(), REPLY_WAIT_NS);
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	char frame[64];

	while (!p->skel->bss->answered) {
		uint64_t left = mtime_diff_ns(end, clock_now());

		if (!left || poll(&pfd, 1, (int)(left / NS_PER_MS) + 1) < 0)
			return;
		while (recv(fd, frame, sizeof(frame), 0) > 0)
			;
	}
}

enum arrival { ARRIVED, LOST, NOBODY_ANSWERS };

static enum arrival try_replies(struct probe *p, bool by_redirect)
{
	int fd = arp_socket(p);

	if (fd < 0)
		return NOBODY_ANSWERS;
	memcpy((void *)(uintptr_t)p->skel->bss->mac, p->link.mac, 6);
	p->skel->bss->by_redirect = by_redirect;
	p->skel->bss->bounced_from = 0;
	p->skel->bss->answered = 0;
	p->skel->bss->armed = true;
	for (unsigned i = 0; i < p->n_hosts; i++) {
		if (!is_own(p, p->hosts[i]))
			send_arp_probe(p, fd, p->hosts[i]);
	}
	wait_answer(p, fd);
	p->skel->bss->armed = false;
	close(fd);
	p->answered_by = p->skel->bss->bounced_from;
	if (p->skel->bss->answered)
		return ARRIVED;
	return p->answered_by ? LOST : NOBODY_ANSWERS;
}

static void note_reply(struct probe *p, const char *how)
{
	char text[INET_ADDRSTRLEN];

	inet_ntop(AF_INET, &p->answered_by, text, sizeof(text));
	note(p, "replies %s: %s answered", how, text);
}

static void choose_reply_mode(struct probe *p)
{
	const char *why_not = p->link.up ? "no neighbour answers" : "the link is down";
	bool safe = p->out->mode == XDP_MODE_GENERIC || !is_veth(p);
	enum arrival tx;

	p->out->reply_mode = XDP_REPLY_TX;
	if (is_loopback(p)) {
		note(p, "replies by XDP_TX: lo");
		return;
	}
	find_hosts(p);
	tx = try_replies(p, false);
	if (tx == ARRIVED) {
		note_reply(p, "by XDP_TX");
	} else if (tx == LOST && try_replies(p, true) == ARRIVED) {
		p->out->reply_mode = XDP_REPLY_REDIRECT;
		note_reply(p, "by redirect, XDP_TX is lost");
	} else if (tx == LOST) {
		p->out->reply_mode = XDP_REPLY_NONE;
		note(p, "replies not from XDP: what it sends is lost");
	} else if (safe) {
		note(p, "replies by XDP_TX: not tried, %s", why_not);
	} else {
		p->out->reply_mode = XDP_REPLY_NONE;
		note(p, "replies not from XDP: not tried, %s", why_not);
	}
}

/* ---- AF_XDP ---- */

static int try_bind(struct probe *p, struct xsk_opts *o)
{
	struct umem_queue uq = {0};
	struct umem umem;
	struct xsk x;
	int err;

	o->ifindex = p->link.ifindex;
	o->rx_size = o->tx_size = o->fill_size = o->comp_size = PROBE_RING;
	err = umem_create(&umem, PROBE_FRAMES);
	if (err)
		return err;
	err = xsk_create(&x, &umem, o, NULL, &uq);
	if (!err) {
		umem_queue_unmap(&uq);
		xsk_close(&x);
	}
	umem_close(&umem);
	return err;
}

static int bind_failed(struct probe *p, int err)
{
	switch (err) {
	case -EBUSY:
		return fail(p, err,
			    "queue 0 of %s is in use by another AF_XDP socket", p->link.name);
	case -EPERM:
		return fail(p, err, "AF_XDP sockets are not permitted: run as root (CAP_NET_RAW is "
			    "needed)");
	case -EAFNOSUPPORT:
		return fail(p, err, "the kernel has no AF_XDP (CONFIG_XDP_SOCKETS)");
	default:
		return fail(p, err,
			    "cannot bind an AF_XDP socket to queue 0 of %s: %s", p->link.name,
			    strerror(-err));
	}
}

static bool is_unsupported(int err)
{
	return err == -EOPNOTSUPP || err == -EINVAL || err == -EPROTONOSUPPORT;
}

/* The best that goes: zero-copy (native only), else copying with packets of several frames. */
static int choose_bind(struct probe *p)
{
	struct xdp_probe *out = p->out;
	struct xsk_opts zc = {.zerocopy = true, .sg = true}, copy = {.sg = true, .tx_csum = true};
	int err;

	if (out->mode == XDP_MODE_NATIVE) {
		err = try_bind(p, &zc);
		if (is_unsupported(err) && out->mtu <= MTU_ONE_FRAME) {
			zc.sg = false;
			err = try_bind(p, &zc);
		}
		if (err == -EBUSY)
			return bind_failed(p, err);
		out->zerocopy_ok = !err;
		out->sg_ok = !err && zc.sg;
		if (!err)
			return 0;
	}
	err = try_bind(p, &copy);
	if (is_unsupported(err)) {
		copy.sg = false;
		err = try_bind(p, &copy);
	}
	if (err)
		return bind_failed(p, err);
	out->sg_ok = copy.sg;
	out->tx_csum_ok = copy.tx_csum;
	if (!out->sg_ok && out->mtu > MTU_ONE_FRAME)
		return fail(p, -EOPNOTSUPP,
			    "%s has MTU %u, and this kernel's AF_XDP takes no packets above "
			    "%u: `ip link set %s mtu %u`", p->link.name, out->mtu, MTU_ONE_FRAME,
			    p->link.name, MTU_ONE_FRAME);
	return 0;
}

int xdp_probe(const char *ifname, enum xdp_mode wanted, struct xdp_probe *out, char *why,
	      size_t len)
{
	struct probe *p = calloc(1, sizeof(*p));
	int err;

	if (!p) {
		snprintf(why, len, "out of memory");
		return -ENOMEM;
	}
	*out = (struct xdp_probe){0};
	*p = (struct probe){.out = out, .why = why, .why_len = len, .link_fd = -1};
	err = read_link(p, ifname);
	if (!err)
		err = load(p);
	if (!err)
		err = choose_mode(p, wanted);
	if (err)
		goto out;
	out->frags_ok = true; /* the program that was attached says that it can take them */
	choose_reply_mode(p);
	err = choose_bind(p);
	if (err)
		goto out;
	note(p, "AF_XDP: %s, %s, checksums %s", out->zerocopy_ok ? "zero-copy" : "copy mode",
	     out->sg_ok ? "multi-buffer" : "single buffer", out->tx_csum_ok ? "offloaded" : "ours");
	note(p, "%u queue%s, MTU %u, inbound checksums %s", out->n_queues,
	     out->n_queues == 1 ? "" : "s", out->mtu,
	     out->partial_csum ? "may be partial" : "full");
out:
	if (p->link_fd >= 0)
		close(p->link_fd);
	probe_bpf__destroy(p->skel);
	free(p);
	return err;
}
