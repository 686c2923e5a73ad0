// SPDX-License-Identifier: GPL-2.0-only
/*
 * MSI doorbells behind a translating IOMMU.
 *
 * Where MSI writes are translated like any other DMA, the doorbell of the
 * interrupt controller needs an IOVA, in the window that the IOMMU driver
 * reports as IOMMU_RESV_SW_MSI. The irqchip asks for this IOVA when an
 * interrupt is prepared, and it is written into the device, independently of
 * any change of the domain by IOMMUFD. So the IOVA must not depend on the
 * domain:
 *
 *  - A doorbell gets its page of the window once for the whole context. Its
 *    IOVA is the same in every domain, including domains that are attached
 *    later.
 *  - A group remembers the doorbells that its devices use (sw_msi_used). All of
 *    them are mapped in a domain before the group is attached to it. A doorbell
 *    whose first use comes during the attach is mapped in the next domain
 *    (sw_msi_next) as well.
 *  - A driver without domain_alloc_user() sets a domain up only when it is
 *    attached, so nothing can be mapped before. In such a domain the doorbells
 *    are mapped right after the attach.
 *  - Doorbells are unmapped when the last group leaves the domain, as long as
 *    the window is still reserved in the IOAS. Each device reserves the window for
 *    itself: SMMUs report it for all devices of a group, so it is reserved for as
 *    long as any of them is attached.
 *  - Page tables for the window are allocated before the first attach, where
 *    they can be charged. The irqchip calls with locks held that the interrupts
 *    of all VMs need, and must not wait for a VM that is at the limit of its
 *    memory. Hence nothing is charged under sw_msi.lock.
 *
 * For a nested domain, "the domain" is that of the parent, and the IOVA is an
 * IPA. The VMM must ensure that the guest's stage 1 maps an address to
 * this IPA.
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
	/* Entry of iommufd_sw_msi::pages */
	struct list_head node;
	/* Start of the window that has the page, and the page's index there */
	phys_addr_t start;
	unsigned int id;
	/* Physical address of the doorbell's page */
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
		/* IDs are unique across windows: each bit stands for a page */
		taken |= BIT_ULL(page->id);
	}

	id = taken ? fls64(taken) : 0;
	if (id >= iommufd_sw_msi_window(dev, start))
		return ERR_PTR(-ENOSPC);

	/* Not charged, see above. The machine has few doorbells */
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

/* Can doorbells be mapped only after the attach (no domain_alloc_user())? */
static bool
iommufd_sw_msi_maps_after_attach(struct iommufd_hwpt_paging *hwpt_paging)
{
	return !hwpt_paging->common.domain->owner->domain_alloc_user;
}

/*
 * Allocate the page tables of the window, by a mapping that is removed again:
 * an unmap leaves the tables. This happens before the first device with this
 * window is attached, so no device can read the zero page in between. If the
 * VMM maps a block in their place while nothing is attached, the tables are
 * freed. At most two tables are then allocated again later, without a charge.
 */
static int iommufd_sw_msi_alloc_tables(struct iommufd_group *igroup,
				       struct iommufd_hwpt_paging *hwpt_paging)
{
	struct iommu_domain *domain = hwpt_paging->common.domain;
	int rc = 0;

	if (igroup->sw_msi_start == PHYS_ADDR_MAX ||
	    iommufd_sw_msi_maps_after_attach(hwpt_paging))
		return 0;
	/* The IOMMU's pages are too large: MSI setup fails, not the attach */
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

/* A group has left the domain, or will not be attached to it */
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
 * iommufd_sw_msi() - Map a doorbell at its IOVA
 * @domain: The domain that the device is attached to, of an iommufd HWPT
 * @desc: The descriptor in which the IOVA is set
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
	phys_addr_t start;
	int rc;

	handle = iommu_attach_handle_get(dev->iommu_group, IOMMU_NO_PASID, 0);
	if (IS_ERR(handle) || !hwpt_paging)
		return -EOPNOTSUPP;
	/*
	 * Do not use the device of the handle, which may be gone: the handle
	 * stays as long as any device of the group is attached.
	 */
	igroup = to_iommufd_handle(handle)->igroup;
	ictx = igroup->ictx;

	/*
	 * Without a window, MSI writes are not translated. Another device of
	 * the group may be attached concurrently, which sets the same start
	 * again.
	 */
	start = READ_ONCE(igroup->sw_msi_start);
	if (start == PHYS_ADDR_MAX) {
		msi_desc_set_iommu_msi_iova(desc, 0, 0);
		return 0;
	}

