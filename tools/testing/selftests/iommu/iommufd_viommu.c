// SPDX-License-Identifier: GPL-2.0-only
/*
 * vIOMMUs, vDEVICEs and nested HWPTs on them, against the mock IOMMU driver:
 * each call with every error that it can return, and the references that
 * objects hold.
 *
 * The SMMUv3 is tested by the programs smmuv3_*.
 */
#include "iommufd_vm.h"

TEST_F(viommu, unknown_ioctls)
{
	struct iommu_vdevice_alloc cmd = { .size = sizeof(cmd) };

	EXPECT_EQ(-ENOTTY, iommufd_ioctl(self->fd, _IO(IOMMUFD_TYPE, 0x9f),
					 &cmd));
	/* The number is right, but direction and size are missing */
	EXPECT_EQ(-ENOTTY,
		  iommufd_ioctl(self->fd, _IOWR(IOMMUFD_TYPE, 0x91, cmd),
				&cmd));
}

TEST_F(viommu, viommu_alloc_sizes)
{
	struct {
		struct iommu_viommu_alloc cmd;
		__u64 tail[2];
	} arg = {};
	const __u32 min = offsetofend(struct iommu_viommu_alloc, out_viommu_id);
	__u32 size;

	for (size = 0; size <= sizeof(arg); size += 4) {
		memset(&arg, 0, sizeof(arg));
		arg.cmd.size = size;
		arg.cmd.type = IOMMU_VIOMMU_TYPE_SELFTEST;
		arg.cmd.dev_id = self->dev[0].id;
		arg.cmd.hwpt_id = self->parent;
		if (size < min) {
			EXPECT_EQ(-EINVAL,
				  iommufd_ioctl(self->fd, IOMMU_VIOMMU_ALLOC,
						&arg));
			continue;
		}
		/* Bytes behind the size are ignored */
		if (size == min)
			arg.cmd.__reserved = 1;
		EXPECT_EQ(0, iommufd_ioctl(self->fd, IOMMU_VIOMMU_ALLOC, &arg));
		EXPECT_EQ(0, destroy(self->fd, arg.cmd.out_viommu_id));
	}

	arg.cmd.size = sizeof(arg);
	arg.tail[1] = 1ULL << 63;
	EXPECT_EQ(-E2BIG, iommufd_ioctl(self->fd, IOMMU_VIOMMU_ALLOC, &arg));
}

TEST_F(viommu, viommu_alloc_reserved)
{
	struct iommu_viommu_alloc cmd = {
		.size = sizeof(cmd),
		.type = IOMMU_VIOMMU_TYPE_SELFTEST,
		.dev_id = self->dev[0].id,
		.hwpt_id = self->parent,
	};
	unsigned int bit;

	for (bit = 0; bit < 32; bit++) {
		cmd.flags = 1u << bit;
		EXPECT_EQ(-EOPNOTSUPP,
			  iommufd_ioctl(self->fd, IOMMU_VIOMMU_ALLOC, &cmd));
	}
	cmd.flags = 0;
	for (bit = 0; bit < 32; bit++) {
		cmd.__reserved = 1u << bit;
		EXPECT_EQ(-EOPNOTSUPP,
			  iommufd_ioctl(self->fd, IOMMU_VIOMMU_ALLOC, &cmd));
	}
	cmd.__reserved = 0;
	EXPECT_EQ(0, iommufd_ioctl(self->fd, IOMMU_VIOMMU_ALLOC, &cmd));
}

/* In each case, the value that is checked next is wrong as well */
TEST_F(viommu, viommu_alloc_order_of_checks)
{
	struct iommu_viommu_alloc cmd = {
		.size = sizeof(cmd),
		.flags = 1,
		.type = IOMMU_VIOMMU_TYPE_SELFTEST - 100,
		.dev_id = NO_ID,
		.hwpt_id = NO_ID,
	};
	__u32 id;

	EXPECT_EQ(-EOPNOTSUPP, iommufd_ioctl(self->fd, IOMMU_VIOMMU_ALLOC,
					     &cmd));
	EXPECT_EQ(-EOPNOTSUPP,
		  viommu_alloc_type(self->fd, NO_ID, NO_ID,
				    IOMMU_VIOMMU_TYPE_DEFAULT, &id));
	EXPECT_EQ(-ENOENT, viommu_alloc_type(self->fd, NO_ID, NO_ID,
					     IOMMU_VIOMMU_TYPE_SELFTEST - 100,
					     &id));
	EXPECT_EQ(-EOPNOTSUPP,
		  viommu_alloc_type(self->fd, self->dev[0].id, NO_ID,
				    IOMMU_VIOMMU_TYPE_SELFTEST - 100, &id));
	EXPECT_EQ(-EOPNOTSUPP,
		  viommu_alloc_type(self->fd, self->dev[0].id, NO_ID,
				    IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &id));
	EXPECT_EQ(-ENOENT, viommu_alloc(self->fd, self->dev[0].id, NO_ID, &id));
}

