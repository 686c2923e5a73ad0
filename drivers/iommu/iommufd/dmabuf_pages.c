// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory of a device in an IOAS: a BAR that VFIO has exported as a dma-buf.
 *
 * Such memory has no pages, so nothing is pinned, charged or read back from a
 * domain, and in-kernel accesses cannot use it. The dma-buf is one contiguous range
 * of physical addresses: an area is mapped in each domain by a single iommu_map().
 *
 * The exporter can take the memory away at any time, by move_notify(). Then the
 * areas that have it are unmapped from all domains of all IOASs. They keep
 * their IOVAs, but nothing is mapped there any more, not even in domains that
 * are added later, until user space unmaps the areas.
 *
 * Invariant: the list iopt_area::dmabuf_maps has exactly the domains in which the
 * area is mapped. iopt_pages::mutex protects this list and iopt_dmabuf::revoked. An
 * area with such a list is in iopt_pages::domains_itree.
 *
 * move_notify() cannot use io_pagetable::domains, because it must not take
 * domains_rwsem. Its caller holds the lock of the dma-buf, and the locking
 * order is domains_rwsem -> iopt_pages::mutex -> mmap_lock (to pin pages of a
 * process) -> lock of a dma-buf.
 */
#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/interval_tree.h>
#include <linux/iommu.h>
#include <linux/lockdep.h>
#include <linux/module.h>
#include <linux/overflow.h>
#include <linux/sched.h>
#include <linux/slab.h>
#include <linux/vfio_pci_core.h>

#include "io_pagetable.h"
#include "iommufd_private.h"

/* A domain in which an area is mapped, in iopt_area::dmabuf_maps */
struct iopt_dmabuf_map {
	struct hlist_node node;
	struct iommu_domain *domain;
};

/*
 * These exporters promise that a dma-buf is a contiguous range that exists
 * until move_notify(), and that importers may use its physical address, without
 * DMA addresses for a device.
 */
static int iopt_dmabuf_get_phys(struct dma_buf *dmabuf, phys_addr_t *phys)
{
	int rc = iommufd_test_dmabuf_get_phys(dmabuf, phys);

#if IS_ENABLED(CONFIG_VFIO_PCI_DMABUF)
	if (rc == -EOPNOTSUPP) {
		int (*get_phys)(struct dma_buf *dmabuf, phys_addr_t *phys);

		get_phys = symbol_get(vfio_pci_dma_buf_get_phys);
		if (get_phys) {
			rc = get_phys(dmabuf, phys);
			symbol_put(vfio_pci_dma_buf_get_phys);
		}
	}
#endif
	return rc;
}

static void iopt_dmabuf_unmap(struct iopt_area *area,
			      struct iopt_dmabuf_map *map)
{
	size_t length = iopt_area_length(area);

	WARN_ON(iommu_unmap(map->domain, iopt_area_iova(area), length) !=
		length);
	hlist_del(&map->node);
	kfree(map);
}

static void iopt_dmabuf_unmap_all(struct iopt_area *area)
{
	struct iopt_dmabuf_map *map;
	struct hlist_node *next;

	hlist_for_each_entry_safe(map, next, &area->dmabuf_maps, node)
		iopt_dmabuf_unmap(area, map);
}

/* The memory is going away. No IOMMU can reach it when this returns */
static void iopt_dmabuf_move_notify(struct dma_buf_attachment *attach)
{
	struct iopt_pages *pages = attach->importer_priv;
	struct interval_tree_node *node;

	dma_resv_assert_held(attach->dmabuf->resv);

	mutex_lock(&pages->mutex);
	pages->dmabuf->revoked = true;
	for (node = interval_tree_iter_first(&pages->domains_itree, 0,
					     ULONG_MAX);
	     node; node = interval_tree_iter_next(node, 0, ULONG_MAX)) {
		iopt_dmabuf_unmap_all(container_of(node, struct iopt_area,
						   pages_node));
		cond_resched();
	}
	mutex_unlock(&pages->mutex);
}

static const struct dma_buf_attach_ops iopt_dmabuf_attach_ops = {
	.allow_peer2peer = true,
	.move_notify = iopt_dmabuf_move_notify,
};

/**
 * iopt_dmabuf_fill_domain() - Map an area in a domain
 * @area: An area of a dma-buf, which is not mapped in @domain
 * @pages: The pages of @area
 * @domain: A domain of the area's IOAS, or about to become one
 *
 * Context: May sleep. The caller holds pages->mutex.
 * Return: 0, also if the memory has been taken away, so that nothing is mapped, or
 * an errno of iommu_map().
 */
int iopt_dmabuf_fill_domain(struct iopt_area *area, struct iopt_pages *pages,
			    struct iommu_domain *domain)
{
	const unsigned long iova = iopt_area_iova(area);
	struct iopt_dmabuf *dmabuf = pages->dmabuf;
	struct iopt_dmabuf_map *map;
	int rc;

	lockdep_assert_held(&pages->mutex);

	if (dmabuf->revoked)
		return 0;

	map = kmalloc(sizeof(*map), GFP_KERNEL_ACCOUNT);
	if (!map)
		return -ENOMEM;
	map->domain = domain;
	rc = iommu_map(domain, iova,
		       dmabuf->phys + iopt_area_start_byte(area, iova),
		       iopt_area_length(area),
		       (area->iommu_prot & ~IOMMU_CACHE) | IOMMU_MMIO,
		       GFP_KERNEL_ACCOUNT);
	if (rc) {
		kfree(map);
		return rc;
	}
	hlist_add_head(&map->node, &area->dmabuf_maps);
	return 0;
}

/* Unmap the area from a domain, unless move_notify() has done it already */
void iopt_dmabuf_unfill_domain(struct iopt_area *area, struct iopt_pages *pages,
			       struct iommu_domain *domain)
{
	struct iopt_dmabuf_map *map;

