// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of nested translation: command queues in the hardware of a
 * Tegra241. The test plays the VMM and the guest, and a model the hardware.
 */
#include <linux/ioport.h>
#include <linux/mm.h>
#include <linux/mman.h>

#include "vintf-model.h"

#define VINTF_CONFIG(_vmid)	((u32)(_vmid) << 1)
#define VSID			0x72

/* The register writes that stop and clear a queue */
static void expect_stop(struct fake_cmdqv_hw *hw, unsigned int v,
			unsigned int l, int line)
{
	unsigned int q = v * HW_LVCMDQS + l;

	fake_hw_expect(hw, HW_PAGE0(q) + HW_CONFIG, 0, line);
	fake_hw_expect(hw, HW_ALLOC(q), l << 1 | v << 15, line);
	fake_hw_expect(hw, HW_PAGE0(q) + HW_CONFIG, 0, line);
	fake_hw_expect(hw, HW_PAGE0(q) + HW_PROD, 0, line);
	fake_hw_expect(hw, HW_PAGE0(q) + HW_CONS, 0, line);
	fake_hw_expect(hw, HW_PAGE1(q) + HW_BASE, 0, line);
	fake_hw_expect(hw, HW_PAGE1(q) + HW_DRAM, 0, line);
	fake_hw_expect(hw, HW_PAGE0(q) + HW_GERRORN,
		       hw->queues[q].page0[HW_GERROR / 4], line);
}

/* The answer of GET_HW_INFO, or an errno */
static int hw_info(struct kunit *test, struct fake_cmdqv_hw *hw, u8 out[8])
{
	u32 length = 0, type = 3;
	void *info = arm_smmu_hw_info(hw->fdev->dev, &length, &type);

	if (IS_ERR(info))
		return PTR_ERR(info);
	KUNIT_EXPECT_EQ(test, length, 8);
	KUNIT_EXPECT_EQ(test, type, 3);
	memcpy(out, info, 8);
	kfree(info);
	return 0;
}

static void tegra241_vintf_test_info(struct kunit *test)
{
	struct fake_cmdqv_hw *hw = fake_vintf_hw(test);
	static const u8 want[8] = { 0, 0, 0, 0, 1, 1, 4, 0 };
	static const u8 want_max[8] = { 0, 0, 0, 0, 9, 3, 4, 0 };
	struct arm_smmu_device *smmu = &hw->fake->smmu;
	struct resource res = DEFINE_RES_MEM(HW_PHYS, 0xffff0000);
	u8 info[8];

	KUNIT_EXPECT_EQ(test, 0, hw_info(test, hw, info));
	KUNIT_EXPECT_MEMEQ(test, info, want, 8);
	/* Without the requirements of a vSMMU, the type is refused */
	smmu->features &= ~ARM_SMMU_FEAT_NESTING;
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, hw_info(test, hw, info));
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_get_viommu_size(hw->fdev->dev, 2));
	smmu->features |= ARM_SMMU_FEAT_NESTING;
	hw->fdev->fwspec.flags = 0;
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_get_viommu_size(hw->fdev->dev, 2));
	hw->fdev->fwspec.flags = IOMMU_FWSPEC_PCI_RC_CANWBS;
	KUNIT_EXPECT_NE(test, 0, arm_smmu_get_viommu_size(hw->fdev->dev, 2));

	/* VER 9, 1024 queues, 4 VINTFs, 256 StreamIDs */
	hw->conf[HW_PARAM / 4] = 9 | 10 << 4 | 2 << 8 | 8 << 12;
	tegra241_vintf_pool_init(&hw->pool, smmu, smmu->dev, NULL, &res);
	KUNIT_EXPECT_EQ(test, 0, hw_info(test, hw, info));
	KUNIT_EXPECT_MEMEQ(test, info, want_max, 8);
	KUNIT_EXPECT_EQ(test, hw->pool.num_lvcmdqs, 256);

	/* Only VINTF0; fewer queues than VINTFs; no room for a second one */
	fake_hw_reset(hw, 1 | 1 << 4 | 0 << 8 | 4 << 12, HW_SIZE);
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, hw_info(test, hw, info));
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_get_viommu_size(hw->fdev->dev, 2));
	fake_hw_reset(hw, 1 | 1 << 4 | 2 << 8 | 4 << 12, HW_SIZE);
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, hw_info(test, hw, info));
	fake_hw_reset(hw, HW_PARAM_VALUE, HW_VINTF_PAGE0(2) - 1);
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, hw_info(test, hw, info));
	fake_hw_reset(hw, HW_PARAM_VALUE, HW_VINTF_PAGE0(2));
	KUNIT_EXPECT_EQ(test, 0, hw_info(test, hw, info));
	KUNIT_EXPECT_EQ(test, hw->pool.num_vintfs, 2);
	fake_hw_reset(hw, 1 | 3 << 4 | 7 << 8 | 4 << 12, 0xffff0000);
	KUNIT_EXPECT_LE(test, hw->pool.num_vintfs, 64);
	fake_hw_check(test, hw);
}