TEST_F(viommu, viommu_alloc_wrong_objects)
{
	__u32 plain, nested, vdev, id;

	ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev[0].id, self->ioas, 0,
				&plain));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev[0].id, self->parent,
				  &nested));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id,
				   VIRT_ID, &vdev));

	/* Another object in place of the device */
	EXPECT_EQ(-ENOENT, viommu_alloc(self->fd, 0, self->parent, &id));
	EXPECT_EQ(-ENOENT, viommu_alloc(self->fd, self->dev[0].stdev,
					self->parent, &id));
	EXPECT_EQ(-ENOENT,
		  viommu_alloc(self->fd, self->parent, self->parent, &id));
	EXPECT_EQ(-ENOENT, viommu_alloc(self->fd, vdev, self->parent, &id));

	/* Another object in place of the parent */
	EXPECT_EQ(-EINVAL, viommu_alloc(self->fd, self->dev[0].id, plain, &id));
	EXPECT_EQ(-EINVAL, viommu_alloc(self->fd, self->dev[0].id,
					self->dev[0].hwpt, &id));
	EXPECT_EQ(-ENOENT, viommu_alloc(self->fd, self->dev[0].id, nested, &id));
	EXPECT_EQ(-ENOENT, viommu_alloc(self->fd, self->dev[0].id, self->ioas,
					&id));
	EXPECT_EQ(-ENOENT, viommu_alloc(self->fd, self->dev[0].id, self->viommu,
					&id));
	EXPECT_EQ(-ENOENT, viommu_alloc(self->fd, self->dev[0].id,
					self->dev[0].id, &id));
}

/* An ID belongs to one fd */
TEST_F(viommu, other_fd)
{
	int fd = open("/dev/iommu", O_RDWR);
	struct mock dev;
	__u32 ioas, id;

	ASSERT_NE(-1, fd);
	EXPECT_EQ(-ENOENT,
		  viommu_alloc(fd, self->dev[0].id, self->parent, &id));
	EXPECT_EQ(-ENOENT, vdevice_alloc(fd, self->viommu, self->dev[0].id, 0,
					 &id));
	EXPECT_EQ(-ENOENT, viommu_invalidate_dev(fd, self->viommu, 0));
	EXPECT_EQ(-ENOENT, nested_alloc(fd, self->dev[0].id, self->viommu, &id));
	EXPECT_EQ(-ENOENT, destroy(fd, self->viommu));

	/* The other fd has a device of its own */
	ASSERT_EQ(0, ioas_alloc(fd, &ioas));
	ASSERT_EQ(0, plug(fd, ioas, 0, &dev));
	EXPECT_EQ(-ENOENT, viommu_alloc(fd, dev.id, self->parent, &id));
	EXPECT_EQ(-ENOENT, vdevice_alloc(fd, self->viommu, dev.id, 0, &id));
	EXPECT_EQ(-EINVAL, nested_alloc(fd, dev.id, self->viommu, &id));
	EXPECT_EQ(0, close(fd));

	EXPECT_EQ(0, destroy(self->fd, self->viommu));
}

/* The core copies the driver's data */
TEST_F(viommu, viommu_data)
{
	struct {
		struct iommu_viommu_selftest data;
		__u64 tail;
	} arg = { .data = { .in_data = 0xcafe } };
	const __u32 type = IOMMU_VIOMMU_TYPE_SELFTEST;
	const __u32 min = offsetofend(struct iommu_viommu_selftest, out_data);
	const __u32 dev_id = self->dev[0].id;
	void *bad = map_guarded(0, PROT_NONE);
	struct iommu_viommu_selftest *ro;
	__u32 id;

	ASSERT_EQ(0, iommufd_viommu_alloc(self->fd, dev_id, self->parent, type,
					  &arg, sizeof(arg.data), &id));
	EXPECT_EQ(0xcafe, arg.data.out_data);

	arg.data.in_data = 0;
	ASSERT_EQ(0, iommufd_viommu_alloc(self->fd, dev_id, self->parent, type,
					  &arg, min, &id));
	EXPECT_EQ(0, arg.data.out_data);

	/* Without data, the pointer is ignored */
	EXPECT_EQ(0, iommufd_viommu_alloc(self->fd, dev_id, self->parent, type,
					  bad, 0, &id));

	EXPECT_EQ(-EINVAL, iommufd_viommu_alloc(self->fd, dev_id, self->parent,
						type, &arg, min - 1, &id));
	EXPECT_EQ(-EINVAL, iommufd_viommu_alloc(self->fd, dev_id, self->parent,
						type, &arg, sizeof(arg), &id));
	EXPECT_EQ(-EFAULT, iommufd_viommu_alloc(self->fd, dev_id, self->parent,
						type, NULL, min, &id));
	EXPECT_EQ(-EFAULT, iommufd_viommu_alloc(self->fd, dev_id, self->parent,
						type, bad, min, &id));

	ro = mmap(NULL, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		  0);
	ASSERT_NE(MAP_FAILED, ro);
	EXPECT_EQ(-EFAULT, iommufd_viommu_alloc(self->fd, dev_id, self->parent,
						type, ro, min, &id));
}

