// SPDX-License-Identifier: BSD-2-Clause
/*
 * Listeners under a SYN flood: when the core begins to answer with cookies, the XDP program takes
 * that over (bpf/syncookie.h), until the flood has ended. Hysteresis, because looking costs a
 * burst of half-open requests: it ends when the SYN queue has been at most half full, and few
 * cookies were sent, for SYNFLOOD_HOLD_NS. Cookies that are out then are honoured by the core.
 *
 * Invariants: d->n_flooded groups are .flooded; while there are any, the program has the secrets of
 * this period.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <string.h>
#include "daemon.h"

#define SYNFLOOD_LOOK_NS NS_PER_S
#define SYNFLOOD_HOLD_NS (10 * NS_PER_S)

struct port_val listener_port_val(const struct daemon *d, const struct group *g)
{
	struct port_val v = {.slot = TD_SLOT_DAEMON, .conn = TD_NO_CONN};
	uint32_t mtu = UINT32_MAX;
	struct tcp_cookie_state c;

	v.slot = g->front_slot;
	if (!g->flooded)
		return v;
	/* The program knows of no routes: what all interfaces can take. */
	for (uint32_t i = 0; i < d->n_ifs; i++)
		if (!d->ifs[i].loopback || d->n_ifs == 1)
			if (d->ifs[i].settings.mtu < mtu)
				mtu = d->ifs[i].settings.mtu;
	if (!tcp_listen_cookies(d->stack, g->core_id, mtu, &c))
		v.cookies = c.say;
	return v;
}

static int put_port(struct daemon *d, const struct group *g)
{
	struct port_val v = listener_port_val(d, g);
	struct port_key k = port_key_of(g);

	return xdp_port_set(d->prog, &k, &v);
}

/* Those of this period: the program's come from here only. */
static int put_secrets(struct daemon *d)
{
	struct syncookie_secrets c;
	int err;

	stack_syncookie_secrets(d->stack, &c, d->now);
	if (d->n_flooded && c.keys.period == d->cookie_period)
		return 0;
	err = xdp_syncookies_set(d->prog, &c);
	if (!err)
		d->cookie_period = c.keys.period;
	explicit_bzero(&c, sizeof(c));
	return err;
}

static uint64_t cookies_sent(const struct daemon *d)
{
	uint64_t stats[XS_MAX];

	return xdp_read_stats(d->opt.name, stats) ? 0 : stats[XR_SYN_COOKIE];
}

static void count_out(struct daemon *d, struct group *g)
{
	g->flooded = false;
	if (!--d->n_flooded)
		xdp_syncookies_set(d->prog, NULL);
}

void synflood_begin(struct daemon *d, uint32_t core_id)
{
	struct group *g = core_id < d->n_core_listeners ? d->by_core[core_id] : NULL;
	int err;

	if (!g || g->flooded)
		return;
	err = put_secrets(d);
	g->flooded = true;
	front_update(d, g);
	g->overflow = d->now;
	if (!d->n_flooded++) {
		d->flood_look = mtime_add_ns(d->now, SYNFLOOD_LOOK_NS);
		d->cookies_seen = cookies_sent(d);
	}
	if (!err)
		err = put_port(d, g);
	if (err) {
		log_warn("SYN cookies stay with the slow path: %s", strerror(-err));
		count_out(d, g);
		front_update(d, g);
		return;
	}
	log_info("port %u: possible SYN flooding: the XDP program sends cookies", ntohs(g->port));
}

static void end(struct daemon *d, struct group *g)
{
	count_out(d, g);
	put_port(d, g);
	front_update(d, g);
	tcp_listen_watch(d->stack, g->core_id);
	log_info("port %u: the SYN flood has ended", ntohs(g->port));
}

void synflood_forget(struct daemon *d, struct group *g)
{
	if (g->flooded)
		count_out(d, g);
}

static void look_at(struct daemon *d, struct group *g, uint64_t sent)
{
	struct tcp_cookie_state c;

	tcp_listen_cookies_sent(d->stack, g->core_id, d->now);
	put_port(d, g); /* the MTU may have changed */
	if (tcp_listen_cookies(d->stack, g->core_id, 0, &c))
		return;
	if (c.queued > c.queue_max / 2 || sent > c.queue_max / 2)
		g->overflow = d->now;
	else if (mtime_diff_ns(d->now, g->overflow) >= SYNFLOOD_HOLD_NS)
		end(d, g);
}

struct mtime synflood_run(struct daemon *d)
{
	uint64_t sent;

	if (!d->n_flooded)
		return MTIME_NEVER;
	if (mtime_before(d->now, d->flood_look))
		return d->flood_look;
	sent = cookies_sent(d);
	put_secrets(d);
	for (struct group *g = d->groups; g; g = g->next)
		if (g->flooded)
			look_at(d, g, sent - d->cookies_seen);
	d->cookies_seen = sent;
	d->flood_look = mtime_add_ns(d->now, SYNFLOOD_LOOK_NS);
	return d->flood_look;
}
