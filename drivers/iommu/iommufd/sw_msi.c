// SPDX-License-Identifier: GPL-2.0-only
/*
 * MSI doorbells behind a translating IOMMU.
 *
 * Where MSI writes are translated like any other DMA, the doorbell of the
 * interrupt controller needs an IOVA, in the window that the IOMMU driver
 * reports as IOMMU_RESV_SW_MSI. The irqchip asks for one when an interrupt is
 * prepared, and the answer is then written into the device, long before or
 * after the domain is changed by IOMMUFD. So the answer must not depend on the
 * domain:
 *
 *  - A doorbell gets its page of the window once for the whole context. Its
 *    IOVA is the same in every domain, whatever is attached when it is asked.
 *  - A group remembers which doorbells it was told (sw_msi_used), and all of
 *    them are mapped in a domain before the group is attached to it. One that
 *    comes up just then is mapped in that domain (sw_msi_next) too.
 *  - A driver that cannot make a domain for a user finishes it when it is attached
 *    and maps nothing before. There the doorbells follow right after the attach.
 *  - They are unmapped when the last group leaves, before the window is no
 *    longer reserved in the IOAS.
 *  - Page tables for the window are made before the first attach, where they can
 *    be charged. The irqchip asks with locks held that interrupts of all VMs need:
 *    one that is at the limit of its memory must not be waited for there. So
 *    nothing is charged under sw_msi.lock.
 *
 * For a nested domain that is the domain of the parent: the page is an IPA then.
 * It is up to the VMM that the guest's stage 1 maps an address to it.
 */
#include <linux/bits.h>
#include <linux/io.h>
#include <linux/iommu.h>
#include <linux/iommufd.h>
#include <linux/list.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/msi.h>
#include <linux/mutex.h>
#include <linux/slab.h>

#include "../iommu-priv.h"
#include "iommufd_private.h"

struct iommufd_sw_msi_page {
	/* In iommufd_sw_msi::pages */
	struct list_head node;
	/* The window that the page is in, and the page's index there */
	phys_addr_t start;
	unsigned int id;
	/* Physical address of the page with the doorbell */
	phys_addr_t phys;
};

/* Bits of the masks in iommufd_group and iommufd_hwpt_paging */
#define IOMMUFD_SW_MSI_PAGES	BITS_PER_TYPE(u64)

void iommufd_sw_msi_init(struct iommufd_ctx *ictx)
{
	mutex_init(&ictx->sw_msi.lock);
	mutex_init(&ictx->sw_msi.tables_lock);
	INIT_LIST_HEAD(&ictx->sw_msi.pages);
}

void iommufd_sw_msi_free(struct iommufd_ctx *ictx)
{
	struct iommufd_sw_msi_page *page, *next;

	list_for_each_entry_safe(page, next, &ictx->sw_msi.pages, node)
		kfree(page);
	mutex_destroy(&ictx->sw_msi.tables_lock);
	mutex_destroy(&ictx->sw_msi.lock);
}

static dma_addr_t iommufd_sw_msi_iova(struct iommufd_sw_msi_page *page)
{
	return page->start + (dma_addr_t)page->id * PAGE_SIZE;
}

/* Length of the software MSI window of @dev that begins at @start, in pages */
static unsigned int iommufd_sw_msi_window(struct device *dev, phys_addr_t start)
{
	struct iommu_resv_region *resv;
	LIST_HEAD(regions);
	size_t length = 0;

	iommu_get_resv_regions(dev, &regions);
	list_for_each_entry(resv, &regions, list)
		if (resv->type == IOMMU_RESV_SW_MSI && resv->start == start)
			length = resv->length;
	iommu_put_resv_regions(dev, &regions);
	return min_t(size_t, length / PAGE_SIZE, IOMMUFD_SW_MSI_PAGES);
}

static struct iommufd_sw_msi_page *
iommufd_sw_msi_get_page(struct iommufd_ctx *ictx, struct device *dev,
			phys_addr_t start, phys_addr_t phys)
{
	struct iommufd_sw_msi_page *page;
	u64 taken = 0;
	unsigned int id;

	lockdep_assert_held(&ictx->sw_msi.lock);

	list_for_each_entry(page, &ictx->sw_msi.pages, node) {
		if (page->start == start && page->phys == phys)
			return page;
		/* Unique also across windows: one bit names one page */
		taken |= BIT_ULL(page->id);
	}

	id = taken ? fls64(taken) : 0;
	if (id >= iommufd_sw_msi_window(dev, start))
		return ERR_PTR(-ENOSPC);

	/* Not charged, see above: there is one for each doorbell of the machine */
	page = kzalloc(sizeof(*page), GFP_KERNEL);
	if (!page)
		return ERR_PTR(-ENOMEM);
	page->start = start;
	page->phys = phys;
	page->id = id;
	list_add_tail(&page->node, &ictx->sw_msi.pages);
	return page;
}

