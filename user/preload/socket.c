// SPDX-License-Identifier: BSD-2-Clause
/*
 * Sockets from socket() to close(), and the numbers that stand for them. A stream socket of IPv4
 * (of IPv6: dual.c)
 * begins as tandem's; bind() and connect() name an address, and where that is not tandem's the
 * socket becomes the kernel's, with the options it was given: a new kernel socket takes over its
 * numbers.
 */
#include <netinet/in.h>
#include <pthread.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include "shim.h"

#define TYPE_FLAGS (SOCK_NONBLOCK | SOCK_CLOEXEC)

/* ---- birth ---- */

/* A descriptor for the new handle @h, which is closed where there is none. */
static int wrap(int h, bool cloexec, bool v6)
{
	struct ext *x = ext_get(h);
	int fd = -1, err;

	if (x) {
		x->refs = 0;
		v6_begin(h, v6);
		x->udp = false;
		fd = fd_new(h, cloexec);
	} else {
		errno = ENOMEM;
	}
	if (fd < 0) {
		err = errno;
		tandem_close(h);
		errno = err;
	}
	return fd;
}

PUBLIC int socket(int domain, int type, int protocol)
{
	int r, h;

	if ((domain == AF_INET || domain == AF_INET6) && (type & ~TYPE_FLAGS) == SOCK_DGRAM &&
	    (!protocol || protocol == IPPROTO_UDP)) {
		r = real.socket(domain, type, protocol);
		if (r >= 0)
			fd_set_entry(r, FD_UDP); /* or, without memory, the kernel's for good */
		return r;
	}
	if ((domain != AF_INET && domain != AF_INET6) || (type & ~TYPE_FLAGS) != SOCK_STREAM ||
	    (protocol && protocol != IPPROTO_TCP))
		return real.socket(domain, type, protocol);
	if (domain == AF_INET6 && v6_available())
		return -1;
	r = shim_attach();
	if (r <= 0)
		return r ? -1 : real.socket(domain, type, protocol);
	h = tandem_socket(AF_INET, type & ~SOCK_CLOEXEC, protocol);
	r = h < 0 ? -1 : wrap(h, type & SOCK_CLOEXEC, domain == AF_INET6);
	TRACE("socket", domain, r, type, protocol);
	return r;
}

static int on_accept4(int h, int fd, __SOCKADDR_ARG addr, socklen_t *len, int flags)
{
	int c = v6_accept(h, addr.__sockaddr__, len, flags), new, err;
	struct ext *x;

	(void)fd;
	/* The kernel's connections have a number already. */
	if (!is_sock(c))
		return c;
	x = ext_get(c);
	if (x) {
		x->refs = 0;
		v6_begin(c, ext_get(h)->v6);
		x->udp = false;
		new = fd_new(c, flags & SOCK_CLOEXEC);
		if (new >= 0)
			return new;
	} else {
		errno = ENOMEM;
	}
	/* No number for it: it stays in the queue, as in the kernel's. */
	err = errno;
	lib_unaccept(h, c);
	errno = err;
	return -1;
}

static int on_accept(int h, int fd, __SOCKADDR_ARG addr, socklen_t *len)
{
	return on_accept4(h, fd, addr, len, 0);
}

/* ---- whose it is ---- */

/* All numbers of @h, which are the kernel socket @k's now. */
static int take_over(int h, int k)
{
	int left = ext_get(h)->refs;

	for (int fd = fd_next(0, INT32_MAX); fd >= 0 && left; fd = fd_next(fd + 1, INT32_MAX)) {
		int flags;

		if (fd_get(fd) != h)
			continue;
		flags = real.fcntl(fd, F_GETFD);
		if (real.dup3(k, fd, flags & FD_CLOEXEC ? O_CLOEXEC : 0) < 0)
			return -1;
		fd_set_entry(fd, 0);
		left--;
	}
	return 0;
}

int to_kernel(int h, int fd, const char *why)
{
	int k = ext_get(h)->v6 ? v6_kernel_socket(h)
			       : real.socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0),
	    r;

	if (k < 0)
		return -1;
	lib_options_copy(h, k);
	if (tandem_fcntl(h, F_GETFL, 0) & O_NONBLOCK)
		real.fcntl(k, F_SETFL, O_NONBLOCK);
	r = take_over(h, k);
	real.close(k);
	if (r)
		return r;
	lib_epoll_mirror(h, fd);
	tandem_close(h);
	v6_end(h);
	shim_note("descriptor %d is the kernel's: %s", fd, why);
	return 0;
}

static bool inet_addr_of(const struct sockaddr *addr, socklen_t len, struct sockaddr_in *sin)
{
	if (!addr || len < sizeof(*sin))
		return false;
	memcpy(sin, addr, sizeof(*sin));
	return sin->sin_family == AF_INET;
}

