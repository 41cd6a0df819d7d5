// SPDX-License-Identifier: BSD-2-Clause
/*
 * The engine: one round of the loop (eng_run()), and the message rings to and from the daemon. No message
 * is ever lost: what finds its ring full waits in eng.out, in order.
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include "engine.h"
#include "calls.h"
#include "shim.h"

#define MSG_BUDGET 256u
#define EXIT_WAIT_MS 1000u
#define LATE_TRIES 150
#define LAZY_US 1000u /* that a message may wait which nobody waits for */

struct engine eng = ENGINE_FRESH;

/* High enough for programs that count descriptors, low enough for a small descriptor table. */
#define PRIVATE_FDS 960

static void (*private_hook)(int fd, bool on);

void lib_private_fds(void (*hook)(int fd, bool on))
{
	private_hook = hook;
}

int lib_private_fd(int fd)
{
	return fd_private(fd);
}

int fd_private(int fd)
{
	int n = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, PRIVATE_FDS);

	if (n >= 0)
		close(fd);
	else
		n = fd;
	if (n >= 0 && private_hook)
		private_hook(n, true);
	return n;
}

void fd_private_close(int fd)
{
	if (private_hook)
		private_hook(fd, false);
	close(fd);
}

static void (*tell_hook)(bool trouble, const char *text);

void lib_tell_hook(void (*hook)(bool trouble, const char *text))
{
	tell_hook = hook;
}

void lib_tell(bool trouble, const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (tell_hook)
		tell_hook(trouble, text);
}

void fd_signal(int efd)
{
	uint64_t one = 1;

	if (write(efd, &one, sizeof(one)) < 0)
		return; /* the counter is full: it is signalled */
}

void fd_drain(int efd)
{
	uint64_t n;

	if (read(efd, &n, sizeof(n)) < 0)
		return; /* was not signalled */
}

/* ---- messages ---- */

static int fifo_put(struct msg_fifo *f, const struct shm_msg *m)
{
	if (f->len == f->size) {
		uint32_t size = f->size ? f->size * 2 : 64;
		struct shm_msg *e = malloc(size * sizeof(*e));

		if (!e)
			return -ENOMEM;
		for (uint32_t i = 0; i < f->len; i++)
			e[i] = f->e[(f->head + i) & (f->size - 1)];
		free(f->e);
		*f = (struct msg_fifo){e, 0, f->len, size};
	}
	f->e[(f->head + f->len++) & (f->size - 1)] = *m;
	return 0;
}

static void fifo_pop(struct msg_fifo *f)
{
	f->head = (f->head + 1) & (f->size - 1);
	f->len--;
}

static void fifo_free(struct msg_fifo *f)
{
	free(f->e);
	memset(f, 0, sizeof(*f));
}

static void wake_daemon(void)
{
	eng.lazy = false;
	if (shm_ring_must_wake(&eng.to_daemon->hdr))
		fd_signal(eng.bell_daemon);
}

static void flush_out(void)
{
	uint32_t n = 0;

	while (eng.out.len && shm_msg_push(eng.to_daemon, &eng.out.e[eng.out.head])) {
		fifo_pop(&eng.out);
		n++;
	}
	if (n)
		wake_daemon();
}

void eng_send_msg(const struct shm_msg *m)
{
	struct pollfd pfd = {.fd = eng.ctl_fd, .events = POLLIN};

	if (eng.daemon_gone)
		return;
	if (!eng.out.len && shm_msg_push(eng.to_daemon, m)) {
		wake_daemon();
		return;
	}
	/* No memory to keep it either: the daemon makes room, or is gone. */
	while (fifo_put(&eng.out, m)) {
		flush_out();
		if (eng.out.len && poll(&pfd, 1, 1) > 0 && pfd.revents & POLLHUP) {
			eng_daemon_lost();
			return;
		}
	}
}

void eng_send_msg_lazily(const struct shm_msg *m)
{
	if (eng.daemon_gone || eng.out.len ||
	    shm_ring_room(&eng.to_daemon->hdr, SHM_MSG_RING) < SHM_MSG_RING / 2 ||
	    !shm_msg_push(eng.to_daemon, m)) {
		eng_send_msg(m);
		return;
	}
	if (!eng.lazy)
		eng.lazy_since = clock_now();
	eng.lazy = true;
}

