// SPDX-License-Identifier: GPL-2.0-only
/*
 * Two devices: behind one SMMU or two, of one VM or two
 */
#include <errno.h>
#include <time.h>

#include "smmuv3_vm.h"

/* Two devices behind one SMMU */
struct two {
	int fd[2];
	struct guest guest[2];
	struct guest *g[2];
	struct edu dev[2];
};

static void two_start(struct __test_metadata *_metadata, struct two *two,
		      enum edu_pair pair, bool two_fds)
{
	char bdf[2][16], why[128];
	int i;

	if (edu_find_pair(pair, bdf[0], bdf[1], why, sizeof(why)))
		SKIP(return, "%s", why);
	klog_mark(_metadata->name);
	for (i = 0; i != 2; i++) {
		two->fd[i] = i && !two_fds ? two->fd[0] : iommufd_open();
		ASSERT_LE(0, two->fd[i]);
		two->g[i] = &two->guest[two_fds ? i : 0];
		device_start(_metadata, two->g[i], &two->dev[i], two->fd[i],
			     bdf[i]);
	}
}

/* Use the same vSID, ASID and IOVAs on both sides */
static void two_start_nesting(struct __test_metadata *_metadata,
			      struct two *two, struct vsmmu *v,
			      enum edu_pair pair, bool two_fds)
{
	int i;

	two_start(_metadata, two, pair, two_fds);
	for (i = 0; i != 2 && !_metadata->exit_code; i++)
		vsmmu_start(_metadata, &v[i], two->g[i], &two->dev[i], VSID);
}

static void two_stop(struct __test_metadata *_metadata, struct two *two)
{
	edu_close(&two->dev[0]);
	edu_close(&two->dev[1]);
	close(two->fd[0]);
	if (two->fd[1] != two->fd[0])
		close(two->fd[1]);
	expect_clean_klog(_metadata);
}

static __u64 two_lands(struct two *two, int i, __u64 iova)
{
	return lands(&two->dev[i], two->g[i], iova);
}

FIXTURE(two_devices)
{
	struct two two;
	struct vsmmu v[2];
};

FIXTURE_VARIANT(two_devices)
{
	bool two_fds;
	enum edu_pair pair;
};

FIXTURE_VARIANT_ADD(two_devices, one_stage2)
{
	.two_fds = false,
	.pair = EDU_SAME_SMMU,
};

FIXTURE_VARIANT_ADD(two_devices, two_fds)
{
	.two_fds = true,
	.pair = EDU_SAME_SMMU,
};

FIXTURE_VARIANT_ADD(two_devices, two_smmus_one_stage2)
{
	.two_fds = false,
	.pair = EDU_OTHER_SMMU,
};

FIXTURE_VARIANT_ADD(two_devices, two_smmus_two_fds)
{
	.two_fds = true,
	.pair = EDU_OTHER_SMMU,
};

FIXTURE_SETUP(two_devices)
{
	two_start_nesting(_metadata, &self->two, self->v, variant->pair,
			  variant->two_fds);
}

FIXTURE_TEARDOWN(two_devices)
{
	two_stop(_metadata, &self->two);
}

TEST_F(two_devices, tlb_isolation)
{
	struct two *two = &self->two;
	struct vsmmu *v = self->v;
	__u64 old[2], new[2];
	int i;

	for (i = 0; i != 2; i++) {
		old[i] = guest_page(two->g[i]);
		new[i] = guest_page(two->g[i]);
		s1_map(two->g[i], v[i].ttb, IOVA_A, old[i], S1_RW);
		ASSERT_EQ(0, edu_attach(&two->dev[i], v[i].hwpt_s1));
	}
	for (i = 0; i != 4; i++)
		EXPECT_EQ(old[i & 1], two_lands(two, i & 1, IOVA_A));
	for (i = 0; i != 2; i++)
		s1_map(two->g[i], v[i].ttb, IOVA_A, new[i], S1_RW);
	EXPECT_EQ(old[0], two_lands(two, 0, IOVA_A));

	/* An invalidation by either VM, with any VMID in the command */
	for (i = 0; i != 64; i++)
		ASSERT_EQ(0, viommu_cmd(two->fd[0], v[0].viommu_id,
					cmd_nh_all(i)));
	ASSERT_EQ(0, viommu_cmd(two->fd[0], v[0].viommu_id, cmd_nsnh_all()));
	EXPECT_EQ(new[0], two_lands(two, 0, IOVA_A));
	EXPECT_EQ(old[1], two_lands(two, 1, IOVA_A));
	ASSERT_EQ(0, viommu_cmd(two->fd[1], v[1].viommu_id,
				cmd_nh_va(any_vmid(), ASID, IOVA_A)));
	EXPECT_EQ(new[1], two_lands(two, 1, IOVA_A));
	EXPECT_EQ(new[0], two_lands(two, 0, IOVA_A));
}

