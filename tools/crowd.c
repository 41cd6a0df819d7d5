/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * More connections than a kernel's sockets could hold, to a `bench_app server`, for make
 *bench-million: frames built here, a few bytes of state for each connection. As tools/flood only on
 *a veth in a namespace of the tests.
 *
 *	crowd --if IF --mac MAC --to ADDR:PORT --from ADDR --conns N [--ports P] [--sample K]
 *[--seconds S]
 *
 * Connection i comes from address FROM + i / 60000, to port PORT + i % P, and greets: all but K of
 *them are to rest, those are to echo. Prints {"open":N,...} when the server has acknowledged every
 *greeting, or S seconds are over; then on SIGUSR1 {"echoes":n,"of":K}: the sample, each with a
 *request, as often as asked. Until SIGTERM.
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
#include <sys/mman.h>
#include <sys/socket.h>
#include "common/csum.h"
#include "tools/net.h"
#include "tools/packet.h"
#include "user/io/clock.h"

#define PER_ADDR 60000u
#define FIRST_PORT 2000u
#define CONNS_MAX 10000000
#define FLIGHT 1024u /* connections that are being opened at one time */
#define AGAIN_MS 500u
#define BATCH 64u
#define ECHO_LEN 64u
#define ECHO_SECONDS 10u

/* What a connection's first bytes say: tools/bench_app.c. */
struct hello {
	uint32_t magic, mode, size;
};
#define HELLO_MAGIC 0x74646268u
#define MODE_ECHO 1u
#define MODE_IDLE 5u

struct segment {
	struct virtio_net_hdr vh; /* zeros: checksums are whole */
	struct ethhdr eth;
	struct iphdr ip;
	struct tcphdr tcp;
	uint8_t tail[ECHO_LEN];
} __attribute__((packed));

enum { CLOSED, SYN_SENT, GREETED, OPEN };

struct conn {
	uint32_t irs; /* the server's first sequence number */
	uint8_t state;
	uint8_t echoed; /* bytes of the answer */
} __attribute__((packed));

static struct {
	const char *ifname;
	struct sockaddr_in to;
	uint32_t from; /* host order */
	uint8_t mac[ETH_ALEN], own_mac[ETH_ALEN];
	uint32_t conns, ports, sample, seconds;
} opt = {.ports = 1, .sample = 1000, .seconds = 300};

static struct conn *conns;
static uint32_t n_begun, n_open, n_echoed, n_again;
static uint32_t in_flight[FLIGHT], n_flight;
static struct mtime flight_at[FLIGHT];
static struct segment out[BATCH];
static uint32_t out_len[BATCH], n_out;
static int fd;
static volatile sig_atomic_t told_to_echo, told_to_stop;

static void on_usr1(int sig)
{
	told_to_echo = sig;
}

static void on_term(int sig)
{
	told_to_stop = sig;
}

