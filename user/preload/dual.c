// SPDX-License-Identifier: BSD-2-Clause
/*
 * AF_INET6 stream sockets. What they do with IPv4 (mapped addresses, RFC 4291 section 2.5.5.2, and
 * :: without IPV6_V6ONLY) is tandem's, with IPv6 the kernel's. Beside the handle there may be a
 * kernel socket: made for the first IPV6_* option, which it keeps and answers for, or for bind() to
 * ::, and then it has the same port, takes IPv6 only, and listens when the handle does
 * (lib_set_twin()). A socket that binds or connects to an IPv6 address becomes the kernel's.
 */
#include <netinet/in.h>
#include <string.h>
#include <unistd.h>
#include "user/lib/mapped.h"
#include "shim.h"

#define PORT_TRIES 64 /* a port that tandem picks may be the kernel's for IPv6 */

static bool v6only_default; /* net.ipv6.bindv6only */

int v6_available(void)
{
	static _Atomic bool known;
	socklen_t len = sizeof(int);
	int fd, v = 0;

	if (likely(known))
		return 0;
	fd = real.socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	real.getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v, &len);
	real.close(fd);
	v6only_default = v;
	known = true;
	return 0;
}

/* ---- the kernel's socket ---- */

void v6_begin(int h, bool v6)
{
	struct ext *x = ext_get(h);

	x->v6 = v6;
	x->any6 = false;
	x->kernel_fd1 = 0;
}

/* Out of our hands; -1: there is none. */
static int take_kernel(struct ext *x)
{
	int k = x->kernel_fd1 - 1;

	x->kernel_fd1 = 0;
	if (k >= 0)
		fd_set_entry(k, 0);
	return k;
}

void v6_end(int h)
{
	struct ext *x = ext_get(h);
	int k = x->v6 ? take_kernel(x) : -1;

	if (k >= 0)
		real.close(k);
}

static int make_kernel(struct ext *x)
{
	if (!x->kernel_fd1)
		x->kernel_fd1 =
			lib_private_fd(real.socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0)) + 1;
	return x->kernel_fd1 - 1;
}

int v6_kernel_socket(int h)
{
	struct ext *x = ext_get(h);

	/* One that is bound for IPv6 alone will not do for all that may follow. */
	if (x->kernel_fd1 && !x->any6)
		return take_kernel(x);
	return real.socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static bool v6only(const struct ext *x)
{
	socklen_t len = sizeof(int);
	int v = v6only_default;

	if (x->any6)
		return false; /* or it would not have become tandem's */
	if (x->kernel_fd1)
		real.getsockopt(x->kernel_fd1 - 1, IPPROTO_IPV6, IPV6_V6ONLY, &v, &len);
	return v;
}

/* ---- addresses ---- */

/* The least that Linux looks at first. */
static int check_addr(const struct sockaddr *addr, socklen_t len, struct sockaddr_in6 *sin6)
{
	memset(sin6, 0, sizeof(*sin6));
	errno = EINVAL;
	if (len < SIN6_LEN_RFC2133)
		return -1;
	memcpy(sin6, addr, len < sizeof(*sin6) ? len : sizeof(*sin6));
	errno = EAFNOSUPPORT;
	return sin6->sin6_family == AF_INET6 ? 0 : -1;
}

static void addr_out(const struct sockaddr_in *sin, struct sockaddr *addr, socklen_t *len)
{
	struct sockaddr_in6 sin6 = mapped_from_v4(sin);

	memcpy(addr, &sin6, *len < sizeof(sin6) ? *len : sizeof(sin6));
	*len = sizeof(sin6);
}

int v6_name(int h, bool peer, struct sockaddr *addr, socklen_t *len)
{
	int (*call)(int, struct sockaddr *, socklen_t *) =
		peer ? tandem_getpeername : tandem_getsockname;
	struct sockaddr_in sin;
	socklen_t l = sizeof(sin);
	int r;

	if (!ext_get(h)->v6 || !addr || !len || (int)*len < 0)
		return call(h, addr, len);
	r = call(h, (struct sockaddr *)&sin, &l);
	if (!r)
		addr_out(&sin, addr, len);
	return r;
}

int v6_accept(int h, struct sockaddr *addr, socklen_t *len, int flags)
{
	struct sockaddr_storage ss;
	socklen_t l = sizeof(ss);
	int c;

	if (!ext_get(h)->v6 || !addr || !len)
		return tandem_accept4(h, addr, len, flags);
	c = tandem_accept4(h, (struct sockaddr *)&ss, &l, flags);
	/* Also where the kernel has accepted it for us: by IPv4. */
	if (is_sock(c) || (c >= 0 && ss.ss_family == AF_INET)) {
		addr_out((const struct sockaddr_in *)(const void *)&ss, addr, len);
	} else if (c >= 0) {
		memcpy(addr, &ss, *len < l ? *len : l);
		*len = l;
	}
	return c;
}

/* ---- binding ---- */

static int unbind(int h, int err)
{
	struct sockaddr none = {.sa_family = AF_UNSPEC};

	tandem_connect(h, &none, sizeof(none));
	errno = err;
	return -1;
}

/* The same port of both, IPv4's from tandem, IPv6's from the kernel. */
static int bind_both(int h, struct ext *x, uint16_t port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = port};
	struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6};
	socklen_t len = sizeof(sin);
	int k = make_kernel(x), one = 1;

	if (k < 0 || tandem_bind(h, (struct sockaddr *)&sin, sizeof(sin)) ||
	    tandem_getsockname(h, (struct sockaddr *)&sin, &len))
		return -1;
	lib_options_copy(h, k);
	sin6.sin6_port = sin.sin_port;
	if (real.setsockopt(k, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one)) ||
	    real.bind(k, (struct sockaddr *)&sin6, sizeof(sin6))) {
		int err = errno, zero = 0;

		real.setsockopt(k, IPPROTO_IPV6, IPV6_V6ONLY, &zero, sizeof(zero));
		return unbind(h, err);
	}
	x->any6 = true;
	return 0;
}

