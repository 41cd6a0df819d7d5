/* SPDX-License-Identifier: BSD-2-Clause */
/* Processes that give up what they could do: what that means for the engine (sandbox.c). */
#ifndef TANDEM_LIB_SANDBOX_H
#define TANDEM_LIB_SANDBOX_H

#include <poll.h>
#include <signal.h>
#include <time.h>
#include <linux/filter.h>

/* What a seccomp filter may forbid, and we have a way round. */
enum {
	SANDBOX_NO_CTL = 1u << 0, /* the control socket: sendmsg(), recvmsg() */
	SANDBOX_NO_SENDTO = 1u << 1,
	SANDBOX_NO_FCNTL = 1u << 2,
	SANDBOX_NO_EVENTFD = 1u << 3,
	SANDBOX_NO_SIGACTION = 1u << 4,
	SANDBOX_NO_PPOLL = 1u << 5,
	SANDBOX_NO_POLL = 1u << 6,
	SANDBOX_NO_ACCEPT4 = 1u << 8, /* of the kernel's listeners beside ours */
	SANDBOX_NO_EPOLL = 1u << 9,
	SANDBOX_NO_ATTACH = 1u << 7, /* something that attaching to the daemon takes */
};
/* NULL: SECCOMP_MODE_STRICT. */
unsigned sandbox_forbids(const struct sock_fprog *filter);

/* ppoll(), by what other call it may be. No lock needed. -1 and errno */
int sandbox_poll(struct pollfd *fds, unsigned n, const struct timespec *ts, const sigset_t *mask);

#endif
