// SPDX-License-Identifier: GPL-2.0
/*
 * iommufd support: vSMMUs and nested domains.
 *
 * A guest's STE becomes a physical one by way of an allow list: the stage-2
 * part comes from the nesting parent, the VMID from the vSMMU, and of the
 * guest's bits go in just those that the architecture defines for stage 1 (Arm
 * IHI 0070, 5.2). A guest that says bypass gets the stage 2 alone, under the
 * same VMID: its addresses are IPAs then.
 *
 * What the guest puts into memory (CDs, page tables, its queue) is read through
 * stage 2 by the SMMU, never by the kernel. Its commands are the business of
 * arm-smmu-v3-vcmd.c, and whose VMID is whose that of arm-smmu-v3-s2.c.
 */
#include <kunit/visibility.h>
#include <linux/io-pgtable.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/ratelimit.h>
#include <linux/slab.h>

#include "arm-smmu-v3-iommufd.h"

#define ARM_SMMU_NESTED_STE_0						       \
	(STRTAB_STE_0_V | STRTAB_STE_0_CFG | STRTAB_STE_0_S1FMT |	       \
	 STRTAB_STE_0_S1CTXPTR_MASK | STRTAB_STE_0_S1CDMAX)
#define ARM_SMMU_NESTED_STE_1						       \
	(STRTAB_STE_1_S1DSS | STRTAB_STE_1_S1CIR | STRTAB_STE_1_S1COR |	       \
	 STRTAB_STE_1_S1CSH | STRTAB_STE_1_S1STALLD | STRTAB_STE_1_EATS)

/*
 * What a fault of stage 1 tells a guest, besides the StreamID and the address
 * (Arm IHI 0070, 7.3). The rest is for stage 2, stalls, or the implementation.
 */
#define ARM_VSMMU_EVT_0		(EVTQ_0_ID | EVTQ_0_SSV | EVTQ_0_SSID)
#define ARM_VSMMU_EVT_1							       \
	(EVTQ_1_PnU | EVTQ_1_InD | EVTQ_1_RnW | EVTQ_1_CLASS | EVTQ_1_TT_READ)

/* Lines of the log are 5 times that many, in DEFAULT_RATELIMIT_INTERVAL */
#define ARM_VSMMU_LOG_BURST	3

/**
 * arm_smmu_hw_info - iommu_ops::hw_info
 * @dev: A device behind the SMMU
 * @length: Out: size of what is returned
 * @type: Out: IOMMU_HW_INFO_TYPE_ARM_SMMUV3
 *
 * Return: a struct iommu_hw_info_arm_smmuv3 for the caller to kfree().
 */
