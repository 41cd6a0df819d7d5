// SPDX-License-Identifier: BSD-2-Clause
/*
 * /run/tandem/NAME: `pid` (locked for as long as the daemon lives), `netns` (inode of the network
 * namespace, by which applications find their daemon), `control` (ctl.c). Who gets the lock owns
 * the name; what a dead owner left, pins included, is removed.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <sys/file.h>
#include <sys/stat.h>
#include "daemon.h"

static int path_of(const struct daemon *d, const char *file, char *out, size_t len)
{
	int n = snprintf(out, len, "%s/%s", d->run_dir, file);

	return n < 0 || (size_t)n >= len ? -ENAMETOOLONG : 0;
}

static int make_dir(const char *path)
{
	return mkdir(path, 0755) && errno != EEXIST ? -errno : 0;
}

/* Locked, and still the file that its name leads to: an ending daemon unlinks it. */
static int lock_pid_file(const char *path)
{
	for (int tries = 0; tries < 10; tries++) {
		int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644), err;
		struct stat by_fd, by_name;

		if (fd < 0)
			return -errno;
		if (flock(fd, LOCK_EX | LOCK_NB)) {
			err = -errno;
			close(fd);
			return err;
		}
		if (!fstat(fd, &by_fd) && !stat(path, &by_name) && by_fd.st_ino == by_name.st_ino &&
		    by_fd.st_dev == by_name.st_dev)
			return fd;
		close(fd);
	}
	return -EAGAIN;
}

static int taken(const struct daemon *d, const char *path, char *why, size_t len)
{
	unsigned pid = 0;
	FILE *f = fopen(path, "re");

	if (f && fscanf(f, "%u", &pid) != 1)
		pid = 0;
	if (f)
		fclose(f);
	snprintf(why, len, "the name '%s' is taken: process %u serves it; give another with --name",
		 d->opt.name, pid);
	return -EEXIST;
}

int rundir_claim(struct daemon *d, char *why, size_t len)
{
	char path[160];
	int err;

	d->lock_fd = -1;
	err = snprintf(d->run_dir, sizeof(d->run_dir), CTL_RUN_DIR "/%s", d->opt.name) >=
			      (int)sizeof(d->run_dir)
		      ? -ENAMETOOLONG
		      : make_dir(CTL_RUN_DIR);
	if (!err)
		err = make_dir(d->run_dir);
	if (!err)
		err = path_of(d, "pid", path, sizeof(path));
	if (err) {
		snprintf(why, len, "cannot make %s: %s", d->run_dir, strerror(-err));
		return err;
	}
	d->lock_fd = lock_pid_file(path);
	if (d->lock_fd == -EWOULDBLOCK)
		return taken(d, path, why, len);
	if (d->lock_fd < 0) {
		snprintf(why, len, "cannot lock %s: %s", path, strerror(-d->lock_fd));
		return d->lock_fd;
	}
	/* Applications of a daemon that died let go when this is not there any more. */
	if (!path_of(d, CTL_SOCKET_NAME, path, sizeof(path)) && !unlink(path))
		d->patient = true;
	if (!xdp_prog_remove_pins(d->opt.name))
		say(d, "removed what a daemon that died under the name '%s' had left", d->opt.name);
	return 0;
}

static int write_file(const struct daemon *d, const char *file, uint64_t number)
{
	char path[160], text[32];
	int n = snprintf(text, sizeof(text), "%llu\n", (unsigned long long)number);
	int err = path_of(d, file, path, sizeof(path)), fd;

	if (err)
		return err;
	fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
	if (fd < 0)
		return -errno;
	if (write(fd, text, (size_t)n) != n)
		err = -EIO;
	close(fd);
	return err;
}

int rundir_publish(struct daemon *d, char *why, size_t len)
{
	struct stat st = {0};
	int err = stat("/proc/self/ns/net", &st) ? -errno : 0;

	d->netns_ino = st.st_ino;
	if (!err)
		err = write_file(d, "netns", d->netns_ino);
	if (!err)
		err = write_file(d, "pid", (uint64_t)getpid());
	if (err)
		snprintf(why, len, "cannot write in %s: %s", d->run_dir, strerror(-err));
	return err;
}

void rundir_remove(struct daemon *d)
{
	static const char *const files[] = {CTL_SOCKET_NAME, "netns", "pid"};
	char path[160];

	if (d->lock_fd < 0)
		return;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++)
		if (!path_of(d, files[i], path, sizeof(path)))
			unlink(path);
	rmdir(d->run_dir);
	close(d->lock_fd);
	d->lock_fd = -1;
}
