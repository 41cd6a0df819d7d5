// SPDX-License-Identifier: BSD-2-Clause
/*
 * The control socket's server side (common/ctl.h). A client has one request at a time; while its
 * reply has not gone out it is not listened to, and if it does not read that within some seconds
 * it is dropped. An application lives as long as its connection here.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "daemon.h"
#include "report.h"

#define MAX_CLIENTS (TD_MAX_SLOTS + 256u)
#define READ_NS (10 * NS_PER_S)
#define MAX_FDS CTL_REG_MAX_FDS

struct client {
	struct watch w; /* first: a watch is its client */
	struct client *next;
	pid_t pid;
	uid_t uid;
	struct app *app;
	struct report *report; /* on its way out */
	struct mtime until;    /* of that */
	int fd, twin;	       /* that came with the request, -1; .twin: CTL_LISTEN_HAS_TWIN */
	bool ended;	       /* to be freed when no event can name it any more */
};

/* ---- messages ---- */

static size_t size_of(uint16_t type)
{
	switch (type) {
	case CTL_REGISTER:
		return sizeof(struct ctl_register);
	case CTL_LISTEN:
	case CTL_UNLISTEN:
	case CTL_BACKLOG:
	case CTL_BIND:
	case CTL_UNBIND:
	case CTL_FASTOPEN:
	case CTL_FASTOPEN_KEY:
		return sizeof(struct ctl_listen);
	case CTL_STATUS:
	case CTL_STAT:
	case CTL_SS:
	case CTL_SS_BRIEF:
	case CTL_DETACH:
		return sizeof(struct ctl_hdr);
	case CTL_SHARE:
		return sizeof(struct ctl_share);
	case CTL_TAKE:
		return sizeof(struct ctl_take);
	default:
		return 0;
	}
}

int ctl_check(const void *msg, size_t len, struct ctl_hdr *h)
{
	if (len < sizeof(*h))
		return -EBADMSG;
	memcpy(h, msg, sizeof(*h));
	if (h->magic != CTL_MAGIC)
		return -EBADMSG;
	if (h->version != CTL_VERSION)
		return -EPROTO;
	if (h->len != len || len != size_of(h->type))
		return -EINVAL;
	return 0;
}

static struct ctl_hdr reply_hdr(uint16_t type, int err, size_t len)
{
	return (struct ctl_hdr){.magic = CTL_MAGIC,
				.version = CTL_VERSION,
				.type = type,
				.error = err,
				.len = (uint32_t)len};
}

static void end_client(struct daemon *d, struct client *c)
{
	struct app *a = c->app;

	if (c->ended)
		return;
	c->ended = true;
	c->app = NULL;
	watch_del(d, &c->w);
	if (d->detach_for == c)
		d->detach_for = NULL;
	if (a)
		app_gone(d, a);
}

/* A reply goes out whole or the client is not reading, which it has no excuse for. */
static void send_reply(struct daemon *d, struct client *c, const void *msg, size_t len)
{
	if (send(c->w.fd, msg, len, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)len)
		end_client(d, c);
}

static void send_plain(struct daemon *d, struct client *c, uint16_t type, int err)
{
	struct ctl_hdr h = reply_hdr(type, err, sizeof(h));

	send_reply(d, c, &h, sizeof(h));
}

/* ---- registration ---- */

/* A reply with descriptors, which stay ours to close. */
static void send_fds(struct daemon *d, struct client *c, void *msg, size_t len, const int *fds,
		     uint32_t n)
{
	union {
		char buf[CMSG_SPACE(MAX_FDS * sizeof(int))];
		struct cmsghdr align;
	} cm = {0};
	struct iovec iov = {msg, len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1, .msg_control = cm.buf};
	struct cmsghdr *cmsg;

	m.msg_controllen = CMSG_SPACE(n * sizeof(int));
	cmsg = CMSG_FIRSTHDR(&m);
	cmsg->cmsg_level = SOL_SOCKET;
	cmsg->cmsg_type = SCM_RIGHTS;
	cmsg->cmsg_len = CMSG_LEN(n * sizeof(int));
	memcpy(CMSG_DATA(cmsg), fds, n * sizeof(int));
	if (sendmsg(c->w.fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL) != (ssize_t)len) {
		log_warn("cannot hand descriptors to process %d: %s", (int)c->pid, strerror(errno));
		end_client(d, c);
	}
}

static void send_with_twin(struct daemon *d, struct client *c, void *msg, size_t len, int twin)
{
	if (twin >= 0)
		send_fds(d, c, msg, len, &twin, 1);
	else
		send_reply(d, c, msg, len);
}

