// SPDX-License-Identifier: GPL-2.0-only
/*
 * IOMMU_IOAS_CHANGE_PROCESS: charge the pinned pages of a context to the
 * calling process, instead of the process that mapped them.
 *
 * Pages of a file, and dma-bufs, do not need the address space of a process.
 * The process only matters for the accounting: for the counter of its user or of
 * its address space that RLIMIT_MEMLOCK limits, and for mm_struct::pinned_vm.
 *
 * Invariant: the counter of source_user or source_mm has been charged for
 * last_npinned pages of each iopt_pages. While the counters change, the
 * iova_rwsem of every IOAS is held for write, and no area may have NULL as its
 * pages, which means that it is being mapped or unmapped. Then no page can be
 * pinned or unpinned:
 *
 *  - Accesses pin and unpin with iova_rwsem held for read.
 *  - Attaching and detaching of a domain holds it for write.
 *  - IOAS_MAP, IOAS_COPY and IOAS_UNMAP fill and empty the domains without it,
 *    but area->pages is NULL while they do.
 *  - An IOAS that is being destroyed has neither domains nor accesses.
 */
#include <linux/iommufd.h>
#include <linux/list.h>
#include <linux/lockdep.h>
#include <linux/mm.h>
#include <linux/rwsem.h>
#include <linux/sched.h>
#include <linux/sched/mm.h>
#include <linux/sched/task.h>
#include <linux/sched/user.h>
#include <uapi/linux/iommufd.h>

#include "io_pagetable.h"
#include "iommufd_private.h"

struct change {
	/* The IOASs of the context, by ID, each with its iova_rwsem held */
	struct list_head ioas_list;
	/* The pages of all IOASs, each of them once */
	struct list_head pages_list;
	/* The new owner: only the source_ members and account_mode are used */
	struct iopt_pages to;
	struct {
		/* Pages to charge, for which the caller does not pay yet */
		unsigned long npages;
		/* Pages get a new owner, even if nothing has to be charged */
		bool moves;
	} mode[IOPT_PAGES_ACCOUNT_MM + 1];
};

/**
 * iommufd_ioas_finalize() - Make a new IOAS accessible
 * @ictx: Context of the IOAS
 * @ioas: New IOAS, from iommufd_ioas_alloc()
 *
 * Nothing can be mapped in the IOAS before this.
 */
void iommufd_ioas_finalize(struct iommufd_ctx *ictx, struct iommufd_ioas *ioas)
{
	down_read(&ictx->ioas_lock);
	iommufd_object_finalize(ictx, &ioas->obj);
	up_read(&ictx->ioas_lock);
}

static void put_ioas_list(struct iommufd_ctx *ictx, struct change *change)
{
	struct iommufd_ioas *ioas, *next;

	/* An IOAS can be destroyed as soon as it is put */
	list_for_each_entry_safe(ioas, next, &change->ioas_list, change_entry)
		iommufd_put_object(ictx, &ioas->obj);
}

/*
 * A killable down_write_nest_lock(). The caller must be able to give up:
 * another process that attaches a domain holds the rwsem while it waits for
 * user memory. Annotate the lock for lockdep by hand, because
 * down_write_killable() has no variant for many locks that nest under another
 * lock.
 */
static int lock_ioas(struct iommufd_ctx *ictx, struct iommufd_ioas *ioas)
{
	struct rw_semaphore *rwsem = &ioas->iopt.iova_rwsem;
	int rc;

	rwsem_acquire_nest(&rwsem->dep_map, 0, 0, &ictx->ioas_lock.dep_map,
			   _THIS_IP_);
	lockdep_off();
	rc = down_write_killable(rwsem);
	lockdep_on();
	if (rc)
		rwsem_release(&rwsem->dep_map, _THIS_IP_);
	return rc;
}

static int lock_ioas_list(struct iommufd_ctx *ictx, struct change *change)
{
	struct iommufd_object *obj;
	struct iommufd_ioas *ioas;
	unsigned long id = 0;
	int rc;

	/* An IOAS that is not found here is gone, or not published yet */
	lockdep_assert_held_write(&ictx->ioas_lock);

	xa_lock(&ictx->objects);
	xa_for_each(&ictx->objects, id, obj) {
		if (obj->type == IOMMUFD_OBJ_IOAS && iommufd_lock_obj(obj)) {
			ioas = container_of(obj, struct iommufd_ioas, obj);
			list_add_tail(&ioas->change_entry, &change->ioas_list);
		}
		cond_resched_lock(&ictx->objects.xa_lock);
	}
	xa_unlock(&ictx->objects);

	list_for_each_entry(ioas, &change->ioas_list, change_entry) {
		rc = lock_ioas(ictx, ioas);
		if (rc)
			goto err_unlock;
	}
	return 0;

err_unlock:
	list_for_each_entry_continue_reverse(ioas, &change->ioas_list,
					     change_entry)
		up_write(&ioas->iopt.iova_rwsem);
	put_ioas_list(ictx, change);
	return rc;
}

static void unlock_ioas_list(struct iommufd_ctx *ictx, struct change *change)
{
	struct iommufd_ioas *ioas;

	list_for_each_entry(ioas, &change->ioas_list, change_entry)
		up_write(&ioas->iopt.iova_rwsem);
	put_ioas_list(ictx, change);
}

