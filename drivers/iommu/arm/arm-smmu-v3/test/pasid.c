// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of nested translation: PASIDs that the host attaches. Operations
 * on a PASID must not affect the domain of the RID, and vice versa. This also
 * tests the release of a device.
 */
#include "fake.h"

#define S1DSS_BYPASS		1
#define S1DSS_SSID0		2

static u64 ste_word(struct fake_dev *fdev, unsigned int i)
{
	struct fake_smmu *fake = fdev->fake;

	return le64_to_cpu(fake->stes[fdev->streams[0].id].data[i]);
}

static bool cd_valid(struct fake_dev *fdev, unsigned int pasid)
{
	struct arm_smmu_ctx_desc_cfg *cd_table = &fake_master(fdev)->cd_table;

	return cd_table->linear.table &&
	       le64_to_cpu(cd_table->linear.table[pasid].data[0]) & BIT_ULL(31);
}

static unsigned int count_masters(struct iommu_domain *domain)
{
	return list_count_nodes(&to_smmu_domain(domain)->devices);
}

static struct fake_dev *fake_pasid_dev(struct kunit *test,
				       struct fake_smmu *fake)
{
	struct fake_dev *fdev = fake_dev_alloc(test, fake, 6);

	fake->smmu.ssid_bits = 2;
	fdev->master.ssid_bits = 2;
	fake_smmu_register(fake);
	fake_dev_probe(fdev, NULL);
	fdev->dev->iommu->max_pasids = 4;
	return fdev;
}

static struct iommu_domain *fake_s1_alloc(struct kunit *test,
					  struct fake_dev *fdev)
{
	struct iommu_domain *domain = iommu_paging_domain_alloc(fdev->dev);

	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
	return domain;
}

/* A PASID while the RID is in bypass: the host's CD table is in use */
static void arm_smmu_test_pasid_bypass(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct arm_vsmmu *vsmmu = fake_vsmmu_alloc(test, fake, s2);
	void __user *user = fake_user_alloc(test, PAGE_SIZE);
	struct fake_dev *fdev = fake_pasid_dev(test, fake);
	struct arm_smmu_master *master = fake_master(fdev);
	struct iommu_domain *domain = fake_s1_alloc(test, fdev);
	struct iommu_domain *bypass, *rid = master->domain;

	bypass = fake_nested_alloc(vsmmu, user, STE_BYPASS, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(bypass));
	KUNIT_EXPECT_EQ(test, rid->type, IOMMU_DOMAIN_IDENTITY);
	KUNIT_EXPECT_EQ(test, ste_word(fdev, 0), STE_BYPASS);

	KUNIT_ASSERT_EQ(test, 0,
			iommu_attach_device_pasid(domain, fdev->dev, 1, NULL));
	KUNIT_EXPECT_EQ(test, ste_word(fdev, 0) & 0xf, STE_S1);
	KUNIT_EXPECT_EQ(test, ste_word(fdev, 1) & 3, S1DSS_BYPASS);
	KUNIT_EXPECT_TRUE(test, cd_valid(fdev, 1));
	KUNIT_EXPECT_FALSE(test, cd_valid(fdev, 0));
	KUNIT_EXPECT_EQ(test, count_masters(domain), 1);
	KUNIT_EXPECT_PTR_EQ(test, master->domain, rid);
	KUNIT_EXPECT_NULL(test, master->s2_tag);

	/* Each of these attaches would free the host's CD table */
	KUNIT_EXPECT_EQ(test, -EBUSY, fake_attach_nested(fdev, bypass));
	KUNIT_EXPECT_EQ(test, -EBUSY, fake_attach_bare(fdev, s2));
	KUNIT_EXPECT_EQ(test, ste_word(fdev, 0) & 0xf, STE_S1);
	KUNIT_EXPECT_TRUE(test, cd_valid(fdev, 1));

	iommu_detach_device_pasid(domain, fdev->dev, 1);
	KUNIT_EXPECT_EQ(test, ste_word(fdev, 0), STE_BYPASS);
	KUNIT_EXPECT_FALSE(test, cd_valid(fdev, 1));
	KUNIT_EXPECT_EQ(test, count_masters(domain), 0);
	iommu_domain_free(domain);

	/* The PASID is gone: the guest's CD table can replace the host's */
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, bypass));
	KUNIT_EXPECT_EQ(test, ste_word(fdev, 0), STE_S2);
	KUNIT_EXPECT_EQ(test, ste_word(fdev, 2), FAKE_STE_2 | 1);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
	fake_smmu_drain(fake);
	fake_expect_clean(test, fake, s2);
	bypass->ops->free(bypass);
}

