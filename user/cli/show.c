// SPDX-License-Identifier: BSD-2-Clause
/* The commands that look: list, status, stat, ss, flows. None of them changes anything. */
#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include "common/ctl.h"
#include "user/io/clock.h"
#include "user/io/xdp_prog.h"
#include "cli.h"

static void show(const struct cli_args *a, struct json_object *o, bool skip_zero)
{
	if (a->json)
		render_json(o);
	else
		render_text(o, skip_zero);
}

/* "eth0 lo"; NULL: not known */
static struct json_object *ifnames_of(struct json_object *status)
{
	struct json_object *ifs;
	char text[TD_MAX_NETIFS * 20];
	size_t n = 0;

	if (!json_object_object_get_ex(status, "interfaces", &ifs))
		return NULL;
	json_object_object_foreach(ifs, name, val)
	{
		(void)val;
		if (n < sizeof(text))
			n += (size_t)snprintf(text + n, sizeof(text) - n, "%s%s", n ? " " : "",
					      name);
	}
	return json_object_new_string(text);
}

static struct json_object *list_row(const char *name)
{
	struct json_object *row = json_object_new_object(), *status = NULL;
	struct json_object *netns = NULL;
	int pid = 0, fd = ask_open(name, &pid);
	int err = fd < 0 ? fd : ask_json(fd, CTL_STATUS, &status);

	if (fd >= 0)
		close(fd);
	if (status) {
		json_object_object_get_ex(status, "netns", &netns);
	}
	json_object_object_add(row, "name", json_object_new_string(name));
	json_object_object_add(row, "interfaces", status ? ifnames_of(status) : NULL);
	json_object_object_add(row, "netns", json_object_get(netns));
	json_object_object_add(row, "pid", fd < 0 ? NULL : json_object_new_int(pid));
	json_object_object_add(row, "daemon",
			       json_object_new_string(err ? ask_strerror(err) : "serves"));
	return row;
}

int cmd_list(const struct cli_args *a)
{
	struct json_object *names = names_all(), *rows = json_object_new_array();

	for (size_t i = 0; i < json_object_array_length(names); i++)
		json_object_array_add(rows, list_row(json_object_get_string(
						    json_object_array_get_idx(names, i))));
	if (!a->json && json_object_array_length(rows) == 0)
		puts("nothing is attached");
	else
		show(a, rows, false);
	return 0;
}

static int show_reply(const struct cli_args *a, uint16_t type, bool skip_zero)
{
	const char *name = names_resolve(a);
	struct json_object *o = name ? ask_once(a, name, type) : NULL;

	if (!o)
		return EXIT_RUNTIME;
	show(a, o, skip_zero);
	return 0;
}

int cmd_status(const struct cli_args *a)
{
	return show_reply(a, CTL_STATUS, false);
}

/* ---- stat ---- */

static const struct {
	const char *name, *verdict, *text;
} reasons[XR_MAX] = {
#define X(name, verdict, text) [XR_##name] = {#name, #verdict, text},
	XDP_REASONS(X)
#undef X
};

/* "FLOW_DIRECT" -> "flow_direct" */
static const char *lower(const char *s, char *buf, size_t size)
{
	size_t i;

	for (i = 0; s[i] && i < size - 1; i++)
		buf[i] = s[i] >= 'A' && s[i] <= 'Z' ? (char)(s[i] + 32) : s[i];
	buf[i] = 0;
	return buf;
}

static void print_reasons(const uint64_t n[XS_MAX])
{
	char buf[32];

	puts("XDP program, packets by verdict:");
	for (int i = 0; i < XR_MAX; i++)
		if (n[i])
			printf("  %-18s %-8s %12" PRIu64 "  %s\n",
			       lower(reasons[i].name, buf, sizeof(buf)), reasons[i].verdict, n[i],
			       reasons[i].text);
}

