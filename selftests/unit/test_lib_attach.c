// SPDX-License-Identifier: BSD-2-Clause
/*
 * attach.c: which daemon is chosen, and what becomes of replies that are refusals, of another
 * version, cut short or nonsense. The daemon is a thread with a control socket in a directory of
 * our own. No attempt may leave a descriptor behind.
 */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include "user/lib/engine.h"

static char dir[] = "/tmp/tandem-unit-XXXXXX";

/* What the fake daemon answers. */
static struct {
	int listen_fd;
	uint8_t msg[sizeof(struct ctl_register_reply)];
	size_t len;
	unsigned n_fds;
	pthread_t thread;
} fake;

static void *serve(void *arg)
{
	struct ctl_register req;
	int fds[16], fd = accept(fake.listen_fd, NULL, NULL);
	char cm[CMSG_SPACE(sizeof(fds))] = {0};
	struct iovec iov = {fake.msg, fake.len};
	struct msghdr m = {.msg_iov = &iov, .msg_iovlen = 1};

	if (recv(fd, &req, sizeof(req), 0) == (ssize_t)sizeof(req) && fake.len) {
		for (unsigned i = 0; i < fake.n_fds; i++)
			fds[i] = eventfd(0, EFD_CLOEXEC);
		if (fake.n_fds) {
			struct cmsghdr *c;

			m.msg_control = cm;
			m.msg_controllen = CMSG_SPACE(fake.n_fds * sizeof(int));
			c = CMSG_FIRSTHDR(&m);
			c->cmsg_level = SOL_SOCKET;
			c->cmsg_type = SCM_RIGHTS;
			c->cmsg_len = CMSG_LEN(fake.n_fds * sizeof(int));
			memcpy(CMSG_DATA(c), fds, fake.n_fds * sizeof(int));
		}
		sendmsg(fd, &m, MSG_NOSIGNAL);
		for (unsigned i = 0; i < fake.n_fds; i++)
			close(fds[i]);
	}
	close(fd);
	return arg;
}

static void path_of(const char *name, const char *file, char *out, size_t len)
{
	snprintf(out, len, "%s/%s%s%s", dir, name, file ? "/" : "", file ? file : "");
}

static void make_daemon_dir(const char *name, uint64_t netns)
{
	char path[300];
	FILE *f;

	path_of(name, NULL, path, sizeof(path));
	assert_int_equal(mkdir(path, 0700), 0);
	path_of(name, "netns", path, sizeof(path));
	f = fopen(path, "w");
	assert_non_null(f);
	fprintf(f, "%llu\n", (unsigned long long)netns);
	fclose(f);
}

static void remove_daemon_dir(const char *name)
{
	char path[300];

	path_of(name, "netns", path, sizeof(path));
	unlink(path);
	path_of(name, CTL_SOCKET_NAME, path, sizeof(path));
	unlink(path);
	path_of(name, NULL, path, sizeof(path));
	assert_int_equal(rmdir(path), 0);
}

static uint64_t our_netns(void)
{
	struct stat st;

	assert_int_equal(stat("/proc/self/ns/net", &st), 0);
	return st.st_ino;
}

static int count_fds(void)
{
	DIR *d = opendir("/proc/self/fd");
	int n = 0;

	while (readdir(d))
		n++;
	closedir(d);
	return n;
}

static void start_fake(const char *name, const void *reply, size_t len, unsigned n_fds)
{
	struct sockaddr_un sun = {.sun_family = AF_UNIX};
	char path[300];

	path_of(name, CTL_SOCKET_NAME, path, sizeof(path));
	assert_true(strlen(path) < sizeof(sun.sun_path));
	strcpy(sun.sun_path, path);
	fake.listen_fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	assert_int_equal(bind(fake.listen_fd, (struct sockaddr *)&sun, sizeof(sun)), 0);
	assert_int_equal(listen(fake.listen_fd, 4), 0);
	memcpy(fake.msg, reply, len);
	fake.len = len;
	fake.n_fds = n_fds;
	assert_int_equal(pthread_create(&fake.thread, NULL, serve, NULL), 0);
}

