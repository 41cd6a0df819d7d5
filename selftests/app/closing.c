/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a connection ends, as the other end sees it: close(), SO_LINGER in all forms, unread data,
 * TCP_LINGER2, shutdown(), duplicates, and a program that ends.
 * RFC 9293 MUST-12
 */
#include "app.h"

static char buf[65536];

/* A connection whose end the peer tells of. */
static int ending(const char *name)
{
	char cmd[64];
	int fd;

	snprintf(cmd, sizeof(cmd), "end %s", name);
	fd = peer(cmd);
	slurp(fd, buf, 2);
	return fd;
}

static void how(const char *name)
{
	char cmd[64], answer[64] = "";
	int fd;

	snprintf(cmd, sizeof(cmd), "ended %s", name);
	fd = peer(cmd);
	slurp(fd, answer, sizeof(answer) - 1);
	printf("%s: %s\n", name, answer);
	fflush(stdout);
	close(fd);
}

static void linger(int fd, int on, int seconds)
{
	struct linger l = {on, seconds};

	T(setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof(l)));
}

static void closes(void)
{
	int fd, dup_fd;

	TITLE("close");
	fd = ending("plain");
	T(write(fd, "abc", 3));
	T(close(fd));
	how("plain");
	fd = ending("abortive");
	linger(fd, 1, 0);
	T(close(fd));
	how("abortive");
	fd = ending("lingering");
	linger(fd, 1, 10);
	T(write(fd, buf, sizeof(buf)));
	T(close(fd));
	how("lingering");
	fd = ending("nonblocking");
	linger(fd, 1, 10);
	T(fcntl(fd, F_SETFL, O_NONBLOCK));
	T(write(fd, "abc", 3));
	T(close(fd));
	how("nonblocking");
	fd = ending("off-again");
	linger(fd, 1, 0);
	linger(fd, 0, 0);
	T(close(fd));
	how("off-again");
	fd = ending("duplicate");
	dup_fd = dup(fd);
	T(close(fd));
	T(write(dup_fd, "x", 1));
	T(close(dup_fd));
	how("duplicate");
}

static void unread(void)
{
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);
	int fd = peer("hello");

	TITLE("unread data");
	ready(fd, POLLIN);
	T(close(fd));
	fd = ending("half");
	T(shutdown(fd, SHUT_WR));
	T(read(fd, buf, 1)); /* the peer closes, too */
	T(shutdown(fd, SHUT_WR)); /* TIME_WAIT: over, for the program */
	T(getpeername(fd, (struct sockaddr *)&sin, &len));
	T(close(fd));
	how("half");
}

static void linger2(void)
{
	int fd = ending("linger2"), none = -1;

	TITLE("TCP_LINGER2");
	T(setsockopt(fd, IPPROTO_TCP, TCP_LINGER2, &none, sizeof(none)));
	T(write(fd, "abc", 3));
	T(close(fd));
	how("linger2");
}

static void ends(void)
{
	pid_t pid;
	int st;

	TITLE("a program that ends");
	fflush(stdout);
	pid = fork();
	if (!pid) {
		int fd = ending("exits");

		if (write(fd, "abc", 3) != 3)
			_exit(1);
		exit(0);
	}
	T(waitpid(pid, &st, 0) == pid && WEXITSTATUS(st) == 0);
	how("exits");
	pid = fork();
	if (!pid) {
		int fd = ending("killed");

		if (write(fd, "abc", 3) == 3)
			kill(getpid(), SIGKILL);
		_exit(1);
	}
	T(waitpid(pid, &st, 0) == pid && WTERMSIG(st) == SIGKILL);
	how("killed");
}

/* accept() returns also what its peer has given up meanwhile: none is lost. */
static void aborted(void)
{
	int l = listener(7700, 0), ctl;
	char done[5] = "";

	TITLE("reset before it is accepted");
	for (int round = 0; round < 4; round++) {
		ctl = peer("connect 7700 16 abort");
		if (round & 1) /* all have ended */
			T(slurp(ctl, done, 4));
		for (int i = 0; i < 16; i++) {
			int fd = ready(l, POLLIN) ? accept(l, NULL, NULL) : -1;

			if (T(fd < 0 ? -1 : 0))
				break;
			T(read(fd, buf, 1));
			T(read(fd, buf, 1));
			T(close(fd));
		}
		close(ctl);
	}
	T(close(l));
}

void run(void)
{
	closes();
	unread();
	linger2();
	ends();
	aborted();
}
