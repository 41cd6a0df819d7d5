// SPDX-License-Identifier: BSD-2-Clause
/*
 * UDP_SEGMENT: one call sends a row of datagrams; what is too much is refused as the kernel does.
 * UDP_GRO: one call may receive a row; how many at a time depends on timing and is not printed.
 */
#include <netinet/udp.h>
#include "app6.h"

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#define UDP_GRO 104
#endif

#define OWN_PORT 7821
#define ROWS 12

static char out[70000], in[70000];

static int udp(void)
{
	return socket(AF_INET, SOCK_DGRAM, 0);
}

/* How the @n bytes that were sent, a pattern, come back: in pieces of which size. */
static void echoed(int fd, long n)
{
	long at = 0, last = -1, run = 0, r;

	while (at < n) {
		if (!ready(fd, POLLIN)) {
			printf("%ld bytes are missing\n", n - at);
			break;
		}
		r = recv(fd, in, sizeof(in), MSG_DONTWAIT);
		if (r < 0 || memcmp(in, out + at, (size_t)r)) {
			printf("not what was sent\n");
			break;
		}
		at += r;
		if (r != last && run)
			printf("%ld x %ld\n", run, last);
		run = r == last ? run + 1 : 1;
		last = r;
	}
	printf("%ld x %ld\n", run, last);
}

static void options(void)
{
	static const int values[] = {-1, 0, 1, 1400, 65535, 65536};
	int fd = udp();

	TITLE("options");
	option(fd, "UDP_SEGMENT", IPPROTO_UDP, UDP_SEGMENT);
	option(fd, "UDP_GRO", IPPROTO_UDP, UDP_GRO);
	for (size_t i = 0; i < sizeof(values) / sizeof(values[0]); i++) {
		T(set(fd, IPPROTO_UDP, UDP_SEGMENT, values[i]));
		option(fd, "UDP_SEGMENT", IPPROTO_UDP, UDP_SEGMENT);
	}
	T(set(fd, IPPROTO_UDP, UDP_GRO, 1));
	option(fd, "UDP_GRO", IPPROTO_UDP, UDP_GRO);
	T(setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, in, 2));
	T(close(fd));
}

/* @n bytes in segments of @size by the socket's option, from a connected socket. */
static void by_option(int fd, int size, size_t n)
{
	long r;

	printf("%zu bytes in segments of %d\n", n, size);
	T(set(fd, IPPROTO_UDP, UDP_SEGMENT, size));
	r = T(send(fd, out, n, 0));
	if (r > 0)
		echoed(fd, r);
	T(recv(fd, in, 1, MSG_DONTWAIT));
}

static void segments(void)
{
	struct sockaddr_in to = sin_of(peer_addr, PEER_PORT);
	int fd = udp();

	TITLE("by the socket's option");
	T(connect(fd, SA(to)));
	by_option(fd, 1000, 2500);
	by_option(fd, 1000, 3000);
	by_option(fd, 1000, 1000);
	by_option(fd, 1000, 1001);
	by_option(fd, 1000, 10);
	by_option(fd, 1, 128);
	by_option(fd, 1, 129);
	by_option(fd, 100, 12801);
	by_option(fd, 1472, 1472 * 20);
	by_option(fd, 1472, 1473);
	TITLE("too large for the way");
	by_option(fd, 1473, 3000);
	by_option(fd, 1473, 1473);
	by_option(fd, 1473, 1472);
	by_option(fd, 20000, 100);
	by_option(fd, 1400, 65508);
	by_option(fd, 0, 3000);
	T(set(fd, SOL_SOCKET, SO_NO_CHECK, 1));
	by_option(fd, 1000, 2000);
	by_option(fd, 1000, 500);
	T(set(fd, SOL_SOCKET, SO_NO_CHECK, 0));
	T(set(fd, IPPROTO_UDP, UDP_SEGMENT, 500));
	T(send(fd, out, 0, 0));
	printf("ready %x\n", ready(fd, POLLIN));
	T(recv(fd, in, 10, 0));
	T(close(fd));
}

