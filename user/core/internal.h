/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the core's files share among themselves. Nothing outside user/core/ (and its unit
 * tests) includes this. Each block names the file that defines it.
 */
#ifndef TANDEM_CORE_INTERNAL_H
#define TANDEM_CORE_INTERNAL_H

#include "common/csum.h"
#include "common/linhash.h"
#include "common/seq.h"
#include "common/syncookie.h"
#include "stack.h"
#include "neigh_entry.h"

#define ETH_HLEN_ 14u
#define IP4_HLEN 20u
#define IP6_HLEN 40u
#define TCP_HLEN 20u
#define ETHERTYPE_IP4 0x0800u
#define ETHERTYPE_ARP 0x0806u
#define ETHERTYPE_IP6 0x86ddu
#define ECN_MASK 3u /* of the TOS; RFC 3168 §5 */
#define ECN_ECT0 2u
#define ECN_CE 3u
#define PROTO_ICMP 1u
#define PROTO_TCP 6u
#define PROTO_UDP 17u

/* errno values that the core returns or stores, by Linux's numbers; it includes no libc header. */
enum {
	E_NOENT = 2, E_INTR = 4, E_BADF = 9, E_AGAIN = 11, E_NOMEM = 12, E_INVAL = 22, E_NOSPC = 28,
	E_PIPE = 32, E_BADMSG = 74, E_MSGSIZE = 90, E_NOPROTOOPT = 92, E_OPNOTSUPP = 95, E_NONET = 64, E_ADDRINUSE = 98,
	E_ADDRNOTAVAIL = 99, E_NETDOWN = 100, E_NETUNREACH = 101, E_CONNABORTED = 103,
	E_CONNRESET = 104, E_NOBUFS = 105, E_ISCONN = 106, E_NOTCONN = 107, E_TIMEDOUT = 110,
	E_CONNREFUSED = 111, E_HOSTDOWN = 112, E_HOSTUNREACH = 113, E_UCLEAN = 117, E_ACCES = 13, E_PROTO = 71,
};

static inline uint16_t get_be16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, 2);
	return __builtin_bswap16(v);
}

static inline uint32_t get_be32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, 4);
	return __builtin_bswap32(v);
}

static inline void put_be16(void *p, uint16_t v)
{
	v = __builtin_bswap16(v);
	memcpy(p, &v, 2);
}

static inline void put_be32(void *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, 4);
}

/* ---- wheel.c: hierarchical timer wheel, O(1), one tick = 2^17 ns (131 µs) ---- */

/* What a timer belongs to: kind in the top bits, index below. */
enum timer_kind { TK_CONN, TK_NEIGH, TK_SYNREQ, TK_TIMEWAIT, TK_REASM, TK_MAX };
#define TIMER_ID(kind, idx) ((uint32_t)(kind) << 29 | (idx))
#define TIMER_KIND(id) ((enum timer_kind)((id) >> 29))
#define TIMER_IDX(id) ((id) & 0x1fffffffu)

#define WHEEL_SHIFT 17
#define WHEEL_BITS 6
#define WHEEL_SLOTS (1u << WHEEL_BITS)
#define WHEEL_LEVELS 6

struct wheel {
	uint64_t tick; /* all timers up to here have been given out */
	uint64_t bitmap[WHEEL_LEVELS];
	uint32_t slot[WHEEL_LEVELS * WHEEL_SLOTS]; /* heads */
	uint32_t n;
};

void wheel_init(struct wheel *w, struct mtime now);
/* (Re)arms; not earlier than @when, up to a tick later. @when in the past: the next tick. */
void wheel_set(struct stack *s, uint32_t id, struct mtime when);
void wheel_del(struct stack *s, uint32_t id);
/* Takes one timer that has expired by @now out of the wheel. False: none left. */
bool wheel_expired(struct stack *s, struct mtime now, uint32_t *id);
/* No timer expires before this (it may be earlier than the first one's time). */
struct mtime wheel_next(const struct stack *s);
/* Where the links of @id stand; a switch over the kinds. */
struct wheel_node *wheel_node(struct stack *s, uint32_t id);

/* ---- interfaces, routes, neighbours (netif.c, route.c, neigh.c) ---- */

struct netif {
	bool used, up;
	uint8_t mac[6];
	uint32_t mtu;
	bool partial_csum;
};

struct ifaddr {
	struct ip_addr addr;
	uint16_t netif;
	uint8_t plen; /* of the family */
};
#define STACK_MAX_ADDRS 256

struct route {
	struct ip_addr dst, gw, prefsrc;
	uint8_t plen; /* of the 128 bits: IPv4 is 96 + n */
	uint8_t type; /* enum net_route_type */
	uint16_t netif;
	uint32_t metric;
};

struct route_result {
	uint16_t netif;
	uint32_t mtu;
	struct ip_addr src;	/* source address to use */
	struct ip_addr nexthop; /* gateway, or the destination itself */
};

/*
 * The way to @dst. @src: NULL or any: chosen (prefsrc, else the netif's address that matches the
 * next hop best). 0, -E_NETUNREACH (also unreachable routes: -E_HOSTUNREACH, prohibit: -E_ACCES,
 * blackhole: -E_INVAL, as Linux).
 */
int route_lookup(const struct stack *s, const struct ip_addr *dst, const struct ip_addr *src,
		 struct route_result *out);
