// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of nested translation: the commands issued for those of a guest.
 */
#include <linux/mm.h>
#include <linux/sched/signal.h>

#include "fake.h"

static void arm_vsmmu_test_issue_each(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS,
					   FAKE_QUEUE_SHIFT, PAGE_SIZE);
	u32 num = 9;

	vm->fdev->master.guest_ats = true;
	fake_write(test, vm->user, 0, OP_CFGI_CD | CMD_SID(FAKE_VM_VSID), 1);
	fake_write(test, vm->user, 1, OP_CFGI_CD_ALL | CMD_SID(FAKE_VM_VSID),
		   0);
	fake_write(test, vm->user, 2, OP_TLBI_NH_ALL | CMD_VMID(0xffff), 0);
	fake_write(test, vm->user, 3, OP_TLBI_NH_ASID | CMD_ASID(0x5678), 0);
	fake_write(test, vm->user, 4,
		   OP_TLBI_NH_VA | CMD_VMID(0x4321) | CMD_ASID(0xffff),
		   0xfffff001);
	fake_write(test, vm->user, 5, OP_TLBI_NH_VAA | CMD_VMID(1), 0xabcd000);
	fake_write(test, vm->user, 6, OP_TLBI_NSNH_ALL, 0);
	fake_write(test, vm->user, 7, OP_ATC_INV | CMD_SID(FAKE_VM_VSID), 52);
	fake_write(test, vm->user, 8, OP_TLBI_NH_ALL, 0);
	KUNIT_EXPECT_EQ(test, 0, fake_inval(vm->vsmmu, vm->user, 16, &num));
	KUNIT_EXPECT_EQ(test, num, 9);

	expect_cmd(vm->fake, OP_CFGI_CD | CMD_SID(FAKE_VM_SID), 1);
	expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(FAKE_VM_SID), 0);
	expect_cmd(vm->fake, OP_TLBI_NH_ALL | CMD_VMID(0x1234), 0);
	expect_cmd(vm->fake,
		   OP_TLBI_NH_ASID | CMD_VMID(0x1234) | CMD_ASID(0x5678), 0);
	expect_cmd(vm->fake,
		   OP_TLBI_NH_VA | CMD_VMID(0x1234) | CMD_ASID(0xffff),
		   0xfffff001);
	expect_cmd(vm->fake, OP_TLBI_NH_VAA | CMD_VMID(0x1234), 0xabcd000);
	expect_cmd(vm->fake, OP_TLBI_NH_ALL | CMD_VMID(0x1234), 0);
	expect_cmd(vm->fake, OP_ATC_INV | CMD_SID(FAKE_VM_SID), 52);
	expect_cmd(vm->fake, OP_TLBI_NH_ALL | CMD_VMID(0x1234), 0);
	expect_sync(vm->fake);
	expect_none(vm->fake);
	fake_vm_free(vm);
}

static const u32 issue_nums[] = { 1, 2, 63, 64, 65, 127, 128, 129, 200 };

static void issue_num_to_desc(const u32 *num, char *desc)
{
	snprintf(desc, KUNIT_PARAM_DESC_SIZE, "%u", *num);
}

KUNIT_ARRAY_PARAM(issue_num, issue_nums, issue_num_to_desc);

/* All commands are issued in order, and a single CMD_SYNC after the last */
static void arm_vsmmu_test_issue_many(struct kunit *test)
{
	struct fake_vm *vm =
		fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	u32 want = *(u32 *)test->param_value, num = want, i, round;

	/* Repeat until the queue wraps around */
	for (round = 0; round < 8; round++, num = want) {
		for (i = 0; i < num; i++)
			fake_write(test, vm->user, i, OP_TLBI_NH_VA,
				   (u64)(round << 8 | i) << 12);
		KUNIT_EXPECT_EQ(test, 0,
				fake_inval(vm->vsmmu, vm->user, 16, &num));
		KUNIT_EXPECT_EQ(test, num, want);
		for (i = 0; i < num; i++)
			expect_cmd(vm->fake, OP_TLBI_NH_VA | CMD_VMID(0x1234),
				   (u64)(round << 8 | i) << 12);
		expect_sync(vm->fake);
		expect_none(vm->fake);
	}
	fake_vm_free(vm);
}

