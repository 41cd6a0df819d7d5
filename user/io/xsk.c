// SPDX-License-Identifier: BSD-2-Clause
/*
 * xsk.h: AF_XDP sockets by setsockopt() and mmap(), as applications map the rings of sockets that
 * the daemon made. Kernel documentation: networking/af_xdp.rst, networking/xsk-tx-metadata.rst.
 */
#include <errno.h>
#include <fcntl.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <linux/if_xdp.h>
#include "clock.h"
#include "xsk.h"
#include "xsk_uapi.h"

#ifndef SOL_XDP
#define SOL_XDP 283
#endif

#define BIND_WAIT_NS (2 * NS_PER_S)
#define BIND_SLEEP_MIN_NS (1 * NS_PER_MS)
#define BIND_SLEEP_MAX_NS (100 * NS_PER_MS)
_Static_assert(XSK_TX_META_LEN == sizeof(struct xsk_tx_meta), "transmit metadata");

#define SEND_BUFFER (8 << 20)
#define KERNEL_TX_BATCH 32u

static int set_opt(int fd, int opt, const void *val, size_t len)
{
	return setsockopt(fd, SOL_XDP, opt, val, (socklen_t)len) < 0 ? -errno : 0;
}

static int get_offsets(int fd, struct xdp_mmap_offsets *off)
{
	socklen_t len = sizeof(*off);

	if (getsockopt(fd, SOL_XDP, XDP_MMAP_OFFSETS, off, &len) < 0)
		return -errno;
	return len == sizeof(*off) ? 0 : -EOPNOTSUPP; /* kernels before 5.4 */
}

/* ---- mapping ---- */

static bool ring_size_ok(uint32_t n)
{
	return n && !(n & (n - 1)) && n <= 1u << 20;
}

/* The kernel refuses to map more than the ring has, so a wrong @size cannot lead beyond it. */
static int map_ring(int fd, uint64_t pgoff, const struct xdp_ring_offset *off, size_t len,
		    void **map)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
		       (off_t)pgoff);

	if (p == MAP_FAILED)
		return -errno;
	if (off->desc > len || off->producer > len - 4 || off->consumer > len - 4) {
		munmap(p, len);
		return -EPROTO;
	}
	*map = p;
	return 0;
}

static void ring_prod_init(struct xsk_ring_prod *r, void *map, const struct xdp_ring_offset *off,
			   uint32_t size)
{
	uint8_t *b = map;

	*r = (struct xsk_ring_prod){.mask = size - 1,
				    .size = size,
				    .producer = (uint32_t *)(b + off->producer),
				    .consumer = (uint32_t *)(b + off->consumer),
				    .flags = (uint32_t *)(b + off->flags),
				    .ring = b + off->desc};
	r->cached_prod = *r->producer;
	r->cached_cons = *r->consumer + size; /* as libxdp keeps it: see xsk_prod_nb_free() */
}

static void ring_cons_init(struct xsk_ring_cons *r, void *map, const struct xdp_ring_offset *off,
			   uint32_t size)
{
	uint8_t *b = map;

	*r = (struct xsk_ring_cons){.mask = size - 1,
				    .size = size,
				    .producer = (uint32_t *)(b + off->producer),
				    .consumer = (uint32_t *)(b + off->consumer),
				    .flags = (uint32_t *)(b + off->flags),
				    .ring = b + off->desc};
	r->cached_prod = *r->producer;
	r->cached_cons = *r->consumer;
}

static int map_rx_tx(struct xsk *x, const struct xdp_mmap_offsets *off, uint32_t rx_size,
		     uint32_t tx_size)
{
	int r;

	x->rx_map_len = off->rx.desc + rx_size * sizeof(struct xdp_desc);
	x->tx_map_len = off->tx.desc + tx_size * sizeof(struct xdp_desc);
	r = map_ring(x->fd, XDP_PGOFF_RX_RING, &off->rx, x->rx_map_len, &x->rx_map);
	if (r < 0)
		return r;
	r = map_ring(x->fd, XDP_PGOFF_TX_RING, &off->tx, x->tx_map_len, &x->tx_map);
	if (r < 0) {
		munmap(x->rx_map, x->rx_map_len);
		x->rx_map = NULL;
		return r;
	}
	ring_cons_init(&x->rx, x->rx_map, &off->rx, rx_size);
	ring_prod_init(&x->tx, x->tx_map, &off->tx, tx_size);
	return 0;
}

