// SPDX-License-Identifier: BSD-2-Clause
/*
 * Processes that give up what they could do: by chroot() or setuid() the way to the control
 * socket, by seccomp and resource limits the calls that we would use. Before that, what the process
 * has inherited is made usable without them: the engine attaches, and the daemon is shown the
 * descriptors of shared sockets, which later come by messages in shared memory (SHM_CONN_WANT).
 *
 * A seccomp filter is a program over a call's number and arguments; running it here tells what it
 * forbids, without a call that would kill us. What may always be used is what a program
 * needs to have sockets at all: read(), write(), a call that waits, futexes, memory.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/syscall.h>
#include <linux/audit.h>
#include <linux/seccomp.h>
#include "engine.h"
#include "sandbox.h"
#include "shim.h"

#define MAX_STOCK 64u

/* ---- what a filter forbids ---- */

#if defined(__x86_64__)
#define OUR_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define OUR_ARCH AUDIT_ARCH_AARCH64
#elif defined(__riscv) && __riscv_xlen == 64
#define OUR_ARCH AUDIT_ARCH_RISCV64
#else
#define OUR_ARCH 0u /* filters then forbid more than they mean to: we do without that */
#endif

static uint32_t alu(uint16_t op, uint32_t a, uint32_t b)
{
	switch (op) {
	case BPF_ADD:
		return a + b;
	case BPF_SUB:
		return a - b;
	case BPF_MUL:
		return a * b;
	case BPF_DIV:
		return b ? a / b : 0;
	case BPF_OR:
		return a | b;
	case BPF_AND:
		return a & b;
	case BPF_XOR:
		return a ^ b;
	case BPF_LSH:
		return b < 32 ? a << b : 0;
	case BPF_RSH:
		return b < 32 ? a >> b : 0;
	default:
		return 0u - a; /* BPF_NEG */
	}
}

static bool jumps(uint16_t op, uint32_t a, uint32_t b)
{
	switch (op) {
	case BPF_JEQ:
		return a == b;
	case BPF_JGT:
		return a > b;
	case BPF_JGE:
		return a >= b;
	default:
		return a & b; /* BPF_JSET */
	}
}

/* Classic BPF as far as seccomp(2) has it. What the kernel would refuse forbids everything. */
static uint32_t run(const struct sock_fprog *prog, const struct seccomp_data *data)
{
	uint32_t a = 0, x = 0, mem[BPF_MEMWORDS] = {0};

	for (uint32_t pc = 0; pc < prog->len; pc++) {
		const struct sock_filter *f = &prog->filter[pc];
		uint16_t class = BPF_CLASS(f->code), mode = BPF_MODE(f->code);
		uint32_t src = BPF_SRC(f->code) == BPF_X ? x : f->k, v = f->k;

		switch (class) {
		case BPF_LD:
		case BPF_LDX:
			if (mode == BPF_MEM)
				v = mem[f->k % BPF_MEMWORDS];
			else if (mode == BPF_LEN)
				v = sizeof(*data);
			else if (mode == BPF_ABS && f->k <= sizeof(*data) - sizeof(v))
				memcpy(&v, (const char *)data + f->k, sizeof(v));
			else if (mode != BPF_IMM)
				return SECCOMP_RET_KILL_PROCESS;
			*(class == BPF_LD ? &a : &x) = v;
			break;
		case BPF_ST:
			mem[f->k % BPF_MEMWORDS] = a;
			break;
		case BPF_STX:
			mem[f->k % BPF_MEMWORDS] = x;
			break;
		case BPF_ALU:
			a = alu(BPF_OP(f->code), a, src);
			break;
		case BPF_JMP:
			if (BPF_OP(f->code) != BPF_JA)
				v = jumps(BPF_OP(f->code), a, src) ? f->jt : f->jf;
			if (v >= prog->len) /* forward only, or this may have no end */
				return SECCOMP_RET_KILL_PROCESS;
			pc += v;
			break;
		case BPF_RET:
			return BPF_RVAL(f->code) == BPF_A ? a : f->k;
		default: /* BPF_MISC */
			if (BPF_MISCOP(f->code) == BPF_TAX)
				x = a;
			else
				a = x;
		}
	}
	return SECCOMP_RET_KILL_PROCESS;
}

static bool allows(const struct sock_fprog *prog, int nr, uint64_t arg1, uint64_t arg2)
{
	struct seccomp_data d = {.nr = nr, .arch = OUR_ARCH, .args = {0, arg1, arg2}};
	uint32_t r;

	if (!prog || !prog->filter)
		return false;
	r = run(prog, &d) & SECCOMP_RET_ACTION_FULL;
	return r == SECCOMP_RET_ALLOW || r == SECCOMP_RET_LOG || r == SECCOMP_RET_TRACE ||
	       r == SECCOMP_RET_USER_NOTIF;
}

