// SPDX-License-Identifier: GPL-2.0
/*
 * Stage-2 tables and the VMIDs they are cached under.
 *
 * A stage-2 table belongs to no SMMU. Every instance that supports its format
 * may walk it, and on behalf of several VMs. A tag is the pair of an SMMU
 * instance and a VMID of this instance, under which translations of one stage 2
 * are cached. (VT-d has struct cache_tag for the same purpose.)
 *
 * Users of tags:
 *
 *  - Each vSMMU with an STE of its guest in use, other than abort, has its own
 *    tag, as the guest chooses its ASIDs freely: two guests under one VMID
 *    would hit each other's TLB entries. It is the owner of the tag.
 *  - Masters that are attached to the stage 2 itself may use any tag of it on
 *    their SMMU, because their TLB entries do not differ between VMs. They keep
 *    their current tag, if any. So an attach of a nested domain in place of its
 *    parent, or the reverse, does not change the VMID, and the STE is updated
 *    without a gap.
 *
 * The life of a tag:
 *
 *  - It is allocated when the VMID is needed for the first STE. So there are no
 *    more VMIDs in use than masters attached, regardless of the number of
 *    objects that user space allocates. The exceptions are vSMMUs with command
 *    queues in hardware: the VMID is in a register of the hardware, so such a
 *    vSMMU holds its tag all the time. Their number is limited by the hardware.
 *  - It is in arm_smmu_domain::s2_tags from before this STE is written until
 *    the last STE with the VMID has been replaced and synced, and everything
 *    under the VMID has been invalidated. Only then may the VMID be allocated
 *    again. So no TLB has entries under a tag outside of the list, and a VMID
 *    is always clean when it is allocated.
 *  - When the last master of the owner is detached but other masters stay,
 *    stage 1 is invalidated, and another vSMMU may become the owner.
 *  - A stuck SMMU does not confirm an invalidation in time, for example behind
 *    an ATC_INV that its device does not answer. The VMID then stays in use
 *    until a later invalidation is confirmed, and no vSMMU may become the
 *    owner.
 *
 * Ordering. An unmap writes the PTE and then walks the list; an attach adds the
 * tag to the list and then writes the STE, through which the SMMU reads the
 * PTE. With a full barrier between the two steps on either side
 *
 *	unmap				attach
 *	-----				------
 *	PTE = 0				list_add_rcu(tag)
 *	smp_mb()			smp_mb()
 *	for each tag in the list	STE = VMID, table	SMMU: reads PTE
 *
 * either the unmap finds the tag, or the SMMU finds the PTE to be 0. The same
 * barriers order arm_smmu_s2_owner::tag against a guest's writes to its own
 * tables before its invalidation.
 *
 * These barriers are not enough for arm_smmu_s2_tag::guest. Other masters may
 * use the stage 2 under the same VMID already. As long as their entry is in the
 * TLB, it may serve a nested master without a read of the PTE. So the flag must
 * be read after the CMD_SYNC that confirms the invalidation of the entry, with
 * a barrier in between, as a CMD_SYNC by itself orders only writes:
 *
 *	unmap				attach
 *	-----				------
 *	PTE = 0				guest = true
 *	TLBI_S2_IPA, CMD_SYNC		smp_mb()
 *	smp_mb()			STE = nested		SMMU: uses the entry,
 *	if (guest)						until it is dropped
 *		TLBI_NH_ALL
 *
 * Either the unmap finds the flag set, or the entry was dropped before any
 * nested STE was written, and the SMMU has to read the PTE.
 * tools/testing/selftests/iommu/smmuv3_tags.c is a model of these steps.
 *
 * Writers hold arm_smmu_asid_lock. Readers are in an RCU read-side section,
 * because an unmap may run in atomic context. They leave it, with a copy of the
 * VMID, before they wait for an SMMU. By the time of the invalidation the VMID
 * may belong to another VM; this costs time and does no harm.
 */
#include <kunit/visibility.h>
#include <linux/io-pgtable.h>
#include <linux/rculist.h>
#include <linux/slab.h>

#include "arm-smmu-v3.h"
#include "arm-smmu-v3-s2.h"

static int arm_smmu_s2_inv_vmid(struct arm_smmu_s2_tag *tag, u8 opcode)
{
	struct arm_smmu_cmdq_ent cmd = {
		.opcode = opcode,
		.tlbi.vmid = tag->vmid,
	};

	return arm_smmu_cmdq_issue_cmd_with_sync(tag->smmu, &cmd);
}

