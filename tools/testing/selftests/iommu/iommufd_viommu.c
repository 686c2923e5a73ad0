// SPDX-License-Identifier: GPL-2.0-only
/*
 * vIOMMUs, vDEVICEs, nested HWPTs on them, their events and their page faults,
 * against the mock IOMMU driver.
 *
 * First come the calls one by one with every error they can give, then what an
 * object holds and what goes away with it, then memory that faults, and in the
 * end threads that work against each other. What the SMMUv3 makes of all that is
 * the matter of smmuv3_nesting.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/resource.h>
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

/* Page faults are read from *faults */
static int fault_alloc(int fd, __u32 *fault_id, int *faults)
{
	__u32 faults_fd = -1;
	int rc;

	*fault_id = 0;
	rc = err(_test_ioctl_fault_alloc(fd, fault_id, &faults_fd));
	*faults = rc ? -1 : (int)faults_fd;
	return rc;
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

/* A refused attach changes nothing, whatever became of what allowed the last */
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
	EXPECT_EQ(ENOENT, attach(self->fd, &self->dev[0], again));
	EXPECT_EQ(EBUSY, destroy(self->fd, nested));
	EXPECT_EQ(0, destroy(self->fd, again));
	EXPECT_EQ(0, attach(self->fd, &self->dev[0], self->parent));
	EXPECT_EQ(ENOENT, attach(self->fd, &self->dev[0], nested));
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
	__u32 fault, nested, vdev;
	int fault_fd;

	ASSERT_EQ(0, fault_alloc(self->fd, &fault, &fault_fd));
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

/* Return: whether it comes back in that time. call_join() has to follow if not */
static bool call_join_within(struct call *call, unsigned int seconds)
{
	struct timespec end;

	assert(!clock_gettime(CLOCK_REALTIME, &end));
	end.tv_sec += seconds;
	return !pthread_timedjoin_np(call->thread, NULL, &end);
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

/*
 * HWPT_ALLOC has the IOAS for itself, also while it fills the new HWPT with all
 * that is mapped there. A replace between two HWPTs that are there need not wait.
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
	soon = call_join_within(&attaching, 5);
	EXPECT_TRUE(soon);
	slow_page_provide(&slow);
	if (!soon)
		call_join(&attaching);
	EXPECT_EQ(0, attaching.rc);
	EXPECT_EQ(0, call_join(&alloc));
}

/* Nobody can use, or take away, what the caller has not been told of (H18) */
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

	EXPECT_EQ(ENOENT, destroy(self->fd, next));
	EXPECT_EQ(ENOENT, vdevice_alloc(self->fd, next, self->dev[0].id, 0,
					&id));
	EXPECT_EQ(ENOENT, viommu_invalidate_dev(self->fd, next, 0));
	/* The rest of the fd does not wait */
	EXPECT_EQ(0, viommu_alloc(self->fd, self->dev[0].id, self->parent,
				  &id));
	EXPECT_EQ(0, destroy(self->fd, id));
	/* Nor does the device */
	start = now();
	EXPECT_EQ(0, destroy(self->fd, self->dev[0].stdev));
	EXPECT_LT(now() - start, 5);

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
 * Events of a vIOMMU. A guest, as far as it matters to a VMM: a device that is
 * attached through a vIOMMU, whose ID is VIRT_ID there, and a queue.
 */
struct guest {
	int fd;
	__u32 ioas;
	struct mock dev;
	__u32 parent;
	__u32 viommu;
	__u32 vdev;
	__u32 nested;
	__u32 queue;
	int events;
};

/* An event as it is read, or a header alone */
struct event {
	struct iommufd_vevent_header header;
	struct iommu_viommu_event_selftest data;
};

#define LOST	IOMMU_VEVENTQ_FLAG_LOST_EVENTS
#define DEPTH	16
/* Where another call goes on although one waits, seconds that it may take */
#define SOON	5

static int veventq_alloc(int fd, __u32 viommu_id, __u32 depth, __u32 *queue,
			 int *events)
{
	__u32 events_fd = -1;
	int rc;

	*queue = 0;
	rc = err(_test_ioctl_veventq_alloc(fd, viommu_id,
					   IOMMU_VEVENTQ_TYPE_SELFTEST, depth,
					   queue, &events_fd));
	*events = rc ? -1 : (int)events_fd;
	return rc;
}

static int trigger(int fd, __u32 dev_id)
{
	return err(_test_cmd_trigger_vevent(fd, dev_id, 0, 0));
}

static int trigger_some(const struct guest *guest, unsigned int num)
{
	int rc = 0;

	while (!rc && num--)
		rc = trigger(guest->fd, guest->dev.id);
	return rc;
}

static int trigger_lost(const struct guest *guest)
{
	return err(_test_cmd_trigger_vevent(guest->fd, guest->dev.id,
					    IOMMU_TEST_VEVENT_FLAG_LOST, 0));
}

static int set_sequence(const struct guest *guest, __u32 sequence)
{
	return err(_test_cmd_trigger_vevent(guest->fd, guest->dev.id,
					    IOMMU_TEST_VEVENT_FLAG_SEQUENCE,
					    sequence));
}

/* Return: 0 if that was read to the byte, else the errno or EPROTO */
static int read_len(int fd, void *buf, size_t count, ssize_t len)
{
	ssize_t rc = read(fd, buf, count);

	if (rc < 0)
		return errno;
	return rc == len ? 0 : EPROTO;
}

/* Is this the next one? */
static int read_event_of(int fd, __u32 virt_id, __u32 sequence)
{
	struct event event = { .header.flags = ~0u };
	int rc = read_len(fd, &event, sizeof(event), sizeof(event));

	if (rc)
		return rc;
	return event.header.flags || event.header.sequence != sequence ||
			       event.data.virt_id != virt_id ?
		       EPROTO :
		       0;
}

static int read_event(int fd, __u32 sequence)
{
	return read_event_of(fd, VIRT_ID, sequence);
}

static int read_lost(int fd, __u32 sequence)
{
	struct event event = { .data.virt_id = ~0u };
	int rc = read_len(fd, &event, sizeof(event), sizeof(event.header));

	if (rc)
		return rc;
	return event.header.flags != LOST ||
			       event.header.sequence != sequence ||
			       event.data.virt_id != ~0u ?
		       EPROTO :
		       0;
}

static int read_empty(int fd)
{
	struct event event;

	return read_len(fd, &event, sizeof(event), 0);
}

/* What poll() says, for how long it takes to say it */
static int events_of(int fd, int timeout)
{
	struct pollfd pollfd = { .fd = fd, .events = POLLIN | POLLPRI };

	return poll(&pollfd, 1, timeout) < 0 ? -errno : pollfd.revents;
}

static int guest_init(struct guest *guest, __u32 dev_flags)
{
	int rc;

	memset(guest, 0, sizeof(*guest));
	guest->fd = open("/dev/iommu", O_RDWR);
	if (guest->fd < 0)
		return errno;
	rc = ioas_alloc(guest->fd, &guest->ioas);
	if (rc)
		return rc;
	rc = plug(guest->fd, guest->ioas, dev_flags, &guest->dev);
	if (rc)
		return rc;
	rc = hwpt_alloc(guest->fd, guest->dev.id, guest->ioas,
			IOMMU_HWPT_ALLOC_NEST_PARENT, &guest->parent);
	if (rc)
		return rc;
	rc = viommu_alloc(guest->fd, guest->dev.id, guest->parent,
			  &guest->viommu);
	if (rc)
		return rc;
	rc = vdevice_alloc(guest->fd, guest->viommu, guest->dev.id, VIRT_ID,
			   &guest->vdev);
	if (rc)
		return rc;
	rc = nested_alloc(guest->fd, guest->dev.id, guest->viommu,
			  &guest->nested);
	if (rc)
		return rc;
	return attach(guest->fd, &guest->dev, guest->nested);
}

static int guest_get_queue(struct guest *guest, __u32 depth)
{
	return veventq_alloc(guest->fd, guest->viommu, depth, &guest->queue,
			     &guest->events);
}

/* What a VMM with a queue does, none of which may wait for another VMM */
static int guest_works(struct guest *guest)
{
	const int fd = guest->fd;
	double start = now();
	struct event event;
	int rc;

	rc = attach(fd, &guest->dev, guest->ioas);
	if (!rc)
		rc = trigger(fd, guest->dev.id) == ENOENT ? 0 : EPROTO;
	if (!rc)
		rc = attach(fd, &guest->dev, guest->nested);
	if (!rc)
		rc = trigger(fd, guest->dev.id);
	if (!rc)
		rc = read_len(guest->events, &event, sizeof(event),
			      sizeof(event));
	if (!rc)
		rc = destroy(fd, guest->vdev);
	if (!rc)
		rc = vdevice_alloc(fd, guest->viommu, guest->dev.id, VIRT_ID,
				   &guest->vdev);
	if (!rc)
		rc = read_empty(guest->events);
	return rc ?: now() - start < SOON ? 0 : ETIME;
}

FIXTURE(veventq)
{
	struct guest guest;
	int fd;
};

FIXTURE_SETUP(veventq)
{
	ASSERT_EQ(0, guest_init(&self->guest, 0));
	self->fd = self->guest.fd;
}

FIXTURE_TEARDOWN(veventq)
{
	teardown_iommufd(self->guest.fd, _metadata);
}

TEST_F(veventq, numbers_and_layouts)
{
	EXPECT_EQ(0x3b93, IOMMU_VEVENTQ_ALLOC);
	EXPECT_EQ(32, sizeof(struct iommu_veventq_alloc));
	EXPECT_EQ(16, offsetof(struct iommu_veventq_alloc, veventq_depth));
	EXPECT_EQ(28, offsetofend(struct iommu_veventq_alloc, out_veventq_fd));
	EXPECT_EQ(0, IOMMU_VEVENTQ_TYPE_DEFAULT);
	EXPECT_EQ(1, IOMMU_VEVENTQ_TYPE_ARM_SMMUV3);
	EXPECT_EQ(1, IOMMU_VEVENTQ_FLAG_LOST_EVENTS);
	EXPECT_EQ(8, sizeof(struct iommufd_vevent_header));
	EXPECT_EQ(4, offsetof(struct iommufd_vevent_header, sequence));
	EXPECT_EQ(32, sizeof(struct iommu_vevent_arm_smmuv3));
	EXPECT_EQ(12, sizeof(struct event));
	EXPECT_EQ(17, IOMMU_TEST_OP_TRIGGER_VEVENT);
	EXPECT_EQ(16, offsetof(struct iommu_test_cmd, trigger_vevent.dev_id));
	EXPECT_EQ(72, sizeof(struct iommu_test_cmd));
}

TEST_F(veventq, alloc_sizes)
{
	struct {
		struct iommu_veventq_alloc cmd;
		__u64 tail[2];
	} arg;
	const __u32 min = offsetofend(struct iommu_veventq_alloc,
				      out_veventq_fd);
	__u32 size;

	for (size = 0; size <= sizeof(arg); size += 4) {
		memset(&arg, 0, sizeof(arg));
		arg.cmd.size = size;
		arg.cmd.viommu_id = self->guest.viommu;
		arg.cmd.type = IOMMU_VEVENTQ_TYPE_SELFTEST;
		arg.cmd.veventq_depth = 1;
		if (size < min) {
			EXPECT_EQ(EINVAL,
				  err(ioctl(self->fd, IOMMU_VEVENTQ_ALLOC,
					    &arg)));
			continue;
		}
		/* What lies behind the size does not count */
		if (size == min)
			arg.cmd.__reserved = 1;
		ASSERT_EQ(0, err(ioctl(self->fd, IOMMU_VEVENTQ_ALLOC, &arg)));
		EXPECT_EQ(FD_CLOEXEC, fcntl(arg.cmd.out_veventq_fd, F_GETFD));
		EXPECT_EQ(0, close(arg.cmd.out_veventq_fd));
		EXPECT_EQ(0, destroy(self->fd, arg.cmd.out_veventq_id));
	}

	arg.cmd.size = sizeof(arg);
	arg.tail[1] = 1ULL << 63;
	EXPECT_EQ(E2BIG, err(ioctl(self->fd, IOMMU_VEVENTQ_ALLOC, &arg)));
}

TEST_F(veventq, alloc_reserved)
{
	struct iommu_veventq_alloc cmd = {
		.size = sizeof(cmd),
		.viommu_id = self->guest.viommu,
		.type = IOMMU_VEVENTQ_TYPE_SELFTEST,
		.veventq_depth = 1,
	};
	unsigned int bit;

	for (bit = 0; bit < 32; bit++) {
		cmd.flags = 1u << bit;
		EXPECT_EQ(EOPNOTSUPP,
			  err(ioctl(self->fd, IOMMU_VEVENTQ_ALLOC, &cmd)));
	}
	cmd.flags = 0;
	for (bit = 0; bit < 32; bit++) {
		cmd.__reserved = 1u << bit;
		EXPECT_EQ(EOPNOTSUPP,
			  err(ioctl(self->fd, IOMMU_VEVENTQ_ALLOC, &cmd)));
	}
	cmd.__reserved = 0;
	EXPECT_EQ(0, err(ioctl(self->fd, IOMMU_VEVENTQ_ALLOC, &cmd)));
}

static int veventq_alloc_type(int fd, __u32 viommu_id, __u32 type)
{
	__u32 queue, events;

	return err(_test_ioctl_veventq_alloc(fd, viommu_id, type, 1, &queue,
					     &events));
}

TEST_F(veventq, alloc_errors)
{
	static const __u32 depths[] = { 0, (1u << 19) + 1, 1u << 31, ~0u };
	const struct guest *guest = &self->guest;
	const __u32 ids[] = { 0, NO_ID, guest->ioas, guest->dev.id,
			      guest->dev.stdev, guest->dev.hwpt, guest->parent,
			      guest->vdev, guest->nested };
	__u32 queue, bare, no_inv, no_inv_queue;
	unsigned int i;
	int events;

	for (i = 0; i < ARRAY_SIZE(depths); i++)
		EXPECT_EQ(EINVAL, veventq_alloc(self->fd, guest->viommu,
						depths[i], &queue, &events));
	for (i = 0; i < ARRAY_SIZE(ids); i++)
		EXPECT_EQ(ENOENT, veventq_alloc(self->fd, ids[i], 1, &queue,
						&events));
	EXPECT_EQ(EOPNOTSUPP, veventq_alloc_type(self->fd, guest->viommu,
						 IOMMU_VEVENTQ_TYPE_DEFAULT));
	EXPECT_EQ(EOPNOTSUPP,
		  veventq_alloc_type(self->fd, guest->viommu,
				     IOMMU_VEVENTQ_TYPE_ARM_SMMUV3));
	EXPECT_EQ(EOPNOTSUPP,
		  veventq_alloc_type(self->fd, guest->viommu,
				     IOMMU_VEVENTQ_TYPE_SELFTEST + 1));
	/* Of several mistakes the type is the last */
	EXPECT_EQ(ENOENT, veventq_alloc_type(self->fd, NO_ID,
					     IOMMU_VEVENTQ_TYPE_ARM_SMMUV3));
	EXPECT_EQ(EOPNOTSUPP, veventq_alloc_type(self->fd, NO_ID,
						 IOMMU_VEVENTQ_TYPE_DEFAULT));

	/* A vIOMMU that has no events, and one that has no other way to fail */
	ASSERT_EQ(0, viommu_alloc_type(self->fd, guest->dev.id, guest->parent,
				       IOMMU_VIOMMU_TYPE_SELFTEST_BARE, &bare));
	EXPECT_EQ(EOPNOTSUPP,
		  veventq_alloc(self->fd, bare, 1, &queue, &events));
	ASSERT_EQ(0, viommu_alloc_type(self->fd, guest->dev.id, guest->parent,
				       IOMMU_VIOMMU_TYPE_SELFTEST_NO_INV,
				       &no_inv));
	ASSERT_EQ(0, veventq_alloc(self->fd, no_inv, 1, &no_inv_queue,
				   &events));
	EXPECT_EQ(0, close(events));

	/* Not a queue in place of a vIOMMU, nor in place of anything else */
	EXPECT_EQ(ENOENT, veventq_alloc(self->fd, no_inv_queue, 1, &queue,
					&events));
	EXPECT_EQ(ENOENT, vdevice_alloc(self->fd, no_inv_queue, guest->dev.id,
					1, &queue));
	EXPECT_EQ(EINVAL, nested_alloc(self->fd, guest->dev.id, no_inv_queue,
				       &queue));
	EXPECT_EQ(EINVAL, attach(self->fd, &guest->dev, no_inv_queue));

	/* Nothing is left of what failed */
	EXPECT_EQ(0, attach(self->fd, &guest->dev, guest->ioas));
	EXPECT_EQ(0, destroy_these(self->fd, no_inv_queue, no_inv, bare,
				   guest->nested, guest->vdev, guest->viommu,
				   guest->parent));
}

TEST_F(veventq, alloc_other_fd)
{
	struct guest other;
	__u32 viommu, queue, id;
	int events, none;

	/* Both have made the same objects, and now it makes two more */
	ASSERT_EQ(0, guest_init(&other, 0));
	ASSERT_EQ(0, viommu_alloc(other.fd, other.dev.id, other.parent,
				  &viommu));
	ASSERT_EQ(0, veventq_alloc(other.fd, viommu, 1, &queue, &events));
	EXPECT_EQ(ENOENT, veventq_alloc(self->fd, viommu, 1, &id, &none));
	EXPECT_EQ(ENOENT, destroy(self->fd, queue));
	EXPECT_EQ(0, close(events));
	EXPECT_EQ(0, close(other.fd));
}

/* The number that the next file gets */
static int next_fd(void)
{
	int fd = dup(0);

	assert(fd >= 0);
	close(fd);
	return fd;
}

/* The ID that the next object gets */
static __u32 next_id(int fd)
{
	__u32 id;

	assert(!ioas_alloc(fd, &id) && !destroy(fd, id));
	return id;
}

/* Whatever fails, and however late, leaves neither object nor file */
TEST_F(veventq, alloc_unwritable)
{
	struct iommu_veventq_alloc cmd = {
		.size = sizeof(cmd),
		.viommu_id = self->guest.viommu,
		.type = IOMMU_VEVENTQ_TYPE_SELFTEST,
		.veventq_depth = 1,
	};
	struct iommu_veventq_alloc *p = map_guarded(8, PROT_NONE);
	const __u32 next = next_id(self->fd);
	const int fd = next_fd();
	struct rlimit limit, old;
	__u32 queue;
	int events;

	EXPECT_EQ(EFAULT, ioctl_readonly(self->fd, IOMMU_VEVENTQ_ALLOC, &cmd,
					 sizeof(cmd)));
	EXPECT_EQ(next, next_id(self->fd));
	EXPECT_EQ(EOPNOTSUPP, trigger(self->fd, self->guest.dev.id));
	EXPECT_EQ(fd, next_fd());

	p->size = sizeof(*p);
	EXPECT_EQ(EFAULT, err(ioctl(self->fd, IOMMU_VEVENTQ_ALLOC, p)));
	EXPECT_EQ(EFAULT, err(ioctl(self->fd, IOMMU_VEVENTQ_ALLOC, NULL)));

	/* There is no number left for the file */
	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &old));
	limit = (struct rlimit){ .rlim_cur = fd, .rlim_max = old.rlim_max };
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	EXPECT_EQ(EMFILE, veventq_alloc(self->fd, self->guest.viommu, 1,
					&queue, &events));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &old));

	ASSERT_EQ(0, veventq_alloc(self->fd, self->guest.viommu, 1, &queue,
				   &events));
	EXPECT_EQ(next, queue);
	EXPECT_EQ(fd, events);
	/* One that exists is found out last of all */
	EXPECT_EQ(EEXIST, veventq_alloc(self->fd, self->guest.viommu, 1,
					&queue, &events));
	EXPECT_EQ(fd + 1, next_fd());
}

