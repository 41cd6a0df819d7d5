/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The protocol stack, sans I/O. Packets, calls and the time go in; packets,
 * events and the next deadline come out. It makes no system call, reads no
 * clock, allocates nothing after stack_init() and has no globals. One owner
 * (thread, or lock holder) at a time.
 *
 * A driver's loop:
 *	stack_tick(s, now);
 *	for each received packet: stack_input(s, p, now);
 *	while (stack_event_next(s, &ev)) ...
 *	while ((p = stack_output(s, now))) send(p);
 *	sleep until stack_deadline(s) or something arrives
 *
 * Errors are -errno throughout, with the meaning that the socket call's man
 * page gives it. Ports are in network byte order.
 */
#ifndef TANDEM_CORE_STACK_H
#define TANDEM_CORE_STACK_H

#include <stddef.h>
#include <stdint.h>
#include <stdbool.h>
#include "common/fo_keys.h"
#include "common/flow.h"
#include "common/mib.h"
#include "common/shm.h"
#include "common/syncookie.h"
#include "mtime.h"
#include "pkt.h"
#include "tcb.h"

struct stack;
struct neigh;

struct tcp_addr_pair {
	struct ip_addr local, remote;
	uint16_t local_port, remote_port;
};

/* ---- drop reasons of the core: every stack_input() returns one ---- */
#define DROP_REASONS(X)                                                                            \
	X(NONE, "delivered")                                                                       \
	X(BAD_FRAME, "Ethernet header cut short or unknown type")                                  \
	X(NOT_FOR_US, "other destination MAC or address")                                          \
	X(BAD_ARP, "malformed ARP")                                                                \
	X(BAD_IP, "IP header malformed")                                                           \
	X(BAD_IP_CSUM, "IPv4 header checksum wrong")                                               \
	X(MARTIAN, "source address that cannot be one")                                            \
	X(TTL, "TTL exhausted")                                                                    \
	X(FRAGMENT, "fragment kept for, or given up by, reassembly")                               \
	X(PROTO, "unknown transport protocol")                                                     \
	X(BAD_ICMP, "malformed ICMP")                                                              \
	X(BAD_TCP, "TCP header or options malformed")                                              \
	X(BAD_UDP, "UDP header malformed")                                                         \
	X(BAD_CSUM, "transport checksum wrong")                                                    \
	X(NO_SOCKET, "no connection or listener")                                                  \
	X(STALE_FLOW, "flow entry points to a connection that is gone")                            \
	X(BAD_STATE, "segment not acceptable in this state")                                       \
	X(OUT_OF_WINDOW, "outside of the receive window")                                          \
	X(PAWS, "old timestamp")                                                                   \
	X(BAD_ACK, "acknowledges what was not sent")                                               \
	X(RATE_LIMIT, "reply suppressed by a rate limit")                                          \
	X(QUEUE_FULL, "SYN or accept queue full")                                                  \
	X(NO_MEMORY, "pool exhausted or buffer full")

enum drop {
#define X(name, text) DROP_##name,
	DROP_REASONS(X)
#undef X
	DROP_MAX
};

const char *drop_name(enum drop d);

/* ---- configuration: limits by their sysctl names ---- */
struct stack_limits {
	uint32_t somaxconn;		/* 4096 */
	uint32_t tcp_max_syn_backlog;	/* 4096, per listener */
	uint32_t tcp_syncookies;	/* 1: when the SYN queue is full; 0: never, 2: always */
	uint32_t tcp_abort_on_overflow; /* 0 */
	uint32_t tcp_syn_retries;	/* 6 */
	uint32_t tcp_synack_retries;	/* 5 */
	uint32_t tcp_retries1;		/* 3 */
	uint32_t tcp_retries2;		/* 15 */
	uint32_t tcp_orphan_retries;	/* 0: means 8, as in the kernel */
	uint32_t tcp_fin_timeout;	/* s, 60 */
	uint32_t tcp_max_orphans;	/* 65536 */
	uint32_t tcp_max_tw_buckets;	/* 65536 */
	uint32_t tcp_tw_reuse;		/* 2 in the kernel (loopback only); 1: by timestamps */
	uint32_t tcp_rfc1337;		/* 0; 1: a RST does not end TIME_WAIT */
	uint32_t tcp_keepalive_time;	/* s, 7200 */
	uint32_t tcp_keepalive_intvl;	/* s, 75 */
	uint32_t tcp_keepalive_probes;	/* 9 */
	uint32_t tcp_rmem[3];		/* bytes: 4096 131072 33554432 */
	uint32_t tcp_wmem[3];		/* bytes: 4096 16384 4194304 */
	uint32_t tcp_mem[3];		/* chunks: low, pressure, high; 0 0 0: shares of the arena */
	uint32_t tcp_window_scaling;	/* 1 */
	uint32_t tcp_timestamps;	/* 1 */
	uint32_t tcp_sack;		/* 1 */
	uint32_t tcp_ecn;		/* 2: where the peer asks; 1: ask, too; 0: never */
	uint32_t tcp_slow_start_after_idle; /* 1 */
	uint32_t tcp_fastopen;		/* 1: client; 2: server; 4, 0x200: without cookies; 0x400: all listeners */
	uint32_t tcp_fastopen_blackhole_timeout_sec; /* 0: off */
	uint32_t tcp_challenge_ack_limit; /* per second, 1000 */
	uint32_t icmp_ratelimit;	/* ms from error to error to one host, 0: no limit: 1000 */
	uint32_t icmp_msgs_per_sec;	/* errors to all hosts, 0: no limit: 1000 */
	uint32_t icmp_msgs_burst;	/* 50 */
	uint32_t ip_default_ttl;	/* 64 */
	uint16_t port_lo, port_hi;	/* ip_local_port_range, host order; 0: 32768 60999 */
	uint32_t gc_thresh3;		/* neighbours at most: 1024 */
	uint32_t unres_qlen;		/* packets that wait for one neighbour: 101 */
	uint32_t ipfrag_high_thresh;	/* bytes of reassembly memory: 4 MiB */
	uint32_t ipfrag_time;		/* s, 30 */
};