static int iommufd_sw_msi_map(struct iommufd_hwpt_paging *hwpt_paging,
			      struct iommufd_sw_msi_page *page)
{
	int rc;

	if (hwpt_paging->sw_msi_mapped & BIT_ULL(page->id))
		return 0;

	rc = iommu_map(hwpt_paging->common.domain, iommufd_sw_msi_iova(page),
		       page->phys, PAGE_SIZE,
		       IOMMU_WRITE | IOMMU_NOEXEC | IOMMU_MMIO, GFP_KERNEL);
	if (rc)
		return rc;
	hwpt_paging->sw_msi_mapped |= BIT_ULL(page->id);
	return 0;
}

/* Is that domain not to be mapped to before it is attached? */
static bool iommufd_sw_msi_late(struct iommufd_hwpt_paging *hwpt_paging)
{
	return !hwpt_paging->common.domain->owner->domain_alloc_user;
}

/*
 * Make the page tables of the window. An unmap leaves them, and nothing that has
 * this window is attached yet and could read the zero page meanwhile: whoever
 * comes first has made them. They go if the VMM maps a block in their place while
 * nothing is attached; the page or two that are made again then are not charged.
 */
static int iommufd_sw_msi_tables(struct iommufd_group *igroup,
				 struct iommufd_hwpt_paging *hwpt_paging)
{
	struct iommu_domain *domain = hwpt_paging->common.domain;
	int rc = 0;

	if (igroup->sw_msi_start == PHYS_ADDR_MAX ||
	    iommufd_sw_msi_late(hwpt_paging))
		return 0;
	/* It has no pages as small as a doorbell's: MSIs fail, and not the attach */
	if (PAGE_SIZE < 1UL << __ffs(domain->pgsize_bitmap))
		return 0;

	mutex_lock(&igroup->ictx->sw_msi.tables_lock);
	if (hwpt_paging->sw_msi_tables)
		goto out_unlock;
	rc = iommu_map(domain, igroup->sw_msi_start,
		       page_to_phys(ZERO_PAGE(0)), PAGE_SIZE, IOMMU_READ,
		       GFP_KERNEL_ACCOUNT);
	if (rc)
		goto out_unlock;
	iommu_unmap(domain, igroup->sw_msi_start, PAGE_SIZE);
	hwpt_paging->sw_msi_tables = true;
out_unlock:
	mutex_unlock(&igroup->ictx->sw_msi.tables_lock);
	return rc;
}

static int iommufd_sw_msi_map_used(struct iommufd_group *igroup,
				   struct iommufd_hwpt_paging *hwpt_paging)
{
	struct iommufd_sw_msi *sw_msi = &igroup->ictx->sw_msi;
	struct iommufd_sw_msi_page *page;
	int rc;

	lockdep_assert_held(&sw_msi->lock);

	list_for_each_entry(page, &sw_msi->pages, node) {
		if (!(igroup->sw_msi_used & BIT_ULL(page->id)))
			continue;
		rc = iommufd_sw_msi_map(hwpt_paging, page);
		if (rc)
			return rc;
	}
	return 0;
}

/* A group is no longer attached, or not attached after all */
static void iommufd_sw_msi_put(struct iommufd_sw_msi *sw_msi,
			       struct iommufd_hwpt_paging *hwpt_paging)
{
	struct iommufd_sw_msi_page *page;

	lockdep_assert_held(&sw_msi->lock);

	if (--hwpt_paging->sw_msi_groups)
		return;
	list_for_each_entry(page, &sw_msi->pages, node)
		if (hwpt_paging->sw_msi_mapped & BIT_ULL(page->id))
			iommu_unmap(hwpt_paging->common.domain,
				    iommufd_sw_msi_iova(page), PAGE_SIZE);
	hwpt_paging->sw_msi_mapped = 0;
}

/**
 * iommufd_sw_msi() - Give a doorbell its IOVA
 * @domain: The domain that the device is attached to, of an iommufd HWPT
 * @desc: Where the IOVA goes
 * @msi_addr: Physical address of the doorbell
 *
 * Context: Called as iommu_domain::sw_msi with the attachment of the device to
 * @domain held.
 * Return: 0 or an errno; ENOSPC when the window is full.
 */
