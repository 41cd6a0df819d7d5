/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the library's files share among themselves. One engine per process: the stack in
 * role STACK_APP, its port, the rings to the daemon, and the table of handles. eng.lock protects
 * all of it; a thread that sleeps or spins drops the lock (wait.c). Functions here are called
 * with the lock held unless they say otherwise, and return -errno.
 */
#ifndef TANDEM_LIB_ENGINE_H
#define TANDEM_LIB_ENGINE_H

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <netinet/in.h>
#include "common/ctl.h"
#include "user/core/stack.h"
#include "user/io/trim.h"
#include "user/io/clock.h"
#include "user/io/port.h"
#include "user/lib/slab.h"
#include "user/lib/tandem.h"

#define container_of(p, type, member) ((type *)(void *)((char *)(p)-offsetof(type, member)))
#define ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* ---- wait queues: who wants to know when something becomes ready ---- */

struct watch {
	struct watch *next, **pprev;
	void (*fn)(struct watch *w, uint32_t events); /* EPOLL* that may hold now */
};

/*
 * What blocked threads have put there, then the items of epoll instances, which are known by
 * number: a list ends in NULL, or in the first of these (epoll.c). watch_of() is NULL for both.
 */
struct waitq {
	struct watch *head;
};

static inline struct watch *watch_of(struct watch *w)
{
	return (uintptr_t)w & 1 ? NULL : w;
}

void waitq_add(struct waitq *q, struct watch *w);
void waitq_del(struct watch *w);
void waitq_notify(struct waitq *q, uint32_t events);

/* A thread that is blocked in one of our calls; stands on its stack. */
struct waiter {
	struct waiter *next, *prev; /* eng.waiters */
	int efd;		    /* wakes it from ppoll(); -1 while it needs none */
	const sigset_t *sigmask;    /* for ppoll() alone; NULL: as it is */
	bool woken;		    /* what it waits for may have happened */
	bool asleep;		    /* in ppoll() */
	bool signalled;		    /* efd was written */
	bool any_packet;	    /* any activity wakes it */
	bool called;		    /* the lead is left to it */
	bool cancellable, cancelled; /* cancel.c */
	pthread_t thread;	    /* where it is cancellable */
	uint32_t vain;		    /* rounds in a row that it led for others only */
	uint32_t signals;	    /* signals_begin() */
	uint32_t entries, leaves;   /* the engine's, when it last looked */
};

#define WAITER_INIT                                                                                \
	{                                                                                          \
		.efd = -1                                                                          \
	}
void waiter_wake(struct waiter *w);
void waiter_rouse(struct waiter *w); /* out of its sleep, to look again */
/* It sleeps no more; @ready: its eventfd was. */
void waiter_woke(struct waiter *w, bool ready);

/*
 * Blocks until waiter_wake(), until one of @extra (kernel descriptors; .revents is filled in) is
 * ready, or @until. Runs the engine first, and meanwhile where no other thread does. 0, -ETIMEDOUT,
 * -EINTR (a handler ran), -ECANCELED (pthread_cancel()), -EBADF (the engine has gone away).
 */
int waiter_sleep(struct waiter *w, struct mtime until, struct pollfd *extra, unsigned n_extra);
/*
 * Sleeps in ppoll() on everything that may concern the engine, as the leader or the keeper does.
 * 1: one of @extra is ready, 0: look again, -errno.
 */
int waiter_doze(struct waiter *w, struct mtime now, struct mtime until, struct pollfd *extra,
		unsigned n_extra);
/*
 * Is this thread within a wait, that is, in a signal handler, or did a handler leave one by
 * longjmp()? The lists that lead to its stack cannot be followed any more then. Needs no lock.
 */
bool waiter_abandoned(void);
/* Drops the lock and does not return: the process ends, and threads that waited wait on, as in the kernel. */
void wait_for_the_end(void) __attribute__((noreturn));
/* Would every handler that this program has restart an interrupted call? Needs no lock. */
bool signals_restart(void);
/* The other threads that are in waiter_sleep() return with -EBADF; waits until they have. */
void waiters_expel(void);
void spare_efds_free(void);
/* There are at least @n from here on, as no more can be had later. */
void spare_efds_stock(uint32_t n);
/* Whoever dozes may have to wake earlier than it thought: after a call that changed the stack. */
void wait_deadline_moved(void);

/* ---- the table of handles ---- */

