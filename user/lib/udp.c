// SPDX-License-Identifier: BSD-2-Clause
/*
 * UDP sockets: their names, options and ends. Each has a socket of the kernel's beside it, the
 * twin, that bears the same name and options: it is bound and connected first, so that the kernel
 * says what is allowed, which port is free, what the source address is. Then the daemon is shown
 * the twin, and sends what comes to that port over the interface here (daemon/udp.c).
 *
 * What tandem has no part in stays the twin's: loopback, other interfaces, broadcast and
 * multicast, neighbours that are not known yet, ancillary data of rare kinds. A socket receives
 * from both, and is ready when either is. Without a daemon the twin does everything.
 *
 * A socket of AF_INET6 is the same with a twin of that family: the kernel keeps the port for both
 * families, what comes by IPv6 is the twin's, and IPv4 may be tandem's, under mapped addresses. It
 * never is where the socket takes IPv6 only, by IPV6_V6ONLY or by an address of it.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <netinet/udp.h>
#include "calls.h"
#include "mapped.h"
#include "shim.h"
#include "udp.h"

#define REFUSED_NS NS_PER_S

/* ---- the twin ---- */

static int opt(int fd, int level, int name)
{
	socklen_t len = sizeof(int);
	int v = 0;

	return getsockopt(fd, level, name, &v, &len) ? 0 : v;
}

static void read_options(struct sock *sk)
{
	struct sock_udp *u = udp_of(sk);
	int fd = u->kfd, dev;
	struct timeval tv;
	socklen_t len;

	u->pktinfo = opt(fd, IPPROTO_IP, IP_PKTINFO);
	u->pktinfo6 = u->v6 && opt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO);
	u->recvttl = opt(fd, IPPROTO_IP, IP_RECVTTL);
	u->recvtos = opt(fd, IPPROTO_IP, IP_RECVTOS);
	u->recvorigdst = opt(fd, IPPROTO_IP, IP_RECVORIGDSTADDR);
	u->recverr = opt(fd, IPPROTO_IP, IP_RECVERR);
	u->err_pri = opt(fd, SOL_SOCKET, SO_SELECT_ERR_QUEUE);
	u->ttl = (uint8_t)opt(fd, IPPROTO_IP, IP_TTL);
	u->tos = (uint8_t)opt(fd, IPPROTO_IP, IP_TOS);
	u->pmtudisc = (uint8_t)opt(fd, IPPROTO_IP, IP_MTU_DISCOVER);
	u->timestamp = opt(fd, SOL_SOCKET, SO_TIMESTAMP);
	u->timestampns = opt(fd, SOL_SOCKET, SO_TIMESTAMPNS);
	u->no_csum = opt(fd, SOL_SOCKET, SO_NO_CHECK);
	u->cork = opt(fd, IPPROTO_UDP, UDP_CORK);
	u->gro = opt(fd, IPPROTO_UDP, UDP_GRO);
	u->gso_size = (uint16_t)opt(fd, IPPROTO_UDP, UDP_SEGMENT);
	dev = opt(fd, SOL_SOCKET, SO_BINDTOIFINDEX);
	u->kernel_only |=
		eng.foreign || (dev > 0 && dest_netif(dev) < 0) || opt(fd, SOL_SOCKET, SO_MARK);
	udp_set_rcvbuf(eng.stack, u->id, (uint32_t)opt(fd, SOL_SOCKET, SO_RCVBUF));
	udp_set_recverr(eng.stack, u->id, u->recverr);
	for (int i = 0; i < 2; i++) {
		len = sizeof(tv);
		if (!getsockopt(fd, SOL_SOCKET, i ? SO_SNDTIMEO : SO_RCVTIMEO, &tv, &len))
			*(i ? &sk->extra->snd_timeo : &sk->extra->rcv_timeo) =
				(uint64_t)tv.tv_sec * NS_PER_S + (uint64_t)tv.tv_usec * NS_PER_US;
	}
	sk->reuseport = opt(fd, SOL_SOCKET, SO_REUSEPORT) != 0;
}

typedef int (*name_fn)(int, struct sockaddr *, socklen_t *);