static int bind_any(int h, struct ext *x, uint16_t port)
{
	int r = -1;

	for (int i = 0; r && i < PORT_TRIES; i++) {
		r = bind_both(h, x, port);
		if (port || errno != EADDRINUSE)
			break;
	}
	return r;
}

int v6_bind(int h, int fd, const struct sockaddr *addr, socklen_t len)
{
	struct ext *x = ext_get(h);
	struct sockaddr_in6 sin6;
	struct sockaddr_in sin;
	bool any;

	if (check_addr(addr, len, &sin6))
		return -1;
	sin = mapped_to_v4(&sin6);
	any = IN6_IS_ADDR_UNSPECIFIED(&sin6.sin6_addr);
	if (any && !v6only(x))
		return bind_any(h, x, sin6.sin6_port);
	if (IN6_IS_ADDR_V4MAPPED(&sin6.sin6_addr) && !v6only(x) && route_local(&sin) == BY_TANDEM) {
		int r = tandem_bind(h, (struct sockaddr *)&sin, sizeof(sin));

		if (!r || errno != EADDRNOTAVAIL)
			return r;
	}
	/* A second bind() is refused before the socket changes sides. */
	if (!may_leave(h) || x->any6) {
		errno = EINVAL;
		return -1;
	}
	return to_kernel(h, fd, "the address is not tandem's") ? -1 : real.bind(fd, addr, len);
}

static uint16_t port_of(int h)
{
	struct sockaddr_in sin = {0};
	socklen_t len = sizeof(sin);

	tandem_getsockname(h, (struct sockaddr *)&sin, &len);
	return sin.sin_port;
}

int v6_listen(int h, int fd, int backlog)
{
	struct ext *x = ext_get(h);
	int k;

	if (!x->any6 && may_leave(h) && !port_of(h)) {
		if (v6only(x))
			return to_kernel(h, fd, "it takes IPv6 only") ? -1
								      : real.listen(fd, backlog);
		if (bind_any(h, x, 0))
			return -1;
	}
	if (!x->any6)
		return tandem_listen(h, backlog);
	k = x->kernel_fd1 - 1;
	real.fcntl(k, F_SETFL, O_NONBLOCK);
	if (real.listen(k, backlog))
		return -1;
	if (tandem_listen(h, backlog)) {
		int err = errno;

		real.shutdown(k, SHUT_RD);
		errno = err;
		return -1;
	}
	lib_set_twin(h, k);
	return 0;
}

/* ---- connecting ---- */

/* To the kernel's side, with the address that it was bound to. */
static int leave(int h, int fd, const char *why)
{
	struct sockaddr_in6 sin6 = {0};
	socklen_t len = sizeof(sin6);

	if (v6_name(h, false, (struct sockaddr *)&sin6, &len) || to_kernel(h, fd, why))
		return -1;
	return sin6.sin6_port ? real.bind(fd, (struct sockaddr *)&sin6, sizeof(sin6)) : 0;
}

int v6_connect(int h, int fd, const struct sockaddr *addr, socklen_t len)
{
	struct ext *x = ext_get(h);
	struct sockaddr_in6 sin6;
	struct sockaddr_in sin;

	if (len < sizeof(sa_family_t) || addr->sa_family == AF_UNSPEC)
		return tandem_connect(h, addr, len);
	if (check_addr(addr, len, &sin6))
		return -1;
	sin = mapped_to_v4(&sin6);
	if (may_leave(h) && (!IN6_IS_ADDR_V4MAPPED(&sin6.sin6_addr) || v6only(x) ||
			     route_remote(&sin) == BY_KERNEL))
		return leave(h, fd, "it connects to an address that is not tandem's")
			       ? -1
			       : real.connect(fd, addr, len);
	return tandem_connect(h, (struct sockaddr *)&sin, sizeof(sin));
}

/* ---- options ---- */

static int put_int(int v, void *val, socklen_t *len)
{
	if ((int)*len < 0) {
		errno = EINVAL;
		return -1;
	}
	*len = *len < sizeof(v) ? *len : sizeof(v);
	memcpy(val, &v, *len);
	return 0;
}

int v6_getsockopt(int h, int level, int name, void *val, socklen_t *len)
{
	struct ext *x = ext_get(h);

	if (x->v6 && level == SOL_SOCKET && name == SO_DOMAIN)
		return put_int(AF_INET6, val, len);
	if (!x->v6 || level != IPPROTO_IPV6)
		return tandem_getsockopt(h, level, name, val, len);
	if (name == IPV6_V6ONLY && x->any6)
		return put_int(0, val, len);
	return make_kernel(x) < 0 ? -1 : real.getsockopt(x->kernel_fd1 - 1, level, name, val, len);
}

int v6_setsockopt(int h, int level, int name, const void *val, socklen_t len)
{
	struct ext *x = ext_get(h);
	int r;

	if (x->v6 && level == IPPROTO_IPV6) {
		/* As the kernel has it for a socket that has a port. */
		if (name == IPV6_V6ONLY && port_of(h)) {
			errno = EINVAL;
			return -1;
		}
		return make_kernel(x) < 0
			       ? -1
			       : real.setsockopt(x->kernel_fd1 - 1, level, name, val, len);
	}
	r = tandem_setsockopt(h, level, name, val, len);
	if (!r && x->v6 && x->kernel_fd1)
		real.setsockopt(x->kernel_fd1 - 1, level, name, val, len);
	return r;
}
