// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of nested translation: stage-2 tags, that is VMIDs, and the
 * invalidations of an unmap.
 */
#include <linux/delay.h>
#include <linux/kthread.h>

#include "fake.h"

/* A vSMMU and the bare stage 2 share a VMID */
static void arm_smmu_s2_test_share(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct arm_vsmmu *vsmmu = fake_vsmmu_alloc(test, fake, s2);
	struct fake_dev *dev_1 = fake_dev_alloc(test, fake, 1);
	struct fake_dev *dev_2 = fake_dev_alloc(test, fake, 2);
	struct arm_smmu_nested_domain nested = {}, bypass = {};
	struct arm_smmu_s2_tag *bare, *tag;

	fake_nested_init(&nested, vsmmu, STE_S1);
	fake_nested_init(&bypass, vsmmu, STE_BYPASS);

	bare = fake_get_tag(dev_1, &s2->domain.domain);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, bare);
	KUNIT_EXPECT_NE(test, bare->vmid, 0);
	KUNIT_EXPECT_FALSE(test, bare->guest);
	tag = fake_get_tag(dev_2, &s2->domain.domain);
	KUNIT_EXPECT_PTR_EQ(test, tag, bare);
	fake_put_tag(tag, false);
	expect_none(fake);

	tag = fake_get_tag(dev_2, &nested.domain);
	KUNIT_EXPECT_PTR_EQ(test, tag, bare);
	KUNIT_EXPECT_TRUE(test, bare->guest);
	KUNIT_EXPECT_PTR_EQ(test, tag, rcu_access_pointer(vsmmu->s2_owner.tag));
	tag = fake_get_tag(dev_1, &bypass.domain);
	KUNIT_EXPECT_PTR_EQ(test, tag, bare);
	expect_none(fake);

	/* The first of two users of stage 1 leaves, then the last */
	fake_put_tag(bare, true);
	expect_none(fake);
	KUNIT_EXPECT_TRUE(test, bare->guest);
	fake_put_tag(bare, true);
	KUNIT_EXPECT_FALSE(test, bare->guest);
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(vsmmu->s2_owner.tag));
	expect_cmd(fake, OP_TLBI_NH_ALL | CMD_VMID(bare->vmid), 0);
	expect_sync(fake);
	expect_none(fake);

	fake_put_tag(bare, false);
	expect_cmd(fake, OP_TLBI_S12_VMALL | CMD_VMID(1), 0);
	expect_sync(fake);
	fake_expect_clean(test, fake, s2);

	/* Nested first: a bare user joins and leaves, then the nested one */
	tag = fake_get_tag(dev_1, &nested.domain);
	bare = fake_get_tag(dev_2, &s2->domain.domain);
	KUNIT_EXPECT_PTR_EQ(test, tag, bare);
	fake_put_tag(bare, false);
	expect_none(fake);
	fake_put_tag(tag, true);
	expect_cmd(fake, OP_TLBI_S12_VMALL | CMD_VMID(1), 0);
	expect_sync(fake);
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(vsmmu->s2_owner.tag));
	fake_expect_clean(test, fake, s2);
}