enum file_kind { FILE_SOCK, FILE_EPOLL };

struct file {
	struct waitq wq;
	int handle;	     /* -1: never installed */
	uint32_t refs : 29;  /* the table's, and one for each call in progress */
	uint32_t kind : 2;   /* enum file_kind */
	uint32_t closed : 1; /* its handle may be another's by now */
};

static inline bool file_is_open(const struct file *f)
{
	return !f->closed;
}

int file_install(struct file *f);  /* gives it the lowest free handle; -EMFILE, -ENOMEM */
struct file *file_get(int handle); /* no reference taken; NULL */
void file_remove(struct file *f);  /* out of the table; its reference is the caller's now */
void file_put(struct file *f);	   /* drops a reference, frees with the last */
/* Walks: the first open file with handle >= @handle, NULL. */
struct file *file_next(int handle);
void file_table_free(void);

/* ---- sockets ---- */

enum sock_state {
	SK_NEW, /* nothing asked for; bound where .bound */
	SK_LISTEN,
	SK_CONNECTING, /* SHM_CONNECT is out */
	SK_CONNECTED,  /* has a connection, in whatever TCP state; also after its end */
	SK_FAILED,     /* connect() failed: .err, then as SK_NEW */
	SK_UDP,	       /* what it is is in .u, from the beginning to the end */
	SK_AWAY,       /* shared (share.c), and not with this process */
	SK_TAKING,     /* a shared connection, which is on its way to us */
};

/* Options set before there is a connection to keep them, or on a listener: tcp_setopt() values. */
#define SOCK_N_TOPT TOPT_MAX
struct sock_opts {
	uint32_t set; /* bit for each enum tcp_opt */
	int64_t topt[SOCK_N_TOPT];
};

struct conn_ref {
	uint32_t conn, generation;
};

/* What only a listening socket has. */
struct sock_listen {
	struct sock *next; /* eng.listeners */
	uint32_t id, index;
	uint32_t backlog;
	struct conn_ref *aq; /* accept queue: a ring of aq_size (a power of two) */
	uint32_t aq_size, aq_head, aq_len;
	uint8_t since_twins;   /* accepted, since its twins were asked */
	struct mtime aq_since; /* that nobody has accepted what is there */
	bool want, asked;	/* shared: as the daemon has been told */
	uint16_t fetching;	/* calls that wait for an answer of the daemon's */
	bool used, events;	/* the same (SHM_LISTEN_USE) */
	/* As a thread has waited for it otherwise than by epoll, or what came lay there for too long: */
	struct mtime busy_until;
	struct mtime late_since; /* .n_late times since then */
	uint32_t n_late;
	/* listen.c */
	uint32_t core_id; /* our stack's listener, SHM_NIL: none */
	uint32_t n_here;  /* in the queue, by that one */
	bool front;	  /* SYNs come to it */
	bool peers;	  /* and to other processes that have the socket */
};

enum { TWIN_V4, TWIN_V6, N_TWINS };

struct sock_udp; /* udp.h */

/* What most sockets that have a connection do not need. */
struct sock_extra {
	uint32_t local_addr; /* network order, as bound */
	uint16_t local_port;
	uint32_t bind_id;	       /* of CTL_BIND, SHM_NIL: none */
	uint64_t rcv_timeo, snd_timeo; /* ns, 0: none */
	uint32_t peer_addr;	       /* .deferred: network order */
	uint16_t peer_port;
	pid_t owner;	      /* F_SETOWN: gets SIGURG; 0: nobody */
	struct sock_opts o;   /* until there is a connection */
	struct fo_keys fo_keys; /* TCP_FASTOPEN_KEY */
	struct sock_listen l; /* state SK_LISTEN */
	/*
	 * Kernel's listening sockets beside it, -1: none. TWIN_V4: the daemon's, for what does not come by
	 * tandem's interfaces (user/daemon/twin.c). TWIN_V6: for IPv6, the shim's to close.
	 */
	int twins[N_TWINS];
	uint32_t share_id;    /* for SHM_CONN_WANT; 0: the descriptor is to be shown */
	struct sock_udp *udp; /* state SK_UDP */
};

