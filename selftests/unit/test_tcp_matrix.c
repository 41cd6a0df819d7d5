/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Segment arrival, all of it: every state of RFC 9293 §3.3.2 meets every class of segment, and
 * each cell of the table below says what comes of it (§3.10.7, with RFC 5961 and
 * RFC 6191).
 *
 * A cell: what is sent back, what became of the text, and ">" the next state where it changes.
 *	-  nothing      A  an ACK       C  a challenge ACK (RFC 5961: counted, rate-limited)
 *	S  SYN-ACK      R  RST, with the numbers of RFC 9293 §3.5.2
 *	d  text was delivered           o  text (or FIN) was kept for later
 * A state "x" is CLOSED for good. Numbers of a class are relative: .seq to the next one we expect,
 *the ACK to what we have sent. States that are not a TCB: CLOSED has no socket, LISTEN and "req"
 *(SYN-RECEIVED by a passive open) are the listener's, "tw" is a TIME-WAIT record; "TW" is one that
 *a program still holds.
 */
#include "lib_tcp.h"

static struct conv c;

enum { CL, LI, SS, RQ, SR, ES, F1, F2, CW, CG, LA, TW, TR, N_STATES };
static const char *const names[N_STATES] = {"CL", "LI", "SS", "req", "SR", "ES", "F1",
					    "F2", "CW", "CG", "LA",  "TW", "tw"};

enum ack { NO, NEW /* all we have sent */, DUP, OLD, ANCIENT, UNSENT };
#define FAR 100000	/* beyond the window */
#define EDGE 0x7fffffff /* the last 5 bytes of the window, and 5 more */

