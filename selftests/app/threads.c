// SPDX-License-Identifier: BSD-2-Clause
/* Threads that block in one socket or epoll instance, and others that do things to it. */
#include "app.h"

static char buf[256];
static int ep, fd, l;
static pthread_barrier_t barrier;

/* Long enough for the other thread to be in its call; if it is not, the outcome is the same. */
static void let_it_block(void)
{
	usleep(50000);
}

static void *waiter(void *arg)
{
	struct epoll_event ev = {0};
	long n;

	(void)arg;
	pthread_barrier_wait(&barrier);
	n = epoll_wait(ep, &ev, 1, 5000);
	return (void *)(n > 0 ? (long)ev.data.u64 : n);
}

static void add_while_waiting(void)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = 77};
	pthread_t t;
	void *r;

	TITLE("the first socket is added while a thread waits");
	ep = epoll_create1(0);
	fd = peer("echo");
	pthread_create(&t, NULL, waiter, NULL);
	pthread_barrier_wait(&barrier);
	let_it_block();
	T(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	T(write(fd, "x", 1));
	pthread_join(t, &r);
	T((long)r);
	T(read(fd, buf, 10));

	TITLE("a modification wakes it");
	ev.events = 0;
	T(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev));
	T(write(fd, "x", 1));
	ready(fd, POLLIN);
	pthread_create(&t, NULL, waiter, NULL);
	pthread_barrier_wait(&barrier);
	let_it_block();
	ev.events = EPOLLIN;
	ev.data.u64 = 78;
	T(epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ev));
	pthread_join(t, &r);
	T((long)r);
	close(fd);
	close(ep);
}

static void *acceptor(void *arg)
{
	int c = accept(l, NULL, NULL);
	long n;

	(void)arg;
	if (c < 0)
		return (void *)-1l;
	n = slurp(c, (char[8]){0}, 5);
	close(c);
	return (void *)n;
}

static void acceptors(void)
{
	pthread_t t[4];
	long sum = 0;
	int ctl;

	TITLE("four threads in accept");
	l = listener(7500, 0);
	for (int i = 0; i < 4; i++)
		pthread_create(&t[i], NULL, acceptor, NULL);
	let_it_block();
	ctl = peer("connect 7500 4 hello");
	for (int i = 0; i < 4; i++) {
		void *r;

		pthread_join(t[i], &r);
		sum += (long)r;
	}
	T(sum);
	close(ctl);
	close(l);
}

static void *reader(void *arg)
{
	char one[16];

	(void)arg;
	return (void *)(long)read(fd, one, sizeof(one));
}

static void shut_while_reading(void)
{
	pthread_t t;
	void *r;

	TITLE("shutdown wakes a reader");
	fd = peer("echo");
	pthread_create(&t, NULL, reader, NULL);
	let_it_block();
	T(shutdown(fd, SHUT_RDWR));
	pthread_join(t, &r);
	T((long)r);
	close(fd);

	TITLE("shutdown wakes accept");
	l = listener(7501, 0);
	pthread_create(&t, NULL, acceptor, NULL);
	let_it_block();
	T(shutdown(l, SHUT_RD));
	pthread_join(t, &r);
	T((long)r);
	close(l);
}

static void in_recv(void)
{
	recv(fd, buf, 10, 0);
}

static void in_accept(void)
{
	accept(l, NULL, NULL);
}

static void in_poll(void)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};

	poll(&p, 1, 20000);
}

static void in_select(void)
{
	struct timeval tv = {.tv_sec = 20};
	fd_set in;

	FD_ZERO(&in);
	FD_SET(fd, &in);
	select(fd + 1, &in, NULL, NULL, &tv);
}

static void in_epoll_wait(void)
{
	struct epoll_event ev;

	epoll_wait(ep, &ev, 1, 20000);
}

/* Some of it goes: a call that has done something is no place to be cancelled. */
static void in_send(void)
{
	static char much[1 << 20];

	for (;;)
		send(fd, much, sizeof(much), 0);
}

static void cleanup(void *arg)
{
	++*(int *)arg;
}

static int state, cleaned;

