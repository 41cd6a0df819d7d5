/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The daemon's own record of each connection that it has a hand in: opened for an application,
 * handed to one, or taken back from one. Private memory, found by the 4-tuple: what an
 * application writes into its arena is never needed to clean up after it.
 */
#ifndef TANDEM_DAEMON_RECS_H
#define TANDEM_DAEMON_RECS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/flow.h"
#include "common/linhash.h"
#include "common/shm.h"

enum rec_state {
	REC_FREE = 0,
	REC_OPENING,  /* connect() is under way; .conn is ours */
	REC_READY,    /* established, waits for room in its application's ring; .conn is ours */
	REC_OFFERED,  /* exported, named in a message; .conn is ours, frozen */
	REC_TAKEN,    /* the application's; .conn is in its arena */
	REC_ORPHAN,   /* back, being finished; .conn is ours */
	REC_HELD,     /* in our stack, alive, until a process takes it (share.c); .conn is ours */
	REC_TIMEWAIT, /* only a TIME_WAIT record of the stack's is left */
};

/* One for each connection: 32-bit words throughout, so that there is no padding. */
struct rec {
	/* The key, for IPv4; else in recs.wide. rec_key() knows. */
	uint32_t remote, local;
	uint16_t remote_port, local_port;
	uint32_t hash_next;
	uint32_t next, prev; /* in one of its application's lists */
	uint32_t conn;	     /* TCB index in the arena of who has it */
	uint32_t generation; /* of that index */
	uint16_t slot;	     /* whose it is, or is to be; TD_SLOT_DAEMON: nobody's */
	/* All in one word; .proto is of those that have ports. */
	uint16_t proto : 5;
	uint16_t state : 4; /* enum rec_state */
	uint16_t flags : 7; /* REC_F_* */
	uint32_t name[2];   /* rec_cookie(), rec_listener(), rec_share() */
};
_Static_assert(sizeof(struct rec) == 44, "one for each connection");
#define REC_F_FLOW 1u	 /* there is an entry in `flows` */
#define REC_F_ACTIVE 2u	 /* by connect() */
#define REC_F_WIDE 4u	 /* not IPv4 */
#define REC_F_SLOW 8u	 /* the entry in `flows` says slot 0 */
#define REC_F_VIA 16u	 /* came by a shared listener, and goes back to it if it is not accepted */
#define REC_F_SHARED 32u /* is itself shared; neither ACTIVE nor VIA then */
#define REC_F_FASTOPEN 64u /* counts against its listener's TCP_FASTOPEN (dispatch_confirmed()) */

/* Active: names the socket to its application. */
static inline uint64_t rec_cookie(const struct rec *r)
{
	return (uint64_t)r->name[1] << 32 | r->name[0];
}

static inline void rec_set_cookie(struct rec *r, uint64_t cookie)
{
	r->name[0] = (uint32_t)cookie;
	r->name[1] = (uint32_t)(cookie >> 32);
}

/* Passive: the application's listener id. */
static inline uint32_t rec_listener(const struct rec *r)
{
	return r->name[0];
}

/* VIA, SHARED: that share's id. */
static inline uint32_t rec_share(const struct rec *r)
{
	return r->name[1];
}

static inline void rec_set_share(struct rec *r, uint32_t id)
{
	r->name[1] = id;
}

struct rec_addrs {
	struct ip_addr remote, local;
};

struct recs {
	struct rec *r;		/* [max], like all of these touched as needed */
	struct rec_addrs *wide; /* [max], of those with REC_F_WIDE */
	uint32_t *buckets;	/* [max_buckets]: index + 1 */
	uint32_t max_buckets;
	struct linhash hash;
	uint32_t max, used, free; /* .used: high-water mark; .free: a list */
	uint32_t n;
	uint64_t key[2];
};

int recs_init(struct recs *t, uint32_t max, const uint64_t key[2]);
void recs_free(struct recs *t);
struct flow_key rec_key(const struct recs *t, uint32_t i);
/* SHM_NIL: none. */
uint32_t recs_find(const struct recs *t, const struct flow_key *k);
/* A new record, zeroed but for its key, in no list; the key must not be there. SHM_NIL: full. */
uint32_t recs_add(struct recs *t, const struct flow_key *k);
void recs_del(struct recs *t, uint32_t i);
/* Keyed, so that nobody outside can aim at one bucket; also spreads connections over listeners. */
uint64_t recs_hash(const struct recs *t, const struct flow_key *k);

/* Lists are circular; the head is an index or SHM_NIL. New ones go to the end. */
void rec_list_add(struct recs *t, uint32_t *head, uint32_t i);
void rec_list_del(struct recs *t, uint32_t *head, uint32_t i);

#endif
