/* SPDX-License-Identifier: BSD-2-Clause */
/* Memory that we write and that others, whoever they are, can only read. */
#ifndef TANDEM_IO_ROFILE_H
#define TANDEM_IO_ROFILE_H

#include <stdint.h>

/*
 * A sparse file of @size bytes in memory, without a name. Descriptor, or -errno: -EPERM without
 * CAP_SYS_ADMIN. *@ro is a second one, to give away: nothing that is done with it (mmap(), opening
 * it again through /proc, fchmod()) ever makes it one for writing.
 */
int rofile_create(const char *name, uint64_t size, int *ro);

#endif
