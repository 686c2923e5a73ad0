// SPDX-License-Identifier: GPL-2.0-only
/*
 * vIOMMUs, vDEVICEs and nested HWPTs on them, against the mock IOMMU driver.
 *
 * First come the calls one by one with every error they can give, then what an
 * object holds and what goes away with it, then memory that faults, and in the
 * end threads that work against each other. What the SMMUv3 makes of all that is
 * the matter of smmuv3_nesting.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>

#define __EXPORTED_HEADERS__
#include "iommufd_utils.h"

/* No object has it */
#define NO_ID		0x7ffffff0u
/* Seconds that threads work against each other */
#define STRESS_SECONDS	1.5
/* What the tests call a device if it does not matter */
#define VIRT_ID		0x1234

static __attribute__((constructor)) void setup_sizes(void)
{
	PAGE_SIZE = sysconf(_SC_PAGE_SIZE);
	BUFFER_SIZE = PAGE_SIZE * 16;
	buffer = mmap(NULL, BUFFER_SIZE, PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	assert(buffer != MAP_FAILED);
}

/*
 * The calls. All of them return 0 or the errno, so that a test reads as
 * EXPECT_EQ(EBUSY, destroy(fd, id)). An ID is 0, which is none, after an error.
 */

#define err(rc) ((rc) ? errno : 0)

struct mock {
	__u32 stdev;	/* what is destroyed to unplug the device */
	__u32 hwpt;	/* what it was attached to first */
	__u32 id;	/* the device for iommufd */
};

static int plug(int fd, __u32 pt_id, __u32 flags, struct mock *dev)
{
	memset(dev, 0, sizeof(*dev));
	return err(_test_cmd_mock_domain_flags(fd, pt_id, flags, &dev->stdev,
					       &dev->hwpt, &dev->id));
}

static int destroy(int fd, __u32 id)
{
	return err(_test_ioctl_destroy(fd, id));
}

static int attach(int fd, const struct mock *dev, __u32 pt_id)
{
	return err(_test_cmd_mock_domain_replace(fd, dev->stdev, pt_id, NULL));
}

static int hwpt_alloc(int fd, __u32 dev_id, __u32 pt_id, __u32 flags,
		      __u32 *hwpt_id)
{
	*hwpt_id = 0;
	return err(_test_cmd_hwpt_alloc(fd, dev_id, pt_id, 0, flags, hwpt_id,
					IOMMU_HWPT_DATA_NONE, NULL, 0));
}

static int nested_alloc(int fd, __u32 dev_id, __u32 pt_id, __u32 *hwpt_id)
{
	struct iommu_hwpt_selftest data = { .iotlb = IOMMU_TEST_IOTLB_DEFAULT };

	*hwpt_id = 0;
	return err(_test_cmd_hwpt_alloc(fd, dev_id, pt_id, 0, 0, hwpt_id,
					IOMMU_HWPT_DATA_SELFTEST, &data,
					sizeof(data)));
}

static int viommu_alloc(int fd, __u32 dev_id, __u32 hwpt_id, __u32 *viommu_id)
{
	*viommu_id = 0;
	return err(_test_ioctl_viommu_alloc(fd, dev_id, hwpt_id,
					    IOMMU_VIOMMU_TYPE_SELFTEST, NULL, 0,
					    viommu_id));
}

static int viommu_alloc_type(int fd, __u32 dev_id, __u32 hwpt_id, __u32 type,
			     __u32 *viommu_id)
{
	*viommu_id = 0;
	return err(_test_ioctl_viommu_alloc(fd, dev_id, hwpt_id, type, NULL, 0,
					    viommu_id));
}

static int vdevice_alloc(int fd, __u32 viommu_id, __u32 dev_id, __u64 virt_id,
			 __u32 *vdevice_id)
{
	*vdevice_id = 0;
	return err(_test_ioctl_vdevice_alloc(fd, viommu_id, dev_id, virt_id,
					     vdevice_id));
}

/* done is how many entries the kernel says it has done, also on an error */
static int invalidate(int fd, __u32 id, __u32 type, void *reqs, __u32 len,
		      __u32 num, __u32 *done)
{
	*done = num;
	return err(_test_cmd_hwpt_invalidate(fd, id, reqs, type, len, done));
}

static int viommu_invalidate(int fd, __u32 viommu_id,
			     struct iommu_viommu_invalidate_selftest *reqs,
			     __u32 num, __u32 *done)
{
	return invalidate(fd, viommu_id, IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST,
			  reqs, sizeof(*reqs), num, done);
}

/* All caches of one device */
static int viommu_invalidate_dev(int fd, __u32 viommu_id, __u32 virt_id)
{
	struct iommu_viommu_invalidate_selftest req = {
		.flags = IOMMU_TEST_INVALIDATE_FLAG_ALL,
		.vdev_id = virt_id,
	};
	__u32 done;

	return viommu_invalidate(fd, viommu_id, &req, 1, &done);
}

static bool cache_is(int fd, __u32 dev_id, __u32 cache_id, __u32 value)
{
	return !_test_cmd_dev_check_cache(fd, dev_id, cache_id, value);
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

static int ioas_alloc(int fd, __u32 *ioas_id)
{
	*ioas_id = 0;
	return err(_test_ioctl_ioas_alloc(fd, ioas_id));
}

static int map_at(int fd, __u32 ioas_id, __u64 iova)
{
	return err(_test_ioctl_ioas_map(fd, ioas_id, buffer, PAGE_SIZE, &iova,
					IOMMU_IOAS_MAP_FIXED_IOVA |
						IOMMU_IOAS_MAP_WRITEABLE |
						IOMMU_IOAS_MAP_READABLE));
}

/* The last len bytes of a page, behind which nothing can be accessed so */
static void *map_guarded(size_t len, int prot)
{
	char *p = mmap(NULL, 2 * PAGE_SIZE, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert(p != MAP_FAILED);
	assert(!mprotect(p + PAGE_SIZE, PAGE_SIZE, prot));
	return p + PAGE_SIZE - len;
}

/*
 * A struct in memory that the kernel can read but not write: the ioctl runs to
 * its end, and then cannot tell. It must not leave an object behind.
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
	rc = err(ioctl(fd, cmd, p));
	munmap(p, PAGE_SIZE);
	return rc;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

/*
 * Two devices behind one IOMMU, one behind the other IOMMU, all attached to an
 * IOAS, and a vIOMMU on a nesting parent of the same IOAS.
 */
FIXTURE(viommu)
{
	int fd;
	__u32 ioas;
	struct mock dev[2];
	struct mock far;
	__u32 parent;
	__u32 viommu;
};

FIXTURE_SETUP(viommu)
{
	self->fd = open("/dev/iommu", O_RDWR);
	ASSERT_NE(-1, self->fd);
	ASSERT_EQ(0, ioas_alloc(self->fd, &self->ioas));
	ASSERT_EQ(0, plug(self->fd, self->ioas, 0, &self->dev[0]));
	ASSERT_EQ(0, plug(self->fd, self->ioas, 0, &self->dev[1]));
	ASSERT_EQ(0, plug(self->fd, self->ioas, MOCK_FLAGS_DEVICE_IOMMU2,
			  &self->far));
	ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev[0].id, self->ioas,
				IOMMU_HWPT_ALLOC_NEST_PARENT, &self->parent));
	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev[0].id, self->parent,
				  &self->viommu));
}

FIXTURE_TEARDOWN(viommu)
{
	teardown_iommufd(self->fd, _metadata);
}

/* In this order, which is one that the references allow */
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

TEST_F(viommu, unknown_ioctls)
{
	struct iommu_vdevice_alloc cmd = { .size = sizeof(cmd) };

	EXPECT_EQ(ENOTTY, err(ioctl(self->fd, _IO(IOMMUFD_TYPE, 0x9f), &cmd)));
	/* Right number, but not without direction and size */
	EXPECT_EQ(ENOTTY,
		  err(ioctl(self->fd, _IOWR(IOMMUFD_TYPE, 0x91, cmd), &cmd)));
}

