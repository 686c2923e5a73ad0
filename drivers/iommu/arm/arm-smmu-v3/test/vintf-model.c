// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of nested translation: a model of a Tegra241 CMDQV.
 */
#include <kunit/static_stub.h>
#include <linux/ioport.h>
#include <linux/module.h>

#include "vintf-model.h"

static struct fake_cmdqv_hw *to_fake_hw(struct tegra241_vintf_pool *pool)
{
	return container_of(pool, struct fake_cmdqv_hw, pool);
}

/* The queue that is an LVCMDQ of a VINTF, if any */
static struct fake_cmdqv_queue *fake_hw_lvcmdq(struct fake_cmdqv_hw *hw,
					       unsigned int v, unsigned int l)
{
	unsigned int q;

	if (hw->no_alloc || !(hw->conf[HW_VINTF_STATUS(v) / 4] & 1))
		return NULL;
	for (q = 0; q < HW_QUEUES; q++)
		if (hw->conf[HW_ALLOC(q) / 4] == (1 | l << 1 | v << 15))
			return &hw->queues[q];
	return NULL;
}

/* The queue that an offset belongs to, and its page and register */
static struct fake_cmdqv_queue *fake_hw_decode(struct fake_cmdqv_hw *hw,
					       u32 offset, bool *page1,
					       unsigned int *reg)
{
	unsigned int v, n = offset % 0x10000 / 0x80;

	*page1 = offset / 0x10000 % 2 == 0;
	*reg = offset % 0x80;
	if (offset < HW_VINTF_PAGE0(0))
		return n < HW_QUEUES ? &hw->queues[n] : NULL;
	v = (offset - HW_VINTF_PAGE0(0)) / 0x20000;
	return v < HW_VINTFS ? fake_hw_lvcmdq(hw, v, n) : NULL;
}

static void fake_hw_queue_write(struct fake_cmdqv_hw *hw,
				struct fake_cmdqv_queue *q, unsigned int reg,
				u32 val)
{
	if (reg > HW_GERRORN || reg == HW_STATUS || reg == HW_GERROR)
		return;
	q->page0[reg / 4] = val;
	if (reg != HW_CONFIG ||
	    hw->stuck_queues & BIT(q - hw->queues))
		return;
	if (val & 1 && !q->base)
		hw->enabled_without_base++;
	q->page0[HW_STATUS / 4] = val & 1;
}

/* The guest writes a register of page 0 */
void fake_hw_guest(struct fake_cmdqv_hw *hw, unsigned int v, unsigned int l,
		   unsigned int reg, u32 val)
{
	struct fake_cmdqv_queue *q = fake_hw_lvcmdq(hw, v, l);

	if (q)
		fake_hw_queue_write(hw, q, reg, val);
}

static void fake_hw_attack(struct fake_cmdqv_hw *hw)
{
	unsigned int l;

	for (l = 0; hw->hostile && l < HW_LVCMDQS; l++) {
		fake_hw_guest(hw, hw->hostile, l, HW_CONS, 3);
		fake_hw_guest(hw, hw->hostile, l, HW_PROD, 5);
		fake_hw_guest(hw, hw->hostile, l, HW_GERRORN, ~0U);
		fake_hw_guest(hw, hw->hostile, l, HW_CONFIG, 1);
	}
}

static u64 fake_hw_read(struct fake_cmdqv_hw *hw, u32 offset)
{
	struct fake_cmdqv_queue *q;
	unsigned int v, reg;
	bool page1;
	u64 val = 0;

	if (offset == HW_VI_ERR_MAP) {
		for (v = 0; v < HW_VINTFS; v++)
			if (hw->conf[HW_ERR_MAP(v) / 4])
				val |= BIT(v);
	} else if (offset < HW_CONF_SIZE) {
		val = hw->conf[offset / 4];
	} else {
		q = fake_hw_decode(hw, offset, &page1, &reg);
		if (q && !page1 && reg <= HW_GERRORN)
			val = q->page0[reg / 4];
		else if (q && page1)
			val = reg == HW_BASE ? q->base : q->dram;
	}
	fake_hw_attack(hw);
	return val;
}