/* A vIOMMU whose ID could not be returned does not hold its parent */
TEST_F(viommu, viommu_alloc_unwritable)
{
	struct iommu_viommu_alloc cmd = {
		.size = sizeof(cmd),
		.type = IOMMU_VIOMMU_TYPE_SELFTEST,
		.dev_id = self->dev[0].id,
		.hwpt_id = self->parent,
	};
	struct iommu_viommu_alloc *p = map_guarded(8, PROT_NONE);
	__u32 id;

	EXPECT_EQ(-EFAULT, ioctl_readonly(self->fd, IOMMU_VIOMMU_ALLOC, &cmd,
					  sizeof(cmd)));
	p->size = sizeof(*p);
	EXPECT_EQ(-EFAULT, iommufd_ioctl(self->fd, IOMMU_VIOMMU_ALLOC, p));
	EXPECT_EQ(-EFAULT, iommufd_ioctl(self->fd, IOMMU_VIOMMU_ALLOC, NULL));

	/*
	 * The ID that was lost is the next to be allocated, and has no object
	 * until then
	 */
	EXPECT_EQ(-ENOENT, destroy(self->fd, self->viommu + 1));
	EXPECT_EQ(0, viommu_alloc(self->fd, self->dev[0].id, self->parent,
				  &id));
	EXPECT_EQ(self->viommu + 1, id);
	EXPECT_EQ(0, destroy_these(self->fd, id, self->viommu, self->parent));
}

TEST_F(viommu, viommu_holds_parent)
{
	__u32 id;

	EXPECT_EQ(-EBUSY, destroy(self->fd, self->parent));
	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev[1].id, self->parent,
				  &id));
	EXPECT_EQ(0, destroy(self->fd, self->viommu));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->parent));
	EXPECT_EQ(0, destroy(self->fd, id));
	EXPECT_EQ(-ENOENT, destroy(self->fd, id));
	EXPECT_EQ(0, destroy(self->fd, self->parent));
}

/* The device only selects the IOMMU */
TEST_F(viommu, viommu_outlives_device)
{
	__u32 vdev, nested;

	ASSERT_EQ(0, destroy(self->fd, self->dev[0].stdev));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[1].id,
				   VIRT_ID, &vdev));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev[1].id, self->viommu,
				  &nested));
	EXPECT_EQ(0, attach(self->fd, &self->dev[1], nested));
	EXPECT_EQ(0, viommu_invalidate_dev(self->fd, self->viommu, VIRT_ID));

	/* Without any device left */
	ASSERT_EQ(0, destroy(self->fd, self->dev[1].stdev));
	ASSERT_EQ(0, destroy(self->fd, self->far.stdev));
	EXPECT_EQ(-EINVAL, viommu_invalidate_dev(self->fd, self->viommu,
						 VIRT_ID));
	EXPECT_EQ(-ENOENT, destroy(self->fd, vdev));
	EXPECT_EQ(0, destroy_these(self->fd, nested, self->viommu,
				   self->parent, self->ioas));
}

TEST_F(viommu, viommu_other_iommu)
{
	struct mock huge;
	__u32 far_viommu, parent, vdev, far_vdev, id;

	/* Both IOMMUs can use the same stage 2 */
	ASSERT_EQ(0, viommu_alloc(self->fd, self->far.id, self->parent,
				  &far_viommu));
	EXPECT_EQ(-EINVAL, vdevice_alloc(self->fd, self->viommu, self->far.id,
					 VIRT_ID, &id));
	EXPECT_EQ(-EINVAL, vdevice_alloc(self->fd, far_viommu, self->dev[0].id,
					 VIRT_ID, &id));
	EXPECT_EQ(-EINVAL, nested_alloc(self->fd, self->far.id, self->viommu,
					&id));
	EXPECT_EQ(-EINVAL, nested_alloc(self->fd, self->dev[0].id, far_viommu,
					&id));

	/* The same virt_id is another device on each vIOMMU */
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id,
				   VIRT_ID, &vdev));
	ASSERT_EQ(0, vdevice_alloc(self->fd, far_viommu, self->far.id, VIRT_ID,
				   &far_vdev));
	EXPECT_EQ(0, viommu_invalidate_dev(self->fd, far_viommu, VIRT_ID));
	EXPECT_TRUE(caches_are(self->fd, self->far.id, CLEAN));
	EXPECT_TRUE(caches_are(self->fd, self->dev[0].id, DIRTY));

	/* A device cannot be attached through the vIOMMU of the other IOMMU */
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev[0].id, self->viommu,
				  &id));
	EXPECT_EQ(-ENOENT, attach(self->fd, &self->far, id));
	EXPECT_EQ(0, attach(self->fd, &self->dev[0], id));

	/* A stage 2 that only the first IOMMU can walk */
	ASSERT_EQ(0, plug(self->fd, self->ioas, MOCK_FLAGS_DEVICE_HUGE_IOVA,
			  &huge));
	ASSERT_EQ(0, hwpt_alloc(self->fd, huge.id, self->ioas,
				IOMMU_HWPT_ALLOC_NEST_PARENT, &parent));
	EXPECT_EQ(-EINVAL, attach(self->fd, &self->far, parent));
	EXPECT_EQ(0, attach(self->fd, &self->dev[1], parent));
	EXPECT_EQ(-EINVAL, viommu_alloc(self->fd, self->far.id, parent, &id));
	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev[1].id, parent, &id));
	EXPECT_EQ(0, destroy(self->fd, id));
}

