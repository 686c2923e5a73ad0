// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of nested translation: the command queue in software. The test
 * plays the guest, and calls the functions of the worker.
 */
#include <linux/log2.h>
#include <linux/mm.h>
#include <linux/page-flags.h>

#include "vcmdq.h"

KUNIT_DEFINE_ACTION_WRAPPER(fake_free_page, free_page, unsigned long);

static void *fake_page(struct kunit *test)
{
	unsigned long page = get_zeroed_page(GFP_KERNEL);

	KUNIT_ASSERT_NE(test, page, 0);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, fake_free_page,
						  (void *)page));
	return (void *)page;
}

int fake_queue_add(struct fake_cmdqv *fake, unsigned int i, u32 index,
		   size_t length)
{
	struct iommufd_hw_queue *hw_queue = &fake->hw_queue[i];

	memset(hw_queue, 0, sizeof(*hw_queue));
	refcount_set(&hw_queue->obj.users, 1);
	hw_queue->viommu = &fake->vm->vsmmu->core;
	hw_queue->length = length;
	return arm_vcmdqv_add_queue(hw_queue, index,
				    virt_to_phys(fake->mem[index & 1]));
}

/* A VM with a single queue of 1 << @log2size commands */
struct fake_cmdqv *fake_cmdqv_alloc(struct kunit *test, unsigned int log2size)
{
	struct fake_cmdqv *fake = kunit_kzalloc(test, sizeof(*fake),
						GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, fake);
	fake->vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS, FAKE_QUEUE_SHIFT,
				 PAGE_SIZE);
	/* IDR1.CMDQS: 256 commands, a page of 4K */
	fake->vm->fake->regs[1] = cpu_to_le32(8 << 21);
	/* fake_vsmmu_alloc() has allocated enough for this */
	fake->vcmdqv = container_of(fake->vm->vsmmu, struct arm_vcmdqv, vsmmu);
	mutex_init(&fake->vcmdqv->lock);
	mutex_init(&fake->vcmdqv->doorbell_lock);
	arm_vcmdqv_set_impl(fake->vcmdqv, &arm_vcmdqv_soft);
	fake->regs = fake_page(test);
	fake->vcmdqv->regs = (struct arm_vcmdq_regs *)fake->regs;
	fake->mem[0] = fake_page(test);
	fake->mem[1] = fake_page(test);
	fake->log2size = log2size;
	KUNIT_ASSERT_EQ(test, 0, fake_queue_add(fake, 0, 0, 16UL << log2size));
	return fake;
}

void fake_cmdqv_free(struct fake_cmdqv *fake)
{
	fake_vm_free(fake->vm);
}

/* Run the worker until there is no work left */
static void run(struct fake_cmdqv *fake)
{
	unsigned int rounds = 0;

	while (arm_vcmdqv_round(fake->vcmdqv)) {
		if (rounds++ < 1000)
			continue;
		KUNIT_FAIL(fake->vm->fake->test, "busy for ever");
		break;
	}
}

static void enable(struct kunit *test, struct fake_cmdqv *fake)
{
	reg_write(fake, REG_CONFIG, 1);
	run(fake);
	KUNIT_EXPECT_EQ(test, reg_read(fake, REG_STATUS), 1);
}

static void put(struct fake_cmdqv *fake, u32 at, u64 word_0, u64 word_1)
{
	u32 mask = (1U << fake->log2size) - 1;

	WRITE_ONCE(fake->mem[0][2 * (at & mask)], cpu_to_le64(word_0));
	WRITE_ONCE(fake->mem[0][2 * (at & mask) + 1], cpu_to_le64(word_1));
}

static void add(struct fake_cmdqv *fake, u64 word_0, u64 word_1)
{
	put(fake, fake->prod, word_0, word_1);
	fake->prod = (fake->prod + 1) & ((2U << fake->log2size) - 1);
}

/* Write PROD and let the worker do all work that it can */
static void ring(struct fake_cmdqv *fake)
{
	reg_write(fake, REG_PROD, fake->prod);
	run(fake);
}

static void expect_cons(struct kunit *test, struct fake_cmdqv *fake, u32 want,
			int line)
{
	KUNIT_EXPECT_EQ_MSG(test, reg_read(fake, REG_CONS), want, "line %d",
			    line);
}

/* CONS must show the error, and the guest must not have acknowledged it */
static void expect_error(struct kunit *test, struct fake_cmdqv *fake, u32 cons,
			 int line)
{
	expect_cons(test, fake, cons, line);
	KUNIT_EXPECT_NE_MSG(test, reg_read(fake, REG_GERROR) & 1,
			    reg_read(fake, REG_GERRORN) & 1, "line %d", line);
}

static void ack(struct fake_cmdqv *fake)
{
	reg_write(fake, REG_GERRORN, reg_read(fake, REG_GERROR));
	run(fake);
}