bool addr_is_local(const struct stack *s, const struct ip_addr *a);
bool addr_is_loopback(const struct ip_addr *a); /* 127/8, ::1 */
/* Are the first @bits (of 128) the same? */
bool addr_match(const struct ip_addr *a, const struct ip_addr *b, uint32_t bits);
/* The address of ours on @netif to speak from towards @to (on-link); NULL: it has none. */
const struct ip_addr *netif_src(const struct stack *s, uint16_t netif, const struct ip_addr *to);
/* lo has no Ethernet address: there is nothing to resolve, and our own addresses are peers. */
static inline bool netif_is_loopback(const struct netif *n)
{
	return !(n->mac[0] | n->mac[1] | n->mac[2] | n->mac[3] | n->mac[4] | n->mac[5]);
}
int netif_event(struct stack *s, const struct net_event *ev, struct mtime now);
int route_event(struct stack *s, const struct net_event *ev);
/* Broadcast, multicast, of a subnet of ours, or not to be a source or destination of TCP. */
bool addr_is_unicast(const struct stack *s, const struct ip_addr *a);

/* Private half of a neighbour entry; the public one is a->neighs[i] (neigh_entry.h). */
struct neigh_priv {
	struct wheel_node timer;
	uint32_t hash_next; /* index + 1 */
	struct pkt *q_head, *q_tail; /* wait for resolution; counted in s->n_pending */
	uint32_t q_len;
	uint8_t probes;
	uint64_t used, confirmed, updated; /* ns */
};

/* Finds or creates the entry. SHM_NIL: table full of entries in use. */
uint32_t neigh_get(struct stack *s, uint16_t netif, const struct ip_addr *a, struct mtime now);
/*
 * Completes the Ethernet header of @p (an IP packet, p->l3_off == 14) towards neighbour @idx and
 * queues it for stack_output(), or lets it wait for resolution (taking the packet over in every
 * case). False: dropped (counted).
 */
bool neigh_send(struct stack *s, uint32_t idx, struct pkt *p, struct mtime now);
/* Fast path: writes the 14 bytes at @eth if the entry is usable and belongs to @addr's next hop. */
bool neigh_fill(struct stack *s, uint32_t idx, uint16_t netif, uint8_t *eth, uint16_t ethertype,
		struct mtime now);
/* Forward progress with this neighbour was seen (RFC 4861 §7.3.1). */
void neigh_confirm(struct stack *s, uint32_t idx, struct mtime now);
void neigh_timer(struct stack *s, uint32_t idx, struct mtime now);
enum drop arp_input(struct stack *s, struct pkt *p, struct mtime now);
int neigh_event(struct stack *s, const struct net_event *ev, struct mtime now);
/* Announces an address of ours (gratuitous ARP, RFC 5227 §3). */
void arp_announce(struct stack *s, uint16_t netif, const struct ip_addr *a);
/* Asks who has @target: all, or the one at @mac. @for_pkt (may be NULL): it waits for the answer. */
void arp_solicit(struct stack *s, uint16_t netif, const struct ip_addr *target, const uint8_t *mac,
		 const struct pkt *for_pkt);
/*
 * @mac speaks for @a. @reply: it has answered us, so both directions work. @garp: unasked, of
 * itself. @may_create: also if it is not in the table.
 */
void neigh_heard(struct stack *s, uint16_t netif, const struct ip_addr *a, const uint8_t mac[6],
		 bool reply, bool garp, bool may_create, struct mtime now);
void neigh_link_down(struct stack *s, uint16_t netif, struct mtime now);
/* The header of an Ethernet frame from @netif. */
void eth_header(const struct stack *s, uint16_t netif, uint8_t *eth, const uint8_t dst[6],
		uint16_t type);

/* ---- IP (ip.c, reasm.c, icmp.c) ---- */

/* A validated IP header: later code trusts it. */
struct ip_info {
	struct ip_addr src, dst;
	uint16_t netif;
	uint16_t l4_off; /* in the packet */
	uint32_t l4_len; /* header and payload of the transport, trimmed to the IP length */
	uint8_t proto, ttl, tos;
	bool bcast; /* not to a unicast address: no ICMP errors, no RST */
};

enum drop ip_input(struct stack *s, struct pkt *p, struct mtime now);
/* Transport demultiplexing, for whole datagrams (also after reassembly). */
enum drop ip_deliver(struct stack *s, struct pkt *p, const struct ip_info *ip, struct mtime now);
enum drop reasm_input(struct stack *s, struct pkt *p, const struct ip_info *ip, uint16_t id,
		      uint32_t off, bool more, struct mtime now);
void reasm_timer(struct stack *s, uint32_t idx, struct mtime now);
size_t reasm_size(void);
struct wheel_node *reasm_wheel_node(struct stack *s, uint32_t idx);

/* A packet to build: the transport starts at ip_payload(p). NULL: pool empty (counted). */
struct pkt *ip_pkt_alloc(struct stack *s, bool v6);
static inline uint8_t *ip_payload(struct pkt *p)
{
	return p->frag[0].p + p->l4_off;
}
struct ip_out {
	struct ip_addr src, dst;
	uint8_t proto, ttl, tos; /* ttl 0: ip_default_ttl */
	bool df;
	uint16_t queue;
	const struct ip_way *way; /* NULL: by the stack's routes, or as a connection of ours */
};
/*
 * Writes the IP header in front of @len bytes of transport, routes, resolves and queues it.
 * Takes the packet over. 0, or what route_lookup() says (the packet is freed).
 */
int ip_send(struct stack *s, struct pkt *p, uint32_t len, const struct ip_out *o,
	    struct mtime now);
