// SPDX-License-Identifier: BSD-2-Clause
/*
 * Listeners and reserved ports. All reservations of one address and port are one group: a kernel
 * socket that is bound there, so that the kernel's programs and tandem's cannot both have it;
 * one listener of the core; one entry in `ports`.
 *
 * A socket is a member, or, once other processes may have it, a share (share.c) in which each
 * process that has used it has a member. What is accepted: dispatch.c.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "daemon.h"

#define MAX_MEMBERS 65536u /* of one application */

/* ---- groups ---- */

static struct ip_addr normal(const struct ip_addr *a)
{
	return ip_addr_is_any(a) ? (struct ip_addr){0} : *a;
}

struct port_key port_key_of(const struct group *g)
{
	return (struct port_key){.addr = g->addr, .port = g->port, .proto = IPPROTO_TCP};
}

static struct group *group_find(const struct daemon *d, const struct ip_addr *addr, uint16_t port)
{
	struct group *g;

	for (g = d->groups; g; g = g->next)
		if (g->port == port && ip_addr_eq(&g->addr, addr))
			return g;
	return NULL;
}

/* The kernel's rules: all with SO_REUSEPORT and of one user, or all with SO_REUSEADDR and quiet. */
static bool group_admits(const struct group *g, const struct app *a, uint32_t flags)
{
	bool port = flags & CTL_LISTEN_REUSEPORT && g->uid == a->uid;
	bool addr = flags & CTL_LISTEN_REUSEADDR && !g->n_listening;

	for (const struct member *m = g->members; m; m = m->next) {
		port &= !!(m->flags & CTL_LISTEN_REUSEPORT);
		addr &= !!(m->flags & CTL_LISTEN_REUSEADDR);
	}
	for (const struct share *sh = g->shares; sh; sh = sh->next)
		port &= !!(sh->flags & CTL_LISTEN_REUSEPORT);
	return port || addr;
}

static int group_new(struct daemon *d, struct app *a, const struct ip_addr *addr, uint16_t port,
		     uint32_t flags, int twin, struct group **out)
{
	struct group *g = calloc(1, sizeof(*g));
	int err;

	if (!g)
		return -ENOMEM;
	g->addr = *addr;
	g->port = port;
	g->uid = a->uid;
	g->core_id = SHM_NIL;
	if (twin_fits(d, twin, addr, port))
		err = (g->kernel_fd = fcntl(twin, F_DUPFD_CLOEXEC, 0)) < 0 ? -errno : 0;
	else
		err = kernel_bind(addr, &g->port,
				  flags & (CTL_LISTEN_REUSEADDR | CTL_LISTEN_REUSEPORT),
				  &g->kernel_fd);
	if (err) {
		free(g);
		return err;
	}
	g->next = d->groups;
	d->groups = g;
	*out = g;
	return 0;
}

static void group_release(struct daemon *d, struct group *g)
{
	struct group **p = &d->groups;

	if (g->members || g->shares)
		return;
	while (*p != g)
		p = &(*p)->next;
	*p = g->next;
	close(g->kernel_fd);
	free(g);
}

/* Shares in the way of a new socket may have ended without our having noticed yet. */
static struct group *group_reap(struct daemon *d, const struct ip_addr *addr, uint16_t port)
{
	struct group *g = group_find(d, addr, port);
	struct share *next;
	bool last = false;

	for (struct share *sh = g ? g->shares : NULL; sh && !last; sh = next) {
		next = sh->next;
		last = !next; /* the group may go with it */
		share_hung_up(d, sh);
	}
	return g ? group_find(d, addr, port) : NULL;
}

/* ---- members ---- */

struct member *member_get(const struct app *a, uint32_t id)
{
	return id < a->n_members ? a->members[id] : NULL;
}

