/* SPDX-License-Identifier: BSD-2-Clause */
/* What the congestion control algorithms share; callers use cc_get() (internal.h). */
#ifndef TANDEM_CORE_CC_H
#define TANDEM_CORE_CC_H

#include "internal.h"

extern const struct cc_ops cc_reno, cc_cubic;

#define CC_CWND_MAX (1u << 30) /* the largest window that TCP can announce */

uint32_t cc_half_flight(const struct tcb *t, uint32_t in_flight);
uint32_t cc_slow_start(struct tcb *t, uint32_t acked);
void cc_restart_window(struct tcb *t, struct mtime now);

#endif
