// SPDX-License-Identifier: GPL-2.0-only
/*
 * The vDEVICE object: maps an ID of a VM to a physical device.
 *
 * A vDEVICE can be found from two sides. The VM's side finds it by its virt_id
 * in iommufd_viommu::vdevs, which invalidations read under RCU. The device's
 * side finds it by iommufd_device::vdev, so that the vDEVICE can be destroyed
 * when the device is unbound. Both are written under iommufd_ctx::vdev_lock.
 * User memory must not be touched under this lock.
 *
 * A vDEVICE can be destroyed in two ways, by exactly one thread: the thread
 * that removes the object from the xarray of the context.
 *
 *  - IOMMU_DESTROY or the release of the fd, as for any other object.
 *  - iommufd_device_unbind(). It leaves XA_ZERO_ENTRY in place of the object, a
 *    tombstone: the ID is not allocated again, so a VMM that has not noticed
 *    the unbind cannot destroy another object by this ID.
 *
 * A vDEVICE holds no reference on its device, since this would make the unbind
 * impossible. Instead, the unbind waits until iommufd_device::vdev is NULL.
 * This is set after an RCU grace period, when no invalidation can use the
 * device any more, and is the last use of the device by the vDEVICE.
 */
#include <linux/iommu.h>
#include <linux/iommufd.h>
#include <linux/mutex.h>
#include <linux/rcupdate.h>
#include <linux/slab.h>
#include <linux/wait.h>
#include <uapi/linux/iommufd.h>

#include "../iommu-priv.h"
#include "iommufd_private.h"

void iommufd_vdevice_destroy(struct iommufd_object *obj)
{
	struct iommufd_vdevice *vdev =
		container_of(obj, struct iommufd_vdevice, obj);
	struct iommufd_viommu *viommu = vdev->viommu;
	struct iommufd_ctx *ictx = viommu->ictx;
	bool unbind;

	mutex_lock(&ictx->vdev_lock);
	unbind = vdev->idev->vdev_blocked;
	xa_erase(&viommu->vdevs, vdev->virt_id);
	if (viommu->ops->vdevice_destroy)
		viommu->ops->vdevice_destroy(vdev);
	mutex_unlock(&ictx->vdev_lock);

	/*
	 * Wait for lookups by virt_id before the device can get another owner.
	 * An unbind holds locks that others wait for, so it should be quick.
	 * User space can repeat IOMMU_DESTROY at any rate, so this must not
	 * disturb all CPUs.
	 */
	if (unbind)
		synchronize_rcu_expedited();
	else
		synchronize_rcu();

	mutex_lock(&ictx->vdev_lock);
	vdev->idev->igroup->has_vdev = false;
	/* The last use of the device, which can be freed from here on */
	smp_store_release(&vdev->idev->vdev, NULL);
	mutex_unlock(&ictx->vdev_lock);
	wake_up_all(&ictx->destroy_wait);

	refcount_dec(&viommu->obj.users);
}

/**
 * iommufd_device_remove_vdevice() - Destroy the vDEVICE of a device for good
 * @idev: A device that is about to be unbound
 *
 * When this returns, the device has no vDEVICE and cannot get another.
 *
 * Context: Process context, may sleep for an RCU grace period. User space
 * cannot delay this.
 */
void iommufd_device_remove_vdevice(struct iommufd_device *idev)
{
	struct iommufd_ctx *ictx = idev->ictx;
	struct iommufd_vdevice *vdev;
	bool ours = false;

	mutex_lock(&ictx->vdev_lock);
	idev->vdev_blocked = true;
	/* The vDEVICE stays while the pointer is set and the lock is held */
	vdev = idev->vdev;
	if (vdev)
		ours = xa_cmpxchg(&ictx->objects, vdev->obj.id, &vdev->obj,
				  XA_ZERO_ENTRY, GFP_KERNEL) == &vdev->obj;
	mutex_unlock(&ictx->vdev_lock);

	if (!vdev)
		return;

	if (!ours) {
		/* Another thread destroys it, and may still use the device */
		wait_event(ictx->destroy_wait, !smp_load_acquire(&idev->vdev));
		return;
	}

	/*
	 * No lookup can find the object any more. An ioctl that found it before
	 * can only see that the type is wrong, and puts the object.
	 */
	if (!refcount_dec_and_test(&vdev->obj.shortterm_users))
		wait_event(ictx->destroy_wait,
			   !refcount_read(&vdev->obj.shortterm_users));
	iommufd_vdevice_destroy(&vdev->obj);
	kfree(vdev);
}

