// SPDX-License-Identifier: GPL-2.0-only
/*
 * The vIOMMU object.
 *
 * A vIOMMU is the part of a physical IOMMU that is given to a VM. It holds a
 * reference on its nesting parent, and its nested HWPTs, vDEVICEs and vEVENTQs
 * hold references on the vIOMMU. So the objects of a VM can only be destroyed
 * in a fixed order, and a driver's vIOMMU may use the domain of its parent at
 * any time.
 *
 * The driver embeds struct iommufd_viommu in a struct of its own. The core asks
 * for the size of this struct first. A driver returns 0 if it does not know the
 * type, or if the hardware cannot do it, before any object exists.
 */
#include <linux/iommu.h>
#include <linux/iommufd.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <uapi/linux/iommufd.h>

#include "../iommu-priv.h"
#include "iommufd_private.h"

void iommufd_viommu_destroy(struct iommufd_object *obj)
{
	struct iommufd_viommu *viommu =
		container_of(obj, struct iommufd_viommu, obj);

	if (viommu->ops && viommu->ops->destroy)
		viommu->ops->destroy(viommu);
	xa_destroy(&viommu->vdevs);
	refcount_dec(&viommu->hwpt->common.obj.users);
}

static struct iommufd_viommu *
iommufd_viommu_create(struct iommufd_ucmd *ucmd, struct iommu_device *iommu_dev,
		      struct iommufd_hwpt_paging *hwpt_paging, size_t size)
{
	struct iommu_viommu_alloc *cmd = ucmd->cmd;
	const struct iommu_user_data user_data = {
		.type = cmd->type,
		.uptr = u64_to_user_ptr(cmd->data_uptr),
		.len = cmd->data_len,
	};
	struct iommufd_viommu *viommu;
	struct iommufd_object *obj;
	int rc;

	obj = _iommufd_object_alloc(ucmd->ictx, size, IOMMUFD_OBJ_VIOMMU);
	if (IS_ERR(obj))
		return ERR_CAST(obj);

	viommu = container_of(obj, struct iommufd_viommu, obj);
	viommu->ictx = ucmd->ictx;
	viommu->type = cmd->type;
	viommu->hwpt = hwpt_paging;
	/*
	 * This needs no reference. A driver frees a physical IOMMU only with
	 * its module, and the domain of the parent holds a reference on the
	 * module.
	 */
	viommu->iommu_dev = iommu_dev;
	xa_init_flags(&viommu->vdevs, XA_FLAGS_ACCOUNT);
	INIT_LIST_HEAD(&viommu->veventqs);
	spin_lock_init(&viommu->veventqs_lock);
	refcount_inc(&hwpt_paging->common.obj.users);

	rc = iommu_dev->ops->viommu_init(viommu, hwpt_paging->common.domain,
					 user_data.len ? &user_data : NULL);
	if (!rc && WARN_ON_ONCE(!viommu->ops))
		rc = -EOPNOTSUPP;
	if (rc) {
		/* The driver has nothing to undo */
		viommu->ops = NULL;
		iommufd_object_abort_and_destroy(ucmd->ictx, &viommu->obj);
		return ERR_PTR(rc);
	}
	return viommu;
}