/* A free place in the application's table. -errno, or the id. */
static int64_t member_id(struct app *a)
{
	uint32_t old = a->n_members, n = old ? old * 2 : 16;
	struct member **list;

	for (uint32_t i = 0; i < old; i++)
		if (!a->members[i])
			return i;
	if (n > MAX_MEMBERS)
		return -ENOBUFS;
	list = realloc(a->members, n * sizeof(*list));
	if (!list)
		return -ENOMEM;
	memset(list + old, 0, (n - old) * sizeof(*list));
	a->members = list;
	a->n_members = n;
	return old;
}

/* May this application have such an address and port at all? In the kernel's order. */
static int may_bind(const struct daemon *d, const struct app *a, const struct ctl_listen *req)
{
	struct ip_addr addr = normal(&req->addr);

	if (req->proto != IPPROTO_TCP)
		return -EPROTONOSUPPORT;
	if (!ip_addr_is_any(&addr) && !iface_has_addr(d, &addr))
		return -EADDRNOTAVAIL;
	return port_allowed(a, req->port) ? 0 : -EACCES;
}

static void member_add(struct app *a, struct group *g, struct member *m, uint32_t id)
{
	m->group = g;
	m->app = a;
	m->id = id;
	m->index = SHM_NIL;
	m->next = g->members;
	g->members = m;
	a->members[id] = m;
}

static int member_new(struct daemon *d, struct app *a, const struct ctl_listen *req, int twin,
		      struct member **out)
{
	struct ip_addr addr = normal(&req->addr);
	struct group *g = req->port ? group_reap(d, &addr, req->port) : NULL;
	int64_t id = member_id(a);
	struct member *m;
	int err = may_bind(d, a, req);

	if (err)
		return err;
	if (id < 0)
		return (int)id;
	if (g && !group_admits(g, a, req->flags))
		return -EADDRINUSE;
	m = calloc(1, sizeof(*m));
	if (!m)
		return -ENOMEM;
	if (!g) {
		err = group_new(d, a, &addr, req->port, req->flags, twin, &g);
		if (err) {
			free(m);
			return err;
		}
	}
	m->flags = req->flags;
	member_add(a, g, m, (uint32_t)id);
	*out = m;
	return 0;
}

static uint32_t index_alloc(struct app *a)
{
	for (uint32_t i = 0; i < SHM_MAX_LISTENERS / 64; i++)
		if (~a->index_used[i]) {
			uint32_t bit = (uint32_t)__builtin_ctzll(~a->index_used[i]);

			a->index_used[i] |= 1ull << bit;
			return i * 64 + bit;
		}
	return SHM_NIL;
}

uint32_t member_waiting(const struct member *m)
{
	uint32_t taken = READ_ONCE(arena_listeners(&m->app->arena)[m->index].accepted);
	uint32_t queued = READ_ONCE(arena_listeners(&m->app->arena)[m->index].queued);
	uint32_t n = m->handed - taken;

	n = n > m->handed ? 0 : n;
	return queued < UINT16_MAX ? n + queued : n;
}

uint32_t group_half_open(const struct daemon *d, const struct group *g)
{
	return g->n_listening ? tcp_listen_half_open(d->stack, g->core_id) : 0;
}

static uint32_t group_backlog(const struct group *g)
{
	uint64_t n = 0;

	for (const struct member *m = g->members; m; m = m->next)
		n += m->listening && !m->share ? m->backlog : 0;
	for (const struct share *sh = g->shares; sh; sh = sh->next)
		n += sh->backlog;
	return n < INT32_MAX ? (uint32_t)n : INT32_MAX;
}

static void stop_listening(struct daemon *d, struct group *g)
{
	struct port_key k = port_key_of(g);

	synflood_forget(d, g);
	xdp_port_del(d->prog, &k);
	front_stop(d, g);
	d->by_core[g->core_id] = NULL;
	tcp_unlisten(d->stack, g->core_id, d->now);
	g->core_id = SHM_NIL;
	g->outside = 0;
	g->again = false;
}

/* One socket less that listens. */
static void socket_gone(struct daemon *d, struct group *g)
{
	if (!--g->n_listening) {
		stop_listening(d, g);
		return;
	}
	tcp_listen_backlog(d->stack, g->core_id, group_backlog(g));
	front_update(d, g);
}

