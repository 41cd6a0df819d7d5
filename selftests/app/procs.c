// SPDX-License-Identifier: BSD-2-Clause
/* Processes: sockets over fork, exec and in messages, and who has them when one of them ends. */
#include <spawn.h>
#include "app.h"

static char buf[4096];

static int accept_one(int l)
{
	int c = accept(l, NULL, NULL);

	if (c < 0)
		perror("accept");
	return c;
}

static int status_of(pid_t pid)
{
	int st = -1;

	if (waitpid(pid, &st, 0) != pid)
		return -1;
	return WIFEXITED(st) ? WEXITSTATUS(st) : 1000 + WTERMSIG(st);
}

/* Tells the other process something, or waits until it does. */
static void tell(const int *p)
{
	if (write(p[1], "x", 1) != 1)
		perror("tell");
}

static void hear(const int *p)
{
	if (read(p[0], buf, 1) != 1)
		perror("hear");
}

static void fork_after_accept(void)
{
	int l = listener(7600, 0), ctl, c;
	pid_t pid;

	TITLE("a child serves the connection that the parent has accepted");
	ctl = peer("connect 7600 1 hello");
	c = accept_one(l);
	pid = fork();
	if (!pid) {
		close(l);
		slurp(c, buf, 5);
		_exit(memcmp(buf, "hello", 5) ? 1 : 0);
	}
	T(close(c));
	T(status_of(pid));
	/* The peer has read to the end when it closes, too. */
	T(slurp(ctl, buf, 4));
	close(ctl);

	TITLE("data that were there before the fork, and after it");
	c = peer("echo");
	T(write(c, "before", 6));
	T(ready(c, POLLIN));
	pid = fork();
	if (!pid) {
		long n = slurp(c, buf, 6);

		n += write(c, "after", 5);
		n += slurp(c, buf + 6, 5);
		_exit(n == 16 && !memcmp(buf, "beforeafter", 11) ? 0 : 1);
	}
	T(status_of(pid));
	TITLE("and then the parent goes on");
	T(write(c, "parent", 6));
	T(slurp(c, buf, 6));
	T(close(c));
	close(l);
}

static void in_turn(void)
{
	int c = peer("echo"), go[2], back[2], i;
	pid_t pid;

	TITLE("parent and child use one connection in turn");
	if (pipe(go) || pipe(back))
		return;
	pid = fork();
	if (!pid) {
		for (i = 0; i < 10; i++) {
			hear(go);
			if (write(c, "child", 5) != 5 || slurp(c, buf, 5) != 5 ||
			    memcmp(buf, "child", 5))
				_exit(1);
			tell(back);
		}
		_exit(0);
	}
	for (i = 0; i < 10; i++) {
		if (write(c, "parent", 6) != 6 || slurp(c, buf, 6) != 6 || memcmp(buf, "parent", 6))
			printf("parent failed\n");
		tell(go);
		hear(back);
	}
	T(i);
	T(status_of(pid));
	T(write(c, "x", 1));
	T(read(c, buf, 10));
	T(close(c));

	TITLE("both block in read, one byte each");
	c = peer("echo");
	pid = fork();
	if (!pid)
		_exit(read(c, buf, 1) == 1 ? 0 : 1);
	usleep(30000);
	T(write(c, "a", 1));
	usleep(30000);
	T(write(c, "b", 1));
	T(read(c, buf, 1));
	T(status_of(pid));
	T(close(c));
}

