// SPDX-License-Identifier: BSD-2-Clause
/* ss_filter.h: a parser by recursive descent; an expression becomes a tree of numbered nodes. */
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include "ss_filter.h"

/* ---- states ---- */

static const struct {
	const char *name;
	uint32_t bits;
} states[] = {
	{"established", 1u << 0},
	{"syn-sent", 1u << 1},
	{"syn-recv", 1u << 2},
	{"fin-wait-1", 1u << 3},
	{"fin-wait-2", 1u << 4},
	{"time-wait", 1u << 5},
	{"closed", 1u << 6},
	{"close-wait", 1u << 7},
	{"last-ack", 1u << 8},
	{"listen", SS_LISTEN},
	{"listening", SS_LISTEN},
	{"closing", 1u << 10},
	/* groups, as in ss(8) */
	{"all", 0x7ff},
	{"connected", 0x7ff & ~(SS_LISTEN | 1u << 6)},
	{"synchronized", 0x7ff & ~(SS_LISTEN | 1u << 6 | 1u << 1)},
	{"bucket", 1u << 2 | 1u << 5},
	{"big", 0x7ff & ~(1u << 2 | 1u << 5)},
};

uint32_t ss_state_bit(const char *name)
{
	for (size_t i = 0; i < sizeof(states) / sizeof(states[0]); i++)
		if (!strcmp(states[i].name, name))
			return states[i].bits;
	return 0;
}

/* ---- parsing ---- */

struct parser {
	struct ss_filter *f;
	char *const *words;
	size_t n, at;
	char *why;
	size_t len;
	unsigned depth;
	bool failed;
};

static uint8_t fail(struct parser *p, const char *text, const char *word)
{
	if (!p->failed)
		snprintf(p->why, p->len, "%s%s%s%s", text, word ? " '" : "", word ? word : "",
			 word ? "'" : "");
	p->failed = true;
	return 0;
}

static const char *peek(const struct parser *p)
{
	return p->at < p->n ? p->words[p->at] : NULL;
}

static bool next_is(struct parser *p, const char *word)
{
	const char *w = peek(p);

	if (!w || strcmp(w, word))
		return false;
	p->at++;
	return true;
}

static uint8_t node(struct parser *p, struct ss_node n)
{
	if (p->f->n == SS_MAX_NODES)
		return fail(p, "the expression is too long", NULL);
	p->f->node[p->f->n] = n;
	return p->f->n++;
}

/* ":80", "80", ":http" */
static bool parse_port(const char *text, uint16_t *port)
{
	const struct servent *se;
	char *end;
	unsigned long v;

	text += *text == ':';
	v = strtoul(text, &end, 10);
	if (*text >= '0' && *text <= '9' && !*end && v <= 65535) {
		*port = (uint16_t)v;
		return true;
	}
	se = getservbyname(text, "tcp");
	if (se)
		*port = ntohs((uint16_t)se->s_port);
	return se != NULL;
}

static bool parse_addr(const char *text, struct ip_addr *a, uint8_t *plen)
{
	char buf[INET6_ADDRSTRLEN + 8];
	char *slash, *end;
	unsigned long bits;
	bool v4;
	uint32_t be;

	if (snprintf(buf, sizeof(buf), "%s", text) >= (int)sizeof(buf))
		return false;
	slash = strchr(buf, '/');
	if (slash)
		*slash++ = 0;
	v4 = inet_pton(AF_INET, buf, &be) == 1;
	if (v4)
		*a = ip_addr_v4(be);
	else if (inet_pton(AF_INET6, buf, a->b) != 1)
		return false;
	bits = slash ? strtoul(slash, &end, 10) : v4 ? 32 : 128;
	if (slash && (*slash < '0' || *slash > '9' || *end))
		return false;
	*plen = (uint8_t)(bits + (v4 ? 96 : 0));
	return bits <= (v4 ? 32u : 128u);
}

