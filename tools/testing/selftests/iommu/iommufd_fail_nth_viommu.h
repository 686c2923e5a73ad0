/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Allocation failures in the code of vIOMMUs, vDEVICEs, vEVENTQs and MSI
 * doorbells. iommufd_fail_nth.c includes this, for the fixture and the macros.
 *
 * A failure happens only once. So each call that has failed is repeated, and
 * must succeed: the first call has left nothing that would be in its way.
 */
#include "lib/ioctl.h"

#define TWICE(call) ((call) && (call))

static int prepare_msi(int fd, __u32 idev_id, __u64 phys, __u64 iova)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DEV_PREPARE_MSI,
		.id = idev_id,
		.prepare_msi = { .phys = phys },
	};

	if (iommufd_ioctl(fd, _IOMMU_TEST_CMD(IOMMU_TEST_OP_DEV_PREPARE_MSI),
			  &cmd))
		return -1;
	/* Without memory, the driver reports that the doorbell has no IOVA */
	if (!cmd.prepare_msi.out_iova)
		return -1;
	assert(cmd.prepare_msi.out_iova == iova);
	return 0;
}

static bool has_doorbell(int fd, __u32 hwpt_id, __u64 iova, __u64 phys)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_MD_CHECK_PHYS,
		.id = hwpt_id,
		.check_phys = { .iova = iova, .phys = phys },
	};

	/* The call itself may be the one that fails, so try it twice */
	return !TWICE(iommufd_ioctl(fd,
				    _IOMMU_TEST_CMD(IOMMU_TEST_OP_MD_CHECK_PHYS),
				    &cmd));
}

/* If the doorbells cannot be mapped after an attach or replace, it is undone */
TEST_FAIL_NTH(basic_fail_nth, sw_msi_after_attach)
{
	const __u32 flags = MOCK_FLAGS_DEVICE_SW_MSI |
			    MOCK_FLAGS_DEVICE_NO_ALLOC_USER;
	const __u64 iova = MOCK_SW_MSI_START, phys = 0xd000000;
	struct iommu_test_cmd beside = {
		.size = sizeof(beside),
		.op = IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS,
		.mock_domain_flags = {
			.dev_flags = flags | MOCK_FLAGS_DEVICE_DETACHED |
				     MOCK_FLAGS_DEVICE_IN_GROUP,
		},
	};
	__u32 stdev_id, idev_id, auto_id, hwpt_id;
	uint32_t ioas_id;

	self->fd = open("/dev/iommu", O_RDWR);
	if (self->fd == -1)
		return -1;

	if (ioas_alloc(self->fd, &ioas_id))
		return -1;
	if (_test_cmd_mock_domain_flags(self->fd, ioas_id, flags, &stdev_id,
					&auto_id, &idev_id))
		return -1;
	beside.mock_domain_flags.group_dev_id = idev_id;
	if (iommufd_ioctl(self->fd,
			  _IOMMU_TEST_CMD(IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS),
			  &beside))
		return -1;
	if (iommufd_hwpt_alloc(self->fd, idev_id, ioas_id, 0, 0,
			       IOMMU_HWPT_DATA_NONE, NULL, 0, &hwpt_id))
		return -1;
	if (prepare_msi(self->fd, idev_id, phys, iova))
		return -1;

	fail_nth_enable();

	if (_test_cmd_mock_domain_replace(self->fd, stdev_id, hwpt_id, NULL)) {
		assert(has_doorbell(self->fd, auto_id, iova, phys));
		assert(!has_doorbell(self->fd, hwpt_id, iova, phys));
		if (_test_cmd_mock_domain_replace(self->fd, stdev_id, hwpt_id,
						  NULL))
			return -1;
	}
	assert(has_doorbell(self->fd, hwpt_id, iova, phys));

	if (_test_ioctl_destroy(self->fd, stdev_id))
		return -1;
	stdev_id = beside.mock_domain_flags.out_stdev_id;
	if (_test_cmd_mock_domain_replace(self->fd, stdev_id, hwpt_id, NULL)) {
		assert(!has_doorbell(self->fd, hwpt_id, iova, phys));
		/* The device can be attached elsewhere in the meantime */
		if (_test_cmd_mock_domain_replace(self->fd, stdev_id, ioas_id,
						  &auto_id))
			return -1;
		assert(has_doorbell(self->fd, auto_id, iova, phys));
		if (_test_cmd_mock_domain_replace(self->fd, stdev_id, hwpt_id,
						  NULL))
			return -1;
	}
	assert(has_doorbell(self->fd, hwpt_id, iova, phys));
	return 0;
}

