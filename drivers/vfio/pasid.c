// SPDX-License-Identifier: GPL-2.0-only
/*
 * PASIDs of devices that are bound to an iommufd.
 *
 * IOMMUFD knows which PASIDs are attached. The lock of the device set
 * serializes this check with the attach or detach that follows.
 */
#include <linux/vfio.h>
#include <linux/iommufd.h>

#include "vfio.h"

/**
 * vfio_df_attach_pasid - VFIO_DEVICE_ATTACH_IOMMUFD_PT with a PASID
 * @df: The open device
 * @arg: The argument of the ioctl, to read the fields behind pt_id
 * @attach: Copy of @arg up to pt_id
 *
 * The ID of the HWPT does not change, so it is not written back to @arg, and
 * nothing can fail after the attach.
 *
 * Return: 0 or an error.
 */
int vfio_df_attach_pasid(struct vfio_device_file *df,
			 struct vfio_device_attach_iommufd_pt __user *arg,
			 struct vfio_device_attach_iommufd_pt *attach)
{
	struct vfio_device *device = df->device;
	int ret;

	if (!device->ops->pasid_attach_ioas)
		return -EOPNOTSUPP;
	if (attach->argsz <
	    offsetofend(struct vfio_device_attach_iommufd_pt, pasid))
		return -EINVAL;
	if (get_user(attach->pasid, &arg->pasid))
		return -EFAULT;

	mutex_lock(&device->dev_set->lock);
	ret = device->ops->pasid_attach_ioas(device, attach->pasid,
					     &attach->pt_id);
	mutex_unlock(&device->dev_set->lock);
	return ret;
}

/**
 * vfio_df_detach_pasid - VFIO_DEVICE_DETACH_IOMMUFD_PT with a PASID
 * @df: The open device
 * @arg: The argument of the ioctl, to read the fields behind the flags
 * @detach: Copy of @arg up to the flags
 *
 * Return: 0, also if the PASID is not attached, or an error.
 */
int vfio_df_detach_pasid(struct vfio_device_file *df,
			 struct vfio_device_detach_iommufd_pt __user *arg,
			 struct vfio_device_detach_iommufd_pt *detach)
{
	struct vfio_device *device = df->device;

	if (!device->ops->pasid_detach_ioas)
		return -EOPNOTSUPP;
	if (detach->argsz <
	    offsetofend(struct vfio_device_detach_iommufd_pt, pasid))
		return -EINVAL;
	if (get_user(detach->pasid, &arg->pasid))
		return -EFAULT;

	mutex_lock(&device->dev_set->lock);
	device->ops->pasid_detach_ioas(device, detach->pasid);
	mutex_unlock(&device->dev_set->lock);
	return 0;
}

/**
 * vfio_iommufd_physical_pasid_attach_ioas - Attach a PASID, or replace its HWPT
 * @vdev: The device, bound by vfio_iommufd_physical_bind()
 * @pasid: The PASID
 * @pt_id: ID of the HWPT
 *
 * Return: 0 or an error. On error the attachment of the PASID is unchanged.
 */
int vfio_iommufd_physical_pasid_attach_ioas(struct vfio_device *vdev, u32 pasid,
					    u32 *pt_id)
{
	struct iommufd_device *idev = vdev->iommufd_device;

	lockdep_assert_held(&vdev->dev_set->lock);

	if (WARN_ON(!idev))
		return -EINVAL;

	if (iommufd_device_has_pasid(idev, pasid))
		return iommufd_device_replace_pasid(idev, pasid, *pt_id);
	return iommufd_device_attach_pasid(idev, pasid, *pt_id);
}
EXPORT_SYMBOL_GPL(vfio_iommufd_physical_pasid_attach_ioas);

/**
 * vfio_iommufd_physical_pasid_detach_ioas - Detach a PASID
 * @vdev: The device, bound by vfio_iommufd_physical_bind()
 * @pasid: The PASID, which need not be attached
 *
 * vfio_iommufd_physical_unbind() does this for all PASIDs that are left.
 */
void vfio_iommufd_physical_pasid_detach_ioas(struct vfio_device *vdev,
					     u32 pasid)
{
	lockdep_assert_held(&vdev->dev_set->lock);

	if (WARN_ON(!vdev->iommufd_device))
		return;

	iommufd_device_detach_pasid(vdev->iommufd_device, pasid);
}
EXPORT_SYMBOL_GPL(vfio_iommufd_physical_pasid_detach_ioas);
