// SPDX-License-Identifier: BSD-2-Clause
#include "lib_stack.h"

#define PORT 5353

static uint8_t big[UDP_MAX_PAYLOAD];

static struct tstack *open_udp(uint32_t n_pending)
{
	struct tstack *t = malloc(sizeof(*t));
	struct stack_cfg c = ts_cfg();

	c.n_udp = 8;
	c.n_pending = n_pending;
	ts_open(t, &c);
	ts_neigh(t, PEER_IP, peer_mac);
	ts_neigh(t, GW_IP, gw_mac);
	for (uint32_t i = 0; i < sizeof(big); i++)
		big[i] = (uint8_t)(i * 31 + i / 256);
	return t;
}

static void close_udp(struct tstack *t)
{
	struct stack_usage u;

	for (uint32_t i = 0; i < t->s->udp_free.used; i++)
		if (t->s->udps[i].used)
			udp_close(t->s, i);
	ts_check(t);
	stack_usage(t->s, &u);
	assert_int_equal(u.udp, 0);
	assert_int_equal(u.chunks, 0);
	ts_close(t);
	free(t);
}

/* A socket with cookie @cookie, bound as told; NULL: any, port 0: not at all. */
static uint32_t sock(struct tstack *t, uint64_t cookie, const char *local, uint16_t port,
		     const char *remote, uint16_t rport, unsigned flags)
{
	struct tcp_addr_pair a = {.local = ip(local),
				  .remote = ip(remote),
				  .local_port = htobe16(port),
				  .remote_port = htobe16(rport)};
	uint32_t id;

	assert_int_equal(udp_open(t->s, cookie, &id), 0);
	udp_bind(t->s, id, &a, flags);
	ts_check(t);
	return id;
}

static enum drop rx(struct tstack *t, const char *src, uint16_t sport, const void *data,
		    uint32_t len)
{
	return ts_rx(t, &(struct spec){UDP_PKT, .src = src, .sport = sport, .dport = PORT,
				       .data = data, .len = len, .tos = 0x28, .ttl = 17});
}

static void assert_recv(struct tstack *t, uint32_t id, const char *src, uint16_t sport,
			const void *data, uint32_t len)
{
	static uint8_t buf[UDP_MAX_PAYLOAD + 1];
	struct udp_info info;

	assert_int_equal(udp_recv(t->s, id, buf, sizeof(buf), &info, false), len);
	assert_int_equal(info.len, len);
	assert_memory_equal(buf, data, len);
	assert_ip(info.src, src);
	assert_int_equal(be16toh(info.sport), sport);
	ts_check(t);
}

static void assert_empty(struct tstack *t, uint32_t id)
{
	struct udp_info info;
	uint8_t b[4];

	assert_int_equal(udp_recv(t->s, id, b, sizeof(b), &info, false), -E_AGAIN);
	assert_int_equal(udp_next_len(t->s, id), -1);
}

static void test_udp_datagrams_keep_bounds_and_source(void **state)
{
	struct tstack *t = open_udp(256);
	uint32_t id = sock(t, 7, NULL, PORT, NULL, 0, 0);
	struct udp_info info;
	struct stack_ev ev;
	uint8_t b[16];

	(void)state;
	assert_int_equal(rx(t, PEER_IP, 1000, "hello", 5), DROP_NONE);
	assert_int_equal(rx(t, FAR_IP, 2000, NULL, 0), DROP_NONE);
	assert_int_equal(rx(t, PEER_IP, 1001, big, 1400), DROP_NONE);
	assert_true(stack_event_next(t->s, &ev));
	assert_int_equal(ev.mask, EV_READABLE);
	assert_int_equal(ev.cookie, 7);
	assert_int_equal(ev.conn, TD_NO_CONN);
	assert_false(stack_event_next(t->s, &ev));
	/* Looked at and cut: still the first one. */
	assert_int_equal(udp_next_len(t->s, id), 5);
	assert_int_equal(udp_recv(t->s, id, b, 2, &info, true), 2);
	assert_int_equal(info.len, 5);
	assert_int_equal(info.ttl, 17);
	assert_int_equal(info.tos, 0x28);
	assert_ip(info.dst, OUR_IP);
	assert_int_equal(ts_mib(t, MIB_Udp_InDatagrams), 0);
	assert_recv(t, id, PEER_IP, 1000, "hello", 5);
	assert_recv(t, id, FAR_IP, 2000, "", 0);
	/* The rest of one that is cut is gone. */
	assert_int_equal(udp_recv(t->s, id, b, 2, &info, false), 2);
	assert_int_equal(info.len, 1400);
	assert_empty(t, id);
	assert_int_equal(ts_mib(t, MIB_Udp_InDatagrams), 3);
	close_udp(t);
}

/* Records lie across chunks at every offset; chunks go back as they are emptied. */
static void test_udp_queue_over_chunks(void **state)
{
	struct tstack *t = open_udp(256);
	uint32_t id = sock(t, 7, NULL, PORT, NULL, 0, 0);
	struct stack_usage u;

	(void)state;
	for (uint32_t n = 0; n < 60; n++) {
		for (uint32_t i = 0; i < 5; i++)
			assert_int_equal(rx(t, PEER_IP, 1, big + i, n * 24 + i), DROP_NONE);
		for (uint32_t i = 0; i < 5; i++)
			assert_recv(t, id, PEER_IP, 1, big + i, n * 24 + i);
	}
	stack_usage(t->s, &u);
	assert_int_equal(u.chunks, 0);
	close_udp(t);
}

