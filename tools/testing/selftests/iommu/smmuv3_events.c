// SPDX-License-Identifier: GPL-2.0-only
/*
 * Events of the SMMU that belong to a guest, read from its vEVENTQ
 */
#include <errno.h>
#include <poll.h>

#include "smmuv3_vm.h"

struct events {
	struct vm vm;
	__u32 queue_id;
	int queue;
	/* The sequence number of the next event */
	__u32 sequence;
};

FIXTURE(events)
{
	struct events e;
};

FIXTURE_SETUP(events)
{
	struct vm *vm = &self->e.vm;

	vm_start_nesting(_metadata, vm);
	if (_metadata->exit_code)
		return;
	ASSERT_EQ(0, veventq_alloc(vm->fd, vm->v.viommu_id, QUEUE_DEPTH,
				   &self->e.queue_id, &self->e.queue));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
}

FIXTURE_TEARDOWN(events)
{
	close(self->e.queue);
	vm_stop(_metadata, &self->e.vm);
}

static void events_expect(struct __test_metadata *_metadata,
			  struct events *e, __u8 id, __u64 word_1,
			  __u64 word_2)
{
	expect_event(_metadata, e->queue, e->sequence++, id, VSID, word_1,
		     word_2);
}

/* None of the previous accesses has caused an event */
static void events_expect_none(struct __test_metadata *_metadata,
			       struct events *e)
{
	const __u64 nothing = IOVA_C + 5 * GUEST_PAGE + 12;

	fault(&e->vm.dev, nothing, false);
	events_expect(_metadata, e, EVT_TRANSLATION, EVT1_CLASS_IN, nothing);
	expect_no_event(_metadata, e->queue);
}

/*
 * All events that the emulated SMMU supports, none of which is in the host's
 * log
 */
TEST_F(events, stage1)
{
	struct vm *vm = &self->e.vm;
	__u64 w0 = le64toh(ste_s1(vm->v.cd).ste[0]);
	__u64 w1 = le64toh(ste_s1(vm->v.cd).ste[1]);
	__u64 a = guest_page(&vm->g);
	__u32 bad;
	int rw;

	s1_map(&vm->g, vm->v.ttb, IOVA_A, a, S1_RO);
	s1_map(&vm->g, vm->v.ttb, IOVA_B, a, S1_NO_AF);
	/* More bits than CD.IPS allows */
	s1_map(&vm->g, vm->v.ttb, IOVA_C, BIT_ULL(45), S1_RW);
	expect_no_event(_metadata, self->e.queue);

	for (rw = 0; rw != 2; rw++) {
		const __u64 word_1 = EVT1_CLASS_IN | (rw ? EVT1_RNW : 0);
		/*
		 * No table leads there at all, or only the last table is
		 * missing
		 */
		const __u64 far = 0x7654321f8120ULL;
		const __u64 near = IOVA_A + 2 * GUEST_PAGE + 4;

		fault(&vm->dev, far, rw);
		events_expect(_metadata, &self->e, EVT_TRANSLATION, word_1, far);
		fault(&vm->dev, near, rw);
		events_expect(_metadata, &self->e, EVT_TRANSLATION, word_1, near);
		fault(&vm->dev, IOVA_B + 0x120, rw);
		events_expect(_metadata, &self->e, EVT_ACCESS, word_1,
			      IOVA_B + 0x120);
		fault(&vm->dev, IOVA_C + 0xffc, rw);
		events_expect(_metadata, &self->e, EVT_ADDR_SIZE, word_1,
			      IOVA_C + 0xffc);
	}
	fault(&vm->dev, IOVA_A + 8, false);
	events_expect(_metadata, &self->e, EVT_PERMISSION, EVT1_CLASS_IN,
		      IOVA_A + 8);
	fault(&vm->dev, IOVA_A + 8, true);
	events_expect_none(_metadata, &self->e);

	/* CD.V = 0 */
	guest_write64(&vm->g, vm->v.cd, 0);
	ASSERT_EQ(0, vm_cmd(vm, cmd_cfgi_cd(VSID)));
	fault(&vm->dev, IOVA_A, false);
	events_expect(_metadata, &self->e, EVT_BAD_CD, 0, 0);

	/* A table of CDs, which this SMMU does not support */
	if (!IDR1_SSIDSIZE(vm->dev.info.idr[1])) {
		ASSERT_EQ(0, vm_hwpt(vm, ste_raw(w0 | STE0_S1CDMAX(4), w1),
				     &bad));
		ASSERT_EQ(0, edu_attach(&vm->dev, bad));
		fault(&vm->dev, IOVA_A, false);
		events_expect(_metadata, &self->e, EVT_BAD_STE, 0, 0);
		fault(&vm->dev, IOVA_A, true);
		events_expect(_metadata, &self->e, EVT_BAD_STE, 0, 0);
	}

	EXPECT_EQ(0, klog_count(HOST_EVENT));
	EXPECT_TRUE(guests_intact());
}

