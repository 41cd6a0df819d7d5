/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What CTL_STATUS, CTL_STAT and CTL_SS tell: JSON, made piece by piece as the client reads, so
 * that a million connections neither need memory nor hold the loop up.
 */
#ifndef TANDEM_DAEMON_REPORT_H
#define TANDEM_DAEMON_REPORT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct daemon;

/* JSON text under construction; commas and escapes are its business. */
struct jbuf {
	char *text;
	size_t len, size;
	bool comma;  /* the next value needs one in front */
	bool failed; /* no memory: the text is of no use */
};

/* @key NULL: an array's element. */
void jb_open(struct jbuf *j, const char *key, char bracket); /* '{' or '[' */
void jb_close(struct jbuf *j, char bracket);
void jb_u64(struct jbuf *j, const char *key, uint64_t v);
void jb_bool(struct jbuf *j, const char *key, bool v);
/* Any bytes; what is not UTF-8 or a control character becomes '?'. NULL: null. */
void jb_str(struct jbuf *j, const char *key, const char *s);
/* A new line: what is written goes on there, after the comma if one is due. */
void jb_line(struct jbuf *j);
void jb_free(struct jbuf *j);

#define REPORT_PIECE 16384u

struct report {
	uint16_t type; /* CTL_STATUS, … */
	struct jbuf j;
	uint32_t stage, it;
	bool begun;
	bool done; /* .j holds the rest */
};

/* Makes text until there is a piece, or all. */
void report_fill(struct daemon *d, struct report *r);
/* report_ss.c: the same for CTL_SS and CTL_SS_BRIEF */
void report_ss(struct daemon *d, struct report *r);

#endif
