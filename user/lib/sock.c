// SPDX-License-Identifier: BSD-2-Clause
/*
 * Sockets: their states, what they are ready for, and how they begin and end. A socket is named
 * to the stack and the daemon by its cookie: index in the table of handles below, a running number
 * above, so that a late answer never meets the wrong one. Connections on an accept queue
 * have no socket yet, and cookie 0.
 */
#include <stdlib.h>
#include "engine.h"

#define COOKIE_INDEX(c) ((int)((c)&0xffffffffu))

const struct sock_extra sock_no_extra = {.bind_id = SHM_NIL, .twins = {-1, -1}};

struct sock *sock_new(void)
{
	struct sock *sk;
	uint32_t number;

	eng.socks.size = sizeof(*sk);
	sk = slab_get(&eng.socks, &number);
	if (!sk)
		return NULL;
	sk->number = number;
	sk->f.kind = FILE_SOCK;
	sk->f.handle = -1;
	sk->c.conn = SHM_NIL;
	return sk;
}

struct sock_extra *sock_need_extra(struct sock *sk)
{
	if (!sk->extra) {
		sk->extra = malloc(sizeof(*sk->extra));
		if (sk->extra)
			*sk->extra = sock_no_extra;
	}
	return sk->extra;
}

/* Gives back what has its default values again. */
static void drop_extra(struct sock *sk)
{
	if (sk->extra && !memcmp(sk->extra, &sock_no_extra, sizeof(*sk->extra))) {
		free(sk->extra);
		sk->extra = NULL;
	}
}

void sock_free(struct sock *sk)
{
	free(sk->extra);
	slab_put(&eng.socks, sk->number);
}

void sock_set_cookie(struct sock *sk)
{
	if (!++eng.cookie_seq)
		eng.cookie_seq = 1;
	sk->cookie_seq = eng.cookie_seq;
}

struct sock *sock_by_cookie(uint64_t cookie)
{
	struct file *f = file_get(TANDEM_FD_BASE + COOKIE_INDEX(cookie));
	struct sock *sk;

	if (!f || f->kind != FILE_SOCK)
		return NULL;
	sk = container_of(f, struct sock, f);
	return cookie && sock_cookie(sk) == cookie ? sk : NULL;
}

struct sock *listener_by_id(uint32_t id)
{
	struct sock *sk = eng.listeners;

	while (sk && sk->extra->l.id != id)
		sk = sk->extra->l.next;
	return sk;
}

/* ---- readiness ---- */

uint32_t ev_to_poll(uint32_t ev)
{
	uint32_t e = 0;

	if (ev & EV_READABLE)
		e |= EPOLLIN | EPOLLRDNORM;
	if (ev & EV_WRITABLE)
		e |= EPOLLOUT | EPOLLWRNORM;
	if (ev & EV_PRI)
		e |= EPOLLPRI;
	if (ev & EV_RDHUP)
		e |= EPOLLIN | EPOLLRDNORM | EPOLLRDHUP;
	if (ev & EV_HUP)
		e |= EPOLLHUP | EPOLLIN | EPOLLRDNORM | EPOLLRDHUP | EPOLLOUT | EPOLLWRNORM;
	if (ev & EV_ERROR)
		e |= EPOLLERR;
	return e;
}

uint32_t sock_poll(struct sock *sk)
{
	uint32_t e = 0;

	switch (sk->state) {
	case SK_NEW:
		e = EPOLLOUT | EPOLLWRNORM | (sk->deferred ? 0 : EPOLLHUP);
		break;
	case SK_LISTEN:
		return sk->extra->l.aq_len ? EPOLLIN | EPOLLRDNORM : 0;
	case SK_UDP:
		return udp_poll_events(sk);
	case SK_CONNECTING:
	case SK_AWAY:
	case SK_TAKING:
		break;
	case SK_CONNECTED:
		if (conn_get(sk->c)) {
			e = ev_to_poll(tcp_poll(eng.stack, sk->c.conn));
			break;
		}
		/* fall through */
	case SK_FAILED:
		e = ev_to_poll(EV_HUP);
		break;
	}
	return sk->err ? e | EPOLLERR : e;
}

int sock_set_owner(struct sock *sk, pid_t owner)
{
	if (!owner && !sk->extra)
		return 0;
	if (!sock_need_extra(sk))
		return -ENOBUFS;
	sk->extra->owner = owner;
	return 0;
}

int sock_take_error(struct sock *sk)
{
	int err = sk->err;

	sk->err = 0;
	if (!err && conn_get(sk->c)) {
		err = tcp_error(eng.stack, sk->c.conn);
		if (err == ETIMEDOUT && sk->soft_err)
			err = sk->soft_err;
	}
	return err;
}

