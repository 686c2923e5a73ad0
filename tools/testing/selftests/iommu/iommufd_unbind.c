// SPDX-License-Identifier: GPL-2.0-only
/*
 * Calls that wait for user memory, while their device or their object goes
 * away, against the mock IOMMU driver.
 */
#include "iommufd_vm.h"

/*
 * A device is unbound during a call that uses it: the unbind must wait for the
 * end of the call, but no longer.
 */
static void unbind_while_in_use(struct __test_metadata *_metadata, int fd,
				__u32 viommu, const struct mock *dev,
				unsigned int seconds)
{
	struct iommu_destroy unplug = {
		.size = sizeof(unplug),
		.id = dev->stdev,
	};
	struct call user, unbind;
	struct iommu_test_cmd *cmd;
	struct slow_page slow;
	double start;
	__u32 vdev;

	if (slow_page_init(&slow, true))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	ASSERT_EQ(0, vdevice_alloc(fd, viommu, dev->id, VIRT_ID, &vdev));
	cmd = slow.page;
	*cmd = (struct iommu_test_cmd){
		.size = sizeof(*cmd),
		.op = IOMMU_TEST_OP_DEV_GET_IOPF,
		.id = dev->id,
	};
	slow_page_protect(&slow);
	call_start(&user, fd, _IOMMU_TEST_CMD(IOMMU_TEST_OP_DEV_GET_IOPF), cmd);
	slow_page_wait(&slow);
	call_start(&unbind, fd, IOMMU_DESTROY, &unplug);
	EXPECT_TRUE(call_gets(&unbind, 'D'));
	sleep(seconds);
	/* It may have waited for something else at first */
	EXPECT_TRUE(call_waits(&unbind));
	start = now();
	slow_page_provide(&slow);

	EXPECT_EQ(0, call_join(&user));
	EXPECT_EQ(0, call_join(&unbind));
	EXPECT_LT(now() - start, SOON);
	EXPECT_EQ(-ENOENT, destroy(fd, vdev));
}

TEST_F_TIMEOUT(viommu, unbind_while_device_in_use, 100)
{
	unbind_while_in_use(_metadata, self->fd, self->viommu, &self->dev[0],
			    0);
}

/* For more than a minute, because the unbind has no way to give up */
TEST_F_TIMEOUT(viommu, unbind_while_device_in_use_long, 200)
{
	unbind_while_in_use(_metadata, self->fd, self->viommu, &self->dev[0],
			    65);
}

/*
 * An ioctl about a device waits for memory of its caller. The device can be
 * unbound in this time.
 */
static void unbind_beside(struct __test_metadata *_metadata, int fd,
			  const struct mock *dev, unsigned long nr, void *arg,
			  struct slow_page *slow, int rc)
{
	struct iommu_destroy unplug = {
		.size = sizeof(unplug),
		.id = dev->stdev,
	};
	struct call user, unbind;
	bool soon;

	call_start(&user, fd, nr, arg);
	slow_page_wait(slow);
	call_start(&unbind, fd, IOMMU_DESTROY, &unplug);
	soon = call_join_within(&unbind, SOON);
	EXPECT_TRUE(soon);
	slow_page_provide(slow);
	if (!soon)
		call_join(&unbind);
	EXPECT_EQ(0, unbind.rc);
	EXPECT_EQ(rc, call_join(&user));
}

TEST_F_TIMEOUT(viommu, unbind_beside_hw_info, 100)
{
	struct iommu_hw_info cmd = {
		.size = sizeof(cmd),
		.dev_id = self->dev[0].id,
		.data_len = sizeof(struct iommu_test_hw_info),
	};
	struct iommu_test_hw_info *info;
	struct slow_page slow;

	if (slow_page_init(&slow, false))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	info = slow.page;
	cmd.data_uptr = (uintptr_t)info;
	unbind_beside(_metadata, self->fd, &self->dev[0], IOMMU_GET_HW_INFO,
		      &cmd, &slow, 0);
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_SELFTEST, cmd.out_data_type);
	EXPECT_EQ(IOMMU_HW_INFO_SELFTEST_REGVAL, info->test_reg);
}

