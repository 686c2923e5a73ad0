// SPDX-License-Identifier: GPL-2.0-only
/*
 * A model of the doorbell in drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3-vcmdq.c
 *
 * Two vCPUs write PROD, the fault handler runs for each of them, and the
 * worker polls, unmaps the register and sleeps. Every interleaving of their
 * steps is tried. None may end with a worker that sleeps and a command that the
 * worker has not seen.
 *
 * Memory is sequentially consistent here, with a single exception: a store that
 * has been translated may take effect later, up to the DSB after the TLBI. For
 * the other accesses the kernel has locks and barriers in the places where an
 * order counts. The test also shows that the model finds each of these orders
 * to be necessary.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define VCPUS		2
#define COMMANDS	2	/* For each vCPU */

/* Mistakes that the model must find */
enum mistake {
	NONE,
	NO_DSB,
	NO_SECOND_LOOK,
	LOOK_BEFORE_ZAP,
	LOOK_BEFORE_STATE,
	LOOK_WITHOUT_MAPPED,
	MAPPED_AFTER_WAKEUP,
	NO_WAKEUP,
	NO_LOCK,
	MISTAKES
};

static const char *const names[MISTAKES] = {
	[NONE] = "no command is lost",
	[NO_DSB] = "a zap must wait for stores by the old translation",
	[NO_SECOND_LOOK] = "there must be a look at PROD after the zap",
	[LOOK_BEFORE_ZAP] = "a look before the zap is not enough",
	[LOOK_BEFORE_STATE] = "the task state must be set before the look",
	[LOOK_WITHOUT_MAPPED] = "the look must include the mapping",
	[MAPPED_AFTER_WAKEUP] = "the mapping must be noted before the wakeup",
	[NO_WAKEUP] = "the fault must wake the worker",
	[NO_LOCK] = "zap and fault must exclude each other",
};

/* Steps of a vCPU; those from FAULT on are of the fault handler */
enum { TRANSLATE, STORE, DONE, FAULT, NOTE, INSERT, WAKE, NOTE_LATE, UNLOCK };

/* Steps of the worker */
enum {
	POLL, EARLY_LOOK, LOCK, ZAP, DSB, NOTE_ZAP, SET_STATE, LOOK, SCHEDULE,
	ASLEEP
};

struct state {
	uint8_t vcpu[VCPUS];
	uint8_t left[VCPUS];
	uint8_t worker;
	uint8_t lock;		/* 0, 1 + vCPU, or 0xff for the worker */
	uint8_t pte;
	uint8_t mapped;
	uint8_t interruptible;
	uint8_t prod;
	uint8_t seen;
	uint8_t pad[3];
};

#include "smmuv3_states.h"

static enum mistake mistake;

/* Does the next step of the vCPU. Returns false if the vCPU cannot do it */
static bool vcpu_step(struct state *s, unsigned int n)
{
	switch (s->vcpu[n]) {
	case TRANSLATE:
		s->vcpu[n] = s->pte ? STORE : FAULT;
		return true;
	case STORE:
		s->prod++;
		s->vcpu[n] = --s->left[n] ? TRANSLATE : DONE;
		return true;
	case FAULT:
		if (mistake != NO_LOCK) {
			if (s->lock)
				return false;
			s->lock = 1 + n;
		}
		s->vcpu[n] = mistake == MAPPED_AFTER_WAKEUP ? INSERT : NOTE;
		return true;
	case NOTE:
		s->mapped = 1;
		s->vcpu[n] = INSERT;
		return true;
	case INSERT:
		s->pte = 1;
		s->vcpu[n] = WAKE;
		return true;
	case WAKE:
		if (mistake != NO_WAKEUP)
			s->interruptible = 0;
		s->vcpu[n] = mistake == MAPPED_AFTER_WAKEUP ? NOTE_LATE :
							      UNLOCK;
		return true;
	case NOTE_LATE:
		s->mapped = 1;
		s->vcpu[n] = UNLOCK;
		return true;
	case UNLOCK:
		if (mistake != NO_LOCK)
			s->lock = 0;
		s->vcpu[n] = TRANSLATE;
		return true;
	default:
		return false;
	}
}

static bool worker_step(struct state *s)
{
	unsigned int n;

	switch (s->worker) {
	case POLL:
		/* Without work, the time to poll may end at any moment */
		if (s->seen != s->prod)
			s->seen = s->prod;
		else
			s->worker = mistake == LOOK_BEFORE_ZAP ? EARLY_LOOK :
								 LOCK;
		return true;
	case EARLY_LOOK:
		s->worker = s->seen != s->prod ? POLL : LOCK;
		return true;
	case LOCK:
		if (mistake != NO_LOCK) {
			if (s->lock)
				return false;
			s->lock = 0xff;
		}
		s->worker = ZAP;
		return true;
	case ZAP:
		s->pte = 0;
		s->worker = DSB;
		return true;
	case DSB:
		for (n = 0; mistake != NO_DSB && n < VCPUS; n++)
			if (s->vcpu[n] == STORE)
				return false;
		s->worker = NOTE_ZAP;
		return true;
	case NOTE_ZAP:
		s->mapped = 0;
		if (mistake != NO_LOCK)
			s->lock = 0;
		s->worker = mistake == LOOK_BEFORE_STATE ? LOOK : SET_STATE;
		return true;
	case SET_STATE:
		s->interruptible = 1;
		s->worker = mistake == LOOK_BEFORE_STATE ? SCHEDULE : LOOK;
		return true;
	case LOOK:
		if (mistake != NO_SECOND_LOOK &&
		    ((s->mapped && mistake != LOOK_WITHOUT_MAPPED) ||
		     (s->prod != s->seen && mistake != LOOK_BEFORE_ZAP))) {
			s->interruptible = 0;
			s->worker = POLL;
		} else {
			s->worker = mistake == LOOK_BEFORE_STATE ? SET_STATE :
								   SCHEDULE;
		}
		return true;
	case SCHEDULE:
		s->worker = ASLEEP;
		return true;
	case ASLEEP:
		if (s->interruptible)
			return false;
		/* The worker checks again if it has to poll */
		s->worker = SET_STATE;
		return true;
	}
	return false;
}

/* Returns true if a command can get lost */
static bool model(void)
{
	struct state start = { .pte = 1, .mapped = 1 };
	bool lost = false;
	unsigned int n;

	forget_states();
	for (n = 0; n < VCPUS; n++)
		start.left[n] = COMMANDS;
	visit(&start);
	while (depth) {
		struct state s = stack[--depth], next = s;
		bool moved = worker_step(&next);

		if (moved)
			visit(&next);
		for (n = 0; n < VCPUS; n++) {
			next = s;
			if (vcpu_step(&next, n)) {
				visit(&next);
				moved = true;
			}
		}
		/* The end. A deadlock also leaves a command unseen */
		if (!moved && s.seen != VCPUS * COMMANDS)
			lost = true;
	}
	return lost;
}

int main(void)
{
	unsigned int failed = 0;

	printf("TAP version 13\n1..%u\n", MISTAKES);
	for (mistake = NONE; mistake < MISTAKES; mistake++) {
		bool good = model() == (mistake != NONE) && !overflow;

		printf("# %u states\n%sok %u - %s\n", states,
		       good ? "" : "not ", mistake + 1, names[mistake]);
		failed += !good;
	}
	return failed != 0;
}
