// SPDX-License-Identifier: GPL-2.0-only
/*
 * mmap() of the iommufd: memory of a vIOMMU that a VMM gives to its VM.
 *
 * A driver creates a region of such memory in iommu_ops::viommu_init, and
 * reports the offset and the length in the data of the vIOMMU. User space maps
 * a region as a whole. There are two kinds:
 *
 *  - Registers, which are mapped by mmap() and stay mapped.
 *  - Memory whose page faults go to the driver. The driver can take a page out
 *    of all page tables, the stage 2 of a KVM guest included, so that the next
 *    access to the page faults and works like a doorbell.
 *
 * The offset of a region can be guessed, so a region must not be mapped before
 * its vIOMMU is published: the allocation may still fail, and the memory is
 * freed then. mmap() hence looks the vIOMMU up by its ID in the xarray of the
 * context, as an ioctl does. From then on each VMA holds a reference on the
 * vIOMMU, which cannot be destroyed until the last VMA is closed (EBUSY). Each
 * VMA holds the file as well, so the file is not released before.
 *
 * Each context has an address_space, with the tree of VMAs that
 * unmap_mapping_range() searches by vm_pgoff. The address_space of the inode
 * would do as well, but all open files of /dev/iommu share it. A thread that
 * gets little CPU time may hold its lock during a zap, and must not keep other
 * VMs from mmap() and munmap(). The offsets of regions are unique among all
 * contexts, since the tree of regions is common.
 *
 * Like driver.c, this file is always built in, and must not call iommufd.ko.
 *
 * The locking order is mmap_lock -> iommufd_regions_lock -> xa_lock of
 * iommufd_ctx::objects, and mmap_lock -> lock of the driver -> i_mmap_rwsem.
 */
#include <linux/atomic.h>
#include <linux/export.h>
#include <linux/fs.h>
#include <linux/interval_tree.h>
#include <linux/iommufd.h>
#include <linux/mm.h>
#include <linux/pagemap.h>
#include <linux/pfn.h>
#include <linux/rbtree.h>
#include <linux/slab.h>
#include <linux/spinlock.h>
#include <linux/xarray.h>

#include "iommufd_private.h"

/*
 * Maximum number of VMAs of a region with page faults.
 * iommufd_viommu_zap_mmap() visits all of them, and cannot be killed.
 */
#define IOMMUFD_REGION_MAX_VMAS 16

/*
 * A region that user space can map. All but @num_vmas is constant once it is in
 * the tree.
 */
struct iommufd_region {
	/* The pages of the region, in units of vm_pgoff */
	struct interval_tree_node node;
	struct iommufd_viommu *viommu;
	/* Page faults go to the driver. Otherwise @base is valid */
	bool fault;
	phys_addr_t base;
	atomic_t num_vmas;
};

/*
 * Regions of all contexts. A region is removed before it is freed, and freed
 * before its vIOMMU. So both exist if they are found with the lock held.
 */
static DEFINE_SPINLOCK(iommufd_regions_lock);
static struct rb_root_cached iommufd_regions = RB_ROOT_CACHED;
/* Start of the next search. This avoids reusing an offset soon */
static unsigned long iommufd_regions_next = 1;

/* mmap() takes an offset as unsigned long, unmap_mapping_range() as loff_t */
#define IOMMUFD_REGION_LAST_PGOFF ((unsigned long)LONG_MAX >> PAGE_SHIFT)

/* Page 0 is left out, so that no valid offset is 0 */
static int iommufd_region_insert(struct iommufd_region *region,
				 unsigned long npages)
{
	unsigned long start, last;
	struct interval_tree_node *node;
	bool wrapped = false;

	if (npages > IOMMUFD_REGION_LAST_PGOFF)
		return -ENOSPC;

	spin_lock(&iommufd_regions_lock);
	start = iommufd_regions_next;
	for (;;) {
		if (start > IOMMUFD_REGION_LAST_PGOFF - npages + 1) {
			if (wrapped) {
				spin_unlock(&iommufd_regions_lock);
				return -ENOSPC;
			}
			wrapped = true;
			start = 1;
			continue;
		}
		last = start + npages - 1;
		node = interval_tree_iter_first(&iommufd_regions, start, last);
		if (!node)
			break;
		start = node->last + 1;
	}
	region->node.start = start;
	region->node.last = last;
	interval_tree_insert(&region->node, &iommufd_regions);
	iommufd_regions_next = last + 1;
	spin_unlock(&iommufd_regions_lock);
	return 0;
}

/* Find the region that begins at @pgoff */
static struct iommufd_region *iommufd_region_find(unsigned long pgoff)
{
	struct interval_tree_node *node;

	lockdep_assert_held(&iommufd_regions_lock);

	node = interval_tree_iter_first(&iommufd_regions, pgoff, pgoff);
	if (!node || node->start != pgoff)
		return NULL;
	return container_of(node, struct iommufd_region, node);
}

