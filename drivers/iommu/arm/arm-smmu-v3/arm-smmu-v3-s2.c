// SPDX-License-Identifier: GPL-2.0
/*
 * Stage-2 tables and the VMIDs they are cached under.
 *
 * A stage-2 table belongs to no SMMU. It may be walked by every instance whose
 * formats agree with it, and there on behalf of several VMs. What belongs
 * together in a TLB has a VMID in common, and here is called a tag: the pair of
 * an SMMU instance and one VMID of it, under which translations of one stage 2
 * are cached.
 *
 * Who has a tag:
 *
 *  - Each vSMMU with an STE of its guest in use, other than abort, has one of its
 *    own, for the guest chooses its ASIDs freely. Two guests under one VMID would
 *    hit each other's TLB entries.
 *  - Masters that are attached to the stage 2 itself may use any tag of it on
 *    their SMMU: there is nothing in the TLB then that differs between VMs. They
 *    stay on the tag they have, if they have one, so that going to and fro
 *    between the stage 2 and a nested domain does not change the VMID and the
 *    STE can be updated without a gap.
 *
 * The life of a tag:
 *
 *  - It comes into being with the first master whose STE gets its VMID, so no
 *    more VMIDs are in use than masters are attached, whatever number of objects
 *    user space allocates.
 *  - It is in arm_smmu_domain::s2_tags from before that STE is written until
 *    after the last such STE has been replaced and synced. Then all is
 *    invalidated under the VMID, and only then can the VMID be allocated again.
 *    So a tag that is not in the list has nothing in any TLB, and a VMID is
 *    always clean when it is taken.
 *  - When the last nested master of a vSMMU is gone but others stay, stage 1 is
 *    invalidated, and the tag is free to be claimed by another vSMMU.
 *
 * Ordering. An unmap writes the PTE and then walks the list; an attach puts the
 * tag into the list and then writes the STE, by which the SMMU comes to read the
 * PTE. With a full barrier between the two steps on either side
 *
 *	unmap				attach
 *	-----				------
 *	PTE = 0				list_add_rcu(tag)
 *	smp_mb()			smp_mb()
 *	for each tag in the list	STE = VMID, table	SMMU: reads PTE
 *
 * either the unmap finds the tag, or the SMMU finds the PTE to be 0. The same
 * barriers order arm_smmu_s2_tag::guest, and arm_vsmmu::tag against what a guest
 * writes to its own tables before it asks for an invalidation.
 *
 * Writers hold arm_smmu_asid_lock. Readers are in an RCU read-side section, as
 * an unmap may come from atomic context.
 */
#include <kunit/visibility.h>
#include <linux/io-pgtable.h>
#include <linux/rculist.h>
#include <linux/slab.h>

#include "arm-smmu-v3.h"
#include "arm-smmu-v3-iommufd.h"

static void arm_smmu_s2_inv_vmid(struct arm_smmu_s2_tag *tag, u8 opcode)
{
	struct arm_smmu_cmdq_ent cmd = {
		.opcode = opcode,
		.tlbi.vmid = tag->vmid,
	};

	arm_smmu_cmdq_issue_cmd_with_sync(tag->smmu, &cmd);
}

/**
 * arm_smmu_s2_compatible - Can this SMMU walk that table?
 * @smmu_domain: A finalised domain
 * @smmu: An SMMU, not necessarily the one that the domain was made for
 *
 * Return: true if @smmu_domain is a stage 2 that may be attached to @smmu.
 */
bool arm_smmu_s2_compatible(struct arm_smmu_domain *smmu_domain,
			    struct arm_smmu_device *smmu)
{
	const struct io_pgtable_cfg *cfg;

	if (smmu_domain->stage != ARM_SMMU_DOMAIN_S2)
		return false;
	if (!(smmu->features & ARM_SMMU_FEAT_TRANS_S2))
		return false;
	if (smmu_domain->nest_parent &&
	    !(smmu->features & ARM_SMMU_FEAT_NESTING))
		return false;

	cfg = &io_pgtable_ops_to_pgtable(smmu_domain->pgtbl_ops)->cfg;
	if (cfg->coherent_walk != !!(smmu->features & ARM_SMMU_FEAT_COHERENCY))
		return false;
	if (cfg->pgsize_bitmap & ~smmu->pgsize_bitmap)
		return false;
	if (cfg->ias > smmu->ias || cfg->oas > smmu->oas)
		return false;
	/*
	 * The memory attributes in the PTEs mean something else with S2FWB. A
	 * table without it can be used by an SMMU that has it, as STE.S2FWB
	 * comes with the table.
	 */
	if (cfg->quirks & IO_PGTABLE_QUIRK_ARM_S2FWB &&
	    !(smmu->features & ARM_SMMU_FEAT_S2FWB))
		return false;
	return true;
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_s2_compatible);

