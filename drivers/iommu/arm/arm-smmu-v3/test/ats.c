// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of nested translation: ATS.
 */
#include <linux/delay.h>

#include "fake.h"

/* Not declared without rcutorture, so this needs a declaration of its own */
unsigned long rcu_exp_batches_completed(void);

/*
 * A change in stage 2 invalidates all of a nested master's ATC, as its tags are
 * the guest's addresses, but only the range in the ATC of other masters.
 */
static void arm_smmu_s2_test_atc(struct kunit *test)
{
	struct fake_smmu *fake_a = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_smmu *fake_b = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake_a);
	struct arm_vsmmu *vsmmu = fake_vsmmu_alloc(test, fake_b, s2);
	struct fake_dev *plain = fake_dev_alloc(test, fake_a, 1);
	struct fake_dev *nested = fake_dev_alloc(test, fake_b, 2);
	struct fake_dev *no_ats = fake_dev_alloc(test, fake_b, 3);
	void __user *user = fake_user_alloc(test, PAGE_SIZE);
	struct fake_smmu *fakes[] = { fake_a, fake_b };
	struct fake_dev *plains[] = { plain, no_ats };
	struct iommu_domain *s1;
	unsigned int i;

	if (!IS_ENABLED(CONFIG_PCI_ATS))
		kunit_skip(test, "needs CONFIG_PCI_ATS");

	s1 = fake_nested_alloc(vsmmu, user, STE_S1, STE_1_EATS(1));
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));
	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vsmmu, nested, 0));
	/* The SMMU of the domain may lack ATS, or have no master */
	fake_dev_add_ats(nested, NULL);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(nested, s1));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(no_ats, s2));
	fake_smmu_drain(fake_b);
	KUNIT_EXPECT_EQ(test, 0,
			arm_smmu_atc_inv_domain(&s2->domain, 0x8000, SZ_16K));
	expect_cmd(fake_b, OP_ATC_INV | CMD_SID(2), 52);
	expect_sync(fake_b);
	expect_none(fake_b);

	fake_dev_add_ats(plain, NULL);
	plain->master.num_streams = 2;
	plain->streams[1].id = 11;
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(plain, s2));
	fake_smmu_drain(fake_a);
	KUNIT_EXPECT_EQ(test, 0,
			arm_smmu_atc_inv_domain(&s2->domain, 0x8000, SZ_16K));
	expect_cmd(fake_a, OP_ATC_INV | CMD_SID(1), 0x8000 | 2);
	expect_cmd(fake_a, OP_ATC_INV | CMD_SID(11), 0x8000 | 2);
	expect_sync(fake_a);
	expect_none(fake_a);
	expect_cmd(fake_b, OP_ATC_INV | CMD_SID(2), 52);
	expect_sync(fake_b);
	expect_none(fake_b);

	for (i = 0; i < 2; i++)
		KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(plains[i], NULL));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(nested, NULL));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&s2->domain.nr_ats_masters));
	for (i = 0; i < 2; i++) {
		fake_smmu_drain(fakes[i]);
		fake_expect_clean(test, fakes[i], s2);
	}
	s1->ops->free(s1);
}

/*
 * The masters of several SMMUs alternate in the list. Each SMMU must get only
 * one CMD_SYNC. Nothing may wait for an SMMU under the lock of the list,
 * because other CPUs spin for this lock.
 */
static int atc_inv_thread(struct fake_thread *thread)
{
	struct fake_s2 *s2 = thread->arg;

	return arm_smmu_atc_inv_domain(&s2->domain, 0x8000, SZ_16K);
}

/* Return the SMMU with three ATC_INVs and a CMD_SYNC, or 3 if there is none */
static unsigned int find_sync(struct fake_smmu *const fakes[3])
{
	unsigned int i;

	for (i = 0; i < 3; i++)
		if (fake_smmu_prod(fakes[i]) - fakes[i]->read == 4)
			break;
	return i;
}