void *arm_smmu_hw_info(struct device *dev, u32 *length, u32 *type)
{
	struct arm_smmu_master *master = dev_iommu_priv_get(dev);
	void __iomem *base = master->smmu->base;
	struct iommu_hw_info_arm_smmuv3 *info;
	unsigned int i;

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
 * @ste: Words 0 and 1. Brought into normal form: with V == 0 the device is cut
 *       off, which is what an abort does, and nothing else of the STE counts
 *
 * Return: 0, or -EIO if the guest may not use this STE.
 */
int arm_smmu_nested_check_ste(__le64 ste[2])
{
	unsigned int cfg;

	if (!(ste[0] & cpu_to_le64(STRTAB_STE_0_V))) {
		ste[0] = cpu_to_le64(STRTAB_STE_0_V |
				     FIELD_PREP(STRTAB_STE_0_CFG,
						STRTAB_STE_0_CFG_ABORT));
		ste[1] = 0;
		return 0;
	}

	if ((ste[0] & ~cpu_to_le64(ARM_SMMU_NESTED_STE_0)) ||
	    (ste[1] & ~cpu_to_le64(ARM_SMMU_NESTED_STE_1)))
		return -EIO;

	cfg = FIELD_GET(STRTAB_STE_0_CFG, le64_to_cpu(ste[0]));
	if (cfg != STRTAB_STE_0_CFG_ABORT && cfg != STRTAB_STE_0_CFG_BYPASS &&
	    cfg != STRTAB_STE_0_CFG_S1_TRANS)
		return -EIO;

	/* EATS of 0b10 and 0b11 are about stage 2 */
	if (FIELD_GET(STRTAB_STE_1_EATS, le64_to_cpu(ste[1])) >
	    STRTAB_STE_1_EATS_TRANS)
		return -EIO;
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_nested_check_ste);

/* Which of the guest's word 1 bits go into the STE as they are? */
static __le64 arm_smmu_nested_ste_1(struct arm_smmu_master *master,
				    const struct arm_smmu_nested_domain *nested)
{
	u32 features = master->smmu->features;
	/* EATS depends on the device, too: arm_smmu_attach_prepare() decides */
	__le64 val = nested->ste[1] & ~cpu_to_le64(STRTAB_STE_1_EATS);

	/*
	 * S1STALLD exists only where stalls can be had or not. There, a master
	 * whose stalls nobody handles must not be made to stall: the transaction
	 * would hold resources of the SMMU that other VMs need, and the guest
	 * would not be told of the fault.
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
 * @master: The master that it is for
 * @nested: The guest's STE
 * @tag: The VMID, NULL for an abort
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

	arm_smmu_make_s2_domain_ste(target, master, nested->vsmmu->s2_parent,
				    ats_enabled);
	arm_smmu_s2_set_ste_vmid(target, tag);
	/* Merge events: a guest can make its devices fault as fast as they can */
	target->data[1] |= cpu_to_le64(STRTAB_STE_1_MEV);
	/* Nobody is there to answer a stalled stage 2, where it can be helped */
	if (!(master->smmu->features & ARM_SMMU_FEAT_STALL_FORCE))
		target->data[2] &= ~cpu_to_le64(STRTAB_STE_2_S2S);

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

/* Is DMA coherent, whatever memory attributes the guest's stage 1 asks for? */
static bool arm_smmu_is_coherent(struct arm_smmu_master *master,
				 struct arm_smmu_domain *s2_parent)
{
	const struct io_pgtable_cfg *cfg =
		&io_pgtable_ops_to_pgtable(s2_parent->pgtbl_ops)->cfg;

	return arm_smmu_master_canwbs(master) ||
	       cfg->quirks & IO_PGTABLE_QUIRK_ARM_S2FWB;
}

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

/**
 * arm_vsmmu_stop_ats - ATS of a master will be disabled
 * @master: The master
 *
 * An ATC_INV to a device that does not answer times out, and every user of the
 * queue waits for it meanwhile. So no VM may send one any more when ATS goes,
 * and those that are on their way have to get through before.
 *
 * Context: The caller holds arm_smmu_asid_lock. May sleep for a grace period.
 */
void arm_vsmmu_stop_ats(struct arm_smmu_master *master)
{
	struct arm_smmu_device *smmu = master->smmu;

	lockdep_assert_held(&arm_smmu_asid_lock);

	if (!master->guest_ats)
		return;
	WRITE_ONCE(master->guest_ats, false);
	/*
	 * Commands are checked and issued in one RCU read-side section. A guest
	 * decides when this is, and every attach on any SMMU waits meanwhile.
	 */
	synchronize_rcu_expedited();
	arm_smmu_cmdq_issue_cmdlist(smmu, &smmu->cmdq, NULL, 0, true);
}

/**
 * arm_vsmmu_start_ats - ATS of a master has been enabled for a VM
 * @master: The master
 *
 * Context: The caller holds arm_smmu_asid_lock.
 */
void arm_vsmmu_start_ats(struct arm_smmu_master *master)
{
	lockdep_assert_held(&arm_smmu_asid_lock);

	if (master->guest_ats || !to_pci_dev(master->dev)->ats_enabled)
		return;
	WRITE_ONCE(master->guest_ats, true);
	/* What the VM sent between the enabling and now was not passed on */
	arm_smmu_atc_inv_master(master, IOMMU_NO_PASID);
}

/* Give an event to the VM that the device belongs to, if any */
static bool arm_vsmmu_report_evt(struct arm_smmu_master *master, const u64 *evt)
{
	struct iommu_vevent_arm_smmuv3 vevt = {};
	struct iommufd_vdevice *vdev;

	/* A vDEVICE does not keep a device from being attached to anything else */
	if (READ_ONCE(master->host_s1))
		return false;

	/*
	 * The vDEVICE of now, not of the time of the attach: its vSID is what
	 * the guest knows the device by, and without one it knows no device.
	 */
	rcu_read_lock();
	vdev = rcu_dereference(master->vdev);
	if (vdev) {
		vevt.evt[0] = cpu_to_le64((evt[0] & ARM_VSMMU_EVT_0) |
					  FIELD_PREP(EVTQ_0_SID,
						     vdev->virt_id));
		/* Errors of the configuration have no more than that */
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
 * arm_vsmmu_handle_evt - Is that event the business of a VM?
 * @smmu: The SMMU
 * @evt: The event record, in the order of the CPU
 *
 * Faults of stage 1 are what the guest did to itself. It is told of them if it
 * has a queue for that, and the host's log is not, however many there are.
 * Stage 2 and everything that shows the SMMU to be in trouble is for the host.
 *
 * Context: The thread of the event queue.
 * Return: true if there is nothing left to do.
 */
bool arm_vsmmu_handle_evt(struct arm_smmu_device *smmu, u64 *evt)
{
	struct arm_smmu_master *master;
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
	case EVT_ID_BAD_SUBSTREAMID:
	case EVT_ID_BAD_CD:
		break;
	default:
		return false;
	}

	mutex_lock(&smmu->streams_mutex);
	master = arm_smmu_find_master(smmu, FIELD_GET(EVTQ_0_SID, evt[0]));
	ret = master && arm_vsmmu_report_evt(master, evt);
	mutex_unlock(&smmu->streams_mutex);
	return ret;
}
EXPORT_SYMBOL_IF_KUNIT(arm_vsmmu_handle_evt);

/**
 * arm_vsmmu_lost_evts - The event queue has overflown
 * @smmu: The SMMU
 *
 * Any VM may have lost events. Each has to know, as its guest would of an
 * overflow of its own queue.
 *
 * Context: The thread of the event queue.
 */
void arm_vsmmu_lost_evts(struct arm_smmu_device *smmu)
{
	struct iommufd_vdevice *vdev;
	struct rb_node *node;

	mutex_lock(&smmu->streams_mutex);
	for (node = rb_first(&smmu->streams); node; node = rb_next(node)) {
		struct arm_smmu_master *master =
			rb_entry(node, struct arm_smmu_stream, node)->master;

		rcu_read_lock();
		vdev = rcu_dereference(master->vdev);
		if (vdev)
			iommufd_viommu_report_lost(vdev->viommu,
						   IOMMU_VEVENTQ_TYPE_ARM_SMMUV3);
		rcu_read_unlock();
	}
	mutex_unlock(&smmu->streams_mutex);
}
EXPORT_SYMBOL_IF_KUNIT(arm_vsmmu_lost_evts);

/**
 * arm_vsmmu_note_owner - Remember whose DMA the events of a master are about
 * @master: A master whose domain has changed
 *
 * Context: The caller holds arm_smmu_asid_lock.
 */
void arm_vsmmu_note_owner(struct arm_smmu_master *master)
{
	lockdep_assert_held(&arm_smmu_asid_lock);

	switch (master->domain->type) {
	case IOMMU_DOMAIN_BLOCKED:
		/* That is silent, so what still comes is of the one before */
		break;
	case IOMMU_DOMAIN_UNMANAGED:
		WRITE_ONCE(master->user_owned, true);
		WRITE_ONCE(master->host_s1,
			   to_smmu_domain(master->domain)->stage ==
				   ARM_SMMU_DOMAIN_S1);
		break;
	case IOMMU_DOMAIN_NESTED:
		WRITE_ONCE(master->user_owned, true);
		break;
	default:
		WRITE_ONCE(master->user_owned, false);
		break;
	}
}

/**
 * arm_vsmmu_evt_ratelimit - How often may such an event be written to the log?
 * @smmu: The SMMU
 * @evt: The event record, in the order of the CPU
 *
 * Who owns a device can make it fault all the time. All such devices together
 * have a small allowance of their own, so that they neither fill the log nor
 * keep the events of the host's devices out of it.
 *
 * Context: The thread of the event queue.
 * Return: the allowance, NULL if it is the host's.
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
 * A guest's CFGI_STE is about its CDs, too (Arm IHI 0070, 4.3.1). The VMM makes an
 * attach of it. Where the SMMU's STE stays the same, perhaps since all that the
 * guest has changed is overruled, nothing of that would reach the SMMU.
 */
static void arm_vsmmu_inv_cds(struct arm_smmu_master *master,
			      const struct arm_smmu_nested_domain *nested,
			      const struct arm_smmu_ste *ste)
{
	struct arm_smmu_cmdq_ent cmd = {
		.opcode = CMDQ_OP_CFGI_CD_ALL,
	};
	struct arm_smmu_ste old;
	unsigned int i;

	lockdep_assert_held(&arm_smmu_asid_lock);

	if (arm_smmu_nested_vsmmu(master->domain) != nested->vsmmu)
		return;
	arm_smmu_make_nested_ste(&old, master,
				 to_smmu_nested_domain(master->domain),
				 master->s2_tag, master->ats_enabled);
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
	bool s1 = arm_smmu_nested_cfg(nested) == STRTAB_STE_0_CFG_S1_TRANS;
	struct arm_smmu_attach_state state = {
		.master = master,
		.ssid = IOMMU_NO_PASID,
		/* Only what translates through stage 1 asks for ATS */
		.disable_ats = !s1 || !(nested->ste[1] &
					cpu_to_le64(STRTAB_STE_1_EATS)),
	};
	struct arm_smmu_ste ste;
	int ret;

	if (vsmmu->smmu != master->smmu ||
	    !arm_smmu_is_coherent(master, vsmmu->s2_parent))
		return -EINVAL;
	if (arm_smmu_ssids_in_use(&master->cd_table))
		return -EBUSY;
	/* Where the group is already, it must be able to stay */
	if (s1 && iommu_get_domain_for_dev(dev) != domain &&
	    !arm_vsmmu_has_master(vsmmu, master))
		return -ENOENT;

	mutex_lock(&arm_smmu_asid_lock);
	ret = arm_smmu_iopf_attach(master, domain);
	if (!ret) {
		ret = arm_smmu_attach_prepare(&state, domain);
		if (ret)
			arm_smmu_iopf_settle(master, master->domain);
	}
	if (!ret) {
		arm_smmu_make_nested_ste(&ste, master, nested, state.s2_tag,
					 state.ats_enabled);
		WRITE_ONCE(master->host_s1, false);
		arm_smmu_install_ste_for_dev(master, &ste);
		if (s1)
			arm_vsmmu_inv_cds(master, nested, &ste);
		arm_smmu_attach_commit(&state);
	}
	mutex_unlock(&arm_smmu_asid_lock);
	if (ret)
		return ret;

	arm_smmu_clear_cd(master, IOMMU_NO_PASID);

	/*
	 * The device is aborted, which the SMMU does silently. One event for the
	 * attach tells the guest as well as one for every DMA, and cannot flood
	 * anything.
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

static struct iommu_domain *
arm_vsmmu_alloc_domain_nested(struct iommufd_viommu *viommu, u32 flags,
			      const struct iommu_user_data *user_data)
{
	struct arm_smmu_nested_domain *nested;
	struct iommu_hwpt_arm_smmuv3 arg;
	bool bad_ste;
	int ret;

	if (flags)
		return ERR_PTR(-EOPNOTSUPP);
	ret = iommu_copy_struct_from_user(&arg, user_data,
					  IOMMU_HWPT_DATA_ARM_SMMUV3, ste);
	if (ret)
		return ERR_PTR(ret);
	bad_ste = !(arg.ste[0] & cpu_to_le64(STRTAB_STE_0_V));
	ret = arm_smmu_nested_check_ste(arg.ste);
	if (ret)
		return ERR_PTR(ret);

	nested = kzalloc(sizeof(*nested), GFP_KERNEL_ACCOUNT);
	if (!nested)
		return ERR_PTR(-ENOMEM);
	nested->domain.type = IOMMU_DOMAIN_NESTED;
	nested->domain.ops = &arm_smmu_nested_ops;
	nested->vsmmu = container_of(viommu, struct arm_vsmmu, core);
	nested->bad_ste = bad_ste;
	memcpy(nested->ste, arg.ste, sizeof(nested->ste));
	return &nested->domain;
}

static int arm_vsmmu_vdevice_init(struct iommufd_vdevice *vdev)
{
	struct arm_smmu_master *master =
		dev_iommu_priv_get(iommufd_vdevice_to_device(vdev));

	/* A StreamID has 32 bits in commands and events */
	if (vdev->virt_id > U32_MAX)
		return -EINVAL;

	rcu_assign_pointer(master->vdev, vdev);
	return 0;
}

static void arm_vsmmu_vdevice_destroy(struct iommufd_vdevice *vdev)
{
	struct arm_smmu_master *master =
		dev_iommu_priv_get(iommufd_vdevice_to_device(vdev));

	/* The core waits for a grace period before it frees the vDEVICE */
	RCU_INIT_POINTER(master->vdev, NULL);
}

static size_t arm_vsmmu_vevent_size(struct iommufd_viommu *viommu,
				    unsigned int type)
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

/* Reasons that are given once for each SMMU, in arm_smmu_device::vsmmu_refusals */
enum arm_vsmmu_refusal {
	ARM_VSMMU_NO_NESTING,
	ARM_VSMMU_NOT_COHERENT,
};

/**
 * arm_smmu_can_nest - Does the SMMU translate with both stages?
 * @smmu: The SMMU
 *
 * To be asked when somebody wants it to: the log says once why that cannot be.
 *
 * Return: true if it does.
 */
bool arm_smmu_can_nest(struct arm_smmu_device *smmu)
{
	if (smmu->features & ARM_SMMU_FEAT_NESTING)
		return true;

	if (!test_and_set_bit(ARM_VSMMU_NO_NESTING, &smmu->vsmmu_refusals))
		dev_notice(smmu->dev,
			   "no vSMMU for VMs: the SMMU does not translate with both stages, or an erratum forbids it\n");
	return false;
}

/**
 * arm_smmu_get_viommu_size - iommu_ops::get_viommu_size
 * @dev: A device behind the SMMU
 * @type: One of enum iommu_viommu_type
 *
 * A guest's stage 1 chooses memory attributes. If it could make a device bypass
 * the CPU caches, the guest would see memory as it was before the host cleared
 * it, so a VM gets a vSMMU only where the hardware rules that out.
 *
 * Return: sizeof(struct arm_vsmmu), or 0 where that cannot be had.
 */
size_t arm_smmu_get_viommu_size(struct device *dev, unsigned int type)
{
	struct arm_smmu_master *master = dev_iommu_priv_get(dev);
	struct arm_smmu_device *smmu = master->smmu;

	if (type != IOMMU_VIOMMU_TYPE_ARM_SMMUV3)
		return 0;

	if (!arm_smmu_can_nest(smmu))
		return 0;

	if (!(smmu->features & ARM_SMMU_FEAT_S2FWB) &&
	    !arm_smmu_master_canwbs(master)) {
		if (!test_and_set_bit(ARM_VSMMU_NOT_COHERENT,
				      &smmu->vsmmu_refusals))
			dev_notice(smmu->dev,
				   "no vSMMU for VMs: neither has the SMMU S2FWB (IDR3.FWB), nor does the firmware set CANWBS in the IORT for the root complex of %s\n",
				   dev_name(dev));
		return 0;
	}
	return sizeof(struct arm_vsmmu);
}
EXPORT_SYMBOL_IF_KUNIT(arm_smmu_get_viommu_size);

/**
 * arm_vsmmu_init - iommu_ops::viommu_init
 * @viommu: In a struct arm_vsmmu, zeroed
 * @parent: The nesting parent
 * @user_data: Must be NULL: there is none for this type
 *
 * Return: 0, -EINVAL if the SMMU cannot use @parent, -EOPNOTSUPP for data.
 */
int arm_vsmmu_init(struct iommufd_viommu *viommu, struct iommu_domain *parent,
		   const struct iommu_user_data *user_data)
{
	struct arm_vsmmu *vsmmu = container_of(viommu, struct arm_vsmmu, core);
	struct arm_smmu_device *smmu =
		container_of(viommu->iommu_dev, struct arm_smmu_device, iommu);
	struct arm_smmu_domain *s2_parent = to_smmu_domain(parent);

	if (user_data)
		return -EOPNOTSUPP;
	if (!arm_smmu_s2_compatible(s2_parent, smmu))
		return -EINVAL;

	vsmmu->smmu = smmu;
	vsmmu->s2_parent = s2_parent;
	arm_vsmmu_cmd_rules_init(&vsmmu->rules, smmu);
	viommu->ops = &arm_vsmmu_ops;
	return 0;
}
EXPORT_SYMBOL_IF_KUNIT(arm_vsmmu_init);

MODULE_IMPORT_NS(IOMMUFD);
