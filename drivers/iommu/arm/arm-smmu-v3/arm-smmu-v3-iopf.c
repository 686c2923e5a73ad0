// SPDX-License-Identifier: GPL-2.0
/*
 * I/O page faults of the domain that is attached to a RID.
 *
 * A transaction that faults may stall until the event is answered. While a
 * domain with an iopf_handler is attached, its master is a producer of the
 * fault queue. With any other domain a stall is an accident, or is left over
 * from an earlier domain. It holds resources of the SMMU, so it is terminated
 * at once.
 *
 * A fault finds its handler through the attach handle, which the core frees
 * right after the detach, while events of the old STE may still be in the event
 * queue. Therefore stalls are accepted only while arm_smmu_master::iopf_rid is
 * set:
 *
 *  - It is set only after earlier events have been handled, by
 *    arm_smmu_iopf_drain().
 *  - It is cleared before the detach returns, under streams_mutex, under which
 *    stalls are reported: nobody uses the handle afterwards.
 *  - It stays set if the next domain handles stalls as well. The core then
 *    waits for reports in iopf_report_flush() before it frees the old handle.
 *
 * An event that waits for room in a full queue is not in the queue yet, but is
 * never written after a detach: for the invalidation and the CMD_SYNC of the
 * detach the SMMU repeats the transaction instead (Arm IHI 0070, 7.2.1), and its
 * next fault is that of the next domain.
 *
 * The same holds for a PASID that user space has attached: its CD takes the place
 * of the STE, and arm_smmu_master::iopf_pasids the place of iopf_rid.
 */
#include <linux/iommu.h>
#include <linux/iopoll.h>

#include "arm-smmu-v3.h"

/* Handling a full queue takes much less, even if all events are logged */
#define ARM_SMMU_EVTQ_FLUSH_US		(10 * USEC_PER_SEC)

/* Number of events that the SMMU has written and the thread has not handled */
static u32 arm_smmu_evtq_pending(struct arm_smmu_device *smmu,
				 unsigned long *handled)
{
	struct arm_smmu_queue *q = &smmu->evtq.q;
	u32 mask = (2U << q->llq.max_n_shift) - 1;
	u32 prod = readl(q->prod_reg);
	u32 pending;

	/*
	 * The queue started at 0, so this is the thread's index, with the wrap
	 * bit. It may have passed the value read from PROD. The difference is
	 * then larger than a full queue plus the event in progress, and all
	 * events before PROD have been handled.
	 */
	*handled = smp_load_acquire(&smmu->evtq.handled);
	pending = (prod - (u32)*handled) & mask;
	return pending > (1U << q->llq.max_n_shift) + 1 ? 0 : pending;
}

/**
 * arm_smmu_evtq_flush - Wait until the current events have been handled
 * @smmu: The SMMU
 *
 * An event has only a StreamID, and the receiver is looked up when the event is
 * handled. So before the events of a device get another receiver, its earlier
 * events must have left the queue. Later events are not waited for, as another
 * device may send them without end.
 *
 * Context: May sleep. The caller must not hold a lock that the handling of an
 * event takes, such as streams_mutex, nor arm_smmu_asid_lock, for which others
 * would have to wait.
 * Return: 0, -ETIMEDOUT if the queue is not read.
 */
int arm_smmu_evtq_flush(struct arm_smmu_device *smmu)
{
	unsigned long handled, target;
	u32 pending;

	/* Without an interrupt no event is handled at all */
	if (!smmu->evtq.q.irq && !smmu->combined_irq)
		return 0;

	pending = arm_smmu_evtq_pending(smmu, &handled);
	target = handled + pending;
	return read_poll_timeout(arm_smmu_evtq_pending, pending,
				 !pending || (long)(handled - target) >= 0, 20,
				 ARM_SMMU_EVTQ_FLUSH_US, false, smmu, &handled);
}

/**
 * arm_smmu_iopf_drain - Terminate the stalls of earlier domains
 * @master: The master
 * @domain: The domain that will be attached to the RID of @master
 *
 * To be called before arm_smmu_iopf_attach(), which must not wait. After this
 * call each stall in the event queue is assumed to belong to @domain, so
 * earlier stalls must have been terminated.
 *
 * Context: May sleep. The caller holds the mutex of the group, without which
 * arm_smmu_master::iopf_rid does not change.
 * Return: 0, -ETIMEDOUT if the event queue is not read.
 */
int arm_smmu_iopf_drain(struct arm_smmu_master *master,
			struct iommu_domain *domain)
{
	if (!domain->iopf_handler || master->iopf_rid || !master->stall_enabled)
		return 0;
	return arm_smmu_evtq_flush(master->smmu);
}

/**
 * arm_smmu_iopf_attach - Prepare for the page faults of a domain
 * @master: The master
 * @domain: The domain that will be attached to the RID of @master
 *
 * Must be followed by arm_smmu_iopf_detach_done(), even if the attach fails.
 *
 * Context: The caller holds arm_smmu_asid_lock.
 * Return: 0, also if @domain or @master has no page faults; -EOPNOTSUPP if the
 * stalls of @master cannot be handled; -EBUSY if SVA is enabled.
 */
int arm_smmu_iopf_attach(struct arm_smmu_master *master,
			 struct iommu_domain *domain)
{
	struct arm_smmu_device *smmu = master->smmu;
	int ret;

	lockdep_assert_held(&arm_smmu_asid_lock);

	if (!domain->iopf_handler || master->iopf_rid)
		return 0;
	if (!master->stall_enabled)
		return 0;
	if (!smmu->evtq.iopf || !arm_smmu_master_iopf_supported(master))
		return -EOPNOTSUPP;

