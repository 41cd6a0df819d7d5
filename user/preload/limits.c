// SPDX-License-Identifier: BSD-2-Clause
/*
 * Resource limits. When one is set perhaps no descriptor, thread or memory can be had any more: what the
 * process has inherited is made usable before (confine.c). A limit of memory is what the program thinks that
 * it needs, which has no idea of the library's mappings: those, and those of a child that attaches, or after
 * a restart of the daemon, come on top of it. The program sees the limit that it has set.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>
#include <sys/resource.h>
#include "shim.h"

#define SPARE (256ull << 20) /* the keeper's stack, and malloc()'s arena for it */

_Static_assert(sizeof(struct rlimit) == sizeof(struct rlimit64), "one is the other");

/* As the program has asked, and as it is; of RLIMIT_AS and RLIMIT_DATA. */
static struct padded {
	bool set;
	struct rlimit asked, given;
} padded[2];

static struct padded *padded_of(int res)
{
	return res == RLIMIT_AS ? &padded[0] : res == RLIMIT_DATA ? &padded[1] : NULL;
}

static rlim_t plus(rlim_t v, uint64_t more)
{
	return v == RLIM_INFINITY || v + more < v ? v : v + more;
}

static int set_padded(int res, const struct rlimit *l)
{
	struct padded *p = padded_of(res);
	uint64_t all, data, more;
	struct rlimit now, give = *l;

	p->set = false;
	lib_mapped(&all, &data);
	more = 2 * (res == RLIMIT_AS ? all : data) + SPARE;
	if (!all || l->rlim_cur > l->rlim_max || real.getrlimit((__rlimit_resource_t)res, &now))
		return real.setrlimit((__rlimit_resource_t)res, l);
	give.rlim_cur = plus(l->rlim_cur, more);
	give.rlim_max = plus(l->rlim_max, more);
	if (real.setrlimit((__rlimit_resource_t)res, &give)) {
		/* No right to raise the hard one. */
		if (l->rlim_max > now.rlim_max)
			return real.setrlimit((__rlimit_resource_t)res, l);
		give.rlim_max = now.rlim_max;
		if (give.rlim_cur > give.rlim_max)
			give.rlim_cur = give.rlim_max;
		if (real.setrlimit((__rlimit_resource_t)res, &give))
			return real.setrlimit((__rlimit_resource_t)res, l);
	}
	*p = (struct padded){true, *l, give};
	return 0;
}

static int set(int res, const struct rlimit *l)
{
	bool memory = padded_of(res);

	if (res == RLIMIT_NOFILE || res == RLIMIT_NPROC || memory)
		confine();
	return memory && l && shim_own_process() ? set_padded(res, l)
						 : real.setrlimit((__rlimit_resource_t)res, l);
}

static int get(int res, struct rlimit *l)
{
	struct padded *p = padded_of(res);
	int r = real.getrlimit((__rlimit_resource_t)res, l);

	if (!r && p && p->set && !memcmp(l, &p->given, sizeof(*l)))
		*l = p->asked;
	return r;
}

PUBLIC int setrlimit(__rlimit_resource_t res, const struct rlimit *l)
{
	return set((int)res, l);
}

PUBLIC int setrlimit64(__rlimit_resource_t res, const struct rlimit64 *l)
{
	return set((int)res, (const struct rlimit *)l);
}

PUBLIC int getrlimit(__rlimit_resource_t res, struct rlimit *l)
{
	return get((int)res, l);
}

PUBLIC int getrlimit64(__rlimit_resource_t res, struct rlimit64 *l)
{
	return get((int)res, (struct rlimit *)l);
}

PUBLIC int prlimit(pid_t pid, __rlimit_resource_t res, const struct rlimit *l, struct rlimit *old)
{
	if (pid && pid != getpid())
		return real.prlimit(pid, res, l, old);
	if (old && get((int)res, old))
		return -1;
	return l ? set((int)res, l) : old ? 0 : real.prlimit(pid, res, l, old);
}

PUBLIC int prlimit64(pid_t pid, __rlimit_resource_t res, const struct rlimit64 *l,
		     struct rlimit64 *old)
{
	return prlimit(pid, res, (const struct rlimit *)l, (struct rlimit *)old);
}
