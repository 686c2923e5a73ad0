// SPDX-License-Identifier: GPL-2.0-only
/*
 * The services of VFIO and the IOMMU core besides translation: resets, VF
 * tokens, interrupts of devices that are attached to nothing, and attaching to
 * a domain of another IOMMU driver
 *
 * The host is the emulated one of tools/testing/selftests/iommu/qemu. The
 * devices are QEMU's edu, a virtio-rng with ATS, which has an FLR and does DMA
 * with next to no driver, and an igb with its VFs.
 */
#include <errno.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <linux/pci_regs.h>
#include <linux/vfio.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "../kselftest_harness.h"
#include "klog_expect.h"
#include "lib/clock.h"
#include "smmuv3_guest.h"
#include "../../../../drivers/iommu/iommufd/iommufd_test.h"

#define RNG_ID		0x10441af4
#define IGB_ID		0x10c98086
#define IGB_VF_ID	0x10ca8086

#define VSID		0x1234
#define ASID		0x21
#define IOVA_QUEUE	0x0c345000ULL
#define IOVA_BUF	0x0d802000ULL

/* Milliseconds until a device or an interrupt is late, on a busy machine */
#define SOON_MS		30000

/* No test is allowed to cause any of these messages */
static void expect_clean_klog(struct __test_metadata *_metadata)
{
	static const char *const bad[] = {
		"CMDQ error", "CMD_SYNC timeout", "WARNING:", "BUG:", "Oops",
		"DMA stays blocked", "INFO: ",
	};

	expect_not_in_klog(_metadata, bad, ARRAY_SIZE(bad));
}

