/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a public call begins and ends. call_sock() takes the lock and a reference to the socket of
 * @fd; call_end() undoes both, whatever the outcome, and turns -errno into errno and -1.
 */
#ifndef TANDEM_LIB_CALLS_H
#define TANDEM_LIB_CALLS_H

#include "engine.h"

/* NULL with *@err: no engine, or not a socket of ours. */
struct sock *call_sock(int fd, int *err);
/* The same, but one that is with another process stays there, and no engine attaches for it. */
struct sock *call_sock_away(int fd, int *err);
/* @sk: as call_sock() gave it. */
int64_t call_end(struct sock *sk, int64_t r);
/* An address as the kernel takes it; its family is not looked at. 0, or -EINVAL: too short. */
int call_sockaddr(const struct sockaddr *addr, socklen_t len, struct sockaddr_in *sin);
/*
 * Bytes that send() would take at once. @wait: where there is no room, as long as send() would wait; -errno.
 * Needs no lock.
 */
int64_t send_room_wait(int fd, bool wait);
/* Blocks until connect() has come to an end. 0 (see the state), or why the wait ended. */
int connect_wait(struct sock *sk);

#endif
