// SPDX-License-Identifier: BSD-2-Clause
/*
 * Datagrams in and out. Rules: udp(7), ip(7), recv(2), send(2), and Linux's udp_recvmsg() and
 * udp_sendmsg(). What is not ours to do is the twin's (udp.c), which also finds the words for
 * what is wrong with a call.
 */
#include <time.h>
#include <stdlib.h>
#include <netinet/udp.h>
#include <linux/errqueue.h>
#include "calls.h"
#include "mapped.h"
#include "sandbox.h"
#include "udp.h"

#define KERNEL_EVERY 16u  /* datagrams of ours, before the twin is looked at */
#define MAX_SEGMENTS 128u /* Linux's UDP_MAX_SEGMENTS */
#define HLEN 28u	  /* of IPv4 and UDP */
#define MAX_ROW 64u	  /* datagrams: Linux's UDP_GRO_CNT_MAX */

/* Under the engine's lock: a datagram of a vector with several pieces. */
static uint8_t *scratch(void)
{
	if (!eng.udp_buf)
		eng.udp_buf = malloc(UDP_MAX_PAYLOAD + 1);
	return eng.udp_buf;
}

static size_t total_len(const struct msghdr *m)
{
	size_t n = 0;

	for (size_t i = 0; i < m->msg_iovlen; i++) {
		if (m->msg_iov[i].iov_len > SIZE_MAX / 2 - n)
			return SIZE_MAX;
		n += m->msg_iov[i].iov_len;
	}
	return n;
}

/* ---- receive ---- */

/* Appends a control message, cut where there is no room for it (put_cmsg() of Linux). */
static void put_cmsg(struct msghdr *m, size_t *used, int level, int type, const void *data,
		     size_t len)
{
	size_t room = m->msg_controllen - *used, cmlen = CMSG_LEN(len);
	struct cmsghdr c = {.cmsg_level = level, .cmsg_type = type};
	uint8_t *to = (uint8_t *)m->msg_control + *used;

	if (!m->msg_control || room < sizeof(c)) {
		m->msg_flags |= MSG_CTRUNC;
		return;
	}
	if (room < cmlen) {
		m->msg_flags |= MSG_CTRUNC;
		cmlen = room;
	}
	c.cmsg_len = cmlen;
	memcpy(to, &c, sizeof(c));
	memcpy(to + CMSG_LEN(0), data, cmlen - CMSG_LEN(0));
	*used += CMSG_SPACE(len) < room ? CMSG_SPACE(len) : room;
}

static struct timespec wall_time(uint64_t ns)
{
	struct timespec real, mono;
	int64_t t;

	clock_gettime(CLOCK_REALTIME, &real);
	clock_gettime(CLOCK_MONOTONIC, &mono);
	t = ((int64_t)real.tv_sec - mono.tv_sec) * (int64_t)NS_PER_S + real.tv_nsec - mono.tv_nsec +
	    (int64_t)ns;
	return (struct timespec){t / (int64_t)NS_PER_S, t % (int64_t)NS_PER_S};
}

/* What put_cmsg() is called with below comes in Linux's order. */
static void put_time(const struct sock_udp *u, struct msghdr *m, size_t *used, uint64_t ns)
{
	struct timespec ts;
	struct timeval tv;

	if (!u->timestamp && !u->timestampns)
		return;
	ts = wall_time(ns);
	tv = (struct timeval){ts.tv_sec, ts.tv_nsec / 1000};
	if (u->timestampns)
		put_cmsg(m, used, SOL_SOCKET, SO_TIMESTAMPNS, &ts, sizeof(ts));
	else
		put_cmsg(m, used, SOL_SOCKET, SO_TIMESTAMP, &tv, sizeof(tv));
}

