/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The XDP program on one interface or several: loading, attaching by bpf_link,
 * pinning under /sys/fs/bpf/tandem/NAME/ (link, flows, ports, addrs, xsks, stats, settings, deny;
 * link_1, ... of further interfaces), taking it all away again, reading and writing the maps.
 */
#ifndef TANDEM_IO_XDP_PROG_H
#define TANDEM_IO_XDP_PROG_H

#include <stddef.h>
#include <stdbool.h>
#include "common/flow.h"
#include "common/reasons.h"
#include "common/syncookie.h"

#define TD_BPFFS "/sys/fs/bpf"
#define TD_PIN_ROOT TD_BPFFS "/tandem"

enum xdp_mode { XDP_MODE_AUTO = 0, XDP_MODE_NATIVE, XDP_MODE_GENERIC };
const char *xdp_mode_name(enum xdp_mode m);

struct xdp_prog; /* opaque */

struct xdp_prog_opts {
	const char *name; /* pin directory */
	int ifindex;
	enum xdp_mode mode; /* NATIVE or GENERIC: what the probe chose */
	uint32_t max_flows;
	struct xdp_settings settings;
};

/*
 * Loads, attaches, pins. Nothing is left behind on failure. -EEXIST: pins of that name exist;
 * -EBUSY: another XDP program is on the interface; -EPERM; -EOPNOTSUPP: this mode does not go.
 * @why: a sentence for people, with what to do.
 */
int xdp_prog_attach(struct xdp_prog **out, const struct xdp_prog_opts *o, char *why, size_t len);
/* One more interface, with the maps that there are; o->name and .max_flows are as before. */
int xdp_prog_add(struct xdp_prog *p, const struct xdp_prog_opts *o, char *why, size_t len);
/* Removes links and pins and closes the maps. The interfaces are as before. */
void xdp_prog_detach(struct xdp_prog *p);
/* Removes what is pinned under @name, without a daemon. -ENOENT: nothing is. */
int xdp_prog_remove_pins(const char *name);

/* Map file descriptors, for bpf_map_*_elem(). */
int xdp_prog_flows_fd(const struct xdp_prog *p);
int xdp_prog_ports_fd(const struct xdp_prog *p);

int xdp_flow_set(struct xdp_prog *p, const struct flow_key *k, const struct flow_val *v);
int xdp_flow_del(struct xdp_prog *p, const struct flow_key *k);
int xdp_port_set(struct xdp_prog *p, const struct port_key *k, const struct port_val *v);
int xdp_port_del(struct xdp_prog *p, const struct port_key *k);
/* The table that a port with TD_SLOT_SPREAD(@i) is spread by. */
int xdp_spread_set(struct xdp_prog *p, uint32_t i, const struct spread *s);
/* The secrets for SYN cookies, which ports with .cookies.on need; NULL: no port does any more. */
int xdp_syncookies_set(struct xdp_prog *p, const struct syncookie_secrets *c);
int xdp_addr_set(struct xdp_prog *p, const struct ip_addr *a);
int xdp_addr_del(struct xdp_prog *p, const struct ip_addr *a);
int xdp_xsk_set(struct xdp_prog *p, uint32_t slot, uint32_t queue, int xsk_fd);
int xdp_xsk_del(struct xdp_prog *p, uint32_t slot, uint32_t queue);
/* @netif: 0 is the first interface, the others follow as they were added. */
int xdp_settings_set(struct xdp_prog *p, uint32_t netif, const struct xdp_settings *s);

/* Reads a pinned map of @name without the daemon: per-CPU sums into out[XS_MAX]. */
int xdp_read_stats(const char *name, uint64_t out[XS_MAX]);
/* Calls @fn for each entry of the pinned flows map; stops when it returns false. */
typedef bool (*xdp_flow_fn)(void *ctx, const struct flow_key *k, const struct flow_val *v);
int xdp_read_flows(const char *name, xdp_flow_fn fn, void *ctx);

/*
 * The pinned deny list of @name: .prefixlen counts the 128 bits, those beyond it are zero. -EEXIST,
 * -ENOENT: it is on it already, or is not.
 */
int xdp_deny_add(const char *name, const struct deny_key *k);
int xdp_deny_del(const char *name, const struct deny_key *k);
typedef bool (*xdp_deny_fn)(void *ctx, const struct deny_key *k, const struct deny_val *v);
int xdp_read_deny(const char *name, xdp_deny_fn fn, void *ctx);

/* Mounts bpffs at TD_BPFFS if it is not there. */
int xdp_bpffs_ensure(char *why, size_t len);

/*
 * What the interface can do, found by trying (probe.c). For a veth, the peer's driver is not
 * ours to change: the probe attaches a small program, sends itself packets, and takes it away.
 */
struct xdp_probe {
	enum xdp_mode mode; /* chosen */
	enum xdp_reply_mode reply_mode;
	bool native_ok, generic_ok, frags_ok, zerocopy_ok, sg_ok, tx_csum_ok;
	bool partial_csum; /* inbound frames may carry partial checksums */
	uint32_t n_queues;
	uint32_t mtu;
	char driver[32];
	char reason[256]; /* why this was chosen, one line per choice, '\n' between */
};
int xdp_probe(const char *ifname, enum xdp_mode wanted, struct xdp_probe *out, char *why,
	      size_t len);

#endif
