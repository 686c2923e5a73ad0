// SPDX-License-Identifier: GPL-2.0-only
/*
 * A model of the tags in drivers/iommu/arm/arm-smmu-v3/arm-smmu-v3-s2.c
 *
 * A page is unmapped from a stage 2, and its owner uses it for something else,
 * while a master is attached and detached under the VMID, and while the guest
 * removes the page from its stage 1. No DMA may reach the page after the unmap,
 * or by this stage 1 after the guest's invalidation, and no entry of the TLB may
 * serve another VM. Every order of the steps is tried that the memory model in
 * smmuv3_model.h allows, with an SMMU that reads STEs and PTEs and fills its TLB
 * whenever it can.
 *
 * The list has the tag of a single SMMU, since the tags of others take no part
 * in this argument: an unmap treats each of them as this one. The wait for the
 * SMMUs, and failures of theirs, are tested by KUnit. A TLBI is complete as soon
 * as the SMMU has executed it, because it waits for its walks.
 */
#include <stdbool.h>
#include <stdint.h>

/* Contents of an STE. OTHER is of another stage 2 under the same VMID */
enum { ABORT, S2, GUEST_X, GUEST_Y, OTHER };

#define TAGS		3	/* Tag 0 is none */
#define MASTERS		2
#define ROUNDS		2
#define VMID		1

struct machine {
	/* The page in both stages. Guest Y has another page in its stage 1 */
	uint8_t pte2;
	uint8_t pte1;
	uint8_t list;
	/* arm_smmu_s2_owner::tag of guest X */
	uint8_t owner;
	uint8_t vmid[TAGS];
	uint8_t guest[TAGS];
	uint8_t freed[TAGS];
	uint8_t ste[MASTERS];
	/* In the SMMU: STEs, and the TLB under the VMID */
	uint8_t cached[MASTERS];
	uint8_t tlb2;		/* The stage 2, as S2 or OTHER */
	uint8_t tlb12;		/* Both stages of this guest */
	/* Of each thread: its command, and its registers */
	uint8_t cmd[3];
	uint8_t found[3][ROUNDS];
	uint8_t got_vmid[3][ROUNDS];
	uint8_t got_flag[3];
	uint8_t in_rcu[3];
	/* Neither may be reached from here on */
	uint8_t page_reused;
	uint8_t stage1_done;
	uint8_t bad_tag;
};

#include "smmuv3_model.h"

enum mistake {
	NONE,
	NO_UNMAP_BARRIER,
	NO_ALL_BARRIER,
	NO_SYNC_BARRIER,
	NO_SECOND_ROUND,
	NO_LIST_BARRIER,
	NO_FLAG_BARRIER,
	NO_GUEST_BARRIER,
	ADD_BEFORE_INIT,
	STE_NOT_SYNCED,
	TLBI_BEFORE_STE,
	OWNER_BEFORE_STE,
	NO_STAGE1_TLBI,
	NO_FINAL_TLBI,
	FREE_AT_ONCE,
	MISTAKES
};

static const char *const names[MISTAKES] = {
	[NONE] = "no page is reached that was unmapped",
	[NO_UNMAP_BARRIER] = "the PTE must be cleared before the list is read",
	[NO_ALL_BARRIER] = "the same for an invalidation of everything",
	[NO_SYNC_BARRIER] = "the flag must be read after the CMD_SYNC",
	[NO_SECOND_ROUND] = "entries of both stages must be invalidated, too",
	[NO_LIST_BARRIER] = "the tag must be in the list before the STE is written",
	[NO_FLAG_BARRIER] = "the flag must be set before the STE is written",
	[NO_GUEST_BARRIER] = "stage 1 must be written before the owner's tag is read",
	[ADD_BEFORE_INIT] = "a tag must be complete before it is in the list",
	[STE_NOT_SYNCED] = "the SMMU must drop the STE before its tag is put",
	[TLBI_BEFORE_STE] = "the STE must be replaced before the invalidation",
	[OWNER_BEFORE_STE] = "the owner must have a tag until its STE is replaced",
	[NO_STAGE1_TLBI] = "a new owner of the tag needs an invalidation",
	[NO_FINAL_TLBI] = "a VMID must be clean before it is allocated",
	[FREE_AT_ONCE] = "a tag must stay until its readers have left",
};

enum { TLBI_S2_IPA = 1, TLBI_NH_ALL, TLBI_S12_VMALL, CFGI_STE };

enum op {
	END,
	/* An unmap, or a guest's invalidation. The argument is the round */
	CLEAR_PTE2, CLEAR_PTE1, READ_LIST, READ_OWNER, READ_TAG, SEND_S2_IPA,
	SEND_GUESTS, SEND_NH_ALL, SEND_S12, WAIT, REUSE_PAGE, DONE_STAGE1,
	/* An attach or a detach. The argument is the tag, or a stream */
	INIT, ADD, DEL, FLAG, UNFLAG, OWN, DISOWN, FREE, STE_ABORT, STE_GUEST_X,
	STE_GUEST_Y, STE_OTHER, CFGI,
};