TEST_F_TIMEOUT(viommu, unbind_beside_hw_info_answer, 100)
{
	struct iommu_hw_info *cmd;
	struct slow_page slow;

	if (slow_page_init(&slow, true))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	cmd = slow.page;
	*cmd = (struct iommu_hw_info){
		.size = sizeof(*cmd),
		.dev_id = self->dev[0].id,
	};
	slow_page_protect(&slow);
	unbind_beside(_metadata, self->fd, &self->dev[0], IOMMU_GET_HW_INFO,
		      cmd, &slow, 0);
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_SELFTEST, cmd->out_data_type);
}

/* The array of ranges is slow, or the answer. A detach removes ranges. */
static void unbind_beside_iova_ranges(struct __test_metadata *_metadata,
				      int fd, const struct mock *dev,
				      __u32 ioas, bool answer)
{
	struct iommu_iova_range ranges[4] = {}, *slow_ranges;
	struct iommu_ioas_iova_ranges cmd = {
		.size = sizeof(cmd),
		.ioas_id = ioas,
		.num_iovas = ARRAY_SIZE(ranges),
		.allowed_iovas = (uintptr_t)ranges,
	}, *arg = &cmd;
	struct slow_page slow;

	if (slow_page_init(&slow, answer))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	slow_ranges = answer ? ranges : slow.page;
	if (answer) {
		arg = slow.page;
		*arg = cmd;
		slow_page_protect(&slow);
	} else {
		cmd.allowed_iovas = (uintptr_t)slow.page;
	}
	unbind_beside(_metadata, fd, dev, IOMMU_IOAS_IOVA_RANGES, arg, &slow,
		      0);
	EXPECT_EQ(1, arg->num_iovas);
	EXPECT_EQ(MOCK_APERTURE_START, slow_ranges[0].start);
	EXPECT_EQ(MOCK_APERTURE_LAST, slow_ranges[0].last);
}

TEST_F_TIMEOUT(viommu, unbind_beside_iova_ranges, 100)
{
	unbind_beside_iova_ranges(_metadata, self->fd, &self->dev[0],
				  self->ioas, false);
}

TEST_F_TIMEOUT(viommu, unbind_beside_iova_ranges_answer, 100)
{
	unbind_beside_iova_ranges(_metadata, self->fd, &self->dev[0],
				  self->ioas, true);
}

/* More ranges than the kernel copies at a time, in whole and in part */
TEST_F(viommu, many_iova_ranges)
{
	struct iommu_test_cmd reserve = {
		.size = sizeof(reserve),
		.op = IOMMU_TEST_OP_ADD_RESERVED,
	};
	struct iommu_iova_range ranges[41];
	struct iommu_ioas_iova_ranges cmd = {
		.size = sizeof(cmd),
		.allowed_iovas = (uintptr_t)ranges,
	};
	unsigned int i, max;

	ASSERT_EQ(0, ioas_alloc(self->fd, &cmd.ioas_id));
	reserve.id = cmd.ioas_id;
	reserve.add_reserved.length = PAGE_SIZE;
	for (i = 1; i < ARRAY_SIZE(ranges); i++) {
		reserve.add_reserved.start = 2 * i * PAGE_SIZE;
		ASSERT_EQ(0, iommufd_ioctl(self->fd,
					   _IOMMU_TEST_CMD(IOMMU_TEST_OP_ADD_RESERVED),
					   &reserve));
	}
	for (max = 0; max <= ARRAY_SIZE(ranges); max++) {
		memset(ranges, 0x5a, sizeof(ranges));
		cmd.num_iovas = max;
		EXPECT_EQ(max < ARRAY_SIZE(ranges) ? -EMSGSIZE : 0,
			  iommufd_ioctl(self->fd, IOMMU_IOAS_IOVA_RANGES,
					&cmd));
		EXPECT_EQ(ARRAY_SIZE(ranges), cmd.num_iovas);
		for (i = 0; i < max; i++) {
			EXPECT_EQ(i ? (2 * i + 1) * PAGE_SIZE : 0,
				  ranges[i].start);
			EXPECT_EQ(i < 40 ? (2 * i + 2) * PAGE_SIZE - 1 :
					   UINT64_MAX, ranges[i].last);
		}
		/* No more than these */
		for (; i < ARRAY_SIZE(ranges); i++)
			EXPECT_EQ(0x5a5a5a5a5a5a5a5aULL, ranges[i].start);
	}
	EXPECT_EQ(0, destroy(self->fd, cmd.ioas_id));
}

