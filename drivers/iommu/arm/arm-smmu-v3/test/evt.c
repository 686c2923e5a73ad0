// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of nested translation: events, and the event queue.
 */
#include <linux/kthread.h>
#include <linux/ratelimit.h>

#include "fake.h"

/* Events for the guest: configuration errors like C_BAD_STE, stage-1 faults */
static bool is_guest_event(unsigned int id, u64 bits)
{
	switch (id) {
	case 0x04:
	case 0x06:
	case 0x08:
	case 0x0a:
	case 0x10 ... 0x13:
		return !bits;
	default:
		return false;
	}
}

static void arm_vsmmu_test_events(struct kunit *test)
{
	/* STALL, S2 */
	static const u64 bits[] = { 0, BIT_ULL(31), BIT_ULL(39) };
	struct fake_vm *vm =
		fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct arm_smmu_device *smmu = &vm->fake->smmu;
	struct rb_node *node = &vm->fdev->streams[0].node;
	struct iommufd_veventq *veventq;
	struct iommu_domain *s1;
	struct fake_event *got;
	unsigned int id, i, want = 0;
	bool guest;

	rb_link_node(node, NULL, &smmu->streams.rb_node);
	rb_insert_color(node, &smmu->streams);
	veventq = fake_veventq_add(test, vm->vsmmu);
	got = veventq->ring;
	s1 = fake_nested_alloc(vm->vsmmu, vm->user, GUEST_S1_0, GUEST_S1_1);
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(vm->fdev, s1));

	for (id = 0; id < 256; id++) {
		for (i = 0; i < ARRAY_SIZE(bits); i++) {
			/* All bits except the StreamID, STALL and S2 */
			u64 evt[4] = {
				id | BITS_64(31, 8) | CMD_SID(FAKE_VM_SID),
				~(BIT_ULL(31) | BIT_ULL(39)) | bits[i],
				0xfedcba9876543210ULL, ~0ULL,
			};

			/* Configuration errors have these bits reserved */
			if (id < 0x10 && bits[i])
				continue;
			veventq->num = 0;
			veventq->first = 0;
			guest = is_guest_event(id, bits[i]);
			KUNIT_EXPECT_EQ_MSG(test, guest,
					    arm_vsmmu_handle_evt(smmu, evt),
					    "event %#x, %llx", id, evt[1]);
			KUNIT_EXPECT_EQ(test, veventq->num, guest);
			if (!guest)
				continue;
			KUNIT_EXPECT_EQ(test, got->header.flags, 0);
			KUNIT_EXPECT_EQ(test, got->header.sequence, want++);
			/* ID, SSV and SSID, and the guest's StreamID */
			KUNIT_EXPECT_EQ(test, le64_to_cpu(got->evt[0]),
					id | BITS_64(31, 11) |
					CMD_SID(FAKE_VM_VSID));
			/*
			 * PnU, InD, RnW, CLASS, TTRnW, and the address, if
			 * there was a translation. The IPA and IMPLEMENTATION
			 * DEFINED fields must be 0.
			 */
			KUNIT_EXPECT_EQ(test, le64_to_cpu(got->evt[1]),
					id < 0x10 ? 0 :
					BITS_64(35, 33) | BITS_64(41, 40) |
					BIT_ULL(44));
			KUNIT_EXPECT_EQ(test, le64_to_cpu(got->evt[2]),
					id < 0x10 ? 0 : evt[2]);
			KUNIT_EXPECT_EQ(test, le64_to_cpu(got->evt[3]), 0);
		}
	}
	KUNIT_EXPECT_EQ(test, want, 8);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(vm->fdev, NULL));
	s1->ops->free(s1);
	fake_vm_free(vm);
}

