// SPDX-License-Identifier: BSD-2-Clause
/*
 * splice(2) between a connection and a pipe: by copies, as what goes through it is in packet memory
 * or has to get there. From either side no more is taken than the other has room for. Where
 * somebody else takes that room meanwhile, what was taken waits for more, which nothing ends but
 * the connection's or the pipe's end.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include "engine.h"
#include "calls.h"
#include "sandbox.h"
#include "shim.h"

#define CHUNK (64u << 10)
#define PAGE 4096u /* a pipe that is writable has room for one */

struct pipe_end {
	int fd;
	bool nonblock;
	size_t size;
};

static int pipe_open(struct pipe_end *p, int fd, int access, unsigned flags)
{
	int fl, size;

	if (eng.forbidden & SANDBOX_NO_FCNTL)
		return -EINVAL;
	fl = fcntl(fd, F_GETFL);
	size = fl < 0 ? -1 : fcntl(fd, F_GETPIPE_SZ);
	if (size < 0)
		return fl < 0 ? -EBADF : -EINVAL;
	if ((fl & O_ACCMODE) != access && (fl & O_ACCMODE) != O_RDWR)
		return -EBADF;
	/* What does not take all of a packet loses the rest (pipe(2)). */
	if (access == O_RDONLY && fl & O_DIRECT)
		return -EINVAL;
	*p = (struct pipe_end){.fd = fd,
			       .nonblock = flags & SPLICE_F_NONBLOCK || fl & O_NONBLOCK,
			       .size = (size_t)size};
	return 0;
}

/* Which of @events hold, POLLERR and POLLHUP included; -errno. */
static int pipe_look(const struct pipe_end *p, short events)
{
	struct pollfd pfd = {.fd = p->fd, .events = events};
	int r = sandbox_poll(&pfd, 1, &(const struct timespec){0}, NULL);

	if (r < 0 && errno != EINTR)
		return -errno;
	return r > 0 && pfd.revents & POLLNVAL ? -EBADF : r > 0 ? pfd.revents : 0;
}

/* Sleeps until one of @events holds, or its end; the engine is run meanwhile. */
static int pipe_sleep(const struct pipe_end *p, short events)
{
	struct pollfd pfd = {.fd = p->fd, .events = events};
	struct waiter w = WAITER_INIT;
	int r = eng_enter_up();

	if (!r)
		r = wait_error(waiter_sleep(&w, MTIME_NEVER, &pfd, 1), 0, -EAGAIN);
	r = (int)call_end(NULL, r);
	return r ? -errno : 0;
}

/* The same, and then which; @wait: there is time. -EAGAIN */
static int pipe_events(const struct pipe_end *p, short events, bool wait)
{
	for (;;) {
		int ev = pipe_look(p, events), r;

		if (ev || p->nonblock || !wait)
			return ev ? ev : -EAGAIN;
		r = pipe_sleep(p, events);
		if (r)
			return r;
	}
}

static int broken(void)
{
	raise(SIGPIPE);
	return -EPIPE;
}

/* Bytes that can be written without blocking; waits for some, -EAGAIN. */
static int64_t pipe_room(const struct pipe_end *p, bool wait)
{
	int held, ev = pipe_events(p, POLLOUT, wait);

	if (ev < 0)
		return ev;
	if (ev & POLLERR)
		return broken();
	return ioctl(p->fd, FIONREAD, &held) || held ? PAGE : (int64_t)p->size;
}

/* Bytes to read; waits for some. 0: its end, -EAGAIN. */
static int64_t pipe_held(const struct pipe_end *p, bool wait)
{
	for (;;) {
		int held, ev = pipe_events(p, POLLIN, wait);

		if (ev < 0)
			return ev;
		if (ioctl(p->fd, FIONREAD, &held))
			return -errno;
		if (held || ev & POLLHUP)
			return held;
		/* Somebody else has read it. */
		if (p->nonblock || !wait)
			return -EAGAIN;
	}
}

