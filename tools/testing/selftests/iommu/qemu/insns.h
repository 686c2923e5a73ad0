/* SPDX-License-Identifier: GPL-2.0-only */
/* The instruction at which insns.c writes its count: a hint without a meaning */
#ifndef __SELFTEST_IOMMU_QEMU_INSNS_H
#define __SELFTEST_IOMMU_QEMU_INSNS_H

#define INSNS_MARK_HINT	0x6e
#define INSNS_MARK_OP	(0xd503201fU | INSNS_MARK_HINT << 5)

#endif