static const struct class
{
	const char *name;
	uint8_t flags;
	int32_t seq;
	enum ack ack;
	uint32_t len;
	const char *want; /* a cell for each state */
} classes[] = {
	/* clang-format off */
			/*CL LI    SS    req  SR    ES    F1    F2    CW  CG   LA  TW  tw */
	{"SYN", TH_SYN, 0, NO, 0,
			"R  S>req S>SR  C    C     C     C     C     C   C    C   C   A"},
	{"SYN, old", TH_SYN, -1000, NO, 0,
			"R  S>req S>SR  C    C     C     C     C     C   C    C   C   A"},
	{"SYN, beyond the window", TH_SYN, FAR, NO, 0,
			"R  S>req S>SR  C    C     C     C     C     C   C    C   S>x S>x"},
	{"SYN with text", TH_SYN, 0, NO, 10,
			"R  S>req S>SR  C    C     C     C     C     C   C    C   C   A"},
	{"SYN again", TH_SYN, -1, NO, 0,
			"R  S>req S>SR  S    C     C     C     C     C   C    C   C   A"},
	{"SYN-ACK", TH_SYN, 0, NEW, 0,
			"R  R     A>ES  C    C     C     C     C     C   C    C   C   A"},
	{"SYN-ACK again", TH_SYN, -1, NEW, 0,
			"R  R     A>ES  C    ->ES  C     C     C     C   C    C   C   A"},
	{"SYN-ACK of what was not sent", TH_SYN, 0, UNSENT, 0,
			"R  R     R     C    C     C     C     C     C   C    C   C   A"},
	{"SYN-ACK with text", TH_SYN, 0, NEW, 10,
			"R  R     Ad>ES C    C     C     C     C     C   C    C   C   A"},
	{"SYN and FIN", TH_SYN | TH_FIN, 0, NO, 0,
			"R  -     S>SR  C    C     C     C     C     C   C    C   C   A"},
	{"SYN and RST", TH_SYN | TH_RST, 5, NO, 0,
			"-  -     -     C    C     C     C     C     C   C    C   -   -"},
	{"RST", TH_RST, 0, NO, 0,
			"-  -     -     ->LI ->x   ->x   ->x   ->x   ->x ->x  ->x ->x ->x"},
	{"RST in the window", TH_RST, 10, NO, 0,
			"-  -     -     C    C     C     C     C     C   C    C   -   -"},
	{"RST, old", TH_RST, -1, NO, 0,
			"-  -     -     -    -     -     -     -     -   -    -   -   -"},
	{"RST, beyond the window", TH_RST, FAR, NO, 0,
			"-  -     -     -    -     -     -     -     -   -    -   -   -"},
	{"RST-ACK", TH_RST, 0, NEW, 0,
			"-  -     ->x   ->LI ->x   ->x   ->x   ->x   ->x ->x  ->x ->x ->x"},
	{"RST-ACK in the window", TH_RST, 10, NEW, 0,
			"-  -     ->x   C    C     C     C     C     C   C    C   -   -"},
	{"RST-ACK of what was not sent", TH_RST, 0, UNSENT, 0,
			"-  -     -     ->LI ->x   ->x   ->x   ->x   ->x ->x  ->x ->x ->x"},
	{"ACK of all", 0, 0, NEW, 0,
			"R  R     -     ->ES ->ES  -     ->F2  -     -   ->TW ->x -   -"},
	{"ACK, nothing new", 0, 0, DUP, 0,
			"R  R     R     ->ES ->ES  -     -     -     -   -    -   -   -"},
	{"ACK, old", 0, 0, OLD, 0,
			"R  R     R     R    R     -     -     -     -   -    -   -   -"},
	{"ACK, too old", 0, 0, ANCIENT, 0,
			"R  R     R     R    R     C     C     C     C   C    C   C   -"},
	{"ACK of what was not sent", 0, 0, UNSENT, 0,
			"R  R     R     R    R     C     C     C     C   C    C   C   -"},
	{"ACK, old number", 0, -1, DUP, 0,
			"R  R     R     C    A     A     A     A     A   A    A   A   A"},
	{"nothing set", 0, 0, NO, 0,
			"R  -     -     -    -     -     -     -     -   -    -   -   -"},
	{"text, no ACK", 0, 0, NO, 10,
			"R  -     -     -    -     -     -     -     -   -    -   -   -"},
	{"text", 0, 0, DUP, 10,
			"R  R     R     A>ES Ad>ES -d    -d    -d    -   -    -   -   A"},
	{"text with ACK of all", 0, 0, NEW, 10,
			"R  R     -     A>ES Ad>ES -d    -d>F2 -d    -   ->TW ->x -   A"},
	{"text with too old ACK", 0, 0, ANCIENT, 10,
			"R  R     R     R    R     C     C     C     C   C    C   C   A"},
	{"text with ACK of what was not sent", 0, 0, UNSENT, 10,
			"R  R     R     R    R     C     C     C     C   C    C   C   A"},
	{"text, partly old", 0, -5, DUP, 10,
			"R  R     R     A>ES Ad>ES Ad    Ad    Ad    -   -    -   -   A"},
	{"text, old", 0, -10, DUP, 10,
			"R  R     R     C    A     A     A     A     A   A    A   A   A"},
	{"text behind a hole", 0, 10, DUP, 10,
			"R  R     R     A>ES Ao>ES Ao    Ao    Ao    -   -    -   -   A"},
	{"text, partly beyond the window", 0, EDGE, DUP, 10,
			"R  R     R     A>ES Ao>ES Ao    Ao    Ao    -   -    -   -   A"},
	{"text beyond the window", 0, FAR, DUP, 10,
			"R  R     R     C    A     A     A     A     A   A    A   A   A"},
	{"FIN", TH_FIN, 0, DUP, 0,
			"R  R     R     A>ES A>CW  A>CW  A>CG  A>TW  -   -    -   -   A"},
	{"FIN with ACK of all", TH_FIN, 0, NEW, 0,
			"R  R     -     A>ES A>CW  A>CW  A>TW  A>TW  -   ->TW ->x -   A"},
	{"FIN, no ACK", TH_FIN, 0, NO, 0,
			"R  -     -     -    -     -     -     -     -   -    -   -   -"},
	{"FIN with text", TH_FIN, 0, DUP, 10,
			"R  R     R     A>ES Ad>CW Ad>CW Ad>CG Ad>TW -   -    -   -   A"},
	{"FIN behind a hole", TH_FIN, 10, DUP, 0,
			"R  R     R     A>ES Ao>ES Ao    Ao    Ao    -   -    -   -   A"},
	{"FIN with text behind a hole", TH_FIN, 10, DUP, 10,
			"R  R     R     A>ES Ao>ES Ao    Ao    Ao    -   -    -   -   A"},
	{"FIN, old", TH_FIN, -1, NEW, 0,
			"R  R     -     C    A     A     A     A     A   A    A   A   A"},
	{"FIN beyond the window", TH_FIN, FAR, DUP, 0,
			"R  R     R     C    A     A     A     A     A   A    A   A   A"},
	{"URG with text", TH_URG, 0, DUP, 10,
			"R  R     R     A>ES Ad>ES -d    -d    -d    -   -    -   -   A"},
	{"URG without text", TH_URG, 0, DUP, 0,
			"R  R     R     ->ES ->ES  -     -     -     -   -    -   -   -"},
	{"all flags", TH_FIN | TH_SYN | TH_RST | TH_PSH | TH_URG, 0, NEW, 0,
			"-  -     ->x   ->LI ->x   ->x   ->x   ->x   ->x ->x  ->x -   -"},
	/* clang-format on */
};

