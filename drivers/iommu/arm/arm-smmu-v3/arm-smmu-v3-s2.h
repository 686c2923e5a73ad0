/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Stage-2 tables and the VMIDs they are cached under, see arm-smmu-v3-s2.c.
 */
#ifndef _ARM_SMMU_V3_S2_H
#define _ARM_SMMU_V3_S2_H

#include <linux/list.h>
#include <linux/rcupdate.h>
#include <linux/types.h>

struct arm_smmu_device;
struct arm_smmu_domain;
struct arm_smmu_master;

/**
 * struct arm_smmu_s2_owner - A VM that runs a stage 1 on top of stage 2
 * @tag: The tag of the VM, NULL while no STE of the VM has a VMID. Written
 *       under arm_smmu_asid_lock, read under RCU
 */
struct arm_smmu_s2_owner {
	struct arm_smmu_s2_tag __rcu *tag;
};

/**
 * struct arm_smmu_s2_tag - A TLB namespace of one stage-2 table
 * @node: In arm_smmu_domain::s2_tags, read under RCU
 * @stale: In arm_smmu_device::vmids_stale, if there are no more users but the
 *         SMMU has not confirmed the invalidation
 * @rcu: For freeing
 * @smmu_domain: The stage 2
 * @smmu: The SMMU instance of the TLBs
 * @owner: The VM with a stage 1 under the VMID, NULL if there is none
 * @guest: The TLBs may have entries of a stage 1 under the VMID
 * @users: Number of masters with the VMID in their STE, plus 1 if @owner holds
 *         the tag for its command queues
 * @guest_users: Number of @users that are there on behalf of @owner
 * @vmid: The VMID
 *
 * @node, @smmu, @guest and @vmid are read under RCU. Everything else requires
 * arm_smmu_asid_lock.
 */
struct arm_smmu_s2_tag {
	struct list_head		node;
	struct list_head		stale;
	struct rcu_head			rcu;
	struct arm_smmu_domain		*smmu_domain;
	struct arm_smmu_device		*smmu;
	struct arm_smmu_s2_owner	*owner;
	bool				guest;
	unsigned int			users;
	unsigned int			guest_users;
	u16				vmid;
};

bool arm_smmu_s2_compatible(struct arm_smmu_domain *smmu_domain,
			    struct arm_smmu_device *smmu);
struct arm_smmu_s2_tag *arm_smmu_s2_get_tag(struct arm_smmu_master *master,
					    struct arm_smmu_domain *smmu_domain,
					    struct arm_smmu_s2_owner *owner);
struct arm_smmu_s2_tag *
arm_smmu_s2_hold_tag(struct arm_smmu_device *smmu,
		     struct arm_smmu_domain *smmu_domain,
		     struct arm_smmu_s2_owner *owner);
void arm_smmu_s2_put_tag(struct arm_smmu_s2_tag *tag, bool guest);
void arm_smmu_s2_destroy_stale(struct arm_smmu_device *smmu);
void arm_smmu_s2_inv_all(struct arm_smmu_domain *smmu_domain);
void arm_smmu_s2_inv_range(unsigned long iova, size_t size, size_t granule,
			   bool leaf, struct arm_smmu_domain *smmu_domain);
#endif