/* Two VMs, or two vSMMUs of a VM: the guests' ASIDs must not collide */
static void arm_smmu_s2_test_two_vsmmus(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct fake_s2 *other_s2 = fake_s2_alloc(test, fake);
	struct arm_vsmmu *vsmmu_a = fake_vsmmu_alloc(test, fake, s2);
	struct arm_vsmmu *vsmmu_b = fake_vsmmu_alloc(test, fake, s2);
	struct fake_dev *dev_1 = fake_dev_alloc(test, fake, 1);
	struct fake_dev *dev_2 = fake_dev_alloc(test, fake, 2);
	struct fake_dev *dev_3 = fake_dev_alloc(test, fake, 3);
	struct arm_smmu_nested_domain nested_a = {}, nested_b = {};
	struct arm_smmu_s2_tag *bare, *tag_a, *tag_b, *other, *tag;

	fake_nested_init(&nested_a, vsmmu_a, STE_S1);
	fake_nested_init(&nested_b, vsmmu_b, STE_BYPASS);
	bare = fake_get_tag(dev_3, &s2->domain.domain);
	tag_a = fake_get_tag(dev_1, &nested_a.domain);
	tag_b = fake_get_tag(dev_2, &nested_b.domain);
	other = fake_get_tag(dev_3, &other_s2->domain.domain);
	KUNIT_EXPECT_PTR_EQ(test, bare, tag_a);
	KUNIT_EXPECT_PTR_NE(test, tag_a, tag_b);
	KUNIT_EXPECT_NE(test, tag_a->vmid, tag_b->vmid);
	KUNIT_EXPECT_NE(test, other->vmid, tag_a->vmid);
	KUNIT_EXPECT_NE(test, other->vmid, tag_b->vmid);
	KUNIT_EXPECT_PTR_EQ(test, tag_a, fake_get_tag(dev_2, &nested_a.domain));
	fake_put_tag(tag_a, true);

	/* A master that moves to the bare stage 2 keeps its VMID */
	dev_2->master.s2_tag = tag_b;
	KUNIT_EXPECT_PTR_EQ(test, tag_b,
			    fake_get_tag(dev_2, &s2->domain.domain));
	fake_put_tag(tag_b, false);
	dev_2->master.s2_tag = tag_a;
	KUNIT_EXPECT_PTR_EQ(test, tag_a,
			    fake_get_tag(dev_2, &s2->domain.domain));
	fake_put_tag(tag_a, false);
	/* It must not keep a VMID of another stage 2 */
	dev_2->master.s2_tag = other;
	tag_b = fake_get_tag(dev_2, &s2->domain.domain);
	KUNIT_EXPECT_PTR_NE(test, tag_b, other);
	fake_put_tag(tag_b, false);
	dev_2->master.s2_tag = NULL;
	tag_b = rcu_access_pointer(vsmmu_b->s2_owner.tag);
	expect_none(fake);

	/* All masters of A have one VMID: the guest's TLBIs have no other */
	dev_2->master.s2_tag = tag_b;
	KUNIT_EXPECT_PTR_EQ(test, tag_b,
			    fake_get_tag(dev_2, &s2->domain.domain));
	fake_put_tag(tag_b, true);
	expect_cmd(fake, OP_TLBI_NH_ALL | CMD_VMID(2), 0);
	expect_sync(fake);
	tag = fake_get_tag(dev_2, &nested_a.domain);
	KUNIT_EXPECT_PTR_EQ(test, tag, tag_a);
	fake_put_tag(tag, true);
	KUNIT_EXPECT_PTR_EQ(test, tag_b,
			    fake_get_tag(dev_2, &nested_b.domain));
	fake_put_tag(tag_b, false);
	dev_2->master.s2_tag = NULL;
	expect_none(fake);

	/* B must not get the VMID of A before stage 1 is invalidated */
	fake_put_tag(tag_b, true);
	expect_cmd(fake, OP_TLBI_S12_VMALL | CMD_VMID(2), 0);
	expect_sync(fake);
	fake_put_tag(tag_a, true);
	expect_cmd(fake, OP_TLBI_NH_ALL | CMD_VMID(bare->vmid), 0);
	expect_sync(fake);
	tag_b = fake_get_tag(dev_2, &nested_b.domain);
	KUNIT_EXPECT_PTR_EQ(test, tag_b, bare);
	fake_put_tag(bare, false);
	fake_put_tag(tag_b, true);
	expect_cmd(fake, OP_TLBI_S12_VMALL | CMD_VMID(1), 0);
	expect_sync(fake);
	fake_put_tag(other, false);
	expect_cmd(fake, OP_TLBI_S12_VMALL | CMD_VMID(3), 0);
	expect_sync(fake);
	fake_expect_clean(test, fake, s2);
}

