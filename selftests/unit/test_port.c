// SPDX-License-Identifier: BSD-2-Clause
/*
 * port_rx.c and port_tx.c on rings in plain memory, this program being the kernel: what descriptors
 * may hold, packets in pieces, injection, full rings. No root; test_port_veth.c has the real thing.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/socket.h>
#include <cmocka.h>
#include "common/csum.h"
#include "common/reasons.h"
#include "fake_stack.h"
#include "user/io/port.h"
#include "user/io/xsk_uapi.h"

#define N_FRAMES 2048u
#define RING 128u
#define FILL_TARGET 64u
#define NOW ((struct mtime){1})

struct fake_ring {
	uint32_t producer, consumer, flags;
	union {
		uint64_t addr[RING];
		struct xdp_desc desc[RING];
	};
};

static struct mtime clock_is = {1};

static struct mtime found_at(void)
{
	return clock_is;
}

/* One process: its UMEM mapping, one queue, its socket's rings, its port. */
struct side {
	struct umem u;
	struct umem_queue q;
	struct xsk x;
	struct fake_ring rx, tx;
	struct port *port;
	struct stack s;
};

/* What the stack last saw. */
static struct pkt last;
static uint8_t last_bytes[65536];

static struct fake_ring fill, comp; /* shared */

#define PROD(r, p)                                                                                 \
	(struct xsk_ring_prod)                                                                     \
	{                                                                                          \
		.cached_cons = RING, .mask = RING - 1, .size = RING, .producer = &(r)->producer,   \
		.consumer = &(r)->consumer, .ring = (r)->p, .flags = &(r)->flags                   \
	}
#define CONS(r, p)                                                                                 \
	(struct xsk_ring_cons)                                                                     \
	{                                                                                          \
		.mask = RING - 1, .size = RING, .producer = &(r)->producer,                        \
		.consumer = &(r)->consumer, .ring = (r)->p, .flags = &(r)->flags                   \
	}

static enum drop record(struct stack *s, struct pkt *p)
{
	uint32_t at = 0;

	(void)s;
	last = *p;
	for (uint32_t i = 0; i < p->nfrags; i++) {
		assert_true(at + p->frag[i].len <= sizeof(last_bytes));
		memcpy(last_bytes + at, p->frag[i].p, p->frag[i].len);
		at += p->frag[i].len;
	}
	assert_int_equal(at, p->len);
	return DROP_NONE;
}

static enum drop stale(struct stack *s, struct pkt *p)
{
	record(s, p);
	return DROP_STALE_FLOW;
}

static void side_port(struct side *d, struct shm_pkt_ring *in, int gso_fd)
{
	struct port_cfg cfg = {.umem = &d->u,
			       .xsks = &d->x,
			       .uqs = &d->q,
			       .fill_target = FILL_TARGET,
			       .ifs = {{.n_queues = 1, .partial_csum = true, .gso_fd = gso_fd}},
			       .n_ifs = 1,
			       .inject_in = in,
			       .clock = found_at};

	assert_int_equal(port_open(&d->port, &cfg), 0);
	d->s.on_input = record;
	d->s.pool = port_pool(d->port);
}

static void side_open(struct side *d, struct umem *parent, uint16_t slot, struct shm_pkt_ring *in)
{
	memset(d, 0, sizeof(*d));
	if (parent)
		assert_int_equal(
			umem_attach(&d->u, dup(parent->fd), dup(parent->ctl_fd), N_FRAMES, slot),
			0);
	else
		assert_int_equal(umem_create(&d->u, N_FRAMES), 0);
	d->q.fill = PROD(&fill, addr);
	d->q.comp = CONS(&comp, addr);
	d->x = (struct xsk){.fd = -1, .rx = CONS(&d->rx, desc), .tx = PROD(&d->tx, desc)};
	d->tx.flags = XDP_RING_NEED_WAKEUP;
	side_port(d, in, -1);
}

/*
 * Two interfaces with one queue and with two: rings of their own, no fill ring in use. Gives out
 * the port; @x and @rings have three elements.
 */
static struct umem_queue two_uqs[3];

