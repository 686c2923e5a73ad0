// SPDX-License-Identifier: GPL-2.0-only
/*
 * Substreams: which transactions may use an STE, by STE.S1CDMax and STE.S1DSS
 */
#include "qemu/osdep.h"
#include "hw/arm/smmuv3.h"
#include "smmuv3-internal.h"

/* 5.2.2: the table of CDs must not be larger, or deeper, than the SMMU supports */
bool smmuv3_cdmax_legal(SMMUv3State *s, STE *ste)
{
	if (!STE_CFG_S1_ENABLED(STE_CONFIG(ste)) || !STE_S1CDMAX(ste))
		return true;
	if (STE_S1CDMAX(ste) > FIELD_EX32(s->idr[1], IDR1, SSIDSIZE))
		return false;
	return FIELD_EX32(s->idr[0], IDR0, CD2L) ||
	       (STE_S1FMT(ste) != STE_S1FMT_4K_LEAF &&
		STE_S1FMT(ste) != STE_S1FMT_64K_LEAF);
}

static int bad_substream(SMMUEventInfo *event, SMMUEventType type)
{
	event->type = type;
	return -EINVAL;
}

/**
 * smmuv3_check_substream - May a transaction use an STE?
 * @cfg: the configuration from @ste. Out: without stage 1, if S1DSS demands this
 * @ste: the STE
 * @ssv: the transaction has a SubstreamID
 * @ssid: the SubstreamID
 * @event: Out, on error: as in 7.3.7 and 7.3.9
 *
 * Return: 0, or -EINVAL.
 */
int smmuv3_check_substream(SMMUTransCfg *cfg, STE *ste, bool ssv, uint32_t ssid,
			   SMMUEventInfo *event)
{
	if (cfg->aborted)
		return 0;
	if (cfg->bypassed || cfg->stage == SMMU_STAGE_2 || !STE_S1CDMAX(ste))
		return ssv ? bad_substream(event, SMMU_EVT_C_BAD_SUBSTREAMID) : 0;

	if (ssv) {
		if (ssid >= 1ULL << STE_S1CDMAX(ste))
			return bad_substream(event, SMMU_EVT_C_BAD_SUBSTREAMID);
		/* CD 0 belongs to the transactions without a SubstreamID */
		if (!ssid && STE_S1DSS(ste) == STE_S1DSS_SSID0)
			return bad_substream(event, SMMU_EVT_F_STREAM_DISABLED);
		return 0;
	}
	switch (STE_S1DSS(ste)) {
	case STE_S1DSS_SSID0:
		return 0;
	case STE_S1DSS_BYPASS:
		if (cfg->stage == SMMU_NESTED)
			cfg->stage = SMMU_STAGE_2;
		else
			cfg->bypassed = true;
		return 0;
	default:
		return bad_substream(event, SMMU_EVT_F_STREAM_DISABLED);
	}
}
