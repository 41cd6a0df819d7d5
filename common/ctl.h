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

#define CTL_MAGIC 0x74644354u
#define CTL_VERSION 2u
#define CTL_RUN_DIR "/run/tandem"
#define CTL_SOCKET_NAME "control"
#define CTL_MAX_MSG 65536u

enum ctl_type {
	CTL_REGISTER = 1, /* -> ctl_register_reply and descriptors */
	CTL_LISTEN,	  /* ctl_listen -> ctl_listen_reply */
	CTL_UNLISTEN,	  /* ctl_listen (.id) -> ctl_hdr */
	CTL_BACKLOG,	  /* ctl_listen (.id .backlog .defer_accept) -> ctl_hdr */
	/*
	 * ctl_listen: reserve an address and port for a later listen or connect. UDP: with the descriptor
	 * of a socket that is bound there, what comes to it is the application's from now on.
	 */
	CTL_BIND,
	CTL_UNBIND,	  /* ctl_listen (.id) */
	CTL_STATUS,	  /* -> text (JSON) in pieces of ctl_text, the last with .more = 0 */
	CTL_STAT,	  /* the same: counters */
	CTL_SS,		  /* the same: connections, each on a line of its own */
	CTL_SS_BRIEF, /* CTL_SS without what takes long to tell: no timers, memory, TCP_INFO */
	CTL_DETACH,	  /* privileged: take everything away and end; reply when that is done */
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
	uint64_t seed[2]; /* for the engine's keys */
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
#define CTL_BIND_CHECK 4u /* CTL_BIND: only say whether the address and port are allowed */

struct ctl_listen {
	struct ctl_hdr hdr;
	struct ip_addr addr; /* all zero or 0.0.0.0: any */
	uint16_t port;	     /* network order; 0: pick one */
	uint8_t proto;	     /* IPPROTO_TCP; BIND, UNBIND: or IPPROTO_UDP */
	uint8_t cc;	     /* congestion control, index + 1; 0: default */
	uint32_t backlog;
	uint32_t id; /* UNLISTEN, BACKLOG, UNBIND; LISTEN: the CTL_BIND that it takes over, or SHM_NIL */
	uint32_t flags;
	uint32_t defer_accept; /* s */
};

struct ctl_listen_reply {
	struct ctl_hdr hdr;
	struct ip_addr addr;
	uint16_t port;
	uint16_t pad;
	uint32_t id;	/* for UNLISTEN, and in SHM_CONN_NEW messages */
	uint32_t index; /* of the shm_listener in the application's arena */
};

struct ctl_text {
	struct ctl_hdr hdr;
	uint32_t more;
	uint32_t pad;
	char text[]; /* hdr.len - sizeof(struct ctl_text) bytes of UTF-8 */
};

#endif