/*
 * The answer of HWPT_ALLOC is slow, or the data of a nested HWPT. The kernel
 * reads this data before it looks for the device, which is gone by then.
 */
static void unbind_beside_hwpt_alloc(struct __test_metadata *_metadata, int fd,
				     const struct mock *dev, __u32 pt_id,
				     bool nested, bool answer)
{
	struct iommu_hwpt_selftest data = {};
	struct iommu_hwpt_alloc cmd = {
		.size = sizeof(cmd),
		.dev_id = dev->id,
		.pt_id = pt_id,
		.data_type = nested ? IOMMU_HWPT_DATA_SELFTEST :
				      IOMMU_HWPT_DATA_NONE,
		.data_len = nested ? sizeof(data) : 0,
		.data_uptr = nested ? (uintptr_t)&data : 0,
	}, *arg = &cmd;
	struct slow_page slow;

	if (slow_page_init(&slow, answer))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	if (answer) {
		arg = slow.page;
		*arg = cmd;
		slow_page_protect(&slow);
	} else {
		cmd.data_uptr = (uintptr_t)slow.page;
	}
	unbind_beside(_metadata, fd, dev, IOMMU_HWPT_ALLOC, arg, &slow,
		      answer ? 0 : -ENOENT);
	if (answer)
		EXPECT_EQ(0, destroy(fd, arg->out_hwpt_id));
}

TEST_F_TIMEOUT(viommu, unbind_beside_hwpt_answer, 100)
{
	unbind_beside_hwpt_alloc(_metadata, self->fd, &self->dev[0], self->ioas,
				 false, true);
}

TEST_F_TIMEOUT(viommu, unbind_beside_parent_answer, 100)
{
	unbind_beside_hwpt_alloc(_metadata, self->fd, &self->dev[0],
				 self->parent, true, true);
}

TEST_F_TIMEOUT(viommu, unbind_beside_parent_data, 100)
{
	unbind_beside_hwpt_alloc(_metadata, self->fd, &self->dev[0],
				 self->parent, true, false);
}

TEST_F_TIMEOUT(viommu, unbind_beside_viommu_answer, 100)
{
	unbind_beside_hwpt_alloc(_metadata, self->fd, &self->dev[0],
				 self->viommu, true, true);
}

TEST_F_TIMEOUT(viommu, unbind_beside_viommu_data, 100)
{
	unbind_beside_hwpt_alloc(_metadata, self->fd, &self->dev[0],
				 self->viommu, true, false);
}

/*
 * Filling a new HWPT has to wait for pages. In this time, neither its device is
 * held, nor a device that waits for the allocation of the next HWPT.
 */
TEST_F_TIMEOUT(viommu, unbind_beside_pinning, 100)
{
	struct iommu_hwpt_alloc cmd[2] = {
		{ .size = sizeof(cmd[0]), .dev_id = self->dev[0].id },
		{ .size = sizeof(cmd[1]), .dev_id = self->dev[1].id },
	};
	struct iommu_destroy unplug[2] = {
		{ .size = sizeof(unplug[0]), .id = self->dev[0].stdev },
		{ .size = sizeof(unplug[1]), .id = self->dev[1].stdev },
	};
	struct call first, second, unbind[2];
	struct slow_page slow;
	__u64 iova = MOCK_APERTURE_START;
	bool soon[2];
	__u32 ioas;
	int i;

	if (slow_page_init(&slow, false))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	ASSERT_EQ(0, ioas_alloc(self->fd, &ioas));
	ASSERT_EQ(0, err(_test_ioctl_ioas_map(self->fd, ioas, slow.page,
					      PAGE_SIZE, &iova,
					      IOMMU_IOAS_MAP_FIXED_IOVA |
						IOMMU_IOAS_MAP_READABLE)));
	cmd[0].pt_id = ioas;
	cmd[1].pt_id = ioas;

	call_start(&first, self->fd, IOMMU_HWPT_ALLOC, &cmd[0]);
	slow_page_wait(&slow);
	call_start(&second, self->fd, IOMMU_HWPT_ALLOC, &cmd[1]);
	EXPECT_TRUE(call_gets(&second, 'D'));
	for (i = 1; i >= 0; i--) {
		call_start(&unbind[i], self->fd, IOMMU_DESTROY, &unplug[i]);
		soon[i] = call_join_within(&unbind[i], SOON);
		EXPECT_TRUE(soon[i]);
	}
	slow_page_provide(&slow);
	for (i = 1; i >= 0; i--) {
		if (!soon[i])
			call_join(&unbind[i]);
		EXPECT_EQ(0, unbind[i].rc);
	}
	EXPECT_EQ(0, call_join(&first));
	EXPECT_EQ(-ENOENT, call_join(&second));
	EXPECT_EQ(0, destroy(self->fd, cmd[0].out_hwpt_id));
}