/* arm_smmu_s2_inv_range(). The queue orders commands behind the PTE, too */
static const struct step unmap_range[] = {
	/* 0 */ { CLEAR_PTE2 },
	/* 1 */ { READ_LIST, 0, ALL, NO_UNMAP_BARRIER, NOTHING },
	/* 2 */ { READ_TAG, 0, AFTER(1) },
	/* 3 */ { SEND_S2_IPA, 0, ALL },
	/* 4 */ { WAIT, 0, AFTER(3) },
	/* 5 */ { READ_LIST, 1, ALL, NO_SYNC_BARRIER, AFTER(0) | AFTER(1) },
	/* 6 */ { READ_TAG, 1, AFTER(5) },
	/* 7 */ { SEND_GUESTS, 1, AFTER(4) | AFTER(6), NO_SECOND_ROUND, LEFT_OUT },
	/* 8 */ { WAIT, 1, AFTER(7) },
	/* 9 */ { REUSE_PAGE, 0, ALL },
	{ END }
};

/* arm_smmu_s2_inv_all() */
static const struct step unmap_all[] = {
	{ CLEAR_PTE2 },
	{ READ_LIST, 0, ALL, NO_ALL_BARRIER, NOTHING },
	{ READ_TAG, 0, AFTER(1) },
	{ SEND_S12, 0, ALL },
	{ WAIT, 0, AFTER(3) },
	{ REUSE_PAGE, 0, ALL },
	{ END }
};

/* arm_vsmmu_run_block() */
static const struct step guest[] = {
	{ CLEAR_PTE1 },
	{ READ_OWNER, 0, ALL, NO_GUEST_BARRIER, NOTHING },
	{ READ_TAG, 0, AFTER(1) },
	{ SEND_NH_ALL, 0, ALL },
	{ WAIT, 0, AFTER(3) },
	{ DONE_STAGE1, 0, ALL },
	{ END }
};

/* The first master under a tag, with guest X */
static const struct step attach_first[] = {
	/* 0 */ { INIT, 1 },
	/* 1 */ { ADD, 1, AFTER(0), ADD_BEFORE_INIT, NOTHING },
	/* 2 */ { FLAG, 1 },
	/* 3 */ { OWN, 1, ALL },
	/* 4 */ { STE_GUEST_X, 1, ALL, NO_LIST_BARRIER, NOTHING },
	{ END }
};

/* Another master is under the tag, without a guest */
static const struct step attach_second[] = {
	{ FLAG, 1 },
	{ OWN, 1, ALL },
	{ STE_GUEST_X, 1, ALL, NO_FLAG_BARRIER, NOTHING },
	{ END }
};

/* Guest X leaves a tag that stays in use, arm_smmu_s2_put_tag() */
static const struct step leave[] = {
	/* 0 */ { STE_ABORT, 1 },
	/* 1 */ { CFGI, 1, AFTER(0), STE_NOT_SYNCED, LEFT_OUT },
	/* 2 */ { WAIT, 0, AFTER(1) },
	/* 3 */ { DISOWN, 1, AFTER(2), OWNER_BEFORE_STE, NOTHING },
	/* 4 */ { SEND_NH_ALL, 0, ALL, NO_STAGE1_TLBI, LEFT_OUT },
	/* 5 */ { WAIT, 0, AFTER(4) },
	/* 6 */ { UNFLAG, 1, AFTER(5) },
	{ END }
};

/* The same for the last master under the tag */
static const struct step leave_last[] = {
	/* 0 */ { STE_ABORT, 1 },
	/* 1 */ { CFGI, 1, AFTER(0), STE_NOT_SYNCED, LEFT_OUT },
	/* 2 */ { WAIT, 0, AFTER(1) },
	/* 3 */ { DISOWN, 1, AFTER(2), OWNER_BEFORE_STE, NOTHING },
	/* 4 */ { SEND_S12, 0, ALL, NO_FINAL_TLBI, LEFT_OUT },
	/* 5 */ { WAIT, 0, AFTER(4) },
	/* 6 */ { DEL, 1, AFTER(5) },
	/* 7 */ { FREE, 1, AFTER(6) },
	{ END }
};

/* The mistake is in all of this, so that it takes a list of its own */
static const struct step leave_wrongly[] = {
	{ SEND_S12 },
	{ WAIT, 0, AFTER(0) },
	{ STE_ABORT, 1, AFTER(1) },
	{ CFGI, 1, AFTER(2) },
	{ WAIT, 0, AFTER(3) },
	{ DISOWN, 1, AFTER(4) },
	{ DEL, 1, ALL },
	{ FREE, 1, ALL },
	{ END }
};

