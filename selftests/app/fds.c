// SPDX-License-Identifier: BSD-2-Clause
/* Numbers of descriptors: lowest free, dup and its kin, close-on-exec, ranges, the limit. */
#include <sys/resource.h>
#include "app.h"

static char buf[256];

static void dups(void)
{
	int fd = peer("echo"), a, b, e;

	TITLE("dup");
	T(fd);
	a = (int)T(dup(fd));
	b = (int)T(fcntl(fd, F_DUPFD, 20));
	T(fcntl(fd, F_DUPFD_CLOEXEC, 30));
	T(fcntl(30, F_GETFD));
	T(fcntl(b, F_GETFD));
	T(fcntl(fd, F_DUPFD, -1));
	T(dup2(fd, fd));
	T(dup2(fd, 40));
	T(dup3(fd, 41, O_CLOEXEC));
	T(fcntl(41, F_GETFD));
	T(dup3(fd, fd, 0));
	T(dup3(fd, 42, 0x1234));
	T(dup2(1234, 42));
	T(dup2(fd, -1));
	T(fcntl(fd, F_SETFL, O_NONBLOCK));
	T(fcntl(41, F_GETFL) & O_NONBLOCK); /* one description */
	T(fcntl(41, F_SETFL, 0));
	T(fcntl(fd, F_GETFL) & (O_NONBLOCK | O_ACCMODE));
	T(write(41, "one", 3));
	ready(a, POLLIN);
	T(read(a, buf, 10));
	T(close(fd));
	T(write(fd, "x", 1));
	T(write(b, "two", 3));
	ready(40, POLLIN);
	T(read(40, buf, 10));
	e = eventfd(0, 0);
	T(e);
	T(dup2(e, a)); /* a kernel descriptor over one of several */
	T(write(a, "12345678", 8));
	T(dup2(b, e)); /* and the other way */
	T(write(e, "three", 5));
	ready(30, POLLIN);
	T(read(30, buf, 10));
	T(close(a));
	T(close(b));
	T(close(e));
	T(close(30));
	T(close(40));
	T(write(41, "four", 4));
	ready(41, POLLIN);
	T(read(41, buf, 10));
	T(close(41));
	T(close(41));
}

static void numbers(void)
{
	int a, b, c;
	struct stat st;

	TITLE("numbers");
	a = (int)T(socket(AF_INET, SOCK_STREAM, 0));
	b = (int)T(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	c = (int)T(open("/dev/null", O_RDONLY));
	T(fcntl(a, F_GETFD));
	T(fcntl(b, F_GETFD));
	T(fcntl(b, F_GETFL) & O_NONBLOCK);
	T(fcntl(a, F_SETFD, FD_CLOEXEC));
	T(fcntl(a, F_GETFD));
	T(ioctl(a, FIONCLEX));
	T(fcntl(a, F_GETFD));
	T(fcntl(a, 9999));
	T(fstat(a, &st));
	printf("a socket: %d\n", S_ISSOCK(st.st_mode));
	T(close(a));
	T(open("/dev/null", O_RDONLY));
	T(close(a));
	T(socket(AF_INET, SOCK_STREAM, 0));
	T(close_range((unsigned)a, (unsigned)b, 0));
	T(fcntl(b, F_GETFD));
	T(fcntl(c, F_GETFD));
	T(socket(AF_INET, SOCK_STREAM, 0));
	T(close_range((unsigned)a, 900, CLOSE_RANGE_CLOEXEC));
	T(fcntl(a, F_GETFD));
	closefrom(a);
	T(fcntl(c, F_GETFD));
	a = peer("echo"); /* the engine must have survived that */
	T(a);
	T(write(a, "x", 1));
	ready(a, POLLIN);
	T(read(a, buf, 1));
	T(close(a));
	T(close_range(10, 5, 0));
}

static void limit(void)
{
	struct rlimit old, few = {64, 0};
	int l = listener(7200, 0), ctl, fds[70], n = 0, c;

	TITLE("no number left");
	getrlimit(RLIMIT_NOFILE, &old);
	few.rlim_max = old.rlim_max;
	ctl = peer("connect 7200 2 hello");
	T(setrlimit(RLIMIT_NOFILE, &few));
	while (n < 70 && (fds[n] = dup(l)) >= 0)
		n++;
	T(dup(l));
	T(socket(AF_INET, SOCK_STREAM, 0));
	printf("ready %x\n", ready(l, POLLIN));
	T(accept(l, NULL, NULL));
	T(accept(l, NULL, NULL));
	T(close(fds[--n]));
	c = accept(l, NULL, NULL);
	printf("accepted in its place %d\n", c == fds[n]);
	T(slurp(c, buf, 5));
	T(accept(l, NULL, NULL));
	T(close(c));
	ready(l, POLLIN);
	c = accept(l, NULL, NULL);
	printf("the second too %d\n", c == fds[n]);
	T(slurp(c, buf, 5));
	close(c);
	while (n)
		close(fds[--n]);
	T(setrlimit(RLIMIT_NOFILE, &old));
	close(ctl);
	T(close(l));
}

static void children(void)
{
	int fd = peer("echo"), st = -1;
	pid_t pid;

	TITLE("children do not disturb");
	pid = vfork();
	if (!pid) {
		close(fd);
		close_range(3, ~0u, 0);
		_exit(7);
	}
	T(waitpid(pid, &st, 0) == pid);
	T(WEXITSTATUS(st));
	T(write(fd, "a", 1));
	ready(fd, POLLIN);
	T(read(fd, buf, 1));
	pid = fork();
	if (!pid) {
		close(fd);
		if (socket(AF_UNIX, SOCK_STREAM, 0) != fd)
			_exit(9);
		fd = peer("echo"); /* one of its own */
		if (write(fd, "child", 5) != 5 || recv(fd, buf, 5, MSG_WAITALL) != 5)
			_exit(10);
		_exit(8);
	}
	T(waitpid(pid, &st, 0) == pid);
	T(WEXITSTATUS(st));
	T(write(fd, "b", 1));
	ready(fd, POLLIN);
	T(read(fd, buf, 1));
	T(system("exit 5") >> 8);
	T(write(fd, "c", 1));
	ready(fd, POLLIN);
	T(read(fd, buf, 1));
	T(close(fd));
}

void run(void)
{
	signal(SIGPIPE, SIG_IGN);
	numbers();
	dups();
	limit();
	children();
}