static void fake_hw_conf_write(struct fake_cmdqv_hw *hw, u32 offset, u32 val)
{
	unsigned int v = (offset - HW_VINTF_CONFIG(0)) / 0x100;
	u32 old = hw->conf[offset / 4];

	/* The interrupts of VINTF0 are never masked */
	if (offset == HW_VI_INT_MASK || offset == HW_VI_INT_MASK + 4) {
		if (offset == HW_VI_INT_MASK && val & 1)
			hw->not_for_vms++;
		hw->conf[offset / 4] = val;
		return;
	}
	/* Registers of VINTF0, of its queues, and of all VINTFs together */
	if (offset < HW_ALLOC(HW_LVCMDQS) ||
	    (offset >= HW_ALLOC(HW_QUEUES) && offset < HW_VINTF_CONFIG(1))) {
		hw->not_for_vms++;
		return;
	}
	if (offset < HW_VINTF_CONFIG(1) || offset != HW_VINTF_CONFIG(v)) {
		hw->conf[offset / 4] = val;
		return;
	}
	val = (val & ~hw->wired_0) | hw->wired_1;
	if (old & val & 1 && old != val)
		hw->vmid_while_enabled++;
	hw->conf[offset / 4] = val;
	if (!(hw->stuck_vintfs & BIT(v)))
		hw->conf[HW_VINTF_STATUS(v) / 4] = val & 1;
}

static void fake_hw_write(struct fake_cmdqv_hw *hw, u32 offset, u64 val)
{
	struct fake_cmdqv_queue *q;
	unsigned int reg;
	bool page1;

	if (hw->num < HW_LOG) {
		hw->log[hw->num].offset = offset;
		hw->log[hw->num++].val = val;
	}
	if (offset < HW_CONF_SIZE) {
		fake_hw_conf_write(hw, offset, val);
		fake_hw_attack(hw);
		return;
	}
	q = fake_hw_decode(hw, offset, &page1, &reg);
	if (!q || q < &hw->queues[HW_LVCMDQS]) {
		hw->not_for_vms++;
	} else if (!page1) {
		fake_hw_queue_write(hw, q, reg, val);
	} else if (reg == HW_BASE) {
		if (q->page0[HW_STATUS / 4])
			hw->base_while_enabled++;
		q->base = val;
	} else {
		q->dram = val;
	}
	fake_hw_attack(hw);
}

static u32 fake_hw_readl(struct tegra241_vintf_pool *pool, u32 offset)
{
	return fake_hw_read(to_fake_hw(pool), offset);
}

static u64 fake_hw_readq(struct tegra241_vintf_pool *pool, u32 offset)
{
	struct fake_cmdqv_hw *hw = to_fake_hw(pool);
	u64 val = fake_hw_read(hw, offset);

	if (offset < HW_CONF_SIZE)
		val |= fake_hw_read(hw, offset + 4) << 32;
	return val;
}

static void fake_hw_writel(struct tegra241_vintf_pool *pool, u32 offset,
			   u32 val)
{
	fake_hw_write(to_fake_hw(pool), offset, val);
}

static void fake_hw_writeq(struct tegra241_vintf_pool *pool, u32 offset,
			   u64 val)
{
	fake_hw_write(to_fake_hw(pool), offset, val);
}

static int fake_hw_alloc_mmap(struct iommufd_viommu *viommu, phys_addr_t base,
			      size_t length, unsigned long *offset)
{
	struct arm_vsmmu *vsmmu = container_of(viommu, struct arm_vsmmu, core);
	struct fake_cmdqv_hw *hw = to_fake_hw(vsmmu->smmu->vintf_pool);

	hw->mmap_base = base;
	hw->mmap_length = length;
	return iommufd_viommu_alloc_mmap(viommu, base, length, offset);
}

/* Only note that a period has begun: the test ends it */
static void fake_hw_begin_period(struct tegra241_vintf_pool *pool)
{
	to_fake_hw(pool)->in_period = true;
}

u32 fake_hw_get(struct fake_cmdqv_hw *hw, u32 offset)
{
	unsigned int hostile = hw->hostile;
	u32 val;

	hw->hostile = 0;
	val = fake_hw_read(hw, offset);
	hw->hostile = hostile;
	return val;
}

