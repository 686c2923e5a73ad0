// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory attributes of DMA
 *
 * What matters is whether an access is to Normal memory, Inner and Outer Write-Back:
 * only then it is coherent with the caches of the CPUs. A guest that gets another
 * access to its memory can read what was there before the host has cleared it.
 *
 * The attributes of stage 1 are in MAIR of the CD. Those of stage 2 are a limit for
 * them, or with STE.S2FWB can be in their place. A device asks for Write-Back, or with
 * No Snoop for the contrary, which neither stage can prevent.
 */
#include "qemu/osdep.h"
#include "exec/address-spaces.h"
#include "hw/arm/smmuv3.h"
#include "hw/pci/pci_request.h"
#include "smmu-internal.h"
#include "smmuv3-internal.h"

/* MemAttr of stage 2 (Arm DDI 0487, D8.6): Write-Back, and two values with S2FWB */
#define S2_WB			0xf
#define S2FWB_WB		0x6
#define S2FWB_STAGE1		0x7

/* Write-Back is 0b11RW, and 0b01RW unless RW is 0b00 */
static bool half_is_wb(uint8_t attr)
{
	return (attr & 0xc) == 0xc || ((attr & 0xc) == 0x4 && attr != 0x4);
}

bool smmuv3_s1_uncached(const SMMUTransCfg *cfg, uint64_t pte)
{
	uint8_t attr = extract64(cfg->mair, PTE_ATTRINDX(pte) * 8, 8);

	return !half_is_wb(attr >> 4) || !half_is_wb(attr & 0xf);
}

/* @pte: a page or a block of a stage 2 without a stage 1 */
bool smmuv3_s2_uncached(const SMMUTransCfg *cfg, uint64_t pte)
{
	uint8_t attr = PTE_S2_MEMATTR(pte);

	if (cfg->s2cfg.fwb)
		return attr != S2FWB_WB && attr != S2FWB_STAGE1;
	return attr != S2_WB;
}

/* Of both stages */
bool smmuv3_uncached(const SMMUTransCfg *cfg, const SMMUTLBEntry *s1,
		     const SMMUTLBEntry *s2)
{
	if (cfg->s2cfg.fwb && s2->s2_memattr == S2FWB_WB)
		return false;
	return s1->uncached || s2->uncached;
}

/**
 * smmuv3_bypasses_caches - Does an access to RAM bypass the caches of the CPUs?
 * @pa: its address. An MSI is written to a device, where there is no difference
 * @entry: its translation, NULL if there is none
 * @req: the request, NULL for an access without one
 *
 * Return: whether it does.
 */
bool smmuv3_bypasses_caches(hwaddr pa, const SMMUTLBEntry *entry,
			    const struct pci_request *req)
{
	hwaddr xlat, len = 1;

	if (!(entry && entry->uncached) && !(req && req->no_snoop))
		return false;
	RCU_READ_LOCK_GUARD();
	return memory_region_is_ram(address_space_translate(&address_space_memory, pa,
							    &xlat, &len, false,
							    MEMTXATTRS_UNSPECIFIED));
}