/* What we do without, and each call for which that is so; arguments where filters look at them. */
static const struct {
	unsigned without;
	int nr;
	uint64_t arg1, arg2;
} calls[] = {
	{SANDBOX_NO_CTL, SYS_sendmsg, 0, 0},
	{SANDBOX_NO_CTL, SYS_recvmsg, 0, 0},
	{SANDBOX_NO_SENDTO, SYS_sendto, 0, 0},
	{SANDBOX_NO_ACCEPT4, SYS_accept4, 0, 0},
	{SANDBOX_NO_FCNTL, SYS_fcntl, F_OFD_GETLK, 0},
	{SANDBOX_NO_FCNTL, SYS_fcntl, F_GETFL, 0},
	{SANDBOX_NO_EVENTFD, SYS_eventfd2, EFD_NONBLOCK | EFD_CLOEXEC, 0},
	{SANDBOX_NO_EVENTFD, SYS_fcntl, F_DUPFD_CLOEXEC, 0},
	{SANDBOX_NO_EPOLL, SYS_epoll_create1, 0, 0},
	{SANDBOX_NO_EPOLL, SYS_epoll_ctl, 0, 0},
#ifdef SYS_epoll_wait
	{SANDBOX_NO_EPOLL, SYS_epoll_wait, 0, 0},
#else
	{SANDBOX_NO_EPOLL, SYS_epoll_pwait, 0, 0},
#endif
	{SANDBOX_NO_EPOLL, SYS_fcntl, F_DUPFD_CLOEXEC, 0},
	{SANDBOX_NO_SIGACTION, SYS_rt_sigaction, 0, 0},
	{SANDBOX_NO_PPOLL, SYS_ppoll, 0, 0},
#ifdef SYS_poll
	{SANDBOX_NO_POLL, SYS_poll, 0, 0},
#endif
	{SANDBOX_NO_ATTACH, SYS_socket, SOCK_SEQPACKET | SOCK_CLOEXEC, 0},
	{SANDBOX_NO_ATTACH, SYS_connect, 0, 0},
	{SANDBOX_NO_ATTACH, SYS_setsockopt, SOL_SOCKET, SO_RCVTIMEO},
	{SANDBOX_NO_ATTACH, SYS_sendmsg, 0, 0},
	{SANDBOX_NO_ATTACH, SYS_recvmsg, 0, 0},
	{SANDBOX_NO_ATTACH, SYS_openat, 0, 0},
	{SANDBOX_NO_ATTACH, SYS_fcntl, F_DUPFD_CLOEXEC, 0},
	{SANDBOX_NO_ATTACH, SYS_fcntl, F_OFD_SETLK, 0},
	{SANDBOX_NO_ATTACH, SYS_eventfd2, EFD_NONBLOCK | EFD_CLOEXEC, 0},
	{SANDBOX_NO_ATTACH, SYS_mmap, 4096, PROT_READ | PROT_WRITE},
	{SANDBOX_NO_ATTACH, SYS_clone3, 0, 0},
};

unsigned sandbox_forbids(const struct sock_fprog *filter)
{
	unsigned r = 0;

	for (unsigned i = 0; i < ARRAY_SIZE(calls); i++)
		if (!allows(filter, calls[i].nr, calls[i].arg1, calls[i].arg2))
			r |= calls[i].without;
	return r;
}

/* ---- before it is so ---- */

static bool anything_away(void)
{
	for (struct file *f = file_next(TANDEM_FD_BASE); f; f = file_next(f->handle + 1))
		if (f->kind == FILE_SOCK && container_of(f, struct sock, f)->state == SK_AWAY)
			return true;
	return false;
}

static void hold_all(void)
{
	for (struct file *f = file_next(TANDEM_FD_BASE); f; f = file_next(f->handle + 1))
		if (f->kind == FILE_SOCK)
			share_hold(container_of(f, struct sock, f));
}

/* As many threads may sleep at one time. */
static uint32_t count_threads(void)
{
	DIR *d = opendir("/proc/self/task");
	uint32_t n = 0;

	if (!d)
		return 8;
	while (readdir(d) && n < MAX_STOCK)
		n++;
	closedir(d);
	return n; /* . and .. are for threads that may come */
}

void lib_confine(void)
{
	int saved = errno;

	eng_lock();
	/* Where that fails, the call that needs a socket tries again, and says so. */
	if (eng.state == ENGINE_LATE && anything_away())
		eng_start_late();
	if (eng.state == ENGINE_UP && !eng.daemon_gone) {
		eng.confined = true;
		/* In time: sandboxes have a limit of no descriptors as well. */
		spare_efds_stock(count_threads());
		hold_all();
	}
	eng_unlock();
	errno = saved;
}

/* ., .., itself and the keeper. */
bool lib_one_thread(void)
{
	return count_threads() <= 4;
}

void lib_mapped(uint64_t *all, uint64_t *private)
{
	*all = *private = 0;
	eng_lock();
	if (eng.state == ENGINE_UP) {
		*private = eng.stack_mem_len;
		*all = *private + eng.umem.size + eng.own.lay.size + eng.daemon.lay.size;
	}
	eng_unlock();
}

