// SPDX-License-Identifier: BSD-2-Clause
/*
 * port.h: opening, receiving, injection.
 *
 * A frame becomes ours (owner table) before its descriptor is released, and goes to the cache
 * as soon as the stack has seen the packet. A descriptor is believed only if it lies in one frame
 * and that frame was the kernel's (or in injection to us): else it is counted, and left alone.
 * Invariant: cache.n + held + PORT_BATCH <= FRAME_CACHE_MAX before a batch is taken.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "common/reasons.h"
#include "port_priv.h"
#include "xsk_uapi.h"

#define COPY_ETH_LEN 14u
#define NO_ADDR UINT64_MAX /* in an injection ring: taken */

struct rx_ctx {
	struct stack *s;
	struct mtime *now;
	port_stale_fn stale;
	void *ctx;
};

/* ---- opening ---- */

static bool number_queues(struct port *p)
{
	if (!p->cfg.n_ifs || p->cfg.n_ifs > TD_MAX_NETIFS)
		return false;
	for (uint32_t i = 0; i < p->cfg.n_ifs; i++) {
		uint32_t n = p->cfg.ifs[i].n_queues;

		if (!n || n > TD_MAX_QUEUES - p->n_queues)
			return false;
		p->first[i] = p->n_queues;
		memset(p->netif_of + p->n_queues, (int)i, n);
		p->n_queues += n;
	}
	return true;
}

int port_open(struct port **out, const struct port_cfg *cfg)
{
	struct port *p;

	p = calloc(1, sizeof(*p));
	if (!p)
		return -ENOMEM;
	p->cfg = *cfg;
	if (!cfg->clock || !number_queues(p)) {
		free(p);
		return -EINVAL;
	}
	p->parts = calloc(p->n_queues, sizeof(*p->parts));
	p->pkts = calloc(PORT_PKTS, sizeof(*p->pkts));
	if (!p->parts || !p->pkts) {
		free(p->parts);
		free(p->pkts);
		free(p);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < PORT_PKTS; i++) {
		p->pkts[i].next = p->bare;
		p->bare = &p->pkts[i];
	}
	umem_set_queues(cfg->umem, cfg->uqs, p->n_queues);
	for (uint32_t q = 0; q < p->n_queues; q++)
		port_balance(p, q, true);
	port_fill_pool(p);
	*out = p;
	return 0;
}

static void drop_part(struct port *p, struct port_part *part)
{
	for (uint32_t i = 0; i < part->pk.nfrags; i++)
		port_recycle(p, part->pk.frag[i].frame);
	p->held -= part->pk.nfrags;
	part->pk.nfrags = 0;
	part->bad = false;
}

void port_close(struct port *p)
{
	struct pkt *pk;

	for (uint32_t q = 0; q < p->n_queues; q++)
		drop_part(p, &p->parts[q]);
	if (p->kept)
		pkt_free(&p->pool, p->kept);
	umem_flush_cache(p->cfg.umem, &p->cache); /* makes room for these: */
	while ((pk = pkt_alloc(&p->pool)))
		if (p->cache.n < FRAME_CACHE_MAX)
			port_recycle(p, pk->frag[0].frame);
	umem_flush_cache(p->cfg.umem, &p->cache);
	free(p->flat);
	free(p->pkts);
	free(p->parts);
	free(p);
}

int port_cut(struct port *p)
{
	int err = 0;

	for (uint32_t q = 0; q < p->n_queues; q++) {
		int e = xsk_cut(&p->cfg.xsks[q], &p->cfg.uqs[q]);

		err = err ? err : e;
	}
	for (uint32_t i = 0; i < p->cfg.n_ifs; i++)
		p->cfg.ifs[i].gso_fd = -1; /* its owner closes it */
	p->cut = true;
	return err;
}

void port_rest(struct port *p)
{
	if (!p->cut)
		port_balance(p, 0, false);
}

