/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Devices of the mock IOMMU driver with PASIDs. Include this after
 * iommufd_utils.h
 */
#ifndef __SELFTEST_IOMMUFD_PASID_H
#define __SELFTEST_IOMMUFD_PASID_H

#include <errno.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <unistd.h>

/* No object has this ID */
#define NO_ID		0x7ffffff0u
/* Any PASID that the device has */
#define PASID		100
#define MAX_PASIDS	(1u << MOCK_PASID_WIDTH)
/* Maximum number of PASIDs of a group that the kernel attaches */
#define GROUP_PASIDS	64

static __attribute__((constructor)) void setup_sizes(void)
{
	PAGE_SIZE = sysconf(_SC_PAGE_SIZE);
}

/* All calls return 0 or a negative errno */
#define err(rc) ((rc) ? -errno : 0)

struct mock {
	__u32 stdev;
	__u32 hwpt;
	__u32 id;
};

static int test_op(int fd, struct iommu_test_cmd *cmd)
{
	cmd->size = sizeof(*cmd);
	return err(ioctl(fd, _IOMMU_TEST_CMD(cmd->op), cmd));
}

static int plug_into(int fd, __u32 pt_id, __u32 flags, __u32 group_dev_id,
		     struct mock *dev)
{
	struct iommu_test_cmd cmd = {
		.op = IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS,
		.id = pt_id,
		.mock_domain_flags = { .dev_flags = flags,
				       .group_dev_id = group_dev_id },
	};
	int rc = test_op(fd, &cmd);

	dev->stdev = cmd.mock_domain_flags.out_stdev_id;
	dev->hwpt = cmd.mock_domain_flags.out_hwpt_id;
	dev->id = cmd.mock_domain_flags.out_idev_id;
	return rc;
}

static int plug(int fd, __u32 pt_id, __u32 flags, struct mock *dev)
{
	return plug_into(fd, pt_id, flags, 0, dev);
}

/* Attach the RID */
static int attach_rid(int fd, const struct mock *dev, __u32 pt_id)
{
	return err(_test_cmd_mock_domain_replace(fd, dev->stdev, pt_id, NULL));
}

static int attach(int fd, const struct mock *dev, __u32 pasid, __u32 pt_id)
{
	struct iommu_test_cmd cmd = {
		.op = IOMMU_TEST_OP_PASID_ATTACH,
		.id = dev->stdev,
		.pasid_attach = { .pasid = pasid, .pt_id = pt_id },
	};

	return test_op(fd, &cmd);
}

static int replace(int fd, const struct mock *dev, __u32 pasid, __u32 pt_id)
{
	struct iommu_test_cmd cmd = {
		.op = IOMMU_TEST_OP_PASID_REPLACE,
		.id = dev->stdev,
		.pasid_replace = { .pasid = pasid, .pt_id = pt_id },
	};

	return test_op(fd, &cmd);
}

static int detach(int fd, const struct mock *dev, __u32 pasid)
{
	struct iommu_test_cmd cmd = {
		.op = IOMMU_TEST_OP_PASID_DETACH,
		.id = dev->stdev,
		.pasid_detach = { .pasid = pasid },
	};

	return test_op(fd, &cmd);
}

/* Whether the PASID is attached to the HWPT, or to nothing if the HWPT is 0 */
static bool is_at(int fd, const struct mock *dev, __u32 pasid, __u32 hwpt_id)
{
	struct iommu_test_cmd cmd = {
		.op = IOMMU_TEST_OP_PASID_CHECK_HWPT,
		.id = dev->stdev,
		.pasid_check = { .pasid = pasid, .hwpt_id = hwpt_id },
	};

	return !test_op(fd, &cmd);
}

static bool rid_is_at(int fd, const struct mock *dev, __u32 hwpt_id)
{
	struct iommu_test_cmd cmd = {
		.op = IOMMU_TEST_OP_DEV_RESET,
		.id = dev->id,
		.dev_reset = { .what = MOCK_RESET_CHECK, .hwpt_id = hwpt_id },
	};

	return !test_op(fd, &cmd);
}

static int reset(int fd, const struct mock *dev, __u32 what)
{
	struct iommu_test_cmd cmd = {
		.op = IOMMU_TEST_OP_DEV_RESET,
		.id = dev->id,
		.dev_reset = { .what = what },
	};

	return test_op(fd, &cmd);
}

static int hwpt_alloc(int fd, __u32 dev_id, __u32 pt_id, __u32 flags,
		      __u32 *hwpt_id)
{
	*hwpt_id = 0;
	return err(_test_cmd_hwpt_alloc(fd, dev_id, pt_id, 0, flags, hwpt_id,
					IOMMU_HWPT_DATA_NONE, NULL, 0));
}

static int nested_alloc(int fd, __u32 dev_id, __u32 pt_id, __u32 flags,
			__u32 *hwpt_id)
{
	struct iommu_hwpt_selftest data = { .iotlb = IOMMU_TEST_IOTLB_DEFAULT };

	*hwpt_id = 0;
	return err(_test_cmd_hwpt_alloc(fd, dev_id, pt_id, 0, flags, hwpt_id,
					IOMMU_HWPT_DATA_SELFTEST, &data,
					sizeof(data)));
}

static int fault_hwpt_alloc(int fd, __u32 dev_id, __u32 pt_id, __u32 flags,
			    __u32 fault_id, __u32 *hwpt_id)
{
	*hwpt_id = 0;
	return err(_test_cmd_hwpt_alloc(fd, dev_id, pt_id, fault_id,
					flags | IOMMU_HWPT_FAULT_ID_VALID,
					hwpt_id, IOMMU_HWPT_DATA_NONE, NULL,
					0));
}

#endif
