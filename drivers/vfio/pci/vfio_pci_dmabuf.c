// SPDX-License-Identifier: GPL-2.0-only
/*
 * VFIO_DEVICE_FEATURE_DMA_BUF: ranges of a BAR as a dma-buf, so that other devices
 * of the user can reach them by DMA.
 *
 * The only importer is iommufd. It takes the physical address from
 * vfio_pci_dma_buf_get_phys(), and its move_notify() does not return before the
 * memory is unmapped from all IOMMUs. Other importers are refused: they need pages
 * or DMA addresses, and may keep their mappings for a while after move_notify().
 *
 * Invariant: a dma-buf is only mapped while the user can access the BARs.
 *
 *  - Any code that ends this access holds memory_lock for write, and first removes
 *    the mappings of the CPUs with vfio_pci_zap_bars(). This also revokes the
 *    dma-bufs.
 *  - An importer gets the address with memory_lock held for read, and must be
 *    attached before. So it either gets an error, or is notified when the
 *    access ends.
 *
 * The dma-buf can be mapped again as soon as the BARs can be accessed again, until
 * the device is closed.
 *
 * A dma-buf may outlive the device. So the state that both need is in a struct
 * vfio_pci_dmabufs, on which both have a reference.
 *
 * Locks, the outermost first: vfio_pci_dmabufs::open_lock, memory_lock,
 * vfio_pci_dmabufs::resv.
 */
#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/file.h>
#include <linux/kref.h>
#include <linux/nospec.h>
#include <linux/overflow.h>
#include <linux/rwsem.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/vfio.h>

#include "vfio_pci_priv.h"

/* The dma-bufs of a device, from its open to its close */
struct vfio_pci_dmabufs {
	struct kref kref;
	/* Protects vdev */
	struct rw_semaphore open_lock;
	/* NULL after the device has been closed */
	struct vfio_pci_core_device *vdev;
	/* The reservation object of each of the dma-bufs. Its lock protects list */
	struct dma_resv resv;
	struct list_head list;
};

struct vfio_pci_dmabuf {
	struct vfio_pci_dmabufs *dmabufs;
	struct dma_buf *dmabuf;
	/* In vfio_pci_dmabufs::list */
	struct list_head node;
	/* Start of the first range; several ranges can never be mapped */
	phys_addr_t phys;
	u32 nr_ranges;
};

static void vfio_pci_dmabufs_free(struct kref *kref)
{
	struct vfio_pci_dmabufs *dmabufs =
		container_of(kref, struct vfio_pci_dmabufs, kref);

	dma_resv_fini(&dmabufs->resv);
	kfree(dmabufs);
}

static void vfio_pci_dmabufs_put(struct vfio_pci_dmabufs *dmabufs)
{
	kref_put(&dmabufs->kref, vfio_pci_dmabufs_free);
}

/* Return: vdev->dmabufs with a reference for the caller, or NULL on failure */
static struct vfio_pci_dmabufs *
vfio_pci_dmabufs_get(struct vfio_pci_core_device *vdev)
{
	struct vfio_pci_dmabufs *dmabufs, *new;

	new = kzalloc(sizeof(*new), GFP_KERNEL_ACCOUNT);
	if (!new)
		return NULL;
	kref_init(&new->kref);
	init_rwsem(&new->open_lock);
	new->vdev = vdev;
	dma_resv_init(&new->resv);
	INIT_LIST_HEAD(&new->list);

	down_write(&vdev->memory_lock);
	dmabufs = vdev->dmabufs;
	if (!dmabufs) {
		dmabufs = new;
		vdev->dmabufs = new;
		new = NULL;
	}
	kref_get(&dmabufs->kref);
	up_write(&vdev->memory_lock);

	if (new)
		vfio_pci_dmabufs_put(new);
	return dmabufs;
}

static int vfio_pci_dma_buf_attach(struct dma_buf *dmabuf,
				   struct dma_buf_attachment *attach)
{
	return dma_buf_attachment_is_dynamic(attach) ? 0 : -EOPNOTSUPP;
}

/* Without this op, the core would map the dma-buf for an importer that attaches */
static int vfio_pci_dma_buf_pin(struct dma_buf_attachment *attach)
{
	return -EOPNOTSUPP;
}

static void vfio_pci_dma_buf_unpin(struct dma_buf_attachment *attach)
{
}

static struct sg_table *vfio_pci_dma_buf_map(struct dma_buf_attachment *attach,
					     enum dma_data_direction dir)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static void vfio_pci_dma_buf_unmap(struct dma_buf_attachment *attach,
				   struct sg_table *sgt,
				   enum dma_data_direction dir)
{
}

