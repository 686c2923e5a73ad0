// SPDX-License-Identifier: GPL-2.0
/*
 * iommufd support: vSMMUs and nested domains.
 *
 * The physical STE for a guest's STE is made by an allow list. The stage-2 part
 * comes from the nesting parent and the VMID from the vSMMU. Only the bits that
 * the architecture defines for stage 1 are taken from the guest (Arm IHI 0070,
 * 5.2). If the guest's STE is a bypass, only stage 2 translates, under the same
 * VMID: the device's addresses are then IPAs.
 *
 * The guest's structures in memory (CDs, page tables, its queues) are read by
 * the SMMU, through stage 2, and never by the kernel. arm-smmu-v3-inval.c
 * handles the guest's commands, and arm-smmu-v3-s2.c allocates the VMIDs.
 */
#include <kunit/visibility.h>
#include <linux/dma-mapping.h>
#include <linux/io-pgtable.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/ratelimit.h>
#include <linux/slab.h>

#include "arm-smmu-v3-iommufd.h"
#include "arm-smmu-v3-vcmdq.h"

#define STRTAB_STE_0_S1FMT_4K_L2	1

#define ARM_SMMU_NESTED_STE_0						       \
	(STRTAB_STE_0_V | STRTAB_STE_0_CFG | STRTAB_STE_0_S1FMT |	       \
	 STRTAB_STE_0_S1CTXPTR_MASK | STRTAB_STE_0_S1CDMAX)
#define ARM_SMMU_NESTED_STE_1						       \
	(STRTAB_STE_1_S1DSS | STRTAB_STE_1_S1CIR | STRTAB_STE_1_S1COR |	       \
	 STRTAB_STE_1_S1CSH | STRTAB_STE_1_S1STALLD | STRTAB_STE_1_EATS)

/*
 * The fields of a stage-1 fault that a guest gets, besides the StreamID and the
 * address (Arm IHI 0070, 7.3). All others are for stage 2, for stalls, or
 * defined by the implementation.
 */
#define ARM_VSMMU_EVT_0		(EVTQ_0_ID | EVTQ_0_SSV | EVTQ_0_SSID)
#define ARM_VSMMU_EVT_1							       \
	(EVTQ_1_PnU | EVTQ_1_InD | EVTQ_1_RnW | EVTQ_1_CLASS | EVTQ_1_TT_READ)

/* Events logged per DEFAULT_RATELIMIT_INTERVAL. Each takes 5 lines */
#define ARM_VSMMU_LOG_BURST	3

/**
 * arm_smmu_hw_info - iommu_ops::hw_info
 * @dev: A device behind the SMMU
 * @length: Out: size of the returned struct
 * @type: In: the requested type, or 0. Out: the type of the returned struct
 *
 * Return: a struct iommu_hw_info_arm_smmuv3, or a struct
 * iommu_hw_info_tegra241_cmdqv if this type is asked for, to be freed by kfree();
 * or an ERR_PTR().
 */
void *arm_smmu_hw_info(struct device *dev, u32 *length, u32 *type)
{
	struct arm_smmu_master *master = dev_iommu_priv_get(dev);
	void __iomem *base = master->smmu->base;
	struct iommu_hw_info_arm_smmuv3 *info;
	unsigned int i;

	if (*type == IOMMU_HW_INFO_TYPE_TEGRA241_CMDQV)
		return arm_vcmdqv_hw_info(master->smmu, length);

	info = kzalloc(sizeof(*info), GFP_KERNEL_ACCOUNT);
	if (!info)
		return ERR_PTR(-ENOMEM);

	for (i = 0; i < ARRAY_SIZE(info->idr); i++)
		info->idr[i] = readl_relaxed(base + ARM_SMMU_IDR0 + i * 4);
	info->iidr = readl_relaxed(base + ARM_SMMU_IIDR);
	info->aidr = readl_relaxed(base + ARM_SMMU_AIDR);

	*length = sizeof(*info);
	*type = IOMMU_HW_INFO_TYPE_ARM_SMMUV3;
	return info;
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_hw_info);

/**
 * arm_smmu_nested_check_ste - Check the STE of a guest
 * @ste: Words 0 and 1. With V == 0 all other bits are ignored
 *
 * Return: 0, or -EIO if the guest may not use this STE.
 */
