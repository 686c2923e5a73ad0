/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Additions of the lab to the emulated SMMUv3
 *
 * Everything here is off by default. A property of the device enables a feature, for
 * example -global arm-smmuv3.x-idr3-clear=0x400.
 *
 * Numbers of sections are those of the architecture, Arm IHI 0070 issue G.b.
 */
#ifndef HW_ARM_SMMUV3_LAB_H
#define HW_ARM_SMMUV3_LAB_H

#include "qemu/queue.h"

/* Largest queues of the model, as a power of two */
#define SMMUV3_LAB_MAX_QUEUE	19

struct Aml;
struct DeviceState;
struct SMMUv3State;
struct STE;
struct CD;
struct Cmd;

/* The CMD_ATC_INVs of a queue since its last CMD_SYNC: smmuv3-ats.c */
struct smmuv3_invs {
	bool sent;
	/* Without hope of an answer */
	bool lost;
};

/* Part of the SMMUv3State */
struct smmuv3_lab {
	/* Bits of the ID registers that differ from those of the model */
	uint32_t idr_set[6];
	uint32_t idr_clear[6];
	uint32_t iidr;
	/* Refuse commands and structures as smmuv3-strict.c describes */
	uint32_t strict;
	/* Refuse DMA to RAM that would bypass the caches: smmuv3-attr.c */
	uint32_t abort_uncached;
	/* CMD_ATC_INVs of all queues without an answer, and those of the SMMU's own queue */
	uint32_t invs_pending;
	struct smmuv3_invs invs;
	QTAILQ_HEAD(, smmuv3_stall) stalls;
	uint32_t cmdqv_on;
	struct smmuv3_cmdqv *cmdqv;
};

void smmuv3_lab_init(struct SMMUv3State *s);
void smmuv3_lab_reset(struct SMMUv3State *s);
void smmuv3_cmdqv_map(struct DeviceState *smmu, struct DeviceState *gic);
void smmuv3_cmdqv_add_aml(struct Aml *scope);
bool smmuv3_cmd_illegal(struct SMMUv3State *s, const struct Cmd *cmd);
bool smmuv3_ste_illegal(struct SMMUv3State *s, const struct STE *ste);
bool smmuv3_cd_illegal(struct SMMUv3State *s, const struct STE *ste, const struct CD *cd);

#endif