TEST_F(viommu, numbers_and_layouts)
{
	EXPECT_EQ(0x3b90, IOMMU_VIOMMU_ALLOC);
	EXPECT_EQ(0x3b91, IOMMU_VDEVICE_ALLOC);
	EXPECT_EQ(40, sizeof(struct iommu_viommu_alloc));
	EXPECT_EQ(24, offsetofend(struct iommu_viommu_alloc, out_viommu_id));
	EXPECT_EQ(32, offsetof(struct iommu_viommu_alloc, data_uptr));
	EXPECT_EQ(24, sizeof(struct iommu_vdevice_alloc));
	EXPECT_EQ(12, offsetof(struct iommu_vdevice_alloc, out_vdevice_id));
	EXPECT_EQ(16, offsetof(struct iommu_vdevice_alloc, virt_id));
	EXPECT_EQ(1, IOMMU_HW_INFO_FLAG_INPUT_TYPE);
	EXPECT_EQ(0, IOMMU_HW_INFO_TYPE_DEFAULT);
	EXPECT_EQ(8, IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED);
	EXPECT_EQ(offsetof(struct iommu_hw_info, out_data_type),
		  offsetof(struct iommu_hw_info, in_data_type));
	EXPECT_EQ(2, IOMMU_HWPT_DATA_ARM_SMMUV3);
	EXPECT_EQ(1, IOMMU_VIOMMU_TYPE_ARM_SMMUV3);
	EXPECT_EQ(1, IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3);
	EXPECT_EQ(16, sizeof(struct iommu_hwpt_arm_smmuv3));
	EXPECT_EQ(16, sizeof(struct iommu_viommu_arm_smmuv3_invalidate));
	EXPECT_EQ(40, sizeof(struct iommu_hw_info_arm_smmuv3));
	EXPECT_EQ(72, sizeof(struct iommu_test_cmd));
	EXPECT_EQ(16, IOMMU_TEST_OP_DEV_CHECK_CACHE);
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
			EXPECT_EQ(EINVAL,
				  err(ioctl(self->fd, IOMMU_VIOMMU_ALLOC,
					    &arg)));
			continue;
		}
		/* What lies behind the size does not count */
		if (size == min)
			arg.cmd.__reserved = 1;
		EXPECT_EQ(0, err(ioctl(self->fd, IOMMU_VIOMMU_ALLOC, &arg)));
		EXPECT_EQ(0, destroy(self->fd, arg.cmd.out_viommu_id));
	}

	arg.cmd.size = sizeof(arg);
	arg.tail[1] = 1ULL << 63;
	EXPECT_EQ(E2BIG, err(ioctl(self->fd, IOMMU_VIOMMU_ALLOC, &arg)));
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
		EXPECT_EQ(EOPNOTSUPP,
			  err(ioctl(self->fd, IOMMU_VIOMMU_ALLOC, &cmd)));
	}
	cmd.flags = 0;
	for (bit = 0; bit < 32; bit++) {
		cmd.__reserved = 1u << bit;
		EXPECT_EQ(EOPNOTSUPP,
			  err(ioctl(self->fd, IOMMU_VIOMMU_ALLOC, &cmd)));
	}
	cmd.__reserved = 0;
	EXPECT_EQ(0, err(ioctl(self->fd, IOMMU_VIOMMU_ALLOC, &cmd)));
}

/* Each of them is wrong in what is checked next, too */
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

	EXPECT_EQ(EOPNOTSUPP, err(ioctl(self->fd, IOMMU_VIOMMU_ALLOC, &cmd)));
	EXPECT_EQ(EOPNOTSUPP,
		  viommu_alloc_type(self->fd, NO_ID, NO_ID,
				    IOMMU_VIOMMU_TYPE_DEFAULT, &id));
	EXPECT_EQ(ENOENT, viommu_alloc_type(self->fd, NO_ID, NO_ID,
					    IOMMU_VIOMMU_TYPE_SELFTEST - 100,
					    &id));
	EXPECT_EQ(EOPNOTSUPP,
		  viommu_alloc_type(self->fd, self->dev[0].id, NO_ID,
				    IOMMU_VIOMMU_TYPE_SELFTEST - 100, &id));
	EXPECT_EQ(EOPNOTSUPP,
		  viommu_alloc_type(self->fd, self->dev[0].id, NO_ID,
				    IOMMU_VIOMMU_TYPE_ARM_SMMUV3, &id));
	EXPECT_EQ(ENOENT, viommu_alloc(self->fd, self->dev[0].id, NO_ID, &id));
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

	/* In place of the device */
	EXPECT_EQ(ENOENT, viommu_alloc(self->fd, 0, self->parent, &id));
	EXPECT_EQ(ENOENT, viommu_alloc(self->fd, self->dev[0].stdev,
				       self->parent, &id));
	EXPECT_EQ(ENOENT,
		  viommu_alloc(self->fd, self->parent, self->parent, &id));
	EXPECT_EQ(ENOENT, viommu_alloc(self->fd, vdev, self->parent, &id));

	/* In place of the parent */
	EXPECT_EQ(EINVAL, viommu_alloc(self->fd, self->dev[0].id, plain, &id));
	EXPECT_EQ(EINVAL, viommu_alloc(self->fd, self->dev[0].id,
				       self->dev[0].hwpt, &id));
	EXPECT_EQ(ENOENT, viommu_alloc(self->fd, self->dev[0].id, nested, &id));
	EXPECT_EQ(ENOENT, viommu_alloc(self->fd, self->dev[0].id, self->ioas,
				       &id));
	EXPECT_EQ(ENOENT, viommu_alloc(self->fd, self->dev[0].id, self->viommu,
				       &id));
	EXPECT_EQ(ENOENT, viommu_alloc(self->fd, self->dev[0].id,
				       self->dev[0].id, &id));
}

/* IDs are those of one fd */
TEST_F(viommu, other_fd)
{
	int fd = open("/dev/iommu", O_RDWR);
	struct mock dev;
	__u32 ioas, id;

	ASSERT_NE(-1, fd);
	EXPECT_EQ(ENOENT,
		  viommu_alloc(fd, self->dev[0].id, self->parent, &id));
	EXPECT_EQ(ENOENT, vdevice_alloc(fd, self->viommu, self->dev[0].id, 0,
					&id));
	EXPECT_EQ(ENOENT, viommu_invalidate_dev(fd, self->viommu, 0));
	EXPECT_EQ(ENOENT, nested_alloc(fd, self->dev[0].id, self->viommu, &id));
	EXPECT_EQ(ENOENT, destroy(fd, self->viommu));

	/* With a device of its own */
	ASSERT_EQ(0, ioas_alloc(fd, &ioas));
	ASSERT_EQ(0, plug(fd, ioas, 0, &dev));
	EXPECT_EQ(ENOENT, viommu_alloc(fd, dev.id, self->parent, &id));
	EXPECT_EQ(ENOENT, vdevice_alloc(fd, self->viommu, dev.id, 0, &id));
	EXPECT_EQ(EINVAL, nested_alloc(fd, dev.id, self->viommu, &id));
	EXPECT_EQ(0, close(fd));

	EXPECT_EQ(0, destroy(self->fd, self->viommu));
}

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

	ASSERT_EQ(0, err(_test_ioctl_viommu_alloc(self->fd, dev_id,
						  self->parent, type, &arg,
						  sizeof(arg.data), &id)));
	EXPECT_EQ(0xcafe, arg.data.out_data);

	arg.data.in_data = 0;
	ASSERT_EQ(0, err(_test_ioctl_viommu_alloc(self->fd, dev_id,
						  self->parent, type, &arg,
						  min, &id)));
	EXPECT_EQ(0, arg.data.out_data);

	/* No data, so no pointer */
	EXPECT_EQ(0, err(_test_ioctl_viommu_alloc(self->fd, dev_id,
						  self->parent, type, bad, 0,
						  &id)));

	EXPECT_EQ(EINVAL, err(_test_ioctl_viommu_alloc(self->fd, dev_id,
						       self->parent, type, &arg,
						       min - 1, &id)));
	EXPECT_EQ(EINVAL, err(_test_ioctl_viommu_alloc(self->fd, dev_id,
						       self->parent, type, &arg,
						       sizeof(arg), &id)));
	EXPECT_EQ(EFAULT, err(_test_ioctl_viommu_alloc(self->fd, dev_id,
						       self->parent, type, NULL,
						       min, &id)));
	EXPECT_EQ(EFAULT, err(_test_ioctl_viommu_alloc(self->fd, dev_id,
						       self->parent, type, bad,
						       min, &id)));

	ro = mmap(NULL, PAGE_SIZE, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		  0);
	ASSERT_NE(MAP_FAILED, ro);
	EXPECT_EQ(EFAULT, err(_test_ioctl_viommu_alloc(self->fd, dev_id,
						       self->parent, type, ro,
						       min, &id)));
}

/* A vIOMMU that user space was not told of does not hold its parent */
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

	EXPECT_EQ(EFAULT, ioctl_readonly(self->fd, IOMMU_VIOMMU_ALLOC, &cmd,
					 sizeof(cmd)));
	p->size = sizeof(*p);
	EXPECT_EQ(EFAULT, err(ioctl(self->fd, IOMMU_VIOMMU_ALLOC, p)));
	EXPECT_EQ(EFAULT, err(ioctl(self->fd, IOMMU_VIOMMU_ALLOC, NULL)));

	/* The ID that was lost comes next, and is nothing till then */
	EXPECT_EQ(ENOENT, destroy(self->fd, self->viommu + 1));
	EXPECT_EQ(0, viommu_alloc(self->fd, self->dev[0].id, self->parent,
				  &id));
	EXPECT_EQ(self->viommu + 1, id);
	EXPECT_EQ(0, destroy_these(self->fd, id, self->viommu, self->parent));
}

TEST_F(viommu, viommu_holds_parent)
{
	__u32 id;

	EXPECT_EQ(EBUSY, destroy(self->fd, self->parent));
	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev[1].id, self->parent,
				  &id));
	EXPECT_EQ(0, destroy(self->fd, self->viommu));
	EXPECT_EQ(EBUSY, destroy(self->fd, self->parent));
	EXPECT_EQ(0, destroy(self->fd, id));
	EXPECT_EQ(ENOENT, destroy(self->fd, id));
	EXPECT_EQ(0, destroy(self->fd, self->parent));
}

