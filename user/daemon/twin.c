// SPDX-License-Identifier: BSD-2-Clause
/*
 * A group's kernel socket listens, too, for applications that take its connections beside ours
 * (CTL_LISTEN_TWIN): what does not come by tandem's interfaces, from this host itself or over others.
 * They get a copy of the descriptor, and accept from it; we only keep it.
 *
 * Invariant: g->kernel_fd listens while .n_twins is not 0: members and shares with .twin.
 */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include "daemon.h"

/* Only while it listens: else the kernel would give the port to others that set it. */
static void set_reuse(const struct group *g, int on)
{
	setsockopt(g->kernel_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
}

void twin_begin(struct group *g, struct member *m, uint32_t backlog)
{
	int n = backlog < INT32_MAX ? (int)backlog : INT32_MAX;

	/* What is accepted, and its TIME_WAIT, has that from here: a server that starts again wants it so. */
	if (!g->n_twins)
		set_reuse(g, !!(m->flags & (CTL_LISTEN_REUSEADDR | CTL_LISTEN_REUSEPORT)));
	if (fcntl(g->kernel_fd, F_SETFL, O_NONBLOCK) || listen(g->kernel_fd, n)) {
		log_debug("application %u: the kernel does not listen on port %u: %s", m->app->slot,
			  ntohs(g->port), strerror(errno));
		if (!g->n_twins)
			set_reuse(g, 0);
		return;
	}
	m->twin = true;
	g->n_twins++;
}

/* Nobody is left who would accept. At our own end the applications go on without us. */
static void end(const struct daemon *d, struct group *g)
{
	if (--g->n_twins || d->stop)
		return;
	shutdown(g->kernel_fd, SHUT_RDWR);
	set_reuse(g, 0);
}

void twin_end(const struct daemon *d, struct member *m)
{
	if (m->twin)
		end(d, m->group);
	m->twin = false;
}

void twin_share_end(const struct daemon *d, struct share *sh)
{
	if (sh->twin)
		end(d, sh->group);
	sh->twin = false;
}

void twin_backlog(const struct group *g, uint32_t backlog)
{
	if (g->n_twins)
		listen(g->kernel_fd, backlog < INT32_MAX ? (int)backlog : INT32_MAX);
}

int twin_of(const struct app *a, uint32_t id)
{
	const struct member *m = member_get(a, id);

	if (!m || !m->listening || !(m->share ? m->share->twin : m->twin))
		return -1;
	return m->group->kernel_fd;
}

/* One of a former daemon's: does it listen at this address and port? Then it is the kernel's word. */
bool twin_fits(const struct daemon *d, int fd, const struct ip_addr *addr, uint16_t port)
{
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);
	uint32_t want = ip_addr_is_any(addr) ? 0 : ip_addr_to_v4(addr);

	if (fd < 0 || int_opt(fd, SOL_SOCKET, SO_DOMAIN) != AF_INET ||
	    int_opt(fd, SOL_SOCKET, SO_PROTOCOL) != IPPROTO_TCP ||
	    int_opt(fd, SOL_SOCKET, SO_ACCEPTCONN) != 1 || !same_netns(d, fd))
		return false;
	return !getsockname(fd, (struct sockaddr *)&sin, &len) && sin.sin_port == port &&
	       sin.sin_addr.s_addr == want;
}