TEST_F(viommu, vdevice_alloc_sizes)
{
	struct {
		struct iommu_vdevice_alloc cmd;
		__u64 tail[2];
	} arg;
	__u32 size;

	for (size = 0; size <= sizeof(arg); size += 4) {
		memset(&arg, 0, sizeof(arg));
		arg.cmd.size = size;
		arg.cmd.viommu_id = self->viommu;
		arg.cmd.dev_id = self->dev[0].id;
		if (size < sizeof(arg.cmd)) {
			EXPECT_EQ(-EINVAL,
				  iommufd_ioctl(self->fd, IOMMU_VDEVICE_ALLOC,
						&arg));
			continue;
		}
		EXPECT_EQ(0, iommufd_ioctl(self->fd, IOMMU_VDEVICE_ALLOC,
					   &arg));
		EXPECT_EQ(0, destroy(self->fd, arg.cmd.out_vdevice_id));
	}

	arg.cmd.size = sizeof(arg);
	arg.tail[1] = 1;
	EXPECT_EQ(-E2BIG, iommufd_ioctl(self->fd, IOMMU_VDEVICE_ALLOC, &arg));
}

TEST_F(viommu, vdevice_alloc_wrong_objects)
{
	__u32 vdev, id;

	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id,
				   VIRT_ID, &vdev));

	/* Another object in place of the vIOMMU */
	EXPECT_EQ(-ENOENT, vdevice_alloc(self->fd, 0, self->dev[1].id, 1, &id));
	EXPECT_EQ(-ENOENT,
		  vdevice_alloc(self->fd, NO_ID, self->dev[1].id, 1, &id));
	EXPECT_EQ(-ENOENT, vdevice_alloc(self->fd, self->parent,
					 self->dev[1].id, 1, &id));
	EXPECT_EQ(-ENOENT, vdevice_alloc(self->fd, self->dev[1].id,
					 self->dev[1].id, 1, &id));
	EXPECT_EQ(-ENOENT,
		  vdevice_alloc(self->fd, vdev, self->dev[1].id, 1, &id));

	/* Another object in place of the device */
	EXPECT_EQ(-ENOENT, vdevice_alloc(self->fd, self->viommu, 0, 1, &id));
	EXPECT_EQ(-ENOENT, vdevice_alloc(self->fd, self->viommu, NO_ID, 1, &id));
	EXPECT_EQ(-ENOENT, vdevice_alloc(self->fd, self->viommu,
					 self->dev[1].stdev, 1, &id));
	EXPECT_EQ(-ENOENT, vdevice_alloc(self->fd, self->viommu, self->viommu,
					 1, &id));
	EXPECT_EQ(-ENOENT,
		  vdevice_alloc(self->fd, self->viommu, vdev, 1, &id));

	/* None of these calls has used up the device or the ID */
	EXPECT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[1].id, 1,
				   &id));
	EXPECT_EQ(0, destroy_these(self->fd, id, vdev, self->viommu));
}

TEST_F(viommu, vdevice_ids)
{
	static const __u64 ids[] = { 0, 1, 0xffffffff, 0x100000000ULL,
				     0x8000000000000000ULL, ~0ULL };
	struct mock dev;
	__u32 vdev, viommu, id;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(ids); i++) {
		ASSERT_EQ(0, plug(self->fd, self->ioas, 0, &dev));
		/* Numbers that do not fit into an index of a 32-bit kernel */
		if (sizeof(long) == 4 && ids[i] > 0xffffffff) {
			EXPECT_EQ(-EINVAL, vdevice_alloc(self->fd, self->viommu,
							 dev.id, ids[i], &id));
			continue;
		}
		EXPECT_EQ(0, vdevice_alloc(self->fd, self->viommu, dev.id,
					   ids[i], &id));
		EXPECT_EQ(-EEXIST, vdevice_alloc(self->fd, self->viommu,
						 self->dev[0].id, ids[i], &id));
	}

	/* A driver whose IDs are shorter: the core must not truncate them */
	ASSERT_EQ(0, viommu_alloc_type(self->fd, self->dev[0].id, self->parent,
				       IOMMU_VIOMMU_TYPE_SELFTEST_NO_INV,
				       &viommu));
	ASSERT_EQ(0, vdevice_alloc(self->fd, viommu, self->dev[0].id, 0,
				   &vdev));
	EXPECT_EQ(-EINVAL, vdevice_alloc(self->fd, viommu, self->dev[1].id,
					 0x100000000ULL, &id));
	/* After a refusal by the driver, ID and device can be used again */
	EXPECT_EQ(-EINVAL, vdevice_alloc(self->fd, viommu, self->dev[1].id,
					 0x100000000ULL, &id));
	EXPECT_EQ(0, vdevice_alloc(self->fd, viommu, self->dev[1].id,
				   0xffffffff, &id));
}

