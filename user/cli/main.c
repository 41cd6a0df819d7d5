// SPDX-License-Identifier: BSD-2-Clause
/*
 * Commands and options of `tandem`, in two tables; the parser and all help come from them.
 * Exit status: 0, 1 (it failed), 2 (the command line is wrong).
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include "cli.h"

enum {
	O_JSON = 1,
	O_NETNS = 2,
	O_NAME = 4,
	O_MODE = 8,
	O_CLAIM = 16,
	O_CONFIG = 32,
	O_RUN = 64,	  /* its operand is a command line: what follows is not ours */
	O_MORE = 128,	  /* takes more than one operand */
	O_SS = 256,	  /* the further ones are a filter */
	O_DENY = 512,	  /* or a prefix and an attachment */
	O_METRICS = 1024, /* counters for Prometheus */
};

static const struct option_def {
	unsigned bit;
	const char *name;
	const char *value;	/* its name in the help; NULL: takes none */
	const char *choices[4]; /* if only these are allowed */
	size_t offset;		/* in struct cli_args */
	const char *help;
} options[] = {
	{O_NETNS,
	 "netns",
	 "NETNS",
	 {NULL},
	 offsetof(struct cli_args, netns),
	 "the interfaces are in this network namespace (see ip-netns(8))"},
	{O_NAME,
	 "name",
	 "NAME",
	 {NULL},
	 offsetof(struct cli_args, name),
	 "name of the attachment, unique on the host (default: the first IFNAME)"},
	{O_MODE,
	 "mode",
	 "MODE",
	 {"auto", "native", "generic"},
	 offsetof(struct cli_args, mode),
	 "where XDP runs: auto (default; found by probing), native, generic"},
	{O_CLAIM,
	 "claim",
	 "WHAT",
	 {"bound", "all"},
	 offsetof(struct cli_args, claim),
	 "bound (default): only ports in use by tandem's programs; all: the whole address"},
	{O_CONFIG,
	 "config",
	 "FILE",
	 {NULL},
	 offsetof(struct cli_args, config),
	 "settings, see tandem.conf(5)"},
	{O_RUN,
	 "on",
	 "NAME",
	 {NULL},
	 offsetof(struct cli_args, on),
	 "the attachment to use (default: the one of this network namespace)"},
	{O_RUN,
	 "busy-poll",
	 "US",
	 {NULL},
	 offsetof(struct cli_args, busy_poll),
	 "how long a blocked call may spin before it sleeps, in microseconds"},
	{O_RUN,
	 "fallback",
	 "WHAT",
	 {"kernel"},
	 offsetof(struct cli_args, fallback),
	 "where nothing is attached: kernel: use its sockets (default: fail)"},
#define SS_FLAG(name, field, help)                                                                 \
	{                                                                                          \
		O_SS, name, NULL, {NULL}, offsetof(struct cli_args, field), help                   \
	}
	SS_FLAG("all", all, "listening sockets and all states, too"),
	SS_FLAG("listening", listening, "listening sockets only"),
	SS_FLAG("tcp", tcp, "TCP, which is all there is"),
	SS_FLAG("numeric", numeric, "numbers for ports, as always"),
	SS_FLAG("info", info, "TCP's variables (TCP_INFO)"),
	SS_FLAG("memory", memory, "buffers"),
	SS_FLAG("options", timers, "timers"),
	SS_FLAG("extended", extended, "number, owner, interface, options"),
	SS_FLAG("processes", processes, "which process has it"),
	SS_FLAG("no-header", no_header, "no line of titles"),
	{O_METRICS,
	 "openmetrics",
	 NULL,
	 {NULL},
	 offsetof(struct cli_args, openmetrics),
	 "print OpenMetrics text, for Prometheus"},
	{O_JSON, "json", NULL, {NULL}, offsetof(struct cli_args, json), "print JSON, for programs"},
};
/* Options of `ss` that have a letter as well, which is ss(8)'s. */
static const struct {
	char letter;
	const char *name;
} letters[] = {
	{'a', "all"},	    {'l', "listening"}, {'t', "tcp"},	  {'n', "numeric"},
	{'i', "info"},	    {'m', "memory"},	{'o', "options"}, {'e', "extended"},
	{'p', "processes"}, {'H', "no-header"},
};
#define N_LETTERS (sizeof(letters) / sizeof(letters[0]))
#define N_OPTIONS (sizeof(options) / sizeof(options[0]))

