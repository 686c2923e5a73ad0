// SPDX-License-Identifier: GPL-2.0-only
/*
 * The vDEVICE object: which physical device a VM means by an ID.
 *
 * A vDEVICE is found from two sides. From the VM's side by its virt_id in
 * iommufd_viommu::vdevs, which is read under RCU in the invalidation path; and
 * from the device's side by iommufd_device::vdev, so that the device can take
 * its vDEVICE along when it goes away. Both are written under
 * iommufd_ctx::vdev_lock only, and never under that lock is user memory
 * touched.
 *
 * There are two ways to an end, and exactly one thread takes it, the one which
 * removes the object from the xarray of the context:
 *
 *  - IOMMU_DESTROY or the release of the fd, as for any other object.
 *  - iommufd_device_unbind(). It leaves XA_ZERO_ENTRY in place of the object, a
 *    tombstone: the ID is not allocated again, so a VMM that did not notice
 *    cannot destroy a stranger by it.
 *
 * A vDEVICE holds no reference on its device, which would make the unbind
 * impossible. Instead the device waits: iommufd_device::vdev becomes NULL only
 * after a grace period in which no invalidation can use the device any more,
 * and that is the last use of the device by a vDEVICE.
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

	mutex_lock(&ictx->vdev_lock);
	xa_erase(&viommu->vdevs, vdev->virt_id);
	if (viommu->ops->vdevice_destroy)
		viommu->ops->vdevice_destroy(vdev);
	mutex_unlock(&ictx->vdev_lock);

	/* Lookups by virt_id are over before the device may go elsewhere */
	synchronize_rcu();

	mutex_lock(&ictx->vdev_lock);
	/* The last use of the device: who waits for NULL may free it */
	smp_store_release(&vdev->idev->vdev, NULL);
	mutex_unlock(&ictx->vdev_lock);
	wake_up_all(&ictx->destroy_wait);

	refcount_dec(&viommu->obj.users);
}

/**
 * iommufd_device_remove_vdevice() - Destroy the vDEVICE of a device for good
 * @idev: A device that is about to be unbound
 *
 * When this returns the device has no vDEVICE and cannot get one any more.
 *
 * Context: Process context, may sleep for an RCU grace period. Does not wait
 * for anything that user space can hold up.
 */
void iommufd_device_remove_vdevice(struct iommufd_device *idev)
{
	struct iommufd_ctx *ictx = idev->ictx;
	struct iommufd_vdevice *vdev;
	bool ours = false;

	mutex_lock(&ictx->vdev_lock);
	idev->vdev_blocked = true;
	/* Not freed as long as the pointer is there and the lock is held */
	vdev = idev->vdev;
	if (vdev)
		ours = xa_cmpxchg(&ictx->objects, vdev->obj.id, &vdev->obj,
				  XA_ZERO_ENTRY, GFP_KERNEL) == &vdev->obj;
	mutex_unlock(&ictx->vdev_lock);

	if (!vdev)
		return;

	if (!ours) {
		/* Somebody else removed it, and may still use the device */
		wait_event(ictx->destroy_wait, !smp_load_acquire(&idev->vdev));
		return;
	}

	/*
	 * No lookup can find the object any more. An ioctl that found it before
	 * does nothing but to see that it is of the wrong type.
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

	/* Reserve the slot only: a lookup finds nothing there yet */
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
	idev->vdev = vdev;
	/* Into a reserved slot, it cannot fail */
	xa_store(&viommu->vdevs, vdev->virt_id, vdev, GFP_KERNEL);
	iommufd_object_finalize(ictx, &vdev->obj);
	return 0;
}

int iommufd_vdevice_alloc_ioctl(struct iommufd_ucmd *ucmd)
{
	struct iommu_vdevice_alloc *cmd = ucmd->cmd;
	struct iommufd_viommu *viommu;
	struct iommufd_vdevice *vdev;
	struct iommufd_device *idev;
	struct iommufd_object *obj;
	size_t size;
	int rc;

	/* Index of an xarray on 32-bit */
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
	 * Answer before anything is visible and before the device is held: what
	 * comes after cannot be undone, and a device that is unbound must not
	 * wait for user memory.
	 */
	cmd->out_vdevice_id = vdev->obj.id;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (rc)
		goto out_abort;

	idev = iommufd_get_device(ucmd, cmd->dev_id);
	if (IS_ERR(idev)) {
		rc = PTR_ERR(idev);
		goto out_abort;
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

out_abort:
	/* Never visible, so not the business of iommufd_vdevice_destroy() */
	iommufd_object_abort(ucmd->ictx, &vdev->obj);
out_put_viommu:
	iommufd_put_object(ucmd->ictx, &viommu->obj);
	return rc;
}