TEST_F(viommu, vdevice_exists)
{
	__u32 vdev, viommu, id;

	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev[0].id, self->parent,
				  &viommu));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id,
				   VIRT_ID, &vdev));

	/*
	 * A device has at most a single vDEVICE, on any vIOMMU and with any ID
	 */
	EXPECT_EQ(-EEXIST, vdevice_alloc(self->fd, self->viommu,
					 self->dev[0].id, VIRT_ID, &id));
	EXPECT_EQ(-EEXIST, vdevice_alloc(self->fd, self->viommu,
					 self->dev[0].id, VIRT_ID + 1, &id));
	EXPECT_EQ(-EEXIST, vdevice_alloc(self->fd, viommu, self->dev[0].id,
					 VIRT_ID, &id));
	/* An ID has at most a single vDEVICE */
	EXPECT_EQ(-EEXIST, vdevice_alloc(self->fd, self->viommu,
					 self->dev[1].id, VIRT_ID, &id));

	/* The failures have not harmed the existing vDEVICE */
	EXPECT_EQ(0, viommu_invalidate_dev(self->fd, self->viommu, VIRT_ID));
	EXPECT_TRUE(caches_are(self->fd, self->dev[0].id, CLEAN));
	EXPECT_TRUE(caches_are(self->fd, self->dev[1].id, DIRTY));
	EXPECT_EQ(-EINVAL, viommu_invalidate_dev(self->fd, self->viommu,
						 VIRT_ID + 1));
	EXPECT_EQ(-EINVAL, viommu_invalidate_dev(self->fd, viommu, VIRT_ID));

	/* They have not left anything behind either */
	EXPECT_EQ(0, destroy(self->fd, viommu));
	EXPECT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[1].id,
				   VIRT_ID + 1, &id));
	EXPECT_EQ(0, destroy_these(self->fd, vdev, id, self->viommu));
}

TEST_F(viommu, vdevice_moves)
{
	__u32 vdev, viommu;

	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev[0].id, self->parent,
				  &viommu));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id,
				   VIRT_ID, &vdev));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->viommu));
	ASSERT_EQ(0, destroy(self->fd, vdev));
	EXPECT_EQ(-ENOENT, destroy(self->fd, vdev));

	/* The device moves to another vIOMMU, and its ID to another device */
	ASSERT_EQ(0, vdevice_alloc(self->fd, viommu, self->dev[0].id, VIRT_ID,
				   &vdev));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[1].id,
				   VIRT_ID, &vdev));
	EXPECT_EQ(0, viommu_invalidate_dev(self->fd, self->viommu, VIRT_ID));
	EXPECT_TRUE(caches_are(self->fd, self->dev[0].id, DIRTY));
	EXPECT_TRUE(caches_are(self->fd, self->dev[1].id, CLEAN));
	EXPECT_EQ(0, viommu_invalidate_dev(self->fd, viommu, VIRT_ID));
	EXPECT_TRUE(caches_are(self->fd, self->dev[0].id, CLEAN));
}

TEST_F(viommu, vdevice_alloc_unwritable)
{
	struct iommu_vdevice_alloc cmd = {
		.size = sizeof(cmd),
		.viommu_id = self->viommu,
		.dev_id = self->dev[0].id,
		.virt_id = VIRT_ID,
	};
	struct iommu_vdevice_alloc *p = map_guarded(8, PROT_NONE);
	__u32 id;

	EXPECT_EQ(-EFAULT, ioctl_readonly(self->fd, IOMMU_VDEVICE_ALLOC, &cmd,
					  sizeof(cmd)));
	p->size = sizeof(*p);
	EXPECT_EQ(-EFAULT, iommufd_ioctl(self->fd, IOMMU_VDEVICE_ALLOC, p));

	EXPECT_EQ(-ENOENT, destroy(self->fd, self->viommu + 1));
	EXPECT_EQ(-EINVAL, viommu_invalidate_dev(self->fd, self->viommu,
						 VIRT_ID));
	/* The device is free, and so is the ID */
	EXPECT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id,
				   VIRT_ID, &id));
	EXPECT_EQ(0, destroy_these(self->fd, id, self->viommu, self->parent));
}

