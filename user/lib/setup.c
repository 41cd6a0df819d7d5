// SPDX-License-Identifier: BSD-2-Clause
/*
 * The calls that make and unmake connections: socket, bind, listen, accept, shutdown, close
 * (connect: connect.c). Errors and blocking rules are those of section 2 of the manual, and where
 * that is silent, of Linux's net/ipv4/af_inet.c.
 */
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <unistd.h>
#include "engine.h"
#include "calls.h"
#include "shim.h"
#include "udp.h"

#define TYPE_FLAGS (SOCK_NONBLOCK | SOCK_CLOEXEC)

static struct sock *find_sock(int fd, int *err)
{
	struct file *f = *err ? NULL : file_get(fd);

	if (*err)
		return NULL;
	if (!f || f->kind != FILE_SOCK) {
		*err = f ? -ENOTSOCK : -EBADF;
		return NULL;
	}
	f->refs++;
	container_of(f, struct sock, f)->busy++;
	return container_of(f, struct sock, f);
}

struct sock *call_sock(int fd, int *err)
{
	struct sock *sk;

	*err = eng_enter_up();
	sk = find_sock(fd, err);
	if (sk && (sk->state == SK_AWAY || sk->state == SK_TAKING))
		*err = share_take(sk);
	return sk;
}

struct sock *call_sock_away(int fd, int *err)
{
	*err = eng_enter_late();
	return find_sock(fd, err);
}

int64_t call_end(struct sock *sk, int64_t r)
{
	if (sk) {
		if (!--sk->busy && sk->recalled && file_is_open(&sk->f))
			share_yield(sk);
		file_put(&sk->f);
	}
	eng_leave();
	if (r < 0) {
		errno = (int)-r;
		return -1;
	}
	return r;
}

static int socket_new(int type)
{
	struct sock *sk = sock_new();
	int err;

	if (!sk)
		return -ENOMEM;
	sk->nonblock = type & SOCK_NONBLOCK;
	err = file_install(&sk->f);
	if (err) {
		sock_free(sk);
		return err;
	}
	return sk->f.handle;
}

static int udp_socket(int type)
{
	int kfd = fd_private(socket(AF_INET, type | SOCK_CLOEXEC, 0)), h;

	if (kfd < 0)
		return -errno;
	h = udp_new(kfd);
	if (h < 0)
		close(kfd);
	return h;
}

int tandem_socket(int domain, int type, int protocol)
{
	bool udp = (type & ~TYPE_FLAGS) == SOCK_DGRAM && (!protocol || protocol == IPPROTO_UDP);
	int r;

	if (domain != AF_INET) {
		errno = EAFNOSUPPORT;
		return -1;
	}
	if (!udp &&
	    ((type & ~TYPE_FLAGS) != SOCK_STREAM || (protocol && protocol != IPPROTO_TCP))) {
		errno = EPROTONOSUPPORT;
		return -1;
	}
	r = eng_enter();
	return (int)call_end(NULL, r ? r : udp ? udp_socket(type) : socket_new(type));
}

#define TWINS_EVERY 16u /* connections of ours, before the kernel's are looked at */

/* ---- names ---- */

int call_sockaddr(const struct sockaddr *addr, socklen_t len, struct sockaddr_in *sin)
{
	if (len < sizeof(*sin))
		return -EINVAL;
	memcpy(sin, addr, sizeof(*sin));
	return 0;
}

static uint32_t listen_flags(const struct sock *sk)
{
	return (sk->reuseport ? CTL_LISTEN_REUSEPORT : 0) |
	       (sk->reuseaddr ? CTL_LISTEN_REUSEADDR : 0);
}

