/* SPDX-License-Identifier: BSD-2-Clause */
/* What the programs here share that open AF_INET6 sockets: dual.c, udp6.c. */
#ifndef APP6_H
#define APP6_H

#include "app.h"

static inline struct sockaddr_in6 sin6_of(const char *addr, int port)
{
	struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_port = htons((uint16_t)port)};

	inet_pton(AF_INET6, addr, &sin6.sin6_addr);
	return sin6;
}

static inline const char *mapped(const char *v4)
{
	static char text[2][64];
	static int i;

	i ^= 1;
	snprintf(text[i], sizeof(text[i]), "::ffff:%s", v4);
	return text[i];
}

static inline void show_addr(const char *what, const struct sockaddr_in6 *a, socklen_t len,
			     bool port)
{
	char text[INET6_ADDRSTRLEN];

	printf("%s: len %u family %d %s", what, len, a->sin6_family,
	       inet_ntop(AF_INET6, &a->sin6_addr, text, sizeof(text)));
	if (port)
		printf(" port %d", ntohs(a->sin6_port));
	printf(" flow %u scope %u\n", a->sin6_flowinfo, a->sin6_scope_id);
}

static inline void names(int fd, bool own_port)
{
	struct sockaddr_in6 a;
	socklen_t len = sizeof(a);

	memset(&a, 0, sizeof(a));
	if (!T(getsockname(fd, (struct sockaddr *)&a, &len)))
		show_addr("own", &a, len, own_port);
	len = sizeof(a);
	memset(&a, 0, sizeof(a));
	if (!T(getpeername(fd, (struct sockaddr *)&a, &len)))
		show_addr("peer", &a, len, false);
}

static inline void option(int fd, const char *name, int level, int opt)
{
	int v = -1;
	socklen_t len = sizeof(v);
	int r = getsockopt(fd, level, opt, &v, &len);

	printf("%s = %d, %d\n", name, r, r ? errno : v);
}

static inline int set(int fd, int level, int opt, int v)
{
	return setsockopt(fd, level, opt, &v, sizeof(v));
}

#endif
