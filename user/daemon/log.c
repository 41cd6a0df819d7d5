// SPDX-License-Identifier: BSD-2-Clause
/* log.h. The only state outside of struct daemon: a log line can come from anywhere. */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include "user/io/clock.h"
#include "log.h"

#define BURST 200u
#define PER_SECOND 20u

static struct {
	const char *name;
	bool to_stderr;
	int level;
	uint32_t tokens, left_out;
	struct mtime filled;
} lg = {.name = "", .to_stderr = true, .level = LOG_INFO, .tokens = BURST};

void log_open(const char *name, bool to_stderr)
{
	lg.name = name;
	lg.to_stderr = to_stderr;
	if (!to_stderr)
		openlog("tandemd", LOG_PID | LOG_NDELAY, LOG_DAEMON);
}

void log_set_level(int level)
{
	lg.level = level;
}

static const char *level_name(int level)
{
	switch (level) {
	case LOG_ERR:
		return "error";
	case LOG_WARNING:
		return "warning";
	case LOG_DEBUG:
		return "debug";
	default:
		return "info";
	}
}

static void put(int level, const char *text)
{
	if (lg.to_stderr)
		fprintf(stderr, "tandemd %s: %s: %s\n", lg.name, level_name(level), text);
	else
		syslog(level, "%s: %s", lg.name, text);
}

static bool take_token(void)
{
	struct mtime now = clock_now();
	uint64_t s = mtime_diff_ns(now, lg.filled) / NS_PER_S;

	if (s) {
		uint64_t n = lg.tokens + s * PER_SECOND;

		lg.tokens = n > BURST ? BURST : (uint32_t)n;
		lg.filled = now;
	}
	if (!lg.tokens)
		return false;
	lg.tokens--;
	return true;
}

void log_at(int level, const char *fmt, ...)
{
	char text[1024];
	va_list ap;

	if (level > lg.level)
		return;
	if (!take_token()) {
		lg.left_out++;
		return;
	}
	if (lg.left_out) {
		snprintf(text, sizeof(text), "%u lines were left out", lg.left_out);
		lg.left_out = 0;
		put(LOG_WARNING, text);
	}
	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	put(level, text);
}
