// SPDX-License-Identifier: BSD-2-Clause
/*
 * Ports as the kernel sees them: the network namespace's sysctls say which may be picked, and a
 * socket that is bound for a moment says whether one of the kernel's own has a port.
 */
#include <ctype.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/capability.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include "daemon.h"

#define SYSCTL "/proc/sys/net/ipv4/"
#define PICK_TRIES 8
#define REFRESH_MS 1000u

static bool has_cap(pid_t pid)
{
	char caps[32];

	return proc_status(pid, "CapEff", caps, sizeof(caps)) &&
	       strtoull(caps, NULL, 16) >> CAP_NET_BIND_SERVICE & 1;
}

/*
 * Is what it has a right of @uid's, in our user namespace? Who executes a program that gives it more
 * (set-user-ID, file capabilities) is not dumpable, so that root owns its directory: that program has
 * not asked, who has our socket still has. Nobody can come back to this namespace from one of his
 * own, where he has all capabilities.
 */
static bool of_its_own(pid_t pid, uid_t uid)
{
	struct stat dir, ns, ours;
	char path[48];

	snprintf(path, sizeof(path), "/proc/%d/ns/user", (int)pid);
	if (stat(path, &ns) || stat("/proc/self/ns/user", &ours))
		return false;
	path[strlen(path) - strlen("/ns/user")] = '\0';
	return ns.st_ino == ours.st_ino && ns.st_dev == ours.st_dev && !stat(path, &dir) &&
	       dir.st_uid == uid;
}

/*
 * SO_PEERCRED tells who has connected; what that process may do now is in its status. Of one that
 * our PID namespace does not show nothing else is known.
 */
static bool privileged(const struct app *a)
{
	if (a->uid == 0)
		return a->pid <= 0 || has_cap(a->pid);
	return a->pid > 0 && has_cap(a->pid) && of_its_own(a->pid, a->uid);
}

bool port_allowed(const struct app *a, uint16_t port)
{
	unsigned start = 1024;
	FILE *f;

	if (!port || ntohs(port) >= 1024)
		return true;
	if (privileged(a))
		return true;
	f = fopen("/proc/sys/net/ipv4/ip_unprivileged_port_start", "re");
	if (f && fscanf(f, "%u", &start) != 1)
		start = 1024;
	if (f)
		fclose(f);
	return ntohs(port) >= start;
}

static int try_bind(const struct sockaddr_in *sin, bool reuse, int *fd)
{
	int one = 1, err;

	*fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		return -errno;
	if (reuse)
		setsockopt(*fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (!bind(*fd, (const struct sockaddr *)sin, sizeof(*sin)))
		return 0;
	err = -errno;
	close(*fd);
	return err;
}

/*
 * Without SO_REUSEADDR at first: the kernel remembers it, and would give the port to others that
 * set it as long as nobody listens there, which we do for some only (twin.c).
 */
static int bind_once(const struct ip_addr *addr, uint16_t *port, bool reuse, int *fd)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = *port};
	socklen_t len = sizeof(sin);
	bool shared = false;
	int s, err;

	if (!ip_addr_is_any(addr))
		sin.sin_addr.s_addr = ip_addr_to_v4(addr);
	err = try_bind(&sin, false, &s);
	if (err == -EADDRINUSE && reuse) {
		shared = true;
		err = try_bind(&sin, true, &s);
	}
	if (err)
		return err;
	if (getsockname(s, (struct sockaddr *)&sin, &len))
		err = -errno;
	/* One that the kernel picks it takes back when the socket ceases to listen; one that is asked for not. */
	if (!err && !*port) {
		close(s);
		err = try_bind(&sin, shared, &s);
		if (err)
			return err;
	}
	if (!err)
		*port = sin.sin_port;
	if (fd && !err)
		*fd = s;
	else
		close(s);
	return err;
}

int kernel_bind(const struct ip_addr *addr, uint16_t *port, bool reuse, int *fd)
{
	bool pick = !*port;
	int err = bind_once(addr, port, reuse, fd);

	/* Somebody was quicker. */
	for (int i = 0; pick && err == -EADDRINUSE && i < PICK_TRIES; i++)
		err = bind_once(addr, port, reuse, fd);
	return err;
}

/* ---- which may be picked ---- */

static bool sysctl_read(const char *path, char **text, size_t *size)
{
	FILE *f = fopen(path, "re");
	ssize_t n = -1;

	if (f) {
		n = getline(text, size, f);
		fclose(f);
	}
	return n >= 0;
}

void ports_parse(uint64_t *set, const char *list)
{
	memset(set, 0, PORT_SET_WORDS * sizeof(*set));
	while (isdigit((unsigned char)*list)) {
		char *end;
		unsigned long lo = strtoul(list, &end, 10), hi = lo;

		if (*end == '-' && isdigit((unsigned char)end[1]))
			hi = strtoul(end + 1, &end, 10);
		for (unsigned long p = lo; p <= hi && p < 65536; p++)
			set[p / 64] |= 1ull << p % 64;
		list = *end == ',' ? end + 1 : end;
	}
}

/* They may change at any time; once a second is often enough to look. */
void ports_refresh(struct daemon *d)
{
	char *text = NULL;
	size_t size = 0;
	unsigned lo, hi;

	if (d->ports_read && mtime_diff_ns(d->now, d->ports_when) < REFRESH_MS * NS_PER_MS)
		return;
	d->ports_read = true;
	d->ports_when = d->now;
	if (sysctl_read(SYSCTL "ip_local_reserved_ports", &text, &size))
		ports_parse(d->ports_reserved, text);
	if (!d->cfg.limits.port_lo && sysctl_read(SYSCTL "ip_local_port_range", &text, &size) &&
	    sscanf(text, "%u %u", &lo, &hi) == 2 && lo && lo <= hi && hi < 65536)
		stack_set_ports(d->stack, (uint16_t)lo, (uint16_t)hi);
	free(text);
}

bool port_reserved(const struct daemon *d, uint16_t port)
{
	uint32_t p = ntohs(port);

	return d->ports_reserved[p / 64] >> p % 64 & 1;
}
