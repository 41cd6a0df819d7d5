/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The XDP program's decision logic, compiled natively: maps are small tables here, with ports and
 * flows in both families. Shared by test_decide.c and the fuzz target. Before this is included,
 * WORLD_CHECK(condition) has to be defined.
 */
#ifndef TANDEM_SELFTESTS_BPF_DECIDE_WORLD_H
#define TANDEM_SELFTESTS_BPF_DECIDE_WORLD_H

#include <stdlib.h>
#include "bpf/decide.h"
#include "pktgen.h"

/* ---- env.h, bound to the world of this test ---- */

static struct {
	struct ip_addr local[2];
	struct ip_addr denied;
	struct flow_key flow_keys[4];
	struct flow_val flows[4];
	struct port_key port_key;
	struct port_val port;
	struct port_key flooded_key;
	struct spread spread; /* index 1 */
	struct port_val flooded; /* a listener under a SYN flood */
	struct frag_key frag_key;
	struct frag_val frag;
	struct deny_val deny;
	uint64_t now;
	uint32_t frame_len;
	bool has_frag;
	struct syncookie_secrets secrets;
	bool cookies_on;
	struct flow_key cookie_pair;
	uint32_t cookie_spare;
	struct xdp_settings settings;
} world;

bool env_is_local(const struct ip_addr *a)
{
	return ip_addr_eq(a, &world.local[0]) || ip_addr_eq(a, &world.local[1]);
}

struct deny_val *env_denied(const struct deny_key *k)
{
	WORLD_CHECK(k->prefixlen == 128);
	return ip_addr_eq(&k->addr, &world.denied) ? &world.deny : NULL;
}

struct flow_val *env_flow(const struct flow_key *k)
{
	for (int i = 0; i < 4; i++) {
		if (!memcmp(k, &world.flow_keys[i], sizeof(*k)))
			return &world.flows[i];
	}
	return NULL;
}

const struct port_val *env_port(const struct port_key *k)
{
	if (!memcmp(k, &world.flooded_key, sizeof(*k)))
		return &world.flooded;
	return memcmp(k, &world.port_key, sizeof(*k)) ? NULL : &world.port;
}

const struct spread *env_spread(uint32_t slot)
{
	return slot == TD_SLOT_SPREAD(1) ? &world.spread : NULL;
}

const struct frag_val *env_frag(const struct frag_key *k)
{
	return world.has_frag && !memcmp(k, &world.frag_key, sizeof(*k)) ? &world.frag : NULL;
}

void env_frag_set(const struct frag_key *k, const struct frag_val *v)
{
	world.frag_key = *k;
	world.frag = *v;
	world.has_frag = true;
}

void env_frag_del(const struct frag_key *k)
{
	if (env_frag(k))
		world.has_frag = false;
}

uint64_t env_now(void)
{
	return world.now;
}

const struct syncookie_secrets *env_syncookies(void)
{
	return world.cookies_on ? &world.secrets : NULL;
}

void env_cookie_seen(const struct flow_key *k)
{
	world.cookie_pair = *k;
}

bool env_cookie_was_seen(const struct flow_key *k)
{
	return !memcmp(k, &world.cookie_pair, sizeof(*k));
}

bool env_cookie_spare(void)
{
	if (!world.cookie_spare)
		return false;
	world.cookie_spare--;
	return true;
}

uint32_t env_frame_len(void *ctx)
{
	(void)ctx;
	return world.frame_len;
}

/* ---- the world: ports and flows as below, in both families ---- */

#define FLOW_PORT 1000
#define OPENING_PORT 1001
#define LISTEN_PORT 80
#define UDP_PORT 53
#define FLOODED_PORT 8080

static void set_flow(int i, const char *remote, const char *local, uint16_t rport, uint32_t state)
{
	world.flow_keys[i] = (struct flow_key){.remote = addr_of(remote),
					       .local = addr_of(local),
					       .remote_port = htons(rport),
					       .local_port = htons(LISTEN_PORT),
					       .proto = PROTO_TCP};
	world.flows[i] = (struct flow_val){
		.slot = 3, .conn = 70 + (uint32_t)i, .generation = 4, .state = state};
}

static void world_init(void)
{
	memset(&world, 0, sizeof(world));
	world.local[0] = addr_of(US4);
	world.local[1] = addr_of(US6);
	world.denied = addr_of("10.9.0.66");
	set_flow(0, PEER4, US4, FLOW_PORT, FLOW_ESTABLISHED);
	set_flow(1, PEER4, US4, OPENING_PORT, FLOW_OPENING);
	set_flow(2, PEER6, US6, FLOW_PORT, FLOW_ESTABLISHED);
	set_flow(3, PEER6, US6, OPENING_PORT, FLOW_CLOSING);
	world.port_key = (struct port_key){.port = htons(UDP_PORT), .proto = PROTO_UDP};
	/* Several sockets, all of which are of slot 2. */
	world.port = (struct port_val){.slot = TD_SLOT_SPREAD(1), .conn = 8};
	for (uint32_t i = 0; i < TD_SPREAD_PLACES; i++)
		world.spread.slot[i] = 2;
	world.flooded_key = (struct port_key){.port = htons(FLOODED_PORT), .proto = PROTO_TCP};
	world.flooded = (struct port_val){.slot = TD_SLOT_DAEMON,
					  .conn = TD_NO_CONN,
					  .cookies = {.on = 1,
						      .options = PORT_COOKIES_TS | PORT_COOKIES_SACK |
								 PORT_COOKIES_WSCALE,
						      .wscale = 7,
						      .ttl = 64,
						      .window = 0x1234,
						      .mss = 1460}};
	world.cookies_on = true;
	world.secrets = (struct syncookie_secrets){
		.keys = {.period = 1000, .key = {{1, 2}, {3, 4}}}, .pair_key = {5, 6}};
	world.now = 1000;
	world.settings = (struct xdp_settings){.answer_arp = 1, .answer_echo = 1, .mtu = 1500};
	memcpy(world.settings.mac, mac_us, 6);
}