/* ADDRESS[/LENGTH][:PORT]; an IPv6 address with a port stands in brackets; "*" is any. */
static bool parse_host(const char *text, struct ss_node *n)
{
	const char *colon = strrchr(text, ':'), *bracket = strchr(text, ']');
	char host[INET6_ADDRSTRLEN + 8];
	size_t len = strlen(text), skip = *text == '[';

	/* Several colons and no bracket: an address alone. */
	if (colon && !skip && strchr(text, ':') != colon)
		colon = NULL;
	if (colon && bracket && colon < bracket)
		colon = NULL;
	n->any_port = !colon || !strcmp(colon, ":*");
	if (!n->any_port && !parse_port(colon, &n->port))
		return false;
	if (colon)
		len = (size_t)(colon - text);
	if (skip && (!bracket || bracket < text + len - 1) && !strchr(text, '/'))
		return false;
	if (snprintf(host, sizeof(host), "%.*s", (int)len, text) >= (int)sizeof(host))
		return false;
	if (skip) { /* [::1]/64 becomes ::1/64 */
		char *b = strchr(host, ']');

		if (!b)
			return false;
		memmove(b, b + 1, strlen(b));
		memmove(host, host + 1, strlen(host));
	}
	n->any_addr = !host[0] || !strcmp(host, "*");
	return n->any_addr || parse_addr(host, &n->addr, &n->plen);
}

static bool parse_op(const char *word, struct ss_node *n)
{
	static const struct {
		const char *word;
		int op;
	} ops[] = {
		{"=", SS_EQ},  {"==", SS_EQ}, {"eq", SS_EQ}, {"!=", SS_NE}, {"ne", SS_NE},
		{"<", SS_LT},  {"lt", SS_LT}, {"<=", SS_LE}, {"le", SS_LE}, {">", SS_GT},
		{"gt", SS_GT}, {">=", SS_GE}, {"ge", SS_GE},
	};

	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++)
		if (!strcmp(ops[i].word, word)) {
			n->op = ops[i].op;
			return true;
		}
	return false;
}

static uint8_t parse_or(struct parser *p);

static uint8_t parse_predicate(struct parser *p)
{
	const char *what = peek(p), *word;
	struct ss_node n = {.kind = SS_ADDR};
	bool port;

	if (!what)
		return fail(p, "something is missing at the end", NULL);
	port = !strcmp(what, "sport") || !strcmp(what, "dport");
	if (!port && strcmp(what, "src") && strcmp(what, "dst"))
		return fail(p, "expected src, dst, sport, dport, not or (, found", what);
	p->at++;
	n.remote = *what == 'd';
	word = peek(p);
	if (port) {
		n.kind = SS_PORT;
		if (word && parse_op(word, &n))
			p->at++;
		word = peek(p);
		if (!word || !parse_port(word, &n.port))
			return fail(p, "expected a port, such as :80, after", what);
	} else {
		if (word && (!strcmp(word, "=") || !strcmp(word, "==")))
			word = p->words[++p->at < p->n ? p->at : p->n - 1];
		if (!peek(p) || !parse_host(word, &n))
			return fail(p,
				    "expected an address, such as 10.0.0.1:80 or 10.0.0.0/8, after",
				    what);
	}
	p->at++;
	return node(p, n);
}

static uint8_t parse_unary(struct parser *p)
{
	uint8_t a;

	if (++p->depth > SS_MAX_NODES)
		return fail(p, "the expression is too deep", NULL);
	if (next_is(p, "not") || next_is(p, "!")) {
		a = parse_unary(p);
		p->depth--;
		return p->failed ? 0 : node(p, (struct ss_node){.kind = SS_NOT, .a = a});
	}
	if (next_is(p, "(")) {
		a = parse_or(p);
		p->depth--;
		if (!p->failed && !next_is(p, ")"))
			return fail(p, "a ) is missing", NULL);
		return a;
	}
	p->depth--;
	return parse_predicate(p);
}

static uint8_t parse_and(struct parser *p)
{
	uint8_t a = parse_unary(p);

	while (!p->failed && peek(p) && strcmp(peek(p), "or") && strcmp(peek(p), ")")) {
		uint8_t b;

		next_is(p, "and");
		b = parse_unary(p);
		a = p->failed ? 0 : node(p, (struct ss_node){.kind = SS_AND, .a = a, .b = b});
	}
	return a;
}

