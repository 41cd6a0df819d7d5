/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A port: all that one process (daemon or application) needs to move packets between a
 * stack and its interfaces: its AF_XDP sockets on every queue, its frame cache, the pool of
 * packets that the stack sends from, the segmentation-offload senders, and the injection
 * rings to the other side. Queues are numbered over all interfaces; a packet's .queue is that
 * of its .netif, from 0 on.
 */
#ifndef TANDEM_IO_PORT_H
#define TANDEM_IO_PORT_H

#include "user/core/stack.h"
#include "xsk.h"

/* One interface: netif 0 of the stack is the first one. */
struct port_if {
	uint32_t n_queues;
	bool partial_csum; /* inbound checksums may be partial (veth, lo) */
	bool tx_csum;	   /* the kernel completes outbound checksums */
	int gso_fd;	   /* packet socket with PACKET_VNET_HDR, or -1 */
};

struct port_cfg {
	struct umem *umem;
	struct xsk *xsks;	/* of all queues, in the order of interfaces */
	struct umem_queue *uqs; /* the same */
	uint32_t fill_target;
	struct port_if ifs[TD_MAX_NETIFS];
	uint32_t n_ifs;
	struct shm_pkt_ring *inject_in; /* packets for us from the other side, or NULL */
	struct mtime (*clock)(void);	/* clock_now(), or a test's */
};

struct port; /* opaque */

struct port_stats {
	uint64_t rx_packets, rx_bytes, tx_packets, tx_bytes, tx_full, bad_desc, injected_in,
		injected_out, kicks, gso_packets;
	uint64_t gso_drops; /* the kernel had no room for it */
	uint64_t tx_drops;  /* packets that cannot be sent from here at all */
};

/* UMEM, sockets and queues outlive the port. -errno */
int port_open(struct port **out, const struct port_cfg *cfg);
/* Frames in hand go back to the pool; the sockets stay the caller's. */
void port_close(struct port *p);

/* Before a sleep: gives back what it does not need, where memory is short. */
void port_rest(struct port *p);
/* The pool to give to stack_init(). port_fill_pool() refills it from the frame cache. */
struct pkt_pool *port_pool(struct port *p);

/*
 * Receives up to @budget packets (injected ones first) into @s. A packet for which the stack
 * says DROP_STALE_FLOW is shown to @stale before its frames are freed; it returns true when it
 * has passed the frames on (port_inject()). Returns packets taken. @now moves on to when they were
 * found: by a clock read before, by a thread that loses its CPU then, an ACK comes before its time,
 * and the least round trip is wrong.
 */
typedef bool (*port_stale_fn)(void *ctx, struct pkt *p);
uint32_t port_rx(struct port *p, struct stack *s, uint32_t budget, struct mtime *now,
		 port_stale_fn stale, void *ctx);
/*
 * The same for one more injection ring: the daemon has one from each application. A packet's
 * .conn is TD_NO_CONN then: the metadata's is of the sender's arena.
 */
uint32_t port_rx_ring(struct port *p, struct shm_pkt_ring *ring, struct stack *s, uint32_t budget,
		      struct mtime *now, port_stale_fn stale, void *ctx);
/*
 * After the death of @ring's producer: takes and drops all frames that it gave to us there, those
 * included that it was killed over. Before umem_reclaim() of its slot.
 */
void port_rescue_ring(struct port *p, struct shm_pkt_ring *ring);
/* No packet comes or goes from here on: the sockets are closed (xsk_cut()). -errno */
int port_cut(struct port *p);
/* Takes away the frames that are @p's in truth: in its cache, in packets. NULL has none. */
void port_spare(const struct port *p, struct frame_set *s);
/*
 * Shown each whole packet before the stack sees it. PORT_TAKEN: port_inject() has passed the
 * frames on; PORT_DROPPED: it goes no further. It may change .conn and .generation.
 */
enum port_verdict { PORT_TO_STACK, PORT_TAKEN, PORT_DROPPED };
typedef enum port_verdict (*port_filter_fn)(void *ctx, struct pkt *p);
void port_set_filter(struct port *p, port_filter_fn fn, void *ctx);
/* Anything to receive, by a look at the rings? No system call. */
bool port_rx_pending(const struct port *p);
/* Sends all that the stack has, one system call per batch and queue. Returns packets sent. */
uint32_t port_tx(struct port *p, struct stack *s, struct mtime now);
/*
 * Between two packets, where answers pile up (stack_replies_due()): puts them into the rings, which wait for
 * the next port_tx(). port_rx() and port_rx_ring() call it themselves.
 */
void port_tx_replies(struct port *p, struct stack *s);
/* Is something left that port_tx() could not send, the kernel having no room? Try again soon. */
bool port_tx_pending(const struct port *p);
/*
 * Where several threads take turns at a port: port_tx() leaves the last system call of each queue,
 * within which packets may go all the way to their receiver, to a call of port_kick(), which needs no
 * lock, and adds the queues that are owed it to *@kicks (a bit for each). NULL: it makes the call.
 */
void port_kick_later(struct port *p, uint64_t *kicks);
/*
 * @p must stay. -EAGAIN: not all is sent; port_kick_left(), which needs the lock, has another try. Where
 * another thread is at it this one does not wait: the other looks again before it goes.
 */
int port_kick(struct port *p, uint64_t kicks);
void port_kick_left(struct port *p, uint64_t kicks);
/*
 * Gives the frames of @pk (received by port_rx(), within its callback) to slot @slot through @ring.
 * False: no room, the packet is still ours. The doorbell is the caller's (shm_ring_must_wake()).
 */
bool port_inject(struct port *p, struct pkt *pk, struct shm_pkt_ring *ring, uint16_t slot);
/*
 * The same for a packet that stands elsewhere, which is copied, with @eth (14 bytes) in front of
 * its network header. False: no room or no frames.
 */
bool port_inject_copy(struct port *p, const struct pkt *pk, const uint8_t *eth,
		      struct shm_pkt_ring *ring, uint16_t slot);
/* Descriptors to sleep on: writes up to @max fds, returns how many. */
uint32_t port_fds(const struct port *p, int *fds, uint32_t max);
/*
 * Frames in its hands between two calls: cache, packets in parts, what the stack builds in. Others that the
 * owner table says are this process's are lost.
 */
uint32_t port_frames(const struct port *p);
/*
 * System calls that are forbidden to this process from here on, by a seccomp filter: write()
 * takes their place, and others look after the dead (shlock_id.blind). Before the filter is there.
 * -errno
 */
#define PORT_NO_SENDTO 1u
#define PORT_NO_SENDMSG 2u
#define PORT_NO_FCNTL 4u
int port_confine(struct port *p, unsigned forbidden);
const struct port_stats *port_stats(const struct port *p);
/*
 * A packet socket for .gso_fd, on @ifindex (CAP_NET_RAW). It can be passed to a process without
 * privileges: it never receives anything. Descriptor or -errno.
 */
int port_gso_open(int ifindex);

#endif