static int fill_pipe(const struct pipe_end *p, const uint8_t *buf, size_t n)
{
	int err = 0;

	while (n && !err) {
		ssize_t r = write(p->fd, buf, n);

		if (r < 0 && errno == EAGAIN)
			err = pipe_sleep(p, POLLOUT);
		else if (r < 0)
			err = -errno;
		err = err == -EINTR ? 0 : err;
		buf += r > 0 ? r : 0;
		n -= r > 0 ? (size_t)r : 0;
	}
	return err;
}

static int fill_socket(int fd, const uint8_t *buf, size_t n, int flags)
{
	int64_t err = 0;

	while (n && err >= 0) {
		ssize_t r = tandem_send(fd, buf, n, flags | MSG_DONTWAIT);

		if (r < 0 && (errno == EAGAIN || errno == EINPROGRESS))
			err = send_room_wait(fd, ROOM_SURELY);
		else if (r < 0)
			err = -errno;
		err = err == -EINTR ? 0 : err;
		buf += r > 0 ? r : 0;
		n -= r > 0 ? (size_t)r : 0;
	}
	return err < 0 ? (int)err : 0;
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* An error that comes after data is for the next call. */
static void keep_error(int fd, int err)
{
	int no;
	struct sock *sk = call_sock(fd, &no);

	if (!no)
		sk->err = (uint8_t)err;
	call_end(sk, no);
}

static int64_t to_pipe(int fd, const struct pipe_end *p, uint8_t *buf, int64_t n)
{
	int64_t done = 0, r = 0;

	while (done < n) {
		bool could;

		r = pipe_room(p, !done);
		if (r <= 0)
			break;
		r = tandem_recv(fd, buf, (size_t)least(least(r, n - done), CHUNK),
				done ? MSG_DONTWAIT : 0);
		r = r < 0 ? -errno : r;
		if (r < 0 && r != -EAGAIN && done)
			keep_error(fd, (int)-r);
		if (r <= 0)
			break;
		done += r;
		could = cancel_off();
		r = fill_pipe(p, buf, (size_t)r);
		cancel_as_before(could);
		if (r)
			break;
	}
	return done ? done : r;
}

static int64_t to_socket(int fd, const struct pipe_end *p, uint8_t *buf, int64_t n, int flags)
{
	int64_t done = 0, r = 0;

	while (done < n) {
		int64_t held = pipe_held(p, !done), got;
		bool could;

		r = held > 0 ? send_room_wait(fd, done ? ROOM_NOW : ROOM_AS_SEND) : held;
		if (r <= 0)
			break;
		got = read(p->fd, buf, (size_t)least(least(r, held), least(n - done, CHUNK)));
		if (got <= 0) {
			r = got ? -errno : 0;
			break;
		}
		could = cancel_off();
		r = fill_socket(fd, buf, (size_t)got, flags);
		cancel_as_before(could);
		if (r)
			break;
		done += got;
	}
	return done ? done : r;
}

static int check_socket(int fd)
{
	int err;
	struct sock *sk = call_sock(fd, &err);

	if (!err && sk->state == SK_UDP)
		err = -EINVAL; /* where datagrams begin and end would be lost */
	return call_end(sk, err) ? -errno : 0;
}

ssize_t lib_splice(int fd, int pipe, bool out, size_t n, unsigned flags)
{
	int64_t r = check_socket(fd);
	struct pipe_end p = {0};
	uint8_t *buf = NULL;

	n = n < INT64_MAX ? n : INT64_MAX;
	if (!r)
		r = pipe_open(&p, pipe, out ? O_RDONLY : O_WRONLY, flags);
	if (!r && !(buf = malloc(n < CHUNK ? n : CHUNK)))
		r = -ENOMEM;
	if (!r && out)
		r = to_socket(fd, &p, buf, (int64_t)n, flags & SPLICE_F_MORE ? MSG_MORE : 0);
	else if (!r)
		r = to_pipe(fd, &p, buf, (int64_t)n);
	free(buf);
	if (r < 0)
		errno = (int)-r;
	return r < 0 ? -1 : (ssize_t)r;
}