static int cdev_open(const char *bdf)
{
	char path[PATH_MAX], name[NAME_MAX + 1] = "";
	struct dirent *ent;
	DIR *dir;
	int fd;

	snprintf(path, sizeof(path), SYS_PCI "/%s/vfio-dev", bdf);
	dir = opendir(path);
	if (!dir)
		return -errno;
	while ((ent = readdir(dir)))
		if (ent->d_name[0] != '.')
			snprintf(name, sizeof(name), "%s", ent->d_name);
	closedir(dir);
	if (!*name)
		return -ENODEV;
	snprintf(path, sizeof(path), "/dev/vfio/devices/%s", name);
	fd = open(path, O_RDWR | O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

/* The driver of a virtio-rng: one queue with one buffer */
#define QUEUE_SIZE	8
#define QUEUE_AVAIL	0x100
#define QUEUE_USED	0x200
#define RNG_LEN		64

struct virtio_area {
	__u64 offset;
	__u32 multiplier;
};

struct rng {
	/* Its VFIO device, for attach and detach */
	struct edu dev;
	char bdf[16];
	struct virtio_area common;
	struct virtio_area notify;
	__u16 avail;
};

static __u64 dev_read(struct rng *rng, __u64 offset, unsigned int bytes)
{
	__le64 val = 0;

	if (pread(rng->dev.fd, &val, bytes, offset) != bytes)
		return ~0ULL;
	return le64toh(val);
}

static void dev_write(struct rng *rng, __u64 offset, unsigned int bytes,
		      __u64 val)
{
	__le64 le = htole64(val);

	if (pwrite(rng->dev.fd, &le, bytes, offset) != bytes)
		fprintf(stderr, "# no write of %u bytes\n", bytes);
}

static __u64 region_offset(struct rng *rng, __u32 index)
{
	struct vfio_region_info region = {
		.argsz = sizeof(region),
		.index = index,
	};

	if (iommufd_ioctl(rng->dev.fd, VFIO_DEVICE_GET_REGION_INFO, &region))
		return 0;
	return region.offset;
}

/* Find the registers by the type in the vendor-specific PCI capabilities */
static bool rng_find(struct rng *rng, unsigned int type,
		     struct virtio_area *area)
{
	__u64 cfg = rng->dev.cfg_offset;
	__u8 at = dev_read(rng, cfg + PCI_CAPABILITY_LIST, 1);
	unsigned int i;

	for (i = 0; at && i != 48; i++, at = dev_read(rng, cfg + at + 1, 1)) {
		if (dev_read(rng, cfg + at, 1) != PCI_CAP_ID_VNDR ||
		    dev_read(rng, cfg + at + 3, 1) != type)
			continue;
		area->offset = region_offset(rng,
					     dev_read(rng, cfg + at + 4, 1)) +
			       dev_read(rng, cfg + at + 8, 4);
		area->multiplier = dev_read(rng, cfg + at + 16, 4);
		return true;
	}
	return false;
}

static int rng_open(struct rng *rng, const char *bdf, int iommufd)
{
	struct vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.iommufd = iommufd,
	};
	__u32 type = 0, len = sizeof(rng->dev.info);
	int rc;

	memset(rng, 0, sizeof(*rng));
	rng->dev.irqfd = -1;
	snprintf(rng->bdf, sizeof(rng->bdf), "%s", bdf);
	rng->dev.fd = cdev_open(bdf);
	if (rng->dev.fd < 0)
		return rng->dev.fd;
	rc = iommufd_ioctl(rng->dev.fd, VFIO_DEVICE_BIND_IOMMUFD, &bind);
	if (rc)
		return rc;
	rng->dev.dev_id = bind.out_devid;
	rc = hw_info(iommufd, rng->dev.dev_id, 0, &type, &rng->dev.info, &len);
	if (rc)
		return rc;
	rng->dev.cfg_offset = region_offset(rng, VFIO_PCI_CONFIG_REGION_INDEX);
	if (!rng_find(rng, 1, &rng->common) || !rng_find(rng, 2, &rng->notify))
		return -ENODEV;
	return 0;
}

/*
 * The device has just been reset. The queue's memory is at @iova, and at
 * @queue.
 */
static int rng_start(struct rng *rng, __u64 iova, __u8 *queue)
{
	const __u64 common = rng->common.offset;
	const __u64 cfg = rng->dev.cfg_offset;
	unsigned int i;

	dev_write(rng, cfg + PCI_COMMAND, 2,
		  PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	memset(queue, 0, GUEST_PAGE);
	rng->avail = 0;
	dev_write(rng, common + 20, 1, 0);
	for (i = 0; dev_read(rng, common + 20, 1) && i != 1000; i++)
		usleep(1000);
	/* ACKNOWLEDGE, DRIVER; VERSION_1 and ACCESS_PLATFORM; FEATURES_OK */
	dev_write(rng, common + 20, 1, 3);
	dev_write(rng, common + 8, 4, 1);
	dev_write(rng, common + 12, 4, 3);
	dev_write(rng, common + 20, 1, 11);
	if (dev_read(rng, common + 20, 1) != 11)
		return -EIO;
	dev_write(rng, common + 22, 2, 0);
	dev_write(rng, common + 24, 2, QUEUE_SIZE);
	for (i = 0; i != 3; i++) {
		static const unsigned int part[] = {
			0, QUEUE_AVAIL, QUEUE_USED,
		};

		dev_write(rng, common + 32 + 8 * i, 4, iova + part[i]);
		dev_write(rng, common + 36 + 8 * i, 4, (iova + part[i]) >> 32);
	}
	dev_write(rng, common + 28, 2, 1);
	/* DRIVER_OK */
	dev_write(rng, common + 20, 1, 15);
	return dev_read(rng, common + 20, 1) == 15 ? 0 : -EIO;
}

/* Whether the device writes to @iova within @ms; @buf is the CPU's mapping */
static bool rng_writes(struct rng *rng, __u8 *queue, __u64 iova, __u8 *buf,
		       int ms)
{
	static const __u8 zero[RNG_LEN];
	__u16 *used = (__u16 *)(queue + QUEUE_USED + 2);
	__u16 *avail = (__u16 *)(queue + QUEUE_AVAIL + 2);
	__u64 *desc = (__u64 *)queue;
	unsigned int notify;

	memset(buf, 0, RNG_LEN);
	desc[0] = htole64(iova);
	/* This buffer is written by the device */
	desc[1] = htole64(RNG_LEN | 2ULL << 32);
	rng->avail++;
	__sync_synchronize();
	__atomic_store_n(avail, htole16(rng->avail), __ATOMIC_SEQ_CST);
	dev_write(rng, rng->common.offset + 22, 2, 0);
	notify = dev_read(rng, rng->common.offset + 30, 2);
	dev_write(rng, rng->notify.offset + notify * rng->notify.multiplier, 2,
		  0);
	for (; ms > 0; ms--) {
		if (le16toh(__atomic_load_n(used, __ATOMIC_SEQ_CST)) ==
		    rng->avail)
			return memcmp(buf, zero, RNG_LEN);
		usleep(1000);
	}
	return false;
}

/* Resets */
FIXTURE(reset)
{
	int fd;
	struct guest g;
	struct rng rng;
	char port[16];
	__u32 viommu_id;
	__u32 vdevice_id;
	__u32 hwpt_s1;
	__u32 hwpt_bypass;
	__u8 *queue;
	__u8 *buf;
	__u64 buf_ipa;
};

FIXTURE_VARIANT(reset)
{
	/* Reset by the bridge above it, not by the function alone */
	bool bus;
};

FIXTURE_VARIANT_ADD(reset, function)
{
};

FIXTURE_VARIANT_ADD(reset, bus)
{
	.bus = true,
};

/* The bridge above a device */
static bool pci_port(const char *bdf, char port[16])
{
	char path[PATH_MAX], real[PATH_MAX], *at;

	snprintf(path, sizeof(path), SYS_PCI "/%s", bdf);
	if (!realpath(path, real))
		return false;
	at = strrchr(real, '/');
	if (!at)
		return false;
	*at = 0;
	at = strrchr(real, '/');
	return at && snprintf(port, 16, "%s", at + 1) < 16;
}

FIXTURE_SETUP(reset)
{
	char bdf[16], why[128];
	__u64 cd, ttb, queue;

	if (device_find(RNG_ID, bdf, why, sizeof(why)))
		SKIP(return, "%s", why);
	klog_mark(_metadata->name);
	self->fd = iommufd_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, rng_open(&self->rng, bdf, self->fd));
	ASSERT_TRUE(pci_port(bdf, self->port));
	ASSERT_EQ(0, guest_init(&self->g, self->fd));
	ASSERT_EQ(0, hwpt_alloc(self->fd, self->rng.dev.dev_id, self->g.ioas_id,
				IOMMU_HWPT_ALLOC_NEST_PARENT,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &self->g.s2_id));
	ASSERT_EQ(0, edu_attach(&self->rng.dev, self->g.s2_id));
	ASSERT_EQ(0, viommu_alloc(self->fd, self->rng.dev.dev_id, self->g.s2_id,
				  &self->viommu_id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, self->viommu_id,
				   self->rng.dev.dev_id, VSID,
				   &self->vdevice_id));
	ttb = s1_create(&self->g);
	cd = guest_zero_page(&self->g);
	cd_write(&self->g, &self->rng.dev, cd, ttb, ASID);
	queue = guest_page(&self->g);
	self->buf_ipa = guest_page(&self->g);
	s1_map(&self->g, ttb, IOVA_QUEUE, queue, S1_RW);
	s1_map(&self->g, ttb, IOVA_BUF, self->buf_ipa, S1_RW);
	self->queue = guest_ptr(&self->g, queue);
	self->buf = guest_ptr(&self->g, self->buf_ipa);
	ASSERT_EQ(0, hwpt_alloc_ste(self->fd, self->rng.dev.dev_id,
				    self->viommu_id, ste_s1(cd),
				    &self->hwpt_s1));
	ASSERT_EQ(0, hwpt_alloc_ste(self->fd, self->rng.dev.dev_id,
				    self->viommu_id, ste_bypass(),
				    &self->hwpt_bypass));
	ASSERT_EQ(0, edu_attach(&self->rng.dev, self->hwpt_s1));
	ASSERT_EQ(0, rng_start(&self->rng, IOVA_QUEUE, self->queue));
	ASSERT_TRUE(rng_writes(&self->rng, self->queue, IOVA_BUF, self->buf,
			       SOON_MS));
}

FIXTURE_TEARDOWN(reset)
{
	close(self->rng.dev.fd);
	close(self->fd);
	expect_clean_klog(_metadata);
}

static int reset_now(struct rng *rng, const char *port)
{
	char path[PATH_MAX];

	if (!port)
		return iommufd_ioctl(rng->dev.fd, VFIO_DEVICE_RESET, NULL);
	snprintf(path, sizeof(path), SYS_PCI "/%s/reset_subordinate", port);
	return write_str(path, "1");
}

struct reset_thread {
	pthread_t thread;
	struct rng *rng;
	const char *port;
	bool stop;
	int rc;
};

static void *reset_loop(void *arg)
{
	struct reset_thread *t = arg;

	do {
		t->rc = reset_now(t->rng, t->port);
	} while (!t->rc && !__atomic_load_n(&t->stop, __ATOMIC_RELAXED));
	return NULL;
}

static int reset_end(struct reset_thread *t)
{
	__atomic_store_n(&t->stop, true, __ATOMIC_RELAXED);
	pthread_join(t->thread, NULL);
	return t->rc;
}

/* A reset does not change the HWPT that the device is attached to */
TEST_F(reset, keeps_translation)
{
	const char *port = variant->bus ? self->port : NULL;
	int i;

	for (i = 0; i != 2; i++) {
		ASSERT_EQ(0, reset_now(&self->rng, port));
		ASSERT_EQ(0, rng_start(&self->rng, IOVA_QUEUE, self->queue));
		EXPECT_TRUE(rng_writes(&self->rng, self->queue, IOVA_BUF,
				       self->buf, SOON_MS));
	}
	/* A device that is attached to nothing must remain so */
	ASSERT_EQ(0, edu_detach(&self->rng.dev));
	ASSERT_EQ(0, reset_now(&self->rng, port));
	ASSERT_EQ(0, rng_start(&self->rng, IOVA_QUEUE, self->queue));
	EXPECT_FALSE(rng_writes(&self->rng, self->queue, IOVA_BUF, self->buf,
				300));
	ASSERT_EQ(0, edu_attach(&self->rng.dev, self->hwpt_s1));
	ASSERT_EQ(0, reset_now(&self->rng, port));
	ASSERT_EQ(0, rng_start(&self->rng, IOVA_QUEUE, self->queue));
	EXPECT_TRUE(rng_writes(&self->rng, self->queue, IOVA_BUF, self->buf,
			       SOON_MS));
}

/* The device cannot be attached to anything during its reset */
TEST_F(reset, attach_meanwhile)
{
	struct reset_thread t = {
		.rng = &self->rng,
		.port = variant->bus ? self->port : NULL,
	};
	unsigned int attached = 0, busy = 0, i;
	double end = now() + 60;
	int rc = 0;

	ASSERT_EQ(0, pthread_create(&t.thread, NULL, reset_loop, &t));
	for (i = 0; (attached < 10 || busy < 10) && now() < end; i++) {
		rc = edu_attach(&self->rng.dev, i & 1 ? self->hwpt_s1 :
							self->hwpt_bypass);
		if (rc)
			busy++;
		else
			attached++;
		if (rc && rc != -EBUSY)
			break;
	}
	EXPECT_EQ(0, reset_end(&t));
	EXPECT_TRUE(!rc || rc == -EBUSY) {
		TH_LOG("attach gives %d", rc);
	}
	EXPECT_LE(10, attached);
	EXPECT_LE(10, busy);
	ASSERT_EQ(0, edu_attach(&self->rng.dev, self->hwpt_s1));
	ASSERT_EQ(0, rng_start(&self->rng, IOVA_QUEUE, self->queue));
	EXPECT_TRUE(rng_writes(&self->rng, self->queue, IOVA_BUF, self->buf,
			       SOON_MS));
}

/* The device can be detached, and stays detached afterwards */
TEST_F(reset, detach_meanwhile)
{
	struct reset_thread t = {
		.rng = &self->rng,
		.port = variant->bus ? self->port : NULL,
	};
	double end = now() + 60;
	int rc = 0;

	ASSERT_EQ(0, pthread_create(&t.thread, NULL, reset_loop, &t));
	/* Wait until this is in the middle of a reset, which then is the last */
	while (!rc && now() < end) {
		rc = edu_attach(&self->rng.dev, self->hwpt_bypass);
		if (!rc)
			rc = edu_attach(&self->rng.dev, self->hwpt_s1);
	}
	__atomic_store_n(&t.stop, true, __ATOMIC_RELAXED);
	EXPECT_EQ(-EBUSY, rc);
	EXPECT_EQ(0, edu_detach(&self->rng.dev));
	EXPECT_EQ(0, destroy(self->fd, self->hwpt_bypass));
	EXPECT_EQ(0, destroy(self->fd, self->hwpt_s1));
	EXPECT_EQ(0, reset_end(&t));
	ASSERT_EQ(0, rng_start(&self->rng, IOVA_QUEUE, self->queue));
	EXPECT_FALSE(rng_writes(&self->rng, self->queue, IOVA_BUF, self->buf,
				300));
}

/* VF tokens */
static const __u8 token[16] = "a token of 16 b";
static const __u8 other_token[16] = "another token..";

struct bind {
	__u32 argsz;
	__u32 flags;
	const void *token;
};

/* Open and close the cdev of a PF or a VF, or keep it open in *@fd */
static int bind_as(const char *bdf, int iommufd, struct bind how, int *keep)
{
	struct vfio_device_bind_iommufd bind = {
		.argsz = how.argsz ?: sizeof(bind),
		.flags = how.flags,
		.iommufd = iommufd,
		.token_uuid_ptr = (uintptr_t)how.token,
	};
	int fd = cdev_open(bdf), rc;

	if (fd < 0)
		return fd;
	rc = iommufd_ioctl(fd, VFIO_DEVICE_BIND_IOMMUFD, &bind);
	if (keep && !rc)
		*keep = fd;
	else
		close(fd);
	return rc;
}

#define IGB_VF_BAR	0x4000

#define WITH(_token) \
	((struct bind){ .flags = VFIO_DEVICE_BIND_FLAG_TOKEN, .token = _token })
#define WITHOUT	((struct bind){ .argsz = 16 })

FIXTURE(vf_token)
{
	int fd;
	char pf[16];
	char vf[16];
	char numvfs[PATH_MAX];
};

FIXTURE_SETUP(vf_token)
{
	char why[128];

	if (device_find(IGB_ID, self->pf, why, sizeof(why)))
		SKIP(return, "%s", why);
	klog_mark(_metadata->name);
	self->fd = iommufd_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, write_str("/sys/module/vfio_pci/parameters/enable_sriov",
			       "1"));
	snprintf(self->numvfs, sizeof(self->numvfs), SYS_PCI "/%s/sriov_numvfs",
		 self->pf);
	/* igb does not enlarge the BARs of its VFs */
	if (access(self->numvfs, F_OK) && HOST_PAGE > IGB_VF_BAR)
		SKIP(return, "the BAR of a VF is smaller than a page");
	/* No VF is in use, so this sets the token of the PF */
	ASSERT_EQ(0, bind_as(self->pf, self->fd, WITH(token), NULL));
	ASSERT_EQ(0, write_str(self->numvfs, "1"));
	ASSERT_EQ(0, device_find(IGB_VF_ID, self->vf, why, sizeof(why))) {
		TH_LOG("%s", why);
	}
}