/* Expect the given write of the driver next, or none */
void fake_hw_expect(struct fake_cmdqv_hw *hw, u32 offset, u64 val, int line)
{
	struct kunit *test = hw->fake->test;

	if (hw->read == hw->num) {
		KUNIT_FAIL(test, "line %d: no write, want %x = %llx", line,
			   offset, val);
		return;
	}
	KUNIT_EXPECT_EQ_MSG(test, hw->log[hw->read].offset, offset, "line %d",
			    line);
	KUNIT_EXPECT_EQ_MSG(test, hw->log[hw->read].val, val, "line %d", line);
	hw->read++;
}

void fake_hw_expect_none(struct fake_cmdqv_hw *hw, int line)
{
	KUNIT_EXPECT_LT(hw->fake->test, hw->num, HW_LOG);
	for (; hw->read < hw->num; hw->read++)
		KUNIT_FAIL(hw->fake->test, "line %d: not wanted: %x = %llx",
			   line, hw->log[hw->read].offset,
			   hw->log[hw->read].val);
}

void fake_hw_drain(struct fake_cmdqv_hw *hw)
{
	hw->num = 0;
	hw->read = 0;
}

/* To be called at the end of each test */
void fake_hw_check(struct kunit *test, struct fake_cmdqv_hw *hw)
{
	KUNIT_EXPECT_EQ(test, hw->enabled_without_base, 0);
	KUNIT_EXPECT_EQ(test, hw->base_while_enabled, 0);
	KUNIT_EXPECT_EQ(test, hw->vmid_while_enabled, 0);
	KUNIT_EXPECT_EQ(test, hw->not_for_vms, 0);
	KUNIT_EXPECT_TRUE(test, list_empty(&hw->s2->domain.s2_tags));
	KUNIT_EXPECT_TRUE(test, bitmap_empty((unsigned long *)hw->pool.vintfs,
					     BITS_PER_TYPE(hw->pool.vintfs)));
}

/* A CMDQV whose PARAM register is @param, in a region of @size bytes */
void fake_hw_reset(struct fake_cmdqv_hw *hw, u32 param, size_t size)
{
	struct arm_smmu_device *smmu = &hw->fake->smmu;
	struct resource res = DEFINE_RES_MEM(HW_PHYS, size);

	hw->conf[HW_PARAM / 4] = param;
	smmu->vintf_pool = NULL;
	tegra241_vintf_pool_init(&hw->pool, smmu, smmu->dev, NULL, &res);
	tegra241_vintf_pool_reset(&hw->pool);
	fake_smmu_drain(hw->fake);
}

struct fake_cmdqv_hw *fake_hw_alloc(struct kunit *test)
{
	struct fake_cmdqv_hw *hw = kunit_kzalloc(test, sizeof(*hw), GFP_KERNEL);
	unsigned int q;

	KUNIT_ASSERT_NOT_NULL(test, hw);
	kunit_activate_static_stub(test, tegra241_vintf_readl, fake_hw_readl);
	kunit_activate_static_stub(test, tegra241_vintf_readq, fake_hw_readq);
	kunit_activate_static_stub(test, tegra241_vintf_writel, fake_hw_writel);
	kunit_activate_static_stub(test, tegra241_vintf_writeq, fake_hw_writeq);
	kunit_activate_static_stub(test, tegra241_vintf_alloc_mmap,
				   fake_hw_alloc_mmap);
	kunit_activate_static_stub(test, tegra241_vintf_begin_period,
				   fake_hw_begin_period);

	hw->fake = fake_smmu_alloc(test, FAKE_QUEUE_SHIFT);
	hw->fake->smmu.options |= ARM_SMMU_OPT_TEGRA241_CMDQV;
	/* IDR1.CMDQS: 256 commands, a page of 4K */
	hw->fake->regs[1] = cpu_to_le32(8 << 21);
	hw->s2 = fake_s2_alloc(test, hw->fake);
	hw->fdev = fake_dev_alloc(test, hw->fake, FAKE_VM_SID);
	hw->user = fake_user_alloc(test, PAGE_SIZE);
	/* As the host's driver leaves it */
	hw->conf[HW_VINTF_CONFIG(0) / 4] = 1 | 1 << 17;
	hw->conf[HW_VINTF_STATUS(0) / 4] = 1;
	for (q = 0; q < HW_QUEUES; q++) {
		hw->conf[HW_ALLOC(q) / 4] = 1 | (q % HW_LVCMDQS) << 1 |
					    (q / HW_LVCMDQS) << 15;
		if (q < HW_LVCMDQS) {
			hw->queues[q].base = 0x80000008 + 0x1000 * q;
			hw->queues[q].page0[HW_CONFIG / 4] = 1;
			hw->queues[q].page0[HW_STATUS / 4] = 1;
		}
	}
	fake_hw_reset(hw, HW_PARAM_VALUE, HW_SIZE);
	fake_hw_drain(hw);
	return hw;
}

