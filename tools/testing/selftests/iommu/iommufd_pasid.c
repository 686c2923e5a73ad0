// SPDX-License-Identifier: GPL-2.0-only
/*
 * PASIDs that user space attaches, against the mock IOMMU driver: the HWPTs to
 * which they can be attached, the RIDs beside them, and failures, which must
 * change nothing.
 */
#include <fcntl.h>
#include <stdlib.h>

#define __EXPORTED_HEADERS__
#include "iommufd_utils.h"
#include "iommufd_pasid.h"
#include "lib/host.h"
#include "lib/ioctl.h"

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
	/* The driver decides: the mock driver has nested PASIDs and parents */
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
		/* Detaching a PASID that is not attached is not an error */
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

/* If the driver fails, the old HWPT must stay attached */
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

/* As long as there are PASIDs, the RID must have a HWPT for PASIDs */
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
	/* Nothing is pinned yet, and from now on nothing can be */
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

/* A device that leaves the group takes only its own PASIDs along */
TEST_F(pasid, group_unplug)
{
	const __u32 flags = MOCK_FLAGS_DEVICE_IN_GROUP;
	struct mock second, third;

	ASSERT_EQ(0, plug_into(self->fd, self->paging[0],
			       flags | MOCK_FLAGS_DEVICE_PASID, self->dev.id,
			       &second));
	ASSERT_EQ(0, plug_into(self->fd, self->paging[0], flags, self->dev.id,
			       &third));
	ASSERT_EQ(0, attach(self->fd, &self->dev, PASID, self->nested[0]));
	ASSERT_EQ(0, attach(self->fd, &second, PASID, self->nested[0]));

	EXPECT_EQ(0, destroy(self->fd, second.stdev));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, self->nested[0]));
	/* The third device has no PASID, but the group still has one */
	EXPECT_EQ(0, destroy(self->fd, third.stdev));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, self->nested[0]));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->nested[0]));
	EXPECT_EQ(0, detach(self->fd, &self->dev, PASID));
	EXPECT_EQ(0, destroy(self->fd, self->nested[0]));
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

	/* The second device can only get the HWPT of the other device */
	EXPECT_EQ(-EINVAL, attach(self->fd, &second, PASID, self->nested[1]));
	EXPECT_EQ(0, attach(self->fd, &second, PASID, self->nested[0]));
	EXPECT_EQ(-EBUSY, attach(self->fd, &second, PASID, self->nested[0]));
	/* All devices of the group move */
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

	/* No RID of the group may leave */
	EXPECT_EQ(-EINVAL, attach_rid(self->fd, &third, self->plain));

	EXPECT_EQ(0, detach(self->fd, &self->dev, PASID));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, self->nested[1]));
	EXPECT_EQ(-EBUSY, destroy(self->fd, self->nested[1]));
	EXPECT_EQ(0, destroy(self->fd, second.stdev));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, 0));
	EXPECT_EQ(0, destroy(self->fd, self->nested[1]));
}

/* From some allocation of a call on, all of them fail: not once, as by fail-nth */
#define FAILSLAB	"/sys/kernel/debug/failslab/"
/* About the size of a node of an xarray */
#define NODE_SIZE	600

static bool can_run_short(void)
{
	static const char *const knobs[][2] = {
		{ FAILSLAB "ignore-gfp-wait", "N" },
		{ FAILSLAB "verbose", "0" },
		{ FAILSLAB "interval", "1" },
		{ FAILSLAB "times", "-1" },
		{ FAILSLAB "task-filter", "Y" },
		{ FAILSLAB "probability", "100" },
	};
	size_t i;

	for (i = 0; i != ARRAY_SIZE(knobs); i++)
		if (write_str(knobs[i][0], knobs[i][1]))
			return false;
	return true;
}

/* Attach the PASID, with memory for so many bytes */
static int attach_short(struct __test_metadata *_metadata, int fd,
			const struct mock *dev, __u32 hwpt, unsigned int bytes)
{
	int fail = open("/proc/thread-self/make-it-fail", O_WRONLY | O_CLOEXEC);
	char space[16];
	int rc;

	snprintf(space, sizeof(space), "%u", bytes);
	ASSERT_LE(0, fail);
	ASSERT_EQ(0, write_str(FAILSLAB "space", space));
	ASSERT_EQ(1, pwrite(fail, "1", 1, 0));
	rc = attach(fd, dev, PASID, hwpt);
	ASSERT_EQ(1, pwrite(fail, "0", 1, 0));
	close(fail);
	return rc;
}

/*
 * The IDs of two devices differ much, so that a PASID needs several nodes to remember
 * both. Nodes that are left of a failure are not taken for a device: the PASID is gone
 * with the last device that has it.
 */
