// SPDX-License-Identifier: BSD-2-Clause
/*
 * Sockets that other processes have, too. Before a fork or an exec each socket gets a descriptor
 * from the daemon that stands for it (common/ctl.h); the shim puts that in the place of the
 * socket's numbers. In a child, or behind exec, such a socket is SK_AWAY: the first call that
 * needs it attaches to the daemon and takes it. A listener is taken by all who want it. A
 * connection is with one process at a time: another one that takes it makes ours yield, when no
 * call of ours is in the middle of it.
 *
 * The daemon hears who uses a shared listener, and how (SHM_LISTEN_USE). While we alone do, or all who do
 * wait for events and are never busy for long, its SYNs come to us, or our part of them (listen.c). Else its
 * connections wait with the daemon, which sends us one while we say that we want it (struct
 * shm_listener). What our accept queue has had for STALE_MS without anybody accepting it goes back,
 * for others.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>
#include "engine.h"
#include "calls.h"
#include "sandbox.h"
#include "shim.h"

#define STALE_MS 30u
#define TAKE_MS 5000u
#define FETCH_MS 1000u
#define LATE_MS 1000u
#define LATE_MANY 3u
#define BUSY_MS 10000u

static int (*fd_of)(int handle);

void lib_share_hooks(int (*number)(int handle))
{
	fd_of = number;
}

bool share_enabled(void)
{
	return fd_of != NULL;
}

int share_fd(const struct sock *sk)
{
	return sk->shared && fd_of ? fd_of(sk->f.handle) : -1;
}

/* ---- giving away ---- */

bool conn_give_keep(struct conn_ref c)
{
	struct shm_msg m = {.op = SHM_CONN_GIVE,
			    .conn = c.conn,
			    .generation = c.generation,
			    .flags = SHM_GIVE_KEEP};

	if (eng.daemon_gone || !conn_get(c))
		return false;
	conn_tell(c);
	tcp_set_cookie(eng.stack, c.conn, 0);
	eng_output(clock_now());
	if (stack_export(eng.stack, c.conn))
		return false;
	eng.n_given++;
	eng_send_msg(&m);
	return true;
}

bool share_release(struct sock *sk)
{
	return sk->shared && conn_give_keep(sk->c);
}

/* ---- taking ---- */

/* O_NONBLOCK is kept by the kernel for all who have it. */
static void share_flags_of(struct sock *sk, int fd)
{
	int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);

	if (flags >= 0)
		sk->nonblock = flags & O_NONBLOCK;
}

static void set_topt(struct sock_opts *o, enum tcp_opt opt, int64_t v)
{
	if (!v && !(o->set & 1u << opt))
		return;
	o->set |= 1u << opt;
	o->topt[opt] = v;
}

static void become_listener(struct sock *sk, const struct ctl_take_reply *r, int twin)
{
	struct sock_listen *l = &sk->extra->l;

	l->id = r->id;
	l->index = r->index;
	l->backlog = r->backlog;
	l->core_id = SHM_NIL;
	l->next = eng.listeners;
	eng.listeners = sk;
	eng.n_shared_l++;
	sk->bound = true;
	sk->extra->local_addr = ip_addr_to_v4(&r->addr);
	sk->extra->local_port = r->port;
	set_topt(&sk->extra->o, TOPT_DEFER_ACCEPT, r->defer_accept);
	set_topt(&sk->extra->o, TOPT_FASTOPEN, r->fastopen);
	if (r->cc)
		set_topt(&sk->extra->o, TOPT_CONGESTION, r->cc - 1);
	sk->state = SK_LISTEN;
	twin_set(sk, twin);
}

/* While nobody had it in hand. */
static void ended(struct sock *sk)
{
	sk->state = SK_CONNECTED;
	sk->c.conn = SHM_NIL;
	sk->err = ECONNRESET;
}

