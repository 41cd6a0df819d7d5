// SPDX-License-Identifier: BSD-2-Clause
/*
 * UDP sockets: datagrams whole and in fragments to bound and connected ones, reads and looks of any
 * size, sending of any size, ICMP errors and the queue of them, sockets that come and go. A
 * datagram's bytes follow from its first one, so that what is read can be checked whatever socket
 * got it; so do those of one that an error quotes.
 */
#include "lib_host.h"

#define SOCKS 6u

static struct fz_host host;
static uint32_t ids[SOCKS]; /* SHM_NIL: not open */

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	struct stack_cfg c = fz_cfg(STACK_FULL);

	(void)argc;
	(void)argv;
	c.n_udp = SOCKS;
	c.n_pending = 64;
	fz_host_open(&host, &c, NULL);
	fz_drain(&host);
	fz_host_save(&host);
	return 0;
}

static uint16_t port_of(uint8_t n)
{
	return __builtin_bswap16(5000 + (n & 1));
}

static uint32_t peer_of(uint8_t n)
{
	return n & 1 ? FZ_FAR_IP : FZ_PEER_IP;
}

/* What a socket is to be: bound or connected, to one of few things, or to nothing. */
static void bind_as(uint32_t id, uint8_t how)
{
	struct tcp_addr_pair a = {.local = how & 2 ? fz_ip(FZ_OUR_IP) : (struct ip_addr){.w = {0}},
				  .local_port = how & 0x40 ? 0 : port_of(how)};

	if (how & 4) {
		a.local = fz_ip(FZ_OUR_IP);
		a.remote = fz_ip(peer_of(how >> 3));
		a.remote_port = __builtin_bswap16(9);
	}
	udp_bind(host.s, id, &a, (how & 16 ? UDP_REUSEPORT : 0u) | (how & 32 ? UDP_V6 : 0u));
}

static void op_socket(struct fz *f, uint32_t i)
{
	uint8_t how = fz_u8(f);

	if (ids[i] == SHM_NIL && udp_open(host.s, i + 1, &ids[i]))
		FZ_CHECK(false, "no socket, though there are as many as fit");
	if (how & 0x80) {
		udp_close(host.s, ids[i]);
		ids[i] = SHM_NIL;
		return;
	}
	bind_as(ids[i], how);
	udp_set_rcvbuf(host.s, ids[i], how & 32 ? 3000 : 100000);
	udp_set_recverr(host.s, ids[i], how & 8);
}

static uint32_t fill(uint8_t *b, uint32_t len, uint8_t first)
{
	for (uint32_t i = 0; i < len; i++)
		b[i] = (uint8_t)(first + i * 7);
	return len;
}

static struct fz_ip_hdr header(uint8_t how)
{
	return (struct fz_ip_hdr){.src = peer_of(how >> 3),
				  .dst = FZ_OUR_IP,
				  .proto = PROTO_UDP,
				  .ttl = 64,
				  .id = how >> 6};
}

/* A datagram for @how's port, in one piece or cut. */
static void op_datagram(struct fz *f, uint8_t how)
{
	static uint8_t l4[65536];
	uint8_t b[FZ_FRAME_MAX];
	struct fz_ip_hdr h = header(how);
	uint32_t len = fz_u8(f) & 1 ? fz_u16(f) % 60000 : fz_u8(f), size, at = 0;
	uint8_t odd = fz_u8(f);

	put_be16(l4, odd & 1 ? 10 : 9);
	memcpy(l4 + 2, &(uint16_t){port_of(how)}, 2);
	put_be16(l4 + 4, (uint16_t)(8 + len));
	len = 8 + fill(l4 + 8, len, fz_u8(f));
	if (odd & 2)
		put_be16(l4 + 4, fz_u16(f));
	fz_l4_csum(l4, len, 6, &h);
	if (odd & 4)
		put_be16(l4 + 6, 0);
	if (odd & 8)
		l4[6] ^= 1;
	for (; at < len; at += size) {
		size = len - at < 1400 ? len - at : 1400;
		h.frag = (uint16_t)(at / 8 | (at + size < len ? 0x2000 : 0));
		memcpy(b + fz_hdr_len(&h), l4 + at, size);
		fz_input(&host, b, fz_ip_frame(b, &h, size), how & 3,
			 odd & 16 ? PKT_CSUM_PARTIAL : PKT_CSUM_VERIFY, TD_NO_CONN, 0);
		if (odd & 32 && !(at & 0x1000))
			at += 8; /* a hole */
	}
}

/* As they were sent: each is the one before it and seven. */
static void check_bytes(const uint8_t *buf, int64_t n)
{
	for (int64_t i = 1; i < n; i++)
		FZ_CHECK(buf[i] == (uint8_t)(buf[0] + i * 7), "byte %d of %d", (int)i, (int)n);
}

static void op_recv(struct fz *f, uint32_t id)
{
	static uint8_t buf[UDP_MAX_PAYLOAD];
	uint8_t how = fz_u8(f);
	size_t room = how & 1 ? sizeof(buf) : fz_u8(f);
	int64_t next = udp_next_len(host.s, id), n;
	struct udp_info in;

	n = udp_recv(host.s, id, buf, room, &in, how & 2);
	FZ_CHECK((n < 0) == (next < 0));
	if (n < 0)
		return;
	FZ_CHECK(in.len == next && n == (int64_t)(room < in.len ? room : in.len));
	check_bytes(buf, n);
	if (!(how & 4) || n < in.len)
		return;
	n = udp_recv_row(host.s, id, buf, room, &in);
	FZ_CHECK(n <= (int64_t)in.len && n <= (int64_t)room && n);
	check_bytes(buf, n);
}

