/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An NVMe controller as a device that does DMA in less than a millisecond: an
 * Identify command writes a page to any address, and needs only the admin
 * queue.
 */
#ifndef __SELFTEST_IOMMU_LIB_NVME_H
#define __SELFTEST_IOMMU_LIB_NVME_H

#include <linux/types.h>

#include "edu.h"

#define NVME_ID		0x00101b36	/* QEMU's */

struct nvme_sqe;
struct nvme_cqe;

struct nvme {
	struct edu dev;
	struct nvme_sqe *sq;
	volatile struct nvme_cqe *cq;
	unsigned int tail, head;
	__u16 phase, cid;
};

/* Start it, with its queues in the memory of the guest that it is attached to */
int nvme_start(struct nvme *n, struct guest *g);
void nvme_stop(struct nvme *n);
/*
 * Write a page to @iova. 0 means that the command has completed; a translation
 * fault does not show here, only in the page.
 */
int nvme_dma(struct nvme *n, __u64 iova);

#endif
