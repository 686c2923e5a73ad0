// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of nested translation: parts of the driver that nesting relies on
 * but that also serve other domains.
 */
#include "fake.h"

/* SMMU parts with errata, and their first fixed revision: variant, revision */
static const struct iidr_part {
	const char *name;
	u16 product;
	u16 implementer;
	u8 has_sev;
	u8 can_nest;
	u8 no_force_sync;
} iidr_parts[] = {
	{ "MMU-600", 0x483, 0x43b, 0x03, 0x20, 0x00 },
	{ "MMU-700", 0x487, 0x43b, 0x00, 0x11, 0x11 },
	{ "another part of Arm's", 0x498, 0x43b },
	{ "600, but not of Arm's", 0x483, 0x43c },
	{ "700, but not of Arm's", 0x487, 0x000 },
};

static void iidr_part_to_desc(const struct iidr_part *part, char *desc)
{
	strscpy(desc, part->name, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(iidr_part, iidr_parts, iidr_part_to_desc);

static void arm_smmu_test_iidr(struct kunit *test)
{
	const struct iidr_part *part = test->param_value;
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct arm_smmu_device *smmu = &fake->smmu;
	const u32 options = smmu->options;
	const u32 features = smmu->features | ARM_SMMU_FEAT_SEV;
	u32 want, rev;

	for (rev = 0; rev < 256; rev++) {
		/* IIDR follows IDR5 */
		fake->regs[6] = cpu_to_le32((u32)part->product << 20 |
					    rev << 12 | part->implementer);
		smmu->features = features;
		smmu->options = options;
		arm_smmu_device_iidr_probe(smmu);

		want = features;
		if (rev < part->has_sev)
			want &= ~ARM_SMMU_FEAT_SEV;
		if (rev < part->can_nest)
			want &= ~ARM_SMMU_FEAT_NESTING;
		KUNIT_EXPECT_EQ_MSG(test, smmu->features, want, "r%up%u",
				    rev >> 4, rev & 15);
		want = options;
		if (rev < part->no_force_sync)
			want |= ARM_SMMU_OPT_CMDQ_FORCE_SYNC;
		KUNIT_EXPECT_EQ_MSG(test, smmu->options, want, "r%up%u",
				    rev >> 4, rev & 15);
	}
}

/* Insert the master of a fake device afresh, with these StreamIDs */
static int insert_master(struct kunit *test, struct fake_dev *fdev,
			 unsigned int num, const u32 *ids)
{
	struct iommu_fwspec *fwspec =
		kunit_kzalloc(test, struct_size(fwspec, ids, num), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, fwspec);
	fwspec->num_ids = num;
	memcpy(fwspec->ids, ids, num * sizeof(*ids));
	fdev->iommu.fwspec = fwspec;
	return arm_smmu_insert_master(&fdev->fake->smmu, &fdev->master);
}

static void expect_master(struct kunit *test, struct fake_smmu *fake, u32 sid,
			  struct fake_dev *fdev)
{
	struct arm_smmu_master *master;

	mutex_lock(&fake->smmu.streams_mutex);
	master = arm_smmu_find_master(&fake->smmu, sid);
	mutex_unlock(&fake->smmu.streams_mutex);
	KUNIT_EXPECT_PTR_EQ_MSG(test, master, fdev ? &fdev->master : NULL,
				"StreamID %u", sid);
}

/* A device behind a bridge may list the same StreamID several times */
static void arm_smmu_test_same_sids(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_dev *twice = fake_dev_alloc(test, fake, 0);
	struct fake_dev *more = fake_dev_alloc(test, fake, 0);
	struct fake_dev *once = fake_dev_alloc(test, fake, 0);

	KUNIT_ASSERT_EQ(test, 0, insert_master(test, twice, 2,
					       (u32[]){ 5, 5 }));
	KUNIT_ASSERT_EQ(test, 0, insert_master(test, once, 1, (u32[]){ 6 }));
	KUNIT_ASSERT_EQ(test, 0, insert_master(test, more, 5,
					       (u32[]){ 4, 7, 4, 3, 7 }));
	expect_master(test, fake, 5, twice);
	expect_master(test, fake, 4, more);

	arm_smmu_remove_master(&twice->master);
	expect_master(test, fake, 5, NULL);
	expect_master(test, fake, 6, once);
	expect_master(test, fake, 4, more);
	expect_master(test, fake, 7, more);
	expect_master(test, fake, 3, more);

	/* Fail if an ID belongs to another device or is out of range */
	KUNIT_EXPECT_EQ(test, -EINVAL, insert_master(test, twice, 4,
						     (u32[]){ 5, 5, 8, 6 }));
	KUNIT_EXPECT_EQ(test, -ERANGE,
			insert_master(test, twice, 4,
				      (u32[]){ 5, 8, 5, FAKE_SIDS }));
	expect_master(test, fake, 5, NULL);
	expect_master(test, fake, 8, NULL);
	expect_master(test, fake, 6, once);
	expect_master(test, fake, 4, more);

	arm_smmu_remove_master(&more->master);
	expect_master(test, fake, 4, NULL);
	expect_master(test, fake, 6, once);
	arm_smmu_remove_master(&once->master);
	KUNIT_EXPECT_TRUE(test, RB_EMPTY_ROOT(&fake->smmu.streams));
}

/*
 * Without range invalidation each page takes one command, up to the number of
 * pages that a table maps.
 */
#define FAKE_MAX_OPS		(PAGE_SIZE / 8)

struct fake_tlbis {
	unsigned int s2_ipa;
	unsigned int s12_vmall;
	unsigned int nh_all;
	unsigned int va;
	unsigned int asid;
};

static void count_tlbis(struct kunit *test, struct fake_smmu *fake,
			struct fake_tlbis *num)
{
	u64 cmd[2];

	memset(num, 0, sizeof(*num));
	while (fake_smmu_next(fake, cmd)) {
		switch (cmd[0] & 0xff) {
		case OP_TLBI_S2_IPA:
			num->s2_ipa++;
			break;
		case OP_TLBI_S12_VMALL:
			num->s12_vmall++;
			KUNIT_EXPECT_EQ(test, cmd[1], 0);
			break;
		case OP_TLBI_NH_ALL:
			num->nh_all++;
			break;
		case OP_TLBI_NH_VA:
		case OP_TLBI_EL2_VA:
			num->va++;
			break;
		case OP_TLBI_NH_ASID:
		case OP_TLBI_EL2_ASID:
			num->asid++;
			KUNIT_EXPECT_EQ(test, cmd[1], 0);
			break;
		case OP_SYNC:
			break;
		default:
			KUNIT_FAIL(test, "%016llx %016llx", cmd[0], cmd[1]);
		}
	}
}

static void arm_smmu_test_inv_bound_s2(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, PAGE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct arm_vsmmu *vsmmu = fake_vsmmu_alloc(test, fake, s2);
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 1);
	struct arm_smmu_nested_domain nested = {};
	static const size_t granules[] = { SZ_4K, SZ_2M };
	struct arm_smmu_s2_tag *tag;
	struct fake_tlbis num;
	unsigned int i, guest;
	size_t granule;

	fake_nested_init(&nested, vsmmu, STE_BYPASS);
	for (guest = 0; guest < 2; guest++) {
		tag = fake_get_tag(fdev, guest ? &nested.domain :
						 &s2->domain.domain);
		for (i = 0; i < ARRAY_SIZE(granules); i++) {
			granule = granules[i];
			arm_smmu_s2_inv_range(0, (FAKE_MAX_OPS - 1) * granule,
					      granule, true, &s2->domain);
			count_tlbis(test, fake, &num);
			KUNIT_EXPECT_EQ(test, num.s2_ipa, FAKE_MAX_OPS - 1);
			KUNIT_EXPECT_EQ(test, num.s12_vmall, 0);
			KUNIT_EXPECT_EQ(test, num.nh_all, guest);

			arm_smmu_s2_inv_range(0, FAKE_MAX_OPS * granule,
					      granule, true, &s2->domain);
			count_tlbis(test, fake, &num);
			KUNIT_EXPECT_EQ(test, num.s2_ipa, 0);
			KUNIT_EXPECT_EQ(test, num.s12_vmall, 1);
		}
		/* The range that a level-1 table mapped */
		arm_smmu_s2_inv_range(0, SZ_512M, SZ_4K, false, &s2->domain);
		count_tlbis(test, fake, &num);
		KUNIT_EXPECT_EQ(test, num.s2_ipa, 0);
		KUNIT_EXPECT_EQ(test, num.s12_vmall, 1);

		/* Range invalidation needs only a few commands */
		fake->smmu.features |= ARM_SMMU_FEAT_RANGE_INV;
		arm_smmu_s2_inv_range(0, SZ_512M, SZ_4K, false, &s2->domain);
		count_tlbis(test, fake, &num);
		KUNIT_EXPECT_EQ(test, num.s2_ipa, 1);
		KUNIT_EXPECT_EQ(test, num.s12_vmall, 0);
		fake->smmu.features &= ~ARM_SMMU_FEAT_RANGE_INV;

		fake_put_tag(tag, guest);
		fake_smmu_drain(fake);
	}
	fake_expect_clean(test, fake, s2);
}

static struct io_pgtable_cfg *domain_cfg(struct iommu_domain *domain)
{
	struct io_pgtable_ops *ops = to_smmu_domain(domain)->pgtbl_ops;

	return &io_pgtable_ops_to_pgtable(ops)->cfg;
}

static void arm_smmu_test_inv_bound_s1(struct kunit *test)
{
	static const u32 features[] = { 0, ARM_SMMU_FEAT_E2H };
	struct fake_smmu *fake = fake_smmu_alloc(test, PAGE_SHIFT);
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 1);
	const struct iommu_flush_ops *tlb;
	struct iommu_domain *domain;
	struct fake_tlbis num;
	size_t granule;
	unsigned int i;
	u64 cmd[2];

	domain = arm_smmu_ops.domain_alloc_paging(&fdev->pci.dev);
	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
	tlb = domain_cfg(domain)->tlb;
	granule = 1UL << __ffs(domain->pgsize_bitmap);

	for (i = 0; i < ARRAY_SIZE(features); i++) {
		fake->smmu.features &= ~ARM_SMMU_FEAT_E2H;
		fake->smmu.features |= features[i];
		tlb->tlb_flush_walk(0, (FAKE_MAX_OPS - 1) * granule, granule,
				    to_smmu_domain(domain));
		count_tlbis(test, fake, &num);
		KUNIT_EXPECT_EQ(test, num.va, FAKE_MAX_OPS - 1);
		KUNIT_EXPECT_EQ(test, num.asid, 0);

		tlb->tlb_flush_walk(0, FAKE_MAX_OPS * granule, granule,
				    to_smmu_domain(domain));
		KUNIT_ASSERT_TRUE(test, fake_smmu_next(fake, cmd));
		KUNIT_EXPECT_EQ(test, cmd[0],
				(i ? OP_TLBI_EL2_ASID : OP_TLBI_NH_ASID) |
				CMD_ASID(to_smmu_domain(domain)->cd.asid));
		KUNIT_EXPECT_EQ(test, cmd[1], 0);
		expect_sync(fake);
		expect_none(fake);
	}
	arm_smmu_ops.default_domain_ops->free(domain);
}

