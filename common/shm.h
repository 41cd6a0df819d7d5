/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that the daemon shares with applications: the arena (TCBs, buffer
 * chunks, listener counters), the message rings between the daemon and one
 * application, and the table of who owns which UMEM frame.
 *
 * Trust: the other side can write any of this at any time. A reader takes each
 * value once (READ_ONCE), checks it, and uses its own copy. Sizes and offsets
 * come from the control socket's reply and the reader's own bookkeeping,
 * never from the shared memory itself.
 */
#ifndef TANDEM_COMMON_SHM_H
#define TANDEM_COMMON_SHM_H

#include <stdint.h>
#include <stdbool.h>
#include <string.h>
#include "addr.h"

#define READ_ONCE(x) (*(const volatile __typeof__(x) *)&(x))
#define WRITE_ONCE(x, v) (*(volatile __typeof__(x) *)&(x) = (v))
#define load_acquire(p) __atomic_load_n((p), __ATOMIC_ACQUIRE)
#define store_release(p, v) __atomic_store_n((p), (v), __ATOMIC_RELEASE)

#define SHM_NIL 0xffffffffu /* "no index" in every list */

/* ---- Single-producer, single-consumer ring of fixed-size messages ---- */

/*
 * .head and .tail run freely, modulo 2^32; the entry of index i is at i & (size-1).
 * .sleeping: the consumer sets it before it sleeps and looks at the ring once more
 * after that; a producer that finds it set clears it and writes the consumer's doorbell.
 */
struct shm_ring_hdr {
	uint32_t tail; /* written by the producer */
	uint32_t pad0[15];
	uint32_t head; /* written by the consumer */
	uint32_t sleeping;
	uint32_t pad1[14];
};
_Static_assert(sizeof(struct shm_ring_hdr) == 128, "two cache lines");

enum shm_op {
	/* daemon -> application */
	SHM_CONN_NEW =
		1, /* a connection for listener .listener: import .conn of the daemon's arena */
	SHM_CONN_OPENED = 2, /* connect() .cookie succeeded: import .conn */
	SHM_CONN_FAILED = 3, /* connect() .cookie failed with .error */
	SHM_CONN_TAKEN = 4,  /* the daemon has imported .conn of your arena: free it */
	SHM_CONN_ICMP =
		5, /* soft ICMP error .error about your .conn; "too big" is injected whole */
	SHM_LINK =
		6, /* interface .listener has changed: MTU .flags, MAC .remote.b, CTL_REG_* .conn */
	SHM_CONN_RECALL = 7, /* another process wants your .conn .generation: SHM_CONN_GIVE it */
	SHM_LISTEN_NONE = 8, /* to SHM_LISTEN_WANT: nothing is waiting */
	/* SYNs for listener .listener come to you (.flags SHM_FRONT_*), or to the daemon (0) from
	   here on */
	SHM_LISTEN_FRONT = 9,
	SHM_WAY = 10, /* your .conn .generation leaves by interface .listener, neighbour .new_conn
			 .new_generation */
	/* application -> daemon */
	/*
	 * open .local:.local_port -> .remote:.remote_port, .cookie is yours; .flags: congestion
	 * control, index + 1, 0: default What else the SYN depends on, 0: not set, stands where
	 * other messages name connections: .user_timeout .rcvbuf .user_mss .ttl .tos .syncnt
	 */
	SHM_CONNECT = 16,
	/* struct shm_data_msg: text for the SYN of the SHM_CONNECT that follows, in pieces */
	SHM_CONNECT_DATA = 24,
	/* .conn .generation (of my arena), which came by fast open: the handshake is complete */
	SHM_CONN_CONFIRMED = 25,
	/*
	 * .conn .generation (of my arena), between these ends, came by my own listener .listener
	 * and lives; .flags: SHM_MINE_WAITING
	 */
	SHM_CONN_MINE = 27,
	SHM_CONNECT_CANCEL = 17, /* forget .cookie */
	SHM_CONN_GIVE = 18,	 /* take .conn of my arena (closed, or left at exit) */
	/*
	 * .error 0: I have imported .conn of your arena as .new_conn: free yours. Else a positive
	 * errno: I have not and will not; reset it.
	 */
	SHM_CONN_ACK = 19,
	/* .conn .generation (of my arena) has ended here, by reset or timeout: drop its flow entry
	 */
	SHM_CONN_GONE = 20,
	SHM_RESOLVE = 21, /* datagrams go to .remote: find or probe the neighbour on the way */
	/* nothing comes back from .remote for .conn .generation (of my arena): SHM_WAY */
	SHM_DOUBT = 28,
	/* accept() is called for shared .listener, whatever its .want says: one connection, or NONE
	 */
	SHM_LISTEN_WANT = 22,
	/* shared .listener is used by this process from here on, in this way; .flags: SHM_USE_* */
	SHM_LISTEN_USE = 29,
	/* as CTL_TAKE with .cookie; .listener: the id in the reply to an earlier one */
	SHM_CONN_WANT = 26,
};

