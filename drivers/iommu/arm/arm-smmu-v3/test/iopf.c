// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of nested translation: I/O page faults.
 */
#include <linux/kthread.h>

#include "fake.h"

struct fake_iopf {
	struct fake_vm *vm;
	struct fake_evtq *evtq;
	struct iommu_group *group;
	struct iommu_attach_handle handle;
	/* Faults that were passed to the domain */
	struct iopf_group *got[4];
	unsigned int num;
};

static struct fake_iopf *fake_iopf;

static int fake_iopf_handler(struct iopf_group *group)
{
	KUNIT_EXPECT_PTR_EQ(fake_iopf->vm->fake->test, group->attach_handle,
			    &fake_iopf->handle);
	if (fake_iopf->num == ARRAY_SIZE(fake_iopf->got))
		return -ENOSPC;
	/* iopf_group_dequeue() does not exist in the first releases of 6.12 */
	mutex_lock(&group->fault_param->lock);
	list_del_init(&group->pending_node);
	mutex_unlock(&group->fault_param->lock);
	fake_iopf->got[fake_iopf->num++] = group;
	return 0;
}

KUNIT_DEFINE_ACTION_WRAPPER(fake_iopf_queue_free, iopf_queue_free,
			    struct iopf_queue *);

static struct fake_iopf *fake_iopf_alloc(struct kunit *test)
{
	struct fake_iopf *iopf = kunit_kzalloc(test, sizeof(*iopf), GFP_KERNEL);
	struct fake_dev *fdev;
	struct fake_vm *vm;

	if (!IS_ENABLED(CONFIG_ARM_SMMU_V3_SVA))
		kunit_skip(test, "stalls need CONFIG_ARM_SMMU_V3_SVA");

	KUNIT_ASSERT_NOT_NULL(test, iopf);
	vm = fake_vm_alloc(test, 0, FAKE_QUEUE_SHIFT, PAGE_SIZE);
	fdev = vm->fdev;
	iopf->vm = vm;
	iopf->evtq = fake_evtq_alloc(test, vm->fake, FAKE_EVTQ_SHIFT);
	vm->fake->smmu.evtq.iopf = iopf_queue_alloc("fake-smmu");
	KUNIT_ASSERT_NOT_NULL(test, vm->fake->smmu.evtq.iopf);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, fake_iopf_queue_free,
						  vm->fake->smmu.evtq.iopf));
	fake_smmu_register(vm->fake);
	fdev->master.stall_enabled = true;
	fake_dev_probe(fdev, NULL);
	iopf->group = fdev->dev->iommu_group;
	fake_vdev_del(vm->vsmmu, fdev);
	KUNIT_ASSERT_EQ(test, 0,
			fake_vdev_add(vm->vsmmu, fdev, FAKE_VM_VSID));
	KUNIT_ASSERT_EQ(test, 0, iommu_device_claim_dma_owner(fdev->dev, iopf));
	fake_iopf = iopf;
	return iopf;
}

/* Free everything. The tag of fake_vm_alloc() does not belong to the device. */
static void fake_iopf_free(struct fake_iopf *iopf, struct iommu_domain *domain)
{
	struct fake_vm *vm = iopf->vm;

	if (domain)
		iommu_detach_group_handle(domain, iopf->group);
	iommu_device_release_dma_owner(vm->fdev->dev);
	fake_vdev_del(vm->vsmmu, vm->fdev);
	fake_dev_unplug(vm->fdev);
}

static struct iommu_domain *fake_fault_domain(struct kunit *test,
					      struct fake_vm *vm)
{
	struct iommu_domain *domain;

	domain = fake_nested_alloc(vm->vsmmu, vm->user, GUEST_S1_0, GUEST_S1_1);
	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
	domain->iopf_handler = fake_iopf_handler;
	return domain;
}

/* The domain of a HWPT on an IOAS: stage 1 of the host */
static struct iommu_domain *fake_fault_paging(struct kunit *test,
					      struct fake_dev *fdev)
{
	struct iommu_domain *domain = iommu_paging_domain_alloc(fdev->dev);

