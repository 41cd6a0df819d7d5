// SPDX-License-Identifier: BSD-2-Clause
/*
 * attach and detach. The work is the daemon's: attach starts it, passes on what it says about its
 * choices and returns once it serves; detach asks it to take everything away, and only where
 * it is dead clears up itself.
 *
 * The daemon reports on --status-fd: lines of text for people, then "READY", or
 * "ERROR: sentence". It is in the background by the time it says READY.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include "common/ctl.h"
#include "user/io/clock.h"
#include "user/io/lo.h"
#include "user/io/xdp_prog.h"
#include "cli.h"

#define ATTACH_SECONDS 90 /* that a machine under load may take */
#define EXIT_SECONDS 10

/* ---- attach ---- */

/* Beside this program (build tree), in its installed place, or wherever PATH has it. */
static void exec_daemon(char *const argv[])
{
	static const char *const places[] = {"tandemd", "../sbin/tandemd", "../libexec/tandemd"};
	char self[PATH_MAX], path[PATH_MAX + 32];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);
	char *slash;

	if (n > 0) {
		self[n] = 0;
		slash = strrchr(self, '/');
		if (slash)
			*slash = 0;
		for (size_t i = 0; slash && i < sizeof(places) / sizeof(places[0]); i++) {
			snprintf(path, sizeof(path), "%s/%s", self, places[i]);
			execv(path, argv);
		}
	}
	execvp("tandemd", argv);
}

static void add_option(const char **argv, int *n, const char *option, const char *value)
{
	if (!value)
		return;
	argv[(*n)++] = option;
	argv[(*n)++] = value;
}

/* Starts the daemon with the write end of @status; returns its process id or -errno. */
static pid_t start_daemon(const struct cli_args *a, const char *name, int status[2])
{
	const char *argv[2 * TD_MAX_NETIFS + 20] = {"tandemd", "--name", name};
	char fd_text[16];
	int n = 3;
	pid_t pid;

	snprintf(fd_text, sizeof(fd_text), "%d", status[1]);
	for (char **p = a->rest; *p; p++)
		add_option(argv, &n, "--ifname", *p);
	add_option(argv, &n, "--netns", a->netns);
	add_option(argv, &n, "--mode", a->mode);
	add_option(argv, &n, "--claim", a->claim);
	add_option(argv, &n, "--config", a->config);
	add_option(argv, &n, "--status-fd", fd_text);
	pid = fork();
	if (pid < 0)
		return -errno;
	if (pid == 0) {
		int null = open("/dev/null", O_RDWR);

		dup2(null, 0);
		dup2(null, 1);
		if (null > 2)
			close(null);
		close(status[0]);
		exec_daemon((char *const *)argv);
		dprintf(status[1],
			"ERROR: cannot run tandemd: %s; it belongs beside this program "
			"or in PATH\n",
			strerror(errno));
		_exit(127);
	}
	close(status[1]);
	return pid;
}

enum report { REPORT_READY, REPORT_ERROR, REPORT_ENDED, REPORT_TIMEOUT };

static uint64_t now_ms(void)
{
	return clock_now().ns / 1000000;
}

/* Reads up to @len bytes, waiting until @deadline (ms). 0 at the end, -ETIMEDOUT. */
static ssize_t read_until(int fd, char *buf, size_t len, uint64_t deadline)
{
	struct pollfd p = {.fd = fd, .events = POLLIN};
	uint64_t now = now_ms();
	int n;

	do {
		n = poll(&p, 1, now < deadline ? (int)(deadline - now) : 0);
		now = now_ms();
	} while (n < 0 && errno == EINTR);
	if (n == 0)
		return -ETIMEDOUT;
	return read(fd, buf, len);
}

/* Passes each note on; @error gets the sentence of an "ERROR: " line. */
static enum report follow(int fd, const struct cli_args *a, struct json_object *notes, char *error,
			  size_t size)
{
	uint64_t deadline = now_ms() + ATTACH_SECONDS * 1000;
	char buf[4096];
	size_t have = 0;

	for (;;) {
		char *end = memchr(buf, '\n', have);
		ssize_t n;

		if (!end) {
			if (have == sizeof(buf))
				have = 0; /* no line of ours is that long */
			n = read_until(fd, buf + have, sizeof(buf) - have, deadline);
			if (n <= 0)
				return n == -ETIMEDOUT ? REPORT_TIMEOUT : REPORT_ENDED;
			have += (size_t)n;
			continue;
		}
		*end = 0;
		if (strcmp(buf, "READY") == 0)
			return REPORT_READY;
		if (strncmp(buf, "ERROR: ", 7) == 0) {
			snprintf(error, size, "%s", buf + 7);
			return REPORT_ERROR;
		}
		json_object_array_add(notes, json_object_new_string(buf));
		if (!a->json) {
			printf("  %s\n", buf);
			fflush(stdout);
		}
		have -= (size_t)(end + 1 - buf);
		memmove(buf, end + 1, have);
	}
}

