// SPDX-License-Identifier: BSD-2-Clause
/*
 * Sockets that several processes hold, by fork(), exec or passing on: what the kernel calls an open
 * file description. The program's descriptors of such a socket are copies of a unix socket
 * of ours, made for the purpose, so that the kernel itself counts who holds it: when the last copy
 * is closed, in whatever process and way, our end of it hangs up. And who holds one has proved that
 * it may use the socket: it shows it to us (CTL_TAKE), and SO_COOKIE says which it is.
 *
 * It listens, so that a program that does not know tandem gets errors from read() and write()
 * rather than silence, and we are the connection in its backlog.
 *
 * A shared connection is with one process at a time, or held by our stack (REC_HELD) while no
 * process has it in hand. A process that wants it while another one has it waits until that has
 * given it back, which it is asked for no sooner than HOLD_NS after it got it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "daemon.h"

#define HOLD_NS (10 * NS_PER_MS)
#define INDEX_BITS 20u
#define INDEX_MASK ((1u << INDEX_BITS) - 1)
#define MIN_SHARES 16u

struct taker {
	struct taker *next;
	uint16_t slot;
	uint64_t cookie;
};

/* ---- the table ---- */

static struct share *share_get(const struct daemon *d, uint32_t id)
{
	struct share *sh = (id & INDEX_MASK) < d->max_shares ? d->shares[id & INDEX_MASK] : NULL;

	return sh && sh->id == id ? sh : NULL;
}

struct share *share_of(struct daemon *d, const struct rec *r)
{
	return r->flags & (REC_F_VIA | REC_F_SHARED) ? share_get(d, rec_share(r)) : NULL;
}

static int64_t free_index(struct daemon *d)
{
	uint32_t n = d->max_shares ? d->max_shares * 2 : MIN_SHARES;
	struct share **list;

	for (uint32_t i = 0; d->n_shares < d->max_shares && i < d->max_shares; i++)
		if (!d->shares[i])
			return i;
	if (n > INDEX_MASK)
		return -ENOBUFS;
	list = realloc(d->shares, n * sizeof(struct share *));
	if (!list)
		return -ENOMEM;
	memset(list + d->max_shares, 0, (n - d->max_shares) * sizeof(struct share *));
	d->shares = list;
	d->max_shares = n;
	return n / 2 == d->n_shares || n == MIN_SHARES ? d->n_shares : n / 2;
}

/* ---- descriptors ---- */

/* The one for programs, and our end of it. The name cannot be guessed before we are connected. */
static int make_pair(struct daemon *d, struct share *sh, int *theirs)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	socklen_t len = sizeof(sh->cookie);
	uint64_t rnd;
	int n, fd, err;

	if (getrandom(&rnd, sizeof(rnd), 0) != sizeof(rnd))
		return -EIO;
	n = snprintf(sun.sun_path + 1, sizeof(sun.sun_path) - 1, CTL_SHARE_PREFIX "%s/%08x%016llx",
		     d->opt.name ? d->opt.name : "", sh->id, (unsigned long long)rnd);
	if (n < 0 || (size_t)n >= sizeof(sun.sun_path) - 1)
		return -ENAMETOOLONG;
	n += (int)offsetof(struct sockaddr_un, sun_path) + 1;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	sh->w.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0 || sh->w.fd < 0 || bind(fd, (struct sockaddr *)&sun, (socklen_t)n) ||
	    listen(fd, 0) || connect(sh->w.fd, (struct sockaddr *)&sun, (socklen_t)n) ||
	    getsockopt(fd, SOL_SOCKET, SO_COOKIE, &sh->cookie, &len)) {
		err = -errno;
		goto err_close;
	}
	/* Only that it hangs up is of interest. */
	err = watch_add(d, &sh->w, 0);
	if (err)
		goto err_close;
	*theirs = fd;
	return 0;

err_close:
	if (fd >= 0)
		close(fd);
	if (sh->w.fd >= 0)
		close(sh->w.fd);
	sh->w.fd = -1;
	return err;
}