	KUNIT_ASSERT_FALSE(test, IS_ERR(domain));
	domain->iopf_handler = fake_iopf_handler;
	return domain;
}

static bool has_fault_param(struct fake_dev *fdev)
{
	return rcu_access_pointer(fdev->dev->iommu->fault_param);
}

static void fake_stall(struct fake_iopf *iopf, u64 word_0, u64 word_1, u16 stag)
{
	const u64 evt[4] = {
		word_0 | 0x10 | CMD_SID(FAKE_VM_SID),
		word_1 | BIT_ULL(31) | stag, 0xabcd000,
	};

	KUNIT_EXPECT_TRUE(iopf->vm->fake->test,
			  fake_evtq_write(iopf->evtq, evt));
	fake_evtq_handle(iopf->evtq);
}

/* Retry is 1, abort is 2 */
#define RESUME(_resp)	(OP_RESUME | (u64)(_resp) << 12 | CMD_SID(FAKE_VM_SID))

static void fake_respond(struct fake_iopf *iopf, unsigned int i, int code)
{
	iopf_group_response(iopf->got[i], code);
	iopf_free_group(iopf->got[i]);
}

static void arm_vsmmu_test_iopf(struct kunit *test)
{
	struct fake_iopf *iopf = fake_iopf_alloc(test);
	struct fake_vm *vm = iopf->vm;
	struct fake_smmu *fake = vm->fake;
	struct fake_dev *fdev = vm->fdev;
	struct iommu_domain *domain = fake_fault_domain(test, vm);
	struct iommu_domain *other = fake_fault_domain(test, vm);
	struct iommufd_veventq *veventq = fake_veventq_add(test, vm->vsmmu);
	struct iommu_fault_page_request *prm;

	/* Stalls are not enabled, so there is no handler */
	fake_smmu_drain(fake);
	fake_stall(iopf, 0, 0, 1);
	expect_cmd(fake, RESUME(2), 1);
	expect_none(fake);

	KUNIT_ASSERT_EQ(test, 0,
			iommu_attach_group_handle(domain, iopf->group,
						  &iopf->handle));
	KUNIT_EXPECT_TRUE(test, has_fault_param(fdev));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(fake->stes[FAKE_VM_SID].data[1]),
			WANT_S1_1);
	fake_smmu_drain(fake);

	/* A read by the RID, and a write by a PASID of the guest's own table */
	fake_stall(iopf, 0, BIT_ULL(35), 7);
	fake_stall(iopf, BIT_ULL(11) | 0x345 << 12, 0, 8);
	expect_none(fake);
	KUNIT_ASSERT_EQ(test, iopf->num, 2);
	prm = &iopf->got[0]->last_fault.fault.prm;
	KUNIT_EXPECT_EQ(test, prm->grpid, 7);
	KUNIT_EXPECT_EQ(test, prm->addr, 0xabcd000);
	KUNIT_EXPECT_EQ(test, prm->perm, IOMMU_FAULT_PERM_READ);
	KUNIT_EXPECT_FALSE(test,
			   prm->flags & IOMMU_FAULT_PAGE_REQUEST_PASID_VALID);
	prm = &iopf->got[1]->last_fault.fault.prm;
	KUNIT_EXPECT_EQ(test, prm->grpid, 8);
	KUNIT_EXPECT_EQ(test, prm->pasid, 0x345);
	KUNIT_EXPECT_EQ(test, prm->perm, IOMMU_FAULT_PERM_WRITE);
	KUNIT_EXPECT_TRUE(test,
			  prm->flags & IOMMU_FAULT_PAGE_REQUEST_PASID_VALID);
	fake_respond(iopf, 1, IOMMU_PAGE_RESP_SUCCESS);
	expect_cmd(fake, RESUME(1), 8);
	fake_respond(iopf, 0, IOMMU_PAGE_RESP_INVALID);
	expect_cmd(fake, RESUME(2), 7);

	/* A stage-2 fault must not go to the guest */
	fake_stall(iopf, 0, BIT_ULL(39), 9);
	expect_cmd(fake, RESUME(2), 9);
	KUNIT_EXPECT_EQ(test, iopf->num, 2);

	/* Replace the domain by another domain with a fault queue */
	KUNIT_ASSERT_EQ(test, 0,
			iommu_replace_group_handle(iopf->group, other,
						   &iopf->handle));
	fake_smmu_drain(fake);
	fake_stall(iopf, 0, 0, 10);
	expect_none(fake);
	KUNIT_EXPECT_EQ(test, iopf->num, 3);
	KUNIT_EXPECT_PTR_EQ(test, iopf->got[2]->attach_handle->domain, other);

	/*
	 * Detach with one fault unanswered and more in the queue. The core
	 * removes the handle only afterwards.
	 */
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
	KUNIT_EXPECT_FALSE(test, has_fault_param(fdev));
	fake_smmu_drain(fake);
	fake_stall(iopf, 0, 0, 11);
	expect_cmd(fake, RESUME(2), 11);
	fake_stall(iopf, BIT_ULL(11) | 0x345 << 12, 0, 12);
	expect_cmd(fake, RESUME(2), 12);
	KUNIT_EXPECT_EQ(test, iopf->num, 3);
	fake_respond(iopf, 2, IOMMU_PAGE_RESP_INVALID);
	expect_cmd(fake, RESUME(2), 10);

	/* Free the faults after the device is gone */
	fake_iopf_free(iopf, other);
	fake_smmu_drain(fake);
	fake_stall(iopf, 0, 0, 13);
	expect_cmd(fake, RESUME(2), 13);
	expect_none(fake);

	/* A stall must never become an event */
	KUNIT_EXPECT_EQ(test, veventq->sequence, 0);
	domain->ops->free(domain);
	other->ops->free(other);
	fake_vm_free(vm);
}

