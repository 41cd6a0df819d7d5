// SPDX-License-Identifier: BSD-2-Clause
/* splice(2) between sockets and pipes: what it moves, when it waits, what it refuses. */
#include "app.h"

static char buf[1 << 20], back[1 << 20];

struct mover {
	int in, out;
	long moved;
};

static void fill(char *p, size_t n)
{
	for (size_t i = 0; i < n; i++)
		p[i] = (char)(i * 7 + i / 251);
}

static void refused(void)
{
	int fd = peer("echo"), fresh = socket(AF_INET, SOCK_STREAM, 0), l = listener(7400, 0);
	int file = open("/tmp", O_TMPFILE | O_RDWR, 0600), p[2];
	loff_t off = 0;

	TITLE("refused");
	signal(SIGPIPE, SIG_IGN);
	if (pipe(p))
		return;
	T(splice(fd, NULL, fd, NULL, 10, 0));
	T(splice(fd, NULL, file, NULL, 10, 0));
	T(splice(file, NULL, fd, NULL, 10, 0));
	T(splice(fd, NULL, -1, NULL, 10, 0));
	T(splice(-1, NULL, fd, NULL, 10, 0));
	T(splice(fd, NULL, p[1], NULL, 0, 0));
	T(splice(fd, NULL, p[1], NULL, 10, 0x100));
	T(splice(fd, NULL, p[0], NULL, 10, 0)); /* the end that reads */
	T(splice(p[1], NULL, fd, NULL, 10, 0));
	T(splice(fd, &off, p[1], NULL, 10, 0));
	T(splice(fd, NULL, p[1], &off, 10, 0));
	T(splice(p[0], &off, fd, NULL, 10, 0));
	T(splice(p[0], NULL, fd, &off, 10, 0));
	T(splice(fresh, NULL, p[1], NULL, 10, 0));
	T(splice(l, NULL, p[1], NULL, 10, 0));
	T(write(p[1], "lost?", 5));
	T(splice(p[0], NULL, fresh, NULL, 10, 0));
	T(splice(p[0], NULL, l, NULL, 10, 0));
	T(read(p[0], buf, 10)); /* no: still there */
	T(close(p[0]));
	T(write(fd, "x", 1));
	ready(fd, POLLIN);
	T(splice(fd, NULL, p[1], NULL, 10, 0)); /* nobody reads it */
	T(read(fd, buf, 10));
	T(close(p[1]));
	T(close(fd));
	T(close(fresh));
	T(close(l));
	T(close(file));
}

static void small(void)
{
	int fd = peer("echo"), p[2];

	TITLE("small");
	if (pipe(p))
		return;
	T(fcntl(fd, F_SETFL, O_NONBLOCK));
	T(splice(fd, NULL, p[1], NULL, 100, 0));
	T(splice(p[0], NULL, fd, NULL, 100, SPLICE_F_NONBLOCK));
	T(write(p[1], "abcdef", 6));
	T(splice(p[0], NULL, fd, NULL, 4, 0));
	T(splice(p[0], NULL, fd, NULL, 100, SPLICE_F_MOVE));
	T(fcntl(fd, F_SETFL, 0));
	T(recv(fd, buf, 6, MSG_PEEK | MSG_WAITALL));
	T(splice(fd, NULL, p[1], NULL, 5, 0));
	T(splice(fd, NULL, p[1], NULL, 100, SPLICE_F_NONBLOCK));
	T(read(p[0], buf, 100));
	printf("%.6s\n", buf);
	T(fcntl(p[0], F_SETFL, O_NONBLOCK));
	T(splice(p[0], NULL, fd, NULL, 100, 0));
	T(close(p[1]));
	T(splice(p[0], NULL, fd, NULL, 100, 0)); /* the end of the pipe */
	T(close(p[0]));
	T(close(fd));
	fd = peer("bye");
	if (pipe(p))
		return;
	T(ready(fd, POLLIN));
	recv(fd, buf, 3, MSG_PEEK | MSG_WAITALL);
	T(splice(fd, NULL, p[1], NULL, 100, 0));
	ready(fd, POLLIN);
	T(splice(fd, NULL, p[1], NULL, 100, 0)); /* the end of the data */
	T(shutdown(fd, SHUT_WR));
	T(splice(p[0], NULL, fd, NULL, 100, 0));
	T(close(fd));
	T(close(p[0]));
	T(close(p[1]));
}