/* The same vSID is another device in each vIOMMU */
TEST_F(two_devices, cd_isolation)
{
	struct two *two = &self->two;
	struct vsmmu *v = self->v;
	__u64 old[2], new[2], ttb;
	int i;

	for (i = 0; i != 2; i++) {
		old[i] = guest_page(two->g[i]);
		new[i] = guest_page(two->g[i]);
		s1_map(two->g[i], v[i].ttb, IOVA_A, old[i], S1_RW);
		ASSERT_EQ(0, edu_attach(&two->dev[i], v[i].hwpt_s1));
		EXPECT_EQ(old[i], two_lands(two, i, IOVA_A));
		ttb = s1_create(two->g[i]);
		s1_map(two->g[i], ttb, IOVA_A, new[i], S1_RW);
		cd_write(two->g[i], &two->dev[i], v[i].cd, ttb, ASID_B);
	}
	ASSERT_EQ(0, viommu_cmd(two->fd[1], v[1].viommu_id, cmd_cfgi_cd(VSID)));
	EXPECT_EQ(old[0], two_lands(two, 0, IOVA_A));
	EXPECT_EQ(new[1], two_lands(two, 1, IOVA_A));
	ASSERT_EQ(0, viommu_cmd(two->fd[0], v[0].viommu_id,
				cmd_cfgi_cd_all(VSID)));
	EXPECT_EQ(new[0], two_lands(two, 0, IOVA_A));

	/* A vSID that exists only on the other vIOMMU belongs to no device */
	ASSERT_EQ(0, destroy(two->fd[1], v[1].vdevice_id));
	ASSERT_EQ(0, vdevice_alloc(two->fd[1], v[1].viommu_id,
				   two->dev[1].dev_id, VSID_B, NULL));
	EXPECT_EQ(-EIO, viommu_cmd(two->fd[0], v[0].viommu_id,
				   cmd_cfgi_cd(VSID_B)));
	EXPECT_EQ(-EIO, viommu_cmd(two->fd[1], v[1].viommu_id,
				   cmd_cfgi_cd(VSID)));
}

/*
 * Memory that is removed from a stage 2 is gone for all devices that nest on it
 */
TEST_F(two_devices, stage2_unmap)
{
	struct two *two = &self->two;
	struct vsmmu *v = self->v;
	int i;

	for (i = 0; i != 2; i++) {
		if (!i || variant->two_fds)
			ASSERT_EQ(0, guest_map(two->g[i], HOLE_IPA, HOLE_SIZE,
					       true));
		s1_map(two->g[i], v[i].ttb, IOVA_A,
		       HOLE_IPA + i * GUEST_PAGE, S1_RW);
		ASSERT_EQ(0, edu_attach(&two->dev[i], v[i].hwpt_s1));
		EXPECT_EQ(HOLE_IPA + i * GUEST_PAGE, two_lands(two, i, IOVA_A));
	}
	ASSERT_EQ(0, guest_unmap(two->g[0], HOLE_IPA));
	EXPECT_EQ(NOWHERE, two_lands(two, 0, IOVA_A));
	EXPECT_EQ(variant->two_fds ? HOLE_IPA + GUEST_PAGE : NOWHERE,
		  two_lands(two, 1, IOVA_A));
}