static void index_free(struct app *a, struct member *m)
{
	a->index_used[m->index / 64] &= ~(1ull << m->index % 64);
	a->n_listening--;
	m->listening = false;
	m->index = SHM_NIL;
}

static void member_free(struct daemon *d, struct member *m)
{
	struct group *g = m->group;
	struct member **p = &g->members;
	struct app *a = m->app;
	bool used = m->uses;

	front_forget(d, m);
	twin_end(d, m);
	while (*p != m)
		p = &(*p)->next;
	*p = m->next;
	if (m->listening) {
		index_free(a, m);
		if (!m->share)
			socket_gone(d, g);
		else if (used)
			front_update(d, g);
	}
	a->members[m->id] = NULL;
	group_release(d, g);
	free(m);
}

/* ---- requests ---- */

static void reply_with(const struct member *m, struct ctl_listen_reply *r)
{
	r->addr = ip_addr_is_any(&m->group->addr) ? ip_addr_v4(0) : m->group->addr;
	r->port = m->group->port;
	r->id = m->id;
	r->index = m->listening ? m->index : 0;
}

int listener_bind(struct daemon *d, struct app *a, const struct ctl_listen *req,
		  struct ctl_listen_reply *r)
{
	struct member *m;
	int err;

	if (req->flags & CTL_BIND_CHECK) {
		r->addr = req->addr;
		r->id = SHM_NIL;
		return may_bind(d, a, req);
	}
	err = member_new(d, a, req, -1, &m);
	if (!err)
		reply_with(m, r);
	return err;
}

/* True: they are other ones than before. */
static bool listen_options(struct daemon *d, struct group *g, const struct ctl_listen *req)
{
	struct listen_opts was = g->opts;

	g->opts = (struct listen_opts){req->defer_accept, req->fastopen, req->fo_keys};
	tcp_listen_opt(d->stack, g->core_id, TOPT_DEFER_ACCEPT, req->defer_accept);
	tcp_listen_opt(d->stack, g->core_id, TOPT_FASTOPEN, req->fastopen);
	if (req->fastopen && !req->fo_keys.n)
		fo_keys_refresh(d);
	if (req->fo_keys.n)
		tcp_listen_fastopen_keys(d->stack, g->core_id, &req->fo_keys);
	return memcmp(&was, &g->opts, sizeof(was));
}

/* The group's first one: the core's listener, then the port's entry. */
static int start_listening(struct daemon *d, struct group *g, const struct ctl_listen *req)
{
	struct port_val v = listener_port_val(d, g);
	struct port_key k = port_key_of(g);
	uint32_t id;
	int err = tcp_listen(d->stack, &g->addr, g->port, req->backlog, 0, &id);

	if (err)
		return err;
	if (id >= d->n_core_listeners) {
		tcp_unlisten(d->stack, id, d->now);
		return -ENOSPC;
	}
	g->core_id = id;
	d->by_core[id] = g;
	listen_options(d, g, req);
	g->cc = req->cc;
	if (req->cc) /* an index that is none is refused, and the default stays */
		tcp_listen_opt(d->stack, id, TOPT_CONGESTION, req->cc - 1);
	if (d->cfg.syncookies_xdp)
		tcp_listen_watch(d->stack, id);
	err = xdp_port_set(d->prog, &k, &v);
	if (err)
		stop_listening(d, g);
	return err;
}

static void member_listens(struct member *m, uint32_t index)
{
	m->index = index;
	m->handed = 0;
	m->listening = true;
	arena_listeners(&m->app->arena)[index] = (struct shm_listener){0};
	m->app->n_listening++;
}

static bool app_listens_at(const struct app *a, uint16_t port)
{
	for (uint32_t i = 0; i < a->n_members; i++)
		if (a->members[i] && a->members[i]->listening &&
		    a->members[i]->group->port == port)
			return true;
	return false;
}