static void send_registration(struct daemon *d, struct client *c)
{
	struct ctl_register_reply r = {0};
	int fds[MAX_FDS];
	uint32_t n;

	r.hdr = reply_hdr(CTL_REGISTER, 0, sizeof(r));
	n = app_reply(d, c->app, &r, fds);
	send_fds(d, c, &r, sizeof(r), fds, n);
}

static void on_register(struct daemon *d, struct client *c, const void *msg)
{
	struct ctl_register req;
	struct app *a = NULL;
	int err;

	memcpy(&req, msg, sizeof(req));
	err = c->app ? -EISCONN : app_register(d, c, &req, &a);
	if (err) {
		send_plain(d, c, CTL_REGISTER, err);
		return;
	}
	a->pid = c->pid;
	a->uid = c->uid;
	c->app = a;
	log_info("application %u: %s, process %d, uid %u", a->slot, a->comm, (int)c->pid, c->uid);
	send_registration(d, c);
}

/* ---- listeners ---- */

static void messages_all(struct daemon *d, struct app *a)
{
	for (int i = 0; i < 8 && app_messages(d, a); i++)
		;
}

static void on_listener(struct daemon *d, struct client *c, const void *msg)
{
	struct ctl_listen_reply r = {0};
	struct ctl_listen req;
	struct app *a = c->app;
	bool with_id = false;
	int err = -ENOTCONN;

	memcpy(&req, msg, sizeof(req));
	/* What it said before in its ring comes first: connections of a listener that now goes. */
	if (a)
		messages_all(d, a);
	switch (a ? req.hdr.type : 0) {
	case CTL_LISTEN:
		if (req.flags & CTL_LISTEN_HAS_TWIN && c->twin < 0) {
			c->twin = c->fd;
			c->fd = -1;
		}
		err = c->fd < 0 ? listener_listen(d, a, &req, c->twin, &r)
				: listener_listen_again(d, a, &req, c->fd, c->twin, &r);
		with_id = true;
		break;
	case CTL_BIND:
		if (req.proto == IPPROTO_UDP) {
			err = udp_claim(d, a, &req, c->fd, &r);
			c->fd = err ? c->fd : -1;
		} else {
			err = listener_bind(d, a, &req, &r);
		}
		with_id = true;
		break;
	case CTL_BACKLOG:
		err = listener_backlog(d, a, &req);
		break;
	case CTL_FASTOPEN:
		err = tcp_fastopen_known(d->stack, &req.addr, d->now) ? 0 : -ENOENT;
		break;
	case CTL_FASTOPEN_KEY:
		stack_fastopen_keys(d->stack, &r.fo_keys);
		err = 0;
		with_id = true;
		break;
	case CTL_UNLISTEN:
		if (req.proto != IPPROTO_UDP) {
			front_adopt(d, a);
			front_leaves(d, a, req.id);
		}
		/* fall through */
	case CTL_UNBIND:
		err = req.proto == IPPROTO_UDP ? udp_unclaim(d, a, req.id)
					       : listener_unlisten(d, a, req.id);
		break;
	default:
		break;
	}
	if (err || !with_id) {
		send_plain(d, c, req.hdr.type, err);
		return;
	}
	r.hdr = reply_hdr(req.hdr.type, 0, sizeof(r));
	send_with_twin(d, c, &r, sizeof(r), req.hdr.type == CTL_LISTEN ? twin_of(a, r.id) : -1);
}

/* ---- sockets of several processes ---- */

_Static_assert(CTL_SHARE_MAX <= MAX_FDS, "they fit one reply");

static void on_share(struct daemon *d, struct client *c, const void *msg)
{
	struct ctl_share_reply r = {.hdr = reply_hdr(CTL_SHARE, 0, sizeof(r))};
	struct ctl_share req;
	int fds[CTL_SHARE_MAX];
	uint32_t n;

	memcpy(&req, msg, sizeof(req));
	if (!c->app) {
		send_plain(d, c, CTL_SHARE, -ENOTCONN);
		return;
	}
	/* What has become of the connections that it names. */
	messages_all(d, c->app);
	front_adopt(d, c->app);
	share_request(d, c->app, &req, &r, fds, &n);
	if (n)
		send_fds(d, c, &r, sizeof(r), fds, n);
	else
		send_reply(d, c, &r, sizeof(r));
	while (n)
		close(fds[--n]);
}

static void on_take(struct daemon *d, struct client *c, const void *msg)
{
	struct ctl_take_reply r = {.hdr = reply_hdr(CTL_TAKE, 0, sizeof(r))};
	struct ctl_take req;
	int err = -ENOTCONN;

	memcpy(&req, msg, sizeof(req));
	if (c->app) {
		app_messages(d, c->app);
		err = share_take(d, c->app, c->fd, req.cookie, &r);
	}
	if (err)
		send_plain(d, c, CTL_TAKE, err);
	else
		send_with_twin(d, c, &r, sizeof(r),
			       r.kind == CTL_SHARE_LISTENER ? twin_of(c->app, r.id) : -1);
}

