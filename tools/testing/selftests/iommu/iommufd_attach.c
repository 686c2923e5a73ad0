// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attaching and replacing against the mock IOMMU driver, and everything that
 * moves with a device: its reserved regions, the other devices of its group,
 * the doorbells of its MSIs, and the domain that blocks it during a reset.
 */
#include "iommufd_vm.h"

/*
 * The regions that a device reserves in the IOAS it is attached to. A replace
 * that fails must keep them: otherwise the VMM could map memory at IOVAs where
 * DMA does not reach memory.
 */
FIXTURE(reserved)
{
	int fd;
	__u32 ioas[2];
	struct mock dev;
	struct mock other;
	__u32 parent;
	__u32 dirty;
};

FIXTURE_VARIANT(reserved)
{
	bool nested;
};

FIXTURE_VARIANT_ADD(reserved, from_paging)
{
};

FIXTURE_VARIANT_ADD(reserved, from_nested)
{
	.nested = true,
};

FIXTURE_SETUP(reserved)
{
	__u32 start;

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	ASSERT_EQ(0, ioas_alloc(self->fd, &self->ioas[0]));
	ASSERT_EQ(0, ioas_alloc(self->fd, &self->ioas[1]));
	/* It cannot be attached to a domain with dirty tracking */
	ASSERT_EQ(0, plug(self->fd, self->ioas[0],
			  MOCK_FLAGS_DEVICE_RESV | MOCK_FLAGS_DEVICE_NO_DIRTY,
			  &self->dev));
	ASSERT_EQ(0, plug(self->fd, self->ioas[1], 0, &self->other));
	ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev.id, self->ioas[0],
				IOMMU_HWPT_ALLOC_NEST_PARENT, &self->parent));
	ASSERT_EQ(0, hwpt_alloc(self->fd, self->other.id, self->ioas[0],
				IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &self->dirty));
	start = self->parent;
	if (variant->nested)
		ASSERT_EQ(0, nested_alloc(self->fd, self->dev.id, self->parent,
					  &start));
	ASSERT_EQ(0, attach(self->fd, &self->dev, start));
}

FIXTURE_TEARDOWN(reserved)
{
	teardown_iommufd(self->fd, _metadata);
}

/* The first page of the region and its last page */
static bool is_reserved(int fd, __u32 ioas)
{
	return map_at(fd, ioas, MOCK_RESV_START) == -EINVAL &&
	       map_at(fd, ioas, MOCK_RESV_START + MOCK_RESV_LENGTH -
				PAGE_SIZE) == -EINVAL;
}

static bool is_free(int fd, __u32 ioas)
{
	return !map_at(fd, ioas, MOCK_RESV_START) &&
	       !ioas_unmap(fd, ioas, MOCK_RESV_START, PAGE_SIZE);
}

TEST_F(reserved, by_attachment)
{
	EXPECT_TRUE(is_reserved(self->fd, self->ioas[0]));
	EXPECT_TRUE(is_free(self->fd, self->ioas[1]));
	/* The region is reserved, and nothing beside it */
	EXPECT_EQ(0, map_at(self->fd, self->ioas[0],
			    MOCK_RESV_START - PAGE_SIZE));
	EXPECT_EQ(0, map_at(self->fd, self->ioas[0],
			    MOCK_RESV_START + MOCK_RESV_LENGTH));

	ASSERT_EQ(0, attach(self->fd, &self->dev, self->ioas[1]));
	EXPECT_TRUE(is_reserved(self->fd, self->ioas[1]));
	EXPECT_TRUE(is_free(self->fd, self->ioas[0]));
	ASSERT_EQ(0, destroy(self->fd, self->dev.stdev));
	EXPECT_TRUE(is_free(self->fd, self->ioas[1]));
}

/* On the same IOAS, the old attachment still needs the regions */
TEST_F(reserved, failed_replace_same_ioas)
{
	EXPECT_EQ(-EINVAL, attach(self->fd, &self->dev, self->dirty));
	EXPECT_TRUE(is_reserved(self->fd, self->ioas[0]));
	EXPECT_EQ(-EINVAL, attach(self->fd, &self->dev, self->dirty));
	EXPECT_TRUE(is_reserved(self->fd, self->ioas[0]));

	/* The regions are released with the attachment */
	ASSERT_EQ(0, attach(self->fd, &self->dev, self->ioas[1]));
	EXPECT_TRUE(is_free(self->fd, self->ioas[0]));
	EXPECT_TRUE(is_reserved(self->fd, self->ioas[1]));
}

