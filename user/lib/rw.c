// SPDX-License-Identifier: BSD-2-Clause
/*
 * Moving bytes: recv and send in all their forms. What is there is read without a look at the
 * rings; an empty queue runs the engine once. What is sent leaves, as far as the windows allow, at
 * once or before the program waits again (hold.c). Rules: recv(2), send(2), and Linux's tcp_recvmsg() and tcp_sendmsg().
 */
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <linux/sockios.h>
#include "engine.h"
#include "calls.h"

#define SENDFILE_CHUNK (256u << 10)
#define MUCH_UNSENT (32u << 10)
#define HOLD_BYTES (16 << 10) /* more than that leaves at once */

/* Total length, or -errno as for a vector that the kernel is given. */
static int64_t iov_total(const struct iovec *iov, size_t n)
{
	size_t total = 0;

	if (n > IOV_MAX)
		return -EMSGSIZE;
	for (size_t i = 0; i < n; i++) {
		if (iov[i].iov_len > SSIZE_MAX - total)
			return -EINVAL;
		total += iov[i].iov_len;
	}
	return (int64_t)total;
}

/* A place in a vector. */
struct cursor {
	const struct iovec *iov;
	size_t n, off;
};

static size_t cursor_here(struct cursor *c, uint8_t **p)
{
	while (c->n && c->off == c->iov->iov_len) {
		c->iov++;
		c->n--;
		c->off = 0;
	}
	if (!c->n)
		return 0;
	*p = (uint8_t *)c->iov->iov_base + c->off;
	return c->iov->iov_len - c->off;
}

static void cursor_skip(struct cursor *c, size_t n)
{
	uint8_t *p;
	size_t room;

	while (n && (room = cursor_here(c, &p))) {
		room = room < n ? room : n;
		c->off += room;
		n -= room;
	}
}

/* ---- receive ---- */

/* MSG_PEEK always begins at the front: into one buffer, then to the vector. */
static int64_t peek(struct sock *sk, const struct iovec *iov, size_t n, size_t len,
		    struct mtime now)
{
	uint32_t have = tcp_readable_bytes(eng.stack, sk->c.conn);
	struct cursor c = {iov, n, 0};
	int64_t r, left;
	uint8_t *buf, *p, *from;
	size_t room;

	if (n == 1)
		return tcp_recv(eng.stack, sk->c.conn, iov->iov_base, len, TCP_MSG_PEEK, now);
	len = len < have ? len : have;
	buf = malloc(len ? len : 1);
	if (!buf)
		return -ENOBUFS;
	r = tcp_recv(eng.stack, sk->c.conn, buf, len ? len : 1, TCP_MSG_PEEK, now);
	for (left = r, from = buf; left > 0 && (room = cursor_here(&c, &p));
	     left -= (int64_t)room) {
		room = room < (size_t)left ? room : (size_t)left;
		memcpy(p, from, room);
		from += room;
		c.off += room;
	}
	free(buf);
	return r;
}

/* Fills the vector with what there is: bytes, 0 for the end of data, or -errno. */
static int64_t take(struct sock *sk, struct cursor *c, unsigned flags, struct mtime now)
{
	int64_t done = 0;
	uint8_t *p;
	size_t len;

	while ((len = cursor_here(c, &p))) {
		int64_t r = tcp_recv(eng.stack, sk->c.conn, p, len, flags, now);

		if (r <= 0) {
			/* An error that comes after data is for the next call. */
			if (done && r < 0 && r != -EAGAIN)
				sk->err = (uint8_t)-r;
			return done ? done : r;
		}
		c->off += (size_t)r;
		done += r;
		if ((size_t)r < len)
			break;
	}
	return done;
}

static size_t recv_target(const struct sock *sk, size_t len, int flags)
{
	size_t low;

	if (flags & MSG_WAITALL)
		return len;
	low = conn_get(sk->c)->rcvlowat;
	return low > len ? len : low ? low : 1;
}

