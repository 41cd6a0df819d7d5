// SPDX-License-Identifier: BSD-2-Clause
/*
 * Who serves an address: tandem has its interfaces, the kernel all the rest. The host's own
 * addresses are reached by the kernel's sockets, which get to tandem's servers over lo where that
 * is attached. For a destination the kernel's routing table is asked, once for each connect().
 */
#include <netinet/in.h>
#include <linux/rtnetlink.h>
#include "user/lib/kroute.h"
#include "shim.h"

static bool is_loopback(const struct sockaddr_in *sin)
{
	return ntohl(sin->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
}

enum server route_local(const struct sockaddr_in *sin)
{
	return is_loopback(sin) && !lib_has_loopback() ? BY_KERNEL : BY_TANDEM;
}

enum server route_remote(const struct sockaddr_in *sin)
{
	struct kroute r;

	if (is_loopback(sin) || sin->sin_addr.s_addr == INADDR_ANY)
		return BY_KERNEL;
	/* Our own routes say nothing about an interface in another network namespace. */
	if (lib_is_foreign())
		return BY_TANDEM;
	/* Where there is no route, the kernel says it best. */
	if (kroute_get(sin->sin_addr.s_addr, &r))
		return BY_KERNEL;
	return r.type == RTN_UNICAST && lib_has_ifindex(r.oif) ? BY_TANDEM : BY_KERNEL;
}
