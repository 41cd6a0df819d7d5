/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The scoreboard of a connection with SACK: what is known of each byte between snd_una and
 * snd_max, as runs of bytes that were last sent at the same time and have the same fate. A packet
 * for segmentation offload is one run, which splits where the peer has only parts of it; so do
 * packets of one moment share a run, which says the same as one record for each would.
 *
 * It takes a chunk while something is outstanding, more of them where a large window has lost much,
 * and none otherwise. All that loss recovery knows beyond the TCB (RACK, PRR) lives and ends with
 * it. Without it (no SACK, no memory) the connection does New Reno; with it snd_nxt is always
 * snd_max.
 */
#ifndef TANDEM_CORE_BOARD_H
#define TANDEM_CORE_BOARD_H

#include "tcp.h"

#define SEG_SACKED 1u
#define SEG_LOST 2u   /* to be sent again; never together with SEG_SACKED */
#define SEG_AGAIN 4u  /* was sent more than once */
#define SEG_MERGED 8u /* .xmit is not all of its bytes': no round trip follows from it */

/* Packed, as their number bounds what can be told apart in a large window. */
struct seg_run {
	uint64_t xmit : 60; /* ns, of the last transmission */
	uint64_t flags : 4;
	uint32_t seq; /* ends where the next one begins */
} __attribute__((packed, aligned(4)));
_Static_assert(sizeof(struct seg_run) == 12, "a third more of them than with padding");

/*
 * What is needed to take back a reduction of cwnd that was for nothing (tcp_undo.c). It outlives
 * recovery, as duplicates are reported a round trip later.
 */
struct undo {
	uint32_t cwnd, ssthresh; /* before it; cwnd 0: nothing to take back */
	uint32_t una;		 /* snd_una then */
	uint32_t again;		 /* bytes sent again since, and not reported as duplicates */
	uint32_t ts;		 /* our timestamp when the first of them went */
	bool sent;		 /* some were: .ts means something */
};

#define BOARD_MORE 8u

struct board {
	uint32_t first, n;     /* run @first begins at snd_una */
	uint32_t end;	       /* snd_max */
	uint32_t sacked, lost; /* bytes so marked */
	uint32_t again;	       /* bytes sent more than once, and neither */
	uint32_t lost_from;    /* nothing before it is lost */
	uint32_t fack;	       /* highest number known to have arrived */
	uint32_t n_more;       /* of .more */
	/* RFC 8985 §5.4: the segment that was sent last of those that have arrived */
	uint64_t rack_xmit; /* 0: none yet */
	uint32_t rack_end, rack_rtt;
	uint32_t min_rtt;      /* µs */
	uint32_t dsack_round;  /* RACK.dsack_round */
	uint64_t t_reo, t_pto; /* deadlines: reordering window, loss probe; 0: not set */
	uint64_t live_xmit;    /* what is neither SACKed nor lost was sent then, or later */
	/* RFC 6937 */
	uint32_t prr_delivered, prr_out, recover_fs;
	bool dsack_seen; /* dsack_round means something */
	uint8_t cwr;	 /* 0/1, read from foreign memory, too: cwnd goes down to ssthresh until
			    .recover, nothing is lost */
	uint8_t frto;	 /* enum frto_state */
	struct undo undo;
	uint32_t rate;		   /* chunk of struct rate, SHM_NIL: none (rate.c) */
	uint32_t more[BOARD_MORE]; /* chunks of the runs that .r has no room for */
	struct seg_run r[];
};
#define BOARD_RUNS ((uint32_t)((CHUNK_SIZE - sizeof(struct board)) / sizeof(struct seg_run)))
#define MORE_RUNS ((uint32_t)(CHUNK_SIZE / sizeof(struct seg_run)))
#define BOARD_MAX (BOARD_RUNS + BOARD_MORE * MORE_RUNS)

static inline struct board *tcp_board(const struct stack *s, const struct tcb *t)
{
	uint32_t c = t->work ? tcb_work(t)->seg_head : SHM_NIL;

	return c == SHM_NIL ? NULL : (struct board *)(void *)chunk_data(s, c);
}

static inline struct seg_run *board_run(const struct stack *s, struct board *b, uint32_t i)
{
	if (i < BOARD_RUNS)
		return &b->r[i];
	i -= BOARD_RUNS;
	return (struct seg_run *)(void *)chunk_data(s, b->more[i / MORE_RUNS]) + i % MORE_RUNS;
}

static inline uint32_t board_run_end(const struct stack *s, struct board *b, uint32_t i)
{
	return i + 1 < b->first + b->n ? board_run(s, b, i + 1)->seq : b->end;
}

/* Chunks that it holds, with those of the rate of delivery. */
static inline uint32_t board_chunks(const struct board *b)
{
	return b ? 1 + b->n_more + (b->rate != SHM_NIL) : 0;
}

/* Bytes in the network, as far as we know. */
static inline uint32_t board_pipe(const struct tcb *t, const struct board *b)
{
	return t->snd_max - t->snd_una - b->sacked - b->lost;
}

/* ---- rate.c: the rate of delivery, for algorithms that work with it ---- */

/* What was so when bytes were sent, again or for the first time. */
struct rate_mark {
	uint32_t us;	       /* when that was */
	uint32_t delivered;    /* snd_una and what SACK added */
	uint32_t delivered_us; /* since then */
	uint32_t sent_us : 31; /* how long the sending of what is acknowledged with it took */
	uint32_t app_limited : 1;
};