static int on_bind(int h, int fd, __CONST_SOCKADDR_ARG addr, socklen_t len)
{
	struct sockaddr_in sin;
	int r;

	if (!addr.__sockaddr__) {
		errno = EFAULT;
		return -1;
	}
	if (ext_get(h)->v6)
		return v6_bind(h, fd, addr.__sockaddr__, len);
	if (ext_get(h)->udp)
		return tandem_bind(h, addr.__sockaddr__, len);
	if (!inet_addr_of(addr.__sockaddr__, len, &sin) || route_local(&sin) == BY_TANDEM) {
		r = tandem_bind(h, addr.__sockaddr__, len);
		if (!r || errno != EADDRNOTAVAIL)
			return r;
	}
	/* Also an address that nobody has: the kernel says so, or is set to allow it. */
	return to_kernel(h, fd, "the address is not tandem's") ? -1 : real.bind(fd, addr, len);
}

static int on_listen(int h, int fd, int backlog)
{
	return ext_get(h)->v6 ? v6_listen(h, fd, backlog) : tandem_listen(h, backlog);
}

/* A socket that was bound, and then connects to what is the kernel's. */
static int rebind(int h, int fd)
{
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);

	if (tandem_getsockname(h, (struct sockaddr *)&sin, &len) ||
	    to_kernel(h, fd, "it connects to an address that is not tandem's"))
		return -1;
	if (!sin.sin_port && sin.sin_addr.s_addr == INADDR_ANY)
		return 0;
	return real.bind(fd, (struct sockaddr *)&sin, sizeof(sin));
}

bool may_leave(int h)
{
	struct pollfd p = {.fd = h, .events = POLLIN | POLLOUT};

	return tandem_poll(&p, 1, 0) == 1 && p.revents == (POLLOUT | POLLHUP);
}

static int on_connect(int h, int fd, __CONST_SOCKADDR_ARG addr, socklen_t len)
{
	struct sockaddr_in sin;

	if (!addr.__sockaddr__) {
		errno = EFAULT;
		return -1;
	}
	if (ext_get(h)->v6)
		return v6_connect(h, fd, addr.__sockaddr__, len);
	if (!ext_get(h)->udp && inet_addr_of(addr.__sockaddr__, len, &sin) && may_leave(h) &&
	    route_remote(&sin) == BY_KERNEL)
		return rebind(h, fd) ? -1 : real.connect(fd, addr, len);
	return tandem_connect(h, addr.__sockaddr__, len);
}

#define on___connect on_connect

/* sendto() with MSG_FASTOPEN names an address as connect() does. 1: the socket is the kernel's now.
 */
int fastopen_leaves(int h, int fd, const struct sockaddr *addr, socklen_t len)
{
	struct sockaddr_in sin;

	if (!addr || ext_get(h)->v6 || ext_get(h)->udp || !inet_addr_of(addr, len, &sin) ||
	    !may_leave(h) || route_remote(&sin) != BY_KERNEL)
		return 0;
	return rebind(h, fd) ? -1 : 1;
}

/* ---- the rest of a socket's calls ---- */

static int on_shutdown(int h, int fd, int how)
{
	(void)fd;
	return tandem_shutdown(h, how);
}

static int on_getsockopt(int h, int fd, int level, int name, void *val, socklen_t *len)
{
	(void)fd;
	return v6_getsockopt(h, level, name, val, len);
}

static int on_setsockopt(int h, int fd, int level, int name, const void *val, socklen_t len)
{
	(void)fd;
	return v6_setsockopt(h, level, name, val, len);
}

static int on_getsockname(int h, int fd, __SOCKADDR_ARG addr, socklen_t *len)
{
	(void)fd;
	return v6_name(h, false, addr.__sockaddr__, len);
}

static int on_getpeername(int h, int fd, __SOCKADDR_ARG addr, socklen_t *len)
{
	(void)fd;
	return v6_name(h, true, addr.__sockaddr__, len);
}

int __connect(int fd, __CONST_SOCKADDR_ARG addr, socklen_t len);
SOCKET_CALLS(FD_INTERCEPT)

static int udp_by_bind(int fd, __CONST_SOCKADDR_ARG addr, socklen_t len)
{
	return udp_named(fd, addr.__sockaddr__, len);
}

#define udp_by_connect udp_by_bind
#define udp_by___connect udp_by_bind
NAMING_CALLS(NAMING_INTERCEPT)

/* ---- numbers ---- */

static int share(int fd, int e)
{
	int err;

	if (fd < 0 || !e)
		return fd;
	if (!fd_set_entry(fd, e)) {
		ref_entry(e);
		return fd;
	}
	err = errno;
	real.close(fd);
	errno = err;
	return -1;
}

int shim_close(int fd)
{
	int e = fd_get(fd), r;

	if (likely(!e) || !shim_own_process())
		return real.close(fd);
	if (e == FD_PRIVATE) {
		errno = EBADF;
		return -1;
	}
	fd_set_entry(fd, 0);
	if (is_epoll(e)) {
		unref_entry(e);
		return real.close(fd);
	}
	/* The engine first: that the number is gone tells the daemon that nobody has the socket. */
	unref_entry(e);
	r = real.close(fd);
	if (shim_debug)
		trace_call("close", fd, NULL, 0, r);
	return r;
}