/* The data of a vIOMMU, for a driver that takes data */
TEST_F_TIMEOUT(viommu, unbind_beside_viommu_alloc_data, 100)
{
	struct iommu_viommu_alloc cmd = {
		.size = sizeof(cmd),
		.type = IOMMU_VIOMMU_TYPE_SELFTEST,
		.dev_id = self->dev[0].id,
		.hwpt_id = self->parent,
		.data_len = sizeof(struct iommu_viommu_selftest),
	};
	struct slow_page slow;

	if (slow_page_init(&slow, false))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	cmd.data_uptr = (uintptr_t)slow.page;
	unbind_beside(_metadata, self->fd, &self->dev[0], IOMMU_VIOMMU_ALLOC,
		      &cmd, &slow, 0);
	EXPECT_EQ(0, destroy(self->fd, cmd.out_viommu_id));
}

/*
 * Both devices are on the domain that the IOAS has allocated for them. A device
 * leaves it while user space allocates another HWPT on this IOAS.
 */
TEST_F_TIMEOUT(viommu, detach_beside_slow_alloc, 100)
{
	struct iommu_hwpt_alloc *cmd;
	struct slow_page slow;

	ASSERT_EQ(self->dev[0].hwpt, self->dev[1].hwpt);
	if (slow_page_init(&slow, true))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	cmd = slow.page;
	*cmd = (struct iommu_hwpt_alloc){
		.size = sizeof(*cmd),
		.dev_id = self->dev[1].id,
		.pt_id = self->ioas,
	};
	slow_page_protect(&slow);
	unbind_beside(_metadata, self->fd, &self->dev[0], IOMMU_HWPT_ALLOC, cmd,
		      &slow, 0);
}

/*
 * HWPT_ALLOC locks the IOAS, even while it fills the new HWPT with all
 * mappings. A replace between two existing HWPTs must not wait for this.
 */
TEST_F_TIMEOUT(viommu, replace_beside_slow_alloc, 100)
{
	struct iommu_test_cmd replace = {
		.size = sizeof(replace),
		.op = IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE,
		.id = self->dev[0].stdev,
	};
	struct iommu_hwpt_alloc *cmd;
	struct call alloc, attaching;
	struct slow_page slow;
	__u32 hwpt;
	bool soon;

	ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev[0].id, self->ioas, 0,
				&hwpt));
	ASSERT_EQ(0, attach(self->fd, &self->dev[0], self->parent));
	if (slow_page_init(&slow, true))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	cmd = slow.page;
	*cmd = (struct iommu_hwpt_alloc){
		.size = sizeof(*cmd),
		.dev_id = self->dev[0].id,
		.pt_id = self->ioas,
	};
	slow_page_protect(&slow);
	call_start(&alloc, self->fd, IOMMU_HWPT_ALLOC, cmd);
	slow_page_wait(&slow);

	replace.mock_domain_replace.pt_id = hwpt;
	call_start(&attaching, self->fd,
		   _IOMMU_TEST_CMD(IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE), &replace);
	soon = call_join_within(&attaching, SOON);
	EXPECT_TRUE(soon);
	slow_page_provide(&slow);
	if (!soon)
		call_join(&attaching);
	EXPECT_EQ(0, attaching.rc);
	EXPECT_EQ(0, call_join(&alloc));
}