TEST_FAIL_NTH(basic_fail_nth, sw_msi)
{
	const __u64 iova[] = { MOCK_SW_MSI_START,
			       MOCK_SW_MSI_START + PAGE_SIZE };
	const __u64 phys[] = { 0xd000000, 0xe000000 };
	struct iommu_hwpt_selftest data = { .iotlb = IOMMU_TEST_IOTLB_DEFAULT };
	__u32 stdev_id, idev_id, hwpt_id, parent_id, nested_id;
	uint32_t ioas_id;

	self->fd = open("/dev/iommu", O_RDWR);
	if (self->fd == -1)
		return -1;

	if (ioas_alloc(self->fd, &ioas_id))
		return -1;

	fail_nth_enable();

	/* The first domain, and the memory for its window */
	if (TWICE(_test_cmd_mock_domain_flags(self->fd, ioas_id,
					      MOCK_FLAGS_DEVICE_SW_MSI,
					      &stdev_id, &hwpt_id, &idev_id)))
		return -1;

	if (TWICE(prepare_msi(self->fd, idev_id, phys[0], iova[0])))
		return -1;
	assert(has_doorbell(self->fd, hwpt_id, iova[0], phys[0]));

	if (TWICE(iommufd_hwpt_alloc(self->fd, idev_id, ioas_id,
				     IOMMU_HWPT_ALLOC_NEST_PARENT, 0,
				     IOMMU_HWPT_DATA_NONE, NULL, 0,
				     &parent_id)))
		return -1;
	if (TWICE(iommufd_hwpt_alloc(self->fd, idev_id, parent_id, 0, 0,
				     IOMMU_HWPT_DATA_SELFTEST, &data,
				     sizeof(data), &nested_id)))
		return -1;

	/*
	 * Replace the HWPT. If this fails, the doorbells must not have moved.
	 */
	if (_test_cmd_mock_domain_replace(self->fd, stdev_id, nested_id, NULL)) {
		assert(has_doorbell(self->fd, hwpt_id, iova[0], phys[0]));
		assert(!has_doorbell(self->fd, parent_id, iova[0], phys[0]));
		if (_test_cmd_mock_domain_replace(self->fd, stdev_id, nested_id,
						  NULL))
			return -1;
	}
	assert(has_doorbell(self->fd, parent_id, iova[0], phys[0]));

	/* An IOVA that could not be mapped is free for the next doorbell */
	if (prepare_msi(self->fd, idev_id, phys[1], iova[1])) {
		assert(!has_doorbell(self->fd, parent_id, iova[1], phys[1]));
		if (prepare_msi(self->fd, idev_id, phys[1], iova[1]))
			return -1;
	}
	assert(has_doorbell(self->fd, parent_id, iova[1], phys[1]));

	if (TWICE(_test_cmd_mock_domain_replace(self->fd, stdev_id, ioas_id,
						&hwpt_id)))
		return -1;
	assert(has_doorbell(self->fd, hwpt_id, iova[0], phys[0]));
	assert(has_doorbell(self->fd, hwpt_id, iova[1], phys[1]));
	assert(!has_doorbell(self->fd, parent_id, iova[0], phys[0]));
	return 0;
}

static int invalidate_all(int fd, __u32 id, __u32 type, void *reqs, size_t len)
{
	__u32 num = 2;
	int rc;

	rc = hwpt_invalidate(fd, id, type, reqs, len, &num);
	/* All entries are good, so either all are done or none */
	assert(num == (rc ? 0 : 2));
	return rc;
}

/* More than the queue can hold. Neither reporting nor read() allocates */
static int report_events(int fd, __u32 idev_id, int veventq_fd)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_TRIGGER_VEVENT,
		.trigger_vevent = { .dev_id = idev_id },
	};
	const ssize_t header = sizeof(struct iommufd_vevent_header);
	const ssize_t event = sizeof(struct iommu_viommu_event_selftest);
	char buf[5 * 16];
	unsigned int i;

	for (i = 0; i < 5; i++) {
		if (iommufd_ioctl(fd,
				  _IOMMU_TEST_CMD(IOMMU_TEST_OP_TRIGGER_VEVENT),
				  &cmd))
			return -1;
	}
	assert(read(veventq_fd, buf, sizeof(buf)) ==
	       4 * (header + event) + header);
	return 0;
}