struct result {
	enum xdp_reason reason;
	struct verdict v;
	struct pkt_info p;
	struct flow_key key;
	bool cut;
	bool replied;
	struct syncookie_reply synack;
	uint8_t answer[128]; /* XR_SYN_COOKIE: the frame */
	uint32_t answer_len;
};

/* As the program does it; @copied: from a copy of the beginning of a longer frame. */
static struct result decide_on(uint8_t *data, uint32_t len, bool copied)
{
	struct pkt_view v = {.data = data, .end = data + len, .copied = copied};
	struct result r = {.v = {.slot = TD_SLOT_DAEMON, .conn = TD_NO_CONN}};
	enum pkt_kind kind;

	r.p.key = &r.key;
	kind = parse_frame(&v, &world.settings, &r.p);
	r.cut = v.cut;
	r.reason = decide(kind, &r.p, &world.settings, &r.v);
	if (r.v.cookies) /* looks at the frame itself, of which nothing is there where it was copied */
		r.reason = syncookie_decide(r.reason, data, copied ? data : data + len, &r.p,
					    &world.settings, r.v.cookies, &r.synack);
	if (r.reason == XR_SYN_COOKIE) {
		r.answer_len = syncookie_reply_len(&r.p, &r.synack);
		WORLD_CHECK(r.answer_len <= sizeof(r.answer));
		memcpy(r.answer, data, len < r.answer_len ? len : r.answer_len);
		r.replied = syncookie_reply(r.answer, r.answer + r.answer_len, &r.p, &world.settings,
					    r.v.cookies, &r.synack);
	}
	if (r.reason == XR_ARP_REPLY || r.reason == XR_ND_REPLY || r.reason == XR_ECHO_REPLY) {
		enum xdp_reason asked = r.reason;

		r.reason = reply(asked, data, data + len, &r.p, &world.settings);
		r.replied = r.reason == asked;
		WORLD_CHECK(r.replied || r.reason == XR_DROP_ICMP_CSUM ||
			    r.reason == XR_DROP_IP_CSUM ||
			    (r.reason == XR_DROP_MALFORMED && r.p.flags & PI_IPV6));
	}
	return r;
}

/* What holds for every packet, whatever is in it. */
static void check_sane(const struct result *r, uint32_t len)
{
	WORLD_CHECK(r->reason < XR_MAX);
	WORLD_CHECK(r->p.l3_off <= 22);
	WORLD_CHECK(r->v.slot == TD_SLOT_DAEMON || r->reason == XR_FLOW_DIRECT ||
		    r->reason == XR_PORT_DIRECT);
	WORLD_CHECK(r->p.l4_off == 0 || (r->p.l4_off > r->p.l3_off && r->p.l4_off < len));
	WORLD_CHECK(r->reason != XR_PASS_UNCLAIMED || !world.settings.claim_all);
	WORLD_CHECK(r->reason != XR_CLAIMED || world.settings.claim_all);
	if (r->reason == XR_ARP_REPLY || r->reason == XR_ND_REPLY || r->reason == XR_ECHO_REPLY ||
	    r->reason == XR_SYN_COOKIE)
		WORLD_CHECK(r->replied);
}

/*
 * Any bytes, in a heap block of their own for ASan to see; @more: the frame is that much longer
 * than what is there.
 */
static void try_bytes(const uint8_t *b, uint32_t len, uint32_t more)
{
	uint8_t *block = malloc(len ? len : 1);
	struct result in_place, copy;

	WORLD_CHECK(block);
	memcpy(block, b, len);
	world.has_frag = false;
	world.frame_len = len + more;
	copy = decide_on(block, len < VIEW_COPY_MAX ? len : VIEW_COPY_MAX, true);
	check_sane(&copy, len);
	WORLD_CHECK(!memcmp(block, b, len)); /* a copy is not written to */
	world.has_frag = false;
	in_place = decide_on(block, len, false);
	check_sane(&in_place, len);
	/* The same bytes, seen either way, are the same packet. */
	if (copy.reason != XR_ECHO_SLOW && !in_place.replied && !copy.cut && !in_place.cut &&
	    in_place.reason != XR_ECHO_SLOW && !in_place.v.cookies)
		WORLD_CHECK(in_place.reason == copy.reason);
	free(block);
}

#endif