/* A name of the twin's, zeros where it has none. False: an address of IPv6. */
static bool read_name(struct sock_udp *u, name_fn get, struct sockaddr_in *sin)
{
	struct sockaddr_in6 sin6 = {0};
	socklen_t len = sizeof(sin6);

	memset(sin, 0, sizeof(*sin));
	if (get(u->kfd, (struct sockaddr *)&sin6, &len))
		return true;
	if (sin6.sin6_family != AF_INET6) {
		memcpy(sin, &sin6, sizeof(*sin));
		return true;
	}
	*sin = mapped_to_v4(&sin6);
	return IN6_IS_ADDR_V4MAPPED(&sin6.sin6_addr) || IN6_IS_ADDR_UNSPECIFIED(&sin6.sin6_addr);
}

/* A socket can change its family (IPV6_ADDRFORM). */
static void read_names(struct sock_udp *u)
{
	bool v4;

	u->v6 = opt(u->kfd, SOL_SOCKET, SO_DOMAIN) == AF_INET6;
	v4 = read_name(u, getsockname, &u->local);
	v4 &= read_name(u, getpeername, &u->peer);
	u->kernel_only = !v4 || (u->v6 && opt(u->kfd, IPPROTO_IPV6, IPV6_V6ONLY));
}

/* ---- the claim ---- */

static void unclaim(struct sock_udp *u)
{
	struct ctl_listen req = {.proto = IPPROTO_UDP, .id = u->claim_id};

	if (u->claim_id != SHM_NIL)
		ctl_call(&req, CTL_UNBIND, NULL);
	u->claim_id = SHM_NIL;
}

static bool is_loopback(uint32_t be_addr)
{
	return ntohl(be_addr) >> 24 == IN_LOOPBACKNET;
}

/* Could datagrams for it come over our interface? */
static bool may_be_ours(const struct sock_udp *u, struct mtime now)
{
	if (!u->local.sin_port || u->kernel_only || is_loopback(u->local.sin_addr.s_addr) ||
	    IN_MULTICAST(ntohl(u->local.sin_addr.s_addr)) || eng.daemon_gone)
		return false;
	return !u->peer.sin_port || dest_get(u->peer.sin_addr.s_addr, now)->ours;
}

static void claim(struct sock_udp *u, struct mtime now)
{
	struct ctl_listen req = {.proto = IPPROTO_UDP,
				 .addr = ip_addr_v4(u->local.sin_addr.s_addr),
				 .port = u->local.sin_port,
				 .id = SHM_NIL};
	struct ctl_listen_reply rep;

	if (ctl_call_fd(&req, CTL_BIND, &rep, u->kfd)) {
		u->refused = now;
		return;
	}
	u->claim_id = rep.id;
	u->claimed = u->local;
}

void udp_sync(struct sock *sk)
{
	struct sock_udp *u = udp_of(sk);
	struct mtime now = clock_now();
	struct tcp_addr_pair a = {0};
	bool ours, same;

	read_names(u);
	read_options(sk);
	ours = may_be_ours(u, now);
	/* Of one that is bound to any address connect() makes one with an address. */
	same = u->claimed.sin_port == u->local.sin_port &&
	       (u->claimed.sin_addr.s_addr == u->local.sin_addr.s_addr ||
		u->claimed.sin_addr.s_addr == INADDR_ANY);
	if (!ours || !same)
		unclaim(u);
	if (ours && u->claim_id == SHM_NIL)
		claim(u, now);
	if (u->claim_id != SHM_NIL) {
		a = (struct tcp_addr_pair){.local = ip_addr_v4(u->local.sin_addr.s_addr),
					   .local_port = u->local.sin_port,
					   .remote = ip_addr_v4(u->peer.sin_addr.s_addr),
					   .remote_port = u->peer.sin_port};
		u->refused = (struct mtime){0};
	}
	udp_bind(eng.stack, u->id, &a,
		 (sk->reuseport ? UDP_REUSEPORT : 0u) | (u->v6 ? UDP_V6 : 0u));
}

/* Linux's inet_autobind(). */
static int autobind(struct sock_udp *u)
{
	struct sockaddr_in6 any = {.sin6_family = u->v6 ? AF_INET6 : AF_INET};

	return bind(u->kfd, (struct sockaddr *)&any, sizeof(any));
}

