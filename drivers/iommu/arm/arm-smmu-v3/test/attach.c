// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of nested translation: attaching.
 */
#include "fake.h"

KUNIT_DEFINE_ACTION_WRAPPER(fake_group_put, iommu_group_put,
			    struct iommu_group *);

static void arm_vsmmu_test_attach(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct arm_vsmmu *vsmmu = fake_vsmmu_alloc(test, fake, s2);
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 9);
	void __user *user = fake_user_alloc(test, PAGE_SIZE);
	struct iommu_domain *abort, *bypass, *s1;
	const __le64 *ste = fake->stes[9].data;

	abort = fake_nested_alloc(vsmmu, user, 0, ~0ULL);
	bypass = fake_nested_alloc(vsmmu, user, STE_BYPASS, 0);
	s1 = fake_nested_alloc(vsmmu, user, GUEST_S1_0,
			       GUEST_S1_1 | STE_1_EATS(1));
	KUNIT_ASSERT_FALSE(test, IS_ERR(abort));
	KUNIT_ASSERT_FALSE(test, IS_ERR(bypass));
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));

	/* Without a vDEVICE, only domains that need no vSID can be attached */
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, abort));
	KUNIT_EXPECT_NULL(test, fdev->master.s2_tag);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[0]), STE_ABORT);
	expect_none(fake);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, bypass));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[0]), STE_S2);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[2]), FAKE_STE_2 | 1);
	fake_expect_stes(fake, 9, 2);
	expect_none(fake);
	KUNIT_EXPECT_EQ(test, -ENOENT, fake_attach_nested(fdev, s1));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[0]), STE_S2);
	expect_none(fake);
	KUNIT_EXPECT_EQ(test, fake_count_devices(s2), 1);

	/* bypass <-> S1 and S2 <-> S1 keep the VMID and never clear V */
	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vsmmu, fdev, 0));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, s1));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[0]), WANT_S1_0);
	/* The device has no ATS */
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[1]), WANT_S1_1 | STE_1_S1STALLD);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[2]), FAKE_STE_2 | 1);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[3]), FAKE_VTTBR);
	fake_expect_stes(fake, 9, 2);
	expect_none(fake);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, bypass));
	fake_expect_stes(fake, 9, 2);
	expect_none(fake);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, s2));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[1]), 0);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[2]), FAKE_STE_2 | 1);
	fake_expect_stes(fake, 9, 1);
	/* No guest is left, so stage 1 is invalidated */
	expect_cmd(fake, OP_TLBI_NH_ALL | CMD_VMID(1), 0);
	expect_sync(fake);
	expect_none(fake);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, s1));
	fake_expect_stes(fake, 9, 2);
	expect_none(fake);
	KUNIT_EXPECT_EQ(test, fake_count_devices(s2), 1);

	/* The device is cut off, and its VMID is released */
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, abort));
	fake_expect_stes(fake, 9, 2);
	expect_cmd(fake, OP_TLBI_S12_VMALL | CMD_VMID(1), 0);
	expect_sync(fake);
	KUNIT_EXPECT_EQ(test, fake_count_devices(s2), 1);
	fake_expect_clean(test, fake, s2);

	/* S1 stays attached without its vDEVICE, but cannot return */
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, s1));
	fake_vdev_del(vsmmu, fdev);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, bypass));
	KUNIT_EXPECT_EQ(test, -ENOENT, fake_attach_nested(fdev, s1));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[0]), STE_ABORT);
	KUNIT_EXPECT_EQ(test, fake_count_devices(s2), 0);
	KUNIT_EXPECT_NULL(test, fdev->master.s2_tag);
	fake_smmu_drain(fake);
	fake_expect_clean(test, fake, s2);
	abort->ops->free(abort);
	bypass->ops->free(bypass);
	s1->ops->free(s1);
}