/*
 * SHM_CONN_GIVE, .flags: not closed. It is a shared socket's, or is in the accept queue of a shared
 * listener; other processes go on with it.
 */
#define SHM_GIVE_KEEP 1u
/* SHM_LISTEN_USE, .flags: my own stack can answer its SYNs, as CTL_LISTEN_LOCAL. */
#define SHM_USE_LOCAL 1u
/*
 * All who wait for it here do so by epoll, and accept soon: this process may have a part of its SYNs
 * where other processes use it, too. Who blocks in accept() is busy with one connection after that.
 */
#define SHM_USE_EVENTS 2u
/* SHM_LISTEN_FRONT, .flags: SYNs of its pairs come to you; all of the port that has no flow entry does. */
#define SHM_FRONT_SYNS 1u
#define SHM_FRONT_ALONE 2u
#define SHM_FRONT_SHARED 4u /* others use this socket, too: what you do not accept soon is for them */
/* SHM_CONN_MINE, .flags: not accepted yet; counts as sent, in shm_listener.accepted at accept(). */
#define SHM_MINE_WAITING 1u

struct shm_msg {
	uint32_t op; /* enum shm_op */
	union {
		uint32_t conn;
		uint32_t user_timeout;
	};
	union {
		uint32_t generation;
		uint32_t rcvbuf;
	};
	uint32_t listener; /* listener id from the control socket's reply */
	uint64_t cookie;
	int32_t error; /* positive errno */
	uint32_t flags;
	struct ip_addr local;
	struct ip_addr remote;
	uint16_t local_port; /* network order; 0: the daemon picks */
	uint16_t remote_port;
	union {
		uint32_t new_conn; /* SHM_CONN_ACK: the index in the application's own arena */
		struct {
			uint16_t user_mss;
			uint8_t ttl, tos;
		};
	};
	union {
		uint32_t new_generation;
		struct {
			uint8_t syncnt;
			uint8_t fastopen; /* ask for, or use, a fast open cookie */
		};
	};
	uint8_t pad[4];
};
_Static_assert(sizeof(struct shm_msg) == 80, "shm_msg");

struct shm_data_msg {
	uint32_t op; /* SHM_CONNECT_DATA */
	uint32_t len;
	uint8_t data[72];
};
_Static_assert(sizeof(struct shm_data_msg) == sizeof(struct shm_msg), "one entry of the ring");
#define SHM_CONNECT_DATA_MAX 1420u /* what a SYN takes, with all its options */

/* A UMEM frame handed to the other side, one descriptor of a packet. */
struct shm_pkt {
	uint64_t addr; /* offset in the UMEM; the pkt_meta is in front of it */
	uint32_t len;
	uint32_t flags; /* SHM_PKT_*; SHM_PKT_MORE: the packet goes on in the next entry */
};
#define SHM_PKT_MORE 1u
#define SHM_PKT_AGAIN 2u /* who passes it on has it from another stack, not from the wire */
#define SHM_PKT_YOURS 4u /* to an application: a SYN, and no record of its pair is left */
/* Where it came in: the queue, among all interfaces'. */
#define SHM_PKT_QUEUE(q) ((q) << 8)
#define SHM_PKT_QUEUE_OF(flags) ((flags) >> 8)

#define SHM_MSG_RING 1024u
#define SHM_PKT_RING 1024u

struct shm_msg_ring {
	struct shm_ring_hdr hdr;
	struct shm_msg e[SHM_MSG_RING];
};

struct shm_pkt_ring {
	struct shm_ring_hdr hdr;
	struct shm_pkt e[SHM_PKT_RING];
};

/* Entries that may be written now, by the producer (@size: entries in the ring). */
static inline uint32_t shm_ring_room(const struct shm_ring_hdr *h, uint32_t size)
{
	uint32_t used = h->tail - load_acquire(&h->head);

	return used > size ? 0 : size - used;
}

/* Entries that may be read now, by the consumer; never more than @size. */
static inline uint32_t shm_ring_avail(const struct shm_ring_hdr *h, uint32_t size)
{
	uint32_t n = load_acquire(&h->tail) - h->head;

	return n > size ? size : n;
}

/* True once: the consumer sleeps and its doorbell has to be rung. Call after publishing. */
static inline bool shm_ring_must_wake(struct shm_ring_hdr *h)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!READ_ONCE(h->sleeping))
		return false;
	return __atomic_exchange_n(&h->sleeping, 0, __ATOMIC_ACQ_REL) != 0;
}

static inline bool shm_msg_push(struct shm_msg_ring *r, const struct shm_msg *m)
{
	if (!shm_ring_room(&r->hdr, SHM_MSG_RING))
		return false;
	r->e[r->hdr.tail & (SHM_MSG_RING - 1)] = *m;
	store_release(&r->hdr.tail, r->hdr.tail + 1);
	return true;
}

static inline bool shm_msg_pop(struct shm_msg_ring *r, struct shm_msg *m)
{
	if (!shm_ring_avail(&r->hdr, SHM_MSG_RING))
		return false;
	memcpy(m, (const void *)&r->e[r->hdr.head & (SHM_MSG_RING - 1)], sizeof(*m));
	store_release(&r->hdr.head, r->hdr.head + 1);
	return true;
}

