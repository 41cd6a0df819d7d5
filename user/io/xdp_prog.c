// SPDX-License-Identifier: BSD-2-Clause
/*
 * xdp_prog.h: the program's life on its interfaces. The links and the maps are pinned in a
 * directory of their own, which is made first and removed last: it is what claims the name.
 * One program is on all of them; a table in its data tells them apart by number.
 */
#include <bpf/bpf.h>
#include <dirent.h>
#include <errno.h>
#include <linux/bpf.h>
#include <linux/if_link.h>
#include <linux/magic.h>
#include <limits.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include "bpf/tandem.skel.h"
#include "libbpf_log.h"
#include "xdp_prog.h"

struct xdp_prog {
	struct tandem_bpf *skel;
	int link_fd[TD_MAX_NETIFS];
	int ifindex[TD_MAX_NETIFS];
	uint32_t n;
	char name[IF_NAMESIZE * 4];
};
#define SALTS 1000u /* a thousand times two of 16 numbers at one of 4096 places: it is not to be   \
		     */

#define PATH_LEN 256

static int say(int err, char *why, size_t len, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

static int say(int err, char *why, size_t len, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, len, fmt, ap);
	va_end(ap);
	return err;
}

const char *xdp_mode_name(enum xdp_mode m)
{
	static const char *const names[] = {"auto", "native", "generic"};

	return (unsigned)m < sizeof(names) / sizeof(names[0]) ? names[m] : "?";
}

/* ---- paths ---- */

/* bpffs reserves names with a dot in them; a slash would lead elsewhere. */
static bool name_ok(const char *name)
{
	return *name && !strpbrk(name, "./") && strlen(name) < sizeof(((struct xdp_prog *)0)->name);
}

static int pin_path(char *path, const char *name, const char *what)
{
	int n = snprintf(path, PATH_LEN, TD_PIN_ROOT "/%s%s%s", name, *what ? "/" : "", what);

	return n < PATH_LEN ? 0 : -ENAMETOOLONG;
}

int xdp_bpffs_ensure(char *why, size_t len)
{
	struct statfs fs;

	if (statfs(TD_BPFFS, &fs) < 0)
		return say(-errno, why, len,
			   "%s is not there: is sysfs mounted, and does the kernel have "
			   "CONFIG_BPF_SYSCALL?",
			   TD_BPFFS);
	if ((unsigned)fs.f_type == BPF_FS_MAGIC)
		return 0;
	if (mount("bpf", TD_BPFFS, "bpf", 0, "mode=0700") < 0)
		return say(-errno, why, len, "cannot mount bpffs at %s: %s", TD_BPFFS,
			   errno == EPERM ? "not permitted (root, or CAP_SYS_ADMIN, is needed)"
					  : strerror(errno));
	return 0;
}

/* ---- pins ---- */

/* Removes everything in the pin directory of @name, and it. */
static int unpin(const char *name)
{
	char path[PATH_LEN];
	struct dirent *e;
	DIR *d;
	int err = pin_path(path, name, "");

	if (err)
		return err;
	d = opendir(path);
	if (!d)
		return -errno;
	while ((e = readdir(d))) {
		if (e->d_name[0] != '.' && unlinkat(dirfd(d), e->d_name, 0) < 0)
			err = -errno;
	}
	closedir(d);
	if (rmdir(path) < 0)
		err = -errno;
	rmdir(TD_PIN_ROOT); /* stays while others are in it */
	return err;
}

static int pin(int fd, const char *name, const char *what, char *why, size_t len)
{
	char path[PATH_LEN];
	int err = pin_path(path, name, what);

	if (!err && bpf_obj_pin(fd, path) < 0)
		err = -errno;
	return err ? say(err, why, len, "cannot pin %s: %s", path, strerror(-err)) : 0;
}

#define LINK_PIN "link"