struct pkt_pool *port_pool(struct port *p)
{
	return &p->pool;
}

void port_set_filter(struct port *p, port_filter_fn fn, void *ctx)
{
	p->filter = fn;
	p->filter_ctx = ctx;
}

const struct port_stats *port_stats(const struct port *p)
{
	return &p->stats;
}

uint32_t port_frames(const struct port *p)
{
	uint32_t n = p->cache.n + p->held + PORT_PKTS;

	for (const struct pkt *pk = p->bare; pk; pk = pk->next)
		n--;
	return n;
}

uint32_t port_fds(const struct port *p, int *fds, uint32_t max)
{
	uint32_t n = p->n_queues < max ? p->n_queues : max;

	for (uint32_t q = 0; q < n; q++)
		fds[q] = p->cfg.xsks[q].fd;
	return n;
}

void port_balance(struct port *p, uint32_t q, bool force)
{
	struct umem_queue *uq = &p->cfg.uqs[q];
	struct umem *u = p->cfg.umem;
	/* A large cache saves taking the lock; where many share the memory, others need it more. */
	uint32_t high = umem_pool_level(u) < u->n_frames / 2 ? PORT_CACHE_SCARCE : PORT_CACHE_HIGH;

	if (!force &&
	    !umem_needs_balance(u, uq, &p->cache, p->cfg.fill_target, PORT_CACHE_LOW, high))
		return;
	umem_balance(u, uq, &p->cache, p->cfg.fill_target, PORT_CACHE_LOW, high);
	/*
	 * Zero-copy drivers that ran out of frames want to be told of new ones. In a sandbox the
	 * next ppoll() does that (xsk_poll()).
	 */
	if (xsk_ring_prod__needs_wakeup(&uq->fill) && !p->cfg.xsks[q].by_write)
		recvfrom(p->cfg.xsks[q].fd, NULL, 0, MSG_DONTWAIT, NULL, NULL);
}

/* ---- one packet ---- */

/*
 * The metadata that our XDP program wrote in front of the frame. Where it is missing or makes no
 * sense the stack parses for itself: l3_off and l4_off are 0, conn is TD_NO_CONN.
 */
static void read_meta(const struct port *p, struct pkt *pk)
{
	const struct pkt_frag *f = &pk->frag[0];
	uint64_t at = (uint64_t)(f->p - p->cfg.umem->base) & (UMEM_FRAME_SIZE - 1);
	struct pkt_meta m;

	pk->l3_off = pk->l4_off = 0;
	pk->reason = 0;
	pk->conn = TD_NO_CONN;
	pk->generation = 0;
	if (at < sizeof(m))
		return;
	memcpy(&m, f->p - sizeof(m), sizeof(m));
	if (m.magic != PKT_META_MAGIC || m.reason >= XR_MAX || m.l3_off >= f->len ||
	    m.l4_off >= f->len || (m.l4_off && m.l4_off <= m.l3_off))
		return;
	pk->reason = m.reason;
	pk->l3_off = m.l3_off;
	pk->l4_off = m.l4_off;
	pk->conn = m.conn;
	pk->generation = m.generation;
}

/* All of it is here: to the stack, and the frames to the cache, or wherever @stale sent them. */
static void deliver(struct port *p, struct port_part *part, uint32_t q, uint8_t injected,
		    bool yours, const struct rx_ctx *rx)
{
	uint16_t netif = p->netif_of[q];
	struct pkt *pk = &part->pk;

	pk->len = 0;
	for (uint32_t i = 0; i < pk->nfrags; i++)
		pk->len += pk->frag[i].len;
	pk->netif = netif;
	pk->queue = (uint16_t)(q - p->first[netif]);
	pk->csum = p->cfg.ifs[netif].partial_csum ? PKT_CSUM_PARTIAL : PKT_CSUM_VERIFY;
	pk->gso_size = 0;
	read_meta(p, pk);
	pk->injected = injected;
	pk->yours = yours;
	if (injected)
		pk->conn = TD_NO_CONN;
	p->held -= pk->nfrags;
	p->stats.rx_packets++;
	p->stats.rx_bytes += pk->len;
	p->stats.injected_in += injected > 0;
	if ((!p->filter || p->filter(p->filter_ctx, pk) == PORT_TO_STACK) &&
	    stack_input(rx->s, pk, *rx->now) == DROP_STALE_FLOW && rx->stale)
		rx->stale(rx->ctx, pk);
	/* port_inject() leaves none. */
	for (uint32_t i = 0; i < pk->nfrags; i++)
		port_recycle(p, pk->frag[i].frame);
	pk->nfrags = 0;
	if (stack_replies_due(rx->s))
		port_tx_replies(p, rx->s);
}