static int member_listen(struct daemon *d, struct member *m, const struct ctl_listen *req)
{
	struct group *g = m->group;
	struct app *a = m->app;
	uint32_t index;
	int err = 0;

	/* SO_REUSEADDR lets several bind, but one listen. */
	for (const struct member *o = g->members; o; o = o->next)
		if (o != m && o->listening &&
		    !(o->flags & req->flags & CTL_LISTEN_REUSEPORT && g->uid == a->uid))
			return -EADDRINUSE;
	for (const struct share *sh = g->shares; sh; sh = sh->next)
		if (!(sh->flags & req->flags & CTL_LISTEN_REUSEPORT && g->uid == a->uid))
			return -EADDRINUSE;
	index = index_alloc(a);
	if (index == SHM_NIL)
		return -ENOBUFS;
	if (!g->n_listening)
		err = start_listening(d, g, req);
	if (err) {
		a->index_used[index / 64] &= ~(1ull << index % 64);
		return err;
	}
	m->flags = req->flags;
	/* An application's stack has one listener for a port. */
	if (app_listens_at(a, g->port))
		m->flags &= ~CTL_LISTEN_LOCAL;
	m->backlog = req->backlog;
	member_listens(m, index);
	if (g->n_listening++)
		tcp_listen_backlog(d->stack, g->core_id, group_backlog(g));
	if (req->flags & CTL_LISTEN_TWIN)
		twin_begin(g, m, group_backlog(g));
	front_update(d, g);
	return 0;
}

int listener_listen(struct daemon *d, struct app *a, const struct ctl_listen *req, int twin,
		    struct ctl_listen_reply *r)
{
	bool bound = req->id != SHM_NIL;
	struct member *m = bound ? member_get(a, req->id) : NULL;
	int err;

	if (bound && (!m || m->listening))
		return -EINVAL;
	if (!bound) {
		err = member_new(d, a, req, twin, &m);
		if (err)
			return err;
	}
	err = member_listen(d, m, req);
	if (!err)
		reply_with(m, r);
	else if (!bound)
		member_free(d, m);
	return err;
}

int listener_listen_again(struct daemon *d, struct app *a, const struct ctl_listen *req, int fd,
			  int twin, struct ctl_listen_reply *r)
{
	struct share *sh = share_by_fd(d, fd);
	struct ctl_take_reply t;
	int err;

	if (sh) {
		err = sh->kind == CTL_SHARE_LISTENER ? listener_join(d, a, sh, &t) : -EBADF;
		if (!err)
			*r = (struct ctl_listen_reply){
				.addr = t.addr, .port = t.port, .id = t.id, .index = t.index};
		return err;
	}
	err = req->id == SHM_NIL ? listener_listen(d, a, req, twin, r) : -EINVAL;
	if (err)
		return err;
	err = share_adopt(d, a, r->id, fd);
	if (err)
		listener_unlisten(d, a, r->id);
	return err;
}

int listener_backlog(struct daemon *d, struct app *a, const struct ctl_listen *req)
{
	struct member *m = member_get(a, req->id);
	bool changed;

	if (!m || !m->listening)
		return -EINVAL;
	changed = listen_options(d, m->group, req);
	if (m->share) {
		m->share->backlog = req->backlog;
		m->share->changed |= changed;
	}
	m->backlog = req->backlog;
	m->flags = (m->flags & ~CTL_LISTEN_LOCAL) | (req->flags & CTL_LISTEN_LOCAL);
	front_update(d, m->group);
	twin_backlog(m->group, group_backlog(m->group));
	return tcp_listen_backlog(d->stack, m->group->core_id, group_backlog(m->group));
}

int listener_unlisten(struct daemon *d, struct app *a, uint32_t id)
{
	struct member *m = member_get(a, id);

	if (!m)
		return -EINVAL;
	member_free(d, m);
	return 0;
}

void listener_app_gone(struct daemon *d, struct app *a)
{
	for (uint32_t i = 0; i < a->n_members; i++)
		if (a->members[i])
			member_free(d, a->members[i]);
}

