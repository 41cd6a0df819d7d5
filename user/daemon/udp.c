// SPDX-License-Identifier: BSD-2-Clause
/*
 * UDP ports of applications. An application binds a socket of the kernel's, as any program does, so
 * that the kernel says who may have which port; it shows us that socket, and from then on what
 * comes to this address and port over our interface goes to the application. We keep a descriptor
 * of the socket, so that the port stays taken for as long as its entry stands in `ports`, and look
 * at it now and then: a socket can lose a name that it did not choose (connect() to AF_UNSPEC).
 *
 * An entry points straight to the application's slot where one application has the port: sockets,
 * connected or not, are told apart there. Where several share it (SO_REUSEPORT), or a packet comes
 * here for another reason (fragments, IP options, ICMP errors), it is passed on from here.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <linux/sockios.h>
#include <arpa/inet.h>
#include "daemon.h"
#include "report.h"

#define BUCKETS 4096u
#define MAX_CLAIMS 65536u /* of one application */
/* While the daemon is awake all ports are looked at within a second. */
#define RECHECK_NS (10 * NS_PER_MS)
#define RECHECK_BUCKETS 64u

/* One socket of an application's. */
struct udp_claim {
	/* Of its port: sockets of AF_INET, then those of AF_INET6, the last one bound in front. */
	struct udp_claim *next;
	struct udp_port *port;
	struct app *app;
	uint32_t id; /* index in app->udp */
	int fd;
	ino_t ino; /* of the socket: a forked process has the same one */
	bool reuseport, v6;
};

struct udp_port {
	struct udp_port *next; /* of its bucket */
	struct ip_addr addr;   /* any: :: */
	uint16_t port;
	struct udp_claim *claims;
};

/* ---- ports ---- */

static struct udp_port **bucket(const struct daemon *d, uint16_t port)
{
	return &d->udp_ports[ntohs(port) % BUCKETS];
}

static struct udp_port *find_exact(const struct daemon *d, const struct ip_addr *addr,
				   uint16_t port)
{
	struct udp_port *p = d->udp_ports ? *bucket(d, port) : NULL;

	while (p && (p->port != port || !ip_addr_eq(&p->addr, addr)))
		p = p->next;
	return p;
}

/* Whose port is it? As the XDP program looks it up. */
static struct udp_port *find(const struct daemon *d, const struct ip_addr *addr, uint16_t port)
{
	static const struct ip_addr any;
	struct udp_port *p = find_exact(d, addr, port);

	return p ? p : find_exact(d, &any, port);
}

static struct port_key key_of(const struct udp_port *p)
{
	return (struct port_key){.addr = p->addr, .port = p->port, .proto = IPPROTO_UDP};
}

/* The one slot that gets everything; TD_SLOT_DAEMON: it is spread. */
static uint32_t slot_of(const struct udp_port *p)
{
	const struct udp_claim *first = p->claims;

	/* SO_REUSEADDR: the one bound last. */
	if (!first->reuseport)
		return first->app->slot;
	for (const struct udp_claim *c = first->next; c && c->v6 == first->v6; c = c->next)
		if (c->app != first->app)
			return TD_SLOT_DAEMON;
	return first->app->slot;
}

static int publish(struct daemon *d, const struct udp_port *p)
{
	const struct port_val v = {.slot = slot_of(p), .conn = TD_NO_CONN};
	struct port_key k = key_of(p);

	return xdp_port_set(d->prog, &k, &v);
}

static struct udp_port *port_get(struct daemon *d, const struct ip_addr *addr, uint16_t port)
{
	struct udp_port *p = find_exact(d, addr, port), **b;

	if (p)
		return p;
	if (!d->udp_ports)
		d->udp_ports = calloc(BUCKETS, sizeof(*d->udp_ports));
	p = d->udp_ports ? calloc(1, sizeof(*p)) : NULL;
	if (!p)
		return NULL;
	b = bucket(d, port);
	*p = (struct udp_port){.next = *b, .addr = *addr, .port = port};
	*b = p;
	return p;
}

static void port_put(struct daemon *d, struct udp_port *p)
{
	struct port_key k = key_of(p);
	struct udp_port **link = bucket(d, p->port);

	if (p->claims) {
		publish(d, p);
		return;
	}
	xdp_port_del(d->prog, &k);
	while (*link != p)
		link = &(*link)->next;
	*link = p->next;
	free(p);
}

/* ---- claims ---- */

