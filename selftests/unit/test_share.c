// SPDX-License-Identifier: BSD-2-Clause
/*
 * Sockets of several processes in the daemon (user/daemon/share.c, listener.c): who gets a
 * connection, what becomes of it when its process closes the listener or dies, who may take a
 * socket, and when it ends.
 */
#include "daemon_world.h"
#include <sys/un.h>

#define COOKIE 0x77000000007ull

/* Shares one socket of @a's; the descriptor that stands for it, -1. */
static int share(struct app *a, uint32_t kind, uint32_t id, uint32_t generation)
{
	struct ctl_share req = {.n = 1, .e[0] = {kind, id, generation}};
	struct ctl_share_reply r;
	uint32_t n;
	int fd;

	share_request(&w.d, a, &req, &r, &fd, &n);
	assert_int_equal(r.shared, n);
	return n ? fd : -1;
}

static struct shm_listener *shm(struct app *a, uint32_t index)
{
	return &arena_listeners(&a->arena)[index];
}

/* A listener of application 1's that application 2 has joined. */
static struct {
	struct app *a, *b;
	struct ctl_listen_reply ra;
	struct ctl_take_reply rb;
	int fd;
} two;

static void two_open(void)
{
	w_open();
	two.a = w_app(1);
	two.b = w_app(2);
	two.ra = start_listener(two.a, 0, 0);
	two.fd = share(two.a, CTL_SHARE_LISTENER, two.ra.id, 0);
	assert_true(two.fd >= 0);
	two.rb = share_joins(two.b, two.fd);
	assert_int_equal(two.rb.port, two.ra.port);
}

static void two_close(void)
{
	close(two.fd);
	w_close();
}

static void test_nobody_wants_it_nobody_gets_it(void **state)
{
	struct shm_msg m;

	(void)state;
	two_open();
	client_connects(5000);
	no_msg(two.a);
	no_msg(two.b);
	assert_int_equal(record(5000)->state, REC_HELD);
	assert_int_equal(shm(two.a, two.ra.index)->pending, 1);
	assert_int_equal(shm(two.b, two.rb.index)->pending, 1);
	shm(two.b, two.rb.index)->want = 1;
	w_round();
	m = next_msg(two.b, SHM_CONN_NEW);
	assert_int_equal(m.listener, two.rb.id);
	assert_int_equal(shm(two.a, two.ra.index)->pending, 0);
	app_takes(two.b, &m);
	no_msg(two.a);
	assert_int_equal(w.n_rst, 0);
	two_close();
}

static void test_who_want_it_get_it_in_turns(void **state)
{
	uint32_t a, b;

	(void)state;
	two_open();
	shm(two.a, two.ra.index)->want = 1;
	shm(two.b, two.rb.index)->want = 1;
	for (uint16_t i = 0; i < 10; i++)
		client_connects((uint16_t)(5000 + i));
	a = shm_ring_avail(&two.a->to_app->hdr, SHM_MSG_RING);
	b = shm_ring_avail(&two.b->to_app->hdr, SHM_MSG_RING);
	assert_int_equal(a, 5);
	assert_int_equal(b, 5);
	/* Who accepts nothing gets no more than it was thought to want. */
	for (uint16_t i = 0; i < 20; i++)
		client_connects((uint16_t)(6000 + i));
	assert_int_equal(shm_ring_avail(&two.a->to_app->hdr, SHM_MSG_RING), 8);
	assert_int_equal(shm(two.a, two.ra.index)->pending, 14);
	two_close();
}

static void test_asking_gets_one_or_none(void **state)
{
	struct shm_msg want = {.op = SHM_LISTEN_WANT};

	(void)state;
	two_open();
	want.listener = two.rb.id;
	shm_msg_push(two.b->to_daemon, &want);
	w_round();
	assert_int_equal(next_msg(two.b, SHM_LISTEN_NONE).listener, two.rb.id);
	client_connects(5000);
	client_connects(5001);
	shm_msg_push(two.b->to_daemon, &want);
	w_round();
	next_msg(two.b, SHM_CONN_NEW);
	no_msg(two.b);
	/* For an id that is none there is an answer, too. */
	want.listener = 4711;
	shm_msg_push(two.b->to_daemon, &want);
	w_round();
	next_msg(two.b, SHM_LISTEN_NONE);
	two_close();
}