/* ---- Arena ---- */

/*
 * Buffer memory comes in chunks; a chunk is in one list at a time. The headers
 * stand apart from the data, which so stays page-aligned. `seq` is the sequence
 * number of the first byte, for chunks in the out-of-order and send queues.
 */
#define CHUNK_SIZE 4096u

struct chunk_hdr {
	uint32_t next; /* SHM_NIL: last */
	uint32_t seq;
	uint16_t off;	/* first valid byte */
	uint16_t len;	/* valid bytes from .off */
	uint32_t stamp; /* out-of-order queue: grows with each arrival (order of SACK blocks) */
	uint32_t skip;	/* out-of-order queue: up to this one no hole, a cache; SHM_NIL: not known */
};
_Static_assert(sizeof(struct chunk_hdr) == 20, "chunk_hdr");

/*
 * One for each listener id of an application, so that accept() costs no message. What a listener
 * that several processes share is sent depends on .want: the application sets it while a thread
 * waits for a connection, then looks at .pending; the daemon writes .pending, then looks at .want.
 */
struct shm_listener {
	uint32_t accepted; /* connections taken by accept() so far; the application adds */
	uint32_t want;	   /* shared: send me connections; the application's */
	uint32_t pending;  /* shared: so many wait for somebody who wants them; the daemon's */
	uint32_t queued;   /* that came by the application's own listener, and wait for accept() */
};
#define SHM_MAX_LISTENERS 4096u

/*
 * An arena is one memfd: this header, then at the offsets that the control
 * socket's reply names: rings, listeners, counters, TCBs, chunk headers, chunks.
 * It is sparse: memory is used only where it was touched.
 */
#define ARENA_MAGIC 0x74644152u
#define ARENA_VERSION 2u

struct arena_hdr {
	uint32_t magic;
	uint32_t version;
	uint32_t slot;
	/*
	 * The daemon's own arena: changes with the interface, its addresses and its routes; what an
	 * application has concluded from these is out of date then.
	 */
	uint32_t routes_seq;
	uint64_t keeper_runs; /* times that the keeper thread had to run the engine */
	uint32_t n_born;      /* TCBs from this index on never had a connection of TCB_BORN_HERE */
	uint32_t n_tws_used;  /* TIME_WAIT records from this index on were never used */
	uint32_t n_synreqs_used; /* half-open requests, likewise */
	uint32_t pad;
};

struct arena_layout {
	uint64_t size;
	uint64_t to_daemon;	 /* struct shm_msg_ring */
	uint64_t to_app;	 /* struct shm_msg_ring */
	uint64_t pkts_to_daemon; /* struct shm_pkt_ring */
	uint64_t pkts_to_app;	 /* struct shm_pkt_ring */
	uint64_t listeners;	 /* struct shm_listener[SHM_MAX_LISTENERS] */
	uint64_t mib;		 /* uint64_t[MIB_MAX] */
	uint64_t neighs;	 /* struct neigh[n_neighs], read by applications */
	uint64_t tcbs;		 /* struct tcb[n_tcbs], struct tcb_work[n_tcbs] */
	uint64_t chunk_hdrs;	 /* struct chunk_hdr[n_chunks] */
	uint64_t chunks;	 /* CHUNK_SIZE * n_chunks */
	uint64_t tws;		 /* struct timewait[n_tws], an application's */
	uint64_t synreqs;	 /* struct synreq[n_synreqs], an application's */
	uint32_t n_tcbs;
	uint32_t n_chunks;
	uint32_t n_neighs;
	uint32_t n_tws;
	uint32_t n_synreqs;
	uint32_t tcb_size; /* sizeof(struct tcb) of the builder: must equal the user's */
};

/* ---- UMEM frames and their owners ---- */

#define UMEM_FRAME_SIZE 4096u
/* What the kernel leaves free in front of a received packet; ours for transmit, too. */
#define UMEM_HEADROOM 256u

/*
 * State in the low byte, slot of the process in the upper 16 bits. Between them how often the
 * daemon's search for lost frames has met it like this: whoever writes the entry makes that 0.
 */
enum frame_state {
	FRAME_POOL = 0, /* in the shared pool */
	FRAME_FILL,	/* with the kernel for receive: fill ring, or an RX ring not yet read */
	FRAME_TX,	/* with the kernel for transmit; slot: who sent it */
	FRAME_OWNED,	/* slot's own: being read, being built, or in its cache */
	FRAME_INJECTED, /* in an injection ring, on the way to slot, which has not taken it yet */
};
#define FRAME_OWNER(state, slot) ((uint32_t)(state) | (uint32_t)(slot) << 16)
#define FRAME_STATE(v) ((v) & 0xffu)
#define FRAME_AGE(v) ((v) >> 8 & 0xffu)
#define FRAME_AGE_ONE 0x100u
#define FRAME_SLOT(v) ((v) >> 16)

#endif