/* A server has one of these for each connection. */
struct sock {
	struct file f;
	uint32_t number;	  /* in eng.socks */
	uint32_t cookie_seq;	  /* sock_cookie(); 0: none */
	struct conn_ref c;	  /* .conn SHM_NIL: none; its TCB knows both addresses */
	struct sock_extra *extra; /* sock_extra(), sock_need_extra() */
	uint8_t state;		  /* enum sock_state */
	uint8_t err;		  /* pending error that is not the stack's, positive errno */
	uint8_t soft_err;	  /* from ICMP: reported instead of ETIMEDOUT */
	bool nonblock : 1;
	bool bound : 1;	       /* .local is reserved or fixed */
	bool connect_seen : 1; /* connect() has returned 0 for this connection */
	bool gone_sent : 1;    /* the daemon knows that the connection is dead */
	bool reuseaddr : 1, reuseport : 1;
	bool no_port : 1;    /* IP_BIND_ADDRESS_NO_PORT */
	bool shared : 1;     /* other processes may have it, too (share.c) */
	bool recalled : 1;   /* one of them wants it; when it is not busy any more */
	bool fo_connect : 1; /* TCP_FASTOPEN_CONNECT */
	bool deferred : 1;   /* connect() has succeeded; what is sent first goes with the SYN */
	uint16_t busy;	     /* calls that are at work on it, not asleep */
};
_Static_assert(sizeof(struct sock) <= 48, "one for each connection");

struct sock *sock_new(void);
extern const struct sock_extra sock_no_extra;
static inline const struct sock_extra *sock_extra(const struct sock *sk)
{
	return sk->extra ? sk->extra : &sock_no_extra;
}
/* To write to; NULL: no memory. */
struct sock_extra *sock_need_extra(struct sock *sk);
/* Names this socket in the stack and to the daemon; 0: nothing does. */
static inline uint64_t sock_cookie(const struct sock *sk)
{
	uint32_t index = (uint32_t)sk->f.handle - TANDEM_FD_BASE;

	return sk->cookie_seq ? (uint64_t)sk->cookie_seq << 32 | index : 0;
}
void sock_free(struct sock *sk);
struct sock *sock_by_cookie(uint64_t cookie);
void sock_set_cookie(struct sock *sk); /* a new, unique one; the socket must be in the table */
uint32_t sock_poll(struct sock *sk);   /* EPOLL* that hold now */
uint32_t ev_to_poll(uint32_t ev);      /* EV_* of the stack as EPOLL* */
/* Gives up what the socket holds (connection, listener, port); not its memory. */
void sock_release(struct sock *sk, struct mtime now);
/* The same for the program's last close(), SO_LINGER included; may sleep. */
void sock_close(struct sock *sk);
/* Gives a new connection the options that its socket, or listener, was given; @o may be NULL. */
/* Congestion control that was asked for, index + 1; 0: none. For the daemon, which opens. */
uint8_t sock_cc(const struct sock *sk);
void sock_opts_apply(const struct sock_opts *o, uint32_t conn, struct mtime now);
void sock_connected(struct sock *sk, struct conn_ref c, struct mtime now);
void sock_connect_failed(struct sock *sk, int err); /* positive errno */
struct sock *listener_by_id(uint32_t id);
/* Opens with the first of @iov in the SYN (MSG_FASTOPEN, .deferred): bytes taken, or -errno. */
int64_t fastopen_send(struct sock *sk, const struct msghdr *m, bool nonblock);
/* A deferred connect() after all, without data. */
int deferred_connect(struct sock *sk);
int sock_set_owner(struct sock *sk, pid_t owner); /* a process, less than 0: a group */
int listener_update(struct sock *sk); /* tells the daemon backlog and options */
/* A new daemon: the listener, which is in eng.listeners, listens there, or the port is bound. */
int listener_again(struct sock *sk);
void bind_again(struct sock *sk);
void sock_ended(struct sock *sk);     /* events say error or end: tell the daemon if it is dead */
int sock_take_error(struct sock *sk); /* positive errno, SO_ERROR */
/* Puts an imported connection on the accept queue. -ENOMEM */
int sock_queue_conn(struct sock *sk, struct conn_ref c);

/*
 * Blocks for events of @sk. Holds no reference itself. A shared connection may be with another
 * process meanwhile; when this returns 0 it is here again.
 */