/* A guest's CFGI_STE must invalidate the CDs even if the STE does not change */
static void arm_vsmmu_test_same_ste(struct kunit *test)
{
	struct fake_vm *vm =
		fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	static const u64 words[][2] = {
		{ STE_S1 | 0x12340, 0xfd }, { STE_S1 | 0x12340, 0xfd },
		/* Without ATS this bit does not change the physical STE */
		{ STE_S1 | 0x12340, 0xfd | STE_1_EATS(1) },
		{ STE_S1 | 0x56780, 0xfd },
		{ STE_BYPASS, 0 }, { STE_BYPASS, 0 },
	};
	struct iommu_domain *domains[ARRAY_SIZE(words)];
	struct fake_smmu *fake = vm->fake;
	struct fake_dev *fdev = vm->fdev;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(words); i++) {
		domains[i] = fake_nested_alloc(vm->vsmmu, vm->user, words[i][0],
					       words[i][1]);
		KUNIT_ASSERT_FALSE(test, IS_ERR(domains[i]));
	}
	fdev->master.num_streams = 2;
	fdev->streams[1].id = 21;
	fdev->streams[1].master = &fdev->master;

	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, domains[0]));
	fake_smmu_drain(fake);
	for (i = 1; i <= 2; i++) {
		KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, domains[i]));
		expect_cmd(fake, OP_CFGI_CD_ALL | CMD_SID(FAKE_VM_SID), 0);
		expect_sync(fake);
		expect_cmd(fake, OP_CFGI_CD_ALL | CMD_SID(21), 0);
		expect_sync(fake);
		expect_none(fake);
	}

	/* If the STE changes, it is invalidated, and its CDs with it */
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, domains[3]));
	fake_expect_stes(fake, FAKE_VM_SID, 1);
	fake_expect_stes(fake, 21, 1);
	expect_none(fake);
	/* Bypass has no CDs */
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, domains[4]));
	fake_smmu_drain(fake);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, domains[5]));
	expect_none(fake);

	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
	for (i = 0; i < ARRAY_SIZE(words); i++)
		domains[i]->ops->free(domains[i]);
	fake_vm_free(vm);
}

/*
 * The core reverts a group if its second device cannot be attached. During the
 * revert iommu_get_domain_for_dev() does not return the domain that the first
 * device is attached to. A stale entry in the list of the parent would outlive
 * the nested domain.
 */
static void arm_vsmmu_test_attach_revert(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct arm_vsmmu *vsmmu = fake_vsmmu_alloc(test, fake, s2);
	struct fake_dev *dev_1 = fake_dev_alloc(test, fake, 1);
	struct fake_dev *dev_2 = fake_dev_alloc(test, fake, 2);
	void __user *user = fake_user_alloc(test, PAGE_SIZE);
	const __le64 *ste = fake->stes[1].data;
	struct arm_smmu_master_domain *elm;
	struct iommu_attach_handle handle;
	struct iommu_group *group;
	struct iommu_domain *s1;

	fake_smmu_register(fake);
	fake_dev_probe(dev_1, NULL);
	/* This device can be attached to the stage 2, but is not coherent */
	dev_2->fwspec.flags = 0;
	fake_dev_probe(dev_2, dev_1);
	group = dev_1->dev->iommu_group;
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[0]), STE_BYPASS);

	s1 = fake_nested_alloc(vsmmu, user, GUEST_S1_0, GUEST_S1_1);
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));
	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vsmmu, dev_1, 0));
	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vsmmu, dev_2, 1));
	KUNIT_ASSERT_EQ(test, 0,
			iommu_device_claim_dma_owner(dev_1->dev, test));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[0]), STE_ABORT);
	KUNIT_EXPECT_EQ(test, 0,
			iommu_attach_group_handle(&s2->domain.domain, group,
						  &handle));
	KUNIT_EXPECT_EQ(test, fake_count_devices(s2), 2);
	fake_smmu_drain(fake);

	KUNIT_EXPECT_EQ(test, -EINVAL,
			iommu_replace_group_handle(group, s1, &handle));
	/* Attach and revert: the VMID stays in use, but stage 1 does not */
	fake_expect_stes(fake, 1, 5);
	expect_cmd(fake, OP_TLBI_NH_ALL | CMD_VMID(1), 0);
	expect_sync(fake);
	expect_none(fake);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[0]), STE_S2);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[2]), FAKE_STE_2 | 1);

	KUNIT_EXPECT_EQ(test, fake_count_devices(s2), 2);
	list_for_each_entry(elm, &s2->domain.devices, devices_elm)
		KUNIT_EXPECT_PTR_EQ(test, elm->domain, &s2->domain.domain);
	KUNIT_EXPECT_FALSE(test, fake_master(dev_1)->s2_guest);
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(vsmmu->s2_owner.tag));

	iommu_detach_group_handle(&s2->domain.domain, group);
	iommu_device_release_dma_owner(dev_1->dev);
	KUNIT_EXPECT_EQ(test, fake_count_devices(s2), 0);
	fake_smmu_drain(fake);
	fake_expect_clean(test, fake, s2);
	fake_vdev_del(vsmmu, dev_1);
	fake_vdev_del(vsmmu, dev_2);
	s1->ops->free(s1);
}

