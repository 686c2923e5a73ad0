// SPDX-License-Identifier: GPL-2.0-only
/*
 * Dirty tracking of io-pgtable-arm, as a part of its self-test.
 *
 * The test marks leaves as hardware does for a write, with pages and blocks of
 * each size at both ends of the input range. It finds a leaf by itself, from
 * the registers in the io_pgtable_cfg, and shares no definition with the code
 * under test. The bits are those of Arm DDI 0487, D8.3.
 */
#include <linux/bits.h>
#include <linux/io.h>
#include <linux/iommu.h>
#include <linux/math.h>

#include "io-pgtable-arm.h"

#define DESC_TYPE		GENMASK_ULL(1, 0)
#define DESC_TYPE_TABLE		3
#define TABLE_ADDR		GENMASK_ULL(47, 12)
#define LEAF_DBM		BIT_ULL(51)
/* AP[2] of stage 1 and S2AP[1] of stage 2 are the same bit */
#define LEAF_AP			BIT_ULL(7)

/* The leaf that maps @iova, which must be mapped */
static u64 *__init find_leaf(const struct io_pgtable_cfg *cfg,
			     enum io_pgtable_fmt fmt, unsigned long iova)
{
	unsigned int page_shift = __ffs(cfg->pgsize_bitmap);
	unsigned int bits = page_shift - 3;
	u64 table = fmt == ARM_64_LPAE_S2 ? cfg->arm_lpae_s2_cfg.vttbr :
					    cfg->arm_lpae_s1_cfg.ttbr;
	unsigned int level, shift, index;
	u64 *pte;

	if (fmt == ARM_64_LPAE_S2)
		level = (page_shift == 12 ? 2 : 3) - cfg->arm_lpae_s2_cfg.vtcr.sl;
	else
		level = 4 - DIV_ROUND_UP(cfg->ias - page_shift, bits);

	/* The tables at the top may be concatenated: take all bits there */
	index = iova >> (page_shift + (3 - level) * bits);
	for (;;) {
		pte = (u64 *)phys_to_virt(table & TABLE_ADDR) + index;
		if (level == 3 || (*pte & DESC_TYPE) != DESC_TYPE_TABLE)
			return pte;
		table = *pte;
		shift = page_shift + (3 - ++level) * bits;
		index = (iova >> shift) & (BIT(bits) - 1);
	}
}

/* Write to @iova as hardware does: S2AP[1] is set, or AP[2] is cleared */
static bool __init test_write(const struct io_pgtable_cfg *cfg,
			      enum io_pgtable_fmt fmt, unsigned long iova)
{
	u64 *pte = find_leaf(cfg, fmt, iova);

	if (!(*pte & LEAF_DBM))
		return false;
	if (fmt == ARM_64_LPAE_S2)
		*pte |= LEAF_AP;
	else
		*pte &= ~LEAF_AP;
	return true;
}

/*
 * Query @size bytes from @iova on, and expect @dirty_size bytes from @dirty_iova
 * on to be dirty, if any
 */
static bool __init test_query(struct io_pgtable_ops *ops, unsigned long iova,
			      size_t size, unsigned long flags,
			      unsigned long dirty_iova, size_t dirty_size)
{
	struct iommu_iotlb_gather gather;
	struct iommu_dirty_bitmap dirty;

	iommu_dirty_bitmap_init(&dirty, NULL, &gather);
	if (ops->read_and_clear_dirty(ops, iova, size, flags, &dirty))
		return false;
	if (!dirty_size)
		return gather.start > gather.end;
	return gather.start == dirty_iova &&
	       gather.end == dirty_iova + dirty_size - 1;
}

/* Two pages, or two blocks, of each size: the first is at the start of a table */
static bool __init test_size(struct io_pgtable_ops *ops,
			     const struct io_pgtable_cfg *cfg,
			     enum io_pgtable_fmt fmt, unsigned long iova,
			     size_t size, size_t page)
{
	size_t mapped = 0;

	if (ops->map_pages(ops, iova, iova, size, 2, IOMMU_READ | IOMMU_WRITE,
			   GFP_KERNEL, &mapped) || mapped != 2 * size)
		return false;

	/* A new mapping is dirty */
	if (!test_query(ops, iova, 2 * size, IOMMU_DIRTY_NO_CLEAR, iova,
			2 * size) ||
	    !test_query(ops, iova, 2 * size, 0, iova, 2 * size) ||
	    !test_query(ops, iova, 2 * size, 0, 0, 0))
		return false;
	if (ops->iova_to_phys(ops, iova + 42) != iova + 42)
		return false;

	if (!test_write(cfg, fmt, iova + size) ||
	    !test_query(ops, iova, size, 0, 0, 0) ||
	    !test_query(ops, iova, 2 * size, IOMMU_DIRTY_NO_CLEAR, iova + size,
			size))
		return false;

	/* Of a dirty block, only the part in the range is reported */
	if (size > page &&
	    (!test_query(ops, iova + page, size, 0, iova + size, page) ||
	     !test_query(ops, iova + size + page, page, 0, iova + size + page,
			 page)))
		return false;
	if (!test_query(ops, iova, 2 * size, 0, iova + size, size) ||
	    !test_query(ops, iova, 2 * size, 0, 0, 0))
		return false;

	/* The walk begins in the middle of a clean block before a dirty one */
	if (!test_write(cfg, fmt, iova + size) ||
	    !test_query(ops, iova + size - page, size + page, 0, iova + size,
			size))
		return false;

	return ops->unmap_pages(ops, iova, size, 2, NULL) == 2 * size;
}

bool __init arm_lpae_test_dirty(struct io_pgtable_ops *ops,
				const struct io_pgtable_cfg *cfg,
				enum io_pgtable_fmt fmt)
{
	size_t page = 1UL << __ffs(cfg->pgsize_bitmap);
	unsigned long end = cfg->ias < BITS_PER_LONG ? BIT(cfg->ias) : 0;
	size_t mapped;
	int i;

	for_each_set_bit(i, &cfg->pgsize_bitmap, BITS_PER_LONG) {
		/* At both ends of the input range */
		if (!test_size(ops, cfg, fmt, 0, BIT(i), page) ||
		    !test_size(ops, cfg, fmt, end - 2 * BIT(i), BIT(i), page))
			return false;
	}

	/* Without write permission there is no dirty state */
	if (ops->map_pages(ops, 0, 0, page, 1, IOMMU_READ, GFP_KERNEL,
			   &mapped) ||
	    !test_query(ops, 0, page, 0, 0, 0) || test_write(cfg, fmt, 0))
		return false;
	return ops->unmap_pages(ops, 0, page, 1, NULL) == page;
}
