/* SPDX-License-Identifier: BSD-2-Clause */
/* A run's frames as pcapng (draft-ietf-opsawg-pcapng): one interface for each sending host. */
#include <string.h>
#include "sim.h"

#define BLOCK_SHB 0x0a0d0d0au
#define BLOCK_IDB 1u
#define BLOCK_EPB 6u
#define OPT_COMMENT 1u
#define OPT_IF_NAME 2u
#define OPT_IF_TSRESOL 9u

struct block {
	uint8_t b[512];
	uint32_t n;
};

static void put(struct block *k, const void *p, uint32_t len)
{
	memcpy(k->b + k->n, p, len);
	k->n += len;
}

static void put32(struct block *k, uint32_t v)
{
	put(k, &v, 4);
}

static void put_option(struct block *k, uint16_t code, const void *p, uint16_t len)
{
	static const uint8_t zero[4];

	put(k, &code, 2);
	put(k, &len, 2);
	put(k, p, len);
	put(k, zero, -len & 3u);
}

/* @data stands between the block's fixed part and its options. */
static void write_block(FILE *f, uint32_t type, const struct block *fixed, const void *data,
			uint32_t len, const struct block *opts)
{
	static const uint8_t zero[4];
	uint32_t pad = -len & 3u, total = 12 + fixed->n + len + pad + opts->n;

	fwrite(&type, 4, 1, f);
	fwrite(&total, 4, 1, f);
	fwrite(fixed->b, fixed->n, 1, f);
	if (len)
		fwrite(data, len, 1, f);
	fwrite(zero, pad, 1, f);
	if (opts->n)
		fwrite(opts->b, opts->n, 1, f);
	fwrite(&total, 4, 1, f);
}

void pcapng_begin(FILE *f)
{
	static const char *const names[] = {"host0", "host1"};
	struct block shb = {.n = 0}, none = {.n = 0};

	put32(&shb, 0x1a2b3c4d);
	put32(&shb, 1); /* version 1.0 */
	put32(&shb, UINT32_MAX);
	put32(&shb, UINT32_MAX); /* length not given */
	write_block(f, BLOCK_SHB, &shb, NULL, 0, &none);
	for (uint32_t i = 0; i < 2; i++) {
		struct block idb = {.n = 0}, opts = {.n = 0};
		uint8_t ns = 9;

		put32(&idb, 1); /* Ethernet */
		put32(&idb, 0);
		put_option(&opts, OPT_IF_NAME, names[i], 5);
		put_option(&opts, OPT_IF_TSRESOL, &ns, 1);
		put32(&opts, 0);
		write_block(f, BLOCK_IDB, &idb, NULL, 0, &opts);
	}
}

void pcapng_frame(FILE *f, uint32_t interface, uint64_t ns, const struct frame *fr,
		  const char *comment)
{
	struct block epb = {.n = 0}, opts = {.n = 0};

	put32(&epb, interface);
	put32(&epb, (uint32_t)(ns >> 32));
	put32(&epb, (uint32_t)ns);
	put32(&epb, fr->len);
	put32(&epb, fr->len);
	if (comment) {
		put_option(&opts, OPT_COMMENT, comment, (uint16_t)strlen(comment));
		put32(&opts, 0);
	}
	write_block(f, BLOCK_EPB, &epb, fr->data, fr->len, &opts);
}
