// SPDX-License-Identifier: GPL-2.0-only
/* See stage1.h */
#include "edu.h"
#include "guest.h"
#include "smmuv3.h"
#include "stage1.h"

/* Descriptors: Arm DDI 0487, D8.3 */
#define PTE_VALID		BIT_ULL(0)
#define PTE_TABLE		(3ULL << 0)
#define PTE_PAGE		(3ULL << 0)
#define PTE_EL0			BIT_ULL(6)
#define PTE_RDONLY		BIT_ULL(7)
#define PTE_ISH			(3ULL << 8)
#define PTE_AF			BIT_ULL(10)
#define PTE_NG			BIT_ULL(11)
#define PTE_DBM			BIT_ULL(51)
#define PTE_ADDR		0x0000fffffffff000ULL
#define PTE_ATTR		(PTE_EL0 | PTE_ISH | PTE_AF | PTE_NG)

#define BLOCK_SIZE		(GUEST_PAGE << 9)

__u64 s1_create(struct guest *g)
{
	return guest_zero_page(g);
}

/* The IPA of the descriptor for @iova at @level, 0 .. 3 */
static __u64 s1_pte(struct guest *g, __u64 ttb, __u64 iova, int level)
{
	__u64 table = ttb;
	int l;

	for (l = 0;; l++) {
		__u64 pte = table + ((iova >> (39 - 9 * l)) & 0x1ff) * 8;

		if (l == level)
			return pte;
		if (!(guest_read64(g, pte) & PTE_VALID))
			guest_write64(g, pte, guest_zero_page(g) | PTE_TABLE);
		table = guest_read64(g, pte) & PTE_ADDR;
	}
}

void s1_map(struct guest *g, __u64 ttb, __u64 iova, __u64 ipa, int prot)
{
	guest_write64(g, s1_pte(g, ttb, iova, 3),
		      ((ipa & PTE_ADDR) | PTE_PAGE | PTE_ATTR |
		       (prot == S1_RO || prot == S1_CLEAN ? PTE_RDONLY : 0) |
		       (prot == S1_CLEAN ? PTE_DBM : 0)) &
			      ~(prot == S1_NO_AF ? PTE_AF : 0));
}

void s1_map_block(struct guest *g, __u64 ttb, __u64 iova, __u64 ipa)
{
	guest_write64(g, s1_pte(g, ttb, iova, 2),
		      (ipa & ~(BLOCK_SIZE - 1)) | PTE_VALID | PTE_ATTR);
}

void s1_unmap(struct guest *g, __u64 ttb, __u64 iova)
{
	guest_write64(g, s1_pte(g, ttb, iova, 3), 0);
}

__u64 s1_desc(struct guest *g, __u64 ttb, __u64 iova)
{
	return s1_pte(g, ttb, iova, 3);
}

void s1_map_msi_window(struct guest *g, __u64 ttb)
{
	__u64 iova;

	for (iova = SW_MSI_BASE; iova != SW_MSI_BASE + SW_MSI_LENGTH;
	     iova += GUEST_PAGE)
		s1_map(g, ttb, iova, iova, S1_RW);
}

/* Context Descriptor: Arm IHI 0070, 5.4 */
#define CD0_T0SZ(n)		((__u64)(n) << 0)
#define CD0_IR0_WBWA		BIT_ULL(8)
#define CD0_OR0_WBWA		BIT_ULL(10)
#define CD0_SH0_ISH		(3ULL << 12)
#define CD0_EPD1		BIT_ULL(30)
#define CD0_V			BIT_ULL(31)
#define CD0_IPS(n)		((__u64)(n) << 32)
#define CD0_AA64		BIT_ULL(41)
#define CD0_HD			BIT_ULL(42)
#define CD0_HA			BIT_ULL(43)
#define CD0_S			BIT_ULL(44)
#define CD0_R			BIT_ULL(45)
#define CD0_A			BIT_ULL(46)
#define CD0_ASET		BIT_ULL(47)
#define CD0_ASID(n)		((__u64)(n) << 48)

void cd_write(struct guest *g, const struct edu *dev, __u64 cd, __u64 ttb,
	      __u16 asid)
{
	unsigned int ips = IDR5_OAS(dev->info.idr[5]);
	int i;

	/* At most 44 bits, so that a descriptor can exceed the output size */
	if (ips > 4)
		ips = 4;
	guest_write64(g, cd + 8, ttb);
	guest_write64(g, cd + 16, 0);
	guest_write64(g, cd + 24, 0xff);
	for (i = 4; i != 8; i++)
		guest_write64(g, cd + 8 * i, 0);
	guest_write64(g, cd,
		      CD0_T0SZ(64 - 48) | CD0_IR0_WBWA | CD0_OR0_WBWA |
		      CD0_SH0_ISH | CD0_EPD1 | CD0_V | CD0_IPS(ips) |
		      CD0_AA64 | CD0_R | CD0_A | CD0_ASET | CD0_ASID(asid) |
		      (IDR0_STALL_FORCE(dev->info.idr[0]) ? CD0_S : 0));
}

void cd_set_httu(struct guest *g, __u64 cd)
{
	guest_write64(g, cd, guest_read64(g, cd) | CD0_HA | CD0_HD);
}
