// SPDX-License-Identifier: BSD-2-Clause
/*
 * What the core costs: instructions for each request and reply, for each segment sent and received,
 * in an application's stack. A child does the work, the parent steps through it and counts, so the
 * figures are the same on every machine with the same compiler. Each stands here as it was when it
 * was looked at last; one that is more than a tenth above it fails. Who makes it less writes it
 * down.
 *
 * `test_cost NAME N` only does the work, N times: for callgrind, with --toggle-collect=step_NAME.
 */
#include <signal.h>
#include <unistd.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include "handover_world.h"

#define SIZE 64u
#define BULK 65536u
#define WARM 200u /* times before it counts: past slow start and quick ACKs */
#define MSS 1448u
#define TOLERANCE 110 / 100
#define STEPS_MAX 2000000u

/* The figures are GCC's, on x86-64, as the Makefile builds: nothing else is compared with them. */
#if defined(__x86_64__) && defined(__OPTIMIZE__) && !defined(__clang__) &&                         \
	!defined(__SANITIZE_ADDRESS__)
#define COMPARABLE true
#else
#define COMPARABLE false
#endif

static uint8_t text[BULK], got[BULK];
static uint8_t frame[2048];
static struct pkt in;
static uint32_t peer_seq, peer_ack; /* what the peer sends next; what it has */
static uint32_t n_events, n_out;    /* so that nothing is left out as useless */
static volatile uint32_t *counting; /* shared with the parent */

/* ---- the peer ---- */

static void build(uint32_t len, bool psh)
{
	struct tcp_options o = {.has_ts = true, .ts_val = c.ts_val++, .ts_ecr = c.ts_ecr};
	uint32_t n = TCP_HLEN + 12, l4 = ETH_HLEN_ + IP4_HLEN;
	struct ip_addr src = ip(PEER_IP), dst = ip(OUR_IP);
	uint8_t *h = frame + l4;

	ts_build(frame, &(struct spec){IP_PKT, .proto = PROTO_TCP, .len = n + len, .data = text});
	put_be16(frame + ETH_HLEN_ + 2, (uint16_t)(IP4_HLEN + n + len));
	memset(h, 0, n);
	put_be16(h, c.rport);
	put_be16(h + 2, c.lport);
	put_be32(h + 4, peer_seq);
	put_be32(h + 8, peer_ack);
	h[12] = (uint8_t)(n / 4 << 4);
	h[13] = (uint8_t)(TH_ACK | (psh ? TH_PSH : 0));
	put_be16(h + 14, 65535);
	tcp_put_options(h + TCP_HLEN, &o, false);
	/* as a veth delivers it: only the pseudo-header is summed */
	memcpy(h + 16,
	       &(uint16_t){(uint16_t)~csum_fold(csum_pseudo(&src, &dst, PROTO_TCP, n + len))}, 2);
	memset(frame + ETH_HLEN_ + 10, 0, 2);
	memcpy(frame + ETH_HLEN_ + 10,
	       &(uint16_t){csum_fold(csum_partial(frame + ETH_HLEN_, IP4_HLEN, 0))}, 2);
	peer_seq += len;
	in = (struct pkt){.csum = PKT_CSUM_PARTIAL,
			  .conn = c.conn,
			  .generation = tc_tcb(&c)->generation,
			  .len = l4 + n + len,
			  .nfrags = 1};
	in.frag[0] = (struct pkt_frag){.p = frame, .len = in.len};
}

/* ---- what is measured ---- */

static void events(void)
{
	struct stack_ev ev;

	while (stack_event_next(c.t.s, &ev))
		n_events++;
}

static void output(void)
{
	struct pkt *p;

	while ((p = stack_output(c.t.s, c.t.now))) {
		const uint8_t *l4 = p->frag[0].p + p->l4_off;

		peer_ack = get_be32(l4 + 4) + (p->len - p->hdr_len);
		c.ts_ecr = get_be32(l4 + TCP_HLEN + 4);
		n_out++;
		pkt_free(&c.t.pool, p);
	}
}

__attribute__((noinline)) static void step_rr(void)
{
	stack_input(c.t.s, &in, c.t.now);
	events();
	tcp_recv(c.t.s, c.conn, got, sizeof(got), 0, c.t.now);
	tcp_send(c.t.s, c.conn, text, SIZE, 0, c.t.now);
	output();
}

__attribute__((noinline)) static void step_ack(void)
{
	stack_input(c.t.s, &in, c.t.now);
	events();
	output();
}

__attribute__((noinline)) static void step_send(void)
{
	tcp_send(c.t.s, c.conn, text, MSS, 0, c.t.now);
	output();
}

__attribute__((noinline)) static void step_bulk(void)
{
	tcp_send(c.t.s, c.conn, text, MSS * 40, 0, c.t.now);
	output();
}

__attribute__((noinline)) static void step_recv(void)
{
	stack_input(c.t.s, &in, c.t.now);
	events();
	tcp_recv(c.t.s, c.conn, got, sizeof(got), 0, c.t.now);
	output();
}

__attribute__((noinline)) static void step_in(void)
{
	stack_input(c.t.s, &in, c.t.now);
	events();
	output();
}

/* Time passes, so that nothing counts as sent at one moment. */
static void later(uint32_t us)
{
	c.t.now = mtime_add_us(c.t.now, us);
	stack_tick(c.t.s, c.t.now);
}

static void before_rr(void)
{
	later(50);
	build(SIZE, true);
}