static struct port *open_two(struct side *d, struct xsk *x, struct fake_ring rings[3][4])
{
	struct port_cfg cfg = {.umem = &d->u,
			       .xsks = x,
			       .uqs = two_uqs,
			       .fill_target = 8,
			       .ifs = {{.n_queues = 1, .gso_fd = -1},
				       {.n_queues = 2, .partial_csum = true, .gso_fd = -1}},
			       .n_ifs = 2,
			       .clock = found_at};
	struct port *p;

	memset(rings, 0, 3 * sizeof(*rings));
	for (uint32_t i = 0; i < 3; i++) {
		two_uqs[i] = (struct umem_queue){.fill = PROD(&rings[i][2], addr),
						 .comp = CONS(&rings[i][3], addr),
						 .index = i};
		x[i] = (struct xsk){
			.fd = -1, .rx = CONS(&rings[i][0], desc), .tx = PROD(&rings[i][1], desc)};
		rings[i][1].flags = XDP_RING_NEED_WAKEUP;
	}
	assert_int_equal(port_open(&p, &cfg), 0);
	return p;
}

static int setup(void **state)
{
	struct side *d = malloc(sizeof(*d));

	memset(&fill, 0, sizeof(fill));
	memset(&comp, 0, sizeof(comp));
	side_open(d, NULL, 0, NULL);
	*state = d;
	return 0;
}

static void side_close(struct side *d)
{
	port_close(d->port);
	assert_int_equal(umem_count_slot(&d->u, d->u.slot), 0);
	umem_close(&d->u);
}

/* Every test ends so: no frame is anyone's but the pool's, the fill ring's, or @state's "kernel".
 */
static int teardown(void **state)
{
	struct side *d = *state;
	struct frame_cache c = {0};
	struct umem_usage us;

	umem_balance(&d->u, &d->q, &c, 0, 0, 0); /* completions, to the pool */
	while (fill.consumer != fill.producer)
		umem_reclaim(&d->u, 999,
			     (uint32_t[]){umem_frame_of(fill.addr[fill.consumer++ & (RING - 1)])},
			     1, true);
	port_close(d->port);
	umem_usage(&d->u, &us);
	assert_int_equal(us.pool, N_FRAMES);
	umem_close(&d->u);
	free(d);
	return 0;
}

/* The next frame of the fill ring, with @len bytes of @c and metadata in front. */
static uint64_t kernel_frame(struct side *d, uint32_t len, uint8_t c)
{
	const struct pkt_meta m = {.magic = PKT_META_MAGIC,
				   .reason = XR_FLOW_DIRECT,
				   .l3_off = 14,
				   .l4_off = 34,
				   .conn = 7,
				   .generation = 9};
	uint64_t a;

	assert_true(fill.consumer != fill.producer);
	a = fill.addr[fill.consumer++ & (RING - 1)] + UMEM_HEADROOM;
	memcpy(umem_ptr(&d->u, a) - sizeof(m), &m, sizeof(m));
	memset(umem_ptr(&d->u, a), c, len);
	return a;
}

static void kernel_desc(struct side *d, uint64_t addr, uint32_t len, bool more)
{
	d->rx.desc[d->rx.producer++ & (RING - 1)] =
		(struct xdp_desc){.addr = addr, .len = len, .options = more ? XSK_PKT_CONTD : 0};
}

static void kernel_rx(struct side *d, uint32_t len, uint8_t c, bool more)
{
	kernel_desc(d, kernel_frame(d, len, c), len, more);
}

static uint32_t rx(struct side *d)
{
	return port_rx(d->port, &d->s, 64, &NOW, NULL, NULL);
}

/* ---- several interfaces ---- */

/* What the fill and completion rings of a closed port hold goes back to the pool. */
static void take_filled(struct side *d, struct fake_ring rings[3][4])
{
	struct frame_cache c = {0};

	for (uint32_t i = 0; i < 3; i++) {
		struct fake_ring *f = &rings[i][2];

		umem_balance(&d->u, &two_uqs[i], &c, 0, 0, 0);
		for (; f->consumer != f->producer; f->consumer++) {
			uint32_t frame = umem_frame_of(f->addr[f->consumer & (RING - 1)]);

			umem_reclaim(&d->u, 999, &frame, 1, true);
		}
	}
	umem_flush_cache(&d->u, &c);
}