/* One connection accepted, one in the queue, one on its way: then @b is gone. */
static void test_death_gives_the_unaccepted_back(void **state)
{
	struct shm_msg m;
	uint32_t accepted;

	(void)state;
	two_open();
	shm(two.b, two.rb.index)->want = 1;
	for (uint16_t i = 0; i < 3; i++)
		client_connects((uint16_t)(5000 + i));
	m = next_msg(two.b, SHM_CONN_NEW);
	accepted = app_takes(two.b, &m);
	tcp_set_cookie(w.apps[2].s, accepted, 5);
	m = next_msg(two.b, SHM_CONN_NEW);
	app_takes(two.b, &m);
	assert_int_equal(record(5002)->state, REC_OFFERED);
	app_ends(two.b);
	w_round();
	assert_int_equal(record(5000)->state, REC_ORPHAN);
	assert_int_equal(w.n_fin, 1);
	assert_int_equal(record(5001)->state, REC_HELD);
	assert_int_equal(record(5002)->state, REC_HELD);
	assert_int_equal(w.n_rst, 0);
	assert_int_equal(shm(two.a, two.ra.index)->pending, 2);
	shm(two.a, two.ra.index)->want = 1;
	w_round();
	for (int i = 0; i < 2; i++) {
		m = next_msg(two.a, SHM_CONN_NEW);
		assert_int_equal(m.listener, two.ra.id);
		app_takes(two.a, &m);
	}
	two_close();
}

static void gives(struct app *a, uint32_t conn)
{
	struct stack *s = w.apps[a->slot].s;
	struct shm_msg m = {.op = SHM_CONN_GIVE,
			    .conn = conn,
			    .generation = tcp_get(s, conn)->generation,
			    .flags = SHM_GIVE_KEEP};

	assert_int_equal(stack_export(s, conn), 0);
	assert_true(shm_msg_push(a->to_daemon, &m));
	w_round();
}

static void test_closing_gives_the_queue_back(void **state)
{
	struct shm_msg m;
	uint32_t conn;

	(void)state;
	two_open();
	shm(two.b, two.rb.index)->want = 1;
	client_connects(5000);
	m = next_msg(two.b, SHM_CONN_NEW);
	conn = app_takes(two.b, &m);
	shm(two.b, two.rb.index)->want = 0;
	gives(two.b, conn);
	next_msg(two.b, SHM_CONN_TAKEN);
	assert_int_equal(two.b->members[two.rb.id]->handed, 0);
	assert_int_equal(listener_unlisten(&w.d, two.b, two.rb.id), 0);
	assert_int_equal(record(5000)->state, REC_HELD);
	assert_int_equal(flow(5000)->slot, TD_SLOT_DAEMON);
	shm(two.a, two.ra.index)->want = 1;
	w_round();
	m = next_msg(two.a, SHM_CONN_NEW);
	/* And one that will not have it is no reason to lose it. */
	m = (struct shm_msg){.op = SHM_CONN_ACK,
			     .conn = m.conn,
			     .generation = m.generation,
			     .error = ECONNABORTED};
	shm(two.a, two.ra.index)->want = 0;
	shm_msg_push(two.a->to_daemon, &m);
	w_round();
	assert_int_equal(record(5000)->state, REC_HELD);
	assert_int_equal(flow(5000)->slot, TD_SLOT_DAEMON);
	assert_int_equal(w.n_rst, 0);
	two_close();
}