/* The name of a share's descriptor that a daemon of our name has made, its id in it, and the cookie. */
static bool look_at(const struct daemon *d, int fd, struct sockaddr_un *sun, socklen_t *len,
		    unsigned *id, uint64_t *cookie)
{
	socklen_t clen = sizeof(*cookie);
	char prefix[sizeof(sun->sun_path)];
	int n = snprintf(prefix, sizeof(prefix), CTL_SHARE_PREFIX "%s/",
			 d->opt.name ? d->opt.name : "");

	memset(sun, 0, sizeof(*sun));
	*len = sizeof(*sun) - 1;
	return fd >= 0 && !getsockname(fd, (struct sockaddr *)sun, len) &&
	       sun->sun_family == AF_UNIX && !sun->sun_path[0] && (size_t)n < sizeof(prefix) &&
	       !strncmp(sun->sun_path + 1, prefix, (size_t)n) &&
	       sscanf(sun->sun_path + 1 + n, "%8x", id) == 1 &&
	       !getsockopt(fd, SOL_SOCKET, SO_COOKIE, cookie, &clen);
}

/* Which share is this a descriptor of? The name says it, the cookie proves it. */
struct share *share_by_fd(struct daemon *d, int fd)
{
	struct sockaddr_un sun;
	struct share *sh;
	uint64_t cookie;
	socklen_t len;
	unsigned id;

	if (!look_at(d, fd, &sun, &len, &id, &cookie))
		return NULL;
	sh = share_get(d, id);
	if (sh && sh->cookie == cookie)
		return sh;
	/* The name of one that was adopted has the id that it had before. */
	for (uint32_t i = 0; d->n_adopted && i < d->max_shares; i++)
		if (d->shares[i] && d->shares[i]->adopted && d->shares[i]->cookie == cookie)
			return d->shares[i];
	return NULL;
}

/* ---- making and ending ---- */

static void taker_fail(struct daemon *d, const struct taker *t, int err)
{
	struct shm_msg m = {.op = SHM_CONN_FAILED, .cookie = t->cookie, .error = err};
	struct app *a = d->apps[t->slot];

	if (a && a->stage == APP_ALIVE && !app_push(a, &m))
		log_warn("application %u is not told of a lost connection", a->slot);
}

static void taker_pop(struct share *sh)
{
	struct taker *t = sh->takers;

	sh->takers = t->next;
	free(t);
	if (sh->takers)
		return;
	*sh->wait_pprev = sh->wait_next;
	if (sh->wait_next)
		sh->wait_next->wait_pprev = sh->wait_pprev;
}

static void share_free(struct daemon *d, struct share *sh)
{
	while (sh->takers) {
		taker_fail(d, sh->takers, ECONNRESET);
		taker_pop(sh);
	}
	watch_del(d, &sh->w);
	d->shares[sh->id & INDEX_MASK] = NULL;
	d->n_shares--;
	d->n_adopted -= sh->adopted;
	free(sh->holders);
	free(sh);
}

static void share_gone(struct daemon *d, struct share *sh)
{
	uint32_t i = sh->rec;

	if (sh->kind == CTL_SHARE_LISTENER) {
		listener_share_gone(d, sh);
	} else if (i != SHM_NIL &&
		   (rec_at(d, i)->state == REC_HELD || rec_at(d, i)->state == REC_READY)) {
		/* Else an application has it, which is about to give it back, having closed it. */
		handover_close(d, i);
	}
	share_free(d, sh);
}

bool share_hung_up(struct daemon *d, struct share *sh)
{
	struct pollfd p = {.fd = sh->w.fd};

	if (poll(&p, 1, 0) != 1 || !(p.revents & (POLLHUP | POLLERR)))
		return false;
	share_gone(d, sh);
	return true;
}

static void on_hang_up(struct daemon *d, struct watch *w, uint32_t events)
{
	if (events & (EPOLLHUP | EPOLLERR))
		share_gone(d, (struct share *)w);
}