/* ---- a connection in each state ---- */

/* 100 bytes each way are done and read; 10 of ours are out. */
static void established(void)
{
	tc_accept(&c, NULL);
	RX(&c, .flags = TH_ACK, .seq = 1, .ack = 1, .len = 100);
	TX(&c, .flags = TH_ACK, .seq = 1, .ack = 101);
	tc_recv(&c, 100);
	tc_send(&c, 100);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 1, .ack = 101, .len = 100);
	RX(&c, .flags = TH_ACK, .seq = 101, .ack = 101);
	tc_send(&c, 10);
	TX(&c, .flags = TH_ACK | TH_PSH, .seq = 101, .ack = 101, .len = 10);
}

static void fin_out(uint32_t ack)
{
	tcp_shutdown(c.t.s, c.conn, false, true, c.t.now);
	TX(&c, .flags = TH_ACK | TH_FIN, .seq = 111, .ack = ack);
}

static void fin_in(uint32_t seq, uint32_t ack)
{
	RX(&c, .flags = TH_ACK | TH_FIN, .seq = 101, .ack = ack);
	TX(&c, .flags = TH_ACK, .seq = seq, .ack = 102);
}

static void enter(int state)
{
	memset(&c, 0, sizeof(c));
	switch (state) {
	case CL:
		tc_open(&c, NULL);
		return;
	case LI:
	case RQ:
		tc_open(&c, NULL);
		tc_listen(&c, 8);
		if (state == LI)
			return;
		RX(&c, .flags = TH_SYN);
		TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
		return;
	case SS:
	case SR:
		tc_connect_syn(&c, NULL);
		if (state == SS)
			return;
		RX(&c, .flags = TH_SYN);
		TX(&c, .flags = TH_SYN | TH_ACK, .ack = 1);
		return;
	}
	established();
	if (state == CW || state == LA)
		fin_in(111, 101);
	if (state == F1 || state == F2 || state == CG || state >= TW)
		fin_out(101);
	if (state == LA)
		fin_out(102);
	if (state == CG)
		fin_in(112, 101);
	if (state == F2 || state >= TW)
		RX(&c, .flags = TH_ACK, .seq = 101, .ack = 112);
	if (state >= TW)
		fin_in(112, 112);
	if (state == TR)
		tcp_close(c.t.s, c.conn, c.t.now);
	tc_tx_none(&c);
}

/* The numbers that a state stands at, relative as lib_tcp.h has them. */
struct at {
	uint32_t rcv_nxt, rcv_adv, snd_una, snd_max;
};

static struct at numbers(int state)
{
	const struct tcb *t;

	if (state == CL || state == LI)
		return (struct at){0, 1, 1000, 1000};
	if (state == SS)
		return (struct at){0, 1, 0, 1};
	if (state == RQ)
		return (struct at){1, 1 + 65535, 1, 1};
	if (state == TR)
		return (struct at){102, 102 + 65535, 112, 112};
	t = tc_tcb(&c);
	return (struct at){t->rcv_nxt - PEER_ISS, t->rcv_adv - PEER_ISS,
			   state == SR ? 1 : t->snd_una - t->iss, t->snd_max - t->iss};
}

static struct seg segment(const struct class *k, struct at n)
{
	struct seg g = {.flags = k->flags | (k->ack == NO ? 0 : TH_ACK), .len = k->len};