/* The device is only to name the IOMMU */
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

	/* With no device left at all */
	ASSERT_EQ(0, destroy(self->fd, self->dev[1].stdev));
	ASSERT_EQ(0, destroy(self->fd, self->far.stdev));
	EXPECT_EQ(EINVAL, viommu_invalidate_dev(self->fd, self->viommu,
						VIRT_ID));
	EXPECT_EQ(ENOENT, destroy(self->fd, vdev));
	EXPECT_EQ(0, destroy_these(self->fd, nested, self->viommu,
				   self->parent, self->ioas));
}

TEST_F(viommu, viommu_other_iommu)
{
	struct mock huge;
	__u32 far_viommu, parent, vdev, far_vdev, id;

	/* One stage 2 serves both IOMMUs */
	ASSERT_EQ(0, viommu_alloc(self->fd, self->far.id, self->parent,
				  &far_viommu));
	EXPECT_EQ(EINVAL, vdevice_alloc(self->fd, self->viommu, self->far.id,
					VIRT_ID, &id));
	EXPECT_EQ(EINVAL, vdevice_alloc(self->fd, far_viommu, self->dev[0].id,
					VIRT_ID, &id));
	EXPECT_EQ(EINVAL, nested_alloc(self->fd, self->far.id, self->viommu,
				       &id));
	EXPECT_EQ(EINVAL, nested_alloc(self->fd, self->dev[0].id, far_viommu,
				       &id));

	/* A number means another device at each of them */
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id,
				   VIRT_ID, &vdev));
	ASSERT_EQ(0, vdevice_alloc(self->fd, far_viommu, self->far.id, VIRT_ID,
				   &far_vdev));
	EXPECT_EQ(0, viommu_invalidate_dev(self->fd, far_viommu, VIRT_ID));
	EXPECT_TRUE(caches_are(self->fd, self->far.id, CLEAN));
	EXPECT_TRUE(caches_are(self->fd, self->dev[0].id, DIRTY));

	/* A device cannot be attached through the other one's vIOMMU */
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev[0].id, self->viommu,
				  &id));
	EXPECT_EQ(ENOENT, attach(self->fd, &self->far, id));
	EXPECT_EQ(0, attach(self->fd, &self->dev[0], id));

	/* And a stage 2 that only the first one can walk */
	ASSERT_EQ(0, plug(self->fd, self->ioas, MOCK_FLAGS_DEVICE_HUGE_IOVA,
			  &huge));
	ASSERT_EQ(0, hwpt_alloc(self->fd, huge.id, self->ioas,
				IOMMU_HWPT_ALLOC_NEST_PARENT, &parent));
	EXPECT_EQ(EINVAL, attach(self->fd, &self->far, parent));
	EXPECT_EQ(0, attach(self->fd, &self->dev[1], parent));
	EXPECT_EQ(EINVAL, viommu_alloc(self->fd, self->far.id, parent, &id));
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
			EXPECT_EQ(EINVAL,
				  err(ioctl(self->fd, IOMMU_VDEVICE_ALLOC,
					    &arg)));
			continue;
		}
		EXPECT_EQ(0, err(ioctl(self->fd, IOMMU_VDEVICE_ALLOC, &arg)));
		EXPECT_EQ(0, destroy(self->fd, arg.cmd.out_vdevice_id));
	}

	arg.cmd.size = sizeof(arg);
	arg.tail[1] = 1;
	EXPECT_EQ(E2BIG, err(ioctl(self->fd, IOMMU_VDEVICE_ALLOC, &arg)));
}

TEST_F(viommu, vdevice_alloc_wrong_objects)
{
	__u32 vdev, id;

	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id,
				   VIRT_ID, &vdev));

	/* In place of the vIOMMU */
	EXPECT_EQ(ENOENT, vdevice_alloc(self->fd, 0, self->dev[1].id, 1, &id));
	EXPECT_EQ(ENOENT,
		  vdevice_alloc(self->fd, NO_ID, self->dev[1].id, 1, &id));
	EXPECT_EQ(ENOENT, vdevice_alloc(self->fd, self->parent,
					self->dev[1].id, 1, &id));
	EXPECT_EQ(ENOENT, vdevice_alloc(self->fd, self->dev[1].id,
					self->dev[1].id, 1, &id));
	EXPECT_EQ(ENOENT,
		  vdevice_alloc(self->fd, vdev, self->dev[1].id, 1, &id));

	/* In place of the device */
	EXPECT_EQ(ENOENT, vdevice_alloc(self->fd, self->viommu, 0, 1, &id));
	EXPECT_EQ(ENOENT, vdevice_alloc(self->fd, self->viommu, NO_ID, 1, &id));
	EXPECT_EQ(ENOENT, vdevice_alloc(self->fd, self->viommu,
					self->dev[1].stdev, 1, &id));
	EXPECT_EQ(ENOENT, vdevice_alloc(self->fd, self->viommu, self->viommu,
					1, &id));
	EXPECT_EQ(ENOENT,
		  vdevice_alloc(self->fd, self->viommu, vdev, 1, &id));

	/* None of it has taken anything */
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
			EXPECT_EQ(EINVAL, vdevice_alloc(self->fd, self->viommu,
							dev.id, ids[i], &id));
			continue;
		}
		EXPECT_EQ(0, vdevice_alloc(self->fd, self->viommu, dev.id,
					   ids[i], &id));
		EXPECT_EQ(EEXIST, vdevice_alloc(self->fd, self->viommu,
						self->dev[0].id, ids[i], &id));
	}

	/* A driver whose IDs are shorter: they must not be cut off (H8) */
	ASSERT_EQ(0, viommu_alloc_type(self->fd, self->dev[0].id, self->parent,
				       IOMMU_VIOMMU_TYPE_SELFTEST_NO_INV,
				       &viommu));
	ASSERT_EQ(0, vdevice_alloc(self->fd, viommu, self->dev[0].id, 0,
				   &vdev));
	EXPECT_EQ(EINVAL, vdevice_alloc(self->fd, viommu, self->dev[1].id,
					0x100000000ULL, &id));
	/* A refusal by the driver leaves ID and device as they were */
	EXPECT_EQ(EINVAL, vdevice_alloc(self->fd, viommu, self->dev[1].id,
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

	/* One for each device, wherever and under which ID */
	EXPECT_EQ(EEXIST, vdevice_alloc(self->fd, self->viommu,
					self->dev[0].id, VIRT_ID, &id));
	EXPECT_EQ(EEXIST, vdevice_alloc(self->fd, self->viommu,
					self->dev[0].id, VIRT_ID + 1, &id));
	EXPECT_EQ(EEXIST, vdevice_alloc(self->fd, viommu, self->dev[0].id,
					VIRT_ID, &id));
	/* One for each ID */
	EXPECT_EQ(EEXIST, vdevice_alloc(self->fd, self->viommu,
					self->dev[1].id, VIRT_ID, &id));

	/* The failures have not taken away what there is (H13) */
	EXPECT_EQ(0, viommu_invalidate_dev(self->fd, self->viommu, VIRT_ID));
	EXPECT_TRUE(caches_are(self->fd, self->dev[0].id, CLEAN));
	EXPECT_TRUE(caches_are(self->fd, self->dev[1].id, DIRTY));
	EXPECT_EQ(EINVAL, viommu_invalidate_dev(self->fd, self->viommu,
						VIRT_ID + 1));
	EXPECT_EQ(EINVAL, viommu_invalidate_dev(self->fd, viommu, VIRT_ID));

	/* Nor is anything left of them */
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
	EXPECT_EQ(EBUSY, destroy(self->fd, self->viommu));
	ASSERT_EQ(0, destroy(self->fd, vdev));
	EXPECT_EQ(ENOENT, destroy(self->fd, vdev));

	/* The device to another vIOMMU, its ID to another device */
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

	EXPECT_EQ(EFAULT, ioctl_readonly(self->fd, IOMMU_VDEVICE_ALLOC, &cmd,
					 sizeof(cmd)));
	p->size = sizeof(*p);
	EXPECT_EQ(EFAULT, err(ioctl(self->fd, IOMMU_VDEVICE_ALLOC, p)));

	EXPECT_EQ(ENOENT, destroy(self->fd, self->viommu + 1));
	EXPECT_EQ(EINVAL, viommu_invalidate_dev(self->fd, self->viommu,
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
	EXPECT_EQ(EBUSY, destroy(self->fd, self->viommu));

	/* The device takes its vDEVICE along, and no other */
	ASSERT_EQ(0, destroy(self->fd, self->dev[0].stdev));
	EXPECT_EQ(ENOENT, destroy(self->fd, vdev[0]));
	EXPECT_EQ(EINVAL, viommu_invalidate_dev(self->fd, self->viommu, 0));
	EXPECT_EQ(0, viommu_invalidate_dev(self->fd, self->viommu, 1));

	/* What is left is not an object of any kind */
	EXPECT_EQ(ENOENT, invalidate(self->fd, vdev[0], 0, NULL, 0, 0, &done));
	EXPECT_EQ(EINVAL, nested_alloc(self->fd, self->dev[1].id, vdev[0],
				       &nested));
	EXPECT_EQ(ENOENT, attach(self->fd, &self->dev[1], vdev[0]));
	EXPECT_EQ(ENOENT,
		  vdevice_alloc(self->fd, vdev[0], self->dev[1].id, 2, &id));

	/* Nor becomes one again */
	for (i = 0; i < 200; i++) {
		ASSERT_EQ(0, ioas_alloc(self->fd, &id));
		ASSERT_NE(vdev[0], id);
	}
	EXPECT_EQ(ENOENT, destroy(self->fd, vdev[0]));

	/* The vIOMMU is held by the other one only, and virt_id 0 is free */
	ASSERT_EQ(0, plug(self->fd, self->ioas, 0, &self->dev[0]));
	cmd.viommu_id = self->viommu;
	cmd.dev_id = self->dev[0].id;
	EXPECT_EQ(0, err(ioctl(self->fd, IOMMU_VDEVICE_ALLOC, &cmd)));
	EXPECT_EQ(0, destroy_these(self->fd, cmd.out_vdevice_id, vdev[1],
				   self->viommu));
}

/* The fd goes with all there is, in whatever state */
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
	/* A tombstone and nothing else is a case of its own */
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
				       1u << 3, 1u << 31 };
	const __u32 type = IOMMU_HWPT_DATA_SELFTEST;
	const __u32 dev_id = self->dev[0].id;
	const __u32 min = offsetofend(struct iommu_hwpt_selftest, iotlb);
	__u32 bare, id;
	unsigned int i;

	for (i = 0; i < ARRAY_SIZE(flags); i++)
		EXPECT_EQ(EOPNOTSUPP,
			  err(_test_cmd_hwpt_alloc(self->fd, dev_id,
						   self->viommu, 0, flags[i],
						   &id, type, &arg,
						   sizeof(arg.data))));
	EXPECT_EQ(EOPNOTSUPP,
		  hwpt_alloc(self->fd, dev_id, self->viommu, 0, &id));
	EXPECT_EQ(EOPNOTSUPP,
		  err(_test_cmd_hwpt_alloc(self->fd, dev_id, self->viommu, 0, 0,
					   &id, type + 1, &arg,
					   sizeof(arg.data))));
	EXPECT_EQ(EINVAL,
		  err(_test_cmd_hwpt_alloc(self->fd, dev_id, self->viommu, 0, 0,
					   &id, type, &arg, 0)));
	EXPECT_EQ(EINVAL,
		  err(_test_cmd_hwpt_alloc(self->fd, dev_id, self->viommu, 0, 0,
					   &id, type, &arg, min - 1)));
	EXPECT_EQ(EINVAL,
		  err(_test_cmd_hwpt_alloc(self->fd, dev_id, self->viommu, 0, 0,
					   &id, type, &arg, sizeof(arg))));
	EXPECT_EQ(EFAULT,
		  err(_test_cmd_hwpt_alloc(self->fd, dev_id, self->viommu, 0, 0,
					   &id, type, NULL, min)));
	EXPECT_EQ(ENOENT,
		  err(_test_cmd_hwpt_alloc(self->fd, dev_id, self->viommu,
					   NO_ID, IOMMU_HWPT_FAULT_ID_VALID,
					   &id, type, &arg, min)));
	arg.data.pagetable_type = 1;
	EXPECT_EQ(EOPNOTSUPP,
		  err(_test_cmd_hwpt_alloc(self->fd, dev_id, self->viommu, 0, 0,
					   &id, type, &arg, sizeof(arg.data))));
	/* Nobody looks at what is not passed */
	ASSERT_EQ(0, err(_test_cmd_hwpt_alloc(self->fd, dev_id, self->viommu, 0,
					      0, &id, type, &arg, min)));
	EXPECT_EQ(0, destroy(self->fd, id));

	/* A vIOMMU without nested domains */
	ASSERT_EQ(0, viommu_alloc_type(self->fd, dev_id, self->parent,
				       IOMMU_VIOMMU_TYPE_SELFTEST_BARE, &bare));
	EXPECT_EQ(EOPNOTSUPP, nested_alloc(self->fd, dev_id, bare, &id));

	/* No failure holds the vIOMMU */
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

	EXPECT_EQ(EFAULT, ioctl_readonly(self->fd, IOMMU_HWPT_ALLOC, &cmd,
					 sizeof(cmd)));
	EXPECT_EQ(ENOENT, destroy(self->fd, self->viommu + 1));
	EXPECT_EQ(0, destroy_these(self->fd, self->viommu, self->parent));
}

TEST_F(viommu, hwpt_holds_viommu)
{
	__u32 nested, vdev;

	ASSERT_EQ(0, nested_alloc(self->fd, self->dev[0].id, self->viommu,
				  &nested));
	EXPECT_EQ(EBUSY, destroy(self->fd, self->viommu));
	EXPECT_EQ(EBUSY, destroy(self->fd, self->parent));

	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id,
				   VIRT_ID, &vdev));
	ASSERT_EQ(0, attach(self->fd, &self->dev[0], nested));
	EXPECT_EQ(EBUSY, destroy(self->fd, nested));

	/* The vDEVICE is free to go, the attachment stays (H9) */
	EXPECT_EQ(0, destroy(self->fd, vdev));
	EXPECT_EQ(EBUSY, destroy(self->fd, nested));
	EXPECT_EQ(EBUSY, destroy(self->fd, self->viommu));

	EXPECT_EQ(0, attach(self->fd, &self->dev[0], self->ioas));
	EXPECT_EQ(0, destroy_these(self->fd, nested, self->viommu,
				   self->parent));
}

