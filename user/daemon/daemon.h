/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the daemon's files share. One thread, one loop (loop.c), one struct daemon for the
 * interfaces of one attachment. Nothing here waits for an application or a client: rings and
 * sockets that are full are tried again later, and who does not read is dropped.
 */
#ifndef TANDEM_DAEMON_DAEMON_H
#define TANDEM_DAEMON_DAEMON_H

#include <sys/types.h>
#include "common/ctl.h"
#include "user/core/stack.h"
#include "user/io/trim.h"
#include "user/io/clock.h"
#include "user/io/netlink.h"
#include "user/io/port.h"
#include "user/io/xdp_prog.h"
#include "config.h"
#include "log.h"
#include "recs.h"

struct daemon;
struct client;

/* A descriptor in the loop's epoll set. */
struct watch {
	int fd; /* -1: not watched */
	void (*fn)(struct daemon *d, struct watch *w, uint32_t events);
};

struct options {
	const char *name, *netns, *config;
	const char *ifnames[TD_MAX_NETIFS];
	uint32_t n_ifs;
	enum xdp_mode mode;
	int claim; /* -1: as configured */
	bool foreground;
	int status_fd; /* -1: none */
};

/* ---- applications ---- */

/* An address and port that an application has reserved, or listens on. */
struct member {
	struct member *next; /* of its group */
	struct group *group;
	struct app *app;
	uint32_t id;	/* index in app->members, what the application calls it */
	uint32_t index; /* of its shm_listener; SHM_NIL until it listens */
	uint32_t flags; /* CTL_LISTEN_* */
	uint32_t backlog;
	uint32_t handed; /* connections sent on their way to it so far */
	bool listening;
	bool asked;	     /* SHM_LISTEN_WANT */
	struct share *share; /* the listener is shared, and this is one process's part in it */
	bool uses;	     /* .share: it has wanted a connection (SHM_LISTEN_USE) */
	bool events;	     /* and may have a part of its SYNs (SHM_USE_EVENTS) */
	uint32_t served;     /* when it last got one, in .share->serial */
	/* front.c */
	bool can_front; /* it could answer SYNs itself */
	uint8_t front;	/* SHM_FRONT_*: and does, of those that its application gets */
	bool untold;	/* there may be connections that came so, of which we know nothing */
	uint32_t places; /* in the group's spread */
	bool twin;	 /* without .share: it accepts from the group's kernel socket, too (twin.c) */
};

/* A socket that other processes may come to hold, too (share.c). */
struct share {
	struct watch w; /* first. Hangs up when nobody holds the socket's descriptor any more */
	uint32_t id;
	uint32_t kind;	 /* enum ctl_share_kind */
	uint64_t cookie; /* SO_COOKIE of what they hold */
	bool adopted;	 /* a former daemon has made that: its name has another id */
	/* a listener */
	struct group *group;
	struct share *next; /* of its group */
	uint32_t flags, backlog;
	bool twin; /* who has it accepts from the group's kernel socket, too */
	uint32_t pool, n_pool; /* connections (REC_HELD) for whoever wants one */
	uint32_t told;	       /* .n_pool as members see it in .pending */
	uint32_t serial;
	uint32_t n_users; /* members that .uses it */
	uint32_t n_able, n_fronts; /* front.c: those that could answer SYNs, and that do */
	bool changed; /* its options, so that not all who have it need know them */
	/* a connection */
	uint32_t rec;	      /* SHM_NIL: it has ended */
	struct taker *takers; /* who wants it, oldest first */
	uint16_t *holders;    /* slots that have shown its descriptor */
	uint32_t n_holders;
	struct share *wait_next, **wait_pprev; /* d->waiting, while there are some */
	uint64_t offer_cookie;		       /* READY, OFFERED: of who gets it */
	struct mtime hold;		       /* not to be taken from its new owner before */
	bool recalled;
};

/* Of a listener, as far as the stack that shakes hands has to know them. */
struct listen_opts {
	uint32_t defer_accept, fastopen;
	struct fo_keys fo_keys;
};

