/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Segments on their way out: tcp_output() carries out what tcp_next() has decided, one packet at a
 * time. Nothing of a connection changes before the packet to tell it in is there, so an empty
 * pool only delays.
 *
 * Sequence numbers of retransmissions: after a timeout snd_nxt goes back to snd_una and all is
 * sent again by the usual rules (snd_max keeps how far we had been); a fast retransmission is
 * one segment from snd_una that leaves snd_nxt alone.
 */
#include "board.h"

void tcp_want_output(struct stack *s, struct tcb *t)
{
	uint32_t i = tcb_index(s, t);

	if (t->flags & TCB_F_OUT_QUEUED)
		return;
	t->flags |= TCB_F_OUT_QUEUED;
	tcb_work_get(s, t)->out_next = SHM_NIL;
	if (s->out_tail == SHM_NIL)
		s->out_head = i;
	else
		tcb_work(tcb_at(s, s->out_tail))->out_next = i;
	s->out_tail = i;
}

/* ---- window to advertise ---- */

/*
 * RFC 9293 §3.8.6.2.2: the right edge moves by a whole segment or half the buffer, or not at all;
 * never to the left (§3.8.6), so a window that the scale cannot express is rounded up. As each
 * rounding may move the edge a little, that ends when the peer has made much of it.
 */
uint32_t tcp_select_window(struct stack *s, struct tcb *t)
{
	uint32_t buf = t->rcvbuf / 2, cur = tcp_rcv_wnd(t), shift = t->rcv_wscale, wnd;
	uint32_t space = tcp_mem_window(s, t, buf > t->rx_bytes ? buf - t->rx_bytes : 0);
	bool was_shut = t->rcv_adv == t->last_ack_sent;

	if (space < cur || space - cur < tcp_min(buf / 2, t->rcv_mss))
		space = cur;
	wnd = tcp_min(space >> shift, 65535) << shift;
	if (wnd < cur && t->rx_bytes <= t->rcvbuf && wnd >> shift < 65535)
		wnd += 1u << shift;
	if (!wnd != was_shut)
		mib_inc(s, wnd ? MIB_TcpExt_TCPFromZeroWindowAdv : MIB_TcpExt_TCPToZeroWindowAdv);
	if (wnd > cur)
		t->rcv_adv = t->rcv_nxt + wnd;
	return wnd;
}

/* ---- building ---- */

static void syn_options(struct stack *s, const struct tcb *t, struct tcp_options *o,
			struct mtime now)
{
	uint32_t mss = tcp_mtu_mss(s->netifs[t->netif].mtu, &t->remote);

	o->mss = (uint16_t)(t->user_mss ? tcp_min(t->user_mss, mss) : mss);
	o->has_wscale = t->opt & TCB_OPT_WSCALE;
	o->wscale = t->rcv_wscale;
	o->sack_ok = t->opt & TCB_OPT_SACK;
	if (t->state == TCP_SYN_SENT)
		fastopen_syn_out(s, t, o, now);
	else if (t->opt & TCB_OPT_FASTOPEN)
		fastopen_synack_out(s, t, o);
}

/* Options that not every segment has. SACK blocks go into bare ACKs only. */
static uint32_t put_options(struct stack *s, struct tcb *t, uint8_t *p, bool syn, uint8_t flags,
			    struct mtime now)
{
	struct tcp_options o = {.has_ts = t->opt & TCB_OPT_TS};

	if (o.has_ts) {
		o.ts_val = tcp_ts_now(s, now) + t->ts_offset;
		o.ts_ecr = flags & TH_ACK ? t->ts_recent : 0;
	}
	if (syn)
		syn_options(s, t, &o, now);
	else
		tcp_sack_fill(s, t, &o);
	return tcp_put_options(p, &o, syn);
}

/* Of a SYN-ACK that is sent again, behind data even, it is no less than what was said since. */
static uint32_t syn_window(const struct tcb *t, uint8_t flags)
{
	uint32_t wnd = tcp_syn_window(t->rcvbuf), said = t->rcv_adv - t->rcv_nxt;

	return flags & TH_ACK && said > wnd ? tcp_min(said, 65535) : wnd;
}

