/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Registers, STEs, commands and events in the formats of Arm IHI 0070, and the
 * ioctls of iommufd that transport them. The ioctls return as those of ioctl.h
 * do.
 */
#ifndef __SELFTEST_IOMMU_LIB_SMMUV3_H
#define __SELFTEST_IOMMU_LIB_SMMUV3_H

#include <endian.h>
#include <stdbool.h>

#include "ioctl.h"

#ifndef BIT
#define BIT(n)			(1U << (n))
#endif
#ifndef BIT_ULL
#define BIT_ULL(n)		(1ULL << (n))
#endif

/* SMMU_IDRn */
#define IDR0_S2P		BIT(0)
#define IDR0_S1P		BIT(1)
#define IDR0_HTTU(idr0)		(((idr0) >> 6) & 0x3)
#define IDR0_ATS		BIT(10)
#define IDR0_ASID16		BIT(12)
/* Each fault stalls, whatever the CD and the STE say */
#define IDR0_STALL_FORCE(idr0)	((((idr0) >> 24) & 0x3) == 2)
#define IDR1_SSIDSIZE(idr1)	(((idr1) >> 6) & 0x1f)
#define IDR1_EVENTQS(idr1)	(((idr1) >> 16) & 0x1f)
#define IDR3_FWB		BIT(8)
#define IDR3_RIL		BIT(10)
#define IDR5_OAS(idr5)		((idr5) & 0x7)
#define IDR5_DS			BIT(7)

/* SMMU_IIDR without the revision, and the revision: 0x11 is r1p1 */
#define IIDR_PART_MASK		0xfff00fffU
#define IIDR_MMU_700		0x4870043bU
#define IIDR_REVISION(iidr)	(((iidr) >> 12) & 0xff)

/* The part of an STE that belongs to the guest */
#define STE0_V			BIT_ULL(0)
#define STE0_CFG(cfg)		((__u64)(cfg) << 1)
#define STE0_CTXPTR_MASK	0x000fffffffffffc0ULL
#define STE0_S1FMT(n)		((__u64)(n) << 4)
#define STE1_S1DSS(n)		((__u64)(n) << 0)
#define STE1_S1CIR_WBWA		BIT_ULL(2)
#define STE1_S1COR_WBWA		BIT_ULL(4)
#define STE1_S1CSH_ISH		(3ULL << 6)
#define STE1_S1STALLD		BIT_ULL(27)
#define STE1_EATS(eats)		((__u64)(eats) << 28)
#define STE0_S1CDMAX(n)		((__u64)(n) << 59)

/* Whether the SMMU has both stages, and no erratum forbids to nest them */
bool smmu_has_stages(const struct iommu_hw_info_arm_smmuv3 *info);
/* Whether devices behind this SMMU can have a nested stage 1 */
bool smmu_can_nest(const struct iommu_hw_info_arm_smmuv3 *info);

/* Events: their types, and the bits of word 1 that describe a fault */
enum {
	EVT_UUT = 0x01,
	EVT_BAD_STE = 0x04,
	EVT_BAD_ATS_TREQ = 0x05,
	EVT_STREAM_DISABLED = 0x06,
	EVT_TRANSL_FORBIDDEN = 0x07,
	EVT_BAD_SUBSTREAMID = 0x08,
	EVT_BAD_CD = 0x0a,
	EVT_TRANSLATION = 0x10,
	EVT_ADDR_SIZE = 0x11,
	EVT_ACCESS = 0x12,
	EVT_PERMISSION = 0x13,
};

#define EVT0_SSV		BIT_ULL(11)
#define EVT0_SSID(ssid)		((__u64)(ssid) << 12)
#define EVT0_SID(sid)		((__u64)(sid) << 32)
#define EVT1_RNW		BIT_ULL(35)
/* The fault is of the address of the transaction, not of a table */
#define EVT1_CLASS_IN		(2ULL << 40)

enum {
	CFG_ABORT = 0,
	CFG_BYPASS = 4,
	CFG_S1 = 5,
};

/* Commands */
enum {
	CMD_CFGI_CD = 0x05,
	CMD_CFGI_CD_ALL = 0x06,
	CMD_TLBI_NH_ALL = 0x10,
	CMD_TLBI_NH_ASID = 0x11,
	CMD_TLBI_NH_VA = 0x12,
	CMD_TLBI_NH_VAA = 0x13,
	CMD_TLBI_NSNH_ALL = 0x30,
	CMD_ATC_INV = 0x40,
};

#define CMD0_GLOBAL		BIT_ULL(9)
#define CMD0_SSV		BIT_ULL(11)
#define CMD0_SSID(n)		((__u64)(n) << 12)
#define CMD0_NUM(n)		((__u64)(n) << 12)
#define CMD0_SCALE(n)		((__u64)(n) << 20)
#define CMD0_SID(sid)		((__u64)(sid) << 32)
#define CMD0_VMID(vmid)		((__u64)(vmid) << 32)
#define CMD0_ASID(asid)		((__u64)(asid) << 48)
#define CMD1_LEAF		BIT_ULL(0)
#define CMD1_TTL(n)		((__u64)(n) << 8)
#define CMD1_TG(n)		((__u64)(n) << 10)
#define CMD1_VA_MASK		0xfffffffffffff000ULL

