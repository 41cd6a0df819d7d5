// SPDX-License-Identifier: BSD-2-Clause
/*
 * When the daemon is dead, connections go on: packet memory, rings and the XDP program outlive it.
 * That ends when somebody clears away what it left, `tandem detach` or the next daemon under its
 * name: a queue of an interface has room for one packet memory only, so this one has to be let
 * go of. Both remove the control socket first, and while the daemon is dead we look for that.
 *
 * Then connections end as by the peer's reset, which the peer is sent one of, too; listen() and
 * connect() fail with ENETDOWN; listeners have nothing to accept; UDP sockets go on as the kernel's.
 * The stack stays, for what the program has still to read and to be told, until there is a next
 * daemon under that name, which we look for less and less often. We attach to that one, and
 * listeners, bound sockets and UDP sockets are registered with it.
 *
 * A stack is exchanged only where no thread of the program is in the middle of a call, other than
 * asleep: when one enters, or is about to sleep (heir_attach()).
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/stat.h>
#include "engine.h"
#include "sandbox.h"
#include "shim.h"
#include "udp.h"

#define LOOK_MS 100u
#define WAIT_MS 20u /* for the next daemon, at first, and at most */
#define WAIT_MAX_MS 1000u
#define OTHERS_MS 15000u /* for other processes of a listener */
#define RST_BATCH 32u /* fewer than a port has packets for */
#define OUTPUT_TRIES 64

static bool left_alone(void)
{
	struct stat st;

	/* Without the directory's descriptor there is no telling. */
	return eng.run_dir < 0 ||
	       (!fstatat(eng.run_dir, CTL_SOCKET_NAME, &st, AT_SYMLINK_NOFOLLOW) &&
		st.st_ino == eng.ctl_ino);
}

static void reset_all(struct mtime now)
{
	uint32_t it = 0, conn, n = 0;

	while (stack_next_conn(eng.stack, &it, &conn)) {
		tcp_cut(eng.stack, conn, now);
		if (++n % RST_BATCH == 0)
			eng_output(now);
	}
	for (int i = 0; i < OUTPUT_TRIES && (!i || port_tx_pending(eng.port)); i++) {
		eng_output(now);
		eng_kick_now();
	}
}

#define SOCK_ALL (EPOLLIN | EPOLLRDNORM | EPOLLOUT | EPOLLERR | EPOLLHUP | EPOLLRDHUP)

/* Its sockets are no use any more, and it cannot attach again. */
static bool hopeless(void)
{
	return eng.forbidden & SANDBOX_NO_ATTACH;
}

/* A listener that listens no more; accept() says why, and listen() may be tried again. */
static void listener_lost(struct sock *sk, int err)
{
	struct sock **p = &eng.listeners;

	while (*p != sk)
		p = &(*p)->extra->l.next;
	*p = sk->extra->l.next;
	twin_drop(sk);
	eng.n_shared_l -= sk->shared;
	free(sk->extra->l.aq);
	memset(&sk->extra->l, 0, sizeof(sk->extra->l));
	sk->state = SK_FAILED;
	sk->bound = false;
	sk->err = (uint8_t)err;
	waitq_notify(&sk->f.wq, SOCK_ALL);
}

static struct sock *sock_next(struct sock *sk)
{
	struct file *f = file_next(sk ? sk->f.handle + 1 : TANDEM_FD_BASE);

	while (f && f->kind != FILE_SOCK)
		f = file_next(f->handle + 1);
	return f ? container_of(f, struct sock, f) : NULL;
}

void heir_look(struct mtime now)
{
	if (mtime_before(now, eng.heir_next))
		return;
	eng.heir_next = mtime_add_ms(now, LOOK_MS);
	if (left_alone())
		return;
	eng.cut = true;
	reset_all(now);
	eng_quiesce();
	port_cut(eng.port);
	for (uint32_t i = 0; i < eng.n_ifs; i++) {
		if (eng.gso_fd[i] >= 0)
			close(eng.gso_fd[i]);
		eng.gso_fd[i] = -1;
	}
	dest_forget();
	while (hopeless() && eng.listeners)
		listener_lost(eng.listeners, ENETDOWN);
}

/* ---- the next one ---- */

