/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Urgent data: MSG_OOB both ways, SIGURG, POLLPRI and select()'s third set, the mark, SO_OOBINLINE.
 * RFC 9293 MUST-30, MUST-32
 */
#include "app.h"
#include <linux/sockios.h>

static char buf[4096];
static volatile sig_atomic_t urgs;

static void on_urg(int sig)
{
	(void)sig;
	urgs++;
}

static void wait_urg(void)
{
	for (int i = 0; i < 500 && !urgs; i++)
		poll(NULL, 0, 10);
}

static int mark(int fd)
{
	int v = -1;

	if (ioctl(fd, SIOCATMARK, &v))
		return -1;
	return sockatmark(fd) == v ? v : -2;
}

static int inq(int fd)
{
	int v = -1;

	return ioctl(fd, FIONREAD, &v) ? -1 : v;
}

static void out_of_band(void)
{
	int fd = peer("urgent");
	struct msghdr m = {0};
	struct iovec iov = {buf, 10};
	struct timeval tv = {5, 0};
	fd_set ex;

	TITLE("out of band");
	T(fcntl(fd, F_SETOWN, getpid()));
	printf("the owner is me %d\n", fcntl(fd, F_GETOWN) == getpid());
	printf("POLLPRI %d\n", ready(fd, POLLPRI) & POLLPRI);
	FD_ZERO(&ex);
	FD_SET(fd, &ex);
	T(select(fd + 1, NULL, NULL, &ex, &tv));
	printf("in the set %d\n", FD_ISSET(fd, &ex) != 0);
	T(mark(fd));
	T(inq(fd));
	T(recv(fd, buf, 1, MSG_OOB | MSG_PEEK));
	m.msg_iov = &iov;
	m.msg_iovlen = 1;
	T(recvmsg(fd, &m, MSG_OOB));
	printf("%c, flags %x\n", buf[0], m.msg_flags & MSG_OOB);
	T(recv(fd, buf, 1, MSG_OOB));
	printf("POLLPRI %d\n", poll(&(struct pollfd){.fd = fd, .events = POLLPRI}, 1, 0));
	T(read(fd, buf, 2));
	T(read(fd, buf, 100)); /* to the mark */
	T(mark(fd));
	T(recv(fd, buf, 100, MSG_DONTWAIT));
	T(write(fd, "g", 1));
	T(slurp(fd, buf, 3));
	printf("%.3s\n", buf);
	T(mark(fd));
	T(close(fd));
}

static void in_line(void)
{
	int fd = peer("urgent"), one = 1;

	TITLE("in line");
	T(setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof(one)));
	printf("POLLPRI %d\n", ready(fd, POLLPRI) & POLLPRI);
	T(recv(fd, buf, 1, MSG_OOB));
	T(inq(fd));
	T(slurp(fd, buf, 4));
	T(mark(fd));
	T(read(fd, buf, 10));
	printf("%c\n", buf[0]);
	T(mark(fd));
	T(close(fd));
}

static void signals(void)
{
	struct sigaction sa = {.sa_handler = on_urg};
	int fd;

	TITLE("SIGURG");
	sigaction(SIGURG, &sa, NULL);
	fd = peer("delay 100 x"); /* no urgent data, no signal */
	T(fcntl(fd, F_SETOWN, getpid()));
	T(recv(fd, buf, 1, 0));
	printf("%d signals\n", (int)urgs);
	T(close(fd));
	fd = peer("lateurgent");
	T(fcntl(fd, F_SETOWN, getpid()));
	T(write(fd, "g", 1));
	wait_urg();
	printf("a signal %d\n", urgs > 0);
	ready(fd, POLLPRI);
	T(recv(fd, buf, 1, MSG_OOB));
	T(close(fd));
}

static void sending(void)
{
	int fd = peer("ofurgent");
	long n;

	TITLE("sending");
	T(send(fd, "abc", 3, 0));
	T(send(fd, "de!", 3, MSG_OOB));
	T(send(fd, "fgh", 3, 0));
	T(shutdown(fd, SHUT_WR));
	n = T(slurp(fd, buf, sizeof(buf)));
	printf("%.*s\n", (int)n, buf);
	T(send(fd, "x", 1, MSG_OOB | MSG_NOSIGNAL));
	T(close(fd));
}

static void errors(void)
{
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	TITLE("without");
	T(recv(fd, buf, 1, MSG_OOB));
	T(mark(fd));
	T(send(fd, "x", 1, MSG_OOB | MSG_NOSIGNAL));
	T(close(fd));
	fd = listener(7300, 0);
	T(recv(fd, buf, 1, MSG_OOB));
	T(close(fd));
	fd = peer("bye");
	ready(fd, POLLIN);
	T(recv(fd, buf, 1, MSG_OOB));
	T(slurp(fd, buf, 10));
	T(recv(fd, buf, 1, MSG_OOB));
	T(close(fd));
}

void run(void)
{
	signal(SIGPIPE, SIG_IGN);
	out_of_band();
	in_line();
	signals();
	sending();
	errors();
}