/* On another IOAS, the regions that were added must be released */
TEST_F(reserved, failed_replace_other_ioas)
{
	__u32 dirty;

	ASSERT_EQ(0, hwpt_alloc(self->fd, self->other.id, self->ioas[1],
				IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &dirty));
	EXPECT_EQ(-EINVAL, attach(self->fd, &self->dev, dirty));
	EXPECT_TRUE(is_reserved(self->fd, self->ioas[0]));
	EXPECT_TRUE(is_free(self->fd, self->ioas[1]));
}

/* The same for a nested domain that the device is not allowed to use */
TEST_F(reserved, failed_replace_to_nested)
{
	__u32 viommu, nested, parent;

	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev.id, self->parent,
				  &viommu));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev.id, viommu, &nested));
	EXPECT_EQ(-ENOENT, attach(self->fd, &self->dev, nested));
	EXPECT_TRUE(is_reserved(self->fd, self->ioas[0]));

	ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev.id, self->ioas[1],
				IOMMU_HWPT_ALLOC_NEST_PARENT, &parent));
	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev.id, parent, &viommu));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev.id, viommu, &nested));
	EXPECT_EQ(-ENOENT, attach(self->fd, &self->dev, nested));
	EXPECT_TRUE(is_reserved(self->fd, self->ioas[0]));
	EXPECT_TRUE(is_free(self->fd, self->ioas[1]));
}

TEST_F(group, go_together)
{
	struct mock third;

	ASSERT_EQ(0, attach(self->fd, &self->dev[0], self->hwpt[0]));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->hwpt[0]));
	ASSERT_EQ(0, attach(self->fd, &self->dev[1], self->hwpt[1]));
	EXPECT_EQ(0, destroy(self->fd, self->hwpt[0]));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->hwpt[1]));

	/* A device that joins must use the HWPT of its group */
	EXPECT_EQ(-EINVAL, plug_beside(self->fd, self->parent, 0, &self->dev[1],
				       &third));
	ASSERT_EQ(0, plug_beside(self->fd, self->hwpt[1], 0, &self->dev[1],
				 &third));
	/* Each device holds the HWPT, until the last has left */
	ASSERT_EQ(0, destroy(self->fd, self->dev[1].stdev));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->hwpt[1]));
	ASSERT_EQ(0, destroy(self->fd, self->dev[0].stdev));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->hwpt[1]));
	ASSERT_EQ(0, destroy(self->fd, third.stdev));
	EXPECT_EQ(0, destroy(self->fd, self->hwpt[1]));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->ioas[0]));
	EXPECT_EQ(0, destroy_these(self->fd, self->nested, self->viommu,
				   self->parent, self->ioas[0]));
}

/* If a device cannot be attached, no device of the group is moved */
TEST_F(group, one_of_them_cannot)
{
	__u32 vdev, huge_hwpt;
	struct mock far, huge;

	ASSERT_EQ(0, attach(self->fd, &self->dev[0], self->hwpt[1]));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id, 0,
				   &vdev));
	/* Only a single device of a group can have a vDEVICE */
	EXPECT_EQ(-EBUSY, vdevice_alloc(self->fd, self->viommu, self->dev[1].id,
					1, &vdev));
	EXPECT_EQ(-ENOENT, attach(self->fd, &self->dev[0], self->nested));
	EXPECT_EQ(-ENOENT, attach(self->fd, &self->dev[1], self->nested));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->hwpt[1]));
	ASSERT_EQ(0, destroy(self->fd, self->dev[1].stdev));
	EXPECT_EQ(0, attach(self->fd, &self->dev[0], self->nested));
	EXPECT_EQ(0, destroy(self->fd, self->hwpt[1]));
	EXPECT_EQ(0, attach(self->fd, &self->dev[0], self->ioas[0]));
	ASSERT_EQ(0, plug_beside(self->fd, self->ioas[0], 0, &self->dev[0],
				 &self->dev[1]));

	/* A device behind another IOMMU, which has no huge pages */
	ASSERT_EQ(0, plug_beside(self->fd, self->ioas[0],
				 MOCK_FLAGS_DEVICE_IOMMU2, &self->dev[0],
				 &far));
	ASSERT_EQ(0, plug(self->fd, self->ioas[1], MOCK_FLAGS_DEVICE_HUGE_IOVA,
			  &huge));
	ASSERT_EQ(0, hwpt_alloc(self->fd, huge.id, self->ioas[0], 0,
				&huge_hwpt));
	EXPECT_EQ(-EINVAL, attach(self->fd, &self->dev[0], huge_hwpt));
	EXPECT_EQ(-EINVAL, attach(self->fd, &far, huge_hwpt));
	EXPECT_EQ(0, destroy(self->fd, huge_hwpt));
	EXPECT_EQ(0, attach(self->fd, &self->dev[1], self->hwpt[0]));
	ASSERT_EQ(0, destroy(self->fd, far.stdev));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->hwpt[0]));
	EXPECT_EQ(0, attach(self->fd, &self->dev[0], self->ioas[0]));
	EXPECT_EQ(0, destroy(self->fd, self->hwpt[0]));
}

