// SPDX-License-Identifier: BSD-2-Clause
/*
 * Processes that give up what they could do before they touch the socket that they have inherited:
 * chroot, another user, limits, a seccomp filter that kills. As root, as sshd begins.
 */
#include "app.h"
#include <grp.h>
#include <stddef.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#define NOBODY 65534

static char buf[1 << 16];

static int status_of(pid_t pid)
{
	int st = -1;

	if (waitpid(pid, &st, 0) != pid)
		return -1;
	return WIFEXITED(st) ? WEXITSTATUS(st) : 1000 + WTERMSIG(st);
}

#if defined(__x86_64__)
#define ARCH AUDIT_ARCH_X86_64
#else
#define ARCH AUDIT_ARCH_AARCH64
#endif
#define MAY(nr)                                                                                    \
	BPF_JUMP(BPF_JMP + BPF_JEQ + BPF_K, (nr), 0, 1),                                           \
		BPF_STMT(BPF_RET + BPF_K, SECCOMP_RET_ALLOW)

/* What a process that only talks over descriptors which it has can do with; all else kills it. */
static int seccomp_on(void)
{
	static struct sock_filter insns[] = {
		BPF_STMT(BPF_LD + BPF_W + BPF_ABS, offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP + BPF_JEQ + BPF_K, ARCH, 1, 0),
		BPF_STMT(BPF_RET + BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_LD + BPF_W + BPF_ABS, offsetof(struct seccomp_data, nr)),
		MAY(SYS_read),
		MAY(SYS_write),
		MAY(SYS_close),
		MAY(SYS_ppoll),
		MAY(SYS_pselect6),
#ifdef SYS_poll
		MAY(SYS_poll),
#endif
		MAY(SYS_futex),
		MAY(SYS_brk),
		MAY(SYS_mmap),
		MAY(SYS_munmap),
		MAY(SYS_madvise),
		MAY(SYS_mprotect),
		MAY(SYS_getpid),
		MAY(SYS_clock_gettime),
		MAY(SYS_clock_nanosleep),
		MAY(SYS_rt_sigprocmask),
		MAY(SYS_rt_sigreturn),
		MAY(SYS_exit),
		MAY(SYS_exit_group),
		BPF_STMT(BPF_RET + BPF_K, SECCOMP_RET_KILL_PROCESS),
	};
	static const struct sock_fprog prog = {sizeof(insns) / sizeof(insns[0]), insns};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

static int drop_root(void)
{
	gid_t g = NOBODY;

	return chroot("/var/empty") && chroot("/proc/sys/net")
		       ? -1
		       : chdir("/") || setgroups(1, &g) || setresgid(g, g, g) ||
				 setresuid(NOBODY, NOBODY, NOBODY);
}

static int limit(void)
{
	struct rlimit one = {1, 1}, none = {0, 0};

	return setrlimit(RLIMIT_FSIZE, &none) || setrlimit(RLIMIT_NOFILE, &one) ||
	       setrlimit(RLIMIT_NPROC, &none);
}

/* Sends and gets back @total bytes, in pieces, waiting as it can. */
static int talk(int c, size_t total, bool by_poll)
{
	size_t sent = 0, got = 0;

	while (got < total) {
		size_t n = sent < total ? sizeof(buf) / 2 : 0;
		struct pollfd p = {.fd = c, .events = POLLIN};

		memset(buf, (int)(sent >> 15), n);
		if (n && write(c, buf, n) != (ssize_t)n)
			return 2;
		sent += n;
		for (size_t piece = 0; piece < sizeof(buf) / 2;) {
			ssize_t r;

			if (by_poll && poll(&p, 1, 10000) != 1)
				return 3;
			r = read(c, buf, sizeof(buf) / 2 - piece);
			if (r <= 0)
				return 4;
			for (ssize_t i = 0; i < r; i++)
				if (buf[i] != (char)(got >> 15))
					return 5;
			piece += (size_t)r;
		}
		got += sizeof(buf) / 2;
	}
	return 0;
}

static void other_user(void)
{
	int c = peer("echo");
	pid_t pid;

	TITLE("a child in a chroot, as nobody");
	pid = fork();
	if (!pid)
		_exit(drop_root() ? 1 : talk(c, 1 << 20, false));
	T(status_of(pid));

	TITLE("the parent goes on, and then it is the child's turn again");
	T(talk(c, 1 << 16, true));
	close(c);
}

static void all_of_it(bool by_poll)
{
	int c = peer("echo"), p[2];
	pid_t pid;

	if (pipe(p))
		return;
	pid = fork();
	if (!pid) {
		int r = drop_root() || limit() || seccomp_on() ? 1 : talk(c, 1 << 20, by_poll);

		/* It is the parent's in between, and comes back. */
		if (!r && read(p[0], buf, 1) != 1)
			r = 6;
		_exit(r ? r : talk(c, 1 << 18, by_poll));
	}
	usleep(50000);
	T(write(p[1], "x", 1));
	T(status_of(pid));
	T(talk(c, 1 << 16, by_poll));
	close(c);
	close(p[0]);
	close(p[1]);
}

static void in_turn(void)
{
	int c = peer("echo"), go[2], back[2], i;
	pid_t pid;

	TITLE("parent and sandboxed child in turn");
	fflush(stdout);
	if (pipe(go) || pipe(back))
		return;
	pid = fork();
	if (!pid) {
		close(go[1]); /* it ends with its parent */
		close(back[0]);
		if (drop_root() || limit() || seccomp_on())
			_exit(1);
		for (i = 0; i < 5; i++)
			if (read(go[0], buf, 1) != 1 || write(c, "child", 5) != 5 ||
			    slurp(c, buf, 5) != 5 || memcmp(buf, "child", 5) ||
			    write(back[1], "x", 1) != 1)
				_exit(2);
		exit(0);
	}
	for (i = 0; i < 5; i++)
		if (write(c, "parent", 6) != 6 || slurp(c, buf, 6) != 6 ||
		    memcmp(buf, "parent", 6) || write(go[1], "x", 1) != 1 ||
		    read(back[0], buf, 1) != 1)
			break;
	T(i);
	T(status_of(pid));
	close(c);
}

static void accepting(void)
{
	struct sockaddr_in sin = sin_of(own_addr, 7610);
	int l = listener(7610, 0), ctl;
	pid_t pid;

	TITLE("a worker that gives up root before it accepts");
	pid = fork();
	if (!pid) {
		int c, r = drop_root();

		for (int i = 0; !r && i < 5; i++) {
			c = accept(l, NULL, NULL);
			r = c < 0 || slurp(c, buf, 5) != 5;
			close(c);
		}
		_exit(r);
	}
	T(close(l));
	ctl = peer("connect 7610 5 hello");
	T(slurp(ctl, buf, 4));
	close(ctl);
	T(status_of(pid));

	TITLE("exit from a sandbox with a listener, the own one");
	fflush(stdout);
	pid = fork();
	if (!pid) {
		int s = socket(AF_INET, SOCK_STREAM, 0), one = 1;

		setsockopt(s, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
		if (bind(s, SA(sin)) || listen(s, 4) || seccomp_on())
			exit(1);
		close(s);
		exit(0);
	}
	T(status_of(pid));
	l = listener(7610, 0);
	T(l >= 0);
	close(l);
}

static void *reader(void *arg)
{
	char b[8];

	return (void *)(intptr_t)read(*(int *)arg, b, 5);
}

static void threads(void)
{
	int a = peer("echo"), b = peer("echo");
	pid_t pid;

	TITLE("a sandbox with two threads, each blocked in a read");
	pid = fork();
	if (!pid) {
		pthread_t t[2];
		void *r[2];

		if (drop_root() || pthread_create(&t[0], NULL, reader, &a) ||
		    pthread_create(&t[1], NULL, reader, &b) || limit() || seccomp_on())
			_exit(1);
		usleep(20000);
		if (write(b, "12345", 5) != 5 || write(a, "12345", 5) != 5)
			_exit(2);
		pthread_join(t[0], &r[0]);
		pthread_join(t[1], &r[1]);
		_exit((intptr_t)r[0] == 5 && (intptr_t)r[1] == 5 ? 0 : 3);
	}
	T(status_of(pid));
	close(a);
	close(b);
}

void run(void)
{
	signal(SIGPIPE, SIG_IGN);
	other_user();
	TITLE("chroot, nobody, limits, seccomp: blocking");
	all_of_it(false);
	TITLE("chroot, nobody, limits, seccomp: poll");
	all_of_it(true);
	in_turn();
	accepting();
	threads();
}