int iommufd_sw_msi(struct iommu_domain *domain, struct msi_desc *desc,
		   phys_addr_t msi_addr)
{
	struct device *dev = msi_desc_to_dev(desc);
	struct iommufd_hwpt_paging *hwpt_paging =
		find_hwpt_paging(domain->iommufd_hwpt);
	struct iommu_attach_handle *handle;
	struct iommufd_sw_msi_page *page;
	struct iommufd_group *igroup;
	struct iommufd_ctx *ictx;
	int rc;

	handle = iommu_attach_handle_get(dev->iommu_group, IOMMU_NO_PASID, 0);
	if (IS_ERR(handle) || !hwpt_paging)
		return -EOPNOTSUPP;
	/* Not its device, which may be gone: any of the group keeps the handle */
	igroup = to_iommufd_handle(handle)->igroup;
	ictx = igroup->ictx;

	/* MSI writes are not translated here */
	if (igroup->sw_msi_start == PHYS_ADDR_MAX) {
		msi_desc_set_iommu_msi_iova(desc, 0, 0);
		return 0;
	}

	mutex_lock(&ictx->sw_msi.lock);
	page = iommufd_sw_msi_get_page(ictx, dev, igroup->sw_msi_start,
				       msi_addr & PAGE_MASK);
	if (IS_ERR(page)) {
		rc = PTR_ERR(page);
		goto out_unlock;
	}
	rc = iommufd_sw_msi_map(hwpt_paging, page);
	if (!rc && igroup->sw_msi_next &&
	    !iommufd_sw_msi_late(igroup->sw_msi_next))
		rc = iommufd_sw_msi_map(igroup->sw_msi_next, page);
	if (rc)
		goto out_unlock;
	igroup->sw_msi_used |= BIT_ULL(page->id);
	msi_desc_set_iommu_msi_iova(desc, iommufd_sw_msi_iova(page),
				    PAGE_SHIFT);
out_unlock:
	mutex_unlock(&ictx->sw_msi.lock);
	return rc;
}

/**
 * iommufd_sw_msi_attach() - Map a group's doorbells in a domain
 * @igroup: The group, about to be attached
 * @hwpt_paging: What it will be attached to, or the parent of that
 *
 * Context: The caller holds @igroup->lock. When this fails, or the group is not
 * attached after all, it calls iommufd_sw_msi_undo_attach(), and otherwise
 * iommufd_sw_msi_moved().
 * Return: 0 or the error of the mapping.
 */
int iommufd_sw_msi_attach(struct iommufd_group *igroup,
			  struct iommufd_hwpt_paging *hwpt_paging)
{
	struct iommufd_sw_msi *sw_msi = &igroup->ictx->sw_msi;
	int rc;

	lockdep_assert_held(&igroup->lock);

	/* Without them nothing may be mapped there, so it is not sw_msi_next yet */
	rc = iommufd_sw_msi_tables(igroup, hwpt_paging);
	if (rc)
		return rc;
	mutex_lock(&sw_msi->lock);
	igroup->sw_msi_next = hwpt_paging;
	hwpt_paging->sw_msi_groups++;
	if (!iommufd_sw_msi_late(hwpt_paging))
		rc = iommufd_sw_msi_map_used(igroup, hwpt_paging);
	mutex_unlock(&sw_msi->lock);
	return rc;
}

/* The group is in one domain again: done with the other one, if there is one */
static void iommufd_sw_msi_settle(struct iommufd_group *igroup, bool moved)
{
	struct iommufd_sw_msi *sw_msi = &igroup->ictx->sw_msi;

	lockdep_assert_held(&igroup->lock);

	mutex_lock(&sw_msi->lock);
	if (moved) {
		swap(igroup->sw_msi_hwpt, igroup->sw_msi_next);
		if (igroup->sw_msi_hwpt &&
		    iommufd_sw_msi_late(igroup->sw_msi_hwpt) &&
		    iommufd_sw_msi_map_used(igroup, igroup->sw_msi_hwpt))
			pr_warn_ratelimited("no memory to map an MSI doorbell: interrupts are lost\n");
	}
	if (igroup->sw_msi_next)
		iommufd_sw_msi_put(sw_msi, igroup->sw_msi_next);
	igroup->sw_msi_next = NULL;
	mutex_unlock(&sw_msi->lock);
}

/**
 * iommufd_sw_msi_undo_attach() - The group stays where it is
 * @igroup: The group that iommufd_sw_msi_attach() was called for, if for any
 *
 * Context: The caller holds @igroup->lock, and did so since then.
 */
void iommufd_sw_msi_undo_attach(struct iommufd_group *igroup)
{
	iommufd_sw_msi_settle(igroup, false);
}

/**
 * iommufd_sw_msi_moved() - The group has been attached, or detached
 * @igroup: The group. It is where iommufd_sw_msi_attach() said that it would be,
 *          or nowhere if that was not called
 *
 * Context: The caller holds @igroup->lock. The reserved IOVAs of where the group
 * was are still reserved.
 */
void iommufd_sw_msi_moved(struct iommufd_group *igroup)
{
	iommufd_sw_msi_settle(igroup, true);
}
