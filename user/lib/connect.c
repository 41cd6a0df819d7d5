// SPDX-License-Identifier: BSD-2-Clause
/*
 * connect(), and what the first text of fast open does in its place. The daemon shakes hands
 * (user/daemon/connect.c): a request goes to it by the ring of messages, and the connection comes
 * back. Errors and blocking rules are those of connect(2) and, where that is silent, of Linux's
 * net/ipv4/af_inet.c.
 */
#include "engine.h"
#include "calls.h"
#include "udp.h"

/* What the SYN depends on; the rest is set when there is a connection. */
static void syn_options(const struct sock *sk, struct shm_msg *m)
{
	const struct sock_opts *o = &sock_extra(sk)->o;
#define SET(opt) (o->set & 1u << (opt) ? o->topt[opt] : 0)
	m->user_timeout = (uint32_t)SET(TOPT_USER_TIMEOUT);
	m->rcvbuf = (uint32_t)SET(TOPT_RCVBUF);
	m->user_mss = (uint16_t)SET(TOPT_MAXSEG);
	m->ttl = (uint8_t)SET(TOPT_TTL);
	m->tos = (uint8_t)SET(TOPT_TOS);
	m->syncnt = (uint8_t)SET(TOPT_SYNCNT);
#undef SET
}

static void send_connect(struct sock *sk, const struct sockaddr_in *to, bool fastopen)
{
	struct shm_msg m = {.op = SHM_CONNECT};

	sock_set_cookie(sk);
	sk->state = SK_CONNECTING;
	sk->connect_seen = false;
	sk->err = 0;
	m.cookie = sock_cookie(sk);
	m.local = ip_addr_v4(sock_extra(sk)->local_addr);
	m.local_port = sock_extra(sk)->local_port;
	m.remote = ip_addr_v4(to->sin_addr.s_addr);
	m.remote_port = to->sin_port;
	m.flags = sock_cc(sk);
	m.fastopen = fastopen;
	syn_options(sk, &m);
	eng_send_msg(&m);
}

/* connect() to AF_UNSPEC: dissolves the association (connect(2)). */
static int disconnect(struct sock *sk)
{
	struct mtime now = clock_now();

	if (sk->state == SK_CONNECTED) {
		conn_end(sk->c, true, now);
		sk->c.conn = SHM_NIL;
	}
	sock_release(sk, now);
	sk->bound = false;
	if (sk->extra) {
		sk->extra->local_addr = 0;
		sk->extra->local_port = 0;
	}
	return 0;
}

int connect_wait(struct sock *sk)
{
	struct mtime until = timeout_deadline(sock_extra(sk)->snd_timeo);

	while (sk->state == SK_CONNECTING) {
		int r = wait_error(sock_wait(sk, until), sock_extra(sk)->snd_timeo, -EINPROGRESS);

		/* Interrupted: it goes on in the background (connect(2)). */
		if (r)
			return r;
	}
	return 0;
}

/* ---- fast open ---- */

/* Does the daemon have a cookie of this server? */
static bool fastopen_known(const struct sockaddr_in *to)
{
	struct ctl_listen req = {.addr = ip_addr_v4(to->sin_addr.s_addr)};

	return !ctl_call(&req, CTL_FASTOPEN, NULL);
}

static int defer(struct sock *sk, const struct sockaddr_in *to)
{
	if (!sock_need_extra(sk))
		return -ENOBUFS;
	sk->extra->peer_addr = to->sin_addr.s_addr;
	sk->extra->peer_port = to->sin_port;
	sk->deferred = true;
	sk->err = 0;
	return 0;
}

static struct sockaddr_in deferred_peer(const struct sock *sk)
{
	return (struct sockaddr_in){.sin_family = AF_INET,
				    .sin_addr.s_addr = sock_extra(sk)->peer_addr,
				    .sin_port = sock_extra(sk)->peer_port};
}

int deferred_connect(struct sock *sk)
{
	struct sockaddr_in to = deferred_peer(sk);

	if (eng.daemon_gone)
		return -ENETDOWN;
	sk->deferred = false;
	send_connect(sk, &to, true);
	return 0;
}

