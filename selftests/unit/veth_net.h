/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A veth pair between two namespaces that end with this process, and a small XDP program for it;
 * for tests that need root. Include it in one file of a program.
 *
 *	namespace A (ours)                  namespace B
 *	v0 10.9.0.1 ─────────────────────── v1 10.9.0.2
 */
#ifndef TANDEM_TEST_VETH_NET_H
#define TANDEM_TEST_VETH_NET_H

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <netinet/in.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include "common/flow.h"
#include "common/reasons.h"

static int sh(const char *cmd)
{
	int r = system(cmd);

	if (r)
		print_error("failed: %s\n", cmd);
	return r ? -1 : 0;
}

/* ---- the XDP program, in BPF's own instructions ---- */

#define INSN(c, d, s, o, i)                                                                        \
	((struct bpf_insn){.code = (c), .dst_reg = (d), .src_reg = (s), .off = (o), .imm = (i)})
#define MOV(d, s) INSN(BPF_ALU64 | BPF_MOV | BPF_X, d, s, 0, 0)
#define MOVI(d, i) INSN(BPF_ALU64 | BPF_MOV | BPF_K, d, 0, 0, i)
#define ADDI(d, i) INSN(BPF_ALU64 | BPF_ADD | BPF_K, d, 0, 0, i)
#define LD(sz, d, s, o) INSN(BPF_LDX | BPF_MEM | (sz), d, s, o, 0)
#define STI(o, i) INSN(BPF_ST | BPF_MEM | BPF_W, BPF_REG_2, 0, o, (int)(i))
#define JGT(d, s, o) INSN(BPF_JMP | BPF_JGT | BPF_X, d, s, o, 0)
#define JNE(d, i, o) INSN(BPF_JMP | BPF_JNE | BPF_K, d, 0, o, i)
#define CALL(f) INSN(BPF_JMP | BPF_CALL, 0, 0, 0, f)
#define EXIT INSN(BPF_JMP | BPF_EXIT, 0, 0, 0, 0)

/* Redirects UDP to @map by the lowest bit of its destination port, metadata in front. */
static int veth_prog(int map)
{
	const struct bpf_insn prog[] = {
		MOV(BPF_REG_6, BPF_REG_1),
		LD(BPF_W, BPF_REG_3, BPF_REG_6, 0), /* data */
		LD(BPF_W, BPF_REG_4, BPF_REG_6, 4), /* data_end */
		MOV(BPF_REG_5, BPF_REG_3),
		ADDI(BPF_REG_5, 38),
		JGT(BPF_REG_5, BPF_REG_4, 23), /* pass */
		LD(BPF_B, BPF_REG_5, BPF_REG_3, 23),
		JNE(BPF_REG_5, IPPROTO_UDP, 21), /* pass */
		LD(BPF_B, BPF_REG_7, BPF_REG_3, 37),
		INSN(BPF_ALU64 | BPF_AND | BPF_K, BPF_REG_7, 0, 0, 1),
		MOV(BPF_REG_1, BPF_REG_6),
		MOVI(BPF_REG_2, -16),
		CALL(BPF_FUNC_xdp_adjust_meta),
		JNE(BPF_REG_0, 0, 15),		    /* pass */
		LD(BPF_W, BPF_REG_2, BPF_REG_6, 8), /* data_meta */
		LD(BPF_W, BPF_REG_3, BPF_REG_6, 0),
		MOV(BPF_REG_5, BPF_REG_2),
		ADDI(BPF_REG_5, 16),
		JGT(BPF_REG_5, BPF_REG_3, 10), /* pass */
		STI(0, PKT_META_MAGIC | XR_PORT_DIRECT << 16),
		STI(4, 14 | 34 << 16),
		STI(8, 7),
		STI(12, 9),
		INSN(BPF_LD | BPF_DW | BPF_IMM, BPF_REG_1, BPF_PSEUDO_MAP_FD, 0, map),
		INSN(0, 0, 0, 0, 0),
		MOV(BPF_REG_2, BPF_REG_7),
		MOVI(BPF_REG_3, XDP_DROP),
		CALL(BPF_FUNC_redirect_map),
		EXIT,
		MOVI(BPF_REG_0, XDP_PASS),
		EXIT,
	};
	LIBBPF_OPTS(bpf_prog_load_opts, o, .prog_flags = 1u << 5 /* BPF_F_XDP_HAS_FRAGS */);

	return bpf_prog_load(BPF_PROG_TYPE_XDP, "test_redirect", "GPL", prog,
			     sizeof(prog) / sizeof(prog[0]), &o);
}

/* ---- the namespaces ---- */

/* This process is in A afterwards. */
static int veth_make(int *ns_b)
{
	int ns_a, r;

	if (unshare(CLONE_NEWNET) < 0)
		return -1;
	*ns_b = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (unshare(CLONE_NEWNET) < 0)
		return -1;
	ns_a = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	if (*ns_b < 0 || ns_a < 0 || setns(*ns_b, CLONE_NEWNET) < 0)
		return -1;
	/* Made in B and moved to A, which is its parent's: the shell's parent is this process. */
	r = sh("sysctl -qw net.ipv6.conf.default.disable_ipv6=1; ip link set lo up && ip link add "
	       "v1 "
	       "type veth peer name v0 && ip addr add 10.9.0.2/24 dev v1 && ip link set v1 up");
	if (!r) {
		char cmd[128];

		snprintf(cmd, sizeof(cmd), "ip link set v0 netns /proc/%d/fd/%d", getpid(), ns_a);
		r = sh(cmd);
	}
	if (setns(ns_a, CLONE_NEWNET) < 0)
		return -1;
	close(ns_a);
	return r ? r
		 : sh("sysctl -qw net.ipv6.conf.all.disable_ipv6=1; ip addr add 10.9.0.1/24 dev v0 "
		      "&& "
		      "ip link set v0 up");
}

/* Runs @fn in namespace @ns. */
static void in_namespace(int ns, void (*fn)(void *), void *arg)
{
	int here = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);

	assert_int_equal(setns(ns, CLONE_NEWNET), 0);
	fn(arg);
	assert_int_equal(setns(here, CLONE_NEWNET), 0);
	close(here);
}

#endif
