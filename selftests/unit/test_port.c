// SPDX-License-Identifier: BSD-2-Clause
/*
 * port_rx.c and port_tx.c on rings in plain memory: what descriptors may hold, packets in pieces,
 * full rings. No root; test_port_veth.c has the real thing, test_port_inject.c what goes from port
 * to port.
 */
#include "port_world.h"

/* ---- several interfaces ---- */

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_port_two_interfaces_rx),
		T(test_port_two_interfaces_tx),
		T(test_port_refuses_queues_that_are_none),
		T(test_port_rx_delivers_with_metadata),
		T(test_port_rx_ignores_bad_metadata),
		T(test_port_rx_joins_pieces_across_batches),
		T(test_port_rx_drops_packets_of_too_many_pieces),
		T(test_port_rx_leaves_frames_that_are_not_the_kernels),
		T(test_port_rx_budget),
		T(test_port_tx_completes_checksums),
		T(test_port_tx_keeps_what_the_ring_does_not_take),
		T(test_port_rx_sends_answers_before_they_pile_up),
		T(test_port_tx_leaves_the_call_to_another),
		T(test_port_tx_gso_kicks_for_what_is_before_it),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