static void test_port_two_interfaces_rx(void **state)
{
	static struct fake_ring rings[3][4];
	struct side *d = *state;
	struct xsk x[3];
	struct port *p = open_two(d, x, rings);

	for (uint32_t i = 0; i < 3; i++) {
		struct fake_ring *f = &rings[i][2], *r = &rings[i][0];
		uint64_t at;

		assert_int_equal(f->producer, 8);
		at = f->addr[f->consumer++] + UMEM_HEADROOM;
		r->desc[r->producer++] = (struct xdp_desc){.addr = at, .len = 60};
		assert_int_equal(port_rx(p, &d->s, 64, &NOW, NULL, NULL), 1);
		assert_int_equal(last.netif, i > 0);
		assert_int_equal(last.queue, i == 2);
		assert_int_equal(last.csum, i ? PKT_CSUM_PARTIAL : PKT_CSUM_VERIFY);
	}
	port_close(p);
	take_filled(d, rings);
	umem_set_queues(&d->u, &d->q, 1);
}

static struct pkt small;

static void make_small(struct stack *s, struct pkt *p)
{
	(void)s;
	p->netif = small.netif;
	p->queue = small.queue;
	p->len = p->frag[0].len = 60;
}

/* A packet leaves by its own interface, whatever queue it names. */
static void test_port_two_interfaces_tx(void **state)
{
	static const struct {
		uint16_t netif, queue;
		uint32_t ring;
	} cases[] = {{0, 0, 0}, {0, 1, 0}, {1, 0, 1}, {1, 1, 2}, {1, 2, 1}, {7, 0, 0}};
	static struct fake_ring rings[3][4];
	struct side *d = *state;
	struct xsk x[3];
	struct port *p = open_two(d, x, rings), *own = d->port;

	d->s.pool = port_pool(p);
	for (unsigned i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct fake_ring *tx = &rings[cases[i].ring][1],
				 *comp_ring = &rings[cases[i].ring][3];
		uint32_t before = tx->producer;

		d->s.to_send = 1;
		d->s.make = make_small;
		small.netif = cases[i].netif;
		small.queue = cases[i].queue;
		assert_int_equal(port_tx(p, &d->s, NOW), 1);
		assert_int_equal(tx->producer, before + 1);
		/* The kernel has sent it. */
		comp_ring->addr[comp_ring->producer++] = tx->desc[before].addr;
		tx->consumer++;
	}
	port_close(p);
	take_filled(d, rings);
	d->s.pool = port_pool(own);
	umem_set_queues(&d->u, &d->q, 1);
}

static struct shm_pkt_ring two_ring;
static struct port *two_port;

static enum drop inject_it(struct stack *s, struct pkt *p)
{
	(void)s;
	assert_true(port_inject(two_port, p, &two_ring, 0));
	return DROP_NONE;
}

/* Who gets a packet by way of another process knows where it came in; a number that is none is 0.
 */
static void test_port_two_interfaces_injection(void **state)
{
	static struct fake_ring rings[3][4];
	struct side *d = *state;
	struct xsk x[3];

	memset(&two_ring, 0, sizeof(two_ring));
	two_port = open_two(d, x, rings);
	for (uint32_t i = 0; i < 3; i++) {
		struct fake_ring *f = &rings[i][2], *r = &rings[i][0];
		uint64_t at = f->addr[f->consumer++] + UMEM_HEADROOM;

		r->desc[r->producer++] = (struct xdp_desc){.addr = at, .len = 60};
		d->s.on_input = inject_it;
		assert_int_equal(port_rx(two_port, &d->s, 64, &NOW, NULL, NULL), 1);
		d->s.on_input = record;
		if (i == 2)
			two_ring.e[two_ring.hdr.head].flags = UINT32_MAX & ~SHM_PKT_MORE;
		assert_int_equal(port_rx_ring(two_port, &two_ring, &d->s, 64, &NOW, NULL, NULL), 1);
		assert_int_equal(last.netif, i == 1);
		assert_int_equal(last.queue, 0);
	}
	port_close(two_port);
	take_filled(d, rings);
	umem_set_queues(&d->u, &d->q, 1);
}