/* Configuration errors are the guest's as long as its STE and CDs are in use */
static void arm_vsmmu_test_events_config(struct kunit *test)
{
	static const struct {
		/* The guest's STE, 2 for the bare stage 2, 0 for nothing */
		u64 ste;
		bool config;
		/* A device without stage 1 can cause C_BAD_SUBSTREAMID */
		bool others;
	} rows[] = {
		{ 0, false, true },
		{ STE_BYPASS, false, true },
		{ STE_S1, true, true },
		/* These two are silent: events are still those of STE_S1 */
		{ 0, true, true },
		{ STE_ABORT, true, true },
		{ 2, false, true },
		{ STE_S1, true, true },
		{ STE_BYPASS, false, true },
		{ STE_ABORT, false, true },
		{ 0, false, true },
	};
	struct fake_vm *vm =
		fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct arm_smmu_device *smmu = &vm->fake->smmu;
	struct iommu_domain *domain, *old = NULL;
	unsigned int i, id;

	fake_stream_add(vm->fdev);
	for (i = 0; i < ARRAY_SIZE(rows); i++) {
		domain = NULL;
		if (rows[i].ste & STE_V) {
			domain = fake_nested_alloc(vm->vsmmu, vm->user,
						   rows[i].ste, 0);
			KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
			KUNIT_EXPECT_EQ(test, 0,
					fake_attach_nested(vm->fdev, domain));
		} else {
			KUNIT_EXPECT_EQ(test, 0,
					fake_attach_bare(vm->fdev, rows[i].ste ?
							 vm->s2 : NULL));
		}
		if (old)
			old->ops->free(old);
		old = domain;
		for (id = 0x04; id <= 0x0a; id += 2) {
			u64 evt[4] = { id | CMD_SID(FAKE_VM_SID) };

			KUNIT_EXPECT_EQ_MSG(test,
					    arm_vsmmu_handle_evt(smmu, evt),
					    id == 0x08 ? rows[i].others :
							 rows[i].config,
					    "row %u, event %#x", i, id);
		}
	}
	fake_vm_free(vm);
}

/*
 * The next owner of a device must not get events that it caused for the
 * previous VM. The events are handled late here: when the next VM could get
 * them, or when it is known to wait for them.
 */
struct fake_late {
	struct fake_evtq *evtq;
	struct fake_dev *fdev;
};

static int fake_late_thread(void *arg)
{
	struct fake_late *late = arg;

	/* The driver waits longer than this */
	fake_wait_ms(100, rcu_access_pointer(late->fdev->master.vdev));
	fake_evtq_handle(late->evtq);
	return 0;
}

static void arm_vsmmu_test_events_next_owner(struct kunit *test)
{
	struct fake_vm *vm =
		fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct fake_evtq *evtq =
		fake_evtq_alloc(test, vm->fake, FAKE_EVTQ_SHIFT);
	struct fake_s2 *s2 = fake_s2_alloc(test, vm->fake);
	struct arm_vsmmu *next = fake_vsmmu_alloc(test, vm->fake, s2);
	struct fake_late late = { .evtq = evtq, .fdev = vm->fdev };
	const u64 evt[4] = { 0x10 | CMD_SID(FAKE_VM_SID) };
	struct iommufd_veventq *old_q, *next_q;
	struct task_struct *task;
	unsigned int i;

	vm->fake->smmu.evtq.q.irq = 1;
	fake_stream_add(vm->fdev);
	old_q = fake_veventq_add(test, vm->vsmmu);
	next_q = fake_veventq_add(test, next);

	/* Wrap around the end of the queue as well */
	for (i = 0; i < 3 << FAKE_EVTQ_SHIFT; i++) {
		KUNIT_ASSERT_TRUE(test, fake_evtq_write(evtq, evt));
		if (i % 5 == 4)
			fake_evtq_handle(evtq);
	}
	fake_evtq_handle(evtq);
	KUNIT_EXPECT_EQ(test, old_q->sequence, i);

	KUNIT_EXPECT_TRUE(test, fake_evtq_write(evtq, evt));
	KUNIT_EXPECT_TRUE(test, fake_evtq_write(evtq, evt));
	fake_vdev_del(vm->vsmmu, vm->fdev);
	task = kthread_create(fake_late_thread, &late, "evtq_late");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	get_task_struct(task);
	wake_up_process(task);
	KUNIT_EXPECT_EQ(test, 0, fake_vdev_add(next, vm->fdev, 7));
	kthread_stop(task);
	put_task_struct(task);
	/* The thread may have found nothing to do, if the wait was too short */
	fake_evtq_handle(evtq);
	KUNIT_EXPECT_EQ(test, next_q->sequence, 0);
	KUNIT_EXPECT_EQ(test, old_q->sequence, i);

	/* Events from here on are for the new owner */
	KUNIT_EXPECT_TRUE(test, fake_evtq_write(evtq, evt));
	fake_evtq_handle(evtq);
	KUNIT_EXPECT_EQ(test, next_q->sequence, 1);

	/* Nobody reads the queue, so there is nothing to wait for */
	vm->fake->smmu.evtq.q.irq = 0;
	KUNIT_EXPECT_TRUE(test, fake_evtq_write(evtq, evt));
	fake_vdev_del(next, vm->fdev);
	KUNIT_EXPECT_EQ(test, 0, fake_vdev_add(next, vm->fdev, 7));
	fake_vm_free(vm);
}

