// SPDX-License-Identifier: BSD-2-Clause
/*
 * port.h: sending. Packets that fit a frame go through the TX ring of their queue, many to one
 * system call; what the kernel is to segment, or is larger, goes through a packet socket with a
 * virtio-net header. A ring is emptied before such a packet follows, so that a connection's
 * packets stay in order.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <arpa/inet.h>
#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <net/ethernet.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include "common/csum.h"
#include "port_priv.h"
#include "xsk_uapi.h"

#define GSO_SEND_BUFFER (8 << 20)
#define PKT_ROOM (UMEM_FRAME_SIZE - UMEM_HEADROOM)
#define BALANCE_EVERY 16u /* packets */
#define UDP_CSUM_OFF 6
#define TCP_FLAGS_OFF 13
#define TCP_CWR 0x80

/* ---- the pool that the stack builds packets in ---- */

static void reset_frag(struct port *p, struct pkt *pk, uint32_t frame)
{
	pk->frag[0] = (struct pkt_frag){
		.p = umem_ptr(p->cfg.umem, (uint64_t)frame * UMEM_FRAME_SIZE + UMEM_HEADROOM),
		.frame = frame};
	pk->room = PKT_ROOM;
}

/* @pk's frame has gone to the kernel: it gets another. */
static void renew(struct port *p, struct pkt *pk)
{
	if (!p->cache.n) {
		pk->next = p->bare;
		p->bare = pk;
		return;
	}
	reset_frag(p, pk, p->cache.frame[--p->cache.n]);
	pkt_free(&p->pool, pk);
}

/* @pk's frame was copied, or not sent at all. */
static void give_back(struct port *p, struct pkt *pk)
{
	reset_frag(p, pk, pk->frag[0].frame);
	pkt_free(&p->pool, pk);
}

void port_fill_pool(struct port *p)
{
	while (p->bare && p->cache.n) {
		struct pkt *pk = p->bare;

		p->bare = pk->next;
		renew(p, pk);
	}
}

/* ---- one packet ---- */

static void kick(struct port *p, uint32_t q)
{
	struct xsk *x = &p->cfg.xsks[q];

	p->stats.kicks++;
	if (xsk_kick(x) != -EAGAIN)
		return;
	/* Perhaps the completion ring is full. */
	port_balance(p, q, true);
	xsk_kick(x);
}

static void complete_csum(const struct pkt *pk)
{
	uint8_t *field = pk->frag[0].p + pk->csum_start + pk->csum_off;
	uint16_t c = csum_fold(
		csum_partial(pk->frag[0].p + pk->csum_start, pk->len - pk->csum_start, 0));

	if (!c && pk->csum_off == UDP_CSUM_OFF)
		c = 0xffff; /* RFC 768: zero says that there is none */
	memcpy(field, &c, sizeof(c));
}

static uint32_t request_csum(const struct pkt *pk)
{
	const struct xsk_tx_meta m = {.flags = XSK_TXMD_FLAGS_CHECKSUM,
				      .csum_start = pk->csum_start,
				      .csum_offset = pk->csum_off};

	memcpy(pk->frag[0].p - sizeof(m), &m, sizeof(m));
	return XSK_DESC_TX_METADATA;
}

/* False: the ring is full, and the kernel does not take more now. */
static bool send_ring(struct port *p, struct pkt *pk)
{
	uint32_t q = port_queue(p, pk), idx, options = 0;
	struct xsk *x = &p->cfg.xsks[q];
	struct umem *u = p->cfg.umem;

	if (!xsk_ring_prod__reserve(&x->tx, 1, &idx)) {
		kick(p, q);
		if (!xsk_ring_prod__reserve(&x->tx, 1, &idx)) {
			p->stats.tx_full++;
			return false;
		}
	}
	if (pk->csum == PKT_CSUM_PARTIAL && p->cfg.ifs[p->netif_of[q]].tx_csum)
		options = request_csum(pk);
	else if (pk->csum == PKT_CSUM_PARTIAL)
		complete_csum(pk);
	/* It stands in the ring first, where xsk_spare() finds it should we be stopped here. */
	*xsk_ring_prod__tx_desc(&x->tx, idx) = (struct xdp_desc){
		.addr = (uint64_t)(pk->frag[0].p - u->base), .len = pk->len, .options = options};
	umem_give(u, pk->frag[0].frame, FRAME_TX, u->slot);
	xsk_ring_prod__submit(&x->tx, 1);
	p->stats.tx_packets++;
	p->stats.tx_bytes += pk->len;
	renew(p, pk);
	if (++x->tx_outstanding >= PORT_BATCH)
		kick(p, q);
	return true;
}

/* Ethernet's type says which segmentation; the stack does not tag. */
static uint8_t gso_type(const struct pkt *pk)
{
	uint16_t type;

	memcpy(&type, pk->frag[0].p + offsetof(struct ethhdr, h_proto), sizeof(type));
	return type == htons(ETH_P_IPV6) ? VIRTIO_NET_HDR_GSO_TCPV6 : VIRTIO_NET_HDR_GSO_TCPV4;
}

