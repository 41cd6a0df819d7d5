// SPDX-License-Identifier: BSD-2-Clause
/*
 * `tandem ss`: sockets, in the manner of ss(8). The daemon sends a row a line, which is shown or
 * not and forgotten, so that a million of them take no memory here.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "common/ctl.h"
#include "cli.h"
#include "ss_filter.h"

struct ss {
	const struct cli_args *a;
	struct ss_filter f;
	bool rows; /* in the second part of the reply: connections */
	bool any;  /* the present array has an element */
	bool bad;  /* a line that is none of ours */
};

static const char *str(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	json_object_object_get_ex(o, key, &v);
	return v && json_object_is_type(v, json_type_string) ? json_object_get_string(v) : "?";
}

static uint64_t num(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	json_object_object_get_ex(o, key, &v);
	return v ? json_object_get_uint64(v) : 0;
}

static bool flag(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	json_object_object_get_ex(o, key, &v);
	return v && json_object_get_boolean(v);
}

static struct json_object *sub(struct json_object *o, const char *key)
{
	struct json_object *v = NULL;

	json_object_object_get_ex(o, key, &v);
	return v && json_object_is_type(v, json_type_object) ? v : NULL;
}

/* ---- text ---- */

/* What a program calls itself could drive a terminal. */
static void put_name(const char *s)
{
	for (; *s; s++)
		putchar((unsigned char)*s < ' ' || *s == 127 || *s == '"' ? '?' : *s);
}

static const char *state_text(const char *state)
{
	static const char *const names[][2] = {
		{"established", "ESTAB"},     {"syn-sent", "SYN-SENT"},
		{"syn-recv", "SYN-RECV"},     {"fin-wait-1", "FIN-WAIT-1"},
		{"fin-wait-2", "FIN-WAIT-2"}, {"time-wait", "TIME-WAIT"},
		{"closed", "UNCONN"},	      {"close-wait", "CLOSE-WAIT"},
		{"last-ack", "LAST-ACK"},     {"listen", "LISTEN"},
		{"closing", "CLOSING"},
	};

	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
		if (!strcmp(names[i][0], state))
			return names[i][1];
	return "?";
}

static void put_timer(struct json_object *t)
{
	uint64_t ms = num(t, "expires_ms");

	printf(" timer:(%s,", str(t, "name"));
	if (ms >= 60000)
		printf("%" PRIu64 "min", ms / 60000);
	else if (ms >= 10000)
		printf("%" PRIu64 "sec", ms / 1000);
	else if (ms >= 1000)
		printf("%" PRIu64 ".%03" PRIu64 "sec", ms / 1000, ms % 1000);
	else
		printf("%" PRIu64 "ms", ms);
	printf(",%" PRIu64 ")", num(t, "retrans"));
}

static void put_mem(struct json_object *m)
{
	printf(" skmem:(r%" PRIu64 ",rb%" PRIu64 ",t0,tb%" PRIu64 ",f0,w%" PRIu64
	       ",o0,bl0,d0) ooo:%" PRIu64 " chunks:%" PRIu64,
	       num(m, "rmem"), num(m, "rcvbuf"), num(m, "sndbuf"), num(m, "wmem"), num(m, "ooo"),
	       num(m, "chunks"));
}

/* " label:value", unless it is 0. */
static void put_some(struct json_object *i, const char *key, const char *label)
{
	if (num(i, key))
		printf(" %s:%" PRIu64, label, num(i, key));
}

static void put_info(struct json_object *i)
{
	static const char *const options[] = {"ts", "sack", "ecn"};

	for (size_t k = 0; k < 3; k++)
		if (flag(i, options[k]))
			printf(" %s", options[k]);
	printf(" %s", str(i, "cc"));
	if (flag(i, "wscale"))
		printf(" wscale:%" PRIu64 ",%" PRIu64, num(i, "snd_wscale"), num(i, "rcv_wscale"));
	printf(" rto:%g", (double)num(i, "rto") / 1000);
	put_some(i, "backoff", "backoff");
	if (num(i, "rtt"))
		printf(" rtt:%g/%g", (double)num(i, "rtt") / 1000, (double)num(i, "rttvar") / 1000);
	printf(" ato:%g", (double)num(i, "ato") / 1000);
	put_some(i, "snd_mss", "mss");
	put_some(i, "pmtu", "pmtu");
	put_some(i, "rcv_mss", "rcvmss");
	put_some(i, "advmss", "advmss");
	put_some(i, "snd_cwnd", "cwnd");
	if (num(i, "snd_ssthresh") < INT32_MAX)
		put_some(i, "snd_ssthresh", "ssthresh");
	put_some(i, "bytes_acked", "bytes_acked");
	put_some(i, "bytes_received", "bytes_received");
	put_some(i, "segs_out", "segs_out");
	put_some(i, "segs_in", "segs_in");
	put_some(i, "last_data_sent", "lastsnd");
	put_some(i, "last_data_recv", "lastrcv");
	put_some(i, "last_ack_recv", "lastack");
	if (strcmp(str(i, "ca_state"), "open"))
		printf(" %s", str(i, "ca_state"));
	put_some(i, "unacked", "unacked");
	if (num(i, "retrans") || num(i, "total_retrans"))
		printf(" retrans:%" PRIu64 "/%" PRIu64, num(i, "retrans"), num(i, "total_retrans"));
	put_some(i, "lost", "lost");
	put_some(i, "sacked", "sacked");
	put_some(i, "reord_seen", "reord_seen");
	put_some(i, "rcv_space", "rcv_space");
	put_some(i, "rcv_ssthresh", "rcv_ssthresh");
	put_some(i, "notsent_bytes", "notsent");
	if (num(i, "min_rtt"))
		printf(" minrtt:%g", (double)num(i, "min_rtt") / 1000);
	put_some(i, "snd_wnd", "snd_wnd");
	put_some(i, "rcv_wnd", "rcv_wnd");
}

