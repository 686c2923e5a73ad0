/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The VINTFs of a Tegra241 CMDQV that VMs can have.
 */
#ifndef _TEGRA241_CMDQV_VINTF_H
#define _TEGRA241_CMDQV_VINTF_H

#include <linux/bitmap.h>
#include <linux/rwsem.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/workqueue.h>

struct arm_smmu_device;
struct device;
struct iommufd_viommu;
struct resource;
struct tegra241_vm_vintf;

/* The VINTF field of CMDQ_ALLOC has 6 bits, and VI_ERR_MAP 64 */
#define TEGRA241_VINTFS_MAX	64

/* Number of interrupts in a period before they are masked, and the period */
#define TEGRA241_IRQS_MAX	8
#define TEGRA241_IRQ_PERIOD_MS	100

/**
 * struct tegra241_vintf_pool - The VINTFs that VMs can have
 * @smmu: The SMMU
 * @dev: The CMDQV, for messages
 * @base: Registers of the CMDQV
 * @phys: Their physical address
 * @num_vintfs: Number of VINTFs, with VINTF0, which is the host's
 * @num_lvcmdqs: Number of LVCMDQs of each VINTF
 * @version: Version of the hardware
 * @log2_lvcmdqs: Log2 of the number of LVCMDQs that a VM can have
 * @log2_vsids: Log2 of the number of StreamIDs that a VM can have
 * @sem: Held for writing to stop the VINTFs of all VMs, and for reading while
 *       the registers of a VINTF are written on behalf of its VM
 * @stopped: The VINTFs of all VMs are stopped for good. Locked by @sem
 * @lock: Protects the following, and the error state of each VINTF
 * @vintfs: VINTFs in use by VMs
 * @lost: VINTFs that did not stop, and cannot be used again
 * @masked: VINTFs whose interrupts are masked
 * @irqs: Number of interrupts in this period that no VM can be blamed for
 * @period: Ends the period. Takes @lock
 */
struct tegra241_vintf_pool {
	struct arm_smmu_device *smmu;
	struct device *dev;
	void __iomem *base;
	phys_addr_t phys;
	unsigned int num_vintfs;
	unsigned int num_lvcmdqs;
	unsigned int version;
	unsigned int log2_lvcmdqs;
	unsigned int log2_vsids;
	struct rw_semaphore sem; /* Protects stopped */
	bool stopped;
	spinlock_t lock; /* Protects the following */
	struct tegra241_vm_vintf *vintfs[TEGRA241_VINTFS_MAX];
	DECLARE_BITMAP(lost, TEGRA241_VINTFS_MAX);
	u64 masked;
	unsigned int irqs;
	struct delayed_work period;
};

#ifdef CONFIG_TEGRA241_CMDQV_VINTF
void tegra241_vintf_pool_init(struct tegra241_vintf_pool *pool,
			      struct arm_smmu_device *smmu, struct device *dev,
			      void __iomem *base, const struct resource *res);
void tegra241_vintf_pool_reset(struct tegra241_vintf_pool *pool);
void tegra241_vintf_pool_stop(struct tegra241_vintf_pool *pool);
void tegra241_vintf_pool_exit(struct tegra241_vintf_pool *pool);
u64 tegra241_vintf_pool_errors(struct tegra241_vintf_pool *pool, u64 map);
#else
static inline void
tegra241_vintf_pool_init(struct tegra241_vintf_pool *pool,
			 struct arm_smmu_device *smmu, struct device *dev,
			 void __iomem *base, const struct resource *res)
{
}

static inline void tegra241_vintf_pool_reset(struct tegra241_vintf_pool *pool)
{
}

static inline void tegra241_vintf_pool_stop(struct tegra241_vintf_pool *pool)
{
}

static inline void tegra241_vintf_pool_exit(struct tegra241_vintf_pool *pool)
{
}

static inline u64 tegra241_vintf_pool_errors(struct tegra241_vintf_pool *pool,
					     u64 map)
{
	return map;
}
#endif /* CONFIG_TEGRA241_CMDQV_VINTF */

#if IS_ENABLED(CONFIG_KUNIT)
u32 tegra241_vintf_readl(struct tegra241_vintf_pool *pool, u32 offset);
u64 tegra241_vintf_readq(struct tegra241_vintf_pool *pool, u32 offset);
void tegra241_vintf_writel(struct tegra241_vintf_pool *pool, u32 offset,
			   u32 val);
void tegra241_vintf_writeq(struct tegra241_vintf_pool *pool, u32 offset,
			   u64 val);
int tegra241_vintf_alloc_mmap(struct iommufd_viommu *viommu, phys_addr_t base,
			      size_t length, unsigned long *offset);
void tegra241_vintf_begin_period(struct tegra241_vintf_pool *pool);
void tegra241_vintf_end_period(struct work_struct *work);
#endif
#endif
