/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the preload shim needs of the library besides tandem.h. Not installed: both are built from
 * one tree into one object.
 */
#ifndef TANDEM_LIB_SHIM_H
#define TANDEM_LIB_SHIM_H

#include <pthread.h>
#include <stdint.h>
#include <stdbool.h>
#include "tandem.h"

/*
 * @hook hears of each descriptor that the engine keeps for itself, the program must not close them.
 * To be set before the engine attaches.
 */
void lib_private_fds(void (*hook)(int fd, bool on));
/* Makes @fd one of these: moves it out of the program's way. Its new number; -1 stays -1. */
int lib_private_fd(int fd);

/* @hook prints what the engine has to say: @trouble, or what is of interest to who looks closely. */
void lib_tell_hook(void (*hook)(bool trouble, const char *text));

/* Of the interfaces that the engine is attached to: are they in another network namespace than we?
 */
bool lib_is_foreign(void);
bool lib_has_ifindex(int ifindex);
bool lib_has_loopback(void);

/* A UDP socket of the library's over the program's kernel socket @kfd: its handle, -1 and errno. */
int lib_udp_adopt(int kfd);

/* Says which number of the program's a handle has; -1. Without it nothing is shared with others. */
void lib_share_hooks(int (*number)(int handle));
/* Puts copies of @objects[i] in the place of all numbers that @handles[i] has. */
typedef void (*lib_place_fn)(const int *handles, const int *objects, uint32_t n);
/* All sockets can be found by other processes that have their numbers. Before a fork or exec. */
void lib_share_all(lib_place_fn place);
/* Around fork(); in the child, sockets are taken and the engine attaches when they are used. */
void lib_fork_prepare(void);
void lib_fork_parent(void);
void lib_fork_child(void);
/*
 * The process is about to give up what it may need to reach the daemon (chroot(), setuid(), ...):
 * the sockets that it has inherited are made usable before.
 */
void lib_confine(void);
bool lib_one_thread(void); /* the program has no other one */
/* Bytes of address space, and of private memory in it, that an attachment takes; 0: there is none. */
void lib_mapped(uint64_t *all, uint64_t *private);
/* The same for a seccomp filter, which says what else is to be avoided; NULL: strict mode. */
struct sock_fprog;
void lib_sandbox(const struct sock_fprog *filter);
/*
 * Around each call of the program's, which is a place to be cancelled, but not half-way. @outer
 * keeps the call that the handler of a signal has interrupted, which makes this one, if any.
 * lib_call_again(): the call, which @failed (-1), is to be made once more.
 */
struct lib_call {
	int state;	       /* pthread_setcancelstate() */
	uint32_t signals_seen; /* lib_signal_seen() when it began */
	bool in_call;
	uint32_t cancels_seen; /* eng.n_cancels when it began */
	bool cancellable, cancelled;
};
void lib_call_begin(struct lib_call *outer);
bool lib_call_again(const struct lib_call *outer, bool failed);
/* In the handler of a signal: a call of this thread's that waits, or is about to, ends with EINTR. */
void lib_signal_seen(void);
/* pthread_cancel(), which is @cancel, for threads that may be in one of these calls. */
int lib_cancel(pthread_t thread, int (*cancel)(pthread_t thread));
/* A handle for a socket that came over exec or in a message, of the attachment @name. -1, errno. */
int lib_adopt(const char *name, size_t len);

/* The connection that accept() has just made of @conn goes back to the front of @fd's queue. */
void lib_unaccept(int fd, int conn);

/*
 * Beside the listening @fd stands @kfd, which listens on the same port for what is not ours and
 * does not block: accept() gives the connections of both, those of @kfd as the kernel's
 * descriptors, and poll() and epoll wait for both. The caller closes @kfd, after @fd.
 */
void lib_set_twin(int fd, int kfd);

/* Sets on the kernel socket @kfd what has been set on the handle @fd. */
void lib_options_copy(int fd, int kfd);

/*
 * An epoll instance over the program's own kernel instance @kfd, which has @n_kernel descriptors
 * registered and stays the program's to close, after the handle.
 */
int lib_epoll_adopt(int kfd, uint32_t n_kernel);
/* splice(2) from the handle @fd to @pipe, the kernel's, or with @out the other way round. */
ssize_t lib_splice(int fd, int pipe, bool out, size_t n, unsigned flags);
/* Registers the kernel descriptor @kfd in all epoll instances that the handle @fd is in, alike. */
void lib_epoll_mirror(int fd, int kfd);

#endif
