/* SPDX-License-Identifier: BSD-2-Clause */
/* The daemon's log: stderr in the foreground, else syslog. Levels are syslog's. */
#ifndef TANDEM_DAEMON_LOG_H
#define TANDEM_DAEMON_LOG_H

#include <stdbool.h>
#include <syslog.h>

/* @name: the attachment, shown in every line; lives as long as the log. */
void log_open(const char *name, bool to_stderr);
void log_set_level(int level);

/*
 * One line. Clients can cause lines: more than a burst of them is left out, and how many were is
 * said later.
 */
void log_at(int level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_err(...) log_at(LOG_ERR, __VA_ARGS__)
#define log_warn(...) log_at(LOG_WARNING, __VA_ARGS__)
#define log_info(...) log_at(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_at(LOG_DEBUG, __VA_ARGS__)

#endif