/* @iovs pieces of 700 bytes with a message of @level, @type and @len bytes that says @v. */
static long send_with(int fd, struct sockaddr_in *to, size_t iovs, int level, int type, size_t len,
		      int v)
{
	union {
		char b[64];
		struct cmsghdr c;
	} ctl = {.c = {.cmsg_len = CMSG_LEN(len), .cmsg_level = level, .cmsg_type = type}};
	struct iovec iov[4];
	struct msghdr m = {.msg_iov = iov,
			   .msg_iovlen = iovs,
			   .msg_name = to,
			   .msg_namelen = sizeof(*to),
			   .msg_control = ctl.b,
			   .msg_controllen = CMSG_SPACE(len)};

	memcpy(CMSG_DATA(&ctl.c), &v, len);
	for (size_t i = 0; i < iovs; i++)
		iov[i] = (struct iovec){out + 700 * i, 700};
	return sendmsg(fd, &m, 0);
}

static void messages(void)
{
	struct sockaddr_in to = sin_of(peer_addr, PEER_PORT);
	int fd = udp();

	TITLE("by control message");
	echoed(fd, T(send_with(fd, &to, 1, IPPROTO_UDP, UDP_SEGMENT, 2, 300)));
	echoed(fd, T(send_with(fd, &to, 4, IPPROTO_UDP, UDP_SEGMENT, 2, 1200)));
	echoed(fd, T(send_with(fd, &to, 3, IPPROTO_UDP, UDP_SEGMENT, 2, 700)));
	T(send_with(fd, &to, 1, IPPROTO_UDP, UDP_SEGMENT, 4, 300));
	T(send_with(fd, &to, 1, IPPROTO_UDP, UDP_GRO, 4, 300));
	T(send_with(fd, &to, 1, IPPROTO_UDP, UDP_SEGMENT, 2, 1));
	T(send_with(fd, &to, 4, IPPROTO_UDP, UDP_SEGMENT, 2, 1500));
	TITLE("before the socket's option");
	T(set(fd, IPPROTO_UDP, UDP_SEGMENT, 100));
	echoed(fd, T(send_with(fd, &to, 2, IPPROTO_UDP, UDP_SEGMENT, 2, 500)));
	echoed(fd, T(send_with(fd, &to, 2, IPPROTO_UDP, UDP_SEGMENT, 2, 0)));
	echoed(fd, T(send_with(fd, &to, 1, IPPROTO_IP, IP_TTL, 4, 9)));
	T(close(fd));
}

/* What a receiver with UDP_GRO gets is a row of datagrams, each of the size that is told but the
 * last. */
static long rows(int fd, int *with_info)
{
	union {
		char b[256];
		struct cmsghdr c;
	} ctl;
	struct iovec iov = {in, sizeof(in)};
	struct msghdr m = {.msg_iov = &iov,
			   .msg_iovlen = 1,
			   .msg_control = ctl.b,
			   .msg_controllen = sizeof(ctl.b)};
	int size = 0;
	long r;

	if (!ready(fd, POLLIN))
		return -1;
	r = recvmsg(fd, &m, MSG_DONTWAIT);
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&m); c && r > 0; c = CMSG_NXTHDR(&m, c)) {
		if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO &&
		    c->cmsg_len == CMSG_LEN(sizeof(int)))
			memcpy(&size, CMSG_DATA(c), sizeof(size));
		*with_info += c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO;
	}
	if (!size)
		size = (int)r;
	for (long at = 0; at < r; at += size)
		printf("%ld bytes, %.5s\n", r - at < size ? r - at : size, in + at);
	return size ? (r + size - 1) / size : 1;
}

static void received(void)
{
	struct sockaddr_in own = sin_of(own_addr, OWN_PORT);
	char what[64];
	int fd = udp(), ask, info = 0;
	long n = 0, r = 0;

	TITLE("UDP_GRO");
	T(set(fd, IPPROTO_UDP, UDP_GRO, 1));
	T(set(fd, IPPROTO_IP, IP_PKTINFO, 1));
	T(bind(fd, SA(own)));
	snprintf(what, sizeof(what), "udp %d %d text", OWN_PORT, ROWS);
	ask = peer(what);
	slurp(ask, in, 4);
	close(ask);
	for (; n < ROWS && r >= 0; n += r)
		r = rows(fd, &info);
	printf("%ld datagrams, and where to: %d\n", n, info > 0);
	T(recv(fd, in, 1, MSG_DONTWAIT));
	T(close(fd));
}

void run(void)
{
	close(peer("hello"));
	for (size_t i = 0; i < sizeof(out); i++)
		out[i] = (char)(i * 7 + i / 251);
	options();
	segments();
	messages();
	received();
}