/* A free place in the application's table. -errno, or the id. */
static int64_t claim_id(struct app *a)
{
	uint32_t old = a->n_udp, n = old ? old * 2 : 16;
	struct udp_claim **list;

	for (uint32_t i = 0; i < old; i++)
		if (!a->udp[i])
			return i;
	if (n > MAX_CLAIMS)
		return -ENOBUFS;
	list = realloc(a->udp, n * sizeof(*list));
	if (!list)
		return -ENOMEM;
	memset(list + old, 0, (n - old) * sizeof(*list));
	a->udp = list;
	a->n_udp = n;
	return old;
}

/* Is @fd in our network namespace? */
bool same_netns(const struct daemon *d, int fd)
{
	int ns = ioctl(fd, SIOCGSKNS);
	struct stat st;
	bool same = ns >= 0 && !fstat(ns, &st) && st.st_ino == d->netns_ino;

	if (ns >= 0)
		close(ns);
	return same;
}

int int_opt(int fd, int level, int name)
{
	socklen_t len = sizeof(int);
	int v = -1;

	return getsockopt(fd, level, name, &v, &len) ? -1 : v;
}

static bool has_ifindex(const struct daemon *d, int ifindex)
{
	for (uint32_t i = 0; i < d->n_ifs; i++)
		if (d->ifs[i].link.ifindex == ifindex)
			return true;
	return false;
}

/* The name of @fd, which takes IPv4: of AF_INET6 where its address is :: or a mapped one. */
static int name_of(int fd, struct ip_addr *addr, uint16_t *port)
{
	struct sockaddr_in6 sin6;
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin6);

	if (getsockname(fd, (struct sockaddr *)&sin6, &len))
		return -EINVAL;
	*port = sin6.sin6_port; /* the same place in both */
	if (sin6.sin6_family == AF_INET && len == sizeof(sin)) {
		memcpy(&sin, &sin6, sizeof(sin));
		*addr = ip_addr_v4(sin.sin_addr.s_addr);
		return 0;
	}
	if (sin6.sin6_family != AF_INET6 || len != sizeof(sin6) ||
	    int_opt(fd, IPPROTO_IPV6, IPV6_V6ONLY))
		return -EINVAL;
	memcpy(addr, &sin6.sin6_addr, sizeof(*addr));
	return ip_addr_is_any(addr) || ip_addr_is_v4(addr) ? 0 : -EINVAL;
}

/* The kernel's word that the application has what it asks for. */
static int check_socket(const struct daemon *d, const struct ctl_listen *req, int fd)
{
	struct ip_addr addr;
	uint16_t port;
	int dev;

	if (int_opt(fd, SOL_SOCKET, SO_PROTOCOL) != IPPROTO_UDP || !same_netns(d, fd))
		return -EINVAL;
	if (name_of(fd, &addr, &port) || !port || port != req->port)
		return -EINVAL;
	if (ip_addr_is_any(&req->addr) ? !ip_addr_is_any(&addr) : !ip_addr_eq(&addr, &req->addr))
		return -EINVAL;
	dev = int_opt(fd, SOL_SOCKET, SO_BINDTOIFINDEX);
	return dev > 0 && !has_ifindex(d, dev) ? -EADDRNOTAVAIL : 0;
}

static int claim(struct daemon *d, struct app *a, const struct ip_addr *addr, uint16_t port, int fd,
		 uint32_t *id_out)
{
	struct udp_port *p = port_get(d, addr, port);
	int64_t id = claim_id(a);
	struct udp_claim *c, **link;
	struct stat st;
	int err;

	if (!p)
		return -ENOMEM;
	err = id < 0 ? (int)id : fstat(fd, &st) ? -errno : 0;
	/* The same socket in two processes, after fork(): whoever was first, until it lets go. */
	for (c = p->claims; c && !err; c = c->next)
		if (c->ino == st.st_ino)
			err = -EBUSY;
	c = err ? NULL : calloc(1, sizeof(*c));
	if (!c) {
		if (!p->claims)
			port_put(d, p);
		return err ? err : -ENOMEM;
	}
	*c = (struct udp_claim){.port = p,
				.app = a,
				.id = (uint32_t)id,
				.fd = fd,
				.ino = st.st_ino,
				.reuseport = int_opt(fd, SOL_SOCKET, SO_REUSEPORT) > 0,
				.v6 = int_opt(fd, SOL_SOCKET, SO_DOMAIN) == AF_INET6};
	link = &p->claims;
	while (c->v6 && *link && !(*link)->v6)
		link = &(*link)->next;
	c->next = *link;
	*link = c;
	err = publish(d, p);
	if (err) {
		*link = c->next;
		free(c);
		port_put(d, p);
		return err;
	}
	a->udp[id] = c;
	*id_out = (uint32_t)id;
	return 0;
}

int udp_claim(struct daemon *d, struct app *a, const struct ctl_listen *req, int fd,
	      struct ctl_listen_reply *r)
{
	struct ip_addr addr = ip_addr_is_any(&req->addr) ? (struct ip_addr){0} : req->addr;
	int err;