/* With four segments out the first is acknowledged. */
static void before_ack(void)
{
	uint32_t una = tc_tcb(&c)->snd_una;

	later(50);
	if (tc_tcb(&c)->snd_max - una < 4 * MSS) {
		tcp_send(c.t.s, c.conn, text, 4 * MSS, 0, c.t.now);
		output();
	}
	later(50);
	peer_ack = una + MSS;
	build(0, false);
}

static void before_send(void)
{
	later(20);
	if (tc_tcb(&c)->snd_max - tc_tcb(&c)->snd_una > 8 * MSS) {
		peer_ack = tc_tcb(&c)->snd_max - MSS;
		build(0, false);
		step_ack();
		later(20);
	}
}

static void before_bulk(void)
{
	later(20);
	if (tc_tcb(&c)->snd_max != tc_tcb(&c)->snd_una) {
		peer_ack = tc_tcb(&c)->snd_max;
		build(0, false);
		step_ack();
		later(20);
	}
}

static void before_recv(void)
{
	later(20);
	build(MSS, false);
}

/* Half of what comes is not read at once. */
static void before_in(void)
{
	later(20);
	if (tc_tcb(&c)->rx_bytes > 16384) {
		tcp_recv(c.t.s, c.conn, got, sizeof(got), 0, c.t.now);
		output();
	}
	build(MSS, false);
}

static const struct work {
	const char *name;
	void (*before)(void), (*step)(void);
	uint32_t gso;
	uint32_t per;  /* segments in one step */
	uint32_t most; /* instructions for each; 0: not counted */
} works[] = {
	{"rr", before_rr, step_rr, 65535, 1, 3866},
	{"ack", before_ack, step_ack, 65535, 1, 1351},
	{"send", before_send, step_send, 0, 1, 2030},
	{"recv", before_recv, step_recv, 65535, 1, 2418},
	{"in", before_in, step_in, 65535, 1, 2022},
	/* copies of whole pages are an instruction for each byte here: for callgrind only */
	{"bulk", before_bulk, step_bulk, 65535, 40, 0},
};

/* ---- doing it ---- */

static void begin(const struct work *w)
{
	struct stack_cfg cfg = ts_cfg();

	cfg.cc = "cubic";
	memset(&c, 0, sizeof(c));
	c.ts = c.sack = true;
	c.wscale = 8; /* shift 7 */
	c.wnd = 65535;
	tc_accept(&c, &cfg);
	open_app();
	app.s->cfg.csum_offload = true;
	app.s->cfg.gso_max = w->gso;
	move();
	assert_int_equal(tcp_setopt(c.t.s, c.conn, TOPT_SNDBUF, 1 << 20, c.t.now), 0);
	peer_seq = tc_tcb(&c)->rcv_nxt;
	peer_ack = tc_tcb(&c)->snd_una;
}

static void end(void)
{
	finish();
}

static void work(const struct work *w, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		w->before();
		if (counting) {
			*counting = 1;
			raise(SIGTRAP);
		}
		w->step();
		if (counting)
			*counting = 0;
	}
}

static const struct work *find_work(const char *name)
{
	for (size_t i = 0; i < sizeof(works) / sizeof(works[0]); i++)
		if (!strcmp(works[i].name, name))
			return &works[i];
	return NULL;
}

/* ---- counting ---- */

static void child(const struct work *w, uint32_t n)
{
	volatile uint32_t *mark = counting;

	counting = NULL;
	begin(w);
	work(w, WARM);
	counting = mark;
	if (ptrace(PTRACE_TRACEME, 0, 0, 0))
		_exit(77);
	work(w, n);
	_exit(0);
}

/* Instructions from each SIGTRAP until the flag falls; 0: it cannot be done here. */
static uint64_t count(pid_t pid)
{
	uint64_t steps = 0;
	int st;

	while (waitpid(pid, &st, 0) == pid && WIFSTOPPED(st)) {
		if (*counting)
			assert_true(++steps < STEPS_MAX);
		if (ptrace(*counting ? PTRACE_SINGLESTEP : PTRACE_CONT, pid, 0, 0))
			break;
	}
	assert_true(WIFEXITED(st));
	return WEXITSTATUS(st) ? 0 : steps;
}

#define ROUNDS 16u

static void cost(void **state)
{
	const struct work *w = *state;
	uint64_t n;
	pid_t pid;

	if (!COMPARABLE)
		skip();
	*counting = 0;
	fflush(NULL);
	pid = fork();
	assert_true(pid >= 0);
	if (!pid)
		child(w, ROUNDS);
	n = count(pid) / ROUNDS / w->per;
	if (!n)
		skip();
	print_message("%s: %u instructions, %u when looked at last\n", w->name, (unsigned)n,
		      w->most);
	assert_true(n <= (uint64_t)w->most * TOLERANCE);
}

int main(int argc, char **argv)
{
	struct CMUnitTest tests[sizeof(works) / sizeof(works[0]) - 1];
	const struct work *w = argc > 2 ? find_work(argv[1]) : NULL;

	if (w) {
		begin(w);
		work(w, (uint32_t)atoi(argv[2]));
		end();
		return 0;
	}
	counting = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (counting == MAP_FAILED)
		return 1;
	for (size_t i = 0; i < sizeof(tests) / sizeof(tests[0]); i++)
		tests[i] = (struct CMUnitTest){.name = works[i].name,
					       .test_func = cost,
					       .initial_state = (void *)(uintptr_t)&works[i]};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