/* The kernel's defaults, as commented above. */
void stack_limits_default(struct stack_limits *l);

enum stack_role {
	STACK_FULL, /* the daemon and the tests: all protocols, neighbours, listeners */
	STACK_APP,  /* an application: established connections; neighbours are read-only, misses,
		       ICMP errors and resets for unknown segments are the daemon's business. With
		       n_listeners also handshakes: those that it can complete by itself */
};

struct stack_cfg {
	enum stack_role role;
	uint16_t slot;	    /* our slot, for logs and checks */
	uint64_t key[2];    /* seed of hash, ISN (RFC 6528), ports, jitter */
	/* Of timestamp offsets of connections that begin in a STACK_APP; the same for all of a host. */
	uint64_t ts_key[2];
	struct stack_limits limits;
	uint32_t n_listeners; /* pool sizes; the arena gives TCBs and chunks */
	uint32_t n_synreqs;   /* half-open connections in all */
	uint32_t n_tw;	      /* TIME_WAIT records; where the arena has them not more than there */
	uint32_t n_routes;
	uint32_t n_udp; /* UDP sockets */
	uint32_t n_pending;   /* packets held in all: for neighbours, replies not yet taken */
	uint32_t gso_max;     /* bytes in one outbound packet, 0: no segmentation offload */
	bool csum_offload;    /* outbound transport checksums are left to the I/O layer */
	const char *cc;	      /* default congestion control, NULL: "cubic" */
};

/* The arena as its owner maps it: base addresses and sizes, from common/shm.h. */
struct timewait;

struct arena_view {
	struct tcb *tcbs;
	uint32_t n_tcbs;
	struct chunk_hdr *chunk_hdrs;
	uint8_t *chunks;
	uint32_t n_chunks;
	struct neigh *neighs; /* own table (STACK_FULL) or the daemon's (STACK_APP) */
	uint32_t n_neighs;
	uint64_t *mib; /* [MIB_MAX] */
	/*
	 * An application's TIME_WAIT records and half-open requests; NULL: the stack keeps them in its
	 * private memory. Those from index *_used on were never used; the stack writes it.
	 */
	struct timewait *tws;
	struct synreq *synreqs;
	uint32_t n_tws, n_synreqs;
	uint32_t *tws_used, *synreqs_used;
};

/* Bytes of private memory for stack_init(). Lazily touched: give it untouched zero pages. */
size_t stack_mem_size(const struct stack_cfg *cfg, const struct arena_view *a);

/*
 * @mem: stack_mem_size() bytes, zeroed, 64-byte aligned, lives as long as the stack.
 * @pool: packets to send from; the caller refills it.
 * The arena's TCBs, chunks and records must be zeroed memory; all become this stack's.
 */
struct stack *stack_init(void *mem, const struct stack_cfg *cfg, const struct arena_view *a,
			 struct pkt_pool *pool, struct mtime now);

/* ---- packets and time ---- */

/* Takes one packet; @p is the caller's again on return. DROP_NONE: it was used. */
enum drop stack_input(struct stack *s, struct pkt *p, struct mtime now);

/*
 * What an ICMP error says about a TCP connection or a UDP socket. For the owner of the switchboard: where
 * stack_input() has answered DROP_NO_SOCKET to an ICMP error, the connection may be another stack's.
 * False: @p is no error about TCP or UDP from an address of ours, or
 * its lengths or checksums are wrong.
 */
