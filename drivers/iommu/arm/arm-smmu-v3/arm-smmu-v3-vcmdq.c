// SPDX-License-Identifier: GPL-2.0
/*
 * Command queues of a VM, with the interface of NVIDIA's Tegra241 CMDQV.
 *
 * An invalidation by a guest costs exits to its VMM and an ioctl. A Tegra241
 * has separate command queues for VMs. The VMM maps their registers into the
 * guest, and Linux guests and QEMU have drivers for them.
 *
 * The objects of iommufd, their checks, page 0 and the events are the same for
 * all implementations of this interface, which struct arm_vcmdqv_impl
 * describes. arm-smmu-v3-vcmdq-soft.c is the implementation in software.
 */
#include <kunit/visibility.h>
#include <linux/bitfield.h>
#include <linux/cpufeature.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/nospec.h>
#include <linux/uaccess.h>

#include "arm-smmu-v3-vcmdq.h"

static bool soft_cmdqv;
module_param(soft_cmdqv, bool, 0644);
MODULE_PARM_DESC(soft_cmdqv,
		 "Offer VMs a CMDQV in software, which saves exits and costs CPU time. (Default: N)");

/**
 * arm_vcmdqv_report_errors - Report the queues that have an error to the VM
 * @vcmdqv: The vSMMU
 * @map: A bit for each queue that has an error
 *
 * Context: Process context or a threaded interrupt. Does not sleep.
 * Return: 0, or -EOPNOTSUPP if the VM has no vEVENTQ for this.
 */
int arm_vcmdqv_report_errors(struct arm_vcmdqv *vcmdqv, u64 map)
{
	struct iommu_vevent_tegra241_cmdqv vevt = {
		.lvcmdq_err_map = { cpu_to_le64(map) },
	};

	return iommufd_viommu_report_event(&vcmdqv->vsmmu.core,
					   IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV,
					   &vevt, sizeof(vevt));
}

static size_t arm_vcmdqv_hw_queue_max_length(struct iommufd_viommu *viommu,
					     unsigned int type)
{
	struct arm_smmu_device *smmu = to_vcmdqv(viommu)->vsmmu.smmu;
	u32 idr1 = readl_relaxed(smmu->base + ARM_SMMU_IDR1);

	return ARM_VCMDQ_SIZE(FIELD_GET(IDR1_CMDQS, idr1));
}

/* The core has checked the maximum length */
static int arm_vcmdqv_check_queue(struct iommufd_hw_queue *hw_queue, u32 index,
				  phys_addr_t base_pa)
{
	struct arm_vcmdqv *vcmdqv = to_vcmdqv(hw_queue->viommu);
	size_t length = hw_queue->length;

	lockdep_assert_held(&vcmdqv->lock);

	if (index >= vcmdqv->num_queues)
		return -EINVAL;
	index = array_index_nospec(index, vcmdqv->num_queues);
	if (vcmdqv->queues[index].hw_queue)
		return -EEXIST;
	if (index && !vcmdqv->queues[index - 1].hw_queue)
		return -EIO;
	if (!is_power_of_2(length) || length < ARM_VCMDQ_SIZE_MIN ||
	    !IS_ALIGNED(base_pa, length))
		return -EINVAL;
	return 0;
}

VISIBLE_IF_KUNIT int arm_vcmdqv_add_queue(struct iommufd_hw_queue *hw_queue,
					  u32 index, phys_addr_t base_pa)
{
	struct arm_vcmdqv *vcmdqv = to_vcmdqv(hw_queue->viommu);
	struct arm_vcmdq *q;
	int ret;

	mutex_lock(&vcmdqv->lock);
	ret = arm_vcmdqv_check_queue(hw_queue, index, base_pa);
	if (ret)
		goto out_unlock;
	index = array_index_nospec(index, vcmdqv->num_queues);
	q = &vcmdqv->queues[index];
	if (index) {
		ret = iommufd_hw_queue_depend(q[-1].hw_queue);
		if (ret)
			goto out_unlock;
	}
	ret = vcmdqv->impl->add_queue(vcmdqv, index, hw_queue, base_pa);
	if (!ret)
		q->hw_queue = hw_queue;
	else if (index)
		iommufd_hw_queue_undepend(q[-1].hw_queue);
out_unlock:
	mutex_unlock(&vcmdqv->lock);
	return ret;
}
EXPORT_SYMBOL_IF_KUNIT(arm_vcmdqv_add_queue);

/* The memory of the queue is not used after this */
VISIBLE_IF_KUNIT void arm_vcmdqv_del_queue(struct iommufd_hw_queue *hw_queue)
{
	struct arm_vcmdqv *vcmdqv = to_vcmdqv(hw_queue->viommu);
	unsigned int i;

	mutex_lock(&vcmdqv->lock);
	for (i = 0; vcmdqv->queues[i].hw_queue != hw_queue; i++)
		;
	vcmdqv->impl->del_queue(vcmdqv, i);
	vcmdqv->queues[i].hw_queue = NULL;
	if (i)
		iommufd_hw_queue_undepend(vcmdqv->queues[i - 1].hw_queue);
	mutex_unlock(&vcmdqv->lock);
}
EXPORT_SYMBOL_IF_KUNIT(arm_vcmdqv_del_queue);