/**
 * arm_smmu_s2_compatible - Can a stage 2 be attached on an SMMU?
 * @smmu_domain: A finalised domain
 * @smmu: An SMMU, not necessarily the SMMU that the domain was made for
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
	/* Without S2HD, a write to a clean page would fault */
	if (cfg->quirks & IO_PGTABLE_QUIRK_ARM_HD &&
	    !(smmu->features & ARM_SMMU_FEAT_HD))
		return false;
	/*
	 * The memory attributes in the PTEs have another meaning with S2FWB. An
	 * SMMU with S2FWB can use a table without it, as STE.S2FWB follows the
	 * table. But nesting on this table would require CANWBS, which would be
	 * found missing too late for the VMM to allocate another table.
	 */
	if (cfg->quirks & IO_PGTABLE_QUIRK_ARM_S2FWB)
		return smmu->features & ARM_SMMU_FEAT_S2FWB;
	return !smmu_domain->nest_parent ||
	       !(smmu->features & ARM_SMMU_FEAT_S2FWB);
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_s2_compatible);

/* Nothing may be cached under the VMID, and @tag must be in no list */
static void arm_smmu_s2_free_tag(struct arm_smmu_s2_tag *tag)
{
	ida_free(&tag->smmu->vmid_map, tag->vmid);
	kfree_rcu(tag, rcu);
}

/*
 * Repeat the invalidations that the SMMU has not confirmed. Every attach needs
 * the lock that is held here, so stop at the first failure.
 */
static void arm_smmu_s2_free_stale(struct arm_smmu_device *smmu)
{
	struct arm_smmu_s2_tag *tag, *next;

	list_for_each_entry_safe(tag, next, &smmu->vmids_stale, stale) {
		if (arm_smmu_s2_inv_vmid(tag, CMDQ_OP_TLBI_S12_VMALL))
			return;
		list_del(&tag->stale);
		arm_smmu_s2_free_tag(tag);
	}
}

static struct arm_smmu_s2_tag *
arm_smmu_s2_new_tag(struct arm_smmu_domain *smmu_domain,
		    struct arm_smmu_device *smmu)
{
	struct arm_smmu_s2_tag *tag;
	int vmid;

	arm_smmu_s2_free_stale(smmu);

	/*
	 * Not charged: reclaim in a cgroup at its limit would stall every user
	 * of arm_smmu_asid_lock. The number of tags is limited, see above.
	 */
	tag = kzalloc(sizeof(*tag), GFP_KERNEL);
	if (!tag)
		return ERR_PTR(-ENOMEM);

	/* VMID 0 is reserved for STEs without a stage 2 */
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

/* May @tag be used for @owner, or for the stage 2 itself if NULL? */
static bool arm_smmu_s2_tag_fits(struct arm_smmu_s2_tag *tag,
				 struct arm_smmu_domain *smmu_domain,
				 struct arm_smmu_device *smmu,
				 struct arm_smmu_s2_owner *owner)
{
	if (tag->smmu_domain != smmu_domain || tag->smmu != smmu)
		return false;
	if (!owner || tag->owner == owner)
		return true;
	/* The VMID must have no entries of another guest's stage 1 */
	return !tag->guest;
}

static struct arm_smmu_s2_tag *
arm_smmu_s2_find_tag(struct arm_smmu_domain *smmu_domain,
		     struct arm_smmu_device *smmu,
		     struct arm_smmu_s2_tag *current_tag,
		     struct arm_smmu_s2_owner *owner)
{
	struct arm_smmu_s2_tag *tag = NULL;

	/* All masters of an owner are under one VMID */
	if (owner)
		tag = rcu_dereference_protected(owner->tag,
						lockdep_is_held(&arm_smmu_asid_lock));
	if (tag)
		return tag;

	tag = current_tag;
	if (tag && arm_smmu_s2_tag_fits(tag, smmu_domain, smmu, owner))
		return tag;

	list_for_each_entry(tag, &smmu_domain->s2_tags, node)
		if (arm_smmu_s2_tag_fits(tag, smmu_domain, smmu, owner))
			return tag;
	return NULL;
}

static struct arm_smmu_s2_tag *
arm_smmu_s2_use_tag(struct arm_smmu_domain *smmu_domain,
		    struct arm_smmu_device *smmu,
		    struct arm_smmu_s2_tag *current_tag,
		    struct arm_smmu_s2_owner *owner)
{
	struct arm_smmu_s2_tag *tag;

	lockdep_assert_held(&arm_smmu_asid_lock);

	tag = arm_smmu_s2_find_tag(smmu_domain, smmu, current_tag, owner);
	if (!tag)
		tag = arm_smmu_s2_new_tag(smmu_domain, smmu);
	if (IS_ERR(tag))
		return tag;