/*
 * When a VMID is reused, the TLB must hold nothing of the previous VM: both VMs
 * have the same ASID and IOVA, and neither of them invalidates.
 */
TEST_F(two_devices, vmid_reuse)
{
	struct two *two = &self->two;
	struct vsmmu *v = self->v;
	__u64 page[2];
	int i;

	for (i = 0; i != 2; i++) {
		page[i] = guest_page(two->g[i]);
		s1_map(two->g[i], v[i].ttb, IOVA_A, page[i], S1_RW);
	}
	for (i = 0; i != 2; i++)
		ASSERT_EQ(0, edu_detach(&two->dev[i]));
	for (i = 0; i != 4; i++) {
		ASSERT_EQ(0, edu_attach(&two->dev[i & 1], v[i & 1].hwpt_s1));
		EXPECT_EQ(page[i & 1], two_lands(two, i & 1, IOVA_A));
		ASSERT_EQ(0, edu_detach(&two->dev[i & 1]));
	}
}

/* Each VM gets its own events, although both have the same vSID */
TEST_F(two_devices, events)
{
	struct two *two = &self->two;
	struct vsmmu *v = self->v;
	int queue[2], i;
	__u32 id;

	for (i = 0; i != 2; i++) {
		ASSERT_EQ(0, edu_attach(&two->dev[i], v[i].hwpt_s1));
		ASSERT_EQ(0, veventq_alloc(two->fd[i], v[i].viommu_id,
					   QUEUE_DEPTH, &id, &queue[i]));
	}
	fault(&two->dev[0], IOVA_A, false);
	fault(&two->dev[1], IOVA_B, true);
	fault(&two->dev[0], IOVA_C, false);
	expect_event(_metadata, queue[0], 0, EVT_TRANSLATION, VSID,
		     EVT1_CLASS_IN, IOVA_A);
	expect_event(_metadata, queue[0], 1, EVT_TRANSLATION, VSID,
		     EVT1_CLASS_IN, IOVA_C);
	expect_event(_metadata, queue[1], 0, EVT_TRANSLATION, VSID,
		     EVT1_CLASS_IN | EVT1_RNW, IOVA_B);
	for (i = 0; i != 2; i++)
		expect_no_event(_metadata, queue[i]);

	/* Events of the VM without a queue do not reach the other VM */
	close(queue[1]);
	ASSERT_EQ(0, destroy(two->fd[1], id));
	fault(&two->dev[1], IOVA_A, false);
	fault(&two->dev[0], IOVA_B, false);
	expect_event(_metadata, queue[0], 2, EVT_TRANSLATION, VSID,
		     EVT1_CLASS_IN, IOVA_B);
	expect_no_event(_metadata, queue[0]);
	close(queue[0]);
	EXPECT_EQ(0, klog_count(HOST_EVENT));
}

/* Two devices on the same stage 2 */
FIXTURE(one_stage2)
{
	struct two two;
	struct vsmmu v[2];
};

FIXTURE_VARIANT(one_stage2)
{
	enum edu_pair pair;
};

FIXTURE_VARIANT_ADD(one_stage2, one_smmu)
{
	.pair = EDU_SAME_SMMU,
};

FIXTURE_VARIANT_ADD(one_stage2, two_smmus)
{
	.pair = EDU_OTHER_SMMU,
};

FIXTURE_SETUP(one_stage2)
{
	two_start_nesting(_metadata, &self->two, self->v, variant->pair, false);
}

FIXTURE_TEARDOWN(one_stage2)
{
	two_stop(_metadata, &self->two);
}