static void arm_vcmdq_test_wrap(struct kunit *test)
{
	struct fake_cmdqv *fake = fake_cmdqv_alloc(test, 3);
	struct fake_smmu *smmu = fake->vm->fake;
	unsigned int i, j, num;

	/* Nothing happens before the queue is enabled */
	add(fake, NH_VA_CMD, 0x1000);
	ring(fake);
	expect_none(smmu);
	expect_cons(test, fake, 0, __LINE__);
	enable(test, fake);
	expect_cmd(smmu, NH_VA_WANT, 0x1000);
	expect_sync(smmu);
	expect_none(smmu);

	/* All lengths at all positions. A full queue has 8 commands. */
	for (i = 0; i < 64; i++) {
		num = i % 8 + 1;
		for (j = 0; j < num - 1; j++)
			add(fake, NH_VA_CMD, (u64)(i << 8 | j) << 12);
		add(fake, OP_SYNC, 0);
		ring(fake);
		expect_cons(test, fake, fake->prod, __LINE__);
		for (j = 0; j < num - 1; j++)
			expect_cmd(smmu, NH_VA_WANT,
				   (u64)(i << 8 | j) << 12);
		if (num > 1)
			expect_sync(smmu);
		expect_none(smmu);
	}
	/* The high bits of PROD are ignored */
	add(fake, NH_VA_CMD, 0x2000);
	reg_write(fake, REG_PROD, fake->prod | 0xfffffff0);
	run(fake);
	expect_cons(test, fake, fake->prod, __LINE__);
	expect_cmd(smmu, NH_VA_WANT, 0x2000);
	expect_sync(smmu);
	fake_cmdqv_free(fake);
}

/* A round issues no more commands than a call of the VMM, then a CMD_SYNC */
static void arm_vcmdq_test_blocks(struct kunit *test)
{
	struct fake_cmdqv *fake = fake_cmdqv_alloc(test, 8);
	struct fake_smmu *smmu = fake->vm->fake;
	unsigned int i, num, total = 0, rounds = 0;
	u64 cmd[2];

	enable(test, fake);
	for (i = 0; i < 256; i++)
		add(fake, NH_VA_CMD, (u64)i << 12);
	reg_write(fake, REG_PROD, fake->prod);
	while (rounds++ < 20 && arm_vcmdqv_round(fake->vcmdqv)) {
		for (num = 0; fake_smmu_next(smmu, cmd); num++) {
			if ((cmd[0] & 0xff) == OP_SYNC)
				break;
			KUNIT_EXPECT_EQ(test, cmd[1], (u64)total++ << 12);
		}
		KUNIT_EXPECT_GT(test, num, 0);
		KUNIT_EXPECT_LE(test, num, 128);
		expect_none(smmu);
		/* Commands up to CONS have completed */
		expect_cons(test, fake, total, __LINE__);
	}
	KUNIT_EXPECT_EQ(test, total, 256);

	/* ATC_INVs are issued in smaller blocks */
	fake->vm->fdev->master.guest_ats = true;
	for (i = 0; i < 100; i++)
		add(fake, OP_ATC_INV | CMD_SID(FAKE_VM_VSID), 52);
	reg_write(fake, REG_PROD, fake->prod);
	total = 0;
	while (rounds++ < 20 && arm_vcmdqv_round(fake->vcmdqv)) {
		for (num = 0; fake_smmu_next(smmu, cmd); num++) {
			if ((cmd[0] & 0xff) == OP_SYNC)
				break;
			KUNIT_EXPECT_EQ(test, cmd[0],
					OP_ATC_INV | CMD_SID(FAKE_VM_SID));
		}
		KUNIT_EXPECT_LE(test, num, 32);
		total += num;
	}
	KUNIT_EXPECT_EQ(test, total, 100);
	fake_cmdqv_free(fake);
}

static const u64 bad_cmds[][2] = {
	{ 0, 0 },
	{ ~0ULL, ~0ULL },
	{ 0x03 | CMD_SID(FAKE_VM_VSID), 0 },
	{ OP_CFGI_CD_ALL | CMD_SID(FAKE_VM_SID), 0 },
	{ OP_TLBI_S12_VMALL, 0 },
	{ NH_VA_CMD | BIT(8), 0 },
	{ OP_SYNC | SYNC_CS(1), 0 },
	{ OP_SYNC | SYNC_CS(2), 0 },
	{ OP_SYNC | SYNC_CS(3), 0 },
	{ OP_SYNC | BIT(8), 0 },
	{ OP_SYNC | BIT(14), 0 },
	{ OP_SYNC | BIT(28), 0 },
	{ OP_SYNC, 1 },
	{ OP_SYNC, BIT_ULL(52) },
};