int arm_smmu_nested_check_ste(const __le64 ste[2])
{
	unsigned int cfg;

	if (!(ste[0] & cpu_to_le64(STRTAB_STE_0_V)))
		return 0;

	if ((ste[0] & ~cpu_to_le64(ARM_SMMU_NESTED_STE_0)) ||
	    (ste[1] & ~cpu_to_le64(ARM_SMMU_NESTED_STE_1)))
		return -EIO;

	cfg = FIELD_GET(STRTAB_STE_0_CFG, le64_to_cpu(ste[0]));
	if (cfg != STRTAB_STE_0_CFG_ABORT && cfg != STRTAB_STE_0_CFG_BYPASS &&
	    cfg != STRTAB_STE_0_CFG_S1_TRANS)
		return -EIO;

	/* The other values of EATS concern stage 2 */
	if (FIELD_GET(STRTAB_STE_1_EATS, le64_to_cpu(ste[1])) >
	    STRTAB_STE_1_EATS_TRANS)
		return -EIO;
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_nested_check_ste);

/**
 * arm_smmu_nested_bad_ste - Is the STE of a guest invalid or ILLEGAL?
 * @smmu: The SMMU
 * @ste: Words 0 and 1, checked by arm_smmu_nested_check_ste()
 *
 * The SMMU would write a C_BAD_STE for each DMA. STE.MEV, which asks it to
 * merge events, need not take effect in an STE that is not valid (Arm IHI 0070,
 * 7.3.1). So an STE that the driver knows to be bad must not be installed. The
 * reserved values S1Fmt 0b11, S1DSS 0b11 and S1CSH 0b01 are not bad: they
 * behave as 0b00. S1STALLD and EATS need no check, as they are not taken from
 * the guest as they are.
 *
 * Return: true for V == 0 and for an STE that the architecture calls ILLEGAL
 * (5.2.2).
 */
bool arm_smmu_nested_bad_ste(struct arm_smmu_device *smmu, const __le64 ste[2])
{
	u64 val = le64_to_cpu(ste[0]);
	unsigned int s1cdmax = FIELD_GET(STRTAB_STE_0_S1CDMAX, val);
	unsigned int s1fmt = FIELD_GET(STRTAB_STE_0_S1FMT, val);

	if (!(val & STRTAB_STE_0_V))
		return true;
	if (FIELD_GET(STRTAB_STE_0_CFG, val) != STRTAB_STE_0_CFG_S1_TRANS)
		return false;

	/* An SMMU without substreams ignores both fields */
	if (smmu->ssid_bits && s1cdmax) {
		if (s1cdmax > smmu->ssid_bits)
			return true;
		if ((s1fmt == STRTAB_STE_0_S1FMT_4K_L2 ||
		     s1fmt == STRTAB_STE_0_S1FMT_64K_L2) &&
		    !(smmu->features & ARM_SMMU_FEAT_2_LVL_CDTAB))
			return true;
	}

	/* S1ContextPtr is an IPA */
	return (val & STRTAB_STE_0_S1CTXPTR_MASK) >> smmu->ias;
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_nested_bad_ste);

/* The bits of word 1 that go into the physical STE from the guest's STE */
static __le64 arm_smmu_nested_ste_1(struct arm_smmu_master *master,
				    const struct arm_smmu_nested_domain *nested)
{
	u32 features = master->smmu->features;
	/* arm_smmu_attach_prepare() decides on EATS */
	__le64 val = nested->ste[1] & ~cpu_to_le64(STRTAB_STE_1_EATS);

	/*
	 * S1STALLD is defined only if stalls are configurable (STALL_MODEL
	 * 0b00). A master must not stall if nobody handles its stalls: the
	 * transaction would hold resources of the SMMU that other VMs need, and
	 * the guest would get no event for the fault.
	 */
	if ((features & ARM_SMMU_FEAT_STALLS) &&
	    !(features & ARM_SMMU_FEAT_STALL_FORCE)) {
		if (!master->stall_enabled || !nested->domain.iopf_handler)
			val |= cpu_to_le64(STRTAB_STE_1_S1STALLD);
	} else {
		val &= ~cpu_to_le64(STRTAB_STE_1_S1STALLD);
	}
	return val;
}

/**
 * arm_smmu_make_nested_ste - Make the physical STE for a guest's STE
 * @target: Out
 * @master: The master
 * @nested: The guest's STE
 * @tag: The tag with the VMID, NULL for an abort
 * @ats_enabled: From arm_smmu_attach_prepare()
 */