FIXTURE_TEARDOWN(vf_token)
{
	write_str(self->numvfs, "0");
	close(self->fd);
	expect_clean_klog(_metadata);
}

TEST_F(vf_token, of_vf)
{
	EXPECT_EQ(-EACCES, bind_as(self->vf, self->fd, WITHOUT, NULL));
	EXPECT_EQ(-EACCES, bind_as(self->vf, self->fd, WITH(other_token), NULL));
	EXPECT_EQ(0, bind_as(self->vf, self->fd, WITH(token), NULL));
	EXPECT_EQ(-EACCES, bind_as(self->vf, self->fd, WITHOUT, NULL));
	/* The token of the PF may change */
	EXPECT_EQ(0, bind_as(self->pf, self->fd, WITH(other_token), NULL));
	EXPECT_EQ(-EACCES, bind_as(self->vf, self->fd, WITH(token), NULL));
	EXPECT_EQ(0, bind_as(self->vf, self->fd, WITH(other_token), NULL));
}

/* A VF is in use, so the PF can only be opened with the token */
TEST_F(vf_token, of_pf)
{
	int vf = -1;

	EXPECT_EQ(0, bind_as(self->pf, self->fd, WITHOUT, NULL));
	ASSERT_EQ(0, bind_as(self->vf, self->fd, WITH(token), &vf));
	EXPECT_EQ(-EACCES, bind_as(self->pf, self->fd, WITHOUT, NULL));
	EXPECT_EQ(-EACCES, bind_as(self->pf, self->fd, WITH(other_token), NULL));
	EXPECT_EQ(0, bind_as(self->pf, self->fd, WITH(token), NULL));
	close(vf);
	EXPECT_EQ(0, bind_as(self->pf, self->fd, WITHOUT, NULL));
}

