// SPDX-License-Identifier: BSD-2-Clause
/* sandbox.c: what a seccomp filter forbids is told from the filter; poll by other calls. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <unistd.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include <cmocka.h>
#include "user/lib/engine.h"
#include "user/lib/sandbox.h"

#define N(a) (sizeof(a) / sizeof((a)[0]))
#define LOAD_NR BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr))
#define RET(v) BPF_STMT(BPF_RET | BPF_K, (v))

static unsigned forbids(const struct sock_filter *f, size_t n)
{
	struct sock_fprog p = {(unsigned short)n, (struct sock_filter *)(uintptr_t)f};

	return sandbox_forbids(&p);
}

static void test_lists_of_what_may_be_and_of_what_may_not(void **state)
{
	const struct sock_filter all[] = {RET(SECCOMP_RET_ALLOW)};
	const struct sock_filter logged[] = {RET(SECCOMP_RET_LOG)};
	const struct sock_filter none[] = {RET(SECCOMP_RET_ERRNO | EPERM)};
	const struct sock_filter no_sendto[] = {
		LOAD_NR, BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_sendto, 0, 1),
		RET(SECCOMP_RET_KILL_PROCESS), RET(SECCOMP_RET_ALLOW)};
	const struct sock_filter ppoll_only[] = {
		LOAD_NR, BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ppoll, 1, 0),
		RET(SECCOMP_RET_TRAP), RET(SECCOMP_RET_ALLOW)};
	unsigned every;

	(void)state;
	assert_int_equal(forbids(all, N(all)), 0);
	assert_int_equal(forbids(logged, N(logged)), 0);
	every = forbids(none, N(none));
	assert_int_equal(every, sandbox_forbids(NULL));
	assert_true(every & SANDBOX_NO_CTL && every & SANDBOX_NO_PPOLL &&
		    every & SANDBOX_NO_ATTACH);
	assert_int_equal(forbids(no_sendto, N(no_sendto)), SANDBOX_NO_SENDTO);
	assert_int_equal(forbids(ppoll_only, N(ppoll_only)), every & ~(unsigned)SANDBOX_NO_PPOLL);
}

/* As libseccomp makes them: trees of comparisons, arguments, scratch memory, arithmetic. */
static void test_all_that_filters_are_made_of(void **state)
{
	const struct sock_filter tree[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_LEN, 0),
		BPF_STMT(BPF_MISC | BPF_TAX, 0),
		BPF_STMT(BPF_LD | BPF_IMM, 60),
		BPF_STMT(BPF_ALU | BPF_ADD | BPF_K, 4),
		BPF_STMT(BPF_ALU | BPF_XOR | BPF_X, 0), /* 64 ^ sizeof(struct seccomp_data) */
		BPF_STMT(BPF_ST, 3),
		LOAD_NR,
		BPF_STMT(BPF_LDX | BPF_MEM, 3),
		BPF_STMT(BPF_ALU | BPF_OR | BPF_X, 0),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, SYS_sendmsg, 3, 0),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SYS_sendmsg, 0, 3),
		BPF_STMT(BPF_LD | BPF_IMM, SECCOMP_RET_KILL_THREAD),
		BPF_STMT(BPF_RET | BPF_A, 0),
		BPF_STMT(BPF_JMP | BPF_JA, 0),
		RET(SECCOMP_RET_ALLOW),
	};
	/* fcntl(), but only to set a lock: what we would do with it is not that alone. */
	const struct sock_filter args[] = {
		LOAD_NR,
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_fcntl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, F_OFD_SETLK, 1, 0),
		RET(SECCOMP_RET_KILL_PROCESS),
		RET(SECCOMP_RET_ALLOW),
	};
	unsigned r;

	(void)state;
	assert_int_equal(sizeof(struct seccomp_data), 64);
	assert_int_equal(forbids(tree, N(tree)), SANDBOX_NO_CTL | SANDBOX_NO_ATTACH);
	r = forbids(args, N(args));
	assert_true(r & SANDBOX_NO_FCNTL && r & SANDBOX_NO_ATTACH && !(r & SANDBOX_NO_CTL));
}