int sock_wait(struct sock *sk, struct mtime until);
int sock_wait_event(struct sock *sk, struct mtime until); /* the same, wherever it is */
/* For what the daemon does with it: not for the kernel's sockets beside it. */
int sock_wait_daemon(struct sock *sk, struct mtime until);
static inline uint64_t timespec_ns(const struct timespec *ts)
{
	/* A century is as good as for ever, and adds without overflow. */
	return ts->tv_sec > 3155760000 ? 3155760000ull * NS_PER_S
				       : (uint64_t)ts->tv_sec * NS_PER_S + (uint64_t)ts->tv_nsec;
}

static inline struct timespec timespec_ms(int ms)
{
	return (struct timespec){ms / 1000, ms % 1000 * (long)NS_PER_MS};
}

/* When a socket's timeout (ns, 0: none) that starts now is over. */
struct mtime timeout_deadline(uint64_t ns);
/*
 * Turns the result of a wait that ended early into the call's error: -ETIMEDOUT is @on_timeout;
 * 0 for an interruption that is to be restarted (no timeout was set).
 */
int wait_error(int r, uint64_t timeo, int on_timeout);

/* Copies an address out as getsockname() does: cut to *len, *len is the full length. */
void sockaddr_out(uint32_t be_addr, uint16_t port, struct sockaddr *addr, socklen_t *len);

/* ---- UDP (udp.c, udp_io.c): calls whose socket is in state SK_UDP; -errno ---- */

void udp_release(struct sock *sk);
void udp_forget(struct sock *sk); /* in a child of fork(): it is the parent's */
uint32_t udp_poll_events(struct sock *sk);
int udp_bind_call(struct sock *sk, const struct sockaddr *addr, socklen_t len);
int udp_connect_call(struct sock *sk, const struct sockaddr *addr, socklen_t len);
int udp_shutdown_call(struct sock *sk, int how);
int udp_name_call(struct sock *sk, bool peer, struct sockaddr *addr, socklen_t *len);
int udp_setsockopt_call(struct sock *sk, int level, int name, const void *val, socklen_t len);
int udp_getsockopt_call(struct sock *sk, int level, int name, void *val, socklen_t *len);
int udp_ioctl_call(struct sock *sk, unsigned long req, void *arg);
int udp_fcntl_call(struct sock *sk, int arg); /* F_SETFL */
int64_t udp_recvmsg(struct sock *sk, struct msghdr *msg, int flags);
/* @flush: what was built leaves at once. */
int64_t udp_sendmsg(struct sock *sk, const struct msghdr *msg, int flags, bool flush);
/* The kernel's sockets that @sk receives from, too: how many. */
uint32_t sock_kernel_fds(const struct sock *sk, int fds[N_TWINS]);
/* twin.c: @kfd is ours from here on; -1: none. True: the kernel's socket is another one than before. */
bool twin_set(struct sock *sk, int kfd);
/* It is let go of, also in all epoll instances. */
void twin_drop(struct sock *sk);
void twins_forbid(void); /* accept4() is not to be called any more: of no listener */
int twins_accept(struct sock *sk, struct sockaddr *addr, socklen_t *len, int flags); /* -EAGAIN: they have none */
void sock_options_copy(struct sock *sk, int kfd);
/* In a new stack, with a new daemon. */
void udp_again(struct sock *sk);
/* An event of the stack about it. */
void udp_stack_event(struct sock *sk, uint32_t mask);
/* ---- sockets of several processes (share.c) ---- */

bool share_enabled(void); /* by the shim */
int share_fd(const struct sock *sk); /* a number of a shared socket's; -1 */
/* An SK_AWAY or SK_TAKING socket comes to this process. 0: look at its state, or -errno. */
int share_take(struct sock *sk);
/* Gives a shared connection up without closing it. False: it is to be closed as any other. */
bool share_release(struct sock *sk);
/* True: the daemon goes on with it, for whoever takes it next. */
bool conn_give_keep(struct conn_ref c);
void share_yield(struct sock *sk); /* another process gets it */
/* One that is away can be had without the control socket from here on. */
void share_hold(struct sock *sk);
void share_recall(struct conn_ref c);
/* O_NONBLOCK of a shared socket is the kernel's to keep: before F_GETFL, or after F_SETFL, @arg. */
void share_flags(struct sock *sk, bool set, int arg);
/* Tells the daemon which listeners somebody waits at. After each change of that. */
void listeners_want(void);
void listeners_ask(const struct file *ep); /* those that @ep watches, whether or not it sleeps */
int listener_fetch(struct sock *sk);	   /* accept(): what waits with the daemon */
void listener_answered(uint32_t id);	   /* the daemon has done what it was asked for */
/* Gives back what the queue has: it is closed, or another process's. */
void listener_unshare(struct sock *sk);
/* Gives back what nobody accepts; when the next look is due. */
struct mtime listeners_stale(struct mtime now);