TEST_F(viommu, attach_needs_vdevice)
{
	__u32 nested, direct, viommu, vdev, other;

	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev[0].id, self->parent,
				  &viommu));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev[0].id, self->viommu,
				  &nested));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev[0].id, self->parent,
				  &direct));

	EXPECT_EQ(ENOENT, attach(self->fd, &self->dev[0], nested));
	/* The right device at another vIOMMU, another device at the right one */
	ASSERT_EQ(0, vdevice_alloc(self->fd, viommu, self->dev[0].id, VIRT_ID,
				   &vdev));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[1].id,
				   VIRT_ID, &other));
	EXPECT_EQ(ENOENT, attach(self->fd, &self->dev[0], nested));

	/* Made directly on the parent it asks for nothing */
	EXPECT_EQ(0, attach(self->fd, &self->dev[0], direct));
	EXPECT_EQ(ENOENT, attach(self->fd, &self->dev[0], nested));
	EXPECT_EQ(EBUSY, destroy(self->fd, direct));

	/* It is the present that counts */
	ASSERT_EQ(0, destroy(self->fd, vdev));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id,
				   VIRT_ID + 1, &vdev));
	EXPECT_EQ(0, attach(self->fd, &self->dev[0], nested));
	EXPECT_EQ(0, destroy(self->fd, direct));
	ASSERT_EQ(0, attach(self->fd, &self->dev[0], self->parent));
	ASSERT_EQ(0, destroy(self->fd, vdev));
	EXPECT_EQ(ENOENT, attach(self->fd, &self->dev[0], nested));
	EXPECT_EQ(0, destroy(self->fd, nested));

	/* Failed attaches hold nothing */
	ASSERT_EQ(0, attach(self->fd, &self->dev[0], self->ioas));
	EXPECT_EQ(0, destroy_these(self->fd, other, viommu, self->viommu,
				   self->parent));
}

TEST_F(viommu, iopf_through_viommu)
{
	struct iommu_hwpt_selftest data = {};
	__u32 fault, fault_fd, nested, vdev;

	ASSERT_EQ(0, err(_test_ioctl_fault_alloc(self->fd, &fault, &fault_fd)));
	ASSERT_EQ(0, err(_test_cmd_hwpt_alloc(self->fd, self->dev[0].id,
					      self->viommu, fault,
					      IOMMU_HWPT_FAULT_ID_VALID,
					      &nested, IOMMU_HWPT_DATA_SELFTEST,
					      &data, sizeof(data))));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id,
				   VIRT_ID, &vdev));
	EXPECT_EQ(EBUSY, destroy(self->fd, fault));
	ASSERT_EQ(0, attach(self->fd, &self->dev[0], nested));
	EXPECT_EQ(0, err(_test_cmd_trigger_iopf(self->fd, self->dev[0].id,
						fault_fd)));
	ASSERT_EQ(0, attach(self->fd, &self->dev[0], self->ioas));
	EXPECT_EQ(0, destroy(self->fd, nested));
	EXPECT_EQ(0, close(fault_fd));
	EXPECT_EQ(0, destroy(self->fd, fault));
}

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

/* An entry of either kind: both begin with the flags */
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

	/* Length and pointer are not looked at */
	EXPECT_EQ(0, invalidate(self->fd, self->id, self->type, NULL, 0, 0,
				&done));
	EXPECT_EQ(0, done);
	EXPECT_EQ(0, invalidate(self->fd, self->id, self->type, NULL, ~0u, 0,
				&done));
	EXPECT_EQ(0, done);
	EXPECT_EQ(0, invalidate(self->fd, self->id, self->type, (void *)1UL, 1,
				0, &done));
	EXPECT_EQ(0, done);

	EXPECT_EQ(EINVAL,
		  invalidate(self->fd, self->id,
			     IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST_INVALID,
			     NULL, 0, 0, &done));
	EXPECT_EQ(0, done);
	EXPECT_EQ(EINVAL, invalidate(self->fd, self->id, 0, NULL, 0, 0, &done));
	EXPECT_EQ(EINVAL,
		  invalidate(self->fd, self->id,
			     IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3, NULL, 0,
			     0, &done));
}