static void test_udp_full_queue_drops_the_newest(void **state)
{
	struct tstack *t = open_udp(256);
	uint32_t id = sock(t, 7, NULL, PORT, NULL, 0, 0);

	(void)state;
	udp_set_rcvbuf(t->s, id, 2400);
	assert_int_equal(rx(t, PEER_IP, 1, big, 1000), DROP_NONE);
	assert_int_equal(rx(t, PEER_IP, 2, big, 1000), DROP_NONE);
	assert_int_equal(rx(t, PEER_IP, 3, big, 1000), DROP_NO_MEMORY);
	assert_int_equal(ts_mib(t, MIB_Udp_RcvbufErrors), 1);
	assert_int_equal(ts_mib(t, MIB_Udp_InErrors), 1);
	assert_recv(t, id, PEER_IP, 1, big, 1000);
	assert_recv(t, id, PEER_IP, 2, big, 1000);
	assert_empty(t, id);
	/* One alone is taken whatever its size. */
	udp_set_rcvbuf(t->s, id, 100);
	assert_int_equal(rx(t, PEER_IP, 4, big, 1000), DROP_NONE);
	assert_int_equal(rx(t, PEER_IP, 5, big, 1), DROP_NO_MEMORY);
	assert_recv(t, id, PEER_IP, 4, big, 1000);
	close_udp(t);
}

static void test_udp_no_chunks_is_counted(void **state)
{
	struct tstack *t = open_udp(256);
	uint32_t id = sock(t, 7, NULL, PORT, NULL, 0, 0), head = SHM_NIL, c;

	(void)state;
	while ((c = chunk_alloc(t->s)) != SHM_NIL) {
		t->s->a.chunk_hdrs[c].next = head;
		head = c;
	}
	{
		static uint8_t frame[100];
		struct spec x = {UDP_PKT, .dport = PORT, .len = 5};
		struct pkt p = {.frag = {{.p = frame, .len = ts_build(frame, &x)}}, .nfrags = 1};

		p.len = p.frag[0].len;
		p.conn = TD_NO_CONN;
		assert_int_equal(stack_input(t->s, &p, t->now), DROP_NO_MEMORY);
	}
	chunk_free_list(t->s, head);
	assert_int_equal(ts_mib(t, MIB_Udp_MemErrors), 1);
	assert_empty(t, id);
	close_udp(t);
}

static void test_udp_most_specific_socket_gets_it(void **state)
{
	struct tstack *t = open_udp(256);
	uint32_t any = sock(t, 1, NULL, PORT, NULL, 0, 0);
	uint32_t addr = sock(t, 2, OUR_IP, PORT, NULL, 0, 0);
	uint32_t conn = sock(t, 3, OUR_IP, PORT, PEER_IP, 1000, 0);
	uint32_t later;

	(void)state;
	rx(t, PEER_IP, 1000, "c", 1);
	assert_recv(t, conn, PEER_IP, 1000, "c", 1);
	rx(t, PEER_IP, 1001, "a", 1);
	assert_recv(t, addr, PEER_IP, 1001, "a", 1);
	rx(t, FAR_IP, 1000, "b", 1);
	assert_recv(t, addr, FAR_IP, 1000, "b", 1);
	udp_close(t->s, addr);
	rx(t, PEER_IP, 1001, "d", 1);
	assert_recv(t, any, PEER_IP, 1001, "d", 1);
	/* SO_REUSEADDR: the one bound last. */
	later = sock(t, 4, NULL, PORT, NULL, 0, 0);
	rx(t, PEER_IP, 1001, "e", 1);
	assert_recv(t, later, PEER_IP, 1001, "e", 1);
	assert_empty(t, any);
	assert_empty(t, conn);
	close_udp(t);
}

static void test_udp_reuseport_spreads_by_hash(void **state)
{
	struct tstack *t = open_udp(256);
	uint32_t id[4], n[4] = {0};
	struct udp_info info;
	uint8_t b[8];

	(void)state;
	for (uint32_t i = 0; i < 4; i++)
		id[i] = sock(t, i + 1, NULL, PORT, NULL, 0, UDP_REUSEPORT);
	for (uint16_t port = 1; port <= 200; port++) {
		rx(t, PEER_IP, port, "x", 1);
		rx(t, PEER_IP, port, "y", 1);
		for (uint32_t i = 0; i < 4; i++) {
			if (udp_recv(t->s, id[i], b, 8, &info, false) != 1)
				continue;
			n[i]++;
			/* The same two ends, the same socket. */
			assert_int_equal(udp_recv(t->s, id[i], b, 8, &info, false), 1);
		}
	}
	assert_int_equal(n[0] + n[1] + n[2] + n[3], 200);
	for (uint32_t i = 0; i < 4; i++)
		assert_in_range(n[i], 25, 80);
	close_udp(t);
}