/* The largest number of commands in a call */
static void arm_vsmmu_test_issue_most(struct kunit *test)
{
	const u32 most = 1U << 19;
	struct fake_vm *vm = fake_vm_alloc(test, 0, 20, most * 16UL);
	u32 num = most, i;
	u64 cmd[2];

	for (i = 0; i < most; i++)
		fake_write(test, vm->user, i, OP_TLBI_NH_VA, (u64)i << 12);
	KUNIT_EXPECT_EQ(test, 0, fake_inval(vm->vsmmu, vm->user, 16, &num));
	KUNIT_EXPECT_EQ(test, num, most);
	/* A CMD_SYNC comes every so often, see arm_vsmmu_test_max_pending() */
	for (i = 0; i < most && fake_smmu_next(vm->fake, cmd);) {
		if ((cmd[0] & 0xff) == OP_SYNC)
			continue;
		if (cmd[0] != (OP_TLBI_NH_VA | CMD_VMID(0x1234)) ||
		    cmd[1] != (u64)i << 12)
			break;
		i++;
	}
	KUNIT_ASSERT_EQ(test, i, most);
	expect_sync(vm->fake);
	expect_none(vm->fake);
	fake_vm_free(vm);
}

static const u32 bad_at[] = { 0, 1, 62, 63, 64, 65, 128, 199 };

KUNIT_ARRAY_PARAM(bad_at, bad_at, issue_num_to_desc);

static void check_bad_at(struct kunit *test, struct fake_vm *vm, u32 bad)
{
	u32 num = 200, i;

	KUNIT_EXPECT_EQ(test, -EIO, fake_inval(vm->vsmmu, vm->user, 16, &num));
	KUNIT_EXPECT_EQ(test, num, bad);
	for (i = 0; i < bad; i++)
		expect_cmd(vm->fake, OP_TLBI_NH_VA | CMD_VMID(0x1234),
			   (u64)i << 12);
	if (bad)
		expect_sync(vm->fake);
	expect_none(vm->fake);
}

static void arm_vsmmu_test_bad_at(struct kunit *test)
{
	struct fake_vm *vm =
		fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	u32 bad = *(u32 *)test->param_value, i;

	for (i = 0; i < 200; i++)
		fake_write(test, vm->user, i, OP_TLBI_NH_VA, (u64)i << 12);
	/* A bad opcode, a reserved bit, an unknown vSID */
	fake_write(test, vm->user, bad, OP_SYNC, 0);
	check_bad_at(test, vm, bad);
	fake_write(test, vm->user, bad, OP_TLBI_NH_VA | BIT(8), 0);
	check_bad_at(test, vm, bad);
	fake_write(test, vm->user, bad, OP_CFGI_CD_ALL | CMD_SID(FAKE_VM_SID),
		   0);
	check_bad_at(test, vm, bad);
	/* A second bad command must not change the result */
	if (bad < 199)
		fake_write(test, vm->user, bad + 1, OP_SYNC, 0);
	check_bad_at(test, vm, bad);
	fake_vm_free(vm);
}

/* No device is attached, so nothing is cached: commands are only validated */
static void arm_vsmmu_test_no_tag(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS,
					   FAKE_QUEUE_SHIFT, PAGE_SIZE);
	u32 num = 200, i;

	vm->fdev->master.guest_ats = true;
	fake_vm_free(vm);
	fake_smmu_drain(vm->fake);
	KUNIT_ASSERT_EQ(test, 0,
			fake_vdev_add(vm->vsmmu, vm->fdev, FAKE_VM_VSID));

	for (i = 0; i < num; i++)
		fake_write(test, vm->user, i, OP_TLBI_NH_ALL, 0);
	fake_write(test, vm->user, 3, OP_CFGI_CD | CMD_SID(FAKE_VM_VSID), 0);
	fake_write(test, vm->user, 4, OP_ATC_INV | CMD_SID(FAKE_VM_VSID), 0);
	fake_write(test, vm->user, 5, OP_TLBI_NSNH_ALL, 0);
	KUNIT_EXPECT_EQ(test, 0, fake_inval(vm->vsmmu, vm->user, 16, &num));
	KUNIT_EXPECT_EQ(test, num, 200);
	fake_write(test, vm->user, 100, OP_CFGI_CD | CMD_SID(FAKE_VM_SID), 0);
	KUNIT_EXPECT_EQ(test, -EIO, fake_inval(vm->vsmmu, vm->user, 16, &num));
	KUNIT_EXPECT_EQ(test, num, 100);
	expect_none(vm->fake);
}

