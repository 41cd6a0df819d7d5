// SPDX-License-Identifier: BSD-2-Clause
/*
 * The XDP program's decision logic on any frame, in place and from a copy of its beginning
 * (selftests/bpf/decide_world.h). The first three bytes choose settings, what was seen before, and
 * the addresses: those of the world stand where an input of the right kind has them.
 */
#include "fz.h"
#define WORLD_CHECK(condition) FZ_CHECK(condition)
#include "selftests/bpf/decide_world.h"

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	return 0;
}

/* So that not every address has to be guessed: it is decisions that are tested. */
static void put_addresses(uint8_t *b, uint32_t len, uint8_t how)
{
	uint32_t l3 = 14 + (how & 3 ? (how & 3u) * 4 % 12 : 0);

	if (len < 14)
		return;
	memcpy(b, how & 4 ? mac_all : mac_us, 6);
	if (how & 8 && len >= l3 + 20) {
		memcpy(b + l3 + 12, &world.flow_keys[0].remote.w[3], 4);
		memcpy(b + l3 + 16, &world.local[0].w[3], 4);
	} else if (how & 16 && len >= l3 + 40) {
		memcpy(b + l3 + 8, &world.flow_keys[2].remote, 16);
		memcpy(b + l3 + 24, &world.local[1], 16);
	}
}

/* TCP over plain IPv4 to the flooded port, with a checksum that is right: else few get so far. */
static void put_flooded(uint8_t *b, uint32_t len, uint8_t how)
{
	uint32_t l3 = 14 + (how & 3 ? (how & 3u) * 4 % 12 : 0), l4 = l3 + 20;
	struct ip_addr src = world.flow_keys[0].remote, dst = world.local[0];

	if (len < l4 + 20)
		return;
	b[l3] = 0x45;
	b[l3 + 2] = (uint8_t)((len - l3) >> 8);
	b[l3 + 3] = (uint8_t)(len - l3);
	b[l3 + 6] = b[l3 + 7] = 0;
	b[l3 + 9] = PROTO_TCP;
	memcpy(b + l4 + 2, &world.flooded_key.port, 2);
	if (how & 0x40)
		return;
	memset(b + l4 + 16, 0, 2);
	memcpy(b + l4 + 16,
	       &(uint16_t){csum_fold(csum_partial(b + l4, len - l4,
						  csum_pseudo(&src, &dst, PROTO_TCP, len - l4)))},
	       2);
}

/* An echo request's checksums, which are verified before it is answered. */
static void put_echo_sums(uint8_t *b, uint32_t len, uint8_t how)
{
	uint32_t l3 = 14 + (how & 3 ? (how & 3u) * 4 % 12 : 0), l4, end, sum = 0;

	if (len < l3 + 20)
		return;
	if (how & 8) {
		l4 = l3 + 20;
		end = l3 + ((uint32_t)b[l3 + 2] << 8 | b[l3 + 3]);
		memset(b + l3 + 10, 0, 2);
		memcpy(b + l3 + 10, &(uint16_t){csum_fold(csum_partial(b + l3, 20, 0))}, 2);
	} else {
		l4 = l3 + 40;
		end = l4 + ((uint32_t)b[l3 + 4] << 8 | b[l3 + 5]);
	}
	if (end > len || end < l4 + 4)
		return;
	if (!(how & 8))
		sum = csum_pseudo(&world.flow_keys[2].remote, &world.local[1], PROTO_ICMP6,
				  end - l4);
	memset(b + l4 + 2, 0, 2);
	memcpy(b + l4 + 2, &(uint16_t){csum_fold(csum_partial(b + l4, end - l4, sum))}, 2);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fz f = {data, data + size};
	uint8_t set = fz_u8(&f), how = fz_u8(&f), *b;
	uint32_t more = set & 0x80 ? fz_u8(&f) * 8u : 0, len;
	const uint8_t *p = fz_bytes(&f, 2000, &len);

	world_init();
	world.settings.claim_all = set & 1;
	world.settings.answer_arp = !(set & 2);
	world.settings.answer_echo = !(set & 4);
	world.settings.reply_mode = (set >> 3 & 3) % 3;
	if (set & 0x20)
		world.denied = addr_of(PEER4);
	if (set & 0x40) { /* the port that an input names is the flooded one */
		world.flooded_key.port = world.port_key.port;
		world.flooded.cookies.options = how;
		world.settings.partial_replies = how >> 5 & 1;
		world.cookie_spare = 1;
	}
	b = malloc(len + 1);
	memcpy(b, p, len);
	put_addresses(b, len, how);
	if (set & 0x40)
		put_flooded(b, len, how);
	else if (how & 0x80)
		put_echo_sums(b, len, how);
	try_bytes(b, len, more);
	free(b);
	return 0;
}
