// SPDX-License-Identifier: BSD-2-Clause
/*
 * A shared listener that one process alone uses is that one's to answer SYNs (user/daemon/front.c): who
 * that is, when nobody is, and what becomes of what was half-open or untold when it ends.
 */
#include "front_world.h"
#include <signal.h>
#include <unistd.h>
#include <sys/wait.h>
#include "user/core/synreq_entry.h"

static int share_fd;

static int share(struct app *a, uint32_t id)
{
	struct ctl_share req = {.n = 1, .e[0] = {CTL_SHARE_LISTENER, id, 0}};
	struct ctl_share_reply r;
	uint32_t n;
	int fd;

	share_request(&w.d, a, &req, &r, &fd, &n);
	assert_int_equal(n, 1);
	return fd;
}

/* Application 1 listens, and has forked. */
static struct app *master(uint32_t flags)
{
	struct app *a;

	w_open();
	a = front_app(flags);
	share_fd = share(a, lr.id);
	return a;
}

static void done(void)
{
	close(share_fd);
	w_close();
}

static void uses(struct app *a, uint32_t id, uint32_t flags)
{
	struct shm_msg m = {.op = SHM_LISTEN_USE, .listener = id, .flags = flags};

	assert_true(shm_msg_push(a->to_daemon, &m));
	w_round();
}

/* ---- who ---- */

static void test_who_uses_it_alone_answers_syns(void **state)
{
	struct ctl_take_reply rb, rc;
	struct app *a = master(0), *b = w_app(2), *c = w_app(3);

	(void)state;
	assert_int_equal(next_msg(a, SHM_LISTEN_FRONT).flags, SHM_FRONT_SYNS | SHM_FRONT_ALONE);
	assert_int_equal(next_msg(a, SHM_LISTEN_FRONT).flags, 0);
	rb = share_joins(b, share_fd);
	rc = share_joins(c, share_fd);
	/* To have it is not to use it. */
	assert_int_equal(port_slot(), TD_SLOT_DAEMON);
	uses(b, rb.id, SHM_USE_LOCAL);
	assert_int_equal(port_slot(), 2);
	assert_int_equal(next_msg(b, SHM_LISTEN_FRONT).flags, SHM_FRONT_SYNS | SHM_FRONT_ALONE);
	/* Of two, each may have any. */
	uses(c, rc.id, SHM_USE_LOCAL);
	assert_int_equal(port_slot(), TD_SLOT_DAEMON);
	assert_int_equal(next_msg(b, SHM_LISTEN_FRONT).flags, 0);
	no_msg(c);
	assert_int_equal(listener_unlisten(&w.d, b, rb.id), 0);
	assert_int_equal(port_slot(), 3);
	assert_int_equal(next_msg(c, SHM_LISTEN_FRONT).flags, SHM_FRONT_SYNS | SHM_FRONT_ALONE);
	app_ends(c);
	assert_int_equal(port_slot(), TD_SLOT_DAEMON);
	uses(a, lr.id, SHM_USE_LOCAL);
	assert_int_equal(port_slot(), 1);
	no_msg(b);
	done();
}

static void test_who_cannot_does_not(void **state)
{
	struct ctl_listen req = {.backlog = 64, .flags = LOCAL};
	struct app *a = master(0);

	(void)state;
	uses(a, lr.id, 0);
	assert_int_equal(port_slot(), TD_SLOT_DAEMON);
	uses(a, lr.id + 1, SHM_USE_LOCAL);
	uses(a, UINT32_MAX, SHM_USE_LOCAL);
	assert_int_equal(port_slot(), TD_SLOT_DAEMON);
	uses(a, lr.id, SHM_USE_LOCAL);
	assert_int_equal(port_slot(), 1);
	/* Others that have it would not know of its new options; that of a new backlog they do without. */
	req.id = lr.id;
	assert_int_equal(listener_backlog(&w.d, a, &req), 0);
	assert_int_equal(port_slot(), 1);
	req.defer_accept = 1;
	assert_int_equal(listener_backlog(&w.d, a, &req), 0);
	assert_int_equal(port_slot(), TD_SLOT_DAEMON);
	/* Who comes later does. */
	assert_int_equal(share_joins(w_app(2), share_fd).defer_accept, 1);
	done();
}