static void arm_vsmmu_test_many_streams(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS,
					   FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct fake_dev *other = fake_dev_alloc(test, vm->fake, 20);
	u32 num = 5, i;

	vm->fake->smmu.ssid_bits = 20;
	arm_vsmmu_cmd_rules_init(&vm->vsmmu->rules, &vm->fake->smmu);
	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vm->vsmmu, other, 0x88));
	other->master.num_streams = 3;
	other->streams[1].id = 21;
	other->streams[2].id = 0xfffffffe;
	other->master.guest_ats = true;

	fake_write(test, vm->user, 0, OP_TLBI_NH_ALL, 0);
	fake_write(test, vm->user, 1,
		   OP_CFGI_CD | CMD_SID(0x88) | 0x55555 << 12, 1);
	fake_write(test, vm->user, 2, OP_CFGI_CD_ALL | CMD_SID(FAKE_VM_VSID),
		   0);
	fake_write(test, vm->user, 3, OP_ATC_INV | CMD_SID(0x88), 0x7000 | 3);
	fake_write(test, vm->user, 4, OP_CFGI_CD_ALL | CMD_SID(0x88), 0);
	KUNIT_EXPECT_EQ(test, 0, fake_inval(vm->vsmmu, vm->user, 16, &num));
	KUNIT_EXPECT_EQ(test, num, 5);

	expect_cmd(vm->fake, OP_TLBI_NH_ALL | CMD_VMID(0x1234), 0);
	expect_cmd(vm->fake, OP_CFGI_CD | CMD_SID(20) | 0x55555000, 1);
	expect_cmd(vm->fake, OP_CFGI_CD | CMD_SID(21) | 0x55555000, 1);
	expect_cmd(vm->fake, OP_CFGI_CD | CMD_SID(0xfffffffe) | 0x55555000, 1);
	expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(FAKE_VM_SID), 0);
	expect_cmd(vm->fake, OP_ATC_INV | CMD_SID(20), 0x7000 | 3);
	expect_cmd(vm->fake, OP_ATC_INV | CMD_SID(21), 0x7000 | 3);
	expect_cmd(vm->fake, OP_ATC_INV | CMD_SID(0xfffffffe), 0x7000 | 3);
	expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(20), 0);
	expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(21), 0);
	expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(0xfffffffe), 0);
	expect_sync(vm->fake);
	expect_none(vm->fake);

	/* More commands than an output block holds */
	for (i = 0; i < 66; i++)
		fake_write(test, vm->user, i, OP_CFGI_CD_ALL | CMD_SID(0x88),
			   0);
	fake_write(test, vm->user, 66, OP_TLBI_NH_ASID | CMD_ASID(9), 0);
	num = 67;
	KUNIT_EXPECT_EQ(test, 0, fake_inval(vm->vsmmu, vm->user, 16, &num));
	for (i = 0; i < 66; i++) {
		expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(20), 0);
		expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(21), 0);
		expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(0xfffffffe), 0);
	}
	expect_cmd(vm->fake, OP_TLBI_NH_ASID | CMD_VMID(0x1234) | CMD_ASID(9),
		   0);
	expect_sync(vm->fake);
	expect_none(vm->fake);

	/* A bad command follows */
	fake_write(test, vm->user, 1, OP_SYNC, 0);
	num = 67;
	KUNIT_EXPECT_EQ(test, -EIO, fake_inval(vm->vsmmu, vm->user, 16, &num));
	KUNIT_EXPECT_EQ(test, num, 1);
	expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(20), 0);
	expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(21), 0);
	expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(0xfffffffe), 0);
	expect_sync(vm->fake);
	expect_none(vm->fake);
	fake_vm_free(vm);
}