static size_t arm_vcmdqv_hw_queue_size(struct iommufd_viommu *viommu,
				       unsigned int type)
{
	if (type != IOMMU_HW_QUEUE_TYPE_TEGRA241_CMDQV)
		return 0;
	return sizeof(struct iommufd_hw_queue);
}

static int arm_vcmdqv_hw_queue_init(struct iommufd_hw_queue *hw_queue,
				    u32 index, phys_addr_t base_pa)
{
	struct arm_vcmdqv *vcmdqv = to_vcmdqv(hw_queue->viommu);
	int ret;

	mutex_lock(&vcmdqv->start_lock);
	/* Do not prepare for a queue that will be refused */
	mutex_lock(&vcmdqv->lock);
	ret = arm_vcmdqv_check_queue(hw_queue, index, base_pa);
	mutex_unlock(&vcmdqv->lock);
	if (!ret && vcmdqv->impl->start)
		ret = vcmdqv->impl->start(vcmdqv);
	/* This must come last: another queue may depend on it immediately */
	if (!ret)
		ret = arm_vcmdqv_add_queue(hw_queue, index, base_pa);
	mutex_unlock(&vcmdqv->start_lock);
	if (ret)
		return ret;
	hw_queue->destroy = arm_vcmdqv_del_queue;
	if (vcmdqv->impl->kick)
		vcmdqv->impl->kick(vcmdqv);
	return 0;
}

static int arm_vcmdqv_vdevice_init(struct iommufd_vdevice *vdev)
{
	struct arm_smmu_master *master =
		dev_iommu_priv_get(iommufd_vdevice_to_device(vdev));
	struct arm_vcmdqv *vcmdqv = to_vcmdqv(vdev->viommu);
	int ret;

	/* The hardware maps a limited number of vSIDs, each to one StreamID */
	if (vdev->virt_id > ARM_VCMDQ_VSID_MAX)
		return -EINVAL;
	if (master->num_streams != 1)
		return -EOPNOTSUPP;
	if (vcmdqv->num_vsids == vcmdqv->max_vsids)
		return -ENOSPC;
	if (vcmdqv->impl->vdevice_init) {
		ret = vcmdqv->impl->vdevice_init(vcmdqv, vdev);
		if (ret)
			return ret;
	}
	/* This must come last: undoing it would have to wait for RCU readers */
	ret = arm_vsmmu_vdevice_init(vdev);
	if (ret && vcmdqv->impl->vdevice_init)
		vcmdqv->impl->vdevice_destroy(vcmdqv, vdev);
	if (!ret)
		vcmdqv->num_vsids++;
	return ret;
}

static void arm_vcmdqv_vdevice_destroy(struct iommufd_vdevice *vdev)
{
	struct arm_vcmdqv *vcmdqv = to_vcmdqv(vdev->viommu);

	arm_vsmmu_vdevice_destroy(vdev);
	if (vcmdqv->impl->vdevice_destroy)
		vcmdqv->impl->vdevice_destroy(vcmdqv, vdev);
	vcmdqv->num_vsids--;
}

static size_t arm_vcmdqv_vevent_size(struct iommufd_viommu *viommu,
				     unsigned int type)
{
	if (type == IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV)
		return sizeof(struct iommu_vevent_tegra241_cmdqv);
	return arm_vsmmu_vevent_size(viommu, type);
}

/*
 * The map in an event has all errors, so only the latest event is needed. VMMs
 * ask for a depth of the queue that would be costly.
 */
static bool arm_vcmdqv_vevent_coalesce(struct iommufd_viommu *viommu,
				       unsigned int type)
{
	return type == IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV;
}

static void arm_vcmdqv_destroy(struct iommufd_viommu *viommu)
{
	struct arm_vcmdqv *vcmdqv = to_vcmdqv(viommu);

	vcmdqv->impl->destroy(vcmdqv);
}

VISIBLE_IF_KUNIT const struct iommufd_viommu_ops arm_vcmdqv_ops = {
	.destroy = arm_vcmdqv_destroy,
	.alloc_domain_nested = arm_vsmmu_alloc_domain_nested,
	.cache_invalidate = arm_vsmmu_cache_invalidate,
	.vevent_size = arm_vcmdqv_vevent_size,
	.vevent_coalesce = arm_vcmdqv_vevent_coalesce,
	.vdevice_init = arm_vcmdqv_vdevice_init,
	.vdevice_destroy = arm_vcmdqv_vdevice_destroy,
	.get_hw_queue_size = arm_vcmdqv_hw_queue_size,
	.hw_queue_max_length = arm_vcmdqv_hw_queue_max_length,
	.hw_queue_init_phys = arm_vcmdqv_hw_queue_init,
	.mmap_fault = arm_vcmdqv_soft_fault,
};
EXPORT_SYMBOL_IF_KUNIT(arm_vcmdqv_ops);

