// SPDX-License-Identifier: GPL-2.0
/*
 * The VINTFs of a Tegra241 CMDQV that VMs can have: command queues of a VM in
 * hardware.
 *
 * A CMDQV has a number of virtual interfaces, VINTFs, each with a number of
 * command queues, LVCMDQs. VINTF0 belongs to the host, see tegra241-cmdqv.c.
 * Each of the others can be given to a VM. The hardware then takes the place of
 * IOMMU_HWPT_INVALIDATE: it executes only commands that are harmless, puts the
 * VMID of the VINTF into them, and translates the StreamID of an ATC_INV. It
 * takes TLBI_NH_ASID, TLBI_NH_VA, ATC_INV and CMD_SYNC. All other commands come
 * by IOMMU_HWPT_INVALIDATE, and go to the queue of the SMMU itself.
 *
 * A guest may write to page 0 of its VINTF at any time, even while the kernel
 * starts or stops a queue. Page 0 shows only queues whose CMDQ_ALLOC has ALLOC
 * set. The kernel itself uses the aperture of all queues, which the guest does
 * not have, so that
 *
 *  - a queue is set up completely before ALLOC is set. The guest cannot enable
 *    a queue that has no memory yet, or old memory;
 *  - ALLOC is cleared before a queue is disabled for good. The guest cannot
 *    enable it again.
 *
 * The memory of a queue that does not stop must never be used for anything
 * else. So it is not freed, and the VINTF is not given to another VM.
 *
 * The VMID must be set before the VINTF is enabled, and so before any device is
 * attached: the vSMMU holds its tag for as long as it exists, see
 * arm-smmu-v3-s2.c.
 *
 * An error of a queue is an interrupt of the host, whose time is not charged to
 * the VM. A guest can acknowledge its error and cause the next at any rate, so
 * the interrupts are counted. A VINTF that has caused TEGRA241_IRQS_MAX of them
 * is masked until the end of the period, in a register that no guest has. The
 * errors are then looked for in the error maps, which are not masked, so that
 * an error is late but not lost. A guest may acknowledge its error before the
 * interrupt thread sees it. No VM can be blamed for such an interrupt: after
 * TEGRA241_IRQS_MAX of these, all VMs are masked. VINTF0 is never masked.
 *
 * Locks: arm_vcmdqv::lock or a mutex of the iommufd context ->
 * tegra241_vintf_pool::sem -> tegra241_vintf_pool::lock, and
 * tegra241_vintf_pool::lock -> iommufd_viommu::veventqs_lock.
 */
#define dev_fmt(fmt) "tegra241_cmdqv: " fmt

#include <kunit/static_stub.h>
#include <kunit/visibility.h>
#include <linux/bitfield.h>
#include <linux/io.h>
#include <linux/ioport.h>
#include <linux/iopoll.h>
#include <linux/log2.h>
#include <linux/mm.h>

#include "arm-smmu-v3-vcmdq.h"
#include "tegra241-cmdqv-vintf.h"

/* The configuration page */
#define PARAM			0x0004
#define  PARAM_VER		GENMASK(3, 0)
#define  PARAM_NUM_CMDQ_LOG2	GENMASK(7, 4)
#define  PARAM_NUM_VI_LOG2	GENMASK(11, 8)
#define  PARAM_NUM_SID_LOG2	GENMASK(15, 12)
#define VI_ERR_MAP		0x0014
#define VI_INT_MASK		0x001c
#define CMDQ_ALLOC(_q)		(0x0200 + 0x4 * (_q))
#define  CMDQ_ALLOC_VINTF	GENMASK(20, 15)
#define  CMDQ_ALLOC_LVCMDQ	GENMASK(7, 1)
#define  CMDQ_ALLOC_ALLOC	BIT(0)

/* Registers of a VINTF, also in the configuration page */
#define VINTF(_v)		(0x1000 + 0x100 * (_v))
#define VINTF_CONFIG(_v)	(VINTF(_v) + 0x0)
#define  VINTF_CONFIG_HYP_OWN	BIT(17)
#define  VINTF_CONFIG_VMID	GENMASK(16, 1)
#define  VINTF_CONFIG_EN	BIT(0)
#define VINTF_STATUS(_v)	(VINTF(_v) + 0x4)
#define  VINTF_STATUS_EN	BIT(0)
#define VINTF_SID_MATCH(_v, _s)	(VINTF(_v) + 0x40 + 0x4 * (_s))
#define  VINTF_SID_MATCH_VIRT	GENMASK(20, 1)
#define  VINTF_SID_MATCH_EN	BIT(0)
#define VINTF_SID_REPLACE(_v, _s) (VINTF(_v) + 0x80 + 0x4 * (_s))
#define  VINTF_SID_REPLACE_PHYS	GENMASK(19, 0)
#define VINTF_ERR_MAP(_v)	(VINTF(_v) + 0xc0)

