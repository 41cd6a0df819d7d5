/* SPDX-License-Identifier: BSD-2-Clause */
/* board.c: the scoreboard by itself, against a model of it and where its room ends. */
#include "lib_tcp.h"
#include "user/core/board.h"

static struct conv c;
static struct stack *s;
static struct tcb *t;
static struct board *b;

#define UNIT 10u
#define BASE 0xffff0000u /* numbers go round on the way */

static struct mtime at_ms(uint64_t ms)
{
	return (struct mtime){1000 * NS_PER_S + ms * NS_PER_MS};
}

/* A scoreboard of nothing yet, in a connection that has sent nothing. */
static int setup(void **state)
{
	(void)state;
	memset(&c, 0, sizeof(c));
	c.sack = true;
	tc_accept(&c, NULL);
	s = c.t.s;
	t = tc_tcb(&c);
	t->snd_una = t->snd_nxt = t->snd_max = t->recover = BASE;
	b = board_open(s, t, at_ms(0));
	assert_non_null(b);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	board_close(s, t);
	assert_int_equal(t->n_chunks, 0);
	t->snd_una = t->snd_nxt = t->snd_max = c.iss + 1;
	tc_close(&c);
	return 0;
}

static void sent(uint32_t from, uint32_t len, struct mtime now)
{
	if (BASE + from == t->snd_max)
		t->snd_nxt = t->snd_max = BASE + from + len;
	board_sent(s, t, b, BASE + from, BASE + from + len, now);
}

static struct board_ack acked(uint32_t una, uint32_t from, uint32_t end, struct mtime now)
{
	struct tcp_seg g = {.o.n_sack = from != end, .o.sack = {{BASE + from, BASE + end}}};
	struct board_ack a = {.s = s, .t = t, .b = b, .g = &g, .now = now};

	t->snd_una = BASE + una;
	board_ack(&a);
	a.g = NULL;
	return a;
}

static void sane(void)
{
	assert_true(board_sane(s, t, b));
	assert_int_equal(t->n_chunks, board_chunks(b));
}

static struct seg_run *last(void)
{
	return board_run(s, b, b->first + b->n - 1);
}

/* ---- as one record for each byte would say ---- */

#define UNITS 4000u
/* It was reported as arrived, and that was forgotten: its time is about right, and whether it was
 * sent again is as for its neighbours. */
#define UNSURE 128u

static struct model {
	uint64_t xmit;
	uint8_t flags;
} m[UNITS];
static uint32_t m_una, m_max;
static uint64_t seed;

static uint32_t rnd(uint32_t n)
{
	seed = seed * 6364136223846793005u + 1442695040888963407u;
	return (uint32_t)(seed >> 33) % n;
}

/* Somewhere in what is outstanding; mostly short. */
static void pick(uint32_t *from, uint32_t *end)
{
	*from = m_una + rnd(m_max - m_una);
	*end = tcp_min(*from + 1 + (rnd(20) ? rnd(3) : rnd(200)), m_max);
}

static void model_send(uint64_t ms)
{
	uint32_t n = tcp_min(1 + rnd(4), UNITS - m_max);

	if (!n)
		return;
	sent(m_max * UNIT, n * UNIT, at_ms(ms));
	for (; n; n--)
		m[m_max++] = (struct model){.xmit = at_ms(ms).ns};
}

static void model_again(uint64_t ms)
{
	uint32_t from, end;

	pick(&from, &end);
	sent(from * UNIT, (end - from) * UNIT, at_ms(ms));
	for (; from < end; from++)
		if (!(m[from].flags & SEG_SACKED))
			m[from] = (struct model){.xmit = at_ms(ms).ns, .flags = SEG_AGAIN};
}

