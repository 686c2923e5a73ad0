// SPDX-License-Identifier: GPL-2.0-only
/* See smmuv3.h */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "clock.h"
#include "host.h"
#include "smmuv3.h"

struct iommu_hwpt_arm_smmuv3 ste_raw(__u64 w0, __u64 w1)
{
	return (struct iommu_hwpt_arm_smmuv3){
		.ste = { htole64(w0), htole64(w1) },
	};
}

struct iommu_hwpt_arm_smmuv3 ste_s1(__u64 cd)
{
	return ste_raw(STE0_V | STE0_CFG(CFG_S1) | (cd & STE0_CTXPTR_MASK),
		       STE1_S1CIR_WBWA | STE1_S1COR_WBWA | STE1_S1CSH_ISH);
}

struct iommu_hwpt_arm_smmuv3 ste_bypass(void)
{
	return ste_raw(STE0_V | STE0_CFG(CFG_BYPASS), 0);
}

struct iommu_hwpt_arm_smmuv3 ste_abort(void)
{
	return ste_raw(STE0_V | STE0_CFG(CFG_ABORT), 0);
}

int hwpt_alloc(int fd, __u32 dev_id, __u32 pt_id, __u32 flags, __u32 type,
	       const void *data, __u32 len, __u32 *hwpt_id)
{
	return iommufd_hwpt_alloc(fd, dev_id, pt_id, flags, 0, type, data, len,
				  hwpt_id);
}

int hwpt_alloc_ste(int fd, __u32 dev_id, __u32 viommu_id,
		   struct iommu_hwpt_arm_smmuv3 ste, __u32 *hwpt_id)
{
	return hwpt_alloc(fd, dev_id, viommu_id, 0, IOMMU_HWPT_DATA_ARM_SMMUV3,
			  &ste, sizeof(ste), hwpt_id);
}

int viommu_alloc(int fd, __u32 dev_id, __u32 hwpt_id, __u32 *viommu_id)
{
	return iommufd_viommu_alloc(fd, dev_id, hwpt_id,
				    IOMMU_VIOMMU_TYPE_ARM_SMMUV3, NULL, 0,
				    viommu_id);
}

int viommu_cmds(int fd, __u32 viommu_id, const struct smmu_cmd *cmds, __u32 *num)
{
	return hwpt_invalidate(fd, viommu_id,
			       IOMMU_VIOMMU_INVALIDATE_DATA_ARM_SMMUV3, cmds,
			       sizeof(*cmds), num);
}

int viommu_cmd(int fd, __u32 viommu_id, struct smmu_cmd cmd)
{
	__u32 num = 1;
	int rc;

	rc = viommu_cmds(fd, viommu_id, &cmd, &num);
	/* A single command is either done or not, and entry_num must agree */
	if (num != (rc ? 0 : 1)) {
		fprintf(stderr, "# one command gave %d and entry_num %u\n", rc,
			num);
		return -EPROTO;
	}
	return rc;
}

int veventq_alloc(int fd, __u32 viommu_id, __u32 depth, __u32 *veventq_id,
		  int *veventq_fd)
{
	return iommufd_veventq_alloc(fd, viommu_id, IOMMU_VEVENTQ_TYPE_ARM_SMMUV3,
				     depth, veventq_id, veventq_fd);
}

bool smmu_has_stages(const struct iommu_hw_info_arm_smmuv3 *info)
{
	/* Errata 2268618 and 2812531 */
	if ((info->iidr & IIDR_PART_MASK) == IIDR_MMU_700 &&
	    IIDR_REVISION(info->iidr) < 0x11)
		return false;
	return (info->idr[0] & IDR0_S1P) && (info->idr[0] & IDR0_S2P);
}

bool smmu_can_nest(const struct iommu_hw_info_arm_smmuv3 *info)
{
	return smmu_has_stages(info) &&
	       ((info->idr[3] & IDR3_FWB) || host_iort_canwbs());
}

int veventq_next(int veventq_fd, struct smmu_event *event)
{
	struct pollfd pfd = { .fd = veventq_fd, .events = POLLIN };
	ssize_t len;

	if (poll(&pfd, 1, LATE_MS) != 1)
		return -ETIMEDOUT;
	len = read(veventq_fd, event, sizeof(*event));
	return len < 0 ? -errno : len;
}

bool veventq_readable(int veventq_fd)
{
	struct pollfd pfd = { .fd = veventq_fd, .events = POLLIN };

	return poll(&pfd, 1, 0) == 1;
}