static void die(const char *what)
{
	fprintf(stderr, "crowd: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* ---- who is who ---- */

static uint32_t iss(uint32_t i)
{
	return i * 2654435761u;
}

static bool in_sample(uint32_t i)
{
	uint32_t every = opt.conns / opt.sample;

	return i % every == 0 && i / every < opt.sample;
}

/* ---- sending ---- */

/* What finds no room is lost, as on any wire. */
static void flush(void)
{
	struct mmsghdr msg[BATCH] = {0};
	struct iovec iov[BATCH];

	for (uint32_t i = 0; i < n_out; i++) {
		iov[i] = (struct iovec){&out[i], out_len[i]};
		msg[i].msg_hdr.msg_iov = &iov[i];
		msg[i].msg_hdr.msg_iovlen = 1;
	}
	for (uint32_t sent = 0; sent < n_out;) {
		int n = sendmmsg(fd, msg + sent, n_out - sent, 0);

		if (n <= 0)
			break;
		sent += (uint32_t)n;
	}
	n_out = 0;
}

/* The next segment of connection @i: @flags, @len bytes @data, from @seq on. */
static void send_segment(uint32_t i, uint32_t seq, uint8_t flags, const void *data, uint32_t len)
{
	struct segment *s = &out[n_out];
	uint32_t tcp_len = (uint32_t)sizeof(s->tcp) + len;
	struct ip_addr src, dst;

	memset(s, 0, offsetof(struct segment, tail));
	memcpy(s->tail, data, len);
	memcpy(s->eth.h_dest, opt.mac, ETH_ALEN);
	memcpy(s->eth.h_source, opt.own_mac, ETH_ALEN);
	s->eth.h_proto = htons(ETH_P_IP);
	s->ip = (struct iphdr){.version = 4,
			       .ihl = 5,
			       .ttl = 64,
			       .protocol = IPPROTO_TCP,
			       .tot_len = htons((uint16_t)(sizeof(s->ip) + tcp_len)),
			       .saddr = htonl(opt.from + i / PER_ADDR),
			       .daddr = opt.to.sin_addr.s_addr};
	s->tcp.source = htons((uint16_t)(FIRST_PORT + i % PER_ADDR));
	s->tcp.dest = htons((uint16_t)(ntohs(opt.to.sin_port) + i % opt.ports));
	s->tcp.seq = htonl(seq);
	s->tcp.window = htons(65535);
	s->tcp.syn = (flags & TH_SYN) != 0;
	s->tcp.psh = (flags & TH_PUSH) != 0;
	s->tcp.ack = (flags & TH_ACK) != 0;
	/* A SYN's options are its data here. */
	s->tcp.doff = (uint8_t)((sizeof(s->tcp) + (flags & TH_SYN ? len : 0)) / 4) & 0xf;
	if (s->tcp.ack)
		s->tcp.ack_seq = htonl(conns[i].irs + 1 + conns[i].echoed);
	src = ip_addr_v4(s->ip.saddr);
	dst = ip_addr_v4(s->ip.daddr);
	s->ip.check = csum_fold(csum_partial(&s->ip, sizeof(s->ip), 0));
	s->tcp.check = csum_fold(
		csum_partial(&s->tcp, tcp_len, csum_pseudo(&src, &dst, IPPROTO_TCP, tcp_len)));
	out_len[n_out++] = (uint32_t)offsetof(struct segment, tail) + len;
	if (n_out == BATCH)
		flush();
}

static void send_syn(uint32_t i)
{
	/* MSS 1460, SACK, window scale 7 */
	static const uint8_t options[12] = {2, 4, 5, 180, 4, 2, 1, 3, 3, 7, 1, 0};

	send_segment(i, iss(i), TH_SYN, options, sizeof(options));
}

static void send_hello(uint32_t i)
{
	const struct hello h = {HELLO_MAGIC, in_sample(i) ? MODE_ECHO : MODE_IDLE, ECHO_LEN};

	send_segment(i, iss(i) + 1, TH_ACK | TH_PUSH, &h, sizeof(h));
}

static void send_request(uint32_t i)
{
	uint8_t text[ECHO_LEN];

	memset(text, (int)i, sizeof(text));
	send_segment(i, iss(i) + 1 + (uint32_t)sizeof(struct hello), TH_ACK | TH_PUSH, text,
		     sizeof(text));
}

/* ---- receiving ---- */

static void on_segment(uint32_t i, const struct segment *s, uint32_t data)
{
	struct conn *c = &conns[i];
	uint32_t ack = ntohl(s->tcp.ack_seq), greeted = iss(i) + 1 + (uint32_t)sizeof(struct hello);

	if (s->tcp.rst) {
		fprintf(stderr, "crowd: connection %u was reset in state %u\n", i, c->state);
		exit(1);
	}
	if (s->tcp.syn && s->tcp.ack && ack == iss(i) + 1) {
		if (c->state == SYN_SENT) {
			c->irs = ntohl(s->tcp.seq);
			c->state = GREETED;
		}
		send_hello(i);
	} else if (c->state == GREETED && s->tcp.ack && ack == greeted) {
		c->state = OPEN;
		n_open++;
	}
	/* An answer comes whole: it is one send() of less than a segment. */
	if (c->state == OPEN && data == ECHO_LEN && !c->echoed && ntohl(s->tcp.seq) == c->irs + 1) {
		c->echoed = ECHO_LEN;
		n_echoed += s->tail[0] == (uint8_t)i && s->tail[ECHO_LEN - 1] == (uint8_t)i;
		send_segment(i, greeted + ECHO_LEN, TH_ACK, NULL, 0);
	}
}

static void parse(const uint8_t *p, size_t n)
{
	struct segment s;
	uint32_t hdr, ip_len, i;

	if (n < offsetof(struct segment, tail))
		return;
	memset(&s, 0, sizeof(s));
	memcpy(&s, p, offsetof(struct segment, tail));
	hdr = s.ip.ihl * 4u + s.tcp.doff * 4u;
	ip_len = ntohs(s.ip.tot_len);
	if (s.eth.h_proto != htons(ETH_P_IP) || s.ip.ihl != 5 || s.ip.protocol != IPPROTO_TCP ||
	    s.ip.saddr != opt.to.sin_addr.s_addr || ip_len < hdr || ntohs(s.tcp.dest) < FIRST_PORT)
		return;
	i = (ntohl(s.ip.daddr) - opt.from) * PER_ADDR + ntohs(s.tcp.dest) - FIRST_PORT;
	if (ntohl(s.ip.daddr) < opt.from || i >= n_begun)
		return;
	if (ip_len - hdr == ECHO_LEN && n >= sizeof(s) && s.tcp.doff == 5)
		memcpy(s.tail, p + offsetof(struct segment, tail), ECHO_LEN);
	on_segment(i, &s, ip_len - hdr);
}

static void receive(int wait_ms)
{
	static uint8_t buf[sizeof(struct virtio_net_hdr) + PACKET_FRAME_MAX];
	struct pollfd pfd = {.fd = fd, .events = POLLIN};
	ssize_t n;

	if (wait_ms)
		poll(&pfd, 1, wait_ms);
	for (uint32_t k = 0; k < 4 * BATCH && (n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0;
	     k++)
		parse(buf, (size_t)n);
}

/* ---- opening, and looking whether they live ---- */

static void say_again(uint32_t i)
{
	n_again++;
	if (conns[i].state == SYN_SENT)
		send_syn(i);
	else
		send_hello(i);
}

/* Of those in flight the open ones make room; silent ones are asked again. */
static void look_at_flight(struct mtime now)
{
	uint32_t kept = 0;

	for (uint32_t k = 0; k < n_flight; k++) {
		uint32_t i = in_flight[k];
		struct mtime at = flight_at[k];

		if (conns[i].state == OPEN)
			continue;
		if (mtime_diff_ns(now, at) > AGAIN_MS * NS_PER_MS) {
			say_again(i);
			at = now;
		}
		in_flight[kept] = i;
		flight_at[kept++] = at;
	}
	n_flight = kept;
}

static void open_all(void)
{
	struct mtime start = clock_now(), now = start;
	struct mtime end = mtime_add_ms(start, opt.seconds * 1000ull);

	while (n_open < opt.conns && mtime_before(now, end) && !told_to_stop) {
		look_at_flight(now);
		while (n_flight < FLIGHT && n_begun < opt.conns) {
			conns[n_begun].state = SYN_SENT;
			in_flight[n_flight] = n_begun;
			flight_at[n_flight++] = now;
			send_syn(n_begun++);
		}
		flush();
		receive(1);
		flush();
		now = clock_now();
	}
	printf("{\"open\":%u,\"of\":%u,\"seconds\":%.1f,\"sent_again\":%u}\n", n_open, opt.conns,
	       (double)mtime_diff_ns(now, start) / 1e9, n_again);
	fflush(stdout);
}

static void echo_sample(void)
{
	struct mtime end = mtime_add_ms(clock_now(), ECHO_SECONDS * 1000ull);

	for (uint32_t i = 0; i < opt.conns; i++)
		if (in_sample(i) && conns[i].state == OPEN)
			send_request(i);
	flush();
	while (n_echoed < opt.sample && mtime_before(clock_now(), end) && !told_to_stop) {
		receive(10);
		flush();
	}
	printf("{\"echoes\":%u,\"of\":%u}\n", n_echoed, opt.sample);
	fflush(stdout);
}

/* ---- options ---- */

static void usage(FILE *f)
{
	fprintf(f, "usage: crowd --if IF --mac MAC --to ADDR:PORT --from ADDR --conns N\n"
		   "       [--ports P] [--sample K] [--seconds S]\n");
}

static uint32_t address(const char *option, const char *text)
{
	struct in_addr a;

	if (inet_pton(AF_INET, text, &a) == 1)
		return ntohl(a.s_addr);
	fprintf(stderr, "%s: \"%s\" is not an address\n", option, text);
	exit(2);
}

static struct sockaddr_in endpoint(char *text)
{
	char *colon = strchr(text, ':');
	struct sockaddr_in sa = {.sin_family = AF_INET};

	if (!colon) {
		usage(stderr);
		exit(2);
	}
	*colon = 0;
	sa.sin_addr.s_addr = htonl(address("--to", text));
	sa.sin_port = htons((uint16_t)arg_number("--to", colon + 1, 1, 65535));
	return sa;
}

static void parse_options(int argc, char **argv)
{
	static const struct option opts[] = {
		{"if", required_argument, NULL, 'i'},	  {"mac", required_argument, NULL, 'm'},
		{"to", required_argument, NULL, 't'},	  {"from", required_argument, NULL, 'f'},
		{"conns", required_argument, NULL, 'n'},  {"ports", required_argument, NULL, 'p'},
		{"sample", required_argument, NULL, 's'}, {"seconds", required_argument, NULL, 'S'},
		{"help", no_argument, NULL, 'h'},	  {0},
	};
	int c;

	while ((c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		switch (c) {
		case 'i':
			opt.ifname = optarg;
			break;
		case 'm':
			packet_parse_mac("--mac", optarg, opt.mac);
			break;
		case 't':
			opt.to = endpoint(optarg);
			break;
		case 'f':
			opt.from = address("--from", optarg);
			break;
		case 'n':
			opt.conns = (uint32_t)arg_number("--conns", optarg, 1, CONNS_MAX);
			break;
		case 'p':
			opt.ports = (uint32_t)arg_number("--ports", optarg, 1, 1000);
			break;
		case 's':
			opt.sample = (uint32_t)arg_number("--sample", optarg, 1, CONNS_MAX);
			break;
		case 'S':
			opt.seconds = (uint32_t)arg_number("--seconds", optarg, 1, 3600);
			break;
		default:
			usage(c == 'h' ? stdout : stderr);
			exit(c == 'h' ? 0 : 2);
		}
	}
	if (argc != optind || !opt.ifname || !opt.to.sin_port || !opt.from || !opt.conns) {
		usage(stderr);
		exit(2);
	}
	if (opt.sample > opt.conns)
		opt.sample = opt.conns;
}

int main(int argc, char **argv)
{
	parse_options(argc, argv);
	signal(SIGTERM, on_term);
	signal(SIGUSR1, on_usr1);
	fd = packet_open(opt.ifname, SEES_ARRIVING);
	packet_refuse_real_networks("crowd", fd, opt.ifname, opt.own_mac);
	conns = mmap(NULL, opt.conns * sizeof(*conns), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (conns == MAP_FAILED)
		die("memory");
	open_all();
	while (!told_to_stop) {
		receive(100); /* what the server says now and then, and resets */
		flush();
		if (told_to_echo)
			echo_sample();
		told_to_echo = 0;
	}
	return 0;
}