static int recv_refused(struct sock *sk, bool nonblock)
{
	int err;

	if (sk->deferred) { /* it wants to hear first */
		err = deferred_connect(sk);
		if (err)
			return err;
	}
	if (sk->state == SK_CONNECTING) {
		err = nonblock ? -EAGAIN : connect_wait(sk);
		if (err)
			return err == -EINPROGRESS ? -EAGAIN : err;
	}
	if (sk->err && (!conn_get(sk->c) || !tcp_readable_bytes(eng.stack, sk->c.conn)))
		return -sock_take_error(sk);
	return sk->state == SK_CONNECTED ? 0 : -ENOTCONN;
}

/* Never blocks (Linux: tcp_recv_urg()). */
static int64_t recv_oob(struct sock *sk, const struct iovec *iov, size_t n, int flags)
{
	struct cursor c = {iov, n, 0};
	uint8_t byte, *p;
	int r;

	if (sk->state == SK_LISTEN)
		return -ENOTCONN;
	if (!conn_get(sk->c))
		return -EINVAL;
	r = tcp_recv_oob(eng.stack, sk->c.conn, &byte, flags & MSG_PEEK);
	if (r == -EINVAL || r == -EAGAIN) { /* it may be on its way */
		eng_run(clock_now());
		r = tcp_recv_oob(eng.stack, sk->c.conn, &byte, flags & MSG_PEEK);
	}
	if (r <= 0)
		return r;
	if (!cursor_here(&c, &p))
		return 0;
	if (!(flags & MSG_TRUNC))
		*p = byte;
	return 1;
}

static int64_t do_recv(struct sock *sk, const struct iovec *iov, size_t n, int flags)
{
	bool nonblock = sk->nonblock || flags & MSG_DONTWAIT, polled = false;
	unsigned tf = flags & MSG_TRUNC ? TCP_MSG_TRUNC : 0;
	int64_t len = iov_total(iov, n), done = 0, r;
	struct mtime until = MTIME_NEVER;
	struct cursor c = {iov, n, 0};
	size_t target;

	if (flags & MSG_ERRQUEUE)
		return -EAGAIN;
	if (flags & MSG_OOB)
		return recv_oob(sk, iov, n, flags);
	r = len < 0 ? len : recv_refused(sk, nonblock);
	/* What is left of one that ended with its daemon is its end. */
	if (r || !len || !conn_get(sk->c))
		return r;
	target = recv_target(sk, (size_t)len, flags);
	for (;;) {
		struct mtime now = clock_now();

		r = flags & MSG_PEEK ? peek(sk, iov, n, (size_t)len, now) : take(sk, &c, tf, now);
		if (r > 0)
			done = flags & MSG_PEEK ? r : done + r;
		if (!r || (r < 0 && r != -EAGAIN) || (size_t)done >= target || sk->err) {
			eng_output_soon(now);
			break;
		}
		if (nonblock) {
			if (polled)
				break;
			polled = true;
			eng_look(now);
			continue;
		}
		if (sock_extra(sk)->rcv_timeo && mtime_is_never(until))
			until = mtime_add_ns(now, sock_extra(sk)->rcv_timeo);
		r = wait_error(sock_wait(sk, until), sock_extra(sk)->rcv_timeo, -EAGAIN);
		if (r)
			break;
	}
	return done ? done : r;
}

static ssize_t call_recvmsg(int fd, struct msghdr *m, int flags)
{
	int err;
	struct sock *sk = call_sock(fd, &err);
	int64_t r = err;

	if (!err && sk->state == SK_UDP) {
		r = udp_recvmsg(sk, m, flags);
	} else if (!err) {
		r = do_recv(sk, m->msg_iov, m->msg_iovlen, flags);
		/* A stream has no source address to tell (recvfrom(2)). */
		if (r >= 0)
			m->msg_namelen = 0;
		if (r >= 0)
			m->msg_controllen = 0;
		m->msg_flags = r > 0 ? flags & MSG_OOB : r ? m->msg_flags : 0;
	}
	return call_end(sk, r);
}