/*
 * The same for @len bytes at @off of @from, which are copied: transport with its checksum, of any
 * size, in fragments where the MTU or a packet's room asks for it.
 */
int ip_send_copy(struct stack *s, const struct pkt *from, uint32_t off, uint32_t len,
		 const struct ip_out *o, struct mtime now);
/* Writes an IPv4 or IPv6 header at @p->l3_off; @l4_len: all of the transport, GSO included. */
void ip_header(struct stack *s, struct pkt *p, const struct ip_out *o, uint32_t l4_len);
/* Fills in the transport checksum at @csum_off, or leaves it PARTIAL where offload is on. */
void l4_checksum(struct stack *s, struct pkt *p, const struct ip_addr *src,
		 const struct ip_addr *dst, uint8_t proto, uint32_t l4_len, uint16_t csum_off);
/* Is the inbound transport checksum right, or legitimately partial? All fragments are summed. */
bool l4_checksum_ok(const struct pkt *p, const struct ip_info *ip, uint16_t csum_off);
/* The same where the sum has to be a right one. */
bool l4_checksum_full(const struct pkt *p, const struct ip_info *ip);
/* Do @len bytes at @off sum up to nothing (no pseudo-header)? */
bool pkt_csum_ok(const struct pkt *p, uint32_t off, uint32_t len);

enum drop icmp_input(struct stack *s, struct pkt *p, const struct ip_info *ip, struct mtime now);
/* ICMP error about @p (RFC 1122 §3.2.2 rules, rate-limited). */
void icmp_error(struct stack *s, const struct pkt *p, const struct ip_info *ip, uint8_t type,
		uint8_t code, uint32_t rest, struct mtime now);

/* ---- memory (pool.c): free lists over the arena, never touched before first use ---- */

uint32_t tcb_alloc(struct stack *s); /* zeroed, generation set, owner TCB_MINE, links SHM_NIL */
void tcb_release(struct stack *s, uint32_t idx); /* its chunks must be gone, out of all lists */
/* The connection's record of work, made if there is none. */
struct tcb_work *tcb_work_get(struct stack *s, struct tcb *t);
/* Ends it where nothing is under way; where it may end later without more to come: when. */
struct mtime tcb_work_put(struct stack *s, struct tcb *t, struct mtime now);
uint32_t chunk_alloc(struct stack *s);		 /* SHM_NIL: none left. Empty, .next SHM_NIL */
void chunk_free(struct stack *s, uint32_t idx);
void chunk_free_list(struct stack *s, uint32_t head);
/* tcp_mem.c: limits from the configuration and the pool's size; the pool's use has changed */
void tcp_mem_init(struct stack *s);
void tcp_mem_changed(struct stack *s);
/* tcp_mem[2] is reached: new work is refused. */
bool tcp_mem_high(const struct stack *s);

struct free_list {
	uint32_t head; /* linked through the items' own index arrays */
	uint32_t used; /* high-water mark: items from here on were never touched */
	uint32_t n_free;
	uint32_t *next; /* [size], private memory, lazily touched */
	uint32_t size;
};
uint32_t free_list_get(struct free_list *f);
void free_list_put(struct free_list *f, uint32_t i);
static inline uint32_t free_list_in_use(const struct free_list *f)
{
	return f->used - f->n_free;
}

/* ---- connection table (conn_table.c), seeded hash (siphash) ---- */

uint64_t siphash_24(const uint64_t key[2], const void *p, uint32_t len);
uint32_t conn_hash(const struct stack *s, const struct ip_addr *local, uint16_t lport,
		   const struct ip_addr *remote, uint16_t rport);
uint32_t conn_lookup(const struct stack *s, const struct ip_addr *local, uint16_t lport,
		     const struct ip_addr *remote, uint16_t rport);
void conn_table_add(struct stack *s, uint32_t conn);
void conn_table_del(struct stack *s, uint32_t conn);

/* ---- TCP ---- */

#define TH_FIN 1u
#define TH_SYN 2u
#define TH_RST 4u
#define TH_PSH 8u
#define TH_ACK 16u
#define TH_URG 32u
#define TH_ECE 64u
#define TH_CWR 128u
#define TH_ECT 256u /* for tcp_send_bare(): the packet is ECN-capable */

#define TCP_MSS_DEFAULT 536u
#define TCP_DELACK_MS 40u
#define TCP_RTO_MIN_US 200000u
#define TCP_RTO_MAX_US 120000000u
#define TCP_RTO_INIT_US 1000000u
#define TCP_RTO_FALLBACK_US 3000000u /* after a lost SYN, until there is a sample */
#define TCP_TIMEWAIT_S 60u
#define TCP_WSCALE_MAX 14u
#define TCP_MSS_MIN 64u /* less is not believed: headers must not be most of what is sent */

#define FO_COOKIE_MAX 16u

struct tcp_sack_block {
	uint32_t start, end;
};

struct tcp_options {
	uint16_t mss; /* 0: not given */
	uint8_t wscale;
	bool has_wscale, has_ts, sack_ok;
	uint8_t n_sack;
	uint32_t ts_val, ts_ecr;
	struct tcp_sack_block sack[4];
	uint8_t fo; /* fast open: 1 + length of the cookie; 0: not given */
	bool fo_exp; /* in the form of RFC 6994 */
	uint8_t fo_cookie[FO_COOKIE_MAX];
};