/* CONS stays at the command until the guest has acknowledged the error */
static void arm_vcmdq_test_illegal(struct kunit *test)
{
	struct fake_cmdqv *fake = fake_cmdqv_alloc(test, 3);
	struct fake_smmu *smmu = fake->vm->fake;
	unsigned int i, at;
	u32 gerror;

	enable(test, fake);
	for (i = 0; i < 3 * ARRAY_SIZE(bad_cmds); i++) {
		const u64 *bad = bad_cmds[i % ARRAY_SIZE(bad_cmds)];

		gerror = reg_read(fake, REG_GERROR);
		add(fake, NH_VA_CMD, 0x1000);
		at = fake->prod;
		add(fake, bad[0], bad[1]);
		add(fake, NH_VA_CMD, 0x2000);
		ring(fake);
		expect_error(test, fake, at | ERR_ILL, __LINE__);
		KUNIT_EXPECT_EQ(test, reg_read(fake, REG_GERROR), gerror ^ 1);
		expect_cmd(smmu, NH_VA_WANT, 0x1000);
		expect_sync(smmu);
		expect_none(smmu);

		/* Until the guest acknowledges the error, no change matters */
		add(fake, NH_VA_CMD, 0x3000);
		put(fake, at, NH_VA_CMD, 0x4000);
		ring(fake);
		expect_error(test, fake, at | ERR_ILL, __LINE__);
		expect_none(smmu);

		/* The command is fetched again, and may still be illegal */
		put(fake, at, bad[0], bad[1]);
		ack(fake);
		expect_error(test, fake, at | ERR_ILL, __LINE__);
		KUNIT_EXPECT_EQ(test, reg_read(fake, REG_GERROR), gerror);
		expect_none(smmu);

		/* Linux replaces it by a CMD_SYNC. The MSI is IGNORED */
		put(fake, at, OP_SYNC | BITS_64(27, 22) | BITS_64(63, 32),
		    BITS_64(51, 2));
		ack(fake);
		expect_cons(test, fake, fake->prod, __LINE__);
		KUNIT_EXPECT_EQ(test, reg_read(fake, REG_GERROR),
				reg_read(fake, REG_GERRORN));
		expect_cmd(smmu, NH_VA_WANT, 0x2000);
		expect_cmd(smmu, NH_VA_WANT, 0x3000);
		expect_sync(smmu);
		expect_none(smmu);
	}
	fake_cmdqv_free(fake);
}

static void arm_vcmdq_test_prod(struct kunit *test)
{
	struct fake_cmdqv *fake = fake_cmdqv_alloc(test, 3);
	struct fake_smmu *smmu = fake->vm->fake;
	u32 cons, used;

	enable(test, fake);
	for (cons = 0; cons < 16; cons++) {
		for (used = 9; used < 16; used++) {
			reg_write(fake, REG_PROD, (cons + used) & 15);
			run(fake);
			expect_error(test, fake, cons | ERR_ABT, __LINE__);
			/* The guest acknowledges without any change */
			ack(fake);
			expect_error(test, fake, cons | ERR_ABT, __LINE__);
			reg_write(fake, REG_PROD, cons);
			ack(fake);
			expect_cons(test, fake, cons, __LINE__);
		}
		expect_none(smmu);
		fake->prod = cons;
		add(fake, OP_TLBI_NH_ALL, 0);
		ring(fake);
		expect_cmd(smmu, OP_TLBI_NH_ALL | CMD_VMID(0x1234), 0);
		expect_sync(smmu);
	}
	fake_cmdqv_free(fake);
}

/* The kernel does not read its own registers back */
static void arm_vcmdq_test_overwrite(struct kunit *test)
{
	struct fake_cmdqv *fake = fake_cmdqv_alloc(test, 3);
	struct fake_smmu *smmu = fake->vm->fake;
	static const u32 vals[] = { 0, 1, 5, 0x0100000f, ~0U };
	unsigned int i, j;

	enable(test, fake);
	for (i = 0; i < ARRAY_SIZE(vals); i++) {
		for (j = 0; j < 2; j++) {
			reg_write(fake, REG_CONS, vals[i]);
			reg_write(fake, REG_STATUS, vals[i]);
			reg_write(fake, REG_GERROR, vals[i]);
			if (!j)
				run(fake);
			add(fake, NH_VA_CMD, 0x1000 * i);
			ring(fake);
			expect_cons(test, fake, fake->prod, __LINE__);
			expect_cmd(smmu, NH_VA_WANT, 0x1000 * i);
			expect_sync(smmu);
			expect_none(smmu);
		}
	}

	/* The error lasts until GERRORN equals the GERROR of the kernel */
	reg_write(fake, REG_GERRORN, 0);
	add(fake, 0, 0);
	ring(fake);
	expect_error(test, fake, ((fake->prod - 1) & 15) | ERR_ILL, __LINE__);
	put(fake, fake->prod - 1, NH_VA_CMD, 0x5000);
	reg_write(fake, REG_GERROR, 0);
	run(fake);
	expect_none(smmu);
	reg_write(fake, REG_GERRORN, 1);
	run(fake);
	expect_cmd(smmu, NH_VA_WANT, 0x5000);
	expect_sync(smmu);
	fake_cmdqv_free(fake);
}

/* The guest writes PROD and CONS of a queue before it enables it */
static void arm_vcmdq_test_enable(struct kunit *test)
{
	struct fake_cmdqv *fake = fake_cmdqv_alloc(test, 3);
	struct fake_smmu *smmu = fake->vm->fake;
	u32 cons;

	for (cons = 0; cons < 16; cons++) {
		reg_write(fake, REG_CONFIG, 0);
		run(fake);
		KUNIT_EXPECT_EQ(test, reg_read(fake, REG_STATUS), 0);
		fake->prod = cons;
		/* The kernel takes only RD of the guest's value of CONS */
		reg_write(fake, REG_PROD, cons);
		reg_write(fake, REG_CONS, cons | 0x7ffffff0);
		enable(test, fake);
		expect_cons(test, fake, cons, __LINE__);
		/* The error of the previous turn is not active any more */
		KUNIT_EXPECT_EQ(test, reg_read(fake, REG_GERROR) & 1,
				reg_read(fake, REG_GERRORN) & 1);
		reg_write(fake, REG_CONFIG, 0);
		run(fake);
		add(fake, NH_VA_CMD, cons << 12);
		ring(fake);
		expect_none(smmu);

		/* An old error does not keep the queue from starting */
		reg_write(fake, REG_GERRORN, cons);
		reg_write(fake, REG_CONS, cons | 0x7ffffff0);
		enable(test, fake);
		expect_cons(test, fake, fake->prod, __LINE__);
		expect_cmd(smmu, NH_VA_WANT, cons << 12);
		expect_sync(smmu);

		add(fake, 0, 0);
		ring(fake);
		expect_error(test, fake, ((cons + 1) & 15) | ERR_ILL, __LINE__);
		expect_none(smmu);
	}
	fake_cmdqv_free(fake);
}

