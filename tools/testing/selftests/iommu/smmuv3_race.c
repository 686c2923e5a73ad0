// SPDX-License-Identifier: GPL-2.0-only
/*
 * What two threads of a VMM do to one stage 2 at the same time, judged by DMA
 *
 * An unmap has to reach every VMID that the stage 2 is used under, and VMIDs come
 * and go with each attach. The rule that makes this right (an STE that carries
 * the VMID is written after the VMID has been made known to unmaps, and an unmap
 * looks for VMIDs after it has cleared the PTE) shows only under load: one thread
 * here attaches a device to one thing after the other, while another maps and
 * unmaps, and after each unmap the device must not get through.
 *
 * edu takes 100 ms for a DMA, which leaves time for a few of them. An NVMe
 * controller does one in less than a millisecond: an Identify command writes a
 * page to an address of one's choice, and needs nothing but the admin queue.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <sys/mman.h>

#include "../kselftest_harness.h"
#include "smmuv3_guest.h"

#define NVME_ID		0x00101b36	/* QEMU's */
#define NVME_CAP	0x00
#define NVME_CC		0x14
#define NVME_CC_EN	(BIT(0) | 6 << 16 | 4 << 20)
#define NVME_CSTS	0x1c
#define NVME_AQA	0x24
#define NVME_ASQ	0x28
#define NVME_ACQ	0x30
#define NVME_SQ0TDBL	0x1000
#define NVME_IDENTIFY	0x06
#define NVME_CNS_CTRL	1
#define NVME_ENTRIES	16

#define VSID		0x1234
#define VSID_EDU	0x4321
/* Where the page is that comes and goes: IOVA and IPA in one. More follow it */
#define PAGE_IPA	0x40000000ULL
#define PAGES		3
#define SECONDS		3
#define LEAST_ROUNDS	20

struct nvme_sqe {
	__le32 cdw0;
	__le32 nsid;
	__le64 reserved[2];
	__le64 prp[2];
	__le32 cdw10[6];
};

struct nvme_cqe {
	__le32 result[2];
	__le16 sq_head, sq_id;
	__le16 cid;
	__le16 status;
};

struct nvme {
	struct edu dev;
	struct nvme_sqe *sq;
	volatile struct nvme_cqe *cq;
	unsigned int tail, head;
	__u16 phase, cid;
};

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec + ts.tv_nsec / 1e9;
}

static __u32 nvme_read(struct nvme *n, unsigned int reg)
{
	return le32toh(*(volatile __u32 *)(n->dev.bar + reg));
}

static void nvme_write(struct nvme *n, unsigned int reg, __u32 val)
{
	/* Queues and tables first */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	*(volatile __u32 *)(n->dev.bar + reg) = htole32(val);
}

static int nvme_wait_ready(struct nvme *n, __u32 want)
{
	double end = now() + 20;

	while ((nvme_read(n, NVME_CSTS) & 1) != want)
		if (now() > end)
			return -ETIMEDOUT;
	return 0;
}

/* With its queues in guest memory, which the device is attached to */
static int nvme_start(struct nvme *n, struct guest *g)
{
	__u64 sq = guest_zero_page(g), cq = guest_zero_page(g);
	int rc;

	n->sq = guest_ptr(g, sq);
	n->cq = guest_ptr(g, cq);
	n->phase = 1;
	nvme_write(n, NVME_CC, 0);
	rc = nvme_wait_ready(n, 0);
	if (rc)
		return rc;
	nvme_write(n, NVME_AQA, (NVME_ENTRIES - 1) << 16 | (NVME_ENTRIES - 1));
	nvme_write(n, NVME_ASQ, sq);
	nvme_write(n, NVME_ASQ + 4, sq >> 32);
	nvme_write(n, NVME_ACQ, cq);
	nvme_write(n, NVME_ACQ + 4, cq >> 32);
	nvme_write(n, NVME_CC, NVME_CC_EN);
	return nvme_wait_ready(n, 1);
}

