/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls for tests against the mock IOMMU driver: the ioctls of lib/ioctl.h in
 * the forms that the mock driver takes, and its own.
 *
 * All of them return 0 or a negative errno, so that a test reads as
 * EXPECT_EQ(-EBUSY, destroy(fd, id)). An ID is 0 after an error.
 */
#ifndef __SELFTEST_IOMMUFD_CALLS_H
#define __SELFTEST_IOMMUFD_CALLS_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>

#define __EXPORTED_HEADERS__
#include "iommufd_utils.h"
#include "lib/clock.h"
#include "lib/ioctl.h"

/* The ID of no object */
#define NO_ID		0x7ffffff0u
/* The virt_id of a device where its value does not matter */
#define VIRT_ID		0x1234

static __attribute__((constructor)) void setup_sizes(void)
{
	PAGE_SIZE = sysconf(_SC_PAGE_SIZE);
	BUFFER_SIZE = PAGE_SIZE * 16;
	buffer = mmap(NULL, BUFFER_SIZE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert(buffer != MAP_FAILED);
}

/* Convert the result of a system call, or of a function of iommufd_utils.h */
#define err(rc) ((rc) ? -errno : 0)

struct mock {
	__u32 stdev;	/* destroying this unplugs the device */
	__u32 hwpt;	/* the first HWPT it was attached to */
	__u32 id;	/* the device for iommufd */
};

static int plug(int fd, __u32 pt_id, __u32 flags, struct mock *dev)
{
	memset(dev, 0, sizeof(*dev));
	return err(_test_cmd_mock_domain_flags(fd, pt_id, flags, &dev->stdev,
					       &dev->hwpt, &dev->id));
}

static int plug_beside(int fd, __u32 pt_id, __u32 flags,
		       const struct mock *sibling, struct mock *dev)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS,
		.id = pt_id,
		.mock_domain_flags = {
			.dev_flags = flags | MOCK_FLAGS_DEVICE_IN_GROUP,
			.group_dev_id = sibling->id,
		},
	};
	int rc = iommufd_ioctl(fd,
			       _IOMMU_TEST_CMD(IOMMU_TEST_OP_MOCK_DOMAIN_FLAGS),
			       &cmd);

	memset(dev, 0, sizeof(*dev));
	if (rc)
		return rc;
	dev->stdev = cmd.mock_domain_flags.out_stdev_id;
	dev->hwpt = cmd.mock_domain_flags.out_hwpt_id;
	dev->id = cmd.mock_domain_flags.out_idev_id;
	return 0;
}

static int attach(int fd, const struct mock *dev, __u32 pt_id)
{
	return err(_test_cmd_mock_domain_replace(fd, dev->stdev, pt_id, NULL));
}

static int hwpt_alloc(int fd, __u32 dev_id, __u32 pt_id, __u32 flags,
		      __u32 *hwpt_id)
{
	return iommufd_hwpt_alloc(fd, dev_id, pt_id, flags, 0,
				  IOMMU_HWPT_DATA_NONE, NULL, 0, hwpt_id);
}

static int nested_alloc(int fd, __u32 dev_id, __u32 pt_id, __u32 *hwpt_id)
{
	struct iommu_hwpt_selftest data = { .iotlb = IOMMU_TEST_IOTLB_DEFAULT };

	return iommufd_hwpt_alloc(fd, dev_id, pt_id, 0, 0,
				  IOMMU_HWPT_DATA_SELFTEST, &data, sizeof(data),
				  hwpt_id);
}

static int nested_alloc_fault(int fd, __u32 dev_id, __u32 pt_id, __u32 fault_id,
			      __u32 *hwpt_id)
{
	struct iommu_hwpt_selftest data = { .iotlb = IOMMU_TEST_IOTLB_DEFAULT };

	return iommufd_hwpt_alloc(fd, dev_id, pt_id, IOMMU_HWPT_FAULT_ID_VALID,
				  fault_id, IOMMU_HWPT_DATA_SELFTEST, &data,
				  sizeof(data), hwpt_id);
}

static int viommu_alloc(int fd, __u32 dev_id, __u32 hwpt_id, __u32 *viommu_id)
{
	return iommufd_viommu_alloc(fd, dev_id, hwpt_id,
				    IOMMU_VIOMMU_TYPE_SELFTEST, NULL, 0,
				    viommu_id);
}

static int viommu_alloc_type(int fd, __u32 dev_id, __u32 hwpt_id, __u32 type,
			     __u32 *viommu_id)
{
	return iommufd_viommu_alloc(fd, dev_id, hwpt_id, type, NULL, 0,
				    viommu_id);
}