TEST_F(veventq, one_of_a_type)
{
	__u32 queue[2], viommu, id;
	int events[2], fd;

	ASSERT_EQ(0, viommu_alloc(self->fd, self->guest.dev.id,
				  self->guest.parent, &viommu));
	ASSERT_EQ(0, veventq_alloc(self->fd, self->guest.viommu, 1, &queue[0],
				   &events[0]));
	EXPECT_EQ(EEXIST, veventq_alloc(self->fd, self->guest.viommu, 1, &id,
					&fd));
	ASSERT_EQ(0, veventq_alloc(self->fd, viommu, 1, &queue[1], &events[1]));
	EXPECT_EQ(EEXIST, veventq_alloc(self->fd, viommu, 2, &id, &fd));

	/* The one that is there has not been harmed, nor is it the other one */
	EXPECT_EQ(0, trigger(self->fd, self->guest.dev.id));
	EXPECT_EQ(0, read_event(events[0], 0));
	EXPECT_EQ(0, read_empty(events[1]));

	/* It is there as long as it is not destroyed, file or not */
	EXPECT_EQ(0, close(events[0]));
	EXPECT_EQ(EEXIST, veventq_alloc(self->fd, self->guest.viommu, 1, &id,
					&fd));
	EXPECT_EQ(0, trigger(self->fd, self->guest.dev.id));
	EXPECT_EQ(0, destroy(self->fd, queue[0]));
	EXPECT_EQ(EOPNOTSUPP, trigger(self->fd, self->guest.dev.id));

	/* A new one begins anew */
	ASSERT_EQ(0, veventq_alloc(self->fd, self->guest.viommu, 1, &queue[0],
				   &events[0]));
	EXPECT_EQ(0, read_empty(events[0]));
	EXPECT_EQ(0, trigger(self->fd, self->guest.dev.id));
	EXPECT_EQ(0, read_event(events[0], 0));
}

