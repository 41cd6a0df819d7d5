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
#include "common/shm.h"

enum rec_state {
	REC_FREE = 0,
	REC_OPENING,  /* connect() is under way; .conn is ours */
	REC_READY,    /* established, waits for room in its application's ring; .conn is ours */
	REC_OFFERED,  /* exported, named in a message; .conn is ours, frozen */
	REC_TAKEN,    /* the application's; .conn is in its arena */
	REC_ORPHAN,   /* back, being finished; .conn is ours */
	REC_TIMEWAIT, /* only a TIME_WAIT record of the stack's is left */
};

struct rec {
	struct flow_key key;
	uint32_t hash_next;
	uint32_t next, prev; /* in one of its application's lists */
	uint32_t conn;	     /* TCB index in the arena of who has it */
	uint32_t generation; /* of that index */
	uint16_t slot;	     /* whose it is, or is to be; TD_SLOT_DAEMON: nobody's */
	uint8_t state;	     /* enum rec_state */
	uint8_t flags;	     /* REC_F_* */
	union {
		uint64_t cookie;   /* active: names the socket to its application */
		uint32_t listener; /* passive: the application's listener id */
	};
};
_Static_assert(sizeof(struct rec) == 72, "one for each connection");
#define REC_F_FLOW 1u	/* there is an entry in `flows` */
#define REC_F_ACTIVE 2u /* by connect() */

struct recs {
	struct rec *r;	   /* [max], pages are touched as they are needed */
	uint32_t *buckets; /* index + 1; a power of two */
	uint32_t mask;
	uint32_t max, used, free; /* .used: high-water mark; .free: a list */
	uint32_t n;
	uint64_t key[2];
};

int recs_init(struct recs *t, uint32_t max, const uint64_t key[2]);
void recs_free(struct recs *t);
/* SHM_NIL: none. */
uint32_t recs_find(const struct recs *t, const struct flow_key *k);
/* A new record, zeroed but for .key, in no list; the key must not be there. SHM_NIL: full. */
uint32_t recs_add(struct recs *t, const struct flow_key *k);
void recs_del(struct recs *t, uint32_t i);
/* Keyed, so that nobody outside can aim at one bucket; also spreads connections over listeners. */
uint64_t recs_hash(const struct recs *t, const struct flow_key *k);

/* Lists are circular; the head is an index or SHM_NIL. New ones go to the end. */
void rec_list_add(struct recs *t, uint32_t *head, uint32_t i);
void rec_list_del(struct recs *t, uint32_t *head, uint32_t i);

#endif
