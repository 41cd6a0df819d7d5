// SPDX-License-Identifier: BSD-2-Clause
/*
 * Socket options: socket(7), tcp(7), ip(7), with Linux's value ranges. A connection keeps its own;
 * before there is one the socket keeps them for it, and a listener for those that it
 * accepts. The stack takes SO_*BUF in bytes after Linux's doubling.
 */
#include <linux/tcp.h>
#include <stdlib.h>
#include <sys/time.h>
#include "engine.h"
#include "user/core/tcp_info.h"
#include "calls.h"
#include "shim.h"

/* Linux's SOCK_MIN_RCVBUF and SOCK_MIN_SNDBUF are about these. */
#define MIN_RCVBUF 2304
#define MIN_SNDBUF 4608
#define MIN_MSS 88
#define MAX_MSS 32767
#define CC_NAME_MAX 16u /* TCP_CA_NAME_MAX */

enum opt_kind {
	OPT_INT,  /* an int within [lo, hi] */
	OPT_BOOL, /* any int; kept as 0 or 1 */
	OPT_BUF,  /* doubled, within [lo, the limit] */
	OPT_BYTE, /* as OPT_INT, may be given and asked for as one byte (ip(7)) */
};

struct opt_desc {
	int level, name;
	enum opt_kind kind;
	enum tcp_opt topt;
	int lo, hi;
};

static const struct opt_desc opts[] = {
	{SOL_SOCKET, SO_KEEPALIVE, OPT_BOOL, TOPT_KEEPALIVE, 0, 0},
	{SOL_SOCKET, SO_OOBINLINE, OPT_BOOL, TOPT_OOBINLINE, 0, 0},
	{SOL_SOCKET, SO_RCVBUF, OPT_BUF, TOPT_RCVBUF, MIN_RCVBUF, 0},
	{SOL_SOCKET, SO_SNDBUF, OPT_BUF, TOPT_SNDBUF, MIN_SNDBUF, 0},
	{SOL_SOCKET, SO_RCVBUFFORCE, OPT_BUF, TOPT_RCVBUF, MIN_RCVBUF, 0},
	{SOL_SOCKET, SO_SNDBUFFORCE, OPT_BUF, TOPT_SNDBUF, MIN_SNDBUF, 0},
	{SOL_SOCKET, SO_RCVLOWAT, OPT_INT, TOPT_RCVLOWAT, INT32_MIN, INT32_MAX},
	{IPPROTO_TCP, TCP_NODELAY, OPT_BOOL, TOPT_NODELAY, 0, 0},
	{IPPROTO_TCP, TCP_CORK, OPT_BOOL, TOPT_CORK, 0, 0},
	{IPPROTO_TCP, TCP_QUICKACK, OPT_BOOL, TOPT_QUICKACK, 0, 0},
	{IPPROTO_TCP, TCP_MAXSEG, OPT_INT, TOPT_MAXSEG, MIN_MSS, MAX_MSS},
	{IPPROTO_TCP, TCP_KEEPIDLE, OPT_INT, TOPT_KEEPIDLE, 1, 32767},
	{IPPROTO_TCP, TCP_KEEPINTVL, OPT_INT, TOPT_KEEPINTVL, 1, 32767},
	{IPPROTO_TCP, TCP_KEEPCNT, OPT_INT, TOPT_KEEPCNT, 1, 127},
	{IPPROTO_TCP, TCP_USER_TIMEOUT, OPT_INT, TOPT_USER_TIMEOUT, 0, INT32_MAX},
	{IPPROTO_TCP, TCP_DEFER_ACCEPT, OPT_INT, TOPT_DEFER_ACCEPT, INT32_MIN, INT32_MAX},
	{IPPROTO_TCP, TCP_FASTOPEN, OPT_INT, TOPT_FASTOPEN, 0, INT32_MAX},
	{IPPROTO_TCP, TCP_LINGER2, OPT_INT, TOPT_LINGER2, INT32_MIN, INT32_MAX},
	{IPPROTO_TCP, TCP_SYNCNT, OPT_INT, TOPT_SYNCNT, 1, 127},
	{IPPROTO_IP, IP_TOS, OPT_BYTE, TOPT_TOS, 0, 255},
	{IPPROTO_IP, IP_TTL, OPT_BYTE, TOPT_TTL, 1, 255},
};

static const struct opt_desc *find(int level, int name)
{
	for (size_t i = 0; i < ARRAY_SIZE(opts); i++)
		if (opts[i].level == level && opts[i].name == name)
			return &opts[i];
	return NULL;
}