static int pin_maps(const struct xdp_prog *p, char *why, size_t len)
{
	struct bpf_map *m;
	int err = 0;

	bpf_object__for_each_map(m, p->skel->obj)
	{
		if (!err && !bpf_map__is_internal(m))
			err = pin(bpf_map__fd(m), p->name, bpf_map__name(m), why, len);
	}
	return err;
}

static int pin_link(const struct xdp_prog *p, uint32_t i, char *why, size_t len)
{
	char what[32] = LINK_PIN;

	if (i)
		snprintf(what, sizeof(what), LINK_PIN "_%u", i);
	return pin(p->link_fd[i], p->name, what, why, len);
}

/* The last one to detach takes the root away: then it is made again. */
static int make_dirs(const char *path)
{
	for (int tries = 0; tries < 10; tries++) {
		if (mkdir(TD_PIN_ROOT, 0700) < 0 && errno != EEXIST)
			return -errno;
		if (mkdir(path, 0700) == 0)
			return 0;
		if (errno != ENOENT)
			return -errno;
	}
	return -EAGAIN;
}

static int claim_name(const char *name, char *why, size_t len)
{
	char path[PATH_LEN];
	int err;

	if (!name_ok(name))
		return say(-EINVAL, why, len,
			   "'%s' cannot name a pin directory (no dots or slashes, at most "
			   "%zu characters): choose another name",
			   name, sizeof(((struct xdp_prog *)0)->name) - 1);
	err = xdp_bpffs_ensure(why, len);
	if (err)
		return err;
	err = pin_path(path, name, "");
	if (!err)
		err = make_dirs(path);
	if (err == -EEXIST)
		return say(err, why, len,
			   "%s exists: tandem is attached under this name, or was not detached: "
			   "detach it, or choose another name",
			   path);
	if (err)
		return say(err, why, len, "cannot create %s: %s%s", path, strerror(-err),
			   geteuid() ? " (root is needed)" : "");
	return 0;
}

/* ---- attaching ---- */

static int load(struct xdp_prog *p, const struct xdp_prog_opts *o, char *why, size_t len)
{
	int err;

	libbpf_log_reset();
	p->skel = tandem_bpf__open();
	if (!p->skel)
		return say(-errno, why, len, "cannot open the XDP program: %s", libbpf_log_last());
	err = bpf_map__set_max_entries(p->skel->maps.flows, o->max_flows);
	if (!err)
		err = tandem_bpf__load(p->skel);
	if (err == -EPERM && geteuid() != 0)
		return say(err, why, len,
			   "loading the XDP program is not permitted: run as root (CAP_BPF, "
			   "CAP_NET_ADMIN and CAP_PERFMON are needed)");
	if (err)
		return say(err, why, len, "the kernel refused the XDP program: %s (%s)",
			   strerror(-err), libbpf_log_last());
	return 0;
}

static int attach_failed(int err, const struct xdp_prog_opts *o, char *why, size_t len)
{
	char ifname[IF_NAMESIZE];
	uint32_t id = 0;

	if (!if_indextoname((unsigned)o->ifindex, ifname))
		return say(-ENODEV, why, len,
			   "there is no interface with index %d in this network namespace",
			   o->ifindex);
	bpf_xdp_query_id(o->ifindex, 0, &id);
	switch (err) {
	case -EBUSY:
	case -EEXIST:
		return say(-EBUSY, why, len,
			   "another XDP program (id %u) is attached to %s: `bpftool net` shows "
			   "it, `ip link set %s xdp off` removes it if no link holds it",
			   id, ifname, ifname);
	case -EOPNOTSUPP:
	case -EINVAL:
		return say(-EOPNOTSUPP, why, len, "%s cannot run XDP programs in %s mode%s", ifname,
			   xdp_mode_name(o->mode),
			   o->mode == XDP_MODE_NATIVE ? ": try mode generic" : "");
	case -ERANGE:
		return say(-EOPNOTSUPP, why, len,
			   "%s cannot run XDP programs in %s mode at its MTU: lower it, or "
			   "try mode generic",
			   ifname, xdp_mode_name(o->mode));
	case -EPERM:
		return say(err, why, len,
			   "attaching to %s is not permitted: run as root (CAP_NET_ADMIN is "
			   "needed)",
			   ifname);
	default:
		return say(err, why, len, "cannot attach to %s in %s mode: %s", ifname,
			   xdp_mode_name(o->mode), strerror(-err));
	}
}

