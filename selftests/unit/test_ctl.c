// SPDX-License-Identifier: BSD-2-Clause
/*
 * The control socket (user/daemon/ctl.c, report.c, json.c): what it refuses, how, and that a
 * client that misbehaves hurts nobody but itself. The real socket, in a directory of its own.
 */
#include "daemon_world.h"
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include "user/daemon/report.h"

static char dir[] = "/tmp/test_ctl.XXXXXX";

/* Lets the daemon do what is to be done now. */
static void serve(void)
{
	struct epoll_event ev[16];
	int n;

	while ((n = epoll_wait(w.d.epfd, ev, 16, 0)) > 0) {
		for (int i = 0; i < n; i++) {
			struct watch *x = ev[i].data.ptr;

			if (x->fd >= 0)
				x->fn(&w.d, x, ev[i].events);
		}
		ctl_reap(&w.d);
	}
}

static void open_ctl(void)
{
	char why[256];

	w_open();
	strcpy(dir + strlen(dir) - 6, "XXXXXX");
	assert_non_null(mkdtemp(dir));
	strcpy(w.d.run_dir, dir);
	w.d.opt.name = "test";
	w.d.cfg.socket_group = getgid();
	if (ctl_open(&w.d, why, sizeof(why)))
		fail_msg("%s", why);
}

static void close_ctl(void)
{
	char path[160];

	ctl_close(&w.d);
	snprintf(path, sizeof(path), "%s/control", dir);
	unlink(path);
	rmdir(dir);
	w_close();
}

static int dial(void)
{
	struct sockaddr_un sa = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

	snprintf(sa.sun_path, sizeof(sa.sun_path), "%s/control", dir);
	assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof(sa)), 0);
	serve();
	return fd;
}

static struct ctl_hdr hdr(uint16_t type, size_t len)
{
	return (struct ctl_hdr){CTL_MAGIC, CTL_VERSION, type, 0, (uint32_t)len};
}

/* Sends @len bytes, returns the reply's header; .magic 0: the daemon hung up. */
static struct ctl_hdr ask(int fd, const void *msg, size_t len)
{
	struct ctl_hdr h = {0};
	ssize_t n;

	assert_int_equal(send(fd, msg, len, MSG_NOSIGNAL), len);
	serve();
	n = recv(fd, &h, sizeof(h), MSG_DONTWAIT | MSG_TRUNC);
	assert_true(n >= 0);
	return h;
}

static struct ctl_hdr ask_hdr(int fd, struct ctl_hdr h)
{
	return ask(fd, &h, sizeof(h));
}

/* ---- messages ---- */

static void test_check(void **state)
{
	struct ctl_listen m = {.hdr = hdr(CTL_LISTEN, sizeof(m))};
	struct ctl_hdr h;

	(void)state;
	assert_int_equal(ctl_check(&m, sizeof(m), &h), 0);
	assert_int_equal(h.type, CTL_LISTEN);
	assert_int_equal(ctl_check(&m, 0, &h), -EBADMSG);
	assert_int_equal(ctl_check(&m, sizeof(h) - 1, &h), -EBADMSG);
	assert_int_equal(ctl_check(&m, sizeof(m) - 1, &h), -EINVAL);
	m.hdr.len--;
	assert_int_equal(ctl_check(&m, sizeof(m), &h), -EINVAL);
	assert_int_equal(ctl_check(&m, sizeof(m) - 1, &h), -EINVAL);
	m.hdr = hdr(CTL_REGISTER, sizeof(m));
	assert_int_equal(ctl_check(&m, sizeof(m), &h), -EINVAL);
	m.hdr = hdr(0, sizeof(h));
	assert_int_equal(ctl_check(&m, sizeof(h), &h), -EINVAL);
	m.hdr = hdr(99, sizeof(h));
	assert_int_equal(ctl_check(&m, sizeof(h), &h), -EINVAL);
	m.hdr = hdr(CTL_STATUS, sizeof(h));
	m.hdr.version++;
	assert_int_equal(ctl_check(&m, sizeof(h), &h), -EPROTO);
	m.hdr.magic++;
	assert_int_equal(ctl_check(&m, sizeof(h), &h), -EBADMSG);
}

