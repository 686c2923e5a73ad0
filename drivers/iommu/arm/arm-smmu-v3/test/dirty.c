// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of nested translation: dirty tracking, of a nesting parent and of
 * stage 1
 */
#include "fake.h"

#define DIRTY		IOMMU_HWPT_ALLOC_DIRTY_TRACKING
#define PARENT		IOMMU_HWPT_ALLOC_NEST_PARENT

#define STE_2_S2HD	BIT_ULL(55)
#define STE_2_S2HA	BIT_ULL(56)

static struct io_pgtable_cfg *domain_cfg(struct iommu_domain *domain)
{
	struct io_pgtable_ops *ops = to_smmu_domain(domain)->pgtbl_ops;

	return &io_pgtable_ops_to_pgtable(ops)->cfg;
}

static struct iommu_domain *alloc_domain(struct fake_dev *fdev, u32 flags)
{
	struct iommu_domain *domain;

	domain = arm_smmu_ops.domain_alloc_user(fdev->dev, flags, NULL, NULL);
	if (!IS_ERR(domain))
		domain->owner = &fdev->fake->ops;
	return domain;
}

static void arm_smmu_test_dirty_alloc(struct kunit *test)
{
	static const u32 flags[] = { 0, DIRTY, PARENT, PARENT | DIRTY };
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 1);
	struct arm_smmu_device *smmu = &fake->smmu;
	const u32 features = smmu->features | ARM_SMMU_FEAT_HA |
			     ARM_SMMU_FEAT_HD;
	struct iommu_domain *domain;
	bool dirty, parent;
	unsigned int i;

	/* iommufd asks this before it allocates a domain with dirty tracking */
	KUNIT_EXPECT_FALSE(test, arm_smmu_ops.capable(fdev->dev,
						      IOMMU_CAP_DIRTY_TRACKING));
	smmu->features = features & ~ARM_SMMU_FEAT_COHERENCY;
	KUNIT_EXPECT_FALSE(test, arm_smmu_ops.capable(fdev->dev,
						      IOMMU_CAP_DIRTY_TRACKING));
	smmu->features = features;
	KUNIT_EXPECT_TRUE(test, arm_smmu_ops.capable(fdev->dev,
						     IOMMU_CAP_DIRTY_TRACKING));

	for (i = 0; i < ARRAY_SIZE(flags); i++) {
		dirty = flags[i] & DIRTY;
		parent = flags[i] & PARENT;
		domain = alloc_domain(fdev, flags[i]);
		KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
		KUNIT_EXPECT_EQ(test, to_smmu_domain(domain)->stage,
				parent ? ARM_SMMU_DOMAIN_S2 : ARM_SMMU_DOMAIN_S1);
		KUNIT_EXPECT_EQ(test, !!domain->dirty_ops, dirty);
		KUNIT_EXPECT_EQ(test, domain_cfg(domain)->quirks,
				dirty ? IO_PGTABLE_QUIRK_ARM_HD : 0);
		domain->ops->free(domain);
	}

	/* On an SMMU that has stage 2 only, a domain that is no parent */
	smmu->features &= ~ARM_SMMU_FEAT_TRANS_S1;
	domain = alloc_domain(fdev, DIRTY);
	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
	KUNIT_EXPECT_EQ(test, to_smmu_domain(domain)->stage,
			ARM_SMMU_DOMAIN_S2);
	KUNIT_EXPECT_NOT_NULL(test, domain->dirty_ops);
	domain->ops->free(domain);
}

static void arm_smmu_test_dirty_compatible(struct kunit *test)
{
	struct fake_smmu *fake_a = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_smmu *fake_b = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake_a);
	struct fake_dev *fdev = fake_dev_alloc(test, fake_b, 1);
	struct arm_vsmmu vsmmu = { .core.iommu_dev = &fake_b->smmu.iommu };

	/* An SMMU with HTTU can use any table */
	fake_b->smmu.features |= ARM_SMMU_FEAT_HA | ARM_SMMU_FEAT_HD;
	KUNIT_EXPECT_TRUE(test, arm_smmu_s2_compatible(&s2->domain,
						       &fake_b->smmu));
	s2->pgtable.cfg.quirks = IO_PGTABLE_QUIRK_ARM_HD;
	KUNIT_EXPECT_TRUE(test, arm_smmu_s2_compatible(&s2->domain,
						       &fake_b->smmu));

	/* The Access flag alone is not enough */
	fake_b->smmu.features &= ~ARM_SMMU_FEAT_HD;
	KUNIT_EXPECT_FALSE(test, arm_smmu_s2_compatible(&s2->domain,
							&fake_b->smmu));
	KUNIT_EXPECT_EQ(test, -EINVAL, fake_attach_bare(fdev, s2));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			arm_vsmmu_init(&vsmmu.core, &s2->domain.domain, NULL));
	expect_none(fake_b);
	fake_expect_clean(test, fake_b, s2);
}

