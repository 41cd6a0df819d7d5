// SPDX-License-Identifier: BSD-2-Clause
/*
 * UDP sockets. One begins as the kernel's, and stays it while all it has to do with is on this
 * host. With the first address beyond that it becomes tandem's as well: a handle of the library's
 * stands beside it, which uses it as its twin (user/lib/udp.c). Its number stays the kernel
 * socket's, so that it lives on as such where the library cannot follow: in a child of fork(), over
 * exec().
 *
 * With IPv6 tandem has no part in it: a socket of AF_INET6 becomes tandem's by what it may have to
 * do with IPv4.
 */
#include <netinet/in.h>
#include <string.h>
#include <sys/stat.h>
#include "user/lib/mapped.h"
#include "shim.h"

static ino_t inode(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : st.st_ino;
}

/* All its numbers have the new entry; dup() has made more of them, perhaps. */
static int adopt(int fd)
{
	int r = shim_attach(), h = -1;
	ino_t ino = inode(fd);
	struct ext *x = NULL;

	if (r > 0 && !lib_is_foreign())
		h = lib_udp_adopt(fd);
	if (h >= 0)
		x = ext_get(h);
	if (h >= 0 && !x)
		tandem_close(h);
	if (!x) {
		fd_set_entry(fd, 0);
		return 0;
	}
	x->refs = 0;
	v6_begin(h, false);
	x->udp = true;
	for (int i = fd_next(0, INT32_MAX); i >= 0; i = fd_next(i + 1, INT32_MAX))
		if (fd_get(i) == FD_UDP && inode(i) == ino && !fd_set_entry(i, h))
			ref_entry(h);
	shim_note("descriptor %d is tandem's, too", fd);
	return h;
}

/* IPv4, or its place in IPv6 (mapped addresses, ::). False: nothing that tandem could serve. */
static bool v4_of(const struct sockaddr *addr, socklen_t len, struct sockaddr_in *sin)
{
	struct sockaddr_in6 sin6 = {0};

	if (!addr || len < sizeof(*sin))
		return false;
	memcpy(sin, addr, sizeof(*sin));
	if (sin->sin_family == AF_INET)
		return true;
	if (sin->sin_family != AF_INET6 || len < SIN6_LEN_RFC2133)
		return false;
	memcpy(&sin6, addr, SIN6_LEN_RFC2133);
	*sin = mapped_to_v4(&sin6);
	return IN6_IS_ADDR_V4MAPPED(&sin6.sin6_addr) || IN6_IS_ADDR_UNSPECIFIED(&sin6.sin6_addr);
}

static bool stays_here(const struct sockaddr *addr, socklen_t len, bool any_counts)
{
	struct sockaddr_in sin;

	if (!v4_of(addr, len, &sin))
		return true;
	return ntohl(sin.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET ||
	       (any_counts && sin.sin_addr.s_addr == INADDR_ANY);
}

/* Of AF_INET6, and not for IPv4 as well. */
static bool v6only(int fd)
{
	socklen_t len = sizeof(int);
	int v = 0;

	return !real.getsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &v, &len) && v;
}

int udp_named(int fd, const struct sockaddr *addr, socklen_t len)
{
	int saved = errno, e = FD_UDP;

	if (!stays_here(addr, len, false) && !v6only(fd))
		e = adopt(fd);
	errno = saved;
	return e;
}

int udp_watched(int fd)
{
	struct sockaddr_in6 name;
	struct sockaddr_in sin;
	socklen_t len = sizeof(name);
	int saved = errno, e = FD_UDP;
	bool here = v6only(fd);

	if (!here && !real.getsockname(fd, (struct sockaddr *)&name, &len))
		here = !v4_of((struct sockaddr *)&name, len, &sin) ||
		       ntohl(sin.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
	len = sizeof(name);
	if (!here && !real.getpeername(fd, (struct sockaddr *)&name, &len))
		here = stays_here((struct sockaddr *)&name, len, true);
	if (!here)
		e = adopt(fd);
	errno = saved;
	return e;
}
