// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dma-bufs that stand for memory of a device, for tools/testing/selftests/iommu.
 *
 * The memory is ordinary and contiguous. The test takes it away from its importers,
 * and gives it back, as VFIO does when a BAR is disabled and enabled.
 */
#include <linux/dma-buf.h>
#include <linux/dma-resv.h>
#include <linux/file.h>
#include <linux/gfp.h>
#include <linux/io.h>
#include <linux/iommu.h>
#include <linux/iommufd.h>
#include <linux/slab.h>
#include <uapi/linux/iommufd.h>

#include "iommufd_private.h"
#include "selftest_viommu.h"

#define MOCK_DMABUF_MAX		(512 * PAGE_SIZE)

struct mock_dmabuf {
	void *mem;
	size_t length;
	/* Protected by the lock of dma_buf::resv */
	bool revoked;
};

static int mock_dmabuf_pin(struct dma_buf_attachment *attach)
{
	return -EOPNOTSUPP;
}

static void mock_dmabuf_unpin(struct dma_buf_attachment *attach)
{
}

static struct sg_table *mock_dmabuf_map(struct dma_buf_attachment *attach,
					enum dma_data_direction dir)
{
	return ERR_PTR(-EOPNOTSUPP);
}

static void mock_dmabuf_unmap(struct dma_buf_attachment *attach,
			      struct sg_table *sgt, enum dma_data_direction dir)
{
}

static void mock_dmabuf_release(struct dma_buf *dmabuf)
{
	struct mock_dmabuf *mock = dmabuf->priv;

	free_pages_exact(mock->mem, mock->length);
	kfree(mock);
}

static const struct dma_buf_ops mock_dmabuf_ops = {
	.pin = mock_dmabuf_pin,
	.unpin = mock_dmabuf_unpin,
	.map_dma_buf = mock_dmabuf_map,
	.unmap_dma_buf = mock_dmabuf_unmap,
	.release = mock_dmabuf_release,
};

/* Like vfio_pci_dma_buf_get_phys() */
int iommufd_test_dmabuf_get_phys(struct dma_buf *dmabuf, phys_addr_t *phys)
{
	struct mock_dmabuf *mock = dmabuf->priv;
	int rc = -ENODEV;

	if (dmabuf->ops != &mock_dmabuf_ops)
		return -EOPNOTSUPP;
	dma_resv_lock(dmabuf->resv, NULL);
	if (!mock->revoked) {
		*phys = virt_to_phys(mock->mem);
		rc = 0;
	}
	dma_resv_unlock(dmabuf->resv);
	return rc;
}

/* Return: the file descriptor of a new dma-buf */
int iommufd_test_dmabuf_get(struct iommufd_ucmd *ucmd,
			    struct iommu_test_cmd *cmd)
{
	DEFINE_DMA_BUF_EXPORT_INFO(exp_info);
	size_t length = cmd->dmabuf_get.length;
	struct mock_dmabuf *mock;
	struct dma_buf *dmabuf;
	int fd, rc;

	if (!length || length % PAGE_SIZE || length > MOCK_DMABUF_MAX)
		return -EINVAL;

	fd = get_unused_fd_flags(cmd->dmabuf_get.open_flags);
	if (fd < 0)
		return fd;
	mock = kzalloc(sizeof(*mock), GFP_KERNEL_ACCOUNT);
	if (!mock) {
		rc = -ENOMEM;
		goto err_fd;
	}
	mock->length = length;
	mock->mem = alloc_pages_exact(length, GFP_KERNEL_ACCOUNT | __GFP_ZERO);
	if (!mock->mem) {
		rc = -ENOMEM;
		goto err_mock;
	}

	exp_info.ops = &mock_dmabuf_ops;
	exp_info.size = length;
	exp_info.flags = cmd->dmabuf_get.open_flags;
	exp_info.priv = mock;
	dmabuf = dma_buf_export(&exp_info);
	if (IS_ERR(dmabuf)) {
		rc = PTR_ERR(dmabuf);
		goto err_mem;
	}
	fd_install(fd, dmabuf->file);
	return fd;

err_mem:
	free_pages_exact(mock->mem, length);
err_mock:
	kfree(mock);
err_fd:
	put_unused_fd(fd);
	return rc;
}

/* The mock dma-buf of a file descriptor. The caller must put it. */
static struct dma_buf *mock_dmabuf_from_fd(int fd)
{
	struct dma_buf *dmabuf = dma_buf_get(fd);

	if (IS_ERR(dmabuf) || dmabuf->ops == &mock_dmabuf_ops)
		return dmabuf;
	dma_buf_put(dmabuf);
	return ERR_PTR(-EINVAL);
}

/* Disable or enable the memory */
int iommufd_test_dmabuf_revoke(struct iommufd_ucmd *ucmd,
			       struct iommu_test_cmd *cmd)
{
	struct mock_dmabuf *mock;
	struct dma_buf *dmabuf;

	dmabuf = mock_dmabuf_from_fd(cmd->dmabuf_revoke.dmabuf_fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	mock = dmabuf->priv;

	dma_resv_lock(dmabuf->resv, NULL);
	mock->revoked = cmd->dmabuf_revoke.revoked;
	if (mock->revoked)
		dma_buf_move_notify(dmabuf);
	dma_resv_unlock(dmabuf->resv);
	dma_buf_put(dmabuf);
	return 0;
}

/*
 * Check that an HWPT maps the range of the dma-buf at @iova, as memory of a
 * device. Return: -ENOENT if nothing is mapped there, -EINVAL if other memory
 * is.
 */
int iommufd_test_md_check_dmabuf(struct iommufd_ucmd *ucmd,
				 struct iommu_test_cmd *cmd)
{
	const struct iommu_test_check_dmabuf *check = &cmd->check_dmabuf;
	struct iommufd_object *obj;
	struct iommu_domain *domain;
	struct mock_dmabuf *mock;
	struct dma_buf *dmabuf;
	int rc;

	dmabuf = mock_dmabuf_from_fd(check->dmabuf_fd);
	if (IS_ERR(dmabuf))
		return PTR_ERR(dmabuf);
	mock = dmabuf->priv;
	rc = -EINVAL;
	if (!check->length || check->length > mock->length ||
	    check->start > mock->length - check->length)
		goto out_put;

	obj = iommufd_get_object(ucmd->ictx, cmd->id, IOMMUFD_OBJ_HWPT_PAGING);
	if (IS_ERR(obj)) {
		rc = PTR_ERR(obj);
		goto out_put;
	}
	domain = container_of(obj, struct iommufd_hw_pagetable, obj)->domain;
	rc = mock_domain_check_mmio(domain, check->iova,
				    virt_to_phys(mock->mem) + check->start,
				    check->length);
	iommufd_put_object(ucmd->ictx, obj);
out_put:
	dma_buf_put(dmabuf);
	return rc;
}