static void op_send(struct fz *f, uint32_t id)
{
	static uint8_t buf[UDP_MAX_PAYLOAD + 2];
	uint8_t how = fz_u8(f);
	struct ip_way way = {.neigh = how >> 3 & 3, .neigh_gen = how >> 5, .mtu = 576 + how};
	struct udp_dest to = {.addr = fz_ip(peer_of(how)),
			      .src = fz_ip(FZ_OUR_IP),
			      .port = __builtin_bswap16(9),
			      .pmtudisc = how % 6,
			      .no_csum = how & 4,
			      .way = how & 2 ? &way : NULL};
	size_t len = fz_u8(f) & 1 ? fz_u16(f) + 2u : fz_u8(f);
	int64_t r;

	if (len > sizeof(buf))
		len = sizeof(buf);
	r = udp_send(host.s, id, &to, buf, len, host.now);
	FZ_CHECK(r < 0 || r == (int64_t)len);
	FZ_CHECK(r < 0 || len <= UDP_MAX_PAYLOAD);
}

static void op_recv_error(struct fz *f, uint32_t id)
{
	static uint8_t buf[FZ_FRAME_MAX];
	size_t room = fz_u8(f) & 1 ? sizeof(buf) : fz_u8(f);
	struct udp_err e;
	int64_t n = udp_recv_error(host.s, id, buf, room, &e);

	if (n < 0)
		return;
	FZ_CHECK(e.err && n == (int64_t)(room < e.len ? room : e.len));
	if (e.origin == UDP_ERR_LOCAL) {
		FZ_CHECK(!e.len && e.info && ip_addr_is_any(&e.offender));
		return;
	}
	FZ_CHECK(e.origin == UDP_ERR_ICMP && e.len <= 1000);
	check_bytes(buf, n);
}

/* What it quotes may be cut anywhere, and may begin with a header longer than it says. */
static void op_error(struct fz *f, uint8_t how)
{
	struct fz_ip_hdr out = {.src = FZ_GW_IP, .dst = FZ_OUR_IP, .proto = PROTO_ICMP, .ttl = 64};
	struct fz_ip_hdr in = {
		.src = FZ_OUR_IP, .dst = peer_of(how >> 3), .proto = PROTO_UDP, .ttl = 64};
	static uint8_t b[FZ_FRAME_MAX], q[FZ_FRAME_MAX];
	uint8_t *icmp = b + fz_hdr_len(&out), odd = fz_u8(f);
	uint32_t len = odd & 1 ? fz_u16(f) % 1000 : fz_u8(f) % 32, hlen = fz_hdr_len(&in);

	memset(icmp, 0, 8);
	memcpy(q + hlen, &(uint16_t){port_of(how)}, 2);
	put_be16(q + hlen + 2, 9);
	put_be32(q + hlen + 4, (fill(q + hlen + 8, len, how) + 8) << 16);
	fz_ip_frame(q, &in, 8 + len);
	if (odd & 2)
		q[ETH_HLEN_] = fz_u8(f);
	icmp[0] = how & 2 ? 3 : fz_u8(f) % 16;
	icmp[1] = fz_u8(f) % 20;
	put_be32(icmp + 4, fz_u16(f));
	len = odd & 4 ? fz_u8(f) % (28 + len) : 28 + len;
	memcpy(icmp + 8, q + ETH_HLEN_, len);
	fz_l4_csum(icmp, 8 + len, 2, &out);
	fz_input(&host, b, fz_ip_frame(b, &out, 8 + len), 1 + (odd >> 3 & 1), PKT_CSUM_VERIFY,
		 TD_NO_CONN, 0);
}

static void events(void)
{
	struct stack_ev ev;

	for (uint32_t n = 0; stack_event_next(host.s, &ev); n++)
		FZ_CHECK(n <= SOCKS && ev.cookie && ev.cookie <= SOCKS &&
			 ids[ev.cookie - 1] != SHM_NIL);
}

/* All sockets go: nothing may be left. */
static void end(void)
{
	struct stack_usage u;

	for (uint32_t i = 0; i < SOCKS; i++)
		if (ids[i] != SHM_NIL)
			udp_close(host.s, ids[i]);
	FZ_CHECK(host.s->uev_head == SHM_NIL);
	fz_drain(&host);
	fz_advance(&host, 60000, 200, true);
	stack_usage(host.s, &u);
	FZ_CHECK(!u.udp && !u.chunks, "%u sockets, %u chunks are left", u.udp, u.chunks);
	fz_check(&host);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fz f = {data, data + size};

	fz_host_restore(&host);
	host.tainted = true;
	for (uint32_t i = 0; i < SOCKS; i++)
		ids[i] = SHM_NIL;
	while (fz_more(&f)) {
		uint8_t op = fz_u8(&f);
		uint32_t i = (op >> 3) % SOCKS, id = ids[i];

		switch (op & 7) {
		case 0:
			op_socket(&f, i);
			break;
		case 1:
		case 2:
			op_datagram(&f, fz_u8(&f));
			break;
		case 3:
			if (id != SHM_NIL)
				op_recv(&f, id);
			break;
		case 4:
			if (id != SHM_NIL)
				op_send(&f, id);
			break;
		case 5:
			op_error(&f, fz_u8(&f));
			break;
		case 6:
			if (id != SHM_NIL)
				udp_error(host.s, id);
			if (id != SHM_NIL)
				op_recv_error(&f, id);
			events();
			break;
		default:
			if (op & 8)
				fz_drain(&host);
			else
				fz_advance(&host, op * 100u, 20, true);
		}
		fz_check(&host);
	}
	end();
	return 0;
}
