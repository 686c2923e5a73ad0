// SPDX-License-Identifier: GPL-2.0-only
/*
 * Groups of two devices, and of a device and its port, that belong to a VM
 */
#include <errno.h>
#include <fcntl.h>

#include "lib/clock.h"
#include "smmuv3_vm.h"

/* Two devices of one group, attached */
FIXTURE(group)
{
	int fd;
	struct guest g;
	struct edu dev[2];
};

FIXTURE_SETUP(group)
{
	char a[16], b[16], why[128];

	if (edu_find_pair(EDU_SAME_GROUP, a, b, why, sizeof(why)))
		SKIP(return, "%s", why);
	klog_mark(_metadata->name);
	self->fd = iommufd_open();
	ASSERT_LE(0, self->fd);
	device_start(_metadata, &self->g, &self->dev[0], self->fd, a);
	device_start(_metadata, &self->g, &self->dev[1], self->fd, b);
}

FIXTURE_TEARDOWN(group)
{
	edu_close(&self->dev[0]);
	edu_close(&self->dev[1]);
	close(self->fd);
	expect_clean_klog(_metadata);
}

/* The device that was attached first may be the first to leave */
TEST_F(group, first_leaves)
{
	struct edu *left = &self->dev[1];
	__u64 page;

	edu_close(&self->dev[0]);

	ASSERT_EQ(0, edu_msi_enable(left));
	EXPECT_TRUE(edu_msi_arrives(left, LATE_MS));
	page = guest_page(&self->g);
	EXPECT_EQ(page, lands(left, &self->g, page));
}

/*
 * A group is attached to a single HWPT, so the guest's STE can belong to only
 * one of its devices. A vDEVICE of another device must be refused: this device
 * would use a foreign STE, or lose its DMA.
 */
TEST_F(group, one_vdevice)
{
	struct edu *dev = self->dev;
	struct guest *g = &self->g;
	__u64 page = guest_page(g);
	struct vsmmu v = {};
	__u32 other, id;

	vsmmu_start(_metadata, &v, g, &dev[0], VSID);
	if (_metadata->exit_code)
		return;
	s1_map(g, v.ttb, IOVA_A, page, S1_RW);
	EXPECT_EQ(-EBUSY, vdevice_alloc(self->fd, v.viommu_id, dev[1].dev_id,
					VSID_B, &id));
	ASSERT_EQ(0, viommu_alloc(self->fd, dev[1].dev_id, g->s2_id, &other));
	EXPECT_EQ(-EBUSY, vdevice_alloc(self->fd, other, dev[1].dev_id, VSID_B,
					&id));
	/* Faults of the first device are reported as before */
	EXPECT_EQ(-EEXIST, vdevice_alloc(self->fd, other, dev[0].dev_id, VSID_B,
					 &id));

	EXPECT_EQ(page, lands(&dev[1], g, page));
	ASSERT_EQ(0, edu_attach(&dev[0], v.hwpt_s1));
	EXPECT_EQ(page, lands(&dev[0], g, IOVA_A));
	EXPECT_EQ(NOWHERE, lands(&dev[1], g, IOVA_A));
	EXPECT_EQ(NOWHERE, lands(&dev[1], g, page));
	ASSERT_EQ(0, edu_attach(&dev[0], g->s2_id));
	EXPECT_EQ(page, lands(&dev[1], g, page));

	/* The place is free again without the vDEVICE, or without its device */
	ASSERT_EQ(0, destroy(self->fd, v.vdevice_id));
	ASSERT_EQ(0, vdevice_alloc(self->fd, other, dev[1].dev_id, VSID_B, &id));
	EXPECT_EQ(-EBUSY, vdevice_alloc(self->fd, v.viommu_id, dev[0].dev_id,
					VSID, &v.vdevice_id));
	edu_close(&dev[1]);
	ASSERT_EQ(0, vdevice_alloc(self->fd, v.viommu_id, dev[0].dev_id, VSID,
				   &v.vdevice_id));
	ASSERT_EQ(0, edu_attach(&dev[0], v.hwpt_s1));
	EXPECT_EQ(page, lands(&dev[0], g, IOVA_A));
}

/* A device behind a port without ACS: the port is in its group */
FIXTURE(port)
{
	struct vm vm;
};

FIXTURE_SETUP(port)
{
	struct vm *vm = &self->vm;
	char bdf[16], why[128];

	if (edu_find_with_port(bdf, why, sizeof(why)))
		SKIP(return, "%s", why);
	klog_mark(_metadata->name);
	vm->fd = iommufd_open();
	ASSERT_LE(0, vm->fd);
	device_start(_metadata, &vm->g, &vm->dev, vm->fd, bdf);
	vsmmu_start(_metadata, &vm->v, &vm->g, &vm->dev, VSID);
}

FIXTURE_TEARDOWN(port)
{
	vm_stop(_metadata, &self->vm);
}

