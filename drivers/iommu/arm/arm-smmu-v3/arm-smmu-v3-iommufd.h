/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Nested translation: what a VM has of an SMMUv3.
 */
#ifndef _ARM_SMMU_V3_IOMMUFD_H
#define _ARM_SMMU_V3_IOMMUFD_H

#include <linux/iommu.h>
#include <linux/iommufd.h>
#include <linux/rcupdate.h>
#include <uapi/linux/iommufd.h>

#include "arm-smmu-v3.h"

#ifdef CONFIG_ARM_SMMU_V3_IOMMUFD
/* Kinds of commands that a guest may send, and the default: none of them */
enum arm_vsmmu_cmd_kind {
	ARM_VSMMU_CMD_NONE,
	ARM_VSMMU_CMD_CFGI_CD,
	ARM_VSMMU_CMD_CFGI_CD_ALL,
	ARM_VSMMU_CMD_ATC_INV,
	/* From here on those that go by the VMID, above by the StreamID */
	ARM_VSMMU_CMD_TLBI,
	ARM_VSMMU_CMD_TLBI_NH_ALL = ARM_VSMMU_CMD_TLBI,
	ARM_VSMMU_CMD_TLBI_NH_ASID,
	ARM_VSMMU_CMD_TLBI_NH_VA,
	ARM_VSMMU_CMD_TLBI_NH_VAA,
	ARM_VSMMU_CMD_TLBI_NSNH_ALL,
	ARM_VSMMU_CMD_KINDS,
};

/**
 * struct arm_vsmmu_cmd_rules - Which bits of a guest's commands are allowed
 * @allow: Per kind the bits of both words, 0 where the kind is not allowed.
 *         They include those of the opcode
 * @simple: Those of them with which a command needs no further check. There is
 *          no opcode of 0, so nothing is simple for a kind that has 0 here
 * @ds: The SMMU has 52-bit addresses with 4K and 16K granules (IDR5.DS)
 */
struct arm_vsmmu_cmd_rules {
	struct arm_vsmmu_cmd_mask {
		u64 word_0;
		u64 word_1;
	} allow[ARM_VSMMU_CMD_KINDS], simple[ARM_VSMMU_CMD_KINDS];
	bool ds;
};

/**
 * struct arm_vsmmu - The part of an SMMU that a VM has
 * @core: The object of iommufd
 * @smmu: The SMMU
 * @s2_parent: The stage 2, held by @core
 * @tag: The VMID, NULL while no master is attached through the vSMMU with an STE
 *       other than abort. Written under arm_smmu_asid_lock, read under RCU
 * @rules: What its commands are checked against
 */
struct arm_vsmmu {
	struct iommufd_viommu core;
	struct arm_smmu_device *smmu;
	struct arm_smmu_domain *s2_parent;
	struct arm_smmu_s2_tag __rcu *tag;
	struct arm_vsmmu_cmd_rules rules;
};

/**
 * struct arm_smmu_nested_domain - A guest's STE
 * @domain: The domain
 * @vsmmu: The VM's SMMU, held by the HWPT of the domain
 * @ste: Words 0 and 1 of the STE, validated. V == 0 was made a Config of abort
 * @bad_ste: V was 0
 */
struct arm_smmu_nested_domain {
	struct iommu_domain domain;
	struct arm_vsmmu *vsmmu;
	__le64 ste[2];
	bool bad_ste;
};

static inline struct arm_smmu_nested_domain *
to_smmu_nested_domain(struct iommu_domain *domain)
{
	return container_of(domain, struct arm_smmu_nested_domain, domain);
}

static inline unsigned int
arm_smmu_nested_cfg(const struct arm_smmu_nested_domain *nested)
{
	return FIELD_GET(STRTAB_STE_0_CFG, le64_to_cpu(nested->ste[0]));
}

static inline struct arm_vsmmu *
arm_smmu_nested_vsmmu(struct iommu_domain *domain)
{
	if (!domain || domain->type != IOMMU_DOMAIN_NESTED)
		return NULL;
	return to_smmu_nested_domain(domain)->vsmmu;
}

static inline struct arm_smmu_domain *
arm_smmu_nested_parent(struct iommu_domain *domain)
{
	return to_smmu_nested_domain(domain)->vsmmu->s2_parent;
}