static void unmap_rx_tx(struct xsk *x)
{
	if (x->rx_map)
		munmap(x->rx_map, x->rx_map_len);
	if (x->tx_map)
		munmap(x->tx_map, x->tx_map_len);
	x->rx_map = x->tx_map = NULL;
}

static int map_fill_comp(int fd, const struct xdp_mmap_offsets *off, struct umem_queue *uq,
			 uint32_t queue, uint32_t fill_size, uint32_t comp_size)
{
	int r;

	*uq = (struct umem_queue){.index = queue};
	uq->fill_map_len = off->fr.desc + fill_size * sizeof(uint64_t);
	uq->comp_map_len = off->cr.desc + comp_size * sizeof(uint64_t);
	r = map_ring(fd, XDP_UMEM_PGOFF_FILL_RING, &off->fr, uq->fill_map_len, &uq->fill_map);
	if (r < 0)
		return r;
	r = map_ring(fd, XDP_UMEM_PGOFF_COMPLETION_RING, &off->cr, uq->comp_map_len, &uq->comp_map);
	if (r < 0) {
		umem_queue_unmap(uq);
		return r;
	}
	ring_prod_init(&uq->fill, uq->fill_map, &off->fr, fill_size);
	ring_cons_init(&uq->comp, uq->comp_map, &off->cr, comp_size);
	return 0;
}

void umem_queue_unmap(struct umem_queue *uq)
{
	if (uq->fill_map)
		munmap(uq->fill_map, uq->fill_map_len);
	if (uq->comp_map)
		munmap(uq->comp_map, uq->comp_map_len);
	uq->fill_map = uq->comp_map = NULL;
}

/* ---- creating ---- */

/* Where the kernel does not know transmit metadata it refuses the flag; then without. */
static int register_umem(int fd, const struct umem *u, struct xsk_opts *o)
{
	struct xsk_umem_reg reg = {.addr = (uint64_t)(uintptr_t)u->base,
				   .len = u->size,
				   .chunk_size = UMEM_FRAME_SIZE};
	int r;

	if (o->tx_csum) {
		reg.flags = XSK_UMEM_TX_METADATA_LEN;
		reg.tx_metadata_len = XSK_TX_META_LEN;
		r = set_opt(fd, XDP_UMEM_REG, &reg, sizeof(reg));
		if (r != -EINVAL)
			return r;
		o->tx_csum = false;
		reg.flags = 0;
		reg.tx_metadata_len = 0;
	}
	return set_opt(fd, XDP_UMEM_REG, &reg, sizeof(reg));
}

static int make_rings(int fd, const struct xsk_opts *o, bool own_fill_comp)
{
	uint32_t budget = o->tx_size;
	int sndbuf = SEND_BUFFER, r;

	r = set_opt(fd, XDP_RX_RING, &o->rx_size, sizeof(o->rx_size));
	if (!r)
		r = set_opt(fd, XDP_TX_RING, &o->tx_size, sizeof(o->tx_size));
	if (!r && own_fill_comp)
		r = set_opt(fd, XDP_UMEM_FILL_RING, &o->fill_size, sizeof(o->fill_size));
	if (!r && own_fill_comp)
		r = set_opt(fd, XDP_UMEM_COMPLETION_RING, &o->comp_size, sizeof(o->comp_size));
	if (r < 0)
		return r;
	/*
	 * Both only help: a packet counts against the send buffer until the peer's stack has taken
	 * it up, and one sendto() takes 32 packets unless told otherwise (kernel 6.17).
	 */
	if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &sndbuf, sizeof(sndbuf)) < 0)
		setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &sndbuf, sizeof(sndbuf));
	set_opt(fd, XSK_MAX_TX_SKB_BUDGET, &budget, sizeof(budget));
	return 0;
}

