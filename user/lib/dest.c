// SPDX-License-Identifier: BSD-2-Clause
/*
 * Where datagrams go: a cache of destinations. The kernel's routing table says by which interface,
 * next hop and source address (kroute.h), the daemon's table of neighbours has the next hop's
 * MAC. An entry is asked for anew after a second, or when the daemon says that routes have changed.
 *
 * A neighbour that is not known, or not verified lately, is the daemon's to find (SHM_RESOLVE);
 * until then datagrams leave by the kernel.
 */
#include <stdlib.h>
#include <linux/rtnetlink.h>
#include "user/core/tcp_info.h"
#include "kroute.h"
#include "udp.h"

#define ENTRIES 4096u /* a power of two */
#define FRESH_NS NS_PER_S
#define ASK_NS NS_PER_S
#define PMTU_NS (600 * NS_PER_S) /* Linux's ip_rt_mtu_expires */
#define MTU_MIN 552u		 /* Linux's ip_rt_min_pmtu: less is not believed */

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
	struct kroute r;
	uint32_t mtu;
	int netif;

	d->seq = seq;
	d->checked = now;
	d->ours = !eng.foreign && !eng.cut && !kroute_get(d->addr, &r) && r.type == RTN_UNICAST && r.src;
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

void dest_forget(void)
{
	if (eng.dests)
		memset(eng.dests, 0, ENTRIES * sizeof(*eng.dests));
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