static int fake_attach_dev(struct device *dev, void *arg)
{
	struct iommu_domain *domain = arg;

	return domain->ops->attach_dev(domain, dev);
}

/* Attach without the core, but under its lock, which stage 1 requires */
static int fake_attach_locked(struct fake_dev *fdev, struct iommu_domain *domain)
{
	return iommu_group_for_each_dev(fdev->dev->iommu_group, domain,
					fake_attach_dev);
}

/* A VMM can also get page faults of a HWPT that is not nested */
static void arm_smmu_test_iopf_paging(struct kunit *test)
{
	struct fake_iopf *iopf = fake_iopf_alloc(test);
	struct fake_vm *vm = iopf->vm;
	struct fake_smmu *fake = vm->fake;
	struct fake_dev *fdev = vm->fdev;
	struct iommu_domain *domain = fake_fault_paging(test, fdev);
	struct iommu_domain *plain = fake_fault_paging(test, fdev);
	struct arm_smmu_master *master = fake_master(fdev);
	const __le64 *ste = fake->stes[FAKE_VM_SID].data;

	KUNIT_ASSERT_EQ(test, 0,
			iommu_attach_group_handle(domain, iopf->group,
						  &iopf->handle));
	KUNIT_EXPECT_TRUE(test, has_fault_param(fdev));
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[0]) & 0xf, STE_S1);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(ste[1]) & STE_1_S1STALLD, 0);
	fake_smmu_drain(fake);

	/* The fault is reported once, and waits for a response */
	fake_stall(iopf, 0, BIT_ULL(35), 7);
	expect_none(fake);
	KUNIT_EXPECT_EQ(test, iopf->num, 1);
	if (iopf->num) {
		KUNIT_EXPECT_PTR_EQ(test, iopf->got[0]->attach_handle->domain,
				    domain);
		fake_respond(iopf, 0, IOMMU_PAGE_RESP_SUCCESS);
	}
	expect_cmd(fake, RESUME(1), 7);
	expect_none(fake);

	/* For SVA, a driver of the host has enabled page faults by itself */
	master->iopf_rid = false;
	master->sva_enabled = true;
	fake_stall(iopf, 0, 0, 10);
	expect_cmd(fake, RESUME(2), 10);
	master->iopf_enabled = true;
	fake_stall(iopf, 0, 0, 11);
	expect_none(fake);
	KUNIT_EXPECT_EQ(test, iopf->num, 2);
	if (iopf->num == 2)
		fake_respond(iopf, 1, IOMMU_PAGE_RESP_SUCCESS);
	expect_cmd(fake, RESUME(1), 11);
	expect_none(fake);
	master->iopf_enabled = false;
	master->sva_enabled = false;
	master->iopf_rid = true;

	/* The next domain has no handler for the fault */
	plain->iopf_handler = NULL;
	KUNIT_EXPECT_EQ(test, 0, fake_attach_locked(fdev, plain));
	KUNIT_EXPECT_FALSE(test, has_fault_param(fdev));
	fake_smmu_drain(fake);
	fake_stall(iopf, 0, 0, 8);
	expect_cmd(fake, RESUME(2), 8);
	expect_none(fake);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_locked(fdev, domain));
	KUNIT_EXPECT_TRUE(test, has_fault_param(fdev));

	iommu_detach_group_handle(domain, iopf->group);
	KUNIT_EXPECT_FALSE(test, has_fault_param(fdev));
	fake_smmu_drain(fake);
	fake_stall(iopf, 0, 0, 9);
	expect_cmd(fake, RESUME(2), 9);
	expect_none(fake);
	KUNIT_EXPECT_EQ(test, iopf->num, 2);

	fake_iopf_free(iopf, NULL);
	iommu_domain_free(domain);
	iommu_domain_free(plain);
	fake_vm_free(vm);
}