/* No other thread can use or destroy an object before its ID is returned */
TEST_F_TIMEOUT(viommu, viommu_alloc_slow_answer, 100)
{
	struct iommu_viommu_alloc *cmd;
	struct slow_page slow;
	struct call call;
	__u32 next = self->viommu + 1, id;
	double start;

	if (slow_page_init(&slow, true))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	cmd = slow.page;
	*cmd = (struct iommu_viommu_alloc){
		.size = sizeof(*cmd),
		.type = IOMMU_VIOMMU_TYPE_SELFTEST,
		.dev_id = self->dev[0].id,
		.hwpt_id = self->parent,
	};
	slow_page_protect(&slow);
	call_start(&call, self->fd, IOMMU_VIOMMU_ALLOC, cmd);
	slow_page_wait(&slow);

	EXPECT_EQ(-ENOENT, destroy(self->fd, next));
	EXPECT_EQ(-ENOENT, vdevice_alloc(self->fd, next, self->dev[0].id, 0,
					 &id));
	EXPECT_EQ(-ENOENT, viommu_invalidate_dev(self->fd, next, 0));
	/* Other calls on the fd do not wait */
	EXPECT_EQ(0, viommu_alloc(self->fd, self->dev[0].id, self->parent,
				  &id));
	EXPECT_EQ(0, destroy(self->fd, id));
	/* The device does not wait either */
	start = now();
	EXPECT_EQ(0, destroy(self->fd, self->dev[0].stdev));
	EXPECT_LT(now() - start, SOON);

	slow_page_provide(&slow);
	EXPECT_EQ(0, call_join(&call));
	EXPECT_EQ(next, cmd->out_viommu_id);
	EXPECT_EQ(0, destroy(self->fd, next));
}

/* A refused caller must not see an ID that soon belongs to another object */
TEST_F(viommu, vdevice_alloc_failed_answer)
{
	struct iommu_vdevice_alloc cmd = {
		.size = sizeof(cmd),
		.viommu_id = self->viommu,
		.dev_id = self->dev[1].id,
		.out_vdevice_id = NO_ID,
		.virt_id = VIRT_ID,
	};
	__u32 vdev;

	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id,
				   VIRT_ID, &vdev));
	EXPECT_EQ(-EEXIST, iommufd_ioctl(self->fd, IOMMU_VDEVICE_ALLOC, &cmd));
	EXPECT_EQ(NO_ID, cmd.out_vdevice_id);
	cmd.dev_id = self->far.id;
	EXPECT_EQ(-EINVAL, iommufd_ioctl(self->fd, IOMMU_VDEVICE_ALLOC, &cmd));
	EXPECT_EQ(NO_ID, cmd.out_vdevice_id);
	cmd.dev_id = NO_ID;
	EXPECT_EQ(-ENOENT, iommufd_ioctl(self->fd, IOMMU_VDEVICE_ALLOC, &cmd));
	EXPECT_EQ(NO_ID, cmd.out_vdevice_id);
}

TEST_F_TIMEOUT(viommu, vdevice_alloc_slow_answer, 100)
{
	struct iommu_vdevice_alloc *cmd;
	struct slow_page slow;
	struct call call;
	__u32 next = self->viommu + 1, id;
	double start;

	if (slow_page_init(&slow, true))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	cmd = slow.page;
	*cmd = (struct iommu_vdevice_alloc){
		.size = sizeof(*cmd),
		.viommu_id = self->viommu,
		.dev_id = self->dev[0].id,
		.virt_id = VIRT_ID,
	};
	slow_page_protect(&slow);
	call_start(&call, self->fd, IOMMU_VDEVICE_ALLOC, cmd);
	slow_page_wait(&slow);

	EXPECT_EQ(-ENOENT, destroy(self->fd, next));
	EXPECT_EQ(-EINVAL, viommu_invalidate_dev(self->fd, self->viommu,
						 VIRT_ID));
	/* Neither other devices nor the device itself wait */
	EXPECT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[1].id, 0,
				   &id));
	start = now();
	EXPECT_EQ(0, destroy(self->fd, self->dev[0].stdev));
	EXPECT_LT(now() - start, SOON);

	slow_page_provide(&slow);
	EXPECT_EQ(-ENOENT, call_join(&call));
	EXPECT_EQ(0, destroy_these(self->fd, id, self->viommu));
}

TEST_HARNESS_MAIN