/* Registers of a queue: in the aperture of all queues, ... */
#define VCMDQ_PAGE0(_q)		(0x10000 + 0x80 * (_q))
#define VCMDQ_PAGE1(_q)		(0x20000 + 0x80 * (_q))
#define  VCMDQ_CONS		0x00
#define  VCMDQ_PROD		0x04
#define  VCMDQ_CONFIG		0x08
#define   VCMDQ_CONFIG_EN	BIT(0)
#define  VCMDQ_STATUS		0x0c
#define   VCMDQ_STATUS_EN	BIT(0)
#define  VCMDQ_GERROR		0x10
#define  VCMDQ_GERRORN		0x14
#define  VCMDQ_BASE		0x00
#define   VCMDQ_BASE_ADDR	GENMASK_ULL(47, 5)
#define   VCMDQ_BASE_LOG2SIZE	GENMASK_ULL(4, 0)
#define  VCMDQ_CONS_DRAM	0x08
/* ... and as LVCMDQs of a VINTF. VMs have page 0 of these */
#define VINTF_PAGE0(_v)		(0x30000 + SZ_128K * (_v))
#define VINTF_PAGE1(_v)		(VINTF_PAGE0(_v) + SZ_64K)
#define LVCMDQ_PAGE1(_v, _l)	(VINTF_PAGE1(_v) + 0x80 * (_l))

/* A queue stops at once, unless the guest enables it again */
#define TEGRA241_QUIESCE_US	100

/**
 * struct tegra241_vm_vintf - A vSMMU with a VINTF
 * @vcmdqv: The vSMMU
 * @pool: The pool that the VINTF is from
 * @tag: The tag with the VMID in the VINTF
 * @idx: Index of the VINTF
 * @lost: The VINTF or one of its queues did not stop
 * @base: BASE of each queue. Locked by arm_vcmdqv::lock
 * @vdevs: vDEVICEs by the slot of their StreamID. Locked by the iommufd context
 * @queues: Queues whose errors are reported. This and the following are locked
 *          by tegra241_vintf_pool::lock
 * @reported: Errors that the VM knows
 * @gerror: GERROR of each queue at the last error that was reported
 * @irqs: Number of interrupts in this period
 */
struct tegra241_vm_vintf {
	struct arm_vcmdqv vcmdqv;
	struct tegra241_vintf_pool *pool;
	struct arm_smmu_s2_tag *tag;
	unsigned int idx;
	bool lost;
	u64 base[ARM_VCMDQ_QUEUES_MAX];
	struct iommufd_vdevice *vdevs[ARM_VCMDQ_VSIDS_MAX];
	unsigned long queues;
	unsigned long reported;
	u32 gerror[ARM_VCMDQ_QUEUES_MAX];
	unsigned int irqs;
};

static struct tegra241_vm_vintf *to_vm_vintf(struct arm_vcmdqv *vcmdqv)
{
	return container_of(vcmdqv, struct tegra241_vm_vintf, vcmdqv);
}

/* All accesses to registers. KUnit replaces them by a model of the hardware */
VISIBLE_IF_KUNIT u32 tegra241_vintf_readl(struct tegra241_vintf_pool *pool,
					  u32 offset)
{
	KUNIT_STATIC_STUB_REDIRECT(tegra241_vintf_readl, pool, offset);
	return readl(pool->base + offset);
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_vintf_readl);

VISIBLE_IF_KUNIT u64 tegra241_vintf_readq(struct tegra241_vintf_pool *pool,
					  u32 offset)
{
	KUNIT_STATIC_STUB_REDIRECT(tegra241_vintf_readq, pool, offset);
	return readq(pool->base + offset);
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_vintf_readq);

VISIBLE_IF_KUNIT void tegra241_vintf_writel(struct tegra241_vintf_pool *pool,
					    u32 offset, u32 val)
{
	KUNIT_STATIC_STUB_REDIRECT(tegra241_vintf_writel, pool, offset, val);
	writel(val, pool->base + offset);
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_vintf_writel);

VISIBLE_IF_KUNIT void tegra241_vintf_writeq(struct tegra241_vintf_pool *pool,
					    u32 offset, u64 val)
{
	KUNIT_STATIC_STUB_REDIRECT(tegra241_vintf_writeq, pool, offset, val);
	writeq(val, pool->base + offset);
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_vintf_writeq);

/* KUnit also replaces this, for the region that user space maps */
VISIBLE_IF_KUNIT int tegra241_vintf_alloc_mmap(struct iommufd_viommu *viommu,
					       phys_addr_t base, size_t length,
					       unsigned long *offset)
{
	KUNIT_STATIC_STUB_REDIRECT(tegra241_vintf_alloc_mmap, viommu, base,
				   length, offset);
	return iommufd_viommu_alloc_mmap(viommu, base, length, offset);
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_vintf_alloc_mmap);

