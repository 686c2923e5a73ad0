// SPDX-License-Identifier: GPL-2.0-only
/*
 * Strict checks of commands, Stream table entries and Context descriptors
 *
 * The architecture lets an SMMU refuse a command or a structure with a bit that has no
 * meaning (4.1.5, chapter 5). The model ignores such bits, and most fields of features
 * that it lacks, like most hardware. With the property x-strict it refuses them, which
 * is the worst that software can meet. It also does the checks that the architecture
 * requires and that the model lacks: SteIllegal() of 5.2.2, CdIllegal() of 5.4.2, and
 * the parameters of commands in chapter 4.
 *
 * Fields that the architecture calls IGNORED may have any value. Where it leaves a
 * choice (CONSTRAINED UNPREDICTABLE), this refuses nothing. An IMPLEMENTATION DEFINED
 * field is refused, as software that knows no implementation must leave it 0.
 *
 * Only Non-secure streams exist, and none in EL2 (IDR0.Hyp). MPAM, 128-bit and 52-bit
 * formats, permission indirection and DPT do not exist either, so the parts for them
 * are left out here, and their fields are RES0.
 */
#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "qemu/log.h"

#include "hw/arm/smmuv3.h"
#include "smmuv3-internal.h"

#define IDR(s, n, field)	FIELD_EX32((s)->idr[n], IDR##n, field)

#define BITS(hi, lo)		MAKE_64BIT_MASK(lo, (hi) - (lo) + 1)

/* Pairs of 32-bit words, as the architecture numbers the bits */
static uint64_t dword(const uint32_t *word, int n)
{
	return word[2 * n] | (uint64_t)word[2 * n + 1] << 32;
}

static bool refuse(const char *what, const char *why)
{
	qemu_log_mask(LOG_GUEST_ERROR, "SMMUv3 strict: %s: %s\n", what, why);
	return true;
}

/* Check that only the bits in @may are set */
static bool reserved_set(const char *what, const uint32_t *word, const uint64_t *may,
			 int dwords)
{
	int i;

	for (i = 0; i < dwords; i++) {
		if (!(dword(word, i) & ~may[i]))
			continue;
		qemu_log_mask(LOG_GUEST_ERROR,
			      "SMMUv3 strict: %s: dword %d has reserved bits 0x%" PRIx64 "\n",
			      what, i, dword(word, i) & ~may[i]);
		return true;
	}
	return false;
}

/* TTL, TG, SCALE and NUM, 4.4.1.1 */
static bool range_illegal(SMMUv3State *s, const char *name, const Cmd *cmd)
{
	int tg = CMD_TG(cmd), ttl = CMD_TTL(cmd);
	int num = CMD_NUM(cmd), scale = CMD_SCALE(cmd);

	if (!IDR(s, 3, RIL))
		return tg || ttl || num || scale ?
			refuse(name, "a range without IDR3.RIL") : false;
	if (!tg)
		return ttl || num || scale ? refuse(name, "a range without TG") : false;
	/* Reserved without 52-bit formats, and treated as 0 */
	if (tg == 2 && ttl == 1)
		ttl = 0;
	return !num && !scale && !ttl ? refuse(name, "TG without a use for it") : false;
}

/**
 * smmuv3_cmd_illegal - Check a command of the Command queue
 * @s: the SMMU
 * @cmd: the command
 *
 * Return: true if it must end with CERROR_ILL
 */
