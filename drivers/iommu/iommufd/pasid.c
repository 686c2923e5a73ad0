// SPDX-License-Identifier: GPL-2.0-only
/*
 * PASIDs that user space attaches.
 *
 * A device with PASIDs has an address space for each of them, beside the address
 * space of its RID. A PASID is attached to a HWPT that was allocated with
 * IOMMU_HWPT_ALLOC_PASID. Some IOMMUs keep the tables of all PASIDs in a format
 * that depends on the domain of the RID, so the RID must be attached to such a
 * HWPT as well, or to nothing.
 *
 * As with the RID, the devices of a group share the translation. The group has
 * a struct iommufd_pasid for each PASID that any of them has attached. The
 * first device that attaches the PASID sets the domain, other devices join, and
 * the last device that detaches it removes the domain.
 *
 * Reserved IOVAs and the MSI window belong to the RID: interrupts and peer to
 * peer requests have no PASID.
 */
#include <linux/iommu.h>
#include <linux/iommufd.h>
#include <linux/slab.h>
#include <linux/xarray.h>
#include <uapi/linux/iommufd.h>

#include "../iommu-priv.h"
#include "iommufd_private.h"

/*
 * The number of PASIDs that a group can attach. An unmap sends an ATC invalidation
 * for each PASID of the domain, through a queue that all users of the IOMMU share,
 * and may have to wait for them with interrupts disabled. So there must not be
 * more than a few.
 *
 * This also bounds the memory of a group that nobody is charged for: the core and
 * the IOMMU driver allocate their entries for a PASID under locks that other VMs
 * wait for, and reclaim in a cgroup at its limit would take long.
 */
#define IOMMUFD_GROUP_PASIDS_MAX	64

/* In iommufd_group::pasids: the device that is being unbound has left the PASID */
#define IOMMUFD_PASID_LEFT		XA_MARK_1

/*
 * A PASID of a group. All fields are protected by iommufd_group::lock, and
 * devices is changed with its xa_lock held in addition.
 */
struct iommufd_pasid {
	struct iommufd_hw_pagetable *hwpt;
	/*
	 * The core removes the PASID and its handle if it cannot attach the
	 * PASID again after a reset, so keep the handle here until the detach.
	 */
	struct iommufd_attach_handle *handle;
	/* The devices that have attached the PASID, by the ID of their object */
	struct xarray devices;
};

static struct iommufd_attach_handle *
iommufd_pasid_alloc_handle(struct iommufd_device *idev,
			   struct iommufd_pasid *entry)
{
	struct iommufd_attach_handle *handle;

	handle = kzalloc(sizeof(*handle), GFP_KERNEL_ACCOUNT);
	if (!handle)
		return NULL;
	handle->igroup = idev->igroup;
	handle->pasid = entry;
	return handle;
}

/**
 * iommufd_pasid_fault_dev_id - Find the device of a page fault
 * @entry: The PASID that @dev has faulted on
 * @dev: The device
 *
 * Context: The caller holds iommufd_fault::mutex, and the fault is in the
 * queue. So @entry exists until the caller is done, because the faults are
 * freed first.
 * Return: the ID, or 0 if @dev has detached the PASID.
 */
u32 iommufd_pasid_fault_dev_id(struct iommufd_pasid *entry, struct device *dev)
{
	struct iommufd_device *idev;
	unsigned long index;
	u32 dev_id = 0;

	xa_lock(&entry->devices);
	xa_for_each(&entry->devices, index, idev) {
		if (idev->dev == dev) {
			dev_id = idev->obj.id;
			break;
		}
	}
	xa_unlock(&entry->devices);
	return dev_id;
}

/**
 * iommufd_pasid_check_rid - Can the RID of a group be attached to a HWPT?
 * @igroup: The group
 * @hwpt: The HWPT
 *
 * Return: 0, or -EINVAL if PASIDs are attached and @hwpt is not for a RID with
 * PASIDs.
 */
int iommufd_pasid_check_rid(struct iommufd_group *igroup,
			    struct iommufd_hw_pagetable *hwpt)
{
	lockdep_assert_held(&igroup->lock);

	return !igroup->num_pasids || hwpt->pasid_compat ? 0 : -EINVAL;
}

