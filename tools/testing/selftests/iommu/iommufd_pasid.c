// SPDX-License-Identifier: GPL-2.0-only
/*
 * PASIDs that user space attaches, against the mock IOMMU driver: which HWPTs
 * they can be attached to, beside which RID, that a failure changes nothing,
 * and where page faults go.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#define __EXPORTED_HEADERS__
#include "iommufd_utils.h"
#include "lib/ioctl.h"

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

/* The RID */
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

/* Is the PASID attached to the HWPT, or to nothing if the HWPT is 0? */
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

/*
 * A device with PASIDs and a device without, on an IOAS, and HWPTs of every
 * kind that PASIDs can and cannot be attached to.
 */
FIXTURE(pasid)
{
	int fd;
	__u32 ioas;
	struct mock dev;
	struct mock without;
	__u32 paging[2];
	__u32 parent;
	__u32 nested[2];
	__u32 viommu;
	__u32 on_viommu;
	__u32 plain;
};

FIXTURE_SETUP(pasid)
{
	const __u32 flag = IOMMU_HWPT_ALLOC_PASID;
	__u32 id;

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	ASSERT_EQ(0, err(_test_ioctl_ioas_alloc(self->fd, &self->ioas)));
	ASSERT_EQ(0, plug(self->fd, self->ioas, MOCK_FLAGS_DEVICE_PASID,
			  &self->dev));
	ASSERT_EQ(0, plug(self->fd, self->ioas, 0, &self->without));
	id = self->dev.id;
	ASSERT_EQ(0, hwpt_alloc(self->fd, id, self->ioas, flag,
				&self->paging[0]));
	ASSERT_EQ(0, hwpt_alloc(self->fd, id, self->ioas, flag,
				&self->paging[1]));
	ASSERT_EQ(0, hwpt_alloc(self->fd, id, self->ioas,
				IOMMU_HWPT_ALLOC_NEST_PARENT, &self->parent));
	ASSERT_EQ(0, nested_alloc(self->fd, id, self->parent, flag,
				  &self->nested[0]));
	ASSERT_EQ(0, nested_alloc(self->fd, id, self->parent, flag,
				  &self->nested[1]));
	ASSERT_EQ(0, iommufd_viommu_alloc(self->fd, id, self->parent,
					  IOMMU_VIOMMU_TYPE_SELFTEST, NULL, 0,
					  &self->viommu));
	ASSERT_EQ(0, nested_alloc(self->fd, id, self->viommu, flag,
				  &self->on_viommu));
	ASSERT_EQ(0, hwpt_alloc(self->fd, id, self->ioas, 0, &self->plain));
	ASSERT_EQ(0, attach_rid(self->fd, &self->dev, self->paging[0]));
	ASSERT_EQ(0, attach_rid(self->fd, &self->without, self->paging[0]));
}

FIXTURE_TEARDOWN(pasid)
{
	teardown_iommufd(self->fd, _metadata);
}

TEST_F(pasid, alloc_flags)
{
	const __u32 flag = IOMMU_HWPT_ALLOC_PASID;
	unsigned int bit;
	__u32 id;

	EXPECT_EQ(0, hwpt_alloc(self->fd, self->dev.id, self->ioas,
				flag | IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &id));
	/* The driver decides: it takes nested PASIDs, and parents of them */
	EXPECT_EQ(0, hwpt_alloc(self->fd, self->dev.id, self->ioas,
				flag | IOMMU_HWPT_ALLOC_NEST_PARENT, &id));
	/* A device without PASIDs may use the HWPTs of others */
	EXPECT_EQ(0, hwpt_alloc(self->fd, self->without.id, self->ioas, flag,
				&id));
	for (bit = 4; bit < 32; bit++) {
		EXPECT_EQ(-EOPNOTSUPP,
			  hwpt_alloc(self->fd, self->dev.id, self->ioas,
				     flag | 1u << bit, &id));
		EXPECT_EQ(-EOPNOTSUPP,
			  nested_alloc(self->fd, self->dev.id, self->parent,
				       flag | 1u << bit, &id));
		EXPECT_EQ(-EOPNOTSUPP,
			  nested_alloc(self->fd, self->dev.id, self->viommu,
				       flag | 1u << bit, &id));
	}
}

TEST_F(pasid, attach)
{
	const __u32 hwpts[] = { self->paging[0], self->paging[1],
				self->nested[0], self->on_viommu };
	unsigned int i;

	for (i = 0; i != ARRAY_SIZE(hwpts); i++) {
		EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, 0));
		EXPECT_EQ(0, attach(self->fd, &self->dev, PASID, hwpts[i]));
		EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, hwpts[i]));
		/* Other PASIDs are not attached */
		EXPECT_TRUE(is_at(self->fd, &self->dev, PASID + 1, 0));
		EXPECT_EQ(-EBUSY,
			  attach(self->fd, &self->dev, PASID, hwpts[i]));
		EXPECT_EQ(-EBUSY, attach(self->fd, &self->dev, PASID,
					 self->nested[1]));
		/* This is checked before anything else */
		EXPECT_EQ(-EBUSY,
			  attach(self->fd, &self->dev, PASID, self->plain));
		EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, hwpts[i]));
		EXPECT_EQ(0, detach(self->fd, &self->dev, PASID));
		EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, 0));
		/* The PASID is not attached any more, and this is no error */
		EXPECT_EQ(0, detach(self->fd, &self->dev, PASID));
	}
	EXPECT_TRUE(rid_is_at(self->fd, &self->dev, self->paging[0]));

	/* Each PASID has a HWPT of its own */
	EXPECT_EQ(0, attach(self->fd, &self->dev, 1, self->paging[0]));
	EXPECT_EQ(0, attach(self->fd, &self->dev, MAX_PASIDS - 1,
			    self->nested[0]));
	EXPECT_EQ(0, attach(self->fd, &self->dev, 2, self->nested[0]));
	EXPECT_EQ(0, detach(self->fd, &self->dev, 2));
	EXPECT_TRUE(is_at(self->fd, &self->dev, 1, self->paging[0]));
	EXPECT_TRUE(is_at(self->fd, &self->dev, MAX_PASIDS - 1,
			  self->nested[0]));
}