#define EVENTS (SHM_USE_LOCAL | SHM_USE_EVENTS)

/* Where nobody is busy for long each has its part. */
static void test_several_that_wait_for_events(void **state)
{
	struct app *a = master(0), *b = w_app(2), *c = w_app(3);
	struct ctl_take_reply rb = share_joins(b, share_fd), rc = share_joins(c, share_fd);

	(void)state;
	next_msg(a, SHM_LISTEN_FRONT);
	next_msg(a, SHM_LISTEN_FRONT);
	uses(b, rb.id, EVENTS);
	assert_int_equal(port_slot(), 2);
	assert_int_equal(next_msg(b, SHM_LISTEN_FRONT).flags, SHM_FRONT_SYNS | SHM_FRONT_ALONE);
	uses(c, rc.id, EVENTS);
	assert_int_equal(port_slot(), TD_SLOT_SPREAD(0));
	assert_int_equal(places(2), 128);
	assert_int_equal(places(3), 128);
	assert_int_equal(next_msg(b, SHM_LISTEN_FRONT).flags, SHM_FRONT_SYNS | SHM_FRONT_SHARED);
	assert_int_equal(next_msg(c, SHM_LISTEN_FRONT).flags, SHM_FRONT_SYNS | SHM_FRONT_SHARED);
	no_msg(a);
	uses(a, lr.id, EVENTS);
	assert_int_equal(places(1) + places(2) + places(3), TD_SPREAD_PLACES);
	assert_in_range(places(1), 85, 86);
	assert_in_range(places(2), 85, 86);
	/* One is busy: all of them wait with us. */
	uses(b, rb.id, SHM_USE_LOCAL);
	assert_int_equal(port_slot(), TD_SLOT_DAEMON);
	assert_int_equal(w.d.spreads_used, 0);
	client_connects(5000);
	assert_int_equal(record(5000)->state, REC_HELD);
	uses(b, rb.id, EVENTS);
	assert_int_equal(port_slot(), TD_SLOT_SPREAD(0));
	/* One cannot do it at all. */
	uses(c, rc.id, SHM_USE_EVENTS);
	assert_int_equal(port_slot(), TD_SLOT_DAEMON);
	app_ends(c);
	assert_int_equal(port_slot(), TD_SLOT_SPREAD(0));
	assert_int_equal(places(1), 128);
	assert_int_equal(places(2), 128);
	app_ends(b);
	assert_int_equal(port_slot(), 1);
	assert_int_equal(w.d.spreads_used, 0);
	done();
}

/* With another socket of the port each socket has the same part, however many have it. */
static void test_several_of_one_socket_and_another(void **state)
{
	struct app *a = master(CTL_LISTEN_REUSEPORT), *b = w_app(2), *c = w_app(3), *e = w_app(4);
	struct ctl_take_reply rb = share_joins(b, share_fd), rc = share_joins(c, share_fd);
	struct ctl_listen_reply re;

	(void)state;
	uses(a, lr.id, EVENTS);
	uses(b, rb.id, EVENTS);
	uses(c, rc.id, EVENTS);
	re = start_listener(e, CTL_LISTEN_REUSEPORT | LOCAL, lr.port);
	assert_int_equal(places(4), 128);
	assert_in_range(places(1), 42, 43);
	assert_in_range(places(2), 42, 43);
	assert_in_range(places(3), 42, 43);
	/* Of one that answers none itself the part is ours. */
	uses(c, rc.id, SHM_USE_LOCAL);
	assert_int_equal(places(4), 128);
	assert_int_equal(places(TD_SLOT_DAEMON), 128);
	assert_int_equal(listener_unlisten(&w.d, e, re.id), 0);
	assert_int_equal(port_slot(), TD_SLOT_DAEMON);
	done();
}