/* V = 0 is reported once for each attach, and not for each DMA */
TEST_F(events, bad_ste)
{
	struct vm *vm = &self->e.vm;
	__u32 invalid, abort_id;
	int i;

	ASSERT_EQ(0, vm_hwpt(vm, ste_raw(~STE0_V, ~0ULL), &invalid));
	ASSERT_EQ(0, vm_hwpt(vm, ste_abort(), &abort_id));
	for (i = 0; i != 2; i++) {
		ASSERT_EQ(0, edu_attach(&vm->dev, invalid));
		events_expect(_metadata, &self->e, EVT_BAD_STE, 0, 0);
		fault(&vm->dev, IOVA_A, false);
		fault(&vm->dev, IOVA_A, true);
		ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
		events_expect_none(_metadata, &self->e);
	}

	/* The guest asks for an abort, which is no event */
	ASSERT_EQ(0, edu_attach(&vm->dev, abort_id));
	fault(&vm->dev, IOVA_A, false);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	events_expect_none(_metadata, &self->e);

	/*
	 * Without a vDEVICE, a device has no events for the guest. It may get a
	 * vDEVICE later.
	 */
	ASSERT_EQ(0, destroy(vm->fd, vm->v.vdevice_id));
	ASSERT_EQ(0, edu_attach(&vm->dev, invalid));
	ASSERT_EQ(0, vdevice_alloc(vm->fd, vm->v.viommu_id, vm->dev.dev_id,
				   VSID, NULL));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	events_expect_none(_metadata, &self->e);
	EXPECT_EQ(0, klog_count(HOST_EVENT));
}

/*
 * Fault until the log has the record of the last fault. The rate limit may
 * suppress records now, but DEFAULT_RATELIMIT_INTERVAL, five seconds, ends
 * this. Each fault gets more time than its predecessor, because a busy
 * machine may delay the record.
 */
static bool host_log_gets(struct vm *vm, __u64 iova)
{
	time_t end = time(NULL) + 60;
	char addr[32];
	int i, n = 10;

	for (; time(NULL) < end; iova += FAULT_SIZE, n *= 2) {
		snprintf(addr, sizeof(addr), "0x%016llx",
			 (unsigned long long)iova);
		fault(&vm->dev, iova, false);
		for (i = 0; i != n; i++) {
			if (klog_count(addr))
				return klog_count(HOST_EVENT "10 received");
			usleep(5000);
		}
	}
	return false;
}

/* Wait for the first record of a new interval, which permits more records */
static void host_log_anew(struct __test_metadata *_metadata, struct vm *vm,
			  __u64 iova)
{
	edu_write(&vm->dev, iova, 0, 8 * FAULT_SIZE);
	EXPECT_TRUE(host_log_gets(vm, iova + 0x800));
}