/* What was in its process's queue before the listener was shared. */
static void test_sharing_takes_the_queue_along(void **state)
{
	struct shm_msg m;
	struct app *a;
	uint32_t conn;
	int fd;

	(void)state;
	w_open();
	a = w_app(1);
	two.ra = start_listener(a, 0, 0);
	conn = handed_over(a, 5000);
	fd = share(a, CTL_SHARE_LISTENER, two.ra.id, 0);
	gives(a, conn);
	next_msg(a, SHM_CONN_TAKEN);
	assert_int_equal(record(5000)->state, REC_HELD);
	shm(a, two.ra.index)->want = 1;
	w_round();
	m = next_msg(a, SHM_CONN_NEW);
	app_takes(a, &m);
	close(fd);
	w_close();
}

static void test_the_listener_lives_as_long_as_somebody_has_it(void **state)
{
	struct ctl_take_reply r;
	struct app *c;

	(void)state;
	two_open();
	assert_int_equal(listener_unlisten(&w.d, two.a, two.ra.id), 0);
	app_ends(two.b);
	/* No process that we know: one that has forked, say. */
	client_connects(5000);
	assert_int_equal(record(5000)->state, REC_HELD);
	assert_int_equal(w.n_ports, 1);
	c = w_app(3);
	r = share_joins(c, two.fd);
	assert_int_equal(shm(c, r.index)->pending, 1);
	shm(c, r.index)->want = 1;
	w_round();
	next_msg(c, SHM_CONN_NEW);
	client_connects(5001);
	next_msg(c, SHM_CONN_NEW);
	shm(c, r.index)->want = 0;
	client_connects(5002);
	assert_int_equal(record(5002)->state, REC_HELD);
	/* Linux: what nobody has accepted is reset. */
	share_closes(two.fd);
	assert_null(record(5002));
	assert_int_equal(w.n_ports, 0);
	assert_true(w.n_rst >= 1);
	assert_int_equal(listener_unlisten(&w.d, c, r.id), 0);
	assert_null(w.d.groups);
	w_close();
}

static void test_the_port_is_free_at_once(void **state)
{
	struct ctl_listen req = {.proto = IPPROTO_TCP, .backlog = 8, .id = SHM_NIL};
	struct ctl_listen_reply r;

	(void)state;
	two_open();
	req.port = two.ra.port;
	assert_int_equal(listener_unlisten(&w.d, two.a, two.ra.id), 0);
	assert_int_equal(listener_unlisten(&w.d, two.b, two.rb.id), 0);
	assert_int_equal(listener_listen(&w.d, two.b, &req, -1, &r), -EADDRINUSE);
	/* The loop has not seen yet that it has gone. */
	close(two.fd);
	assert_int_equal(listener_listen(&w.d, two.b, &req, -1, &r), 0);
	w_close();
}

/* A daemon ends, and another begins: what stood for the listener can do so again, more than once. */
static void test_a_new_daemon_lets_it_stand_for_the_listener(void **state)
{
	struct ctl_listen req = {.proto = IPPROTO_TCP, .backlog = 8, .id = SHM_NIL};
	struct ctl_listen_reply ra, rb;
	struct app *a, *b;
	int fd, other;

	(void)state;
	two_open();
	fd = dup(two.fd);
	req.port = two.ra.port;
	for (int i = 0; i < 3; i++) {
		w_close();
		w_open();
		a = w_app(1);
		b = w_app(2);
		/* Ids of this one mean nothing in the other one's names. */
		other = share(a, CTL_SHARE_LISTENER, start_listener(a, 0, 0).id, 0);
		assert_int_equal(listener_listen_again(&w.d, b, &req, fd, -1, &rb), 0);
		assert_int_equal(listener_listen_again(&w.d, a, &req, fd, -1, &ra), 0);
		assert_int_equal(ra.port, two.ra.port);
		listen_port = ntohs(ra.port);
		client_connects(5000);
		assert_int_equal(shm(a, ra.index)->pending, 1);
		assert_int_equal(shm(b, rb.index)->pending, 1);
		shm(a, ra.index)->want = 1;
		w_round();
		next_msg(a, SHM_CONN_NEW);
		close(other);
	}
	assert_int_equal(w.n_ports, 2);
	close(two.fd);
	share_closes(fd);
	assert_int_equal(w.n_ports, 0);
	w_close();
}

