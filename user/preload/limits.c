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

static bool is_given(const struct padded *p, const struct rlimit *now)
{
	return p->set && !memcmp(now, &p->given, sizeof(*now));
}

static int as_it_is(struct padded *p, int res, const struct rlimit *l)
{
	int r = real.setrlimit((__rlimit_resource_t)res, l);

	p->set &= r != 0;
	return r;
}

static int set_padded(int res, const struct rlimit *l)
{
	struct padded *p = padded_of(res);
	uint64_t all, data, more;
	struct rlimit now, give = *l;

	lib_mapped(&all, &data);
	more = 2 * (res == RLIMIT_AS ? all : data) + SPARE;
	if (!all || l->rlim_cur > l->rlim_max || real.getrlimit((__rlimit_resource_t)res, &now))
		return as_it_is(p, res, l);
	give.rlim_cur = plus(l->rlim_cur, more);
	give.rlim_max = plus(l->rlim_max, more);
	if (real.setrlimit((__rlimit_resource_t)res, &give)) {
		/* No right to raise the hard one, neither that which is nor that which was asked for. */
		if (l->rlim_max > (is_given(p, &now) ? p->asked.rlim_max : now.rlim_max)) {
			errno = EPERM;
			return -1;
		}
		give.rlim_max = now.rlim_max;
		if (give.rlim_cur > give.rlim_max)
			give.rlim_cur = give.rlim_max;
		if (real.setrlimit((__rlimit_resource_t)res, &give))
			return as_it_is(p, res, l);
	}
	*p = (struct padded){true, *l, give};
	return 0;
}

static void before(int res)
{
	if (res == RLIMIT_NOFILE || res == RLIMIT_NPROC || padded_of(res))
		confine();
}

static int set(int res, const struct rlimit *l)
{
	bool memory = padded_of(res);

	before(res);
	return memory && l && shim_own_process() ? set_padded(res, l)
						 : real.setrlimit((__rlimit_resource_t)res, l);
}

static int get(int res, struct rlimit *l)
{
	struct padded *p = padded_of(res);
	int r = real.getrlimit((__rlimit_resource_t)res, l);

	if (!r && p && is_given(p, l))
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
	struct rlimit was;

	if ((pid && pid != getpid()) || !padded_of((int)res)) {
		if (l && (!pid || pid == getpid()))
			before((int)res);
		return real.prlimit(pid, res, l, old);
	}
	/* @l and @old may be the same. */
	if (get((int)res, &was) || (l && set((int)res, l)))
		return -1;
	if (old)
		*old = was;
	return 0;
}

PUBLIC int prlimit64(pid_t pid, __rlimit_resource_t res, const struct rlimit64 *l,
		     struct rlimit64 *old)
{
	return prlimit(pid, res, (const struct rlimit *)l, (struct rlimit *)old);
}
