// SPDX-License-Identifier: GPL-2.0
/*
 * KUnit tests of nested translation: interrupts for errors in the command queues
 * that VMs have in the hardware of a Tegra241.
 */
#include "vintf-model.h"

/* An error is reported to its VM once, whatever other VMs do */
static void tegra241_vintf_test_events(struct kunit *test)
{
	struct fake_cmdqv_hw *hw = fake_vintf_hw(test);
	struct fake_vintf *a = fake_vintf_alloc(test, hw, 1);
	struct fake_vintf *b = fake_vintf_alloc(test, hw, 2);
	struct iommufd_veventq *qa, *qb;
	u64 map;

	KUNIT_EXPECT_EQ(test, 16, a->core->ops->vevent_size(a->core, 2));
	KUNIT_EXPECT_EQ(test, 32, a->core->ops->vevent_size(a->core, 1));
	KUNIT_EXPECT_EQ(test, 0, a->core->ops->vevent_size(a->core, 3));
	KUNIT_EXPECT_EQ(test, 0, fake_lvcmdq_add(a, 0));
	KUNIT_EXPECT_EQ(test, 0, fake_lvcmdq_add(a, 1));
	KUNIT_EXPECT_EQ(test, 0, fake_lvcmdq_add(b, 0));
	qb = fake_vintf_veventq(test, b);
	fake_hw_drain(hw);

	/* Without a vEVENTQ, the error is kept for later */
	map = fake_hw_raise(hw, 1, 1);
	KUNIT_EXPECT_EQ(test, 0, tegra241_vintf_pool_errors(&hw->pool, map));
	qa = fake_vintf_veventq(test, a);
	KUNIT_EXPECT_EQ(test, 0, tegra241_vintf_pool_errors(&hw->pool, map));
	fake_expect_err_map(test, qa, 2, __LINE__);

	/* VM a must not be notified of the repeated errors of VM b */
	map |= fake_hw_raise(hw, 2, 0);
	KUNIT_EXPECT_EQ(test, 0, tegra241_vintf_pool_errors(&hw->pool, map));
	fake_expect_err_map(test, qb, 1, __LINE__);
	fake_hw_ack(hw, 2, 0);
	fake_hw_raise(hw, 2, 0);
	KUNIT_EXPECT_EQ(test, 0, tegra241_vintf_pool_errors(&hw->pool, map));
	fake_expect_err_map(test, qb, 1, __LINE__);
	KUNIT_EXPECT_EQ(test, qa->num, 0);
	KUNIT_EXPECT_EQ(test, 0, tegra241_vintf_pool_errors(&hw->pool, map));
	KUNIT_EXPECT_EQ(test, qb->num, 0);

	/* A further error of VM a, and the same again once acknowledged */
	map |= fake_hw_raise(hw, 1, 0);
	KUNIT_EXPECT_EQ(test, 0, tegra241_vintf_pool_errors(&hw->pool, map));
	fake_expect_err_map(test, qa, 3, __LINE__);
	fake_hw_ack(hw, 1, 0);
	KUNIT_EXPECT_EQ(test, 0, tegra241_vintf_pool_errors(&hw->pool, map));
	KUNIT_EXPECT_EQ(test, qa->num, 0);
	fake_hw_raise(hw, 1, 0);
	KUNIT_EXPECT_EQ(test, 0, tegra241_vintf_pool_errors(&hw->pool, map));
	fake_expect_err_map(test, qa, 3, __LINE__);

	/* The kernel acknowledges none, and leaves other VINTFs to the host */
	hw_expect_none(hw);
	KUNIT_EXPECT_EQ(test, 1 | 8,
			tegra241_vintf_pool_errors(&hw->pool, 1 | 2 | 4 | 8));
	hw_expect_none(hw);

	/* A new queue must not inherit an error of the old queue */
	fake_lvcmdq_del(a, 1);
	hw->conf[HW_ERR_MAP(1) / 4] = 0;
	KUNIT_EXPECT_EQ(test, 0, fake_lvcmdq_add(a, 1));
	KUNIT_EXPECT_EQ(test, 0, tegra241_vintf_pool_errors(&hw->pool, 6));
	KUNIT_EXPECT_EQ(test, qa->num, 0);
	fake_hw_raise(hw, 1, 1);
	KUNIT_EXPECT_EQ(test, 0, tegra241_vintf_pool_errors(&hw->pool, 6));
	fake_expect_err_map(test, qa, 2, __LINE__);
	/* Its first error is not seen, and the second restores GERROR */
	fake_lvcmdq_del(a, 1);
	hw->conf[HW_ERR_MAP(1) / 4] = 0;
	KUNIT_EXPECT_EQ(test, 0, fake_lvcmdq_add(a, 1));
	fake_hw_raise(hw, 1, 1);
	fake_hw_ack(hw, 1, 1);
	fake_hw_raise(hw, 1, 1);
	KUNIT_EXPECT_EQ(test, 0, tegra241_vintf_pool_errors(&hw->pool, 6));
	fake_expect_err_map(test, qa, 2, __LINE__);
	/* Error bits of queues that do not exist must be ignored */
	hw->conf[HW_ERR_MAP(2) / 4] = ~0U;
	hw->conf[HW_ERR_MAP(2) / 4 + 1] = ~0U;
	fake_hw_raise(hw, 2, 0);
	KUNIT_EXPECT_EQ(test, 0, tegra241_vintf_pool_errors(&hw->pool, 4));
	fake_expect_err_map(test, qb, 1, __LINE__);

	list_del(&qa->node);
	list_del(&qb->node);
	hw->conf[HW_ERR_MAP(1) / 4] = 0;
	fake_lvcmdq_del(a, 1);
	fake_lvcmdq_del(a, 0);
	fake_lvcmdq_del(b, 0);
	fake_vintf_free(a);
	KUNIT_EXPECT_EQ(test, 2, tegra241_vintf_pool_errors(&hw->pool, 2));
	fake_vintf_free(b);
	fake_expect_reset(test, hw, 1);
	fake_hw_check(test, hw);
}