TEST_F(viommu, vdevice_tombstone)
{
	struct iommu_vdevice_alloc cmd = { .size = sizeof(cmd) };
	__u32 vdev[2], nested, done, id;
	unsigned int i;

	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id, 0,
				   &vdev[0]));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[1].id, 1,
				   &vdev[1]));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->viommu));

	/* The device takes its own vDEVICE with it, and no other */
	ASSERT_EQ(0, destroy(self->fd, self->dev[0].stdev));
	EXPECT_EQ(-ENOENT, destroy(self->fd, vdev[0]));
	EXPECT_EQ(-EINVAL, viommu_invalidate_dev(self->fd, self->viommu, 0));
	EXPECT_EQ(0, viommu_invalidate_dev(self->fd, self->viommu, 1));

	/* The remaining tombstone is not an object of any kind */
	EXPECT_EQ(-ENOENT, invalidate(self->fd, vdev[0], 0, NULL, 0, 0, &done));
	EXPECT_EQ(-EINVAL, nested_alloc(self->fd, self->dev[1].id, vdev[0],
					&nested));
	EXPECT_EQ(-ENOENT, attach(self->fd, &self->dev[1], vdev[0]));
	EXPECT_EQ(-ENOENT,
		  vdevice_alloc(self->fd, vdev[0], self->dev[1].id, 2, &id));

	/* It does not become an object again */
	for (i = 0; i < 200; i++) {
		ASSERT_EQ(0, ioas_alloc(self->fd, &id));
		ASSERT_NE(vdev[0], id);
	}
	EXPECT_EQ(-ENOENT, destroy(self->fd, vdev[0]));

	/* Only the other vDEVICE holds the vIOMMU, and virt_id 0 is free */
	ASSERT_EQ(0, plug(self->fd, self->ioas, 0, &self->dev[0]));
	cmd.viommu_id = self->viommu;
	cmd.dev_id = self->dev[0].id;
	EXPECT_EQ(0, iommufd_ioctl(self->fd, IOMMU_VDEVICE_ALLOC, &cmd));
	EXPECT_EQ(0, destroy_these(self->fd, cmd.out_vdevice_id, vdev[1],
				   self->viommu));
}

/* Closing the fd destroys all objects, in whatever state */
TEST_F(viommu, close_everything)
{
	__u32 viommu, vdev, nested[2];

	ASSERT_EQ(0, viommu_alloc(self->fd, self->far.id, self->parent,
				  &viommu));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id, 0,
				   &vdev));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[1].id, 1,
				   &vdev));
	ASSERT_EQ(0, vdevice_alloc(self->fd, viommu, self->far.id, 1, &vdev));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev[0].id, self->viommu,
				  &nested[0]));
	ASSERT_EQ(0, nested_alloc(self->fd, self->far.id, viommu, &nested[1]));
	ASSERT_EQ(0, attach(self->fd, &self->dev[0], nested[0]));
	ASSERT_EQ(0, attach(self->fd, &self->dev[1], nested[0]));
	ASSERT_EQ(0, attach(self->fd, &self->far, nested[1]));
	/* A fd with nothing but a tombstone is a case of its own */
	ASSERT_EQ(0, destroy(self->fd, self->dev[1].stdev));
}

TEST_F(viommu, close_tombstones_only)
{
	__u32 vdev;

	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id, 0,
				   &vdev));
	EXPECT_EQ(0, destroy_these(self->fd, self->dev[0].stdev,
				   self->dev[1].stdev, self->far.stdev,
				   self->viommu, self->parent, self->ioas));
}

TEST_F(viommu, hwpt_alloc_errors)
{
	struct {
		struct iommu_hwpt_selftest data;
		__u32 tail;
	} arg = { .data = { .iotlb = 1 } };
	static const __u32 flags[] = { IOMMU_HWPT_ALLOC_NEST_PARENT,
				       IOMMU_HWPT_ALLOC_DIRTY_TRACKING,
				       1u << 4, 1u << 31 };
	const __u32 type = IOMMU_HWPT_DATA_SELFTEST;
	const __u32 dev_id = self->dev[0].id;
	const __u32 min = offsetofend(struct iommu_hwpt_selftest, iotlb);
	__u32 bare, id;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(flags); i++)
		EXPECT_EQ(-EOPNOTSUPP,
			  iommufd_hwpt_alloc(self->fd, dev_id, self->viommu,
					     flags[i], 0, type, &arg,
					     sizeof(arg.data), &id));
	EXPECT_EQ(-EOPNOTSUPP,
		  hwpt_alloc(self->fd, dev_id, self->viommu, 0, &id));
	EXPECT_EQ(-EOPNOTSUPP,
		  iommufd_hwpt_alloc(self->fd, dev_id, self->viommu, 0, 0,
				     type + 1, &arg, sizeof(arg.data), &id));
	EXPECT_EQ(-EINVAL,
		  iommufd_hwpt_alloc(self->fd, dev_id, self->viommu, 0, 0, type,
				     &arg, 0, &id));
	EXPECT_EQ(-EINVAL,
		  iommufd_hwpt_alloc(self->fd, dev_id, self->viommu, 0, 0, type,
				     &arg, min - 1, &id));
	EXPECT_EQ(-EINVAL,
		  iommufd_hwpt_alloc(self->fd, dev_id, self->viommu, 0, 0, type,
				     &arg, sizeof(arg), &id));
	EXPECT_EQ(-EFAULT,
		  iommufd_hwpt_alloc(self->fd, dev_id, self->viommu, 0, 0, type,
				     NULL, min, &id));
	EXPECT_EQ(-ENOENT,
		  iommufd_hwpt_alloc(self->fd, dev_id, self->viommu,
				     IOMMU_HWPT_FAULT_ID_VALID, NO_ID, type,
				     &arg, min, &id));
	arg.data.pagetable_type = 1;
	EXPECT_EQ(-EOPNOTSUPP,
		  iommufd_hwpt_alloc(self->fd, dev_id, self->viommu, 0, 0, type,
				     &arg, sizeof(arg.data), &id));
	/* Fields that are not in use are ignored */
	ASSERT_EQ(0, iommufd_hwpt_alloc(self->fd, dev_id, self->viommu, 0, 0,
					type, &arg, min, &id));
	EXPECT_EQ(0, destroy(self->fd, id));

	/* A vIOMMU without nested domains */
	ASSERT_EQ(0, viommu_alloc_type(self->fd, dev_id, self->parent,
				       IOMMU_VIOMMU_TYPE_SELFTEST_BARE, &bare));
	EXPECT_EQ(-EOPNOTSUPP, nested_alloc(self->fd, dev_id, bare, &id));

	/* The failed calls do not hold the vIOMMU */
	EXPECT_EQ(0, destroy_these(self->fd, self->viommu, bare, self->parent));
}

