/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * All that a test of nested translation on an SMMUv3 is made of: a guest that
 * owns stage 1, and a device that does DMA for it. Each header states its
 * purpose.
 */
#ifndef __SELFTEST_IOMMU_SMMUV3_GUEST_H
#define __SELFTEST_IOMMU_SMMUV3_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "lib/edu.h"
#include "lib/guest.h"
#include "lib/host.h"
#include "lib/ioctl.h"
#include "lib/klog.h"
#include "lib/nvme.h"
#include "lib/pci.h"
#include "lib/random.h"
#include "lib/smmuv3.h"
#include "lib/stage1.h"

#endif
