// SPDX-License-Identifier: BSD-2-Clause
/*
 * A listener under a SYN flood, by BPF_PROG_TEST_RUN: SYN-ACKs as the codec compiled natively makes
 * them (common/syncookie.h), for thousands of random pairs, and which ACKs pass. The stack's side
 * of this is test_syncookie_xdp.c. Needs root, says so without it.
 */
#include <time.h>
#include "xdp_world.h"
#include "common/syncookie.h"
#include "selftests/unit/rnd.h"

#define FLOODED 8080

static const uint8_t all_options[20] = {2,    4,    5, 0xb4, 4, 2, 8, 10, 0, 0,
					0x12, 0x34, 0, 0,    0, 0, 1, 3,  3, 9};
static struct syncookie_secrets secrets;
static uint64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

static void put_secrets(void)
{
	uint32_t zero = 0;

	assert_int_equal(
		bpf_map_update_elem(bpf_map__fd(env.skel->maps.syncookies), &zero, &secrets, 0), 0);
}

static void put_port(uint8_t on, uint8_t options)
{
	struct port_key k = {.port = htons(FLOODED), .proto = PROTO_TCP};
	struct port_val v = {.slot = TD_SLOT_DAEMON,
			     .conn = TD_NO_CONN,
			     .cookies = {.on = on,
					 .options = options,
					 .wscale = 7,
					 .ttl = 61,
					 .window = 0x1234,
					 .mss = 1400}};

	assert_int_equal(bpf_map_update_elem(bpf_map__fd(env.skel->maps.ports), &k, &v, 0), 0);
}

static int flooded(void **state)
{
	int err = reset(state);

	secrets = (struct syncookie_secrets){
		.keys = {.period = now_ns() / SYNCOOKIE_PERIOD_NS, .key = {{1, 2}, {3, 4}}},
		.pair_key = {5, 6}};
	put_secrets();
	put_port(1, PORT_COOKIES_TS | PORT_COOKIES_SACK | PORT_COOKIES_WSCALE);
	return err;
}

static struct wire_tcp *tcp_of(struct packet *p)
{
	return (void *)(p->b + p->l4);
}

static void build(struct packet *p, const char *src, uint16_t port, uint32_t seq, uint32_t ack,
		  uint8_t flags, uint32_t options)
{
	struct wire_tcp *tcp;

	pkt_ipv4(p, src, US4, PROTO_TCP, 0);
	tcp = pkt_tcp(p, port, FLOODED, flags, options);
	memcpy(tcp + 1, all_options, options);
	tcp->off = (uint8_t)((20 + options) / 4 << 4);
	tcp->seq = htonl(seq);
	tcp->ack = htonl(ack);
	pkt_done(p);
}

static void build_plain(struct packet *p, uint16_t port, uint32_t seq, uint32_t ack, uint8_t flags,
			uint32_t options)
{
	pkt_eth(p, mac_us, ETH_IPV4);
	build(p, PEER4, port, seq, ack, flags, options);
}

static struct syncookie_id id_of(const char *src, uint16_t port, uint32_t irs)
{
	return (struct syncookie_id){.remote = addr_of(src),
				     .local = addr_of(US4),
				     .remote_port = htons(port),
				     .local_port = htons(FLOODED),
				     .irs = irs};
}

/* The SYN-ACK's own sequence number, after a look at the rest. */
static uint32_t check_synack(const struct packet *syn, const struct result *r, uint32_t options)
{
	struct packet a = {.len = r->len, .l3 = syn->l3, .l4 = syn->l3 + 20, .proto = PROTO_TCP};
	const struct wire_tcp *tcp;

	memcpy(a.b, r->b, r->len);
	tcp = tcp_of(&a);
	assert_int_equal(r->len, a.l4 + 20 + options);
	assert_memory_equal(a.b, mac_peer, 6);
	assert_memory_equal(a.b + 6, mac_us, 6);
	assert_memory_equal(a.b + 12, syn->b + 12, syn->l3 - 12); /* tags stay */
	assert_int_equal(csum_fold(csum_partial(a.b + a.l3, 20, 0)), 0);
	assert_int_equal(pkt_l4_sum(&a), 0);
	assert_memory_equal(a.b + a.l3 + 12, syn->b + syn->l3 + 16, 4);
	assert_memory_equal(a.b + a.l3 + 16, syn->b + syn->l3 + 12, 4);
	assert_int_equal(a.b[a.l3 + 8], 61);
	assert_memory_equal(&tcp->src, syn->b + syn->l4 + 2, 2);
	assert_memory_equal(&tcp->dst, syn->b + syn->l4, 2);
	assert_int_equal(tcp->flags, TCP_SYN | TCP_ACK);
	assert_int_equal(ntohs(tcp->window), 0x1234);
	assert_memory_equal(a.b + a.l4 + 20, "\2\4\5\x78", 4);
	return ntohl(tcp->seq);
}

