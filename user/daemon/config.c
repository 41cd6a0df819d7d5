// SPDX-License-Identifier: BSD-2-Clause
/* config.h: everything here walks the one table of keys. */
#include <ctype.h>
#include <errno.h>
#include <grp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <syslog.h>
#include "config.h"

enum kind { U32, POW2, BOOL, OCTAL, TRIPLE, PORTS, FO_KEYS, CLAIM, LEVEL, CC, GROUP };

struct key {
	const char *name;
	enum kind kind;
	size_t off;
	uint32_t min, max;
	const char *def, *help;
};

static const struct key keys[] = {
#define X(name, kind, field, min, max, def, help)                                                  \
	{#name, kind, offsetof(struct config, field), min, max, def, help},
	CONFIG_KEYS(X)
#undef X
};
#define N_KEYS (sizeof(keys) / sizeof(keys[0]))
#define MAX_LINE 1024

static const struct {
	const char *name;
	uint32_t value;
} levels[] = {
	{"error", LOG_ERR}, {"warning", LOG_WARNING}, {"info", LOG_INFO}, {"debug", LOG_DEBUG}};

static int complain(char *why, size_t len, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
static int complain(char *why, size_t len, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(why, len, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* What values a key takes, for error messages and the example. */
static void allowed(const struct key *k, char *out, size_t len)
{
	switch (k->kind) {
	case U32:
		snprintf(out, len, "a number from %u to %u", k->min, k->max);
		break;
	case POW2:
		snprintf(out, len, "a power of two from %u to %u", k->min, k->max);
		break;
	case BOOL:
		snprintf(out, len, "0 or 1");
		break;
	case OCTAL:
		snprintf(out, len, "an octal number from 0 to %o", k->max);
		break;
	case TRIPLE:
		snprintf(out, len, "three ascending numbers from %u to %u", k->min, k->max);
		break;
	case PORTS:
		snprintf(out, len, "kernel, or two ascending numbers from %u to %u", k->min,
			 k->max);
		break;
	case FO_KEYS:
		snprintf(out, len, "kernel, or one or two keys of 32 hexadecimal digits");
		break;
	case CLAIM:
		snprintf(out, len, "bound, all");
		break;
	case LEVEL:
		snprintf(out, len, "error, warning, info, debug");
		break;
	case CC:
		snprintf(out, len, "reno, cubic");
		break;
	case GROUP:
		snprintf(out, len, "a group's name or number");
		break;
	}
}

/* ---- values: false, and nothing is changed, where the text is not of the kind's form ---- */

static bool number(const char **p, int base, uint32_t min, uint32_t max, uint32_t *out)
{
	char *end;
	unsigned long long v;

	while (isblank((unsigned char)**p))
		(*p)++;
	if (!isdigit((unsigned char)**p))
		return false;
	errno = 0;
	v = strtoull(*p, &end, base);
	if (errno || v < min || v > max)
		return false;
	*p = end;
	*out = (uint32_t)v;
	return true;
}

/* @n numbers, ascending, and nothing behind them. */
static bool numbers(const char *text, const struct key *k, int base, uint32_t *out, int n)
{
	for (int i = 0; i < n; i++) {
		if (!number(&text, base, k->min, k->max, &out[i]) || (i && out[i] < out[i - 1]))
			return false;
		if (*text && !isblank((unsigned char)*text))
			return false;
	}
	return !*text;
}

static bool set_group(const char *text, uint32_t *gid)
{
	const struct group *g = getgrnam(text);
	uint32_t n;

	if (g)
		n = g->gr_gid;
	else if (!number(&text, 10, 0, UINT32_MAX - 1, &n) || *text)
		return false;
	*gid = n;
	return true;
}

static bool set_value(struct config *c, const struct key *k, const char *text)
{
	void *at = (char *)c + k->off;
	uint32_t v[3];
	uint16_t ports[2];

	switch (k->kind) {
	case U32:
	case BOOL:
	case POW2:
	case OCTAL:
		if (!numbers(text, k, k->kind == OCTAL ? 8 : 10, v, 1) ||
		    (k->kind == POW2 && v[0] & (v[0] - 1)))
			return false;
		memcpy(at, v, sizeof(v[0]));
		return true;
	case TRIPLE:
		if (!numbers(text, k, 10, v, 3))
			return false;
		memcpy(at, v, sizeof(v));
		return true;
	case PORTS:
		memset(ports, 0, sizeof(ports));
		if (!strcmp(text, "kernel")) {
			memcpy(at, ports, sizeof(ports));
			return true;
		}
		if (!numbers(text, k, 10, v, 2))
			return false;
		ports[0] = (uint16_t)v[0];
		ports[1] = (uint16_t)v[1];
		memcpy(at, ports, sizeof(ports));
		return true;
	case FO_KEYS:
		if (strcmp(text, "kernel"))
			return fo_keys_parse(text, at);
		memset(at, 0, sizeof(struct fo_keys));
		return true;
	case CLAIM:
		v[0] = !strcmp(text, "all");
		if (!v[0] && strcmp(text, "bound"))
			return false;
		memcpy(at, v, sizeof(v[0]));
		return true;
	case LEVEL:
		for (size_t i = 0; i < sizeof(levels) / sizeof(levels[0]); i++)
			if (!strcmp(text, levels[i].name)) {
				memcpy(at, &levels[i].value, sizeof(levels[i].value));
				return true;
			}
		return false;
	case CC:
		if (cc_find(text) < 0)
			return false;
		snprintf(at, sizeof(c->cc), "%s", text);
		return true;
	case GROUP:
		return set_group(text, at);
	}
	return false;
}

/* ---- keys ---- */

static size_t min3(size_t a, size_t b, size_t c)
{
	size_t m = a < b ? a : b;

	return m < c ? m : c;
}

/* Levenshtein distance; only the first 63 characters count. */
static size_t distance(const char *a, const char *b)
{
	size_t row[64], n = strnlen(b, 63);

	for (size_t j = 0; j <= n; j++)
		row[j] = j;
	for (size_t i = 1; i <= 63 && a[i - 1]; i++) {
		size_t diag = row[0];

		row[0] = i;
		for (size_t j = 1; j <= n; j++) {
			size_t up = row[j];

			row[j] = min3(up + 1, row[j - 1] + 1, diag + (a[i - 1] != b[j - 1]));
			diag = up;
		}
	}
	return row[n];
}

static const struct key *find(const char *name)
{
	for (size_t i = 0; i < N_KEYS; i++)
		if (!strcmp(keys[i].name, name))
			return &keys[i];
	return NULL;
}

static const char *nearest(const char *name)
{
	const char *best = keys[0].name;

	for (size_t i = 1; i < N_KEYS; i++)
		if (distance(name, keys[i].name) < distance(name, best))
			best = keys[i].name;
	return best;
}

/* Cuts blanks off at both ends. */
static char *strip(char *s)
{
	size_t n;

	while (isspace((unsigned char)*s))
		s++;
	n = strlen(s);
	while (n && isspace((unsigned char)s[n - 1]))
		s[--n] = 0;
	return s;
}

int config_line(struct config *c, const char *line, const char *where, char *why, size_t len)
{
	char buf[MAX_LINE], can[128];
	const struct key *k;
	char *name, *value;

	if (strlen(line) >= sizeof(buf))
		return complain(why, len, "%s: the line is too long", where);
	strcpy(buf, line);
	buf[strcspn(buf, "#")] = 0;
	name = strip(buf);
	if (!*name)
		return 0;
	value = strchr(name, '=');
	if (!value)
		return complain(why, len, "%s: '%.64s': expected KEY = VALUE", where, name);
	*value++ = 0;
	name = strip(name);
	value = strip(value);
	k = find(name);
	if (!k)
		return complain(why, len, "%s: there is no key '%.64s'; the nearest one is '%s'",
				where, name, nearest(name));
	if (set_value(c, k, value))
		return 0;
	allowed(k, can, sizeof(can));
	return complain(why, len, "%s: %s = %.64s: allowed is %s", where, name, value, can);
}

int config_load(struct config *c, const char *path, char *why, size_t len)
{
	char line[MAX_LINE + 1], where[256];
	FILE *f = fopen(path, "re");
	int err = 0;

	if (!f) {
		err = -errno;
		complain(why, len, "%s: %s", path, strerror(errno));
		return err;
	}
	for (unsigned n = 1; !err && fgets(line, sizeof(line), f); n++) {
		snprintf(where, sizeof(where), "%.200s:%u", path, n);
		err = config_line(c, line, where, why, len);
	}
	if (!err && ferror(f))
		err = complain(why, len, "%s: it cannot be read", path);
	fclose(f);
	return err;
}

void config_default(struct config *c)
{
	memset(c, 0, sizeof(*c));
	stack_limits_default(&c->limits);
	for (size_t i = 0; i < N_KEYS; i++)
		set_value(c, &keys[i], keys[i].def);
}

#define COMMENT_WIDTH 78u

static void print_comment(FILE *f, const char *text)
{
	while (*text) {
		size_t n = strlen(text);

		if (n > COMMENT_WIDTH)
			for (n = COMMENT_WIDTH; text[n] != ' ';)
				n--;
		fprintf(f, "# %.*s\n", (int)n, text);
		text += n + (text[n] == ' ');
	}
}

void config_print_example(FILE *f)
{
	char can[128];

	print_comment(f,
		      "Settings of tandemd: \"key = value\" lines. Every default works; they stand "
		      "here commented out. Keys that the kernel has a sysctl for have its name and "
		      "meaning.");
	for (size_t i = 0; i < N_KEYS; i++) {
		allowed(&keys[i], can, sizeof(can));
		fputc('\n', f);
		print_comment(f, keys[i].help);
		fprintf(f, "# Allowed: %s.\n#%s = %s\n", can, keys[i].name, keys[i].def);
	}
}