/* The period in which interrupts are counted begins with the first of them */
VISIBLE_IF_KUNIT void
tegra241_vintf_begin_period(struct tegra241_vintf_pool *pool)
{
	KUNIT_STATIC_STUB_REDIRECT(tegra241_vintf_begin_period, pool);
	schedule_delayed_work(&pool->period,
			      msecs_to_jiffies(TEGRA241_IRQ_PERIOD_MS));
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_vintf_begin_period);

/* The EN bits of all CONFIG and STATUS registers are bit 0 */
static int tegra241_vintf_wait(struct tegra241_vintf_pool *pool, u32 status,
			       bool enabled, unsigned int timeout_us)
{
	u32 val;

	return read_poll_timeout(tegra241_vintf_readl, val,
				 (val & BIT(0)) == enabled, 1, timeout_us,
				 false, pool, status);
}

/* The queues are assigned to VINTFs in order. ALLOC is set only while in use */
static unsigned int tegra241_vcmdq(struct tegra241_vintf_pool *pool,
				   unsigned int idx, unsigned int lidx)
{
	return idx * pool->num_lvcmdqs + lidx;
}

static void tegra241_vcmdq_set_alloc(struct tegra241_vintf_pool *pool,
				     unsigned int idx, unsigned int lidx,
				     bool alloc)
{
	u32 offset = CMDQ_ALLOC(tegra241_vcmdq(pool, idx, lidx));
	u32 val = FIELD_PREP(CMDQ_ALLOC_VINTF, idx) |
		  FIELD_PREP(CMDQ_ALLOC_LVCMDQ, lidx) |
		  FIELD_PREP(CMDQ_ALLOC_ALLOC, alloc);

	tegra241_vintf_writel(pool, offset, val);
	/* Wait until the write has taken effect */
	tegra241_vintf_readl(pool, offset);
}

/*
 * Take a queue from the guest, stop it, and set its registers to their values
 * at reset. The guest may try to enable it at any time until ALLOC is clear.
 */
static int tegra241_vcmdq_stop(struct tegra241_vintf_pool *pool,
			       unsigned int idx, unsigned int lidx)
{
	unsigned int q = tegra241_vcmdq(pool, idx, lidx);
	u32 page0 = VCMDQ_PAGE0(q), page1 = VCMDQ_PAGE1(q);
	int ret;

	/*
	 * Drivers disable a queue before they clear ALLOC. Do the same, but do
	 * not depend on it.
	 */
	tegra241_vintf_writel(pool, page0 + VCMDQ_CONFIG, 0);
	tegra241_vintf_wait(pool, page0 + VCMDQ_STATUS, false,
			    TEGRA241_QUIESCE_US);
	tegra241_vcmdq_set_alloc(pool, idx, lidx, false);

	tegra241_vintf_writel(pool, page0 + VCMDQ_CONFIG, 0);
	ret = tegra241_vintf_wait(pool, page0 + VCMDQ_STATUS, false,
				  ARM_SMMU_POLL_TIMEOUT_US);
	if (ret) {
		dev_err_ratelimited(pool->dev,
				    "VINTF%u: VCMDQ%u/LVCMDQ%u does not stop\n",
				    idx, q, lidx);
		return ret;
	}

	tegra241_vintf_writel(pool, page0 + VCMDQ_PROD, 0);
	tegra241_vintf_writel(pool, page0 + VCMDQ_CONS, 0);
	tegra241_vintf_writeq(pool, page1 + VCMDQ_BASE, 0);
	tegra241_vintf_writeq(pool, page1 + VCMDQ_CONS_DRAM, 0);
	tegra241_vintf_writel(pool, page0 + VCMDQ_GERRORN,
			      tegra241_vintf_readl(pool,
						   page0 + VCMDQ_GERROR));
	return 0;
}

/* Stop a VINTF and its translation of StreamIDs. Its queues are not touched */
static int tegra241_vintf_stop(struct tegra241_vintf_pool *pool,
			       unsigned int idx)
{
	unsigned int slot;
	int ret;

	tegra241_vintf_writel(pool, VINTF_CONFIG(idx), 0);
	ret = tegra241_vintf_wait(pool, VINTF_STATUS(idx), false,
				  ARM_SMMU_POLL_TIMEOUT_US);
	if (ret)
		dev_err_ratelimited(pool->dev, "VINTF%u: does not stop\n", idx);
	for (slot = 0; slot < 1U << pool->log2_vsids; slot++) {
		tegra241_vintf_writel(pool, VINTF_SID_MATCH(idx, slot), 0);
		tegra241_vintf_writel(pool, VINTF_SID_REPLACE(idx, slot), 0);
	}
	return ret;
}

/*
 * An ATC_INV of a queue that was stopped may still time out. A CMD_SYNC on the
 * queue of the SMMU waits for it, so that the next user of the VCMDQ does not
 * get the error.
 */
static void tegra241_vintf_sync(struct tegra241_vintf_pool *pool)
{
	arm_smmu_cmdq_issue_cmdlist(pool->smmu, &pool->smmu->cmdq, NULL, 0,
				    true);
}