/*
 * The device leaves while the other device moves the group: it must leave the
 * HWPT that the group has moved to, and not the old HWPT.
 */
TEST_F_TIMEOUT(group, leaves_during_replace, 100)
{
	struct iommu_destroy unplug = {
		.size = sizeof(unplug),
		.id = self->dev[1].stdev,
	};
	struct iommu_test_cmd cmd = replace_cmd(&self->dev[0], self->hwpt[1]);
	struct call replace, leave;

	ASSERT_EQ(0, attach(self->fd, &self->dev[0], self->hwpt[0]));
	ASSERT_EQ(0, close_gate(self->fd, self->dev[0].id, MOCK_GATE_ATTACH));
	call_start(&replace, self->fd, REPLACE, &cmd);
	EXPECT_TRUE(wait_till_held_up(self->fd, self->dev[0].id));
	call_start(&leave, self->fd, IOMMU_DESTROY, &unplug);
	EXPECT_TRUE(call_waits(&leave));
	ASSERT_EQ(0, open_gates(self->fd, self->dev[0].id));
	EXPECT_EQ(0, call_join(&replace));
	EXPECT_EQ(0, call_join(&leave));

	EXPECT_EQ(0, destroy(self->fd, self->hwpt[0]));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->hwpt[1]));
	ASSERT_EQ(0, attach(self->fd, &self->dev[0], self->ioas[0]));
	EXPECT_EQ(0, destroy(self->fd, self->hwpt[1]));
}

/*
 * Faults belong to the device that has caused them, as long as it is attached
 */