/* Not in the table yet. */
static int share_alloc(struct daemon *d, uint32_t kind, struct share **out)
{
	static uint32_t serial;
	int64_t i = free_index(d);
	struct share *sh;

	if (i < 0)
		return (int)i;
	sh = calloc(1, sizeof(*sh));
	if (!sh)
		return -ENOMEM;
	sh->w = (struct watch){.fd = -1, .fn = on_hang_up};
	sh->id = (uint32_t)i | ++serial << INDEX_BITS;
	sh->kind = kind;
	sh->rec = sh->pool = SHM_NIL;
	*out = sh;
	return 0;
}

static void share_enter(struct daemon *d, struct share *sh)
{
	d->shares[sh->id & INDEX_MASK] = sh;
	d->n_shares++;
	d->n_adopted += sh->adopted;
}

static int share_new(struct daemon *d, uint32_t kind, struct share **out, int *theirs)
{
	struct share *sh;
	int err = share_alloc(d, kind, &sh);

	if (err)
		return err;
	err = make_pair(d, sh, theirs);
	if (err) {
		free(sh);
		return err;
	}
	share_enter(d, sh);
	*out = sh;
	return 0;
}

/*
 * A connection to it as make_pair() has. Those of former daemons wait there to this day, which is
 * what the backlog is for.
 */
static int connect_again(struct daemon *d, struct share *sh, int fd)
{
	struct sockaddr_un sun;
	socklen_t len;
	unsigned id;
	int err;

	if (!look_at(d, fd, &sun, &len, &id, &sh->cookie))
		return -EBADF;
	sh->w.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (sh->w.fd < 0)
		return -errno;
	err = listen(fd, SOMAXCONN) || connect(sh->w.fd, (struct sockaddr *)&sun, len)
		      ? -errno
		      : watch_add(d, &sh->w, 0);
	if (err)
		close(sh->w.fd);
	return err;
}

int share_adopt(struct daemon *d, struct app *a, uint32_t listener, int fd)
{
	struct share *sh;
	int err = share_alloc(d, CTL_SHARE_LISTENER, &sh);

	if (err)
		return err;
	err = connect_again(d, sh, fd);
	if (err) {
		free(sh);
		return err;
	}
	sh->adopted = true;
	share_enter(d, sh);
	err = listener_share(d, a, listener, sh);
	if (err)
		share_free(d, sh);
	return err;
}

void share_free_all(struct daemon *d)
{
	for (uint32_t i = 0; i < d->max_shares; i++)
		if (d->shares[i])
			share_gone(d, d->shares[i]);
	free(d->shares);
	d->shares = NULL;
	d->max_shares = 0;
}

static int share_conn(struct daemon *d, struct app *a, uint32_t conn, uint32_t generation, int *fd)
{
	uint32_t i = handover_find(d, a, conn, generation);
	struct share *sh;
	int err;

	if (i == SHM_NIL)
		return -ENOTCONN;
	if (rec_at(d, i)->flags & REC_F_SHARED && share_of(d, rec_at(d, i)))
		return -EALREADY;
	err = share_new(d, CTL_SHARE_CONN, &sh, fd);
	if (err)
		return err;
	rec_at(d, i)->flags &= (uint8_t) ~(REC_F_VIA | REC_F_ACTIVE);
	rec_at(d, i)->flags |= REC_F_SHARED;
	rec_set_share(rec_at(d, i), sh->id);
	sh->rec = i;
	return 0;
}

void share_request(struct daemon *d, struct app *a, const struct ctl_share *req,
		   struct ctl_share_reply *r, int *fds, uint32_t *n_fds)
{
	struct share *sh;

