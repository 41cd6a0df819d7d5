// SPDX-License-Identifier: BSD-2-Clause
/*
 * Which attachments there are: a directory of pinned maps, a run directory with the control
 * socket, or both. One of the two alone is what a killed daemon, or another mount
 * namespace, leaves to see; it is listed as well, so that `tandem detach` can clear it away.
 */
#include <ctype.h>
#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include "common/ctl.h"
#include "user/io/xdp_prog.h"
#include "cli.h"

bool name_valid(const char *name)
{
	size_t n = strlen(name);

	if (n == 0 || n > NAME_MAX_LEN || name[0] == '.' || name[0] == '-')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!isalnum((unsigned char)name[i]) && !strchr("._-", name[i]))
			return false;
	return true;
}

bool name_pinned(const char *name)
{
	char path[sizeof(TD_PIN_ROOT) + NAME_MAX_LEN + 1];

	snprintf(path, sizeof(path), TD_PIN_ROOT "/%s", name);
	return access(path, F_OK) == 0;
}

static bool has_name(struct json_object *names, const char *name)
{
	for (size_t i = 0; i < json_object_array_length(names); i++)
		if (strcmp(json_object_get_string(json_object_array_get_idx(names, i)), name) == 0)
			return true;
	return false;
}

static void add_dir(struct json_object *names, const char *path)
{
	DIR *d = opendir(path);
	struct dirent *e;

	if (!d)
		return;
	while ((e = readdir(d)))
		if (name_valid(e->d_name) && !has_name(names, e->d_name))
			json_object_array_add(names, json_object_new_string(e->d_name));
	closedir(d);
}

static int by_name(const void *a, const void *b)
{
	struct json_object *const *x = a, *const *y = b;

	return strcmp(json_object_get_string(*x), json_object_get_string(*y));
}

struct json_object *names_all(void)
{
	struct json_object *names = json_object_new_array();

	add_dir(names, TD_PIN_ROOT);
	add_dir(names, CTL_RUN_DIR);
	json_object_array_sort(names, by_name);
	return names;
}

/* Does the daemon of @name serve interface @ifname (among others)? */
static bool serves(const char *name, const char *ifname)
{
	struct json_object *status = NULL, *v;
	int pid, fd = ask_open(name, &pid);
	bool yes;

	if (fd < 0)
		return false;
	yes = ask_json(fd, CTL_STATUS, &status) == 0 &&
	      json_object_object_get_ex(status, "interfaces", &v) &&
	      json_object_object_get_ex(v, ifname, NULL);
	json_object_put(status);
	close(fd);
	return yes;
}

bool name_serves_netns(const char *name)
{
	char path[sizeof(CTL_RUN_DIR) + NAME_MAX_LEN + sizeof("/netns")];
	unsigned long long inode = 0;
	struct stat st;
	FILE *f;

	snprintf(path, sizeof(path), CTL_RUN_DIR "/%s/netns", name);
	f = fopen(path, "re");
	if (f && fscanf(f, "%llu", &inode) != 1)
		inode = 0;
	if (f)
		fclose(f);
	return !stat("/proc/self/ns/net", &st) && st.st_ino == inode;
}

static void print_names(struct json_object *names)
{
	for (size_t i = 0; i < json_object_array_length(names); i++)
		fprintf(stderr, "%s%s", i ? ", " : "",
			json_object_get_string(json_object_array_get_idx(names, i)));
	fprintf(stderr, "\n");
}

const char *names_resolve(const struct cli_args *a)
{
	struct json_object *names = names_all(), *candidates = names;
	size_t n = json_object_array_length(names);

	if (n == 0) {
		cli_error(a, "nothing is attached; see tandem attach --help");
		return NULL;
	}
	if (a->operand) {
		if (has_name(names, a->operand))
			return a->operand;
		candidates = json_object_new_array();
		for (size_t i = 0; i < n; i++) {
			struct json_object *name = json_object_array_get_idx(names, i);

			if (serves(json_object_get_string(name), a->operand))
				json_object_array_add(candidates, json_object_get(name));
		}
	}
	if (json_object_array_length(candidates) == 1)
		return json_object_get_string(json_object_array_get_idx(candidates, 0));
	if (json_object_array_length(candidates) == 0) {
		fprintf(stderr,
			"tandem %s: no attachment and no attached interface is named '%s'; "
			"there is: ",
			a->command, a->operand);
		print_names(names);
	} else {
		fprintf(stderr, "tandem %s: say which attachment: ", a->command);
		print_names(candidates);
	}
	return NULL;
}
