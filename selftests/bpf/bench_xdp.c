// SPDX-License-Identifier: BSD-2-Clause
/*
 * What the XDP program costs for one packet of an established flow: all of it, from the first
 * byte parsed to the socket found and the metadata written, by BPF_PROG_TEST_RUN. The flow
 * is one of 50,000; the best of several rounds is given, as other load only adds.
 */
#include "xdp_env.h"

#define FLOWS 50000u
#define REPEAT 1000000
#define ROUNDS 7

static int bench_setup(struct xdp_env *e)
{
	int err = env_open(e);

	if (err)
		return err;
	if (env_set_addr(e, US4) || env_set_addr(e, US6) || env_set_xsk(e, 0, true) ||
	    env_set_xsk(e, 1, true))
		return -errno;
	for (uint32_t i = 0; i < FLOWS; i++) {
		struct flow_key k = env_flow_key(PEER4, (uint16_t)(1024 + i), US4, 80, PROTO_TCP);

		if (env_set_flow(e, &k, 1, FLOW_ESTABLISHED))
			return -errno;
	}
	return 0;
}

int main(void)
{
	struct xdp_env e;
	struct packet p;
	LIBBPF_OPTS(bpf_test_run_opts, o, .data_in = p.b, .repeat = REPEAT);
	uint32_t best = UINT32_MAX;
	int err = bench_setup(&e);

	if (err) {
		fprintf(stderr, "bench_xdp: cannot set up (root is needed): %s\n", strerror(-err));
		return 1;
	}
	pkt_tcp4(&p, 1024 + FLOWS / 2, 80, 0x10);
	o.data_size_in = p.len;
	for (int i = 0; i < ROUNDS; i++) {
		err = bpf_prog_test_run_opts(e.prog_fd, &o);
		if (err || o.retval != 4 /* XDP_REDIRECT */) {
			fprintf(stderr, "bench_xdp: not redirected: error %d, verdict %u\n", err,
				o.retval);
			return 1;
		}
		if (o.duration < best)
			best = o.duration;
	}
	printf("{\"xdp_ns_per_established_packet\": %u}\n", best);
	env_close(&e);
	return 0;
}
