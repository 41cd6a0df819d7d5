/* SPDX-License-Identifier: BSD-2-Clause */
/* A row of bytes in chunks of the arena (byteq.c). An empty one holds no chunk. */
#ifndef TANDEM_CORE_BYTEQ_H
#define TANDEM_CORE_BYTEQ_H

#include "stack.h"

struct byteq {
	uint32_t head, tail; /* .tail: where the next byte goes */
	uint32_t chunks, bytes;
};
#define BYTEQ_EMPTY                                                                                \
	(struct byteq)                                                                             \
	{                                                                                          \
		.head = SHM_NIL, .tail = SHM_NIL                                                   \
	}

/* Chunks for @need more bytes, which are to be put at once. All or none. */
bool byteq_make_room(struct stack *s, struct byteq *q, uint32_t need);
void byteq_put(struct stack *s, struct byteq *q, const void *from, uint32_t len);
void byteq_put_pkt(struct stack *s, struct byteq *q, const struct pkt *p, uint32_t off,
		   uint32_t len);
/* Copies @len bytes from @off on to @out: as many must be there. */
void byteq_peek(const struct stack *s, const struct byteq *q, uint32_t off, void *out,
		uint32_t len);
void byteq_discard(struct stack *s, struct byteq *q, uint32_t len);
void byteq_clear(struct stack *s, struct byteq *q);
/* False: its chunks are not what it says. */
bool byteq_check(const struct stack *s, const struct byteq *q);

#endif
