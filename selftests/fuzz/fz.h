/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What all fuzz targets share: taking values from the input, and the check of what must hold. An
 * input that has run out gives zeroes, so that each prefix of an input is an input, too.
 */
#ifndef TANDEM_FUZZ_FZ_H
#define TANDEM_FUZZ_FZ_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define FZ_CHECK(cond, ...)                                                                        \
	do {                                                                                       \
		if (__builtin_expect(!(cond), 0)) {                                                \
			fprintf(stderr, "%s:%d: %s: ", __FILE__, __LINE__, #cond);                 \
			fprintf(stderr, "" __VA_ARGS__);                                           \
			fputc('\n', stderr);                                                       \
			abort();                                                                   \
		}                                                                                  \
	} while (0)

struct fz {
	const uint8_t *p, *end;
};

static inline bool fz_more(const struct fz *f)
{
	return f->p < f->end;
}

static inline uint8_t fz_u8(struct fz *f)
{
	return f->p < f->end ? *f->p++ : 0;
}

static inline uint16_t fz_u16(struct fz *f)
{
	uint16_t hi = fz_u8(f);

	return (uint16_t)(hi << 8 | fz_u8(f));
}

static inline uint32_t fz_u32(struct fz *f)
{
	uint32_t hi = fz_u16(f);

	return hi << 16 | fz_u16(f);
}

/* Up to @n bytes of the input, where they stand; how many there are is in *@got. */
static inline const uint8_t *fz_bytes(struct fz *f, size_t n, uint32_t *got)
{
	const uint8_t *p = f->p;

	if (n > (size_t)(f->end - f->p))
		n = (size_t)(f->end - f->p);
	f->p += n;
	*got = (uint32_t)n;
	return p;
}

#endif