TEST_F(vf_token, errors)
{
	const __u32 flag = VFIO_DEVICE_BIND_FLAG_TOKEN;
	char edu[16], why[128];
	unsigned int i;

	EXPECT_EQ(1, flag);
	EXPECT_EQ(24, sizeof(struct vfio_device_bind_iommufd));
	EXPECT_EQ(16, offsetof(struct vfio_device_bind_iommufd,
			       token_uuid_ptr));
	for (i = 1; i != 32; i++)
		EXPECT_EQ(-EINVAL,
			  bind_as(self->vf, self->fd,
				  (struct bind){ 0, flag | 1U << i, token },
				  NULL));
	/* The struct is too short for the pointer */
	for (i = 0; i != 24; i++)
		EXPECT_EQ(-EINVAL, bind_as(self->vf, self->fd,
					   (struct bind){ i ?: 1, flag, token },
					   NULL));
	EXPECT_EQ(-EFAULT, bind_as(self->vf, self->fd, WITH(NULL), NULL));
	/* Without the flag, the pointer is ignored */
	EXPECT_EQ(-EACCES, bind_as(self->vf, self->fd,
				   (struct bind){ 0, 0, token }, NULL));
	EXPECT_EQ(0, bind_as(self->pf, self->fd, (struct bind){ 0, 0, NULL },
			     NULL));
	/* The edu is neither PF nor VF */
	ASSERT_EQ(0, edu_find(edu, why, sizeof(why)));
	EXPECT_EQ(-EINVAL, bind_as(edu, self->fd, WITH(token), NULL));
	EXPECT_EQ(0, bind_as(edu, self->fd, WITHOUT, NULL));
}