static int attach_link(struct xdp_prog *p, uint32_t i, const struct xdp_prog_opts *o, char *why,
		       size_t len)
{
	LIBBPF_OPTS(bpf_link_create_opts, lo,
		    .flags = o->mode == XDP_MODE_NATIVE ? XDP_FLAGS_DRV_MODE : XDP_FLAGS_SKB_MODE);
	int prog_fd = bpf_program__fd(p->skel->progs.tandem);

	p->link_fd[i] = bpf_link_create(prog_fd, o->ifindex, BPF_XDP, &lo);
	return p->link_fd[i] < 0 ? attach_failed(-errno, o, why, len) : 0;
}

static void close_link(struct xdp_prog *p, uint32_t i)
{
	if (p->link_fd[i] >= 0)
		close(p->link_fd[i]);
	p->link_fd[i] = -1;
}

/* All @n interfaces at places of their own? Writes the table. */
static bool try_salt(struct xdp_prog *p, uint32_t n, uint32_t salt)
{
	volatile uint8_t *table = p->skel->bss->netif_of;

	for (uint32_t i = 0; i < n; i++)
		for (uint32_t k = 0; k < i; k++)
			if (TD_NETIF_PLACE(p->ifindex[i], salt) ==
			    TD_NETIF_PLACE(p->ifindex[k], salt))
				return false;
	/* Between the two a packet may meet another one's settings: it is not for that MAC address.
	 */
	p->skel->bss->netif_salt = salt;
	memset((void *)(uintptr_t)table, 0, sizeof(p->skel->bss->netif_of));
	for (uint32_t i = 0; i < n; i++)
		table[TD_NETIF_PLACE(p->ifindex[i], salt)] = (uint8_t)i;
	return true;
}

/* One more interface, with its settings. Nothing of it is left on failure. */
static int start(struct xdp_prog *p, const struct xdp_prog_opts *o, char *why, size_t len)
{
	uint32_t i = p->n, salt = 0;
	int err;

	if (o->mode != XDP_MODE_NATIVE && o->mode != XDP_MODE_GENERIC)
		return say(-EINVAL, why, len, "a mode must be chosen before attaching");
	if (bpf_map_update_elem(bpf_map__fd(p->skel->maps.settings), &i, &o->settings, 0) < 0)
		return say(-errno, why, len, "cannot write the settings map: %s", strerror(errno));
	p->ifindex[i] = o->ifindex;
	while (salt < SALTS && !try_salt(p, i + 1, salt))
		salt++;
	err = attach_link(p, i, o, why, len);
	if (!err)
		err = pin_link(p, i, why, len);
	if (err)
		close_link(p, i);
	else
		p->n++;
	return err;
}

static void release(struct xdp_prog *p)
{
	while (p->n)
		close_link(p, --p->n);
	tandem_bpf__destroy(p->skel);
	free(p);
}

int xdp_prog_attach(struct xdp_prog **out, const struct xdp_prog_opts *o, char *why, size_t len)
{
	struct xdp_prog *p;
	int err;

	err = claim_name(o->name, why, len);
	if (err)
		return err;
	p = calloc(1, sizeof(*p));
	if (!p) {
		err = say(-ENOMEM, why, len, "out of memory");
		goto unclaim;
	}
	strcpy(p->name, o->name); /* its length was checked */
	err = load(p, o, why, len);
	if (!err)
		err = pin_maps(p, why, len);
	if (!err)
		err = start(p, o, why, len);
	if (err)
		goto free_prog;
	*out = p;
	return 0;
free_prog:
	release(p);
unclaim:
	unpin(o->name);
	return err;
}