static void test_what_is_no_descriptor_of_ours_stands_for_nothing(void **state)
{
	struct sockaddr_un names[] = {
		{.sun_family = AF_UNIX, .sun_path = "\0" CTL_SHARE_PREFIX "other/00000000"},
		{.sun_family = AF_UNIX, .sun_path = "\0some"},
	};
	struct ctl_listen req = {.proto = IPPROTO_TCP, .backlog = 8, .id = SHM_NIL};
	struct ctl_listen_reply r;
	struct app *a;
	int fd;

	(void)state;
	w_open();
	a = w_app(1);
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		assert_int_equal(bind(fd, (struct sockaddr *)&names[i], sizeof(names[i])), 0);
		assert_int_equal(listen(fd, 1), 0);
		assert_int_equal(listener_listen_again(&w.d, a, &req, fd, -1, &r), -EBADF);
		close(fd);
	}
	/* Nor does it give a right to a port. */
	a->uid = 1000;
	req.port = htons(80);
	assert_int_equal(listener_listen_again(&w.d, a, &req, 0, -1, &r), -EACCES);
	assert_null(w.d.groups);
	w_close();
}

/* ---- who may take it ---- */

static void test_only_who_holds_it_takes_it(void **state)
{
	struct sockaddr_un sun = {0};
	socklen_t len = sizeof(sun);
	struct ctl_take_reply r;
	int fd, sp[2];

	(void)state;
	two_open();
	assert_int_equal(share_take(&w.d, two.b, -1, 0, &r), -EBADF);
	assert_int_equal(pipe(sp), 0);
	assert_int_equal(share_take(&w.d, two.b, sp[0], 0, &r), -EBADF);
	close(sp[0]);
	close(sp[1]);
	/* To have its name is not enough: the name of one that has gone, on another socket. */
	assert_int_equal(getsockname(two.fd, (struct sockaddr *)&sun, &len), 0);
	sun.sun_path[len - offsetof(struct sockaddr_un, sun_path) - 1] ^= 1;
	fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&sun, len), 0);
	assert_int_equal(share_take(&w.d, two.b, fd, 0, &r), -EBADF);
	close(fd);
	/* Nor is another application's listener ours to share, or one twice. */
	assert_int_equal(share(two.a, CTL_SHARE_LISTENER, 4711, 0), -1);
	assert_int_equal(share(two.a, CTL_SHARE_LISTENER, two.ra.id, 0), -1);
	assert_int_equal(share(two.b, CTL_SHARE_CONN, 3, 1), -1);
	assert_int_equal(share(two.b, CTL_SHARE_CONN, UINT32_MAX, 1), -1);
	assert_int_equal(share(two.b, 99, 0, 0), -1);
	two_close();
}

/* ---- connections ---- */

static struct {
	struct app *a, *b;
	uint32_t conn, generation; /* in a's arena */
	int fd;
} one;

static void one_open(void)
{
	w_open();
	one.a = w_app(1);
	one.b = w_app(2);
	start_listener(one.a, 0, 0);
	one.conn = handed_over(one.a, 5000);
	one.generation = tcp_get(w.apps[1].s, one.conn)->generation;
	tcp_set_cookie(w.apps[1].s, one.conn, 5);
	one.fd = share(one.a, CTL_SHARE_CONN, one.conn, one.generation);
	assert_true(one.fd >= 0);
}

static void takes(struct app *a, uint64_t cookie)
{
	struct ctl_take_reply r;

	assert_int_equal(share_take(&w.d, a, one.fd, cookie, &r), 0);
	assert_int_equal(r.kind, CTL_SHARE_CONN);
	w_round();
}