/* @local: the address to answer from. */
static void put_ip(const struct sock_udp *u, struct msghdr *m, size_t *used,
		   const struct udp_info *in, uint32_t local)
{
	struct sockaddr_in dst = {.sin_family = AF_INET,
				  .sin_port = u->local.sin_port,
				  .sin_addr.s_addr = ip_addr_to_v4(&in->dst)};

	if (u->pktinfo6) {
		struct in6_pktinfo pi = {.ipi6_ifindex = (unsigned)eng.ifindex[in->netif],
					 .ipi6_addr = mapped_from_v4(&dst).sin6_addr};

		put_cmsg(m, used, IPPROTO_IPV6, IPV6_PKTINFO, &pi, sizeof(pi));
	}
	if (u->pktinfo) {
		struct in_pktinfo pi = {.ipi_ifindex = eng.ifindex[in->netif],
					.ipi_spec_dst.s_addr = local,
					.ipi_addr = dst.sin_addr};

		put_cmsg(m, used, IPPROTO_IP, IP_PKTINFO, &pi, sizeof(pi));
	}
	if (u->recvttl) {
		int ttl = in->ttl;

		put_cmsg(m, used, IPPROTO_IP, IP_TTL, &ttl, sizeof(ttl));
	}
	if (u->recvtos)
		put_cmsg(m, used, IPPROTO_IP, IP_TOS, &in->tos, sizeof(in->tos));
	if (u->recvorigdst)
		put_cmsg(m, used, IPPROTO_IP, IP_ORIGDSTADDR, &dst, sizeof(dst));
}

/* @row: of several datagrams, each as long as the first, the last one perhaps shorter. */
static void put_ancillary(const struct sock_udp *u, struct msghdr *m, const struct udp_info *in,
			  bool row)
{
	int size = (int)in->len;
	size_t used = 0;

	put_time(u, m, &used, in->ns);
	if (row)
		put_cmsg(m, &used, IPPROTO_UDP, UDP_GRO, &size, sizeof(size));
	put_ip(u, m, &used, in, ip_addr_to_v4(&in->dst));
	m->msg_controllen = used;
}

static void scatter(const struct msghdr *m, const uint8_t *from, size_t n)
{
	for (size_t i = 0; n; i++) {
		size_t part = m->msg_iov[i].iov_len < n ? m->msg_iov[i].iov_len : n;

		memcpy(m->msg_iov[i].iov_base, from, part);
		from += part;
		n -= part;
	}
}

/* UDP_GRO: what came in a row with @first, as long as there is room for all of it. Its bytes. */
static int64_t take_row(const struct sock_udp *u, uint8_t *buf, size_t room,
			const struct udp_info *first)
{
	int64_t total = 0, n = first->len;

	for (uint32_t i = 1; i < MAX_ROW && n == first->len; i++) {
		n = udp_recv_row(eng.stack, u->id, buf + total, room - (size_t)total, first);
		if (n < 0)
			break;
		total += n;
	}
	return total;
}

/* A datagram of ours, or a row of them. -EAGAIN: there is none. */
static int64_t take(struct sock *sk, struct msghdr *m, int flags)
{
	const struct sock_udp *u = udp_of(sk);
	size_t room = total_len(m);
	int64_t row = 0;
	struct udp_info in;
	void *buf = NULL;
	int64_t n;

	if (udp_next_len(eng.stack, u->id) < 0)
		return -EAGAIN;
	room = room < UDP_MAX_PAYLOAD ? room : UDP_MAX_PAYLOAD;
	if (m->msg_iovlen == 1)
		buf = m->msg_iov->iov_base;
	else if (m->msg_iovlen && !(buf = scratch()))
		return -ENOMEM;
	n = udp_recv(eng.stack, u->id, buf, room, &in, flags & MSG_PEEK);
	m->msg_flags = in.len > (uint64_t)n ? MSG_TRUNC : 0;
	if (u->gro && n && !m->msg_flags && !(flags & MSG_PEEK))
		row = take_row(u, (uint8_t *)buf + n, room - (size_t)n, &in);
	n += row;
	if (m->msg_iovlen > 1)
		scatter(m, buf, (size_t)n);
	if (m->msg_name)
		udp_addr_out(u, &in.src, in.sport, m->msg_name, &m->msg_namelen);
	else
		m->msg_namelen = 0;
	put_ancillary(u, m, &in, row);
	return flags & MSG_TRUNC && !row ? in.len : n;
}

