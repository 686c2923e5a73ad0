/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Queues of events that user space reads: their files, and the ring of a
 * vEVENTQ.
 */
#ifndef __IOMMUFD_EVENTQ_H
#define __IOMMUFD_EVENTQ_H

#include <linux/iommufd.h>
#include <linux/lockdep.h>
#include <linux/mutex.h>
#include <linux/spinlock.h>
#include <linux/wait.h>
#include <uapi/linux/iommufd.h>

struct file;
struct file_operations;
struct iommufd_ucmd;

int iommufd_eventq_open(struct iommufd_ctx *ictx, struct iommufd_object *obj,
			struct file **filep, const char *name,
			const struct file_operations *fops, int flags);
void iommufd_eventq_release(struct iommufd_ctx *ictx,
			    struct iommufd_object *obj);

/*
 * A queue of events of a vIOMMU, see veventq.c
 */
struct iommufd_veventq {
	struct iommufd_object obj;
	struct iommufd_viommu *viommu;
	struct file *filep;
	/* In iommufd_viommu::veventqs */
	struct list_head node;
	u32 type;
	u32 depth;
	/* Only the latest event counts, see veventq.c */
	bool coalesce;
	size_t data_size;

	/* Serializes readers; held while user memory is accessed */
	struct mutex read_mutex;
	/* Protects the fields below. Inner to iommufd_viommu::veventqs_lock */
	spinlock_t lock;
	/* Number of the next event */
	u32 sequence;
	/* The events that came after the last entry of the ring were lost */
	bool tail_lost;
	/* The entry has been replaced since a reader copied it */
	bool replaced;
	/* Number of entries in the ring, and index of the first entry */
	u32 num;
	u32 first;
	void *ring;
	/* Woken up when an empty queue gets an entry */
	wait_queue_head_t wait_queue;
};

/*
 * An entry of the ring, and of the file. A notice of lost events has no entry
 * in the ring, and is generated when it is read.
 */
struct iommufd_vevent {
	struct iommufd_vevent_header header;
	u8 data[];
};

static inline size_t iommufd_vevent_size(struct iommufd_veventq *veventq)
{
	/* At most IOMMUFD_VEVENT_SIZE_MAX more, so there is no overflow */
	return sizeof(struct iommufd_vevent) + veventq->data_size;
}

static inline struct iommufd_vevent *
iommufd_veventq_entry(struct iommufd_veventq *veventq, u32 index)
{
	return veventq->ring + iommufd_vevent_size(veventq) *
				       (index % veventq->depth);
}

static inline bool iommufd_veventq_readable(struct iommufd_veventq *veventq)
{
	lockdep_assert_held(&veventq->lock);

	return veventq->num || veventq->tail_lost;
}

int iommufd_veventq_alloc_ioctl(struct iommufd_ucmd *ucmd);
void iommufd_veventq_destroy(struct iommufd_object *obj);
#endif