/* The STE of a guest gets the bits from the parent, and never from the guest */
static void arm_smmu_test_dirty_ste(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 1);
	struct arm_smmu_nested_domain nested = {};
	struct arm_smmu_ste ste;
	struct arm_vsmmu *vsmmu;
	struct arm_smmu_s2_tag *tag;
	struct fake_s2 *s2;
	__le64 used[8];
	unsigned int i;
	u64 want;

	fake->smmu.features |= ARM_SMMU_FEAT_HA | ARM_SMMU_FEAT_HD;
	s2 = fake_s2_alloc(test, fake);
	vsmmu = fake_vsmmu_alloc(test, fake, s2);
	fake_nested_init(&nested, vsmmu, STE_S1);
	tag = fake_get_tag(fdev, &nested.domain);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, tag);

	for (i = 0; i < 2; i++) {
		want = FAKE_STE_2 | tag->vmid;
		if (i) {
			s2->pgtable.cfg.quirks = IO_PGTABLE_QUIRK_ARM_HD;
			want |= STE_2_S2HD | STE_2_S2HA;
		}
		arm_smmu_make_s2_ste(&ste, &fdev->master, &s2->domain,
				     tag->vmid, false);
		KUNIT_EXPECT_EQ(test, le64_to_cpu(ste.data[2]), want);
		arm_smmu_make_nested_ste(&ste, &fdev->master, &nested, tag,
					 false);
		KUNIT_EXPECT_EQ(test, le64_to_cpu(ste.data[2]), want);

		/* A change of the bits alone must not be taken for none */
		memset(used, 0, sizeof(used));
		arm_smmu_get_ste_used(ste.data, used);
		KUNIT_EXPECT_EQ(test,
				le64_to_cpu(used[2]) & (STE_2_S2HD | STE_2_S2HA),
				STE_2_S2HD | STE_2_S2HA);
	}
	fake_put_tag(tag, true);
	fake_smmu_drain(fake);
	fake_expect_clean(test, fake, s2);
}

#define DIRTY_IOVA	0x40000000ULL

/* Map four pages. The helpers of the fake use no more of a fake_s2 than this */
static struct fake_s2 *map_pages(struct kunit *test, struct iommu_domain *domain,
				 size_t granule)
{
	size_t mapped = 0;

	KUNIT_ASSERT_EQ(test, 0,
			domain->ops->map_pages(domain, DIRTY_IOVA, 0x80000000,
					       granule, 4,
					       IOMMU_READ | IOMMU_WRITE,
					       GFP_KERNEL, &mapped));
	KUNIT_ASSERT_EQ(test, mapped, 4 * granule);
	return container_of(to_smmu_domain(domain), struct fake_s2, domain);
}

static void unmap_pages(struct iommu_domain *domain, size_t granule)
{
	domain->ops->unmap_pages(domain, DIRTY_IOVA, granule, 4, NULL);
}

/* As IOMMU_HWPT_GET_DIRTY_BITMAP */
static void query(struct kunit *test, struct iommu_domain *domain, size_t size)
{
	struct iommu_iotlb_gather gather;
	struct iommu_dirty_bitmap dirty;

	iommu_dirty_bitmap_init(&dirty, NULL, &gather);
	KUNIT_EXPECT_EQ(test, 0,
			domain->dirty_ops->read_and_clear_dirty(domain,
					DIRTY_IOVA, size, 0, &dirty));
	domain->ops->iotlb_sync(domain, &gather);
}

/* TLBIs of four pages. Their level is not known, so these are for any level */
static void expect_tlbi(struct fake_smmu *fake, u64 word_0, size_t granule)
{
	unsigned int i, tg = ilog2(granule);

	if (fake->smmu.features & ARM_SMMU_FEAT_RANGE_INV) {
		/* SCALE 2, NUM 0; TG */
		expect_cmd(fake, word_0 | 2 << 20,
			   DIRTY_IOVA | (tg - 10) / 2 << 10);
	} else {
		for (i = 0; i < 4; i++)
			expect_cmd(fake, word_0, DIRTY_IOVA + i * granule);
	}
	expect_sync(fake);
}