/* A queue that did not stop may read its memory for ever: never free it */
static void tegra241_vintf_keep_memory(struct tegra241_vm_vintf *vintf,
				       unsigned int lidx)
{
	u64 base = vintf->base[lidx];
	size_t length = 16UL << FIELD_GET(VCMDQ_BASE_LOG2SIZE, base);
	unsigned long pfn = PHYS_PFN(base & VCMDQ_BASE_ADDR);
	unsigned long last = PHYS_PFN((base & VCMDQ_BASE_ADDR) + length - 1);

	vintf->lost = true;
	for (; pfn <= last; pfn++)
		if (pfn_valid(pfn))
			get_page(pfn_to_page(pfn));
}

static int tegra241_vm_vintf_add_queue(struct arm_vcmdqv *vcmdqv,
				       unsigned int index,
				       struct iommufd_hw_queue *hw_queue,
				       phys_addr_t base_pa)
{
	struct tegra241_vm_vintf *vintf = to_vm_vintf(vcmdqv);
	struct tegra241_vintf_pool *pool = vintf->pool;
	unsigned int q = tegra241_vcmdq(pool, vintf->idx, index);
	u64 base;
	int ret;

	if (base_pa & ~VCMDQ_BASE_ADDR)
		return -EINVAL;
	base = base_pa | FIELD_PREP(VCMDQ_BASE_LOG2SIZE,
				    ilog2(hw_queue->length / 16));

	down_read(&pool->sem);
	ret = pool->stopped ? -ENODEV : 0;
	if (!ret)
		ret = tegra241_vcmdq_stop(pool, vintf->idx, index);
	if (ret)
		goto out_up;

	spin_lock(&pool->lock);
	vintf->gerror[index] =
		tegra241_vintf_readl(pool, VCMDQ_PAGE0(q) + VCMDQ_GERROR);
	vintf->queues |= BIT(index);
	spin_unlock(&pool->lock);

	vintf->base[index] = base;
	/* The guest may enable the queue as soon as ALLOC is set */
	tegra241_vintf_writeq(pool, VCMDQ_PAGE1(q) + VCMDQ_BASE, base);
	tegra241_vcmdq_set_alloc(pool, vintf->idx, index, true);
	if (tegra241_vintf_readq(pool, LVCMDQ_PAGE1(vintf->idx, index) +
				       VCMDQ_BASE) == base)
		goto out_up;

	dev_err_ratelimited(pool->dev, "VINTF%u: no VCMDQ%u as LVCMDQ%u\n",
			    vintf->idx, q, index);
	ret = -ENXIO;
	spin_lock(&pool->lock);
	vintf->queues &= ~BIT(index);
	vintf->reported &= ~BIT(index);
	spin_unlock(&pool->lock);
	if (tegra241_vcmdq_stop(pool, vintf->idx, index))
		tegra241_vintf_keep_memory(vintf, index);
out_up:
	up_read(&pool->sem);
	return ret;
}

static void tegra241_vm_vintf_del_queue(struct arm_vcmdqv *vcmdqv,
					unsigned int index)
{
	struct tegra241_vm_vintf *vintf = to_vm_vintf(vcmdqv);
	struct tegra241_vintf_pool *pool = vintf->pool;

	/* tegra241_vintf_pool_stop() must find each queue that is not stopped */
	down_read(&pool->sem);
	spin_lock(&pool->lock);
	vintf->queues &= ~BIT(index);
	vintf->reported &= ~BIT(index);
	spin_unlock(&pool->lock);
	if (!pool->stopped) {
		if (tegra241_vcmdq_stop(pool, vintf->idx, index))
			tegra241_vintf_keep_memory(vintf, index);
		tegra241_vintf_sync(pool);
	}
	up_read(&pool->sem);
}

static int tegra241_vm_vintf_vdevice_init(struct arm_vcmdqv *vcmdqv,
					  struct iommufd_vdevice *vdev)
{
	struct arm_smmu_master *master =
		dev_iommu_priv_get(iommufd_vdevice_to_device(vdev));
	struct tegra241_vm_vintf *vintf = to_vm_vintf(vcmdqv);
	struct tegra241_vintf_pool *pool = vintf->pool;
	u32 sid = master->streams[0].id;
	unsigned int slot;
	int ret = -ENODEV;

	if (sid & ~VINTF_SID_REPLACE_PHYS)
		return -EOPNOTSUPP;
	/* There are no more vDEVICEs than slots */
	for (slot = 0; vintf->vdevs[slot]; slot++)
		;

	down_read(&pool->sem);
	if (!pool->stopped) {
		vintf->vdevs[slot] = vdev;
		tegra241_vintf_writel(pool, VINTF_SID_REPLACE(vintf->idx, slot),
				      sid);
		tegra241_vintf_writel(pool, VINTF_SID_MATCH(vintf->idx, slot),
				      FIELD_PREP(VINTF_SID_MATCH_VIRT,
						 vdev->virt_id) |
				      VINTF_SID_MATCH_EN);
		ret = 0;
	}
	up_read(&pool->sem);
	return ret;
}