/* A segment, checked once at the edge (tcp_parse.c). Host byte order but for ports. */
struct tcp_seg {
	const struct ip_info *ip;
	struct pkt *p;
	uint32_t seq, ack;
	uint32_t len;	   /* payload bytes */
	uint32_t data_off; /* of the payload, in the packet */
	uint16_t wnd;	   /* as it stands in the header */
	uint16_t up;
	uint16_t sport, dport; /* network order */
	uint8_t flags;
	/* A SYN that ends a TIME_WAIT: our ISN has to be at least this; else 0 (tcp_parse.c). */
	uint32_t tw_iss;
	struct tcp_options o;
};

static inline struct tcp_addr_pair tcp_seg_pair(const struct tcp_seg *g)
{
	return (struct tcp_addr_pair){.local = g->ip->dst,
				      .remote = g->ip->src,
				      .local_port = g->dport,
				      .remote_port = g->sport};
}

static inline bool tcp_pair_eq(const struct tcp_addr_pair *a, const struct tcp_addr_pair *b)
{
	return a->remote_port == b->remote_port && a->local_port == b->local_port &&
	       ip_addr_eq(&a->remote, &b->remote) && ip_addr_eq(&a->local, &b->local);
}

/* SYN and FIN count (RFC 9293 §3.4). */
static inline uint32_t tcp_seg_space(const struct tcp_seg *g)
{
	return g->len + !!(g->flags & TH_SYN) + !!(g->flags & TH_FIN);
}

enum drop tcp_parse(struct stack *s, struct pkt *p, const struct ip_info *ip, struct tcp_seg *g);
/* Writes options, returns their length, a multiple of 4 (tcp_parse.c). */
uint32_t tcp_put_options(uint8_t *p, const struct tcp_options *o, bool syn);

/* tcp_in.c: demultiplexing, then RFC 9293 §3.10.7 in its order */
enum drop tcp_input(struct stack *s, struct pkt *p, const struct ip_info *ip, struct mtime now);
/* A segment for connection @t; also called with the third ACK right after tcp_conn_create(). */
enum drop tcp_conn_input(struct stack *s, struct tcb *t, struct tcp_seg *g, struct mtime now);
/* ICMP error that quotes a segment of ours; @err a positive errno; @mtu: of the path, or 0. */
void tcp_icmp(struct stack *s, const struct tcp_addr_pair *a, uint32_t seq, int err, uint32_t mtu,
	      struct mtime now);

/* tcp_state.c: the one setter, creation and the end of a connection */
void tcp_set_state(struct stack *s, struct tcb *t, enum tcp_state to, struct mtime now);
/* The gauge CurrEstab, for changes of state and, to or from CLOSED, of the owner. */
void tcp_curr_estab(struct stack *s, enum tcp_state from, enum tcp_state to);
/*
 * A new TCB with defaults (buffers, cc, rto, ISS, timestamp offset, options to offer), in the
 * table, routed, still CLOSED: snd_una = snd_nxt = snd_max = iss. SHM_NIL: no memory or route.
 *
 * Active: tcp_set_state(SYN_SENT), tcp_want_output(); tcp_output() sends the SYN.
 * Passive: set iss, ts_offset, queue and socket options as the SYN-ACK had them, then
 * tcp_syn_received(), tcp_set_state(SYN_RECEIVED), snd_nxt = snd_max = iss + 1, and give the third
 * ACK to tcp_conn_input(), which makes it ESTABLISHED.
 */
uint32_t tcp_conn_create(struct stack *s, const struct tcp_addr_pair *a, struct mtime now);
/*
 * Takes over what the peer's SYN says (for passive opens: rebuilt from the request): its sequence
 * number, MSS, options (those offered in t->opt and given in @o remain), and from these MSS,
 * rcv_adv (the unscaled window of our own SYN: tcp_syn_window()) and the initial cwnd.
 */
void tcp_syn_received(struct stack *s, struct tcb *t, uint32_t irs, const struct tcp_options *o,
		      struct mtime now);
/* The window field of our SYN or SYN-ACK. */
static inline uint16_t tcp_syn_window(uint32_t rcvbuf)
{
	return rcvbuf / 2 < 65535 ? (uint16_t)(rcvbuf / 2) : 65535;
}
/* One round trip of @us was measured (RFC 6298). */
void tcp_rtt_sample(struct tcb *t, uint32_t us);
/* Frees everything of it, reports EV_FREED for orphans. */
void tcp_conn_free(struct stack *s, struct tcb *t, struct mtime now);
/* Ends it with @err (positive errno, 0: none): CLOSED, events; frees it if it is an orphan. */
void tcp_conn_drop(struct stack *s, struct tcb *t, int err, struct mtime now);
static inline struct tcb *tcb_at(struct stack *s, uint32_t i);
static inline uint32_t tcb_index(const struct stack *s, const struct tcb *t);
void tcp_event(struct stack *s, struct tcb *t, uint32_t mask);
/* Takes it out of the table, the wheel, the output and event lists and the accept queue. */
void tcp_unlink(struct stack *s, struct tcb *t);

/* An invariant of our own is broken: stop here. Never for what came from outside. */
#define tcp_assert(cond)                                                                           \
	do {                                                                                       \
		if (__builtin_expect(!(cond), 0))                                                  \
			__builtin_trap();                                                          \
	} while (0)

/* Payload bytes in a full segment: the MSS less options (RFC 6691). */
static inline uint32_t tcp_eff_mss(const struct tcb *t)
{
	return t->opt & TCB_OPT_TS ? t->mss - 12u : t->mss;
}