/* Would the new owner pay for these pages with the same counter? */
static bool pays_already(const struct iopt_pages *pages,
			 const struct iopt_pages *to)
{
	switch (pages->account_mode) {
	case IOPT_PAGES_ACCOUNT_USER:
		return pages->source_user == to->source_user;
	case IOPT_PAGES_ACCOUNT_MM:
		return pages->source_mm == to->source_mm;
	default:
		/* Nobody pays */
		return true;
	}
}

static int add_pages(struct change *change, struct iopt_pages *pages)
{
	const struct iopt_pages *to = &change->to;

	if (!pages)
		return -EBUSY;
	/* Memory of a device belongs to no process and is not charged */
	if (!pages->file && !iopt_is_dmabuf(pages))
		return -EINVAL;
	/* Areas of any IOAS can share pages, which are charged only once */
	if (!list_empty(&pages->change_entry))
		return 0;
	list_add_tail(&pages->change_entry, &change->pages_list);

	if (!pays_already(pages, to))
		change->mode[pages->account_mode].npages += pages->last_npinned;
	if (pages->source_mm != to->source_mm ||
	    pages->source_task != to->source_task ||
	    pages->source_user != to->source_user)
		change->mode[pages->account_mode].moves = true;
	return 0;
}

static int add_ioas(struct change *change, struct io_pagetable *iopt)
{
	struct iopt_area *area;
	int rc;

	for (area = iopt_area_iter_first(iopt, 0, ULONG_MAX); area;
	     area = iopt_area_iter_next(area, 0, ULONG_MAX)) {
		rc = add_pages(change, area->pages);
		if (rc)
			return rc;
		cond_resched();
	}
	return 0;
}

/*
 * Charge before anything is uncharged, so that a failure leaves nothing to
 * restore. Pages that move between processes of the same user are not charged
 * again: charging the user twice for a moment could exceed a limit that is met
 * before and after. The limit of the new process must still be checked, by
 * charging 0 pages.
 */
static int charge(struct change *change)
{
	u8 *mode = &change->to.account_mode;
	int rc = 0;

	for (*mode = 0; *mode != ARRAY_SIZE(change->mode); (*mode)++) {
		if (!change->mode[*mode].moves)
			continue;
		rc = iommufd_should_fail() ? -ENOMEM :
			iopt_pages_charge(&change->to,
					  change->mode[*mode].npages, true,
					  NULL);
		if (rc)
			break;
	}
	if (!rc)
		return 0;

	while ((*mode)--)
		if (change->mode[*mode].moves)
			iopt_pages_charge(&change->to,
					  change->mode[*mode].npages, false,
					  NULL);
	return rc;
}

/* Uncharge the old owner. The new owner has been charged already */
static void move_pages(struct iopt_pages *pages, const struct iopt_pages *to)
{
	struct task_struct *old_task;
	struct user_struct *old_user;
	struct mm_struct *old_mm;

	mutex_lock(&pages->mutex);
	if (!pays_already(pages, to))
		iopt_pages_charge(pages, pages->last_npinned, false, NULL);
	atomic64_sub(pages->last_npinned, &pages->source_mm->pinned_vm);
	atomic64_add(pages->last_npinned, &to->source_mm->pinned_vm);

	old_task = pages->source_task;
	old_user = pages->source_user;
	old_mm = pages->source_mm;
	pages->source_task = get_task_struct(to->source_task);
	pages->source_user = get_uid(to->source_user);
	mmgrab(to->source_mm);
	pages->source_mm = to->source_mm;
	mutex_unlock(&pages->mutex);

	put_task_struct(old_task);
	free_uid(old_user);
	mmdrop(old_mm);
}

static int change_process(struct change *change)
{
	struct iopt_pages *pages, *next;
	struct iommufd_ioas *ioas;
	int rc = 0;

	list_for_each_entry(ioas, &change->ioas_list, change_entry) {
		rc = add_ioas(change, &ioas->iopt);
		if (rc)
			break;
	}
	if (!rc)
		rc = charge(change);

	list_for_each_entry_safe(pages, next, &change->pages_list,
				 change_entry) {
		list_del_init(&pages->change_entry);
		if (!rc)
			move_pages(pages, &change->to);
		cond_resched();
	}
	return rc;
}

/**
 * iommufd_ioas_change_process() - IOMMU_IOAS_CHANGE_PROCESS
 * @ucmd: A struct iommu_ioas_change_process
 *
 * Return: 0, or with nothing changed: -EOPNOTSUPP if __reserved is not 0,
 * -EINVAL if a mapping is of the memory of a process, -EBUSY if a mapping is
 * being made or removed at the same time, -ENOMEM if the calling process would
 * exceed its RLIMIT_MEMLOCK, -EINTR for a fatal signal.
 */
int iommufd_ioas_change_process(struct iommufd_ucmd *ucmd)
{
	struct iommu_ioas_change_process *cmd = ucmd->cmd;
	struct iommufd_ctx *ictx = ucmd->ictx;
	struct change change = {
		.ioas_list = LIST_HEAD_INIT(change.ioas_list),
		.pages_list = LIST_HEAD_INIT(change.pages_list),
		.to = {
			.source_task = current->group_leader,
			.source_user = current_user(),
			.source_mm = current->mm,
		},
	};
	int rc;

	if (cmd->__reserved)
		return -EOPNOTSUPP;

	if (down_write_killable(&ictx->ioas_lock))
		return -EINTR;
	rc = lock_ioas_list(ictx, &change);
	if (!rc) {
		rc = change_process(&change);
		unlock_ioas_list(ictx, &change);
	}
	up_write(&ictx->ioas_lock);
	return rc;
}