/* Faults of stage 2 belong to the host: the VMM has unmapped guest memory */
TEST_F(events, stage2_is_for_the_host)
{
	struct vm *vm = &self->e.vm;
	__u64 ttb = HOLE_IPA + 0x1000, cd = HOLE_IPA + 0x2040, w0;
	__u32 outside;

	ASSERT_EQ(0, guest_map(&vm->g, HOLE_IPA, HOLE_SIZE, true));
	vm_map(vm, IOVA_A, HOLE_IPA);
	EXPECT_EQ(HOLE_IPA, vm_lands(vm, IOVA_A));
	ASSERT_EQ(0, guest_unmap(&vm->g, HOLE_IPA));

	/* The target of a DMA */
	fault(&vm->dev, IOVA_A, false);
	fault(&vm->dev, IOVA_A + 0x10, true);
	events_expect_none(_metadata, &self->e);
	/* A table of the guest */
	cd_write(&vm->g, &vm->dev, vm->v.cd, ttb, ASID_B);
	ASSERT_EQ(0, vm_cmd(vm, cmd_cfgi_cd(VSID)));
	fault(&vm->dev, IOVA_B, false);
	cd_write(&vm->g, &vm->dev, vm->v.cd, vm->v.ttb, ASID);
	ASSERT_EQ(0, vm_cmd(vm, cmd_cfgi_cd(VSID)));
	events_expect_none(_metadata, &self->e);
	/* The CD of the guest */
	w0 = STE0_V | STE0_CFG(CFG_S1) | cd;
	ASSERT_EQ(0, vm_hwpt(vm, ste_raw(w0, le64toh(ste_s1(cd).ste[1])),
			     &outside));
	ASSERT_EQ(0, edu_attach(&vm->dev, outside));
	fault(&vm->dev, IOVA_B, false);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	events_expect_none(_metadata, &self->e);

	EXPECT_TRUE(host_log_gets(vm, IOVA_A + 0x100));
	events_expect_none(_metadata, &self->e);

	/* The stage 2 alone, with a vDEVICE or without */
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->g.s2_id));
	fault(&vm->dev, HOLE_IPA, false);
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	events_expect_none(_metadata, &self->e);
}

/* A vDEVICE identifies the owner of a device, not of its stage 1 */
TEST_F(events, host_stage1)
{
	struct vm *vm = &self->e.vm;
	__u32 s1;

	ASSERT_EQ(0, hwpt_alloc(vm->fd, vm->dev.dev_id, vm->g.ioas_id, 0,
				IOMMU_HWPT_DATA_NONE, NULL, 0, &s1));
	ASSERT_EQ(0, edu_attach(&vm->dev, s1));
	EXPECT_TRUE(host_log_gets(vm, IOVA_B));
	expect_no_event(_metadata, self->e.queue);

	/* And back */
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	fault(&vm->dev, IOVA_B, false);
	events_expect(_metadata, &self->e, EVT_TRANSLATION, EVT1_CLASS_IN,
		      IOVA_B);
}

/* An event carries the vSID that the device has at this time */
TEST_F(events, vdevice)
{
	struct vm *vm = &self->e.vm;
	__u32 id;

	ASSERT_EQ(0, destroy(vm->fd, vm->v.vdevice_id));
	fault(&vm->dev, IOVA_A, false);
	fault(&vm->dev, IOVA_A + 8, false);
	EXPECT_TRUE(host_log_gets(vm, IOVA_A + 0x100));
	expect_no_event(_metadata, self->e.queue);
	ASSERT_EQ(0, vdevice_alloc(vm->fd, vm->v.viommu_id, vm->dev.dev_id,
				   VSID_B, &id));
	fault(&vm->dev, IOVA_B, false);
	expect_event(_metadata, self->e.queue, 0, EVT_TRANSLATION, VSID_B,
		     EVT1_CLASS_IN, IOVA_B);

	/* 0 is a valid vSID, and so is the highest number */
	ASSERT_EQ(0, destroy(vm->fd, id));
	ASSERT_EQ(0, vdevice_alloc(vm->fd, vm->v.viommu_id, vm->dev.dev_id, 0,
				   &id));
	fault(&vm->dev, IOVA_A, true);
	expect_event(_metadata, self->e.queue, 1, EVT_TRANSLATION, 0,
		     EVT1_CLASS_IN | EVT1_RNW, IOVA_A);
	ASSERT_EQ(0, destroy(vm->fd, id));
	ASSERT_EQ(0, vdevice_alloc(vm->fd, vm->v.viommu_id, vm->dev.dev_id,
				   0xffffffff, &id));
	fault(&vm->dev, IOVA_C, false);
	expect_event(_metadata, self->e.queue, 2, EVT_TRANSLATION, 0xffffffff,
		     EVT1_CLASS_IN, IOVA_C);
	expect_no_event(_metadata, self->e.queue);
}

