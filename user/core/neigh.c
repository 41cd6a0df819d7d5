// SPDX-License-Identifier: BSD-2-Clause
/*
 * Neighbours and their reachability (RFC 4861 §7.3, used for ARP as Linux does, with its timers).
 * Owns s->neigh_priv and the table a->neighs, which applications read: MAC and state of an entry
 * change in one word. In an application (STACK_APP) the table is the daemon's and only read.
 *
 * Invariants: packets wait only in INCOMPLETE; the timer runs in INCOMPLETE, REACHABLE, DELAY and
 * PROBE, and in no other state; buckets and hash_next hold index + 1, 0 is the end.
 */
#include "tcp.h"

#define REACHABLE_NS (30 * NS_PER_S) /* base_reachable_time: times 0.5 … 1.5 */
#define REACHABLE_EPOCH_NS (300 * NS_PER_S)
#define DELAY_FIRST_PROBE_NS (5 * NS_PER_S)
#define RETRANS_NS NS_PER_S
#define UCAST_SOLICIT 3u
#define MCAST_SOLICIT 3u
#define MAC_MASK ((1ull << 48) - 1)
#define LOCKTIME_NS NS_PER_S /* of several answers the first one counts */

static enum nud_state state_of(const struct stack *s, uint32_t idx)
{
	return neigh_state_of(s->a.neighs[idx].mac_state);
}

static uint32_t *bucket(const struct stack *s, uint16_t netif, const struct ip_addr *a)
{
	struct {
		struct ip_addr a;
		uint32_t netif;
	} key = {*a, netif};

	return &s->neigh_buckets[siphash_24(s->cfg.key, &key, sizeof(key)) & s->neigh_mask];
}

static uint32_t find(const struct stack *s, uint16_t netif, const struct ip_addr *a)
{
	for (uint32_t i = *bucket(s, netif, a); i; i = s->neigh_priv[i - 1].hash_next)
		if (s->a.neighs[i - 1].netif == netif && ip_addr_eq(&s->a.neighs[i - 1].addr, a))
			return i - 1;
	return SHM_NIL;
}

/* Random, and another one from time to time, so that hosts do not go on in step. */
static uint64_t reachable_ns(const struct stack *s, struct mtime now)
{
	uint64_t epoch = now.ns / REACHABLE_EPOCH_NS;

	return REACHABLE_NS / 2 + siphash_24(s->cfg.key, &epoch, sizeof(epoch)) % REACHABLE_NS;
}

/* The one place that changes a state: publishes it and sets the timer that it needs. */
static void set_state(struct stack *s, uint32_t idx, const uint8_t mac[6], enum nud_state state,
		      struct mtime now)
{
	struct neigh_priv *n = &s->neigh_priv[idx];
	uint64_t word = (uint64_t)state << 48, ns = 0;

	for (int i = 0; i < 6; i++)
		word |= (uint64_t)mac[i] << (40 - 8 * i);
	store_release(&s->a.neighs[idx].mac_state, word);
	switch (state) {
	case NUD_REACHABLE:
		ns = reachable_ns(s, now);
		break;
	case NUD_DELAY:
		ns = DELAY_FIRST_PROBE_NS;
		break;
	case NUD_INCOMPLETE:
	case NUD_PROBE:
		n->probes = 0;
		ns = RETRANS_NS;
		break;
	default:
		break;
	}
	if (ns)
		wheel_set(s, TIMER_ID(TK_NEIGH, idx), mtime_add_ns(now, ns));
	else
		wheel_del(s, TIMER_ID(TK_NEIGH, idx));
}

static void move_to(struct stack *s, uint32_t idx, enum nud_state state, struct mtime now)
{
	uint8_t mac[6];

	neigh_mac_of(s->a.neighs[idx].mac_state, mac);
	set_state(s, idx, mac, state, now);
}

/* ---- finding and making room ---- */

static void unlink_entry(struct stack *s, uint32_t idx)
{
	uint32_t *link = bucket(s, s->a.neighs[idx].netif, &s->a.neighs[idx].addr);

	while (*link != idx + 1)
		link = &s->neigh_priv[*link - 1].hash_next;
	*link = s->neigh_priv[idx].hash_next;
}

/* What has failed goes first, then what was not used for the longest time. */
static uint32_t evict(struct stack *s)
{
	uint32_t victim = SHM_NIL;
	uint64_t oldest = UINT64_MAX;

	for (uint32_t i = 0; i < s->neigh_free.used; i++) {
		enum nud_state state = state_of(s, i);
		uint64_t age = state == NUD_STALE ? s->neigh_priv[i].used + 1 : 0;

		if ((state == NUD_STALE || state == NUD_FAILED || state == NUD_NONE) &&
		    age < oldest) {
			victim = i;
			oldest = age;
		}
	}
	if (victim != SHM_NIL)
		unlink_entry(s, victim);
	return victim;
}

