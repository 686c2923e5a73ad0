// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of the driver for the CMDQV of a Tegra241.
 *
 * The driver is compiled a second time here, unchanged, but its registers are
 * ordinary memory. Register writes go through fake_writel(), so that the tests
 * see their order, and the status of a queue shows whether it is enabled, as in
 * the hardware. The resources that ACPI reports are replaced, too.
 *
 * The expected values are numbers, as in the other tests.
 */
#include <kunit/test.h>
#include <linux/acpi.h>
#include <linux/io.h>
#include <linux/moduleparam.h>
#include <linux/vmalloc.h>

#include "fake.h"

static void fake_writel(u32 val, void __iomem *addr);
static int fake_acpi_resources(struct acpi_device *adev, struct list_head *list,
			       int (*preproc)(struct acpi_resource *, void *),
			       void *data);
static bool fake_acpi_interrupt(struct acpi_resource *ares, int index,
				struct resource *res);
/* The first copy of the driver has the name tegra241_cmdqv_probe() */
static __maybe_unused struct arm_smmu_device *
fake_cmdqv_probe(struct arm_smmu_device *smmu);

#undef writel
#define writel(_val, _addr)		fake_writel(_val, _addr)
#define acpi_dev_get_resources		fake_acpi_resources
#define acpi_dev_resource_interrupt	fake_acpi_interrupt
#define tegra241_cmdqv_probe		fake_cmdqv_probe
#undef module_param
#define module_param(...)
#undef MODULE_PARM_DESC
#define MODULE_PARM_DESC(...)
#undef dev_fmt

#include "../tegra241-cmdqv.c"

/* Up to the end of page 1 of the first VINTF */
#define FAKE_REGS_SIZE		0x50000
#define FAKE_VINTF_ERR_MAP	0x14
#define FAKE_VINTF		0x1000
#define FAKE_LVCMDQ_ERR_MAP(_m)	(FAKE_VINTF + 0xc0 + 8 * (_m))
#define FAKE_LVCMDQ(_q)		(0x30000 + 0x80 * (_q))
#define FAKE_LVCMDQ_CONS(_q)	(FAKE_LVCMDQ(_q) + 0)
#define FAKE_LVCMDQ_CONFIG(_q)	(FAKE_LVCMDQ(_q) + 8)
#define FAKE_LVCMDQ_GERROR(_q)	(FAKE_LVCMDQ(_q) + 0x10)
#define FAKE_LVCMDQ_GERRORN(_q)	(FAKE_LVCMDQ(_q) + 0x14)
#define FAKE_MAX_LVCMDQS	128
#define FAKE_VCMDQ_SHIFT	3

struct fake_cmdqv {
	struct tegra241_cmdqv cmdqv;
	struct device dev;
	void *regs;
	/* The queues that were enabled and disabled, in this order */
	struct {
		unsigned int lidx;
		bool enable;
	} writes[20];
	unsigned int num_writes;
};

/* fake_writel() gets only an address, and finds the registers by this */
static struct fake_cmdqv *fake_regs_of;

static __le32 *fake_reg(struct fake_cmdqv *fake, unsigned int offset)
{
	return fake->regs + offset;
}

static void fake_writel(u32 val, void __iomem *addr)
{
	struct fake_cmdqv *fake = fake_regs_of;
	unsigned int offset = (__force void *)addr - fake->regs;
	bool changes;

	WRITE_ONCE(*fake_reg(fake, offset), cpu_to_le32(val));

	/* Only CONFIG of the VINTF and of its queues has a status behind it */
	if (offset != FAKE_VINTF &&
	    (offset < FAKE_LVCMDQ(0) || (offset & 0x7f) != 8))
		return;
	changes = *fake_reg(fake, offset + 4) != cpu_to_le32(val & 1);
	*fake_reg(fake, offset + 4) = cpu_to_le32(val & 1);
	if (offset == FAKE_VINTF || !changes ||
	    fake->num_writes == ARRAY_SIZE(fake->writes))
		return;
	fake->writes[fake->num_writes].lidx = (offset - FAKE_LVCMDQ(0)) / 0x80;
	fake->writes[fake->num_writes].enable = val & 1;
	fake->num_writes++;
}