/**
 * iommufd_pasid_check_auto - Can the RID of a group be attached to an IOAS?
 * @igroup: The group
 *
 * The domains of an IOAS do not support PASIDs. iommufd_pasid_check_rid()
 * refuses them in any case, but in a replace only after the new domain has been
 * filled.
 *
 * Return: 0, or -EINVAL if PASIDs are attached.
 */
int iommufd_pasid_check_auto(struct iommufd_group *igroup)
{
	int rc;

	mutex_lock(&igroup->lock);
	rc = igroup->num_pasids ? -EINVAL : 0;
	mutex_unlock(&igroup->lock);
	return rc;
}

/* Can a PASID of the device be attached to @hwpt? */
static int iommufd_pasid_check(struct iommufd_device *idev, ioasid_t pasid,
			       struct iommufd_hw_pagetable *hwpt)
{
	struct iommufd_group *igroup = idev->igroup;

	lockdep_assert_held(&igroup->lock);

	/* The core does not see a device that joins others, so check it here */
	if (pasid == IOMMU_NO_PASID || pasid >= idev->dev->iommu->max_pasids)
		return -EINVAL;
	if (!hwpt->pasid_compat ||
	    (igroup->hwpt && !igroup->hwpt->pasid_compat))
		return -EINVAL;
	return 0;
}

/* Disable page faults of the devices of a PASID that come before @end, or of all */
static void iommufd_pasid_iopf_disable(struct iommufd_pasid *entry,
				       struct iommufd_device *end)
{
	struct iommufd_device *idev;
	unsigned long index;

	xa_for_each(&entry->devices, index, idev) {
		if (idev == end)
			break;
		iommufd_fault_iopf_disable(idev);
	}
}

static int iommufd_pasid_iopf_enable(struct iommufd_pasid *entry)
{
	struct iommufd_device *idev;
	unsigned long index;
	int rc;

	xa_for_each(&entry->devices, index, idev) {
		rc = iommufd_fault_iopf_enable(idev);
		if (rc) {
			iommufd_pasid_iopf_disable(entry, idev);
			return rc;
		}
	}
	return 0;
}

static struct iommufd_pasid *iommufd_pasid_alloc(struct iommufd_device *idev,
						 ioasid_t pasid,
						 struct iommufd_hw_pagetable *hwpt)
{
	struct iommufd_group *igroup = idev->igroup;
	struct iommufd_pasid *entry;
	int rc;

	if (igroup->num_pasids >= IOMMUFD_GROUP_PASIDS_MAX)
		return ERR_PTR(-ENOSPC);

	entry = kzalloc(sizeof(*entry), GFP_KERNEL_ACCOUNT);
	if (!entry)
		return ERR_PTR(-ENOMEM);
	xa_init_flags(&entry->devices, XA_FLAGS_ACCOUNT);
	entry->hwpt = hwpt;
	entry->handle = iommufd_pasid_alloc_handle(idev, entry);
	if (!entry->handle) {
		rc = -ENOMEM;
		goto err_free;
	}

	rc = xa_insert(&igroup->pasids, pasid, entry, GFP_KERNEL_ACCOUNT);
	if (rc)
		goto err_free_handle;
	igroup->num_pasids++;
	return entry;

err_free_handle:
	kfree(entry->handle);
err_free:
	kfree(entry);
	return ERR_PTR(rc);
}

static void iommufd_pasid_free(struct iommufd_group *igroup, ioasid_t pasid,
			       struct iommufd_pasid *entry)
{
	xa_erase(&igroup->pasids, pasid);
	igroup->num_pasids--;
	xa_destroy(&entry->devices);
	kfree(entry->handle);
	kfree(entry);
}

/* The core gives up a PASID that it cannot attach again after a reset */
static bool iommufd_pasid_is_set(struct iommufd_group *igroup, ioasid_t pasid)
{
	return !IS_ERR(iommu_attach_handle_get(igroup->group, pasid, 0));
}

static int iommufd_pasid_attach(struct iommufd_device *idev, ioasid_t pasid,
				struct iommufd_hw_pagetable *hwpt)
{
	struct iommufd_group *igroup = idev->igroup;
	struct iommufd_pasid *entry;
	bool first;
	int rc;

	lockdep_assert_held(&igroup->lock);

