// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of nested translation: random commands and registers of the
 * command queues in software, against the model in model.c.
 */
#include <linux/jiffies.h>

#include "model.h"
#include "vcmdq.h"

#define RANDOM_STEPS		120
#define RANDOM_QUEUES		2
/* Number of commands in a race, and the time limit for it */
#define RACE_CMDS		200
#define RACE_SECS		60
/* Values of the field ERR in CONS */
#define RANDOM_ILL		1
#define RANDOM_ABT		2

/* The state of a queue that the guest must see */
struct model_queue {
	struct fake_cmdqv *fake;
	unsigned int index;
	u32 size;
	bool enabled;
	u32 cons;
	u32 error;
	u32 gerror;
	/* The kernel's registers that the guest has overwritten */
	bool lost_cons;
	bool lost_status;
	bool lost_gerror;
};

struct random_cmdqv {
	struct random_vm rvm;
	struct fake_cmdqv *fake;
	struct model_queue queues[RANDOM_QUEUES];
	/* Commands that the SMMU must get, and whether a CMD_SYNC precedes */
	u64 want[256 * MODEL_OUT_MAX][2];
	bool synced[256 * MODEL_OUT_MAX];
	unsigned int num;
	unsigned int accepted;
	unsigned int ills;
	unsigned int abts;
	unsigned int syncs;
};

static u32 get(struct model_queue *q, unsigned int reg)
{
	return reg_read(q->fake, q->index * QUEUE_REGS + reg);
}

static void set(struct model_queue *q, unsigned int reg, u32 val)
{
	reg_write(q->fake, q->index * QUEUE_REGS + reg, val);
}

static __le64 *slot(struct model_queue *q, u32 at)
{
	return q->fake->mem[q->index] + 2 * (at % q->size);
}

static void write_slot(struct model_queue *q, u32 at, const u64 cmd[2])
{
	WRITE_ONCE(slot(q, at)[0], cpu_to_le64(cmd[0]));
	WRITE_ONCE(slot(q, at)[1], cpu_to_le64(cmd[1]));
}

/* A command, or a CMD_SYNC, some of which have a signal or a RES0 bit */
static void random_slot(struct fuzz *r, struct random_cmdqv *rc,
			struct model_queue *q, u32 at)
{
	u64 cmd[2];

	if (fuzz_chance(r, 1, 5)) {
		cmd[0] = OP_SYNC | (fuzz_u64(r) & (BITS_64(63, 32) |
						     BITS_64(27, 22)));
		cmd[1] = fuzz_u64(r) & BITS_64(51, 2);
		if (fuzz_chance(r, 1, 16))
			cmd[fuzz_below(r, 2)] ^=
				BIT_ULL(fuzz_below(r, 64));
	} else {
		random_cmd(r, &rc->rvm, fuzz_chance(r, 1, 4) ? 16 : 0, cmd);
	}
	write_slot(q, at, cmd);
}

/* The guest does something to a queue */
static void random_guest(struct fuzz *r, struct random_cmdqv *rc,
			 struct model_queue *q)
{
	static const u64 nop[2] = { OP_SYNC };
	const u32 mask = 2 * q->size - 1;
	u32 prod, room, i;