/* A process that is stopped answers nobody: the others do. */
static void test_one_of_several_is_stopped(void **state)
{
	struct app *a = master(0), *b = w_app(2);
	struct ctl_take_reply rb = share_joins(b, share_fd);
	int status;

	(void)state;
	uses(a, lr.id, EVENTS);
	uses(b, rb.id, EVENTS);
	b->pid = fork();
	if (!b->pid) {
		pause();
		_exit(0);
	}
	assert_int_equal(kill(b->pid, SIGSTOP), 0);
	assert_int_equal(waitpid(b->pid, &status, WUNTRACED), b->pid);
	front_run(&w.d);
	assert_int_equal(places(2), 128); /* it looks once a second */
	ts_advance(&w.t, 1001);
	w.d.now = w.t.now;
	front_run(&w.d);
	assert_int_equal(port_slot(), 1);
	assert_int_equal(kill(b->pid, SIGCONT), 0);
	assert_int_equal(waitpid(b->pid, &status, WCONTINUED), b->pid);
	ts_advance(&w.t, 1001);
	w.d.now = w.t.now;
	front_run(&w.d);
	assert_int_equal(places(2), 128);
	kill(b->pid, SIGKILL);
	waitpid(b->pid, &status, 0);
	/* Alone, it is the only one that can, stopped or not. */
	b->stopped = true;
	app_ends(a);
	assert_int_equal(port_slot(), 2);
	assert_true(mtime_is_never(front_run(&w.d)) || mtime_before(w.d.now, front_run(&w.d)));
	done();
}

static void a_second_later(void)
{
	ts_advance(&w.t, 1001);
	w.d.now = w.t.now;
	front_run(&w.d);
}

static void signal_and_wait(pid_t pid, int sig, int how)
{
	int status;

	assert_int_equal(kill(pid, sig), 0);
	assert_int_equal(waitpid(pid, &status, how), pid);
}

static void all_fronts_are(bool spread, uint32_t slot)
{
	for (const struct group *g = w.d.groups; g; g = g->next) {
		if (spread)
			assert_true(g->front_slot >= TD_MAX_SLOTS);
		else
			assert_int_equal(g->front_slot, slot);
	}
}

/* It is so for all of its sockets; and where all are stopped, until one goes on. */
static void test_stopped_with_several_sockets(void **state)
{
	struct app *a = master(0), *b = w_app(2);
	struct ctl_listen_reply second = start_listener(a, LOCAL, 0);
	int fd = share(a, second.id);
	struct ctl_take_reply rb = share_joins(b, share_fd), rb2 = share_joins(b, fd);
	pid_t pid;

	(void)state;
	uses(a, lr.id, EVENTS);
	uses(b, rb.id, EVENTS);
	uses(a, second.id, EVENTS);
	uses(b, rb2.id, EVENTS);
	all_fronts_are(true, 0);
	pid = fork();
	if (!pid) {
		pause();
		_exit(0);
	}
	b->pid = pid;
	signal_and_wait(pid, SIGSTOP, WUNTRACED);
	a_second_later();
	all_fronts_are(false, 1);
	a->pid = pid;
	a_second_later();
	all_fronts_are(false, TD_SLOT_DAEMON);
	uses(b, rb.id, SHM_USE_LOCAL);
	uses(b, rb2.id, SHM_USE_LOCAL);
	a_second_later();
	signal_and_wait(pid, SIGCONT, WCONTINUED);
	uses(b, rb.id, EVENTS);
	uses(b, rb2.id, EVENTS);
	a_second_later();
	all_fronts_are(true, 0);
	signal_and_wait(pid, SIGKILL, 0);
	close(fd);
	done();
}