static void tegra241_vintf_test_alloc(struct kunit *test)
{
	struct fake_cmdqv_hw *hw = fake_vintf_hw(test);
	struct fake_vintf *vintf = fake_vintf_alloc(test, hw, 1);
	u64 out[2];

	hw_expect(hw, HW_VINTF_CONFIG(1), VINTF_CONFIG(FIRST_VMID));
	hw_expect(hw, HW_VINTF_CONFIG(1), VINTF_CONFIG(FIRST_VMID) | 1);
	hw_expect_none(hw);

	/* The driver reports page 0 of this VINTF */
	KUNIT_ASSERT_EQ(test, 0, copy_from_user(out, hw->user, sizeof(out)));
	KUNIT_EXPECT_NE(test, out[0], 0);
	KUNIT_EXPECT_EQ(test, out[0] % PAGE_SIZE, 0);
	KUNIT_EXPECT_EQ(test, out[1], 0x10000);
	KUNIT_EXPECT_EQ(test, hw->mmap_base, HW_PHYS + HW_VINTF_PAGE0(1));
	KUNIT_EXPECT_EQ(test, hw->mmap_length, 0x10000);

	fake_vintf_free(vintf);
	fake_expect_reset(test, hw, 1);
	/* The VMID must be invalidated before it is freed */
	expect_cmd(hw->fake, OP_TLBI_S12_VMALL | CMD_VMID(FIRST_VMID), 0);
	expect_sync(hw->fake);
	expect_none(hw->fake);
	fake_hw_check(test, hw);
}

static void tegra241_vintf_test_limits(struct kunit *test)
{
	struct fake_cmdqv_hw *hw = fake_vintf_hw(test);
	struct fake_vintf *vintf[3], other = {};
	unsigned int i;

	for (i = 0; i < 3; i++) {
		vintf[i] = fake_vintf_alloc(test, hw, i + 1);
		KUNIT_EXPECT_EQ(test, hw->mmap_base,
				HW_PHYS + HW_VINTF_PAGE0(i + 1));
		/* A context has at most one VINTF, even if others are free */
		fake_hw_drain(hw);
		KUNIT_EXPECT_EQ(test, -EEXIST,
				fake_vintf_add(test, hw, &other, 1));
		KUNIT_EXPECT_EQ(test, -EEXIST,
				fake_vintf_add(test, hw, &other, i + 1));
		hw_expect_none(hw);
	}
	KUNIT_EXPECT_EQ(test, -ENOSPC, fake_vintf_add(test, hw, &other, 4));
	hw_expect_none(hw);
	fake_vintf_free(vintf[1]);
	KUNIT_EXPECT_EQ(test, 0, fake_vintf_add(test, hw, &other, 4));
	KUNIT_EXPECT_EQ(test, hw->mmap_base, HW_PHYS + HW_VINTF_PAGE0(2));
	KUNIT_EXPECT_EQ(test, -ENOSPC, fake_vintf_add(test, hw, vintf[1], 2));
	fake_vintf_free(&other);
	/* A context whose VINTF is gone can have another */
	KUNIT_EXPECT_EQ(test, 0, fake_vintf_add(test, hw, vintf[1], 2));

	for (i = 0; i < 3; i++) {
		fake_vintf_free(vintf[i]);
		fake_expect_reset(test, hw, i + 1);
	}
	fake_hw_check(test, hw);
}