static uint32_t create(struct stack *s, uint16_t netif, const struct ip_addr *a, bool may_evict,
		       struct mtime now)
{
	static const uint8_t none[6];
	uint32_t idx = free_list_get(&s->neigh_free);
	uint32_t *b = bucket(s, netif, a);
	struct neigh *pub;

	if (idx == SHM_NIL && may_evict)
		idx = evict(s);
	if (idx == SHM_NIL)
		return SHM_NIL;
	pub = &s->a.neighs[idx];
	/* Readers must not find the old MAC under the new generation. */
	store_release(&pub->mac_state, 0);
	store_release(&pub->generation, pub->generation + 1);
	pub->addr = *a;
	pub->netif = netif;
	s->neigh_priv[idx] = (struct neigh_priv){
		.timer = {SHM_NIL, SHM_NIL, SHM_NIL}, .hash_next = *b, .used = now.ns};
	*b = idx + 1;
	if (netif_is_loopback(&s->netifs[netif]))
		set_state(s, idx, none, NUD_PERMANENT, now);
	return idx;
}

static uint32_t find_published(const struct stack *s, uint16_t netif, const struct ip_addr *a)
{
	for (uint32_t i = 0; i < s->a.n_neighs; i++) {
		const struct neigh *n = &s->a.neighs[i];

		if (nud_usable(neigh_state_of(load_acquire(&n->mac_state))) && n->netif == netif &&
		    ip_addr_eq(&n->addr, a))
			return i;
	}
	return SHM_NIL;
}

uint32_t neigh_get(struct stack *s, uint16_t netif, const struct ip_addr *a, struct mtime now)
{
	uint32_t idx;

	if (s->cfg.role == STACK_APP)
		return find_published(s, netif, a);
	idx = find(s, netif, a);
	return idx != SHM_NIL ? idx : create(s, netif, a, true, now);
}

/* ---- sending ---- */

bool neigh_fill(struct stack *s, uint32_t idx, uint16_t netif, uint8_t *eth, uint16_t ethertype,
		struct mtime now)
{
	uint64_t word;
	uint8_t mac[6];
	bool usable;

	if (idx >= (s->cfg.role == STACK_APP ? s->a.n_neighs : s->neigh_free.used))
		return false;
	word = load_acquire(&s->a.neighs[idx].mac_state);
	usable = nud_usable(neigh_state_of(word));
	/* An application cannot ask again: it goes on with the MAC that was known last. */
	if (s->cfg.role == STACK_APP && word & MAC_MASK)
		usable = true;
	if (!usable || s->a.neighs[idx].netif != netif)
		return false;
	neigh_mac_of(word, mac);
	eth_header(s, netif, eth, mac, ethertype);
	if (s->cfg.role == STACK_FULL) {
		s->neigh_priv[idx].used = now.ns;
		if (neigh_state_of(word) == NUD_STALE)
			move_to(s, idx, NUD_DELAY, now);
	}
	return true;
}

static struct pkt *queue_pop(struct stack *s, struct neigh_priv *n)
{
	struct pkt *p = n->q_head;

	if (!p)
		return NULL;
	n->q_head = p->next;
	if (!p->next)
		n->q_tail = NULL;
	p->next = NULL;
	n->q_len--;
	s->n_pending--;
	return p;
}

static void queue_append(struct stack *s, struct neigh_priv *n, struct pkt *p)
{
	p->next = NULL;
	if (n->q_tail)
		n->q_tail->next = p;
	else
		n->q_head = p;
	n->q_tail = p;
	n->q_len++;
	s->n_pending++;
}

static void drop_pkt(struct stack *s, struct pkt *p)
{
	MIB(s, Td_NeighDrops);
	pkt_free(s->pool, p);
}

/* As in Linux, the oldest packet makes room for the newest. Half of all is kept for replies. */
static bool queue_pkt(struct stack *s, struct neigh_priv *n, struct pkt *p)
{
	uint32_t max = s->cfg.limits.unres_qlen, all = s->cfg.n_pending / 2;

	if (n->q_len && (n->q_len >= max || s->n_pending >= all))
		drop_pkt(s, queue_pop(s, n));
	if (!max || s->n_pending >= all) {
		drop_pkt(s, p);
		return false;
	}
	queue_append(s, n, p);
	return true;
}