struct icmp_quote {
	struct tcp_addr_pair pair;
	uint8_t proto; /* TCP or UDP */
	bool fatal;    /* as in Linux's icmp_err_convert[]: UDP reports only these unasked */
	uint32_t seq;  /* TCP */
	int err; /* positive errno */
	uint32_t mtu; /* E_MSGSIZE: of the next hop */
	uint32_t info; /* as Linux's ee_info: the MTU or the pointer as it was told, else 0 */
	uint8_t type, code;
	/* UDP: what it holds of the datagram behind its header; where that is in the packet. */
	uint16_t data_len;
	uint32_t data_off;
};
bool stack_icmp_quote(const struct pkt *p, struct icmp_quote *q);

/* The next packet to send, or NULL: nothing to send, or the pool is empty. pkt_free() it. */
struct pkt *stack_output(struct stack *s, struct mtime now);

/*
 * For a driver that hands many packets to stack_input() in a row: what these are answered with (SYN-ACKs,
 * resets, ACKs in TIME_WAIT, echoes) stands in a queue, and is lost where that is full. True: half of
 * it is taken, so the driver sends what stack_reply() gives before it goes on. NULL: no more. Unlike
 * stack_output() it has no connection send, so that no event arises.
 */
bool stack_replies_due(const struct stack *s);
struct pkt *stack_reply(struct stack *s);

/*
 * When the driver's loop has work: timers, output, events that wait to be taken. MTIME_NEVER: only
 * packets or calls can make some.
 */
struct mtime stack_deadline(const struct stack *s);
void stack_tick(struct stack *s, struct mtime now);

/* Has output to give (or had, when the pool ran empty). */
bool stack_wants_output(const struct stack *s);

/* ---- what the I/O layer learns about the world ---- */
enum net_event_kind {
	NET_LINK_UP,	/* .netif .mac .mtu: also any change of them */
	NET_LINK_DOWN,	/* .netif */
	NET_ADDR_ADD,	/* .netif .addr .plen */
	NET_ADDR_DEL,
	NET_ROUTE_ADD,	/* .addr/.plen via .gw (any: on-link) .netif .metric .prefsrc .route_type */
	NET_ROUTE_DEL,
	NET_NEIGH_SET,	/* a permanent or kernel-learned neighbour: .addr .mac .permanent */
	NET_NEIGH_DEL,
};

enum net_route_type { NET_RT_UNICAST, NET_RT_BLACKHOLE, NET_RT_UNREACHABLE, NET_RT_PROHIBIT };

struct net_event {
	enum net_event_kind kind;
	uint16_t netif; /* small index chosen by the I/O layer, < STACK_MAX_NETIFS */
	uint8_t mac[6];
	uint32_t mtu;
	struct ip_addr addr;
	uint8_t plen; /* of the family: 0…32 for IPv4 */
	bool permanent;
	enum net_route_type route_type;
	struct ip_addr gw, prefsrc;
	uint32_t metric;
	bool partial_csum; /* LINK_UP: veth, lo: inbound checksums may be partial */
};
#define STACK_MAX_NETIFS 16

/* 0, -ENOSPC (routes, addresses), -ENOENT (deleting what is not there), -EINVAL */
int stack_event(struct stack *s, const struct net_event *ev, struct mtime now);

/* ---- events of connections, O(ready) ---- */
#define EV_READABLE (1u << 0) /* data, EOF or an error to read */
#define EV_WRITABLE (1u << 1) /* room in the send queue again after it was full */
#define EV_CONNECTED (1u << 2) /* active open has succeeded */
#define EV_ERROR (1u << 3) /* reset, timed out, ICMP: tcp_error() */
#define EV_HUP (1u << 4)   /* both directions are closed */
#define EV_ACCEPT (1u << 5) /* listener .listener has one more in its accept queue */
#define EV_FREED (1u << 6) /* the TCB was an orphan's and is gone; index and generation were: */
#define EV_RDHUP (1u << 7) /* the peer's FIN was received */
/*
 * The orphan's TCB .conn/.generation is gone, a TIME_WAIT record has taken the pair over.
 * EV_FREED with .conn TD_NO_CONN follows when that ends, and before that this event again, with
 * .conn TD_NO_CONN, when the peer of one with EV_FIN_WAIT2 closes (it may be left out).
 *
 * STACK_APP: the orphan has entered TIME_WAIT, and waits to be exported. Where its record is here
 * (tcp_listen_keeps_timewaits()) EV_FREED says so, and of TCB_BORN_UNTOLD there is no report.
 */
#define EV_TIMEWAIT (1u << 8)
#define EV_URGENT (1u << 9) /* the peer has announced urgent data (SIGURG) */
#define EV_PRI (1u << 10)   /* the urgent byte has come: tcp_recv_oob() */
#define EV_PMTU (1u << 11) /* UDP: a router has told the MTU of a way, udp_pmtu() */
#define EV_COOKIES (1u << 12) /* listener .listener sends SYN cookies: tcp_listen_watch() */
#define EV_CONFIRMED (1u << 13) /* opened by fast open (TCB_OPT_SYNACK): the handshake is complete now */
#define EV_FIN_WAIT2 (1u << 14) /* with EV_TIMEWAIT: the peer has not closed yet */
/*
 * STACK_APP: nothing has come back for as long as tcp_retries1 says. Who knows the routes is to say
 * which way it is (stack_doubt(), tcp_set_way()).
 */