void arm_smmu_make_nested_ste(struct arm_smmu_ste *target,
			      struct arm_smmu_master *master,
			      struct arm_smmu_nested_domain *nested,
			      const struct arm_smmu_s2_tag *tag,
			      bool ats_enabled)
{
	unsigned int cfg = arm_smmu_nested_cfg(nested);

	if (cfg == STRTAB_STE_0_CFG_ABORT) {
		arm_smmu_make_abort_ste(target);
		return;
	}

	arm_smmu_make_s2_ste(target, master, nested->vsmmu->s2_parent,
			     tag->vmid, ats_enabled);
	/* Merge events: a guest can make its devices fault at full speed */
	target->data[1] |= cpu_to_le64(STRTAB_STE_1_MEV);

	if (cfg == STRTAB_STE_0_CFG_S1_TRANS) {
		target->data[0] = nested->ste[0] &
				  ~cpu_to_le64(STRTAB_STE_0_CFG);
		target->data[0] |=
			cpu_to_le64(FIELD_PREP(STRTAB_STE_0_CFG,
					       STRTAB_STE_0_CFG_NESTED));
		target->data[1] |= arm_smmu_nested_ste_1(master, nested);
	}
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_make_nested_ste);

static bool arm_vsmmu_has_master(struct arm_vsmmu *vsmmu,
				 struct arm_smmu_master *master)
{
	struct iommufd_vdevice *vdev;
	bool ret;

	rcu_read_lock();
	vdev = rcu_dereference(master->vdev);
	ret = vdev && vdev->viommu == &vsmmu->core;
	rcu_read_unlock();
	return ret;
}

/*
 * Does the guest know a device in the group of @dev? A group may also have
 * ports, bridges and unused functions. These are attached together with the
 * guest's device, and cannot have a vDEVICE.
 */
static bool arm_vsmmu_has_group(struct arm_vsmmu *vsmmu, struct device *dev)
{
	struct iommufd_vdevice *vdev;
	unsigned long index;
	bool ret = false;

	if (!dev->iommu_group)
		return false;
	rcu_read_lock();
	xa_for_each(&vsmmu->core.vdevs, index, vdev) {
		ret = iommufd_vdevice_to_device(vdev)->iommu_group ==
		      dev->iommu_group;
		if (ret)
			break;
	}
	rcu_read_unlock();
	return ret;
}

/* ATS of a master is enabled at the request of its guest: pass on ATC_INVs */
static void arm_vsmmu_start_ats(struct arm_smmu_master *master)
{
	lockdep_assert_held(&arm_smmu_asid_lock);

	if (master->guest_ats || !to_pci_dev(master->dev)->ats_enabled)
		return;
	WRITE_ONCE(master->guest_ats, true);
	/* Make up for the ATC_INVs that were dropped since ATS was enabled */
	arm_smmu_atc_inv_master(master, IOMMU_NO_PASID);
}

/* Report an event to the VM that has the device, if any */
static bool arm_vsmmu_report_evt(struct arm_smmu_master *master, const u64 *evt)
{
	struct iommu_vevent_arm_smmuv3 vevt = {};
	struct iommufd_vdevice *vdev;

	/* A device with a vDEVICE may be attached to a stage 1 of the host */
	if (READ_ONCE(master->s1_owner) == ARM_SMMU_S1_HOST)
		return false;

	/*
	 * Use the current vDEVICE rather than the vDEVICE at the attach: the
	 * guest knows the device by its vSID, and without a vDEVICE not at all.
	 */
	rcu_read_lock();
	vdev = rcu_dereference(master->vdev);
	if (vdev) {
		vevt.evt[0] = cpu_to_le64((evt[0] & ARM_VSMMU_EVT_0) |
					  FIELD_PREP(EVTQ_0_SID,
						     vdev->virt_id));
		/* Errors of the configuration have no other fields */
		if (FIELD_GET(EVTQ_0_ID, evt[0]) >= EVT_ID_TRANSLATION_FAULT) {
			vevt.evt[1] = cpu_to_le64(evt[1] & ARM_VSMMU_EVT_1);
			vevt.evt[2] = cpu_to_le64(evt[2]);
		}
		iommufd_viommu_report_event(vdev->viommu,
					    IOMMU_VEVENTQ_TYPE_ARM_SMMUV3,
					    &vevt, sizeof(vevt));
	}
	rcu_read_unlock();
	return vdev;
}

