/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The table of congestion control algorithms, one file each, and what they have in common.
 * An algorithm decides cwnd and ssthresh from a small record of each ACK; when to retransmit, and
 * the inflation of cwnd during fast recovery, is loss recovery's business (tcp_ack.c).
 */
#include "cc.h"

const struct cc_ops *const cc_table[CC_N] = {&cc_reno, &cc_cubic, &cc_bbr, &cc_dctcp};

static bool name_eq(const char *a, const char *b)
{
	while (*a && *a == *b) {
		a++;
		b++;
	}
	return *a == *b;
}

const char *cc_name(uint32_t idx)
{
	return idx < CC_N ? cc_table[idx]->name : NULL;
}

int cc_find(const char *name)
{
	for (uint32_t i = 0; i < CC_N; i++)
		if (name_eq(cc_table[i]->name, name))
			return (int)i;
	return -E_NOENT;
}

uint8_t cc_default(const struct stack *s)
{
	int cc = cc_find(s->cfg.cc ? s->cfg.cc : "cubic");

	return cc < 0 ? 0 : (uint8_t)cc;
}

/* RFC 6928 §2 */
uint32_t cc_initial_window(uint32_t mss)
{
	uint32_t floor = 2 * mss > 14600 ? 2 * mss : 14600;

	return 10 * mss < floor ? 10 * mss : floor;
}

/* RFC 5681 §3.1: ssthresh = max(FlightSize / 2, 2 * SMSS) */
uint32_t cc_half_flight(const struct tcb *t, uint32_t in_flight)
{
	uint32_t floor = 2 * tcp_eff_mss(t);

	return in_flight / 2 > floor ? in_flight / 2 : floor;
}

/*
 * Slow start, in bytes: an ACK for several segments opens by all of them, as a receiver that
 * merges segments sends few ACKs. Returns what was acknowledged beyond ssthresh.
 */
uint32_t cc_slow_start(struct tcb *t, uint32_t acked)
{
	uint32_t room = t->ssthresh > t->cwnd ? t->ssthresh - t->cwnd : 0;
	uint32_t n = acked < room ? acked : room;

	t->cwnd += n;
	return acked - n;
}

/* RFC 5681 §4.1: after an idle RTO no more than the initial window at once. */
void cc_restart_window(struct tcb *t, struct mtime now)
{
	uint32_t iw = cc_initial_window(tcp_eff_mss(t));

	(void)now;
	if (t->cwnd > iw)
		t->cwnd = iw;
}

/* As Linux: neither goes below where acknowledgements have brought it meanwhile. */
void cc_undo(struct tcb *t, uint32_t prior_cwnd, uint32_t prior_ssthresh, struct mtime now)
{
	(void)now;
	if (t->cwnd < prior_cwnd)
		t->cwnd = prior_cwnd;
	if (t->ssthresh < prior_ssthresh)
		t->ssthresh = prior_ssthresh;
}