/* The last device found is cached, but must not be mistaken for another */
static void arm_vsmmu_test_vsids(struct kunit *test)
{
	struct fake_vm *vm =
		fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct fake_dev *other = fake_dev_alloc(test, vm->fake, 20);
	u32 num, i;

	KUNIT_EXPECT_EQ(test, -EINVAL,
			fake_vdev_add(vm->vsmmu, other, BIT_ULL(32)));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			fake_vdev_add(vm->vsmmu, other, ~0ULL));
	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vm->vsmmu, other, U32_MAX));

	for (i = 0; i < 130; i++)
		fake_write(test, vm->user, i, OP_CFGI_CD |
			   CMD_SID(i & 2 ? U32_MAX : FAKE_VM_VSID), 0);
	num = 130;
	KUNIT_EXPECT_EQ(test, 0, fake_inval(vm->vsmmu, vm->user, 16, &num));
	for (i = 0; i < 130; i++)
		expect_cmd(vm->fake,
			   OP_CFGI_CD | CMD_SID(i & 2 ? 20 : FAKE_VM_SID), 0);
	expect_sync(vm->fake);

	/* The device leaves */
	fake_vdev_del(vm->vsmmu, other);
	num = 130;
	KUNIT_EXPECT_EQ(test, -EIO, fake_inval(vm->vsmmu, vm->user, 16, &num));
	KUNIT_EXPECT_EQ(test, num, 2);
	expect_cmd(vm->fake, OP_CFGI_CD | CMD_SID(FAKE_VM_SID), 0);
	expect_cmd(vm->fake, OP_CFGI_CD | CMD_SID(FAKE_VM_SID), 0);
	expect_sync(vm->fake);
	expect_none(vm->fake);

	/* As long as no device has been found, no vSID may match the cache */
	fake_write(test, vm->user, 0, OP_TLBI_NSNH_ALL, 0);
	fake_write(test, vm->user, 1, OP_CFGI_CD | CMD_SID(U32_MAX), 0);
	num = 2;
	KUNIT_EXPECT_EQ(test, -EIO, fake_inval(vm->vsmmu, vm->user, 16, &num));
	KUNIT_EXPECT_EQ(test, num, 1);
	expect_cmd(vm->fake, OP_TLBI_NH_ALL | CMD_VMID(0x1234), 0);
	expect_sync(vm->fake);
	expect_none(vm->fake);
	fake_vm_free(vm);
}

/* ATS is off: an ATC_INV would only time out */
static void arm_vsmmu_test_ats_off(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS,
					   FAKE_QUEUE_SHIFT, PAGE_SIZE);
	u32 num = 3;

	KUNIT_EXPECT_EQ(test, 0,
			fake_inval_one(test, vm,
				       OP_ATC_INV | CMD_SID(FAKE_VM_VSID), 52));
	expect_none(vm->fake);
	/* The command must be checked all the same */
	KUNIT_EXPECT_EQ(test, -EIO,
			fake_inval_one(test, vm,
				       OP_ATC_INV | CMD_SID(FAKE_VM_VSID), 53));
	KUNIT_EXPECT_EQ(test, -EIO,
			fake_inval_one(test, vm, OP_ATC_INV | CMD_SID(1), 52));
	expect_none(vm->fake);

	fake_write(test, vm->user, 0, OP_TLBI_NH_ALL, 0);
	fake_write(test, vm->user, 1, OP_ATC_INV | CMD_SID(FAKE_VM_VSID), 0);
	fake_write(test, vm->user, 2, OP_TLBI_NH_ASID, 0);
	KUNIT_EXPECT_EQ(test, 0, fake_inval(vm->vsmmu, vm->user, 16, &num));
	KUNIT_EXPECT_EQ(test, num, 3);
	expect_cmd(vm->fake, OP_TLBI_NH_ALL | CMD_VMID(0x1234), 0);
	expect_cmd(vm->fake, OP_TLBI_NH_ASID | CMD_VMID(0x1234), 0);
	expect_sync(vm->fake);
	expect_none(vm->fake);

	/* A PASID must be refused for a device that has none */
	vm->fake->smmu.ssid_bits = 20;
	arm_vsmmu_cmd_rules_init(&vm->vsmmu->rules, &vm->fake->smmu);
	vm->fdev->master.guest_ats = true;
	KUNIT_EXPECT_EQ(test, 0,
			fake_inval_one(test, vm, CMD_SSV | OP_ATC_INV |
				       CMD_SID(FAKE_VM_VSID), 52));
	expect_none(vm->fake);
	vm->fdev->master.ssid_bits = 1;
	KUNIT_EXPECT_EQ(test, 0,
			fake_inval_one(test, vm, CMD_SSV | OP_ATC_INV |
				       CMD_SID(FAKE_VM_VSID), 52));
	expect_cmd(vm->fake, CMD_SSV | OP_ATC_INV | CMD_SID(FAKE_VM_SID), 52);
	expect_sync(vm->fake);
	expect_none(vm->fake);
	fake_vm_free(vm);
}