static inline bool arm_smmu_nested_uses_s2(struct iommu_domain *domain)
{
	return arm_smmu_nested_cfg(to_smmu_nested_domain(domain)) !=
	       STRTAB_STE_0_CFG_ABORT;
}

static inline struct arm_smmu_s2_tag *arm_vsmmu_get_tag(struct arm_vsmmu *vsmmu)
{
	return rcu_dereference_protected(vsmmu->tag,
					 lockdep_is_held(&arm_smmu_asid_lock));
}

static inline void arm_vsmmu_set_tag(struct arm_vsmmu *vsmmu,
				     struct arm_smmu_s2_tag *tag)
{
	rcu_assign_pointer(vsmmu->tag, tag);
}

bool arm_smmu_can_nest(struct arm_smmu_device *smmu);
void *arm_smmu_hw_info(struct device *dev, u32 *length, u32 *type);
size_t arm_smmu_get_viommu_size(struct device *dev, unsigned int type);
int arm_vsmmu_init(struct iommufd_viommu *viommu, struct iommu_domain *parent,
		   const struct iommu_user_data *user_data);

bool arm_vsmmu_handle_evt(struct arm_smmu_device *smmu, u64 *evt);
void arm_vsmmu_lost_evts(struct arm_smmu_device *smmu);
void arm_vsmmu_note_owner(struct arm_smmu_master *master);
struct ratelimit_state *arm_vsmmu_evt_ratelimit(struct arm_smmu_device *smmu,
						const u64 *evt);

void arm_vsmmu_start_ats(struct arm_smmu_master *master);
void arm_vsmmu_stop_ats(struct arm_smmu_master *master);

void arm_vsmmu_cmd_rules_init(struct arm_vsmmu_cmd_rules *rules,
			      struct arm_smmu_device *smmu);
int arm_vsmmu_cache_invalidate(struct iommufd_viommu *viommu,
			       struct iommu_user_data_array *array);
int arm_smmu_nested_check_ste(__le64 ste[2]);
void arm_smmu_make_nested_ste(struct arm_smmu_ste *target,
			      struct arm_smmu_master *master,
			      struct arm_smmu_nested_domain *nested,
			      const struct arm_smmu_s2_tag *tag,
			      bool ats_enabled);
#else
struct arm_vsmmu;

static inline struct arm_vsmmu *
arm_smmu_nested_vsmmu(struct iommu_domain *domain)
{
	return NULL;
}

static inline struct arm_smmu_domain *
arm_smmu_nested_parent(struct iommu_domain *domain)
{
	return NULL;
}

static inline bool arm_smmu_nested_uses_s2(struct iommu_domain *domain)
{
	return false;
}

static inline struct arm_smmu_s2_tag *arm_vsmmu_get_tag(struct arm_vsmmu *vsmmu)
{
	return NULL;
}

static inline void arm_vsmmu_set_tag(struct arm_vsmmu *vsmmu,
				     struct arm_smmu_s2_tag *tag)
{
}

static inline bool arm_smmu_can_nest(struct arm_smmu_device *smmu)
{
	return false;
}

static inline bool arm_vsmmu_handle_evt(struct arm_smmu_device *smmu, u64 *evt)
{
	return false;
}

static inline void arm_vsmmu_lost_evts(struct arm_smmu_device *smmu)
{
}

static inline void arm_vsmmu_note_owner(struct arm_smmu_master *master)
{
}

static inline struct ratelimit_state *
arm_vsmmu_evt_ratelimit(struct arm_smmu_device *smmu, const u64 *evt)
{
	return NULL;
}

static inline void arm_vsmmu_start_ats(struct arm_smmu_master *master)
{
}

static inline void arm_vsmmu_stop_ats(struct arm_smmu_master *master)
{
}

#define arm_smmu_hw_info NULL
#define arm_smmu_get_viommu_size NULL
#define arm_vsmmu_init NULL
#endif /* CONFIG_ARM_SMMU_V3_IOMMUFD */

/* Does an STE for the domain have a VMID and a stage 2? */
static inline bool arm_smmu_domain_uses_s2(struct iommu_domain *domain)
{
	if (domain->type == IOMMU_DOMAIN_NESTED)
		return arm_smmu_nested_uses_s2(domain);
	return (domain->type & __IOMMU_DOMAIN_PAGING) &&
	       to_smmu_domain(domain)->stage == ARM_SMMU_DOMAIN_S2;
}
#endif