TEST_F(veventq, destroy_order)
{
	struct guest *guest = &self->guest;

	ASSERT_EQ(0, guest_get_queue(guest, 2));
	ASSERT_EQ(0, attach(self->fd, &guest->dev, guest->ioas));
	ASSERT_EQ(0, destroy_these(self->fd, guest->nested, guest->vdev));

	/* The file holds the queue, the queue holds the vIOMMU */
	EXPECT_EQ(EBUSY, destroy(self->fd, guest->queue));
	EXPECT_EQ(EBUSY, destroy(self->fd, guest->viommu));
	EXPECT_EQ(0, read_empty(guest->events));
	EXPECT_EQ(0, close(guest->events));
	EXPECT_EQ(EBUSY, destroy(self->fd, guest->viommu));
	EXPECT_EQ(0, destroy(self->fd, guest->queue));
	EXPECT_EQ(ENOENT, destroy(self->fd, guest->queue));
	EXPECT_EQ(0, destroy_these(self->fd, guest->viommu, guest->parent));
}

/* A file of a queue is good for as long as it is open, whatever is closed */
TEST_F(veventq, close_iommufd_first)
{
	struct guest *guest = &self->guest;
	int events;

	ASSERT_EQ(0, guest_get_queue(guest, 2));
	ASSERT_EQ(0, trigger_some(guest, 3));
	events = dup(guest->events);
	ASSERT_NE(-1, events);
	EXPECT_EQ(0, close(guest->events));
	EXPECT_EQ(0, close(self->fd));
	guest->fd = -1;

	EXPECT_EQ(POLLIN, events_of(events, 0));
	EXPECT_EQ(0, read_event(events, 0));
	EXPECT_EQ(0, read_event(events, 1));
	EXPECT_EQ(0, read_lost(events, 2));
	EXPECT_EQ(0, events_of(events, 0));
	EXPECT_EQ(0, close(events));
}

/* Nor does a vIOMMU lose its queue with its last device */
TEST_F(veventq, device_leaves)
{
	struct guest *guest = &self->guest;
	struct mock dev;

	ASSERT_EQ(0, guest_get_queue(guest, 2));
	ASSERT_EQ(0, trigger(self->fd, guest->dev.id));
	ASSERT_EQ(0, destroy(self->fd, guest->dev.stdev));
	EXPECT_EQ(ENOENT, trigger(self->fd, guest->dev.id));
	EXPECT_EQ(0, read_event(guest->events, 0));

	ASSERT_EQ(0, plug(self->fd, guest->ioas, 0, &dev));
	ASSERT_EQ(0, vdevice_alloc(self->fd, guest->viommu, dev.id, 5,
				   &guest->vdev));
	ASSERT_EQ(0, attach(self->fd, &dev, guest->nested));
	EXPECT_EQ(0, trigger(self->fd, dev.id));
	EXPECT_EQ(0, read_event_of(guest->events, 5, 1));
}

TEST_F(veventq, read_sizes)
{
	struct guest *guest = &self->guest;
	struct event event[2];
	size_t count;

	ASSERT_EQ(0, guest_get_queue(guest, 2));
	/* Less than a header is wrong even if there is nothing */
	for (count = 0; count < sizeof(event[0].header); count++)
		EXPECT_EQ(EINVAL,
			  read_len(guest->events, event, count, 0));
	for (; count <= sizeof(event); count++)
		EXPECT_EQ(0, read_len(guest->events, event, count, 0));

	/* Less than what is there leaves it there */
	ASSERT_EQ(0, trigger(self->fd, guest->dev.id));
	for (count = 0; count < sizeof(event[0]); count++) {
		EXPECT_EQ(EINVAL, read_len(guest->events, event, count, 0));
		EXPECT_EQ(POLLIN, events_of(guest->events, 0));
	}
	EXPECT_EQ(0, read_event(guest->events, 0));

	/* More is not written to */
	memset(event, 0x5a, sizeof(event));
	ASSERT_EQ(0, trigger(self->fd, guest->dev.id));
	EXPECT_EQ(0, read_len(guest->events, event, sizeof(event),
			      sizeof(event[0])));
	EXPECT_EQ(VIRT_ID, event[0].data.virt_id);
	EXPECT_EQ(0x5a5a5a5a, event[1].header.flags);
	EXPECT_EQ(0x5a5a5a5a, event[1].data.virt_id);

	/* It is for reading in a row only */
	EXPECT_EQ(EBADF, err(write(guest->events, event, 12) < 0));
	EXPECT_EQ(ESPIPE, err(pread(guest->events, event, 12, 0) < 0));
	EXPECT_EQ(ESPIPE, err(lseek(guest->events, 0, SEEK_CUR) < 0));
}

/* Whole events, as many as fit */
TEST_F(veventq, read_several)
{
	struct guest *guest = &self->guest;
	struct event event[DEPTH] = {};
	unsigned int i;

	ASSERT_EQ(0, guest_get_queue(guest, DEPTH));
	ASSERT_EQ(0, trigger_some(guest, 5));
	EXPECT_EQ(0, read_len(guest->events, event, 4 * sizeof(event[0]) - 1,
			      3 * sizeof(event[0])));
	for (i = 0; i < 3; i++) {
		EXPECT_EQ(0, event[i].header.flags);
		EXPECT_EQ(i, event[i].header.sequence);
		EXPECT_EQ(VIRT_ID, event[i].data.virt_id);
	}
	EXPECT_EQ(0, event[3].data.virt_id);
	EXPECT_EQ(0, read_len(guest->events, event, sizeof(event),
			      2 * sizeof(event[0])));
	EXPECT_EQ(3, event[0].header.sequence);
	EXPECT_EQ(4, event[1].header.sequence);
	EXPECT_EQ(0, read_empty(guest->events));

	/* Beyond the end of the ring */
	for (i = 5; i < 5 * DEPTH; i += DEPTH - 1) {
		unsigned int j;

		ASSERT_EQ(0, trigger_some(guest, DEPTH - 1));
		ASSERT_EQ(0, read_len(guest->events, event, sizeof(event),
				      (DEPTH - 1) * sizeof(event[0])));
		for (j = 0; j < DEPTH - 1; j++)
			EXPECT_EQ(i + j, event[j].header.sequence);
	}
}

TEST_F(veventq, read_never_waits)
{
	struct guest *guest = &self->guest;

	ASSERT_EQ(0, guest_get_queue(guest, 2));
	EXPECT_EQ(O_RDONLY, fcntl(guest->events, F_GETFL) & O_ACCMODE);
	EXPECT_EQ(0, read_empty(guest->events));
	EXPECT_EQ(0, events_of(guest->events, 0));
	ASSERT_EQ(0, fcntl(guest->events, F_SETFL, O_NONBLOCK));
	EXPECT_EQ(0, read_empty(guest->events));
	EXPECT_EQ(0, events_of(guest->events, 0));

	ASSERT_EQ(0, trigger(self->fd, guest->dev.id));
	EXPECT_EQ(POLLIN, events_of(guest->events, 0));
	EXPECT_EQ(0, read_event(guest->events, 0));
	EXPECT_EQ(0, events_of(guest->events, 0));
	EXPECT_EQ(0, read_empty(guest->events));
}

struct poller {
	pthread_t thread;
	int fd;
	int timeout;
	atomic_int tid;
	int events;
	double took;
};

static void *poller_thread(void *arg)
{
	struct poller *poller = arg;
	double start = now();

	poller->tid = syscall(SYS_gettid);
	poller->events = events_of(poller->fd, poller->timeout);
	poller->took = now() - start;
	return NULL;
}

/* Does the thread sleep? */
static bool task_sleeps(int tid)
{
	char path[64], state = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	f = fopen(path, "r");
	if (!f)
		return false;
	if (fscanf(f, "%*d (%*[^)]) %c", &state) != 1)
		state = 0;
	fclose(f);
	return state == 'S';
}

/* Return: false if there is no way to tell, or if it is not so in time */
static bool wait_till_asleep(const atomic_int *tid)
{
	double end = now() + SOON;

	while (now() < end) {
		if (*tid && task_sleeps(*tid))
			return true;
		usleep(1000);
	}
	return false;
}

static bool poller_start(struct poller *poller, int fd)
{
	*poller = (struct poller){ .fd = fd, .timeout = 2 * SOON * 1000 };
	assert(!pthread_create(&poller->thread, NULL, poller_thread, poller));
	return wait_till_asleep(&poller->tid);
}

static int poller_join(struct poller *poller)
{
	assert(!pthread_join(poller->thread, NULL));
	return poller->took < SOON ? poller->events : -ETIME;
}

/* Who waits is woken, by an event as well as by one that is lost */
TEST_F_TIMEOUT(veventq, poll_wakes, 100)
{
	struct guest *guest = &self->guest;
	struct poller poller;

	ASSERT_EQ(0, guest_get_queue(guest, 1));
	ASSERT_TRUE(poller_start(&poller, guest->events));
	ASSERT_EQ(0, trigger(self->fd, guest->dev.id));
	EXPECT_EQ(POLLIN, poller_join(&poller));
	EXPECT_EQ(0, read_event(guest->events, 0));

	ASSERT_TRUE(poller_start(&poller, guest->events));
	ASSERT_EQ(0, trigger_lost(guest));
	EXPECT_EQ(POLLIN, poller_join(&poller));
	EXPECT_EQ(0, read_lost(guest->events, 1));
	EXPECT_EQ(0, events_of(guest->events, 0));
}