TEST_F(invalidate, bad_arrays)
{
	void *reqs = calloc(1, PAGE_SIZE + self->len);
	const __u32 max = 1u << 19;
	__u32 done;

	EXPECT_EQ(EINVAL,
		  invalidate(self->fd, self->id,
			     IOMMU_VIOMMU_INVALIDATE_DATA_SELFTEST_INVALID,
			     reqs, self->len, 1, &done));
	EXPECT_EQ(0, done);
	EXPECT_EQ(EINVAL, invalidate(self->fd, self->id, self->type, NULL,
				     self->len, 1, &done));
	EXPECT_EQ(0, done);
	EXPECT_EQ(EINVAL, invalidate(self->fd, self->id, self->type, reqs, 0, 1,
				     &done));
	EXPECT_EQ(0, done);
	EXPECT_EQ(EINVAL, invalidate(self->fd, self->id, self->type, reqs,
				     self->min - 1, 1, &done));
	EXPECT_EQ(0, done);
	EXPECT_EQ(EINVAL, invalidate(self->fd, self->id, self->type, reqs,
				     PAGE_SIZE + 1, 1, &done));
	EXPECT_EQ(0, done);
	EXPECT_EQ(EINVAL, invalidate(self->fd, self->id, self->type, reqs,
				     self->len, max + 1, &done));
	EXPECT_EQ(0, done);
	EXPECT_EQ(EINVAL, invalidate(self->fd, self->id, self->type, reqs,
				     self->len, ~0u, &done));
	EXPECT_EQ(0, done);
	free(reqs);
}

/* The most that one call may have, all of which is one page many times over */
TEST_F(invalidate, longest_array)
{
	const __u32 max = 1u << 19;
	void *reqs = make_entries(self->len, max);
	__u32 done;

	ASSERT_NE(NULL, reqs);
	EXPECT_EQ(0, invalidate(self->fd, self->id, self->type, reqs, self->len,
				max, &done));
	EXPECT_EQ(max, done);
	set_flags(reqs, self->len, max - 1, ~0u);
	EXPECT_EQ(EOPNOTSUPP, invalidate(self->fd, self->id, self->type, reqs,
					 self->len, max, &done));
	EXPECT_EQ(max - 1, done);
	free(reqs);
}

/* However long the array, the number tells where it went wrong */
TEST_F(invalidate, truthful_entry_num)
{
	const unsigned int num = 70;
	unsigned int bad;
	__u32 done;

	for (bad = 0; bad < num; bad++) {
		void *reqs = make_entries(self->len, num);

		ASSERT_NE(NULL, reqs);
		/* A flag, ... */
		set_flags(reqs, self->len, bad, 1u << 31);
		EXPECT_EQ(EOPNOTSUPP, invalidate(self->fd, self->id, self->type,
						 reqs, self->len, num, &done));
		EXPECT_EQ(bad, done);
		/* ... the last word, which is the cache or the IOTLB, ... */
		set_flags(reqs, self->len, bad, 0);
		*(__u32 *)((char *)reqs + self->len * (bad + 1) - 4) = 4;
		EXPECT_EQ(EINVAL, invalidate(self->fd, self->id, self->type,
					     reqs, self->len, bad + 1, &done));
		EXPECT_EQ(bad, done);
		free(reqs);
	}
}

TEST_F(invalidate, unreadable_entry)
{
	const unsigned int num = 5;
	char *end = map_guarded(0, PROT_NONE);
	__u32 done;

	/* ... or that the entry cannot be read, wholly or in part */
	EXPECT_EQ(EFAULT, invalidate(self->fd, self->id, self->type,
				     end - num * self->len, self->len, num + 1,
				     &done));
	EXPECT_EQ(num, done);
	EXPECT_EQ(EFAULT, invalidate(self->fd, self->id, self->type,
				     end - num * self->len + 4, self->len, num,
				     &done));
	EXPECT_EQ(num - 1, done);
	EXPECT_EQ(EFAULT, invalidate(self->fd, self->id, self->type, end,
				     self->len, 1, &done));
	EXPECT_EQ(0, done);
	EXPECT_EQ(EFAULT, invalidate(self->fd, self->id, self->type,
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
		EXPECT_EQ(size < sizeof(arg.cmd) ? EINVAL : 0,
			  err(ioctl(self->fd, IOMMU_HWPT_INVALIDATE, &arg)));
	}
	arg.cmd.size = sizeof(arg);
	arg.tail = 1;
	EXPECT_EQ(E2BIG, err(ioctl(self->fd, IOMMU_HWPT_INVALIDATE, &arg)));

	/* The number is written also when it is this that is wrong */
	arg.cmd.size = sizeof(arg.cmd);
	arg.cmd.entry_num = 1;
	arg.cmd.__reserved = 1;
	EXPECT_EQ(EOPNOTSUPP,
		  err(ioctl(self->fd, IOMMU_HWPT_INVALIDATE, &arg)));
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

	EXPECT_EQ(EFAULT, ioctl_readonly(self->fd, IOMMU_HWPT_INVALIDATE, &cmd,
					 sizeof(cmd)));
	cmd.hwpt_id = NO_ID;
	EXPECT_EQ(EFAULT, ioctl_readonly(self->fd, IOMMU_HWPT_INVALIDATE, &cmd,
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
		EXPECT_EQ(ENOENT, invalidate(self->fd, ids[i], self->type, reqs,
					     self->len, 1, &done));
		EXPECT_EQ(0, done);
		/* A probe, too */
		EXPECT_EQ(ENOENT, invalidate(self->fd, ids[i], self->type, NULL,
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
		EXPECT_EQ(EOPNOTSUPP, viommu_invalidate(self->fd, viommu[i],
							&req, 1, &done));
		EXPECT_EQ(0, done);
		/* Whatever the type, and for a probe as well */
		EXPECT_EQ(EOPNOTSUPP, invalidate(self->fd, viommu[i], type,
						 NULL, 0, 0, &done));
		EXPECT_EQ(EOPNOTSUPP, invalidate(self->fd, viommu[i], 0, NULL,
						 0, 0, &done));
		/* What is wrong with the array comes first */
		EXPECT_EQ(EINVAL, invalidate(self->fd, viommu[i], type, NULL,
					     sizeof(req), 1, &done));
		EXPECT_EQ(0, done);
	}

	/* A nested HWPT of such a vIOMMU */
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev[1].id, viommu[1],
				  &nested));
	EXPECT_EQ(EOPNOTSUPP, invalidate(self->fd, nested, type, &req,
					 sizeof(req), 1, &done));
	EXPECT_EQ(0, done);
	EXPECT_EQ(0, destroy_these(self->fd, nested, viommu[1], vdev,
				   viommu[0]));
}

/* One that is wrong in all does what is checked first */
TEST_F(viommu, invalidate_order_of_checks)
{
	struct iommu_viommu_invalidate_selftest req = {
		.flags = 1u << 5,
		.vdev_id = VIRT_ID,
		.cache_id = MOCK_DEV_CACHE_ID_MAX + 1,
	};
	__u32 vdev, done;

	EXPECT_EQ(EOPNOTSUPP,
		  viommu_invalidate(self->fd, self->viommu, &req, 1, &done));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id,
				   VIRT_ID, &vdev));
	req.flags = 0;
	EXPECT_EQ(EINVAL,
		  viommu_invalidate(self->fd, self->viommu, &req, 1, &done));
	/* It is checked even where it does not matter */
	req.flags = IOMMU_TEST_INVALIDATE_FLAG_ALL;
	EXPECT_EQ(EINVAL,
		  viommu_invalidate(self->fd, self->viommu, &req, 1, &done));
	EXPECT_TRUE(caches_are(self->fd, self->dev[0].id, DIRTY));
	req.cache_id = MOCK_DEV_CACHE_ID_MAX;
	EXPECT_EQ(0,
		  viommu_invalidate(self->fd, self->viommu, &req, 1, &done));
	EXPECT_TRUE(caches_are(self->fd, self->dev[0].id, CLEAN));
}

