// SPDX-License-Identifier: GPL-2.0-only
/*
 * HWPT_INVALIDATE on a nested HWPT and on a vIOMMU, against the mock IOMMU
 * driver
 */
#include "iommufd_vm.h"

/* Cases of HWPT_INVALIDATE that are the same for both kinds of objects */
FIXTURE(invalidate)
{
	int fd;
	__u32 ioas;
	struct mock dev;
	__u32 parent;
	__u32 viommu;
	__u32 nested;
	__u32 vdev;
	__u32 id;
	__u32 type;
	__u32 len;
	__u32 min;
};

FIXTURE_VARIANT(invalidate)
{
	bool on_viommu;
	bool nested_on_viommu;
};

FIXTURE_VARIANT_ADD(invalidate, viommu)
{
	.on_viommu = true,
};

FIXTURE_VARIANT_ADD(invalidate, nested_hwpt)
{
};

FIXTURE_VARIANT_ADD(invalidate, nested_hwpt_of_viommu)
{
	.nested_on_viommu = true,
};

FIXTURE_SETUP(invalidate)
{
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	ASSERT_EQ(0, ioas_alloc(self->fd, &self->ioas));
	ASSERT_EQ(0, plug(self->fd, self->ioas, 0, &self->dev));
	ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev.id, self->ioas,
				IOMMU_HWPT_ALLOC_NEST_PARENT, &self->parent));
	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev.id, self->parent,
				  &self->viommu));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev.id, 0,
				   &self->vdev));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev.id,
				  variant->nested_on_viommu ? self->viommu :
							      self->parent,
				  &self->nested));
	if (variant->on_viommu) {
		self->id = self->viommu;
		self->type = IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST;
		self->len = sizeof(struct iommu_viommu_invalidate_selftest);
		self->min = offsetofend(struct iommu_viommu_invalidate_selftest,
					cache_id);
	} else {
		self->id = self->nested;
		self->type = IOMMU_HWPT_INVALIDATE_DATA_SELFTEST;
		self->len = sizeof(struct iommu_hwpt_invalidate_selftest);
		self->min = offsetofend(struct iommu_hwpt_invalidate_selftest,
					iotlb_id);
	}
}

FIXTURE_TEARDOWN(invalidate)
{
	teardown_iommufd(self->fd, _metadata);
}

/* Entries of either kind begin with the flags */
static void *make_entries(size_t len, unsigned int num)
{
	return calloc(num, len);
}

static void set_flags(void *entries, size_t len, unsigned int i, __u32 flags)
{
	*(__u32 *)((char *)entries + len * i) = flags;
}

TEST_F(invalidate, probe)
{
	__u32 done;

	/* Length and pointer are ignored */
	EXPECT_EQ(0, invalidate(self->fd, self->id, self->type, NULL, 0, 0,
				&done));
	EXPECT_EQ(0, done);
	EXPECT_EQ(0, invalidate(self->fd, self->id, self->type, NULL, ~0u, 0,
				&done));
	EXPECT_EQ(0, done);
	EXPECT_EQ(0, invalidate(self->fd, self->id, self->type, (void *)1UL, 1,
				0, &done));
	EXPECT_EQ(0, done);

	EXPECT_EQ(-EINVAL,
		  invalidate(self->fd, self->id,
			     IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST_INVALID,
			     NULL, 0, 0, &done));
	EXPECT_EQ(0, done);
	EXPECT_EQ(-EINVAL, invalidate(self->fd, self->id, 0, NULL, 0, 0, &done));
	EXPECT_EQ(-EINVAL,
		  invalidate(self->fd, self->id,
			     IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3, NULL, 0,
			     0, &done));
}

TEST_F(invalidate, bad_arrays)
{
	void *reqs = calloc(1, PAGE_SIZE + self->len);
	const __u32 max = 1u << 19;
	__u32 done;

	EXPECT_EQ(-EINVAL,
		  invalidate(self->fd, self->id,
			     IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST_INVALID,
			     reqs, self->len, 1, &done));
	EXPECT_EQ(0, done);
	EXPECT_EQ(-EINVAL, invalidate(self->fd, self->id, self->type, NULL,
				      self->len, 1, &done));
	EXPECT_EQ(0, done);
	EXPECT_EQ(-EINVAL, invalidate(self->fd, self->id, self->type, reqs, 0, 1,
				      &done));
	EXPECT_EQ(0, done);
	EXPECT_EQ(-EINVAL, invalidate(self->fd, self->id, self->type, reqs,
				      self->min - 1, 1, &done));
	EXPECT_EQ(0, done);
	EXPECT_EQ(-EINVAL, invalidate(self->fd, self->id, self->type, reqs,
				      PAGE_SIZE + 1, 1, &done));
	EXPECT_EQ(0, done);
	EXPECT_EQ(-EINVAL, invalidate(self->fd, self->id, self->type, reqs,
				      self->len, max + 1, &done));
	/* A length that is too short by a byte */
	EXPECT_EQ(-EFAULT, invalidate(self->fd, self->id, self->type,
				      map_guarded(0, PROT_NONE), self->len, max,
				      &done));
	EXPECT_EQ(0, done);
	EXPECT_EQ(-EINVAL, invalidate(self->fd, self->id, self->type, reqs,
				      self->len, ~0u, &done));
	EXPECT_EQ(0, done);
	free(reqs);
}

