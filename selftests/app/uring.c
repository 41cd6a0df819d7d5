// SPDX-License-Identifier: BSD-2-Clause
/*
 * A program that prefers io_uring and can do without: where it is refused a socket, at once and
 * with an error, the calls do the same.
 */
#include "app.h"
#include <linux/io_uring.h>
#include <sys/mman.h>
#include <sys/syscall.h>

static struct {
	int fd;
	uint32_t *sq_tail, *sq_mask, *sq_array, *cq_head, *cq_tail, *cq_mask;
	struct io_uring_sqe *sqes;
	struct io_uring_cqe *cqes;
} u;

static void *map(size_t len, off_t off)
{
	void *p = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, u.fd, off);

	return p == MAP_FAILED ? NULL : p;
}

/* False: there is no io_uring here at all (a sysctl, an old kernel). */
static bool ring_open(void)
{
	struct io_uring_params p = {0};
	uint8_t *sq, *cq;

	u.fd = (int)syscall(SYS_io_uring_setup, 8, &p);
	if (u.fd < 0)
		return false;
	sq = map(p.sq_off.array + p.sq_entries * 4, IORING_OFF_SQ_RING);
	cq = map(p.cq_off.cqes + p.cq_entries * sizeof(*u.cqes), IORING_OFF_CQ_RING);
	u.sqes = map(p.sq_entries * sizeof(*u.sqes), IORING_OFF_SQES);
	if (!sq || !cq || !u.sqes)
		return false;
	u.sq_tail = (uint32_t *)(void *)(sq + p.sq_off.tail);
	u.sq_mask = (uint32_t *)(void *)(sq + p.sq_off.ring_mask);
	u.sq_array = (uint32_t *)(void *)(sq + p.sq_off.array);
	u.cq_head = (uint32_t *)(void *)(cq + p.cq_off.head);
	u.cq_tail = (uint32_t *)(void *)(cq + p.cq_off.tail);
	u.cq_mask = (uint32_t *)(void *)(cq + p.cq_off.ring_mask);
	u.cqes = (struct io_uring_cqe *)(void *)(cq + p.cq_off.cqes);
	return true;
}

/* One operation, and its result; a refusal must not take longer than what is refused. */
static int ring_do(int op, int fd, void *buf, uint32_t len, uint64_t off)
{
	struct __kernel_timespec ts = {.tv_sec = 5};
	struct io_uring_getevents_arg arg = {.ts = (uintptr_t)&ts};
	uint32_t tail = *u.sq_tail, head, i = tail & *u.sq_mask;
	int res;

	memset(&u.sqes[i], 0, sizeof(u.sqes[i]));
	u.sqes[i].opcode = (uint8_t)op;
	u.sqes[i].fd = fd;
	u.sqes[i].addr = (uintptr_t)buf;
	u.sqes[i].len = len;
	u.sqes[i].off = off;
	u.sq_array[i] = i;
	__atomic_store_n(u.sq_tail, tail + 1, __ATOMIC_RELEASE);
	if (syscall(SYS_io_uring_enter, u.fd, 1, 1,
		    IORING_ENTER_GETEVENTS | IORING_ENTER_EXT_ARG, &arg, sizeof(arg)) < 0) {
		printf("no answer to operation %d: %s\n", op, strerrorname_np(errno));
		return -errno;
	}
	head = *u.cq_head;
	if (head == __atomic_load_n(u.cq_tail, __ATOMIC_ACQUIRE))
		return -EIO;
	res = u.cqes[head & *u.cq_mask].res;
	__atomic_store_n(u.cq_head, head + 1, __ATOMIC_RELEASE);
	return res;
}

static bool have;

static ssize_t put(int fd, const char *text)
{
	int r = have ? ring_do(IORING_OP_SEND, fd, (void *)(uintptr_t)text, strlen(text), 0) : -1;

	return r >= 0 ? r : send(fd, text, strlen(text), 0);
}

static ssize_t get(int fd, char *buf, uint32_t len)
{
	int r = have ? ring_do(IORING_OP_RECV, fd, buf, len, 0) : -1;

	return r >= 0 ? r : recv(fd, buf, len, 0);
}

/* Also by the operations of files. */
static ssize_t get_file(int fd, char *buf, uint32_t len)
{
	int r = have ? ring_do(IORING_OP_READ, fd, buf, len, (uint64_t)-1) : -1;

	return r >= 0 ? r : read(fd, buf, len);
}

static int open_to_peer(void)
{
	struct sockaddr_in sin = sin_of(peer_addr, PEER_PORT);
	int fd = socket(AF_INET, SOCK_STREAM, 0), r;

	r = have ? ring_do(IORING_OP_CONNECT, fd, &sin, 0, sizeof(sin)) : -1;
	T(r >= 0 ? r : connect(fd, SA(sin)));
	return fd;
}

static int accepts(int l)
{
	int r = have ? ring_do(IORING_OP_ACCEPT, l, NULL, 0, 0) : -1;

	return r >= 0 ? r : accept(l, NULL, NULL);
}

void run(void)
{
	int fd, l, a;
	char buf[100];

	have = ring_open();
	TITLE("a client");
	fd = open_to_peer();
	T(put(fd, "echo\n"));
	T(put(fd, "hello"));
	T(get(fd, buf, 5));
	T(put(fd, "again"));
	T(get_file(fd, buf, 5));
	printf("%.5s\n", buf);
	T(close(fd));

	TITLE("a server");
	l = listener(7777, 0);
	fd = peer("connect 7777 1 hello");
	a = accepts(l);
	OK(a);
	T(get(a, buf, 5));
	printf("%.5s\n", buf);
	T(close(a));
	T(close(l));
	T(close(fd));
}