static void arm_vsmmu_test_iopf_refused(struct kunit *test)
{
	struct fake_iopf *iopf = fake_iopf_alloc(test);
	struct fake_vm *vm = iopf->vm;
	struct fake_smmu *fake = vm->fake;
	struct fake_dev *fdev = vm->fdev;
	struct arm_smmu_master *master = fake_master(fdev);
	struct iommu_domain *domain = fake_fault_domain(test, vm);
	struct iopf_queue *queue = fake->smmu.evtq.iopf;
	struct iommu_domain *no_vmid;
	struct arm_vsmmu *vsmmu;

	/* Responses go to the first StreamID only */
	master->num_streams = 2;
	master->streams[1].id = 7;
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, fake_attach_nested(fdev, domain));
	master->num_streams = 1;
	fake->smmu.evtq.iopf = NULL;
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP, fake_attach_nested(fdev, domain));
	fake->smmu.evtq.iopf = queue;
	KUNIT_EXPECT_FALSE(test, master->iopf_rid);

	/* SVA uses page faults of the device */
	KUNIT_ASSERT_EQ(test, 0, iopf_queue_add_device(queue, fdev->dev));
	KUNIT_EXPECT_EQ(test, -EBUSY, fake_attach_nested(fdev, domain));
	iopf_queue_remove_device(queue, fdev->dev);

	/* An attach that fails late must not leave anything behind */
	vsmmu = fake_vsmmu_alloc(test, fake, vm->s2);
	fake_vdev_del(vm->vsmmu, fdev);
	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vsmmu, fdev, 0));
	no_vmid = fake_nested_alloc(vsmmu, vm->user, GUEST_S1_0, GUEST_S1_1);
	KUNIT_ASSERT_FALSE(test, IS_ERR(no_vmid));
	no_vmid->iopf_handler = fake_iopf_handler;
	/* The only VMID, 1, is taken */
	fake->smmu.vmid_bits = 1;
	KUNIT_EXPECT_EQ(test, -ENOSPC, fake_attach_nested(fdev, no_vmid));
	KUNIT_EXPECT_FALSE(test, master->iopf_rid);
	KUNIT_EXPECT_FALSE(test, has_fault_param(fdev));
	fake->smmu.vmid_bits = 16;
	no_vmid->ops->free(no_vmid);
	fake_vdev_del(vsmmu, fdev);
	KUNIT_ASSERT_EQ(test, 0, fake_vdev_add(vm->vsmmu, fdev, FAKE_VM_VSID));

	/* A device that does not stall needs no preparation */
	master->stall_enabled = false;
	KUNIT_EXPECT_EQ(test, 0, fake_attach_nested(fdev, domain));
	KUNIT_EXPECT_FALSE(test, master->iopf_rid);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(fake->stes[FAKE_VM_SID].data[1]),
			WANT_S1_1 | STE_1_S1STALLD);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
	fake_iopf_free(iopf, NULL);
	domain->ops->free(domain);
	fake_vm_free(vm);
}

