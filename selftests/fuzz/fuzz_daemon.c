// SPDX-License-Identifier: BSD-2-Clause
/*
 * The daemon and its clients: messages on the control socket, and, from those that have registered,
 * messages and packets in rings and anything at all in the arena, while peers open connections and
 * programs vanish. When the input ends all clients go, and nothing of them may be left: records,
 * flow entries, listeners, packet frames.
 */
#include <errno.h>
#include <netinet/in.h>
#include <sys/stat.h>
#include "daemon_world.h"

#define CLIENTS 3u

static int client_fd[CLIENTS];
static bool scribbled; /* an application has not only done what it should */

/* ---- the control socket ---- */

static void poll_daemon(void)
{
	struct epoll_event ev[16];
	int n = epoll_wait(dw.epfd, ev, 16, 0);

	for (int i = 0; i < n; i++) {
		struct watch *w = ev[i].data.ptr;

		if (w->fd >= 0)
			w->fn(&dw, w, ev[i].events);
	}
	ctl_expire(&dw);
	ctl_reap(&dw);
}

static void client_end(uint32_t i)
{
	if (client_fd[i] >= 0)
		close(client_fd[i]);
	client_fd[i] = -1;
}

static void client_begin(uint32_t i)
{
	int fd[2];

	if (client_fd[i] >= 0)
		return;
	FZ_CHECK(!socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd));
	ctl_adopt(&dw, fd[0]);
	client_fd[i] = fd[1];
}

/* What stands for shared sockets; the others that come with replies are closed. */
#define SHARES 8u
static int share_fd[SHARES];

static void keep_share(int fd)
{
	for (uint32_t i = 0; i < SHARES; i++)
		if (share_fd[i] <= 0) {
			share_fd[i] = fd;
			return;
		}
	close(fd);
}

static void close_share(uint32_t i)
{
	if (share_fd[i] > 0)
		close(share_fd[i]);
	share_fd[i] = 0;
}

/* Replies are well-formed, and their descriptors are closed. */
static void client_read(uint32_t i)
{
	static char buf[CTL_MAX_MSG];
	union {
		char b[CMSG_SPACE(128 * sizeof(int))];
		struct cmsghdr align;
	} cm;
	struct iovec iov = {buf, sizeof(buf)};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	struct ctl_hdr h;
	ssize_t n;

	for (;;) {
		m.msg_control = cm.b;
		m.msg_controllen = sizeof(cm.b);
		n = recvmsg(client_fd[i], &m, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		if (n <= 0)
			return;
		FZ_CHECK(n >= (ssize_t)sizeof(h) && !(m.msg_flags & (MSG_TRUNC | MSG_CTRUNC)));
		memcpy(&h, buf, sizeof(h));
		FZ_CHECK(h.magic == CTL_MAGIC && h.version == CTL_VERSION && h.len == n &&
			 h.error <= 0);
		for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c; c = CMSG_NXTHDR(&m, c))
			for (size_t k = 0; k < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); k++) {
				int fd;

				memcpy(&fd, CMSG_DATA(c) + k * sizeof(int), sizeof(fd));
				if (h.type == CTL_SHARE)
					keep_share(fd);
				else
					close(fd);
			}
	}
}

/* Two sockets of the kernel's that are bound, for claims to their ports. */
static int udp_fd[2];
static uint16_t udp_port[2];