/* Writes header and options at @h, returns their length. */
static uint32_t put_header(struct stack *s, struct tcb *t, uint8_t *h, uint32_t seq, uint32_t len,
			   uint8_t flags, struct mtime now)
{
	bool syn = flags & TH_SYN;
	uint32_t hlen = TCP_HLEN, wnd;
	uint16_t up = 0;

	if (syn || (!len && flags == TH_ACK && tcp_sack_pending(t)))
		hlen += put_options(s, t, h + TCP_HLEN, syn, flags, now);
	else if (t->opt & TCB_OPT_TS)
		hlen += tcp_put_ts(h + TCP_HLEN, tcp_ts_now(s, now) + t->ts_offset,
				   flags & TH_ACK ? t->ts_recent : 0);
	wnd = syn ? syn_window(t, flags) : tcp_select_window(s, t) >> t->rcv_wscale;
	if (t->flags & TCB_F_URG_SND && !(flags & (TH_SYN | TH_RST)))
		up = tcp_urg_pointer(t, seq);
	if (up)
		flags |= TH_URG;

	memcpy(h, &t->local_port, 2);
	memcpy(h + 2, &t->remote_port, 2);
	put_be32(h + 4, seq);
	put_be32(h + 8, flags & TH_ACK ? t->rcv_nxt : 0);
	put_be32(h + 12, hlen / 4 << 28 | (uint32_t)flags << 16 | tcp_min(wnd, 65535));
	put_be32(h + 16, up);
	return hlen;
}

/* The header in front of @len bytes of TCP, whose checksum it fills in, too. */
static void put_ip(struct stack *s, const struct tcb *t, struct pkt *p, bool v4, uint8_t tos,
		   uint32_t len)
{
	uint8_t *h = p->frag[0].p + p->l3_off;

	if (v4)
		ip4_put_header(h, ip_addr_to_v4(&t->local), ip_addr_to_v4(&t->remote), PROTO_TCP,
			       t->ttl, tos, IP4_HLEN + len, 0, IP4_DF);
	else
		ip_header(s, p,
			  &(struct ip_out){.src = t->local,
					   .dst = t->remote,
					   .proto = PROTO_TCP,
					   .ttl = t->ttl,
					   .tos = tos,
					   .df = true},
			  len);
	l4_checksum_pseudo(s, p,
			   v4 ? csum_pseudo4(ip_addr_to_v4(&t->local), ip_addr_to_v4(&t->remote),
					     PROTO_TCP, len)
			      : csum_pseudo(&t->local, &t->remote, PROTO_TCP, len),
			   PROTO_TCP, len, 16);
}

/* A segment of @len bytes from @seq on; more than the MSS: for the device to cut. */
static struct pkt *build(struct stack *s, struct tcb *t, uint32_t seq, uint32_t len, uint8_t flags,
			 struct mtime now)
{
	bool v4 = ip_addr_is_v4(&t->remote);
	struct pkt *p = ip_pkt_alloc(s, !v4);
	uint32_t text = seq + !!(flags & TH_SYN), hlen, got;
	uint8_t tos = t->tos & (uint8_t)~ECN_MASK;

	if (!p)
		return NULL;
	if (t->opt & TCB_OPT_ECN || cc_get(t->cc)->needs_ecn)
		tos |= tcp_ecn_out(t, seq, len, &flags);
	hlen = put_header(s, t, ip_payload(p), seq, len, flags, now);
	p->hdr_len = (uint16_t)(p->l4_off + hlen);
	p->frag[0].len = p->hdr_len;
	if (len > tcp_eff_mss(t) || p->hdr_len + len > p->room) {
		p->nfrags += txq_frags(s, t, text, len, &p->frag[1], PKT_MAX_FRAGS - 1, &got);
		tcp_assert(got == len);
		p->gso_size = len > tcp_eff_mss(t) ? (uint16_t)tcp_eff_mss(t) : 0;
	} else {
		txq_copy(s, t, text, p->frag[0].p + p->hdr_len, len);
		p->frag[0].len += len;
	}
	p->len = p->hdr_len + len;
	p->netif = t->netif;
	p->queue = t->queue;
	put_ip(s, t, p, v4, tos, hlen + len);
	MIB(s, Ip_OutRequests);
	MIB_ADD(s, IpExt_OutOctets, p->len - ETH_HLEN_);
	return p;
}