struct sock_watch {
	struct watch watch;
	struct waiter *waiter;
};

static void wake_blocked(struct watch *w, uint32_t events)
{
	(void)events;
	waiter_wake(container_of(w, struct sock_watch, watch)->waiter);
}

static int wait_event(struct sock *sk, struct mtime until, bool for_twins)
{
	struct pollfd twins[N_TWINS];
	int fds[N_TWINS];
	uint32_t n = for_twins ? sock_kernel_fds(sk, fds) : 0;
	struct waiter w = WAITER_INIT;
	struct sock_watch sw = {.watch.fn = wake_blocked, .waiter = &w};
	int r;

	for (uint32_t i = 0; i < n; i++)
		twins[i] = (struct pollfd){.fd = fds[i], .events = POLLIN};
	waitq_add(&sk->f.wq, &sw.watch);
	r = waiter_sleep(&w, until, twins, n);
	waitq_del(&sw.watch);
	if (eng.n_shared_l)
		listeners_want();
	return r ? r : file_is_open(&sk->f) ? 0 : -EBADF;
}

int sock_wait_event(struct sock *sk, struct mtime until)
{
	return wait_event(sk, until, true);
}

int sock_wait_daemon(struct sock *sk, struct mtime until)
{
	return wait_event(sk, until, false);
}

int sock_wait(struct sock *sk, struct mtime until)
{
	int r = 0, err = 0;

	sk->busy--;
	if (sk->recalled && !sk->busy)
		share_yield(sk);
	/* Where it is with another process now, that it comes back is the event. */
	if (sk->state != SK_AWAY)
		do
			r = sock_wait_event(sk, until);
		while (!r && sk->state == SK_TAKING);
	if (file_is_open(&sk->f) && (sk->state == SK_AWAY || sk->state == SK_TAKING))
		err = share_take(sk);
	sk->busy++;
	if (!r && !err && sk->state == SK_CONNECTED && !conn_get(sk->c) && sk->err)
		err = -sock_take_error(sk); /* it has ended with its daemon */
	return r ? r : err;
}

/* ---- how a connection begins ---- */

void sock_opts_apply(const struct sock_opts *o, uint32_t conn, struct mtime now)
{
	for (uint32_t set = o->set; set; set &= set - 1) {
		enum tcp_opt opt = (enum tcp_opt)__builtin_ctz(set);

		tcp_setopt(eng.stack, conn, opt, o->topt[opt], now);
	}
}

uint8_t sock_cc(const struct sock *sk)
{
	return sock_extra(sk)->o.set & 1u << TOPT_CONGESTION
		       ? (uint8_t)(sk->extra->o.topt[TOPT_CONGESTION] + 1)
		       : 0;
}

void sockaddr_out(uint32_t be_addr, uint16_t port, struct sockaddr *addr, socklen_t *len)
{
	struct sockaddr_in sin = {
		.sin_family = AF_INET, .sin_port = port, .sin_addr.s_addr = be_addr};

	if (!addr || !len)
		return;
	memcpy(addr, &sin, *len < sizeof(sin) ? *len : sizeof(sin));
	*len = sizeof(sin);
}

void sock_connected(struct sock *sk, struct conn_ref c, struct mtime now)
{
	sk->c = c;
	sk->state = SK_CONNECTED;
	sk->gone_sent = false;
	sk->soft_err = 0;
	/* From here on the TCB keeps them. */
	sock_opts_apply(&sock_extra(sk)->o, c.conn, now);
	if (sk->extra)
		memset(&sk->extra->o, 0, sizeof(sk->extra->o));
	drop_extra(sk);
	waitq_notify(&sk->f.wq, EPOLLOUT | EPOLLWRNORM);
}

void sock_connect_failed(struct sock *sk, int err)
{
	sk->state = SK_FAILED;
	sk->err = (uint8_t)err;
	waitq_notify(&sk->f.wq, EPOLLERR | EPOLLHUP | EPOLLIN | EPOLLOUT | EPOLLRDHUP);
}

int sock_queue_conn(struct sock *sk, struct conn_ref c)
{
	struct sock_listen *l = &sk->extra->l;

	if (l->aq_len == l->aq_size) {
		uint32_t size = l->aq_size ? l->aq_size * 2 : 16;
		struct conn_ref *aq = malloc(size * sizeof(*aq));

		if (!aq)
			return -ENOMEM;
		for (uint32_t i = 0; i < l->aq_len; i++)
			aq[i] = l->aq[(l->aq_head + i) & (l->aq_size - 1)];
		free(l->aq);
		l->aq = aq;
		l->aq_size = size;
		l->aq_head = 0;
	}
	if (!l->aq_len && sk->shared)
		l->aq_since = clock_now();
	l->aq[(l->aq_head + l->aq_len++) & (l->aq_size - 1)] = c;
	listen_queued(sk, c, 1);
	waitq_notify(&sk->f.wq, EPOLLIN | EPOLLRDNORM);
	return 0;
}

