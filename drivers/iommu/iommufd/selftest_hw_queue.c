// SPDX-License-Identifier: GPL-2.0-only
/*
 * HW_QUEUEs of the mock vIOMMUs, and their memory for mmap().
 *
 * The mock driver does not read its queues. It checks that the core passes the
 * physical address of the memory, and lets each queue depend on the queue with
 * the previous index.
 *
 * The "registers" of a vIOMMU are two pages of memory. A vIOMMU of another type
 * has two pages with page faults. It counts the faults, and zaps the pages when
 * a test asks for it.
 */
#include <linux/align.h>
#include <linux/container_of.h>
#include <linux/delay.h>
#include <linux/gfp.h>
#include <linux/iommu.h>
#include <linux/iommufd.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <uapi/linux/iommufd.h>
#ifdef CONFIG_X86
#include <asm/set_memory.h>
#endif

#include "iommufd_private.h"
#include "selftest_viommu.h"

#define MOCK_VIOMMU_PAGES	2

struct mock_hw_queue {
	struct iommufd_hw_queue core;
	struct mock_hw_queue *prev;
	u32 index;
};

static struct mock_viommu *to_mock_viommu(struct iommufd_viommu *viommu)
{
	return container_of(viommu, struct mock_viommu, core);
}

static struct mock_hw_queue *to_mock_hw_queue(struct iommufd_hw_queue *hw_queue)
{
	return container_of(hw_queue, struct mock_hw_queue, core);
}

size_t mock_get_hw_queue_size(struct iommufd_viommu *viommu, unsigned int type)
{
	switch (type) {
	case IOMMU_HW_QUEUE_TYPE_SELFTEST:
	case IOMMU_HW_QUEUE_TYPE_SELFTEST_WRITE:
		return HW_QUEUE_STRUCT_SIZE(struct mock_hw_queue, core);
	default:
		return 0;
	}
}

bool mock_hw_queue_is_written(struct iommufd_viommu *viommu, unsigned int type)
{
	return type == IOMMU_HW_QUEUE_TYPE_SELFTEST_WRITE;
}

size_t mock_hw_queue_max_length(struct iommufd_viommu *viommu,
				unsigned int type)
{
	return type == IOMMU_HW_QUEUE_TYPE_SELFTEST_WRITE ?
		       IOMMU_TEST_HW_QUEUE_WRITE_LENGTH :
		       SIZE_MAX;
}

static void mock_hw_queue_destroy(struct iommufd_hw_queue *hw_queue)
{
	struct mock_viommu *mock = to_mock_viommu(hw_queue->viommu);
	struct mock_hw_queue *queue = to_mock_hw_queue(hw_queue);

	mutex_lock(&mock->queues_lock);
	mock->queues[queue->index] = NULL;
	if (queue->prev)
		iommufd_hw_queue_undepend(&queue->prev->core);
	mutex_unlock(&mock->queues_lock);
}

static bool mock_hw_queue_is_at(struct iommufd_hw_queue *hw_queue,
				phys_addr_t phys)
{
	struct iommu_domain *parent = hw_queue->viommu->hwpt->common.domain;
	unsigned long iova = hw_queue->base_addr;

	return iommu_iova_to_phys(parent, ALIGN_DOWN(iova, PAGE_SIZE)) +
		       offset_in_page(iova) == phys;
}

int mock_hw_queue_init_phys(struct iommufd_hw_queue *hw_queue, u32 index,
			    phys_addr_t base_addr_pa)
{
	struct mock_viommu *mock = to_mock_viommu(hw_queue->viommu);
	struct mock_hw_queue *queue = to_mock_hw_queue(hw_queue);
	struct mock_hw_queue *prev = NULL;
	int rc = 0;

	if (index >= IOMMU_TEST_HW_QUEUE_MAX)
		return -EINVAL;

	mutex_lock(&mock->queues_lock);
	if (mock->queues[index]) {
		rc = -EEXIST;
		goto out_unlock;
	}
	if (index) {
		prev = mock->queues[index - 1];
		if (!prev) {
			rc = -EIO;
			goto out_unlock;
		}
	}
	if (!mock_hw_queue_is_at(hw_queue, base_addr_pa)) {
		rc = -EFAULT;
		goto out_unlock;
	}
	if (prev) {
		rc = iommufd_hw_queue_depend(&prev->core);
		if (rc)
			goto out_unlock;
	}

	queue->prev = prev;
	queue->index = index;
	hw_queue->destroy = mock_hw_queue_destroy;
	mock->queues[index] = queue;
out_unlock:
	mutex_unlock(&mock->queues_lock);
	return rc;
}

vm_fault_t mock_viommu_mmap_fault(struct iommufd_viommu *viommu,
				  struct vm_fault *vmf, unsigned long index)
{
	struct mock_viommu *mock = to_mock_viommu(viommu);
	vm_fault_t ret = VM_FAULT_SIGBUS;

