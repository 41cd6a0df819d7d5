/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libbpf prints to stderr by itself. Here its last warning is kept instead, for a sentence of
 * ours to quote.
 */
#ifndef TANDEM_IO_LIBBPF_LOG_H
#define TANDEM_IO_LIBBPF_LOG_H

/* From here on libbpf is silent; forgets what was kept. */
void libbpf_log_reset(void);
/* The last warning of this thread, one line; "" where there was none. */
const char *libbpf_log_last(void);

#endif