/* A row goes on while ends and header fields are the same and none is longer than the first. */
static void test_udp_rows(void **state)
{
	struct tstack *t = open_udp(256);
	uint32_t id = sock(t, 7, NULL, PORT, NULL, 0, 0);
	struct spec x = {UDP_PKT, .src = PEER_IP, .sport = 9, .dport = PORT, .data = big};
	static const struct {
		const char *src;
		uint16_t sport;
		uint8_t tos;
		uint32_t len;
		bool in_row;
	} ds[] = {
		{PEER_IP, 9, 0, 100, true}, {PEER_IP, 9, 0, 100, true},
		{PEER_IP, 9, 0, 40, true},  {PEER_IP, 9, 0, 0, false},
		{PEER_IP, 9, 0, 0, false},  {PEER_IP, 9, 0, 101, false},
		{PEER_IP, 8, 0, 10, false}, {PEER_IP, 9, 8, 10, false},
		{PEER_IP, 9, 0, 50, true},  {"10.0.0.3", 9, 0, 9, false},
	};
	struct udp_info first, in;
	static uint8_t b[200];

	(void)state;
	assert_int_equal(udp_recv_row(t->s, id, b, 200, &(struct udp_info){0}), -E_AGAIN);
	for (size_t i = 0; i < sizeof(ds) / sizeof(ds[0]); i++) {
		x.src = PEER_IP;
		x.tos = 0;
		x.sport = 9;
		x.len = 100;
		ts_rx(t, &x);
		assert_int_equal(udp_recv(t->s, id, b, 200, &first, false), 100);
		x.src = ds[i].src;
		x.sport = ds[i].sport;
		x.tos = ds[i].tos;
		x.len = ds[i].len;
		ts_rx(t, &x);
		/* As a whole or not at all. */
		if (ds[i].len)
			assert_int_equal(udp_recv_row(t->s, id, b, ds[i].len - 1, &first),
					 -E_AGAIN);
		memset(b, 0, sizeof(b));
		assert_int_equal(udp_recv_row(t->s, id, b, 200, &first),
				 ds[i].in_row ? (int)ds[i].len : -E_AGAIN);
		if (ds[i].in_row)
			assert_memory_equal(b, big, ds[i].len);
		else
			assert_int_equal(udp_recv(t->s, id, b, 200, &in, false), ds[i].len);
		assert_empty(t, id);
		ts_check(t);
	}
	close_udp(t);
}

/* IPv4's come first, whichever was bound last, and share among themselves. */
static void test_udp_of_two_families_the_own_one_is_chosen(void **state)
{
	struct tstack *t = open_udp(256);
	uint32_t six = sock(t, 1, NULL, PORT, NULL, 0, UDP_REUSEPORT | UDP_V6), four[2];

	(void)state;
	rx(t, PEER_IP, 1, "a", 1);
	assert_recv(t, six, PEER_IP, 1, "a", 1);
	four[0] = sock(t, 2, NULL, PORT, NULL, 0, UDP_REUSEPORT);
	sock(t, 3, NULL, PORT, NULL, 0, UDP_REUSEPORT | UDP_V6);
	four[1] = sock(t, 4, NULL, PORT, NULL, 0, UDP_REUSEPORT);
	sock(t, 5, NULL, PORT, NULL, 0, UDP_REUSEPORT | UDP_V6);
	for (uint16_t port = 1; port <= 50; port++) {
		struct udp_info info;
		uint8_t b;

		rx(t, PEER_IP, port, "b", 1);
		assert_true(udp_recv(t->s, four[0], &b, 1, &info, false) == 1 ||
			    udp_recv(t->s, four[1], &b, 1, &info, false) == 1);
	}
	/* An address is more than a family. */
	six = sock(t, 6, OUR_IP, PORT, NULL, 0, UDP_V6);
	rx(t, PEER_IP, 1, "c", 1);
	assert_recv(t, six, PEER_IP, 1, "c", 1);
	close_udp(t);
}

static void test_udp_checksums(void **state)
{
	struct tstack *t = open_udp(256);
	uint32_t id = sock(t, 7, NULL, PORT, NULL, 0, 0), len;
	struct spec x = {UDP_PKT, .sport = 9, .dport = PORT, .data = big, .len = 20};
	static uint8_t b[70000];
	struct spec bad = x, partial = x;

	(void)state;
	bad.bad_csum = true;
	assert_int_equal(ts_rx(t, &bad), DROP_BAD_CSUM);
	assert_int_equal(ts_mib(t, MIB_Udp_InCsumErrors), 1);
	assert_int_equal(ts_mib(t, MIB_Udp_InErrors), 1);
	/* Zero: there is none (RFC 768). */
	len = ts_build(b, &x);
	b[14 + 20 + 6] = b[14 + 20 + 7] = 0;
	b[len - 1] ^= 1;
	assert_int_equal(ts_rx_raw(t, b, len, 0, 0, PKT_CSUM_VERIFY), DROP_NONE);
	assert_int_equal(udp_next_len(t->s, id), 20);
	/* From a veth. */
	partial.partial_csum = true;
	len = ts_build(b, &partial);
	assert_int_equal(ts_rx_raw(t, b, len, 0, 0, PKT_CSUM_VERIFY), DROP_BAD_CSUM);
	assert_int_equal(ts_rx_raw(t, b, len, 0, 0, PKT_CSUM_PARTIAL), DROP_NONE);
	/* Put together by a sender's segmentation offload: where the datagrams ended is lost. */
	partial.len = 3000;
	len = ts_build(b, &partial);
	assert_int_equal(ts_rx_raw(t, b, len, 0, 0, PKT_CSUM_PARTIAL), DROP_BAD_UDP);
	assert_int_equal(ts_mib(t, MIB_Td_UdpSegmented), 1);
	/* As large, but reassembled, by whoever gave it to us. */
	x.len = 3000;
	len = ts_build(b, &x);
	assert_int_equal(ts_rx_raw(t, b, len, 100, 1000, PKT_CSUM_PARTIAL), DROP_NONE);
	close_udp(t);
}

static void test_udp_closed_port_is_answered(void **state)
{
	struct tstack *t = open_udp(256);
	struct out *o = malloc(sizeof(*o));

	(void)state;
	assert_int_equal(rx(t, PEER_IP, 9, "x", 1), DROP_NO_SOCKET);
	assert_int_equal(ts_mib(t, MIB_Udp_NoPorts), 1);
	ts_expect(t, o);
	assert_int_equal(o->proto, PROTO_ICMP);
	assert_int_equal(o->l4[0] << 8 | o->l4[1], 3 << 8 | 3);
	free(o);
	close_udp(t);
}