static void test_a_closed_connection_ends_with_its_last_holder(void **state)
{
	(void)state;
	one_open();
	gives(one.a, one.conn);
	next_msg(one.a, SHM_CONN_TAKEN);
	assert_int_equal(record(5000)->state, REC_HELD);
	assert_int_equal(w.n_fin, 0);
	share_closes(one.fd);
	assert_int_equal(record(5000)->state, REC_ORPHAN);
	assert_int_equal(w.n_fin, 1);
	w_close();
}

static void test_the_last_holder_may_go_before_it_says_so(void **state)
{
	(void)state;
	one_open();
	share_closes(one.fd);
	assert_int_equal(record(5000)->state, REC_TAKEN);
	gives(one.a, one.conn);
	assert_int_equal(record(5000)->state, REC_ORPHAN);
	assert_int_equal(w.n_fin, 1);
	assert_int_equal(w.n_rst, 0);
	w_close();
}

static void test_another_process_takes_it(void **state)
{
	struct shm_msg m;

	(void)state;
	one_open();
	gives(one.a, one.conn);
	takes(one.b, COOKIE);
	m = next_msg(one.b, SHM_CONN_OPENED);
	assert_true(m.cookie == COOKIE);
	app_takes(one.b, &m);
	assert_int_equal(flow(5000)->slot, 2);
	close(one.fd);
	w_close();
}

static void wants(struct app *a, uint32_t id, uint64_t cookie)
{
	struct shm_msg m = {.op = SHM_CONN_WANT, .listener = id, .cookie = cookie};

	shm_msg_push(a->to_daemon, &m);
	w_round();
}

/* A process that will not be able to show the descriptor later. */
static void test_who_has_shown_it_has_it_by_its_number(void **state)
{
	struct ctl_take_reply r;
	struct shm_msg m;

	(void)state;
	one_open();
	assert_int_equal(share_take(&w.d, one.b, one.fd, 0, &r), 0);
	assert_int_equal(r.kind, CTL_SHARE_CONN);
	no_msg(one.b);
	ts_advance(&w.t, 20);
	w_round();
	no_msg(one.a); /* nobody asks for it yet */
	gives(one.a, one.conn);
	next_msg(one.a, SHM_CONN_TAKEN);
	wants(one.b, r.id, COOKIE);
	m = next_msg(one.b, SHM_CONN_OPENED);
	assert_true(m.cookie == COOKIE);
	app_takes(one.b, &m);
	/* To know the number is not enough. */
	wants(one.a, r.id, 6);
	assert_int_equal(next_msg(one.a, SHM_CONN_FAILED).error, ECONNRESET);
	wants(one.b, r.id + 1, 7);
	assert_int_equal(next_msg(one.b, SHM_CONN_FAILED).error, ECONNRESET);
	wants(one.b, r.id, 8);
	assert_int_equal(next_msg(one.b, SHM_CONN_FAILED).error, EALREADY);
	/* A process that gets a dead one's slot has not shown anything. */
	share_app_gone(&w.d, one.b);
	wants(one.b, r.id, 9);
	assert_int_equal(next_msg(one.b, SHM_CONN_FAILED).error, ECONNRESET);
	close(one.fd);
	w_close();
}

static void test_the_owner_is_asked_for_it_not_too_often(void **state)
{
	struct shm_msg m;
	uint32_t conn;

	(void)state;
	one_open();
	takes(one.b, COOKIE);
	share_deadline(&w.d);
	m = next_msg(one.a, SHM_CONN_RECALL);
	assert_int_equal(m.conn, one.conn);
	assert_int_equal(m.generation, one.generation);
	share_deadline(&w.d);
	no_msg(one.a);
	gives(one.a, one.conn);
	m = next_msg(one.b, SHM_CONN_OPENED);
	conn = app_takes(one.b, &m);
	next_msg(one.a, SHM_CONN_TAKEN);
	/* The first one wants it back: the second has had no time with it yet. */
	takes(one.a, COOKIE + 1);
	assert_false(mtime_is_never(share_deadline(&w.d)));
	no_msg(one.b);
	ts_advance(&w.t, 20);
	w_round();
	share_deadline(&w.d);
	m = next_msg(one.b, SHM_CONN_RECALL);
	assert_int_equal(m.conn, conn);
	gives(one.b, conn);
	m = next_msg(one.a, SHM_CONN_OPENED);
	assert_true(m.cookie == COOKIE + 1);
	app_takes(one.a, &m);
	assert_true(mtime_is_never(share_deadline(&w.d)));
	close(one.fd);
	w_close();
}