KUNIT_DEFINE_ACTION_WRAPPER(fake_free_page, free_page, unsigned long);
KUNIT_DEFINE_ACTION_WRAPPER(fake_xa_destroy, xa_destroy, struct xarray *);
KUNIT_DEFINE_ACTION_WRAPPER(fake_ida_destroy, ida_destroy, struct ida *);

struct fake_cmdqv_hw *fake_vintf_hw(struct kunit *test)
{
	struct fake_cmdqv_hw *hw = fake_hw_alloc(test);
	struct ida *vmids = &hw->fake->smmu.vmid_map;
	unsigned int i;

	for (i = 1; i < FIRST_VMID; i++)
		KUNIT_ASSERT_EQ(test, i,
				ida_alloc_range(vmids, 1, 10, GFP_KERNEL));
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, fake_ida_destroy,
						  vmids));
	return hw;
}

/* IOMMU_VIOMMU_ALLOC. @ictx only identifies the context. */
int fake_vintf_init(struct kunit *test, struct fake_cmdqv_hw *hw,
		    struct fake_vintf *vintf, unsigned long ictx,
		    const struct iommu_user_data *data)
{
	size_t size = arm_smmu_get_viommu_size(hw->fdev->dev, 2);
	struct iommufd_viommu *core;

	if (!size)
		return -EOPNOTSUPP;
	vintf->hw = hw;
	core = kunit_kzalloc(test, size, GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, core);
	xa_init(&core->vdevs);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, fake_xa_destroy,
						  &core->vdevs));
	INIT_LIST_HEAD(&core->veventqs);
	spin_lock_init(&core->veventqs_lock);
	core->iommu_dev = &hw->fake->smmu.iommu;
	core->ictx = (struct iommufd_ctx *)ictx;
	core->type = 2;
	vintf->core = core;
	vintf->vcmdqv = to_vcmdqv(core);
	return arm_vsmmu_init(core, &hw->s2->domain.domain, data);
}

int fake_vintf_add(struct kunit *test, struct fake_cmdqv_hw *hw,
		   struct fake_vintf *vintf, unsigned long ictx)
{
	const struct iommu_user_data data = {
		.type = 2,
		.uptr = hw->user,
		.len = 16,
	};

	if (!vintf->page) {
		vintf->page = get_zeroed_page(GFP_KERNEL);
		KUNIT_ASSERT_NE(test, vintf->page, 0);
		KUNIT_ASSERT_EQ(test, 0,
				kunit_add_action_or_reset(test, fake_free_page,
							  (void *)vintf->page));
	}
	return fake_vintf_init(test, hw, vintf, ictx, &data);
}

struct fake_vintf *fake_vintf_alloc(struct kunit *test,
				    struct fake_cmdqv_hw *hw,
				    unsigned long ictx)
{
	struct fake_vintf *vintf =
		kunit_kzalloc(test, sizeof(*vintf), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, vintf);
	KUNIT_ASSERT_EQ(test, 0, fake_vintf_add(test, hw, vintf, ictx));
	return vintf;
}

void fake_vintf_free(struct fake_vintf *vintf)
{
	vintf->core->ops->destroy(vintf->core);
}

int fake_lvcmdq_add_at(struct fake_vintf *vintf, unsigned int i, u32 index,
		       size_t length, phys_addr_t base)
{
	struct iommufd_hw_queue *hw_queue = &vintf->hw_queue[i];

	memset(hw_queue, 0, sizeof(*hw_queue));
	refcount_set(&hw_queue->obj.users, 1);
	hw_queue->viommu = vintf->core;
	hw_queue->length = length;
	return vintf->core->ops->hw_queue_init_phys(hw_queue, index, base);
}