static void arm_smmu_s2_test_no_vmid(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct arm_vsmmu *vsmmu_a = fake_vsmmu_alloc(test, fake, s2);
	struct arm_vsmmu *vsmmu_b = fake_vsmmu_alloc(test, fake, s2);
	struct fake_dev *dev_1 = fake_dev_alloc(test, fake, 1);
	struct fake_dev *dev_2 = fake_dev_alloc(test, fake, 2);
	struct arm_smmu_nested_domain nested_a = {};
	struct iommu_domain *domain;
	struct arm_smmu_s2_tag *tag;
	void __user *user = fake_user_alloc(test, PAGE_SIZE);
	unsigned int i;

	/* VMIDs of 2 bits: 1..3. The first is taken here, the others below. */
	fake->smmu.vmid_bits = 2;
	fake_nested_init(&nested_a, vsmmu_a, STE_S1);
	tag = fake_get_tag(dev_1, &nested_a.domain);
	for (i = 2; i <= 3; i++)
		KUNIT_ASSERT_EQ(test, i,
				ida_alloc_range(&fake->smmu.vmid_map, i, i,
						GFP_KERNEL));

	domain = fake_nested_alloc(vsmmu_b, user, STE_BYPASS, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
	KUNIT_EXPECT_EQ(test, -ENOSPC,
			PTR_ERR_OR_ZERO(fake_get_tag(dev_2, domain)));
	KUNIT_EXPECT_EQ(test, -ENOSPC, fake_attach_nested(dev_2, domain));
	KUNIT_EXPECT_NULL(test, dev_2->master.s2_tag);
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(vsmmu_b->s2_owner.tag));
	KUNIT_EXPECT_TRUE(test, list_empty(&s2->domain.devices));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(fake->stes[2].data[0]), STE_ABORT);
	expect_none(fake);

	/* VMID 0 is never allocated */
	KUNIT_EXPECT_EQ(test, 0, ida_alloc_max(&fake->smmu.vmid_map, 0,
					       GFP_KERNEL));
	ida_free(&fake->smmu.vmid_map, 0);
	ida_free(&fake->smmu.vmid_map, 3);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(dev_2, domain));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(fake->stes[2].data[2]),
			FAKE_STE_2 | 3);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(dev_2, NULL));
	domain->ops->free(domain);
	ida_free(&fake->smmu.vmid_map, 2);
	fake_put_tag(tag, true);
	fake_smmu_drain(fake);
	fake_expect_clean(test, fake, s2);
}

/*
 * A VMID must not be reused before its invalidation has completed. Hold CONS,
 * and check while the driver waits for its CMD_SYNC.
 */
static int put_tag_thread(struct fake_thread *thread)
{
	fake_put_tag(thread->arg, false);
	return 0;
}

static bool check_vmid_clean(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 1);
	struct arm_smmu_s2_tag *tag = fake_get_tag(fdev, &s2->domain.domain);
	struct fake_thread thread = { .arg = tag };
	bool found, in_time;
	int vmid = tag->vmid;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");

	fake_thread_init(test, &thread, put_tag_thread, true);
	fake_smmu_hold(fake);
	fake_thread_go(&thread);
	KUNIT_EXPECT_TRUE(test, fake_smmu_wait_cmd(fake));
	KUNIT_EXPECT_EQ(test, -ENOSPC,
			ida_alloc_range(&fake->smmu.vmid_map, vmid, vmid,
					GFP_KERNEL));
	/* Until then an unmap must find the tag */
	found = !list_empty(&s2->domain.s2_tags);
	/* The SMMU completes the invalidation */
	in_time = fake_smmu_go_on(fake);
	fake_thread_join(&thread);

	expect_cmd(fake, OP_TLBI_S12_VMALL | CMD_VMID(vmid), 0);
	expect_sync(fake);
	if (in_time) {
		KUNIT_EXPECT_TRUE(test, found);
	} else {
		/* Ask the SMMU again about the VMID */
		tag = fake_get_tag(fdev, &s2->domain.domain);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, tag);
		fake_put_tag(tag, false);
		fake_smmu_drain(fake);
	}
	fake_expect_clean(test, fake, s2);
	return in_time;
}

static void arm_smmu_s2_test_vmid_clean(struct kunit *test)
{
	fake_until_in_time(test, check_vmid_clean);
}

/*
 * An SMMU does not complete its commands in time: nobody may use a VMID for
 * which it may still have cached translations. Each timeout takes a second.
 */