/* ---- set ---- */

/* The program's integer: a byte will do for IP options. */
static int get_int(const void *val, socklen_t len, bool byte_ok, int *out)
{
	if (len >= sizeof(int)) {
		memcpy(out, val, sizeof(int));
		return 0;
	}
	if (!byte_ok || !len)
		return -EINVAL;
	*out = *(const uint8_t *)val;
	return 0;
}

static int topt_set(struct sock *sk, enum tcp_opt topt, int64_t v)
{
	if (conn_get(sk->c)) {
		struct mtime now = clock_now();
		int err = tcp_setopt(eng.stack, sk->c.conn, topt, v, now);

		eng_output(now);
		return err;
	}
	if (!sock_need_extra(sk))
		return -ENOBUFS;
	sk->extra->o.set |= 1u << topt;
	sk->extra->o.topt[topt] = v;
	if (sk->state == SK_LISTEN && (topt == TOPT_DEFER_ACCEPT || topt == TOPT_FASTOPEN))
		return listener_update(sk);
	return 0;
}

/* Linux keeps TCP_DEFER_ACCEPT as a number of SYN-ACKs, at 1, 2, 4 … s: rounded up to their end. */
static int64_t defer_seconds(int v)
{
	int64_t period = 1, timeout = 1;

	if (v <= 0)
		return 0;
	while (v > period && period < 30000) {
		timeout = timeout < 60 ? timeout * 2 : 120;
		period += timeout;
	}
	return period;
}

static int set_desc(struct sock *sk, const struct opt_desc *d, const void *val, socklen_t len)
{
	int v, err = get_int(val, len, d->kind == OPT_BYTE, &v);
	int64_t v64, max;

	if (err)
		return err;
	v64 = v;
	switch (d->kind) {
	case OPT_BOOL:
		v64 = !!v;
		break;
	case OPT_BUF:
		max = d->topt == TOPT_RCVBUF ? eng.limits.tcp_rmem[2] : eng.limits.tcp_wmem[2];
		v64 = (v < 0 || v64 * 2 > max) ? max : v64 * 2;
		v64 = v64 < d->lo ? d->lo : v64;
		break;
	case OPT_INT:
	case OPT_BYTE:
		if (d->topt == TOPT_TTL && v == -1)
			v64 = eng.limits.ip_default_ttl;
		else if (v < d->lo || v > d->hi)
			return -EINVAL;
		if (d->topt == TOPT_RCVLOWAT)
			v64 = v < 0 ? INT32_MAX : v ? v : 1;
		if (d->topt == TOPT_DEFER_ACCEPT)
			v64 = defer_seconds(v);
		if (d->topt == TOPT_FASTOPEN && sk->state != SK_NEW && sk->state != SK_LISTEN &&
		    sk->state != SK_FAILED)
			return -EINVAL;
		if (d->topt == TOPT_FASTOPEN && v64 > eng.limits.somaxconn)
			v64 = eng.limits.somaxconn;
		if (d->topt == TOPT_LINGER2) /* TCP_FIN_TIMEOUT_MAX */
			v64 = v < 0 ? -1 : v > 120 ? 120 : v;
		/* The ECN bits are TCP's own (Linux: __ip_sock_set_tos()). */
		if (d->topt == TOPT_TOS)
			v64 = v & ~3;
		break;
	}
	return topt_set(sk, d->topt, v64);
}

static int set_timeo(uint64_t *ns, const void *val, socklen_t len)
{
	struct timeval tv;

	if (len < sizeof(tv))
		return -EINVAL;
	memcpy(&tv, val, sizeof(tv));
	if (tv.tv_usec < 0 || tv.tv_usec >= 1000000)
		return -EDOM;
	*ns = (uint64_t)tv.tv_sec * NS_PER_S + (uint64_t)tv.tv_usec * NS_PER_US;
	if (tv.tv_sec < 0) /* as Linux: at once */
		*ns = 1;
	else if (tv.tv_sec > UINT32_MAX) /* a century is as good as none */
		*ns = 0;
	return 0;
}

/* 32 or 64 bits; all ones: no limit (socket(7)). */
static int set_pacing(struct sock *sk, const void *val, socklen_t len)
{
	uint64_t rate = 0;
	uint32_t v;

	if (len == sizeof(rate)) {
		memcpy(&rate, val, sizeof(rate));
	} else if (len >= sizeof(v)) {
		memcpy(&v, val, sizeof(v));
		rate = v;
	} else {
		return -EINVAL;
	}
	return topt_set(sk, TOPT_MAX_PACING, rate < UINT32_MAX ? (int64_t)rate : UINT32_MAX);
}

