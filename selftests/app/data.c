// SPDX-License-Identifier: BSD-2-Clause
/* Bytes in and out, in every form; ends of connections; timeouts; stdio over a socket. */
#include "app.h"

static char buf[1 << 20];

static void forms(void)
{
	struct iovec iov[3] = {{buf, 3}, {buf + 10, 0}, {buf + 20, 100}};
	struct iovec out[2] = {{(char *)"ab", 2}, {(char *)"cdef", 4}};
	struct msghdr m = {.msg_iov = iov, .msg_iovlen = 3};
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);
	struct mmsghdr mm[2] = {{.msg_hdr = {.msg_iov = out, .msg_iovlen = 2}},
				{.msg_hdr = {.msg_iov = out, .msg_iovlen = 1}}};
	volatile int minus = -1, many = 100000; /* the compiler knows that these are wrong */
	int fd = peer("echo");

	TITLE("forms");
	T(writev(fd, out, 2));
	ready(fd, POLLIN);
	T(recv(fd, buf, 100, MSG_PEEK));
	T(recv(fd, buf, 2, MSG_PEEK));
	T(readv(fd, iov, 3));
	printf("%.3s|%.3s\n", buf, buf + 20);
	T(sendmsg(fd, &(struct msghdr){.msg_iov = out, .msg_iovlen = 2}, 0));
	T(recv(fd, buf, 6, MSG_WAITALL));
	T(sendmmsg(fd, mm, 2, 0));
	printf("%u %u\n", mm[0].msg_len, mm[1].msg_len);
	T(recv(fd, buf, 8, MSG_WAITALL));
	printf("%.8s\n", buf);
	T(sendto(fd, "xyz", 3, 0, NULL, 0));
	ready(fd, POLLIN);
	T(recvfrom(fd, buf, 100, 0, (struct sockaddr *)&sin, &len));
	printf("length of the address %u\n", len);
	T(recv(fd, buf, 100, MSG_DONTWAIT));
	T(recvmsg(fd, &m, MSG_DONTWAIT));
	T(read(fd, buf, 0));
	T(write(fd, buf, 0));
	T(send(fd, "12345", 5, MSG_MORE));
	T(send(fd, "67890", 5, 0));
	T(recv(fd, buf, 10, MSG_WAITALL));
	T(send(fd, "12345", 5, 0));
	ready(fd, POLLIN);
	T(recv(fd, NULL, 3, MSG_TRUNC));
	T(recv(fd, buf, 100, MSG_DONTWAIT));
	printf("%.2s\n", buf);
	T(readv(fd, iov, minus));
	T(writev(fd, out, many));
	T(recv(fd, buf, 10, MSG_ERRQUEUE));
	T(close(fd));
}

static void ends(void)
{
	int fd = peer("bye"), e;
	socklen_t len = sizeof(e);

	TITLE("ends");
	T(slurp(fd, buf, 100));
	T(read(fd, buf, 100));
	T(write(fd, "still", 5));
	T(shutdown(fd, SHUT_WR));
	T(write(fd, "no", 2));
	T(shutdown(fd, SHUT_RDWR));
	T(close(fd));
	fd = peer("hello");
	ready(fd, POLLIN);
	T(shutdown(fd, SHUT_RD));
	T(read(fd, buf, 100));
	T(read(fd, buf, 100));
	T(close(fd));
	fd = peer("reset");
	T(write(fd, "x", 1));
	printf("ready %x\n", ready(fd, POLLIN));
	T(getsockopt(fd, SOL_SOCKET, SO_ERROR, &e, &len));
	printf("SO_ERROR %s\n", strerrorname_np(e));
	T(read(fd, buf, 10));
	T(write(fd, "x", 1));
	T(shutdown(fd, SHUT_WR));
	T(close(fd));
	fd = peer("reset");
	T(write(fd, "x", 1));
	T(read(fd, buf, 10));
	T(read(fd, buf, 10));
	T(close(fd));
}

static void bulk(void)
{
	int fd = peer("source 5000000"), file;
	long total = 0, n, sum = 0;
	off_t off = 1000;

	TITLE("bulk");
	while ((n = read(fd, buf, sizeof(buf))) > 0) {
		for (long i = 0; i < n; i++)
			sum += (unsigned char)buf[i] * ((total + i) % 7 + 1);
		total += n;
	}
	printf("%ld bytes, sum %ld\n", total, sum);
	close(fd);
	file = open("/tmp", O_TMPFILE | O_RDWR, 0600);
	memset(buf, 'f', sizeof(buf));
	T(write(file, buf, sizeof(buf)));
	fd = peer("count");
	T(sendfile(fd, file, &off, sizeof(buf)));
	T(off);
	T(lseek(file, 0, SEEK_SET));
	T(sendfile(fd, file, NULL, 500));
	T(lseek(file, 0, SEEK_CUR));
	T(sendfile(fd, fd, NULL, 500));
	T(shutdown(fd, SHUT_WR));
	n = slurp(fd, buf, 100);
	printf("counted %.*s\n", (int)n, buf);
	close(fd);
	close(file);
}

static void full(void)
{
	int fd = peer("hold"), sent = 0, go;
	ssize_t n;

	TITLE("a peer that does not read");
	T(fcntl(fd, F_SETFL, O_NONBLOCK));
	while ((n = write(fd, buf, sizeof(buf))) > 0)
		sent = 1;
	printf("sent some %d, then %s\n", sent, strerrorname_np(errno));
	printf("writable %d\n", !!(ready(fd, POLLIN) & POLLOUT));
	go = peer("go");
	printf("writable %d\n", ready(fd, POLLOUT) == POLLOUT);
	T(close(fd));
	T(close(go));
}