#define EV_WAY (1u << 15)
#define EV_LOCAL (1u << 16) /* with EV_FREED: it had TCB_BORN_UNTOLD */

struct stack_ev {
	uint32_t mask;
	uint32_t conn;
	uint32_t generation;
	uint32_t listener;
	uint64_t cookie;
	struct tcp_addr_pair pair; /* EV_FREED, EV_TIMEWAIT */
};
/* A UDP socket's event has .conn TD_NO_CONN and .listener SHM_NIL: the cookie tells whose it is. */

/* False: no more events. Events of one connection are merged until they are taken. */
bool stack_event_next(struct stack *s, struct stack_ev *ev);

/* ---- TCP (tcp.c; RFC 9293 §3.9 user calls) ---- */

/* Socket options that a connection or listener can be given. */
enum tcp_opt {
	TOPT_NODELAY, TOPT_CORK, TOPT_QUICKACK, TOPT_MAXSEG, TOPT_KEEPALIVE, TOPT_KEEPIDLE,
	TOPT_KEEPINTVL, TOPT_KEEPCNT, TOPT_USER_TIMEOUT, TOPT_LINGER /* s, -1: off */,
	TOPT_RCVBUF, TOPT_SNDBUF, TOPT_RCVLOWAT, TOPT_TTL, TOPT_TOS, TOPT_DEFER_ACCEPT,
	TOPT_OOBINLINE, TOPT_CONGESTION, TOPT_LINGER2 /* s, 0: default, -1: none */, TOPT_SYNCNT,
	TOPT_FASTOPEN /* a listener's: connections by fast open that are not confirmed yet */,
	TOPT_MAX_PACING /* bytes/s, UINT32_MAX: no limit */,
	TOPT_MAX /* not an option */
};

/* Congestion control algorithms by index, for TOPT_CONGESTION; NULL: no more. */
const char *cc_name(uint32_t idx);
int cc_find(const char *name); /* -ENOENT */

/*
 * Listens on @local:@port (any address: all). @id_out: the listener's id.
 * -EADDRINUSE: an overlapping listener exists. -ENOSPC: no listener left.
 */
int tcp_listen(struct stack *s, const struct ip_addr *local, uint16_t port, uint32_t backlog,
	       uint64_t cookie, uint32_t *id_out);
int tcp_listen_backlog(struct stack *s, uint32_t id, uint32_t backlog);
int tcp_listen_opt(struct stack *s, uint32_t id, enum tcp_opt opt, int64_t value);
/* Keys of its own (.n 0: the stack's). -EINVAL: no listener, or more than there can be. */
int tcp_listen_fastopen_keys(struct stack *s, uint32_t id, const struct fo_keys *k);
/* The keys of all others; random until they are set. */
int stack_set_fastopen_keys(struct stack *s, const struct fo_keys *k);
void stack_fastopen_keys(const struct stack *s, struct fo_keys *k);
/*
 * Connections that were accepted by the stack but not yet by the program, and
 * stand elsewhere (in an application): they count against the backlog, too.
 */
void tcp_listen_outside(struct stack *s, uint32_t id, uint32_t n);
/* Its SYNs go to another stack from here on: what is half-open here may complete, but asks no more. */
void tcp_listen_quiet(struct stack *s, uint32_t id, bool quiet);
/*
 * STACK_APP: whatever comes to its port comes here, where nobody has a record of the pair. So those that
 * enter TIME_WAIT have their record here, also those that others know of (to whom it is as if they had
 * ended: EV_FREED), as far as their timestamps are tcp_listen_in_app()'s, or there are none.
 */
void tcp_listen_keeps_timewaits(struct stack *s, uint32_t id, bool keeps);
/*
 * STACK_FULL: applications answer the port's SYNs. Timestamps of what begins here all the same have the
 * offsets that they know (stack_cfg.ts_key). A SYN that ends a TIME_WAIT by its timestamps (RFC 6191) is
 * theirs: the record ends, and stack_input() says DROP_STALE_FLOW. Given to it once more, it is ours.
 */
void tcp_listen_in_app(struct stack *s, uint32_t id, bool in_app);
/* One EV_COOKIES at the next SYN that it answers with a cookie. */
void tcp_listen_watch(struct stack *s, uint32_t id);

/* What the switchboard needs to answer SYNs in a listener's place, as the stack would. */
struct tcp_cookie_state {
	struct port_cookies say;    /* .mss: by @mtu */
	uint32_t queued, queue_max; /* half-open requests */
};
/* -EBADF: no such listener. */
int tcp_listen_cookies(const struct stack *s, uint32_t id, uint32_t mtu,
		       struct tcp_cookie_state *c);