static unsigned port_forbidden(unsigned f)
{
	return (f & SANDBOX_NO_CTL ? PORT_NO_SENDMSG : 0) |
	       (f & SANDBOX_NO_SENDTO ? PORT_NO_SENDTO : 0) |
	       (f & SANDBOX_NO_FCNTL ? PORT_NO_FCNTL : 0);
}

void lib_sandbox(const struct sock_fprog *filter)
{
	unsigned forbids = sandbox_forbids(filter);
	int saved = errno;

	lib_confine();
	eng_lock();
	if (forbids & SANDBOX_NO_SIGACTION && !(eng.forbidden & SANDBOX_NO_SIGACTION))
		eng.restarts = signals_restart();
	if (forbids & SANDBOX_NO_ACCEPT4)
		twins_forbid();
	if (eng.state == ENGINE_UP) {
		port_confine(eng.port, port_forbidden(forbids));
		eng_quiesce(); /* who is outside may not know yet */
	}
	eng.forbidden |= forbids;
	eng_unlock();
	errno = saved;
}

/* ---- waiting ---- */

static bool in(const unsigned long *set, int fd)
{
	return set[(unsigned)fd / 64] >> (unsigned)fd % 64 & 1;
}

static void put(unsigned long *set, int fd)
{
	set[(unsigned)fd / 64] |= 1ul << (unsigned)fd % 64;
}

/* What select() has said of one; poll() of a single descriptor may say it better. */
static short look(struct pollfd p, const unsigned long *rd, const unsigned long *wr,
		  const unsigned long *ex)
{
	struct pollfd one = p;

	if (!in(rd, p.fd) && !in(wr, p.fd) && !in(ex, p.fd))
		return 0;
	if (!(eng.forbidden & SANDBOX_NO_PPOLL)) {
		const struct timespec now = {0};

		if (ppoll(&one, 1, &now, NULL) >= 0)
			return one.revents;
	}
	return (short)((in(rd, p.fd) ? p.events & (POLLIN | POLLRDNORM) : 0) |
		       (in(wr, p.fd) ? p.events & (POLLOUT | POLLWRNORM) : 0) |
		       (in(ex, p.fd) ? p.events & POLLPRI : 0));
}

/*
 * By pselect(), which has no limit on how many there are: ppoll() takes no more descriptors than
 * RLIMIT_NOFILE says, which sandboxes set to 0 or 1. Sets are as long as they need to be.
 */
static int by_select(struct pollfd *fds, unsigned n, const struct timespec *ts,
		     const sigset_t *mask)
{
	int top = 0, r, ready = 0;
	unsigned long *sets;
	size_t words;

	for (unsigned i = 0; i < n; i++)
		if (fds[i].fd >= top)
			top = fds[i].fd + 1;
	words = (size_t)(top + 63) / 64;
	sets = calloc(words ? 3 * words : 1, sizeof(*sets));
	if (!sets)
		return -1;
	for (unsigned i = 0; i < n; i++) {
		if (fds[i].fd < 0)
			continue;
		/* What only its end is waited for of: that makes it readable, too. */
		if (!fds[i].events || fds[i].events & (POLLIN | POLLRDNORM | POLLRDHUP))
			put(sets, fds[i].fd);
		if (fds[i].events & (POLLOUT | POLLWRNORM))
			put(sets + words, fds[i].fd);
		if (fds[i].events & POLLPRI)
			put(sets + 2 * words, fds[i].fd);
	}
	r = pselect(top, (fd_set *)(void *)sets, (fd_set *)(void *)(sets + words),
		    (fd_set *)(void *)(sets + 2 * words), ts, mask);
	for (unsigned i = 0; i < n; i++) {
		fds[i].revents = r > 0 && fds[i].fd >= 0
					 ? look(fds[i], sets, sets + words, sets + 2 * words)
					 : 0;
		ready += fds[i].revents != 0;
	}
	free(sets);
	return r > 0 ? ready : r;
}

static int by_poll(struct pollfd *fds, unsigned n, const struct timespec *ts, const sigset_t *mask)
{
	int64_t ms = ts ? (ts->tv_sec > INT32_MAX / 1000 - 1
				   ? INT32_MAX
				   : ts->tv_sec * 1000 + (ts->tv_nsec + 999999) / 1000000)
			: -1;
	sigset_t old;
	int r;

	if (mask)
		pthread_sigmask(SIG_SETMASK, mask, &old);
	r = poll(fds, n, (int)ms);
	if (mask)
		pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r;
}

int sandbox_poll(struct pollfd *fds, unsigned n, const struct timespec *ts, const sigset_t *mask)
{
	int r;

	if (eng.forbidden & SANDBOX_NO_PPOLL)
		r = eng.forbidden & SANDBOX_NO_POLL ? by_select(fds, n, ts, mask)
						    : by_poll(fds, n, ts, mask);
	else
		r = ppoll(fds, n, ts, mask);
	/* One of a sandbox's limits, and no valid one of ours: what is wrong with it select() says.
	 */
	if (r < 0 && errno == EINVAL && n)
		r = by_select(fds, n, ts, mask);
	return r;
}