bool neigh_send(struct stack *s, uint32_t idx, struct pkt *p, struct mtime now)
{
	bool v6 = p->frag[0].p[p->l3_off] >> 4 == 6;
	struct neigh_priv *n;

	if (neigh_fill(s, idx, p->netif, p->frag[0].p, v6 ? ETHERTYPE_IP6 : ETHERTYPE_IP4, now))
		return stack_queue_pkt(s, p);
	if (s->cfg.role == STACK_APP || idx >= s->neigh_free.used ||
	    s->a.neighs[idx].netif != p->netif) {
		drop_pkt(s, p);
		return false;
	}
	n = &s->neigh_priv[idx];
	n->used = now.ns;
	if (!queue_pkt(s, n, p))
		return false;
	if (state_of(s, idx) != NUD_INCOMPLETE) {
		move_to(s, idx, NUD_INCOMPLETE, now);
		n->probes = 1;
		arp_solicit(s, p->netif, &s->a.neighs[idx].addr, NULL, p);
	}
	return true;
}

/* The neighbour on the way to @dst, which is looked for if it is not known. */
static int resolve(struct stack *s, const struct ip_addr *src, const struct ip_addr *dst,
		   struct route_result *r, uint32_t *idx, struct mtime now)
{
	uint8_t eth[ETH_HLEN_];
	int rc = addr_is_unicast(s, dst) ? route_lookup(s, dst, src, r) : -E_INVAL;

	if (rc || s->cfg.role != STACK_FULL)
		return rc ? rc : -E_INVAL;
	*idx = neigh_get(s, r->netif, &r->nexthop, now);
	if (*idx == SHM_NIL)
		return -E_NOBUFS;
	s->neigh_priv[*idx].used = now.ns;
	if (neigh_fill(s, *idx, r->netif, eth, ETHERTYPE_IP4, now) ||
	    state_of(s, *idx) == NUD_INCOMPLETE)
		return 0;
	move_to(s, *idx, NUD_INCOMPLETE, now);
	s->neigh_priv[*idx].probes = 1;
	arp_solicit(s, r->netif, &r->nexthop, NULL, NULL);
	return 0;
}

int stack_resolve(struct stack *s, const struct ip_addr *dst, struct mtime now)
{
	struct route_result r;
	uint32_t idx;

	return resolve(s, NULL, dst, &r, &idx, now);
}

int stack_doubt(struct stack *s, const struct ip_addr *src, const struct ip_addr *dst,
		struct ip_way *w, struct mtime now)
{
	struct route_result r;
	uint32_t idx;
	int rc = resolve(s, src, dst, &r, &idx, now);

	if (rc)
		return rc;
	neigh_doubt(s, idx, now);
	*w = (struct ip_way){.neigh = idx,
			     .neigh_gen = s->a.neighs[idx].generation,
			     .mtu = r.mtu,
			     .netif = r.netif};
	return 0;
}

/* ---- answers, confirmations, time ---- */

static void flush_queue(struct stack *s, uint32_t idx, struct mtime now)
{
	struct pkt *p;

	while ((p = queue_pop(s, &s->neigh_priv[idx])))
		neigh_send(s, idx, p, now);
}

/* The sender of a TCP segment that was not sent learns of it as if by an ICMP error. */
static void tell_sender(struct stack *s, struct pkt *p, struct mtime now)
{
	const uint8_t *ip = p->frag[0].p + p->l3_off, *tcp = p->frag[0].p + p->l4_off;
	bool is_tcp = ip[0] >> 4 == 4 && ip[9] == PROTO_TCP;
	struct tcp_addr_pair a = {0};
	uint32_t seq = 0;

	if (is_tcp) {
		uint32_t src, dst;

		memcpy(&src, ip + 12, 4);
		memcpy(&dst, ip + 16, 4);
		a.local = ip_addr_v4(src);
		a.remote = ip_addr_v4(dst);
		memcpy(&a.local_port, tcp, 2);
		memcpy(&a.remote_port, tcp + 2, 2);
		seq = get_be32(tcp + 4);
	}
	drop_pkt(s, p);
	if (is_tcp)
		tcp_icmp(s, &a, seq, E_HOSTUNREACH, 0, now);
}

static void fail(struct stack *s, uint32_t idx, struct mtime now)
{
	struct pkt *waiting = s->neigh_priv[idx].q_head;

	/* Telling the sender may send again, to this very neighbour: the queue is gone by then. */
	s->n_pending -= s->neigh_priv[idx].q_len;
	s->neigh_priv[idx].q_head = s->neigh_priv[idx].q_tail = NULL;
	s->neigh_priv[idx].q_len = 0;
	move_to(s, idx, NUD_FAILED, now);
	MIB(s, Td_NeighFailed);
	while (waiting) {
		struct pkt *p = waiting;

		waiting = p->next;
		tell_sender(s, p, now);
	}
}