/* A vSMMU that cannot be created must not leave anything behind */
static void tegra241_vintf_test_errors(struct kunit *test)
{
	struct fake_cmdqv_hw *hw = fake_vintf_hw(test);
	struct iommu_user_data data = { .type = 2, .uptr = hw->user };
	struct arm_smmu_device *smmu = &hw->fake->smmu;
	struct fake_vintf vintf = {};
	static const u32 bad_len[] = { 1, 8, 15 };
	unsigned int i;

	KUNIT_EXPECT_EQ(test, -EINVAL,
			fake_vintf_init(test, hw, &vintf, 1, NULL));
	for (i = 0; i < ARRAY_SIZE(bad_len); i++) {
		data.len = bad_len[i];
		KUNIT_EXPECT_EQ(test, -EINVAL,
				fake_vintf_init(test, hw, &vintf, 1, &data));
	}
	data.len = 17;
	KUNIT_ASSERT_EQ(test, 0, put_user(~0ULL, hw->user + 2));
	KUNIT_EXPECT_EQ(test, -E2BIG,
			fake_vintf_init(test, hw, &vintf, 1, &data));
	data.len = 16;
	data.uptr = NULL;
	KUNIT_EXPECT_EQ(test, -EFAULT,
			fake_vintf_init(test, hw, &vintf, 1, &data));
	hw_expect_none(hw);

	/* The SMMU has no VMID left */
	smmu->vmid_bits = 2;
	KUNIT_EXPECT_EQ(test, -ENOSPC, fake_vintf_add(test, hw, &vintf, 1));
	hw_expect_none(hw);
	smmu->vmid_bits = 16;

	/* HYP_OWN is set, or the VMID is not the one that was written */
	hw->wired_1 = BIT(17);
	KUNIT_EXPECT_EQ(test, -ENXIO, fake_vintf_add(test, hw, &vintf, 1));
	KUNIT_EXPECT_EQ(test, fake_hw_get(hw, HW_VINTF_STATUS(1)), 0);
	hw->wired_1 = 0;
	hw->wired_0 = FIRST_VMID << 1;
	KUNIT_EXPECT_EQ(test, -ENXIO, fake_vintf_add(test, hw, &vintf, 1));
	hw->wired_0 = 0;
	fake_expect_reset(test, hw, 1);

	/* The VINTF does not start. As it stops, it can be used again */
	hw->wired_0 = 1;
	KUNIT_EXPECT_EQ(test, -ETIMEDOUT, fake_vintf_add(test, hw, &vintf, 1));
	hw->wired_0 = 0;
	fake_expect_reset(test, hw, 1);
	KUNIT_EXPECT_TRUE(test, list_empty(&hw->s2->domain.s2_tags));
	KUNIT_EXPECT_EQ(test, 0, fake_vintf_add(test, hw, &vintf, 1));
	KUNIT_EXPECT_EQ(test, hw->mmap_base, HW_PHYS + HW_VINTF_PAGE0(1));

	/* It does not stop, so no other VM gets it */
	hw->stuck_vintfs = BIT(1);
	fake_vintf_free(&vintf);
	hw->stuck_vintfs = 0;
	KUNIT_EXPECT_EQ(test, 0, fake_vintf_add(test, hw, &vintf, 1));
	KUNIT_EXPECT_EQ(test, hw->mmap_base, HW_PHYS + HW_VINTF_PAGE0(2));
	fake_vintf_free(&vintf);
	fake_hw_check(test, hw);
}

/* The copy of the answer fails: the input is readable, but not writable */
static void tegra241_vintf_test_fault(struct kunit *test)
{
	struct fake_cmdqv_hw *hw = fake_vintf_hw(test);
	struct iommu_user_data data = { .type = 2, .len = 16 };
	struct fake_vintf vintf = {};
	unsigned long addr;

	addr = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE, PROT_READ,
			     MAP_ANONYMOUS | MAP_PRIVATE, 0);
	KUNIT_ASSERT_FALSE(test, !addr || IS_ERR_VALUE(addr));
	data.uptr = (void __user *)addr;
	KUNIT_EXPECT_EQ(test, -EFAULT,
			fake_vintf_init(test, hw, &vintf, 1, &data));
	KUNIT_EXPECT_GT(test, hw->num, 0);
	fake_expect_reset(test, hw, 1);
	KUNIT_EXPECT_EQ(test, 0, fake_vintf_add(test, hw, &vintf, 1));
	fake_vintf_free(&vintf);
	fake_hw_check(test, hw);
}

