/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Allocation failures when a device with PASIDs comes, and when PASIDs are
 * attached, replaced and detached: a PASID keeps its HWPT if a call fails.
 * iommufd_fail_nth.c includes this, for the fixture and the macros.
 */
static int pasid_op(int fd, __u32 op, __u32 stdev_id, __u32 pt_id)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = op,
		.id = stdev_id,
		.pasid_attach = { .pasid = 200, .pt_id = pt_id },
	};

	return ioctl(fd, _IOMMU_TEST_CMD(op), &cmd);
}

/*
 * The number of PASIDs of a mock device is a property of a software node. The
 * node must be released exactly once, even if the device has no links to it.
 */
TEST_FAIL_NTH(basic_fail_nth, pasid_device)
{
	__u32 stdev_id, idev_id;
	uint32_t ioas_id;

	self->fd = open("/dev/iommu", O_RDWR);
	if (self->fd == -1)
		return -1;

	if (_test_ioctl_ioas_alloc(self->fd, &ioas_id))
		return -1;

	fail_nth_enable();

	if (_test_cmd_mock_domain_flags(self->fd, ioas_id,
					MOCK_FLAGS_DEVICE_PASID, &stdev_id,
					NULL, &idev_id))
		return -1;

	if (_test_ioctl_destroy(self->fd, stdev_id))
		return -1;
	return 0;
}

TEST_FAIL_NTH(basic_fail_nth, pasid)
{
	const __u32 flag = IOMMU_HWPT_ALLOC_PASID;
	__u32 fault_id, fault_fd, stdev_id, idev_id, hwpt_id, fault_hwpt_id;
	uint32_t ioas_id;

	self->fd = open("/dev/iommu", O_RDWR);
	if (self->fd == -1)
		return -1;

	if (_test_ioctl_ioas_alloc(self->fd, &ioas_id))
		return -1;

	if (_test_cmd_mock_domain_flags(self->fd, ioas_id,
					MOCK_FLAGS_DEVICE_PASID, &stdev_id,
					NULL, &idev_id))
		return -1;

	if (_test_ioctl_fault_alloc(self->fd, &fault_id, &fault_fd))
		return -1;
	close(fault_fd);

	fail_nth_enable();

	if (_test_cmd_hwpt_alloc(self->fd, idev_id, ioas_id, 0, flag, &hwpt_id,
				 IOMMU_HWPT_DATA_NONE, NULL, 0))
		return -1;

	if (_test_cmd_hwpt_alloc(self->fd, idev_id, ioas_id, fault_id,
				 flag | IOMMU_HWPT_FAULT_ID_VALID,
				 &fault_hwpt_id, IOMMU_HWPT_DATA_NONE, NULL,
				 0))
		return -1;

	if (_test_cmd_mock_domain_replace(self->fd, stdev_id, hwpt_id, NULL))
		return -1;

	/*
	 * An IOAS is refused before anything is allocated for it. Looking up an
	 * object may fail as well.
	 */
	assert(pasid_op(self->fd, IOMMU_TEST_OP_PASID_ATTACH, stdev_id,
			ioas_id) && errno != ENOMEM);

	/* A failed call must leave nothing behind that disturbs the next call */
	if (pasid_op(self->fd, IOMMU_TEST_OP_PASID_ATTACH, stdev_id, hwpt_id)) {
		assert(!pasid_op(self->fd, IOMMU_TEST_OP_PASID_CHECK_HWPT,
				 stdev_id, 0));
		if (pasid_op(self->fd, IOMMU_TEST_OP_PASID_ATTACH, stdev_id,
			     hwpt_id))
			return -1;
	}
	assert(pasid_op(self->fd, IOMMU_TEST_OP_PASID_REPLACE, stdev_id,
			ioas_id) && errno != ENOMEM);
	if (pasid_op(self->fd, IOMMU_TEST_OP_PASID_REPLACE, stdev_id,
		     fault_hwpt_id)) {
		assert(!pasid_op(self->fd, IOMMU_TEST_OP_PASID_CHECK_HWPT,
				 stdev_id, hwpt_id));
		if (pasid_op(self->fd, IOMMU_TEST_OP_PASID_REPLACE, stdev_id,
			     fault_hwpt_id))
			return -1;
	}
	assert(!TWICE(pasid_op(self->fd, IOMMU_TEST_OP_PASID_CHECK_HWPT,
			       stdev_id, fault_hwpt_id)));
	assert(!TWICE(pasid_op(self->fd, IOMMU_TEST_OP_PASID_DETACH, stdev_id,
			       0)));
	assert(!TWICE(pasid_op(self->fd, IOMMU_TEST_OP_PASID_CHECK_HWPT,
			       stdev_id, 0)));

	/* Once more with page faults from the start */
	if (pasid_op(self->fd, IOMMU_TEST_OP_PASID_ATTACH, stdev_id,
		     fault_hwpt_id))
		return -1;
	if (pasid_op(self->fd, IOMMU_TEST_OP_PASID_REPLACE, stdev_id, hwpt_id))
		return -1;
	return 0;
}
