// SPDX-License-Identifier: GPL-2.0-only
/*
 * A model of the registers in drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3-vcmdq.c
 *
 * A guest and the worker share a command queue and its registers, without a
 * lock. The worker must run each command as the guest has written it, and the
 * guest must find its commands complete and the registers valid. Every order of
 * their steps is tried that the memory model in smmuv3_model.h allows. The
 * guest keeps the rules of the interface: a guest that does not is the subject
 * of smmuv3_vcmdq. The sleep of the worker is the subject of smmuv3_doorbell.
 *
 * The queue has a single slot, so that each command overwrites the previous
 * command.
 */
#include <stdbool.h>
#include <stdint.h>

/* Contents of the slot */
enum { GARBAGE, FIRST, SECOND, BAD };

struct machine {
	uint8_t slot;
	/* Page 0 */
	uint8_t prod;
	uint8_t cons;
	uint8_t cons_error;
	uint8_t gerror;
	uint8_t gerrorn;
	uint8_t config;
	uint8_t status;
	/* struct arm_vcmdq: the worker's view */
	struct {
		uint8_t prod;
		uint8_t gerrorn;
		uint8_t config;
		uint8_t cons;
		uint8_t error;
		uint8_t gerror;
		uint8_t enabled;
	} q;
	/* A round of the worker: its copy, and its decisions */
	uint8_t copy;
	uint8_t run;
	uint8_t write_cons;
	uint8_t write_gerror;
	uint8_t write_status;
	/* The number of commands that have completed, and of errors */
	uint8_t completed;
	uint8_t errors;
	uint8_t wrong;
};

#include "smmuv3_model.h"

enum mistake {
	NONE,
	SLOT_BEFORE_PROD,
	SLOT_BEFORE_GERRORN,
	PROD_BEFORE_CONFIG,
	CONS_BEFORE_END,
	GERROR_BEFORE_CONS,
	STATUS_BEFORE_GERROR,
	MISTAKES
};

static const char *const names[MISTAKES] = {
	[NONE] = "commands and registers are valid when they are used",
	[SLOT_BEFORE_PROD] = "PROD must be read before the command",
	[SLOT_BEFORE_GERRORN] = "GERRORN must be read before the command",
	[PROD_BEFORE_CONFIG] = "CONFIG must be read before PROD",
	[CONS_BEFORE_END] = "the command must complete before CONS is written",
	[GERROR_BEFORE_CONS] = "CONS must be written before GERROR",
	[STATUS_BEFORE_GERROR] = "GERROR must be written before STATUS",
};

enum op {
	END,
	/* The guest. The argument is the value */
	WRITE_SLOT, WRITE_PROD, WRITE_CONFIG, ACKNOWLEDGE, WAIT_CONS, WAIT_STATUS,
	WAIT_ERROR, SEE_COMPLETED, SEE_NO_ERROR, SEE_CONS_ERROR,
	/* The worker */
	READ_CONFIG, READ_GERRORN, READ_PROD, READ_SLOT, ACQUIRE, DECIDE,
	COMPLETE, PUT_CONS, PUT_GERROR, PUT_STATUS,
};

/* arm_vcmdq_run(), in the lock of the worker */
static const struct step worker[] = {
	/*  0 */ { READ_CONFIG },
	/*  1 */ { ACQUIRE, 0, AFTER(0), PROD_BEFORE_CONFIG, NOTHING },
	/*  2 */ { READ_GERRORN, 0, AFTER(1) },
	/*  3 */ { ACQUIRE, 0, AFTER(2), SLOT_BEFORE_GERRORN, AFTER(1) },
	/*  4 */ { READ_PROD, 0, AFTER(3) },
	/*  5 */ { ACQUIRE, 0, AFTER(4), SLOT_BEFORE_PROD, AFTER(3) },
	/*  6 */ { READ_SLOT, 0, AFTER(5) },
	/*  7 */ { DECIDE, 0, ALL },
	/*  8 */ { COMPLETE, 0, AFTER(7) },
	/*  9 */ { PUT_CONS, 0, AFTER(8), CONS_BEFORE_END, AFTER(7) },
	/* 10 */ { PUT_GERROR, 0, AFTER(9), GERROR_BEFORE_CONS, AFTER(7) },
	/* 11 */ { PUT_STATUS, 0, AFTER(10), STATUS_BEFORE_GERROR, AFTER(7) },
	{ END, true }
};

/* The second command is written over the first as soon as this is complete */
static const struct step two_commands[] = {
	{ WRITE_SLOT, FIRST },
	{ WRITE_PROD, 1, ALL },
	{ WAIT_CONS, 1, ALL },
	{ SEE_COMPLETED, 1, ALL },
	{ WRITE_SLOT, SECOND, ALL },
	{ WRITE_PROD, 2, ALL },
	{ WAIT_CONS, 2, ALL },
	{ SEE_COMPLETED, 2, ALL },
	{ END }
};

static const struct step bad_command[] = {
	{ WRITE_SLOT, BAD },
	{ WRITE_PROD, 1, ALL },
	{ WAIT_ERROR, 0, ALL },
	{ SEE_CONS_ERROR, 0, ALL },
	{ WRITE_SLOT, FIRST, ALL },
	{ ACKNOWLEDGE, 0, ALL },
	{ WAIT_CONS, 1, ALL },
	{ SEE_COMPLETED, 1, ALL },
	{ SEE_NO_ERROR, 0, ALL },
	{ END }
};