/* Adds a descriptor; @ours: its frame is ours now. True: a packet is complete (or dropped). */
static bool add_desc(struct port *p, struct port_part *part, uint64_t addr, uint32_t len, bool ours,
		     bool more)
{
	struct pkt *pk = &part->pk;

	if (!ours) {
		p->stats.bad_desc++;
		part->bad = true;
	} else if (part->bad || pk->nfrags == PKT_MAX_FRAGS) {
		part->bad = true;
		port_recycle(p, umem_frame_of(addr));
	} else {
		pk->frag[pk->nfrags++] = (struct pkt_frag){
			.p = umem_ptr(p->cfg.umem, addr), .len = len, .frame = umem_frame_of(addr)};
		p->held++;
	}
	if (more)
		return false;
	if (part->bad) {
		p->stats.bad_desc += ours; /* too many fragments */
		drop_part(p, part);
	}
	return true;
}

/* ---- AF_XDP ---- */

static bool room_for_batch(const struct port *p)
{
	return p->cache.n + p->held + PORT_BATCH <= FRAME_CACHE_MAX;
}

/* Another CPU has written it: what the program has noted in front, and headers with options. */
static void prefetch_head(const uint8_t *p)
{
	__builtin_prefetch(p - sizeof(struct pkt_meta));
	__builtin_prefetch(p);
	__builtin_prefetch(p + 64);
}

static uint32_t rx_queue(struct port *p, uint32_t q, uint32_t budget, const struct rx_ctx *rx)
{
	struct xsk_ring_cons *ring = &p->cfg.xsks[q].rx;
	struct port_part *part = &p->parts[q];
	struct umem *u = p->cfg.umem;
	struct xdp_desc d[PORT_BATCH];
	bool ours[PORT_BATCH];
	uint32_t idx, n, done = 0;

	if (!room_for_batch(p))
		return 0;
	n = xsk_ring_cons__peek(ring, budget < PORT_BATCH ? budget : PORT_BATCH, &idx);
	if (!n)
		return 0;
	*rx->now = p->cfg.clock();
	for (uint32_t i = 0; i < n; i++) {
		uint32_t f;

		d[i] = READ_ONCE(*xsk_ring_cons__rx_desc(ring, idx + i));
		f = umem_frame_of(d[i].addr);
		ours[i] = umem_valid(u, d[i].addr, d[i].len) &&
			  FRAME_STATE(umem_owner(u, f)) == FRAME_FILL;
		if (!ours[i])
			continue;
		umem_own(u, f);
		prefetch_head(umem_ptr(u, d[i].addr));
	}
	xsk_ring_cons__release(ring, n);
	for (uint32_t i = 0; i < n; i++) {
		if (!add_desc(p, part, d[i].addr, d[i].len, ours[i], d[i].options & XSK_PKT_CONTD))
			continue;
		done++;
		if (part->pk.nfrags)
			deliver(p, part, q, 0, false, rx);
	}
	return done;
}