	if (fd < 0)
		return -EBADF;
	if (!ip_addr_is_any(&addr) && (!ip_addr_is_v4(&addr) || !iface_has_addr(d, &addr)))
		return -EADDRNOTAVAIL;
	err = check_socket(d, req, fd);
	if (!err)
		err = claim(d, a, &addr, req->port, fd, &r->id);
	if (!err) {
		r->addr = req->addr;
		r->port = req->port;
	}
	return err;
}

static void release(struct daemon *d, struct udp_claim *c)
{
	struct udp_claim **link = &c->port->claims;

	while (*link != c)
		link = &(*link)->next;
	*link = c->next;
	port_put(d, c->port);
	c->app->udp[c->id] = NULL;
	/* Only now may others have the port. */
	close(c->fd);
	free(c);
}

/* Does it still have the name that it had? An application can take that away from it at any time.
 */
static bool still_bound(const struct udp_claim *c)
{
	struct sockaddr_in sin;
	socklen_t len = sizeof(sin);

	return !getsockname(c->fd, (struct sockaddr *)&sin, &len) && sin.sin_port == c->port->port;
}

void udp_recheck(struct daemon *d)
{
	if (!d->udp_ports || mtime_diff_ns(d->now, d->udp_checked) < RECHECK_NS)
		return;
	d->udp_checked = d->now;
	for (uint32_t n = 0; n < RECHECK_BUCKETS; n++) {
		struct udp_port *p = d->udp_ports[d->udp_cursor++ % BUCKETS], *next;

		for (; p; p = next) {
			next = p->next;
			for (struct udp_claim *c = p->claims, *after; c; c = after) {
				after = c->next;
				if (!still_bound(c))
					release(d, c);
			}
		}
	}
}

int udp_unclaim(struct daemon *d, struct app *a, uint32_t id)
{
	if (id >= a->n_udp || !a->udp[id])
		return -EINVAL;
	release(d, a->udp[id]);
	return 0;
}

void udp_app_gone(struct daemon *d, struct app *a)
{
	for (uint32_t i = 0; i < a->n_udp; i++)
		if (a->udp[i])
			release(d, a->udp[i]);
}

void udp_end(struct daemon *d)
{
	free(d->udp_ports);
	d->udp_ports = NULL;
}

void udp_resolve(struct daemon *d, const struct shm_msg *m)
{
	if (ip_addr_is_v4(&m->remote))
		stack_resolve(d->stack, &m->remote, d->now);
}

void udp_report(const struct daemon *d, struct jbuf *j)
{
	char text[INET6_ADDRSTRLEN];

	jb_open(j, "udp", '[');
	for (uint32_t b = 0; d->udp_ports && b < BUCKETS; b++)
		for (const struct udp_port *p = d->udp_ports[b]; p; p = p->next)
			for (const struct udp_claim *c = p->claims; c; c = c->next) {
				jb_open(j, NULL, '{');
				jb_str(j, "address",
				       ip_addr_is_any(&p->addr) ? "*"
								: inet_ntop(AF_INET, &p->addr.w[3],
									    text, sizeof(text)));
				jb_u64(j, "port", ntohs(p->port));
				jb_u64(j, "slot", c->app->slot);
				jb_str(j, "comm", c->app->comm);
				jb_close(j, '}');
			}
	jb_close(j, ']');
}

/* ---- packets that came here ---- */

struct app *udp_owner(struct daemon *d, const struct tcp_addr_pair *a)
{
	struct udp_port *p = find(d, &a->local, a->local_port);
	struct flow_key k;
	uint32_t n = 0;
	struct udp_claim *c;

	if (!p)
		return NULL;
	if (!p->claims->reuseport)
		return p->claims->app;
	for (c = p->claims; c && c->v6 == p->claims->v6; c = c->next)
		n += c->reuseport;
	k = flow_key_of(a);
	k.proto = IPPROTO_UDP;
	n = (uint32_t)((recs_hash(&d->recs, &k) >> 32) % n);
	for (c = p->claims; !c->reuseport || n--;)
		c = c->next;
	return c->app;
}

/* A whole datagram that the stack has put together, or found nobody for. */
static bool on_datagram(void *ctx, const struct pkt *p)
{
	struct daemon *d = ctx;
	struct tcp_addr_pair a = filter_pair(p);
	struct app *to = udp_owner(d, &a);

	/* What its owner passes on has no socket there: the stack says so to the sender. */
	if (!to || d->inject_from == to->slot)
		return false;
	filter_pass_copy(d, p, to);
	return true;
}

void udp_begin(struct daemon *d)
{
	stack_set_taps(d->stack, on_datagram, filter_segment, d);
}