/* The kernel would refuse these; nothing is read or written beyond anything of ours. */
static void test_nonsense_forbids_all(void **state)
{
	const struct sock_filter no_end[] = {LOAD_NR};
	const struct sock_filter beyond[] = {BPF_STMT(BPF_LD | BPF_W | BPF_ABS, 61),
					     RET(SECCOMP_RET_ALLOW)};
	const struct sock_filter far[] = {BPF_STMT(BPF_JMP | BPF_JA, 0xfffffff0),
					  RET(SECCOMP_RET_ALLOW)};
	const struct sock_filter mem[] = {BPF_STMT(BPF_ST, 0xffffffff),
					  BPF_STMT(BPF_LD | BPF_MEM, 0xffffffff),
					  BPF_STMT(BPF_RET | BPF_A, 0)};
	const struct sock_filter division[] = {BPF_STMT(BPF_ALU | BPF_DIV | BPF_X, 0),
					       BPF_STMT(BPF_RET | BPF_A, 0)};
	unsigned every = sandbox_forbids(NULL);
	struct sock_fprog null = {3, NULL};

	(void)state;
	assert_int_equal(forbids(no_end, N(no_end)), every);
	assert_int_equal(forbids(beyond, N(beyond)), every);
	assert_int_equal(forbids(far, N(far)), every);
	assert_int_equal(forbids(mem, N(mem)), every);
	assert_int_equal(forbids(division, N(division)), every);
	assert_int_equal(sandbox_forbids(&null), every);
}

static void limit(rlim_t n)
{
	struct rlimit l;

	getrlimit(RLIMIT_NOFILE, &l);
	l.rlim_cur = n;
	assert_int_equal(setrlimit(RLIMIT_NOFILE, &l), 0);
}

/* More descriptors than RLIMIT_NOFILE: what ppoll() itself refuses. */
static void test_poll_says_the_same_by_whatever_call(void **state)
{
	const unsigned ways[] = {0, SANDBOX_NO_PPOLL, SANDBOX_NO_PPOLL | SANDBOX_NO_POLL};
	const rlim_t limits[] = {256, 1, 0};
	const struct timespec soon = {.tv_nsec = 1000000};
	struct pollfd p[4];
	int in[2], full[2], ended[2], high;
	struct rlimit was;

	(void)state;
	getrlimit(RLIMIT_NOFILE, &was);
	assert_true(!pipe(in) && !pipe(full) && !pipe(ended));
	high = fcntl(in[0], F_DUPFD, 200);
	close(ended[1]);
	for (unsigned i = 0; i < N(ways); i++)
		for (unsigned k = 0; k < N(limits); k++) {
			eng.forbidden = ways[i];
			p[0] = (struct pollfd){.fd = high, .events = POLLIN};
			p[1] = (struct pollfd){.fd = full[1], .events = POLLOUT};
			p[2] = (struct pollfd){.fd = -1, .events = POLLIN};
			p[3] = (struct pollfd){.fd = full[0], .events = POLLIN};
			limit(limits[k]);
			assert_int_equal(sandbox_poll(p, 4, &soon, NULL), 1);
			assert_int_equal(p[1].revents, POLLOUT);
			assert_int_equal(p[0].revents | p[2].revents | p[3].revents, 0);
			p[1].fd = -1;
			assert_int_equal(sandbox_poll(p, 4, &soon, NULL), 0);
			assert_int_equal(write(in[1], "x", 1), 1);
			assert_int_equal(sandbox_poll(p, 4, NULL, NULL), 1);
			assert_int_equal(p[0].revents, POLLIN);
			assert_int_equal(read(in[0], &(char){0}, 1), 1);
			/* One that only its end is asked of: poll() of a single one can tell. */
			p[3] = (struct pollfd){.fd = ended[0]};
			if (!ways[i] && limits[k])
				assert_int_equal(sandbox_poll(p, 4, NULL, NULL), 1);
			limit(was.rlim_cur);
		}
	eng.forbidden = 0;
	close(high);
	close(in[0]);
	close(in[1]);
	close(full[0]);
	close(full[1]);
	close(ended[0]);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_lists_of_what_may_be_and_of_what_may_not),
		cmocka_unit_test(test_all_that_filters_are_made_of),
		cmocka_unit_test(test_nonsense_forbids_all),
		cmocka_unit_test(test_poll_says_the_same_by_whatever_call),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