	entry = xa_load(&igroup->pasids, pasid);
	if (entry && xa_load(&entry->devices, idev->obj.id))
		return -EBUSY;
	/* The devices of a group can only move together, by a replace */
	if (entry && entry->hwpt != hwpt)
		return -EINVAL;
	rc = iommufd_pasid_check(idev, pasid, hwpt);
	if (rc)
		return rc;

	first = !entry;
	if (first) {
		entry = iommufd_pasid_alloc(idev, pasid, hwpt);
		if (IS_ERR(entry))
			return PTR_ERR(entry);
	}

	if (hwpt->fault) {
		rc = iommufd_fault_iopf_enable(idev);
		if (rc)
			goto err_free;
	}

	/* Insert the device before a page fault can look it up */
	rc = xa_insert(&entry->devices, idev->obj.id, idev, GFP_KERNEL_ACCOUNT);
	if (rc)
		goto err_iopf;

	/* A device that joins others attaches a PASID that the core has given up */
	if (first || !iommufd_pasid_is_set(igroup, pasid)) {
		rc = iommu_attach_device_pasid(hwpt->domain, idev->dev, pasid,
					       &entry->handle->handle);
		if (rc)
			goto err_erase;
	}
	refcount_inc(&hwpt->obj.users);
	return 0;

err_erase:
	xa_erase(&entry->devices, idev->obj.id);
err_iopf:
	if (hwpt->fault)
		iommufd_fault_iopf_disable(idev);
err_free:
	if (first)
		iommufd_pasid_free(igroup, pasid, entry);
	return rc;
}

/*
 * Detach a PASID of a device in two steps. In between, the caller waits for
 * reports of page faults: an earlier report may have found the handle, and may be
 * about to put its fault into the queue. One wait is enough for many PASIDs.
 */
static void iommufd_pasid_leave(struct iommufd_device *idev, ioasid_t pasid,
				struct iommufd_pasid *entry)
{
	struct iommufd_hw_pagetable *hwpt = entry->hwpt;

	lockdep_assert_held(&idev->igroup->lock);

	xa_erase(&entry->devices, idev->obj.id);
	if (!iommufd_xa_has_entry(&entry->devices))
		iommu_detach_device_pasid(hwpt->domain, idev->dev, pasid);
	else if (hwpt->fault)
		/* Other devices keep the PASID */
		iommufd_fault_iopf_disable(idev);
}

/* Frees @entry if @idev was the last device that had it attached */
static void iommufd_pasid_left(struct iommufd_device *idev, ioasid_t pasid,
			       struct iommufd_pasid *entry)
{
	struct iommufd_hw_pagetable *hwpt = entry->hwpt;
	bool last = !iommufd_xa_has_entry(&entry->devices);

	lockdep_assert_held(&idev->igroup->lock);

	if (hwpt->fault) {
		iommufd_drop_faults(hwpt->fault, entry->handle,
				    last ? NULL : idev->dev);
		if (last)
			iommufd_fault_iopf_disable(idev);
	}
	if (last)
		iommufd_pasid_free(idev->igroup, pasid, entry);
	/* The HWPT is no auto domain, so user space holds the last reference */
	refcount_dec(&hwpt->obj.users);
	refcount_dec(&idev->obj.users);
}

/* Replace the domain and the handle of a PASID */
static int iommufd_pasid_set_domain(struct iommufd_device *idev, ioasid_t pasid,
				    struct iommufd_hw_pagetable *hwpt,
				    struct iommufd_attach_handle *handle)
{
	if (!iommufd_pasid_is_set(idev->igroup, pasid))
		return iommu_attach_device_pasid(hwpt->domain, idev->dev, pasid,
						 &handle->handle);
	return iommu_replace_device_pasid(hwpt->domain, idev->dev, pasid,
					  &handle->handle);
}

static int iommufd_pasid_replace(struct iommufd_device *idev, ioasid_t pasid,
				 struct iommufd_hw_pagetable *hwpt)
{
	struct iommufd_attach_handle *handle, *old_handle;
	struct iommufd_group *igroup = idev->igroup;
	struct iommufd_hw_pagetable *old;
	struct iommufd_pasid *entry;
	unsigned int num_devices = 0;
	struct iommufd_device *cur;
	unsigned long index;
	int rc;

