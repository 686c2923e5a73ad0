/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The states that a model has reached, and a stack of those with successors that
 * are not known yet. The model defines its struct state, without padding, before
 * it includes this.
 */
#ifndef __SELFTEST_SMMUV3_STATES_H
#define __SELFTEST_SMMUV3_STATES_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#define HASH_SIZE	(1U << 20)
#define STACK_SIZE	(1U << 18)

static struct state table[HASH_SIZE], stack[STACK_SIZE];
static bool used[HASH_SIZE];
static unsigned int depth, states;
/* There were too many states in any model so far */
static bool overflow;

static void forget_states(void)
{
	memset(used, 0, sizeof(used));
	states = 0;
	depth = 0;
}

/* Returns true if the state is new */
static bool visit(const struct state *s)
{
	const uint8_t *p = (const uint8_t *)s;
	uint32_t hash = 2166136261U;
	unsigned int i;

	for (i = 0; i < sizeof(*s); i++)
		hash = (hash ^ p[i]) * 16777619U;
	for (hash %= HASH_SIZE; used[hash]; hash = (hash + 1) % HASH_SIZE)
		if (!memcmp(&table[hash], s, sizeof(*s)))
			return false;
	if (states > HASH_SIZE / 2 || depth == STACK_SIZE) {
		overflow = true;
		return false;
	}
	used[hash] = true;
	table[hash] = *s;
	stack[depth++] = *s;
	states++;
	return true;
}

#endif