static void tegra241_vm_vintf_vdevice_destroy(struct arm_vcmdqv *vcmdqv,
					      struct iommufd_vdevice *vdev)
{
	struct tegra241_vm_vintf *vintf = to_vm_vintf(vcmdqv);
	struct tegra241_vintf_pool *pool = vintf->pool;
	unsigned int slot;

	for (slot = 0; vintf->vdevs[slot] != vdev; slot++)
		;
	vintf->vdevs[slot] = NULL;

	down_read(&pool->sem);
	if (!pool->stopped) {
		tegra241_vintf_writel(pool, VINTF_SID_MATCH(vintf->idx, slot),
				      0);
		/* The device must not get ATC_INVs of this VM after this */
		tegra241_vintf_readl(pool, VINTF_SID_MATCH(vintf->idx, slot));
		tegra241_vintf_writel(pool, VINTF_SID_REPLACE(vintf->idx, slot),
				      0);
	}
	up_read(&pool->sem);
}

/* Reserve a VINTF. A context gets only one, so that it cannot take them all */
static int tegra241_vm_vintf_reserve(struct tegra241_vm_vintf *vintf)
{
	struct iommufd_ctx *ictx = vintf->vcmdqv.vsmmu.core.ictx;
	struct tegra241_vintf_pool *pool = vintf->pool;
	int ret = -ENOSPC;
	unsigned int idx;

	spin_lock(&pool->lock);
	for (idx = 1; idx < pool->num_vintfs; idx++) {
		struct tegra241_vm_vintf *other = pool->vintfs[idx];

		if (other && other->vcmdqv.vsmmu.core.ictx == ictx) {
			ret = -EEXIST;
			break;
		}
		if (ret && !other && !test_bit(idx, pool->lost)) {
			vintf->idx = idx;
			ret = 0;
		}
	}
	if (!ret)
		pool->vintfs[vintf->idx] = vintf;
	spin_unlock(&pool->lock);
	return ret;
}

static void tegra241_vm_vintf_unreserve(struct tegra241_vm_vintf *vintf)
{
	struct tegra241_vintf_pool *pool = vintf->pool;

	spin_lock(&pool->lock);
	pool->vintfs[vintf->idx] = NULL;
	if (vintf->lost)
		__set_bit(vintf->idx, pool->lost);
	spin_unlock(&pool->lock);
}

static int tegra241_vm_vintf_get_vmid(struct tegra241_vm_vintf *vintf)
{
	struct arm_vsmmu *vsmmu = &vintf->vcmdqv.vsmmu;

	mutex_lock(&arm_smmu_asid_lock);
	vintf->tag = arm_smmu_s2_hold_tag(vsmmu->smmu, vsmmu->s2_parent,
					  &vsmmu->s2_owner);
	mutex_unlock(&arm_smmu_asid_lock);
	return PTR_ERR_OR_ZERO(vintf->tag);
}

static void tegra241_vm_vintf_put_vmid(struct tegra241_vm_vintf *vintf)
{
	mutex_lock(&arm_smmu_asid_lock);
	arm_smmu_s2_put_tag(vintf->tag, true);
	mutex_unlock(&arm_smmu_asid_lock);
}

static void tegra241_vm_vintf_disable(struct tegra241_vm_vintf *vintf)
{
	struct tegra241_vintf_pool *pool = vintf->pool;

	down_read(&pool->sem);
	if (!pool->stopped && tegra241_vintf_stop(pool, vintf->idx))
		vintf->lost = true;
	up_read(&pool->sem);
}

static int tegra241_vm_vintf_enable(struct tegra241_vm_vintf *vintf)
{
	struct tegra241_vintf_pool *pool = vintf->pool;
	u32 config = FIELD_PREP(VINTF_CONFIG_VMID, vintf->tag->vmid);
	u32 offset = VINTF_CONFIG(vintf->idx);
	int ret = -ENODEV;

	down_read(&pool->sem);
	if (pool->stopped)
		goto out_up;

	/* The VMID must not change while EN is set */
	tegra241_vintf_writel(pool, offset, config);
	config |= VINTF_CONFIG_EN;
	tegra241_vintf_writel(pool, offset, config);
	ret = tegra241_vintf_wait(pool, VINTF_STATUS(vintf->idx), true,
				  ARM_SMMU_POLL_TIMEOUT_US);
	if (ret) {
		dev_err_ratelimited(pool->dev, "VINTF%u: does not start\n",
				    vintf->idx);
	} else if (tegra241_vintf_readl(pool, offset) != config) {
		/* With HYP_OWN or another VMID, the VM would not be isolated */
		dev_err_ratelimited(pool->dev,
				    "VINTF%u: cannot be given to a VM\n",
				    vintf->idx);
		ret = -ENXIO;
	}
out_up:
	up_read(&pool->sem);
	return ret;
}