TEST_F(group, page_faults)
{
	__u32 fault_id, hwpt, cookie, id;
	struct mock third;
	int faults;

	ASSERT_EQ(0, fault_alloc(self->fd, &fault_id, &faults));
	ASSERT_EQ(0, iommufd_hwpt_alloc(self->fd, self->dev[0].id,
					self->ioas[0],
					IOMMU_HWPT_FAULT_ID_VALID, fault_id,
					IOMMU_HWPT_DATA_NONE, NULL, 0, &hwpt));
	/* The other device of the group moves, too */
	ASSERT_EQ(0, attach(self->fd, &self->dev[0], hwpt));
	EXPECT_EQ(0, fault(self->fd, self->dev[1].id, 0, 1));
	EXPECT_EQ(0, fault(self->fd, self->dev[0].id, 0, 2));
	EXPECT_EQ(0, read_fault(faults, self->dev[1].id, 0, 1, &cookie));
	EXPECT_EQ(0, answer(faults, cookie, IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_EQ(0, read_fault(faults, self->dev[0].id, 0, 2, &cookie));
	EXPECT_EQ(0, answer(faults, cookie, IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_TRUE(faults_are(self->fd, self->dev[0].id, 0, 1, 0));
	EXPECT_TRUE(faults_are(self->fd, self->dev[1].id, 0, 1, 0));

	/* A device that joins has page faults enabled, too */
	ASSERT_EQ(0, plug_beside(self->fd, hwpt, 0, &self->dev[1], &third));
	EXPECT_EQ(0, fault(self->fd, third.id, 0, 3));
	EXPECT_EQ(0, read_fault(faults, third.id, 0, 3, &cookie));
	EXPECT_EQ(0, answer(faults, cookie, IOMMUFD_PAGE_RESP_SUCCESS));

	/*
	 * The faults of the first device disappear with it. Its ID is reused
	 * afterwards.
	 */
	EXPECT_EQ(0, fault(self->fd, self->dev[0].id, 0, 4));
	EXPECT_EQ(0, read_fault(faults, self->dev[0].id, 0, 4, &cookie));
	EXPECT_EQ(0, fault(self->fd, self->dev[0].id, 0, 5));
	EXPECT_EQ(0, fault(self->fd, third.id, 0, 6));
	ASSERT_EQ(0, destroy(self->fd, self->dev[0].stdev));
	ASSERT_EQ(0, ioas_alloc(self->fd, &id));
	EXPECT_EQ(-EINVAL, answer(faults, cookie, IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_EQ(0, read_fault(faults, third.id, 0, 6, &cookie));
	EXPECT_EQ(0, answer(faults, cookie, IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_TRUE(faults_are(self->fd, third.id, 0, 2, 0));
	EXPECT_EQ(0, events_of(faults, 0));
	EXPECT_EQ(0, fault(self->fd, self->dev[1].id, 0, 7));
	EXPECT_EQ(0, read_fault(faults, self->dev[1].id, 0, 7, &cookie));
	EXPECT_EQ(0, answer(faults, cookie, IOMMUFD_PAGE_RESP_SUCCESS));

	/* Page faults are disabled for the whole group, and enabled again */
	ASSERT_EQ(0, attach(self->fd, &third, self->ioas[0]));
	EXPECT_EQ(0, fault(self->fd, third.id, 0, 8));
	EXPECT_TRUE(faults_are(self->fd, third.id, 0, 2, 1));
	ASSERT_EQ(0, attach(self->fd, &self->dev[1], hwpt));
	EXPECT_EQ(0, fault(self->fd, third.id, 0, 9));
	EXPECT_EQ(0, read_fault(faults, third.id, 0, 9, &cookie));
	ASSERT_EQ(0, destroy(self->fd, third.stdev));
	ASSERT_EQ(0, destroy(self->fd, self->dev[1].stdev));
	EXPECT_EQ(0, close(faults));
	EXPECT_EQ(0, destroy_these(self->fd, hwpt, fault_id));
}

/*
 * Doorbells of MSIs that are translated: each has a single IOVA, which does not
 * depend on the device or its domain.
 */
FIXTURE(sw_msi)
{
	int fd;
	__u32 ioas;
	struct mock dev;
	__u32 parent[2];
	__u32 nested[2];
	__u64 base;
};

#define DOORBELL(n)	(0xd000000ULL + (n) * 0x1000000ULL)

FIXTURE_SETUP(sw_msi)
{
	unsigned int i;

	self->base = MOCK_SW_MSI_START;
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	ASSERT_EQ(0, ioas_alloc(self->fd, &self->ioas));
	ASSERT_EQ(0, plug(self->fd, self->ioas, MOCK_FLAGS_DEVICE_SW_MSI,
			  &self->dev));
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev.id, self->ioas,
					IOMMU_HWPT_ALLOC_NEST_PARENT,
					&self->parent[i]));
		ASSERT_EQ(0, nested_alloc(self->fd, self->dev.id,
					  self->parent[i], &self->nested[i]));
	}
}

FIXTURE_TEARDOWN(sw_msi)
{
	teardown_iommufd(self->fd, _metadata);
}

/* *iova is 0 for a doorbell that needs no translation */
static int prepare_msi(int fd, __u32 dev_id, __u64 doorbell, __u64 *iova)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DEV_PREPARE_MSI,
		.id = dev_id,
		.prepare_msi = { .phys = doorbell },
	};
	int rc = iommufd_ioctl(fd,
			       _IOMMU_TEST_CMD(IOMMU_TEST_OP_DEV_PREPARE_MSI),
			       &cmd);

	*iova = cmd.prepare_msi.out_iova;
	if (!rc && cmd.prepare_msi.out_shift != (*iova ? ffsl(PAGE_SIZE) - 1 : 0))
		rc = -EPROTO;
	return rc;
}

/*
 * Return: 0 if the doorbell is mapped there, -ENOENT if nothing is mapped, or
 * -EINVAL
 */
static int check_phys(int fd, __u32 hwpt_id, __u64 iova, __u64 phys)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_MD_CHECK_PHYS,
		.id = hwpt_id,
		.check_phys = { .iova = iova, .phys = phys },
	};

	return iommufd_ioctl(fd, _IOMMU_TEST_CMD(IOMMU_TEST_OP_MD_CHECK_PHYS),
			     &cmd);
}

TEST_F(sw_msi, one_iova_in_all_domains)
{
	const __u64 base = self->base;
	const int fd = self->fd;
	__u64 iova;

	/* Address bits below a page do not concern the IOMMU */
	ASSERT_EQ(0, prepare_msi(fd, self->dev.id, DOORBELL(0) + 0x40, &iova));
	EXPECT_EQ(base, iova);
	EXPECT_EQ(0, check_phys(fd, self->dev.hwpt, base, DOORBELL(0)));
	EXPECT_EQ(-ENOENT, check_phys(fd, self->parent[0], base, DOORBELL(0)));
	ASSERT_EQ(0, attach(fd, &self->dev, self->parent[0]));
	EXPECT_EQ(0, check_phys(fd, self->parent[0], base, DOORBELL(0)));

	/* A nested domain has its doorbells in the parent */
	ASSERT_EQ(0, attach(fd, &self->dev, self->nested[0]));
	ASSERT_EQ(0, prepare_msi(fd, self->dev.id, DOORBELL(1), &iova));
	EXPECT_EQ(base + PAGE_SIZE, iova);
	EXPECT_EQ(0, check_phys(fd, self->parent[0], iova, DOORBELL(1)));
	ASSERT_EQ(0, prepare_msi(fd, self->dev.id, DOORBELL(0), &iova));
	EXPECT_EQ(base, iova);

	/* The doorbells move with the device, and leave nothing behind */
	ASSERT_EQ(0, attach(fd, &self->dev, self->nested[1]));
	EXPECT_EQ(0, check_phys(fd, self->parent[1], base, DOORBELL(0)));
	EXPECT_EQ(0, check_phys(fd, self->parent[1], base + PAGE_SIZE,
				DOORBELL(1)));
	EXPECT_EQ(-ENOENT, check_phys(fd, self->parent[0], base, DOORBELL(0)));
	EXPECT_EQ(-ENOENT, check_phys(fd, self->parent[0], base + PAGE_SIZE,
				      DOORBELL(1)));
}

TEST_F(sw_msi, window_full)
{
	unsigned int i;
	__u64 iova;

	for (i = 0; i < MOCK_SW_MSI_PAGES; i++) {
		ASSERT_EQ(0, prepare_msi(self->fd, self->dev.id, DOORBELL(i),
					 &iova));
		EXPECT_EQ(self->base + i * PAGE_SIZE, iova);
	}
	EXPECT_EQ(-ENOSPC, prepare_msi(self->fd, self->dev.id, DOORBELL(i),
				       &iova));
	EXPECT_EQ(-ENOENT, check_phys(self->fd, self->dev.hwpt,
				      self->base + i * PAGE_SIZE, DOORBELL(i)));
	/* Existing doorbells do not change */
	ASSERT_EQ(0, prepare_msi(self->fd, self->dev.id, DOORBELL(1), &iova));
	EXPECT_EQ(self->base + PAGE_SIZE, iova);
}

/* A doorbell of two groups stays until the last of them leaves */
TEST_F(sw_msi, two_groups)
{
	const __u64 base = self->base;
	struct mock dev;
	__u64 iova;

	ASSERT_EQ(0, plug(self->fd, self->parent[0], MOCK_FLAGS_DEVICE_SW_MSI,
			  &dev));
	ASSERT_EQ(0, attach(self->fd, &self->dev, self->nested[0]));
	ASSERT_EQ(0, prepare_msi(self->fd, self->dev.id, DOORBELL(0), &iova));
	ASSERT_EQ(0, prepare_msi(self->fd, dev.id, DOORBELL(0), &iova));
	EXPECT_EQ(base, iova);
	ASSERT_EQ(0, attach(self->fd, &self->dev, self->ioas));
	EXPECT_EQ(0, check_phys(self->fd, self->parent[0], base, DOORBELL(0)));
	EXPECT_EQ(0, check_phys(self->fd, self->dev.hwpt, base, DOORBELL(0)));
	/* Each group takes along the doorbells that it uses */
	ASSERT_EQ(0, prepare_msi(self->fd, dev.id, DOORBELL(1), &iova));
	ASSERT_EQ(0, attach(self->fd, &self->dev, self->parent[1]));
	EXPECT_EQ(-ENOENT, check_phys(self->fd, self->parent[1],
				      base + PAGE_SIZE, DOORBELL(1)));
	ASSERT_EQ(0, destroy(self->fd, dev.stdev));
	EXPECT_EQ(-ENOENT, check_phys(self->fd, self->parent[0], base,
				      DOORBELL(0)));
}

/* A doorbell belongs to the group: its other device need not ask for it */
TEST_F(sw_msi, one_group)
{
	struct mock dev;
	__u64 iova;

	/* This device would not reserve the window */
	EXPECT_EQ(-EINVAL, plug_beside(self->fd, self->ioas, 0, &self->dev,
				       &dev));
	ASSERT_EQ(0, plug_beside(self->fd, self->ioas, MOCK_FLAGS_DEVICE_SW_MSI,
				 &self->dev, &dev));
	ASSERT_EQ(0, prepare_msi(self->fd, self->dev.id, DOORBELL(0), &iova));
	ASSERT_EQ(0, prepare_msi(self->fd, dev.id, DOORBELL(1), &iova));
	EXPECT_EQ(self->base + PAGE_SIZE, iova);
	ASSERT_EQ(0, destroy(self->fd, self->dev.stdev));
	ASSERT_EQ(0, attach(self->fd, &dev, self->nested[1]));
	EXPECT_EQ(0, check_phys(self->fd, self->parent[1], self->base,
				DOORBELL(0)));
	EXPECT_EQ(0, check_phys(self->fd, self->parent[1],
				self->base + PAGE_SIZE, DOORBELL(1)));
}

/* Memory cannot be mapped in the window, before or after the first doorbell */
TEST_F(sw_msi, window_is_reserved)
{
	const __u64 last = self->base + (MOCK_SW_MSI_PAGES - 1) * PAGE_SIZE;
	__u64 iova;

	EXPECT_EQ(-EINVAL, map_at(self->fd, self->ioas, self->base));
	ASSERT_EQ(0, prepare_msi(self->fd, self->dev.id, DOORBELL(0), &iova));
	EXPECT_EQ(-EINVAL, map_at(self->fd, self->ioas, self->base));
	EXPECT_EQ(-EINVAL, map_at(self->fd, self->ioas, last));
	EXPECT_EQ(0, map_at(self->fd, self->ioas, last + PAGE_SIZE));
	EXPECT_EQ(0, map_at(self->fd, self->ioas, self->base - PAGE_SIZE));

	/* Memory can be mapped in the window again, without any doorbell */
	ASSERT_EQ(0, destroy(self->fd, self->dev.stdev));
	EXPECT_EQ(0, map_at(self->fd, self->ioas, self->base));
	EXPECT_EQ(-EADDRINUSE, plug(self->fd, self->ioas,
				    MOCK_FLAGS_DEVICE_SW_MSI, &self->dev));
}

TEST_F(sw_msi, not_translated)
{
	struct mock dev;
	__u64 iova;

	ASSERT_EQ(0, plug(self->fd, self->ioas, 0, &dev));
	ASSERT_EQ(0, prepare_msi(self->fd, dev.id, DOORBELL(0), &iova));
	EXPECT_EQ(0, iova);
}

/*
 * A replace that fails leaves the doorbells in the old domain, and nowhere else
 */
TEST_F(sw_msi, failed_replace)
{
	__u32 viommu, nested;
	__u64 iova;

	ASSERT_EQ(0, prepare_msi(self->fd, self->dev.id, DOORBELL(0), &iova));
	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev.id, self->parent[0],
				  &viommu));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev.id, viommu, &nested));
	EXPECT_EQ(-ENOENT, attach(self->fd, &self->dev, nested));
	EXPECT_EQ(0, check_phys(self->fd, self->dev.hwpt, iova, DOORBELL(0)));
	EXPECT_EQ(-ENOENT, check_phys(self->fd, self->parent[0], iova,
				      DOORBELL(0)));
	ASSERT_EQ(0, prepare_msi(self->fd, self->dev.id, DOORBELL(1), &iova));
	EXPECT_EQ(-ENOENT, check_phys(self->fd, self->parent[0], iova,
				      DOORBELL(1)));
}