/*
 * VFs share the PRI of their PF, so user space cannot have their page faults.
 * But this PF has no PRI.
 */
TEST_F(vf_token, fault_queue)
{
	struct vfio_device_bind_iommufd bind = {
		.argsz = sizeof(bind),
		.flags = VFIO_DEVICE_BIND_FLAG_TOKEN,
		.iommufd = self->fd,
		.token_uuid_ptr = (uintptr_t)token,
	};
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	struct iommu_fault_alloc queue = { .size = sizeof(queue) };
	struct iommu_hwpt_alloc hwpt = {
		.size = sizeof(hwpt),
		.flags = IOMMU_HWPT_FAULT_ID_VALID,
	};
	struct edu dev = { .irqfd = -1 };
	int i;

	/* Capabilities are found at all, and PRI is not among them */
	ASSERT_TRUE(pci_has_ext_cap(self->pf, PCI_EXT_CAP_ID_SRIOV));
	ASSERT_FALSE(pci_has_ext_cap(self->pf, PCI_EXT_CAP_ID_PRI));
	dev.fd = cdev_open(self->vf);
	ASSERT_LE(0, dev.fd);
	ASSERT_EQ(0, iommufd_ioctl(dev.fd, VFIO_DEVICE_BIND_IOMMUFD, &bind));
	ASSERT_EQ(0, iommufd_ioctl(self->fd, IOMMU_IOAS_ALLOC, &ioas));
	ASSERT_EQ(0, iommufd_ioctl(self->fd, IOMMU_FAULT_QUEUE_ALLOC, &queue));
	hwpt.dev_id = bind.out_devid;
	hwpt.pt_id = ioas.out_ioas_id;
	hwpt.fault_id = queue.out_fault_id;
	ASSERT_EQ(0, iommufd_ioctl(self->fd, IOMMU_HWPT_ALLOC, &hwpt));
	for (i = 0; i != 2; i++) {
		EXPECT_EQ(0, edu_attach(&dev, hwpt.out_hwpt_id));
		EXPECT_EQ(0, edu_attach(&dev, ioas.out_ioas_id));
	}
	EXPECT_EQ(0, edu_detach(&dev));
	EXPECT_EQ(0, edu_attach(&dev, hwpt.out_hwpt_id));
	edu_close(&dev);
	close(queue.out_fault_fd);
}

/* A device that is bound, and two IOASs */
FIXTURE(bound)
{
	int fd;
	struct guest g;
	struct edu dev;
	__u32 ioas_id;
};

FIXTURE_SETUP(bound)
{
	struct iommu_ioas_alloc cmd = { .size = sizeof(cmd) };
	char bdf[16], why[128];

	if (edu_find(bdf, why, sizeof(why)))
		SKIP(return, "%s", why);
	klog_mark(_metadata->name);
	self->fd = iommufd_open();
	ASSERT_LE(0, self->fd);
	ASSERT_EQ(0, edu_open(&self->dev, bdf, self->fd));
	ASSERT_EQ(0, guest_init(&self->g, self->fd));
	ASSERT_EQ(0, iommufd_ioctl(self->fd, IOMMU_IOAS_ALLOC, &cmd));
	self->ioas_id = cmd.out_ioas_id;
}

FIXTURE_TEARDOWN(bound)
{
	edu_close(&self->dev);
	close(self->fd);
	expect_clean_klog(_metadata);
}

