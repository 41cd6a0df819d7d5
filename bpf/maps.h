/* SPDX-License-Identifier: BSD-2-Clause OR GPL-2.0-only */
/*
 * The maps (layouts: common/flow.h), and env.h bound to them and to the kernel's helpers.
 * Sizes are limits, not memory: entries are allocated as they come, except in `frags`.
 */
#ifndef TANDEM_BPF_MAPS_H
#define TANDEM_BPF_MAPS_H

#include <bpf/bpf_core_read.h>
#include "view.h"

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1); /* set before loading */
	__type(key, struct flow_key);
	__type(value, struct flow_val);
} flows SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 131072); /* every TCP and UDP port once */
	__type(key, struct port_key);
	__type(value, struct port_val);
} ports SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 16384);
	__type(key, struct addr_key);
	__type(value, struct addr_val);
} addrs SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_XSKMAP);
	__uint(max_entries, TD_XSK_MAX);
	__type(key, __u32);
	__type(value, __u32);
} xsks SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, XS_MAX);
	__type(key, __u32);
	__type(value, __u64);
} stats SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TD_MAX_NETIFS);
	__type(key, __u32);
	__type(value, struct xdp_settings);
} settings SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1 << 20);
	__type(key, struct deny_key);
	__type(value, struct deny_val);
} deny SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, struct frag_key);
	__type(value, struct frag_val);
} frags SEC(".maps");

/*
 * Not there but while a listener is under a SYN flood. Of a hash map, because an update of one is
 * seen as a whole or not at all.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct syncookie_secrets);
} syncookies SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct flow_key);
	__type(value, __u64); /* env_now() */
} cookie_pairs SEC(".maps");

struct scratch {
	__u64 jiffy, ns;   /* the time, read once per tick: reading it costs like a map lookup */
	__u64 spare_since; /* env_cookie_spare() */
	__u64 spare_left;
	__u8 headers[VIEW_COPY_SIZE]; /* of a frame whose linear part does not have them all */
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct scratch);
} scratch SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, TD_SPREADS);
	__type(key, __u32);
	__type(value, struct spread);
} spreads SEC(".maps");

ENV bool env_is_local(const struct ip_addr *a)
{
	return bpf_map_lookup_elem(&addrs, a);
}

/* The part of the kernel's trie that is looked at, found by its BTF. */
struct lpm_trie {
	size_t n_entries;
} __attribute__((preserve_access_index));

/* Most deny lists are empty: seeing that from here saves a tenth of a packet's cost. */
ENV struct deny_val *env_denied(const struct deny_key *k)
{
	const struct lpm_trie *trie = (void *)&deny;

	if (bpf_core_field_exists(trie->n_entries) && !trie->n_entries)
		return NULL;
	return bpf_map_lookup_elem(&deny, k);
}

ENV struct flow_val *env_flow(const struct flow_key *k)
{
	return bpf_map_lookup_elem(&flows, k);
}

ENV const struct port_val *env_port(const struct port_key *k)
{
	return bpf_map_lookup_elem(&ports, k);
}

ENV const struct spread *env_spread(uint32_t slot)
{
	__u32 i = slot - TD_SLOT_SPREAD(0);

	return bpf_map_lookup_elem(&spreads, &i);
}

ENV const struct frag_val *env_frag(const struct frag_key *k)
{
	return bpf_map_lookup_elem(&frags, k);
}

ENV void env_frag_set(const struct frag_key *k, const struct frag_val *v)
{
	bpf_map_update_elem(&frags, k, v, BPF_ANY);
}

ENV void env_frag_del(const struct frag_key *k)
{
	bpf_map_delete_elem(&frags, k);
}

ENV uint64_t env_now(void)
{
	uint64_t jiffy = bpf_jiffies64();
	__u32 zero = 0;
	struct scratch *c = bpf_map_lookup_elem(&scratch, &zero);

	if (!c)
		return 0;
	if (c->jiffy != jiffy) {
		c->jiffy = jiffy;
		c->ns = bpf_ktime_get_ns();
	}
	return c->ns;
}

ENV const struct syncookie_secrets *env_syncookies(void)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(&syncookies, &zero);
}

#define COOKIE_PAIR_NS (60ull * 1000000000) /* that of TIME_WAIT */

ENV void env_cookie_seen(const struct flow_key *k)
{
	__u64 now = env_now();

	bpf_map_update_elem(&cookie_pairs, k, &now, BPF_ANY);
}

ENV bool env_cookie_was_seen(const struct flow_key *k)
{
	const __u64 *seen = bpf_map_lookup_elem(&cookie_pairs, k);

	return seen && env_now() - *seen < COOKIE_PAIR_NS;
}

/* On each CPU. */
#define COOKIE_SPARE_PER_TICK 10
#define COOKIE_SPARE_TICK_NS 10000000ull

ENV bool env_cookie_spare(void)
{
	__u64 now = env_now();
	__u32 zero = 0;
	struct scratch *c = bpf_map_lookup_elem(&scratch, &zero);

	if (!c)
		return false;
	if (now - c->spare_since >= COOKIE_SPARE_TICK_NS) {
		c->spare_since = now;
		c->spare_left = COOKIE_SPARE_PER_TICK;
	}
	if (!c->spare_left)
		return false;
	c->spare_left--;
	return true;
}

ENV uint32_t env_frame_len(void *ctx)
{
	return bpf_xdp_get_buff_len(ctx);
}

#endif