static void tegra241_vintf_test_queues(struct kunit *test)
{
	struct fake_cmdqv_hw *hw = fake_vintf_hw(test);
	struct fake_vintf *vintf = fake_vintf_alloc(test, hw, 1);
	phys_addr_t base = virt_to_phys((void *)vintf->page);
	static const size_t bad[] = { 0, 16, 31, 33, 48, 4095 };
	unsigned int i;

	fake_hw_drain(hw);
	/* Queues of other types, or in the wrong order */
	KUNIT_EXPECT_EQ(test, 0,
			vintf->core->ops->get_hw_queue_size(vintf->core, 2));
	KUNIT_EXPECT_NE(test, 0,
			vintf->core->ops->get_hw_queue_size(vintf->core, 1));
	KUNIT_EXPECT_EQ(test, -EIO, fake_lvcmdq_add(vintf, 1));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			fake_lvcmdq_add_at(vintf, 2, 2, 32, base));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			fake_lvcmdq_add_at(vintf, 2, ~0U, 32, base));
	for (i = 0; i < ARRAY_SIZE(bad); i++)
		KUNIT_EXPECT_EQ(test, -EINVAL,
				fake_lvcmdq_add_at(vintf, 0, 0, bad[i], base));
	KUNIT_EXPECT_EQ(test, -EINVAL,
			fake_lvcmdq_add_at(vintf, 0, 0, 64, base + 32));
	/* The hardware has 48 bits */
	KUNIT_EXPECT_EQ(test, -EINVAL,
			fake_lvcmdq_add_at(vintf, 0, 0, 64, BIT_ULL(48)));
	hw_expect_none(hw);

	/* The queue is complete before the guest can reach it */
	KUNIT_EXPECT_EQ(test, 0, fake_lvcmdq_add(vintf, 0));
	expect_stop(hw, 1, 0, __LINE__);
	hw_expect(hw, HW_PAGE1(2) + HW_BASE, base | 3);
	hw_expect(hw, HW_ALLOC(2), 1 | 0 << 1 | 1 << 15);
	hw_expect_none(hw);
	KUNIT_EXPECT_EQ(test, -EEXIST,
			fake_lvcmdq_add_at(vintf, 2, 0, 32, base));
	hw_expect_none(hw);
	fake_hw_guest(hw, 1, 0, HW_CONFIG, 1);
	KUNIT_EXPECT_EQ(test, fake_hw_get(hw, HW_PAGE0(2) + HW_STATUS), 1);

	KUNIT_EXPECT_EQ(test, 0, fake_lvcmdq_add_at(vintf, 1, 1, 4096, base));
	expect_stop(hw, 1, 1, __LINE__);
	hw_expect(hw, HW_PAGE1(3) + HW_BASE, base | 8);
	hw_expect(hw, HW_ALLOC(3), 1 | 1 << 1 | 1 << 15);
	hw_expect_none(hw);
	/* Index 0 cannot be destroyed before index 1 */
	KUNIT_EXPECT_EQ(test, 2, refcount_read(&vintf->hw_queue[0].obj.users));

	expect_none(hw->fake);
	fake_lvcmdq_del(vintf, 1);
	expect_stop(hw, 1, 1, __LINE__);
	hw_expect_none(hw);
	/* A late timeout of an ATC_INV must not reach the next queue */
	expect_sync(hw->fake);
	expect_none(hw->fake);
	KUNIT_EXPECT_EQ(test, 1, refcount_read(&vintf->hw_queue[0].obj.users));

	/* No queue can depend on a queue that is being destroyed */
	refcount_set(&vintf->hw_queue[0].obj.users, 0);
	KUNIT_EXPECT_EQ(test, -EIO, fake_lvcmdq_add(vintf, 1));
	refcount_set(&vintf->hw_queue[0].obj.users, 1);

	/* CMDQ_ALLOC does not assign the queue */
	hw->no_alloc = true;
	KUNIT_EXPECT_EQ(test, -ENXIO, fake_lvcmdq_add(vintf, 1));
	hw->no_alloc = false;
	KUNIT_EXPECT_EQ(test, 1, refcount_read(&vintf->hw_queue[0].obj.users));
	KUNIT_EXPECT_EQ(test, fake_hw_get(hw, HW_ALLOC(3)), 1 << 1 | 1 << 15);
	KUNIT_EXPECT_EQ(test, hw->queues[3].base, 0);

	fake_lvcmdq_del(vintf, 0);
	fake_vintf_free(vintf);
	fake_expect_reset(test, hw, 1);
	fake_hw_check(test, hw);
}

/* The guest enables its queues after each access of the driver */
static void tegra241_vintf_test_hostile(struct kunit *test)
{
	struct fake_cmdqv_hw *hw = fake_vintf_hw(test);
	struct fake_vintf *vintf = fake_vintf_alloc(test, hw, 1);
	unsigned int i;

	hw->hostile = 1;
	for (i = 0; i < 3; i++) {
		KUNIT_EXPECT_EQ(test, 0, fake_lvcmdq_add(vintf, 0));
		KUNIT_EXPECT_EQ(test, 0, fake_lvcmdq_add(vintf, 1));
		/* The attack reaches the queues */
		KUNIT_EXPECT_EQ(test, hw->queues[2].page0[HW_STATUS / 4], 1);
		KUNIT_EXPECT_EQ(test, hw->queues[3].page0[HW_STATUS / 4], 1);
		fake_lvcmdq_del(vintf, 1);
		KUNIT_EXPECT_EQ(test, hw->queues[3].page0[HW_STATUS / 4], 0);
		KUNIT_EXPECT_EQ(test, hw->queues[3].base, 0);
		fake_lvcmdq_del(vintf, 0);
		KUNIT_EXPECT_EQ(test, hw->queues[2].page0[HW_STATUS / 4], 0);
	}
	fake_vintf_free(vintf);
	hw->hostile = 0;
	fake_expect_reset(test, hw, 1);
	fake_hw_check(test, hw);
}