static void last_one_closes(void)
{
	int c = peer("count"), p[2];
	struct pollfd in = {.fd = c, .events = POLLIN};
	pid_t pid;

	TITLE("the end is sent when the last one closes");
	if (pipe(p))
		return;
	pid = fork();
	if (!pid) {
		hear(p);
		if (write(c, "12345", 5) != 5)
			_exit(1);
		_exit(0);
	}
	T(write(c, "123", 3));
	T(close(c));
	tell(p);
	T(status_of(pid));

	TITLE("shutdown acts at once, whoever else has it");
	c = peer("count");
	pid = fork();
	if (!pid) {
		hear(p);
		_exit(0);
	}
	in.fd = c;
	T(write(c, "1234567", 7));
	T(shutdown(c, SHUT_WR));
	T(poll(&in, 1, 5000));
	T(slurp(c, buf, 10));
	printf("%.1s\n", buf);
	tell(p);
	T(status_of(pid));
	close(c);

	TITLE("a child that does nothing keeps it open, and then it ends");
	c = peer("count");
	pid = fork();
	if (!pid) {
		hear(p);
		_exit(0);
	}
	close(c);
	kill(pid, SIGKILL);
	T(status_of(pid));
}

static int worker(int l)
{
	int n = 0, c;

	while ((c = accept(l, NULL, NULL)) >= 0) {
		int stop = slurp(c, buf, 5) != 5;

		close(c);
		if (stop)
			break;
		n++;
	}
	return n;
}

static void prefork(void)
{
	int l = listener(7601, 0), ctl, sum = 0, c;
	pid_t pids[3];

	TITLE("three workers in accept, the parent in none");
	for (int i = 0; i < 3; i++) {
		pids[i] = fork();
		if (!pids[i])
			_exit(worker(l));
	}
	ctl = peer("connect 7601 60 hello");
	T(slurp(ctl, buf, 4));
	close(ctl);
	/* Each worker ends with its first connection that says nothing. */
	for (int i = 0; i < 3; i++) {
		ctl = peer("connect 7601 1 close");
		T(slurp(ctl, buf, 4));
		close(ctl);
	}
	for (int i = 0; i < 3; i++)
		sum += status_of(pids[i]);
	T(sum);

	TITLE("what a killed worker has not accepted, another one gets");
	pids[0] = fork();
	if (!pids[0]) {
		struct pollfd p = {.fd = l, .events = POLLIN};

		poll(&p, 1, 5000);
		kill(getpid(), SIGKILL);
	}
	ctl = peer("connect 7601 5 hello");
	T(slurp(ctl, buf, 4));
	T(status_of(pids[0]));
	for (int i = 0; i < 5; i++) {
		c = accept_one(l);
		T(slurp(c, buf, 5));
		close(c);
	}
	close(ctl);

	TITLE("the listener lives as long as one has it");
	pids[0] = fork();
	if (!pids[0]) {
		c = accept_one(l);
		_exit((int)slurp(c, buf, 5));
	}
	T(close(l));
	ctl = peer("connect 7601 1 hello");
	T(status_of(pids[0]));
	close(ctl);
	l = listener(7601, 0);
	T(l >= 0);
	close(l);
}

static int epoll_worker(int l, int events, int quit)
{
	struct epoll_event ev = {.events = EPOLLIN | (uint32_t)events, .data.fd = l};
	int ep = epoll_create1(0), n = 0, wakes = 0;

	epoll_ctl(ep, EPOLL_CTL_ADD, l, &ev);
	ev = (struct epoll_event){.events = EPOLLIN, .data.fd = quit};
	epoll_ctl(ep, EPOLL_CTL_ADD, quit, &ev);
	while (epoll_wait(ep, &ev, 1, 10000) == 1 && ev.data.fd == l) {
		int c = accept(l, NULL, NULL);

		wakes++;
		if (c < 0)
			continue;
		n += slurp(c, buf, 5) == 5;
		close(c);
	}
	return wakes > 200 ? 255 : n;
}

static void prefork_epoll(int events)
{
	int l = listener(7602, SOCK_NONBLOCK), ctl, sum = 0, quit[2];
	pid_t pids[4];

	if (pipe(quit))
		return;
	for (int i = 0; i < 4; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			close(quit[1]);
			_exit(epoll_worker(l, events, quit[0]));
		}
	}
	close(quit[0]);
	close(l);
	for (int i = 0; i < 4; i++) {
		ctl = peer("connect 7602 20 hello");
		T(slurp(ctl, buf, 4));
		usleep(20000);
		close(ctl);
	}
	usleep(100000);
	close(quit[1]);
	for (int i = 0; i < 4; i++)
		sum += status_of(pids[i]);
	T(sum);
}