/* Numbers that are no PASIDs of the device */
TEST_F(pasid, wrong_pasids)
{
	const __u32 pasids[] = { 0, MAX_PASIDS, MAX_PASIDS + 1, 1u << 31,
				 ~0u };
	unsigned int i;

	for (i = 0; i != ARRAY_SIZE(pasids); i++) {
		EXPECT_EQ(-EINVAL, attach(self->fd, &self->dev, pasids[i],
					  self->paging[1]));
		EXPECT_EQ(-EINVAL, replace(self->fd, &self->dev, pasids[i],
					   self->paging[1]));
		EXPECT_EQ(0, detach(self->fd, &self->dev, pasids[i]));
		EXPECT_TRUE(rid_is_at(self->fd, &self->dev, self->paging[0]));
	}
}

/* An attach must not succeed for a device without PASIDs */
TEST_F(pasid, device_without)
{
	struct mock own;

	EXPECT_EQ(-EINVAL, attach(self->fd, &self->without, PASID,
				  self->paging[0]));
	EXPECT_EQ(-EINVAL, attach(self->fd, &self->without, PASID,
				  self->plain));
	EXPECT_EQ(-EINVAL, attach(self->fd, &self->without, 0,
				  self->paging[1]));
	EXPECT_TRUE(rid_is_at(self->fd, &self->without, self->paging[0]));

	ASSERT_EQ(0, plug(self->fd, 0, MOCK_FLAGS_DEVICE_DETACHED, &own));
	EXPECT_EQ(-EINVAL, attach(self->fd, &own, PASID, self->paging[0]));
	EXPECT_TRUE(is_at(self->fd, &own, PASID, 0));
}

TEST_F(pasid, wrong_objects)
{
	int fd = open("/dev/iommu", O_RDWR);
	__u32 wrong[] = { self->ioas, self->dev.id, self->dev.stdev,
			  self->viommu, self->plain, self->parent, 0 };
	struct mock other;
	unsigned int i;

	ASSERT_NE(-1, fd);
	/* The HWPT that an attach to an IOAS has allocated */
	ASSERT_EQ(0, plug(self->fd, self->ioas, 0, &other));
	wrong[ARRAY_SIZE(wrong) - 1] = other.hwpt;
	for (i = 0; i != ARRAY_SIZE(wrong); i++) {
		EXPECT_EQ(-EINVAL,
			  attach(self->fd, &self->dev, PASID, wrong[i]));
		EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, 0));
	}
	EXPECT_EQ(-ENOENT, attach(self->fd, &self->dev, PASID, NO_ID));
	EXPECT_EQ(-ENOENT, attach(self->fd, &self->dev, PASID, 0));

	ASSERT_EQ(0, attach(self->fd, &self->dev, PASID, self->nested[0]));
	for (i = 0; i != ARRAY_SIZE(wrong); i++) {
		EXPECT_EQ(-EINVAL,
			  replace(self->fd, &self->dev, PASID, wrong[i]));
		EXPECT_TRUE(is_at(self->fd, &self->dev, PASID,
				  self->nested[0]));
	}
	EXPECT_EQ(-ENOENT, replace(self->fd, &self->dev, PASID, NO_ID));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, self->nested[0]));

	/* The device belongs to another fd */
	EXPECT_EQ(-ENOENT, attach(fd, &self->dev, PASID, self->paging[0]));
	close(fd);
}

TEST_F(pasid, replace)
{
	/* The PASID is not attached */
	EXPECT_EQ(-EINVAL,
		  replace(self->fd, &self->dev, PASID, self->paging[0]));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, 0));

	ASSERT_EQ(0, attach(self->fd, &self->dev, PASID, self->paging[0]));
	EXPECT_EQ(0, replace(self->fd, &self->dev, PASID, self->paging[0]));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, self->paging[0]));
	EXPECT_EQ(0, replace(self->fd, &self->dev, PASID, self->nested[0]));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, self->nested[0]));
	EXPECT_EQ(0, replace(self->fd, &self->dev, PASID, self->nested[1]));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, self->nested[1]));
	EXPECT_EQ(0, replace(self->fd, &self->dev, PASID, self->on_viommu));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, self->on_viommu));
	EXPECT_EQ(0, replace(self->fd, &self->dev, PASID, self->paging[1]));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, self->paging[1]));
	/* Another PASID is not attached */
	EXPECT_EQ(-EINVAL,
		  replace(self->fd, &self->dev, PASID + 1, self->paging[0]));
	EXPECT_EQ(0, detach(self->fd, &self->dev, PASID));
	EXPECT_EQ(-EINVAL,
		  replace(self->fd, &self->dev, PASID, self->paging[0]));
}