static void test_port_refuses_queues_that_are_none(void **state)
{
	struct port_cfg cfg = {.n_ifs = 0, .clock = found_at};
	struct port *p;

	(void)state;
	assert_int_equal(port_open(&p, &cfg), -EINVAL);
	cfg.n_ifs = 1;
	assert_int_equal(port_open(&p, &cfg), -EINVAL);
	cfg.n_ifs = 2;
	cfg.ifs[0].n_queues = TD_MAX_QUEUES;
	cfg.ifs[1].n_queues = 1;
	assert_int_equal(port_open(&p, &cfg), -EINVAL);
}

/* ---- receiving ---- */

static void test_port_rx_delivers_with_metadata(void **state)
{
	struct side *d = *state;

	assert_false(port_rx_pending(d->port));
	kernel_rx(d, 100, 'a', false);
	assert_true(port_rx_pending(d->port));
	assert_int_equal(rx(d), 1);
	assert_false(port_rx_pending(d->port));
	assert_int_equal(last.len, 100);
	assert_int_equal(last.nfrags, 1);
	assert_int_equal(last.netif, 0);
	assert_int_equal(last.csum, PKT_CSUM_PARTIAL);
	assert_int_equal(last.reason, XR_FLOW_DIRECT);
	assert_int_equal(last.l3_off, 14);
	assert_int_equal(last.l4_off, 34);
	assert_int_equal(last.conn, 7);
	assert_int_equal(last.generation, 9);
}

static void test_port_rx_ignores_bad_metadata(void **state)
{
	struct side *d = *state;
	static const struct pkt_meta bad[] = {
		{.magic = 1, .l3_off = 14, .l4_off = 34, .conn = 1},
		{.magic = PKT_META_MAGIC, .l3_off = 100, .l4_off = 0, .conn = 1},
		{.magic = PKT_META_MAGIC, .l3_off = 14, .l4_off = 65535, .conn = 1},
		{.magic = PKT_META_MAGIC, .l3_off = 34, .l4_off = 14, .conn = 1},
		{.magic = PKT_META_MAGIC, .reason = XR_MAX, .l3_off = 14, .conn = 1},
	};

	for (unsigned i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		uint64_t a = kernel_frame(d, 100, 'a');

		memcpy(umem_ptr(&d->u, a) - sizeof(bad[i]), &bad[i], sizeof(bad[i]));
		kernel_desc(d, a, 100, false);
		assert_int_equal(rx(d), 1);
		assert_int_equal(last.conn, TD_NO_CONN);
		assert_int_equal(last.l3_off, 0);
		assert_int_equal(last.l4_off, 0);
	}
	/* A packet at the begin of its frame has nothing of its own in front. */
	kernel_desc(d, kernel_frame(d, 100, 'a') - UMEM_HEADROOM, 100, false);
	assert_int_equal(rx(d), 1);
	assert_int_equal(last.conn, TD_NO_CONN);
}

static void test_port_rx_joins_pieces_across_batches(void **state)
{
	struct side *d = *state;

	kernel_rx(d, 3840, 'a', true);
	assert_int_equal(rx(d), 0);
	kernel_rx(d, 3840, 'b', true);
	assert_int_equal(rx(d), 0);
	assert_int_equal(d->s.inputs, 0);
	kernel_rx(d, 10, 'c', false);
	kernel_rx(d, 60, 'd', true); /* stays half till the end: its frame must not be lost */
	assert_int_equal(rx(d), 1);
	assert_int_equal(last.nfrags, 3);
	assert_int_equal(last.len, 2 * 3840 + 10);
	assert_int_equal(last_bytes[0], 'a');
	assert_int_equal(last_bytes[3840], 'b');
	assert_int_equal(last_bytes[2 * 3840 + 9], 'c');
	assert_int_equal(last.conn, 7);
}

static void test_port_rx_drops_packets_of_too_many_pieces(void **state)
{
	struct side *d = *state;

	for (unsigned i = 0; i < PKT_MAX_FRAGS + 3; i++)
		kernel_rx(d, 100, 'a', i < PKT_MAX_FRAGS + 2);
	kernel_rx(d, 50, 'b', false);
	assert_int_equal(rx(d), 2);
	assert_int_equal(d->s.inputs, 1);
	assert_int_equal(last.len, 50);
	assert_int_equal(port_stats(d->port)->bad_desc, 1);
	for (unsigned i = 0; i < PKT_MAX_FRAGS; i++)
		kernel_rx(d, 100, 'a', i < PKT_MAX_FRAGS - 1);
	assert_int_equal(rx(d), 1);
	assert_int_equal(last.nfrags, PKT_MAX_FRAGS);
}

