/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The loaded program in a network namespace of its own (unnamed, gone with the process), with a
 * bound AF_XDP socket to redirect to, and BPF_PROG_TEST_RUN on it.
 */
#ifndef TANDEM_SELFTESTS_BPF_XDP_ENV_H
#define TANDEM_SELFTESTS_BPF_XDP_ENV_H

#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <errno.h>
#include <linux/if_xdp.h>
#include <net/if.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>
#include "bpf/tandem.skel.h"
#include "common/flow.h"
#include "common/reasons.h"
#include "pktgen.h"

struct xdp_env {
	struct tandem_bpf *skel;
	struct xdp_settings settings;
	int prog_fd;
	int xsk_fd; /* bound to lo, queue 0 */
	void *umem;
};

#define ENV_UMEM_SIZE (8 * 4096)

static inline int env_xsk_open(struct xdp_env *e)
{
	struct xdp_umem_reg reg = {.len = ENV_UMEM_SIZE, .chunk_size = 4096};
	struct sockaddr_xdp addr = {.sxdp_family = AF_XDP, .sxdp_flags = XDP_COPY,
				    .sxdp_ifindex = if_nametoindex("lo")};
	int size = 8, fd = socket(AF_XDP, SOCK_RAW | SOCK_CLOEXEC, 0);

	e->umem = mmap(NULL, ENV_UMEM_SIZE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		       0);
	reg.addr = (uintptr_t)e->umem;
	if (fd < 0 || e->umem == MAP_FAILED ||
	    setsockopt(fd, SOL_XDP, XDP_UMEM_REG, &reg, sizeof(reg)) ||
	    setsockopt(fd, SOL_XDP, XDP_UMEM_FILL_RING, &size, sizeof(size)) ||
	    setsockopt(fd, SOL_XDP, XDP_UMEM_COMPLETION_RING, &size, sizeof(size)) ||
	    setsockopt(fd, SOL_XDP, XDP_RX_RING, &size, sizeof(size)) ||
	    bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		return -errno;
	e->xsk_fd = fd;
	return 0;
}

static inline int env_lo_up(void)
{
	struct ifreq ifr = {.ifr_name = "lo", .ifr_flags = IFF_UP};
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int err = fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr) ? -errno : 0;

	if (fd >= 0)
		close(fd);
	return err;
}

static inline int env_set_settings(struct xdp_env *e)
{
	uint32_t zero = 0;

	return bpf_map_update_elem(bpf_map__fd(e->skel->maps.settings), &zero, &e->settings, 0);
}

static inline int env_set_xsk(struct xdp_env *e, uint32_t slot, bool there)
{
	uint32_t k = TD_XSK_INDEX(slot, 0);
	int fd = bpf_map__fd(e->skel->maps.xsks);

	return there ? bpf_map_update_elem(fd, &k, &e->xsk_fd, 0) : bpf_map_delete_elem(fd, &k);
}

static inline int env_set_addr(struct xdp_env *e, const char *text)
{
	struct addr_key k = {.addr = addr_of(text)};
	struct addr_val v = {.flags = ADDR_F_PRIMARY};

	return bpf_map_update_elem(bpf_map__fd(e->skel->maps.addrs), &k, &v, 0);
}

static inline struct flow_key env_flow_key(const char *remote, uint16_t rport, const char *local,
					   uint16_t lport, uint8_t proto)
{
	struct flow_key k = {.remote = addr_of(remote), .local = addr_of(local),
			     .remote_port = htons(rport), .local_port = htons(lport),
			     .proto = proto};

	return k;
}

static inline int env_set_flow(struct xdp_env *e, const struct flow_key *k, uint32_t slot,
			       uint32_t state)
{
	struct flow_val v = {.slot = slot, .conn = 77, .generation = 5, .state = state};

	return bpf_map_update_elem(bpf_map__fd(e->skel->maps.flows), k, &v, 0);
}

static inline int env_set_port(struct xdp_env *e, const char *addr, uint16_t port, uint8_t proto,
			       uint32_t slot)
{
	struct port_key k = {.addr = addr_of(addr), .port = htons(port), .proto = proto};
	struct port_val v = {.slot = slot, .conn = 9};

	return bpf_map_update_elem(bpf_map__fd(e->skel->maps.ports), &k, &v, 0);
}

/* -errno, which the caller reports; everything goes with the process. */
static inline int env_open(struct xdp_env *e)
{
	int err;

	*e = (struct xdp_env){.xsk_fd = -1};
	if (unshare(CLONE_NEWNET))
		return -errno;
	err = env_lo_up();
	if (err)
		return err;
	err = env_xsk_open(e);
	if (err)
		return err;
	e->skel = tandem_bpf__open();
	if (!e->skel)
		return -errno;
	bpf_map__set_max_entries(e->skel->maps.flows, 65536);
	err = tandem_bpf__load(e->skel);
	if (err)
		return err;
	e->prog_fd = bpf_program__fd(e->skel->progs.tandem);
	e->settings = (struct xdp_settings){.reply_mode = XDP_REPLY_TX, .answer_arp = 1,
					    .answer_echo = 1, .mtu = 1500, .n_queues = 1};
	memcpy(e->settings.mac, mac_us, 6);
	return env_set_settings(e);
}

static inline void env_close(struct xdp_env *e)
{
	if (e->xsk_fd >= 0)
		close(e->xsk_fd);
	if (e->umem)
		munmap(e->umem, ENV_UMEM_SIZE);
	tandem_bpf__destroy(e->skel);
}

#endif