/* A nested device and a device on the bare stage 2: the unmap reaches both */
TEST_F(one_stage2, stage2_unmap_mixed)
{
	struct two *two = &self->two;
	struct vsmmu *v = self->v;

	ASSERT_EQ(0, guest_map(two->g[0], HOLE_IPA, HOLE_SIZE, true));
	s1_map(two->g[0], v[0].ttb, IOVA_A, HOLE_IPA, S1_RW);
	ASSERT_EQ(0, edu_attach(&two->dev[0], v[0].hwpt_s1));
	EXPECT_EQ(HOLE_IPA, two_lands(two, 0, IOVA_A));
	EXPECT_EQ(HOLE_IPA, two_lands(two, 1, HOLE_IPA));
	ASSERT_EQ(0, guest_unmap(two->g[0], HOLE_IPA));
	EXPECT_EQ(NOWHERE, two_lands(two, 0, IOVA_A));
	EXPECT_EQ(NOWHERE, two_lands(two, 1, HOLE_IPA));
}

/* The usual guest: one vSMMU, several devices behind it */
TEST_F(one_stage2, one_viommu)
{
	struct two *two = &self->two;
	struct vsmmu *v = self->v;
	__u64 a = guest_page(two->g[0]), b = guest_page(two->g[0]);
	__u64 c = guest_page(two->g[0]), cd, ttb;
	__u32 s1, id;

	ASSERT_EQ(0, destroy(two->fd[0], v[1].vdevice_id));
	if (variant->pair == EDU_OTHER_SMMU) {
		/* An SMMU cannot use a vIOMMU of another SMMU */
		ASSERT_EQ(0, hwpt_alloc_ste(two->fd[0], two->dev[0].dev_id,
					    v[0].viommu_id, ste_bypass(), &s1));
		EXPECT_EQ(-EINVAL, edu_attach(&two->dev[1], s1));
		EXPECT_EQ(-EINVAL, vdevice_alloc(two->fd[0], v[0].viommu_id,
						 two->dev[1].dev_id, VSID_B,
						 &id));
		EXPECT_EQ(-EINVAL,
			  hwpt_alloc_ste(two->fd[0], two->dev[1].dev_id,
					 v[0].viommu_id, ste_bypass(), &s1));
		return;
	}

	EXPECT_EQ(-EEXIST, vdevice_alloc(two->fd[0], v[0].viommu_id,
					 two->dev[1].dev_id, VSID, &id));
	EXPECT_EQ(0, viommu_cmd(two->fd[0], v[0].viommu_id, cmd_cfgi_cd(VSID)));
	ASSERT_EQ(0, vdevice_alloc(two->fd[0], v[0].viommu_id,
				   two->dev[1].dev_id, VSID_B, &id));

	cd = guest_zero_page(two->g[0]);
	ttb = s1_create(two->g[0]);
	cd_write(two->g[0], &two->dev[1], cd, ttb, ASID_B);
	s1_map(two->g[0], v[0].ttb, IOVA_A, a, S1_RW);
	s1_map(two->g[0], ttb, IOVA_A, b, S1_RW);
	ASSERT_EQ(0, hwpt_alloc_ste(two->fd[0], two->dev[1].dev_id,
				    v[0].viommu_id, ste_s1(cd), &s1));
	ASSERT_EQ(0, edu_attach(&two->dev[0], v[0].hwpt_s1));
	ASSERT_EQ(0, edu_attach(&two->dev[1], s1));
	EXPECT_EQ(a, two_lands(two, 0, IOVA_A));
	EXPECT_EQ(b, two_lands(two, 1, IOVA_A));

	/* There is a single TLB for both address spaces. NH_ALL covers both */
	s1_map(two->g[0], v[0].ttb, IOVA_A, c, S1_RW);
	s1_map(two->g[0], ttb, IOVA_A, c, S1_RW);
	ASSERT_EQ(0, viommu_cmd(two->fd[0], v[0].viommu_id,
				cmd_nh_asid(any_vmid(), ASID_B)));
	EXPECT_EQ(a, two_lands(two, 0, IOVA_A));
	EXPECT_EQ(c, two_lands(two, 1, IOVA_A));
	s1_map(two->g[0], ttb, IOVA_A, b, S1_RW);
	ASSERT_EQ(0, viommu_cmd(two->fd[0], v[0].viommu_id,
				cmd_nh_all(any_vmid())));
	EXPECT_EQ(c, two_lands(two, 0, IOVA_A));
	EXPECT_EQ(b, two_lands(two, 1, IOVA_A));

	/* Each device has its own CDs */
	cd_write(two->g[0], &two->dev[1], cd, v[0].ttb, ASID);
	ASSERT_EQ(0, viommu_cmd(two->fd[0], v[0].viommu_id, cmd_cfgi_cd(VSID)));
	EXPECT_EQ(b, two_lands(two, 1, IOVA_A));
	ASSERT_EQ(0, viommu_cmd(two->fd[0], v[0].viommu_id,
				cmd_cfgi_cd(VSID_B)));
	EXPECT_EQ(c, two_lands(two, 1, IOVA_A));
}

