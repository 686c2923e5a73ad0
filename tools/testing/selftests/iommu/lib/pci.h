/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * PCI devices by sysfs: finding them and binding them to vfio-pci.
 *
 * @id is the device ID in the upper and the vendor ID in the lower 16 bits, as in
 * configuration space. Functions that return int return a negative errno on error.
 */
#ifndef __SELFTEST_IOMMU_LIB_PCI_H
#define __SELFTEST_IOMMU_LIB_PCI_H

#include <stdbool.h>
#include <stddef.h>

#include <linux/types.h>

#define SYS_PCI		"/sys/bus/pci/devices"
#define BDF_LEN		16
#define MAX_DEVICES	16

/* A hexadecimal number, 0 if there is none */
unsigned long pci_attr(const char *bdf, const char *attr);
/* The last component of the target of a link */
int pci_link(const char *bdf, const char *link, char *name, size_t len);
/*
 * The number of entries of a directory that do not begin with a dot. @name gets
 * the last of them.
 */
int dir_entries(const char *path, char *name, size_t len);

/* Return: the number of devices with @id, in the order of their addresses */
unsigned int pci_list(__u32 id, char bdfs[MAX_DEVICES][BDF_LEN]);
/*
 * The same for devices that a test may use: they are bound to vfio-pci, have an
 * IOMMU, and their IOMMU groups have @group devices. @why says why others are
 * not among them.
 */
unsigned int pci_list_vfio(__u32 id, int group, char bdfs[MAX_DEVICES][BDF_LEN],
			   char *why, size_t len);
/* The first of them that is alone in its group */
int device_find(__u32 id, char bdf[BDF_LEN], char *why, size_t len);

/* Whether the PCI Express capability has a Function Level Reset */
bool pci_has_flr(const char *bdf);
/* Whether there is an extended capability PCI_EXT_CAP_ID_* */
bool pci_has_ext_cap(const char *bdf, unsigned int id);

int pci_unbind(const char *bdf);
int pci_bind_vfio(const char *bdf);

#endif
