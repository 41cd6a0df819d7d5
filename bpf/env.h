/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * All that the decision logic needs from outside: map lookups, the clock, the frame's length.
 * tandem.bpf.c binds it to the kernel (maps.h); a native test brings functions of its own.
 */
#ifndef TANDEM_BPF_ENV_H
#define TANDEM_BPF_ENV_H

#include "common/flow.h"
#include "common/reasons.h"
#include "common/syncookie.h"

#ifdef __bpf__
#include <stddef.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#define ENV static __always_inline
#else
#define ENV
#ifndef __always_inline
#define __always_inline inline __attribute__((always_inline))
#endif
#ifndef barrier_var
#define barrier_var(v) __asm__ volatile("" : "+r"(v))
#endif
#endif

/*
 * Datagrams of ours of which a first fragment was seen: later fragments carry no ports, and
 * without this could not be told from the kernel's.
 */
struct frag_key {
	struct ip_addr src, dst;
	uint32_t id;
	uint8_t proto; /* zero for IPv6, whose identification does not depend on it */
	uint8_t pad[3];
};
_Static_assert(sizeof(struct frag_key) == 40, "frag_key");

struct frag_val {
	uint64_t seen; /* env_now() of the first fragment */
};

ENV bool env_is_local(const struct ip_addr *a);
ENV struct deny_val *env_denied(const struct deny_key *k);
ENV struct flow_val *env_flow(const struct flow_key *k);
ENV const struct port_val *env_port(const struct port_key *k);
/* .slot of an entry that is no single one. NULL: there is no such table. */
ENV const struct spread *env_spread(uint32_t slot);
ENV const struct frag_val *env_frag(const struct frag_key *k);
ENV void env_frag_set(const struct frag_key *k, const struct frag_val *v);
ENV void env_frag_del(const struct frag_key *k);
/* Monotonic, in ns, as coarse as a timer tick (4 ms at 250 Hz). */
ENV uint64_t env_now(void);
/* NULL: no listener is under a SYN flood. */
ENV const struct syncookie_secrets *env_syncookies(void);
/* A pair that has returned a cookie: what it sends until it has a flow entry is not in doubt. */
ENV void env_cookie_seen(const struct flow_key *k);
ENV bool env_cookie_was_seen(const struct flow_key *k);
/* May one more packet, of which nothing is known, be shown to the slow path? */
ENV bool env_cookie_spare(void);
/* Of the whole frame, of which only the first part may be readable in place. */
ENV uint32_t env_frame_len(void *ctx);

#endif