/*
 * The first device nests, and the second is on the bare stage 2, where it may
 * have the same VMID. The first leaves and the second nests: it must not hit
 * TLB entries of the first guest, although the VMID has been in use all the
 * time.
 */
TEST_F(one_stage2, vmid_handover)
{
	struct two *two = &self->two;
	struct vsmmu *v = self->v;
	__u64 page[2], stale;
	int i;

	for (i = 0; i != 2; i++) {
		page[i] = guest_page(two->g[i]);
		s1_map(two->g[i], v[i].ttb, IOVA_A, page[i], S1_RW);
	}
	ASSERT_EQ(0, edu_attach(&two->dev[0], v[0].hwpt_s1));
	EXPECT_EQ(page[0], two_lands(two, 0, IOVA_A));
	ASSERT_EQ(0, edu_detach(&two->dev[0]));
	ASSERT_EQ(0, edu_attach(&two->dev[1], v[1].hwpt_s1));
	EXPECT_EQ(page[1], two_lands(two, 1, IOVA_A));

	/*
	 * The first guest returns, and has changed its tables without an
	 * invalidation
	 */
	ASSERT_EQ(0, edu_attach(&two->dev[0], two->g[0]->s2_id));
	ASSERT_EQ(0, edu_attach(&two->dev[1], two->g[0]->s2_id));
	stale = guest_page(two->g[1]);
	s1_map(two->g[1], v[1].ttb, IOVA_A, stale, S1_RW);
	EXPECT_EQ(stale, two_lands(two, 0, stale));
	ASSERT_EQ(0, edu_attach(&two->dev[0], v[0].hwpt_s1));
	EXPECT_EQ(page[0], two_lands(two, 0, IOVA_A));
	ASSERT_EQ(0, edu_attach(&two->dev[1], v[1].hwpt_s1));
	EXPECT_EQ(stale, two_lands(two, 1, IOVA_A));
}

/* Two devices of a guest share a queue, and each has its own vSID */
TEST_F(one_stage2, events)
{
	struct two *two = &self->two;
	struct vsmmu *v = self->v;
	__u32 s1, id;
	int queue;

	if (variant->pair == EDU_OTHER_SMMU)
		SKIP(return, "one vIOMMU has one SMMU");
	ASSERT_EQ(0, destroy(two->fd[0], v[1].vdevice_id));
	ASSERT_EQ(0, vdevice_alloc(two->fd[0], v[0].viommu_id,
				   two->dev[1].dev_id, VSID_B, &id));
	ASSERT_EQ(0, hwpt_alloc_ste(two->fd[0], two->dev[1].dev_id,
				    v[0].viommu_id, ste_s1(v[1].cd), &s1));
	ASSERT_EQ(0, veventq_alloc(two->fd[0], v[0].viommu_id, QUEUE_DEPTH,
				   &id, &queue));
	ASSERT_EQ(0, edu_attach(&two->dev[0], v[0].hwpt_s1));
	ASSERT_EQ(0, edu_attach(&two->dev[1], s1));
	fault(&two->dev[1], IOVA_A, false);
	fault(&two->dev[0], IOVA_A, false);
	fault(&two->dev[1], IOVA_B, false);
	expect_event(_metadata, queue, 0, EVT_TRANSLATION, VSID_B,
		     EVT1_CLASS_IN, IOVA_A);
	expect_event(_metadata, queue, 1, EVT_TRANSLATION, VSID, EVT1_CLASS_IN,
		     IOVA_A);
	expect_event(_metadata, queue, 2, EVT_TRANSLATION, VSID_B,
		     EVT1_CLASS_IN, IOVA_B);
	expect_no_event(_metadata, queue);
	close(queue);
}

