/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Congestion control behind one const table (cc.c): what callers see, then what the algorithms
 * share.
 */
#ifndef TANDEM_CORE_CC_H
#define TANDEM_CORE_CC_H

#include "internal.h"

struct cc_ack {
	uint32_t acked;	    /* bytes newly acknowledged */
	uint32_t rtt_us;    /* 0: no sample */
	uint32_t in_flight; /* before this ACK */
	bool cwnd_limited;
	/* for control(): bytes that this ACK shows to have arrived, or to be lost, and are out now
	 */
	uint32_t delivered, lost, pipe;
	uint32_t delivered_seq; /* all that has arrived so far, as a sequence number */
	/*
	 * The rate of delivery (rate.c): so many bytes in so many µs, 0: no sample; what had been
	 * delivered when the newest of them was sent; whether the program had no more to send then.
	 */
	uint32_t sample_bytes, sample_us, prior_delivered;
	bool app_limited;
	struct rate *rate; /* NULL: no memory, or no scoreboard */
};
struct cc_ops {
	const char *name;
	bool needs_ecn; /* offers and accepts it whatever tcp_ecn says, ECT on every packet */
	/* Begins with cwnd and ssthresh as they stand: also after setsockopt() and a hand-over. */
	void (*init)(struct tcb *t, struct mtime now);
	void (*ack)(struct tcb *t, const struct cc_ack *a, struct mtime now);
	void (*loss)(struct tcb *t, uint32_t in_flight,
		     struct mtime now); /* enters recovery: ssthresh */
	void (*timeout)(struct tcb *t, uint32_t in_flight, struct mtime now);
	void (*idle)(struct tcb *t, struct mtime now); /* restart after idle (RFC 5681 §4.1) */
	/*
	 * The last loss() or timeout() was for nothing: cwnd and ssthresh, which were so before it,
	 * and all that followed from it are as if it had not been.
	 */
	void (*undo)(struct tcb *t, uint32_t prior_cwnd, uint32_t prior_ssthresh, struct mtime now);
	/*
	 * In place of ack(), for algorithms that set cwnd by themselves in every state: each ACK,
	 * and what it says about the rate of delivery. Loss recovery then chooses what is sent
	 * again, and leaves cwnd alone.
	 */
	void (*control)(struct tcb *t, const struct cc_ack *a, struct mtime now);
	/* Data goes out, and nothing was outstanding. */
	void (*start)(struct tcb *t, struct mtime now);
	uint64_t (*pacing_rate)(const struct tcb *t); /* bytes/s, 0: not paced */
	/* ssthresh for a window in which packets were marked; NULL: loss() */
	void (*ecn)(struct tcb *t, uint32_t in_flight, struct mtime now);
	/*
	 * Nothing is outstanding: may its record go? It is zero when there is one again. NULL: no.
	 * A record that must stay for the time being goes when an RTO has passed without data.
	 */
	bool (*rests)(const struct tcb *t);
	/* Each ACK, for @acked new bytes: did it tell of marks? */
	void (*marks)(struct tcb *t, uint32_t acked, bool ece);
};
#define CC_N 4u
extern const struct cc_ops *const cc_table[CC_N] __attribute__((visibility("hidden")));

/* An index that is none of ours (an imported TCB's) means the first. */
static inline const struct cc_ops *cc_get(uint8_t idx)
{
	return cc_table[idx < CC_N ? idx : 0];
}

/* For calls that work with the algorithm's record: sees to it that there is one. */
static inline const struct cc_ops *cc_of(struct stack *s, struct tcb *t)
{
	tcb_work_get(s, t);
	return cc_get(t->cc);
}

uint8_t cc_default(const struct stack *s); /* index of what the configuration says */
enum cc_state { CC_OPEN, CC_RECOVERY, CC_LOSS };
uint32_t cc_initial_window(uint32_t mss); /* RFC 6928 */

/* ---- the algorithms among themselves ---- */

extern const struct cc_ops cc_reno, cc_cubic, cc_bbr, cc_dctcp;

#define CC_CWND_MAX (1u << 30) /* the largest window that TCP can announce */

uint32_t cc_half_flight(const struct tcb *t, uint32_t in_flight);
uint32_t cc_slow_start(struct tcb *t, uint32_t acked);
void cc_restart_window(struct tcb *t, struct mtime now);
void cc_undo(struct tcb *t, uint32_t prior_cwnd, uint32_t prior_ssthresh, struct mtime now);

/* An algorithm's own record, in tcb_work.cc_priv; it is zero when it begins. */
#define CC_PRIV(t, type)                                                                           \
	({                                                                                         \
		_Static_assert(sizeof(type) <= sizeof(tcb_work(t)->cc_priv), #type " fits");       \
		(type *)(void *)tcb_work(t)->cc_priv;                                              \
	})

#define CC_FORGET(t) memset(tcb_work(t)->cc_priv, 0, sizeof(tcb_work(t)->cc_priv))

/* ssthresh before anything was lost: the initial slow start. */
#define CC_SSTHRESH_INIT ((uint32_t)INT32_MAX)

static inline uint32_t cc_ms(struct mtime now) /* wraps; never 0, which means none */
{
	uint32_t ms = (uint32_t)(now.ns / NS_PER_MS);

	return ms ? ms : 1;
}

static inline uint32_t cc_us(struct mtime now)
{
	return (uint32_t)(now.ns / NS_PER_US);
}

void cc_reno_ack(struct tcb *t, const struct cc_ack *a, struct mtime now);
void cc_reno_loss(struct tcb *t, uint32_t in_flight, struct mtime now);

/* DCTCP (RFC 8257) */
struct dctcp {
	uint64_t reno;	/* cc_reno.c's */
	uint32_t alpha; /* share of marked bytes, in 1/1024 */
	uint32_t round_end;
	uint32_t acked, marked; /* bytes in this round */
};

/* HyStart++ (RFC 9406) */
struct hystart {
	uint32_t window_end;	    /* the round ends when this is acknowledged */
	uint32_t last_min, cur_min; /* µs, of the last round and this one; 0: none yet */
	uint32_t css_base;	    /* cur_min when conservative slow start began; 0: it has not */
	uint16_t samples;
	uint8_t css_rounds;
	bool begun;
};

/* CUBIC (RFC 9438): windows in bytes, times in ms */
struct cubic {
	union {
		struct hystart hystart; /* before the first loss */
		struct {
			uint64_t w_est;	 /* what Reno would have, in 1/1024 byte (§4.3) */
			uint32_t epoch;	 /* when congestion avoidance began; 0: not in it */
			uint32_t k;	 /* ms from the epoch until the curve is back at w_max */
			uint32_t credit; /* growth not yet a whole segment, in bytes */
			uint32_t rest;	 /* since when cwnd has not been in use; 0: it is */
		};
	};
	uint32_t w_max; /* cwnd before the last reduction */
	/* before the last reduction, for undo */
	uint32_t prior_w_max, prior_epoch, prior_k;
	uint32_t prior_w_est;
};

#endif