/* Queues are added in the order of their indices, and removed in reverse */
static void arm_vcmdq_test_alloc(struct kunit *test)
{
	struct fake_cmdqv *fake = fake_cmdqv_alloc(test, 3);
	static const size_t bad[] = { 0, 16, 31, 33, 48, 4095 };
	struct iommufd_hw_queue *hw_queue = fake->hw_queue;
	struct fake_smmu *smmu = fake->vm->fake;
	unsigned int i;

	KUNIT_EXPECT_EQ(test, -EEXIST, fake_queue_add(fake, 2, 0, 32));
	KUNIT_EXPECT_EQ(test, -EINVAL, fake_queue_add(fake, 2, 2, 32));
	KUNIT_EXPECT_EQ(test, -EINVAL, fake_queue_add(fake, 2, ~0U, 32));
	KUNIT_EXPECT_EQ(test, 4096,
			arm_vcmdqv_ops.hw_queue_max_length(hw_queue[0].viommu,
							   1));
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		KUNIT_EXPECT_EQ_MSG(test, -EINVAL,
				    fake_queue_add(fake, 1, 1, bad[i]), "%zu",
				    bad[i]);
	fake->mem[1] += 2;
	KUNIT_EXPECT_EQ(test, -EINVAL, fake_queue_add(fake, 1, 1, 32));
	fake->mem[1] -= 2;

	KUNIT_EXPECT_EQ(test, 0, fake_queue_add(fake, 1, 1, 4096));
	/* The first queue cannot be destroyed now */
	KUNIT_EXPECT_EQ(test, 2, refcount_read(&hw_queue[0].obj.users));
	arm_vcmdqv_del_queue(&hw_queue[1]);
	KUNIT_EXPECT_EQ(test, 1, refcount_read(&hw_queue[0].obj.users));

	/* No queue can depend on a queue that is being destroyed */
	refcount_set(&hw_queue[0].obj.users, 0);
	KUNIT_EXPECT_NE(test, 0, fake_queue_add(fake, 1, 1, 32));
	refcount_set(&hw_queue[0].obj.users, 1);

	enable(test, fake);
	add(fake, NH_VA_CMD, 0);
	arm_vcmdqv_del_queue(&hw_queue[0]);
	for (i = 0; i < QUEUE_REGS; i++)
		KUNIT_EXPECT_EQ(test, reg_read(fake, i), 0);
	reg_write(fake, REG_CONFIG, 1);
	ring(fake);
	KUNIT_EXPECT_EQ(test, reg_read(fake, REG_STATUS), 0);
	expect_none(smmu);
	KUNIT_EXPECT_EQ(test, -EIO, fake_queue_add(fake, 1, 1, 32));

	/* The next queue must not inherit any of this */
	KUNIT_EXPECT_EQ(test, 0, fake_queue_add(fake, 0, 0, 128));
	run(fake);
	for (i = 0; i < QUEUE_REGS; i++)
		KUNIT_EXPECT_EQ(test, reg_read(fake, i), 0);
	expect_none(smmu);
	fake_cmdqv_free(fake);
}

/* Each queue has its registers, and its errors do not stop the other */
static void arm_vcmdq_test_two(struct kunit *test)
{
	struct fake_cmdqv *fake = fake_cmdqv_alloc(test, 3);
	struct fake_smmu *smmu = fake->vm->fake;
	struct iommufd_veventq *veventq;
	struct fake_event *got;

	veventq = fake_veventq_add(test, fake->vm->vsmmu);
	got = veventq->ring;
	veventq->type = IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV;
	veventq->data_size = 16;

	KUNIT_ASSERT_EQ(test, 0, fake_queue_add(fake, 1, 1, 32));
	enable(test, fake);
	KUNIT_EXPECT_EQ(test, reg_read(fake, QUEUE_REGS + REG_STATUS), 0);
	reg_write(fake, QUEUE_REGS + REG_CONFIG, 1);
	fake->mem[1][0] = cpu_to_le64(OP_TLBI_NH_ALL);
	reg_write(fake, QUEUE_REGS + REG_PROD, 1);
	add(fake, 0, 0);
	ring(fake);
	KUNIT_EXPECT_EQ(test, reg_read(fake, QUEUE_REGS + REG_STATUS), 1);
	KUNIT_EXPECT_EQ(test, reg_read(fake, QUEUE_REGS + REG_CONS), 1);
	KUNIT_EXPECT_EQ(test, reg_read(fake, QUEUE_REGS + REG_GERROR), 0);
	expect_error(test, fake, ERR_ILL, __LINE__);
	expect_cmd(smmu, OP_TLBI_NH_ALL | CMD_VMID(0x1234), 0);
	expect_sync(smmu);
	expect_none(smmu);
	KUNIT_EXPECT_EQ(test, veventq->num, 1);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(got->evt[0]), 1);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(got->evt[1]), 0);

	/* The event reports both errors, and is sent only on a change */
	veventq->num = 0;
	veventq->first = 0;
	run(fake);
	KUNIT_EXPECT_EQ(test, veventq->num, 0);
	fake->mem[1][2] = 0;
	reg_write(fake, QUEUE_REGS + REG_PROD, 2);
	run(fake);
	KUNIT_EXPECT_EQ(test, veventq->num, 1);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(got->evt[0]), 3);
	list_del(&veventq->node);
	arm_vcmdqv_del_queue(&fake->hw_queue[1]);
	fake_cmdqv_free(fake);
}