/* The slow way to the next hop: routes may have changed, the neighbour may be unknown. */
static uint32_t next_hop(struct stack *s, struct tcb *t, struct mtime now)
{
	struct route_result rr;

	/* An application knows no routes: it has what came with the connection, or its own link. */
	if (s->cfg.role == STACK_APP)
		return neigh_get(s, t->netif, &t->remote, now);
	if (route_lookup(s, &t->remote, &t->local, &rr)) {
		MIB(s, Ip_OutNoRoutes);
		return SHM_NIL;
	}
	t->netif = (uint8_t)rr.netif;
	return neigh_get(s, rr.netif, &rr.nexthop, now);
}

/* Is the next hop's address known? A packet whose bytes stand in chunks may not wait for it. */
static bool link_known(const struct stack *s, const struct tcb *t)
{
	return t->neigh < s->a.n_neighs && s->a.neighs[t->neigh].generation == t->neigh_gen &&
	       nud_usable(neigh_state_of(load_acquire(&s->a.neighs[t->neigh].mac_state)));
}

static bool next_hop_take(struct stack *s, struct tcb *t, struct mtime now)
{
	uint32_t i = next_hop(s, t, now);

	if (i == SHM_NIL)
		return false;
	t->neigh = i;
	t->neigh_gen = s->a.neighs[i].generation;
	return true;
}

bool tcp_link_ready(struct stack *s, struct tcb *t, struct mtime now)
{
	return link_known(s, t) || (next_hop_take(s, t, now) && link_known(s, t));
}

bool tcp_way_again(struct stack *s, struct tcb *t, struct mtime now)
{
	uint32_t neigh = t->neigh, gen = t->neigh_gen;
	uint8_t netif = t->netif;

	t->neigh = SHM_NIL;
	if (!next_hop_take(s, t, now))
		return false;
	return t->netif != netif ||
	       (neigh != SHM_NIL && (t->neigh != neigh || t->neigh_gen != gen));
}

/* An application changes nothing of a neighbour: where that is known, this is all there is to do.
 */
static bool link_header(const struct stack *s, const struct tcb *t, uint8_t *eth,
			uint16_t ethertype)
{
	const struct neigh *n;
	uint8_t mac[6];
	uint64_t word;

	if (t->neigh >= s->a.n_neighs)
		return false;
	n = &s->a.neighs[t->neigh];
	if (n->generation != t->neigh_gen || n->netif != t->netif)
		return false;
	word = load_acquire(&n->mac_state);
	if (!nud_usable(neigh_state_of(word)))
		return false;
	neigh_mac_of(word, mac);
	memcpy(eth, mac, 6);
	memcpy(eth + 6, s->netifs[t->netif].mac, 6);
	put_be16(eth + 12, ethertype);
	return true;
}

/* Completes the packet; NULL: it waits for its neighbour, or was lost. Sent it is in any case. */
static struct pkt *link_output(struct stack *s, struct tcb *t, struct pkt *p, struct mtime now)
{
	uint16_t ethertype = ip_addr_is_v4(&t->remote) ? ETHERTYPE_IP4 : ETHERTYPE_IP6;
	bool ready;

	if (s->cfg.role == STACK_APP && link_header(s, t, p->frag[0].p, ethertype))
		return p;
	ready = tcp_link_ready(s, t, now);
	p->netif = t->netif;
	if (ready && neigh_fill(s, t->neigh, t->netif, p->frag[0].p, ethertype, now))
		return p;
	if (t->neigh < s->a.n_neighs && s->a.neighs[t->neigh].generation == t->neigh_gen &&
	    p->nfrags == 1) {
		neigh_send(s, t->neigh, p, now);
	} else {
		MIB(s, Td_NeighDrops);
		pkt_free(s->pool, p);
	}
	return NULL;
}