/* ---- listeners of our own stack (listen.c) ---- */

struct ctl_listen;

/* Can our stack answer SYNs for @sk? For ctl_listen.flags. */
uint32_t listen_flag(const struct sock *sk);
/* The same for one that came from another process, after which our stack has it, too. */
uint32_t listen_join(struct sock *sk);
void listen_begin(struct sock *sk, const struct ctl_listen *req, const struct ip_addr *addr);
void listen_changed(struct sock *sk, const struct ctl_listen *req);
void listen_end(struct sock *sk);
/* SHM_LISTEN_FRONT */
void listen_front(uint32_t id, uint32_t flags);
/* Our stack's listener @core_id has connections. */
void listen_accept(uint32_t core_id);
/* The queue of @sk has one more (@n 1) or less (-1). */
void listen_queued(struct sock *sk, struct conn_ref c, int n);
/* Tells the daemon of a connection of TCB_BORN_UNTOLD. */
void conn_tell(struct conn_ref c);
/* Those whose time has come. */
void untold_run(struct mtime now);
/* The daemon has just looked for itself (CTL_UNLISTEN, CTL_SHARE). */
void untold_known(void);

/* ---- epoll ---- */

/* For poll and epoll: share_take() where it is away; the second makes a failure its error. */
int file_take(struct file *f);
void file_take_or_fail(struct file *f);
bool file_wanted(const struct file *f); /* does a thread wait for it now? */
bool epoll_watches(const struct file *ep, const struct file *f);
bool epoll_alone(const struct file *f); /* some instance watches it, and no thread waits for it otherwise */
void epoll_inherit(struct file *f); /* in a child: only epoll instances still watch it */
void epoll_notify(struct waitq *q, uint32_t events); /* waitq_notify()'s part of it */
void epoll_forget(struct waitq *q); /* takes a closing socket out of all epoll instances */
uint32_t file_poll(struct file *f); /* EPOLL* that hold now, for a socket or an instance */
/* Registers @kfd in all instances that @f is in, alike. */
void epoll_mirror(struct file *f, int kfd);
void epoll_unmirror(struct file *f, int kfd);
/* That an instance, a listener or a UDP socket waits for, too: how many. */
uint32_t file_kernel_fds(struct file *f, int fds[N_TWINS]);
void epoll_close(struct file *f); /* the handle is closed: lets go of all that it watches */
void epoll_free(struct file *f);

/* ---- the engine ---- */

enum engine_state {
	ENGINE_NONE = 0, /* not attached (or no more): the first call tries */
	ENGINE_UP,
	ENGINE_DEAD, /* after fork(), or at exit: every call gives EBADF */
	ENGINE_LATE, /* there are sockets, of before fork() or exec: the first use attaches */
};

#define ENGINE_FRESH                                                                               \
	{                                                                                          \
		.lock = PTHREAD_ADAPTIVE_MUTEX_INITIALIZER_NP, .ctl_fd = -1, .bell_daemon = -1,    \
		.bell_app = -1, .run_dir = -1, .keeper_w = WAITER_INIT,                            \
		.busy_poll_us = UINT32_MAX, /* not chosen */                                       \
	}

#define ENGINE_PKT_BUDGET 64u

struct msg_fifo {
	struct shm_msg *e;
	uint32_t head, len, size; /* .size: a power of two */
};

/* Connections in the order of their deadlines. */
struct conn_fifo {
	struct conn_wait {
		struct conn_ref c;
		struct mtime until;
	} * e;
	uint32_t head, len, size; /* .size: a power of two */
};

/* What has been sent, ACKs included, and not left yet (hold.c). */
struct hold {
	uint32_t n;	    /* calls that have sent it; 0: there is none */
	struct mtime since; /* the first of them */
	uint32_t times;	    /* that something was held, wraps */
	uint32_t in_row;    /* sent at once since the program last waited, or since demand() */
	uint32_t looks;	    /* in vain, since it last sent */
	bool wanted;	    /* the keeper is to go on watch */
	bool watched;	    /* it is */
	uint32_t demand;    /* what would have it go */
	struct mtime demand_since, not_before;
	uint32_t misses, hits;
};