	lockdep_assert_held(&igroup->lock);

	entry = xa_load(&igroup->pasids, pasid);
	if (!entry || !xa_load(&entry->devices, idev->obj.id))
		return -EINVAL;
	old = entry->hwpt;
	/* Attach it again if the core has given it up */
	if (old == hwpt && iommufd_pasid_is_set(igroup, pasid))
		return 0;
	rc = iommufd_pasid_check(idev, pasid, hwpt);
	if (rc)
		return rc;

	handle = iommufd_pasid_alloc_handle(idev, entry);
	if (!handle)
		return -ENOMEM;

	if (hwpt->fault && !old->fault) {
		rc = iommufd_pasid_iopf_enable(entry);
		if (rc)
			goto err_free;
	}

	rc = iommufd_pasid_set_domain(idev, pasid, hwpt, handle);
	if (rc)
		goto err_iopf;

	old_handle = entry->handle;
	entry->handle = handle;
	entry->hwpt = hwpt;
	if (old->fault) {
		iommufd_auto_response_faults(old, old_handle, NULL);
		if (!hwpt->fault)
			iommufd_pasid_iopf_disable(entry, NULL);
	}
	kfree(old_handle);

	xa_for_each(&entry->devices, index, cur)
		num_devices++;
	refcount_add(num_devices, &hwpt->obj.users);
	WARN_ON(refcount_sub_and_test(num_devices, &old->obj.users));
	return 0;

err_iopf:
	if (hwpt->fault && !old->fault)
		iommufd_pasid_iopf_disable(entry, NULL);
err_free:
	kfree(handle);
	return rc;
}

/*
 * Get the HWPT with the ID @pt_id. An IOAS is refused, because its auto domains
 * do not support PASIDs.
 */
static struct iommufd_hw_pagetable *
iommufd_pasid_get_hwpt(struct iommufd_ctx *ictx, u32 pt_id)
{
	struct iommufd_object *obj;

	obj = iommufd_get_object(ictx, pt_id, IOMMUFD_OBJ_ANY);
	if (IS_ERR(obj))
		return ERR_CAST(obj);
	if (obj->type == IOMMUFD_OBJ_HWPT_PAGING ||
	    obj->type == IOMMUFD_OBJ_HWPT_NESTED)
		return container_of(obj, struct iommufd_hw_pagetable, obj);
	iommufd_put_object(ictx, obj);
	return ERR_PTR(-EINVAL);
}

/**
 * iommufd_device_attach_pasid - Connect a PASID of a device to a HWPT
 * @idev: The device
 * @pasid: The PASID, which must not be attached yet
 * @pt_id: ID of an IOMMUFD_OBJ_HWPT_PAGING or an IOMMUFD_OBJ_HWPT_NESTED
 *
 * Unlike iommufd_device_attach(), this does not accept an IOAS.
 *
 * This is undone by iommufd_device_detach_pasid(), or together with all other
 * PASIDs by iommufd_device_detach_pasids(), which the caller must call before
 * iommufd_device_unbind().
 *
 * Return: 0 on success; -EBUSY if the PASID is attached, or while the device is
 * reset; -EINVAL if the device does not have the PASID, the HWPT of the PASID or of
 * the RID is not for PASIDs, @pt_id is no HWPT, or the IOMMU cannot use it there;
 * -ENOENT if there is no @pt_id; -ENOSPC if the group has too many PASIDs attached.
 */
int iommufd_device_attach_pasid(struct iommufd_device *idev, u32 pasid,
				u32 pt_id)
{
	struct iommufd_hw_pagetable *hwpt;
	int rc;

	hwpt = iommufd_pasid_get_hwpt(idev->ictx, pt_id);
	if (IS_ERR(hwpt))
		return PTR_ERR(hwpt);

	mutex_lock(&idev->igroup->lock);
	rc = iommufd_pasid_attach(idev, pasid, hwpt);
	/* Catch an unbind without a detach, like iommufd_device_attach() */
	if (!rc)
		refcount_inc(&idev->obj.users);
	mutex_unlock(&idev->igroup->lock);
	iommufd_put_object(idev->ictx, &hwpt->obj);
	return rc;
}
EXPORT_SYMBOL_NS_GPL(iommufd_device_attach_pasid, IOMMUFD);