/*
 * Without ACS a port is in the group of the device behind it. The port has no
 * vDEVICE and does not need one, as it does not take part in stage 1. The core
 * attaches the members of a group in any order.
 */
static void arm_vsmmu_test_attach_group(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct arm_vsmmu *vsmmu = fake_vsmmu_alloc(test, fake, s2);
	struct arm_vsmmu *other = fake_vsmmu_alloc(test, fake, s2);
	struct fake_dev *port = fake_dev_alloc(test, fake, 1);
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 2);
	struct fake_dev *alone = fake_dev_alloc(test, fake, 3);
	void __user *user = fake_user_alloc(test, PAGE_SIZE);
	struct iommu_domain *s1, *bypass, *invalid;
	struct iommu_group *group, *group_2;
	struct iommufd_veventq *veventq;
	unsigned int i;

	group = iommu_group_alloc();
	KUNIT_ASSERT_FALSE(test, IS_ERR(group));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, fake_group_put, group));
	group_2 = iommu_group_alloc();
	KUNIT_ASSERT_FALSE(test, IS_ERR(group_2));
	KUNIT_ASSERT_EQ(test, 0, kunit_add_action_or_reset(test, fake_group_put,
							   group_2));
	port->pci.dev.iommu_group = group;
	fdev->pci.dev.iommu_group = group;
	alone->pci.dev.iommu_group = group_2;
	if (IS_ENABLED(CONFIG_PCI_ATS)) {
		fake_dev_add_ats(port, NULL);
		fake_dev_add_ats(fdev, NULL);
	}
	veventq = fake_veventq_add(test, vsmmu);
	s1 = fake_nested_alloc(vsmmu, user, GUEST_S1_0,
			       GUEST_S1_1 | STE_1_EATS(1));
	bypass = fake_nested_alloc(vsmmu, user, STE_BYPASS, 0);
	invalid = fake_nested_alloc(vsmmu, user, 0, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));
	KUNIT_ASSERT_FALSE(test, IS_ERR(bypass));
	KUNIT_ASSERT_FALSE(test, IS_ERR(invalid));

	/* The guest has no vDEVICE for either, or only in another vSMMU */
	KUNIT_EXPECT_EQ(test, -ENOENT, fake_attach_nested(port, s1));
	KUNIT_EXPECT_EQ(test, -ENOENT, fake_attach_nested(fdev, s1));
	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(other, fdev, 0));
	KUNIT_EXPECT_EQ(test, -ENOENT, fake_attach_nested(port, s1));
	KUNIT_EXPECT_EQ(test, -ENOENT, fake_attach_nested(fdev, s1));
	fake_vdev_del(other, fdev);
	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vsmmu, fdev, 0));

	for (i = 0; i < 2; i++) {
		KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(port, bypass));
		KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, bypass));
		KUNIT_EXPECT_EQ(test, le64_to_cpu(fake->stes[1].data[0]),
				STE_S2);
		KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(i ? port : fdev, s1));
		KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(i ? fdev : port, s1));
		KUNIT_EXPECT_EQ(test, le64_to_cpu(fake->stes[1].data[0]),
				STE_ABORT);
		KUNIT_EXPECT_EQ(test, le64_to_cpu(fake->stes[1].data[1]), 0);
		KUNIT_EXPECT_EQ(test, le64_to_cpu(fake->stes[2].data[0]),
				WANT_S1_0);
		KUNIT_EXPECT_FALSE(test, port->master.ats_enabled);
		KUNIT_EXPECT_EQ(test, fdev->master.ats_enabled ? 1 : 0,
				IS_ENABLED(CONFIG_PCI_ATS));
		KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(port, s2));
		KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, s2));
	}
	KUNIT_EXPECT_EQ(test, -ENOENT, fake_attach_nested(alone, s1));

	/* Exactly one event, for the device that the guest knows */
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(port, invalid));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, invalid));
	KUNIT_EXPECT_EQ(test, veventq->num, 1);

	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(port, NULL));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
	fake_vdev_del(vsmmu, fdev);
	KUNIT_EXPECT_EQ(test, -ENOENT, fake_attach_nested(port, s1));
	KUNIT_EXPECT_EQ(test, fake_count_devices(s2), 0);
	fake_smmu_drain(fake);
	fake_expect_clean(test, fake, s2);
	s1->ops->free(s1);
	bypass->ops->free(bypass);
	invalid->ops->free(invalid);
}