static void open_udp(void)
{
	for (uint32_t i = 0; i < 2; i++) {
		struct sockaddr_in sin = {.sin_family = AF_INET};
		socklen_t len = sizeof(sin);
		int one = 1;

		udp_fd[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		FZ_CHECK(udp_fd[i] >= 0);
		if (i)
			setsockopt(udp_fd[i], SOL_SOCKET, SO_REUSEPORT, &one, sizeof(one));
		FZ_CHECK(!bind(udp_fd[i], (struct sockaddr *)&sin, sizeof(sin)) &&
			 !getsockname(udp_fd[i], (struct sockaddr *)&sin, &len));
		udp_port[i] = sin.sin_port;
	}
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct stat st;

	(void)argc;
	(void)argv;
	dw_init();
	FZ_CHECK(!stat("/proc/self/ns/net", &st));
	dw.netns_ino = st.st_ino;
	open_udp();
	return 0;
}

/* Sends a request, with a descriptor where it is one of UDP's, or takes a shared socket. */
static void send_with_fd(int to, const uint8_t *b, size_t len)
{
	struct iovec iov = {(void *)(uintptr_t)b, len};
	union {
		char buf[CMSG_SPACE(sizeof(int))];
		struct cmsghdr align;
	} cm = {.align = {.cmsg_len = CMSG_LEN(sizeof(int)),
			  .cmsg_level = SOL_SOCKET,
			  .cmsg_type = SCM_RIGHTS}};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};
	struct ctl_listen l = {.proto = 0};
	struct ctl_take t = {.cookie = 0};
	int fd = -1;

	if (len == sizeof(l))
		memcpy(&l, b, sizeof(l));
	if (len == sizeof(t))
		memcpy(&t, b, sizeof(t));
	if (l.proto == IPPROTO_UDP)
		fd = udp_fd[l.id & 1];
	else if (t.hdr.type == CTL_TAKE)
		fd = share_fd[t.cookie % SHARES] > 0 ? share_fd[t.cookie % SHARES] : udp_fd[0];
	if (fd >= 0) {
		memcpy(CMSG_DATA(&cm.align), &fd, sizeof(int));
		m.msg_control = cm.buf;
		m.msg_controllen = sizeof(cm.buf);
	}
	sendmsg(to, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
}

static size_t request(struct fz *f, uint8_t *b)
{
	struct ctl_hdr h = {.magic = CTL_MAGIC, .version = CTL_VERSION};
	uint8_t n;

	h.type = fz_u8(f) % (CTL_TAKE + 1);
	if (h.type == CTL_REGISTER) {
		struct ctl_register r = {.hdr = h, .comm = "fuzz"};

		r.hdr.len = sizeof(r);
		memcpy(b, &r, sizeof(r));
	} else if (h.type >= CTL_LISTEN && h.type <= CTL_UNBIND) {
		struct ctl_listen l = {.hdr = h, .proto = IPPROTO_TCP};

		n = fz_u8(f);
		l.hdr.len = sizeof(l);
		l.addr = n & 1 ? fz_ip(FZ_OUR_IP) : n & 2 ? fz_ip(0) : (struct ip_addr){.w = {0}};
		l.port = __builtin_bswap16(n & 4 ? 0 : FZ_OUR_PORT + (n >> 3 & 3));
		l.backlog = n & 32 ? fz_u32(f) : 4;
		l.flags = n >> 6;
		n = fz_u8(f);
		l.id = n & 8 ? SHM_NIL : n & 7;
		l.defer_accept = n >> 7;
		if (n & 16) {
			l.proto = IPPROTO_UDP;
			l.port = n & 32 ? udp_port[n >> 6 & 1] : l.port;
		}
		memcpy(b, &l, sizeof(l));
	} else if (h.type == CTL_SHARE) {
		struct ctl_share s = {.hdr = h};

		s.hdr.len = sizeof(s);
		s.n = fz_u8(f) % 40;
		for (uint32_t i = 0; i < s.n && i < 4; i++) {
			n = fz_u8(f);
			s.e[i].kind = n & 3;
			s.e[i].id = n >> 4;
			s.e[i].generation = n & 4 ? fz_u8(f) : 1;
		}
		memcpy(b, &s, sizeof(s));
	} else if (h.type == CTL_TAKE) {
		struct ctl_take t = {.hdr = h, .cookie = fz_u8(f)};

		t.hdr.len = sizeof(t);
		memcpy(b, &t, sizeof(t));
		if (t.cookie & 0x80)
			close_share(t.cookie >> 4 & 7);
	} else {
		h.len = sizeof(h);
		memcpy(b, &h, sizeof(h));
	}
	memcpy(&h, b, sizeof(h));
	return h.len;
}

static void client_send(struct fz *f, uint32_t i, bool odd)
{
	uint8_t b[600] = {0};
	size_t len = request(f, b);
	uint32_t got, at;
	const uint8_t *p;

	if (odd) {
		at = fz_u8(f) % 64;
		p = fz_bytes(f, fz_u8(f) % 16, &got);
		memcpy(b + at, p, got);
		len = fz_u8(f) & 1 ? len : fz_u16(f) % sizeof(b);
	}
	if (client_fd[i] >= 0)
		send_with_fd(client_fd[i], b, len);
}

/* ---- an application's memory ---- */

static struct app *an_app(uint8_t k)
{
	struct app *a = dw.slots > 1 ? dw.apps[1 + k % (dw.slots - 1)] : NULL;

	return a && a->stage == APP_ALIVE ? a : NULL;
}

static void set_tcb(struct app *a, uint32_t i, const struct tcb *from, uint8_t owner)
{
	struct tcb *t = &a->view.tcbs[i];

	memcpy(t, from, sizeof(*t));
	t->owner = owner;
	t->tx_bytes = t->rx_bytes = t->ooo_bytes = 0;
	t->tx_head = t->rx_head = t->ooo_head = SHM_NIL;
	t->snd_nxt = t->snd_max = t->snd_una;
}

/* As an application should: takes what it is offered, or refuses it. */
static void app_takes(struct app *a, uint8_t how)
{
	struct shm_msg m, ack = {.op = SHM_CONN_ACK};

	if (!shm_msg_pop(a->to_app, &m))
		return;
	if (m.op != SHM_CONN_NEW && m.op != SHM_CONN_OPENED)
		return;
	/* Read once more after the ring's head was written over, it is an old one. */
	if (m.conn >= DW_TCBS || dw.view.tcbs[m.conn].owner != TCB_EXPORTED) {
		FZ_CHECK(scribbled);
		return;
	}
	ack.conn = m.conn;
	ack.generation = m.generation;
	ack.new_conn = how % 16;
	ack.new_generation = dw.view.tcbs[m.conn].generation;
	ack.error = how & 0x80 ? 12 : 0;
	if (!ack.error)
		set_tcb(a, ack.new_conn, &dw.view.tcbs[m.conn], how & 0x40 ? 0 : TCB_MINE);
	if (how & 0x20 && m.listener < SHM_MAX_LISTENERS)
		arena_listeners(&a->arena)[m.listener].accepted++;
	shm_msg_push(a->to_daemon, &ack);
}

static void app_says(struct app *a, struct fz *f)
{
	static const uint8_t ops[8] = {
		SHM_CONNECT,   SHM_CONNECT_CANCEL, SHM_CONN_GIVE, SHM_CONN_ACK,
		SHM_CONN_GONE, SHM_LISTEN_WANT,	   SHM_CONN_MINE, 99};
	uint8_t n = fz_u8(f), k = fz_u8(f);
	const struct tcb *t = &a->view.tcbs[k % 16];
	struct shm_msg m = {.op = ops[n & 7],
			    .conn = k % 16,
			    .generation = t->generation,
			    .cookie = k & 7,
			    .listener = k & 7,
			    .flags = n >> 5 & SHM_GIVE_KEEP,
			    .local = t->local,
			    .remote = t->remote,
			    .local_port = t->local_port,
			    .remote_port = t->remote_port,
			    .new_conn = k & 15};
	uint32_t got;
	const uint8_t *p;

	if (m.op == SHM_LISTEN_WANT && k & 0x40)
		m.op = SHM_LISTEN_USE;
	if (m.op == 99 && (k & 0xc0) == 0x40)
		m.op = SHM_DOUBT;
	if (m.op == 99 && k & 0x80) {
		m.op = SHM_CONN_WANT;
		m.listener =
			k % 16 < dw.max_shares && dw.shares[k % 16] ? dw.shares[k % 16]->id : k;
	}
	scribbled = true; /* it may have refused what it has not read */
	if (m.op == SHM_CONNECT) {
		m.local = k & 0x80 ? fz_ip(FZ_OUR_IP) : (struct ip_addr){.w = {0}};
		m.remote = fz_ip(k & 0x40 ? FZ_FAR_IP : FZ_PEER_IP);
		m.local_port = __builtin_bswap16(k & 0x20 ? FZ_OUR_PORT + (k & 3) : 0);
		m.remote_port = __builtin_bswap16(7000 + (k >> 3 & 1));
	}
	if (m.op == SHM_CONN_GIVE && n & 8)
		a->view.tcbs[k % 16].owner = TCB_EXPORTED;
	if (n & 16) {
		uint32_t at = fz_u8(f) % sizeof(m);

		p = fz_bytes(f, fz_u8(f) % 8, &got);
		memcpy((uint8_t *)&m + at, p, got < sizeof(m) - at ? got : sizeof(m) - at);
	}
	shm_msg_push(a->to_daemon, &m);
}

/* A frame of its own, which it says is somebody else's. */
static void app_disowns(struct app *a, uint8_t frame, uint8_t how)
{
	static const uint16_t slots[] = {TD_SLOT_DAEMON, 1, 999, TD_SLOT_NONE};
	uint32_t o = umem_owner(&dw.umem, frame);

	if (FRAME_SLOT(o) != a->slot ||
	    (FRAME_STATE(o) != FRAME_OWNED && FRAME_STATE(o) != FRAME_INJECTED))
		return;
	umem_give(&dw.umem, frame, (enum frame_state)(how & 7), slots[how >> 3 & 3]);
}

static void app_scribbles(struct app *a, struct fz *f)
{
	uint8_t where = fz_u8(f), n = fz_u8(f);
	struct shm_ring_hdr *rings[4] = {&a->to_daemon->hdr, &a->to_app->hdr,
					 &a->pkts_to_daemon->hdr, &a->pkts_to_app->hdr};
	struct shm_ring_hdr *r = rings[n & 3];
	uint32_t at, got, v;
	const uint8_t *p;

	scribbled = true;
	switch (where % 6) {
	case 0:
		v = fz_u32(f);
		r->head = n & 4 ? v : r->head + (int8_t)v;
		break;
	case 1:
		v = fz_u32(f);
		r->tail = n & 4 ? v : r->tail + (int8_t)v;
		break;
	case 2:
		arena_listeners(&a->arena)[n & 7].accepted = fz_u32(f);
		arena_listeners(&a->arena)[n & 7].want = n >> 3;
		break;
	case 3:
		r->sleeping = n >> 2;
		if (n & 0x80)
			app_disowns(a, fz_u8(f), fz_u8(f));
		break;
	case 4:
		p = fz_bytes(f, 16, &got);
		memcpy(&a->view.chunk_hdrs[n % 16], p, got);
		break;
	default:
		at = fz_u16(f) % sizeof(struct tcb);
		p = fz_bytes(f, (n >> 4) + 1u, &got);
		memcpy((uint8_t *)&a->view.tcbs[n % 16] + at, p,
		       got < sizeof(struct tcb) - at ? got : sizeof(struct tcb) - at);
	}
}

/* Frames of the pool, as if they were its own to pass on; or not its own. */
static void app_injects(struct app *a, struct fz *f)
{
	uint8_t n = fz_u8(f), frame = fz_u8(f);
	struct shm_pkt_ring *r = a->pkts_to_daemon;
	struct fz_seg g = {.seq = 1, .flags = n & 0x12, .wnd = 9};
	uint8_t b[FZ_FRAME_MAX];
	uint32_t len, v = n & 8 ? fz_u32(f) : 0;

	g.a = tcb_pair(&a->view.tcbs[frame % 16]);
	len = fz_build_seg(b, &g);
	if (umem_owner(&dw.umem, frame) == FRAME_OWNER(FRAME_INJECTED, TD_SLOT_DAEMON))
		return;
	/* Only what is in no ring: else the check of the frames would find our own doing. */
	if (FRAME_STATE(umem_owner(&dw.umem, frame)) == FRAME_INJECTED &&
	    FRAME_SLOT(umem_owner(&dw.umem, frame)) == a->slot) {
		umem_give(&dw.umem, frame, FRAME_INJECTED, TD_SLOT_DAEMON);
		memcpy(dw.umem.base + (uint64_t)frame * UMEM_FRAME_SIZE + UMEM_HEADROOM, b, len);
	}
	r->e[r->hdr.tail & (SHM_PKT_RING - 1)] =
		(struct shm_pkt){.addr = (uint64_t)frame * UMEM_FRAME_SIZE + UMEM_HEADROOM + v,
				 .len = len,
				 .flags = n >> 7};
	r->hdr.tail++;
}

/* ---- peers ---- */

static void peer_sends(struct fz *f)
{
	uint8_t n = fz_u8(f), b[FZ_FRAME_MAX];
	struct fz_seg g = {.a = {.local = fz_ip(FZ_OUR_IP),
				 .remote = fz_ip(FZ_PEER_IP),
				 .local_port = __builtin_bswap16(FZ_OUR_PORT + (n >> 3 & 3)),
				 .remote_port = __builtin_bswap16(5000 + (n >> 5))},
			   .seq = 100,
			   .wnd = 1000,
			   .flags = TH_SYN};
	const struct dw_syn *s = &dw_syns[n >> 3 & 3];
	uint32_t len;

	if (n & 1 && dw_n_syns) { /* the answer to what was sent */
		g.a = s->a;
		g.ack = s->seq + 1;
		g.seq = s->flags & TH_ACK ? s->ack : 5000;
		g.flags = s->flags & TH_ACK ? TH_ACK : n & 0x80 ? TH_RST | TH_ACK : TH_SYN | TH_ACK;
	}
	if (n & 2) {
		g.flags = fz_u8(f);
		g.seq += fz_u8(f);
		g.len = fz_u8(f);
	}
	len = fz_build_seg(b, &g);
	fz_seg_csum(b, len, &g);
	if (n & 4)
		len -= fz_u8(f) % 40;
	dw_receive(b, len);
}

/* About a connection that the daemon has a record of: what follows in order, or an ICMP error. */
static void peer_goes_on(struct fz *f)
{
	uint8_t n = fz_u8(f), b[FZ_FRAME_MAX], q[120];
	const struct rec *r = &dw.recs.r[n & 7];
	struct fz_ip_hdr ip = {.src = FZ_GW_IP, .dst = FZ_OUR_IP, .proto = PROTO_ICMP, .ttl = 64};
	struct flow_key k = rec_key(&dw.recs, n & 7);
	struct fz_seg g = {.a = pair_of(&k), .wnd = 1000, .flags = TH_ACK | (n >> 3 & 5)};
	const struct tcb *t;
	uint32_t len;

	if ((n & 7) >= dw.recs.used)
		return;
	t = &dw.view.tcbs[r->conn % DW_TCBS];
	g.seq = t->rcv_nxt;
	g.ack = t->snd_max;
	g.len = n & 0x10 ? fz_u8(f) : 0;
	if (!(n & 0x40)) {
		len = fz_build_seg(b, &g);
		fz_seg_csum(b, len, &g);
		dw_receive(b, len);
		return;
	}
	g.a = (struct tcp_addr_pair){g.a.remote, g.a.local, g.a.remote_port, g.a.local_port};
	g.seq = t->snd_una;
	g.len = 0;
	fz_build_seg(q, &g);
	memset(b, 0, sizeof(q));
	b[fz_hdr_len(&ip)] = n & 0x20 ? 11 : 3;
	b[fz_hdr_len(&ip) + 1] = fz_u8(f);
	put_be16(b + fz_hdr_len(&ip) + 6, 1000);
	memcpy(b + fz_hdr_len(&ip) + 8, q + ETH_HLEN_, 40);
	fz_l4_csum(b + fz_hdr_len(&ip), 48, 2, &ip);
	dw_receive(b, fz_ip_frame(b, &ip, 48));
}

static void let_time_pass(struct fz *f)
{
	static const uint32_t ms[8] = {1, 50, 150, 1100, 5000, 11000, 61000, 200000};

	dw.now = mtime_add_ms(dw.now, ms[fz_u8(f) & 7]);
	app_removals(&dw);
	loop_round(&dw);
	poll_daemon();
}

static void step(struct fz *f)
{
	uint8_t op = fz_u8(f), i = (op >> 4) % CLIENTS;
	struct app *a = an_app(op >> 4);

	switch (op & 15) {
	case 0:
		client_begin(i);
		break;
	case 1:
	case 2:
		client_begin(i);
		client_send(f, i, (op & 15) == 2);
		poll_daemon();
		break;
	case 3:
		client_end(i);
		poll_daemon();
		break;
	case 4:
		if (client_fd[i] >= 0)
			client_read(i);
		break;
	case 5:
		let_time_pass(f);
		break;
	case 6:
		loop_round(&dw);
		poll_daemon();
		break;
	case 7:
		peer_goes_on(f);
		loop_round(&dw);
		break;
	case 8:
	case 9:
		peer_sends(f);
		if (op & 1)
			loop_round(&dw);
		break;
	case 10:
		if (a)
			app_takes(a, fz_u8(f));
		break;
	case 11:
	case 12:
		if (a)
			app_says(a, f);
		break;
	case 13:
		if (a)
			app_scribbles(a, f);
		break;
	case 14:
		if (a)
			app_injects(a, f);
		break;
	default:
		if (a)
			app_takes(a, fz_u8(f));
		loop_round(&dw);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fz f = {data, data + size};

	dw_open();
	scribbled = false;
	for (uint32_t i = 0; i < CLIENTS; i++)
		client_fd[i] = -1;
	/* A stopped daemon takes nothing any more. */
	while (fz_more(&f) && !dw.stop)
		step(&f);
	for (uint32_t i = 0; i < CLIENTS; i++)
		client_end(i);
	for (uint32_t i = 0; i < SHARES; i++)
		close_share(i);
	poll_daemon();
	poll_daemon();
	dw_close();
	dw_check_frames();
	return 0;
}
