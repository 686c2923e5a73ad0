/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * A VMM with a guest and a device behind an SMMUv3, shared by the tests
 * smmuv3_*.
 *
 * The tests judge by DMA. Guest-physical memory is a stage 2 that maps the
 * memory of guest.h. The identifiers of the guest differ from those of the
 * host, so that mixing them up shows.
 *
 * All of this is in a header because only a single object of a program can
 * include the harness.
 */
#ifndef __SELFTEST_IOMMU_SMMUV3_VM_H
#define __SELFTEST_IOMMU_SMMUV3_VM_H

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "../kselftest_harness.h"
#include "klog_expect.h"
#include "smmuv3_guest.h"

#define VSID		0x1234
#define VSID_B		0x8765
#define ASID		0x21
#define ASID_B		0x22

#define IOVA_A		0x0c345000ULL
#define IOVA_B		0x0c346000ULL
#define IOVA_C		0x0d802000ULL

/* A slot of guest memory that comes and goes */
#define HOLE_IPA	0x02400000ULL
#define HOLE_SIZE	0x10000ULL

/*
 * A vIOMMU with a device behind it, and the address space that the guest has
 * built for the device
 */
struct vsmmu {
	struct guest *g;
	struct edu *dev;
	__u32 viommu_id;
	__u32 vdevice_id;
	__u32 hwpt_s1;
	__u64 cd;
	__u64 ttb;
};

/* A guest with a single device, as most of the tests need it */
struct vm {
	int fd;
	struct guest g;
	struct edu dev;
	struct vsmmu v;
};

/*
 * Messages that must not be in the kernel log after any behaviour of a guest.
 * An error of the command queue affects all VMs on its SMMU.
 */
static void expect_clean_klog(struct __test_metadata *_metadata)
{
	static const char *const bad[] = {
		"CMDQ error",	 "CMD_SYNC timeout", "global error",
		"WARNING:",	 "BUG:",	     "Oops",
		"INFO: task",	 "INFO: rcu",	     "INFO: possible",
		"refcount_t",	 "UBSAN:",	     "Internal error",
		"suspicious RCU",
	};

	expect_not_in_klog(_metadata, bad, ARRAY_SIZE(bad));
}

static __u16 any_vmid(void)
{
	return random_u64();
}

/* The page that a write of the device to the page at @iova lands in */
static __u64 lands(struct edu *dev, struct guest *g, __u64 iova)
{
	__u64 in_page = random_u64() % (GUEST_PAGE / 2) & ~7ULL;
	__u64 ipa = edu_write_lands(dev, g, iova + in_page);

	return ipa == NOWHERE || ipa == ASTRAY ? ipa : ipa - in_page;
}

/* Open the device, and attach it to a stage 2 with guest memory */
static void device_start(struct __test_metadata *_metadata, struct guest *g,
			 struct edu *dev, int fd, const char *bdf)
{
	__u64 page;
	int rc;

	ASSERT_EQ(0, edu_open(dev, bdf, fd));
	if (!g->nslots) {
		ASSERT_EQ(0, guest_init(g, fd));
		rc = hwpt_alloc(fd, dev->dev_id, g->ioas_id,
				IOMMU_HWPT_ALLOC_NEST_PARENT,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &g->s2_id);
		g->nest_parent = !rc;
		if (rc && smmu_can_nest(&dev->info))
			ASSERT_EQ(0, rc);
		if (rc)
			g->s2_id = g->ioas_id;
	}
	ASSERT_EQ(0, edu_attach(dev, g->s2_id));
	page = guest_page(g);
	edu_load(dev, g, page, page);
}

/* On a vIOMMU of any type: the vDEVICE, and a nested HWPT with a stage 1 */
static void vsmmu_set_up(struct __test_metadata *_metadata, struct vsmmu *v,
			 struct guest *g, struct edu *dev, __u32 vsid)
{
	v->g = g;
	v->dev = dev;
	ASSERT_EQ(0, vdevice_alloc(g->fd, v->viommu_id, dev->dev_id, vsid,
				   &v->vdevice_id));
	v->ttb = s1_create(g);
	/* The CD is not at the start of its page */
	v->cd = guest_zero_page(g) + 64 * (1 + random_u64() % 63);
	cd_write(g, dev, v->cd, v->ttb, ASID);
	ASSERT_EQ(0, hwpt_alloc_ste(g->fd, dev->dev_id, v->viommu_id,
				    ste_s1(v->cd), &v->hwpt_s1));
}

