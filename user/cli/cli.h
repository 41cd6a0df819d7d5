/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The `tandem` command: option parsing (main.c), one file for each group of subcommands, and what
 * they share: finding attachments (names.c), asking a daemon (ask.c), JSON as text (render.c).
 * It is a short-lived program: memory is left to exit().
 */
#ifndef TANDEM_CLI_H
#define TANDEM_CLI_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <json-c/json.h>

enum { EXIT_RUNTIME = 1, EXIT_USAGE = 2 };

/* What the command line said; NULL where it did not. */
struct cli_args {
	const char *command;
	const char *operand;
	const char *netns, *name, *mode, *claim, *config;
	const char *on, *busy_poll, *fallback;
	/* All operands, where the command takes several, or a command line; ends with NULL. */
	char **rest;
	bool json;
	bool openmetrics; /* stat */
	/* ss */
	bool all, listening, tcp, numeric, info, memory, timers, extended, processes, no_header;
};

/* Prints "tandem COMMAND: sentence" to stderr; returns EXIT_RUNTIME. */
int cli_error(const struct cli_args *a, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

int cmd_attach(const struct cli_args *a);
int cmd_detach(const struct cli_args *a);
int cmd_list(const struct cli_args *a);
int cmd_status(const struct cli_args *a);
int cmd_stat(const struct cli_args *a);
int cmd_ss(const struct cli_args *a);
int cmd_flows(const struct cli_args *a);
int cmd_deny(const struct cli_args *a);
int cmd_run(const struct cli_args *a);

/* ---- names.c: attachments on this host ---- */

#define NAME_MAX_LEN 63
/* Usable as a directory name: letters, digits, '.', '_', '-', not beginning with '.' or '-'. */
bool name_valid(const char *name);
bool name_pinned(const char *name);
/* Is its daemon's network namespace ours? */
bool name_serves_netns(const char *name);
/* Names of all attachments, with or without a live daemon, sorted; a JSON array of strings. */
struct json_object *names_all(void);
/*
 * The attachment that the operand (a name, or the interface of exactly one) means; without an
 * operand the only one there is. NULL after an error message.
 */
const char *names_resolve(const struct cli_args *a);

/* ---- ask.c: the control socket ---- */

/*
 * Connected to the daemon of @name; its process id into @pid. -ENOENT, -ECONNREFUSED: no daemon
 * is there; -EACCES; ...
 */
int ask_open(const char *name, int *pid);
/* Sends the request and waits for a reply without text. 0, or -errno (the daemon's, or ours). */
int ask_plain(int fd, uint16_t type);
/* The reply to CTL_STATUS or CTL_STAT. 0 or -errno; -EBADMSG: it was no JSON. */
int ask_json(int fd, uint16_t type, struct json_object **out);
/* Open, ask, close; prints an error. @type: a CTL_ request with a text reply. */
struct json_object *ask_once(const struct cli_args *a, const char *name, uint16_t type);
/*
 * Open, ask, hand each line of the reply to @line (without its end; it may change it), close; prints
 * an error. 0 or EXIT_RUNTIME.
 */
int ask_lines(const struct cli_args *a, const char *name, uint16_t type,
	      void (*line)(void *ctx, char *text), void *ctx);
/* Why talking to the daemon failed, for people. */
const char *ask_strerror(int err);

/* ---- render.c ---- */

/* JSON for programs, on stdout. */
void render_json(struct json_object *o);
/*
 * The same for people: scalars as "key value" lines, objects as sections, arrays of objects
 * as tables. @skip_zero leaves out scalars that are 0.
 */
void render_text(struct json_object *o, bool skip_zero);
/* openmetrics.c: what `stat` knows, in that format. */
void render_openmetrics(struct json_object *o, const char *attachment);

#endif