	mutex_lock(&ictx->sw_msi.lock);
	page = iommufd_sw_msi_get_page(ictx, dev, start, msi_addr & PAGE_MASK);
	if (IS_ERR(page)) {
		rc = PTR_ERR(page);
		goto out_unlock;
	}
	rc = iommufd_sw_msi_map(hwpt_paging, page);
	if (!rc && igroup->sw_msi_next &&
	    !iommufd_sw_msi_maps_after_attach(igroup->sw_msi_next))
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
 * @hwpt_paging: The HWPT that it will be attached to, or the parent of this
 *               HWPT
 *
 * Context: The caller holds @igroup->lock. If this fails, or if the attach
 * fails later, the caller must call iommufd_sw_msi_undo_attach(), and otherwise
 * iommufd_sw_msi_map_attached() and iommufd_sw_msi_attach_done().
 * Return: 0 or the error of the mapping.
 */
int iommufd_sw_msi_attach(struct iommufd_group *igroup,
			  struct iommufd_hwpt_paging *hwpt_paging)
{
	struct iommufd_sw_msi *sw_msi = &igroup->ictx->sw_msi;
	int rc;

	lockdep_assert_held(&igroup->lock);

	/* Set sw_msi_next after this: nothing may be mapped without tables */
	rc = iommufd_sw_msi_alloc_tables(igroup, hwpt_paging);
	if (rc)
		return rc;
	mutex_lock(&sw_msi->lock);
	igroup->sw_msi_next = hwpt_paging;
	hwpt_paging->sw_msi_groups++;
	if (!iommufd_sw_msi_maps_after_attach(hwpt_paging))
		rc = iommufd_sw_msi_map_used(igroup, hwpt_paging);
	mutex_unlock(&sw_msi->lock);
	return rc;
}

/**
 * iommufd_sw_msi_map_attached() - Map doorbells that cannot be mapped earlier
 * @igroup: The group, just attached to the HWPT of iommufd_sw_msi_attach()
 *
 * Context: The caller holds @igroup->lock. If this fails, the caller must undo
 * the attach and call iommufd_sw_msi_undo_attach().
 * Return: 0 or the error of the mapping.
 */
int iommufd_sw_msi_map_attached(struct iommufd_group *igroup)
{
	struct iommufd_sw_msi *sw_msi = &igroup->ictx->sw_msi;
	int rc = 0;

	lockdep_assert_held(&igroup->lock);

	mutex_lock(&sw_msi->lock);
	if (igroup->sw_msi_next &&
	    iommufd_sw_msi_maps_after_attach(igroup->sw_msi_next))
		rc = iommufd_sw_msi_map_used(igroup, igroup->sw_msi_next);
	mutex_unlock(&sw_msi->lock);
	return rc;
}

/* The group is in one domain only: release the other domain, if there is one */
static void iommufd_sw_msi_finish(struct iommufd_group *igroup, bool moved)
{
	struct iommufd_sw_msi *sw_msi = &igroup->ictx->sw_msi;

	lockdep_assert_held(&igroup->lock);

	mutex_lock(&sw_msi->lock);
	if (moved)
		swap(igroup->sw_msi_hwpt, igroup->sw_msi_next);
	if (igroup->sw_msi_next)
		iommufd_sw_msi_put(sw_msi, igroup->sw_msi_next);
	igroup->sw_msi_next = NULL;
	mutex_unlock(&sw_msi->lock);
}

/**
 * iommufd_sw_msi_undo_attach() - The group stays in its domain
 * @igroup: The group, for which iommufd_sw_msi_attach() may have been called
 *
 * Context: The caller has held @igroup->lock since that call.
 */
void iommufd_sw_msi_undo_attach(struct iommufd_group *igroup)
{
	iommufd_sw_msi_finish(igroup, false);
}

/**
 * iommufd_sw_msi_attach_done() - The group has been attached or detached
 * @igroup: The group. It is attached to the HWPT of iommufd_sw_msi_attach(), or
 *          to nothing if this was not called
 *
 * Context: The caller holds @igroup->lock. The reserved IOVAs of the previous
 * HWPT are still reserved.
 */
void iommufd_sw_msi_attach_done(struct iommufd_group *igroup)
{
	iommufd_sw_msi_finish(igroup, true);
}