/* The kernel releases a queue some time after its socket was closed. */
static int bind_queue(int fd, const struct xsk_opts *o, const struct xsk *share)
{
	struct sockaddr_xdp sa = {.sxdp_family = AF_XDP,
				  .sxdp_ifindex = (uint32_t)o->ifindex,
				  .sxdp_queue_id = o->queue};
	struct mtime end = mtime_add_ns(clock_now(), BIND_WAIT_NS);
	uint64_t sleep_ns = BIND_SLEEP_MIN_NS;

	if (share) {
		/* Mode, wakeup and multi-buffer are the UMEM's: the kernel wants no other flag. */
		sa.sxdp_flags = XDP_SHARED_UMEM;
		sa.sxdp_shared_umem_fd = (uint32_t)share->fd;
	} else {
		sa.sxdp_flags = XDP_USE_NEED_WAKEUP | (o->zerocopy ? XDP_ZEROCOPY : XDP_COPY) |
				(o->sg ? XSK_USE_SG : 0);
	}
	while (bind(fd, (struct sockaddr *)&sa, sizeof(sa)) < 0) {
		struct timespec ts = {.tv_nsec = (long)sleep_ns};

		if (errno != EBUSY || !mtime_before(clock_now(), end))
			return -errno;
		nanosleep(&ts, NULL);
		if (sleep_ns < BIND_SLEEP_MAX_NS)
			sleep_ns *= 2;
	}
	return 0;
}

int xsk_create(struct xsk *x, struct umem *u, struct xsk_opts *o, const struct xsk *share,
	       struct umem_queue *uq)
{
	struct xdp_mmap_offsets off;
	int r;

	if (!ring_size_ok(o->rx_size) || !ring_size_ok(o->tx_size) || (!share && !uq))
		return -EINVAL;
	if (uq && (!ring_size_ok(o->fill_size) || !ring_size_ok(o->comp_size)))
		return -EINVAL;
	if (o->zerocopy)
		o->tx_csum = false; /* a driver that cannot would ignore the request silently */
	*x = (struct xsk){.queue = o->queue};
	x->fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);
	if (x->fd < 0)
		return -errno;
	r = share ? 0 : register_umem(x->fd, u, o);
	if (!r)
		r = make_rings(x->fd, o, uq);
	if (!r)
		r = get_offsets(x->fd, &off);
	if (!r)
		r = map_rx_tx(x, &off, o->rx_size, o->tx_size);
	if (!r)
		r = bind_queue(x->fd, o, share);
	if (!r && uq)
		r = map_fill_comp(x->fd, &off, uq, o->queue, o->fill_size, o->comp_size);
	if (r < 0)
		xsk_close(x);
	return r;
}

int xsk_attach(struct xsk *x, int fd, uint32_t queue, uint32_t rx_size, uint32_t tx_size,
	       uint32_t fill_size, uint32_t comp_size, struct umem_queue *uq)
{
	struct xdp_mmap_offsets off;
	int r;

	if (!ring_size_ok(rx_size) || !ring_size_ok(tx_size) || !ring_size_ok(fill_size) ||
	    !ring_size_ok(comp_size))
		return -EINVAL;
	*x = (struct xsk){.fd = fd, .queue = queue};
	r = get_offsets(fd, &off);
	if (!r)
		r = map_rx_tx(x, &off, rx_size, tx_size);
	if (r < 0)
		return r;
	r = map_fill_comp(fd, &off, uq, queue, fill_size, comp_size);
	if (r < 0)
		unmap_rx_tx(x);
	return r;
}

void xsk_close(struct xsk *x)
{
	unmap_rx_tx(x);
	if (x->fd >= 0)
		close(x->fd);
	x->fd = -1;
}

static int cut_map(void *map, size_t len)
{
	if (map && mmap(map, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED,
			-1, 0) == MAP_FAILED)
		return -errno;
	return 0;
}