TEST_F(viommu, hwpt_alloc_unwritable)
{
	struct iommu_hwpt_selftest data = {};
	struct iommu_hwpt_alloc cmd = {
		.size = sizeof(cmd),
		.dev_id = self->dev[0].id,
		.pt_id = self->viommu,
		.data_type = IOMMU_HWPT_DATA_SELFTEST,
		.data_len = sizeof(data),
		.data_uptr = (uintptr_t)&data,
	};

	EXPECT_EQ(-EFAULT, ioctl_readonly(self->fd, IOMMU_HWPT_ALLOC, &cmd,
					  sizeof(cmd)));
	EXPECT_EQ(-ENOENT, destroy(self->fd, self->viommu + 1));
	EXPECT_EQ(0, destroy_these(self->fd, self->viommu, self->parent));
}

TEST_F(viommu, hwpt_holds_viommu)
{
	__u32 nested, vdev;

	ASSERT_EQ(0, nested_alloc(self->fd, self->dev[0].id, self->viommu,
				  &nested));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->viommu));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->parent));

	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id,
				   VIRT_ID, &vdev));
	ASSERT_EQ(0, attach(self->fd, &self->dev[0], nested));
	EXPECT_EQ(-EBUSY, destroy(self->fd, nested));

	/* The vDEVICE can be destroyed while the attachment stays */
	EXPECT_EQ(0, destroy(self->fd, vdev));
	EXPECT_EQ(-EBUSY, destroy(self->fd, nested));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->viommu));

	EXPECT_EQ(0, attach(self->fd, &self->dev[0], self->ioas));
	EXPECT_EQ(0, destroy_these(self->fd, nested, self->viommu,
				   self->parent));
}

/*
 * A refused attach changes nothing, even if the last attach is no longer
 * allowed
 */
TEST_F(viommu, refused_without_vdevice)
{
	__u32 nested, again, vdev;

	ASSERT_EQ(0, nested_alloc(self->fd, self->dev[0].id, self->viommu,
				  &nested));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev[0].id, self->viommu,
				  &again));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id,
				   VIRT_ID, &vdev));
	ASSERT_EQ(0, attach(self->fd, &self->dev[0], nested));
	ASSERT_EQ(0, destroy(self->fd, vdev));
	EXPECT_EQ(-ENOENT, attach(self->fd, &self->dev[0], again));
	EXPECT_EQ(-EBUSY, destroy(self->fd, nested));
	EXPECT_EQ(0, destroy(self->fd, again));
	EXPECT_EQ(0, attach(self->fd, &self->dev[0], self->parent));
	EXPECT_EQ(-ENOENT, attach(self->fd, &self->dev[0], nested));
}

/* The driver requires a vDEVICE. An attach that it refuses holds nothing */
TEST_F(viommu, refused_attach_holds_nothing)
{
	__u32 nested, direct, vdev;

	ASSERT_EQ(0, nested_alloc(self->fd, self->dev[0].id, self->viommu,
				  &nested));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev[0].id, self->parent,
				  &direct));
	EXPECT_EQ(-ENOENT, attach(self->fd, &self->dev[0], nested));
	/* A domain that is made on the parent itself requires no vDEVICE */
	EXPECT_EQ(0, attach(self->fd, &self->dev[0], direct));
	EXPECT_EQ(-ENOENT, attach(self->fd, &self->dev[0], nested));
	EXPECT_EQ(-EBUSY, destroy(self->fd, direct));

	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id,
				   VIRT_ID, &vdev));
	EXPECT_EQ(0, attach(self->fd, &self->dev[0], nested));
	EXPECT_EQ(0, destroy(self->fd, direct));
	ASSERT_EQ(0, attach(self->fd, &self->dev[0], self->ioas));
	EXPECT_EQ(0, destroy_these(self->fd, vdev, nested, self->viommu,
				   self->parent));
}

