// SPDX-License-Identifier: BSD-2-Clause
/*
 * UDP sockets. One begins as the kernel's, and stays it while all it has to do with is on this
 * host. With the first address beyond that it becomes tandem's as well: a handle of the library's
 * stands beside it, which uses it as its twin (user/lib/udp.c). Its number stays the kernel
 * socket's, so that it lives on as such where the library cannot follow: in a child of fork(), over
 * exec().
 */
#include <netinet/in.h>
#include <string.h>
#include <sys/stat.h>
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

static bool stays_here(const struct sockaddr *addr, socklen_t len, bool any_counts)
{
	struct sockaddr_in sin;

	if (!addr || len < sizeof(sin))
		return true;
	memcpy(&sin, addr, sizeof(sin));
	if (sin.sin_family != AF_INET)
		return true;
	return ntohl(sin.sin_addr.s_addr) >> 24 == IN_LOOPBACKNET ||
	       (any_counts && sin.sin_addr.s_addr == INADDR_ANY);
}

int udp_named(int fd, const struct sockaddr *addr, socklen_t len)
{
	int saved = errno, e = FD_UDP;

	if (!stays_here(addr, len, false))
		e = adopt(fd);
	errno = saved;
	return e;
}

int udp_watched(int fd)
{
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);
	int saved = errno, e = FD_UDP;
	bool here = !real.getsockname(fd, (struct sockaddr *)&sin, &len) && sin.sin_addr.s_addr &&
		    stays_here((struct sockaddr *)&sin, len, false);

	len = sizeof(sin);
	if (!here && !real.getpeername(fd, (struct sockaddr *)&sin, &len))
		here = stays_here((struct sockaddr *)&sin, len, true);
	if (!here)
		e = adopt(fd);
	errno = saved;
	return e;
}
