// SPDX-License-Identifier: BSD-2-Clause
/* report.h: writing JSON. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "report.h"

static void put(struct jbuf *j, const char *s, size_t n)
{
	if (j->failed)
		return;
	if (j->len + n > j->size) {
		size_t size = 2 * (j->len + n) + 1024;
		char *text = realloc(j->text, size);

		if (!text) {
			j->failed = true;
			return;
		}
		j->text = text;
		j->size = size;
	}
	memcpy(j->text + j->len, s, n);
	j->len += n;
}

/* Length of the UTF-8 sequence at @s; 0: it is none (RFC 3629). */
static size_t utf8_len(const unsigned char *s)
{
	size_t n = s[0] < 0x80			 ? 1
		   : s[0] >= 0xc2 && s[0] < 0xe0 ? 2
		   : (s[0] & 0xf0) == 0xe0	 ? 3
		   : s[0] >= 0xf0 && s[0] < 0xf5 ? 4
						 : 0;

	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	if (n == 3 && ((s[0] == 0xe0 && s[1] < 0xa0) || (s[0] == 0xed && s[1] >= 0xa0)))
		return 0;
	if (n == 4 && ((s[0] == 0xf0 && s[1] < 0x90) || (s[0] == 0xf4 && s[1] >= 0x90)))
		return 0;
	return n;
}

static void put_string(struct jbuf *j, const char *text)
{
	const unsigned char *s = (const unsigned char *)text;

	put(j, "\"", 1);
	while (*s) {
		size_t n = utf8_len(s);

		if (*s == '"' || *s == '\\')
			put(j, "\\", 1);
		if (!n || *s < ' ' || *s == 127)
			put(j, "?", 1);
		else
			put(j, (const char *)s, n);
		s += n ? n : 1;
	}
	put(j, "\"", 1);
}

static void begin(struct jbuf *j, const char *key)
{
	if (j->comma)
		put(j, ",", 1);
	if (key) {
		put_string(j, key);
		put(j, ":", 1);
	}
	j->comma = true;
}

void jb_open(struct jbuf *j, const char *key, char bracket)
{
	begin(j, key);
	put(j, &bracket, 1);
	j->comma = false;
}

void jb_close(struct jbuf *j, char bracket)
{
	put(j, &bracket, 1);
	j->comma = true;
}

void jb_u64(struct jbuf *j, const char *key, uint64_t v)
{
	char text[24];
	int n = snprintf(text, sizeof(text), "%" PRIu64, v);

	begin(j, key);
	put(j, text, (size_t)n);
}

void jb_bool(struct jbuf *j, const char *key, bool v)
{
	begin(j, key);
	put(j, v ? "true" : "false", v ? 4 : 5);
}

void jb_str(struct jbuf *j, const char *key, const char *s)
{
	begin(j, key);
	if (s)
		put_string(j, s);
	else
		put(j, "null", 4);
}

void jb_line(struct jbuf *j)
{
	put(j, j->comma ? ",\n" : "\n", j->comma ? 2 : 1);
	j->comma = false;
}

void jb_free(struct jbuf *j)
{
	free(j->text);
	*j = (struct jbuf){0};
}
