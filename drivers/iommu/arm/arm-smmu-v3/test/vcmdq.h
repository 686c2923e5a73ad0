/* SPDX-License-Identifier: GPL-2.0 */
/*
 * KUnit tests of nested translation: a VM with command queues in software.
 */
#ifndef _ARM_SMMU_V3_TEST_VCMDQ_H
#define _ARM_SMMU_V3_TEST_VCMDQ_H

#include "../arm-smmu-v3-vcmdq.h"
#include "fake.h"

/* The registers of a queue in page 0, in words */
#define REG_CONS		0
#define REG_PROD		1
#define REG_CONFIG		2
#define REG_STATUS		3
#define REG_GERROR		4
#define REG_GERRORN		5
#define QUEUE_REGS		(0x80 / 4)

#define ERR_ILL			BIT(24)
#define ERR_ABT			(2U << 24)
#define ERR_ATC_INV_SYNC	(3U << 24)

#define SYNC_CS(_cs)		((u64)(_cs) << 12)
#define NH_VA_CMD		(OP_TLBI_NH_VA | CMD_ASID(7))
#define NH_VA_WANT		(NH_VA_CMD | CMD_VMID(0x1234))

/* A VM that has memory for two queues, of which tests add some or all */
struct fake_cmdqv {
	struct fake_vm *vm;
	struct arm_vcmdqv *vcmdqv;
	__le32 *regs;
	struct iommufd_hw_queue hw_queue[3];
	__le64 *mem[2];
	unsigned int log2size;
	/* Index of the next command of the first queue, with the wrap bit */
	u32 prod;
};

static inline u32 reg_read(struct fake_cmdqv *fake, unsigned int reg)
{
	return le32_to_cpu(READ_ONCE(fake->regs[reg]));
}

static inline void reg_write(struct fake_cmdqv *fake, unsigned int reg, u32 val)
{
	WRITE_ONCE(fake->regs[reg], cpu_to_le32(val));
}

int fake_queue_add(struct fake_cmdqv *fake, unsigned int i, u32 index,
		   size_t length);
struct fake_cmdqv *fake_cmdqv_alloc(struct kunit *test, unsigned int log2size);
void fake_cmdqv_free(struct fake_cmdqv *fake);

#endif
