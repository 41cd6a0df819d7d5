// SPDX-License-Identifier: BSD-2-Clause
/*
 * tandemd: the slow path of its interfaces. Command line, going into the background, starting in
 * order and stopping in the reverse. Who starts it is told on --status-fd: lines of text about
 * what was chosen, then "READY" or "ERROR: sentence".
 */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include "daemon.h"

enum { EXIT_RUNTIME = 1, EXIT_USAGE = 2 };

/* ---- telling ---- */

void say(const struct daemon *d, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	if (d->opt.status_fd >= 0)
		dprintf(d->opt.status_fd, "%s\n", text);
	log_info("%s", text);
}

/* Errors are one line. */
static int tell_error(const struct daemon *d, char *why)
{
	for (char *p = why; *p; p++)
		if (*p == '\n')
			*p = ' ';
	if (d->opt.status_fd >= 0)
		dprintf(d->opt.status_fd, "ERROR: %s\n", why);
	log_err("%s", why);
	return EXIT_RUNTIME;
}

/* ---- command line ---- */

static const char usage[] =
	"Usage: tandemd --name NAME --ifname IF... [--netns NAME] [--mode auto|native|generic]\n"
	"               [--claim bound|all] [--config FILE] [--foreground] [--status-fd N]\n"
	"       tandemd --example-config\n"
	"--ifname may be repeated. The slow path of the interfaces; `tandem attach` starts it.\n";