/**
 * arm_vsmmu_handle_evt - Report an event to a VM if it concerns the VM alone
 * @smmu: The SMMU
 * @evt: The event record, in the order of the CPU
 *
 * Faults of stage 1 are caused by the guest. They go to the vEVENTQ, if any,
 * and never to the host's log, whatever their number. The same applies to
 * errors of the configuration while an STE and CDs of the guest are in use;
 * otherwise the host's own STE is wrong. Faults of stage 2, and all events that
 * indicate a problem of the SMMU, are left to the host.
 *
 * Context: The thread of the event queue.
 * Return: true if the event has been handled.
 */
bool arm_vsmmu_handle_evt(struct arm_smmu_device *smmu, u64 *evt)
{
	struct arm_smmu_master *master;
	bool needs_s1 = false;
	bool ret;

	switch (FIELD_GET(EVTQ_0_ID, evt[0])) {
	case EVT_ID_TRANSLATION_FAULT:
	case EVT_ID_ADDR_SIZE_FAULT:
	case EVT_ID_ACCESS_FAULT:
	case EVT_ID_PERMISSION_FAULT:
		if (evt[1] & (EVTQ_1_STALL | EVTQ_1_S2))
			return false;
		break;
	case EVT_ID_BAD_STE:
	case EVT_ID_STREAM_DISABLED:
	case EVT_ID_BAD_CD:
		needs_s1 = true;
		break;
	case EVT_ID_BAD_SUBSTREAMID:
		/* With a PASID, DMA causes this even if the STE is a bypass */
		break;
	default:
		return false;
	}

	mutex_lock(&smmu->streams_mutex);
	master = arm_smmu_find_master(smmu, FIELD_GET(EVTQ_0_SID, evt[0]));
	ret = master &&
	      (!needs_s1 || READ_ONCE(master->s1_owner) == ARM_SMMU_S1_GUEST) &&
	      arm_vsmmu_report_evt(master, evt);
	mutex_unlock(&smmu->streams_mutex);
	return ret;
}
EXPORT_SYMBOL_IF_KUNIT(arm_vsmmu_handle_evt);

/* Report an overflow to a VM once, whatever the number of its devices */
static void arm_vsmmu_report_lost(struct arm_smmu_device *smmu,
				  struct iommufd_viommu *viommu)
{
	struct arm_vsmmu *vsmmu = container_of(viommu, struct arm_vsmmu, core);

	lockdep_assert_held(&smmu->streams_mutex);

	if (vsmmu->overflows == smmu->vsmmu_overflows)
		return;
	vsmmu->overflows = smmu->vsmmu_overflows;
	iommufd_viommu_report_lost(viommu, IOMMU_VEVENTQ_TYPE_ARM_SMMUV3);
}

/**
 * arm_vsmmu_lost_evts - Report an overflow of the event queue to all VMs
 * @smmu: The SMMU
 *
 * Any VM may have lost events and must be notified, as the overflow flag of an
 * event queue notifies a driver. The walk through all streams takes less time
 * than the handling of the events that filled the queue.
 *
 * Context: The thread of the event queue.
 */
void arm_vsmmu_lost_evts(struct arm_smmu_device *smmu)
{
	struct iommufd_vdevice *vdev;
	struct rb_node *node;

	mutex_lock(&smmu->streams_mutex);
	smmu->vsmmu_overflows++;
	for (node = rb_first(&smmu->streams); node; node = rb_next(node)) {
		struct arm_smmu_master *master =
			rb_entry(node, struct arm_smmu_stream, node)->master;

		rcu_read_lock();
		vdev = rcu_dereference(master->vdev);
		if (vdev)
			arm_vsmmu_report_lost(smmu, vdev->viommu);
		rcu_read_unlock();
	}
	mutex_unlock(&smmu->streams_mutex);
}
EXPORT_SYMBOL_IF_KUNIT(arm_vsmmu_lost_evts);

/**
 * arm_vsmmu_update_event_owner - Record the owner of the events of a master
 * @master: A master that has changed its domain
 *
 * Context: The caller holds arm_smmu_asid_lock.
 */