static void test_port_rx_leaves_frames_that_are_not_the_kernels(void **state)
{
	struct side *d = *state;
	uint64_t a = kernel_frame(d, 100, 'a');

	kernel_desc(d, UINT64_MAX, 100, false);
	kernel_desc(d, (uint64_t)N_FRAMES * UMEM_FRAME_SIZE, 1, false);
	kernel_desc(d, a, UMEM_FRAME_SIZE, false); /* beyond its frame */
	kernel_desc(d, a, UINT32_MAX, false);
	kernel_desc(d, (N_FRAMES - 1) * UMEM_FRAME_SIZE, 9, false); /* in the pool */
	kernel_desc(d, a, 100, true);
	kernel_desc(d, a, 100, false); /* twice: ours already */
	assert_int_equal(rx(d), 6);
	assert_int_equal(d->s.inputs, 0);
	assert_int_equal(port_stats(d->port)->bad_desc, 6);
}

static void test_port_rx_budget(void **state)
{
	struct side *d = *state;

	for (unsigned i = 0; i < 40; i++)
		kernel_rx(d, 100, 'a', false);
	assert_int_equal(port_rx(d->port, &d->s, 15, &NOW, NULL, NULL), 15);
	assert_true(port_rx_pending(d->port));
	assert_int_equal(rx(d), 25);
	assert_int_equal(d->s.inputs, 40);
	assert_int_equal(port_stats(d->port)->rx_packets, 40);
	assert_int_equal(port_stats(d->port)->rx_bytes, 4000);
	/* and the fill ring is full again */
	assert_int_equal(fill.producer - fill.consumer, FILL_TARGET);
}

/* ---- injection ---- */

struct forward {
	struct side *from;
	struct shm_pkt_ring *ring;
	uint16_t slot;
	bool yours;
};

static bool forward(void *ctx, struct pkt *p)
{
	struct forward *f = ctx;

	p->yours = f->yours;
	return port_inject(f->from->port, p, f->ring, f->slot);
}

/* A thread that loses its CPU before it looks does not take what it finds for older than it is. */
static void test_port_rx_reads_the_clock_after_it_has_found(void **state)
{
	struct shm_pkt_ring *ring = calloc(1, sizeof(*ring));
	struct side *d = *state, app;
	struct forward f = {&app, ring, 0, false};
	struct mtime now = {1};

	clock_is.ns = 3000;
	assert_int_equal(port_rx(d->port, &d->s, 64, &now, NULL, NULL), 0);
	assert_int_equal(now.ns, 1);
	kernel_rx(d, 100, 'a', false);
	assert_int_equal(port_rx(d->port, &d->s, 64, &now, NULL, NULL), 1);
	assert_int_equal(now.ns, 3000);
	assert_int_equal(d->s.input_at.ns, 3000);

	side_open(&app, &d->u, 1, NULL);
	app.s.on_input = stale;
	kernel_rx(&app, 100, 'a', false);
	assert_int_equal(port_rx(app.port, &app.s, 64, &NOW, forward, &f), 1);
	clock_is.ns = 5000;
	assert_int_equal(port_rx_ring(d->port, ring, &d->s, 64, &now, NULL, NULL), 1);
	assert_int_equal(now.ns, 5000);
	assert_int_equal(d->s.input_at.ns, 5000);
	clock_is.ns = 1;
	side_close(&app);
	free(ring);
}