	tag->users++;
	if (owner && !tag->guest_users++) {
		tag->owner = owner;
		WRITE_ONCE(tag->guest, true);
		rcu_assign_pointer(owner->tag, tag);
	}

	/* Order the list and the flag before the STE, see above */
	smp_mb();
	return tag;
}

/**
 * arm_smmu_s2_get_tag - Get the tag for attaching a master to a stage 2
 * @master: The master
 * @smmu_domain: The stage 2
 * @owner: The VM with a stage 1 on top of it, on the same SMMU. NULL for an
 *         attach to the stage 2 itself
 *
 * The VMID may be written to the STE of @master until arm_smmu_s2_put_tag().
 *
 * Context: The caller holds arm_smmu_asid_lock.
 * Return: the tag; -ENOMEM, or -ENOSPC if the SMMU has no VMID left.
 */
struct arm_smmu_s2_tag *arm_smmu_s2_get_tag(struct arm_smmu_master *master,
					    struct arm_smmu_domain *smmu_domain,
					    struct arm_smmu_s2_owner *owner)
{
	return arm_smmu_s2_use_tag(smmu_domain, master->smmu, master->s2_tag,
				   owner);
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_s2_get_tag);

/**
 * arm_smmu_s2_hold_tag - Get the tag of a VM before any master is attached
 * @smmu: The SMMU
 * @smmu_domain: The stage 2
 * @owner: The VM
 *
 * All masters that are attached for @owner get the same VMID, until
 * arm_smmu_s2_put_tag() with @guest set.
 *
 * Context: The caller holds arm_smmu_asid_lock.
 * Return: the tag; -ENOMEM, or -ENOSPC if the SMMU has no VMID left.
 */
struct arm_smmu_s2_tag *
arm_smmu_s2_hold_tag(struct arm_smmu_device *smmu,
		     struct arm_smmu_domain *smmu_domain,
		     struct arm_smmu_s2_owner *owner)
{
	return arm_smmu_s2_use_tag(smmu_domain, smmu, NULL, owner);
}

/**
 * arm_smmu_s2_put_tag - Undo arm_smmu_s2_get_tag()
 * @tag: The tag, or NULL
 * @guest: @tag was gotten for an owner
 *
 * The STE with the VMID must have been replaced, and the replacement synced.
 *
 * Context: The caller holds arm_smmu_asid_lock.
 */
void arm_smmu_s2_put_tag(struct arm_smmu_s2_tag *tag, bool guest)
{
	int ret;

	lockdep_assert_held(&arm_smmu_asid_lock);

	if (!tag)
		return;

	if (guest && !--tag->guest_users) {
		RCU_INIT_POINTER(tag->owner->tag, NULL);
		tag->owner = NULL;
		/* For the last user, the invalidation below covers stage 1 */
		if (tag->users > 1 &&
		    !arm_smmu_s2_inv_vmid(tag, CMDQ_OP_TLBI_NH_ALL))
			WRITE_ONCE(tag->guest, false);
	}

	if (--tag->users)
		return;

	ret = arm_smmu_s2_inv_vmid(tag, CMDQ_OP_TLBI_S12_VMALL);
	list_del_rcu(&tag->node);
	if (!ret) {
		arm_smmu_s2_free_tag(tag);
		return;
	}
	if (list_empty(&tag->smmu->vmids_stale))
		dev_warn(tag->smmu->dev,
			 "VMIDs stay in use until the SMMU has invalidated them\n");
	list_add(&tag->stale, &tag->smmu->vmids_stale);
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_s2_put_tag);

/**
 * arm_smmu_s2_destroy_stale - Free the tags with unconfirmed invalidation
 * @smmu: The SMMU, which is disabled and caches nothing any more
 */
void arm_smmu_s2_destroy_stale(struct arm_smmu_device *smmu)
{
	struct arm_smmu_s2_tag *tag, *next;

	list_for_each_entry_safe(tag, next, &smmu->vmids_stale, stale)
		kfree_rcu(tag, rcu);
}

/* Number of SMMUs that work on one invalidation at a time */
#define ARM_SMMU_S2_AT_ONCE		16

/*
 * An invalidation under all tags, or under all tags with a guest. All SMMUs get
 * their commands before the first SMMU is waited for.
 */
struct arm_smmu_s2_round {
	struct arm_smmu_domain *smmu_domain;
	u8 opcode;
	bool guests;
	/* The range, for TLBI_S2_IPA */
	bool leaf;
	unsigned long iova;
	size_t size;
	size_t granule;
	/* Queues with commands that are not known to have completed */
	unsigned int num;
	struct {
		struct arm_smmu_device *smmu;
		struct arm_smmu_cmdq *cmdq;
	} busy[ARM_SMMU_S2_AT_ONCE];
};

static void arm_smmu_s2_wait(struct arm_smmu_s2_round *round)
{
	while (round->num) {
		round->num--;
		arm_smmu_cmdq_issue_cmdlist(round->busy[round->num].smmu,
					    round->busy[round->num].cmdq, NULL,
					    0, true);
	}
}

/* Issue the commands for one VMID, and wait for all VMIDs if it is the last */
static noinline_for_stack
void arm_smmu_s2_issue(struct arm_smmu_s2_round *round,
		       struct arm_smmu_device *smmu, u16 vmid, bool last)
{
	/* Built for each VMID, as some fields depend on the SMMU */
	struct arm_smmu_cmdq_ent cmd = {
		.opcode = round->opcode,
		.tlbi.leaf = round->leaf,
		.tlbi.vmid = vmid,
	};
	struct arm_smmu_cmdq_batch cmds;
	unsigned int i;