/* A PASID while the RID has a stage 1, which must stay in its domain's list */
static void arm_smmu_test_pasid_s1(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_dev *fdev = fake_pasid_dev(test, fake);
	struct arm_smmu_master *master = fake_master(fdev);
	struct iommu_group *group = fdev->dev->iommu_group;
	struct iommu_domain *rid = fake_s1_alloc(test, fdev);
	struct iommu_domain *domain = fake_s1_alloc(test, fdev);

	KUNIT_ASSERT_EQ(test, 0, iommu_attach_group(rid, group));
	KUNIT_EXPECT_EQ(test, ste_word(fdev, 0) & 0xf, STE_S1);
	KUNIT_EXPECT_EQ(test, ste_word(fdev, 1) & 3, S1DSS_SSID0);
	KUNIT_EXPECT_EQ(test, count_masters(rid), 1);

	KUNIT_ASSERT_EQ(test, 0,
			iommu_attach_device_pasid(domain, fdev->dev, 3, NULL));
	KUNIT_EXPECT_TRUE(test, cd_valid(fdev, 0));
	KUNIT_EXPECT_TRUE(test, cd_valid(fdev, 3));
	KUNIT_EXPECT_EQ(test, ste_word(fdev, 1) & 3, S1DSS_SSID0);
	KUNIT_EXPECT_PTR_EQ(test, master->domain, rid);
	KUNIT_EXPECT_EQ(test, count_masters(rid), 1);
	KUNIT_EXPECT_EQ(test, count_masters(domain), 1);
	/* Attach the same domain under another PASID */
	KUNIT_EXPECT_EQ(test, 0,
			iommu_attach_device_pasid(domain, fdev->dev, 2, NULL));
	KUNIT_EXPECT_EQ(test, count_masters(domain), 2);
	iommu_detach_device_pasid(domain, fdev->dev, 2);
	KUNIT_EXPECT_FALSE(test, cd_valid(fdev, 2));

	/* The RID changes, the PASID stays */
	iommu_detach_group(rid, group);
	KUNIT_EXPECT_EQ(test, count_masters(rid), 0);
	KUNIT_EXPECT_EQ(test, count_masters(domain), 1);
	KUNIT_EXPECT_FALSE(test, cd_valid(fdev, 0));
	KUNIT_EXPECT_TRUE(test, cd_valid(fdev, 3));
	KUNIT_EXPECT_EQ(test, ste_word(fdev, 1) & 3, S1DSS_BYPASS);

	iommu_detach_device_pasid(domain, fdev->dev, 3);
	KUNIT_EXPECT_EQ(test, count_masters(domain), 0);
	KUNIT_EXPECT_EQ(test, ste_word(fdev, 0), STE_BYPASS);
	iommu_domain_free(rid);
	iommu_domain_free(domain);
}

static u64 cd_asid(struct fake_dev *fdev, unsigned int pasid)
{
	struct arm_smmu_cd *cd = fake_master(fdev)->cd_table.linear.table;

	return le64_to_cpu(cd[pasid].data[0]) >> 48;
}

