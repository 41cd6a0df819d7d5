/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * sim [--runs N] [--seed S] [--verbose] [--pcap FILE]: N runs, of the seeds S, S + 1, …
 * sim --perf [--verbose]: what congestion control makes of links, next to what it did.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include "sim.h"

static struct scenario scenario;
static const char *program;

static void print_replay(FILE *f, uint64_t seed)
{
	fprintf(f, "  replay: %s --runs 1 --seed %lu --verbose --pcap sim-%lu.pcapng\n", program,
		seed, seed);
}

/* A broken invariant traps: say which run that was. Only for a process that ends here. */
static void on_trap(int sig)
{
	fprintf(stderr, "FAIL seed %lu (%s): signal %d\n", scenario.seed, scenario.name, sig);
	print_replay(stderr, scenario.seed);
	signal(sig, SIG_DFL);
	raise(sig);
}

static bool number(const char *s, uint64_t *v)
{
	char *end;

	errno = 0;
	*v = strtoull(s, &end, 0);
	return *s && !*end && !errno;
}

static int usage(FILE *f)
{
	fprintf(f, "usage: sim [--runs N] [--seed S] [--verbose] [--pcap FILE]\n"
		   "       sim --perf [--verbose]\n"
		   "  Simulates pairs of hosts over a bad link. A run follows from its seed.\n"
		   "  --runs N     runs, of the seeds S, S + 1, … (2000)\n"
		   "  --seed S     the first seed (1)\n"
		   "  --perf       goodput, fairness and queues of each congestion control\n"
		   "  --verbose    print each scenario and what happens\n"
		   "  --pcap FILE  write all frames of one run as pcapng (needs --runs 1)\n");
	return f == stdout ? 0 : 2;
}

static int run_all(uint64_t runs, uint64_t seed, bool verbose, FILE *pcap)
{
	uint64_t failed = 0;
	char why[256];

	for (uint64_t i = 0; i < runs; i++) {
		scenario_draw(&scenario, seed + i);
		if (verbose)
			scenario_print(&scenario, stdout);
		if (world_run(&scenario, verbose, pcap, why, sizeof(why)))
			continue;
		failed++;
		printf("FAIL seed %lu (%s): %s\n", seed + i, scenario.name, why);
		print_replay(stdout, seed + i);
		fflush(stdout);
	}
	printf("%lu passed, %lu failed\n", runs - failed, failed);
	return failed != 0;
}

int main(int argc, char **argv)
{
	static const struct option opts[] = {
		{"runs", required_argument, NULL, 'n'},
		{"seed", required_argument, NULL, 's'},
		{"verbose", no_argument, NULL, 'v'},
		{"pcap", required_argument, NULL, 'p'},
		{"help", no_argument, NULL, 'h'},
		{"perf", no_argument, NULL, 'f'},
		{0},
	};
	uint64_t runs = 2000, seed = 1;
	const char *path = NULL;
	bool verbose = false, perf = false;
	FILE *pcap = NULL;
	int c, rc;

	program = argv[0];
	while ((c = getopt_long(argc, argv, "", opts, NULL)) != -1) {
		if (c == 'h')
			return usage(stdout);
		if (c == 'v')
			verbose = true;
		else if (c == 'p')
			path = optarg;
		else if (c == 'f')
			perf = true;
		else if ((c != 'n' && c != 's') || !number(optarg, c == 'n' ? &runs : &seed))
			return usage(stderr);
	}
	if (optind != argc || (path && runs != 1))
		return usage(stderr);
	if (path) {
		pcap = fopen(path, "wb");
		if (!pcap) {
			fprintf(stderr, "sim: %s: %s\n", path, strerror(errno));
			return 2;
		}
		pcapng_begin(pcap);
	}
	signal(SIGILL, on_trap);
	signal(SIGTRAP, on_trap);
	signal(SIGSEGV, on_trap);
	signal(SIGABRT, on_trap);
	rc = perf ? perf_run(verbose) : run_all(runs, seed, verbose, pcap);
	if (pcap && fclose(pcap)) {
		fprintf(stderr, "sim: %s: %s\n", path, strerror(errno));
		return 2;
	}
	return rc;
}