/* The kernel must not read memory that it knows to be broken */
static void arm_vcmdq_test_memory_error(struct kunit *test)
{
	struct fake_cmdqv *fake = fake_cmdqv_alloc(test, 3);
	struct fake_smmu *smmu = fake->vm->fake;
	const u32 num = PAGE_SIZE / 16;
	unsigned long pages;
	struct page *page;

	if (!IS_ENABLED(CONFIG_MEMORY_FAILURE))
		kunit_skip(test, "needs CONFIG_MEMORY_FAILURE");

	/* A queue of two pages, the second of which has an error */
	arm_vcmdqv_del_queue(&fake->hw_queue[0]);
	pages = __get_free_pages(GFP_KERNEL, 1);
	KUNIT_ASSERT_NE(test, pages, 0);
	page = virt_to_page((void *)(pages + PAGE_SIZE));
	fake->mem[0] = (__le64 *)pages;
	fake->log2size = ilog2(num) + 1;
	KUNIT_EXPECT_EQ(test, 0, fake_queue_add(fake, 0, 0, 2 * PAGE_SIZE));
	SetPageHWPoison(page);

	fake->prod = num - 1;
	reg_write(fake, REG_CONS, fake->prod);
	reg_write(fake, REG_PROD, fake->prod);
	enable(test, fake);
	add(fake, NH_VA_CMD, 0x1000);
	add(fake, NH_VA_CMD, 0x2000);
	add(fake, NH_VA_CMD, 0x3000);
	ring(fake);
	expect_error(test, fake, num | ERR_ABT, __LINE__);
	expect_cmd(smmu, NH_VA_WANT, 0x1000);
	expect_sync(smmu);
	expect_none(smmu);

	/* The error is found in the middle of the page, too */
	reg_write(fake, REG_CONFIG, 0);
	run(fake);
	reg_write(fake, REG_CONS, num + 1);
	enable(test, fake);
	expect_error(test, fake, (num + 1) | ERR_ABT, __LINE__);
	expect_none(smmu);

	ack(fake);
	expect_error(test, fake, (num + 1) | ERR_ABT, __LINE__);
	ClearPageHWPoison(page);
	ack(fake);
	expect_cons(test, fake, fake->prod, __LINE__);
	expect_cmd(smmu, NH_VA_WANT, 0x3000);
	expect_sync(smmu);
	expect_none(smmu);

	arm_vcmdqv_del_queue(&fake->hw_queue[0]);
	free_pages(pages, 1);
	fake_cmdqv_free(fake);
}

/* The SMMU does not answer, so the guest's next CMD_SYNC fails */
static void arm_vcmdq_test_timeout(struct kunit *test)
{
	struct fake_cmdqv *fake = fake_cmdqv_alloc(test, 3);
	struct fake_smmu *smmu = fake->vm->fake;

	enable(test, fake);
	fake_smmu_hold(smmu);
	add(fake, NH_VA_CMD, 0x1000);
	ring(fake);
	expect_cons(test, fake, fake->prod, __LINE__);
	fake_smmu_go_on(smmu);
	fake_smmu_drain(smmu);

	add(fake, NH_VA_CMD, 0x2000);
	add(fake, OP_SYNC, 0);
	ring(fake);
	expect_cmd(smmu, NH_VA_WANT, 0x2000);
	expect_sync(smmu);
	expect_error(test, fake, 2 | ERR_ATC_INV_SYNC, __LINE__);
	/* The guest may repeat the CMD_SYNC unchanged */
	ack(fake);
	expect_cons(test, fake, 3, __LINE__);
	expect_none(smmu);

	/* A queue that is enabled again must not remember the failure */
	fake_smmu_hold(smmu);
	add(fake, NH_VA_CMD, 0x3000);
	ring(fake);
	expect_cons(test, fake, fake->prod, __LINE__);
	fake_smmu_go_on(smmu);
	fake_smmu_drain(smmu);
	reg_write(fake, REG_CONFIG, 0);
	run(fake);
	enable(test, fake);
	add(fake, OP_SYNC, 0);
	ring(fake);
	expect_cons(test, fake, fake->prod, __LINE__);
	fake_cmdqv_free(fake);
}