static char *const echo_argv[] = {(char *)"cat", NULL};

/* Apart: vfork() and variables that live across it do not go together. */
static __attribute__((noinline)) pid_t vfork_shell(int c)
{
	pid_t pid = vfork();

	if (!pid) {
		dup2(c, 0);
		dup2(c, 1);
		execlp("sh", "sh", "-c", "echo question; read x; test \"$x\" = question",
		       (char *)NULL);
		_exit(99);
	}
	return pid;
}

static void as_standard_input(void)
{
	int c;
	pid_t pid;

	TITLE("a program with a connection as its standard input and output");
	c = peer("echo");
	pid = fork();
	if (!pid) {
		dup2(c, 0);
		dup2(c, 1);
		close(c);
		execlp("sh", "sh", "-c", "echo question; read x; test \"$x\" = question",
		       (char *)NULL);
		_exit(99);
	}
	close(c);
	T(status_of(pid));

	TITLE("by vfork");
	c = peer("echo");
	pid = vfork_shell(c);
	T(status_of(pid));
	T(write(c, "still", 5));
	T(slurp(c, buf, 5));
	close(c);
}

static void by_posix_spawn(void)
{
	extern char **environ;
	posix_spawn_file_actions_t fa;
	int c, p[2];
	pid_t pid;

	TITLE("by posix_spawn");
	c = peer("echo");
	T(write(c, "spawned", 7));
	T(shutdown(c, SHUT_WR));
	if (pipe(p))
		return;
	posix_spawn_file_actions_init(&fa);
	posix_spawn_file_actions_adddup2(&fa, c, 0);
	posix_spawn_file_actions_adddup2(&fa, p[1], 1);
	T(posix_spawnp(&pid, "cat", &fa, NULL, echo_argv, environ));
	close(p[1]);
	close(c);
	T(slurp(p[0], buf, 100));
	T(status_of(pid));
}

static void close_on_exec(void)
{
	char self[32];
	int c;
	pid_t pid;

	TITLE("close-on-exec is obeyed: the end comes");
	c = peer("count");
	T(write(c, "1234", 4));
	T(fcntl(c, F_SETFD, FD_CLOEXEC));
	snprintf(self, sizeof(self), "%d", c);
	pid = fork();
	if (!pid) {
		execlp("sh", "sh", "-c", "test ! -e /proc/self/fd/$0", self, (char *)NULL);
		_exit(99);
	}
	T(status_of(pid));
	close(c);
}

static void over_exec(void)
{
	int l = listener(7603, 0), ctl;
	char self[32];
	pid_t pid;

	as_standard_input();
	by_posix_spawn();
	close_on_exec();
	TITLE("a listener over exec");
	snprintf(self, sizeof(self), "%d", l);
	pid = fork();
	if (!pid) {
		execlp("python3", "python3", "-c",
		       "import socket, sys\n"
		       "l = socket.socket(fileno=int(sys.argv[1]))\n"
		       "c, a = l.accept()\n"
		       "sys.exit(len(c.recv(5, socket.MSG_WAITALL)))",
		       self, (char *)NULL);
		_exit(99);
	}
	close(l);
	ctl = peer("connect 7603 1 hello");
	T(status_of(pid));
	close(ctl);
}

static int pass(int to, int fd)
{
	char one = 'x';
	union {
		char b[CMSG_SPACE(sizeof(int))];
		struct cmsghdr h;
	} cm = {.h = {CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS}};
	struct iovec iov = {&one, 1};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = cm.b,
			   .msg_controllen = sizeof(cm.b)};

	memcpy(CMSG_DATA(&cm.h), &fd, sizeof(fd));
	return (int)sendmsg(to, &m, 0);
}