/* Make it write a page to @iova. Whether that arrives is not for it to say */
static int nvme_dma(struct nvme *n, __u64 iova)
{
	unsigned int stride = 4U << (nvme_read(n, NVME_CAP + 4) & 0xf);
	volatile struct nvme_cqe *cqe = &n->cq[n->head];
	double end = now() + 20;

	n->sq[n->tail] = (struct nvme_sqe){
		.cdw0 = htole32(NVME_IDENTIFY | ++n->cid << 16),
		.prp = { htole64(iova) },
		.cdw10 = { htole32(NVME_CNS_CTRL) },
	};
	n->tail = (n->tail + 1) % NVME_ENTRIES;
	nvme_write(n, NVME_SQ0TDBL, n->tail);

	while ((le16toh(cqe->status) & 1) != n->phase)
		if (now() > end)
			return -ETIMEDOUT;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (le16toh(cqe->cid) != n->cid)
		return -EPROTO;
	n->head = (n->head + 1) % NVME_ENTRIES;
	if (!n->head)
		n->phase ^= 1;
	nvme_write(n, NVME_SQ0TDBL + stride, n->head);
	return 0;
}

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
	/* Who is attached all the time: the NVMe itself, or a device beside it */
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

	self->page = mmap(NULL, PAGES * GUEST_PAGE, PROT_READ | PROT_WRITE,
			  MAP_SHARED | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
	ASSERT_NE(MAP_FAILED, self->page);

	/* Stage 1 changes nothing, so every way of attaching means the same */
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

		/* Behind another SMMU where there is one */
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
		nvme_write(&self->n, NVME_CC, 0);
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
 * Every VMID there is, bare and the vSMMUs', comes into use and goes out of it
 * while the stage 2 is being changed
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
		 * No step but those that lose no DMA: the queues are reached by
		 * the same way. To another VMID and another kind of STE at once
		 * is not one of them.
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
				      PAGE_IPA, GUEST_PAGE, true));
		/* It arrives, however the device is attached just now */
		ASSERT_EQ(0, nvme_dma(&self->n, PAGE_IPA));
		ASSERT_FALSE(page_is_zero(self->page))
			TH_LOG("round %lu: a DMA was lost", rounds);

		ASSERT_EQ(0, ioas_unmap(self->g.fd, self->g.ioas_id, PAGE_IPA,
					GUEST_PAGE));
		memset(self->page, 0, GUEST_PAGE);
		ASSERT_EQ(0, nvme_dma(&self->n, PAGE_IPA));
		ASSERT_TRUE(page_is_zero(self->page))
			TH_LOG("round %lu: a DMA went to what is unmapped",
			       rounds);
		ASSERT_EQ(0, a->rc);
		/* Not a race without the other one */
		if (__atomic_load_n(&a->done, __ATOMIC_RELAXED) != before)
			rounds++;
	}
	TH_LOG("%lu rounds, %lu attaches", rounds, a->done);
}

/*
 * A guest changes its stage 1 and invalidates, while the VMM attaches the device
 * to the vSMMU and to bare stage 2 by turns, so that the vSMMU has a VMID at one
 * moment and none at the next. Stage 1 leads to one of two pages, and stage 2
 * alone to a third one.
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
			      PAGES * GUEST_PAGE, true));
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
			TH_LOG("round %lu: where stage 1 said before", rounds);
		arrived = !page_is_zero(hit);
		nested += arrived;
		if (!variant->beside)
			arrived |= !page_is_zero(self->page);
		ASSERT_TRUE(arrived)
			TH_LOG("round %lu: not where stage 1 says", rounds);
		ASSERT_EQ(0, a->rc);
		if (__atomic_load_n(&a->done, __ATOMIC_RELAXED) != before)
			rounds++;
	}
	TH_LOG("%lu rounds, %lu attaches, %lu DMAs by stage 1", rounds, a->done,
	       nested);
}

TEST_HARNESS_MAIN