/* ---- text ---- */

static void end_report(struct daemon *d, struct client *c)
{
	jb_free(&c->report->j);
	free(c->report);
	c->report = NULL;
	if (!c->ended)
		watch_mod(d, &c->w, EPOLLIN);
}

/* 1: a piece is out. 0: the client has to read first. -errno */
static int send_piece(struct client *c, const char *text, size_t n, bool more)
{
	union {
		struct ctl_text t;
		char bytes[sizeof(struct ctl_text) + REPORT_PIECE];
	} m;
	size_t len = sizeof(m.t) + n;

	m.t = (struct ctl_text){.hdr = reply_hdr(c->report->type, 0, len), .more = more};
	memcpy(m.bytes + sizeof(m.t), text, n);
	if (send(c->w.fd, &m, len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)len)
		return 1;
	return errno == EAGAIN || errno == ENOBUFS ? 0 : -errno;
}

static void send_report(struct daemon *d, struct client *c)
{
	struct report *r = c->report;
	bool more = true;

	while (more) {
		size_t n;
		int sent;

		report_fill(d, r);
		if (r->j.failed) {
			end_client(d, c);
			break;
		}
		n = r->j.len < REPORT_PIECE ? r->j.len : REPORT_PIECE;
		more = n < r->j.len || !r->done;
		sent = send_piece(c, r->j.text, n, more);
		if (sent < 0)
			end_client(d, c);
		if (sent < 0)
			break;
		c->until = sent ? mtime_add_ns(d->now, READ_NS) : c->until;
		if (!sent) {
			watch_mod(d, &c->w, EPOLLOUT);
			return;
		}
		r->j.len -= n;
		memmove(r->j.text, r->j.text + n, r->j.len);
	}
	end_report(d, c);
}

static void on_report(struct daemon *d, struct client *c, uint16_t type)
{
	c->report = calloc(1, sizeof(*c->report));
	if (!c->report) {
		send_plain(d, c, type, -ENOMEM);
		return;
	}
	c->report->type = type;
	c->until = mtime_add_ns(d->now, READ_NS);
	send_report(d, c);
}

/* ---- clients ---- */

static void dispatch(struct daemon *d, struct client *c, const void *msg, const struct ctl_hdr *h)
{
	switch (h->type) {
	case CTL_REGISTER:
		on_register(d, c, msg);
		break;
	case CTL_STATUS:
	case CTL_STAT:
	case CTL_SS:
	case CTL_SS_BRIEF:
		on_report(d, c, h->type);
		break;
	case CTL_DETACH:
		if (c->uid) {
			send_plain(d, c, CTL_DETACH, -EPERM);
			break;
		}
		/* The reply is sent when all is undone. */
		d->detach_for = c;
		loop_stop(d, "told to detach");
		break;
	case CTL_SHARE:
		on_share(d, c, msg);
		break;
	case CTL_TAKE:
		on_take(d, c, msg);
		break;
	default:
		on_listener(d, c, msg);
	}
}

static void take_fds(struct client *c, const struct cmsghdr *cmsg)
{
	c->fd = c->twin = -1;
	if (!cmsg || cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS)
		return;
	memcpy(&c->fd, CMSG_DATA(cmsg), sizeof(int));
	if (cmsg->cmsg_len >= CMSG_LEN(2 * sizeof(int)))
		memcpy(&c->twin, CMSG_DATA(cmsg) + sizeof(int), sizeof(int));
}

static void close_fds(struct client *c)
{
	if (c->fd >= 0)
		close(c->fd);
	if (c->twin >= 0)
		close(c->twin);
	c->fd = c->twin = -1;
}

/* A request, and the descriptors that may come with it. */
static ssize_t receive(struct client *c, void *msg, size_t len)
{
	union {
		char buf[CMSG_SPACE(2 * sizeof(int))];
		struct cmsghdr align;
	} cm;
	struct iovec iov = {msg, len};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = cm.buf,
			   .msg_controllen = sizeof(cm.buf)};
	ssize_t n = recvmsg(c->w.fd, &m, MSG_DONTWAIT | MSG_TRUNC | MSG_CMSG_CLOEXEC);

	take_fds(c, n >= 0 ? CMSG_FIRSTHDR(&m) : NULL);
	return n;
}

