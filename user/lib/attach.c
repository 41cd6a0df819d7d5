// SPDX-License-Identifier: BSD-2-Clause
/*
 * Attaching to the daemon: which one, what it hands over (memory, rings, AF_XDP sockets), and the
 * control protocol's client side (common/ctl.h). The engine lock is held throughout. The daemon
 * is trusted, but a reply of another version or shape is an error, not a crash.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <stdarg.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "engine.h"
#include "sandbox.h"

#define CTL_TIMEOUT_S 5
/* One segmentation-offload frame: 64 KB less the largest headers (FACTS: bulk sending). */
#define APP_GSO_MAX 65000u
#define APP_PENDING 64u /* answers to what has come, which leave when half of them stand there */
#define APP_LISTENERS 1024u
#define APP_UDP 65536u /* sockets: one for each port at least */

const char *attach_run_dir = CTL_RUN_DIR;
static __thread char last_error[256];

const char *tandem_last_error(void)
{
	return last_error;
}

static int fail(int err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static int fail(int err, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(last_error, sizeof(last_error), fmt, ap);
	va_end(ap);
	return err;
}

/* ---- which daemon ---- */

static bool serves_netns(const char *name, uint64_t netns)
{
	char path[512], buf[32];
	bool same = false;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s/netns", attach_run_dir, name);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (fgets(buf, sizeof(buf), f))
		same = strtoull(buf, NULL, 10) == netns;
	fclose(f);
	return same;
}

static bool same_netns(const char *name)
{
	struct stat st;

	return !stat("/proc/self/ns/net", &st) && serves_netns(name, st.st_ino);
}

/* The first one in alphabetical order that serves our network namespace, so that it is stable. */
static int find_daemon(char *name, size_t len)
{
	struct dirent **list;
	struct stat st;
	int n, found = 0;

	if (stat("/proc/self/ns/net", &st))
		return fail(-errno, "cannot tell the network namespace: %m (is /proc mounted?)");
	n = scandir(attach_run_dir, &list, NULL, alphasort);
	for (int i = 0; i < n; i++) {
		if (!found && list[i]->d_name[0] != '.' && strlen(list[i]->d_name) < len &&
		    serves_netns(list[i]->d_name, st.st_ino)) {
			strcpy(name, list[i]->d_name);
			found = 1;
		}
		free(list[i]);
	}
	if (n >= 0)
		free(list);
	if (!found)
		return fail(-ENODEV, "no daemon serves this network namespace: "
				     "`tandem attach IFNAME` starts one");
	return 0;
}

static int choose(const char *name, char *out, size_t len)
{
	if (!name)
		name = secure_getenv("TANDEM_NAME");
	if (!name || !*name)
		return find_daemon(out, len);
	if (strlen(name) >= len || strchr(name, '/') || name[0] == '.')
		return fail(-EINVAL, "'%.32s' cannot be a name", name);
	strcpy(out, name);
	return 0;
}

static int dial(const char *name)
{
	struct timeval tv = {.tv_sec = CTL_TIMEOUT_S};
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	int fd, n, err;

	n = snprintf(sun.sun_path, sizeof(sun.sun_path), "%s/%s/%s", attach_run_dir, name,
		     CTL_SOCKET_NAME);
	if (n < 0 || (size_t)n >= sizeof(sun.sun_path))
		return fail(-ENAMETOOLONG, "the path of %.32s's socket is too long", name);
	fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return fail(-errno, "no unix socket: %m");
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv));
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof(tv));
	if (!connect(fd, (struct sockaddr *)&sun, sizeof(sun)))
		return fd_private(fd);
	err = errno;
	close(fd);
	if (err == EACCES || err == EPERM)
		return fail(-EACCES, "%s may not be opened: its owner, group or mode exclude you",
			    sun.sun_path);
	if (err == ENOENT || err == ECONNREFUSED)
		return fail(-ENODEV,
			    "nothing serves '%s': `tandem attach --name %s IFNAME` starts it", name,
			    name);
	return fail(-err, "%s: %s", sun.sun_path, strerror(err));
}

