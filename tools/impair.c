/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A bad link: forwards frames both ways between two interfaces, and does to them on the way what
 * a bad network does. For namespace tests, in a namespace between the two ends:
 *
 *	impair IF1 IF2 [--rate MBIT] [--queue KB] [--loss %] [--burst N] [--corrupt %] [--dup %]
 *	       [--delay MS] [--jitter MS] [--reorder %] [--reorder-by MS] [--ce %] [--mark KB]
 *	       [--seed N] [--seconds S]
 *
 * Each direction is a link of --rate with a queue of --queue in front of it that drops what does
 * not fit, and marks ECN-capable packets (RFC 3168) that find more than --mark in it, and a share
 * of --ce of the others; behind it frames are lost, damaged and doubled; then they travel for
 * --delay and up to --jitter more. Jitter alone keeps their order; a share of --reorder is held
 * back --reorder-by longer, so that others overtake them.
 *
 * Invariants: frame n of a direction meets the same fate in every run with the same seed and
 * options, whatever the other direction does (a full queue depends on time, and is counted by
 * itself; a burst of loss is over when nothing has come for BURST_MS, so that less is lost of what
 * comes seldom: it would last for minutes of one connection's timeouts else). Only IP is impaired: other frames (ARP) are delayed and
 * nothing else, since what is tested is the transport and its header alone. Damage is what the
 * Internet checksum always detects, behind the link header, whose own checksum would have taken
 * the frame away on a real link.
 *
 * No busy loop: one timer for the earliest frame. Ends after --seconds or at SIGTERM and then
 * prints its counters, one JSON object.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/virtio_net.h>
#include <signal.h>
#include <stddef.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include "common/csum.h"
#include "tools/net.h"
#include "tools/packet.h"
#include "user/io/clock.h"

#define BATCH 64
#define HELD_MAX (256u << 20) /* bytes in all, whatever the options say */
#define EARLY_NS 20000	      /* a frame due so soon leaves with the one before it */
#define BURST_MS 100	      /* a burst of loss is of frames that follow each other */
#define BURST_BITS_MAX 15     /* a shorter burst than the checksum's words never cancels out */

/* "overrun": the kernel dropped it before it was read; then the figures say little. */
#define DIR_COUNTERS(X)                                                                            \
	X(forwarded)                                                                               \
	X(bytes)                                                                                   \
	X(lost)                                                                                    \
	X(corrupted)                                                                               \
	X(duplicated)                                                                              \
	X(reordered)                                                                               \
	X(marked)                                                                                  \
	X(queue_full)                                                                              \
	X(send_failed)                                                                             \
	X(overrun)

struct frame {
	struct mtime due;
	uint64_t order; /* of arrival: frames due at the same time keep it */
	struct dir *dir;
	uint32_t len; /* with the header in front */
	struct virtio_net_hdr vh;
	uint8_t data[];
};

struct dir {
	const char *name;
	int in, out; /* packet sockets */
	struct rng rng;
	bool losing;		/* within a burst of loss ... */
	struct mtime last_in;	/* ... if the frame before came so recently */
	struct mtime link_free; /* when the link has sent what stands in its queue */
	struct mtime last_due;	/* of a frame that keeps its order */
#define X(name) uint64_t name;
	DIR_COUNTERS(X)
#undef X
};

static struct {
	double loss, burst, corrupt, dup, reorder, ce; /* shares, and frames */
	uint64_t delay_ns, jitter_ns, reorder_ns, queue, mark;
	double ns_per_byte; /* 0: no limit */
	uint64_t seed;
	uint32_t seconds;
} opt = {.burst = 1, .reorder_ns = 1000000, .queue = 256 << 10, .seed = 1};

static struct dir dirs[2];

/* ---- frames on their way: a binary heap, the earliest on top ---- */

static struct frame **heap;
static uint32_t heap_n, heap_size;
static uint64_t held, next_order;

static bool frame_before(const struct frame *a, const struct frame *b)
{
	return a->due.ns != b->due.ns ? a->due.ns < b->due.ns : a->order < b->order;
}

/* False: no memory; the frame is still the caller's. */
static bool heap_push(struct frame *f)
{
	uint32_t i = heap_n;

	if (heap_n == heap_size) {
		uint32_t size = heap_size ? heap_size * 2 : 1024;
		struct frame **h = realloc(heap, size * sizeof(*h));

		if (!h)
			return false;
		heap = h;
		heap_size = size;
	}
	heap_n++;
	for (; i && frame_before(f, heap[(i - 1) / 2]); i = (i - 1) / 2)
		heap[i] = heap[(i - 1) / 2];
	heap[i] = f;
	held += f->len;
	return true;
}

static struct frame *heap_pop(void)
{
	struct frame *top = heap[0], *last = heap[--heap_n];
	uint32_t i = 0, child;

	while ((child = 2 * i + 1) < heap_n) {
		if (child + 1 < heap_n && frame_before(heap[child + 1], heap[child]))
			child++;
		if (!frame_before(heap[child], last))
			break;
		heap[i] = heap[child];
		i = child;
	}
	heap[i] = last;
	held -= top->len;
	return top;
}

/* ---- what happens to a frame ---- */

/* Gilbert's model: bursts of --burst frames on average, --loss of all frames. */
static bool frame_lost(struct dir *d, struct mtime now)
{
	double p = opt.loss;

	if (mtime_before(mtime_add_ms(d->last_in, BURST_MS), now))
		d->losing = false;
	d->last_in = now;
	if (opt.burst > 1 && p < 1)
		p = d->losing ? 1 - 1 / opt.burst : p / (opt.burst * (1 - p));
	d->losing = rng_chance(&d->rng, p);
	return d->losing;
}

/* When the link has sent it. False: the queue has no room. */
static bool frame_queue(struct dir *d, uint32_t len, struct mtime now, struct mtime *sent)
{
	uint64_t waiting = mtime_before(now, d->link_free) ? d->link_free.ns - now.ns : 0;

	*sent = now;
	if (opt.ns_per_byte <= 0)
		return true;
	if ((double)waiting / opt.ns_per_byte + len > (double)opt.queue)
		return false;
	d->link_free.ns = now.ns + waiting + (uint64_t)(len * opt.ns_per_byte);
	*sent = d->link_free;
	return true;
}

static void frame_due(struct dir *d, struct frame *f, struct mtime sent, bool late, uint64_t jitter)
{
	f->due.ns = sent.ns + opt.delay_ns + (opt.jitter_ns ? jitter % (opt.jitter_ns + 1) : 0);
	if (late) {
		f->due.ns += opt.reorder_ns;
		return;
	}
	if (mtime_before(f->due, d->last_due))
		f->due = d->last_due;
	d->last_due = f->due;
}

/* A partial checksum would be taken for right, whatever the bits below it are. */
static bool frame_complete_csum(struct frame *f, uint32_t n)
{
	uint32_t start = f->vh.csum_start, at = start + f->vh.csum_offset;
	uint16_t sum;

	if (f->vh.gso_type != VIRTIO_NET_HDR_GSO_NONE)
		return false;
	if (!(f->vh.flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		return true;
	if (at + sizeof(sum) > n)
		return false;
	sum = csum_fold(csum_partial(f->data + start, n - start, 0));
	memcpy(f->data + at, &sum, sizeof(sum));
	f->vh.flags &= (uint8_t)~VIRTIO_NET_HDR_F_NEEDS_CSUM;
	return true;
}

/*
 * Does the transport's checksum field hold just its pseudo-header's sum? On a veth that says that the rest
 * is not summed yet, so that who receives it cannot tell damage: of whole checksums one in 65536 looks so.
 */
static bool frame_looks_partial(const struct frame *f, uint32_t n)
{
	const uint8_t *ip = f->data + ETH_HLEN;
	bool v4 = ip[0] >> 4 == 4;
	uint32_t hlen = v4 ? (ip[0] & 15u) * 4 : 40, at = ETH_HLEN + hlen, sum;
	uint8_t proto = v4 ? ip[9] : ip[6];
	uint16_t field, len, pseudo;

	at += proto == IPPROTO_TCP ? 16 : 6;
	if ((proto != IPPROTO_TCP && proto != IPPROTO_UDP) || at + sizeof(field) > n)
		return false;
	memcpy(&field, f->data + at, sizeof(field));
	memcpy(&len, ip + (v4 ? 2 : 4), sizeof(len));
	if (v4)
		len = htons((uint16_t)(ntohs(len) - hlen));
	sum = csum_partial(ip + (v4 ? 12 : 8), v4 ? 8 : 32, htons(proto) + (uint32_t)len);
	pseudo = (uint16_t)~csum_fold(sum);
	return field == pseudo;
}

/* Inverts the first and last bit of a short burst, and some between. */
static bool frame_corrupt(struct frame *f, uint64_t random)
{
	uint32_t n = f->len - (uint32_t)sizeof(f->vh), bits = (n - ETH_HLEN) * 8;
	uint32_t width = 1 + (uint32_t)random % BURST_BITS_MAX;
	uint32_t pattern = ((uint32_t)(random >> 8) | 1u | 1u << (width - 1)) & ((1u << width) - 1);
	uint32_t at = ETH_HLEN * 8 + (uint32_t)((random >> 32) % (bits - width));

	if (!frame_complete_csum(f, n) || frame_looks_partial(f, n))
		return false; /* a super-frame: damage is for what travels on a wire */
	for (uint32_t i = 0; i < width; i++)
		f->data[(at + i) / 8] ^= (uint8_t)((pattern >> i & 1) << (7 - (at + i) % 8));
	return true;
}

static bool frame_is_ip(const uint8_t *data, uint32_t n)
{
	uint16_t proto;

	memcpy(&proto, data + 12, sizeof(proto));
	return n > ETH_HLEN + 20 && (proto == htons(ETH_P_IP) || proto == htons(ETH_P_IPV6));
}

/* ECT becomes CE; only IPv4 has a checksum over that. */
static bool frame_mark(struct frame *f)
{
	uint8_t *ip = f->data + ETH_HLEN;
	bool v4 = ip[0] >> 4 == 4;
	uint8_t ecn = v4 ? ip[1] & 3 : ip[1] >> 4 & 3;
	uint16_t sum = 0;

	if (ecn == 0 || ecn == 3)
		return false;
	ip[1] |= v4 ? 0x03 : 0x30;
	if (v4) {
		memcpy(ip + 10, &sum, sizeof(sum));
		sum = csum_fold(csum_partial(ip, (ip[0] & 15u) * 4, 0));
		memcpy(ip + 10, &sum, sizeof(sum));
	}
	return true;
}

/* Does the queue, which the frame has joined, or chance, say so? */
static bool frame_to_mark(struct dir *d, struct mtime now)
{
	uint64_t waiting = mtime_before(now, d->link_free) ? d->link_free.ns - now.ns : 0;

	if (opt.ce > 0 && rng_chance(&d->rng, opt.ce))
		return true;
	return opt.mark && opt.ns_per_byte > 0 &&
	       (double)waiting / opt.ns_per_byte > (double)opt.mark;
}

static struct frame *frame_copy(struct dir *d, const void *p, uint32_t len)
{
	struct frame *f;

	f = held + len > HELD_MAX ? NULL : malloc(offsetof(struct frame, vh) + len);
	if (!f) {
		d->queue_full++;
		return NULL;
	}
	f->dir = d;
	f->len = len;
	f->order = next_order++;
	memcpy(&f->vh, p, sizeof(f->vh));
	memcpy(f->data, (const uint8_t *)p + sizeof(f->vh), len - sizeof(f->vh));
	return f;
}

static void frame_push(struct frame *f)
{
	if (!heap_push(f)) {
		f->dir->queue_full++;
		free(f);
	}
}

/* One frame as it was read, its header in front. Each draws as many random numbers as any other. */
static void frame_arrives(struct dir *d, const uint8_t *p, uint32_t len, struct mtime now)
{
	uint32_t n = len - (uint32_t)sizeof(struct virtio_net_hdr);
	bool ip = frame_is_ip(p + sizeof(struct virtio_net_hdr), n);
	bool lost, corrupt, dup, late;
	uint64_t damage, jitter;
	struct frame *f, *twin;
	struct mtime sent = now;

	if (ip) {
		lost = frame_lost(d, now);
		corrupt = rng_chance(&d->rng, opt.corrupt);
		dup = rng_chance(&d->rng, opt.dup);
		late = rng_chance(&d->rng, opt.reorder);
		damage = rng_next(&d->rng);
		jitter = rng_next(&d->rng);
	} else {
		lost = corrupt = dup = late = false;
		damage = jitter = 0;
	}
	if (ip && !frame_queue(d, n, now, &sent)) {
		d->queue_full++;
		return;
	}
	if (lost) {
		d->lost++;
		return;
	}
	f = frame_copy(d, p, len);
	if (!f)
		return;
	d->marked += ip && frame_to_mark(d, now) && frame_mark(f);
	d->corrupted += corrupt && frame_corrupt(f, damage);
	d->reordered += late;
	frame_due(d, f, sent, late, jitter);
	if (dup && (twin = frame_copy(d, &f->vh, len))) {
		d->duplicated++;
		twin->due = f->due;
		frame_push(twin);
	}
	frame_push(f);
}

/* ---- in and out ---- */

static uint8_t buffers[BATCH][sizeof(struct virtio_net_hdr) + PACKET_FRAME_MAX];

static void die(const char *what)
{
	fprintf(stderr, "impair: %s: %s\n", what, strerror(errno));
	exit(1);
}

/* A few batches, so that neither the other direction nor what is due waits long. */
static void dir_receive(struct dir *d)
{
	struct mmsghdr msg[BATCH];
	struct iovec iov[BATCH];
	int n = BATCH;

	for (int i = 0; i < BATCH; i++) {
		iov[i] = (struct iovec){buffers[i], sizeof(buffers[i])};
		msg[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
	}
	for (int round = 0; round < 4 && n == BATCH; round++) {
		struct mtime now;

		n = recvmmsg(d->in, msg, BATCH, MSG_DONTWAIT, NULL);
		if (n < 0) {
			if (errno == EAGAIN || errno == EINTR || errno == ENETDOWN)
				return;
			die(d->name);
		}
		now = clock_now();
		for (int i = 0; i < n; i++) {
			if (msg[i].msg_len > sizeof(struct virtio_net_hdr) + ETH_HLEN)
				frame_arrives(d, buffers[i], msg[i].msg_len, now);
		}
	}
}

static void dir_send(struct dir *d, struct frame **frames, uint32_t n)
{
	struct mmsghdr msg[BATCH];
	struct iovec iov[BATCH];
	uint32_t done = 0;

	for (uint32_t i = 0; i < n; i++) {
		iov[i] = (struct iovec){&frames[i]->vh, frames[i]->len};
		msg[i].msg_hdr = (struct msghdr){.msg_iov = &iov[i], .msg_iovlen = 1};
	}
	while (done < n) {
		int sent = sendmmsg(d->out, msg + done, n - done, MSG_DONTWAIT);

		if (sent <= 0) { /* the first of them; a link that is down, or full */
			d->send_failed++;
			done++;
			continue;
		}
		for (int i = 0; i < sent; i++, done++) {
			d->forwarded++;
			d->bytes += frames[done]->len - sizeof(frames[done]->vh);
		}
	}
	for (uint32_t i = 0; i < n; i++)
		free(frames[i]);
}

static void send_due(void)
{
	struct mtime until = {clock_now().ns + EARLY_NS};
	struct frame *out[2][BATCH];
	uint32_t n[2] = {0, 0};

	while (heap_n && !mtime_before(until, heap[0]->due)) {
		struct frame *f = heap_pop();
		int i = f->dir == &dirs[1];

		out[i][n[i]++] = f;
		if (n[i] == BATCH) {
			dir_send(&dirs[i], out[i], n[i]);
			n[i] = 0;
		}
	}
	dir_send(&dirs[0], out[0], n[0]);
	dir_send(&dirs[1], out[1], n[1]);
}

static void print_counters(void)
{
	printf("{\"seed\":%llu", (unsigned long long)opt.seed);
	for (int i = 0; i < 2; i++) {
		struct tpacket_stats st = {0};
		socklen_t len = sizeof(st);

		if (!getsockopt(dirs[i].in, SOL_PACKET, PACKET_STATISTICS, &st, &len))
			dirs[i].overrun = st.tp_drops;
		printf(",\"%s\":{\"from\":\"%s\"", i ? "back" : "forth", dirs[i].name);
#define X(name) printf(",\"" #name "\":%llu", (unsigned long long)dirs[i].name);
		DIR_COUNTERS(X)
#undef X
		printf("}");
	}
	printf("}\n");
}

static void timer_set(int fd, struct mtime at)
{
	struct itimerspec it = {.it_value = {(time_t)(at.ns / NS_PER_S), (long)(at.ns % NS_PER_S)}};

	if (timerfd_settime(fd, TFD_TIMER_ABSTIME, &it, NULL) < 0)
		die("timer");
}

static void watch(int ep, int fd, uint64_t what)
{
	struct epoll_event ev = {.events = EPOLLIN, .data.u64 = what};

	if (fd < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev) < 0)
		die("epoll");
}

static void forward(void)
{
	enum { TIMER = 2, END };
	int ep = epoll_create1(EPOLL_CLOEXEC), timer, end, signals;
	struct mtime armed = {0};
	struct epoll_event ev[5];
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signals = signalfd(-1, &set, SFD_CLOEXEC);
	timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	end = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK);
	watch(ep, dirs[0].in, 0);
	watch(ep, dirs[1].in, 1);
	watch(ep, timer, TIMER);
	watch(ep, end, END);
	watch(ep, signals, END);
	if (opt.seconds)
		timer_set(end, mtime_add_ms(clock_now(), opt.seconds * 1000ull));
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		int n = epoll_wait(ep, ev, 5, -1);

		for (int i = 0; i < n; i++) {
			uint64_t fired;

			if (ev[i].data.u64 == END)
				return;
			if (ev[i].data.u64 == TIMER && read(timer, &fired, sizeof(fired)) > 0)
				armed.ns = 0;
			else if (ev[i].data.u64 < TIMER)
				dir_receive(&dirs[ev[i].data.u64]);
		}
		send_due();
		if (heap_n && heap[0]->due.ns != armed.ns) {
			armed = heap[0]->due;
			timer_set(timer, armed);
		}
	}
}

/* ---- options ---- */

static double fraction(const char *option, const char *text, double hi)
{
	char *end;
	double v = strtod(text, &end);

	if (end == text || *end || !(v >= 0 && v <= hi)) {
		fprintf(stderr, "impair: --%s: a number from 0 to %g, not \"%s\"\n", option, hi,
			text);
		exit(2);
	}
	return v;
}

static void usage(FILE *f)
{
	fprintf(f, "usage: impair IF1 IF2 [--rate MBIT] [--queue KB] [--loss %%] [--burst N]\n"
		   "       [--corrupt %%] [--dup %%] [--delay MS] [--jitter MS] [--reorder %%]\n"
		   "       [--reorder-by MS] [--ce %%] [--mark KB] [--seed N] [--seconds S]\n");
}

static void parse_options(int argc, char **argv)
{
	static const struct option opts[] = {
		{"rate", required_argument, NULL, 'r'},
		{"queue", required_argument, NULL, 'q'},
		{"loss", required_argument, NULL, 'l'},
		{"burst", required_argument, NULL, 'b'},
		{"corrupt", required_argument, NULL, 'c'},
		{"dup", required_argument, NULL, 'd'},
		{"delay", required_argument, NULL, 'D'},
		{"jitter", required_argument, NULL, 'j'},
		{"reorder", required_argument, NULL, 'o'},
		{"reorder-by", required_argument, NULL, 'O'},
		{"ce", required_argument, NULL, 'e'},
		{"mark", required_argument, NULL, 'm'},
		{"seed", required_argument, NULL, 's'},
		{"seconds", required_argument, NULL, 't'},
		{"help", no_argument, NULL, 'h'},
		{0},
	};
	const double ms = 1e6, minute = 60000;
	double rate;
	int c, at;

	while ((c = getopt_long(argc, argv, "", opts, &at)) != -1) {
		const char *name = opts[at].name;

		switch (c) {
		case 'r':
			rate = fraction(name, optarg, 1e6);
			opt.ns_per_byte = rate > 0 ? 8000 / rate : 0;
			break;
		case 'q':
			opt.queue = (uint64_t)(fraction(name, optarg, HELD_MAX >> 10) * 1024);
			break;
		case 'l':
			opt.loss = fraction(name, optarg, 100) / 100;
			break;
		case 'b':
			opt.burst = fraction(name, optarg, 1000);
			break;
		case 'c':
			opt.corrupt = fraction(name, optarg, 100) / 100;
			break;
		case 'd':
			opt.dup = fraction(name, optarg, 100) / 100;
			break;
		case 'D':
			opt.delay_ns = (uint64_t)(fraction(name, optarg, minute) * ms);
			break;
		case 'j':
			opt.jitter_ns = (uint64_t)(fraction(name, optarg, minute) * ms);
			break;
		case 'o':
			opt.reorder = fraction(name, optarg, 100) / 100;
			break;
		case 'O':
			opt.reorder_ns = (uint64_t)(fraction(name, optarg, minute) * ms);
			break;
		case 'e':
			opt.ce = fraction(name, optarg, 100) / 100;
			break;
		case 'm':
			opt.mark = (uint64_t)(fraction(name, optarg, HELD_MAX >> 10) * 1024);
			break;
		case 's':
			opt.seed = (uint64_t)arg_number("--seed", optarg, 0, INT64_MAX);
			break;
		case 't':
			opt.seconds = (uint32_t)arg_number("--seconds", optarg, 1, 86400);
			break;
		default:
			usage(c == 'h' ? stdout : stderr);
			exit(c == 'h' ? 0 : 2);
		}
	}
	if (argc - optind != 2) {
		usage(stderr);
		exit(2);
	}
}

int main(int argc, char **argv)
{
	int fd[2];

	parse_options(argc, argv);
	for (int i = 0; i < 2; i++)
		fd[i] = packet_open(argv[optind + i], SEES_ARRIVING);
	for (int i = 0; i < 2; i++) {
		struct rng seed = {opt.seed * 2 + (uint64_t)i};

		dirs[i] = (struct dir){.name = argv[optind + i], .in = fd[i], .out = fd[!i]};
		dirs[i].rng.state = rng_next(&seed);
	}
	forward();
	print_counters();
	return 0;
}