/* The driver fails, and the old HWPT stays attached */
TEST_F(pasid, replace_fails)
{
	const __u32 pasid = IOMMU_TEST_PASID_RESERVED;

	ASSERT_EQ(0, attach(self->fd, &self->dev, pasid, self->nested[0]));
	EXPECT_EQ(-ENOMEM,
		  replace(self->fd, &self->dev, pasid, self->paging[0]));
	EXPECT_TRUE(is_at(self->fd, &self->dev, pasid, self->nested[0]));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->nested[0]));
	EXPECT_EQ(0, replace(self->fd, &self->dev, pasid, self->paging[0]));
	EXPECT_TRUE(is_at(self->fd, &self->dev, pasid, self->paging[0]));
	EXPECT_EQ(0, destroy(self->fd, self->nested[0]));
	EXPECT_EQ(0, detach(self->fd, &self->dev, pasid));
	EXPECT_EQ(0, attach(self->fd, &self->dev, pasid, self->paging[0]));
}

/* The RID must be at a HWPT for PASIDs, as long as there are any */
TEST_F(pasid, rid_first)
{
	ASSERT_EQ(0, attach_rid(self->fd, &self->dev, self->plain));
	EXPECT_EQ(-EINVAL,
		  attach(self->fd, &self->dev, PASID, self->paging[0]));
	ASSERT_EQ(0, attach_rid(self->fd, &self->dev, self->ioas));
	EXPECT_EQ(-EINVAL,
		  attach(self->fd, &self->dev, PASID, self->paging[0]));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, 0));

	ASSERT_EQ(0, attach_rid(self->fd, &self->dev, self->paging[0]));
	EXPECT_EQ(0, attach(self->fd, &self->dev, PASID, self->nested[0]));
	EXPECT_EQ(0, attach(self->fd, &self->dev, PASID + 1, self->paging[1]));
	EXPECT_EQ(-EINVAL, attach_rid(self->fd, &self->dev, self->plain));
	EXPECT_EQ(-EINVAL, attach_rid(self->fd, &self->dev, self->parent));
	EXPECT_EQ(-EINVAL, attach_rid(self->fd, &self->dev, self->ioas));
	EXPECT_TRUE(rid_is_at(self->fd, &self->dev, self->paging[0]));
	EXPECT_EQ(0, attach_rid(self->fd, &self->dev, self->paging[1]));
	EXPECT_EQ(0, attach_rid(self->fd, &self->dev, self->nested[1]));
	EXPECT_TRUE(rid_is_at(self->fd, &self->dev, self->nested[1]));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, self->nested[0]));

	/* The last PASID */
	EXPECT_EQ(0, detach(self->fd, &self->dev, PASID));
	EXPECT_EQ(-EINVAL, attach_rid(self->fd, &self->dev, self->plain));
	EXPECT_EQ(0, detach(self->fd, &self->dev, PASID + 1));
	EXPECT_EQ(0, attach_rid(self->fd, &self->dev, self->plain));
}

/* The memory of an IOAS is not pinned for a domain that cannot be attached */
TEST_F(pasid, ioas_is_not_filled)
{
	__u32 ioas, kept = self->paging[0];
	__u64 iova = MOCK_APERTURE_START;
	struct mock dev;
	void *mem;

	mem = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, err(_test_ioctl_ioas_alloc(self->fd, &ioas)));
	ASSERT_EQ(0, err(_test_ioctl_ioas_map(self->fd, ioas, mem, PAGE_SIZE,
					      &iova, IOMMU_IOAS_MAP_READABLE |
						     IOMMU_IOAS_MAP_FIXED_IOVA)));
	/* Nothing is pinned yet, and nothing can be from now on */
	ASSERT_EQ(0, munmap(mem, PAGE_SIZE));
	ASSERT_EQ(0, plug(self->fd, 0, MOCK_FLAGS_DEVICE_PASID |
			  MOCK_FLAGS_DEVICE_DETACHED, &dev));
	ASSERT_EQ(-EFAULT, attach_rid(self->fd, &dev, ioas));
	ASSERT_EQ(-EFAULT, attach_rid(self->fd, &self->dev, ioas));

	ASSERT_EQ(0, attach(self->fd, &dev, PASID, self->nested[0]));
	ASSERT_EQ(0, attach(self->fd, &self->dev, PASID, self->nested[0]));
	EXPECT_EQ(-EINVAL, attach_rid(self->fd, &dev, ioas));
	EXPECT_EQ(-EINVAL, attach_rid(self->fd, &self->dev, ioas));
	EXPECT_TRUE(rid_is_at(self->fd, &dev, 0));
	EXPECT_TRUE(rid_is_at(self->fd, &self->dev, kept));
}