	*n_fds = 0;
	r->shared = 0;
	for (uint32_t i = 0; i < req->n && i < CTL_SHARE_MAX; i++) {
		int err = -EINVAL, *fd = &fds[*n_fds];

		if (req->e[i].kind == CTL_SHARE_CONN) {
			err = share_conn(d, a, req->e[i].id, req->e[i].generation, fd);
		} else if (req->e[i].kind == CTL_SHARE_LISTENER) {
			err = share_new(d, CTL_SHARE_LISTENER, &sh, fd);
			if (!err) {
				err = listener_share(d, a, req->e[i].id, sh);
				if (err) {
					close(*fd);
					share_free(d, sh);
				}
			}
		}
		if (err) {
			log_debug("application %u: a socket is not shared: %s", a->slot,
				  strerror(-err));
			continue;
		}
		r->shared |= 1u << i;
		++*n_fds;
	}
}

/* ---- connections: whose turn it is ---- */

/* Gives it to the next in the row, if there is one, or sees to it that it comes. */
static void share_next(struct daemon *d, struct share *sh)
{
	struct rec *r;

	while (sh->takers &&
	       (!d->apps[sh->takers->slot] || d->apps[sh->takers->slot]->stage != APP_ALIVE))
		taker_pop(sh);
	if (!sh->takers || sh->rec == SHM_NIL)
		return;
	r = rec_at(d, sh->rec);
	if (r->state == REC_TAKEN && !sh->recalled && !mtime_before(d->now, sh->hold)) {
		struct shm_msg m = {
			.op = SHM_CONN_RECALL, .conn = r->conn, .generation = r->generation};

		/* No room: at the next look. */
		sh->recalled = app_push(d->apps[r->slot], &m);
	}
	if (r->state != REC_HELD)
		return;
	r->slot = sh->takers->slot;
	sh->offer_cookie = sh->takers->cookie;
	taker_pop(sh);
	rec_set_state(d, sh->rec, REC_READY);
	handover_flush(d, d->apps[r->slot]);
}

static int add_taker(struct daemon *d, struct share *sh, struct app *a, uint64_t cookie)
{
	struct taker *t = calloc(1, sizeof(*t)), **p;

	if (!t)
		return -ENOMEM;
	t->slot = a->slot;
	t->cookie = cookie;
	for (p = &sh->takers; *p; p = &(*p)->next)
		;
	*p = t;
	if (sh->takers == t) {
		sh->wait_next = d->waiting;
		sh->wait_pprev = &d->waiting;
		if (sh->wait_next)
			sh->wait_next->wait_pprev = &sh->wait_next;
		d->waiting = sh;
	}
	return 0;
}

/* Who has had its descriptor in hand may keep it, as far as we can know. */
static bool holds(const struct share *sh, uint16_t slot)
{
	for (uint32_t i = 0; i < sh->n_holders; i++)
		if (sh->holders[i] == slot)
			return true;
	return false;
}

static int add_holder(struct share *sh, uint16_t slot)
{
	uint16_t *more;

	if (holds(sh, slot))
		return 0;
	more = realloc(sh->holders, (sh->n_holders + 1) * sizeof(*more));
	if (!more)
		return -ENOMEM;
	sh->holders = more;
	sh->holders[sh->n_holders++] = slot;
	return 0;
}

static void del_holder(struct share *sh, uint16_t slot)
{
	for (uint32_t i = 0; i < sh->n_holders; i++)
		if (sh->holders[i] == slot) {
			sh->holders[i] = sh->holders[--sh->n_holders];
			return;
		}
}

static int want_conn(struct daemon *d, struct app *a, struct share *sh, uint64_t cookie)
{
	int err;

	if (sh->rec == SHM_NIL)
		return -ECONNRESET;
	if (rec_at(d, sh->rec)->state == REC_TAKEN && rec_at(d, sh->rec)->slot == a->slot)
		return -EALREADY;
	err = add_taker(d, sh, a, cookie);
	if (!err)
		share_next(d, sh);
	return err;
}