static u64 masked(struct fake_cmdqv_hw *hw)
{
	return fake_hw_get(hw, HW_VI_INT_MASK) |
	       (u64)fake_hw_get(hw, HW_VI_INT_MASK + 4) << 32;
}

/*
 * Queue 0 of a VINTF has an error. The guest acknowledges it before the kernel
 * looks if @quick. Return true if there was an interrupt.
 */
static bool interrupt(struct kunit *test, struct fake_cmdqv_hw *hw,
		      unsigned int v, bool quick)
{
	u64 map;

	fake_hw_raise(hw, v, 0);
	if (quick)
		fake_hw_ack(hw, v, 0);
	if (masked(hw) & BIT_ULL(v))
		return false;
	map = fake_hw_get(hw, HW_VI_ERR_MAP);
	KUNIT_EXPECT_EQ(test, 0, tegra241_vintf_pool_errors(&hw->pool, map));
	KUNIT_EXPECT_TRUE(test, hw->in_period);
	return true;
}

static void end_period(struct fake_cmdqv_hw *hw)
{
	hw->in_period = false;
	tegra241_vintf_end_period(&hw->pool.period.work);
}

static void drop_events(struct iommufd_veventq *veventq)
{
	veventq->num = 0;
	veventq->first = 0;
}

/* A guest with errors in a loop is masked for a time, but others are not */
static void tegra241_vintf_test_masked(struct kunit *test)
{
	struct fake_cmdqv_hw *hw = fake_vintf_hw(test);
	struct fake_vintf *a = fake_vintf_alloc(test, hw, 1);
	struct fake_vintf *b = fake_vintf_alloc(test, hw, 2);
	unsigned int i, turn, num;
	struct iommufd_veventq *qa, *qb;

	KUNIT_EXPECT_EQ(test, 0, fake_lvcmdq_add(a, 0));
	KUNIT_EXPECT_EQ(test, 0, fake_lvcmdq_add(b, 0));
	qa = fake_vintf_veventq(test, a);
	qb = fake_vintf_veventq(test, b);

	for (turn = 0; turn < 3; turn++) {
		for (i = 0, num = 0; i < 999; i++) {
			num += interrupt(test, hw, 1, false);
			fake_hw_ack(hw, 1, 0);
		}
		KUNIT_EXPECT_EQ(test, num, 8);
		KUNIT_EXPECT_EQ(test, masked(hw), BIT(1));
		drop_events(qa);

		/* Each interrupt makes the kernel look at all VMs */
		if (turn == 1) {
			KUNIT_EXPECT_TRUE(test, interrupt(test, hw, 2, false));
			fake_expect_err_map(test, qb, 1, __LINE__);
			fake_hw_ack(hw, 2, 0);
		}

		/* GERROR is that of the last report, though the error is new */
		KUNIT_EXPECT_FALSE(test, interrupt(test, hw, 1, false));
		KUNIT_EXPECT_EQ(test, qa->num, 0);
		end_period(hw);
		fake_expect_err_map(test, qa, 1, __LINE__);
		KUNIT_EXPECT_EQ(test, masked(hw), 0);
		KUNIT_EXPECT_EQ(test, qb->num, 0);
		/* The error is known now: errors of others do not repeat it */
		KUNIT_EXPECT_TRUE(test, interrupt(test, hw, 2, false));
		fake_expect_err_map(test, qb, 1, __LINE__);
		KUNIT_EXPECT_EQ(test, qa->num, 0);
		fake_hw_ack(hw, 1, 0);
		fake_hw_ack(hw, 2, 0);
		end_period(hw);
		KUNIT_EXPECT_EQ(test, qa->num + qb->num, 0);
	}

	/* A period with fewer than 8 interrupts masks no VM */
	for (i = 0; i < 100; i++) {
		KUNIT_EXPECT_TRUE(test, interrupt(test, hw, 1, false));
		fake_hw_ack(hw, 1, 0);
		if (i % 7 == 6)
			end_period(hw);
	}
	KUNIT_EXPECT_EQ(test, masked(hw), 0);

	list_del(&qa->node);
	list_del(&qb->node);
	fake_lvcmdq_del(a, 0);
	fake_lvcmdq_del(b, 0);
	fake_vintf_free(a);
	fake_vintf_free(b);
	fake_hw_check(test, hw);
}