TEST_F(pasid, pasid_first)
{
	struct mock dev;

	ASSERT_EQ(0, plug(self->fd, 0, MOCK_FLAGS_DEVICE_PASID |
			  MOCK_FLAGS_DEVICE_DETACHED, &dev));
	EXPECT_EQ(-EINVAL, attach(self->fd, &dev, PASID, self->plain));
	ASSERT_EQ(0, attach(self->fd, &dev, PASID, self->nested[0]));
	EXPECT_TRUE(rid_is_at(self->fd, &dev, 0));
	EXPECT_EQ(-EINVAL, attach_rid(self->fd, &dev, self->plain));
	EXPECT_EQ(-EINVAL, attach_rid(self->fd, &dev, self->ioas));
	EXPECT_TRUE(rid_is_at(self->fd, &dev, 0));
	EXPECT_EQ(0, replace(self->fd, &dev, PASID, self->paging[0]));
	EXPECT_EQ(0, attach_rid(self->fd, &dev, self->paging[1]));
	EXPECT_TRUE(rid_is_at(self->fd, &dev, self->paging[1]));
	EXPECT_TRUE(is_at(self->fd, &dev, PASID, self->paging[0]));
}

/* A HWPT is held for as long as a PASID is attached to it */
TEST_F(pasid, references)
{
	struct mock dev;

	ASSERT_EQ(0, plug(self->fd, 0, MOCK_FLAGS_DEVICE_PASID |
			  MOCK_FLAGS_DEVICE_DETACHED, &dev));
	ASSERT_EQ(0, attach(self->fd, &dev, 1, self->paging[1]));
	ASSERT_EQ(0, attach(self->fd, &dev, 2, self->paging[1]));
	ASSERT_EQ(0, attach(self->fd, &dev, 3, self->nested[0]));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->paging[1]));
	EXPECT_EQ(0, detach(self->fd, &dev, 1));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->paging[1]));
	EXPECT_EQ(0, replace(self->fd, &dev, 2, self->nested[1]));
	EXPECT_EQ(0, destroy(self->fd, self->paging[1]));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->nested[1]));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->nested[0]));
	/* A driver that is done with the device detaches all of them */
	EXPECT_EQ(0, destroy(self->fd, dev.stdev));
	EXPECT_EQ(0, destroy(self->fd, self->nested[1]));
	EXPECT_EQ(0, destroy(self->fd, self->nested[0]));
}

TEST_F(pasid, too_many)
{
	__u32 pasid;

	for (pasid = 1; pasid <= GROUP_PASIDS; pasid++)
		ASSERT_EQ(0, attach(self->fd, &self->dev, pasid,
				    self->paging[0]));
	EXPECT_EQ(-ENOSPC, attach(self->fd, &self->dev, pasid,
				  self->paging[0]));
	EXPECT_EQ(0, replace(self->fd, &self->dev, 1, self->paging[1]));
	EXPECT_EQ(0, detach(self->fd, &self->dev, 2));
	EXPECT_EQ(0, attach(self->fd, &self->dev, pasid, self->paging[0]));
	EXPECT_EQ(0, destroy(self->fd, self->dev.stdev));
	EXPECT_EQ(0, destroy(self->fd, self->paging[1]));
}

/* The devices of a group share the HWPT of a PASID */
TEST_F(pasid, group)
{
	const __u32 flags = MOCK_FLAGS_DEVICE_IN_GROUP |
			    MOCK_FLAGS_DEVICE_NO_DIRTY;
	struct mock second, third;
	__u32 dirty;

	ASSERT_EQ(0, plug_into(self->fd, self->paging[0],
			       flags | MOCK_FLAGS_DEVICE_PASID, self->dev.id,
			       &second));
	ASSERT_EQ(0, plug_into(self->fd, self->paging[0], flags, self->dev.id,
			       &third));

	ASSERT_EQ(0, attach(self->fd, &self->dev, PASID, self->nested[0]));
	EXPECT_TRUE(is_at(self->fd, &second, PASID, self->nested[0]));
	/* A device without PASIDs cannot join */
	EXPECT_EQ(-EINVAL, attach(self->fd, &third, PASID, self->nested[0]));
	/* The second device has not attached the PASID */
	EXPECT_EQ(-EINVAL, replace(self->fd, &second, PASID, self->nested[1]));
	EXPECT_EQ(0, detach(self->fd, &second, PASID));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, self->nested[0]));

	/* It can only join the other device */
	EXPECT_EQ(-EINVAL, attach(self->fd, &second, PASID, self->nested[1]));
	EXPECT_EQ(0, attach(self->fd, &second, PASID, self->nested[0]));
	EXPECT_EQ(-EBUSY, attach(self->fd, &second, PASID, self->nested[0]));
	/* All of them move */
	EXPECT_EQ(0, replace(self->fd, &second, PASID, self->nested[1]));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, self->nested[1]));
	EXPECT_TRUE(is_at(self->fd, &second, PASID, self->nested[1]));
	EXPECT_EQ(0, destroy(self->fd, self->nested[0]));

	/* The second device fails, so the first must go back */
	ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev.id, self->ioas,
				IOMMU_HWPT_ALLOC_PASID |
				IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &dirty));
	EXPECT_EQ(-EINVAL, replace(self->fd, &self->dev, PASID, dirty));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, self->nested[1]));
	EXPECT_TRUE(is_at(self->fd, &second, PASID, self->nested[1]));
	EXPECT_EQ(-EINVAL, attach(self->fd, &self->dev, PASID + 1, dirty));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID + 1, 0));
	EXPECT_TRUE(is_at(self->fd, &second, PASID + 1, 0));
	EXPECT_EQ(0, destroy(self->fd, dirty));

	/* The RID of none of them may leave */
	EXPECT_EQ(-EINVAL, attach_rid(self->fd, &third, self->plain));

	EXPECT_EQ(0, detach(self->fd, &self->dev, PASID));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, self->nested[1]));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->nested[1]));
	EXPECT_EQ(0, destroy(self->fd, second.stdev));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, 0));
	EXPECT_EQ(0, destroy(self->fd, self->nested[1]));
}