/* All members of one address and port: more than one only with SO_REUSEPORT (or not listening). */
struct group {
	struct group *next;
	struct ip_addr addr; /* normalised: any is :: */
	uint16_t port;
	bool again;    /* the accept queue was left because a member's ring was full */
	int kernel_fd; /* keeps the kernel from giving the port to others */
	uint32_t n_twins; /* and listens for these; 0: it is only bound */
	uid_t uid;
	struct member *members;
	struct share *shares;  /* its shared listeners */
	uint32_t n_listening;  /* sockets: members without a share, and shares */
	uint32_t core_id;      /* SHM_NIL: nobody listens */
	struct listen_opts opts;
	uint8_t cc; /* index + 1, 0: default */
	uint32_t outside;      /* as the stack knows it */
	bool flooded;	       /* the XDP program answers its SYNs */
	uint32_t front_slot;   /* of the port's entry: an application's, a spread, or ours (front.c) */
	struct spread *spread; /* NULL: none. Which socket a pair's connections go to */
	uint32_t spread_id;
	struct mtime settled; /* until then a member may know pairs that others get packets of */
	struct mtime overflow; /* the last time that this was seen to be needed */
};

enum app_stage {
	APP_ALIVE = 0,
	APP_ENDING,    /* its connections are being ended */
	APP_QUIESCING, /* out of `xsks`; packets on their way may still arrive in its sockets */
	APP_DRAINING,  /* sockets closed; the kernel may still send frames of it */
};

struct app {
	uint16_t slot;
	enum app_stage stage;
	struct mtime next_step; /* of its removal */
	struct client *client;	/* NULL when it is gone */
	pid_t pid;
	bool stopped; /* by a signal, as last seen; looked at only where others can do its work */
	uid_t uid;
	char comm[16];
	struct arena arena;
	struct arena_view view;
	struct shm_msg_ring *to_daemon, *to_app;
	struct shm_pkt_ring *pkts_to_daemon, *pkts_to_app;
	struct xsk *xsks; /* [n_queues] */
	uint32_t n_xsks;
	struct watch bell; /* it rings when we sleep */
	int bell_app;	   /* we ring */
	int gso_fd[TD_MAX_NETIFS];
	bool wake;			 /* something was put into its rings */
	uint32_t links_changed;		 /* bit for each interface: it is to be told of that */
	uint32_t opening, ready, handed; /* lists of records; .handed: OFFERED and TAKEN */
	uint32_t n_conns;		 /* in these */
	struct member **members;	 /* by id; NULL: free */
	uint32_t n_members;
	uint32_t n_listening;
	struct udp_claim **udp; /* by id; NULL: free */
	uint32_t n_udp;
	uint64_t index_used[SHM_MAX_LISTENERS / 64];
	uint8_t *syn_data; /* SHM_CONNECT_DATA, until the SHM_CONNECT it is for */
	uint32_t syn_len;
	uint32_t *rx_left; /* frames found in its RX rings */
	uint32_t n_rx_left;
};

/* ---- interfaces ---- */

/* One interface. Its index in d->ifs is its netif in the stack, too. */
struct iface {
	const char *name;
	uint16_t netif;
	bool loopback;
	uint32_t first, n_queues; /* its queues, among all */
	struct nl_link link;
	struct xdp_probe probe;
	struct xsk_opts xsk_opts;
	struct xdp_settings settings;
	int gso_fd;
	struct nl_mirror *nl;
	struct watch nl_watch, arp;
};

/* An address that one of them has, or several. */
struct own_addr {
	struct ip_addr addr;
	uint32_t n;
};

/* ---- the daemon ---- */

struct daemon {
	struct options opt;
	struct config cfg;
	struct mtime now, started;

	/* loop.c */
	int epfd;
	bool stop;
	const char *stop_why;
	struct watch sig;
	struct watch *xsk_watch; /* [n_queues] */

	/* rundir.c */
	int lock_fd;
	char run_dir[128];
	uint64_t netns_ino;