/* The old domain must lose the PASID, and nothing else */
static void arm_smmu_test_pasid_replace(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_dev *fdev = fake_pasid_dev(test, fake);
	struct arm_smmu_ctx_desc_cfg *cd_table = &fake_master(fdev)->cd_table;
	struct iommu_domain *first = fake_s1_alloc(test, fdev);
	struct iommu_domain *second = fake_s1_alloc(test, fdev);
	struct iommu_attach_handle handles[3];
	struct device *dev = fdev->dev;
	struct iommu_domain *s2;

	fake->smmu.features &= ~ARM_SMMU_FEAT_TRANS_S1;
	s2 = fake_s1_alloc(test, fdev);
	fake->smmu.features |= ARM_SMMU_FEAT_TRANS_S1;

	KUNIT_EXPECT_EQ(test, -EINVAL,
			iommu_replace_device_pasid(second, dev, 1, &handles[1]));
	KUNIT_ASSERT_EQ(test, 0,
			iommu_attach_device_pasid(first, dev, 1, &handles[0]));
	KUNIT_ASSERT_EQ(test, 0,
			iommu_attach_device_pasid(first, dev, 2, &handles[2]));
	KUNIT_EXPECT_EQ(test, count_masters(first), 2);
	KUNIT_EXPECT_EQ(test, cd_asid(fdev, 1), to_smmu_domain(first)->cd.asid);

	KUNIT_EXPECT_EQ(test, 0,
			iommu_replace_device_pasid(second, dev, 1, &handles[1]));
	KUNIT_EXPECT_EQ(test, count_masters(first), 1);
	KUNIT_EXPECT_EQ(test, count_masters(second), 1);
	KUNIT_EXPECT_EQ(test, cd_table->used_ssids, 2);
	KUNIT_EXPECT_EQ(test, cd_asid(fdev, 1), to_smmu_domain(second)->cd.asid);
	KUNIT_EXPECT_EQ(test, cd_asid(fdev, 2), to_smmu_domain(first)->cd.asid);
	KUNIT_EXPECT_PTR_EQ(test, &handles[1],
			    iommu_attach_handle_get(dev->iommu_group, 1, 0));

	/* A stage 2 has no PASIDs. The old domain stays attached. */
	KUNIT_EXPECT_EQ(test, -EINVAL,
			iommu_replace_device_pasid(s2, dev, 1, &handles[0]));
	KUNIT_EXPECT_EQ(test, count_masters(second), 1);
	KUNIT_EXPECT_TRUE(test, cd_valid(fdev, 1));
	KUNIT_EXPECT_PTR_EQ(test, &handles[1],
			    iommu_attach_handle_get(dev->iommu_group, 1, 0));
	/* 0 is the RID, 3 is not attached, and the device does not have 4 */
	KUNIT_EXPECT_EQ(test, -EINVAL,
			iommu_replace_device_pasid(first, dev, 0, &handles[0]));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			iommu_replace_device_pasid(first, dev, 3, &handles[0]));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			iommu_replace_device_pasid(first, dev, 4, &handles[0]));

	/* The same domain with another handle: the driver has nothing to do */
	KUNIT_EXPECT_EQ(test, 0,
			iommu_replace_device_pasid(second, dev, 1, &handles[0]));
	KUNIT_EXPECT_EQ(test, count_masters(second), 1);
	KUNIT_EXPECT_PTR_EQ(test, &handles[0],
			    iommu_attach_handle_get(dev->iommu_group, 1, 0));

	iommu_detach_device_pasid(first, dev, 2);
	KUNIT_EXPECT_EQ(test, count_masters(first), 0);
	KUNIT_EXPECT_EQ(test, ste_word(fdev, 0) & 0xf, STE_S1);
	iommu_detach_device_pasid(second, dev, 1);
	KUNIT_EXPECT_EQ(test, count_masters(second), 0);
	KUNIT_EXPECT_EQ(test, cd_table->used_ssids, 0);
	KUNIT_EXPECT_EQ(test, ste_word(fdev, 0), STE_BYPASS);

	/* The CD table may be smaller than the device allows, or missing */
	fake_master(fdev)->ssid_bits = 1;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			iommu_attach_device_pasid(first, dev, 2, &handles[0]));
	fake_master(fdev)->ssid_bits = 0;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			iommu_attach_device_pasid(first, dev, 1, &handles[0]));
	KUNIT_EXPECT_EQ(test, count_masters(first), 0);
	fake_master(fdev)->ssid_bits = 2;

	/* A device without PASIDs has none to attach */
	dev->iommu->max_pasids = 0;
	KUNIT_EXPECT_EQ(test, -EINVAL,
			iommu_attach_device_pasid(first, dev, 1, &handles[0]));
	iommu_domain_free(first);
	iommu_domain_free(second);
	iommu_domain_free(s2);
}