static void model_ack(uint64_t ms)
{
	uint32_t from, end, una = m_una, want = 0, got;

	pick(&from, &end);
	if (!rnd(m_max < UNITS ? 400 : 10))
		una = tcp_min(una + rnd(300), m_max - 1);
	got = acked(una * UNIT, from * UNIT, end * UNIT, at_ms(ms)).delivered;
	for (; m_una < una; m_una++)
		want += !(m[m_una].flags & SEG_SACKED);
	for (from = tcp_max(from, from < una ? end : from); from < end; from++) {
		want += !(m[from].flags & SEG_SACKED);
		m[from].flags = (m[from].flags & SEG_AGAIN) | SEG_SACKED;
	}
	assert_int_equal(got, want * UNIT);
}

static void model_lose(void)
{
	uint32_t i = b->first + rnd(b->n);
	struct seg_run *r = board_run(s, b, i);

	if (r->flags & (SEG_SACKED | SEG_LOST))
		return;
	for (uint32_t u = (r->seq - BASE) / UNIT; u < (board_run_end(s, b, i) - BASE) / UNIT; u++)
		m[u].flags |= SEG_LOST;
	board_lose(s, b, i);
}

static void model_other(void)
{
	uint32_t what = rnd(3);

	for (uint32_t u = m_una; u < m_max; u++)
		if (what == 1)
			m[u].flags &= ~SEG_LOST;
		else if (what == 2 && m[u].flags & SEG_SACKED)
			m[u].flags ^= SEG_SACKED | UNSURE;
		else if (what == 0 && !(m[u].flags & SEG_SACKED))
			m[u].flags |= SEG_LOST;
	if (what == 0)
		board_all_lost(s, b);
	else if (what == 1)
		board_none_lost(s, b);
	else
		board_forget_sacks(s, b);
}

static void model_compare(void)
{
	uint32_t i = b->first, lost = board_first_lost(s, b);

	sane();
	assert_int_equal(board_run(s, b, i)->seq, BASE + m_una * UNIT);
	for (uint32_t u = m_una; u < m_max; u++) {
		const struct seg_run *r;

		while (seq_le(board_run_end(s, b, i), BASE + u * UNIT))
			i++;
		r = board_run(s, b, i);
		if (m[u].flags & SEG_LOST) {
			assert_true(lost <= i);
			lost = 0;
		}
		assert_int_equal(r->flags & (SEG_SACKED | SEG_LOST),
				 m[u].flags & (SEG_SACKED | SEG_LOST));
		if (r->flags & SEG_SACKED || m[u].flags & UNSURE)
			continue; /* its time says nothing */
		assert_int_equal(r->flags & SEG_AGAIN, m[u].flags & SEG_AGAIN);
		assert_true(r->flags & SEG_MERGED || r->xmit == m[u].xmit);
	}
}

static void test_board_is_as_one_record_for_each_byte(void **state)
{
	uint32_t most = 0;

	(void)state;
	for (seed = 1; seed <= 20; seed++) {
		uint64_t run = seed;

		m_una = m_max = 0;
		for (uint64_t ms = 0; ms < 8000; ms++) {
			uint32_t what = rnd(100);

			if (m_max - m_una < 2 || what < 40)
				model_send(ms);
			else if (what < 55)
				model_again(ms);
			else if (what < 92)
				model_ack(ms);
			else if (what < 99)
				model_lose();
			else if (!rnd(10))
				model_other();
			if (m_max - m_una < 2)
				break;
			most = tcp_max(most, b->n);
			if (ms % 16 == 0)
				model_compare();
		}
		model_compare();
		seed = run;
		teardown(NULL);
		setup(NULL);
	}
	assert_true(most > BOARD_RUNS + MORE_RUNS); /* else it has not said much */
}

/* ---- room ---- */