static int iommufd_region_alloc(struct iommufd_viommu *viommu, bool fault,
				phys_addr_t base, size_t length,
				unsigned long *offset)
{
	struct iommufd_region *region;
	int rc;

	if (!length || !PAGE_ALIGNED(length) || !PAGE_ALIGNED(base))
		return -EINVAL;

	region = kzalloc(sizeof(*region), GFP_KERNEL_ACCOUNT);
	if (!region)
		return -ENOMEM;
	region->viommu = viommu;
	region->fault = fault;
	region->base = base;
	atomic_set(&region->num_vmas, 0);

	rc = iommufd_region_insert(region, length >> PAGE_SHIFT);
	if (rc) {
		kfree(region);
		return rc;
	}
	*offset = region->node.start << PAGE_SHIFT;
	return 0;
}

/**
 * iommufd_viommu_alloc_mmap() - Let user space map registers of a vIOMMU
 * @viommu: The vIOMMU
 * @base: Physical address of the registers, page aligned
 * @length: Their length, page aligned
 * @offset: Output offset for mmap() of the iommufd
 *
 * The mapping is not cached. The driver must call iommufd_viommu_destroy_mmap()
 * in iommufd_viommu_ops::destroy, or before it fails iommu_ops::viommu_init.
 *
 * Context: Called in iommu_ops::viommu_init only, may sleep.
 * Return: 0, or an errno.
 */
int iommufd_viommu_alloc_mmap(struct iommufd_viommu *viommu, phys_addr_t base,
			      size_t length, unsigned long *offset)
{
	return iommufd_region_alloc(viommu, false, base, length, offset);
}
EXPORT_SYMBOL_NS_GPL(iommufd_viommu_alloc_mmap, IOMMUFD);

/**
 * iommufd_viommu_alloc_mmap_fault() - Let user space map memory of a vIOMMU
 *                                     whose page faults the driver handles
 * @viommu: The vIOMMU. Its ops must have iommufd_viommu_ops::mmap_fault
 * @length: Length of the memory, page aligned
 * @offset: Output offset for mmap() of the iommufd
 *
 * The mapping is cached like other memory. mmap() does not populate it. fork()
 * does not copy it, and user space cannot unmap a part of it. A region has at
 * most IOMMUFD_REGION_MAX_VMAS mappings (EBUSY).
 *
 * The driver must call iommufd_viommu_destroy_mmap() in
 * iommufd_viommu_ops::destroy, or before it fails iommu_ops::viommu_init, and
 * must not free a page before.
 *
 * Context: Called in iommu_ops::viommu_init only, may sleep.
 * Return: 0, or an errno.
 */
int iommufd_viommu_alloc_mmap_fault(struct iommufd_viommu *viommu,
				    size_t length, unsigned long *offset)
{
	return iommufd_region_alloc(viommu, true, 0, length, offset);
}
EXPORT_SYMBOL_NS_GPL(iommufd_viommu_alloc_mmap_fault, IOMMUFD);

/**
 * iommufd_viommu_destroy_mmap() - Undo iommufd_viommu_alloc_mmap() or
 *                                 iommufd_viommu_alloc_mmap_fault()
 * @viommu: The vIOMMU
 * @offset: The offset that the allocation returned
 *
 * The driver may free the memory when this returns.
 *
 * Context: Called in iommufd_viommu_ops::destroy, or in iommu_ops::viommu_init
 * before it fails. No mapping exists in either case. May sleep.
 */
void iommufd_viommu_destroy_mmap(struct iommufd_viommu *viommu,
				 unsigned long offset)
{
	struct iommufd_region *region;

	spin_lock(&iommufd_regions_lock);
	region = iommufd_region_find(offset >> PAGE_SHIFT);
	if (!WARN_ON_ONCE(!region || region->viommu != viommu))
		interval_tree_remove(&region->node, &iommufd_regions);
	else
		region = NULL;
	spin_unlock(&iommufd_regions_lock);

	WARN_ON_ONCE(region && atomic_read(&region->num_vmas));
	kfree(region);
}
EXPORT_SYMBOL_NS_GPL(iommufd_viommu_destroy_mmap, IOMMUFD);

/**
 * iommufd_viommu_zap_mmap() - Let the next access to a page fault again
 * @viommu: The vIOMMU
 * @offset: Offset of the first byte: that of a region of
 *          iommufd_viommu_alloc_mmap_fault(), plus the offset in the region
 * @length: Number of bytes
 *
 * When this returns, each store to the pages by user space or by a VM has either
 * completed, or must pass the fault handler first. The handler may run
 * at any time, and map the pages again, unless the driver holds a lock that the
 * handler takes.
 *
 * Context: Process context, may sleep. @viommu must exist. The caller may hold
 * a lock that the fault handler takes, but no mmap_lock.
 */
void iommufd_viommu_zap_mmap(struct iommufd_viommu *viommu,
			     unsigned long offset, size_t length)
{
	unmap_mapping_range(&viommu->ictx->mapping, offset, length, 1);
}
EXPORT_SYMBOL_NS_GPL(iommufd_viommu_zap_mmap, IOMMUFD);