static void vfio_pci_dma_buf_release(struct dma_buf *dmabuf)
{
	struct vfio_pci_dmabuf *priv = dmabuf->priv;
	struct vfio_pci_dmabufs *dmabufs = priv->dmabufs;

	dma_resv_lock(&dmabufs->resv, NULL);
	list_del(&priv->node);
	dma_resv_unlock(&dmabufs->resv);
	vfio_pci_dmabufs_put(dmabufs);
	kfree(priv);
}

static const struct dma_buf_ops vfio_pci_dma_buf_ops = {
	.attach = vfio_pci_dma_buf_attach,
	.pin = vfio_pci_dma_buf_pin,
	.unpin = vfio_pci_dma_buf_unpin,
	.map_dma_buf = vfio_pci_dma_buf_map,
	.unmap_dma_buf = vfio_pci_dma_buf_unmap,
	.release = vfio_pci_dma_buf_release,
};

/**
 * vfio_pci_dma_buf_get_phys() - Get the memory of a dma-buf, to map it in an IOMMU
 * @dmabuf: Any dma-buf
 * @phys: Result: physical address of its first byte. The rest of it is contiguous
 *
 * For iommufd. If @phys is going to be used, a dynamic attachment must exist, and
 * its move_notify() must unmap the memory before it returns.
 *
 * Context: May sleep. Takes memory_lock, so the caller must not hold @dmabuf->resv.
 * Return: 0, -EOPNOTSUPP if @dmabuf is not a single range of a VFIO PCI device,
 * -ENODEV if the device has been closed, or if its BARs are disabled, or -EINTR for
 * a fatal signal.
 */
int vfio_pci_dma_buf_get_phys(struct dma_buf *dmabuf, phys_addr_t *phys)
{
	struct vfio_pci_core_device *vdev;
	struct vfio_pci_dmabufs *dmabufs;
	struct vfio_pci_dmabuf *priv;
	int ret = -ENODEV;

	if (dmabuf->ops != &vfio_pci_dma_buf_ops)
		return -EOPNOTSUPP;
	priv = dmabuf->priv;
	if (priv->nr_ranges != 1)
		return -EOPNOTSUPP;

	dmabufs = priv->dmabufs;
	down_read(&dmabufs->open_lock);
	vdev = dmabufs->vdev;
	if (!vdev)
		goto out_unlock;
	/* A reset of the device may hold the lock for seconds */
	if (down_read_killable(&vdev->memory_lock)) {
		ret = -EINTR;
		goto out_unlock;
	}
	if (!vdev->pm_runtime_engaged && __vfio_pci_memory_enabled(vdev)) {
		*phys = priv->phys;
		ret = 0;
	}
	up_read(&vdev->memory_lock);
out_unlock:
	up_read(&dmabufs->open_lock);
	return ret;
}
EXPORT_SYMBOL_GPL(vfio_pci_dma_buf_get_phys);

/*
 * Unmap the BARs from all IOMMUs. There is no fence to wait for: fences would come
 * from the user alone, and no importer needs them.
 */
void vfio_pci_dma_buf_revoke(struct vfio_pci_core_device *vdev)
{
	struct vfio_pci_dmabufs *dmabufs = vdev->dmabufs;
	struct vfio_pci_dmabuf *priv;

	lockdep_assert_held_write(&vdev->memory_lock);

	if (!dmabufs)
		return;
	dma_resv_lock(&dmabufs->resv, NULL);
	list_for_each_entry(priv, &dmabufs->list, node)
		dma_buf_move_notify(priv->dmabuf);
	dma_resv_unlock(&dmabufs->resv);
}

/* Called when the device is closed, before it is disabled and reset */
void vfio_pci_dma_buf_cleanup(struct vfio_pci_core_device *vdev)
{
	struct vfio_pci_dmabufs *dmabufs = vdev->dmabufs;

	if (!dmabufs)
		return;

	down_write(&dmabufs->open_lock);
	dmabufs->vdev = NULL;
	up_write(&dmabufs->open_lock);

	down_write(&vdev->memory_lock);
	vfio_pci_dma_buf_revoke(vdev);
	vdev->dmabufs = NULL;
	up_write(&vdev->memory_lock);
	vfio_pci_dmabufs_put(dmabufs);
}

/* Check all ranges. Return: the size of the dma-buf, or an errno */
static ssize_t
vfio_pci_dma_buf_check_ranges(resource_size_t bar_size, u32 nr_ranges,
			      struct vfio_region_dma_range __user *ranges,
			      u64 *first)
{
	struct vfio_region_dma_range range;
	ssize_t size = 0;
	u64 end;
	u32 i;

	/* At most one range for each page of the BAR */
	if (nr_ranges > bar_size >> PAGE_SHIFT)
		return -EINVAL;

	for (i = 0; i != nr_ranges; i++) {
		if (copy_from_user(&range, &ranges[i], sizeof(range)))
			return -EFAULT;
		if (!range.length || !PAGE_ALIGNED(range.offset) ||
		    !PAGE_ALIGNED(range.length))
			return -EINVAL;
		if (check_add_overflow(range.offset, range.length, &end))
			return -EOVERFLOW;
		if (end > bar_size)
			return -EINVAL;
		if (check_add_overflow(size, range.length, &size))
			return -EOVERFLOW;
		if (!i)
			*first = range.offset;
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
	}
	return size;
}

