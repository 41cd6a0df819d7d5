/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pacing: data leaves at a rate, where the congestion control or SO_MAX_PACING_RATE sets one. A
 * time for the next packet is kept in tcb_work, tcp_next() waits for it. Packets are of about a
 * millisecond's data, and smaller ones leave in groups, so that a connection does not wake more
 * often than that. A timer that fires late, as those of a process do, is made up for within bounds.
 */
#include "tcp.h"
#include "cc.h"

#define QUANTUM_US 1000u
#define LATE_MAX_US 4000u    /* of a timer; more would be a burst that queues do not hold */
#define WAIT_MAX_US 1000000u /* a packet a second goes in any case */
#define SLOW 150000u	     /* bytes/s: below, a packet is a single segment */

uint64_t tcp_pacing_rate(const struct tcb *t)
{
	const struct cc_ops *cc = cc_get(t->cc);
	uint64_t rate = cc->pacing_rate ? cc->pacing_rate(t) : 0;

	uint64_t max = tcb_max_pacing(t);

	return max && (!rate || max < rate) ? max : rate;
}

uint32_t tcp_pace_wait_us(const struct tcb *t, struct mtime now)
{
	int32_t ahead;

	if (!(t->flags & TCB_F_PACED))
		return 0;
	ahead = (int32_t)(tcb_work(t)->pace_us - cc_us(now));
	/* More than can be: the clock has wrapped since. */
	return ahead > 0 && (uint32_t)ahead <= 2 * WAIT_MAX_US ? (uint32_t)ahead : 0;
}

uint32_t tcp_pace_burst(const struct tcb *t, uint32_t mss)
{
	uint64_t rate = tcp_pacing_rate(t), bytes;

	if (!rate)
		return UINT32_MAX;
	bytes = rate * QUANTUM_US / 1000000;
	if (bytes >= 65536)
		return 65536;
	if (bytes < 2 * mss)
		return rate < SLOW ? mss : 2 * mss;
	return (uint32_t)bytes / mss * mss;
}

void tcp_pace_sent(struct tcb *t, uint32_t len, struct mtime now)
{
	uint64_t rate = tcp_pacing_rate(t), us;
	uint32_t now_us = cc_us(now), late = now_us - tcb_work(t)->pace_us;
	/* It waited for the timer; or this goes on with what it had to catch up with. */
	bool timed = t->flags & TCB_F_PACED || t->last_snd == ms_stamp(now);
	uint32_t credit = timed ? LATE_MAX_US : QUANTUM_US;

	t->flags &= ~TCB_F_PACED;
	if (!rate)
		return;
	us = (uint64_t)len * 1000000 / rate;
	if (us > WAIT_MAX_US)
		us = WAIT_MAX_US;
	/* On time, late by less than is made up for, or ahead; else it begins anew. */
	if (late > credit && late < UINT32_MAX - 2 * WAIT_MAX_US)
		tcb_work(t)->pace_us = now_us - credit;
	tcb_work(t)->pace_us += (uint32_t)us;
	if ((int32_t)(tcb_work(t)->pace_us - now_us) > (int32_t)QUANTUM_US / 2)
		t->flags |= TCB_F_PACED;
}
