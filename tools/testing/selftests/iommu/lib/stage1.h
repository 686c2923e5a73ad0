/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Stage 1 of a guest, in guest memory and in the format of the hardware: tables
 * of a 4K granule with 48-bit IOVAs and four levels, and Context Descriptors
 */
#ifndef __SELFTEST_IOMMU_LIB_STAGE1_H
#define __SELFTEST_IOMMU_LIB_STAGE1_H

#include <linux/types.h>

/* The window in which the kernel maps the MSI doorbells */
#define SW_MSI_BASE		0x08000000ULL
#define SW_MSI_LENGTH		0x00100000ULL

struct guest;
struct edu;

enum {
	S1_RO = 0,
	S1_RW = 1,
	/* Writeable, but without the access flag, which only HTTU sets */
	S1_NO_AF = 2,
	/* Writeable with HTTU only: the SMMU turns it into S1_RW on a write */
	S1_CLEAN = 3,
};

/* The bits that HTTU changes: cleared by a write, and set by any access */
#define S1_PTE_RDONLY		(1ULL << 7)
#define S1_PTE_AF		(1ULL << 10)

/* Return: the IPA of the root table, TTB0 */
__u64 s1_create(struct guest *g);
void s1_map(struct guest *g, __u64 ttb, __u64 iova, __u64 ipa, int prot);
/* The same for a block of 2 MiB */
void s1_map_block(struct guest *g, __u64 ttb, __u64 iova, __u64 ipa);
void s1_unmap(struct guest *g, __u64 ttb, __u64 iova);
/* The IPA of the descriptor of the page at @iova */
__u64 s1_desc(struct guest *g, __u64 ttb, __u64 iova);
/* Map the MSI window 1:1, as an RMR node in the VM's IORT would ask for */
void s1_map_msi_window(struct guest *g, __u64 ttb);

/* Write a CD at @cd, with the output size that the SMMU of @dev has */
void cd_write(struct guest *g, const struct edu *dev, __u64 cd, __u64 ttb,
	      __u16 asid);
/* Let the SMMU set Access flags and the dirty state in the tables of the CD */
void cd_set_httu(struct guest *g, __u64 cd);

#endif
