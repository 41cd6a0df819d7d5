/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory that processes share: memfds sealed against resizing. */
#ifndef TANDEM_IO_MEMFD_H
#define TANDEM_IO_MEMFD_H

#include <stdint.h>

/* A sparse memfd of @size bytes, sealed with @more_seals besides. Descriptor or -errno. */
int memfd_sealed(const char *name, uint64_t size, unsigned more_seals);
int memfd_check_size(int fd, uint64_t size); /* Has it that size? 0, -errno */
/* … for good? If it could shrink, reading it might end us with SIGBUS. */
int memfd_check(int fd, uint64_t size);

#endif