static void arm_smmu_test_dirty_s1(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 1);
	struct iommu_domain *domain;
	size_t granule;
	unsigned int i;

	fake->smmu.features |= ARM_SMMU_FEAT_HA | ARM_SMMU_FEAT_HD;
	for (i = 0; i < 2; i++) {
		domain = alloc_domain(fdev, DIRTY);
		KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
		granule = 1UL << __ffs(domain->pgsize_bitmap);
		map_pages(test, domain, granule);
		query(test, domain, 4 * granule);
		expect_tlbi(fake, OP_TLBI_NH_VA |
			    CMD_ASID(to_smmu_domain(domain)->cd.asid), granule);
		/* Nothing is dirty any more */
		query(test, domain, 4 * granule);
		expect_none(fake);
		unmap_pages(domain, granule);
		domain->ops->free(domain);
		fake_smmu_drain(fake);
		fake->smmu.features |= ARM_SMMU_FEAT_RANGE_INV;
	}
}

/* A guest on B, and the parent itself on A, both with ATS */
static void check_dirty_s2(struct kunit *test, u32 features_a, u32 features_b)
{
	struct fake_smmu *fake_a = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_smmu *fake_b = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_dev *bare = fake_dev_alloc(test, fake_a, 1);
	struct fake_dev *nested = fake_dev_alloc(test, fake_b, 2);
	void __user *user = fake_user_alloc(test, PAGE_SIZE);
	struct iommu_domain *domain, *s1;
	struct arm_vsmmu *vsmmu;
	struct fake_s2 *s2;
	size_t granule;

	fake_a->smmu.features |= ARM_SMMU_FEAT_HA | ARM_SMMU_FEAT_HD | features_a;
	fake_b->smmu.features |= ARM_SMMU_FEAT_HA | ARM_SMMU_FEAT_HD | features_b;
	domain = alloc_domain(bare, PARENT | DIRTY);
	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
	granule = 1UL << __ffs(domain->pgsize_bitmap);
	s2 = map_pages(test, domain, granule);

	/* Without a master there is nothing to invalidate */
	query(test, domain, granule);
	expect_none(fake_a);

	vsmmu = fake_vsmmu_alloc(test, fake_b, s2);
	s1 = fake_nested_alloc(vsmmu, user, STE_S1, STE_1_EATS(1));
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));
	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vsmmu, nested, 0));
	fake_dev_add_ats(bare, NULL);
	fake_dev_add_ats(nested, NULL);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(bare, s2));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(nested, s1));
	fake_smmu_drain(fake_a);
	fake_smmu_drain(fake_b);

	/* All four are dirty: the first from being mapped again */
	unmap_pages(domain, granule);
	map_pages(test, domain, granule);
	query(test, domain, 4 * granule);
	expect_tlbi(fake_a, OP_TLBI_S2_IPA | CMD_VMID(1), granule);
	expect_cmd(fake_a, OP_ATC_INV | CMD_SID(1),
		   DIRTY_IOVA | (ilog2(4 * granule) - 12));
	expect_sync(fake_a);
	expect_none(fake_a);
	expect_tlbi(fake_b, OP_TLBI_S2_IPA | CMD_VMID(1), granule);
	expect_cmd(fake_b, OP_TLBI_NH_ALL | CMD_VMID(1), 0);
	expect_sync(fake_b);
	expect_cmd(fake_b, OP_ATC_INV | CMD_SID(2), 52);
	expect_sync(fake_b);
	expect_none(fake_b);

	query(test, domain, 4 * granule);
	expect_none(fake_a);
	expect_none(fake_b);

	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(bare, NULL));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(nested, NULL));
	unmap_pages(domain, granule);
	fake_smmu_drain(fake_a);
	fake_smmu_drain(fake_b);
	fake_expect_clean(test, fake_a, s2);
	fake_expect_clean(test, fake_b, s2);
	fake_vdev_del(vsmmu, nested);
	s1->ops->free(s1);
	domain->ops->free(domain);
}

static void arm_smmu_test_dirty_s2(struct kunit *test)
{
	if (!IS_ENABLED(CONFIG_PCI_ATS))
		kunit_skip(test, "needs CONFIG_PCI_ATS");

	check_dirty_s2(test, 0, 0);
	check_dirty_s2(test, ARM_SMMU_FEAT_RANGE_INV, 0);
	check_dirty_s2(test, 0, ARM_SMMU_FEAT_RANGE_INV);
}

static struct kunit_case dirty_test_cases[] = {
	KUNIT_CASE(arm_smmu_test_dirty_alloc),
	KUNIT_CASE(arm_smmu_test_dirty_compatible),
	KUNIT_CASE(arm_smmu_test_dirty_ste),
	KUNIT_CASE(arm_smmu_test_dirty_s1),
	KUNIT_CASE(arm_smmu_test_dirty_s2),
	{},
};

static struct kunit_suite dirty_test_suite = {
	.name = "arm-smmu-v3-iommufd-dirty",
	.test_cases = dirty_test_cases,
};

kunit_test_suite(dirty_test_suite);