void share_hold(struct sock *sk)
{
	int fd = fd_of ? fd_of(sk->f.handle) : -1, err, twin;
	struct ctl_take_reply r;

	if (!sk->shared || sk->state == SK_LISTEN || fd < 0 || !sock_need_extra(sk) ||
	    sk->extra->share_id)
		return;
	err = ctl_take(fd, 0, &r, &twin);
	if (err == -ECONNRESET && sk->state == SK_AWAY)
		ended(sk);
	if (err)
		return;
	share_flags_of(sk, fd);
	if (r.kind == CTL_SHARE_LISTENER)
		become_listener(sk, &r, twin);
	else
		sk->extra->share_id = r.id;
}

/* By its number, which the daemon has given when it was shown the descriptor. */
static int take_held(struct sock *sk)
{
	struct shm_msg m = {.op = SHM_CONN_WANT, .listener = sk->extra->share_id};

	if (eng.daemon_gone)
		return -ENETDOWN;
	sock_set_cookie(sk);
	m.cookie = sock_cookie(sk);
	if (!(eng.forbidden & SANDBOX_NO_FCNTL) && fd_of)
		share_flags_of(sk, fd_of(sk->f.handle));
	sk->shared = sk->bound = true;
	sk->state = SK_TAKING;
	eng_send_msg(&m);
	return 0;
}

/* Asks for it; a connection comes later (SK_TAKING). */
static int take_begin(struct sock *sk)
{
	int fd = fd_of ? fd_of(sk->f.handle) : -1, err, twin;
	struct ctl_take_reply r;

	if (!sock_need_extra(sk))
		return -ENOBUFS;
	if (sk->extra->share_id)
		return take_held(sk);
	if (fd < 0)
		return -EBADF;
	sock_set_cookie(sk);
	err = ctl_take(fd, sock_cookie(sk), &r, &twin);
	/* Of a daemon that is no more: so was the connection. */
	if (err == -EBADF && sk->connect_seen)
		err = -ECONNRESET;
	if (err)
		return err;
	share_flags_of(sk, fd);
	sk->shared = true;
	if (eng.confined && r.kind == CTL_SHARE_CONN)
		sk->extra->share_id = r.id;
	if (r.kind == CTL_SHARE_LISTENER) {
		become_listener(sk, &r, twin);
		return 0;
	}
	sk->bound = true;
	sk->state = SK_TAKING;
	return 0;
}

int share_take(struct sock *sk)
{
	struct mtime until = mtime_add_ms(clock_now(), TAKE_MS);
	int r = 0;

	if (sk->state == SK_AWAY) {
		r = take_begin(sk);
		if (r == -ECONNRESET) {
			ended(sk);
			return 0;
		}
		if (r)
			return r;
	}
	/* Whoever has it may be in the middle of something: also a non-blocking call waits for it.
	 */
	while (sk->state == SK_TAKING) {
		r = sock_wait_event(sk, until);
		if (r && r != -EINTR)
			return r == -ETIMEDOUT ? -EAGAIN : r;
	}
	return 0;
}

void share_flags(struct sock *sk, bool set, int arg)
{
	int fd = sk->shared && fd_of ? fd_of(sk->f.handle) : -1;
	int flags = fd < 0 ? -1 : fcntl(fd, F_GETFL);

	if (flags < 0)
		return;
	if (set)
		fcntl(fd, F_SETFL, (flags & ~O_NONBLOCK) | (arg & O_NONBLOCK));
	else
		sk->nonblock = flags & O_NONBLOCK;
}

/* ---- yielding ---- */

void share_yield(struct sock *sk)
{
	sk->recalled = false;
	if (sk->state != SK_CONNECTED || !sk->shared || !conn_give_keep(sk->c))
		return;
	sk->state = SK_AWAY;
	sk->c.conn = SHM_NIL;
	sk->cookie_seq = 0;
	/* Who sleeps for it wants to know what happens to it: it is to come back. */
	if (sk->f.wq.head && take_begin(sk))
		waitq_notify(&sk->f.wq, EPOLLERR | EPOLLHUP | EPOLLIN);
}

void share_recall(struct conn_ref c)
{
	const struct tcb *t = conn_get(c);
	struct sock *sk = t ? sock_by_cookie(t->cookie) : NULL;

	if (!sk)
		return;
	if (sk->busy)
		sk->recalled = true;
	else
		share_yield(sk);
}

/* ---- listeners ---- */