static int tegra241_vm_vintf_init(struct arm_vcmdqv *vcmdqv)
{
	struct tegra241_vm_vintf *vintf = to_vm_vintf(vcmdqv);
	struct tegra241_vintf_pool *pool = vcmdqv->vsmmu.smmu->vintf_pool;
	int ret;

	vintf->pool = pool;
	ret = tegra241_vm_vintf_reserve(vintf);
	if (ret)
		return ret;
	ret = tegra241_vm_vintf_get_vmid(vintf);
	if (ret)
		goto out_unreserve;
	ret = tegra241_vm_vintf_enable(vintf);
	if (ret)
		goto out_disable;
	ret = tegra241_vintf_alloc_mmap(&vcmdqv->vsmmu.core,
					pool->phys + VINTF_PAGE0(vintf->idx),
					ARM_VCMDQ_PAGE0_SIZE, &vcmdqv->offset);
	if (ret)
		goto out_disable;
	return 0;

out_disable:
	tegra241_vm_vintf_disable(vintf);
	tegra241_vm_vintf_put_vmid(vintf);
out_unreserve:
	tegra241_vm_vintf_unreserve(vintf);
	return ret;
}

static void tegra241_vm_vintf_destroy(struct arm_vcmdqv *vcmdqv)
{
	struct tegra241_vm_vintf *vintf = to_vm_vintf(vcmdqv);

	iommufd_viommu_destroy_mmap(&vcmdqv->vsmmu.core, vcmdqv->offset);
	tegra241_vm_vintf_disable(vintf);
	/* The VMID may belong to another VM after this */
	tegra241_vm_vintf_put_vmid(vintf);
	tegra241_vm_vintf_unreserve(vintf);
}

static void tegra241_vm_vintf_hw_info(struct arm_smmu_device *smmu,
				      struct iommu_hw_info_tegra241_cmdqv *info)
{
	struct tegra241_vintf_pool *pool = smmu->vintf_pool;

	info->version = pool->version;
	info->log2vcmdqs = pool->log2_lvcmdqs;
	info->log2vsids = pool->log2_vsids;
}

const struct arm_vcmdqv_impl tegra241_vm_vintf_impl = {
	.size = sizeof(struct tegra241_vm_vintf) +
		BUILD_BUG_ON_ZERO(offsetof(struct tegra241_vm_vintf,
					   vcmdqv.vsmmu.core)),
	.hw_info = tegra241_vm_vintf_hw_info,
	.init = tegra241_vm_vintf_init,
	.destroy = tegra241_vm_vintf_destroy,
	.add_queue = tegra241_vm_vintf_add_queue,
	.del_queue = tegra241_vm_vintf_del_queue,
	.vdevice_init = tegra241_vm_vintf_vdevice_init,
	.vdevice_destroy = tegra241_vm_vintf_vdevice_destroy,
};

/*
 * Report the errors of a VM if any of them is new. The interrupt may be for
 * another VM, and a VM that does not acknowledge its errors should not get them
 * again. Returns true if an error is new, even if it could not be reported.
 *
 * Each error toggles GERROR. If the guest has acknowledged an error and there
 * is another, the map is the same as before, but GERROR differs. After an even
 * number of errors GERROR is the same, too, and the error that is active is
 * reported at the end of the period.
 */
static bool tegra241_vm_vintf_errors(struct tegra241_vm_vintf *vintf)
{
	struct tegra241_vintf_pool *pool = vintf->pool;
	u32 gerror[ARM_VCMDQ_QUEUES_MAX];
	unsigned long map, fresh;
	unsigned int lidx;

	lockdep_assert_held(&pool->lock);

	map = tegra241_vintf_readq(pool, VINTF_ERR_MAP(vintf->idx)) &
	      vintf->queues;
	vintf->reported &= map;
	fresh = map & ~vintf->reported;
	for_each_set_bit(lidx, &map, ARM_VCMDQ_QUEUES_MAX) {
		unsigned int q = tegra241_vcmdq(pool, vintf->idx, lidx);

		gerror[lidx] = tegra241_vintf_readl(pool, VCMDQ_PAGE0(q) +
							  VCMDQ_GERROR);
		if (gerror[lidx] != vintf->gerror[lidx])
			fresh |= BIT(lidx);
	}
	/* Without a vEVENTQ, the error is reported at the next interrupt */
	if (!fresh || arm_vcmdqv_report_errors(&vintf->vcmdqv, map))
		return fresh;
	vintf->reported = map;
	for_each_set_bit(lidx, &map, ARM_VCMDQ_QUEUES_MAX)
		vintf->gerror[lidx] = gerror[lidx];
	return true;
}

/*
 * Look at the errors of all VMs. @map has a bit for each VINTF with an error.
 * Returns the VINTFs of VMs, and in *@fresh those that have a new error.
 */