/* ---- what was sent ---- */

static void ack_sent(struct stack *s, struct tcb *t, uint32_t len)
{
	t->last_ack_sent = t->rcv_nxt;
	if (!len && t->ack_owed) {
		t->ack_owed--;
		return; /* ACK_NOW stays for the next one */
	}
	if (len && (t->ack_owed || tcp_sack_pending(t)))
		return; /* data does not count as a duplicate ACK, and carries no SACK blocks */
	if (t->flags & TCB_F_ACK_DELAYED && !(t->flags & TCB_F_ACK_NOW) && !len) {
		MIB(s, TcpExt_DelayedACKs);
		tcp_delack_missed(t);
	}
	t->flags &= ~(TCB_F_ACK_NOW | TCB_F_ACK_DELAYED);
	t->t_delack = 0;
}

static void count_sent(struct stack *s, struct tcb *t, uint32_t len, bool again)
{
	uint32_t mss = tcp_eff_mss(t), n = len > mss ? (len + mss - 1) / mss : 1;

	t->segs_out += n;
	t->data_segs_out += len ? n : 0;
	s->a.mib[again ? MIB_Tcp_RetransSegs : MIB_Tcp_OutSegs] += n;
	if (again) {
		t->total_retrans += n;
		if (len)
			tcb_rare(s, t)->bytes_retrans += len;
	} else if (len) {
		s->a.mib[MIB_TcpExt_TCPOrigDataSent] += n;
	}
}

/* A data or FIN segment is about to be sent from @seq on; it may be one that was sent before. */
static void data_sent(struct stack *s, struct tcb *t, uint32_t seq, uint32_t len, bool fin,
		      struct mtime now)
{
	uint32_t end = seq + len + fin, mss = tcp_eff_mss(t);
	bool again = seq_lt(seq, t->snd_max);

	count_sent(s, t, len, again);
	if (fin && !len && !again) /* a FIN alone counts, too, as in Linux */
		MIB(s, TcpExt_TCPOrigDataSent);
	if (len && !again)
		t->flags &= ~TCB_F_CWR;
	if (again) {
		t->flags &= ~TCB_F_RTT_VALID; /* Karn */
	} else if (!(t->flags & TCB_F_RTT_VALID)) {
		struct tcb_work *w = tcb_work_get(s, t);

		t->flags |= TCB_F_RTT_VALID;
		w->rtt_seq = end;
		w->rtt_time = us_stamp(now);
	}
	if (fin)
		t->flags |= TCB_F_FIN_SENT;
	if (len < mss ? len : len % mss)
		t->snd_sml = end;
	/* An answer to what has just come: ACKs can ride on such. */
	if (!again && !(t->flags & TCB_F_PINGPONG) && ms_ago(t->last_rcv, now) < tcp_delack_ms(t))
		t->flags |= TCB_F_PINGPONG;
	if (t->snd_una == t->snd_max && cc_get(t->cc)->start)
		cc_of(s, t)->start(t, now);
	if (t->flags & TCB_F_PACED || tcp_paced(t))
		tcp_pace_sent(t, len, now);
	tcp_timer_data_sent(t, now);
	if (t->opt & TCB_OPT_SACK)
		tcp_rack_sent(s, t, seq, end, again, now);
	t->snd_nxt = seq_max(t->snd_nxt, end);
	t->snd_max = seq_max(t->snd_max, end);
	if (!again)
		tcp_rack_arm_probe(s, t, now);
}

/* ---- actions ---- */

static struct pkt *send_data(struct stack *s, struct tcb *t, uint32_t seq, uint32_t len, bool fin,
			     struct mtime now)
{
	uint8_t flags = TH_ACK;
	struct pkt *p;