static void arm_smmu_s2_test_timeout(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct arm_vsmmu *vsmmu_a = fake_vsmmu_alloc(test, fake, s2);
	struct arm_vsmmu *vsmmu_b = fake_vsmmu_alloc(test, fake, s2);
	struct fake_dev *dev_1 = fake_dev_alloc(test, fake, 1);
	struct fake_dev *dev_2 = fake_dev_alloc(test, fake, 2);
	struct arm_smmu_nested_domain nested_a = {}, nested_b = {};
	struct arm_smmu_s2_tag *bare, *tag_a, *tag_b;

	fake_nested_init(&nested_a, vsmmu_a, STE_S1);
	fake_nested_init(&nested_b, vsmmu_b, STE_S1);
	bare = fake_get_tag(dev_1, &s2->domain.domain);
	tag_a = fake_get_tag(dev_2, &nested_a.domain);
	KUNIT_ASSERT_PTR_EQ(test, tag_a, bare);
	KUNIT_ASSERT_EQ(test, bare->vmid, 1);

	/* The TLB may still hold stage 1 of A: B must not use this VMID */
	fake_smmu_hold(fake);
	fake_put_tag(tag_a, true);
	fake_smmu_go_on(fake);
	expect_cmd(fake, OP_TLBI_NH_ALL | CMD_VMID(1), 0);
	expect_sync(fake);
	KUNIT_EXPECT_NULL(test, rcu_access_pointer(vsmmu_a->s2_owner.tag));
	tag_b = fake_get_tag(dev_2, &nested_b.domain);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, tag_b);
	KUNIT_EXPECT_EQ(test, tag_b->vmid, 2);
	/* The same goes for A itself: its next guest may be a different guest */
	tag_a = fake_get_tag(dev_2, &nested_a.domain);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, tag_a);
	KUNIT_EXPECT_EQ(test, tag_a->vmid, 3);
	fake_put_tag(tag_a, true);
	expect_cmd(fake, OP_TLBI_S12_VMALL | CMD_VMID(3), 0);
	expect_sync(fake);
	/* An unmap must reach the tag, wherever it is in the list */
	arm_smmu_s2_inv_range(0x40000000, SZ_4K, SZ_4K, true, &s2->domain);
	KUNIT_EXPECT_TRUE(test, bare->guest);

	/* The last users leave, but the VMIDs are not free */
	fake_smmu_hold(fake);
	fake_put_tag(bare, false);
	fake_put_tag(tag_b, true);
	KUNIT_EXPECT_TRUE(test, list_empty(&s2->domain.s2_tags));
	KUNIT_EXPECT_EQ(test, -ENOSPC,
			ida_alloc_range(&fake->smmu.vmid_map, 1, 2, GFP_KERNEL));
	/* The SMMU is asked again when a VMID is needed, but only once */
	bare = fake_get_tag(dev_1, &s2->domain.domain);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, bare);
	KUNIT_EXPECT_EQ(test, bare->vmid, 3);
	fake_smmu_go_on(fake);
	fake_smmu_drain(fake);

	/* The SMMU responds again */
	tag_b = fake_get_tag(dev_2, &nested_b.domain);
	KUNIT_EXPECT_PTR_EQ(test, tag_b, bare);
	expect_none(fake);
	tag_a = fake_get_tag(dev_1, &nested_a.domain);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, tag_a);
	expect_cmd(fake, OP_TLBI_S12_VMALL | CMD_VMID(2), 0);
	expect_sync(fake);
	expect_cmd(fake, OP_TLBI_S12_VMALL | CMD_VMID(1), 0);
	expect_sync(fake);
	expect_none(fake);
	KUNIT_EXPECT_EQ(test, tag_a->vmid, 1);
	KUNIT_EXPECT_TRUE(test, list_empty(&fake->smmu.vmids_stale));
	fake_put_tag(tag_a, true);
	fake_put_tag(tag_b, true);
	fake_put_tag(bare, false);
	fake_smmu_drain(fake);
	fake_expect_clean(test, fake, s2);
}

/* TLBI_S2_IPA of four 4K pages at 0x40000000, by range if supported */
static void expect_s2_ipa(struct fake_smmu *fake, u16 vmid)
{
	unsigned int i;

	if (fake->smmu.features & ARM_SMMU_FEAT_RANGE_INV)
		/* SCALE 2, NUM 0; TG 4K, TTL 3, leaf */
		expect_cmd(fake, OP_TLBI_S2_IPA | CMD_VMID(vmid) | 2 << 20,
			   0x40000000 | 1 << 10 | 3 << 8 | 1);
	else
		for (i = 0; i < 4; i++)
			expect_cmd(fake, OP_TLBI_S2_IPA | CMD_VMID(vmid),
				   (0x40000000 + i * SZ_4K) | 1);
	expect_sync(fake);
}

