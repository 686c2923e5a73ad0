// SPDX-License-Identifier: GPL-2.0-only
/* See nvme.h */
#include <endian.h>
#include <errno.h>

#include "clock.h"
#include "guest.h"
#include "nvme.h"
#include "smmuv3.h"

#define NVME_CAP	0x00
#define NVME_CC		0x14
#define NVME_CC_EN	(BIT(0) | 6 << 16 | 4 << 20)
#define NVME_CSTS	0x1c
#define NVME_AQA	0x24
#define NVME_ASQ	0x28
#define NVME_ACQ	0x30
#define NVME_SQ0TDBL	0x1000
#define NVME_IDENTIFY	0x06
#define NVME_CNS_CTRL	1
#define NVME_ENTRIES	16

struct nvme_sqe {
	__le32 cdw0;
	__le32 nsid;
	__le64 reserved[2];
	__le64 prp[2];
	__le32 cdw10[6];
};

struct nvme_cqe {
	__le32 result[2];
	__le16 sq_head, sq_id;
	__le16 cid;
	__le16 status;
};

static __u32 nvme_read(struct nvme *n, unsigned int reg)
{
	return le32toh(*(volatile __u32 *)(n->dev.bar + reg));
}

static void nvme_write(struct nvme *n, unsigned int reg, __u32 val)
{
	/* Make queues and tables visible first */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	*(volatile __u32 *)(n->dev.bar + reg) = htole32(val);
}

static int nvme_wait_ready(struct nvme *n, __u32 want)
{
	double end = now() + 20;

	while ((nvme_read(n, NVME_CSTS) & 1) != want)
		if (now() > end)
			return -ETIMEDOUT;
	return 0;
}

int nvme_start(struct nvme *n, struct guest *g)
{
	__u64 sq = guest_zero_page(g), cq = guest_zero_page(g);
	int rc;

	n->sq = guest_ptr(g, sq);
	n->cq = guest_ptr(g, cq);
	n->phase = 1;
	nvme_write(n, NVME_CC, 0);
	rc = nvme_wait_ready(n, 0);
	if (rc)
		return rc;
	nvme_write(n, NVME_AQA, (NVME_ENTRIES - 1) << 16 | (NVME_ENTRIES - 1));
	nvme_write(n, NVME_ASQ, sq);
	nvme_write(n, NVME_ASQ + 4, sq >> 32);
	nvme_write(n, NVME_ACQ, cq);
	nvme_write(n, NVME_ACQ + 4, cq >> 32);
	nvme_write(n, NVME_CC, NVME_CC_EN);
	return nvme_wait_ready(n, 1);
}

void nvme_stop(struct nvme *n)
{
	nvme_write(n, NVME_CC, 0);
}

int nvme_dma(struct nvme *n, __u64 iova)
{
	unsigned int stride = 4U << (nvme_read(n, NVME_CAP + 4) & 0xf);
	volatile struct nvme_cqe *cqe = &n->cq[n->head];
	double end = now() + 20;

	n->sq[n->tail] = (struct nvme_sqe){
		.cdw0 = htole32(NVME_IDENTIFY | ++n->cid << 16),
		.prp = { htole64(iova) },
		.cdw10 = { htole32(NVME_CNS_CTRL) },
	};
	n->tail = (n->tail + 1) % NVME_ENTRIES;
	nvme_write(n, NVME_SQ0TDBL, n->tail);

	while ((le16toh(cqe->status) & 1) != n->phase)
		if (now() > end)
			return -ETIMEDOUT;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (le16toh(cqe->cid) != n->cid)
		return -EPROTO;
	n->head = (n->head + 1) % NVME_ENTRIES;
	if (!n->head)
		n->phase ^= 1;
	nvme_write(n, NVME_SQ0TDBL + stride, n->head);
	return 0;
}