static void arm_smmu_s2_test_atc_smmus(struct kunit *test)
{
	struct fake_smmu *fakes[3];
	struct fake_s2 *s2 = NULL;
	struct fake_dev *fdevs[9];
	struct fake_thread thread = {};
	bool locked = false, in_time = true;
	unsigned int i, j;
	u64 cmd[2] = {};

	if (!IS_ENABLED(CONFIG_PCI_ATS) || num_online_cpus() < 2)
		kunit_skip(test, "needs CONFIG_PCI_ATS and two CPUs");

	for (i = 0; i < 3; i++)
		fakes[i] = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	s2 = fake_s2_alloc(test, fakes[0]);
	for (i = 0; i < 9; i++) {
		fdevs[i] = fake_dev_alloc(test, fakes[i % 3], i);
		fake_dev_add_ats(fdevs[i], NULL);
		KUNIT_ASSERT_EQ(test, 0, fake_attach_bare(fdevs[i], s2));
	}
	thread.arg = s2;
	fake_thread_init(test, &thread, atc_inv_thread, true);
	for (i = 0; i < 3; i++) {
		fake_smmu_drain(fakes[i]);
		fake_smmu_hold(fakes[i]);
	}

	fake_thread_go(&thread);
	for (i = 0; i < 3; i++) {
		/* Find the SMMU that the thread waits for, in any order */
		KUNIT_EXPECT_TRUE(test, fake_wait((j = find_sync(fakes)) < 3));
		locked |= spin_is_locked(&s2->domain.devices_lock);
		j %= 3;
		in_time &= fake_smmu_go_on(fakes[j]);
		/* Read from this SMMU only: the next may be busy already */
		while (fake_smmu_next(fakes[j], cmd) &&
		       (cmd[0] & 0xff) == OP_ATC_INV)
			KUNIT_EXPECT_EQ(test, cmd[1], 0x8000 | 2);
		KUNIT_EXPECT_EQ(test, cmd[0] & 0xff, OP_SYNC);
	}
	fake_thread_join(&thread);
	for (i = 0; i < 3; i++)
		expect_none(fakes[i]);
	KUNIT_EXPECT_FALSE(test, locked);
	if (in_time)
		KUNIT_EXPECT_EQ(test, thread.ret, 0);

	for (i = 0; i < 9; i++)
		KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdevs[i], NULL));
	for (i = 0; i < 3; i++) {
		fake_smmu_drain(fakes[i]);
		fake_expect_clean(test, fakes[i], s2);
	}
}

/*
 * When an attach has disabled ATS, no ATC_INV of an unmap or of a guest may be
 * in flight any more. Here both are held up by an SMMU that is not the device's
 * own: the latter would hold up the attach as well.
 */
static int atc_inv_guest_thread(struct fake_thread *thread)
{
	struct fake_vm *vm = thread->arg;
	u32 num = 1;

	return fake_inval(vm->vsmmu, vm->user, 16, &num);
}

static int atc_off_thread(struct fake_thread *thread)
{
	return fake_attach_bare(thread->arg, NULL);
}

static bool ats_is_off(struct fake_dev *fdev, struct fake_smmu *fake)
{
	return !READ_ONCE(fdev->master.ats_enabled) &&
	       !READ_ONCE(fdev->ats_ctrl) &&
	       le64_to_cpu(READ_ONCE(fake->stes[7].data[0])) == STE_ABORT;
}