/* It has answered SYNs of this listener just now: cookies may come back. */
void tcp_listen_cookies_sent(struct stack *s, uint32_t id, struct mtime now);
/* The keys for that, good until .keys.period ends (SYNCOOKIE_PERIOD_NS). */
void stack_syncookie_secrets(struct stack *s, struct syncookie_secrets *out, struct mtime now);
/* Ends it: half-open requests are dropped, connections in its accept queue reset. */
void tcp_unlisten(struct stack *s, uint32_t id, struct mtime now);
/* Takes the oldest connection of the accept queue. -EAGAIN: none. */
int tcp_accept(struct stack *s, uint32_t id, uint32_t *conn);

/*
 * Active open. @a->local any: the route's source; @a->local_port 0: one is picked
 * (RFC 6056 algorithm 3). Returns 0 with *@conn in SYN_SENT; EV_CONNECTED or
 * EV_ERROR follows. -ENETUNREACH, -EADDRNOTAVAIL, -EADDRINUSE, -ENOBUFS.
 */
int tcp_connect(struct stack *s, const struct tcp_addr_pair *a, uint64_t cookie, struct mtime now,
		uint32_t *conn);
/*
 * Fast open (RFC 7413), right after tcp_connect(): the SYN carries a cookie, or asks for one, and
 * with a cookie as much of @buf as fits; the rest is sent when the connection is open. Returns how
 * much was queued.
 */
uint32_t tcp_fastopen(struct stack *s, uint32_t conn, const void *buf, uint32_t len);
/* Would the SYN to @a carry data? */
bool tcp_fastopen_known(struct stack *s, const struct ip_addr *a, struct mtime now);
/*
 * A connection with TCB_OPT_SYNACK counts against its listener's TOPT_FASTOPEN: also after tcp_accept(), until
 * its taker says that it is confirmed or gone.
 */
void tcp_fastopen_done(struct stack *s, uint32_t listener);
/* ip_local_port_range, host order, 1 <= @lo <= @hi. */
void stack_set_ports(struct stack *s, uint16_t lo, uint16_t hi);
/*
 * A port that tcp_connect() could use for this pair now, so that the caller can
 * look whether anyone else holds it; @attempt: 0, 1, … for further ones.
 */
int tcp_pick_port(struct stack *s, const struct tcp_addr_pair *a, uint32_t attempt,
		  uint16_t *port);

#define TCP_MSG_PEEK 1u
#define TCP_MSG_MORE 2u	 /* as TCP_CORK for this call */
#define TCP_MSG_TRUNC 4u /* discard instead of copying */
#define TCP_MSG_OOB 8u	 /* tcp_send(): the last byte is urgent */

/*
 * Queues up to @len bytes; how many is returned (at least 1), or -EAGAIN: the send
 * queue is full (EV_WRITABLE will follow), -EPIPE, -ENOTCONN, or the pending error.
 */
int64_t tcp_send(struct stack *s, uint32_t conn, const void *buf, size_t len, unsigned flags,
		 struct mtime now);
/* Bytes copied; 0: EOF; -EAGAIN: nothing there (EV_READABLE will follow); pending error. */
int64_t tcp_recv(struct stack *s, uint32_t conn, void *buf, size_t len, unsigned flags,
		 struct mtime now);
/*
 * The urgent byte, out of band (TOPT_OOBINLINE off). 1: it is *@byte; 0: none will come; -EAGAIN: it
 * has not arrived; -EINVAL: there is none, it was read, or it is in line.
 */
int tcp_recv_oob(struct stack *s, uint32_t conn, uint8_t *byte, bool peek);
bool tcp_at_mark(const struct stack *s, uint32_t conn); /* SIOCATMARK */
int tcp_shutdown(struct stack *s, uint32_t conn, bool rd, bool wr, struct mtime now);
/*
 * The program is done with it. Unread data: RST (RFC 2525 §2.17); else FIN behind the
 * send queue. The stack finishes it as an orphan and frees it.
 */
void tcp_close(struct stack *s, uint32_t conn, struct mtime now);
/* RST to the peer, the TCB is freed once that is out. */
void tcp_abort(struct stack *s, uint32_t conn, struct mtime now);
/* The link is about to go for good: RST to the peer, and the program finds that it got one. */
void tcp_cut(struct stack *s, uint32_t conn, struct mtime now);
int tcp_setopt(struct stack *s, uint32_t conn, enum tcp_opt opt, int64_t value, struct mtime now);
int tcp_getopt(const struct stack *s, uint32_t conn, enum tcp_opt opt, int64_t *value);