bool smmuv3_cmd_illegal(SMMUv3State *s, const Cmd *cmd)
{
	const char *name = smmu_cmd_string(CMD_TYPE(cmd));
	uint64_t vmid = IDR(s, 0, VMID16) ? BITS(47, 32) : BITS(39, 32);
	uint64_t asid = IDR(s, 0, ASID16) ? BITS(63, 48) : BITS(55, 48);
	uint64_t range = BITS(24, 20) | BITS(16, 12);
	/* 4.1.6. SSec is allowed here, because CERROR_ILL follows from it below */
	uint64_t ssec = BIT_ULL(10), ssid = BITS(31, 12), sid = BITS(63, 32);
	uint64_t may[2] = { BITS(7, 0) };
	bool ranged = false;

	switch (CMD_TYPE(cmd)) {
	case SMMU_CMD_PREFETCH_CONFIG:	/* 4.2.1 */
		may[0] |= ssec | BIT_ULL(11) | ssid | sid;
		break;
	case SMMU_CMD_PREFETCH_ADDR:	/* 4.2.2: Address, Stride, Size */
		may[0] |= ssec | BIT_ULL(11) | ssid | sid;
		may[1] = BITS(63, 12) | BITS(9, 0);
		break;
	case SMMU_CMD_CFGI_STE:		/* 4.3.1: Leaf */
		may[0] |= ssec | sid;
		may[1] = BIT_ULL(0);
		break;
	case SMMU_CMD_CFGI_STE_RANGE:	/* 4.3.2: Range */
		may[0] |= ssec | sid;
		may[1] = BITS(4, 0);
		break;
	case SMMU_CMD_CFGI_CD:		/* 4.3.3: Leaf */
		if (!IDR(s, 0, S1P))
			return refuse(name, "no stage 1");
		may[0] |= ssec | ssid | sid;
		may[1] = BIT_ULL(0);
		break;
	case SMMU_CMD_CFGI_CD_ALL:	/* 4.3.4 */
		if (!IDR(s, 0, S1P))
			return refuse(name, "no stage 1");
		may[0] |= ssec | sid;
		break;
	case SMMU_CMD_TLBI_NH_ALL:	/* 4.4.2.1 */
		may[0] |= vmid;
		break;
	case SMMU_CMD_TLBI_NH_ASID:	/* 4.4.2.2 */
		may[0] |= asid | vmid;
		break;
	case SMMU_CMD_TLBI_NH_VAA:	/* 4.4.2.3: Address, TG, TTL, Leaf */
		may[0] |= vmid | range;
		may[1] = BITS(63, 8) | BIT_ULL(0);
		ranged = true;
		break;
	case SMMU_CMD_TLBI_NH_VA:	/* 4.4.2.4 */
		may[0] |= asid | vmid | range;
		may[1] = BITS(63, 8) | BIT_ULL(0);
		ranged = true;
		break;
	case SMMU_CMD_TLBI_EL3_ALL:	/* 4.4.2.5, 4.4.2.6: only in Secure state */
	case SMMU_CMD_TLBI_EL3_VA:
		return refuse(name, "not a Secure queue");
	case SMMU_CMD_TLBI_EL2_ALL:	/* 4.4.2.7 to 4.4.2.10 */
	case SMMU_CMD_TLBI_EL2_VA:
	case SMMU_CMD_TLBI_EL2_VAA:
	case SMMU_CMD_TLBI_EL2_ASID:
		return refuse(name, "no IDR0.Hyp");
	case SMMU_CMD_TLBI_S2_IPA:	/* 4.4.3.1, with an IPA as in 4.1.6 */
		may[0] |= vmid | range;
		may[1] = BITS(51, 8) | BIT_ULL(0);
		ranged = true;
		break;
	case SMMU_CMD_TLBI_S12_VMALL:	/* 4.4.3.2 */
		may[0] |= vmid;
		break;
	case SMMU_CMD_TLBI_NSNH_ALL:	/* 4.4.4.1 */
		break;
	case SMMU_CMD_ATC_INV:		/* 4.5.1: Global, SSV; Address, Size */
		if (!IDR(s, 0, ATS))
			return refuse(name, "no IDR0.ATS");
		may[0] |= BIT_ULL(9) | BIT_ULL(11) | ssid | sid;
		may[1] = BITS(63, 12) | BITS(5, 0);
		break;
	case SMMU_CMD_PRI_RESP:		/* 4.5.2: the model has no PRI */
		return refuse(name, "no IDR0.PRI");
	case SMMU_CMD_RESUME:		/* 4.7.1: Ab, Ac; STAG */
		if (IDR(s, 0, STALL_MODEL) == 1)
			return refuse(name, "no stalls");
		may[0] |= ssec | BITS(13, 12) | sid;
		may[1] = BITS(15, 0);
		break;
	case SMMU_CMD_STALL_TERM:	/* 4.7.2 */
		if (IDR(s, 0, STALL_MODEL) == 1)
			return refuse(name, "no stalls");
		may[0] |= ssec | sid;
		break;
	case SMMU_CMD_SYNC:		/* 4.7.3 */
		if (CMD_SYNC_CS(cmd) == 3)
			return refuse(name, "CS is reserved");
		/* MSIData, MSIAttr, MSH, CS */
		may[0] |= BITS(63, 32) | BITS(27, 22) | BITS(13, 12);
		/* MSIAddress as in 4.1.6, unless it is IGNORED */
		if (CMD_SYNC_CS(cmd) == CMD_SYNC_SIG_IRQ && IDR(s, 0, MSI))
			may[1] = BITS(51, 2);
		else
			may[1] = BITS(55, 2);
		break;
	default:			/* 4.1.3: an opcode that the model refuses */
		return false;
	}
	if ((may[0] & ssec) && CMD_SSEC(cmd))
		return refuse(name, "SSec on the Non-secure queue");	/* 4.1.6 */
	if (reserved_set(name, cmd->word, may, 2))
		return true;
	return ranged && range_illegal(s, name, cmd);
}

static bool granule_supported(SMMUv3State *s, int granule)
{
	switch (granule) {
	case 12:
		return IDR(s, 5, GRAN4K);
	case 14:
		return IDR(s, 5, GRAN16K);
	case 16:
		return IDR(s, 5, GRAN64K);
	}
	return false;
}