/* The beginning of a vector, in messages; nobody else's come between. Returns how much it was. */
static int64_t send_syn_data(const struct iovec *iov, size_t n)
{
	struct shm_data_msg piece = {.op = SHM_CONNECT_DATA};
	struct shm_msg m;
	int64_t total = 0;

	for (size_t i = 0; i < n && total < SHM_CONNECT_DATA_MAX; i++) {
		const uint8_t *p = iov[i].iov_base;
		size_t left = iov[i].iov_len, most = SHM_CONNECT_DATA_MAX - (size_t)total;

		left = left < most ? left : most;
		total += (int64_t)left;
		for (; left; left -= piece.len, p += piece.len) {
			piece.len =
				(uint32_t)(left < sizeof(piece.data) ? left : sizeof(piece.data));
			memcpy(piece.data, p, piece.len);
			memcpy(&m, &piece, sizeof(m));
			eng_send_msg(&m);
		}
	}
	return total;
}

/* Linux: tcp_sendmsg_fastopen() and __inet_stream_connect(). */
int64_t fastopen_send(struct sock *sk, const struct msghdr *m, bool nonblock)
{
	struct sockaddr_in to = deferred_peer(sk);
	int64_t done;
	int err;

	if (sk->state == SK_CONNECTED || sk->state == SK_LISTEN)
		return -EISCONN;
	if (sk->state == SK_CONNECTING)
		return -EALREADY;
	if (!sk->deferred) {
		if (!(eng.limits.tcp_fastopen & 1) || !m->msg_name)
			return -EOPNOTSUPP;
		err = call_sockaddr(m->msg_name, m->msg_namelen, &to);
		if (err)
			return err;
		if (to.sin_family != AF_INET)
			return to.sin_family == AF_UNSPEC ? -EOPNOTSUPP : -EAFNOSUPPORT;
	}
	if (eng.daemon_gone)
		return -ENETDOWN;
	/* Who does not wait sends when it is open; who waits need not know the difference. */
	if (nonblock && !sk->deferred && !fastopen_known(&to)) {
		send_connect(sk, &to, true);
		return -EINPROGRESS;
	}
	sk->deferred = false;
	done = send_syn_data(m->msg_iov, m->msg_iovlen);
	send_connect(sk, &to, true);
	if (nonblock)
		return done;
	err = connect_wait(sk);
	if (!err && sk->state == SK_FAILED)
		err = sk->err ? -sock_take_error(sk) : -ECONNABORTED;
	sk->connect_seen |= !err;
	return err ? err : done;
}

static int do_connect(struct sock *sk, const struct sockaddr *addr, socklen_t len)
{
	bool first = false;
	struct sockaddr_in sin;
	sa_family_t family;
	int err;

	if (len < sizeof(family))
		return -EINVAL;
	memcpy(&family, addr, sizeof(family));
	if (family == AF_UNSPEC)
		return sk->state == SK_LISTEN ? -EINVAL : disconnect(sk);
	err = call_sockaddr(addr, len, &sin);
	if (err)
		return err;
	if (family != AF_INET)
		return -EAFNOSUPPORT;
	if (sk->state == SK_LISTEN || sk->deferred ||
	    (sk->state == SK_CONNECTED && sk->connect_seen))
		return -EISCONN;
	/* After a failure that nobody asked for yet, connect() reports it, as Linux does. */
	if (sk->state == SK_FAILED && sk->err)
		return -sock_take_error(sk);
	if (sk->state == SK_NEW || sk->state == SK_FAILED) {
		if (eng.daemon_gone)
			return -ENETDOWN;
		if (sk->fo_connect && fastopen_known(&sin))
			return defer(sk, &sin);
		send_connect(sk, &sin, sk->fo_connect);
		first = true;
	}
	if (sk->state == SK_CONNECTING) {
		if (sk->nonblock) {
			eng_run(clock_now());
			/* Linux never says at once how it ended, however near the peer is. */
			if (first)
				return -EINPROGRESS;
			if (sk->state == SK_CONNECTING)
				return -EALREADY;
		}
		err = connect_wait(sk);
		if (err)
			return err;
	}
	if (sk->state == SK_FAILED)
		return sk->err ? -sock_take_error(sk) : -ECONNABORTED;
	sk->connect_seen = true;
	return 0;
}

int tandem_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	int err;
	struct sock *sk = call_sock(fd, &err);

	if (!err)
		err = sk->state == SK_UDP ? udp_connect_call(sk, addr, len)
					  : do_connect(sk, addr, len);
	return (int)call_end(sk, err);
}
