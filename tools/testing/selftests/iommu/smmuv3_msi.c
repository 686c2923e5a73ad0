// SPDX-License-Identifier: GPL-2.0-only
/*
 * MSIs of a device of a VM, whose doorbells the kernel maps
 */
#include "lib/clock.h"
#include "smmuv3_vm.h"

/* The kernel must have mapped the doorbell in the window */
static void expect_msi_in_window(struct __test_metadata *_metadata,
				 struct vm *vm)
{
	__u64 addr = edu_msi_address(&vm->dev);

	/* The address must never be the physical address of the doorbell */
	EXPECT_LE(SW_MSI_BASE, addr);
	EXPECT_GT(SW_MSI_BASE + SW_MSI_LENGTH, addr);
}

TEST_F(nesting, msi_enabled_before)
{
	struct vm *vm = &self->vm;
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	__u32 bypass, abort_id, s2[2], viommu_id;

	ASSERT_EQ(0, vm_hwpt(vm, ste_bypass(), &bypass));
	ASSERT_EQ(0, vm_hwpt(vm, ste_abort(), &abort_id));
	ASSERT_EQ(0, edu_msi_enable(&vm->dev));
	expect_msi_in_window(_metadata, vm);
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, LATE_MS));
	ASSERT_EQ(0, edu_attach(&vm->dev, bypass));
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, LATE_MS));

	/* The write is ordinary DMA, so stage 1 of the guest applies, too */
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_FALSE(edu_msi_arrives(&vm->dev, 200));
	s1_map_msi_window(&vm->g, vm->v.ttb);
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, LATE_MS));
	ASSERT_EQ(0, edu_attach(&vm->dev, abort_id));
	EXPECT_FALSE(edu_msi_arrives(&vm->dev, 200));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, LATE_MS));
	expect_msi_in_window(_metadata, vm);

	/*
	 * A stage 2 that has never had an interrupt, bare and below a nested
	 * domain
	 */
	ASSERT_EQ(0, iommufd_ioctl(vm->fd, IOMMU_IOAS_ALLOC, &ioas));
	ASSERT_EQ(0, hwpt_alloc(vm->fd, vm->dev.dev_id, ioas.out_ioas_id,
				IOMMU_HWPT_ALLOC_NEST_PARENT,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &s2[0]));
	ASSERT_EQ(0, hwpt_alloc(vm->fd, vm->dev.dev_id, ioas.out_ioas_id,
				IOMMU_HWPT_ALLOC_NEST_PARENT,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &s2[1]));
	ASSERT_EQ(0, edu_attach(&vm->dev, s2[0]));
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, LATE_MS));
	ASSERT_EQ(0, viommu_alloc(vm->fd, vm->dev.dev_id, s2[1], &viommu_id));
	ASSERT_EQ(0, hwpt_alloc_ste(vm->fd, vm->dev.dev_id, viommu_id,
				    ste_bypass(), &bypass));
	ASSERT_EQ(0, edu_attach(&vm->dev, bypass));
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, LATE_MS));
}

/* While domains of an IOAS come and go, the address in the device stays */
TEST_F(bare, msi_after_detach)
{
	ASSERT_EQ(0, edu_attach(&self->dev, self->ioas_id));
	ASSERT_EQ(0, edu_msi_enable(&self->dev));
	EXPECT_TRUE(edu_msi_arrives(&self->dev, LATE_MS));
	ASSERT_EQ(0, edu_detach(&self->dev));
	EXPECT_FALSE(edu_msi_arrives(&self->dev, 200));
	ASSERT_EQ(0, edu_attach(&self->dev, self->ioas_id));
	EXPECT_TRUE(edu_msi_arrives(&self->dev, LATE_MS));
}

/* Page tables of all IOMMUs, in KiB */
static long page_tables(void)
{
	static const char key[] = "\nSecPageTables:";
	char buf[4096], *at;

	/* Each CPU keeps a part of the count to itself */
	if (write_str("/proc/sys/vm/stat_refresh", "1") ||
	    read_str("/proc/meminfo", buf, sizeof(buf)))
		return -1;
	at = strstr(buf, key);
	return at ? strtol(at + strlen(key), NULL, 10) : -1;
}