bool udp_ready(struct sock *sk, struct mtime now)
{
	struct sock_udp *u = udp_of(sk);

	if (u->claim_id != SHM_NIL)
		return true;
	if (u->kernel_only || (u->refused.ns && mtime_diff_ns(now, u->refused) < REFUSED_NS))
		return false;
	if (!u->local.sin_port && autobind(u))
		return false;
	udp_sync(sk);
	if (u->claim_id == SHM_NIL)
		u->refused = now;
	return u->claim_id != SHM_NIL;
}

void udp_addr_out(const struct sock_udp *u, const struct ip_addr *addr, uint16_t port,
		  struct sockaddr *to, socklen_t *len)
{
	struct sockaddr_in sin = {
		.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = ip_addr_to_v4(addr)};
	struct sockaddr_in6 sin6;

	if (!u->v6) {
		sockaddr_out(sin.sin_addr.s_addr, port, to, len);
		return;
	}
	sin6 = mapped_from_v4(&sin);
	memcpy(to, &sin6, *len < sizeof(sin6) ? *len : sizeof(sin6));
	*len = sizeof(sin6);
}

/* ---- beginning and end ---- */

int udp_new(int kfd)
{
	struct sock *sk = sock_new();
	struct sock_udp *u = sk && sock_need_extra(sk) ? calloc(1, sizeof(*u)) : NULL;
	int err = -ENOMEM;

	if (!u)
		goto no_udp;
	sk->extra->udp = u;
	u->claim_id = SHM_NIL;
	err = file_install(&sk->f);
	if (err)
		goto no_file;
	sock_set_cookie(sk);
	err = udp_open(eng.stack, sock_cookie(sk), &u->id);
	if (err)
		goto no_id;
	sk->state = SK_UDP;
	u->kfd = kfd;
	sk->nonblock = (fcntl(kfd, F_GETFL) & O_NONBLOCK) != 0;
	udp_sync(sk);
	return sk->f.handle;

no_id:
	file_remove(&sk->f);
no_file:
	free(u);
no_udp:
	if (sk)
		sock_free(sk);
	return err;
}

void udp_again(struct sock *sk)
{
	struct sock_udp *u = udp_of(sk);

	u->claim_id = SHM_NIL;
	u->claimed = (struct sockaddr_in){0};
	u->refused = (struct mtime){0};
	/* As many as before: there is room. */
	if (!udp_open(eng.stack, sock_cookie(sk), &u->id))
		udp_sync(sk);
}

int lib_udp_adopt(int kfd)
{
	int r = eng_enter(), copy = r ? -1 : fcntl(kfd, F_DUPFD_CLOEXEC, 0);

	if (!r && copy < 0)
		r = -errno;
	if (!r) {
		copy = fd_private(copy);
		r = udp_new(copy);
		if (r < 0)
			close(copy);
	}
	return (int)call_end(NULL, r);
}

void udp_release(struct sock *sk)
{
	struct sock_udp *u = udp_of(sk);

	unclaim(u);
	udp_close(eng.stack, u->id);
	close(u->kfd);
	free(u);
	sk->extra->udp = NULL;
}

void udp_forget(struct sock *sk)
{
	struct sock_udp *u = udp_of(sk);

	close(u->kfd);
	free(u);
	sk->extra->udp = NULL;
}

uint32_t udp_poll_events(struct sock *sk)
{
	struct sock_udp *u = udp_of(sk);
	uint32_t e = EPOLLOUT | EPOLLWRNORM;

	if (udp_next_len(eng.stack, u->id) >= 0)
		e |= EPOLLIN | EPOLLRDNORM;
	if (u->rd_shut)
		e |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
	if (u->rd_shut && u->wr_shut)
		e |= EPOLLHUP;
	if (udp_has_error(eng.stack, u->id))
		e |= EPOLLERR | (u->err_pri ? EPOLLPRI : 0);
	return e;
}

/* ---- calls that are the twin's ---- */

int udp_bind_call(struct sock *sk, const struct sockaddr *addr, socklen_t len)
{
	if (bind(udp_of(sk)->kfd, addr, len))
		return -errno;
	udp_sync(sk);
	return 0;
}

