// SPDX-License-Identifier: BSD-2-Clause
/*
 * Packet memory that others can write: the input scribbles over the control block (owners, pool,
 * intent, lock), over every ring and its indices, over metadata, descriptors and injected
 * packets, between the steps of a port that receives, sends, balances and cleans up. All of it
 * stands on the heap with nothing behind it, so that ASan sees each step too far.
 */
#include <unistd.h>
#include <linux/if_xdp.h>
#include "fz.h"
#include "common/reasons.h"
#include "selftests/unit/fake_stack.h"
#include "user/io/port_priv.h"

#define N_FRAMES 256u
#define RING 32u
#define QUEUES 2u
#define CTL_LEN (128 + 2 * 4 * N_FRAMES) /* struct umem_ctl */
#define LOCK_WORD 16u

struct fake_ring {
	uint32_t producer, consumer, flags, size;
	void *e; /* [RING] */
};

static struct umem u;
static uint8_t *fresh_ctl;
static struct fake_ring fill[QUEUES], comp[QUEUES], rx[QUEUES], tx[QUEUES];
static struct shm_pkt_ring *in, *out;
static struct umem_queue uqs[QUEUES];
static struct xsk xsks[QUEUES];
static struct port *port;
static struct stack stk;
static uint8_t *chunk; /* what packets out point to besides their frame */

static void ring_init(struct fake_ring *r, uint32_t entry)
{
	void *e = r->e;

	*r = (struct fake_ring){.flags = XDP_RING_NEED_WAKEUP, .size = entry, .e = e};
	if (!e)
		r->e = malloc(RING * entry);
	memset(r->e, 0, RING * entry);
}

static struct xsk_ring_prod prod(struct fake_ring *r)
{
	return (struct xsk_ring_prod){.cached_cons = RING,
				      .mask = RING - 1,
				      .size = RING,
				      .producer = &r->producer,
				      .consumer = &r->consumer,
				      .ring = r->e,
				      .flags = &r->flags};
}

static struct xsk_ring_cons cons(struct fake_ring *r)
{
	return (struct xsk_ring_cons){.mask = RING - 1,
				      .size = RING,
				      .producer = &r->producer,
				      .consumer = &r->consumer,
				      .ring = r->e,
				      .flags = &r->flags};
}

/* ---- in place of the stack ---- */

static enum drop take(struct stack *s, struct pkt *p)
{
	uint32_t sum = 0;

	(void)s;
	FZ_CHECK(p->nfrags && p->nfrags <= PKT_MAX_FRAGS);
	for (uint32_t i = 0; i < p->nfrags; i++) {
		const struct pkt_frag *f = &p->frag[i];

		FZ_CHECK(f->frame < N_FRAMES && f->p >= u.base && f->p + f->len <= u.base + u.size);
		for (uint32_t k = 0; k < f->len; k += 61)
			sum += f->p[k];
		p->len -= f->len;
	}
	FZ_CHECK(!p->len && p->l3_off < p->frag[0].len + 1u && p->reason < XR_MAX);
	return sum & 1 ? DROP_STALE_FLOW : DROP_NONE;
}

static void make(struct stack *s, struct pkt *p)
{
	uint32_t n = 60 + s->to_send * 37 % 2000;

	FZ_CHECK(p->frag[0].frame < N_FRAMES && p->frag[0].p >= u.base &&
		 p->frag[0].p + p->room <= u.base + u.size);
	FZ_CHECK((uintptr_t)(p->frag[0].p - u.base) / UMEM_FRAME_SIZE == p->frag[0].frame &&
		 (uintptr_t)(p->frag[0].p - u.base) % UMEM_FRAME_SIZE + p->room <= UMEM_FRAME_SIZE);
	memset(p->frag[0].p, 0xab, n);
	p->frag[0].len = p->len = n;
	p->queue = (uint16_t)s->to_send;
	if (s->to_send % 3 == 1) {
		p->csum = PKT_CSUM_PARTIAL;
		p->csum_start = 34;
		p->csum_off = 16;
	}
	if (s->to_send % 3 == 2) {
		p->frag[1] = (struct pkt_frag){.p = chunk, .len = 4096, .frame = SHM_NIL};
		p->nfrags = 2;
		p->len += 4096;
		p->gso_size = s->to_send & 1 ? 1448 : 0;
		p->hdr_len = 54;
	}
}

