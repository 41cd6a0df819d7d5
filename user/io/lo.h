/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lo, for packets that do not come out of the kernel's own stack: it takes those from the host's
 * own addresses, and to 127/8, for forgeries, unless told that they are expected on lo
 * (accept_local, route_localnet, rp_filter in Documentation/networking/ip-sysctl.rst). Nobody
 * outside of the host can send on lo, so that this opens nothing to others.
 */
#ifndef TANDEM_IO_LO_H
#define TANDEM_IO_LO_H

#include <stddef.h>

/* Its file in that directory. */
#define LO_NOTE "lo-sysctls"

/*
 * Sets lo's sysctls of this network namespace. What they were is noted in the directory @dir, for
 * lo_restore(). -errno and @why.
 */
int lo_accept_local(const char *dir, char *why, size_t len);
/* Sets them back, and removes the note. Nothing is noted: nothing is done. */
void lo_restore(const char *dir);

#endif