void eng_flush_lazy(void)
{
	if (eng.lazy)
		wake_daemon();
}

void eng_daemon_lost(void)
{
	if (eng.daemon_gone)
		return;
	eng.daemon_gone = true;
	eng.heir_next = clock_now();
	eng.heir_wait_ms = 0;
	eng.heir_busy = eng.heir_told = false;
	eng.out.len = 0;
	eng.imports.len = 0;
	eng.n_given = 0;
	for (struct file *f = file_next(TANDEM_FD_BASE); f; f = file_next(f->handle + 1)) {
		struct sock *sk = container_of(f, struct sock, f);

		if (f->kind == FILE_SOCK && (sk->state == SK_CONNECTING || sk->state == SK_TAKING))
			sock_connect_failed(sk, ENETDOWN);
	}
}

/* ---- connections that come ---- */

/* Takes a connection over from the daemon; false: no memory for it now. */
static bool import(const struct shm_msg *m, struct mtime now)
{
	struct shm_msg ack = {.op = SHM_CONN_ACK, .conn = m->conn, .generation = m->generation};
	bool passive = m->op == SHM_CONN_NEW;
	struct sock *sk = passive ? listener_by_id(m->listener) : sock_by_cookie(m->cookie);
	struct conn_ref c = {SHM_NIL, 0};
	int err;

	/* Closed since, or connect() given up: the cancel and this message have crossed. */
	if (!sk || (!passive && sk->state != SK_CONNECTING && sk->state != SK_TAKING)) {
		ack.error = ECONNABORTED;
		eng_send_msg(&ack);
		return true;
	}
	err = stack_import(eng.stack, &eng.daemon_view, m->conn, m->generation,
			   passive ? 0 : sock_cookie(sk), now, &c.conn);
	if (err == -ENOBUFS || err == -ENOMEM)
		return false;
	if (!err) {
		c.generation = tcp_get(eng.stack, c.conn)->generation;
		ack.new_conn = c.conn;
		ack.new_generation = c.generation;
	}
	ack.error = -err;
	/* Packets come here already: the daemon may learn later that all is well. */
	if (err)
		eng_send_msg(&ack);
	else
		eng_send_msg_lazily(&ack);
	if (err) {
		if (!passive)
			sock_connect_failed(sk, ECONNABORTED);
		return true;
	}
	if (!passive) {
		sock_connected(sk, c, now);
		return true;
	}
	sock_opts_apply(&sock_extra(sk)->o, c.conn, now);
	if (sock_queue_conn(sk, c))
		conn_end(c, true, now);
	if (sk->shared)
		listener_answered(m->listener);
	return true;
}

static void icmp(const struct shm_msg *m)
{
	const struct tcb *t = conn_get((struct conn_ref){m->conn, m->generation});
	struct sock *sk = t ? sock_by_cookie(t->cookie) : NULL;

	/* Linux: an error about an established connection is soft, whatever its code. */
	if (sk && m->error > 0 && m->error < 256)
		sk->soft_err = (uint8_t)m->error;
}

static void link_changed(const struct shm_msg *m, struct mtime now)
{
	struct net_event up = {.kind = NET_LINK_UP,
			       .netif = (uint16_t)m->listener,
			       .mtu = m->flags,
			       .partial_csum = m->conn & CTL_REG_PARTIAL_CSUM};

	if (m->listener >= eng.n_ifs)
		return;
	memcpy(up.mac, m->remote.b, sizeof(up.mac));
	stack_event(eng.stack, &up, now);
}