/* Return false if fake_smmu_go_on() does */
static bool check_ats_drain(struct kunit *test, bool guest)
{
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS,
					   FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct fake_smmu *other = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_dev *fdev = fake_dev_alloc(test, other, 7);
	struct fake_thread sender = {}, attach = {};
	bool sent, off, sleeps, done, in_time;
	struct iommu_domain *s1;
	u64 cmd[2];

	s1 = fake_nested_alloc(vm->vsmmu, vm->user, STE_S1, STE_1_EATS(1));
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));
	fake_dev_add_ats(vm->fdev, NULL);
	fake_dev_add_ats(fdev, NULL);
	KUNIT_ASSERT_EQ(test, 0, fake_attach_nested(vm->fdev, s1));
	KUNIT_ASSERT_EQ(test, 0, fake_attach_bare(fdev, vm->s2));
	fake_smmu_drain(vm->fake);
	fake_smmu_drain(other);
	fake_write(test, vm->user, 0, OP_ATC_INV | CMD_SID(FAKE_VM_VSID), 52);

	sender.arg = guest ? (void *)vm : vm->s2;
	attach.arg = fdev;
	fake_thread_init(test, &sender,
			 guest ? atc_inv_guest_thread : atc_inv_thread, true);
	fake_thread_init(test, &attach, atc_off_thread, false);
	fake_smmu_hold(vm->fake);
	fake_thread_go(&sender);
	sent = fake_smmu_wait_cmd(vm->fake);
	fake_thread_go(&attach);
	/* New unmaps skip the device */
	off = fake_wait(ats_is_off(fdev, other));
	sleeps = fake_thread_sleeps(&attach);
	msleep(20);
	done = READ_ONCE(attach.done);
	while (fake_smmu_next(other, cmd))
		;
	in_time = fake_smmu_go_on(vm->fake);
	fake_thread_join(&sender);
	fake_thread_join(&attach);

	if (in_time) {
		KUNIT_EXPECT_TRUE(test, sent);
		KUNIT_EXPECT_TRUE(test, off);
		KUNIT_EXPECT_TRUE(test, sleeps);
		KUNIT_EXPECT_FALSE(test, done);
		KUNIT_EXPECT_EQ(test, sender.ret, 0);
	}
	KUNIT_EXPECT_EQ(test, attach.ret, 0);
	while (fake_smmu_next(other, cmd))
		KUNIT_EXPECT_NE(test, cmd[0] & 0xff, OP_ATC_INV);

	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(vm->fdev, NULL));
	s1->ops->free(s1);
	fake_vm_free(vm);
	return in_time;
}

static bool check_ats_drain_host(struct kunit *test)
{
	return check_ats_drain(test, false);
}

static bool check_ats_drain_guest(struct kunit *test)
{
	return check_ats_drain(test, true);
}

static void arm_vsmmu_test_ats_drain(struct kunit *test)
{
	if (!IS_ENABLED(CONFIG_PCI_ATS) || num_online_cpus() < 2)
		kunit_skip(test, "needs CONFIG_PCI_ATS and two CPUs");

	fake_until_in_time(test, check_ats_drain_host);
	fake_until_in_time(test, check_ats_drain_guest);
}

/* A guest that toggles ATS must not disturb all CPUs of the host */
static void arm_vsmmu_test_ats_toggle(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS,
					   FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct iommu_domain *s1, *s1_eats;
	unsigned long seq;
	unsigned int i;

	if (!IS_ENABLED(CONFIG_PCI_ATS))
		kunit_skip(test, "needs CONFIG_PCI_ATS");

	s1 = fake_nested_alloc(vm->vsmmu, vm->user, STE_S1, 0);
	s1_eats = fake_nested_alloc(vm->vsmmu, vm->user, STE_S1, STE_1_EATS(1));
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1_eats));
	fake_dev_add_ats(vm->fdev, NULL);

	seq = rcu_exp_batches_completed();
	for (i = 0; i < 100; i++) {
		KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(vm->fdev, s1_eats));
		KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(vm->fdev, s1));
		fake_smmu_drain(vm->fake);
	}
	/* With 4 for each turn this would be 400. Other users may add to it. */
	KUNIT_EXPECT_LT(test, rcu_exp_batches_completed() - seq, 100);

	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(vm->fdev, NULL));
	s1->ops->free(s1);
	s1_eats->ops->free(s1_eats);
	fake_vm_free(vm);
}

/*
 * The ATC_INVs of a guest are dropped until the attach of its STE sends an
 * ATC_INV in their place. None may be dropped behind this ATC_INV.
 */
struct fake_ats_start {
	struct fake_dev *fdev;
	/* At the last ATC_INV of the attach: are those of the guest issued? */
	bool issued;
};

static struct arm_smmu_cmdq *
fake_ats_start_cmdq(struct arm_smmu_device *smmu, struct arm_smmu_cmdq_ent *ent)
{
	struct fake_smmu *fake = container_of(smmu, struct fake_smmu, smmu);
	struct fake_ats_start *start = fake->test->priv;

	if (ent->opcode == OP_ATC_INV)
		start->issued = start->fdev->master.guest_ats;
	return NULL;
}

