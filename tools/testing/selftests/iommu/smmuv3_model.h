/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Every execution of a few threads on a machine with weak memory
 *
 * A thread is a list of steps, each of which reads or writes memory once. A
 * step names the steps of the same thread that must come before it. The reasons
 * are a barrier, an acquire or a release; a dependency, which is the dependency
 * of a load on the load of its address, or of a store on each load by which it
 * is decided; or the same location. All other steps of the thread may be done
 * in any order. A step takes effect for all threads and for the hardware at
 * once. This is the memory model of Armv8, which is multi-copy atomic. It lacks
 * loads that are forwarded from a store of their own thread: in the models,
 * such loads are behind a full barrier.
 *
 * To show that an order is necessary, a step has other predecessors, or does
 * nothing, if a certain mistake is made. The model must find this to be
 * harmful.
 */
#ifndef __SELFTEST_SMMUV3_MODEL_H
#define __SELFTEST_SMMUV3_MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "../kselftest.h"

#define MODEL_THREADS	3

/* For step::after and step::instead */
#define NOTHING		0
#define AFTER(n)	(1U << (n))
/* All previous steps of this thread */
#define ALL		(1U << 30)
/* Only for step::instead: the step is left out */
#define LEFT_OUT	(1U << 31)

/*
 * The first step of a list is step 0. A list ends with op 0. It begins again if
 * there is an arg, once all its steps have been done.
 */
struct step {
	uint8_t op;
	uint8_t arg;
	uint32_t after;
	/* With this mistake, the predecessors are other steps */
	uint8_t mistake;
	uint32_t instead;
};

/* The memory and the hardware are those of the test, without padding */
struct state {
	uint32_t done[MODEL_THREADS];
	struct machine m;
};

#include "smmuv3_states.h"

static const struct step *threads[MODEL_THREADS];
static unsigned int mistake;
static bool harm;
/* Whether the threads that do not begin again have ended in some execution */
static bool ended;

/* Do a step. Returns false if it has to wait */
static bool do_step(struct machine *m, unsigned int thread,
		    const struct step *step);
/* Do the n-th step that the hardware may do at any time, if it is possible */
static bool do_hardware(struct machine *m, unsigned int n);
/* How many of these there are */
static unsigned int num_hardware(void);
/* Whether the machine must never be in this state */
static bool is_harm(const struct machine *m);

static void reach(const struct state *s)
{
	if (visit(s) && is_harm(&s->m))
		harm = true;
}

static bool may_begin(uint32_t done, const struct step *step, unsigned int n)
{
	uint32_t after = step->after;

	if (step->mistake == mistake && mistake && step->instead != LEFT_OUT)
		after = step->instead;
	if (after & ALL)
		after = AFTER(n) - 1;
	return !(after & ~done);
}

static bool is_left_out(const struct step *step)
{
	return step->mistake == mistake && mistake && step->instead == LEFT_OUT;
}

/* Returns the number of steps of a thread */
static unsigned int length(const struct step *steps)
{
	unsigned int n = 0;

	while (steps[n].op)
		n++;
	return n;
}

/* Returns whether all threads have ended */
static bool thread_steps(const struct state *s, bool *moved)
{
	unsigned int t, n, len;
	bool end = true;

	for (t = 0; t < MODEL_THREADS && threads[t]; t++) {
		len = length(threads[t]);
		for (n = 0; n < len; n++) {
			const struct step *step = &threads[t][n];
			struct state next = *s;

			if (s->done[t] & AFTER(n))
				continue;
			if (!threads[t][len].arg)
				end = false;
			if (!may_begin(s->done[t], step, n))
				continue;
			if (!is_left_out(step) && !do_step(&next.m, t, step))
				continue;
			next.done[t] |= AFTER(n);
			if (next.done[t] == AFTER(len) - 1 &&
			    threads[t][len].arg)
				next.done[t] = 0;
			reach(&next);
			*moved = true;
		}
	}
	return end;
}

/* Returns true if there is an execution that does harm */
static bool model(const struct machine *start)
{
	struct state s;
	unsigned int i;

	memset(&s, 0, sizeof(s));
	s.m = *start;
	forget_states();
	harm = false;
	ended = false;
	reach(&s);
	/* A single harmful execution is enough */
	while (depth && !harm) {
		bool moved = false, end;

		s = stack[--depth];
		end = thread_steps(&s, &moved);
		for (i = 0; i < num_hardware(); i++) {
			struct state next = s;

			if (!do_hardware(&next.m, i))
				continue;
			reach(&next);
			moved = true;
		}
		/* A thread that waits for ever is harmful, too */
		if (!end && !moved)
			harm = true;
		if (end)
			ended = true;
	}
	return harm;
}

#endif