/*
 * An interrupt is set up under locks that all VMs need, where charging memory
 * could block. So the memory for a doorbell must be allocated before.
 */
TEST_F(bare, msi_takes_no_tables)
{
	long before, tables = 0, all = 0;
	unsigned int i;

	for (i = 0; i != 8; i++) {
		bare_close(self->fd, &self->dev);
		ASSERT_EQ(0, bare_open(self->bdf, &self->fd, &self->ioas_id,
				       &self->dev));
		before = page_tables();
		ASSERT_LE(0, before);
		ASSERT_EQ(0, edu_attach(&self->dev, self->ioas_id));
		all -= before;
		before = page_tables();
		ASSERT_EQ(0, edu_msi_enable(&self->dev));
		tables += page_tables() - before;
		all += page_tables();
		EXPECT_TRUE(edu_msi_arrives(&self->dev, LATE_MS));
	}
	/* A root table and three more, if the host does nothing in between */
	EXPECT_LE(8 * 3 * 4, all);
	EXPECT_GT(8 * 4, tables) {
		TH_LOG("%ld KiB of page tables, %ld for doorbells", all, tables);
	}
}

FIXTURE(msi)
{
	struct vm vm;
	__u32 hwpt_bypass;
};

FIXTURE_VARIANT(msi)
{
	bool bypass;
	bool detach;
};

FIXTURE_VARIANT_ADD(msi, stage1)
{
};

FIXTURE_VARIANT_ADD(msi, bypass)
{
	.bypass = true,
};

FIXTURE_VARIANT_ADD(msi, stage1_first)
{
	.detach = true,
};

FIXTURE_VARIANT_ADD(msi, bypass_first)
{
	.bypass = true,
	.detach = true,
};

FIXTURE_SETUP(msi)
{
	vm_start_nesting(_metadata, &self->vm);
	if (_metadata->exit_code)
		return;
	s1_map_msi_window(&self->vm.g, self->vm.v.ttb);
	ASSERT_EQ(0, vm_hwpt(&self->vm, ste_bypass(), &self->hwpt_bypass));
}

FIXTURE_TEARDOWN(msi)
{
	vm_stop(_metadata, &self->vm);
}

/*
 * The interrupt is set up while the device is nested, including the case that
 * no attach to the stage 2 itself has mapped the doorbell before
 */
TEST_F(msi, enabled_after)
{
	struct vm *vm = &self->vm;
	__u32 first = variant->bypass ? self->hwpt_bypass : vm->v.hwpt_s1;
	__u32 second = variant->bypass ? vm->v.hwpt_s1 : self->hwpt_bypass;

	if (variant->detach)
		ASSERT_EQ(0, edu_detach(&vm->dev));
	ASSERT_EQ(0, edu_attach(&vm->dev, first));
	ASSERT_EQ(0, edu_msi_enable(&vm->dev));
	expect_msi_in_window(_metadata, vm);
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, LATE_MS));
	ASSERT_EQ(0, edu_attach(&vm->dev, second));
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, LATE_MS));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, LATE_MS));

	/* Disabled and enabled again, with a detach in between */
	ASSERT_EQ(0, edu_msi_disable(&vm->dev));
	ASSERT_EQ(0, edu_detach(&vm->dev));
	ASSERT_EQ(0, edu_attach(&vm->dev, first));
	ASSERT_EQ(0, edu_msi_enable(&vm->dev));
	EXPECT_TRUE(edu_msi_arrives(&vm->dev, LATE_MS));
	/*
	 * If the VMM unmaps everything, guest memory is unmapped, but not the
	 * doorbell
	 */
	EXPECT_EQ(0, ioas_unmap(vm->fd, vm->g.ioas_id, GUEST_RAM_IPA,
				GUEST_RAM_SIZE));
	if (variant->bypass)
		EXPECT_TRUE(edu_msi_arrives(&vm->dev, LATE_MS));
}

TEST_HARNESS_MAIN
