// SPDX-License-Identifier: BSD-2-Clause
/*
 * The stack as a whole: its memory, the way in (Ethernet, IEEE 802.3 and 802.1Q) and out, the
 * clock's tick, events, and the check of all invariants.
 *
 * Owns the queue of finished packets (txq), the list of connections with something to send
 * (out), and the ring of reports about connections that are gone (freed).
 */
#include "tcp.h"

#define ETHERTYPE_VLAN 0x8100u
#define ETHERTYPE_QINQ 0x88a8u
#define VLAN_HLEN 4u
#define VLAN_VID 0x0fffu
#define OUT_BURST 16u /* segments of one connection before the next one's turn */
#define N_PENDING_DEFAULT 1024u
#define MAX_REASM 4096u

/* ---- memory ---- */

/* Hands out parts of @base; with NULL it only adds up. */
struct carver {
	uint8_t *base;
	size_t off;
};

static void *carve(struct carver *c, size_t n, size_t size)
{
	uint8_t *p = c->base ? c->base + c->off : NULL;

	c->off += (n * size + 63) & ~(size_t)63;
	return p;
}

static uint32_t *carve_buckets(struct carver *c, uint32_t n, uint32_t *mask)
{
	uint32_t size = 16;

	while (size < n)
		size <<= 1;
	*mask = size - 1;
	return carve(c, size, sizeof(uint32_t));
}

static void carve_free_list(struct carver *c, struct free_list *f, uint32_t size)
{
	*f = (struct free_list){.size = size, .next = carve(c, size, sizeof(uint32_t))};
}

static uint32_t neigh_limit(const struct stack_cfg *cfg, const struct arena_view *a)
{
	uint32_t max = cfg->limits.gc_thresh3;

	if (cfg->role != STACK_FULL)
		return 0;
	return max && max < a->n_neighs ? max : a->n_neighs;
}

static uint32_t reasm_limit(const struct stack_cfg *cfg)
{
	uint32_t n = cfg->limits.ipfrag_high_thresh / CHUNK_SIZE;

	if (cfg->role != STACK_FULL)
		return 0;
	return n < MAX_REASM ? n : MAX_REASM;
}

/* Lays out the private tables of @s; with no @base it only says how much they take. */
static size_t layout(struct stack *s, uint8_t *base, const struct stack_cfg *cfg,
		     const struct arena_view *a)
{
	struct carver c = {.base = base};
	uint32_t n_neighs = neigh_limit(cfg, a), n_reasm = reasm_limit(cfg);

	carve(&c, 1, sizeof(struct stack));
	s->conn_buckets = carve_buckets(&c, a->n_tcbs, &s->conn_max_buckets);
	s->conn_max_buckets++;
	s->synreq_buckets = carve_buckets(&c, cfg->n_synreqs, &s->synreq_mask);
	s->tw_buckets = carve_buckets(&c, cfg->n_tw, &s->tw_mask);
	s->listener_buckets = carve_buckets(&c, cfg->n_listeners, &s->listener_mask);
	s->neigh_buckets = carve_buckets(&c, n_neighs, &s->neigh_mask);
	s->reasm_buckets = carve_buckets(&c, n_reasm, &s->reasm_mask);
	s->udp_ports = carve_buckets(&c, cfg->n_udp, &s->udp_port_mask);
	s->udp_conns = carve_buckets(&c, cfg->n_udp, &s->udp_conn_mask);
	carve_free_list(&c, &s->tcb_free, a->n_tcbs);
	carve_free_list(&c, &s->work_free, a->n_tcbs);
	carve_free_list(&c, &s->chunk_free, a->n_chunks);
	carve_free_list(&c, &s->synreq_free, cfg->n_synreqs);
	carve_free_list(&c, &s->tw_free, cfg->n_tw);
	carve_free_list(&c, &s->listener_free, cfg->n_listeners);
	carve_free_list(&c, &s->neigh_free, n_neighs);
	carve_free_list(&c, &s->reasm_free, n_reasm);
	carve_free_list(&c, &s->udp_free, cfg->n_udp);
	s->synreqs = a->synreqs ? a->synreqs : carve(&c, cfg->n_synreqs, sizeof(*s->synreqs));
	s->tws = a->tws ? a->tws : carve(&c, cfg->n_tw, sizeof(*s->tws));
	s->listeners = carve(&c, cfg->n_listeners, sizeof(*s->listeners));
	s->routes = carve(&c, cfg->n_routes, sizeof(*s->routes));
	s->neigh_priv = carve(&c, n_neighs, sizeof(*s->neigh_priv));
	s->reasm = carve(&c, n_reasm, reasm_size());
	s->fo_cache = carve(&c, cfg->role == STACK_FULL ? FO_CACHE : 0, sizeof(*s->fo_cache));
	s->icmp_hosts = carve(&c, cfg->role == STACK_FULL ? ICMP_HOSTS : 0, sizeof(*s->icmp_hosts));
	s->udps = carve(&c, cfg->n_udp, sizeof(*s->udps));
	/* See tcb_alloc(): each TCB may still end in two reports, each record in one. */
	s->freed_size = 2 * (2 * a->n_tcbs + cfg->n_tw + 1);
	s->freed = carve(&c, s->freed_size, sizeof(*s->freed));
	return c.off;
}