/* IOMMU_HWPT_ALLOC_PASID */
static void arm_smmu_test_pasid_alloc(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct arm_vsmmu *vsmmu = fake_vsmmu_alloc(test, fake, s2);
	struct fake_dev *fdev = fake_pasid_dev(test, fake);
	const struct iommu_user_data data = {};
	struct device *dev = fdev->dev;
	struct iommu_domain *domain;

	domain = arm_smmu_ops.domain_alloc_user(dev, IOMMU_HWPT_ALLOC_PASID,
						NULL, NULL);
	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
	domain->owner = &fake->ops;
	KUNIT_EXPECT_EQ(test, to_smmu_domain(domain)->stage,
			ARM_SMMU_DOMAIN_S1);
	KUNIT_EXPECT_EQ(test, 0,
			iommu_attach_device_pasid(domain, dev, 1, NULL));
	iommu_detach_device_pasid(domain, dev, 1);
	domain->ops->free(domain);

	/* A nested HWPT has its PASIDs in guest CDs, and a stage 2 has none */
	domain = arm_smmu_ops.domain_alloc_user(dev, IOMMU_HWPT_ALLOC_PASID |
						IOMMU_HWPT_ALLOC_NEST_PARENT,
						NULL, NULL);
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, PTR_ERR(domain));
	domain = vsmmu->core.ops->alloc_domain_nested(&vsmmu->core,
						      IOMMU_HWPT_ALLOC_PASID,
						      &data);
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, PTR_ERR(domain));
	fake->smmu.features &= ~ARM_SMMU_FEAT_TRANS_S1;
	domain = arm_smmu_ops.domain_alloc_user(dev, IOMMU_HWPT_ALLOC_PASID,
						NULL, NULL);
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, PTR_ERR(domain));
	fake->smmu.features |= ARM_SMMU_FEAT_TRANS_S1;
}

/*
 * Tables of 1024 CDs are charged to the process that attaches the PASIDs. They
 * are freed when the device is the host's again, but not before the SMMU has
 * forgotten them.
 */
static void arm_smmu_test_pasid_tables(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_dev *fdev = fake_pasid_dev(test, fake);
	struct arm_smmu_ctx_desc_cfg *cd_table = &fake_master(fdev)->cd_table;
	struct iommu_domain *domain = fake_s1_alloc(test, fdev);
	struct device *dev = fdev->dev;
	u64 desc;

	fake->smmu.features |= ARM_SMMU_FEAT_2_LVL_CDTAB;
	fake_master(fdev)->ssid_bits = 12;
	dev->iommu->max_pasids = 4096;
	KUNIT_ASSERT_EQ(test, 0, iommu_device_claim_dma_owner(dev, test));
	KUNIT_ASSERT_EQ(test, 0,
			iommu_attach_device_pasid(domain, dev, 1024, NULL));
	KUNIT_ASSERT_EQ(test, 0,
			iommu_attach_device_pasid(domain, dev, 4095, NULL));
	KUNIT_ASSERT_EQ(test, cd_table->l2.num_l1_ents, 4);
	/* The RID has had no CD so far */
	KUNIT_EXPECT_NULL(test, cd_table->l2.l2ptrs[0]);
	KUNIT_EXPECT_NOT_NULL(test, cd_table->l2.l2ptrs[1]);
	KUNIT_EXPECT_NULL(test, cd_table->l2.l2ptrs[2]);
	KUNIT_EXPECT_NOT_NULL(test, cd_table->l2.l2ptrs[3]);

	/* With the last PASID, the STE blocks again */
	iommu_detach_device_pasid(domain, dev, 1024);
	iommu_detach_device_pasid(domain, dev, 4095);
	KUNIT_EXPECT_EQ(test, ste_word(fdev, 0), STE_ABORT);
	KUNIT_EXPECT_NOT_NULL(test, cd_table->l2.l2ptrs[1]);
	KUNIT_EXPECT_NOT_NULL(test, cd_table->l2.l2ptrs[3]);
	KUNIT_EXPECT_NE(test, le64_to_cpu(cd_table->l2.l1tab[1].l2ptr), 0);

	fake_smmu_drain(fake);
	iommu_device_release_dma_owner(dev);
	fake_expect_stes(fake, 6, 1);
	expect_cmd(fake, OP_CFGI_CD_ALL | CMD_SID(6), 0);
	expect_sync(fake);
	expect_none(fake);
	KUNIT_EXPECT_EQ(test, ste_word(fdev, 0), STE_BYPASS);
	KUNIT_EXPECT_NULL(test, cd_table->l2.l2ptrs[1]);
	KUNIT_EXPECT_NULL(test, cd_table->l2.l2ptrs[3]);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(cd_table->l2.l1tab[1].l2ptr), 0);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(cd_table->l2.l1tab[3].l2ptr), 0);

	/* The tables come back. They stay as long as there are other PASIDs */
	KUNIT_EXPECT_EQ(test, 0,
			iommu_attach_device_pasid(domain, dev, 1, NULL));
	KUNIT_EXPECT_EQ(test, 0,
			iommu_attach_device_pasid(domain, dev, 1024, NULL));
	KUNIT_EXPECT_NE(test, le64_to_cpu(cd_table->l2.l1tab[1].l2ptr), 0);
	desc = le64_to_cpu(cd_table->l2.l1tab[1].l2ptr);
	iommu_detach_device_pasid(domain, dev, 1024);
	KUNIT_EXPECT_NOT_NULL(test, cd_table->l2.l2ptrs[1]);

	/* An SMMU that does not respond may still use the table */
	fake_smmu_drain(fake);
	fake_smmu_hold(fake);
	iommu_detach_device_pasid(domain, dev, 1);
	KUNIT_EXPECT_NOT_NULL(test, cd_table->l2.l2ptrs[1]);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(cd_table->l2.l1tab[1].l2ptr), desc);
	KUNIT_EXPECT_NOT_NULL(test, cd_table->l2.l2ptrs[0]);
	fake_smmu_go_on(fake);
	iommu_domain_free(domain);
}