static void handle(const struct shm_msg *m, struct mtime now)
{
	struct sock *sk;

	switch (m->op) {
	case SHM_CONN_NEW:
	case SHM_CONN_OPENED:
		if (!import(m, now) && fifo_put(&eng.imports, m)) {
			struct shm_msg ack = {.op = SHM_CONN_ACK,
					      .conn = m->conn,
					      .generation = m->generation,
					      .error = ENOBUFS};

			eng_send_msg(&ack);
		}
		break;
	case SHM_CONN_FAILED:
		sk = sock_by_cookie(m->cookie);
		if (sk && (sk->state == SK_CONNECTING || sk->state == SK_TAKING))
			sock_connect_failed(sk, m->error > 0 ? m->error : ECONNABORTED);
		break;
	case SHM_CONN_RECALL:
		share_recall((struct conn_ref){m->conn, m->generation});
		break;
	case SHM_LISTEN_NONE:
		listener_answered(m->listener);
		break;
	case SHM_LISTEN_FRONT:
		listen_front(m->listener, m->flags);
		break;
	case SHM_CONN_TAKEN:
		if (!stack_export_done(eng.stack, m->conn, m->generation) && eng.n_given)
			eng.n_given--;
		break;
	case SHM_CONN_ICMP:
		icmp(m);
		break;
	case SHM_WAY:
		if (conn_get((struct conn_ref){m->conn, m->generation}))
			tcp_set_way(eng.stack, m->conn,
				    &(struct ip_way){.neigh = m->new_conn,
						     .neigh_gen = m->new_generation,
						     .netif = (uint16_t)m->listener},
				    now);
		break;
	case SHM_LINK:
		link_changed(m, now);
		break;
	}
}

static uint32_t drain_messages(struct mtime now)
{
	struct shm_msg m;
	uint32_t n = 0;

	while (n < MSG_BUDGET && shm_msg_pop(eng.to_app, &m)) {
		handle(&m, now);
		n++;
	}
	while (eng.imports.len && import(&eng.imports.e[eng.imports.head], now))
		fifo_pop(&eng.imports);
	return n;
}

/* ---- the loop ---- */

/* With @passed: a packet has gone to the daemon. */
struct passing {
	struct mtime *now;
	bool passed;
};

/*
 * What the daemon hands over it tells before it lets packets come here, but perhaps after we have
 * looked: the packet is looked at again. False: it is still not ours.
 */
static bool ours_by_now(struct pkt *p, struct mtime now)
{
	uint8_t had;
	enum drop d;

	if (!shm_ring_avail(&eng.to_app->hdr, SHM_MSG_RING))
		return false;
	for (uint32_t n = 0; n < SHM_MSG_RING; n += MSG_BUDGET)
		if (drain_messages(now) < MSG_BUDGET)
			break;
	had = p->injected;
	p->injected = 2; /* as what the daemon returns: it has been counted */
	d = stack_input(eng.stack, p, now);
	p->injected = had;
	return d != DROP_STALE_FLOW;
}

/* A packet of a connection that is the daemon's again, or not ours yet. */
static bool pass_on(void *ctx, struct pkt *p)
{
	struct passing *to = ctx;

	if (ours_by_now(p, *to->now) || eng.daemon_gone ||
	    !port_inject(eng.port, p, eng.pkts_to_daemon, TD_SLOT_DAEMON))
		return false;
	to->passed = true;
	return true;
}

/* A second one for the same owner would be lost in the first, as signals are. */
static void sigurg_owed(pid_t owner)
{
	for (uint32_t i = 0; i < eng.n_sigurg; i++)
		if (eng.sigurg[i] == owner)
			return;
	if (owner && eng.n_sigurg < ARRAY_SIZE(eng.sigurg))
		eng.sigurg[eng.n_sigurg++] = owner;
}