static void test_xdp_cookie_is_the_codecs(void **state)
{
	struct packet p;
	struct result r;

	(void)state;
	for (int i = 0; i < 4000; i++) {
		uint32_t irs = rnd(), iss, mss;
		uint16_t port = (uint16_t)rnd();
		char src[32];
		struct syncookie_id id;

		snprintf(src, sizeof(src), "10.%u.%u.%u", rnd() % 256, rnd() % 256, rnd() % 256);
		id = id_of(src, port, irs);
		mss = rnd() % 2 ? 1460 : rnd() % 65536;
		pkt_eth(&p, mac_us, ETH_IPV4);
		build(&p, src, port, irs, 0, TCP_SYN, 20);
		p.b[p.l4 + 22] = (uint8_t)(mss >> 8);
		p.b[p.l4 + 23] = (uint8_t)mss;
		tcp_of(&p)->check = 0;
		pkt_done(&p);
		r = expect(&p, XR_SYN_COOKIE);
		iss = check_synack(&p, &r, 20);
		assert_int_equal(iss, syncookie_make(&secrets.keys, &id, mss ? mss : 536));
		assert_int_not_equal(syncookie_check(&secrets.keys, &id, iss), 0);
		pkt_eth(&p, mac_us, ETH_IPV4);
		build(&p, src, port, irs + 1, iss + 1, TCP_ACK, 0);
		expect(&p, XR_COOKIE_ACK);
	}
}

static void test_xdp_cookie_timestamp(void **state)
{
	struct syncookie_id id = id_of(PEER4, 5000, 77);
	uint64_t hash = syncookie_pair_hash(secrets.pair_key, &id.local, &id.remote, id.local_port,
					    id.remote_port);
	uint32_t ts, before = (uint32_t)(now_ns() / 1000000);
	struct packet p;
	struct result r;

	(void)state;
	build_plain(&p, 5000, 77, 0, TCP_SYN, 20);
	r = expect(&p, XR_SYN_COOKIE);
	check_synack(&p, &r, 20);
	assert_memory_equal(r.b + 58, "\4\2\10\12", 4);
	assert_memory_equal(r.b + 66, all_options + 8, 4);
	assert_memory_equal(r.b + 70, "\1\3\3\7", 4);
	memcpy(&ts, r.b + 62, 4);
	ts = ntohl(ts) - (uint32_t)(hash >> 32);
	assert_int_equal(ts & SYNCOOKIE_TS_MASK, 9 | SYNCOOKIE_TS_SACK);
	/* never later than now, at most 64 ms and some ticks before */
	assert_true((int32_t)((uint32_t)(now_ns() / 1000000) - ts) >= 0);
	assert_true((int32_t)(before - ts) <= 64 + 50);
	put_port(1, 0);
	r = expect(&p, XR_SYN_COOKIE);
	check_synack(&p, &r, 4);
	put_port(1, PORT_COOKIES_TS);
	r = expect(&p, XR_SYN_COOKIE);
	check_synack(&p, &r, 16);
	/* A SYN that is shorter than its answer */
	build_plain(&p, 5000, 77, 0, TCP_SYN, 0);
	r = expect(&p, XR_SYN_COOKIE);
	check_synack(&p, &r, 4);
	pkt_eth(&p, mac_us, ETH_IPV4);
	build(&p, PEER4, 5000, 77, 0, TCP_SYN, 20);
	memmove(p.b + p.l4 + 20, all_options + 6, 12);
	p.len = p.l4 + 32;
	tcp_of(&p)->off = 8 << 4;
	tcp_of(&p)->check = 0;
	pkt_done(&p);
	put_port(1, PORT_COOKIES_TS | PORT_COOKIES_WSCALE);
	r = expect(&p, XR_SYN_COOKIE);
	check_synack(&p, &r, 16);
}