/*
 * A driver without domain_alloc_user() cannot map anything in a domain before
 * its first attach. So the doorbells are mapped when the group has been
 * attached.
 */
TEST_F(sw_msi, mapped_after_attach)
{
	const __u32 flags = MOCK_FLAGS_DEVICE_SW_MSI |
			    MOCK_FLAGS_DEVICE_NO_ALLOC_USER;
	struct mock dev, beside;
	__u32 hwpt;
	__u64 iova;

	ASSERT_EQ(0, plug(self->fd, self->ioas, flags, &dev));
	EXPECT_NE(self->dev.hwpt, dev.hwpt);
	ASSERT_EQ(0, prepare_msi(self->fd, dev.id, DOORBELL(0), &iova));
	EXPECT_EQ(self->base, iova);
	EXPECT_EQ(0, check_phys(self->fd, dev.hwpt, iova, DOORBELL(0)));
	ASSERT_EQ(0, hwpt_alloc(self->fd, dev.id, self->ioas, 0, &hwpt));
	ASSERT_EQ(0, attach(self->fd, &dev, hwpt));
	EXPECT_EQ(0, check_phys(self->fd, hwpt, iova, DOORBELL(0)));

	/* The group keeps its doorbells when its attached device leaves */
	ASSERT_EQ(0, plug_beside(self->fd, 0,
				 flags | MOCK_FLAGS_DEVICE_DETACHED, &dev,
				 &beside));
	ASSERT_EQ(0, destroy(self->fd, dev.stdev));
	EXPECT_EQ(-ENOENT, check_phys(self->fd, hwpt, iova, DOORBELL(0)));
	ASSERT_EQ(0, attach(self->fd, &beside, hwpt));
	EXPECT_EQ(0, check_phys(self->fd, hwpt, iova, DOORBELL(0)));
	ASSERT_EQ(0, destroy(self->fd, beside.stdev));
	EXPECT_EQ(0, destroy(self->fd, hwpt));
}