static bool is_bare_ack(const struct pkt *p, const struct tcp_addr_pair *a)
{
	const uint8_t *ip = p->frag[0].p + p->l3_off, *tcp = p->frag[0].p + p->l4_off;

	return ip[0] >> 4 == 4 && ip[9] == PROTO_TCP && p->len == p->hdr_len && tcp[13] & TH_ACK &&
	       !(tcp[13] & (TH_SYN | TH_FIN | TH_RST)) && !memcmp(ip + 12, &a->local.b[12], 4) &&
	       !memcmp(ip + 16, &a->remote.b[12], 4) && !memcmp(tcp, &a->local_port, 2) &&
	       !memcmp(tcp + 2, &a->remote_port, 2);
}

bool neigh_drop_acks(struct stack *s, uint32_t idx, const struct tcp_addr_pair *a)
{
	struct neigh_priv *n;
	bool any = false;

	if (s->cfg.role != STACK_FULL || idx >= s->neigh_free.used)
		return false;
	n = &s->neigh_priv[idx];
	/* Once round: what stays goes to the end, in its order. */
	for (uint32_t left = n->q_len; left; left--) {
		struct pkt *p = queue_pop(s, n);

		if (is_bare_ack(p, a)) {
			pkt_free(s->pool, p);
			any = true;
		} else {
			queue_append(s, n, p);
		}
	}
	return any;
}

static void probe(struct stack *s, uint32_t idx, enum nud_state state, struct mtime now)
{
	struct neigh_priv *n = &s->neigh_priv[idx];
	const struct neigh *pub = &s->a.neighs[idx];
	uint8_t mac[6];

	if (n->probes >= (state == NUD_PROBE ? UCAST_SOLICIT : MCAST_SOLICIT)) {
		fail(s, idx, now);
		return;
	}
	n->probes++;
	neigh_mac_of(pub->mac_state, mac);
	arp_solicit(s, pub->netif, &pub->addr, state == NUD_PROBE ? mac : NULL, n->q_head);
	wheel_set(s, TIMER_ID(TK_NEIGH, idx), mtime_add_ns(now, RETRANS_NS));
}

void neigh_doubt(struct stack *s, uint32_t idx, struct mtime now)
{
	enum nud_state state;

	if (idx >= s->neigh_free.used)
		return;
	state = state_of(s, idx);
	if ((state != NUD_REACHABLE && state != NUD_STALE && state != NUD_DELAY) ||
	    now.ns - s->neigh_priv[idx].confirmed < RETRANS_NS)
		return;
	move_to(s, idx, NUD_PROBE, now);
	probe(s, idx, NUD_PROBE, now);
}

void neigh_timer(struct stack *s, uint32_t idx, struct mtime now)
{
	struct neigh_priv *n = &s->neigh_priv[idx];
	enum nud_state state = state_of(s, idx);
	uint64_t unconfirmed = n->confirmed ? now.ns - n->confirmed : UINT64_MAX;
	uint64_t reachable = reachable_ns(s, now);

	if (state == NUD_REACHABLE && unconfirmed < reachable) {
		wheel_set(s, TIMER_ID(TK_NEIGH, idx), mtime_add_ns(now, reachable - unconfirmed));
	} else if (state == NUD_REACHABLE) {
		move_to(s, idx, now.ns - n->used < DELAY_FIRST_PROBE_NS ? NUD_DELAY : NUD_STALE,
			now);
	} else if ((state == NUD_DELAY || state == NUD_PROBE) &&
		   unconfirmed <= DELAY_FIRST_PROBE_NS) {
		move_to(s, idx, NUD_REACHABLE, now);
	} else if (state == NUD_DELAY) {
		move_to(s, idx, NUD_PROBE, now);
		probe(s, idx, NUD_PROBE, now);
	} else {
		probe(s, idx, state, now);
	}
}

void neigh_confirm(struct stack *s, uint32_t idx, struct mtime now)
{
	if (s->cfg.role == STACK_FULL && idx < s->neigh_free.used)
		s->neigh_priv[idx].confirmed = now.ns;
}

/* Learns @mac in @state; packets that waited for it leave. */
static void learn(struct stack *s, uint32_t idx, const uint8_t mac[6], enum nud_state state,
		  struct mtime now)
{
	s->neigh_priv[idx].updated = now.ns;
	set_state(s, idx, mac, state, now);
	flush_queue(s, idx, now);
}