	if (len > tcp_eff_mss(t) && !tcp_link_ready(s, t, now)) {
		len = tcp_eff_mss(t);
		fin = false;
	}
	if (fin)
		flags |= TH_FIN;
	if (len && seq + len == tcp_queue_end(t))
		flags |= TH_PSH;
	p = build(s, t, seq, len, flags, now);
	if (!p)
		return NULL;
	data_sent(s, t, seq, len, fin, now);
	ack_sent(s, t, len);
	return link_output(s, t, p, now);
}

/* One segment from snd_una on, whatever the windows are: after a timeout, or three duplicates. */
static struct pkt *retransmit(struct stack *s, struct tcb *t, struct mtime now)
{
	uint32_t sent, len;
	bool fin;

	if (!(t->flags & TCB_F_RTX)) {
		tcp_rto_expired(s, t, now);
		MIB(s, TcpExt_TCPSlowStartRetrans);
	} else {
		MIB(s, TcpExt_TCPFastRetrans);
		t->t_rtx = mtime_add_us(now, tcp_rto_us(t)).ns;
	}
	t->flags &= ~TCB_F_RTX;
	sent = tcp_min(t->tx_bytes, t->snd_max - t->snd_una);
	len = tcp_min(sent, tcp_eff_mss(t));
	fin = t->flags & TCB_F_FIN_SENT && len == t->tx_bytes;
	return send_data(s, t, t->snd_una, len, fin, now);
}

/* What the scoreboard calls lost, one segment of it (tcp_next() has chosen). */
static struct pkt *resend(struct stack *s, struct tcb *t, const struct tcp_next *n,
			  struct mtime now)
{
	if (t->cc_state == CC_LOSS)
		MIB(s, TcpExt_TCPSlowStartRetrans);
	else
		MIB(s, TcpExt_TCPFastRetrans);
	if (n->seq == t->snd_una)
		t->t_rtx = mtime_add_us(now, tcp_rto_us(t)).ns;
	return send_data(s, t, n->seq, n->len, n->fin, now);
}

/*
 * RFC 8985 §7.3: new data where there is some, else the last segment once more, so that an ACK
 * comes and tells what is missing. The retransmission timer starts anew.
 */
static struct pkt *loss_probe(struct stack *s, struct tcb *t, struct mtime now)
{
	uint32_t end = tcp_queue_end(t), flight = t->snd_max - t->snd_una, mss = tcp_eff_mss(t);
	uint32_t room = t->snd_wnd > flight ? t->snd_wnd - flight : 0, seq, len;

	MIB(s, TcpExt_TCPLossProbes);
	tcp_board(s, t)->t_pto = 0;
	t->t_rtx = mtime_add_us(now, tcp_rto_us(t)).ns;
	t->flags = (t->flags & ~TCB_F_TLP_RTX) | TCB_F_TLP;
	len = seq_lt(t->snd_nxt, end) ? tcp_min(tcp_min(end - t->snd_nxt, room), mss) : 0;
	if (len && !(t->sockopt & TCB_CORK) && !(t->flags & TCB_F_MORE)) {
		tcb_work_get(s, t)->tlp_end = t->snd_max + len;
		return send_data(s, t, t->snd_nxt, len, false, now);
	}
	t->flags |= TCB_F_TLP_RTX;
	tcb_work_get(s, t)->tlp_end = t->snd_max;
	end = seq_min(end, t->snd_max);
	seq = end - tcp_min(end - t->snd_una, mss);
	return send_data(s, t, seq, end - seq, t->flags & TCB_F_FIN_SENT, now);
}

static struct pkt *send_syn(struct stack *s, struct tcb *t, struct mtime now)
{
	uint8_t flags = t->state == TCP_SYN_SENT ? TH_SYN : TH_SYN | TH_ACK;
	bool again = t->t_rtx && t->t_rtx <= now.ns;
	struct tcp_options unused;
	uint32_t len = 0;
	struct pkt *p;