void arm_vsmmu_update_event_owner(struct arm_smmu_master *master)
{
	lockdep_assert_held(&arm_smmu_asid_lock);

	switch (master->domain->type) {
	case IOMMU_DOMAIN_BLOCKED:
		/*
		 * Blocked DMA raises no events. Any events still in the queue
		 * were caused through the previous domain.
		 */
		break;
	case IOMMU_DOMAIN_UNMANAGED:
		WRITE_ONCE(master->user_owned, true);
		WRITE_ONCE(master->s1_owner,
			   to_smmu_domain(master->domain)->stage ==
				   ARM_SMMU_DOMAIN_S1 ?
				   ARM_SMMU_S1_HOST : ARM_SMMU_S1_NONE);
		break;
	case IOMMU_DOMAIN_NESTED:
		WRITE_ONCE(master->user_owned, true);
		/*
		 * An abort raises no events either, and for a stage 1 the
		 * attach has already set the owner.
		 */
		if (arm_smmu_nested_cfg(to_smmu_nested_domain(master->domain)) ==
		    STRTAB_STE_0_CFG_BYPASS)
			WRITE_ONCE(master->s1_owner, ARM_SMMU_S1_NONE);
		break;
	default:
		WRITE_ONCE(master->user_owned, false);
		WRITE_ONCE(master->s1_owner, ARM_SMMU_S1_NONE);
		break;
	}
}

/**
 * arm_vsmmu_evt_ratelimit - Get the rate limit for an event in the log
 * @smmu: The SMMU
 * @evt: The event record, in the order of the CPU
 *
 * User space that owns a device can make it fault all the time. All such
 * devices share a small rate limit, separate from the host's, so that they can
 * neither fill the log nor keep the events of the host's devices out of it.
 *
 * Context: The thread of the event queue.
 * Return: the rate limit, NULL if the device is not owned by user space.
 */
struct ratelimit_state *arm_vsmmu_evt_ratelimit(struct arm_smmu_device *smmu,
						const u64 *evt)
{
	static DEFINE_RATELIMIT_STATE(rs, DEFAULT_RATELIMIT_INTERVAL,
				      ARM_VSMMU_LOG_BURST);
	struct arm_smmu_master *master;
	bool user_owned;

	mutex_lock(&smmu->streams_mutex);
	master = arm_smmu_find_master(smmu, FIELD_GET(EVTQ_0_SID, evt[0]));
	user_owned = master && READ_ONCE(master->user_owned);
	mutex_unlock(&smmu->streams_mutex);
	return user_owned ? &rs : NULL;
}
EXPORT_SYMBOL_IF_KUNIT(arm_vsmmu_evt_ratelimit);

/*
 * A CFGI_STE of the guest invalidates CDs as well (Arm IHI 0070, 4.3.1). It
 * arrives as an attach. If the physical STE does not change, perhaps because
 * the bits that the guest has changed are overridden, the attach issues no
 * command for it, so invalidate the CDs here.
 */
static void arm_vsmmu_inv_cds(struct arm_smmu_master *master,
			      const struct arm_smmu_nested_domain *nested,
			      const struct arm_smmu_ste *ste)
{
	struct arm_smmu_cmdq_ent cmd = {
		.opcode = CMDQ_OP_CFGI_CD_ALL,
	};
	struct arm_smmu_nested_domain *old_nested;
	struct arm_smmu_ste old;
	unsigned int i;

	lockdep_assert_held(&arm_smmu_asid_lock);

	if (!master->domain || master->domain->type != IOMMU_DOMAIN_NESTED)
		return;
	old_nested = to_smmu_nested_domain(master->domain);
	if (old_nested->vsmmu != nested->vsmmu)
		return;
	arm_smmu_make_nested_ste(&old, master, old_nested, master->s2_tag,
				 master->ats_enabled);
	if (memcmp(&old, ste, sizeof(old)))
		return;

	for (i = 0; i < master->num_streams; i++) {
		cmd.cfgi.sid = master->streams[i].id;
		arm_smmu_cmdq_issue_cmd_with_sync(master->smmu, &cmd);
	}
}

static int arm_smmu_attach_dev_nested(struct iommu_domain *domain,
				      struct device *dev)
{
	struct arm_smmu_nested_domain *nested = to_smmu_nested_domain(domain);
	struct arm_smmu_master *master = dev_iommu_priv_get(dev);
	struct arm_vsmmu *vsmmu = nested->vsmmu;
	unsigned int cfg = arm_smmu_nested_cfg(nested);
	bool s1 = cfg == STRTAB_STE_0_CFG_S1_TRANS;
	bool eats = nested->ste[1] & cpu_to_le64(STRTAB_STE_1_EATS);
	struct arm_smmu_attach_state state = {
		.master = master,
		.ssid = IOMMU_NO_PASID,
		/*
		 * The guest controls ATS by an STE that translates. In a bypass
		 * the device uses stage 2 like any other device, and the host
		 * controls ATS. An abort has no ATS.
		 */
		.disable_ats = cfg == STRTAB_STE_0_CFG_ABORT || (s1 && !eats),
		.guest_ats = s1 && eats,
		/* An abort is tracked in the parent, but needs no VMID */
		.no_s2 = cfg == STRTAB_STE_0_CFG_ABORT,
		.s2_owner = &vsmmu->s2_owner,
	};
	struct arm_smmu_ste ste;
	bool cut_off = false;
	int ret;

