/* SPDX-License-Identifier: BSD-2-Clause */
/* IP, reassembly, ICMP (ip.c, reasm.c, icmp.c). */
#ifndef TANDEM_CORE_IP_H
#define TANDEM_CORE_IP_H

#include "stack.h"
#include "wire.h"

/* A validated IP header: later code trusts it. */
struct ip_info {
	struct ip_addr src, dst;
	uint16_t netif;
	uint16_t l4_off; /* in the packet */
	uint32_t l4_len; /* header and payload of the transport, trimmed to the IP length */
	uint8_t proto, ttl, tos;
	bool bcast; /* not to a unicast address: no ICMP errors, no RST */
};

enum drop ip_input(struct stack *s, struct pkt *p, struct mtime now);
/* Transport demultiplexing, for whole datagrams (also after reassembly). */
enum drop ip_deliver(struct stack *s, struct pkt *p, const struct ip_info *ip, struct mtime now);
enum drop reasm_input(struct stack *s, struct pkt *p, const struct ip_info *ip, uint16_t id,
		      uint32_t off, bool more, struct mtime now);
void reasm_timer(struct stack *s, uint32_t idx, struct mtime now);
size_t reasm_size(void);
struct wheel_node *reasm_wheel_node(struct stack *s, uint32_t idx);

static inline uint8_t *ip_payload(struct pkt *p)
{
	return p->frag[0].p + p->l4_off;
}

/* An IPv4 header without options, with its checksum. Addresses as they stand in it. */
static inline void ip4_put_header(uint8_t *h, uint32_t src, uint32_t dst, uint8_t proto,
				  uint8_t ttl, uint8_t tos, uint32_t len, uint16_t id,
				  uint16_t frag)
{
	uint32_t first, second, third, words[5];
	uint64_t sum;

	first = 0x45u << 24 | (uint32_t)tos << 16 | (len & 0xffff);
	second = (uint32_t)id << 16 | frag;
	third = (uint32_t)ttl << 24 | (uint32_t)proto << 16;
	put_be32(&words[0], first);
	put_be32(&words[1], second);
	put_be32(&words[2], third);
	words[3] = src;
	words[4] = dst;
	sum = (uint64_t)words[0] + words[1] + words[2] + src + dst;
	memcpy(h, words, sizeof(words));
	sum = (sum & 0xffffffff) + (sum >> 32);
	sum = (sum & 0xffff) + (sum >> 16);
	sum = (sum & 0xffff) + (sum >> 16);
	memcpy(h + 10, &(uint16_t){(uint16_t)~sum}, 2);
}
struct ip_out {
	struct ip_addr src, dst;
	uint8_t proto, ttl, tos; /* ttl 0: ip_default_ttl */
	bool df;
	uint16_t queue;
	const struct ip_way *way; /* NULL: by the stack's routes, or as a connection of ours */
};
/*
 * Writes the IP header in front of @len bytes of transport, routes, resolves and queues it.
 * Takes the packet over. 0, or what route_lookup() says (the packet is freed).
 */
int ip_send(struct stack *s, struct pkt *p, uint32_t len, const struct ip_out *o, struct mtime now);
/*
 * The same for @len bytes at @off of @from, which are copied: transport with its checksum, of any
 * size, in fragments where the MTU or a packet's room asks for it.
 */
int ip_send_copy(struct stack *s, const struct pkt *from, uint32_t off, uint32_t len,
		 const struct ip_out *o, struct mtime now);
/* Writes an IPv4 or IPv6 header at @p->l3_off; @l4_len: all of the transport, GSO included. */
void ip_header(struct stack *s, struct pkt *p, const struct ip_out *o, uint32_t l4_len);
/* Fills in the transport checksum at @csum_off, or leaves it PARTIAL where offload is on. */
void l4_checksum(struct stack *s, struct pkt *p, const struct ip_addr *src,
		 const struct ip_addr *dst, uint8_t proto, uint32_t l4_len, uint16_t csum_off);
/* Completes it, where the pseudo-header sums up to @pseudo. */
void l4_checksum_complete(struct pkt *p, uint32_t pseudo, uint8_t proto, uint32_t l4_len,
			  uint16_t csum_off);
/* Is the inbound transport checksum right, or legitimately partial? All fragments are summed. */
bool l4_checksum_ok(const struct pkt *p, const struct ip_info *ip, uint16_t csum_off);
/* The same where the sum has to be a right one. */
bool l4_checksum_full(const struct pkt *p, const struct ip_info *ip);
/* Do @len bytes at @off sum up to nothing (no pseudo-header)? */
bool pkt_csum_ok(const struct pkt *p, uint32_t off, uint32_t len);

/* Copies packet bytes from all fragments. (tcp_buf.c) */
void pkt_copy(const struct pkt *p, uint32_t off, void *out, uint32_t len);
enum drop icmp_input(struct stack *s, struct pkt *p, const struct ip_info *ip, struct mtime now);
/* ICMP error about @p (RFC 1122 §3.2.2 rules, rate-limited). */
void icmp_error(struct stack *s, const struct pkt *p, const struct ip_info *ip, uint8_t type,
		uint8_t code, uint32_t rest, struct mtime now);

/* Rate limits (icmp.c). */
struct token_bucket {
	uint64_t ns; /* last refill */
	uint32_t tokens;
};
/* To whom errors were sent. */
struct icmp_host {
	struct ip_addr addr;
	struct token_bucket tokens;
};
#define ICMP_HOSTS 1024u
/* One token at @per_s (0: no limit), burst as given. */
bool token_take(struct token_bucket *b, uint32_t per_s, uint32_t burst, struct mtime now);

#endif