	if (again) {
		t->syn_retries++;
		t->backoff++;
		MIB(s, TcpExt_TCPTimeouts);
		MIB(s, TcpExt_TCPSynRetrans);
		t->neigh = SHM_NIL;
		fastopen_syn_lost(s, t, now);
	} else if (!t->rtx_first) {
		t->rtx_first = ms_stamp(now); /* TCP_USER_TIMEOUT counts from here */
	}
	if (t->opt & TCB_OPT_FASTOPEN)
		len = fastopen_syn_out(s, t, &unused, now);
	t->snd_nxt = t->iss + 1;
	/* Text that went with the first SYN may still be acknowledged. */
	t->snd_max = seq_max(t->snd_max, t->snd_nxt + len);
	flags |= tcp_ecn_syn(s, t, again);
	p = build(s, t, t->iss, len, flags, now);
	if (!p)
		return NULL;
	count_sent(s, t, 0, again);
	t->flags &= ~(TCB_F_RTT_VALID | TCB_F_ACK_NOW);
	if (!again) {
		t->flags |= TCB_F_RTT_VALID;
		tcb_work_get(s, t)->rtt_time = us_stamp(now);
	}
	t->t_rtx = mtime_add_us(now, tcp_rto_us(t)).ns;
	if (again)
		t->t_rtx = tcp_timer_clamp_user(t, t->t_rtx, now);
	return link_output(s, t, p, now);
}

/* A connection by fast open: its SYN-ACK, for the first time or again. */
static struct pkt *send_synack(struct stack *s, struct tcb *t, struct mtime now)
{
	bool again = t->rtx_first;
	uint8_t flags = TH_SYN | TH_ACK | tcp_ecn_syn(s, t, again);
	struct pkt *p = build(s, t, t->iss, 0, flags, now);

	if (!p)
		return NULL;
	t->flags &= ~TCB_F_RTT_VALID;
	if (again) {
		t->syn_retries++;
		t->backoff++;
		MIB(s, TcpExt_TCPTimeouts);
		MIB(s, TcpExt_TCPSynRetrans);
	} else {
		t->rtx_first = ms_stamp(now);
		t->flags |= TCB_F_RTT_VALID;
		tcb_work_get(s, t)->rtt_seq = t->iss + 1;
		tcb_work_get(s, t)->rtt_time = us_stamp(now);
	}
	t->rcv_adv = seq_max(t->rcv_adv, t->rcv_nxt + tcp_syn_window(t->rcvbuf));
	count_sent(s, t, 0, again);
	ack_sent(s, t, 0);
	t->t_rtx = tcp_timer_clamp_user(t, mtime_add_us(now, tcp_rto_us(t)).ns, now);
	return link_output(s, t, p, now);
}

/* The highest sequence number that the peer accepts without text (its window may have shrunk). */
static uint32_t bare_seq(const struct tcb *t)
{
	if (!tcp_synchronised(t)) /* no window is known yet that it could have shrunk from */
		return t->snd_max;
	return seq_min(t->snd_max, t->snd_una + t->snd_wnd);
}

/* A segment without text: pure ACK, probe, keepalive, RST. */
static struct pkt *send_empty(struct stack *s, struct tcb *t, uint32_t seq, uint8_t flags,
			      struct mtime now)
{
	struct pkt *p = build(s, t, seq, 0, flags, now);

	if (!p)
		return NULL;
	t->segs_out++;
	MIB(s, Tcp_OutSegs);
	if (flags & TH_RST)
		MIB(s, Tcp_OutRsts);
	else if (seq == bare_seq(t)) /* the ACK of a probe, whose number is old, does not count */
		ack_sent(s, t, 0);
	return link_output(s, t, p, now);
}

/*
 * The window has been shut, or too small to be worth it, for as long as the timer says: send
 * what fits (RFC 9293 §3.8.6.2.1's override timeout), or ask with an old sequence number, which the
 * peer must answer with an ACK that shows its window (§3.8.6.1).
 */
static struct pkt *probe(struct stack *s, struct tcb *t, struct mtime now)
{
	uint32_t len = tcp_min(tcp_min(t->tx_bytes, t->snd_wnd), tcp_eff_mss(t));
	bool fin = t->flags & TCB_F_FIN_QUEUED && len == t->tx_bytes && t->snd_wnd > len;