/* The device is removed at the time of its event: the event must wait */
static int handle_evt_thread(struct fake_thread *thread)
{
	u64 evt[4] = { 0x10 | CMD_SID(FAKE_VM_SID) };

	return arm_vsmmu_handle_evt(thread->arg, evt);
}

static void arm_vsmmu_test_events_removed(struct kunit *test)
{
	struct fake_vm *vm =
		fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct arm_smmu_device *smmu = &vm->fake->smmu;
	struct fake_thread thread = { .arg = smmu };
	bool sleeps;

	fake_stream_add(vm->fdev);
	fake_thread_init(test, &thread, handle_evt_thread, false);
	mutex_lock(&smmu->streams_mutex);
	fake_thread_go(&thread);
	sleeps = fake_thread_sleeps(&thread);
	rb_erase(&vm->fdev->streams[0].node, &smmu->streams);
	mutex_unlock(&smmu->streams_mutex);
	fake_thread_join(&thread);
	KUNIT_EXPECT_TRUE(test, sleeps);
	KUNIT_EXPECT_EQ(test, thread.ret, false);
	fake_vm_free(vm);
}

/* Events carry the current vSID, and without a vSID go to the host's log */
static void arm_vsmmu_test_events_vdev(struct kunit *test)
{
	struct fake_vm *vm =
		fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct arm_smmu_device *smmu = &vm->fake->smmu;
	struct rb_node *node = &vm->fdev->streams[0].node;
	struct iommufd_veventq *veventq;
	u64 evt[4] = { 0x10 | CMD_SID(FAKE_VM_SID) };
	u64 other[4] = { 0x10 | CMD_SID(FAKE_VM_SID + 1) };
	struct iommu_domain *domain;
	struct fake_event *got;

	rb_link_node(node, NULL, &smmu->streams.rb_node);
	rb_insert_color(node, &smmu->streams);

	/* The guest has no queue: its events are not for the host's log */
	KUNIT_EXPECT_TRUE(test, arm_vsmmu_handle_evt(smmu, evt));
	veventq = fake_veventq_add(test, vm->vsmmu);
	got = veventq->ring;
	KUNIT_EXPECT_FALSE(test, arm_vsmmu_handle_evt(smmu, other));
	fake_vdev_del(vm->vsmmu, vm->fdev);
	KUNIT_EXPECT_FALSE(test, arm_vsmmu_handle_evt(smmu, evt));
	KUNIT_EXPECT_EQ(test, veventq->num, 0);
	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vm->vsmmu, vm->fdev, U32_MAX));
	KUNIT_EXPECT_TRUE(test, arm_vsmmu_handle_evt(smmu, evt));
	KUNIT_EXPECT_EQ(test, veventq->num, 1);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(got[0].evt[0]),
			0x10 | CMD_SID(U32_MAX));

	/* V == 0: the guest gets the event that the SMMU would have reported */
	domain = fake_nested_alloc(vm->vsmmu, vm->user, 0, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(vm->fdev, domain));
	KUNIT_EXPECT_EQ(test, veventq->num, 2);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(got[1].evt[0]),
			0x04 | CMD_SID(U32_MAX));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(vm->fdev, NULL));
	domain->ops->free(domain);
	/* If the guest asked for an abort, there is no event */
	domain = fake_nested_alloc(vm->vsmmu, vm->user, STE_ABORT, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(vm->fdev, domain));
	KUNIT_EXPECT_EQ(test, veventq->num, 2);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(vm->fdev, NULL));
	domain->ops->free(domain);

	/* The physical queue has overflowed */
	KUNIT_EXPECT_FALSE(test, veventq->tail_lost);
	arm_vsmmu_lost_evts(smmu);
	KUNIT_EXPECT_TRUE(test, veventq->tail_lost);
	KUNIT_EXPECT_EQ(test, veventq->num, 2);
	KUNIT_EXPECT_EQ(test, veventq->sequence, 3);
	fake_vm_free(vm);
}