static void test_port_inject_moves_frames_to_the_other_side(void **state)
{
	struct shm_pkt_ring *ring = calloc(1, sizeof(*ring));
	struct side *d = *state, app;
	struct forward f = {d, ring, 1, false};

	side_open(&app, &d->u, 1, ring);
	d->s.on_input = stale;
	kernel_rx(d, 100, 'a', false);
	kernel_rx(d, 3840, 'b', true);
	kernel_rx(d, 20, 'c', false);
	assert_int_equal(port_rx(d->port, &d->s, 64, &NOW, forward, &f), 2);
	assert_int_equal(port_stats(d->port)->injected_out, 2);
	assert_true(port_rx_pending(app.port));
	assert_int_equal(port_rx(app.port, &app.s, 1, &NOW, NULL, NULL), 1);
	assert_int_equal(last.len, 100);
	assert_int_equal(last.conn, TD_NO_CONN); /* 7 is of the daemon's arena */
	assert_int_equal(last.l4_off, 34);
	assert_int_equal(rx(&app), 1);
	assert_int_equal(last.nfrags, 2);
	assert_int_equal(last_bytes[3840], 'c');
	assert_int_equal(port_stats(app.port)->injected_in, 2);

	/* What it is told of it holds for the one packet. */
	for (unsigned i = 0; i < 4; i++) {
		f.yours = i % 2;
		kernel_rx(d, 100, 'a', false);
		assert_int_equal(port_rx(d->port, &d->s, 64, &NOW, forward, &f), 1);
		assert_int_equal(last.yours, false);
		assert_int_equal(rx(&app), 1);
		assert_int_equal(last.yours, i % 2);
	}
	/* Only who serves a ring of its own believes it: an application has nothing to say there. */
	f = (struct forward){&app, ring, 0, true};
	app.s.on_input = stale;
	kernel_rx(&app, 100, 'a', false);
	assert_int_equal(port_rx(app.port, &app.s, 64, &NOW, forward, &f), 1);
	assert_int_equal(port_rx_ring(d->port, ring, &d->s, 64, &NOW, NULL, NULL), 1);
	assert_int_equal(last.yours, false);
	app.s.on_input = record;
	f = (struct forward){d, ring, 1, false};

	/* A full ring: the packets stay ours, and are dropped here. */
	for (unsigned i = 0; i < SHM_PKT_RING + 5; i++) {
		kernel_rx(d, 100, 'a', false);
		port_rx(d->port, &d->s, 64, &NOW, forward, &f);
	}
	assert_int_equal(port_stats(d->port)->injected_out, 6 + SHM_PKT_RING);
	while (rx(&app))
		;
	side_close(&app);
	free(ring);
}

static void test_port_rx_ring_believes_nothing(void **state)
{
	struct shm_pkt_ring *ring = calloc(1, sizeof(*ring));
	struct side *d = *state, app;
	struct forward f = {d, ring, 1, false};
	uint32_t n = 0;

	side_open(&app, &d->u, 1, ring);
	d->s.on_input = stale;
	kernel_rx(d, 100, 'a', false);
	assert_int_equal(port_rx(d->port, &d->s, 64, &NOW, forward, &f), 1);
	/* The same again, rubbish, a frame of the pool, one of the receiver's own, an open end. */
	n = ring->hdr.tail;
	ring->e[n++] = ring->e[0];
	ring->e[n++] = (struct shm_pkt){.addr = UINT64_MAX, .len = 10};
	ring->e[n++] = (struct shm_pkt){.addr = 256, .len = UINT32_MAX};
	for (uint32_t i = 0; i < N_FRAMES; i += 8)
		ring->e[n++] = (struct shm_pkt){.addr = i * UMEM_FRAME_SIZE + 256, .len = 60};
	ring->e[n++] = (struct shm_pkt){.addr = 256, .len = 60, .flags = SHM_PKT_MORE};
	ring->hdr.tail = n;
	while (rx(&app))
		;
	assert_int_equal(app.s.inputs, 1);
	assert_int_equal(port_stats(app.port)->bad_desc, n - 1);
	ring->hdr.tail = n + 1000000; /* never more than the ring has */
	rx(&app);
	assert_int_equal(app.s.inputs, 1);
	side_close(&app);
	free(ring);
}

/* The giver was killed after it gave the frames away and before it published them. */
static void test_port_rescue_ring_finds_unpublished_frames(void **state)
{
	struct shm_pkt_ring *ring = calloc(1, sizeof(*ring));
	struct side *d = *state, app;
	struct forward f = {&app, ring, 0, false};

	side_open(&app, &d->u, 1, NULL);
	app.s.on_input = stale;
	for (unsigned i = 0; i < 10; i++)
		kernel_rx(&app, 100, 'a', i % 2);
	assert_int_equal(port_rx(app.port, &app.s, 64, &NOW, forward, &f), 5);
	assert_int_equal(port_rx_ring(d->port, ring, &d->s, 2, &NOW, NULL, NULL), 2);
	ring->hdr.tail -= 2;
	port_rescue_ring(d->port, ring);
	side_close(&app);
	free(ring);
	/* teardown() finds all frames in the pool */
}