int xdp_prog_add(struct xdp_prog *p, const struct xdp_prog_opts *o, char *why, size_t len)
{
	if (p->n == TD_MAX_NETIFS)
		return say(-ENOSPC, why, len, "one daemon serves up to %u interfaces",
			   TD_MAX_NETIFS);
	return start(p, o, why, len);
}

void xdp_prog_detach(struct xdp_prog *p)
{
	if (!p)
		return;
	/* Even if somebody else has a link open, too. */
	for (uint32_t i = 0; i < p->n; i++)
		bpf_link_detach(p->link_fd[i]);
	unpin(p->name);
	release(p);
}

static void detach_pinned_links(const char *name)
{
	char dir[PATH_LEN], path[PATH_LEN * 2];
	struct dirent *e;
	DIR *d;
	int fd;

	if (pin_path(dir, name, ""))
		return;
	d = opendir(dir);
	while (d && (e = readdir(d))) {
		if (strncmp(e->d_name, LINK_PIN, sizeof(LINK_PIN) - 1))
			continue;
		snprintf(path, sizeof(path), "%s/%s", dir, e->d_name);
		fd = bpf_obj_get(path);
		if (fd >= 0) {
			bpf_link_detach(fd);
			close(fd);
		}
	}
	if (d)
		closedir(d);
}

int xdp_prog_remove_pins(const char *name)
{
	if (!name_ok(name))
		return -EINVAL;
	detach_pinned_links(name);
	return unpin(name);
}

/* ---- maps ---- */

int xdp_prog_flows_fd(const struct xdp_prog *p)
{
	return bpf_map__fd(p->skel->maps.flows);
}

int xdp_prog_ports_fd(const struct xdp_prog *p)
{
	return bpf_map__fd(p->skel->maps.ports);
}

static int map_set(const struct bpf_map *m, const void *k, const void *v)
{
	return bpf_map_update_elem(bpf_map__fd(m), k, v, BPF_ANY) < 0 ? -errno : 0;
}

static int map_del(const struct bpf_map *m, const void *k)
{
	return bpf_map_delete_elem(bpf_map__fd(m), k) < 0 ? -errno : 0;
}

int xdp_flow_set(struct xdp_prog *p, const struct flow_key *k, const struct flow_val *v)
{
	return map_set(p->skel->maps.flows, k, v);
}

int xdp_flow_del(struct xdp_prog *p, const struct flow_key *k)
{
	return map_del(p->skel->maps.flows, k);
}

int xdp_port_set(struct xdp_prog *p, const struct port_key *k, const struct port_val *v)
{
	return map_set(p->skel->maps.ports, k, v);
}

int xdp_port_del(struct xdp_prog *p, const struct port_key *k)
{
	return map_del(p->skel->maps.ports, k);
}

int xdp_spread_set(struct xdp_prog *p, uint32_t i, const struct spread *s)
{
	return map_set(p->skel->maps.spreads, &i, s);
}

int xdp_syncookies_set(struct xdp_prog *p, const struct syncookie_secrets *c)
{
	uint32_t zero = 0;

	return c ? map_set(p->skel->maps.syncookies, &zero, c)
		 : map_del(p->skel->maps.syncookies, &zero);
}

int xdp_addr_set(struct xdp_prog *p, const struct ip_addr *a)
{
	struct addr_val v = {.flags = ADDR_F_PRIMARY};

	return map_set(p->skel->maps.addrs, a, &v);
}

int xdp_addr_del(struct xdp_prog *p, const struct ip_addr *a)
{
	return map_del(p->skel->maps.addrs, a);
}

int xdp_xsk_set(struct xdp_prog *p, uint32_t slot, uint32_t queue, int xsk_fd)
{
	uint32_t k = TD_XSK_INDEX(slot, queue);

	if (slot >= TD_MAX_SLOTS || queue >= TD_MAX_QUEUES)
		return -ERANGE;
	return map_set(p->skel->maps.xsks, &k, &xsk_fd);
}