/* The queue of the SMMU overflows: every VM behind it must be notified */
static void arm_vsmmu_test_evtq_overflow(struct kunit *test)
{
	struct fake_vm *vm =
		fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct fake_evtq *evtq = fake_evtq_alloc(test, vm->fake, 1);
	struct fake_s2 *s2 = fake_s2_alloc(test, vm->fake);
	struct arm_vsmmu *quiet = fake_vsmmu_alloc(test, vm->fake, s2);
	struct fake_dev *fdev = fake_dev_alloc(test, vm->fake, 1);
	struct fake_dev *second = fake_dev_alloc(test, vm->fake, 9);
	const u64 evt[4] = { 0x10 | CMD_SID(FAKE_VM_SID) };
	struct iommufd_veventq *veventq[2];
	unsigned int turn;

	/* An overflow gives a single notification, not one for each device */
	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(quiet, fdev, 1));
	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(quiet, second, 2));
	fake_stream_add(vm->fdev);
	fake_stream_add(fdev);
	fake_stream_add(second);
	veventq[0] = fake_veventq_add(test, vm->vsmmu);
	veventq[1] = fake_veventq_add(test, quiet);

	for (turn = 1; turn <= 3; turn++) {
		veventq[0]->num = 0;
		KUNIT_EXPECT_TRUE(test, fake_evtq_write(evtq, evt));
		KUNIT_EXPECT_TRUE(test, fake_evtq_write(evtq, evt));
		/* A full queue is not an overflow yet */
		fake_evtq_handle(evtq);
		KUNIT_EXPECT_EQ(test, veventq[0]->num, 2);
		KUNIT_EXPECT_FALSE(test, veventq[0]->tail_lost);
		KUNIT_EXPECT_FALSE(test, veventq[1]->tail_lost);

		veventq[0]->num = 0;
		KUNIT_EXPECT_TRUE(test, fake_evtq_write(evtq, evt));
		KUNIT_EXPECT_TRUE(test, fake_evtq_write(evtq, evt));
		KUNIT_EXPECT_FALSE(test, fake_evtq_write(evtq, evt));
		KUNIT_EXPECT_FALSE(test, fake_evtq_write(evtq, evt));
		fake_evtq_handle(evtq);
		KUNIT_EXPECT_FALSE(test, fake_evtq_overflown(evtq));
		KUNIT_EXPECT_EQ(test, veventq[0]->num, 2);
		KUNIT_EXPECT_EQ(test, veventq[0]->sequence, 5 * turn);
		KUNIT_EXPECT_EQ(test, veventq[1]->num, 0);
		KUNIT_EXPECT_EQ(test, veventq[1]->sequence, turn);
		KUNIT_EXPECT_TRUE(test, veventq[1]->tail_lost);
		veventq[0]->tail_lost = false;
		veventq[1]->tail_lost = false;
	}
	fake_vm_free(vm);
}

/*
 * While a VM is notified of a loss, the SMMU loses more events: the thread has
 * either yet to empty the queue, or has just emptied it.
 */
struct fake_burst {
	struct wait_queue_entry wait;
	struct fake_evtq *evtq;
	unsigned int lost;
};

static int fake_burst_wake(struct wait_queue_entry *wait, unsigned int mode,
			   int flags, void *key)
{
	struct fake_burst *burst = container_of(wait, struct fake_burst, wait);
	const u64 evt[4] = { 0x10 | CMD_SID(1) };

	while (!burst->lost)
		burst->lost += !fake_evtq_write(burst->evtq, evt);
	return 0;
}

