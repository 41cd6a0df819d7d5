// SPDX-License-Identifier: BSD-2-Clause
/*
 * Counters in the OpenMetrics text format, version 1.0. Those of the MIB keep the kernel's names,
 * as tandem_netstat_GROUP_NAME; where a counter has a reason, that is a label.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include "common/mib.h"
#include "cli.h"

static void put_label(const char *s)
{
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			putchar('\\');
		putchar((unsigned char)*s < ' ' ? '?' : *s);
	}
}

static void family(const char *name, const char *type, const char *help)
{
	printf("# TYPE %s %s\n# HELP %s %s\n", name, type, name, help);
}

static uint64_t value(struct json_object *section, const char *key)
{
	struct json_object *v = NULL;

	json_object_object_get_ex(section, key, &v);
	return v ? json_object_get_uint64(v) : 0;
}

static void put_mib(struct json_object *counters, const char *attachment)
{
	static const struct {
		const char *group, *name;
	} mib[MIB_MAX] = {
#define X(group, name) {#group, #name},
		MIB_COUNTERS(X)
#undef X
	};
	char key[96], metric[96];

	for (int m = 0; m < MIB_MAX; m++) {
		bool gauge = mib_is_gauge(m);

		snprintf(key, sizeof(key), "%s%s", mib[m].group, mib[m].name);
		snprintf(metric, sizeof(metric), "tandem_netstat_%s_%s", mib[m].group, mib[m].name);
		family(metric, gauge ? "gauge" : "counter",
		       strcmp(mib[m].group, "Td") ? "As the kernel's in /proc/net/snmp or netstat."
						  : "Of tandem's own.");
		printf("%s%s{attachment=\"", metric, gauge ? "" : "_total");
		put_label(attachment);
		printf("\"} %" PRIu64 "\n", value(counters, key));
	}
}

/* One family for a section, its keys as a label. */
static void put_section(struct json_object *section, const char *attachment, const char *metric,
			const char *label, const char *help)
{
	if (!section || !json_object_is_type(section, json_type_object))
		return;
	family(metric, "counter", help);
	json_object_object_foreach(section, key, val)
	{
		printf("%s_total{attachment=\"", metric);
		put_label(attachment);
		printf("\",%s=\"", label);
		put_label(key);
		printf("\"} %" PRIu64 "\n", json_object_get_uint64(val));
	}
}

void render_openmetrics(struct json_object *o, const char *attachment)
{
	struct json_object *counters = NULL, *drops = NULL, *port = NULL, *xdp = NULL;

	json_object_object_get_ex(o, "counters", &counters);
	json_object_object_get_ex(o, "slow_path_drops", &drops);
	json_object_object_get_ex(o, "slow_path_port", &port);
	json_object_object_get_ex(o, "xdp", &xdp);
	put_section(xdp, attachment, "tandem_xdp_packets", "reason",
		    "Packets by what the XDP program did with them.");
	if (counters)
		put_mib(counters, attachment);
	put_section(drops, attachment, "tandem_slow_path_drops", "reason",
		    "Packets that the daemon's stack dropped.");
	put_section(port, attachment, "tandem_slow_path_port", "what",
		    "What passed the daemon's AF_XDP sockets.");
	puts("# EOF");
}
