// SPDX-License-Identifier: BSD-2-Clause
/*
 * Applications: registration (slot, arena, AF_XDP sockets, doorbells), a round over an
 * application's rings, and its end. Whatever stands in its arena is read once and checked.
 *
 * The end is in steps. At once: out of the `xsks` map (packets come to slot 0 from then on), its
 * listeners; its connections, some in each round of the loop. A little later, when no packet can be
 * on its way into its sockets any more: the frames in their rings, the sockets. After a grace:
 * frames that the kernel was still sending; then the slot is free.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include "daemon.h"

#define PKT_BUDGET 256u
#define APP_SYNREQS 16384u /* half-open connections of an application's own listeners */
/* A packet that found the socket in `xsks` is in its ring within one softirq. */
#define QUIESCE_NS (100 * NS_PER_MS)
#define GRACE_NS NS_PER_S
#define END_BUDGET 1024u /* connections ended in one round */

/* ---- registration ---- */

static void on_bell(struct daemon *d, struct watch *w, uint32_t events)
{
	uint64_t n;

	(void)d;
	(void)events;
	/* The rings are looked at in every round of the loop. */
	if (read(w->fd, &n, sizeof(n)) < 0)
		return;
}

static int find_slot(struct daemon *d)
{
	uint32_t n = 1;

	for (uint32_t s = 1; s < d->slots; s++)
		n += !!d->apps[s];
	if (iface_frames_for(d, n) > d->cfg.umem_frames) {
		log_warn("no packet memory for another application: umem_frames = %u serves %u",
			 d->cfg.umem_frames, n - 1);
		return -ENOBUFS;
	}
	for (uint32_t s = 1; s < TD_MAX_SLOTS; s++)
		if (!d->apps[s])
			return (int)s;
	return -ENOBUFS;
}

static void close_sockets(struct app *a)
{
	while (a->n_xsks)
		xsk_close(&a->xsks[--a->n_xsks]);
	free(a->xsks);
	a->xsks = NULL;
}

static void app_free(struct daemon *d, struct app *a)
{
	close_sockets(a);
	watch_del(d, &a->bell);
	if (a->bell_app >= 0)
		close(a->bell_app);
	for (uint32_t i = 0; i < d->n_ifs; i++)
		if (a->gso_fd[i] >= 0)
			close(a->gso_fd[i]);
	if (a->arena.base)
		arena_close(&a->arena);
	free(a->members);
	free(a->syn_data);
	free(a->udp);
	free(a->rx_left);
	d->apps[a->slot] = NULL;
	while (d->slots > 1 && !d->apps[d->slots - 1])
		d->slots--;
	free(a);
}

static int open_memory(struct daemon *d, struct app *a)
{
	struct arena_layout l;
	int err;

	arena_layout_make(&l, d->cfg.max_connections, d->cfg.buffer_chunks, 0,
			  d->cfg.limits.tcp_max_tw_buckets, APP_SYNREQS);
	err = arena_create(&a->arena, &l, a->slot);
	if (err)
		return err;
	a->view = arena_view(&a->arena);
	a->to_daemon = arena_ring_to_daemon(&a->arena);
	a->to_app = arena_ring_to_app(&a->arena);
	a->pkts_to_daemon = arena_pkts_to_daemon(&a->arena);
	a->pkts_to_app = arena_pkts_to_app(&a->arena);
	a->bell.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	a->bell_app = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	if (a->bell.fd < 0 || a->bell_app < 0)
		return -errno;
	return watch_add(d, &a->bell, EPOLLIN);
}

static int open_sockets(struct daemon *d, struct app *a)
{
	int err = 0;

	for (uint32_t i = 0; i < d->n_ifs; i++) {
		if (d->ifs[i].gso_fd < 0)
			continue;
		a->gso_fd[i] = port_gso_open(d->ifs[i].link.ifindex);
		if (a->gso_fd[i] < 0)
			return a->gso_fd[i];
	}
	a->xsks = calloc(d->n_queues, sizeof(*a->xsks));
	if (!a->xsks)
		return -ENOMEM;
	while (a->n_xsks < d->n_queues) {
		uint32_t q = a->n_xsks;
		const struct iface *f = iface_of_queue(d, q);
		struct xsk_opts o = f->xsk_opts;

		o.queue = q - f->first;
		err = xsk_create(&a->xsks[q], &d->umem, &o, &d->xsks[q], NULL);
		if (err)
			return err;
		a->n_xsks++;
	}
	/* Nothing is steered to this slot before there is a flow entry: it is still our secret. */
	for (uint32_t q = 0; !err && q < d->n_queues; q++)
		err = xdp_xsk_set(d->prog, a->slot, q, a->xsks[q].fd);
	return err;
}

int app_register(struct daemon *d, struct client *c, const struct ctl_register *req,
		 struct app **out)
{
	int slot = find_slot(d), err;
	struct app *a;

