/* SPDX-License-Identifier: BSD-2-Clause */
/* IPv4 addresses as sockets of AF_INET6 name them (mapped addresses, RFC 4291 section 2.5.5.2). */
#ifndef TANDEM_LIB_MAPPED_H
#define TANDEM_LIB_MAPPED_H

#include <netinet/in.h>
#include <string.h>

#define SIN6_LEN_RFC2133 24u /* the least that Linux takes: without sin6_scope_id */

/* What a mapped address stands for; of ::, 0.0.0.0. */
static inline struct sockaddr_in mapped_to_v4(const struct sockaddr_in6 *sin6)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = sin6->sin6_port};

	memcpy(&sin.sin_addr, &sin6->sin6_addr.s6_addr[12], sizeof(sin.sin_addr));
	return sin;
}

/* 0.0.0.0 becomes ::. */
static inline struct sockaddr_in6 mapped_from_v4(const struct sockaddr_in *sin)
{
	struct sockaddr_in6 sin6 = {.sin6_family = AF_INET6, .sin6_port = sin->sin_port};

	if (sin->sin_addr.s_addr == INADDR_ANY)
		return sin6;
	sin6.sin6_addr.s6_addr[10] = sin6.sin6_addr.s6_addr[11] = 0xff;
	memcpy(&sin6.sin6_addr.s6_addr[12], &sin->sin_addr, sizeof(sin->sin_addr));
	return sin6;
}

#endif