KUNIT_DEFINE_ACTION_WRAPPER(fake_regs_free, vfree, const void *);

static struct fake_cmdqv *fake_cmdqv_alloc(struct kunit *test, u16 num)
{
	struct fake_cmdqv *fake = kunit_kzalloc(test, sizeof(*fake), GFP_KERNEL);
	struct tegra241_vintf *vintf;
	struct tegra241_cmdqv *cmdqv;

	KUNIT_ASSERT_NOT_NULL(test, fake);
	fake->regs = vzalloc(FAKE_REGS_SIZE);
	KUNIT_ASSERT_NOT_NULL(test, fake->regs);
	KUNIT_ASSERT_EQ(test, 0,
			kunit_add_action_or_reset(test, fake_regs_free,
						  fake->regs));
	fake_regs_of = fake;
	fake->dev.init_name = "fake-cmdqv";
	cmdqv = &fake->cmdqv;
	cmdqv->dev = &fake->dev;
	cmdqv->smmu.dev = &fake->dev;
	cmdqv->base = (__force void __iomem *)fake->regs;
	cmdqv->num_vintfs = 1;
	cmdqv->num_vcmdqs = num;
	cmdqv->num_lvcmdqs_per_vintf = num;
	ida_init(&cmdqv->vintf_ids);
	cmdqv->vintfs = kunit_kcalloc(test, 1, sizeof(*cmdqv->vintfs),
				      GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, cmdqv->vintfs);

	/* The driver frees it */
	vintf = kzalloc(sizeof(*vintf), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vintf);
	KUNIT_ASSERT_EQ(test, 0, tegra241_cmdqv_init_vintf(cmdqv, 0, vintf));
	return fake;
}

/* A queue like that of tegra241_vintf_alloc_lvcmdq(), which the driver frees */
static __le64 *fake_lvcmdq_add(struct kunit *test, struct fake_cmdqv *fake,
			       u16 lidx)
{
	struct tegra241_vintf *vintf = fake->cmdqv.vintfs[0];
	struct tegra241_vcmdq *vcmdq;
	struct arm_smmu_queue *q;

	vcmdq = kzalloc(sizeof(*vcmdq), GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, vcmdq);
	KUNIT_ASSERT_EQ(test, 0, tegra241_vintf_init_lvcmdq(vintf, lidx, vcmdq));
	q = &vcmdq->cmdq.q;
	q->llq.max_n_shift = FAKE_VCMDQ_SHIFT;
	q->ent_dwords = 2;
	q->base = kunit_kcalloc(test, 2 << FAKE_VCMDQ_SHIFT, sizeof(__le64),
				GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, q->base);
	q->prod_reg = vcmdq->page0 + 4;
	q->cons_reg = vcmdq->page0;
	vintf->lvcmdqs[lidx] = vcmdq;
	return q->base;
}

/* The queue stops at its third command, which is illegal */
static void fake_lvcmdq_stop(struct fake_cmdqv *fake, __le64 *queue, u16 lidx)
{
	queue[4] = cpu_to_le64(0xff);
	*fake_reg(fake, FAKE_LVCMDQ_CONS(lidx)) = cpu_to_le32(1 << 24 | 2);
	*fake_reg(fake, FAKE_LVCMDQ_GERROR(lidx)) = cpu_to_le32(1);
	*fake_reg(fake, FAKE_LVCMDQ_GERRORN(lidx)) = 0;
}

static bool fake_lvcmdq_goes_on(struct fake_cmdqv *fake, __le64 *queue, u16 lidx)
{
	return *fake_reg(fake, FAKE_LVCMDQ_GERRORN(lidx)) == cpu_to_le32(1) &&
	       (le64_to_cpu(queue[4]) & 0xff) == OP_SYNC;
}

