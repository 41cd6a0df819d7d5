/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Hostile TCP segments, for the floods test and its own namespaces: it refuses all
 * but a veth in a namespace that a test made, and ends after --count segments or --seconds, both
 *bounded.
 *
 *	flood syn|ack-random --if IF --mac MAC --to ADDR:PORT [--count N] [--seconds S] [--rate N]
 *[--seed N] flood rst|ack|fin|syn-known --if IF --mac MAC --to ADDR:PORT --from ADDR:PORT [...]
 *
 * syn: SYNs from random ports and addresses of 198.18.0.0/15 (RFC 2544: nobody's); ack-random: ACKs
 *of nothing from there. The others are spoofed segments of the one connection between --from and
 *--to, which this program watches on the interface: it knows the true numbers, and so never sends
 *them. In turn:
 *
 *	rst        outside the window; inside, but not the next expected number (RFC 5961 §3.2)
 *	syn-known  inside and outside the window (RFC 5961 §4.2)
 *	ack, fin   right number, acknowledging what was never sent or long ago (RFC 5961 §5.2);
 *outside the window, acknowledging rightly. An ack carries a byte of data.
 *
 * Prints {"sent":N,...} at its end.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/if_ether.h>
#include <linux/virtio_net.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include "common/csum.h"
#include "tools/net.h"
#include "tools/packet.h"
#include "user/io/clock.h"

#define COUNT_MAX 100000000
#define SECONDS_MAX 60
#define BATCH 64
#define FAR (1u << 30) /* beyond any window, on either side */
#define NEAR_MIN 1000u /* inside the least window that a test uses, beyond what moves meanwhile */
#define NEAR_SPAN 20000u

enum kind { SYN, RST, ACK, FIN, SYN_KNOWN, ACK_RANDOM };
static const char *const kinds[] = {"syn", "rst", "ack", "fin", "syn-known", "ack-random"};

/* A SYN with the options that all send, so that it costs what a real one costs. */
static const uint8_t syn_options[20] = {2, 4, 5, 180, 4, 2, 8, 10, 0, 1,
					0, 0, 0, 0,   0, 0, 1, 3,  3, 7};

struct segment {
	struct virtio_net_hdr vh; /* zeros: checksums are whole */
	struct ethhdr eth;
	struct iphdr ip;
	struct tcphdr tcp;
	uint8_t tail[sizeof(syn_options)];
} __attribute__((packed));

static struct {
	enum kind kind;
	const char *ifname;
	struct sockaddr_in from, to;
	uint8_t mac[ETH_ALEN], own_mac[ETH_ALEN];
	uint64_t count, rate; /* rate 0: as fast as it goes */
	uint32_t seconds;
} opt = {.count = 1000000, .seconds = 5};

/* From random sources, with random numbers: there is no connection to watch. */
static bool from_anybody(void)
{
	return opt.kind == SYN || opt.kind == ACK_RANDOM;
}

static volatile sig_atomic_t told_to_stop; /* by SIGTERM: that is a good end, too */

static void on_term(int sig)
{
	(void)sig;
	told_to_stop = 1;
}

static struct rng rng = {1};
/* What the connection's own segments said last: the next number of --from, and what it has
 * acknowledged. */
static uint32_t next_seq, last_ack;
static bool known;
/* And its timestamps, which our segments carry too: no other check shall stop them (RFC 7323 §5).
 */
#define TS_LEN 12u
static uint8_t timestamps[TS_LEN];
static uint32_t ts_len;

static void die(const char *what)
{
	fprintf(stderr, "flood: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- watching the connection ---- */

static void look(const uint8_t *p, size_t n)
{
	struct segment s;
	uint32_t ip_len, hdr;

	if (n < offsetof(struct segment, tail))
		return;
	memcpy(&s, p, offsetof(struct segment, tail));
	hdr = s.ip.ihl * 4u + s.tcp.doff * 4u;
	ip_len = ntohs(s.ip.tot_len);
	if (s.eth.h_proto != htons(ETH_P_IP) || s.ip.ihl != 5 || s.ip.protocol != IPPROTO_TCP ||
	    s.ip.saddr != opt.from.sin_addr.s_addr || s.ip.daddr != opt.to.sin_addr.s_addr ||
	    s.tcp.source != opt.from.sin_port || s.tcp.dest != opt.to.sin_port || !s.tcp.ack ||
	    ip_len < hdr)
		return;
	next_seq = ntohl(s.tcp.seq) + ip_len - hdr;
	last_ack = ntohl(s.tcp.ack_seq);
	known = true;
	if (s.tcp.doff == 8 && n >= offsetof(struct segment, tail) + TS_LEN) {
		ts_len = TS_LEN;
		memcpy(timestamps, p + offsetof(struct segment, tail), TS_LEN);
	}
}

/* What it sent since; with @wait_ms until there is something. Our own segments are not shown again.
 */
static void watch(int fd, int wait_ms)
{
	static uint8_t buf[sizeof(struct virtio_net_hdr) + PACKET_FRAME_MAX];
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	ssize_t n;

	if (wait_ms && poll(&pfd, 1, wait_ms) < 0)
		die("poll");
	while ((n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
		look(buf, (size_t)n);
}

/* ---- making segments ---- */

static uint32_t far_from(uint32_t seq)
{
	return seq + FAR + (uint32_t)(rng_next(&rng) % (UINT32_MAX - 2 * FAR));
}

static uint32_t near_after(uint32_t seq)
{
	return seq + NEAR_MIN + (uint32_t)(rng_next(&rng) % NEAR_SPAN);
}

static void set_numbers(struct segment *s, bool odd)
{
	uint32_t seq = next_seq, ack = last_ack;

	switch (opt.kind) {
	case SYN:
		seq = (uint32_t)rng_next(&rng);
		ack = 0;
		break;
	case ACK_RANDOM:
		seq = (uint32_t)rng_next(&rng);
		ack = (uint32_t)rng_next(&rng);
		break;
	case RST:
	case SYN_KNOWN:
		seq = odd ? near_after(seq) : far_from(seq);
		break;
	case ACK:
	case FIN:
		if (odd)
			ack = far_from(ack);
		else
			seq = far_from(seq);
		break;
	}
	s->tcp.seq = htonl(seq);
	s->tcp.ack_seq = htonl(ack);
}

static uint32_t make(struct segment *s, uint64_t i)
{
	struct ip_addr src, dst;
	uint32_t opt_len = opt.kind == SYN ? (uint32_t)sizeof(syn_options) : ts_len;
	uint32_t tail = opt_len + (opt.kind == ACK);
	uint32_t tcp_len = (uint32_t)sizeof(s->tcp) + tail;
	uint64_t r = rng_next(&rng);

	memset(s, 0, sizeof(*s));
	memcpy(s->eth.h_dest, opt.mac, ETH_ALEN);
	memcpy(s->eth.h_source, opt.own_mac, ETH_ALEN);
	s->eth.h_proto = htons(ETH_P_IP);
	s->ip = (struct iphdr){.version = 4,
			       .ihl = 5,
			       .ttl = 64,
			       .protocol = IPPROTO_TCP,
			       .tot_len = htons((uint16_t)(sizeof(s->ip) + tcp_len)),
			       .saddr = opt.from.sin_addr.s_addr,
			       .daddr = opt.to.sin_addr.s_addr};
	s->tcp.source = opt.from.sin_port;
	if (from_anybody()) {
		s->ip.saddr = htonl(198u << 24 | 18u << 16 | (uint32_t)(r & 0x1ffff));
		s->tcp.source = htons((uint16_t)(1024 + (r >> 32) % 64000));
	}
	if (opt.kind == SYN) {
		memcpy(s->tail, syn_options, sizeof(syn_options));
	} else {
		memcpy(s->tail, timestamps, ts_len);
	}
	s->tcp.dest = opt.to.sin_port;
	s->tcp.doff = (uint8_t)((sizeof(s->tcp) + opt_len) / 4) & 0xf;
	s->tcp.window = htons(512);
	s->tcp.syn = opt.kind == SYN || opt.kind == SYN_KNOWN;
	s->tcp.rst = opt.kind == RST;
	s->tcp.fin = opt.kind == FIN;
	s->tcp.ack = opt.kind == ACK || opt.kind == FIN || opt.kind == ACK_RANDOM;
	set_numbers(s, i & 1);
	src = ip_addr_v4(s->ip.saddr);
	dst = ip_addr_v4(s->ip.daddr);
	s->ip.check = csum_fold(csum_partial(&s->ip, sizeof(s->ip), 0));
	s->tcp.check = csum_fold(
		csum_partial(&s->tcp, tcp_len, csum_pseudo(&src, &dst, IPPROTO_TCP, tcp_len)));
	return (uint32_t)offsetof(struct segment, tail) + tail;
}

/* ---- sending ---- */

/* Sends @n as one batch; those that find no room are gone. */
static uint32_t send_batch(int fd, uint64_t first, uint32_t n)
{
	static struct segment seg[BATCH];
	struct mmsghdr msg[BATCH] = {0};
	struct iovec iov[BATCH];
	int sent;

	for (uint32_t i = 0; i < n; i++) {
		iov[i] = (struct iovec){&seg[i], make(&seg[i], first + i)};
		msg[i].msg_hdr.msg_iov = &iov[i];
		msg[i].msg_hdr.msg_iovlen = 1;
	}
	sent = sendmmsg(fd, msg, n, 0);
	return sent < 0 ? 0 : (uint32_t)sent;
}

static void flood(int fd, int eyes)
{
	struct mtime start = clock_now(), now = start;
	struct mtime end = mtime_add_ms(start, opt.seconds * 1000ull);
	uint64_t tried = 0, sent = 0;

	while (!from_anybody() && !known && mtime_before(clock_now(), end))
		watch(eyes, 100);
	if (!from_anybody() && !known) {
		fprintf(stderr, "flood: the connection sent nothing that could be seen\n");
		exit(1);
	}
	for (; tried < opt.count && mtime_before(now, end) && !told_to_stop; now = clock_now()) {
		uint64_t due =
			opt.rate ? mtime_diff_ns(now, start) * opt.rate / NS_PER_S + 1 : opt.count;
		uint32_t n = due - tried < BATCH ? (uint32_t)(due - tried) : BATCH;

		if (due > tried) {
			if (n > opt.count - tried)
				n = (uint32_t)(opt.count - tried);
			sent += send_batch(fd, tried, n);
			tried += n;
		} else {
			poll(NULL, 0, 1);
		}
		if (!from_anybody())
			watch(eyes, 0);
	}
	printf("{\"kind\":\"%s\",\"sent\":%llu,\"seconds\":%.3f}\n", kinds[opt.kind],
	       (unsigned long long)sent, (double)mtime_diff_ns(now, start) / 1e9);
}

/* ---- options ---- */

static void usage(FILE *f)
{
	fprintf(f, "usage: flood syn|ack-random|rst|ack|fin|syn-known --if IF --mac MAC --to "
		   "ADDR:PORT\n"
		   "       [--from ADDR:PORT] [--count N] [--seconds S] [--rate N] [--seed N]\n");
}

static struct sockaddr_in endpoint(const char *option, const char *text)
{
	struct sockaddr_in sa = {.sin_family = AF_INET};
	const char *colon = strchr(text, ':');
	char addr[INET_ADDRSTRLEN];

	if (!colon || snprintf(addr, sizeof(addr), "%.*s", (int)(colon - text), text) < 7 ||
	    inet_pton(AF_INET, addr, &sa.sin_addr) != 1) {
		fprintf(stderr, "%s: \"%s\" is not ADDRESS:PORT\n", option, text);
		exit(2);
	}
	sa.sin_port = htons((uint16_t)arg_number(option, colon + 1, 1, 65535));
	return sa;
}

static void parse_options(int argc, char **argv)
{
	static const struct option opts[] = {
		{"if", required_argument, NULL, 'i'},	 {"mac", required_argument, NULL, 'm'},
		{"to", required_argument, NULL, 't'},	 {"from", required_argument, NULL, 'f'},
		{"count", required_argument, NULL, 'c'}, {"seconds", required_argument, NULL, 's'},
		{"rate", required_argument, NULL, 'r'},	 {"seed", required_argument, NULL, 'S'},
		{"help", no_argument, NULL, 'h'},	 {0},
	};
	const char *mac = NULL;
	int c, kind = -1;

	while ((c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		switch (c) {
		case 'i':
			opt.ifname = optarg;
			break;
		case 'm':
			mac = optarg;
			break;
		case 't':
			opt.to = endpoint("--to", optarg);
			break;
		case 'f':
			opt.from = endpoint("--from", optarg);
			break;
		case 'c':
			opt.count = (uint64_t)arg_number("--count", optarg, 1, COUNT_MAX);
			break;
		case 's':
			opt.seconds = (uint32_t)arg_number("--seconds", optarg, 1, SECONDS_MAX);
			break;
		case 'r':
			opt.rate = (uint64_t)arg_number("--rate", optarg, 1, 10000000);
			break;
		case 'S':
			rng.state = (uint64_t)arg_number("--seed", optarg, 0, INT64_MAX);
			break;
		default:
			usage(c == 'h' ? stdout : stderr);
			exit(c == 'h' ? 0 : 2);
		}
	}
	for (int i = 0; optind < argc && i < (int)(sizeof(kinds) / sizeof(kinds[0])); i++)
		if (strcmp(argv[optind], kinds[i]) == 0)
			kind = i;
	if (argc - optind != 1 || kind < 0 || !opt.ifname || !mac || !opt.to.sin_port ||
	    (kind != SYN && kind != ACK_RANDOM && !opt.from.sin_port)) {
		usage(stderr);
		exit(2);
	}
	opt.kind = (enum kind)kind;
	packet_parse_mac("--mac", mac, opt.mac);
}

int main(int argc, char **argv)
{
	int fd, eyes = -1;

	parse_options(argc, argv);
	signal(SIGTERM, on_term);
	fd = packet_open(opt.ifname, SEES_NOTHING);
	packet_refuse_real_networks("flood", fd, opt.ifname, opt.own_mac);
	if (!from_anybody())
		eyes = packet_open(opt.ifname, SEES_ALL);
	flood(fd, eyes);
	return 0;
}