static int set_socket(struct sock *sk, int name, const void *val, socklen_t len)
{
	struct linger l;
	int v, err;

	switch (name) {
	case SO_RCVTIMEO:
	case SO_SNDTIMEO:
		if (!sock_need_extra(sk))
			return -ENOBUFS;
		return set_timeo(name == SO_RCVTIMEO ? &sk->extra->rcv_timeo
						     : &sk->extra->snd_timeo,
				 val, len);
	case SO_LINGER:
		if (len < sizeof(l))
			return -EINVAL;
		memcpy(&l, val, sizeof(l));
		if (!l.l_onoff)
			return topt_set(sk, TOPT_LINGER, -1);
		return topt_set(sk, TOPT_LINGER,
				l.l_linger < 0 || l.l_linger > 65535 ? 65535 : l.l_linger);
	case SO_REUSEADDR:
	case SO_REUSEPORT:
		err = get_int(val, len, false, &v);
		if (err)
			return err;
		if (name == SO_REUSEADDR)
			sk->reuseaddr = v != 0;
		else
			sk->reuseport = v != 0;
		return 0;
	case SO_MAX_PACING_RATE:
		return set_pacing(sk, val, len);
	case SO_TYPE:
	case SO_DOMAIN:
	case SO_PROTOCOL:
	case SO_ERROR:
	case SO_ACCEPTCONN:
	default:
		return -ENOPROTOOPT;
	}
}

static int set_cc(struct sock *sk, const void *val, socklen_t len)
{
	char name[CC_NAME_MAX] = "";
	int cc;

	if (len < 1)
		return -EINVAL;
	memcpy(name, val, len < sizeof(name) ? len : sizeof(name) - 1);
	cc = cc_find(name);
	return cc < 0 ? cc : topt_set(sk, TOPT_CONGESTION, cc);
}

static int set_no_port(struct sock *sk, const void *val, socklen_t len)
{
	int v, err = get_int(val, len, true, &v);

	if (!err)
		sk->no_port = v != 0;
	return err;
}

static int set_fo_connect(struct sock *sk, const void *val, socklen_t len)
{
	int v, err = get_int(val, len, false, &v);

	if (err)
		return err;
	if (v < 0 || v > 1)
		return -EINVAL;
	if (!(eng.limits.tcp_fastopen & 1))
		return -EOPNOTSUPP;
	if (sk->state != SK_NEW && sk->state != SK_FAILED)
		return -EINVAL;
	sk->fo_connect = v;
	return 0;
}

/* One key, or two: the first makes cookies, and those of both are good. */
static int set_fo_key(struct sock *sk, const void *val, socklen_t len)
{
	if (len != FO_KEY_LEN && len != FO_KEYS_MAX * FO_KEY_LEN)
		return -EINVAL;
	if (!sock_need_extra(sk))
		return -ENOBUFS;
	memcpy(sk->extra->fo_keys.key, val, len);
	sk->extra->fo_keys.n = len / FO_KEY_LEN;
	return sk->state == SK_LISTEN ? listener_update(sk) : 0;
}

static int do_setsockopt(struct sock *sk, int level, int name, const void *val, socklen_t len)
{
	const struct opt_desc *d = find(level, name);

	if (sk->state == SK_UDP)
		return udp_setsockopt_call(sk, level, name, val, len);
	if (!val)
		return -EFAULT;
	if (d)
		return set_desc(sk, d, val, len);
	if (level == SOL_SOCKET)
		return set_socket(sk, name, val, len);
	if (level == IPPROTO_TCP && name == TCP_CONGESTION)
		return set_cc(sk, val, len);
	if (level == IPPROTO_TCP && name == TCP_FASTOPEN_CONNECT)
		return set_fo_connect(sk, val, len);
	if (level == IPPROTO_TCP && name == TCP_FASTOPEN_KEY)
		return set_fo_key(sk, val, len);
	if (level == IPPROTO_IP && name == IP_BIND_ADDRESS_NO_PORT)
		return set_no_port(sk, val, len);
	return -ENOPROTOOPT;
}