/*
 * With a queue for each CPU, as on a Tegra241, a thread may move to another
 * queue while it fills a batch. The CMD_SYNC must still be in the queue of all
 * commands before it. The thread moves each time that it looks for a queue.
 */
static struct arm_smmu_cmdq *
fake_moving_cmdq(struct arm_smmu_device *smmu, struct arm_smmu_cmdq_ent *ent)
{
	struct fake_smmu *fake = container_of(smmu, struct fake_smmu, smmu);
	struct fake_smmu **queues = fake->test->priv;

	swap(queues[0], queues[1]);
	return &queues[0]->smmu.cmdq;
}

static void arm_smmu_test_batch_one_queue(struct kunit *test)
{
	static const struct arm_smmu_impl_ops impl_ops = {
		.get_secondary_cmdq = fake_moving_cmdq,
	};
	/* More than two full batches */
	const unsigned int num = 150;
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_smmu *other = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_smmu *queues[] = { fake, other };
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 1);
	const struct iommu_flush_ops *tlb;
	struct iommu_domain *domain;
	unsigned int i;
	size_t granule;
	u64 cmd[2];

	domain = arm_smmu_ops.domain_alloc_paging(&fdev->pci.dev);
	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
	tlb = domain_cfg(domain)->tlb;
	granule = 1UL << __ffs(domain->pgsize_bitmap);
	test->priv = queues;
	fake->smmu.impl_ops = &impl_ops;

	tlb->tlb_flush_walk(0, num * granule, granule, to_smmu_domain(domain));
	for (i = 0; i < num && fake_smmu_next(other, cmd); i++)
		KUNIT_EXPECT_EQ(test, cmd[0] & 0xff, OP_TLBI_NH_VA);
	KUNIT_EXPECT_EQ(test, i, num);
	expect_sync(other);
	expect_none(other);
	expect_none(fake);
	fake->smmu.impl_ops = NULL;
	arm_smmu_ops.default_domain_ops->free(domain);
}