static bool take_all(void *ctx, const struct pkt *p)
{
	assert_true(p->l4_off);
	*(uint32_t *)ctx += p->len;
	return true;
}

static void test_udp_tap_takes_what_has_no_socket(void **state)
{
	struct tstack *t = open_udp(256);
	uint32_t seen = 0, id;

	(void)state;
	stack_set_taps(t->s, take_all, NULL, &seen);
	/* In fragments: as one. */
	ts_rx(t, &(struct spec){UDP_PKT, .sport = 1, .dport = PORT, .data = big, .len = 2992,
				.id = 5, .frag_off = 0, .frag_len = 1480});
	assert_int_equal(seen, 0);
	ts_rx(t, &(struct spec){UDP_PKT, .sport = 1, .dport = PORT, .data = big, .len = 2992,
				.id = 5, .frag_off = 1480, .frag_len = 1520});
	assert_int_equal(seen, 14 + 20 + 8 + 2992);
	ts_expect_none(t);
	/* What has a socket here does not get there. */
	id = sock(t, 7, NULL, PORT, NULL, 0, 0);
	ts_rx(t, &(struct spec){UDP_PKT, .sport = 1, .dport = PORT, .data = big, .len = 2992,
				.id = 6, .frag_off = 1480, .frag_len = 1520});
	ts_rx(t, &(struct spec){UDP_PKT, .sport = 1, .dport = PORT, .data = big, .len = 2992,
				.id = 6, .frag_off = 0, .frag_len = 1480});
	assert_recv(t, id, PEER_IP, 1, big, 2992);
	assert_int_equal(seen, 14 + 20 + 8 + 2992);
	close_udp(t);
}

/* ---- out ---- */

static void test_udp_send_in_one_packet(void **state)
{
	struct tstack *t = open_udp(256);
	uint32_t id = sock(t, 7, NULL, PORT, NULL, 0, 0);
	struct udp_dest to = {.addr = ip(FAR_IP),
			      .port = htobe16(53),
			      .pmtudisc = UDP_PMTUDISC_WANT,
			      .tos = 0x10,
			      .ttl = 9};
	struct out *o = malloc(sizeof(*o));

	(void)state;
	for (uint32_t len = 0; len <= 1472; len += 368) {
		assert_int_equal(udp_send(t->s, id, &to, big, len, t->now), len);
		ts_expect(t, o); /* with its checksum right */
		assert_memory_equal(o->dmac, gw_mac, 6);
		assert_ip(o->src, OUR_IP);
		assert_ip(o->dst, FAR_IP);
		assert_int_equal(o->tos, 0x10);
		assert_int_equal(o->ttl, 9);
		assert_int_equal(get_be16(o->l4), PORT);
		assert_int_equal(get_be16(o->l4 + 2), 53);
		assert_int_equal(get_be16(o->l4 + 4), 8 + len);
		assert_int_equal(o->frag, 0x4000);
		assert_memory_equal(o->l4 + 8, big, len);
	}
	to.pmtudisc = UDP_PMTUDISC_DONT;
	to.no_csum = true;
	assert_int_equal(udp_send(t->s, id, &to, "x", 1, t->now), 1);
	assert_true(ts_mib(t, MIB_Udp_OutDatagrams) == 6);
	{
		struct pkt *p = stack_output(t->s, t->now);
		const uint8_t *h = p->frag[0].p + 14 + 20;

		assert_int_equal(h[6] | h[7], 0);
		pkt_free(&t->pool, p);
	}
	to.addr = ip("255.255.255.255");
	assert_true(udp_send(t->s, id, &to, "x", 1, t->now) < 0);
	free(o);
	close_udp(t);
}

/* Sends @len bytes and puts the fragments together again. */
static uint32_t send_and_join(struct tstack *t, uint32_t id, const struct udp_dest *to,
			      uint32_t len)
{
	static uint8_t got[65536];
	struct out *o = malloc(sizeof(*o));
	struct ip_addr us = ip(OUR_IP);
	uint32_t n = 0, total = 0;
	uint16_t first_id = 0;

	assert_int_equal(udp_send(t->s, id, to, big, len, t->now), len);
	while (ts_tx(t, o)) {
		if (!n++)
			first_id = o->id;
		assert_int_equal(o->id, first_id);
		assert_int_equal(o->frag & 0x4000, 0);
		memcpy(got + (o->frag & 0x1fff) * 8, o->l4, o->l4_len);
		total += o->l4_len;
	}
	assert_int_equal(total, 8 + len);
	assert_int_equal(get_be16(got + 4), 8 + len);
	assert_int_equal(
		csum_fold(csum_partial(got, total, csum_pseudo(&us, &to->addr, PROTO_UDP, total))),
		0);
	assert_memory_equal(got + 8, big, len);
	free(o);
	return n;
}

