/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * QEMU's edu device, bound to vfio-pci. The tests judge only by the bytes that
 * it reads and writes by DMA.
 *
 * The emulator of the lab has edu-pcie as well: an edu with PASIDs, ATS, stalls
 * and counters.
 */
#ifndef __SELFTEST_IOMMU_LIB_EDU_H
#define __SELFTEST_IOMMU_LIB_EDU_H

#include <stdbool.h>
#include <stddef.h>

#include <linux/iommufd.h>
#include <linux/types.h>

#include "pci.h"

#define EDU_ID			0x11e81234

#define EDU_REG_ID		0x00
#define EDU_REG_IRQ_RAISE	0x60
#define EDU_REG_IRQ_ACK		0x64
#define EDU_REG_DMA_SRC		0x80
#define EDU_REG_DMA_DST		0x88
#define EDU_REG_DMA_COUNT	0x90
#define EDU_REG_DMA_CMD		0x98
#define EDU_DMA_RUN		0x1
#define EDU_DMA_FROM_DEVICE	0x2
#define EDU_BUF			0x40000

/* Only edu-pcie has these registers and bits of the command (edu::dma_flags) */
#define EDU_DMA_PASID		0x8
/* Translate by ATS and keep the translation in the ATC */
#define EDU_DMA_ATS		0x10
/* Without snooping, as far as Enable No Snoop permits it */
#define EDU_DMA_NO_SNOOP	0x20
/* The address is physical, and was not translated for the device */
#define EDU_DMA_TRANSLATED	0x40
/* Use ATS and PASIDs although they are not enabled in the device */
#define EDU_DMA_ROGUE		0x80
#define EDU_REG_PASID		0xa0
#define EDU_REG_STATUS		0xa8
#define EDU_FAILED		0x1
#define EDU_STALLED		0x2
#define EDU_REG_STALLS		0xb0
#define EDU_REG_ATC_HITS	0xb8
#define EDU_REG_ATC_MISSES	0xc0
#define EDU_REG_ATC_INVS	0xc8
/* When the device answers invalidations: 0 at once, or one of these */
#define EDU_REG_ANSWER		0xd0
#define EDU_ANSWER_NEVER	1
/* On a write to EDU_REG_PENDING; in the second case, 200 ms after this write */
#define EDU_ANSWER_LATER	2
#define EDU_ANSWER_SLOWLY	3
/* DMA that bypassed the caches */
#define EDU_REG_UNCACHED	0xd8
/* Number of invalidations without an answer. A write answers them. */
#define EDU_REG_PENDING		0xe0

#define EDU_BUF_SIZE		4096

struct guest;

struct edu {
	char bdf[BDF_LEN];
	char smmu[64];
	int fd;
	__u32 dev_id;
	__u8 *bar;
	size_t bar_size;
	__u64 cfg_offset;
	int irqfd;
	/* EDU_DMA_* for each DMA */
	__u64 dma_flags;
	unsigned int slice;
	__u8 buf[EDU_BUF_SIZE];
	struct iommu_hw_info_arm_smmuv3 info;
};

enum edu_pair {
	EDU_SAME_SMMU,
	EDU_OTHER_SMMU,
	/* Both in one IOMMU group. In the other pairs, each has its own */
	EDU_SAME_GROUP,
};

/* The address of a device that a test may use; @why says why there is none */
int edu_find(char bdf[BDF_LEN], char *why, size_t len);
int edu_find_pair(enum edu_pair pair, char a[BDF_LEN], char b[BDF_LEN], char *why,
		  size_t len);
/* A device in a group with its port, which the VM does not have */
int edu_find_with_port(char bdf[BDF_LEN], char *why, size_t len);

int edu_open(struct edu *dev, const char *bdf, int iommufd);
/* Any other device, of which only attach, detach, close and BAR 0 are used */
int device_open(struct edu *dev, const char *bdf, int iommufd);
void edu_close(struct edu *dev);
int edu_attach(struct edu *dev, __u32 pt_id);
int edu_detach(struct edu *dev);
int edu_attach_pasid(struct edu *dev, __u32 pasid, __u32 pt_id);
int edu_detach_pasid(struct edu *dev, __u32 pasid);

/* Whether this is an edu-pcie */
bool edu_is_pcie(struct edu *dev);
__u64 edu_reg(struct edu *dev, unsigned int reg);
void edu_set_reg(struct edu *dev, unsigned int reg, __u64 val);
/* Whether the previous DMA failed in any of its pages. Only for edu-pcie */
bool edu_failed(struct edu *dev);
int edu_reset(struct edu *dev);

/* Put bytes that a test will recognise into the device. Needs a translation */
void edu_load(struct edu *dev, struct guest *g, __u64 iova, __u64 ipa);

/*
 * Where a write of the device to @iova lands: the IPA of the guest memory that
 * changed, NOWHERE, or ASTRAY if anything but these bytes changed. UNMAPPED is
 * set in the IPA if the guest has lost this memory.
 */
#define NOWHERE			0ULL
#define ASTRAY			(1ULL << 63)
#define UNMAPPED		(1ULL << 62)

__u64 edu_write_lands(struct edu *dev, struct guest *g, __u64 iova);

/*
 * Whether a read from @iova gets the bytes at @ipa. The device writes them out
 * again at @sink_iova, which must reach @sink_ipa.
 */
bool edu_read_gets(struct edu *dev, struct guest *g, __u64 iova, __u64 ipa,
		   __u64 sink_iova, __u64 sink_ipa);

/* The two halves of edu_write_lands(), to do something else during the DMA */
void edu_write_start(struct edu *dev, struct guest *g, __u64 iova);
bool edu_busy(struct edu *dev);
__u64 edu_write_end(struct edu *dev, struct guest *g, __u64 iova);
/* The same for a write that has ended, even if the device is closed */
__u64 edu_write_landed(struct edu *dev, struct guest *g, __u64 iova);

/* A plain DMA, at most EDU_BUF_SIZE; @offset is in the buffer of the device */
void edu_write(struct edu *dev, __u64 iova, unsigned int offset, size_t len);
void edu_read(struct edu *dev, __u64 iova, unsigned int offset, size_t len);

int edu_msi_enable(struct edu *dev);
int edu_msi_disable(struct edu *dev);
/* The address in the device. vfio-pci shows another to the VMM. */
__u64 edu_msi_address(struct edu *dev);
/* Raise the interrupt. Return: whether it arrived within @ms */
bool edu_msi_arrives(struct edu *dev, int ms);

#endif