/* A guest acknowledges each error before the kernel can see it */
static void tegra241_vintf_test_quick(struct kunit *test)
{
	struct fake_cmdqv_hw *hw = fake_vintf_hw(test);
	struct fake_vintf *a = fake_vintf_alloc(test, hw, 1);
	struct fake_vintf *b = fake_vintf_alloc(test, hw, 2);
	struct iommufd_veventq *qa, *qb;
	unsigned int i, num;

	KUNIT_EXPECT_EQ(test, 0, fake_lvcmdq_add(a, 0));
	KUNIT_EXPECT_EQ(test, 0, fake_lvcmdq_add(b, 0));
	qb = fake_vintf_veventq(test, b);

	for (i = 0, num = 0; i < 1000; i++)
		num += interrupt(test, hw, 1, true);
	KUNIT_EXPECT_EQ(test, num, 8);
	KUNIT_EXPECT_EQ(test, masked(hw), BIT(1) | BIT(2));
	/* The error of the other VM is reported when the period ends */
	KUNIT_EXPECT_FALSE(test, interrupt(test, hw, 2, false));
	KUNIT_EXPECT_EQ(test, qb->num, 0);
	end_period(hw);
	fake_expect_err_map(test, qb, 1, __LINE__);
	KUNIT_EXPECT_EQ(test, masked(hw), 0);
	fake_hw_ack(hw, 2, 0);

	/* An error of VM a that cannot be reported must not hide VM b's */
	KUNIT_EXPECT_TRUE(test, interrupt(test, hw, 1, false));
	for (i = 0, num = 0; i < 1000; i++)
		num += interrupt(test, hw, 2, true);
	KUNIT_EXPECT_EQ(test, num, 7 + 8);
	KUNIT_EXPECT_EQ(test, masked(hw), BIT(1) | BIT(2));
	qa = fake_vintf_veventq(test, a);
	end_period(hw);
	fake_expect_err_map(test, qa, 1, __LINE__);
	KUNIT_EXPECT_EQ(test, qb->num, 0);

	/* An error that the kernel has not seen must not hide the next */
	end_period(hw);
	KUNIT_EXPECT_TRUE(test, interrupt(test, hw, 2, false));
	fake_expect_err_map(test, qb, 1, __LINE__);
	fake_hw_ack(hw, 2, 0);
	KUNIT_EXPECT_TRUE(test, interrupt(test, hw, 2, true));
	KUNIT_EXPECT_TRUE(test, interrupt(test, hw, 2, false));
	fake_expect_err_map(test, qb, 1, __LINE__);
	/* The same while another queue has an error */
	fake_hw_ack(hw, 2, 0);
	KUNIT_EXPECT_EQ(test, 0, fake_lvcmdq_add(b, 1));
	fake_hw_raise(hw, 2, 1);
	KUNIT_EXPECT_EQ(test, 0, tegra241_vintf_pool_errors(&hw->pool, 2 | 4));
	fake_expect_err_map(test, qb, 2, __LINE__);
	KUNIT_EXPECT_TRUE(test, interrupt(test, hw, 2, false));
	fake_expect_err_map(test, qb, 3, __LINE__);
	fake_hw_ack(hw, 2, 0);
	KUNIT_EXPECT_TRUE(test, interrupt(test, hw, 2, true));
	KUNIT_EXPECT_EQ(test, qb->num, 0);
	KUNIT_EXPECT_TRUE(test, interrupt(test, hw, 2, false));
	fake_expect_err_map(test, qb, 3, __LINE__);
	KUNIT_EXPECT_EQ(test, qa->num, 0);

	/* An unseen error has restored the GERROR of the last report */
	end_period(hw);
	drop_events(qa);
	drop_events(qb);
	fake_hw_ack(hw, 2, 0);
	fake_hw_raise(hw, 2, 0);
	fake_hw_ack(hw, 2, 0);
	KUNIT_EXPECT_TRUE(test, interrupt(test, hw, 2, false));
	KUNIT_EXPECT_EQ(test, qb->num, 0);
	end_period(hw);
	fake_expect_err_map(test, qb, 3, __LINE__);
	/* The unseen error could also have been an error of the other VM */
	fake_expect_err_map(test, qa, 1, __LINE__);
	end_period(hw);
	KUNIT_EXPECT_EQ(test, qa->num + qb->num, 0);

	/* Errors of the host never mask, nor do interrupts without any VM */
	for (i = 0; i < 100; i++)
		KUNIT_EXPECT_EQ(test, 1,
				tegra241_vintf_pool_errors(&hw->pool, 1));
	KUNIT_EXPECT_EQ(test, masked(hw), 0);

	list_del(&qa->node);
	list_del(&qb->node);
	fake_lvcmdq_del(a, 0);
	fake_lvcmdq_del(b, 1);
	fake_lvcmdq_del(b, 0);
	fake_vintf_free(a);
	fake_vintf_free(b);
	hw->in_period = false;
	for (i = 0; i < 100; i++)
		KUNIT_EXPECT_EQ(test, 0,
				tegra241_vintf_pool_errors(&hw->pool, 0));
	KUNIT_EXPECT_EQ(test, masked(hw), 0);
	KUNIT_EXPECT_FALSE(test, hw->in_period);
	fake_hw_check(test, hw);
}

