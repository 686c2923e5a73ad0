// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two threads of a VMM change the same stage 2 at the same time, judged by DMA
 *
 * An unmap must reach every VMID that the stage 2 is used under, and VMIDs come
 * and go with each attach. The rule that makes this right (an STE that carries
 * the VMID is written after the VMID has been made known to unmaps, and an
 * unmap looks for VMIDs after it has cleared the PTE) shows only under load:
 * one thread here attaches a device to different domains in turn, while another
 * maps and unmaps, and after each unmap the device must not get through.
 *
 * edu takes 100 ms for a DMA, which would allow only a few rounds. So this uses
 * an NVMe controller.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <sys/mman.h>

#include "../kselftest_harness.h"
#include "lib/clock.h"
#include "smmuv3_guest.h"

#define VSID		0x1234
#define VSID_EDU	0x4321
/* The IOVA and IPA of the page that comes and goes. More pages follow it */
#define PAGE_IPA	0x40000000ULL
#define PAGES		3
/* The same, in whole pages of the host */
#define PAGES_SIZE	((PAGES * GUEST_PAGE + HOST_PAGE - 1) & -HOST_PAGE)
#define SECONDS		3
#define LEAST_ROUNDS	20

/* A thread that attaches @dev to each of @pt in turn */
struct attacher {
	pthread_t thread;
	struct edu *dev;
	__u32 pt[6];
	unsigned int num;
	bool detach;
	volatile bool stop;
	unsigned long done;
	int rc;
};