/*
 * A VMM gives the guest's StreamID to another function of the group. The next
 * STE is for the new function, and the first function is cut off. The guest
 * must not reach its ATC, even if it gets the StreamID back, until the next STE
 * is attached.
 */
static void arm_vsmmu_test_attach_group_ats(struct kunit *test)
{
	struct fake_vm *vm = fake_vm_alloc(test, ARM_SMMU_FEAT_ATS,
					   FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct fake_dev *fdevs[2] = {
		vm->fdev, fake_dev_alloc(test, vm->fake, 7)
	};
	const u64 inv = OP_ATC_INV | CMD_SID(FAKE_VM_VSID);
	struct fake_smmu *fake = vm->fake;
	struct fake_dev *has, *cut;
	struct iommu_domain *s1[3];
	struct iommu_group *group;
	const __le64 *ste;
	unsigned int i;

	if (!IS_ENABLED(CONFIG_PCI_ATS))
		kunit_skip(test, "needs CONFIG_PCI_ATS");

	group = iommu_group_alloc();
	KUNIT_ASSERT_FALSE(test, IS_ERR(group));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, fake_group_put, group));
	for (i = 0; i < 2; i++) {
		fdevs[i]->pci.dev.iommu_group = group;
		fake_dev_add_ats(fdevs[i], NULL);
	}

	for (i = 0; i < ARRAY_SIZE(s1); i++) {
		has = fdevs[i % 2];
		cut = fdevs[(i + 1) % 2];
		s1[i] = fake_nested_alloc(vm->vsmmu, vm->user, GUEST_S1_0,
					  GUEST_S1_1 | STE_1_EATS(1));
		KUNIT_ASSERT_FALSE(test, IS_ERR(s1[i]));
		if (i) {
			fake_vdev_del(vm->vsmmu, cut);
			KUNIT_ASSERT_EQ(test, 0,
					fake_vdev_add(vm->vsmmu, has,
						      FAKE_VM_VSID));
			/* No ATC_INV until the vDEVICE's STE is attached */
			fake_smmu_drain(fake);
			KUNIT_EXPECT_EQ(test, 0,
					fake_inval_one(test, vm, inv, 52));
			expect_none(fake);
		}

		KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdevs[0], s1[i]));
		KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdevs[1], s1[i]));
		KUNIT_EXPECT_TRUE(test, has->master.guest_ats);
		KUNIT_EXPECT_EQ(test, has->ats_ctrl >> 15, 1);
		KUNIT_EXPECT_FALSE(test, cut->master.guest_ats);
		KUNIT_EXPECT_FALSE(test, cut->master.ats_enabled);
		KUNIT_EXPECT_EQ(test, cut->ats_ctrl >> 15, 0);
		ste = fake->stes[cut->streams[0].id].data;
		KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[0]), STE_ABORT);

		fake_smmu_drain(fake);
		KUNIT_EXPECT_EQ(test, 0, fake_inval_one(test, vm, inv, 52));
		expect_cmd(fake, OP_ATC_INV | CMD_SID(has->streams[0].id), 52);
		expect_sync(fake);
		expect_none(fake);
	}

	for (i = 0; i < 2; i++)
		KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdevs[i], NULL));
	KUNIT_EXPECT_EQ(test, fake_count_devices(vm->s2), 0);
	for (i = 0; i < ARRAY_SIZE(s1); i++)
		s1[i]->ops->free(s1[i]);
	fake_vm_free(vm);
}

