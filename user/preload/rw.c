// SPDX-License-Identifier: BSD-2-Clause
/*
 * Reading and writing, in all of libc's forms, stdio over a socket included: what fdopen() gives
 * has its own read and write functions, because libc's would not pass through here.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include "shim.h"

/* ---- one message ---- */

static ssize_t on_send(int h, int fd, const void *buf, size_t n, int flags)
{
	(void)fd;
	return tandem_send(h, buf, n, flags);
}

static ssize_t on_sendto(int h, int fd, const void *buf, size_t n, int flags,
			 __CONST_SOCKADDR_ARG addr, socklen_t len)
{
	int r = flags & MSG_FASTOPEN ? fastopen_leaves(h, fd, addr.__sockaddr__, len) : 0;

	if (r)
		return r < 0 ? -1 : real.sendto(fd, buf, n, flags, addr, len);
	return tandem_sendto(h, buf, n, flags, addr.__sockaddr__, len);
}

static ssize_t on_recv(int h, int fd, void *buf, size_t n, int flags)
{
	(void)fd;
	return tandem_recv(h, buf, n, flags);
}

static ssize_t on_recvfrom(int h, int fd, void *buf, size_t n, int flags, __SOCKADDR_ARG addr,
			   socklen_t *len)
{
	(void)fd;
	return tandem_recvfrom(h, buf, n, flags, addr.__sockaddr__, len);
}

static ssize_t on_read(int h, int fd, void *buf, size_t n)
{
	(void)fd;
	return tandem_read(h, buf, n);
}

static ssize_t on_write(int h, int fd, const void *buf, size_t n)
{
	(void)fd;
	return tandem_write(h, buf, n);
}

static ssize_t on_readv(int h, int fd, const struct iovec *iov, int n)
{
	(void)fd;
	return tandem_readv(h, iov, n);
}

static ssize_t on_writev(int h, int fd, const struct iovec *iov, int n)
{
	(void)fd;
	return tandem_writev(h, iov, n);
}

/* Offset -1: as readv(), with flags (readv(2)). */
static bool rwf_refused(off_t off, int flags)
{
	errno = off != -1 ? ESPIPE : EOPNOTSUPP;
	return off != -1 || flags & ~(RWF_NOWAIT | RWF_HIPRI);
}

static ssize_t on_preadv2(int h, int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n};

	(void)fd;
	if (rwf_refused(off, flags))
		return -1;
	return tandem_recvmsg(h, &m, flags & RWF_NOWAIT ? MSG_DONTWAIT : 0);
}

static ssize_t on_pwritev2(int h, int fd, const struct iovec *iov, int n, off_t off, int flags)
{
	struct msghdr m = {.msg_iov = (struct iovec *)(uintptr_t)iov, .msg_iovlen = (size_t)n};

	(void)fd;
	if (rwf_refused(off, flags))
		return -1;
	return tandem_sendmsg(h, &m, flags & RWF_NOWAIT ? MSG_DONTWAIT : 0);
}

static ssize_t on_sendfile(int h, int fd, int in, off_t *off, size_t n)
{
	(void)fd;
	if (is_sock(fd_get(in))) {
		errno = EINVAL;
		return -1;
	}
	return tandem_sendfile(h, in, off, n);
}

/* ---- several ---- */

static int on_sendmmsg(int h, int fd, struct mmsghdr *msgs, unsigned n, int flags)
{
	(void)fd;
	return tandem_sendmmsg(h, msgs, n, flags);
}

static int on_recvmmsg(int h, int fd, struct mmsghdr *msgs, unsigned n, int flags,
		       struct timespec *timeout)
{
	(void)fd;
	return tandem_recvmmsg(h, msgs, n, flags, timeout);
}

/* ---- other names for the same ---- */

static void check_room(size_t n, size_t room)
{
	if (n > room)
		abort();
}

static ssize_t on___read_chk(int h, int fd, void *buf, size_t n, size_t room)
{
	check_room(n, room);
	return on_read(h, fd, buf, n);
}