static const struct command {
	const char *name;
	const char *operand; /* NULL: takes none */
	bool operand_needed;
	unsigned options;
	int (*run)(const struct cli_args *a);
	const char *help;
} commands[] = {
	{"attach", "IFNAME", true, O_NETNS | O_NAME | O_MODE | O_CLAIM | O_CONFIG | O_JSON | O_MORE,
	 cmd_attach, "attach tandem to interfaces and start their daemon"},
	{"detach", "NAME|IFNAME", false, O_JSON, cmd_detach,
	 "take everything away; the interface is as before"},
	{"list", NULL, false, O_JSON, cmd_list, "attachments on this host"},
	{"status", "NAME|IFNAME", false, O_JSON, cmd_status,
	 "what was chosen at attach, applications, memory, listeners"},
	{"stat", "NAME|IFNAME", false, O_JSON | O_METRICS, cmd_stat,
	 "counters of the XDP program and the stack"},
	{"ss", "NAME|IFNAME", false, O_JSON | O_MORE | O_SS, cmd_ss,
	 "connections and listeners, as ss(8)"},
	{"flows", "NAME|IFNAME", false, O_JSON, cmd_flows, "the XDP program's flow table"},
	{"deny", "list|add|del", true, O_JSON | O_MORE | O_DENY, cmd_deny,
	 "source prefixes whose packets the XDP program drops"},
	{"run", "COMMAND", true, O_RUN, cmd_run, "run a program on tandem's sockets"},
};
#define N_COMMANDS (sizeof(commands) / sizeof(commands[0]))

int cli_error(const struct cli_args *a, const char *fmt, ...)
{
	va_list ap;

	fflush(stdout);
	fprintf(stderr, "tandem %s: ", a->command);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	return EXIT_RUNTIME;
}

static void help_all(FILE *f)
{
	fprintf(f, "Usage: tandem COMMAND [OPTIONS]\n\n"
		   "A TCP/IP stack beside the kernel's: XDP steers, user space "
		   "serves.\n\nCommands:\n");
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(f, "  %-8s %s\n", commands[i].name, commands[i].help);
	fprintf(f, "\n  tandem COMMAND --help   options of a command\n"
		   "  tandem --version        the version\n");
}

static void help_command(const struct command *c)
{
	printf("Usage: tandem %s", c->name);
	if (c->options & O_RUN)
		printf(" [OPTIONS] [--]");
	if (c->operand)
		printf(c->operand_needed ? " %s" : " [%s]", c->operand);
	if (c->options & O_DENY)
		printf(" [PREFIX] [NAME|IFNAME]");
	else if (c->options & O_MORE && !(c->options & O_SS))
		printf(" [%s...]", c->operand);
	printf("%s\n\n%s\n\nOptions:\n",
	       (c->options & O_RUN)  ? " [ARGUMENTS]"
	       : (c->options & O_SS) ? " [OPTIONS] [FILTER]"
				     : " [OPTIONS]",
	       c->help);
	for (size_t i = 0; i < N_OPTIONS; i++) {
		const struct option_def *o = &options[i];
		char head[40];

		if (!(c->options & o->bit))
			continue;
		snprintf(head, sizeof(head), "--%s %s", o->name, o->value ? o->value : "");
		for (size_t k = 0; k < N_LETTERS && o->bit == O_SS; k++)
			if (!strcmp(letters[k].name, o->name))
				snprintf(head, sizeof(head), "--%s, -%c", o->name,
					 letters[k].letter);
		printf("  %-15s %s\n", head, o->help);
	}
	printf("  %-15s %s\n", "--help", "this text");
	if (c->operand && !c->operand_needed)
		printf("\nWithout %s, the only attachment there is.\n", c->operand);
	if (c->options & O_SS)
		printf("\nFILTER: state STATE, exclude STATE, then src or dst "
		       "ADDRESS[/LENGTH][:PORT], sport or dport OP :PORT,\nwith and, or, not "
		       "and ( ). For example:\n"
		       "  tandem ss -tinmo state established dst 10.0.0.1:80\n"
		       "  tandem ss -a '(' sport = :80 or sport = :443 ')' and not dst "
		       "10.0.0.0/8\n");
}

static int unknown_command(const char *word)
{
	fprintf(stderr, "tandem: no command '%s'; there is", word);
	for (size_t i = 0; i < N_COMMANDS; i++)
		fprintf(stderr, "%s %s", i ? "," : "", commands[i].name);
	fprintf(stderr, "\n");
	return EXIT_USAGE;
}

static int unknown_option(const struct command *c, const char *word)
{
	fprintf(stderr, "tandem %s: no option '%s'; there is", c->name, word);
	for (size_t i = 0; i < N_OPTIONS; i++)
		if (c->options & options[i].bit)
			fprintf(stderr, " --%s,", options[i].name);
	fprintf(stderr, " --help\n");
	return EXIT_USAGE;
}

