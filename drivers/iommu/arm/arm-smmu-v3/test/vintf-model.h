/* SPDX-License-Identifier: GPL-2.0 */
/*
 * KUnit tests of nested translation: a model of a Tegra241 CMDQV.
 *
 * The model replaces the accesses to registers. It has the apertures of the
 * hardware: page 0 of a VINTF shows a queue only while CMDQ_ALLOC assigns it to
 * the VINTF, and the guest writes to no other page. It records the writes of the
 * driver, and counts those that must never occur. It is written from the same
 * description as the driver, so a mistake in the description is in both.
 */
#ifndef _ARM_SMMU_V3_TEST_VINTF_H
#define _ARM_SMMU_V3_TEST_VINTF_H

#include "../arm-smmu-v3-vcmdq.h"
#include "../tegra241-cmdqv-vintf.h"
#include "fake.h"

/* Offsets, from the description of the hardware */
#define HW_PARAM		0x4
#define HW_VI_ERR_MAP 0x14
#define HW_VI_INT_MASK 0x1c
#define HW_ALLOC(_q)		(0x200 + 4 * (_q))
#define HW_VINTF_CONFIG(_v)	(0x1000 + 0x100 * (_v))
#define HW_VINTF_STATUS(_v)	(0x1004 + 0x100 * (_v))
#define HW_SID_MATCH(_v, _s)	(0x1040 + 0x100 * (_v) + 4 * (_s))
#define HW_SID_REPLACE(_v, _s)	(0x1080 + 0x100 * (_v) + 4 * (_s))
#define HW_ERR_MAP(_v)		(0x10c0 + 0x100 * (_v))
#define HW_CONF_SIZE		0x1400
#define HW_PAGE0(_q)		(0x10000 + 0x80 * (_q))
#define HW_PAGE1(_q)		(0x20000 + 0x80 * (_q))
#define HW_VINTF_PAGE0(_v)	(0x30000 + 0x20000 * (_v))
#define HW_SIZE			HW_VINTF_PAGE0(HW_VINTFS)
#define HW_PHYS			0x5200000000ULL

/* Registers of a queue in page 0 and page 1 */
#define HW_CONS			0x0
#define HW_PROD			0x4
#define HW_CONFIG		0x8
#define HW_STATUS		0xc
#define HW_GERROR		0x10
#define HW_GERRORN		0x14
#define HW_BASE			0x0
#define HW_DRAM			0x8

#define HW_VINTFS		4
#define HW_LVCMDQS		2
#define HW_QUEUES		(HW_VINTFS * HW_LVCMDQS)
#define HW_LOG			512
/* VER 1, 8 queues, 4 VINTFs, 16 StreamIDs in each */
#define HW_PARAM_VALUE		(1 | 3 << 4 | 2 << 8 | 4 << 12)

/* VMIDs below are in use, so it shows in registers and commands */
#define FIRST_VMID 4

struct fake_cmdqv_queue {
	u32 page0[6];
	u64 base;
	u64 dram;
};

struct fake_cmdqv_hw {
	struct tegra241_vintf_pool pool;
	struct fake_smmu *fake;
	struct fake_s2 *s2;
	struct fake_dev *fdev;
	u64 __user *user;
	u32 conf[HW_CONF_SIZE / 4];
	struct fake_cmdqv_queue queues[HW_QUEUES];
	/* The writes of the driver, and the number that the test has read */
	struct {
		u32 offset;
		u64 val;
	} log[HW_LOG];
	unsigned int num;
	unsigned int read;
	/* The guest of this VINTF attacks after each access of the driver */
	unsigned int hostile;
	/* Bits of queues and VINTFs whose EN does not change any more */
	unsigned long stuck_queues;
	unsigned long stuck_vintfs;
	/* Bits of CONFIG of VINTFs that do not follow a write */
	u32 wired_0;
	u32 wired_1;
	/* CMDQ_ALLOC has no effect */
	bool no_alloc;
	/* Interrupts are being counted */
	bool in_period;
	/* The last region for mmap() */
	phys_addr_t mmap_base;
	size_t mmap_length;
	/* Numbers of writes and states that must never occur */
	unsigned int enabled_without_base;
	unsigned int base_while_enabled;
	unsigned int vmid_while_enabled;
	unsigned int not_for_vms;
};

/* A VM that has a VINTF, and memory for its queues */
struct fake_vintf {
	struct fake_cmdqv_hw *hw;
	struct arm_vcmdqv *vcmdqv;
	struct iommufd_viommu *core;
	struct iommufd_hw_queue hw_queue[3];
	unsigned long page;
};

struct fake_cmdqv_hw *fake_hw_alloc(struct kunit *test);
void fake_hw_reset(struct fake_cmdqv_hw *hw, u32 param, size_t size);
void fake_hw_check(struct kunit *test, struct fake_cmdqv_hw *hw);
void fake_hw_guest(struct fake_cmdqv_hw *hw, unsigned int v, unsigned int l,
		   unsigned int reg, u32 val);
u32 fake_hw_get(struct fake_cmdqv_hw *hw, u32 offset);
void fake_hw_expect(struct fake_cmdqv_hw *hw, u32 offset, u64 val, int line);
void fake_hw_expect_none(struct fake_cmdqv_hw *hw, int line);
void fake_hw_drain(struct fake_cmdqv_hw *hw);
u64 fake_hw_raise(struct fake_cmdqv_hw *hw, unsigned int v, unsigned int l);
void fake_hw_ack(struct fake_cmdqv_hw *hw, unsigned int v, unsigned int l);
struct fake_cmdqv_hw *fake_vintf_hw(struct kunit *test);
int fake_vintf_init(struct kunit *test, struct fake_cmdqv_hw *hw,
		    struct fake_vintf *vintf, unsigned long ictx,
		    const struct iommu_user_data *data);
int fake_vintf_add(struct kunit *test, struct fake_cmdqv_hw *hw,
		   struct fake_vintf *vintf, unsigned long ictx);
struct fake_vintf *fake_vintf_alloc(struct kunit *test,
				    struct fake_cmdqv_hw *hw,
				    unsigned long ictx);
void fake_vintf_free(struct fake_vintf *vintf);
int fake_lvcmdq_add_at(struct fake_vintf *vintf, unsigned int i, u32 index,
		       size_t length, phys_addr_t base);
int fake_lvcmdq_add(struct fake_vintf *vintf, u32 index);
void fake_lvcmdq_del(struct fake_vintf *vintf, unsigned int i);
struct iommufd_veventq *fake_vintf_veventq(struct kunit *test,
					   struct fake_vintf *vintf);
void fake_expect_reset(struct kunit *test, struct fake_cmdqv_hw *hw,
		       unsigned int v);
void fake_expect_err_map(struct kunit *test, struct iommufd_veventq *veventq,
			 u64 map, int line);
#define hw_expect(_hw, _offset, _val) \
	fake_hw_expect(_hw, _offset, _val, __LINE__)
#define hw_expect_none(_hw)	fake_hw_expect_none(_hw, __LINE__)

#endif