/* What the stack has for it, the engine run first where that is nothing yet. */
static int64_t take_ours(struct sock *sk, struct msghdr *m, int flags)
{
	int err = udp_error(eng.stack, udp_of(sk)->id);
	int64_t r = err ? -err : take(sk, m, flags);

	if (r != -EAGAIN)
		return r;
	eng_run(clock_now());
	err = udp_error(eng.stack, udp_of(sk)->id);
	return err ? -err : take(sk, m, flags);
}

/* One round over both. Now and then the twin comes first, so that it does not starve. */
static int64_t take_any(struct sock *sk, struct msghdr *m, int flags)
{
	struct sock_udp *u = udp_of(sk);
	bool twin_first = ++u->turn > KERNEL_EVERY;
	int64_t r = twin_first ? -EAGAIN : take_ours(sk, m, flags);

	if (r != -EAGAIN)
		return r;
	u->turn = 0;
	r = recvmsg(u->kfd, m, flags | MSG_DONTWAIT);
	if (r < 0)
		r = -errno;
	return r == -EAGAIN && twin_first ? take_ours(sk, m, flags) : r;
}

/* ---- the error queue: Linux's ip_recv_error() and ipv6_recv_error() ---- */

static void put_error(const struct sock_udp *u, struct msghdr *m, const struct udp_err *e)
{
	struct udp_info in = {.dst = e->dst, .netif = e->netif, .ttl = e->ttl, .tos = e->tos};
	struct {
		struct sock_extended_err ee;
		union {
			struct sockaddr_in sin;
			struct sockaddr_in6 sin6;
		} offender;
	} rec = {.ee = {.ee_errno = e->err,
			.ee_origin = e->origin,
			.ee_type = e->type,
			.ee_code = e->code,
			.ee_info = e->info}};
	size_t used = 0, size = u->v6 ? sizeof(rec.offender.sin6) : sizeof(rec.offender.sin);
	socklen_t len = sizeof(rec.offender);

	put_time(u, m, &used, e->ns);
	if (e->origin == UDP_ERR_ICMP) {
		put_ip(u, m, &used, &in, INADDR_ANY);
		udp_addr_out(u, &e->offender, 0, (struct sockaddr *)&rec.offender, &len);
	}
	put_cmsg(m, &used, u->v6 ? IPPROTO_IPV6 : IPPROTO_IP, u->v6 ? IPV6_RECVERR : IP_RECVERR,
		 &rec, sizeof(rec.ee) + size);
	m->msg_controllen = used;
}

/* A record of ours; -EAGAIN: there is none. */
static int64_t take_error(struct sock *sk, struct msghdr *m)
{
	const struct sock_udp *u = udp_of(sk);
	size_t room = total_len(m);
	struct udp_err e;
	void *buf = NULL;
	int64_t n;

	room = room < UDP_MAX_PAYLOAD ? room : UDP_MAX_PAYLOAD;
	if (m->msg_iovlen == 1)
		buf = m->msg_iov->iov_base;
	else if (m->msg_iovlen && !(buf = scratch()))
		return -ENOMEM;
	n = udp_recv_error(eng.stack, u->id, buf, room, &e);
	if (n < 0)
		return n;
	if (m->msg_iovlen > 1)
		scatter(m, buf, (size_t)n);
	m->msg_flags = MSG_ERRQUEUE | (e.len > n ? MSG_TRUNC : 0);
	if (m->msg_name)
		udp_addr_out(u, &e.to, e.port, m->msg_name, &m->msg_namelen);
	else
		m->msg_namelen = 0;
	put_error(u, m, &e);
	return n;
}

