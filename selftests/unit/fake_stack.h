/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * In place of the core: the calls that port.h makes of a stack, for tests of the I/O layer
 * alone. Include it in one file of a program. What comes in goes to .on_input; what .make
 * fills in goes out.
 */
#ifndef TANDEM_TEST_FAKE_STACK_H
#define TANDEM_TEST_FAKE_STACK_H

#include "user/core/stack.h"

struct stack {
	enum drop (*on_input)(struct stack *s, struct pkt *p);
	/* Fills @p in; called while .to_send is not 0. */
	void (*make)(struct stack *s, struct pkt *p);
	struct pkt_pool *pool;
	unsigned to_send;
	unsigned inputs;
	struct mtime input_at; /* the last one */
	struct pkt *replies; /* to what has come */
	unsigned n_replies, replies_max;
	void *ctx;
};

enum drop stack_input(struct stack *s, struct pkt *p, struct mtime now)
{
	s->input_at = now;
	s->inputs++;
	return s->on_input ? s->on_input(s, p) : DROP_NONE;
}

struct pkt *stack_output(struct stack *s, struct mtime now)
{
	struct pkt *p;

	(void)now;
	if (!s->to_send)
		return NULL;
	p = pkt_alloc(s->pool);
	if (!p)
		return NULL;
	s->to_send--;
	s->make(s, p);
	return p;
}

bool stack_replies_due(const struct stack *s)
{
	return s->replies_max && s->n_replies > s->replies_max / 2;
}

struct pkt *stack_reply(struct stack *s)
{
	struct pkt *p = s->replies;

	if (p) {
		s->replies = p->next;
		p->next = NULL;
		s->n_replies--;
	}
	return p;
}

bool stack_wants_output(const struct stack *s)
{
	return s->to_send;
}

#endif