PUBLIC int close(int fd)
{
	return shim_close(fd);
}

int __close(int fd);
PUBLIC int __close(int fd)
{
	return shim_close(fd);
}

PUBLIC int dup(int fd)
{
	int e = fd_get(fd);

	return share(real.dup(fd), e == FD_PRIVATE || !shim_own_process() ? 0 : e);
}

static int dup_onto(int fd, int to, int flags, bool three)
{
	int e = fd_get(fd), old = fd_get(to), r;

	if (likely(!(e | old)) || fd == to || !shim_own_process())
		return three ? real.dup3(fd, to, flags) : real.dup2(fd, to);
	if (e == FD_PRIVATE || old == FD_PRIVATE) {
		errno = e == FD_PRIVATE ? EBADF : EBUSY;
		return -1;
	}
	/* Room in the table first: what follows cannot fail half-way. */
	if (e && to >= 0 && fd_set_entry(to, old ? old : e))
		return -1;
	r = three ? real.dup3(fd, to, flags) : real.dup2(fd, to);
	if (r < 0) {
		if (to >= 0)
			fd_set_entry(to, old);
		return r;
	}
	ref_entry(e);
	fd_set_entry(to, e);
	unref_entry(old);
	return r;
}

PUBLIC int dup2(int fd, int to)
{
	return dup_onto(fd, to, 0, false);
}

PUBLIC int dup3(int fd, int to, int flags)
{
	return dup_onto(fd, to, flags, true);
}

/* All but the engine's own. */
PUBLIC int close_range(unsigned first, unsigned last, int flags)
{
	int end = last > INT32_MAX ? INT32_MAX : (int)last, r = 0;

	if (flags & CLOSE_RANGE_CLOEXEC || first > last || first > INT32_MAX || !shim_own_process())
		return real.close_range(first, last, flags);
	for (int fd = fd_next((int)first, end); fd >= 0 && !r; fd = fd_next(fd + 1, end)) {
		int e = fd_get(fd);

		if (e != FD_PRIVATE) {
			/* The number goes with the range, below. */
			fd_set_entry(fd, 0);
			unref_entry(e);
			continue;
		}
		if ((unsigned)fd > first)
			r = real.close_range(first, (unsigned)fd - 1, flags);
		first = (unsigned)fd + 1;
	}
	return r || first > last ? r : real.close_range(first, last, flags);
}

PUBLIC void closefrom(int low)
{
	close_range(low < 0 ? 0 : (unsigned)low, UINT32_MAX, 0);
}

/* ---- fcntl, ioctl ---- */

static int do_fcntl(int e, int fd, int cmd, void *arg)
{
	int r;

	switch (cmd) {
	case F_DUPFD:
	case F_DUPFD_CLOEXEC:
		return share(real.fcntl(fd, cmd, arg), e);
	case F_GETFL:
	case F_SETFL:
		if (!is_sock(e))
			break;
		r = tandem_fcntl(e, cmd, (int)(intptr_t)arg);
		TRACE("fcntl", fd, r, cmd, (int)(intptr_t)arg);
		return r;
	case F_SETOWN: /* the placeholder remembers it, and says it again */
		r = real.fcntl(fd, cmd, arg);
		if (!r && is_sock(e))
			r = tandem_fcntl(e, cmd, (int)(intptr_t)arg);
		return r;
	}
	return real.fcntl(fd, cmd, arg);
}

#define FCNTL(name)                                                                                \
	PUBLIC int name(int fd, int cmd, ...)                                                      \
	{                                                                                          \
		int e = fd_get(fd);                                                                \
		va_list ap;                                                                        \
		void *arg;                                                                         \
                                                                                                   \
		va_start(ap, cmd);                                                                 \
		arg = va_arg(ap, void *);                                                          \
		va_end(ap);                                                                        \
		if (likely(e <= 0 && e != FD_UDP) || !shim_own_process())                          \
			return real.name(fd, cmd, arg);                                            \
		return do_fcntl(e, fd, cmd, arg);                                                  \
	}
FCNTL(fcntl)
FCNTL(fcntl64)

static int do_ioctl(int fd, unsigned long req, void *arg)
{
	int e = fd_get(fd), r;

	if (likely(!is_sock(e)))
		return real.ioctl(fd, req, arg);
	r = tandem_ioctl(e, req, arg);
	/* Interfaces, addresses, close-on-exec: any socket will do, the placeholder too. */
	if (r < 0 && errno == ENOTTY)
		r = real.ioctl(fd, req, arg);
	TRACE("ioctl", fd, r, req, arg);
	return r;
}

PUBLIC int ioctl(int fd, unsigned long req, ...)
{
	va_list ap;
	void *arg;

	va_start(ap, req);
	arg = va_arg(ap, void *);
	va_end(ap);
	return do_ioctl(fd, req, arg);
}

PUBLIC int sockatmark(int fd)
{
	int at_mark;

	return do_ioctl(fd, SIOCATMARK, &at_mark) ? -1 : at_mark;
}