/* A device without IOVAs cannot have an address for its interrupts */
TEST_F(bound, msi_needs_a_hwpt)
{
	EXPECT_GT(0, edu_msi_enable(&self->dev));
	ASSERT_EQ(0, edu_attach(&self->dev, self->g.ioas_id));
	ASSERT_EQ(0, edu_msi_enable(&self->dev));
	EXPECT_TRUE(edu_msi_arrives(&self->dev, SOON_MS));
	ASSERT_EQ(0, edu_msi_disable(&self->dev));
	ASSERT_EQ(0, edu_detach(&self->dev));
	EXPECT_GT(0, edu_msi_enable(&self->dev));
	ASSERT_EQ(0, edu_attach(&self->dev, self->g.ioas_id));
	ASSERT_EQ(0, edu_msi_enable(&self->dev));
	EXPECT_TRUE(edu_msi_arrives(&self->dev, SOON_MS));
}

/* The pin in configuration space, or a negative errno */
static int read_pin(int fd, off_t cfg)
{
	__u8 pin;

	return pread(fd, &pin, 1, cfg + PCI_INTERRUPT_PIN) == 1 ? pin : -errno;
}

static int intx_count(struct edu *dev)
{
	struct vfio_irq_info info = {
		.argsz = sizeof(info),
		.index = VFIO_PCI_INTX_IRQ_INDEX,
	};
	int rc = iommufd_ioctl(dev->fd, VFIO_DEVICE_GET_IRQ_INFO, &info);

	return rc ?: (int)info.count;
}

/*
 * Firmware may write 255 to Interrupt Line if an interrupt is not routed, and the
 * kernel takes this for an IRQ. So clear it, and let the kernel find the device
 * again.
 */
static int clear_line(struct __test_metadata *_metadata, const char *bdf)
{
	char path[PATH_MAX];
	int fd, pin;

	snprintf(path, sizeof(path), SYS_PCI "/%s/config", bdf);
	fd = open(path, O_RDWR | O_CLOEXEC);
	EXPECT_EQ(1, pwrite(fd, "", 1, PCI_INTERRUPT_LINE));
	pin = read_pin(fd, 0);
	close(fd);
	snprintf(path, sizeof(path), SYS_PCI "/%s/remove", bdf);
	EXPECT_EQ(0, write_str(path, "1"));
	EXPECT_EQ(0, write_str("/sys/bus/pci/rescan", "1"));
	return pin;
}

/* An INTx that firmware does not route to an IRQ must not exist for a VMM */
TEST_F(bound, intx_without_irq)
{
	char bdfs[MAX_DEVICES][BDF_LEN], why[128];
	struct edu dev;
	unsigned int i;

	i = pci_list_vfio(EDU_ID, 1, bdfs, why, sizeof(why)) - 1;
	/* In decimal notation this is 255 */
	if (pci_attr(bdfs[i], "irq") && pci_attr(bdfs[i], "irq") != 0x255)
		SKIP(return, "the last edu has an IRQ");
	EXPECT_EQ(1, clear_line(_metadata, bdfs[i]));
	ASSERT_EQ(i + 1, pci_list_vfio(EDU_ID, 1, bdfs, why, sizeof(why)));
	ASSERT_EQ(0, pci_attr(bdfs[i], "irq"));
	ASSERT_EQ(0, edu_open(&dev, bdfs[i], self->fd));
	EXPECT_EQ(0, read_pin(dev.fd, dev.cfg_offset));
	EXPECT_EQ(0, intx_count(&dev));
	edu_close(&dev);

	EXPECT_EQ(1, read_pin(self->dev.fd, self->dev.cfg_offset));
	EXPECT_EQ(1, intx_count(&self->dev));
}

static int ioeventfd(struct edu *dev, int fd, __u32 width, __u64 offset,
		     __u64 data)
{
	struct vfio_region_info region = {
		.argsz = sizeof(region),
		.index = VFIO_PCI_BAR0_REGION_INDEX,
	};
	struct vfio_device_ioeventfd cmd = {
		.argsz = sizeof(cmd),
		.flags = width,
		.data = data,
		.fd = fd,
	};
	int rc = iommufd_ioctl(dev->fd, VFIO_DEVICE_GET_REGION_INFO, &region);

	cmd.offset = region.offset + offset;
	return rc ?: iommufd_ioctl(dev->fd, VFIO_DEVICE_IOEVENTFD, &cmd);
}

/* An offset of a file is signed, and so may be the index of the BAR in it */
TEST_F(bound, ioeventfd_negative)
{
	int fd = eventfd(0, EFD_CLOEXEC);
	__s64 bar;

	ASSERT_LE(0, fd);
	for (bar = -1; bar >= -64; bar--)
		EXPECT_EQ(-EINVAL, ioeventfd(&self->dev, fd,
					     VFIO_DEVICE_IOEVENTFD_32,
					     (__u64)bar << 40, 0));
	close(fd);
}

/*
 * The kernel writes to the device when the eventfd is signaled, in one access. For an
 * Arm CPU an unaligned access is a fault of the kernel.
 */