/**
 * iommufd_device_replace_pasid - Change the HWPT of a PASID
 * @idev: The device
 * @pasid: The PASID, which must be attached
 * @pt_id: As for iommufd_device_attach_pasid()
 *
 * The PASID moves for all devices of the group that have it attached. If this
 * fails it stays where it is.
 *
 * Return: 0 on success, also if the PASID is attached to @pt_id already; -EINVAL if
 * it is not attached; otherwise as iommufd_device_attach_pasid().
 */
int iommufd_device_replace_pasid(struct iommufd_device *idev, u32 pasid,
				 u32 pt_id)
{
	struct iommufd_hw_pagetable *hwpt;
	int rc;

	hwpt = iommufd_pasid_get_hwpt(idev->ictx, pt_id);
	if (IS_ERR(hwpt))
		return PTR_ERR(hwpt);

	mutex_lock(&idev->igroup->lock);
	rc = iommufd_pasid_replace(idev, pasid, hwpt);
	mutex_unlock(&idev->igroup->lock);
	iommufd_put_object(idev->ictx, &hwpt->obj);
	return rc;
}
EXPORT_SYMBOL_NS_GPL(iommufd_device_replace_pasid, IOMMUFD);

/**
 * iommufd_device_detach_pasid - Disconnect a PASID of a device from its HWPT
 * @idev: The device
 * @pasid: The PASID. If it is not attached, this does nothing
 *
 * DMA of the device with the PASID is blocked after this, unless other devices of
 * the group have the PASID attached.
 */
void iommufd_device_detach_pasid(struct iommufd_device *idev, u32 pasid)
{
	struct iommufd_pasid *entry;

	mutex_lock(&idev->igroup->lock);
	entry = xa_load(&idev->igroup->pasids, pasid);
	if (entry && xa_load(&entry->devices, idev->obj.id)) {
		iommufd_pasid_leave(idev, pasid, entry);
		if (entry->hwpt->fault)
			iopf_report_flush();
		iommufd_pasid_left(idev, pasid, entry);
	}
	mutex_unlock(&idev->igroup->lock);
}
EXPORT_SYMBOL_NS_GPL(iommufd_device_detach_pasid, IOMMUFD);

/**
 * iommufd_device_detach_pasids - Disconnect all PASIDs of a device
 * @idev: The device
 */
void iommufd_device_detach_pasids(struct iommufd_device *idev)
{
	struct xarray *pasids = &idev->igroup->pasids;
	struct iommufd_pasid *entry;
	bool faults = false;
	unsigned long pasid;

	mutex_lock(&idev->igroup->lock);
	xa_for_each(pasids, pasid, entry) {
		if (!xa_load(&entry->devices, idev->obj.id))
			continue;
		iommufd_pasid_leave(idev, pasid, entry);
		xa_set_mark(pasids, pasid, IOMMUFD_PASID_LEFT);
		faults |= !!entry->hwpt->fault;
	}
	if (faults)
		iopf_report_flush();
	xa_for_each_marked(pasids, pasid, entry, IOMMUFD_PASID_LEFT) {
		xa_clear_mark(pasids, pasid, IOMMUFD_PASID_LEFT);
		iommufd_pasid_left(idev, pasid, entry);
	}
	mutex_unlock(&idev->igroup->lock);
}
EXPORT_SYMBOL_NS_GPL(iommufd_device_detach_pasids, IOMMUFD);

/**
 * iommufd_device_has_pasid - Is a PASID of a device attached?
 * @idev: The device
 * @pasid: The PASID
 *
 * Return: true if it is attached. The caller serializes its calls for @idev if the
 * answer must last.
 */
bool iommufd_device_has_pasid(struct iommufd_device *idev, u32 pasid)
{
	struct iommufd_pasid *entry;
	bool ret;

	mutex_lock(&idev->igroup->lock);
	entry = xa_load(&idev->igroup->pasids, pasid);
	ret = entry && xa_load(&entry->devices, idev->obj.id);
	mutex_unlock(&idev->igroup->lock);
	return ret;
}
EXPORT_SYMBOL_NS_GPL(iommufd_device_has_pasid, IOMMUFD);