static inline bool tcp_synchronised(const struct tcb *t)
{
	return t->state >= TCP_ESTABLISHED;
}

/* Sequence number behind the send queue: where the FIN stands, if any, until it is acknowledged. */
static inline uint32_t tcp_queue_end(const struct tcb *t)
{
	return t->snd_una + !tcp_synchronised(t) + t->tx_bytes;
}

/* Our FIN, sent and acknowledged: it is the last thing that snd_max counts. */
static inline bool tcp_fin_acked(const struct tcb *t)
{
	return t->flags & TCB_F_FIN_SENT && t->snd_una == t->snd_max;
}

/* tcp_out.c */
/*
 * The one place that decides what the connection does next and when: used by tcp_output() to
 * send and by the timer to sleep, so that they cannot disagree.
 */
enum tcp_action {
	TCP_ACT_NONE,	 /* nothing until .when (or ever) */
	TCP_ACT_DATA,	 /* new data (and FIN) */
	TCP_ACT_RETRANS, /* from snd_una */
	TCP_ACT_RESEND,	 /* what the scoreboard calls lost */
	TCP_ACT_LOSS_PROBE, /* RFC 8985 §7 */
	TCP_ACT_REORDER, /* the reordering window has passed: look for losses */
	TCP_ACT_ACK, TCP_ACT_SYN, TCP_ACT_RST, TCP_ACT_PROBE, TCP_ACT_KEEPALIVE, TCP_ACT_TIMEOUT,
};
struct tcp_next {
	enum tcp_action act;
	struct mtime when; /* TCP_ACT_NONE: the earliest deadline */
	uint32_t len;	   /* TCP_ACT_DATA: payload bytes for one packet from snd_nxt on */
	uint32_t seq;	   /* TCP_ACT_RESEND: … from here on */
	bool fin;	   /* and the FIN */
	bool cwnd_limited; /* there would be more, but for cwnd */
	bool paced;	   /* there is more, and .when says when it may go */
};
struct tcp_next tcp_next(const struct stack *s, const struct tcb *t, struct mtime now);
struct pkt *tcp_output(struct stack *s, struct tcb *t, struct mtime now); /* NULL: no more */
/* Puts it on the output list. */
void tcp_want_output(struct stack *s, struct tcb *t);
/* Re-arms the connection's wheel timer by tcp_next(). */
void tcp_rearm(struct stack *s, struct tcb *t, struct mtime now);
/* A segment without a connection: RST for @g (RFC 9293 §3.5.2), SYN-ACK and challenge ACKs. */
void tcp_send_bare(struct stack *s, const struct tcp_addr_pair *a, uint32_t seq, uint32_t ack,
		   uint32_t flags, uint16_t wnd, const struct tcp_options *o, uint16_t queue,
		   struct mtime now);
void tcp_send_reset(struct stack *s, const struct tcp_seg *g, struct mtime now);
uint32_t tcp_ts_now(const struct stack *s, struct mtime now); /* ms clock of RFC 7323 */
/* Window to advertise, scaled by the caller; moves rcv_adv. */
uint32_t tcp_select_window(struct stack *s, struct tcb *t);

/* tcp_timer.c */
void tcp_timer(struct stack *s, uint32_t conn, struct mtime now);

/* tcp_buf.c: send, receive and out-of-order queues */
uint32_t rxq_append(struct stack *s, struct tcb *t, const struct pkt *p, uint32_t off,
		    uint32_t len); /* bytes taken */
/* Keeps out-of-order data [seq, seq+len); returns bytes newly held. */
uint32_t ooo_insert(struct stack *s, struct tcb *t, uint32_t seq, const struct pkt *p,
		    uint32_t off, uint32_t len);
/* Moves what has become in order to the receive queue, advancing rcv_nxt. */
void ooo_merge(struct stack *s, struct tcb *t);
uint32_t rxq_read(struct stack *s, struct tcb *t, void *buf, uint32_t len);
/* The same from @skip bytes on, leaving all where it is. */
uint32_t rxq_peek(struct stack *s, const struct tcb *t, uint32_t skip, void *buf, uint32_t len);
uint32_t txq_append(struct stack *s, struct tcb *t, const void *buf, uint32_t len);
/* Copies @len bytes at sequence number @seq of the send queue to @out. */
void txq_copy(struct stack *s, struct tcb *t, uint32_t seq, uint8_t *out, uint32_t len);
/* Points @fr (up to @max) at the bytes instead; returns fragments used, *@got bytes covered. */
uint32_t txq_frags(struct stack *s, struct tcb *t, uint32_t seq, uint32_t len,
		   struct pkt_frag *fr, uint32_t max, uint32_t *got);
void txq_acked(struct stack *s, struct tcb *t, uint32_t n);
void tcp_buf_release(struct stack *s, struct tcb *t); /* all three queues */
/* Copies packet bytes from all fragments. */
void pkt_copy(const struct pkt *p, uint32_t off, void *out, uint32_t len);