static void test_another_version_is_told_ours(void **state)
{
	struct ctl_hdr h = hdr(CTL_STATUS, sizeof(h));
	int fd;

	(void)state;
	open_ctl();
	fd = dial();
	h.version = CTL_VERSION + 7;
	h = ask_hdr(fd, h);
	assert_int_equal(h.error, -EPROTO);
	assert_int_equal(h.version, CTL_VERSION);
	/* And it may go on. */
	assert_int_equal(ask_hdr(fd, hdr(CTL_STATUS, sizeof(h) + 1)).error, -EINVAL);
	close(fd);
	close_ctl();
}

static void test_something_else_is_hung_up_on(void **state)
{
	int fd;

	(void)state;
	open_ctl();
	fd = dial();
	assert_int_equal(ask(fd, "GET / HTTP/1.0\r\n\r\n", 18).magic, 0);
	close(fd);
	assert_null(w.d.clients);
	close_ctl();
}

static void test_requests_out_of_place(void **state)
{
	struct ctl_listen m = {.hdr = hdr(CTL_LISTEN, sizeof(m)), .proto = IPPROTO_TCP};
	static char big[8192];
	int fd;

	(void)state;
	open_ctl();
	fd = dial();
	/* Not registered */
	assert_int_equal(ask(fd, &m, sizeof(m)).error, -ENOTCONN);
	m.hdr = hdr(CTL_UNBIND, sizeof(m));
	assert_int_equal(ask(fd, &m, sizeof(m)).error, -ENOTCONN);
	/* Longer than any request */
	memset(big, 0x55, sizeof(big));
	assert_int_equal(ask(fd, big, sizeof(big)).error, -EINVAL);
	/* Nothing, which is also what the end looks like */
	assert_int_equal(ask(fd, "", 0).magic, 0);
	close(fd);
	close_ctl();
}

static void test_detach_takes_root(void **state)
{
	struct ctl_hdr h = hdr(CTL_DETACH, sizeof(h));
	int fd;

	(void)state;
	open_ctl();
	fd = dial();
	if (getuid()) {
		assert_int_equal(ask_hdr(fd, h).error, -EPERM);
		assert_false(w.d.stop);
		close(fd);
		close_ctl();
		return;
	}
	assert_int_equal(send(fd, &h, sizeof(h), 0), sizeof(h));
	serve();
	assert_true(w.d.stop);
	assert_int_equal(recv(fd, &h, sizeof(h), MSG_DONTWAIT), -1);
	close_ctl(); /* all is undone: now it is told */
	assert_int_equal(recv(fd, &h, sizeof(h), MSG_DONTWAIT), sizeof(h));
	assert_int_equal(h.error, 0);
	close(fd);
}

