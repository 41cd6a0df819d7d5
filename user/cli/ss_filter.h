/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which connections `tandem ss` shows, in ss(8)'s words:
 *
 *	{ state STATE | exclude STATE } [ EXPRESSION ]
 *	EXPRESSION: PREDICATE, with and (or nothing), or, not and parentheses
 *	PREDICATE: { src | dst } [=] ADDRESS[/LENGTH][:PORT], { sport | dport } OP [:]PORT
 */
#ifndef TANDEM_CLI_SS_FILTER_H
#define TANDEM_CLI_SS_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include "common/addr.h"

#define SS_MAX_NODES 64

/* Bits of states, by name. */
uint32_t ss_state_bit(const char *name); /* 0: no such state */
#define SS_LISTEN (1u << 9)

struct ss_node {
	enum { SS_AND, SS_OR, SS_NOT, SS_ADDR, SS_PORT } kind;
	uint8_t a, b;  /* AND, OR, NOT: nodes */
	bool remote;   /* ADDR, PORT: whose */
	bool any_port; /* ADDR: .port is not given */
	bool any_addr; /* ADDR: only .port is */
	uint8_t plen;  /* of 128 */
	enum { SS_EQ, SS_NE, SS_LT, SS_LE, SS_GT, SS_GE } op;
	uint16_t port;
	struct ip_addr addr;
};

struct ss_filter {
	uint32_t states;
	bool states_given;
	bool has_expr;
	uint8_t root, n;
	struct ss_node node[SS_MAX_NODES];
};

/* Is @word one that a filter can begin with? */
bool ss_filter_word(const char *word);
/* @states: shown where the filter names none. False, with a sentence in @why: it makes no sense. */
bool ss_filter_parse(struct ss_filter *f, char *const *words, size_t n, uint32_t states, char *why,
		     size_t len);

struct ss_end {
	struct ip_addr addr; /* any: "*" */
	uint16_t port;	     /* host order, 0: "*" */
};
/* "10.0.0.1:80", "[::1]:80", "*:80", "*:*" */
bool ss_end_parse(struct ss_end *e, const char *text);
bool ss_filter_match(const struct ss_filter *f, const char *state, const struct ss_end *local,
		     const struct ss_end *remote);

#endif