/*
 * A doorbell is added during a replace: the known doorbells are mapped in the
 * new domain already, and the device is not attached to it yet.
 */
TEST_F_TIMEOUT(sw_msi, during_replace, 100)
{
	struct iommu_test_cmd cmd;
	__u32 fault, nested;
	struct call replace;
	int faults;
	__u64 iova;

	ASSERT_EQ(0, prepare_msi(self->fd, self->dev.id, DOORBELL(0), &iova));
	ASSERT_EQ(0, fault_alloc(self->fd, &fault, &faults));
	ASSERT_EQ(0, nested_alloc_fault(self->fd, self->dev.id, self->parent[1],
					fault, &nested));
	/* Page faults are enabled between these two steps */
	cmd = replace_cmd(&self->dev, nested);
	ASSERT_EQ(0, close_gate(self->fd, self->dev.id,
				MOCK_GATE_ENABLE_IOPF));
	call_start(&replace, self->fd, REPLACE, &cmd);
	EXPECT_TRUE(wait_till_held_up(self->fd, self->dev.id));
	EXPECT_EQ(0, check_phys(self->fd, self->parent[1], self->base,
				DOORBELL(0)));
	EXPECT_EQ(0, prepare_msi(self->fd, self->dev.id, DOORBELL(1), &iova));
	EXPECT_EQ(self->base + PAGE_SIZE, iova);
	EXPECT_EQ(0, check_phys(self->fd, self->dev.hwpt, iova, DOORBELL(1)));
	ASSERT_EQ(0, open_gates(self->fd, self->dev.id));
	EXPECT_EQ(0, call_join(&replace));
	EXPECT_EQ(0, check_phys(self->fd, self->parent[1], iova, DOORBELL(1)));
	EXPECT_EQ(-ENOENT, check_phys(self->fd, self->dev.hwpt, iova,
				      DOORBELL(1)));
	EXPECT_EQ(0, close(faults));
}