	lockdep_assert_held(&pages->mutex);

	hlist_for_each_entry(map, &area->dmabuf_maps, node) {
		if (map->domain == domain) {
			iopt_dmabuf_unmap(area, map);
			return;
		}
	}
	WARN_ON(!pages->dmabuf->revoked);
}

/**
 * iopt_dmabuf_fill_domains() - Like iopt_area_fill_domains(), for a dma-buf
 * @area: The new area
 * @pages: The pages of @area
 *
 * Context: May sleep. The caller holds domains_rwsem, and there is a domain.
 * Return: 0, or with nothing mapped, an errno of iommu_map().
 */
int iopt_dmabuf_fill_domains(struct iopt_area *area, struct iopt_pages *pages)
{
	struct iommu_domain *domain;
	unsigned long index;
	int rc = 0;

	lockdep_assert_held(&area->iopt->domains_rwsem);

	mutex_lock(&pages->mutex);
	xa_for_each(&area->iopt->domains, index, domain) {
		rc = iopt_dmabuf_fill_domain(area, pages, domain);
		if (rc)
			goto err_unmap;
	}
	area->storage_domain = xa_load(&area->iopt->domains, 0);
	interval_tree_insert(&area->pages_node, &pages->domains_itree);
	goto out_unlock;

err_unmap:
	iopt_dmabuf_unmap_all(area);
out_unlock:
	mutex_unlock(&pages->mutex);
	return rc;
}

/* Like iopt_area_unfill_domains(), for a dma-buf */
void iopt_dmabuf_unfill_domains(struct iopt_area *area,
				struct iopt_pages *pages)
{
	lockdep_assert_held(&area->iopt->domains_rwsem);

	mutex_lock(&pages->mutex);
	if (area->storage_domain) {
		interval_tree_remove(&area->pages_node, &pages->domains_itree);
		iopt_dmabuf_unmap_all(area);
		area->storage_domain = NULL;
	}
	mutex_unlock(&pages->mutex);
}

/* Release the dma-buf of an iopt_pages that has no other users */
void iopt_put_dmabuf(struct iopt_pages *pages)
{
	struct dma_buf_attachment *attach = pages->dmabuf->attach;
	struct dma_buf *dmabuf;

	if (attach) {
		dmabuf = attach->dmabuf;
		/* No move_notify() for these pages comes after this */
		dma_buf_detach(dmabuf, attach);
		dma_buf_put(dmabuf);
	}
	kfree(pages->dmabuf);
}

static struct iopt_pages *iopt_attach_dmabuf(struct dma_buf *dmabuf, u64 start,
					     unsigned long length,
					     bool writable)
{
	static struct lock_class_key mutex_key;
	struct dma_buf_attachment *attach;
	struct iopt_pages *pages;
	phys_addr_t phys;
	u64 end;
	int rc;

	if (!length || check_add_overflow(start, length, &end) ||
	    end > dmabuf->size)
		return ERR_PTR(-EINVAL);
	/* An attach to any other exporter may have side effects: refuse it */
	rc = iopt_dmabuf_get_phys(dmabuf, &phys);
	if (rc)
		return ERR_PTR(rc);

	pages = iopt_alloc_pages((void __user *)(uintptr_t)start, length,
				 writable);
	if (IS_ERR(pages))
		return pages;
	/*
	 * The mutex needs a class of its own: move_notify() takes it inside of
	 * the lock of the dma-buf. For pages of a process, the mutex is outside
	 * of mmap_lock, and so outside of the lock of a dma-buf.
	 */
	lockdep_set_class(&pages->mutex, &mutex_key);
	pages->dmabuf = kzalloc(sizeof(*pages->dmabuf), GFP_KERNEL_ACCOUNT);
	if (!pages->dmabuf) {
		rc = -ENOMEM;
		goto err_put;
	}

	attach = dma_buf_dynamic_attach(dmabuf, iommufd_misc_device(),
					&iopt_dmabuf_attach_ops, pages);
	if (IS_ERR(attach)) {
		rc = PTR_ERR(attach);
		goto err_put;
	}
	get_dma_buf(dmabuf);
	pages->dmabuf->attach = attach;

	/* Check again: from now on, move_notify() reports any removal */
	rc = iopt_dmabuf_get_phys(dmabuf, &phys);
	if (rc)
		goto err_put;
	pages->dmabuf->phys = phys + ALIGN_DOWN(start, PAGE_SIZE);
	return pages;

err_put:
	iopt_put_pages(pages);
	return ERR_PTR(rc);
}

/**
 * iopt_alloc_dmabuf_pages() - Allocate an iopt_pages for a range of a dma-buf
 * @fd: A file descriptor of user space
 * @start: First byte in the dma-buf
 * @length: Number of bytes
 * @writable: DMA may write to the memory
 *
 * The access mode of the file does not matter, as for any importer of a dma-buf.
 *
 * Return: NULL if @fd is no dma-buf, the iopt_pages, or an ERR_PTR: -EINVAL for an
 * empty range, or a range beyond the end, -EOPNOTSUPP for any dma-buf that is not a
 * single range of a VFIO PCI device, -ENODEV if the device has taken the memory
 * away, -EINTR for a fatal signal, -ENOMEM.
 */
struct iopt_pages *iopt_alloc_dmabuf_pages(int fd, u64 start,
					   unsigned long length, bool writable)
{
	struct iopt_pages *pages;
	struct dma_buf *dmabuf;

	dmabuf = dma_buf_get(fd);
	if (IS_ERR(dmabuf))
		return NULL;
	pages = iopt_attach_dmabuf(dmabuf, start, length, writable);
	dma_buf_put(dmabuf);
	return pages;
}