/* The loss stands at the end, and has no place that an event could have had */
TEST_F(veventq, overflow)
{
	struct guest *guest = &self->guest;
	struct event event[3];

	ASSERT_EQ(0, guest_get_queue(guest, 2));
	ASSERT_EQ(0, trigger_some(guest, 2));
	EXPECT_EQ(0, read_len(guest->events, event, sizeof(event), 24));
	ASSERT_EQ(0, trigger_some(guest, 3));
	EXPECT_EQ(0, read_event(guest->events, 2));
	EXPECT_EQ(0, read_event(guest->events, 3));
	EXPECT_EQ(POLLIN, events_of(guest->events, 0));
	EXPECT_EQ(EINVAL, read_len(guest->events, event, 7, 0));
	EXPECT_EQ(POLLIN, events_of(guest->events, 0));
	EXPECT_EQ(0, read_lost(guest->events, 4));
	EXPECT_EQ(0, events_of(guest->events, 0));
	EXPECT_EQ(0, read_empty(guest->events));

	/* It tells how far it went, and is told with the rest if it fits */
	ASSERT_EQ(0, trigger_some(guest, 100));
	EXPECT_EQ(0, read_len(guest->events, event, 24 + 7, 24));
	EXPECT_EQ(5, event[0].header.sequence);
	EXPECT_EQ(6, event[1].header.sequence);
	EXPECT_EQ(0, read_len(guest->events, event, 8, 8));
	EXPECT_EQ(LOST, event[0].header.flags);
	EXPECT_EQ(104, event[0].header.sequence);

	ASSERT_EQ(0, trigger_some(guest, 4));
	memset(event, 0, sizeof(event));
	EXPECT_EQ(0, read_len(guest->events, event, sizeof(event), 24 + 8));
	EXPECT_EQ(0, event[0].header.flags);
	EXPECT_EQ(105, event[0].header.sequence);
	EXPECT_EQ(0, event[1].header.flags);
	EXPECT_EQ(106, event[1].header.sequence);
	EXPECT_EQ(VIRT_ID, event[1].data.virt_id);
	EXPECT_EQ(LOST, event[2].header.flags);
	EXPECT_EQ(108, event[2].header.sequence);
	EXPECT_EQ(0, event[2].data.virt_id);

	/* The next one is as if nothing had been */
	ASSERT_EQ(0, trigger_some(guest, 1));
	EXPECT_EQ(0, read_event(guest->events, 109));
	EXPECT_EQ(0, events_of(guest->events, 0));
}

/* A later event takes the place of the loss: the gap in the numbers tells */
TEST_F(veventq, overflow_later_event)
{
	struct guest *guest = &self->guest;

	ASSERT_EQ(0, guest_get_queue(guest, 2));
	ASSERT_EQ(0, trigger_some(guest, 4));
	EXPECT_EQ(0, read_event(guest->events, 0));
	ASSERT_EQ(0, trigger_some(guest, 1));
	EXPECT_EQ(0, read_event(guest->events, 1));
	EXPECT_EQ(0, read_event(guest->events, 4));
	EXPECT_EQ(0, events_of(guest->events, 0));
	EXPECT_EQ(0, read_empty(guest->events));

	/* And may be followed by another loss */
	ASSERT_EQ(0, trigger_some(guest, 3));
	EXPECT_EQ(0, read_event(guest->events, 5));
	ASSERT_EQ(0, trigger_some(guest, 2));
	EXPECT_EQ(0, read_event(guest->events, 6));
	EXPECT_EQ(0, read_event(guest->events, 8));
	EXPECT_EQ(0, read_lost(guest->events, 9));
	EXPECT_EQ(0, read_empty(guest->events));
}

/* Events that the IOMMU itself has lost */
TEST_F(veventq, lost_before)
{
	struct guest *guest = &self->guest;

	ASSERT_EQ(0, guest_get_queue(guest, 2));
	ASSERT_EQ(0, trigger_lost(guest));
	EXPECT_EQ(POLLIN, events_of(guest->events, 0));
	EXPECT_EQ(0, read_lost(guest->events, 0));
	EXPECT_EQ(0, events_of(guest->events, 0));

	ASSERT_EQ(0, trigger_lost(guest));
	ASSERT_EQ(0, trigger_lost(guest));
	EXPECT_EQ(0, read_lost(guest->events, 2));
	EXPECT_EQ(0, read_empty(guest->events));

	ASSERT_EQ(0, trigger_lost(guest));
	ASSERT_EQ(0, trigger_some(guest, 1));
	ASSERT_EQ(0, trigger_lost(guest));
	EXPECT_EQ(0, read_event(guest->events, 4));
	EXPECT_EQ(0, read_lost(guest->events, 5));
	/* It has not taken a place */
	ASSERT_EQ(0, trigger_lost(guest));
	ASSERT_EQ(0, trigger_some(guest, 2));
	EXPECT_EQ(0, read_event(guest->events, 7));
	EXPECT_EQ(0, read_event(guest->events, 8));
	EXPECT_EQ(0, events_of(guest->events, 0));

	/* Nobody is there to be told */
	EXPECT_EQ(0, close(guest->events));
	EXPECT_EQ(0, destroy(self->fd, guest->queue));
	EXPECT_EQ(0, trigger_lost(guest));
}

TEST_F(veventq, depth_one)
{
	struct guest *guest = &self->guest;
	unsigned int i;

	ASSERT_EQ(0, guest_get_queue(guest, 1));
	for (i = 0; i < 6; i += 3) {
		ASSERT_EQ(0, trigger_some(guest, 1));
		EXPECT_EQ(0, read_event(guest->events, i));
		ASSERT_EQ(0, trigger_some(guest, 2));
		EXPECT_EQ(0, read_event(guest->events, i + 1));
		EXPECT_EQ(0, read_lost(guest->events, i + 2));
		EXPECT_EQ(0, events_of(guest->events, 0));
	}
}

TEST_F(veventq, depth_max)
{
	struct guest *guest = &self->guest;
	struct event *event;
	unsigned int i;
	int rc;

	rc = guest_get_queue(guest, 1u << 19);
	if (rc == ENOMEM)
		SKIP(return, "6 MB are too much for this machine");
	ASSERT_EQ(0, rc);
	ASSERT_EQ(0, trigger_some(guest, 1000));
	event = calloc(1000, sizeof(*event));
	ASSERT_NE(NULL, event);
	ASSERT_EQ(0, read_len(guest->events, event, 1000 * sizeof(*event),
			      1000 * sizeof(*event)));
	for (i = 0; i < 1000; i++)
		ASSERT_EQ(i, event[i].header.sequence);
	free(event);
	EXPECT_EQ(0, read_empty(guest->events));
}

/* After INT_MAX comes 0 */
TEST_F(veventq, sequence_wraps)
{
	struct guest *guest = &self->guest;

	EXPECT_EQ(EOPNOTSUPP, set_sequence(guest, 0));
	ASSERT_EQ(0, guest_get_queue(guest, 2));
	EXPECT_EQ(EINVAL, set_sequence(guest, INT32_MAX + 1u));

	ASSERT_EQ(0, set_sequence(guest, INT32_MAX));
	ASSERT_EQ(0, trigger_some(guest, 2));
	EXPECT_EQ(0, read_event(guest->events, INT32_MAX));
	EXPECT_EQ(0, read_event(guest->events, 0));

	/* The last one that was lost is the last one, then the first one */
	ASSERT_EQ(0, set_sequence(guest, INT32_MAX - 2));
	ASSERT_EQ(0, trigger_some(guest, 3));
	EXPECT_EQ(0, read_event(guest->events, INT32_MAX - 2));
	EXPECT_EQ(0, read_event(guest->events, INT32_MAX - 1));
	EXPECT_EQ(0, read_lost(guest->events, INT32_MAX));
	EXPECT_EQ(0, events_of(guest->events, 0));
	ASSERT_EQ(0, set_sequence(guest, INT32_MAX - 1));
	ASSERT_EQ(0, trigger_some(guest, 3));
	EXPECT_EQ(0, read_event(guest->events, INT32_MAX - 1));
	EXPECT_EQ(0, read_event(guest->events, INT32_MAX));
	EXPECT_EQ(0, read_lost(guest->events, 0));
	EXPECT_EQ(0, events_of(guest->events, 0));
}

TEST_F(veventq, trigger_errors)
{
	struct guest *guest = &self->guest;
	__u32 direct, viommu, nested;
	struct mock dev;

	EXPECT_EQ(EOPNOTSUPP, trigger(self->fd, guest->dev.id));
	ASSERT_EQ(0, guest_get_queue(guest, 1));
	EXPECT_EQ(ENOENT, trigger(self->fd, NO_ID));
	EXPECT_EQ(ENOENT, trigger(self->fd, guest->dev.stdev));
	EXPECT_EQ(ENOENT, trigger(self->fd, guest->vdev));
	EXPECT_EQ(EOPNOTSUPP, err(_test_cmd_trigger_vevent(self->fd,
							   guest->dev.id,
							   1u << 31, 0)));

	/* Not attached through a vIOMMU */
	ASSERT_EQ(0, nested_alloc(self->fd, guest->dev.id, guest->parent,
				  &direct));
	ASSERT_EQ(0, attach(self->fd, &guest->dev, direct));
	EXPECT_EQ(ENOENT, trigger(self->fd, guest->dev.id));
	ASSERT_EQ(0, attach(self->fd, &guest->dev, guest->parent));
	EXPECT_EQ(ENOENT, trigger(self->fd, guest->dev.id));
	ASSERT_EQ(0, attach(self->fd, &guest->dev, guest->nested));

	/* Its vDEVICE is another vIOMMU's, who has nothing to do with it */
	ASSERT_EQ(0, viommu_alloc(self->fd, guest->dev.id, guest->parent,
				  &viommu));
	ASSERT_EQ(0, destroy(self->fd, guest->vdev));
	EXPECT_EQ(ENOENT, trigger(self->fd, guest->dev.id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, viommu, guest->dev.id, VIRT_ID,
				   &guest->vdev));
	EXPECT_EQ(ENOENT, trigger(self->fd, guest->dev.id));
	EXPECT_EQ(0, read_empty(guest->events));

	/* There it has no queue */
	ASSERT_EQ(0, nested_alloc(self->fd, guest->dev.id, viommu, &nested));
	ASSERT_EQ(0, attach(self->fd, &guest->dev, nested));
	EXPECT_EQ(EOPNOTSUPP, trigger(self->fd, guest->dev.id));
	EXPECT_EQ(0, read_empty(guest->events));

	/* Without a vDEVICE at all, or with one that no event can name */
	ASSERT_EQ(0, plug(self->fd, guest->ioas, 0, &dev));
	EXPECT_EQ(ENOENT, trigger(self->fd, dev.id));
	if (sizeof(long) == 8) {
		ASSERT_EQ(0, vdevice_alloc(self->fd, guest->viommu, dev.id,
					   1ULL << 32, &guest->vdev));
		ASSERT_EQ(0, attach(self->fd, &dev, guest->nested));
		EXPECT_EQ(ERANGE, trigger(self->fd, dev.id));
	}
	EXPECT_EQ(0, read_empty(guest->events));
}