bool listener_covers(const struct daemon *d, const struct ip_addr *addr, uint16_t port)
{
	for (const struct group *g = d->groups; g; g = g->next)
		if (g->port == port && g->n_listening && !g->flooded && !g->front_slot &&
		    (ip_addr_is_any(&g->addr) || ip_addr_eq(&g->addr, addr)))
			return true;
	return false;
}

bool listener_reserved(const struct app *a, const struct ip_addr *addr, uint16_t port)
{
	for (uint32_t i = 0; i < a->n_members; i++) {
		const struct group *g = a->members[i] ? a->members[i]->group : NULL;

		if (g && g->port == port &&
		    (ip_addr_is_any(&g->addr) || ip_addr_eq(&g->addr, addr)))
			return true;
	}
	return false;
}

/* ---- shared listeners ---- */

/* What was sent to @m before may not have been accepted yet: it, too, belongs to all. */
static void came_via(struct daemon *d, const struct member *m, uint32_t head)
{
	uint32_t i = head;

	if (i == SHM_NIL)
		return;
	do {
		struct rec *r = rec_at(d, i);

		if (!(r->flags & (REC_F_ACTIVE | REC_F_SHARED)) && rec_listener(r) == m->id) {
			r->flags |= REC_F_VIA;
			rec_set_share(r, m->share->id);
		}
		i = r->next;
	} while (i != head);
}

int listener_share(struct daemon *d, struct app *a, uint32_t id, struct share *sh)
{
	struct member *m = member_get(a, id);

	if (!m || !m->listening)
		return -EINVAL;
	if (m->share)
		return -EALREADY;
	m->share = sh;
	sh->group = m->group;
	sh->flags = m->flags;
	sh->backlog = m->backlog;
	sh->twin = m->twin;
	m->twin = false;
	sh->next = m->group->shares;
	m->group->shares = sh;
	came_via(d, m, a->ready);
	came_via(d, m, a->handed);
	front_update(d, m->group);
	return 0;
}

int listener_join(struct daemon *d, struct app *a, struct share *sh, struct ctl_take_reply *r)
{
	struct member *m = calloc(1, sizeof(*m));
	int64_t id = member_id(a);
	uint32_t index;

	(void)d;
	if (!m || id < 0) {
		free(m);
		return id < 0 ? (int)id : -ENOMEM;
	}
	index = index_alloc(a);
	if (index == SHM_NIL) {
		free(m);
		return -ENOBUFS;
	}
	m->share = sh;
	m->flags = sh->flags;
	m->backlog = sh->backlog;
	m->served = sh->serial;
	member_add(a, sh->group, m, (uint32_t)id);
	member_listens(m, index);
	WRITE_ONCE(arena_listeners(&a->arena)[index].pending, sh->n_pool);
	r->addr = ip_addr_is_any(&sh->group->addr) ? ip_addr_v4(0) : sh->group->addr;
	r->port = sh->group->port;
	r->id = m->id;
	r->index = index;
	r->backlog = sh->backlog;
	r->cc = sh->group->cc;
	r->defer_accept = sh->group->opts.defer_accept;
	r->fastopen = sh->group->opts.fastopen;
	return 0;
}

void listener_share_gone(struct daemon *d, struct share *sh)
{
	struct group *g = sh->group;
	struct share **p = &g->shares;

	while (*p != sh)
		p = &(*p)->next;
	*p = sh->next;
	/* What nobody has accepted is reset (Linux: inet_csk_listen_stop()). */
	while (sh->pool != SHM_NIL) {
		uint32_t i = sh->pool;

		tcp_abort(d->stack, rec_at(d, i)->conn, d->now);
		rec_drop(d, i);
	}
	for (struct member *m = g->members; m; m = m->next)
		if (m->share == sh) {
			front_unshare(m);
			index_free(m->app, m);
			m->share = NULL;
		}
	twin_share_end(d, sh);
	socket_gone(d, g);
	group_release(d, g);
}