static int bad_usage(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
static int bad_usage(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("tandemd: ", stderr);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n%s", usage);
	return EXIT_USAGE;
}

static int set_mode(struct options *o, const char *text)
{
	for (enum xdp_mode m = XDP_MODE_AUTO; m <= XDP_MODE_GENERIC; m++)
		if (!strcmp(text, xdp_mode_name(m))) {
			o->mode = m;
			return 0;
		}
	return bad_usage("--mode '%s': allowed are auto, native, generic", text);
}

static int set_claim(struct options *o, const char *text)
{
	o->claim = !strcmp(text, "all");
	if (o->claim || !strcmp(text, "bound"))
		return 0;
	return bad_usage("--claim '%s': allowed are bound, all", text);
}

static int set_status_fd(struct options *o, const char *text)
{
	char *end;
	long v = strtol(text, &end, 10);

	if (*end || v < 0 || v > 65535 || fcntl((int)v, F_SETFD, FD_CLOEXEC))
		return bad_usage("--status-fd '%s': not an open descriptor", text);
	o->status_fd = (int)v;
	return 0;
}

/* -1: go on; else the exit status. */
static int parse_options(struct options *o, int argc, char **argv)
{
	static const struct option longs[] = {
		{"name", required_argument, NULL, 'n'},
		{"ifname", required_argument, NULL, 'i'},
		{"netns", required_argument, NULL, 'N'},
		{"mode", required_argument, NULL, 'm'},
		{"claim", required_argument, NULL, 'c'},
		{"config", required_argument, NULL, 'f'},
		{"foreground", no_argument, NULL, 'F'},
		{"status-fd", required_argument, NULL, 's'},
		{"example-config", no_argument, NULL, 'e'},
		{"help", no_argument, NULL, 'h'},
		{"version", no_argument, NULL, 'V'},
		{NULL, 0, NULL, 0},
	};
	int opt, err = 0;

	*o = (struct options){.claim = -1, .status_fd = -1};
	while (!err && (opt = getopt_long(argc, argv, "", longs, NULL)) >= 0) {
		switch (opt) {
		case 'n':
			o->name = optarg;
			break;
		case 'i':
			if (o->n_ifs == TD_MAX_NETIFS)
				return bad_usage("--ifname: up to %u", TD_MAX_NETIFS);
			o->ifnames[o->n_ifs++] = optarg;
			break;
		case 'N':
			o->netns = optarg;
			break;
		case 'm':
			err = set_mode(o, optarg);
			break;
		case 'c':
			err = set_claim(o, optarg);
			break;
		case 'f':
			o->config = optarg;
			break;
		case 'F':
			o->foreground = true;
			break;
		case 's':
			err = set_status_fd(o, optarg);
			break;
		case 'e':
			config_print_example(stdout);
			return 0;
		case 'h':
			fputs(usage, stdout);
			return 0;
		case 'V':
			puts("tandemd " TANDEM_VERSION);
			return 0;
		default:
			return bad_usage("see the options below");
		}
	}
	if (err)
		return err;
	if (optind < argc)
		return bad_usage("'%s' is one word too many", argv[optind]);
	if (!o->name || !o->n_ifs)
		return bad_usage("--name and --ifname are needed");
	return -1;
}

/* Both become names of directories and files. */
static bool name_ok(const char *s, size_t max)
{
	size_t n = strlen(s);

	return n && n <= max && s[0] != '.' && !strchr(s, '/') && !strpbrk(s, " \t\n");
}

static int check_options(const struct options *o, char *why, size_t len)
{
	if (geteuid()) {
		snprintf(why, len, "this takes root (loading an XDP program, AF_XDP sockets)");
		return -EPERM;
	}
	if (!name_ok(o->name, 63)) {
		snprintf(why, len, "'%s' cannot be a name; give another with --name", o->name);
		return -EINVAL;
	}
	for (uint32_t i = 0; i < o->n_ifs; i++) {
		if (!name_ok(o->ifnames[i], IFNAMSIZ - 1)) {
			snprintf(why, len, "there is no interface '%s'", o->ifnames[i]);
			return -ENODEV;
		}
		for (uint32_t k = 0; k < i; k++)
			if (!strcmp(o->ifnames[i], o->ifnames[k])) {
				snprintf(why, len, "%s is named twice", o->ifnames[i]);
				return -EINVAL;
			}
	}
	if (o->netns && !name_ok(o->netns, 255)) {
		snprintf(why, len, "there is no network namespace '%s'", o->netns);
		return -ENOENT;
	}
	return 0;
}

static int read_config(struct daemon *d, struct config *c, char *why, size_t len)
{
	int err = 0;

	config_default(c);
	if (d->opt.config)
		err = config_load(c, d->opt.config, why, len);
	if (d->opt.claim >= 0)
		c->claim_all = (uint32_t)d->opt.claim;
	return err;
}

/* What can change while we run: the log, and what applications are given from now on. */
int reload_config(struct daemon *d)
{
	char why[512];
	struct config c;
	int err = read_config(d, &c, why, sizeof(why));

	if (err) {
		log_err("settings not read again: %s", why);
		return err;
	}
	d->cfg.log_level = c.log_level;
	d->cfg.busy_poll_us = c.busy_poll_us;
	d->cfg.limits = c.limits;
	d->cfg.fo_keys = c.fo_keys;
	fo_keys_refresh(d);
	log_set_level((int)c.log_level);
	log_info("settings read again: log level and fast open keys hold now, limits for new applications");
	return 0;
}

/* ---- starting ---- */

/* Only the network namespace: bpffs and /run stay the ones that everybody sees. */
static int enter_netns(const char *name, char *why, size_t len)
{
	char path[300];
	int fd, err = 0;

	snprintf(path, sizeof(path), "/run/netns/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0) {
		err = -errno;
		snprintf(why, len, "there is no network namespace '%s': %s: %s", name, path,
			 strerror(-err));
		return err;
	}
	if (setns(fd, CLONE_NEWNET)) {
		err = -errno;
		snprintf(why, len, "cannot enter network namespace '%s': %s", name, strerror(-err));
	}
	close(fd);
	return err;
}

static void raise_fd_limit(void)
{
	struct rlimit r;

	if (!getrlimit(RLIMIT_NOFILE, &r)) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}

static void daemon_init(struct daemon *d)
{
	d->now = d->started = clock_now();
	d->epfd = d->lock_fd = d->spare_fd = -1;
	d->sig.fd = d->ctl.fd = -1;
	d->inject_from = TD_SLOT_NONE;
	d->slots = 1;
}

/* 0, or -errno with all undone. */
static int start(struct daemon *d, char *why, size_t len)
{
	uint64_t key[2];
	int err;

	if (getrandom(key, sizeof(key), 0) != sizeof(key))
		return -EIO;
	err = loop_open(d);
	if (err)
		return err;
	err = recs_init(&d->recs, d->cfg.max_flows, key);
	if (err)
		goto err_loop;
	err = rundir_claim(d, why, len);
	if (err)
		goto err_recs;
	err = iface_open(d, why, len);
	if (err)
		goto err_iface;
	err = rundir_publish(d, why, len);
	if (err)
		goto err_iface;
	err = ctl_open(d, why, len);
	if (err)
		goto err_ctl;
	err = iface_watch(d, why, len);
	if (err)
		goto err_ctl;
	return 0;
err_ctl:
	ctl_close(d);
err_iface:
	iface_close(d);
	rundir_remove(d);
err_recs:
	recs_free(&d->recs);
err_loop:
	loop_close(d);
	return err;
}

static void stop(struct daemon *d)
{
	log_info("ending: %s", d->stop_why);
	d->now = clock_now();
	handover_reset_all(d);
	app_free_all(d);
	udp_end(d);
	iface_close(d);
	rundir_remove(d);
	ctl_close(d); /* the reply to CTL_DETACH: all of that is done */
	recs_free(&d->recs);
	loop_close(d);
}

/* ---- background ---- */

/*
 * The process that was started waits in waitpid() or for the byte that says that the daemon
 * serves. Returns in the child, with the pipe's end in *@done.
 */
static int go_background(int *done)
{
	int p[2], status;
	pid_t pid;
	char c;

	if (pipe2(p, O_CLOEXEC))
		return -errno;
	pid = fork();
	if (pid < 0)
		return -errno;
	if (!pid) {
		close(p[0]);
		*done = p[1];
		/* Until then the end of the one is the end of the other. */
		prctl(PR_SET_PDEATHSIG, SIGTERM);
		return 0;
	}
	close(p[1]);
	if (read(p[0], &c, 1) == 1)
		_exit(0);
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		_exit(EXIT_RUNTIME);
	_exit(WEXITSTATUS(status));
}

/* False: who started us is not there any more, and would not know that we run. */
static bool report_ready(struct daemon *d, int done)
{
	int null;

	if (d->opt.status_fd >= 0) {
		if (dprintf(d->opt.status_fd, "READY\n") < 0)
			return false;
		close(d->opt.status_fd);
		d->opt.status_fd = -1;
	}
	if (done < 0)
		return true;
	prctl(PR_SET_PDEATHSIG, 0);
	setsid();
	log_open(d->opt.name, false);
	if (chdir("/"))
		return false;
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	if (null < 0 || dup2(null, 0) < 0 || dup2(null, 1) < 0 || dup2(null, 2) < 0)
		return false;
	close(null);
	if (write(done, "", 1) != 1)
		log_warn("the starting process has gone");
	close(done);
	return true;
}

static int run(struct daemon *d)
{
	char why[1024] = "";
	int done = -1, err;

	/* Who has a status descriptor shows errors itself. */
	log_open(d->opt.name, d->opt.foreground || d->opt.status_fd < 0);
	err = check_options(&d->opt, why, sizeof(why));
	if (!err)
		err = read_config(d, &d->cfg, why, sizeof(why));
	if (!err && d->opt.netns)
		err = enter_netns(d->opt.netns, why, sizeof(why));
	if (err)
		return tell_error(d, why);
	if (!d->opt.foreground) {
		err = go_background(&done);
		if (err)
			return tell_error(d, strerror(-err));
	}
	log_set_level((int)d->cfg.log_level);
	signal(SIGPIPE, SIG_IGN);
	umask(022);
	raise_fd_limit();
	daemon_init(d);
	err = start(d, why, sizeof(why));
	if (err) {
		if (!*why)
			snprintf(why, sizeof(why), "cannot start: %s", strerror(-err));
		return tell_error(d, why);
	}
	if (report_ready(d, done)) {
		for (uint32_t i = 0; i < d->n_ifs; i++)
			log_info("serving %s (%s mode)", d->ifs[i].name,
				 xdp_mode_name(d->ifs[i].probe.mode));
		loop_run(d);
	} else {
		loop_stop(d, "who started it has gone away");
	}
	stop(d);
	return 0;
}

int main(int argc, char **argv)
{
	static struct daemon d;
	int rc = parse_options(&d.opt, argc, argv);

	return rc >= 0 ? rc : run(&d);
}