/* The feature that iommufd enables for a fault queue, and drivers for SVA */
static void arm_vsmmu_test_iopf_feature(struct kunit *test)
{
	struct fake_iopf *iopf = fake_iopf_alloc(test);
	struct device *dev = iopf->vm->fdev->dev;
	struct arm_smmu_master *master = fake_master(iopf->vm->fdev);
	const enum iommu_dev_features feat = IOMMU_DEV_FEAT_IOPF;

	/* Not a failure: there is nothing to enable, and no fault will come */
	master->stall_enabled = false;
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_ops.dev_enable_feat(dev, feat));
	KUNIT_EXPECT_FALSE(test, master->iopf_enabled);
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_ops.dev_enable_feat(dev, feat));
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_ops.dev_disable_feat(dev, feat));

	/* This is a failure: responses would go to the wrong StreamID */
	master->stall_enabled = true;
	master->num_streams = 2;
	KUNIT_EXPECT_EQ(test, -EINVAL, arm_smmu_ops.dev_enable_feat(dev, feat));
	master->num_streams = 1;
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_ops.dev_enable_feat(dev, feat));
	KUNIT_EXPECT_TRUE(test, master->iopf_enabled);
	KUNIT_EXPECT_EQ(test, -EBUSY, arm_smmu_ops.dev_enable_feat(dev, feat));
	KUNIT_EXPECT_EQ(test, 0, arm_smmu_ops.dev_disable_feat(dev, feat));
	fake_iopf_free(iopf, NULL);
	fake_vm_free(iopf->vm);
}

/* Stalls that an earlier domain left in the queue must not reach the next */
static int fake_late_stall_thread(void *arg)
{
	struct fake_iopf *iopf = arg;
	struct arm_smmu_master *master = fake_master(iopf->vm->fdev);

	/* The driver waits longer than this */
	fake_wait_ms(100, READ_ONCE(master->iopf_rid));
	fake_evtq_handle(iopf->evtq);
	return 0;
}

static void check_old_stall(struct kunit *test, struct fake_iopf *iopf,
			    struct iommu_domain *domain)
{
	struct fake_vm *vm = iopf->vm;
	const u64 evt[4] = {
		0x10 | CMD_SID(FAKE_VM_SID), BIT_ULL(31) | 3, 0xabcd000,
	};
	struct task_struct *task;
	u64 cmd[2];
	unsigned int i, resumes = 0;

	vm->fake->smmu.evtq.q.irq = 1;
	/* From here on the core has a handle for stalls to find */
	KUNIT_ASSERT_EQ(test, 0,
			iommu_attach_group_handle(domain, iopf->group,
						  &iopf->handle));
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(vm->fdev, NULL));
	KUNIT_EXPECT_TRUE(test, fake_evtq_write(iopf->evtq, evt));
	fake_smmu_drain(vm->fake);
	task = kthread_create(fake_late_stall_thread, iopf, "evtq_late");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	get_task_struct(task);
	wake_up_process(task);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_locked(vm->fdev, domain));
	kthread_stop(task);
	put_task_struct(task);
	fake_evtq_handle(iopf->evtq);

	KUNIT_EXPECT_EQ(test, iopf->num, 0);
	while (fake_smmu_next(vm->fake, cmd)) {
		if (cmd[0] != RESUME(2))
			continue;
		KUNIT_EXPECT_EQ(test, cmd[1], 3);
		resumes++;
	}
	KUNIT_EXPECT_EQ(test, resumes, 1);

	for (i = 0; i < iopf->num; i++)
		fake_respond(iopf, i, IOMMU_PAGE_RESP_INVALID);
	fake_iopf_free(iopf, domain);
	domain->ops->free(domain);
	fake_vm_free(vm);
}