/* The program's counters stay readable when the daemon does not answer; the exit status tells. */
int cmd_stat(const struct cli_args *a)
{
	const char *name = names_resolve(a);
	struct json_object *o, *xdp = NULL;
	uint64_t n[XS_MAX];
	char buf[32];
	int err;

	if (!name)
		return EXIT_RUNTIME;
	err = xdp_read_stats(name, n);
	if (err)
		return cli_error(a, "%s: cannot read the pinned counters: %s", name,
				 err == -EPERM || err == -EACCES ? "that takes root"
								 : strerror(-err));
	o = ask_once(a, name, CTL_STAT);
	if (!a->json && !a->openmetrics) {
		print_reasons(n);
		if (o)
			render_text(o, true);
		return o ? 0 : EXIT_RUNTIME;
	}
	xdp = json_object_new_object();
	for (int i = 0; i < XR_MAX; i++)
		json_object_object_add(xdp, lower(reasons[i].name, buf, sizeof(buf)),
				       json_object_new_uint64(n[i]));
	err = o ? 0 : EXIT_RUNTIME;
	if (!o)
		o = json_object_new_object();
	json_object_object_add(o, "xdp", xdp);
	if (a->openmetrics)
		render_openmetrics(o, name);
	else
		render_json(o);
	return err;
}

/* ---- flows: printed as they are read, as there may be a million ---- */

struct flow_printer {
	bool json;
	uint64_t n;
	struct mtime now;
};

static void endpoint(char *out, size_t size, const struct ip_addr *a, uint16_t port)
{
	char text[INET6_ADDRSTRLEN];

	if (ip_addr_is_v4(a)) {
		inet_ntop(AF_INET, &a->w[3], text, sizeof(text));
		snprintf(out, size, "%s:%u", text, ntohs(port));
	} else {
		inet_ntop(AF_INET6, a->b, text, sizeof(text));
		snprintf(out, size, "[%s]:%u", text, ntohs(port));
	}
}

static const char *flow_state_name(uint32_t state)
{
	switch (state) {
	case FLOW_OPENING:
		return "opening";
	case FLOW_ESTABLISHED:
		return "established";
	case FLOW_CLOSING:
		return "closing";
	default:
		return "unknown";
	}
}

static bool print_flow(void *ctx, const struct flow_key *k, const struct flow_val *v)
{
	struct flow_printer *p = ctx;
	char local[64], remote[64];
	const char *proto = k->proto == IPPROTO_TCP ? "tcp" : k->proto == IPPROTO_UDP ? "udp" : "?";
	int64_t idle = -1; /* ms; -1: no packet yet */

	if (v->last_seen)
		idle = v->last_seen < p->now.ns ? (int64_t)((p->now.ns - v->last_seen) / 1000000)
						: 0;
	endpoint(local, sizeof(local), &k->local, k->local_port);
	endpoint(remote, sizeof(remote), &k->remote, k->remote_port);
	if (p->json)
		printf("%s\n  {\"proto\": \"%s\", \"local\": \"%s\", \"remote\": \"%s\", "
		       "\"state\": \"%s\", \"slot\": %u, \"conn\": %u, \"generation\": %u, "
		       "\"packets\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"idle_ms\": %" PRId64
		       "}",
		       p->n ? "," : "", proto, local, remote, flow_state_name(v->state), v->slot,
		       v->conn, v->generation, v->packets, v->bytes, idle);
	else
		printf("%-5s %-22s %-22s %-12s %4u %8u %10" PRIu64 " %14" PRIu64 " %9" PRId64 "\n",
		       proto, local, remote, flow_state_name(v->state), v->slot, v->conn,
		       v->packets, v->bytes, idle);
	p->n++;
	return true;
}

int cmd_flows(const struct cli_args *a)
{
	struct flow_printer p = {.json = a->json, .now = clock_now()};
	const char *name = names_resolve(a);
	int err;

	if (!name)
		return EXIT_RUNTIME;
	if (p.json)
		printf("[");
	else
		printf("%-5s %-22s %-22s %-12s %4s %8s %10s %14s %9s\n", "proto", "local", "remote",
		       "state", "slot", "conn", "packets", "bytes", "idle_ms");
	err = xdp_read_flows(name, print_flow, &p);
	if (p.json)
		printf(p.n ? "\n]\n" : "]\n");
	if (err)
		return cli_error(a, "%s: cannot read the pinned flow table: %s", name,
				 err == -EPERM || err == -EACCES ? "that takes root"
								 : strerror(-err));
	return 0;
}