/* The same for the VMIDs of a stage 2, which get a single CMD_SYNC */
static void arm_smmu_test_vmids_one_queue(struct kunit *test)
{
	static const struct arm_smmu_impl_ops impl_ops = {
		.get_secondary_cmdq = fake_moving_cmdq,
	};
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_smmu *other = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_smmu *queues[] = { fake, other };
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 1);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct arm_smmu_nested_domain nested[3] = {};
	struct arm_smmu_s2_tag *tags[ARRAY_SIZE(nested)];
	unsigned int i, num, total = 0;
	u64 cmd[2];

	for (i = 0; i < ARRAY_SIZE(nested); i++) {
		fake_nested_init(&nested[i], fake_vsmmu_alloc(test, fake, s2),
				 STE_S1);
		tags[i] = fake_get_tag(fdev, &nested[i].domain);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, tags[i]);
	}
	test->priv = queues;
	fake->smmu.impl_ops = &impl_ops;

	arm_smmu_s2_inv_all(&s2->domain);
	for (i = 0; i < ARRAY_SIZE(queues); i++) {
		for (num = 0; fake_smmu_next(queues[i], cmd); num++)
			total += (cmd[0] & 0xff) == OP_TLBI_S12_VMALL;
		if (num)
			KUNIT_EXPECT_EQ(test, cmd[0] & 0xff, OP_SYNC);
	}
	KUNIT_EXPECT_EQ(test, total, ARRAY_SIZE(nested));

	fake->smmu.impl_ops = NULL;
	for (i = 0; i < ARRAY_SIZE(nested); i++)
		fake_put_tag(tags[i], true);
	fake_smmu_drain(fake);
	fake_expect_clean(test, fake, s2);
}