/*
 * The short way to the device has no room for what the kernel has to cut, where the device does not
 * (TSO is off, or not there): ENOBUFS, always. False: it was not that way.
 */
static bool take_long_way(int fd)
{
	int bypass = 0;
	socklen_t len = sizeof(bypass);

	if (getsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &bypass, &len) < 0 || !bypass)
		return false;
	bypass = 0;
	return setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &bypass, sizeof(bypass)) == 0;
}

#define FLAT_MAX (sizeof(struct virtio_net_hdr) + 65536 + 64)

/* In one piece: write() is the call that any sandbox has, writev() is not. */
static ssize_t write_flat(struct port *p, int fd, const struct iovec *iov, size_t n)
{
	size_t len = 0;

	for (size_t i = 0; i < n; i++) {
		if (iov[i].iov_len > FLAT_MAX - len) {
			errno = EMSGSIZE;
			return -1;
		}
		memcpy(p->flat + len, iov[i].iov_base, iov[i].iov_len);
		len += iov[i].iov_len;
	}
	return write(fd, p->flat, len);
}

static bool send_packet(struct port *p, int fd, const struct msghdr *m)
{
	if (p->flat)
		return write_flat(p, fd, m->msg_iov, m->msg_iovlen) >= 0;
	return sendmsg(fd, m, MSG_DONTWAIT) >= 0 ||
	       (errno == ENOBUFS && take_long_way(fd) && sendmsg(fd, m, MSG_DONTWAIT) >= 0);
}

static void send_gso(struct port *p, struct pkt *pk, int fd)
{
	uint32_t q = port_queue(p, pk);
	struct virtio_net_hdr h = {.hdr_len = pk->hdr_len};
	struct iovec iov[PKT_MAX_FRAGS + 1] = {{.iov_base = &h, .iov_len = sizeof(h)}};
	struct msghdr msg = {.msg_iov = iov, .msg_iovlen = pk->nfrags + 1};

	if (xsk_unsent(&p->cfg.xsks[q]))
		kick(p, q);
	if (pk->csum == PKT_CSUM_PARTIAL) {
		h.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM;
		h.csum_start = pk->csum_start;
		h.csum_offset = pk->csum_off;
	}
	if (pk->gso_size && pk->len > (uint32_t)pk->hdr_len + pk->gso_size) {
		h.gso_type = gso_type(pk);
		h.gso_size = pk->gso_size;
		if (pk->frag[0].p[pk->l4_off + TCP_FLAGS_OFF] & TCP_CWR)
			h.gso_type |= VIRTIO_NET_HDR_GSO_ECN; /* CWR in the first segment only */
	}
	for (uint32_t i = 0; i < pk->nfrags; i++)
		iov[i + 1] = (struct iovec){pk->frag[i].p, pk->frag[i].len};
	p->stats.kicks++;
	if (!send_packet(p, fd, &msg)) {
		p->stats.gso_drops++; /* as lost on the way: TCP sends it again */
	} else {
		p->stats.tx_packets++;
		p->stats.gso_packets++;
		p->stats.tx_bytes += pk->len;
	}
	give_back(p, pk);
}

/* Makes one piece of it: a copy costs less than a system call of its own. */
static bool linearize(struct pkt *pk)
{
	uint32_t at = pk->frag[0].len;

	if (pk->len > pk->room)
		return false;
	for (uint32_t i = 1; i < pk->nfrags; i++) {
		memcpy(pk->frag[0].p + at, pk->frag[i].p, pk->frag[i].len);
		at += pk->frag[i].len;
	}
	pk->frag[0].len = at;
	pk->nfrags = 1;
	return true;
}

static bool send_one(struct port *p, struct pkt *pk)
{
	bool gso = pk->gso_size && pk->len > (uint32_t)pk->hdr_len + pk->gso_size;
	int fd;

	if (p->cut) {
		p->stats.tx_drops++;
		give_back(p, pk);
		return true;
	}
	if (!gso && (pk->nfrags == 1 || linearize(pk)))
		return send_ring(p, pk);
	fd = p->cfg.ifs[p->netif_of[port_queue(p, pk)]].gso_fd;
	if (fd >= 0) {
		send_gso(p, pk, fd);
		return true;
	}
	p->stats.tx_drops++;
	give_back(p, pk);
	return true;
}

/* ---- all of them ---- */

/* @unsent: also what another thread is about to kick for. */
static void kick_all(struct port *p, bool unsent)
{
	for (uint32_t q = 0; q < p->n_queues; q++)
		if (p->cfg.xsks[q].tx_outstanding || (unsent && xsk_unsent(&p->cfg.xsks[q])))
			kick(p, q);
}

static void owe_kicks(struct port *p)
{
	for (uint32_t q = 0; q < p->n_queues; q++) {
		struct xsk *x = &p->cfg.xsks[q];

		if (!x->tx_outstanding)
			continue;
		*p->kicks |= 1ull << q;
		x->tx_outstanding = 0;
		p->stats.kicks++;
	}
}