static const struct step guest_y[] = {
	{ FLAG, 1 },
	{ STE_GUEST_Y, 1, ALL },
	{ END }
};

static const struct step other[] = {
	{ STE_OTHER, 1 },
	{ END }
};

/* The same VMID in another tag of the same stage 2 */
static const struct step attach_again[] = {
	{ INIT, 2 },
	{ ADD, 2, AFTER(0) },
	{ FLAG, 2 },
	{ OWN, 2, ALL },
	{ STE_GUEST_X, 1, ALL },
	{ END }
};

/*
 * Stream 0 has the stage 2 itself, if it is attached at all. Stream 1 starts
 * with guest X if it is nested.
 */
static const struct scenario {
	const char *name;
	const struct step *first;
	const struct step *second;
	bool stage2;
	bool nested;
	/* Only this mistake, or none */
	enum mistake mistake;
} scenarios[] = {
	{ "attach to a new tag", attach_first },
	{ "attach to a tag in use", attach_second, .stage2 = true },
	{ "last detach", leave_last, .nested = true },
	{ "to another guest", leave, guest_y, .stage2 = true, .nested = true },
	{ "detach and attach", leave, attach_second, .stage2 = true,
	  .nested = true },
	{ "to another stage 2", leave_last, other, .nested = true },
	{ "to another stage 2", leave_wrongly, other, .nested = true,
	  .mistake = TLBI_BEFORE_STE },
	{ "last detach, and attach", leave_last, attach_again, .nested = true },
};

static void send(struct machine *m, unsigned int thread, uint8_t cmd, bool good)
{
	if (good)
		m->cmd[thread] = cmd;
}

static bool do_step(struct machine *m, unsigned int thread,
		    const struct step *step)
{
	uint8_t *found = &m->found[thread][0], *vmid = &m->got_vmid[thread][0];
	uint8_t arg = step->arg;

	switch (step->op) {
	case CLEAR_PTE2:
		m->pte2 = 0;
		break;
	case CLEAR_PTE1:
		m->pte1 = 0;
		break;
	case READ_LIST:
	case READ_OWNER:
		found[arg] = step->op == READ_LIST ? m->list : m->owner;
		if (found[arg])
			m->in_rcu[thread] |= 1 << arg;
		break;
	case READ_TAG:
		if (!found[arg])
			break;
		if (m->freed[found[arg]] || !m->vmid[found[arg]])
			m->bad_tag = 1;
		vmid[arg] = m->vmid[found[arg]];
		if (arg)
			m->got_flag[thread] = m->guest[found[arg]];
		m->in_rcu[thread] &= ~(1 << arg);
		break;
	case SEND_S2_IPA:
		send(m, thread, TLBI_S2_IPA, vmid[arg] == VMID);
		break;
	case SEND_GUESTS:
		send(m, thread, TLBI_NH_ALL,
		     vmid[arg] == VMID && m->got_flag[thread]);
		break;
	case SEND_NH_ALL:
		/* From a detach, or from a guest with a tag */
		send(m, thread, TLBI_NH_ALL, thread == 1 || vmid[arg] == VMID);
		break;
	case SEND_S12:
		send(m, thread, TLBI_S12_VMALL,
		     thread == 1 || vmid[arg] == VMID);
		break;
	case CFGI:
		send(m, thread, CFGI_STE, true);
		break;
	case WAIT:
		return !m->cmd[thread];
	case REUSE_PAGE:
		m->page_reused = 1;
		break;
	case DONE_STAGE1:
		m->stage1_done = 1;
		break;
	case INIT:
		m->vmid[arg] = VMID;
		break;
	case ADD:
		m->list = arg;
		break;
	case DEL:
		m->list = 0;
		break;
	case FLAG:
	case UNFLAG:
		m->guest[arg] = step->op == FLAG;
		break;
	case OWN:
		m->owner = arg;
		break;
	case DISOWN:
		m->owner = 0;
		break;
	case FREE:
		/* A grace period */
		if (mistake != FREE_AT_ONCE && (m->in_rcu[0] || m->in_rcu[2]))
			return false;
		m->freed[arg] = 1;
		break;
	case STE_ABORT:
		m->ste[arg] = ABORT;
		break;
	case STE_GUEST_X:
		m->ste[arg] = GUEST_X;
		break;
	case STE_GUEST_Y:
		m->ste[arg] = GUEST_Y;
		break;
	case STE_OTHER:
		m->ste[arg] = OTHER;
		break;
	}
	return true;
}

static bool is_nested(uint8_t ste)
{
	return ste == GUEST_X || ste == GUEST_Y;
}

