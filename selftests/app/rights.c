/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ports below 1024 of a process that gives up root for a while, then for good, long after its
 * first socket.
 */
#include "app.h"

#define NOBODY 65534

static int bound(int port)
{
	struct sockaddr_in sin = sin_of(own_addr, port);
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	if (bind(fd, SA(sin))) {
		int err = errno;

		close(fd);
		errno = err;
		return -1;
	}
	return fd;
}

/* Reset at its end: TIME_WAIT would have the port when the program runs again. */
static int from_port(int port)
{
	struct sockaddr_in to = sin_of(peer_addr, PEER_PORT);
	struct linger reset = {1, 0};
	int fd = bound(port), r;

	if (fd < 0)
		return -1;
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
	r = connect(fd, SA(to));
	close(fd);
	return r;
}

void run(void)
{
	int early, fd;

	TITLE("root");
	early = bound(901);
	OK(early);
	OK(fd = bound(902));
	T(close(fd));

	TITLE("for a while not");
	T(seteuid(NOBODY));
	OK(bound(903));
	OK(from_port(904));
	OK(fd = bound(7310));
	T(close(fd));
	T(listen(early, 4)); /* it has that already */
	T(seteuid(0));
	OK(fd = bound(903));
	T(close(fd));
	OK(from_port(904));

	TITLE("never again");
	T(setuid(NOBODY));
	OK(bound(905));
	OK(fd = bound(7311));
	T(listen(fd, 4));
	T(close(fd));
	T(close(early));
}
