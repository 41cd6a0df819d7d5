// SPDX-License-Identifier: BSD-2-Clause
/*
 * Keys of fast open cookies. Where the configuration has none they are the network namespace's own
 * (net.ipv4.tcp_fastopen_key): the kernel keeps them for as long as it runs, root alone can read
 * them, whoever changes keys changes them there anyway, and a cookie is good on both stacks. So what a
 * client holds stays good when the daemon is started again, and no file has to be guarded.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include "daemon.h"

#define SYSCTL "/proc/sys/net/ipv4/tcp_fastopen_key"

/* Four words of eight hexadecimal digits. The end, or NULL. */
static const char *parse_one(const char *text, uint8_t key[FO_KEY_LEN])
{
	for (uint32_t w = 0; w < 4; w++) {
		size_t n = strspn(text, "0123456789abcdefABCDEF");
		unsigned long v;

		if (n != 8 || (w < 3 && text[8] != '-'))
			return NULL;
		v = strtoul(text, NULL, 16);
		for (uint32_t i = 0; i < 4; i++)
			key[4 * w + i] = (uint8_t)(v >> 8 * i);
		text += 8 + (w < 3);
	}
	return text;
}

bool fo_keys_parse(const char *text, struct fo_keys *k)
{
	struct fo_keys got = {.n = 0};

	while (got.n < FO_KEYS_MAX) {
		text = parse_one(text, got.key[got.n]);
		if (!text)
			return false;
		got.n++;
		if (*text != ',')
			break;
		text++;
	}
	if (*text)
		return false;
	*k = got;
	return true;
}

static void print(const struct fo_keys *k, char *out, size_t len)
{
	uint32_t w[4];

	for (uint32_t i = 0; i < 4; i++) {
		const uint8_t *p = &k->key[0][4 * i];

		w[i] = p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
	}
	snprintf(out, len, "%08x-%08x-%08x-%08x", w[0], w[1], w[2], w[3]);
}

/* False: it has none, or does not say. */
static bool kernel_read(struct fo_keys *k)
{
	static const uint8_t none[FO_KEY_LEN];
	char text[128] = "";
	FILE *f = fopen(SYSCTL, "re");
	bool ok = f && fgets(text, sizeof(text), f);

	if (f)
		fclose(f);
	text[strcspn(text, "\n")] = 0;
	return ok && fo_keys_parse(text, k) && memcmp(k->key[0], none, sizeof(none));
}

static bool kernel_write(const struct fo_keys *k)
{
	FILE *f = fopen(SYSCTL, "we");
	char text[64];
	bool ok;

	if (!f)
		return false;
	print(k, text, sizeof(text));
	ok = fprintf(f, "%s\n", text) > 0;
	return !fclose(f) && ok;
}

/* The kernel makes its key when the first of its own servers asks for it: it may have none yet. */
static bool kernel_key(struct fo_keys *k)
{
	if (kernel_read(k))
		return true;
	*k = (struct fo_keys){.n = 1};
	return getrandom(k->key, FO_KEY_LEN, 0) == FO_KEY_LEN && kernel_write(k) && kernel_read(k);
}

void fo_keys_refresh(struct daemon *d)
{
	struct fo_keys k = d->cfg.fo_keys;

	if (!(d->cfg.limits.tcp_fastopen & 2))
		return;
	if (k.n || kernel_key(&k))
		stack_set_fastopen_keys(d->stack, &k);
	else
		log_warn("no key of fast open cookies to be had from the kernel: ours is "
			 "forgotten when the daemon ends");
}