/* What attaching gives. By these names in struct engine, and as one, which another can replace. */
#define ATTACHMENT_FIELDS                                                                          \
	int run_dir;	  /* the daemon's */                                                       \
	uint64_t ctl_ino; /* of its control socket in there */                                     \
	int ctl_fd, bell_daemon, bell_app;                                                         \
	int ifindex[TD_MAX_NETIFS];                                                                \
	int gso_fd[TD_MAX_NETIFS];                                                                 \
	uint32_t n_ifs;                                                                            \
	bool has_lo;  /* one of them is lo */                                                      \
	bool foreign; /* the interfaces are in another network namespace than we are */            \
	struct umem umem;                                                                          \
	struct arena own, daemon;                                                                  \
	struct arena_view daemon_view;                                                             \
	struct xsk *xsks;                                                                          \
	struct umem_queue *uqs;                                                                    \
	uint32_t n_queues;                                                                         \
	struct port *port;                                                                         \
	struct stack *stack;                                                                       \
	void *stack_mem;                                                                           \
	size_t stack_mem_len;                                                                      \
	struct shm_msg_ring *to_daemon, *to_app;                                                   \
	struct shm_pkt_ring *pkts_to_daemon, *pkts_to_app;                                         \
	struct shm_listener *shm_listeners;                                                        \
	struct stack_limits limits;                                                                \
	char cc[16];

struct attachment {
	ATTACHMENT_FIELDS
};

struct engine {
	pthread_mutex_t lock;
	enum engine_state state;
	bool daemon_gone;
	bool cut;		/* what it had left is not ours any more: heir.c */
	struct mtime heir_next; /* when to look for that, or for the next daemon, again */
	uint32_t heir_wait_ms;	/* and how long after that */
	bool heir_told;		/* the user, what stands in the way */
	bool heir_busy;		/* attached, but not every listener listens again */
	struct mtime heir_end;	/* when that is given up */
	pid_t pid;
	char name[64];
	char comm[16]; /* the program's thread that attached first, which has the program's name */

	/* attach.c */
	union {
		struct attachment attached;
		struct {
			ATTACHMENT_FIELDS
		};
	};
	uint32_t n_attached; /* times: tells what stood in the stack before from what does now */

	/* lock.c: errands for as soon as the lock is free */
	uint64_t kicks;	 /* port_kick() */
	pid_t sigurg[8]; /* owners who are to get it */
	int wake[8];	 /* eventfds */
	uint32_t n_sigurg, n_wake;
	uint32_t crowded; /* threads have met at the lock lately, counts down */
	uint32_t outside; /* threads on errands; atomic */

	/* engine.c */
	uint32_t runs;		 /* wraps; changes with each run that a program's thread makes */
	uint32_t n_given;	 /* connections handed over, not yet taken */
	struct conn_fifo parting; /* closed, and finished here if their peers answer in time */
	struct conn_fifo untold;  /* by listeners of ours, not known to the daemon (listen.c) */
	bool lazy;		 /* the daemon was not woken for a message */
	struct mtime lazy_since;
	struct hold hold;
	struct msg_fifo out;	 /* messages that found their ring full */
	struct msg_fifo imports; /* connections that found no memory to be imported into */
	struct sock *listeners;
	uint32_t n_shared_l; /* of these are shared */
	bool fork_locked; /* by the fork() that is under way; false: eng_lock_unless_mine() was */

	struct trim trim;

	/* sandbox.c */
	bool confined;	    /* the control socket may be out of reach before long */
	bool restarts;	    /* SANDBOX_NO_SIGACTION: signals_restart() as it was then */
	unsigned forbidden; /* SANDBOX_* */

	/* udp_io.c, dest.c */
	uint8_t *udp_buf;
	struct dest *dests;

	/* sock.c */
	struct slab socks;
	struct slab items;   /* epoll.c's */
	struct file **files; /* mapped: touched as needed */
	uint64_t *used;	     /* bitmap of handles */
	uint32_t n_files;    /* size of both */
	uint32_t map_files;  /* mapped for .files: more, after a failure to grow */
	uint32_t first_free; /* no free handle below it */
	uint32_t cookie_seq;