static void timeouts(void)
{
	struct timeval tv = {0, 100000};
	int fd = peer("delay 1500 late"), p[2];

	TITLE("timeouts");
	if (pipe(p))
		return;
	T(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	T(splice(fd, NULL, p[1], NULL, 100, 0));
	tv.tv_sec = 5;
	T(setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)));
	T(splice(fd, NULL, p[1], NULL, 100, 0));
	T(read(p[0], buf, 100));
	T(close(fd));
	T(close(p[0]));
	T(close(p[1]));
}

/* What ends a connection is told after what came before it, once. */
static void reset_after_data(void)
{
	int l = listener(7401, 0), go = peer("connect 7401 1 abort"), fd, p[2];

	TITLE("data, then a reset");
	if (pipe(p))
		return;
	fd = accept(l, NULL, NULL);
	T(ready(fd, 0) & POLLERR);
	T(splice(fd, NULL, p[1], NULL, 100, 0));
	T(splice(fd, NULL, p[1], NULL, 100, 0));
	T(splice(fd, NULL, p[1], NULL, 100, 0));
	T(splice(p[0], NULL, fd, NULL, 100, 0));
	T(read(p[0], buf, 100)); /* no: still there */
	T(close(fd));
	T(close(go));
	T(close(l));
	T(close(p[0]));
	T(close(p[1]));
}

static void on_signal(int sig)
{
	(void)sig;
}

static void signals(void)
{
	struct sigaction sa = {.sa_handler = on_signal};
	int fd = peer("delay 700 x"), p[2];

	TITLE("signals");
	if (pipe(p))
		return;
	sigaction(SIGUSR1, &sa, NULL);
	after_ms(50);
	T(splice(fd, NULL, p[1], NULL, 100, 0));
	after_ms(50);
	T(splice(p[0], NULL, fd, NULL, 100, 0));
	sa.sa_flags = SA_RESTART;
	sigaction(SIGUSR1, &sa, NULL);
	after_ms(50);
	T(splice(fd, NULL, p[1], NULL, 100, 0));
	T(close(fd));
	T(close(p[0]));
	T(close(p[1]));
}

static void *splicing(void *arg)
{
	struct mover *m = arg;

	splice(m->in, NULL, m->out, NULL, 100, 0);
	return NULL;
}

/* Of a thread that waits for the pipe, and one that waits for the socket. */
static void cancelled(void)
{
	int fd = peer("echo"), p[2], q[2];
	struct mover m[2];

	TITLE("cancelled");
	if (pipe(p) || pipe(q))
		return;
	m[0] = (struct mover){p[0], fd, 0};
	m[1] = (struct mover){fd, q[1], 0};
	for (int i = 0; i < 2; i++) {
		pthread_t t;
		void *r;

		pthread_create(&t, NULL, splicing, &m[i]);
		usleep(20000); /* it waits, most likely */
		T(pthread_cancel(t));
		T(pthread_join(t, &r));
		printf("cancelled %d\n", r == PTHREAD_CANCELED);
	}
	T(write(p[1], "on", 2));
	T(splice(p[0], NULL, fd, NULL, 100, 0));
	T(splice(fd, NULL, q[1], NULL, 100, 0));
	T(close(fd));
	for (int i = 0; i < 2; i++) {
		close(p[i]);
		close(q[i]);
	}
}

/* A full pipe takes nothing, and what was to go there is still in the socket. */
static void full(void)
{
	int fd = peer("source 1000"), p[2];
	ssize_t n;

	TITLE("a full pipe");
	if (pipe2(p, O_NONBLOCK))
		return;
	while ((n = write(p[1], buf, 4096)) > 0)
		;
	recv(fd, buf, 1000, MSG_PEEK | MSG_WAITALL);
	T(splice(fd, NULL, p[1], NULL, 1000, 0));
	T(fcntl(p[1], F_SETFL, 0));
	T(splice(fd, NULL, p[1], NULL, 1000, SPLICE_F_NONBLOCK));
	T(read(p[0], back, 8192));
	T(splice(fd, NULL, p[1], NULL, 1000, 0));
	T(recv(fd, buf, 1000, 0));
	T(close(fd));
	T(close(p[0]));
	T(close(p[1]));
}