/* A device that sleeps, or is gone, does not answer either */
static void arm_vsmmu_test_atc_no_answer(struct kunit *test)
{
	static const struct {
		pci_power_t state;
		pci_channel_state_t error;
		bool answers;
	} cases[] = {
		{ PCI_D0, pci_channel_io_normal, true },
		{ PCI_UNKNOWN, pci_channel_io_normal, true },
		{ PCI_D1, pci_channel_io_normal, false },
		{ PCI_D3hot, pci_channel_io_normal, false },
		{ PCI_D3cold, pci_channel_io_normal, false },
		{ PCI_D0, pci_channel_io_frozen, false },
		{ PCI_D0, pci_channel_io_perm_failure, false },
	};
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS,
					   FAKE_QUEUE_SHIFT, PAGE_SIZE);
	unsigned int i;

	vm->fdev->master.guest_ats = true;
	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		vm->fdev->pci.current_state = cases[i].state;
		vm->fdev->pci.error_state = cases[i].error;
		KUNIT_EXPECT_EQ(test, 0,
				fake_inval_one(test, vm, OP_ATC_INV |
					       CMD_SID(FAKE_VM_VSID), 52));
		if (cases[i].answers) {
			expect_cmd(vm->fake, OP_ATC_INV | CMD_SID(FAKE_VM_SID),
				   52);
			expect_sync(vm->fake);
		}
		expect_none(vm->fake);
		/* Its CDs are invalidated all the same */
		KUNIT_EXPECT_EQ(test, 0,
				fake_inval_one(test, vm, OP_CFGI_CD_ALL |
					       CMD_SID(FAKE_VM_VSID), 0));
		expect_cmd(vm->fake, OP_CFGI_CD_ALL | CMD_SID(FAKE_VM_SID), 0);
		expect_sync(vm->fake);
	}
	fake_vm_free(vm);
}

/* If the SMMU hangs, no command may be reported as done at any CMD_SYNC */
static void arm_vsmmu_test_timeout(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS, 12,
					   8 * PAGE_SIZE);
	static const u32 nums[] = { 1, 600 };
	unsigned int i;
	u32 num;

	vm->fdev->master.guest_ats = true;
	for (i = 0; i < 600; i++)
		fake_write(test, vm->user, i, OP_TLBI_NH_ALL, 0);
	for (i = 0; i < ARRAY_SIZE(nums); i++) {
		num = nums[i];
		fake_smmu_hold(vm->fake);
		KUNIT_EXPECT_EQ(test, -ETIMEDOUT,
				fake_inval(vm->vsmmu, vm->user, 16, &num));
		fake_smmu_go_on(vm->fake);
		KUNIT_EXPECT_EQ(test, num, 0);
		fake_smmu_drain(vm->fake);
	}

	/* The timeout must be reported, not the bad command after it */
	fake_write(test, vm->user, 0, OP_ATC_INV | CMD_SID(FAKE_VM_VSID), 52);
	fake_write(test, vm->user, 1, 0, 0);
	num = 2;
	fake_smmu_hold(vm->fake);
	KUNIT_EXPECT_EQ(test, -ETIMEDOUT,
			fake_inval(vm->vsmmu, vm->user, 16, &num));
	fake_smmu_go_on(vm->fake);
	KUNIT_EXPECT_EQ(test, num, 0);
	fake_smmu_drain(vm->fake);

	/* Commands work again as soon as the SMMU does */
	num = 1;
	KUNIT_EXPECT_EQ(test, 0, fake_inval(vm->vsmmu, vm->user, 16, &num));
	KUNIT_EXPECT_EQ(test, num, 1);
	fake_smmu_drain(vm->fake);
	fake_vm_free(vm);
}

/*
 * Let a VM send @num commands. For a device with two StreamIDs each of them
 * becomes two. At most @max commands may be issued before a CMD_SYNC. With one
 * StreamID the longest run must have at least half of @max.
 */
static void expect_syncs(struct kunit *test, struct fake_vm *vm, u64 opcode,
			 u32 num, unsigned int max)
{
	struct fake_dev *other = fake_dev_alloc(test, vm->fake, 20);
	unsigned int streams, run, most;
	u32 done, i, cmds;
	u64 cmd[2];

	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vm->vsmmu, other, 0x88));
	other->streams[1].id = 21;
	other->master.guest_ats = true;

	for (streams = 1; streams <= 2; streams++) {
		other->master.num_streams = streams;
		for (i = 0; i < num; i++)
			fake_write(test, vm->user, i, opcode | CMD_SID(0x88), 0);
		done = num;
		KUNIT_EXPECT_EQ(test, 0,
				fake_inval(vm->vsmmu, vm->user, 16, &done));
		KUNIT_EXPECT_EQ(test, done, num);

		run = 0;
		most = 0;
		cmds = 0;
		while (fake_smmu_next(vm->fake, cmd)) {
			if ((cmd[0] & 0xff) == OP_SYNC) {
				run = 0;
			} else {
				cmds++;
				most = max(most, ++run);
			}
		}
		KUNIT_EXPECT_EQ(test, cmds, num * streams);
		KUNIT_EXPECT_EQ(test, run, 0);
		KUNIT_EXPECT_LE(test, most, max);
		if (streams == 1)
			KUNIT_EXPECT_GE(test, most, max / 2);
	}
	fake_vdev_del(vm->vsmmu, other);
}