/*
 * The driver reports the entry that failed, and an error does not lose this
 * number
 */
TEST_F(invalidate, truthful_entry_num)
{
	void *reqs = make_entries(self->len, 70);
	__u32 done;

	ASSERT_NE(NULL, reqs);
	EXPECT_EQ(0, invalidate(self->fd, self->id, self->type, reqs, self->len,
				70, &done));
	EXPECT_EQ(70, done);
	set_flags(reqs, self->len, 41, 1u << 31);
	EXPECT_EQ(-EOPNOTSUPP, invalidate(self->fd, self->id, self->type, reqs,
					  self->len, 70, &done));
	EXPECT_EQ(41, done);
	free(reqs);
}

/* A slow entry keeps a CPU busy, so it has to be alone in its call */
TEST_F(invalidate, slow_entries)
{
	void *reqs = make_entries(self->len, 2);
	unsigned int i;
	__u32 done;

	ASSERT_NE(NULL, reqs);
	for (i = 0; i < 2; i++) {
		set_flags(reqs, self->len, i, IOMMU_TEST_INVALIDATE_FLAG_SLOW);
		EXPECT_EQ(variant->on_viommu ? -EINVAL : -EOPNOTSUPP,
			  invalidate(self->fd, self->id, self->type, reqs,
				     self->len, 2, &done));
		EXPECT_EQ(i, done);
		EXPECT_EQ(variant->on_viommu ? 0 : -EOPNOTSUPP,
			  invalidate(self->fd, self->id, self->type,
				     (char *)reqs + i * self->len, self->len, 1,
				     &done));
		EXPECT_EQ(variant->on_viommu, done);
		set_flags(reqs, self->len, i, 0);
	}
	free(reqs);
}

/* The core copies the array for the driver */
TEST_F(invalidate, unreadable_entry)
{
	const unsigned int num = 5;
	char *end = map_guarded(0, PROT_NONE);
	__u32 done;

	/* An entry of which all or some bytes cannot be read */
	EXPECT_EQ(-EFAULT, invalidate(self->fd, self->id, self->type,
				      end - num * self->len, self->len, num + 1,
				      &done));
	EXPECT_EQ(num, done);
	EXPECT_EQ(-EFAULT, invalidate(self->fd, self->id, self->type,
				      end - num * self->len + 4, self->len, num,
				      &done));
	EXPECT_EQ(num - 1, done);
	EXPECT_EQ(-EFAULT, invalidate(self->fd, self->id, self->type, end,
				      self->len, 1, &done));
	EXPECT_EQ(0, done);
	EXPECT_EQ(-EFAULT, invalidate(self->fd, self->id, self->type,
				      (void *)~0xfffUL, self->len, 1, &done));
	EXPECT_EQ(0, done);
}

TEST_F(invalidate, struct_sizes)
{
	struct {
		struct iommu_hwpt_invalidate cmd;
		__u64 tail;
	} arg = {};
	__u32 size;

	for (size = 0; size <= sizeof(arg); size += 4) {
		memset(&arg, 0, sizeof(arg));
		arg.cmd.size = size;
		arg.cmd.hwpt_id = self->id;
		arg.cmd.data_type = self->type;
		EXPECT_EQ(size < sizeof(arg.cmd) ? -EINVAL : 0,
			  iommufd_ioctl(self->fd, IOMMU_HWPT_INVALIDATE, &arg));
	}
	arg.cmd.size = sizeof(arg);
	arg.tail = 1;
	EXPECT_EQ(-E2BIG, iommufd_ioctl(self->fd, IOMMU_HWPT_INVALIDATE, &arg));

	/* The number is written even if the reserved field is not 0 */
	arg.cmd.size = sizeof(arg.cmd);
	arg.cmd.entry_num = 1;
	arg.cmd.__reserved = 1;
	EXPECT_EQ(-EOPNOTSUPP,
		  iommufd_ioctl(self->fd, IOMMU_HWPT_INVALIDATE, &arg));
	EXPECT_EQ(0, arg.cmd.entry_num);
}

TEST_F(invalidate, unwritable)
{
	void *reqs = make_entries(self->len, 1);
	struct iommu_hwpt_invalidate cmd = {
		.size = sizeof(cmd),
		.hwpt_id = self->id,
		.data_type = self->type,
		.data_uptr = (uintptr_t)reqs,
		.entry_len = self->len,
		.entry_num = 1,
	};

	EXPECT_EQ(-EFAULT, ioctl_readonly(self->fd, IOMMU_HWPT_INVALIDATE, &cmd,
					  sizeof(cmd)));
	cmd.hwpt_id = NO_ID;
	EXPECT_EQ(-EFAULT, ioctl_readonly(self->fd, IOMMU_HWPT_INVALIDATE, &cmd,
					  sizeof(cmd)));
	free(reqs);
}

