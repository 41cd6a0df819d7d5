// SPDX-License-Identifier: BSD-2-Clause
/* libbpf_log.h: one kept warning per thread, as the printer has no argument of its own. */
#include <bpf/libbpf.h>
#include <stdio.h>
#include <string.h>
#include "libbpf_log.h"

static _Thread_local char last[160];

static int keep(enum libbpf_print_level level, const char *fmt, va_list ap)
{
	if (level != LIBBPF_WARN)
		return 0;
	vsnprintf(last, sizeof(last), fmt, ap);
	last[strcspn(last, "\n")] = '\0';
	return 0;
}

void libbpf_log_reset(void)
{
	libbpf_set_print(keep);
	last[0] = '\0';
}

const char *libbpf_log_last(void)
{
	return last;
}