static ssize_t call_recv(int fd, const struct iovec *iov, size_t n, int flags)
{
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = n};

	return call_recvmsg(fd, &m, flags);
}

ssize_t tandem_recv(int fd, void *buf, size_t len, int flags)
{
	struct iovec iov = {buf, len > SSIZE_MAX ? SSIZE_MAX : len};

	return call_recv(fd, &iov, 1, flags);
}

ssize_t tandem_read(int fd, void *buf, size_t len)
{
	return tandem_recv(fd, buf, len, 0);
}

ssize_t tandem_readv(int fd, const struct iovec *iov, int n)
{
	if (n < 0 || n > IOV_MAX) {
		errno = EINVAL;
		return -1;
	}
	return call_recv(fd, iov, (size_t)n, 0);
}

ssize_t tandem_recvfrom(int fd, void *buf, size_t len, int flags, struct sockaddr *addr,
			socklen_t *alen)
{
	struct iovec iov = {buf, len > SSIZE_MAX ? SSIZE_MAX : len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	ssize_t r;

	if (addr && alen) {
		m.msg_name = addr;
		m.msg_namelen = *alen;
	}
	r = call_recvmsg(fd, &m, flags);
	if (r >= 0 && addr && alen)
		*alen = m.msg_namelen;
	return r;
}

ssize_t tandem_recvmsg(int fd, struct msghdr *msg, int flags)
{
	return call_recvmsg(fd, msg, flags);
}

/* ---- send ---- */

static int send_refused(struct sock *sk, bool nonblock)
{
	int err;

	if (sk->state == SK_CONNECTING) {
		err = nonblock ? -EAGAIN : connect_wait(sk);
		if (err)
			return err == -EINPROGRESS ? -EAGAIN : err;
	}
	if (sk->err)
		return -sock_take_error(sk);
	return sk->state == SK_CONNECTED && conn_get(sk->c) ? 0 : -EPIPE;
}

/* Queues what there is room for of @left bytes: how many, or -errno. */
static int64_t put(struct sock *sk, struct cursor *c, int64_t left, int flags, struct mtime now)
{
	int64_t done = 0;
	uint8_t *p;
	size_t len;

	while ((len = cursor_here(c, &p))) {
		/* The pieces of a vector go out as one, as far as they fit. */
		bool last = (int64_t)len == left - done;
		unsigned tf = (flags & MSG_MORE || !last ? TCP_MSG_MORE : 0) |
			      (flags & MSG_OOB ? TCP_MSG_OOB : 0);
		int64_t r = tcp_send(eng.stack, sk->c.conn, p, len, tf, now);

		if (r < 0) {
			if (done && r != -EAGAIN)
				sk->err = (uint8_t)-r;
			return done ? done : r;
		}
		c->off += (size_t)r;
		done += r;
	}
	return done;
}

static int64_t do_send(struct sock *sk, const struct msghdr *m, int flags)
{
	const struct iovec *iov = m->msg_iov;
	size_t n = m->msg_iovlen;
	bool nonblock = sk->nonblock || flags & MSG_DONTWAIT, polled = false;
	int64_t len = iov_total(iov, n), done = 0, r;
	struct mtime until = MTIME_NEVER;
	struct cursor c = {iov, n, 0};

	if (len >= 0 && (flags & MSG_FASTOPEN || sk->deferred)) {
		done = fastopen_send(sk, m, nonblock);
		if (done < 0 || done == len || sk->state != SK_CONNECTED)
			return done;
		cursor_skip(&c, (size_t)done);
	}
	r = len < 0 ? len : send_refused(sk, nonblock);
	if (r || !len)
		return done ? done : r;
	for (;;) {
		struct mtime now = clock_now();

		/* Much waits for acknowledgements, which may have come. */
		if (!polled && port_rx_pending(eng.port) &&
		    tcp_unsent_bytes(eng.stack, sk->c.conn) >= MUCH_UNSENT)
			eng_run(now);
		r = put(sk, &c, len - done, flags, now);
		if (r > 0)
			done += r;
		if (done == len && len < HOLD_BYTES && !(flags & MSG_OOB))
			eng_output_sent(now);
		else
			eng_output(now);
		if ((r < 0 && r != -EAGAIN) || done == len || sk->err)
			break;
		if (nonblock) {
			if (polled)
				break;
			polled = true;
			eng_run(now);
			continue;
		}
		if (sock_extra(sk)->snd_timeo && mtime_is_never(until))
			until = mtime_add_ns(now, sock_extra(sk)->snd_timeo);
		r = wait_error(sock_wait(sk, until), sock_extra(sk)->snd_timeo, -EAGAIN);
		if (r)
			break;
	}
	return done ? done : r;
}

/* send(2): EPIPE comes with SIGPIPE, once the lock is free; not for datagrams. */
static ssize_t call_sendmsg(int fd, const struct msghdr *m, int flags)
{
	int err;
	struct sock *sk = call_sock(fd, &err);
	bool udp = !err && sk->state == SK_UDP;
	ssize_t r;

	if (!err)
		r = udp ? udp_sendmsg(sk, m, flags, true) : do_send(sk, m, flags);
	else
		r = err;
	r = call_end(sk, r);
	if (r < 0 && errno == EPIPE && !udp && !(flags & MSG_NOSIGNAL)) {
		raise(SIGPIPE);
		errno = EPIPE;
	}
	return r;
}

static ssize_t call_send(int fd, const struct iovec *iov, size_t n, int flags)
{
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = n};

	return call_sendmsg(fd, &m, flags);
}