static bool pass_on(void *ctx, struct pkt *p)
{
	(void)ctx;
	return port_inject(port, p, out, 1);
}

static enum port_verdict filter(void *ctx, struct pkt *p)
{
	(void)ctx;
	if (p->frag[0].len % 5 == 1)
		return PORT_DROPPED;
	return p->frag[0].len % 5 == 2 && port_inject(port, p, out, 1) ? PORT_TAKEN : PORT_TO_STACK;
}

/* ---- the world ---- */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	void *ctl;

	(void)argc;
	(void)argv;
	FZ_CHECK(!umem_create(&u, N_FRAMES));
	u.base = malloc(u.size);
	memset(u.base, 0, u.size);
	fresh_ctl = malloc(CTL_LEN);
	memcpy(fresh_ctl, u.ctl, CTL_LEN);
	FZ_CHECK(!posix_memalign(&ctl, 128, CTL_LEN));
	u.ctl = ctl;
	in = malloc(sizeof(*in));
	out = malloc(sizeof(*out));
	chunk = malloc(4096);
	memset(chunk, 1, 4096);
	return 0;
}

static struct mtime found_at(void)
{
	return (struct mtime){1};
}

static void open_world(void)
{
	struct port_cfg cfg = {
		.umem = &u,
		.xsks = xsks,
		.uqs = uqs,
		.fill_target = 24,
		.ifs = {{.n_queues = QUEUES - 1, .gso_fd = -1}, {.n_queues = 1, .gso_fd = -1}},
		.n_ifs = 2,
		.inject_in = in,
		.clock = found_at};

	memcpy(u.ctl, fresh_ctl, CTL_LEN);
	u.lock_slow = false;
	memset(in, 0, sizeof(*in));
	memset(out, 0, sizeof(*out));
	for (uint32_t q = 0; q < QUEUES; q++) {
		ring_init(&fill[q], 8);
		ring_init(&comp[q], 8);
		ring_init(&rx[q], sizeof(struct xdp_desc));
		ring_init(&tx[q], sizeof(struct xdp_desc));
		uqs[q] = (struct umem_queue){
			.fill = prod(&fill[q]), .comp = cons(&comp[q]), .index = q};
		xsks[q] =
			(struct xsk){.fd = -1, .queue = q, .rx = cons(&rx[q]), .tx = prod(&tx[q])};
	}
	stk = (struct stack){.on_input = take, .make = make};
	FZ_CHECK(!port_open(&port, &cfg));
	port_set_filter(port, filter, NULL);
	stk.pool = port_pool(port);
}

/* ---- the kernel ---- */

static void kernel_receives(struct fz *f)
{
	uint8_t n = fz_u8(f), q = n & 1;
	struct pkt_meta m = {.magic = PKT_META_MAGIC, .l3_off = 14, .l4_off = 34, .conn = n};

	for (uint32_t i = 0; i < (n >> 1 & 15u) + 1; i++) {
		uint64_t addr = ((uint64_t *)fill[q].e)[fill[q].consumer % RING] + UMEM_HEADROOM;

		if (fill[q].consumer == fill[q].producer)
			return;
		fill[q].consumer++;
		if (addr >= UMEM_HEADROOM && umem_valid(&u, addr, 60))
			memcpy(u.base + addr - sizeof(m), &m, sizeof(m));
		((struct xdp_desc *)rx[q].e)[rx[q].producer++ % RING] = (struct xdp_desc){
			.addr = addr, .len = 60 + i + n, .options = n >> 5 > i ? 1 : 0};
	}
}

static void kernel_sends(struct fz *f)
{
	uint8_t n = fz_u8(f), q = n & 1;

	for (uint32_t i = 0; i < (n >> 1 & 31u) + 1 && tx[q].consumer != tx[q].producer; i++) {
		((uint64_t *)comp[q].e)[comp[q].producer++ % RING] =
			((struct xdp_desc *)tx[q].e)[tx[q].consumer++ % RING].addr;
	}
}

/* ---- the others ---- */

static void scribble_ctl(struct fz *f)
{
	uint32_t at = fz_u16(f) % (CTL_LEN / 4), v, *w = (uint32_t *)u.ctl + at;
	uint8_t how = fz_u8(f);

	v = how & 1 ? fz_u32(f) : how & 2 ? *w + (uint32_t)(int8_t)fz_u8(f) : fz_u8(f);
	/* A living holder would be waited for: the lock is free, or its holder dead. */
	if (at == LOCK_WORD)
		v = v & 1 ? 0 : 5u << 20 | 1;
	*w = v;
}

