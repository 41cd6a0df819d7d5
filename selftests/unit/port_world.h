/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A port (user/io/port_*.c) on rings in plain memory, the test being the kernel, and a stack that
 * notes what it gets.
 */
#ifndef TANDEM_UNIT_PORT_WORLD_H
#define TANDEM_UNIT_PORT_WORLD_H

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

#define P_HELPER static __attribute__((unused))

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

P_HELPER struct mtime found_at(void)
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

P_HELPER enum drop record(struct stack *s, struct pkt *p)
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

P_HELPER enum drop stale(struct stack *s, struct pkt *p)
{
	record(s, p);
	return DROP_STALE_FLOW;
}

P_HELPER void side_port(struct side *d, struct shm_pkt_ring *in, int gso_fd)
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

P_HELPER void side_open(struct side *d, struct umem *parent, uint16_t slot, struct shm_pkt_ring *in)
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

P_HELPER struct port *open_two(struct side *d, struct xsk *x, struct fake_ring rings[3][4])
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

P_HELPER int setup(void **state)
{
	struct side *d = malloc(sizeof(*d));

	memset(&fill, 0, sizeof(fill));
	memset(&comp, 0, sizeof(comp));
	side_open(d, NULL, 0, NULL);
	*state = d;
	return 0;
}

P_HELPER void side_close(struct side *d)
{
	port_close(d->port);
	assert_int_equal(umem_count_slot(&d->u, d->u.slot), 0);
	umem_close(&d->u);
}

/* Every test ends so: no frame is anyone's but the pool's, the fill ring's, or @state's "kernel".
 */
P_HELPER int teardown(void **state)
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
P_HELPER uint64_t kernel_frame(struct side *d, uint32_t len, uint8_t c)
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

P_HELPER void kernel_desc(struct side *d, uint64_t addr, uint32_t len, bool more)
{
	d->rx.desc[d->rx.producer++ & (RING - 1)] =
		(struct xdp_desc){.addr = addr, .len = len, .options = more ? XSK_PKT_CONTD : 0};
}

P_HELPER void kernel_rx(struct side *d, uint32_t len, uint8_t c, bool more)
{
	kernel_desc(d, kernel_frame(d, len, c), len, more);
}

P_HELPER uint32_t rx(struct side *d)
{
	return port_rx(d->port, &d->s, 64, &NOW, NULL, NULL);
}

/* What the fill and completion rings of a closed port hold goes back to the pool. */
P_HELPER void take_filled(struct side *d, struct fake_ring rings[3][4])
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

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

#endif
