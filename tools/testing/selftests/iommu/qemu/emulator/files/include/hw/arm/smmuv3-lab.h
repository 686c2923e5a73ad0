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

struct SMMUv3State;
struct STE;
struct CD;
struct Cmd;

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
	/* CMD_ATC_INVs without an answer, and those without hope of one: smmuv3-ats.c */
	uint32_t invs_pending;
	bool invs_lost;
	QTAILQ_HEAD(, smmuv3_stall) stalls;
};

void smmuv3_lab_init(struct SMMUv3State *s);
void smmuv3_lab_reset(struct SMMUv3State *s);
bool smmuv3_cmd_illegal(struct SMMUv3State *s, const struct Cmd *cmd);
bool smmuv3_ste_illegal(struct SMMUv3State *s, const struct STE *ste);
bool smmuv3_cd_illegal(struct SMMUv3State *s, const struct STE *ste, const struct CD *cd);

#endif