static struct shm_listener *shm_of(const struct sock *sk)
{
	return &eng.shm_listeners[sk->extra->l.index];
}

static void say_use(struct sock *sk, bool events)
{
	struct shm_msg m = {.op = SHM_LISTEN_USE, .listener = sk->extra->l.id};

	sk->extra->l.used = true;
	sk->extra->l.events = events;
	m.flags = (listen_join(sk) ? SHM_USE_LOCAL : 0) | (events ? SHM_USE_EVENTS : 0);
	eng_send_msg(&m);
}

/* Somebody here wants a connection of it: for the first time, or otherwise than before? */
static void use(struct sock *sk)
{
	struct sock_listen *l = &sk->extra->l;
	bool events = true;

	if (l->id == SHM_NIL || eng.daemon_gone)
		return;
	/* Who waits for the daemon's answer does not wait for connections. */
	if (!l->fetching && !epoll_alone(&sk->f))
		l->busy_until = mtime_add_ms(clock_now(), BUSY_MS);
	if (l->busy_until.ns && mtime_before(clock_now(), l->busy_until))
		events = false;
	if (!l->used || l->events != events)
		say_use(sk, events);
}

/*
 * Something lay there for too long. Once that may be want of CPU; where it is so again and again, the daemon
 * chooses for a time who is not busy.
 */
static void too_late(struct sock *sk, struct mtime now)
{
	struct sock_listen *l = &sk->extra->l;

	if (!l->n_late || mtime_diff_ns(now, l->late_since) > LATE_MS * NS_PER_MS) {
		l->late_since = now;
		l->n_late = 0;
	}
	if (++l->n_late < LATE_MANY)
		return;
	l->n_late = 0;
	l->busy_until = mtime_add_ms(now, BUSY_MS);
	if (l->events && !eng.daemon_gone)
		say_use(sk, false);
}

static bool pending(const struct sock *sk)
{
	return sk->extra->l.id != SHM_NIL && !sk->extra->l.aq_len && READ_ONCE(shm_of(sk)->pending);
}

static void ask(struct sock *sk)
{
	struct shm_msg m = {.op = SHM_LISTEN_WANT, .listener = sk->extra->l.id};

	if (sk->extra->l.asked || eng.daemon_gone)
		return;
	sk->extra->l.asked = true;
	eng_send_msg(&m);
}

void listeners_want(void)
{
	bool look = false;

	for (struct sock *sk = eng.listeners; sk; sk = sk->extra->l.next) {
		bool want = sk->shared && sk->extra->l.id != SHM_NIL && file_wanted(&sk->f);

		if (want)
			use(sk);
		if (want == sk->extra->l.want)
			continue;
		sk->extra->l.want = want;
		WRITE_ONCE(shm_of(sk)->want, want);
		look |= want;
	}
	if (!look)
		return;
	/* Who has a connection for us either sees this, or is seen. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	for (struct sock *sk = eng.listeners; sk; sk = sk->extra->l.next)
		if (sk->extra->l.want && pending(sk))
			ask(sk);
}

void listeners_ask(const struct file *ep)
{
	for (struct sock *sk = eng.listeners; sk; sk = sk->extra->l.next) {
		if (!sk->shared || (sk->extra->l.used && !pending(sk)) ||
		    !epoll_watches(ep, &sk->f))
			continue;
		use(sk);
		if (pending(sk))
			ask(sk);
	}
}

int listener_fetch(struct sock *sk)
{
	struct mtime until = mtime_add_ms(clock_now(), FETCH_MS);
	int r = 0;

	if (!sk->shared)
		return 0;
	use(sk);
	if (!pending(sk))
		return 0;
	ask(sk);
	sk->extra->l.fetching++;
	while (!r && sk->state == SK_LISTEN && sk->extra->l.asked && !sk->extra->l.aq_len)
		r = sock_wait_daemon(sk, until);
	/* Another listener since, perhaps. */
	if (sk->state == SK_LISTEN && sk->extra->l.fetching)
		sk->extra->l.fetching--;
	return r == -ETIMEDOUT ? 0 : r;
}

void listener_answered(uint32_t id)
{
	struct sock *sk = listener_by_id(id);

	if (!sk || !sk->extra->l.asked)
		return;
	sk->extra->l.asked = false;
	waitq_notify(&sk->f.wq, 0);
}