/* A peer that does not read: what the socket has no room for stays in the pipe. */
static void stuck(void)
{
	int fd = peer("hold"), p[2], go, held = 0;
	ssize_t n;

	TITLE("a peer that does not read");
	if (pipe(p))
		return;
	T(fcntl(fd, F_SETFL, O_NONBLOCK));
	while ((n = write(fd, buf, sizeof(buf))) > 0)
		;
	T(write(p[1], "waits", 5));
	do { /* the kernel grows its buffer meanwhile */
		n = splice(p[0], NULL, fd, NULL, 100, 0);
		if (n > 0 && write(p[1], "waits", 5) != 5)
			break;
	} while (n > 0);
	printf("%s\n", strerrorname_np(errno));
	T(ioctl(p[0], FIONREAD, &held));
	T(held);
	go = peer("go");
	T(ready(fd, POLLOUT) == POLLOUT);
	T(splice(p[0], NULL, fd, NULL, 100, 0));
	T(close(fd));
	T(close(go));
	T(close(p[0]));
	T(close(p[1]));
}

/* As a proxy does: all that comes, to the end. */
static void *move_all(void *arg)
{
	struct mover *m = arg;
	ssize_t n;

	/* The kernel keeps others from the pipe while it waits for the socket: not without data there. */
	while (ready(m->in, POLLIN) && ready(m->out, POLLOUT) &&
	       ((n = splice(m->in, NULL, m->out, NULL, 1 << 20, SPLICE_F_MOVE)) > 0 ||
		(n < 0 && errno == EAGAIN)))
		m->moved += n > 0 ? n : 0;
	close(m->out);
	return NULL;
}

static void proxied(void)
{
	int a = peer("source 5000000"), b = peer("count"), p[2];
	struct mover in, out;
	pthread_t t;
	long n;

	TITLE("from one connection to another");
	if (pipe(p))
		return;
	in = (struct mover){a, p[1], 0};
	out = (struct mover){p[0], dup(b), 0};
	pthread_create(&t, NULL, move_all, &in);
	move_all(&out);
	pthread_join(t, NULL);
	printf("%ld in, %ld out\n", in.moved, out.moved);
	shutdown(b, SHUT_WR);
	n = slurp(b, buf, 100);
	printf("counted %.*s\n", (int)n, buf);
	close(a);
	close(b);
	close(p[0]);
}

static void echoed(void)
{
	int fd = peer("echo"), to[2], from[2];
	struct mover out, in;
	pthread_t t, u;
	size_t got = 0;
	ssize_t n;

	TITLE("there and back");
	if (pipe(to) || pipe(from))
		return;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	fill(buf, sizeof(buf));
	out = (struct mover){to[0], dup(fd), 0};
	in = (struct mover){fd, from[1], 0};
	pthread_create(&t, NULL, move_all, &out);
	pthread_create(&u, NULL, move_all, &in);
	fcntl(to[1], F_SETFL, O_NONBLOCK);
	fcntl(from[0], F_SETFL, O_NONBLOCK);
	for (size_t put = 0; got < sizeof(buf);) {
		struct pollfd f[2] = {{put < sizeof(buf) ? to[1] : -1, POLLOUT, 0},
				      {from[0], POLLIN, 0}};

		if (poll(f, 2, 20000) <= 0)
			break;
		if (f[0].revents && (n = write(to[1], buf + put, sizeof(buf) - put)) > 0)
			put += (size_t)n;
		if (f[1].revents && (n = read(from[0], back + got, sizeof(back) - got)) > 0)
			got += (size_t)n;
	}
	close(to[1]);
	pthread_join(t, NULL);
	shutdown(fd, SHUT_WR);
	pthread_join(u, NULL);
	printf("%zu bytes, as sent %d\n", got, !memcmp(buf, back, got));
	close(fd);
	close(to[0]);
	close(from[0]);
}

void run(void)
{
	refused();
	small();
	timeouts();
	reset_after_data();
	signals();
	cancelled();
	full();
	stuck();
	proxied();
	echoed();
}
