/* SPDX-License-Identifier: GPL-2.0-only */
/* Pages with a memory error, as MADV_HWPOISON simulates it */
#ifndef __SELFTEST_IOMMU_LIB_HWPOISON_H
#define __SELFTEST_IOMMU_LIB_HWPOISON_H

#include <linux/types.h>

#define HWPOISON_HEAL	"/sys/kernel/debug/hwpoison/unpoison-pfn"

/* The physical page at @mem, 0 if there is none or if it is not known */
__u64 pfn_of(void *mem);
/*
 * Repair a page, which is otherwise lost to the machine. It must not be in use
 * any more.
 *
 * Return: 0 or a negative errno
 */
int heal_pfn(__u64 pfn);

#endif