uint32_t port_rx(struct port *p, struct stack *s, uint32_t budget, struct mtime *now,
		 port_stale_fn stale, void *ctx)
{
	const struct rx_ctx rx = {s, now, stale, ctx};
	uint32_t done = 0;

	if (p->cfg.inject_in && shm_ring_avail(&p->cfg.inject_in->hdr, SHM_PKT_RING))
		done = port_rx_ring(p, p->cfg.inject_in, s, budget, now, stale, ctx);
	for (uint32_t i = 0, q = p->next_queue; i < p->n_queues; i++) {
		if (done < budget)
			done += rx_queue(p, q, budget - done, &rx);
		port_balance(p, q, false);
		q = q + 1 < p->n_queues ? q + 1 : 0;
	}
	p->next_queue = p->next_queue + 1 < p->n_queues ? p->next_queue + 1 : 0;
	return done;
}

bool port_rx_pending(const struct port *p)
{
	if (p->cfg.inject_in && shm_ring_avail(&p->cfg.inject_in->hdr, SHM_PKT_RING))
		return true;
	for (uint32_t q = 0; q < p->n_queues; q++) {
		const struct xsk_ring_cons *r = &p->cfg.xsks[q].rx;

		if (load_acquire(r->producer) != READ_ONCE(*r->consumer))
			return true;
	}
	return false;
}

/* ---- injection rings ---- */

/* The frame of @e, if it is on its way to us; it is ours then. */
static bool take_injected(struct port *p, const struct shm_pkt *e)
{
	struct umem *u = p->cfg.umem;
	uint32_t f = umem_frame_of(e->addr);

	if (!e->len || !umem_valid(u, e->addr, e->len) ||
	    umem_owner(u, f) != FRAME_OWNER(FRAME_INJECTED, u->slot))
		return false;
	umem_own(u, f);
	return true;
}

/* A packet stands in the ring as a whole; what ends without its last descriptor is dropped. */
uint32_t port_rx_ring(struct port *p, struct shm_pkt_ring *ring, struct stack *s, uint32_t budget,
		      struct mtime *now, port_stale_fn stale, void *ctx)
{
	const struct rx_ctx rx = {s, now, stale, ctx};
	uint32_t avail = shm_ring_avail(&ring->hdr, SHM_PKT_RING), done = 0;
	struct port_part part = {0};
	uint32_t q = 0;

	if (avail)
		*now = p->cfg.clock();
	while (avail && (done < budget || part.pk.nfrags) && room_for_batch(p)) {
		struct shm_pkt *at = &ring->e[ring->hdr.head & (SHM_PKT_RING - 1)];
		struct shm_pkt e = READ_ONCE(*at);
		bool ours = take_injected(p, &e);

		/* Taken: port_rescue_ring() looks at entries whether published or not. */
		WRITE_ONCE(at->addr, NO_ADDR);
		store_release(&ring->hdr.head, ring->hdr.head + 1);
		avail--;
		q = SHM_PKT_QUEUE_OF(e.flags);
		if (!add_desc(p, &part, e.addr, e.len, ours, (e.flags & SHM_PKT_MORE) && avail))
			continue;
		done++;
		if (part.pk.nfrags)
			deliver(p, &part, q < p->n_queues ? q : 0, e.flags & SHM_PKT_AGAIN ? 2 : 1,
				e.flags & SHM_PKT_YOURS && ring == p->cfg.inject_in, &rx);
	}
	drop_part(p, &part);
	return done;
}

void port_rescue_ring(struct port *p, struct shm_pkt_ring *ring)
{
	for (uint32_t i = 0; i < SHM_PKT_RING; i++) {
		struct shm_pkt e = READ_ONCE(ring->e[i]);

		if (!room_for_batch(p))
			umem_flush_cache(p->cfg.umem, &p->cache);
		if (room_for_batch(p) && take_injected(p, &e))
			port_recycle(p, umem_frame_of(e.addr));
	}
}

static void spare_frame(struct frame_set *s, uint32_t frame)
{
	frame_set_del(s, (uint64_t)frame * UMEM_FRAME_SIZE);
}

