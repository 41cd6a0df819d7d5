// SPDX-License-Identifier: BSD-2-Clause
/* Constant tables: the limits' defaults, which are the kernel's, and the names of drop reasons. */
#include "internal.h"

void stack_limits_default(struct stack_limits *l)
{
	*l = (struct stack_limits){
		.somaxconn = 4096,
		.tcp_max_syn_backlog = 4096,
		.tcp_syncookies = 1,
		.tcp_abort_on_overflow = 0,
		.tcp_syn_retries = 6,
		.tcp_synack_retries = 5,
		.tcp_retries1 = 3,
		.tcp_retries2 = 15,
		.tcp_orphan_retries = 0,
		.tcp_fin_timeout = 60,
		.tcp_max_orphans = 65536,
		.tcp_max_tw_buckets = 65536,
		.tcp_tw_reuse = 2,
		.tcp_rfc1337 = 0,
		.tcp_keepalive_time = 7200,
		.tcp_keepalive_intvl = 75,
		.tcp_keepalive_probes = 9,
		.tcp_rmem = {4096, 131072, 33554432},
		.tcp_wmem = {4096, 16384, 4194304},
		.tcp_window_scaling = 1,
		.tcp_timestamps = 1,
		.tcp_sack = 1,
		.tcp_ecn = 2,
		.tcp_slow_start_after_idle = 1,
		.tcp_fastopen = 1,
		.tcp_challenge_ack_limit = 1000,
		.icmp_ratelimit = 1000,
		.icmp_msgs_per_sec = 1000,
		.icmp_msgs_burst = 50,
		.ip_default_ttl = 64,
		.gc_thresh3 = 1024,
		.unres_qlen = 101,
		.ipfrag_high_thresh = 4u << 20,
		.ipfrag_time = 30,
	};
}

const char *drop_name(enum drop d)
{
	static const char *const names[] = {
#define X(name, text) #name,
		DROP_REASONS(X)
#undef X
	};

	return (uint32_t)d < DROP_MAX ? names[d] : "?";
}