/* Waits for the end of @pid. False: it still runs after EXIT_SECONDS. */
static bool wait_gone(int pid)
{
	int fd = (int)syscall(SYS_pidfd_open, pid, 0);
	struct pollfd p = {.fd = fd, .events = POLLIN};
	int n;

	if (fd < 0)
		return errno == ESRCH;
	n = poll(&p, 1, EXIT_SECONDS * 1000);
	close(fd);
	return n == 1;
}

static void stop_child(pid_t pid)
{
	kill(pid, SIGTERM);
	if (!wait_gone(pid))
		kill(pid, SIGKILL);
}

static int report_success(const struct cli_args *a, const char *name, struct json_object *notes)
{
	struct json_object *o, *status, *ifs = json_object_new_array();

	if (!a->json) {
		for (char **p = a->rest; *p; p++)
			printf("%s%s", p == a->rest ? "" : " and ", *p);
		printf(" %s attached as '%s'; to undo: tandem detach %s\n",
		       a->rest[1] ? "are" : "is", name, name);
		return 0;
	}
	status = ask_once(a, name, CTL_STATUS);
	o = json_object_new_object();
	json_object_object_add(o, "name", json_object_new_string(name));
	for (char **p = a->rest; *p; p++)
		json_object_array_add(ifs, json_object_new_string(*p));
	json_object_object_add(o, "interfaces", ifs);
	json_object_object_add(o, "notes", notes);
	json_object_object_add(o, "status", status);
	render_json(o);
	return status ? 0 : EXIT_RUNTIME;
}

/* What a dead one left the new one takes away (rundir.c). */
static bool daemon_dead(const char *name)
{
	int pid, fd = ask_open(name, &pid);

	if (fd >= 0)
		close(fd);
	return fd == -ENOENT || fd == -ECONNREFUSED;
}

static int check_attach(const struct cli_args *a, const char *name)
{
	uint32_t n = 0;

	while (a->rest[n])
		n++;
	if (n > TD_MAX_NETIFS)
		return cli_error(a, "one daemon serves up to %u interfaces", TD_MAX_NETIFS);
	if (geteuid() != 0)
		return cli_error(a, "this takes root (loading an XDP program, AF_XDP sockets)");
	if (!name_valid(name))
		return cli_error(a,
				 "'%s' cannot be a name (letters, digits, '.', '_', '-', up to %d "
				 "characters); give another with --name",
				 name, NAME_MAX_LEN);
	if (name_pinned(name) && !daemon_dead(name))
		return cli_error(a,
				 "the name '%s' is taken: " TD_PIN_ROOT "/%s exists; give another "
				 "with --name, or `tandem detach %s` first",
				 name, name, name);
	return 0;
}

int cmd_attach(const struct cli_args *a)
{
	struct json_object *notes = json_object_new_array();
	const char *name = a->name ? a->name : a->operand;
	char error[4096] = "";
	int status[2], err = check_attach(a, name);
	enum report r;
	pid_t pid;

	if (err)
		return err;
	if (pipe(status))
		return cli_error(a, "pipe: %s", strerror(errno));
	fcntl(status[0], F_SETFD, FD_CLOEXEC);
	if (!a->json) {
		printf("%s:\n", a->operand);
		fflush(stdout);
	}
	pid = start_daemon(a, name, status);
	if (pid < 0)
		return cli_error(a, "fork: %s", strerror(-pid));
	r = follow(status[0], a, notes, error, sizeof(error));
	switch (r) {
	case REPORT_READY:
		return report_success(a, name, notes);
	case REPORT_ERROR:
		wait_gone(pid); /* so that it has cleared up when we return */
		return cli_error(a, "%s", error);
	case REPORT_ENDED:
		wait_gone(pid);
		return cli_error(a, "tandemd ended without saying why; its log (stderr or syslog) "
				    "may tell");
	case REPORT_TIMEOUT:
		stop_child(pid);
		return cli_error(a, "tandemd was not ready after %d s and was stopped",
				 ATTACH_SECONDS);
	}
	return EXIT_RUNTIME;
}

