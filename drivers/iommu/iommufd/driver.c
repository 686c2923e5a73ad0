// SPDX-License-Identifier: GPL-2.0-only
/*
 * The part of iommufd that IOMMU drivers call.
 *
 * It is always built in, so that a built-in driver links while iommufd itself
 * is a module. Nothing here may call into iommufd.ko.
 */
#include <linux/export.h>
#include <linux/iommufd.h>
#include <linux/rcupdate.h>
#include <linux/string.h>
#include <linux/wait.h>
#include <linux/xarray.h>

#include "iommufd_private.h"

/**
 * iommufd_vdevice_to_device - The physical device of a vDEVICE
 * @vdev: The vDEVICE
 *
 * Context: Any, as long as @vdev is valid.
 * Return: the device, which stays bound to iommufd as long as @vdev exists.
 */
struct device *iommufd_vdevice_to_device(struct iommufd_vdevice *vdev)
{
	return vdev->idev->dev;
}
EXPORT_SYMBOL_NS_GPL(iommufd_vdevice_to_device, IOMMUFD);

/**
 * iommufd_viommu_find_dev - Find the device that a VM calls @virt_id
 * @viommu: The vIOMMU that the ID is meant for
 * @virt_id: An ID from the VM, any value
 *
 * The device can neither be taken out of @viommu nor be given to another one
 * before the caller's RCU read-side section ends: a command for the hardware
 * that is issued inside of it reaches only a device of this VM.
 *
 * Context: The caller holds rcu_read_lock(). Does not sleep.
 * Return: the device, NULL if there is no vDEVICE of that ID.
 */
struct device *iommufd_viommu_find_dev(struct iommufd_viommu *viommu,
				       u64 virt_id)
{
	struct iommufd_vdevice *vdev;

	RCU_LOCKDEP_WARN(!rcu_read_lock_held(),
			 "a device found by a virt_id needs rcu_read_lock()");

	if (virt_id > ULONG_MAX)
		return NULL;
	vdev = xa_load(&viommu->vdevs, virt_id);
	return vdev ? iommufd_vdevice_to_device(vdev) : NULL;
}
EXPORT_SYMBOL_NS_GPL(iommufd_viommu_find_dev, IOMMUFD);

static struct iommufd_veventq *
iommufd_viommu_find_veventq(struct iommufd_viommu *viommu, unsigned int type)
{
	struct iommufd_veventq *veventq;

	lockdep_assert_held(&viommu->veventqs_lock);

	list_for_each_entry(veventq, &viommu->veventqs, node)
		if (veventq->type == type)
			return veventq;
	return NULL;
}

/* @data is NULL for an event that is known only to have been */
static int iommufd_viommu_queue_event(struct iommufd_viommu *viommu,
				      unsigned int type, const void *data,
				      size_t size)
{
	struct iommufd_veventq *veventq;
	struct iommufd_vevent_header *header;
	size_t entry_size;
	int rc = 0;

	spin_lock(&viommu->veventqs_lock);
	veventq = iommufd_viommu_find_veventq(viommu, type);
	if (!veventq) {
		rc = -EOPNOTSUPP;
		goto out_unlock;
	}
	if (WARN_ON_ONCE(data && size != veventq->data_size)) {
		rc = -EINVAL;
		goto out_unlock;
	}

	spin_lock(&veventq->lock);
	if (data && veventq->num < veventq->depth) {
		entry_size = sizeof(*header) + veventq->data_size;
		header = veventq->ring +
			 entry_size * ((veventq->first + veventq->num) %
				       veventq->depth);
		header->flags = 0;
		header->sequence = veventq->sequence;
		memcpy(header + 1, data, size);
		veventq->num++;
		veventq->tail_lost = false;
	} else {
		veventq->tail_lost = true;
	}
	veventq->sequence = (veventq->sequence + 1) & INT_MAX;
	spin_unlock(&veventq->lock);

	wake_up_interruptible(&veventq->wait_queue);
out_unlock:
	spin_unlock(&viommu->veventqs_lock);
	return rc;
}

/**
 * iommufd_viommu_report_event - Tell a VM of an event
 * @viommu: The vIOMMU of the VM
 * @type: One of enum iommu_veventq_type
 * @data: The struct of that type, see include/uapi/linux/iommufd.h
 * @size: Its size
 *
 * An event for which the queue has no room is lost. User space is told of that
 * with the next one it reads.
 *
 * Context: Not in interrupts other than threaded ones. Neither sleeps nor
 * allocates.
 * Return: 0, also if the event is lost; -EOPNOTSUPP if there is no such queue.
 */
int iommufd_viommu_report_event(struct iommufd_viommu *viommu,
				unsigned int type, const void *data,
				size_t size)
{
	return iommufd_viommu_queue_event(viommu, type, data, size);
}
EXPORT_SYMBOL_NS_GPL(iommufd_viommu_report_event, IOMMUFD);

/**
 * iommufd_viommu_report_lost - Tell a VM that there were events
 * @viommu: The vIOMMU of the VM
 * @type: One of enum iommu_veventq_type
 *
 * For events that the physical IOMMU itself has lost. How many, and whether any
 * was of this VM, is not known: each call counts as one.
 *
 * Context: Not in interrupts other than threaded ones. Neither sleeps nor
 * allocates.
 */
void iommufd_viommu_report_lost(struct iommufd_viommu *viommu,
				unsigned int type)
{
	iommufd_viommu_queue_event(viommu, type, NULL, 0);
}
EXPORT_SYMBOL_NS_GPL(iommufd_viommu_report_lost, IOMMUFD);