/* A master opens a socket for each worker (SO_REUSEPORT); each has all, and uses its own. */
static void test_sockets_of_one_master(void **state)
{
	struct app *a = master(CTL_LISTEN_REUSEPORT), *b = w_app(2), *c = w_app(3);
	struct ctl_listen_reply second = start_listener(a, CTL_LISTEN_REUSEPORT | LOCAL, lr.port);
	struct ctl_take_reply rb, rc;
	uint32_t n[4] = {0};
	struct group *g;
	struct share *sh;
	int fd = share(a, second.id);

	(void)state;
	share_joins(b, fd);
	rb = share_joins(b, share_fd);
	share_joins(c, share_fd);
	rc = share_joins(c, fd);
	uses(b, rb.id, SHM_USE_LOCAL);
	uses(c, rc.id, SHM_USE_LOCAL);
	assert_int_equal(port_slot(), TD_SLOT_SPREAD(0));
	for (uint32_t i = 0; i < TD_SPREAD_PLACES; i++)
		n[w.spreads[0].slot[i] & 3]++;
	assert_int_equal(n[2], 128);
	assert_int_equal(n[3], 128);
	/* What comes here is the socket's, not the process's. */
	g = w.d.groups;
	for (uint16_t p = 5000; p < 5008; p++) {
		struct flow_key k = client_key(p);

		client_connects(p);
		sh = spread_member(g, &k)->share;
		assert_int_equal(record(p)->state, REC_HELD);
		assert_int_equal(rec_share(record(p)), sh->id);
	}
	/* One of them uses both: its stack has one listener for a port. */
	uses(b, rb.id - 1, SHM_USE_LOCAL);
	assert_int_equal(port_slot(), TD_SLOT_DAEMON);
	close(fd);
	done();
}

/* ---- ends ---- */

static uint32_t half_open(void)
{
	struct stack_usage u;

	stack_usage(w.t.s, &u);
	return u.synreqs;
}

static void syn(uint16_t sport)
{
	struct spec x = {TCP_PKT,	    .sport = sport,  .dport = listen_port,
			 .seq = CLIENT_ISS, .flags = TH_SYN, .wnd = 65535};

	assert_int_equal(app_rx(&x), DROP_NONE);
	app_out();
}

static void third_ack(uint16_t sport)
{
	w_rx(&(struct spec){TCP_PKT, .sport = sport, .dport = listen_port, .seq = CLIENT_ISS + 1,
			    .ack = app_iss + 1, .flags = TH_ACK, .wnd = 65535});
}

static void test_half_open_outlives_its_process(void **state)
{
	struct app *a = master(0), *b = w_app(2);
	struct ctl_take_reply rb = share_joins(b, share_fd);
	struct shm_msg m;

	(void)state;
	uses(a, lr.id, SHM_USE_LOCAL);
	syn(5001);
	assert_int_equal(app_rx(&(struct spec){TCP_PKT, .sport = 5001, .dport = listen_port,
					       .seq = CLIENT_ISS + 1, .flags = TH_RST}),
			 DROP_NONE);
	syn(5002);
	syn(5000);
	assert_int_equal(app_rx(&(struct spec){TCP_PKT, .sport = 5002, .dport = listen_port,
					       .seq = CLIENT_ISS + 1, .flags = TH_RST}),
			 DROP_NONE);
	assert_int_equal(half_open(), 0);
	app_ends(a);
	assert_int_equal(half_open(), 1);
	third_ack(5000);
	assert_int_equal(w.n_rst, 0);
	assert_int_equal(record(5000)->state, REC_HELD);
	arena_listeners(&b->arena)[rb.index].want = 1;
	w_round();
	m = next_msg(b, SHM_CONN_NEW);
	app_takes(b, &m);
	done();
}

/* As CTL_UNLISTEN has it: nginx's worker of before, say. */
static void test_half_open_outlives_its_member(void **state)
{
	struct app *a = master(0);

	(void)state;
	uses(a, lr.id, SHM_USE_LOCAL);
	syn(5000);
	front_leaves(&w.d, a, lr.id + 1);
	front_leaves(&w.d, a, UINT32_MAX);
	assert_int_equal(half_open(), 0);
	front_leaves(&w.d, a, lr.id);
	front_leaves(&w.d, a, lr.id);
	assert_int_equal(half_open(), 1);
	assert_int_equal(listener_unlisten(&w.d, a, lr.id), 0);
	third_ack(5000);
	assert_int_equal(record(5000)->state, REC_HELD);
	/* Nobody has the listener any more. */
	share_closes(share_fd);
	assert_null(record(5000));
	assert_int_equal(w.n_rst, 1);
	w_close();
}

