/* SPDX-License-Identifier: BSD-2-Clause */
/* What the kernel's routing table says of a destination. */
#ifndef TANDEM_LIB_KROUTE_H
#define TANDEM_LIB_KROUTE_H

#include <stdint.h>

struct kroute {
	int type, oif;		    /* RTN_*; an interface's index */
	uint32_t src, gateway, mtu; /* IPv4, network order; 0: none is named */
};

/* 0, or -1 where there is no route to @dst (IPv4, network order). One question, by rtnetlink(7). */
int kroute_get(uint32_t dst, struct kroute *r);

#endif