static void arm_vsmmu_test_ats_start(struct kunit *test)
{
	static const struct arm_smmu_impl_ops impl_ops = {
		.get_secondary_cmdq = fake_ats_start_cmdq,
	};
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS,
					   FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct fake_ats_start start = { .fdev = vm->fdev };
	struct iommu_domain *s1;
	unsigned int on;

	if (!IS_ENABLED(CONFIG_PCI_ATS))
		kunit_skip(test, "needs CONFIG_PCI_ATS");

	s1 = fake_nested_alloc(vm->vsmmu, vm->user, STE_S1, STE_1_EATS(1));
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));
	fake_dev_add_ats(vm->fdev, NULL);
	test->priv = &start;
	vm->fake->smmu.impl_ops = &impl_ops;

	/* ATS is off, or already on for the host */
	for (on = 0; on < 2; on++) {
		KUNIT_EXPECT_EQ(test, 0,
				fake_attach_bare(vm->fdev, on ? vm->s2 : NULL));
		KUNIT_EXPECT_EQ(test, vm->fdev->ats_ctrl >> 15, on);
		start.issued = false;
		KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(vm->fdev, s1));
		KUNIT_EXPECT_TRUE(test, start.issued);
	}

	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(vm->fdev, NULL));
	vm->fake->smmu.impl_ops = NULL;
	s1->ops->free(s1);
	fake_vm_free(vm);
}

/* An unmap at the moment when the device begins to fill its ATC */
static void arm_smmu_s2_test_atc_enabling(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS,
					   FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct fake_dev *fdev = vm->fdev;
	unsigned int nested, part, all;
	struct iommu_domain *s1;
	u64 cmd[2];

	if (!IS_ENABLED(CONFIG_PCI_ATS))
		kunit_skip(test, "needs CONFIG_PCI_ATS");

	s1 = fake_nested_alloc(vm->vsmmu, vm->user, STE_S1, STE_1_EATS(1));
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));
	fake_dev_add_ats(fdev, NULL);

	for (nested = 0; nested < 2; nested++) {
		/* Start from another domain: its count must be right, too */
		KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
		fake_smmu_drain(vm->fake);
		fdev->unmap = vm->s2;
		if (nested)
			KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, s1));
		else
			KUNIT_EXPECT_EQ(test, 0,
					fake_attach_bare(fdev, vm->s2));
		fdev->unmap = NULL;
		KUNIT_EXPECT_EQ(test, fdev->ats_ctrl >> 15, 1);

		all = 0;
		part = 0;
		while (fake_smmu_next(vm->fake, cmd)) {
			if (cmd[0] != (OP_ATC_INV | CMD_SID(FAKE_VM_SID)))
				continue;
			part += cmd[1] == (0x8000 | 2);
			all += cmd[1] == 52;
		}
		/* Before ATS is enabled, for the unmap, and for the guest */
		KUNIT_EXPECT_EQ(test, all, nested ? 3 : 1);
		KUNIT_EXPECT_EQ(test, part, nested ? 0 : 1);
	}
	KUNIT_EXPECT_EQ(test, 1, atomic_read(&vm->s2->domain.nr_ats_masters));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&vm->s2->domain.nr_ats_masters));
	s1->ops->free(s1);
	fake_vm_free(vm);
}