TEST_F(bound, ioeventfd_unaligned)
{
	struct edu *dev = &self->dev;
	int fd = eventfd(0, EFD_CLOEXEC);
	__u32 width;

	ASSERT_LE(0, fd);
	for (width = 2; width <= VFIO_DEVICE_IOEVENTFD_64; width *= 2) {
		EXPECT_EQ(-EINVAL, ioeventfd(dev, fd, width, EDU_BUF + 1, 0));
		EXPECT_EQ(-EINVAL, ioeventfd(dev, fd, width,
					     EDU_BUF + width / 2, 0));
	}
	/* A register that can be written and read */
	edu_set_reg(dev, EDU_REG_DMA_SRC, 0);
	ASSERT_EQ(0, ioeventfd(dev, fd, VFIO_DEVICE_IOEVENTFD_32, EDU_REG_DMA_SRC,
			       EDU_BUF));
	ASSERT_EQ(0, eventfd_write(fd, 1));
	EXPECT_EQ(EDU_BUF, edu_reg(dev, EDU_REG_DMA_SRC));
	EXPECT_EQ(0, ioeventfd(dev, -1, VFIO_DEVICE_IOEVENTFD_32, EDU_REG_DMA_SRC,
			       EDU_BUF));
	close(fd);
}

/*
 * A domain belongs to its driver: neither the mock driver nor the SMMUv3's may
 * use a domain of the other
 */
TEST_F(bound, domain_of_another_driver)
{
	struct iommu_test_cmd mock = {
		.size = sizeof(mock),
		.op = IOMMU_TEST_OP_MOCK_DOMAIN,
		.id = self->g.ioas_id,
	};
	struct iommu_test_cmd replace = {
		.size = sizeof(replace),
		.op = IOMMU_TEST_OP_MOCK_DOMAIN_REPLACE,
	};
	__u64 page = guest_page(&self->g);
	int rc;

	rc = iommufd_ioctl(self->fd, IOMMU_TEST_CMD, &mock);
	if (rc == -ENOTTY)
		SKIP(return, "this kernel has no mock device");
	ASSERT_EQ(0, rc);
	ASSERT_EQ(0, edu_attach(&self->dev, self->ioas_id));
	EXPECT_EQ(NOWHERE, edu_write_lands(&self->dev, &self->g, page));

	EXPECT_EQ(-EINVAL,
		  edu_attach(&self->dev, mock.mock_domain.out_hwpt_id));
	EXPECT_EQ(NOWHERE, edu_write_lands(&self->dev, &self->g, page));
	/* The IOAS has further domains */
	ASSERT_EQ(0, edu_attach(&self->dev, self->g.ioas_id));
	EXPECT_EQ(page, edu_write_lands(&self->dev, &self->g, page));
	/* The device depends neither on the mock device nor on its domain */
	EXPECT_EQ(0, destroy(self->fd, mock.mock_domain.out_stdev_id));
	EXPECT_EQ(page, edu_write_lands(&self->dev, &self->g, page));

	/* The reverse: a mock device and an IOAS of the SMMUv3 */
	mock.id = self->ioas_id;
	ASSERT_EQ(0, iommufd_ioctl(self->fd, IOMMU_TEST_CMD, &mock));
	replace.id = mock.mock_domain.out_stdev_id;
	replace.mock_domain_replace.pt_id = self->g.ioas_id;
	EXPECT_EQ(0, iommufd_ioctl(self->fd, IOMMU_TEST_CMD, &replace));
	EXPECT_EQ(0, destroy(self->fd, replace.id));
	EXPECT_EQ(page, edu_write_lands(&self->dev, &self->g, page));
}

/* Nor may a nesting parent of one driver be used for a vIOMMU of the other */
TEST_F(bound, viommu_of_another_driver)
{
	struct iommu_test_cmd mock = {
		.size = sizeof(mock),
		.op = IOMMU_TEST_OP_MOCK_DOMAIN,
		.id = self->ioas_id,
	};
	__u32 mock_parent, parent, viommu;
	int rc;

	rc = iommufd_ioctl(self->fd, IOMMU_TEST_CMD, &mock);
	if (rc == -ENOTTY)
		SKIP(return, "this kernel has no mock device");
	ASSERT_EQ(0, rc);
	ASSERT_EQ(0, hwpt_alloc(self->fd, mock.mock_domain.out_idev_id,
				self->ioas_id, IOMMU_HWPT_ALLOC_NEST_PARENT,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &mock_parent));
	ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev.dev_id, self->ioas_id,
				IOMMU_HWPT_ALLOC_NEST_PARENT,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &parent));

	EXPECT_EQ(-EINVAL,
		  iommufd_viommu_alloc(self->fd, self->dev.dev_id, mock_parent,
				       IOMMU_VIOMMU_TYPE_ARM_SMMUV3, NULL, 0,
				       &viommu));
	EXPECT_EQ(-EINVAL,
		  iommufd_viommu_alloc(self->fd, mock.mock_domain.out_idev_id,
				       parent, IOMMU_VIOMMU_TYPE_SELFTEST, NULL,
				       0, &viommu));
	/* Each works with its own parent. A refused call holds no parent. */
	ASSERT_EQ(0, iommufd_viommu_alloc(self->fd, self->dev.dev_id, parent,
					  IOMMU_VIOMMU_TYPE_ARM_SMMUV3, NULL, 0,
					  &viommu));
	EXPECT_EQ(0, destroy(self->fd, viommu));
	ASSERT_EQ(0, iommufd_viommu_alloc(self->fd,
					  mock.mock_domain.out_idev_id,
					  mock_parent,
					  IOMMU_VIOMMU_TYPE_SELFTEST, NULL, 0,
					  &viommu));
	EXPECT_EQ(0, destroy(self->fd, viommu));
	EXPECT_EQ(0, destroy(self->fd, parent));
	EXPECT_EQ(0, destroy(self->fd, mock_parent));
}

