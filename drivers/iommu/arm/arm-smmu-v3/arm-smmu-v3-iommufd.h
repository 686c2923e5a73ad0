/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Nested translation: vSMMUs and the STEs of their guests.
 */
#ifndef _ARM_SMMU_V3_IOMMUFD_H
#define _ARM_SMMU_V3_IOMMUFD_H

#include <linux/io-pgtable.h>
#include <linux/iommu.h>
#include <linux/iommufd.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <uapi/linux/iommufd.h>

#include "arm-smmu-v3.h"
#include "arm-smmu-v3-s2.h"

#ifdef CONFIG_ARM_SMMU_V3_IOMMUFD
/* Kinds of commands. Kind 0 is for commands that no guest may send */
#define ARM_VSMMU_MAX_KINDS		16

/**
 * struct arm_vsmmu_cmd_match - A set of commands, by the bits that are fixed
 * @fixed_0: The bits of word 0 that must be as in @value_0
 * @value_0: The value of these bits. Any other bit makes the set empty
 * @fixed_1: The bits of word 1 that must be 0
 */
struct arm_vsmmu_cmd_match {
	u64 fixed_0;
	u64 value_0;
	u64 fixed_1;
};

/**
 * struct arm_vsmmu_cmd_rules - The commands that guests of an SMMU may send
 * @kinds: The kind of a command by its opcode, 0 if it is illegal
 * @allow: By kind, the commands without any bit that must not be set
 * @fast: By kind, the commands that need no other check
 * @ds: The SMMU has 52-bit addresses with 4K and 16K granules (IDR5.DS)
 */
struct arm_vsmmu_cmd_rules {
	u8 kinds[256];
	struct arm_vsmmu_cmd_match allow[ARM_VSMMU_MAX_KINDS];
	struct arm_vsmmu_cmd_match fast[ARM_VSMMU_MAX_KINDS];
	bool ds;
};

/**
 * struct arm_vsmmu - The part of an SMMU that a VM has
 * @core: The object of iommufd
 * @smmu: The SMMU
 * @s2_parent: The stage 2, held by @core
 * @s2_owner: The owner of the tag with the VMID, see arm-smmu-v3-s2.c
 * @overflows: arm_smmu_device::vsmmu_overflows at the last overflow that was
 *             reported to the VM. Locked by arm_smmu_device::streams_mutex
 * @rules: The commands that the guest may send
 * @long_calls: Held while several blocks of commands are issued, so that at
 *              most one long call of the VM has commands in the queue
 */
struct arm_vsmmu {
	struct iommufd_viommu core;
	struct arm_smmu_device *smmu;
	struct arm_smmu_domain *s2_parent;
	struct arm_smmu_s2_owner s2_owner;
	u64 overflows;
	struct arm_vsmmu_cmd_rules rules;
	/* Protects no data, but serialises long calls */
	struct mutex long_calls;
};

/**
 * struct arm_smmu_nested_domain - A guest's STE
 * @domain: The domain
 * @vsmmu: The vSMMU, held by the HWPT of the domain
 * @ste: Words 0 and 1 of the STE, as the guest wrote them. With V == 1 only
 *       bits that a guest may set are set
 * @bad_ste: The STE is invalid or ILLEGAL, and all DMA is aborted
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
	if (nested->bad_ste)
		return STRTAB_STE_0_CFG_ABORT;
	return FIELD_GET(STRTAB_STE_0_CFG, le64_to_cpu(nested->ste[0]));
}

static inline struct arm_smmu_domain *
arm_smmu_nested_parent(struct iommu_domain *domain)
{
	return to_smmu_nested_domain(domain)->vsmmu->s2_parent;
}

/* Reasons to refuse a vSMMU, bits of arm_smmu_device::vsmmu_refusals */
enum arm_vsmmu_refusal {
	ARM_VSMMU_NO_NESTING,
	ARM_VSMMU_NOT_COHERENT,
	ARM_VSMMU_NO_CPU_FWB,
};

bool arm_smmu_can_nest(struct arm_smmu_device *smmu);
void *arm_smmu_hw_info(struct device *dev, u32 *length, u32 *type);
size_t arm_smmu_get_viommu_size(struct device *dev, unsigned int type);
int arm_vsmmu_init(struct iommufd_viommu *viommu, struct iommu_domain *parent,
		   const struct iommu_user_data *user_data);
struct iommu_domain *
arm_vsmmu_alloc_domain_nested(struct iommufd_viommu *viommu, u32 flags,
			      const struct iommu_user_data *user_data);
size_t arm_vsmmu_vevent_size(struct iommufd_viommu *viommu, unsigned int type);
int arm_vsmmu_vdevice_init(struct iommufd_vdevice *vdev);
void arm_vsmmu_vdevice_destroy(struct iommufd_vdevice *vdev);

bool arm_vsmmu_handle_evt(struct arm_smmu_device *smmu, u64 *evt);
void arm_vsmmu_lost_evts(struct arm_smmu_device *smmu);
void arm_vsmmu_update_event_owner(struct arm_smmu_master *master);
struct ratelimit_state *arm_vsmmu_evt_ratelimit(struct arm_smmu_device *smmu,
						const u64 *evt);
void arm_smmu_free_cds_of_user(struct arm_smmu_master *master);

void arm_vsmmu_cmd_rules_init(struct arm_vsmmu_cmd_rules *rules,
			      struct arm_smmu_device *smmu);
int arm_vsmmu_cache_invalidate(struct iommufd_viommu *viommu,
			       struct iommu_user_data_array *array);
int arm_smmu_nested_check_ste(const __le64 ste[2]);
bool arm_smmu_nested_bad_ste(struct arm_smmu_device *smmu,
			     const __le64 ste[2]);
void arm_smmu_make_nested_ste(struct arm_smmu_ste *target,
			      struct arm_smmu_master *master,
			      struct arm_smmu_nested_domain *nested,
			      const struct arm_smmu_s2_tag *tag,
			      bool ats_enabled);
#else
static inline struct arm_smmu_domain *
arm_smmu_nested_parent(struct iommu_domain *domain)
{
	return NULL;
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

static inline void arm_vsmmu_update_event_owner(struct arm_smmu_master *master)
{
}

static inline struct ratelimit_state *
arm_vsmmu_evt_ratelimit(struct arm_smmu_device *smmu, const u64 *evt)
{
	return NULL;
}

static inline void arm_smmu_free_cds_of_user(struct arm_smmu_master *master)
{
}

#define arm_smmu_hw_info NULL
#define arm_smmu_get_viommu_size NULL
#define arm_vsmmu_init NULL
#endif /* CONFIG_ARM_SMMU_V3_IOMMUFD */

/*
 * Is DMA coherent whatever the memory attributes of stage 1? S2FWB does not
 * override No Snoop, but without CANWBS VFIO does not let a device enable it.
 */
static inline bool arm_smmu_is_coherent(struct arm_smmu_master *master,
					struct arm_smmu_domain *smmu_domain)
{
	const struct io_pgtable_cfg *cfg =
		&io_pgtable_ops_to_pgtable(smmu_domain->pgtbl_ops)->cfg;

	return arm_smmu_master_canwbs(master) ||
	       cfg->quirks & IO_PGTABLE_QUIRK_ARM_S2FWB;
}
#endif