static void stop_fake(void)
{
	pthread_join(fake.thread, NULL);
	close(fake.listen_fd);
}

/* tandem_init() against a daemon that replies so; fails with @err and leaves nothing. */
static void expect_refusal(const void *reply, size_t len, unsigned n_fds, int err)
{
	int before = count_fds();

	make_daemon_dir("fake", our_netns());
	start_fake("fake", reply, len, n_fds);
	errno = 0;
	assert_int_equal(tandem_init(NULL), -1);
	assert_int_equal(errno, err);
	assert_true(tandem_last_error()[0] != '\0');
	stop_fake();
	assert_int_equal(count_fds(), before);
	remove_daemon_dir("fake");
}

static struct ctl_register_reply good_reply(void)
{
	struct ctl_register_reply r = {
		.hdr = {CTL_MAGIC, CTL_VERSION, CTL_REGISTER, 0, sizeof(r)},
		.slot = 3,
		.n_ifs = 1,
		.n_queues = 1,
		.ifs = {{.n_queues = 1}},
		.n_frames = 64,
		.rx_size = 64,
		.tx_size = 64,
		.fill_size = 64,
		.comp_size = 64,
		.limits_len = sizeof(struct stack_limits),
	};

	return r;
}

static void test_attach_no_daemon(void **state)
{
	(void)state;
	assert_int_equal(tandem_init(NULL), -1);
	assert_int_equal(errno, ENODEV);
	assert_int_equal(tandem_socket(AF_INET, SOCK_STREAM, 0), -1);
	assert_int_equal(errno, ENODEV);
	assert_int_equal(tandem_epoll_create(), -1);
	assert_int_equal(errno, ENODEV);
}

static void test_attach_other_netns_is_not_ours(void **state)
{
	(void)state;
	make_daemon_dir("other", our_netns() + 1);
	assert_int_equal(tandem_init(NULL), -1);
	assert_int_equal(errno, ENODEV);
	remove_daemon_dir("other");
}

static void test_attach_dead_daemon(void **state)
{
	(void)state;
	make_daemon_dir("dead", our_netns());
	assert_int_equal(tandem_init(NULL), -1);
	assert_int_equal(errno, ENODEV);
	assert_int_equal(tandem_init("dead"), -1);
	assert_int_equal(errno, ENODEV);
	remove_daemon_dir("dead");
}

static void test_attach_name(void **state)
{
	(void)state;
	assert_int_equal(tandem_init("../etc"), -1);
	assert_int_equal(errno, EINVAL);
	assert_int_equal(tandem_init("nobody"), -1);
	assert_int_equal(errno, ENODEV);
	setenv("TANDEM_NAME", "a/b", 1);
	assert_int_equal(tandem_init(NULL), -1);
	assert_int_equal(errno, EINVAL);
	unsetenv("TANDEM_NAME");
}

static void test_attach_refused(void **state)
{
	struct ctl_hdr h = {CTL_MAGIC, CTL_VERSION, CTL_REGISTER, -ENOBUFS, sizeof(h)};

	(void)state;
	expect_refusal(&h, sizeof(h), 0, ENOBUFS);
	h.error = -EACCES;
	expect_refusal(&h, sizeof(h), 0, EACCES);
	h.error = 5; /* no errno at all */
	expect_refusal(&h, sizeof(h), 0, EPROTO);
}

static void test_attach_other_version(void **state)
{
	struct ctl_hdr h = {CTL_MAGIC, CTL_VERSION + 1, CTL_REGISTER, -EPROTO, sizeof(h)};
	struct ctl_register_reply r = good_reply();

	(void)state;
	expect_refusal(&h, sizeof(h), 0, EPROTO);
	r.limits_len--;
	expect_refusal(&r, sizeof(r), 7, EPROTO);
}

static void test_attach_cut_short(void **state)
{
	struct ctl_register_reply r = good_reply();

	(void)state;
	expect_refusal(&r, 8, 0, EPROTO);
	r.hdr.len = 64;
	expect_refusal(&r, 64, 0, EPROTO);
	expect_refusal(&r, 0, 0, ENETDOWN);
}