	if (vsmmu->smmu != master->smmu ||
	    !arm_smmu_is_coherent(master, vsmmu->s2_parent))
		return -EINVAL;
	if (arm_smmu_ssids_in_use(&master->cd_table))
		return -EBUSY;
	if (s1 && !arm_vsmmu_has_master(vsmmu, master)) {
		/*
		 * The STE is for another device of the group. The guest does
		 * not know this device, which must not use the guest's stage 1.
		 */
		cut_off = arm_vsmmu_has_group(vsmmu, dev);
		/* A group must be able to return to its current domain */
		if (!cut_off && iommu_get_domain_for_dev(dev) != domain)
			return -ENOENT;
		state.disable_ats |= cut_off;
	}
	ret = arm_smmu_iopf_drain(master, domain);
	if (ret)
		return ret;

	mutex_lock(&arm_smmu_asid_lock);
	ret = arm_smmu_iopf_attach(master, domain);
	if (!ret) {
		ret = arm_smmu_attach_prepare(&state, domain);
		if (ret)
			arm_smmu_iopf_detach_done(master, master->domain);
	}
	if (!ret) {
		arm_smmu_make_nested_ste(&ste, master, nested, state.s2_tag,
					 state.ats_enabled);
		if (cut_off)
			arm_smmu_make_abort_ste(&ste);
		/* Set before the first event of the new STE can occur */
		if (s1)
			WRITE_ONCE(master->s1_owner, ARM_SMMU_S1_GUEST);
		else if (master->s1_owner == ARM_SMMU_S1_HOST)
			WRITE_ONCE(master->s1_owner, ARM_SMMU_S1_NONE);
		arm_smmu_install_ste_for_dev(master, &ste);
		if (s1)
			arm_vsmmu_inv_cds(master, nested, &ste);
		arm_smmu_attach_commit(&state);
		if (state.guest_ats && state.ats_enabled)
			arm_vsmmu_start_ats(master);
	}
	mutex_unlock(&arm_smmu_asid_lock);
	if (ret)
		return ret;

	arm_smmu_clear_cd(master, IOMMU_NO_PASID);

	/*
	 * The SMMU reports no events for aborted DMA. Report one event for each
	 * attach: it informs the guest as well as an event for each DMA, and
	 * cannot flood the host.
	 */
	if (nested->bad_ste) {
		const u64 evt[EVTQ_ENT_DWORDS] = {
			FIELD_PREP(EVTQ_0_ID, EVT_ID_BAD_STE),
		};

		arm_vsmmu_report_evt(master, evt);
	}
	return 0;
}

static void arm_smmu_domain_free_nested(struct iommu_domain *domain)
{
	kfree(to_smmu_nested_domain(domain));
}

static const struct iommu_domain_ops arm_smmu_nested_ops = {
	.attach_dev = arm_smmu_attach_dev_nested,
	.free = arm_smmu_domain_free_nested,
};

struct iommu_domain *
arm_vsmmu_alloc_domain_nested(struct iommufd_viommu *viommu, u32 flags,
			      const struct iommu_user_data *user_data)
{
	struct arm_vsmmu *vsmmu = container_of(viommu, struct arm_vsmmu, core);
	struct arm_smmu_nested_domain *nested;
	struct iommu_hwpt_arm_smmuv3 arg;
	int ret;

	if (flags)
		return ERR_PTR(-EOPNOTSUPP);
	ret = iommu_copy_struct_from_user(&arg, user_data,
					  IOMMU_HWPT_DATA_ARM_SMMUV3, ste);
	if (ret)
		return ERR_PTR(ret);
	ret = arm_smmu_nested_check_ste(arg.ste);
	if (ret)
		return ERR_PTR(ret);

	nested = kzalloc(sizeof(*nested), GFP_KERNEL_ACCOUNT);
	if (!nested)
		return ERR_PTR(-ENOMEM);
	nested->domain.type = IOMMU_DOMAIN_NESTED;
	nested->domain.ops = &arm_smmu_nested_ops;
	nested->vsmmu = vsmmu;
	nested->bad_ste = arm_smmu_nested_bad_ste(vsmmu->smmu, arg.ste);
	memcpy(nested->ste, arg.ste, sizeof(nested->ste));
	return &nested->domain;
}

