/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the tests of the XDP program share: a world of addresses, flows and ports, and expect(),
 * which runs the program on a packet and looks at verdict, counters and metadata.
 */
#ifndef TANDEM_SELFTESTS_BPF_XDP_WORLD_H
#define TANDEM_SELFTESTS_BPF_XDP_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include "xdp_env.h"

static struct xdp_env env;

#define FLOW 1000	/* remote ports of flows to local port 80 */
#define FLOW_OPENING_PORT 1001
#define FLOW_CLOSING_PORT 1002
#define FLOW_LONELY 1003 /* its slot has no socket */
#define FLOW_BAD_SLOT 1004
#define FLOW_DAEMON 1005
#define LISTEN 80
#define UDP_DIRECT 53
#define UDP_SLOW 54
#define UDP_ONE_ADDR 55 /* bound to US4_2 only */
#define US4_2 "10.9.0.7"
#define APP_SLOT 5
#define LONELY_SLOT 6

/* ---- the world ---- */

static inline void set_flow(const char *peer, const char *us, uint16_t port, uint32_t slot,
			    uint32_t state)
{
	struct flow_key k = env_flow_key(peer, port, us, LISTEN, PROTO_TCP);

	assert_int_equal(env_set_flow(&env, &k, slot, state), 0);
}

static inline void set_flows(const char *peer, const char *us)
{
	set_flow(peer, us, FLOW, APP_SLOT, FLOW_ESTABLISHED);
	set_flow(peer, us, FLOW_OPENING_PORT, APP_SLOT, FLOW_OPENING);
	set_flow(peer, us, FLOW_CLOSING_PORT, TD_SLOT_DAEMON, FLOW_CLOSING);
	set_flow(peer, us, FLOW_LONELY, LONELY_SLOT, FLOW_ESTABLISHED);
	set_flow(peer, us, FLOW_BAD_SLOT, 1u << 26 | 1, FLOW_ESTABLISHED);
	set_flow(peer, us, FLOW_DAEMON, TD_SLOT_DAEMON, FLOW_ESTABLISHED);
}

static inline int reset(void **state)
{
	(void)state;
	env.settings = (struct xdp_settings){.reply_mode = XDP_REPLY_TX, .answer_arp = 1,
					     .answer_echo = 1, .mtu = 1500, .n_queues = 1};
	memcpy(env.settings.mac, mac_us, 6);
	if (env_set_settings(&env) || env_set_xsk(&env, TD_SLOT_DAEMON, true) ||
	    env_set_xsk(&env, APP_SLOT, true))
		return -1;
	return 0;
}

static inline int open_world(void **state)
{
	int err = env_open(&env);

	if (err) {
		fprintf(stderr, "cannot set up: %s\n", strerror(-err));
		return -1;
	}
	if (env_set_addr(&env, US4) || env_set_addr(&env, US4_2) || env_set_addr(&env, US6) ||
	    env_set_port(&env, "::", LISTEN, PROTO_TCP, TD_SLOT_DAEMON) ||
	    env_set_port(&env, "::", UDP_DIRECT, PROTO_UDP, APP_SLOT) ||
	    env_set_port(&env, "::", UDP_SLOW, PROTO_UDP, TD_SLOT_DAEMON) ||
	    env_set_port(&env, US4_2, UDP_ONE_ADDR, PROTO_UDP, APP_SLOT))
		return -1;
	set_flows(PEER4, US4);
	set_flows(PEER6, US6);
	return reset(state);
}

static inline int close_world(void **state)
{
	(void)state;
	env_close(&env);
	return 0;
}

static inline void settings(uint32_t claim_all, uint32_t reply_mode)
{
	env.settings.claim_all = claim_all;
	env.settings.reply_mode = reply_mode;
	assert_int_equal(env_set_settings(&env), 0);
}

/* ---- running ---- */

struct result {
	uint32_t action;
	enum xdp_reason reason;
	bool has_meta;
	struct pkt_meta meta;
	uint32_t len;
	uint8_t b[PKT_MAX];
};