	if (!q->enabled || fuzz_chance(r, 1, 24)) {
		/* CONS may be set while the queue is disabled, to any value */
		if (!q->enabled && fuzz_chance(r, 1, 2)) {
			set(q, REG_CONS, fuzz_u64(r));
			set(q, REG_PROD, get(q, REG_CONS) & mask);
			q->lost_cons = true;
		}
		set(q, REG_CONFIG, (u32)fuzz_u64(r) << 1 |
				   (q->enabled ? 0 : 1));
	}
	if (q->error && fuzz_chance(r, 3, 4)) {
		if (q->error == RANDOM_ABT)
			set(q, REG_PROD, q->cons);
		else if (fuzz_chance(r, 7, 8))
			write_slot(q, q->cons, nop);
		set(q, REG_GERRORN, (u32)fuzz_u64(r) << 1 | q->gerror);
	}
	switch (fuzz_below(r, 16)) {
	case 0:
		set(q, REG_PROD, fuzz_u64(r));
		return;
	case 1:
		set(q, REG_CONS, fuzz_u64(r));
		set(q, REG_STATUS, fuzz_u64(r));
		set(q, REG_GERROR, fuzz_u64(r));
		q->lost_cons = true;
		q->lost_status = true;
		q->lost_gerror = true;
		break;
	case 2:
		/* This acknowledges an error, or takes this back */
		set(q, REG_GERRORN, fuzz_u64(r));
		break;
	}
	prod = get(q, REG_PROD);
	room = (prod - q->cons) & mask;
	if (room > q->size)
		return;
	room = q->size - room;
	room = room ? fuzz_below(r, room + 1) : 0;
	for (i = 0; i < room; i++)
		random_slot(r, rc, q, prod + i);
	/* The guest need not clear the bits above the index */
	set(q, REG_PROD, ((prod + room) & mask) |
			 (fuzz_u64(r) & ~(u64)mask));
}

static void model_raise(struct model_queue *q, u32 error)
{
	q->error = error;
	q->gerror = ~get(q, REG_GERRORN) & 1;
	q->lost_gerror = false;
}

/* Let the model consume a queue, as long as its registers permit */
static void model_run(struct random_cmdqv *rc, struct model_queue *q)
{
	const u32 mask = 2 * q->size - 1;
	const bool enable = get(q, REG_CONFIG) & 1;
	bool synced = false;
	u32 used;
	int n;

	if (enable != q->enabled) {
		q->enabled = enable;
		q->lost_status = false;
		if (enable) {
			q->cons = get(q, REG_CONS) & mask;
			q->error = 0;
			q->gerror = get(q, REG_GERRORN) & 1;
			q->lost_gerror = false;
			q->lost_cons = false;
		}
	}
	if (!enable)
		return;
	if (q->error) {
		if ((get(q, REG_GERRORN) & 1) != q->gerror)
			return;
		q->error = 0;
		q->lost_cons = false;
	}
	while ((used = (get(q, REG_PROD) - q->cons) & mask)) {
		const u64 cmd[2] = { le64_to_cpu(slot(q, q->cons)[0]),
				     le64_to_cpu(slot(q, q->cons)[1]) };

		q->lost_cons = false;
		if (used > q->size) {
			model_raise(q, RANDOM_ABT);
			rc->abts++;
			return;
		}
		if (model_sync(cmd)) {
			synced = true;
			rc->syncs++;
			n = 0;
		} else {
			n = model_cmd(&rc->rvm.model, cmd, &rc->want[rc->num]);
		}
		if (n < 0) {
			model_raise(q, RANDOM_ILL);
			rc->ills++;
			return;
		}
		if (n) {
			memset(&rc->synced[rc->num], 0, n);
			rc->synced[rc->num] = synced;
			synced = false;
		}
		rc->num += n;
		rc->accepted++;
		q->cons = (q->cons + 1) & mask;
	}
}

static void check_regs(struct fuzz *r, struct model_queue *q)
{
	if (!q->lost_status && get(q, REG_STATUS) != q->enabled)
		fuzz_fail(r, "queue %u: STATUS %#x", q->index,
			  get(q, REG_STATUS));
	if (!q->enabled)
		return;
	if (!q->lost_cons &&
	    get(q, REG_CONS) != (q->cons | q->error << 24))
		fuzz_fail(r, "queue %u: CONS %#x, want %#x, error %u",
			  q->index, get(q, REG_CONS), q->cons, q->error);
	if (!q->lost_gerror && (get(q, REG_GERROR) & 1) != q->gerror)
		fuzz_fail(r, "queue %u: GERROR %#x, want %u", q->index,
			  get(q, REG_GERROR), q->gerror);
}