int xsk_cut(struct xsk *x, struct umem_queue *uq)
{
	int err = cut_map(x->rx_map, x->rx_map_len);

	if (!err)
		err = cut_map(x->tx_map, x->tx_map_len);
	if (!err)
		err = cut_map(uq->fill_map, uq->fill_map_len);
	if (!err)
		err = cut_map(uq->comp_map, uq->comp_map_len);
	x->rx.cached_prod = x->rx.cached_cons = 0;
	x->tx.cached_prod = 0;
	x->tx.cached_cons = x->tx.size;
	x->tx_outstanding = 0;
	if (x->fd >= 0)
		close(x->fd);
	x->fd = -1;
	return err;
}

/* ---- use ---- */

static uint32_t ring_frames(const struct xdp_desc *ring, uint32_t mask, uint32_t from, uint32_t n,
			    const struct umem *u, uint32_t *out, uint32_t max)
{
	uint32_t k = 0;

	if (n > mask + 1)
		return 0;
	for (uint32_t i = 0; i < n && k < max; i++) {
		uint64_t addr = READ_ONCE(ring[(from + i) & mask].addr);

		if (addr < u->size)
			out[k++] = umem_frame_of(addr);
	}
	return k;
}

uint32_t xsk_unread_frames(const struct xsk *x, const struct umem *u, uint32_t *out, uint32_t max)
{
	uint32_t from = READ_ONCE(*x->rx.consumer), k;

	k = ring_frames(x->rx.ring, x->rx.mask, from, load_acquire(x->rx.producer) - from, u, out,
			max);
	from = READ_ONCE(*x->tx.consumer);
	return k + ring_frames(x->tx.ring, x->tx.mask, from, load_acquire(x->tx.producer) - from, u,
			       out + k, max - k);
}

static void spare_descs(const struct xdp_desc *ring, uint32_t mask, uint32_t from, uint32_t n,
			struct frame_set *s)
{
	for (uint32_t i = 0; n <= mask + 1 && i < n; i++)
		frame_set_del(s, READ_ONCE(ring[(from + i) & mask].addr));
}

void xsk_spare(const struct xsk *x, struct frame_set *s)
{
	uint32_t from = READ_ONCE(*x->rx.consumer);

	spare_descs(x->rx.ring, x->rx.mask, from, load_acquire(x->rx.producer) - from, s);
	/* And the one that its owner may be about to publish. */
	from = READ_ONCE(*x->tx.consumer);
	spare_descs(x->tx.ring, x->tx.mask, from, load_acquire(x->tx.producer) - from, s);
	spare_descs(x->tx.ring, x->tx.mask, load_acquire(x->tx.producer), 1, s);
}

uint32_t xsk_unsent(const struct xsk *x)
{
	return READ_ONCE(*x->tx.producer) - load_acquire(x->tx.consumer);
}

int xsk_by_write(struct xsk *x)
{
	int flags = fcntl(x->fd, F_GETFL);

	/* The kernel sends without waiting only (xsk_sendmsg()). */
	if (flags < 0 || fcntl(x->fd, F_SETFL, flags | O_NONBLOCK) < 0)
		return -errno;
	x->by_write = true;
	return 0;
}

static int send_all(const struct xsk *x)
{
	ssize_t r =
		x->by_write ? write(x->fd, NULL, 0) : sendto(x->fd, NULL, 0, MSG_DONTWAIT, NULL, 0);

	return r < 0 ? -errno : 0;
}

int xsk_push(const struct xsk *x)
{
	uint32_t left = xsk_unsent(x), tries = x->tx.size / KERNEL_TX_BATCH + 2, idle = 0;

	while (left && tries--) {
		uint32_t before = left;
		int r = 0;

		if (xsk_ring_prod__needs_wakeup(&x->tx))
			r = send_all(x);
		left = xsk_unsent(x);
		if (r && r != -EAGAIN && r != -EBUSY && r != -ENOBUFS && r != -EINTR)
			return r;
		/* No room in the completion ring or the send buffer: more of the same will not
		 * help. */
		if (left == before && ++idle == 2)
			break;
	}
	return left ? -EAGAIN : 0;
}

int xsk_kick(struct xsk *x)
{
	int err = xsk_push(x);

	x->tx_outstanding = xsk_unsent(x);
	return err;
}
