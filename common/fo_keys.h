/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The keys of a server's fast open cookies (RFC 7413 §4.1.2), as setsockopt(TCP_FASTOPEN_KEY) and
 * net.ipv4.tcp_fastopen_key have them: the first makes cookies, those of the second count as well.
 */
#ifndef TANDEM_COMMON_FO_KEYS_H
#define TANDEM_COMMON_FO_KEYS_H

#include <stdint.h>

#define FO_KEY_LEN 16u
#define FO_KEYS_MAX 2u

struct fo_keys {
	uint8_t key[FO_KEYS_MAX][FO_KEY_LEN];
	uint32_t n; /* 0: none */
};
_Static_assert(sizeof(struct fo_keys) == 36, "in messages, too");

#endif