/* If a queue does not stop, its memory and its VINTF must not be reused */
static void tegra241_vintf_test_stuck(struct kunit *test)
{
	struct fake_cmdqv_hw *hw = fake_vintf_hw(test);
	struct fake_vintf *vintf = fake_vintf_alloc(test, hw, 1);
	struct page *page = virt_to_page((void *)vintf->page);
	int refs = page_ref_count(page);

	KUNIT_EXPECT_EQ(test, 0, fake_lvcmdq_add(vintf, 0));
	fake_hw_guest(hw, 1, 0, HW_CONFIG, 1);
	hw->stuck_queues = BIT(2);
	fake_lvcmdq_del(vintf, 0);
	KUNIT_EXPECT_EQ(test, page_ref_count(page), refs + 1);
	/* The guest cannot reach the queue any more, and BASE is unchanged */
	KUNIT_EXPECT_EQ(test, fake_hw_get(hw, HW_ALLOC(2)), 1 << 15);
	KUNIT_EXPECT_EQ(test, hw->queues[2].base,
			virt_to_phys((void *)vintf->page) | 3);
	KUNIT_EXPECT_EQ(test, -ETIMEDOUT, fake_lvcmdq_add(vintf, 0));
	KUNIT_EXPECT_EQ(test, page_ref_count(page), refs + 1);
	fake_vintf_free(vintf);
	KUNIT_EXPECT_EQ(test, fake_hw_get(hw, HW_VINTF_CONFIG(1)), 0);

	KUNIT_EXPECT_EQ(test, 0, fake_vintf_add(test, hw, vintf, 1));
	KUNIT_EXPECT_EQ(test, hw->mmap_base, HW_PHYS + HW_VINTF_PAGE0(2));
	fake_vintf_free(vintf);
	put_page(page);
	fake_hw_check(test, hw);
}

static void tegra241_vintf_test_vdevices(struct kunit *test)
{
	struct fake_cmdqv_hw *hw = fake_vintf_hw(test);
	struct fake_vintf *vintf = fake_vintf_alloc(test, hw, 1);
	struct arm_vsmmu *vsmmu = &vintf->vcmdqv->vsmmu;
	struct fake_dev *fdev[17];
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(fdev); i++)
		fdev[i] = fake_dev_alloc(test, hw->fake, 10 + i);
	fake_hw_drain(hw);

	KUNIT_EXPECT_EQ(test, -EINVAL, fake_vdev_add(vsmmu, fdev[0], 1 << 20));
	fdev[0]->master.num_streams = 2;
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, fake_vdev_add(vsmmu, fdev[0], 1));
	fdev[0]->master.num_streams = 1;
	fdev[0]->streams[0].id = 1 << 20;
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, fake_vdev_add(vsmmu, fdev[0], 1));
	fdev[0]->streams[0].id = 10;
	hw_expect_none(hw);

	/* A match must not be enabled before its replacement is known */
	for (i = 0; i < 16; i++) {
		KUNIT_EXPECT_EQ(test, 0,
				fake_vdev_add(vsmmu, fdev[i],
					      (1 << 20) - 1 - i));
		hw_expect(hw, HW_SID_REPLACE(1, i), 10 + i);
		hw_expect(hw, HW_SID_MATCH(1, i),
			  1 | ((1 << 20) - 1 - i) << 1);
	}
	KUNIT_EXPECT_EQ(test, -ENOSPC, fake_vdev_add(vsmmu, fdev[16], 1));
	hw_expect_none(hw);

	/* Clear the registers, because the device may get another owner */
	fake_vdev_del(vsmmu, fdev[3]);
	hw_expect(hw, HW_SID_MATCH(1, 3), 0);
	hw_expect(hw, HW_SID_REPLACE(1, 3), 0);
	KUNIT_EXPECT_EQ(test, 0, fake_vdev_add(vsmmu, fdev[16], 1));
	hw_expect(hw, HW_SID_REPLACE(1, 3), 26);
	hw_expect(hw, HW_SID_MATCH(1, 3), 1 | 1 << 1);
	hw_expect_none(hw);

	for (i = 0; i < ARRAY_SIZE(fdev); i++)
		if (i != 3)
			fake_vdev_del(vsmmu, fdev[i]);
	fake_vintf_free(vintf);
	fake_expect_reset(test, hw, 1);
	fake_hw_check(test, hw);
}