/* cc.c: congestion control behind one const table */
struct cc_ack {
	uint32_t acked;	 /* bytes newly acknowledged */
	uint32_t rtt_us; /* 0: no sample */
	uint32_t in_flight; /* before this ACK */
	bool cwnd_limited;
	/* for control(): bytes that this ACK shows to have arrived, or to be lost, and are out now */
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
	void (*loss)(struct tcb *t, uint32_t in_flight, struct mtime now); /* enters recovery: ssthresh */
	void (*timeout)(struct tcb *t, uint32_t in_flight, struct mtime now);
	void (*idle)(struct tcb *t, struct mtime now); /* restart after idle (RFC 5681 §4.1) */
	/*
	 * The last loss() or timeout() was for nothing: cwnd and ssthresh, which were so before it,
	 * and all that followed from it are as if it had not been.
	 */
	void (*undo)(struct tcb *t, uint32_t prior_cwnd, uint32_t prior_ssthresh, struct mtime now);
	/*
	 * In place of ack(), for algorithms that set cwnd by themselves in every state: each ACK, and
	 * what it says about the rate of delivery. Loss recovery then chooses what is sent again, and
	 * leaves cwnd alone.
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
/* An index that is none of ours (an imported TCB's) means the first. */
const struct cc_ops *cc_get(uint8_t idx);
/* For calls that work with the algorithm's record: sees to it that there is one. */
const struct cc_ops *cc_of(struct stack *s, struct tcb *t);
uint8_t cc_default(const struct stack *s); /* index of what the configuration says */
enum cc_state { CC_OPEN, CC_RECOVERY, CC_LOSS };
uint32_t cc_initial_window(uint32_t mss); /* RFC 6928 */

/* ecn.c */
/* Does a listener with this algorithm agree to what the SYN @g offers? */
bool tcp_ecn_accept(const struct stack *s, uint8_t cc, const struct tcp_seg *g);

/* tcp_listen.c: listeners, SYN queue, accept queue */
struct listener {
	struct ip_addr addr; /* any: all */
	uint16_t port;
	bool used;
	bool any;
	uint32_t backlog;
	uint32_t hash_next;
	uint32_t aq_head, aq_tail, aq_len;
	uint32_t outside;  /* tcp_listen_outside() */
	uint32_t syn_len;  /* half-open requests */
	uint32_t syn_head; /* list of them */
	uint64_t cookie_sent; /* ns, the last SYN cookie; 0: none */
	bool cookie_watch;    /* tell of the next one: EV_COOKIES */
	bool ev_cookies;      /* .ev_queued for that */
	uint64_t cookie;
	uint16_t user_mss, sockopt;
	uint32_t defer_accept; /* s */
	uint32_t fastopen, fo_len; /* TCP_FASTOPEN, and how many there are */
	uint8_t ttl, tos;
	uint8_t cc; /* index + 1; 0: default */
	bool ev_queued;
	uint32_t ev_next;
	uint32_t rcvbuf, sndbuf; /* 0: default */
	uint16_t keep_idle, keep_intvl;
	uint8_t keep_cnt;
	uint8_t linger2;
	uint16_t linger;
	uint32_t rcvlowat;
	uint32_t user_timeout;
	uint32_t max_pacing;
};

/* A half-open connection, compact: no TCB until the third ACK. */
struct synreq {
	struct tcp_addr_pair a;
	uint32_t listener;
	uint32_t irs, iss;
	uint32_t ts_recent, ts_offset;
	uint16_t mss;	/* peer's */
	uint16_t queue;
	uint8_t opt;	/* TCB_OPT_* */
	uint8_t snd_wscale;
	uint8_t rcv_wscale; /* that the SYN-ACK told, like .wnd */
	uint16_t wnd;
	uint8_t retries;
	bool acked; /* TCP_DEFER_ACCEPT, or the accept queue was full: the third ACK came */
	uint16_t netif;
	uint64_t sent; /* ns, for the first RTT sample; 0: sent again since (Karn) */
	struct wheel_node timer;
	uint32_t hash_next, list_next, list_prev;
};

/* NULL: there is none of that number. */
struct listener *listener_at(const struct stack *s, uint32_t id);
/* tcp_opt.c: is @value in the option's range (for both)? Clamps where Linux does. */
int tcp_opt_check(const struct stack *s, enum tcp_opt opt, int64_t *value);
uint32_t listener_lookup(const struct stack *s, const struct ip_addr *a, uint16_t port);
/* SYN for a listener, or a segment that may belong to one of its requests. */
enum drop listen_input(struct stack *s, uint32_t listener, struct tcp_seg *g, struct mtime now);
/* The request of this pair; SHM_NIL. */
uint32_t synreq_lookup(const struct stack *s, const struct tcp_addr_pair *a);
enum drop synreq_input(struct stack *s, uint32_t req, struct tcp_seg *g, struct mtime now);
void synreq_timer(struct stack *s, uint32_t req, struct mtime now);
/* A connection on an accept queue ends before accept(): take it off. */
void accept_queue_remove(struct stack *s, struct tcb *t);
/* Linux's rule: full means more than min(backlog, somaxconn). */
bool accept_queue_full(const struct stack *s, const struct listener *l);
/* One EV_ACCEPT, or EV_COOKIES where .ev_cookies says so, unless it waits to be taken already. */
void listener_event(struct stack *s, uint32_t listener);
void accept_queue_add(struct stack *s, uint32_t listener, struct tcb *t);
/* synreq.c: forgets a request without a word to the peer. */
void synreq_drop(struct stack *s, uint32_t req);

/* syncookie.c: half-open connections that are remembered by the peer */
uint32_t cookie_isn(struct stack *s, const struct tcp_seg *syn, struct mtime now);
/* Our timestamp @ts, with what the SYN's options @o say beyond the MSS. */
uint32_t cookie_ts(uint32_t ts, const struct tcp_options *o, bool ecn);
/* The SYN again to which the third @ack belongs. False: there is no valid cookie in it. */
bool cookie_syn(struct stack *s, const struct tcp_seg *ack, struct tcp_seg *syn, struct mtime now);
/* Does @g return a cookie of the listener that covers its destination? */
bool cookie_returned(struct stack *s, const struct tcp_seg *g, struct mtime now);
uint8_t listener_cc(const struct stack *s, const struct listener *l);
uint32_t syn_queue_max(const struct stack *s, const struct listener *l);

/* tcp_fastopen.c (RFC 7413) */
#define FO_CACHE 1024u
/* What is known of a server. */
struct fo_entry {
	struct ip_addr addr;
	uint8_t cookie[FO_COOKIE_MAX];
	uint32_t used, failed; /* s of the stack's clock */
	uint16_t mss;
	uint8_t len; /* of the cookie, 0: none */
	uint8_t fails; /* SYNs in a row that had to be repeated */
	bool exp;
};
/*
 * A SYN for a listener: is it to be opened at once? If not, *@reply may hold what the SYN-ACK's
 * option is to say.
 */
bool fastopen_syn(struct stack *s, const struct listener *l, const struct tcp_seg *g,
		  struct tcp_options *reply);
/* Our SYN: fills in the option; returns how many bytes of text go along. */
uint32_t fastopen_syn_out(struct stack *s, const struct tcb *t, struct tcp_options *o,
			  struct mtime now);
/* Our SYN has to be sent again. */
void fastopen_syn_lost(struct stack *s, const struct tcb *t, struct mtime now);
/* The answer to our SYN; takes what it acknowledges off the send queue. */
void fastopen_synack(struct stack *s, struct tcb *t, const struct tcp_seg *g, struct mtime now);

/*
 * tcp_timewait.c: compact records, ≤ 64 bytes. While a program still holds the socket, the
 * connection stays a TCB in state TIME_WAIT (also in an application's stack, which has no
 * records); timewait_enter() is for orphans.
 */
struct timewait {
	struct tcp_addr_pair a;
	uint32_t snd_nxt, rcv_nxt;
	uint32_t ts_recent;
	struct wheel_node timer;
	uint32_t hash_next : 29; /* index + 1, 0: last */
	uint32_t has_ts : 1;	 /* timestamps are on; our offset is tcp_ts_offset() */
	uint32_t used : 1;
};
_Static_assert(sizeof(struct timewait) <= 64, "FEATURES T10");
uint32_t timewait_lookup(const struct stack *s, const struct tcp_addr_pair *a);
/* Turns @t into a record and frees it; where there is no room it is just freed (counted). */
void timewait_enter(struct stack *s, struct tcb *t, struct mtime now);
/* DROP_BAD_STATE: a SYN that may reuse the pair, which is now free; any other: dealt with. */
enum drop timewait_input(struct stack *s, uint32_t tw, struct tcp_seg *g, struct mtime now);
void timewait_timer(struct stack *s, uint32_t tw, struct mtime now);
void timewait_free(struct stack *s, uint32_t tw);

/* tcp_connect.c: active open, ports (RFC 6056); what both kinds of open have in common */
#define PORT_TABLE 256u
uint32_t tcp_isn(const struct stack *s, const struct tcp_addr_pair *a, struct mtime now); /* RFC 6528 */
/* Added to our timestamp clock; the same for each incarnation of a pair (RFC 7323 §5.4). */
uint32_t tcp_ts_offset(const struct stack *s, const struct tcp_addr_pair *a);
/* The largest segment for a route of @mtu to @dst: what a SYN announces. */
uint16_t tcp_mtu_mss(uint32_t mtu, const struct ip_addr *dst);
/* Shift to offer, for a receive buffer that starts with @rcvbuf; 0 where scaling is off. */
uint8_t tcp_offer_wscale(const struct stack *s, uint32_t rcvbuf);

/* ---- UDP (udp.c) ---- */

struct udp_sock {
	struct ip_addr local, remote;
	uint16_t lport, rport; /* rport 0: not connected */
	uint32_t hash_next;    /* index + 1; of the table that .rport says */
	bool used, reuseport, recverr, ev_queued;
	uint8_t err; /* positive errno, 0: none */
	uint16_t pmtu; /* what a router said last about the way to .pmtu_to */
	struct ip_addr pmtu_to;
	uint32_t rcvbuf;
	uint32_t rx_bytes; /* queued, records included */
	uint32_t rx_head, rx_tail, rx_chunks;
	uint32_t ev_mask, ev_next;
	uint64_t cookie;
};

enum drop udp_input(struct stack *s, struct pkt *p, const struct ip_info *ip, struct mtime now);
/* An ICMP error about a datagram of ours. DROP_NO_SOCKET: not of a socket that is here. */
enum drop udp_icmp(struct stack *s, const struct icmp_quote *q);
bool udp_event_next(struct stack *s, struct stack_ev *ev);

/* ---- the stack itself (stack.c) ---- */

struct token_bucket {
	uint64_t ns; /* last refill */
	uint32_t tokens;
};
/* To whom errors were sent. */
struct icmp_host {
	struct ip_addr addr;
	struct token_bucket tokens;
};
#define ICMP_HOSTS 1024u
/* One token at @per_s (0: no limit), burst as given. (icmp.c) */
bool token_take(struct token_bucket *b, uint32_t per_s, uint32_t burst, struct mtime now);

struct stack {
	struct stack_cfg cfg;
	struct arena_view a;
	struct pkt_pool *pool;
	struct mtime now; /* of the last call: for traces and checks only */