	arm_smmu_cmdq_batch_init(smmu, &cmds, &cmd);
	/* A CMD_SYNC covers only the commands of its own queue */
	for (i = 0; i < round->num && round->busy[i].smmu != smmu; i++)
		;
	if (i < round->num)
		cmds.cmdq = round->busy[i].cmdq;

	if (round->opcode == CMDQ_OP_TLBI_S2_IPA)
		arm_smmu_tlb_batch_range(&cmds, &cmd, round->iova, round->size,
					 round->granule, smmu,
					 round->smmu_domain);
	else
		arm_smmu_cmdq_batch_add(smmu, &cmds, &cmd);
	arm_smmu_cmdq_issue_cmdlist(smmu, cmds.cmdq, cmds.cmds, cmds.num, last);

	if (last) {
		/* The CMD_SYNC covers earlier commands of this queue, too */
		if (i < round->num)
			round->busy[i] = round->busy[--round->num];
		arm_smmu_s2_wait(round);
	} else if (i == round->num) {
		round->busy[i].smmu = smmu;
		round->busy[i].cmdq = cmds.cmdq;
		/* This waits in the RCU section, but so many SMMUs are rare */
		if (++round->num == ARM_SMMU_S2_AT_ONCE)
			arm_smmu_s2_wait(round);
	}
}

static void arm_smmu_s2_run_round(struct arm_smmu_s2_round *round)
{
	struct arm_smmu_device *smmu = NULL;
	struct arm_smmu_s2_tag *tag;
	u16 vmid = 0;

	round->num = 0;
	rcu_read_lock();
	list_for_each_entry_rcu(tag, &round->smmu_domain->s2_tags, node) {
		if (round->guests && !READ_ONCE(tag->guest))
			continue;
		/* The previous tag was not the last */
		if (smmu)
			arm_smmu_s2_issue(round, smmu, vmid, false);
		smmu = tag->smmu;
		vmid = tag->vmid;
	}
	rcu_read_unlock();

	if (smmu)
		arm_smmu_s2_issue(round, smmu, vmid, true);
}

/**
 * arm_smmu_s2_inv_all - Invalidate everything that is cached of a stage 2
 * @smmu_domain: The stage 2
 *
 * Context: Any. Waits for the command queues.
 */
void arm_smmu_s2_inv_all(struct arm_smmu_domain *smmu_domain)
{
	struct arm_smmu_s2_round round __uninitialized;

	round.smmu_domain = smmu_domain;
	round.opcode = CMDQ_OP_TLBI_S12_VMALL;
	round.guests = false;
	round.leaf = false;

	/* Order the PTEs before the list, see above */
	smp_mb();
	arm_smmu_s2_run_round(&round);
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_s2_inv_all);

/**
 * arm_smmu_s2_inv_range - Invalidate everything that is cached of a range
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
	struct arm_smmu_s2_round round __uninitialized;

	if (!size)
		return;

	round.smmu_domain = smmu_domain;
	round.opcode = CMDQ_OP_TLBI_S2_IPA;
	round.guests = false;
	round.leaf = leaf;
	round.iova = iova;
	round.size = size;
	round.granule = granule;

	/* Order the PTEs before the list, see above */
	smp_mb();
	arm_smmu_s2_run_round(&round);

	/*
	 * TLBI_S2_IPA need not affect entries that combine both stages, and the
	 * guest's VAs of the IPA are not known.
	 */
	round.opcode = CMDQ_OP_TLBI_NH_ALL;
	round.guests = true;
	round.leaf = false;
	/* Order the CMD_SYNC before arm_smmu_s2_tag::guest, see above */
	smp_mb();
	arm_smmu_s2_run_round(&round);
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_s2_inv_range);