/* Each VM has its own vSIDs, which disappear with their device */
static void tegra241_vintf_test_foreign(struct kunit *test)
{
	struct fake_cmdqv_hw *hw = fake_vintf_hw(test);
	struct fake_vintf *a = fake_vintf_alloc(test, hw, 1);
	struct fake_vintf *b = fake_vintf_alloc(test, hw, 2);
	struct fake_dev *other = fake_dev_alloc(test, hw->fake, 33);
	unsigned int s;

	KUNIT_EXPECT_EQ(test, 0,
			fake_vdev_add(&a->vcmdqv->vsmmu, hw->fdev, VSID));
	KUNIT_EXPECT_EQ(test, 0,
			fake_vdev_add(&b->vcmdqv->vsmmu, other, VSID));
	for (s = 0; s < 16; s++) {
		KUNIT_EXPECT_EQ(test, fake_hw_get(hw, HW_SID_REPLACE(1, s)),
				s ? 0 : FAKE_VM_SID);
		KUNIT_EXPECT_EQ(test, fake_hw_get(hw, HW_SID_REPLACE(2, s)),
				s ? 0 : 33);
		KUNIT_EXPECT_EQ(test, fake_hw_get(hw, HW_SID_MATCH(1, s)),
				s ? 0 : 1 | VSID << 1);
		KUNIT_EXPECT_EQ(test, fake_hw_get(hw, HW_SID_MATCH(2, s)),
				s ? 0 : 1 | VSID << 1);
	}
	fake_vdev_del(&a->vcmdqv->vsmmu, hw->fdev);
	KUNIT_EXPECT_EQ(test, fake_hw_get(hw, HW_SID_MATCH(1, 0)), 0);
	KUNIT_EXPECT_EQ(test, fake_hw_get(hw, HW_SID_MATCH(2, 0)),
			1 | VSID << 1);
	fake_vdev_del(&b->vcmdqv->vsmmu, other);
	fake_vintf_free(a);
	fake_vintf_free(b);
	fake_hw_check(test, hw);
}

