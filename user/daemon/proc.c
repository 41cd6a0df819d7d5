// SPDX-License-Identifier: BSD-2-Clause
/* What /proc says of a process. */
#include <stdio.h>
#include <string.h>
#include "daemon.h"

bool proc_status(pid_t pid, const char *key, char *value, size_t size)
{
	size_t n = strlen(key);
	char path[32], line[128];
	bool found = false;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%d/status", (int)pid);
	f = fopen(path, "re");
	while (f && !found && fgets(line, sizeof(line), f)) {
		found = !strncmp(line, key, n) && line[n] == ':';
		if (found)
			snprintf(value, size, "%s", line + n + 1 + strspn(line + n + 1, " \t"));
	}
	if (f)
		fclose(f);
	return found;
}