	if (slot < 0)
		return slot;
	a = calloc(1, sizeof(*a));
	if (!a)
		return -ENOMEM;
	a->slot = (uint16_t)slot;
	a->client = c;
	a->bell = (struct watch){.fd = -1, .fn = on_bell};
	a->bell_app = -1;
	for (uint32_t i = 0; i < TD_MAX_NETIFS; i++)
		a->gso_fd[i] = -1;
	a->opening = a->ready = a->handed = SHM_NIL;
	memcpy(a->comm, req->comm, sizeof(a->comm) - 1);
	d->apps[slot] = a;
	if ((uint32_t)slot >= d->slots)
		d->slots = (uint32_t)slot + 1;
	err = open_memory(d, a);
	if (!err)
		err = open_sockets(d, a);
	if (err) {
		log_warn("cannot register an application: %s", strerror(-err));
		for (uint32_t q = 0; q < d->n_queues; q++)
			xdp_xsk_del(d->prog, a->slot, q);
		app_free(d, a);
		return err;
	}
	*out = a;
	return 0;
}

static uint32_t reg_flags(const struct iface *f, const struct app *a)
{
	return (a->gso_fd[f->netif] >= 0 ? CTL_REG_GSO : 0) |
	       (f->xsk_opts.tx_csum ? CTL_REG_TX_CSUM : 0) |
	       (f->probe.partial_csum ? CTL_REG_PARTIAL_CSUM : 0) |
	       (f->xsk_opts.sg ? CTL_REG_SG : 0);
}

static void fill_if(const struct iface *f, const struct app *a, struct ctl_reg_if *r)
{
	r->ifindex = f->link.ifindex;
	r->flags = reg_flags(f, a);
	r->n_queues = f->n_queues;
	r->mtu = iface_mtu(f, f->link.mtu);
	memcpy(r->mac, f->link.mac, sizeof(r->mac));
	snprintf(r->ifname, sizeof(r->ifname), "%s", f->name);
}

uint32_t app_reply(struct daemon *d, struct app *a, struct ctl_register_reply *r, int *fds)
{
	uint32_t n = 0;

	r->slot = a->slot;
	r->n_ifs = d->n_ifs;
	for (uint32_t i = 0; i < d->n_ifs; i++)
		fill_if(&d->ifs[i], a, &r->ifs[i]);
	r->n_queues = d->n_queues;
	r->n_frames = d->umem.n_frames;
	r->rx_size = d->cfg.rx_ring;
	r->tx_size = d->cfg.tx_ring;
	r->fill_size = r->comp_size = d->ring_size;
	r->fill_target = d->fill_target;
	if (getrandom(r->seed, sizeof(r->seed), 0) != sizeof(r->seed))
		log_err("getrandom: %s", strerror(errno));
	memcpy(r->ts_key, d->ts_key, sizeof(r->ts_key));
	r->own = a->arena.lay;
	r->daemon = d->arena.lay;
	snprintf(r->name, sizeof(r->name), "%s", d->opt.name);
	snprintf(r->default_cc, sizeof(r->default_cc), "%s", d->cfg.cc);
	r->default_cc_len = (uint32_t)strlen(d->cfg.cc);
	_Static_assert(sizeof(struct stack_limits) <= sizeof(r->limits), "fits the reply");
	memcpy(r->limits, &d->cfg.limits, sizeof(d->cfg.limits));
	r->limits_len = sizeof(d->cfg.limits);
	r->busy_poll_us = d->cfg.busy_poll_us;

	fds[n++] = d->umem.fd;
	fds[n++] = d->umem.ctl_fd;
	fds[n++] = a->arena.fd;
	fds[n++] = d->arena.ro_fd;
	fds[n++] = a->bell.fd;
	fds[n++] = a->bell_app;
	for (uint32_t q = 0; q < a->n_xsks; q++)
		fds[n++] = a->xsks[q].fd;
	for (uint32_t i = 0; i < d->n_ifs; i++)
		if (a->gso_fd[i] >= 0)
			fds[n++] = a->gso_fd[i];
	return n;
}

/* ---- its rings ---- */

bool app_has_work(const struct app *a)
{
	/* Messages are taken only while there is room for the answers. */
	return (shm_ring_avail(&a->to_daemon->hdr, SHM_MSG_RING) &&
		shm_ring_room(&a->to_app->hdr, SHM_MSG_RING)) ||
	       shm_ring_avail(&a->pkts_to_daemon->hdr, SHM_PKT_RING);
}