static ssize_t on___recv_chk(int h, int fd, void *buf, size_t n, size_t room, int flags)
{
	check_room(n, room);
	return on_recv(h, fd, buf, n, flags);
}

static ssize_t on___recvfrom_chk(int h, int fd, void *buf, size_t n, size_t room, int flags,
				 __SOCKADDR_ARG addr, socklen_t *len)
{
	check_room(n, room);
	return on_recvfrom(h, fd, buf, n, flags, addr, len);
}

#define on_sendfile64 on_sendfile
#define on___read on_read
#define on___write on_write
#define on___send on_send

#define PROTOTYPE(type, name, params, args) type name(int fd, UNWRAP params);
IO_CALLS(PROTOTYPE)
IO_CALLS(FD_INTERCEPT)

static int udp_by_sendmmsg(int fd, const struct mmsghdr *msgs, unsigned n, int flags)
{
	int e = FD_UDP;

	(void)flags;
	for (unsigned i = 0; i < n && e == FD_UDP; i++)
		e = udp_named(fd, msgs[i].msg_hdr.msg_name, msgs[i].msg_hdr.msg_namelen);
	return e;
}

static int udp_by_sendto(int fd, const void *buf, size_t n, int flags, __CONST_SOCKADDR_ARG addr,
			 socklen_t len)
{
	(void)buf;
	(void)n;
	(void)flags;
	return udp_named(fd, addr.__sockaddr__, len);
}

SENDING_CALLS(PROTOTYPE)
SENDING_CALLS(NAMING_INTERCEPT)

/* ---- descriptors in messages; splice ---- */

#define SPLICE_F_ALL (SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE | SPLICE_F_GIFT)

struct splice_args {
	int in;
	const off64_t *in_off;
	int out;
	const off64_t *out_off;
	size_t n;
	unsigned flags;
};

/* Calls @fn for each descriptor in @msg, until it returns true. */
static bool each_passed(const struct msghdr *msg, bool (*fn)(int fd))
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(msg); c;
	     c = CMSG_NXTHDR((struct msghdr *)(uintptr_t)msg, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t at = CMSG_LEN(0); at + sizeof(int) <= c->cmsg_len; at += sizeof(int)) {
			int fd;

			memcpy(&fd, (char *)c + at, sizeof(fd));
			if (fn(fd))
				return true;
		}
	}
	return false;
}

static bool is_ours(int fd)
{
	int e = fd_get(fd);

	return is_sock(e) && !ext_get(e)->udp;
}

/* One that was never connected or listening has nothing that another process could find. */
static bool cannot_pass(int fd)
{
	return is_ours(fd) && !shim_is_share(fd);
}

static bool take_passed(int fd)
{
	shim_adopt(fd);
	return false;
}

PUBLIC ssize_t sendmsg(int fd, const struct msghdr *msg, int flags)
{
	int e = fd_get(fd);

	if (!likely(e != FD_UDP) && msg)
		e = udp_named(fd, msg->msg_name, msg->msg_namelen);
	if (is_sock(e) && flags & MSG_FASTOPEN && msg) {
		int r = fastopen_leaves(e, fd, msg->msg_name, msg->msg_namelen);

		if (r)
			return r < 0 ? -1 : real.sendmsg(fd, msg, flags);
	}
	if (is_sock(e))
		return SHIM_DO(ssize_t, "sendmsg", fd, tandem_sendmsg(e, msg, flags), msg, flags);
	if (msg && msg->msg_controllen && each_passed(msg, is_ours)) {
		shim_share();
		if (each_passed(msg, cannot_pass)) {
			shim_note("sendmsg(%d): this socket cannot be passed on", fd);
			errno = EOPNOTSUPP;
			return -1;
		}
	}
	return real.sendmsg(fd, msg, flags);
}

PUBLIC ssize_t recvmsg(int fd, struct msghdr *msg, int flags)
{
	int e = fd_get(fd);
	ssize_t r;

	if (is_sock(e))
		return SHIM_DO(ssize_t, "recvmsg", fd, tandem_recvmsg(e, msg, flags), msg, flags);
	r = real.recvmsg(fd, msg, flags);
	if (r >= 0 && msg->msg_controllen && shim_own_process())
		each_passed(msg, take_passed);
	return r;
}