struct rate {
	uint32_t n;
	uint32_t delivered_us;		/* when the last delivery was heard of */
	uint32_t first_us;		/* when the newest segment that has arrived was sent */
	uint32_t limited_until;		/* TCB_F_APP_LIMITED ends when this is delivered */
	uint32_t epoch_us, epoch_bytes; /* BBR's own: ACKs that come merged */
	/* ... and over several round trips, when .lt_on: what was delivered and lost since .lt_us
	 */
	uint32_t last_bytes, last_us; /* the last sample */
	uint32_t lost, lt_lost, lt_delivered, lt_us;
	uint8_t lt_rounds;
	bool lt_on;
	struct rate_mark m[];
};
#define RATE_MAX ((uint32_t)((CHUNK_SIZE - sizeof(struct rate)) / sizeof(struct rate_mark)))

struct board_ack;
struct rate *rate_get(const struct stack *s, const struct board *b);
void rate_close(struct stack *s, struct tcb *t, struct board *b);
/* Bytes are being sent, again or for the first time. */
void rate_sent(struct stack *s, struct tcb *t, struct board *b, struct mtime now);
/* Fills in the sample that an ACK gives; the scoreboard has taken it in. */
void rate_ack(const struct board_ack *a, struct cc_ack *c);
/* The last sample, in bytes per second; 0: none. */
uint64_t rate_last(const struct stack *s, const struct board *b);
/* The program writes; did it leave the connection without data before? */
void rate_app_limited(const struct stack *s, struct tcb *t, struct mtime now);
/* It has waited for room, of which there is some now. */
void rate_room(struct stack *s, struct tcb *t);

/* board.c */
/* For what is outstanding, if anything: one run, sent just now. NULL: no memory. */
struct board *board_open(struct stack *s, struct tcb *t, struct mtime now);
void board_close(struct stack *s, struct tcb *t);
/* [seq, end) was sent: new at the end, or what was sent before. */
void board_sent(struct stack *s, struct tcb *t, struct board *b, uint32_t seq, uint32_t end,
		struct mtime now);
/* What an ACK makes known; rack_heard() is told of each run of bytes that has arrived. */
struct board_ack {
	struct stack *s;
	struct tcb *t;
	struct board *b;
	const struct tcp_seg *g;
	struct mtime now;
	uint32_t delivered; /* bytes that were not known to have arrived before */
	/* of these, what was sent last, and once only: its end, and its round trip in µs; 0: none
	 */
	uint32_t newest_end, newest_rtt;
	uint64_t sent_last; /* ns, of what was sent last of all; 0: none */
	bool sent_unsure;   /* … which of its copies has arrived, or when it was sent */
	bool original;	    /* bytes below .recover have arrived that were sent only once */
	bool late;	    /* … which others have overtaken */
	bool sacked;	    /* SACK blocks told something new */
};
void board_ack(struct board_ack *a);
/* Marks run @i lost. */
void board_lose(const struct stack *s, struct board *b, uint32_t i);
void board_all_lost(const struct stack *s, struct board *b);
void board_none_lost(const struct stack *s, struct board *b);
void board_forget_sacks(const struct stack *s, struct board *b);
/* The first run that is to be sent again; BOARD_MAX: none. */
uint32_t board_first_lost(const struct stack *s, struct board *b);
bool board_sane(const struct stack *s, const struct tcb *t, struct board *b);

/* tcp_undo.c */
/* cwnd is about to be reduced. */
void undo_begin(const struct stack *s, struct tcb *t, struct board *b);
/* It was for another reason: what was remembered is worth nothing now. */
void undo_forget(struct board *b);
void undo_sent_again(struct stack *s, struct tcb *t, struct board *b, uint32_t len,
		     struct mtime now);
/* The scoreboard ends, and begins anew: duplicates may be reported meanwhile. */
void undo_keep(struct tcb *t, const struct board *b);
void undo_kept(struct tcb *t, struct board *b);
void undo_kept_dsack(struct stack *s, struct tcb *t, const struct tcp_sack_block *k,
		     struct mtime now);
void undo_dsack(const struct tcb *t, struct board *b, const struct tcp_sack_block *k);
/* Takes back what was for nothing; @acked: snd_una has moved. False: there is nothing such. */
bool undo_try(struct board_ack *a, bool acked, bool recovered);
/* The timer has expired in state @was, before that .recover is set. */
void frto_begin(struct tcb *t, struct board *b, uint8_t was);
void frto_ack(struct board_ack *a, bool acked);

/* tcp_rack.c */
void rack_heard(struct board_ack *a, const struct seg_run *r, uint32_t end);
/* For every ACK of a connection with SACK: DSACK, and what became of a loss probe. */
void tcp_sack_ack(struct stack *s, struct tcb *t, const struct tcp_seg *g, uint32_t acked,
		  struct mtime now);
/* With a scoreboard: everything that New Reno does without; snd_una has been advanced. */
void tcp_rack_ack(struct stack *s, struct tcb *t, const struct tcp_seg *g, const struct cc_ack *ca,
		  struct mtime now);
/* The scoreboard, made if there is none but could be. */
struct board *tcp_rack_board(struct stack *s, struct tcb *t, struct mtime now);
void tcp_rack_sent(struct stack *s, struct tcb *t, uint32_t seq, uint32_t end, bool again,
		   struct mtime now);
void tcp_rack_timer(struct stack *s, struct tcb *t, struct mtime now);
void tcp_rack_rto(struct stack *s, struct tcb *t, struct board *b, struct mtime now);
/* Sets the probe's deadline anew. */
void tcp_rack_arm_probe(const struct stack *s, struct tcb *t, struct mtime now);

#endif