/* Never waits. What loopback and IPv6 have to tell is in the twin's queue. */
static int64_t take_any_error(struct sock *sk, struct msghdr *m, int flags)
{
	int64_t r = take_error(sk, m);

	if (r == -EAGAIN) {
		eng_run(clock_now());
		r = take_error(sk, m);
	}
	if (r != -EAGAIN)
		return r;
	r = recvmsg(udp_of(sk)->kfd, m, flags | MSG_DONTWAIT);
	return r < 0 ? -errno : r;
}

/* ---- waiting ---- */

struct udp_watch {
	struct watch watch;
	struct waiter *waiter;
};

static void wake_blocked(struct watch *w, uint32_t events)
{
	(void)events;
	waiter_wake(container_of(w, struct udp_watch, watch)->waiter);
}

/* For the stack to have something, or @twin to be ready. */
static int wait_any(struct sock *sk, struct pollfd *twin, struct mtime until)
{
	struct waiter w = WAITER_INIT;
	struct udp_watch uw = {.watch.fn = wake_blocked, .waiter = &w};
	int r;

	twin->revents = 0;
	waitq_add(&sk->f.wq, &uw.watch);
	r = waiter_sleep(&w, until, twin, 1);
	waitq_del(&uw.watch);
	return r ? r : file_is_open(&sk->f) ? 0 : -EBADF;
}

/*
 * Something in the twin's error queue makes it ready for as long as nobody reads that, though
 * there is nothing to receive. A descriptor that is ready with what comes from now on, -1.
 */
static int twin_news(const struct sock_udp *u, short events)
{
	struct epoll_event ev = {.events = (uint32_t)events | EPOLLET}; /* POLLIN is EPOLLIN */
	int ep;

	if (eng.forbidden & SANDBOX_NO_EPOLL)
		return -1;
	ep = fd_private(epoll_create1(EPOLL_CLOEXEC));
	if (ep >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, u->kfd, &ev)) {
		fd_private_close(ep);
		return -1;
	}
	if (ep >= 0)
		epoll_wait(ep, &ev, 1, 0);
	return ep;
}

/* A call that waits for its socket's twin, too. */
struct twin_wait {
	struct pollfd p;
	int news;     /* twin_news(), -1 */
	bool no_news; /* there was none to be had */
};

static struct twin_wait twin_wait(const struct sock *sk, short events)
{
	return (struct twin_wait){{.fd = udp_of(sk)->kfd, .events = events}, .news = -1};
}

/* One sleep. What it was for is to be looked at then: also an old record is an event once. */
static int wait_twin(struct sock *sk, struct twin_wait *t, struct mtime until)
{
	struct epoll_event ev;
	int r = wait_any(sk, &t->p, until);

	if (r)
		return r;
	if (t->news >= 0) {
		epoll_wait(t->news, &ev, 1, 0);
	} else if (t->p.revents == POLLERR && !t->no_news) {
		t->news = twin_news(udp_of(sk), t->p.events);
		t->no_news = t->news < 0;
		t->p.fd = t->news >= 0 ? t->news : t->p.fd;
		t->p.events = t->news >= 0 ? POLLIN : t->p.events;
	}
	return 0;
}

static void twin_wait_end(const struct twin_wait *t)
{
	if (t->news >= 0)
		fd_private_close(t->news);
}

static int64_t recv_blocked(struct sock *sk, struct msghdr *m, int flags)
{
	struct mtime until = timeout_deadline(sk->extra->rcv_timeo);
	struct twin_wait t = twin_wait(sk, POLLIN);
	int64_t r;

	do {
		r = wait_error(wait_twin(sk, &t, until), sk->extra->rcv_timeo, -EAGAIN);
		if (r)
			break;
		r = take_any(sk, m, flags);
	} while (r == -EAGAIN && !udp_of(sk)->rd_shut);
	twin_wait_end(&t);
	return r;
}

