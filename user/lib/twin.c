// SPDX-License-Identifier: BSD-2-Clause
/*
 * The kernel's sockets that listen beside a listener of ours, for programs under the shim: the daemon's for what
 * does not come by tandem's interfaces (user/daemon/twin.c), the shim's for IPv6 (user/preload/dual.c).
 * accept(), poll() and epoll take from all of them. Others have the same open file: what has been
 * registered with the kernel's epoll has to be taken out again, closing is not enough.
 */
#include <unistd.h>
#include "engine.h"
#include "calls.h"
#include "sandbox.h"
#include "shim.h"
#include "udp.h"

static uint64_t cookie_of(int kfd)
{
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);

	getsockopt(kfd, SOL_SOCKET, SO_COOKIE, &cookie, &len);
	return cookie;
}

static bool listens(int kfd)
{
	socklen_t len = sizeof(int);
	int on = 0;

	return !getsockopt(kfd, SOL_SOCKET, SO_ACCEPTCONN, &on, &len) && on;
}

bool twin_set(struct sock *sk, int kfd)
{
	int have = sk->extra->twins[TWIN_V4];

	if (kfd < 0)
		return false;
	if (eng.forbidden & SANDBOX_NO_ACCEPT4 ||
	    (have >= 0 && cookie_of(have) == cookie_of(kfd))) {
		fd_private_close(kfd);
		return false;
	}
	twin_drop(sk);
	sk->extra->twins[TWIN_V4] = kfd;
	epoll_mirror(&sk->f, kfd);
	return true;
}

void twin_drop(struct sock *sk)
{
	int kfd = sock_extra(sk)->twins[TWIN_V4];

	if (kfd < 0)
		return;
	epoll_unmirror(&sk->f, kfd);
	fd_private_close(kfd);
	sk->extra->twins[TWIN_V4] = -1;
}

/* What cannot be accepted would be ready for ever. */
void twins_forbid(void)
{
	for (struct sock *sk = eng.listeners; sk; sk = sk->extra->l.next) {
		if (sk->extra->twins[TWIN_V6] >= 0)
			epoll_unmirror(&sk->f, sk->extra->twins[TWIN_V6]);
		twin_drop(sk);
	}
}

int twins_accept(struct sock *sk, struct sockaddr *addr, socklen_t *len, int flags)
{
	int fds[N_TWINS];

	for (uint32_t i = sock_kernel_fds(sk, fds); i--;) {
		int k = accept4(fds[i], addr, len, flags);

		if (k >= 0)
			return k;
		if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM)
			return -errno;
		/* Somebody has ended it for all: it would be ready for ever. */
		if (errno == EINVAL && fds[i] == sk->extra->twins[TWIN_V4] && !listens(fds[i]))
			twin_drop(sk);
	}
	return -EAGAIN;
}

uint32_t sock_kernel_fds(const struct sock *sk, int fds[N_TWINS])
{
	const struct sock_extra *x = sock_extra(sk);
	uint32_t n = 0;

	if (sk->state == SK_UDP) {
		fds[0] = udp_of(sk)->kfd;
		return fds[0] >= 0;
	}
	for (uint32_t i = 0; i < N_TWINS && !(eng.forbidden & SANDBOX_NO_ACCEPT4); i++)
		if (x->twins[i] >= 0)
			fds[n++] = x->twins[i];
	return n;
}

void lib_set_twin(int fd, int kfd)
{
	int err;
	struct sock *sk = call_sock(fd, &err);

	if (!err && sk->state == SK_LISTEN && sk->extra->twins[TWIN_V6] < 0) {
		sk->extra->twins[TWIN_V6] = kfd;
		epoll_mirror(&sk->f, kfd);
	}
	call_end(sk, err);
}