/* The register must have the VMID of the VM's STEs, commands and unmaps */
static void tegra241_vintf_test_vmid(struct kunit *test)
{
	struct fake_cmdqv_hw *hw = fake_vintf_hw(test);
	struct fake_vintf *vintf = fake_vintf_alloc(test, hw, 1);
	struct arm_vsmmu *vsmmu = &vintf->vcmdqv->vsmmu;
	struct fake_smmu *fake = hw->fake;
	struct iommu_domain *domain;
	u32 num = 1;

	KUNIT_EXPECT_EQ(test, 0, fake_vdev_add(vsmmu, hw->fdev, VSID));
	fake_smmu_drain(fake);

	/* A queue may run before anything is attached: unmaps must reach it */
	arm_smmu_s2_inv_range(0x8000, SZ_4K, SZ_4K, true, &hw->s2->domain);
	expect_cmd(fake, OP_TLBI_S2_IPA | CMD_VMID(FIRST_VMID), 0x8001);
	expect_sync(fake);
	expect_cmd(fake, OP_TLBI_NH_ALL | CMD_VMID(FIRST_VMID), 0);
	expect_sync(fake);

	domain = fake_nested_alloc(vsmmu, hw->user, STE_BYPASS, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
	KUNIT_ASSERT_EQ(test, 0, fake_attach_nested(hw->fdev, domain));
	KUNIT_EXPECT_EQ(test,
			le64_to_cpu(fake->stes[FAKE_VM_SID].data[2]) & 0xffff,
			FIRST_VMID);
	KUNIT_ASSERT_EQ(test, 0, fake_attach_bare(hw->fdev, NULL));
	/* The VMID stays allocated after the detach */
	KUNIT_EXPECT_FALSE(test, list_empty(&hw->s2->domain.s2_tags));
	fake_smmu_drain(fake);

	/* Commands that the queue does not support go to the SMMU's own */
	fake_write(test, hw->user, 0, OP_TLBI_NH_ALL, 0);
	KUNIT_EXPECT_EQ(test, 0, fake_inval(vsmmu, hw->user, 16, &num));
	expect_cmd(fake, OP_TLBI_NH_ALL | CMD_VMID(FIRST_VMID), 0);
	expect_sync(fake);
	expect_none(fake);

	domain->ops->free(domain);
	fake_vdev_del(vsmmu, hw->fdev);
	fake_vintf_free(vintf);
	fake_hw_check(test, hw);
}

/* The SMMU is shut down while VMs run */
static void tegra241_vintf_test_stop(struct kunit *test)
{
	struct fake_cmdqv_hw *hw = fake_vintf_hw(test);
	struct fake_vintf *vintf = fake_vintf_alloc(test, hw, 1), other = {};
	struct arm_vsmmu *vsmmu = &vintf->vcmdqv->vsmmu;

	KUNIT_EXPECT_EQ(test, 0, fake_vdev_add(vsmmu, hw->fdev, VSID));
	KUNIT_EXPECT_EQ(test, 0, fake_lvcmdq_add(vintf, 0));
	hw->hostile = 1;
	tegra241_vintf_pool_stop(&hw->pool);
	hw->hostile = 0;
	fake_expect_reset(test, hw, 1);
	fake_smmu_drain(hw->fake);

	/* The SMMU does not answer any more, so nothing may wait for it */
	fake_hw_drain(hw);
	KUNIT_EXPECT_EQ(test, -ENODEV, fake_lvcmdq_add(vintf, 1));
	fake_lvcmdq_del(vintf, 0);
	fake_vdev_del(vsmmu, hw->fdev);
	KUNIT_EXPECT_EQ(test, -ENODEV,
			fake_vdev_add(vsmmu, hw->fdev, VSID));
	KUNIT_EXPECT_EQ(test, -ENODEV, fake_vintf_add(test, hw, &other, 2));
	expect_cmd(hw->fake, OP_TLBI_S12_VMALL | CMD_VMID(FIRST_VMID + 1), 0);
	expect_sync(hw->fake);
	fake_vintf_free(vintf);
	hw_expect_none(hw);
	fake_hw_check(test, hw);
}

/* A queue does not stop at the shutdown, and the process of the VM goes on */
static void tegra241_vintf_test_stop_stuck(struct kunit *test)
{
	struct fake_cmdqv_hw *hw = fake_vintf_hw(test);
	struct fake_vintf *vintf = fake_vintf_alloc(test, hw, 1);
	struct page *page = virt_to_page((void *)vintf->page);
	int refs = page_ref_count(page);

	KUNIT_EXPECT_EQ(test, 0, fake_lvcmdq_add(vintf, 0));
	KUNIT_EXPECT_EQ(test, 0, fake_lvcmdq_add(vintf, 1));
	fake_hw_guest(hw, 1, 0, HW_CONFIG, 1);
	fake_hw_guest(hw, 1, 1, HW_CONFIG, 1);
	hw->stuck_queues = BIT(2);
	tegra241_vintf_pool_stop(&hw->pool);
	/* The guest reaches neither queue, and the other queue has stopped */
	KUNIT_EXPECT_EQ(test, fake_hw_get(hw, HW_ALLOC(2)), 1 << 15);
	KUNIT_EXPECT_EQ(test, fake_hw_get(hw, HW_ALLOC(3)), 1 << 1 | 1 << 15);
	KUNIT_EXPECT_EQ(test, hw->queues[2].base,
			virt_to_phys((void *)vintf->page) | 3);
	KUNIT_EXPECT_EQ(test, hw->queues[3].base, 0);
	KUNIT_EXPECT_EQ(test, fake_hw_get(hw, HW_VINTF_STATUS(1)), 0);
	/* Both are in the page, which is kept for the queue that still runs */
	KUNIT_EXPECT_EQ(test, page_ref_count(page), refs + 1);

	fake_hw_drain(hw);
	fake_lvcmdq_del(vintf, 1);
	fake_lvcmdq_del(vintf, 0);
	fake_vintf_free(vintf);
	hw_expect_none(hw);
	KUNIT_EXPECT_EQ(test, page_ref_count(page), refs + 1);
	if (page_ref_count(page) > refs)
		put_page(page);
	fake_hw_check(test, hw);
}

struct vintf_stop {
	struct fake_cmdqv_hw *hw;
	struct fake_vintf *vintf;
};

static int vintf_stop_thread(struct fake_thread *thread)
{
	struct vintf_stop *stop = thread->arg;

	tegra241_vintf_pool_stop(&stop->hw->pool);
	return 0;
}

static int vintf_del_queue_thread(struct fake_thread *thread)
{
	struct vintf_stop *stop = thread->arg;

	fake_lvcmdq_del(stop->vintf, 0);
	return 0;
}

/*
 * The process of the VM destroys its queue while the shutdown begins: one of the two
 * stops the queue
 */
static void tegra241_vintf_test_stop_race(struct kunit *test)
{
	struct fake_cmdqv_hw *hw = fake_vintf_hw(test);
	struct fake_vintf *vintf = fake_vintf_alloc(test, hw, 1);
	struct vintf_stop stop = { .hw = hw, .vintf = vintf };
	struct fake_thread shutdown = { .arg = &stop };
	struct fake_thread vm = { .arg = &stop };

	KUNIT_EXPECT_EQ(test, 0, fake_lvcmdq_add(vintf, 0));
	fake_hw_guest(hw, 1, 0, HW_CONFIG, 1);
	fake_thread_init(test, &shutdown, vintf_stop_thread, false);
	fake_thread_init(test, &vm, vintf_del_queue_thread, false);

	/* The registers of another VM are written, and both wait. The shutdown is first */
	down_read(&hw->pool.sem);
	fake_thread_go(&shutdown);
	KUNIT_EXPECT_TRUE(test, fake_thread_sleeps(&shutdown));
	fake_thread_go(&vm);
	KUNIT_EXPECT_TRUE(test, fake_thread_sleeps(&vm));
	up_read(&hw->pool.sem);
	fake_thread_join(&shutdown);
	fake_thread_join(&vm);

	fake_expect_reset(test, hw, 1);
	fake_vintf_free(vintf);
	fake_hw_check(test, hw);
}

/* A crashed kernel has left its VMs running */
static void tegra241_vintf_test_crash(struct kunit *test)
{
	struct fake_cmdqv_hw *hw = fake_vintf_hw(test);
	struct fake_vintf vintf = {}, other = {};
	unsigned int v, l, s, q;
	u8 info[8];

	for (v = 1; v < HW_VINTFS; v++) {
		hw->conf[HW_VINTF_CONFIG(v) / 4] = 1 | VINTF_CONFIG(0xff);
		hw->conf[HW_VINTF_STATUS(v) / 4] = 1;
		for (s = 0; s < 16; s++) {
			hw->conf[HW_SID_MATCH(v, s) / 4] = 1;
			hw->conf[HW_SID_REPLACE(v, s) / 4] = 5;
		}
		for (l = 0; l < HW_LVCMDQS; l++) {
			q = v * HW_LVCMDQS + l;
			hw->conf[HW_ALLOC(q) / 4] |= 1;
			memset(&hw->queues[q], 0xff, sizeof(hw->queues[q]));
			hw->queues[q].page0[HW_GERROR / 4] = 0;
		}
	}
	hw->hostile = 2;
	tegra241_vintf_pool_reset(&hw->pool);
	hw->hostile = 0;
	/* The CMD_SYNC ends the ATC_INVs of the crashed kernel */
	expect_sync(hw->fake);
	expect_none(hw->fake);
	for (v = 1; v < HW_VINTFS; v++)
		fake_expect_reset(test, hw, v);
	KUNIT_EXPECT_EQ(test, hw->pool.num_vintfs, HW_VINTFS);

	/* Queue and VINTF do not stop: only the remaining VINTF is used */
	for (v = 1; v < HW_VINTFS; v++) {
		hw->conf[HW_VINTF_CONFIG(v) / 4] = 1 | VINTF_CONFIG(0xff);
		hw->conf[HW_VINTF_STATUS(v) / 4] = 1;
	}
	hw->queues[3].page0[HW_STATUS / 4] = 1;
	hw->queues[7].page0[HW_CONFIG / 4] = 1;
	hw->queues[7].page0[HW_STATUS / 4] = 1;
	hw->stuck_queues = BIT(3);
	hw->stuck_vintfs = BIT(2);
	fake_hw_reset(hw, HW_PARAM_VALUE, HW_SIZE);
	fake_expect_reset(test, hw, 3);
	KUNIT_EXPECT_EQ(test, 0, hw_info(test, hw, info));
	KUNIT_EXPECT_EQ(test, 0, fake_vintf_add(test, hw, &vintf, 1));
	KUNIT_EXPECT_EQ(test, hw->mmap_base, HW_PHYS + HW_VINTF_PAGE0(3));
	KUNIT_EXPECT_EQ(test, -ENOSPC, fake_vintf_add(test, hw, &other, 2));
	fake_vintf_free(&vintf);

	hw->conf[HW_VINTF_STATUS(3) / 4] = 1;
	hw->stuck_vintfs = BIT(2) | BIT(3);
	fake_hw_reset(hw, HW_PARAM_VALUE, HW_SIZE);
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, hw_info(test, hw, info));
	fake_hw_check(test, hw);
}