size_t stack_mem_size(const struct stack_cfg *cfg, const struct arena_view *a)
{
	struct stack scratch;

	return layout(&scratch, NULL, cfg, a);
}

struct stack *stack_init(void *mem, const struct stack_cfg *cfg, const struct arena_view *a,
			 struct pkt_pool *pool, struct mtime now)
{
	struct stack *s = mem;
	uint64_t seed[11];

	layout(s, mem, cfg, a);
	s->cfg = *cfg;
	s->a = *a;
	s->pool = pool;
	s->now = now;
	if (!s->cfg.n_pending)
		s->cfg.n_pending = N_PENDING_DEFAULT;
	if (!s->cfg.limits.port_lo)
		stack_set_ports(s, 32768, 60999);
	if (!s->cfg.limits.ip_default_ttl)
		s->cfg.limits.ip_default_ttl = 64;
	s->conn_hash = LINHASH_INIT;
	tcp_mem_init(s);
	wheel_init(&s->wheel, now);
	s->out_head = s->out_tail = s->ev_head = s->ev_tail = SHM_NIL;
	s->lev_head = s->lev_tail = s->reasm_head = s->reasm_tail = SHM_NIL;
	s->uev_head = s->uev_tail = SHM_NIL;
	/* Keys of their own, so that what one shows says nothing of the others. */
	for (uint64_t i = 0; i < 11; i++)
		seed[i] = siphash_24(s->cfg.key, &i, sizeof(i));
	memcpy(s->isn_key, seed, sizeof(s->isn_key));
	memcpy(s->port_key, seed + 2, sizeof(s->port_key));
	s->ip_id = (uint16_t)seed[4];
	memcpy(s->cookie_key, seed + 5, sizeof(s->cookie_key));
	memcpy(s->fo_key, seed + 7, sizeof(s->fo_key));
	memcpy(s->fo_keys.key[0], seed + 9, FO_KEY_LEN);
	s->fo_keys.n = 1;
	s->cookies.period = UINT64_MAX; /* none: no keys yet */
	return s;
}

/* ---- in ---- */

/* Later code may rely on .len for what stands in the fragments. */
static bool frags_ok(const struct pkt *p)
{
	uint64_t sum = 0;

	if (!p->nfrags || p->nfrags > PKT_MAX_FRAGS)
		return false;
	for (uint32_t i = 0; i < p->nfrags; i++)
		sum += p->frag[i].len;
	return sum == p->len;
}

/* Finds the network header, behind at most two priority tags (VLAN 0). */
static enum drop eth_parse(struct stack *s, struct pkt *p, uint16_t *type)
{
	const struct netif *n = &s->netifs[p->netif % STACK_MAX_NETIFS];
	const uint8_t *eth = p->frag[0].p;
	uint32_t len = p->frag[0].len, off = ETH_HLEN_;

	if (!frags_ok(p) || len < ETH_HLEN_ || eth[6] & 1)
		return DROP_BAD_FRAME;
	if (p->netif >= STACK_MAX_NETIFS || !n->used || (!(eth[0] & 1) && memcmp(eth, n->mac, 6)))
		return DROP_NOT_FOR_US;
	*type = get_be16(eth + 12);
	for (int tags = 0; *type == ETHERTYPE_VLAN || *type == ETHERTYPE_QINQ; tags++) {
		if (len < off + VLAN_HLEN || tags == 2)
			return DROP_BAD_FRAME;
		if (get_be16(eth + off) & VLAN_VID)
			return DROP_NOT_FOR_US;
		*type = get_be16(eth + off + 2);
		off += VLAN_HLEN;
	}
	p->l3_off = (uint16_t)off;
	p->l4_off = 0;
	return DROP_NONE;
}