int iommufd_viommu_alloc_ioctl(struct iommufd_ucmd *ucmd)
{
	struct iommu_viommu_alloc *cmd = ucmd->cmd;
	struct iommufd_hwpt_paging *hwpt_paging;
	struct iommu_device *iommu_dev;
	struct iommufd_viommu *viommu;
	struct iommufd_device *idev;
	const struct iommu_ops *ops;
	size_t size;
	int rc;

	if (cmd->flags || cmd->__reserved ||
	    cmd->type == IOMMU_VIOMMU_TYPE_DEFAULT)
		return -EOPNOTSUPP;

	idev = iommufd_get_device(ucmd, cmd->dev_id);
	if (IS_ERR(idev))
		return PTR_ERR(idev);

	ops = dev_iommu_ops(idev->dev);
	iommu_dev = __iommu_get_iommu_dev(idev->dev);
	size = 0;
	if (ops->get_viommu_size && ops->viommu_init)
		size = ops->get_viommu_size(idev->dev, cmd->type);
	if (!size || WARN_ON_ONCE(size < sizeof(*viommu))) {
		rc = -EOPNOTSUPP;
		goto out_put_idev;
	}

	hwpt_paging = iommufd_get_hwpt_paging(ucmd, cmd->hwpt_id);
	rc = PTR_ERR_OR_ZERO(hwpt_paging);
	if (rc)
		goto out_put_idev;
	if (!hwpt_paging->nest_parent ||
	    hwpt_paging->common.domain->owner != ops) {
		rc = -EINVAL;
		iommufd_put_object(ucmd->ictx, &hwpt_paging->common.obj);
	}

out_put_idev:
	/*
	 * An unbind must not wait for user memory, neither of the driver's data
	 * nor of the answer.
	 */
	iommufd_put_object(ucmd->ictx, &idev->obj);
	if (rc)
		return rc;

	viommu = iommufd_viommu_create(ucmd, iommu_dev, hwpt_paging, size);
	iommufd_put_object(ucmd->ictx, &hwpt_paging->common.obj);
	if (IS_ERR(viommu))
		return PTR_ERR(viommu);

	cmd->out_viommu_id = viommu->obj.id;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (rc)
		iommufd_object_abort_and_destroy(ucmd->ictx, &viommu->obj);
	else
		iommufd_object_finalize(ucmd->ictx, &viommu->obj);
	return rc;
}

/**
 * iommufd_viommu_alloc_hwpt_nested() - Get a NESTED iommu_domain on a vIOMMU
 * @viommu: vIOMMU that the domain is for
 * @idev: A device behind the physical IOMMU of @viommu
 * @flags: Flags from userspace
 * @user_data: user_data pointer. Must be valid
 *
 * Like iommufd_hwpt_nested_alloc(), but the domain belongs to @viommu. Caches
 * are invalidated through @viommu, so the domain needs no op for this.
 *
 * Return: the HWPT, -EOPNOTSUPP for flags or without data, -EINVAL if @idev is
 * behind another physical IOMMU, or the driver's error for the data.
 */
struct iommufd_hwpt_nested *
iommufd_viommu_alloc_hwpt_nested(struct iommufd_viommu *viommu,
				 struct iommufd_device *idev, u32 flags,
				 const struct iommu_user_data *user_data)
{
	struct iommufd_hwpt_nested *hwpt_nested;
	struct iommufd_hw_pagetable *hwpt;
	int rc;

	if ((flags & ~(IOMMU_HWPT_FAULT_ID_VALID | IOMMU_HWPT_ALLOC_PASID)) ||
	    !user_data->len || !viommu->ops->alloc_domain_nested)
		return ERR_PTR(-EOPNOTSUPP);
	if (viommu->iommu_dev != __iommu_get_iommu_dev(idev->dev))
		return ERR_PTR(-EINVAL);

	hwpt_nested = __iommufd_object_alloc(viommu->ictx, hwpt_nested,
					     IOMMUFD_OBJ_HWPT_NESTED,
					     common.obj);
	if (IS_ERR(hwpt_nested))
		return hwpt_nested;
	hwpt = &hwpt_nested->common;

	refcount_inc(&viommu->obj.users);
	hwpt_nested->viommu = viommu;
	hwpt_nested->parent = viommu->hwpt;
	hwpt->pasid_compat = flags & IOMMU_HWPT_ALLOC_PASID;

	flags &= ~IOMMU_HWPT_FAULT_ID_VALID;
	hwpt->domain = viommu->ops->alloc_domain_nested(viommu, flags,
							user_data);
	if (IS_ERR(hwpt->domain)) {
		rc = PTR_ERR(hwpt->domain);
		hwpt->domain = NULL;
		goto out_abort;
	}
	iommufd_hwpt_own_domain(hwpt, viommu->iommu_dev->ops);

	if (WARN_ON_ONCE(hwpt->domain->type != IOMMU_DOMAIN_NESTED)) {
		rc = -EINVAL;
		goto out_abort;
	}
	return hwpt_nested;

out_abort:
	iommufd_object_abort_and_destroy(viommu->ictx, &hwpt->obj);
	return ERR_PTR(rc);
}
