// SPDX-License-Identifier: BSD-2-Clause
/*
 * tandem run: a program that knows nothing of tandem, on tandem's sockets. All there is to it is
 * environment: LD_PRELOAD names the shim, which stands beside us where we were built, or in lib/
 * where we were installed; what the program starts in its turn inherits it.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "cli.h"

#define SHIM "libtandem-preload.so"
/* What shells return for a command that cannot be executed, and for one that is not there. */
#define EXIT_CANNOT 126
#define EXIT_NOT_FOUND 127

static int find_shim(const struct cli_args *a, char *path, size_t len)
{
	static const char *const places[] = {"/" SHIM, "/../lib/" SHIM, "/../lib64/" SHIM};
	char self[PATH_MAX];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n < 0)
		return cli_error(a, "cannot tell where %s is: %s (is /proc mounted?)", SHIM,
				 strerror(errno));
	self[n] = '\0';
	slash = strrchr(self, '/');
	*slash = '\0';
	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		if (snprintf(path, len, "%s%s", self, places[i]) < (int)len && !access(path, R_OK))
			return 0;
	}
	return cli_error(a, "%s is neither in %s nor in %s/../lib", SHIM, self, self);
}

static int preload(const struct cli_args *a)
{
	const char *others = getenv("LD_PRELOAD");
	char path[PATH_MAX + sizeof(SHIM) + 16], *value;
	int err = find_shim(a, path, sizeof(path));

	if (err)
		return err;
	if (strpbrk(path, " :"))
		return cli_error(a, "%s: LD_PRELOAD takes no path with a space or a colon", path);
	if (asprintf(&value, "%s%s%s", path, others && *others ? ":" : "", others ? others : "") <
	    0)
		return cli_error(a, "no memory");
	return setenv("LD_PRELOAD", value, 1) ? cli_error(a, "no memory") : 0;
}

static int set(const struct cli_args *a, const char *name, const char *value)
{
	if (value && setenv(name, value, 1))
		return cli_error(a, "no memory");
	return 0;
}

/*
 * The program would only find out with its first socket, perhaps late, and say who knows what. Where it
 * may have the kernel's sockets that is fine.
 */
static int check_attached(const struct cli_args *a)
{
	struct json_object *names = names_all();
	bool found = false;
	int pid, fd;

	for (size_t i = 0; !a->on && i < json_object_array_length(names); i++)
		found |= name_serves_netns(
			json_object_get_string(json_object_array_get_idx(names, i)));
	if (!a->on)
		return found ? 0
			     : cli_error(a, "nothing is attached in this network namespace: see "
					    "tandem attach --help, or use --fallback kernel");
	fd = ask_open(a->on, &pid);
	if (fd < 0)
		return cli_error(a, "%s: %s%s", a->on, ask_strerror(fd),
				 fd == -EACCES ? " (socket_mode and socket_group in tandem.conf)"
					       : "");
	close(fd);
	return 0;
}

static bool is_number(const char *s)
{
	return s[0] && strspn(s, "0123456789") == strlen(s) && strlen(s) < 10;
}

int cmd_run(const struct cli_args *a)
{
	int err;

	if (a->on && !name_valid(a->on))
		return cli_error(a, "'%s' cannot be the name of an attachment", a->on);
	if (a->busy_poll && !is_number(a->busy_poll)) {
		cli_error(a, "--busy-poll takes microseconds, not '%s'", a->busy_poll);
		return EXIT_USAGE;
	}
	err = a->fallback ? 0 : check_attached(a);
	if (!err)
		err = preload(a);
	if (!err)
		err = set(a, "TANDEM_NAME", a->on);
	if (!err)
		err = set(a, "TANDEM_BUSY_POLL", a->busy_poll);
	if (!err)
		err = set(a, "TANDEM_FALLBACK", a->fallback);
	if (err)
		return err;
	execvp(a->rest[0], a->rest);
	err = errno;
	cli_error(a, "%s: %s", a->rest[0], strerror(err));
	return err == ENOENT ? EXIT_NOT_FOUND : EXIT_CANNOT;
}
