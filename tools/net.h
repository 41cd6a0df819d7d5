/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The example programs' sockets: the same source runs on libtandem or, with --kernel, on the
 * kernel's own stack, so that a comparison compares nothing else.
 */
#ifndef TANDEM_TOOLS_NET_H
#define TANDEM_TOOLS_NET_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <unistd.h>
#include "user/lib/tandem.h"

struct net {
	const char *name;
	int (*socket)(int, int, int);
	int (*bind)(int, const struct sockaddr *, socklen_t);
	int (*listen)(int, int);
	int (*accept4)(int, struct sockaddr *, socklen_t *, int);
	int (*connect)(int, const struct sockaddr *, socklen_t);
	ssize_t (*recv)(int, void *, size_t, int);
	ssize_t (*send)(int, const void *, size_t, int);
	ssize_t (*recvfrom)(int, void *, size_t, int, struct sockaddr *, socklen_t *);
	ssize_t (*sendto)(int, const void *, size_t, int, const struct sockaddr *, socklen_t);
	ssize_t (*sendfile)(int, int, off_t *, size_t);
	int (*shutdown)(int, int);
	int (*close)(int);
	int (*getsockopt)(int, int, int, void *, socklen_t *);
	int (*setsockopt)(int, int, int, const void *, socklen_t);
	int (*poll)(struct pollfd *, nfds_t, int);
	int (*epoll_create)(void);
	int (*epoll_ctl)(int, int, int, struct epoll_event *);
	int (*epoll_wait)(int, struct epoll_event *, int, int);
};

extern const struct net net_kernel, net_tandem;

/* Congestion control of the sockets that are made from now on; NULL: the default. */
extern const char *net_cc;
/* A listening or connected IPv4 stream socket; -1 and errno. @flags: SOCK_NONBLOCK. */
int net_listen(const struct net *n, const char *addr, uint16_t port, int backlog, int flags);
/* A UDP socket that is bound to @local, or connected to @peer where that is not NULL. */
int net_datagram(const struct net *n, const char *local, const char *peer, uint16_t port, int flags);
int net_connect(const struct net *n, const char *addr, uint16_t port, int flags);

/* The next connection of a listener that does not block; -1: none, or a failure that was told on
 * stderr. */
int net_accept(const struct net *n, int lfd);
/*
 * A server's beginning: *@lfd listens, and the epoll instance that is returned reports it with data
 * 0. -1 after a message on stderr.
 */
int net_server(const struct net *n, const char *addr, uint16_t port, int *lfd);

/* As many descriptors as the hard limit allows. */
void raise_nofile(void);

/*
 * Makes the chosen stack ready: for tandem, attaches to its daemon and says on stderr what is
 * missing. @busy_poll_us: -1 leaves the default. Returns false after the message.
 */
bool net_start(const struct net *n, int busy_poll_us);

/* Parses a number within [lo, hi], or ends the program with a message that names @option. */
long arg_number(const char *option, const char *text, long lo, long hi);

#endif