/* ---- detach ---- */

#define NETNS_DIR "/run/netns"

static bool is_netns(const char *path, unsigned long long inode)
{
	struct stat st;

	return !stat(path, &st) && st.st_ino == inode;
}

/* Into the network namespace with that inode, if it is this one or has a name (ip-netns(8)). */
static bool enter_netns(unsigned long long inode)
{
	char path[sizeof(NETNS_DIR) + NAME_MAX + 1];
	DIR *d = opendir(NETNS_DIR);
	struct dirent *e;
	bool in = is_netns("/proc/self/ns/net", inode);

	while (!in && d && (e = readdir(d))) {
		int fd;

		snprintf(path, sizeof(path), NETNS_DIR "/%s", e->d_name);
		if (e->d_name[0] == '.' || !is_netns(path, inode))
			continue;
		fd = open(path, O_RDONLY | O_CLOEXEC);
		in = fd >= 0 && !setns(fd, CLONE_NEWNET);
		if (fd >= 0)
			close(fd);
	}
	if (d)
		closedir(d);
	return in;
}

/* lo's settings are those of the network namespace that a dead daemon was in. */
static void restore_lo(const struct cli_args *a, const char *name)
{
	char path[sizeof(CTL_RUN_DIR) + NAME_MAX_LEN + 32];
	unsigned long long inode = 0;
	FILE *f;

	snprintf(path, sizeof(path), CTL_RUN_DIR "/%s/" LO_NOTE, name);
	if (access(path, F_OK))
		return;
	snprintf(path, sizeof(path), CTL_RUN_DIR "/%s/netns", name);
	f = fopen(path, "re");
	if (f && fscanf(f, "%llu", &inode) != 1)
		inode = 0;
	if (f)
		fclose(f);
	snprintf(path, sizeof(path), CTL_RUN_DIR "/%s", name);
	if (enter_netns(inode))
		lo_restore(path);
	else
		cli_error(a,
			  "%s: lo's accept_local and route_localnet stay set: there is no way "
			  "to its network namespace",
			  name);
}

/* What a dead daemon left: pins, and the run directory with its files. */
static int clear_up(const struct cli_args *a, const char *name)
{
	static const char *const files[] = {"/" CTL_SOCKET_NAME, "/netns", "/pid", "/" LO_NOTE, ""};
	char path[sizeof(CTL_RUN_DIR) + NAME_MAX_LEN + 32];
	int err;

	/* First, so that applications end their connections while these are steered to them. */
	snprintf(path, sizeof(path), CTL_RUN_DIR "/%s/" CTL_SOCKET_NAME, name);
	remove(path);
	err = xdp_prog_remove_pins(name);
	restore_lo(a, name);

	if (err && err != -ENOENT)
		return cli_error(a, "%s: cannot remove " TD_PIN_ROOT "/%s: %s", name, name,
				 strerror(-err));
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(path, sizeof(path), CTL_RUN_DIR "/%s%s", name, files[i]);
		if (remove(path) && errno != ENOENT)
			return cli_error(a, "%s: cannot remove %s: %s", name, path,
					 strerror(errno));
	}
	return 0;
}

int cmd_detach(const struct cli_args *a)
{
	const char *name, *how = "detached";
	struct json_object *o;
	int pid = 0, fd, err;

	if (geteuid() != 0)
		return cli_error(a, "this takes root");
	name = names_resolve(a);
	if (!name)
		return EXIT_RUNTIME;
	fd = ask_open(name, &pid);
	if (fd == -ENOENT || fd == -ECONNREFUSED) {
		err = clear_up(a, name);
		how = "its daemon was dead; cleared up what it left";
	} else {
		err = fd < 0 ? fd : ask_plain(fd, CTL_DETACH);
		if (err == -ECONNRESET)
			err = 0; /* it ended before we read the reply: the check below decides */
		if (err)
			return cli_error(a, "%s: %s", name, ask_strerror(err));
		if (!wait_gone(pid))
			return cli_error(a, "%s: tandemd (process %d) has not ended", name, pid);
		err = name_pinned(name) ? clear_up(a, name) : 0;
	}
	if (err)
		return err;
	if (!a->json) {
		printf("%s: %s\n", name, how);
		return 0;
	}
	o = json_object_new_object();
	json_object_object_add(o, "name", json_object_new_string(name));
	json_object_object_add(o, "result", json_object_new_string(how));
	render_json(o);
	return 0;
}