/* Each to its own, and by its own name */
TEST_F(veventq, two_guests)
{
	struct guest *guest = &self->guest;
	struct guest other;
	struct mock dev;
	__u32 vdev;

	ASSERT_EQ(0, guest_init(&other, MOCK_FLAGS_DEVICE_IOMMU2));
	ASSERT_EQ(0, guest_get_queue(&other, 4));
	ASSERT_EQ(0, guest_get_queue(guest, 4));
	ASSERT_EQ(0, plug(self->fd, guest->ioas, 0, &dev));
	ASSERT_EQ(0, vdevice_alloc(self->fd, guest->viommu, dev.id, 0, &vdev));
	ASSERT_EQ(0, attach(self->fd, &dev, guest->nested));

	ASSERT_EQ(0, trigger(self->fd, dev.id));
	ASSERT_EQ(0, trigger(other.fd, other.dev.id));
	ASSERT_EQ(0, trigger(self->fd, guest->dev.id));
	EXPECT_EQ(0, read_event_of(guest->events, 0, 0));
	EXPECT_EQ(0, read_event_of(guest->events, VIRT_ID, 1));
	EXPECT_EQ(0, read_empty(guest->events));
	EXPECT_EQ(0, read_event(other.events, 0));
	EXPECT_EQ(0, read_empty(other.events));
	EXPECT_EQ(0, close(other.events));
	EXPECT_EQ(0, close(other.fd));
}

/* The vDEVICE of now, however long the attachment is there (H9) */
TEST_F(veventq, vdevice_changes)
{
	struct guest *guest = &self->guest;

	ASSERT_EQ(0, guest_get_queue(guest, DEPTH));
	ASSERT_EQ(0, trigger(self->fd, guest->dev.id));
	ASSERT_EQ(0, destroy(self->fd, guest->vdev));
	EXPECT_EQ(ENOENT, trigger(self->fd, guest->dev.id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, guest->viommu, guest->dev.id,
				   VIRT_ID + 1, &guest->vdev));
	EXPECT_EQ(0, trigger(self->fd, guest->dev.id));

	/* What was before is as it was, and a refusal has not been an event */
	EXPECT_EQ(0, read_event_of(guest->events, VIRT_ID, 0));
	EXPECT_EQ(0, read_event_of(guest->events, VIRT_ID + 1, 1));
	EXPECT_EQ(0, read_empty(guest->events));
}

/* What could not be handed over is still there */
TEST_F(veventq, read_unwritable)
{
	struct guest *guest = &self->guest;
	struct event *event = map_guarded(sizeof(*event) + 4, PROT_READ);

	ASSERT_EQ(0, guest_get_queue(guest, 2));
	ASSERT_EQ(0, trigger_some(guest, 3));
	EXPECT_EQ(EFAULT, read_len(guest->events, map_guarded(0, PROT_NONE),
				   12, 0));
	EXPECT_EQ(EFAULT, read_len(guest->events, event + 1, 12, 0));
	EXPECT_EQ(POLLIN, events_of(guest->events, 0));

	/* The first one fits, the second one crosses the end */
	EXPECT_EQ(0, read_len(guest->events, event, 36, 12));
	EXPECT_EQ(0, event->header.sequence);
	EXPECT_EQ(EFAULT, read_len(guest->events, event + 1, 12, 0));
	EXPECT_EQ(0, read_event(guest->events, 1));

	/* A loss is no exception */
	EXPECT_EQ(EFAULT, read_len(guest->events, event + 1, 12, 0));
	EXPECT_EQ(POLLIN, events_of(guest->events, 0));
	EXPECT_EQ(0, read_lost(guest->events, 2));
	EXPECT_EQ(0, read_empty(guest->events));
}

#define MANY_EVENTS	3000

struct reader {
	pthread_t thread;
	int fd;
	atomic_bool *stop;
	unsigned int *seen;
	unsigned int got;
	unsigned int bad;
};

static void *reader_thread(void *arg)
{
	struct reader *reader = arg;
	struct event event[3];
	long last = -1;
	bool stopped;
	ssize_t rc;
	int i;

	do {
		/* In this order: all events are there if it says so */
		stopped = *reader->stop;
		rc = read(reader->fd, event, sizeof(event));
		if (rc < 0 || rc % sizeof(event[0])) {
			reader->bad++;
			break;
		}
		for (i = 0; i < (int)(rc / sizeof(event[0])); i++) {
			/* In order for each of the readers */
			if (event[i].header.flags ||
			    event[i].header.sequence >= MANY_EVENTS ||
			    event[i].header.sequence <= last) {
				reader->bad++;
				continue;
			}
			last = event[i].header.sequence;
			__atomic_fetch_add(&reader->seen[last], 1,
					   __ATOMIC_RELAXED);
			reader->got++;
		}
	} while (rc || !stopped);
	return NULL;
}

/* Each event is for one of them, and none is for both (H11) */
TEST_F_TIMEOUT(veventq, two_readers, 100)
{
	static unsigned int seen[MANY_EVENTS];
	struct guest *guest = &self->guest;
	atomic_bool stop = false;
	struct reader readers[2];
	unsigned int i;

	ASSERT_EQ(0, guest_get_queue(guest, MANY_EVENTS));
	for (i = 0; i < 2; i++) {
		readers[i] = (struct reader){
			.fd = guest->events,
			.stop = &stop,
			.seen = seen,
		};
		ASSERT_EQ(0, pthread_create(&readers[i].thread, NULL,
					    reader_thread, &readers[i]));
	}
	EXPECT_EQ(0, trigger_some(guest, MANY_EVENTS));
	stop = true;
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, pthread_join(readers[i].thread, NULL));
		EXPECT_EQ(0, readers[i].bad);
	}
	for (i = 0; i < MANY_EVENTS; i++)
		ASSERT_EQ(1, seen[i]);
	/* Else there was but one */
	TH_LOG("%u and %u events", readers[0].got, readers[1].got);
	EXPECT_EQ(MANY_EVENTS, readers[0].got + readers[1].got);
}

/* A read() in a thread of its own */
struct reading {
	pthread_t thread;
	int fd;
	void *buf;
	size_t count;
	atomic_int tid;
	ssize_t rc;
};

static void *reading_thread(void *arg)
{
	struct reading *reading = arg;

	reading->tid = syscall(SYS_gettid);
	reading->rc = read(reading->fd, reading->buf, reading->count);
	if (reading->rc < 0)
		reading->rc = -errno;
	return NULL;
}

static void reading_start(struct reading *reading, int fd, void *buf,
			  size_t count)
{
	*reading = (struct reading){ .fd = fd, .buf = buf, .count = count };
	assert(!pthread_create(&reading->thread, NULL, reading_thread,
			       reading));
}

static ssize_t reading_join(struct reading *reading)
{
	assert(!pthread_join(reading->thread, NULL));
	return reading->rc;
}

/*
 * A VMM lets the kernel wait for the page that the answer goes to. Nobody else
 * may have to wait with it, not even another thread of the same VMM (H3).
 */
TEST_F_TIMEOUT(veventq, alloc_slow_answer, 100)
{
	const __u32 next = next_id(self->fd);
	struct guest *guest = &self->guest;
	struct iommu_veventq_alloc *cmd;
	struct slow_page slow;
	struct guest other;
	struct call call;
	double start;

	ASSERT_EQ(0, guest_init(&other, 0));
	ASSERT_EQ(0, guest_get_queue(&other, 4));
	if (slow_page_init(&slow, true))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	cmd = slow.page;
	*cmd = (struct iommu_veventq_alloc){
		.size = sizeof(*cmd),
		.viommu_id = guest->viommu,
		.type = IOMMU_VEVENTQ_TYPE_SELFTEST,
		.veventq_depth = 2,
	};
	slow_page_protect(&slow);
	call_start(&call, self->fd, IOMMU_VEVENTQ_ALLOC, cmd);
	slow_page_wait(&slow);

	EXPECT_EQ(0, guest_works(&other));
	/* There is no queue yet, for nobody and by no name */
	start = now();
	EXPECT_EQ(EOPNOTSUPP, trigger(self->fd, guest->dev.id));
	EXPECT_EQ(ENOENT, destroy(self->fd, next));
	EXPECT_NE(next, next_id(self->fd));
	EXPECT_EQ(EBADF, err(fcntl(next_fd() - 1, F_GETFD) < 0));
	/* So who is faster gets it */
	ASSERT_EQ(0, guest_get_queue(guest, 1));
	EXPECT_EQ(0, guest_works(guest));
	EXPECT_LT(now() - start, SOON);

	slow_page_provide(&slow);
	EXPECT_EQ(EEXIST, call_join(&call));
	EXPECT_EQ(0, guest_works(guest));
	EXPECT_EQ(0, close(other.events));
	EXPECT_EQ(0, close(other.fd));
}

/* The same before it has begun, and with a success in the end */
TEST_F_TIMEOUT(veventq, alloc_slow_struct, 100)
{
	struct guest *guest = &self->guest;
	struct slow_page slow;
	struct guest other;
	struct call call;

	ASSERT_EQ(0, guest_init(&other, 0));
	ASSERT_EQ(0, guest_get_queue(&other, 4));
	if (slow_page_init(&slow, false))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	call_start(&call, self->fd, IOMMU_VEVENTQ_ALLOC, slow.page);
	slow_page_wait(&slow);
	EXPECT_EQ(0, guest_works(&other));
	ASSERT_EQ(0, guest_get_queue(guest, 1));
	EXPECT_EQ(0, guest_works(guest));
	/* All of it is 0, the size as well */
	slow_page_provide(&slow);
	EXPECT_EQ(EINVAL, call_join(&call));
	EXPECT_EQ(0, close(other.events));
	EXPECT_EQ(0, close(other.fd));
}

static void catch_signal(int sig)
{
}

