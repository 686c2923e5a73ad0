/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Invalidation commands of a guest: the interface for front ends, which take
 * the commands from the VMM or from the guest.
 */
#ifndef _ARM_SMMU_V3_INVAL_H
#define _ARM_SMMU_V3_INVAL_H

#include "arm-smmu-v3-iommufd.h"

/*
 * Commands in a block. The smallest queue that the driver accepts has room for
 * 128, and a block must fit on the stack.
 */
#define ARM_VSMMU_BLOCK			96

/**
 * struct arm_vsmmu_inv - An invalidation on behalf of a guest
 * @vsmmu: The vSMMU
 * @pending: Commands that are issued, but not known to have completed
 * @vmid: The VMID at its place in word 0, 0 without @has_vmid
 * @has_vmid: The vSMMU has a VMID
 * @atc: Number of ATC_INVs in the block, valid with @atc_idx >= 0
 * @atc_idx: The section of arm_smmu_atc_srcu, -1 outside of it
 * @last_vsid: The last vSID that was looked up for a device with a single
 *             StreamID, U64_MAX if there is none. Valid until rcu_read_unlock()
 * @last_sid: The StreamID of this device at its place in word 0
 * @out: End of the translated commands of the block that are to be issued
 * @cmds: The block
 *
 * A front end fills @cmds and calls arm_vsmmu_run_block(). All other members
 * are private to arm-smmu-v3-inval.c.
 */
struct arm_vsmmu_inv {
	struct arm_vsmmu *vsmmu;
	unsigned int pending;
	u64 vmid;
	bool has_vmid;
	unsigned int atc;
	long atc_idx;
	u64 last_vsid;
	u64 last_sid;
	u64 *out;
	u64 cmds[ARM_VSMMU_BLOCK * CMDQ_ENT_DWORDS];
};

/**
 * arm_vsmmu_inv_init - Begin an invalidation
 * @inv: The invalidation; need not be cleared
 * @vsmmu: The vSMMU
 *
 * Must be called after the guest has handed over the commands. The caller must
 * hold arm_vsmmu::long_calls if the invalidation has more than one block.
 */
static inline void arm_vsmmu_inv_init(struct arm_vsmmu_inv *inv,
				      struct arm_vsmmu *vsmmu)
{
	inv->vsmmu = vsmmu;
	inv->pending = 0;

	/*
	 * Order the guest's writes to its tables before the read of
	 * arm_smmu_s2_owner::tag. Pairs with arm_smmu_s2_get_tag(): if the tag
	 * of a concurrent attach is not seen here, the SMMU sees these writes.
	 */
	smp_mb();
}

unsigned int arm_vsmmu_run_block(struct arm_vsmmu_inv *inv, unsigned int num,
				 bool last, int *ret);
#endif
