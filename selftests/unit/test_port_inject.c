// SPDX-License-Identifier: BSD-2-Clause
/*
 * What goes from one process's port to another's (port_inject(), port_rx_ring()) on rings in plain
 * memory: frames change their owner, what the ring says is not believed, and nothing is lost with
 * the giver.
 */
#include "port_world.h"

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
	/* Only who serves a ring of its own believes it: an application has nothing to say there.
	 */
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_port_two_interfaces_injection),
		T(test_port_rx_reads_the_clock_after_it_has_found),
		T(test_port_inject_moves_frames_to_the_other_side),
		T(test_port_rx_ring_believes_nothing),
		T(test_port_rescue_ring_finds_unpublished_frames),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
