// SPDX-License-Identifier: GPL-2.0-only
/*
 * The HW_QUEUE object: a queue of a vIOMMU in the memory of the VM.
 *
 * The hardware reads the queue by its physical address, bypassing the IOMMU. So
 * the memory must be physically contiguous, and must stay as long as the queue
 * exists.
 *
 * No page needs to be pinned for this. The memory is mapped in the nesting
 * parent, so its domain holds the pages, and the vIOMMU holds the parent. It is
 * enough to lock the areas of the IOAS by iopt_area::num_locks. A locked area
 * cannot be unmapped (EBUSY) or split. The physical address of each page comes
 * from the domain.
 *
 * The ID is copied to user space before the driver starts the queue. If the
 * copy failed afterwards, another queue might already depend on this queue,
 * which then could not be undone.
 */
#include <linux/iommu.h>
#include <linux/iommufd.h>
#include <linux/mm.h>
#include <linux/overflow.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <uapi/linux/iommufd.h>

#include "io_pagetable.h"
#include "iommufd_private.h"

/* In the IOAS, a queue occupies whole pages */
static unsigned long
iommufd_hw_queue_first_iova(struct iommufd_hw_queue *hw_queue)
{
	return ALIGN_DOWN(hw_queue->base_addr, PAGE_SIZE);
}

static unsigned long
iommufd_hw_queue_last_iova(struct iommufd_hw_queue *hw_queue)
{
	return (hw_queue->base_addr + hw_queue->length - 1) | ~PAGE_MASK;
}

static struct io_pagetable *
iommufd_hw_queue_iopt(struct iommufd_hw_queue *hw_queue)
{
	return &hw_queue->viommu->hwpt->ioas->iopt;
}

/**
 * iopt_has_locked_area() - Is there an area that must not be unmapped?
 * @iopt: The IO page table. The caller holds its iova_rwsem
 * @start: First IOVA of a range
 * @last: Last IOVA of the range
 *
 * Return: true if an area of the range holds memory of a queue.
 */
bool iopt_has_locked_area(struct io_pagetable *iopt, unsigned long start,
			  unsigned long last)
{
	struct iopt_area *area;

	for (area = iopt_area_iter_first(iopt, start, last); area;
	     area = iopt_area_iter_next(area, start, last)) {
		if (area->num_locks)
			return true;
		cond_resched();
	}
	return false;
}

static void iommufd_hw_queue_unlock_areas(struct iommufd_hw_queue *hw_queue,
					  unsigned long last)
{
	struct io_pagetable *iopt = iommufd_hw_queue_iopt(hw_queue);
	struct iopt_area_contig_iter iter;
	struct iopt_area *area;

	lockdep_assert_held_write(&iopt->iova_rwsem);

	iopt_for_each_contig_area(&iter, area, iopt,
				  iommufd_hw_queue_first_iova(hw_queue), last) {
		if (!WARN_ON(!area->num_locks))
			area->num_locks--;
		cond_resched();
	}
	WARN_ON(!iopt_area_contig_done(&iter));
}

static int iommufd_hw_queue_lock_areas(struct iommufd_hw_queue *hw_queue,
				       int iommu_prot)
{
	const unsigned long first = iommufd_hw_queue_first_iova(hw_queue);
	const unsigned long last = iommufd_hw_queue_last_iova(hw_queue);
	struct io_pagetable *iopt = iommufd_hw_queue_iopt(hw_queue);
	struct iopt_area_contig_iter iter;
	struct iopt_area *area;
	int rc = 0;

	down_write(&iopt->iova_rwsem);
	iopt_for_each_contig_area(&iter, area, iopt, first, last) {
		/*
		 * Both the IOVA and the memory of an area must begin with a CPU
		 * page. Otherwise a page of the queue could consist of parts of
		 * two pages.
		 */
		if (area->prevent_access || iopt_is_dmabuf(area->pages) ||
		    !PAGE_ALIGNED(iter.cur_iova) ||
		    !PAGE_ALIGNED(iopt_area_start_byte(area, iter.cur_iova))) {
			rc = -EINVAL;
			break;
		}
		if ((area->iommu_prot & iommu_prot) != iommu_prot) {
			rc = -EPERM;
			break;
		}
		area->num_locks++;
		cond_resched();
	}
	if (!rc && !iopt_area_contig_done(&iter))
		rc = -ENOENT;
	if (rc && iter.cur_iova > first)
		iommufd_hw_queue_unlock_areas(hw_queue, iter.cur_iova - 1);
	up_write(&iopt->iova_rwsem);
	return rc;
}

/*
 * The areas are locked, so the mappings do not change. With hugepages the queue
 * can be as long as the driver allows, so this loop must be preemptible.
 */
