/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The control socket: SOCK_SEQPACKET at /run/tandem/NAME/control, one message one packet,
 * request and reply in lock-step, descriptors by SCM_RIGHTS. The socket's file mode and group
 * decide who may connect; privileged requests need uid 0 (SO_PEERCRED). A message of another
 * version gets CTL_ERR with -EPROTO and our version in .version.
 */
#ifndef TANDEM_COMMON_CTL_H
#define TANDEM_COMMON_CTL_H

#include "addr.h"
#include "shm.h"
#include "flow.h"
#include "fo_keys.h"

#define CTL_MAGIC 0x74644354u
#define CTL_VERSION 4u
#define CTL_RUN_DIR "/run/tandem"
#define CTL_SOCKET_NAME "control"
#define CTL_MAX_MSG 65536u

enum ctl_type {
	CTL_REGISTER = 1, /* -> ctl_register_reply and descriptors */
	/*
	 * ctl_listen -> ctl_listen_reply. With the descriptor of a listener's share that a former
	 * daemon of this name has made (CTL_SHARE): it stands for this listener from now on. Where
	 * another process has done so before, ours is one more that has taken it (CTL_TAKE).
	 */
	CTL_LISTEN,
	CTL_UNLISTEN,	  /* ctl_listen (.id) -> ctl_hdr */
	CTL_BACKLOG,	  /* ctl_listen (.id .backlog .defer_accept .fastopen .fo_keys) -> ctl_hdr */
	/*
	 * ctl_listen: reserve an address and port for a later listen or connect. UDP: with the
	 * descriptor of a socket that is bound there, what comes to it is the application's from
	 * now on.
	 */
	CTL_BIND,
	CTL_UNBIND,   /* ctl_listen (.id) */
	CTL_FASTOPEN, /* ctl_listen (.addr) -> ctl_hdr: 0: a SYN to it would carry data; -ENOENT */
	CTL_STATUS,   /* -> text (JSON) in pieces of ctl_text, the last with .more = 0 */
	CTL_STAT,     /* the same: counters */
	CTL_SS,	      /* the same: connections, each on a line of its own */
	CTL_SS_BRIEF, /* CTL_SS without what takes long to tell: no timers, memory, TCP_INFO */
	CTL_DETACH,   /* privileged: take everything away and end; reply when that is done */
	CTL_SHARE,    /* ctl_share -> ctl_share_reply and a descriptor for each that is shared */
	CTL_TAKE,     /* ctl_take and one of these -> ctl_take_reply, then perhaps messages */
	/* ctl_listen -> ctl_listen_reply (.fo_keys): those of listeners without keys of their own */
	CTL_FASTOPEN_KEY,
};

struct ctl_hdr {
	uint32_t magic;
	uint16_t version;
	uint16_t type;
	int32_t error; /* replies: 0 or -errno */
	uint32_t len;  /* of the whole message, this header included */
};
_Static_assert(sizeof(struct ctl_hdr) == 16, "ctl_hdr");

struct ctl_register {
	struct ctl_hdr hdr;
	char comm[16]; /* for status */
};

/*
 * Descriptors with the reply, in this order: UMEM, UMEM control, own arena, daemon's arena
 * (read-only), doorbell to the daemon (eventfd), doorbell to the application (eventfd), then one
 * AF_XDP socket for each queue of the first interface, of the second one, and so on, then the
 * packet sockets of the interfaces with CTL_REG_GSO.
 */
#define CTL_REG_FIXED_FDS 6u
#define CTL_REG_MAX_FDS (CTL_REG_FIXED_FDS + TD_MAX_QUEUES + TD_MAX_NETIFS)
#define CTL_REG_GSO 1u
#define CTL_REG_TX_CSUM 2u
#define CTL_REG_PARTIAL_CSUM 4u
#define CTL_REG_SG 8u

struct ctl_reg_if {
	int32_t ifindex;
	uint32_t flags; /* CTL_REG_* */
	uint32_t n_queues;
	uint32_t mtu;
	uint8_t mac[6]; /* all zero: lo */
	uint8_t pad[2];
	char ifname[16];
};
_Static_assert(sizeof(struct ctl_reg_if) == 40, "ctl_reg_if");

struct ctl_register_reply {
	struct ctl_hdr hdr;
	uint32_t slot;
	uint32_t n_ifs;
	uint32_t n_queues; /* of all interfaces */
	uint32_t n_frames;
	uint32_t rx_size, tx_size, fill_size, comp_size;
	uint32_t fill_target;
	uint32_t pad;
	uint64_t seed[2];   /* for the engine's keys */
	uint64_t ts_key[2]; /* stack_cfg.ts_key */
	struct arena_layout own, daemon;
	struct ctl_reg_if ifs[TD_MAX_NETIFS];
	char name[64];
	uint32_t default_cc_len;
	char default_cc[16];
	uint8_t limits[256]; /* struct stack_limits, as the daemon has it */
	uint32_t limits_len;
	uint32_t busy_poll_us;
};