/* More moments than there are runs: each byte's time stays about right, and never too early. */
static void test_board_full_keeps_times_apart(void **state)
{
	const uint32_t n = 4 * BOARD_MAX;
	uint32_t k = 0;

	(void)state;
	for (uint32_t i = 0; i < n; i++)
		sent(i * UNIT, UNIT, at_ms(i));
	sane();
	assert_int_equal(b->end, BASE + n * UNIT);
	assert_int_equal(b->n_more, BOARD_MORE);
	assert_true(b->n < BOARD_MAX);
	for (uint32_t i = 0; i < n; i++) {
		while (seq_le(board_run_end(s, b, k), BASE + i * UNIT))
			k++;
		assert_in_range(board_run(s, b, k)->xmit, at_ms(i).ns, at_ms(i + n / 64).ns);
	}
}

/* @n runs of a unit of which no two neighbours are alike; the last one is @flags. */
static void fill(uint32_t n, uint32_t flags)
{
	for (uint32_t i = 0; i < n; i++)
		sent(i * UNIT, UNIT, at_ms(i));
	for (uint32_t i = 0; i < n - 1; i += 2)
		acked(0, i * UNIT, (i + 1) * UNIT, at_ms(n));
	for (uint32_t i = 3; i < n - 1; i += 4)
		board_lose(s, b, i);
	if (n % 4 == 3) /* else the last two are */
		board_lose(s, b, n - 2);
	if (flags & SEG_AGAIN)
		sent((n - 1) * UNIT, UNIT, at_ms(n));
	if (flags & SEG_LOST)
		board_lose(s, b, n - 1);
	if (flags & SEG_SACKED)
		acked(0, (n - 1) * UNIT, n * UNIT, at_ms(n));
	assert_int_equal(b->n, n);
	assert_int_equal(last()->flags, flags);
	sane();
}

/* Where runs cannot be merged what is new is one with the last one, which counts as sent again. */
static void test_board_without_room_stays_right(void **state)
{
	static const uint32_t kinds[] = {0, SEG_AGAIN, SEG_SACKED, SEG_LOST | SEG_AGAIN};

	(void)state;
	for (uint32_t spare = 8; spare <= 12; spare++) {
		for (uint32_t kind = 0; kind < 4; kind++) {
			/* arrived: its neighbour must not have, as the two would be one run */
			uint32_t n = BOARD_MAX - spare;

			if (kinds[kind] == SEG_SACKED && n % 2 == 0)
				n--;
			fill(n, kinds[kind]);
			sent(n * UNIT, UNIT / 2, at_ms(n + 1));
			sane();
			assert_int_equal(b->n, n + 8 >= BOARD_MAX ? n : n + 1);
			assert_int_equal(last()->seq, BASE + (b->n - 1) * UNIT);
			assert_int_equal(last()->xmit, at_ms(n + 1).ns);
			assert_int_equal(last()->flags, n + 8 >= BOARD_MAX ? SEG_AGAIN : 0);
			/* and the next, which finds the last one as it was left */
			sent(n * UNIT + UNIT / 2, UNIT, at_ms(n + 2));
			sane();
			teardown(NULL);
			setup(NULL);
		}
	}
}

/* Pieces that there is no room for are not known to have arrived: that is slower, not wrong. */
static void test_board_without_memory_ignores_sacks(void **state)
{
	uint32_t n = BOARD_RUNS / 2 + 20, chunks[512], k = 0, known = 0;

	(void)state;
	while (k < 512 && (chunks[k] = chunk_alloc(s)) != SHM_NIL)
		k++;
	assert_in_range(k, 1, 511);
	sent(0, 2 * n * UNIT, at_ms(0));
	for (uint32_t i = 0; i < n; i++) {
		known += acked(0, 2 * i * UNIT, (2 * i + 1) * UNIT, at_ms(20)).delivered;
		sane();
	}
	assert_int_equal(b->n_more, 0);
	assert_in_range(known, (BOARD_RUNS / 2 - 10) * UNIT, BOARD_RUNS / 2 * UNIT);
	assert_int_equal(b->sacked, known);
	assert_true(ts_mib(&c.t, MIB_TcpExt_TCPSACKDiscard) > 0);
	while (k)
		chunk_free(s, chunks[--k]);
	/* with memory it takes them in */
	for (uint32_t i = 0; i < n; i++)
		acked(0, 2 * i * UNIT, (2 * i + 1) * UNIT, at_ms(20));
	sane();
	assert_int_equal(b->sacked, n * UNIT);
	assert_true(b->n_more > 0);
}