/*
 * During a reset, the device is on the blocking domain, whatever its group is
 * attached to
 */
FIXTURE(reset)
{
	struct mock_vm guest;
	int fd;
};

FIXTURE_SETUP(reset)
{
	ASSERT_EQ(0, mock_vm_init(&self->guest, 0));
	self->fd = self->guest.fd;
}

FIXTURE_TEARDOWN(reset)
{
	teardown_iommufd(self->guest.fd, _metadata);
}

static int reset_op(struct mock_vm *guest, __u32 what, __u32 hwpt_id)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DEV_RESET,
		.id = guest->dev.id,
		.dev_reset = { .what = what, .hwpt_id = hwpt_id },
	};

	return iommufd_ioctl(guest->fd,
			     _IOMMU_TEST_CMD(IOMMU_TEST_OP_DEV_RESET), &cmd);
}

#define reset_prepare(guest)	reset_op(guest, MOCK_RESET_PREPARE, 0)
#define reset_done(guest)	reset_op(guest, MOCK_RESET_DONE, 0)
#define reset_done_fails(guest)	reset_op(guest, MOCK_RESET_DONE_FAILS, 0)
#define EXPECT_BLOCKED(guest) \
	EXPECT_EQ(0, reset_op(guest, MOCK_RESET_CHECK, 0))
#define EXPECT_ATTACHED(guest, hwpt_id) \
	EXPECT_EQ(0, reset_op(guest, MOCK_RESET_CHECK, hwpt_id))

TEST_F(reset, blocks)
{
	struct mock_vm *guest = &self->guest;

	EXPECT_ATTACHED(guest, guest->nested);
	ASSERT_EQ(0, reset_prepare(guest));
	EXPECT_BLOCKED(guest);
	ASSERT_EQ(0, reset_done(guest));
	EXPECT_ATTACHED(guest, guest->nested);

	ASSERT_EQ(0, attach(self->fd, &guest->dev, guest->parent));
	ASSERT_EQ(0, reset_prepare(guest));
	EXPECT_BLOCKED(guest);
	ASSERT_EQ(0, reset_done(guest));
	EXPECT_ATTACHED(guest, guest->parent);
}