/* What an invalidation reaches is what was asked for, up to the error */
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

	/* The third is nobody's */
	EXPECT_EQ(EINVAL,
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

TEST_F(viommu, check_cache)
{
	EXPECT_TRUE(caches_are(self->fd, self->dev[0].id, DIRTY));
	EXPECT_EQ(EINVAL, err(_test_cmd_dev_check_cache(self->fd,
							self->dev[0].id, 0,
							CLEAN)));
	EXPECT_EQ(EINVAL, err(_test_cmd_dev_check_cache(self->fd,
							self->dev[0].id,
							MOCK_DEV_CACHE_NUM,
							DIRTY)));
	EXPECT_EQ(EINVAL, err(_test_cmd_dev_check_cache(self->fd,
							self->dev[0].id, ~0u,
							DIRTY)));
	EXPECT_EQ(ENOENT, err(_test_cmd_dev_check_cache(self->fd, NO_ID, 0,
							DIRTY)));
	EXPECT_EQ(ENOENT, err(_test_cmd_dev_check_cache(self->fd, self->viommu,
							0, DIRTY)));
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

	/* Without the flag any type will do */
	cmd.in_data_type = IOMMU_HW_INFO_TYPE_ARM_SMMUV3;
	EXPECT_EQ(0, err(ioctl(self->fd, IOMMU_GET_HW_INFO, &cmd)));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_SELFTEST, cmd.out_data_type);

	/* With it, what it is and the default */
	cmd.flags = IOMMU_HW_INFO_FLAG_INPUT_TYPE;
	EXPECT_EQ(0, err(ioctl(self->fd, IOMMU_GET_HW_INFO, &cmd)));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_SELFTEST, cmd.out_data_type);
	cmd.in_data_type = IOMMU_HW_INFO_TYPE_DEFAULT;
	info.test_reg = 0;
	EXPECT_EQ(0, err(ioctl(self->fd, IOMMU_GET_HW_INFO, &cmd)));
	EXPECT_EQ(IOMMU_HW_INFO_TYPE_SELFTEST, cmd.out_data_type);
	EXPECT_EQ(IOMMU_HW_INFO_SELFTEST_REGVAL, info.test_reg);
	EXPECT_EQ(sizeof(info), cmd.data_len);

	/* It is about PCI devices alone */
	EXPECT_EQ(0, cmd.out_capabilities & IOMMU_HW_CAP_PCI_ATS_NOT_SUPPORTED);

	/* Nothing of it is written for another one */
	info.test_reg = 0x5a5a5a5a;
	cmd.in_data_type = IOMMU_HW_INFO_TYPE_ARM_SMMUV3;
	EXPECT_EQ(EOPNOTSUPP, err(ioctl(self->fd, IOMMU_GET_HW_INFO, &cmd)));
	cmd.in_data_type = IOMMU_HW_INFO_TYPE_SELFTEST + 1;
	EXPECT_EQ(EOPNOTSUPP, err(ioctl(self->fd, IOMMU_GET_HW_INFO, &cmd)));
	EXPECT_EQ(0x5a5a5a5a, info.test_reg);

	cmd.in_data_type = IOMMU_HW_INFO_TYPE_DEFAULT;
	for (i = 1; i < 32; i++) {
		cmd.flags = 1u << i;
		EXPECT_EQ(EOPNOTSUPP,
			  err(ioctl(self->fd, IOMMU_GET_HW_INFO, &cmd)));
	}
	cmd.flags = IOMMU_HW_INFO_FLAG_INPUT_TYPE;
	for (i = 0; i < sizeof(cmd.__reserved); i++) {
		memset(cmd.__reserved, 0, sizeof(cmd.__reserved));
		cmd.__reserved[i] = 1;
		EXPECT_EQ(EOPNOTSUPP,
			  err(ioctl(self->fd, IOMMU_GET_HW_INFO, &cmd)));
	}
	memset(cmd.__reserved, 0, sizeof(cmd.__reserved));
	cmd.dev_id = self->viommu;
	EXPECT_EQ(ENOENT, err(ioctl(self->fd, IOMMU_GET_HW_INFO, &cmd)));
}

/*
 * The regions that a device reserves in the IOAS it is attached to. A replace
 * that fails must leave them: else the VMM could map memory where it says that
 * DMA does not get to memory.
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

/* The first page of the region and its last one */
static bool is_reserved(int fd, __u32 ioas)
{
	return map_at(fd, ioas, MOCK_RESV_START) == EINVAL &&
	       map_at(fd, ioas, MOCK_RESV_START + MOCK_RESV_LENGTH -
				PAGE_SIZE) == EINVAL;
}

static bool is_free(int fd, __u32 ioas)
{
	return !map_at(fd, ioas, MOCK_RESV_START) &&
	       !err(_test_ioctl_ioas_unmap(fd, ioas, MOCK_RESV_START, PAGE_SIZE,
					   NULL));
}

TEST_F(reserved, by_attachment)
{
	EXPECT_TRUE(is_reserved(self->fd, self->ioas[0]));
	EXPECT_TRUE(is_free(self->fd, self->ioas[1]));
	/* Reserved is the region and no more */
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

/* H4: the same IOAS, the attachment that stays needs them */
TEST_F(reserved, failed_replace_same_ioas)
{
	EXPECT_EQ(EINVAL, attach(self->fd, &self->dev, self->dirty));
	EXPECT_TRUE(is_reserved(self->fd, self->ioas[0]));
	EXPECT_EQ(EINVAL, attach(self->fd, &self->dev, self->dirty));
	EXPECT_TRUE(is_reserved(self->fd, self->ioas[0]));

	/* And they are given back when it is time */
	ASSERT_EQ(0, attach(self->fd, &self->dev, self->ioas[1]));
	EXPECT_TRUE(is_free(self->fd, self->ioas[0]));
	EXPECT_TRUE(is_reserved(self->fd, self->ioas[1]));
}

/* Another IOAS: it is the new regions that have to go */
TEST_F(reserved, failed_replace_other_ioas)
{
	__u32 dirty;

	ASSERT_EQ(0, hwpt_alloc(self->fd, self->other.id, self->ioas[1],
				IOMMU_HWPT_ALLOC_DIRTY_TRACKING, &dirty));
	EXPECT_EQ(EINVAL, attach(self->fd, &self->dev, dirty));
	EXPECT_TRUE(is_reserved(self->fd, self->ioas[0]));
	EXPECT_TRUE(is_free(self->fd, self->ioas[1]));
}

/* To a nested domain that the device may not have */
TEST_F(reserved, failed_replace_to_nested)
{
	__u32 viommu, nested, parent;

	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev.id, self->parent,
				  &viommu));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev.id, viommu, &nested));
	EXPECT_EQ(ENOENT, attach(self->fd, &self->dev, nested));
	EXPECT_TRUE(is_reserved(self->fd, self->ioas[0]));

	ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev.id, self->ioas[1],
				IOMMU_HWPT_ALLOC_NEST_PARENT, &parent));
	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev.id, parent, &viommu));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev.id, viommu, &nested));
	EXPECT_EQ(ENOENT, attach(self->fd, &self->dev, nested));
	EXPECT_TRUE(is_reserved(self->fd, self->ioas[0]));
	EXPECT_TRUE(is_free(self->fd, self->ioas[1]));
}

/* Memory that has to be waited for: a page that a thread of ours provides */
struct slow_page {
	int uffd;
	void *page;
	/* Only a write has to wait */
	bool write;
};

/* Return: 0, or -1 and errno */
static int slow_page_init(struct slow_page *slow, bool write)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = write ? UFFD_FEATURE_PAGEFAULT_FLAG_WP : 0,
	};
	struct uffdio_register reg;

	slow->write = write;
	slow->uffd = syscall(SYS_userfaultfd, O_CLOEXEC);
	if (slow->uffd < 0)
		return -1;
	slow->page = mmap(NULL, PAGE_SIZE, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert(slow->page != MAP_FAILED);
	if (ioctl(slow->uffd, UFFDIO_API, &api))
		return -1;
	reg = (struct uffdio_register){
		.range = { (uintptr_t)slow->page, PAGE_SIZE },
		.mode = write ? UFFDIO_REGISTER_MODE_WP :
				UFFDIO_REGISTER_MODE_MISSING,
	};
	return ioctl(slow->uffd, UFFDIO_REGISTER, &reg);
}

/* From here on a write has to wait; what is there can be read */
static void slow_page_protect(struct slow_page *slow)
{
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)slow->page, PAGE_SIZE },
		.mode = UFFDIO_WRITEPROTECT_MODE_WP,
	};

	assert(!ioctl(slow->uffd, UFFDIO_WRITEPROTECT, &wp));
}

/* Wait until somebody waits for the page */
static void slow_page_wait(struct slow_page *slow)
{
	struct uffd_msg msg;

	assert(read(slow->uffd, &msg, sizeof(msg)) == sizeof(msg));
	assert(msg.event == UFFD_EVENT_PAGEFAULT);
}

static void slow_page_provide(struct slow_page *slow)
{
	struct uffdio_writeprotect wp = {
		.range = { (uintptr_t)slow->page, PAGE_SIZE },
	};
	struct uffdio_zeropage zero = {
		.range = { (uintptr_t)slow->page, PAGE_SIZE },
	};

	if (slow->write)
		assert(!ioctl(slow->uffd, UFFDIO_WRITEPROTECT, &wp));
	else
		assert(!ioctl(slow->uffd, UFFDIO_ZEROPAGE, &zero));
}

/* An ioctl in a thread of its own */
struct call {
	pthread_t thread;
	int fd;
	unsigned long cmd;
	void *arg;
	int rc;
	double took;
};

static void *call_thread(void *arg)
{
	struct call *call = arg;
	double start = now();

	call->rc = err(ioctl(call->fd, call->cmd, call->arg));
	call->took = now() - start;
	return NULL;
}