static void check_unmap(struct kunit *test, u32 features_a, u32 features_b)
{
	struct fake_smmu *fake_a = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_smmu *fake_b = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake_a);
	struct arm_vsmmu *vsmmu_a = fake_vsmmu_alloc(test, fake_a, s2);
	struct arm_vsmmu *vsmmu_b = fake_vsmmu_alloc(test, fake_b, s2);
	struct fake_dev *dev_a = fake_dev_alloc(test, fake_a, 1);
	struct fake_dev *dev_b = fake_dev_alloc(test, fake_b, 1);
	struct arm_smmu_nested_domain nested_a = {}, nested_b = {};
	struct arm_smmu_s2_tag *tag_a, *tag_b, *tag_n;

	fake_a->smmu.features |= features_a;
	fake_b->smmu.features |= features_b;
	fake_nested_init(&nested_a, vsmmu_a, STE_S1);
	fake_nested_init(&nested_b, vsmmu_b, STE_S1);

	/* No master is attached */
	arm_smmu_s2_inv_range(0x40000000, SZ_16K, SZ_4K, true, &s2->domain);
	arm_smmu_s2_inv_all(&s2->domain);
	expect_none(fake_a);
	expect_none(fake_b);

	/* Bare users on both SMMUs, with different VMIDs */
	KUNIT_ASSERT_EQ(test, 1,
			ida_alloc_range(&fake_b->smmu.vmid_map, 1, 1,
					GFP_KERNEL));
	tag_a = fake_get_tag(dev_a, &s2->domain.domain);
	tag_b = fake_get_tag(dev_b, &s2->domain.domain);
	KUNIT_EXPECT_EQ(test, tag_a->vmid, 1);
	KUNIT_EXPECT_EQ(test, tag_b->vmid, 2);
	arm_smmu_s2_inv_range(0x40000000, SZ_16K, SZ_4K, true, &s2->domain);
	expect_s2_ipa(fake_a, 1);
	expect_s2_ipa(fake_b, 2);
	expect_none(fake_a);
	expect_none(fake_b);

	/* With a guest on B, its stage 1 is invalidated after stage 2 */
	tag_n = fake_get_tag(dev_b, &nested_b.domain);
	arm_smmu_s2_inv_range(0x40000000, SZ_16K, SZ_4K, true, &s2->domain);
	expect_s2_ipa(fake_a, 1);
	expect_none(fake_a);
	expect_s2_ipa(fake_b, 2);
	expect_cmd(fake_b, OP_TLBI_NH_ALL | CMD_VMID(2), 0);
	expect_sync(fake_b);
	expect_none(fake_b);
	arm_smmu_s2_inv_all(&s2->domain);
	expect_cmd(fake_a, OP_TLBI_S12_VMALL | CMD_VMID(1), 0);
	expect_sync(fake_a);
	expect_cmd(fake_b, OP_TLBI_S12_VMALL | CMD_VMID(2), 0);
	expect_sync(fake_b);
	expect_none(fake_a);
	expect_none(fake_b);

	/* The guest on B is gone, but A has a guest */
	fake_put_tag(tag_n, true);
	expect_cmd(fake_b, OP_TLBI_NH_ALL | CMD_VMID(2), 0);
	expect_sync(fake_b);
	tag_n = fake_get_tag(dev_a, &nested_a.domain);
	arm_smmu_s2_inv_range(0x40000000, SZ_16K, SZ_4K, true, &s2->domain);
	expect_s2_ipa(fake_a, 1);
	expect_cmd(fake_a, OP_TLBI_NH_ALL | CMD_VMID(1), 0);
	expect_sync(fake_a);
	expect_none(fake_a);
	expect_s2_ipa(fake_b, 2);
	expect_none(fake_b);

	/* A has no users any more */
	fake_put_tag(tag_n, true);
	fake_put_tag(tag_a, false);
	fake_smmu_drain(fake_a);
	arm_smmu_s2_inv_range(0x40000000, SZ_16K, SZ_4K, true, &s2->domain);
	expect_none(fake_a);
	expect_s2_ipa(fake_b, 2);
	fake_put_tag(tag_b, false);
	ida_free(&fake_b->smmu.vmid_map, 1);
	fake_smmu_drain(fake_b);
	fake_expect_clean(test, fake_a, s2);
	fake_expect_clean(test, fake_b, s2);
}