/* A reset keeps PASIDs, and nothing can be attached while it lasts */
TEST_F(pasid, reset)
{
	ASSERT_EQ(0, attach(self->fd, &self->dev, PASID, self->nested[0]));
	ASSERT_EQ(0, reset(self->fd, &self->dev, MOCK_RESET_PREPARE));
	/* The core has the PASID, the driver does not */
	EXPECT_FALSE(is_at(self->fd, &self->dev, PASID, self->nested[0]));
	EXPECT_FALSE(is_at(self->fd, &self->dev, PASID, 0));
	EXPECT_EQ(-EBUSY,
		  attach(self->fd, &self->dev, PASID + 1, self->nested[0]));
	EXPECT_EQ(-EBUSY,
		  replace(self->fd, &self->dev, PASID, self->nested[1]));
	ASSERT_EQ(0, reset(self->fd, &self->dev, MOCK_RESET_DONE));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, self->nested[0]));
	EXPECT_EQ(0, destroy(self->fd, self->nested[1]));

	/* It can be detached */
	ASSERT_EQ(0, reset(self->fd, &self->dev, MOCK_RESET_PREPARE));
	EXPECT_EQ(0, detach(self->fd, &self->dev, PASID));
	ASSERT_EQ(0, reset(self->fd, &self->dev, MOCK_RESET_DONE));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, 0));
	EXPECT_EQ(0, destroy(self->fd, self->nested[0]));
}

/* The core gives up a PASID that it cannot attach again */
TEST_F(pasid, reset_fails)
{
	ASSERT_EQ(0, attach(self->fd, &self->dev, PASID, self->nested[0]));
	ASSERT_EQ(0, attach(self->fd, &self->dev, PASID + 1, self->nested[0]));
	ASSERT_EQ(0, reset(self->fd, &self->dev, MOCK_RESET_PREPARE));
	ASSERT_EQ(0, reset(self->fd, &self->dev, MOCK_RESET_DONE_FAILS));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, 0));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->nested[0]));

	/* Another reset, which works, brings back the RID */
	ASSERT_EQ(0, reset(self->fd, &self->dev, MOCK_RESET_PREPARE));
	ASSERT_EQ(0, reset(self->fd, &self->dev, MOCK_RESET_DONE));
	EXPECT_TRUE(rid_is_at(self->fd, &self->dev, self->paging[0]));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, 0));
	EXPECT_EQ(0, replace(self->fd, &self->dev, PASID, self->nested[1]));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, self->nested[1]));
	EXPECT_EQ(0, detach(self->fd, &self->dev, PASID));
	EXPECT_EQ(0, detach(self->fd, &self->dev, PASID + 1));
	EXPECT_EQ(0, attach(self->fd, &self->dev, PASID + 1, self->nested[1]));
	EXPECT_EQ(0, destroy(self->fd, self->nested[0]));
}

/*
 * Page faults. There are two queues, each with a HWPT for PASIDs, and a HWPT
 * for PASIDs that has no queue.
 */
FIXTURE(pasid_fault)
{
	int fd;
	__u32 ioas;
	struct mock dev;
	__u32 fault[2];
	int faults[2];
	__u32 hwpt[2];
	__u32 quiet;
};

FIXTURE_SETUP(pasid_fault)
{
	unsigned int i;

	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	ASSERT_EQ(0, err(_test_ioctl_ioas_alloc(self->fd, &self->ioas)));
	ASSERT_EQ(0, plug(self->fd, 0, MOCK_FLAGS_DEVICE_PASID |
			  MOCK_FLAGS_DEVICE_DETACHED, &self->dev));
	for (i = 0; i != 2; i++) {
		__u32 fd = -1;

		ASSERT_EQ(0, err(_test_ioctl_fault_alloc(self->fd,
							 &self->fault[i],
							 &fd)));
		self->faults[i] = fd;
		ASSERT_EQ(0, fault_hwpt_alloc(self->fd, self->dev.id,
					      self->ioas,
					      IOMMU_HWPT_ALLOC_PASID,
					      self->fault[i],
					      &self->hwpt[i]));
	}
	ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev.id, self->ioas,
				IOMMU_HWPT_ALLOC_PASID, &self->quiet));
}

FIXTURE_TEARDOWN(pasid_fault)
{
	close(self->faults[0]);
	close(self->faults[1]);
	teardown_iommufd(self->fd, _metadata);
}

static int trigger(int fd, const struct mock *dev, __u32 pasid, __u32 grpid)
{
	struct iommu_test_cmd cmd = {
		.op = IOMMU_TEST_OP_TRIGGER_IOPF,
		.trigger_iopf = { .dev_id = dev->id, .pasid = pasid,
				  .grpid = grpid, .addr = 0x1000 },
	};

	return test_op(fd, &cmd);
}