int64_t udp_recvmsg(struct sock *sk, struct msghdr *m, int flags)
{
	bool nonblock = sk->nonblock || flags & MSG_DONTWAIT;
	int64_t r;

	if (flags & MSG_ERRQUEUE)
		return take_any_error(sk, m, flags);
	if (flags & MSG_OOB) {
		r = recvmsg(udp_of(sk)->kfd, m, flags | MSG_DONTWAIT);
		return r < 0 ? -errno : r;
	}
	r = take_any(sk, m, flags & ~MSG_WAITALL);
	if (r == -EAGAIN && !nonblock && !udp_of(sk)->rd_shut)
		r = recv_blocked(sk, m, flags & ~MSG_WAITALL);
	if (r == -EAGAIN && udp_of(sk)->rd_shut) {
		m->msg_namelen = 0;
		m->msg_controllen = 0;
		return 0;
	}
	return r;
}

/* ---- send ---- */

/* Never blocks in the kernel: the engine is locked. */
static int64_t by_twin(struct sock *sk, const struct msghdr *m, int flags)
{
	bool nonblock = sk->nonblock || flags & MSG_DONTWAIT;
	struct mtime until = timeout_deadline(sk->extra->snd_timeo);
	struct twin_wait t = twin_wait(sk, POLLOUT);
	bool was_bound = udp_of(sk)->local.sin_port;
	int64_t r;

	for (;;) {
		r = sendmsg(udp_of(sk)->kfd, m, flags | MSG_DONTWAIT | MSG_NOSIGNAL);
		r = r < 0 ? -errno : r;
		if (r != -EAGAIN || nonblock)
			break;
		r = wait_error(wait_twin(sk, &t, until), sk->extra->snd_timeo, -EAGAIN);
		if (r) {
			twin_wait_end(&t);
			return r;
		}
	}
	twin_wait_end(&t);
	/* It has got a name by that. */
	if (!was_bound)
		udp_sync(sk);
	return r;
}

/* Does the datagram leave as the call wants it? Whether it may, the kernel knows. */
static bool same_way(const struct udp_dest *to, int ifindex, uint32_t src)
{
	return (!ifindex || ifindex == eng.ifindex[to->way->netif]) &&
	       (!src || src == ip_addr_to_v4(&to->src));
}

/* IP_PKTINFO, IP_TTL, IP_TOS. False: only the kernel can do that. */
static bool ip_cmsg(const struct cmsghdr *c, struct udp_dest *to)
{
	struct in_pktinfo pi;
	int v = 0;

	if (c->cmsg_type == IP_PKTINFO && c->cmsg_len == CMSG_LEN(sizeof(pi))) {
		memcpy(&pi, CMSG_DATA(c), sizeof(pi));
		return same_way(to, pi.ipi_ifindex, pi.ipi_spec_dst.s_addr);
	}
	if (c->cmsg_len != CMSG_LEN(sizeof(v)) ||
	    (c->cmsg_type != IP_TTL && c->cmsg_type != IP_TOS))
		return false;
	memcpy(&v, CMSG_DATA(c), sizeof(v));
	if (v < (c->cmsg_type == IP_TTL) || v > 255)
		return false;
	*(c->cmsg_type == IP_TTL ? &to->ttl : &to->tos) = (uint8_t)v;
	return true;
}

/* IPv6's, of a socket of that family, for a datagram of IPv4: the rest has no meaning there. */
static bool ip6_cmsg(const struct cmsghdr *c, const struct udp_dest *to)
{
	struct sockaddr_in6 src = {0};
	struct in6_pktinfo pi;

	if (c->cmsg_type != IPV6_PKTINFO)
		return true;
	if (c->cmsg_len < CMSG_LEN(sizeof(pi)))
		return false;
	memcpy(&pi, CMSG_DATA(c), sizeof(pi));
	src.sin6_addr = pi.ipi6_addr;
	return IN6_IS_ADDR_V4MAPPED(&src.sin6_addr) &&
	       same_way(to, (int)pi.ipi6_ifindex, mapped_to_v4(&src).sin_addr.s_addr);
}