/* AArch32 tables limit the IAS to 40 bits, but must not limit AArch64 tables */
static void arm_smmu_test_s2_input(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 1);
	static const unsigned int oas[] = { 32, 36, 40, 44, 48 };
	struct iommu_domain *domain;
	struct arm_smmu_ste ste;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(oas); i++) {
		fake->smmu.oas = oas[i];
		fake->smmu.ias = max(40, oas[i]);
		domain = arm_smmu_ops.domain_alloc_user(&fdev->pci.dev,
					IOMMU_HWPT_ALLOC_NEST_PARENT, NULL,
					NULL);
		KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
		KUNIT_EXPECT_EQ(test, domain_cfg(domain)->ias, oas[i]);
		KUNIT_EXPECT_EQ(test, domain->geometry.aperture_end,
				(1ULL << oas[i]) - 1);
		/* S2T0SZ */
		arm_smmu_make_s2_domain_ste(&ste, &fdev->master,
					    to_smmu_domain(domain), false);
		KUNIT_EXPECT_EQ(test, le64_to_cpu(ste.data[2]) >> 32 & 0x3f,
				64 - oas[i]);
		domain->ops->free(domain);
	}
}

static struct kunit_case base_test_cases[] = {
	KUNIT_CASE_PARAM(arm_smmu_test_iidr, iidr_part_gen_params),
	KUNIT_CASE(arm_smmu_test_same_sids),
	KUNIT_CASE(arm_smmu_test_inv_bound_s2),
	KUNIT_CASE(arm_smmu_test_inv_bound_s1),
	KUNIT_CASE(arm_smmu_test_batch_one_queue),
	KUNIT_CASE(arm_smmu_test_vmids_one_queue),
	KUNIT_CASE(arm_smmu_test_s2_input),
	{},
};

static struct kunit_suite base_test_suite = {
	.name = "arm-smmu-v3-iommufd-base",
	.test_cases = base_test_cases,
};

kunit_test_suite(base_test_suite);