static u64 tegra241_vintf_pool_report(struct tegra241_vintf_pool *pool, u64 map,
				      u64 *fresh)
{
	unsigned int idx;
	u64 vms = 0;

	*fresh = 0;
	for (idx = 1; idx < pool->num_vintfs; idx++) {
		struct tegra241_vm_vintf *vintf;

		/* With this lock held, the VINTF does not change its owner */
		spin_lock(&pool->lock);
		vintf = pool->vintfs[idx];
		if (vintf) {
			vms |= BIT_ULL(idx);
			if (!(map & BIT_ULL(idx)))
				vintf->reported = 0;
			else if (tegra241_vm_vintf_errors(vintf))
				*fresh |= BIT_ULL(idx);
		}
		spin_unlock(&pool->lock);
	}
	return vms;
}

static void tegra241_vintf_pool_mask(struct tegra241_vintf_pool *pool, u64 mask)
{
	lockdep_assert_held(&pool->lock);

	pool->masked = mask;
	tegra241_vintf_writel(pool, VI_INT_MASK, lower_32_bits(mask));
	tegra241_vintf_writel(pool, VI_INT_MASK + 4, upper_32_bits(mask));
	/* Wait until the writes have taken effect */
	tegra241_vintf_readl(pool, VI_INT_MASK + 4);
}

/*
 * Count an interrupt. A VINTF that is masked has not caused it, even if its
 * error is new. Otherwise a VM without a vEVENTQ would be blamed for the
 * interrupts of other VMs. @host: VINTF0 has an error.
 */
static void tegra241_vintf_pool_count(struct tegra241_vintf_pool *pool,
				      u64 fresh, bool host)
{
	bool unknown, used = false;
	unsigned int idx;
	u64 mask;

	spin_lock(&pool->lock);
	mask = pool->masked;
	fresh &= ~mask;
	if (!fresh && host)
		goto out_unlock;
	unknown = !fresh && ++pool->irqs >= TEGRA241_IRQS_MAX;
	for (idx = 1; idx < pool->num_vintfs; idx++) {
		struct tegra241_vm_vintf *vintf = pool->vintfs[idx];

		if (!vintf)
			continue;
		used = true;
		if (unknown || (fresh & BIT_ULL(idx) &&
				++vintf->irqs >= TEGRA241_IRQS_MAX))
			mask |= BIT_ULL(idx);
	}
	if (mask != pool->masked)
		tegra241_vintf_pool_mask(pool, mask);
	if (used)
		tegra241_vintf_begin_period(pool);
out_unlock:
	spin_unlock(&pool->lock);
}

/*
 * End the period. There may be no interrupt for an error from the time when
 * interrupts were masked, so the maps are read after they are unmasked.
 */
VISIBLE_IF_KUNIT void tegra241_vintf_end_period(struct work_struct *work)
{
	struct tegra241_vintf_pool *pool =
		container_of(to_delayed_work(work), struct tegra241_vintf_pool,
			     period);
	unsigned int idx;
	u64 map, fresh;
	bool look;

	spin_lock(&pool->lock);
	look = pool->irqs || pool->masked;
	for (idx = 1; idx < pool->num_vintfs; idx++) {
		struct tegra241_vm_vintf *vintf = pool->vintfs[idx];

		if (!vintf)
			continue;
		/*
		 * The VM may have acknowledged an error that was not reported,
		 * and an even number of errors does not change GERROR. Any VM
		 * may have caused an interrupt that no VM was blamed for.
		 */
		if (pool->irqs || vintf->irqs >= TEGRA241_IRQS_MAX)
			vintf->reported = 0;
		vintf->irqs = 0;
	}
	pool->irqs = 0;
	if (pool->masked)
		tegra241_vintf_pool_mask(pool, 0);
	spin_unlock(&pool->lock);
	if (!look)
		return;

	map = (u64)tegra241_vintf_readl(pool, VI_ERR_MAP + 4) << 32 |
	      tegra241_vintf_readl(pool, VI_ERR_MAP);
	tegra241_vintf_pool_report(pool, map, &fresh);
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_vintf_end_period);

/**
 * tegra241_vintf_pool_errors - Handle an interrupt for errors of VMs
 * @pool: The pool
 * @map: A bit for each VINTF that has an error
 *
 * Context: A threaded interrupt.
 * Return: @map without the VINTFs of VMs.
 */
u64 tegra241_vintf_pool_errors(struct tegra241_vintf_pool *pool, u64 map)
{
	u64 fresh;

	/* No VM can have a VINTF */
	if (!pool->num_lvcmdqs)
		return map;
	map &= ~tegra241_vintf_pool_report(pool, map, &fresh);
	tegra241_vintf_pool_count(pool, fresh, map & BIT_ULL(0));
	return map;
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_vintf_pool_errors);

/**
 * tegra241_vintf_pool_init - Initialise a pool
 * @pool: The pool
 * @smmu: The SMMU
 * @dev: The CMDQV
 * @base: Registers of the CMDQV
 * @res: The resource of @base
 *
 * The VINTFs can be used only after tegra241_vintf_pool_reset().
 */