static bool has_mac(const struct stack *s, uint32_t idx, const uint8_t mac[6])
{
	uint8_t old[6];

	neigh_mac_of(s->a.neighs[idx].mac_state, old);
	return nud_usable(state_of(s, idx)) && !memcmp(old, mac, 6);
}

void neigh_heard(struct stack *s, uint16_t netif, const struct ip_addr *a, const uint8_t mac[6],
		 bool reply, bool garp, bool may_create, struct mtime now)
{
	uint32_t idx = find(s, netif, a);
	struct neigh_priv *n;
	bool known;

	/* What others say displaces nothing that we asked for. */
	if (idx == SHM_NIL && may_create)
		idx = create(s, netif, a, false, now);
	if (idx == SHM_NIL || state_of(s, idx) == NUD_PERMANENT)
		return;
	n = &s->neigh_priv[idx];
	known = has_mac(s, idx, mac);
	if (nud_usable(state_of(s, idx)) && !known && !garp && now.ns - n->updated < LOCKTIME_NS)
		return;
	if (reply)
		n->confirmed = now.ns;
	if (reply)
		learn(s, idx, mac, NUD_REACHABLE, now);
	else if (!known)
		learn(s, idx, mac, NUD_STALE, now);
}

int neigh_event(struct stack *s, const struct net_event *ev, struct mtime now)
{
	uint32_t idx;

	if (s->cfg.role == STACK_APP || netif_is_loopback(&s->netifs[ev->netif]))
		return 0;
	if (!addr_is_unicast(s, &ev->addr) || ev->mac[0] & 1)
		return -E_INVAL;
	idx = find(s, ev->netif, &ev->addr);
	if (ev->kind == NET_NEIGH_DEL) {
		if (idx == SHM_NIL)
			return -E_NOENT;
		/* The MAC stays in use, but is verified at once when it is used. */
		if (nud_usable(state_of(s, idx)))
			move_to(s, idx, NUD_STALE, now);
		return 0;
	}
	if (idx == SHM_NIL)
		idx = create(s, ev->netif, &ev->addr, true, now);
	if (idx == SHM_NIL)
		return -E_NOSPC;
	if (ev->permanent)
		learn(s, idx, ev->mac, NUD_PERMANENT, now);
	else if (!has_mac(s, idx, ev->mac) || state_of(s, idx) == NUD_PERMANENT)
		learn(s, idx, ev->mac, NUD_STALE, now);
	return 0;
}

void neigh_link_down(struct stack *s, uint16_t netif, struct mtime now)
{
	for (uint32_t i = 0; s->cfg.role == STACK_FULL && i < s->neigh_free.used; i++) {
		enum nud_state state = state_of(s, i);

		if (s->a.neighs[i].netif != netif)
			continue;
		if (state == NUD_INCOMPLETE)
			fail(s, i, now);
		else if (nud_usable(state) && state != NUD_PERMANENT)
			move_to(s, i, NUD_STALE, now);
	}
}

int neigh_check(const struct stack *s, char *why, size_t len)
{
	uint32_t chained = 0;

	for (uint32_t b = 0; s->cfg.role == STACK_FULL && b <= s->neigh_mask; b++) {
		for (uint32_t i = s->neigh_buckets[b]; i; i = s->neigh_priv[i - 1].hash_next) {
			const struct neigh *n = &s->a.neighs[i - 1];
			const struct neigh_priv *v = &s->neigh_priv[i - 1];
			enum nud_state st = neigh_state_of(n->mac_state);
			bool timed = st == NUD_INCOMPLETE || st == NUD_REACHABLE ||
				     st == NUD_DELAY || st == NUD_PROBE;

			if (i > s->neigh_free.used || ++chained > s->neigh_free.used)
				return check_fail(why, len, "neigh: bad link to entry", i - 1);
			if (find(s, n->netif, &n->addr) != i - 1 || st >= NUD_STATE_MAX)
				return check_fail(why, len, "neigh: misplaced entry", i - 1);
			if (timed != (v->timer.slot != SHM_NIL))
				return check_fail(why, len, "neigh: wrong timer of entry", i - 1);
			if ((v->q_len && st != NUD_INCOMPLETE) || !v->q_len != !v->q_head)
				return check_fail(why, len, "neigh: wrong queue of entry", i - 1);
		}
	}
	if (chained != free_list_in_use(&s->neigh_free))
		return check_fail(why, len, "neigh: entries not in the table", chained);
	return 0;
}