int share_take(struct daemon *d, struct app *a, int fd, uint64_t cookie, struct ctl_take_reply *r)
{
	struct share *sh = share_by_fd(d, fd);
	int err;

	if (!sh)
		return -EBADF;
	r->kind = sh->kind;
	if (sh->kind == CTL_SHARE_LISTENER)
		return listener_join(d, a, sh, r);
	r->id = sh->id;
	err = add_holder(sh, a->slot);
	return err || !cookie ? err : want_conn(d, a, sh, cookie);
}

void share_want(struct daemon *d, struct app *a, const struct shm_msg *m)
{
	struct share *sh = share_get(d, m->listener);
	const struct taker t = {.slot = a->slot, .cookie = m->cookie};
	int err;

	if (!m->cookie)
		return;
	err = sh && sh->kind == CTL_SHARE_CONN && holds(sh, a->slot)
		      ? want_conn(d, a, sh, m->cookie)
		      : -ECONNRESET;
	if (err)
		taker_fail(d, &t, -err);
}

bool share_keep(struct daemon *d, uint32_t i)
{
	struct rec *r = rec_at(d, i);
	struct share *sh = share_of(d, r);

	if (!sh)
		return false;
	rec_set_state(d, i, REC_HELD);
	if (sh->kind == CTL_SHARE_LISTENER) {
		dispatch_pool(d, sh, i);
		return true;
	}
	sh->recalled = false;
	share_next(d, sh);
	return true;
}

bool share_unoffer(struct daemon *d, uint32_t i)
{
	struct rec *r = rec_at(d, i);

	if (!(r->flags & REC_F_SHARED) && !share_of(d, r))
		return false;
	stack_export_cancel(d->stack, r->conn, r->generation, d->now);
	rec_set_flow(d, i, TD_SLOT_DAEMON, FLOW_ESTABLISHED);
	if (!share_keep(d, i))
		handover_close(d, i);
	return true;
}

void share_taken(struct daemon *d, uint32_t i)
{
	struct share *sh = share_of(d, rec_at(d, i));

	if (!sh || sh->kind != CTL_SHARE_CONN)
		return;
	sh->hold = mtime_add_ns(d->now, HOLD_NS);
	sh->recalled = false;
	share_next(d, sh);
}

void share_rec_gone(struct daemon *d, uint32_t i)
{
	struct share *sh = share_of(d, rec_at(d, i));

	if (!sh)
		return;
	if (sh->kind == CTL_SHARE_LISTENER) {
		if (rec_at(d, i)->state == REC_HELD)
			dispatch_unpool(d, i);
		return;
	}
	sh->rec = SHM_NIL;
	while (sh->takers) {
		taker_fail(d, sh->takers, ECONNRESET);
		taker_pop(sh);
	}
}

void share_app_gone(struct daemon *d, struct app *a)
{
	struct share *next;

	for (uint32_t i = 0; i < d->max_shares; i++)
		if (d->shares[i])
			del_holder(d->shares[i], a->slot);
	for (struct share *sh = d->waiting; sh; sh = next) {
		struct taker **p = &sh->takers;

		next = sh->wait_next;
		/* The first one is taken out with its place in the list, by share_next(). */
		for (p = &(*p)->next; *p;) {
			struct taker *t = *p;

			if (t->slot != a->slot) {
				p = &t->next;
				continue;
			}
			*p = t->next;
			free(t);
		}
		if (sh->takers->slot == a->slot)
			taker_pop(sh);
		share_next(d, sh);
	}
}

struct mtime share_deadline(struct daemon *d)
{
	struct mtime next = MTIME_NEVER;
	struct share *after;

	for (struct share *sh = d->waiting; sh; sh = after) {
		after = sh->wait_next;
		share_next(d, sh);
	}
	for (struct share *sh = d->waiting; sh; sh = sh->wait_next)
		if (sh->rec != SHM_NIL && rec_at(d, sh->rec)->state == REC_TAKEN && !sh->recalled)
			next = mtime_min(next, mtime_before(d->now, sh->hold)
						       ? sh->hold
						       : mtime_add_ns(d->now, NS_PER_MS));
	return next;
}