ssize_t tandem_send(int fd, const void *buf, size_t len, int flags)
{
	struct iovec iov = {(void *)(uintptr_t)buf, len > SSIZE_MAX ? SSIZE_MAX : len};

	return call_send(fd, &iov, 1, flags);
}

ssize_t tandem_write(int fd, const void *buf, size_t len)
{
	return tandem_send(fd, buf, len, 0);
}

ssize_t tandem_writev(int fd, const struct iovec *iov, int n)
{
	if (n < 0 || n > IOV_MAX) {
		errno = EINVAL;
		return -1;
	}
	return call_send(fd, iov, (size_t)n, 0);
}

ssize_t tandem_sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *addr,
		      socklen_t alen)
{
	struct iovec iov = {(void *)(uintptr_t)buf, len > SSIZE_MAX ? SSIZE_MAX : len};
	/* On a stream the address is ignored, as Linux does (send(2)). */
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_name = (void *)(uintptr_t)addr,
			   .msg_namelen = alen};

	return call_sendmsg(fd, &m, flags);
}

ssize_t tandem_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	return call_sendmsg(fd, msg, flags);
}

static int64_t room_wait(struct sock *sk, bool nonblock, uint64_t timeo)
{
	struct mtime until = timeout_deadline(timeo);
	bool polled = false;
	int64_t r;

	for (;;) {
		r = send_refused(sk, nonblock);
		if (!r)
			r = tcp_send_room(eng.stack, sk->c.conn);
		if (r)
			return r;
		if (!polled) {
			polled = true;
			eng_run(clock_now());
			continue;
		}
		if (nonblock)
			return -EAGAIN;
		r = wait_error(sock_wait(sk, until), timeo, -EAGAIN);
		if (r)
			return r;
	}
}

int64_t send_room_wait(int fd, enum room_wait how)
{
	int err;
	struct sock *sk = call_sock(fd, &err);
	int64_t r = err;

	if (!err && sk->deferred)
		r = SHM_CONNECT_DATA_MAX; /* with the SYN */
	else if (!err)
		r = room_wait(sk, how == ROOM_NOW || (how == ROOM_AS_SEND && sk->nonblock),
			      how == ROOM_SURELY ? 0 : sock_extra(sk)->snd_timeo);
	r = call_end(sk, r);
	if (r < 0 && errno == EPIPE) {
		raise(SIGPIPE);
		return -EPIPE;
	}
	return r < 0 ? -errno : r;
}