static enum drop eth_input(struct stack *s, struct pkt *p, struct mtime now)
{
	uint16_t type = 0;
	enum drop d = eth_parse(s, p, &type);

	if (d == DROP_BAD_FRAME)
		MIB(s, Td_BadFrame);
	else if (d == DROP_NOT_FOR_US)
		MIB(s, Td_NotForUs);
	if (d != DROP_NONE)
		return d;
	switch (type) {
	case ETHERTYPE_IP4:
		return ip_input(s, p, now);
	case ETHERTYPE_ARP:
		return arp_input(s, p, now);
	case ETHERTYPE_IP6:
		return DROP_PROTO;
	default:
		MIB(s, Td_BadFrame);
		return DROP_BAD_FRAME;
	}
}

enum drop stack_input(struct stack *s, struct pkt *p, struct mtime now)
{
	enum drop d;

	s->now = now;
	d = eth_input(s, p, now);
	s->drops[d]++;
	return d;
}

/* ---- out ---- */

void eth_header(const struct stack *s, uint16_t netif, uint8_t *eth, const uint8_t dst[6],
		uint16_t type)
{
	memcpy(eth, dst, 6);
	memcpy(eth + 6, s->netifs[netif].mac, 6);
	put_be16(eth + 12, type);
}

bool stack_queue_pkt(struct stack *s, struct pkt *p)
{
	if (s->n_pending >= s->cfg.n_pending) {
		MIB(s, Td_NoBuffer);
		pkt_free(s->pool, p);
		return false;
	}
	p->next = NULL;
	if (s->txq_tail)
		s->txq_tail->next = p;
	else
		s->txq_head = p;
	s->txq_tail = p;
	s->n_pending++;
	return true;
}

static struct pkt *txq_pop(struct stack *s)
{
	struct pkt *p = s->txq_head;

	if (!p)
		return NULL;
	s->txq_head = p->next;
	if (!p->next)
		s->txq_tail = NULL;
	p->next = NULL;
	s->n_pending--;
	return p;
}

bool stack_replies_due(const struct stack *s)
{
	return s->n_pending > s->cfg.n_pending / 2 && s->txq_head;
}

struct pkt *stack_reply(struct stack *s)
{
	return txq_pop(s);
}

static void out_push_front(struct stack *s, struct tcb *t)
{
	t->flags |= TCB_F_OUT_QUEUED;
	tcb_work_get(s, t)->out_next = s->out_head;
	s->out_head = tcb_index(s, t);
	if (s->out_tail == SHM_NIL)
		s->out_tail = s->out_head;
}

/*
 * One packet of the connection whose turn it is. It leaves the list first, as tcp_output() may end
 * it (a reset was its last word). *@more: the next one may be asked.
 */
static struct pkt *out_turn(struct stack *s, struct mtime now, bool *more)
{
	struct tcb *t = tcb_at(s, s->out_head);
	uint32_t generation = t->generation;
	struct pkt *p;
	bool alive, listed;

	s->out_head = tcb_work(t)->out_next;
	if (s->out_head == SHM_NIL)
		s->out_tail = SHM_NIL;
	tcb_work(t)->out_next = SHM_NIL;
	t->flags &= ~TCB_F_OUT_QUEUED;

	p = tcp_output(s, t, now);
	alive = t->owner == TCB_MINE && t->generation == generation;
	listed = alive && t->flags & TCB_F_OUT_QUEUED;
	/* What put itself back without a packet waits for memory. */
	*more = p || !listed || s->txq_head;
	if (!p || !alive || listed || tcp_output_done(s, t, now)) {
		s->out_burst = 0;
	} else if (++s->out_burst < OUT_BURST) {
		out_push_front(s, t);
	} else {
		s->out_burst = 0;
		tcp_want_output(s, t);
	}
	return p;
}

struct pkt *stack_output(struct stack *s, struct mtime now)
{
	bool more = true;

	s->now = now;
	for (;;) {
		struct pkt *p = txq_pop(s);

		if (p || !more || s->out_head == SHM_NIL || !s->pool->free)
			return p;
		p = out_turn(s, now, &more);
		if (p)
			return p;
	}
}

bool stack_wants_output(const struct stack *s)
{
	return s->txq_head || s->out_head != SHM_NIL;
}

/* ---- time ---- */

struct mtime stack_deadline(const struct stack *s)
{
	/* stack_output() may end a connection: its driver has looked for events before that. */
	bool events = s->ev_head != SHM_NIL || s->lev_head != SHM_NIL || s->uev_head != SHM_NIL ||
		      s->freed_head != s->freed_tail;