static bool has_fault(int faults)
{
	struct pollfd pfd = { .fd = faults, .events = POLLIN };

	return poll(&pfd, 1, 0) == 1 && pfd.revents & POLLIN;
}

/* Is the next fault of this device and PASID? */
static bool next_is(int faults, const struct mock *dev, __u32 pasid,
		    __u32 grpid, __u32 *cookie)
{
	struct iommu_hwpt_pgfault msg = {};

	if (!has_fault(faults) || read(faults, &msg, sizeof(msg)) != sizeof(msg))
		return false;
	*cookie = msg.cookie;
	return msg.dev_id == dev->id && msg.grpid == grpid &&
	       msg.flags == (IOMMU_PGFAULT_FLAGS_LAST_PAGE |
			     IOMMU_PGFAULT_FLAGS_PASID_VALID) &&
	       msg.pasid == pasid && msg.addr == 0x1000;
}

static int answer(int faults, __u32 cookie)
{
	struct iommu_hwpt_page_response resp = {
		.cookie = cookie,
		.code = IOMMUFD_PAGE_RESP_SUCCESS,
	};

	return write(faults, &resp, sizeof(resp)) == sizeof(resp) ? 0 : -errno;
}

static bool faults_are(int fd, const struct mock *dev, __u32 pending,
		       __u32 success, __u32 invalid)
{
	struct iommu_test_cmd cmd = {
		.op = IOMMU_TEST_OP_DEV_GET_IOPF,
		.id = dev->id,
	};

	return !test_op(fd, &cmd) && cmd.dev_get_iopf.out_pending == pending &&
	       cmd.dev_get_iopf.out_success == success &&
	       cmd.dev_get_iopf.out_invalid == invalid;
}

TEST_F(pasid_fault, delivered)
{
	__u32 cookie[2];

	ASSERT_EQ(0, attach(self->fd, &self->dev, 1, self->hwpt[0]));
	ASSERT_EQ(0, attach(self->fd, &self->dev, 2, self->hwpt[1]));
	ASSERT_EQ(0, attach(self->fd, &self->dev, 3, self->quiet));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 1, 11));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 2, 12));
	/* The device is known, though its RID is attached to nothing */
	EXPECT_TRUE(next_is(self->faults[0], &self->dev, 1, 11, &cookie[0]));
	EXPECT_TRUE(next_is(self->faults[1], &self->dev, 2, 12, &cookie[1]));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 2, 0, 0));
	EXPECT_EQ(-EINVAL, answer(self->faults[1], cookie[0] + 100));
	EXPECT_EQ(0, answer(self->faults[0], cookie[0]));
	EXPECT_EQ(0, answer(self->faults[1], cookie[1]));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 2, 0));

	/* These have no queue */
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 3, 13));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 4, 14));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 0, 15));
	EXPECT_FALSE(has_fault(self->faults[0]));
	EXPECT_FALSE(has_fault(self->faults[1]));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 2, 3));
}

/* This concerns faults in the queue and faults that were read */
TEST_F(pasid_fault, detach_answers)
{
	__u32 cookie, other;

	ASSERT_EQ(0, attach(self->fd, &self->dev, 1, self->hwpt[0]));
	ASSERT_EQ(0, attach(self->fd, &self->dev, 2, self->hwpt[0]));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 1, 11));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 2, 12));
	EXPECT_TRUE(next_is(self->faults[0], &self->dev, 1, 11, &cookie));
	EXPECT_TRUE(next_is(self->faults[0], &self->dev, 2, 12, &other));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 1, 13));
	EXPECT_EQ(0, detach(self->fd, &self->dev, 1));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 1, 0, 2));
	EXPECT_FALSE(has_fault(self->faults[0]));
	EXPECT_EQ(-EINVAL, answer(self->faults[0], cookie));
	/* The faults of another PASID stay */
	EXPECT_EQ(0, answer(self->faults[0], other));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 2, 14));
	EXPECT_TRUE(next_is(self->faults[0], &self->dev, 2, 14, &other));
	/* The faults of a device that is unplugged do not */
	EXPECT_EQ(0, destroy(self->fd, self->dev.stdev));
	EXPECT_EQ(-EINVAL, answer(self->faults[0], other));
	EXPECT_EQ(0, destroy(self->fd, self->hwpt[0]));
}

/* How often this thread has had to wait */
static long waits(void)
{
	struct rusage usage;

	return getrusage(RUSAGE_THREAD, &usage) ? -1 : usage.ru_nvcsw;
}

/*
 * A driver that is done with the device detaches all PASIDs: their faults are
 * answered, after one wait for reports and not one for each PASID
 */
TEST_F(pasid_fault, unplug_answers)
{
	unsigned int i;
	__u32 cookie;
	long before;

	for (i = 1; i <= GROUP_PASIDS; i++)
		ASSERT_EQ(0, attach(self->fd, &self->dev, i,
				    self->hwpt[i % 2]));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 2, 11));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 4, 12));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 1, 13));
	EXPECT_TRUE(next_is(self->faults[0], &self->dev, 2, 11, &cookie));

	before = waits();
	EXPECT_EQ(0, destroy(self->fd, self->dev.stdev));
	EXPECT_GT(GROUP_PASIDS / 2, waits() - before);
	EXPECT_EQ(-EINVAL, answer(self->faults[0], cookie));
	EXPECT_FALSE(has_fault(self->faults[0]));
	EXPECT_FALSE(has_fault(self->faults[1]));
	EXPECT_EQ(0, destroy(self->fd, self->hwpt[0]));
	EXPECT_EQ(0, destroy(self->fd, self->hwpt[1]));
}