static int round_thread(struct fake_thread *thread)
{
	arm_vcmdqv_round(thread->arg);
	return 0;
}

/* CONS stays where it is until the commands have completed */
static bool check_completion(struct kunit *test)
{
	struct fake_cmdqv *fake = fake_cmdqv_alloc(test, 3);
	struct fake_smmu *smmu = fake->vm->fake;
	struct fake_thread thread = { .arg = fake->vcmdqv };
	bool in_time;
	u32 cons;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	enable(test, fake);
	add(fake, NH_VA_CMD, 0x1000);
	add(fake, OP_SYNC, 0);
	reg_write(fake, REG_PROD, fake->prod);
	fake_thread_init(test, &thread, round_thread, true);
	fake_smmu_hold(smmu);
	fake_thread_go(&thread);
	KUNIT_EXPECT_TRUE(test, fake_smmu_wait_cmd(smmu));
	cons = reg_read(fake, REG_CONS);
	in_time = fake_smmu_go_on(smmu);
	fake_thread_join(&thread);
	if (in_time) {
		KUNIT_EXPECT_EQ(test, cons, 0);
		expect_cons(test, fake, 2, __LINE__);
	}
	expect_cmd(smmu, NH_VA_WANT, 0x1000);
	expect_sync(smmu);
	fake_cmdqv_free(fake);
	return in_time;
}

static void arm_vcmdq_test_completion(struct kunit *test)
{
	fake_until_in_time(test, check_completion);
}

struct toctou {
	struct fake_cmdqv *fake;
	bool stop;
};

/* Rewrite both words all the time, with a bad and a good command by turns */
static int rewrite_thread(struct fake_thread *thread)
{
	struct toctou *toctou = thread->arg;
	struct fake_cmdqv *fake = toctou->fake;
	unsigned int i = 0;

	while (!READ_ONCE(toctou->stop)) {
		const u64 *bad = bad_cmds[i++ % ARRAY_SIZE(bad_cmds)];

		put(fake, 0, bad[0], bad[1]);
		put(fake, 0, NH_VA_CMD, 0x1000);
		if (!(i % 64))
			cond_resched();
	}
	return 0;
}

/* A guest that rewrites a command between the check and the use */
static void arm_vcmdq_test_rewrite(struct kunit *test)
{
	struct fake_cmdqv *fake = fake_cmdqv_alloc(test, 1);
	struct fake_smmu *smmu = fake->vm->fake;
	struct toctou toctou = { .fake = fake };
	struct fake_thread thread = { .arg = &toctou };
	unsigned int good = 0, bad = 0, other = 0, i;
	unsigned long end = jiffies + 60 * HZ;
	u64 cmd[2];

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");
	enable(test, fake);
	fake_thread_init(test, &thread, rewrite_thread, true);
	fake_thread_go(&thread);
	/* The same command again and again, also if the thread begins late */
	for (i = 0; i < 2000 || ((!good || !bad) && time_before(jiffies, end));
	     i++) {
		if (!(i % 64))
			cond_resched();
		reg_write(fake, REG_CONFIG, 0);
		run(fake);
		reg_write(fake, REG_CONS, 0);
		reg_write(fake, REG_PROD, 1);
		reg_write(fake, REG_CONFIG, 1);
		run(fake);
		if (reg_read(fake, REG_CONS) & ERR_ILL)
			bad++;
		else
			good++;
		while (fake_smmu_next(smmu, cmd))
			if ((cmd[0] & 0xff) != OP_SYNC &&
			    (cmd[0] != NH_VA_WANT ||
			     (cmd[1] & ~BITS_64(63, 12) & ~1ULL)))
				other++;
	}
	WRITE_ONCE(toctou.stop, true);
	fake_thread_join(&thread);
	KUNIT_EXPECT_EQ(test, other, 0);
	KUNIT_EXPECT_GT(test, good, 0);
	KUNIT_EXPECT_GT(test, bad, 0);
	fake_cmdqv_free(fake);
}

/* Call the function of the worker in TASK_INTERRUPTIBLE */
static bool work(struct kunit *test, struct fake_cmdqv *fake)
{
	bool parked = fake->vcmdqv->parked;
	bool ret;

	set_current_state(TASK_INTERRUPTIBLE);
	ret = arm_vcmdqv_work(fake->vcmdqv);
	/* After the zap, the worker must look at the registers again */
	KUNIT_EXPECT_TRUE(test, ret || parked);
	/* The worker may sleep in this state, and must not set another */
	KUNIT_EXPECT_EQ(test, READ_ONCE(current->__state),
			ret ? TASK_RUNNING : TASK_INTERRUPTIBLE);
	__set_current_state(TASK_RUNNING);
	return ret;
}

static bool falls_asleep(struct kunit *test, struct fake_cmdqv *fake)
{
	unsigned int i;

	for (i = 0; i < 1000000; i++)
		if (!work(test, fake))
			return true;
	return false;
}