TEST_F(pasid, no_memory)
{
	const __u32 flags = MOCK_FLAGS_DEVICE_IN_GROUP | MOCK_FLAGS_DEVICE_PASID;
	unsigned int failed = 0;
	struct mock far;
	__u32 id = 0;
	int rc;

	if (!can_run_short())
		SKIP(return, "no fault injection in this kernel");
	do {
		ASSERT_EQ(0, err(_test_ioctl_ioas_alloc(self->fd, &id)));
	} while (id < 64 * 64);
	ASSERT_EQ(0, plug_into(self->fd, self->paging[0], flags, self->dev.id,
			       &far));
	ASSERT_LT(64 * 64, far.id);

	/* It is the first device, and then joins the other device */
	for (rc = -ENOMEM; rc; failed += !!rc) {
		rc = attach_short(_metadata, self->fd, &far, self->nested[0],
				  failed * NODE_SIZE);
		if (rc)
			ASSERT_EQ(-ENOMEM, rc);
		EXPECT_TRUE(is_at(self->fd, &far, PASID,
				  rc ? 0 : self->nested[0]));
		ASSERT_GT(100, failed);
	}
	EXPECT_LE(3, failed);
	ASSERT_EQ(0, detach(self->fd, &far, PASID));
	EXPECT_TRUE(is_at(self->fd, &far, PASID, 0));

	failed = 0;
	for (rc = -ENOMEM; rc; failed += !!rc) {
		ASSERT_EQ(0, attach(self->fd, &self->dev, PASID,
				    self->nested[0]));
		rc = attach_short(_metadata, self->fd, &far, self->nested[0],
				  failed * NODE_SIZE);
		if (rc)
			ASSERT_EQ(-ENOMEM, rc);
		EXPECT_TRUE(is_at(self->fd, &far, PASID, self->nested[0]));
		ASSERT_EQ(0, detach(self->fd, &self->dev, PASID));
		EXPECT_TRUE(is_at(self->fd, &far, PASID,
				  rc ? 0 : self->nested[0]));
		ASSERT_GT(100, failed);
	}
	/*
	 * Two nodes above that of the first device, and two below these. kmemleak
	 * takes memory for each of them as well
	 */
	EXPECT_LE(4, failed);
	ASSERT_EQ(0, detach(self->fd, &far, PASID));
	EXPECT_EQ(0, destroy(self->fd, self->nested[0]));
	ASSERT_EQ(0, write_str(FAILSLAB "probability", "0"));
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

	/* The PASID can be detached during a reset */
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

	/* Another reset, which succeeds, brings back the RID */
	ASSERT_EQ(0, reset(self->fd, &self->dev, MOCK_RESET_PREPARE));
	ASSERT_EQ(0, reset(self->fd, &self->dev, MOCK_RESET_DONE));
	EXPECT_TRUE(rid_is_at(self->fd, &self->dev, self->paging[0]));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, 0));
	/* A replace attaches it again, even to the same HWPT */
	EXPECT_EQ(0, replace(self->fd, &self->dev, PASID + 1, self->nested[0]));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID + 1, self->nested[0]));
	EXPECT_EQ(0, replace(self->fd, &self->dev, PASID, self->nested[1]));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, self->nested[1]));
	EXPECT_EQ(0, detach(self->fd, &self->dev, PASID));
	EXPECT_EQ(0, detach(self->fd, &self->dev, PASID + 1));
	EXPECT_EQ(0, attach(self->fd, &self->dev, PASID + 1, self->nested[1]));
	EXPECT_EQ(0, destroy(self->fd, self->nested[0]));
}

/* If the core has given up a PASID, a device that joins attaches it again */
TEST_F(pasid, reset_fails_join)
{
	struct mock second;

	ASSERT_EQ(0, plug_into(self->fd, self->paging[0],
			       MOCK_FLAGS_DEVICE_IN_GROUP |
			       MOCK_FLAGS_DEVICE_PASID, self->dev.id, &second));
	ASSERT_EQ(0, attach(self->fd, &self->dev, PASID, self->nested[0]));
	ASSERT_EQ(0, reset(self->fd, &self->dev, MOCK_RESET_PREPARE));
	ASSERT_EQ(0, reset(self->fd, &self->dev, MOCK_RESET_DONE_FAILS));
	EXPECT_TRUE(is_at(self->fd, &second, PASID, 0));
	ASSERT_EQ(0, reset(self->fd, &self->dev, MOCK_RESET_PREPARE));
	EXPECT_EQ(-EBUSY, attach(self->fd, &second, PASID, self->nested[0]));
	ASSERT_EQ(0, reset(self->fd, &self->dev, MOCK_RESET_DONE));

	EXPECT_EQ(0, attach(self->fd, &second, PASID, self->nested[0]));
	EXPECT_TRUE(is_at(self->fd, &self->dev, PASID, self->nested[0]));
	EXPECT_TRUE(is_at(self->fd, &second, PASID, self->nested[0]));
	EXPECT_EQ(0, detach(self->fd, &self->dev, PASID));
	EXPECT_TRUE(is_at(self->fd, &second, PASID, self->nested[0]));
	EXPECT_EQ(0, detach(self->fd, &second, PASID));
	EXPECT_TRUE(is_at(self->fd, &second, PASID, 0));
	EXPECT_EQ(0, destroy(self->fd, self->nested[0]));
	EXPECT_EQ(0, destroy(self->fd, second.stdev));
}

TEST_HARNESS_MAIN