static struct arm_smmu_s2_tag *
arm_smmu_s2_new_tag(struct arm_smmu_domain *smmu_domain,
		    struct arm_smmu_device *smmu)
{
	struct arm_smmu_s2_tag *tag;
	int vmid;

	/*
	 * Not charged: who is at the limit of his memory would be waited for with
	 * arm_smmu_asid_lock held, which all need. There is one for each master
	 * attached at most.
	 */
	tag = kzalloc(sizeof(*tag), GFP_KERNEL);
	if (!tag)
		return ERR_PTR(-ENOMEM);

	/* VMID 0 is for STEs without a stage 2 */
	vmid = ida_alloc_range(&smmu->vmid_map, 1, (1 << smmu->vmid_bits) - 1,
			       GFP_KERNEL);
	if (vmid < 0) {
		kfree(tag);
		return ERR_PTR(vmid);
	}
	tag->smmu_domain = smmu_domain;
	tag->smmu = smmu;
	tag->vmid = vmid;
	list_add_rcu(&tag->node, &smmu_domain->s2_tags);
	return tag;
}

/* Would it do to use @tag for @vsmmu, or for the stage 2 itself if NULL? */
static bool arm_smmu_s2_tag_fits(struct arm_smmu_s2_tag *tag,
				 struct arm_smmu_domain *smmu_domain,
				 struct arm_smmu_device *smmu,
				 struct arm_vsmmu *vsmmu)
{
	if (tag->smmu_domain != smmu_domain || tag->smmu != smmu)
		return false;
	return !vsmmu || !tag->vsmmu || tag->vsmmu == vsmmu;
}

static struct arm_smmu_s2_tag *
arm_smmu_s2_find_tag(struct arm_smmu_domain *smmu_domain,
		     struct arm_smmu_master *master, struct arm_vsmmu *vsmmu)
{
	struct arm_smmu_device *smmu = master->smmu;
	struct arm_smmu_s2_tag *tag;

	/* All masters of a vSMMU are under one VMID */
	tag = vsmmu ? arm_vsmmu_get_tag(vsmmu) : NULL;
	if (tag)
		return tag;

	tag = master->s2_tag;
	if (tag && arm_smmu_s2_tag_fits(tag, smmu_domain, smmu, vsmmu))
		return tag;

	list_for_each_entry(tag, &smmu_domain->s2_tags, node)
		if (arm_smmu_s2_tag_fits(tag, smmu_domain, smmu, vsmmu))
			return tag;
	return NULL;
}

/**
 * arm_smmu_s2_get_tag - Get the tag for attaching a master to a domain
 * @master: The master
 * @domain: The domain, paging or nested, that it will be attached to
 *
 * The VMID may be written to the master's STE until arm_smmu_s2_put_tag().
 *
 * Context: The caller holds arm_smmu_asid_lock.
 * Return: the tag; NULL if no stage 2 is used; -ENOMEM, or -ENOSPC if the SMMU
 * has no VMID left.
 */
struct arm_smmu_s2_tag *arm_smmu_s2_get_tag(struct arm_smmu_master *master,
					    struct iommu_domain *domain)
{
	struct arm_vsmmu *vsmmu = arm_smmu_nested_vsmmu(domain);
	struct arm_smmu_domain *smmu_domain;
	struct arm_smmu_s2_tag *tag;

	lockdep_assert_held(&arm_smmu_asid_lock);

	if (!arm_smmu_domain_uses_s2(domain))
		return NULL;
	smmu_domain = vsmmu ? arm_smmu_nested_parent(domain) :
			      to_smmu_domain(domain);

	tag = arm_smmu_s2_find_tag(smmu_domain, master, vsmmu);
	if (!tag)
		tag = arm_smmu_s2_new_tag(smmu_domain, master->smmu);
	if (IS_ERR(tag))
		return tag;

	tag->users++;
	if (vsmmu && !tag->guest_users++) {
		tag->vsmmu = vsmmu;
		WRITE_ONCE(tag->guest, true);
		arm_vsmmu_set_tag(vsmmu, tag);
	}