void eng_take_events(void)
{
	struct stack_ev ev;

	while (stack_event_next(eng.stack, &ev)) {
		struct sock *sk;

		if (ev.mask & EV_ACCEPT) {
			listen_accept(ev.listener);
			continue;
		}
		if (ev.mask & EV_FREED && ev.mask & EV_LOCAL)
			continue;
		if (ev.mask & EV_FREED) {
			conn_gone((struct conn_ref){ev.conn, ev.generation}, &ev.pair);
			continue;
		}
		if (ev.mask & EV_TIMEWAIT) {
			conn_give((struct conn_ref){ev.conn, ev.generation});
			continue;
		}
		/* The listener's limit of fast opens is the daemon's to keep, so are the routes. */
		if (ev.mask & EV_CONFIRMED)
			conn_say(SHM_CONN_CONFIRMED, (struct conn_ref){ev.conn, ev.generation});
		if (ev.mask & EV_WAY)
			conn_say(SHM_DOUBT, (struct conn_ref){ev.conn, ev.generation});
		sk = ev.cookie ? sock_by_cookie(ev.cookie) : NULL;
		if (!sk)
			continue;
		if (ev.mask & EV_URGENT)
			sigurg_owed(sock_extra(sk)->owner);
		if (ev.mask & EV_PMTU)
			udp_stack_event(sk, ev.mask);
		if (ev.mask & (EV_ERROR | EV_HUP))
			sock_ended(sk);
		waitq_notify(&sk->f.wq, ev_to_poll(ev.mask));
	}
}

void eng_output(struct mtime now)
{
	if (eng.hold.n)
		hold_let_go();
	if (!stack_wants_output(eng.stack) && !port_tx_pending(eng.port))
		return;
	port_kick_later(eng.port, eng_kicks_later() ? &eng.kicks : NULL);
	port_tx(eng.port, eng.stack, now);
}

bool eng_activity(void)
{
	return port_rx_pending(eng.port) || shm_ring_avail(&eng.to_app->hdr, SHM_MSG_RING);
}

bool eng_backlog(void)
{
	return eng.out.len || eng.imports.len || port_tx_pending(eng.port);
}

uint32_t eng_receive(struct mtime now)
{
	struct passing to = {.now = &now};
	uint32_t n;

	eng.runs++;
	WRITE_ONCE(eng.served.ns, now.ns);
	if (eng.keeper_on)
		keeper_oust();
	if (eng.daemon_gone && !eng.cut)
		heir_look(now);
	stack_tick(eng.stack, now);
	n = drain_messages(now);
	if (eng.n_shared_l)
		listeners_stale(now);
	n += port_rx(eng.port, eng.stack, ENGINE_PKT_BUDGET, &now, pass_on, &to);
	if (to.passed && shm_ring_must_wake(&eng.pkts_to_daemon->hdr))
		fd_signal(eng.bell_daemon);
	eng_take_events();
	if (n && eng.n_any)
		for (struct waiter *w = eng.waiters; w; w = w->next)
			if (w->any_packet)
				waiter_wake(w);
	return n;
}

static uint32_t receive_and_tell(struct mtime now)
{
	uint32_t n = eng_receive(now);

	conn_give_parting(now);
	untold_run(now);
	if (eng.out.len)
		flush_out();
	if (eng.lazy && mtime_diff_us(now, eng.lazy_since) > LAZY_US)
		wake_daemon();
	return n;
}

uint32_t eng_run_for(const bool *woken, struct mtime now)
{
	uint32_t n = receive_and_tell(now);

	if (*woken) {
		eng_output_soon(now);
	} else {
		eng.hold.in_row = 0;
		eng_output(now);
	}
	return n;
}

uint32_t eng_run(struct mtime now)
{
	return eng_run_for(&(const bool){false}, now);
}

void eng_look(struct mtime now)
{
	eng_output_after(receive_and_tell(now), now);
}

/* ---- beginning and end ---- */

void eng_atfork_child(void)
{
	/* Other threads, and their grip on the lock, are not in the child. */
	eng_lock_init();
	if (eng.state == ENGINE_UP) {
		eng_forked();
		eng.state = ENGINE_DEAD;
	}
}

/* The shim does that itself, with its own (lib_fork_child()). */
static void watch_forks(void)
{
	if (!share_enabled())
		pthread_atfork(NULL, NULL, eng_atfork_child);
}

static int start(const char *name)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	char late[sizeof(eng.name)];
	int err;

	if (eng.state == ENGINE_DEAD)
		return -EBADF;
	/* Sockets that there are already are of one attachment. */
	if (eng.state == ENGINE_LATE && !name && eng.name[0]) {
		memcpy(late, eng.name, sizeof(late));
		name = late;
	}
	err = eng_attach(name);
	/* Where processes come and go, those that have gone have their share of memory for a
	 * moment. */
	for (int i = 0; err == -ENOBUFS && eng.state == ENGINE_LATE && i < LATE_TRIES; i++) {
		const struct timespec ts = {.tv_nsec = 20000000};

		nanosleep(&ts, NULL);
		err = eng_attach(name);
	}
	if (err)
		return err;
	pthread_once(&once, watch_forks);
	eng.state = ENGINE_UP;
	return 0;
}