/* Nested ATS is enabled if both guest and device agree */
static void arm_vsmmu_test_ats(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS,
					   FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct fake_smmu *fake = vm->fake;
	struct fake_dev *fdev = vm->fdev;
	atomic_t *nr_ats = &vm->s2->domain.nr_ats_masters;
	enum { OFF, BARE, BYPASS, S1_NO_EATS, S1_EATS } state;
	/* Every transition between these states */
	static const u8 states[] = {
		BARE, BYPASS, BARE, S1_NO_EATS, BARE, S1_EATS, BARE, OFF,
		BYPASS, S1_NO_EATS, BYPASS, S1_EATS, BYPASS, OFF,
		S1_NO_EATS, S1_EATS, S1_NO_EATS, OFF, S1_EATS, S1_EATS, OFF,
	};
	struct iommu_domain *bypass, *s1, *s1_eats;
	bool atc, was_on = false;
	unsigned int i;
	u64 cmd[2];

	if (!IS_ENABLED(CONFIG_PCI_ATS))
		kunit_skip(test, "needs CONFIG_PCI_ATS");

	bypass = fake_nested_alloc(vm->vsmmu, vm->user, STE_BYPASS,
				   STE_1_EATS(1));
	s1 = fake_nested_alloc(vm->vsmmu, vm->user, STE_S1, 0);
	s1_eats = fake_nested_alloc(vm->vsmmu, vm->user, STE_S1, STE_1_EATS(1));
	KUNIT_ASSERT_FALSE(test, IS_ERR(bypass));
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1_eats));
	fake_dev_add_ats(fdev, NULL);

	for (i = 0; i < ARRAY_SIZE(states); i++) {
		state = states[i];
		switch (state) {
		case OFF:
			KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
			break;
		case BARE:
			KUNIT_EXPECT_EQ(test, 0,
					fake_attach_bare(fdev, vm->s2));
			break;
		case BYPASS:
			KUNIT_EXPECT_EQ(test, 0,
					fake_attach_nested(fdev, bypass));
			break;
		case S1_NO_EATS:
			KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, s1));
			break;
		case S1_EATS:
			KUNIT_EXPECT_EQ(test, 0,
					fake_attach_nested(fdev, s1_eats));
			break;
		}

		/* In bypass the guest cannot choose, so ATS is on */
		atc = state == BARE || state == BYPASS || state == S1_EATS;
		KUNIT_EXPECT_EQ_MSG(test, fdev->ats_ctrl >> 15, atc, "step %u",
				    i);
		KUNIT_EXPECT_EQ_MSG(test, atomic_read(nr_ats), atc, "step %u",
				    i);
		KUNIT_EXPECT_EQ_MSG(test, fdev->master.ats_enabled, atc,
				    "step %u", i);
		KUNIT_EXPECT_EQ_MSG(test,
				    le64_to_cpu(fake->stes[FAKE_VM_SID].data[1]) &
				    STE_1_EATS(3), STE_1_EATS(atc), "step %u",
				    i);
		/*
		 * If ATS was turned off, the ATC must be empty before the STE
		 * changes, because the new STE may abort translated requests.
		 */
		if (was_on && !atc) {
			while (fake->read != fdev->ats_prod &&
			       fake_smmu_next(fake, cmd))
				;
			expect_cmd(fake, OP_ATC_INV | CMD_SID(FAKE_VM_SID), 52);
			expect_sync(fake);
			KUNIT_ASSERT_TRUE(test, fake_smmu_next(fake, cmd));
			KUNIT_EXPECT_EQ_MSG(test, cmd[0] & 0xff, OP_CFGI_STE,
					    "step %u", i);
		}
		was_on = atc;
		/* If ATS is on, the ATC must have been emptied afterwards */
		atc = false;
		while (fake_smmu_next(fake, cmd))
			if (cmd[0] == (OP_ATC_INV | CMD_SID(FAKE_VM_SID)) &&
			    cmd[1] == 52)
				atc = true;
		if (fdev->ats_ctrl)
			KUNIT_EXPECT_TRUE_MSG(test, atc, "step %u", i);

		/* The guest's own ATC_INV is issued only with its EATS */
		KUNIT_EXPECT_EQ(test, 0,
				fake_inval_one(test, vm, OP_ATC_INV |
					       CMD_SID(FAKE_VM_VSID), 0));
		atc = fake_smmu_next(fake, cmd);
		KUNIT_EXPECT_EQ_MSG(test, atc, state == S1_EATS, "step %u", i);
		fake_smmu_drain(fake);

		/* For an unmap by the host, the guest's IOVAs are unknown */
		KUNIT_EXPECT_EQ(test, 0,
				arm_smmu_atc_inv_domain(&vm->s2->domain, 0x8000,
							SZ_16K));
		if (was_on) {
			expect_cmd(fake, OP_ATC_INV | CMD_SID(FAKE_VM_SID),
				   state == BARE ? 0x8000 | 2 : 52);
			expect_sync(fake);
		}
		expect_none(fake);
	}

	bypass->ops->free(bypass);
	s1->ops->free(s1);
	s1_eats->ops->free(s1_eats);
	fake_vm_free(vm);
}

