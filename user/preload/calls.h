/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The calls of libc that the shim stands in front of, the one list of them: it makes the pointers
 * to libc's own (real.c), most of the intercepts (socket.c, rw.c), and the linker's --wrap
 * options (Makefile, which reads the lines that begin with X), by which the library below the shim
 * always reaches libc itself. One line each.
 */
#ifndef TANDEM_PRELOAD_CALLS_H
#define TANDEM_PRELOAD_CALLS_H

/* clang-format off */
/* Calls on a descriptor: X(type, name, (parameters after fd), (their names)). */
#define SOCKET_CALLS(X) \
	X(int, listen, (int backlog), (backlog)) \
	X(int, accept, (__SOCKADDR_ARG addr, socklen_t *len), (addr, len)) \
	X(int, accept4, (__SOCKADDR_ARG addr, socklen_t *len, int flags), (addr, len, flags)) \
	X(int, shutdown, (int how), (how)) \
	X(int, getsockopt, \
	  (int level, int name, void *val, socklen_t *len), (level, name, val, len)) \
	X(int, setsockopt, \
	  (int level, int name, const void *val, socklen_t len), \
	  (level, name, val, len)) \
	X(int, getsockname, (__SOCKADDR_ARG addr, socklen_t *len), (addr, len)) \
	X(int, getpeername, (__SOCKADDR_ARG addr, socklen_t *len), (addr, len))

/* Those that name an address, by which a UDP socket may become tandem's: these and those below. */
#define NAMING_CALLS(X) \
	X(int, bind, (__CONST_SOCKADDR_ARG addr, socklen_t len), (addr, len)) \
	X(int, connect, (__CONST_SOCKADDR_ARG addr, socklen_t len), (addr, len)) \
	X(int, __connect, (__CONST_SOCKADDR_ARG addr, socklen_t len), (addr, len))

#define SENDING_CALLS(X) \
	X(ssize_t, sendto, \
	  (const void *buf, size_t n, int flags, __CONST_SOCKADDR_ARG addr, socklen_t len), \
	  (buf, n, flags, addr, len)) \
	X(int, sendmmsg, (struct mmsghdr *msgs, unsigned n, int flags), (msgs, n, flags))

#define IO_CALLS(X) \
	X(ssize_t, send, (const void *buf, size_t n, int flags), (buf, n, flags)) \
	X(ssize_t, recv, (void *buf, size_t n, int flags), (buf, n, flags)) \
	X(ssize_t, recvfrom, \
	  (void *buf, size_t n, int flags, __SOCKADDR_ARG addr, socklen_t *len), \
	  (buf, n, flags, addr, len)) \
	X(int, recvmmsg, \
	  (struct mmsghdr *msgs, unsigned n, int flags, struct timespec *timeout), \
	  (msgs, n, flags, timeout)) \
	X(ssize_t, read, (void *buf, size_t n), (buf, n)) \
	X(ssize_t, write, (const void *buf, size_t n), (buf, n)) \
	X(ssize_t, readv, (const struct iovec *iov, int n), (iov, n)) \
	X(ssize_t, writev, (const struct iovec *iov, int n), (iov, n)) \
	X(ssize_t, preadv2, \
	  (const struct iovec *iov, int n, off_t off, int flags), (iov, n, off, flags)) \
	X(ssize_t, pwritev2, \
	  (const struct iovec *iov, int n, off_t off, int flags), (iov, n, off, flags)) \
	X(ssize_t, sendfile, (int in, off_t *off, size_t n), (in, off, n)) \
	X(ssize_t, sendfile64, (int in, off_t *off, size_t n), (in, off, n)) \
	X(ssize_t, __read_chk, (void *buf, size_t n, size_t room), (buf, n, room)) \
	X(ssize_t, __recv_chk, \
	  (void *buf, size_t n, size_t room, int flags), (buf, n, room, flags)) \
	X(ssize_t, __recvfrom_chk, \
	  (void *buf, size_t n, size_t room, int flags, __SOCKADDR_ARG addr, socklen_t *len), \
	  (buf, n, room, flags, addr, len)) \
	X(ssize_t, __read, (void *buf, size_t n), (buf, n)) \
	X(ssize_t, __write, (const void *buf, size_t n), (buf, n)) \
	X(ssize_t, __send, (const void *buf, size_t n, int flags), (buf, n, flags))

