/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * AF_XDP sockets: creating them (daemon, privileged) and mapping the rings of one that was
 * created elsewhere (application, no privilege). Ring access is libxdp's inline functions.
 */
#ifndef TANDEM_IO_XSK_H
#define TANDEM_IO_XSK_H

#include "umem.h"

struct xsk {
	int fd;
	uint32_t queue;
	struct xsk_ring_cons rx;
	struct xsk_ring_prod tx;
	void *rx_map, *tx_map;
	size_t rx_map_len, tx_map_len;
	uint32_t tx_outstanding; /* submitted, and nobody has kicked or is about to */
	uint32_t kicking;	 /* a thread is within port_kick(); atomic */
	bool by_write;		 /* write() in place of sendto(): xsk_by_write() */
};

struct xsk_opts {
	int ifindex;
	uint32_t queue;
	uint32_t rx_size, tx_size;     /* powers of two */
	uint32_t fill_size, comp_size; /* only for the first socket of a queue */
	bool zerocopy;		       /* require XDP_ZEROCOPY, else XDP_COPY */
	bool sg;		       /* XDP_USE_SG: packets of several descriptors */
	bool tx_csum;		       /* in: try transmit metadata; see umem_reg */
};

/*
 * The first socket of the first queue registers the UMEM (@first true); the first one of any
 * other queue creates that queue's fill and completion rings on the same UMEM
 * (@share: a socket that has it, *@uq is filled in); further ones of a queue share its rings
 * (@share on the same queue, @uq NULL). EBUSY is retried for up to two seconds, as the kernel
 * releases a queue late. @tx_csum is cleared where the kernel cannot complete checksums.
 */
int xsk_create(struct xsk *x, struct umem *u, struct xsk_opts *o, const struct xsk *share,
	       struct umem_queue *uq);
/* Maps the rings of @fd (kept open by the caller on failure), fill and completion rings included.
 */
int xsk_attach(struct xsk *x, int fd, uint32_t queue, uint32_t rx_size, uint32_t tx_size,
	       uint32_t fill_size, uint32_t comp_size, struct umem_queue *uq);
void xsk_close(struct xsk *x);
/*
 * Lets go of the socket and of the rings of its queue, in whose places there is memory that nobody
 * else has: they stay as they are after this, and kick() does nothing. -errno.
 */
int xsk_cut(struct xsk *x, struct umem_queue *uq);
/* The kernel keeps the socket whose fill and completion rings these are until they are unmapped. */
void umem_queue_unmap(struct umem_queue *uq);

/* Frames that stand unread in the RX ring, unsent in the TX ring; into @out, at most @max. */
uint32_t xsk_unread_frames(const struct xsk *x, const struct umem *u, uint32_t *out, uint32_t max);

/* Takes away what stands unread in the RX ring, or unsent in the TX ring: also if not published. */
void xsk_spare(const struct xsk *x, struct frame_set *s);

/* One sendto() for all that was submitted, repeated while the kernel takes only part of it. */
int xsk_kick(struct xsk *x);
/*
 * The same without a note of what is left. May run while another thread submits more, or does the
 * same. -EAGAIN: the kernel did not take all.
 */
int xsk_push(const struct xsk *x);
/* Submitted, and not taken by the kernel. */
uint32_t xsk_unsent(const struct xsk *x);
/* sendto() is forbidden to this process (seccomp). -errno */
int xsk_by_write(struct xsk *x);

/* Transmit metadata as newer kernels define it (struct xsk_tx_metadata), for checksums. */
#define XSK_TX_META_LEN 24u

#endif