/* What a call asks for beyond the socket's options. False: only the kernel can do that. */
static bool parse_cmsgs(const struct sock_udp *u, const struct msghdr *m, struct udp_dest *to,
			uint16_t *gso)
{
	for (struct cmsghdr *c = CMSG_FIRSTHDR(m); c;
	     c = CMSG_NXTHDR((struct msghdr *)(uintptr_t)m, c)) {
		bool ok = false;

		if (c->cmsg_len < CMSG_LEN(0))
			return false;
		if (c->cmsg_level == IPPROTO_IP) {
			ok = ip_cmsg(c, to);
		} else if (c->cmsg_level == IPPROTO_IPV6 && u->v6) {
			ok = ip6_cmsg(c, to);
		} else if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_SEGMENT &&
			   c->cmsg_len == CMSG_LEN(sizeof(*gso))) {
			memcpy(gso, CMSG_DATA(c), sizeof(*gso));
			ok = true;
		}
		if (!ok)
			return false;
	}
	return true;
}

/* The address that the call names, or the peer. False: the kernel says what is wrong, or sends. */
static bool destination(const struct sock *sk, const struct msghdr *m, struct sockaddr_in *sin)
{
	struct sockaddr_in6 sin6 = {0};

	*sin = udp_of(sk)->peer;
	if (!m->msg_name)
		return sin->sin_port;
	if (m->msg_namelen < sizeof(*sin))
		return false;
	memcpy(sin, m->msg_name, sizeof(*sin));
	if (sin->sin_family == AF_INET)
		return sin->sin_port;
	if (!udp_of(sk)->v6 || sin->sin_family != AF_INET6 || m->msg_namelen < SIN6_LEN_RFC2133)
		return false;
	memcpy(&sin6, m->msg_name, SIN6_LEN_RFC2133);
	*sin = mapped_to_v4(&sin6);
	return IN6_IS_ADDR_V4MAPPED(&sin6.sin6_addr) && sin->sin_port;
}

/* In one piece; NULL: no memory. */
static const uint8_t *gather(const struct msghdr *m)
{
	uint8_t *buf, *to;

	if (m->msg_iovlen == 1)
		return m->msg_iov->iov_base;
	to = buf = scratch();
	for (size_t i = 0; buf && i < m->msg_iovlen; i++) {
		memcpy(to, m->msg_iov[i].iov_base, m->msg_iov[i].iov_len);
		to += m->msg_iov[i].iov_len;
	}
	return buf;
}

/* UDP_SEGMENT: Linux's udp_send_skb(). */
static int check_segments(const struct sock_udp *u, size_t len, uint16_t gso, uint32_t mtu)
{
	if ((len < gso ? len : gso) + HLEN > mtu)
		return -EMSGSIZE;
	return len > (size_t)gso * MAX_SEGMENTS || u->no_csum ? -EINVAL : 0;
}

/* @len bytes as datagrams of @gso bytes each. */
static int64_t send_segments(uint32_t id, const struct udp_dest *to, const uint8_t *buf, size_t len,
			     uint16_t gso, struct mtime now)
{
	for (size_t at = 0; at < len; at += gso) {
		size_t n = len - at < gso ? len - at : gso;
		int64_t r = udp_send(eng.stack, id, to, buf + at, n, now);

		if (r == -ENOBUFS) {
			eng_output(now);
			r = udp_send(eng.stack, id, to, buf + at, n, now);
		}
		/* Once some have left, the rest is as lost on the way. */
		if (r < 0)
			return at ? (int64_t)len : r;
	}
	return (int64_t)len;
}

/* -EAGAIN: it is the twin's after all. */
static int64_t send_ours(struct sock *sk, const struct msghdr *m, const struct sockaddr_in *sin,
			 struct mtime now)
{
	struct sock_udp *u = udp_of(sk);
	size_t len = total_len(m);
	struct dest *d = dest_get(sin->sin_addr.s_addr, now);
	struct udp_dest to = {.addr = ip_addr_v4(sin->sin_addr.s_addr),
			      .port = sin->sin_port,
			      .ttl = u->ttl,
			      .tos = u->tos,
			      .pmtudisc = u->pmtudisc,
			      .no_csum = u->no_csum,
			      .way = &d->way};
	uint16_t gso = u->gso_size;
	const uint8_t *buf;
	int64_t r;