void port_spare(const struct port *p, struct frame_set *s)
{
	if (!p)
		return;
	for (uint32_t i = 0; i < p->cache.n; i++)
		spare_frame(s, p->cache.frame[i]);
	for (uint32_t q = 0; q < p->n_queues; q++)
		for (uint32_t i = 0; i < p->parts[q].pk.nfrags; i++)
			spare_frame(s, p->parts[q].pk.frag[i].frame);
	/* Those without a frame name one that they had: it does no harm. */
	for (uint32_t i = 0; i < PORT_PKTS; i++)
		spare_frame(s, p->pkts[i].frag[0].frame);
}

bool port_inject(struct port *p, struct pkt *pk, struct shm_pkt_ring *ring, uint16_t slot)
{
	struct umem *u = p->cfg.umem;
	uint32_t tail = ring->hdr.tail;
	uint32_t flags = SHM_PKT_QUEUE(port_queue(p, pk)) | (pk->injected ? SHM_PKT_AGAIN : 0) |
			 (pk->yours ? SHM_PKT_YOURS : 0);

	if (shm_ring_room(&ring->hdr, SHM_PKT_RING) < pk->nfrags)
		return false;
	for (uint32_t i = 0; i < pk->nfrags; i++)
		ring->e[(tail + i) & (SHM_PKT_RING - 1)] =
			(struct shm_pkt){.addr = (uint64_t)(pk->frag[i].p - u->base),
					 .len = pk->frag[i].len,
					 .flags = flags | (i + 1 < pk->nfrags ? SHM_PKT_MORE : 0)};
	/* The entries stand already, so that the receiver finds the frames if we are killed here.
	 */
	for (uint32_t i = 0; i < pk->nfrags; i++)
		umem_give(u, pk->frag[i].frame, FRAME_INJECTED, slot);
	store_release(&ring->hdr.tail, tail + pk->nfrags);
	pk->nfrags = 0;
	p->stats.injected_out++;
	return true;
}

/* A place in a packet's bytes. */
static void copy_bytes(const struct pkt *pk, uint32_t *frag, uint32_t *off, uint8_t *to, uint32_t n)
{
	while (n) {
		const struct pkt_frag *f = &pk->frag[*frag];
		uint32_t part = f->len - *off < n ? f->len - *off : n;

		memcpy(to, f->p + *off, part);
		to += part;
		n -= part;
		*off += part;
		if (*off == f->len) {
			++*frag;
			*off = 0;
		}
	}
}

bool port_inject_copy(struct port *p, const struct pkt *pk, const uint8_t *eth,
		      struct shm_pkt_ring *ring, uint16_t slot)
{
	uint32_t room = UMEM_FRAME_SIZE - UMEM_HEADROOM, start = pk->l3_off - COPY_ETH_LEN;
	uint32_t left = pk->len - start, n = (left + room - 1) / room, frag = 0, off = start;
	struct pkt copy = {.netif = pk->netif, .queue = pk->queue};

	if (pk->l3_off < COPY_ETH_LEN || n > PKT_MAX_FRAGS || p->cache.n < n ||
	    shm_ring_room(&ring->hdr, SHM_PKT_RING) < n)
		return false;
	for (uint32_t i = 0; i < n; i++) {
		uint32_t frame = p->cache.frame[--p->cache.n], len = left < room ? left : room;
		uint8_t *to =
			umem_ptr(p->cfg.umem, (uint64_t)frame * UMEM_FRAME_SIZE + UMEM_HEADROOM);

		memset(to - sizeof(struct pkt_meta), 0, sizeof(struct pkt_meta));
		copy_bytes(pk, &frag, &off, to, len);
		copy.frag[i] = (struct pkt_frag){.p = to, .len = len, .frame = frame};
		left -= len;
	}
	memcpy(copy.frag[0].p, eth, COPY_ETH_LEN);
	copy.nfrags = n;
	return port_inject(p, &copy, ring, slot);
}