	g.seq = k->seq == EDGE ? n.rcv_adv - 5 : n.rcv_nxt + (uint32_t)k->seq;
	if (k->ack == NEW)
		g.ack = n.snd_max;
	else if (k->ack == DUP)
		g.ack = n.snd_una;
	else if (k->ack == OLD)
		g.ack = n.snd_una - 50;
	else if (k->ack == ANCIENT)
		g.ack = n.snd_una - FAR;
	else if (k->ack == UNSENT)
		g.ack = n.snd_max + 1;
	g.up = g.flags & TH_URG ? 5 : 0;
	return g;
}

/* ---- what became of it ---- */

static const char *state_name(int before)
{
	static const char *const by_tcb[TCP_STATE_MAX] = {"x",	"?",  "SS", "SR", "ES", "F1",
							  "F2", "CW", "CG", "LA", "TW"};
	const struct stack_usage u = tc_usage(&c);

	if (before == CL || before == LI || before == RQ) {
		if (u.tcbs)
			return "ES";
		return u.synreqs ? "req" : u.listeners ? "LI" : "CL";
	}
	if (before == TR)
		return u.timewaits ? "tw" : "x";
	return by_tcb[tc_tcb(&c)->state];
}

/* A RST must be one that the peer believes, and an ACK must tell where we stand. */
static char reply(const struct seg *g, struct at n, bool challenged)
{
	const struct seg *l = &c.last;
	uint32_t space = g->len + !!(g->flags & TH_SYN) + !!(g->flags & TH_FIN);
	const struct tcb *t = c.conn == SHM_NIL ? NULL : tc_tcb(&c);

	if (l->flags & TH_RST) {
		if (g->flags & TH_ACK)
			return l->flags == TH_RST && l->seq == g->ack ? 'R' : 'r';
		return l->flags == (TH_RST | TH_ACK) && l->seq + c.iss == 0 &&
				       l->ack == g->seq + space
			       ? 'R'
			       : 'r';
	}
	if (l->flags & TH_SYN)
		return l->flags == (TH_SYN | TH_ACK) ? 'S' : 's';
	if (l->flags != TH_ACK || l->len || l->seq != n.snd_max)
		return '?';
	if (t && t->owner == TCB_MINE && l->ack != t->rcv_nxt - PEER_ISS)
		return 'a';
	return challenged ? 'C' : 'A';
}

static void observe(const struct class *k, int state, char *out)
{
	uint64_t challenges;
	uint32_t rx = 0, ooo = 0;
	struct at n;
	struct seg g;
	char *p = out;

	enter(state);
	n = numbers(state);
	g = segment(k, n);
	challenges = ts_mib(&c.t, MIB_TcpExt_TCPChallengeACK);
	tc_rx(&c, &g);
	while (tc_take(&c))
		*p++ = reply(&g, n, ts_mib(&c.t, MIB_TcpExt_TCPChallengeACK) > challenges);
	if (p == out)
		*p++ = '-';
	if (c.conn != SHM_NIL && tc_tcb(&c)->owner == TCB_MINE) {
		rx = tc_tcb(&c)->rx_bytes;
		ooo = tc_tcb(&c)->ooo_bytes + !!(tc_tcb(&c)->flags & TCB_F_FIN_OOO);
	}
	if (rx)
		*p++ = 'd';
	if (ooo)
		*p++ = 'o';
	*p = 0;
	if (strcmp(state_name(state), names[state]))
		sprintf(p, ">%s", state_name(state));
	tc_close(&c);
}

/* RFC 9293 MUST-11, MUST-66; RFC 5961 §3.2/1, §3.2/2, §3.2/3, §4.2/1, §5.2/1; RFC 5681 §4.2/1 */
static void test_tcp_matrix(void **state)
{
	uint32_t wrong = 0;

	(void)state;
	for (uint32_t i = 0; i < sizeof(classes) / sizeof(classes[0]); i++) {
		const char *p = classes[i].want;

		for (int st = 0; st < N_STATES; st++) {
			char want[32] = "", got[32];
			int n = 0;

			assert_int_equal(sscanf(p, "%31s%n", want, &n), 1);
			p += n;
			observe(&classes[i], st, got);
			if (!strcmp(got, want))
				continue;
			print_error("state %s, %s: \"%s\" was expected, not \"%s\"\n", names[st],
				    classes[i].name, want, got);
			wrong++;
		}
	}
	assert_int_equal(wrong, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_tcp_matrix),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