/* All that names connections of the old stack, which is there for the last time. */
static void leave_stack(void)
{
	for (struct sock *sk = sock_next(NULL); sk; sk = sock_next(sk)) {
		if (sk->state == SK_CONNECTED && !sk->err)
			sk->err = (uint8_t)sock_take_error(sk);
		sk->c.conn = SHM_NIL;
		if (sk->extra) {
			sk->extra->share_id = 0;
			sk->extra->bind_id = SHM_NIL;
		}
	}
	for (struct sock *sk = eng.listeners; sk; sk = sk->extra->l.next) {
		struct sock_listen *l = &sk->extra->l;

		l->id = l->core_id = SHM_NIL;
		l->index = l->aq_len = l->n_here = 0;
		l->want = l->asked = l->used = l->events = l->front = l->peers = false;
	}
	eng.parting.len = eng.untold.len = 0;
	eng.out.len = eng.imports.len = 0;
	eng.n_given = 0;
	eng.lazy = false;
	hold_let_go();
}

/*
 * One of several processes, which may not have the port (any more), waits for another that has the
 * right, or may be first: once the daemon knows the share, showing its descriptor is enough. With
 * SO_REUSEPORT the one that shows the kernel's socket has to come first.
 */
static bool wait_for_others(const struct sock *sk, int err, struct mtime now)
{
	bool in_use = err == -EADDRINUSE;

	if (!mtime_before(now, eng.heir_end))
		return false;
	return sk->shared ? in_use || err == -EACCES : sk->reuseport && in_use;
}

static void listeners_again(struct mtime now)
{
	struct sock *next;

	eng.heir_busy = false;
	for (struct sock *sk = eng.listeners; sk; sk = next) {
		int err = sk->extra->l.id == SHM_NIL ? listener_again(sk) : 0;

		next = sk->extra->l.next;
		if (eng.daemon_gone)
			return; /* there will be another one */
		if (!err)
			continue;
		if (wait_for_others(sk, err, now)) {
			eng.heir_busy = true;
			continue;
		}
		lib_tell(true, "port %u cannot be listened on any more, after its daemon has been "
			 "restarted: %s", ntohs(sk->extra->local_port), strerror(-err));
		listener_lost(sk, -err);
	}
	if (eng.n_shared_l)
		listeners_want();
}

static void sockets_again(void)
{
	for (struct sock *sk = sock_next(NULL); sk; sk = sock_next(sk)) {
		if (sk->state == SK_UDP)
			udp_again(sk);
		else if (sk->state == SK_CONNECTED)
			waitq_notify(&sk->f.wq, SOCK_ALL);
		else if (sk->state != SK_LISTEN && sk->bound && sock_extra(sk)->local_port)
			bind_again(sk);
	}
}

static void look_later(struct mtime now)
{
	eng.heir_wait_ms = eng.heir_wait_ms ? eng.heir_wait_ms * 2 : WAIT_MS;
	if (eng.heir_wait_ms > WAIT_MAX_MS)
		eng.heir_wait_ms = WAIT_MAX_MS;
	eng.heir_next = mtime_add_ms(now, eng.heir_wait_ms);
}

/* One that is there, and will not have us. Not at once: it may be about to open its socket. */
static void refused(int err)
{
	if (err == -ENODEV || err == -ENETDOWN || eng.heir_told || eng.heir_wait_ms < WAIT_MAX_MS)
		return;
	eng.heir_told = true;
	lib_tell(true, "cannot attach again, and goes on trying: %s", tandem_last_error());
}

void heir_attach(struct mtime now)
{
	int err;

	if (eng.state != ENGINE_UP || mtime_before(now, eng.heir_next))
		return;
	if (!eng.daemon_gone) {
		look_later(now);
		listeners_again(now);
		return;
	}
	if (!eng.cut || eng.spinning || hopeless())
		return;
	look_later(now);
	err = attach_again(leave_stack);
	if (err) {
		refused(err);
		return;
	}
	lib_tell(false, "attached again, to a new daemon");
	eng.heir_wait_ms = 0;
	look_later(now);
	eng.heir_end = mtime_add_ms(now, OTHERS_MS);
	listeners_again(now);
	sockets_again();
	/* It sleeps on what was the old one's. */
	if (eng.dozer)
		waiter_rouse(eng.dozer);
}

struct mtime heir_deadline(void)
{
	return eng.cut && hopeless() ? MTIME_NEVER : eng.heir_next;
}
