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
 * Bytes that a connection's send() would take at once, -errno. Where there is no room: -EAGAIN, or
 * waits for some as send() does, or whatever the socket's options say. Needs no lock.
 */
enum room_wait { ROOM_NOW, ROOM_AS_SEND, ROOM_SURELY };
int64_t send_room_wait(int fd, enum room_wait how);
/* Blocks until connect() has come to an end. 0 (see the state), or why the wait ended. */
int connect_wait(struct sock *sk);

#endif