static void timeouts(void)
{
	struct timeval tv = {0, 100000};
	int fd = peer("delay 500 late"), l = listener(7300, 0);
	long long t = now_ms(), d;

	TITLE("timeouts");
	T(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	T(read(fd, buf, 10));
	d = now_ms() - t;
	printf("about 100 ms: %d\n", d >= 99 && d < 400);
	tv.tv_sec = 5;
	T(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	T(read(fd, buf, 10));
	T(close(fd));
	tv = (struct timeval){0, 50000};
	T(setsockopt(l, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	T(accept(l, NULL, NULL));
	T(close(l));
}

static void on_alarm(int sig)
{
	(void)sig;
}

static void signals(void)
{
	struct sigaction sa = {.sa_handler = on_alarm};
	struct pollfd p = {.events = POLLIN};
	int fd = peer("delay 300 x");

	TITLE("signals");
	sigaction(SIGUSR1, &sa, NULL);
	after_ms(50);
	T(read(fd, buf, 10));
	after_ms(50);
	p.fd = fd;
	T(poll(&p, 1, 2000));
	sa.sa_flags = SA_RESTART;
	sigaction(SIGUSR1, &sa, NULL);
	after_ms(50);
	T(read(fd, buf, 10));
	after_ms(50);
	T(poll(&p, 1, 2000));
	T(close(fd));
}

static volatile int told_sig, told_value;

static void on_info(int sig, siginfo_t *si, void *uc)
{
	told_sig = uc ? sig : 0;
	told_value = si->si_value.sival_int;
}

/* What a program sees of its handlers. */
static void handlers(void)
{
	struct sigaction sa = {.sa_flags = SA_SIGINFO | SA_RESETHAND}, got;
	union sigval v = {.sival_int = 77};

	TITLE("handlers");
	sa.sa_sigaction = on_info;
	T(sigaction(SIGUSR2, &sa, NULL));
	T(sigaction(SIGUSR2, NULL, &got));
	printf("its own %d, flags %x\n", got.sa_sigaction == on_info, got.sa_flags);
	T(sigqueue(getpid(), SIGUSR2, v));
	printf("signal %d, value %d\n", told_sig, told_value);
	T(sigaction(SIGUSR2, NULL, &got));
	printf("reset %d\n", got.sa_handler == SIG_DFL);
	printf("signal(): %d", signal(SIGUSR2, on_alarm) == SIG_DFL);
	printf(" %d", signal(SIGUSR2, SIG_IGN) == on_alarm);
	printf(" %d", signal(SIGUSR2, on_alarm) == SIG_IGN);
	printf(" %d\n", sysv_signal(SIGUSR2, SIG_DFL) == on_alarm);
	T(sigaction(SIGKILL, &sa, NULL));
	T(sigaction(1000, &sa, NULL));
	printf("signal(): %d\n", signal(0, on_alarm) == SIG_ERR);
}

static sigjmp_buf away;

static void leave(int sig)
{
	siglongjmp(away, sig);
}

/* Overwrites what a call that never returned had on the stack. */
static __attribute__((noinline)) int scribble(void)
{
	volatile char room[16384];

	for (size_t i = 0; i < sizeof(room); i++)
		room[i] = 0x55;
	return room[77];
}

/* As iperf3 ends: a handler jumps out of select(), then exit(). */
static void jumps(void)
{
	int st = -1;

	TITLE("longjmp() out of a blocked call, exit()");
	if (!fork()) {
		int l = listener(7301, 0);
		fd_set in;

		FD_ZERO(&in);
		FD_SET(l, &in);
		signal(SIGALRM, leave);
		ualarm(50000, 0);
		if (!sigsetjmp(away, 1))
			select(l + 1, &in, NULL, NULL, NULL);
		exit(scribble() == 0x55 ? 5 : 6);
	}
	T(wait(&st) > 0);
	printf("status %x\n", (unsigned)st);
}

static void stdio(void)
{
	int fd = peer("echo");
	FILE *f = fdopen(fd, "r+"), *o;
	char line[64];

	TITLE("stdio");
	T(fileno(f) == fd);
	T(fprintf(f, "hello %d\n", 42));
	T(fflush(f));
	T(fgets(line, sizeof(line), f) == line);
	printf("%s", line);
	T(dprintf(fd, "direct %s\n", "line"));
	T(fgets(line, sizeof(line), f) == line);
	printf("%s", line);
	T(shutdown(fd, SHUT_WR));
	T(fgetc(f));
	T(feof(f) != 0);
	T(fclose(f));
	T(fcntl(fd, F_GETFD));
	fd = peer("count");
	o = fdopen(dup(fd), "w");
	for (int i = 0; i < 10000; i++)
		fprintf(o, "%09d\n", i);
	T(fclose(o));
	T(shutdown(fd, SHUT_WR));
	T(slurp(fd, line, 10));
	printf("%.6s\n", line);
	T(close(fd));
}

static void passing(void)
{
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} u = {{0}};
	struct iovec iov = {(char *)"x", 1};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = u.buf,
			   .msg_controllen = sizeof(u.buf)};
	int pair[2], fd = peer("echo");
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	TITLE("descriptors in messages");
	T(socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	*c = (struct cmsghdr){CMSG_LEN(sizeof(int)), SOL_SOCKET, SCM_RIGHTS};
	memcpy(CMSG_DATA(c), &pair[0], sizeof(int));
	T(sendmsg(pair[0], &m, 0));
	T(sendmsg(fd, &m, 0)); /* TCP takes none */
	close(fd);
	close(pair[0]);
	close(pair[1]);
}

void run(void)
{
	signal(SIGPIPE, SIG_IGN);
	forms();
	ends();
	bulk();
	full();
	timeouts();
	signals();
	handlers();
	jumps();
	stdio();
	passing();
}