int tandem_setsockopt(int fd, int level, int name, const void *val, socklen_t len)
{
	int err;
	struct sock *sk = call_sock(fd, &err);

	if (!err) {
		err = do_setsockopt(sk, level, name, val, len);
		/*
		 * What the kernel does not take, its connections have to do without. Who else may have the
		 * port is the daemon's to say.
		 */
		if (!err && sk->state == SK_LISTEN && sk->extra->twins[TWIN_V4] >= 0 &&
		    (level != SOL_SOCKET || (name != SO_REUSEADDR && name != SO_REUSEPORT)))
			setsockopt(sk->extra->twins[TWIN_V4], level, name, val, len);
	}
	return (int)call_end(sk, err);
}

/* ---- get ---- */

/* Copies @n bytes out, cut to what the program has room for. */
static int put_out(void *val, socklen_t *len, const void *from, size_t n)
{
	if (*len < n)
		n = *len;
	memcpy(val, from, n);
	*len = (socklen_t)n;
	return 0;
}

static int put_int(void *val, socklen_t *len, int v, bool byte_ok)
{
	uint8_t b = (uint8_t)v;

	if (byte_ok && *len > 0 && *len < sizeof(int) && v >= 0 && v <= 255)
		return put_out(val, len, &b, 1);
	return put_out(val, len, &v, sizeof(v));
}

static int64_t topt_default(enum tcp_opt topt)
{
	const struct stack_limits *l = &eng.limits;

	switch (topt) {
	case TOPT_LINGER:
		return -1;
	case TOPT_RCVLOWAT:
	case TOPT_QUICKACK:
		return 1;
	case TOPT_MAXSEG:
		return 536; /* RFC 9293 §3.7.1, as Linux shows before there is a connection */
	case TOPT_KEEPIDLE:
		return l->tcp_keepalive_time;
	case TOPT_KEEPINTVL:
		return l->tcp_keepalive_intvl;
	case TOPT_KEEPCNT:
		return l->tcp_keepalive_probes;
	case TOPT_RCVBUF:
		return l->tcp_rmem[1];
	case TOPT_SNDBUF:
		return l->tcp_wmem[1];
	case TOPT_LINGER2:
		return l->tcp_fin_timeout;
	case TOPT_SYNCNT:
		return l->tcp_syn_retries;
	case TOPT_TTL:
		return l->ip_default_ttl;
	case TOPT_CONGESTION:
		return cc_find(eng.cc);
	case TOPT_MAX_PACING:
		return UINT32_MAX;
	default:
		return 0;
	}
}

static int64_t topt_get(const struct sock *sk, enum tcp_opt topt)
{
	int64_t v;

	if (conn_get(sk->c) && !tcp_getopt(eng.stack, sk->c.conn, topt, &v))
		return v;
	v = sock_extra(sk)->o.set & 1u << topt ? sk->extra->o.topt[topt] : topt_default(topt);
	return topt == TOPT_LINGER2 && !v ? topt_default(topt) : v;
}

static int get_socket(struct sock *sk, int name, void *val, socklen_t *len)
{
	struct linger l = {0};
	struct timeval tv;
	uint64_t ns;
	int64_t v;

	switch (name) {
	case SO_ERROR:
		return put_int(val, len, sock_take_error(sk), false);
	case SO_TYPE:
		return put_int(val, len, SOCK_STREAM, false);
	case SO_DOMAIN:
		return put_int(val, len, AF_INET, false);
	case SO_PROTOCOL:
		return put_int(val, len, IPPROTO_TCP, false);
	case SO_ACCEPTCONN:
		return put_int(val, len, sk->state == SK_LISTEN, false);
	case SO_REUSEADDR:
		return put_int(val, len, sk->reuseaddr, false);
	case SO_REUSEPORT:
		return put_int(val, len, sk->reuseport, false);
	case SO_RCVTIMEO:
	case SO_SNDTIMEO:
		ns = name == SO_RCVTIMEO ? sock_extra(sk)->rcv_timeo : sock_extra(sk)->snd_timeo;
		tv.tv_sec = (time_t)(ns / NS_PER_S);
		tv.tv_usec = (suseconds_t)(ns % NS_PER_S / NS_PER_US);
		return put_out(val, len, &tv, sizeof(tv));
	case SO_LINGER:
		v = topt_get(sk, TOPT_LINGER);
		l.l_onoff = v >= 0;
		l.l_linger = v > 0 ? (int)v : 0;
		return put_out(val, len, &l, sizeof(l));
	case SO_MAX_PACING_RATE:
		ns = (uint64_t)topt_get(sk, TOPT_MAX_PACING);
		if (*len < sizeof(ns))
			return put_int(val, len, (int)(uint32_t)ns, false);
		ns = ns < UINT32_MAX ? ns : UINT64_MAX;
		return put_out(val, len, &ns, sizeof(ns));
	default:
		return -ENOPROTOOPT;
	}
}