static void arm_smmu_s2_test_unmap(struct kunit *test)
{
	check_unmap(test, 0, 0);
	check_unmap(test, ARM_SMMU_FEAT_RANGE_INV, ARM_SMMU_FEAT_RANGE_INV);
	/* Features of one SMMU must not show in commands for the other */
	check_unmap(test, ARM_SMMU_FEAT_RANGE_INV, 0);
	check_unmap(test, 0, ARM_SMMU_FEAT_RANGE_INV);
}

/*
 * All SMMUs work at the same time: with two tags on A and one on B, both SMMUs
 * must have their TLBI_S2_IPAs before either has completed any. Stage 1 follows
 * after all of them, also for a guest that is attached in between.
 */
static int s2_inv_range_thread(struct fake_thread *thread)
{
	arm_smmu_s2_inv_range(0x40000000, SZ_4K, SZ_4K, true, thread->arg);
	return 0;
}

static bool check_unmap_rounds(struct kunit *test)
{
	struct fake_smmu *fake_a = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_smmu *fake_b = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake_a);
	struct arm_vsmmu *vsmmu_1 = fake_vsmmu_alloc(test, fake_a, s2);
	struct arm_vsmmu *vsmmu_2 = fake_vsmmu_alloc(test, fake_a, s2);
	struct arm_vsmmu *vsmmu_b = fake_vsmmu_alloc(test, fake_b, s2);
	struct fake_dev *dev_a = fake_dev_alloc(test, fake_a, 1);
	struct fake_dev *dev_b = fake_dev_alloc(test, fake_b, 1);
	struct arm_smmu_nested_domain nested_1 = {}, nested_2 = {}, nested_b = {};
	struct arm_smmu_s2_tag *tag_1, *tag_2, *bare_b, *tag_b;
	struct fake_thread thread = { .arg = &s2->domain };
	unsigned int i, ipas = 0, alls = 0, syncs = 0;
	bool in_time;
	u64 cmd[2];

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");

	fake_nested_init(&nested_1, vsmmu_1, STE_S1);
	fake_nested_init(&nested_2, vsmmu_2, STE_S1);
	fake_nested_init(&nested_b, vsmmu_b, STE_S1);
	tag_1 = fake_get_tag(dev_a, &nested_1.domain);
	bare_b = fake_get_tag(dev_b, &s2->domain.domain);
	tag_2 = fake_get_tag(dev_a, &nested_2.domain);
	KUNIT_EXPECT_EQ(test, tag_1->vmid, 1);
	KUNIT_EXPECT_EQ(test, tag_2->vmid, 2);

	fake_thread_init(test, &thread, s2_inv_range_thread, true);
	fake_smmu_hold(fake_a);
	fake_smmu_hold(fake_b);
	fake_thread_go(&thread);
	KUNIT_EXPECT_TRUE(test, fake_smmu_wait_cmd(fake_a));
	KUNIT_EXPECT_TRUE(test, fake_smmu_wait_cmd(fake_b));
	tag_b = fake_get_tag(dev_b, &nested_b.domain);
	KUNIT_EXPECT_PTR_EQ(test, tag_b, bare_b);
	fake_smmu_go_on(fake_a);
	in_time = fake_smmu_go_on(fake_b);
	fake_thread_join(&thread);
	if (!in_time)
		goto out;

	/* A single CMD_SYNC for each kind, regardless of the number of VMIDs */
	while (fake_smmu_next(fake_a, cmd)) {
		switch (cmd[0] & 0xff) {
		case OP_TLBI_S2_IPA:
			KUNIT_EXPECT_EQ(test, syncs, 0);
			ipas++;
			break;
		case OP_TLBI_NH_ALL:
			KUNIT_EXPECT_EQ(test, syncs, 1);
			alls++;
			break;
		case OP_SYNC:
			syncs++;
			break;
		default:
			KUNIT_FAIL(test, "%016llx", cmd[0]);
		}
	}
	KUNIT_EXPECT_EQ(test, ipas, 2);
	KUNIT_EXPECT_EQ(test, alls, 2);
	KUNIT_EXPECT_EQ(test, syncs, 2);
	KUNIT_EXPECT_EQ(test, cmd[0] & 0xff, OP_SYNC);
	expect_cmd(fake_b, OP_TLBI_S2_IPA | CMD_VMID(1), 0x40000000 | 1);
	expect_sync(fake_b);
	expect_cmd(fake_b, OP_TLBI_NH_ALL | CMD_VMID(1), 0);
	expect_sync(fake_b);
	expect_none(fake_b);