int udp_connect_call(struct sock *sk, const struct sockaddr *addr, socklen_t len)
{
	if (connect(udp_of(sk)->kfd, addr, len))
		return -errno;
	udp_sync(sk);
	return 0;
}

int udp_shutdown_call(struct sock *sk, int how)
{
	int err = shutdown(udp_of(sk)->kfd, how) ? -errno : 0;

	/* Linux: also one that is not connected, though it says ENOTCONN (inet_shutdown()). */
	if (!err || err == -ENOTCONN) {
		udp_of(sk)->rd_shut |= how != SHUT_WR;
		udp_of(sk)->wr_shut |= how != SHUT_RD;
		waitq_notify(&sk->f.wq, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLHUP);
	}
	return err;
}

int udp_name_call(struct sock *sk, bool peer, struct sockaddr *addr, socklen_t *len)
{
	int r = peer ? getpeername(udp_of(sk)->kfd, addr, len)
		     : getsockname(udp_of(sk)->kfd, addr, len);

	return r ? -errno : 0;
}

int udp_setsockopt_call(struct sock *sk, int level, int name, const void *val, socklen_t len)
{
	struct sock_udp *u = udp_of(sk);

	if (setsockopt(u->kfd, level, name, val, len))
		return -errno;
	/* Either option is of the one queue there is: switched off, it empties it. */
	if (u->v6 && level == IPPROTO_IPV6 && name == IPV6_RECVERR &&
	    !opt(u->kfd, IPPROTO_IPV6, IPV6_RECVERR))
		udp_set_recverr(eng.stack, u->id, false);
	udp_sync(sk);
	return 0;
}

/* IP_MTU is the twin's, which does not hear what routers say of tandem's datagrams. */
static void lower_mtu(const struct sock_udp *u, int level, int name, void *val,
		      const socklen_t *len)
{
	const struct dest *d;
	int mtu;

	if (!(level == IPPROTO_IP && name == IP_MTU) &&
	    !(u->v6 && level == IPPROTO_IPV6 && name == IPV6_MTU))
		return;
	if (*len != sizeof(mtu) || !u->peer.sin_port)
		return;
	d = dest_get(u->peer.sin_addr.s_addr, clock_now());
	memcpy(&mtu, val, sizeof(mtu));
	if (d->ours && (int)d->way.mtu < mtu)
		mtu = (int)d->way.mtu;
	memcpy(val, &mtu, sizeof(mtu));
}

int udp_getsockopt_call(struct sock *sk, int level, int name, void *val, socklen_t *len)
{
	struct sock_udp *u = udp_of(sk);
	int err = 0;

	if (level == SOL_SOCKET && name == SO_ERROR && len && *len >= sizeof(int))
		err = udp_error(eng.stack, u->id);
	if (!err) {
		if (getsockopt(u->kfd, level, name, val, len))
			return -errno;
		lower_mtu(u, level, name, val, len);
		return 0;
	}
	memcpy(val, &err, sizeof(err));
	*len = sizeof(err);
	return 0;
}

int udp_ioctl_call(struct sock *sk, unsigned long req, void *arg)
{
	int64_t n;

	switch (req) {
	case FIONBIO:
		sk->nonblock = *(int *)arg != 0;
		break;
	case FIONREAD:
		n = udp_next_len(eng.stack, udp_of(sk)->id);
		if (n < 0) {
			eng_run(clock_now());
			n = udp_next_len(eng.stack, udp_of(sk)->id);
		}
		if (n >= 0) {
			*(int *)arg = (int)n;
			return 0;
		}
		break;
	}
	return ioctl(udp_of(sk)->kfd, req, arg) ? -errno : 0;
}

int udp_fcntl_call(struct sock *sk, int arg)
{
	sk->nonblock = (arg & O_NONBLOCK) != 0;
	/* A child of fork() has only the twin. */
	return fcntl(udp_of(sk)->kfd, F_SETFL, arg) ? -errno : 0;
}

void udp_stack_event(struct sock *sk, uint32_t mask)
{
	struct ip_addr to;
	uint32_t mtu;

	if (sk->state != SK_UDP || !(mask & EV_PMTU))
		return;
	mtu = udp_pmtu(eng.stack, udp_of(sk)->id, &to);
	dest_pmtu(ip_addr_to_v4(&to), mtu, clock_now());
}
