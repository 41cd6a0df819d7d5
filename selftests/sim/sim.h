/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Simulation: two hosts, a link that misbehaves, a virtual clock, programs that talk. All of a
 * run follows from its seed.
 *
 *	  host 0				host 1
 *	programs (prog.c)			programs
 *	stack, or daemon's and			stack, or daemon's and
 *	application's stack (host.c)		application's stack
 *	     └────────── link.c: loss, delay, … ──────────┘
 *
 * world.c owns the clock and runs it, scenario.c draws what a run is like.
 */
#ifndef TANDEM_SIM_H
#define TANDEM_SIM_H

#include <stdint.h>
#include <stdbool.h>
#include <stdio.h>
#include "user/core/stack.h"

/* ---- randomness ---- */

struct rng {
	uint64_t s;
};

static inline uint64_t rng_u64(struct rng *r) /* splitmix64 */
{
	uint64_t z = r->s += 0x9e3779b97f4a7c15ull;

	z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
	z = (z ^ z >> 27) * 0x94d049bb133111ebull;
	return z ^ z >> 31;
}

static inline uint64_t rng_range(struct rng *r, uint64_t lo, uint64_t hi) /* inclusive */
{
	return lo + rng_u64(r) % (hi - lo + 1);
}

static inline bool rng_ppm(struct rng *r, uint32_t ppm)
{
	return ppm && rng_u64(r) % 1000000 < ppm;
}

#define PERCENT 10000u /* in ppm */

/* ---- scenario ---- */

struct link_cfg {
	uint32_t loss, dup, reorder, corrupt; /* ppm */
	uint32_t burst;	      /* ppm: a burst of loss begins */
	uint32_t burst_max;   /* ms at most */
	uint32_t out_at, out_for; /* ms after the beginning all is lost, for so many ms */
	uint32_t delay, jitter; /* us */
	uint32_t reorder_max; /* us more than the others */
	uint32_t rate;	      /* bytes per ms, 0: without limit */
	uint32_t queue;	      /* bytes that may wait for the rate, 0: without limit */
	uint32_t police, bucket; /* bytes per ms, and at once: more is dropped; 0: no policer */
	uint32_t mark;	      /* queue above this, in bytes: ECN-capable packets get CE; 0: none */
	bool no_syn_data;     /* a middlebox that drops SYNs with text */
	uint32_t path_mtu;    /* a router on the way takes no more, and says so; 0: as the link */
};

struct host_cfg {
	bool pair;	  /* a daemon's stack and an application's */
	bool gso, csum_offload;
	bool merged;	  /* gets segments of its peer's GSO packets unsplit */
	bool hints;	  /* packets carry the connection's index, as from the flows map */
	bool crash;	  /* the application dies once */
	bool hostile;	  /* … and had scribbled over its arena */
	uint32_t move;	  /* ppm: a connection changes stacks at a step of its program */
	uint32_t forget;  /* ms at most between losses of a neighbour entry; 0: none is lost */
	uint32_t defer_accept; /* s */
	uint32_t rcvbuf;  /* of the listener, 0: default */
	uint32_t fastopen; /* TCP_FASTOPEN of the listener */
	struct stack_limits limits;
	const char *cc;
	uint32_t n_chunks;
};

#define SIM_MAX_CONNS 24u

enum end_plan {
	END_CLEAN,   /* all is sent, half-close, read to the end, close */
	END_CLOSE,   /* close at some moment, unread data or not */
	END_ABORT,   /* reset at some moment, before it is connected perhaps */
	END_MAX,
};

struct side_plan {
	uint32_t total;	    /* bytes to send */
	uint32_t write_max; /* in one call */
	uint32_t read_max;
	uint32_t write_pause, read_pause; /* ppm: to rest after a call */
	uint32_t pause_max; /* us */
	uint32_t end_after; /* END_CLOSE, END_ABORT: after so many bytes read or written */
	uint8_t end;	    /* enum end_plan */
	bool keepalive, nodelay, more;
	bool flip; /* sets options to and fro */
	uint32_t oob; /* ppm: a write's last byte is urgent */
	bool oob_inline; /* SO_OOBINLINE, of what it reads */
};