/* As far as there is no connection to ask, or the daemon has it: net/tcp_states.h */
static uint8_t socket_state(const struct sock *sk)
{
	return sk->state == SK_LISTEN ? 10 : sk->state == SK_CONNECTING ? 2 : 7;
}

static uint8_t info_options(uint8_t opt)
{
	return (opt & TCB_OPT_TS ? TCPI_OPT_TIMESTAMPS : 0) |
	       (opt & TCB_OPT_SACK ? TCPI_OPT_SACK : 0) |
	       (opt & TCB_OPT_WSCALE ? TCPI_OPT_WSCALE : 0) |
	       (opt & TCB_OPT_ECN ? TCPI_OPT_ECN : 0) |
	       (opt & TCB_OPT_SYN_DATA ? TCPI_OPT_SYN_DATA : 0);
}

/* As the running kernel has it; the headers that we are built with may end at .tcpi_snd_wnd. */
struct info {
	uint8_t head[offsetof(struct tcp_info, tcpi_snd_wnd) + sizeof(uint32_t)];
	uint32_t rcv_wnd, rehash;
	uint16_t total_rto, total_rto_recoveries;
	uint32_t total_rto_time;
};
_Static_assert(sizeof(struct info) == 248, "linux/tcp.h");

static int get_info(struct sock *sk, void *val, socklen_t *len)
{
	struct info more = {.rcv_wnd = 0};
	struct tcp_info i = {.tcpi_state = socket_state(sk)};
	struct tcp_info_out o;

	if (sk->state == SK_LISTEN) {
		/* As Linux: the accept queue and its bound. */
		i.tcpi_unacked = sk->extra->l.aq_len;
		i.tcpi_sacked = sk->extra->l.backlog;
	}
	if (!conn_get(sk->c) || !tcp_info(eng.stack, sk->c.conn, clock_now(), &o))
		goto out;
	i.tcpi_state = o.state;
	i.tcpi_ca_state = o.ca_state;
	i.tcpi_retransmits = o.retransmits;
	i.tcpi_probes = o.probes;
	i.tcpi_backoff = o.backoff;
	i.tcpi_options = info_options(o.opt);
	i.tcpi_snd_wscale = o.snd_wscale & 15u;
	i.tcpi_rcv_wscale = o.rcv_wscale & 15u;
#define COPY(field) i.tcpi_##field = o.field
	COPY(rto), COPY(ato), COPY(snd_mss), COPY(rcv_mss);
	COPY(unacked), COPY(sacked), COPY(lost), COPY(retrans);
	COPY(last_data_sent), COPY(last_data_recv), COPY(last_ack_recv);
	COPY(pmtu), COPY(rcv_ssthresh), COPY(rtt), COPY(rttvar), COPY(snd_ssthresh), COPY(snd_cwnd);
	COPY(advmss), COPY(reordering), COPY(rcv_space), COPY(total_retrans);
	COPY(bytes_acked), COPY(bytes_received), COPY(segs_out), COPY(segs_in);
	COPY(notsent_bytes), COPY(min_rtt), COPY(reord_seen), COPY(snd_wnd);
	COPY(pacing_rate), COPY(max_pacing_rate), COPY(delivery_rate);
	COPY(rcv_rtt), COPY(data_segs_in), COPY(data_segs_out), COPY(bytes_sent);
	COPY(bytes_retrans), COPY(delivered), COPY(delivered_ce), COPY(dsack_dups);
	COPY(rcv_ooopack), COPY(busy_time), COPY(rwnd_limited), COPY(sndbuf_limited);
#undef COPY
	i.tcpi_delivery_rate_app_limited = o.delivery_rate_app_limited;
	more.rcv_wnd = o.rcv_wnd;
	more.total_rto = o.total_rto;
	more.total_rto_recoveries = o.total_rto_recoveries;
	more.total_rto_time = o.total_rto_time;
out:
	memcpy(more.head, &i, sizeof(more.head));
	return put_out(val, len, &more, sizeof(more));
}

