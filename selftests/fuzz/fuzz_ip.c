// SPDX-License-Identifier: BSD-2-Clause
/*
 * Below TCP: Ethernet, ARP, IPv4 with options, fragments and reassembly, ICMP, given to a daemon's
 * stack with a listener and live connections. The input is a sequence of frames: headers are made
 * from its values, with lengths and checksums that are right unless it says otherwise; and time.
 */
#include "lib_host.h"

static struct fz_host host;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	static const struct fz_offer offer = {.ts = true, .wscale = true};
	struct stack_cfg c = fz_cfg(STACK_FULL);
	struct ip_addr any = {.w = {0}};

	(void)argc;
	(void)argv;
	fz_host_open(&host, &c, NULL);
	FZ_CHECK(!tcp_listen(host.s, &any, __builtin_bswap16(FZ_OUR_PORT), 4, 1, &host.listener));
	fz_open_passive(&host, 5000, offer);
	fz_accept(&host);
	fz_open_active(&host, 7000, false);
	fz_drain(&host);
	fz_host_save(&host);
	return 0;
}

static uint32_t address(uint8_t sel)
{
	static const uint32_t a[8] = {FZ_PEER_IP,  FZ_OUR_IP,	FZ_GW_IP,    FZ_FAR_IP,
				      0x0a0000ffu, 0xffffffffu, 0xe0000001u, 0x7f000001u};

	return a[sel & 7];
}

/* Any frame, but for the type and the destination that @how leaves as they should be. */
static void raw(struct fz *f, uint8_t how)
{
	uint8_t b[1600];
	uint32_t got;
	const uint8_t *p = fz_bytes(f, fz_u16(f) % sizeof(b), &got);

	memcpy(b, p, got);
	if (how & 1 && got >= ETH_HLEN_) {
		memcpy(b, fz_our_mac, 6);
		b[6] = 2;
	}
	fz_input(&host, b, got, how >> 4, how & 2 ? PKT_CSUM_GOOD : PKT_CSUM_VERIFY,
		 how & 4 ? 0 : TD_NO_CONN, 1);
}

static void arp(struct fz *f, uint8_t how)
{
	uint8_t b[60] = {0};
	uint32_t got;
	const uint8_t *p;

	memcpy(b, fz_our_mac, 6);
	memcpy(b + 6, fz_peer_mac, 6);
	put_be16(b + 12, ETHERTYPE_ARP);
	memcpy(b + 14, "\0\1\10\0\6\4", 6);
	put_be16(b + 20, 1 + (how & 1));
	memcpy(b + 22, fz_peer_mac, 6);
	b[27] = how >> 1 & 3;
	put_be32(b + 28, address(how >> 3));
	put_be32(b + 38, address(fz_u8(f)));
	/* Some of it otherwise. */
	p = fz_bytes(f, fz_u8(f) % 32, &got);
	if (got) {
		uint32_t at = p[0] % 42;

		memcpy(b + at, p + 1, got - 1 < 60 - at ? got - 1 : 60 - at);
	}
	fz_input(&host, b, how & 0x80 ? 14 + how % 28 : 42, 1, PKT_CSUM_VERIFY, TD_NO_CONN, 0);
}

static uint32_t csum_at(uint8_t proto)
{
	return proto == PROTO_TCP ? 16 : proto == PROTO_UDP ? 6 : 2;
}

static struct fz_ip_hdr header(struct fz *f)
{
	uint8_t a = fz_u8(f), b = fz_u8(f);
	static const uint8_t protos[4] = {PROTO_ICMP, PROTO_UDP, PROTO_TCP, 47};
	struct fz_ip_hdr h = {.src = address(a),
			      .dst = address((a >> 3) ^ 1),
			      .proto = protos[a >> 6],
			      .ttl = b & 1 ? 0 : 64,
			      .id = b >> 1 & 1};
	uint32_t got;

	if (b & 4)
		h.opts = fz_bytes(f, fz_u8(f) % 11 * 4, &got);
	if (b & 4)
		h.opt_len = got & ~3u;
	if (b & 8)
		h.len_delta = (int8_t)fz_u8(f);
	if (b & 16)
		h.frag = 0x4000;
	h.tos = b & 32 ? 3 : 0;
	return h;
}