int arm_vsmmu_vdevice_init(struct iommufd_vdevice *vdev)
{
	struct arm_smmu_master *master =
		dev_iommu_priv_get(iommufd_vdevice_to_device(vdev));
	int ret;

	/* A StreamID has 32 bits in commands and events */
	if (vdev->virt_id > U32_MAX)
		return -EINVAL;

	/* Events that the device caused earlier are not for this VM */
	ret = arm_smmu_evtq_flush(master->smmu);
	if (ret)
		return ret;

	rcu_assign_pointer(master->vdev, vdev);
	return 0;
}

void arm_vsmmu_vdevice_destroy(struct iommufd_vdevice *vdev)
{
	struct arm_smmu_master *master =
		dev_iommu_priv_get(iommufd_vdevice_to_device(vdev));

	/* The core waits for a grace period before it frees the vDEVICE */
	RCU_INIT_POINTER(master->vdev, NULL);
}

size_t arm_vsmmu_vevent_size(struct iommufd_viommu *viommu, unsigned int type)
{
	if (type != IOMMU_VEVENTQ_TYPE_ARM_SMMUV3)
		return 0;
	return sizeof(struct iommu_vevent_arm_smmuv3);
}

static const struct iommufd_viommu_ops arm_vsmmu_ops = {
	.alloc_domain_nested = arm_vsmmu_alloc_domain_nested,
	.cache_invalidate = arm_vsmmu_cache_invalidate,
	.vevent_size = arm_vsmmu_vevent_size,
	.vdevice_init = arm_vsmmu_vdevice_init,
	.vdevice_destroy = arm_vsmmu_vdevice_destroy,
};

/**
 * arm_smmu_can_nest - Does the SMMU support nested translation?
 * @smmu: The SMMU
 *
 * Must be called only for a request that needs it, because the reason for a
 * refusal is logged, once.
 *
 * Return: true if it does.
 */
bool arm_smmu_can_nest(struct arm_smmu_device *smmu)
{
	if (smmu->features & ARM_SMMU_FEAT_NESTING)
		return true;

	if (!test_and_set_bit(ARM_VSMMU_NO_NESTING, &smmu->vsmmu_refusals))
		dev_notice(smmu->dev,
			   "nested translation unavailable: the SMMU does not support both stages, or has an erratum\n");
	return false;
}

/**
 * arm_smmu_get_viommu_size - iommu_ops::get_viommu_size
 * @dev: A device behind the SMMU
 * @type: One of enum iommu_viommu_type
 *
 * The memory attributes of stage 1 are under the guest's control. If they could
 * make a device bypass the CPU caches, the guest would see stale memory from
 * before the host cleared it. So a vSMMU is available only if the hardware
 * rules this out.
 *
 * Return: the size of the struct around struct arm_vsmmu, or 0 if the type is not
 * available.
 */
size_t arm_smmu_get_viommu_size(struct device *dev, unsigned int type)
{
	struct arm_smmu_master *master = dev_iommu_priv_get(dev);
	struct arm_smmu_device *smmu = master->smmu;

	if (type != IOMMU_VIOMMU_TYPE_ARM_SMMUV3 &&
	    type != IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV)
		return 0;

	if (!arm_smmu_can_nest(smmu))
		return 0;

	if (!(smmu->features & ARM_SMMU_FEAT_S2FWB) &&
	    !arm_smmu_master_canwbs(master)) {
		if (!test_and_set_bit(ARM_VSMMU_NOT_COHERENT,
				      &smmu->vsmmu_refusals))
			dev_notice(smmu->dev,
				   "nested translation unavailable: the SMMU has no S2FWB, and the IORT does not set CANWBS for the root complex of %s\n",
				   dev_name(dev));
		return 0;
	}
	if (type == IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV)
		return arm_vcmdqv_size(smmu);
	return VIOMMU_STRUCT_SIZE(struct arm_vsmmu, core);
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_get_viommu_size);

/**
 * arm_vsmmu_init - iommu_ops::viommu_init
 * @viommu: The member of a struct of arm_smmu_get_viommu_size() bytes that is
 *          otherwise zeroed
 * @parent: The nesting parent
 * @user_data: A struct iommu_viommu_tegra241_cmdqv for a vSMMU with a CMDQV, and
 *             NULL for any other
 *
 * Return: 0, -EINVAL if the SMMU cannot use @parent, -EOPNOTSUPP for data that
 * the type does not have, or an error of arm_vcmdqv_init().
 */