	if (len || fin) {
		t->flags &= ~TCB_F_MORE;
		return send_data(s, t, t->snd_nxt, len, fin, now);
	}
	MIB(s, TcpExt_TCPWinProbe);
	t->probes += t->probes < UINT8_MAX;
	t->backoff += tcp_rto_us(t) < TCP_RTO_MAX_US;
	t->t_rtx = tcp_timer_clamp_user(t, mtime_add_us(now, tcp_rto_us(t)).ns, now);
	return send_empty(s, t, t->snd_una - 1, TH_ACK, now);
}

static struct pkt *keepalive(struct stack *s, struct tcb *t, struct mtime now)
{
	MIB(s, TcpExt_TCPKeepAlive);
	t->probes++;
	t->t_keep = ms_stamp(mtime_add_ms(now, t->keep_intvl * 1000ull));
	return send_empty(s, t, t->snd_una - 1, TH_ACK, now);
}

/* Waiting is over. A peer that was only silent is told (keepalive), as Linux does. */
static struct pkt *give_up(struct stack *s, struct tcb *t, struct mtime now)
{
	bool silent = t->state == TCP_TIME_WAIT || t->flags & TCB_F_CLOSED;
	bool idle = tcp_synchronised(t) && !silent && t->snd_una == t->snd_max && !t->tx_bytes;
	bool memory = tcp_mem_orphan_over(s, t);
	struct pkt *p = NULL;

	if (t->state == TCP_FIN_WAIT_2 && silent && !memory && tcp_timer_fin_wait_record(s, t)) {
		timewait_enter(s, t, now);
		return NULL;
	}
	if (idle || memory)
		p = send_empty(s, t, bare_seq(t), TH_RST | TH_ACK, now);
	if (memory)
		MIB(s, TcpExt_TCPAbortOnMemory);
	else if (tcp_synchronised(t) && t->state != TCP_TIME_WAIT && t->state != TCP_FIN_WAIT_2)
		MIB(s, TcpExt_TCPAbortOnTimeout);
	tcp_conn_drop(s, t, t->state == TCP_TIME_WAIT ? 0 : E_TIMEDOUT, now);
	return p;
}

static struct pkt *send_reset(struct stack *s, struct tcb *t, struct mtime now)
{
	struct pkt *p = send_empty(s, t, bare_seq(t), TH_RST | TH_ACK, now);

	tcp_conn_free(s, t, now);
	return p;
}

static struct pkt *act(struct stack *s, struct tcb *t, const struct tcp_next *n, struct mtime now)
{
	switch (n->act) {
	case TCP_ACT_DATA:
		return send_data(s, t, t->snd_nxt, n->len, n->fin, now);
	case TCP_ACT_RETRANS:
		return retransmit(s, t, now);
	case TCP_ACT_RESEND:
		return resend(s, t, n, now);
	case TCP_ACT_LOSS_PROBE:
		return loss_probe(s, t, now);
	case TCP_ACT_REORDER:
		tcp_rack_timer(s, t, now);
		break;
	case TCP_ACT_ACK:
		return send_empty(s, t, bare_seq(t), TH_ACK, now);
	case TCP_ACT_SYN:
		return tcp_synchronised(t) ? send_synack(s, t, now) : send_syn(s, t, now);
	case TCP_ACT_RST:
		return send_reset(s, t, now);
	case TCP_ACT_PROBE:
		return probe(s, t, now);
	case TCP_ACT_KEEPALIVE:
		return keepalive(s, t, now);
	case TCP_ACT_TIMEOUT:
		return give_up(s, t, now);
	case TCP_ACT_NONE:
		break;
	}
	return NULL;
}

/* RFC 5681 §4.1: what cwnd knew is too old after an RTO without anything sent. */
static void idle_restart(struct stack *s, struct tcb *t, struct mtime now)
{
	if (s->cfg.limits.tcp_slow_start_after_idle && t->snd_una == t->snd_max && t->tx_bytes &&
	    t->last_snd && ms_ago(t->last_snd, now) * 1000ull > t->rto)
		cc_of(s, t)->idle(t, now);
}