static int veventq_alloc(int fd, __u32 viommu_id, __u32 depth, __u32 *queue,
			 int *events)
{
	return iommufd_veventq_alloc(fd, viommu_id, IOMMU_VEVENTQ_TYPE_SELFTEST,
				     depth, queue, events);
}

/* *done is the number of entries that the kernel reports, also on an error */
static int invalidate(int fd, __u32 id, __u32 type, void *reqs, __u32 len,
		      __u32 num, __u32 *done)
{
	*done = num;
	return hwpt_invalidate(fd, id, type, reqs, len, done);
}

static int viommu_invalidate(int fd, __u32 viommu_id,
			     struct iommu_viommu_invalidate_selftest *reqs,
			     __u32 num, __u32 *done)
{
	return invalidate(fd, viommu_id, IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST,
			  reqs, sizeof(*reqs), num, done);
}

/* Invalidate all caches of a device */
static int viommu_invalidate_dev(int fd, __u32 viommu_id, __u32 virt_id)
{
	struct iommu_viommu_invalidate_selftest req = {
		.flags = IOMMU_TEST_INVALIDATE_FLAG_ALL,
		.vdev_id = virt_id,
	};
	__u32 done;

	return viommu_invalidate(fd, viommu_id, &req, 1, &done);
}

/*
 * Whether a cache of a mock device has this value. Invalidations on a vIOMMU
 * reach these caches.
 */
static bool cache_is(int fd, __u32 dev_id, __u32 cache_id, __u32 value)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DEV_CHECK_CACHE,
		.id = dev_id,
		.check_dev_cache = { .id = cache_id, .cache = value },
	};

	return !iommufd_ioctl(fd,
			      _IOMMU_TEST_CMD(IOMMU_TEST_OP_DEV_CHECK_CACHE),
			      &cmd);
}

static bool caches_are(int fd, __u32 dev_id, __u32 value)
{
	unsigned int i;

	for (i = 0; i < MOCK_DEV_CACHE_NUM; i++) {
		if (!cache_is(fd, dev_id, i, value))
			return false;
	}
	return true;
}

#define CLEAN	0
#define DIRTY	IOMMU_TEST_DEV_CACHE_DEFAULT

static int map_at(int fd, __u32 ioas_id, __u64 iova)
{
	return ioas_map(fd, ioas_id, buffer, iova, PAGE_SIZE, true);
}

/* The last len bytes of a page. The next page has the protection prot. */
static void *map_guarded(size_t len, int prot)
{
	char *p = mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert(p != MAP_FAILED);
	assert(!mprotect(p + PAGE_SIZE, PAGE_SIZE, prot));
	return p + PAGE_SIZE - len;
}

/*
 * Call an ioctl with a struct that the kernel can read but not write: it runs
 * to its end, and cannot return its result. It must not leave an object behind.
 */
static int ioctl_readonly(int fd, unsigned long cmd, const void *arg,
			  size_t len)
{
	void *p = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int rc;

	assert(p != MAP_FAILED && len <= PAGE_SIZE);
	memcpy(p, arg, len);
	assert(!mprotect(p, PAGE_SIZE, PROT_READ));
	rc = iommufd_ioctl(fd, cmd, p);
	munmap(p, PAGE_SIZE);
	return rc;
}

/*
 * Destroy objects in this order, which the references between them must allow
 */
static int destroy_all(int fd, const __u32 *ids, unsigned int num)
{
	unsigned int i;
	int rc;

	for (i = 0; i < num; i++) {
		rc = destroy(fd, ids[i]);
		if (rc)
			return rc;
	}
	return 0;
}

#define destroy_these(fd, ...)                              \
	({                                                  \
		const __u32 __ids[] = { __VA_ARGS__ };      \
		destroy_all(fd, __ids, ARRAY_SIZE(__ids));  \
	})

/* Let a device report an event */
static int trigger_vevent(int fd, __u32 dev_id, __u32 flags, __u32 sequence)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_TRIGGER_VEVENT,
		.trigger_vevent = {
			.dev_id = dev_id,
			.flags = flags,
			.sequence = sequence,
		},
	};

	return iommufd_ioctl(fd, _IOMMU_TEST_CMD(IOMMU_TEST_OP_TRIGGER_VEVENT),
			     &cmd);
}

static int trigger(int fd, __u32 dev_id)
{
	return trigger_vevent(fd, dev_id, 0, 0);
}

#endif
