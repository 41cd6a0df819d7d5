// SPDX-License-Identifier: BSD-2-Clause
/*
 * Talking to a daemon over its control socket (common/ctl.h): one request, one reply (text comes in
 * several messages). Every wait is bounded. The daemon's replies are checked like any input.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include "common/ctl.h"
#include "cli.h"

#define REPLY_SECONDS 20

int ask_open(const char *name, int *pid)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	struct timeval limit = {.tv_sec = REPLY_SECONDS};
	struct ucred cred;
	socklen_t len = sizeof(cred);
	int fd, err;

	if (snprintf(sa.sun_path, sizeof(sa.sun_path), CTL_RUN_DIR "/%s/" CTL_SOCKET_NAME, name) >=
	    (int)sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -errno;
	if (setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit)) ||
	    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) ||
	    connect(fd, (struct sockaddr *)&sa, sizeof(sa)) ||
	    getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len)) {
		err = -errno;
		close(fd);
		return err;
	}
	*pid = cred.pid;
	return fd;
}

static int send_request(int fd, uint16_t type)
{
	struct ctl_hdr h = {
		.magic = CTL_MAGIC, .version = CTL_VERSION, .type = type, .len = sizeof(h)};

	return send(fd, &h, sizeof(h), MSG_NOSIGNAL) == sizeof(h) ? 0 : -errno;
}

/* One message of at least @min bytes into @buf. Its length, or -errno. */
static int receive(int fd, void *buf, size_t size, size_t min, uint16_t type)
{
	struct ctl_hdr h;
	ssize_t n = recv(fd, buf, size, 0);

	if (n < 0)
		return errno == EAGAIN ? -ETIMEDOUT : -errno;
	if (n == 0)
		return -ECONNRESET;
	if ((size_t)n < sizeof(h))
		return -EBADMSG;
	memcpy(&h, buf, sizeof(h));
	if (h.magic != CTL_MAGIC)
		return -EBADMSG;
	if (h.version != CTL_VERSION)
		return -EPROTO;
	if (h.error)
		return h.error < 0 ? h.error : -EBADMSG;
	if (h.type != type || h.len != (size_t)n || (size_t)n < min)
		return -EBADMSG;
	return (int)n;
}

int ask_plain(int fd, uint16_t type)
{
	struct ctl_hdr h;
	int n = send_request(fd, type);

	if (!n)
		n = receive(fd, &h, sizeof(h), sizeof(h), type);
	return n < 0 ? n : 0;
}

int ask_json(int fd, uint16_t type, struct json_object **out)
{
	static union {
		struct ctl_text t;
		char bytes[CTL_MAX_MSG];
	} m;
	struct json_tokener *tok = json_tokener_new();
	struct json_object *o = NULL;
	int n = send_request(fd, type);

	while (!n) {
		n = receive(fd, &m, sizeof(m), sizeof(m.t), type);
		if (n < 0)
			break;
		o = json_tokener_parse_ex(tok, m.t.text, n - (int)sizeof(m.t));
		n = 0;
		if (!m.t.more)
			break;
		if (o || json_tokener_get_error(tok) != json_tokener_continue)
			n = -EBADMSG;
	}
	if (!n && !o)
		n = -EBADMSG;
	json_tokener_free(tok);
	if (n)
		json_object_put(o);
	else
		*out = o;
	return n;
}

/* The bytes of a reply as they come, cut into lines. */
struct lines {
	char *text; /* the beginning of a line that has not ended */
	size_t len, size;
	void (*line)(void *ctx, char *text);
	void *ctx;
};

static int lines_put(struct lines *l, const char *text, size_t n)
{
	while (n) {
		const char *end = memchr(text, '\n', n);
		size_t part = end ? (size_t)(end - text) : n;

		if (l->len + part >= l->size) {
			size_t size = 2 * (l->len + part) + 256;
			char *p = realloc(l->text, size);

			if (!p)
				return -ENOMEM;
			l->text = p;
			l->size = size;
		}
		memcpy(l->text + l->len, text, part);
		l->len += part;
		if (end) {
			l->text[l->len] = 0;
			l->line(l->ctx, l->text);
			l->len = 0;
			part++;
		}
		text += part;
		n -= part;
	}
	return 0;
}

static int receive_lines(int fd, uint16_t type, struct lines *l)
{
	static union {
		struct ctl_text t;
		char bytes[CTL_MAX_MSG];
	} m;
	int n = send_request(fd, type);

	while (!n) {
		n = receive(fd, &m, sizeof(m), sizeof(m.t), type);
		if (n < 0)
			break;
		n = lines_put(l, m.t.text, (size_t)n - sizeof(m.t));
		if (!m.t.more)
			break;
	}
	return n;
}

int ask_lines(const struct cli_args *a, const char *name, uint16_t type,
	      void (*line)(void *ctx, char *text), void *ctx)
{
	struct lines l = {.line = line, .ctx = ctx};
	int pid, fd = ask_open(name, &pid);
	int err = fd < 0 ? fd : receive_lines(fd, type, &l);

	if (fd >= 0)
		close(fd);
	free(l.text);
	return err ? cli_error(a, "%s: %s", name, ask_strerror(err)) : 0;
}

const char *ask_strerror(int err)
{
	switch (-err) {
	case ENOENT:
	case ECONNREFUSED:
		return "its daemon is not running; `tandem detach` clears up what it left";
	case EACCES:
		return "its control socket may not be opened by this user";
	case EPERM:
		return "that takes root";
	case ETIMEDOUT:
	case EAGAIN:
		return "its daemon does not answer";
	case EPROTO:
		return "its daemon is of another version than this command";
	case EBADMSG:
		return "its daemon sent a reply that is malformed";
	case ECONNRESET:
	case EPIPE:
		return "its daemon closed the connection";
	default:
		return strerror(-err);
	}
}

struct json_object *ask_once(const struct cli_args *a, const char *name, uint16_t type)
{
	struct json_object *o = NULL;
	int pid, fd = ask_open(name, &pid);
	int err = fd < 0 ? fd : ask_json(fd, type, &o);

	if (fd >= 0)
		close(fd);
	if (err)
		cli_error(a, "%s: %s", name, ask_strerror(err));
	return o;
}