/* ---- sending ---- */

static void make_udp(struct stack *s, struct pkt *p)
{
	uint8_t *b = p->frag[0].p;

	assert_true(p->room >= 1514);
	memset(b, 0, 42);
	memset(b + 42, 'x', 58);
	b[42] = (uint8_t)s->inputs++; /* a number, to see the order */
	b[40] = 0x12;		      /* the pseudo-header's sum, say */
	b[41] = 0x34;
	p->len = p->frag[0].len = 100;
	p->csum = PKT_CSUM_PARTIAL;
	p->csum_start = 34;
	p->csum_off = 6;
}

static void kernel_sends(struct side *d, unsigned n)
{
	while (n-- && d->tx.consumer != d->tx.producer)
		comp.addr[comp.producer++ & (RING - 1)] =
			d->tx.desc[d->tx.consumer++ & (RING - 1)].addr;
}

static void test_port_tx_completes_checksums(void **state)
{
	struct side *d = *state;
	const struct xdp_desc *desc = &d->tx.desc[0];

	d->s.make = make_udp;
	d->s.to_send = 1;
	assert_int_equal(port_tx(d->port, &d->s, NOW), 1);
	assert_int_equal(d->tx.producer, 1);
	assert_int_equal(desc->len, 100);
	assert_int_equal(desc->options, 0);
	assert_int_equal(umem_owner(&d->u, umem_frame_of(desc->addr)), FRAME_OWNER(FRAME_TX, 0));
	/* With the complete checksum in it, the sum less the pseudo-header's is ~0. */
	assert_int_equal(
		csum_fold(csum_add(csum_partial(umem_ptr(&d->u, desc->addr) + 34, 66, 0), 0x3412)),
		0);
	kernel_sends(d, 1);
}

static void test_port_tx_keeps_what_the_ring_does_not_take(void **state)
{
	struct side *d = *state;
	uint8_t next = 0;
	unsigned sent = 0;

	d->s.make = make_udp;
	d->s.to_send = 200;
	while (sent < 200) {
		sent += port_tx(d->port, &d->s, NOW);
		assert_true(d->tx.producer != d->tx.consumer);
		assert_true(sent == 200 || port_tx_pending(d->port));
		for (uint32_t i = d->tx.consumer; i != d->tx.producer; i++) {
			const struct xdp_desc *e = &d->tx.desc[i & (RING - 1)];

			if (i - d->tx.consumer < 50)
				assert_int_equal(umem_ptr(&d->u, e->addr)[42], next++);
		}
		kernel_sends(d, 50);
	}
	assert_true(port_stats(d->port)->tx_full > 0);
	assert_int_equal(port_stats(d->port)->tx_packets, 200);
	kernel_sends(d, RING);
	assert_int_equal(d->s.inputs, 200);
}

/* Each packet that comes in is answered at once, as long as there is one to build in. */
static enum drop answer(struct stack *s, struct pkt *in)
{
	struct pkt *p = pkt_alloc(s->pool);

	(void)in;
	if (!p)
		return DROP_NO_MEMORY;
	make_udp(s, p);
	p->next = s->replies;
	s->replies = p;
	s->n_replies++;
	return DROP_NONE;
}

static void test_port_rx_sends_answers_before_they_pile_up(void **state)
{
	struct side *d = *state;
	unsigned sent = 0;

	d->s.on_input = answer;
	d->s.replies_max = 48;
	for (unsigned i = 0; i < 10; i++) {
		for (unsigned j = 0; j < 20; j++)
			kernel_rx(d, 100, 'a', false);
		assert_int_equal(rx(d), 20);
		assert_true(d->s.n_replies <= 24);
		sent += d->tx.producer - d->tx.consumer;
		kernel_sends(d, RING);
	}
	assert_in_range(sent, 200 - 24, 200);
	assert_int_equal(port_stats(d->port)->tx_packets, sent);
}

/* Calls for the socket since the last question: each leaves an empty datagram. */
static unsigned kicks_seen(int fd)
{
	unsigned n = 0;
	char c;

	while (recv(fd, &c, 1, MSG_DONTWAIT) >= 0)
		n++;
	return n;
}