static void arm_vcmdq_test_sleep(struct kunit *test)
{
	struct fake_cmdqv *fake = fake_cmdqv_alloc(test, 3);
	static const unsigned int regs[] = { REG_PROD, REG_CONFIG,
					     REG_GERRORN };
	struct fake_smmu *smmu = fake->vm->fake;
	unsigned int i;
	ktime_t start;

	/* The worker sleeps without work, and with an unacknowledged error */
	KUNIT_EXPECT_TRUE(test, falls_asleep(test, fake));
	reg_write(fake, REG_CONFIG, 1);
	KUNIT_EXPECT_TRUE(test, falls_asleep(test, fake));
	KUNIT_EXPECT_EQ(test, reg_read(fake, REG_STATUS), 1);
	add(fake, NH_VA_CMD, 0x1000);
	add(fake, 0, 0);
	reg_write(fake, REG_PROD, fake->prod);
	start = ktime_get();
	KUNIT_EXPECT_TRUE(test, falls_asleep(test, fake));
	/* The worker must have polled for some time before */
	KUNIT_EXPECT_GE(test, ktime_us_delta(ktime_get(), start), 10);
	expect_cmd(smmu, NH_VA_WANT, 0x1000);
	expect_sync(smmu);
	expect_error(test, fake, 1 | ERR_ILL, __LINE__);
	KUNIT_EXPECT_FALSE(test, work(test, fake));

	/* Any register of the guest wakes the worker, even without work */
	for (i = 0; i < ARRAY_SIZE(regs); i++) {
		reg_write(fake, regs[i], reg_read(fake, regs[i]) ^ 2);
		KUNIT_EXPECT_TRUE(test, work(test, fake));
		KUNIT_EXPECT_TRUE(test, falls_asleep(test, fake));
	}
	reg_write(fake, REG_CONS, 0);
	KUNIT_EXPECT_FALSE(test, work(test, fake));
	/* A rung doorbell wakes the worker, which cannot zap it here */
	WRITE_ONCE(fake->vcmdqv->mapped, true);
	KUNIT_EXPECT_TRUE(test, work(test, fake));
	WRITE_ONCE(fake->vcmdqv->mapped, false);
	KUNIT_EXPECT_TRUE(test, falls_asleep(test, fake));

	/* Another queue */
	KUNIT_EXPECT_EQ(test, 0, fake_queue_add(fake, 1, 1, 32));
	WRITE_ONCE(fake->vcmdqv->kicked, true);
	KUNIT_EXPECT_TRUE(test, work(test, fake));
	KUNIT_EXPECT_TRUE(test, falls_asleep(test, fake));
	arm_vcmdqv_del_queue(&fake->hw_queue[1]);
	fake_cmdqv_free(fake);
}

/* A command after the queues were idle for @ms. SOON: for no time at all */
#define SOON	(-60 * MSEC_PER_SEC)

static s64 polls_after(struct kunit *test, struct fake_cmdqv *fake, s64 ms)
{
	struct arm_vcmdqv *vcmdqv = fake->vcmdqv;

	KUNIT_EXPECT_TRUE(test, falls_asleep(test, fake));
	vcmdqv->idle_since = ktime_sub_ms(ktime_get(), ms);
	add(fake, NH_VA_CMD, 0x1000);
	reg_write(fake, REG_PROD, fake->prod);
	KUNIT_EXPECT_TRUE(test, work(test, fake));
	/* It polls, whether or not the doorbell rings again */
	KUNIT_EXPECT_FALSE(test, vcmdqv->parked);
	expect_cmd(fake->vm->fake, NH_VA_WANT, 0x1000);
	expect_sync(fake->vm->fake);
	return ktime_to_ns(ktime_sub(vcmdqv->poll_until, vcmdqv->idle_since));
}

/* The time that the worker polls after a number of rare commands */
static s64 polls_rare(struct kunit *test, struct fake_cmdqv *fake,
		      unsigned int num)
{
	s64 ns = 0;

	/* No parameter is as long as this */
	while (num--)
		ns = polls_after(test, fake, 20);
	return ns;
}

/* The worker polls for less time if its guest sends commands rarely */
static void arm_vcmdq_test_poll(struct kunit *test)
{
	struct fake_cmdqv *fake = fake_cmdqv_alloc(test, 3);
	s64 most, least = 10 * NSEC_PER_USEC;

	enable(test, fake);
	most = polls_after(test, fake, SOON);
	KUNIT_ASSERT_GT(test, most, least);
	KUNIT_EXPECT_EQ(test, polls_rare(test, fake, 16), most);
	KUNIT_EXPECT_EQ(test, polls_rare(test, fake, 1), max(most / 2, least));
	KUNIT_EXPECT_EQ(test, polls_rare(test, fake, 12), least);

	/* A command soon after another */
	KUNIT_EXPECT_EQ(test, polls_after(test, fake, SOON), most);
	KUNIT_EXPECT_EQ(test, polls_rare(test, fake, 16), most);
	KUNIT_EXPECT_EQ(test, polls_rare(test, fake, 12), least);

	/* A guest that reads CONS late: a doorbell without a command */
	KUNIT_EXPECT_TRUE(test, falls_asleep(test, fake));
	fake->vcmdqv->idle_since = ktime_sub_ms(ktime_get(), 20);
	WRITE_ONCE(fake->vcmdqv->mapped, true);
	KUNIT_EXPECT_TRUE(test, work(test, fake));
	WRITE_ONCE(fake->vcmdqv->mapped, false);
	KUNIT_EXPECT_EQ(test, polls_rare(test, fake, 17), most);
	KUNIT_EXPECT_EQ(test, polls_rare(test, fake, 12), least);
	fake_cmdqv_free(fake);
}