/* No matter how much a VM sends, other users wait for a bounded time */
static void arm_vsmmu_test_max_pending(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS, 12,
					   8 * PAGE_SIZE);

	expect_syncs(test, vm, OP_CFGI_CD_ALL, 1500, 512);
	/* The bound is lower for commands that depend on the device */
	expect_syncs(test, vm, OP_ATC_INV, 300, 32);
	fake_vm_free(vm);
}

/* The CMD_SYNC of an ATC_INV must not wait until the next block is copied */
static void arm_vsmmu_test_atc_block(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS, 12,
					   2 * PAGE_SIZE);
	u32 num, i, at;
	u64 cmd[2];

	vm->fdev->master.guest_ats = true;
	for (at = 0; at < 200; at += 7) {
		for (i = 0; i < 200; i++)
			fake_write(test, vm->user, i, OP_TLBI_NH_ALL, 0);
		fake_write(test, vm->user, at,
			   OP_ATC_INV | CMD_SID(FAKE_VM_VSID), 52);
		num = 200;
		KUNIT_EXPECT_EQ(test, 0,
				fake_inval(vm->vsmmu, vm->user, 16, &num));
		KUNIT_EXPECT_EQ(test, num, 200);
		for (i = 0; i < 200; i++) {
			KUNIT_ASSERT_TRUE(test, fake_smmu_next(vm->fake, cmd));
			if ((cmd[0] & 0xff) == OP_ATC_INV)
				break;
		}
		KUNIT_EXPECT_EQ(test, i, at);
		for (; i < 200; i++) {
			KUNIT_ASSERT_TRUE(test, fake_smmu_next(vm->fake, cmd));
			if ((cmd[0] & 0xff) == OP_SYNC)
				break;
		}
		KUNIT_EXPECT_LT(test, i, at + 96);
		fake_smmu_drain(vm->fake);
	}
	fake_vm_free(vm);
}

/* Two threads of a VM send as much as they can: they must take turns */
static int inval_long_thread(struct fake_thread *thread)
{
	struct fake_vm *vm = thread->arg;
	u32 num = 600;
	int ret;

	ret = fake_inval(vm->vsmmu, vm->user, 16, &num);
	return ret ?: num == 600 ? 0 : -EINVAL;
}

static bool check_long_calls(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, 0, 12, 4 * PAGE_SIZE);
	struct fake_thread one = { .arg = vm }, two = { .arg = vm };
	bool sleeps, in_time;
	u32 i, prod;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");

	for (i = 0; i < 600; i++)
		fake_write(test, vm->user, i, OP_TLBI_NH_ALL, 0);
	fake_thread_init(test, &one, inval_long_thread, true);
	fake_thread_init(test, &two, inval_long_thread, false);
	fake_smmu_hold(vm->fake);
	fake_thread_go(&one);
	KUNIT_EXPECT_TRUE(test, fake_smmu_wait_cmd(vm->fake));
	fake_thread_go(&two);
	sleeps = fake_thread_sleeps(&two);
	/* The queue has not wrapped yet */
	prod = fake_smmu_prod(vm->fake);
	in_time = fake_smmu_go_on(vm->fake);
	fake_thread_join(&one);
	fake_thread_join(&two);
	if (in_time) {
		KUNIT_EXPECT_TRUE(test, sleeps);
		KUNIT_EXPECT_LE(test, prod, 512);
		KUNIT_EXPECT_EQ(test, one.ret, 0);
		KUNIT_EXPECT_EQ(test, two.ret, 0);
	}
	fake_smmu_drain(vm->fake);
	fake_vm_free(vm);
	return in_time;
}

static void arm_vsmmu_test_long_calls(struct kunit *test)
{
	fake_until_in_time(test, check_long_calls);
}