static void arm_vsmmu_test_iopf_old_stall(struct kunit *test)
{
	struct fake_iopf *iopf = fake_iopf_alloc(test);

	check_old_stall(test, iopf, fake_fault_domain(test, iopf->vm));
}

static void arm_smmu_test_iopf_old_stall(struct kunit *test)
{
	struct fake_iopf *iopf = fake_iopf_alloc(test);

	check_old_stall(test, iopf, fake_fault_paging(test, iopf->vm->fdev));
}

/* The same for a PASID, whose handle is published after its attach */
static int fake_late_pasid_thread(void *arg)
{
	struct fake_iopf *iopf = arg;

	/* The driver waits longer than this */
	fake_wait_ms(100, !IS_ERR(iommu_attach_handle_get(iopf->group, 1, 0)));
	fake_evtq_handle(iopf->evtq);
	return 0;
}

static void arm_smmu_test_iopf_old_stall_pasid(struct kunit *test)
{
	struct fake_iopf *iopf = fake_iopf_alloc(test);
	struct fake_vm *vm = iopf->vm;
	struct fake_dev *fdev = vm->fdev;
	struct iommu_domain *domain = fake_fault_paging(test, fdev);
	const u64 evt[4] = {
		0x10 | BIT_ULL(11) | 1 << 12 | CMD_SID(FAKE_VM_SID),
		BIT_ULL(31) | 3, 0xabcd000,
	};
	struct task_struct *task;
	unsigned int i;

	vm->fake->smmu.ssid_bits = 2;
	fake_master(fdev)->ssid_bits = 2;
	fdev->dev->iommu->max_pasids = 4;
	vm->fake->smmu.evtq.q.irq = 1;

	KUNIT_EXPECT_TRUE(test, fake_evtq_write(iopf->evtq, evt));
	task = kthread_create(fake_late_pasid_thread, iopf, "evtq_late");
	KUNIT_ASSERT_FALSE(test, IS_ERR(task));
	get_task_struct(task);
	wake_up_process(task);
	KUNIT_EXPECT_EQ(test, 0,
			iommu_attach_device_pasid(domain, fdev->dev, 1,
						  &iopf->handle));
	kthread_stop(task);
	put_task_struct(task);
	fake_evtq_handle(iopf->evtq);
	KUNIT_EXPECT_EQ(test, iopf->num, 0);

	for (i = 0; i < iopf->num; i++)
		fake_respond(iopf, i, IOMMU_PAGE_RESP_INVALID);
	iommu_detach_device_pasid(domain, fdev->dev, 1);
	fake_iopf_free(iopf, NULL);
	iommu_domain_free(domain);
	fake_vm_free(vm);
}

