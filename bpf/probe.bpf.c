// SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only
/*
 * The probe's program: does a frame sent from XDP reach the other end? User space asks a neighbour
 * by an ARP probe (sender address 0.0.0.0, RFC 5227: nobody's cache changes). The first reply is
 * turned into another such request here and sent out in the way that is to be tried; a second
 * reply of the same neighbour shows that it arrived. All other traffic passes.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <stddef.h>
#include "wire.h"

char _license[] SEC("license") = "Dual BSD/GPL";

/* Written by user space. */
volatile bool armed = false;	    /* bounce the next reply */
volatile bool by_redirect = false;  /* else by XDP_TX */
volatile __u8 mac[6] = {};
/* Written here. */
volatile __u32 bounced_from = 0; /* IPv4 address of the neighbour, 0: no reply yet */
volatile __u32 answered = 0;

static __always_inline void request(struct wire_eth *eth, struct wire_arp *arp)
{
	struct wire_mac us = arp->tha;

	eth->dst = arp->sha;
	eth->src = us;
	arp->op = BE16(ARP_REQUEST);
	arp->tha = (struct wire_mac){};
	arp->tpa = arp->spa;
	arp->sha = us;
	arp->spa = (struct wire_arp_ip){};
}

SEC("xdp.frags")
int probe(struct xdp_md *ctx)
{
	struct wire_eth *eth = (void *)(long)ctx->data;
	struct wire_arp *arp = (void *)(eth + 1);
	__u32 from;

	if ((void *)(arp + 1) > (void *)(long)ctx->data_end)
		return XDP_PASS;
	if (eth->type != BE16(ETH_ARP) || arp->op != BE16(ARP_REPLY) || arp->tpa.w[0] ||
	    arp->tpa.w[1])
		return XDP_PASS;
	for (int i = 0; i < 6; i++) {
		if (((__u8 *)&arp->tha)[i] != mac[i])
			return XDP_PASS;
	}
	from = wire_arp_addr(&arp->spa);
	if (armed) {
		armed = false;
		bounced_from = from;
		request(eth, arp);
		return by_redirect ? bpf_redirect(ctx->ingress_ifindex, 0) : XDP_TX;
	}
	if (from == bounced_from)
		answered = 1;
	return XDP_PASS; /* which wakes who waits for it */
}
