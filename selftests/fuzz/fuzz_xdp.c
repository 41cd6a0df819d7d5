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
	b = malloc(len + 1);
	memcpy(b, p, len);
	put_addresses(b, len, how);
	try_bytes(b, len, more);
	free(b);
	return 0;
}