static int do_bind(struct sock *sk, const struct sockaddr *addr, socklen_t len)
{
	struct ctl_listen req = {.proto = IPPROTO_TCP, .id = SHM_NIL};
	struct ctl_listen_reply rep;
	struct sockaddr_in sin;
	int err = call_sockaddr(addr, len, &sin);
	bool taken;

	if (err)
		return err;
	/* Compatibility, as in Linux: AF_UNSPEC is AF_INET for the wildcard. */
	if (sin.sin_family != AF_INET &&
	    (sin.sin_family != AF_UNSPEC || sin.sin_addr.s_addr != INADDR_ANY))
		return -EAFNOSUPPORT;
	req.addr = ip_addr_v4(sin.sin_addr.s_addr);
	req.port = sin.sin_port;
	req.flags = listen_flags(sk);
	taken = (sk->bound && sock_extra(sk)->local_port) ||
		(sk->state != SK_NEW && sk->state != SK_FAILED);
	/* Linux looks at address and port first, then whether the socket has one already. */
	if (taken || (sk->no_port && !sin.sin_port))
		req.flags |= CTL_BIND_CHECK;
	if (!sock_need_extra(sk))
		return -ENOBUFS;
	err = ctl_call(&req, CTL_BIND, &rep);
	if (err || taken)
		return err ? err : -EINVAL;
	sk->bound = true;
	sk->extra->bind_id = rep.id;
	sk->extra->local_addr = sin.sin_addr.s_addr;
	sk->extra->local_port = rep.port;
	return 0;
}

int tandem_bind(int fd, const struct sockaddr *addr, socklen_t len)
{
	int err;
	struct sock *sk = call_sock(fd, &err);

	if (!err)
		err = sk->state == SK_UDP ? udp_bind_call(sk, addr, len) : do_bind(sk, addr, len);
	return (int)call_end(sk, err);
}

static int do_name(struct sock *sk, bool peer, struct sockaddr *addr, socklen_t *len)
{
	const struct tcb *t = conn_get(sk->c);

	if (sk->state == SK_UDP)
		return udp_name_call(sk, peer, addr, len);
	if (peer && (sk->state != SK_CONNECTED || !t || t->state == TCP_CLOSED ||
		     t->state == TCP_TIME_WAIT))
		return -ENOTCONN;
	if ((int)*len < 0)
		return -EINVAL;
	if (peer)
		sockaddr_out(ip_addr_to_v4(&t->remote), t->remote_port, addr, len);
	else if (t)
		sockaddr_out(ip_addr_to_v4(&t->local), t->local_port, addr, len);
	else
		sockaddr_out(sock_extra(sk)->local_addr, sock_extra(sk)->local_port, addr, len);
	return 0;
}

int tandem_getsockname(int fd, struct sockaddr *addr, socklen_t *len)
{
	int err;
	struct sock *sk = call_sock(fd, &err);

	return (int)call_end(sk, err ? err : do_name(sk, false, addr, len));
}

int tandem_getpeername(int fd, struct sockaddr *addr, socklen_t *len)
{
	int err;
	struct sock *sk = call_sock(fd, &err);

	return (int)call_end(sk, err ? err : do_name(sk, true, addr, len));
}

/* ---- passive open ---- */

static void listen_options(const struct sock *sk, struct ctl_listen *req)
{
	const struct sock_opts *o = &sock_extra(sk)->o;

	if (o->set & 1u << TOPT_DEFER_ACCEPT)
		req->defer_accept = (uint32_t)o->topt[TOPT_DEFER_ACCEPT];
	if (o->set & 1u << TOPT_FASTOPEN)
		req->fastopen = (uint32_t)o->topt[TOPT_FASTOPEN];
	req->fo_keys = sock_extra(sk)->fo_keys;
}

/* With the daemon and in our stack; @sk is about to be in eng.listeners, or is there. */
static int ask_to_listen(struct sock *sk, struct ctl_listen *req)
{
	struct sock_listen *l = &sk->extra->l;
	const int fds[2] = {share_fd(sk), sk->extra->twins[TWIN_V4]};
	struct ctl_listen_reply rep;
	int twin, err = ctl_listen(req, &rep, fds, &twin);

	if (err)
		return err;
	/* One that we have had since a former daemon has them. */
	if (twin_set(sk, twin))
		sock_options_copy(sk, twin);
	sk->extra->bind_id = SHM_NIL;
	sk->extra->local_port = rep.port;
	l->id = rep.id;
	l->index = rep.index;
	l->backlog = req->backlog < eng.limits.somaxconn ? req->backlog : eng.limits.somaxconn;
	listen_begin(sk, req, &rep.addr);
	return 0;
}