static struct dma_buf *
vfio_pci_dma_buf_export(struct vfio_pci_core_device *vdev,
			const struct vfio_device_feature_dma_buf *get,
			phys_addr_t phys, size_t size)
{
	DEFINE_DMA_BUF_EXPORT_INFO(exp_info);
	struct vfio_pci_dmabufs *dmabufs;
	struct vfio_pci_dmabuf *priv;
	struct dma_buf *dmabuf;

	priv = kzalloc(sizeof(*priv), GFP_KERNEL_ACCOUNT);
	if (!priv)
		return ERR_PTR(-ENOMEM);
	dmabufs = vfio_pci_dmabufs_get(vdev);
	if (!dmabufs) {
		dmabuf = ERR_PTR(-ENOMEM);
		goto err_free;
	}
	priv->dmabufs = dmabufs;
	priv->phys = phys;
	priv->nr_ranges = get->nr_ranges;

	exp_info.ops = &vfio_pci_dma_buf_ops;
	exp_info.size = size;
	exp_info.flags = get->open_flags;
	exp_info.resv = &dmabufs->resv;
	exp_info.priv = priv;
	dmabuf = dma_buf_export(&exp_info);
	if (IS_ERR(dmabuf))
		goto err_put;

	/* From now on, the release of the dma-buf frees priv */
	dma_resv_lock(&dmabufs->resv, NULL);
	priv->dmabuf = dmabuf;
	list_add_tail(&priv->node, &dmabufs->list);
	dma_resv_unlock(&dmabufs->resv);
	return dmabuf;

err_put:
	vfio_pci_dmabufs_put(dmabufs);
err_free:
	kfree(priv);
	return dmabuf;
}

/**
 * vfio_pci_core_feature_dma_buf() - VFIO_DEVICE_FEATURE_DMA_BUF
 * @device: The VFIO device
 * @flags: VFIO_DEVICE_FEATURE_*
 * @arg: The struct of user space
 * @argsz: Size of @arg
 *
 * Return: the file descriptor of the dma-buf, or an errno. -EOPNOTSUPP if the
 * driver does not present the BARs as they are, -EINVAL if no range, a flag, or a
 * range that is not of whole pages in the BAR is given, -EOVERFLOW, -ENODEV if
 * there is no such BAR, or if it cannot be mapped or is in use by another driver,
 * -EFAULT, -EINTR for a fatal signal, -EMFILE, -ENOMEM.
 */
int vfio_pci_core_feature_dma_buf(struct vfio_device *device, u32 flags,
				  struct vfio_device_feature_dma_buf __user *arg,
				  size_t argsz)
{
	struct vfio_pci_core_device *vdev =
		container_of(device, struct vfio_pci_core_device, vdev);
	struct vfio_device_feature_dma_buf get;
	struct dma_buf *dmabuf;
	unsigned int bar;
	phys_addr_t phys;
	ssize_t size;
	u64 first = 0;
	int ret, fd;

	/* A driver with its own mmap() may hide or replace a part of a BAR */
	if (device->ops->mmap != vfio_pci_core_mmap)
		return -EOPNOTSUPP;
	ret = vfio_check_feature(flags, argsz, VFIO_DEVICE_FEATURE_GET,
				 sizeof(get));
	if (ret != 1)
		return ret;
	if (copy_from_user(&get, arg, sizeof(get)))
		return -EFAULT;

	if (!get.nr_ranges || get.flags)
		return -EINVAL;
	if (get.region_index >= VFIO_PCI_ROM_REGION_INDEX)
		return -ENODEV;
	bar = array_index_nospec(get.region_index, VFIO_PCI_ROM_REGION_INDEX);
	/* The memory must belong to this driver, as for read() and mmap() */
	if (!vdev->bar_mmap_supported[bar] ||
	    vfio_pci_core_setup_barmap(vdev, bar))
		return -ENODEV;
	size = vfio_pci_dma_buf_check_ranges(pci_resource_len(vdev->pdev, bar),
					     get.nr_ranges, arg->dma_ranges,
					     &first);
	if (size < 0)
		return size;
	phys = pci_resource_start(vdev->pdev, bar) + first;

	fd = get_unused_fd_flags(get.open_flags);
	if (fd < 0)
		return fd;
	dmabuf = vfio_pci_dma_buf_export(vdev, &get, phys, size);
	if (IS_ERR(dmabuf)) {
		put_unused_fd(fd);
		return PTR_ERR(dmabuf);
	}
	fd_install(fd, dmabuf->file);
	return fd;
}