TEST_F(pasid_fault, replace_answers)
{
	__u32 cookie;

	ASSERT_EQ(0, attach(self->fd, &self->dev, 1, self->hwpt[0]));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 1, 11));
	EXPECT_EQ(0, replace(self->fd, &self->dev, 1, self->hwpt[1]));
	EXPECT_FALSE(has_fault(self->faults[0]));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 0, 1));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 1, 12));
	EXPECT_TRUE(next_is(self->faults[1], &self->dev, 1, 12, &cookie));
	EXPECT_EQ(0, replace(self->fd, &self->dev, 1, self->quiet));
	EXPECT_EQ(-EINVAL, answer(self->faults[1], cookie));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 0, 2));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 1, 13));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 0, 3));
	/* Page faults are on again */
	EXPECT_EQ(0, replace(self->fd, &self->dev, 1, self->hwpt[0]));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 1, 14));
	EXPECT_TRUE(next_is(self->faults[0], &self->dev, 1, 14, &cookie));
	EXPECT_EQ(0, answer(self->faults[0], cookie));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 1, 3));
	EXPECT_EQ(0, destroy(self->fd, self->hwpt[1]));
}

/* A PASID that fails to move keeps its queue and its faults */
TEST_F(pasid_fault, replace_fails)
{
	const __u32 pasid = IOMMU_TEST_PASID_RESERVED;
	__u32 cookie;

	ASSERT_EQ(0, attach(self->fd, &self->dev, pasid, self->hwpt[0]));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, pasid, 11));
	EXPECT_EQ(-ENOMEM, replace(self->fd, &self->dev, pasid, self->quiet));
	EXPECT_TRUE(next_is(self->faults[0], &self->dev, pasid, 11, &cookie));
	EXPECT_EQ(0, answer(self->faults[0], cookie));
	EXPECT_EQ(0, replace(self->fd, &self->dev, pasid, self->quiet));
	EXPECT_EQ(-ENOMEM, replace(self->fd, &self->dev, pasid, self->hwpt[0]));
	/* Page faults are off: they were enabled for the attach only */
	ASSERT_EQ(0, trigger(self->fd, &self->dev, pasid, 12));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 1, 1));
}

/* The RID and the PASIDs do not disable each other's page faults */
TEST_F(pasid_fault, beside_the_rid)
{
	__u32 cookie;

	ASSERT_EQ(0, attach_rid(self->fd, &self->dev, self->hwpt[0]));
	ASSERT_EQ(0, attach(self->fd, &self->dev, 1, self->hwpt[1]));
	ASSERT_EQ(0, attach(self->fd, &self->dev, 2, self->quiet));
	EXPECT_EQ(0, detach(self->fd, &self->dev, 1));
	EXPECT_EQ(0, attach(self->fd, &self->dev, 1, self->hwpt[1]));
	ASSERT_EQ(0, attach_rid(self->fd, &self->dev, self->quiet));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 1, 11));
	EXPECT_TRUE(next_is(self->faults[1], &self->dev, 1, 11, &cookie));
	EXPECT_EQ(0, answer(self->faults[1], cookie));
	ASSERT_EQ(0, attach_rid(self->fd, &self->dev, self->hwpt[0]));
	ASSERT_EQ(0, trigger(self->fd, &self->dev, 2, 12));
	EXPECT_FALSE(has_fault(self->faults[0]));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 1, 1));
}

static int gates(int fd, const struct mock *dev, __u32 closed, __u32 *waiting)
{
	struct iommu_test_cmd cmd = {
		.op = IOMMU_TEST_OP_DEV_GATE,
		.id = dev->id,
		.dev_gate = { .closed = closed },
	};
	int rc = test_op(fd, &cmd);

	if (waiting)
		*waiting = cmd.dev_gate.out_waiting;
	return rc;
}

/* Wait until a thread is held up at a gate */
static bool wait_for_waiting(int fd, const struct mock *dev)
{
	unsigned int i;
	__u32 waiting;

	for (i = 0; i != 5000; i++) {
		if (gates(fd, dev, MOCK_GATE_QUERY, &waiting))
			return false;
		if (waiting == 1)
			return true;
		usleep(1000);
	}
	return false;
}

/* A call in a thread of its own */
struct call {
	int fd;
	const struct mock *dev;
	__u32 arg;
	int (*func)(int fd, const struct mock *dev, __u32 pasid, __u32 arg);
	int rc;
	pid_t tid;
	bool done;
	pthread_t thread;
};

static void *call_thread(void *arg)
{
	struct call *call = arg;

	__atomic_store_n(&call->tid, gettid(), __ATOMIC_SEQ_CST);
	call->rc = call->func(call->fd, call->dev, 1, call->arg);
	__atomic_store_n(&call->done, true, __ATOMIC_SEQ_CST);
	return NULL;
}