/* As struct iommu_viommu_arm_smmuv3_invalidate */
struct smmu_cmd {
	__le64 cmd[2];
};

static inline struct smmu_cmd cmd_raw(__u64 w0, __u64 w1)
{
	return (struct smmu_cmd){ .cmd = { htole64(w0), htole64(w1) } };
}

static inline struct smmu_cmd cmd_cfgi_cd(__u32 sid)
{
	return cmd_raw(CMD_CFGI_CD | CMD0_SID(sid), CMD1_LEAF);
}

static inline struct smmu_cmd cmd_cfgi_cd_all(__u32 sid)
{
	return cmd_raw(CMD_CFGI_CD_ALL | CMD0_SID(sid), 0);
}

static inline struct smmu_cmd cmd_nh_all(__u16 vmid)
{
	return cmd_raw(CMD_TLBI_NH_ALL | CMD0_VMID(vmid), 0);
}

static inline struct smmu_cmd cmd_nh_asid(__u16 vmid, __u16 asid)
{
	return cmd_raw(CMD_TLBI_NH_ASID | CMD0_VMID(vmid) | CMD0_ASID(asid),
		       0);
}

static inline struct smmu_cmd cmd_nh_va(__u16 vmid, __u16 asid, __u64 va)
{
	return cmd_raw(CMD_TLBI_NH_VA | CMD0_VMID(vmid) | CMD0_ASID(asid),
		       (va & CMD1_VA_MASK) | CMD1_LEAF);
}

static inline struct smmu_cmd cmd_nh_vaa(__u16 vmid, __u64 va)
{
	return cmd_raw(CMD_TLBI_NH_VAA | CMD0_VMID(vmid),
		       (va & CMD1_VA_MASK) | CMD1_LEAF);
}

static inline struct smmu_cmd cmd_nsnh_all(void)
{
	return cmd_raw(CMD_TLBI_NSNH_ALL, 0);
}

/* The size is 1 << size pages of 4K, or ATC_INV_ALL for all addresses */
#define ATC_INV_ALL		52

static inline struct smmu_cmd cmd_atc_inv(__u32 sid, __u64 iova,
					  unsigned int size)
{
	return cmd_raw(CMD_ATC_INV | CMD0_SID(sid),
		       (iova & CMD1_VA_MASK) | size);
}

/* An ATC_INV for a PASID */
static inline struct smmu_cmd cmd_with_ssid(struct smmu_cmd cmd, __u32 ssid)
{
	cmd.cmd[0] |= htole64(CMD0_SSV | CMD0_SSID(ssid));
	return cmd;
}

/* The range form of NH_VA and NH_VAA, for (num + 1) << scale pages of 4K */
static inline struct smmu_cmd cmd_ranged(struct smmu_cmd cmd, unsigned int num,
					 unsigned int scale)
{
	cmd.cmd[0] |= htole64(CMD0_NUM(num) | CMD0_SCALE(scale));
	cmd.cmd[1] |= htole64(CMD1_TG(1));
	return cmd;
}

struct iommu_hwpt_arm_smmuv3 ste_raw(__u64 w0, __u64 w1);
struct iommu_hwpt_arm_smmuv3 ste_s1(__u64 cd);
struct iommu_hwpt_arm_smmuv3 ste_bypass(void);
struct iommu_hwpt_arm_smmuv3 ste_abort(void);

int hwpt_alloc(int fd, __u32 dev_id, __u32 pt_id, __u32 flags, __u32 type,
	       const void *data, __u32 len, __u32 *hwpt_id);
int hwpt_alloc_ste(int fd, __u32 dev_id, __u32 viommu_id,
		   struct iommu_hwpt_arm_smmuv3 ste, __u32 *hwpt_id);
int viommu_alloc(int fd, __u32 dev_id, __u32 hwpt_id, __u32 *viommu_id);
int viommu_cmds(int fd, __u32 viommu_id, const struct smmu_cmd *cmds, __u32 *num);
int viommu_cmd(int fd, __u32 viommu_id, struct smmu_cmd cmd);
int veventq_alloc(int fd, __u32 viommu_id, __u32 depth, __u32 *veventq_id,
		  int *veventq_fd);

/* The registers of a command queue in page 0 of a CMDQV, of 4 bytes each */
enum {
	REG_CONS,
	REG_PROD,
	REG_CONFIG,
	REG_STATUS,
	REG_GERROR,
	REG_GERRORN,
	REGS = 0x80 / 4,
};

/* The index in REG_CONS */
#define CONS_RD		0xfffff

/* The layout in which read() of a vEVENTQ returns an event */
struct smmu_event {
	struct iommufd_vevent_header header;
	__le64 evt[4];
};

/*
 * Read the next event, and wait up to a minute for it, because it comes
 * from the SMMU through a thread of the kernel.
 *
 * Return: the number of bytes, or -ETIMEDOUT
 */
int veventq_next(int veventq_fd, struct smmu_event *event);
/* Whether there is something to read at this moment */
bool veventq_readable(int veventq_fd);

#endif