	/* Before the STE is written, see above */
	smp_mb();
	return tag;
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_s2_get_tag);

/**
 * arm_smmu_s2_put_tag - Undo arm_smmu_s2_get_tag()
 * @tag: What that returned, or NULL
 * @guest: It was called for a nested domain
 *
 * The STE with the VMID must have been replaced, and the replacement synced.
 *
 * Context: The caller holds arm_smmu_asid_lock.
 */
void arm_smmu_s2_put_tag(struct arm_smmu_s2_tag *tag, bool guest)
{
	lockdep_assert_held(&arm_smmu_asid_lock);

	if (!tag)
		return;

	if (guest && !--tag->guest_users) {
		arm_vsmmu_set_tag(tag->vsmmu, NULL);
		/* What follows for the last user covers stage 1 too */
		if (tag->users > 1)
			arm_smmu_s2_inv_vmid(tag, CMDQ_OP_TLBI_NH_ALL);
		WRITE_ONCE(tag->guest, false);
		tag->vsmmu = NULL;
	}

	if (--tag->users)
		return;

	list_del_rcu(&tag->node);
	arm_smmu_s2_inv_vmid(tag, CMDQ_OP_TLBI_S12_VMALL);
	/*
	 * A reader may still have the tag and invalidate under a VMID that is
	 * somebody else's by then. That costs time and does no harm.
	 */
	ida_free(&tag->smmu->vmid_map, tag->vmid);
	kfree_rcu(tag, rcu);
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_s2_put_tag);

/**
 * arm_smmu_s2_set_ste_vmid - Put the VMID into an STE
 * @ste: Made by arm_smmu_make_s2_domain_ste()
 * @tag: The tag
 */
void arm_smmu_s2_set_ste_vmid(struct arm_smmu_ste *ste,
			      const struct arm_smmu_s2_tag *tag)
{
	ste->data[2] &= ~cpu_to_le64(STRTAB_STE_2_S2VMID);
	ste->data[2] |= cpu_to_le64(FIELD_PREP(STRTAB_STE_2_S2VMID, tag->vmid));
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_s2_set_ste_vmid);

/**
 * arm_smmu_s2_inv_all - Invalidate all that is cached of a stage 2
 * @smmu_domain: The stage 2
 *
 * Context: Any. Waits for the command queues.
 */
void arm_smmu_s2_inv_all(struct arm_smmu_domain *smmu_domain)
{
	struct arm_smmu_s2_tag *tag;

	/* PTEs before the list, see above */
	smp_mb();
	rcu_read_lock();
	list_for_each_entry_rcu(tag, &smmu_domain->s2_tags, node)
		arm_smmu_s2_inv_vmid(tag, CMDQ_OP_TLBI_S12_VMALL);
	rcu_read_unlock();
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_s2_inv_all);

/**
 * arm_smmu_s2_inv_range - Invalidate what is cached of a range of a stage 2
 * @iova: First address of the range, an IPA
 * @size: Its length in bytes
 * @granule: Size of the pages in it
 * @leaf: Only last-level entries were changed
 * @smmu_domain: The stage 2
 *
 * Context: Any. Waits for the command queues.
 */
void arm_smmu_s2_inv_range(unsigned long iova, size_t size, size_t granule,
			   bool leaf, struct arm_smmu_domain *smmu_domain)
{
	struct arm_smmu_s2_tag *tag;

	if (!size)
		return;

	/* PTEs before the list, see above */
	smp_mb();
	rcu_read_lock();
	list_for_each_entry_rcu(tag, &smmu_domain->s2_tags, node) {
		/* Anew each time: what is filled in depends on the SMMU */
		struct arm_smmu_cmdq_ent cmd = {
			.opcode = CMDQ_OP_TLBI_S2_IPA,
			.tlbi.leaf = leaf,
			.tlbi.vmid = tag->vmid,
		};

		__arm_smmu_tlb_inv_range(&cmd, iova, size, granule, tag->smmu,
					 smmu_domain);
		/*
		 * TLBI_S2_IPA need not reach entries that combine both stages,
		 * and which VA of the guest leads to the IPA is not known.
		 */
		if (READ_ONCE(tag->guest))
			arm_smmu_s2_inv_vmid(tag, CMDQ_OP_TLBI_NH_ALL);
	}
	rcu_read_unlock();
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_s2_inv_range);
