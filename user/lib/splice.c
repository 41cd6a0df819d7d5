// SPDX-License-Identifier: BSD-2-Clause
/*
 * splice(2) between a socket of ours and a pipe: by copies, as what goes through it is in packet memory
 * or has to get there. From either side no more is taken than the other has room for, so
 * that nothing is lost where a call ends early.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include "engine.h"
#include "calls.h"
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
	int fl = fcntl(fd, F_GETFL), size = fl < 0 ? -1 : fcntl(fd, F_GETPIPE_SZ);

	if (size < 0)
		return fl < 0 ? -EBADF : -EINVAL;
	if ((fl & O_ACCMODE) != access && (fl & O_ACCMODE) != O_RDWR)
		return -EBADF;
	*p = (struct pipe_end){.fd = fd,
			       .nonblock = flags & SPLICE_F_NONBLOCK || fl & O_NONBLOCK,
			       .size = (size_t)size};
	return 0;
}

/* With @wait for @events, if need be: those that hold, -errno. */
static int pipe_events(const struct pipe_end *p, short events, bool wait)
{
	struct pollfd pfd = {.fd = p->fd, .events = events};

	for (;;) {
		int r = tandem_poll(&pfd, 1, wait ? -1 : 0);

		if (r >= 0)
			return pfd.revents;
		if (errno != EINTR || !signals_restart())
			return -errno;
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
	int held, ev = pipe_events(p, POLLOUT, wait && !p->nonblock);

	if (ev < 0)
		return ev;
	if (ev & POLLERR)
		return broken();
	if (!(ev & POLLOUT))
		return -EAGAIN;
	return ioctl(p->fd, FIONREAD, &held) || held ? PAGE : (int64_t)p->size;
}

/* Bytes to read; waits for some. 0: its end, -EAGAIN. */
static int64_t pipe_held(const struct pipe_end *p, bool wait)
{
	int held, ev = pipe_events(p, POLLIN, wait && !p->nonblock);

	if (ev < 0)
		return ev;
	if (ioctl(p->fd, FIONREAD, &held))
		return -errno;
	return held || ev & POLLHUP ? held : -EAGAIN;
}

/* Blocks only where somebody else has filled it since pipe_room(). */
static int fill_pipe(const struct pipe_end *p, const uint8_t *buf, size_t n)
{
	while (n) {
		ssize_t r = write(p->fd, buf, n);

		if (r < 0 && errno == EAGAIN)
			pipe_events(p, POLLOUT, true);
		else if (r < 0 && errno != EINTR)
			return -errno;
		buf += r > 0 ? r : 0;
		n -= r > 0 ? (size_t)r : 0;
	}
	return 0;
}

/* Blocks only where another thread has filled the buffer since send_room_wait(). */
static int fill_socket(int fd, const uint8_t *buf, size_t n, int flags)
{
	struct pollfd pfd = {.fd = fd, .events = POLLOUT};

	while (n) {
		ssize_t r = tandem_send(fd, buf, n, flags);

		if (r < 0 && errno == EAGAIN)
			tandem_poll(&pfd, 1, -1);
		else if (r < 0 && errno != EINTR)
			return -errno;
		buf += r > 0 ? r : 0;
		n -= r > 0 ? (size_t)r : 0;
	}
	return 0;
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

static int64_t to_pipe(int fd, const struct pipe_end *p, uint8_t *buf, int64_t n)
{
	int64_t done = 0, r = 0;

	while (done < n) {
		r = pipe_room(p, !done);
		if (r <= 0)
			break;
		r = tandem_recv(fd, buf, (size_t)least(least(r, n - done), CHUNK),
				done ? MSG_DONTWAIT : 0);
		if (r <= 0) {
			r = r ? -errno : 0;
			break;
		}
		done += r;
		r = fill_pipe(p, buf, (size_t)r);
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

		r = held > 0 ? send_room_wait(fd, !done) : held;
		if (r <= 0)
			break;
		got = read(p->fd, buf, (size_t)least(least(r, held), least(n - done, CHUNK)));
		if (got <= 0) {
			r = got ? -errno : 0;
			break;
		}
		r = fill_socket(fd, buf, (size_t)got, flags);
		if (r)
			break;
		done += got;
	}
	return done ? done : r;
}

ssize_t lib_splice(int fd, int pipe, bool out, size_t n, unsigned flags)
{
	struct pipe_end p;
	int64_t r = pipe_open(&p, pipe, out ? O_RDONLY : O_WRONLY, flags);
	uint8_t *buf;

	if (!r) {
		n = n < INT64_MAX ? n : INT64_MAX;
		buf = malloc(n < CHUNK ? n : CHUNK);
		if (!buf)
			r = -ENOMEM;
		else if (out)
			r = to_socket(fd, &p, buf, (int64_t)n, flags & SPLICE_F_MORE ? MSG_MORE : 0);
		else
			r = to_pipe(fd, &p, buf, (int64_t)n);
		free(buf);
	}
	if (r < 0)
		errno = (int)-r;
	return r < 0 ? -1 : (ssize_t)r;
}