/* The domain of a PASID handles stalls, while the RID is blocked */
static void arm_smmu_test_iopf_pasid(struct kunit *test)
{
	struct fake_iopf *iopf = fake_iopf_alloc(test);
	struct fake_vm *vm = iopf->vm;
	struct fake_dev *fdev = vm->fdev;
	struct arm_smmu_master *master = fake_master(fdev);
	struct iommu_domain *domain = fake_fault_paging(test, fdev);
	struct iommu_domain *plain = iommu_paging_domain_alloc(fdev->dev);
	const u64 pasid_1 = BIT_ULL(11) | 1 << 12;
	struct iommu_attach_handle handle;
	u64 cmd[2];

	KUNIT_ASSERT_FALSE(test, IS_ERR(plain));
	vm->fake->smmu.ssid_bits = 2;
	master->ssid_bits = 2;
	fdev->dev->iommu->max_pasids = 4;

	KUNIT_ASSERT_EQ(test, 0,
			iommu_attach_device_pasid(domain, fdev->dev, 1,
						  &iopf->handle));
	KUNIT_EXPECT_EQ(test, master->iopf_pasids, 1);
	KUNIT_EXPECT_FALSE(test, master->iopf_rid);
	KUNIT_EXPECT_TRUE(test, has_fault_param(fdev));
	fake_stall(iopf, pasid_1, 0, 3);
	KUNIT_ASSERT_EQ(test, iopf->num, 1);
	fake_smmu_drain(vm->fake);
	fake_respond(iopf, 0, IOMMU_PAGE_RESP_SUCCESS);
	KUNIT_EXPECT_TRUE(test, fake_smmu_next(vm->fake, cmd));
	KUNIT_EXPECT_EQ(test, cmd[0], RESUME(1));
	/* A stall of the RID is not for the handler of the PASID */
	fake_stall(iopf, 0, 0, 4);
	KUNIT_EXPECT_EQ(test, iopf->num, 1);

	/* Not any more, after a replace, and again after another one */
	KUNIT_EXPECT_EQ(test, 0,
			iommu_replace_device_pasid(plain, fdev->dev, 1,
						   &handle));
	KUNIT_EXPECT_EQ(test, master->iopf_pasids, 0);
	KUNIT_EXPECT_FALSE(test, has_fault_param(fdev));
	fake_stall(iopf, pasid_1, 0, 5);
	KUNIT_EXPECT_EQ(test, iopf->num, 1);
	KUNIT_EXPECT_EQ(test, 0,
			iommu_replace_device_pasid(domain, fdev->dev, 1,
						   &iopf->handle));
	KUNIT_EXPECT_EQ(test, master->iopf_pasids, 1);

	/* An attach that fails leaves nothing behind */
	master->num_streams = 2;
	KUNIT_EXPECT_EQ(test, -EOPNOTSUPP,
			iommu_attach_device_pasid(domain, fdev->dev, 2, &handle));
	master->num_streams = 1;
	KUNIT_EXPECT_EQ(test, master->iopf_pasids, 1);

	/* The RID comes after the PASID, and leaves first */
	KUNIT_EXPECT_EQ(test, 0, fake_attach_locked(fdev, domain));
	KUNIT_EXPECT_TRUE(test, master->iopf_rid);
	KUNIT_EXPECT_EQ(test, 0, fake_attach_bare(fdev, NULL));
	KUNIT_EXPECT_FALSE(test, master->iopf_rid);
	KUNIT_EXPECT_TRUE(test, has_fault_param(fdev));

	iommu_detach_device_pasid(domain, fdev->dev, 1);
	KUNIT_EXPECT_EQ(test, master->iopf_pasids, 0);
	KUNIT_EXPECT_FALSE(test, has_fault_param(fdev));

	/* The same in reverse */
	KUNIT_ASSERT_EQ(test, 0,
			iommu_attach_group_handle(domain, iopf->group,
						  &handle));
	KUNIT_ASSERT_EQ(test, 0,
			iommu_attach_device_pasid(domain, fdev->dev, 1,
						  &iopf->handle));
	KUNIT_EXPECT_EQ(test, master->iopf_pasids, 1);
	iommu_detach_device_pasid(domain, fdev->dev, 1);
	KUNIT_EXPECT_EQ(test, master->iopf_pasids, 0);
	KUNIT_EXPECT_TRUE(test, master->iopf_rid);
	KUNIT_EXPECT_TRUE(test, has_fault_param(fdev));
	iommu_detach_group_handle(domain, iopf->group);
	KUNIT_EXPECT_FALSE(test, has_fault_param(fdev));
	fake_iopf_free(iopf, NULL);
	iommu_domain_free(domain);
	iommu_domain_free(plain);
	fake_vm_free(vm);
}

static struct kunit_case iopf_test_cases[] = {
	KUNIT_CASE(arm_vsmmu_test_iopf),
	KUNIT_CASE(arm_smmu_test_iopf_paging),
	KUNIT_CASE(arm_smmu_test_iopf_pasid),
	KUNIT_CASE(arm_vsmmu_test_iopf_refused),
	KUNIT_CASE(arm_vsmmu_test_iopf_feature),
	KUNIT_CASE(arm_vsmmu_test_iopf_old_stall),
	KUNIT_CASE(arm_smmu_test_iopf_old_stall),
	KUNIT_CASE(arm_smmu_test_iopf_old_stall_pasid),
	{},
};

static struct kunit_suite iopf_test_suite = {
	.name = "arm-smmu-v3-iommufd-iopf",
	.test_cases = iopf_test_cases,
};

kunit_test_suite(iopf_test_suite);