static void test_half_open_ends_with_its_socket(void **state)
{
	struct app *a;

	(void)state;
	w_open();
	a = front_app(0);
	syn(5000);
	app_ends(a);
	assert_int_equal(half_open(), 0);
	w_close();
	/* As in the kernel, also where another socket has the port (SO_REUSEPORT). */
	w_open();
	a = front_app(CTL_LISTEN_REUSEPORT);
	start_listener(w_app(2), CTL_LISTEN_REUSEPORT | LOCAL, lr.port);
	syn(5000);
	app_ends(a);
	assert_int_equal(half_open(), 0);
	w_close();
}

/* Records that no honest application could have. */
static void test_half_open_lies(void **state)
{
	struct app *a = master(0);
	struct arena_hdr *h = (struct arena_hdr *)(void *)a->arena.base;
	struct synreq *r = a->view.synreqs;

	(void)state;
	uses(a, lr.id, SHM_USE_LOCAL);
	for (uint16_t p = 5000; p < 5010; p++)
		syn(p);
	assert_int_equal(h->n_synreqs_used, 10);
	r[0].a.local_port ^= 0x100;    /* not its port */
	r[1].a.local = ip("10.9.9.9"); /* not ours */
	r[2].a.remote = (struct ip_addr){0};
	r[3].a.remote_port = 0;
	r[4].used = 0;
	r[5].mss = 0;
	r[6].snd_wscale = 15;
	r[7].netif = UINT16_MAX;
	r[9].a.remote_port = htons(5008); /* twice */
	h->n_synreqs_used = UINT32_MAX;
	app_ends(a);
	assert_int_equal(half_open(), 1);
	app_iss = r[8].iss;
	third_ack(5008);
	assert_non_null(record(5008));
	done();
}

/* The descriptor is closed before the application says so: what came by it lives, and is known. */
static void test_untold_outlives_the_share(void **state)
{
	struct app *a = master(0);
	uint32_t conn;

	(void)state;
	uses(a, lr.id, SHM_USE_LOCAL);
	conn = born(a, 5000);
	born(a, 5001);
	share_closes(share_fd);
	assert_int_equal(w.n_ports, 0);
	tell(a, conn, 0);
	assert_int_equal(record(5000)->state, REC_TAKEN);
	assert_int_equal(flow(5000)->slot, 1);
	app_ends(a);
	w_round();
	assert_int_equal(record(5001)->state, REC_ORPHAN);
	assert_int_equal(w.n_fin, 2);
	assert_int_equal(w.d.n_fronts, 0);
	assert_null(w.d.groups);
	w_close();
}

/* What the process that had it alone has not accepted is for the others when it dies. */
static void test_unaccepted_outlives_its_process(void **state)
{
	struct app *a = master(0);
	uint32_t conn;

	(void)state;
	uses(a, lr.id, SHM_USE_LOCAL);
	conn = born(a, 5000);
	tcp_set_cookie(w.apps[1].s, conn, 0);
	born(a, 5001); /* accepted */
	app_ends(a);
	w_round();
	assert_int_equal(record(5000)->state, REC_HELD);
	assert_int_equal(record(5001)->state, REC_ORPHAN);
	assert_int_equal(w.n_rst, 0);
	done();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_who_uses_it_alone_answers_syns),
		cmocka_unit_test(test_who_cannot_does_not),
		cmocka_unit_test(test_several_that_wait_for_events),
		cmocka_unit_test(test_several_of_one_socket_and_another),
		cmocka_unit_test(test_one_of_several_is_stopped),
		cmocka_unit_test(test_stopped_with_several_sockets),
		cmocka_unit_test(test_sockets_of_one_master),
		cmocka_unit_test(test_half_open_outlives_its_process),
		cmocka_unit_test(test_half_open_outlives_its_member),
		cmocka_unit_test(test_half_open_ends_with_its_socket),
		cmocka_unit_test(test_half_open_lies),
		cmocka_unit_test(test_untold_outlives_the_share),
		cmocka_unit_test(test_unaccepted_outlives_its_process),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