struct conn_plan {
	uint64_t start; /* us */
	uint8_t client; /* which host */
	bool simultaneous; /* both connect */
	bool fastopen;	   /* the first bytes go with the SYN, if they may */
	bool wrap;	/* the client's sequence numbers pass 2^32 */
	uint16_t port;	/* the client's, 0: any. More than one connection may have it, in turn */
	struct side_plan side[2]; /* 0: client */
};

/* Datagrams to an echo server. */
#define SIM_MAX_UDP 4u
#define SIM_UDP_COUNT 64u
struct udp_plan {
	uint64_t start; /* us */
	uint32_t count, size_max;
	uint32_t gap;	 /* us at most between two */
	uint32_t rcvbuf; /* 0: default */
	uint8_t client;	 /* which host */
	uint8_t pmtudisc;
	bool connected, no_csum;
	bool closed; /* nobody listens there */
};

struct scenario {
	uint64_t seed;
	const char *name;
	struct link_cfg link[2]; /* [i]: from host i */
	struct host_cfg host[2];
	uint32_t mtu;
	uint32_t backlog;
	uint32_t accept_pause; /* us at most between EV_ACCEPT and accept() */
	bool slow_accept;
	bool unlisten_early;
	uint32_t n_conns;
	struct conn_plan conn[SIM_MAX_CONNS];
	uint32_t n_udp;
	struct udp_plan udp[SIM_MAX_UDP];
	bool lossless; /* every packet arrives, in order, once: nothing may be retransmitted */
	bool calm;     /* no failure of a connection but by its plan can be explained */
};

void scenario_draw(struct scenario *sc, uint64_t seed);
void scenario_print(const struct scenario *sc, FILE *f);

/* ---- world: clock and events ---- */

struct world;
struct host;
struct node;
struct sock;

/* A frame on its way, or an injected one. */
struct frame {
	uint32_t len;
	bool partial; /* its TCP checksum covers the pseudo-header only */
	uint8_t data[];
};
struct frame *frame_alloc(uint32_t len);

enum sim_event {
	SEV_FRAME,   /* .host gets .frame */
	SEV_INJECT,  /* .node gets .frame from its sibling */
	SEV_PROG,    /* .sock's program goes on */
	SEV_ACCEPT,  /* .host's program accepts */
	SEV_START,   /* .sock connects */
	SEV_IMPORT,  /* .sock arrives at its new stack */
	SEV_DONE,    /* the exporter may free its copy */
	SEV_CRASH,   /* .host's application dies */
	SEV_PARTING, /* .sock was closed a while ago */
	SEV_FORGET,  /* .host loses its neighbour entry */
	SEV_UDP,     /* flow .n sends its next datagram, or ends */
};

struct sim_ev {
	uint64_t at, order;
	enum sim_event kind;
	struct host *host;
	struct node *node;
	struct frame *frame;
	struct sock *sock;
	uint32_t n, generation;
};