static bool fake_lvcmdq_untouched(struct fake_cmdqv *fake, __le64 *queue,
				  u16 lidx)
{
	return !*fake_reg(fake, FAKE_LVCMDQ_GERRORN(lidx)) &&
	       queue[4] == cpu_to_le64(0xff);
}

/* Each bit of both words of the error map stands for a queue of its own */
static void tegra241_cmdqv_test_err_map(struct kunit *test)
{
	static const struct {
		u16 lidx;
		unsigned int word;
		u64 bit;
	} cases[] = {
		{ 3, 0, BIT_ULL(3) }, { 63, 0, BIT_ULL(63) },
		{ 67, 1, BIT_ULL(3) }, { 127, 1, BIT_ULL(63) },
	};
	struct fake_cmdqv *fake = fake_cmdqv_alloc(test, FAKE_MAX_LVCMDQS);
	__le64 *queues[ARRAY_SIZE(cases)];
	unsigned int i, j;
	bool ok;

	for (i = 0; i < ARRAY_SIZE(cases); i++)
		queues[i] = fake_lvcmdq_add(test, fake, cases[i].lidx);
	*fake_reg(fake, FAKE_VINTF_ERR_MAP) = cpu_to_le32(1);

	for (i = 0; i < ARRAY_SIZE(cases); i++) {
		__le64 *map = fake->regs + FAKE_LVCMDQ_ERR_MAP(cases[i].word);

		for (j = 0; j < ARRAY_SIZE(cases); j++)
			fake_lvcmdq_stop(fake, queues[j], cases[j].lidx);
		*map = cpu_to_le64(cases[i].bit);
		KUNIT_EXPECT_EQ(test, IRQ_HANDLED,
				tegra241_cmdqv_isr(0, &fake->cmdqv));
		for (j = 0; j < ARRAY_SIZE(cases); j++) {
			if (i == j)
				ok = fake_lvcmdq_goes_on(fake, queues[j],
							 cases[j].lidx);
			else
				ok = fake_lvcmdq_untouched(fake, queues[j],
							   cases[j].lidx);
			KUNIT_EXPECT_TRUE_MSG(test, ok,
					      "error of queue %u, queue %u",
					      cases[i].lidx, cases[j].lidx);
		}

		/* The VINTF may have fewer queues than the map has bits */
		fake->cmdqv.num_lvcmdqs_per_vintf = cases[i].lidx;
		fake_lvcmdq_stop(fake, queues[i], cases[i].lidx);
		KUNIT_EXPECT_EQ(test, IRQ_HANDLED,
				tegra241_cmdqv_isr(0, &fake->cmdqv));
		KUNIT_EXPECT_TRUE(test,
				  fake_lvcmdq_untouched(fake, queues[i],
							cases[i].lidx));
		fake->cmdqv.num_lvcmdqs_per_vintf = FAKE_MAX_LVCMDQS;
		*map = 0;
	}
	tegra241_cmdqv_remove_vintf(&fake->cmdqv, 0);
	KUNIT_EXPECT_TRUE(test, ida_is_empty(&fake->cmdqv.vintf_ids));
}

static void expect_order(struct kunit *test, struct fake_cmdqv *fake,
			 unsigned int at, bool enable)
{
	unsigned int i;

	KUNIT_ASSERT_GE(test, fake->num_writes, at + 4);
	for (i = 0; i < 4; i++) {
		KUNIT_EXPECT_EQ_MSG(test, fake->writes[at + i].lidx,
				    enable ? i : 3 - i, "write %u", at + i);
		KUNIT_EXPECT_EQ_MSG(test, fake->writes[at + i].enable, enable,
				    "write %u", at + i);
	}
}