static void *attacher_run(void *arg)
{
	struct attacher *a = arg;

	while (!a->stop && !a->rc) {
		a->rc = edu_attach(a->dev, a->pt[a->done % a->num]);
		if (!a->rc && a->detach)
			a->rc = edu_detach(a->dev);
		__atomic_fetch_add(&a->done, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

struct vsmmu {
	__u32 viommu_id;
	__u32 hwpt_s1[2];
	__u32 hwpt_bypass;
};

FIXTURE(race)
{
	struct guest g;
	struct nvme n;
	struct edu edu;
	struct attacher a;
	struct vsmmu v[2], other;
	__u32 vdevice_id;
	__u64 ttb;
	__u8 *page;
};

FIXTURE_VARIANT(race)
{
	/*
	 * Whether the thread attaches a second device, and not the NVMe itself
	 */
	bool beside;
};

FIXTURE_VARIANT_ADD(race, same_device)
{
};

FIXTURE_VARIANT_ADD(race, device_beside)
{
	.beside = true,
};

static void vsmmu_start(struct __test_metadata *_metadata, struct vsmmu *v,
			struct guest *g, struct edu *dev, __u64 ttb)
{
	__u64 cd;
	int i;

	ASSERT_EQ(0, viommu_alloc(g->fd, dev->dev_id, g->s2_id, &v->viommu_id));
	ASSERT_EQ(0, hwpt_alloc_ste(g->fd, dev->dev_id, v->viommu_id,
				    ste_bypass(), &v->hwpt_bypass));
	for (i = 0; i != 2; i++) {
		cd = guest_zero_page(g);
		cd_write(g, dev, cd, ttb, i + 1);
		ASSERT_EQ(0, hwpt_alloc_ste(g->fd, dev->dev_id, v->viommu_id,
					    ste_s1(cd), &v->hwpt_s1[i]));
	}
}

FIXTURE_SETUP(race)
{
	char bdf[16], why[128];
	__u32 vdevice_id;
	unsigned int i;
	int fd;

	if (device_find(NVME_ID, bdf, why, sizeof(why)))
		SKIP(return, "%s", why);
	fd = iommufd_open();
	ASSERT_LT(0, fd);
	ASSERT_EQ(0, device_open(&self->n.dev, bdf, fd));
	ASSERT_EQ(0, guest_init(&self->g, fd));
	ASSERT_EQ(0, hwpt_alloc(fd, self->n.dev.dev_id, self->g.ioas_id,
				IOMMU_HWPT_ALLOC_NEST_PARENT,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &self->g.s2_id));
	ASSERT_EQ(0, edu_attach(&self->n.dev, self->g.s2_id));
	ASSERT_EQ(0, nvme_start(&self->n, &self->g));

	self->page = mmap(NULL, PAGES_SIZE, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, self->page);

	/* Stage 1 maps everything to itself, so DMA works in all domains */
	self->ttb = s1_create(&self->g);
	for (i = 0; i != GUEST_RAM_PAGES; i++)
		s1_map(&self->g, self->ttb, GUEST_RAM_IPA + i * GUEST_PAGE,
		       GUEST_RAM_IPA + i * GUEST_PAGE, S1_RW);
	s1_map(&self->g, self->ttb, PAGE_IPA, PAGE_IPA, S1_RW);

	for (i = 0; i != 2; i++)
		vsmmu_start(_metadata, &self->v[i], &self->g, &self->n.dev,
			    self->ttb);
	ASSERT_EQ(0, vdevice_alloc(fd, self->v[0].viommu_id, self->n.dev.dev_id,
				   VSID, &self->vdevice_id));

	self->a.dev = &self->n.dev;
	if (variant->beside) {
		char other[16];

		/* Behind another SMMU, if there is any */
		if (edu_find_pair(EDU_OTHER_SMMU, bdf, other, why,
				  sizeof(why)) &&
		    edu_find(bdf, why, sizeof(why)))
			SKIP(return, "%s", why);
		ASSERT_EQ(0, edu_open(&self->edu, bdf, fd));
		if (!strcmp(self->edu.smmu, self->n.dev.smmu) &&
		    !edu_find_pair(EDU_OTHER_SMMU, bdf, other, why,
				   sizeof(why))) {
			edu_close(&self->edu);
			ASSERT_EQ(0, edu_open(&self->edu, other, fd));
		}
		TH_LOG("%s behind %s, %s behind %s", self->n.dev.bdf,
		       self->n.dev.smmu, self->edu.bdf, self->edu.smmu);
		ASSERT_EQ(0, edu_attach(&self->edu, self->g.s2_id));
		vsmmu_start(_metadata, &self->other, &self->g, &self->edu,
			    self->ttb);
		ASSERT_EQ(0, vdevice_alloc(fd, self->other.viommu_id,
					   self->edu.dev_id, VSID_EDU,
					   &vdevice_id));
		self->a.dev = &self->edu;
		ASSERT_EQ(0, edu_attach(&self->n.dev, self->v[0].hwpt_s1[0]));
	}
}

FIXTURE_TEARDOWN(race)
{
	if (self->a.thread) {
		self->a.stop = true;
		pthread_join(self->a.thread, NULL);
	}
	if (self->n.dev.bar)
		nvme_stop(&self->n);
	edu_close(&self->n.dev);
	if (variant->beside)
		edu_close(&self->edu);
	close(self->g.fd);
}

static bool page_is_zero(const __u8 *page)
{
	return !page[0] && !memcmp(page, page + 1, GUEST_PAGE - 1);
}

/*
 * Every VMID, of the bare stage 2 and of the vSMMUs, comes into use and goes
 * out of use while the stage 2 is being changed
 */
TEST_F_TIMEOUT(race, unmap_during_attach, 120)
{
	struct attacher *a = &self->a;
	unsigned long rounds = 0, before;
	double end;

	if (variant->beside) {
		a->pt[0] = self->g.s2_id;
		a->pt[1] = self->other.hwpt_s1[0];
		a->pt[2] = self->other.hwpt_bypass;
		a->num = 3;
		a->detach = true;
		ASSERT_EQ(0, edu_detach(a->dev));
	} else {
		/*
		 * The queues use the same translation, so no step may lose a
		 * DMA. A step that changes both the VMID and the kind of STE
		 * does lose some.
		 */
		a->pt[0] = self->g.s2_id;
		a->pt[1] = self->v[0].hwpt_s1[0];
		a->pt[2] = self->v[0].hwpt_s1[1];
		a->pt[3] = self->v[0].hwpt_bypass;
		a->pt[4] = self->v[1].hwpt_bypass;
		a->num = 5;
	}
	ASSERT_EQ(0, pthread_create(&a->thread, NULL, attacher_run, a));

	end = now() + SECONDS;
	while (now() < end || rounds < LEAST_ROUNDS) {
		before = __atomic_load_n(&a->done, __ATOMIC_RELAXED);
		ASSERT_EQ(0, ioas_map(self->g.fd, self->g.ioas_id, self->page,
				      PAGE_IPA, HOST_PAGE, true));
		/*
		 * It arrives in whichever domain the device is at this moment
		 */
		ASSERT_EQ(0, nvme_dma(&self->n, PAGE_IPA));
		ASSERT_FALSE(page_is_zero(self->page))
			TH_LOG("round %lu: a DMA was lost", rounds);

		ASSERT_EQ(0, ioas_unmap(self->g.fd, self->g.ioas_id, PAGE_IPA,
					HOST_PAGE));
		memset(self->page, 0, GUEST_PAGE);
		ASSERT_EQ(0, nvme_dma(&self->n, PAGE_IPA));
		ASSERT_TRUE(page_is_zero(self->page))
			TH_LOG("round %lu: a DMA reached unmapped memory",
			       rounds);
		ASSERT_EQ(0, a->rc);
		/*
		 * A round counts only if the other thread has attached in
		 * between
		 */
		if (__atomic_load_n(&a->done, __ATOMIC_RELAXED) != before)
			rounds++;
	}
	TH_LOG("%lu rounds, %lu attaches", rounds, a->done);
}

/*
 * A guest changes its stage 1 and invalidates, while the VMM attaches the
 * device to the vSMMU and to the bare stage 2 by turns, so that the vSMMU gets
 * and loses its VMID. Stage 1 leads to one of two pages, and stage 2 alone to a
 * third page.
 */
TEST_F_TIMEOUT(race, invalidate_during_attach, 120)
{
	struct attacher *a = &self->a;
	unsigned long rounds = 0, nested = 0, before;
	double end;

	if (variant->beside) {
		a->pt[0] = self->other.hwpt_s1[0];
		a->pt[1] = self->other.hwpt_s1[1];
		a->num = 2;
		a->detach = true;
		ASSERT_EQ(0, edu_detach(a->dev));
	} else {
		a->pt[0] = self->g.s2_id;
		a->pt[1] = self->v[0].hwpt_s1[0];
		a->num = 2;
	}
	ASSERT_EQ(0, ioas_map(self->g.fd, self->g.ioas_id, self->page, PAGE_IPA,
			      PAGES_SIZE, true));
	ASSERT_EQ(0, edu_attach(&self->n.dev, self->v[0].hwpt_s1[0]));
	ASSERT_EQ(0, pthread_create(&a->thread, NULL, attacher_run, a));

	end = now() + SECONDS;
	while (now() < end || rounds < LEAST_ROUNDS || nested < LEAST_ROUNDS) {
		unsigned int which = random_u64() % 2;
		__u8 *hit = self->page + (1 + which) * GUEST_PAGE;
		__u8 *miss = self->page + (2 - which) * GUEST_PAGE;
		bool arrived;

		before = __atomic_load_n(&a->done, __ATOMIC_RELAXED);
		s1_map(&self->g, self->ttb, PAGE_IPA,
		       PAGE_IPA + (1 + which) * GUEST_PAGE, S1_RW);
		ASSERT_EQ(0, viommu_cmd(self->g.fd, self->v[0].viommu_id,
					cmd_nh_vaa(0, PAGE_IPA)));
		memset(self->page, 0, PAGES * GUEST_PAGE);
		ASSERT_EQ(0, nvme_dma(&self->n, PAGE_IPA));
		ASSERT_TRUE(page_is_zero(miss))
			TH_LOG("round %lu: DMA by the old stage 1", rounds);
		arrived = !page_is_zero(hit);
		nested += arrived;
		if (!variant->beside)
			arrived |= !page_is_zero(self->page);
		ASSERT_TRUE(arrived)
			TH_LOG("round %lu: no DMA by the new stage 1", rounds);
		ASSERT_EQ(0, a->rc);
		if (__atomic_load_n(&a->done, __ATOMIC_RELAXED) != before)
			rounds++;
	}
	TH_LOG("%lu rounds, %lu attaches, %lu DMAs by stage 1", rounds, a->done,
	       nested);
}

TEST_HARNESS_MAIN