	/* iface.c */
	struct iface ifs[TD_MAX_NETIFS];
	uint32_t n_ifs;
	struct umem umem;
	bool patient;	  /* somebody may have to let go of the queues first */
	struct xsk *xsks; /* slot 0's [n_queues], the first interface's first */
	struct umem_queue *uqs;
	uint32_t n_queues, n_xsks;
	uint32_t ring_size; /* of fill and completion rings */
	uint32_t fill_target;
	struct xdp_prog *prog;
	struct arena arena;
	struct arena_view view;
	struct trim trim;
	struct port *port;
	struct stack *stack;
	void *stack_mem;
	size_t stack_mem_len;
	struct own_addr *addrs; /* of all interfaces */
	uint32_t n_addrs;

	/* connections */
	struct recs recs;
	uint16_t inject_from; /* slot whose injection ring is being read, or TD_SLOT_NONE */
	uint64_t control_tokens;
	struct mtime control_filled;
	bool table_full_said;

	/* ports.c */
	bool ports_read;
	struct mtime ports_when;
	uint64_t ports_reserved[65536 / 64];

	/* applications and listeners */
	struct app *apps[TD_MAX_SLOTS];
	uint32_t slots; /* all in use are below */
	uint64_t ts_key[2]; /* stack_cfg.ts_key */
	struct group *groups;
	uint32_t n_fronts; /* members that are .untold */
	uint64_t spreads_used;
	struct group **by_core; /* [n_core_listeners] */
	uint32_t n_core_listeners;
	struct udp_port **udp_ports; /* udp.c's; NULL: none yet */
	uint32_t udp_cursor;
	struct mtime udp_checked;
	uint64_t mib_ended[MIB_MAX]; /* of applications that have ended */
	bool retry;		     /* something waits for room in an application's ring */

	/* sweep.c */
	uint32_t sweep_at;     /* the next frame */
	uint32_t sweep_left;   /* pieces */
	uint32_t sweep_pool;   /* frames of the pool that were met in this round … */
	uint32_t sweep_unread; /* … and ones said to be the kernel's that stand in no ring */
	uint32_t sweep_excess; /* of these: more than it can have, in the last round */
	struct mtime sweep_next;
	struct mtime stop_look; /* front.c: when to look for members that are stopped */
	uint64_t frames_found; /* that were lost */

	/* synflood.c */
	uint32_t n_flooded;	 /* groups */
	struct mtime flood_look; /* when to look at them again */
	uint64_t cookie_period;	 /* of the secrets that the program has */
	uint64_t cookies_seen;	 /* SYNs that it has answered until .flood_look */
	/* share.c */
	struct share **shares; /* by index */
	uint32_t n_shares, max_shares, n_adopted;
	struct share *waiting; /* those that somebody wants to take */

	/* ctl.c */
	struct watch ctl;
	int spare_fd;
	struct client *clients;
	struct client *detach_for; /* waits for the reply to CTL_DETACH */
};

static inline struct rec *rec_at(struct daemon *d, uint32_t i)
{
	return &d->recs.r[i];
}

/* loop.c */
int watch_add(struct daemon *d, struct watch *w, uint32_t events);
void watch_mod(struct daemon *d, struct watch *w, uint32_t events);
void watch_del(struct daemon *d, struct watch *w); /* closes it, too */
int loop_open(struct daemon *d);
void loop_run(struct daemon *d);
/* One round at d->now over all that can bring work. Returns how much came in. */
uint32_t loop_round(struct daemon *d);
void loop_stop(struct daemon *d, const char *why);
/* Sends what the stack has; to be called now and then by whoever makes many packets at once. */
void loop_output(struct daemon *d);
void loop_events(struct daemon *d);
void loop_close(struct daemon *d);
int reload_config(struct daemon *d); /* main.c */

/* proc.c: the line "KEY: VALUE" of /proc/PID/status, without the key. False: there is none. */
bool proc_status(pid_t pid, const char *key, char *value, size_t size);