TEST_F(port, dma)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g), b = guest_page(&vm->g);
	__u32 bypass, abort_id;
	int i;

	vm_map(vm, IOVA_A, a);
	ASSERT_EQ(0, vm_hwpt(vm, ste_bypass(), &bypass));
	ASSERT_EQ(0, vm_hwpt(vm, ste_abort(), &abort_id));
	for (i = 0; i != 2; i++) {
		ASSERT_EQ(0, edu_attach(&vm->dev, bypass));
		EXPECT_EQ(b, vm_lands(vm, b));
		ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
		EXPECT_EQ(a, vm_lands(vm, IOVA_A));
		EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_B));
		ASSERT_EQ(0, edu_attach(&vm->dev, abort_id));
		EXPECT_EQ(NOWHERE, vm_lands(vm, IOVA_A));
		ASSERT_EQ(0, edu_detach(&vm->dev));
		ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
		EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	}

	/* A vDEVICE is required here as well */
	ASSERT_EQ(0, edu_attach(&vm->dev, bypass));
	ASSERT_EQ(0, destroy(vm->fd, vm->v.vdevice_id));
	EXPECT_EQ(-ENOENT, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_EQ(b, vm_lands(vm, b));
}

/*
 * If any allocation fails while a group is attached, even for its second
 * member, the group returns to its old domain
 */
TEST_F(port, no_memory)
{
	struct vm *vm = &self->vm;
	__u64 a = guest_page(&vm->g), b = guest_page(&vm->g);
	unsigned int failed = 0, n;
	bool left = false;
	char val[16];
	ssize_t len;
	int fd, rc;

	if (write_str("/sys/kernel/debug/failslab/ignore-gfp-wait", "N") ||
	    write_str("/sys/kernel/debug/failslab/verbose", "0"))
		SKIP(return, "this kernel does not inject failures");
	write_str("/sys/kernel/debug/fail_iommufd/verbose", "0");
	fd = open("/proc/thread-self/fail-nth", O_RDWR);
	ASSERT_LE(0, fd);
	vm_map(vm, IOVA_A, a);

	for (n = 1; !left && n != 1000; n++) {
		len = snprintf(val, sizeof(val), "%u", n);
		ASSERT_EQ(len, pwrite(fd, val, len, 0));
		rc = edu_attach(&vm->dev, vm->v.hwpt_s1);
		/* The failure was not consumed, and may hit this call, too */
		len = pread(fd, val, sizeof(val), 0);
		left = len < 1 || val[0] != '0';
		ASSERT_EQ(1, pwrite(fd, "0", 1, 0));
		if (!rc) {
			EXPECT_EQ(a, vm_lands(vm, IOVA_A));
			ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
		} else if (rc == -ENOMEM) {
			failed++;
		} else {
			/* The injected failure is iommufd's lookup of an ID */
			EXPECT_EQ(-ENOENT, rc);
		}
		EXPECT_EQ(b, vm_lands(vm, b));
	}
	close(fd);
	EXPECT_TRUE(left);
	/* Each member has at least an entry in the list of the stage 2 */
	EXPECT_LE(2, failed);
}

static int move_once(struct worker *w)
{
	return edu_attach(w->data, w->ids[w->turns % 3]);
}

/* A device can only join the HWPT that its group has at this moment */
static int join_once(struct worker *w)
{
	int rc = edu_attach(w->data, w->ids[w->turns % 3]);

	if (rc == -EINVAL) {
		w->missed++;
		return 0;
	}
	if (rc)
		return rc;
	return edu_attach(w->data, w->ids[w->turns / 3 % 3]) ?:
	       edu_detach(w->data);
}

/* A device leaves while the other device moves the group */
TEST_F(group, race)
{
	struct worker workers[] = {
		{ .once = move_once },
		{ .once = join_once },
	};
	struct edu *dev = self->dev;
	struct guest *g = &self->g;
	unsigned int i;
	__u32 other;
	__u64 page;

	ASSERT_EQ(0, hwpt_alloc(self->fd, dev[0].dev_id, g->ioas_id, 0,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &other));
	for (i = 0; i != ARRAY_SIZE(workers); i++) {
		workers[i].data = &dev[i];
		workers[i].ids[0] = g->s2_id;
		workers[i].ids[1] = other;
		/* A domain that is allocated on demand */
		workers[i].ids[2] = g->ioas_id;
	}

	for (i = 0; i != ARRAY_SIZE(workers); i++)
		worker_start(_metadata, &workers[i]);
	workers_meet(_metadata, workers, ARRAY_SIZE(workers));
	for (i = 0; i != ARRAY_SIZE(workers); i++)
		worker_stop(_metadata, &workers[i]);
	EXPECT_LT(0, workers[1].missed);
	EXPECT_LT(workers[1].missed, workers[1].turns);

	/* No object has a user too many or too few */
	ASSERT_EQ(0, edu_attach(&dev[0], g->s2_id));
	page = guest_page(g);
	EXPECT_EQ(page, lands(&dev[0], g, page));
	EXPECT_EQ(0, destroy(self->fd, other));
	EXPECT_EQ(-EBUSY, destroy(self->fd, g->s2_id));
	edu_close(&dev[0]);
	edu_close(&dev[1]);
	EXPECT_EQ(0, destroy(self->fd, g->s2_id));
	EXPECT_EQ(0, destroy(self->fd, g->ioas_id));
}

TEST_HARNESS_MAIN
