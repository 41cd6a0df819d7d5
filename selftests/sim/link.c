/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The link: what a NIC does with the stack's packets (segmentation, checksums), and all that can
 * happen to a frame on the way. Corruption flips one bit behind the Ethernet header of an IP
 * packet: all that IP and TCP checksums promise to find, and Ethernet's own would.
 */
#include <stdlib.h>
#include <string.h>
#include "common/csum.h"
#include "sim.h"

#define ETH_LEN 14u
#define IP_LEN 20u

struct frame *frame_alloc(uint32_t len)
{
	struct frame *f = malloc(sizeof(*f) + len);

	if (!f)
		abort();
	f->len = len;
	f->partial = false;
	return f;
}

static uint16_t get16(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

static void put16(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
}

static uint32_t get32(const uint8_t *p)
{
	return (uint32_t)get16(p) << 16 | get16(p + 2);
}

static void put32(uint8_t *p, uint32_t v)
{
	put16(p, v >> 16);
	put16(p + 2, v & 0xffff);
}

/* ---- as a NIC: checksum and segmentation offload ---- */

static void ip4_csum(uint8_t *ip)
{
	uint16_t sum;

	put16(ip + 10, 0);
	sum = csum_fold(csum_partial(ip, IP_LEN, 0));
	memcpy(ip + 10, &sum, 2);
}

static void l4_csum(uint8_t *ip, uint32_t l4_len)
{
	uint32_t off = ip[9] == 17 ? 6 : 16; /* of the sum in UDP, TCP */
	struct ip_addr src, dst;
	uint32_t be;
	uint16_t sum;

	memcpy(&be, ip + 12, 4);
	src = ip_addr_v4(be);
	memcpy(&be, ip + 16, 4);
	dst = ip_addr_v4(be);
	put16(ip + IP_LEN + off, 0);
	sum = csum_fold(csum_partial(ip + IP_LEN, l4_len, csum_pseudo(&src, &dst, ip[9], l4_len)));
	if (ip[9] == 17 && !sum)
		sum = 0xffff;
	memcpy(ip + IP_LEN + off, &sum, 2);
}

/* The @n-th part, @len payload bytes from @off, of a large TCP segment, as Linux cuts it. */
static struct frame *segment(const struct frame *big, uint32_t hdr, uint32_t n, uint32_t off,
			     uint32_t len)
{
	struct frame *f = frame_alloc(hdr + len);
	uint8_t *ip = f->data + ETH_LEN, *tcp = ip + IP_LEN;

	memcpy(f->data, big->data, hdr);
	memcpy(f->data + hdr, big->data + hdr + off, len);
	put16(ip + 2, hdr - ETH_LEN + len);
	put16(ip + 4, get16(ip + 4) + n);
	put32(tcp + 4, get32(tcp + 4) + off);
	if (hdr + off + len < big->len)
		tcp[13] &= (uint8_t)~0x09; /* FIN, PSH: on the last only */
	if (n)
		tcp[13] &= 0x7f; /* CWR: on the first only */
	ip4_csum(ip);
	l4_csum(ip, f->len - ETH_LEN - IP_LEN);
	return f;
}

void link_send_pkt(struct world *w, uint32_t from, const struct pkt *p)
{
	const struct host_cfg *peer = &w->sc->host[!from];
	struct frame *f = frame_alloc(p->len);
	uint32_t off = 0;

	for (uint32_t i = 0; i < p->nfrags; i++) {
		memcpy(f->data + off, p->frag[i].p, p->frag[i].len);
		off += p->frag[i].len;
	}
	if (off != p->len)
		world_fail(w, "packet's fragments have %u bytes, not %u", off, p->len);
	if (p->csum == PKT_CSUM_PARTIAL && (p->csum_start != ETH_LEN + IP_LEN ||
					    p->csum_off != (f->data[ETH_LEN + 9] == 17 ? 6 : 16)))
		world_fail(w, "odd place for a checksum: %u + %u", p->csum_start, p->csum_off);
	if (!p->gso_size && p->len > ETH_LEN + w->sc->mtu)
		world_fail(w, "packet of %u bytes, MTU %u", p->len, w->sc->mtu);
	f->partial = p->csum == PKT_CSUM_PARTIAL;
	wire_check(w, f);
	if (p->gso_size && !(peer->merged && f->partial)) {
		uint32_t n = 0, size = p->gso_size;

		if (p->hdr_len + size > ETH_LEN + w->sc->mtu)
			world_fail(w, "gso_size %u does not fit the MTU", size);
		for (off = p->hdr_len; off < p->len; off += size, n++)
			link_send(w, from,
				  segment(f, p->hdr_len, n, off - p->hdr_len,
					  p->len - off < size ? p->len - off : size));
		free(f);
		return;
	}
	if (f->partial && !peer->merged) {
		l4_csum(f->data + ETH_LEN, p->len - ETH_LEN - IP_LEN);
		f->partial = false;
	}
	link_send(w, from, f);
}

/* ---- as a router ---- */

/* ICMP destination unreachable, fragmentation needed (RFC 1191), about @f. */
static struct frame *frag_needed(const struct frame *f, uint32_t mtu)
{
	const uint32_t quote = IP_LEN + 8;
	struct frame *e = frame_alloc(ETH_LEN + IP_LEN + 8 + quote);
	uint8_t *ip = e->data + ETH_LEN, *icmp = ip + IP_LEN;
	uint16_t sum;

	memset(e->data, 0, e->len);
	memcpy(e->data, f->data + 6, 6);
	memcpy(e->data + 6, f->data, 6);
	put16(e->data + 12, 0x0800);
	ip[0] = 0x45;
	put16(ip + 2, e->len - ETH_LEN);
	ip[8] = 64;
	ip[9] = 1;
	put32(ip + 12, 0x0a0000feu); /* 10.0.0.254 */
	memcpy(ip + 16, f->data + ETH_LEN + 12, 4);
	ip4_csum(ip);
	icmp[0] = 3;
	icmp[1] = 4;
	put16(icmp + 6, mtu);
	memcpy(icmp + 8, f->data + ETH_LEN, quote);
	sum = csum_fold(csum_partial(icmp, 8 + quote, 0));
	memcpy(icmp + 2, &sum, 2);
	return e;
}

/* RFC 791 §3.2: what may be cut into fragments is. */
static void fragment(struct world *w, uint32_t from, const struct frame *f, uint32_t mtu)
{
	uint32_t room = (mtu - IP_LEN) & ~7u, data = f->len - ETH_LEN - IP_LEN;
	uint32_t was = get16(f->data + ETH_LEN + 6);

	for (uint32_t off = 0; off < data; off += room) {
		uint32_t len = data - off < room ? data - off : room;
		struct frame *g = frame_alloc(ETH_LEN + IP_LEN + len);
		uint8_t *ip = g->data + ETH_LEN;
		bool more = (was & 0x2000) || off + len < data;

		memcpy(g->data, f->data, ETH_LEN + IP_LEN);
		memcpy(ip + IP_LEN, f->data + ETH_LEN + IP_LEN + off, len);
		put16(ip + 2, IP_LEN + len);
		put16(ip + 6, (was & 0xdfff) + off / 8 + (more ? 0x2000 : 0));
		ip4_csum(ip);
		link_send(w, from, g);
	}
}

static bool too_large(struct world *w, uint32_t from, const struct frame *f)
{
	struct link *l = &w->link[from];
	uint32_t mtu = l->cfg->path_mtu;
	uint64_t at = w->now.ns + l->cfg->delay * NS_PER_US;

	if (!mtu || f->len <= ETH_LEN + mtu)
		return false;
	if (!(f->data[ETH_LEN + 6] & 0x40))
		fragment(w, from, f, mtu);
	else if (!rng_ppm(&l->rng, l->cfg->loss))
		world_at(w, at,
			 (struct sim_ev){.kind = SEV_FRAME,
					 .host = &w->host[from],
					 .frame = frag_needed(f, mtu)});
	return true;
}

/* ---- as a wire ---- */

static bool is_ip(const struct frame *f)
{
	return f->len > ETH_LEN + IP_LEN && get16(f->data + 12) == 0x0800;
}

/* A token bucket that drops what does not fit, whatever the line could carry. */
static bool policed(struct link *l, uint32_t len, uint64_t now)
{
	const struct link_cfg *c = l->cfg;

	if (!c->police)
		return false;
	if (l->policed < now)
		l->policed = now;
	if ((l->policed - now) / NS_PER_US * c->police / 1000 + len > c->bucket)
		return true;
	l->policed += (uint64_t)len * NS_PER_MS / c->police;
	return false;
}

static bool is_syn_with_text(const struct frame *f)
{
	const uint8_t *ip = f->data + ETH_LEN, *tcp = ip + IP_LEN;

	return is_ip(f) && ip[9] == 6 && tcp[13] & 2 &&
	       get16(ip + 2) > IP_LEN + (uint32_t)(tcp[12] >> 4) * 4;
}

static bool lost(struct world *w, struct link *l, uint32_t len)
{
	const struct link_cfg *c = l->cfg;
	uint64_t now = w->now.ns;

	if (now < l->burst_until)
		return true;
	if (rng_ppm(&l->rng, c->burst)) {
		l->burst_until = now + rng_range(&l->rng, 0, c->burst_max) * NS_PER_MS;
		return true;
	}
	if (rng_ppm(&l->rng, c->loss) ||
	    (c->out_for && (now - w->start) / NS_PER_MS - c->out_at < c->out_for))
		return true;
	if (policed(l, len, now))
		return true;
	if (!c->rate)
		return false;
	if (l->busy < now)
		l->busy = now;
	l->queued += (l->busy - now) / NS_PER_US * c->rate / 1000;
	if (c->queue && (l->busy - now) / NS_PER_US * c->rate / 1000 + len > c->queue)
		return true;
	l->busy += (uint64_t)len * NS_PER_MS / c->rate;
	return false;
}

/* RFC 3168 §5: a queue that grows is told to those that understand it. */
static void mark(struct link *l, struct frame *f, uint64_t now)
{
	const struct link_cfg *c = l->cfg;
	uint8_t *ip = f->data + ETH_LEN;

	if (!c->mark || !is_ip(f) || !(ip[1] & 3) || (ip[1] & 3) == 3 ||
	    (l->busy - now) / NS_PER_US * c->rate / 1000 <= c->mark)
		return;
	ip[1] |= 3;
	ip4_csum(ip);
	l->marked++;
}

static void deliver(struct world *w, uint32_t from, struct frame *f)
{
	struct link *l = &w->link[from];
	const struct link_cfg *c = l->cfg;
	uint64_t at = (c->rate ? l->busy : w->now.ns) + c->delay * NS_PER_US;

	if (c->jitter)
		at += rng_range(&l->rng, 0, c->jitter) * NS_PER_US;
	if (at < l->last)
		at = l->last;
	if (rng_ppm(&l->rng, c->reorder)) {
		at += rng_range(&l->rng, 1, c->reorder_max) * NS_PER_US;
		l->reordered++;
	} else {
		l->last = at;
	}
	world_at(w, at, (struct sim_ev){.kind = SEV_FRAME, .host = &w->host[!from], .frame = f});
}

static const char *corrupt(struct link *l, struct frame *f)
{
	uint32_t bit;

	if (!rng_ppm(&l->rng, l->cfg->corrupt) || !is_ip(f) || f->partial)
		return NULL;
	bit = (uint32_t)rng_range(&l->rng, ETH_LEN * 8, f->len * 8 - 1);
	f->data[bit / 8] ^= (uint8_t)(1u << bit % 8);
	l->corrupted++;
	return "corrupted";
}

void link_send(struct world *w, uint32_t from, struct frame *f)
{
	struct link *l = &w->link[from];
	const char *note = NULL;

	l->sent++;
	if (too_large(w, from, f) || lost(w, l, f->len) ||
	    (l->cfg->no_syn_data && is_syn_with_text(f))) {
		wire_passed(w, f, true);
		l->lost++;
		if (w->pcap)
			pcapng_frame(w->pcap, from, w->now.ns, f, "lost");
		free(f);
		return;
	}
	wire_passed(w, f, false);
	mark(l, f, w->now.ns);
	note = corrupt(l, f);
	if (rng_ppm(&l->rng, l->cfg->dup)) {
		struct frame *copy = frame_alloc(f->len);

		memcpy(copy->data, f->data, f->len);
		copy->partial = f->partial;
		l->duplicated++;
		if (w->pcap)
			pcapng_frame(w->pcap, from, w->now.ns, copy, "duplicated");
		deliver(w, from, copy);
	}
	if (w->pcap)
		pcapng_frame(w->pcap, from, w->now.ns, f, note);
	deliver(w, from, f);
}