/* All that nobody has accepted: the daemon has others who want it. */
static void give_queue(struct sock *sk)
{
	struct sock_listen *l = &sk->extra->l;

	for (; l->aq_len; l->aq_len--) {
		struct conn_ref c = l->aq[l->aq_head];

		l->aq_head = (l->aq_head + 1) & (l->aq_size - 1);
		conn_tell(c);
		listen_queued(sk, c, -1);
		if (!conn_give_keep(c))
			conn_end(c, true, clock_now());
	}
}

void listener_unshare(struct sock *sk)
{
	give_queue(sk);
	eng.n_shared_l--;
}

struct mtime listeners_stale(struct mtime now)
{
	struct mtime next = MTIME_NEVER;

	for (struct sock *sk = eng.listeners; sk; sk = sk->extra->l.next) {
		struct mtime t;

		/* Who alone uses it takes its time. */
		if (!sk->shared || !sk->extra->l.aq_len ||
		    (sk->extra->l.front && !sk->extra->l.peers))
			continue;
		t = mtime_add_ms(sk->extra->l.aq_since, STALE_MS);
		if (mtime_before(now, t)) {
			next = mtime_min(next, t);
			continue;
		}
		if (sk->extra->l.front)
			too_late(sk, now);
		give_queue(sk);
	}
	return next;
}

/* ---- before fork and exec ---- */

static bool to_share(struct file *f)
{
	struct sock *sk = container_of(f, struct sock, f);
	const struct tcb *t;

	if (f->kind != FILE_SOCK || sk->shared)
		return false;
	t = sk->state == SK_CONNECTED ? conn_get(sk->c) : NULL;
	return sk->state == SK_LISTEN || (t && t->state != TCP_CLOSED);
}

static void shared(struct sock *sk, int fd)
{
	sk->shared = true;
	if (sk->nonblock)
		fcntl(fd, F_SETFL, O_NONBLOCK);
	if (sk->state != SK_LISTEN)
		return;
	eng.n_shared_l++;
	sk->extra->l.used = sk->extra->l.events = false;
	listen_front(sk->extra->l.id, 0);
	give_queue(sk);
}

/* Up to CTL_SHARE_MAX from handle @from on; the next handle to look at. */
static int share_some(int from, lib_place_fn place)
{
	struct ctl_share req = {0};
	int handles[CTL_SHARE_MAX], fds[CTL_SHARE_MAX];
	struct sock *sks[CTL_SHARE_MAX];
	uint32_t mask = 0, n_fds = 0, n = 0;
	struct file *f;

	for (f = file_next(from); f && req.n < CTL_SHARE_MAX; f = file_next(f->handle + 1)) {
		struct sock *sk = container_of(f, struct sock, f);
		bool listens = f->kind == FILE_SOCK && sk->state == SK_LISTEN;

		if (!to_share(f))
			continue;
		req.e[req.n].kind = listens ? CTL_SHARE_LISTENER : CTL_SHARE_CONN;
		req.e[req.n].id = listens ? sk->extra->l.id : sk->c.conn;
		req.e[req.n].generation = sk->c.generation;
		sks[req.n++] = sk;
	}
	if (!req.n || ctl_share(&req, &mask, fds, &n_fds))
		return INT32_MAX;
	untold_known();
	for (uint32_t i = 0; i < req.n && n < n_fds; i++)
		if (mask & 1u << i) {
			shared(sks[i], fds[n]);
			handles[n++] = sks[i]->f.handle;
		}
	place(handles, fds, n);
	while (n_fds)
		close(fds[--n_fds]);
	return f ? f->handle : INT32_MAX;
}

void lib_share_all(lib_place_fn place)
{
	if (!eng_lock_unless_mine())
		return;
	if (eng.state == ENGINE_UP && eng.pid == getpid() && !eng.daemon_gone) {
		/* The daemon knows what it has handed to us when it has our answers. */
		eng_run(clock_now());
		for (int h = TANDEM_FD_BASE; h != INT32_MAX;)
			h = share_some(h, place);
		/* Threads that sleep may want what is shared from here on. */
		if (eng.n_shared_l)
			listeners_want();
	}
	eng_leave();
}