static void arm_vsmmu_test_evtq_lost_again(struct kunit *test)
{
	struct fake_vm *vm =
		fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct fake_evtq *evtq = fake_evtq_alloc(test, vm->fake, 1);
	struct fake_burst burst = { .evtq = evtq };
	/* This StreamID belongs to no VM: no other event wakes the reader */
	const u64 evt[4] = { 0x10 | CMD_SID(1) };
	struct iommufd_veventq *veventq;
	unsigned int full;

	fake_stream_add(vm->fdev);
	veventq = fake_veventq_add(test, vm->vsmmu);
	init_waitqueue_func_entry(&burst.wait, fake_burst_wake);
	add_wait_queue(&veventq->wait_queue, &burst.wait);

	for (full = 0; full < 2; full++) {
		burst.lost = 0;
		/* Only a reader that has read everything is woken up */
		veventq->tail_lost = false;
		if (full)
			while (fake_evtq_write(evtq, evt))
				;
		else
			evtq->prod ^= cpu_to_le32(EVTQ_OVF);
		fake_evtq_handle(evtq);
		KUNIT_EXPECT_EQ(test, burst.lost, 1);
		/* New events raise an interrupt again */
		fake_evtq_handle(evtq);
		KUNIT_EXPECT_EQ(test, veventq->sequence, 2 * (full + 1));
		KUNIT_EXPECT_EQ(test, le32_to_cpu(evtq->prod),
				le32_to_cpu(evtq->cons));

		/* The losses reported must not exceed the actual losses */
		KUNIT_EXPECT_TRUE(test, fake_evtq_write(evtq, evt));
		fake_evtq_handle(evtq);
		KUNIT_EXPECT_EQ(test, veventq->sequence, 2 * (full + 1));
	}
	remove_wait_queue(&veventq->wait_queue, &burst.wait);
	fake_vm_free(vm);
}

/* The events of guests are logged only as long as the host's own still fit */
static void arm_vsmmu_test_evt_ratelimit(struct kunit *test)
{
	struct fake_vm *vm =
		fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct arm_smmu_device *smmu = &vm->fake->smmu;
	struct fake_dev *host = fake_dev_alloc(test, vm->fake, 1);
	const u64 evt[4] = { 0x10 | CMD_SID(FAKE_VM_SID), BIT_ULL(39) };
	const u64 host_evt[4] = { 0x10 | CMD_SID(1) };
	const u64 no_evt[4] = { 0x02 | CMD_SID(2) };
	struct ratelimit_state *rs;
	struct iommu_domain *domain;

	fake_stream_add(vm->fdev);
	fake_stream_add(host);
	domain = fake_nested_alloc(vm->vsmmu, vm->user, STE_BYPASS, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));

	KUNIT_EXPECT_NULL(test, arm_vsmmu_evt_ratelimit(smmu, evt));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(vm->fdev, vm->s2));
	rs = arm_vsmmu_evt_ratelimit(smmu, evt);
	KUNIT_ASSERT_NOT_NULL(test, rs);
	KUNIT_EXPECT_EQ(test, rs->interval, 5 * HZ);
	KUNIT_EXPECT_EQ(test, rs->burst, 3);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(vm->fdev, domain));
	KUNIT_EXPECT_PTR_EQ(test, arm_vsmmu_evt_ratelimit(smmu, evt), rs);
	/* After a detach, earlier events may still be in the queue */
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(vm->fdev, NULL));
	KUNIT_EXPECT_PTR_EQ(test, arm_vsmmu_evt_ratelimit(smmu, evt), rs);

	KUNIT_EXPECT_NULL(test, arm_vsmmu_evt_ratelimit(smmu, host_evt));
	KUNIT_EXPECT_NULL(test, arm_vsmmu_evt_ratelimit(smmu, no_evt));
	/* A driver of the host has the device again */
	vm->s2->domain.domain.type = IOMMU_DOMAIN_DMA;
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(vm->fdev, vm->s2));
	KUNIT_EXPECT_NULL(test, arm_vsmmu_evt_ratelimit(smmu, evt));
	/* The VM gets the device back without an attach to the bare stage 2 */
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(vm->fdev, domain));
	KUNIT_EXPECT_PTR_EQ(test, arm_vsmmu_evt_ratelimit(smmu, evt), rs);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(vm->fdev, NULL));
	domain->ops->free(domain);
	fake_vm_free(vm);
}

/*
 * The same at full speed: a guest that only faults keeps the thread of the
 * event queue busy. The other guest must still be able to attach, detach and
 * get the event of its own fault.
 */
struct fake_flood {
	struct fake_evtq *evtq;
	unsigned long events;
};

static int fake_flood_thread(struct fake_thread *thread)
{
	struct fake_flood *flood = thread->arg;
	const u64 evt[4] = { 0x10 | CMD_SID(FAKE_VM_SID) };

	while (!kthread_should_stop()) {
		while (fake_evtq_write(flood->evtq, evt))
			WRITE_ONCE(flood->events, flood->events + 1);
		fake_evtq_handle(flood->evtq);
		cond_resched();
	}
	return 0;
}