static void test_attach_wrong_descriptors(void **state)
{
	struct ctl_register_reply r = good_reply();

	(void)state;
	expect_refusal(&r, sizeof(r), 0, EPROTO);
	expect_refusal(&r, sizeof(r), 6, EPROTO);
	expect_refusal(&r, sizeof(r), 8, EPROTO);
	/* As many as it should be, but not what they should be: memfds that cannot change size. */
	assert_int_equal(tandem_init("nobody"), -1);
	make_daemon_dir("fake", our_netns());
	start_fake("fake", &r, sizeof(r), 7);
	assert_int_equal(tandem_init("fake"), -1);
	stop_fake();
	remove_daemon_dir("fake");
}

static void test_attach_out_of_range(void **state)
{
	struct ctl_register_reply r = good_reply();

	(void)state;
	r.n_queues = 0;
	expect_refusal(&r, sizeof(r), 6, EPROTO);
	r = good_reply();
	r.n_queues = TD_MAX_QUEUES + 1;
	expect_refusal(&r, sizeof(r), 7, EPROTO);
	r = good_reply();
	r.n_ifs = 0;
	expect_refusal(&r, sizeof(r), 6, EPROTO);
	r.n_ifs = TD_MAX_NETIFS + 1;
	expect_refusal(&r, sizeof(r), 7, EPROTO);
	/* Queues that no interface has, or that are more than there are in all. */
	r = good_reply();
	r.n_queues = 2;
	expect_refusal(&r, sizeof(r), 8, EPROTO);
	r = good_reply();
	r.n_ifs = 2;
	r.ifs[1].n_queues = UINT32_MAX;
	expect_refusal(&r, sizeof(r), 7, EPROTO);
	r.ifs[1].n_queues = 0;
	expect_refusal(&r, sizeof(r), 7, EPROTO);
	r = good_reply();
	r.slot = 0;
	expect_refusal(&r, sizeof(r), 7, EPROTO);
	r.slot = TD_MAX_SLOTS;
	expect_refusal(&r, sizeof(r), 7, EPROTO);
}

static void test_calls_without_engine(void **state)
{
	struct pollfd p = {.fd = TANDEM_FD_BASE, .events = POLLIN};
	struct epoll_event ev;
	char c;

	(void)state;
	assert_int_equal(tandem_socket(AF_INET6, SOCK_STREAM, 0), -1);
	assert_int_equal(errno, EAFNOSUPPORT);
	assert_int_equal(tandem_socket(AF_INET, SOCK_RAW, 0), -1);
	assert_int_equal(errno, EPROTONOSUPPORT);
	assert_int_equal(tandem_socket(AF_INET, SOCK_STREAM, IPPROTO_UDP), -1);
	assert_int_equal(errno, EPROTONOSUPPORT);
	assert_int_equal(tandem_recv(TANDEM_FD_BASE, &c, 1, 0), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(tandem_send(3, &c, 1, 0), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(tandem_close(TANDEM_FD_BASE), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(tandem_epoll_wait(TANDEM_FD_BASE, &ev, 1, 0), -1);
	assert_int_equal(errno, EBADF);
	assert_int_equal(tandem_poll(&p, 1, 0), 1);
	assert_int_equal(p.revents, POLLNVAL);
	tandem_exit();
}

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	attach_run_dir = dir;
	unsetenv("TANDEM_NAME");
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_attach_no_daemon),
		cmocka_unit_test(test_attach_other_netns_is_not_ours),
		cmocka_unit_test(test_attach_dead_daemon),
		cmocka_unit_test(test_attach_name),
		cmocka_unit_test(test_attach_refused),
		cmocka_unit_test(test_attach_other_version),
		cmocka_unit_test(test_attach_cut_short),
		cmocka_unit_test(test_attach_wrong_descriptors),
		cmocka_unit_test(test_attach_out_of_range),
		cmocka_unit_test(test_calls_without_engine),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