/* Without a queue, events reach neither the guest nor the host's log */
TEST_F_TIMEOUT(events, no_queue, 240)
{
	struct vm *vm = &self->e.vm;
	__u32 invalid, id;
	char addr[32];
	int queue;

	/*
	 * A fault of stage 2 is logged, and shows that the previous faults were
	 * not
	 */
	vm_map(vm, IOVA_C, HOLE_IPA);
	host_log_anew(_metadata, vm, IOVA_C);

	/* The file alone keeps the queue */
	EXPECT_EQ(-EBUSY, destroy(vm->fd, self->e.queue_id));
	EXPECT_EQ(-EEXIST, veventq_alloc(vm->fd, vm->v.viommu_id, 1, &id,
					 &queue));
	fault(&vm->dev, IOVA_A, false);
	events_expect(_metadata, &self->e, EVT_TRANSLATION, EVT1_CLASS_IN, IOVA_A);
	EXPECT_EQ(-EBUSY, destroy(vm->fd, vm->v.viommu_id));
	close(self->e.queue);
	ASSERT_EQ(0, destroy(vm->fd, self->e.queue_id));

	fault(&vm->dev, IOVA_A, false);
	fault(&vm->dev, IOVA_B, true);
	ASSERT_EQ(0, vm_hwpt(vm, ste_raw(0, 0), &invalid));
	ASSERT_EQ(0, edu_attach(&vm->dev, invalid));
	ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
	EXPECT_TRUE(host_log_gets(vm, IOVA_C));
	snprintf(addr, sizeof(addr), "0x%016llx", IOVA_A);
	EXPECT_EQ(0, klog_count(addr));

	/* A later queue counts from 0, and has none of the earlier events */
	self->e.sequence = 0;
	ASSERT_EQ(0, veventq_alloc(vm->fd, vm->v.viommu_id, QUEUE_DEPTH,
				   &self->e.queue_id, &self->e.queue));
	events_expect_none(_metadata, &self->e);

	/* The queue stays for other devices after a device has left */
	edu_close(&vm->dev);
	expect_no_event(_metadata, self->e.queue);
}

/* The next event, and how many losses were reported before it */
static __u32 lost_before(struct __test_metadata *_metadata, struct events *e,
			 struct smmu_event *event)
{
	__u32 lost = 0;
	int len;

	do {
		len = veventq_next(e->queue, event);
		ASSERT_LT(0, len);
		lost += event->header.sequence - e->sequence;
		if (event->header.flags & IOMMU_VEVENTQ_FLAG_LOST_EVENTS)
			lost++;
		e->sequence = event->header.sequence + 1;
	} while (len != sizeof(*event));
	return lost;
}

/*
 * edu causes an event for each four bytes, all at once. The SMMU loses the
 * events that its queue has no room for. The VM gets the others, and is
 * notified of the loss.
 */