/* The next VM and the next kernel must find no interrupt masked */
static void tegra241_vintf_test_unmasked(struct kunit *test)
{
	struct fake_cmdqv_hw *hw = fake_vintf_hw(test);
	struct fake_vintf *a = fake_vintf_alloc(test, hw, 1);
	struct iommufd_veventq *qa;
	unsigned int i;

	KUNIT_EXPECT_EQ(test, 0, fake_lvcmdq_add(a, 0));
	for (i = 0; i < 100; i++)
		interrupt(test, hw, 1, i % 2);
	KUNIT_EXPECT_EQ(test, masked(hw), BIT(1));
	fake_lvcmdq_del(a, 0);
	hw->conf[HW_ERR_MAP(1) / 4] = 0;
	fake_vintf_free(a);

	/* This is the same VINTF */
	a = fake_vintf_alloc(test, hw, 2);
	KUNIT_EXPECT_EQ(test, 0, fake_lvcmdq_add(a, 0));
	qa = fake_vintf_veventq(test, a);
	KUNIT_EXPECT_FALSE(test, interrupt(test, hw, 1, false));
	end_period(hw);
	fake_expect_err_map(test, qa, 1, __LINE__);
	KUNIT_EXPECT_EQ(test, masked(hw), 0);

	for (i = 0; i < 100; i++)
		interrupt(test, hw, 1, i % 2);
	KUNIT_EXPECT_EQ(test, masked(hw), BIT(1));
	tegra241_vintf_pool_stop(&hw->pool);
	KUNIT_EXPECT_EQ(test, masked(hw), 0);
	/* Nothing is scheduled any more */
	KUNIT_EXPECT_FALSE(test, schedule_delayed_work(&hw->pool.period, 0));
	list_del(&qa->node);
	fake_lvcmdq_del(a, 0);
	fake_vintf_free(a);

	/* A crashed kernel */
	hw->conf[HW_VI_INT_MASK / 4] = ~1U;
	hw->conf[HW_VI_INT_MASK / 4 + 1] = ~0U;
	fake_hw_reset(hw, HW_PARAM_VALUE, HW_SIZE);
	KUNIT_EXPECT_EQ(test, masked(hw), 0);
	fake_hw_check(test, hw);
}

static struct kunit_case vintf_irq_test_cases[] = {
	KUNIT_CASE(tegra241_vintf_test_events),
	KUNIT_CASE(tegra241_vintf_test_masked),
	KUNIT_CASE(tegra241_vintf_test_quick),
	KUNIT_CASE(tegra241_vintf_test_unmasked),
	{},
};

static struct kunit_suite vintf_irq_test_suite = {
	.name = "arm-smmu-v3-iommufd-vintf-irq",
	.test_cases = vintf_irq_test_cases,
};

kunit_test_suite(vintf_irq_test_suite);