static void arm_vsmmu_test_evtq_flood(struct kunit *test)
{
	struct fake_vm *vm =
		fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	struct fake_evtq *evtq =
		fake_evtq_alloc(test, vm->fake, FAKE_EVTQ_SHIFT);
	struct fake_flood flood = { .evtq = evtq };
	struct fake_thread thread = { .arg = &flood };
	struct fake_s2 *s2 = fake_s2_alloc(test, vm->fake);
	struct arm_vsmmu *quiet = fake_vsmmu_alloc(test, vm->fake, s2);
	struct fake_dev *fdev = fake_dev_alloc(test, vm->fake, 1);
	struct iommufd_veventq *noisy_q, *quiet_q;
	struct iommu_domain *s1, *invalid;
	unsigned long begin, worst = 0, end;
	u32 turns = 0, slow = 0;

	if (num_online_cpus() < 2)
		kunit_skip(test, "needs two CPUs");

	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(quiet, fdev, 1));
	fake_stream_add(vm->fdev);
	fake_stream_add(fdev);
	noisy_q = fake_veventq_add(test, vm->vsmmu);
	quiet_q = fake_veventq_add(test, quiet);
	s1 = fake_nested_alloc(quiet, vm->user, GUEST_S1_0, GUEST_S1_1);
	invalid = fake_nested_alloc(quiet, vm->user, 0, 0);
	KUNIT_ASSERT_FALSE(test, IS_ERR(s1));
	KUNIT_ASSERT_FALSE(test, IS_ERR(invalid));

	/* Waiting must be bounded even if the queue is never empty */
	vm->fake->smmu.evtq.q.irq = 1;
	/* Run for half a second, or longer if this is too short for a result */
	fake_thread_init(test, &thread, fake_flood_thread, true);
	fake_thread_go(&thread);
	end = jiffies + HZ / 2;
	while (time_before(jiffies, end) ||
	       ((turns < 100 || READ_ONCE(flood.events) < 1000) &&
		time_before(jiffies, end + 60 * HZ))) {
		begin = jiffies;
		KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, s1));
		KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, invalid));
		KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
		fake_vdev_del(quiet, fdev);
		KUNIT_EXPECT_EQ(test, 0, fake_vdev_add(quiet, fdev, 1));
		worst = max(worst, jiffies - begin);
		slow += time_after_eq(jiffies, begin + HZ);
		fake_smmu_drain(vm->fake);
		turns++;
	}
	fake_thread_join(&thread);

	kunit_info(test, "%u turns during %lu events, worst %u ms\n", turns,
		   flood.events, jiffies_to_msecs(worst));
	/* Nobody waits for the flood to end: each turn completes */
	KUNIT_EXPECT_GE(test, turns, 100);
	KUNIT_EXPECT_GE(test, flood.events, 1000);
	/* The CPUs of a busy machine may stop in some of the turns */
	KUNIT_EXPECT_LE(test, slow, turns / 10);
	/* Each turn gives a C_BAD_STE of its own; the SMMU overflows, too */
	KUNIT_EXPECT_EQ(test, quiet_q->num, FAKE_EVENTS);
	KUNIT_EXPECT_GE(test, quiet_q->sequence, turns);
	KUNIT_EXPECT_EQ(test, noisy_q->num, FAKE_EVENTS);
	KUNIT_EXPECT_TRUE(test, noisy_q->tail_lost);
	KUNIT_EXPECT_GE(test, noisy_q->sequence, flood.events);

	s1->ops->free(s1);
	invalid->ops->free(invalid);
	fake_vm_free(vm);
}

static struct kunit_case evt_test_cases[] = {
	KUNIT_CASE(arm_vsmmu_test_events),
	KUNIT_CASE(arm_vsmmu_test_events_config),
	KUNIT_CASE(arm_vsmmu_test_events_removed),
	KUNIT_CASE(arm_vsmmu_test_events_vdev),
	KUNIT_CASE(arm_vsmmu_test_events_next_owner),
	KUNIT_CASE(arm_vsmmu_test_evtq_overflow),
	KUNIT_CASE(arm_vsmmu_test_evtq_lost_again),
	KUNIT_CASE(arm_vsmmu_test_evt_ratelimit),
	KUNIT_CASE(arm_vsmmu_test_evtq_flood),
	{},
};

static struct kunit_suite evt_test_suite = {
	.name = "arm-smmu-v3-iommufd-evt",
	.test_cases = evt_test_cases,
};

kunit_test_suite(evt_test_suite);
