/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the XDP program answers or drops in the stack's place, as the kernel's counters would have
 * it.
 */
#ifndef TANDEM_DAEMON_XDP_MIB_H
#define TANDEM_DAEMON_XDP_MIB_H

#include "common/mib.h"
#include "common/reasons.h"

/* What is to be added to counter @m of the stack, where @xdp are the program's counters. */
uint64_t xdp_mib(const uint64_t xdp[XS_MAX], int m);

#endif