static struct kunit_case vintf_test_cases[] = {
	KUNIT_CASE(tegra241_vintf_test_info),
	KUNIT_CASE(tegra241_vintf_test_alloc),
	KUNIT_CASE(tegra241_vintf_test_limits),
	KUNIT_CASE_SLOW(tegra241_vintf_test_errors),
	KUNIT_CASE(tegra241_vintf_test_fault),
	KUNIT_CASE(tegra241_vintf_test_queues),
	KUNIT_CASE(tegra241_vintf_test_hostile),
	KUNIT_CASE_SLOW(tegra241_vintf_test_stuck),
	KUNIT_CASE(tegra241_vintf_test_vdevices),
	KUNIT_CASE(tegra241_vintf_test_foreign),
	KUNIT_CASE(tegra241_vintf_test_vmid),
	KUNIT_CASE(tegra241_vintf_test_stop),
	KUNIT_CASE_SLOW(tegra241_vintf_test_stop_stuck),
	KUNIT_CASE(tegra241_vintf_test_stop_race),
	KUNIT_CASE_SLOW(tegra241_vintf_test_crash),
	{},
};

static struct kunit_suite vintf_test_suite = {
	.name = "arm-smmu-v3-iommufd-vintf",
	.test_cases = vintf_test_cases,
};

kunit_test_suite(vintf_test_suite);