static void test_udp_large_ones_go_in_fragments(void **state)
{
	struct tstack *t = open_udp(256);
	uint32_t id = sock(t, 7, NULL, PORT, NULL, 0, 0);
	struct udp_dest to = {
		.addr = ip(PEER_IP), .port = htobe16(9), .pmtudisc = UDP_PMTUDISC_WANT};

	(void)state;
	assert_int_equal(send_and_join(t, id, &to, 1473), 2);
	assert_int_equal(send_and_join(t, id, &to, 2952), 2);
	assert_int_equal(send_and_join(t, id, &to, 2953), 3);
	assert_int_equal(send_and_join(t, id, &to, UDP_MAX_PAYLOAD), 45);
	assert_int_equal(ts_mib(t, MIB_Ip_FragOKs), 4);
	assert_int_equal(udp_send(t->s, id, &to, big, UDP_MAX_PAYLOAD + 1, t->now), -E_MSGSIZE);
	to.pmtudisc = UDP_PMTUDISC_DO;
	assert_int_equal(udp_send(t->s, id, &to, big, 1473, t->now), -E_MSGSIZE);
	assert_int_equal(udp_send(t->s, id, &to, big, 1472, t->now), 1472);
	ts_advance(t, 0);
	{
		struct pkt *p = stack_output(t->s, t->now);

		pkt_free(&t->pool, p);
	}
	close_udp(t);
	/* Not room for all fragments: none is sent. */
	t = open_udp(20);
	id = sock(t, 7, NULL, PORT, NULL, 0, 0);
	to.pmtudisc = UDP_PMTUDISC_DONT;
	assert_int_equal(udp_send(t->s, id, &to, big, UDP_MAX_PAYLOAD, t->now), -E_NOBUFS);
	assert_int_equal(ts_mib(t, MIB_Udp_SndbufErrors), 1);
	ts_expect_none(t);
	close_udp(t);
}

/* A stack that has no routes: it is told the way, and that the neighbour is not (any more) usable.
 */
static void test_udp_send_by_a_given_way(void **state)
{
	struct tstack *t = open_udp(256);
	uint32_t id = sock(t, 7, NULL, PORT, NULL, 0, 0);
	struct ip_way w = {.mtu = 600};
	struct ip_addr gw = ip(GW_IP);
	struct udp_dest to = {.addr = ip(PEER_IP),
			      .src = ip(OUR_IP),
			      .port = htobe16(9),
			      .pmtudisc = UDP_PMTUDISC_WANT,
			      .way = &w};
	struct out *o = malloc(sizeof(*o));

	(void)state;
	assert_true(ip_way_find(t->s, 0, &gw, &w, t->now));
	assert_true(ip_way_usable(t->s, &w));
	assert_int_equal(udp_send(t->s, id, &to, "abc", 3, t->now), 3);
	ts_expect(t, o);
	assert_memory_equal(o->dmac, gw_mac, 6);
	assert_int_equal(o->frag, 0x4000);
	assert_int_equal(send_and_join(t, id, &to, 1000), 2);
	/* With these the interface's MTU counts, and INTERFACE allows no fragments. */
	to.pmtudisc = UDP_PMTUDISC_PROBE;
	assert_int_equal(udp_send(t->s, id, &to, big, 1473, t->now), -E_MSGSIZE);
	assert_int_equal(udp_send(t->s, id, &to, big, 1472, t->now), 1472);
	ts_expect(t, o);
	assert_int_equal(o->frag, 0x4000);
	to.pmtudisc = UDP_PMTUDISC_INTERFACE;
	assert_int_equal(udp_send(t->s, id, &to, big, 1473, t->now), -E_MSGSIZE);
	assert_int_equal(udp_send(t->s, id, &to, big, 1472, t->now), 1472);
	ts_expect(t, o);
	assert_int_equal(o->frag, 0);
	to.pmtudisc = UDP_PMTUDISC_OMIT;
	assert_int_equal(send_and_join(t, id, &to, 1473), 2);
	w.neigh_gen++;
	assert_false(ip_way_usable(t->s, &w));
	assert_int_equal(udp_send(t->s, id, &to, "abc", 3, t->now), -E_AGAIN);
	w.neigh = 1u << 30;
	assert_int_equal(udp_send(t->s, id, &to, "abc", 3, t->now), -E_AGAIN);
	ts_expect_none(t);
	free(o);
	close_udp(t);
}

static void test_udp_resolve_asks_once(void **state)
{
	struct tstack *t = open_udp(256);
	struct ip_addr a = ip("10.0.0.77"), far = ip(FAR_IP);

	(void)state;
	assert_int_equal(stack_resolve(t->s, &a, t->now), 0);
	assert_int_equal(stack_resolve(t->s, &a, t->now), 0);
	ts_expect_arp(t, "10.0.0.77", bcast_mac);
	ts_expect_none(t);
	assert_int_equal(stack_resolve(t->s, &far, t->now), 0); /* the gateway is known */
	ts_expect_none(t);
	a = ip("10.0.0.255");
	assert_int_equal(stack_resolve(t->s, &a, t->now), -E_INVAL);
	close_udp(t);
}

/* ---- ICMP errors ---- */

/* @sent: what it is about; @quoted: bytes of that, IP header included, which it holds. */
static enum drop error_quoting(struct tstack *t, const struct spec *sent, uint32_t quoted,
			       uint8_t type, uint8_t code, uint32_t rest)
{
	static uint8_t b[2000];

	ts_build_ip(b, sent);
	return ts_rx(t, &(struct spec){ICMP_PKT, .src = GW_IP, .smac = gw_mac, .type = type,
				       .code = code, .rest = rest, .data = b, .len = quoted,
				       .ttl = 60, .tos = 0xc0});
}

static void error_about(struct tstack *t, const char *to, uint16_t to_port, uint8_t type,
			uint8_t code, uint32_t rest)
{
	struct spec sent = {UDP_PKT,	   .src = OUR_IP,    .dst = to,
			    .sport = PORT, .dport = to_port, .len = 4};

	error_quoting(t, &sent, 28, type, code, rest);
}