out:
	fake_put_tag(tag_1, true);
	fake_put_tag(tag_2, true);
	fake_put_tag(tag_b, true);
	fake_put_tag(bare_b, false);
	for (i = 0; i < 2; i++) {
		fake_smmu_drain(i ? fake_b : fake_a);
		fake_expect_clean(test, i ? fake_b : fake_a, s2);
	}
	return in_time;
}

static void arm_smmu_s2_test_unmap_rounds(struct kunit *test)
{
	fake_until_in_time(test, check_unmap_rounds);
}

/* More SMMUs than an unmap can collect at once: none may be left out */
static void arm_smmu_s2_test_unmap_many(struct kunit *test)
{
	struct fake_smmu *fakes[40];
	struct arm_smmu_s2_tag *tags[ARRAY_SIZE(fakes)];
	struct fake_s2 *s2 = NULL;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(fakes); i++) {
		fakes[i] = fake_smmu_alloc(test, 7);
		if (!s2)
			s2 = fake_s2_alloc(test, fakes[i]);
		tags[i] = fake_get_tag(fake_dev_alloc(test, fakes[i], 1),
				       &s2->domain.domain);
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, tags[i]);
	}

	arm_smmu_s2_inv_range(0x40000000, SZ_4K, SZ_4K, true, &s2->domain);
	arm_smmu_s2_inv_all(&s2->domain);
	for (i = 0; i < ARRAY_SIZE(fakes); i++) {
		expect_cmd(fakes[i], OP_TLBI_S2_IPA | CMD_VMID(1),
			   0x40000000 | 1);
		expect_sync(fakes[i]);
		expect_cmd(fakes[i], OP_TLBI_S12_VMALL | CMD_VMID(1), 0);
		expect_sync(fakes[i]);
		expect_none(fakes[i]);
		fake_put_tag(tags[i], false);
		fake_smmu_drain(fakes[i]);
	}
	fake_expect_clean(test, fakes[0], s2);
}

static void arm_smmu_s2_test_compatible(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct arm_smmu_device *smmu = &fake->smmu;
	struct io_pgtable_cfg *cfg = &s2->pgtable.cfg;
	const u32 features = smmu->features;

#define expect_compatible(_want)					\
	KUNIT_EXPECT_EQ(test, _want, arm_smmu_s2_compatible(&s2->domain, smmu))
	expect_compatible(true);

	s2->domain.stage = ARM_SMMU_DOMAIN_S1;
	expect_compatible(false);
	s2->domain.stage = ARM_SMMU_DOMAIN_S2;

	smmu->features = features & ~ARM_SMMU_FEAT_TRANS_S2;
	expect_compatible(false);
	smmu->features = features & ~ARM_SMMU_FEAT_NESTING;
	expect_compatible(false);
	s2->domain.nest_parent = false;
	expect_compatible(true);
	s2->domain.nest_parent = true;

	smmu->features = features & ~ARM_SMMU_FEAT_COHERENCY;
	expect_compatible(false);
	cfg->coherent_walk = false;
	expect_compatible(true);
	smmu->features = features;
	expect_compatible(false);
	cfg->coherent_walk = true;

	smmu->pgsize_bitmap |= SZ_64K | SZ_512M;
	expect_compatible(true);
	smmu->pgsize_bitmap = SZ_64K | SZ_512M;
	expect_compatible(false);
	smmu->pgsize_bitmap = SZ_4K | SZ_2M;
	expect_compatible(false);
	cfg->pgsize_bitmap = SZ_4K | SZ_2M;
	expect_compatible(true);

	smmu->ias = 48;
	smmu->oas = 48;
	expect_compatible(true);
	smmu->ias = 43;
	expect_compatible(false);
	smmu->ias = 48;
	smmu->oas = 43;
	expect_compatible(false);
	smmu->oas = 48;

	/*
	 * The table uses S2FWB: the SMMU must support it, but need not use it.
	 * As a nesting parent the table would be of no use to devices without
	 * CANWBS.
	 */
	smmu->features |= ARM_SMMU_FEAT_S2FWB;
	expect_compatible(false);
	s2->domain.nest_parent = false;
	expect_compatible(true);
	s2->domain.nest_parent = true;
	cfg->quirks = IO_PGTABLE_QUIRK_ARM_S2FWB;
	expect_compatible(true);
	smmu->features = features;
	expect_compatible(false);
#undef expect_compatible
}