static int passed(int from)
{
	char one;
	union {
		char b[CMSG_SPACE(sizeof(int))];
		struct cmsghdr h;
	} cm;
	struct iovec iov = {&one, 1};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = cm.b,
			   .msg_controllen = sizeof(cm.b)};
	int fd = -1;

	if (recvmsg(from, &m, 0) == 1 && CMSG_FIRSTHDR(&m))
		memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m)), sizeof(fd));
	return fd;
}

static void in_messages(void)
{
	int sp[2], c;
	pid_t pid;

	TITLE("a connection in a message to another process");
	if (socketpair(AF_UNIX, SOCK_STREAM, 0, sp))
		return;
	pid = fork();
	if (!pid) {
		close(sp[0]);
		c = passed(sp[1]);
		if (write(c, "passed", 6) != 6 || slurp(c, buf, 6) != 6)
			_exit(1);
		_exit(0);
	}
	close(sp[1]);
	c = peer("echo");
	T(pass(sp[0], c));
	T(close(c));
	T(status_of(pid));
	close(sp[0]);
}

static void *busy_thread(void *arg)
{
	int c = peer("echo");

	while (!*(volatile bool *)arg)
		if (write(c, "x", 1) != 1 || read(c, buf, 1) != 1)
			break;
	close(c);
	return NULL;
}

static void threads_and_fork(void)
{
	pthread_t t[4];
	bool stop = false;
	int good = 0;

	TITLE("fork while threads are at work");
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, busy_thread, &stop);
	for (int i = 0; i < 20; i++) {
		pid_t pid = fork();

		if (!pid) {
			int c = i % 4 ? -1 : peer("echo");

			if (c >= 0 && (write(c, "y", 1) != 1 || read(c, buf, 1) != 1))
				_exit(1);
			_exit(0);
		}
		good += !status_of(pid);
	}
	stop = true;
	for (int i = 0; i < 4; i++)
		pthread_join(t[i], NULL);
	T(good);
}

static volatile sig_atomic_t handler_forks, handler_good;

/* As PostgreSQL's postmaster, which starts its helpers so. fork() may be called in a handler. */
static void on_alarm(int sig)
{
	pid_t pid = fork();
	int st;

	(void)sig;
	if (!pid)
		_exit(7);
	handler_forks++;
	if (pid > 0 && waitpid(pid, &st, 0) == pid && WIFEXITED(st) && WEXITSTATUS(st) == 7)
		handler_good++;
}

static void fork_in_handler(void)
{
	struct itimerval every = {{0, 2000}, {0, 2000}}, off = {{0, 0}, {0, 0}};
	struct sigaction sa = {.sa_handler = on_alarm, .sa_flags = SA_RESTART};
	int c = peer("echo"), wrong = 0;
	struct timespec begin, now;

	TITLE("fork in a handler of a signal that interrupts calls");
	sigaction(SIGALRM, &sa, NULL);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	setitimer(ITIMER_REAL, &every, NULL);
	do {
		struct timeval tv = {5, 0};
		fd_set in;

		FD_ZERO(&in);
		FD_SET(c, &in);
		wrong += write(c, "z", 1) != 1;
		while (select(c + 1, &in, NULL, NULL, &tv) < 0 && errno == EINTR)
			FD_SET(c, &in);
		wrong += read(c, buf, 1) != 1 || buf[0] != 'z';
		clock_gettime(CLOCK_MONOTONIC, &now);
	} while (handler_forks < 100 && now.tv_sec - begin.tv_sec < 40);
	setitimer(ITIMER_REAL, &off, NULL);
	T(wrong);
	T(handler_forks >= 100);
	T(handler_good == handler_forks);
	close(c);
}

void run(void)
{
	signal(SIGPIPE, SIG_IGN);
	fork_after_accept();
	in_turn();
	last_one_closes();
	prefork();
	TITLE("four workers in epoll");
	prefork_epoll(0);
	TITLE("four workers in epoll, EPOLLEXCLUSIVE");
	prefork_epoll((int)EPOLLEXCLUSIVE);
	over_exec();
	in_messages();
	threads_and_fork();
	fork_in_handler();
}