static int call_start(struct call *call)
{
	return pthread_create(&call->thread, NULL, call_thread, call);
}

static int call_join(struct call *call)
{
	pthread_join(call->thread, NULL);
	return call->rc;
}

static bool task_sleeps(pid_t tid)
{
	char path[64], line[256] = "", *state;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	f = fopen(path, "re");
	if (!f)
		return false;
	if (!fgets(line, sizeof(line), f))
		line[0] = '\0';
	fclose(f);
	state = strrchr(line, ')');
	return state && (state[2] == 'S' || state[2] == 'D');
}

/*
 * Does the call wait? A thread that sleeps at each of several checks, although
 * it has a CPU to run on, is not about to return. Returns false once it has
 * returned.
 */
static bool call_waits(struct call *call)
{
	unsigned int i, asleep = 0;

	for (i = 0; asleep < 50 && i != 5000; i++) {
		pid_t tid = __atomic_load_n(&call->tid, __ATOMIC_SEQ_CST);

		if (__atomic_load_n(&call->done, __ATOMIC_SEQ_CST))
			return false;
		asleep = tid && task_sleeps(tid) ? asleep + 1 : 0;
		usleep(1000);
	}
	return asleep == 50;
}

static int call_detach(int fd, const struct mock *dev, __u32 pasid, __u32 arg)
{
	return detach(fd, dev, pasid);
}

static int call_unplug(int fd, const struct mock *dev, __u32 pasid, __u32 arg)
{
	return destroy(fd, dev->stdev);
}

/*
 * A report has found the attach handle, and has not used it yet. A call that takes
 * the PASID from the HWPT must wait: the handle must not be freed, and the fault
 * must not be left behind.
 */
static void report_meets(struct __test_metadata *_metadata,
			 struct _test_data_pasid_fault *self,
			 int (*func)(int, const struct mock *, __u32, __u32))
{
	struct call report = {
		.fd = self->fd, .dev = &self->dev, .arg = 11, .func = trigger,
	};
	struct call change = {
		.fd = self->fd, .dev = &self->dev, .arg = self->quiet,
		.func = func,
	};

	ASSERT_EQ(0, attach(self->fd, &self->dev, 1, self->hwpt[0]));
	ASSERT_EQ(0, gates(self->fd, &self->dev, MOCK_GATE_FAULT, NULL));
	ASSERT_EQ(0, call_start(&report));
	EXPECT_TRUE(wait_for_waiting(self->fd, &self->dev));
	ASSERT_EQ(0, call_start(&change));
	EXPECT_TRUE(call_waits(&change));
	EXPECT_EQ(0, gates(self->fd, &self->dev, 0, NULL));
	EXPECT_EQ(0, call_join(&report));
	EXPECT_EQ(0, call_join(&change));
	EXPECT_FALSE(has_fault(self->faults[0]));
	EXPECT_EQ(0, destroy(self->fd, self->hwpt[0]));
}

TEST_F(pasid_fault, report_meets_detach)
{
	report_meets(_metadata, self, call_detach);
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 0, 1));
}

TEST_F(pasid_fault, report_meets_replace)
{
	report_meets(_metadata, self, replace);
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 0, 1));
	EXPECT_TRUE(is_at(self->fd, &self->dev, 1, self->quiet));
}

TEST_F(pasid_fault, report_meets_unplug)
{
	report_meets(_metadata, self, call_unplug);
}

/* A fault in the middle of a change belongs to the old HWPT, if any */
TEST_F(pasid_fault, during_attach)
{
	struct call change = {
		.fd = self->fd, .dev = &self->dev, .arg = self->hwpt[0],
		.func = attach,
	};
	__u32 cookie;

	ASSERT_EQ(0, gates(self->fd, &self->dev, MOCK_GATE_ATTACH, NULL));
	ASSERT_EQ(0, call_start(&change));
	EXPECT_TRUE(wait_for_waiting(self->fd, &self->dev));
	EXPECT_EQ(0, trigger(self->fd, &self->dev, 1, 11));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 0, 1));
	EXPECT_EQ(0, gates(self->fd, &self->dev, 0, NULL));
	EXPECT_EQ(0, call_join(&change));
	EXPECT_FALSE(has_fault(self->faults[0]));

	change.func = replace;
	change.arg = self->hwpt[1];
	change.done = false;
	ASSERT_EQ(0, gates(self->fd, &self->dev, MOCK_GATE_ATTACH, NULL));
	ASSERT_EQ(0, call_start(&change));
	EXPECT_TRUE(wait_for_waiting(self->fd, &self->dev));
	EXPECT_EQ(0, trigger(self->fd, &self->dev, 1, 12));
	EXPECT_TRUE(has_fault(self->faults[0]));
	EXPECT_EQ(0, gates(self->fd, &self->dev, 0, NULL));
	EXPECT_EQ(0, call_join(&change));
	EXPECT_FALSE(has_fault(self->faults[0]));
	EXPECT_FALSE(has_fault(self->faults[1]));
	EXPECT_TRUE(faults_are(self->fd, &self->dev, 0, 0, 2));
	EXPECT_EQ(0, trigger(self->fd, &self->dev, 1, 13));
	EXPECT_TRUE(next_is(self->faults[1], &self->dev, 1, 13, &cookie));
}

TEST_HARNESS_MAIN