static void on_client(struct daemon *d, struct watch *w, uint32_t events)
{
	struct client *c = (struct client *)w;
	char msg[512]; /* more than any request has */
	struct ctl_hdr h;
	ssize_t n;
	int err;

	if (c->report) {
		if (events & (EPOLLHUP | EPOLLERR))
			end_client(d, c);
		else
			send_report(d, c);
		return;
	}
	n = receive(c, msg, sizeof(msg));
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0) {
		close_fds(c);
		end_client(d, c);
		return;
	}
	err = (size_t)n > sizeof(msg) ? -EINVAL : ctl_check(msg, (size_t)n, &h);
	if (!err) {
		dispatch(d, c, msg, &h);
	} else if (err == -EBADMSG) {
		log_warn("process %d sent something else than a request", (int)c->pid);
		end_client(d, c);
	} else {
		send_plain(d, c, (size_t)n > sizeof(msg) ? 0 : h.type, err);
	}
	close_fds(c);
}

void ctl_adopt(struct daemon *d, int fd)
{
	struct client *c = calloc(1, sizeof(*c));
	struct ucred cred;
	socklen_t len = sizeof(cred);

	if (!c || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len)) {
		close(fd);
		free(c);
		return;
	}
	c->w = (struct watch){.fd = fd, .fn = on_client};
	c->fd = c->twin = -1;
	c->pid = cred.pid;
	c->uid = cred.uid;
	if (watch_add(d, &c->w, EPOLLIN)) {
		close(fd);
		free(c);
		return;
	}
	c->next = d->clients;
	d->clients = c;
}

static uint32_t count_clients(const struct daemon *d)
{
	uint32_t n = 0;

	for (const struct client *c = d->clients; c; c = c->next)
		n++;
	return n;
}

/* Out of descriptors, the spare one lets us turn the client away rather than spin. */
static void on_connect(struct daemon *d, struct watch *w, uint32_t events)
{
	int fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	(void)events;
	if (fd < 0 && (errno == EMFILE || errno == ENFILE)) {
		log_err("no descriptor left for another client");
		close(d->spare_fd);
		fd = accept4(w->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		if (fd >= 0)
			close(fd);
		d->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		return;
	}
	if (fd < 0)
		return;
	if (count_clients(d) >= MAX_CLIENTS)
		close(fd);
	else
		ctl_adopt(d, fd);
}

/* ---- time ---- */

struct mtime ctl_deadline(const struct daemon *d)
{
	struct mtime t = MTIME_NEVER;

	for (const struct client *c = d->clients; c; c = c->next)
		if (c->report)
			t = mtime_min(t, c->until);
	return t;
}

void ctl_expire(struct daemon *d)
{
	for (struct client *c = d->clients; c; c = c->next)
		if (c->report && !mtime_before(d->now, c->until)) {
			log_warn("process %d does not read its reply", (int)c->pid);
			end_client(d, c);
		}
}

void ctl_reap(struct daemon *d)
{
	struct client **p = &d->clients;

	while (*p) {
		struct client *c = *p;

		if (!c->ended) {
			p = &c->next;
			continue;
		}
		*p = c->next;
		if (c->report)
			end_report(d, c);
		free(c);
	}
}

/* ---- open and close ---- */

static int listen_at(struct daemon *d, const char *path)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int err;

	if (strlen(path) >= sizeof(sa.sun_path))
		return -ENAMETOOLONG;
	strcpy(sa.sun_path, path);
	d->ctl = (struct watch){.fn = on_connect};
	d->ctl.fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (d->ctl.fd < 0)
		return -errno;
	unlink(path);
	/* Closed to all until it has its owner and mode. */
	umask(0777);
	err = bind(d->ctl.fd, (struct sockaddr *)&sa, sizeof(sa)) ? -errno : 0;
	umask(022);
	if (err)
		return err;
	if (chown(path, (uid_t)-1, d->cfg.socket_group) || chmod(path, d->cfg.socket_mode) ||
	    listen(d->ctl.fd, 128))
		return -errno;
	d->spare_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return watch_add(d, &d->ctl, EPOLLIN);
}

int ctl_open(struct daemon *d, char *why, size_t len)
{
	char path[160];
	int err;

	snprintf(path, sizeof(path), "%s/" CTL_SOCKET_NAME, d->run_dir);
	err = listen_at(d, path);
	if (err)
		snprintf(why, len, "control socket %s: %s", path, strerror(-err));
	return err;
}

void ctl_close(struct daemon *d)
{
	/* The applications themselves are gone by now. */
	for (struct client *c = d->clients; c; c = c->next)
		c->app = NULL;
	if (d->detach_for)
		send_plain(d, d->detach_for, CTL_DETACH, 0);
	watch_del(d, &d->ctl);
	if (d->spare_fd >= 0)
		close(d->spare_fd);
	d->spare_fd = -1;
	while (d->clients) {
		struct client *c = d->clients;

		d->clients = c->next;
		watch_del(d, &c->w);
		if (c->report)
			end_report(d, c);
		free(c);
	}
}