	/* wait.c */
	struct waiter *waiters, *last_waiter; /* who has waited longest stands first */
	struct waiter *deputy;		      /* looks whether there is a leader */
	bool deputy_armed;		      /* and does so soon, of itself */
	struct mtime served;		      /* when the engine was last run */
	uint32_t entries, leaves;	      /* threads that began to wait, that had waited */

	struct waiter *leader; /* the one that polls, NULL: none does */
	struct waiter
		*dozer; /* who answers for the doorbell: the leader or the keeper, in ppoll() */
	uint32_t n_any; /* waiters with .any_packet */
	struct mtime doze_until, doze_since;
	bool expelling;
	bool exiting; /* exit() is under way, in another thread than those that wait */
	uint32_t spinning;	   /* threads that do not hold the lock look at the rings */
	struct mtime spin_look;	   /* when the last one did; written without the lock */
	struct mtime no_spin_until;
	uint32_t n_robbed;
	int *spare_efds;
	uint32_t n_spare, max_spare;
	pthread_t cancelled[16]; /* lately: the last n_cancels ones */
	uint32_t n_cancels;
	uint32_t busy_poll_us;
	uint32_t wait_ewma_ns; /* how long waits have taken lately, clipped */
	uint32_t spin_misses, spin_hold;

	/* keeper.c */
	pthread_t keeper;
	struct waiter keeper_w;
	bool keeper_started, keeper_stop;
	bool keeper_on;	    /* it sleeps in place of the program */
	bool keeper_parked; /* it sleeps until a leader leaves its wait */
};

extern struct engine eng;

/*
 * eng_enter() takes the lock, and attaches if need be (-errno of that); eng_enter_up() wants an
 * engine that runs already (-EBADF). The lock is held on return in any case: eng_leave().
 */
int eng_enter(void);
int eng_enter_up(void);
int eng_enter_late(void); /* the same, but ENGINE_LATE will do */
void eng_leave(void);
void eng_lock(void);
bool eng_trylock(void);
bool eng_lock_before(const struct timespec *end); /* CLOCK_REALTIME */
/*
 * False: this thread has it, or nearly, as we are in a handler of a signal that has interrupted one of our
 * calls (PostgreSQL's postmaster forks there).
 */
bool eng_lock_unless_mine(void);
/* Runs the errands, too: signals among them, whose handlers may call us. */
void eng_unlock(void);
/* In a child of fork(), which has none of the other threads. */
void eng_lock_init(void);
void eng_wake_fd(int efd); /* soon; not before others can have the lock, where many want it */
bool eng_kicks_later(void);
void eng_kick_now(void); /* what is owed: before a port goes */
/* Waits until nobody is on an errand, so that ports and eventfds can go. With the lock held. */
void eng_quiesce(void);

/* One round of the loop; returns how many packets and messages came in. */
uint32_t eng_run(struct mtime now);
/*
 * The same for a program that waits, unless *@woken is true, or becomes so by what comes: it goes
 * on then, and what it is likely to send next leaves with what is to be sent now.
 */
uint32_t eng_run_for(const bool *woken, struct mtime now);
/* The same for a call that only looks whether there is something: what is held may stay so. */
void eng_look(struct mtime now);
/* What of it looks at what has come; nothing leaves, eng_output() is to follow. */
uint32_t eng_receive(struct mtime now);
/* Sends what the stack wants to send. */
void eng_output(struct mtime now);
/* The same, for a program that has sent something, and may send more before it waits (hold.c). */
void eng_output_sent(struct mtime now);
/* The same, where it has not: there are ACKs, or what these let go. */
void eng_output_soon(struct mtime now);
void hold_let_go(void);		     /* what was held is on its way */
void hold_flush(struct mtime now);   /* before a sleep that does not run the engine */
void hold_watch(struct waiter *w);   /* the keeper's part; drops the lock meanwhile */
/* eng_look()'s: has anything come? */
void eng_output_after(bool found, struct mtime now);
/* Passes the stack's events on to the sockets. */
void eng_take_events(void);
/* Something to receive for eng_run()? A look at the rings; needs no lock. */
bool eng_activity(void);
/* Work that needs a retry soon, though nothing will ring: full rings, no memory. */
bool eng_backlog(void);
void eng_send_msg(const struct shm_msg *m);
/*
 * The same for what the daemon need not act on at once: it is not woken for it, but at the latest
 * after a millisecond, or when this process sleeps.
 */
