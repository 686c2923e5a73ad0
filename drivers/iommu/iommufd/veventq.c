// SPDX-License-Identifier: GPL-2.0-only
/*
 * The vEVENTQ object: events of a vIOMMU for user space.
 *
 * Events come from the interrupt thread of the physical IOMMU, which serves
 * other VMs as well. So reporting an event must not wait or allocate memory. It
 * takes two spinlocks and copies the event into a ring of fixed size, which was
 * allocated and charged together with the queue. If the ring is full, the event
 * is lost, and the reader gets a notice of the loss. A queue is added to the
 * vIOMMU as the last step of its allocation. No spinlock is held while user
 * memory is accessed.
 *
 * A reader copies the first entry of the ring to a buffer, copies the buffer to
 * user space, and only then removes the entry. This is safe because readers are
 * serialised, and because reporting does not touch entries that are in use.
 *
 * Of some types of events only the latest counts, such as a map of all errors.
 * Their ring has one entry, which a new event replaces in place. The entry
 * keeps its sequence number, since user space has not seen this number. But if
 * a reader is copying the entry, user space sees the number. Then the entry
 * stays in the ring as the next event, with a new number.
 */
#include <linux/bits.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/iommufd.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <uapi/linux/iommufd.h>

#include "iommufd_private.h"

/* The largest event queue that an SMMUv3 can have */
#define IOMMUFD_VEVENTQ_DEPTH_MAX	BIT(19)

/* Copy the next entry, without removing it. Returns its size, or 0 */
static size_t iommufd_veventq_peek(struct iommufd_veventq *veventq, u8 *buf)
{
	struct iommufd_vevent_header *header = (void *)buf;
	size_t size = 0;

	spin_lock(&veventq->lock);
	veventq->replaced = false;
	if (veventq->num) {
		size = iommufd_vevent_size(veventq);
		memcpy(buf, iommufd_veventq_entry(veventq, veventq->first),
		       size);
	} else if (veventq->tail_lost) {
		size = sizeof(*header);
		header->flags = IOMMU_VEVENTQ_FLAG_LOST_EVENTS;
		/* ->sequence is the number of the next event */
		header->sequence = (veventq->sequence - 1) & INT_MAX;
	}
	spin_unlock(&veventq->lock);
	return size;
}

/*
 * Remove the entry that iommufd_veventq_peek() has copied, unless there is
 * another event in its place.
 */
static void iommufd_veventq_drop(struct iommufd_veventq *veventq,
				 const struct iommufd_vevent *vevent)
{
	bool lost = vevent->header.flags & IOMMU_VEVENTQ_FLAG_LOST_EVENTS;

	spin_lock(&veventq->lock);
	if (!lost && veventq->replaced) {
		iommufd_veventq_entry(veventq, 0)->header.sequence =
			veventq->sequence;
		veventq->sequence = (veventq->sequence + 1) & INT_MAX;
		veventq->tail_lost = false;
	} else if (!lost) {
		veventq->first = (veventq->first + 1) % veventq->depth;
		veventq->num--;
	} else if (vevent->header.sequence ==
		   ((veventq->sequence - 1) & INT_MAX)) {
		veventq->tail_lost = false;
	}
	/* Otherwise the number of a later event already shows the gap */
	spin_unlock(&veventq->lock);
}

static ssize_t iommufd_veventq_fops_read(struct file *filep, char __user *buf,
					 size_t count, loff_t *ppos)
{
	struct iommufd_veventq *veventq = filep->private_data;
	union {
		struct iommufd_vevent vevent;
		u8 buf[sizeof(struct iommufd_vevent) + IOMMUFD_VEVENT_SIZE_MAX];
	} entry;
	size_t done = 0, size;
	int rc = 0;

	/* An error even if the queue is empty, since no event can ever fit */
	if (count < sizeof(struct iommufd_vevent_header))
		return -EINVAL;
	if (mutex_lock_interruptible(&veventq->read_mutex))
		return -ERESTARTSYS;

	while ((size = iommufd_veventq_peek(veventq, entry.buf))) {
		if (size > count - done) {
			rc = -EINVAL;
			break;
		}
		if (copy_to_user(buf + done, entry.buf, size)) {
			rc = -EFAULT;
			break;
		}
		iommufd_veventq_drop(veventq, &entry.vevent);
		done += size;
		if (fatal_signal_pending(current))
			break;
		cond_resched();
	}
	mutex_unlock(&veventq->read_mutex);

	return done ?: rc;
}

static __poll_t iommufd_veventq_fops_poll(struct file *filep,
					  struct poll_table_struct *wait)
{
	struct iommufd_veventq *veventq = filep->private_data;
	__poll_t pollflags = 0;

	poll_wait(filep, &veventq->wait_queue, wait);
	spin_lock(&veventq->lock);
	if (iommufd_veventq_readable(veventq))
		pollflags = EPOLLIN | EPOLLRDNORM;
	spin_unlock(&veventq->lock);
	return pollflags;
}

static int iommufd_veventq_fops_release(struct inode *inode, struct file *filep)
{
	struct iommufd_veventq *veventq = filep->private_data;

	iommufd_eventq_release(veventq->viommu->ictx, &veventq->obj);
	return 0;
}

