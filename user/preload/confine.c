// SPDX-License-Identifier: BSD-2-Clause
/*
 * Calls by which a process gives up rights, among them, perhaps, the way to the daemon: what it has
 * inherited is made usable before (user/lib/sandbox.c). A child that serves connections in a
 * chroot, as another user, or in a seccomp sandbox does this before it touches its sockets. Resource limits:
 * limits.c.
 */
#include <sched.h>
#include <unistd.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/syscall.h>
#include "shim.h"

void confine(void)
{
	if (shim_own_process())
		lib_confine();
}

static void sandbox(const struct sock_fprog *filter)
{
	if (shim_own_process())
		lib_sandbox(filter);
}

#define CONFINES(name, params, args)                                                               \
	PUBLIC int name params                                                                     \
	{                                                                                          \
		confine();                                                                         \
		return real.name args;                                                             \
	}

CONFINES(chroot, (const char *path), (path))
CONFINES(unshare, (int flags), (flags))
CONFINES(setns, (int fd, int type), (fd, type))
CONFINES(setuid, (uid_t uid), (uid))
CONFINES(setgid, (gid_t gid), (gid))
CONFINES(seteuid, (uid_t uid), (uid))
CONFINES(setegid, (gid_t gid), (gid))
CONFINES(setreuid, (uid_t ruid, uid_t euid), (ruid, euid))
CONFINES(setregid, (gid_t rgid, gid_t egid), (rgid, egid))
CONFINES(setresuid, (uid_t ruid, uid_t euid, uid_t suid), (ruid, euid, suid))
CONFINES(setresgid, (gid_t rgid, gid_t egid, gid_t sgid), (rgid, egid, sgid))
CONFINES(setgroups, (size_t n, const gid_t *list), (n, list))
CONFINES(initgroups, (const char *user, gid_t gid), (user, gid))

/* ---- seccomp ---- */

static const struct sock_fprog *as_filter(unsigned long p)
{
	return (const struct sock_fprog *)p;
}

PUBLIC int prctl(int option, ...)
{
	unsigned long a, b, c, e;
	va_list ap;

	va_start(ap, option);
	a = va_arg(ap, unsigned long);
	b = va_arg(ap, unsigned long);
	c = va_arg(ap, unsigned long);
	e = va_arg(ap, unsigned long);
	va_end(ap);
	if (option == PR_SET_SECCOMP)
		sandbox(a == SECCOMP_MODE_FILTER ? as_filter(b) : NULL);
	return real.prctl(option, a, b, c, e);
}

/* Calls for which libc has no function, or that a program makes without it. */
PUBLIC long syscall(long nr, ...)
{
	long a, b, c, e, f, g;
	va_list ap;

	va_start(ap, nr);
	a = va_arg(ap, long);
	b = va_arg(ap, long);
	c = va_arg(ap, long);
	e = va_arg(ap, long);
	f = va_arg(ap, long);
	g = va_arg(ap, long);
	va_end(ap);
	switch (nr) {
	case SYS_seccomp:
		if (a == SECCOMP_SET_MODE_FILTER)
			sandbox(as_filter((unsigned long)c));
		else if (a == SECCOMP_SET_MODE_STRICT)
			sandbox(NULL);
		break;
	/*
	 * With a stack of its own, our memory or our descriptors it is no fork(). Nor can we do anything for
	 * a child of a program with threads, whose malloc() may be in any state.
	 */
	case SYS_clone:
		if (!b && !(a & (CLONE_VM | CLONE_VFORK | CLONE_FILES)) && shim_own_process() &&
		    lib_one_thread())
			return shim_raw_fork(nr, a, b, c, e, f);
		break;
	case SYS_prctl:
		if (a == PR_SET_SECCOMP)
			sandbox(b == SECCOMP_MODE_FILTER ? as_filter((unsigned long)c) : NULL);
		break;
	case SYS_chroot:
	case SYS_pivot_root:
	case SYS_unshare:
	case SYS_setns:
	case SYS_setuid:
	case SYS_setgid:
	case SYS_setreuid:
	case SYS_setregid:
	case SYS_setresuid:
	case SYS_setresgid:
	case SYS_setgroups:
#ifdef SYS_landlock_restrict_self
	case SYS_landlock_restrict_self:
#endif
		confine();
		break;
	}
	return real.syscall(nr, a, b, c, e, f, g);
}