static void test_death_leaves_it_to_the_others(void **state)
{
	struct shm_msg m;

	(void)state;
	one_open();
	takes(one.b, COOKIE);
	app_ends(one.a);
	w_round();
	m = next_msg(one.b, SHM_CONN_OPENED);
	/* And then on its way to the second. */
	app_ends(one.b);
	w_round();
	assert_int_equal(record(5000)->state, REC_HELD);
	assert_int_equal(w.n_fin + w.n_rst, 0);
	(void)m;
	share_closes(one.fd);
	assert_int_equal(w.n_fin, 1);
	assert_int_equal(w.n_rst, 0);
	w_close();
}

static void test_what_has_ended_cannot_be_taken(void **state)
{
	struct shm_msg gone = {.op = SHM_CONN_GONE,
			       .local = ip(OUR_IP),
			       .remote = ip(PEER_IP),
			       .remote_port = htons(5000)};
	struct ctl_take_reply r;
	struct shm_msg m;

	(void)state;
	one_open();
	takes(one.b, COOKIE);
	gone.conn = one.conn;
	gone.generation = one.generation;
	gone.local_port = htons(listen_port);
	shm_msg_push(one.a->to_daemon, &gone);
	w_round();
	m = next_msg(one.b, SHM_CONN_FAILED);
	assert_true(m.cookie == COOKIE);
	assert_int_equal(m.error, ECONNRESET);
	assert_int_equal(share_take(&w.d, one.b, one.fd, COOKIE, &r), -ECONNRESET);
	close(one.fd);
	w_close();
}

static void test_linger_zero_resets_at_the_last_close(void **state)
{
	(void)state;
	one_open();
	tcp_setopt(w.apps[1].s, one.conn, TOPT_LINGER, 0, w.t.now);
	gives(one.a, one.conn);
	assert_int_equal(w.n_rst, 0);
	share_closes(one.fd);
	assert_int_equal(w.n_rst, 1);
	assert_int_equal(w.n_fin, 0);
	w_close();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_nobody_wants_it_nobody_gets_it),
		cmocka_unit_test(test_who_want_it_get_it_in_turns),
		cmocka_unit_test(test_asking_gets_one_or_none),
		cmocka_unit_test(test_death_gives_the_unaccepted_back),
		cmocka_unit_test(test_closing_gives_the_queue_back),
		cmocka_unit_test(test_sharing_takes_the_queue_along),
		cmocka_unit_test(test_the_listener_lives_as_long_as_somebody_has_it),
		cmocka_unit_test(test_the_port_is_free_at_once),
		cmocka_unit_test(test_a_new_daemon_lets_it_stand_for_the_listener),
		cmocka_unit_test(test_what_is_no_descriptor_of_ours_stands_for_nothing),
		cmocka_unit_test(test_only_who_holds_it_takes_it),
		cmocka_unit_test(test_a_closed_connection_ends_with_its_last_holder),
		cmocka_unit_test(test_the_last_holder_may_go_before_it_says_so),
		cmocka_unit_test(test_another_process_takes_it),
		cmocka_unit_test(test_who_has_shown_it_has_it_by_its_number),
		cmocka_unit_test(test_the_owner_is_asked_for_it_not_too_often),
		cmocka_unit_test(test_death_leaves_it_to_the_others),
		cmocka_unit_test(test_what_has_ended_cannot_be_taken),
		cmocka_unit_test(test_linger_zero_resets_at_the_last_close),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