static void test_udp_icmp_errors(void **state)
{
	struct tstack *t = open_udp(256);
	uint32_t conn = sock(t, 3, OUR_IP, PORT, PEER_IP, 1000, 0);
	uint32_t any = sock(t, 1, NULL, PORT, NULL, 0, 0);
	struct stack_ev ev;
	struct ip_addr to;

	(void)state;
	/* To a connected one: what Linux calls fatal. */
	error_about(t, PEER_IP, 1000, 3, 3, 0);
	assert_true(stack_event_next(t->s, &ev));
	assert_int_equal(ev.mask, EV_ERROR);
	assert_int_equal(ev.cookie, 3);
	assert_true(udp_has_error(t->s, conn));
	assert_int_equal(udp_error(t->s, conn), E_CONNREFUSED);
	assert_int_equal(udp_error(t->s, conn), 0);
	error_about(t, PEER_IP, 1000, 3, 1, 0);
	error_about(t, PEER_IP, 1000, 11, 0, 0);
	assert_int_equal(udp_error(t->s, conn), 0);
	error_about(t, PEER_IP, 1000, 3, 10, 0);
	assert_int_equal(udp_error(t->s, conn), E_HOSTUNREACH);
	/* One that is not connected: only with IP_RECVERR, then all. */
	error_about(t, FAR_IP, 7, 3, 3, 0);
	assert_int_equal(udp_error(t->s, any), 0);
	udp_set_recverr(t->s, any, true);
	error_about(t, FAR_IP, 7, 3, 1, 0);
	assert_int_equal(udp_error(t->s, any), E_HOSTUNREACH);
	while (stack_event_next(t->s, &ev))
		;
	/* A router's MTU. */
	error_about(t, PEER_IP, 1000, 3, 4, 1234);
	assert_true(stack_event_next(t->s, &ev));
	assert_int_equal(ev.mask, EV_PMTU | EV_ERROR);
	assert_int_equal(udp_pmtu(t->s, conn, &to), 1234);
	assert_ip(to, PEER_IP);
	assert_int_equal(udp_error(t->s, conn), E_MSGSIZE);
	close_udp(t);
}

/* ---- the error queue ---- */

static const struct spec to_far = {UDP_PKT,	   .src = OUR_IP, .dst = FAR_IP, .sport = PORT,
				   .dport = 33434, .data = big,	  .len = 1000};

static uint32_t sock_recverr(struct tstack *t)
{
	uint32_t id = sock(t, 7, NULL, PORT, NULL, 0, 0);

	udp_set_recverr(t->s, id, true);
	return id;
}

static void assert_no_record(struct tstack *t, uint32_t id)
{
	struct udp_err e;
	uint8_t b;

	assert_int_equal(udp_recv_error(t->s, id, &b, 1, &e), -E_AGAIN);
	ts_check(t);
}

static void assert_record(struct tstack *t, uint32_t id, enum udp_err_origin origin, int err,
			  uint32_t len)
{
	static uint8_t b[2000];
	struct udp_err e;

	assert_int_equal(udp_recv_error(t->s, id, b, sizeof(b), &e), len);
	assert_int_equal(e.len, len);
	assert_int_equal(e.origin, origin);
	assert_int_equal(e.err, err);
	assert_memory_equal(b, big, len);
	ts_check(t);
}

static void test_udp_error_record(void **state)
{
	static const struct {
		uint8_t type, code;
		uint32_t rest, info;
		int err;
	} v[] = {
		{3, 3, 0x01020304, 0, E_CONNREFUSED},	    {11, 0, 0x01020304, 0, E_HOSTUNREACH},
		{3, 4, 0xffff0000 | 1234, 1234, E_MSGSIZE}, {3, 4, 0, 0, E_MSGSIZE},
		{12, 0, 0x20000000, 0x20, E_PROTO},	    {3, 13, 0, 0, E_HOSTUNREACH},
	};
	struct tstack *t = open_udp(256);
	uint32_t id = sock_recverr(t);
	uint8_t b[100];
	struct udp_err e;

	(void)state;
	for (size_t i = 0; i < sizeof(v) / sizeof(v[0]); i++) {
		ts_advance(t, 1000);
		assert_int_equal(
			error_quoting(t, &to_far, 28 + 50, v[i].type, v[i].code, v[i].rest),
			DROP_NONE);
		assert_true(udp_has_error(t->s, id));
		assert_int_equal(udp_recv_error(t->s, id, b, sizeof(b), &e), 50);
		assert_memory_equal(b, big, 50);
		assert_ip(e.to, FAR_IP);
		assert_int_equal(be16toh(e.port), 33434);
		assert_ip(e.offender, GW_IP);
		assert_ip(e.dst, OUR_IP);
		assert_int_equal(e.ns, t->now.ns);
		assert_int_equal(e.netif, 0);
		assert_int_equal(e.err, v[i].err);
		assert_int_equal(e.origin, UDP_ERR_ICMP);
		assert_int_equal(e.type, v[i].type);
		assert_int_equal(e.code, v[i].code);
		assert_int_equal(e.info, v[i].info);
		assert_int_equal(e.ttl, 60);
		assert_int_equal(e.tos, 0xc0);
		assert_int_equal(e.len, 50);
		/* It was the last: nothing is pending any more. */
		assert_false(udp_has_error(t->s, id));
		assert_no_record(t, id);
	}
	close_udp(t);
}