static void test_xdp_cookie_tagged_padded_redirected(void **state)
{
	struct packet p;
	struct result r;

	(void)state;
	pkt_eth(&p, mac_us, ETH_IPV4);
	pkt_vlan(&p, ETH_QINQ, 0);
	pkt_vlan(&p, ETH_VLAN, 0xe000);
	build(&p, PEER4, 5000, 77, 0, TCP_SYN, 20);
	r = expect(&p, XR_SYN_COOKIE);
	check_synack(&p, &r, 20);
	build_plain(&p, 5000, 77, 0, TCP_SYN, 0);
	pkt_put(&p, 30); /* more than a frame's minimum */
	r = expect(&p, XR_SYN_COOKIE);
	check_synack(&p, &r, 4);
	settings(1, XDP_REPLY_REDIRECT);
	r = run(&p);
	assert_int_equal(r.reason, XR_SYN_COOKIE);
	assert_int_equal(r.action, XDP_REDIRECT);
	check_synack(&p, &r, 4);
	settings(1, XDP_REPLY_NONE);
	expect(&p, XR_PORT_SLOW);
}

static void test_xdp_cookie_of_no_avail(void **state)
{
	struct packet p;
	uint32_t zero = 0, dropped = 0;

	(void)state;
	for (int i = 0; i < 1000; i++) {
		build_plain(&p, (uint16_t)rnd(), rnd(), rnd(), i & 1 ? TCP_ACK : TCP_RST, 0);
		dropped += run(&p).reason == XR_DROP_COOKIE;
	}
	/* But for a few in each tick, and some that hit by chance. */
	assert_in_range(dropped, 500, 1000);
	build_plain(&p, 5000, 77, 0, TCP_SYN, 20);
	p.b[p.l4 + 5] ^= 4;
	expect(&p, XR_DROP_COOKIE_SYN);
	build_plain(&p, 5000, 77, 0, TCP_SYN, 20);
	secrets.keys.period -= 3; /* the daemon is gone */
	put_secrets();
	expect(&p, XR_PORT_SLOW);
	bpf_map_delete_elem(bpf_map__fd(env.skel->maps.syncookies), &zero);
	expect(&p, XR_PORT_SLOW);
	put_port(0, 0);
	expect(&p, XR_PORT_SLOW);
}

/* What a connection sends between its third ACK and its entry in `flows`. */
static void test_xdp_cookie_pair_is_remembered(void **state)
{
	struct syncookie_id id = id_of(PEER4, 5001, 77);
	uint32_t iss = syncookie_make(&secrets.keys, &id, 1460), slow = 0;
	struct packet p;

	(void)state;
	build_plain(&p, 5001, 78, iss + 1, TCP_ACK, 0);
	expect(&p, XR_COOKIE_ACK);
	for (uint32_t i = 0; i < 500; i++) {
		build_plain(&p, 5001, 78 + i * 1000, iss + 1, TCP_ACK | TCP_FIN, 0);
		slow += run(&p).reason != XR_DROP_COOKIE;
	}
	assert_int_equal(slow, 500);
}

/* A request of the slow path's: RFC 6528, from its keys. */
static void test_xdp_cookie_isn_of_request_passes(void **state)
{
	uint32_t passed = 0;
	struct packet p;

	(void)state;
	for (uint32_t i = 0; i < 500; i++) {
		struct syncookie_id id = id_of(PEER4, (uint16_t)(6000 + i), 0);
		uint64_t hash = syncookie_pair_hash(secrets.pair_key, &id.local, &id.remote,
						    id.local_port, id.remote_port);
		uint32_t iss = (uint32_t)hash + syncookie_isn_clock(now_ns());

		build_plain(&p, (uint16_t)(6000 + i), 78, iss + 1, TCP_ACK, 0);
		passed += run(&p).reason == XR_PORT_SLOW;
	}
	assert_int_equal(passed, 500);
}

#define T(name) cmocka_unit_test_setup(name, flooded)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_xdp_cookie_is_the_codecs),
		T(test_xdp_cookie_timestamp),
		T(test_xdp_cookie_tagged_padded_redirected),
		T(test_xdp_cookie_of_no_avail),
		T(test_xdp_cookie_pair_is_remembered),
		T(test_xdp_cookie_isn_of_request_passes),
	};

	if (geteuid() != 0) {
		printf("test_xdp_cookie: SKIPPED: loading XDP programs needs root\n");
		return 0;
	}
	return cmocka_run_group_tests(tests, open_world, close_world);
}