/* One datagram with the bytes of the input as transport, whole. */
static void datagram(struct fz *f, uint8_t how)
{
	struct fz_ip_hdr h = header(f);
	uint8_t b[1700], *l4 = b + fz_hdr_len(&h);
	uint32_t got;
	const uint8_t *p = fz_bytes(f, fz_u16(f) % 1500, &got);

	memcpy(l4, p, got);
	if (!(how & 1))
		fz_l4_csum(l4, got, csum_at(h.proto), &h);
	fz_input(&host, b, fz_ip_frame(b, &h, got), how >> 4,
		 how & 2 ? PKT_CSUM_PARTIAL : PKT_CSUM_VERIFY, TD_NO_CONN, 0);
}

/* A datagram of up to 64 KB, cut as the input says: pieces may overlap, lack or come twice. */
static void fragments(struct fz *f, uint8_t how)
{
	static uint8_t l4[65536];
	uint8_t b[FZ_FRAME_MAX];
	struct fz_ip_hdr h = header(f);
	uint32_t len = fz_u16(f), n = fz_u8(f) % 12, got, at = 0;
	const uint8_t *p = fz_bytes(f, fz_u8(f), &got);

	memset(l4, 0, len);
	memcpy(l4, p, got < len ? got : len);
	fz_l4_csum(l4, len, csum_at(h.proto), &h);
	for (uint32_t i = 0; i < n; i++) {
		uint8_t sel = fz_u8(f);
		uint32_t off = sel & 1 ? fz_u16(f) & 0xfff8u : at, size = (fz_u8(f) + 1u) * 32;
		bool last = sel & 2;

		if (sel & 4)
			size -= 3;
		if (off > len)
			off = len & ~7u;
		if (size > len - off)
			size = len - off;
		last |= off + size == len && !(sel & 8);
		h.frag = (uint16_t)(off / 8 | (last ? 0 : 0x2000));
		memcpy(b + fz_hdr_len(&h), l4 + off, size);
		fz_input(&host, b, fz_ip_frame(b, &h, size), how >> 4, PKT_CSUM_VERIFY, TD_NO_CONN,
			 0);
		at = off + size;
	}
}

/* An ICMP error about one of our segments, or the like, cut somewhere. */
static void quote(struct fz *f, uint8_t how)
{
	const struct tcb *t = &host.a.tcbs[how & 1];
	struct fz_ip_hdr out = {
		.src = address(fz_u8(f)), .dst = FZ_OUR_IP, .proto = PROTO_ICMP, .ttl = 64};
	struct fz_seg g = {.a = {t->remote, t->local, t->remote_port, t->local_port}};
	uint8_t b[256] = {0}, q[120], *icmp = b + fz_hdr_len(&out);
	uint32_t len, got;
	const uint8_t *p;

	g.seq = t->snd_una + (uint32_t)(int8_t)fz_u8(f);
	fz_build_seg(q, &g);
	icmp[0] = fz_u8(f);
	icmp[1] = fz_u8(f);
	put_be32(icmp + 4, fz_u32(f));
	memcpy(icmp + 8, q + ETH_HLEN_, 40);
	len = fz_u8(f) % 48;
	p = fz_bytes(f, fz_u8(f) % 16, &got);
	if (got) {
		uint32_t at = p[0] % 40;

		memcpy(icmp + 8 + at, p + 1, got - 1);
	}
	fz_l4_csum(icmp, 8 + len, 2, &out);
	fz_input(&host, b, fz_ip_frame(b, &out, 8 + len), how >> 4, PKT_CSUM_VERIFY, TD_NO_CONN, 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fz f = {data, data + size};

	fz_host_restore(&host);
	host.tainted = true;
	while (fz_more(&f)) {
		uint8_t op = fz_u8(&f), how = fz_u8(&f);

		switch (op & 7) {
		case 0:
			raw(&f, how);
			break;
		case 1:
			arp(&f, how);
			break;
		case 2:
			datagram(&f, how);
			break;
		case 3:
			fragments(&f, how);
			break;
		case 4:
			quote(&f, how);
			break;
		case 5:
			fz_advance(&host, how * 400u, 20, how & 1);
			break;
		case 6:
			fz_event(&host, (enum net_event_kind)(how & 7), address(how >> 3), 24, 0);
			break;
		default:
			if (how & 1)
				fz_drain(&host);
			else
				fz_output(&host);
		}
		fz_check(&host);
	}
	return 0;
}