static void arm_vsmmu_test_entry_len(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT,
					   3 * PAGE_SIZE);
	u32 num = 2, i;

	KUNIT_EXPECT_EQ(test, -EINVAL,
			fake_inval(vm->vsmmu, vm->user, 8, &num));
	KUNIT_EXPECT_EQ(test, num, 0);
	num = 2;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			fake_inval(vm->vsmmu, vm->user, 15, &num));
	KUNIT_EXPECT_EQ(test, num, 0);

	/* 24 bytes with a tail of 0 */
	for (i = 0; i < 130; i++) {
		fake_write(test, vm->user + 3 * i, 0, OP_TLBI_NH_VA,
			   (u64)i << 12);
		KUNIT_ASSERT_EQ(test, 0, put_user(0, vm->user + 3 * i + 2));
	}
	num = 130;
	KUNIT_EXPECT_EQ(test, 0, fake_inval(vm->vsmmu, vm->user, 24, &num));
	KUNIT_EXPECT_EQ(test, num, 130);
	for (i = 0; i < 130; i++)
		expect_cmd(vm->fake, OP_TLBI_NH_VA | CMD_VMID(0x1234),
			   (u64)i << 12);
	expect_sync(vm->fake);
	expect_none(vm->fake);

	/* A nonzero tail, which this kernel does not know */
	KUNIT_ASSERT_EQ(test, 0, put_user(1ULL << 56, vm->user + 3 * 70 + 2));
	num = 130;
	KUNIT_EXPECT_EQ(test, -E2BIG,
			fake_inval(vm->vsmmu, vm->user, 24, &num));
	KUNIT_EXPECT_EQ(test, num, 70);
	for (i = 0; i < 70; i++)
		expect_cmd(vm->fake, OP_TLBI_NH_VA | CMD_VMID(0x1234),
			   (u64)i << 12);
	expect_sync(vm->fake);
	expect_none(vm->fake);

	/* The bad command before it must be reported */
	fake_write(test, vm->user + 3 * 66, 0, OP_SYNC, 0);
	num = 130;
	KUNIT_EXPECT_EQ(test, -EIO, fake_inval(vm->vsmmu, vm->user, 24, &num));
	KUNIT_EXPECT_EQ(test, num, 66);
	fake_vm_free(vm);
}

static void arm_vsmmu_test_probe(struct kunit *test)
{
	struct fake_vm *vm =
		fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	const struct iommufd_viommu_ops *ops = vm->vsmmu->core.ops;
	struct iommu_user_data_array array = {
		.type = IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3,
	};

	KUNIT_EXPECT_EQ(test, 0,
			ops->cache_invalidate(&vm->vsmmu->core, &array));
	array.type++;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			ops->cache_invalidate(&vm->vsmmu->core, &array));
	fake_write(test, vm->user, 0, OP_TLBI_NH_ALL, 0);
	array.uptr = vm->user;
	array.entry_len = 16;
	array.entry_num = 1;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			ops->cache_invalidate(&vm->vsmmu->core, &array));
	KUNIT_EXPECT_EQ(test, array.entry_num, 0);
	expect_none(vm->fake);
	fake_vm_free(vm);
}

/*
 * After @readable commands the array continues in an unmapped page. With @half,
 * the first word of the next command is still in front of this page.
 */
static void check_fault(struct kunit *test, struct fake_vm *vm, u32 readable,
			size_t entry_len, bool half)
{
	u64 __user *end = vm->user + PAGE_SIZE / 8;
	u64 __user *start = end - readable * entry_len / 8 - half;
	u32 num = readable + 20, i;

	/* A command of its own, if the other word were taken for 0 */
	if (half)
		KUNIT_ASSERT_EQ(test, 0, put_user(OP_TLBI_NH_VA, end - 1));
	for (i = 0; i < readable; i++) {
		fake_write(test, start + i * entry_len / 8, 0, OP_TLBI_NH_VA,
			   (u64)i << 12);
		if (entry_len > 16)
			KUNIT_ASSERT_EQ(test, 0,
					put_user(0, start + i * 3 + 2));
	}
	KUNIT_EXPECT_EQ(test, -EFAULT,
			fake_inval(vm->vsmmu, start, entry_len, &num));
	/* A copy may stop a few bytes early, but by a cache line at most */
	KUNIT_EXPECT_LE(test, num, readable);
	KUNIT_EXPECT_GE(test, num + 4, readable);
	for (i = 0; i < num; i++)
		expect_cmd(vm->fake, OP_TLBI_NH_VA | CMD_VMID(0x1234),
			   (u64)i << 12);
	if (num)
		expect_sync(vm->fake);
	expect_none(vm->fake);
}