static const struct arm_vcmdqv_impl *
arm_vcmdqv_find_impl(struct arm_smmu_device *smmu)
{
	if (IS_ENABLED(CONFIG_TEGRA241_CMDQV_VINTF) && smmu->vintf_pool)
		return &tegra241_vm_vintf_impl;
	return &arm_vcmdqv_soft;
}

/*
 * Is a CMDQV offered? An SMMU with the real CMDQV must not offer the CMDQV in
 * software, because a VMM could not distinguish the two.
 */
static bool arm_vcmdqv_offered(struct arm_smmu_device *smmu)
{
	if (arm_vcmdqv_find_impl(smmu) != &arm_vcmdqv_soft)
		return true;
	if (!READ_ONCE(soft_cmdqv) ||
	    smmu->options & ARM_SMMU_OPT_TEGRA241_CMDQV)
		return false;
	/*
	 * The guest maps the registers as Device memory. Only FEAT_S2FWB lets
	 * KVM override this; without it, guest and kernel would not see each
	 * other's writes.
	 */
	if (cpus_have_final_cap(ARM64_HAS_STAGE2_FWB))
		return true;
	if (!test_and_set_bit(ARM_VSMMU_NO_CPU_FWB, &smmu->vsmmu_refusals))
		dev_notice(smmu->dev,
			   "no CMDQV for VMs: the CPUs do not have FEAT_S2FWB\n");
	return false;
}

/**
 * arm_vcmdqv_hw_info - Information about the CMDQV for a VMM
 * @smmu: The SMMU
 * @length: Output size of the struct
 *
 * Return: a struct iommu_hw_info_tegra241_cmdqv for the caller to kfree(), or
 * an ERR_PTR(): -EOPNOTSUPP if there is no CMDQV, -ENOMEM.
 */
void *arm_vcmdqv_hw_info(struct arm_smmu_device *smmu, u32 *length)
{
	struct iommu_hw_info_tegra241_cmdqv *info;

	if (!arm_vcmdqv_offered(smmu) || !arm_smmu_can_nest(smmu))
		return ERR_PTR(-EOPNOTSUPP);
	info = kzalloc(sizeof(*info), GFP_KERNEL_ACCOUNT);
	if (!info)
		return ERR_PTR(-ENOMEM);
	arm_vcmdqv_find_impl(smmu)->hw_info(smmu, info);
	*length = sizeof(*info);
	return info;
}

/**
 * arm_vcmdqv_size - Size of a vSMMU that has a CMDQV
 * @smmu: The SMMU, which can nest
 *
 * Return: sizeof(struct arm_vcmdqv), 0 if there is no CMDQV.
 */
size_t arm_vcmdqv_size(struct arm_smmu_device *smmu)
{
	if (!arm_vcmdqv_offered(smmu))
		return 0;
	return arm_vcmdqv_find_impl(smmu)->size;
}

/* The limits are those that GET_HW_INFO reports */
VISIBLE_IF_KUNIT void arm_vcmdqv_set_impl(struct arm_vcmdqv *vcmdqv,
					  const struct arm_vcmdqv_impl *impl)
{
	struct iommu_hw_info_tegra241_cmdqv info = {};

	impl->hw_info(vcmdqv->vsmmu.smmu, &info);
	vcmdqv->impl = impl;
	vcmdqv->num_queues = 1U << info.log2vcmdqs;
	vcmdqv->max_vsids = 1U << info.log2vsids;
}
EXPORT_SYMBOL_IF_KUNIT(arm_vcmdqv_set_impl);

/**
 * arm_vcmdqv_init - Give a vSMMU a CMDQV
 * @vsmmu: In a struct arm_vcmdqv, initialised but for the CMDQV
 * @user_data: A struct iommu_viommu_tegra241_cmdqv, to be written
 *
 * Return: 0; -EINVAL, -E2BIG or -EFAULT for bad @user_data, or an error of
 * arm_vcmdqv_impl::init.
 */
int arm_vcmdqv_init(struct arm_vsmmu *vsmmu,
		    const struct iommu_user_data *user_data)
{
	struct arm_vcmdqv *vcmdqv = container_of(vsmmu, struct arm_vcmdqv,
						 vsmmu);
	struct iommu_viommu_tegra241_cmdqv data;
	int ret;

	/* The struct has no input, but a later version may be longer */
	if (!user_data || user_data->len < sizeof(data))
		return -EINVAL;
	ret = copy_struct_from_user(&data, sizeof(data), user_data->uptr,
				    user_data->len);
	if (ret)
		return ret;

	mutex_init(&vcmdqv->lock);
	mutex_init(&vcmdqv->start_lock);
	arm_vcmdqv_set_impl(vcmdqv, arm_vcmdqv_find_impl(vsmmu->smmu));
	ret = vcmdqv->impl->init(vcmdqv);
	if (ret)
		return ret;

	data.out_vintf_mmap_offset = vcmdqv->offset;
	data.out_vintf_mmap_length = ARM_VCMDQ_PAGE0_SIZE;
	if (copy_to_user(user_data->uptr, &data, sizeof(data))) {
		vcmdqv->impl->destroy(vcmdqv);
		return -EFAULT;
	}
	vsmmu->core.ops = &arm_vcmdqv_ops;
	return 0;
}