static const struct file_operations iommufd_veventq_fops = {
	.owner = THIS_MODULE,
	.read = iommufd_veventq_fops_read,
	.poll = iommufd_veventq_fops_poll,
	.release = iommufd_veventq_fops_release,
};

void iommufd_veventq_destroy(struct iommufd_object *obj)
{
	struct iommufd_veventq *veventq =
		container_of(obj, struct iommufd_veventq, obj);
	struct iommufd_viommu *viommu = veventq->viommu;

	/* It is not in the list if its allocation failed */
	spin_lock(&viommu->veventqs_lock);
	list_del_init(&veventq->node);
	spin_unlock(&viommu->veventqs_lock);

	kvfree(veventq->ring);
	mutex_destroy(&veventq->read_mutex);
	refcount_dec(&viommu->obj.users);
}

static int iommufd_veventq_publish(struct iommufd_veventq *veventq)
{
	struct iommufd_viommu *viommu = veventq->viommu;
	struct iommufd_veventq *cur;
	int rc = 0;

	spin_lock(&viommu->veventqs_lock);
	list_for_each_entry(cur, &viommu->veventqs, node)
		if (cur->type == veventq->type)
			rc = -EEXIST;
	if (!rc)
		list_add_tail(&veventq->node, &viommu->veventqs);
	spin_unlock(&viommu->veventqs_lock);
	return rc;
}

static struct iommufd_veventq *
iommufd_veventq_create(struct iommufd_viommu *viommu, u32 type, u32 depth,
		       size_t data_size)
{
	const struct iommufd_viommu_ops *ops = viommu->ops;
	struct iommufd_veventq *veventq;

	veventq = iommufd_object_alloc(viommu->ictx, veventq,
				       IOMMUFD_OBJ_VEVENTQ);
	if (IS_ERR(veventq))
		return veventq;

	refcount_inc(&viommu->obj.users);
	veventq->viommu = viommu;
	veventq->type = type;
	veventq->coalesce = ops->vevent_coalesce &&
			    ops->vevent_coalesce(viommu, type);
	veventq->depth = veventq->coalesce ? 1 : depth;
	veventq->data_size = data_size;
	mutex_init(&veventq->read_mutex);
	spin_lock_init(&veventq->lock);
	init_waitqueue_head(&veventq->wait_queue);
	INIT_LIST_HEAD(&veventq->node);

	veventq->ring = kvcalloc(veventq->depth, iommufd_vevent_size(veventq),
				 GFP_KERNEL_ACCOUNT);
	if (!veventq->ring) {
		iommufd_object_abort_and_destroy(viommu->ictx, &veventq->obj);
		return ERR_PTR(-ENOMEM);
	}
	return veventq;
}

int iommufd_veventq_alloc_ioctl(struct iommufd_ucmd *ucmd)
{
	struct iommu_veventq_alloc *cmd = ucmd->cmd;
	struct iommufd_veventq *veventq;
	struct iommufd_viommu *viommu;
	size_t data_size = 0;
	int fdno;
	int rc;

	if (cmd->flags || cmd->__reserved ||
	    cmd->type == IOMMU_VEVENTQ_TYPE_DEFAULT)
		return -EOPNOTSUPP;
	if (!cmd->veventq_depth ||
	    cmd->veventq_depth > IOMMUFD_VEVENTQ_DEPTH_MAX)
		return -EINVAL;

	viommu = iommufd_get_viommu(ucmd, cmd->viommu_id);
	if (IS_ERR(viommu))
		return PTR_ERR(viommu);

	if (viommu->ops->vevent_size)
		data_size = viommu->ops->vevent_size(viommu, cmd->type);
	if (!data_size ||
	    WARN_ON_ONCE(data_size > IOMMUFD_VEVENT_SIZE_MAX)) {
		rc = -EOPNOTSUPP;
		goto out_put_viommu;
	}

	veventq = iommufd_veventq_create(viommu, cmd->type, cmd->veventq_depth,
					 data_size);
	if (IS_ERR(veventq)) {
		rc = PTR_ERR(veventq);
		goto out_put_viommu;
	}

	fdno = iommufd_eventq_open(ucmd->ictx, &veventq->obj, &veventq->filep,
				   "[iommufd-vevent]", &iommufd_veventq_fops,
				   O_RDONLY);
	if (fdno < 0) {
		rc = fdno;
		goto out_abort;
	}

	cmd->out_veventq_id = veventq->obj.id;
	cmd->out_veventq_fd = fdno;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (rc)
		goto out_put_fdno;

	/* After this nothing may fail or access user memory */
	rc = iommufd_veventq_publish(veventq);
	if (rc)
		goto out_put_fdno;
	iommufd_object_finalize(ucmd->ictx, &veventq->obj);
	fd_install(fdno, veventq->filep);
	goto out_put_viommu;

out_put_fdno:
	put_unused_fd(fdno);
out_abort:
	iommufd_object_abort_and_destroy(ucmd->ictx, &veventq->obj);
out_put_viommu:
	iommufd_put_object(ucmd->ictx, &viommu->obj);
	return rc;
}