	return events || stack_wants_output(s) ? s->now : wheel_next(s);
}

void stack_tick(struct stack *s, struct mtime now)
{
	uint32_t id;

	s->now = now;
	while (wheel_expired(s, now, &id)) {
		uint32_t i = TIMER_IDX(id);

		switch (TIMER_KIND(id)) {
		case TK_CONN:
			tcp_timer(s, i, now);
			break;
		case TK_NEIGH:
			neigh_timer(s, i, now);
			break;
		case TK_SYNREQ:
			synreq_timer(s, i, now);
			break;
		case TK_TIMEWAIT:
			timewait_timer(s, i, now);
			break;
		case TK_REASM:
			reasm_timer(s, i, now);
			break;
		case TK_MAX:
			break;
		}
	}
}

/* ---- events ---- */

int stack_event(struct stack *s, const struct net_event *ev, struct mtime now)
{
	s->now = now;
	if (ev->netif >= STACK_MAX_NETIFS)
		return -E_INVAL;
	switch (ev->kind) {
	case NET_LINK_UP:
	case NET_LINK_DOWN:
	case NET_ADDR_ADD:
	case NET_ADDR_DEL:
		return netif_event(s, ev, now);
	case NET_ROUTE_ADD:
	case NET_ROUTE_DEL:
		return route_event(s, ev);
	case NET_NEIGH_SET:
	case NET_NEIGH_DEL:
		return neigh_event(s, ev, now);
	}
	return -E_INVAL;
}

void stack_report(struct stack *s, const struct stack_ev *ev)
{
	tcp_assert(stack_reports_pending(s) + 1 < s->freed_size);
	s->freed[s->freed_tail] = *ev;
	s->freed_tail = s->freed_tail + 1 < s->freed_size ? s->freed_tail + 1 : 0;
}

static bool report_next(struct stack *s, struct stack_ev *ev)
{
	if (s->freed_head == s->freed_tail)
		return false;
	*ev = s->freed[s->freed_head];
	s->freed_head = s->freed_head + 1 < s->freed_size ? s->freed_head + 1 : 0;
	if (s->freed_head == s->freed_tail)
		s->freed_head = s->freed_tail = 0; /* pages that were never used stay so */
	return true;
}

static bool conn_event_next(struct stack *s, struct stack_ev *ev)
{
	while (s->ev_head != SHM_NIL) {
		uint32_t conn = s->ev_head;
		struct tcb *t = tcb_at(s, conn);

		s->ev_head = tcb_work(t)->ev_next;
		if (s->ev_head == SHM_NIL)
			s->ev_tail = SHM_NIL;
		tcb_work(t)->ev_next = SHM_NIL;
		t->flags &= ~TCB_F_EV_QUEUED;
		/* Where an ACK is owed it is looked at again when that is sent. */
		if (t->snd_una == t->snd_max &&
		    !(t->flags & (TCB_F_ACK_NOW | TCB_F_ACK_DELAYED | TCB_F_WORK_NOW)))
			tcp_arm(s, t, tcb_work_put(s, t, s->now));
		ev->mask = t->ev_mask;
		ev->conn = conn;
		ev->generation = t->generation;
		ev->listener = SHM_NIL;
		ev->cookie = tcb_cookie(t);
		t->ev_mask = 0;
		if (ev->mask)
			return true;
	}
	return false;
}

static bool listener_event_next(struct stack *s, struct stack_ev *ev)
{
	uint32_t id = s->lev_head;
	struct listener *l;

	if (id == SHM_NIL)
		return false;
	l = &s->listeners[id];
	s->lev_head = l->ev_next;
	if (s->lev_head == SHM_NIL)
		s->lev_tail = SHM_NIL;
	l->ev_next = SHM_NIL;
	l->ev_queued = false;
	*ev = (struct stack_ev){.mask = EV_ACCEPT | (l->ev_cookies ? EV_COOKIES : 0),
				.conn = TD_NO_CONN,
				.listener = id,
				.cookie = l->cookie};
	l->ev_cookies = false;
	return true;
}

bool stack_event_next(struct stack *s, struct stack_ev *ev)
{
	return report_next(s, ev) || conn_event_next(s, ev) || listener_event_next(s, ev) ||
	       udp_event_next(s, ev);
}

/* ---- looking at it ---- */