	struct wheel wheel;
	struct free_list tcb_free, work_free, chunk_free, synreq_free, tw_free, listener_free;
	uint32_t mem_limit[3]; /* tcp_mem: low, pressure, high; chunks */
	bool mem_pressure;
	struct mtime mem_since;

	/* All buckets and hash_next: index + 1, 0: end, so that zero pages are an empty table. */
	uint32_t *conn_buckets, conn_max_buckets, conn_n;
	struct linhash conn_hash;
	uint32_t *synreq_buckets, synreq_mask;
	uint32_t *tw_buckets, tw_mask;
	uint32_t *listener_buckets, listener_mask;
	struct synreq *synreqs;
	struct timewait *tws;
	struct listener *listeners;

	struct netif netifs[STACK_MAX_NETIFS];
	struct ifaddr addrs[STACK_MAX_ADDRS]; /* [n_addrs] */
	uint32_t n_addrs;
	struct route *routes; /* [cfg.n_routes], sorted: longest prefix, then metric */
	uint32_t n_routes;
	struct neigh_priv *neigh_priv; /* [a.n_neighs] */
	uint32_t *neigh_buckets, neigh_mask;
	struct free_list neigh_free;

	/* built packets, ready to go */
	struct pkt *txq_head, *txq_tail;
	/* packets that wait inside the core are pool packets; at most cfg.n_pending of them */
	uint32_t n_pending;
	/* connections with something to send */
	uint32_t out_head, out_tail, out_burst;
	/* connections, and listeners, with events */
	uint32_t ev_head, ev_tail;
	uint32_t lev_head, lev_tail;
	/* EV_FREED, EV_TIMEWAIT: a ring that cannot overflow, as each entry had a TCB or record */
	struct stack_ev *freed; /* [freed_size] */
	uint32_t freed_head, freed_tail, freed_size;