/*
 * An unmap that has found a tag may use it after the last master has gone. Keep
 * a reader of the list at a tag, put the tag, and check that its memory is not
 * reused for other tags.
 */
struct s2_reader {
	struct fake_s2 *s2;
	struct arm_smmu_s2_tag *tag;
	u16 vmid;
	bool leave;
};

static int s2_reader_thread(struct fake_thread *thread)
{
	struct s2_reader *reader = thread->arg;
	struct arm_smmu_s2_tag *tag;

	rcu_read_lock();
	list_for_each_entry_rcu(tag, &reader->s2->domain.s2_tags, node) {
		/* This lets the test continue */
		WRITE_ONCE(reader->tag, tag);
		while (!READ_ONCE(reader->leave))
			cpu_relax();
		reader->vmid = tag->vmid;
	}
	rcu_read_unlock();
	return 0;
}

static void arm_smmu_s2_test_rcu(struct kunit *test)
{
	struct fake_smmu *fake, *other;
	struct fake_dev *fdev, *other_dev;
	struct arm_smmu_s2_tag *tag, *more[32];
	struct fake_s2 *s2s[ARRAY_SIZE(more)];
	struct fake_thread thread = {};
	struct s2_reader reader = {};
	unsigned int i;
	u16 vmid;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");

	fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	other = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	fdev = fake_dev_alloc(test, fake, 1);
	other_dev = fake_dev_alloc(test, other, 1);
	reader.s2 = fake_s2_alloc(test, fake);
	for (i = 0; i < ARRAY_SIZE(more); i++)
		s2s[i] = fake_s2_alloc(test, other);
	tag = fake_get_tag(fdev, &reader.s2->domain.domain);
	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, tag);
	vmid = tag->vmid;
	thread.arg = &reader;
	fake_thread_init(test, &thread, s2_reader_thread, true);
	fake_thread_go(&thread);
	while (!READ_ONCE(reader.tag))
		usleep_range(100, 200);
	KUNIT_EXPECT_PTR_EQ(test, reader.tag, tag);

	fake_put_tag(tag, false);
	for (i = 0; i < ARRAY_SIZE(more); i++) {
		more[i] = fake_get_tag(other_dev, &s2s[i]->domain.domain);
		KUNIT_EXPECT_PTR_NE(test, more[i], tag);
		/* Even if this fails, the reader must be able to finish */
		if (more[i] == tag)
			more[i]->node.next = &reader.s2->domain.s2_tags;
	}
	WRITE_ONCE(reader.leave, true);
	fake_thread_join(&thread);
	KUNIT_EXPECT_EQ(test, reader.vmid, vmid);

	for (i = 0; i < ARRAY_SIZE(more); i++)
		fake_put_tag(more[i], false);
	fake_smmu_drain(fake);
	fake_expect_clean(test, fake, reader.s2);
}

static struct kunit_case s2_test_cases[] = {
	KUNIT_CASE(arm_smmu_s2_test_share),
	KUNIT_CASE(arm_smmu_s2_test_two_vsmmus),
	KUNIT_CASE(arm_smmu_s2_test_no_vmid),
	KUNIT_CASE(arm_smmu_s2_test_vmid_clean),
	KUNIT_CASE_SLOW(arm_smmu_s2_test_timeout),
	KUNIT_CASE(arm_smmu_s2_test_unmap),
	KUNIT_CASE(arm_smmu_s2_test_unmap_rounds),
	KUNIT_CASE(arm_smmu_s2_test_unmap_many),
	KUNIT_CASE(arm_smmu_s2_test_compatible),
	KUNIT_CASE(arm_smmu_s2_test_rcu),
	{},
};

static struct kunit_suite s2_test_suite = {
	.name = "arm-smmu-v3-iommufd-s2",
	.test_cases = s2_test_cases,
};

kunit_test_suite(s2_test_suite);