TEST_F_TIMEOUT(veventq, read_slow, 100)
{
	struct sigaction action = { .sa_handler = catch_signal };
	struct guest *guest = &self->guest;
	struct reading reading, second;
	struct event *event, buf;
	struct slow_page slow;
	struct guest other;
	double start;

	ASSERT_EQ(0, guest_init(&other, 0));
	ASSERT_EQ(0, guest_get_queue(&other, 4));
	ASSERT_EQ(0, guest_get_queue(guest, 2));
	ASSERT_EQ(0, trigger(self->fd, guest->dev.id));
	if (slow_page_init(&slow, false))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	event = slow.page;
	reading_start(&reading, guest->events, event, 2 * sizeof(*event));
	slow_page_wait(&slow);

	start = now();
	EXPECT_EQ(0, guest_works(&other));
	EXPECT_EQ(POLLIN, events_of(guest->events, 0));
	EXPECT_EQ(0, trigger_some(guest, 2));
	EXPECT_EQ(0, attach(self->fd, &guest->dev, guest->ioas));
	EXPECT_EQ(0, attach(self->fd, &guest->dev, guest->nested));
	EXPECT_EQ(0, destroy(self->fd, guest->vdev));
	EXPECT_EQ(0, vdevice_alloc(self->fd, guest->viommu, guest->dev.id,
				   VIRT_ID + 1, &guest->vdev));
	EXPECT_EQ(EBUSY, destroy(self->fd, guest->queue));
	EXPECT_LT(now() - start, SOON);

	/* Only who wants the same has to wait, and need not be patient */
	ASSERT_EQ(0, sigaction(SIGUSR1, &action, NULL));
	reading_start(&second, guest->events, &buf, sizeof(buf));
	EXPECT_TRUE(wait_till_asleep(&second.tid));
	EXPECT_EQ(0, pthread_kill(second.thread, SIGUSR1));
	EXPECT_EQ(-EINTR, reading_join(&second));

	/* Its event is the one that it was, though the queue is full since */
	slow_page_provide(&slow);
	EXPECT_EQ(2 * sizeof(*event), reading_join(&reading));
	EXPECT_EQ(0, event[0].header.sequence);
	EXPECT_EQ(VIRT_ID, event[0].data.virt_id);
	EXPECT_EQ(1, event[1].header.sequence);
	EXPECT_EQ(0, read_lost(guest->events, 2));
	EXPECT_EQ(0, trigger(self->fd, guest->dev.id));
	EXPECT_EQ(0, read_event_of(guest->events, VIRT_ID + 1, 3));
	EXPECT_EQ(0, close(other.events));
	EXPECT_EQ(0, close(other.fd));
}

/* What is told of a loss is what has been told when there was no more of it */
TEST_F_TIMEOUT(veventq, read_lost_slow, 100)
{
	struct guest *guest = &self->guest;
	struct iommufd_vevent_header *header;
	struct reading reading;
	struct slow_page slow;

	ASSERT_EQ(0, guest_get_queue(guest, 1));
	ASSERT_EQ(0, trigger_lost(guest));
	if (slow_page_init(&slow, false))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	header = slow.page;
	reading_start(&reading, guest->events, header, sizeof(*header));
	slow_page_wait(&slow);
	ASSERT_EQ(0, trigger_lost(guest));
	slow_page_provide(&slow);
	EXPECT_EQ(sizeof(*header), reading_join(&reading));
	EXPECT_EQ(LOST, header->flags);
	EXPECT_EQ(0, header->sequence);
	/* The second loss has not been told yet */
	EXPECT_EQ(POLLIN, events_of(guest->events, 0));
	EXPECT_EQ(0, read_lost(guest->events, 1));
	EXPECT_EQ(0, events_of(guest->events, 0));
}

/*
 * Page faults below a nested HWPT: whatever PASID they have, they are the
 * guest's, for the table of PASIDs is.
 */
FIXTURE(iopf)
{
	struct guest guest;
	int fd;
	__u32 dev;
	/* What nested HWPTs are made on */
	__u32 on;
	__u32 fault[2];
	__u32 nested[2];
	int faults[2];
};

FIXTURE_VARIANT(iopf)
{
	bool on_viommu;
};

FIXTURE_VARIANT_ADD(iopf, viommu)
{
	.on_viommu = true,
};

FIXTURE_VARIANT_ADD(iopf, parent)
{
};

static int nested_alloc_fault(int fd, __u32 dev_id, __u32 pt_id, __u32 fault_id,
			      __u32 *hwpt_id)
{
	struct iommu_hwpt_selftest data = { .iotlb = IOMMU_TEST_IOTLB_DEFAULT };

	*hwpt_id = 0;
	return err(_test_cmd_hwpt_alloc(fd, dev_id, pt_id, fault_id,
					IOMMU_HWPT_FAULT_ID_VALID, hwpt_id,
					IOMMU_HWPT_DATA_SELFTEST, &data,
					sizeof(data)));
}

FIXTURE_SETUP(iopf)
{
	int i;

	ASSERT_EQ(0, guest_init(&self->guest, 0));
	self->fd = self->guest.fd;
	self->dev = self->guest.dev.id;
	self->on = variant->on_viommu ? self->guest.viommu : self->guest.parent;
	for (i = 0; i < 2; i++) {
		ASSERT_EQ(0, fault_alloc(self->fd, &self->fault[i],
					 &self->faults[i]));
		ASSERT_EQ(0, nested_alloc_fault(self->fd, self->dev, self->on,
						self->fault[i],
						&self->nested[i]));
	}
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, self->nested[0]));
}

FIXTURE_TEARDOWN(iopf)
{
	close(self->faults[0]);
	close(self->faults[1]);
	teardown_iommufd(self->guest.fd, _metadata);
}

#define FAULT_ADDR	0x123456789000ULL

static int fault(int fd, __u32 dev_id, __u32 pasid, __u32 grpid)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_TRIGGER_IOPF,
		.trigger_iopf = {
			.dev_id = dev_id,
			.pasid = pasid,
			.grpid = grpid,
			.perm = IOMMU_PGFAULT_PERM_WRITE,
			.addr = FAULT_ADDR,
		},
	};

	return err(ioctl(fd, _IOMMU_TEST_CMD(IOMMU_TEST_OP_TRIGGER_IOPF),
			 &cmd));
}

/* Is that what the device knows of its faults? */
static bool faults_are(int fd, __u32 dev_id, __u32 pending, __u32 success,
		       __u32 invalid)
{
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DEV_GET_IOPF,
		.id = dev_id,
	};

	if (ioctl(fd, _IOMMU_TEST_CMD(IOMMU_TEST_OP_DEV_GET_IOPF), &cmd))
		return false;
	if (cmd.dev_get_iopf.out_pending == pending &&
	    cmd.dev_get_iopf.out_success == success &&
	    cmd.dev_get_iopf.out_invalid == invalid)
		return true;
	printf("# pending %u success %u invalid %u\n",
	       cmd.dev_get_iopf.out_pending, cmd.dev_get_iopf.out_success,
	       cmd.dev_get_iopf.out_invalid);
	return false;
}

/* Return: 0 if this is the next fault, else the errno or EPROTO */
static int read_fault(int fd, __u32 dev_id, __u32 pasid, __u32 grpid,
		      __u32 *cookie)
{
	const __u32 flags = IOMMU_PGFAULT_FLAGS_LAST_PAGE |
			    (pasid ? IOMMU_PGFAULT_FLAGS_PASID_VALID : 0);
	struct iommu_hwpt_pgfault fault = {};
	int rc = read_len(fd, &fault, sizeof(fault), sizeof(fault));

	if (rc)
		return rc;
	*cookie = fault.cookie;
	return fault.flags == flags && fault.dev_id == dev_id &&
			       fault.pasid == pasid && fault.grpid == grpid &&
			       fault.perm == IOMMU_PGFAULT_PERM_WRITE &&
			       fault.addr == FAULT_ADDR && !fault.length ?
		       0 :
		       EPROTO;
}

static int answer(int fd, __u32 cookie, __u32 code)
{
	struct iommu_hwpt_page_response response = {
		.cookie = cookie,
		.code = code,
	};

	return err(write(fd, &response, sizeof(response)) !=
		   sizeof(response));
}

TEST_F(iopf, pasids)
{
	static const __u32 pasids[] = { 0, 1, 5, (1u << MOCK_PASID_WIDTH) - 1 };
	__u32 cookie[ARRAY_SIZE(pasids)];
	unsigned int i;

	EXPECT_EQ(POLLOUT, events_of(self->faults[0], 0) | POLLOUT);
	for (i = 0; i < ARRAY_SIZE(pasids); i++)
		EXPECT_EQ(0, fault(self->fd, self->dev, pasids[i], i + 3));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 4, 0, 0));
	EXPECT_EQ(POLLIN, events_of(self->faults[0], 0));
	for (i = 0; i < ARRAY_SIZE(pasids); i++)
		EXPECT_EQ(0, read_fault(self->faults[0], self->dev, pasids[i],
					i + 3, &cookie[i]));
	EXPECT_EQ(0, events_of(self->faults[0], 0));
	EXPECT_EQ(0, events_of(self->faults[1], 0));

	/* In any order */
	for (i = ARRAY_SIZE(pasids); i--;)
		EXPECT_EQ(0, answer(self->faults[0], cookie[i],
				    i & 1 ? IOMMUFD_PAGE_RESP_SUCCESS :
					    IOMMUFD_PAGE_RESP_INVALID));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 2, 2));
	EXPECT_EQ(EINVAL, answer(self->faults[0], cookie[0],
				 IOMMUFD_PAGE_RESP_SUCCESS));
}

/* Where no HWPT takes them, the device does not have to wait for an answer */
TEST_F(iopf, nobody_takes_them)
{
	/* A nested HWPT without a fault queue */
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, self->guest.nested));
	EXPECT_EQ(0, fault(self->fd, self->dev, 1, 1));
	EXPECT_EQ(0, fault(self->fd, self->dev, 0, 1));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 0, 2));

	/* The table of PASIDs of a paging HWPT is not the guest's */
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, self->guest.parent));
	EXPECT_EQ(0, fault(self->fd, self->dev, 1, 1));
	EXPECT_EQ(0, fault(self->fd, self->dev, 0, 1));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 0, 4));
	EXPECT_EQ(0, events_of(self->faults[0], 0));

	/* And back */
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, self->nested[0]));
	EXPECT_EQ(0, fault(self->fd, self->dev, 1, 1));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 1, 0, 4));
}

/* Some that were read and some that were not; the device is told anyway */
static int leave_faults(int fd, __u32 dev_id, int faults_fd, __u32 *cookie)
{
	unsigned int i;
	int rc = 0;

	for (i = 0; !rc && i < 4; i++)
		rc = fault(fd, dev_id, i & 1, i);
	for (i = 0; !rc && i < 2; i++)
		rc = read_fault(faults_fd, dev_id, i & 1, i, cookie);
	return rc;
}

TEST_F(iopf, detach_answers)
{
	__u32 cookie;

	ASSERT_EQ(0, leave_faults(self->fd, self->dev, self->faults[0],
				  &cookie));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 4, 0, 0));
	EXPECT_EQ(EBUSY, destroy(self->fd, self->nested[0]));
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, self->guest.ioas));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 0, 4));
	EXPECT_EQ(0, events_of(self->faults[0], 0));
	EXPECT_EQ(EINVAL, answer(self->faults[0], cookie,
				 IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 0, 4));

	/* The queue is held by its file and by the HWPT */
	EXPECT_EQ(EBUSY, destroy(self->fd, self->fault[0]));
	EXPECT_EQ(0, destroy(self->fd, self->nested[0]));
	EXPECT_EQ(EBUSY, destroy(self->fd, self->fault[0]));
	EXPECT_EQ(0, close(self->faults[0]));
	EXPECT_EQ(0, destroy(self->fd, self->fault[0]));
}