static bool execute(struct machine *m, unsigned int thread)
{
	switch (m->cmd[thread]) {
	case 0:
		return false;
	case TLBI_S2_IPA:
		m->tlb2 = 0;
		break;
	case TLBI_NH_ALL:
		m->tlb12 = 0;
		break;
	case TLBI_S12_VMALL:
		m->tlb2 = 0;
		m->tlb12 = 0;
		break;
	case CFGI_STE:
		m->cached[1] = ABORT;
		break;
	}
	m->cmd[thread] = 0;
	return true;
}

/* A valid entry is used in place of the table */
static bool fill2(struct machine *m, uint8_t ste)
{
	uint8_t table = ste == OTHER ? OTHER : S2;

	if (ste == ABORT || m->tlb2 || (table == S2 && !m->pte2))
		return false;
	m->tlb2 = table;
	return true;
}

static bool fill12(struct machine *m, uint8_t ste)
{
	if (!is_nested(ste) || m->tlb12 || (ste == GUEST_X && !m->pte1) ||
	    (!m->tlb2 && !m->pte2))
		return false;
	m->tlb12 = ste;
	return true;
}

static bool do_hardware(struct machine *m, unsigned int n)
{
	unsigned int i = n % MODEL_THREADS;

	if (n < MODEL_THREADS)
		return execute(m, i);
	if (i == MASTERS)
		return false;
	switch (n / MODEL_THREADS) {
	case 1:
		if (m->cached[i] || !m->ste[i])
			return false;
		m->cached[i] = m->ste[i];
		return true;
	case 2:
		return fill2(m, m->cached[i]);
	default:
		return fill12(m, m->cached[i]);
	}
}

static unsigned int num_hardware(void)
{
	return 4 * MODEL_THREADS;
}

/* Whether a DMA may hit a wrong entry, or a page that is gone */
static bool is_harm(const struct machine *m)
{
	unsigned int i;

	if (m->bad_tag)
		return true;
	for (i = 0; i < MASTERS; i++) {
		uint8_t ste = m->cached[i];

		if (is_nested(ste) && m->tlb12 &&
		    (m->tlb12 != ste || m->page_reused ||
		     (ste == GUEST_X && m->stage1_done)))
			return true;
		if (ste && m->tlb2 &&
		    (m->tlb2 != (ste == OTHER ? OTHER : S2) ||
		     (m->tlb2 == S2 && m->page_reused)))
			return true;
	}
	return false;
}

/* The lock of attaches orders all of @second behind all of @first */
static const struct step *join(const struct step *first,
			       const struct step *second)
{
	static struct step joined[32];
	unsigned int i, len = length(first);

	memset(joined, 0, sizeof(joined));
	memcpy(joined, first, len * sizeof(*first));
	for (i = 0; second && second[i].op; i++) {
		struct step *step = &joined[len + i];

		*step = second[i];
		if (!(step->after & ALL))
			step->after = step->after << len | (AFTER(len) - 1);
		if (!(step->instead & (ALL | LEFT_OUT)))
			step->instead = step->instead << len | (AFTER(len) - 1);
	}
	return joined;
}

/* Returns true if some scenario can end badly, and counts all states */
static bool any_harm(unsigned int *sum)
{
	unsigned int i, j;
	bool any = false;

	*sum = 0;
	for (i = 0; i < ARRAY_SIZE(scenarios); i++) {
		const struct scenario *s = &scenarios[i];
		struct machine m = { .pte2 = 1, .pte1 = 1 };

		if (s->mistake && s->mistake != mistake)
			continue;
		if (s->stage2)
			m.ste[0] = S2;
		if (s->nested)
			m.ste[1] = GUEST_X;
		if (s->stage2 || s->nested) {
			m.list = 1;
			m.vmid[1] = VMID;
			m.guest[1] = s->nested;
			m.owner = s->nested;
		}
		for (j = 0; j < 2; j++) {
			bool bad;

			threads[0] = j ? unmap_all : unmap_range;
			threads[1] = join(s->first, s->second);
			threads[2] = guest;
			bad = model(&m);
			if (bad)
				printf("# %s, %s\n", s->name,
				       j ? "all unmapped" : "a range unmapped");
			if (!bad && !ended) {
				printf("# %s has no end\n", s->name);
				overflow = true;
			}
			any |= bad;
			*sum += states;
		}
	}
	return any;
}

int main(void)
{
	unsigned int failed = 0, sum;

	printf("TAP version 13\n1..%u\n", MISTAKES);
	for (mistake = NONE; mistake < MISTAKES; mistake++) {
		bool good = any_harm(&sum) == (mistake != NONE) && !overflow;

		printf("# %u states\n%sok %u - %s\n", sum,
		       good ? "" : "not ", mistake + 1, names[mistake]);
		fflush(stdout);
		failed += !good;
	}
	return failed != 0;
}