static void call_start(struct call *call, int fd, unsigned long cmd, void *arg)
{
	*call = (struct call){ .fd = fd, .cmd = cmd, .arg = arg };
	assert(!pthread_create(&call->thread, NULL, call_thread, call));
}

static int call_join(struct call *call)
{
	assert(!pthread_join(call->thread, NULL));
	return call->rc;
}

/*
 * A device is unbound while an ioctl uses it: the unbind has to wait for the
 * ioctl, but not for longer.
 */
TEST_F_TIMEOUT(viommu, unbind_while_device_in_use, 100)
{
	struct iommu_destroy unplug = {
		.size = sizeof(unplug),
		.id = self->dev[0].stdev,
	};
	struct iommu_hw_info info = {
		.size = sizeof(info),
		.dev_id = self->dev[0].id,
		.data_len = sizeof(struct iommu_test_hw_info),
	};
	struct call user, unbind;
	struct slow_page slow;
	__u32 vdev;

	if (slow_page_init(&slow, false))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id,
				   VIRT_ID, &vdev));
	info.data_uptr = (uintptr_t)slow.page;
	call_start(&user, self->fd, IOMMU_GET_HW_INFO, &info);
	slow_page_wait(&slow);
	call_start(&unbind, self->fd, IOMMU_DESTROY, &unplug);
	usleep(500000);
	slow_page_provide(&slow);

	EXPECT_EQ(0, call_join(&user));
	EXPECT_EQ(0, call_join(&unbind));
	EXPECT_LT(0.3, unbind.took);
	EXPECT_LT(unbind.took, 5);
	EXPECT_EQ(ENOENT, destroy(self->fd, vdev));
}

/* Nobody can use, or take away, what the caller has not been told of (H18) */
TEST_F(viommu, viommu_alloc_slow_answer)
{
	struct iommu_viommu_alloc *cmd;
	struct slow_page slow;
	struct call call;
	__u32 next = self->viommu + 1, id;

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

	EXPECT_EQ(ENOENT, destroy(self->fd, next));
	EXPECT_EQ(ENOENT, vdevice_alloc(self->fd, next, self->dev[0].id, 0,
					&id));
	EXPECT_EQ(ENOENT, viommu_invalidate_dev(self->fd, next, 0));
	/* The rest of the fd does not wait */
	EXPECT_EQ(0, viommu_alloc(self->fd, self->dev[0].id, self->parent,
				  &id));
	EXPECT_EQ(0, destroy(self->fd, id));

	slow_page_provide(&slow);
	EXPECT_EQ(0, call_join(&call));
	EXPECT_EQ(next, cmd->out_viommu_id);
	EXPECT_EQ(0, destroy(self->fd, next));
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

	EXPECT_EQ(ENOENT, destroy(self->fd, next));
	EXPECT_EQ(EINVAL, viommu_invalidate_dev(self->fd, self->viommu,
						VIRT_ID));
	/* Other devices, and the device itself, do not wait */
	EXPECT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[1].id, 0,
				   &id));
	start = now();
	EXPECT_EQ(0, destroy(self->fd, self->dev[0].stdev));
	EXPECT_LT(now() - start, 5);

	slow_page_provide(&slow);
	EXPECT_EQ(ENOENT, call_join(&call));
	EXPECT_EQ(0, destroy_these(self->fd, id, self->viommu));
}

/*
 * Threads that work against each other for a while. A worker gives back how
 * often it got which errno; what may be among that is up to the test.
 */
#define MAX_ERRNO	133

struct stress {
	int fd;
	__u32 ioas;
	__u32 parent;
	atomic_uint viommu;
	__u32 nested[2];
	struct mock dev;
	/* A device that comes and goes, 0 while there is none */
	atomic_uint guest;
	/* Another fd for each round */
	int round_fd;
	atomic_bool stop;
};

struct worker {
	pthread_t thread;
	struct stress *stress;
	void (*once)(struct worker *worker);
	unsigned long rounds;
	unsigned long got[MAX_ERRNO];
	unsigned int seed;
};

static void got(struct worker *worker, int rc)
{
	worker->got[rc < MAX_ERRNO ? rc : MAX_ERRNO - 1]++;
}

/* Did it get anything else than these? */
#define got_only(worker, ...)                                           \
	({                                                              \
		static const int __ok[] = { __VA_ARGS__ };              \
		__got_only(worker, __ok, ARRAY_SIZE(__ok)); \
	})
static bool __got_only(const struct worker *worker, const int *ok, size_t num)
{
	bool only = true;
	size_t j;
	int i;

	for (i = 0; i < MAX_ERRNO; i++) {
		if (!worker->got[i])
			continue;
		for (j = 0; j < num && ok[j] != i; j++)
			;
		if (j == num) {
			printf("# %lu times %s\n", worker->got[i], strerror(i));
			only = false;
		}
	}
	return only;
}

static void *worker_thread(void *arg)
{
	struct worker *worker = arg;

	while (!worker->stress->stop) {
		worker->once(worker);
		worker->rounds++;
	}
	return NULL;
}

static void run_workers(struct stress *stress, struct worker *workers,
			unsigned int num, double seconds)
{
	unsigned int i;

	stress->stop = false;
	for (i = 0; i < num; i++) {
		workers[i].stress = stress;
		workers[i].seed = i + 1;
		assert(!pthread_create(&workers[i].thread, NULL, worker_thread,
				       &workers[i]));
	}
	usleep(seconds * 1e6);
	stress->stop = true;
	for (i = 0; i < num; i++)
		assert(!pthread_join(workers[i].thread, NULL));
}

static void some_time(struct worker *worker, unsigned int max_us)
{
	usleep(rand_r(&worker->seed) % max_us);
}

static void do_vdevice(struct worker *worker)
{
	struct stress *s = worker->stress;
	__u32 vdev = 0;
	int rc;

	rc = vdevice_alloc(s->fd, s->viommu, s->guest, VIRT_ID, &vdev);
	got(worker, rc);
	if (!rc)
		got(worker, destroy(s->fd, vdev));
}

static void do_plug(struct worker *worker)
{
	struct stress *s = worker->stress;
	struct mock dev;
	int rc;

	rc = plug(s->fd, s->ioas, 0, &dev);
	got(worker, rc);
	if (rc)
		return;
	s->guest = dev.id;
	some_time(worker, 3000);
	got(worker, destroy(s->fd, dev.stdev));
}

/* Unplugging a device against making and destroying its vDEVICE */
TEST_F(viommu, race_vdevice_unbind)
{
	struct stress stress = {
		.fd = self->fd,
		.ioas = self->ioas,
		.viommu = self->viommu,
	};
	struct worker workers[] = { { .once = do_plug },
				    { .once = do_vdevice },
				    { .once = do_vdevice } };

	run_workers(&stress, workers, 3, STRESS_SECONDS);
	EXPECT_TRUE(got_only(&workers[0], 0));
	EXPECT_TRUE(got_only(&workers[1], 0, ENOENT, EEXIST));
	EXPECT_TRUE(got_only(&workers[2], 0, ENOENT, EEXIST));
	EXPECT_LT(0, workers[0].rounds);
	EXPECT_LT(0, workers[1].got[0] + workers[2].got[0]);
	/* Nothing is left that holds it */
	EXPECT_EQ(0, destroy_these(self->fd, self->viommu, self->parent));
}

/* A vDEVICE is destroyed by its ID and with its device at the same time */
TEST_F(viommu, race_vdevice_destroyed_twice)
{
	struct iommu_destroy by_id = { .size = sizeof(by_id) };
	struct iommu_destroy unplug = { .size = sizeof(unplug) };
	unsigned int by_device = 0, i;
	struct call a, b;
	struct mock dev;
	double end = now() + STRESS_SECONDS;

	for (i = 0; now() < end; i++) {
		ASSERT_EQ(0, plug(self->fd, self->ioas, 0, &dev));
		ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, dev.id,
					   VIRT_ID, &by_id.id));
		unplug.id = dev.stdev;
		if (i & 1) {
			call_start(&a, self->fd, IOMMU_DESTROY, &by_id);
			call_start(&b, self->fd, IOMMU_DESTROY, &unplug);
		} else {
			call_start(&b, self->fd, IOMMU_DESTROY, &unplug);
			call_start(&a, self->fd, IOMMU_DESTROY, &by_id);
		}
		if (call_join(&a)) {
			ASSERT_EQ(ENOENT, a.rc);
			by_device++;
		}
		ASSERT_EQ(0, call_join(&b));
		ASSERT_EQ(ENOENT, destroy(self->fd, by_id.id));
	}
	TH_LOG("%u rounds, %u by the device", i, by_device);
	EXPECT_EQ(0, destroy_these(self->fd, self->viommu, self->parent));
}

/* Of all who destroy an object exactly one has done it */
static int destroy_by_two(struct __test_metadata *_metadata, int fd, __u32 id)
{
	struct iommu_destroy cmd = { .size = sizeof(cmd), .id = id };
	struct call a, b;

	call_start(&a, fd, IOMMU_DESTROY, &cmd);
	call_start(&b, fd, IOMMU_DESTROY, &cmd);
	call_join(&a);
	call_join(&b);
	EXPECT_EQ(1, !a.rc + !b.rc);
	EXPECT_EQ(ENOENT, a.rc ?: b.rc);
	return a.rc && b.rc ? EIO : 0;
}