static void check_cmds(struct fuzz *r, struct random_cmdqv *rc)
{
	struct fake_smmu *smmu = rc->rvm.vm->fake;
	bool complete = true;
	unsigned int got = 0;
	const char *why;
	u64 cmd[2];

	while (fake_smmu_next(smmu, cmd)) {
		why = model_refuses(&rc->rvm.model, cmd);
		if (why)
			fuzz_fail(r, "%s: %016llx %016llx", why, cmd[0],
				  cmd[1]);
		if ((cmd[0] & 0xff) == OP_SYNC) {
			complete = true;
			continue;
		}
		if (got >= rc->num || cmd[0] != rc->want[got][0] ||
		    cmd[1] != rc->want[got][1])
			fuzz_fail(r, "%u of %u: %016llx %016llx", got,
				  rc->num, cmd[0], cmd[1]);
		else if (rc->synced[got] && !complete)
			fuzz_fail(r, "%u: no CMD_SYNC for that of the guest",
				  got);
		complete = false;
		got++;
	}
	if (got < rc->num)
		fuzz_fail(r, "%u of %u commands", got, rc->num);
	if (!complete)
		fuzz_fail(r, "no CMD_SYNC at the end");
}

static void random_cmdqv_init(struct fuzz *r, struct random_cmdqv *rc)
{
	struct kunit *test = r->test;
	unsigned int log2size = 1 + fuzz_below(r, 6), i;

	rc->fake = fake_cmdqv_alloc(test, log2size);
	KUNIT_ASSERT_EQ(test, 0,
			fake_queue_add(rc->fake, 1, 1, 16UL << log2size));
	random_vm_init(r, &rc->rvm, rc->fake->vm);
	for (i = 0; i < RANDOM_QUEUES; i++)
		rc->queues[i] = (struct model_queue){
			.fake = rc->fake,
			.index = i,
			.size = 1 << log2size,
		};
	fake_smmu_drain(rc->rvm.vm->fake);
}

static void random_cmdqv_free(struct random_cmdqv *rc)
{
	arm_vcmdqv_del_queue(&rc->fake->hw_queue[1]);
	arm_vcmdqv_del_queue(&rc->fake->hw_queue[0]);
	fake_cmdqv_free(rc->fake);
	random_vm_free(&rc->rvm);
}

static void arm_vcmdq_test_random(struct kunit *test)
{
	struct random_cmdqv *rc = kunit_kzalloc(test, sizeof(*rc), GFP_KERNEL);
	unsigned int round, step, rounds, i;
	struct fuzz r;

	KUNIT_ASSERT_NOT_NULL(test, rc);
	fuzz_init(&r, test);
	for (round = 0; round < random_rounds; round++) {
		fuzz_begin(&r, round);
		random_cmdqv_init(&r, rc);
		for (step = 0; step < RANDOM_STEPS; step++) {
			struct model_queue *q =
				&rc->queues[fuzz_below(&r, RANDOM_QUEUES)];

			rc->num = 0;
			random_guest(&r, rc, q);
			model_run(rc, q);
			for (rounds = 0; arm_vcmdqv_round(rc->fake->vcmdqv);
			     rounds++)
				if (rounds == 1000) {
					fuzz_fail(&r, "busy for ever");
					break;
				}
			check_cmds(&r, rc);
			for (i = 0; i < RANDOM_QUEUES; i++)
				check_regs(&r, &rc->queues[i]);
			random_vm_change(&r, &rc->rvm);
		}
		random_cmdqv_free(rc);
		cond_resched();
	}

	kunit_info(test, "%u commands accepted, %u CMD_SYNCs, errors: %u ILL, %u ABT",
		   rc->accepted, rc->syncs, rc->ills, rc->abts);
	i = random_rounds * RANDOM_STEPS;
	KUNIT_EXPECT_GE(test, rc->accepted, i);
	KUNIT_EXPECT_GE(test, rc->syncs * 10, i);
	KUNIT_EXPECT_GE(test, rc->ills * 10, i);
	KUNIT_EXPECT_GE(test, rc->abts * 100, i);
}