/* The release of a device that had a CD table and a VM */
static void arm_smmu_test_release(struct kunit *test)
{
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct arm_vsmmu *vsmmu = fake_vsmmu_alloc(test, fake, s2);
	void __user *user = fake_user_alloc(test, PAGE_SIZE);
	struct fake_dev *fdev = fake_pasid_dev(test, fake);
	struct iommu_domain *domain = fake_s1_alloc(test, fdev), *s1;
	struct iommu_group *group = fdev->dev->iommu_group;
	struct iommu_attach_handle handle;
	/* The guest uses all SSIDs of the SMMU, in a linear table */
	const u64 word_0 = STE_S1 | 0xbcdef012340ULL | 2ULL << 59;

	s1 = fake_nested_alloc(vsmmu, user, word_0, GUEST_S1_1);
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));
	KUNIT_EXPECT_EQ(test, 0,
			iommu_attach_device_pasid(domain, fdev->dev, 1, NULL));
	iommu_detach_device_pasid(domain, fdev->dev, 1);
	iommu_domain_free(domain);

	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vsmmu, fdev, 0));
	KUNIT_ASSERT_EQ(test, 0, iommu_device_claim_dma_owner(fdev->dev, test));
	KUNIT_EXPECT_EQ(test, 0, iommu_attach_group_handle(s1, group, &handle));
	KUNIT_EXPECT_EQ(test, ste_word(fdev, 0),
			word_0 ^ STE_CFG(5) ^ STE_CFG(7));
	KUNIT_EXPECT_EQ(test, fake_count_devices(s2), 1);
	iommu_detach_group_handle(s1, group);
	iommu_device_release_dma_owner(fdev->dev);
	KUNIT_EXPECT_EQ(test, ste_word(fdev, 0), STE_BYPASS);
	fake_vdev_del(vsmmu, fdev);

	fake_dev_unplug(fdev);
	KUNIT_EXPECT_EQ(test, ste_word(fdev, 0), STE_ABORT);
	KUNIT_EXPECT_TRUE(test, RB_EMPTY_ROOT(&fake->smmu.streams));
	KUNIT_EXPECT_EQ(test, fake_count_devices(s2), 0);
	fake_smmu_drain(fake);
	fake_expect_clean(test, fake, s2);
	s1->ops->free(s1);
}