static void arm_vsmmu_test_fault(struct kunit *test)
{
	static const u32 readable[] = { 0, 1, 5, 63, 64, 65, 100, 128, 160 };
	struct fake_vm *vm = fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT,
					   2 * PAGE_SIZE);
	unsigned int i;

	KUNIT_ASSERT_EQ(test, 0,
			vm_munmap((unsigned long)vm->user + PAGE_SIZE,
				  PAGE_SIZE));
	for (i = 0; i < ARRAY_SIZE(readable); i++) {
		check_fault(test, vm, readable[i], 16, false);
		check_fault(test, vm, readable[i], 16, true);
		check_fault(test, vm, readable[i], 24, false);
		check_fault(test, vm, readable[i], 24, true);
	}
	fake_vm_free(vm);
}

/* A block cut short for its ATC_INVs must be completed before the fault */
static void arm_vsmmu_test_atc_fault(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS, 12,
					   PAGE_SIZE);
	u64 __user *user = vm->user + PAGE_SIZE / 8 - 2 * 70;
	u32 num = 80, i, atcs = 0;
	u64 cmd[2];

	vm->fdev->master.guest_ats = true;
	for (i = 0; i < 70; i++)
		fake_write(test, user, i, OP_ATC_INV | CMD_SID(FAKE_VM_VSID),
			   52);
	KUNIT_EXPECT_EQ(test, -EFAULT,
			fake_inval(vm->vsmmu, user, 16, &num));
	/* Same bounds as above */
	KUNIT_EXPECT_LE(test, num, 70);
	KUNIT_EXPECT_GE(test, num + 4, 70);
	while (fake_smmu_next(vm->fake, cmd))
		atcs += (cmd[0] & 0xff) == OP_ATC_INV;
	KUNIT_EXPECT_EQ(test, atcs, num);
	KUNIT_EXPECT_EQ(test, cmd[0] & 0xff, OP_SYNC);
	fake_vm_free(vm);
}

/* After SIGKILL the current block is completed and reported */
static void arm_vsmmu_test_killed(struct kunit *test)
{
	struct fake_vm *vm =
		fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	u32 num = 200, i;

	for (i = 0; i < 200; i++)
		fake_write(test, vm->user, i, OP_TLBI_NH_ALL, 0);
	allow_signal(SIGKILL);
	send_sig(SIGKILL, current, 1);
	KUNIT_EXPECT_EQ(test, -EINTR,
			fake_inval(vm->vsmmu, vm->user, 16, &num));
	flush_signals(current);
	disallow_signal(SIGKILL);

	KUNIT_EXPECT_GT(test, num, 0);
	KUNIT_EXPECT_LT(test, num, 200);
	for (i = 0; i < num; i++)
		expect_cmd(vm->fake, OP_TLBI_NH_ALL | CMD_VMID(0x1234), 0);
	expect_sync(vm->fake);
	expect_none(vm->fake);
	fake_vm_free(vm);
}

static struct kunit_case issue_test_cases[] = {
	KUNIT_CASE(arm_vsmmu_test_issue_each),
	KUNIT_CASE_PARAM(arm_vsmmu_test_issue_many, issue_num_gen_params),
	KUNIT_CASE_SLOW(arm_vsmmu_test_issue_most),
	KUNIT_CASE_PARAM(arm_vsmmu_test_bad_at, bad_at_gen_params),
	KUNIT_CASE(arm_vsmmu_test_no_tag),
	KUNIT_CASE(arm_vsmmu_test_many_streams),
	KUNIT_CASE(arm_vsmmu_test_vsids),
	KUNIT_CASE(arm_vsmmu_test_ats_off),
	KUNIT_CASE(arm_vsmmu_test_atc_no_answer),
	KUNIT_CASE_SLOW(arm_vsmmu_test_timeout),
	KUNIT_CASE(arm_vsmmu_test_max_pending),
	KUNIT_CASE(arm_vsmmu_test_atc_block),
	KUNIT_CASE(arm_vsmmu_test_atc_fault),
	KUNIT_CASE(arm_vsmmu_test_long_calls),
	KUNIT_CASE(arm_vsmmu_test_entry_len),
	KUNIT_CASE(arm_vsmmu_test_probe),
	KUNIT_CASE(arm_vsmmu_test_fault),
	KUNIT_CASE(arm_vsmmu_test_killed),
	{},
};

static struct kunit_suite issue_test_suite = {
	.name = "arm-smmu-v3-iommufd-issue",
	.test_cases = issue_test_cases,
};

kunit_test_suite(issue_test_suite);