static void scribble_ring(struct fz *f)
{
	uint8_t which = fz_u8(f), q = which & 1;
	struct fake_ring *all[4] = {&fill[q], &comp[q], &rx[q], &tx[q]}, *r = all[which >> 1 & 3];
	uint32_t v = which & 8 ? fz_u32(f) : (uint32_t)(int8_t)fz_u8(f), got;
	const uint8_t *p;

	switch (which >> 4 & 3) {
	case 0:
		r->producer = which & 8 ? v : r->producer + v;
		break;
	case 1:
		r->consumer = which & 8 ? v : r->consumer + v;
		break;
	case 2:
		r->flags = v;
		break;
	default:
		p = fz_bytes(f, r->size, &got);
		memcpy((uint8_t *)r->e + v % RING * r->size, p, got);
	}
}

static void scribble_injection(struct fz *f)
{
	uint8_t how = fz_u8(f);
	struct shm_pkt_ring *r = how & 1 ? in : out;
	uint32_t n = fz_u8(f) % 20, v = how & 2 ? fz_u32(f) : 0;

	if (how & 4)
		r->hdr.head += v;
	if (how & 8)
		r->hdr.tail += v;
	for (uint32_t i = 0; i < n; i++) {
		uint8_t frame = fz_u8(f), sel = fz_u8(f);
		struct shm_pkt *e = &r->e[r->hdr.tail++ & (SHM_PKT_RING - 1)];

		*e = (struct shm_pkt){.addr = (uint64_t)frame * UMEM_FRAME_SIZE + (sel & 15u) * 64,
				      .len = sel & 16 ? fz_u32(f) : 60u + frame,
				      .flags = sel & 32 ? SHM_PKT_MORE : 0};
		if (sel & 64)
			e->addr += fz_u32(f);
		if (!(sel & 128))
			umem_give(&u, frame, FRAME_INJECTED, TD_SLOT_DAEMON);
	}
}

static void scribble_meta(struct fz *f)
{
	uint32_t at = fz_u8(f) * UMEM_FRAME_SIZE + UMEM_HEADROOM - 16, got;
	const uint8_t *p = fz_bytes(f, 16, &got);

	memcpy(u.base + at, p, got);
}

/* ---- ourselves ---- */

static void clean_up(struct fz *f)
{
	uint32_t left[64], n = 0;
	struct umem_usage us;
	uint8_t how = fz_u8(f);

	if (how & 1)
		port_rescue_ring(port, in);
	if (how & 2)
		for (uint32_t q = 0; q < QUEUES; q++)
			n += xsk_unread_frames(&xsks[q], &u, left + n, 64 - n);
	for (uint32_t i = 0; i < (how >> 4); i++)
		left[i] = fz_u8(f) * (how & 8 ? 16777259u : 1);
	if (n < how >> 4)
		n = how >> 4;
	umem_reclaim(&u, how & 4 ? 1 : 5, left, n, how & 8);
	umem_usage(&u, &us);
	FZ_CHECK(us.pool + us.fill + us.tx + us.owned + us.injected + us.bad == N_FRAMES);
	FZ_CHECK(umem_count_slot(&u, 1) <= N_FRAMES);
}

static void step(struct fz *f)
{
	struct mtime now = {1};
	uint8_t op = fz_u8(f);

	switch (op % 12) {
	case 0:
	case 1:
		kernel_receives(f);
		break;
	case 2:
		kernel_sends(f);
		break;
	case 3:
		scribble_ctl(f);
		break;
	case 4:
		scribble_ring(f);
		break;
	case 5:
		scribble_injection(f);
		break;
	case 6:
		scribble_meta(f);
		break;
	case 7:
		clean_up(f);
		break;
	case 8:
		stk.to_send = fz_u8(f) % 80;
		port_tx(port, &stk, now);
		port_tx_pending(port);
		break;
	case 9:
		port_rx_ring(port, out, &stk, fz_u8(f), &now, pass_on, NULL);
		break;
	default:
		port_rx_pending(port);
		port_rx(port, &stk, op & 0x80 ? 4 : 64, &now, pass_on, NULL);
	}
	FZ_CHECK(port->cache.n <= FRAME_CACHE_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fz f = {data, data + size};

	open_world();
	while (fz_more(&f))
		step(&f);
	port_close(port);
	return 0;
}