static uint8_t parse_or(struct parser *p)
{
	uint8_t a = parse_and(p);

	while (!p->failed && next_is(p, "or")) {
		uint8_t b = parse_and(p);

		a = p->failed ? 0 : node(p, (struct ss_node){.kind = SS_OR, .a = a, .b = b});
	}
	return a;
}

/* False: not one of these words. */
static bool parse_state(struct parser *p)
{
	bool exclude = peek(p) && !strcmp(peek(p), "exclude");
	struct ss_filter *f = p->f;
	uint32_t bits;

	if (!exclude && (!peek(p) || strcmp(peek(p), "state")))
		return false;
	p->at++;
	bits = peek(p) ? ss_state_bit(peek(p)) : 0;
	if (!bits) {
		fail(p, peek(p) ? "there is no state" : "a state is missing at the end", peek(p));
		return false;
	}
	p->at++;
	if (exclude)
		f->states = (f->states_given ? f->states : ss_state_bit("all")) & ~bits;
	else
		f->states = (f->states_given ? f->states : 0) | bits;
	f->states_given = true;
	return true;
}

bool ss_filter_word(const char *word)
{
	static const char *const first[] = {"state", "exclude", "src", "dst", "sport",
					    "dport", "not",	"!",   "("};

	for (size_t i = 0; i < sizeof(first) / sizeof(first[0]); i++)
		if (!strcmp(first[i], word))
			return true;
	return false;
}

bool ss_filter_parse(struct ss_filter *f, char *const *words, size_t n, uint32_t states_default,
		     char *why, size_t len)
{
	struct parser p = {.f = f, .words = words, .n = n, .why = why, .len = len};

	memset(f, 0, sizeof(*f));
	f->states = states_default;
	while (parse_state(&p))
		;
	if (!p.failed && peek(&p)) {
		f->root = parse_or(&p);
		f->has_expr = true;
		if (!p.failed && peek(&p))
			fail(&p, "cannot make sense of", peek(&p));
	}
	return !p.failed;
}

/* ---- matching ---- */

bool ss_end_parse(struct ss_end *e, const char *text)
{
	struct ss_node n = {.kind = SS_ADDR};

	if (!parse_host(text, &n))
		return false;
	e->port = n.any_port ? 0 : n.port;
	e->addr = n.any_addr ? (struct ip_addr){.w = {0}} : n.addr;
	return true;
}

static bool prefix_match(const struct ip_addr *a, const struct ip_addr *b, uint8_t plen)
{
	uint8_t bytes = plen / 8, bits = plen % 8;

	if (memcmp(a->b, b->b, bytes))
		return false;
	return !bits || !((a->b[bytes] ^ b->b[bytes]) >> (8 - bits));
}

static bool port_match(const struct ss_node *n, uint16_t port)
{
	switch (n->op) {
	case SS_EQ:
		return port == n->port;
	case SS_NE:
		return port != n->port;
	case SS_LT:
		return port < n->port;
	case SS_LE:
		return port <= n->port;
	case SS_GT:
		return port > n->port;
	case SS_GE:
		return port >= n->port;
	}
	return false;
}

static bool match(const struct ss_filter *f, uint8_t i, const struct ss_end *local,
		  const struct ss_end *remote)
{
	const struct ss_node *n = &f->node[i];
	const struct ss_end *e = n->remote ? remote : local;

	switch (n->kind) {
	case SS_AND:
		return match(f, n->a, local, remote) && match(f, n->b, local, remote);
	case SS_OR:
		return match(f, n->a, local, remote) || match(f, n->b, local, remote);
	case SS_NOT:
		return !match(f, n->a, local, remote);
	case SS_PORT:
		return port_match(n, e->port);
	case SS_ADDR:
		return (n->any_port || e->port == n->port) &&
		       (n->any_addr || prefix_match(&e->addr, &n->addr, n->plen));
	}
	return false;
}

bool ss_filter_match(const struct ss_filter *f, const char *state, const struct ss_end *local,
		     const struct ss_end *remote)
{
	if (!(ss_state_bit(state) & f->states))
		return false;
	return !f->has_expr || match(f, f->root, local, remote);
}
