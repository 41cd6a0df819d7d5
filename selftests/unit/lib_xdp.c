/* SPDX-License-Identifier: BSD-2-Clause */
/* Apart from the tests, because bpf/ and user/core/ have names in common. */
#include <string.h>
#include "bpf/decide.h"
#include "lib_xdp.h"

static const struct syncookie_secrets *secrets;
static struct port_val port;
static uint64_t time_ns;
static uint32_t frame_len;

bool env_is_local(const struct ip_addr *a)
{
	(void)a;
	return true;
}

struct deny_val *env_denied(const struct deny_key *k)
{
	(void)k;
	return NULL;
}

struct flow_val *env_flow(const struct flow_key *k)
{
	(void)k;
	return NULL;
}

const struct port_val *env_port(const struct port_key *k)
{
	(void)k;
	return &port;
}

const struct spread *env_spread(uint32_t slot)
{
	(void)slot;
	return NULL;
}

const struct frag_val *env_frag(const struct frag_key *k)
{
	(void)k;
	return NULL;
}

void env_frag_set(const struct frag_key *k, const struct frag_val *v)
{
	(void)k;
	(void)v;
}

void env_frag_del(const struct frag_key *k)
{
	(void)k;
}

uint64_t env_now(void)
{
	return time_ns;
}

const struct syncookie_secrets *env_syncookies(void)
{
	return secrets;
}

void env_cookie_seen(const struct flow_key *k)
{
	(void)k;
}

bool env_cookie_was_seen(const struct flow_key *k)
{
	(void)k;
	return false;
}

bool env_cookie_spare(void)
{
	return false;
}

uint32_t env_frame_len(void *ctx)
{
	(void)ctx;
	return frame_len;
}

struct xdp_answer xdp_on_flooded(const struct syncookie_secrets *c, const struct port_cookies *pc,
				 const uint8_t mac[6], uint64_t now, uint8_t *frame, uint32_t len)
{
	struct xdp_settings s = {.mtu = 1500};
	struct verdict v = {.slot = TD_SLOT_DAEMON, .conn = TD_NO_CONN};
	struct pkt_view view = {.data = frame, .end = frame + len};
	struct flow_key key = {0};
	struct pkt_info p = {.key = &key};
	struct syncookie_reply r = {0};
	struct xdp_answer a = {0};

	secrets = c;
	port = (struct port_val){.slot = TD_SLOT_DAEMON, .conn = TD_NO_CONN, .cookies = *pc};
	time_ns = now;
	frame_len = len;
	memcpy(s.mac, mac, 6);
	a.reason = decide(parse_frame(&view, &s, &p), &p, &s, &v);
	if (v.cookies)
		a.reason = syncookie_decide(a.reason, frame, frame + len, &p, &s, v.cookies, &r);
	if (a.reason != XR_SYN_COOKIE)
		return a;
	a.len = syncookie_reply_len(&p, &r);
	memcpy(a.b, frame, len < a.len ? len : a.len);
	if (!syncookie_reply(a.b, a.b + a.len, &p, &s, v.cookies, &r))
		a.reason = XR_DROP_NO_ROOM;
	return a;
}
