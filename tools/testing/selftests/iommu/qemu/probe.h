/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Tests that init contains itself: they need a machine without other programs,
 * or run in a guest that has none. Their arguments are described in init.c.
 */
#ifndef __SELFTEST_IOMMU_QEMU_PROBE_H
#define __SELFTEST_IOMMU_QEMU_PROBE_H

#include <stdbool.h>

#include "../lib/pci.h"

#define MAX_NAMES	8

/* The address of the device number @nth with these IDs */
bool find_pci(unsigned int vendor, unsigned int device, unsigned int nth,
	      char found[BDF_LEN]);
/* Bind a device to vfio-pci, or fail */
void bind_vfio(const char *bdf);

void do_nvme(char *args);
void do_reads(char *args);
void do_smmus(const char *arg);
void do_edu(const char *arg);
void do_idle(const char *arg);
_Noreturn void do_kill(const char *how);
void do_reboot(const char *arg);
void do_plug(const char *id, bool plug);
void do_update(void);
void do_queue_error(void);
void do_kmemleak(void);

#endif