/* What is quoted ends where the ICMP packet does; less than a UDP header is no quote. */
static void test_udp_error_quotes_of_any_length(void **state)
{
	static const uint8_t nops[40] = {[0 ... 39] = 1};
	struct tstack *t = open_udp(256);
	struct spec with_opts = to_far, frag = to_far;
	uint32_t id = sock_recverr(t);
	uint8_t b[4];
	struct udp_err e;

	(void)state;
	for (uint32_t n = 0; n < 28; n++) {
		error_quoting(t, &to_far, n, 3, 3, 0);
		assert_no_record(t, id);
	}
	for (uint32_t n = 0; n <= 1000; n += n < 60 ? 1 : 47) {
		error_quoting(t, &to_far, 28 + n, 3, 3, 0);
		assert_record(t, id, UDP_ERR_ICMP, E_CONNREFUSED, n);
	}
	with_opts.opts = nops;
	with_opts.opt_len = 40;
	error_quoting(t, &with_opts, 67, 3, 3, 0);
	assert_no_record(t, id);
	for (uint32_t n = 0; n < 10; n++) {
		error_quoting(t, &with_opts, 68 + n, 3, 3, 0);
		assert_record(t, id, UDP_ERR_ICMP, E_CONNREFUSED, n);
	}
	/* Of the rest of a fragmented one it is not known whose it was. */
	frag.frag_off = 80;
	frag.frag_len = 80;
	error_quoting(t, &frag, 80, 11, 1, 0);
	assert_no_record(t, id);
	/* Cut by the reader: the rest is gone. */
	error_quoting(t, &to_far, 28 + 9, 3, 3, 0);
	assert_int_equal(udp_recv_error(t->s, id, b, 4, &e), 4);
	assert_int_equal(e.len, 9);
	assert_no_record(t, id);
	close_udp(t);
}

/* As Linux's sock_dequeue_err_skb(): the error that is pending is the first record's. */
static void test_udp_error_pending_goes_along_with_the_queue(void **state)
{
	struct tstack *t = open_udp(256);
	uint32_t id = sock_recverr(t);
	struct udp_dest to = {
		.addr = ip(FAR_IP), .port = htobe16(33434), .pmtudisc = UDP_PMTUDISC_DO};
	struct stack_ev ev;

	(void)state;
	error_quoting(t, &to_far, 30, 3, 3, 0);
	error_quoting(t, &to_far, 31, 11, 0, 0);
	while (stack_event_next(t->s, &ev))
		;
	/* Reported, but not read. */
	assert_int_equal(udp_error(t->s, id), E_HOSTUNREACH);
	assert_int_equal(udp_error(t->s, id), 0);
	assert_true(udp_has_error(t->s, id));
	assert_record(t, id, UDP_ERR_ICMP, E_CONNREFUSED, 2);
	assert_true(stack_event_next(t->s, &ev));
	assert_int_equal(ev.mask, EV_ERROR);
	assert_int_equal(udp_error(t->s, id), E_HOSTUNREACH);
	error_quoting(t, &to_far, 28, 3, 10, 0);
	assert_record(t, id, UDP_ERR_ICMP, E_HOSTUNREACH, 3);
	assert_record(t, id, UDP_ERR_ICMP, E_HOSTUNREACH, 0);
	assert_int_equal(udp_error(t->s, id), 0);
	/* One of our own is no pending error; what it follows is over with its record. */
	assert_int_equal(udp_send(t->s, id, &to, big, 1473, t->now), -E_MSGSIZE);
	assert_int_equal(udp_error(t->s, id), 0);
	error_quoting(t, &to_far, 28, 3, 3, 0);
	assert_int_equal(udp_send(t->s, id, &to, big, 1473, t->now), -E_MSGSIZE);
	assert_record(t, id, UDP_ERR_LOCAL, E_MSGSIZE, 0);
	assert_int_equal(udp_error(t->s, id), E_CONNREFUSED);
	error_quoting(t, &to_far, 28, 3, 3, 0);
	assert_record(t, id, UDP_ERR_ICMP, E_CONNREFUSED, 0);
	assert_int_equal(udp_error(t->s, id), 0);
	assert_record(t, id, UDP_ERR_LOCAL, E_MSGSIZE, 0);
	assert_int_equal(udp_error(t->s, id), E_CONNREFUSED);
	assert_record(t, id, UDP_ERR_ICMP, E_CONNREFUSED, 0);
	assert_false(udp_has_error(t->s, id));
	/* An error that had no room in the queue stays pending when one of our own is taken. */
	assert_int_equal(udp_send(t->s, id, &to, big, 1473, t->now), -E_MSGSIZE);
	udp_set_rcvbuf(t->s, id, 1);
	error_quoting(t, &to_far, 28, 3, 3, 0);
	assert_record(t, id, UDP_ERR_LOCAL, E_MSGSIZE, 0);
	assert_no_record(t, id);
	assert_int_equal(udp_error(t->s, id), E_CONNREFUSED);
	close_udp(t);
}

static void test_udp_error_of_one_too_long(void **state)
{
	struct tstack *t = open_udp(256);
	uint32_t id = sock_recverr(t), conn = sock(t, 8, OUR_IP, PORT, PEER_IP, 1000, 0);
	struct udp_dest to = {.addr = ip(PEER_IP), .port = htobe16(9), .pmtudisc = UDP_PMTUDISC_DO};
	struct udp_err e;
	uint8_t b;

	(void)state;
	udp_set_recverr(t->s, conn, true);
	for (uint32_t i = 0; i < 2; i++) {
		uint32_t s = i ? conn : id;

		assert_int_equal(udp_send(t->s, s, &to, big, 1473, t->now), -E_MSGSIZE);
		assert_true(udp_has_error(t->s, s));
		assert_int_equal(udp_recv_error(t->s, s, &b, 1, &e), 0);
		assert_ip(e.to, PEER_IP);
		assert_int_equal(be16toh(e.port), i ? 1000 : 0);
		assert_true(ip_addr_is_any(&e.offender));
		assert_int_equal(e.info, 1500);
		assert_int_equal(e.origin, UDP_ERR_LOCAL);
		assert_int_equal(e.err, E_MSGSIZE);
	}
	udp_set_recverr(t->s, id, false);
	assert_int_equal(udp_send(t->s, id, &to, big, 1473, t->now), -E_MSGSIZE);
	assert_false(udp_has_error(t->s, id));
	assert_no_record(t, id);
	close_udp(t);
}