/* ---- requests ---- */

#define MAX_PASS 2u
static const int no_fds[MAX_PASS] = {-1, -1};

/* Sends @req, with the descriptors @pass, but those that are -1. */
static ssize_t send_request(int fd, const struct ctl_hdr *req, const int pass[MAX_PASS])
{
	union {
		char buf[CMSG_SPACE(MAX_PASS * sizeof(int))];
		struct cmsghdr align;
	} cm = {0};
	struct iovec iov = {(void *)(uintptr_t)req, req->len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	int fds[MAX_PASS];
	size_t n_fds = 0;
	ssize_t n;

	for (size_t i = 0; i < MAX_PASS; i++)
		if (pass[i] >= 0)
			fds[n_fds++] = pass[i];
	if (n_fds) {
		cm.align = (struct cmsghdr){.cmsg_len = CMSG_LEN(n_fds * sizeof(int)),
					    .cmsg_level = SOL_SOCKET,
					    .cmsg_type = SCM_RIGHTS};
		memcpy(CMSG_DATA(&cm.align), fds, n_fds * sizeof(int));
		m.msg_control = cm.buf;
		m.msg_controllen = CMSG_SPACE(n_fds * sizeof(int));
	}
	do
		n = sendmsg(fd, &m, MSG_NOSIGNAL);
	while (n < 0 && errno == EINTR);
	return n;
}

/*
 * Sends @req, and @pass, and receives a reply of at most @len bytes, with descriptors. Bytes, or
 * -errno.
 */
static ssize_t transact(int fd, const struct ctl_hdr *req, const int pass[MAX_PASS], void *reply,
			size_t len, int *fds, uint32_t *n_fds)
{
	union {
		char buf[CMSG_SPACE(CTL_REG_MAX_FDS * sizeof(int))];
		struct cmsghdr align;
	} cm;
	struct iovec iov = {reply, len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	struct ctl_hdr h;
	ssize_t n;

	n = send_request(fd, req, pass);
	if (n < 0)
		return errno == EPIPE || errno == ECONNRESET ? -ENETDOWN : -errno;
	if (n_fds) {
		m.msg_control = cm.buf;
		m.msg_controllen = sizeof(cm.buf);
		*n_fds = 0;
	}
	do
		n = recvmsg(fd, &m, MSG_CMSG_CLOEXEC);
	while (n < 0 && errno == EINTR);
	if (n < 0)
		return errno == EAGAIN ? -ETIMEDOUT : errno == ECONNRESET ? -ENETDOWN : -errno;
	for (struct cmsghdr *c = n_fds ? CMSG_FIRSTHDR(&m) : NULL; c; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		*n_fds = (uint32_t)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(c), *n_fds * sizeof(int));
	}
	if (!n)
		return -ENETDOWN;
	if ((size_t)n < sizeof(h))
		return -EPROTO;
	memcpy(&h, reply, sizeof(h));
	if (h.magic != CTL_MAGIC || h.version != CTL_VERSION || h.len != (size_t)n ||
	    m.msg_flags & MSG_TRUNC)
		return -EPROTO;
	if (h.error)
		return h.error < 0 && h.error > -4096 ? h.error : -EPROTO;
	return m.msg_flags & MSG_CTRUNC ? -EMFILE : n;
}

/* The same on the engine's connection. */
static ssize_t ask(const struct ctl_hdr *req, const int pass[MAX_PASS], void *reply, size_t len,
		   int *fds, uint32_t *n_fds)
{
	ssize_t n;

	if (eng.daemon_gone)
		return -ENETDOWN;
	if (eng.forbidden & SANDBOX_NO_CTL)
		return -EPERM;
	n = transact(eng.ctl_fd, req, pass, reply, len, fds, n_fds);
	/* A late reply would be taken for the next one's: there is no going on. */
	if (n == -ENETDOWN || n == -ETIMEDOUT || n == -EPROTO) {
		eng_daemon_lost();
		return -ENETDOWN;
	}
	return n;
}

int ctl_share(struct ctl_share *req, uint32_t *shared, int *fds, uint32_t *n_fds)
{
	int got[CTL_REG_MAX_FDS];
	struct ctl_share_reply r;
	ssize_t n;

	req->hdr = (struct ctl_hdr){CTL_MAGIC, CTL_VERSION, CTL_SHARE, 0, sizeof(*req)};
	*n_fds = 0;
	n = ask(&req->hdr, no_fds, &r, sizeof(r), got, n_fds);
	if (n != sizeof(r) || *n_fds > CTL_SHARE_MAX) {
		while (*n_fds)
			close(got[--*n_fds]);
		return n < 0 ? (int)n : -EPROTO;
	}
	memcpy(fds, got, *n_fds * sizeof(int));
	*shared = r.shared;
	return 0;
}

/* With a reply that may bring one descriptor. */
static ssize_t ask_for_twin(const struct ctl_hdr *req, const int pass[MAX_PASS], void *reply,
			    size_t len, int *twin)
{
	int got[CTL_REG_MAX_FDS];
	uint32_t n_fds = 0;
	ssize_t n = ask(req, pass, reply, len, got, &n_fds);

	while (n_fds > (n == (ssize_t)len))
		close(got[--n_fds]);
	*twin = n_fds ? fd_private(got[0]) : -1;
	return n < 0 || n == (ssize_t)len ? n : -EPROTO;
}

int ctl_take(int fd, uint64_t cookie, struct ctl_take_reply *reply, int *twin)
{
	struct ctl_take req = {.hdr = {CTL_MAGIC, CTL_VERSION, CTL_TAKE, 0, sizeof(req)},
			       .cookie = cookie};
	const int pass[MAX_PASS] = {fd, -1};
	ssize_t n = ask_for_twin(&req.hdr, pass, reply, sizeof(*reply), twin);

	if (n < 0)
		return (int)n;
	if (reply->kind == CTL_SHARE_LISTENER && reply->index < SHM_MAX_LISTENERS)
		return 0;
	if (*twin >= 0)
		fd_private_close(*twin);
	*twin = -1;
	return reply->kind == CTL_SHARE_CONN ? 0 : -EPROTO;
}

int ctl_listen(struct ctl_listen *req, struct ctl_listen_reply *reply, const int fds[MAX_PASS],
	       int *twin)
{
	ssize_t n;

	req->hdr = (struct ctl_hdr){CTL_MAGIC, CTL_VERSION, CTL_LISTEN, 0, sizeof(*req)};
	n = ask_for_twin(&req->hdr, fds, reply, sizeof(*reply), twin);
	if (n < 0)
		return (int)n;
	if (reply->index < SHM_MAX_LISTENERS)
		return 0;
	if (*twin >= 0)
		fd_private_close(*twin);
	return -EPROTO;
}

int ctl_call(struct ctl_listen *req, uint16_t type, struct ctl_listen_reply *reply)
{
	return ctl_call_fd(req, type, reply, -1);
}

int ctl_call_fd(struct ctl_listen *req, uint16_t type, struct ctl_listen_reply *reply, int fd)
{
	const int pass[MAX_PASS] = {fd, -1};
	struct ctl_listen_reply r;
	ssize_t n;

	req->hdr = (struct ctl_hdr){CTL_MAGIC, CTL_VERSION, type, 0, sizeof(*req)};
	n = ask(&req->hdr, pass, &r, sizeof(r), NULL, NULL);
	if (n < 0)
		return (int)n;
	if (type == CTL_BIND && (size_t)n != sizeof(r))
		return -EPROTO;
	if (reply)
		*reply = r;
	return 0;
}

/* As many descriptors as it should come with; 0: it makes no sense. */
static uint32_t reply_fds(const struct ctl_register_reply *r)
{
	uint32_t n = CTL_REG_FIXED_FDS, queues = 0;

	if (!r->n_ifs || r->n_ifs > TD_MAX_NETIFS || r->n_queues > TD_MAX_QUEUES)
		return 0;
	for (uint32_t i = 0; i < r->n_ifs; i++) {
		uint32_t q = r->ifs[i].n_queues;

		if (!q || q > r->n_queues - queues)
			return 0;
		queues += q;
		n += q + !!(r->ifs[i].flags & CTL_REG_GSO);
	}
	return queues == r->n_queues ? n : 0;
}

static int request(int fd, struct ctl_register_reply *r, int *fds, uint32_t *n_fds)
{
	struct ctl_register req = {
		.hdr = {CTL_MAGIC, CTL_VERSION, CTL_REGISTER, 0, sizeof(req)},
	};
	ssize_t n;

	memcpy(req.comm, eng.comm, sizeof(req.comm));
	n = transact(fd, &req.hdr, no_fds, r, sizeof(*r), fds, n_fds);
	if (n == -EPROTO)
		return fail(-EPROTO, "the daemon and this library differ in version; this is %s",
			    TANDEM_VERSION);
	if (n == -ENOBUFS)
		return fail(-ENOBUFS, "the daemon has no packet memory left for another "
				      "application: raise umem_frames in its configuration");
	if (n == -EMFILE)
		return fail(-EMFILE, "too many open files to take the daemon's descriptors");
	if (n < 0)
		return fail((int)n, "the daemon refuses to register us: %s", strerror((int)-n));
	if ((size_t)n != sizeof(*r) || *n_fds != reply_fds(r) ||
	    r->limits_len != sizeof(struct stack_limits) || !r->slot || r->slot >= TD_MAX_SLOTS)
		return fail(-EPROTO, "the daemon's reply does not fit this library (%s)",
			    TANDEM_VERSION);
	return 0;
}

/* ---- taking over what was handed to us ---- */

/* A forked child must keep neither the AF_XDP sockets nor the memory alive. */
static void dont_fork(void *p, size_t len)
{
	if (p)
		madvise(p, len, MADV_DONTFORK);
}

static int take_memory(const struct ctl_register_reply *r, int *fds)
{
	int err;

	err = umem_attach(&eng.umem, fds[0], fds[1], r->n_frames, (uint16_t)r->slot);
	if (err) {
		eng.umem.base = NULL;
		return err;
	}
	/* Without /proc its lock is of the kind that closing any copy would undo (shlock.c). */
	if (!access("/proc/self/fd", F_OK))
		eng.umem.id.fd = fd_private(eng.umem.id.fd);
	fds[0] = fds[1] = -1;
	err = arena_attach(&eng.own, fds[2], &r->own, true);
	if (err) {
		eng.own.base = NULL;
		return err;
	}
	fds[2] = -1;
	err = arena_attach(&eng.daemon, fds[3], &r->daemon, false);
	if (err) {
		eng.daemon.base = NULL;
		return err;
	}
	fds[3] = -1;
	eng.bell_daemon = fds[4];
	eng.bell_app = fds[5];
	fds[4] = fds[5] = -1;
	dont_fork(eng.umem.base, eng.umem.size);
	dont_fork(eng.own.base, eng.own.lay.size);
	dont_fork(eng.daemon.base, eng.daemon.lay.size);
	eng.daemon_view = arena_view(&eng.daemon);
	eng.to_daemon = arena_ring_to_daemon(&eng.own);
	eng.to_app = arena_ring_to_app(&eng.own);
	eng.pkts_to_daemon = arena_pkts_to_daemon(&eng.own);
	eng.pkts_to_app = arena_pkts_to_app(&eng.own);
	eng.shm_listeners = arena_listeners(&eng.own);
	return 0;
}

static int take_sockets(const struct ctl_register_reply *r, int *fds)
{
	eng.xsks = calloc(r->n_queues, sizeof(*eng.xsks));
	eng.uqs = calloc(r->n_queues, sizeof(*eng.uqs));
	if (!eng.xsks || !eng.uqs)
		return -ENOMEM;
	for (uint32_t q = 0; q < r->n_queues; q++) {
		struct xsk *x = &eng.xsks[q];
		struct umem_queue *u = &eng.uqs[q];
		int err = xsk_attach(x, fds[CTL_REG_FIXED_FDS + q], q, r->rx_size, r->tx_size,
				     r->fill_size, r->comp_size, u);

		if (err)
			return err;
		fds[CTL_REG_FIXED_FDS + q] = -1;
		eng.n_queues++;
		dont_fork(x->rx_map, x->rx_map_len);
		dont_fork(x->tx_map, x->tx_map_len);
		dont_fork(u->fill_map, u->fill_map_len);
		dont_fork(u->comp_map, u->comp_map_len);
	}
	umem_set_queues(&eng.umem, eng.uqs, eng.n_queues);
	return 0;
}

static void take_interfaces(const struct ctl_register_reply *r, int *fds)
{
	uint32_t at = CTL_REG_FIXED_FDS + r->n_queues;

	eng.n_ifs = r->n_ifs;
	eng.has_lo = false;
	for (uint32_t i = 0; i < r->n_ifs; i++) {
		eng.ifindex[i] = r->ifs[i].ifindex;
		eng.has_lo |= !memcmp(r->ifs[i].mac, (uint8_t[6]){0}, 6);
		if (!(r->ifs[i].flags & CTL_REG_GSO))
			continue;
		eng.gso_fd[i] = fds[at];
		fds[at++] = -1;
	}
}

static int links_up(const struct ctl_register_reply *r, struct mtime now)
{
	int err = 0;

	for (uint32_t i = 0; !err && i < r->n_ifs; i++) {
		const struct ctl_reg_if *f = &r->ifs[i];
		struct net_event up = {.kind = NET_LINK_UP,
				       .netif = (uint16_t)i,
				       .mtu = f->mtu,
				       .partial_csum = f->flags & CTL_REG_PARTIAL_CSUM};

		memcpy(up.mac, f->mac, sizeof(up.mac));
		err = stack_event(eng.stack, &up, now);
	}
	return err;
}

static int start_stack(const struct ctl_register_reply *r)
{
	struct port_cfg pc = {
		.umem = &eng.umem,
		.xsks = eng.xsks,
		.uqs = eng.uqs,
		.fill_target = r->fill_target,
		.n_ifs = r->n_ifs,
		.inject_in = eng.pkts_to_app,
		.clock = clock_now,
	};
	struct stack_cfg sc = {
		.role = STACK_APP,
		.slot = (uint16_t)r->slot,
		.key = {r->seed[0], r->seed[1]},
		.ts_key = {r->ts_key[0], r->ts_key[1]},
		.n_pending = APP_PENDING,
		.n_udp = APP_UDP,
		.n_listeners = APP_LISTENERS,
		.csum_offload = true, /* the port completes what the kernel does not */
		.cc = eng.cc,
	};
	struct arena_view own = arena_view(&eng.own);
	struct mtime now = clock_now();
	int err;

	memcpy(&eng.limits, r->limits, sizeof(eng.limits));
	sc.limits = eng.limits;
	sc.n_tw = own.n_tws;
	sc.n_synreqs = own.n_synreqs;
	memcpy(eng.cc, r->default_cc, sizeof(eng.cc) - 1);
	/* The application reads the neighbours that the daemon keeps. */
	own.neighs = eng.daemon_view.neighs;
	own.n_neighs = eng.daemon_view.n_neighs;
	for (uint32_t i = 0; i < r->n_ifs; i++) {
		pc.ifs[i] = (struct port_if){
			.n_queues = r->ifs[i].n_queues,
			.partial_csum = r->ifs[i].flags & CTL_REG_PARTIAL_CSUM,
			.tx_csum = r->ifs[i].flags & CTL_REG_TX_CSUM,
			.gso_fd = eng.gso_fd[i],
		};
		if (eng.gso_fd[i] >= 0)
			sc.gso_max = APP_GSO_MAX;
	}
	err = port_open(&eng.port, &pc);
	if (err)
		return err;
	eng.stack_mem_len = stack_mem_size(&sc, &own);
	eng.stack_mem = mmap(NULL, eng.stack_mem_len, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (eng.stack_mem == MAP_FAILED) {
		eng.stack_mem = NULL;
		return -ENOMEM;
	}
	eng.stack = stack_init(eng.stack_mem, &sc, &own, port_pool(eng.port), now);
	if (!eng.stack)
		return -ENOMEM;
	return links_up(r, now);
}

static void set_busy_poll(const struct ctl_register_reply *r)
{
	const char *env = getenv("TANDEM_BUSY_POLL");
	char *end;
	unsigned long v;

	if (eng.busy_poll_us != UINT32_MAX)
		return; /* tandem_set_busy_poll() came first */
	eng.busy_poll_us = r->busy_poll_us;
	if (!env || !*env)
		return;
	v = strtoul(env, &end, 10);
	if (!*end && v < UINT32_MAX)
		eng.busy_poll_us = (uint32_t)v;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* By which we shall know the place of the control socket, and that it is this daemon's (heir.c). */
static void open_run_dir(void)
{
	char path[512];
	struct stat st;

	snprintf(path, sizeof(path), "%s/%s", attach_run_dir, eng.name);
	eng.run_dir = fd_private(open(path, O_PATH | O_DIRECTORY | O_CLOEXEC));
	if (eng.run_dir < 0 || fstatat(eng.run_dir, CTL_SOCKET_NAME, &st, AT_SYMLINK_NOFOLLOW)) {
		close_fd(&eng.run_dir);
		return;
	}
	eng.ctl_ino = st.st_ino;
}

static void detach(void);

/* To the daemon eng.name, all but the keeper. */
static int attach(void)
{
	struct ctl_register_reply r;
	uint32_t n_fds = 0;
	int fds[CTL_REG_MAX_FDS];
	int err;

	eng.run_dir = eng.bell_daemon = eng.bell_app = -1;
	for (uint32_t i = 0; i < TD_MAX_NETIFS; i++)
		eng.gso_fd[i] = -1;
	eng.ctl_fd = dial(eng.name);
	if (eng.ctl_fd < 0)
		return eng.ctl_fd;
	open_run_dir();
	err = request(eng.ctl_fd, &r, fds, &n_fds);
	if (err)
		goto out;
	for (uint32_t i = 0; i < n_fds; i++)
		fds[i] = fd_private(fds[i]);
	take_interfaces(&r, fds);
	eng.foreign = !same_netns(eng.name);
	err = take_memory(&r, fds);
	if (!err)
		err = take_sockets(&r, fds);
	if (!err)
		err = start_stack(&r);
	if (err) {
		fail(err, "cannot use what the daemon hands over: %s", strerror(-err));
		goto out;
	}
	set_busy_poll(&r);
out:
	for (uint32_t i = 0; i < n_fds; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	if (err)
		detach();
	return err;
}

int eng_attach(const char *name)
{
	int err;

	last_error[0] = '\0';
	if (eng.forbidden & SANDBOX_NO_ATTACH)
		return fail(-EPERM, "the program's own seccomp filter forbids calls that attaching "
				    "takes: it has to have its first socket before");
	err = choose(name, eng.name, sizeof(eng.name));
	if (err)
		return err;
	eng.keeper_w.efd = -1;
	prctl(PR_GET_NAME, eng.comm);
	err = attach();
	if (err)
		return err;
	eng.pid = getpid();
	eng.daemon_gone = eng.cut = false;
	eng.n_attached++;
	err = keeper_start();
	if (err) {
		fail(err, "no keeper thread: %s", strerror(-err));
		eng_detach();
	}
	return err;
}

int eng_attach_again(void (*leave)(void))
{
	struct attachment old = eng.attached, new;
	int err;

	memset(&eng.attached, 0, sizeof(eng.attached));
	err = eng.forbidden & SANDBOX_NO_ATTACH ? -EPERM : attach();
	new = eng.attached;
	eng.attached = old;
	if (err)
		return err;
	leave();
	detach();
	eng.attached = new;
	eng.daemon_gone = eng.cut = false;
	eng.n_attached++;
	return 0;
}

int (*attach_again)(void (*leave)(void)) = eng_attach_again;

static void close_gso(void)
{
	for (uint32_t i = 0; i < eng.n_ifs; i++)
		close_fd(&eng.gso_fd[i]);
	eng.n_ifs = 0;
}

static void detach(void)
{
	eng_quiesce();
	eng.kicks = 0;
	if (eng.port)
		port_close(eng.port);
	eng.port = NULL;
	if (eng.stack_mem)
		munmap(eng.stack_mem, eng.stack_mem_len);
	eng.stack_mem = NULL;
	free(eng.dests);
	free(eng.udp_buf);
	eng.dests = NULL;
	eng.udp_buf = NULL;
	eng.stack = NULL;
	for (uint32_t q = 0; q < eng.n_queues; q++) {
		xsk_close(&eng.xsks[q]);
		umem_queue_unmap(&eng.uqs[q]);
	}
	free(eng.xsks);
	free(eng.uqs);
	eng.xsks = NULL;
	eng.uqs = NULL;
	eng.n_queues = 0;
	/* Last: the daemon takes back what it finds when this closes. */
	close_gso();
	close_fd(&eng.bell_daemon);
	close_fd(&eng.bell_app);
	close_fd(&eng.run_dir);
	if (eng.own.base)
		arena_close(&eng.own);
	if (eng.daemon.base)
		arena_close(&eng.daemon);
	if (eng.umem.base)
		umem_close(&eng.umem);
	memset(&eng.own, 0, sizeof(eng.own));
	memset(&eng.daemon, 0, sizeof(eng.daemon));
	memset(&eng.umem, 0, sizeof(eng.umem));
	close_fd(&eng.ctl_fd);
}

void eng_detach(void)
{
	detach();
	eng.n_wake = 0; /* nobody waits */
	close_fd(&eng.keeper_w.efd);
	spare_efds_free();
}

void eng_forked(void)
{
	for (struct file *f = file_next(TANDEM_FD_BASE); f; f = file_next(f->handle + 1)) {
		struct sock *sk = container_of(f, struct sock, f);
		int fds[N_TWINS];

		/* What the shim has beside a listener is the child's, too. */
		if (f->kind != FILE_SOCK)
			continue;
		if (sk->state == SK_UDP && sock_kernel_fds(sk, fds))
			close(fds[0]);
		else if (sock_extra(sk)->twins[TWIN_V4] >= 0)
			close(sock_extra(sk)->twins[TWIN_V4]);
	}
	for (uint32_t q = 0; q < eng.n_queues; q++)
		close(eng.xsks[q].fd);
	close(eng.umem.fd);
	close(eng.umem.ctl_fd);
	close(eng.umem.id.fd); /* or the daemon would take us for alive */
	close(eng.own.fd);
	close(eng.daemon.fd);
	close_gso();
	close_fd(&eng.bell_daemon);
	close_fd(&eng.bell_app);
	close_fd(&eng.keeper_w.efd);
	close_fd(&eng.run_dir);
	close_fd(&eng.ctl_fd);
	while (eng.n_spare)
		close(eng.spare_efds[--eng.n_spare]);
}