/* Bytes that tcp_send() would take now; 0: EV_WRITABLE will follow. Or its error. */
int64_t tcp_send_room(struct stack *s, uint32_t conn);
/* EV_* that hold at this moment (level), for poll(). EV_WRITABLE will follow where it does not. */
uint32_t tcp_poll(struct stack *s, uint32_t conn);
/* Takes the pending error (positive errno) as SO_ERROR does. */
int tcp_error(struct stack *s, uint32_t conn);
uint32_t tcp_readable_bytes(const struct stack *s, uint32_t conn);
uint32_t tcp_inq(const struct stack *s, uint32_t conn); /* FIONREAD: up to the urgent byte */
uint32_t tcp_unsent_bytes(const struct stack *s, uint32_t conn);	 /* SIOCOUTQ */
void tcp_set_cookie(struct stack *s, uint32_t conn, uint64_t cookie);

/* NULL: no such connection. The pointer is for reading, until the next call. */
/* Copies a connection of an arena that may say anything; @conn is one of its TCBs. */
void tcb_peek(const struct arena_view *from, uint32_t conn, struct tcb_copy *c);
const struct tcb *tcp_get(const struct stack *s, uint32_t conn);

/* ---- UDP (udp.c; RFC 768, RFC 1122 §4.1) ---- */

#define UDP_MAX_PAYLOAD 65507u /* over IPv4 */

/*
 * The way to a destination, for stacks that have no routes: next hop as an index into the table
 * of neighbours, with the generation that it was found at.
 */
struct ip_way {
	uint32_t neigh, neigh_gen;
	uint32_t mtu;
	uint16_t netif;
};

/* What came with a datagram. */
struct udp_info {
	struct ip_addr src, dst;
	uint16_t sport;
	uint16_t netif;
	uint8_t ttl, tos;
	uint32_t len; /* of all of it, though less was asked for */
	uint64_t ns;  /* when it came, on the clock of struct mtime */
};

/* When a datagram may be cut into fragments: values of IP_MTU_DISCOVER (ip(7)). */
enum udp_pmtudisc {
	UDP_PMTUDISC_DONT,
	UDP_PMTUDISC_WANT,
	UDP_PMTUDISC_DO,
	UDP_PMTUDISC_PROBE,
	UDP_PMTUDISC_INTERFACE,
	UDP_PMTUDISC_OMIT,
};

struct udp_dest {
	struct ip_addr addr;
	struct ip_addr src; /* any: the route's (only without .way) */
	uint16_t port;
	uint8_t ttl, tos;	  /* ttl 0: ip_default_ttl */
	uint8_t pmtudisc;	  /* enum udp_pmtudisc */
	bool no_csum;		  /* SO_NO_CHECK */
	const struct ip_way *way; /* NULL: the stack's own routes */
};

/* A socket that receives nothing yet. -ENOBUFS */
int udp_open(struct stack *s, uint64_t cookie, uint32_t *id);
void udp_close(struct stack *s, uint32_t id);
enum udp_bind_flags {
	UDP_REUSEPORT = 1, /* shares its port with others of the same kind */
	UDP_V6 = 2,	   /* an AF_INET6 socket: one of AF_INET comes first */
};
/*
 * From here on it receives what comes to @a->local (any: all) and @a->local_port (0: nothing); with
 * @a->remote_port only from that remote end. Of sockets that share all of this, with UDP_REUSEPORT
 * one is chosen by hash of the addresses, else the one bound last is. What it has queued stays.
 */
void udp_bind(struct stack *s, uint32_t id, const struct tcp_addr_pair *a, unsigned flags);
void udp_set_rcvbuf(struct stack *s, uint32_t id, uint32_t bytes);
/*
 * IP_RECVERR: all ICMP errors are reported, also to unconnected sockets, and put into the error
 * queue as long as rcvbuf has room. Off: what is in the queue is gone.
 */
void udp_set_recverr(struct stack *s, uint32_t id, bool on);
/*
 * Takes the oldest datagram: bytes copied, at most @len (0 for an empty one; .len tells what it
 * had). @peek: it stays. -EAGAIN: none (EV_READABLE will follow).
 */
int64_t udp_recv(struct stack *s, uint32_t id, void *buf, size_t len, struct udp_info *info,
		 bool peek);
/*
 * UDP_GRO: takes the next datagram if it continues the row that began with @first: between the same
 * ends, with the same header fields, not empty, no longer than that one and than @len. Its
 * length, or -EAGAIN.
 */
int64_t udp_recv_row(struct stack *s, uint32_t id, void *buf, size_t len,
		     const struct udp_info *first);
/* The length of the next datagram; -1: there is none. */
int64_t udp_next_len(const struct stack *s, uint32_t id);
/*
 * Sends a datagram: @len, or -EMSGSIZE, -ENOBUFS, what the route says, -EAGAIN: the next hop of
 * .way cannot be used (now).
 */
int64_t udp_send(struct stack *s, uint32_t id, const struct udp_dest *to, const void *buf,
		 size_t len, struct mtime now);