static int get_cc(struct sock *sk, void *val, socklen_t *len)
{
	const char *cc = cc_name((uint32_t)topt_get(sk, TOPT_CONGESTION));
	char name[CC_NAME_MAX] = "";

	snprintf(name, sizeof(name), "%s", cc ? cc : "");
	return put_out(val, len, name, sizeof(name));
}

static int get_fo_key(struct sock *sk, void *val, socklen_t *len)
{
	struct ctl_listen_reply rep = {.fo_keys = sock_extra(sk)->fo_keys};
	struct ctl_listen req = {.id = SHM_NIL};
	int err = rep.fo_keys.n ? 0 : ctl_call(&req, CTL_FASTOPEN_KEY, &rep);

	if (err)
		return err;
	if (rep.fo_keys.n > FO_KEYS_MAX)
		return -EPROTO;
	return put_out(val, len, rep.fo_keys.key, rep.fo_keys.n * FO_KEY_LEN);
}

static int do_getsockopt(struct sock *sk, int level, int name, void *val, socklen_t *len)
{
	const struct opt_desc *d = find(level, name);

	if (sk->state == SK_UDP)
		return udp_getsockopt_call(sk, level, name, val, len);
	if (!val || !len)
		return -EFAULT;
	if ((int)*len < 0)
		return -EINVAL;
	if (d)
		return put_int(val, len, (int)topt_get(sk, d->topt), d->kind == OPT_BYTE);
	if (level == SOL_SOCKET)
		return get_socket(sk, name, val, len);
	if (level == IPPROTO_TCP && name == TCP_INFO)
		return get_info(sk, val, len);
	if (level == IPPROTO_TCP && name == TCP_CONGESTION)
		return get_cc(sk, val, len);
	if (level == IPPROTO_TCP && name == TCP_FASTOPEN_CONNECT)
		return put_int(val, len, sk->fo_connect, false);
	if (level == IPPROTO_TCP && name == TCP_FASTOPEN_KEY)
		return get_fo_key(sk, val, len);
	if (level == IPPROTO_IP && name == IP_BIND_ADDRESS_NO_PORT)
		return put_int(val, len, sk->no_port, true);
	return level == SOL_SOCKET || level == IPPROTO_TCP || level == IPPROTO_IP ? -ENOPROTOOPT
										  : -EOPNOTSUPP;
}

int tandem_getsockopt(int fd, int level, int name, void *val, socklen_t *len)
{
	int err;
	struct sock *sk = call_sock(fd, &err);

	if (!err && name == SO_ERROR && level == SOL_SOCKET)
		eng_run(clock_now());
	return (int)call_end(sk, err ? err : do_getsockopt(sk, level, name, val, len));
}

void sock_options_copy(struct sock *sk, int kfd)
{
	static const int names[] = {SO_RCVTIMEO, SO_SNDTIMEO, SO_LINGER};
	struct timeval tv;
	socklen_t len;
	int one = 1;

	if (sk->no_port)
		setsockopt(kfd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof(one));
	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		len = sizeof(tv);
		if (!get_socket(sk, names[i], &tv, &len))
			setsockopt(kfd, SOL_SOCKET, names[i], &tv, len);
	}
	for (size_t i = 0; i < ARRAY_SIZE(opts); i++) {
		int v = (int)topt_get(sk, opts[i].topt);

		if (opts[i].kind == OPT_BUF)
			v /= 2; /* the kernel doubles it again */
		if (sock_extra(sk)->o.set & 1u << opts[i].topt && opts[i].name != SO_RCVBUFFORCE &&
		    opts[i].name != SO_SNDBUFFORCE)
			setsockopt(kfd, opts[i].level, opts[i].name, &v, sizeof(v));
	}
	if (sock_extra(sk)->o.set & 1u << TOPT_CONGESTION) {
		const char *name = cc_name((uint32_t)topt_get(sk, TOPT_CONGESTION));

		if (name) /* the kernel may not have it */
			setsockopt(kfd, IPPROTO_TCP, TCP_CONGESTION, name, (socklen_t)strlen(name));
	}
}

void lib_options_copy(int fd, int kfd)
{
	int err;
	struct sock *sk = call_sock(fd, &err);

	if (!err) {
		const int addr = sk->reuseaddr, port = sk->reuseport;

		setsockopt(kfd, SOL_SOCKET, SO_REUSEADDR, &addr, sizeof(addr));
		setsockopt(kfd, SOL_SOCKET, SO_REUSEPORT, &port, sizeof(port));
		sock_options_copy(sk, kfd);
	}
	call_end(sk, err);
}
