// SPDX-License-Identifier: GPL-2.0-only
/*
 * The part of iommufd that IOMMU drivers call.
 *
 * It is always built in, so that a built-in driver can be linked if iommufd is
 * a module. Nothing here may call into iommufd.ko.
 */
#include <linux/export.h>
#include <linux/iommufd.h>
#include <linux/rcupdate.h>
#include <linux/refcount.h>
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
 * iommufd_viommu_find_dev - Find the device that a VM knows as @virt_id
 * @viommu: The vIOMMU in which the ID is looked up
 * @virt_id: An ID from the VM, any value
 *
 * The device cannot be removed from @viommu, or given to another vIOMMU, before
 * the caller's RCU read-side section ends. So a command for the hardware that
 * is issued inside of this section can only reach a device of this VM.
 *
 * Context: The caller holds rcu_read_lock(). Does not sleep.
 * Return: the device, NULL if no vDEVICE has this ID.
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

/* With @data == NULL, count a lost event */
static int iommufd_viommu_queue_event(struct iommufd_viommu *viommu,
				      unsigned int type, const void *data,
				      size_t size)
{
	struct iommufd_veventq *veventq;
	struct iommufd_vevent *vevent;
	bool readable;
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
	readable = iommufd_veventq_readable(veventq);
	if (data && veventq->coalesce && veventq->num) {
		/* Replace the unread event, and keep its sequence number */
		vevent = iommufd_veventq_entry(veventq, veventq->first);
		memcpy(vevent->data, data, size);
		veventq->replaced = true;
		goto out_unlock_veventq;
	}
	if (data && veventq->num < veventq->depth) {
		vevent = iommufd_veventq_entry(veventq,
					       veventq->first + veventq->num);
		vevent->header.flags = 0;
		vevent->header.sequence = veventq->sequence;
		memcpy(vevent->data, data, size);
		veventq->num++;
		veventq->tail_lost = false;
	} else {
		veventq->tail_lost = true;
	}
	veventq->sequence = (veventq->sequence + 1) & INT_MAX;
out_unlock_veventq:
	spin_unlock(&veventq->lock);

	/*
	 * A VMM can have any number of waiters here, and waking them up delays
	 * this thread, which other VMs wait for. So do it only if the queue was
	 * not readable before.
	 */
	if (!readable)
		wake_up_interruptible(&veventq->wait_queue);
out_unlock:
	spin_unlock(&viommu->veventqs_lock);
	return rc;
}

/**
 * iommufd_viommu_report_event - Report an event to a VM
 * @viommu: The vIOMMU of the VM
 * @type: A value of enum iommu_veventq_type
 * @data: The struct of this type, see include/uapi/linux/iommufd.h
 * @size: Size of @data
 *
 * The event is lost if the queue has no room for it. User space sees the loss
 * in the next header that it reads. An event of a type for which
 * iommufd_viommu_ops::vevent_coalesce returns true always has room.
 *
 * Context: Process context or a threaded interrupt. Does not sleep or allocate
 * memory.
 * Return: 0, even if the event is lost; -EOPNOTSUPP if there is no such queue.
 */
int iommufd_viommu_report_event(struct iommufd_viommu *viommu,
				unsigned int type, const void *data,
				size_t size)
{
	return iommufd_viommu_queue_event(viommu, type, data, size);
}
EXPORT_SYMBOL_NS_GPL(iommufd_viommu_report_event, IOMMUFD);

/**
 * iommufd_viommu_report_lost - Report lost events to a VM
 * @viommu: The vIOMMU of the VM
 * @type: A value of enum iommu_veventq_type
 *
 * For events that the physical IOMMU itself has lost. Neither their number is
 * known, nor whether this VM caused any of them, so each call counts as a
 * single event.
 *
 * Context: Process context or a threaded interrupt. Does not sleep or allocate
 * memory.
 */
void iommufd_viommu_report_lost(struct iommufd_viommu *viommu,
				unsigned int type)
{
	iommufd_viommu_queue_event(viommu, type, NULL, 0);
}
EXPORT_SYMBOL_NS_GPL(iommufd_viommu_report_lost, IOMMUFD);

/**
 * iommufd_hw_queue_depend - Keep a HW_QUEUE as long as another HW_QUEUE exists
 * @on: The queue that must stay
 *
 * Queues of some hardware must be started in order, and stopped in reverse
 * order. With this, IOMMU_DESTROY of @on gives EBUSY until
 * iommufd_hw_queue_undepend(), which the driver calls in the destroy op of the
 * queue that depends on @on.
 *
 * Context: The caller holds the lock under which the destroy op of @on removes
 * @on from the driver's structures. Does not sleep.
 * Return: 0, or -EIO if @on is being destroyed already.
 */
int iommufd_hw_queue_depend(struct iommufd_hw_queue *on)
{
	return refcount_inc_not_zero(&on->obj.users) ? 0 : -EIO;
}
EXPORT_SYMBOL_NS_GPL(iommufd_hw_queue_depend, IOMMUFD);

/**
 * iommufd_hw_queue_undepend - Undo iommufd_hw_queue_depend()
 * @on: The queue, which may be freed when this returns
 *
 * Context: Any.
 */
void iommufd_hw_queue_undepend(struct iommufd_hw_queue *on)
{
	refcount_dec(&on->obj.users);
}
EXPORT_SYMBOL_NS_GPL(iommufd_hw_queue_undepend, IOMMUFD);