static inline void read_stats(uint64_t out[XR_MAX])
{
	int n = libbpf_num_possible_cpus();
	uint64_t v[256];

	assert_in_range(n, 1, 256);
	for (uint32_t r = 0; r < XR_MAX; r++) {
		assert_int_equal(
			bpf_map_lookup_elem(bpf_map__fd(env.skel->maps.stats), &r, v), 0);
		out[r] = 0;
		for (int i = 0; i < n; i++)
			out[r] += v[i];
	}
}

/* The one reason that was counted since @before. */
static inline enum xdp_reason reason_since(const uint64_t before[XR_MAX])
{
	uint64_t after[XR_MAX];
	uint32_t reason = XR_MAX;

	read_stats(after);
	for (uint32_t r = 0; r < XR_MAX; r++) {
		if (after[r] == before[r])
			continue;
		assert_int_equal(after[r], before[r] + 1);
		assert_int_equal(reason, XR_MAX);
		reason = r;
	}
	assert_int_not_equal(reason, XR_MAX);
	return reason;
}

static inline uint32_t action_of(enum xdp_reason reason)
{
	enum { REDIRECT = XDP_REDIRECT, TX = XDP_TX, PASS = XDP_PASS, DROP = XDP_DROP };
	static const uint32_t actions[] = {
#define X(name, verdict, text) [XR_##name] = verdict,
		XDP_REASONS(X)
#undef X
	};
	return actions[reason];
}

static inline void split_meta(struct result *r, const uint8_t *out, uint32_t len, uint32_t meta_len)
{
	r->has_meta = meta_len == sizeof(r->meta);
	assert_true(meta_len == 0 || r->has_meta);
	memcpy(&r->meta, out, meta_len);
	r->len = len - meta_len;
	memcpy(r->b, out + meta_len, r->len);
}

/* @linear: bytes in the linear part, the rest in a fragment buffer. */
static inline int run_bytes(const uint8_t *b, uint32_t len, uint32_t linear, struct result *r)
{
	struct xdp_md in = {.data_end = linear}, out_ctx = {0};
	uint8_t out[PKT_MAX + 64];
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = b, .data_size_in = len, .data_out = out,
		    .data_size_out = sizeof(out), .ctx_in = &in, .ctx_size_in = sizeof(in),
		    .ctx_out = &out_ctx, .ctx_size_out = sizeof(out_ctx), .repeat = 1);
	uint64_t before[XR_MAX];

	read_stats(before);
	if (bpf_prog_test_run_opts(env.prog_fd, &o) < 0)
		return -errno;
	r->action = o.retval;
	r->reason = reason_since(before);
	split_meta(r, out, o.data_size_out, out_ctx.data - out_ctx.data_meta);
	assert_int_equal(r->has_meta, r->action == XDP_REDIRECT && action_of(r->reason) != XDP_TX);
	return 0;
}

static inline struct result run(const struct packet *p)
{
	static struct result r;

	assert_int_equal(run_bytes(p->b, p->len, p->len, &r), 0);
	return r;
}

#define expect(p, want)                                                                            \
	({                                                                                         \
		struct result r_ = run(p);                                                         \
		assert_int_equal(r_.reason, want);                                                 \
		assert_int_equal(r_.action, action_of(want));                                      \
		r_;                                                                                \
	})

static inline void expect_meta(const struct result *r, uint8_t flags, uint16_t l3, uint16_t l4,
			uint32_t conn, uint32_t generation)
{
	assert_true(r->has_meta);
	assert_int_equal(r->meta.magic, PKT_META_MAGIC);
	assert_int_equal(r->meta.reason, r->reason);
	assert_int_equal(r->meta.flags, flags);
	assert_int_equal(r->meta.l3_off, l3);
	assert_int_equal(r->meta.l4_off, l4);
	assert_int_equal(r->meta.conn, conn);
	assert_int_equal(r->meta.generation, generation);
}

#endif