/* twin.c: the kernel's listening socket beside ours */
void twin_begin(struct group *g, struct member *m, uint32_t backlog);
void twin_end(const struct daemon *d, struct member *m);
void twin_share_end(const struct daemon *d, struct share *sh);
void twin_backlog(const struct group *g, uint32_t backlog);
int twin_of(const struct app *a, uint32_t id); /* the group's; -1: it has not asked for it */
bool twin_fits(const struct daemon *d, int fd, const struct ip_addr *addr, uint16_t port);

/* rundir.c: /run/tandem/NAME, whose locked pid file says that the name is in use */
int rundir_claim(struct daemon *d, char *why, size_t len);
int rundir_publish(struct daemon *d, char *why, size_t len);
void rundir_remove(struct daemon *d);

/* iface.c: what the program has and does on its interfaces, from nothing and back */
int iface_open(struct daemon *d, char *why, size_t len);
int iface_watch(struct daemon *d, char *why, size_t len); /* live changes, last of all */
void iface_close(struct daemon *d);
bool iface_has_addr(const struct daemon *d, const struct ip_addr *a);
/* The sockets of queue @q, among all: of which interface? */
struct iface *iface_of_queue(struct daemon *d, uint32_t q);
/* The MTU that the stack is given: packets of ours are bounded. */
uint32_t iface_mtu(const struct iface *f, uint32_t mtu);
/* Packet frames that we and @n_apps applications need. */
uint32_t iface_frames_for(const struct daemon *d, uint32_t n_apps);
/* Tells whoever started us, or else the log. */
void say(const struct daemon *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

/* app.c */
/* A new application for @c: its slot, arena, sockets. -errno */
int app_register(struct daemon *d, struct client *c, const struct ctl_register *req,
		 struct app **out);
/* Fills in the reply, and the descriptors for it, which stay ours; returns how many. */
uint32_t app_reply(struct daemon *d, struct app *a, struct ctl_register_reply *r, int *fds);
/* It is gone, in whatever condition: takes everything back. The slot is free after a grace. */
void app_gone(struct daemon *d, struct app *a);
/* Next steps of removals that are due. When there is more to do. */
struct mtime app_removals(struct daemon *d);
/* Frees at once what is left of all; at the end. */
void app_free_all(struct daemon *d);
void app_sleeps(struct app *a, bool sleeping);
/* Is there something to take from its rings now? */
bool app_has_work(const struct app *a);
/* Messages and packets from it. Returns how many. */
uint32_t app_run(struct daemon *d, struct app *a);
void app_wake(struct app *a);

/* handover.c */
uint32_t app_messages(struct daemon *d, struct app *a);
bool app_push(struct app *a, const struct shm_msg *m);
/* The record of @a's connection; SHM_NIL: it has no such. */
uint32_t handover_find(struct daemon *d, const struct app *a, uint32_t conn, uint32_t generation);
/* The connection of record @i, which is ours, is closed by its last holder. */
void handover_close(struct daemon *d, uint32_t i);
/* Offers what is READY while there is room. */
void handover_flush(struct daemon *d, struct app *a);
struct flow_key flow_key_of(const struct tcp_addr_pair *p);
/* The connection that a message names by addresses and ports. */
static inline struct tcp_addr_pair shm_msg_pair(const struct shm_msg *m)
{
	return (struct tcp_addr_pair){.local = m->local,
				      .remote = m->remote,
				      .local_port = m->local_port,
				      .remote_port = m->remote_port};
}
struct tcp_addr_pair pair_of(const struct flow_key *k);
/* The record of one of our stack's connections; SHM_NIL. */
uint32_t rec_of_own(struct daemon *d, uint32_t conn, uint32_t generation);
/* Moves it to @st, from list to list. */
void rec_set_state(struct daemon *d, uint32_t i, enum rec_state st);
/* A record for @slot; one in TIME_WAIT is replaced. SHM_NIL: taken, or full. */
uint32_t rec_new(struct daemon *d, const struct flow_key *k, uint16_t slot, enum rec_state st);
/* Writes the entry in `flows`. */
int rec_enter_flow(struct daemon *d, uint32_t i, const struct flow_val *v);
int rec_set_flow(struct daemon *d, uint32_t i, uint16_t slot, enum flow_state st);
/* Forgets it, its flow entry included. */
void rec_drop(struct daemon *d, uint32_t i);
/* Events of the stack that concern records. */
void handover_event(struct daemon *d, const struct stack_ev *ev);
/* Ends up to @budget connections of @a, as the kernel does when a process dies. True: all. */
bool handover_app_gone(struct daemon *d, struct app *a, uint32_t budget);
/* Resets everything, also what applications still hold; at detach. */
void handover_reset_all(struct daemon *d);

/* Of any arena: only its addresses and ports are read, once. */
struct flow_key key_of_tcb(const struct tcb *t);

/* front.c: listeners that run in their application */
/* As long as a request that began with one member may end there, and its TIME_WAIT after that. */
#define FRONT_SETTLE_NS (180 * NS_PER_S)
/* Who answers the SYNs of @g may have changed. */
void front_update(struct daemon *d, struct group *g);
/* SHM_CONN_MINE */
void front_told(struct daemon *d, struct app *a, const struct shm_msg *m);
/* Makes records of all connections of @a that it has not told of, while it waits or is dead. */
void front_adopt(struct daemon *d, struct app *a);
/*
 * The same for what is in TIME_WAIT, and for what is half-open at listeners that other processes go on with;
 * when @a has ended, or its listener @id is about to.
 */
void front_adopt_rest(struct daemon *d, struct app *a);
void front_leaves(struct daemon *d, struct app *a, uint32_t id);
/* SHM_LISTEN_USE */
void front_uses(struct daemon *d, struct app *a, const struct shm_msg *m);
struct mtime front_run(struct daemon *d); /* when to run next */
/* Its member is about to be freed. */
void front_forget(struct daemon *d, struct member *m);
/* Its share has gone; what came by it is still to be told, or looked for. */
void front_unshare(struct member *m);
/* Nobody listens any more. */
void front_stop(struct daemon *d, struct group *g);
/*
 * Who else than our stack may know this pair, of which there is no record, and has not been asked
 * yet; NULL: nobody.
 */
struct app *front_of(struct daemon *d, const struct tcp_addr_pair *p);
/* Where the XDP program sends a SYN of this pair, if that is an application. */
struct app *front_answers(struct daemon *d, const struct tcp_addr_pair *p);

/* spread.c: groups of several sockets, some of which run in their applications */
/* Shares the places out among the sockets. -errno: there is none of it then. */
int spread_update(struct daemon *d, struct group *g);
void spread_drop(struct daemon *d, struct group *g);
/* The member that @k's place belongs to; NULL: it is one of those that do not answer SYNs. */
struct member *spread_member(const struct group *g, const struct flow_key *k);

/* connect.c */
void connect_request(struct daemon *d, struct app *a, const struct shm_msg *m);
void connect_data(struct app *a, const struct shm_msg *m);
void connect_cancel(struct daemon *d, struct app *a, uint64_t cookie);
/* EV_CONNECTED, EV_ERROR of the connection of record @i. */
void connect_event(struct daemon *d, uint32_t i, const struct stack_ev *ev);

/* ports.c */
#define PORT_SET_WORDS (65536u / 64)
/* A list as ip_local_reserved_ports has it ("8080,9000-9010"). */
void ports_parse(uint64_t *set, const char *list);
/* Reads the namespace's sysctls about local ports, where that is some time ago. */
void ports_refresh(struct daemon *d);
bool port_reserved(const struct daemon *d, uint16_t port); /* network order */
/*
 * May the application use this port (network order), as the kernel's ip_unprivileged_port_start
 * says? Below that it has CAP_NET_BIND_SERVICE now (docs/architecture.md, "Who may take a socket over").
 */
bool port_allowed(const struct app *a, uint16_t port);
/* Binds a socket of the kernel, which so says whether it has the port; @fd may be NULL. -errno */
int kernel_bind(const struct ip_addr *addr, uint16_t *port, bool reuse, int *fd);

/* listener.c */
int listener_bind(struct daemon *d, struct app *a, const struct ctl_listen *req,
		  struct ctl_listen_reply *r);
int listener_listen(struct daemon *d, struct app *a, const struct ctl_listen *req, int twin,
		    struct ctl_listen_reply *r);
/* The same with @fd, which stands for the listener since a former daemon: CTL_LISTEN. */
int listener_listen_again(struct daemon *d, struct app *a, const struct ctl_listen *req, int fd,
			  int twin, struct ctl_listen_reply *r);
int listener_backlog(struct daemon *d, struct app *a, const struct ctl_listen *req);
int listener_unlisten(struct daemon *d, struct app *a, uint32_t id);
void listener_app_gone(struct daemon *d, struct app *a);
/* Connections on their way to the member's accept(): what it says is believed within reason. */
uint32_t member_waiting(const struct member *m);
uint32_t group_half_open(const struct daemon *d, const struct group *g);
struct port_key port_key_of(const struct group *g);
/* Does a listener's port entry match all packets to this address and port? */
bool listener_covers(const struct daemon *d, const struct ip_addr *addr, uint16_t port);
/* Has @a reserved this port for itself? */
bool listener_reserved(const struct app *a, const struct ip_addr *addr, uint16_t port);
/* The socket @id of @a; NULL: none. */
struct member *member_get(const struct app *a, uint32_t id);
/* A listener is shared from here on. -errno */
int listener_share(struct daemon *d, struct app *a, uint32_t id, struct share *sh);
/* @a takes part in shared listener @sh. */
int listener_join(struct daemon *d, struct app *a, struct share *sh, struct ctl_take_reply *r);
/* Nobody holds it any more. */
void listener_share_gone(struct daemon *d, struct share *sh);

/* dispatch.c */
/* Connections of the core's listener @core_id can be taken. */
void dispatch_accept(struct daemon *d, uint32_t core_id);
/* Tells the stack how many connections wait for accept() in applications; retries .again. */
void dispatch_refresh(struct daemon *d);
/* The connection of @r did not get to @a's accept queue. */
void dispatch_refused(struct app *a, const struct rec *r);
/* The connection of record @i, if it came by fast open, is confirmed or gone: it counts no more. */
void dispatch_confirmed(struct daemon *d, uint32_t i);
/* A connection in our stack goes (back) to those who share the listener of its record. */
void dispatch_pool(struct daemon *d, struct share *sh, uint32_t i);
void dispatch_unpool(struct daemon *d, uint32_t i);
/* Member @id of a share wants a connection; it hears SHM_LISTEN_NONE if there is none. */
void dispatch_wanted(struct daemon *d, struct app *a, uint32_t id);
/* The member that record @i was sent to did not accept it. */
void dispatch_returned(struct app *a, const struct rec *r);

/* udp.c */
void udp_begin(struct daemon *d);
bool same_netns(const struct daemon *d, int fd); /* is the socket @fd in ours? */
int int_opt(int fd, int level, int name);	  /* getsockopt(); -1: none */
void udp_end(struct daemon *d);
/*
 * @a has bound the kernel's socket @fd, which is taken over: what comes to its port is @a's.
 * -EBUSY: a process has it that this one was forked from. -errno: @fd stays the caller's.
 */
int udp_claim(struct daemon *d, struct app *a, const struct ctl_listen *req, int fd,
	      struct ctl_listen_reply *r);
int udp_unclaim(struct daemon *d, struct app *a, uint32_t id);
void udp_app_gone(struct daemon *d, struct app *a);
/* Now and then: lets go of ports that their sockets do not have any more. */
void udp_recheck(struct daemon *d);
struct jbuf;
void udp_report(const struct daemon *d, struct jbuf *j); /* an array "udp" */
/* fokey.c: the stack's are those of the configuration, or of the kernel, as they are now. */
void fo_keys_refresh(struct daemon *d);
void udp_resolve(struct daemon *d, const struct shm_msg *m);
/* Who gets datagrams between these two ends; NULL: no application. */
struct app *udp_owner(struct daemon *d, const struct tcp_addr_pair *a);

/* share.c */
/* Shares what @req names, in @a's hands; the descriptors are the caller's to close. */
void share_request(struct daemon *d, struct app *a, const struct ctl_share *req,
		   struct ctl_share_reply *r, int *fds, uint32_t *n_fds);
/* @a takes what @fd stands for. -errno */
int share_take(struct daemon *d, struct app *a, int fd, uint64_t cookie, struct ctl_take_reply *r);
struct share *share_by_fd(struct daemon *d, int fd); /* NULL: it is none of ours */
/* The descriptor @fd, which a former daemon has made, stands for @a's listener. */
int share_adopt(struct daemon *d, struct app *a, uint32_t listener, int fd);
/* SHM_CONN_WANT: the same by who has shown the descriptor before. */
void share_want(struct daemon *d, struct app *a, const struct shm_msg *m);
/* The share that record @i belongs to; NULL. */
struct share *share_of(struct daemon *d, const struct rec *r);
/*
 * The connection of record @i is in our stack and belongs to a share that lives: it is kept for
 * that. False: it has none.
 */
bool share_keep(struct daemon *d, uint32_t i);
/* The same of one that was exported to an application, which will not have it. */
bool share_unoffer(struct daemon *d, uint32_t i);
void share_taken(struct daemon *d, uint32_t i); /* the application has it now */
void share_rec_gone(struct daemon *d, uint32_t i);
/* Is its other end closed? Then it is gone when this returns true. */
bool share_hung_up(struct daemon *d, struct share *sh);
void share_app_gone(struct daemon *d, struct app *a);
struct mtime share_deadline(struct daemon *d); /* recalls what is due, when the next one is */
void share_free_all(struct daemon *d);

/* synflood.c */
/* Its value in `ports`. */
struct port_val listener_port_val(const struct daemon *d, const struct group *g);
/* The core's listener @core_id has begun to send cookies. */
void synflood_begin(struct daemon *d, uint32_t core_id);
/* It listens no more. */
void synflood_forget(struct daemon *d, struct group *g);
/* Whom it concerns, when it is time; returns when next. */
struct mtime synflood_run(struct daemon *d);

/* sweep.c */
/* Looks for lost frames when it is time; returns when next. */
struct mtime sweep_run(struct daemon *d);
void sweep_close(struct daemon *d);

/* filter.c: in front of the stack */
enum port_verdict filter_packet(void *ctx, struct pkt *p);
/* A segment that came in fragments: true: it is an application's, which has it now. */
bool filter_segment(void *ctx, const struct pkt *p);
/* ... and what the stack has said DROP_STALE_FLOW of, as port_stale_fn. */
bool filter_yielded(void *ctx, struct pkt *p);
/* The ends of a whole TCP or UDP packet of the stack's; it as a copy to @a. */
struct tcp_addr_pair filter_pair(const struct pkt *p);
void filter_pass_copy(struct daemon *d, const struct pkt *p, struct app *a);

/* ctl.c */
int ctl_open(struct daemon *d, char *why, size_t len);
void ctl_close(struct daemon *d);
/* The other end of @fd, taken over, is a client. */
void ctl_adopt(struct daemon *d, int fd);
struct mtime ctl_deadline(const struct daemon *d);
void ctl_expire(struct daemon *d); /* clients that do not read */
void ctl_reap(struct daemon *d);   /* frees clients that have ended; not within an event */
/*
 * Checks what every message must have. 0; -EBADMSG: not one of ours; -EPROTO: another version;
 * -EINVAL: an unknown type, or not of its type's size.
 */
int ctl_check(const void *msg, size_t len, struct ctl_hdr *h);

#endif