/* One of the two, @from and @to, is a socket of ours. */
static ssize_t splice_ours(int from, int to, const struct splice_args *a)
{
	bool out = is_sock(to);
	int pipe = out ? a->in : a->out;

	if (!a->n)
		return 0;
	errno = EINVAL;
	if (a->flags & ~SPLICE_F_ALL || (is_sock(from) && out))
		return -1;
	errno = EBADF;
	if (fd_get(pipe) == FD_PRIVATE)
		return -1;
	/* Neither can be sought in. */
	errno = (out ? a->in_off : a->out_off) ? ESPIPE : EINVAL;
	if (a->in_off || a->out_off)
		return -1;
	return lib_splice(out ? to : from, pipe, out, a->n, a->flags);
}

PUBLIC ssize_t splice(int in, off64_t *in_off, int out, off64_t *out_off, size_t n, unsigned flags)
{
	int from = fd_get(in), to = fd_get(out);
	const struct splice_args a = {in, in_off, out, out_off, n, flags};

	if (!is_sock(from) && !is_sock(to))
		return real.splice(in, in_off, out, out_off, n, flags);
	return SHIM_DO(ssize_t, "splice", in, splice_ours(from, to, &a), in_off, out, out_off, n,
		       flags);
}

/* ---- stdio ---- */

static ssize_t cookie_read(void *cookie, char *buf, size_t n)
{
	return read((int)(intptr_t)cookie, buf, n);
}

static ssize_t cookie_write(void *cookie, const char *buf, size_t n)
{
	ssize_t r = write((int)(intptr_t)cookie, buf, n);

	return r < 0 ? 0 : r; /* fopencookie(3): 0 is the error */
}

static int cookie_close(void *cookie)
{
	return shim_close((int)(intptr_t)cookie);
}

PUBLIC FILE *fdopen(int fd, const char *mode)
{
	return is_sock(fd_get(fd)) ? shim_stream(fd, mode) : real.fdopen(fd, mode);
}

FILE *shim_stream(int fd, const char *mode)
{
	static const cookie_io_functions_t io = {
		.read = cookie_read, .write = cookie_write, .close = cookie_close};
	FILE *f;

	f = fopencookie((void *)(intptr_t)fd, mode, io);
	if (f)
		f->_fileno = fd; /* for fileno() */
	return f;
}

/* As libc's: through a stream that lives as long as the call. */
static int print(int fd, const char *fmt, va_list ap)
{
	char *s;
	int n = vasprintf(&s, fmt, ap), done = 0;

	if (n < 0)
		return -1;
	while (done < n) {
		ssize_t r = write(fd, s + done, (size_t)(n - done));

		if (r < 0)
			break;
		done += (int)r;
	}
	free(s);
	return done < n ? -1 : n;
}

PUBLIC int vdprintf(int fd, const char *fmt, va_list ap)
{
	return is_sock(fd_get(fd)) ? print(fd, fmt, ap) : real.vdprintf(fd, fmt, ap);
}

int __vdprintf_chk(int fd, int flag, const char *fmt, va_list ap);
PUBLIC int __vdprintf_chk(int fd, int flag, const char *fmt, va_list ap)
{
	return is_sock(fd_get(fd)) ? print(fd, fmt, ap) : real.__vdprintf_chk(fd, flag, fmt, ap);
}

PUBLIC int dprintf(int fd, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = vdprintf(fd, fmt, ap);
	va_end(ap);
	return r;
}

int __dprintf_chk(int fd, int flag, const char *fmt, ...);
PUBLIC int __dprintf_chk(int fd, int flag, const char *fmt, ...)
{
	va_list ap;
	int r;

	va_start(ap, fmt);
	r = __vdprintf_chk(fd, flag, fmt, ap);
	va_end(ap);
	return r;
}