TEST_F(viommu, race_destroy_one_id)
{
	double end = now() + STRESS_SECONDS;
	__u32 viommu, vdev, nested;

	while (now() < end) {
		ASSERT_EQ(0, viommu_alloc(self->fd, self->dev[0].id,
					  self->parent, &viommu));
		ASSERT_EQ(0, vdevice_alloc(self->fd, viommu, self->dev[0].id,
					   VIRT_ID, &vdev));
		ASSERT_EQ(0, nested_alloc(self->fd, self->dev[0].id, viommu,
					  &nested));
		ASSERT_EQ(0, destroy_by_two(_metadata, self->fd, nested));
		ASSERT_EQ(0, destroy_by_two(_metadata, self->fd, vdev));
		ASSERT_EQ(0, destroy_by_two(_metadata, self->fd, viommu));
	}
	EXPECT_EQ(0, destroy_these(self->fd, self->viommu, self->parent));
}

static void do_invalidate_slowly(struct worker *worker)
{
	struct iommu_viommu_invalidate_selftest req = {
		.flags = IOMMU_TEST_INVALIDATE_FLAG_SLOW,
		.vdev_id = VIRT_ID,
	};
	struct stress *s = worker->stress;
	__u32 done;
	int rc;

	rc = viommu_invalidate(s->fd, s->viommu, &req, 1, &done);
	got(worker, rc);
	if (done != !rc)
		got(worker, EPROTO);
}

/*
 * Once a vDEVICE is gone no invalidation on its vIOMMU reaches the device, which
 * may be another VM's by then; also none that has begun before.
 */
TEST_F(viommu, race_invalidate_vdevice_destroy)
{
	struct stress stress = { .fd = self->fd, .viommu = self->viommu };
	struct worker workers[] = { { .once = do_invalidate_slowly },
				    { .once = do_invalidate_slowly } };
	double end = now() + STRESS_SECONDS;
	unsigned int reached = 0, i;
	unsigned int seed = 1;
	struct mock dev;
	__u32 vdev;
	bool clean;

	for (i = 0; i < 2; i++) {
		workers[i].stress = &stress;
		ASSERT_EQ(0, pthread_create(&workers[i].thread, NULL,
					    worker_thread, &workers[i]));
	}
	for (i = 0; now() < end; i++) {
		ASSERT_EQ(0, plug(self->fd, self->ioas, 0, &dev));
		ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, dev.id,
					   VIRT_ID, &vdev));
		usleep(rand_r(&seed) % 1000);
		/* Once this way, once that way */
		if (i & 1) {
			ASSERT_EQ(0, destroy(self->fd, vdev));
			clean = cache_is(self->fd, dev.id, 0, CLEAN);
			usleep(1500);
			ASSERT_EQ(clean,
				  cache_is(self->fd, dev.id, 0, CLEAN));
			reached += clean;
		}
		ASSERT_EQ(0, destroy(self->fd, dev.stdev));
	}
	stress.stop = true;
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(workers[i].thread, NULL));
		EXPECT_TRUE(got_only(&workers[i], 0, EINVAL));
	}
	/* Else it was not a race */
	EXPECT_LT(0, reached);
	EXPECT_EQ(0, destroy_these(self->fd, self->viommu, self->parent));
}

static void do_replace(struct worker *worker)
{
	struct stress *s = worker->stress;
	const __u32 to[] = { s->nested[0], s->parent, s->nested[1], s->ioas };

	got(worker, attach(s->fd, &s->dev, to[worker->rounds % 4]));
}

static void do_invalidate(struct worker *worker)
{
	struct iommu_hwpt_invalidate_selftest reqs[8] = {};
	struct stress *s = worker->stress;
	__u32 done;

	got(worker, viommu_invalidate_dev(s->fd, s->viommu, VIRT_ID));
	got(worker, invalidate(s->fd, s->nested[worker->rounds % 2],
			       IOMMU_HWPT_INVALIDATE_DATA_SELFTEST, reqs,
			       sizeof(reqs[0]), 8, &done));
	if (done != 8)
		got(worker, EPROTO);
}

static void do_map_unmap(struct worker *worker)
{
	struct stress *s = worker->stress;
	unsigned int i;

	for (i = 0; i < 8; i++)
		got(worker, map_at(s->fd, s->ioas,
				   MOCK_APERTURE_START + i * PAGE_SIZE));
	got(worker, err(_test_ioctl_ioas_unmap(s->fd, s->ioas, 0, UINT64_MAX,
					       NULL)));
}

/* Attaching to and fro while the stage 2 below changes and caches are flushed */
TEST_F(viommu, race_replace)
{
	struct stress stress = {
		.fd = self->fd,
		.ioas = self->ioas,
		.parent = self->parent,
		.viommu = self->viommu,
		.dev = self->dev[0],
	};
	struct worker workers[] = { { .once = do_replace },
				    { .once = do_invalidate },
				    { .once = do_map_unmap } };
	__u32 vdev = 0;
	unsigned int i;

	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu, self->dev[0].id,
				   VIRT_ID, &vdev));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev[0].id, self->viommu,
				  &stress.nested[0]));
	ASSERT_EQ(0, nested_alloc(self->fd, self->dev[0].id, self->viommu,
				  &stress.nested[1]));
	run_workers(&stress, workers, 3, STRESS_SECONDS);
	for (i = 0; i < 3; i++) {
		EXPECT_TRUE(got_only(&workers[i], 0));
		EXPECT_LT(0, workers[i].rounds);
	}
	ASSERT_EQ(0, attach(self->fd, &self->dev[0], self->ioas));
	EXPECT_EQ(0, destroy_these(self->fd, stress.nested[0],
				   stress.nested[1], vdev, self->viommu,
				   self->parent));
}

/* While the vDEVICE that an attach asks for comes and goes */
TEST_F(viommu, race_replace_vdevice)
{
	struct stress stress = {
		.fd = self->fd,
		.ioas = self->ioas,
		.parent = self->parent,
		.viommu = self->viommu,
		.dev = self->dev[0],
		.guest = self->dev[0].id,
	};
	struct worker workers[] = { { .once = do_replace },
				    { .once = do_vdevice } };
	unsigned int i;

	for (i = 0; i < 2; i++)
		ASSERT_EQ(0, nested_alloc(self->fd, self->dev[0].id,
					  self->viommu, &stress.nested[i]));
	run_workers(&stress, workers, 2, STRESS_SECONDS);
	EXPECT_TRUE(got_only(&workers[0], 0, ENOENT));
	EXPECT_TRUE(got_only(&workers[1], 0));
	ASSERT_EQ(0, attach(self->fd, &self->dev[0], self->ioas));
	EXPECT_EQ(0, destroy_these(self->fd, stress.nested[0],
				   stress.nested[1], self->viommu,
				   self->parent));
}

static void do_vdevice_round(struct worker *worker)
{
	struct stress *s = worker->stress;
	int fd = s->round_fd;
	__u32 vdev = 0;
	int rc;

	rc = vdevice_alloc(fd, s->viommu, s->guest, VIRT_ID, &vdev);
	got(worker, rc);
	if (!rc && (worker->rounds & 1))
		got(worker, destroy(fd, vdev));
	got(worker, viommu_invalidate_dev(fd, s->viommu, VIRT_ID));
}

/*
 * The fd is closed under those who use it. The number is one that nothing else
 * gets, for what they do then must not hit another file.
 */
TEST_F(viommu, race_close)
{
	struct stress stress = { .round_fd = 500 };
	struct worker workers[] = { { .once = do_vdevice_round },
				    { .once = do_vdevice_round } };
	double end = now() + STRESS_SECONDS;
	unsigned int rounds, i;

	for (i = 0; i < 2; i++) {
		workers[i].stress = &stress;
		ASSERT_EQ(0, pthread_create(&workers[i].thread, NULL,
					    worker_thread, &workers[i]));
	}
	for (rounds = 0; now() < end; rounds++) {
		__u32 ioas, parent, viommu;
		struct mock dev;
		int fd;

		fd = open("/dev/iommu", O_RDWR);
		ASSERT_NE(-1, fd);
		ASSERT_EQ(0, ioas_alloc(fd, &ioas));
		ASSERT_EQ(0, plug(fd, ioas, 0, &dev));
		ASSERT_EQ(0, hwpt_alloc(fd, dev.id, ioas,
					IOMMU_HWPT_ALLOC_NEST_PARENT, &parent));
		ASSERT_EQ(0, viommu_alloc(fd, dev.id, parent, &viommu));
		stress.viommu = viommu;
		stress.guest = dev.id;
		ASSERT_EQ(500, dup2(fd, 500));
		ASSERT_EQ(0, close(fd));
		usleep(1000);
		ASSERT_EQ(0, close(500));
	}
	stress.stop = true;
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(workers[i].thread, NULL));
		EXPECT_TRUE(got_only(&workers[i], 0, EBADF, ENOENT, EEXIST,
				     EINVAL));
		EXPECT_LT(0, workers[i].got[0]);
	}
	EXPECT_LT(0, rounds);
}

TEST_HARNESS_MAIN