/*
 * The revert can fail: the VMID of the device was taken as soon as the device
 * left it, and no other VMID is free. The core then blocks the device.
 */
static void arm_vsmmu_test_attach_no_way_back(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct fake_s2 *s2_b = fake_s2_alloc(test, fake);
	struct arm_vsmmu *vsmmu = fake_vsmmu_alloc(test, fake, s2);
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 1);
	struct arm_smmu_ste *ste = &fake->stes[1];
	void __user *user = fake_user_alloc(test, PAGE_SIZE);
	struct iommu_domain *s1;
	struct arm_smmu_ste was;

	/* VMIDs 1..3 */
	fake->smmu.vmid_bits = 2;
	s1 = fake_nested_alloc(vsmmu, user, GUEST_S1_0, GUEST_S1_1);
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));
	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vsmmu, fdev, 0));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, s1));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, s2_b));
	KUNIT_EXPECT_EQ(test, fdev->master.s2_tag->vmid, 2);
	KUNIT_EXPECT_EQ(test, 1, ida_alloc_range(&fake->smmu.vmid_map, 1, 1,
						 GFP_KERNEL));
	KUNIT_EXPECT_EQ(test, 3, ida_alloc_range(&fake->smmu.vmid_map, 3, 3,
						 GFP_KERNEL));

	/* The failed attach must not change anything */
	was = *ste;
	fake_smmu_drain(fake);
	KUNIT_EXPECT_EQ(test, -ENOSPC, fake_attach_nested(fdev, s1));
	KUNIT_EXPECT_MEMEQ(test, ste, &was, sizeof(was));
	KUNIT_EXPECT_PTR_EQ(test, fdev->master.domain, &s2_b->domain.domain);
	KUNIT_EXPECT_EQ(test, fdev->master.s2_tag->vmid, 2);
	KUNIT_EXPECT_FALSE(test, fdev->master.s2_guest);
	KUNIT_EXPECT_EQ(test, fake_count_devices(s2), 0);
	KUNIT_EXPECT_EQ(test, fake_count_devices(s2_b), 1);
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(vsmmu->s2_owner.tag));
	expect_none(fake);

	/* Blocking takes no VMID and no memory */
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste->data[0]), STE_ABORT);
	KUNIT_EXPECT_NULL(test, fdev->master.s2_tag);
	KUNIT_EXPECT_EQ(test, fake_count_devices(s2_b), 0);

	ida_free(&fake->smmu.vmid_map, 1);
	ida_free(&fake->smmu.vmid_map, 3);
	fake_smmu_drain(fake);
	fake_expect_clean(test, fake, s2);
	fake_expect_clean(test, fake, s2_b);
	s1->ops->free(s1);
}