static void *cancellable(void *arg)
{
	pthread_setcancelstate(state, NULL);
	pthread_cleanup_push(cleanup, &cleaned);
	pthread_barrier_wait(&barrier);
	((void (*)(void))arg)();
	pthread_cleanup_pop(0);
	return (void *)7;
}

static void cancel(void (*call)(void))
{
	struct timespec end;
	pthread_t t;
	void *r = NULL;

	cleaned = 0;
	pthread_create(&t, NULL, cancellable, (void *)call);
	pthread_barrier_wait(&barrier);
	let_it_block();
	T(pthread_cancel(t));
	clock_gettime(CLOCK_REALTIME, &end);
	end.tv_sec += 5;
	T(pthread_timedjoin_np(t, &r, &end));
	T(r == PTHREAD_CANCELED);
	T(cleaned);
}

/* While it is on its way into the call, spins, or sleeps. */
static int at_any_time(void)
{
	int ended = 0;

	for (int i = 0; i < 300; i++) {
		struct timespec end, in = {.tv_nsec = i * 1000};
		pthread_t t;

		for (int n = 0; n < 20; n++) /* answers come soon: to spin pays */
			if (write(fd, "x", 1) != 1 || slurp(fd, buf, 1) != 1)
				return -1;
		pthread_create(&t, NULL, cancellable, (void *)in_recv);
		pthread_barrier_wait(&barrier);
		nanosleep(&in, NULL);
		pthread_cancel(t);
		clock_gettime(CLOCK_REALTIME, &end);
		end.tv_sec += 5;
		if (pthread_timedjoin_np(t, NULL, &end))
			break;
		ended++;
	}
	return ended;
}

static void cancelled(void)
{
	struct epoll_event ev = {.events = EPOLLIN};
	pthread_t t;
	void *r;

	TITLE("pthread_cancel() of a thread that waits");
	fd = peer("echo");
	l = listener(7501, 0);
	ep = epoll_create1(0);
	T(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	cancel(in_recv);
	cancel(in_accept);
	cancel(in_poll);
	cancel(in_select);
	cancel(in_epoll_wait);
	T(write(fd, "hello", 5));
	T(slurp(fd, buf, 5));
	close(l);
	close(ep);
	close(fd);

	TITLE("... at any time");
	fd = peer("echo");
	T(at_any_time());
	close(fd);

	TITLE("... which does not want that");
	fd = peer("echo");
	state = PTHREAD_CANCEL_DISABLE;
	pthread_create(&t, NULL, cancellable, (void *)in_recv);
	pthread_barrier_wait(&barrier);
	let_it_block();
	T(pthread_cancel(t));
	let_it_block();
	T(write(fd, "x", 1));
	pthread_join(t, &r);
	T((long)r);
	state = PTHREAD_CANCEL_ENABLE;
	close(fd);

	TITLE("... in send()");
	fd = peer("hold");
	cancel(in_send);
	close(peer("go"));
	close(fd);
}

/* Both directions of 32 connections at once, a thread for each. */
static void *echoes(void *arg)
{
	int c = peer("echo");
	char out[1000], in[1000];
	long good = 0;

	memset(out, (int)(long)arg, sizeof(out));
	for (int i = 0; i < 100; i++) {
		if (write(c, out, sizeof(out)) == sizeof(out) &&
		    slurp(c, in, sizeof(in)) == sizeof(in) && !memcmp(in, out, sizeof(in)))
			good++;
	}
	close(c);
	return (void *)good;
}

static void many(void)
{
	pthread_t t[32];
	long sum = 0;

	TITLE("32 threads");
	for (long i = 0; i < 32; i++)
		pthread_create(&t[i], NULL, echoes, (void *)(i + 1));
	for (int i = 0; i < 32; i++) {
		void *r;

		pthread_join(t[i], &r);
		sum += (long)r;
	}
	T(sum);
}

void run(void)
{
	signal(SIGPIPE, SIG_IGN);
	pthread_barrier_init(&barrier, NULL, 2);
	add_while_waiting();
	acceptors();
	shut_while_reading();
	cancelled();
	many();
}
