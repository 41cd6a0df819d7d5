// SPDX-License-Identifier: BSD-2-Clause
/*
 * The configuration file: any bytes as a file. What is accepted is within the bounds of the table;
 * a line that is refused says why and changes nothing.
 */
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>
#include "fz.h"
#include "user/daemon/config.h"

static char path[64];
static int fd;

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
	(void)argc;
	(void)argv;
	fd = memfd_create("conf", MFD_CLOEXEC);
	FZ_CHECK(fd >= 0);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	return 0;
}

enum kind { U32, POW2, BOOL, OCTAL, TRIPLE, PORTS, FO_KEYS, CLAIM, LEVEL, CC, GROUP };

static void check(const char *name, enum kind k, const void *at, uint32_t min, uint32_t max)
{
	uint32_t v[3];
	uint16_t p[2];

	memcpy(v, at, k == TRIPLE ? sizeof(v) : sizeof(p));
	memcpy(p, at, sizeof(p));
	switch (k) {
	case U32:
	case BOOL:
	case OCTAL:
	case POW2:
		FZ_CHECK(v[0] >= min && v[0] <= max, "%s = %u", name, v[0]);
		FZ_CHECK(k != POW2 || !(v[0] & (v[0] - 1)), "%s = %u", name, v[0]);
		break;
	case TRIPLE:
		FZ_CHECK(v[0] >= min && v[0] <= v[1] && v[1] <= v[2] && v[2] <= max, "%s", name);
		break;
	case PORTS:
		FZ_CHECK(!(p[0] | p[1]) || (p[0] >= min && p[0] <= p[1] && p[1] <= max), "%s",
			 name); /* 0 0: the kernel's */
		break;
	case FO_KEYS:
		FZ_CHECK(((const struct fo_keys *)at)->n <= FO_KEYS_MAX, "%s", name);
		break;
	case CLAIM:
		FZ_CHECK(v[0] <= 1);
		break;
	default:
		break;
	}
}

static void check_all(const struct config *c)
{
#define X(key, kind, field, min, max, def, help) check(#key, kind, &c->field, min, max);
	CONFIG_KEYS(X)
#undef X
	FZ_CHECK(memchr(c->cc, 0, sizeof(c->cc)));
}

static void one_line(const uint8_t *data, size_t size)
{
	char line[2048], why[512] = "";
	struct config c, before;

	if (size >= sizeof(line))
		size = sizeof(line) - 1;
	memcpy(line, data, size);
	line[size] = 0;
	config_default(&c);
	before = c;
	if (config_line(&c, line, "here", why, sizeof(why)))
		FZ_CHECK(*why && !memcmp(&c, &before, sizeof(c)), "changed by a refused line");
	check_all(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	char why[512] = "";
	struct config c;

	if (memchr(data, '\n', size)) {
		FZ_CHECK(!ftruncate(fd, 0) && pwrite(fd, data, size, 0) == (ssize_t)size);
		config_default(&c);
		FZ_CHECK(!config_load(&c, path, why, sizeof(why)) || *why);
		check_all(&c);
	} else {
		one_line(data, size);
	}
	return 0;
}