/* Devices that a nested domain must not be attached to */
static void arm_vsmmu_test_attach_refused(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_smmu *other = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct arm_vsmmu *vsmmu = fake_vsmmu_alloc(test, fake, s2);
	struct arm_vsmmu *vsmmu_2 = fake_vsmmu_alloc(test, fake, s2);
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 1);
	struct fake_dev *foreign = fake_dev_alloc(test, other, 1);
	void __user *user = fake_user_alloc(test, PAGE_SIZE);
	struct iommu_domain *bypass, *s1;

	bypass = fake_nested_alloc(vsmmu, user, STE_BYPASS, 0);
	s1 = fake_nested_alloc(vsmmu, user, STE_S1, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(bypass));
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));

	/* The device is behind another SMMU */
	KUNIT_EXPECT_EQ(test, -EINVAL, fake_attach_nested(foreign, bypass));

	/* The device can bypass the caches, and there is no S2FWB */
	fdev->fwspec.flags = 0;
	KUNIT_EXPECT_EQ(test, -EINVAL, fake_attach_nested(fdev, bypass));
	s2->pgtable.cfg.quirks = IO_PGTABLE_QUIRK_ARM_S2FWB;
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, bypass));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
	/* S2FWB suffices, even if a device with both was attached first */
	s2->domain.enforce_cache_coherency = true;
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, bypass));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, s2));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
	/* Coherency is enforced, but the device has neither S2FWB nor CANWBS */
	s2->pgtable.cfg.quirks = 0;
	KUNIT_EXPECT_EQ(test, -EINVAL, fake_attach_nested(fdev, bypass));
	KUNIT_EXPECT_EQ(test, -EINVAL, fake_attach_bare(fdev, s2));
	fdev->fwspec.flags = IOMMU_FWSPEC_PCI_RC_CANWBS;
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, s2));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));

	/* The host uses PASIDs of the device */
	fdev->master.cd_table.used_ssids = 1;
	KUNIT_EXPECT_EQ(test, -EBUSY, fake_attach_nested(fdev, bypass));
	fdev->master.cd_table.used_ssids = 0;

	/* The vDEVICE belongs to another vSMMU */
	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vsmmu_2, fdev, 0));
	KUNIT_EXPECT_EQ(test, -ENOENT, fake_attach_nested(fdev, s1));

	KUNIT_EXPECT_EQ(test, fake_count_devices(s2), 0);
	KUNIT_EXPECT_NULL(test, fdev->master.s2_tag);
	fake_smmu_drain(fake);
	fake_expect_clean(test, fake, s2);
	expect_none(other);
	bypass->ops->free(bypass);
	s1->ops->free(s1);
}

/* enforce_cache_coherency() promises coherent DMA, whatever the device does */
static void arm_smmu_test_enforce_coherency(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct iommu_domain *domain = &s2->domain.domain;
	struct fake_dev *dev_1 = fake_dev_alloc(test, fake, 1);
	struct fake_dev *dev_2 = fake_dev_alloc(test, fake, 2);
	const enum iommu_cap cap = IOMMU_CAP_ENFORCE_CACHE_COHERENCY;

	dev_2->fwspec.flags = 0;
	KUNIT_EXPECT_TRUE(test, arm_smmu_ops.capable(dev_1->dev, cap));
	KUNIT_EXPECT_FALSE(test, arm_smmu_ops.capable(dev_2->dev, cap));

	/* The promise must not be made before all devices can keep it */
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(dev_1, s2));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(dev_2, s2));
	KUNIT_EXPECT_FALSE(test, domain->ops->enforce_cache_coherency(domain));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(dev_2, NULL));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(dev_2, s2));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(dev_2, NULL));

	/* Once made, the promise must be kept for devices that come later */
	KUNIT_EXPECT_TRUE(test, domain->ops->enforce_cache_coherency(domain));
	KUNIT_EXPECT_EQ(test, -EINVAL, fake_attach_bare(dev_2, s2));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(dev_1, NULL));
	KUNIT_EXPECT_EQ(test, -EINVAL, fake_attach_bare(dev_2, s2));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(fake->stes[2].data[0]), STE_ABORT);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(dev_1, s2));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(dev_1, NULL));
	KUNIT_EXPECT_EQ(test, fake_count_devices(s2), 0);
	fake_smmu_drain(fake);
	fake_expect_clean(test, fake, s2);
}

static struct kunit_case attach_test_cases[] = {
	KUNIT_CASE(arm_vsmmu_test_attach),
	KUNIT_CASE(arm_vsmmu_test_same_ste),
	KUNIT_CASE(arm_vsmmu_test_attach_revert),
	KUNIT_CASE(arm_vsmmu_test_attach_group),
	KUNIT_CASE(arm_vsmmu_test_attach_group_ats),
	KUNIT_CASE(arm_vsmmu_test_attach_no_way_back),
	KUNIT_CASE(arm_vsmmu_test_attach_refused),
	KUNIT_CASE(arm_smmu_test_enforce_coherency),
	{},
};

static struct kunit_suite attach_test_suite = {
	.name = "arm-smmu-v3-iommufd-attach",
	.test_cases = attach_test_cases,
};

kunit_test_suite(attach_test_suite);