/*
 * How much sendfile() should read: what the socket can take now, so that nothing is read twice.
 * Acknowledgements that have come are looked at only where they would make a difference to @count.
 */
static int64_t send_room(int fd, size_t count)
{
	int64_t room = SENDFILE_CHUNK, buf;
	int err;
	struct sock *sk = call_sock(fd, &err);

	if (!err && conn_get(sk->c) && sk->nonblock &&
	    !tcp_getopt(eng.stack, sk->c.conn, TOPT_SNDBUF, &buf)) {
		room = buf - tcp_unsent_bytes(eng.stack, sk->c.conn);
		if (room < SENDFILE_CHUNK && (size_t)(room > 0 ? room : 0) < count) {
			eng_run(clock_now());
			room = buf - tcp_unsent_bytes(eng.stack, sk->c.conn);
		}
	}
	if (room < 4096)
		room = 4096;
	return call_end(sk, err ? err : room > SENDFILE_CHUNK ? SENDFILE_CHUNK : room);
}

ssize_t tandem_sendfile(int fd, int in_fd, off_t *offset, size_t count)
{
	off_t off = offset ? *offset : lseek(in_fd, 0, SEEK_CUR);
	ssize_t done = 0, r = 0;
	void *buf;

	if (off < 0) {
		errno = offset || errno == ESPIPE ? EINVAL : errno;
		return -1;
	}
	buf = malloc(count < SENDFILE_CHUNK ? count + 1 : SENDFILE_CHUNK);
	if (!buf)
		return -1;
	while ((size_t)done < count) {
		ssize_t want = send_room(fd, count - (size_t)done), got;

		if ((size_t)want > count - (size_t)done)
			want = (ssize_t)(count - (size_t)done);
		got = want < 0 ? want : pread(in_fd, buf, (size_t)want, off);
		r = got <= 0 ? got : tandem_send(fd, buf, (size_t)got, 0);
		if (r <= 0)
			break;
		done += r;
		off += r;
		if (r < got)
			break;
	}
	free(buf);
	if (done && offset)
		*offset = off;
	else if (done)
		lseek(in_fd, off, SEEK_SET);
	return done ? done : r;
}

/* ---- ioctl ---- */

static int do_ioctl(struct sock *sk, unsigned long req, void *arg)
{
	bool conn = sk->state == SK_CONNECTED && conn_get(sk->c);
	int *v = arg;

	if (sk->state == SK_UDP)
		return udp_ioctl_call(sk, req, arg);
	switch (req) {
	case FIONBIO:
		sk->nonblock = *v;
		share_flags(sk, true, *v ? O_NONBLOCK : 0);
		return 0;
	case FIONREAD:
		if (sk->state == SK_LISTEN)
			return -EINVAL;
		if (conn && !tcp_readable_bytes(eng.stack, sk->c.conn))
			eng_run(clock_now());
		*v = conn ? (int)tcp_inq(eng.stack, sk->c.conn) : 0;
		return 0;
	case SIOCOUTQ:
		if (sk->state == SK_LISTEN)
			return -EINVAL;
		*v = conn ? (int)tcp_unsent_bytes(eng.stack, sk->c.conn) : 0;
		return 0;
	case SIOCATMARK:
		*v = conn && tcp_at_mark(eng.stack, sk->c.conn);
		return 0;
	case FIOSETOWN:
	case SIOCSPGRP:
		return sock_set_owner(sk, *v);
	case FIOGETOWN:
	case SIOCGPGRP:
		*v = sock_extra(sk)->owner;
		return 0;
	default:
		return -ENOTTY;
	}
}

int tandem_ioctl(int fd, unsigned long req, void *arg)
{
	int err;
	struct sock *sk = call_sock(fd, &err);

	return (int)call_end(sk, err ? err : do_ioctl(sk, req, arg));
}