void eng_send_msg_lazily(const struct shm_msg *m);
struct mtime eng_conn_deadline(void); /* when eng_run() has connections to hand over or tell of */
int conn_fifo_put(struct conn_fifo *f, struct conn_ref c, struct mtime until); /* -ENOMEM */
void conn_fifo_pop(struct conn_fifo *f);
void conn_fifo_free(struct conn_fifo *f);
void conn_say(enum shm_op op, struct conn_ref c);
void conn_give_parting(struct mtime now); /* those that have had their time; MTIME_NEVER: all */
void eng_flush_lazy(void); /* before a sleep */
void eng_daemon_lost(void);
/* The program is done with a connection: ends it (@abort: RST) and hands over what is left. */
void conn_end(struct conn_ref c, bool abort, struct mtime now);
/* After tcp_close(): exports it to the daemon unless it has ended. */
void conn_give(struct conn_ref c);
const struct tcb *conn_get(struct conn_ref c); /* NULL: not there any more */
/* Tells the daemon to drop the flow entry. */
void conn_gone(struct conn_ref c, const struct tcp_addr_pair *a);
/*
 * heir.c: while the daemon is dead. Looks whether what it left is still ours, ends that if not;
 * attaches to the next one where no call is in the middle of something; when either is due.
 */
void heir_look(struct mtime now);
void heir_attach(struct mtime now);
struct mtime heir_deadline(void);
static inline bool heir_is_due(void)
{
	return eng.daemon_gone || eng.heir_busy;
}
/* ENGINE_LATE: attaches. -errno */
int eng_start_late(void);
/* In a child of fork(): the engine is its parent's. */
void eng_atfork_child(void);
/* All sockets closed, connections given back and taken (bounded), memory kept. */
void eng_wind_up(void);

/* attach.c: no lock needed but the engine's */
int eng_attach(const char *name);
void eng_detach(void); /* closes and unmaps everything */
/*
 * Attaches to the daemon that has the place of the one that is lost. -errno: all is as before. While
 * both attachments are there, @leave is called with the old one in eng.
 */
int eng_attach_again(void (*leave)(void));
extern int (*attach_again)(void (*leave)(void)); /* for tests */
void eng_forked(void); /* in a child of fork(): closes its copies of the descriptors */
int ctl_share(struct ctl_share *req, uint32_t *shared, int *fds, uint32_t *n_fds);
/* @twin: the kernel's socket that comes with a listener, ours to close; -1 */
int ctl_take(int fd, uint64_t cookie, struct ctl_take_reply *reply, int *twin);
/* One request and its reply. -errno of either, -ENETDOWN: the daemon is not there. */
int ctl_call(struct ctl_listen *req, uint16_t type, struct ctl_listen_reply *reply);
/* The same with a descriptor, @fd, which stays ours. */
int ctl_call_fd(struct ctl_listen *req, uint16_t type, struct ctl_listen_reply *reply, int fd);
/* CTL_LISTEN with @fds: what stands for the listener, and its twin, -1: none. @twin: as ctl_take(). */
int ctl_listen(struct ctl_listen *req, struct ctl_listen_reply *reply, const int fds[2], int *twin);
extern const char *attach_run_dir; /* for tests */

/* cancel.c: @w, of this thread, begins to wait; its call fails as it is cancelled */
void cancel_watch(struct waiter *w);
void cancel_noted(void);
/*
 * Has a handler run since this thread's call began, signals_begin()? Only under the shim, which
 * sees handlers. signals_taken(): the call has failed with EINTR for it.
 */
uint32_t signals_begin(void);
bool signals_since(uint32_t seen);
void signals_taken(void);
/* The eventfd that a handler signals, plus one, 0: none; what it was before. */
int signals_wake(int efd1);
/* This thread's call is past the point where it could be left undone; what it was before. */
bool cancel_off(void);
void cancel_as_before(bool could);

/* keeper.c */
int keeper_start(void);
void keeper_join(void); /* drops the lock meanwhile */
void keeper_oust(void); /* the program polls again */
void keeper_unpark(void);

/*
 * Moves a descriptor of the engine's out of the program's way: numbers that it can predict stay its
 * own. Returns the new one (@fd itself where that is not possible); -1 stays -1.
 */
int fd_private(int fd);
void fd_private_close(int fd);
/* To the user, if anybody prints it (lib_tell_hook()). */
void lib_tell(bool trouble, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void fd_signal(int efd);
void fd_drain(int efd);

#endif
