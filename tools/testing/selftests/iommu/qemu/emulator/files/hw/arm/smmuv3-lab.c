// SPDX-License-Identifier: GPL-2.0-only
/*
 * Properties of the emulated SMMUv3 in the lab. See smmuv3-lab.h
 */
#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qom/object.h"

#include "hw/arm/smmuv3.h"
#include "smmuv3-internal.h"

static void add_u32(SMMUv3State *s, const char *name, uint32_t *val)
{
	object_property_add_uint32_ptr(OBJECT(s), name, val, OBJ_PROP_FLAG_READWRITE);
}

/**
 * smmuv3_lab_init - Add the properties, with which everything is off
 * @s: the SMMU
 *
 *   x-idrN-set, x-idrN-clear   bits of SMMU_IDR0 to SMMU_IDR5
 *   x-iidr                     SMMU_IIDR
 *   x-strict                   1: the checks of smmuv3-strict.c
 *   x-abort-uncached           1: refuse DMA that bypasses the caches, smmuv3-attr.c
 *   x-cmdqv                    1: the SMMU of the machine has a CMDQV, smmuv3-cmdqv.c
 *                              2: and hostile guests
 *
 * A field of several bits is cleared and then set. The model behaves as the registers
 * state as far as it has a feature; a bit of a feature that it lacks is a lie.
 */
void smmuv3_lab_init(SMMUv3State *s)
{
	struct smmuv3_lab *lab = &s->lab;
	char name[16];
	int i;

	for (i = 0; i < ARRAY_SIZE(s->idr); i++) {
		snprintf(name, sizeof(name), "x-idr%d-set", i);
		add_u32(s, name, &lab->idr_set[i]);
		snprintf(name, sizeof(name), "x-idr%d-clear", i);
		add_u32(s, name, &lab->idr_clear[i]);
	}
	add_u32(s, "x-iidr", &lab->iidr);
	add_u32(s, "x-strict", &lab->strict);
	add_u32(s, "x-abort-uncached", &lab->abort_uncached);
	add_u32(s, "x-cmdqv", &lab->cmdqv_on);
	QTAILQ_INIT(&lab->stalls);
}

/* The model uses these fields without a check of its own */
static void check_idrs(SMMUv3State *s)
{
	if (FIELD_EX32(s->idr[1], IDR1, CMDQS) > SMMUV3_LAB_MAX_QUEUE ||
	    FIELD_EX32(s->idr[1], IDR1, EVENTQS) > SMMUV3_LAB_MAX_QUEUE)
		error_setg(&error_fatal, "IDR1: queues have at most 2^%d entries",
			   SMMUV3_LAB_MAX_QUEUE);
	if (FIELD_EX32(s->idr[1], IDR1, SIDSIZE) > 32)
		error_setg(&error_fatal, "IDR1: StreamIDs have at most 32 bits");
	if (FIELD_EX32(s->idr[5], IDR5, OAS) > 5)
		error_setg(&error_fatal, "IDR5: addresses have at most 48 bits");
	if (FIELD_EX32(s->idr[0], IDR0, HTTU) > 2)
		error_setg(&error_fatal, "IDR0: tables have no Access flags");
}

/**
 * smmuv3_lab_reset - Let the properties change the registers of a reset
 * @s: the SMMU, with the ID registers of the model
 */
void smmuv3_lab_reset(SMMUv3State *s)
{
	struct smmuv3_lab *lab = &s->lab;
	int i;

	for (i = 0; i < ARRAY_SIZE(s->idr); i++)
		s->idr[i] = (s->idr[i] & ~lab->idr_clear[i]) | lab->idr_set[i];
	s->iidr = lab->iidr;
	lab->invs_pending = 0;
	lab->invs = (struct smmuv3_invs){};
	smmuv3_cmdqv_reset(s);
	check_idrs(s);
}