/* By which @to->way, which must be there, sends. */
uint32_t udp_way_mtu(const struct stack *s, const struct udp_dest *to);
/* Who found the error: Linux's SO_EE_ORIGIN_*. */
enum udp_err_origin {
	UDP_ERR_LOCAL = 1,
	UDP_ERR_ICMP = 2,
};
/* A record of the error queue. */
struct udp_err {
	struct ip_addr to;	      /* of the datagram that failed */
	struct ip_addr offender, dst; /* of the ICMP packet; any: there was none */
	uint64_t ns;		      /* when it came, on the clock of struct mtime */
	uint32_t info;		      /* icmp_quote.info, or the MTU that was exceeded */
	uint16_t port;		      /* with .to */
	uint16_t netif;
	uint16_t len; /* of what is known of the datagram */
	uint8_t err;  /* positive errno */
	uint8_t origin, type, code;
	uint8_t ttl, tos; /* of the ICMP packet */
};
/*
 * Takes the oldest record: bytes of the datagram copied, at most @len. The pending error is the
 * next record's then. -EAGAIN: none (EV_ERROR will follow).
 */
int64_t udp_recv_error(struct stack *s, uint32_t id, void *buf, size_t len, struct udp_err *e);
/* Takes the pending error (positive errno) as SO_ERROR does; the queue keeps its record. */
int udp_error(struct stack *s, uint32_t id);
/* After EV_PMTU: the MTU, and of the way to where. */
uint32_t udp_pmtu(const struct stack *s, uint32_t id, struct ip_addr *to);
/* Is an error pending, or a record in the error queue? */
bool udp_has_error(const struct stack *s, uint32_t id);
/*
 * STACK_APP: @fn says where answers to @to go, before there is a connection that knows it. False: it
 * cannot be said now, the daemon has to do it. Its netif must not be lo.
 */
typedef bool (*stack_way_fn)(void *ctx, const struct ip_addr *to, struct ip_way *w);
void stack_set_way(struct stack *s, stack_way_fn fn, void *ctx);
/* Could @w be used now? */
bool ip_way_usable(const struct stack *s, const struct ip_way *w);
/* And is the neighbour known to answer? */
bool ip_way_confirmed(const struct stack *s, const struct ip_way *w);
/* The usable neighbour @nexthop on @netif, for .neigh and .neigh_gen of @w. */
bool ip_way_find(struct stack *s, uint16_t netif, const struct ip_addr *nexthop, struct ip_way *w,
		 struct mtime now);
/* Shows that @nexthop is in use, for whoever owns the neighbours: one that is stale is probed. */
int stack_resolve(struct stack *s, const struct ip_addr *dst, struct mtime now);
/*
 * Nothing comes back from @dst (R1 of RFC 9293 §3.8.3): the route is looked up, and the neighbour on
 * it asked whether it is still there. @w: the way as it is now.
 */
int stack_doubt(struct stack *s, const struct ip_addr *src, const struct ip_addr *dst,
		struct ip_way *w, struct mtime now);
/*
 * STACK_APP: the answer to EV_WAY; in place of .mtu the interface's is looked at. -EINVAL: no such
 * connection, or way.
 */
int tcp_set_way(struct stack *s, uint32_t conn, const struct ip_way *w, struct mtime now);

/*
 * Whole packets are shown to @fn: datagrams that no socket here wants, before they are answered
 * with an error (udp), and segments that came in fragments, whosever they are (tcp). True: it was
 * another's, and is taken care of. .l3_off and .l4_off of @p are set.
 */
typedef bool (*stack_tap_fn)(void *ctx, const struct pkt *p);
void stack_set_taps(struct stack *s, stack_tap_fn udp, stack_tap_fn tcp, void *ctx);

/* ---- hand-over (handover.c, DESIGN.md §4) ---- */

/*
 * Takes @conn out of this stack (timers, hash, lists) and freezes it as TCB_EXPORTED
 * for the other side; its chunks stay. Any synchronised state but TIME_WAIT.
 */
int stack_export(struct stack *s, uint32_t conn);

/*
 * The same for one that has ended with an error, a reset as a rule, before anybody accepted it:
 * accept(2) returns it all the same, and its first call the error. Only an application's stack
 * imports such a one.
 */
int stack_export_ended(struct stack *s, uint32_t conn);

/*
 * Copies a frozen connection out of another arena into this one, bytes and all, checks
 * every value, and goes on with it. @from is untrusted memory.
 * -EBADMSG: it does not make sense (nothing was taken); -ENOBUFS: no TCB or chunks.
 */
int stack_import(struct stack *s, const struct arena_view *from, uint32_t idx, uint32_t generation,
		 uint64_t cookie, struct mtime now, uint32_t *conn);

