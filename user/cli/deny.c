// SPDX-License-Identifier: BSD-2-Clause
/*
 * `tandem deny`: the source prefixes whose packets the XDP program drops. It writes the pinned
 * map itself, which takes root and no daemon; the list goes with the attachment.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "user/io/xdp_prog.h"
#include "cli.h"

/* ADDRESS or ADDRESS/LENGTH. False: it is neither. *@host_bits: it has bits beyond its length. */
static bool parse_prefix(const char *text, struct deny_key *k, bool *host_bits)
{
	const char *slash = strchr(text, '/');
	char addr[INET6_ADDRSTRLEN], *end;
	unsigned long len, max = 128;
	uint32_t v4;

	*k = (struct deny_key){0};
	*host_bits = false;
	if (snprintf(addr, sizeof(addr), "%.*s", slash ? (int)(slash - text) : (int)strlen(text),
		     text) >= (int)sizeof(addr))
		return false;
	if (inet_pton(AF_INET, addr, &v4) == 1) {
		k->addr = ip_addr_v4(v4);
		max = 32;
	} else if (inet_pton(AF_INET6, addr, k->addr.b) != 1) {
		return false;
	}
	len = max;
	if (slash) {
		errno = 0;
		len = strtoul(slash + 1, &end, 10);
		if (slash[1] < '0' || slash[1] > '9' || *end || errno || len > max)
			return false;
	}
	k->prefixlen = (uint32_t)(128 - max + len);
	for (uint32_t i = k->prefixlen; i < 128; i++) {
		uint8_t bit = (uint8_t)(0x80 >> i % 8);

		*host_bits |= k->addr.b[i / 8] & bit;
		k->addr.b[i / 8] &= (uint8_t)~bit;
	}
	return true;
}

static void format_prefix(const struct deny_key *k, char *out, size_t size)
{
	bool v4 = ip_addr_is_v4(&k->addr) && k->prefixlen >= 96;
	char addr[INET6_ADDRSTRLEN];

	inet_ntop(v4 ? AF_INET : AF_INET6, v4 ? (const void *)&k->addr.w[3] : k->addr.b, addr,
		  sizeof(addr));
	snprintf(out, size, "%s/%u", addr, v4 ? k->prefixlen - 96 : k->prefixlen);
}

static bool add_row(void *ctx, const struct deny_key *k, const struct deny_val *v)
{
	struct json_object *rows = ctx, *row = json_object_new_object();
	char text[INET6_ADDRSTRLEN + 5];

	format_prefix(k, text, sizeof(text));
	json_object_object_add(row, "prefix", json_object_new_string(text));
	json_object_object_add(row, "packets", json_object_new_uint64(v->packets));
	json_object_array_add(rows, row);
	return true;
}

static int failed(const struct cli_args *a, const char *name, const char *what, int err)
{
	return cli_error(a, "%s: %s: %s", name, what,
			 err == -EPERM || err == -EACCES ? "that takes root" : strerror(-err));
}

static int list(const struct cli_args *a, const char *name)
{
	struct json_object *rows = json_object_new_array();
	int err = xdp_read_deny(name, add_row, rows);

	if (err)
		return failed(a, name, "cannot read the deny list", err);
	if (a->json)
		render_json(rows);
	else if (json_object_array_length(rows) == 0)
		puts("nothing is denied");
	else
		render_text(rows, false);
	return 0;
}

static int change(const struct cli_args *a, const char *name, const char *prefix, bool add)
{
	struct deny_key k;
	bool host_bits;
	char text[INET6_ADDRSTRLEN + 5];
	int err;

	if (!parse_prefix(prefix, &k, &host_bits)) {
		fprintf(stderr, "tandem deny: '%s' is no address, and no ADDRESS/LENGTH\n", prefix);
		return EXIT_USAGE;
	}
	format_prefix(&k, text, sizeof(text));
	if (host_bits) {
		fprintf(stderr, "tandem deny: '%s' has bits beyond its length: %s?\n", prefix,
			text);
		return EXIT_USAGE;
	}
	err = add ? xdp_deny_add(name, &k) : xdp_deny_del(name, &k);
	if (err == -ENOENT && !add)
		return cli_error(a, "%s: %s is not on the deny list", name, text);
	if (err == -EEXIST)
		return cli_error(a, "%s: %s is on the deny list already", name, text);
	return err ? failed(a, name, "cannot change the deny list", err) : 0;
}

int cmd_deny(const struct cli_args *a)
{
	const char *verb = a->operand, *prefix = NULL, *name;
	bool is_list = strcmp(verb, "list") == 0, add = strcmp(verb, "add") == 0;
	struct cli_args on = *a;
	char **rest = a->rest + 1;

	if (!is_list && !add && strcmp(verb, "del") != 0) {
		fprintf(stderr, "tandem deny: '%s' is not list, add or del\n", verb);
		return EXIT_USAGE;
	}
	if (!is_list) {
		prefix = *rest;
		if (!prefix) {
			fprintf(stderr, "tandem deny %s: PREFIX is missing\n", verb);
			return EXIT_USAGE;
		}
		rest++;
	}
	on.operand = *rest;
	if (*rest && rest[1]) {
		fprintf(stderr, "tandem deny: '%s' is one word too many\n", rest[1]);
		return EXIT_USAGE;
	}
	name = names_resolve(&on);
	if (!name)
		return EXIT_RUNTIME;
	return is_list ? list(a, name) : change(a, name, prefix, add);
}
