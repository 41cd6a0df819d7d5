// SPDX-License-Identifier: BSD-2-Clause
/*
 * rofile.h: a file on a tmpfs that is mounted twice, once for reading only, in a mount namespace of
 * which nothing is left but what the two descriptors refer to. Who opens the reader's descriptor
 * again opens it on a read-only mount, root or not.
 *
 * A memfd with F_SEAL_FUTURE_WRITE keeps others from writing as well, but also us from giving its
 * pages back: the seal forbids holes.
 */
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stddef.h>
#include <unistd.h>
#include <sys/mount.h>
#include "rofile.h"

#define PLACE "/run" /* to mount on; there always is one */
#define MOUNT_FLAGS (MS_NOSUID | MS_NODEV | MS_NOEXEC)

struct job {
	const char *name;
	uint64_t size;
	int dir, rw, ro; /* -1: not open */
};

static int mount_writable(struct job *j)
{
	/* What is mounted here shows nowhere else. */
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
	    mount("tandem", PLACE, "tmpfs", MOUNT_FLAGS, "size=0,nr_inodes=0,mode=0700"))
		return -errno;
	j->dir = open(PLACE, O_PATH | O_DIRECTORY | O_CLOEXEC);
	return j->dir < 0 ? -errno : 0;
}

static int mount_read_only(void)
{
	if (mount(PLACE, PLACE, NULL, MS_BIND, NULL) ||
	    mount(NULL, PLACE, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | MOUNT_FLAGS, NULL))
		return -errno;
	return 0;
}

static int open_both(struct job *j)
{
	int dir, err;

	j->rw = openat(j->dir, j->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (j->rw < 0 || ftruncate(j->rw, (off_t)j->size))
		return -errno;
	err = mount_read_only();
	if (err)
		return err;
	dir = open(PLACE, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return -errno;
	j->ro = openat(dir, j->name, O_RDONLY | O_CLOEXEC);
	err = j->ro < 0 ? -errno : 0;
	close(dir);
	return !err && unlinkat(j->dir, j->name, 0) ? -errno : err;
}

static void *run(void *arg)
{
	struct job *j = arg;
	int err = mount_writable(j);

	if (!err)
		err = open_both(j);
	if (j->dir >= 0)
		close(j->dir);
	return (void *)(intptr_t)err;
}

/* A thread may have a mount namespace of its own, which ends with it; descriptors it shares. */
int rofile_create(const char *name, uint64_t size, int *ro)
{
	struct job j = {.name = name, .size = size, .dir = -1, .rw = -1, .ro = -1};
	pthread_t thread;
	void *result;
	int err = -pthread_create(&thread, NULL, run, &j);

	if (err)
		return err;
	pthread_join(thread, &result);
	err = (int)(intptr_t)result;
	if (!err) {
		*ro = j.ro;
		return j.rw;
	}
	if (j.ro >= 0)
		close(j.ro);
	if (j.rw >= 0)
		close(j.rw);
	return err;
}