static void test_port_tx_leaves_the_call_to_another(void **state)
{
	struct side *d = *state;
	uint64_t kicks = 0;
	int sp[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, sp), 0);
	d->x.fd = sp[0];
	d->s.make = make_udp;
	port_kick_later(d->port, &kicks);
	d->s.to_send = 2;
	assert_int_equal(port_tx(d->port, &d->s, NOW), 2);
	assert_int_equal(d->tx.producer, 2);
	assert_int_equal(kicks_seen(sp[1]), 0);
	assert_false(port_tx_pending(d->port)); /* it is not for the next call to see to */
	assert_int_equal(kicks, 1);
	assert_int_equal(port_kick(d->port, 1), -EAGAIN); /* as nobody takes anything */
	assert_true(kicks_seen(sp[1]) > 0);
	port_kick_left(d->port, 1);
	assert_true(kicks_seen(sp[1]) > 0);
	assert_true(port_tx_pending(d->port));
	d->x.kicking = 1; /* another thread is at it */
	assert_int_equal(port_kick(d->port, 1), 0);
	assert_int_equal(kicks_seen(sp[1]), 0);
	d->x.kicking = 0;
	kernel_sends(d, 2);
	assert_int_equal(port_kick(d->port, 1), 0); /* somebody else's call took it */
	assert_int_equal(kicks_seen(sp[1]), 0);
	kicks = 0;
	port_kick_later(d->port, NULL);
	d->s.to_send = 1;
	assert_int_equal(port_tx(d->port, &d->s, NOW), 1);
	assert_true(kicks_seen(sp[1]) > 0);
	assert_int_equal(kicks, 0);
	kernel_sends(d, 1);
	d->x.fd = -1;
	close(sp[0]);
	close(sp[1]);
}

/* What goes past the ring is not to overtake what another thread has still to kick for. */
static void make_gso(struct stack *s, struct pkt *p)
{
	make_udp(s, p);
	p->gso_size = 20;
	p->hdr_len = 42;
	p->l4_off = 34;
}

static void test_port_tx_gso_kicks_for_what_is_before_it(void **state)
{
	struct side *d = *state;
	uint64_t kicks = 0;
	int sp[2], gso[2];

	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, sp), 0);
	assert_int_equal(socketpair(AF_UNIX, SOCK_DGRAM, 0, gso), 0);
	d->x.fd = sp[0];
	port_close(d->port);
	side_port(d, NULL, gso[0]);
	port_kick_later(d->port, &kicks);
	d->s.make = make_udp;
	d->s.to_send = 1;
	assert_int_equal(port_tx(d->port, &d->s, NOW), 1);
	assert_int_equal(kicks, 1);
	assert_int_equal(kicks_seen(sp[1]), 0);
	d->s.make = make_gso;
	d->s.to_send = 1;
	assert_int_equal(port_tx(d->port, &d->s, NOW), 1);
	assert_true(kicks_seen(sp[1]) > 0);
	assert_int_equal(kicks_seen(gso[1]), 1);
	kernel_sends(d, 1);
	d->x.fd = -1;
	close(sp[0]);
	close(sp[1]);
	close(gso[0]);
	close(gso[1]);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_port_two_interfaces_rx),
		T(test_port_two_interfaces_tx),
		T(test_port_two_interfaces_injection),
		T(test_port_refuses_queues_that_are_none),
		T(test_port_rx_delivers_with_metadata),
		T(test_port_rx_ignores_bad_metadata),
		T(test_port_rx_joins_pieces_across_batches),
		T(test_port_rx_drops_packets_of_too_many_pieces),
		T(test_port_rx_leaves_frames_that_are_not_the_kernels),
		T(test_port_rx_budget),
		T(test_port_rx_reads_the_clock_after_it_has_found),
		T(test_port_inject_moves_frames_to_the_other_side),
		T(test_port_rx_ring_believes_nothing),
		T(test_port_rescue_ring_finds_unpublished_frames),
		T(test_port_tx_completes_checksums),
		T(test_port_tx_keeps_what_the_ring_does_not_take),
		T(test_port_rx_sends_answers_before_they_pile_up),
		T(test_port_tx_leaves_the_call_to_another),
		T(test_port_tx_gso_kicks_for_what_is_before_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
