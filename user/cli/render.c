// SPDX-License-Identifier: BSD-2-Clause
/*
 * JSON as text for people. It knows no schema, so whatever the daemon says is shown:
 *	key          scalar
 *	key          scalar, scalar		(arrays of scalars)
 *	key:					(objects: a section, indented)
 *	  COLUMN  COLUMN			(arrays of objects: a table)
 */
#include <stdio.h>
#include <string.h>
#include "cli.h"

#define MAX_COLUMNS 32
#define INDENT "  "

void render_json(struct json_object *o)
{
	puts(json_object_to_json_string_ext(o, JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED |
						       JSON_C_TO_STRING_NOSLASHESCAPE));
}

static const char *scalar_text(struct json_object *v)
{
	if (json_object_is_type(v, json_type_boolean))
		return json_object_get_boolean(v) ? "yes" : "no";
	return v ? json_object_get_string(v) : "-";
}

static bool is_section(struct json_object *v)
{
	return json_object_is_type(v, json_type_object);
}

static bool is_table(struct json_object *v)
{
	return json_object_is_type(v, json_type_array) && json_object_array_length(v) > 0 &&
	       is_section(json_object_array_get_idx(v, 0));
}

static bool is_zero(struct json_object *v)
{
	return json_object_is_type(v, json_type_int) && json_object_get_int64(v) == 0;
}

static void indent(int depth)
{
	while (depth-- > 0)
		fputs(INDENT, stdout);
}

/* One line of text; control characters, which could drive a terminal, become '?'. */
static void put_clean(const char *s, int width)
{
	int n = 0;

	for (; *s; s++, n++)
		putchar((unsigned char)*s < ' ' || *s == 127 ? '?' : *s);
	for (; n < width; n++)
		putchar(' ');
}

static void put_list(struct json_object *array)
{
	size_t n = json_object_array_length(array);

	for (size_t i = 0; i < n; i++) {
		if (i)
			fputs(", ", stdout);
		put_clean(scalar_text(json_object_array_get_idx(array, i)), 0);
	}
	puts(n ? "" : "none");
}

/* Columns are the keys of the first row; a cell that is no scalar is shown as JSON. */
static void put_table(struct json_object *rows, int depth)
{
	struct json_object *first = json_object_array_get_idx(rows, 0), *v;
	const char *keys[MAX_COLUMNS];
	size_t n_rows = json_object_array_length(rows);
	int width[MAX_COLUMNS], n = 0;

	json_object_object_foreach(first, key, val)
	{
		(void)val;
		if (n < MAX_COLUMNS) {
			keys[n] = key;
			width[n++] = (int)strlen(key);
		}
	}
	for (size_t r = 0; r < n_rows; r++)
		for (int c = 0; c < n; c++) {
			v = json_object_object_get(json_object_array_get_idx(rows, r), keys[c]);
			if ((int)strlen(scalar_text(v)) > width[c])
				width[c] = (int)strlen(scalar_text(v));
		}
	indent(depth);
	for (int c = 0; c < n; c++)
		put_clean(keys[c], c < n - 1 ? width[c] + 2 : 0);
	putchar('\n');
	for (size_t r = 0; r < n_rows; r++) {
		indent(depth);
		for (int c = 0; c < n; c++) {
			v = json_object_object_get(json_object_array_get_idx(rows, r), keys[c]);
			put_clean(scalar_text(v), c < n - 1 ? width[c] + 2 : 0);
		}
		putchar('\n');
	}
}

static void put_object(struct json_object *o, int depth, bool skip_zero)
{
	int width = 0;

	json_object_object_foreach(o, key, val)
	{
		if (!is_section(val) && !is_table(val) && (int)strlen(key) > width)
			width = (int)strlen(key);
	}
	json_object_object_foreach(o, key2, val2)
	{
		if (is_section(val2) || is_table(val2) || (skip_zero && is_zero(val2)))
			continue;
		indent(depth);
		put_clean(key2, width + 2);
		if (json_object_is_type(val2, json_type_array)) {
			put_list(val2);
		} else {
			put_clean(scalar_text(val2), 0);
			putchar('\n');
		}
	}
	json_object_object_foreach(o, key3, val3)
	{
		if (!is_section(val3) && !is_table(val3))
			continue;
		indent(depth);
		put_clean(key3, 0);
		puts(":");
		if (is_table(val3))
			put_table(val3, depth + 1);
		else
			put_object(val3, depth + 1, skip_zero);
	}
}

void render_text(struct json_object *o, bool skip_zero)
{
	if (is_section(o))
		put_object(o, 0, skip_zero);
	else if (is_table(o))
		put_table(o, 0);
	else if (json_object_is_type(o, json_type_array))
		put_list(o);
	else
		puts(scalar_text(o));
}