TEST_F(events, overflow)
{
	struct vm *vm = &self->e.vm;
	__u32 room = 1U << IDR1_EVENTQS(vm->dev.info.idr[1]), i, n, lost;
	__u64 last = IOVA_C + 0x120;
	struct smmu_event event;

	if (room > QUEUE_DEPTH / 2)
		SKIP(return, "the SMMU has a queue of %u events", room);
	if (pci_has_flr(vm->dev.bdf))
		SKIP(return, "edu-pcie causes an event for each DMA");
	for (i = 0; i != 3; i++) {
		edu_write(&vm->dev, IOVA_A, 0, EDU_BUF_SIZE);
		for (n = lost = 0; n != room; n++) {
			lost += lost_before(_metadata, &self->e, &event);
			EXPECT_EQ(EVT_TRANSLATION | EVT0_SID(VSID),
				  le64toh(event.evt[0]));
			EXPECT_EQ(IOVA_A + FAULT_SIZE * n, le64toh(event.evt[2]));
		}
		/* The queue goes on, and a later loss is reported as well */
		fault(&vm->dev, last, false);
		lost += lost_before(_metadata, &self->e, &event);
		EXPECT_EQ(last, le64toh(event.evt[2]));
		EXPECT_EQ(1, lost);
		expect_no_event(_metadata, self->e.queue);
	}
	EXPECT_LE(1, klog_count("EVTQ overflow"));
	EXPECT_EQ(0, klog_count("write aborted"));
}

/*
 * Nothing can stall here, so a fault queue never gets a fault. A VMM may still
 * have a queue, because VMMs do not check this beforehand.
 */
TEST_F(events, fault_queue_without_stalls)
{
	struct vm *vm = &self->e.vm;
	struct iommu_fault_alloc queue = { .size = sizeof(queue) };
	struct iommu_hwpt_arm_smmuv3 ste = ste_s1(vm->v.cd);
	struct iommu_hwpt_alloc cmd = {
		.size = sizeof(cmd),
		.flags = IOMMU_HWPT_FAULT_ID_VALID,
		.dev_id = vm->dev.dev_id,
		.pt_id = vm->v.viommu_id,
		.data_type = IOMMU_HWPT_DATA_ARM_SMMUV3,
		.data_len = sizeof(ste),
		.data_uptr = (uintptr_t)&ste,
	};
	__u64 a = guest_page(&vm->g);
	int i;

	vm_map(vm, IOVA_A, a);
	ASSERT_EQ(0, iommufd_ioctl(vm->fd, IOMMU_FAULT_QUEUE_ALLOC, &queue));
	cmd.fault_id = queue.out_fault_id;
	ASSERT_EQ(0, iommufd_ioctl(vm->fd, IOMMU_HWPT_ALLOC, &cmd));
	for (i = 0; i != 2; i++) {
		struct pollfd pfd = {
			.fd = queue.out_fault_fd,
			.events = POLLIN,
		};

		ASSERT_EQ(0, edu_attach(&vm->dev, cmd.out_hwpt_id));
		EXPECT_EQ(a, vm_lands(vm, IOVA_A));
		/*
		 * The fault ends in the same way as without the queue, as an
		 * event
		 */
		fault(&vm->dev, IOVA_B, false);
		events_expect(_metadata, &self->e, EVT_TRANSLATION,
			      EVT1_CLASS_IN, IOVA_B);
		EXPECT_EQ(0, poll(&pfd, 1, 0));
		ASSERT_EQ(0, edu_attach(&vm->dev, vm->v.hwpt_s1));
		EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	}
	ASSERT_EQ(0, edu_detach(&vm->dev));
	ASSERT_EQ(0, edu_attach(&vm->dev, cmd.out_hwpt_id));
	EXPECT_EQ(a, vm_lands(vm, IOVA_A));
	ASSERT_EQ(0, edu_detach(&vm->dev));
	EXPECT_EQ(0, destroy(vm->fd, cmd.out_hwpt_id));
	close(queue.out_fault_fd);
}

TEST_HARNESS_MAIN
