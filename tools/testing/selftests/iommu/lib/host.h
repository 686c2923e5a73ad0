/* SPDX-License-Identifier: GPL-2.0-only */
/* The host as its files show it: sysfs, procfs and the ACPI tables */
#ifndef __SELFTEST_IOMMU_LIB_HOST_H
#define __SELFTEST_IOMMU_LIB_HOST_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Both return 0 or a negative errno. @buf gets a string without the newlines at
 * its end.
 */
int read_str(const char *path, char *buf, size_t len);
int write_str(const char *path, const char *str);

/*
 * Whether the firmware declares that DMA behind every PCI root complex is
 * coherent regardless of its memory attributes (CANWBS in the IORT). A test
 * compares this with the answers of the ioctls.
 */
bool host_iort_canwbs(void);

#endif
