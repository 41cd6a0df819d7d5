/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Listening sockets of the kernel in this network namespace, by sock_diag(7): a port that has both
 * one of these and a listener of ours is served by only one of them.
 */
#ifndef TANDEM_IO_SOCKDIAG_H
#define TANDEM_IO_SOCKDIAG_H

#include <stdbool.h>
#include <stdint.h>
#include "common/addr.h"

struct kernel_listener {
	struct ip_addr addr; /* ::: any, of both families; 0.0.0.0 (mapped): any of IPv4 */
	uint16_t port;	     /* network order */
	uint32_t uid;
	uint32_t ino;
};

/* TCP listeners that take IPv4, each once; stops when @fn returns false. -errno: none are known. */
typedef bool (*sockdiag_fn)(void *ctx, const struct kernel_listener *l);
int sockdiag_listeners(sockdiag_fn fn, void *ctx);

#endif