/* PROD has an old value, and an old error was never acknowledged */
static const struct step enable[] = {
	{ WRITE_PROD, 0 },
	{ WRITE_CONFIG, true, ALL },
	{ WAIT_STATUS, true, ALL },
	{ SEE_NO_ERROR, 0, ALL },
	{ WRITE_SLOT, FIRST, ALL },
	{ WRITE_PROD, 1, ALL },
	{ WAIT_CONS, 1, ALL },
	{ SEE_COMPLETED, 1, ALL },
	{ END }
};

static const struct scenario {
	const char *name;
	const struct step *steps;
	struct machine start;
} scenarios[] = {
	{ "two commands", two_commands,
	  { .config = 1, .status = 1, .q.config = 1, .q.enabled = 1 } },
	{ "a bad command", bad_command,
	  { .config = 1, .status = 1, .q.config = 1, .q.enabled = 1 } },
	{ "enable", enable, { .prod = 1, .gerror = 1, .q.gerror = 1 } },
};

/* The decisions of arm_vcmdq_run(), which the worker has in registers */
static void decide(struct machine *m)
{
	m->run = 0;
	m->write_cons = 0;
	m->write_gerror = 0;
	m->write_status = 0;

	if (m->q.config && !m->q.enabled) {
		m->q.enabled = 1;
		m->q.cons = m->cons;
		m->q.error = 0;
		m->q.gerror = m->q.gerrorn;
		m->write_cons = 1;
		m->write_gerror = 1;
		m->write_status = 1;
	}
	if (!m->q.enabled)
		return;
	if (m->q.error) {
		if (m->q.gerrorn != m->q.gerror)
			return;
		m->q.error = 0;
		m->write_cons = 1;
	}
	if (m->q.prod == m->q.cons)
		return;
	m->write_cons = 1;
	if (m->copy == BAD) {
		m->q.error = 1;
		m->q.gerror = !m->q.gerrorn;
		m->write_gerror = 1;
		if (++m->errors > 1)
			m->wrong = 1;
		return;
	}
	if (m->copy != m->q.cons + FIRST)
		m->wrong = 1;
	m->q.cons++;
	m->run = 1;
}

static bool do_step(struct machine *m, unsigned int thread,
		    const struct step *step)
{
	uint8_t arg = step->arg;

	switch (step->op) {
	case WRITE_SLOT:
		m->slot = arg;
		break;
	case WRITE_PROD:
		m->prod = arg;
		break;
	case WRITE_CONFIG:
		m->config = arg;
		break;
	case ACKNOWLEDGE:
		m->gerrorn = m->gerror;
		break;
	case WAIT_CONS:
		return m->cons == arg;
	case WAIT_STATUS:
		return m->status == arg;
	case WAIT_ERROR:
		return m->gerror != m->gerrorn;
	case SEE_COMPLETED:
		if (m->completed < arg)
			m->wrong = 1;
		break;
	case SEE_NO_ERROR:
		if (m->gerror != m->gerrorn || m->cons_error)
			m->wrong = 1;
		break;
	case SEE_CONS_ERROR:
		if (!m->cons_error)
			m->wrong = 1;
		break;
	case READ_CONFIG:
		m->q.config = m->config;
		break;
	case READ_GERRORN:
		m->q.gerrorn = m->gerrorn;
		break;
	case READ_PROD:
		m->q.prod = m->prod;
		break;
	case READ_SLOT:
		m->copy = m->slot;
		break;
	case ACQUIRE:
		break;
	case DECIDE:
		decide(m);
		break;
	case COMPLETE:
		m->completed += m->run;
		m->run = 0;
		break;
	case PUT_CONS:
		if (m->write_cons) {
			m->cons = m->q.cons;
			m->cons_error = m->q.error;
		}
		break;
	case PUT_GERROR:
		if (m->write_gerror)
			m->gerror = m->q.gerror;
		break;
	case PUT_STATUS:
		if (m->write_status)
			m->status = m->q.enabled;
		break;
	}
	return true;
}

static bool do_hardware(struct machine *m, unsigned int n)
{
	return false;
}

static unsigned int num_hardware(void)
{
	return 0;
}

static bool is_harm(const struct machine *m)
{
	return m->wrong;
}

int main(void)
{
	unsigned int failed = 0, sum, i;

	printf("TAP version 13\n1..%u\n", MISTAKES);
	for (mistake = NONE; mistake < MISTAKES; mistake++) {
		bool any = false, good;

		sum = 0;
		for (i = 0; i < ARRAY_SIZE(scenarios); i++) {
			threads[0] = scenarios[i].steps;
			threads[1] = worker;
			if (model(&scenarios[i].start)) {
				printf("# %s\n", scenarios[i].name);
				any = true;
			} else if (!ended) {
				printf("# %s has no end\n", scenarios[i].name);
				overflow = true;
			}
			sum += states;
		}
		good = any == (mistake != NONE) && !overflow;
		printf("# %u states\n%sok %u - %s\n", sum,
		       good ? "" : "not ", mistake + 1, names[mistake]);
		failed += !good;
	}
	return failed != 0;
}