static void vsmmu_start(struct __test_metadata *_metadata, struct vsmmu *v,
			struct guest *g, struct edu *dev, __u32 vsid)
{
	int rc;

	if (!smmu_can_nest(&dev->info))
		SKIP(return, "this host cannot nest");
	rc = viommu_alloc(g->fd, dev->dev_id, g->s2_id, &v->viommu_id);
	if (rc == -ENOTTY)
		SKIP(return, "this kernel has no vIOMMU");
	ASSERT_EQ(0, rc);
	vsmmu_set_up(_metadata, v, g, dev, vsid);
}

static void vm_start_on(struct __test_metadata *_metadata, struct vm *vm,
			const char *bdf)
{
	klog_mark(_metadata->name);
	vm->fd = iommufd_open();
	if (vm->fd == -ENOENT)
		SKIP(return, "no /dev/iommu");
	ASSERT_LE(0, vm->fd);
	device_start(_metadata, &vm->g, &vm->dev, vm->fd, bdf);
}

static void vm_start(struct __test_metadata *_metadata, struct vm *vm)
{
	char bdf[BDF_LEN], why[128];

	if (edu_find(bdf, why, sizeof(why)))
		SKIP(return, "%s", why);
	vm_start_on(_metadata, vm, bdf);
}

static void vm_start_nesting(struct __test_metadata *_metadata, struct vm *vm)
{
	vm_start(_metadata, vm);
	if (_metadata->exit_code)
		return;
	vsmmu_start(_metadata, &vm->v, &vm->g, &vm->dev, VSID);
}

static void vm_stop(struct __test_metadata *_metadata, struct vm *vm)
{
	edu_close(&vm->dev);
	close(vm->fd);
	expect_clean_klog(_metadata);
}

static __u64 vm_lands(struct vm *vm, __u64 iova)
{
	return lands(&vm->dev, &vm->g, iova);
}

static void vm_map(struct vm *vm, __u64 iova, __u64 ipa)
{
	s1_map(&vm->g, vm->v.ttb, iova, ipa, S1_RW);
}

static int vm_cmd(struct vm *vm, struct smmu_cmd cmd)
{
	return viommu_cmd(vm->fd, vm->v.viommu_id, cmd);
}

static int vm_hwpt(struct vm *vm, struct iommu_hwpt_arm_smmuv3 ste, __u32 *id)
{
	return hwpt_alloc_ste(vm->fd, vm->dev.dev_id, vm->v.viommu_id, ste, id);
}

/*
 * Events
 *
 * A DMA of four bytes that faults causes one event. Events are taken from the
 * physical queue in order. So when an event has arrived, all effects of the
 * previous events are visible.
 */
#define FAULT_SIZE	4
#define QUEUE_DEPTH	64

/* The prefix of each record of an event in the host's log */
#define HOST_EVENT	"event 0x"

static void fault(struct edu *dev, __u64 iova, bool read)
{
	if (read)
		edu_read(dev, iova, 0, FAULT_SIZE);
	else
		edu_write(dev, iova, 0, FAULT_SIZE);
}

/* Expect exactly this event next. @id may include a SubstreamID */
static void expect_event(struct __test_metadata *_metadata, int queue,
			 __u32 sequence, __u32 id, __u32 vsid, __u64 word_1,
			 __u64 word_2)
{
	struct smmu_event event = {};

	ASSERT_EQ(sizeof(event), veventq_next(queue, &event)) {
		TH_LOG("no event %#x", id);
	}
	EXPECT_EQ(0, event.header.flags);
	EXPECT_EQ(sequence, event.header.sequence);
	EXPECT_EQ(id | EVT0_SID(vsid), le64toh(event.evt[0]));
	EXPECT_EQ(word_1, le64toh(event.evt[1]));
	EXPECT_EQ(word_2, le64toh(event.evt[2]));
	EXPECT_EQ(0, event.evt[3]);
}

static void expect_no_event(struct __test_metadata *_metadata, int queue)
{
	struct smmu_event event;

	EXPECT_FALSE(veventq_readable(queue));
	EXPECT_EQ(0, read(queue, &event, sizeof(event)));
}

