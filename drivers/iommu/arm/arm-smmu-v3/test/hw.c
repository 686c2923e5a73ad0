// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of nested translation: hardware requirements, and the module.
 */
#include "fake.h"

static void arm_vsmmu_test_viommu_size(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 1);
	const u32 features = fake->smmu.features;
	const unsigned int type = IOMMU_VIOMMU_TYPE_ARM_SMMUV3;

	KUNIT_EXPECT_EQ(test, sizeof(struct arm_vsmmu),
			arm_smmu_get_viommu_size(fdev->dev, type));
	KUNIT_EXPECT_EQ(test, 0,
			arm_smmu_get_viommu_size(fdev->dev, type + 1));
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_get_viommu_size(fdev->dev, 0));
	fake->smmu.features = features & ~ARM_SMMU_FEAT_NESTING;
	KUNIT_EXPECT_EQ(test, 0,
			arm_smmu_get_viommu_size(fdev->dev, type));
	fake->smmu.features = features;
	fdev->fwspec.flags = IOMMU_FWSPEC_PCI_RC_ATS;
	KUNIT_EXPECT_EQ(test, 0,
			arm_smmu_get_viommu_size(fdev->dev, type));
	fake->smmu.features |= ARM_SMMU_FEAT_S2FWB;
	KUNIT_EXPECT_EQ(test, sizeof(struct arm_vsmmu),
			arm_smmu_get_viommu_size(fdev->dev, type));
}

static void arm_vsmmu_test_init(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct arm_vsmmu vsmmu = { .core.iommu_dev = &fake->smmu.iommu };
	struct iommu_user_data data = {};

	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP,
			arm_vsmmu_init(&vsmmu.core, &s2->domain.domain, &data));
	s2->pgtable.cfg.oas = 48;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			arm_vsmmu_init(&vsmmu.core, &s2->domain.domain, NULL));
	s2->pgtable.cfg.oas = 44;
	/* Without S2FWB a domain works as stage 2, but not for nesting */
	fake->smmu.features |= ARM_SMMU_FEAT_S2FWB;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			arm_vsmmu_init(&vsmmu.core, &s2->domain.domain, NULL));
	s2->pgtable.cfg.quirks = IO_PGTABLE_QUIRK_ARM_S2FWB;
	KUNIT_EXPECT_EQ(test, 0,
			arm_vsmmu_init(&vsmmu.core, &s2->domain.domain, NULL));
	s2->pgtable.cfg.quirks = 0;
	fake->smmu.features &= ~ARM_SMMU_FEAT_S2FWB;
	KUNIT_EXPECT_EQ(test, 0,
			arm_vsmmu_init(&vsmmu.core, &s2->domain.domain, NULL));
	KUNIT_EXPECT_PTR_EQ(test, vsmmu.smmu, &fake->smmu);
	KUNIT_EXPECT_PTR_EQ(test, vsmmu.s2_parent, &s2->domain);
}

static void arm_vsmmu_test_hw_info(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 1);
	struct iommu_hw_info_arm_smmuv3 *info;
	u32 length, type;
	unsigned int i;

	/* IDR0..5, IIDR and AIDR are consecutive */
	for (i = 0; i < 8; i++)
		fake->regs[i] = cpu_to_le32(0x04030201 * (i + 1));
	info = arm_smmu_hw_info(fdev->dev, &length, &type);
	KUNIT_ASSERT_FALSE(test, IS_ERR(info));
	KUNIT_EXPECT_EQ(test, length, 40);
	KUNIT_EXPECT_EQ(test, type, 2);
	KUNIT_EXPECT_EQ(test, info->flags, 0);
	for (i = 0; i < 6; i++)
		KUNIT_EXPECT_EQ(test, info->idr[i], 0x04030201 * (i + 1));
	KUNIT_EXPECT_EQ(test, info->iidr, 0x04030201 * 7);
	KUNIT_EXPECT_EQ(test, info->aidr, 0x04030201 * 8);
	kfree(info);
}

static struct kunit_case hw_test_cases[] = {
	KUNIT_CASE(arm_vsmmu_test_viommu_size),
	KUNIT_CASE(arm_vsmmu_test_init),
	KUNIT_CASE(arm_vsmmu_test_hw_info),
	{},
};

static struct kunit_suite hw_test_suite = {
	.name = "arm-smmu-v3-iommufd-hw",
	.test_cases = hw_test_cases,
};

kunit_test_suite(hw_test_suite);

MODULE_IMPORT_NS(EXPORTED_FOR_KUNIT_TESTING);
MODULE_IMPORT_NS(IOMMUFD_INTERNAL);
MODULE_DESCRIPTION("KUnit tests for nested translation with arm-smmu-v3");
MODULE_LICENSE("GPL");