	if (!master->iopf_pasids) {
		ret = iopf_queue_add_device(smmu->evtq.iopf, master->dev);
		if (ret)
			return ret;
	}

	mutex_lock(&smmu->streams_mutex);
	master->iopf_rid = true;
	mutex_unlock(&smmu->streams_mutex);
	return 0;
}

/**
 * arm_smmu_iopf_detach_done - Stop page faults that have no handler any more
 * @master: The master
 * @domain: The domain that is attached to the RID of @master now, NULL before
 *          the first attach
 *
 * The STE of @domain must have been installed and synced.
 *
 * Context: The caller holds arm_smmu_asid_lock.
 */
void arm_smmu_iopf_detach_done(struct arm_smmu_master *master,
			       struct iommu_domain *domain)
{
	struct arm_smmu_device *smmu = master->smmu;

	lockdep_assert_held(&arm_smmu_asid_lock);

	if (!master->iopf_rid || (domain && domain->iopf_handler))
		return;

	mutex_lock(&smmu->streams_mutex);
	master->iopf_rid = false;
	mutex_unlock(&smmu->streams_mutex);

	if (!master->iopf_pasids)
		iopf_queue_remove_device(smmu->evtq.iopf, master->dev);
}

/**
 * arm_smmu_iopf_attach_pasid - Prepare for the page faults of a PASID's domain
 * @master: The master
 * @domain: The domain that will be attached to a PASID of @master. It must not be
 *          an SVA domain, whose users enable page faults themselves
 *
 * Must be followed by arm_smmu_iopf_detach_pasid() when @domain is no longer
 * attached to the PASID, or if the attach fails.
 *
 * Context: May sleep. The caller holds the mutex of the group, without which
 * arm_smmu_master::iopf_pasids does not change, but not arm_smmu_asid_lock.
 * Return: as arm_smmu_iopf_attach(), or -ETIMEDOUT if the event queue is not read.
 */
int arm_smmu_iopf_attach_pasid(struct arm_smmu_master *master,
			       struct iommu_domain *domain)
{
	struct arm_smmu_device *smmu = master->smmu;
	int ret;

	if (!domain->iopf_handler || !master->stall_enabled)
		return 0;
	if (!smmu->evtq.iopf || !arm_smmu_master_iopf_supported(master))
		return -EOPNOTSUPP;

	/* Events that are in the queue already do not belong to @domain */
	ret = arm_smmu_evtq_flush(smmu);
	if (ret)
		return ret;

	if (!master->iopf_rid && !master->iopf_pasids) {
		ret = iopf_queue_add_device(smmu->evtq.iopf, master->dev);
		if (ret)
			return ret;
	}

	mutex_lock(&smmu->streams_mutex);
	master->iopf_pasids++;
	mutex_unlock(&smmu->streams_mutex);
	return 0;
}

/**
 * arm_smmu_iopf_detach_pasid - Stop the page faults of a PASID's domain
 * @master: The master
 * @domain: The domain that is no longer attached to the PASID, or NULL
 *
 * The CD must have been changed and synced.
 *
 * Context: As for arm_smmu_iopf_attach_pasid().
 */
void arm_smmu_iopf_detach_pasid(struct arm_smmu_master *master,
				struct iommu_domain *domain)
{
	struct arm_smmu_device *smmu = master->smmu;

	if (!domain || domain->type == IOMMU_DOMAIN_SVA ||
	    !domain->iopf_handler || !master->iopf_pasids)
		return;

	mutex_lock(&smmu->streams_mutex);
	master->iopf_pasids--;
	mutex_unlock(&smmu->streams_mutex);

	if (!master->iopf_rid && !master->iopf_pasids)
		iopf_queue_remove_device(smmu->evtq.iopf, master->dev);
}

static bool arm_smmu_iopf_handled(struct arm_smmu_master *master,
				  const u64 *evt)
{
	if (master->sva_enabled && master->iopf_enabled)
		return true;
	/* The owner of stage 1 cannot resolve a fault of stage 2 */
	return (master->iopf_rid || master->iopf_pasids) &&
	       !(evt[1] & EVTQ_1_S2);
}

/**
 * arm_smmu_iopf_terminate - Terminate a stall that has no handler
 * @smmu: The SMMU
 * @master: The master of the StreamID, NULL if there is none
 * @evt: The event record, in the order of the CPU
 *
 * Context: The thread of the event queue. The caller holds streams_mutex.
 * Return: false if the stall has a handler, and must be reported.
 */
bool arm_smmu_iopf_terminate(struct arm_smmu_device *smmu,
			     struct arm_smmu_master *master, const u64 *evt)
{
	u64 cmd[CMDQ_ENT_DWORDS] = {
		FIELD_PREP(CMDQ_0_OP, CMDQ_OP_RESUME) |
		FIELD_PREP(CMDQ_RESUME_0_SID, FIELD_GET(EVTQ_0_SID, evt[0])) |
		FIELD_PREP(CMDQ_RESUME_0_RESP, CMDQ_RESUME_0_RESP_ABORT),
		FIELD_PREP(CMDQ_RESUME_1_STAG, FIELD_GET(EVTQ_1_STAG, evt[1])),
	};

	lockdep_assert_held(&smmu->streams_mutex);

	if (master && arm_smmu_iopf_handled(master, evt))
		return false;
	/* No CMD_SYNC is needed, as in arm_smmu_page_response() */
	arm_smmu_cmdq_issue_cmdlist(smmu, &smmu->cmdq, cmd, 1, false);
	return true;
}