/* Threads that work at the same time, for a bounded time */
struct worker {
	struct vm *vm;
	int (*once)(struct worker *w);
	pthread_t thread;
	bool stop;
	int rc;
	unsigned long turns;
	/*
	 * The turns in which it found that another worker had removed its
	 * object
	 */
	unsigned long missed;
	__u32 ids[3];
	void *data;
};

static void *worker_run(void *arg)
{
	struct worker *w = arg;

	while (!__atomic_load_n(&w->stop, __ATOMIC_RELAXED) && !w->rc) {
		w->rc = w->once(w);
		w->turns++;
	}
	return NULL;
}

static unsigned long worker_turns(const struct worker *w)
{
	return __atomic_load_n(&w->turns, __ATOMIC_RELAXED);
}

/* Wait for the first turn, or a test may be over before the thread has run */
static void worker_start(struct __test_metadata *_metadata, struct worker *w)
{
	ASSERT_EQ(0, pthread_create(&w->thread, NULL, worker_run, w));
	while (!worker_turns(w))
		usleep(1000);
}

static void worker_stop(struct __test_metadata *_metadata, struct worker *w)
{
	__atomic_store_n(&w->stop, true, __ATOMIC_RELAXED);
	pthread_join(w->thread, NULL);
	EXPECT_EQ(0, w->rc);
	EXPECT_LT(0, w->turns);
}

/* After so many turns, each worker has met turns of all others */
#define MANY_TURNS	50

/* Let the workers go on until they have met, which may take long */
static void workers_meet(struct __test_metadata *_metadata, struct worker *w,
			 unsigned int num)
{
	time_t end = time(NULL) + 60;
	unsigned int i;

	sleep(1);
	for (i = 0; i != num; i++) {
		while (__atomic_load_n(&w[i].turns, __ATOMIC_RELAXED) <
			       MANY_TURNS &&
		       time(NULL) < end)
			usleep(10000);
		EXPECT_LE(MANY_TURNS, w[i].turns);
	}
}

/* Fixtures of more than one program */
FIXTURE(nesting)
{
	struct vm vm;
};

FIXTURE_SETUP(nesting)
{
	vm_start_nesting(_metadata, &self->vm);
}

FIXTURE_TEARDOWN(nesting)
{
	vm_stop(_metadata, &self->vm);
}

/* A device and an IOAS, without nesting */
FIXTURE(bare)
{
	char bdf[16];
	int fd;
	__u32 ioas_id;
	struct edu dev;
};

static int bare_open(const char *bdf, int *fd, __u32 *ioas_id, struct edu *dev)
{
	struct iommu_ioas_alloc ioas = { .size = sizeof(ioas) };
	int rc;

	*dev = (struct edu){ .fd = -1, .irqfd = -1 };
	*fd = iommufd_open();
	if (*fd < 0)
		return *fd;
	rc = iommufd_ioctl(*fd, IOMMU_IOAS_ALLOC, &ioas);
	*ioas_id = ioas.out_ioas_id;
	return rc ?: edu_open(dev, bdf, *fd);
}

static void bare_close(int fd, struct edu *dev)
{
	edu_close(dev);
	close(fd);
}

FIXTURE_SETUP(bare)
{
	char why[128];

	if (edu_find(self->bdf, why, sizeof(why)))
		SKIP(return, "%s", why);
	klog_mark(_metadata->name);
	ASSERT_EQ(0, bare_open(self->bdf, &self->fd, &self->ioas_id,
			       &self->dev));
}

FIXTURE_TEARDOWN(bare)
{
	bare_close(self->fd, &self->dev);
	expect_clean_klog(_metadata);
}

/* The message about an ATC_INV that a device does not answer */
#define ATC_TIMEOUT	"ATC invalidate timeout"
/* The seconds that the driver waits for a CMD_SYNC */
#define SYNC_TIMEOUT	1.0
/* Attempts, if the machine is too slow for the driver */
#define MANY_ATTEMPTS	6

/*
 * On a busy machine, test, device or interrupt may get no CPU for so long that
 * the driver gives up, and is right to. Return: whether to try again
 */
static bool too_late(struct __test_metadata *_metadata, double took,
		     unsigned int *attempts)
{
	if (took < SYNC_TIMEOUT || ++*attempts == MANY_ATTEMPTS)
		return false;
	TH_LOG("try again, as this has taken %.1f s", took);
	return true;
}

#endif