TEST_F(viommu, iopf_through_viommu)
{
	struct iommu_hwpt_selftest data = {};
	__u32 fault, nested, vdev;
	int fault_fd;

	ASSERT_EQ(0, fault_alloc(self->fd, &fault, &fault_fd));
	ASSERT_EQ(0, iommufd_hwpt_alloc(self->fd, self->dev[0].id, self->viommu,
					IOMMU_HWPT_FAULT_ID_VALID, fault,
					IOMMU_HWPT_DATA_SELFTEST, &data,
					sizeof(data), &nested));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id,
				   VIRT_ID, &vdev));
	EXPECT_EQ(-EBUSY, destroy(self->fd, fault));
	ASSERT_EQ(0, attach(self->fd, &self->dev[0], nested));
	EXPECT_EQ(0, err(_test_cmd_trigger_iopf(self->fd, self->dev[0].id,
						fault_fd)));
	ASSERT_EQ(0, attach(self->fd, &self->dev[0], self->ioas));
	EXPECT_EQ(0, destroy(self->fd, nested));
	EXPECT_EQ(0, close(fault_fd));
	EXPECT_EQ(0, destroy(self->fd, fault));
}

TEST_F(viommu, hw_info)
{
	struct iommu_test_hw_info info;
	struct iommu_hw_info cmd = {
		.size = sizeof(cmd),
		.dev_id = self->dev[0].id,
		.data_len = sizeof(info),
		.data_uptr = (uintptr_t)&info,
	};
	unsigned int i;

	/* Without the flag, any type is accepted */
	cmd.in_data_type = IOMMU_HW_INFO_TYPE_ARM_SMMUV3;
	EXPECT_EQ(0, iommufd_ioctl(self->fd, IOMMU_GET_HW_INFO, &cmd));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_SELFTEST, cmd.out_data_type);

	/*
	 * With the flag, only the type of the device and the default are
	 * accepted
	 */
	cmd.flags = IOMMU_HW_INFO_FLAG_INPUT_TYPE;
	EXPECT_EQ(0, iommufd_ioctl(self->fd, IOMMU_GET_HW_INFO, &cmd));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_SELFTEST, cmd.out_data_type);
	cmd.in_data_type = IOMMU_HW_INFO_TYPE_DEFAULT;
	info.test_reg = 0;
	EXPECT_EQ(0, iommufd_ioctl(self->fd, IOMMU_GET_HW_INFO, &cmd));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_SELFTEST, cmd.out_data_type);
	EXPECT_EQ(IOMMU_HW_INFO_SELFTEST_REGVAL, info.test_reg);
	EXPECT_EQ(sizeof(info), cmd.data_len);

	/* A further type that the driver reports on request */
	cmd.in_data_type = IOMMU_HW_INFO_TYPE_SELFTEST_OTHER;
	EXPECT_EQ(0, iommufd_ioctl(self->fd, IOMMU_GET_HW_INFO, &cmd));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_SELFTEST_OTHER, cmd.out_data_type);
	EXPECT_EQ(~IOMMU_HW_INFO_SELFTEST_REGVAL, info.test_reg);
	cmd.flags = 0;
	EXPECT_EQ(0, iommufd_ioctl(self->fd, IOMMU_GET_HW_INFO, &cmd));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_SELFTEST, cmd.out_data_type);
	cmd.flags = IOMMU_HW_INFO_FLAG_INPUT_TYPE;

	/* This field is about PCI devices only */
	EXPECT_EQ(0, cmd.out_capabilities & IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED);

	/* It is not written for other devices */
	info.test_reg = 0x5a5a5a5a;
	cmd.in_data_type = IOMMU_HW_INFO_TYPE_ARM_SMMUV3;
	EXPECT_EQ(-EOPNOTSUPP, iommufd_ioctl(self->fd, IOMMU_GET_HW_INFO, &cmd));
	cmd.in_data_type = IOMMU_HW_INFO_TYPE_SELFTEST + 1;
	EXPECT_EQ(-EOPNOTSUPP, iommufd_ioctl(self->fd, IOMMU_GET_HW_INFO, &cmd));
	EXPECT_EQ(0x5a5a5a5a, info.test_reg);

	cmd.in_data_type = IOMMU_HW_INFO_TYPE_DEFAULT;
	for (i = 1; i < 32; i++) {
		cmd.flags = 1u << i;
		EXPECT_EQ(-EOPNOTSUPP,
			  iommufd_ioctl(self->fd, IOMMU_GET_HW_INFO, &cmd));
	}
	cmd.flags = IOMMU_HW_INFO_FLAG_INPUT_TYPE;
	for (i = 0; i < sizeof(cmd.__reserved); i++) {
		memset(cmd.__reserved, 0, sizeof(cmd.__reserved));
		cmd.__reserved[i] = 1;
		EXPECT_EQ(-EOPNOTSUPP,
			  iommufd_ioctl(self->fd, IOMMU_GET_HW_INFO, &cmd));
	}
	memset(cmd.__reserved, 0, sizeof(cmd.__reserved));
	cmd.dev_id = self->viommu;
	EXPECT_EQ(-ENOENT, iommufd_ioctl(self->fd, IOMMU_GET_HW_INFO, &cmd));
}

TEST_HARNESS_MAIN