void tegra241_vintf_pool_init(struct tegra241_vintf_pool *pool,
			      struct arm_smmu_device *smmu, struct device *dev,
			      void __iomem *base, const struct resource *res)
{
	u32 param;

	memset(pool, 0, sizeof(*pool));
	pool->smmu = smmu;
	pool->dev = dev;
	pool->base = base;
	pool->phys = res->start;
	init_rwsem(&pool->sem);
	spin_lock_init(&pool->lock);
	INIT_DELAYED_WORK(&pool->period, tegra241_vintf_end_period);

	param = tegra241_vintf_readl(pool, PARAM);
	pool->version = FIELD_GET(PARAM_VER, param);
	pool->num_vintfs = 1U << FIELD_GET(PARAM_NUM_VI_LOG2, param);
	pool->num_lvcmdqs = (1U << FIELD_GET(PARAM_NUM_CMDQ_LOG2, param)) /
			    pool->num_vintfs;
	pool->log2_vsids = min(FIELD_GET(PARAM_NUM_SID_LOG2, param),
			       ARM_VCMDQ_LOG2_VSIDS_MAX);
	if (pool->num_lvcmdqs)
		pool->log2_lvcmdqs = min(ilog2(pool->num_lvcmdqs),
					 ARM_VCMDQ_LOG2_QUEUES_MAX);
	/* Do not rely on firmware to describe all VINTFs */
	while (pool->num_vintfs > TEGRA241_VINTFS_MAX ||
	       (pool->num_vintfs &&
		VINTF_PAGE0(pool->num_vintfs) > resource_size(res)))
		pool->num_vintfs--;
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_vintf_pool_init);

/**
 * tegra241_vintf_pool_reset - Reset all VINTFs that VMs can have
 * @pool: The pool. No VINTF is in use
 *
 * A previous kernel may have been left with running VMs by a crash or a kexec.
 * A VINTF that does not stop will not be available.
 *
 * Context: Probe of the SMMU, with its command queue enabled.
 */
void tegra241_vintf_pool_reset(struct tegra241_vintf_pool *pool)
{
	unsigned int idx, lidx;
	bool lost;

	if (!pool->num_lvcmdqs)
		return;
	spin_lock(&pool->lock);
	tegra241_vintf_pool_mask(pool, 0);
	spin_unlock(&pool->lock);
	for (idx = 1; idx < pool->num_vintfs; idx++) {
		lost = false;
		for (lidx = pool->num_lvcmdqs; lidx--;)
			lost |= tegra241_vcmdq_stop(pool, idx, lidx);
		lost |= tegra241_vintf_stop(pool, idx);
		if (lost)
			__set_bit(idx, pool->lost);
		else
			pool->smmu->vintf_pool = pool;
	}
	tegra241_vintf_sync(pool);
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_vintf_pool_reset);

/**
 * tegra241_vintf_pool_stop - Stop the VINTFs of all VMs for good
 * @pool: The pool
 *
 * The VMs keep their objects, whose registers are not written any more. Their
 * processes may still run, and free the memory of their queues. Nothing stops a
 * queue later that does not stop now, so its memory is kept here.
 *
 * Context: Shutdown of the SMMU, with its command queue still enabled.
 */
void tegra241_vintf_pool_stop(struct tegra241_vintf_pool *pool)
{
	struct tegra241_vm_vintf *vintf;
	unsigned int idx, lidx;
	unsigned long queues;

	down_write(&pool->sem);
	for (idx = 1; idx < pool->num_vintfs; idx++) {
		/* Without a queue, the VM may free its VINTF at any time */
		spin_lock(&pool->lock);
		vintf = pool->vintfs[idx];
		queues = vintf ? vintf->queues : 0;
		spin_unlock(&pool->lock);
		for (lidx = ARM_VCMDQ_QUEUES_MAX; lidx--;)
			if (queues & BIT(lidx) &&
			    tegra241_vcmdq_stop(pool, idx, lidx))
				tegra241_vintf_keep_memory(vintf, lidx);
		if (vintf)
			tegra241_vintf_stop(pool, idx);
	}
	pool->stopped = true;
	up_write(&pool->sem);

	/* The next kernel may expect that no interrupt is masked */
	tegra241_vintf_pool_exit(pool);
	spin_lock(&pool->lock);
	if (pool->masked)
		tegra241_vintf_pool_mask(pool, 0);
	spin_unlock(&pool->lock);
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_vintf_pool_stop);

/**
 * tegra241_vintf_pool_exit - Let nothing access a pool asynchronously any more
 * @pool: The pool. Interrupts that are masked stay masked
 */
void tegra241_vintf_pool_exit(struct tegra241_vintf_pool *pool)
{
	disable_delayed_work_sync(&pool->period);
}
EXPORT_SYMBOL_IF_KUNIT(tegra241_vintf_pool_exit);