/* Resets nest, since a reset function may call another */
TEST_F(reset, nests)
{
	struct mock_vm *guest = &self->guest;

	ASSERT_EQ(0, reset_prepare(guest));
	ASSERT_EQ(0, reset_prepare(guest));
	ASSERT_EQ(0, reset_done(guest));
	EXPECT_BLOCKED(guest);
	EXPECT_EQ(-EBUSY, attach(self->fd, &guest->dev, guest->parent));
	ASSERT_EQ(0, reset_done(guest));
	EXPECT_ATTACHED(guest, guest->nested);
	/*
	 * A device that appears during a reset of its bus sees only the end of
	 * the reset
	 */
	ASSERT_EQ(0, reset_done(guest));
	EXPECT_ATTACHED(guest, guest->nested);
	ASSERT_EQ(0, reset_prepare(guest));
	EXPECT_BLOCKED(guest);
	ASSERT_EQ(0, reset_done(guest));
	EXPECT_ATTACHED(guest, guest->nested);
}

TEST_F(reset, attach_is_refused)
{
	struct mock_vm *guest = &self->guest;
	__u32 other;

	ASSERT_EQ(0, nested_alloc(self->fd, guest->dev.id, guest->viommu,
				  &other));
	ASSERT_EQ(0, reset_prepare(guest));
	EXPECT_EQ(-EBUSY, attach(self->fd, &guest->dev, guest->parent));
	EXPECT_EQ(-EBUSY, attach(self->fd, &guest->dev, other));
	EXPECT_EQ(-EBUSY, attach(self->fd, &guest->dev, guest->ioas));
	EXPECT_BLOCKED(guest);
	/* The refused HWPT is not held */
	EXPECT_EQ(0, destroy(self->fd, other));
	EXPECT_EQ(-EBUSY, destroy(self->fd, guest->nested));
	ASSERT_EQ(0, reset_done(guest));
	EXPECT_ATTACHED(guest, guest->nested);
	EXPECT_EQ(0, attach(self->fd, &guest->dev, guest->parent));
	EXPECT_ATTACHED(guest, guest->parent);
	EXPECT_EQ(0, destroy(self->fd, guest->nested));
}

/* The group is detached before the reset ends */
TEST_F(reset, unplug)
{
	struct mock_vm *guest = &self->guest;

	ASSERT_EQ(0, reset_prepare(guest));
	EXPECT_EQ(0, destroy(self->fd, guest->dev.stdev));
	EXPECT_EQ(0, destroy_these(self->fd, guest->nested, guest->viommu,
				   guest->parent));
}

/* The device stays attached, although it could not be attached now */
TEST_F(reset, vdevice_gone)
{
	struct mock_vm *guest = &self->guest;

	ASSERT_EQ(0, reset_prepare(guest));
	EXPECT_EQ(0, destroy(self->fd, guest->vdev));
	ASSERT_EQ(0, reset_done(guest));
	EXPECT_ATTACHED(guest, guest->nested);
	EXPECT_EQ(0, attach(self->fd, &guest->dev, guest->parent));
	EXPECT_EQ(-ENOENT, attach(self->fd, &guest->dev, guest->nested));
}

TEST_F(reset, cannot_be_attached_again)
{
	struct mock_vm *guest = &self->guest;

	ASSERT_EQ(0, reset_prepare(guest));
	ASSERT_EQ(0, reset_done_fails(guest));
	EXPECT_BLOCKED(guest);
	/* The next reset tries again */
	ASSERT_EQ(0, reset_prepare(guest));
	EXPECT_BLOCKED(guest);
	ASSERT_EQ(0, reset_done(guest));
	EXPECT_ATTACHED(guest, guest->nested);

	ASSERT_EQ(0, reset_prepare(guest));
	ASSERT_EQ(0, reset_done_fails(guest));
	EXPECT_BLOCKED(guest);
	/* An attach tries again as well */
	EXPECT_EQ(0, attach(self->fd, &guest->dev, guest->parent));
	EXPECT_ATTACHED(guest, guest->parent);

	ASSERT_EQ(0, reset_prepare(guest));
	ASSERT_EQ(0, reset_done_fails(guest));
	EXPECT_EQ(0, destroy(self->fd, guest->dev.stdev));
	EXPECT_EQ(0, destroy_these(self->fd, guest->nested, guest->viommu,
				   guest->parent));
}

TEST_HARNESS_MAIN