void port_kick_later(struct port *p, uint64_t *kicks)
{
	p->kicks = kicks;
}

/*
 * Who has submitted and finds another one at it leaves it to that one, which looks again after it has
 * said that it goes.
 */
static int push(struct xsk *x)
{
	int err = 0;

	while (!err && xsk_unsent(x) && !__atomic_exchange_n(&x->kicking, 1, __ATOMIC_SEQ_CST)) {
		err = xsk_push(x);
		__atomic_store_n(&x->kicking, 0, __ATOMIC_SEQ_CST);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
	}
	return err;
}

int port_kick(struct port *p, uint64_t kicks)
{
	int err = 0;

	for (; kicks; kicks &= kicks - 1) {
		int e = push(&p->cfg.xsks[__builtin_ctzll(kicks)]);

		err = err ? err : e;
	}
	return err;
}

void port_kick_left(struct port *p, uint64_t kicks)
{
	for (; kicks && !p->cut; kicks &= kicks - 1)
		kick(p, (uint32_t)__builtin_ctzll(kicks));
}

static struct pkt *next_pkt(struct port *p, struct stack *s, struct mtime now)
{
	struct pkt *pk = p->kept;

	p->kept = NULL;
	if (!pk)
		pk = stack_output(s, now);
	if (pk || p->pool.n || !p->bare || !stack_wants_output(s))
		return pk;
	/* Out of frames: those just sent may come back. */
	kick_all(p, true);
	for (uint32_t q = 0; q < p->n_queues; q++)
		port_balance(p, q, true);
	port_fill_pool(p);
	return p->pool.n ? stack_output(s, now) : NULL;
}

uint32_t port_tx(struct port *p, struct stack *s, struct mtime now)
{
	struct pkt *pk;
	uint32_t n = 0;

	port_fill_pool(p);
	while ((pk = next_pkt(p, s, now))) {
		if (!send_one(p, pk)) {
			p->kept = pk;
			break;
		}
		n++;
	}
	if (p->kicks)
		owe_kicks(p);
	else
		kick_all(p, false);
	/* Who receives does the same all the time: for those who only send, now and then. */
	p->unbalanced += n;
	if (p->unbalanced >= BALANCE_EVERY || p->cache.n < PORT_CACHE_LOW) {
		p->unbalanced = 0;
		for (uint32_t q = 0; q < p->n_queues; q++)
			port_balance(p, q, false);
	}
	port_fill_pool(p);
	return n;
}

void port_tx_replies(struct port *p, struct stack *s)
{
	struct pkt *pk;

	if (p->kept)
		return;
	while ((pk = stack_reply(s)))
		if (!send_one(p, pk)) {
			p->kept = pk;
			return;
		}
}

bool port_tx_pending(const struct port *p)
{
	if (p->kept || (p->bare && !p->pool.n))
		return true;
	for (uint32_t q = 0; q < p->n_queues; q++)
		if (p->cfg.xsks[q].tx_outstanding)
			return true;
	return false;
}

/* ---- in a sandbox ---- */

static int confine_gso(struct port *p)
{
	p->flat = p->flat ? p->flat : malloc(FLAT_MAX);
	if (!p->flat)
		return -ENOMEM;
	for (uint32_t i = 0; i < p->cfg.n_ifs; i++) {
		int fd = p->cfg.ifs[i].gso_fd;

		if (fd < 0)
			continue;
		if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0)
			return -errno;
		take_long_way(fd); /* there is no asking for it later */
	}
	return 0;
}

int port_confine(struct port *p, unsigned forbidden)
{
	int err = forbidden & PORT_NO_SENDMSG ? confine_gso(p) : 0;

	for (uint32_t q = 0; !err && forbidden & PORT_NO_SENDTO && q < p->n_queues; q++)
		err = xsk_by_write(&p->cfg.xsks[q]);
	if (forbidden & PORT_NO_FCNTL)
		p->cfg.umem->id.blind = true;
	return err;
}

/* ---- the packet socket ---- */

int port_gso_open(int ifindex)
{
	struct sock_filter drop = BPF_STMT(BPF_RET | BPF_K, 0);
	struct sock_fprog prog = {.len = 1, .filter = &drop};
	struct sockaddr_ll sa = {.sll_family = AF_PACKET, .sll_ifindex = ifindex};
	int one = 1, buf = GSO_SEND_BUFFER, r;
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	/* Its later owner could bind it to all protocols: the filter that takes nothing stays. */
	if (setsockopt(fd, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof(prog)) < 0 ||
	    setsockopt(fd, SOL_SOCKET, SO_LOCK_FILTER, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof(one)) < 0 ||
	    setsockopt(fd, SOL_PACKET, PACKET_QDISC_BYPASS, &one, sizeof(one)) < 0 ||
	    bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		r = -errno;
		close(fd);
		return r;
	}
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &buf, sizeof(buf)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &buf, sizeof(buf));
	return fd;
}
