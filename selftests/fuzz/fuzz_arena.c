// SPDX-License-Identifier: BSD-2-Clause
/*
 * Another process's arena, as it is read at a hand-over or after a death: connections in every
 * state stand in it, with bytes in all queues; the input writes over TCBs and chunk headers, then
 * one is imported or rescued, and goes on (lib_ops.c). Either it is refused and nothing is taken,
 * or it is a connection like any other.
 */
#include "lib_host.h"

static struct fz_host foreign, dmn, app;

/* The whole other arena: ASan sees where it ends. */
static struct arena_view view;

static uint32_t established(struct fz_host *h, uint16_t port, bool options)
{
	struct fz_offer o = {.ts = options, .wscale = options};

	fz_open_passive(h, port, o);
	return fz_accept(h);
}

static void shut(struct fz_host *h, uint32_t c)
{
	tcp_shutdown(h->s, c, false, true, h->now);
	fz_drain(h);
}

/* Data in order, beyond a gap, and on its way out. */
static void fill(struct fz_host *h, uint32_t c)
{
	fz_peer_data(h, c, 0, 3000, 0);
	fz_peer_data(h, c, 1000, 500, 0);
	fz_peer_data(h, c, 9000, 5000, 0);
	fz_send(h, c, 9000, 0);
	fz_drain(h);
}

static void make_foreign(struct fz_host *h)
{
	struct stack_cfg cfg = fz_cfg(STACK_FULL);
	struct ip_addr any = {.w = {0}};
	struct tcp_addr_pair a;
	struct fz_seg fin;
	uint32_t c;

	fz_host_open(h, &cfg, NULL);
	FZ_CHECK(!tcp_listen(h->s, &any, __builtin_bswap16(FZ_OUR_PORT), 16, 1, &h->listener));
	established(h, 5200, false);
	fill(h, established(h, 5201, true));
	fill(h, established(h, 5202, false));
	c = established(h, 5203, true);
	fz_peer_data(h, c, 0, 100, TH_FIN); /* CLOSE-WAIT */
	fz_send(h, c, 200, 0);
	shut(h, established(h, 5204, true)); /* FIN-WAIT-1 */
	c = established(h, 5205, false);
	fill(h, c);
	shut(h, c);
	c = established(h, 5206, true);
	shut(h, c);
	fz_peer_data(h, c, 0, 10, 0); /* FIN-WAIT-2 */
	c = established(h, 5207, false);
	fz_peer_data(h, c, 0, 10, TH_FIN);
	shut(h, c); /* LAST-ACK */
	c = established(h, 5208, false);
	shut(h, c);
	a = tcb_pair(tcp_get(h->s, c));
	fin = (struct fz_seg){.a = a,
			      .seq = tcp_get(h->s, c)->rcv_nxt,
			      .ack = tcp_get(h->s, c)->snd_una,
			      .wnd = 1000,
			      .flags = TH_FIN | TH_ACK};
	fz_seg_input(h, &fin); /* CLOSING */
	c = established(h, 5209, true);
	shut(h, c);
	fz_peer_data(h, c, 0, 10, TH_FIN); /* TIME-WAIT */
	c = established(h, 5210, true);
	fz_peer_data(h, c, 500, 10, TH_FIN); /* its FIN is out of order */
	fz_drain(h);
	fz_check(h);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct stack_cfg cd = fz_cfg(STACK_FULL), ca = fz_cfg(STACK_APP);
	struct ip_addr any = {.w = {0}};

	(void)argc;
	(void)argv;
	make_foreign(&foreign);
	for (uint32_t i = 0; i < FZ_TCBS; i++)
		if (tcp_get(foreign.s, i))
			FZ_CHECK(!stack_export(foreign.s, i));
	fz_host_save(&foreign);
	view = foreign.a;
	fz_host_open(&dmn, &cd, NULL);
	fz_host_open(&app, &ca, &dmn);
	FZ_CHECK(!tcp_listen(dmn.s, &any, __builtin_bswap16(FZ_OUR_PORT), 4, 1, &dmn.listener));
	established(&dmn, 5000, true);
	fz_host_save(&dmn);
	fz_host_save(&app);
	return 0;
}

/* Bytes of the input over something of @size at @at. */
static void patch(struct fz *f, void *at, uint32_t size)
{
	uint32_t off = fz_u16(f) % size, got;
	const uint8_t *p = fz_bytes(f, (fz_u8(f) & 15) + 1u, &got);

	memcpy((uint8_t *)at + off, p, got < size - off ? got : size - off);
}

/* A 32-bit value, which is what most of it consists of, changed by a little. */
static void nudge(struct fz *f, void *at, uint32_t size)
{
	uint32_t off = fz_u8(f) % (size / 4) * 4, v;

	memcpy(&v, (uint8_t *)at + off, 4);
	v += (uint32_t)(int32_t)(int8_t)fz_u8(f);
	memcpy((uint8_t *)at + off, &v, 4);
}

static void scribble(struct fz *f, uint32_t idx)
{
	uint8_t n = fz_u8(f);

	for (uint32_t i = 0; i < (n & 7u); i++) {
		uint8_t how = fz_u8(f);
		struct chunk_hdr *h = &view.chunk_hdrs[(how >> 2) % FZ_CHUNKS];

		if (how & 1 && how & 2)
			nudge(f, h, sizeof(*h));
		else if (how & 1)
			patch(f, h, sizeof(*h));
		else if (how & 2)
			nudge(f, &view.tcbs[idx], sizeof(struct tcb));
		else
			patch(f, &view.tcbs[idx], sizeof(struct tcb));
	}
	if (n & 8)
		view.tcbs[idx].owner = TCB_MINE;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fz f = {data, data + size};
	uint8_t first = fz_u8(&f), k;
	struct fz_host *h = first & 1 ? &app : &dmn;
	struct stack_usage before, after;
	uint32_t idx, conn, generation;
	int err;

	fz_host_restore(&foreign);
	fz_host_restore(&dmn);
	fz_host_restore(&app);
	h->tainted = true;
	for (uint32_t n = 0; n < (first >> 1 & 3) + 1u; n++) {
		k = fz_u8(&f);
		idx = k % 11;
		scribble(&f, idx);
		generation = view.tcbs[idx].generation - (k == 0xff);
		stack_usage(h->s, &before);
		if (k & 0x40)
			idx = view.n_tcbs + (k & 1); /* a message may name any */
		if (k & 0x80)
			err = stack_rescue(h->s, &view, idx, generation, h->now, &conn);
		else
			err = stack_import(h->s, &view, idx, generation, k, h->now, &conn);
		fz_check(h);
		stack_usage(h->s, &after);
		FZ_CHECK(err || (conn < FZ_TCBS && after.tcbs == before.tcbs + 1));
		FZ_CHECK(!err || (after.tcbs == before.tcbs && after.chunks == before.chunks));
		if (!err && k & 0x20)
			tcp_close(h->s, conn, h->now);
	}
	while (fz_more(&f)) {
		fz_op(h, NULL, &f);
		fz_check(h);
	}
	fz_host_end(h);
	return 0;
}