TEST_F(invalidate, wrong_objects)
{
	const __u32 ids[] = { 0,	      NO_ID,	    self->ioas,
			      self->parent,   self->dev.id, self->dev.stdev,
			      self->dev.hwpt, self->vdev };
	void *reqs = make_entries(self->len, 1);
	unsigned int i;
	__u32 done;

	for (i = 0; i < ARRAY_SIZE(ids); i++) {
		EXPECT_EQ(-ENOENT, invalidate(self->fd, ids[i], self->type, reqs,
					      self->len, 1, &done));
		EXPECT_EQ(0, done);
		/* A probe fails, too */
		EXPECT_EQ(-ENOENT, invalidate(self->fd, ids[i], self->type, NULL,
					      0, 0, &done));
	}
	free(reqs);
}

TEST_F(viommu, invalidate_not_supported)
{
	struct iommu_viommu_invalidate_selftest req = {};
	const __u32 type = IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST;
	__u32 viommu[2], nested, vdev, done;
	unsigned int i;

	ASSERT_EQ(0, viommu_alloc_type(self->fd, self->dev[0].id, self->parent,
				       IOMMU_VIOMMU_TYPE_SELFTEST_BARE,
				       &viommu[0]));
	ASSERT_EQ(0, viommu_alloc_type(self->fd, self->dev[0].id, self->parent,
				       IOMMU_VIOMMU_TYPE_SELFTEST_NO_INV,
				       &viommu[1]));
	ASSERT_EQ(0, vdevice_alloc(self->fd, viommu[0], self->dev[0].id, 0,
				   &vdev));
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(-EOPNOTSUPP, viommu_invalidate(self->fd, viommu[i],
							 &req, 1, &done));
		EXPECT_EQ(0, done);
		/* With any type, and for a probe as well */
		EXPECT_EQ(-EOPNOTSUPP, invalidate(self->fd, viommu[i], type,
						  NULL, 0, 0, &done));
		EXPECT_EQ(-EOPNOTSUPP, invalidate(self->fd, viommu[i], 0, NULL,
						  0, 0, &done));
		/* Errors of the array are reported first */
		EXPECT_EQ(-EINVAL, invalidate(self->fd, viommu[i], type, NULL,
					      sizeof(req), 1, &done));
		EXPECT_EQ(0, done);
	}

	/* A nested HWPT on such a vIOMMU */
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev[1].id, viommu[1],
				  &nested));
	EXPECT_EQ(-EOPNOTSUPP, invalidate(self->fd, nested, type, &req,
					  sizeof(req), 1, &done));
	EXPECT_EQ(0, done);
	EXPECT_EQ(0, destroy_these(self->fd, nested, viommu[1], vdev,
				   viommu[0]));
}

/* An invalidation reaches exactly the requested caches, up to the error */
TEST_F(viommu, invalidate_reaches)
{
	struct iommu_viommu_invalidate_selftest req[4] = {
		{ .vdev_id = 0, .cache_id = 1 },
		{ .vdev_id = 7, .cache_id = 3 },
		{ .vdev_id = 8, .cache_id = 0 },
		{ .vdev_id = 0, .cache_id = 2 },
	};
	__u32 vdev[2], done;

	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id, 0,
				   &vdev[0]));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[1].id, 7,
				   &vdev[1]));

	/* The third ID belongs to no device */
	EXPECT_EQ(-EINVAL,
		  viommu_invalidate(self->fd, self->viommu, req, 4, &done));
	EXPECT_EQ(2, done);
	EXPECT_TRUE(cache_is(self->fd, self->dev[0].id, 0, DIRTY));
	EXPECT_TRUE(cache_is(self->fd, self->dev[0].id, 1, CLEAN));
	EXPECT_TRUE(cache_is(self->fd, self->dev[0].id, 2, DIRTY));
	EXPECT_TRUE(cache_is(self->fd, self->dev[0].id, 3, DIRTY));
	EXPECT_TRUE(cache_is(self->fd, self->dev[1].id, 0, DIRTY));
	EXPECT_TRUE(cache_is(self->fd, self->dev[1].id, 3, CLEAN));

	req[2].vdev_id = 7;
	req[2].flags = IOMMU_TEST_INVALIDATE_FLAG_ALL;
	EXPECT_EQ(0,
		  viommu_invalidate(self->fd, self->viommu, req, 4, &done));
	EXPECT_EQ(4, done);
	EXPECT_TRUE(caches_are(self->fd, self->dev[1].id, CLEAN));
	EXPECT_TRUE(cache_is(self->fd, self->dev[0].id, 0, DIRTY));
	EXPECT_TRUE(cache_is(self->fd, self->dev[0].id, 2, CLEAN));
	EXPECT_TRUE(cache_is(self->fd, self->dev[0].id, 3, DIRTY));

	EXPECT_TRUE(caches_are(self->fd, self->far.id, DIRTY));
}

TEST_HARNESS_MAIN