struct pkt *tcp_output(struct stack *s, struct tcb *t, struct mtime now)
{
	uint32_t generation = t->generation;

	while (tcb_alive(t, generation)) {
		struct tcp_next n;
		struct pkt *p;

		idle_restart(s, t, now);
		n = tcp_next(s, t, now);
		if (n.cwnd_limited)
			t->flags |= TCB_F_CWND_LIMITED;
		else if (n.act == TCP_ACT_NONE)
			t->flags &= ~TCB_F_CWND_LIMITED;
		if (n.act == TCP_ACT_NONE) {
			tcp_sleep(s, t, n, now);
			return NULL;
		}
		if (!s->pool->free) { /* on the list again, for when there are packets */
			tcp_want_output(s, t);
			return NULL;
		}
		p = act(s, t, &n, now);
		if (p)
			return p;
	}
	return NULL;
}

bool tcp_output_done(struct stack *s, struct tcb *t, struct mtime now)
{
	const struct board *b = tcp_board(s, t);
	struct tcp_next n;

	if (tcp_unsent(t) || t->flags & (TCB_F_ACK_NOW | TCB_F_RTX | TCB_F_RST_SEND) ||
	    t->state != TCP_ESTABLISHED || (b && b->lost))
		return false;
	if (tcp_sleeping(s, t, now)) {
		t->flags &= ~TCB_F_CWND_LIMITED;
		return true;
	}
	n = tcp_next(s, t, now);
	if (n.act != TCP_ACT_NONE)
		return false;
	t->flags &= ~TCB_F_CWND_LIMITED;
	tcp_sleep(s, t, n, now);
	return true;
}

/* ---- without a connection ---- */

void tcp_send_bare(struct stack *s, const struct tcp_addr_pair *a, uint32_t seq, uint32_t ack,
		   uint32_t flags, uint16_t wnd, const struct tcp_options *o, uint16_t queue,
		   struct mtime now)
{
	struct ip_out io = {.src = a->local,
			    .dst = a->remote,
			    .proto = PROTO_TCP,
			    .tos = flags & TH_ECT ? ECN_ECT0 : 0,
			    .df = true,
			    .queue = queue};
	struct pkt *p = ip_pkt_alloc(s, !ip_addr_is_v4(&a->remote));
	uint32_t hlen;
	uint8_t *h;

	if (!p)
		return;
	h = ip_payload(p);
	hlen = TCP_HLEN + tcp_put_options(h + TCP_HLEN, o, flags & TH_SYN);
	memcpy(h, &a->local_port, 2);
	memcpy(h + 2, &a->remote_port, 2);
	put_be32(h + 4, seq);
	put_be32(h + 8, ack);
	h[12] = (uint8_t)(hlen / 4 << 4);
	h[13] = (uint8_t)flags;
	put_be16(h + 14, wnd);
	put_be32(h + 16, 0);
	p->frag[0].len = p->len = p->l4_off + hlen;
	l4_checksum(s, p, &a->local, &a->remote, PROTO_TCP, hlen, 16);
	MIB(s, Tcp_OutSegs);
	ip_send(s, p, hlen, &io, now);
}

#define RST_PER_S 10000u
#define RST_BURST 1000u

void tcp_send_reset(struct stack *s, const struct tcp_seg *g, struct mtime now)
{
	struct tcp_addr_pair a = tcp_seg_pair(g);
	struct tcp_options none = {0};

	/* RFC 9293 §3.5.2, group 1; a RST is never answered */
	if (g->flags & TH_RST || g->ip->bcast || s->cfg.role != STACK_FULL)
		return;
	if (!token_take(&s->rst_tokens, RST_PER_S, RST_BURST, now))
		return;
	MIB(s, Tcp_OutRsts);
	if (g->flags & TH_ACK)
		tcp_send_bare(s, &a, g->ack, 0, TH_RST, 0, &none, g->p->queue, now);
	else
		tcp_send_bare(s, &a, 0, g->seq + tcp_seg_space(g), TH_RST | TH_ACK, 0, &none,
			      g->p->queue, now);
}