/*
 * Find the region of a published vIOMMU, and take a reference on the vIOMMU for
 * a VMA.
 */
static struct iommufd_region *iommufd_region_get(struct iommufd_ctx *ictx,
						 unsigned long pgoff,
						 unsigned long npages)
{
	struct iommufd_object *obj;
	struct iommufd_region *region;
	int rc = -ENXIO;

	spin_lock(&iommufd_regions_lock);
	region = iommufd_region_find(pgoff);
	if (!region || region->node.last - pgoff != npages - 1 ||
	    region->viommu->ictx != ictx)
		goto out_unlock;
	if (region->fault &&
	    atomic_read(&region->num_vmas) >= IOMMUFD_REGION_MAX_VMAS) {
		rc = -EBUSY;
		goto out_unlock;
	}

	/*
	 * It is not enough to check the count of users, because it is already 1
	 * before the vIOMMU is published.
	 */
	obj = &region->viommu->obj;
	xa_lock(&ictx->objects);
	if (xa_load(&ictx->objects, obj->id) == obj &&
	    refcount_inc_not_zero(&obj->users)) {
		atomic_inc(&region->num_vmas);
		rc = 0;
	}
	xa_unlock(&ictx->objects);
out_unlock:
	spin_unlock(&iommufd_regions_lock);
	return rc ? ERR_PTR(rc) : region;
}

static void iommufd_region_put(struct iommufd_region *region)
{
	atomic_dec(&region->num_vmas);
	/* The vIOMMU, and the region, may be freed after this */
	refcount_dec(&region->viommu->obj.users);
}

/* A VMA was copied. The copy needs a reference of its own */
static void iommufd_region_vma_open(struct vm_area_struct *vma)
{
	struct iommufd_region *region = vma->vm_private_data;

	atomic_inc(&region->num_vmas);
	refcount_inc(&region->viommu->obj.users);
}

static void iommufd_region_vma_close(struct vm_area_struct *vma)
{
	iommufd_region_put(vma->vm_private_data);
}

static const struct vm_operations_struct iommufd_region_vm_ops = {
	.open = iommufd_region_vma_open,
	.close = iommufd_region_vma_close,
};

/* Split VMAs could exceed IOMMUFD_REGION_MAX_VMAS */
static int iommufd_region_vma_may_split(struct vm_area_struct *vma,
					unsigned long addr)
{
	return -EINVAL;
}

static vm_fault_t iommufd_region_vma_fault(struct vm_fault *vmf)
{
	struct iommufd_region *region = vmf->vma->vm_private_data;

	return region->viommu->ops->mmap_fault(region->viommu, vmf,
					       vmf->pgoff - region->node.start);
}

static const struct vm_operations_struct iommufd_region_fault_vm_ops = {
	.open = iommufd_region_vma_open,
	.close = iommufd_region_vma_close,
	.may_split = iommufd_region_vma_may_split,
	.fault = iommufd_region_vma_fault,
};

/* Called when the file is opened, before anything can be mapped */
void iommufd_mmap_init(struct iommufd_ctx *ictx, struct file *filp)
{
	struct address_space *mapping = &ictx->mapping;

	address_space_init_once(mapping);
	init_rwsem(&mapping->invalidate_lock);
	mapping->a_ops = &empty_aops;
	mapping->host = file_inode(filp);
	mapping_set_gfp_mask(mapping, GFP_USER);
	filp->f_mapping = mapping;
}
EXPORT_SYMBOL_NS_GPL(iommufd_mmap_init, IOMMUFD_INTERNAL);

int iommufd_fops_mmap(struct file *filp, struct vm_area_struct *vma)
{
	struct iommufd_ctx *ictx = filp->private_data;
	struct iommufd_region *region;
	int rc;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_flags & VM_EXEC)
		return -EPERM;

	region = iommufd_region_get(ictx, vma->vm_pgoff, vma_pages(vma));
	if (IS_ERR(region))
		return PTR_ERR(region);

	/* Refuse PROT_EXEC in a later mprotect(), too */
	vm_flags_clear(vma, VM_MAYEXEC);
	if (region->fault) {
		/* With VM_IO, MADV_DOFORK cannot undo VM_DONTCOPY */
		vm_flags_set(vma, VM_IO | VM_PFNMAP | VM_DONTEXPAND |
				  VM_DONTDUMP | VM_DONTCOPY);
		vma->vm_ops = &iommufd_region_fault_vm_ops;
	} else {
		vma->vm_page_prot = pgprot_noncached(vma->vm_page_prot);
		rc = io_remap_pfn_range(vma, vma->vm_start,
					PHYS_PFN(region->base),
					vma->vm_end - vma->vm_start,
					vma->vm_page_prot);
		if (rc) {
			/* There is no vm_ops->close() for a VMA that fails */
			iommufd_region_put(region);
			return rc;
		}
		vma->vm_ops = &iommufd_region_vm_ops;
	}
	vma->vm_private_data = region;
	return 0;
}
EXPORT_SYMBOL_NS_GPL(iommufd_fops_mmap, IOMMUFD_INTERNAL);