void world_at(struct world *w, uint64_t at, struct sim_ev ev);
void world_fail(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void world_log(struct world *w, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* ---- link ---- */

struct link {
	const struct link_cfg *cfg;
	struct rng rng;
	uint64_t busy;	     /* the last byte in the queue leaves then */
	uint64_t last;	     /* arrival of the last packet in order */
	uint64_t burst_until;
	uint64_t policed; /* the bucket is full again then */
	uint64_t sent, lost, duplicated, reordered, corrupted, marked;
	uint64_t queued; /* bytes found in the queue, summed up over all packets */
};

/* Takes the frame over. @from: the host that sends. */
void link_send(struct world *w, uint32_t from, struct frame *f);
/* Splits a packet of the stack as a NIC would, completes checksums. */
void link_send_pkt(struct world *w, uint32_t from, const struct pkt *p);

/* ---- wire.c: what is sent is held against what was sent before ---- */

/* One direction of a connection, from its SYN on. */
struct wire_dir {
	struct tcp_addr_pair pair; /* of the sender */
	bool syn, acked, fin, again, has_wscale;
	uint8_t wscale;
	uint32_t iss, max;     /* behind all that it has sent */
	uint32_t ack, edge;    /* the highest that it has acknowledged, and allowed */
	uint32_t now_edge;     /* as it is: where there was no memory it may have moved left */
	uint32_t syn_wnd;      /* what its SYN promised */
	uint64_t unkept;       /* promises that found no memory */
	uint32_t steps, silly; /* of the edge */
	uint64_t sent_at, passed_at; /* the last frame that it sent; that the link did not lose, ns */
};
#define SIM_MAX_WIRE 128u
struct wire {
	struct wire_dir dir[SIM_MAX_WIRE];
	uint32_t n;
};
void wire_check(struct world *w, const struct frame *f);
/* A frame is on the link, which loses it, or not. */
void wire_passed(struct world *w, const struct frame *f, bool lost);
/*
 * May the end @a of a connection have given up at @at, after at least @after without an answer? Only if
 * nothing came from the other end for so long, because the link has lost it all: what did arrive
 * there was answered.
 */
bool wire_excuses_timeout(struct world *w, const struct tcp_addr_pair *a, uint64_t at,
			  uint64_t after);
void wire_judge(struct world *w); /* at the end of a run */

/* ---- hosts ---- */

struct node {
	struct world *w;
	struct host *host;
	const char *name;
	enum stack_role role;
	struct stack *s;
	void *mem;
	size_t mem_len;
	uint8_t *arena;
	size_t arena_len;
	struct arena_view view;
	struct pkt_pool pool;
	struct pkt *pkts;
	uint8_t *bufs;
	uint64_t forwarded_at; /* the last frame that its sibling has passed on comes then */
};

/* An entry of the flows map. */
struct flow {
	struct tcp_addr_pair pair;
	struct node *node;
	struct sock *sock; /* whose connection it is, or was */
	uint32_t conn, generation;
	struct node *transit; /* handed over to this one, which has not acknowledged yet */
	uint64_t import_at;
};
#define SIM_MAX_FLOWS 128u

struct host {
	struct world *w;
	uint32_t idx;
	const struct host_cfg *cfg;
	struct node full, app;
	uint32_t listener;
	bool listening, accept_scheduled;
	struct flow flows[SIM_MAX_FLOWS];
	uint32_t n_flows;
	bool crashed;
	uint32_t forgets;
};

int host_init(struct host *h);
void host_free(struct host *h);
void host_frame(struct host *h, struct frame *f);
void host_inject(struct node *n, struct frame *f);
/* Timers, events, programs, output, until nothing more happens at this moment. */
void host_run(struct host *h);
bool node_output(struct node *n);
uint64_t host_deadline(const struct host *h);
void host_check(struct host *h);
/* Are all pools empty? Else says in @why what is left. */
bool host_idle(const struct host *h, char *why, size_t len);
struct ip_addr host_addr(uint32_t idx);
uint64_t host_mib(const struct host *h, enum mib m);

struct flow *flow_find(struct host *h, const struct tcp_addr_pair *a);
void flow_set(struct sock *k, struct node *n, uint32_t conn);
void flow_del(struct host *h, const struct tcp_addr_pair *a);

/* Hands @k over to the host's other stack. */
void sock_move(struct sock *k);
void sock_import(struct sock *k);
void node_export_done(struct node *n, uint32_t conn, uint32_t generation);
void host_crash(struct host *h);
void host_forget(struct host *h);

/* ---- programs ---- */

#define SIM_MAX_MARKS 64u

/* One end of a connection, as its program sees it. */
struct sock {
	bool used, open;
	struct host *host;
	struct node *node; /* NULL: between two stacks */
	uint32_t conn, generation;
	struct tcp_addr_pair pair;
	uint32_t plan; /* which connection */
	uint32_t side; /* 0: client */
	bool unconfirmed; /* by fast open: counts against the listener's limit */
	bool connected, wr_shut, eof, failed, closed, probed, keeps;
	int err;
	bool silence; /* … because the link was silent for long enough */
	uint32_t iss; /* of the client */
	uint32_t sent, rcvd; /* places in the streams: urgent bytes passed over are counted */
	uint32_t marks[SIM_MAX_MARKS], n_marks; /* where the urgent bytes are that it has sent */
	uint32_t passed; /* one behind the last urgent byte that was passed over */
	uint64_t write_at, read_at; /* rests until then */
	uint64_t eof_at, start_at, connect_at;
	/* hand-over under way */
	struct node *from, *to;
	uint32_t from_conn, from_generation;
	uint32_t tries;	  /* imports that found no memory */
	bool close_after; /* closed meanwhile: the new owner finishes it */
};

void prog_init(struct world *w);
void prog_start(struct sock *k);
/* It has been confirmed, or is gone. */
void prog_confirmed(struct sock *k);
void prog_accept(struct host *h);
void prog_event(struct node *n, const struct stack_ev *ev);
void prog_step(struct sock *k);
void prog_parting(struct sock *k, uint32_t conn, uint32_t generation);
/* All programs are through; else @why says who is not. */
bool prog_done(const struct world *w, char *why, size_t len);
/* What was promised and not kept, at the end of a run. */
void prog_judge(struct world *w);

/* ---- datagrams (udp.c) ---- */

#define UDP_COOKIE 1000u /* of the sockets: + 2 * flow + side */
struct udp_flow {
	struct world *w;
	struct rng rng;
	uint32_t plan, next, unsent, refused;
	uint32_t id[2], pmtu[2]; /* [0]: the client's */
	bool done;
	uint16_t sent[2][SIM_UDP_COUNT], got[2][SIM_UDP_COUNT]; /* how often */
};
void udp_begin(struct world *w);
void udp_step(struct udp_flow *f);
void udp_event_came(struct world *w, const struct stack_ev *ev);
bool udp_done(const struct world *w, char *why, size_t len);
void udp_judge(struct world *w);

/* ---- the world ---- */

struct world {
	const struct scenario *sc;
	struct mtime now;
	struct rng rng;
	struct sim_ev *heap;
	uint32_t n_heap, heap_size;
	uint64_t order;
	struct host host[2];
	struct link link[2];
	struct wire wire;
	struct udp_flow udp[SIM_MAX_UDP];
	struct sock socks[2 * SIM_MAX_CONNS]; /* connection i: [2i] its client, [2i + 1] */
	const uint8_t *pattern;
	uint64_t steps;
	uint64_t moves; /* hand-overs */
	bool failed, verbose;
	char why[256];
	FILE *pcap;
	uint64_t start; /* ns */
	struct sim_result *result; /* NULL: nobody asks */
};

#define PATTERN_PRIME 65521u
#define PATTERN_LEN (PATTERN_PRIME + 65536u)

bool world_run(const struct scenario *sc, bool verbose, FILE *pcap, char *why, size_t len);

/* ---- figures (perf.c) ---- */

/* What came of the data from each connection's client to its server. */
struct sim_result {
	uint64_t took[SIM_MAX_CONNS]; /* ns, from the beginning to the end of data */
	uint32_t bytes[SIM_MAX_CONNS]; /* that had arrived when the first connection was through */
	uint64_t queue, lost, marked; /* of the link from host 0: bytes on average, packets */
	uint64_t retrans, timeouts;
};
bool world_measure(const struct scenario *sc, bool verbose, FILE *pcap, struct sim_result *r,
		   char *why, size_t len);
/* Each algorithm's figures against what they were: more than 10 % worse fails. */
int perf_run(bool verbose);

/* ---- pcapng ---- */

void pcapng_begin(FILE *f);
void pcapng_frame(FILE *f, uint32_t interface, uint64_t ns, const struct frame *fr,
		  const char *comment);

#endif