/* The same where what they pass on depends: X(type, name, type of the second, its name). */
#define VARIADIC_CALLS(X) \
	X(int, fcntl, int, cmd) \
	X(int, fcntl64, int, cmd) \
	X(int, ioctl, unsigned long, req)

/* The others, whose intercepts are written by hand: X(type, name, (parameters), (their names)). */
#define OTHER_CALLS(X) \
	X(int, socket, (int domain, int type, int protocol), (domain, type, protocol)) \
	X(int, close, (int fd), (fd)) \
	X(int, __close, (int fd), (fd)) \
	X(int, dup, (int fd), (fd)) \
	X(int, dup2, (int fd, int to), (fd, to)) \
	X(int, dup3, (int fd, int to, int flags), (fd, to, flags)) \
	X(int, close_range, (unsigned first, unsigned last, int flags), (first, last, flags)) \
	X(void, closefrom, (int low), (low)) \
	X(ssize_t, sendmsg, (int fd, const struct msghdr *msg, int flags), (fd, msg, flags)) \
	X(ssize_t, recvmsg, (int fd, struct msghdr *msg, int flags), (fd, msg, flags)) \
	X(int, execve, (const char *path, char *const argv[], char *const envp[]), (path, argv, envp)) \
	X(int, execv, (const char *path, char *const argv[]), (path, argv)) \
	X(int, execvp, (const char *file, char *const argv[]), (file, argv)) \
	X(int, execvpe, (const char *file, char *const argv[], char *const envp[]), (file, argv, envp)) \
	X(int, fexecve, (int fd, char *const argv[], char *const envp[]), (fd, argv, envp)) \
	X(int, execveat, \
	  (int dir, const char *path, char *const argv[], char *const envp[], int flags), \
	  (dir, path, argv, envp, flags)) \
	X(int, posix_spawn, \
	  (pid_t *pid, const char *path, const posix_spawn_file_actions_t *fa, \
	   const posix_spawnattr_t *attr, char *const argv[], char *const envp[]), \
	  (pid, path, fa, attr, argv, envp)) \
	X(int, posix_spawnp, \
	  (pid_t *pid, const char *file, const posix_spawn_file_actions_t *fa, \
	   const posix_spawnattr_t *attr, char *const argv[], char *const envp[]), \
	  (pid, file, fa, attr, argv, envp)) \
	X(int, system, (const char *command), (command)) \
	X(int, pthread_cancel, (pthread_t thread), (thread)) \
	X(int, sigaction, (int sig, const struct sigaction *act, struct sigaction *old), \
	  (sig, act, old)) \
	X(sighandler_t, signal, (int sig, sighandler_t h), (sig, h)) \
	X(sighandler_t, bsd_signal, (int sig, sighandler_t h), (sig, h)) \
	X(sighandler_t, ssignal, (int sig, sighandler_t h), (sig, h)) \
	X(sighandler_t, sysv_signal, (int sig, sighandler_t h), (sig, h)) \
	X(sighandler_t, __sysv_signal, (int sig, sighandler_t h), (sig, h)) \
	X(sighandler_t, sigset, (int sig, sighandler_t h), (sig, h)) \
	X(FILE *, popen, (const char *command, const char *mode), (command, mode)) \
	X(ssize_t, splice, \
	  (int in, off64_t *in_off, int out, off64_t *out_off, size_t n, unsigned flags), \
	  (in, in_off, out, out_off, n, flags)) \
	X(int, poll, (struct pollfd *fds, nfds_t n, int timeout), (fds, n, timeout)) \
	X(int, ppoll, \
	  (struct pollfd *fds, nfds_t n, const struct timespec *ts, const sigset_t *mask), \
	  (fds, n, ts, mask)) \
	X(int, __poll_chk, \
	  (struct pollfd *fds, nfds_t n, int timeout, size_t room), \
	  (fds, n, timeout, room)) \
	X(int, __ppoll_chk, \
	  (struct pollfd *fds, nfds_t n, const struct timespec *ts, const sigset_t *mask, \
	   size_t room), \
	  (fds, n, ts, mask, room)) \
	X(int, select, \
	  (int n, fd_set *in, fd_set *out, fd_set *ex, struct timeval *tv), \
	  (n, in, out, ex, tv)) \
	X(int, pselect, \
	  (int n, fd_set *in, fd_set *out, fd_set *ex, const struct timespec *ts, \
	   const sigset_t *mask), \
	  (n, in, out, ex, ts, mask)) \
	X(int, epoll_create, (int size), (size)) \
	X(int, epoll_create1, (int flags), (flags)) \
	X(int, epoll_ctl, (int ep, int op, int fd, struct epoll_event *ev), (ep, op, fd, ev)) \
	X(int, epoll_wait, \
	  (int ep, struct epoll_event *evs, int max, int timeout), \
	  (ep, evs, max, timeout)) \
	X(int, epoll_pwait, \
	  (int ep, struct epoll_event *evs, int max, int timeout, const sigset_t *mask), \
	  (ep, evs, max, timeout, mask)) \
	X(int, epoll_pwait2, \
	  (int ep, struct epoll_event *evs, int max, const struct timespec *ts, \
	   const sigset_t *mask), \
	  (ep, evs, max, ts, mask)) \
	X(int, chroot, (const char *path), (path)) \
	X(int, unshare, (int flags), (flags)) \
	X(int, setns, (int fd, int type), (fd, type)) \
	X(int, setuid, (uid_t uid), (uid)) \
	X(int, setgid, (gid_t gid), (gid)) \
	X(int, seteuid, (uid_t uid), (uid)) \
	X(int, setegid, (gid_t gid), (gid)) \
	X(int, setreuid, (uid_t ruid, uid_t euid), (ruid, euid)) \
	X(int, setregid, (gid_t rgid, gid_t egid), (rgid, egid)) \
	X(int, setresuid, (uid_t ruid, uid_t euid, uid_t suid), (ruid, euid, suid)) \
	X(int, setresgid, (gid_t rgid, gid_t egid, gid_t sgid), (rgid, egid, sgid)) \
	X(int, setgroups, (size_t n, const gid_t *list), (n, list)) \
	X(int, initgroups, (const char *user, gid_t gid), (user, gid)) \
	X(int, setrlimit, (__rlimit_resource_t res, const struct rlimit *l), (res, l)) \
	X(int, setrlimit64, (__rlimit_resource_t res, const struct rlimit64 *l), (res, l)) \
	X(int, getrlimit, (__rlimit_resource_t res, struct rlimit *l), (res, l)) \
	X(int, getrlimit64, (__rlimit_resource_t res, struct rlimit64 *l), (res, l)) \
	X(int, prlimit, \
	  (pid_t pid, __rlimit_resource_t res, const struct rlimit *l, struct rlimit *old), \
	  (pid, res, l, old)) \
	X(int, prlimit64, \
	  (pid_t pid, __rlimit_resource_t res, const struct rlimit64 *l, struct rlimit64 *old), \
	  (pid, res, l, old)) \
	X(int, prctl, \
	  (int option, unsigned long a, unsigned long b, unsigned long c, unsigned long e), \
	  (option, a, b, c, e)) \
	X(long, syscall, \
	  (long nr, long a, long b, long c, long e, long f, long g), (nr, a, b, c, e, f, g)) \
	X(FILE *, fdopen, (int fd, const char *mode), (fd, mode)) \
	X(int, vdprintf, (int fd, const char *fmt, va_list ap), (fd, fmt, ap)) \
	X(int, __vdprintf_chk, (int fd, int flag, const char *fmt, va_list ap), (fd, flag, fmt, ap))

/* clang-format on */

/* "fd and these", where there may be none of these. */
#define UNWRAP(...) __VA_ARGS__

#endif