int xdp_xsk_del(struct xdp_prog *p, uint32_t slot, uint32_t queue)
{
	uint32_t k = TD_XSK_INDEX(slot, queue);

	if (slot >= TD_MAX_SLOTS || queue >= TD_MAX_QUEUES)
		return -ERANGE;
	return map_del(p->skel->maps.xsks, &k);
}

int xdp_settings_set(struct xdp_prog *p, uint32_t netif, const struct xdp_settings *s)
{
	return map_set(p->skel->maps.settings, &netif, s);
}

/* ---- reading without the daemon ---- */

static int open_pinned(const char *name, const char *what)
{
	char path[PATH_LEN];
	int fd, err;

	if (!name_ok(name))
		return -EINVAL;
	err = pin_path(path, name, what);
	if (err)
		return err;
	fd = bpf_obj_get(path);
	return fd < 0 ? -errno : fd;
}

int xdp_read_stats(const char *name, uint64_t out[XS_MAX])
{
	int fd, err = 0, n_cpus = libbpf_num_possible_cpus();
	uint64_t *per_cpu;

	if (n_cpus < 0)
		return n_cpus;
	fd = open_pinned(name, "stats");
	if (fd < 0)
		return fd;
	per_cpu = calloc((size_t)n_cpus, sizeof(*per_cpu));
	if (!per_cpu)
		err = -ENOMEM;
	for (uint32_t r = 0; !err && r < XS_MAX; r++) {
		if (bpf_map_lookup_elem(fd, &r, per_cpu) < 0)
			err = -errno;
		out[r] = 0;
		for (int i = 0; !err && i < n_cpus; i++)
			out[r] += per_cpu[i];
	}
	free(per_cpu);
	close(fd);
	return err;
}

/* Entries that one system call brings. */
#define FLOW_BATCH 1024

struct flow_batch {
	struct flow_key k[FLOW_BATCH];
	struct flow_val v[FLOW_BATCH];
};

int xdp_read_flows(const char *name, xdp_flow_fn fn, void *ctx)
{
	int fd = open_pinned(name, "flows"), err = 0;
	struct flow_batch *b;
	bool more = true;
	uint32_t next, n;

	if (fd < 0)
		return fd;
	b = malloc(sizeof(*b));
	if (!b) {
		close(fd);
		return -ENOMEM;
	}
	for (void *in = NULL; more && !err; in = &next) {
		n = FLOW_BATCH;
		if (bpf_map_lookup_batch(fd, in, &next, b->k, b->v, &n, NULL) < 0) {
			more = false;
			if (errno != ENOENT) /* that is the end, with the last entries */
				err = -errno;
		}
		for (uint32_t i = 0; !err && i < n; i++) {
			if (!fn(ctx, &b->k[i], &b->v[i])) {
				more = false;
				break;
			}
		}
	}
	free(b);
	close(fd);
	return err;
}

int xdp_deny_add(const char *name, const struct deny_key *k)
{
	const struct deny_val v = {0};
	int fd = open_pinned(name, "deny"), err;

	if (fd < 0)
		return fd;
	err = bpf_map_update_elem(fd, k, &v, BPF_NOEXIST) < 0 ? -errno : 0;
	close(fd);
	return err;
}

int xdp_deny_del(const char *name, const struct deny_key *k)
{
	int fd = open_pinned(name, "deny"), err;

	if (fd < 0)
		return fd;
	err = bpf_map_delete_elem(fd, k) < 0 ? -errno : 0;
	close(fd);
	return err;
}

int xdp_read_deny(const char *name, xdp_deny_fn fn, void *ctx)
{
	int fd = open_pinned(name, "deny"), err = 0;
	struct deny_key k, next;
	struct deny_val v;
	void *at = NULL;

	if (fd < 0)
		return fd;
	while (bpf_map_get_next_key(fd, at, &next) == 0) {
		k = next;
		at = &k;
		if (bpf_map_lookup_elem(fd, &k, &v) == 0 && !fn(ctx, &k, &v))
			break;
	}
	if (errno != ENOENT)
		err = -errno;
	close(fd);
	return err;
}
