// SPDX-License-Identifier: GPL-2.0-only
/*
 * HTTU: hardware updates of the Access flag and of the dirty state (3.13)
 *
 * CD.HA and CD.HD enable them for stage 1, STE.S2HA and STE.S2HD for stage 2. A page or
 * block with DBM is writable, and clean until a write makes the SMMU change its other
 * permission bit. The update is an atomic compare and exchange in memory. Where this
 * finds another value, as the CPU has changed it, the walk is repeated.
 *
 * A translation of a clean page does not permit writes, and is walked again for a write.
 * The translation of a dirty page stays until it is invalidated, and does not notice if
 * the page is made clean in memory. So does that in an ATC.
 *
 * The stage 1 is updated only after stage 2 has permitted the access, and the write to
 * the descriptor is subject to stage 2 itself (3.13.5). An update that is not needed is
 * never made, although the architecture permits some. Tables have no Access flags
 * (IDR0.HTTU 0b11).
 */
#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "exec/address-spaces.h"
#include "hw/arm/smmuv3.h"
#include "smmuv3-internal.h"

#define DESC_AF			BIT_ULL(10)
#define DESC_DBM		BIT_ULL(51)
/* Read-only in stage 1 (AP[2]), writable in stage 2 (S2AP[1]) */
#define DESC_AP			BIT_ULL(7)

/* 5.2.2 and 5.4.2 */
bool smmuv3_httu_legal(SMMUv3State *s, bool ha, bool hd)
{
	unsigned int httu = FIELD_EX32(s->idr[0], IDR0, HTTU);

	return !(ha && httu < 1) && !(hd && httu < 2);
}

/**
 * smmuv3_httu_init - Set the updates of a stage
 * @httu: Out
 * @ha: CD.HA or STE.S2HA
 * @hd: CD.HD or STE.S2HD, which has no effect without @ha
 */
void smmuv3_httu_init(SMMUHTTU *httu, bool ha, bool hd)
{
	httu->access = ha;
	httu->dirty = ha && hd;
}

/* Is it a page or block that only a write makes writable? */
bool smmuv3_is_clean(const SMMUHTTU *httu, SMMUStage stage, uint64_t desc)
{
	return httu->dirty && (desc & DESC_DBM) &&
	       !(desc & DESC_AP) == (stage == SMMU_STAGE_2);
}

/**
 * smmuv3_httu - The descriptor of a page or block after an access
 * @httu: the updates of its stage
 * @stage: SMMU_STAGE_1 or SMMU_STAGE_2
 * @desc: the descriptor
 * @perm: the access
 *
 * Return: the descriptor, with the access flag and the dirty state that are due.
 */
uint64_t smmuv3_httu(const SMMUHTTU *httu, SMMUStage stage, uint64_t desc,
		     IOMMUAccessFlags perm)
{
	if (httu->access)
		desc |= DESC_AF;
	if ((perm & IOMMU_WO) && smmuv3_is_clean(httu, stage, desc))
		desc ^= DESC_AP;
	return desc;
}

/**
 * smmuv3_update_desc - Change a descriptor in memory
 * @addr: its physical address
 * @old: its value when it was read
 * @new: the value of smmuv3_httu()
 * @info: Out, on an error
 *
 * Return: 0, -EAGAIN if it has changed since, -EINVAL on an external abort.
 */
int smmuv3_update_desc(hwaddr addr, uint64_t old, uint64_t new, SMMUPTWEventInfo *info)
{
	hwaddr len = sizeof(old);
	uint64_t seen, *desc;

	if (old == new)
		return 0;
	desc = address_space_map(&address_space_memory, addr, &len, true,
				 MEMTXATTRS_UNSPECIFIED);
	if (!desc || len != sizeof(old)) {
		if (desc)
			address_space_unmap(&address_space_memory, desc, len, true, 0);
		info->type = SMMU_PTW_ERR_WALK_EABT;
		info->addr = addr;
		return -EINVAL;
	}
	seen = qatomic_cmpxchg__nocheck(desc, cpu_to_le64(old), cpu_to_le64(new));
	address_space_unmap(&address_space_memory, desc, len, true, len);
	return seen == cpu_to_le64(old) ? 0 : -EAGAIN;
}