static void put_extended(struct json_object *o)
{
	if (!sub(o, "info"))
		return;
	printf(" conn:%" PRIu64 " gen:%" PRIu64 " slot:%" PRIu64 " dev:%s", num(o, "conn"),
	       num(o, "generation"), num(o, "slot"), str(o, "interface"));
	put_some(o, "tos", "tos");
	printf("%s%s%s", flag(o, "nodelay") ? " nodelay" : "", flag(o, "cork") ? " cork" : "",
	       flag(o, "keepalive") ? " keepalive" : "");
}

static void put_row(const struct ss *s, struct json_object *o)
{
	const struct cli_args *a = s->a;

	printf("%-10s %6" PRIu64 " %6" PRIu64 " %21s %21s", state_text(str(o, "state")),
	       num(o, "recv_q"), num(o, "send_q"), str(o, "local"), str(o, "remote"));
	if (a->processes) {
		printf(" users:((\"");
		put_name(str(o, "owner"));
		printf("\",pid=%" PRIu64 "))", num(o, "pid"));
	}
	if (a->timers && sub(o, "timer"))
		put_timer(sub(o, "timer"));
	if (a->extended)
		put_extended(o);
	if ((a->memory && sub(o, "mem")) || (a->info && sub(o, "info")))
		printf("\n\t");
	if (a->memory && sub(o, "mem"))
		put_mem(sub(o, "mem"));
	if (a->info && sub(o, "info"))
		put_info(sub(o, "info"));
	putchar('\n');
}

/* ---- lines ---- */

static void on_row(struct ss *s, const char *text, struct json_object *o)
{
	struct ss_end local, remote;

	if (!ss_end_parse(&local, str(o, "local")) || !ss_end_parse(&remote, str(o, "remote"))) {
		s->bad = true;
		return;
	}
	if (!ss_filter_match(&s->f, str(o, "state"), &local, &remote))
		return;
	if (s->a->json)
		printf("%s\n  %s", s->any ? "," : "", text);
	else
		put_row(s, o);
	s->any = true;
}

/* The first line, the one between the arrays and the last are brackets; each other is a row. */
static void on_line(void *ctx, char *text)
{
	struct ss *s = ctx;
	size_t len = strlen(text);
	struct json_object *o;

	if (len && text[len - 1] == ',')
		text[--len] = 0;
	if (!len || *text == ']') {
		if (!s->rows && s->a->json)
			printf("%s],\n\"connections\": [", s->any ? "\n" : "");
		if (!s->rows)
			s->any = false;
		s->rows = true;
		return;
	}
	if (text[len - 1] == '[')
		return;
	o = json_tokener_parse(text);
	if (o && json_object_is_type(o, json_type_object))
		on_row(s, text, o);
	else
		s->bad = true;
	json_object_put(o);
}

/* ---- the command ---- */

static int usage_error(const struct cli_args *a, const char *why)
{
	cli_error(a, "%s; see tandem ss --help", why);
	return EXIT_USAGE;
}

int cmd_ss(const struct cli_args *a)
{
	uint32_t listen = ss_state_bit("listen"), states;
	struct cli_args named = *a;
	struct ss s = {.a = a};
	char **words = a->rest;
	size_t n = 0;
	const char *name;
	char why[160];
	bool brief;
	int err;

	while (words && words[n])
		n++;
	named.operand = NULL;
	if (n && !ss_filter_word(words[0])) {
		named.operand = *words++;
		n--;
	}
	if (a->all || (a->json && !a->listening))
		states = ss_state_bit("all");
	else if (a->listening)
		states = listen;
	else /* as ss(8) */
		states = ss_state_bit("connected") & ss_state_bit("big");
	if (!ss_filter_parse(&s.f, words, n, states, why, sizeof(why)))
		return usage_error(a, why);
	name = names_resolve(&named);
	if (!name)
		return EXIT_RUNTIME;
	if (a->json)
		printf("{\"listeners\": [");
	else if (!a->no_header)
		printf("%-10s %6s %6s %21s %21s %s\n", "State", "Recv-Q", "Send-Q",
		       "Local Address:Port", "Peer Address:Port", a->processes ? "Process" : "");
	brief = !a->json && !a->info && !a->memory && !a->timers && !a->extended;
	err = ask_lines(a, name, brief ? CTL_SS_BRIEF : CTL_SS, on_line, &s);
	if (a->json)
		printf("%s%s]}\n", s.any ? "\n" : "", s.rows ? "" : "], \"connections\": [");
	if (!err && s.bad)
		err = cli_error(a, "%s: %s", name, ask_strerror(-EBADMSG));
	return err;
}