/* Two VMs behind one SMMU, and so behind one physical event queue */
struct two_queues {
	struct two two;
	struct vsmmu v[2];
	int queue[2];
};

FIXTURE(two_queues)
{
	struct two_queues q;
};

FIXTURE_SETUP(two_queues)
{
	static const __u32 depth[2] = { 2, QUEUE_DEPTH };
	__u32 id;
	int i;

	two_start_nesting(_metadata, &self->q.two, self->q.v, EDU_SAME_SMMU, true);
	if (_metadata->exit_code)
		return;
	for (i = 0; i != 2; i++) {
		ASSERT_EQ(0, edu_attach(&self->q.two.dev[i], self->q.v[i].hwpt_s1));
		ASSERT_EQ(0, veventq_alloc(self->q.two.fd[i],
					   self->q.v[i].viommu_id, depth[i], &id,
					   &self->q.queue[i]));
	}
}

FIXTURE_TEARDOWN(two_queues)
{
	close(self->q.queue[0]);
	close(self->q.queue[1]);
	two_stop(_metadata, &self->q.two);
}

/*
 * The queue of the first VM is small. An event of the second VM marks the end.
 */
TEST_F(two_queues, lost)
{
	struct two *two = &self->q.two;
	int queue = self->q.queue[0], i;
	struct smmu_event event;
	char buf[128];

	for (i = 0; i != 5; i++)
		fault(&two->dev[0], IOVA_A + i * GUEST_PAGE, false);
	fault(&two->dev[1], IOVA_B, false);
	expect_event(_metadata, self->q.queue[1], 0, EVT_TRANSLATION, VSID,
		     EVT1_CLASS_IN, IOVA_B);
	expect_no_event(_metadata, self->q.queue[1]);

	/* Two whole events, and a report that three more were lost */
	EXPECT_EQ(-1, read(queue, buf, sizeof(event) - 1));
	EXPECT_EQ(EINVAL, errno);
	expect_event(_metadata, queue, 0, EVT_TRANSLATION, VSID, EVT1_CLASS_IN,
		     IOVA_A);
	expect_event(_metadata, queue, 1, EVT_TRANSLATION, VSID, EVT1_CLASS_IN,
		     IOVA_A + GUEST_PAGE);
	EXPECT_EQ(sizeof(event.header), veventq_next(queue, &event));
	EXPECT_EQ(IOMMU_VEVENTQ_FLAG_LOST_EVENTS, event.header.flags);
	EXPECT_EQ(4, event.header.sequence);
	expect_no_event(_metadata, queue);

	/*
	 * Not read before the next event, so only the sequence number shows the
	 * loss
	 */
	for (i = 0; i != 3; i++)
		fault(&two->dev[0], IOVA_A, false);
	fault(&two->dev[1], IOVA_B, false);
	expect_event(_metadata, self->q.queue[1], 1, EVT_TRANSLATION, VSID,
		     EVT1_CLASS_IN, IOVA_B);
	expect_event(_metadata, queue, 5, EVT_TRANSLATION, VSID, EVT1_CLASS_IN,
		     IOVA_A);
	fault(&two->dev[0], IOVA_C, true);
	fault(&two->dev[1], IOVA_B, false);
	expect_event(_metadata, self->q.queue[1], 2, EVT_TRANSLATION, VSID,
		     EVT1_CLASS_IN, IOVA_B);
	expect_event(_metadata, queue, 6, EVT_TRANSLATION, VSID, EVT1_CLASS_IN,
		     IOVA_A);
	expect_event(_metadata, queue, 8, EVT_TRANSLATION, VSID,
		     EVT1_CLASS_IN | EVT1_RNW, IOVA_C);
	expect_no_event(_metadata, queue);
	EXPECT_EQ(0, klog_count(HOST_EVENT));
}

