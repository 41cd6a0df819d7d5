/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory pressure: tcp_mem's three limits, applied to the chunks of one arena. A stack is under
 * pressure from the moment that more than tcp_mem[1] are in use until no more than tcp_mem[0]
 * are; at tcp_mem[2] new work is refused.
 *
 * Under pressure buffers do not grow, windows are not opened wide before a queue that is not read,
 * what came out of order counts for less than what came in order, and a writer gets no more than
 * tcp_wmem[1], at the limit no more than tcp_wmem[0].
 *
 * What lies beyond tcp_mem[2], a third of it, or less where the pool ends before, is for text that was
 * asked for: half of that for all, what is left of the pool only for connections whose receive queue
 * is empty, so that each one can go on whatever the others hold. Nothing that was acknowledged is
 * ever given up.
 */
#include "tcp.h"

#define SOCK_MIN_SNDBUF 4608u /* Linux's: an orphan with less costs nothing worth a reset */

/* As the kernel derives low and high from the pressure limit, which is half of the pool here. */
void tcp_mem_init(struct stack *s)
{
	const uint32_t *cfg = s->cfg.limits.tcp_mem;
	uint32_t size = s->chunk_free.size, most = size - size / 8;

	if (cfg[2])
		memcpy(s->mem_limit, cfg, sizeof(s->mem_limit));
	else
		memcpy(s->mem_limit, (uint32_t[3]){size / 8 * 3, size / 2, size / 4 * 3},
		       sizeof(s->mem_limit));
	for (uint32_t i = 0; i < 3; i++)
		s->mem_limit[i] = tcp_min(s->mem_limit[i], most);
}

/* Chunks have been taken or given back. */
void tcp_mem_changed(struct stack *s)
{
	uint32_t used = free_list_in_use(&s->chunk_free);

	if (!s->mem_pressure && used > s->mem_limit[1]) {
		s->mem_pressure = true;
		s->mem_since = s->now;
		s->a.mib[MIB_Td_MemoryPressure] = 1;
		MIB(s, TcpExt_TCPMemoryPressures);
	} else if (s->mem_pressure && used <= s->mem_limit[0]) {
		s->mem_pressure = false;
		s->a.mib[MIB_Td_MemoryPressure] = 0;
		s->a.mib[MIB_TcpExt_TCPMemoryPressuresChrono] +=
			(s->now.ns - s->mem_since.ns) / NS_PER_MS;
	}
}

bool tcp_mem_high(const struct stack *s)
{
	return free_list_in_use(&s->chunk_free) >= s->mem_limit[2];
}

/*
 * From here on chunks are for empty receive queues only. What was promised by windows before they
 * shrank gets a sixth of the limit: beyond that it is not acknowledged, and comes again.
 */
static uint32_t last_reserve(const struct stack *s)
{
	uint32_t high = s->mem_limit[2], rest = s->chunk_free.size - high;

	return high + tcp_min(rest, high / 3 + 1) / 2;
}

/* ---- receiving ---- */

static uint32_t chunk_bytes_up_to(const struct stack *s, uint32_t edge)
{
	uint32_t used = free_list_in_use(&s->chunk_free), n = edge > used ? edge - used : 0;

	return tcp_min(n, INT32_MAX / CHUNK_SIZE) * CHUNK_SIZE;
}

uint32_t tcp_mem_in_order(const struct stack *s, const struct tcb *t)
{
	uint32_t room = chunk_bytes_up_to(s, last_reserve(s));

	if (!room && t->rx_head == SHM_NIL)
		room = CHUNK_SIZE;
	return tcp_buf_tail_room(s, t) + room;
}

/* Under pressure a connection has its share, as in Linux, where it also has tcp_rmem[0]. */
bool tcp_mem_out_of_order(const struct stack *s, const struct tcb *t)
{
	if (tcp_mem_high(s))
		return false;
	return !s->mem_pressure || t->ooo_bytes + t->rx_bytes < s->cfg.limits.tcp_rmem[0] ||
	       (uint64_t)free_list_in_use(&s->tcb_free) * t->n_chunks < s->mem_limit[2];
}

/*
 * Linux's tcp_adjust_rcv_ssthresh(): four segments, so that the ACK clock keeps ticking. Not more
 * than @space, which is what the buffer would allow. What was promised is the caller's to keep.
 */
uint32_t tcp_mem_window_tight(const struct stack *s, const struct tcb *t, uint32_t space)
{
	if (space < t->rcvbuf / 4 || tcp_mem_high(s))
		space = tcp_min(space, 4u * t->rcv_mss);
	return tcp_mem_high(s) ? tcp_min(space, tcp_mem_in_order(s, t)) : space;
}

/* ---- sending ---- */

uint32_t tcp_mem_sndbuf(const struct stack *s, const struct tcb *t)
{
	const uint32_t *wmem = s->cfg.limits.tcp_wmem;

	if (tcp_mem_high(s))
		return tcp_min(t->sndbuf, wmem[0]);
	return s->mem_pressure ? tcp_min(t->sndbuf, wmem[1]) : t->sndbuf;
}

/* One call may not take what is left up to the limit, and beyond it not the last reserve. */
uint32_t tcp_mem_snd_room(const struct stack *s, const struct tcb *t)
{
	uint32_t edge = tcp_mem_high(s) ? last_reserve(s) : s->mem_limit[2];
	uint32_t buf = tcp_mem_sndbuf(s, t);

	return buf > t->tx_bytes ? tcp_min(buf - t->tx_bytes, chunk_bytes_up_to(s, edge)) : 0;
}

/* ---- orphans ---- */

/* As Linux's tcp_out_of_memory(). */
bool tcp_mem_orphan_over(const struct stack *s, const struct tcb *t)
{
	return t->flags & TCB_F_CLOSED && t->tx_bytes > SOCK_MIN_SNDBUF &&
	       free_list_in_use(&s->chunk_free) > s->mem_limit[2];
}

/* ---- looking at it ---- */

int tcp_mem_check(const struct stack *s, char *why, size_t len)
{
	uint32_t used = free_list_in_use(&s->chunk_free);

	if (s->a.mib[MIB_Td_MemoryPressure] != s->mem_pressure)
		return check_fail(why, len, "memory: pressure, other than the gauge", used);
	if (s->mem_pressure ? used <= s->mem_limit[0] : used > s->mem_limit[1])
		return check_fail(why, len, "memory: pressure, or not, with chunks in use", used);
	return 0;
}