/* Make a vDEVICE visible from all sides, or leave nothing behind */
static int iommufd_vdevice_publish(struct iommufd_vdevice *vdev,
				   struct iommufd_device *idev)
{
	struct iommufd_viommu *viommu = vdev->viommu;
	struct iommufd_ctx *ictx = viommu->ictx;
	int rc;

	lockdep_assert_held(&ictx->vdev_lock);

	if (idev->vdev_blocked)
		return -ENOENT;
	if (idev->vdev)
		return -EEXIST;
	/*
	 * A group is attached to a single HWPT. The nested HWPT of a second
	 * device would silently replace that of the first device.
	 */
	if (idev->igroup->has_vdev)
		return -EBUSY;

	/* Only reserve the slot: a lookup does not find anything there yet */
	rc = xa_insert(&viommu->vdevs, vdev->virt_id, NULL, GFP_KERNEL_ACCOUNT);
	if (rc)
		return rc == -EBUSY ? -EEXIST : rc;

	vdev->idev = idev;
	if (viommu->ops->vdevice_init) {
		rc = viommu->ops->vdevice_init(vdev);
		if (rc) {
			xa_release(&viommu->vdevs, vdev->virt_id);
			return rc;
		}
	}

	refcount_inc(&viommu->obj.users);
	idev->igroup->has_vdev = true;
	idev->vdev = vdev;
	/* This cannot fail, since the slot is reserved */
	xa_store(&viommu->vdevs, vdev->virt_id, vdev, GFP_KERNEL);
	iommufd_object_finalize(ictx, &vdev->obj);
	return 0;
}

int iommufd_vdevice_alloc_ioctl(struct iommufd_ucmd *ucmd)
{
	struct iommu_vdevice_alloc *cmd = ucmd->cmd;
	const u32 out_vdevice_id = cmd->out_vdevice_id;
	struct iommufd_viommu *viommu;
	struct iommufd_vdevice *vdev;
	struct iommufd_device *idev;
	struct iommufd_object *obj;
	size_t size;
	int rc;

	/* The index of an xarray has 32 bits on 32-bit machines */
	if (cmd->virt_id > ULONG_MAX)
		return -EINVAL;

	viommu = iommufd_get_viommu(ucmd, cmd->viommu_id);
	if (IS_ERR(viommu))
		return PTR_ERR(viommu);

	size = viommu->ops->vdevice_size ?: sizeof(*vdev);
	if (WARN_ON_ONCE(size < sizeof(*vdev))) {
		rc = -EOPNOTSUPP;
		goto out_put_viommu;
	}
	obj = _iommufd_object_alloc(ucmd->ictx, size, IOMMUFD_OBJ_VDEVICE);
	if (IS_ERR(obj)) {
		rc = PTR_ERR(obj);
		goto out_put_viommu;
	}
	vdev = container_of(obj, struct iommufd_vdevice, obj);
	vdev->viommu = viommu;
	vdev->virt_id = cmd->virt_id;

	/*
	 * Answer before the vDEVICE is visible, since publishing it cannot be
	 * undone, and before the device is held, since its unbind must not wait
	 * for user memory.
	 */
	cmd->out_vdevice_id = vdev->obj.id;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (rc)
		goto out_abort;

	idev = iommufd_get_device(ucmd, cmd->dev_id);
	if (IS_ERR(idev)) {
		rc = PTR_ERR(idev);
		goto out_undo;
	}
	if (viommu->iommu_dev != __iommu_get_iommu_dev(idev->dev)) {
		rc = -EINVAL;
	} else {
		mutex_lock(&ucmd->ictx->vdev_lock);
		rc = iommufd_vdevice_publish(vdev, idev);
		mutex_unlock(&ucmd->ictx->vdev_lock);
	}
	iommufd_put_object(ucmd->ictx, &idev->obj);
	if (!rc)
		goto out_put_viommu;

out_undo:
	/* Another object may get the ID soon, so restore the user's value */
	cmd->out_vdevice_id = out_vdevice_id;
	if (iommufd_ucmd_respond(ucmd, sizeof(*cmd)))
		rc = -EFAULT;
out_abort:
	/* It was never visible, so iommufd_vdevice_destroy() must not see it */
	iommufd_object_abort(ucmd->ictx, &vdev->obj);
out_put_viommu:
	iommufd_put_object(ucmd->ictx, &viommu->obj);
	return rc;
}
