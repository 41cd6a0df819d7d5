// SPDX-License-Identifier: BSD-2-Clause
/*
 * lo.h. The note is a file of lines "sysctl old new"; a sysctl that somebody else has changed
 * meanwhile is left alone.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "lo.h"

#define CONF "/proc/sys/net/ipv4/conf/"
#define PATH_LEN 256

static int get(const char *path, int *value)
{
	FILE *f = fopen(path, "re");
	int n;

	if (!f)
		return -errno;
	n = fscanf(f, "%d", value);
	fclose(f);
	return n == 1 ? 0 : -EIO;
}

static int set(const char *path, int value)
{
	FILE *f = fopen(path, "we");
	int err = 0;

	if (!f)
		return -errno;
	if (fprintf(f, "%d\n", value) < 0)
		err = -EIO;
	if (fclose(f))
		err = -errno;
	return err;
}

static void note_path(char *path, const char *dir)
{
	snprintf(path, PATH_LEN, "%s/" LO_NOTE, dir);
}

/* One of lo's sysctls; the note comes first, so that a killed process's change can be undone. */
static int change(FILE *note, const char *key, int value)
{
	char path[PATH_LEN];
	int old, err;

	snprintf(path, sizeof(path), CONF "lo/%s", key);
	err = get(path, &old);
	if (err || old == value)
		return err;
	if (fprintf(note, "%s %d %d\n", key, old, value) < 0 || fflush(note))
		return -EIO;
	return set(path, value);
}

/* Strict (1) means the larger of lo's and all's: loose (2) on lo is what the way in needs. */
static int loosen_rp_filter(FILE *note)
{
	int all, own, err = get(CONF "all/rp_filter", &all);

	if (!err)
		err = get(CONF "lo/rp_filter", &own);
	return !err && (all == 1 || own == 1) ? change(note, "rp_filter", 2) : err;
}

int lo_accept_local(const char *dir, char *why, size_t len)
{
	char path[PATH_LEN];
	FILE *note;
	int err;

	lo_restore(dir); /* of a process that was killed */
	note_path(path, dir);
	note = fopen(path, "we");
	if (!note) {
		err = -errno;
		snprintf(why, len, "cannot write %s: %s", path, strerror(-err));
		return err;
	}
	err = change(note, "accept_local", 1);
	if (!err)
		err = change(note, "route_localnet", 1);
	if (!err)
		err = loosen_rp_filter(note);
	fclose(note);
	if (!err)
		return 0;
	lo_restore(dir);
	snprintf(why, len,
		 "cannot set " CONF "lo/{accept_local,route_localnet,rp_filter}: %s; "
		 "attach without lo where /proc/sys is read-only",
		 strerror(-err));
	return err;
}

void lo_restore(const char *dir)
{
	char note[PATH_LEN], key[32], path[PATH_LEN];
	int old, new, now;
	FILE *f;

	note_path(note, dir);
	f = fopen(note, "re");
	if (!f)
		return;
	while (fscanf(f, "%31s %d %d", key, &old, &new) == 3) {
		snprintf(path, sizeof(path), CONF "lo/%s", key);
		if (!strchr(key, '/') && !get(path, &now) && now == new)
			set(path, old);
	}
	fclose(f);
	unlink(note);
}