/* At least one event: edu causes one for every four bytes */
static int flood_once(struct worker *w)
{
	edu_write(&w->vm->dev, IOVA_A + 1, 0, EDU_BUF_SIZE - 1);
	return 0;
}

static __u64 usec(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000ULL + ts.tv_nsec / 1000;
}

/* Attaches and DMAs after which neither VM has kept the other from its work */
#define MANY_ATTACHES	10
#define MANY_DMAS	4

/* A guest that faults all the time must not disturb other VMs */
static unsigned long flood(struct __test_metadata *_metadata,
			   struct two_queues *q, unsigned int seconds,
			   __u32 *sequence)
{
	struct two *two = &q->two;
	struct vm noisy = { .dev = two->dev[0] };
	struct worker w = { .vm = &noisy, .once = flood_once };
	__u64 start, took, longest = 0, end, last;
	unsigned int turns = 0, quick = 0;
	__u32 seq = *sequence;

	worker_start(_metadata, &w);
	end = usec() + seconds * 1000000ULL;
	last = end + 60 * 1000000ULL;
	do {
		start = usec();
		ASSERT_EQ(0, edu_detach(&two->dev[1]));
		ASSERT_EQ(0, edu_attach(&two->dev[1], q->v[1].hwpt_s1));
		took = usec() - start;
		if (took > longest)
			longest = took;
		/* A CMD_SYNC waits for a second at most */
		quick += took < 1000000;
		if (turns++ % 4)
			continue;
		fault(&two->dev[1], IOVA_B, false);
		expect_event(_metadata, q->queue[1], seq++, EVT_TRANSLATION,
			     VSID, EVT1_CLASS_IN, IOVA_B);
	} while (usec() < end ||
		 ((quick < MANY_ATTACHES || worker_turns(&w) < MANY_DMAS) &&
		  usec() < last));
	worker_stop(_metadata, &w);
	fault(&two->dev[1], IOVA_B, false);
	expect_event(_metadata, q->queue[1], seq++, EVT_TRANSLATION, VSID,
		     EVT1_CLASS_IN, IOVA_B);
	*sequence = seq;

	TH_LOG("%u attaches, the longest took %llu us, %u events of %lu DMAs",
	       turns, (unsigned long long)longest, seq, w.turns);
	EXPECT_LE(MANY_ATTACHES, quick);
	expect_no_event(_metadata, q->queue[1]);
	return w.turns;
}

TEST_F_TIMEOUT(two_queues, flood, 240)
{
	struct two *two = &self->q.two;
	struct smmu_event event;
	unsigned long turns;
	__u32 sequence = 0;
	__u64 start;

	/*
	 * Faults of stage 1 are events for the guest alone, which does not even
	 * read them
	 */
	turns = flood(_metadata, &self->q, 2, &sequence);
	EXPECT_EQ(0, klog_count(HOST_EVENT));
	ASSERT_EQ(sizeof(event), veventq_next(self->q.queue[0], &event));
	EXPECT_EQ(0, event.header.sequence);
	ASSERT_EQ(sizeof(event), veventq_next(self->q.queue[0], &event));
	EXPECT_EQ(1, event.header.sequence);
	ASSERT_EQ(sizeof(event.header), veventq_next(self->q.queue[0], &event));
	EXPECT_LT(2, turns);
	EXPECT_LE(turns - 1, event.header.sequence);

	/*
	 * Faults of stage 2 go to the host's log, which gets three of them in
	 * five seconds. The first and the last interval may be incomplete.
	 */
	start = usec();
	s1_map(two->g[0], self->q.v[0].ttb, IOVA_A, HOLE_IPA, S1_RW);
	s1_map(two->g[0], self->q.v[0].ttb, IOVA_A + GUEST_PAGE, HOLE_IPA, S1_RW);
	flood(_metadata, &self->q, 6, &sequence);
	EXPECT_GE(3 * ((usec() - start) / 5000000 + 2), klog_count(HOST_EVENT));
	EXPECT_LT(0, klog_count(HOST_EVENT));
	expect_no_event(_metadata, self->q.queue[0]);
}

TEST_HARNESS_MAIN
