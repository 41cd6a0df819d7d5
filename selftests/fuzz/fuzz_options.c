// SPDX-License-Identifier: BSD-2-Clause
/*
 * TCP options: any bytes behind a header, in a frame whose memory ends where the packet does. What
 * is parsed must be within the protocol's bounds, and what we write of it must parse to the same.
 */
#include "lib_host.h"

static struct fz_host host;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct stack_cfg c = fz_cfg(STACK_FULL);

	(void)argc;
	(void)argv;
	fz_host_open(&host, &c, NULL);
	return 0;
}

static enum drop parse(const uint8_t *b, uint32_t len, uint32_t first, struct tcp_seg *g)
{
	uint8_t *m0 = malloc(first ? first : 1), *m1 = malloc(len - first + 1);
	struct ip_info ip = {.l4_len = len, .proto = PROTO_TCP};
	struct pkt p = {.nfrags = first < len ? 2 : 1, .len = len, .csum = PKT_CSUM_GOOD};
	enum drop d;

	memcpy(m0, b, first);
	memcpy(m1, b + first, len - first);
	p.frag[0] = (struct pkt_frag){.p = m0, .len = first};
	p.frag[1] = (struct pkt_frag){.p = m1, .len = len - first};
	d = tcp_parse(host.s, &p, &ip, g);
	free(m0);
	free(m1);
	return d;
}

/* What we would write for @o, and the same back. */
static void round_trip(const struct tcp_options *o, bool syn)
{
	struct tcp_options w = *o;
	uint8_t b[TCP_HLEN + 64] = {0};
	struct tcp_seg g;
	uint32_t n;

	if (w.n_sack > (w.has_ts ? 3 : 4))
		w.n_sack = 3; /* no more fit */
	n = tcp_put_options(b + TCP_HLEN, &w, syn);
	FZ_CHECK(n <= 40 && n % 4 == 0, "%u", n);
	b[1] = b[3] = 1;
	b[12] = (uint8_t)((TCP_HLEN + n) / 4 << 4);
	b[13] = syn ? TH_SYN : TH_ACK;
	FZ_CHECK(parse(b, TCP_HLEN + n, TCP_HLEN + n, &g) == DROP_NONE);
	FZ_CHECK(g.o.has_ts == w.has_ts && g.o.ts_val == w.ts_val && g.o.ts_ecr == w.ts_ecr);
	if (syn)
		FZ_CHECK(g.o.mss == w.mss && g.o.has_wscale == w.has_wscale &&
			 g.o.wscale == w.wscale && g.o.sack_ok == w.sack_ok);
	else
		FZ_CHECK(g.o.n_sack == w.n_sack &&
			 !memcmp(g.o.sack, w.sack, sizeof(w.sack[0]) * w.n_sack));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tcp_seg g;
	uint32_t len = size < 2000 ? (uint32_t)size : 2000, first = len;

	/* The first byte: where the first piece ends. */
	if (!len)
		return 0;
	if (data[0] < len)
		first = data[0];
	data++;
	len--;
	if (first > len)
		first = len;
	if (parse(data, len, first, &g) != DROP_NONE)
		return 0;
	FZ_CHECK(g.o.n_sack <= 4 && g.o.wscale <= TCP_WSCALE_MAX);
	FZ_CHECK(g.data_off + g.len == len && g.data_off <= first);
	round_trip(&g.o, g.flags & TH_SYN);
	return 0;
}