/* ---- fork ---- */

void lib_fork_prepare(void)
{
	eng.fork_locked = eng_lock_unless_mine();
}

void lib_fork_parent(void)
{
	if (!eng.fork_locked)
		return;
	eng.fork_locked = false;
	eng_unlock();
}

static void sock_inherit(struct sock *sk)
{
	sk->busy = 0;
	sk->recalled = false;
	sk->cookie_seq = 0;
	sk->c.conn = SHM_NIL;
	if (sk->extra) {
		sk->extra->share_id = 0;
		free(sk->extra->l.aq);
		memset(&sk->extra->l, 0, sizeof(sk->extra->l));
		sk->extra->bind_id = SHM_NIL;
		sk->extra->twins[TWIN_V4] = -1;
	}
	if (sk->state == SK_NEW || sk->state == SK_FAILED)
		return;
	if (sk->shared && sk->state != SK_CONNECTING)
		sk->state = SK_AWAY;
	else
		sk->state = SK_FAILED; /* it is the parent's alone */
}

/* The files stay; all that belongs to the parent's engine is let go of. */
static void engine_forget(void)
{
	struct engine fresh = ENGINE_FRESH;

	fresh.socks = eng.socks;
	fresh.items = eng.items;
	fresh.files = eng.files;
	fresh.map_files = eng.map_files;
	fresh.used = eng.used;
	fresh.n_files = eng.n_files;
	fresh.first_free = eng.first_free;
	fresh.cookie_seq = eng.cookie_seq;
	fresh.busy_poll_us = eng.busy_poll_us;
	fresh.forbidden = eng.forbidden;
	fresh.restarts = eng.restarts;
	memcpy(fresh.name, eng.name, sizeof(fresh.name));
	free(eng.out.e);
	free(eng.imports.e);
	free(eng.parting.e);
	free(eng.untold.e);
	free(eng.udp_buf);
	free(eng.dests);
	free(eng.spare_efds);
	free(eng.xsks);
	free(eng.uqs);
	munmap(eng.stack_mem, eng.stack_mem_len);
	eng = fresh;
	eng_lock_init();
	eng.state = ENGINE_LATE;
}

void lib_fork_child(void)
{
	bool locked = eng.fork_locked;

	eng_lock_init();
	eng.fork_locked = false;
	if (eng.state != ENGINE_UP && eng.state != ENGINE_LATE)
		return;
	if (eng.state == ENGINE_UP)
		eng_forked();
	/* Some thread was in the middle of something: nothing of this can be trusted. */
	if (!locked) {
		eng.state = ENGINE_DEAD;
		return;
	}
	for (struct file *f = file_next(TANDEM_FD_BASE); f; f = file_next(f->handle + 1)) {
		struct sock *sk = container_of(f, struct sock, f);

		f->refs = 1;
		epoll_inherit(f);
		if (f->kind != FILE_SOCK)
			continue;
		if (sk->state != SK_UDP) {
			sock_inherit(sk);
			continue;
		}
		/*
		 * The shim goes on with the kernel's socket. Its place in the kernel's epoll
		 * instances, which are the parent's as well, stays.
		 */
		udp_forget(sk);
		sk->state = SK_NEW;
		epoll_forget(&f->wq);
		file_remove(f);
		file_put(f);
	}
	if (eng.state == ENGINE_UP)
		engine_forget();
}

/* ---- exec ---- */

int lib_adopt(const char *name, size_t len)
{
	struct sock *sk;
	int r = -ENOMEM;

	eng_lock();
	sk = sock_new();
	if (sk) {
		sk->shared = true;
		sk->connect_seen = true;
		sk->state = SK_AWAY;
		r = file_install(&sk->f);
		if (r)
			sock_free(sk);
	}
	if (!r && eng.state == ENGINE_NONE && len < sizeof(eng.name)) {
		memcpy(eng.name, name, len);
		eng.name[len] = '\0';
		eng.state = ENGINE_LATE;
	}
	return (int)call_end(NULL, r ? r : sk->f.handle);
}