void app_sleeps(struct app *a, bool sleeping)
{
	WRITE_ONCE(a->to_daemon->hdr.sleeping, sleeping);
	WRITE_ONCE(a->pkts_to_daemon->hdr.sleeping, sleeping);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static void tell_links(struct daemon *d, struct app *a)
{
	for (uint32_t i = 0; i < d->n_ifs; i++) {
		const struct iface *f = &d->ifs[i];
		struct shm_msg m = {.op = SHM_LINK,
				    .listener = i,
				    .conn = reg_flags(f, a),
				    .flags = iface_mtu(f, f->link.mtu)};

		if (!(a->links_changed & 1u << i))
			continue;
		memcpy(m.remote.b, f->link.mac, sizeof(f->link.mac));
		if (app_push(a, &m))
			a->links_changed &= ~(1u << i);
	}
}

uint32_t app_run(struct daemon *d, struct app *a)
{
	uint32_t n;

	if (a->links_changed)
		tell_links(d, a);
	n = app_messages(d, a);
	d->inject_from = a->slot;
	n += port_rx_ring(d->port, a->pkts_to_daemon, d->stack, PKT_BUDGET, &d->now, NULL, NULL);
	d->inject_from = TD_SLOT_NONE;
	if (a->ready != SHM_NIL)
		handover_flush(d, a);
	if (a->links_changed || a->ready != SHM_NIL ||
	    (shm_ring_avail(&a->to_daemon->hdr, SHM_MSG_RING) &&
	     !shm_ring_room(&a->to_app->hdr, SHM_MSG_RING)))
		d->retry = true;
	return n;
}

void app_wake(struct app *a)
{
	uint64_t one = 1;
	bool msgs = shm_ring_must_wake(&a->to_app->hdr);
	bool pkts = shm_ring_must_wake(&a->pkts_to_app->hdr);

	a->wake = false;
	if ((msgs || pkts) && write(a->bell_app, &one, sizeof(one)) < 0)
		return; /* it is rung already */
}

/* ---- its end ---- */

void app_gone(struct daemon *d, struct app *a)
{
	log_info("application %u (%s, process %d) has ended, %u connections", a->slot, a->comm,
		 (int)a->pid, a->n_conns);
	/* What it said before it went. */
	for (int i = 0; i < 8 && app_messages(d, a); i++)
		;
	for (uint32_t q = 0; q < a->n_xsks; q++)
		xdp_xsk_del(d->prog, a->slot, q);
	a->client = NULL;
	a->wake = false;
	watch_del(d, &a->bell);
	front_adopt(d, a);
	front_adopt_rest(d, a);
	listener_app_gone(d, a);
	udp_app_gone(d, a);
	for (int m = 0; m < MIB_MAX; m++)
		d->mib_ended[m] += mib_is_gauge(m) ? 0 : READ_ONCE(a->view.mib[m]);
	a->stage = APP_ENDING;
	a->next_step = d->now;
	share_app_gone(d, a);
}

static void drain_sockets(struct daemon *d, struct app *a)
{
	uint32_t max = a->n_xsks * (d->cfg.rx_ring + d->cfg.tx_ring);

	port_rescue_ring(d->port, a->pkts_to_daemon);
	a->rx_left = calloc(max ? max : 1, sizeof(*a->rx_left));
	for (uint32_t q = 0; a->rx_left && q < a->n_xsks; q++)
		a->n_rx_left += xsk_unread_frames(&a->xsks[q], &d->umem, a->rx_left + a->n_rx_left,
						  max - a->n_rx_left);
	close_sockets(a);
}

/* True: nothing of it is left. */
static bool removal_step(struct daemon *d, struct app *a)
{
	bool force = a->stage == APP_DRAINING;
	uint32_t left;

	if (a->stage == APP_ENDING) {
		if (!handover_app_gone(d, a, END_BUDGET))
			return false;
		a->stage = APP_QUIESCING;
		a->next_step = mtime_add_ns(d->now, QUIESCE_NS);
		return false;
	}
	if (!force)
		drain_sockets(d, a);
	left = umem_reclaim(&d->umem, a->slot, a->rx_left, a->n_rx_left, force);
	/* Once they are in the pool these frames are anybody's. */
	if (!d->umem.lock_slow)
		a->n_rx_left = 0;
	a->stage = APP_DRAINING;
	a->next_step = mtime_add_ns(d->now, GRACE_NS);
	return !left;
}

struct mtime app_removals(struct daemon *d)
{
	struct mtime next = MTIME_NEVER;

	for (uint32_t s = 1; s < d->slots; s++) {
		struct app *a = d->apps[s];

		if (!a || a->stage == APP_ALIVE)
			continue;
		if (!mtime_before(d->now, a->next_step) && removal_step(d, a))
			app_free(d, a);
		else
			next = mtime_min(next, a->next_step);
	}
	return next;
}

void app_free_all(struct daemon *d)
{
	for (uint32_t s = TD_MAX_SLOTS; s-- > 1;)
		if (d->apps[s]) {
			listener_app_gone(d, d->apps[s]);
			udp_app_gone(d, d->apps[s]);
			app_free(d, d->apps[s]);
		}
	share_free_all(d);
}