/* Check that the device is set up as if without ATS */
static void expect_no_ats(struct kunit *test, struct fake_vm *vm)
{
	struct fake_dev *fdev = vm->fdev;

	KUNIT_EXPECT_FALSE(test, fdev->pci.ats_enabled);
	KUNIT_EXPECT_FALSE(test, fdev->master.ats_enabled);
	KUNIT_EXPECT_EQ(test, fdev->ats_ctrl & PCI_ATS_CTRL_ENABLE, 0);
	KUNIT_EXPECT_EQ(test, 0, atomic_read(&vm->s2->domain.nr_ats_masters));
	fake_smmu_drain(vm->fake);
	KUNIT_EXPECT_EQ(test, 0,
			fake_inval_one(test, vm,
				       OP_ATC_INV | CMD_SID(FAKE_VM_VSID), 0));
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_atc_inv_domain(&vm->s2->domain,
							 0x8000, SZ_16K));
	expect_none(vm->fake);
}

static u64 ste_eats(struct fake_vm *vm)
{
	return le64_to_cpu(vm->fake->stes[FAKE_VM_SID].data[1]) & STE_1_EATS(3);
}

/*
 * A VF cannot enable ATS if its PF does not match. The PCI core has a WARN for
 * disabling ATS that was not enabled.
 */
static void arm_vsmmu_test_ats_fails(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS,
					   FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct fake_dev *fdev = vm->fdev, *pf;
	struct iommu_domain *s1;
	unsigned int i;

	if (!IS_ENABLED(CONFIG_PCI_ATS))
		kunit_skip(test, "needs CONFIG_PCI_ATS");

	s1 = fake_nested_alloc(vm->vsmmu, vm->user, STE_S1, STE_1_EATS(1));
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));
	pf = fake_dev_alloc(test, vm->fake, 2);
	fake_dev_add_ats(pf, NULL);
	fake_dev_add_ats(fdev, pf);

	KUNIT_EXPECT_FALSE(test, fdev->master.ats_prepared);
	for (i = 0; i < 3; i++) {
		KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, s1));
		KUNIT_EXPECT_EQ(test, ste_eats(vm), 0);
		expect_no_ats(test, vm);
		KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, vm->s2));
		KUNIT_EXPECT_EQ(test, ste_eats(vm), 0);
		expect_no_ats(test, vm);
		KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
	}

	/* The failure comes late: ATS is tried once, and reverted */
	for (i = 0; i < 2; i++) {
		fdev->master.ats_prepared = true;
		KUNIT_EXPECT_EQ(test, 0,
				i ? fake_attach_bare(fdev, vm->s2) :
				    fake_attach_nested(fdev, s1));
		KUNIT_EXPECT_EQ(test, ste_eats(vm), STE_1_EATS(1));
		expect_no_ats(test, vm);
		KUNIT_EXPECT_FALSE(test, fdev->master.ats_prepared);
		KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, s1));
		KUNIT_EXPECT_EQ(test, ste_eats(vm), 0);
		expect_no_ats(test, vm);
		KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
	}
	s1->ops->free(s1);
	fake_vm_free(vm);
}

/* If stalls are forced, stage 2 has S2S, which excludes EATS and so ATS */
static void arm_vsmmu_test_ats_stall_force(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS |
					   ARM_SMMU_FEAT_STALL_FORCE,
					   FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct fake_dev *fdev = vm->fdev;
	struct arm_smmu_ste *ste = &vm->fake->stes[FAKE_VM_SID];
	struct iommu_domain *s1;
	unsigned int i;

	if (!IS_ENABLED(CONFIG_PCI_ATS))
		kunit_skip(test, "needs CONFIG_PCI_ATS");

	s1 = fake_nested_alloc(vm->vsmmu, vm->user, STE_S1, STE_1_EATS(1));
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));
	fake_dev_add_ats(fdev, NULL);
	fdev->master.stall_enabled = true;
	for (i = 0; i < 2; i++) {
		KUNIT_EXPECT_EQ(test, 0,
				i ? fake_attach_bare(fdev, vm->s2) :
				    fake_attach_nested(fdev, s1));
		KUNIT_EXPECT_EQ(test, le64_to_cpu(ste->data[2]) & STE_2_S2S,
				STE_2_S2S);
		KUNIT_EXPECT_EQ(test, ste_eats(vm), 0);
		expect_no_ats(test, vm);
	}
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
	s1->ops->free(s1);
	fake_vm_free(vm);
}