TEST_FAIL_NTH(basic_fail_nth, viommu)
{
	struct iommu_viommu_invalidate_selftest dev_reqs[2] = {
		{ .vdev_id = 1 },
		{ .vdev_id = 1, .cache_id = 1 },
	};
	struct iommu_hwpt_selftest data = { .iotlb = IOMMU_TEST_IOTLB_DEFAULT };
	struct iommu_hwpt_invalidate_selftest hwpt_reqs[2] = {};
	struct iommu_viommu_selftest viommu_data = { .in_data = 1 };
	__u32 stdev_id, idev_id, parent_id, viommu_id;
	__u32 fault_id, nested_id, vdev_id, veventq_id;
	int fault_fd, veventq_fd;
	uint32_t ioas_id;

	self->fd = open("/dev/iommu", O_RDWR);
	if (self->fd == -1)
		return -1;

	if (ioas_alloc(self->fd, &ioas_id))
		return -1;

	if (_test_cmd_mock_domain(self->fd, ioas_id, &stdev_id, NULL, &idev_id))
		return -1;

	if (iommufd_hwpt_alloc(self->fd, idev_id, ioas_id,
			       IOMMU_HWPT_ALLOC_NEST_PARENT, 0,
			       IOMMU_HWPT_DATA_NONE, NULL, 0, &parent_id))
		return -1;

	if (fault_alloc(self->fd, &fault_id, &fault_fd))
		return -1;
	close(fault_fd);

	fail_nth_enable();

	if (TWICE(iommufd_viommu_alloc(self->fd, idev_id, parent_id,
				       IOMMU_VIOMMU_TYPE_SELFTEST, &viommu_data,
				       sizeof(viommu_data), &viommu_id)))
		return -1;

	if (TWICE(vdevice_alloc(self->fd, viommu_id, idev_id, 1, &vdev_id)))
		return -1;

	if (TWICE(iommufd_hwpt_alloc(self->fd, idev_id, viommu_id,
				     IOMMU_HWPT_FAULT_ID_VALID, fault_id,
				     IOMMU_HWPT_DATA_SELFTEST, &data,
				     sizeof(data), &nested_id)))
		return -1;

	if (TWICE(iommufd_veventq_alloc(self->fd, viommu_id,
					IOMMU_VEVENTQ_TYPE_SELFTEST, 4,
					&veventq_id, &veventq_fd)))
		return -1;

	if (TWICE(invalidate_all(self->fd, viommu_id,
				 IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST,
				 dev_reqs, sizeof(dev_reqs[0]))))
		return -1;

	if (TWICE(invalidate_all(self->fd, nested_id,
				 IOMMU_HWPT_INVALIDATE_DATA_SELFTEST,
				 hwpt_reqs, sizeof(hwpt_reqs[0]))))
		return -1;

	/* Attach through the vIOMMU, and back */
	if (TWICE(_test_cmd_mock_domain_replace(self->fd, stdev_id, nested_id,
						NULL)))
		return -1;
	if (report_events(self->fd, idev_id, veventq_fd))
		return -1;
	if (TWICE(_test_cmd_mock_domain_replace(self->fd, stdev_id, parent_id,
						NULL)))
		return -1;

	/* Destroying does not allocate, so it cannot fail */
	if (close(veventq_fd) || destroy(self->fd, veventq_id) ||
	    destroy(self->fd, nested_id) ||
	    destroy(self->fd, vdev_id) ||
	    destroy(self->fd, viommu_id))
		return -1;
	return 0;
}

/* The tombstone of a vDEVICE takes no memory, whatever failed before */
TEST_FAIL_NTH(basic_fail_nth, vdevice_tombstone)
{
	__u32 stdev_id, idev_id, parent_id, viommu_id, vdev_id;
	uint32_t ioas_id;

	self->fd = open("/dev/iommu", O_RDWR);
	if (self->fd == -1)
		return -1;

	if (ioas_alloc(self->fd, &ioas_id))
		return -1;

	if (_test_cmd_mock_domain(self->fd, ioas_id, &stdev_id, NULL, &idev_id))
		return -1;

	if (iommufd_hwpt_alloc(self->fd, idev_id, ioas_id,
			       IOMMU_HWPT_ALLOC_NEST_PARENT, 0,
			       IOMMU_HWPT_DATA_NONE, NULL, 0, &parent_id))
		return -1;

	if (iommufd_viommu_alloc(self->fd, idev_id, parent_id,
				 IOMMU_VIOMMU_TYPE_SELFTEST, NULL, 0,
				 &viommu_id))
		return -1;

	if (vdevice_alloc(self->fd, viommu_id, idev_id, 1, &vdev_id))
		return -1;

	fail_nth_enable();

	assert(!destroy(self->fd, stdev_id));
	assert(destroy(self->fd, vdev_id) == -ENOENT);
	assert(!destroy(self->fd, viommu_id));
	return 0;
}