/* Bits that are RES0 in 5.2 with any Config */
static bool ste_reserved_set(SMMUv3State *s, const STE *ste)
{
	uint64_t may[8] = {
		BITS(63, 59) | BITS(55, 0),
		/* To MEV and SW_RESERVED; S1STALLD and EATS; NSCFG */
		BITS(23, 0) | BITS(29, 27) | BITS(47, 46),
		/* S2VMID */
		BITS(15, 0),
	};

	if (!IDR(s, 0, PRI) || !IDR(s, 1, SSIDSIZE))
		may[1] &= ~BIT_ULL(18);				/* PPAR */
	if (IDR(s, 3, FWB))
		may[1] |= BIT_ULL(25);				/* S2FWB */
	if (!IDR(s, 0, S1P))
		may[1] &= ~BIT_ULL(27);				/* S1STALLD */
	if (IDR(s, 1, ATTR_TYPES_OVR)) {
		may[1] |= BITS(40, 36) | BITS(45, 44);		/* MTCFG, ALLOCCFG, SHCFG */
		if (dword(ste->word, 1) & BIT_ULL(36))
			may[1] |= BITS(35, 32);			/* MemAttr */
	}
	if (IDR(s, 1, ATTR_PERMS_OVR))
		may[1] |= BITS(51, 48);				/* PRIVCFG, INSTCFG */
	if (IDR(s, 0, S2P)) {
		may[2] |= BITS(58, 32);				/* S2T0SZ to S2R */
		may[3] = BITS(51, 4);				/* S2TTB */
	}
	if (IDR(s, 0, HTTU) == 3)
		may[2] |= BIT_ULL(59);				/* S2HAFT */
	return reserved_set("STE", ste->word, may, ARRAY_SIZE(may));
}

/**
 * smmuv3_ste_illegal - Check a Stream table entry, SteIllegal() of 5.2.2
 * @s: the SMMU
 * @ste: an STE with V = 1
 *
 * decode_ste() does the rest of SteIllegal() in any case: S2AA64, S2TTB, S2T0SZ and
 * S2SL0, and S2ENDI.
 *
 * Return: true if the STE is invalid
 */
bool smmuv3_ste_illegal(SMMUv3State *s, const STE *ste)
{
	int config = STE_CONFIG(ste), stall = IDR(s, 0, STALL_MODEL);
	bool s1 = STE_CFG_S1_ENABLED(config), s2 = STE_CFG_S2_ENABLED(config);

	if (ste_reserved_set(s, ste))
		return true;
	/* The rest is IGNORED without translation */
	if (STE_CFG_ABORT(config))
		return false;
	/* Stages that do not exist */
	if (s1 && !IDR(s, 0, S1P))
		return refuse("STE", "no stage 1");
	if (s2 && !IDR(s, 0, S2P))
		return refuse("STE", "no stage 2");
	/* EATS */
	if (IDR(s, 0, ATS) && !STE_CFG_BYPASS(config)) {
		if (STE_EATS(ste) == 2 &&
		    (!s1 || !s2 || STE_S2S(ste) || IDR(s, 0, NS1ATS)))
			return refuse("STE", "split-stage ATS");
		if (STE_EATS(ste) == 1 && STE_S2S(ste) && s2)
			return refuse("STE", "ATS and stalls of stage 2");
	}
	if (s1) {
		if (STE_S1STALLD(ste) && stall != 0)
			return refuse("STE", "S1STALLD");
		if (IDR(s, 1, SSIDSIZE) && STE_S1CDMAX(ste) > IDR(s, 1, SSIDSIZE))
			return refuse("STE", "S1CDMax");
		if (IDR(s, 1, SSIDSIZE) && STE_S1CDMAX(ste) && !IDR(s, 0, CD2L) &&
		    (STE_S1FMT(ste) == 1 || STE_S1FMT(ste) == 2))
			return refuse("STE", "S1Fmt");
		/* 3.4.3. An IPA may also fault in stage 2 */
		if (!s2 && STE_CTXPTR(ste) >> oas2bits(IDR(s, 5, OAS)))
			return refuse("STE", "S1ContextPtr");
	}
	if (s2) {
		if (STE_S2S(ste) && stall == 1)
			return refuse("STE", "S2S without stalls");
		if (!STE_S2S(ste) && stall == 2)
			return refuse("STE", "no S2S where stalls are forced");
		if (STE_S2AA64(ste) ? !(IDR(s, 0, TTF) & 2) : !(IDR(s, 0, TTF) & 1))
			return refuse("STE", "S2AA64");
		if (STE_S2HA(ste) && IDR(s, 0, HTTU) == 0)
			return refuse("STE", "S2HA");
		if (STE_S2HD(ste) && IDR(s, 0, HTTU) < 2)
			return refuse("STE", "S2HD");
		if (dword(ste->word, 2) & BIT_ULL(59) && !STE_S2HA(ste))
			return refuse("STE", "S2HAFT without S2HA");
		if (!granule_supported(s, tg2granule(STE_S2TG(ste), 0)))
			return refuse("STE", "S2TG");
	}
	/* IGNORED without a stage 2 in the SMMU and in a bypass */
	if (IDR(s, 0, S2P) && !STE_CFG_BYPASS(config) && !IDR(s, 0, VMID16) &&
	    STE_S2VMID(ste) >> 8)
		return refuse("STE", "S2VMID");
	return false;
}

