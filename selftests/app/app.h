/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the programs here share. Each is plain POSIX and Linux, and prints what every call of its
 * gives; selftests/netns/app.sh runs it on the kernel's sockets and under `tandem run`, and
 * the two outputs must not differ. So nothing that may vary is printed: no time, no port that
 * was picked, no count that depends on timing.
 *
 * Usage: PROGRAM PEER-ADDRESS OWN-ADDRESS. At PEER-ADDRESS:7000 peer.py does what it is told in the
 * first line of a connection.
 */
#ifndef APP_H
#define APP_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

#define PEER_PORT 7000

static const char *peer_addr, *own_addr;

static inline long show(const char *what, long r)
{
	if (r < 0)
		printf("%s = %ld %s\n", what, r, strerrorname_np(errno));
	else
		printf("%s = %ld\n", what, r);
	fflush(stdout);
	return r;
}

/* Prints the call as it is written, with its result. */
#define T(call) show(#call, (long)(call))
/* The same where only success or failure is to be told, not the value. */
#define OK(call) show(#call " ok", (call) < 0 ? -1 : 0)
#define TITLE(s) printf("\n-- %s\n", s)

static inline struct sockaddr_in sin_of(const char *addr, int port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};

	inet_pton(AF_INET, addr, &sin.sin_addr);
	return sin;
}

#define SA(sin) ((struct sockaddr *)&(sin)), sizeof(sin)

/* A connection to the peer, which has been told @what. */
static inline int peer(const char *what)
{
	struct sockaddr_in sin = sin_of(peer_addr, PEER_PORT);
	int fd = socket(AF_INET, SOCK_STREAM, 0);
	char line[128];
	int n = snprintf(line, sizeof(line), "%s\n", what);

	if (fd < 0 || connect(fd, SA(sin)) || write(fd, line, (size_t)n) != n) {
		perror("peer");
		exit(1);
	}
	return fd;
}

/* Listens on @port; without it the rest makes no sense. */
static inline int listener(int port, int type)
{
	struct sockaddr_in sin = sin_of(own_addr, port);
	int fd = socket(AF_INET, SOCK_STREAM | type, 0), one = 1;

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (fd < 0 || bind(fd, SA(sin)) || listen(fd, 16)) {
		perror("listener");
		exit(1);
	}
	return fd;
}

/* Waits until @fd is ready for @events: what follows does not depend on timing then. */
static inline int ready(int fd, short events)
{
	struct pollfd p = {.fd = fd, .events = events};

	return poll(&p, 1, 5000) == 1 ? p.revents : 0;
}

/* Reads to the end of data, or @n bytes. */
static inline long slurp(int fd, char *buf, size_t n)
{
	size_t done = 0;

	while (done < n) {
		ssize_t r = read(fd, buf + done, n - done);

		if (r <= 0)
			return done ? (long)done : r;
		done += (size_t)r;
	}
	return (long)done;
}

/* SIGUSR1 after that time. */
static inline void after_ms(int ms)
{
	struct itimerspec its = {.it_value = {ms / 1000, ms % 1000 * 1000000l}};
	struct sigevent se = {.sigev_notify = SIGEV_SIGNAL, .sigev_signo = SIGUSR1};
	static timer_t timer;
	static bool made;

	if (!made)
		timer_create(CLOCK_MONOTONIC, &se, &timer);
	made = true;
	timer_settime(timer, 0, &its, NULL);
}

static inline long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ll + ts.tv_nsec / 1000000;
}

void run(void);

int main(int argc, char **argv)
{
	if (argc != 3)
		return 2;
	peer_addr = argv[1];
	own_addr = argv[2];
	alarm(60);
	run();
	return 0;
}

#endif