static void listen_request(const struct sock *sk, struct ctl_listen *req)
{
	req->addr = ip_addr_v4(sock_extra(sk)->local_addr);
	req->port = sock_extra(sk)->local_port;
	/* A shared one: when somebody uses it (listen_join()). */
	req->flags = listen_flags(sk) | (sk->shared ? 0 : listen_flag(sk));
	/* A program that is written for the library would not expect what accept() gives then. */
	req->flags |= (share_enabled() ? CTL_LISTEN_TWIN : 0) |
		      (sock_extra(sk)->twins[TWIN_V4] >= 0 ? CTL_LISTEN_HAS_TWIN : 0);
	listen_options(sk, req);
	req->cc = sock_cc(sk);
}

static int start_listening(struct sock *sk, struct ctl_listen *req)
{
	int err = sock_need_extra(sk) ? ask_to_listen(sk, req) : -ENOBUFS;

	if (err)
		return err;
	sk->bound = true;
	sk->extra->l.next = eng.listeners;
	eng.listeners = sk;
	sk->state = SK_LISTEN;
	sk->err = 0;
	return 0;
}

int listener_again(struct sock *sk)
{
	struct ctl_listen req = {
		.proto = IPPROTO_TCP, .id = SHM_NIL, .backlog = sk->extra->l.backlog};

	listen_request(sk, &req);
	return ask_to_listen(sk, &req);
}

void bind_again(struct sock *sk)
{
	struct ctl_listen req = {.proto = IPPROTO_TCP,
				 .addr = ip_addr_v4(sk->extra->local_addr),
				 .port = sk->extra->local_port,
				 .id = SHM_NIL,
				 .flags = listen_flags(sk)};
	struct ctl_listen_reply rep;

	/* Who has the port now, listen() or connect() will say. */
	sk->extra->bind_id = ctl_call(&req, CTL_BIND, &rep) ? SHM_NIL : rep.id;
}

int listener_update(struct sock *sk)
{
	struct ctl_listen req = {.id = sk->extra->l.id, .backlog = sk->extra->l.backlog};

	listen_options(sk, &req);
	/* Our stack may have another listener of the port, or none for want of room. */
	req.flags = sk->extra->l.core_id == SHM_NIL ? 0 : listen_flag(sk);
	listen_changed(sk, &req);
	return ctl_call(&req, CTL_BACKLOG, NULL);
}

static int do_listen(struct sock *sk, int backlog)
{
	struct ctl_listen req = {.proto = IPPROTO_TCP, .id = sock_extra(sk)->bind_id};

	/* Linux compares unsigned: negative is the most there can be. */
	if (sk->state == SK_UDP)
		return -EOPNOTSUPP;
	req.backlog = backlog < 0 ? INT_MAX : (uint32_t)backlog;
	if (sk->state == SK_LISTEN) {
		sk->extra->l.backlog =
			req.backlog < eng.limits.somaxconn ? req.backlog : eng.limits.somaxconn;
		return listener_update(sk);
	}
	if (sk->state != SK_NEW && sk->state != SK_FAILED)
		return -EINVAL;
	listen_request(sk, &req);
	return start_listening(sk, &req);
}

int tandem_listen(int fd, int backlog)
{
	int err;
	struct sock *sk = call_sock(fd, &err);

	return (int)call_end(sk, err ? err : do_listen(sk, backlog));
}

static int inherit_timeouts(struct sock *new, const struct sock_extra *from)
{
	if (!from->rcv_timeo && !from->snd_timeo)
		return 0;
	if (!sock_need_extra(new))
		return -ENOMEM;
	new->extra->rcv_timeo = from->rcv_timeo;
	new->extra->snd_timeo = from->snd_timeo;
	return 0;
}