/* Bits that are RES0 in 5.4 */
static bool cd_reserved_set(SMMUv3State *s, const CD *cd)
{
	uint64_t may[8] = {
		UINT64_MAX,
		/* NSCFG0, HAD0, TTB0, HWU0: the last are IGNORED without PBHA */
		BITS(63, 60) | BITS(51, 4) | BITS(1, 0),
		/* NSCFG1, HAD1, TTB1, HWU1 */
		BITS(63, 60) | BITS(51, 4) | BITS(1, 0),
		/* MAIR, AMAIR */
		UINT64_MAX,
		UINT64_MAX,
	};

	if (IDR(s, 3, E0PD)) {
		may[1] |= BIT_ULL(2);
		may[2] |= BIT_ULL(2);
	}
	if (IDR(s, 0, HTTU) == 3)
		may[1] |= BIT_ULL(3);				/* HAFT */
	return reserved_set("CD", cd->word, may, ARRAY_SIZE(may));
}

/* A range of addresses, CDTxSZInvalid(), GranuleSupported() and CDTTBxOutOfRange() */
static bool cd_table_illegal(SMMUv3State *s, const CD *cd, int i)
{
	int granule = tg2granule(CD_TG(cd, i), i), max = 39, ips;

	if (!granule_supported(s, granule))
		return refuse("CD", "TGx");
	if (IDR(s, 3, STT))
		max = granule == 16 ? 47 : 48;
	if (CD_TSZ(cd, i) < 16 || CD_TSZ(cd, i) > max)
		return refuse("CD", "TxSZ");
	ips = oas2bits(MIN(CD_IPS(cd), IDR(s, 5, OAS)));
	if (CD_TTB(cd, i) >> ips)
		return refuse("CD", "TTBx");
	return false;
}

/**
 * smmuv3_cd_illegal - Check a Context descriptor, CdIllegal() of 5.4.2
 * @s: the SMMU
 * @ste: the STE that has led to it, which is valid
 * @cd: the CD
 *
 * Return: true if the CD is invalid
 */
bool smmuv3_cd_illegal(SMMUv3State *s, const STE *ste, const CD *cd)
{
	int stall = IDR(s, 0, STALL_MODEL), i;

	if (!CD_VALID(cd))
		return refuse("CD", "not valid");
	if (cd_reserved_set(s, cd))
		return true;
	if (STE_S1STALLD(ste) && CD_S(cd))
		return refuse("CD", "S and S1STALLD");
	if (IDR(s, 0, TERM_MODEL) && !CD_A(cd))
		return refuse("CD", "A");
	if (stall == 1 && CD_S(cd))
		return refuse("CD", "S without stalls");
	if (stall == 2 && !CD_S(cd))
		return refuse("CD", "no S where stalls are forced");
	if ((!CD_EPD(cd, 0) || !CD_EPD(cd, 1)) &&
	    ((IDR(s, 0, TTENDIAN) == 2 && CD_ENDI(cd)) ||
	     (IDR(s, 0, TTENDIAN) == 3 && !CD_ENDI(cd))))
		return refuse("CD", "ENDI");
	if (CD_AARCH64(cd) ? !(IDR(s, 0, TTF) & 2) : !(IDR(s, 0, TTF) & 1))
		return refuse("CD", "AA64");
	if (CD_AARCH64(cd) && STE_CFG_S2_ENABLED(STE_CONFIG(ste)) && !STE_S2AA64(ste))
		return refuse("CD", "AA64 on a stage 2 of AArch32");
	if (CD_HA(cd) && IDR(s, 0, HTTU) == 0)
		return refuse("CD", "HA");
	if (CD_HD(cd) && IDR(s, 0, HTTU) < 2)
		return refuse("CD", "HD");
	if (dword(cd->word, 1) & BIT_ULL(3) && !CD_HA(cd))
		return refuse("CD", "HAFT without HA");
	if (!IDR(s, 0, ASID16) && CD_ASID(cd) >> 8)
		return refuse("CD", "ASID");
	for (i = 0; i < 2; i++) {
		if (!CD_EPD(cd, i) && cd_table_illegal(s, cd, i))
			return true;
	}
	return false;
}