/* A queue of 8 commands */
int fake_lvcmdq_add(struct fake_vintf *vintf, u32 index)
{
	return fake_lvcmdq_add_at(vintf, index, index, 128,
				  virt_to_phys((void *)vintf->page) +
					  128 * index);
}

void fake_lvcmdq_del(struct fake_vintf *vintf, unsigned int i)
{
	vintf->hw_queue[i].destroy(&vintf->hw_queue[i]);
}

/* The hardware stops a queue at an error */
u64 fake_hw_raise(struct fake_cmdqv_hw *hw, unsigned int v, unsigned int l)
{
	hw->queues[v * HW_LVCMDQS + l].page0[HW_GERROR / 4] ^= 1;
	hw->conf[HW_ERR_MAP(v) / 4] |= BIT(l);
	return BIT_ULL(v);
}

void fake_hw_ack(struct fake_cmdqv_hw *hw, unsigned int v, unsigned int l)
{
	fake_hw_guest(hw, v, l, HW_GERRORN,
		      hw->queues[v * HW_LVCMDQS + l].page0[HW_GERROR / 4]);
	hw->conf[HW_ERR_MAP(v) / 4] &= ~BIT(l);
}

void fake_expect_err_map(struct kunit *test, struct iommufd_veventq *veventq,
			 u64 map, int line)
{
	struct fake_event *got = veventq->ring;

	KUNIT_EXPECT_EQ_MSG(test, veventq->num, 1, "line %d", line);
	KUNIT_EXPECT_EQ_MSG(test, le64_to_cpu(got->evt[0]), map, "line %d",
			    line);
	KUNIT_EXPECT_EQ_MSG(test, le64_to_cpu(got->evt[1]), 0, "line %d", line);
	veventq->num = 0;
	veventq->first = 0;
}

struct iommufd_veventq *fake_vintf_veventq(struct kunit *test,
					   struct fake_vintf *vintf)
{
	struct arm_vsmmu *vsmmu = &vintf->vcmdqv->vsmmu;
	struct iommufd_veventq *veventq = fake_veventq_add(test, vsmmu);

	veventq->type = IOMMU_VEVENTQ_TYPE_TEGRA241_CMDQV;
	veventq->data_size = 16;
	return veventq;
}

/* Reset values, but ALLOC names the VINTF, and errors are acknowledged */
void fake_expect_reset(struct kunit *test, struct fake_cmdqv_hw *hw,
		       unsigned int v)
{
	unsigned int l, s, q;

	KUNIT_EXPECT_EQ(test, fake_hw_get(hw, HW_VINTF_CONFIG(v)), 0);
	KUNIT_EXPECT_EQ(test, fake_hw_get(hw, HW_VINTF_STATUS(v)), 0);
	for (s = 0; s < 16; s++) {
		KUNIT_EXPECT_EQ(test, fake_hw_get(hw, HW_SID_MATCH(v, s)), 0);
		KUNIT_EXPECT_EQ(test, fake_hw_get(hw, HW_SID_REPLACE(v, s)), 0);
	}
	for (l = 0; l < HW_LVCMDQS; l++) {
		q = v * HW_LVCMDQS + l;
		KUNIT_EXPECT_EQ(test, fake_hw_get(hw, HW_ALLOC(q)),
				l << 1 | v << 15);
		KUNIT_EXPECT_EQ(test, hw->queues[q].page0[HW_CONS / 4], 0);
		KUNIT_EXPECT_EQ(test, hw->queues[q].page0[HW_PROD / 4], 0);
		KUNIT_EXPECT_EQ(test, hw->queues[q].page0[HW_CONFIG / 4], 0);
		KUNIT_EXPECT_EQ(test, hw->queues[q].page0[HW_STATUS / 4], 0);
		KUNIT_EXPECT_EQ(test, hw->queues[q].page0[HW_GERROR / 4],
				hw->queues[q].page0[HW_GERRORN / 4]);
		KUNIT_EXPECT_EQ(test, hw->queues[q].base, 0);
		KUNIT_EXPECT_EQ(test, hw->queues[q].dram, 0);
	}
}

MODULE_IMPORT_NS(IOMMUFD);
