// SPDX-License-Identifier: GPL-2.0
/*
 * I/O page faults of what is attached to a RID.
 *
 * A transaction that faults may stall until somebody has answered the event. A
 * domain that has somebody for that, with an iopf_handler, makes its master a
 * producer of the fault queue for the time it is attached. For all others a
 * stall is an accident, or was left over by a domain that is gone: it holds
 * resources of the SMMU, so it is terminated at once.
 *
 * A fault finds its handler by way of the attach handle, which the core frees
 * right after the detach, while events of the old STE may still be in the event
 * queue. So arm_smmu_master::iopf_rid is what admits stalls. It is cleared under
 * streams_mutex, under which they are reported, before the detach returns: from
 * then on nobody uses the handle. Where the next domain handles stalls, too, they
 * go on, and who frees the old handle waits for them: iopf_report_flush().
 */
#include <linux/iommu.h>

#include "arm-smmu-v3.h"

/**
 * arm_smmu_iopf_attach - Be ready for page faults of a domain
 * @master: The master
 * @domain: What will be attached to the RID of @master
 *
 * To be followed by arm_smmu_iopf_settle(), also if the attach fails.
 *
 * Context: The caller holds arm_smmu_asid_lock.
 * Return: 0, also if there is nothing to be ready for; -EOPNOTSUPP if @master
 * stalls, but not in a way that can be handled; -EBUSY if SVA is enabled.
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

	ret = iopf_queue_add_device(smmu->evtq.iopf, master->dev);
	if (ret)
		return ret;

	mutex_lock(&smmu->streams_mutex);
	master->iopf_rid = true;
	mutex_unlock(&smmu->streams_mutex);
	return 0;
}

/**
 * arm_smmu_iopf_settle - Be done with page faults that nobody handles any more
 * @master: The master
 * @domain: What is attached to the RID of @master now, NULL if nothing ever was
 *
 * The STE of @domain must have been installed and synced.
 *
 * Context: The caller holds arm_smmu_asid_lock.
 */
void arm_smmu_iopf_settle(struct arm_smmu_master *master,
			  struct iommu_domain *domain)
{
	struct arm_smmu_device *smmu = master->smmu;

	lockdep_assert_held(&arm_smmu_asid_lock);

	if (!master->iopf_rid || (domain && domain->iopf_handler))
		return;

	mutex_lock(&smmu->streams_mutex);
	master->iopf_rid = false;
	mutex_unlock(&smmu->streams_mutex);

	iopf_queue_remove_device(smmu->evtq.iopf, master->dev);
}

static bool arm_smmu_iopf_handled(struct arm_smmu_master *master,
				  const u64 *evt)
{
	if (master->sva_enabled && master->iopf_enabled)
		return true;
	/* Who has stage 1 can do nothing about stage 2 */
	return master->iopf_rid && !(evt[1] & EVTQ_1_S2);
}

/**
 * arm_smmu_iopf_terminate - Terminate a stall that nobody will answer
 * @smmu: The SMMU
 * @master: The master that it is of, NULL if there is none
 * @evt: The event record, in the order of the CPU
 *
 * Context: The thread of the event queue. The caller holds streams_mutex.
 * Return: false if there is somebody, and the stall is to be reported.
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
	/* As in arm_smmu_page_response(): a CMD_SYNC would add nothing */
	arm_smmu_cmdq_issue_cmdlist(smmu, &smmu->cmdq, cmd, 1, false);
	return true;
}