	if (!d->ours || len > UDP_MAX_PAYLOAD || !udp_ready(sk, now) || !dest_usable(d, now))
		return -EAGAIN;
	to.src = ip_addr_v4(u->local.sin_addr.s_addr ? u->local.sin_addr.s_addr : d->src);
	if (m->msg_controllen && !parse_cmsgs(u, m, &to, &gso))
		return -EAGAIN;
	r = gso ? check_segments(u, len, gso, udp_way_mtu(eng.stack, &to)) : 0;
	if (r)
		return r;
	buf = gather(m);
	if (!buf && len)
		return -EAGAIN;
	if (gso && len > gso)
		return send_segments(u->id, &to, buf, len, gso, now);
	r = udp_send(eng.stack, u->id, &to, buf, len, now);
	if (r == -ENOBUFS) {
		/* The pool may only wait for its packets to be sent. */
		eng_output(now);
		r = udp_send(eng.stack, u->id, &to, buf, len, now);
	}
	return r == -ENOBUFS ? -EAGAIN : r;
}

int64_t udp_sendmsg(struct sock *sk, const struct msghdr *m, int flags, bool flush)
{
	const int known = MSG_DONTWAIT | MSG_NOSIGNAL | MSG_CONFIRM;
	struct sock_udp *u = udp_of(sk);
	struct mtime now = clock_now();
	struct sockaddr_in sin;
	int64_t r = -EAGAIN;
	int err;

	if (port_rx_pending(eng.port) && (u->peer.sin_port || u->recverr))
		eng_run(now);
	err = udp_error(eng.stack, u->id);
	if (err)
		return -err;
	if (!(flags & ~known) && !u->kernel_only && !u->cork && !u->wr_shut &&
	    m->msg_iovlen <= 1024 && destination(sk, m, &sin))
		r = send_ours(sk, m, &sin, now);
	/* What was built leaves before what the twin sends. */
	if (flush || r == -EAGAIN)
		eng_output(now);
	return r == -EAGAIN ? by_twin(sk, m, flags) : r;
}

/* ---- several at once: sendmmsg(2), recvmmsg(2) ---- */

int tandem_sendmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags)
{
	int err;
	struct sock *sk = call_sock(fd, &err);
	bool udp = !err && sk->state == SK_UDP;
	unsigned i = 0;
	int64_t r = err;

	for (; udp && i < n; i++) {
		r = udp_sendmsg(sk, &msgs[i].msg_hdr, flags, i + 1 == n);
		if (r < 0)
			break;
		msgs[i].msg_len = (unsigned)r;
	}
	if (udp)
		eng_output(clock_now());
	r = call_end(sk, udp && i ? i : r);
	for (; !udp && !err && i < n; i++) {
		r = tandem_sendmsg(fd, &msgs[i].msg_hdr, flags);
		if (r < 0)
			break;
		msgs[i].msg_len = (unsigned)r;
	}
	return i ? (int)i : (int)r;
}

/* The timeout is only looked at between messages: the kernel's rule (recvmmsg(2), BUGS). */
int tandem_recvmmsg(int fd, struct mmsghdr *msgs, unsigned n, int flags, struct timespec *timeout)
{
	struct mtime end = timeout ? mtime_add_ns(clock_now(), timespec_ns(timeout)) : MTIME_NEVER;
	unsigned i;

	for (i = 0; i < n; i++) {
		ssize_t r = tandem_recvmsg(fd, &msgs[i].msg_hdr, flags & ~MSG_WAITFORONE);

		if (r < 0)
			return i ? (int)i : -1;
		msgs[i].msg_len = (unsigned)r;
		if (flags & MSG_WAITFORONE)
			flags |= MSG_DONTWAIT;
		if (timeout && !mtime_before(clock_now(), end))
			return (int)i + 1;
	}
	return (int)i;
}