/* As large as a window of 1 MB that lost every second segment; its memory comes back. */
static void test_board_grows_and_shrinks(void **state)
{
	const uint32_t n = 2 * MORE_RUNS;

	(void)state;
	sent(0, 2 * n * UNIT, at_ms(0));
	for (uint32_t i = 0; i < n; i++) {
		/* the later ones first, so that runs are put in before all others, too */
		uint32_t k = i % 2 ? i / 2 : n - 1 - i / 2;

		acked(0, (2 * k + 1) * UNIT, (2 * k + 2) * UNIT, at_ms(20));
	}
	sane();
	assert_int_equal(b->n, 2 * n);
	assert_int_equal(b->sacked, n * UNIT);
	assert_int_equal(b->n_more, 4);
	for (uint32_t una = UNIT; una < 2 * n * UNIT; una += 3 * UNIT) {
		acked(una, 0, 0, at_ms(40));
		sane();
		assert_true(!b->n_more || b->n >= (BOARD_RUNS + (b->n_more - 1) * MORE_RUNS) / 2);
	}
	assert_int_equal(b->n_more, 0);
}

/* What is to be sent again is found in order, though it was lost out of order. */
static void test_board_first_lost(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 1000; i++)
		sent(i * UNIT, UNIT, at_ms(i));
	assert_int_equal(board_first_lost(s, b), BOARD_MAX);
	board_lose(s, b, 700);
	assert_int_equal(board_first_lost(s, b), 700);
	board_lose(s, b, 300);
	board_lose(s, b, 900);
	assert_int_equal(board_first_lost(s, b), 300);
	sent(300 * UNIT, UNIT, at_ms(2000));
	assert_int_equal(board_first_lost(s, b), 700);
	board_lose(s, b, 300); /* again */
	assert_int_equal(board_first_lost(s, b), 300);
	acked(0, 300 * UNIT, 301 * UNIT, at_ms(2001));
	acked(0, 700 * UNIT, 701 * UNIT, at_ms(2001));
	assert_int_equal(board_first_lost(s, b), 900);
	board_none_lost(s, b);
	assert_int_equal(board_first_lost(s, b), BOARD_MAX);
	board_lose(s, b, 100);
	assert_int_equal(board_first_lost(s, b), 100);
	sane();
}

/* RFC 8985 §6.2, step 1: the round trip is that of what was sent last, and sent once only. */
static void test_board_ack_samples_the_newest(void **state)
{
	(void)state;
	for (int again = 0; again < 3; again++) {
		struct board_ack a;

		for (uint32_t i = 0; i < 3; i++)
			sent(i * UNIT, UNIT, at_ms(10 * (i + 1)));
		for (int i = 0; i < again; i++) {
			board_run(s, b, 2 - i)->flags = SEG_AGAIN;
			b->again += UNIT;
		}
		a = acked(UNIT, 2 * UNIT, 3 * UNIT, at_ms(50));
		assert_int_equal(a.delivered, 2 * UNIT);
		assert_int_equal(a.sent_last, at_ms(30).ns);
		assert_int_equal(a.sent_unsure, again != 0);
		assert_int_equal(a.newest_end, BASE + (again ? 1 : 3) * UNIT);
		assert_int_equal(a.newest_rtt, again ? 40000 : 20000);
		teardown(NULL);
		setup(NULL);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_board_is_as_one_record_for_each_byte),
		T(test_board_full_keeps_times_apart),
		T(test_board_without_room_stays_right),
		T(test_board_without_memory_ignores_sacks),
		T(test_board_grows_and_shrinks),
		T(test_board_first_lost),
		T(test_board_ack_samples_the_newest),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