/*
 * The same for a dead application's connection, which may be in any condition: frozen or
 * live, lists half changed. What cannot be saved gives -EBADMSG; the caller then sends
 * a reset from what it knows itself (stack_reset_flow()).
 */
int stack_rescue(struct stack *s, const struct arena_view *from, uint32_t idx, uint32_t generation,
		 struct mtime now, uint32_t *conn);

/*
 * Takes an exported connection back as if nothing had been (an orphan: to be closed once more).
 * The other side must not have it, nor import it later. 0, -ENOENT.
 */
int stack_export_cancel(struct stack *s, uint32_t conn, uint32_t generation, struct mtime now);

/* Frees an exported TCB and its chunks, once the other side has it. */
int stack_export_done(struct stack *s, uint32_t conn, uint32_t generation);

/*
 * The daemon has a record of this connection from here on: TCB_BORN_UNTOLD is over; with @counted
 * TCB_BORN_HERE, too.
 */
void tcp_told(struct stack *s, uint32_t conn, bool counted);
/*
 * Goes on with a TIME_WAIT record that was another stack's, for the whole time that a new one has.
 * @r: a copy. -EBADMSG: it makes no sense, -EADDRINUSE: this stack knows the pair, -ENOSPC:
 * tcp_max_tw_buckets.
 */
int stack_rescue_timewait(struct stack *s, const struct timewait *r, struct mtime now);
/*
 * Goes on with a half-open request that was another stack's, as one of @listener's, whose SYN-ACK that
 * one has sent. @r: a copy. -EBADMSG, -EADDRINUSE as above, -ENOSPC: the SYN queue is full.
 */
int stack_rescue_synreq(struct stack *s, uint32_t listener, const struct synreq *r,
			struct mtime now);
/* Has this stack a connection, request or TIME_WAIT record of the pair? */
bool stack_knows_pair(const struct stack *s, const struct tcp_addr_pair *a);
/*
 * The pair is a connection of another stack's: a request or TIME_WAIT record of it here is
 * obsolete.
 */
void stack_pair_elsewhere(struct stack *s, const struct tcp_addr_pair *a);

/* A RST for a connection of which only the pair and a sequence number are known. */
void stack_reset_flow(struct stack *s, const struct tcp_addr_pair *a, uint32_t seq, uint32_t ack,
		      struct mtime now);

/* ---- memory that is not needed for now ---- */

/*
 * Free chunks that were not needed since the last call: at most @max of their indices in @v. What they
 * hold may be lost from here on (their pages go back to the system); they are used again last. Less than @max:
 * that is all.
 */
uint32_t stack_trim(struct stack *s, uint32_t *v, uint32_t max);
/* Are there more free chunks with pages than are worth keeping? It may take two calls to get at them. */
bool stack_trimmable(const struct stack *s);

/*
 * The same of TCBs and what belongs to them, where more are free than in use, from the end of their
 * arrays up to the last one in use: ranges of the arena, which may be cleared, or not. 0: none now.
 */
struct mem_range {
	void *at;
	size_t len;
};
#define STACK_SHRINK_RANGES 2u
uint32_t stack_shrink(struct stack *s, struct mem_range v[STACK_SHRINK_RANGES]);
bool stack_shrinkable(const struct stack *s);

/* ---- looking at it ---- */

/* Counts; the bounds are in the cfg and the arena. */
struct stack_usage {
	uint32_t tcbs, tcbs_exported, chunks, listeners, synreqs, timewaits, neighs, orphans,
		routes, pending, udp;
	uint32_t mem_limit[3]; /* tcp_mem as it is applied, in chunks */
	bool mem_pressure;
};
void stack_usage(const struct stack *s, struct stack_usage *u);
void stack_count(struct stack *s, enum mib m, uint64_t n);
uint64_t stack_drops(const struct stack *s, enum drop d);

/*
 * Checks all invariants (lists, queues, counts, windows, deadlines). 0, or -EUCLEAN with
 * a description in @why. Walks everything: for tests.
 */
int stack_check(const struct stack *s, char *why, size_t len);

/* Walks live connections: start with *@it = 0. False: no more. */
bool stack_next_conn(const struct stack *s, uint32_t *it, uint32_t *conn);
/* The same for half-open connections and records of TIME_WAIT. */
bool stack_next_half_open(const struct stack *s, uint32_t *it, struct tcp_addr_pair *a,
			  uint32_t *retries);
bool stack_next_timewait(const struct stack *s, uint32_t *it, struct tcp_addr_pair *a,
			 enum tcp_state *state);
/* Half-open connections of one listener. */
uint32_t tcp_listen_half_open(const struct stack *s, uint32_t id);

/*
 * Optional observer, for traces and tests: called on each state change.
 * NULL: none.
 */
typedef void (*stack_trace_fn)(void *ctx, const struct tcb *t, enum tcp_state from,
			       enum tcp_state to);
void stack_set_trace(struct stack *s, stack_trace_fn fn, void *ctx);

#endif