static int attach_pasid(struct edu *dev, __u32 argsz, __u32 flags, __u32 pasid,
			__u32 pt_id)
{
	struct vfio_device_attach_iommufd_pt cmd = {
		.argsz = argsz,
		.flags = flags,
		.pt_id = pt_id,
		.pasid = pasid,
	};

	return iommufd_ioctl(dev->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &cmd);
}

static int detach_pasid(struct edu *dev, __u32 argsz, __u32 flags, __u32 pasid)
{
	struct vfio_device_detach_iommufd_pt cmd = {
		.argsz = argsz,
		.flags = flags,
		.pasid = pasid,
	};

	return iommufd_ioctl(dev->fd, VFIO_DEVICE_DETACH_IOMMUFD_PT, &cmd);
}

/*
 * An edu has no PASIDs, so all of these calls fail, or do nothing. None of them
 * may change the attachment of the device itself.
 */
TEST_F(bound, pasid)
{
	const __u32 size = sizeof(struct vfio_device_attach_iommufd_pt);
	const __u32 detach_size = sizeof(struct vfio_device_detach_iommufd_pt);
	struct vfio_device_attach_iommufd_pt *cmd;
	__u64 page = guest_page(&self->g);
	__u32 hwpt_id, other_id;
	char *mem;

	ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev.dev_id, self->g.ioas_id,
				IOMMU_HWPT_ALLOC_PASID, IOMMU_HWPT_DATA_NONE,
				NULL, 0, &hwpt_id));
	ASSERT_EQ(0, hwpt_alloc(self->fd, self->dev.dev_id, self->ioas_id,
				IOMMU_HWPT_ALLOC_PASID, IOMMU_HWPT_DATA_NONE,
				NULL, 0, &other_id));
	ASSERT_EQ(0, edu_attach(&self->dev, hwpt_id));
	EXPECT_EQ(page, edu_write_lands(&self->dev, &self->g, page));

	EXPECT_EQ(-EINVAL, attach_pasid(&self->dev, size - 4,
					VFIO_DEVICE_ATTACH_PASID, 1, other_id));
	EXPECT_EQ(-EINVAL, attach_pasid(&self->dev, size, 1 << 1, 1, other_id));
	EXPECT_EQ(-EINVAL, attach_pasid(&self->dev, size,
					VFIO_DEVICE_ATTACH_PASID, 1, other_id));
	EXPECT_EQ(-EINVAL, attach_pasid(&self->dev, size,
					VFIO_DEVICE_ATTACH_PASID, 1 << 20,
					other_id));
	/* PASID 0 is the device itself */
	EXPECT_EQ(-EINVAL, attach_pasid(&self->dev, size,
					VFIO_DEVICE_ATTACH_PASID, 0, other_id));
	EXPECT_EQ(-EINVAL, attach_pasid(&self->dev, size,
					VFIO_DEVICE_ATTACH_PASID, 1,
					self->ioas_id));
	EXPECT_EQ(-ENOENT, attach_pasid(&self->dev, size,
					VFIO_DEVICE_ATTACH_PASID, 1, 0));

	/* The PASID cannot be read */
	mem = mmap(NULL, 2 * HOST_PAGE, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_NE(MAP_FAILED, mem);
	ASSERT_EQ(0, mprotect(mem + HOST_PAGE, HOST_PAGE, PROT_NONE));
	cmd = (void *)(mem + HOST_PAGE - (size - 4));
	cmd->argsz = size;
	cmd->flags = VFIO_DEVICE_ATTACH_PASID;
	cmd->pt_id = other_id;
	EXPECT_EQ(-EFAULT, iommufd_ioctl(self->dev.fd,
					 VFIO_DEVICE_ATTACH_IOMMUFD_PT, cmd));
	munmap(mem, 2 * HOST_PAGE);

	EXPECT_EQ(-EINVAL, detach_pasid(&self->dev, detach_size - 4,
					VFIO_DEVICE_DETACH_PASID, 1));
	EXPECT_EQ(-EINVAL, detach_pasid(&self->dev, detach_size, 1 << 1, 1));
	EXPECT_EQ(0, detach_pasid(&self->dev, detach_size,
				  VFIO_DEVICE_DETACH_PASID, 1));
	EXPECT_EQ(0, detach_pasid(&self->dev, detach_size,
				  VFIO_DEVICE_DETACH_PASID, 0));
	EXPECT_EQ(page, edu_write_lands(&self->dev, &self->g, page));

	/* Programs that do not know PASIDs have shorter structs */
	EXPECT_EQ(0, attach_pasid(&self->dev, size - 4, 0, 1, other_id));
	EXPECT_EQ(0, detach_pasid(&self->dev, detach_size - 4, 0, 1));

	/* Only stage 1 has PASIDs */
	EXPECT_EQ(-EOPNOTSUPP,
		  hwpt_alloc(self->fd, self->dev.dev_id, self->g.ioas_id,
			     IOMMU_HWPT_ALLOC_PASID |
			     IOMMU_HWPT_ALLOC_NEST_PARENT,
			     IOMMU_HWPT_DATA_NONE, NULL, 0, &hwpt_id));
}

TEST_HARNESS_MAIN