/* A removed device: an ATC_INV would time out, for each unmap and the detach */
static void arm_smmu_s2_test_atc_gone(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct fake_dev *gone = fake_dev_alloc(test, fake, 1);
	struct fake_dev *other = fake_dev_alloc(test, fake, 2);
	u64 cmd[2];

	if (!IS_ENABLED(CONFIG_PCI_ATS))
		kunit_skip(test, "needs CONFIG_PCI_ATS");

	fake_dev_add_ats(gone, NULL);
	fake_dev_add_ats(other, NULL);
	KUNIT_ASSERT_EQ(test, 0, fake_attach_bare(gone, s2));
	KUNIT_ASSERT_EQ(test, 0, fake_attach_bare(other, s2));
	fake_smmu_drain(fake);

	gone->pci.error_state = pci_channel_io_perm_failure;
	KUNIT_EXPECT_EQ(test, 0,
			arm_smmu_atc_inv_domain(&s2->domain, 0x8000, SZ_16K));
	expect_cmd(fake, OP_ATC_INV | CMD_SID(2), 0x8000 | 2);
	expect_sync(fake);
	expect_none(fake);

	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(gone, NULL));
	while (fake_smmu_next(fake, cmd))
		KUNIT_EXPECT_NE(test, cmd[0] & 0xff, OP_ATC_INV);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(other, NULL));
	fake_smmu_drain(fake);
	fake_expect_clean(test, fake, s2);
}

/* CXL.cache needs ATS, which bypass does not provide */
static void arm_smmu_test_ats_required(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_dev *pf = fake_dev_alloc(test, fake, 1);
	struct fake_dev *vf = fake_dev_alloc(test, fake, 2);
	int (*type)(struct device *dev) = arm_smmu_ops.def_domain_type;

	if (!IS_ENABLED(CONFIG_PCI_ATS))
		kunit_skip(test, "needs CONFIG_PCI_ATS");

	fake_dev_add_ats(pf, NULL);
	fake_dev_add_ats(vf, pf);
	KUNIT_EXPECT_EQ(test, type(&pf->pci.dev), 0);
	KUNIT_EXPECT_EQ(test, type(&vf->pci.dev), 0);

	/* The device has CXL.io and CXL.mem only */
	pf->cxl = true;
	pf->cxl_cap = BIT(1) | BIT(2);
	KUNIT_EXPECT_EQ(test, type(&pf->pci.dev), 0);
	KUNIT_EXPECT_EQ(test, type(&vf->pci.dev), 0);
	pf->cxl_cap |= BIT(0);
	KUNIT_EXPECT_EQ(test, type(&pf->pci.dev), IOMMU_DOMAIN_DMA);
	/* The STU of the PF differs, so the VF has no ATS in any domain */
	KUNIT_EXPECT_EQ(test, type(&vf->pci.dev), 0);
	vf->master.ats_prepared = true;
	KUNIT_EXPECT_EQ(test, type(&vf->pci.dev), IOMMU_DOMAIN_DMA);

	/* Translation does not help without ATS in root complex and SMMU */
	pf->fwspec.flags &= ~IOMMU_FWSPEC_PCI_RC_ATS;
	KUNIT_EXPECT_EQ(test, type(&pf->pci.dev), 0);
	fake->smmu.features &= ~ARM_SMMU_FEAT_ATS;
	KUNIT_EXPECT_EQ(test, type(&vf->pci.dev), 0);
}

static struct kunit_case ats_test_cases[] = {
	KUNIT_CASE(arm_smmu_s2_test_atc),
	KUNIT_CASE(arm_smmu_s2_test_atc_smmus),
	KUNIT_CASE(arm_smmu_s2_test_atc_enabling),
	KUNIT_CASE(arm_vsmmu_test_ats),
	KUNIT_CASE(arm_vsmmu_test_ats_drain),
	KUNIT_CASE(arm_vsmmu_test_ats_toggle),
	KUNIT_CASE(arm_vsmmu_test_ats_start),
	KUNIT_CASE(arm_vsmmu_test_ats_fails),
	KUNIT_CASE(arm_vsmmu_test_ats_stall_force),
	KUNIT_CASE(arm_smmu_s2_test_atc_gone),
	KUNIT_CASE(arm_smmu_test_ats_required),
	{},
};

static struct kunit_suite ats_test_suite = {
	.name = "arm-smmu-v3-iommufd-ats",
	.test_cases = ats_test_cases,
};

kunit_test_suite(ats_test_suite);