int eng_start_late(void)
{
	return start(NULL);
}

static void enter(void)
{
	eng_lock();
	if (heir_is_due())
		heir_attach(clock_now());
}

int eng_enter(void)
{
	enter();
	return eng.state == ENGINE_UP ? 0 : start(NULL);
}

int eng_enter_up(void)
{
	enter();
	return eng.state == ENGINE_UP ? 0 : eng.state == ENGINE_LATE ? start(NULL) : -EBADF;
}

int eng_enter_late(void)
{
	eng_lock();
	return eng.state == ENGINE_UP || eng.state == ENGINE_LATE ? 0 : -EBADF;
}

void eng_leave(void)
{
	if (eng.dozer && eng.state == ENGINE_UP)
		wait_deadline_moved();
	eng_unlock();
}

void eng_wind_up(void)
{
	struct mtime until = mtime_add_ms(clock_now(), EXIT_WAIT_MS);
	struct waiter w = WAITER_INIT;
	struct file *f;

	waiters_expel();
	eng_run(clock_now());
	while ((f = file_next(TANDEM_FD_BASE))) {
		if (f->kind == FILE_EPOLL) {
			epoll_close(f);
			continue;
		}
		file_remove(f);
		epoll_forget(&f->wq);
		sock_release(container_of(f, struct sock, f), clock_now());
		file_put(f);
	}
	eng_output(clock_now());
	conn_give_parting(MTIME_NEVER);
	/* What is not taken by then the daemon rescues when the control socket closes. */
	w.any_packet = true;
	while (!eng.daemon_gone && (eng.n_given || eng.out.len)) {
		int r;

		w.woken = false;
		r = waiter_sleep(&w, until, NULL, 0);
		if (r && r != -EINTR)
			break;
	}
	eng_output(clock_now());
	fifo_free(&eng.out);
	fifo_free(&eng.imports);
	conn_fifo_free(&eng.parting);
	conn_fifo_free(&eng.untold);
}

int tandem_init(const char *name)
{
	int err = 0;

	eng_lock();
	if (eng.state != ENGINE_UP)
		err = start(name);
	else if (name && strcmp(name, eng.name))
		err = -EISCONN;
	eng_unlock();
	errno = err ? -err : errno;
	return err ? -1 : 0;
}

void tandem_exit(void)
{
	eng_lock();
	if (eng.state == ENGINE_UP) {
		eng.state = ENGINE_DEAD;
		eng_wind_up();
		keeper_join();
		eng_detach();
		file_table_free();
		eng.state = ENGINE_NONE;
	}
	eng_unlock();
}

/*
 * exit(): connections go back to the daemon in good order; memory and descriptors go with the
 * process. After destructors without a number. What cannot be done in order, in a signal handler or
 * after it, is left to the rescue.
 */
__attribute__((destructor(101))) static void at_exit(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	ts.tv_sec++;
	if (eng.state != ENGINE_UP || eng.pid != getpid() || waiter_abandoned() ||
	    !eng_lock_before(&ts))
		return;
	eng.state = ENGINE_DEAD;
	eng.exiting = true;
	waiters_expel();
	eng.exiting = false;
	eng_wind_up();
	eng_unlock();
}

/* These hold from attaching to detaching. */
bool lib_is_foreign(void)
{
	return eng.foreign;
}

bool lib_has_ifindex(int ifindex)
{
	for (uint32_t i = 0; i < eng.n_ifs; i++)
		if (eng.ifindex[i] == ifindex)
			return true;
	return false;
}

bool lib_has_loopback(void)
{
	return eng.has_lo;
}

void tandem_set_busy_poll(unsigned us)
{
	eng_lock();
	eng.busy_poll_us = us == UINT32_MAX ? us - 1 : us;
	eng_unlock();
}