/*
 * The same while another thread changes memory and registers: each command that
 * reaches the SMMU must be good, in any order of reads and writes.
 */
struct race {
	struct random_cmdqv *rc;
	struct fuzz r;
	bool stop;
};

static int race_thread(struct fake_thread *thread)
{
	struct race *race = thread->arg;
	struct fuzz *r = &race->r;
	unsigned int i = 0;

	while (!READ_ONCE(race->stop)) {
		struct model_queue *q =
			&race->rc->queues[fuzz_below(r, RANDOM_QUEUES)];

		random_slot(r, race->rc, q, fuzz_below(r, q->size));
		switch (fuzz_below(r, 16)) {
		case 0:
		case 1:
			/* This can turn a command into another, word by word */
			WRITE_ONCE(slot(q, fuzz_u64(r))[fuzz_below(r, 2)],
				   cpu_to_le64(fuzz_u64(r)));
			break;
		case 2:
			set(q, fuzz_below(r, 6), fuzz_u64(r));
			break;
		case 3:
		case 4:
		case 5:
			/* Continue after an error or after random registers */
			random_slot(r, race->rc, q, get(q, REG_CONS));
			set(q, REG_PROD, get(q, REG_CONS));
			set(q, REG_GERRORN, get(q, REG_GERROR));
			set(q, REG_CONFIG, 1);
			break;
		default:
			set(q, REG_PROD, get(q, REG_CONS) +
					 fuzz_below(r, q->size + 1));
			break;
		}
		if (!(++i % 64))
			cond_resched();
	}
	return 0;
}

static void arm_vcmdq_test_random_race(struct kunit *test)
{
	struct random_cmdqv *rc = kunit_kzalloc(test, sizeof(*rc), GFP_KERNEL);
	struct race *race = kunit_kzalloc(test, sizeof(*race), GFP_KERNEL);
	u64 cmd[2], last = OP_SYNC;
	struct fuzz r;
	const char *why;
	unsigned int round;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	KUNIT_ASSERT_NOT_NULL(test, rc);
	KUNIT_ASSERT_NOT_NULL(test, race);
	fuzz_init(&r, test);
	for (round = 0; round < random_rounds / 8; round++) {
		struct fake_thread thread = { .arg = race };
		unsigned int i, cmds = 0;
		unsigned long end;

		fuzz_begin(&r, round);
		random_cmdqv_init(&r, rc);
		race->rc = rc;
		race->r = r;
		race->stop = false;
		fake_thread_init(test, &thread, race_thread, true);
		fake_thread_go(&thread);
		end = jiffies + RACE_SECS * HZ;
		for (i = 0; cmds < RACE_CMDS && time_before(jiffies, end); i++) {
			arm_vcmdqv_round(rc->fake->vcmdqv);
			while (fake_smmu_next(rc->rvm.vm->fake, cmd)) {
				last = cmd[0] & 0xff;
				cmds += last != OP_SYNC;
				why = model_refuses(&rc->rvm.model, cmd);
				if (why)
					fuzz_fail(&r, "%s: %016llx %016llx",
						  why, cmd[0], cmd[1]);
			}
			if (last != OP_SYNC)
				fuzz_fail(&r, "no CMD_SYNC behind %#llx",
					  last);
			if (!(i % 64))
				cond_resched();
		}
		WRITE_ONCE(race->stop, true);
		fake_thread_join(&thread);
		KUNIT_EXPECT_GE(test, cmds, RACE_CMDS);
		random_cmdqv_free(rc);
	}
}

static struct kunit_case random_vcmdq_test_cases[] = {
	KUNIT_CASE_SLOW(arm_vcmdq_test_random),
	KUNIT_CASE_SLOW(arm_vcmdq_test_random_race),
	{},
};

static struct kunit_suite random_vcmdq_test_suite = {
	.name = "arm-smmu-v3-iommufd-random-vcmdq",
	.test_cases = random_vcmdq_test_cases,
};

kunit_test_suite(random_vcmdq_test_suite);
