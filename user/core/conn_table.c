// SPDX-License-Identifier: BSD-2-Clause
/*
 * Connections by 4-tuple: chained buckets under a seeded hash (SipHash-2-4, Aumasson and
 * Bernstein 2012), so that nobody who does not know the key can make chains long. There are about
 * as many buckets as there have been connections at once (common/linhash.h).
 *
 * Buckets and tcb.hash_next hold index + 1, 0 ends a chain: zeroed memory is an empty table.
 * Invariant: a TCB of ours that is in the table stands in the chain of its own hash, once, and no
 * two of them have the same 4-tuple.
 */
#include "tcp.h"
#include "common/siphash.h"

/* The next word of the message, little-endian; the last one holds what is left and the length. */
static inline uint64_t sip_word(const uint8_t *p, uint32_t left, uint32_t len)
{
	uint64_t m = 0;

	if (left >= 8) {
		memcpy(&m, p, 8);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
		m = __builtin_bswap64(m);
#endif
		return m;
	}
	for (uint32_t i = 0; i < left; i++)
		m |= (uint64_t)p[i] << (8 * i);
	return m | (uint64_t)len << 56;
}

uint64_t siphash_24(const uint64_t key[2], const void *data, uint32_t len)
{
	const uint8_t *p = data;
	uint32_t left = len;
	struct sip sip;

	sip_init(&sip, key);
	for (; left >= 8; p += 8, left -= 8)
		sip_add(&sip, sip_word(p, left, len));
	return sip_end(&sip, sip_word(p, left, len));
}

uint32_t conn_hash(const struct stack *s, const struct ip_addr *local, uint16_t lport,
		   const struct ip_addr *remote, uint16_t rport)
{
	struct tcp_addr_pair a = {*local, *remote, lport, rport};

	return (uint32_t)siphash_24(s->cfg.key, &a, sizeof(a));
}
_Static_assert(sizeof(struct tcp_addr_pair) == 36, "hashed as bytes: no padding");

static uint32_t *bucket(const struct stack *s, const struct tcb *t)
{
	uint32_t h = conn_hash(s, &t->local, t->local_port, &t->remote, t->remote_port);

	return &s->conn_buckets[linhash_bucket(&s->conn_hash, h)];
}

uint32_t conn_lookup(const struct stack *s, const struct ip_addr *local, uint16_t lport,
		     const struct ip_addr *remote, uint16_t rport)
{
	uint32_t h = conn_hash(s, local, lport, remote, rport);
	uint32_t i = s->conn_buckets[linhash_bucket(&s->conn_hash, h)];

	for (; i; i = s->a.tcbs[i - 1].hash_next) {
		const struct tcb *t = &s->a.tcbs[i - 1];

		if (t->remote_port == rport && t->local_port == lport &&
		    ip_addr_eq(&t->remote, remote) && ip_addr_eq(&t->local, local))
			return i - 1;
	}
	return SHM_NIL;
}

static void link_front(struct stack *s, uint32_t conn)
{
	struct tcb *t = tcb_at(s, conn);
	uint32_t *b = bucket(s, t);

	t->hash_next = *b;
	*b = conn + 1;
}

static void grow(struct stack *s)
{
	uint32_t *b = &s->conn_buckets[linhash_split(&s->conn_hash)], i = *b;

	*b = 0;
	while (i) {
		uint32_t next = s->a.tcbs[i - 1].hash_next;

		link_front(s, i - 1);
		i = next;
	}
}

void conn_table_add(struct stack *s, uint32_t conn)
{
	if (++s->conn_n > s->conn_hash.n && s->conn_hash.n < s->conn_max_buckets)
		grow(s);
	link_front(s, conn);
}

void conn_table_del(struct stack *s, uint32_t conn)
{
	struct tcb *t = tcb_at(s, conn);
	uint32_t *link = bucket(s, t);

	for (; *link; link = &s->a.tcbs[*link - 1].hash_next) {
		if (*link == conn + 1) {
			*link = t->hash_next;
			s->conn_n--;
			return;
		}
	}
}

int conn_table_check(const struct stack *s, char *why, size_t len)
{
	uint32_t n = 0;

	for (uint32_t b = 0; b < s->conn_hash.n; b++) {
		for (uint32_t i = s->conn_buckets[b]; i; i = s->a.tcbs[i - 1].hash_next) {
			const struct tcb *t = &s->a.tcbs[i - 1];

			if (i > s->tcb_free.used || ++n > s->tcb_free.used)
				return check_fail(why, len, "table: bad link to connection", i - 1);
			if (t->owner != TCB_MINE || bucket(s, t) != &s->conn_buckets[b])
				return check_fail(why, len, "table: misplaced connection", i - 1);
			if (conn_lookup(s, &t->local, t->local_port, &t->remote, t->remote_port) !=
			    i - 1)
				return check_fail(why, len, "table: 4-tuple is there twice", i - 1);
		}
	}
	if (n != s->conn_n)
		return check_fail(why, len, "table: connections, other than counted", n);
	return 0;
}