/* The process of the worker is killed; another process may continue */
static void arm_vcmdq_test_killed(struct kunit *test)
{
	struct fake_cmdqv *fake = fake_cmdqv_alloc(test, 3);
	struct fake_smmu *smmu = fake->vm->fake;

	enable(test, fake);
	arm_vcmdqv_killed(fake->vcmdqv);
	KUNIT_EXPECT_EQ(test, reg_read(fake, REG_STATUS), 0);
	add(fake, NH_VA_CMD, 0x1000);
	reg_write(fake, REG_PROD, fake->prod);
	expect_none(smmu);
	run(fake);
	KUNIT_EXPECT_EQ(test, reg_read(fake, REG_STATUS), 1);
	expect_cmd(smmu, NH_VA_WANT, 0x1000);
	expect_sync(smmu);
	fake_cmdqv_free(fake);
}

/* A guest that goes on after the shutdown of the SMMU does not wait for it */
static void arm_vcmdq_test_shut_down(struct kunit *test)
{
	struct fake_cmdqv *fake = fake_cmdqv_alloc(test, 3);
	struct fake_smmu *smmu = fake->vm->fake;

	enable(test, fake);
	add(fake, NH_VA_CMD, 0x1000);
	ring(fake);
	expect_cmd(smmu, NH_VA_WANT, 0x1000);
	expect_sync(smmu);
	WRITE_ONCE(fake->vm->vsmmu->smmu->shut_down, true);
	add(fake, NH_VA_CMD, 0x1000);
	add(fake, OP_SYNC, 0);
	ring(fake);
	expect_none(smmu);
	expect_cons(test, fake, fake->prod, __LINE__);
	fake_cmdqv_free(fake);
}

static void arm_vcmdq_test_vdevices(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT,
					   PAGE_SIZE);
	struct fake_dev *fdev[17];
	unsigned int i;

	/* The same vSMMU, but with a CMDQV */
	fake_vdev_del(vm->vsmmu, vm->fdev);
	vm->vsmmu->core.ops = &arm_vcmdqv_ops;
	arm_vcmdqv_set_impl(to_vcmdqv(&vm->vsmmu->core), &arm_vcmdqv_soft);
	for (i = 0; i < ARRAY_SIZE(fdev); i++)
		fdev[i] = fake_dev_alloc(test, vm->fake, 10 + i);

	KUNIT_EXPECT_EQ(test, -EINVAL,
			fake_vdev_add(vm->vsmmu, fdev[0], 1 << 20));
	fdev[0]->master.num_streams = 2;
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP,
			fake_vdev_add(vm->vsmmu, fdev[0], 1));
	fdev[0]->master.num_streams = 1;
	for (i = 0; i < 16; i++)
		KUNIT_EXPECT_EQ(test, 0,
				fake_vdev_add(vm->vsmmu, fdev[i],
					      (1 << 20) - 1 - i));
	KUNIT_EXPECT_EQ(test, -ENOSPC, fake_vdev_add(vm->vsmmu, fdev[16], 1));
	fake_vdev_del(vm->vsmmu, fdev[3]);
	KUNIT_EXPECT_EQ(test, 0, fake_vdev_add(vm->vsmmu, fdev[16], 1));
	for (i = 0; i < ARRAY_SIZE(fdev); i++)
		if (i != 3)
			fake_vdev_del(vm->vsmmu, fdev[i]);
	KUNIT_EXPECT_EQ(test, 0, fake_vdev_add(vm->vsmmu, vm->fdev, 2));
	fake_vm_free(vm);
}

static struct kunit_case vcmdq_test_cases[] = {
	KUNIT_CASE(arm_vcmdq_test_wrap),
	KUNIT_CASE(arm_vcmdq_test_blocks),
	KUNIT_CASE(arm_vcmdq_test_illegal),
	KUNIT_CASE(arm_vcmdq_test_prod),
	KUNIT_CASE(arm_vcmdq_test_overwrite),
	KUNIT_CASE(arm_vcmdq_test_enable),
	KUNIT_CASE(arm_vcmdq_test_alloc),
	KUNIT_CASE(arm_vcmdq_test_two),
	KUNIT_CASE(arm_vcmdq_test_memory_error),
	KUNIT_CASE_SLOW(arm_vcmdq_test_timeout),
	KUNIT_CASE(arm_vcmdq_test_completion),
	KUNIT_CASE_SLOW(arm_vcmdq_test_rewrite),
	KUNIT_CASE(arm_vcmdq_test_sleep),
	KUNIT_CASE(arm_vcmdq_test_poll),
	KUNIT_CASE(arm_vcmdq_test_killed),
	KUNIT_CASE(arm_vcmdq_test_shut_down),
	KUNIT_CASE(arm_vcmdq_test_vdevices),
	{},
};

static struct kunit_suite vcmdq_test_suite = {
	.name = "arm-smmu-v3-iommufd-vcmdq",
	.test_cases = vcmdq_test_cases,
};

kunit_test_suite(vcmdq_test_suite);