	struct icmp_host *icmp_hosts; /* [ICMP_HOSTS], STACK_FULL */
	struct token_bucket icmp_tokens, challenge_tokens, rst_tokens;
	uint32_t n_orphans, n_exported;
	uint16_t ip_id;
	uint64_t isn_key[2], port_key[2], cookie_key[2], fo_key[2];
	struct fo_entry *fo_cache; /* [FO_CACHE] */
	struct mtime fo_off_until; /* black hole */
	uint32_t fo_off_times;
	struct syncookie_keys cookies; /* of now, by cookie_key */
	uint32_t port_table[PORT_TABLE]; /* RFC 6056 §3.3.4 */
	uint64_t drops[DROP_MAX];

	struct udp_sock *udps; /* [cfg.n_udp] */
	uint32_t *udp_ports, udp_port_mask;   /* unconnected, by local port */
	uint32_t *udp_conns, udp_conn_mask;   /* connected, by all four */
	struct free_list udp_free;
	uint32_t uev_head, uev_tail; /* with events */
	stack_tap_fn udp_tap, tcp_tap;
	void *tap_ctx;

	struct reasm *reasm; /* reasm.c's */
	uint32_t *reasm_buckets, reasm_mask;
	struct free_list reasm_free;
	uint32_t reasm_head, reasm_tail; /* by age, the oldest first */
	uint32_t reasm_chunks;

	stack_trace_fn trace;
	void *trace_ctx;
};

static inline struct tcb *tcb_at(struct stack *s, uint32_t i)
{
	return &s->a.tcbs[i];
}

static inline uint32_t tcb_index(const struct stack *s, const struct tcb *t)
{
	return (uint32_t)(t - s->a.tcbs);
}

static inline uint8_t *chunk_data(const struct stack *s, uint32_t i)
{
	return s->a.chunks + (uint64_t)i * CHUNK_SIZE;
}

static inline void mib_inc(struct stack *s, enum mib m)
{
	s->a.mib[m]++;
}
#define MIB(s, name) mib_inc((s), MIB_##name)

/* Appends to the queue of finished packets. False: cfg.n_pending are held, it was dropped. */
bool stack_queue_pkt(struct stack *s, struct pkt *p);
/*
 * Reports that a last trace is gone (EV_FREED, EV_TIMEWAIT), @ev filled in by the caller. Reports
 * are given out before all other events, so that the end of a pair is seen before its next use.
 */
void stack_report(struct stack *s, const struct stack_ev *ev);

/* Reports that wait. At half the ring no new TCB is given out: each and each record may end in two. */
static inline uint32_t stack_reports_pending(const struct stack *s)
{
	return s->freed_tail >= s->freed_head ? s->freed_tail - s->freed_head
					      : s->freed_tail + s->freed_size - s->freed_head;
}

/* Parts of stack_check(), each in its own file: 0 or -E_UCLEAN with @why. */
int wheel_check(const struct stack *s, char *why, size_t len);
int pool_check(const struct stack *s, char *why, size_t len);
int tcp_mem_check(const struct stack *s, char *why, size_t len);
int conn_table_check(const struct stack *s, char *why, size_t len);
int tcp_check(const struct stack *s, const struct tcb *t, char *why, size_t len);
int listen_check(const struct stack *s, char *why, size_t len);
int timewait_check(const struct stack *s, char *why, size_t len);
int neigh_check(const struct stack *s, char *why, size_t len);
int reasm_check(const struct stack *s, char *why, size_t len);
int udp_check(const struct stack *s, char *why, size_t len);
/* Writes "text number" into @why without stdio and returns -E_UCLEAN. (stack.c) */
int check_fail(char *why, size_t len, const char *text, uint64_t number);

#endif
