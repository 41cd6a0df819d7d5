// SPDX-License-Identifier: BSD-2-Clause
/* sockdiag.h: one dump for each family, on a socket of its own. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <netinet/in.h>
#include <libmnl/libmnl.h>
#include <linux/inet_diag.h>
#include <linux/sock_diag.h>
#include "sockdiag.h"

#define BUF_LEN 32768
#define STATE_LISTEN 10 /* the kernel's TCP_LISTEN */
#define REPLY_TIMEOUT_S 2

struct dump {
	sockdiag_fn fn;
	void *ctx;
	bool stop;
};

static int attr_cb(const struct nlattr *attr, void *data)
{
	if (mnl_attr_get_type(attr) == INET_DIAG_SKV6ONLY && mnl_attr_get_payload_len(attr) >= 1)
		*(bool *)data = mnl_attr_get_u8(attr);
	return MNL_CB_OK;
}

static int msg_cb(const struct nlmsghdr *nlh, void *data)
{
	const struct inet_diag_msg *m = mnl_nlmsg_get_payload(nlh);
	struct kernel_listener l = {0};
	struct dump *d = data;
	bool v6only = false;

	if (d->stop || mnl_nlmsg_get_payload_len(nlh) < sizeof(*m))
		return MNL_CB_OK; /* the rest has to be read, too */
	mnl_attr_parse(nlh, sizeof(*m), attr_cb, &v6only);
	if (m->idiag_family == AF_INET)
		l.addr = ip_addr_v4(m->id.idiag_src[0]);
	else
		memcpy(l.addr.b, m->id.idiag_src, sizeof(l.addr.b));
	l.port = m->id.idiag_sport;
	l.uid = m->idiag_uid;
	l.ino = m->idiag_inode;
	if (ip_addr_is_v4(&l.addr) || (ip_addr_is_any(&l.addr) && !v6only))
		d->stop = !d->fn(d->ctx, &l);
	return MNL_CB_OK;
}

static int dump_family(struct dump *d, uint8_t family, char *buf)
{
	const struct timeval tv = {.tv_sec = REPLY_TIMEOUT_S};
	struct mnl_socket *s = mnl_socket_open2(NETLINK_SOCK_DIAG, SOCK_CLOEXEC);
	struct nlmsghdr *nlh = mnl_nlmsg_put_header(buf);
	struct inet_diag_req_v2 *req = mnl_nlmsg_put_extra_header(nlh, sizeof(*req));
	int r = -1;

	if (!s)
		return -errno;
	nlh->nlmsg_type = SOCK_DIAG_BY_FAMILY;
	nlh->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	nlh->nlmsg_seq = 1;
	req->sdiag_family = family;
	req->sdiag_protocol = IPPROTO_TCP;
	req->idiag_states = 1u << STATE_LISTEN;
	if (mnl_socket_bind(s, 0, MNL_SOCKET_AUTOPID) < 0 ||
	    setsockopt(mnl_socket_get_fd(s), SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) < 0 ||
	    mnl_socket_sendto(s, nlh, nlh->nlmsg_len) < 0)
		goto out;
	do {
		ssize_t n = mnl_socket_recvfrom(s, buf, BUF_LEN);

		r = n < 0 ? -1 : mnl_cb_run(buf, (size_t)n, 1, mnl_socket_get_portid(s), msg_cb, d);
	} while (r > MNL_CB_STOP);
out:
	r = r < 0 ? -errno : 0;
	mnl_socket_close(s);
	return r;
}

int sockdiag_listeners(sockdiag_fn fn, void *ctx)
{
	struct dump d = {.fn = fn, .ctx = ctx};
	char *buf = malloc(BUF_LEN);
	int r;

	if (!buf)
		return -ENOMEM;
	r = dump_family(&d, AF_INET, buf);
	if (!r && !d.stop)
		r = dump_family(&d, AF_INET6, buf);
	/* A kernel without IPv6 is no error. */
	if (r == -ENOENT && !d.stop)
		r = 0;
	free(buf);
	return r;
}