/* The newest are dropped; the error is told all the same. Datagrams count, too. */
static void test_udp_error_queue_is_bounded(void **state)
{
	struct tstack *t = open_udp(256);
	uint32_t id = sock_recverr(t), n = 0;
	struct stack_usage u;

	(void)state;
	udp_set_rcvbuf(t->s, id, 20000);
	for (uint32_t i = 0; i < 100; i++)
		error_quoting(t, &to_far, 28 + 500, i ? 11 : 3, 3, 0);
	stack_usage(t->s, &u);
	assert_in_range(u.chunks, 1, 20000 / CHUNK_SIZE + 1);
	error_quoting(t, &to_far, 28 + 501, 3, 3, 0);
	assert_int_equal(udp_error(t->s, id), E_CONNREFUSED);
	assert_record(t, id, UDP_ERR_ICMP, E_CONNREFUSED, 500);
	for (struct udp_err e; udp_recv_error(t->s, id, NULL, 0, &e) >= 0; n++)
		assert_int_equal(e.len, 500);
	assert_in_range(n, 20000 / 600 - 1, 20000 / 500);
	stack_usage(t->s, &u);
	assert_int_equal(u.chunks, 0);
	/* One buffer for both. */
	while (rx(t, PEER_IP, 1, big, 1000) == DROP_NONE)
		;
	error_quoting(t, &to_far, 28 + 1000, 3, 3, 0);
	assert_no_record(t, id);
	assert_int_equal(udp_error(t->s, id), E_CONNREFUSED);
	assert_recv(t, id, PEER_IP, 1, big, 1000);
	error_quoting(t, &to_far, 28 + 900, 3, 3, 0);
	assert_int_equal(rx(t, PEER_IP, 1, big, 1000), DROP_NO_MEMORY);
	assert_record(t, id, UDP_ERR_ICMP, E_CONNREFUSED, 900);
	assert_int_equal(rx(t, PEER_IP, 1, big, 1000), DROP_NONE);
	close_udp(t);
}

static void test_udp_error_queue_is_given_back(void **state)
{
	struct tstack *t = open_udp(256);
	uint32_t id = sock_recverr(t), head = SHM_NIL, c;
	struct stack_usage u;

	(void)state;
	error_quoting(t, &to_far, 1000, 3, 3, 0);
	udp_set_recverr(t->s, id, false);
	stack_usage(t->s, &u);
	assert_int_equal(u.chunks, 0);
	assert_no_record(t, id);
	/* The error stays, as Linux's does. */
	assert_int_equal(udp_error(t->s, id), E_CONNREFUSED);
	error_quoting(t, &to_far, 1000, 3, 3, 0);
	assert_false(udp_has_error(t->s, id));
	/* No chunks: the error alone. */
	udp_set_recverr(t->s, id, true);
	while ((c = chunk_alloc(t->s)) != SHM_NIL) {
		t->s->a.chunk_hdrs[c].next = head;
		head = c;
	}
	{
		static uint8_t frame[200];
		uint8_t quoted[100];
		struct spec sent = to_far, x = {ICMP_PKT, .type = 3, .code = 3, .data = quoted};
		struct pkt p = {.nfrags = 1, .conn = TD_NO_CONN};

		sent.len = 4;
		x.len = ts_build_ip(quoted, &sent);
		p.len = ts_build(frame, &x);
		p.frag[0] = (struct pkt_frag){.p = frame, .len = p.len};
		assert_int_equal(stack_input(t->s, &p, t->now), DROP_NONE);
	}
	chunk_free_list(t->s, head);
	assert_no_record(t, id);
	assert_int_equal(udp_error(t->s, id), E_CONNREFUSED);
	/* With the socket. */
	error_quoting(t, &to_far, 1000, 3, 3, 0);
	error_quoting(t, &to_far, 1000, 3, 3, 0);
	udp_close(t->s, id);
	stack_usage(t->s, &u);
	assert_int_equal(u.chunks, 0);
	close_udp(t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_udp_datagrams_keep_bounds_and_source),
		cmocka_unit_test(test_udp_queue_over_chunks),
		cmocka_unit_test(test_udp_full_queue_drops_the_newest),
		cmocka_unit_test(test_udp_no_chunks_is_counted),
		cmocka_unit_test(test_udp_most_specific_socket_gets_it),
		cmocka_unit_test(test_udp_reuseport_spreads_by_hash),
		cmocka_unit_test(test_udp_rows),
		cmocka_unit_test(test_udp_of_two_families_the_own_one_is_chosen),
		cmocka_unit_test(test_udp_checksums),
		cmocka_unit_test(test_udp_closed_port_is_answered),
		cmocka_unit_test(test_udp_tap_takes_what_has_no_socket),
		cmocka_unit_test(test_udp_send_in_one_packet),
		cmocka_unit_test(test_udp_large_ones_go_in_fragments),
		cmocka_unit_test(test_udp_send_by_a_given_way),
		cmocka_unit_test(test_udp_resolve_asks_once),
		cmocka_unit_test(test_udp_icmp_errors),
		cmocka_unit_test(test_udp_error_record),
		cmocka_unit_test(test_udp_error_quotes_of_any_length),
		cmocka_unit_test(test_udp_error_pending_goes_along_with_the_queue),
		cmocka_unit_test(test_udp_error_of_one_too_long),
		cmocka_unit_test(test_udp_error_queue_is_bounded),
		cmocka_unit_test(test_udp_error_queue_is_given_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