/*
 * A VM gets a device that had a stage 1 of the host. Events of the host's
 * domain are not for the VM, but all later events are. The host's CD must not
 * stay in its table: as soon as the STE is a bypass with PASIDs, it is the CD
 * of PASID 0.
 */
static void arm_vsmmu_test_after_host_s1(struct kunit *test)
{
	static const struct {
		u64 ste;
		/* Events reported by the attach, and for a C_BAD_CD */
		bool attach;
		bool bad_cd;
	} rows[] = {
		{ STE_BYPASS },
		{ STE_ABORT },
		{ 0, .attach = true },
		{ STE_S1, .bad_cd = true },
	};
	struct fake_smmu *fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, fake);
	struct arm_vsmmu *vsmmu = fake_vsmmu_alloc(test, fake, s2);
	void __user *user = fake_user_alloc(test, PAGE_SIZE);
	struct fake_dev *fdev = fake_pasid_dev(test, fake);
	struct iommu_domain *host = fake_s1_alloc(test, fdev), *domain;
	struct iommufd_veventq *veventq = fake_veventq_add(test, vsmmu);
	struct iommu_group *group = fdev->dev->iommu_group;
	struct iommu_attach_handle handles[2];
	u64 fault[4] = { 0x10 | CMD_SID(6) }, bad_cd[4] = { 0x0a | CMD_SID(6) };
	unsigned int i;

	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vsmmu, fdev, 0));
	KUNIT_ASSERT_EQ(test, 0, iommu_device_claim_dma_owner(fdev->dev, test));
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		KUNIT_ASSERT_EQ(test, 0,
				iommu_attach_group_handle(host, group,
							  &handles[0]));
		KUNIT_EXPECT_TRUE(test, cd_valid(fdev, 0));
		veventq->num = 0;
		KUNIT_EXPECT_FALSE(test,
				   arm_vsmmu_handle_evt(&fake->smmu, fault));
		KUNIT_EXPECT_FALSE(test,
				   arm_vsmmu_handle_evt(&fake->smmu, bad_cd));
		KUNIT_EXPECT_EQ(test, veventq->num, 0);

		domain = fake_nested_alloc(vsmmu, user, rows[i].ste, 0);
		KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
		KUNIT_EXPECT_EQ(test, 0,
				iommu_replace_group_handle(group, domain,
							   &handles[1]));
		KUNIT_EXPECT_FALSE_MSG(test, cd_valid(fdev, 0), "row %u", i);
		KUNIT_EXPECT_EQ_MSG(test, veventq->num, rows[i].attach,
				    "row %u", i);
		KUNIT_EXPECT_TRUE_MSG(test,
				      arm_vsmmu_handle_evt(&fake->smmu, fault),
				      "row %u", i);
		KUNIT_EXPECT_EQ_MSG(test, rows[i].bad_cd,
				    arm_vsmmu_handle_evt(&fake->smmu, bad_cd),
				    "row %u", i);
		iommu_detach_group_handle(domain, group);
		domain->ops->free(domain);
	}

	iommu_device_release_dma_owner(fdev->dev);
	fake_vdev_del(vsmmu, fdev);
	fake_smmu_drain(fake);
	fake_expect_clean(test, fake, s2);
	iommu_domain_free(host);
}

static struct kunit_case pasid_test_cases[] = {
	KUNIT_CASE(arm_smmu_test_pasid_bypass),
	KUNIT_CASE(arm_smmu_test_pasid_s1),
	KUNIT_CASE(arm_smmu_test_pasid_replace),
	KUNIT_CASE(arm_smmu_test_pasid_alloc),
	KUNIT_CASE_SLOW(arm_smmu_test_pasid_tables),
	KUNIT_CASE(arm_smmu_test_release),
	KUNIT_CASE(arm_vsmmu_test_after_host_s1),
	{},
};

static struct kunit_suite pasid_test_suite = {
	.name = "arm-smmu-v3-iommufd-pasid",
	.test_cases = pasid_test_cases,
};

kunit_test_suite(pasid_test_suite);
