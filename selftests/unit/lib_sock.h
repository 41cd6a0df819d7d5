/* SPDX-License-Identifier: BSD-2-Clause */
/* Sockets of the library in the world of lib_world.h: what its tests open, ask and wait for. */
#ifndef TANDEM_UNIT_LIB_SOCK_H
#define TANDEM_UNIT_LIB_SOCK_H

#include "lib_world.h"

#define assert_fails(call, err)                                                                    \
	do {                                                                                       \
		errno = 0;                                                                         \
		assert_int_equal((call), -1);                                                      \
		assert_int_equal(errno, (err));                                                    \
	} while (0)

/* For a table of tests. */
#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, world_setup, world_teardown)

static inline struct sockaddr_in addr_of(const char *ip, uint16_t port)
{
	struct sockaddr_in sin = {.sin_family = AF_INET, .sin_port = htons(port)};

	inet_pton(AF_INET, ip, &sin.sin_addr);
	return sin;
}

static inline int sock_open(int flags)
{
	int fd = tandem_socket(AF_INET, SOCK_STREAM | flags, 0);

	assert_true(fd >= TANDEM_FD_BASE);
	return fd;
}

static inline int do_connect_to(int fd, uint16_t port)
{
	struct sockaddr_in sin = addr_of(PEER_ADDR, port);

	return tandem_connect(fd, (struct sockaddr *)&sin, sizeof(sin));
}

static inline int connected_to(uint16_t port)
{
	int fd = sock_open(0);

	assert_int_equal(do_connect_to(fd, port), 0);
	return fd;
}

static inline int listening_on(uint16_t port, int flags)
{
	struct sockaddr_in sin = addr_of("0.0.0.0", port);
	int fd = sock_open(flags);

	assert_int_equal(tandem_bind(fd, (struct sockaddr *)&sin, sizeof(sin)), 0);
	assert_int_equal(tandem_listen(fd, 128), 0);
	return fd;
}

static inline int get_int(int fd, int level, int name)
{
	socklen_t len = sizeof(int);
	int v = -1;

	assert_int_equal(tandem_getsockopt(fd, level, name, &v, &len), 0);
	assert_int_equal(len, sizeof(int));
	return v;
}

/* ---- what world_until() waits for ---- */

/* Nothing is left of any connection, and the daemon has read all that it was told. */
static inline bool all_taken(void *arg)
{
	(void)arg;
	return world_tcbs_in_use() == 0 && !eng.out.len &&
	       !shm_ring_avail(&eng.to_daemon->hdr, SHM_MSG_RING);
}

/* @arg: the peer's connection. */
static inline bool peer_is_closed(void *arg)
{
	return peer_state(*(uint32_t *)arg) == TCP_CLOSED;
}

#endif