static void test_its_mode_decides_who_may_connect(void **state)
{
	char path[160];
	struct stat st;

	(void)state;
	open_ctl();
	snprintf(path, sizeof(path), "%s/control", dir);
	assert_int_equal(stat(path, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	close_ctl();
}

/* Random messages with a right header: nothing but replies and hang-ups. */
static void test_noise(void **state)
{
	int fd = -1;

	(void)state;
	open_ctl();
	for (int i = 0; i < 5000; i++) {
		union {
			struct ctl_hdr h;
			uint8_t b[300];
		} m;
		size_t len = 16 + (size_t)i % 280;

		if (fd < 0)
			fd = dial();
		getrandom(&m, sizeof(m), 0);
		m.h = hdr((uint16_t)(CTL_LISTEN + i % 4), len);
		if (i % 8 == 0)
			m.h.magic = 1;
		if (send(fd, &m, len, MSG_NOSIGNAL) < 0 || i % 50 == 0) {
			close(fd);
			fd = -1;
		}
		serve();
		while (fd >= 0 && recv(fd, &m, sizeof(m), MSG_DONTWAIT) > 0)
			;
	}
	close(fd);
	serve();
	assert_null(w.d.clients);
	close_ctl();
}

/* ---- listeners ---- */

static void test_as_many_listeners_as_the_stack_has(void **state)
{
	struct ctl_listen req = {.proto = IPPROTO_TCP, .id = SHM_NIL, .backlog = 1};
	struct ctl_listen_reply r;
	struct app *a;

	(void)state;
	open_ctl();
	a = w_app(1);
	for (int i = 0; i < 100; i++) {
		assert_int_equal(listener_listen(&w.d, a, &req, -1, &r), i < 8 ? 0 : -ENOSPC);
		if (i < 8)
			assert_int_equal(r.id, i);
	}
	assert_int_equal(a->n_listening, 8);
	assert_int_equal(w.n_ports, 8);
	for (uint32_t i = 0; i < 8; i++)
		assert_int_equal(listener_unlisten(&w.d, a, i), 0);
	assert_int_equal(w.n_ports, 0);
	close_ctl();
}

/* ---- reports ---- */

static size_t read_pieces(int fd, char *out, size_t size)
{
	union {
		struct ctl_text t;
		char b[CTL_MAX_MSG];
	} m;
	size_t len = 0;

	for (;;) {
		ssize_t n;

		serve();
		n = recv(fd, &m, sizeof(m), MSG_DONTWAIT);
		assert_true(n >= (ssize_t)sizeof(m.t));
		assert_int_equal(m.t.hdr.len, n);
		assert_int_equal(m.t.hdr.error, 0);
		n -= (ssize_t)sizeof(m.t);
		assert_true(len + (size_t)n < size);
		memcpy(out + len, m.t.text, (size_t)n);
		len += (size_t)n;
		if (!m.t.more)
			break;
	}
	out[len] = 0;
	return len;
}

/* Balanced, outside of strings: enough to see that no piece is lost or doubled. */
static void assert_balanced(const char *s)
{
	int depth = 0;
	bool str = false;

	for (; *s; s++) {
		if (str && *s == '\\')
			s++;
		else if (*s == '"')
			str = !str;
		else if (!str && (*s == '{' || *s == '['))
			depth++;
		else if (!str && (*s == '}' || *s == ']'))
			depth--;
		assert_true(depth >= 0);
	}
	assert_int_equal(depth, 0);
	assert_false(str);
}

static void many_records(struct app *a, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct flow_key k = {.remote = ip_addr_v4(i), .local = ip(OUR_IP), .proto = 6};
		uint32_t r = rec_new(&w.d, &k, a->slot, REC_READY);

		assert_int_not_equal(r, SHM_NIL);
		rec_at(&w.d, r)->conn = i % W_TCBS;
		rec_set_state(&w.d, r, REC_TAKEN);
	}
}

static uint32_t count(const char *text, const char *what)
{
	uint32_t n = 0;

	while ((text = strstr(text, what))) {
		text++;
		n++;
	}
	return n;
}

static void test_connections_come_in_pieces(void **state)
{
	static char text[2000000];
	struct ctl_hdr h = hdr(CTL_SS, sizeof(h));
	struct app *a;
	int fd;

	(void)state;
	open_ctl();
	a = w_app(1);
	/* A program may call itself anything, and write anything into its arena. */
	memcpy(a->comm, "a\"\\\n\xff\xc3\xa9{", 9);
	getrandom(a->view.tcbs, sizeof(struct tcb) * W_TCBS, 0);
	many_records(a, 1000);
	fd = dial();
	assert_int_equal(send(fd, &h, sizeof(h), 0), sizeof(h));
	assert_true(read_pieces(fd, text, sizeof(text)) > 100000);
	assert_balanced(text);
	assert_int_equal(count(text, "\"state\":"), 1000);
	assert_int_equal(count(text, "\"owner\":\"a\\\"\\\\??\xc3\xa9{\""), 1000);
	assert_int_equal(count(text, "\n{\"state\":"), 1000); /* a line for each */
	assert_int_equal(count(text, "\"info\":{"), 1000);
	h.type = CTL_SS_BRIEF;
	assert_int_equal(send(fd, &h, sizeof(h), 0), sizeof(h));
	read_pieces(fd, text, sizeof(text));
	assert_balanced(text);
	assert_int_equal(count(text, "\n{\"state\":"), 1000);
	assert_int_equal(count(text, "\"info\":{"), 0);
	/* And the next request */
	assert_int_equal(send(fd, &h, sizeof(h), 0), sizeof(h));
	read_pieces(fd, text, sizeof(text));
	close(fd);
	serve();
	assert_null(w.d.clients);
	close_ctl();
}

static void test_who_does_not_read_is_dropped(void **state)
{
	static char text[2000000];
	struct ctl_hdr h = hdr(CTL_SS, sizeof(h));
	struct app *a;
	int slow, good;

	(void)state;
	open_ctl();
	a = w_app(1);
	many_records(a, 1000);
	slow = dial();
	good = dial();
	assert_int_equal(send(slow, &h, sizeof(h), 0), sizeof(h));
	serve();
	/* It is not listened to meanwhile, the other is served. */
	assert_int_equal(send(slow, &h, sizeof(h), 0), sizeof(h));
	assert_int_equal(send(good, &h, sizeof(h), 0), sizeof(h));
	read_pieces(good, text, sizeof(text));
	assert_false(mtime_is_never(ctl_deadline(&w.d)));
	w.d.now = mtime_add_ms(w.d.now, 9000);
	ctl_expire(&w.d);
	w.d.now = mtime_add_ms(w.d.now, 2000);
	ctl_expire(&w.d);
	ctl_reap(&w.d);
	assert_true(mtime_is_never(ctl_deadline(&w.d)));
	assert_int_equal(send(good, &h, sizeof(h), 0), sizeof(h));
	read_pieces(good, text, sizeof(text));
	close(slow);
	close(good);
	serve();
	assert_null(w.d.clients);
	close_ctl();
}

static void test_json_strings(void **state)
{
	static const struct {
		const char *in, *out;
	} cases[] = {
		{"", "\"\""},
		{"plain", "\"plain\""},
		{"a\"b\\c", "\"a\\\"b\\\\c\""},
		{"\x01\n\t\x7f", "\"????\""},
		{"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80",
		 "\"\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80\""},
		{"\xc3", "\"?\""},		  /* cut short */
		{"\xc0\xaf", "\"??\""},		  /* overlong */
		{"\xed\xa0\x80", "\"???\""},	  /* a surrogate */
		{"\xf4\x90\x80\x80", "\"????\""}, /* beyond Unicode */
		{"\xff\xfe", "\"??\""},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct jbuf j = {0};

		jb_str(&j, NULL, cases[i].in);
		assert_int_equal(j.len, strlen(cases[i].out));
		assert_memory_equal(j.text, cases[i].out, j.len);
		jb_free(&j);
	}
}

static void test_json_structure(void **state)
{
	static const char want[] =
		"{\"a\":[{\"n\":18446744073709551615,\"t\":true},{}],\"s\":null}";
	struct jbuf j = {0};

	(void)state;
	jb_open(&j, NULL, '{');
	jb_open(&j, "a", '[');
	jb_open(&j, NULL, '{');
	jb_u64(&j, "n", UINT64_MAX);
	jb_bool(&j, "t", true);
	jb_close(&j, '}');
	jb_open(&j, NULL, '{');
	jb_close(&j, '}');
	jb_close(&j, ']');
	jb_str(&j, "s", NULL);
	jb_close(&j, '}');
	assert_int_equal(j.len, sizeof(want) - 1);
	assert_memory_equal(j.text, want, j.len);
	jb_free(&j);
}

/* Asks on behalf of a registered application; the whole reply in @r. */
static int asked(int fd, uint16_t type, struct ctl_listen *m, struct ctl_listen_reply *r)
{
	ssize_t n;

	m->hdr = hdr(type, sizeof(*m));
	memset(r, 0, sizeof(*r));
	assert_int_equal(send(fd, m, sizeof(*m), MSG_NOSIGNAL), sizeof(*m));
	serve();
	n = recv(fd, r, sizeof(*r), MSG_DONTWAIT);
	assert_true(n >= (ssize_t)sizeof(r->hdr));
	assert_int_equal(r->hdr.len, n);
	assert_int_equal(r->hdr.type, type);
	return r->hdr.error;
}

static void test_requests_of_an_application(void **state)
{
	struct ctl_listen m = {.proto = IPPROTO_TCP, .id = SHM_NIL, .backlog = 5};
	struct ctl_listen_reply r;
	struct ctl_register reg = {.hdr = hdr(CTL_REGISTER, sizeof(reg)), .comm = "test"};
	uint32_t id;
	struct app *a;
	int fd;

	(void)state;
	open_ctl();
	fd = dial();
	assert_int_equal(ask(fd, &reg, sizeof(reg)).error, 0);
	a = w.d.apps[1];
	assert_non_null(a);
	assert_int_equal(a->pid, getpid());
	assert_int_equal(a->uid, getuid());
	assert_int_equal(ask(fd, &reg, sizeof(reg)).error, -EISCONN);

	assert_int_equal(asked(fd, CTL_LISTEN, &m, &r), 0);
	assert_int_equal(r.hdr.len, sizeof(r));
	assert_int_not_equal(r.port, 0);
	id = r.id;
	m.port = r.port;
	assert_int_equal(asked(fd, CTL_LISTEN, &m, &r), -EADDRINUSE);
	assert_int_equal(r.hdr.len, sizeof(r.hdr));
	assert_int_equal(a->n_listening, 1);
	m.id = id;
	m.backlog = 9;
	assert_int_equal(asked(fd, CTL_BACKLOG, &m, &r), 0);
	assert_int_equal(r.hdr.len, sizeof(r.hdr));
	assert_int_equal(asked(fd, CTL_UNLISTEN, &m, &r), 0);
	assert_int_equal(a->n_listening, 0);
	assert_int_equal(w.n_ports, 0);
	assert_true(asked(fd, CTL_UNLISTEN, &m, &r) < 0);

	m.port = 0;
	assert_int_equal(asked(fd, CTL_BIND, &m, &r), 0);
	assert_int_equal(r.hdr.len, sizeof(r));
	assert_int_not_equal(r.port, 0);
	m.id = r.id;
	assert_int_equal(asked(fd, CTL_UNBIND, &m, &r), 0);

	m.addr = ip(PEER_IP);
	assert_int_equal(asked(fd, CTL_FASTOPEN, &m, &r), -ENOENT);
	w.t.s->cfg.limits.tcp_fastopen = 1 | 4; /* without cookies */
	assert_int_equal(asked(fd, CTL_FASTOPEN, &m, &r), 0);

	/* The connection is the application's life. */
	assert_int_equal(a->stage, APP_ALIVE);
	close(fd);
	serve();
	assert_int_not_equal(a->stage, APP_ALIVE);
	while (w.d.apps[1] && w.d.apps[1]->stage == APP_ENDING)
		app_removals(&w.d);
	close_ctl();
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_check),
		cmocka_unit_test(test_another_version_is_told_ours),
		cmocka_unit_test(test_something_else_is_hung_up_on),
		cmocka_unit_test(test_requests_out_of_place),
		cmocka_unit_test(test_detach_takes_root),
		cmocka_unit_test(test_its_mode_decides_who_may_connect),
		cmocka_unit_test(test_noise),
		cmocka_unit_test(test_as_many_listeners_as_the_stack_has),
		cmocka_unit_test(test_connections_come_in_pieces),
		cmocka_unit_test(test_who_does_not_read_is_dropped),
		cmocka_unit_test(test_json_strings),
		cmocka_unit_test(test_json_structure),
		cmocka_unit_test(test_requests_of_an_application),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
