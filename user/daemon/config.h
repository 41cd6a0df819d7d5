/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The daemon's configuration: "key = value" lines, '#' comments. One table says what keys there
 * are; parsing, defaults, error messages and the commented example (configs/tandem.conf)
 * all come from it.
 *
 * X(key, kind, field of struct config, min, max, default, help). Defaults and values have the same
 * form. What the kernel has a sysctl for has the sysctl's name.
 */
#ifndef TANDEM_DAEMON_CONFIG_H
#define TANDEM_DAEMON_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include "user/core/stack.h"

#define CONFIG_KEYS(X)                                                                             \
	X(claim, CLAIM, claim_all, 0, 1, "bound",                                                  \
	  "bound: only listening ports and known connections are tandem's, all else goes "         \
	  "on to the kernel. all: the interface's addresses are tandem's.")                        \
	X(max_flows, U32, max_flows, 1024, 1u << 26, "1048576", "Connections in all, at most.")    \
	X(max_connections, U32, max_connections, 64, 1u << 24, "262144",                           \
	  "Connections of one application, at most.")                                              \
	X(buffer_chunks, U32, buffer_chunks, 64, 1u << 26, "262144",                               \
	  "4 KiB chunks of socket buffers of one application, at most; memory is used as needed.") \
	X(umem_frames, POW2, umem_frames, 4096, 1u << 22, "32768",                                 \
	  "4 KiB packet frames of the interface, shared by the daemon and all applications.")      \
	X(rx_ring, POW2, rx_ring, 64, 32768, "1024", "Descriptors of a receive ring.")             \
	X(tx_ring, POW2, tx_ring, 64, 32768, "1024", "Descriptors of a transmit ring.")            \
	X(gso, BOOL, gso, 0, 1, "1",                                                               \
	  "Bulk data leaves in segments of up to 64 KB, which the kernel or the device cuts.")     \
	X(busy_poll_us, U32, busy_poll_us, 0, 1000000, "50",                                       \
	  "How long a blocked call spins before it sleeps, at most, in microseconds.")             \
	X(congestion_control, CC, cc, 0, 0, "cubic", "Congestion control of new connections.")     \
	X(socket_mode, OCTAL, socket_mode, 0, 0777, "0660",                                        \
	  "Mode of the control socket: who may use tandem on this interface.")                     \
	X(socket_group, GROUP, socket_group, 0, 0, "root", "Group of the control socket.")         \
	X(log_level, LEVEL, log_level, 0, 0, "info", "The least important lines that are logged.") \
	X(somaxconn, U32, limits.somaxconn, 1, 1u << 20, "4096", "Bound of a listener's backlog.") \
	X(tcp_max_syn_backlog, U32, limits.tcp_max_syn_backlog, 1, 1u << 20, "4096",               \
	  "Half-open connections of one listener.")                                                \
	X(tcp_syncookies, U32, limits.tcp_syncookies, 0, 2, "1",                                   \
	  "Answer SYNs with cookies when that many are half-open; 2: always.")                     \
	X(syncookies_xdp, BOOL, syncookies_xdp, 0, 1, "1",                                         \
	  "While the SYN queue of a listener overflows, the XDP program answers its SYNs by "      \
	  "cookies itself, where tcp_syncookies allows them.")                                     \
	X(listen_in_app, BOOL, listen_in_app, 0, 1, "1",                                           \
	  "Listeners shake hands in their process, not in the daemon, unless several processes "   \
	  "share the socket.")                                                                     \
	X(tcp_abort_on_overflow, BOOL, limits.tcp_abort_on_overflow, 0, 1, "0",                    \
	  "Reset connections for which the accept queue has no room.")                             \
	X(tcp_syn_retries, U32, limits.tcp_syn_retries, 1, 127, "6", "Retransmissions of a SYN.")  \
	X(tcp_synack_retries, U32, limits.tcp_synack_retries, 1, 127, "5",                         \
	  "Retransmissions of a SYN-ACK.")                                                         \
	X(tcp_retries1, U32, limits.tcp_retries1, 1, 255, "3",                                     \
	  "Timeouts after which the route is doubted.")                                            \
	X(tcp_retries2, U32, limits.tcp_retries2, 1, 255, "15",                                    \
	  "Timeouts after which a connection is given up.")                                        \
	X(tcp_orphan_retries, U32, limits.tcp_orphan_retries, 0, 255, "0",                         \
	  "Timeouts after which a closed connection is given up; 0 means 8.")                      \
	X(tcp_fin_timeout, U32, limits.tcp_fin_timeout, 1, 3600, "60",                             \
	  "Seconds that a closed connection waits for the peer's FIN.")                            \
	X(tcp_max_orphans, U32, limits.tcp_max_orphans, 0, 1u << 24, "65536",                      \
	  "Closed connections that may still be finished, at most.")                               \
	X(tcp_max_tw_buckets, U32, limits.tcp_max_tw_buckets, 1, 1u << 24, "65536",                \
	  "Connections in TIME_WAIT, at most.")                                                    \
	X(tcp_tw_reuse, U32, limits.tcp_tw_reuse, 0, 2, "2",                                       \
	  "1: connect() may take a pair that is in TIME_WAIT, where timestamps make that safe. "   \
	  "2: on loopback only.")                                                                  \
	X(tcp_rfc1337, BOOL, limits.tcp_rfc1337, 0, 1, "0",                                        \
	  "1: a reset does not end TIME_WAIT (RFC 1337); 0: one with the next number does.")       \
	X(tcp_keepalive_time, U32, limits.tcp_keepalive_time, 1, 32767, "7200",                    \
	  "Seconds of silence until the first keepalive probe.")                                   \
	X(tcp_keepalive_intvl, U32, limits.tcp_keepalive_intvl, 1, 32767, "75",                    \
	  "Seconds between keepalive probes.")                                                     \
	X(tcp_keepalive_probes, U32, limits.tcp_keepalive_probes, 1, 127, "9",                     \
	  "Unanswered keepalive probes that end a connection.")                                    \
	X(tcp_rmem, TRIPLE, limits.tcp_rmem, 2304, 1u << 30, "4096 131072 33554432",                \
	  "Receive buffer: least, initial, most, in bytes.")                                       \
	X(tcp_wmem, TRIPLE, limits.tcp_wmem, 4096, 1u << 30, "4096 16384 4194304",                 \
	  "Send buffer: least, initial, most, in bytes.")                                          \
	X(tcp_mem, TRIPLE, limits.tcp_mem, 0, 1u << 26, "0 0 0",                                   \
	  "Buffer chunks in use, of each application's and the daemon's: pressure ends, begins, "  \
	  "new work is refused, in pages of 4 KiB. All 0: 3/8, 1/2 and 3/4 of buffer_chunks.")     \
	X(tcp_window_scaling, BOOL, limits.tcp_window_scaling, 0, 1, "1",                          \
	  "Window scaling (RFC 7323).")                                                            \
	X(tcp_timestamps, BOOL, limits.tcp_timestamps, 0, 1, "1", "Timestamps (RFC 7323).")        \
	X(tcp_ecn, U32, limits.tcp_ecn, 0, 2, "2",                                                 \
	  "Explicit congestion notification (RFC 3168): 1 asks for it and agrees to it, 2 only "   \
	  "agrees, 0 neither.")                                                                    \
	X(tcp_slow_start_after_idle, BOOL, limits.tcp_slow_start_after_idle, 0, 1, "1",            \
	  "Begin with a small window after an idle time (RFC 5681).")                              \
	X(tcp_sack, BOOL, limits.tcp_sack, 0, 1, "1", "Selective acknowledgements (RFC 2018).")    \
	X(tcp_fastopen, U32, limits.tcp_fastopen, 0, 0x7ff, "1",                                   \
	  "Fast open (RFC 7413), the sum of: 1: clients; 2: servers that ask for it; 4: clients "  \
	  "without a cookie; 512: servers without one; 1024: all servers.")                        \
	X(tcp_fastopen_key, FO_KEYS, fo_keys, 0, 0, "kernel",                                      \
	  "Key of a server's fast open cookies, and the one of before; kernel: the network "       \
	  "namespace's own setting.")                                                              \
	X(tcp_fastopen_blackhole_timeout_sec, U32, limits.tcp_fastopen_blackhole_timeout_sec, 0,   \
	  86400, "0", "Seconds without fast open for clients after two such SYNs were lost.")      \
	X(tcp_challenge_ack_limit, U32, limits.tcp_challenge_ack_limit, 1, 1u << 30, "1000",       \
	  "Challenge ACKs per second (RFC 5961).")                                                 \
	X(icmp_ratelimit, U32, limits.icmp_ratelimit, 0, 1000000, "1000",                          \
	  "Milliseconds from one ICMP error to the next one to the same host, six at once apart; " \
	  "0: no limit.")                                                                          \
	X(icmp_msgs_per_sec, U32, limits.icmp_msgs_per_sec, 0, 1000000, "1000",                    \
	  "ICMP errors per second to all hosts; 0: no limit.")                                     \
	X(icmp_msgs_burst, U32, limits.icmp_msgs_burst, 1, 1000000, "50",                          \
	  "ICMP errors that may be sent at once after a while without any.")                       \
	X(ip_default_ttl, U32, limits.ip_default_ttl, 1, 255, "64",                                \
	  "Time to live of packets that are sent.")                                                \
	X(ip_local_port_range, PORTS, limits.port_lo, 1, 65535, "kernel",                          \
	  "Ports that connect() picks from: two numbers, or kernel, which is the network "         \
	  "namespace's own setting.")                                                              \
	X(gc_thresh3, U32, limits.gc_thresh3, 16, 1u << 20, "1024", "Neighbours at most.")         \
	X(unres_qlen, U32, limits.unres_qlen, 1, 4096, "101",                                      \
	  "Packets that wait for one neighbour's address.")                                        \
	X(ipfrag_high_thresh, U32, limits.ipfrag_high_thresh, 65536, 1u << 30, "4194304",          \
	  "Bytes of fragments that wait for the rest of a packet.")                                \
	X(ipfrag_time, U32, limits.ipfrag_time, 1, 3600, "30", "Seconds that they wait.")

struct config {
	struct stack_limits limits;
	uint32_t claim_all;
	uint32_t max_flows, max_connections, buffer_chunks, umem_frames, rx_ring, tx_ring;
	uint32_t gso, busy_poll_us, syncookies_xdp, listen_in_app;
	uint32_t socket_mode;
	uint32_t socket_group; /* gid */
	uint32_t log_level;    /* LOG_* */
	char cc[16];
	struct fo_keys fo_keys; /* .n 0: the kernel's */
};

/* As in net.ipv4.tcp_fastopen_key: one or two of "%08x-%08x-%08x-%08x", with a comma. */
bool fo_keys_parse(const char *text, struct fo_keys *k);
void config_default(struct config *c);
/* 0, or -EINVAL (-errno of the file) with a sentence in @why: file, line, and what is allowed. */
int config_load(struct config *c, const char *path, char *why, size_t len);
/* One "key = value" line; @where is what an error begins with ("FILE:LINE"). */
int config_line(struct config *c, const char *line, const char *where, char *why, size_t len);
/* All keys with their defaults, commented out: the text of configs/tandem.conf. */
void config_print_example(FILE *f);

#endif