static int iommufd_hw_queue_get_phys(struct iommufd_hw_queue *hw_queue,
				     phys_addr_t *base)
{
	const unsigned long first = iommufd_hw_queue_first_iova(hw_queue);
	const unsigned long max = iommufd_hw_queue_last_iova(hw_queue) - first;
	struct iommu_domain *domain = hw_queue->viommu->hwpt->common.domain;
	phys_addr_t phys = iommu_iova_to_phys(domain, first);
	unsigned long offset;

	for (offset = PAGE_SIZE; offset < max; offset += PAGE_SIZE) {
		if (iommu_iova_to_phys(domain, first + offset) != phys + offset)
			return -EFAULT;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	*base = phys + offset_in_page(hw_queue->base_addr);
	return 0;
}

void iommufd_hw_queue_destroy(struct iommufd_object *obj)
{
	struct iommufd_hw_queue *hw_queue =
		container_of(obj, struct iommufd_hw_queue, obj);
	struct io_pagetable *iopt = iommufd_hw_queue_iopt(hw_queue);

	if (hw_queue->destroy)
		hw_queue->destroy(hw_queue);

	down_write(&iopt->iova_rwsem);
	iommufd_hw_queue_unlock_areas(hw_queue,
				      iommufd_hw_queue_last_iova(hw_queue));
	up_write(&iopt->iova_rwsem);
	refcount_dec(&hw_queue->viommu->obj.users);
}

static struct iommufd_hw_queue *
iommufd_hw_queue_create(struct iommufd_viommu *viommu,
			const struct iommu_hw_queue_alloc *cmd, size_t size)
{
	int iommu_prot = IOMMU_READ;
	struct iommufd_hw_queue *hw_queue;
	struct iommufd_object *obj;
	int rc;

	obj = _iommufd_object_alloc(viommu->ictx, size, IOMMUFD_OBJ_HW_QUEUE);
	if (IS_ERR(obj))
		return ERR_CAST(obj);

	hw_queue = container_of(obj, struct iommufd_hw_queue, obj);
	hw_queue->viommu = viommu;
	hw_queue->type = cmd->type;
	hw_queue->base_addr = cmd->nesting_parent_iova;
	hw_queue->length = cmd->length;

	if (viommu->ops->hw_queue_is_written &&
	    viommu->ops->hw_queue_is_written(viommu, cmd->type))
		iommu_prot |= IOMMU_WRITE;
	rc = iommufd_hw_queue_lock_areas(hw_queue, iommu_prot);
	if (rc) {
		iommufd_object_abort(viommu->ictx, obj);
		return ERR_PTR(rc);
	}
	refcount_inc(&viommu->obj.users);
	return hw_queue;
}

int iommufd_hw_queue_alloc_ioctl(struct iommufd_ucmd *ucmd)
{
	struct iommu_hw_queue_alloc *cmd = ucmd->cmd;
	const u32 out_hw_queue_id = cmd->out_hw_queue_id;
	struct iommufd_hw_queue *hw_queue;
	const struct iommufd_viommu_ops *ops;
	struct iommufd_viommu *viommu;
	phys_addr_t base;
	size_t size = 0;
	u64 last;
	int rc;

	if (cmd->flags || cmd->type == IOMMU_HW_QUEUE_TYPE_DEFAULT)
		return -EOPNOTSUPP;
	if (!cmd->length)
		return -EINVAL;
	if (check_add_overflow(cmd->nesting_parent_iova, cmd->length - 1,
			       &last) ||
	    last > ULONG_MAX)
		return -EOVERFLOW;

	viommu = iommufd_get_viommu(ucmd, cmd->viommu_id);
	if (IS_ERR(viommu))
		return PTR_ERR(viommu);

	ops = viommu->ops;
	if (ops->get_hw_queue_size && ops->hw_queue_init_phys)
		size = ops->get_hw_queue_size(viommu, cmd->type);
	if (!size || WARN_ON_ONCE(size < sizeof(*hw_queue))) {
		rc = -EOPNOTSUPP;
		goto out_put_viommu;
	}
	if (cmd->length > ULONG_MAX - (PAGE_SIZE - 1) -
				  offset_in_page(cmd->nesting_parent_iova)) {
		rc = -ERANGE;
		goto out_put_viommu;
	}

	hw_queue = iommufd_hw_queue_create(viommu, cmd, size);
	if (IS_ERR(hw_queue)) {
		rc = PTR_ERR(hw_queue);
		goto out_put_viommu;
	}
	/* Limit the time of the next step, which visits each page */
	if (ops->hw_queue_max_length &&
	    cmd->length > ops->hw_queue_max_length(viommu, cmd->type)) {
		rc = -EINVAL;
		goto out_abort;
	}
	rc = iommufd_hw_queue_get_phys(hw_queue, &base);
	if (rc)
		goto out_abort;

	cmd->out_hw_queue_id = hw_queue->obj.id;
	rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
	if (rc)
		goto out_abort;

	rc = ops->hw_queue_init_phys(hw_queue, cmd->index, base);
	if (!rc) {
		iommufd_object_finalize(ucmd->ictx, &hw_queue->obj);
		goto out_put_viommu;
	}

	/* Another object may get the ID soon, so restore the user's value */
	cmd->out_hw_queue_id = out_hw_queue_id;
	if (iommufd_ucmd_respond(ucmd, sizeof(*cmd)))
		rc = -EFAULT;
	/* The driver has nothing to undo */
	hw_queue->destroy = NULL;
out_abort:
	iommufd_object_abort_and_destroy(ucmd->ictx, &hw_queue->obj);
out_put_viommu:
	iommufd_put_object(ucmd->ictx, &viommu->obj);
	return rc;
}