/* The daemon counts what it has sent. */
static void count_accepted(struct sock *sk, struct conn_ref c, int n)
{
	uint32_t *accepted = &eng.shm_listeners[sk->extra->l.index].accepted;
	const struct tcb *t = conn_get(c);

	if (n > 0)
		listen_queued(sk, c, -1);
	if (!t || !(t->sockopt & TCB_BORN_HERE))
		store_release(accepted, *accepted + (uint32_t)n);
}

/* Makes a socket of the oldest connection in the queue. Its handle, or -errno: it stays queued. */
static int accept_one(struct sock *sk, struct sockaddr *addr, socklen_t *len, int flags)
{
	struct sock_listen *l = &sk->extra->l;
	struct conn_ref c = l->aq[l->aq_head];
	struct sock *new = sock_new();
	const struct tcb *t;
	int err;

	if (!new)
		return -ENOMEM;
	err = inherit_timeouts(new, sk->extra);
	if (!err)
		err = file_install(&new->f);
	if (err) {
		sock_free(new);
		return err;
	}
	l->aq_head = (l->aq_head + 1) & (l->aq_size - 1);
	l->aq_len--;
	if (sk->shared)
		l->aq_since = clock_now();
	count_accepted(sk, c, 1);
	new->nonblock = flags &SOCK_NONBLOCK;
	new->state = SK_CONNECTED;
	new->bound = new->connect_seen = true;
	new->reuseaddr = sk->reuseaddr;
	new->reuseport = sk->reuseport;
	new->c = c;
	sock_set_cookie(new);
	tcp_set_cookie(eng.stack, c.conn, sock_cookie(new));
	sock_ended(new);
	t = conn_get(c);
	if (t)
		sockaddr_out(ip_addr_to_v4(&t->remote), t->remote_port, addr, len);
	return new->f.handle;
}

/* As if accept_one() had never been. */
static int unaccept(struct sock *sk, struct sock *new)
{
	struct sock_listen *l = &sk->extra->l;

	if (sk->state != SK_LISTEN || sock_queue_conn(sk, new->c))
		return -ENOMEM;
	/* From the end of the queue to its front. */
	l->aq_head = (l->aq_head - 1) & (l->aq_size - 1);
	l->aq[l->aq_head] = new->c;
	count_accepted(sk, new->c, -1);
	if (conn_get(new->c))
		tcp_set_cookie(eng.stack, new->c.conn, 0);
	new->c.conn = SHM_NIL;
	new->state = SK_NEW;
	return 0;
}

void lib_unaccept(int fd, int conn)
{
	int err;
	struct sock *sk = call_sock(fd, &err);
	struct file *f = err ? NULL : file_get(conn);

	if (f && f->kind == FILE_SOCK) {
		unaccept(sk, container_of(f, struct sock, f));
		sock_close(container_of(f, struct sock, f));
	}
	call_end(sk, err);
}

/* -EAGAIN: neither we nor the kernel's sockets beside us have a connection. */
static int accept_now(struct sock *sk, struct sockaddr *addr, socklen_t *len, int flags)
{
	struct sock_listen *l = &sk->extra->l;
	int k;

	if (!l->aq_len)
		eng_look(clock_now());
	if (sk->state != SK_LISTEN)
		return -EINVAL;
	if (!l->aq_len || ++l->since_twins >= TWINS_EVERY) {
		l->since_twins = 0;
		k = twins_accept(sk, addr, len, flags);
		if (k >= 0 || !l->aq_len)
			return k;
	}
	return accept_one(sk, addr, len, flags);
}

