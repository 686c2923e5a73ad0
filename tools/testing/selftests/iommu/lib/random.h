/* SPDX-License-Identifier: GPL-2.0-only */
/* Random numbers, cheap enough to fill guest memory with on an emulated CPU */
#ifndef __SELFTEST_IOMMU_LIB_RANDOM_H
#define __SELFTEST_IOMMU_LIB_RANDOM_H

#include <stddef.h>

#include <linux/types.h>

__u64 random_u64(void);
void random_bytes(void *buf, size_t len);

#endif