TEST_F(iopf, unplug_answers)
{
	__u32 cookie;

	ASSERT_EQ(0, leave_faults(self->fd, self->dev, self->faults[0],
				  &cookie));
	ASSERT_EQ(0, destroy(self->fd, self->guest.dev.stdev));
	EXPECT_EQ(0, events_of(self->faults[0], 0));
	EXPECT_EQ(EINVAL, answer(self->faults[0], cookie,
				 IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_EQ(0, destroy(self->fd, self->nested[0]));
}

/* From one HWPT with a queue to another one, with that or with another queue */
TEST_F(iopf, replace_answers)
{
	__u32 cookie[2], same, old;

	ASSERT_EQ(0, leave_faults(self->fd, self->dev, self->faults[0], &old));
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, self->nested[1]));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 0, 4));
	EXPECT_EQ(0, fault(self->fd, self->dev, 3, 9));
	EXPECT_EQ(0, events_of(self->faults[0], 0));
	EXPECT_EQ(0, read_fault(self->faults[1], self->dev, 3, 9, &cookie[0]));
	EXPECT_EQ(0, answer(self->faults[1], cookie[0],
			    IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 1, 4));

	ASSERT_EQ(0, nested_alloc_fault(self->fd, self->dev, self->on,
					self->fault[1], &same));
	EXPECT_EQ(0, fault(self->fd, self->dev, 3, 10));
	EXPECT_EQ(0, read_fault(self->faults[1], self->dev, 3, 10,
				&cookie[0]));
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, same));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 1, 5));
	EXPECT_EQ(0, fault(self->fd, self->dev, 3, 11));
	EXPECT_EQ(0, read_fault(self->faults[1], self->dev, 3, 11,
				&cookie[1]));
	EXPECT_EQ(0, answer(self->faults[1], cookie[1],
			    IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 2, 5));
}

/* A replace that fails is not one: what waits can still be answered */
TEST_F(iopf, failed_replace_keeps)
{
	__u32 viommu, nested, cookie;

	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev, self->guest.parent,
				  &viommu));
	ASSERT_EQ(0, nested_alloc_fault(self->fd, self->dev, viommu,
					self->fault[1], &nested));
	EXPECT_EQ(0, fault(self->fd, self->dev, 1, 1));
	EXPECT_EQ(0, fault(self->fd, self->dev, 1, 2));
	EXPECT_EQ(0, read_fault(self->faults[0], self->dev, 1, 1, &cookie));
	EXPECT_EQ(ENOENT, attach(self->fd, &self->guest.dev, nested));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 2, 0, 0));
	EXPECT_EQ(0, answer(self->faults[0], cookie,
			    IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_EQ(0, read_fault(self->faults[0], self->dev, 1, 2, &cookie));
	EXPECT_EQ(0, answer(self->faults[0], cookie,
			    IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_EQ(0, fault(self->fd, self->dev, 1, 3));
	EXPECT_EQ(0, read_fault(self->faults[0], self->dev, 1, 3, &cookie));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 1, 2, 0));
}

/* Without the file nobody can answer: the next detach does */
TEST_F(iopf, close_file)
{
	__u32 cookie;

	ASSERT_EQ(0, leave_faults(self->fd, self->dev, self->faults[0],
				  &cookie));
	EXPECT_EQ(0, close(self->faults[0]));
	EXPECT_EQ(0, fault(self->fd, self->dev, 1, 5));
	EXPECT_EQ(EBUSY, destroy(self->fd, self->fault[0]));
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, self->nested[1]));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 0, 5));
	EXPECT_EQ(0, destroy_these(self->fd, self->nested[0], self->fault[0]));
}

/* The end of everything comes with the last file, whichever that is */
TEST_F(iopf, close_iommufd_first)
{
	__u32 cookie;

	ASSERT_EQ(0, leave_faults(self->fd, self->dev, self->faults[0],
				  &cookie));
	EXPECT_EQ(0, close(self->fd));
	self->guest.fd = -1;
	EXPECT_EQ(POLLIN, events_of(self->faults[0], 0));
	EXPECT_EQ(0, answer(self->faults[0], cookie,
			    IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_EQ(0, read_fault(self->faults[0], self->dev, 0, 2, &cookie));
}

/* The ID in the VM is not what page faults are about */
TEST_F(iopf, without_vdevice)
{
	__u32 cookie;

	ASSERT_EQ(0, destroy(self->fd, self->guest.vdev));
	EXPECT_EQ(0, fault(self->fd, self->dev, 2, 1));
	EXPECT_EQ(0, read_fault(self->faults[0], self->dev, 2, 1, &cookie));
	EXPECT_EQ(0, answer(self->faults[0], cookie,
			    IOMMUFD_PAGE_RESP_SUCCESS));
	EXPECT_TRUE(faults_are(self->fd, self->dev, 0, 1, 0));
}

/* A VMM that does not take its faults stops nobody but itself (H3) */
TEST_F_TIMEOUT(iopf, read_slow, 100)
{
	struct iommu_hwpt_pgfault *got;
	struct reading reading;
	struct slow_page slow;
	struct guest other;
	__u32 cookie, id, nested;
	int other_faults;
	double start;

	ASSERT_EQ(0, guest_init(&other, 0));
	ASSERT_EQ(0, guest_get_queue(&other, 4));
	ASSERT_EQ(0, fault_alloc(other.fd, &id, &other_faults));
	ASSERT_EQ(0, nested_alloc_fault(other.fd, other.dev.id, other.viommu,
					id, &nested));
	if (slow_page_init(&slow, false))
		SKIP(return, "no userfaultfd: %s", strerror(errno));
	ASSERT_EQ(0, fault(self->fd, self->dev, 1, 1));
	got = slow.page;
	reading_start(&reading, self->faults[0], got, sizeof(*got));
	slow_page_wait(&slow);

	start = now();
	EXPECT_EQ(0, guest_works(&other));
	EXPECT_EQ(0, attach(other.fd, &other.dev, nested));
	EXPECT_EQ(0, fault(other.fd, other.dev.id, 1, 1));
	EXPECT_EQ(0, read_fault(other_faults, other.dev.id, 1, 1, &cookie));
	EXPECT_EQ(0, attach(other.fd, &other.dev, other.ioas));
	EXPECT_TRUE(faults_are(other.fd, other.dev.id, 0, 0, 1));
	/* More of its own as well, and what is new there is to be seen */
	EXPECT_EQ(0, fault(self->fd, self->dev, 1, 2));
	EXPECT_EQ(POLLIN, events_of(self->faults[0], 0));
	EXPECT_LT(now() - start, SOON);

	slow_page_provide(&slow);
	EXPECT_EQ(sizeof(*got), reading_join(&reading));
	EXPECT_EQ(1, got->grpid);
	EXPECT_EQ(0, read_fault(self->faults[0], self->dev, 1, 2, &cookie));
	EXPECT_EQ(0, close(other_faults));
	EXPECT_EQ(0, close(other.events));
	EXPECT_EQ(0, close(other.fd));
}

/*
 * H15: a device has a fault while it is attached, and then the attach fails.
 * That must not become a fault of the HWPT it was never attached to: it would be
 * one of an attachment that is not there.
 */
TEST_F(iopf, fault_in_failed_attach)
{
	__u32 viommu, nested;
	struct mock dev;

	/* The device has no vDEVICE at this one */
	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev, self->guest.parent,
				  &viommu));
	ASSERT_EQ(0, nested_alloc_fault(self->fd, self->dev, viommu,
					self->fault[1], &nested));
	EXPECT_EQ(ENOENT, plug(self->fd, nested,
			       MOCK_FLAGS_DEVICE_FAULT_IN_ATTACH, &dev));
	EXPECT_EQ(0, events_of(self->faults[1], 0));
	EXPECT_EQ(EPROTO, read_len(self->faults[1], &dev, 0, -1));
	EXPECT_EQ(0, destroy(self->fd, nested));
}

/* By a replace: it is a fault of the HWPT that it is attached to all the time */
TEST_F(iopf, fault_in_failed_replace)
{
	struct iommu_hwpt_pgfault got;
	__u32 viommu, nested, vdev;
	struct mock dev;
	int i;

	ASSERT_EQ(0, viommu_alloc(self->fd, self->dev, self->guest.parent,
				  &viommu));
	ASSERT_EQ(0, nested_alloc_fault(self->fd, self->dev, viommu,
					self->fault[1], &nested));
	ASSERT_EQ(0, plug(self->fd, self->guest.ioas,
			  MOCK_FLAGS_DEVICE_FAULT_IN_ATTACH, &dev));
	EXPECT_EQ(ENOENT, attach(self->fd, &dev, nested));
	EXPECT_EQ(0, events_of(self->faults[1], 0));
	EXPECT_TRUE(faults_are(self->fd, dev.id, 0, 0, 1));

	ASSERT_EQ(0, vdevice_alloc(self->fd, self->guest.viommu, dev.id, 1,
				   &vdev));
	ASSERT_EQ(0, attach(self->fd, &dev, self->nested[0]));
	EXPECT_TRUE(faults_are(self->fd, dev.id, 0, 0, 2));
	EXPECT_EQ(0, events_of(self->faults[0], 0));
	EXPECT_EQ(ENOENT, attach(self->fd, &dev, nested));
	/* A second one when it is attached to the old one again */
	EXPECT_TRUE(faults_are(self->fd, dev.id, 2, 0, 2));
	EXPECT_EQ(0, events_of(self->faults[1], 0));
	for (i = 0; i < 2; i++) {
		EXPECT_EQ(0, read_len(self->faults[0], &got, sizeof(got),
				      sizeof(got)));
		EXPECT_EQ(dev.id, got.dev_id);
		EXPECT_EQ(MOCK_ATTACH_FAULT_PASID, got.pasid);
		EXPECT_EQ(MOCK_ATTACH_FAULT_ADDR, got.addr);
		EXPECT_EQ(0, answer(self->faults[0], got.cookie,
				    IOMMUFD_PAGE_RESP_SUCCESS));
	}
	EXPECT_TRUE(faults_are(self->fd, dev.id, 0, 2, 2));
}

/*
 * Threads that work against each other for a while. A worker gives back how
 * often it got which errno; what may be among that is up to the test.
 */
#define MAX_ERRNO	133