#define CTL_LISTEN_REUSEPORT 1u
#define CTL_LISTEN_REUSEADDR 2u
#define CTL_BIND_CHECK 4u   /* CTL_BIND: only say whether the address and port are allowed */
#define CTL_LISTEN_LOCAL 8u /* LISTEN, BACKLOG: my own stack can answer SYNs (SHM_LISTEN_FRONT) */
/*
 * LISTEN: I also accept what does not come by tandem's interfaces: the reply brings a kernel's socket that
 * listens there, unless there can be none. So do replies to CTL_TAKE of such a listener.
 */
#define CTL_LISTEN_TWIN 16u
#define CTL_LISTEN_HAS_TWIN 32u /* LISTEN: the last descriptor is such a one, of a former daemon's */

struct ctl_listen {
	struct ctl_hdr hdr;
	struct ip_addr addr; /* all zero or 0.0.0.0: any */
	uint16_t port;	     /* network order; 0: pick one */
	uint8_t proto;	     /* IPPROTO_TCP; BIND, UNBIND: or IPPROTO_UDP */
	uint8_t cc;	     /* congestion control, index + 1; 0: default */
	uint32_t backlog;
	uint32_t id; /* UNLISTEN, BACKLOG, UNBIND; LISTEN: the CTL_BIND that it takes over, or
			SHM_NIL */
	uint32_t flags;
	uint32_t defer_accept; /* s */
	uint32_t fastopen;     /* TCP_FASTOPEN */
	struct fo_keys fo_keys; /* TCP_FASTOPEN_KEY; .n 0: the daemon's */
};

struct ctl_listen_reply {
	struct ctl_hdr hdr;
	struct ip_addr addr;
	uint16_t port;
	uint16_t pad;
	uint32_t id;	/* for UNLISTEN, and in SHM_CONN_NEW messages */
	uint32_t index; /* of the shm_listener in the application's arena */
	struct fo_keys fo_keys; /* FASTOPEN_KEY */
};

/*
 * Sockets that other processes are to find behind a descriptor: after fork(), after exec, or passed
 * on. The descriptor that CTL_SHARE gives stands for the socket: whoever holds it may take the
 * socket with it (CTL_TAKE), and the socket ends when nobody does any more.
 */
enum ctl_share_kind {
	CTL_SHARE_LISTENER = 1,
	CTL_SHARE_CONN,
};

#define CTL_SHARE_MAX 32u

struct ctl_share {
	struct ctl_hdr hdr;
	uint32_t n; /* up to CTL_SHARE_MAX */
	uint32_t pad;
	struct {
		uint32_t kind;
		uint32_t id; /* of the listener, or the connection's index in the own arena */
		uint32_t generation;
	} e[CTL_SHARE_MAX];
};
_Static_assert(sizeof(struct ctl_share) == 24 + 12 * CTL_SHARE_MAX, "ctl_share");

struct ctl_share_reply {
	struct ctl_hdr hdr;
	uint32_t shared; /* bit i: entry i has a descriptor; they come in this order */
	uint32_t pad;
};

struct ctl_take {
	struct ctl_hdr hdr;
	/*
	 * A connection comes as SHM_CONN_OPENED with this, or fails. 0: it stays where it is, and
	 * can be had later by SHM_CONN_WANT, without the descriptor.
	 */
	uint64_t cookie;
};

struct ctl_take_reply {
	struct ctl_hdr hdr;
	uint32_t kind; /* enum ctl_share_kind */
	uint8_t cc;    /* with .defer_accept and .fastopen, as in ctl_listen: as it was made to listen */
	uint8_t pad[3];
	/* CTL_SHARE_LISTENER: as in ctl_listen_reply */
	struct ip_addr addr;
	uint16_t port;
	uint16_t pad2;
	uint32_t id; /* CTL_SHARE_CONN: for SHM_CONN_WANT */
	uint32_t index;
	uint32_t backlog;
	uint32_t defer_accept;
	uint32_t fastopen;
};
_Static_assert(sizeof(struct ctl_take_reply) == 64, "ctl_take_reply");

/*
 * These descriptors are sockets with an abstract name that begins so, then come the attachment's
 * name, '/', the share's id and a random number in hexadecimal.
 */
#define CTL_SHARE_PREFIX "tandem/"

struct ctl_text {
	struct ctl_hdr hdr;
	uint32_t more;
	uint32_t pad;
	char text[]; /* hdr.len - sizeof(struct ctl_text) bytes of UTF-8 */
};

#endif