/* ---- how it ends ---- */

/* A dead connection keeps its TCB for the program, but its flow entry serves nobody any more. */
void sock_ended(struct sock *sk)
{
	const struct tcb *t = conn_get(sk->c);
	struct tcp_addr_pair a;

	if (!t || t->state != TCP_CLOSED || sk->gone_sent)
		return;
	sk->gone_sent = true;
	if (t->sockopt & TCB_BORN_UNTOLD)
		return;
	a = (struct tcp_addr_pair){t->local, t->remote, t->local_port, t->remote_port};
	conn_gone(sk->c, &a);
}

static void unlisten(struct sock *sk, struct mtime now)
{
	struct sock_listen *l = &sk->extra->l;
	struct ctl_listen req = {.id = l->id};
	struct sock **p = &eng.listeners;
	bool known;

	if (sk->shared)
		listener_unshare(sk);
	twin_drop(sk);
	/* Before our stack forgets what is half-open. */
	known = !ctl_call(&req, CTL_UNLISTEN, NULL);
	listen_end(sk);
	if (known)
		untold_known();
	while (*p != sk)
		p = &(*p)->extra->l.next;
	*p = l->next;
	for (; l->aq_len; l->aq_len--) {
		conn_end(l->aq[l->aq_head], true, now);
		l->aq_head = (l->aq_head + 1) & (l->aq_size - 1);
	}
	free(l->aq);
	memset(l, 0, sizeof(*l));
	sk->extra->twins[TWIN_V6] = -1; /* its owner closes it */
}

void sock_release(struct sock *sk, struct mtime now)
{
	struct shm_msg cancel = {.op = SHM_CONNECT_CANCEL, .cookie = sock_cookie(sk)};
	struct ctl_listen unbind = {.id = sock_extra(sk)->bind_id};

	switch (sk->state) {
	case SK_LISTEN:
		unlisten(sk, now);
		break;
	case SK_CONNECTING:
		eng_send_msg(&cancel);
		break;
	case SK_CONNECTED:
		/* Others may have it still; the daemon sees when nobody has. */
		if (share_release(sk))
			break;
		/* With SO_LINGER and 0 an abortive close (socket(7)): tcp_close() knows. */
		conn_end(sk->c, false, now);
		break;
	case SK_UDP:
		udp_release(sk);
		break;
	case SK_NEW:
	case SK_FAILED:
	case SK_AWAY:
	case SK_TAKING:
		break;
	}
	if (unbind.id != SHM_NIL) {
		ctl_call(&unbind, CTL_UNBIND, NULL);
		sk->extra->bind_id = SHM_NIL;
	}
	sk->c.conn = SHM_NIL;
	sk->cookie_seq = 0;
	sk->deferred = false;
	sk->state = SK_NEW;
}

/* Everything is sent and acknowledged, our FIN included, or the connection is dead. */
static bool lingered(struct conn_ref c)
{
	const struct tcb *t = conn_get(c);

	return !t || t->state == TCP_CLOSED || t->state == TCP_FIN_WAIT_2 ||
	       t->state == TCP_TIME_WAIT;
}

/* SO_LINGER: waits, in a non-blocking socket too, until the peer has all of it (socket(7)). */
static void linger(struct sock *sk)
{
	struct waiter w = WAITER_INIT;
	struct mtime now = clock_now(), until;
	const struct tcb *t = conn_get(sk->c);
	uint32_t attached = eng.n_attached;

	if (sk->state != SK_CONNECTED || sk->shared || !t || !(t->sockopt & TCB_LINGER) ||
	    !t->linger || tcp_readable_bytes(eng.stack, sk->c.conn))
		return;
	until = mtime_add_ms(now, t->linger * 1000ull);
	tcp_shutdown(eng.stack, sk->c.conn, false, true, now);
	eng_output(now);
	w.any_packet = true;
	while (!lingered(sk->c)) {
		w.woken = false;
		if (waiter_sleep(&w, until, NULL, 0))
			break;
		if (eng.n_attached != attached)
			sk->c.conn = SHM_NIL; /* heir.c does not find it any more */
	}
}

void sock_close(struct sock *sk)
{
	/* No call finds it by its handle from here on; those that are in one get EBADF. */
	file_remove(&sk->f);
	twin_drop(sk); /* out of the instances while we know them: others have the same open file */
	epoll_forget(&sk->f.wq);
	waitq_notify(&sk->f.wq, EPOLLHUP);
	linger(sk);
	if (eng.state == ENGINE_UP)
		sock_release(sk, clock_now());
	file_put(&sk->f);
}