struct worker;

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
	/* Have the workers been in each other's way? It goes on until they have */
	bool (*met)(const struct worker *workers);
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
	/* On a machine that has other things to do that may take longer */
	for (i = 0; i < 250 && stress->met && !stress->met(workers); i++)
		usleep(100 * 1000);
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

/* Events against whatever can happen to those they are for */
struct storm {
	struct stress stress;
	struct guest guest;
	int faults;
};

static struct storm *to_storm(struct worker *worker)
{
	return (struct storm *)worker->stress;
}

static void do_trigger(struct worker *worker)
{
	struct storm *storm = to_storm(worker);

	got(worker, trigger(storm->guest.fd, storm->guest.dev.id));
}

/* A queue comes, is read a few times, and goes */
static void do_queue(struct worker *worker)
{
	struct guest *guest = &to_storm(worker)->guest;
	long sequence, last = -1;
	struct event event;
	unsigned int i;
	__u32 queue;
	int events;
	int rc;

	rc = veventq_alloc(guest->fd, guest->viommu, 2, &queue, &events);
	got(worker, rc);
	if (rc)
		return;
	for (i = 0; i < 20; i++) {
		ssize_t len = read(events, &event, sizeof(event));

		if (!len)
			continue;
		sequence = event.header.sequence;
		/* A loss may be told twice, the second time as a longer one */
		if (sequence <= last ||
		    (len != sizeof(event) &&
		     (len != sizeof(event.header) ||
		      event.header.flags != LOST)) ||
		    (len == sizeof(event) &&
		     (event.header.flags || event.data.virt_id != VIRT_ID)))
			got(worker, EPROTO);
		last = sequence;
	}
	/* Either of them may be first */
	if (worker->rounds & 1)
		got(worker, destroy(guest->fd, queue) == EBUSY ? 0 : EPROTO);
	close(events);
	got(worker, destroy(guest->fd, queue));
}

static void do_guest_vdevice(struct worker *worker)
{
	struct guest *guest = &to_storm(worker)->guest;
	int rc;

	some_time(worker, 2000);
	rc = destroy(guest->fd, guest->vdev);
	got(worker, rc);
	if (!rc)
		got(worker, vdevice_alloc(guest->fd, guest->viommu,
					  guest->dev.id, VIRT_ID,
					  &guest->vdev));
}

static void do_detach(struct worker *worker)
{
	struct guest *guest = &to_storm(worker)->guest;

	got(worker, attach(guest->fd, &guest->dev, guest->ioas));
	got(worker, attach(guest->fd, &guest->dev, guest->nested));
}

static void do_read(struct worker *worker)
{
	struct guest *guest = &to_storm(worker)->guest;
	struct event event[4];
	ssize_t rc;

	rc = read(guest->events, event, sizeof(event));
	got(worker, rc < 0 ? errno : 0);
}

/* The first one has found what the second one takes away, and has missed it */
static bool trigger_met(const struct worker *workers)
{
	return workers[0].got[0] &&
	       (workers[0].got[ENOENT] || workers[0].got[EOPNOTSUPP]);
}

static bool has_happened(const struct worker *worker, int rc)
{
	return worker->got[rc] > 0;
}

TEST_F(veventq, race_queue_destroy)
{
	struct storm storm = { .stress.met = trigger_met,
			       .guest = self->guest };
	struct worker workers[] = { { .once = do_trigger },
				    { .once = do_queue } };

	run_workers(&storm.stress, workers, 2, STRESS_SECONDS);
	EXPECT_TRUE(got_only(&workers[0], 0, EOPNOTSUPP));
	EXPECT_TRUE(got_only(&workers[1], 0));
	EXPECT_TRUE(has_happened(&workers[0], 0));
	EXPECT_TRUE(has_happened(&workers[0], EOPNOTSUPP));
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, self->guest.ioas));
	EXPECT_EQ(0, destroy_these(self->fd, self->guest.nested,
				   self->guest.vdev, self->guest.viommu,
				   self->guest.parent));
}

static bool queues_met(const struct worker *workers)
{
	return workers[0].got[EEXIST] || workers[1].got[EEXIST];
}

/* Two VMMs' threads want the one queue that there can be */
TEST_F(veventq, race_one_of_a_type)
{
	struct storm storm = { .stress.met = queues_met,
			       .guest = self->guest };
	struct worker workers[] = { { .once = do_queue },
				    { .once = do_queue },
				    { .once = do_trigger } };

	run_workers(&storm.stress, workers, 3, STRESS_SECONDS);
	EXPECT_TRUE(got_only(&workers[0], 0, EEXIST));
	EXPECT_TRUE(got_only(&workers[1], 0, EEXIST));
	EXPECT_TRUE(got_only(&workers[2], 0, EOPNOTSUPP));
	EXPECT_LT(0, workers[0].got[EEXIST] + workers[1].got[EEXIST]);
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, self->guest.ioas));
	EXPECT_EQ(0, destroy_these(self->fd, self->guest.nested,
				   self->guest.vdev, self->guest.viommu,
				   self->guest.parent));
}

TEST_F(veventq, race_vdevice_destroy)
{
	struct storm storm = { .stress.met = trigger_met };
	struct worker workers[] = { { .once = do_trigger },
				    { .once = do_guest_vdevice },
				    { .once = do_read } };

	ASSERT_EQ(0, guest_get_queue(&self->guest, 2));
	storm.guest = self->guest;
	run_workers(&storm.stress, workers, 3, STRESS_SECONDS);
	EXPECT_TRUE(got_only(&workers[0], 0, ENOENT));
	EXPECT_TRUE(got_only(&workers[1], 0));
	EXPECT_TRUE(got_only(&workers[2], 0));
	EXPECT_TRUE(has_happened(&workers[0], 0));
	EXPECT_TRUE(has_happened(&workers[0], ENOENT));
	while (read_empty(self->guest.events))
		;
	EXPECT_EQ(0, guest_works(&storm.guest));
}

TEST_F(veventq, race_detach)
{
	struct storm storm = { .stress.met = trigger_met };
	struct worker workers[] = { { .once = do_trigger },
				    { .once = do_detach },
				    { .once = do_read } };

	ASSERT_EQ(0, guest_get_queue(&self->guest, 2));
	storm.guest = self->guest;
	run_workers(&storm.stress, workers, 3, STRESS_SECONDS);
	EXPECT_TRUE(got_only(&workers[0], 0, ENOENT));
	EXPECT_TRUE(got_only(&workers[1], 0));
	EXPECT_TRUE(got_only(&workers[2], 0));
	EXPECT_TRUE(has_happened(&workers[0], 0));
	EXPECT_TRUE(has_happened(&workers[0], ENOENT));
	while (read_empty(self->guest.events))
		;
	EXPECT_EQ(0, guest_works(&storm.guest));
}

/* The device itself goes, and with it the vDEVICE and the attachment */
static void do_replug(struct worker *worker)
{
	struct storm *storm = to_storm(worker);
	struct guest *guest = &storm->guest;
	struct mock dev;
	__u32 vdev;
	int rc;

	rc = plug(guest->fd, guest->ioas, 0, &dev);
	got(worker, rc);
	if (rc)
		return;
	got(worker, vdevice_alloc(guest->fd, guest->viommu, dev.id, 1, &vdev));
	got(worker, attach(guest->fd, &dev, guest->nested));
	storm->stress.guest = dev.id;
	some_time(worker, 2000);
	got(worker, destroy(guest->fd, dev.stdev));
}

static void do_trigger_plugged(struct worker *worker)
{
	struct storm *storm = to_storm(worker);

	got(worker, trigger(storm->guest.fd, storm->stress.guest));
}

TEST_F(veventq, race_unplug)
{
	struct storm storm = { .stress.met = trigger_met };
	struct worker workers[] = { { .once = do_trigger_plugged },
				    { .once = do_replug },
				    { .once = do_read } };

	ASSERT_EQ(0, guest_get_queue(&self->guest, 2));
	storm.guest = self->guest;
	run_workers(&storm.stress, workers, 3, STRESS_SECONDS);
	EXPECT_TRUE(got_only(&workers[0], 0, ENOENT));
	EXPECT_TRUE(got_only(&workers[1], 0));
	EXPECT_TRUE(got_only(&workers[2], 0));
	EXPECT_TRUE(has_happened(&workers[0], 0));
	EXPECT_TRUE(has_happened(&workers[0], ENOENT));
}

static void do_fault(struct worker *worker)
{
	struct guest *guest = &to_storm(worker)->guest;

	got(worker, fault(guest->fd, guest->dev.id, worker->rounds & 1, 0));
}

static void do_answer(struct worker *worker)
{
	struct iommu_hwpt_pgfault fault;
	struct storm *storm = to_storm(worker);

	/* Not all of them, and one that is gone meanwhile is not there */
	if (read(storm->faults, &fault, sizeof(fault)) != sizeof(fault))
		return;
	if (worker->rounds & 1)
		got(worker, answer(storm->faults, fault.cookie,
				   IOMMUFD_PAGE_RESP_SUCCESS));
}

static bool answer_met(const struct worker *workers)
{
	return workers[2].got[0];
}

/* Page faults, of which in the end none is left without an answer */
TEST_F(iopf, race_detach)
{
	struct storm storm = {
		.stress.met = answer_met,
		.guest = self->guest,
		.faults = self->faults[0],
	};
	struct worker workers[] = { { .once = do_fault },
				    { .once = do_detach },
				    { .once = do_answer } };
	struct iommu_test_cmd cmd = {
		.size = sizeof(cmd),
		.op = IOMMU_TEST_OP_DEV_GET_IOPF,
		.id = self->dev,
	};

	storm.guest.nested = self->nested[0];
	run_workers(&storm.stress, workers, 3, STRESS_SECONDS);
	EXPECT_TRUE(got_only(&workers[0], 0));
	EXPECT_TRUE(got_only(&workers[1], 0));
	EXPECT_TRUE(got_only(&workers[2], 0, EINVAL));
	EXPECT_LT(0, workers[0].rounds);
	EXPECT_LT(0, workers[1].rounds);
	ASSERT_EQ(0, attach(self->fd, &self->guest.dev, self->guest.ioas));
	ASSERT_EQ(0, err(ioctl(self->fd,
			       _IOMMU_TEST_CMD(IOMMU_TEST_OP_DEV_GET_IOPF),
			       &cmd)));
	EXPECT_EQ(0, cmd.dev_get_iopf.out_pending);
	EXPECT_EQ(workers[0].rounds, cmd.dev_get_iopf.out_success +
					     cmd.dev_get_iopf.out_invalid);
	EXPECT_LT(0, cmd.dev_get_iopf.out_success);
}

TEST_HARNESS_MAIN