static int check_choice(const struct command *c, const struct option_def *o, const char *value)
{
	if (!o->choices[0])
		return 0;
	for (size_t i = 0; i < 4 && o->choices[i]; i++)
		if (strcmp(o->choices[i], value) == 0)
			return 0;
	fprintf(stderr, "tandem %s: --%s cannot be '%s'; allowed:", c->name, o->name, value);
	for (size_t i = 0; i < 4 && o->choices[i]; i++)
		fprintf(stderr, "%s %s", i ? "," : "", o->choices[i]);
	fprintf(stderr, "\n");
	return EXIT_USAGE;
}

/* Takes argv[*i] (and its value) as an option of @c. */
static int parse_option(const struct command *c, char **argv, int argc, int *i, struct cli_args *a)
{
	const char *word = argv[*i], *name = word + 2, *eq = strchr(word, '=');
	size_t len = eq ? (size_t)(eq - name) : strlen(name);

	for (size_t k = 0; k < N_OPTIONS && strncmp(word, "--", 2) == 0; k++) {
		const struct option_def *o = &options[k];
		void *field = (char *)a + o->offset;
		const char *value = eq ? eq + 1 : NULL;

		if (!(c->options & o->bit) || strlen(o->name) != len ||
		    strncmp(o->name, name, len) != 0)
			continue;
		if (!o->value) {
			if (!eq) {
				*(bool *)field = true;
				return 0;
			}
			fprintf(stderr, "tandem %s: --%s takes no value\n", c->name, o->name);
			return EXIT_USAGE;
		}
		if (!value && *i + 1 < argc)
			value = argv[++*i];
		if (!value || !*value) {
			fprintf(stderr, "tandem %s: --%s needs a value: %s\n", c->name, o->name,
				o->value);
			return EXIT_USAGE;
		}
		*(const char **)field = value;
		return check_choice(c, o, value);
	}
	return unknown_option(c, word);
}

/* -x, or several: -xyz. None of them takes a value. */
static int parse_letters(const struct command *c, const char *word, struct cli_args *a)
{
	for (const char *l = word + 1; *l; l++) {
		size_t k = 0, i = 0;

		while (k < N_LETTERS && letters[k].letter != *l)
			k++;
		if (k == N_LETTERS)
			return unknown_option(c, word);
		while (strcmp(options[i].name, letters[k].name) != 0)
			i++;
		*(bool *)((char *)a + options[i].offset) = true;
	}
	return 0;
}

static int run_command(const struct command *c, int argc, char **argv)
{
	struct cli_args a = {.command = c->name};
	bool only_operands = false;
	int n_rest = 0;

	for (int i = 0; i < argc; i++) {
		int err;

		if (!only_operands && strcmp(argv[i], "--") == 0) {
			only_operands = true;
		} else if (!only_operands &&
			   (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0)) {
			help_command(c);
			return 0;
		} else if (!only_operands && argv[i][0] == '-') {
			if (c->options & O_SS && argv[i][1] && argv[i][1] != '-')
				err = parse_letters(c, argv[i], &a);
			else
				err = parse_option(c, argv, argc, &i, &a);
			if (err)
				return err;
		} else if (a.operand && c->options & O_MORE) {
			a.rest[n_rest++] = argv[i];
		} else if (!c->operand || a.operand) {
			fprintf(stderr,
				"tandem %s: '%s' is one word too many; see tandem %s --help\n",
				c->name, argv[i], c->name);
			return EXIT_USAGE;
		} else {
			a.operand = argv[i];
			if (c->options & O_RUN) {
				a.rest = &argv[i];
				break;
			}
			a.rest = argv; /* what was before it has been read */
			a.rest[n_rest++] = argv[i];
		}
	}
	if (n_rest)
		a.rest[n_rest] = NULL;
	if (c->operand_needed && !a.operand) {
		fprintf(stderr, "tandem %s: %s is missing; see tandem %s --help\n", c->name,
			c->operand, c->name);
		return EXIT_USAGE;
	}
	return c->run(&a);
}

int main(int argc, char **argv)
{
	if (argc < 2) {
		help_all(stderr);
		return EXIT_USAGE;
	}
	if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 ||
	    strcmp(argv[1], "help") == 0) {
		help_all(stdout);
		return 0;
	}
	if (strcmp(argv[1], "--version") == 0) {
		printf("tandem %s\n", TANDEM_VERSION);
		return 0;
	}
	for (size_t i = 0; i < N_COMMANDS; i++)
		if (strcmp(argv[1], commands[i].name) == 0)
			return run_command(&commands[i], argc - 2, argv + 2);
	if (argv[1][0] == '-') {
		fprintf(stderr,
			"tandem: no option '%s' before a command; there is --help, --version\n",
			argv[1]);
		return EXIT_USAGE;
	}
	return unknown_command(argv[1]);
}