	mutex_lock(&mock->faults_lock);
	if (!WARN_ON(index >= MOCK_VIOMMU_PAGES)) {
		mock->faults++;
		ret = vmf_insert_pfn(vmf->vma, vmf->address,
				     page_to_pfn(mock->pages) + index);
	}
	mutex_unlock(&mock->faults_lock);
	return ret;
}

/*
 * User space maps the "registers" without caching. x86 warns if the mapping of
 * the kernel differs, so change this mapping, too.
 */
static int mock_viommu_set_cached(struct iommufd_viommu *viommu, bool cached)
{
#ifdef CONFIG_X86
	struct mock_viommu *mock = to_mock_viommu(viommu);
	unsigned long addr = (unsigned long)page_address(mock->pages);

	if (viommu->type != IOMMU_VIOMMU_TYPE_SELFTEST_FAULT)
		return cached ? set_memory_wb(addr, MOCK_VIOMMU_PAGES) :
				set_memory_uc(addr, MOCK_VIOMMU_PAGES);
#endif
	return 0;
}

static void mock_viommu_free_pages(struct iommufd_viommu *viommu)
{
	struct mock_viommu *mock = to_mock_viommu(viommu);

	mock_viommu_set_cached(viommu, true);
	__free_pages(mock->pages, get_order(MOCK_VIOMMU_PAGES * PAGE_SIZE));
}

/* With @data, the vIOMMU has memory, which begins with the number in @data */
int mock_viommu_mem_init(struct iommufd_viommu *viommu,
			 struct iommu_viommu_selftest *data)
{
	const size_t length = MOCK_VIOMMU_PAGES * PAGE_SIZE;
	struct mock_viommu *mock = to_mock_viommu(viommu);
	u32 *mem;
	int rc;

	mutex_init(&mock->queues_lock);
	mutex_init(&mock->faults_lock);
	if (!data)
		return 0;

	mock->pages = alloc_pages(GFP_KERNEL_ACCOUNT | __GFP_ZERO,
				  get_order(length));
	if (!mock->pages)
		return -ENOMEM;
	mem = page_address(mock->pages);
	*mem = data->in_data;
	rc = mock_viommu_set_cached(viommu, false);
	if (rc)
		goto out_free;

	if (viommu->type == IOMMU_VIOMMU_TYPE_SELFTEST_FAULT)
		rc = iommufd_viommu_alloc_mmap_fault(viommu, length,
						     &mock->mmap_offset);
	else
		rc = iommufd_viommu_alloc_mmap(viommu,
					       page_to_phys(mock->pages),
					       length, &mock->mmap_offset);
	if (rc)
		goto out_free;
	data->out_mmap_offset = mock->mmap_offset;
	data->out_mmap_length = length;
	return 0;

out_free:
	mock_viommu_free_pages(viommu);
	return rc;
}

void mock_viommu_destroy(struct iommufd_viommu *viommu)
{
	struct mock_viommu *mock = to_mock_viommu(viommu);

	if (mock->pages) {
		iommufd_viommu_destroy_mmap(viommu, mock->mmap_offset);
		mock_viommu_free_pages(viommu);
	}
	mutex_destroy(&mock->faults_lock);
	mutex_destroy(&mock->queues_lock);
}

/* Zap a page, and find out whether a store gets past the fault handler */
int iommufd_test_viommu_zap(struct iommufd_ucmd *ucmd,
			    struct iommu_test_cmd *cmd)
{
	struct iommufd_viommu *viommu = iommufd_get_viommu(ucmd, cmd->id);
	u32 page = cmd->viommu_zap.page;
	struct mock_viommu *mock;
	u32 before, *mem;
	int rc = 0;

	if (IS_ERR(viommu))
		return PTR_ERR(viommu);

	mock = to_mock_viommu(viommu);
	if (viommu->type != IOMMU_VIOMMU_TYPE_SELFTEST_FAULT || !mock->pages ||
	    (page >= MOCK_VIOMMU_PAGES && page != MOCK_ZAP_NOTHING)) {
		rc = -EINVAL;
		goto out_put;
	}

	mutex_lock(&mock->faults_lock);
	if (page != MOCK_ZAP_NOTHING) {
		iommufd_viommu_zap_mmap(viommu,
					mock->mmap_offset + page * PAGE_SIZE,
					PAGE_SIZE);
		mem = page_address(mock->pages + page);
		before = READ_ONCE(*mem);
		usleep_range(1000, 2000);
		if (READ_ONCE(*mem) != before)
			rc = -EIO;
	}
	cmd->viommu_zap.out_faults = mock->faults;
	mutex_unlock(&mock->faults_lock);
	if (!rc)
		rc = iommufd_ucmd_respond(ucmd, sizeof(*cmd));
out_put:
	iommufd_put_object(ucmd->ictx, &viommu->obj);
	return rc;
}