/* The first queue is enabled first and disabled last */
static void tegra241_cmdqv_test_order(struct kunit *test)
{
	struct fake_cmdqv *fake = fake_cmdqv_alloc(test, 4);
	struct tegra241_vintf *vintf = fake->cmdqv.vintfs[0];
	unsigned int i;

	for (i = 0; i < 4; i++)
		fake_lvcmdq_add(test, fake, i);

	KUNIT_EXPECT_EQ(test, 0, tegra241_vintf_hw_init(vintf, true));
	KUNIT_EXPECT_TRUE(test, vintf->enabled);
	expect_order(test, fake, 0, true);
	KUNIT_EXPECT_EQ(test, fake->num_writes, 4);

	/* A VINTF is reset before it is enabled */
	KUNIT_EXPECT_EQ(test, 0, tegra241_vintf_hw_init(vintf, true));
	expect_order(test, fake, 4, false);
	expect_order(test, fake, 8, true);
	KUNIT_EXPECT_EQ(test, fake->num_writes, 12);

	tegra241_cmdqv_remove_vintf(&fake->cmdqv, 0);
	expect_order(test, fake, 12, false);
	KUNIT_EXPECT_EQ(test, fake->num_writes, 16);
	KUNIT_EXPECT_EQ(test, 0, le32_to_cpu(*fake_reg(fake, FAKE_VINTF)) & 1);
}

#define FAKE_IRQ	33

static bool fake_acpi_interrupt(struct acpi_resource *ares, int index,
				struct resource *res)
{
	if (ares->type != ACPI_RESOURCE_TYPE_EXTENDED_IRQ || index)
		return false;
	*res = DEFINE_RES_IRQ(ares->data.extended_irq.interrupt);
	return true;
}

/* The memory, or two interrupts */
static int fake_acpi_resources(struct acpi_device *adev, struct list_head *list,
			       int (*preproc)(struct acpi_resource *, void *),
			       void *data)
{
	struct acpi_resource ares = {
		.type = ACPI_RESOURCE_TYPE_EXTENDED_IRQ,
		.data.extended_irq.interrupt_count = 1,
	};
	struct resource_entry *entry;
	unsigned int i;

	if (data) {
		for (i = 0; i < 2; i++) {
			ares.data.extended_irq.interrupt = FAKE_IRQ + i;
			if (preproc(&ares, data) != 1)
				return -EINVAL;
		}
		return 0;
	}
	entry = resource_list_create_entry(NULL, 0);
	if (!entry)
		return -ENOMEM;
	*entry->res = DEFINE_RES_MEM(0x1000000, 0x830000);
	resource_list_add_tail(entry, list);
	return 1;
}

/* The first interrupt is found, whatever value the variable had before */
static void tegra241_cmdqv_test_irq(struct kunit *test)
{
	static const int before[] = { 0, -1, 7 };
	struct acpi_device *adev = kunit_kzalloc(test, sizeof(*adev),
						 GFP_KERNEL);
	struct resource *res;
	unsigned int i;
	int irq;

	KUNIT_ASSERT_NOT_NULL(test, adev);
	for (i = 0; i < ARRAY_SIZE(before); i++) {
		irq = before[i];
		res = tegra241_cmdqv_find_acpi_resource(&adev->dev, &irq);
		KUNIT_ASSERT_NOT_NULL(test, res);
		KUNIT_EXPECT_EQ(test, irq, FAKE_IRQ);
		KUNIT_EXPECT_EQ(test, res->start, 0x1000000);
		kfree(res);
	}
}

static struct kunit_case tegra241_test_cases[] = {
	KUNIT_CASE(tegra241_cmdqv_test_err_map),
	KUNIT_CASE(tegra241_cmdqv_test_order),
	KUNIT_CASE(tegra241_cmdqv_test_irq),
	{},
};

static struct kunit_suite tegra241_test_suite = {
	.name = "arm-smmu-v3-tegra241-cmdqv",
	.test_cases = tegra241_test_cases,
};

kunit_test_suite(tegra241_test_suite);
