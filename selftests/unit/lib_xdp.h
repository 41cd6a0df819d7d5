/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The XDP program's decision about a frame to a listener under a SYN flood, compiled natively
 * (bpf/decide.h), for tests of the stack that it acts for.
 */
#ifndef TANDEM_UNIT_LIB_XDP_H
#define TANDEM_UNIT_LIB_XDP_H

#include "common/flow.h"
#include "common/reasons.h"
#include "common/syncookie.h"

struct xdp_answer {
	enum xdp_reason reason;
	uint8_t b[128]; /* XR_SYN_COOKIE: the frame that is sent back */
	uint32_t len;
};

/* All of it at @now, on a frame to @mac; nothing is remembered of frames before. */
struct xdp_answer xdp_on_flooded(const struct syncookie_secrets *c, const struct port_cookies *pc,
				 const uint8_t mac[6], uint64_t now, uint8_t *frame, uint32_t len);

#endif