int arm_vsmmu_init(struct iommufd_viommu *viommu, struct iommu_domain *parent,
		   const struct iommu_user_data *user_data)
{
	struct arm_vsmmu *vsmmu = container_of(viommu, struct arm_vsmmu, core);
	struct arm_smmu_device *smmu =
		container_of(viommu->iommu_dev, struct arm_smmu_device, iommu);
	struct arm_smmu_domain *s2_parent = to_smmu_domain(parent);

	if (user_data && viommu->type != IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV)
		return -EOPNOTSUPP;
	/* arm_vsmmu_run_block() does not sync after each command */
	if (WARN_ON_ONCE(smmu->options & ARM_SMMU_OPT_CMDQ_FORCE_SYNC))
		return -EOPNOTSUPP;
	if (!arm_smmu_s2_compatible(s2_parent, smmu))
		return -EINVAL;

	vsmmu->smmu = smmu;
	vsmmu->s2_parent = s2_parent;
	mutex_init(&vsmmu->long_calls);
	arm_vsmmu_cmd_rules_init(&vsmmu->rules, smmu);
	if (viommu->type == IOMMU_VIOMMU_TYPE_TEGRA241_CMDQV)
		return arm_vcmdqv_init(vsmmu, user_data);
	viommu->ops = &arm_vsmmu_ops;
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(arm_vsmmu_init);

/* Set or clear V of all second-level CD tables except that of the RID */
static void arm_smmu_set_cd_tables_valid(struct arm_smmu_ctx_desc_cfg *cd_table,
					 bool valid)
{
	struct arm_smmu_cdtab_l1 *l1 = cd_table->l2.l1tab;
	unsigned int i;
	u64 val;

	for (i = 1; i < cd_table->l2.num_l1_ents; i++) {
		if (!cd_table->l2.l2ptrs[i])
			continue;
		val = le64_to_cpu(l1[i].l2ptr) & ~CTXDESC_L1_DESC_V;
		if (valid)
			val |= CTXDESC_L1_DESC_V;
		WRITE_ONCE(l1[i].l2ptr, cpu_to_le64(val));
	}
}

/**
 * arm_smmu_free_cds_of_user - Free the CD tables charged to a user of the device
 * @master: The device, which is the host's again
 *
 * The tables are kept as long as a process has the device: a PASID that is
 * attached again after a reset must not need a large allocation. The first table
 * stays, since it has the CD of the RID.
 *
 * Context: Holds arm_smmu_asid_lock and the mutex of the group.
 */
void arm_smmu_free_cds_of_user(struct arm_smmu_master *master)
{
	struct arm_smmu_ctx_desc_cfg *cd_table = &master->cd_table;
	struct arm_smmu_cmdq_ent cmd = { .opcode = CMDQ_OP_CFGI_CD_ALL };
	struct arm_smmu_cdtab_l2 **l2ptrs;
	unsigned int i, num = 0;
	int ret = 0;

	if (!arm_smmu_cdtab_allocated(cd_table) ||
	    arm_smmu_ssids_in_use(cd_table) ||
	    cd_table->s1fmt != STRTAB_STE_0_S1FMT_64K_L2)
		return;
	l2ptrs = cd_table->l2.l2ptrs;
	for (i = 1; i < cd_table->l2.num_l1_ents; i++)
		num += !!l2ptrs[i];
	if (!num)
		return;

	arm_smmu_set_cd_tables_valid(cd_table, false);
	for (i = 0; i < master->num_streams && !ret; i++) {
		cmd.cfgi.sid = master->streams[i].id;
		ret = arm_smmu_cmdq_issue_cmd_with_sync(master->smmu, &cmd);
	}
	if (ret) {
		/* The SMMU may still read them. Try again the next time */
		arm_smmu_set_cd_tables_valid(cd_table, true);
		return;
	}

	for (i = 1; i < cd_table->l2.num_l1_ents; i++) {
		struct arm_smmu_cdtab_l1 *l1 = &cd_table->l2.l1tab[i];

		if (!l2ptrs[i])
			continue;
		dma_free_coherent(master->smmu->dev, sizeof(*l2ptrs[i]),
				  l2ptrs[i], arm_smmu_cd_l1_get_desc(l1));
		l2ptrs[i] = NULL;
		l1->l2ptr = 0;
	}
}

MODULE_IMPORT_NS(IOMMUFD);
