/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What newer kernels have in <linux/if_xdp.h> and distributions' headers have not yet, under names
 * of our own, so that both can be included.
 */
#ifndef TANDEM_IO_XSK_UAPI_H
#define TANDEM_IO_XSK_UAPI_H

#include <stdint.h>

#define XSK_USE_SG (1u << 4)		    /* XDP_USE_SG, bind flag */
#define XSK_PKT_CONTD (1u << 0)		    /* XDP_PKT_CONTD, descriptor option */
#define XSK_DESC_TX_METADATA (1u << 1)	    /* XDP_TX_METADATA, descriptor option */
#define XSK_UMEM_TX_METADATA_LEN (1u << 2)  /* XDP_UMEM_TX_METADATA_LEN */
#define XSK_TXMD_FLAGS_CHECKSUM (1ull << 1) /* XDP_TXMD_FLAGS_CHECKSUM */
#define XSK_MAX_TX_SKB_BUDGET 9		    /* XDP_MAX_TX_SKB_BUDGET, socket option */

/* struct xdp_umem_reg */
struct xsk_umem_reg {
	uint64_t addr, len;
	uint32_t chunk_size, headroom;
	uint32_t flags, tx_metadata_len;
};
_Static_assert(sizeof(struct xsk_umem_reg) == 32, "the kernel's layout");

/* struct xsk_tx_metadata, its request half; in front of the descriptor's address */
struct xsk_tx_meta {
	uint64_t flags;
	uint16_t csum_start; /* from the descriptor's address */
	uint16_t csum_offset;
	uint32_t pad;
	uint64_t launch_time;
};
_Static_assert(sizeof(struct xsk_tx_meta) == 24, "the kernel's layout");

#endif