void stack_usage(const struct stack *s, struct stack_usage *u)
{
	*u = (struct stack_usage){
		.tcbs = free_list_in_use(&s->tcb_free),
		.tcbs_exported = s->n_exported,
		.chunks = free_list_in_use(&s->chunk_free),
		.listeners = free_list_in_use(&s->listener_free),
		.synreqs = free_list_in_use(&s->synreq_free),
		.timewaits = free_list_in_use(&s->tw_free),
		.neighs = free_list_in_use(&s->neigh_free),
		.orphans = s->n_orphans,
		.routes = s->n_routes,
		.pending = s->n_pending,
		.udp = free_list_in_use(&s->udp_free),
		.mem_limit = {s->mem_limit[0], s->mem_limit[1], s->mem_limit[2]},
		.mem_pressure = s->mem_pressure,
	};
}

void stack_count(struct stack *s, enum mib m, uint64_t n)
{
	s->a.mib[m] += n;
}

uint64_t stack_drops(const struct stack *s, enum drop d)
{
	return (uint32_t)d < DROP_MAX ? s->drops[d] : 0;
}

bool stack_next_conn(const struct stack *s, uint32_t *it, uint32_t *conn)
{
	while (*it < s->tcb_free.used) {
		uint32_t i = (*it)++;

		if (s->a.tcbs[i].owner == TCB_MINE) {
			*conn = i;
			return true;
		}
	}
	return false;
}

void stack_set_way(struct stack *s, stack_way_fn fn, void *ctx)
{
	s->way = fn;
	s->way_ctx = ctx;
}

void stack_set_taps(struct stack *s, stack_tap_fn udp, stack_tap_fn tcp, void *ctx)
{
	s->udp_tap = udp;
	s->tcp_tap = tcp;
	s->tap_ctx = ctx;
}

void stack_set_trace(struct stack *s, stack_trace_fn fn, void *ctx)
{
	s->trace = fn;
	s->trace_ctx = ctx;
}

int check_fail(char *why, size_t len, const char *text, uint64_t number)
{
	char digits[21];
	size_t n = 0, d = sizeof(digits);

	if (!len)
		return -E_UCLEAN;
	do
		digits[--d] = (char)('0' + number % 10);
	while (number /= 10);
	while (*text && n + 1 < len)
		why[n++] = *text++;
	if (n + 1 < len)
		why[n++] = ' ';
	while (d < sizeof(digits) && n + 1 < len)
		why[n++] = digits[d++];
	why[n] = 0;
	return -E_UCLEAN;
}

/* A list of TCBs holds just those with @flag. @next: offset of the link in the TCB. */
static int conn_list_check(const struct stack *s, uint32_t head, uint32_t tail, size_t next,
			   uint32_t flag, char *why, size_t len)
{
	uint32_t flagged = 0, n = 0, last = SHM_NIL;

	for (uint32_t i = 0; i < s->tcb_free.used; i++)
		flagged += s->a.tcbs[i].owner == TCB_MINE && s->a.tcbs[i].flags & flag;
	for (uint32_t i = head; i != SHM_NIL; n++) {
		if (i >= s->tcb_free.used || n > flagged || s->a.tcbs[i].owner != TCB_MINE ||
		    !(s->a.tcbs[i].flags & flag) || !s->a.tcbs[i].work)
			return check_fail(why, len, "stack: output or event list: bad item", i);
		last = i;
		memcpy(&i, (const uint8_t *)tcb_work(&s->a.tcbs[i]) + next, sizeof(i));
	}
	if (n != flagged || last != tail)
		return check_fail(why, len, "stack: output or event list: bad tail or length", n);
	return 0;
}

int stack_check(const struct stack *s, char *why, size_t len)
{
	uint32_t it = 0, conn;
	int rc;

	if ((rc = wheel_check(s, why, len)) || (rc = pool_check(s, why, len)) ||
	    (rc = tcp_mem_check(s, why, len)) || (rc = conn_table_check(s, why, len)) ||
	    (rc = neigh_check(s, why, len)) || (rc = reasm_check(s, why, len)) ||
	    (rc = listen_check(s, why, len)) || (rc = timewait_check(s, why, len)) ||
	    (rc = udp_check(s, why, len)))
		return rc;
	rc = conn_list_check(s, s->out_head, s->out_tail, offsetof(struct tcb_work, out_next),
			     TCB_F_OUT_QUEUED, why, len);
	if (!rc)
		rc = conn_list_check(s, s->ev_head, s->ev_tail, offsetof(struct tcb_work, ev_next),
				     TCB_F_EV_QUEUED, why, len);
	while (!rc && stack_next_conn(s, &it, &conn))
		rc = tcp_check(s, &s->a.tcbs[conn], why, len);
	return rc;
}
