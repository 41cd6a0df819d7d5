/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libtandem: BSD sockets on the tandem stack.
 *
 * Calls have the shapes, blocking rules, errno values and option values of
 * their namesakes in section 2 of the manual, and are thread-safe; what differs is said here.
 * They return -1 with errno set on failure.
 *
 * Sockets are handles of this library, not descriptors of the kernel: pass them to tandem_*()
 * calls only. They start at TANDEM_FD_BASE, so that a mix-up fails with EBADF rather than hitting
 * some file. IPv4 TCP and UDP (AF_INET, SOCK_STREAM or SOCK_DGRAM) are what there is.
 *
 * The first call connects to the daemon that serves this network namespace (tandem_init() to
 * choose one); errno ENODEV: nothing is attached here, EACCES: its socket may not be opened,
 * EPROTO: library and daemon differ in version, ENOBUFS: umem_frames is too small for another
 * application. After fork() the child must not use the parent's sockets (EBADF); exec() ends them
 * (sockets of several processes need numbers of the kernel's, which the shim gives them).
 *
 * What cannot be as in the kernel: a blocked call that a signal interrupts is restarted if every
 * handler of the program has SA_RESTART, and else fails with EINTR, whichever handler it was; a
 * handler that runs just before the call sleeps does not end it (under the shim it does); and
 * until connect() has succeeded, getsockname() tells only what bind() has fixed. Calls are no place
 * for pthread_cancel() (the shim's are): disable it around them (pthread_setcancelstate()).
 */
#ifndef TANDEM_H
#define TANDEM_H

#include <sys/types.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/epoll.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct mmsghdr; /* <sys/socket.h> has it with _GNU_SOURCE */
struct timespec;

#define TANDEM_FD_BASE 0x40000000

/*
 * Attaches to the daemon of @name (as given to `tandem attach --name`), or NULL: $TANDEM_NAME, or
 * else the one that serves this process's network namespace. Optional; 0, or -1 and errno. EISCONN:
 * done before with another name.
 */
int tandem_init(const char *name);
/* Closes all sockets as exit() would (they are handed back to the daemon) and unmaps everything. */
void tandem_exit(void);
/* A sentence about the last failed tandem_init() of this thread, with what to do. */
const char *tandem_last_error(void);

/*
 * How long a blocked call may spin on the rings before it sleeps, µs; 0: sleep at once. The time
 * really spent adapts below that bound. Default: the daemon's busy_poll_us; $TANDEM_BUSY_POLL
 * overrides it.
 */
void tandem_set_busy_poll(unsigned us);

/* socket(2); @type may carry SOCK_NONBLOCK and SOCK_CLOEXEC. EAFNOSUPPORT, EPROTONOSUPPORT. */
int tandem_socket(int domain, int type, int protocol);
int tandem_bind(int fd, const struct sockaddr *addr, socklen_t len);
int tandem_listen(int fd, int backlog);
int tandem_accept(int fd, struct sockaddr *addr, socklen_t *len);
int tandem_accept4(int fd, struct sockaddr *addr, socklen_t *len, int flags);
int tandem_connect(int fd, const struct sockaddr *addr, socklen_t len);

/* MSG_PEEK, MSG_DONTWAIT, MSG_WAITALL, MSG_TRUNC, MSG_NOSIGNAL, MSG_MORE. */
ssize_t tandem_recv(int fd, void *buf, size_t len, int flags);
ssize_t tandem_send(int fd, const void *buf, size_t len, int flags);
ssize_t tandem_recvfrom(int fd, void *buf, size_t len, int flags, struct sockaddr *addr,
			socklen_t *alen);
ssize_t tandem_sendto(int fd, const void *buf, size_t len, int flags, const struct sockaddr *addr,
		      socklen_t alen);
ssize_t tandem_recvmsg(int fd, struct msghdr *msg, int flags);
ssize_t tandem_sendmsg(int fd, const struct msghdr *msg, int flags);
int tandem_recvmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags, struct timespec *timeout);
int tandem_sendmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags);
ssize_t tandem_read(int fd, void *buf, size_t len);
ssize_t tandem_write(int fd, const void *buf, size_t len);
ssize_t tandem_readv(int fd, const struct iovec *iov, int n);
ssize_t tandem_writev(int fd, const struct iovec *iov, int n);
/* sendfile(2): @in_fd is a kernel descriptor of a file that can be mapped or read. */
ssize_t tandem_sendfile(int fd, int in_fd, off_t *offset, size_t count);

int tandem_shutdown(int fd, int how);
int tandem_close(int fd);

int tandem_getsockopt(int fd, int level, int name, void *val, socklen_t *len);
int tandem_setsockopt(int fd, int level, int name, const void *val, socklen_t len);
int tandem_getsockname(int fd, struct sockaddr *addr, socklen_t *len);
int tandem_getpeername(int fd, struct sockaddr *addr, socklen_t *len);
/* F_GETFL, F_SETFL (O_NONBLOCK). */
int tandem_fcntl(int fd, int cmd, int arg);
/* FIONREAD, FIONBIO, SIOCOUTQ. */
int tandem_ioctl(int fd, unsigned long req, void *arg);

/* poll(2) over tandem sockets and kernel descriptors together. */
int tandem_poll(struct pollfd *fds, nfds_t n, int timeout_ms);
/* @timeout NULL: none; @sigmask: while it sleeps, NULL: as it is. */
int tandem_ppoll(struct pollfd *fds, nfds_t n, const struct timespec *timeout,
		 const sigset_t *sigmask);

/*
 * epoll(7) over both kinds: O(ready). EPOLLIN, OUT, RDHUP, ERR, HUP, ET, ONESHOT. The handle
 * that tandem_epoll_create() returns is closed with tandem_close().
 */
int tandem_epoll_create(void);
int tandem_epoll_ctl(int epfd, int op, int fd, struct epoll_event *ev);
int tandem_epoll_wait(int epfd, struct epoll_event *evs, int max, int timeout_ms);
int tandem_epoll_pwait2(int epfd, struct epoll_event *evs, int max, const struct timespec *timeout,
			const sigset_t *sigmask);

/* Is @fd a handle of this library? */
static inline int tandem_is_socket(int fd)
{
	return fd >= TANDEM_FD_BASE;
}

#ifdef __cplusplus
}
#endif

#endif
