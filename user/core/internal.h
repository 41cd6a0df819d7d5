/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The stack's own record, which all of the core's files share. Nothing outside user/core/ (and its
 * unit tests) includes this, or the headers of the parts that it is made of.
 */
#ifndef TANDEM_CORE_INTERNAL_H
#define TANDEM_CORE_INTERNAL_H

#include "common/csum.h"
#include "common/linhash.h"
#include "common/seq.h"
#include "common/syncookie.h"
#include "ip.h"
#include "listen.h"
#include "neigh.h"
#include "netif.h"
#include "pool.h"
#include "stack.h"
#include "udp.h"
#include "wheel.h"
#include "wire.h"

#define PORT_TABLE 256u /* RFC 6056 §3.3.4 */

struct stack {
	struct stack_cfg cfg;
	struct arena_view a;
	struct pkt_pool *pool;
	struct mtime now; /* of the last call: for traces and checks only */

	struct wheel wheel;
	struct free_list tcb_free, work_free, chunk_free, synreq_free, tw_free, listener_free;
	uint32_t n_cold;       /* the last so many of the free chunks have lost their pages */
	uint32_t tcb_gen;      /* no TCB above the mark was used under a later generation */
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
	struct fo_keys fo_keys;
	struct fo_entry *fo_cache; /* [FO_CACHE] */
	struct mtime fo_off_until; /* black hole */
	uint32_t fo_off_times;
	struct syncookie_keys cookies; /* of now, by cookie_key */
	uint32_t port_table[PORT_TABLE];
	uint64_t drops[DROP_MAX];

	struct udp_sock *udps;		    /* [cfg.n_udp] */
	uint32_t *udp_ports, udp_port_mask; /* unconnected, by local port */
	uint32_t *udp_conns, udp_conn_mask; /* connected, by all four */
	struct free_list udp_free;
	uint32_t uev_head, uev_tail; /* with events */
	stack_tap_fn udp_tap, tcp_tap;
	void *tap_ctx;
	stack_way_fn way;
	void *way_ctx;

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
#define MIB_ADD(s, name, n) ((s)->a.mib[MIB_##name] += (n))

/* A packet to build: the transport starts at ip_payload(p). NULL: pool empty (counted). */
static inline struct pkt *ip_pkt_alloc(struct stack *s, bool v6)
{
	struct pkt *p = pkt_alloc(s->pool);

	if (!p) {
		MIB(s, Td_NoBuffer);
		return NULL;
	}
	p->l3_off = ETH_HLEN_;
	p->l4_off = (uint16_t)(ETH_HLEN_ + (v6 ? IP6_HLEN : IP4_HLEN));
	return p;
}

/* l4_checksum() where the pseudo-header sums up to @pseudo. */
static inline void l4_checksum_pseudo(struct stack *s, struct pkt *p, uint32_t pseudo,
				      uint8_t proto, uint32_t l4_len, uint16_t csum_off)
{
	uint16_t field;

	if (!s->cfg.csum_offload && !p->gso_size) {
		l4_checksum_complete(p, pseudo, proto, l4_len, csum_off);
		return;
	}
	p->csum = PKT_CSUM_PARTIAL;
	p->csum_start = p->l4_off;
	p->csum_off = csum_off;
	field = (uint16_t)~csum_fold(pseudo);
	memcpy(ip_payload(p) + csum_off, &field, 2);
}

/* The connection's record of work, made if there is none. */
static inline struct tcb_work *tcb_work_get(struct stack *s, struct tcb *t)
{
	return __builtin_expect(!!t->work, 1) ? tcb_work(t) : tcb_work_make(s, t);
}

/* SHM_NIL: none left. Empty, .next SHM_NIL. */
static inline uint32_t chunk_alloc(struct stack *s)
{
	struct free_list *f = &s->chunk_free;
	uint32_t i = free_list_get(f), used = free_list_in_use(f);

	if (i == SHM_NIL)
		return i;
	if (s->n_cold > f->n_free)
		s->n_cold = f->n_free;
	s->a.chunk_hdrs[i] = (struct chunk_hdr){.next = SHM_NIL, .skip = SHM_NIL};
	if (used > s->mem_limit[1] && !s->mem_pressure)
		tcp_mem_changed(s);
	return i;
}

static inline void chunk_free(struct stack *s, uint32_t idx)
{
	free_list_put(&s->chunk_free, idx);
	if (s->mem_pressure)
		tcp_mem_changed(s);
}

/* conn_table.c */
uint64_t siphash_24(const uint64_t key[2], const void *p, uint32_t len);

/* Appends to the queue of finished packets. False: cfg.n_pending are held, it was dropped. */
bool stack_queue_pkt(struct stack *s, struct pkt *p);
/*
 * Reports that a last trace is gone (EV_FREED, EV_TIMEWAIT), @ev filled in by the caller. Reports
 * are given out before all other events, so that the end of a pair is seen before its next use.
 */
void stack_report(struct stack *s, const struct stack_ev *ev);

/* Reports that wait. At half the ring no new TCB is given out: each and each record may end in two.
 */
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

/*
 * An application that had it first, and passed it on as not its own, has counted it already, and
 * sees it for the second time when the daemon returns it. (What the daemon's filter passes on its
 * stack has not seen.)
 */
static inline bool ip_counted(const struct stack *s, const struct pkt *p)
{
	return p->injected > (s->cfg.role == STACK_APP);
}

#endif