static int do_accept(struct sock *sk, struct sockaddr *addr, socklen_t *len, int flags)
{
	struct mtime until = timeout_deadline(sock_extra(sk)->rcv_timeo);

	if (flags & ~TYPE_FLAGS)
		return -EINVAL;
	if (sk->state == SK_UDP)
		return -EOPNOTSUPP;
	while (sk->state == SK_LISTEN) {
		int r = accept_now(sk, addr, len, flags);

		if (r == -EAGAIN) {
			r = listener_fetch(sk);
			if (sk->state != SK_LISTEN)
				continue;
			if (!r)
				r = sk->extra->l.aq_len ? accept_one(sk, addr, len, flags)
							: -EAGAIN;
		}
		if (r != -EAGAIN || sk->nonblock)
			return r;
		r = wait_error(sock_wait(sk, until), sock_extra(sk)->rcv_timeo, -EAGAIN);
		if (r)
			return r;
	}
	/* One whose port was lost with its daemon has an error. */
	return sk->err ? -sock_take_error(sk) : -EINVAL;
}

int tandem_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags)
{
	int err;
	struct sock *sk = call_sock(fd, &err);

	return (int)call_end(sk, err ? err : do_accept(sk, addr, len, flags));
}

int tandem_accept(int fd, struct sockaddr *addr, socklen_t *len)
{
	return tandem_accept4(fd, addr, len, 0);
}

/* ---- the end ---- */

static int do_shutdown(struct sock *sk, int how)
{
	struct mtime now = clock_now();
	bool there;
	int err;

	if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
		return -EINVAL;
	if (sk->state == SK_UDP)
		return udp_shutdown_call(sk, how);
	switch (sk->state) {
	case SK_LISTEN:
		/* Linux: SHUT_RD ends listening; who waits in accept() gets EINVAL. */
		if (how != SHUT_WR) {
			sock_release(sk, now);
			waitq_notify(&sk->f.wq, EPOLLIN | EPOLLHUP);
		}
		return 0;
	case SK_CONNECTING:
		sock_release(sk, now);
		waitq_notify(&sk->f.wq, EPOLLOUT | EPOLLHUP);
		return 0;
	case SK_CONNECTED:
		/* The peer may have ended it meanwhile. */
		if (port_rx_pending(eng.port))
			eng_receive(now);
		there = conn_get(sk->c);
		err = there ? tcp_shutdown(eng.stack, sk->c.conn, how != SHUT_WR, how != SHUT_RD,
					   now)
			    : -ENOTCONN;
		eng_output_sent(now);
		eng_take_events();
		if (there)
			waitq_notify(&sk->f.wq, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP);
		return err;
	default:
		return -ENOTCONN;
	}
}

int tandem_shutdown(int fd, int how)
{
	int err;
	struct sock *sk = call_sock(fd, &err);

	return (int)call_end(sk, err ? err : do_shutdown(sk, how));
}

int tandem_close(int fd)
{
	int err = eng_enter_late();
	struct file *f = err ? NULL : file_get(fd);

	if (f && f->kind == FILE_SOCK)
		sock_close(container_of(f, struct sock, f));
	else if (f)
		epoll_close(f);
	return (int)call_end(NULL, f ? 0 : -EBADF);
}

/* ---- descriptor flags ---- */

int tandem_fcntl(int fd, int cmd, int arg)
{
	int err;
	struct sock *sk = call_sock_away(fd, &err);
	int r = err;

	if (!err && (cmd == F_GETFL || cmd == F_SETFL))
		share_flags(sk, cmd == F_SETFL, arg);
	if (!err && cmd == F_GETFL) {
		r = O_RDWR | (sk->nonblock ? O_NONBLOCK : 0);
	} else if (!err && cmd == F_SETFL && sk->state == SK_UDP) {
		r = udp_fcntl_call(sk, arg);
	} else if (!err && cmd == F_SETFL) {
		sk->nonblock = arg & O_NONBLOCK;
	} else if (!err && cmd == F_SETOWN) {
		r = sock_set_owner(sk, arg);
	} else if (!err && cmd == F_GETOWN) {
		r = sock_extra(sk)->owner;
	} else if (!err && cmd == F_GETFD) {
		r = FD_CLOEXEC;
	} else if (!err && cmd != F_SETFD) {
		r = -EINVAL;
	}
	return (int)call_end(sk, r);
}
