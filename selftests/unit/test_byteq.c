// SPDX-License-Identifier: BSD-2-Clause
/* byteq.c: bytes across chunks, all or nothing, and every chunk given back. */
#include "lib_stack.h"
#include "user/core/byteq.h"

#define TOP 20000u

static struct tstack t;

static uint32_t chunks_in_use(void)
{
	struct stack_usage u;

	stack_usage(t.s, &u);
	return u.chunks;
}

static int setup(void **state)
{
	(void)state;
	ts_open(&t, NULL);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	assert_int_equal(chunks_in_use(), 0);
	ts_close(&t);
	return 0;
}

/* Byte @i of all that was ever put in. */
static uint8_t byte_at(uint32_t i)
{
	return (uint8_t)(i * 31 + i / 256);
}

static void fill(uint8_t *b, uint32_t from, uint32_t len)
{
	for (uint32_t i = 0; i < len; i++)
		b[i] = byte_at(from + i);
}

static void put(struct byteq *q, uint32_t from, uint32_t len)
{
	static uint8_t b[TOP];
	struct pkt p = {
		.frag = {{.p = b, .len = len / 2}, {.p = b + len / 2, .len = len - len / 2}},
		.nfrags = 2,
		.len = len};

	fill(b, from, len);
	assert_true(byteq_make_room(t.s, q, len));
	byteq_put(t.s, q, b, len / 3);
	byteq_put_pkt(t.s, q, &p, len / 3, len - len / 3);
	assert_true(byteq_check(t.s, q));
}

static void assert_bytes(const struct byteq *q, uint32_t off, uint32_t from, uint32_t len)
{
	static uint8_t want[TOP], got[TOP];

	fill(want, from, len);
	byteq_peek(t.s, q, off, got, len);
	assert_memory_equal(got, want, len);
}

/* What is put, seen at any offset and taken follows what was put before, whatever the sizes. */
static void test_byteq_bytes_in_order(void **state)
{
	struct byteq q = BYTEQ_EMPTY;
	uint32_t in = 0, out = 0, x = 1;

	(void)state;
	for (uint32_t i = 0; i < 3000; i++) {
		uint32_t n = (x >> 8) % (x & 64 ? 6000 : 100);

		x = x * 1664525 + 1013904223;
		if (x & 1u << 20 && in - out + n <= TOP) {
			put(&q, in, n);
			in += n;
		} else {
			n = n < in - out ? n : in - out;
			assert_bytes(&q, 0, out, n);
			assert_bytes(&q, n / 2, out + n / 2, in - out - n / 2);
			byteq_discard(t.s, &q, n);
			out += n;
		}
		assert_true(byteq_check(t.s, &q));
		assert_int_equal(q.bytes, in - out);
		assert_int_equal(q.chunks, chunks_in_use());
		/* As many as are needed, and at most one more at each end. */
		assert_in_range(q.chunks, (in - out + CHUNK_SIZE - 1) / CHUNK_SIZE,
				in == out ? 0 : (in - out) / CHUNK_SIZE + 2);
	}
	byteq_clear(t.s, &q);
	assert_true(byteq_check(t.s, &q));
	assert_int_equal(q.bytes, 0);
}

static void test_byteq_room_is_all_or_nothing(void **state)
{
	struct byteq q = BYTEQ_EMPTY;
	uint32_t head = SHM_NIL, c;

	(void)state;
	put(&q, 0, 10);
	while ((c = chunk_alloc(t.s)) != SHM_NIL) {
		t.s->a.chunk_hdrs[c].next = head;
		head = c;
	}
	/* The rest of its last chunk is there; beyond that, there must be one more. */
	put(&q, 10, CHUNK_SIZE - 10);
	assert_false(byteq_make_room(t.s, &q, 1));
	c = head;
	head = t.s->a.chunk_hdrs[c].next;
	chunk_free(t.s, c);
	assert_false(byteq_make_room(t.s, &q, CHUNK_SIZE + 1));
	assert_true(byteq_check(t.s, &q));
	put(&q, CHUNK_SIZE, CHUNK_SIZE);
	chunk_free_list(t.s, head);
	assert_bytes(&q, 0, 0, 2 * CHUNK_SIZE);
	byteq_clear(t.s, &q);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup_teardown(test_byteq_bytes_in_order, setup, teardown),
		cmocka_unit_test_setup_teardown(test_byteq_room_is_all_or_nothing, setup, teardown),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
